"""A family of 2-D CNNs on one square picture of a whole clip, from a student project of 2017.

Source: Alekseeva, Klironomou, Markou and Xenaki, "Development of a convolutional neural network for multi label auto
    tagging of music audio files", 2017: the released code and its README, github.com/emarkou/Audio-auto-tagging. There
    is no paper.
Differs: logits out, no sigmoid. Only the network "conv3" is in the code; the README speaks of two or three
    convolutions, with or without pooling, so that the other presets are ours, cut from or added to it. The code feeds
    the power of the spectrogram as it is (`features="mel"`) and draws every weight and bias from a normal of deviation
    1 (`init="unit_normal"`), with which logits start in the thousands; the defaults are decibels, standardised by a
    training set, and He normal kernels with biases of 0. The picture is flattened channels first, as in torch. A sound
    that makes no 120 frames is refused, as by every network of fixed length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from taggram._checks import check, check_choice, check_count, whole_numbers
from taggram.frontends import FrontendConfig, LogMelConfig, MFCCConfig
from taggram.models._blocks import Standardize, he_normal_, same_zeros
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

SIDE = 120  # bands and frames of the picture
POWER = LogMelConfig(
    sample_rate=2108,  # makes the picture square: 29.1 s are 120 frames. Nothing above 1054 Hz is heard.
    n_fft=2048,
    hop_length=512,
    n_mels=SIDE,
    n_frames=SIDE,
)
DECIBELS = dataclasses.replace(POWER, compression="db", eps=1e-10)
MFCC = MFCCConfig(n_mfcc=SIDE, mel=dataclasses.replace(DECIBELS, n_mels=128, top_db=80))

Features: TypeAlias = Literal["mel", "mfcc", "logmel"]
FRONTENDS: dict[Features, FrontendConfig] = {"mel": POWER, "mfcc": MFCC, "logmel": DECIBELS}


class Stack(NamedTuple):
    """The convolutions of a preset.

    Attributes:
        widths: filters of each.
        pools: side of the square max-pool behind each; 1 is none.
    """

    widths: tuple[int, ...]
    pools: tuple[int, ...]


Preset: TypeAlias = Literal["conv3", "conv2", "conv2_nopool2", "conv3_pool"]
PRESETS: dict[Preset, Stack] = {
    "conv3": Stack((64, 128, 256), (6, 2, 1)),
    "conv2": Stack((64, 128), (6, 2)),
    "conv2_nopool2": Stack((64, 128), (6, 1)),
    "conv3_pool": Stack((64, 128, 256), (6, 2, 2)),
}
KERNEL = 10  # side of every kernel
N_DENSE = 1024  # units of the dense layer
Counts: TypeAlias = int | str | Sequence[int]


def unit_normal_(module: nn.Module) -> None:
    """Draw kernels and biases alike from a normal of deviation 1.

    Args:
        module: anything; only convolutions and linear layers are touched.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight)
        if module.bias is not None:
            nn.init.normal_(module.bias)


Init: TypeAlias = Literal["he", "unit_normal"]
INITS: dict[Init, Callable[[nn.Module], None]] = {"he": he_normal_, "unit_normal": unit_normal_}


