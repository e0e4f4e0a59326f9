"""A study from its settings to its run folder: cells in processes side by side, kept one by one, then tables.

    RUN/config.json     the settings, and what the data was
    RUN/cells/          a JSON file a cell, written whole or not at all
    RUN/files/          what the study keeps, such as trained networks
    RUN/results.json    {"study", "data", "cells": [{"method", "fold", "run", ...}], "published": [...], ...}
    RUN/table.md, *.png
    RUN/memory.json     {"peak_mb"}, the most memory that one of the processes ever held

A second call with the same folder measures what is missing alone, also after a kill.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import taggram
from taggram._files import only_writer, written_aside
from taggram._processes import Processes, n_cores
from taggram.datasets import find_dataset
from taggram.datasets._folds import number_of
from taggram.errors import ConfigError, DatasetError, TrainingError, printable
from taggram.learning.train import Watcher
from taggram.results import Failure
from taggram.studies import find_study
from taggram.studies._base import Cell, Claim, Row, Study, StudyConfig
from taggram.studies._worker import CELLS, CellTask, cell_path, make_study
from taggram.tagger import find_device

CONFIG, RESULTS, TABLE, MEMORY = "config.json", "results.json", "table.md", "memory.json"
LOCK = ".lock"
NEVER_S = float("inf")  # a cell may take hours

Measured = Callable[[Cell, Mapping[str, Any] | Failure, int, int, float | None], None]
"""Is told a cell, what was measured in it or why it could not be, how many of how many cells are done, and how many
seconds are left, or None where that is not known yet."""


@dataclass(frozen=True)
class StudyResult:
    """What a study left.

    Attributes:
        folder: of the run.
        results: what `results.json` holds.
        table: what `table.md` holds.
        pictures: their files.
        failures: of cells that could not be measured.
        peak_mb: the most memory that one of the processes ever held, in megabytes; None where no cell was measured, or
            the system does not say.
    """

    folder: Path
    results: dict[str, Any]
    table: str
    pictures: tuple[Path, ...]
    failures: tuple[Failure, ...]
    peak_mb: float | None = None


def run_study(
    name: str,
    values: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    n_workers: int | None = None,
    watcher: Watcher | None = None,
    told: Measured | None = None,
) -> StudyResult:
    """Run a study, or go on with it.

    Args:
        name: one of `taggram.studies.list_studies()`.
        values: its settings by key, such as {"data": "csv", "data.root": "sounds", "runs": 3}.
        out: folder of the run: new, empty, or that of an earlier call, of which all that was measured is taken over.
        n_workers: processes that measure side by side; None is one a core.
        watcher: is told what happens while the data is made ready.
        told: is told of the cells.

    Returns:
        The results.

    Raises:
        UnknownNameError: there is no such study, data set or split.
        ConfigError: a setting makes no sense.
        DatasetError: the data is missing or does not fit, or another process writes into the folder.
        TrainingError: the folder holds something else.
    """
    kind = find_study(name)
    config, folder, watcher = kind.config_kind.of(values), Path(out), watcher or Watcher()
    find_device(config.device)
    _make_folders(folder, kind)
    with only_writer(folder, LOCK):
        _check_same(folder, config)
        try:
            data = kind.prepare(config, folder, watcher, n_workers)
            settings = {"study": name, "config": config.to_dict(), "folder": str(folder.resolve()), "data": data}
            study = make_study(json.loads(json.dumps(settings)))
            if not any(cell.is_scored for cell in _wanted(study).values()):
                raise ConfigError(f"these settings leave {name} nothing to measure; `--show` says what they mean.")
            _begin(folder, study)
        except BaseException:
            _leave_no_empty_folder(folder)
            raise
        failures = _measure_all(study, settings, n_workers or n_cores(), watcher, told or (lambda *_: None))
        return _write(study, failures)


# -- inside ------------------------------------------------------------------------------------------------------------


def _make_folders(folder: Path, kind: type[Study]) -> None:
    """Make the run folder, or refuse one that holds something else."""
    try:
        inside = {path.name for path in folder.iterdir()} - {LOCK} if folder.exists() else set()
        if inside and CONFIG not in inside and CELLS not in inside:
            raise TrainingError(f"{printable(str(folder))} holds something else; name a new or an empty folder.")
        if CONFIG in inside and (came := _read_config(folder).get("study")) != kind.name:
            raise TrainingError(f"{printable(str(folder))} holds {came}, and not {kind.name}; name another folder.")
        for name in (CELLS, "files"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{printable(str(folder))}: {error.strerror or error}.") from error


def _leave_no_empty_folder(folder: Path) -> None:
    """Take a run folder away in which nothing was begun."""
    with contextlib.suppress(OSError):  # of the first that is not empty
        if not (folder / CONFIG).exists():
            for written in folder.glob("*.json"):  # by `prepare`
                written.unlink()
            for name in (CELLS, "files"):
                (folder / name).rmdir()
            (folder / LOCK).unlink()
            folder.rmdir()


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{printable(str(folder / CONFIG))} cannot be read ({error}); name another folder."
        ) from error
    return config


def _check_same(folder: Path, config: StudyConfig, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Refuse a folder that was begun with other settings or, where its facts are known already, on other data.

    Args:
        folder: of the run.
        config: the settings now.
        facts: of the data now.

    Returns:
        What must stay as it is.
    """
    fixed: dict[str, Any] = json.loads(json.dumps({**config.fixed(), "data": facts}))
    there: dict[str, Any] = _read_config(folder).get("fixed", {}) if (folder / CONFIG).exists() else fixed
    if facts is None:
        fixed["data"] = there.get("data")
    if fixed["data"] and there["data"]:  # sound may be needed at other rates now; those of both calls must agree
        fixed["data"]["sounds"] = {**there["data"].get("sounds", {}), **fixed["data"].get("sounds", {})}
        there["data"]["sounds"] = {**fixed["data"]["sounds"], **there["data"].get("sounds", {})}
    for name in sorted({*fixed, *there}):
        if (now := fixed.get(name)) != (then := there.get(name)):
            raise TrainingError(
                f"{printable(str(folder))} was begun with {_what_differs(name, then, now)}; what was measured there "
                "cannot stand beside it. Name another folder."
            )
    return fixed


