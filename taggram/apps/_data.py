"""`taggram data`: the table of data sets, the card of one, its download and its check."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.table import Table

from taggram.apps._progress import say
from taggram.datasets import (
    CheckReport,
    DatasetCard,
    TagDataset,
    check,
    check_options,
    find_dataset,
    list_datasets,
    open_dataset,
)
from taggram.datasets._base import PARTS
from taggram.errors import ConfigError, DatasetError, printable

if TYPE_CHECKING:
    from rich.progress import Progress

PIPE_WIDTH = 240  # a pipe has none
AFTER_S = 2.0  # a bar is worth it from then on
N_SHOWN = 12  # tags that a card lists of a vocabulary
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes"))
TASKS = {"several": "several tags a track", "one": "exactly one tag a track"}


def print_datasets() -> None:
    """Print a table of all data sets."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "what it is"):
        table.add_column(heading, overflow="fold")
    for heading in ("tracks", "tags"):
        table.add_column(heading, justify="right")
    for heading in ("task", "licence", "how it comes"):
        table.add_column(heading, overflow="fold")
    for name in list_datasets():
        card = find_dataset(name).card
        n_tracks = "" if card.n_tracks is None else f"{card.n_tracks:,}"
        table.add_row(name, card.title, n_tracks, _tag_count(card), card.task, card.licence, _how_it_comes(card))
    console = table_console()
    console.print(table)
    console.print("`taggram data show NAME` shows one of them: splits, tags, faults.", style="dim")


def print_dataset(name: str) -> None:
    """Print the card of a data set.

    Args:
        name: one of `list_datasets()`.

    Raises:
        UnknownNameError: there is no such data set.
    """
    card = find_dataset(name).card
    facts = [
        ("task", TASKS[card.task]),
        ("tracks", "" if card.n_tracks is None else f"{card.n_tracks:,}"),
        ("licence", card.licence),
        ("citation", card.citation),
        ("page", card.page),
        ("faults", card.faults),
        ("how it comes", _how_it_comes(card)),
    ]
    console = table_console()
    console.print(f"{name}: {card.title}", style="bold")
    console.print(_rows([fact for fact in facts if fact[1]]))
    if card.vocabularies:
        console.print("\nTags, by vocabulary; the first is the default", style="bold")
        console.print(_rows([(key, _some_tags(tags)) for key, tags in card.vocabularies.items()]))
    console.print("\nSplits; the first is the default", style="bold")
    console.print(_split_table(card))
    if card.remotes:
        console.print("\nFiles", style="bold")
        console.print(
            _rows(
                [
                    (remote.file, _size(remote.size) + (", only when named with --file" if remote.optional else ""))
                    for remote in card.remotes
                ]
            )
        )
    if card.by_hand:
        console.print("\nBy hand", style="bold")
        console.print(card.by_hand, highlight=False, markup=False)


def get_dataset(name: str, root: Path, files: Iterable[str] | None, options: Mapping[str, Any] | None = None) -> bool:
    """Download a data set, make it up, or say what to do by hand, and check what is there.

    Args:
        name: one of `list_datasets()`.
        root: its folder.
        files: those that are wanted; None is all, and only then is anything checked.
        options: of the data set, such as how much is to be made up, or the split that is checked.

    Returns:
        Whether all is there.

    Raises:
        UnknownNameError: there is no such data set, file, split or vocabulary.
        ConfigError: the data set has no such option, or its value makes no sense; or it has no files to choose.
        DatasetError: a file cannot be fetched, or is not the one that it should be; or the folder cannot be written to.
    """
    from taggram.datasets._download import get

    options = options or {}
    reader = find_dataset(name)
    card = reader.card
    check_options(name, options)
    if files is not None and not card.remotes:
        raise ConfigError(f"{name} has no files to download; leave --file out.")
    with _ByteProgress() as progress:
        if card.remotes:
            get(card, root, files=files, told=progress.told)
        reader.make(root, lambda n_done, n_all: progress.count("making", n_done, n_all), **options)
    if files is not None:
        return True
    report: CheckReport | None = None
    try:
        dataset = open_dataset(name, root, **options)
        report = check(dataset)
    except DatasetError as error:
        say(str(error))
    if report is not None:
        _print_report(dataset, report)
        if report.is_fine:
            return True
    if card.by_hand:
        print("To do by hand:")
        print(card.by_hand.replace("ROOT", shlex.quote(str(root))))
    if card.remotes:
        say("A file that was got before is left alone; --file NAME gets and unpacks it again.")
    return False


def check_dataset(
    name: str,
    root: Path,
    options: Mapping[str, Any],
    *,
    hashes: bool,
    decode: bool = False,
    n_workers: int | None = None,
) -> bool:
    """Check a data set on disk and print what is found.

    Args:
        name: one of `list_datasets()`.
        root: its folder.
        options: `split`, `tags` and what the data set itself has.
        hashes: whether files are compared with their checksums.
        decode: whether every file is decoded from its start to its end.
        n_workers: processes that decode; None is one a core.

    Returns:
        Whether every track can be expected to be read.

    Raises:
        UnknownNameError: there is no such data set, split or vocabulary.
        DatasetError: the lists of the data set are missing or not as they should be.
    """
    dataset = open_dataset(name, root, **options)
    with _ByteProgress() as progress:
        report = check(dataset, hashes=hashes, told=lambda n_done, n_all: progress.count("checking", n_done, n_all))
        if decode:
            report = _decoded(dataset, report, progress, n_workers)
    _print_report(dataset, report)
    return report.is_fine


