"""Where paths stand among millions of others, in 16 bytes a path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.catalogue.rows import load_pyarrow

BATCH_ROWS = 2**16


class PathIndex:
    """Places of paths in a column, found by hashes of them; what has the same hash is compared.

    Args:
        paths: a pyarrow column of text.
    """

    def __init__(self, paths: Any) -> None:
        pa = load_pyarrow()
        self._pa = pa
        chunks = [chunk.cast(pa.large_string()) for chunk in paths.chunks]  # as all of them may be over 2 GB
        self._paths = pa.concat_arrays([pa.array([], pa.large_string()), *chunks])
        keys = _keys(paths)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def find(self, paths: Any) -> NDArray[np.int64]:
        """Find paths.

        Args:
            paths: a pyarrow column of text.

        Returns:
            (paths,) the first place of each, or -1 where it is not among them.
        """
        keys = _keys(paths)
        at = np.searchsorted(self._keys, keys)
        places = np.full(len(keys), -1)
        searched = np.arange(len(keys))
        while len(searched):
            searched = searched[at[searched] < len(self._keys)]
            searched = searched[self._keys[at[searched]] == keys[searched]]
            there = self._order[at[searched]]
            wanted = paths.take(self._pa.array(searched)).cast(self._pa.large_string())
            equal = self._pa.compute.equal(self._paths.take(self._pa.array(there)), wanted)
            found = equal.to_numpy(zero_copy_only=False) if len(searched) else np.zeros(0, bool)
            places[searched[found]] = there[found]
            searched = searched[~found]
            at[searched] += 1
        return places

    def are_first(self) -> NDArray[np.bool_]:
        """Tell which of the own paths stand for the first time.

        Returns:
            (paths,) one truth a path.
        """
        n = len(self._order)
        if not (self._keys[1:] == self._keys[:-1]).any():
            return np.ones(n, bool)
        starts = range(0, n, BATCH_ROWS)
        found = np.concatenate([self.find(self._paths.slice(start, BATCH_ROWS)) for start in starts])
        first: NDArray[np.bool_] = found == np.arange(n)
        return first


def _keys(paths: Any) -> NDArray[np.int64]:
    """Hash texts, to 64 bits each."""
    return np.fromiter(_hashes(paths), np.int64, len(paths))


def _hashes(paths: Any) -> Iterator[int]:
    for start in range(0, len(paths), BATCH_ROWS):
        yield from map(hash, paths.slice(start, BATCH_ROWS).to_pylist())
