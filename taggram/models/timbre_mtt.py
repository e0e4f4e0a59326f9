"""Networks for music tagging with filters of twelve shapes, and the two small baselines that they were compared with.

Source: Pons, Slizovskaia, Gong, Gómez and Serra, "Timbre analysis of music audio signals with convolutional neural
    networks", EUSIPCO 2017, arXiv 1703.06697, the experiment on MagnaTagATune; code of
    github.com/jordipons/EUSIPCO2017. Its baselines follow Dieleman and Schrauwen, "End-to-end learning for music
    audio", ICASSP 2014, and the 3 x 3 filters of Choi, Fazekas and Sandler, "Automatic tagging using deep convolutional
    neural networks", ISMIR 2016.
Differs: logits out, no sigmoid. The second layer is a convolution over time that sees all filters of the first. The
    code wants the same, but reshapes (filters, frames) to (frames, filters) where it should swap the two, so that its
    second layer sees a mixture; the number of parameters is equal. There is no code for `dieleman`: that nothing but
    its first layer differs from the proposed network is known at second hand. `small_rectangular` stores 74,130
    numbers with 50 tags, where the paper has 75k; its norms keep a running variance, where those of Lasagne keep the
    inverse of a running deviation. The bands are to be standardised by a whole training set; the source takes the
    first 2000 patches of it.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check_count
from taggram.frontends import LogMelConfig
from taggram.models._blocks import Standardize, lasagne_he_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

PAPER = "Pons et al., EUSIPCO 2017"
MTT_MEL = LogMelConfig(
    sample_rate=16_000,
    n_fft=512,
    hop_length=256,
    n_mels=128,
    n_frames=187,  # 2.992 s
    compression="log10_1p",
    gain=10_000.0,
)

Shapes = tuple[tuple[int, int, int], ...]  # (frames, mels, filters) of each shape of the first layer
TIMBRE_FILTERS: Shapes = (  # with a factor of 1
    (1, 100, 10),
    (3, 100, 6),
    (5, 100, 3),
    (7, 100, 3),
    (1, 75, 15),
    (3, 75, 10),
    (5, 75, 5),
    (7, 75, 5),
    (1, 25, 15),
    (3, 25, 10),
    (5, 25, 5),
    (7, 25, 5),
)
DIELEMAN_FILTERS: Shapes = ((8, 128, 32),)
N_SECOND = 32  # filters of the second layer, with a factor of 1
SECOND_FRAMES = 8  # their length
POOL_FRAMES = 4  # of both max-pools
N_POOLED_FRAMES = 9  # what the second one leaves of a patch
N_DENSE = 100
TALL_LAYERS = ("pool1", "pool2", "penultimate")

N_RECTANGULAR = (32, 32, 64, 32, 16)  # filters of each block
RECTANGULAR_POOLS = ((4, 1), (1, 4), (2, 2), (2, 2), None)  # (frames, mels): 187 x 128 becomes 7 x 4
N_RECTANGULAR_FLAT = N_RECTANGULAR[-1] * 7 * 4  # 448
LASAGNE_BN_EPS, LASAGNE_BN_MOMENTUM = 1e-4, 0.1  # Lasagne's alpha is the share of the new batch, as in torch
RECTANGULAR_LAYERS = ("pool1", "pool2", "pool3", "pool4", "conv5", "penultimate")


class TallFilters(TaggingModel):
    """A layer of tall filters, one of filters over time, each with a max-pool, and a dense one, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        shapes: the filters of the first layer, (frames, mels, number) of each shape.
        n_second: filters of the second layer.
        pad_time: whether zeros at both ends keep the number of frames in the first layer.
    Shape:
        (batch, 1, mels=128, frames=187) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, shapes: Shapes, n_second: int, *, pad_time: bool) -> None:
        super().__init__(
            frontend=MTT_MEL,
            n_features=N_DENSE,
            n_tags=n_tags,
            layers=TALL_LAYERS,
            fixed_length=True,
            dropout=0.5,
        )
        n_first = sum(n_filters for _, _, n_filters in shapes)
        self.standardize = Standardize(MTT_MEL.n_mels)
        self.branches = nn.ModuleDict(
            {
                f"{n_frames}x{n_mels}": nn.Sequential(
                    OrderedDict(
                        conv=nn.Conv2d(1, n_filters, (n_frames, n_mels), padding=(n_frames // 2 if pad_time else 0, 0)),
                        elu=nn.ELU(),
                        pool=nn.MaxPool2d((POOL_FRAMES, MTT_MEL.n_mels - n_mels + 1)),
                    )
                )
                for n_frames, n_mels, n_filters in shapes
            }
        )
        self.second = nn.Sequential(
            OrderedDict(conv=nn.Conv1d(n_first, n_second, SECOND_FRAMES), elu=nn.ELU(), pool=nn.MaxPool1d(POOL_FRAMES))
        )
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(N_POOLED_FRAMES * n_second, N_DENSE)
        for part in (self.branches, self.second, self.dense):
            part.apply(lasagne_he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.standardize(patches).transpose(2, 3)  # (batch, 1, frames, mels), as the source lays it out
        pool1 = torch.cat([branch(x) for branch in self.branches.values()], 1).squeeze(3)  # (batch, filters, 46 or 45)
        pool2 = self.second(pool1)  # (batch, filters, 9)
        return {
            "pool1": pool1.transpose(1, 2),
            "pool2": pool2.transpose(1, 2),
            "penultimate": F.elu(self.dense(self.dropout(pool2.flatten(1)))),  # (batch, 100)
        }


class SmallRectangular(TaggingModel):
    """Five blocks of dropout, 3 x 3 convolution, norm and ELU, four of them with a max-pool, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
    Shape:
        (batch, 1, mels=128, frames=187) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None) -> None:
        super().__init__(
            frontend=MTT_MEL,
            n_features=N_RECTANGULAR_FLAT,
            n_tags=n_tags,
            layers=RECTANGULAR_LAYERS,
            fixed_length=True,
            dropout=0.5,
        )
        self.standardize = Standardize(MTT_MEL.n_mels)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    dropout=nn.Dropout(0.25),
                    conv=nn.Conv2d(n_in, n_out, 3, bias=False),  # the norm has one
                    bn=nn.BatchNorm2d(n_out, eps=LASAGNE_BN_EPS, momentum=LASAGNE_BN_MOMENTUM),
                    elu=nn.ELU(),
                    pool=nn.MaxPool2d(pool) if pool else nn.Identity(),
                )
            )
            for n_in, n_out, pool in zip((1, *N_RECTANGULAR), N_RECTANGULAR, RECTANGULAR_POOLS)
        )
        self.blocks.apply(lasagne_he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.standardize(patches).transpose(2, 3)  # (batch, 1, frames, mels), as the source lays it out
        layers = {}
        for name, block in zip(RECTANGULAR_LAYERS, self.blocks):
            x = block(x)
            layers[name] = x.permute(0, 2, 3, 1)  # (batch, frames, mels, filters)
        return {**layers, "penultimate": x.flatten(1)}  # (batch, 448)


@register_model(paper=PAPER, n_tags=50)
def timbre_mtt(n_tags: int | None = None, *, factor: int = 1) -> TallFilters:
    """Build the proposed network, 74,526 parameters with 50 tags.

    Args:
        n_tags: number of outputs, or None for no head.
        factor: how many times the filters of the smallest network there are; 1 and 2 in the paper, 4 in the code.

    Returns:
        The network.

    Raises:
        ConfigError: `factor` is no whole number from 1 on.
    """
    check_count("factor", factor)
    shapes = tuple((n_frames, n_mels, factor * n_filters) for n_frames, n_mels, n_filters in TIMBRE_FILTERS)
    return TallFilters(n_tags, shapes, factor * N_SECOND, pad_time=True)


@register_model(paper=f"Dieleman and Schrauwen, ICASSP 2014, as in {PAPER}", n_tags=50)
def dieleman(n_tags: int | None = None) -> TallFilters:
    """Build the baseline after Dieleman and Schrauwen, 74,974 parameters with 50 tags."""
    return TallFilters(n_tags, DIELEMAN_FILTERS, N_SECOND, pad_time=False)


@register_model(paper=PAPER, n_tags=50)
def small_rectangular(n_tags: int | None = None) -> SmallRectangular:
    """Build the baseline with small filters, 73,778 parameters with 50 tags."""
    return SmallRectangular(n_tags)
