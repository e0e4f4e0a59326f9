"""Random CNNs as features: networks that are never trained turn clips into vectors, on which an SVM or an ELM learns.

Source: Pons and Serra, "Randomly weighted CNNs for (music) audio classification", ICASSP 2019, arXiv 1805.00237; the
    last state of the released code, May 2018. One draw of the weights is shared by all clips of a run.
Differs:
    - The back-end of the frame-level networks is averaged filter by filter; `backend_pooling=reference` gives the
      features of the code, most of whose places are 0. Other differences of the networks stand in
      `taggram/models/random_cnn.py`, those of MFCC in `_mfcc_statistics.py`, those of the classifiers in
      `taggram/learning/classifier_grids.py` and `elm.py`.
    - Clips that are too short are repeated, with all data; the code does so for UrbanSound8K, and fails elsewhere.
    - The number of runs behind the charts is not known; here it is 3.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._checks import check, check_choice, check_count, check_flag, is_count
from taggram.errors import ConfigError
from taggram.learning.classifier_grids import GridPoint, Labelled, elm_grid, svm_grid
from taggram.learning.embeddings import Length, embed_clips
from taggram.models import create_model
from taggram.models.random_cnn import MEL, RAW, BackendPooling
from taggram.models.random_cnn import Kernels as OwnKernels
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig
from taggram.studies._clips import StudyClips, prepare_clips
from taggram.studies._elmarc_results import (
    CLASSIFIERS,
    DATA,
    MFCC,
    PUBLISHED,
    TITLES,
    choose,
    claims_of,
    draw,
    tables_of,
)
from taggram.studies._mfcc import mfcc_features
from taggram.studies._tables import Table
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher
    from taggram.models._contract import TaggingModel

RATE = 12_000  # Hz
WIDTHS = {  # filters of the networks: (small, large)
    "sample_level": (23, 512),
    "frame_level": (40, 896),
    "frame_level_many": (20, 448),
    "7x96": (160, 3585),
    "7x86": (160, 3585),
    "timbral": (8, 256),
    "temporal": (8, 256),
    "timbral_temporal": (4, 128),
    "vgg": (32, 717),
}
WAVEFORM = ("sample_level", "frame_level", "frame_level_many")
FRAME_LEVEL = ("frame_level", "frame_level_many")
HAS_KERNELS = ("temporal", "timbral_temporal")
N_FRAMES = {"gtzan": 1404}  # by data set; others have those of the network
N_SAMPLES = {"urbansound8k": 48_000}
AUDIO = ("urbansound8k",)  # data for which the short temporal kernels were made
N_FOLDS = 10  # of data that has neither folds nor parts to choose and to score by
FEATURES = "features"  # the cells that make what all others need
SEEDS = 2**32  # that scikit-learn takes

Width = Literal["small", "large"]
Kernels = Literal["auto", "music", "audio"]


@dataclass(frozen=True, kw_only=True)
class ElmarcConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        runs: repetitions, each with weights of its own.
        classifiers: of the networks: "svm", "elm" or both.
        mfcc_classifiers: of MFCC, likewise.
        width: "small" networks have 112 to 161 features, "large" ones 3584 or 3585, as in the charts.
        backend_pooling: of the frame-level networks: "per_filter", or "reference" as in the code.
        kernels: of the temporal filters: long ones for "music", short ones for "audio"; "auto" is "audio" for
            UrbanSound8K.
        n_frames: of the spectrograms; 0 is 1404 for GTZAN and 1376 for others.
        n_samples: of the waveforms; 0 is 48,000 for UrbanSound8K and 350,000 for others.
        length: whether what is shorter is repeated ("repeat"), or 0 stands behind it ("zero").
        standardize: scale each feature to mean 0 and deviation 1 in the clips that are trained on.
        n_clips: so many clips at random, of each class its share; 0 is all.
        n_folds: deal all clips out to so many folds; 0 is as the data has it.
        shuffle_folds: deal them out in a random order, and not in the sorted one.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(TITLES)

    runs: int = field(default=3, metadata=GRID)
    classifiers: tuple[str, ...] = field(default=tuple(CLASSIFIERS), metadata=GRID)
    mfcc_classifiers: tuple[str, ...] = field(default=("svm",), metadata=GRID)
    width: Width = "large"
    backend_pooling: BackendPooling = "per_filter"
    kernels: Kernels = "auto"
    n_frames: int = 0
    n_samples: int = 0
    length: Length = "repeat"
    standardize: bool = False
    n_clips: int = 0
    n_folds: int = 0
    shuffle_folds: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*self.classifiers, *self.mfcc_classifiers):
            check_choice("classifiers", name, CLASSIFIERS)
        check(bool(self.classifiers), "classifiers", self.classifiers, "svm, elm or both")
        check_choice("width", self.width, get_args(Width))
        check_choice("backend_pooling", self.backend_pooling, get_args(BackendPooling))
        check_choice("kernels", self.kernels, get_args(Kernels))
        check_choice("length", self.length, get_args(Length))
        for name in ("n_frames", "n_samples", "n_clips"):
            check_count(name, getattr(self, name), 0)
        fits = is_count(self.n_folds, 0) and self.n_folds != 1
        check(fits, "n_folds", self.n_folds, "a whole number from 2 on, or 0 for what the data has")
        check_flag("standardize", self.standardize)
        check_flag("shuffle_folds", self.shuffle_folds)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods that are measured, each once."""
        return tuple(dict.fromkeys(self.methods or self.METHODS))

    @property
    def frames(self) -> int:
        """Frames of the spectrograms."""
        return self.n_frames or N_FRAMES.get(self.data.name, MEL.n_frames)

    @property
    def samples(self) -> int:
        """Samples of the waveforms."""
        return self.n_samples or N_SAMPLES.get(self.data.name, RAW.n_samples)

    @property
    def temporal_kernels(self) -> OwnKernels:
        """Which temporal kernels the networks have."""
        if self.kernels == "auto":
            return "audio" if self.data.name in AUDIO else "music"
        return self.kernels

    def options(self, method: str) -> dict[str, Any]:
        """Give the options of a network.

        Args:
            method: its name here.

        Returns:
            What `create_model` is told.
        """
        options: dict[str, Any] = {"width": WIDTHS[method][get_args(Width).index(self.width)]}
        options |= {"n_samples": self.samples} if method in WAVEFORM else {"n_frames": self.frames}
        if method in FRAME_LEVEL:
            options["backend_pooling"] = self.backend_pooling
        if method in HAS_KERNELS:
            options["kernels"] = self.temporal_kernels
        return options


