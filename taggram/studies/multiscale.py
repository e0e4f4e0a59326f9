"""Multi-scale: does a network that looks at a clip in three resolutions tag better than in one?

Source: Dabral, Deshmukh and Malapati, "A Multi-scale Convolutional Neural Network Architecture for Music Auto-Tagging",
    Soft Computing for Problem Solving, Springer, 2018, doi 10.1007/978-981-13-1592-3_60. The chapter itself was not
    read; the protocol is that of the authors' code in Theano, github.com/many-facedgod/Music-Tagger, and of the second
    author's rewrite in PyTorch, github.com/amalad/Multi-Scale-Music-Tagger.
Differs: the rewrite is trained on the split of the original; its own is drawn without a seed. Spectrograms are kept on
    disk as float16 and are read when they are needed; there all lie in memory, 8.3 GB. What one and two scales reach is
    not published: these networks are cut from the original. Of equal validation ROC-AUC the lower loss decides. As
    there, one mask of dropout serves all clips of a batch; the network on its own draws one a clip, and so does
    `shared_mask=False`. The shallow classifiers of the abstract are not known; the boosted trees are ours. For what
    differs in the network see `taggram/models/multiscale.py`.
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
from taggram.datasets.mtt import MTT
from taggram.learning._run_folder import kept_epoch
from taggram.learning.boosted_trees import TreesConfig, fit_trees
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
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig, of_method
from taggram.studies._drawn import valid_share
from taggram.studies._hand_made_features import TREE_SEEDS, HandMade, n_blocks
from taggram.studies._multiscale_data import (
    band_statistics,
    open_pictures,
    open_tree_sound,
    picture_frames,
    prepare_pictures,
    prepare_trees,
)
from taggram.studies._multiscale_results import NETS, TREES
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import figures_of, fit_cell
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

STATISTICS = "statistics"  # the cell that makes what all networks need
FEATURES = "features"  # the cells that make what the trees need
HISTORY, TEST_SCORES = "history.csv", "test.csv"  # in the folder of a training
CLIP_S = N_SAMPLES / MEL.sample_rate  # of MagnaTagATune, 29.12 s


@dataclass(frozen=True, kw_only=True)
class MultiscaleConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows; `boosted_trees`, which decode all clips once more at 16 kHz, are
            measured where they are named.
        max_epochs: epochs; 0 is as published, 40, and 100 of the rewrite. With fewer, the drops of the learning rate
            come at the same shares of them.
        batch_size: clips a step; 0 is as published, 32, and 20 of the rewrite.
        super_batches: whether an epoch is cut into runs of 3,000 clips, each with a smaller last batch, as the
            original's is: 564 steps an epoch on MagnaTagATune and not 563. The rewrite has none.
        stats_from: whose mean and deviation scale the bands: the clips of "train", or those of "all" parts as
            published, which lets the test be seen. The rewrite scales nothing.
        unreadable: whether clips that cannot be decoded are dropped ("drop"), or are kept as pictures of zeros with
            their tags ("zeros"), as published; of MagnaTagATune these are three of train.
        shared_mask: whether one mask of dropout serves all clips of a batch, as in the original; the rewrite has one a
            clip in any case.
        norm_momentum: share of the new batch in the running statistics of the batch norm; 0 is as published, 0.01, and
            0.99 of the rewrite. With few hundred steps 0.1 is better.
        clip_s: length of a picture in seconds; longer clips are cut, shorter ones filled with silence.
        feature_workers: processes that make the spectrograms; as many as there.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = (*NETS, TREES)

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

    @property
    def is_published(self) -> bool:
        """Whether networks are trained as published; three clips, and what scales the bands, may be otherwise."""
        changed = (self.max_epochs, self.batch_size, self.norm_momentum)
        is_whole = self.n_frames == MEL.n_frames
        return not any(changed) and is_whole and self.super_batches and self.shared_mask


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
        """Make the spectrograms, and decode the sound for trees; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split, data.split=NAME")
        data = prepare_pictures(config, watcher, n_workers)
        return prepare_trees(config, data, watcher, n_workers) if TREES in config.methods else data

    def phases(self) -> list[list[Cell]]:
        """List the cells: what networks and trees need, then each of them in each run."""
        methods, runs = self.config.methods or tuple(NETS), range(self.config.runs)
        first = [Cell(method=STATISTICS, is_scored=False)]
        nets = [Cell(method=method, run=run) for run in runs for method in methods if method in NETS]
        if TREES not in methods:
            return [first, nets]
        blocks = [
            Cell(method=TREES, details={"part": FEATURES, "block": block}, is_scored=False)
            for block in range(n_blocks(len(self.sound())))
        ]
        return [[*first, *blocks], [*nets, *(Cell(method=TREES, run=run) for run in runs)]]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network or trees, or make what they need; see `Study.measure`."""
        if cell.method == STATISTICS:
            return {"n_bands": len(self.statistics[0])}
        if cell.method == TREES:
            return self._grow(cell) if cell.is_scored else self._describe(cell)
        return self._train(cell)

    def _describe(self, cell: Cell) -> dict[str, Any]:
        """Make the hand-made features of a block of clips."""
        made = HandMade(self.sound(), self.files / FEATURES)
        return {"n_clips": len(made.block(int(str(cell.details["block"]))))}

    def _grow(self, cell: Cell) -> dict[str, Any]:
        """Grow trees and test them."""
        sound = self.sound(cell.run)
        config = TreesConfig(seed=self.seed_of("trees", cell.run) % TREE_SEEDS)
        grown = fit_trees(sound, config, features=HandMade(sound, self.files / FEATURES).all(), n_workers=1)
        valid = grown.evaluations["valid"].metrics(n_resamples=0)["valid"]
        return {
            **figures_of(grown.evaluations["test"]), "valid_auc": valid["macro_roc_auc"], "best_epoch": None,
            "n_epochs": None, "history": [], "parameters": None,
        }  # fmt: skip

    def _train(self, cell: Cell) -> dict[str, Any]:
        """Train a network and test it."""
        model, folder = self.start(cell), self.files / cell.key
        watched = EpochScores(
            self.pictures, ("valid", "test"), self.files / f"{cell.key}-{TEST_SCORES}", self.config.n_frames,
            use_features=True,
        )  # fmt: skip
        trained = fit_cell(
            model, self.pictures, folder, self.fit(cell), device=self.config.device, use_features=True,
            watched=watched,
        )  # fmt: skip
        best = kept_epoch(trained.history, self.fit(cell).keep)
        evaluation = evaluate_features(trained.model, self.pictures, "test", device=find_device(self.config.device))
        return {
            **figures_of(evaluation),
            "valid_auc": _known(best["valid_auc"]),
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(trained.history),
            "history": self._history(cell, trained.history),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    def _history(self, cell: Cell, figures: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
        """Put the test beside the figures of each epoch, and write all of it."""
        scored = {row["epoch"]: row for row in read_epoch_scores(self.files / f"{cell.key}-{TEST_SCORES}")}
        before = scored.get(0, {})
        rows: list[dict[str, Any]] = [
            {
                "epoch": 0, "lr": None, "train_loss": None, "valid_loss": None, "valid_auc": before.get("valid_auc"),
                "test_auc": before.get("test_auc"),
            }
        ]  # fmt: skip
        for row in figures:
            own = {name: _known(row[name]) for name in ("lr", "train_loss", "valid_loss", "valid_auc")}
            epoch = int(row["epoch"])
            rows.append({"epoch": epoch, **own, "test_auc": scored.get(epoch, {}).get("test_auc")})
        write_table(self.files / cell.key / HISTORY, rows)
        return rows

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def pictures(self) -> PreparedData:
        """The spectrograms of the clips."""
        return open_pictures(self.data)

    def sound(self, run: int = 0) -> PreparedData:
        """Open the sound of the clips, for trees; clips that are drawn for validation are those of the networks."""
        return open_tree_sound(self.data["sound"], self.pictures, self.seed_of("training", run))

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
            valid_share=valid_share(self.pictures),
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
        return results.tables(rows, on_papers_data=self.is_papers)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the claims against what was measured."""
        has_papers_tags = {*self.data_facts()["tags"]} == {*MTT.card.vocabularies["mtt50_multiscale"]}
        return results.claims(rows, as_published=self.is_papers and has_papers_tags and self.config.is_published)

    @property
    def is_papers(self) -> bool:
        """Whether the data is that of the source, divided as there."""
        facts = self.data_facts()
        return facts["name"] in self.paper_data and facts["split"] in self.paper_splits

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw ROC-AUC over the epochs, by scales, and what tags gain by three."""
        from taggram.studies._multiscale_pictures import draw_epochs, draw_gains, draw_scales

        title = str(self.data_facts()["title"])
        drawn = {"scales": draw_scales(rows, title=title)}
        if any(row["method"] in NETS for row in rows):
            drawn["epochs"] = draw_epochs(rows, title=title)
        if gains := results.gains_by_tag(rows):
            n_positive = of_method(rows, results.THREE)[0].get("n_positive", {})
            drawn["gains"] = draw_gains(gains, n_positive, title=title)
        return drawn


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
