"""Sound of one's own, listed in a CSV file: a row a clip, with its path, its part and its tags.

The file is walked through once on opening and once for each walk through the tracks, and is never kept in memory, so a
list of a million clips costs little more than what is counted of it.
"""

from __future__ import annotations

import array
import csv
import functools
import itertools
import math
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taggram._checks import check_choice, check_count
from taggram.datasets._base import (
    PARTS,
    DatasetCard,
    Part,
    Split,
    TagDataset,
    Task,
    Track,
    Value,
    name_some,
    notes_on_parts,
)
from taggram.errors import DatasetError, printable, unknown_name
from taggram.vocabulary import load_vocabulary

FILE = "clips.csv"
MIN_COUNT = 10  # clips in train; from fewer little is learned
WANTED = ("path", "split", "tags")
CUT = ("start_s", "end_s")
DELIMITERS = (",", "\t", ";")
BETWEEN_TAGS = "|"
PART_OF: dict[str, Part] = {word: word for word in PARTS} | {"validation": "valid", "val": "valid"}
TASKS: tuple[Task | None, ...] = (None, "several", "one")

# A column holds numbers only if nothing is lost by it: 007 and identifiers of 20 digits stay text.
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-][0-9]{1,2})?")
KINDS: tuple[Callable[[str], Value], ...] = (int, float, str)  # of a column, from the narrowest to the widest
FITS: tuple[Callable[[str], Any], ...] = (INTEGER.fullmatch, NUMBER.fullmatch)  # what is left is text

CACHED = 2**12  # fields of tags; the same ones come again and again
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how a file in this encoding starts


class _Header:
    """What the first row says: what stands between fields, and which columns there are.

    Args:
        delimiter: between fields.
        names: of the columns, in order.
    """

    def __init__(self, delimiter: str, names: tuple[str, ...]) -> None:
        self.delimiter = delimiter
        self.names = names
        self.missing = tuple(name for name in WANTED if name not in names)
        if not self.missing:
            self.path, self.split, self.tags = map(names.index, WANTED)
        self.start, self.end = (names.index(name) if name in names else None for name in CUT)
        self.further = tuple(place for place, name in enumerate(names) if name not in WANTED)

    def cut(self, fields: list[str]) -> tuple[str, str]:
        """Give start_s and end_s of a row as they are written, "" where there is none."""
        return fields[self.start] if self.start is not None else "", fields[self.end] if self.end is not None else ""

    def key(self, fields: list[str]) -> str:
        """Give what no two rows share: the path, and where the clip starts in the file."""
        path = fields[self.path]
        if "./" in path or "//" in path:
            path = posixpath.normpath(path)
        return f"{path}@{start}" if self.start is not None and (start := fields[self.start]) else path