class Elmarc(Study):
    """Accuracy of an SVM and an ELM on the features of networks with random weights."""

    name = "elmarc"
    title = "Features of random CNNs"
    paper = "Pons and Serra, ICASSP 2019"
    paper_data = tuple(DATA)
    config_kind = ElmarcConfig
    published = PUBLISHED

    @classmethod
    def prepare(cls, config: ElmarcConfig, folder: Path, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
        """Decode the clips and deal them out to folds where they need that; see `Study.prepare`."""
        for method in config.chosen:
            if method != MFCC:
                with torch.device("meta"):  # refuses patches that are too short, before anything is decoded
                    create_model(f"random_{method}", **config.options(method))
        n_folds = config.n_folds

        def prepared() -> tuple[dict[str, Any], StudyClips]:
            data = prepare_clips(
                config.data, [RATE], folder, watcher, n_workers,
                n_folds=n_folds, fold_seed=config.seed if config.shuffle_folds else None,
                n_clips=config.n_clips, clip_seed=config.seed,
            )  # fmt: skip
            return data, StudyClips.load(folder / data["clips"])

        data, clips = prepared()
        if clips.folds == (0,) and not all(len(clips.clips(0, part)) for part in ("train", "valid", "test")):
            n_folds = N_FOLDS
            watcher.say(f"note: a part has no clip, so all are dealt out to {N_FOLDS} folds; n_folds=N to others")
            data, clips = prepared()
        if missing := [fold for fold in config.folds if fold not in clips.folds]:
            raise ConfigError(f"there is no fold {missing[0]}; there are {', '.join(map(str, clips.folds))}.")
        return {**data, "n_folds": n_folds}

    def phases(self) -> list[list[Cell]]:
        """List the cells: the features of each network and run, then the classifiers on them."""
        features = [
            Cell(method=method, run=run, details={"part": FEATURES}, is_scored=False)
            for run in range(self.config.runs)
            for method in self.config.chosen
            if run == 0 or method != MFCC
        ]
        return [features, [cell for method in self.config.chosen for cell in self._cells(method)]]

    def _cells(self, method: str) -> list[Cell]:
        """List the cells of a method; MFCC with the SVM has nothing random in it, and so one run."""
        folds = [fold for fold in self.clips.folds if fold in self.config.folds or not self.config.folds]
        classifiers = dict.fromkeys(self.config.mfcc_classifiers if method == MFCC else self.config.classifiers)
        return [
            Cell(method=method, fold=fold, run=run, details={"classifier": classifier})
            for classifier, run, fold in itertools.product(classifiers, range(self.config.runs), folds)
            if run == 0 or (method, classifier) != (MFCC, "svm")
        ]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Compute features, or try a classifier at every point of its grid; see `Study.measure`."""
        features = self.features(cell.method, cell.run)
        if not cell.is_scored:
            return {"n_clips": len(features), "n_features": features.shape[1]}
        train, parts = self.parts(cell.fold, features)
        if cell.details["classifier"] == "svm":
            grid = svm_grid(train, parts)
        else:
            place = ("elm", cell.method, cell.fold, cell.run)
            grid = elm_grid(train, parts, lambda part, size: self.seed_of(*place, part, size) % SEEDS)
        return {
            "best_accuracy": max(point.accuracy[self.chosen_by] for point in grid),
            "n_features": features.shape[1],
            "n_train": len(train.labels),
            "n_test": len(parts["test"].labels),
            "backend_pooling": self.config.backend_pooling if cell.method in FRAME_LEVEL else None,
            "grid": [_as_values(point) for point in grid],
        }

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def clips(self) -> StudyClips:
        """The clips and their folds."""
        return StudyClips.load(self.folder / self.data["clips"])

    @property
    def chosen_by(self) -> str:
        """The part whose accuracy chooses the settings: valid, or with folds test itself."""
        return "valid" if self.clips.folds == (0,) else "test"

    def network(self, method: str, run: int) -> TaggingModel:
        """Draw a network.

        Args:
            method: its name here.
            run: from 0 on; each has other weights.

        Returns:
            The network.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_of("weights", method, run))
            return create_model(f"random_{method}", **self.config.options(method))

    def features(self, method: str, run: int) -> NDArray[np.float32]:
        """Give the features of all clips: computed once for all cells.

        Args:
            method: a network, or MFCC.
            run: from 0 on.

        Returns:
            (clips, features).
        """
        sounds, cache = self.clips.sounds(RATE), self.files / FEATURES
        facts = {"method": method, "split_sha256": self.data_facts()["split_sha256"]}
        if method == MFCC:
            return mfcc_features(sounds, cache, facts)
        return embed_clips(
            self.network(method, run), sounds, length=self.config.length, cache=cache,
            facts={**facts, "run": run, "seed": self.config.seed}, device=find_device(self.config.device), n_threads=1,
        )  # fmt: skip

    def parts(self, fold: int, features: NDArray[np.float32]) -> tuple[Labelled, Mapping[str, Labelled]]:
        """Divide the clips of a fold.

        Args:
            fold: its number.
            features: (all clips, features).

        Returns:
            The clips to train on, and those to score: test, and valid where it chooses the settings. Where it does not,
            its clips are trained on.
        """
        clips, labels = self.clips, self.clips.labels
        parts = {"test": Labelled.of(features, labels, clips.clips(fold, "test"))}
        if self.chosen_by == "valid":
            train = Labelled.of(features, labels, clips.clips(fold, "train"))
            parts["valid"] = Labelled.of(features, labels, clips.clips(fold, "valid"))
        else:
            train = Labelled.of(features, labels, clips.clips(fold, "train", "valid"))
        if self.config.standardize:
            parts = {name: part.scaled_like(train) for name, part in parts.items()}
            train = train.scaled_like(train)
        return train, parts

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def rows(self, measured: Sequence[tuple[Cell, Mapping[str, Any]]]) -> list[Row]:
        """Choose the settings of the classifiers, and give the accuracy of these."""
        return choose(measured, self.chosen_by)

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        padding = "repeated" if config.length == "repeat" else "followed by 0"
        pooling = "filter by filter" if config.backend_pooling == "per_filter" else "as in the code, to 3 numbers"
        lengths = f"{config.frames:,} frames of spectrograms, {config.samples:,} samples of waveforms"
        told = [
            f"The {config.width} networks, never trained; the back-end of the frame-level ones is averaged {pooling}.",
            f"{lengths}; what is shorter is {padding}. The temporal kernels are those for {config.temporal_kernels}.",
        ]
        if config.n_clips:
            told.append(f"{len(self.clips.labels):,} clips out of all, at random, of each class its share.")
        if self.data["n_folds"]:
            order = "a random order" if config.shuffle_folds else "their sorted order"
            told.append(f"The clips were dealt out to {self.data['n_folds']} stratified folds in {order}.")
        return told + (["The features are standardized, which those of the paper are not."] * config.standardize)

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables of what was measured and of what was published."""
        return tables_of(rows, self.data_facts()["name"], self.chosen_by)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the paper says against what was measured."""
        return claims_of(rows)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw the bar chart of the paper."""
        title = f"Features of random CNNs, {self.config.width}, on {self.data_facts()['title']}"
        return {"accuracy": draw(rows, title, len(self.clips.classes))}


def _as_values(point: GridPoint) -> dict[str, Any]:
    """Write a point of a grid as plain values."""
    return dataclasses.asdict(point)
