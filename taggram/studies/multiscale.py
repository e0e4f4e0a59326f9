"""Multi-scale: does a network that looks at a clip in three resolutions tag better than in one?

Source: Dabral, Deshmukh and Malapati, "A Multi-scale Convolutional Neural Network Architecture for Music Auto-Tagging",
    Soft Computing for Problem Solving, Springer, 2018, doi 10.1007/978-981-13-1592-3_60. The chapter itself was not
    read; the protocol is that of the authors' code in Theano, github.com/many-facedgod/Music-Tagger, and of the second
    author's rewrite in PyTorch, github.com/amalad/Multi-Scale-Music-Tagger.
Differs: the rewrite is trained on the split of the original; its own is drawn without a seed. Spectrograms are kept on
    disk as float16 and are read when they are needed; there all lie in memory, 8.3 GB. What one and two scales reach is
    not published: these networks are cut from the original. Of equal validation ROC-AUC the lower loss decides. For
    what differs in the network see `taggram/models/multiscale.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from taggram._checks import check, check_choice, check_count, check_flag, check_share, is_number
from taggram._files import written_aside
from taggram.learning.config import FitConfig
from taggram.learning.epoch_scores import EpochScores, evaluate_features, read_epoch_scores
from taggram.learning.evaluate import write_table
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.models._blocks import Standardize
from taggram.models._contract import TaggingModel
from taggram.models.multiscale import MEL, N_SAMPLES, POOLED_FRAMES
from taggram.studies import _multiscale_results as results
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig
from taggram.studies._multiscale_data import band_statistics, open_pictures, picture_frames, prepare_pictures
from taggram.studies._multiscale_results import NETS
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import figures_of, fit_cell
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

STATISTICS = "statistics"  # the cell that makes what all others need
HISTORY, TEST_SCORES = "history.csv", "test.csv"  # in the folder of a training
CLIP_S = N_SAMPLES / MEL.sample_rate  # of MagnaTagATune, 29.12 s
VALID_SHARE = 0.1  # of the clips for training, where there is no part for validation: 2,000 of 20,000


@dataclass(frozen=True, kw_only=True)
class MultiscaleConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        max_epochs: epochs; 0 is as published, 40, and 100 of the rewrite. With fewer, the drops of the learning rate
            come at the same shares of them.
        batch_size: clips a step; 0 is as published, 32, and 20 of the rewrite.
        super_batches: whether an epoch is cut into runs of 3,000 clips, each with a smaller last batch, as the
            original's is: 564 steps an epoch on MagnaTagATune and not 563. The rewrite has none.
        stats_from: whose mean and deviation scale the bands: the clips of "train", or those of "all" parts as
            published, which lets the test be seen. The rewrite scales nothing.
        unreadable: whether clips that cannot be decoded are dropped ("drop"), or are kept as pictures of zeros with
            their tags ("zeros"), as published; of MagnaTagATune these are three of train.
        shared_mask: whether one mask of dropout serves all clips of a batch, as in the original; the rewrite has none.
        norm_momentum: share of the new batch in the running statistics of the batch norm; 0 is as published, 0.01, and
            0.99 of the rewrite. With few hundred steps 0.1 is better.
        clip_s: length of a picture in seconds; longer clips are cut, shorter ones filled with silence.
        feature_workers: processes that make the spectrograms; as many as there.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(NETS)

    max_epochs: int = 0
    batch_size: int = 0
    super_batches: bool = True
    stats_from: Literal["train", "all"] = "train"
    unreadable: Literal["drop", "zeros"] = "drop"
    shared_mask: bool = True
    norm_momentum: float = 0.0
    clip_s: float = CLIP_S
    feature_workers: int = field(default=8, metadata=GRID)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("max_epochs", self.max_epochs, 0)
        check_count("batch_size", self.batch_size, 0)
        check_flag("super_batches", self.super_batches)
        check_choice("stats_from", self.stats_from, ("train", "all"))
        check_choice("unreadable", self.unreadable, ("drop", "zeros"))
        check_flag("shared_mask", self.shared_mask)
        check_share("norm_momentum", self.norm_momentum)
        check_count("feature_workers", self.feature_workers)
        least_s = POOLED_FRAMES * MEL.hop_length / MEL.sample_rate
        fits = is_number(self.clip_s) and least_s <= self.clip_s <= 600
        check(fits, "clip_s", self.clip_s, f"seconds from {least_s:.2f}, which leave the network something, to 600")

    @property
    def n_frames(self) -> int:
        """Frames of a picture."""
        return picture_frames(self.clip_s)


class Multiscale(Study):
    """ROC-AUC over tags, by the number of resolutions."""

    name = "multiscale"
    title = "One clip in three resolutions: the multi-scale network"
    paper = "Dabral, Deshmukh and Malapati, Soft Computing for Problem Solving, Springer 2018"
    paper_data = ("mtt",)
    paper_splits = ("random-18000-2000",)
    config_kind = MultiscaleConfig
    published = results.PUBLISHED

    @classmethod
    def prepare(
        cls,
        config: MultiscaleConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Make the spectrograms; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split, data.split=NAME")
        return prepare_pictures(config, watcher, n_workers)

    def phases(self) -> list[list[Cell]]:
        """List the cells: mean and deviation of the bands, then a network in a run each."""
        methods = self.config.methods or self.config.METHODS
        cells = [Cell(method=method, run=run) for run in range(self.config.runs) for method in methods]
        return [[Cell(method=STATISTICS, is_scored=False)], cells]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network; see `Study.measure`."""
        if cell.method == STATISTICS:
            return {"n_bands": len(self.statistics[0])}
        model, folder = self.start(cell), self.files / cell.key
        watched = EpochScores(
            self.pictures, ("valid", "test"), self.files / f"{cell.key}-{TEST_SCORES}", self.config.n_frames,
            use_features=True,
        )  # fmt: skip
        trained = fit_cell(
            model, self.pictures, folder, self.fit(cell), device=self.config.device, use_features=True,
            watched=watched,
        )  # fmt: skip
        history = self._history(cell, trained.history)
        best = results.best_epoch(history)
        evaluation = evaluate_features(trained.model, self.pictures, "test", device=find_device(self.config.device))
        return {
            **figures_of(evaluation),
            "valid_auc": best["valid_auc"],
            "best_epoch": best["epoch"],
            "n_epochs": len(trained.history),
            "history": history,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    def _history(self, cell: Cell, figures: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
        """Put the test beside the figures of each epoch, and write all of it."""
        scored = {row["epoch"]: row for row in read_epoch_scores(self.files / f"{cell.key}-{TEST_SCORES}")}
        before = scored.get(0, {})
        rows: list[dict[str, Any]] = [
            {"epoch": 0, "lr": None, "train_loss": None, "valid_auc": before.get("valid_auc")}
            | {"test_auc": before.get("test_auc")}
        ]
        for row in figures:
            epoch, area = int(row["epoch"]), row["valid_auc"]
            rows.append({
                "epoch": epoch, "lr": row["lr"], "train_loss": row["train_loss"],
                "valid_auc": None if np.isnan(area) else area, "test_auc": scored.get(epoch, {}).get("test_auc"),
            })  # fmt: skip
        write_table(self.files / cell.key / HISTORY, rows)
        return rows

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def pictures(self) -> PreparedData:
        """The spectrograms of the clips."""
        return open_pictures(self.data)

    @functools.cached_property
    def statistics(self) -> tuple[results.Floats, results.Floats]:
        """Mean and deviation of each band, (mels,) each, computed once for all processes."""
        path = self.files / f"{STATISTICS}-{self.config.stats_from}.npz"
        if path.exists():
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return file["mean"], file["std"]
        rows = self.pictures.index("train") if self.config.stats_from == "train" else np.arange(len(self.pictures))
        mean, std = band_statistics(self.pictures, rows)
        with written_aside(path) as aside, aside.open("wb") as file_aside:
            np.savez(file_aside, mean=mean, std=std)
        return mean, std

    def fit(self, cell: Cell) -> FitConfig:
        """Say how a cell's network is trained."""
        config, own = self.config, Recipe.load(NETS[cell.method].recipe).fit
        n_epochs = config.max_epochs or own.max_epochs
        at = tuple(dict.fromkeys(max(1, round(epoch * n_epochs / own.max_epochs)) for epoch in own.schedule.at))
        batch_size = config.batch_size or own.batch_size
        runs_of = own.super_batch if config.super_batches else None
        return replace(
            own,
            loss="cross_entropy" if self.pictures.task == "one" else own.loss,
            max_epochs=n_epochs,
            schedule=replace(own.schedule, at=at),
            batch_size=batch_size,
            super_batch=None if runs_of is None else max(runs_of, batch_size),
            norm_momentum=config.norm_momentum or own.norm_momentum,
            valid_share=0.0 if len(self.pictures.index("valid")) else VALID_SHARE,
            seed=self.seed_of("training", cell.run),
        )

    def start(self, cell: Cell) -> TaggingModel:
        """Build a cell's network with its first weights, and with mean and deviation of the bands."""
        net, pictures = NETS[cell.method], self.pictures
        options = dict(Recipe.load(net.recipe).options)
        if "shared_mask" in options:
            options["shared_mask"] = self.config.shared_mask
        torch.manual_seed(self.seed_of("weights", cell.run))
        model = create_model(
            "multiscale", n_tags=len(pictures.tags), task=pictures.task, scales=net.scales,
            n_frames=self.config.n_frames, **options,
        )  # fmt: skip
        model.tags = pictures.tags
        if isinstance(model.standardize, Standardize):
            model.standardize.set_statistics(*map(torch.from_numpy, self.statistics))
        return model.train()

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        return results.remarks(self.config, self.data, CLIP_S)

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables."""
        return results.tables(rows)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the claims against what was measured."""
        facts = self.data_facts()
        return results.claims(
            rows, on_papers_data=facts["name"] in self.paper_data and facts["split"] in self.paper_splits
        )

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw ROC-AUC over the epochs, by scales, and what tags gain by three."""
        from taggram.studies._multiscale_pictures import draw_epochs, draw_gains, draw_scales

        title = str(self.data_facts()["title"])
        drawn = {"epochs": draw_epochs(rows, title=title), "scales": draw_scales(rows, title=title)}
        gains = results.gains_by_tag(rows)
        return {**drawn, "gains": draw_gains(gains, title=title)} if gains else drawn
