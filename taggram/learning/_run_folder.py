"""The folder of a training run: its configuration, the figures of its epochs, and what is kept to go on from."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._files import written_aside
from taggram.errors import ConfigError, TrainingError, printable
from taggram.learning.config import FitConfig, Keep

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

CONFIG, HISTORY, CURVES, MODEL, LAST = "config.json", "metrics.csv", "curves.png", "model.safetensors", "last.ckpt"
FIGURES = ("epoch", "lr", "train_loss", "valid_loss", "valid_auc", "valid_accuracy")
IS_NO_SETTING = ("version", "recipe")
MAY_CHANGE = {  # settings that a run may go on with differently, since no number depends on them before they matter
    ("fit", name) for name in ("max_epochs", "max_steps", "max_minutes", "n_loaders", "keep_memory", "checkpoint_steps")
} | {("data", "cache_gb")}  # fmt: skip


def refuse_run(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that holds a run, unless that is to go on.

    Args:
        folder: of the run.
        resume: whether a run may be there.

    Raises:
        TrainingError: the folder holds a run, and `resume` is not set; or it holds something else.
    """
    holds_run = (folder / CONFIG).exists()
    if holds_run and not resume:
        raise TrainingError(
            f"{printable(str(folder))} holds a run already; name another folder, or go on with it by resume=true."
        )
    if not holds_run and folder.is_dir() and any(folder.iterdir()):
        raise TrainingError(f"{printable(str(folder))} holds something else; name a new or an empty folder as out=DIR.")


def begin_run(folder: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Make the folder of a new run, or check that the run in it is the one that is to go on.

    Args:
        folder: of the run.
        facts: what it follows from, by section: plain values.
        resume: whether a run may be there.

    Raises:
        TrainingError: the folder holds a run, and `resume` is not set.
        ConfigError: the run in it has other settings.
        OSError: the folder cannot be written to.
    """
    refuse_run(folder, resume=resume)
    path = folder / CONFIG
    if path.exists():
        _refuse_other_settings(folder, facts)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        aside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """Read what a run follows from.

    Args:
        folder: of the run.

    Returns:
        The facts by section.

    Raises:
        ConfigError: there is no run in the folder, or its configuration is damaged.
    """
    path = folder / CONFIG
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{printable(str(path))}: {error.strerror}; `taggram train` makes such a folder.") from error
    except ValueError as error:
        raise ConfigError(f"{printable(str(path))} is damaged ({error}); name another folder.") from error
    return known


def read_history(folder: Path) -> list[dict[str, float]]:
    """Read the figures of each epoch of a run.

    Args:
        folder: of the run.

    Returns:
        A dict an epoch, in order; none where there was no epoch yet.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def kept_epoch(history: Sequence[Mapping[str, float]], keep: Keep) -> dict[str, float]:
    """Find the epoch whose weights a training kept.

    Args:
        history: the figures of all epochs, at least one.
        keep: which weights are kept.

    Returns:
        Its figures. Between equals the loss decides, as where no ROC-AUC is known.
    """
    if keep == "last":
        return dict(history[-1])

    sign = 1.0 if keep == "valid_loss" else -1.0
    orders = [(0.0 if math.isnan(row[keep]) else sign * row[keep], row["valid_loss"]) for row in history]
    return dict(history[orders.index(min(orders))])


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write the figures of all epochs, whole or not at all."""
    with written_aside(folder / HISTORY) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIGURES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def draw_run(folder: Path, history: list[dict[str, float]], title: str) -> None:
    """Draw the figures of all epochs into the folder of the run; without an epoch there is nothing to draw."""
    if not history:
        return
    from taggram.learning._pictures import draw_training

    with written_aside(folder / CURVES) as aside:
        draw_training(history, title).savefig(aside, format="png", dpi=120)


def _refuse_other_settings(folder: Path, facts: Mapping[str, Any]) -> None:
    known, wanted = _flat(read_config(folder)), _flat(json.loads(json.dumps(facts)))
    # A setting that came later stands in no earlier run, and means there what it means if it is not said.
    usual = _flat(json.loads(json.dumps({"fit": FitConfig().to_dict()})))
    different = [
        ".".join(filter(None, key))
        for key in dict.fromkeys([*wanted, *known])
        if key not in MAY_CHANGE and known.get(key, usual.get(key)) != wanted.get(key, usual.get(key))
    ]
    if different:
        raise ConfigError(
            f"the run in {printable(str(folder))} has other settings, {', '.join(different)}; give those."
        )


def _flat(facts: Mapping[str, Any], *place: str) -> dict[tuple[str, ...], Any]:
    """Give each setting by section and name; what stands in no section has no name."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in facts.items():
        if not place and name in IS_NO_SETTING:
            continue
        if isinstance(value, dict):
            flat |= _flat(value, *place, name)
        else:
            flat[(*place, name) if place else (name, "")] = value
    return flat


def data_facts(data: PreparedData) -> dict[str, Any]:
    """Say which data it is: name, split and its hash, tags."""
    return {name: data.card[name] for name in ("name", "split", "split_sha256", "tags", "task", "sample_rate")}
