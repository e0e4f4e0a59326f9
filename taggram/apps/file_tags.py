"""Tags written into files of sound, and taken out again.

The bytes of the file that are not tags, and the tags that are not ours, stay as they are. The new file is written
aside, opened again by mutagen, its sound is decoded and compared with that of the old one, and then it takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from taggram.apps._file_tags_aside import check_may_write, replace_spliced
from taggram.apps._file_tags_check import OPENERS, kind_of, load_mutagen, read_tags, sound_of
from taggram.apps._file_tags_fields import JOINED_BY, OWN, RECORD_FIELD, as_values, find_field
from taggram.apps._file_tags_record import Original, TagBlock, find_original, of_field, with_fields
from taggram.audio import MAX_DURATION_S
from taggram.errors import FileTagsError, printable
from taggram.kit import NONE_OF_THESE
from taggram.results import Taggram

Tell = Callable[[float], None]
"""Is told the seconds of sound that are done."""


class Outcome(StrEnum):
    """What became of a file."""

    written = "written"
    would_be_written = "would be written"
    unchanged = "unchanged"
    not_empty = "not empty"
    not_confident = "not confident"
    taken_out = "taken out"
    would_be_taken_out = "would be taken out"
    nothing_of_ours = "nothing of ours"


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """What was done to the tags of a file, or would be.

    Attributes:
        outcome: what became of the file.
        values: by field, what it holds now; nothing where it was taken out.
        before: by field, what it held before.
        notes: what a user should hear of, such as other names of the file.
    """

    outcome: Outcome
    values: dict[str, list[str]]
    before: dict[str, list[str]]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.outcome in (Outcome.taken_out, Outcome.would_be_taken_out):
            taken = [f"{name}={JOINED_BY.join(values)}" for name, values in self.before.items() if values]
            back = [f"given back: {name}={JOINED_BY.join(values)}" for name, values in self.values.items() if values]
            return f"{self.outcome}: {', '.join([*taken, *back]) or '(nothing that can be read)'}"
        parts = [f"{name}={JOINED_BY.join(values) or '(none)'}" for name, values in self.values.items()]
        gone = {name: values for name, values in self.before.items() if values and values != self.values.get(name)}
        before = [f"before: {name}={JOINED_BY.join(values)}" for name, values in gone.items()]
        return f"{self.outcome}: {', '.join([*parts, *before])}"


@dataclass
class _Opened:
    """A file whose tags are at hand.

    Attributes:
        path: the file itself, and no link to it.
        status: of the file, before it was read.
        kind: what it is by its content.
        block: its tags.
        original: them as they were before anything of ours.
    """

    path: Path
    status: os.stat_result
    kind: str
    block: TagBlock
    original: Original

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> _Opened:
        load_mutagen()
        real = Path(os.path.realpath(path))
        status = real.stat()
        kind = kind_of(real)
        block = OPENERS[kind](real)
        return cls(real, status, kind, block, find_original(block))

    def held(self, name: str) -> list[str]:
        """Read what a field holds now."""
        return self.block.values([item for _, item in of_field(self.block, self.block.items, find_field(name))])


@dataclass(frozen=True)
class _How:
    """How a file is written.

    Attributes:
        dry_run: whether it is not.
        keep_times: whether the time of its last change stays.
        max_duration_s: longest sound to take, in seconds.
        tell: is told the seconds of sound that are done.
    """

    dry_run: bool
    keep_times: bool
    max_duration_s: float
    tell: Tell


def tags_for_files(result: Taggram, top: int | None, threshold: float) -> list[str]:
    """Choose the tags that go into a file.

    Args:
        result: scores of the file.
        top: at most so many tags, or None for all.
        threshold: least score of a tag.

    Returns:
        Names, the best first. That none of the tags of a kit holds is no tag: it is left out, and where it is the best
        answer, so are all others.
    """
    best = [tag for tag, _ in result.top(None, threshold)]
    if best[:1] == [NONE_OF_THESE]:
        return []
    return [tag for tag in best if tag != NONE_OF_THESE][:top]


def write_tags(
    path: str | os.PathLike[str],
    tags: Iterable[str],
    *,
    field: str = OWN,
    if_empty: bool = False,
    dry_run: bool = False,
    keep_times: bool = False,
    max_duration_s: float = MAX_DURATION_S,
    tell: Tell = lambda _: None,
) -> FileChange:
    """Write tags into a file. What is written twice is the same as what is written once.

    Args:
        path: an mp3, flac, ogg, opus, m4a, wav or aiff file; a link is followed.
        tags: names of tags, the best first. Without any, what was written to the field before is taken out.
        field: genre, mood, grouping, comment, or any name for a field of one's own.
        if_empty: whether a field that holds something that is not ours stays as it is.
        dry_run: whether nothing is written, and only said what would be.
        keep_times: whether the time of the file's last change stays; players may then not see that it was changed.
        max_duration_s: longest sound to take, in seconds.
        tell: is told the seconds of sound that are done.

    Returns:
        What was done.

    Raises:
        FileTagsError: the file is none that tags can be written into, is read-only, or is not as it should be after
            writing; it is left as it was.
        ConfigError: the name of the field makes no sense.
        MissingExtraError: mutagen is not installed.
    """
    wanted_field = find_field(field)
    file = _opened(path)
    original = file.original
    known = {name.casefold(): name for name in original.written}
    name = known.get(wanted_field.name.casefold(), wanted_field.name)
    values = as_values(wanted_field, tags)
    before = {name: file.held(name)}
    own_value = file.block.values([item for _, item in of_field(file.block, original.items, wanted_field)])
    if if_empty and own_value:
        return FileChange(outcome=Outcome.not_empty, values=before, before=before)
    wanted = {other: one.values for other, one in original.written.items() if other != name}
    if values:
        wanted[name] = values
    elif name not in original.written:
        return FileChange(outcome=Outcome.unchanged, values=before, before=before)
    how = _How(dry_run, keep_times, max_duration_s, tell)
    return _change(file, wanted, {name: values or own_value}, before, Outcome.written, how)


def undo_tags(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    keep_times: bool = False,
    max_duration_s: float = MAX_DURATION_S,
    tell: Tell = lambda _: None,
) -> FileChange:
    """Take the tags out of a file that taggram wrote, and give back what was in their fields before.

    Args:
        path: the file; a link is followed.
        dry_run: whether nothing is written, and only said what would be.
        keep_times: whether the time of the file's last change stays.
        max_duration_s: longest sound to take, in seconds.
        tell: is told the seconds of sound that are done.

    Returns:
        What was done. A field that somebody changed after taggram wrote it is theirs, and stays.

    Raises:
        FileTagsError: as for `write_tags`.
        MissingExtraError: mutagen is not installed.
    """
    file = _opened(path)
    original = file.original
    fields = list(original.written)
    before = {name: file.held(name) for name in fields}
    there = {name: of_field(file.block, original.items, find_field(name)) for name in fields}
    values = {name: file.block.values([item for _, item in items]) for name, items in there.items()}
    how = _How(dry_run, keep_times, max_duration_s, tell)
    if not fields and not of_field(file.block, file.block.items, RECORD_FIELD):
        return FileChange(outcome=Outcome.nothing_of_ours, values={}, before={})
    return _change(file, {}, values, before, Outcome.taken_out, how)


def _opened(path: str | os.PathLike[str]) -> _Opened:
    try:
        return _Opened.open(path)
    except OSError as error:
        raise FileTagsError(error.strerror or str(error)) from error


def _change(
    file: _Opened,
    wanted: dict[str, list[str]],
    values: dict[str, list[str]],
    before: dict[str, list[str]],
    outcome: Outcome,
    how: _How,
) -> FileChange:
    """Give fields of a file their values, and all others of ours what they were before."""
    block, original = file.block, file.original
    notes = [f"{name} was changed by somebody since it was written, and stays" for name in original.changed]
    items: list[bytes] | None
    if wanted:
        items = with_fields(block, original, wanted)
        layout = block.fitted(items, original.items, original.layout)
    else:
        items, layout = (original.items if original.exists else None), original.layout
    if items == (block.items if block.exists else None):
        return FileChange(outcome=Outcome.unchanged, values=values, before=before, notes=tuple(notes))
    check_may_write(file.path)
    splices = block.splices(items, layout)
    if how.dry_run:
        outcome = Outcome.would_be_written if outcome is Outcome.written else Outcome.would_be_taken_out
        return FileChange(outcome=outcome, values=values, before=before, notes=tuple(notes))

    def check(aside: Path) -> None:
        _check_tags(file, aside, {*original.written, *original.changed, *wanted}, wanted)
        if sound_of(file.path, how.max_duration_s, how.tell) != sound_of(aside, how.max_duration_s, how.tell):
            raise FileTagsError("the sound of the new file would not be that of the old one, so nothing was written")

    try:
        notes += replace_spliced(
            file.path, file.status, splices, block.finish, check, keep_times=how.keep_times, alive=lambda: how.tell(0.0)
        )
    except OSError as error:
        raise FileTagsError(f"nothing was written: {error.strerror or error}") from error
    return FileChange(outcome=outcome, values=values, before=before, notes=tuple(notes))


def _check_tags(file: _Opened, aside: Path, names: Iterable[str], wanted: dict[str, list[str]]) -> None:
    """Refuse a new file in which mutagen does not read what was wanted, and all else as before."""
    block = file.block
    ours = {block.place(find_field(name)).casefold() for name in names} | {block.place(RECORD_FIELD).casefold()}
    before, after = read_tags(file.path, file.kind), read_tags(aside, file.kind)
    for name in (before.keys() | after.keys()) - ours:
        if before.get(name) != after.get(name):
            raise FileTagsError(f"the tag {printable(name)} would have changed with ours, so nothing was written")
    for name, values in wanted.items():
        field = find_field(name)
        if after.get(block.place(field).casefold()) != block.values(block.make(field, values)):
            raise FileTagsError(f"mutagen would not read from {printable(name)} what was written, so nothing was")
