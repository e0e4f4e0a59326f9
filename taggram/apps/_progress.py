"""A progress bar on standard error, for work of more than two seconds, on a terminal only."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from taggram.apps._outputs import clock
from taggram.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress

AFTER_S = 2.0
STOPS = (KeyboardInterrupt, SystemExit)
"""What a command is ended by that is told to end."""


class FileProgress:
    """Counts files that are done and shows how far the one in work is.

    Args:
        n_files: how many there are.
    """

    def __init__(self, n_files: int) -> None:
        self._n_files = n_files
        self._n_done = 0
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.make_way()

    def told(self, path: str, done_s: float) -> None:
        """Take in how many seconds of a file are done; called from other threads."""
        self.show(f"{printable(Path(path).name)} {clock(done_s)}")

    def show(self, now: str) -> None:
        """Take in what is done now; called from other threads.

        Args:
            now: is shown beside the bar.
        """
        with self._lock:
            self._show(now)

    def advance(self, now: str = "") -> None:
        """Count one more file, or whatever is counted, as done.

        Args:
            now: is shown beside the bar.
        """
        with self._lock:
            self._n_done += 1
            self._show(now)

    def reach(self, n_done: int, now: str = "") -> None:
        """Take in how many are done of whatever is counted.

        Args:
            n_done: of them.
            now: is shown beside the bar.
        """
        with self._lock:
            self._n_done = n_done
            self._show(now)

    def make_way(self) -> None:
        """Take the bar off the screen, because something is printed; it comes back with what is told next."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()

    def _show(self, now: str) -> None:
        """Show the bar, once it is worth it."""
        if not sys.stderr.isatty() or time.monotonic() - self._started < AFTER_S:
            return
        if self._bar is None:
            self._bar = _make_bar()
            self._bar.add_task("", total=self._n_files)
        self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self._n_done, description=now or None)


@contextlib.contextmanager
def tell_if_stopped(what: str) -> Iterator[None]:
    """Say what is left of work that is told to end before it is done.

    Args:
        what: such as "nothing was written".
    """
    try:
        yield
    except STOPS:
        say(f"stopped; {what}")
        raise


def say(line: str) -> None:
    """Say a line on standard error, if that is open."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
