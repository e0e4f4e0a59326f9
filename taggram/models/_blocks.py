"""Layers and ways of starting weights that two or more networks share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from taggram.frontends import LogMelConfig

MUSICNN_MEL = LogMelConfig(  # of all networks of the musicnn library
    sample_rate=16_000,
    n_fft=512,
    hop_length=256,
    n_mels=96,
    n_frames=187,  # 2.992 s
    compression="log10_1p",
    gain=10_000,
)
BN_EPS = 1e-3  # Keras and TensorFlow default
BN_MOMENTUM = 0.01  # torch's share of the new batch: 1 - TensorFlow's momentum of 0.99


class ConvReluNorm(nn.Module):
    """Convolution with bias, ReLU, then batch norm: the order of all of Pons's networks.

    Args:
        conv: the convolution.
        norm: the batch norm of its outputs.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = conv
        self.bn = norm

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, ...) for (batch, channels in, ...)."""
        normed: Tensor = self.bn(self.conv(x).relu())
        return normed


def batch_norm_1d(n_channels: int) -> nn.BatchNorm1d:
    """Batch norm with TensorFlow's constants, over (batch, channels) or (batch, channels, time)."""
    return nn.BatchNorm1d(n_channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def batch_norm_2d(n_channels: int) -> nn.BatchNorm2d:
    """Batch norm with TensorFlow's constants, over (batch, channels, height, width)."""
    return nn.BatchNorm2d(n_channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def he_truncated_normal_(module: nn.Module) -> None:
    """Start a kernel as TensorFlow's variance scaling with factor 2 does; biases at 0.

    The normal is cut at two sigma and widened by 1.3 so that the variance stays 2 / fan_in.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        fan_in = module.weight[0].numel()
        sigma = math.sqrt(2.6 / fan_in)
        nn.init.trunc_normal_(module.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def glorot_uniform_(module: nn.Module) -> None:
    """Start a kernel as Keras and Lasagne do unless told otherwise, within sqrt(6 / (fan_in + fan_out)); biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def he_uniform_(module: nn.Module) -> None:
    """Start a kernel as Keras's he_uniform does, within sqrt(6 / fan_in); biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Standardize(nn.Module):
    """(x - mean) / std by the statistics of a training set, which are saved with the weights and do not learn.

    Args:
        n_bands: 1 for one mean and std of everything, or the number of mel bands for one each.
        mean: what is subtracted until `set_statistics` is called.
        std: what is divided by until then.
    """

    def __init__(self, n_bands: int = 1, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.full((n_bands, 1), mean))
        self.register_buffer("std", torch.full((n_bands, 1), std))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Take over the statistics of a training set.

        Args:
            mean: (n_bands,).
            std: (n_bands,), above 0.
        """
        self.mean.copy_(mean.reshape(-1, 1))
        self.std.copy_(std.reshape(-1, 1))

    def forward(self, patches: Tensor) -> Tensor:
        """Give (batch, 1, mels, frames) for the same, or (batch, 1, samples) with one band."""
        return (patches - self.mean) / self.std
