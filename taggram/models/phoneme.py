"""Networks that name the phoneme sung: tall filters in one layer, small square ones in five, and a perceptron.

Source: Pons, Slizovskaia, Gong, Gómez and Serra, "Timbre analysis of music audio signals with convolutional neural
    networks", EUSIPCO 2017, arXiv 1703.06697, the experiment on jingju singing; code and released weights of
    github.com/ronggong/EUSIPCO2017.
Differs: logits out, no softmax. Where the code and the weights released with it disagree, the weights are followed:
    `phoneme_timbre` has a density of 4 and a dropout of 0.32 for both role types (the script for dan: 3 and 0.3044),
    and `phoneme_small_rectangular` has ReLU (the script: ELU, to be had as an option). There are 29 classes, as in the
    code; the paper's 32 are from memory. The gain of the logarithm is 100,000 throughout; the script that evaluates
    has 10,000 for the convolutional networks. The perceptron is tested on what it was trained on; the script takes no
    logarithm there and scales each recording by itself. Only frames with a whole patch around them get scores; the
    source repeats the first and the last frame of a recording. Stereo is mixed; the source takes the left channel. For
    the front-end see `_essentia_mel.py`.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check_choice, check_count
from taggram.models._blocks import BN_MOMENTUM, Standardize, glorot_uniform_, he_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._essentia_mel import JINGJU_MEL
from taggram.models._registry import register_model

PAPER = "Pons et al., EUSIPCO 2017"

FILTERS = (  # (mels, frames, filters with a density of 1) of each shape
    (50, 1, 32),
    (50, 5, 16),
    (50, 10, 8),
    (70, 1, 32),
    (70, 5, 16),
    (70, 10, 8),
)
POOL_MELS = 2  # height of their max-pool, which is as wide as the map
N_FLAT = sum(n * ((JINGJU_MEL.n_mels - n_mels + 1) // POOL_MELS) for n_mels, _, n in FILTERS)  # 1120
TIMBRE_DROPOUT = 0.32
TIMBRE_LAYERS = (*(f"pool_{n_mels}x{n_frames}" for n_mels, n_frames, _ in FILTERS), "penultimate")

Activation = Literal["relu", "elu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}
N_RECTANGULAR = (60, 84, 84, 84, 60)  # filters of each block
RECTANGULAR_POOLS = ((2, 2), (2, 1), (2, 1), (2, 1), None)  # (mels, frames): 80 x 21 becomes 1 x 1
RECTANGULAR_BN_EPS = 1e-5  # default of Keras 1.1
RECTANGULAR_LAYERS = ("pool1", "pool2", "pool3", "pool4", "penultimate")

Role = Literal["dan", "laosheng"]
ROLES: dict[Role, tuple[int, float]] = {"dan": (511, 0.251), "laosheng": (475, 0.291)}  # units of a layer, dropout
MLP_MEL = dataclasses.replace(JINGJU_MEL, n_frames=5)
MLP_FRAMES = [2, 1, 3, 0, 4]  # how the frames are stacked: t, t - 1, t + 1, t - 2, t + 2
MLP_LAYERS = ("dense1", "penultimate")


class PhonemeTimbre(TaggingModel):
    """One layer of tall filters of six shapes, pooled over all time, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        density: how many times the smallest published number of filters there are, 1 or more.

    Raises:
        ConfigError: `density` is no whole number from 1 on.
    Shape:
        (batch, 1, mels=80, frames=21) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, density: int = 4) -> None:
        check_count("density", density)
        super().__init__(
            frontend=JINGJU_MEL,
            n_features=density * N_FLAT,
            n_tags=n_tags,
            layers=TIMBRE_LAYERS,
            task="one",
            fixed_length=True,
            dropout=TIMBRE_DROPOUT,
        )
        self.standardize = Standardize(JINGJU_MEL.n_mels, JINGJU_MEL.n_frames)
        self.branches = nn.ModuleDict(
            {
                f"{n_mels}x{n_frames}": nn.Sequential(
                    OrderedDict(
                        conv=nn.Conv2d(1, density * n_filters, (n_mels, n_frames)),
                        elu=nn.ELU(),
                        pool=nn.MaxPool2d((POOL_MELS, JINGJU_MEL.n_frames - n_frames + 1)),
                    )
                )
                for n_mels, n_frames, n_filters in FILTERS
            }
        )
        self.branches.apply(he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute what each shape of filter gives, and all together, for (batch, 1, mels, frames)."""
        x = self.standardize(patches)
        pools = [branch(x).flatten(1) for branch in self.branches.values()]  # (batch, filters * 15 or 5)
        return dict(zip(TIMBRE_LAYERS, [*pools, torch.cat(pools, 1)]))  # the last: (batch, 1120 * density)


class PhonemeSmallRectangular(TaggingModel):
    """Five blocks of 3 x 3 convolution, norm and activation, four of them with a max-pool, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        activation: "relu" as in the released weights or "elu" as in the released code.

    Raises:
        ConfigError: `activation` is none of the two.
    Shape:
        (batch, 1, mels=80, frames=21) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, activation: Activation = "relu") -> None:
        check_choice("activation", activation, ACTIVATIONS)
        super().__init__(
            frontend=JINGJU_MEL,
            n_features=N_RECTANGULAR[-1],
            n_tags=n_tags,
            layers=RECTANGULAR_LAYERS,
            task="one",
            fixed_length=True,
        )
        self.standardize = Standardize(JINGJU_MEL.n_mels, JINGJU_MEL.n_frames)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(n_in, n_out, 3),
                    bn=nn.BatchNorm2d(n_out, eps=RECTANGULAR_BN_EPS, momentum=BN_MOMENTUM),
                    activation=ACTIVATIONS[activation](),
                    pool=nn.MaxPool2d(pool) if pool else nn.Identity(),
                )
            )
            for n_in, n_out, pool in zip((1, *N_RECTANGULAR), N_RECTANGULAR, RECTANGULAR_POOLS)
        )
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.standardize(patches)
        layers = {}
        for name, block in zip(RECTANGULAR_LAYERS, self.blocks[:-1]):
            x = block(x)
            layers[name] = x.permute(0, 3, 2, 1)  # (batch, frames, mels, filters)
        return {**layers, "penultimate": self.blocks[-1](x).flatten(1)}  # (batch, 60)


