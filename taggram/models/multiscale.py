"""The multi-scale CNN: one log-mel picture of a whole clip, looked at in three resolutions.

Source: Dabral, Deshmukh and Malapati, "A Multi-scale Convolutional Neural Network Architecture for Music Auto-Tagging",
    Soft Computing for Problem Solving, Springer, 2018, doi 10.1007/978-981-13-1592-3_60. The chapter itself was not
    read; all is as in the authors' Theano code, github.com/many-facedgod/Music-Tagger, and the layers that it uses,
    github.com/many-facedgod/Totem. The second author's later rewrite, github.com/amalad/Multi-Scale-Music-Tagger, is
    another network: `REWRITE` holds the options that build it.
Differs: logits out, no sigmoid. Dropout draws a mask for each clip; the source draws one for the whole batch, as
    `shared_mask=True` does. Kernels are not flipped, as Theano's are, which matters to no network that is trained here.
    Running variances are unbiased, as torch's are. The source's clips all have 628 frames; a clip that does not is to
    be cut, or padded with zeros, to `N_SAMPLES`. `scales` and `n_frames` are ours, to compare with and for other clips.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check, check_choice, check_count, check_flag, check_share, is_number
from taggram.frontends import LogMelConfig
from taggram.models._blocks import BN_EPS, BN_MOMENTUM, Standardize
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

FLOOR = 1e-20  # of the power: silence is -46.05
N_SAMPLES = 321_092  # of a clip of MagnaTagATune, 29.124 s
MEL = LogMelConfig(
    sample_rate=11_025,
    n_fft=2048,
    hop_length=512,
    n_mels=128,
    n_frames=628,
    compression="ln_floor",
    eps=FLOOR,
)
SUBSAMPLING = (2, 4)  # (mels, frames): from each resolution to the next
Block = tuple[int, tuple[int, int], tuple[int, int]]  # filters, kernel and pool, both (mels, frames)
BLOCKS: tuple[Block, ...] = (  # of the finest resolution; each coarser one begins a block later
    (50, (3, 7), (2, 4)),
    (100, (3, 5), (2, 4)),
    (70, (3, 3), (2, 2)),
)
N_LAST = 70  # filters of the two convolutions behind the join
POOLED_MELS = 16  # by which each stack and the last pool shorten the picture
POOLED_FRAMES = 64
N_DENSE = 500
Subsampling = Literal["average", "max"]
REWRITE: dict[str, Any] = {  # options of the network as it was rewritten; its momentum 0.99 is a slip
    "second_subsampling": "max",
    "standardize": False,
    "dropout": 0.6,
    "bn_momentum": 0.99,
    "head_gain": 1.0,
}
LAYERS_OF_SCALE = (("pool1_1", "pool1_2", "pool1_3"), ("pool2_1", "pool2_2"), ("pool3_1",))  # the finest first
LAST_LAYERS = ("conv_last1", "pool_last", "bn_last", "penultimate")


class SharedDropout(nn.Dropout):
    """Dropout with one mask for all clips of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, features) for the same."""
        return x * F.dropout(torch.ones_like(x[:1]), self.p, self.training)


class Multiscale(TaggingModel):
    """Three stacks of convolutions on ever coarser pictures, joined, two more convolutions and a dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
        second_subsampling: "average" or "max": how the coarsest picture is made of the middle one.
        standardize: whether each band is scaled by the statistics of the training set, once these are known.
        dropout: share of the features dropped before the dense layer in training.
        shared_mask: whether one mask of dropout serves all clips of a batch.
        bn_momentum: share of the new batch in the running statistics.
        head_gain: what the first weights of the head are multiplied by.
        scales: how many of the resolutions are looked at, the finest first. With 50 tags 3 have 2,936,810 parameters,
            2 have 2,892,010, and 1 has 2,783,240.
        n_frames: of the picture, at least 64.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, mels=128, frames=n_frames) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        second_subsampling: Subsampling = "average",
        standardize: bool = True,
        dropout: float = 0.4,
        shared_mask: bool = False,
        bn_momentum: float = BN_MOMENTUM,
        head_gain: float = 4.0,
        scales: int = 3,
        n_frames: int = MEL.n_frames,
    ) -> None:
        check_choice("second_subsampling", second_subsampling, get_args(Subsampling))
        check_flag("standardize", standardize)
        check_share("dropout", dropout)
        check_flag("shared_mask", shared_mask)
        fits = is_number(bn_momentum) and 0 < bn_momentum <= 1
        check(fits, "bn_momentum", bn_momentum, "a number above 0, at most 1")
        check(is_number(head_gain) and head_gain > 0, "head_gain", head_gain, "a number above 0")
        check_count("scales", scales, 1, len(BLOCKS))
        check_count("n_frames", n_frames, POOLED_FRAMES)
        self.head_gain = head_gain  # first, since what follows starts the head
        super().__init__(
            frontend=replace(MEL, n_frames=n_frames),
            n_features=N_DENSE,
            n_tags=n_tags,
            layers=(*itertools.chain(*LAYERS_OF_SCALE[:scales]), *LAST_LAYERS),
            fixed_length=True,
        )
        self.standardize = Standardize(MEL.n_mels) if standardize else None
        self.subsample1 = nn.AvgPool2d(SUBSAMPLING)
        self.subsample2 = nn.AvgPool2d(SUBSAMPLING) if second_subsampling == "average" else nn.MaxPool2d(SUBSAMPLING)
        self.fine = _stack(BLOCKS)
        self.middle = _stack(BLOCKS[1:]) if scales > 1 else None
        self.coarse = _stack(BLOCKS[2:]) if scales > 2 else None
        self.conv_last1 = nn.Sequential(nn.Conv2d(scales * BLOCKS[-1][0], N_LAST, 3, padding="same"), nn.ReLU())
        self.conv_last2 = nn.Sequential(nn.Conv2d(N_LAST, N_LAST, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2))
        n_flat = N_LAST * (MEL.n_mels // POOLED_MELS) * (n_frames // POOLED_FRAMES)
        self.bn_last = nn.BatchNorm1d(n_flat, eps=BN_EPS, momentum=bn_momentum)
        self.dropout = SharedDropout(dropout) if shared_mask else nn.Dropout(dropout)
        self.dense = nn.Linear(n_flat, N_DENSE)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _glorot_normal_(module, head_gain if module is self.head else 1.0)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        picture = patches if self.standardize is None else self.standardize(patches)  # (batch, 1, 128, 628)
        smaller = self.subsample1(picture)  # (batch, 1, 64, 157)
        smallest = self.subsample2(smaller)  # (batch, 1, 32, 39)
        layers, ends = {}, []
        stacks = ((self.fine, picture), (self.middle, smaller), (self.coarse, smallest))
        for stack_number, (stack, x) in enumerate(stacks, start=1):
            if stack is None:
                break
            for block_number, block in enumerate(stack, start=1):
                x = block(x)
                layers[f"pool{stack_number}_{block_number}"] = _frames_first(x)
            ends.append(x)  # (batch, 70, 16, 19)
        conv_last1 = self.conv_last1(torch.cat(ends, 1))  # (batch, 70, 16, 19)
        pool_last = self.conv_last2(conv_last1)  # (batch, 70, 8, 9)
        bn_last = self.bn_last(pool_last.flatten(1))  # (batch, 5040)
        return {
            **layers,
            "conv_last1": _frames_first(conv_last1),
            "pool_last": _frames_first(pool_last),
            "bn_last": bn_last,
            "penultimate": self.dense(self.dropout(bn_last)).relu(),
        }

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel, times `head_gain`."""
        _glorot_normal_(head, self.head_gain)


def _stack(blocks: tuple[Block, ...]) -> nn.ModuleList:
    """The blocks of convolution, ReLU and max-pool for one resolution."""
    channels = (1, *(n_filters for n_filters, _, _ in blocks))
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(n_in, n_filters, kernel, padding="same"), nn.ReLU(), nn.MaxPool2d(pool))
        for n_in, (n_filters, kernel, pool) in zip(channels, blocks)
    )


def _frames_first(x: Tensor) -> Tensor:
    """(batch, channels, mels, frames) to (batch, frames, mels, channels)."""
    return x.permute(0, 3, 2, 1)


def _glorot_normal_(module: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Start a kernel from a normal of variance 2 / (fan_in + fan_out), times the gain; biases at 0."""
    nn.init.xavier_normal_(module.weight, gain)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@register_model(paper="Dabral et al., Soft Computing for Problem Solving 2018", n_tags=50)
def multiscale(
    n_tags: int | None = None,
    *,
    second_subsampling: Subsampling = "average",
    standardize: bool = True,
    dropout: float = 0.4,
    shared_mask: bool = False,
    bn_momentum: float = BN_MOMENTUM,
    head_gain: float = 4.0,
    scales: int = 3,
    n_frames: int = MEL.n_frames,
) -> Multiscale:
    """Build the multi-scale CNN, 2,936,810 parameters with 50 tags."""
    return Multiscale(
        n_tags,
        second_subsampling=second_subsampling,
        standardize=standardize,
        dropout=dropout,
        shared_mask=shared_mask,
        bn_momentum=bn_momentum,
        head_gain=head_gain,
        scales=scales,
        n_frames=n_frames,
    )
