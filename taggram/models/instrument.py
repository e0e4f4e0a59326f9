"""Networks that name the predominant instrument: filters of six shapes in one or more layers, and the net of Han et al.

Source: Pons, Slizovskaia, Gong, Gómez and Serra, "Timbre analysis of music audio signals with convolutional neural
    networks", EUSIPCO 2017, arXiv 1703.06697, the experiment on IRMAS; code and released weights of
    github.com/Veleslavia/EUSIPCO2017. The baseline there follows Han, Kim and Lee, "Deep convolutional neural networks
    for predominant instrument recognition in polyphonic music", arXiv 1605.09507.
Differs: logits out, no softmax; Han's net ends in sigmoids in the code, though it is trained on one label an excerpt
    with the loss that belongs to softmax, so here its task is "one" like that of the others. The filters are 5 and 80
    bands high, as in the released weights and the code of the multi-layer network, and as the 62k parameters of the
    paper want it; the code of the single-layer network has 50 and 70. Its files for Han's net are divided by their
    largest sample first; here the sound is taken as it is. Mel power is squared before it is turned into decibels, so
    the floor 80 dB below the maximum lies 40 dB below the loudest mel power: kept as in the source. That maximum is the
    one of all the sound that comes in, so a patch cut out of a file beforehand may differ from that patch of the file.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram.frontends import LogMelConfig
from taggram.models._blocks import Standardize, batch_norm_2d, glorot_uniform_, he_normal_
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

PAPER = "Pons et al., EUSIPCO 2017"
INSTRUMENT_MEL = LogMelConfig(
    sample_rate=12_000,
    n_fft=512,
    hop_length=256,
    n_mels=96,
    n_frames=128,  # 2.731 s
    compression="db_squared",
    eps=1e-10,
    top_db=80.0,
)
HAN_MEL = LogMelConfig(
    sample_rate=22_050,
    n_fft=2048,
    hop_length=512,
    n_mels=128,
    n_frames=43,  # 0.998 s
    compression="db_squared",
    eps=1e-10,
    top_db=80.0,
)

FILTERS = (  # (mels, frames, filters) of each shape
    (5, 1, 128),
    (5, 3, 64),
    (5, 5, 32),
    (80, 1, 128),
    (80, 3, 64),
    (80, 5, 32),
)
N_FIRST = sum(n_filters for _, _, n_filters in FILTERS)  # 448
SINGLE_POOL = (96, 32)  # (mels, frames): 96 x 128 becomes 1 x 4
SINGLE_LAYERS = ("pool1", "penultimate")
MULTI_POOL = (24, 32)  # 96 x 128 becomes 4 x 4
N_MULTI = 128  # filters of the second and the third layer
N_MULTI_DENSE = 256
MULTI_LAYERS = ("pool1", "pool2", "pool3", "penultimate")

N_HAN = (32, 64, 128, 256)  # filters of each block
N_HAN_DENSE = 1024
HAN_SLOPE = 0.33  # of the leaky ReLU, below 0
HAN_LAYERS = ("pool1", "pool2", "pool3", "max_pool", "penultimate")


class FilterShapes(nn.Module):
    """The first layer: filters of six shapes side by side, each followed by norm, ELU and max-pool.

    Args:
        pool: size of the max-pool in (mels, frames).
    """

    def __init__(self, pool: tuple[int, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {
                f"{n_mels}x{n_frames}": nn.Sequential(
                    OrderedDict(
                        pad=same_padding(n_mels, n_frames),
                        conv=nn.Conv2d(1, n_filters, (n_mels, n_frames)),
                        bn=batch_norm_2d(n_filters),
                        elu=nn.ELU(),
                        pool=nn.MaxPool2d(pool),
                    )
                )
                for n_mels, n_frames, n_filters in FILTERS
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, 448, mels / pool, frames / pool) for (batch, 1, mels, frames)."""
        return torch.cat([branch(x) for branch in self.branches.values()], 1)


