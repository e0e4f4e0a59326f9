"""CNN over time on mel spectrograms that learns music from artist labels, as a classifier and as an embedding.

Source: Park, Lee, Park, Ha and Nam, "Representation learning of music using artist labels", ISMIR 2018, arXiv
    1710.06648; the authors' code and one saved network, github.com/jongpillee/ismir2018-artist. The first version of
    the paper, of 2017, has the classifier alone.
Differs: logits out, no softmax. Dropout 0.5 before the output of the classifier is remembered from the paper: the
    training script defines it and does not connect it, which is `dropout=0`. The siamese network is its trunk here:
    cosine and hinge loss are no layers.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

from torch import Tensor, nn

from taggram._checks import check, check_share
from taggram.frontends import LogMelConfig
from taggram.models._blocks import (
    LEE_MEL,
    LEE_MEL_MEAN,
    LEE_MEL_STD,
    Standardize,
    batch_norm_1d,
    conv_norm_relu_1d,
    he_uniform_,
)
from taggram.models._contract import TaggingModel, Task
from taggram.models._registry import register_model

PAPER = "Park et al., ISMIR 2018"
MEL = dataclasses.replace(LEE_MEL, n_frames=129)  # 3 s
FILTERS = (128, 128, 128, 128, 256)  # of the five convolutions
KERNELS = (4, 4, 4, 2, 1)  # their lengths in frames; the pools behind them are as long
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "penultimate")


class ArtistCNN(TaggingModel):
    """Five convolutions over time, each with norm, ReLU and max-pool, then the mean over time.

    Args:
        n_tags: number of outputs, or None for no head.
        task: what comes out: "one" for the classifier, "embedding" for the siamese network.
        dropout: share of the 256 features dropped before the head in training.
        frontend: settings of the front-end; its mel bands are the channels that the first convolution sees.

    Raises:
        ConfigError: `dropout` is no share, or the front-end makes no mel spectrogram.
    Shape:
        (batch, 1, mels=128, frames>=128) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, task: Task, dropout: float = 0.0, frontend: LogMelConfig = MEL) -> None:
        check_share("dropout", dropout)
        check(isinstance(frontend, LogMelConfig), "frontend", frontend, "a LogMelConfig")
        super().__init__(
            frontend=frontend,
            n_features=FILTERS[-1],
            n_tags=n_tags,
            layers=LAYERS,
            task=task,
            least_frames=math.prod(KERNELS),  # 128: they leave one frame
            dropout=dropout,
        )
        self.standardize = Standardize(mean=LEE_MEL_MEAN, std=LEE_MEL_STD)
        self.convs = nn.ModuleList(
            conv_norm_relu_1d(n_in, n_out, n_taps, batch_norm_1d(n_out))
            for (n_in, n_out), n_taps in zip(pairwise((frontend.n_mels, *FILTERS)), KERNELS)
        )
        self.pools = nn.ModuleList(nn.MaxPool1d(size) if size > 1 else nn.Identity() for size in KERNELS)
        self.convs.apply(he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute each convolution behind its ReLU, and the last one's mean over time: (batch, 1, mels, frames) in."""
        x = self.standardize(patches).squeeze(1)  # (batch, 128, frames)
        layers = {}
        for name, conv, pool in zip(LAYERS, self.convs, self.pools):
            x = conv(x)  # (batch, filters, frames): 129, 32, 8, 2 and 1 of them in a patch of 129
            layers[name] = x.transpose(1, 2)
            x = pool(x)
        return {**layers, "penultimate": x.mean(2)}  # (batch, 256)


@register_model(paper=PAPER, n_tags=10_000)
def artist_basic(n_tags: int | None = None, *, dropout: float = 0.5, frontend: LogMelConfig = MEL) -> ArtistCNN:
    """Build the classifier of artists, 2,834,448 parameters with 10,000 of them and 392,948 with 500."""
    return ArtistCNN(n_tags, "one", dropout=dropout, frontend=frontend)


@register_model(paper=PAPER, n_tags=None)
def artist_siamese(n_tags: int | None = None, *, dropout: float = 0.0, frontend: LogMelConfig = MEL) -> ArtistCNN:
    """Build the trunk of the siamese network, 264,448 parameters, whose output of 256 values is compared by cosine."""
    return ArtistCNN(n_tags, "embedding", dropout=dropout, frontend=frontend)
