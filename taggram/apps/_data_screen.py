"""What is shown while data is made ready: made-up music, preparing, and a bar for whatever is counted after that."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from taggram.apps._preparing import PrepareTeller, say_what_is_odd
from taggram.apps._progress import FileProgress
from taggram.learning.prepared import LeftOut, PrepareReport


class DataScreen:
    """Shows how far the data is. `is_whole` says whether every clip could be used so far.

    Args:
        root: folder of the data, for the paths in messages.
    """

    def __init__(self, root: Path) -> None:
        self.is_whole = True
        self._root = root
        self._bar: FileProgress | None = None
        self._step: object = None
        self._preparing = PrepareTeller(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.make_way()

    def made(self, n_done: int, n_tracks: int) -> None:
        """Show a track of made-up music that is there."""
        self.advance("made", n_tracks - n_done + 1, "making up music")

    def prepared(self, n_done: int, n_tracks: int, left_out: LeftOut | None) -> None:
        """Take in one more track that is prepared."""
        self._preparing.told(n_done, n_tracks, left_out)

    def report(self, report: PrepareReport) -> None:
        """Say what became of preparing; the next one has a bar of its own."""
        self._preparing.make_way()
        self._preparing.tell_the_rest(report)
        say_what_is_odd(report)
        self.is_whole = self.is_whole and not report.left_out
        self._preparing = PrepareTeller(self._root)

    def advance(self, step: object, n_all: int, now: str) -> None:
        """Count one more of what a step counts.

        Args:
            step: another one than before begins a bar of its own.
            n_all: how many there are in it, or are left.
            now: is shown beside the bar.
        """
        if self._bar is None or step != self._step:
            self.make_way()
            self._bar, self._step = FileProgress(n_all), step
        self._bar.advance(now)

    def make_way(self) -> None:
        """Take the bar off the screen, because something is printed."""
        if self._bar is not None:
            self._bar.make_way()
