"""`taggram train`: a recipe as it would run, or a training with its bar and a line an epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram.apps._data_screen import DataScreen
from taggram.apps._options import parse_options
from taggram.apps._progress import STOPS, say
from taggram.datasets._base import Part
from taggram.errors import ConfigError, printable
from taggram.learning._ranks import Ranks
from taggram.learning._run_folder import CONFIG
from taggram.learning.evaluate import Evaluation
from taggram.learning.recipe import Recipe
from taggram.learning.train import TrainResult, Watcher, train
from taggram.results import Failure

if TYPE_CHECKING:
    from taggram.learning._teller import FitProgress  # loads lightning, which may not be installed

TEXT_KEYS = (
    "data",
    "data.name",
    "data.root",
    "data.prepared",
    "data.split",
    "data.tags",
    "data.file",
    "data.label",
    "out",
    "device",
    "task",
)
SHOWN = ("macro_roc_auc", "macro_pr_auc", "accuracy")
SHORT = {"macro_roc_auc": "ROC-AUC", "macro_pr_auc": "PR-AUC", "accuracy": "accuracy"}


def run_training(name: str, words: list[str], *, show: bool, n_workers: int | None) -> bool:
    """Train as the words say, or print what would be done.

    Args:
        name: of the recipe.
        words: KEY=VALUE each.
        show: whether to print the whole recipe and do nothing.
        n_workers: processes that prepare and score; None is one a core.

    Returns:
        Whether every clip could be used.

    Raises:
        ConfigError: a key or value makes no sense, or `out` is missing.
        TaggramError: as `train` raises it.
    """
    changes = parse_options(words, as_text=TEXT_KEYS)
    out, device, resume = changes.pop("out", ""), changes.pop("device", "auto"), changes.pop("resume", False)
    recipe = Recipe.load(name, changes)
    if show:
        _show(recipe)
        return True
    if not isinstance(resume, bool):
        raise ConfigError(f"resume is {resume!r}; wanted true or false.")
    if not out:
        raise ConfigError("out is missing: the folder of the run, as out=RUN.")
    with _Screen(Path(recipe.data.root)) as screen:
        watcher = Watcher(
            say=say, made=screen.made, prepared=screen.prepared, report=screen.report,
            fitted=screen.fitted, scored=screen.scored,
        )  # fmt: skip
        if resume and Ranks.of_environment().is_first and not (Path(out) / CONFIG).exists():
            say(f"note: there is no run in {printable(out)} to go on with, so one begins")
        try:
            result = train(recipe, out, resume=resume, device=device, n_workers=n_workers, watcher=watcher)
        except STOPS as stop:
            ranks = Ranks.of_environment()
            if ranks.is_first or isinstance(stop, KeyboardInterrupt):  # torchrun ends all others in the same way
                by_other = ", or ended since another process of the training has" if ranks.n_ranks > 1 else ""
                say(f"interrupted{by_other}; the same words and resume=true go on with it")
            raise
    if result is not None:
        _print_result(result, recipe)
    return screen.is_whole


def scores_in_words(evaluation: Evaluation) -> str:
    """Write the main numbers of an evaluation on one line, with the split beside them."""
    numbers = evaluation.metrics()[evaluation.part]
    parts = []
    for name in SHOWN:
        if numbers.get(name) is not None:
            low, high = numbers["intervals"][name]
            span = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
            parts.append(f"{SHORT[name]} {numbers[name]:.4f}{span}")
    counts = f"{evaluation.n_clips:,} clips, {numbers['n_tags_scored']} of {len(evaluation.tags)} tags"
    return f"{evaluation.part}: {', '.join(parts) or 'no tag can be scored'}; {counts}; {evaluation.where}"


class _Screen(DataScreen):
    """What is shown while a training runs.

    Args:
        root: folder of the data, for the paths in messages.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._best = -1.0

    def fitted(self, progress: FitProgress) -> None:
        """Show a step, or print a line for an epoch."""
        if progress.figures is not None:
            self.make_way()
            self._say_epoch(progress, progress.figures)
            return
        speed = f"epoch {progress.epoch}/{progress.max_epochs}, {progress.sound_h_per_s:.3g} h of sound/s"
        if progress.share_here is not None and progress.share_here < 1:
            speed += f", {progress.share_here:.0%} of the files fetched"
        self.advance(progress.epoch, progress.n_steps, speed)

    def scored(self, part: Part, n_clips: int, failure: Failure | None) -> None:
        """Show a clip that was scored, or say why it could not be."""
        if failure is not None:
            self.make_way()
            self.is_whole = False
            say(f"{printable(failure.path)}: {failure.message}")
        self.advance(part, n_clips, f"scoring {part}")

    def _say_epoch(self, progress: FitProgress, figures: Mapping[str, float]) -> None:
        auc = figures["valid_auc"]
        mark = " *" if auc > self._best else ""
        self._best = max(self._best, auc)
        say(
            f"epoch {progress.epoch}/{progress.max_epochs}: loss {figures['train_loss']:.4f}, valid "
            f"{figures['valid_loss']:.4f}, ROC-AUC {auc:.4f}{mark}, lr {figures['lr']:.2g}, "
            f"{progress.sound_h_per_s:.3g} h of sound/s, {progress.waiting:.0%} waiting for data"
        )


def _show(recipe: Recipe) -> None:
    facts: dict[str, Any] = {"title": recipe.title, "source": recipe.source, "differs": recipe.differs}
    print(json.dumps({key: value for key, value in facts.items() if value} | recipe.to_dict(), indent=2))


def _print_result(result: TrainResult, recipe: Recipe) -> None:
    for evaluation in result.evaluations:
        print(scores_in_words(evaluation))
    for row in recipe.beside:
        values = ", ".join(f"{SHORT.get(name, name)} {value}" for name, value in row.values.items())
        print(f"published: {row.system}: {values}; {row.split}; {row.source}")
    names = ("report.html", "curves.png", "metrics.json", "model.safetensors")  # boosted trees leave fewer
    there = [name for name in names if (result.folder / name).exists()]
    print(f"{printable(str(result.folder))}: {', '.join(there)}")
