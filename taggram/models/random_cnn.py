"""Nine networks whose random weights are never trained: what they make of a clip, averaged, is its features.

Source: Pons and Serra, "Randomly weighted CNNs for (music) audio classification", ICASSP 2019, arXiv 1805.00237. The
    facts below are those of the last state of the released code, May 2018; widths and lengths of features are those of
    the published charts.
Differs:
    - The code averages the three back-end maps of the frame-level networks over time and filters alike, one number a
      map, and leaves the other places of its features 0. That is `backend_pooling="reference"`; by default every filter
      is averaged over time for itself, as everywhere else.
    - Timbral and temporal branches that are not used are not built; the code computes all ten and drops some.
    - The code also offers the map of `random_7x86` before its pooling, which the paper does not use.
    - Other random numbers than TensorFlow's: the distribution is the same, no single draw is. The code sets no seed;
      here `torch.manual_seed` before building gives the draw.
    - The code has no head. Ours is started like the kernels, and before them: where a seed's draw is to stay, build
      without a head and put one on by `reset_head`.
    - Not known is whether the paper's figures for UrbanSound8K used the temporal kernels "audio", which were added for
      it, and spectrograms of 1376 frames by repetition, or of other lengths that stand in the code's comments.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from taggram._checks import check_choice, check_count
from taggram.errors import ConfigError
from taggram.frontends import FrontendConfig, LogMelConfig, RawConfig
from taggram.models._blocks import SamePad1d, he_truncated_normal_, same_zeros
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

PAPER = "Pons and Serra, ICASSP 2019"
BackendPooling: TypeAlias = Literal["reference", "per_filter"]
Kernels: TypeAlias = Literal["music", "audio"]

MEL = LogMelConfig(  # decibels go in as they are, so that zeros of padding are loud
    sample_rate=12_000,
    n_fft=512,
    hop_length=256,
    n_mels=96,
    n_frames=1376,  # 29.4 s, for Extended Ballroom and UrbanSound8K; 1404 for GTZAN
    compression="db",
    eps=1e-10,
    top_db=80,
)
RAW = RawConfig(sample_rate=12_000, n_samples=350_000)  # 29.2 s, for both music sets; 48,000 for UrbanSound8K

N_AT_ONCE = 64  # filters that are worked on together where no gradient is wanted

N_SAMPLE_BLOCKS = 6  # convolutions followed by a pool, after the strided one
SAMPLE_TAPS = 3  # length of all kernels, strides and pools of the sample-level network

FRAME_TAPS = (512, 256, 128, 64, 32)  # lengths of the strided kernels; the first alone where there is one
FRAME_STRIDE = 32  # of all of them
BACKEND_TAPS = 7  # length of the back-end kernels
BACKEND_MAPS = ("back1", "back2", "back3")
LEAST_FRONT = BACKEND_TAPS + 1  # positions that leave one behind the first convolution and the pool of the back-end

SINGLE_FRAMES = 7  # kernel width in time of the networks of one layer

TIMBRAL_MELS = (86, 38)  # kernel heights in mel: int(0.9 * 96), int(0.4 * 96)
TIMBRAL_FRAMES = ((7, 1), (3, 2), (1, 4))  # kernel widths in time, and filters in units of the network's width
TEMPORAL_FRAMES: dict[Kernels, tuple[int, ...]] = {"music": (165, 128, 64, 32), "audio": (64, 32, 16, 8)}
TEMPORAL_FILTERS = (1, 2, 4, 8)  # in units of the width, each less a quarter of it
TEMPORAL_WIDTHS = (4, 8, 16, 32, 64, 128, 256)  # the only ones that the code defines
N_PER_WIDTH = 14  # filters of all timbral branches, and of all temporal ones, in units of the width

VGG_POOLS = ((4, 2), (4, 3), (5, 2), (4, 2), (4, 4))  # (frames, mels): 1280 x 96 becomes 1 x 1
VGG_LEAST_FRAMES = 1280  # product of the pools in time


class PooledConv(nn.Module):
    """Convolution, activation and max-pool, for a part of the filters at a time where no gradient is wanted.

    So the map before the pool, which may take hundreds of megabytes a clip, is never there as a whole.

    Args:
        conv: the convolution.
        pool: the max-pool.
        activation: the activation. It must rise, as ReLU and ELU do: it then gives the same values after the pool as
            before it, and has less to do.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d, pool: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.pool = pool
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, filters, ...) for (batch, channels, ...)."""
        at_once = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if at_once or self.conv.out_channels <= N_AT_ONCE:
            return self._pooled(self.conv(x))
        names, parameters = zip(*self.conv.named_parameters())
        parts = zip(*(parameter.split(N_AT_ONCE) for parameter in parameters))
        return torch.cat([self._pooled(functional_call(self.conv, dict(zip(names, part)), x)) for part in parts], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.activation(self.pool(x))
        return pooled


class RandomCNN(TaggingModel, abc.ABC):
    """A network whose feature maps are averaged over all positions and put one after the other.

    Args:
        n_tags: number of outputs, or None for the features.
        frontend: settings of the front-end.
        least_frames: frames, or samples, of the shortest patch that the network takes.
        width: number of filters, the one size that all of its layers follow.
        n_features_per_width: length of the features in units of the width.
        maps: names of the feature maps, in order.

    Raises:
        ConfigError: `width` is no whole number from 1 on, or the patch of the front-end is too short.
    """

    def __init__(
        self,
        n_tags: int | None,
        *,
        frontend: FrontendConfig,
        least_frames: int,
        width: int,
        n_features_per_width: int,
        maps: tuple[str, ...],
    ) -> None:
        check_count("width", width)
        if frontend.n_frames < least_frames:
            option = "n_samples" if isinstance(frontend, RawConfig) else "n_frames"
            raise ConfigError(f"{option} is {frontend.n_frames}; this network needs at least {least_frames}.")
        super().__init__(
            frontend=frontend,
            n_features=n_features_per_width * width,
            n_tags=n_tags,
            layers=(*maps, "penultimate"),
            task="features",
            least_frames=least_frames,
        )
        self.width = width

    @abc.abstractmethod
    def forward_maps(self, patches: Tensor) -> list[Tensor]:
        """Compute the feature maps.

        Args:
            patches: (batch, 1, mels, frames) or (batch, 1, samples), as the front-end gives them.

        Returns:
            (batch, filters, time) or (batch, filters, frames, mels), each.
        """

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps and what they average to, for (batch, 1, mels, frames) or (batch, 1, samples)."""
        maps = self.forward_maps(patches)
        layers = {name: values.movedim(1, -1) for name, values in zip(self.layers(), maps)}
        layers["penultimate"] = self.average(maps)
        return layers

    def average(self, maps: list[Tensor]) -> Tensor:
        """Average each filter's map over all of its positions.

        Args:
            maps: as `forward_maps` gives them.

        Returns:
            (batch, n_features).
        """
        return torch.cat([values.flatten(2).mean(2) for values in maps], 1)

    def init_head(self, head: nn.Linear) -> None:
        """Start the head, which the source does not have, like the kernels."""
        he_truncated_normal_(head)


