"""The worker process of a study: it makes the study anew, measures cells, and keeps each in a file of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taggram._files import written_aside
from taggram._processes import Do, FileTask, Message, Tell, peak_mb, serve
from taggram.errors import ConfigError, DatasetError, TrainingError, UnknownNameError
from taggram.studies import find_study
from taggram.studies._base import Cell, Study

CELLS = "cells"  # folder of what was measured


@dataclass(frozen=True)
class CellTask(FileTask):
    """A cell to be measured; `path` is its key.

    Attributes:
        cell: the fields of `Cell`.
    """

    cell: Mapping[str, Any]


def make_study(settings: Message) -> Study:
    """Make a study of plain values.

    Args:
        settings: study, config, folder and data.

    Returns:
        The study.
    """
    kind = find_study(settings["study"])
    return kind(kind.config_kind.of(settings["config"]), Path(settings["folder"]), settings["data"])


def cell_path(folder: Path, key: str) -> Path:
    """Say where what was measured in a cell is kept."""
    return folder / CELLS / f"{key}.json"


def measure_cell(study: Study, cell: Cell) -> dict[str, Any]:
    """Measure a cell and keep what comes of it.

    Args:
        study: whose cell it is.
        cell: which one.

    Returns:
        What was measured.

    Raises:
        TrainingError: it cannot be measured.
    """
    try:
        measured = study.measure(cell)
    except (ConfigError, DatasetError, UnknownNameError) as error:  # which would end the run, and with it all others
        raise TrainingError(str(error)) from error
    with written_aside(cell_path(study.folder, cell.key)) as aside:
        aside.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def _make(settings: Message) -> Do:
    import torch

    torch.set_num_threads(1)
    study = make_study(settings)

    def do(task: Message, _: Tell) -> Message:
        started_s = time.monotonic()
        measured = measure_cell(study, Cell(**task["cell"]))
        return {"measured": measured, "seconds": time.monotonic() - started_s, "peak_mb": peak_mb()}

    return do


if __name__ == "__main__":
    serve(_make)
