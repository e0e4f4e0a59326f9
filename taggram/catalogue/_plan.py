"""What is in a catalogue beside what is to be in it: which files are to be tagged, and which are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import fsdecode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._files import is_gone
from taggram._processes import n_cores
from taggram.catalogue._folder import sha256_of
from taggram.catalogue._moves import Loose, LooseRows, NewParts
from taggram.catalogue._path_index import PathIndex
from taggram.catalogue._stores import at_hand
from taggram.catalogue.journal import Journal
from taggram.catalogue.rows import load_pyarrow
from taggram.results import Failure

AT_ONCE = 256  # files that wait to be read
LEAST_MOVES = 10_000  # files that are read before their rows are moved
MOST_CHANGES = 20  # of the parts, however many files were moved
UNKNOWN = np.iinfo(np.int64).min  # in the place of a size or time that is null


@dataclass
class Summary:
    """What a run did.

    Attributes:
        n_done: files that were tagged.
        n_failed: files that could not be tagged, in this run.
        n_kept: files that were in the catalogue before.
        n_failed_before: those of them that could not be tagged then, and were not tried again.
        n_moved: files that were known by their content, under another path.
        n_pruned: files that are gone, and were taken out.
        n_others: files in the catalogue that the paths do not stand for, some of them maybe gone.
        n_rows: files in the catalogue.
        n_errors: those of them that could not be tagged.
        lost: parts that were found damaged, and were made again.
        layer: name of the layer.
        failures: paths that are not there, and folders that hold no sound or cannot be read.
    """

    n_done: int = 0
    n_failed: int = 0
    n_kept: int = 0
    n_failed_before: int = 0
    n_moved: int = 0
    n_pruned: int = 0
    n_others: int = 0
    n_rows: int = 0
    n_errors: int = 0
    lost: list[str] = field(default_factory=list)
    layer: str = ""
    failures: list[Failure] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed in this run."""
        return not (self.n_failed or self.failures)


