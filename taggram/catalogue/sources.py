"""What is to be catalogued: folders, globs, lists and addresses -> a table of files with their sizes and times."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from taggram._files import utf8
from taggram._sound_files import STDIN, read_list, sound_in
from taggram._stores import is_address
from taggram.audio import looks_like_audio
from taggram.catalogue._lists import LISTS, read_paths
from taggram.catalogue._path_index import PathIndex
from taggram.catalogue._stores import ASKED_AT_ONCE, GLOB_SIGNS, Found, list_store, suffix_of
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import CatalogueError, printable
from taggram.results import Failure

CHUNK_ROWS = 2**16
CHUNK_LINES = 1024


@dataclass
class Sources:
    """Files that are to be in a catalogue.

    Attributes:
        table: path (absolute, as UTF-8 can say it), name (its bytes), size and modified (microseconds), one row a file.
            Size and time are null where a file could not be looked at, or a store does not know them.
        failures: paths that are not there, and folders that hold no sound or cannot be read.
    """

    table: Any
    failures: list[Failure] = field(default_factory=list)


def list_sources(paths: Iterable[str], told: Callable[[int], None] | None = None) -> Sources:
    """List all files that paths stand for, each once.

    Args:
        paths: files, folders (all sound in them), globs, lists (text with a path a line, .m3u, and tables with a column
            path as .csv or .parquet), addresses such as s3://bucket/songs, or `-` for a list on standard input. A
            list has files, folders and addresses, but no globs; what it names and is not there is among the files.
        told: is told now and then how many files were found.

    Returns:
        The files.

    Raises:
        CatalogueError: a list has no column of paths or is damaged, or a glob fits nothing.
        OSError: a list or a store cannot be read.
    """
    pa = load_pyarrow()
    failures: list[Failure] = []
    chunks: list[Any] = []
    rows: list[tuple[str, bytes, int | None, int | None]] = []
    for name, size, modified in _files(paths, failures):
        rows.append((utf8(name), os.fsencode(name), size, modified))
        if len(rows) == CHUNK_ROWS:
            chunks.append(_table(pa, rows))
            rows = []
            if told is not None:
                told(len(chunks) * CHUNK_ROWS)
    table = pa.concat_tables([*chunks, _table(pa, rows)])
    first = PathIndex(table["path"]).are_first()
    return Sources(table if first.all() else table.filter(pa.array(first)), failures)


def _table(pa: Any, rows: list[tuple[str, bytes, int | None, int | None]]) -> Any:
    kinds = {"path": pa.string(), "name": pa.binary(), "size": pa.int64(), "modified": pa.int64()}
    columns = zip(*rows) if rows else ([] for _ in kinds)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds.values())], names=list(kinds))


def _files(paths: Iterable[str], failures: list[Failure]) -> Iterator[Found]:
    for path in paths:
        if path == STDIN:
            yield from _of_lines(read_list(), failures)
        elif suffix_of(path) in LISTS and not os.path.isdir(path):  # noqa: PTH112 (as in `_of_path`)
            try:
                yield from _of_lines(read_paths(path), failures)
            except FileNotFoundError:
                failures.append(_not_there(path))
        elif is_address(path):
            try:
                yield from _of_address(path, failures, with_globs=True)
            except FileNotFoundError:
                failures.append(_not_there(path))
        else:
            yield from _of_argument(path, failures)


def _of_argument(path: str, failures: list[Failure]) -> Iterator[Found]:
    """List what a path of this machine stands for that was given by itself."""
    if not os.path.lexists(path) and any(sign in path for sign in GLOB_SIGNS):
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (keeps the path as it was typed)
        if not found:
            raise CatalogueError(f"no file fits {printable(path)}.")
        for one in found:
            if os.path.isdir(one) or looks_like_audio(Path(one)):  # noqa: PTH112
                yield from _of_path(one, failures)
        return
    try:
        os.stat(path)  # noqa: PTH116 (Path("") is the working folder)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no file can be called so
        failures.append(_not_there(path))
    except OSError as error:
        failures.append(Failure(path, type(error).__name__, error.strerror or str(error)))
    else:
        yield from _of_path(path, failures)


def _of_lines(lines: Iterable[str], failures: list[Failure]) -> Iterator[Found]:
    """List what the lines of a list stand for; stores are asked for many of them at once."""
    rest = iter(lines)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        while some := list(islice(rest, CHUNK_LINES)):
            each = pool.map if any(map(is_address, some)) else map  # threads would cost more than a disk takes
            for found, unread in each(_of_line, some):
                failures.extend(unread)
                yield from found


def _of_line(line: str) -> tuple[list[Found], list[Failure]]:
    """List what a line stands for. A file that is not there is told by whoever tries to read it."""
    failures: list[Failure] = []
    if not is_address(line):
        return list(_of_path(line, failures)), failures
    try:
        return list(_of_address(line, failures, with_globs=False)), failures
    except (FileNotFoundError, PermissionError):
        return [(line, None, None)], []


def _of_address(address: str, failures: list[Failure], *, with_globs: bool) -> Iterator[Found]:
    n_found = 0
    for found in list_store(address, with_globs=with_globs):
        n_found += 1
        yield found
    if not n_found:
        failures.append(Failure(address, "AudioError", "there is no sound in this folder"))


def _of_path(path: str, failures: list[Failure]) -> Iterator[Found]:
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where a folder above cannot be entered)
        found, unread = sound_in(path)
        failures.extend(unread)
        yield from map(_looked_at, found)
    else:
        yield _looked_at(path)


def _looked_at(path: str) -> Found:
    path = os.path.abspath(path)  # noqa: PTH100 (as bytes that are no UTF-8 need it)
    try:
        status = Path(path).stat()
    except OSError:
        return path, None, None
    return path, status.st_size, status.st_mtime_ns // 1000


def _not_there(path: str) -> Failure:
    return Failure(path or "''", "FileNotFoundError", "there is no such file or folder")
