"""One vector a patch, each patch at the same level: what kits are taught on, and what they tag.

Patches are cut out of the waveform here, and not out of the spectrogram, since the level is set before the front-end:
the loudest sample of each patch becomes 1. So a soft note and a loud one look alike, as does a recording made with more
gain. What a named layer gives is the vector, with mean and maximum over time where the layer keeps time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram.errors import AudioError

if TYPE_CHECKING:
    from taggram.audio import Samples
    from taggram.models._inference import InferenceForm

LEAST_PEAK = 1e-3  # of full scale, -60 dB: what is softer is raised as if it were as loud as this, so noise stays noise


class NoSamplesError(AudioError):
    """A sound, or a part of one, without a sample."""


@dataclass(frozen=True, eq=False)
class PatchVectors:
    """The vectors of one sound, or of a batch of its patches.

    Attributes:
        vectors: (patches, features) float32.
        peaks: (patches,) float32, the loudest sample of each patch as it came.
        padded: whether the sound was shorter than a patch, and was repeated to fill one.
    """

    vectors: NDArray[np.float32]
    peaks: NDArray[np.float32]
    padded: bool


class PatchEmbedder:
    """Cuts sound into patches, sets their level and runs a network over them.

    Args:
        form: the network, made ready.
        layers: names of its layers whose values make the vector, in order.
        patch_frames: length of a patch in frames of the front-end.
        hop_frames: step between patches, likewise.
        batch_size: patches that the network sees at once.
        device: where it runs.
    """

    def __init__(
        self,
        form: InferenceForm,
        layers: Sequence[str],
        *,
        patch_frames: int,
        hop_frames: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._form, self._layers = form, tuple(layers)
        self._patch_frames = patch_frames
        self._batch_size, self._device = batch_size, device
        frontend = form.model.frontend
        self._n_patch = frontend.n_samples_for(patch_frames)
        self._n_hop = hop_frames * frontend.hop_length

    def embed(self, blocks: Iterable[Samples]) -> PatchVectors:
        """Compute the vectors of a whole sound.

        Args:
            blocks: of the sound, (samples,) each, at the rate of the front-end.

        Returns:
            A vector a patch; a last incomplete patch is left out, and a sound shorter than a patch is repeated.

        Raises:
            AudioError: there is no sample.
        """
        batches = list(self.batches(blocks))
        vectors, peaks = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("vectors", "peaks"))
        return PatchVectors(vectors, peaks, batches[-1].padded)

    def batches(self, blocks: Iterable[Samples]) -> Iterator[PatchVectors]:
        """Compute the vectors of a sound batch by batch; memory does not grow with its length.

        Args:
            blocks: as for `embed`.

        Yields:
            The vectors of a batch, in order.

        Raises:
            AudioError: there is no sample.
        """
        for compute in self.waiting(blocks):
            yield compute()

    def n_features(self) -> int:
        """Say how many features a vector has; a patch of silence is computed for it."""
        return len(self.embed([np.zeros(self._n_patch, np.float32)]).vectors[0])

    def waiting(self, blocks: Iterable[Samples]) -> Iterator[Callable[[], PatchVectors]]:
        """Give what computes each batch, for those who may do without some of them.

        Args:
            blocks: as for `embed`.

        Yields:
            What computes the vectors of a batch, in order.

        Raises:
            AudioError: there is no sample.
        """
        for patches, padded in self._batches(blocks):
            yield partial(self._computed, patches, padded)

    def _computed(self, patches: Samples, padded: bool) -> PatchVectors:
        return PatchVectors(self._vectors(_levelled(patches)), np.abs(patches).max(axis=1), padded)

    def cutter(self) -> PatchCutter:
        """Give what cuts patches out of one sound, for those who choose among them before the network sees any."""
        return PatchCutter(self._n_patch, self._n_hop)

    def vectors(self, patches: Samples) -> NDArray[np.float32]:
        """Compute the vectors of patches that a `cutter` gave.

        Args:
            patches: (patches, samples).

        Returns:
            (patches, features).
        """
        size = self._batch_size
        batches = [patches[start : start + size] for start in range(0, len(patches), size)]
        return np.concatenate([self._vectors(_levelled(batch)) for batch in batches])

    def inputs(self, patches: Samples) -> Tensor:
        """Give what the network sees of patches that a `cutter` gave, to train it on.

        Args:
            patches: (patches, samples).

        Returns:
            (patches, 1, mels, frames), or (patches, 1, samples) for networks on raw waveforms.
        """
        return self._frames(_levelled(patches))

    @torch.no_grad()
    def _frames(self, patches: Samples) -> Tensor:
        """Run the front-end over (patches, samples)."""
        frames: Tensor = self._form.model.frontend(torch.from_numpy(patches).to(self._device))
        return frames[..., : self._patch_frames]

    @torch.inference_mode()
    def _vectors(self, patches: Samples) -> NDArray[np.float32]:
        """Give (patches, features) for (patches, samples)."""
        n_frames = self._patch_frames
        stretch = self._frames(patches).flatten(1, -2).transpose(0, 1).flatten(1)  # (mels, patches * frames)
        starts = [n_frames * place for place in range(len(patches))]
        layers = self._form.layers(self._layers, stretch, starts, n_frames)
        vectors: NDArray[np.float32] = torch.cat([_summed_up(layer) for layer in layers], 1).float().cpu().numpy()
        return vectors

    def _batches(self, blocks: Iterable[Samples]) -> Iterator[tuple[Samples, bool]]:
        """Give (patches, samples) by the batch, and whether the sound was repeated."""
        waiting: list[Samples] = []
        padded = False
        for patch, padded in self._patches(blocks):
            waiting.append(patch)
            if len(waiting) == self._batch_size:
                yield np.stack(waiting), padded
                waiting = []
        if waiting:
            yield np.stack(waiting), padded

    def _patches(self, blocks: Iterable[Samples]) -> Iterator[tuple[Samples, bool]]:
        """Cut patches of (samples,), and say of each whether the sound was repeated to fill it."""
        cutter = self.cutter()
        for block in blocks:
            for patch in cutter.feed(block):
                yield patch, False
        for patch in cutter.rest():
            yield patch, True


class PatchCutter:
    """Cuts patches out of one sound that comes block by block.

    Args:
        n_patch: samples of a patch.
        n_hop: samples from the start of a patch to that of the next.
    """

    def __init__(self, n_patch: int, n_hop: int) -> None:
        self._n_patch, self._n_hop = n_patch, n_hop
        self._held = np.zeros(0, np.float32)
        self._n_skip, self._is_first = 0, True

    def feed(self, block: Samples) -> Iterator[Samples]:
        """Take the next block in.

        Args:
            block: (samples,).

        Yields:
            The patches that are whole now, (samples,) each.
        """
        self._held = np.concatenate([self._held, block[self._n_skip :]])
        self._n_skip = max(0, self._n_skip - len(block))
        while len(self._held) >= self._n_patch:
            yield self._held[: self._n_patch].copy()
            self._is_first = False
            self._n_skip += max(0, self._n_hop - len(self._held))
            self._held = self._held[self._n_hop :]

    def rest(self) -> Iterator[Samples]:
        """End the sound.

        Yields:
            Where it was shorter than a patch, one with the sound repeated to fill it. Else nothing: a last incomplete
            patch is left out.

        Raises:
            NoSamplesError: there was no sample.
        """
        if self._is_first:
            if not len(self._held):
                raise NoSamplesError("there are no samples in it")
            yield np.resize(self._held, self._n_patch)


def _levelled(patches: Samples) -> Samples:
    """Make the loudest sample of each patch 1; what is nearly silent stays soft."""
    peaks = np.abs(patches).max(axis=1, keepdims=True)
    levelled: Samples = patches / np.maximum(peaks, np.float32(LEAST_PEAK))
    return levelled


def _summed_up(layer: Tensor) -> Tensor:
    """Give (patches, features) of a layer: mean and maximum over time where it keeps time."""
    if layer.ndim == 2:
        return layer
    by_time = layer.flatten(2)  # (patches, time, features)
    return torch.cat([by_time.mean(1), by_time.amax(1)], 1)