class EmarkouCNN(TaggingModel):
    """Convolutions with ReLU, some with max-pool, then one dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
        preset: which network of the family, see `PRESETS`.
        features: "mel" is the power of the mel spectrogram, "logmel" its decibels, "mfcc" their cepstrum.
        widths: filters of each convolution, such as "64,128"; None is the preset's.
        kernels: side of the kernels, one for all or one each.
        pools: side of the max-pool behind each convolution, one for all or one each, 1 for none; None is the preset's.
        n_dense: units of the dense layer.
        init: "he" or "unit_normal", see `INITS`.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, bands=120, frames=120) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        preset: Preset = "conv3",
        features: Features = "logmel",
        widths: Counts | None = None,
        kernels: Counts = KERNEL,
        pools: Counts | None = None,
        n_dense: int = N_DENSE,
        init: Init = "he",
    ) -> None:
        check_choice("preset", preset, PRESETS)
        check_choice("features", features, FRONTENDS)
        check_choice("init", init, INITS)
        check_count("n_dense", n_dense)
        widths = _counts("widths", PRESETS[preset].widths if widths is None else widths)
        kernels = _counts("kernels", kernels, len(widths))
        pools = _counts("pools", PRESETS[preset].pools if pools is None else pools, len(widths))
        layers = [
            name
            for number, size in enumerate(pools, start=1)
            for name in (f"conv{number}", *([f"pool{number}"] if size > 1 else []))
        ]
        self.init: Init = init  # which the base class asks for when it makes the head
        super().__init__(
            frontend=FRONTENDS[features],
            n_features=n_dense,
            n_tags=n_tags,
            layers=(*layers, "penultimate"),
            fixed_length=True,
            dropout=0.25,
        )
        self.standardize = Standardize() if features == "logmel" else None  # the source's features go in as they are
        self.convs = nn.ModuleList(
            nn.Sequential(nn.ZeroPad2d(same_zeros(size) * 2), nn.Conv2d(n_in, n_out, size), nn.ReLU())
            for (n_in, n_out), size in zip(pairwise((1, *widths)), kernels)
        )
        self.pools = nn.ModuleList()
        side = SIDE
        for size in pools:
            self.pools.append(_max_pool(size, side))
            side = -(-side // size)
        self.dense = nn.Linear(widths[-1] * side**2, n_dense)
        self.apply(INITS[init])

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every convolution behind its ReLU, every pool and the dense layer, for (batch, 1, bands, frames)."""
        x = patches if self.standardize is None else self.standardize(patches)
        layers = {}
        for number, (conv, pool) in enumerate(zip(self.convs, self.pools), start=1):
            x = conv(x)  # (batch, filters, bands, frames)
            layers[f"conv{number}"] = x.permute(0, 3, 2, 1)
            if not isinstance(pool, nn.Identity):
                x = pool(x)
                layers[f"pool{number}"] = x.permute(0, 3, 2, 1)
        return {**layers, "penultimate": self.dense(x.flatten(1)).relu()}

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other layer."""
        INITS[self.init](head)


def _max_pool(size: int, side: int) -> nn.Module:
    """Max-pool with TensorFlow's "same" padding; behind a ReLU, zeros never hide a maximum."""
    if size == 1:
        return nn.Identity()
    n_zeros = -side % size
    padding = (n_zeros // 2, n_zeros - n_zeros // 2) * 2
    return nn.Sequential(nn.ZeroPad2d(padding), nn.MaxPool2d(size)) if n_zeros else nn.MaxPool2d(size)


def _counts(name: str, came: Counts, n: int | None = None) -> tuple[int, ...]:
    """Read whole numbers from 1 on, where one alone stands for all `n`."""
    counts = whole_numbers(came)
    if n is not None and len(counts) == 1:
        counts *= n
    fits = len(counts) == (n or len(counts)) and min(counts, default=0) >= 1
    wanted = "whole numbers from 1 on" if n is None else f"whole numbers from 1 on, one or as many as widths, {n}"
    check(fits, name, came, wanted)
    return counts


@register_model(paper="Alekseeva et al., student project, 2017", n_tags=50)
def emarkou(
    n_tags: int | None = None,
    *,
    preset: Preset = "conv3",
    features: Features = "logmel",
    widths: Counts | None = None,
    kernels: Counts = KERNEL,
    pools: Counts | None = None,
    n_dense: int = N_DENSE,
    init: Init = "he",
) -> EmarkouCNN:
    """Build a network of the family, 30,369,522 parameters with 50 tags as published."""
    return EmarkouCNN(n_tags, preset, features, widths, kernels, pools, n_dense, init)
