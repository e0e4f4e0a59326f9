"""`taggram data prepare`: a data set is decoded once, with a bar, and what could not be is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from taggram.apps._progress import FileProgress, say
from taggram.datasets import TagDataset, open_dataset
from taggram.datasets._base import PARTS, Part, notes_on_parts
from taggram.errors import printable, unknown_name
from taggram.learning.prepared import LeftOut, PreparedData, PrepareReport, SameSound, prepare

if TYPE_CHECKING:
    from taggram.frontends import FrontendConfig

SAMPLE_RATE = 16_000  # Hz, of most published networks
N_NAMED = 8  # tracks that a line names at most
LABEL_ROWS = 2**14  # tracks whose tags are counted at once


def prepare_dataset(
    name: str,
    root: Path,
    out: Path,
    options: Mapping[str, Any],
    *,
    sample_rate: int | None = None,
    n_workers: int | None = None,
    max_duration_s: float,
    features: str | None = None,
    keep_samples: bool = True,
) -> bool:
    """Prepare a data set, or go on with it, and print what became of it.

    Args:
        name: one of `list_datasets()`.
        root: its folder.
        out: the folder to write into.
        options: `split`, `tags` and what the data set itself has.
        sample_rate: in Hz; None is that of the features, or 16,000.
        n_workers: processes; None is one a core.
        max_duration_s: longest sound that is taken, in seconds.
        features: a network; what its front-end makes is kept too.
        keep_samples: whether samples are kept.

    Returns:
        Whether every track could be prepared.

    Raises:
        UnknownNameError: there is no such data set, split, vocabulary or network.
        ConfigError: a setting makes no sense.
        DatasetError: see `prepare`.
    """
    frontend = None if features is None else _frontend_of(features)
    if sample_rate is None:
        sample_rate = SAMPLE_RATE if frontend is None else frontend.sample_rate
    dataset = open_dataset(name, root, **options)
    for note in dataset.notes():
        say(f"note: {note}")
    with PrepareTeller(dataset.root) as teller:
        report = prepare(
            dataset,
            out,
            sample_rate=sample_rate,
            n_workers=n_workers,
            max_duration_s=max_duration_s,
            frontend=frontend,
            keep_samples=keep_samples,
            progress=teller.told,
        )
    teller.tell_the_rest(report)
    say_what_is_odd(report)
    _say_what_was_lost(report, dataset)
    n_rows = sum(report.n_rows.values())
    counts = ", ".join(f"{count:,} {part}" for part, count in report.n_rows.items())
    length = f"{report.duration_s / 3600:,.1f} h" if report.duration_s >= 3600 else f"{report.duration_s / 60:.1f} min"
    size = f"{report.n_bytes / 1e9:,.1f} GB" if report.n_bytes >= 1e9 else f"{report.n_bytes / 1e6:.1f} MB"
    print(f"{printable(str(out))}: {n_rows:,} tracks ({counts}), {length} at {sample_rate} Hz, {size}")
    return not report.left_out


class PrepareTeller:
    """Tells on standard error what is left out while it happens, and shows the bar.

    Args:
        root: the folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self.n_left_out = 0
        self._root = root
        self._bar: FileProgress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.make_way()

    def make_way(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.make_way()

    def told(self, n_done: int, n_tracks: int, left_out: LeftOut | None) -> None:
        """Take in one more track; the first time, what an earlier run did."""
        if self._bar is None:
            if n_done:
                say(f"going on after {n_done:,} of {n_tracks:,} tracks")
            self._bar = FileProgress(n_tracks - n_done)
            return
        if left_out is not None:
            self._bar.make_way()
            self.n_left_out += 1
            self.tell(left_out)
        self._bar.advance()

    def tell_the_rest(self, report: PrepareReport) -> None:
        """Say what an earlier run had left out."""
        for left_out in report.left_out[: len(report.left_out) - self.n_left_out]:
            self.tell(left_out)

    def tell(self, left_out: LeftOut) -> None:
        """Say what is wrong with a track."""
        say(f"{printable(str(Path(self._root, left_out.path)))}: {left_out.reason}")


def _frontend_of(network: str) -> FrontendConfig:
    """Give the settings of a network's front-end."""
    from taggram.models import NETWORKS, create_model

    name = network.partition(".")[0]  # whatever its weights
    if name not in NETWORKS:
        raise unknown_name("network", network, NETWORKS, "`taggram models` lists them")
    return create_model(name).frontend.config


def say_what_is_odd(report: PrepareReport) -> None:
    """Say what is true of the tracks together, a line each."""
    if report.left_out:
        say(f"{len(report.left_out):,} of {report.n_tracks:,} tracks were left out; card.json lists them")
    if report.loudest:
        name, peak = report.loudest
        say(f"note: {report.n_clipped:,} tracks were clipped, {printable(name)} the most; it goes up to {peak:g}")
    if report.n_noted:
        say(f"note: {report.n_noted:,} tracks are unusual; the column notes says how")
    if report.same_sound:
        across = [group for group in report.same_sound if len(group.parts) > 1]
        named = "; ".join(_named(group) for group in (across or report.same_sound)[:N_NAMED])
        say(
            f"note: {len(report.same_sound):,} sounds are there more than once, {len(across):,} of them in more than "
            f"one part, such as {named}"
        )


def _say_what_was_lost(report: PrepareReport, dataset: TagDataset) -> None:
    """Say which parts and tags have no track any more, because those that had it were left out."""
    if not report.left_out:
        return
    data = PreparedData(report.folder)
    n_tagged: dict[Part, dict[str, int]] = {}
    n_clips: dict[Part, int] = {}
    for part in PARTS:
        rows = data.index(part)
        n_clips[part] = len(rows)
        blocks = (rows[first : first + LABEL_ROWS] for first in range(0, len(rows), LABEL_ROWS))
        counts = sum((data.labels(block).sum(0) for block in blocks), np.zeros(len(data.tags)))
        n_tagged[part] = {tag: int(count) for tag, count in zip(data.tags, counts)}
    before = dataset.notes()
    for note in notes_on_parts(data.tags, n_clips, n_tagged):
        if note not in before:
            say(f"note: without what was left out, {note}")


def _named(group: SameSound) -> str:
    return " = ".join(printable(track_id) for track_id in group.track_ids[:N_NAMED])
