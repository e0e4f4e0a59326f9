"""One vector a clip from the layers of frozen networks: the maximum inside a segment, the mean over segments.

A clip is cut into segments of the length that the network was made for. Every chosen layer gives a value a filter: its
maximum over the time of a segment, and of that the mean over the segments of the clip. Vectors of several layers
(levels) and of several networks (scales) are put side by side by `np.concatenate(..., axis=1)`.

Each layer of each network is kept by itself, under a hash of the sound, the weights and the segments, so any choice of
levels and scales is answered without another pass. One pass through a network makes all of its layers.

Source: Lee and Nam, "Multi-level and multi-scale feature aggregation using pretrained convolutional neural networks for
    music auto-tagging", IEEE Signal Processing Letters 24(8), 2017, arXiv 1703.01793, with segments side by side; and
    the same authors' "Multi-level and multi-scale feature aggregation using sample-level deep convolutional neural
    networks for music classification", ICML 2017 workshop, arXiv 1706.06810, with segments that are spread.
Differs: a clip that is shorter than a segment is repeated up to there. The released code of the second one repeats each
    of its samples ten times in its place, which slows it down; `short="slowed"` does so.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from taggram._checks import check_choice, check_count
from taggram.errors import AudioError, ConfigError
from taggram.learning.embeddings import (
    BATCH_VALUES,
    MOST_AT_ONCE,
    ClipSounds,
    Features,
    Told,
    cached_features,
    forget_features,
    network_facts,
)
from taggram.models._aggregation import aggregate, contiguous_starts, cut_segments, spread_starts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggram.models._contract import TaggingModel

SCORES = "scores"  # in the place of a layer: what the head makes of each segment, by sigmoid or softmax
CLIP_S = 30.0  # of the clips for which the source spreads its segments
SLOWER = 10  # times that the released code repeats each sample of a short clip
Layout = Literal["contiguous", "spread"]
Short = Literal["tiled", "slowed"]


@dataclass(frozen=True, kw_only=True)
class Segments:
    """How clips are cut into segments.

    Attributes:
        layout: "contiguous" lays them side by side and drops the rest; "spread" spreads so many evenly over the clip,
            and they overlap.
        n_segments: of a clip, where they are spread; 0 is one more than 30 s hold, as published. Side by side, at most
            so many, from the start on; 0 is all.
        short: what becomes of a clip that is shorter than a segment: it is repeated ("tiled"), or first each of its
            samples ten times in its place ("slowed"), as in the released code.

    Raises:
        ConfigError: some value makes no sense.
    """

    layout: Layout = "contiguous"
    n_segments: int = 0
    short: Short = "tiled"

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, get_args(Layout))
        check_choice("short", self.short, get_args(Short))
        check_count("n_segments", self.n_segments, 0)

    def starts(self, n_frames: int, length: int, frames_per_s: float) -> list[int]:
        """Say where the segments of a clip begin.

        Args:
            n_frames: of the clip, in frames or samples.
            length: of a segment, in the same unit.
            frames_per_s: frames or samples in a second.

        Returns:
            First frame of each. Segments that would all be the same one are given once.

        Raises:
            ConfigError: the clip is shorter than a segment.
        """
        if self.layout == "contiguous":
            return contiguous_starts(n_frames, length)[: self.n_segments or None]
        n_segments = self.n_segments or math.floor(CLIP_S * frames_per_s / length) + 1
        return list(dict.fromkeys(spread_starts(n_frames, length, n_segments)))

    def lengthened(self, samples: Features, least: int) -> Features:
        """Lengthen a clip that is too short for one segment.

        Args:
            samples: (samples,).
            least: samples that are needed.

        Returns:
            (samples,), at least so many; a clip that is long enough comes back as it is.

        Raises:
            AudioError: there is no sample.
        """
        if not len(samples):
            raise AudioError("a clip without a sample came; at least 1 is wanted.")
        if len(samples) >= least:
            return samples
        if self.short == "slowed":
            samples = np.repeat(samples, SLOWER)
        return samples if len(samples) >= least else np.resize(samples, least)


def default_layers(model: TaggingModel) -> tuple[str, ...]:
    """Name the layers that are aggregated if nothing else is said.

    Args:
        model: the network.

    Returns:
        All convolutions of `local_mel`, the last three of SampleCNN, and the last three layers of any other network;
        the one nearest to the input first.
    """
    name = (model.name or "").partition(".")[0]
    if name in ("local_mel", "samplecnn", "samplecnn_mel", "samplecnn_frame"):
        convolutions = tuple(layer for layer in model.layers() if layer.startswith("conv"))
        return convolutions if name == "local_mel" else convolutions[-3:]
    return model.layers()[-3:]


def clip_vectors(
    model: TaggingModel,
    sounds: ClipSounds,
    layers: Sequence[str] | None = None,
    *,
    segments: Segments | None = None,
    cache: Path | None = None,
    facts: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    n_threads: int | None = None,
    told: Told = lambda *_: None,
) -> dict[str, Features]:
    """Compute the vectors of clips, or answer from the cache.

    Args:
        model: the network; it is left as it is, and works as in evaluation mode.
        sounds: the clips, at the rate of its front-end.
        layers: names out of `model.layers()`, each once, and "scores", which are the means over the segments of what
            its head says; None is `default_layers`.
        segments: how clips are cut; None is side by side.
        cache: folder in which the vectors are kept, a file a layer; None keeps none.
        facts: what else is written beside kept vectors; it does not tell them apart.
        device: where the network runs; the front-end stays on the CPU.
        n_threads: clips at once, each on one thread; None is one a core.
        told: is told how far the pass through the network is.

    Returns:
        (clips, filters) float32 a layer, in the order asked for.

    Raises:
        AudioError: a clip cannot be read or has no sample.
        ConfigError: no layer is asked for, or one twice, the network wants another rate, or has no head for scores.
        DatasetError: there is no clip, or a file is missing.
        UnknownNameError: the network has no such layer.
    """
    names = default_layers(model) if layers is None else tuple(layers)
    cut = segments or Segments()
    _check(model, sounds, names)
    common = {"segments": dataclasses.asdict(cut), "sounds": sounds.content(), "n_clips": len(sounds)}
    of_all = {**network_facts(model, with_head=SCORES in names), "layers": names, **common}

    @functools.cache
    def of_one_pass() -> dict[str, Features]:
        joined = cached_features(
            lambda: _SegmentedNetwork(model, names, cut, device).vectors_of(sounds), of_all, cache=cache, facts=facts,
            n_threads=n_threads, told=told,
        )  # fmt: skip
        ends = np.cumsum(list(layer_widths(model, names).values()))[:-1]
        return dict(zip(names, np.split(joined, ends, axis=1)))

    if cache is None:
        return {name: np.ascontiguousarray(vectors) for name, vectors in of_one_pass().items()}

    def kept(name: str) -> Features:
        known = {**network_facts(model, with_head=name == SCORES), "layer": name, **common}

        def make_ready() -> Any:
            vectors = of_one_pass()[name]
            return lambda clips: vectors[list(clips)]

        return cached_features(make_ready, known, cache=cache, facts=facts, batch_size=MOST_AT_ONCE, n_threads=1)

    found = {name: kept(name) for name in names}
    forget_features(of_all, cache)
    return found


@torch.inference_mode()
def layer_widths(model: TaggingModel, layers: Sequence[str]) -> dict[str, int]:
    """Count the values that layers add to a clip vector.

    Args:
        model: the network.
        layers: as for `clip_vectors`.

    Returns:
        The number of filters of each.

    Raises:
        UnknownNameError: the network has no such layer.
    """
    network = copy.deepcopy(model).cpu().eval()
    shape = (network.frontend.n_bands, network.frontend.n_frames)
    patch = torch.zeros((1, 1, *shape) if _has_bands(model) else (1, *shape))
    return {name: values.shape[-1] for name, values in _layers_of(network, patch, layers).items()}


# -- inside ------------------------------------------------------------------------------------------------------------


def _check(model: TaggingModel, sounds: ClipSounds, names: Sequence[str]) -> None:
    """Refuse layers that the network has not, and sound at another rate than its own."""
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"layers {', '.join(names) or 'of no name'} came; at least one is wanted, and each once.")
    for name in names:
        if name != SCORES:
            model.check_layer(name)
    if SCORES in names and model.n_tags is None:
        raise ConfigError("this network has no head, so it gives no scores; leave them out of the layers.")
    if sounds.sample_rate != model.frontend.sample_rate:
        raise ConfigError(
            f"the clips are at {sounds.sample_rate} Hz; this network wants {model.frontend.sample_rate} Hz."
        )


def _has_bands(model: TaggingModel) -> bool:
    """Tell whether patches are (batch, 1, bands, frames), and not (batch, 1, samples)."""
    frontend = copy.deepcopy(model.frontend).cpu()
    frames: Tensor = frontend(torch.zeros(1, frontend.n_samples_for(1)))
    return frames.ndim == 4


def _layers_of(network: TaggingModel, patches: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Compute layers, and the scores of the head where they are asked for."""
    layers = network.forward_layers(patches)
    if SCORES in names:
        layers[SCORES] = network.scores(network.forward_head(layers[network.layers()[-1]]))
    return {name: layers[name] for name in names}


