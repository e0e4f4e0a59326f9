"""`taggram tag --write` and `--undo`: which options go together, and what is said about each file and at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Self

from taggram._processes import FileTask
from taggram._sound_files import list_files
from taggram.apps._file_tags_check import load_mutagen
from taggram.apps._file_tags_fields import OWN, find_field, preset_field
from taggram.apps._file_tags_worker import UndoWorkers, WriteSettings, WrittenTaggram
from taggram.apps._options import given_options
from taggram.apps._outputs import DEFAULT_TOP
from taggram.apps._progress import STOPS, FileProgress, say
from taggram.apps.file_tags import FileChange, Outcome
from taggram.errors import ConfigError, check_above_zero, printable
from taggram.kit import Kit
from taggram.results import Failure

if TYPE_CHECKING:
    import typer

FOR_WRITING = ("--field", "--preset", "--if-empty", "--if-confident")
FOR_BOTH = ("--dry-run", "--keep-times")
FOR_UNDOING = ("--undo", "--workers", "--max-duration-s", *FOR_BOTH)
IN_FILES = "tags in files"
FAILED = "failed"
TAGGED = "tagged"
TOLD_ONE_BY_ONE = (Outcome.would_be_written, Outcome.would_be_taken_out)


class Tally:
    """Counts what became of files, and says it at the end of a `with`, also of one that is stopped.

    Args:
        topic: what the line begins with.
    """

    def __init__(self, topic: str = IN_FILES) -> None:
        self._topic = topic
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and issubclass(kind, STOPS):
            say(f"stopped; {self}")
        elif self._counts:
            say(str(self))

    def __str__(self) -> str:
        last = sorted(self._counts.items(), key=lambda item: item[0] == FAILED)
        counts = [f"{number} {outcome}" for outcome, number in last]
        return f"{self._topic}: {', '.join(counts) or 'none'}"

    def add(self, outcome: str, n: int = 1) -> None:
        """Take in what became of files."""
        if n:
            self._counts[outcome] += n


def check_options(context: typer.Context, *, write: bool, undo: bool) -> None:
    """Refuse options of a command that do not go together.

    Args:
        context: of the command.
        write: whether tags are written into files.
        undo: whether they are taken out.

    Raises:
        ConfigError: they do not.
    """
    given = given_options(context)
    if undo:
        _refuse(given - set(FOR_UNDOING), "is of no use with --undo, which takes tags out and tags nothing")
    elif not write:
        _refuse(given & {*FOR_WRITING, *FOR_BOTH}, "says how tags go into files; it wants --write")
    if {"--field", "--preset"} <= given:
        raise ConfigError("--field and --preset both say where tags go; give one of them.")


def default_top(threshold: float, kit: str | None) -> int | None:
    """Say how many tags are wanted where it is not said.

    Args:
        threshold: least score of a tag.
        kit: file of a kit whose tags are written into files, or None.

    Returns:
        One where exactly one of the kit's tags holds, since the next best are wrong then; else three, or all (None)
        that reach a threshold.

    Raises:
        KitError: the kit cannot be used.
    """
    if kit is not None and Kit.load(kit).task == "one":
        return 1
    return None if threshold else DEFAULT_TOP


def write_settings(
    *,
    field: str | None,
    preset: str | None,
    top: int | None,
    threshold: float,
    if_empty: bool,
    if_confident: float | None,
    dry_run: bool,
    keep_times: bool,
    max_duration_s: float,
) -> WriteSettings:
    """Check how tags are to be written.

    Args:
        field: name of a field, or None.
        preset: name of a player, or None.
        top: at most so many tags, or None for all.
        threshold: least score of a tag.
        if_empty: whether a field that holds something that is not ours stays as it is.
        if_confident: least score of the best tag of a file, or None.
        dry_run: whether it is only said what would be written.
        keep_times: whether the time of a file's last change stays.
        max_duration_s: longest sound to take, in seconds.

    Returns:
        The settings.

    Raises:
        ConfigError: a name or number makes no sense.
        UnknownNameError: there is no such preset.
        MissingExtraError: mutagen is not installed.
    """
    load_mutagen()
    name = find_field(preset_field(preset) if preset is not None else OWN if field is None else field).name
    if if_confident is not None and not (math.isfinite(if_confident) and 0 <= if_confident <= 1):
        raise ConfigError(f"--if-confident is {if_confident}; it must be from 0 to 1.")
    return WriteSettings(
        field=name,
        top=top,
        threshold=threshold,
        if_empty=if_empty,
        if_confident=if_confident,
        dry_run=dry_run,
        keep_times=keep_times,
        max_duration_s=max_duration_s,
    )


def outcome_of(result: Any) -> str:
    """Say in a word what became of a file."""
    if isinstance(result, WrittenTaggram) and result.change is not None:
        return result.change.outcome
    return FAILED if isinstance(result, Failure | WrittenTaggram) else TAGGED


def tell_change(path: str, change: FileChange) -> None:
    """Say what would be done to a file, where it is not done."""
    if change.outcome in TOLD_ONE_BY_ONE:
        say(f"{printable(path)}: {change}")


def run_undo(
    paths: list[str], *, dry_run: bool, keep_times: bool, max_duration_s: float, n_workers: int | None
) -> bool:
    """Take the tags out of files that were written there, and give back what they had before.

    Args:
        paths: files, folders, or `-`.
        dry_run: whether it is only said what would be done.
        keep_times: whether the time of a file's last change stays.
        max_duration_s: longest sound to take, in seconds.
        n_workers: worker processes; None is one a core.

    Returns:
        Whether all files could be done.

    Raises:
        ConfigError: an option makes no sense.
        MissingExtraError: mutagen is not installed.
    """
    check_above_zero(max_duration_s=max_duration_s)
    load_mutagen()
    files, failures = list_files(paths)
    how = {"dry_run": dry_run, "keep_times": keep_times, "max_duration_s": max_duration_s}
    n_failed = len(failures)
    for failure in failures:
        say(f"{printable(failure.path)}: {failure.message}")
    with Tally() as tally, UndoWorkers(how, n_workers) as pool, FileProgress(len(files)) as progress:
        tally.add(FAILED, n_failed)
        for file, result in zip(files, pool.run(map(FileTask, files), progress.told)):
            progress.make_way()
            if isinstance(result, Failure):
                n_failed += 1
                tally.add(FAILED)
                say(f"{printable(file)}: {result.message}")
            else:
                tally.add(result.outcome)
                _print_undone(file, result)
            progress.advance()
    return not n_failed


def _print_undone(file: str, change: FileChange) -> None:
    tell_change(file, change)
    if change.notes:
        say(f"{printable(file)}: note: {'; '.join(change.notes)}")
    if change.outcome is Outcome.taken_out:
        print(f"{printable(file)}\t{change}", flush=True)


def _refuse(options: Collection[str], reason: str) -> None:
    if options:
        raise ConfigError(f"{min(options)} {reason}.")
