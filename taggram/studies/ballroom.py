"""Ballroom: networks of one layer whose filters are shaped for rhythm, for timbre, for both, or for neither.

Source: Pons, Lidy and Serra, "Experimenting with musically motivated convolutional neural networks", CBMI 2016, for
    Black-box, Time, Frequency and Time-Frequency; Pons and Serra, "Designing efficient architectures for modeling
    temporal features with convolutional neural networks", ICASSP 2017, for O-net and P-net; patches, folds, training
    and votes as in jordipons/CBMI2016 and jordipons/ICASSP2017.
Differs: folds are drawn with a seed, in the source without one. An epoch that ends the training may still give the
    network that is kept. Clips that are shorter than a patch are repeated until they fill one; in the code of ICASSP
    2017 those that are shorter than a patch and a hop have no patch at all. For the front-end see
    `taggram/models/_essentia_mel.py`, for repeated blocks `o_p_net.py`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch

from taggram._checks import check, check_choice, check_count, is_count
from taggram.datasets._folds import shuffled
from taggram.errors import DatasetError, TrainingError, printable
from taggram.learning._random import generator
from taggram.learning.clip_patches import majority_votes
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import fit_patches, one_hot, scores_of
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.models._blocks import Standardize
from taggram.models._contract import TaggingModel
from taggram.models._saved import load_model
from taggram.models.ballroom import BallroomTimeFrequency
from taggram.studies._ballroom_nets import INIT, INIT_FROM, NETS, PUBLISHED
from taggram.studies._ballroom_results import accuracies, claims_of, grouped, table_of
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig, Value
from taggram.studies._clips import StudyClips, prepare_clips
from taggram.studies._frames import ClipFrames, ClipWindows, Whole, spectrogram, whole_batches
from taggram.studies._tables import Table
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

RATE = 44_100
SAMPLE_BITS = 16  # of prepared data
SHORTEST = 80  # frames: sound that gives fewer is repeated
VALID_OF_TRAIN = (8, 9)  # of the patches that are not tested, so many of so many are trained on (CBMI 2016)
VALID_SONGS = 10  # one song of so many is validated on (ICASSP 2017)
SPECTROGRAMS = "spectrograms"  # the cell that makes what all others need


Normalisation = Literal["all", "train"]
Validation = Literal["patches", "songs"]
Count = Literal["code", "all"]


@dataclass(frozen=True, kw_only=True)
class BallroomConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        n_folds: deal all clips out to so many folds in a random order; 0 takes the folds, or the split, of the data.
        normalisation: whose mean and deviation scale the input: those of "all" clips, as published, or of "train".
        validation: of the networks of CBMI 2016: on "patches" of the songs that are trained on, as published, or on
            "songs". Those of ICASSP 2017 have songs.
        op_hop: frames from patch to patch of O-net and P-net: 250, 80, or both.
        op_count: whether their last patch of a clip is left out, as in the "code", or "all" are taken.
        max_epochs: at most; 0 is as published, 2000, or 250 of O-net and P-net.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(NETS)

    n_folds: int = 0
    normalisation: Normalisation = "all"
    validation: Validation = "patches"
    op_hop: tuple[int, ...] = field(default=(250,), metadata=GRID)
    op_count: Count = "code"
    max_epochs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = is_count(self.n_folds, 0) and self.n_folds != 1
        check(fits, "n_folds", self.n_folds, "a whole number from 2 on, or 0 for the folds that the data has")
        check_choice("normalisation", self.normalisation, get_args(Normalisation))
        check_choice("validation", self.validation, get_args(Validation))
        check_choice("op_count", self.op_count, get_args(Count))
        check(bool(self.op_hop) and all(map(is_count, self.op_hop)), "op_hop", self.op_hop, "frames, such as 250,80")
        check_count("max_epochs", self.max_epochs, 0)


class Ballroom(Study):
    """Accuracy against the number of weights, by the shape of the filters."""

    name = "ballroom"
    title = "Filters shaped for rhythm and for timbre"
    paper = "Pons, Lidy and Serra, CBMI 2016; Pons and Serra, ICASSP 2017"
    paper_data = ("ballroom",)
    config_kind = BallroomConfig
    published = PUBLISHED

    @classmethod
    def prepare(cls, config: BallroomConfig, folder: Path, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
        """Decode the clips and deal them out to folds; see `Study.prepare`."""
        seed = config.seed if config.n_folds else None
        data = prepare_clips(
            config.data, [RATE], folder, watcher, n_workers,
            n_folds=config.n_folds, fold_seed=seed, wanted_folds=config.folds,
        )  # fmt: skip
        clips = StudyClips.load(folder / data["clips"])
        for fold in clips.folds:
            if not len(clips.clips(fold, "test")) or not len(clips.clips(fold, "train")):
                raise DatasetError(
                    f"fold {fold} has no clip to test or to train on; n_folds=10 deals all clips out to ten folds."
                )
        return data

    def phases(self) -> list[list[Cell]]:
        """List the cells: the spectrograms, the networks that start from nothing, then those that start from these."""
        asked = dict.fromkeys(self.config.methods or self.config.METHODS)
        branches = [method for method in INIT_FROM if INIT in asked and method not in asked]
        first = [cell for method in asked if method != INIT for cell in self._cells(method)]
        first += [replace(cell, is_scored=False) for method in branches for cell in self._cells(method)]
        last = self._cells(INIT) if INIT in asked else []
        return [[Cell(method=SPECTROGRAMS, is_scored=False)], first, last]

    def _cells(self, method: str) -> list[Cell]:
        folds = self.config.folds or self.clips.folds
        hops = dict.fromkeys(self.config.op_hop)
        details: list[dict[str, Value]] = [{"hop": hop} for hop in hops] if NETS[method].is_o_p else [{}]
        grid = itertools.product(range(self.config.runs), folds, details)
        return [Cell(method=method, fold=fold, run=run, details=one) for run, fold, one in grid]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network; see `Study.measure`."""
        if cell.method == SPECTROGRAMS:
            return {"frames": len(self.frames.values)}
        net, patches, targets = NETS[cell.method], self.patches(cell), one_hot(self.clips.labels, self.n_classes)
        device, fit = find_device(self.config.device), self.fit(cell)
        train, valid = self.parts(cell)
        whole = whole_batches(len(valid), fit.batch_size)
        trained, model = patches.chosen(train, targets), self.start(cell)
        history = fit_patches(
            model,
            lambda epoch: trained.shuffled(fit, epoch, drop_last=len(trained) >= fit.batch_size),
            fit,
            valid=patches.chosen(valid[:whole], targets),
            device=device,
        )
        if net.keeps:
            model.save(self.network_path(cell))
        best = max(history, key=lambda figures: figures["valid_accuracy"])  # the first of equal ones
        return {
            **self._tested(cell, model, device),
            "valid_accuracy": best["valid_accuracy"],
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(history),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "n_train": len(train),
            "n_valid": whole,
            "n_repeated": patches.n_repeated,
        }

    def _tested(self, cell: Cell, model: TaggingModel, device: torch.device) -> dict[str, Any]:
        """Test a network: on whole batches of patches, and on clips by the vote of all their patches."""
        patches, labels = self.patches(cell), self.clips.labels
        tested = patches.of(self.clips.clips(cell.fold, "test"))
        chosen = patches.chosen(tested, one_hot(labels, self.n_classes))
        classes = scores_of(model, chosen.whole.patches, device=device).argmax(1).numpy()
        is_right = classes == labels[patches.clips[tested]]
        clips, n_patches = np.unique(patches.clips[tested], return_counts=True)
        confusion = np.zeros((self.n_classes, self.n_classes), int)
        np.add.at(confusion, (labels[clips], majority_votes(classes, n_patches, self.n_classes)), 1)
        common = np.bincount(labels[self.clips.clips(cell.fold, "train", "valid")], minlength=self.n_classes).argmax()
        return {
            "accuracy": float(np.trace(confusion) / len(clips)),
            "patch_accuracy": float(is_right[: whole_batches(len(tested), self.fit(cell).batch_size)].mean()),
            "common_accuracy": float(confusion[common].sum() / len(clips)),
            "confusion": confusion.tolist(),  # a row a class of the clips, a column a class that was voted for
        }

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def clips(self) -> StudyClips:
        """The clips and their folds."""
        return StudyClips.load(self.folder / self.data["clips"])

    @property
    def n_classes(self) -> int:
        """How many dances there are."""
        return len(self.clips.classes)

    @functools.cached_property
    def frames(self) -> ClipFrames:
        """The spectrograms of all clips, computed once for all processes."""
        sounds = self.clips.sounds(RATE)
        path = self.files / f"spectrograms-{sounds.content()[:12]}.npz"
        if path.exists():
            return ClipFrames.load(path)
        frontend = create_model("ballroom_time").frontend
        frames = ClipFrames.of([spectrogram(frontend, sounds.whole(clip), SHORTEST) for clip in range(len(sounds))])
        frames.save(path)
        return frames

    def patches(self, cell: Cell) -> ClipWindows:
        """Give the patches that a cell's network looks at, of all clips."""
        net = NETS[cell.method]
        hop = int(cell.details.get("hop") or net.n_frames)
        return self._cut(net.n_frames, hop, net.is_o_p and self.config.op_count == "code")

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a study lives as long as its process)
    def _cut(self, n_frames: int, hop: int, leave_last: bool) -> ClipWindows:
        return self.frames.patches(n_frames, hop, leave_last=leave_last)

    def fit(self, cell: Cell) -> FitConfig:
        """Say how a cell's network is trained."""
        fit = Recipe.load(NETS[cell.method].recipe).fit
        max_epochs = self.config.max_epochs or fit.max_epochs
        return replace(fit, max_epochs=max_epochs, seed=self.seed_of("training", cell.key))

    def parts(self, cell: Cell) -> tuple[Whole, Whole]:
        """Give the patches to train and to validate on.

        Args:
            cell: says the network, the fold and the run.

        Returns:
            (patches,) numbers of those to train on, and of those to validate on.

        Raises:
            DatasetError: there is none to train or to validate on.
        """
        patches, clips = self.patches(cell), self.clips
        if self._validates_songs(cell.method):
            train, valid = (patches.of(part) for part in self._songs(cell.fold))
        else:
            there = patches.of(clips.clips(cell.fold, "train", "valid"))
            place = (NETS[cell.method].n_frames, cell.fold, cell.run)
            order = there[generator(self.seed_of("validation", *place)).permutation(len(there))]
            above, below = VALID_OF_TRAIN
            at = len(order) * above // below
            train, valid = order[:at], order[at + 1 :]  # the one at the cut is lost in the source
        if not len(train) or not len(valid):
            raise DatasetError(
                f"fold {cell.fold} has {len(train)} patches to train on and {len(valid)} to validate on; more clips "
                "are needed."
            )
        return train, valid

    def _validates_songs(self, method: str) -> bool:
        return NETS[method].is_o_p or self.config.validation == "songs"

    def _songs(self, fold: int) -> tuple[Whole, Whole]:
        """Give the clips to train and to validate on: the data's own, or the first tenth in the order of the folds."""
        clips = self.clips
        if len(valid := clips.clips(fold, "valid")):
            return clips.clips(fold, "train"), valid
        places = {name: place for place, name in enumerate(clips.track_ids)}
        order = np.array([places[name] for name in shuffled(places, self.config.seed)])
        rest = order[np.isin(order, clips.clips(fold, "train"))]
        n_valid = max(1, len(order) // VALID_SONGS)
        return rest[n_valid:], rest[:n_valid]

    def start(self, cell: Cell) -> TaggingModel:
        """Build a cell's network with its first weights, and with the mean and deviation of its input.

        Args:
            cell: says which.

        Returns:
            The network in training mode.

        Raises:
            TrainingError: it starts from networks that are not there.
        """
        net = NETS[cell.method]
        recipe = Recipe.load(net.recipe)
        torch.manual_seed(self.seed_of("weights", cell.key))
        model = create_model(recipe.network, n_tags=self.n_classes, **{**recipe.options, **net.options})
        model.tags = self.clips.classes
        model.frontend.sample_bits = SAMPLE_BITS
        clips = np.arange(len(self.clips.labels))
        if self.config.normalisation == "train":
            songs, _ = self._songs(cell.fold)
            clips = songs if self._validates_songs(cell.method) else self.clips.clips(cell.fold, "train", "valid")
        mean, std = self.frames.mean_and_std(clips)
        if isinstance(model.standardize, Standardize):
            model.standardize.set_statistics(torch.tensor([mean]), torch.tensor([std]))
        if isinstance(model, BallroomTimeFrequency) and cell.method == INIT:
            model.start_branches(*(self._branch(replace(cell, method=method)) for method in INIT_FROM))
        return model.train()

    def network_path(self, cell: Cell) -> Path:
        """Say where a cell's trained network is kept."""
        return self.files / f"{cell.key}.safetensors"

    def _branch(self, cell: Cell) -> TaggingModel:
        path = self.network_path(cell)
        if not path.exists():
            raise TrainingError(
                f"{INIT} starts from {printable(str(path))}, which is not there; delete "
                f"{printable(str(self.folder / 'cells' / cell.key))}.json and run the study again, which trains it."
            )
        return load_model(path)

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        scaled = "all clips, those for testing too" if config.normalisation == "all" else "the clips for training"
        told = [
            "Clips by the vote of their patches; mean and deviation over folds.",
            f"The input is scaled by the mean and deviation of {scaled}.",
            f"Validation of the networks of CBMI 2016: {config.validation}"
            + (", drawn from the songs that are trained on, as published." if config.validation == "patches" else "."),
        ]
        return told + ([f"At most {config.max_epochs} epochs."] if config.max_epochs else [])

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the table of architectures."""
        return [table_of(rows)] if rows else []

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the relations of the papers against what was measured."""
        return claims_of(rows)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw accuracy against size, the confusion of the best network, and the filters of one fold."""
        from taggram.studies._pictures import draw_counts, draw_filters, draw_sizes

        found = {f"{method}, hop {hop}" if hop else method: of_net for (method, hop), of_net in grouped(rows).items()}
        facts = self.data_facts()
        is_papers = facts["name"] in self.paper_data
        known = {row["method"]: row["accuracy"] for row in self.published if is_papers}
        sizes = {name: (of_net[0]["parameters"], accuracies(of_net)) for name, of_net in found.items()}
        figures = {"sizes": draw_sizes(sizes, title=f"Accuracy against size, {facts['title']}", published=known)}
        best = max(found, key=lambda name: fmean(accuracies(found[name])))
        pooled = np.sum([row["confusion"] for row in found[best]], axis=0)
        figures["confusion"] = draw_counts(pooled, self.clips.classes, title=f"{best}, clips of all folds")
        for name, method, axis in (("time", "time", "frames"), ("frequency", "frequency_32", "mels")):
            cells = [cell for cell in self._cells(method) if self.network_path(cell).exists()]
            if cells and method in found:
                weights = load_model(self.network_path(cells[0])).state_dict()["conv.weight"].flatten(1).numpy()
                figures[f"filters_{name}"] = draw_filters(weights, x=axis, title=f"Filters of {cells[0].words}")
        return figures
