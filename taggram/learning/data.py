"""From prepared data to batches: which crop comes when is a pure function of (seed, position).

A position counts the patches that training has seen: position // n_items is the epoch, and the rest is the place in the
order of that epoch. So a run goes on at any step, with any number of loader processes: no loader has a state to save.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from taggram.errors import DatasetError

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

Sampling = Literal["random", "all"]
"""One random patch of each track an epoch, or all patches of each track, side by side from its start."""

_ORDER, _CROP = 0, 1  # what a random number is for, so that no two uses share one


def generator(seed: int, *place: int) -> np.random.Generator:
    """Make the random numbers that belong to one place, whatever was drawn before.

    Args:
        seed: of the run.
        *place: whole numbers that say which place it is, such as what for and the position.

    Returns:
        A generator that is always the same for the same numbers.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *place))))


class TrainingPatches(Dataset[tuple[Tensor, Tensor]]):
    """The patches of a training set by position, without end.

    Args:
        data: the prepared data.
        rows: its rows to train on.
        n_samples: length of a patch.
        sampling: which patches of a track an epoch has.
        seed: of the run.

    Raises:
        DatasetError: there is no row.
    """

    def __init__(
        self, data: PreparedData, rows: NDArray[np.int64], n_samples: int, sampling: Sampling, seed: int
    ) -> None:
        if not len(rows):
            raise DatasetError("there is no track to train on; is there a part named train?")
        self._data = data
        self._n_samples = n_samples
        self.seed = seed
        self._sampling = sampling
        lengths = np.array([data.n_samples(int(row)) for row in rows], dtype=np.int64)
        n_patches = np.maximum(lengths // n_samples, 1) if sampling == "all" else np.ones_like(lengths)
        self._rows = np.repeat(rows, n_patches)
        self._patch = np.arange(len(self._rows)) - np.repeat(np.cumsum(n_patches) - n_patches, n_patches)
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def n_items(self) -> int:
        """Patches in an epoch."""
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        """Give (samples,) and (tags,) of the patch at a position."""
        epoch, index = divmod(position, self.n_items)
        if epoch != self._epoch:
            self._order = generator(self.seed, _ORDER, epoch).permutation(self.n_items)
            self._epoch = epoch
        item = int(self._order[index])
        row = int(self._rows[item])
        patch = self._crop(row, int(self._patch[item]), position)
        return torch.from_numpy(patch), torch.from_numpy(self._data.labels(np.array([row]))[0])

    def _crop(self, row: int, patch: int, position: int) -> NDArray[np.float32]:
        """Cut a patch out of a track; a track that is shorter is repeated until it fills one."""
        room = self._data.n_samples(row) - self._n_samples
        if room < 0:
            return np.resize(self._data.whole(row), self._n_samples)
        if self._sampling == "all":
            return self._data.crop(row, patch * self._n_samples, self._n_samples)
        start = int(generator(self.seed, _CROP, position).integers(room + 1))
        return self._data.crop(row, start, self._n_samples)


class StepBatches(Sampler[list[int]]):
    """The positions of each batch of an epoch. The last batch may be smaller.

    Args:
        n_items: patches in an epoch.
        batch_size: patches in a batch.
        epoch: which epoch, counted from 0.
        n_done: batches of it that were seen before; they count in the length and are not given again.
    """

    def __init__(self, n_items: int, batch_size: int, epoch: int, n_done: int = 0) -> None:
        self._n_items = n_items
        self._batch_size = batch_size
        self._epoch = epoch
        self._n_done = n_done

    def __len__(self) -> int:
        return steps_per_epoch(self._n_items, self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Give a list of positions a batch."""
        for batch in range(self._n_done, len(self)):
            first = batch * self._batch_size
            last = min(first + self._batch_size, self._n_items)
            yield [self._epoch * self._n_items + index for index in range(first, last)]


def steps_per_epoch(n_items: int, batch_size: int) -> int:
    """Count the batches of an epoch, the last of which may be smaller."""
    return -(-n_items // batch_size)
