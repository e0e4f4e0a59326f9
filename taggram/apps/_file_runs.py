"""Files that workers tag or embed: which there are, and what is told of each."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from taggram._processes import Processes
from taggram._sound_files import STDIN, list_files
from taggram._workers import Task
from taggram.apps._progress import FileProgress, say
from taggram.errors import AudioError, printable
from taggram.results import Embedding, Failure, Taggram

if TYPE_CHECKING:
    from collections.abc import Iterator


def list_told(paths: list[str]) -> tuple[list[str], list[Failure]]:
    """Turn paths into files, and tell of the folders that gave none.

    Args:
        paths: files, folders, or `-`.

    Returns:
        The files, and the failures that were told.
    """
    files, failures = list_files(paths)
    for failure in failures:
        say(f"{printable(failure.path)}: {failure.message}")
    return files, failures


def start_early(pool: Processes[Task, Taggram | Embedding], paths: list[str]) -> None:
    """Start a worker while files are looked for, unless there will be none.

    Args:
        pool: the workers.
        paths: files, folders, or `-`.
    """
    if any(path == STDIN or not _why_missing(path) for path in paths):
        pool.start()


def run_told(
    workers: Processes[Task, Taggram | Embedding], tasks: list[Task]
) -> Iterator[Taggram | Embedding | Failure]:
    """Do tasks in worker processes; tell failures and what is unusual on standard error.

    Args:
        workers: the processes.
        tasks: the files, and what is done to each.

    Yields:
        A result a file, in order.
    """
    reasons = itertools.takewhile(bool, (_why_missing(task.path) for task in tasks))
    failures = [Failure(task.path, AudioError.__name__, printable(reason)) for task, reason in zip(tasks, reasons)]
    with FileProgress(len(tasks)) as progress:
        # Those before the first file that is there need no network.
        for result in itertools.chain(failures, workers.run(tasks[len(failures) :], progress.told)):
            progress.make_way()
            if isinstance(result, Failure):
                say(f"{printable(result.path)}: {result.message}")
            elif result.unusual:
                say(f"{printable(result.path)}: note: {'; '.join(result.unusual)}")
            if isinstance(result, Taggram) and result.trouble:
                say(f"{printable(result.path)}: {result.trouble}")
            yield result
            progress.advance()  # after what is printed, so that the bar stands while the next file is waited for


def _why_missing(path: str) -> str:
    """Say why nothing can be had from a path, or ""."""
    try:
        os.stat(path)  # noqa: PTH116 (Path("") would be the working folder)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""