class PhonemeMLP(TaggingModel):
    """Two dense layers on five frames, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        role: the role type that the sizes were found for, "dan" or "laosheng", see `ROLES`.

    Raises:
        ConfigError: `role` is none of the two.
    Shape:
        (batch, 1, mels=80, frames=5) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, role: Role = "dan") -> None:
        check_choice("role", role, ROLES)
        n_units, dropout = ROLES[role]
        super().__init__(
            frontend=MLP_MEL,
            n_features=n_units,
            n_tags=n_tags,
            layers=MLP_LAYERS,
            task="one",
            fixed_length=True,
            dropout=dropout,
        )
        self.standardize = Standardize(MLP_MEL.n_mels, MLP_MEL.n_frames)
        self.dense1 = nn.Linear(MLP_MEL.n_frames * MLP_MEL.n_mels, n_units)
        self.dropout = nn.Dropout(dropout)
        self.dense2 = nn.Linear(n_units, n_units)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute both dense layers, for (batch, 1, mels, frames)."""
        x = self.standardize(patches).squeeze(1).transpose(1, 2)  # (batch, frames, mels)
        dense1 = F.relu(self.dense1(x[:, MLP_FRAMES].flatten(1)))  # (batch, 511 or 475)
        return {"dense1": dense1, "penultimate": F.relu(self.dense2(self.dropout(dense1)))}


@register_model(paper=PAPER, n_tags=29)
def phoneme_timbre(n_tags: int | None = None, *, density: int = 4) -> PhonemeTimbre:
    """Build the proposed network, 222,557 parameters with 29 phonemes."""
    return PhonemeTimbre(n_tags, density)


@register_model(paper=PAPER, n_tags=29)
def phoneme_small_rectangular(n_tags: int | None = None, *, activation: Activation = "relu") -> PhonemeSmallRectangular:
    """Build the baseline with small filters, 221,153 parameters with 29 phonemes."""
    return PhonemeSmallRectangular(n_tags, activation)


@register_model(paper=PAPER, n_tags=29)
def phoneme_mlp(n_tags: int | None = None, *, role: Role = "dan") -> PhonemeMLP:
    """Build the baseline without convolution, 481,391 parameters (dan) or 430,379 (laosheng) with 29 phonemes."""
    return PhonemeMLP(n_tags, role)
