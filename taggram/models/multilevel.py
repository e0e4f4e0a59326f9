"""CNNs on short segments of several lengths, whose layers together make one vector a clip, and a classifier of it.

Source: Lee and Nam, "Multi-level and multi-scale feature aggregation using pretrained convolutional neural networks for
    music auto-tagging", IEEE Signal Processing Letters 24(8), 2017, arXiv 1703.01793: the authors' slides of it, and
    what they released later with the same spectrogram and the same kind of classifier. No code of this work is public.
Differs: logits out, no sigmoid. The slides show frames, layers and what is pooled; the following is assumed, and stands
    in options where it may matter. Numbers of filters, He uniform kernels, Glorot uniform outputs and the constants of
    batch norm are those of SampleCNN, by the same author in the same weeks. Kernels are as long as the pools behind
    them. The classifier has 1024 units a layer, as one released later. Mean and deviation of the spectrogram are those
    that the authors released for the Million Song Dataset. Segments lie side by side, and a rest is dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Self, TypeAlias, cast

from torch import Tensor, nn

from taggram._checks import check, check_choice, check_count, check_flag, check_share, whole_numbers
from taggram.models._aggregation import aggregate, side_by_side
from taggram.models._blocks import (
    BN_MOMENTUM,
    LEE_MEL,
    LEE_MEL_MEAN,
    LEE_MEL_STD,
    Standardize,
    conv_norm_relu_1d,
    glorot_uniform_,
    he_uniform_,
)
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

PAPER = "Lee and Nam, IEEE Signal Processing Letters 2017"
MEL = dataclasses.replace(LEE_MEL, n_frames=1250)  # 29 s, a clip
POOLS = {18: (3, 3, 2), 27: (3, 3, 3), 54: (3, 3, 3, 2)}  # frames of a segment: its pools, which leave one frame
FILTERS = {18: (128, 128, 512), 27: (128, 128, 512), 54: (128, 128, 256, 512)}  # the same: of each convolution
BN_EPS = 1e-5  # of SampleCNN
N_UNITS = 1024  # of each hidden layer of the classifier
Numbers: TypeAlias = int | str | Sequence[int]


class LocalMel(TaggingModel):
    """Convolutions over time, each with norm, ReLU and max-pool, until one frame of a short segment is left.

    Args:
        n_tags: number of outputs, or None for no head.
        n_frames: length of the segment: 18, 27 or 54.
        filters: of each convolution, such as "128,128,512"; None is as in `FILTERS`.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, mels=128, frames=n_frames) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, n_frames: int = 27, filters: Numbers | None = None) -> None:
        check_choice("n_frames", n_frames, POOLS)
        sizes = POOLS[n_frames]
        counts = FILTERS[n_frames] if filters is None else _numbers("filters", filters)
        fits = len(counts) == len(sizes) and min(counts) >= 1
        check(fits, "filters", filters, f"{len(sizes)} whole numbers from 1 on for {n_frames} frames")
        names = tuple(f"conv{number}" for number in range(1, len(sizes) + 1))
        super().__init__(
            frontend=dataclasses.replace(MEL, n_frames=n_frames),
            n_features=counts[-1],
            n_tags=n_tags,
            layers=(*names, "penultimate"),
            fixed_length=True,
            dropout=0.5,
        )
        self.filters = counts
        self.standardize = Standardize(mean=LEE_MEL_MEAN, std=LEE_MEL_STD)
        self.convs = nn.ModuleList(
            conv_norm_relu_1d(n_in, n_out, size, nn.BatchNorm1d(n_out, eps=BN_EPS, momentum=BN_MOMENTUM))
            for (n_in, n_out), size in zip(pairwise((MEL.n_mels, *counts)), sizes)
        )
        self.pools = nn.ModuleList(nn.MaxPool1d(size) for size in sizes)
        self.convs.apply(he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute each convolution behind its ReLU, and the frame that is left, for (batch, 1, mels, frames)."""
        x = self.standardize(patches).squeeze(1)  # (batch, 128, frames)
        layers = {}
        for name, conv, pool in zip(self.layers(), self.convs, self.pools):
            x = conv(x)  # (batch, filters, frames): 18, 6 and 2 of them in a segment of 18
            layers[name] = x.transpose(1, 2)
            x = pool(x)
        return {**layers, "penultimate": x.squeeze(2)}


class ClipClassifier(nn.Module):
    """Standardised clip vectors through dense layers, each with ReLU.

    Args:
        n_values: length of a clip vector.
        n_tags: number of outputs, or None to stop before the output layer.
        n_hidden_layers: 0, 1 or 2 in the source.
        n_units: of each hidden layer.
        dropout: share of each hidden layer's units dropped in training.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (clips, n_values) in, (clips, n_tags) logits out, or (clips, n_features) without output layer.
    """

    def __init__(
        self,
        n_values: int,
        n_tags: int | None,
        n_hidden_layers: int = 2,
        n_units: int = N_UNITS,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("n_values", n_values)
        check_count("n_hidden_layers", n_hidden_layers, least=0)
        check_count("n_units", n_units)
        check_share("dropout", dropout)
        check(n_hidden_layers > 0 or dropout == 0, "dropout", dropout, "0 where there is no hidden layer to drop from")
        self.standardize = Standardize()
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU())
            for n_in, n_out in pairwise((n_values, *[n_units] * n_hidden_layers))
        )
        self.n_features = n_units if n_hidden_layers else n_values
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Identity() if n_tags is None else nn.Linear(self.n_features, n_tags)
        self.hidden.apply(he_uniform_)
        self.head.apply(glorot_uniform_)

    def forward(self, vectors: Tensor) -> Tensor:
        """Give logits for (clips, n_values)."""
        logits: Tensor = self.head(self.dropout(self.forward_layers(vectors)["penultimate"]))
        return logits

    def layers(self) -> tuple[str, ...]:
        """Name the layers that `forward_layers` gives, in order."""
        return (*(f"fc{number}" for number in range(1, len(self.hidden))), "penultimate")

    def forward_layers(self, vectors: Tensor) -> dict[str, Tensor]:
        """Compute every hidden layer.

        Args:
            vectors: (clips, n_values).

        Returns:
            (clips, n_units) each; the last is "penultimate", which is the standardised vectors where none is hidden.
        """
        x = self.standardize(vectors)
        outputs: list[Tensor] = []
        for dense in self.hidden:
            x = dense(self.dropout(x) if outputs else x)
            outputs.append(x)
        return dict(zip(self.layers(), outputs or [x]))


class MultiLevelMel(TaggingModel):
    """Local networks of several scales on a clip's segments, their layers aggregated, and the classifier of clips.

    The local networks do not learn and stay in evaluation mode, unless `train_extractors` says otherwise: they are
    trained before, as `local_mel`, and given over by `load_extractors`.

    Args:
        n_tags: number of outputs, or None for no head.
        n_frames: length of a clip.
        scales: frames of a segment of each local network, such as "18,27,54".
        levels: which convolutions are aggregated, counted from 1, or from -1 backwards; None is all.
        filters: of each local network, as "128,128,512;128,128,512;128,128,256,512"; None is as in `FILTERS`.
        n_hidden_layers: of the classifier.
        n_units: of each of its hidden layers.
        dropout: share of their units dropped in training.
        train_extractors: whether the local networks learn with the classifier.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, mels=128, frames>=54) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        n_frames: int = MEL.n_frames,
        scales: Numbers = tuple(POOLS),
        levels: Numbers | None = None,
        filters: str | Sequence[Numbers] | None = None,
        n_hidden_layers: int = 2,
        n_units: int = N_UNITS,
        dropout: float = 0.0,
        train_extractors: bool = False,
    ) -> None:
        check_flag("train_extractors", train_extractors)
        lengths = _numbers("scales", scales)
        fits = set(lengths) <= set(POOLS) and len(set(lengths)) == len(lengths)
        check(fits, "scales", scales, f"some of {', '.join(map(str, POOLS))}, each once")
        check_count("n_frames", n_frames, least=max(lengths))
        groups: Sequence[Numbers | None] = [None] * len(lengths)
        if filters is not None:
            groups = filters.split(";") if isinstance(filters, str) else filters
        check(len(groups) == len(lengths), "filters", filters, f"{len(lengths)} groups, one for each of scales")
        extractors = [LocalMel(None, length, group) for length, group in zip(lengths, groups)]
        chosen = [_chosen_levels(levels, len(extractor.filters)) for extractor in extractors]
        n_values = sum(extractor.filters[level - 1] for extractor, some in zip(extractors, chosen) for level in some)
        classifier = ClipClassifier(n_values, None, n_hidden_layers, n_units, dropout)
        super().__init__(
            frontend=dataclasses.replace(MEL, n_frames=n_frames),
            n_features=classifier.n_features,
            n_tags=n_tags,
            layers=("clip_vector", *classifier.layers()),
            least_frames=max(lengths),
            dropout=dropout,
        )
        self.levels = chosen
        self.train_extractors = train_extractors
        self.extractors = nn.ModuleDict({str(length): extractor for length, extractor in zip(lengths, extractors)})
        self.classifier = classifier
        self.extractors.requires_grad_(train_extractors)
        for extractor, some in zip(extractors, chosen):
            extractor.convs[max(some) :].requires_grad_(False)  # nothing sees what comes behind the highest level
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, which the local networks take part in only where they learn.

        Args:
            mode: whether to train or to evaluate.

        Returns:
            The network itself.
        """
        super().train(mode)
        self.extractors.train(mode and self.train_extractors)
        return self

    def load_extractors(self, *networks: LocalMel) -> None:
        """Take over the weights of local networks that were trained before.

        Args:
            *networks: as many as there are scales, or fewer; the others stay as they are. Their heads are left out.

        Raises:
            ConfigError: the system has no network of that scale, or one with other filters.
        """
        for network in networks:
            n_frames = network.frontend.n_frames
            check(str(n_frames) in self.extractors, "n_frames", n_frames, f"one of {', '.join(self.extractors)}")
            own = self._extractor(str(n_frames))
            check(network.filters == own.filters, "filters", network.filters, f"those of the system, {own.filters}")
            weights = network.state_dict()
            own.load_state_dict({name: weights[name] for name in own.state_dict()})

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute the vector of each clip and every layer of the classifier, for (batch, 1, mels, frames)."""
        vectors = self.clip_vectors(patches)
        return {"clip_vector": vectors, **self.classifier.forward_layers(vectors)}

    def clip_vectors(self, patches: Tensor) -> Tensor:
        """Put together what the local networks make of each clip.

        Args:
            patches: (batch, 1, mels, frames), as the front-end gives them.

        Returns:
            (batch, values), not standardised: the chosen levels of the first scale, then of the next; 2560 values with
            all levels of all scales.
        """
        activations = []
        for name, levels in zip(self.extractors, self.levels):
            length = int(name)
            segments = side_by_side(patches, length)
            layers = self._extractor(name).forward_layers(segments.flatten(0, 1))  # (batch * segments, 1, mels, length)
            for level in levels:
                layer = layers[f"conv{level}"]  # (batch * segments, time, filters)
                activations.append(layer.reshape(*segments.shape[:2], *layer.shape[1:]))
        return aggregate(*activations)

    def forward_vectors(self, vectors: Tensor) -> Tensor:
        """Turn clip vectors that are ready into logits.

        Args:
            vectors: (clips, values), as `clip_vectors` gives them.

        Returns:
            (clips, n_tags), or (clips, n_features) where there is no head.
        """
        return self.forward_head(self.classifier.forward_layers(vectors)["penultimate"])

    def _extractor(self, name: str) -> LocalMel:
        return cast(LocalMel, self.extractors[name])


