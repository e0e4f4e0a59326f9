"""Rows that go along with their files: found by content, and put under another path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.catalogue.journal import Journal
from taggram.catalogue.rows import load_pyarrow


@dataclass(frozen=True, eq=False)
class Loose:
    """Rows of one part whose file is gone, or is another one now.

    Attributes:
        part: number of the part.
        paths: pyarrow column of their paths.
        sizes: (rows,) in bytes.
        sha256: (rows,) hexadecimal digits.
        places: (rows,) of the source that has the path now; -1 where the file is gone.
    """

    part: int
    paths: Any
    sizes: NDArray[np.int64]
    sha256: NDArray[np.bytes_]
    places: NDArray[np.int64]


class LooseRows:
    """Rows that a file of the same content may take.

    Args:
        found: the rows, at least one.
        n_sources: how many files there are.
    """

    def __init__(self, found: list[Loose], n_sources: int) -> None:
        pa = load_pyarrow()
        sha256 = np.concatenate([one.sha256 for one in found])
        places = np.concatenate([one.places for one in found])
        order = np.lexsort((places, sha256))  # of one content, those whose file is gone come first
        self.paths = pa.chunked_array([chunk for one in found for chunk in one.paths.chunks]).take(pa.array(order))
        self.parts = np.concatenate([np.full(len(one.places), one.part) for one in found])[order]
        self.sizes = np.unique(np.concatenate([one.sizes for one in found]))
        self.is_gone = places[order] < 0
        self._sha256 = sha256[order]
        self._own = np.full(n_sources, -1)  # the row that a source has had
        self._own[places[order][~self.is_gone]] = np.flatnonzero(~self.is_gone)
        self._n_given = np.zeros(len(order), np.int64)  # of those with the content of this first one
        self._taken_out = np.zeros(len(order), bool)

    def give(self, places: NDArray[np.int64], hashes: Iterable[str | None]) -> NDArray[np.int64]:
        """Give files the rows of their content.

        Args:
            places: (files,) of the sources.
            hashes: sha256 of each; None where it could not be read.

        Returns:
            (files,) the row of each, or -1: the one it had before; else one that no other has, first of a file that is
            gone; else the last of these, which is then shared.
        """
        return np.array([self._of(place, digest) for place, digest in zip(places, hashes, strict=True)], np.int64)

    def take_out(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Note that rows are no longer in the catalogue, nor those that sources have had."""
        own = self._own[places]
        self._taken_out[rows] = True
        self._taken_out[own[own >= 0]] = True

    def _of(self, place: int, digest: str | None) -> int:
        if digest is None:
            return -1
        content = np.bytes_(digest)
        own = int(self._own[place])
        if own >= 0 and self._sha256[own] == content and not self._taken_out[own]:
            return own
        first, end = (int(np.searchsorted(self._sha256, content, side)) for side in ("left", "right"))
        at = first + int(self._n_given[first]) if first < end else end
        while at < end and self._taken_out[at]:
            at += 1
        if at < end:
            self._n_given[first] = at + 1 - first
            return at
        return end - 1 if first < end and not self._taken_out[end - 1] else -1


class NewParts(Mapping[str, Any]):
    """Parts as they will be; each is made when it is asked for, so that one at a time is in memory.

    Those of which no row is left are in `empty` instead.

    Args:
        journal: of the catalogue.
        leaving: paths of rows that are taken out, by part.
        moved: rows that are put in, by the part of their origin: the path of it, and path, size and modified.
    """

    def __init__(self, journal: Journal, leaving: Mapping[str, Any], moved: Mapping[str, Any]) -> None:
        self._journal = journal
        self._leaving = leaving
        self._moved = moved
        touched = sorted({*leaving, *moved})
        n_rows = {name: journal.parts[name]["rows"] - len(leaving.get(name, ())) for name in touched}
        self.empty = [name for name in touched if not n_rows[name] and name not in moved]
        self._names = [name for name in touched if name not in self.empty]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        pa = load_pyarrow()
        pc = pa.compute
        before = pa.parquet.read_table(self._journal.path_of(name))
        after = before
        if name in self._leaving:
            after = before.filter(pc.invert(pc.is_in(before["path"], self._leaving[name])))
        if name in self._moved:
            after = pa.concat_tables([after, _renamed(pa, before, self._moved[name])])
        return after


def _renamed(pa: Any, table: Any, moved: Any) -> Any:
    """Give rows to other files of the same content."""
    rows = table.take(pa.compute.index_in(moved["origin"], table["path"].combine_chunks()))
    for name in ("path", "size", "modified"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), moved[name].cast(rows.schema.field(place).type))
    return rows
