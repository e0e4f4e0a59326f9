"""Layers, ways of starting weights and checks that two or more networks share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram.errors import ConfigError
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
LEE_MEL = LogMelConfig(  # of the networks on spectrograms by Lee, Park, Nam and others
    sample_rate=22_050,
    n_fft=1024,
    hop_length=512,
    n_mels=128,
    n_frames=1291,  # what their code keeps of 30 s
    power=1,
    compression="log10_1p",
    gain=10,
)
LEE_MEL_MEAN, LEE_MEL_STD = 0.22620339, 0.25794547  # of all values in their part of the Million Song Dataset
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


def same_zeros(n_taps: int) -> tuple[int, int]:
    """Zeros before and after that keep a length, as TensorFlow's "same" has them: an odd one goes to the end."""
    return (n_taps - 1) // 2, n_taps // 2


def conv_norm_relu_1d(n_in: int, n_out: int, n_taps: int, norm: nn.BatchNorm1d) -> nn.Sequential:
    """Convolution over time that keeps the length, then batch norm and ReLU."""
    return nn.Sequential(nn.ZeroPad1d(same_zeros(n_taps)), nn.Conv1d(n_in, n_out, n_taps), norm, nn.ReLU())


class SamePad1d(nn.Module):
    """Zeros at both ends as TensorFlow's "same" has them before a strided convolution; an odd one goes to the end.

    Args:
        n_taps: length of the kernel, at least the stride.
        stride: of the convolution.
    """

    def __init__(self, n_taps: int, stride: int) -> None:
        super().__init__()
        self.n_taps = n_taps
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, padded) for (batch, channels, samples)."""
        n_samples = x.shape[2]
        n_out = (n_samples + self.stride - 1) // self.stride
        n_zeros = (n_out - 1) * self.stride + self.n_taps - n_samples
        return F.pad(x, (n_zeros // 2, n_zeros - n_zeros // 2))


def truncated_normal_(module: nn.Module, sigma: float) -> None:
    """Start a kernel as TensorFlow's truncated normal does, by a normal that is cut at two sigma; biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
        sigma: deviation of the normal before it is cut.
    """
    _start(module, partial(_draw_truncated_normal, sigma=sigma))


def he_truncated_normal_(module: nn.Module) -> None:
    """Start a kernel as TensorFlow's variance scaling with factor 2 does; biases at 0.

    The normal is cut at two sigma and widened by 1.3 so that the variance stays 2 / fan_in.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    _start(module, lambda kernel: _draw_truncated_normal(kernel, sigma=math.sqrt(2.6 / kernel[0].numel())))


def he_normal_(module: nn.Module) -> None:
    """Start a kernel as Keras 1's he_normal does, by an uncut normal of variance 2 / fan_in; biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    _start(module, partial(nn.init.kaiming_normal_, nonlinearity="relu"))


def he_uniform_(module: nn.Module) -> None:
    """Start a kernel as Keras's he_uniform does, within sqrt(6 / fan_in); biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    _start(module, partial(nn.init.kaiming_uniform_, nonlinearity="relu"))


def lasagne_he_uniform_(module: nn.Module) -> None:
    """Start a kernel as Lasagne's HeUniform does with its gain of 1, within sqrt(3 / fan_in); biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    _start(module, partial(nn.init.kaiming_uniform_, nonlinearity="linear"))


def glorot_uniform_(module: nn.Module) -> None:
    """Start a kernel as Keras and Lasagne do unless told otherwise, within sqrt(6 / (fan_in + fan_out)); biases at 0.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    _start(module, nn.init.xavier_uniform_)


def _draw_truncated_normal(kernel: Tensor, *, sigma: float) -> None:
    """Fill a kernel with a normal that is cut at two sigma.

    Uniform numbers are put through the inverse of the normal's distribution. `nn.init.trunc_normal_` draws again what
    lies beyond the cut, which takes ten times as long, and there are networks with tens of millions of numbers.
    """
    share = math.erf(2 / math.sqrt(2))  # of a normal within two sigma
    with torch.no_grad():
        kernel.uniform_(-share, share).erfinv_().mul_(sigma * math.sqrt(2))
        kernel.clamp_(-2 * sigma, 2 * sigma)  # rounding may lead past the cut


def _start(module: nn.Module, draw: Callable[[Tensor], object]) -> None:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        draw(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Standardize(nn.Module):
    """(x - mean) / std by the statistics of a training set, which are saved with the weights and do not learn.

    There is one of each for everything, for each mel band, or for each place in the patch: statistics are taken over
    all axes of which the buffers have length 1.

    Args:
        n_bands: 1 for all bands together, or the number of mel bands for each by itself.
        n_frames: 1 for all frames together, or the frames of a patch for each by itself.
        mean: what is subtracted until `set_statistics` is called.
        std: what is divided by until then.
        scales: whether there is a scale at all; without, the network only centres, and `std` stays as it is.
    """

    def __init__(
        self, n_bands: int = 1, n_frames: int = 1, *, mean: float = 0.0, std: float = 1.0, scales: bool = True
    ) -> None:
        super().__init__()
        self.scales = scales
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.full((n_bands, n_frames), mean))
        self.register_buffer("std", torch.full((n_bands, n_frames), std))

    @property
    def is_set(self) -> bool:
        """Whether there are statistics, published or of a training set."""
        return bool((self.mean != 0).any() or (self.std != 1).any())

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Take over the statistics of a training set.

        Args:
            mean: n_bands times n_frames values; of one band (n_bands,) will do.
            std: as many, above 0; not used where `scales` is False.
        """
        self.mean.copy_(mean.reshape(self.mean.shape))
        if self.scales:
            self.std.copy_(std.reshape(self.std.shape))

    def forward(self, patches: Tensor) -> Tensor:
        """Give (batch, 1, mels, frames) for the same, or (batch, 1, samples) with one band."""
        return (patches - self.mean) / self.std


def check_patch_size(frontend: LogMelConfig, wanted: LogMelConfig) -> None:
    """Refuse a front-end whose patches do not have the size that a network's dense layers were made for.

    Args:
        frontend: the front-end that came.
        wanted: one with patches of the right size.

    Raises:
        ConfigError: the sizes differ.
    """
    if (frontend.n_frames, frontend.n_mels) != (wanted.n_frames, wanted.n_mels):
        raise ConfigError(
            f"a front-end with patches of {frontend.n_frames} frames and {frontend.n_mels} mels; this network needs "
            f"{wanted.n_frames} frames and {wanted.n_mels} mels."
        )
