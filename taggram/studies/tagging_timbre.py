"""Tagging: networks with filters of twelve shapes, one with squares, and one whose filters span all mels, tag music.

Source: Pons, Slizovskaia, Gong, Gómez and Serra, "Timbre analysis of music audio signals with convolutional neural
    networks", EUSIPCO 2017, arXiv 1703.06697, the experiment on MagnaTagATune; code of
    github.com/jordipons/EUSIPCO2017.
Differs: the last, smaller batch of an epoch is not dropped. For training, a patch becomes a spectrogram by itself, so
    that its first and last frames reflect it, and not what stands beside it in the clip. For what differs in the
    networks see `taggram/models/timbre_mtt.py`.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._checks import check, check_choice, check_count
from taggram._files import written_aside
from taggram.errors import DatasetError
from taggram.learning import metrics as m
from taggram.learning.clip_patches import patches_of_sound
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import scores_of
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.models._blocks import Standardize
from taggram.models._contract import TaggingModel
from taggram.models.timbre_mtt import MTT_MEL
from taggram.studies._base import Cell, Claim, Row, Study, StudyConfig, of_method
from taggram.studies._drawn import valid_share
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import fit_cell, open_sound, prepare_sound
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.frontends import Frontend
    from taggram.learning.train import Watcher

N_FIRST = 2000  # patches that the source takes mean and deviation from
CHORAL = "choral"  # the last tag of the source, which its scores leave out
STATISTICS = "statistics"  # the cell that makes what all others need
TABLE = "EUSIPCO 2017, table of music auto-tagging, as transcribed by others"
CHOI = "Choi et al., FCN-4"
Statistics = Literal["train", "first_2000"]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Net:
    """What a method trains.

    Attributes:
        title: as the paper has it.
        recipe: how it is trained.
        network: what is trained.
        factor: how many times the filters of the smallest network there are; None where there is no such option.
    """

    title: str
    recipe: str = "timbre_mtt"
    network: str = "timbre_mtt"
    factor: int | None = None


NETS = {
    "small_rectangular": Net(title="small-rectangular", recipe="small_rectangular_mtt", network="small_rectangular"),
    "dieleman": Net(title="Dieleman and Schrauwen", network="dieleman"),
    "timbre": Net(title="proposed", factor=1),
    "timbre_x2": Net(title="proposed x 2", recipe="timbre_mtt_x2", factor=2),
    "timbre_x4": Net(title="proposed x 4", recipe="timbre_mtt_x2", factor=4),
}
EXTRA = "timbre_x4"  # in the code, and not in the paper


@dataclass(frozen=True, kw_only=True)
class TaggingTimbreConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows; the last one is measured only if it is asked for.
        statistics: of which patches the bands are scaled by mean and deviation: all of "train", or the "first_2000", as
            published.
        optimizer: "sgd", as published, or "adam", the other one in the code, which keeps its rate and stops after more
            than 20 epochs without improvement.
        max_epochs: at most; 0 is as published, 200.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(NETS)

    statistics: Statistics = "train"
    optimizer: Literal["sgd", "adam"] = "sgd"
    max_epochs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("statistics", self.statistics, ("train", "first_2000"))
        check_choice("optimizer", self.optimizer, ("sgd", "adam"))
        check_count("max_epochs", self.max_epochs, 0)


class TaggingTimbre(Study):
    """ROC-AUC over tags, by the network."""

    name = "tagging_timbre"
    title = "Filters shaped for timbre: tagging music"
    paper = "Pons et al., EUSIPCO 2017, the experiment on MagnaTagATune"
    paper_data = ("mtt",)
    config_kind = TaggingTimbreConfig
    published = tuple(
        {"method": method, "roc_auc": roc_auc, "parameters": parameters, "source": TABLE}
        for method, roc_auc, parameters in (
            ("small_rectangular", 0.865, "75k"),
            ("dieleman", 0.881, "75k"),
            ("timbre", 0.889, "75k"),
            ("timbre_x2", 0.893, "191k"),
            (CHOI, 0.894, "22M"),
        )
    )

    @classmethod
    def prepare(
        cls,
        config: TaggingTimbreConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the clips; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split, data.split=NAME")
        defaults = Recipe.load("timbre_mtt").data.options if config.data.name == "mtt" else {}
        return prepare_sound(config.data, [MTT_MEL.sample_rate], watcher, n_workers, defaults=defaults)

    def phases(self) -> list[list[Cell]]:
        """List the cells: mean and deviation of the bands, then a network in a run each."""
        methods = dict.fromkeys(self.config.methods or [name for name in self.config.METHODS if name != EXTRA])
        cells = [Cell(method=method, run=run) for run in range(self.config.runs) for method in methods]
        return [[Cell(method=STATISTICS, is_scored=False)], cells]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network; see `Study.measure`."""
        if cell.method == STATISTICS:
            return {"n_bands": len(self.statistics[0])}
        model = self.start(cell)
        trained = fit_cell(model, self.sound, self.files / cell.key, self.fit(cell), device=self.config.device)
        figures = min(trained.history, key=lambda one: one["valid_loss"])
        return {
            **self._tested(trained.model),
            "valid_loss": figures["valid_loss"],
            "best_epoch": int(figures["epoch"]),
            "n_epochs": len(trained.history),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    def _tested(self, model: TaggingModel) -> dict[str, Any]:
        """Score the clips for testing, each by the mean over its patches, and all patches by themselves."""
        device, rows = find_device(self.config.device), self.sound.index("test")
        frontend = copy.deepcopy(model.frontend).cpu()  # its own, as the network moves to where it works
        scored = [scores_of(model, self._patches(frontend, int(row)), device=device).numpy() for row in rows]
        labels = self.sound.labels(rows) > 0
        clips = np.stack([of_clip.mean(axis=0, dtype=np.float64) for of_clip in scored])
        by_tag = m.roc_auc(clips, labels)
        if np.isnan(by_tag).all():
            raise DatasetError("no tag can be scored: some clip for testing must have it, and some must not.")
        patch_labels = np.repeat(labels, [len(of_clip) for of_clip in scored], axis=0)
        kept = [tag != CHORAL for tag in self.sound.tags]
        return {
            "roc_auc": m.mean_over_tags(by_tag),
            "roc_auc_without_choral": None if all(kept) else m.mean_over_tags(by_tag[kept]),
            "pr_auc": m.mean_over_tags(m.average_precision(clips, labels)),
            "patch_roc_auc": m.mean_over_tags(m.roc_auc(np.concatenate(scored), patch_labels)),
            "n_tags": int((~np.isnan(by_tag)).sum()),
            "by_tag": {tag: None if math.isnan(auc) else float(auc) for tag, auc in zip(self.sound.tags, by_tag)},
        }

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def sound(self) -> PreparedData:
        """The sound of the clips."""
        return open_sound(self.data, MTT_MEL.sample_rate)

    @functools.cached_property
    def statistics(self) -> tuple[Floats, Floats]:
        """Mean and deviation of each band, (mels,) each, computed once for all processes."""
        path = self.files / f"{STATISTICS}-{self.config.statistics}.npz"
        if path.exists():
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return file["mean"], file["std"]
        most = N_FIRST if self.config.statistics == "first_2000" else None
        mean, std = band_statistics(self._training_patches(), most)
        with written_aside(path) as aside, aside.open("wb") as file_aside:
            np.savez(file_aside, mean=mean, std=std)
        return mean, std

    def _training_patches(self) -> Iterator[Tensor]:
        frontend = create_model("timbre_mtt").frontend
        for row in self.sound.index("train"):
            yield self._patches(frontend, int(row))

    def _patches(self, frontend: Frontend, row: int) -> Tensor:
        """Read the patches of a clip, side by side: (patches, 1, mels, frames)."""
        return patches_of_sound(frontend, self.sound.whole(row))

    def fit(self, cell: Cell) -> FitConfig:
        """Say how a cell's network is trained."""
        config = Recipe.load(NETS[cell.method].recipe).fit
        if self.config.optimizer == "adam":
            schedule = replace(config.schedule, rule="constant", stop_after=20)
            config = replace(config, optimizer="adam", lr=0.001, schedule=schedule)
        if self.sound.task == "one":
            config = replace(config, loss="cross_entropy")
        return replace(
            config,
            max_epochs=self.config.max_epochs or config.max_epochs,
            valid_share=valid_share(self.sound),
            seed=self.seed_of("training", cell.key),
        )

    def start(self, cell: Cell) -> TaggingModel:
        """Build a cell's network with its first weights, and with mean and deviation of the bands."""
        net = NETS[cell.method]
        torch.manual_seed(self.seed_of("weights", cell.key))
        options = {} if net.factor is None else {"factor": net.factor}
        model = create_model(net.network, n_tags=len(self.sound.tags), task=self.sound.task, **options)
        model.tags = self.sound.tags
        if isinstance(model.standardize, Standardize):
            model.standardize.set_statistics(*map(torch.from_numpy, self.statistics))
        return model.train()

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        taken = "all patches for training" if config.statistics == "train" else "the first 2,000 patches for training"
        told = [f"Bands are scaled by mean and deviation of {taken}. Optimiser: {config.optimizer}."]
        return told + ([f"At most {config.max_epochs} epochs."] if config.max_epochs else [])

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the table of networks."""
        published = {str(row["method"]): row for row in self.published}
        has_choral = any(row["roc_auc_without_choral"] is not None for row in rows)
        names = ["roc_auc", *(["roc_auc_without_choral"] if has_choral else []), "pr_auc", "patch_roc_auc"]
        titles = {"roc_auc": "ROC-AUC", "roc_auc_without_choral": f"without {CHORAL}", "pr_auc": "PR-AUC"}
        lines = []
        for method, net in NETS.items():
            if found := of_method(rows, method):
                ours = [_mean(found, name) for name in names]
                known = published.get(method)
                beside = [f"{known['roc_auc']:.3f}", str(known["parameters"])] if known else ["-", "-"]
                lines.append([net.title, f"{found[0]['parameters']:,}", *ours, *beside])
        lines.append([CHOI, "-", *["-" for _ in names], "0.894", "22M"])
        columns = ("network", "parameters", *[titles.get(name, "ROC-AUC of patches") for name in names])
        note = f"Published: {TABLE}, on MagnaTagATune. Whether it has 49 or 50 tags is not known."
        return [Table("Tagging by network", (*columns, "published ROC-AUC", "published parameters"), lines, note)]

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the order of the paper's table against what was measured."""
        return [
            _claim(rows, "filters of many shapes tag better than squares, with as many weights", "small_rectangular"),
            _claim(rows, "they tag better than filters over all mels, with as many weights", "dieleman"),
            _claim(rows, "twice as many filters tag better", "timbre", better="timbre_x2"),
        ]

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw ROC-AUC against size."""
        from taggram.studies._pictures import draw_sizes

        facts = self.data_facts()
        is_papers = facts["name"] in self.paper_data
        known = {str(row["method"]): float(row["roc_auc"]) for row in self.published if is_papers}
        found = {method: of_method(rows, method) for method in NETS}
        sizes = {
            method: (int(of_net[0]["parameters"]), [float(row["roc_auc"]) for row in of_net])
            for method, of_net in found.items()
            if of_net
        }
        title = f"ROC-AUC against size, {facts['title']}"
        return {"sizes": draw_sizes(sizes, title=title, published=known, unit="macro ROC-AUC, %")}


def band_statistics(clips: Iterator[Tensor], most: int | None = None) -> tuple[Floats, Floats]:
    """Compute mean and deviation of each band over the patches of clips.

    Args:
        clips: (patches, 1, mels, frames) each; they are read until there are enough.
        most: the first so many patches count; None is all.

    Returns:
        Mean and population deviation, (mels,) float32 each; 1 where a band never changes.
    """
    n_patches, n_values = 0, 0
    total = square = np.zeros(1)
    for patches in clips:
        values = patches[: None if most is None else most - n_patches].double().numpy()
        total = total + values.sum(axis=(0, 1, 3))
        square = square + np.square(values).sum(axis=(0, 1, 3))
        n_patches, n_values = n_patches + len(values), n_values + values[:, :, 0].size
        if n_patches == most:
            break
    mean = total / n_values
    std = np.sqrt(np.maximum(square / n_values - np.square(mean), 0))
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


# -- inside ------------------------------------------------------------------------------------------------------------


def _mean(rows: Sequence[Row], name: str) -> str:
    """Write the mean of a figure over runs."""
    return f"{fmean(float(row[name]) for row in rows):.3f}"


def _claim(rows: Sequence[Row], words: str, worse: str, *, better: str = "timbre") -> Claim:
    """Compare the ROC-AUC of two methods."""
    found = {method: [float(row["roc_auc"]) for row in of_method(rows, method)] for method in (better, worse)}
    if not all(found.values()):
        return Claim(words, None)
    means = {method: fmean(values) for method, values in found.items()}
    figures = ", ".join(f"{method} {mean:.3f}" for method, mean in means.items())
    return Claim(words, means[better] > means[worse], f"{figures}.")
