"""A grid of networks, each trained on sound with tags and scored by the mean over its patches: what such studies share.

A study says what each method trains (`net`); the settings make a published training shorter. A cell leaves its network
in `RUN/files/CELL`, from which later cells take it (`network_of`).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import torch
from torch import nn

from taggram._checks import check, check_choice, check_count, check_share
from taggram.learning._run_folder import MODEL, kept_epoch
from taggram.learning.config import FitConfig, Keep
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.studies._base import Cell, Row, Study, StudyConfig
from taggram.studies._drawn import valid_share
from taggram.studies._tagged_sound import figures_of, fit_cell, open_sound, prepare_sound, score_part

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData
    from taggram.learning.train import Watcher
    from taggram.models._contract import TaggingModel

SAMPLE_RATE = 22_050  # Hz
SCORE = "macro_roc_auc"
Area = tuple[float, float | None, float | None]
"""A mean ROC-AUC, and the ends of its interval where it has one."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """What a method trains.

    Attributes:
        recipe: the published training; it names the network, and options that `options` does not.
        options: of the network.
    """

    recipe: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainedGridConfig(StudyConfig):
    """The settings of such a study. Where 0 is said, the training is as published.

    Attributes:
        max_epochs: at most, of all stages together.
        n_stages: learning rates; each stage but the first begins with the best weights of the one before.
        patience: epochs without improvement that end a stage.
        batch_size: patches a step.
        n_clips: to learn from, drawn by the seed; 0 is all.
        n_patches: of each clip to learn from, from its start on; 0 is all.
        norm_momentum: share of a new batch in the running statistics of batch norms; 0 is the network's own. 0.1 is
            better where there are but a few hundred steps.
        keep: which weights are kept, and go on into the next stage; "valid_loss", as published, or "valid_auc".

    Raises:
        ConfigError: some value makes no sense.
    """

    max_epochs: int = 0
    n_stages: int = 0
    patience: int = 0
    batch_size: int = 0
    n_clips: int = 0
    n_patches: int = 0
    norm_momentum: float = 0.0
    keep: Keep = "valid_loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_epochs", "n_stages", "patience", "batch_size", "n_clips", "n_patches"):
            check_count(name, getattr(self, name), 0)
        check_share("norm_momentum", self.norm_momentum)
        check_choice("keep", self.keep, get_args(Keep))


class TrainedGrid(Study):
    """Macro ROC-AUC over tags, by the network.

    Attributes:
        sample_rates: in Hz, at which the networks of the grid hear.
    """

    sample_rates: ClassVar[tuple[int, ...]] = (SAMPLE_RATE,)

    @abc.abstractmethod
    def net(self, method: str) -> Net:
        """Say what a method trains.

        Args:
            method: its name.

        Returns:
            Recipe and options.
        """

    @classmethod
    def prepare(
        cls,
        config: Any,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the clips; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split, data.split=NAME")
        defaults = Recipe.load("samplecnn_mtt").data.options if config.data.name == "mtt" else None
        return prepare_sound(config.data, cls.sample_rates, watcher, n_workers, defaults=defaults)

    def networks(self, methods: Sequence[str] = ()) -> list[Cell]:
        """List the cells that train.

        Args:
            methods: where the settings name none; () is all.

        Returns:
            A cell for each method in each run.
        """
        chosen = self.config.methods or methods or self.config.METHODS
        return [Cell(method=method, run=run) for run in range(self.config.runs) for method in chosen]

    def phases(self) -> list[list[Cell]]:
        """List the cells."""
        return [self.networks()]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network; see `Study.measure`."""
        model, config = self.start(cell), self.fit(cell)
        sound = self.sound(model.frontend.sample_rate)
        test = sound.index("test")
        n_samples = model.frontend.n_samples_for(model.frontend.n_frames)
        trained = fit_cell(model, self._learnt_from(sound), self.files / cell.key, config, device=self.config.device)
        best = kept_epoch(trained.history, config.keep)
        return {
            **figures_of(score_part(trained.model, sound, device=self.config.device)),
            "parameters": n_parameters(trained.model),
            "n_patches": fmean(max(1, sound.n_samples(int(row)) // n_samples) for row in test),
            "valid_loss": best["valid_loss"],
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(trained.history),
            "n_stages": len({row["lr"] for row in trained.history}),
        }

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    def start(self, cell: Cell) -> TaggingModel:
        """Build the network of a cell with its first weights."""
        net = self.net(cell.method)
        recipe = Recipe.load(net.recipe)
        sound = self.sound(self.sample_rates[0])
        torch.manual_seed(self.seed_of("weights", cell.key))
        options = {**recipe.options, **net.options}
        model = create_model(recipe.network, n_tags=len(sound.tags), task=sound.task, **options)
        model.tags = sound.tags
        return model.train()

    def fit(self, cell: Cell) -> FitConfig:
        """Say how the network of a cell is trained: as published, but for what the settings say."""
        own: TrainedGridConfig = self.config
        config = Recipe.load(self.net(cell.method).recipe).fit
        sound = self.sound(self.sample_rates[0])
        schedule = replace(
            config.schedule,
            patience=own.patience or config.schedule.patience,
            n_drops=own.n_stages - 1 if own.n_stages else config.schedule.n_drops,
        )
        return replace(
            config,
            loss=config.loss if sound.task == "several" else "cross_entropy",
            max_epochs=own.max_epochs or config.max_epochs,
            batch_size=own.batch_size or config.batch_size,
            patches_per_track=own.n_patches or config.patches_per_track,
            norm_momentum=own.norm_momentum or config.norm_momentum,
            keep=own.keep,
            schedule=schedule,
            valid_share=valid_share(sound),
            keep_memory=True,
            seed=self.seed_of("training", cell.key),
        )

    def sound(self, sample_rate: int = SAMPLE_RATE) -> PreparedData:
        """Open the clips at a rate."""
        return open_sound(self.data, sample_rate)

    def network_of(self, cell: Cell) -> Path:
        """Say where the trained network of a cell is kept; `taggram.models._saved.load_model` reads it."""
        return self.files / cell.key / MODEL

    def _learnt_from(self, sound: PreparedData) -> PreparedData:
        """Leave out clips to learn from, where there are to be fewer; the same ones for all networks."""
        rows = sound.index("train")
        if not 0 < self.config.n_clips < len(rows):
            return sound
        drawn = np.random.default_rng(self.seed_of("clips")).permutation(rows)
        return sound.with_train(np.sort(drawn[: self.config.n_clips]))

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what was made smaller than published."""
        own = self.config
        words = {
            "max_epochs": "at most {:,} epochs",
            "n_stages": "learning rates in {:,} stages",
            "patience": "a patience of {:,}",
            "batch_size": "batches of {:,}",
            "n_clips": "at most {:,} clips to learn from",
            "n_patches": "at most {:,} patches of each clip to learn from",
            "norm_momentum": "batch norms of momentum {:g}",
        }
        told = [text.format(getattr(own, name)) for name, text in words.items() if getattr(own, name)]
        told += [f"the weights of the best {own.keep}"] if own.keep != "valid_loss" else []
        return [f"Other than published: {', '.join(told)}."] if told else []


def n_parameters(model: nn.Module, *, with_norms: bool = True) -> int:
    """Count what a network learns.

    Args:
        model: the network.
        with_norms: whether the scales and shifts of batch norms count.

    Returns:
        How many numbers.
    """
    return sum(
        parameter.numel()
        for module in model.modules()
        if with_norms or not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        for parameter in module.parameters(recurse=False)
    )


def mean_by_method(rows: Sequence[Row], name: str = SCORE) -> dict[str, float]:
    """Give the mean of a figure over the runs of each method.

    Args:
        rows: measured cells; those without the figure do not count.
        name: of the figure.

    Returns:
        By method, in the order of the rows.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if name in row:
            found.setdefault(row["method"], []).append(float(row[name]))
    return {method: fmean(values) for method, values in found.items()}


def areas_of(rows: Sequence[Row]) -> dict[str, Area]:
    """Give the mean ROC-AUC of each method, with its interval over clips where there is one run.

    Args:
        rows: measured cells.

    Returns:
        By method, in the order of the rows.
    """
    found: dict[str, Area] = {}
    for method, area in mean_by_method(rows).items():
        of_net = [row for row in rows if row["method"] == method and SCORE in row]
        low, high = of_net[0][f"{SCORE}_interval"] if len(of_net) == 1 else (None, None)
        found[method] = (area, low, high)
    return found


def with_interval(rows: Sequence[Row], name: str = SCORE) -> str:
    """Write the mean of an area over runs, and the interval of the clips where there is one run.

    Args:
        rows: of one method.
        name: of the area.

    Returns:
        Such as "0.871 (0.860 to 0.882)".
    """
    mean = f"{fmean(float(row[name]) for row in rows):.3f}"
    if len(rows) > 1:
        deviation = float(np.std([float(row[name]) for row in rows]))
        return f"{mean} ± {deviation:.3f}"
    low, high = rows[0][f"{name}_interval"]
    return mean if low is None else f"{mean} ({low:.3f} to {high:.3f})"