def _decoded(dataset: TagDataset, report: CheckReport, progress: _ByteProgress, n_workers: int | None) -> CheckReport:
    """Add to a report what shows only when sound is decoded."""
    from taggram.apps._decoding_all import decode_all

    bad = {*report.missing, *report.empty, *(file.path for file in report.broken)}
    broken, notes = decode_all(
        (track for track in dataset.tracks() if track.path not in bad),
        lambda n_done, n_all: progress.count("decoding", n_done, n_all),
        n_workers,
    )
    return dataclasses.replace(report, broken=(*report.broken, *broken), notes=(*report.notes, *notes))


def _print_report(dataset: TagDataset, report: CheckReport) -> None:
    """Print a report: what the split is, then a line a file or note."""
    n_tracks = dict.fromkeys(PARTS, 0)
    for track in dataset.tracks():
        n_tracks[track.part] += 1
    counts = ", ".join(f"{n_tracks[part]:,} {part}" for part in PARTS)
    vocabulary = f", tags {dataset.vocabulary}" if dataset.vocabulary else ""
    print(f"{dataset.card.name}, split {dataset.split}{vocabulary}: {counts}; sha256 {dataset.split_sha256()}")
    for what, paths in (("missing", report.missing), ("empty", report.empty), ("in no split", report.extra)):
        for path in paths:
            print(f"{what}: {printable(str(path))}")
    for file in report.broken:
        print(f"broken: {printable(str(file.path))}: {file.reason}")
    for note in report.notes:
        print(f"note: {note}")
    wrong = {"missing": report.missing, "empty": report.empty, "broken": report.broken}
    told = ", ".join(f"{len(files):,} {what}" for what, files in wrong.items() if files)
    say(f"{dataset.card.name}: {told or 'all files are there'}")


def _how_it_comes(card: DatasetCard) -> str:
    wanted = [remote for remote in card.remotes if not remote.optional]
    n_bytes = sum(remote.size or 0 for remote in wanted)
    whole = all(remote.size for remote in wanted)
    download = f"download{f', {_size(n_bytes)}' if wanted and whole else ''}" if card.remotes else ""
    return " and ".join(filter(None, [download, "by hand" if card.by_hand else ""])) or "made up by `get`"


def _tag_count(card: DatasetCard) -> str:
    tags = next(iter(card.vocabularies.values()), ())
    return f"{len(tags)}" if tags else "in the data"


def _some_tags(tags: tuple[str, ...]) -> str:
    """List a few tags of a vocabulary."""
    if not tags:
        return "found in the data"
    more = f" ... ({len(tags)})" if len(tags) > N_SHOWN else ""
    return ", ".join(tags[:N_SHOWN]) + more


def _split_table(card: DatasetCard) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("name", style="dim", no_wrap=True)
    for part in PARTS:
        table.add_column(part, justify="right")
    table.add_column("rule", overflow="fold")
    named: dict[str, str] = {}  # rule: the first split that has it
    for name, split in card.splits.items():
        first = named.setdefault(split.rule, name)
        sizes = [f"{n_tracks:,}" for n_tracks in split.n_tracks] if split.n_tracks else [""] * len(PARTS)
        table.add_row(name, *sizes, split.rule if first == name else f"as {first}")
    return table


def _size(n_bytes: int | None) -> str:
    """Write a number of bytes."""
    if n_bytes is None:
        return "size not known"
    size, unit = next((size, unit) for size, unit in UNITS if n_bytes >= size or size == 1)
    return f"{n_bytes / size:.1f} {unit}" if size > 1 else f"{n_bytes} {unit}"


def _rows(rows: list[tuple[str, str]]) -> Table:
    """Make a table without headings."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, text in rows:
        table.add_row(key, text)
    return table


def table_console() -> Console:
    """Make the console that tables are printed on; a pipe is wide."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


class _ByteProgress:
    """Tells on standard error what is done: a line a step, and on a terminal a bar for what takes longer than 2 s."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._step = ""
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def told(self, what: str, file: str, n_done: int, n_all: int | None) -> None:
        """Take in how many bytes of a file are done."""
        step = f"{what} {printable(file)}"
        if step != self._step:
            self._next(step)
            say(f"{step} ({_size(n_all)})" if n_all else step)
        self._show(step, n_done, n_all)

    def count(self, what: str, n_done: int, n_all: int) -> None:
        """Take in how many files are done."""
        if what != self._step:
            self._next(what)
        self._show(what, n_done, n_all)

    def _next(self, step: str) -> None:
        """Begin another step."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._step = step
        self._started = time.monotonic()

    def _show(self, step: str, n_done: int, n_all: int | None) -> None:
        """Show the bar, once it is worth it."""
        if not sys.stderr.isatty() or time.monotonic() - self._started < AFTER_S:
            return
        if self._bar is None:
            self._bar = _make_bar(counts_bytes=" " in step)
            self._bar.add_task(step, total=n_all)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=n_done, total=n_all)


def _make_bar(*, counts_bytes: bool) -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = [DownloadColumn(), TransferSpeedColumn()] if counts_bytes else [MofNCompleteColumn()]
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
