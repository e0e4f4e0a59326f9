"""Two networks that share a back-end, one on the waveform and one on log-mel spectrograms.

Source: Pons, Nieto, Prockup, Schmidt, Ehmann and Serra, "End-to-end learning for music audio tagging at scale", ISMIR
    2018, arXiv 1711.02520; the authors' code, models.py of github.com/jordipons/music-audio-tagging-at-scale-models.
    It takes its input as given: 16 kHz, patches of 15 s, 96 bands and the standardisation of each patch are those of an
    independent replication, github.com/pukkapies/urop2019; patches of 3 s for the public data sets, and that window,
    hop and logarithm are those of musicnn, by the same authors, are from memory. What the paper calls a front-end is
    the first part of the network.
Differs: logits out, no sigmoid. The code also computes the variance over time, and drops it. It normalises each of the
    two residual layers by one mean and one variance of all 512 channels, since it transposes them first:
    `residual_bn="scalar"` (the default) does so too, `residual_bn="per_channel"` does not. 16 filters and 500 dense
    units are what the code calls best; those of the public data sets are not known.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from taggram._checks import check_choice, check_count, check_flag
from taggram.frontends import RawConfig
from taggram.models._blocks import (
    BN_EPS,
    BN_MOMENTUM,
    MUSICNN_MEL,
    ConvReluNorm,
    batch_norm_1d,
    batch_norm_2d,
    he_truncated_normal_,
    same_zeros,
)
from taggram.models._contract import TaggingModel
from taggram.models._learning_layers import NeighboursMaxPool1d
from taggram.models._registry import register_model

PAPER = "Pons et al., ISMIR 2018"
WAVEFORM = RawConfig(sample_rate=16_000, n_samples=48_000)  # 3 s; 15 s are 240,000 samples
MEL = dataclasses.replace(MUSICNN_MEL, n_frames=188)  # 3 s; 15 s are 938 frames
PATCH_NORM_EPS = 1e-6  # added to the variance of a patch, as the replication does

WAVEFORM_CHANNELS = (64, 64, 64, 128, 128, 128, 256)  # of the seven convolutions
N_TAPS = 3  # length of their kernels, of the first one's stride and of the pools behind the others
LEAST_SAMPLES = 19_680  # the seven layers make 6,560, 2,186, 728, 242, 80, 26 and at last 8 frames of them

N_FILTERS = 16  # what the numbers of filters are multiples of
TIMBRAL_HEIGHTS = (0.9, 0.4)  # of the timbral kernels, as shares of the mel bands
TIMBRAL_FRAMES = {7: 1, 3: 2, 1: 4}  # their width in time: their number, in multiples of N_FILTERS
TEMPORAL_FRAMES = {165: 1, 128: 2, 64: 4, 32: 8}  # length of the temporal kernels: their number, as above

N_BACK_END = 512  # filters of each convolution of the back-end
BACK_END_FRAMES = 7  # length of their kernels
N_DENSE = 500  # units of the dense layer
LEAST_FRAMES = 8  # the first convolution leaves 2 of them, and the pool 1

ResidualNorm = Literal["scalar", "per_channel"]
BACK_END_LAYERS = ("cnn1", "cnn2", "pool", "cnn3", "max_pool", "mean_pool", "penultimate")
WAVEFORM_LAYERS = (*(f"conv{number}" for number in range(1, 7)), "front_end", *BACK_END_LAYERS)
SPECTROGRAM_LAYERS = ("timbral", "temporal", "front_end", *BACK_END_LAYERS)


class ScalarNorm(nn.BatchNorm1d):
    """Batch norm with one mean, variance, scale and shift for all channels together."""

    def __init__(self) -> None:
        super().__init__(1, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, frames) for the same."""
        return super().forward(x.flatten(1).unsqueeze(1)).view_as(x)


