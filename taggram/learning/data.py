"""From prepared data to batches: which crop comes when is a pure function of (seed, position).

A position counts the patches that training has seen: position // n_items is the epoch, and the rest is the place in the
order of that epoch. So a run goes on at any step, with any number of loader processes: no loader has a state to save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from taggram.errors import DatasetError
from taggram.learning._random import Purpose, generator
from taggram.learning.augment import Augmenter, mix

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

Sampling = Literal["random", "all"]
"""Random patches of each track, drawn anew each epoch, or all patches of each track from its start on."""


class TrainingPatches(Dataset[tuple[Tensor, Tensor, int]]):
    """The patches of a training set by position, without end.

    Args:
        data: the prepared data, or the features in it.
        rows: its rows to train on.
        n_samples: length of a patch.
        sampling: which patches of a track an epoch has.
        seed: of the run.
        hop: samples from patch to patch with "all"; None is side by side.
        per_track: how many random patches of a track (None is 1), or with "all" how many at most (None is no limit).
        augmenter: changes patches; None changes none.

    Raises:
        DatasetError: there is no row.
    """

    def __init__(
        self,
        data: TrackReader,
        rows: NDArray[np.int64],
        n_samples: int,
        sampling: Sampling,
        seed: int,
        *,
        hop: int | None = None,
        per_track: int | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        if not len(rows):
            raise DatasetError("there is no track to train on; is there a part named train?")
        self._data = data
        self._n_samples = n_samples
        self.seed = seed
        self._sampling = sampling
        self._augmenter = augmenter
        self._hop = hop or n_samples
        lengths = np.array([data.n_samples(int(row)) for row in rows], dtype=np.int64)
        n_patches = np.full_like(lengths, per_track or 1)
        if sampling == "all":
            n_patches = np.maximum((lengths - n_samples) // self._hop + 1, 1)
            n_patches = n_patches if per_track is None else np.minimum(n_patches, per_track)
        self._rows = np.repeat(rows, n_patches)
        self._patch = np.arange(len(self._rows)) - np.repeat(np.cumsum(n_patches) - n_patches, n_patches)
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def n_items(self) -> int:
        """Patches in an epoch."""
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, int]:
        """Give (samples,) or (frames, bands) and (tags,) of the patch at a position, and the position."""
        epoch, index = divmod(position, self.n_items)
        if epoch != self._epoch:
            self._order = generator(self.seed, Purpose.ORDER, epoch).permutation(self.n_items)
            self._epoch = epoch
        item = int(self._order[index])
        patch, labels = self._patch_of(item, position)
        mixed = self._augmenter.mixed(position, self.n_items) if self._augmenter else None
        if mixed is not None:
            other_patch, other_labels = self._patch_of(mixed.item, position)
            patch, labels = mix(patch, other_patch, mixed.share), mix(labels, other_labels, mixed.share)
        return torch.from_numpy(patch), torch.from_numpy(labels), position

    def _patch_of(self, item: int, position: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cut an item's patch out of its track, change it, and give it with its labels."""
        row, patch = int(self._rows[item]), int(self._patch[item])
        labels = self._data.labels(np.array([row]))[0]
        if self._augmenter is None or not self._augmenter.config.changes_sound:
            return self._crop(row, patch, position, self._n_samples), labels
        n_input = self._augmenter.n_input(self._n_samples, position)
        samples = self._crop(row, patch, position, n_input)
        return self._augmenter.waveform(samples, position, self._n_samples), labels

    def _crop(self, row: int, patch: int, position: int, n_samples: int) -> NDArray[np.float32]:
        """Cut a stretch out of a track; a random one of a track that is shorter begins anywhere in it."""
        length = self._data.n_samples(row)
        if self._sampling == "all":
            start = min(patch * self._hop, max(length - n_samples, 0))
        else:
            n_starts = length - n_samples + 1 if length >= n_samples else length
            start = int(generator(self.seed, Purpose.CROP, position).integers(n_starts))
        return cut(self._data, row, start, n_samples)


class Clips(Dataset[tuple[Tensor, Tensor]]):
    """Clips, each as all its patches side by side, or as some of them.

    Args:
        data: the prepared data, or the features in it.
        rows: of the part.
        n_samples: length of a patch.
        per_clip: how many patches of a clip at most, each from the middle of an equal share of them; None is all.
    """

    def __init__(
        self, data: TrackReader, rows: NDArray[np.int64], n_samples: int, *, per_clip: int | None = None
    ) -> None:
        self._data = data
        self._rows = rows
        self._n_samples = n_samples
        self._per_clip = per_clip

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Give (patches, samples) or (patches, frames, bands), and (tags,)."""
        row = int(self._rows[index])
        n_patches = max(1, self._data.n_samples(row) // self._n_samples)
        if self._per_clip is not None and n_patches > self._per_clip:
            places = (2 * np.arange(self._per_clip) + 1) * n_patches // (2 * self._per_clip)
            starts = (places * self._n_samples).tolist()
            patches = np.stack([cut(self._data, row, start, self._n_samples) for start in starts])
        else:
            whole = cut(self._data, row, 0, n_patches * self._n_samples)
            patches = whole.reshape(n_patches, self._n_samples, *whole.shape[1:])
        return torch.from_numpy(patches), torch.from_numpy(self._data.labels(np.array([row]))[0])


def side_by_side(clips: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Put the patches of some clips into one batch.

    Args:
        clips: as `Clips` gives them.

    Returns:
        (patches of all clips, samples), (clips, tags), and (clips,) how many patches each has.
    """
    patches, labels = zip(*clips)
    return torch.cat(patches), torch.stack(labels), torch.tensor([len(of_clip) for of_clip in patches])


