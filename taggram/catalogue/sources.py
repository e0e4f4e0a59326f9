"""What is to be catalogued: folders, globs, lists and addresses -> a table of files with their sizes and times."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taggram._files import utf8
from taggram._sound_files import STDIN, read_list, sound_in
from taggram._stores import is_address
from taggram.audio import looks_like_audio
from taggram.catalogue._stores import list_store
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import CatalogueError, printable
from taggram.results import Failure

LISTS = {".txt", ".csv", ".parquet", ".m3u", ".m3u8"}
"""Suffixes of files that are lists of files."""
COLUMN = "path"  # of a list that is a table
CHUNK_ROWS = 2**16


@dataclass
class Sources:
    """Files that are to be in a catalogue.

    Attributes:
        table: path (absolute, as UTF-8 can say it), name (its bytes), size and modified (microseconds), one row a file.
            Size and time are null where a file could not be looked at, or a store does not know them.
        failures: folders that hold no sound or cannot be read.
    """

    table: Any
    failures: list[Failure] = field(default_factory=list)


def list_sources(paths: Iterable[str], told: Callable[[int], None] | None = None) -> Sources:
    """List all files that paths stand for, each once.

    Args:
        paths: files, folders (all sound in them), globs, lists (text with a path a line, .m3u, and tables with a column
            path as .csv or .parquet), addresses such as s3://bucket/songs, or `-` for a list on standard input.
        told: is told now and then how many files were found.

    Returns:
        The files.

    Raises:
        CatalogueError: a list has no column of paths, or a glob or an address fits nothing.
        OSError: a list or a store cannot be read.
    """
    pa = load_pyarrow()
    failures: list[Failure] = []
    seen: set[bytes] = set()
    chunks, rows = [], []
    for name, size, modified in _files(paths, failures):
        key = os.fsencode(name)
        if key in seen:
            continue
        seen.add(key)
        rows.append((utf8(name), key, size, modified))
        if len(rows) == CHUNK_ROWS:
            chunks.append(_table(pa, rows))
            rows = []
            if told is not None:
                told(len(seen))
    chunks.append(_table(pa, rows))
    return Sources(pa.concat_tables(chunks), failures)


def _table(pa: Any, rows: list[tuple[str, bytes, int | None, int | None]]) -> Any:
    kinds = {"path": pa.string(), "name": pa.binary(), "size": pa.int64(), "modified": pa.int64()}
    columns = zip(*rows) if rows else ([] for _ in kinds)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds.values())], names=list(kinds))


Found = tuple[str, int | None, int | None]
"""Path, size, and time of the last change in microseconds."""


def _files(paths: Iterable[str], failures: list[Failure]) -> Iterator[Found]:
    for path in paths:
        if path == STDIN:
            for one in read_list():
                yield from _of_path(one, failures)
        elif Path(path).suffix.lower() in LISTS and not is_address(path):
            for one in _read_table(Path(path)):
                yield from _of_path(one, failures)
        else:
            yield from _of_path(path, failures)


def _of_path(path: str, failures: list[Failure]) -> Iterator[Found]:
    if is_address(path):
        try:
            yield from list_store(path)
        except FileNotFoundError:
            yield path, None, None  # told by whoever tries to read it
        return
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where a folder above cannot be entered)
        found, unread = sound_in(path)
        failures.extend(unread)
        yield from map(_looked_at, found)
    elif not os.path.lexists(path) and any(sign in path for sign in "*?["):
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (keeps the path as it was typed)
        if not found:
            raise CatalogueError(f"no file fits {printable(path)}.")
        for one in found:
            if os.path.isdir(one) or looks_like_audio(Path(one)):  # noqa: PTH112
                yield from _of_path(one, failures)
    else:
        yield _looked_at(path)


def _looked_at(path: str) -> Found:
    path = os.path.abspath(path)  # noqa: PTH100 (as bytes that are no UTF-8 need it)
    try:
        status = Path(path).stat()
    except OSError:
        return path, None, None
    return path, status.st_size, status.st_mtime_ns // 1000


def _read_table(path: Path) -> list[str]:
    """Read the paths of a list; relative ones are seen from here, and those in a playlist from its folder."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        pa = load_pyarrow()
        with path.open("rb") as file:
            names = pa.parquet.ParquetFile(file).schema_arrow.names
            _check_column(path, names)
            paths: list[str] = pa.parquet.read_table(file, columns=[COLUMN])[COLUMN].to_pylist()
        return [one for one in paths if one]
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if kind == ".csv":
            reader = csv.DictReader(file)
            _check_column(path, reader.fieldnames or [])
            return [row[COLUMN] for row in reader if row[COLUMN]]
        lines = [line.rstrip("\r\n") for line in file if line.strip()]
    if kind == ".txt":
        return lines
    songs = [line for line in lines if not line.startswith("#")]
    return [song if is_address(song) else str(path.parent / song) for song in songs]


def _check_column(path: Path, names: Iterable[str]) -> None:
    if COLUMN not in names:
        raise CatalogueError(
            f"{printable(str(path))} has no column {COLUMN!r}; it has {', '.join(map(printable, names)) or 'none'}."
        )