@dataclass
class _Counts:
    """What the first walk through the file counts.

    Attributes:
        n_clips: by part.
        n_tagged: clips by part and tag.
        n_untagged: clips without a tag.
        not_one: line and number of tags of the first clip that has not exactly one.
        kinds: of the further columns, as places in `KINDS`.
    """

    n_clips: dict[Part, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    n_tagged: dict[Part, dict[str, int]] = field(default_factory=lambda: {part: {} for part in PARTS})
    n_untagged: int = 0
    not_one: tuple[int, int] | None = None
    kinds: list[int] = field(default_factory=list)


class Csv(TagDataset):
    """Clips that a CSV file lists.

    The file is UTF-8 and starts with the names of its columns, which a comma, a tab or a semicolon parts. There must be

    - path: of the sound, absolute or from `root`, without "..";
    - split: train, valid (or validation, or val) or test;
    - tags: joined by "|"; none at all means that no tag holds.

    start_s and end_s cut a clip out of a longer file, in seconds. These and all other columns, such as artist_id and
    fold, become columns of the tracks: whole numbers, numbers or text, whichever holds all values of a column; None
    where a field is empty.

    Args:
        root: the folder of the file.
        split: the only one is "column".
        tags: one of `taggram.vocabulary.VOCABULARIES`, to have just those tags, in that order; None takes the tags that
            are found, in alphabetical order.
        file: the file, from `root` or absolute.
        min_count: tags found in fewer clips of train are left out; none is where train has no clip at all. Where a clip
            has exactly one tag, it goes with it.
        task: whether a clip has "several" tags or exactly "one"; None is as the file has it.
        label: a column whose value is the one tag of a clip; "tags" takes the first of its tags. "" takes all tags.

    Attributes:
        card: the facts.
        left_out_tags: tags that the file has and the data set has not, in alphabetical order.

    Raises:
        ConfigError: an option makes no sense.
        UnknownNameError: there is no such split or vocabulary.
        DatasetError: the file is missing, or not as described here; the message names the line.
    """

    card = DatasetCard(
        name="csv",
        title="Your own sound, listed in a CSV file",
        task="several",
        licence="that of your sound",
        citation="",
        page="",
        vocabularies={},
        splits={"column": Split(rule="as the column `split` of the file says", source="you")},
        by_hand=f"write {FILE}, a row a clip: path, split (train, valid or test), tags (joined by |)",
    )

    left_out_tags: tuple[str, ...]

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        file: str = FILE,
        min_count: int = MIN_COUNT,
        task: Task | None = None,
        label: str = "",
    ) -> None:
        super().__init__(root, split=split)
        check_count("min_count", min_count, least=0)
        check_choice("task", task, TASKS)
        self.vocabulary = tags or ""
        self._path = Path(root, file)
        self._state = self._file_state()
        self._header = self._read_header()
        self._label = label
        self._tags_at = self._header.tags if label in ("", *WANTED[2:]) else self._place_of(label)
        self._counts = counts = self._count()
        self.task = task or ("several" if counts.not_one else "one")
        if self.task == "one" and counts.not_one:
            line, n_tags = counts.not_one
            raise self._error(f"it has {n_tags or 'no'} tags; with the task 'one' every clip has exactly one", line)
        found = sorted(set().union(*counts.n_tagged.values()))
        if not found:
            raise self._error("no clip has a tag")
        if tags is None:
            least = min_count if counts.n_clips["train"] else 0
            self.tags = tuple(tag for tag in found if counts.n_tagged["train"].get(tag, 0) >= least)
        else:
            self.tags = load_vocabulary(tags)
        self.left_out_tags = tuple(sorted(set(found).difference(self.tags)))
        self._min_count = min_count
        if len(self.left_out_tags) == len(found):
            raise self._error(self._why_nothing_is_left())

    def notes(self) -> tuple[str, ...]:
        """Say what is odd about the clips; see `TagDataset.notes`. What is left out is said here too."""
        notes = []
        n_tagged = self._counts.n_tagged
        if self.left_out_tags:
            reason = f"not of {self.vocabulary}" if self.vocabulary else f"fewer than {self._min_count} clips in train"
            notes.append(f"tags left out ({reason}): {name_some(self.left_out_tags)}")
        lost = {part: sum(n_tagged[part].get(tag, 0) for tag in self.left_out_tags) for part in PARTS}
        if self.task == "several":
            lost = dict.fromkeys(PARTS, 0)
        if any(lost.values()):
            notes.append(f"clips left out with their only tag: {sum(lost.values()):,}")
        if self._counts.n_untagged:
            notes.append(f"clips without a tag, which count as negative for all: {self._counts.n_untagged:,}")
        n_clips = {part: n - lost[part] for part, n in self._counts.n_clips.items()}
        return (*notes, *notes_on_parts(self.tags, n_clips, n_tagged))

    def _read(self) -> Iterator[Track]:
        """Give the clips in the order of the file."""
        if self._file_state() != self._state:
            raise self._error("it has changed since it was opened; open it again")
        header = self._header
        columns = [(header.names[place], place, KINDS[kind]) for place, kind in zip(header.further, self._counts.kinds)]
        order = {tag: place for place, tag in enumerate(self.tags)}

        @functools.lru_cache(maxsize=CACHED)
        def ordered(tags: frozenset[str]) -> tuple[str, ...]:
            return tuple(sorted(order.keys() & tags, key=order.__getitem__))

        root = Path(self.root)
        for _, fields in self._rows():
            tags = ordered(self._tags(fields))
            if not tags and self.task == "one":
                continue
            start_s, end_s = header.cut(fields)
            yield Track(
                track_id=header.key(fields),
                path=root / fields[header.path],
                part=PART_OF.get(word := fields[header.split]) or PART_OF[word.strip().lower()],
                tags=tags,
                start_s=float(start_s or 0),
                end_s=float(end_s) if end_s else None,
                columns={name: kind(fields[place]) if fields[place] else None for name, place, kind in columns},
            )

    def _place_of(self, label: str) -> int:
        """Give the place of the column that says the one tag of a clip."""
        names = self._header.names
        if label not in names:
            raise unknown_name("column", label, names, f"Those of {printable(str(self._path))} are {', '.join(names)}")
        return names.index(label)

    def _tags(self, fields: list[str]) -> frozenset[str]:
        """Give the tags of a row."""
        text = fields[self._tags_at]
        if not self._label:
            return _tags_of(text)
        return _first_of(text) if self._label == WANTED[2] else frozenset(filter(None, [text.strip()]))

    def _read_header(self) -> _Header:
        """Find out what is between fields, and which columns there are."""
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                lines = list(itertools.islice(file, 1))
        except UnicodeDecodeError as error:
            raise self._encoding_error() from error
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        if not lines:
            raise self._error("it is empty")
        try:
            first_rows = [next(csv.reader(lines, delimiter=delimiter), []) for delimiter in DELIMITERS]
        except csv.Error as error:
            raise self._error(f"it is no row of a CSV file ({error})", 1) from error
        headers = [_Header(sign, tuple(map(str.strip, names))) for sign, names in zip(DELIMITERS, first_rows)]
        best = min(headers, key=lambda header: (len(header.missing), -len(header.names)))
        reason = ""
        if best.missing:
            reason = f"there is no {' and no '.join(best.missing)}"
        elif "" in best.names:
            reason = f"column {best.names.index('') + 1} has no name"
        elif twice := next((name for name in best.names if best.names.count(name) > 1), ""):
            reason = f"{printable(twice)} is there twice"
        if reason:
            came = ", ".join(map(printable, best.names))
            wanted = f"{', '.join(WANTED)}, and others if you like, with a comma, a tab or a semicolon between"
            raise self._error(f"its columns are {came}: {reason}. Wanted {wanted}")
        return best

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Give line and fields of each row under the header."""
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self._header.delimiter, strict=True)
                next(reader)
                try:
                    for fields in reader:
                        if fields:
                            yield reader.line_num, fields
                except csv.Error as error:
                    raise self._error(f"it is no row of a CSV file ({error})", reader.line_num) from error
        except UnicodeDecodeError as error:
            raise self._encoding_error() from error
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error

    def _count(self) -> _Counts:
        """Walk through the file, check each row, and count."""
        header = self._header
        counts = _Counts(kinds=[0] * len(header.further))
        n_fields, kinds = len(header.names), counts.kinds
        cut = {*CUT} & {*header.names}
        keys = array.array("q")
        for line, fields in self._rows():
            if len(fields) != n_fields:
                raise self._error(f"it has {len(fields)} fields; the header has {n_fields}", line)
            path = fields[header.path]
            if not path or ".." in path or "\0" in path:
                self._check_path(line, path)
            word = fields[header.split]
            part = PART_OF.get(word) or PART_OF.get(word.strip().lower())
            if part is None:
                came = printable(word)
                raise self._error(f"the split is {came!r}; wanted train, valid (or validation, or val) or test", line)
            tags = self._tags(fields)
            if len(tags) != 1:
                counts.n_untagged += not tags
                counts.not_one = counts.not_one or (line, len(tags))
            counts.n_clips[part] += 1
            n_tagged = counts.n_tagged[part]
            for tag in tags:
                n_tagged[tag] = n_tagged.get(tag, 0) + 1
            for column, place in enumerate(header.further):
                while (kind := kinds[column]) < len(FITS) and (value := fields[place]) and not FITS[kind](value):
                    kinds[column] += 1
            if cut and (reason := _why_no_cut(*header.cut(fields))):
                raise self._error(reason, line)
            keys.append(hash(header.key(fields)))
        if not keys:
            raise self._error("it lists no clips")
        self._refuse_twins(keys)
        return counts

    def _check_path(self, line: int, path: str) -> None:
        """Refuse a path that is none, or leads out of the folder."""
        if not path:
            raise self._error("it has no path", line)
        if "\0" in path:
            raise self._error(f"the path {printable(path)} has a NUL in it", line)
        if ".." in re.split(r"[/\\]", path):
            wanted = "write it from the folder of the data set, or absolute"
            raise self._error(f"the path {printable(path)} has '..' in it; {wanted}", line)

    def _refuse_twins(self, hashes: array.array[int]) -> None:
        """Raise if two rows have the same key; rows that share no more than a hash are told apart."""
        shared = {one for one, next_one in itertools.pairwise(sorted(hashes)) if one == next_one}
        if not shared:
            return
        seen: dict[str, int] = {}
        for line, fields in self._rows():
            key = self._header.key(fields)
            if hash(key) not in shared:
                continue
            if key in seen:
                raise self._error(f"{printable(key)} is listed already in line {seen[key]}", line)
            seen[key] = line

    def _why_nothing_is_left(self) -> str:
        if self.vocabulary:
            return f"none of its tags ({name_some(self.left_out_tags)}) is in the vocabulary {self.vocabulary}"
        in_train = self._counts.n_tagged["train"]
        most = max(in_train, key=in_train.__getitem__, default=None)
        most_often = f"the most frequent, {printable(most)!r}, has {in_train[most]}" if most else "train has none"
        remedy = "min_count= (in a training, data.min_count=) takes tags with fewer"
        return f"no tag has {self._min_count} clips in train; {most_often}. {remedy}"

    def _file_state(self) -> tuple[int, int]:
        """Give what tells that the file has changed."""
        try:
            status = self._path.stat()
        except OSError as error:
            wanted = f"wanted a list of clips with the columns {', '.join(WANTED)}"
            raise self._error(f"{error.strerror or error}; {wanted}") from error
        return status.st_size, status.st_mtime_ns

    def _encoding_error(self) -> DatasetError:
        """Say where the file is not UTF-8."""
        with self._path.open("rb") as file:
            for line, data in enumerate(file, 1):
                if line == 1 and data.startswith(UTF_16):
                    return self._error("it is UTF-16; save it as UTF-8")
                try:
                    data.decode("utf-8")
                except UnicodeDecodeError as error:
                    place = f"byte {error.start + 1} (hexadecimal {data[error.start]:02X}) is not UTF-8"
                    return self._error(f"{place}; save the file as UTF-8", line)
        return self._error("it is not UTF-8; save it as UTF-8")

    def _error(self, reason: str, line: int | None = None) -> DatasetError:
        """Make an error that names the file and the line."""
        place = printable(str(self._path)) if line is None else f"{printable(str(self._path))}, line {line}"
        return DatasetError(f"{place}: {reason}.")


@functools.lru_cache(maxsize=CACHED)
def _tags_of(text: str) -> frozenset[str]:
    """Split tags; blanks around them do not count."""
    return frozenset(tag for tag in map(str.strip, text.split(BETWEEN_TAGS)) if tag)


@functools.lru_cache(maxsize=CACHED)
def _first_of(text: str) -> frozenset[str]:
    """Give the first of several tags, if there is one."""
    return frozenset(itertools.islice(filter(None, map(str.strip, text.split(BETWEEN_TAGS))), 1))


@functools.lru_cache
def _why_no_cut(start: str, end: str) -> str:
    """Say what is wrong with start_s and end_s, or "" where nothing is."""
    times_s = []
    for name, text in (("start_s", start), ("end_s", end)):
        try:
            times_s.append(float(text or (0 if name == "start_s" else math.inf)))
        except ValueError:
            times_s.append(math.nan)
        if text and not 0 <= times_s[-1] < math.inf:
            return f"{name} is {printable(text)!r}; wanted seconds from 0 on"
    return "" if times_s[0] < times_s[1] else f"the clip ends at {end} s, which is not after its start"
