"""Worker processes that tag files and write the tags into them, or take them out; a crash costs one file."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any

from taggram._processes import Do, FileTask, Message, Processes, Tell, serve
from taggram._workers import Task, make_tagging, read_result
from taggram.apps._watching import FileState
from taggram.apps.file_tags import FileChange, Outcome, tags_for_files, undo_tags, write_tags
from taggram.errors import FileTagsError
from taggram.results import Embedding, Taggram

AT_WORK = "what reads and writes it"


@dataclass(frozen=True, kw_only=True)
class WriteSettings:
    """How tags are written into files.

    Attributes:
        field: where to.
        top: at most so many tags, or None for all.
        threshold: least score of a tag.
        if_empty: whether a field that holds something that is not ours stays as it is.
        if_confident: least score of the best tag of a file, or else nothing is written; None asks for none.
        dry_run: whether nothing is written, and only said what would be.
        keep_times: whether the time of a file's last change stays.
        max_duration_s: longest sound to take, in seconds.
    """

    field: str
    top: int | None
    threshold: float
    if_empty: bool
    if_confident: float | None
    dry_run: bool
    keep_times: bool
    max_duration_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenTaggram(Taggram):
    """Scores of a file, and what was done to the file.

    Attributes:
        change: what was done, or None where it could not be; `trouble` then says why.
        rewritten: what the file looked like before it was read and after tags were written into it; None where none
            were, or where another program changed it in between.
    """

    change: FileChange | None = None
    rewritten: tuple[FileState, FileState] | None = None


class WritingWorkers(Processes[Task, Taggram | Embedding]):
    """Worker processes that tag files and write the tags into them.

    Args:
        tagger: settings of `Tagger`, all of them plain values.
        how: how tags are written.
        n_workers: processes at most; None is one a core.
    """

    def __init__(self, tagger: dict[str, Any], how: WriteSettings, n_workers: int | None = None) -> None:
        settings = {"tagger": tagger, "how": asdict(how)}
        super().__init__(__name__, settings, _read_written, n_workers, at_work=AT_WORK)


class UndoWorkers(Processes[FileTask, FileChange]):
    """Worker processes that take tags out of files.

    Args:
        how: `dry_run`, `keep_times` and `max_duration_s` of `undo_tags`.
        n_workers: processes at most; None is one a core.
    """

    def __init__(self, how: dict[str, Any], n_workers: int | None = None) -> None:
        super().__init__(__name__, {"how": how}, lambda _, fields: _read_change(fields), n_workers, at_work=AT_WORK)


def _read_written(task: Task, fields: Message) -> Taggram | Embedding:
    """Make a result of what a worker sent."""
    change, rewritten = fields.pop("change"), fields.pop("rewritten")
    result = read_result(task, fields)
    kept = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    states = (FileState(**rewritten[0]), FileState(**rewritten[1])) if rewritten else None
    return WrittenTaggram(**kept, change=change and _read_change(change), rewritten=states)


def _read_change(fields: Message) -> FileChange:
    return FileChange(**{**fields, "outcome": Outcome(fields["outcome"]), "notes": tuple(fields["notes"])})


# -- inside of a worker ------------------------------------------------------------------------------------------------


def _make(settings: Message) -> Do:
    """Get ready to write tags, or to take them out."""
    if "tagger" not in settings:
        return lambda fields, tell: asdict(undo_tags(fields["path"], **settings["how"], tell=tell))
    how = WriteSettings(**settings["how"])
    tag = make_tagging(settings["tagger"])

    def do(fields: Message, tell: Tell) -> Message:
        before = FileState.of(fields["path"])
        result = tag(fields, tell)
        is_the_same = before == FileState.of(fields["path"])
        try:
            change = _write(Taggram(**result), how, tell)
        except FileTagsError as error:
            trouble = "; ".join(filter(None, [result["trouble"], f"no tags were written: {error}"]))
            return {**result, "trouble": trouble, "change": None, "rewritten": None}
        after = FileState.of(fields["path"]) if is_the_same and change.outcome is Outcome.written else None
        return {
            **result,
            "notes": [*result["notes"], str(change), *change.notes],
            "unusual": [*result["unusual"], *change.notes],
            "change": asdict(change),
            "rewritten": [asdict(before), asdict(after)] if before and after else None,
        }

    return do


def _write(result: Taggram, how: WriteSettings, tell: Tell) -> FileChange:
    """Write the best tags of a file into it."""
    best = result.top(1)
    if how.if_confident is not None and (not best or best[0][1] < how.if_confident):
        return FileChange(outcome=Outcome.not_confident, values={}, before={})
    return write_tags(
        result.path,
        tags_for_files(result, how.top, how.threshold),
        field=how.field,
        if_empty=how.if_empty,
        dry_run=how.dry_run,
        keep_times=how.keep_times,
        max_duration_s=how.max_duration_s,
        tell=tell,
    )


if __name__ == "__main__":
    serve(_make)