def _chosen_levels(levels: Numbers | None, n_levels: int) -> tuple[int, ...]:
    """Count the chosen levels of a network from 1, for numbers that may count from -1 backwards."""
    if levels is None:
        return tuple(range(1, n_levels + 1))
    numbers = _numbers("levels", levels)
    chosen = tuple(number if number > 0 else n_levels + 1 + number for number in numbers)
    fits = all(1 <= abs(number) <= n_levels for number in numbers) and len(set(chosen)) == len(chosen)
    check(fits, "levels", levels, f"different ones from 1 to {n_levels}, or from -{n_levels} to -1")
    return chosen


def _numbers(name: str, came: Numbers) -> tuple[int, ...]:
    numbers = whole_numbers(came)
    check(len(numbers) > 0, name, came, 'whole numbers, such as "18,27,54"')
    return numbers


@register_model(paper=PAPER, n_tags=50)
def local_mel(n_tags: int | None = None, *, n_frames: int = 27, filters: Numbers | None = None) -> LocalMel:
    """Build a network for segments of 18, 27 or 54 frames; 322,866 parameters with 27 and 50 tags."""
    return LocalMel(n_tags, n_frames, filters)


@register_model(paper=PAPER, n_tags=50)
def multilevel_mel(
    n_tags: int | None = None,
    *,
    n_frames: int = MEL.n_frames,
    scales: Numbers = tuple(POOLS),
    levels: Numbers | None = None,
    filters: str | Sequence[Numbers] | None = None,
    n_hidden_layers: int = 2,
    n_units: int = N_UNITS,
    dropout: float = 0.0,
    train_extractors: bool = False,
) -> MultiLevelMel:
    """Build the whole system, 3,723,314 parameters that learn with 50 tags, beside its frozen local networks."""
    return MultiLevelMel(n_tags, n_frames, scales, levels, filters, n_hidden_layers, n_units, dropout, train_extractors)