def _what_differs(name: str, then: Any, now: Any) -> str:
    """Say how a setting was, and how it is now; of facts about data, only those that differ."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        key = min(keys, key=lambda key: ("sha256" in key, key == "sounds"))  # the rest follows from counts and names
        if key in ("sounds", "split_sha256"):
            return "other sound" if key == "sounds" else "another list of clips"
        return _what_differs(f"{name}.{key}", then.get(key), now.get(key))
    return f"{name} = {then!r}, and now it is {now!r}"


def _begin(folder: Path, study: Study) -> None:
    """Keep the settings, or compare them with those that the folder was begun with."""
    facts = {name: value for name, value in study.data_facts().items() if name not in ("title", "words")}  # for people
    fixed, settings = _check_same(folder, study.config, facts), study.config.to_dict()
    known = {"study": study.name, "version": taggram.__version__, "fixed": fixed, "settings": settings}
    _write_json(folder / CONFIG, known)


def _wanted(study: Study) -> dict[str, Cell]:
    """Give all cells by their keys."""
    return {cell.key: cell for phase in study.phases() for cell in phase}


def _measure_all(
    study: Study, settings: dict[str, Any], n_workers: int, watcher: Watcher, told: Measured
) -> list[Failure]:
    """Measure the cells that are missing, phase by phase."""
    wanted = _wanted(study)
    missing = {key for key in wanted if _read_cell(study.folder, key) is None}
    watcher.say(f"{len(missing)} cells to measure, {n_workers} at a time")
    n_done, failures = len(wanted) - len(missing), []
    lock = threading.Lock()

    pace = _Pace([wanted[key] for key in missing], n_workers)

    def tell(cell: Cell, result: Mapping[str, Any] | Failure, seconds: float | None = None) -> None:
        nonlocal n_done
        with lock:
            n_done += 1
            told(cell, result, n_done, len(wanted), pace.left_s(cell, seconds))

    def read(task: CellTask, message: dict[str, Any]) -> dict[str, Any]:
        with lock:
            _keep_peak(study.folder, message["peak_mb"])
        measured: dict[str, Any] = message["measured"]
        tell(wanted[task.path], measured, message["seconds"])  # at once, and not only when it is next in order
        return measured

    with Processes(
        "taggram.studies._worker", settings, read, n_workers,
        hang_s=NEVER_S, ahead=max(1, len(missing)), at_work="the process that measured it",
    ) as processes:  # fmt: skip
        for phase in study.phases():
            cells = [cell for cell in phase if cell.key in missing]
            tasks = [CellTask(cell.key, dataclasses.asdict(cell)) for cell in cells]
            for cell, result in zip(cells, processes.run(tasks)):
                if isinstance(result, Failure):
                    failures.append(result)
                    tell(cell, result)
    return failures


def _keep_peak(folder: Path, peak_mb: float | None) -> None:
    """Write down how much memory a process held, where none held more before."""
    if peak_mb is not None and peak_mb > (_peak(folder) or 0.0):
        _write_json(folder / MEMORY, {"peak_mb": peak_mb})


def _peak(folder: Path) -> float | None:
    path = folder / MEMORY
    return float(json.loads(path.read_text(encoding="utf-8"))["peak_mb"]) if path.exists() else None


class _Pace:
    """How long the cells that are left will take, by those of the same kind that are done.

    Args:
        cells: to be measured.
        n_workers: so many at once.
    """

    def __init__(self, cells: Iterable[Cell], n_workers: int) -> None:
        self._n_left = Counter(map(self._kind, cells))
        self._n_workers = n_workers
        self._seconds: dict[str, list[float]] = {}

    def left_s(self, cell: Cell, seconds: float | None) -> float | None:
        """Take in a cell that is done, and give the seconds that are left; None where some kind is not known yet."""
        kind = self._kind(cell)
        self._n_left[kind] -= 1
        if seconds is not None:
            self._seconds.setdefault(kind, []).append(seconds)
        left = {kind: n for kind, n in self._n_left.items() if n}
        if not all(kind in self._seconds for kind in left):
            return None
        return sum(n * fmean(self._seconds[kind]) for kind, n in left.items()) / self._n_workers

    @staticmethod
    def _kind(cell: Cell) -> str:
        return f"{cell.method} {sorted(cell.details.items())}"


def _read_cell(folder: Path, key: str) -> dict[str, Any] | None:
    """Read what was measured in a cell, or None where it has to be measured."""
    try:
        measured: dict[str, Any] = json.loads(cell_path(folder, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return measured


def _write(study: Study, failures: list[Failure]) -> StudyResult:
    """Write results, table and pictures."""
    cells = [cell for phase in study.phases() for cell in phase if cell.is_scored]
    found = [(cell, _read_cell(study.folder, cell.key)) for cell in cells]
    rows = study.rows([(cell, measured) for cell, measured in found if measured is not None])
    claims = study.claims(rows)
    results = {
        "study": study.name,
        "data": study.data_facts(),
        "settings": study.config.to_dict(),
        "cells": rows,
        "published": [dict(row) for row in study.published],
        "claims": [dataclasses.asdict(claim) for claim in claims],
        "failures": [dataclasses.asdict(failure) for failure in failures],
    }
    _write_json(study.folder / RESULTS, results)
    text = page_of(study, rows, len(cells))
    with written_aside(study.folder / TABLE) as aside:
        aside.write_text(text, encoding="utf-8")
    pictures = []
    for name, figure in study.draw(rows).items() if rows else ():
        pictures.append(study.folder / f"{name}.png")
        with written_aside(pictures[-1]) as aside:
            figure.savefig(aside, format="png", dpi=150)
    return StudyResult(study.folder, results, text, tuple(pictures), tuple(failures), _peak(study.folder))


def page_of(study: Study, rows: list[Row], n_cells: int) -> str:
    """Write the page with the tables of a study.

    Args:
        study: whose they are.
        rows: what was measured.
        n_cells: how many cells there should be.

    Returns:
        Markdown.
    """
    facts = study.data_facts()
    is_papers = _is_papers(study, facts)
    where = "" if is_papers or not study.paper else ", which is not the data of the paper"
    missing = [f"{n_cells - len(rows)} of {n_cells} cells are missing."] if len(rows) < n_cells else []
    there = {path.stem for path in (study.folder / CELLS).glob("*.json")}
    if n_earlier := len(there - _wanted(study).keys()):
        cells = "1 cell" if n_earlier == 1 else f"{n_earlier} cells"
        missing.append(f"Not asked for now, and not shown: {cells} that earlier calls measured.")
    lines = [
        f"# {study.title}, on {facts['title']}{where}",
        f"{facts['words']} {study.paper}.".removesuffix(" ."),
        *[f"- {remark}" for remark in [*study.remarks(), *missing]],
        *[table.markdown() for table in study.tables(rows)],
    ]
    if claims := study.claims(rows):
        marks = {True: "shows", False: "does not show", None: "cannot be told"}
        lines.append("## What the paper says")
        lines.append("\n".join(_claim_line(one, marks[one.shows]) for one in claims))
    return "\n\n".join(lines) + "\n"


def _claim_line(claim: Claim, mark: str) -> str:
    """Write a claim, what became of it, and the figures."""
    if not claim.figures:
        return f"- {claim.words}: {'was not measured' if claim.shows is None else mark}."
    return f"- {claim.words}: {mark}. {claim.figures}"


def _is_papers(study: Study, facts: Mapping[str, Any]) -> bool:
    """Tell whether a paper's data is divided as there: by its own split, the first of the card, or by its folds."""
    if (told := study.is_papers_data()) is not None:
        return told
    if facts["name"] not in study.paper_data:
        return False
    first, split = next(iter(find_dataset(facts["name"]).card.splits)), facts.get("split") or ""
    if study.paper_splits:
        return split in study.paper_splits
    return not split or split == first or (number_of(first) is not None and number_of(split) is not None)


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
