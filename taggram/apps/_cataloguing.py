"""A catalogue made, and its parts merged, on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taggram.apps._progress import STOPS, FileProgress, say
from taggram.apps._tagging import TaggerSettings
from taggram.catalogue._plan import Summary
from taggram.catalogue.build import Watcher, build_catalogue
from taggram.catalogue.compacting import CompactWatcher, compact_catalogue
from taggram.catalogue.journal import JournalWatcher
from taggram.errors import printable

RUNNERS = {"ray": "Ray", "local": "worker processes"}


@dataclass(frozen=True, kw_only=True)
class CatalogueOptions:
    """How a catalogue is made; see `build_catalogue`.

    Attributes:
        runner: what runs it.
        address: of a Ray cluster.
        n_workers: worker processes.
        over_time: whether the scores of each patch are kept.
        by_content: whether files with the size and time of their row are read too.
        retry: whether files that failed are tried again.
        prune: whether files that are gone are taken out.
        resume: whether a catalogue that is there is gone on with.
        part_s: what was done is written when so many seconds are over.
    """

    runner: str
    address: str | None
    n_workers: int | None
    over_time: bool
    by_content: bool
    retry: bool
    prune: bool
    resume: bool
    part_s: float


class _JournalOnScreen(JournalWatcher):
    """Shows how far it is with the parts that are there."""

    def __init__(self) -> None:
        self._progress: FileProgress | None = None

    def checked(self, n_bytes: int, of: int) -> None:
        if self._progress is None:
            self._progress = FileProgress(-(-of // 2**20))
        self._progress.reach(-(-n_bytes // 2**20), "MB of the catalogue checked")
        if n_bytes == of:
            self.end()

    def noted(self, note: str) -> None:
        self.end()
        say(f"note: {note}")

    def end(self) -> None:
        """Take the bar off the screen; what is told next has another."""
        if self._progress is not None:
            self._progress.make_way()
            self._progress = None


class _OnScreen(_JournalOnScreen, Watcher):
    """Shows how far it is, and tells failures.

    To be read: `n_rows`, the files in the catalogue at the end, or None before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_rows: int | None = None

    def found(self, n_files: int) -> None:
        say(f"{n_files:,} files found so far")

    def compared(self, n_read: int, n_files: int) -> None:
        if self._progress is None:
            self._progress = FileProgress(n_files)
        self._progress.reach(n_read, "read, to know it by its content")

    def planned(self, summary: Summary, n_to_do: int, runner: str) -> None:
        for part in summary.lost:
            say(f"note: {part} was damaged; its files are tagged again")
        known = [(summary.n_kept, "in the catalogue"), (summary.n_moved, "known by their content")]
        known += [(summary.n_pruned, "gone and taken out"), (summary.n_others, "more in it, elsewhere or gone")]
        self.end()
        told = "".join(f", {n:,} {what}" for n, what in known if n)
        by = f"; by {RUNNERS[runner]}" if n_to_do else ""
        say(f"{n_to_do:,} files to tag{told}{by}")
        self._progress = FileProgress(n_to_do)

    def starting(self, address: str | None) -> None:
        say("starting Ray" if address is None else f"joining the Ray cluster {printable(address)}")

    def kept(self, n_rows: int) -> None:
        self.n_rows = n_rows

    def done(self, path: str, error: str | None) -> None:
        if self._progress is None:
            return
        if error is not None:
            self._progress.make_way()
            say(f"{printable(path)}: {error.partition(': ')[2]}")
        self._progress.advance()

    def told(self, path: str, done_s: float) -> None:
        if self._progress is not None:
            self._progress.told(path, done_s)


class _MergingOnScreen(_JournalOnScreen, CompactWatcher):
    """Shows how far merging is."""

    def merged(self, n_parts: int, of: int) -> None:
        if self._progress is None:
            self._progress = FileProgress(of)
        self._progress.reach(n_parts, "parts merged")


def run_cataloguing(paths: list[str], settings: TaggerSettings, out: Path, options: CatalogueOptions) -> bool:
    """Make a catalogue, or go on with one.

    Args:
        paths: files, folders, globs, lists, addresses, or `-`.
        settings: of the tagger.
        out: folder of the catalogue.
        options: how it is made.

    Returns:
        Whether all files could be tagged.

    Raises:
        TaggramError: an option makes no sense, or the catalogue cannot be used.
        OSError: the folder cannot be written to.
    """
    screen = _OnScreen()
    fields: dict[str, Any] = settings.ready()
    try:
        summary = build_catalogue(paths, out, settings=fields, watcher=screen, **vars(options))
    except STOPS:
        screen.end()
        n_kept = "" if screen.n_rows is None else f"{screen.n_rows:,} files are in {printable(str(out))}, and "
        say(f"stopped; {n_kept}the same command goes on")
        raise
    finally:
        screen.end()
    for failure in summary.failures:
        say(f"{printable(failure.path)}: {failure.message}")
    if not summary.layer:
        return False
    failed = f", {summary.n_errors:,} of them without tags" if summary.n_errors else ""
    say(f"{printable(str(out))}: {summary.n_rows:,} files by {summary.layer}{failed}")
    if summary.n_failed_before:
        say(
            f"{summary.n_failed_before:,} could not be tagged in an earlier run: --retry tries them again, and "
            f"`taggram find {printable(str(out))} \"error contains ''\"` lists them"
        )
    return summary.ok


def run_compacting(folder: Path, layer: str | None) -> None:
    """Merge the parts of a catalogue.

    Args:
        folder: of the catalogue.
        layer: what is merged; None is what the last run wrote to.

    Raises:
        CatalogueError: there is none, or it cannot be used.
        OSError: the disk is full; the catalogue is whole.
    """
    screen = _MergingOnScreen()
    try:
        before, after = compact_catalogue(folder, layer=layer, watcher=screen)
    finally:
        screen.end()
    say(f"{printable(str(folder))}: {before:,} parts are {after:,} now")