class InstrumentSingleLayer(TaggingModel):
    """One layer of filters of six shapes, pooled over all mels and a quarter of the time, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
    Shape:
        (batch, 1, mels=96, frames=128) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None) -> None:
        super().__init__(
            frontend=INSTRUMENT_MEL,
            n_features=4 * N_FIRST,
            n_tags=n_tags,
            layers=SINGLE_LAYERS,
            task="one",
            fixed_length=True,
            dropout=0.5,
        )
        self.standardize = Standardize(INSTRUMENT_MEL.n_mels, INSTRUMENT_MEL.n_frames, scales=False)  # only centres
        self.first = FilterShapes(SINGLE_POOL)
        self.apply(he_normal_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute the pooled filters, for (batch, 1, mels, frames)."""
        pooled = self.first(self.standardize(patches)).squeeze(2)  # (batch, 448, 4)
        return {"pool1": pooled.transpose(1, 2), "penultimate": pooled.flatten(1)}  # the last: (batch, 1792)

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel."""
        he_normal_(head)


class InstrumentMultiLayer(TaggingModel):
    """One layer of filters of six shapes, two of 3 x 3 filters and a dense one, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
    Shape:
        (batch, 1, mels=96, frames=128) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None) -> None:
        super().__init__(
            frontend=INSTRUMENT_MEL,
            n_features=N_MULTI_DENSE,
            n_tags=n_tags,
            layers=MULTI_LAYERS,
            task="one",
            fixed_length=True,
            dropout=0.5,
        )
        self.standardize = Standardize(INSTRUMENT_MEL.n_mels, INSTRUMENT_MEL.n_frames, scales=False)  # only centres
        self.first = FilterShapes(MULTI_POOL)
        self.second, self.third = (
            nn.Sequential(
                OrderedDict(
                    dropout=nn.Dropout(0.25),
                    conv=nn.Conv2d(n_in, N_MULTI, 3, padding=1),
                    bn=batch_norm_2d(N_MULTI),
                    elu=nn.ELU(),
                    pool=nn.MaxPool2d(2),
                )
            )
            for n_in in (N_FIRST, N_MULTI)
        )
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(N_MULTI, N_MULTI_DENSE)
        self.apply(he_normal_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        pool1 = self.first(self.standardize(patches))  # (batch, 448, 4, 4)
        pool2 = self.second(pool1)  # (batch, 128, 2, 2)
        pool3 = self.third(pool2).flatten(1)  # (batch, 128)
        return {
            "pool1": pool1.permute(0, 3, 2, 1),
            "pool2": pool2.permute(0, 3, 2, 1),
            "pool3": pool3,
            "penultimate": F.elu(self.dense(self.dropout(pool3))),  # (batch, 256)
        }

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel."""
        he_normal_(head)


class InstrumentHan(TaggingModel):
    """Four blocks of two 3 x 3 convolutions on maps that grow, a global max-pool and a dense layer, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
    Shape:
        (batch, 1, mels=128, frames=43) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None) -> None:
        super().__init__(
            frontend=HAN_MEL,
            n_features=N_HAN_DENSE,
            n_tags=n_tags,
            layers=HAN_LAYERS,
            task="one",
            fixed_length=True,
            dropout=0.5,
        )
        self.standardize = Standardize(HAN_MEL.n_mels, HAN_MEL.n_frames, scales=False)  # only centres
        self.blocks = nn.ModuleList(
            nn.Sequential(
                # The source pads by 1 and then convolves with "same" padding, so that a map grows by 2.
                OrderedDict(
                    conv1=nn.Conv2d(n_in, n_out, 3, padding=2),
                    relu1=nn.LeakyReLU(HAN_SLOPE),
                    conv2=nn.Conv2d(n_out, n_out, 3, padding=2),
                    relu2=nn.LeakyReLU(HAN_SLOPE),
                    pool=nn.AdaptiveMaxPool2d(1) if n_out == N_HAN[-1] else nn.MaxPool2d(3),
                )
            )
            for n_in, n_out in zip((1, *N_HAN), N_HAN)
        )
        self.dropout = nn.Dropout(0.25)
        self.dense = nn.Linear(N_HAN[-1], N_HAN_DENSE)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.standardize(patches)
        layers = {}
        for name, block in zip(HAN_LAYERS, self.blocks[:-1]):
            pooled = block(x)
            layers[name] = pooled.permute(0, 3, 2, 1)  # (batch, frames, mels, filters)
            x = self.dropout(pooled)
        max_pool = self.blocks[-1](x).flatten(1)  # (batch, 256)
        dense = F.leaky_relu(self.dense(max_pool), HAN_SLOPE)  # (batch, 1024)
        return {**layers, "max_pool": max_pool, "penultimate": dense}


def same_padding(n_mels: int, n_frames: int) -> nn.ZeroPad2d:
    """Zeros around a map for Theano's "same" padding: for an even filter, the odd one goes to the beginning."""
    return nn.ZeroPad2d((n_frames // 2, (n_frames - 1) // 2, n_mels // 2, (n_mels - 1) // 2))


@register_model(paper=PAPER, n_tags=11)
def instrument_single_layer(n_tags: int | None = None) -> InstrumentSingleLayer:
    """Build the proposed network of one layer, 61,867 parameters with 11 instruments."""
    return InstrumentSingleLayer(n_tags)


@register_model(paper=PAPER, n_tags=11)
def instrument_multi_layer(n_tags: int | None = None) -> InstrumentMultiLayer:
    """Build the proposed network of several layers, 742,315 parameters with 11 instruments."""
    return InstrumentMultiLayer(n_tags)


@register_model(paper=f"Han et al., 2016, as in {PAPER}", n_tags=11)
def instrument_han(n_tags: int | None = None) -> InstrumentHan:
    """Build the baseline after Han et al., 1,446,123 parameters with 11 instruments."""
    return InstrumentHan(n_tags)
