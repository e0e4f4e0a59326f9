"""Lists of files: text, playlists, and tables with a column of paths."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from taggram._stores import is_address
from taggram.catalogue._stores import at_hand, suffix_of
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import CatalogueError, printable

PLAYLISTS = {".m3u", ".m3u8"}
LISTS = {".txt", ".csv", ".parquet", *PLAYLISTS}
"""Suffixes of files that are lists of files."""
COLUMN = "path"  # of a list that is a table

Numbered = Iterator[tuple[int, str]]
"""Paths, with the line or row of each."""


def read_paths(name: str) -> Iterator[str]:
    """Read the paths of a list; relative ones are as seen from here, and those in a playlist from its folder.

    Args:
        name: the list, a file or an address.

    Yields:
        The paths, as they stand there.

    Raises:
        CatalogueError: it has no column of paths, or is damaged or no text.
        OSError: it cannot be read.
    """
    kind, shown = suffix_of(name), printable(name)
    read = {".parquet": _read_parquet, ".csv": _read_csv}.get(kind, _read_text)
    with at_hand(name) as place:
        for number, path in read(place, shown):
            if "\0" in path:
                raise CatalogueError(f"{shown}, line {number}: the path holds a NUL character; save the list as UTF-8.")
            if kind not in PLAYLISTS:
                yield path
            elif not path.startswith("#"):
                yield _seen_from(name, path)


def _seen_from(playlist: str, song: str) -> str:
    if is_address(song) or Path(song).is_absolute():
        return song
    if is_address(playlist):
        return f"{playlist.rpartition('/')[0]}/{song}"
    return str(Path(playlist).parent / song)


def _read_text(place: Path, shown: str) -> Numbered:
    with _open_text(place) as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
        except UnicodeError as error:
            raise _damaged(shown, "text", error) from error


def _read_csv(place: Path, shown: str) -> Numbered:
    with _open_text(place) as file:
        reader = csv.DictReader(file)
        try:
            _check_column(shown, reader.fieldnames or [])
            for row in reader:
                if row[COLUMN]:
                    yield reader.line_num, row[COLUMN]
        except (csv.Error, UnicodeError) as error:
            raise _damaged(f"{shown}, line {reader.reader.line_num}", "CSV", error) from error


def _open_text(place: Path) -> Any:
    """Open a text: UTF-8, or UTF-16 as some systems write it, which says so in its first bytes."""
    with place.open("rb") as file:
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", "strict") if is_utf16 else ("utf-8-sig", "surrogateescape")
    return place.open(encoding=encoding, errors=errors, newline="")


def _read_parquet(place: Path, shown: str) -> Numbered:
    pa = load_pyarrow()
    with place.open("rb") as file:
        try:
            found = pa.parquet.ParquetFile(file)
            _check_column(shown, found.schema_arrow.names)
            kind = found.schema_arrow.field(COLUMN).type
            if not _is_text(pa, kind):
                raise CatalogueError(f"{shown}: the column {COLUMN!r} holds {kind}; it has to hold paths, as text.")
            number = 0
            for batch in found.iter_batches(columns=[COLUMN]):
                for path in batch.column(0).cast(pa.string()).to_pylist():
                    number += 1
                    if path:
                        yield number, path
        except (pa.ArrowException, OSError) as error:
            raise _damaged(shown, "Parquet", error) from error


def _is_text(pa: Any, kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def _damaged(shown: str, kind: str, error: Exception) -> CatalogueError:
    reason = printable(str(error).partition("\n")[0])
    return CatalogueError(f"{shown} cannot be read as {kind} ({reason}); write the list anew.")


def _check_column(shown: str, names: Iterable[str]) -> None:
    if COLUMN not in names:
        has = ", ".join(map(printable, names)) or "none"
        raise CatalogueError(f"{shown} has no column {COLUMN!r}; it has {has}. Name the column of the paths so.")