class TrackReader(Protocol):
    """What training reads tracks with: `PreparedData` for samples, `FeatureReader` for features."""

    def n_samples(self, row: int) -> int:
        """Count the samples, or frames, of a track."""

    def crop(self, row: int, start: int, n_samples: int) -> NDArray[np.float32]:
        """Read a stretch of a track: (samples,) or (frames, bands)."""

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give (rows, tags)."""


class FeatureReader:
    """Reads features that were prepared as if their frames were samples.

    Args:
        data: prepared with features.
    """

    def __init__(self, data: PreparedData) -> None:
        self._data = data

    def n_samples(self, row: int) -> int:
        """Count the frames of a track."""
        return self._data.n_frames(row)

    def crop(self, row: int, start: int, n_samples: int) -> NDArray[np.float32]:
        """Read some frames of a track: (frames, bands)."""
        return self._data.features(row, start, n_samples).astype(np.float32)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give (rows, tags)."""
        return self._data.labels(rows)


def cut(data: TrackReader, row: int, start: int, n_samples: int) -> NDArray[np.float32]:
    """Read a stretch of a track; one that is shorter is repeated until it fills it, from the start of the stretch on.

    Args:
        data: what it is read with.
        row: of the track.
        start: of the stretch.
        n_samples: its length.

    Returns:
        (samples,) or (frames, bands).
    """
    length = data.n_samples(row)
    if length >= n_samples:
        return data.crop(row, start, n_samples)
    whole = np.roll(data.crop(row, 0, length), -start, axis=0)
    return np.resize(whole, (n_samples, *whole.shape[1:]))


def drawn_for_validation(
    rows: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw tracks for validation out of those for training.

    Args:
        rows: of the tracks for training.
        share: of them, to be drawn: at least one where it is above 0.
        seed: of the run.

    Returns:
        The rows to train on and those to validate on, each in the order they came in.
    """
    n_drawn = min(max(1, round(share * len(rows))), len(rows)) if share else 0
    is_drawn = np.zeros(len(rows), dtype=bool)
    is_drawn[generator(seed, Purpose.VALIDATION).permutation(len(rows))[:n_drawn]] = True
    return rows[~is_drawn], rows[is_drawn]


class StepBatches(Sampler[list[int]]):
    """The positions of each batch of an epoch, or of one process's share of them.

    The last batch may be smaller, or larger by what would be no batch of its own.

    Args:
        n_items: patches in an epoch.
        batch_size: patches in a batch, over all processes.
        start: gives the epoch, counted from 0, and how many of its batches were seen before; those count in the length
            and are not given again. It is asked anew for each epoch.
        rank: which process this is.
        n_ranks: processes that train together. Each takes every so many of the positions of a batch; one that none is
            left for has the first.
        super_batch: patches after each so many of which a batch ends; None is at the end of the epoch alone.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        start: Callable[[], tuple[int, int]],
        rank: int = 0,
        n_ranks: int = 1,
        super_batch: int | None = None,
    ) -> None:
        self._n_items = n_items
        self._ends = batch_ends(n_items, batch_size, super_batch)
        self._start = start
        self._rank = rank
        self._n_ranks = n_ranks

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        """Give a list of positions a batch."""
        epoch, n_done = self._start()
        for batch in range(n_done, len(self)):
            first = self._ends[batch - 1] if batch else 0
            positions = [epoch * self._n_items + index for index in range(first, self._ends[batch])]
            yield positions[self._rank :: self._n_ranks] or positions[:1]


def steps_per_epoch(n_items: int, batch_size: int, super_batch: int | None = None) -> int:
    """Count the batches of an epoch.

    Args:
        n_items: patches in an epoch.
        batch_size: patches in a batch, over all processes.
        super_batch: patches after each so many of which a batch ends; None is at the end of the epoch alone.

    Returns:
        How many there are, whatever the number of processes.
    """
    return len(batch_ends(n_items, batch_size, super_batch))


def batch_ends(n_items: int, batch_size: int, super_batch: int | None = None) -> list[int]:
    """Say behind which patch of an epoch each batch ends.

    Args:
        n_items: patches in an epoch.
        batch_size: patches in a batch, over all processes.
        super_batch: patches after each so many of which a batch ends; None is at the end of the epoch alone.

    Returns:
        The ends. A last patch alone, of which batch norm can learn nothing, goes into the batch before.
    """
    size = super_batch or n_items
    ends: list[int] = []
    for first in range(0, n_items, size):
        last = min(first + size, n_items)
        ends += range(first + batch_size, last, batch_size)
        before = ends[-1] if ends else 0
        if ends and last - before < batch_size and last - before <= 1:
            ends[-1] = last
        else:
            ends.append(last)
    return ends
