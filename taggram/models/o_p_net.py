"""O-net and P-net: one layer of many temporal filters, from an onset to five beats long.

Source: Pons and Serra, "Designing efficient architectures for modeling temporal features with convolutional neural
    networks", ICASSP 2017; lengths, numbers of filters, pools and initialisation as in jordipons/ICASSP2017.
Differs: logits out, no softmax. A repeated block is built as one block with more filters of each length: the same
    network with its features in another order. `standardize` holds one mean and one std, in the source those of all
    clips, test clips included. The pool takes all frames there are, which are 250 in the source, so other lengths work.
    For the front-end see `_essentia_mel.py`.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from taggram._checks import check_count
from taggram.errors import ConfigError
from taggram.models._blocks import Standardize, lasagne_he_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._essentia_mel import BALLROOM_MEL
from taggram.models._registry import register_model

O_P_MEL = dataclasses.replace(BALLROOM_MEL, n_frames=250)  # 5.805 s
O_FRAMES = tuple(range(6, 42, 5))  # lengths of the 8 onset filters: less than a beat at 60 bpm, which is 43 frames
P_FRAMES = tuple(range(46, 217, 5))  # lengths of the 35 pattern filters: up to five beats at 60 bpm, 216 frames
N_ONSET = 5  # filters of each length in an O block
N_PATTERN = 1  # and in a P block
POOLED_MELS = 4  # so that 10 bands are left of 40
N_BANDS = O_P_MEL.n_mels // POOLED_MELS
LAYERS = ("o_net", "p_net", "penultimate")  # without the block that is not there


class OPNet(TaggingModel):
    """Filters of many lengths along time, max-pool over four mels and all frames, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        o: number of O blocks: filters of 6 to 41 frames, for onsets.
        p: number of P blocks: filters of 46 to 216 frames, for rhythmic patterns.

    Raises:
        ConfigError: `o` or `p` is no whole number from 0 on, or both are 0.
    Shape:
        (batch, 1, mels=40, frames>=216, or 41 without P blocks) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, o: int = 1, p: int = 1) -> None:
        check_count("o", o, least=0)
        check_count("p", p, least=0)
        if o == p == 0:
            raise ConfigError("o=0 and p=0; a network needs at least one block of either kind.")
        super().__init__(
            frontend=O_P_MEL,
            n_features=N_BANDS * (o * N_ONSET * len(O_FRAMES) + p * N_PATTERN * len(P_FRAMES)),
            n_tags=n_tags,
            layers=tuple(name for name, there in zip(LAYERS, (o, p, True)) if there),
            task="one",
            least_frames=max(P_FRAMES if p else O_FRAMES),
            dropout=0.5,
        )
        self.standardize = Standardize()
        self.o_net = _filters(O_FRAMES, o * N_ONSET)
        self.p_net = _filters(P_FRAMES, p * N_PATTERN)
        self.pool = nn.MaxPool1d(POOLED_MELS)
        for block in (self.o_net, self.p_net):
            block.apply(lasagne_he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.standardize(patches)
        blocks = {"o_net": self.o_net, "p_net": self.p_net}
        layers = {name: self._features(convs, x) for name, convs in blocks.items() if len(convs)}
        layers["penultimate"] = torch.cat(list(layers.values()), 1)  # (batch, 400 o + 350 p)
        return layers

    def _features(self, convs: nn.ModuleList, x: Tensor) -> Tensor:
        """Run the filters of one kind: (batch, 1, mels, frames) to (batch, filters * 10)."""
        peaks = torch.cat([conv(x).amax(3) for conv in convs], 1)  # (batch, filters, mels=40)
        pooled: Tensor = self.pool(peaks)  # (batch, filters, 10)
        return pooled.relu().flatten(1)  # the same as ReLU before the pools, on fewer values


def _filters(lengths: tuple[int, ...], n_filters: int) -> nn.ModuleList:
    """Make a convolution along time for each length, or none where there are no filters."""
    return nn.ModuleList(nn.Conv2d(1, n_filters, (1, length)) for length in lengths if n_filters)


@register_model(paper="Pons and Serra, ICASSP 2017", n_tags=8)
def o_p_net(n_tags: int | None = None, *, o: int = 1, p: int = 1) -> OPNet:
    """Build O-net + P-net, 11,608 parameters with 8 tags; `o` and `p` say how many blocks of each, from 4,188 on."""
    return OPNet(n_tags, o=o, p=p)