class BackEnd(nn.Module):
    """Three convolutions over time, two of them residual, max and mean pooling, one dense layer.

    Args:
        n_channels: channels of the map that comes in.
        n_dense: units of the dense layer.
        residual_bn: "scalar" or "per_channel": what the batch norms of the residual layers take together.
    Shape:
        (batch, n_channels, frames>=8) in; out come the layers of `BACK_END_LAYERS`.
    """

    def __init__(self, n_channels: int, n_dense: int, residual_bn: ResidualNorm) -> None:
        super().__init__()
        self.cnn1 = ConvReluNorm(nn.Conv1d(n_channels, N_BACK_END, BACK_END_FRAMES), batch_norm_1d(N_BACK_END))
        self.cnn2 = self._residual(residual_bn)
        self.pool = nn.MaxPool1d(2)
        self.cnn3 = self._residual(residual_bn)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(2 * N_BACK_END, n_dense)
        self.bn_dense = batch_norm_1d(n_dense)

    @staticmethod
    def _residual(residual_bn: ResidualNorm) -> ConvReluNorm:
        conv = nn.Conv1d(N_BACK_END, N_BACK_END, BACK_END_FRAMES, padding=BACK_END_FRAMES // 2)
        return ConvReluNorm(conv, ScalarNorm() if residual_bn == "scalar" else batch_norm_1d(N_BACK_END))

    def forward(self, front_end: Tensor) -> dict[str, Tensor]:
        """Compute every named layer of the back-end."""
        cnn1 = self.cnn1(front_end)  # (batch, 512, frames - 6)
        cnn2 = self.cnn2(cnn1) + cnn1
        pool = self.pool(cnn2)  # (batch, 512, (frames - 6) // 2)
        cnn3 = self.cnn3(pool) + pool
        max_pool, mean_pool = cnn3.amax(2), cnn3.mean(2)
        pooled = torch.stack([max_pool, mean_pool], 2).flatten(1)  # (batch, 1024): max0, mean0, max1, mean1, ...
        dense = self.dense(self.dropout(pooled))
        return {
            "cnn1": cnn1.transpose(1, 2),
            "cnn2": cnn2.transpose(1, 2),
            "pool": pool.transpose(1, 2),
            "cnn3": cnn3.transpose(1, 2),
            "max_pool": max_pool,
            "mean_pool": mean_pool,
            "penultimate": self.bn_dense(dense.relu()),
        }


class AtScaleWaveform(TaggingModel):
    """Seven short convolutions on the samples, then the back-end.

    Args:
        n_tags: number of outputs, or None for no head.
        n_samples: length of a patch.
        n_dense: units of the dense layer.
        residual_bn: "scalar" or "per_channel", see `BackEnd`.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, samples>=19680) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        n_samples: int = WAVEFORM.n_samples,
        n_dense: int = N_DENSE,
        residual_bn: ResidualNorm = "scalar",
    ) -> None:
        check_count("n_samples", n_samples, LEAST_SAMPLES)
        _check_back_end(n_dense, residual_bn)
        super().__init__(
            frontend=dataclasses.replace(WAVEFORM, n_samples=n_samples),
            n_features=n_dense,
            n_tags=n_tags,
            layers=WAVEFORM_LAYERS,
            least_frames=LEAST_SAMPLES,
            dropout=0.5,
        )
        n_first = WAVEFORM_CHANNELS[0]
        strided = ConvReluNorm(nn.Conv1d(1, n_first, N_TAPS, stride=N_TAPS), batch_norm_1d(n_first))
        pooled = (
            nn.Sequential(
                ConvReluNorm(nn.Conv1d(n_in, n_out, N_TAPS), batch_norm_1d(n_out)), NeighboursMaxPool1d(N_TAPS)
            )
            for n_in, n_out in itertools.pairwise(WAVEFORM_CHANNELS)
        )
        self.convs = nn.ModuleList([strided, *pooled])
        self.back_end = BackEnd(WAVEFORM_CHANNELS[-1], n_dense, residual_bn)
        self.apply(he_truncated_normal_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, samples)."""
        x, layers = patches, {}
        for name, conv in zip(WAVEFORM_LAYERS, self.convs):
            x = conv(x)  # (batch, channels, frames), each time a third as long
            layers[name] = x.transpose(1, 2)
        return {**layers, **self.back_end(x)}

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel."""
        he_truncated_normal_(head)


class AtScaleSpectrogram(TaggingModel):
    """One layer of timbral and temporal filters on the log-mel spectrogram, then the back-end.

    Args:
        n_tags: number of outputs, or None for no head.
        n_filters: what the numbers of filters of the front-end's kernels are multiples of.
        n_mels: bands of the spectrogram, of which the timbral kernels cover nine and four tenths.
        n_frames: length of a patch.
        n_dense: units of the dense layer.
        residual_bn: "scalar" or "per_channel", see `BackEnd`.
        standardize_patch: whether the spectrogram of each patch is brought to mean 0 and deviation 1 by itself.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, mels=96, frames>=8) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        n_filters: int = N_FILTERS,
        n_mels: int = MEL.n_mels,
        n_frames: int = MEL.n_frames,
        n_dense: int = N_DENSE,
        residual_bn: ResidualNorm = "scalar",
        standardize_patch: bool = True,
    ) -> None:
        check_count("n_filters", n_filters)
        check_count("n_mels", n_mels, least=3)  # four tenths of fewer are no band
        check_count("n_frames", n_frames, LEAST_FRAMES)
        _check_back_end(n_dense, residual_bn)
        check_flag("standardize_patch", standardize_patch)
        super().__init__(
            frontend=dataclasses.replace(MEL, n_mels=n_mels, n_frames=n_frames),
            n_features=n_dense,
            n_tags=n_tags,
            layers=SPECTROGRAM_LAYERS,
            least_frames=LEAST_FRAMES,
            dropout=0.5,
        )
        # One group of one channel: the statistics are those of each patch.
        self.patch_norm = nn.GroupNorm(1, 1, PATCH_NORM_EPS, affine=False) if standardize_patch else nn.Identity()
        self.timbral = nn.ModuleList(
            _timbral(int(height * n_mels), width, factor * n_filters)
            for height in TIMBRAL_HEIGHTS
            for width, factor in TIMBRAL_FRAMES.items()
        )
        self.temporal = nn.ModuleList(
            _temporal(length, factor * n_filters) for length, factor in TEMPORAL_FRAMES.items()
        )
        factors = len(TIMBRAL_HEIGHTS) * sum(TIMBRAL_FRAMES.values()) + sum(TEMPORAL_FRAMES.values())  # 29
        self.back_end = BackEnd(factors * n_filters, n_dense, residual_bn)
        self.apply(he_truncated_normal_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.patch_norm(patches.transpose(2, 3))  # (batch, 1, frames, mels), as the source lays it out
        timbral = torch.cat([branch(x).amax(3) for branch in self.timbral], 1)  # (batch, 224, frames)
        envelope = x.mean(3)  # (batch, 1, frames)
        temporal = torch.cat([branch(envelope) for branch in self.temporal], 1)  # (batch, 240, frames)
        front_end = torch.cat([timbral, temporal], 1)  # (batch, 464, frames)
        return {
            "timbral": timbral.transpose(1, 2),
            "temporal": temporal.transpose(1, 2),
            "front_end": front_end.transpose(1, 2),
            **self.back_end(front_end),
        }

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel."""
        he_truncated_normal_(head)


def _timbral(n_mels: int, n_frames: int, n_filters: int) -> ConvReluNorm:
    """A branch of one kernel shape, zero-padded in time alone, so that the maximum over mel sees real bands only."""
    conv = nn.Conv2d(1, n_filters, (n_frames, n_mels), padding=(n_frames // 2, 0))
    return ConvReluNorm(conv, batch_norm_2d(n_filters))


def _temporal(n_frames: int, n_filters: int) -> nn.Sequential:
    """A branch of one kernel length, which keeps the frames."""
    padding = nn.ZeroPad1d(same_zeros(n_frames))
    return nn.Sequential(padding, ConvReluNorm(nn.Conv1d(1, n_filters, n_frames), batch_norm_1d(n_filters)))


def _check_back_end(n_dense: object, residual_bn: object) -> None:
    check_count("n_dense", n_dense)
    check_choice("residual_bn", residual_bn, get_args(ResidualNorm))


@register_model(paper=PAPER, n_tags=50)
def at_scale_waveform(
    n_tags: int | None = None,
    *,
    n_samples: int = WAVEFORM.n_samples,
    n_dense: int = N_DENSE,
    residual_bn: ResidualNorm = "scalar",
) -> AtScaleWaveform:
    """Build the network on waveforms, 5,377,082 parameters with 50 tags."""
    return AtScaleWaveform(n_tags, n_samples=n_samples, n_dense=n_dense, residual_bn=residual_bn)


@register_model(paper=PAPER, n_tags=50)
def at_scale_spectrogram(
    n_tags: int | None = None,
    *,
    n_filters: int = N_FILTERS,
    n_mels: int = MEL.n_mels,
    n_frames: int = MEL.n_frames,
    n_dense: int = N_DENSE,
    residual_bn: ResidualNorm = "scalar",
    standardize_patch: bool = True,
) -> AtScaleSpectrogram:
    """Build the network on spectrograms, 5,924,154 parameters with 50 tags."""
    return AtScaleSpectrogram(
        n_tags,
        n_filters=n_filters,
        n_mels=n_mels,
        n_frames=n_frames,
        n_dense=n_dense,
        residual_bn=residual_bn,
        standardize_patch=standardize_patch,
    )
