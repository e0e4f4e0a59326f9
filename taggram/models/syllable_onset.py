"""Networks that hear where a sung syllable begins: 0.2 s of sound around a frame in, onset or not out.

Source: Pons, Gong and Serra, "Score-informed syllable segmentation for a cappella singing voice with convolutional
    neural networks", ISMIR 2017, arXiv 1707.03544; the code and model files of
    github.com/ronggong/jingjuSyllabicSegmentaion. The baseline is in the style of Schlüter and Böck, as that code
    builds it.
Differs: logits out, no softmax; unit 1 is the onset. "Same" padding puts the odd zero, and the incomplete pool, at the
    end; Keras on Theano, from memory, at the start. The network learns either, but weights from there would not fit.
    Only frames with a whole patch around them get scores; the source repeats the first and the last frame of a file.
    Stereo is mixed; the source takes the left channel. For the front-end see `_essentia_mel.py`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check_choice
from taggram.models._blocks import Standardize, he_uniform_, same_zeros
from taggram.models._contract import TaggingModel
from taggram.models._essentia_mel import JINGJU_MEL
from taggram.models._registry import register_model

Kind = Literal["temporal", "timbral"]
Dropout = Literal["released", "dense_only"]
Size = tuple[int, int]  # (mels, frames)

PAPER = "Pons, Gong and Serra, ISMIR 2017"
KERNELS: dict[Kind, tuple[tuple[Size, int], ...]] = {  # of each branch, and how many filters
    "temporal": (((1, 7), 12), ((3, 7), 6), ((5, 7), 3), ((1, 12), 12), ((3, 12), 6), ((5, 12), 3)),
    "timbral": (((50, 1), 12), ((50, 5), 6), ((50, 10), 3), ((70, 1), 12), ((70, 5), 6), ((70, 10), 3)),
}
N_BRANCHED = 42  # filters of all branches together
POOLS: dict[Kind, Size] = {"temporal": (3, 5), "timbral": (5, 3)}
WIDTHS = (32, 20)  # filters of the second layer in the released models
SECOND_KERNEL = 3  # both ways
SECOND_POOL = (3, 1)
N_DENSE = 256
DROPOUTS: dict[tuple[Kind, int], float] = {  # of the released models, by kind and width
    ("temporal", 32): 0.3,
    ("temporal", 20): 0.3,
    ("timbral", 32): 0.38,
    ("timbral", 20): 0.3,
}
DENSE_ONLY_DROPOUT = 0.3  # of the released training scripts
SCHLUTER_DROPOUT = 0.2503
LAYERS = ("branches", "conv", "pool", "penultimate")
SCHLUTER_LAYERS = ("conv1", "pool1", "conv2", "pool2", "penultimate")


class SyllableOnset(TaggingModel):
    """Six filter shapes side by side, a 3 x 3 convolution over all of them, one dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
        kind: "temporal" for filters long in time, "timbral" for filters tall in frequency.
        width: filters of the second layer, 32 or 20.
        dropout: "released" drops after every pool and before the head, at the rate of the released model; "dense_only"
            drops before the head alone, as the released training scripts do.

    Raises:
        ConfigError: an option is none of those.
    Shape:
        (batch, 1, mels=80, frames=21) in, (batch, n_tags) logits out.
    """

    def __init__(
        self, n_tags: int | None, kind: Kind = "temporal", width: int = 32, dropout: Dropout = "released"
    ) -> None:
        check_choice("kind", kind, get_args(Kind))
        check_choice("width", width, WIDTHS)
        check_choice("dropout", dropout, get_args(Dropout))
        everywhere = dropout == "released"
        rate = DROPOUTS[kind, width] if everywhere else DENSE_ONLY_DROPOUT
        super().__init__(
            frontend=JINGJU_MEL,
            n_features=N_DENSE,
            n_tags=n_tags,
            layers=LAYERS,
            task="one",
            fixed_length=True,
            dropout=rate,
        )
        self.standardize = Standardize(JINGJU_MEL.n_mels, JINGJU_MEL.n_frames)
        self.branches = nn.ModuleList(_Branch(size, n_filters, POOLS[kind]) for size, n_filters in KERNELS[kind])
        self.conv = nn.Conv2d(N_BRANCHED, width, SECOND_KERNEL)
        self.pool = nn.MaxPool2d(SECOND_POOL)
        self.dropout = nn.Dropout(rate if everywhere else 0.0)
        self.dense = nn.Linear(width * _n_positions(POOLS[kind]), N_DENSE)
        for part in (self.branches, self.conv, self.dense):
            part.apply(he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames); the sizes are those of the temporal one."""
        x = self.standardize(patches)
        # One dropout for all branches: each value is dropped by itself, as in one for each branch.
        branches = self.dropout(torch.cat([branch(x) for branch in self.branches], 1))  # (batch, 42, mels=27, frames=5)
        conv = F.elu(self.conv(branches))  # (batch, width, 25, 3)
        pool = self.dropout(self.pool(conv))  # (batch, width, 8, 3)
        return {
            "branches": branches.permute(0, 3, 2, 1),
            "conv": conv.permute(0, 3, 2, 1),
            "pool": pool.permute(0, 3, 2, 1),
            "penultimate": F.elu(self.dense(pool.flatten(1))),  # (batch, 256)
        }