class Plan:
    """What is in a catalogue, beside what is to be in it.

    Args:
        journal: of the catalogue.
        sources: the files, see `Sources`.
        told: is told how many files were read to be known by their content, and of how many.
    """

    def __init__(self, journal: Journal, sources: Any, told: Callable[[int, int], None]) -> None:
        self._pa = load_pyarrow()
        self._told = told
        self._journal = journal
        self._sources = sources
        self._parts = list(journal.parts)
        self._places: list[NDArray[np.int64]] = []  # of each part's rows among the sources, or -1
        n = sources.num_rows
        self._size, self._modified = (self._numbers(sources[name]) for name in ("size", "modified"))
        self._part_of = np.full(n, -1, np.int32)  # of the source's row
        self._same, self._failed = np.zeros(n, bool), np.zeros(n, bool)
        self.to_do = sources

    def settle(self, summary: Summary, *, by_content: bool, retry: bool, prune: bool) -> None:
        """Find out what is to do, and do all that needs no tagging.

        Args:
            summary: is told how many files are kept, moved and pruned.
            by_content: as for `build_catalogue`.
            retry: likewise.
            prune: likewise.
        """
        self._find_rows()
        same = self._same & self._same_content() if by_content else self._same
        out_of_reach = self._size == UNKNOWN  # such as a disk that is not there today: no reason to forget it
        keep = (self._part_of >= 0) & (same | out_of_reach)
        if retry:
            keep &= ~self._failed
        summary.n_kept = int(keep.sum())
        summary.n_failed_before = int((keep & self._failed).sum())
        open_ = ~keep
        # Bytes of what lies in a store would all come to this machine, only to be fetched again if they are new.
        local = ~self._are_addresses(self._sources["path"])
        likely = open_ & local & ~out_of_reach
        loose, gone = self._loose_rows(open_, np.unique(self._size[likely]), prune=prune)
        if loose is not None:
            open_ &= ~self._move(likely & np.isin(self._size, loose.sizes), loose, gone)
        summary.n_moved = int((~keep & ~open_).sum())
        summary.n_pruned = sum(map(len, gone.values()))
        pruned = {
            self._parts[part]: self._pa.chunked_array([sorted(paths)], self._pa.string())
            for part, paths in gone.items()
            if paths
        }
        self._commit(self._together(pruned, self._own_rows(np.flatnonzero(open_))), {})
        summary.n_others = self._journal.n_rows - summary.n_kept - summary.n_moved
        self.to_do = self._sources.filter(self._pa.array(open_))

    # -- what is known -------------------------------------------------------------------------------------------------

    def _read(self, part: str, *columns: str) -> Any:
        return self._pa.parquet.read_table(self._journal.path_of(part), columns=list(columns))

    def _numbers(self, column: Any) -> NDArray[np.int64]:
        """Turn sizes or times into numbers."""
        column = column.cast(self._pa.int64())
        numbers: NDArray[np.int64] = self._pa.compute.fill_null(column, UNKNOWN).to_numpy()
        return numbers

    def _truths(self, column: Any) -> NDArray[np.bool_]:
        truths: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
        return truths.astype(bool)

    def _find_rows(self) -> None:
        """Find the rows of sources, a part after the other, and whether size and time are the same."""
        index = PathIndex(self._sources["path"])
        for number, part in enumerate(self._parts):
            table = self._read(part, "path", "size", "modified", "error")
            places = index.find(table["path"])
            rows = np.flatnonzero(places >= 0)
            there = places[rows]
            self._places.append(places)
            self._part_of[there] = number
            self._same[there] = (self._numbers(table["size"])[rows] == self._size[there]) & (
                self._numbers(table["modified"])[rows] == self._modified[there]
            )
            self._failed[there] = self._truths(table["error"].is_valid())[rows]

    def _same_content(self) -> NDArray[np.bool_]:
        """Tell of which sources the bytes are those of their row; of what could not be read then, as if they were."""
        same = np.ones(len(self._same), bool)
        n_read, n_files = 0, int(self._same.sum())
        for part, places in zip(self._parts, self._places):
            known = self._read(part, "sha256")["sha256"]
            rows = np.flatnonzero((places >= 0) & self._truths(known.is_valid()))
            rows = rows[self._same[places[rows]]]
            there = places[rows]
            digests = known.take(self._pa.array(rows)).to_pylist()
            read = self._hashes(self._sources["name"].take(self._pa.array(there)), n_read, n_files)
            same[there] = [digest == before for digest, before in zip(read, digests, strict=True)]
            n_read += len(there)
        return same

    def _hashes(self, names: Any, n_before: int, n_files: int) -> Iterator[str | None]:
        """Read files, many at once; give the hash of each."""
        with ThreadPoolExecutor(n_cores()) as pool:
            for start in range(0, len(names), AT_ONCE):
                some = names.slice(start, AT_ONCE).to_pylist()
                yield from pool.map(_hash_of, some)
                self._told(n_before + start + len(some), n_files)

    def _are_addresses(self, paths: Any) -> NDArray[np.bool_]:
        return self._truths(self._pa.compute.match_substring(paths, "://"))

    # -- what was moved ------------------------------------------------------------------------------------------------

    def _loose_rows(
        self, open_: NDArray[np.bool_], sizes: NDArray[np.int64], *, prune: bool
    ) -> tuple[LooseRows | None, dict[int, set[str]]]:
        """Find rows that files may take: with one of these sizes, and whose own file is gone or is another one now.

        Args:
            open_: (sources,) which of them are not in the catalogue as they are.
            sizes: of the sources that may take one.
            prune: whether rows of all files that are gone are wanted.

        Returns:
            The rows, or None where there are none; and, to prune, the paths of files that are gone, by part.
        """
        found: list[Loose] = []
        gone: dict[int, set[str]] = {}
        for number, part in enumerate(self._parts if len(sizes) or prune else []):
            table = self._read(part, "path", "size", "sha256", "error")
            places, size = self._places[number], self._numbers(table["size"])
            fits = (
                np.isin(size, sizes) & self._truths(table["error"].is_null()) & self._truths(table["sha256"].is_valid())
            )
            stranger = (places < 0) & ~self._are_addresses(table["path"])
            asked = np.flatnonzero(stranger if prune else stranger & fits)
            paths = table["path"].take(self._pa.array(asked)).to_pylist()
            lost = asked[_are_gone(paths)]
            if prune and len(lost):
                gone[number] = set(table["path"].take(self._pa.array(lost)).to_pylist())
            displaced = np.flatnonzero((places >= 0) & fits)
            rows = np.concatenate([lost[fits[lost]], displaced[open_[places[displaced]]]])
            if len(rows):
                some = table.take(self._pa.array(rows))
                sha256 = np.array(some["sha256"].to_pylist(), "S64")
                found.append(Loose(number, some["path"], size[rows], sha256, places[rows]))
        return LooseRows(found, len(open_)) if found else None, gone

    def _move(self, likely: NDArray[np.bool_], loose: LooseRows, gone: dict[int, set[str]]) -> NDArray[np.bool_]:
        """Give files the rows of their content; a kill costs the files that were read since the last change.

        Args:
            likely: (sources,) which of them may take one.
            loose: the rows.
            gone: what is to be pruned; loses what is moved.

        Returns:
            (sources,) which of them have a row now.
        """
        settled = np.zeros(len(likely), bool)
        places = np.flatnonzero(likely)
        files = self._sources.filter(self._pa.array(likely))
        step = max(LEAST_MOVES, -(-len(places) // MOST_CHANGES))
        for start in range(0, len(places), step):
            some, there = files.slice(start, step), places[start : start + step]
            rows = loose.give(there, self._hashes(some["name"], start, len(places)))
            hit = rows >= 0
            there, rows = there[hit], rows[hit]
            origins = loose.paths.take(self._pa.array(rows))
            moved = some.filter(self._pa.array(hit)).append_column("origin", origins)
            settled[there] = True
            left = np.unique(rows[loose.is_gone[rows]])
            paths = loose.paths.take(self._pa.array(left))
            leaving = self._by_part(paths, loose.parts[left])
            self._commit(self._together(leaving, self._own_rows(there)), self._by_part(moved, loose.parts[rows]))
            loose.take_out(left, there)
            for part, path in zip(loose.parts[left], paths.to_pylist()):
                gone.get(part, set()).discard(path)
        return settled

    # -- what is changed -----------------------------------------------------------------------------------------------

    def _own_rows(self, places: NDArray[np.int64]) -> dict[str, Any]:
        """Give the paths of those sources that have a row, by its part."""
        places = places[self._part_of[places] >= 0]
        return self._by_part(self._sources["path"].take(self._pa.array(places)), self._part_of[places])

    def _by_part(self, column: Any, parts: NDArray[Any]) -> dict[str, Any]:
        return {self._parts[part]: column.filter(self._pa.array(parts == part)) for part in np.unique(parts)}

    def _together(self, *by_part: dict[str, Any]) -> dict[str, Any]:
        """Join columns of paths, part by part."""
        found: dict[str, list[Any]] = {}
        for paths in by_part:
            for part, column in paths.items():
                found.setdefault(part, []).extend(column.chunks)
        return {part: self._pa.concat_arrays(chunks) for part, chunks in found.items()}

    def _commit(self, leaving: dict[str, Any], moved: dict[str, Any]) -> None:
        if leaving or moved:
            parts = NewParts(self._journal, leaving, moved)
            self._journal.commit(parts, parts.empty)


def _hash_of(name: bytes) -> str | None:
    try:
        with at_hand(fsdecode(name)) as place:
            return sha256_of(place)
    except OSError:  # told by the worker that tries to tag it
        return None


def _are_gone(paths: list[str]) -> NDArray[np.bool_]:
    """Ask for files, many at once, as a disk in a network takes its time."""
    blocks = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    with ThreadPoolExecutor(n_cores()) as pool:
        told = pool.map(lambda block: [is_gone(path) for path in block], blocks)
        return np.array([one for block in told for one in block], bool)