class _SegmentedNetwork:
    """A copy of a network that turns clips into vectors.

    Args:
        model: the network.
        names: of the layers.
        segments: how clips are cut.
        device: where it runs.
    """

    def __init__(
        self, model: TaggingModel, names: Sequence[str], segments: Segments, device: torch.device | str
    ) -> None:
        self._frontend = copy.deepcopy(model.frontend).cpu()
        self._model = copy.deepcopy(model).eval().to(device)
        self._names, self._segments, self._device = names, segments, device
        self._length = model.frontend.n_frames
        self._at_once = max(1, min(MOST_AT_ONCE, BATCH_VALUES // (self._length * model.frontend.n_bands)))

    def vectors_of(self, sounds: ClipSounds) -> Any:
        """Give what computes (clips, values) of clips with some numbers."""
        return lambda clips: np.stack([self.vector(sounds.whole(clip)) for clip in clips])

    @torch.inference_mode()
    def vector(self, samples: Features) -> Features:
        """Give (values,) of a clip: layer after layer. No more segments are looked at together than a batch holds."""
        samples = self._segments.lengthened(samples, self._frontend.n_samples_for(self._length))
        frames = self._frontend(torch.from_numpy(samples)[None])  # (1, 1, bands, frames) or (1, 1, samples)
        per_s = self._frontend.sample_rate / self._frontend.hop_length
        starts = self._segments.starts(frames.shape[-1], self._length, per_s)
        total = torch.zeros((), dtype=torch.float64)
        for first in range(0, len(starts), self._at_once):
            some = starts[first : first + self._at_once]
            patches = cut_segments(frames, some, self._length)[0].to(self._device)  # (segments, 1, ..., length)
            layers = _layers_of(self._model, patches, self._names).values()
            total = total + aggregate(*(layer.unsqueeze(0) for layer in layers))[0].double().cpu() * len(some)
        vector: Features = (total / len(starts)).float().numpy()
        return vector
