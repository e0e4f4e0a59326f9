"""What is in a catalogue beside what is to be in it: which files are to be tagged, and which are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import fsdecode
from pathlib import Path
from typing import Any

import numpy as np

from taggram._processes import n_cores
from taggram._stores import is_address
from taggram.catalogue._stores import at_hand
from taggram.catalogue.journal import Journal, sha256_of
from taggram.catalogue.rows import load_pyarrow
from taggram.results import Failure

AT_ONCE = 256  # files that wait to be read


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
        n_rows: files in the catalogue.
        n_errors: those of them that could not be tagged.
        lost: parts that were found damaged, and were made again.
        layer: name of the layer.
        failures: folders that hold no sound or cannot be read.
    """

    n_done: int = 0
    n_failed: int = 0
    n_kept: int = 0
    n_failed_before: int = 0
    n_moved: int = 0
    n_pruned: int = 0
    n_rows: int = 0
    n_errors: int = 0
    lost: list[str] = field(default_factory=list)
    layer: str = ""
    failures: list[Failure] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all files that the paths stand for could be tagged, in this run or before."""
        return not (self.n_failed or self.n_failed_before or self.failures)


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
        self.to_do = sources

    def settle(self, summary: Summary, *, by_content: bool, retry: bool, prune: bool) -> None:
        """Find out what is to do, and do all that needs no tagging.

        Args:
            summary: is told how many files are kept, moved and pruned.
            by_content: as for `build_catalogue`.
            retry: likewise.
            prune: likewise.
        """
        pc = self._pa.compute
        known = self._known()
        both = self._sources.append_column("place", self._places(self._sources)).join(
            known, "path", right_suffix="_known"
        )
        both = both.sort_by("place")
        same = pc.and_(
            pc.equal(pc.fill_null(both["size"], -1), pc.fill_null(both["size_known"], -1)),
            pc.equal(pc.fill_null(both["modified"], -1), pc.fill_null(both["modified_known"], -1)),
        )
        if by_content:
            same = pc.and_(same, self._same_content(both, same))
        out_of_reach = pc.is_null(both["size"])  # such as a disk that is not there today: no reason to forget it
        keep = pc.and_(pc.is_valid(both["part"]), pc.or_(same, out_of_reach))
        if retry:
            keep = pc.and_(keep, pc.is_null(both["failed"]))
        summary.n_kept = pc.sum(keep).as_py() or 0
        summary.n_failed_before = pc.sum(pc.and_(keep, pc.is_valid(both["failed"]))).as_py() or 0
        open_ = both.filter(pc.invert(keep))
        gone = self._gone(known) if prune else set()
        summary.n_pruned = len(gone)
        changed = set(open_.filter(pc.is_valid(open_["part"]))["path"].to_pylist())
        by_path = self._by_content(open_, known.filter(pc.is_null(known["failed"])))
        summary.n_moved = len(by_path)
        self._rewrite(by_path, changed | gone)
        settled = self._pa.array(list(by_path), self._pa.string())
        self.to_do = open_.filter(pc.invert(pc.is_in(open_["path"], settled))).select(
            ["path", "name", "size", "modified"]
        )

    def _known(self) -> Any:
        """Read what tells files apart: path, size, modified, sha256, failed (null or the error), and part."""
        pa = self._pa
        kinds = {
            "path": pa.string(), "size": pa.int64(), "modified": pa.int64(), "sha256": pa.string(),
            "failed": pa.string(), "part": pa.string(),
        }  # fmt: skip
        tables = [pa.table({name: pa.array([], kind) for name, kind in kinds.items()})]
        for name in self._journal.parts:
            table = pa.parquet.read_table(
                self._journal.path_of(name), columns=["path", "size", "modified", "sha256", "error"]
            )
            columns = [*table.columns[:2], table["modified"].cast(pa.int64()), *table.columns[3:]]
            tables.append(pa.table([*columns, pa.array([name] * table.num_rows, pa.string())], names=list(kinds)))
        return pa.concat_tables(tables)

    def _places(self, table: Any) -> Any:
        return self._pa.array(range(table.num_rows), self._pa.int64())

    def _are_addresses(self, paths: Any) -> Any:
        return self._pa.compute.match_substring(paths, "://")

    def _gone(self, known: Any) -> set[str]:
        """Find rows of files that are not there; those in stores and those among the sources are not asked for."""
        pc = self._pa.compute
        local = known.filter(pc.invert(self._are_addresses(known["path"])))
        others = local.filter(pc.invert(pc.is_in(local["path"], self._sources["path"].combine_chunks())))
        return {path for path in others["path"].to_pylist() if not Path(path).exists()}

    def _same_content(self, both: Any, look: Any) -> Any:
        """Tell of which sources the bytes are those of their row; of what could not be read then, as if they were.

        Args:
            both: the sources beside their rows.
            look: which of them are read.

        Returns:
            A Boolean for each.
        """
        pc = self._pa.compute
        look = pc.and_(look, pc.is_valid(both["sha256"]))
        sources = both.filter(look).select(["name", "sha256"]).to_pylist()
        same = np.ones(both.num_rows, bool)
        same[look.to_numpy()] = [
            digest == source["sha256"] for source, digest in zip(sources, self._hashes(sources), strict=True)
        ]
        return self._pa.array(same)

    def _hashes(self, sources: list[dict[str, Any]]) -> Iterator[str | None]:
        """Read files, many at once; give the hash of each."""
        with ThreadPoolExecutor(n_cores()) as pool:
            for start in range(0, len(sources), AT_ONCE):
                yield from pool.map(_hash_of, sources[start : start + AT_ONCE])
                self._told(min(start + AT_ONCE, len(sources)), len(sources))

    def _by_content(self, open_: Any, known: Any) -> dict[str, tuple[str, Any]]:
        """Find files whose content is in the catalogue under another path, or with another time.

        Only files are read whose size is that of a known one.

        Args:
            open_: the sources that are not in the catalogue as they are.
            known: the rows that have scores.

        Returns:
            The known path and the source by path of the source.
        """
        pc = self._pa.compute
        sizes = pc.unique(known["size"].combine_chunks()) if known.num_rows else self._pa.array([], self._pa.int64())
        likely = open_.filter(pc.is_in(open_["size"], sizes))
        if not likely.num_rows:
            return {}
        by_hash = dict(zip(known["sha256"].to_pylist(), known["path"].to_pylist()))
        sources = likely.to_pylist()
        return {
            source["path"]: (by_hash[digest], source)
            for source, digest in zip(sources, self._hashes(sources), strict=True)
            if digest in by_hash
        }

    def _rewrite(self, by_path: dict[str, tuple[str, Any]], drop: set[str]) -> None:
        """Take rows out, and put those in that are known by content, in one change."""
        pa, pc = self._pa, self._pa.compute
        moved = {old for new, (old, _) in by_path.items() if old != new and _is_gone(old)}
        out = drop | moved
        if not (by_path or out):
            return
        origins = pa.array(sorted({old for old, _ in by_path.values()}), pa.string())
        leaving = pa.array(sorted(out), pa.string())
        put, copied, empty = {}, {}, []
        for name, facts in self._journal.parts.items():
            paths = pa.parquet.read_table(self._journal.path_of(name), columns=["path"])["path"]
            if not pc.any(pc.or_(pc.is_in(paths, origins), pc.is_in(paths, leaving))).as_py():
                continue
            table = pa.parquet.read_table(self._journal.path_of(name))
            for place in pc.indices_nonzero(pc.is_in(table["path"], origins)).to_pylist():
                copied[table["path"][place].as_py()] = table.slice(place, 1)
            rest = table.filter(pc.invert(pc.is_in(table["path"], leaving)))
            if not rest.num_rows:
                empty.append(name)
            elif rest.num_rows < facts["rows"]:
                put[name] = rest
        if by_path:
            put[self._journal.new_name()] = pa.concat_tables(
                [_renamed(pa, copied[old], source) for old, source in by_path.values()]
            )
        self._journal.commit(put, empty)


def _renamed(pa: Any, row: Any, source: dict[str, Any]) -> Any:
    """Give a row to another file of the same content."""
    for name in ("path", "size", "modified"):
        place = row.schema.get_field_index(name)
        kind = row.schema.field(place)
        row = row.set_column(
            place, kind, pa.array([source[name]], pa.int64() if name != "path" else None).cast(kind.type)
        )
    return row


def _hash_of(source: dict[str, Any]) -> str | None:
    try:
        with at_hand(fsdecode(source["name"])) as place:
            return sha256_of(place)
    except OSError:  # told by the worker that tries to tag it
        return None


def _is_gone(path: str) -> bool:
    return not is_address(path) and not Path(path).exists()