class RandomSampleLevel(RandomCNN):
    """Seven convolutions of three samples on the waveform, each but the first with a pool.

    Args:
        n_tags: number of outputs, or None for the features.
        width: number of filters of every layer.
        n_samples: length of the patch.

    Raises:
        ConfigError: some value makes no sense.
    Shape:
        (batch, 1, samples>=2187) in, (batch, 7 * width) features out.
    """

    def __init__(self, n_tags: int | None, width: int, n_samples: int) -> None:
        super().__init__(
            n_tags,
            frontend=dataclasses.replace(RAW, n_samples=n_samples),
            least_frames=SAMPLE_TAPS ** (1 + N_SAMPLE_BLOCKS),
            width=width,
            n_features_per_width=1 + N_SAMPLE_BLOCKS,
            maps=("conv0", *[f"pool{number}" for number in range(1, 1 + N_SAMPLE_BLOCKS)]),
        )
        self.conv = nn.Sequential(nn.Conv1d(1, width, SAMPLE_TAPS, stride=SAMPLE_TAPS), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList(
            PooledConv(
                nn.Conv1d(width, width, SAMPLE_TAPS, padding=SAMPLE_TAPS // 2),
                nn.MaxPool1d(SAMPLE_TAPS),
                nn.ReLU(inplace=True),
            )
            for _ in range(N_SAMPLE_BLOCKS)
        )
        self.apply(he_truncated_normal_)

    def forward_maps(self, patches: Tensor) -> list[Tensor]:
        """Compute the feature maps, for (batch, 1, samples)."""
        maps = [self.conv(patches)]  # (batch, width, samples / 3)
        for block in self.blocks:
            maps.append(block(maps[-1]))  # a third of the length
        return maps


class RandomFrameLevel(RandomCNN):
    """Long strided kernels on the waveform, then a back-end of three convolutions, two of them residual.

    Args:
        n_tags: number of outputs, or None for the features.
        many: whether kernels of five lengths look at the samples, or of one.
        width: number of filters of every layer.
        n_samples: length of the patch.
        backend_pooling: how the maps of the back-end are averaged: "per_filter", or "reference" as in the released
            code, one number a map and zeros in the other places.

    Raises:
        ConfigError: some value makes no sense.
    Shape:
        (batch, 1, samples>=736, with many kernels 225) in, (batch, 4 * width, with many kernels 8 * width) features
        out.
    """

    def __init__(
        self, n_tags: int | None, many: bool, width: int, n_samples: int, backend_pooling: BackendPooling
    ) -> None:
        check_choice("backend_pooling", backend_pooling, get_args(BackendPooling))
        taps = FRAME_TAPS if many else FRAME_TAPS[:1]
        fronts = tuple(f"front{n_taps}" for n_taps in taps) if many else ("front",)
        super().__init__(
            n_tags,
            frontend=dataclasses.replace(RAW, n_samples=n_samples),
            least_frames=(LEAST_FRONT - 1) * FRAME_STRIDE + (1 if many else FRAME_TAPS[0]),
            width=width,
            n_features_per_width=len(taps) + len(BACKEND_MAPS),
            maps=fronts + BACKEND_MAPS,
        )
        self.backend_pooling = backend_pooling
        self.fronts = nn.ModuleList(
            nn.Sequential(
                SamePad1d(n_taps, FRAME_STRIDE) if many else nn.Identity(),
                nn.Conv1d(1, width, n_taps, stride=FRAME_STRIDE),
                nn.ReLU(inplace=True),
            )
            for n_taps in taps
        )
        self.back1 = nn.Conv1d(len(taps) * width, width, BACKEND_TAPS)
        self.back2 = nn.Conv1d(width, width, BACKEND_TAPS, padding=BACKEND_TAPS // 2)
        self.pool = nn.MaxPool1d(2)
        self.back3 = nn.Conv1d(width, width, BACKEND_TAPS, padding=BACKEND_TAPS // 2)
        self.apply(he_truncated_normal_)

    def forward_maps(self, patches: Tensor) -> list[Tensor]:
        """Compute the feature maps, for (batch, 1, samples)."""
        fronts = [front(patches) for front in self.fronts]  # (batch, width, time)
        back1 = self.back1(torch.cat(fronts, 1)).relu()  # (batch, width, time - 6)
        back2 = self.back2(back1).relu() + back1
        pooled = self.pool(back2)  # (batch, width, (time - 6) / 2)
        back3 = self.back3(pooled).relu() + pooled
        return [*fronts, back1, back2, back3]

    def average(self, maps: list[Tensor]) -> Tensor:
        """Average each filter's map over time; "reference" averages each back-end map over its filters too.

        Args:
            maps: as `forward_maps` gives them.

        Returns:
            (batch, n_features).
        """
        if self.backend_pooling == "per_filter":
            return super().average(maps)
        n_fronts = len(self.fronts)
        scalars = [F.pad(values.mean((1, 2))[:, None], (0, self.width - 1)) for values in maps[n_fronts:]]
        return torch.cat([super().average(maps[:n_fronts]), *scalars], 1)


class RandomSingleLayer(RandomCNN):
    """One convolution of seven frames by nearly or exactly all mels, and the maximum of its positions in mel.

    Args:
        n_tags: number of outputs, or None for the features.
        kernel_mels: height of the kernels.
        width: number of filters.
        n_frames: length of the patch.

    Raises:
        ConfigError: some value makes no sense.
    Shape:
        (batch, 1, mels=96, frames>=7) in, (batch, width) features out.
    """

    def __init__(self, n_tags: int | None, kernel_mels: int, width: int, n_frames: int) -> None:
        super().__init__(
            n_tags,
            frontend=dataclasses.replace(MEL, n_frames=n_frames),
            least_frames=SINGLE_FRAMES,
            width=width,
            n_features_per_width=1,
            maps=("conv" if kernel_mels == MEL.n_mels else "pool",),
        )
        self.layer = mel_pooled_conv(width, (SINGLE_FRAMES, kernel_mels), n_zeros=0)
        self.apply(he_truncated_normal_)

    def forward_maps(self, patches: Tensor) -> list[Tensor]:
        """Compute the feature map, for (batch, 1, mels, frames)."""
        return [self.layer(patches.transpose(2, 3)).squeeze(3)]  # (batch, width, frames - 6)


class RandomTimbralTemporal(RandomCNN):
    """Tall kernels that are pooled over mel, and long ones over the mean of all mels.

    Args:
        n_tags: number of outputs, or None for the features.
        parts: names of the halves that are built, "timbral" and "temporal".
        width: number of filters of the narrowest timbral branch.
        n_frames: length of the patch.
        kernels: lengths of the temporal kernels, long ones for "music" or short ones for "audio".

    Raises:
        ConfigError: some value makes no sense.
    Shape:
        (batch, 1, mels=96, frames) in, (batch, 14 * width * number of parts) features out.
    """

    def __init__(
        self, n_tags: int | None, parts: tuple[str, ...], width: int, n_frames: int, kernels: Kernels = "music"
    ) -> None:
        check_choice("kernels", kernels, get_args(Kernels))
        if "temporal" in parts and width not in TEMPORAL_WIDTHS:
            raise ConfigError(f"width is {width!r}; temporal filters are defined for {TEMPORAL_WIDTHS}.")
        super().__init__(
            n_tags,
            frontend=dataclasses.replace(MEL, n_frames=n_frames),
            least_frames=1,
            width=width,
            n_features_per_width=N_PER_WIDTH * len(parts),
            maps=parts,
        )
        if "timbral" in parts:
            self.timbral = nn.ModuleList(
                mel_pooled_conv(n_filters * width, (n_frames, n_mels), n_zeros=n_frames // 2)
                for n_mels in TIMBRAL_MELS
                for n_frames, n_filters in TIMBRAL_FRAMES
            )
        if "temporal" in parts:
            self.temporal = nn.ModuleList(
                nn.Sequential(
                    nn.ZeroPad1d(same_zeros(n_frames)),
                    nn.Conv1d(1, n_filters * width - width // 4, n_frames),
                    nn.ReLU(inplace=True),
                )
                for n_frames, n_filters in zip(TEMPORAL_FRAMES[kernels], TEMPORAL_FILTERS)
            )
        self.apply(he_truncated_normal_)

    def forward_maps(self, patches: Tensor) -> list[Tensor]:
        """Compute the feature maps, for (batch, 1, mels, frames)."""
        maps = []
        if "timbral" in self.layers():
            x = patches.transpose(2, 3)  # (batch, 1, frames, mels), as the source lays it out
            maps.append(torch.cat([branch(x).squeeze(3) for branch in self.timbral], 1))
        if "temporal" in self.layers():
            mean = patches.mean(2)  # (batch, 1, frames)
            maps.append(torch.cat([branch(mean) for branch in self.temporal], 1))
        return maps  # (batch, 14 * width, frames)


class RandomVGG(RandomCNN):
    """Five 3 x 3 convolutions, each with ELU and a max-pool.

    Args:
        n_tags: number of outputs, or None for the features.
        width: number of filters of every layer.
        n_frames: length of the patch.

    Raises:
        ConfigError: some value makes no sense.
    Shape:
        (batch, 1, mels=96, frames>=1280) in, (batch, 5 * width) features out.
    """

    def __init__(self, n_tags: int | None, width: int, n_frames: int) -> None:
        super().__init__(
            n_tags,
            frontend=dataclasses.replace(MEL, n_frames=n_frames),
            least_frames=VGG_LEAST_FRAMES,
            width=width,
            n_features_per_width=len(VGG_POOLS),
            maps=tuple(f"pool{number}" for number in range(1, 1 + len(VGG_POOLS))),
        )
        self.blocks = nn.ModuleList(
            PooledConv(nn.Conv2d(n_in, width, 3, padding=1), nn.MaxPool2d(pool), nn.ELU(inplace=True))
            for n_in, pool in zip((1, *[width] * 4), VGG_POOLS)
        )
        self.apply(he_truncated_normal_)

    def forward_maps(self, patches: Tensor) -> list[Tensor]:
        """Compute the feature maps, for (batch, 1, mels, frames)."""
        x = patches.transpose(2, 3)  # (batch, 1, frames, mels), as the source lays it out
        maps = []
        for block in self.blocks:
            x = block(x)  # (batch, width, frames, mels)
            maps.append(x)
        return maps


def mel_pooled_conv(n_filters: int, kernel: tuple[int, int], n_zeros: int) -> PooledConv:
    """Make a convolution with ReLU and the maximum over all of its positions in mel.

    Args:
        n_filters: number of filters.
        kernel: (frames, mels).
        n_zeros: zeros at either end of time.

    Returns:
        A layer that gives (batch, filters, frames, 1).
    """
    conv = nn.Conv2d(1, n_filters, kernel, padding=(n_zeros, 0))
    n_positions = MEL.n_mels - kernel[1] + 1
    return PooledConv(conv, nn.MaxPool2d((1, n_positions)), nn.ReLU(inplace=True))


@register_model(paper=PAPER, n_tags=None)
def random_sample_level(
    n_tags: int | None = None, *, width: int = 512, n_samples: int = RAW.n_samples
) -> RandomSampleLevel:
    """Build the sample-level network: 3584 features, 4,723,712 parameters; width 23: 161, 9,752."""
    return RandomSampleLevel(n_tags, width=width, n_samples=n_samples)


@register_model(paper=PAPER, n_tags=None)
def random_frame_level(
    n_tags: int | None = None,
    *,
    width: int = 896,
    n_samples: int = RAW.n_samples,
    backend_pooling: BackendPooling = "per_filter",
) -> RandomFrameLevel:
    """Build the frame-level network: 3584 features, 17,321,472 parameters; width 40: 160, 54,240."""
    return RandomFrameLevel(n_tags, many=False, width=width, n_samples=n_samples, backend_pooling=backend_pooling)


@register_model(paper=PAPER, n_tags=None)
def random_frame_level_many(
    n_tags: int | None = None,
    *,
    width: int = 448,
    n_samples: int = RAW.n_samples,
    backend_pooling: BackendPooling = "per_filter",
) -> RandomFrameLevel:
    """Build the network of many frame lengths: 3584 features, 10,282,496 parameters; width 20: 160, 39,600."""
    return RandomFrameLevel(n_tags, many=True, width=width, n_samples=n_samples, backend_pooling=backend_pooling)


@register_model(paper=PAPER, n_tags=None)
def random_7x96(n_tags: int | None = None, *, width: int = 3585, n_frames: int = MEL.n_frames) -> RandomSingleLayer:
    """Build 7x96, whose kernels span all mels: 3585 features, 2,412,705 parameters; width 160: 160, 107,680."""
    return RandomSingleLayer(n_tags, kernel_mels=96, width=width, n_frames=n_frames)


@register_model(paper=PAPER, n_tags=None)
def random_7x86(n_tags: int | None = None, *, width: int = 3585, n_frames: int = MEL.n_frames) -> RandomSingleLayer:
    """Build 7x86, whose kernels can move in mel: 3585 features, 2,161,755 parameters; width 160: 160, 96,480."""
    return RandomSingleLayer(n_tags, kernel_mels=86, width=width, n_frames=n_frames)


@register_model(paper=PAPER, n_tags=None)
def random_timbral(
    n_tags: int | None = None, *, width: int = 256, n_frames: int = MEL.n_frames
) -> RandomTimbralTemporal:
    """Build the timbral half: 3584 features, 543,232 parameters; width 8: 112, 16,976."""
    return RandomTimbralTemporal(n_tags, ("timbral",), width=width, n_frames=n_frames)


@register_model(paper=PAPER, n_tags=None)
def random_temporal(
    n_tags: int | None = None, *, width: int = 256, n_frames: int = MEL.n_frames, kernels: Kernels = "music"
) -> RandomTimbralTemporal:
    """Build the temporal half: 3584 features, 217,536 parameters; width 8: 112, 6,798."""
    return RandomTimbralTemporal(n_tags, ("temporal",), width=width, n_frames=n_frames, kernels=kernels)


@register_model(paper=PAPER, n_tags=None)
def random_timbral_temporal(
    n_tags: int | None = None, *, width: int = 128, n_frames: int = MEL.n_frames, kernels: Kernels = "music"
) -> RandomTimbralTemporal:
    """Build both halves: 3584 features, 380,384 parameters; width 4: 112, 11,887."""
    return RandomTimbralTemporal(n_tags, ("timbral", "temporal"), width=width, n_frames=n_frames, kernels=kernels)


@register_model(paper=PAPER, n_tags=None)
def random_vgg(n_tags: int | None = None, *, width: int = 717, n_frames: int = MEL.n_frames) -> RandomVGG:
    """Build the VGG: 3585 features, 18,517,242 parameters; width 32: 160, 37,312."""
    return RandomVGG(n_tags, width=width, n_frames=n_frames)
