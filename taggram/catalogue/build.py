"""Files -> catalogue: what is still to do, who does it, and how what comes is kept."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any, Literal, get_args

import taggram
from taggram._checks import check_choice
from taggram._stores import is_address
from taggram.catalogue._folder import CARD, LAYERS
from taggram.catalogue._network import Network, goes_in_two
from taggram.catalogue._plan import Plan, Summary
from taggram.catalogue._worker import FRAMES_AHEAD, CatalogueWorkers, Task, task_of
from taggram.catalogue.journal import Journal, JournalWatcher
from taggram.catalogue.rows import Row, load_pyarrow, name_columns, schema_of, to_table
from taggram.catalogue.sources import list_sources
from taggram.errors import ConfigError, check_above_zero, printable

Runner = Literal["auto", "ray", "local"]
"""What runs a catalogue."""

PART_ROWS = 10_000
PART_S = 60.0
PART_BYTES = 2**26
RAY_FROM = 1_000  # files: below, Ray would take longer to start than to help
BATCH_ROWS = 2**16


class Watcher(JournalWatcher):
    """Is told how a run goes; does nothing by itself."""

    def found(self, n_files: int) -> None:
        """So many files were found so far."""

    def compared(self, n_read: int, n_files: int) -> None:
        """So many of the files that may be known were read."""

    def planned(self, summary: Summary, n_to_do: int, runner: str) -> None:
        """What is to be done is known."""

    def starting(self, address: str | None) -> None:
        """Ray is started on this machine, or the cluster at an address is joined, which takes some seconds."""

    def kept(self, n_rows: int) -> None:
        """Of so many files there is a row in the catalogue now that the run ends, however it does."""

    def done(self, path: str, error: str | None) -> None:
        """One more file is done, or failed with this error."""

    def told(self, path: str, done_s: float) -> None:
        """So many seconds of a file are done; called from other threads."""


class Keeper:
    """Writes rows into parts as they come.

    Args:
        journal: of the catalogue.
        summary: is told how many came.
        watcher: is told of each.
        part_s: a part is written with the first file that comes so long after the last one.
    """

    def __init__(self, journal: Journal, summary: Summary, watcher: Watcher, part_s: float) -> None:
        self._part_s = part_s
        self._journal = journal
        self._summary = summary
        self._watcher = watcher
        self._rows: list[Row] = []
        self._tables: list[Any] = []
        self._n_rows = self._n_bytes = 0
        self._since = time.monotonic()

    def add_row(self, row: Row) -> None:
        """Take in a file."""
        self._rows.append(row)
        self._count(1, row.n_bytes)
        self._tell(row.path, row.error)

    def add_table(self, table: Any) -> None:
        """Take in a table of files, with the columns of `schema_of`."""
        self._tables.append(table.cast(schema_of(self._journal.card)))
        self._count(table.num_rows, table.nbytes)
        for path, error in zip(table["path"].to_pylist(), table["error"].to_pylist()):
            self._tell(path, error)

    def write(self) -> None:
        """Write what waits as a part."""
        tables = [*self._tables, *([to_table(self._rows, self._journal.card)] if self._rows else [])]
        self._rows, self._tables, self._n_rows, self._n_bytes = [], [], 0, 0
        if tables:
            self._journal.commit({self._journal.new_name(): load_pyarrow().concat_tables(tables)})
        self._since = time.monotonic()

    def _count(self, n_rows: int, n_bytes: int) -> None:
        self._n_rows += n_rows
        self._n_bytes += n_bytes
        late = time.monotonic() - self._since >= self._part_s
        if late or self._n_rows >= PART_ROWS or self._n_bytes >= PART_BYTES:
            self.write()

    def _tell(self, path: str, error: str | None) -> None:
        self._summary.n_done += error is None
        self._summary.n_failed += error is not None
        self._watcher.done(path, error)


def build_catalogue(
    paths: Iterable[str | PathLike[str]] | str | PathLike[str],
    out: str | PathLike[str],
    *,
    settings: dict[str, Any] | None = None,
    runner: str = "auto",
    address: str | None = None,
    n_workers: int | None = None,
    over_time: bool = False,
    by_content: bool = False,
    retry: bool = False,
    prune: bool = False,
    resume: bool = True,
    part_s: float = PART_S,
    watcher: Watcher | None = None,
) -> Summary:
    """Tag many files into a catalogue, and go on where an earlier run stopped.

    A file that is in the catalogue with the same size and time is left alone. A file that was moved takes its row
    along, which is seen by its content; a copy of a file that is still there is tagged. Other results than those that
    are there (another model, another hop) make a new layer, and the old one is kept.

    Args:
        paths: files, folders, globs, lists or addresses, see `list_sources`.
        out: folder of the catalogue; it is made if it is not there.
        settings: those of `Tagger`, all of them plain values; None is the default model.
        runner: "ray"; "local", worker processes of this machine; or "auto", Ray where it is installed and there is
            enough to do, or an address.
        address: of a Ray cluster that is to be joined; None is one on this machine, for this run.
        n_workers: worker processes, on all machines together; None is one a core.
        over_time: whether the scores of each patch are kept too.
        by_content: whether files with the size and time of their row are read too, to see whether they are the same.
        retry: whether files that failed before are tried again.
        prune: whether rows of files that are no longer there are taken out; none is where one of the paths is not
            there, cannot be read or holds no sound, since then a disk may be away.
        resume: whether a catalogue that is there is gone on with; False refuses to touch it.
        part_s: what was done is written as a part when a file is done and so many seconds are over.
        watcher: is told how it goes.

    Returns:
        What was done.

    Raises:
        CatalogueError: the catalogue is damaged, too new, or written by another process; or a path stands for nothing.
        ConfigError: a setting makes no sense.
        MissingExtraError: pyarrow, or Ray that was asked for, is not installed.
        OSError: the disk is full, or the folder cannot be written to; what was done until then is kept.
    """
    check_above_zero(n_workers=n_workers, part_s=part_s)
    _check_runner(runner, address)
    _check_place(fsdecode(out), resume=resume)
    load_pyarrow()
    many = [paths] if isinstance(paths, str | PathLike) else list(paths)
    settings = tagger_settings(settings)
    watcher = watcher or Watcher()
    local = CatalogueWorkers(settings, n_workers)
    with local:
        local.start()  # it loads torch while the files are listed
        sources = list_sources(map(fsdecode, many), told=watcher.found)
        if not len(sources.table) and sources.failures and not _is_catalogue(Path(out)):
            return Summary(failures=sources.failures)
        facts = local.describe(over_time=over_time)
        with Journal(out, _card(facts, settings, over_time), watcher=watcher) as journal:
            plan = Plan(journal, sources.table, watcher.compared)
            summary = Summary(lost=journal.lost, layer=journal.card["layer"], failures=sources.failures)
            if prune and sources.failures:
                watcher.noted("no rows are taken out, since not all paths could be read: a disk may be away")
            plan.settle(summary, by_content=by_content, retry=retry, prune=prune and not sources.failures)
            to_do = plan.to_do
            chosen = _choose(runner, address, len(to_do))
            watcher.planned(summary, len(to_do), chosen)
            keeper = Keeper(journal, summary, watcher, part_s)
            if address is None:
                settings["device"] = facts["device"]
            try:
                if not len(to_do):
                    pass
                elif chosen == "ray":
                    from taggram.catalogue._ray import tables_on_ray

                    local.close()
                    watcher.starting(address)
                    on_ray = tables_on_ray(to_do, settings, journal.card, address=address, n_workers=n_workers)
                    with contextlib.closing(on_ray) as tables:
                        for table in tables:
                            keeper.add_table(table)
                else:
                    for row in _rows(to_do, local, settings, journal.card, n_workers, watcher):
                        keeper.add_row(row)
            finally:  # what is there when something ends the run is kept
                keeper.write()
                watcher.kept(journal.n_rows)
            summary.n_rows = journal.n_rows
            summary.n_errors = journal.n_errors
    return summary


def tagger_settings(settings: dict[str, Any] | None) -> dict[str, Any]:
    """Complete the settings of a tagger with what decides about results.

    Args:
        settings: those that were given.

    Returns:
        All of them; files by their whole paths, so that they are found from elsewhere too.
    """
    from taggram.audio import MAX_DURATION_S
    from taggram.models._registry import is_model_file
    from taggram.tagger import DEFAULT_MODEL

    usual: dict[str, Any] = {
        "model": DEFAULT_MODEL, "hop_s": None, "max_duration_s": MAX_DURATION_S, "device": "auto", "engine": "torch",
        "kit": None, "precision": "float32",
    }  # fmt: skip
    given = settings or {}
    if strange := sorted(given.keys() - usual.keys()):
        raise ConfigError(f"settings has {', '.join(strange)}; a catalogue knows {', '.join(usual)}.")
    settings = {**usual, **given}
    for name in ("model", "kit"):
        if settings[name] is not None and (name == "kit" or is_model_file(settings[name])):
            settings[name] = os.path.abspath(settings[name])  # noqa: PTH100 (links stay what they are)
    return settings


def _tasks(to_do: Any, *, over_time: bool, frames: bool = False) -> Iterator[Task]:
    for batch in to_do.to_batches(BATCH_ROWS):
        for row in batch.to_pylist():
            yield task_of(row, over_time=over_time, frames=frames)


def _rows(
    to_do: Any,
    local: CatalogueWorkers,
    settings: dict[str, Any],
    card: dict[str, Any],
    n_workers: int | None,
    watcher: Watcher,
) -> Iterator[Row]:
    """Make rows on this machine: in worker processes, or in two stages, frames there and scores here on a GPU."""
    over_time = card["settings"]["over_time"]
    if not goes_in_two(settings, has_gpu=False):
        yield from local.rows(_tasks(to_do, over_time=over_time), watcher.told)
        return
    local.close()
    with CatalogueWorkers({**settings, "device": "cpu"}, n_workers, ahead=FRAMES_AHEAD) as workers:
        workers.start()
        network = Network(settings, card)
        yield from network.all_finished(workers.rows(_tasks(to_do, over_time=over_time, frames=True), watcher.told))


def _check_runner(runner: str, address: str | None) -> None:
    check_choice("runner", runner, get_args(Runner))
    if address is not None and runner == "local":
        raise ConfigError("address is that of a Ray cluster, and runner is local; leave out one of them.")


def _check_place(out: str, *, resume: bool) -> None:
    if is_address(out):
        raise ConfigError(
            f"out is {printable(out)}; a catalogue is written to a folder of this machine, or a mounted one."
        )
    if not resume and (Path(out) / CARD).exists():
        raise ConfigError(f"{printable(out)} is a catalogue already; give another folder, or let it resume.")


def _is_catalogue(out: Path) -> bool:
    return any((out / name).exists() for name in (CARD, LAYERS))


def _choose(runner: str, address: str | None, n_to_do: int) -> str:
    """Say what runs it: "ray" or "local"."""
    from importlib.util import find_spec

    if address is not None or runner == "ray":
        return "ray"
    if runner == "auto" and n_to_do >= RAY_FROM and find_spec("ray") is not None:
        return "ray"
    return "local"


def _card(facts: dict[str, Any], settings: dict[str, Any], over_time: bool) -> dict[str, Any]:
    name = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in facts["model"])
    kept = {key: value for key, value in settings.items() if key != "device"}
    return {
        "layer": f"{name}-{facts['fingerprint'][:8]}", "model": facts["model"],
        "weights_sha256": facts["weights_sha256"], "fingerprint": facts["fingerprint"], "tags": facts["tags"],
        "columns": name_columns(facts["tags"]), "embedding": facts["embedding"],
        "settings": {**kept, "over_time": over_time, "patch_s": facts["patch_s"], "hop_s": facts["hop_s"]},
        "taggram": taggram.__version__,
    }  # fmt: skip