class SyllableOnsetSchluter(TaggingModel):
    """Two layers of small convolutions, each max-pooled over mels, and one dense layer: the baseline.

    Args:
        n_tags: number of outputs, or None for no head.
    Shape:
        (batch, 1, mels=80, frames=21) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None) -> None:
        super().__init__(
            frontend=JINGJU_MEL,
            n_features=N_DENSE,
            n_tags=n_tags,
            layers=SCHLUTER_LAYERS,
            task="one",
            fixed_length=True,
            dropout=SCHLUTER_DROPOUT,
        )
        self.standardize = Standardize(JINGJU_MEL.n_mels, JINGJU_MEL.n_frames)
        self.conv1 = nn.Conv2d(1, 10, (3, 7))
        self.pool1 = nn.MaxPool2d((3, 1))
        self.conv2 = nn.Conv2d(10, 20, (3, 3))
        self.pool2 = nn.MaxPool2d((3, 1))
        self.dense = nn.Linear(20 * 8 * 13, N_DENSE)
        for part in (self.conv1, self.conv2, self.dense):
            part.apply(he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        conv1 = F.elu(self.conv1(self.standardize(patches)))  # (batch, 10, mels=78, frames=15)
        pool1 = self.pool1(conv1)  # (batch, 10, 26, 15)
        conv2 = F.elu(self.conv2(pool1))  # (batch, 20, 24, 13)
        pool2 = self.pool2(conv2)  # (batch, 20, 8, 13)
        return {
            "conv1": conv1.permute(0, 3, 2, 1),
            "pool1": pool1.permute(0, 3, 2, 1),
            "conv2": conv2.permute(0, 3, 2, 1),
            "pool2": pool2.permute(0, 3, 2, 1),
            "penultimate": F.elu(self.dense(pool2.flatten(1))),  # (batch, 256)
        }


class _Branch(nn.Module):
    """One filter shape: convolution with "same" padding, ELU, max-pool.

    Args:
        size: of the kernels.
        n_filters: number of the kernels.
        pool: size and stride of the pool; what is left over at the end is pooled too.
    """

    def __init__(self, size: Size, n_filters: int, pool: Size) -> None:
        super().__init__()
        mels, frames = size
        self.pad = nn.ZeroPad2d((*same_zeros(frames), *same_zeros(mels)))
        self.conv = nn.Conv2d(1, n_filters, size)
        self.pool = nn.MaxPool2d(pool, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, n_filters, pooled mels, pooled frames) for (batch, 1, mels, frames)."""
        pooled: Tensor = self.pool(F.elu(self.conv(self.pad(x))))
        return pooled


def _n_positions(pool: Size) -> int:
    """Positions that the dense layer sees of each filter, with this pool in the branches."""
    mels, frames = -(-JINGJU_MEL.n_mels // pool[0]), -(-JINGJU_MEL.n_frames // pool[1])
    return ((mels - SECOND_KERNEL + 1) // SECOND_POOL[0]) * (frames - SECOND_KERNEL + 1)


@register_model(paper=PAPER, n_tags=2)
def syllable_onset(
    n_tags: int | None = None, *, kind: Kind = "temporal", width: int = 32, dropout: Dropout = "released"
) -> SyllableOnset:
    """Build the onset network, 210,403 parameters if temporal and 185,420 if timbral, with 2 tags."""
    return SyllableOnset(n_tags, kind=kind, width=width, dropout=dropout)


@register_model(paper=PAPER, n_tags=2)
def syllable_onset_schluter(n_tags: int | None = None) -> SyllableOnsetSchluter:
    """Build the baseline in the style of Schlüter and Böck, 535,290 parameters with 2 tags."""
    return SyllableOnsetSchluter(n_tags)
