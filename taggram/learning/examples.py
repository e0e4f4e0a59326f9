"""Examples that new tags are taught with: files in folders named after their tags, or a list of parts of files."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from taggram.audio import looks_like_audio
from taggram.datasets.folder import Folder
from taggram.errors import DatasetError, did_you_mean, printable

EXAMPLES_WANTED = "wanted a folder with a folder for each tag, or a CSV file with the columns path and tags"
BETWEEN_TAGS = "|"
DELIMITERS = (",", "\t", ";")
WANTED = ("path", "tags")
START, END = ("start", "start_s"), ("end", "end_s")  # names that these columns may have
SPLIT, TRAIN = "split", "train"
KNOWN = (*WANTED, *START, *END, SPLIT)
SAID_OTHERWISE = {
    **dict.fromkeys(("begin", "begin_s", "from", "onset", "start_time"), START[0]),
    **dict.fromkeys(("stop", "stop_s", "to", "until", "end_time"), END[0]),
}  # names of columns that other lists have for it


@dataclass(frozen=True)
class Example:
    """A sound, or a part of one, that has some tags.

    Attributes:
        path: the file.
        tags: names; none at all means that no tag holds.
        name: of the example, from the folder or list on.
        start_s: where it begins in the file, in seconds.
        end_s: where it ends, or None for the end of the file.
    """

    path: Path
    tags: tuple[str, ...]
    name: str
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True)
class ExampleList:
    """What was found in a folder or a list.

    Attributes:
        examples: in order.
        notes: what is odd about the folder or the list.
        from_folder: whether it was a folder, where sound that has two tags lies there twice.
    """

    examples: tuple[Example, ...]
    notes: tuple[str, ...]
    from_folder: bool


def read_examples(place: str | PathLike[str]) -> ExampleList:
    """Find the examples in a folder with a folder for each tag, or in a list.

    Args:
        place: the folder, or a CSV file with the columns path and tags (joined by `|`), and if wanted start and end in
            seconds. Paths are absolute or from the folder of the list. Where there is a column split, as lists of data
            sets have it, the rows of train alone are taken.

    Returns:
        The examples.

    Raises:
        DatasetError: there is none, or the list is not as it should be; the message names the line.
    """
    path = Path(place)
    if path.is_dir():
        folder = Folder(path)
        examples = tuple(Example(track.path, track.tags, track.track_id) for track in folder.tracks())
        return ExampleList(examples, folder.notes_on_folders, from_folder=True)
    return _read_list(path)


def _read_list(path: Path) -> ExampleList:
    """Read a list of examples."""
    rows = _rows(path)
    names = [name.strip() for name in rows[0][1]]
    for wanted in WANTED:
        if wanted not in names:
            hint = did_you_mean(wanted, names)
            raise _error(path, 1, f"its columns are {', '.join(map(printable, names))}: there is no {wanted}.{hint}")
    examples, n_left_out = [], 0
    for line, fields in rows[1:]:
        if len(fields) != len(names):
            raise _error(path, line, f"it has {len(fields)} fields; the header has {len(names)}")
        row = {name: field.strip() for name, field in zip(names, fields)}
        if row.get(SPLIT, TRAIN).lower() != TRAIN:
            n_left_out += 1
            continue
        examples.append(_example(path, line, row))
    if not examples:
        raise _error(path, None, f"it lists no example{f' of {TRAIN}' if n_left_out else ''}")
    notes = [f"rows that are not of {TRAIN} and are left out: {n_left_out:,}"] if n_left_out else []
    notes += [f"the column {printable(name)} is not used.{_meant(name)}" for name in names if name not in KNOWN]
    return ExampleList(tuple(examples), tuple(notes), from_folder=False)


def _meant(name: str) -> str:
    """Say which column was meant, where one may have been."""
    known = SAID_OTHERWISE.get(name.lower())
    return f" Did you mean {known}?" if known else did_you_mean(name, KNOWN)


def _example(path: Path, line: int, row: Mapping[str, str]) -> Example:
    """Make the example of a row."""
    if not row["path"] or "\0" in row["path"]:
        raise _error(path, line, "it has no path")
    start_s, end_s = (_seconds(path, line, row, names) for names in (START, END))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise _error(path, line, f"the example ends at {end_s:g} s, which is not after its start at {start_s or 0:g} s")
    tags = (unicodedata.normalize("NFC", tag.strip()) for tag in row["tags"].split(BETWEEN_TAGS))
    part = "" if start_s is None and end_s is None else f"@{start_s or 0:g}-{'' if end_s is None else f'{end_s:g}'}"
    return Example(
        path=path.parent / row["path"],
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        name=row["path"] + part,
        start_s=start_s or 0.0,
        end_s=end_s,
    )


def _seconds(path: Path, line: int, row: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    """Read a time of a row, or None where it has none."""
    for name in names:
        if text := row.get(name, ""):
            try:
                seconds = float(text)
            except ValueError:
                seconds = math.nan
            if not 0 <= seconds < math.inf:
                raise _error(path, line, f"{name} is {printable(text)!r}; wanted seconds from 0 on")
            return seconds
    return None


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Read line and fields of each row, the header first, with whatever stands between fields."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        if looks_like_audio(path):
            raise _error(path, None, f"it is a sound; {EXAMPLES_WANTED}") from error
        raise _error(path, None, f"byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise _error(path, None, f"{error.strerror or error}; {EXAMPLES_WANTED}") from error
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise _error(path, reader.line_num, f"it is no row of a CSV file ({error})") from error
    if not rows:
        raise _error(path, None, "it is empty")
    return rows


def _error(path: Path, line: int | None, reason: str) -> DatasetError:
    place = printable(str(path)) if line is None else f"{printable(str(path))}, line {line}"
    return DatasetError(f"{place}: {reason.removesuffix('.')}.")
