"""At scale: a network on waveforms, one on spectrograms and boosted trees, while the set that they learn from grows.

Source: Pons, Nieto, Prockup, Schmidt, Ehmann and Serra, "End-to-end learning for music audio tagging at scale", ISMIR
    2018, arXiv 1711.02520; the published numbers are those of the slides of the first author's thesis defence. Networks
    by the released code; settings of the training by the recipes `at_scale_waveform_mtt` and
    `at_scale_spectrogram_mtt`.
Differs: the paper's 1.2 million tracks and their labels are private, and its trees with their features are an
    industrial system that is not described; here they are boosted trees on hand-made features, of any data set. Within
    a run, the tracks of a smaller set are part of every larger one. Validation and test stay the same throughout. With
    a fixed number of updates, the running statistics of batch norms take in a tenth of each batch, since what the
    networks take in by themselves is too little for a short training.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._checks import check, check_choice, check_count, is_count, is_number
from taggram.errors import ConfigError
from taggram.learning.boosted_trees import TreesConfig, fit_trees
from taggram.learning.config import FitConfig, Keep
from taggram.learning.data import steps_per_epoch
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.studies._at_scale_results import PUBLISHED, claims_of, tables_of
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig
from taggram.studies._hand_made_features import TREE_SEEDS, HandMade
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import figures_of, fit_cell, open_sound, prepare_sound, score_part

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

RATE = 16_000  # Hz
LEAST_PATCH_S = 1.23  # of the network on waveforms
HOP = 256  # samples from frame to frame of the spectrogram
SHARES = (0.1, 0.5, 1.0)  # of the tracks for training, where no sizes are named
TREES = "boosted_trees"
FEATURES = "features"  # the cells that make what the trees need
LEAST_TRACKS = 2  # of which a batch norm can learn
NORM_MOMENTUM = 0.1  # with a fixed number of updates
TagLoss = Literal["binary", "mse"]


@dataclass(frozen=True, kw_only=True)
class AtScaleConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        sizes: of the sets that are learned from, in tracks; () is a tenth, a half and all of them.
        patch_s: length of the patches in seconds: 15 on the paper's private data, 3 on public data.
        loss: "binary" cross-entropy, as on public data, or "mse", as on the private data.
        batch_size: patches a step; 0 is as in the recipes.
        updates: steps of the optimiser in each cell; 0 is as many as the schedule of the recipes takes.
        n_looks: how often the validation part is looked at in so many updates, where a pass over the tracks is not
            longer than that.
        keep: the weights of which look are scored.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = ("waveform", "spectrogram", TREES)

    sizes: tuple[int, ...] = field(default=(), metadata=GRID)
    patch_s: float = 3.0
    loss: TagLoss = "binary"
    batch_size: int = 0
    updates: int = 0
    n_looks: int = 10
    keep: Keep = "valid_loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(all(map(is_count, self.sizes)), "sizes", self.sizes, "numbers of tracks, such as sizes=250,1000")
        fits = is_number(self.patch_s) and self.patch_s >= LEAST_PATCH_S
        check(fits, "patch_s", self.patch_s, f"seconds from {LEAST_PATCH_S} on, such as 3 or 15")
        check_choice("loss", self.loss, get_args(TagLoss))
        check_choice("keep", self.keep, get_args(Keep))
        check_count("batch_size", self.batch_size, 0)
        check_count("updates", self.updates, 0)
        check_count("n_looks", self.n_looks)
        check(not self.folds, "folds", self.folds, "nothing: the tracks have one split, data.split=NAME")

    def options(self, method: str) -> dict[str, Any]:
        """Give the options of a network, which say how long its patches are."""
        n_samples = round(self.patch_s * RATE)
        return {"n_samples": n_samples} if method == "waveform" else {"n_frames": 1 + n_samples // HOP}


class AtScale(Study):
    """Scores of tags against the number of tracks that were learned from."""

    name = "at_scale"
    title = "End-to-end learning at scale"
    paper = "Pons et al., ISMIR 2018"
    paper_data = ()
    config_kind = AtScaleConfig
    published = PUBLISHED

    @classmethod
    def prepare(
        cls,
        config: AtScaleConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the tracks, and choose the sizes; see `Study.prepare`."""
        data = prepare_sound(config.data, [RATE], watcher, n_workers, parts=("train", "valid", "test"))
        n_train = len(open_sound(data, RATE).index("train"))
        sizes = config.sizes or tuple(max(1, round(share * n_train)) for share in SHARES)
        if min(sizes) < LEAST_TRACKS:
            raise ConfigError(f"sizes has {min(sizes)}; at least {LEAST_TRACKS} tracks are wanted to learn from.")
        if max(sizes) > n_train:
            raise ConfigError(f"sizes has {max(sizes):,}, and there are {n_train:,} tracks to learn from.")
        least = 2 * TreesConfig().min_clips
        if TREES in (config.methods or config.METHODS) and min(sizes) < least:
            raise ConfigError(
                f"boosted trees need {least} tracks to learn from, and the smallest set has {min(sizes)} of {n_train}; "
                "say larger ones by sizes=N,M, or leave the trees out: methods=waveform,spectrogram."
            )
        return {**data, "sizes": sorted(set(sizes))}

    def phases(self) -> list[list[Cell]]:
        """List the cells: the features of the trees, then a method, a size and a run each, small sizes first."""
        methods = list(dict.fromkeys(self.config.methods or self.config.METHODS))
        cells = [
            Cell(method=method, run=run, details={"size": size})
            for size in self.data["sizes"]
            for run in range(self.config.runs)
            for method in methods
        ]
        blocks = [
            Cell(method=TREES, details={"part": FEATURES, "block": block}, is_scored=False)
            for block in range(self.features.n_blocks)
        ]
        return [blocks, cells] if TREES in methods else [cells]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Compute the features of the trees, or learn from so many tracks and score; see `Study.measure`."""
        if not cell.is_scored:
            return {"n_tracks": len(self.features.block(int(str(cell.details["block"]))))}
        size = int(str(cell.details["size"]))
        sound = self.sound.with_train(self.tracks(size, cell.run))
        if cell.method == TREES:
            trees = TreesConfig(seed=self.seed_of("trees", size, cell.run) % TREE_SEEDS)
            grown = fit_trees(sound, trees, features=self.features.all(), n_workers=1)
            return {**figures_of(grown.evaluations["test"]), "n_updates": None, "parameters": None}
        model, config = self.start(cell), self.fit(cell, size)
        trained = fit_cell(model, sound, self.files / cell.key, config, device=self.config.device)
        n_steps = steps_per_epoch(size * (config.patches_per_track or 1), config.batch_size) * len(trained.history)
        return {
            **figures_of(score_part(trained.model, sound, device=self.config.device)),
            "n_updates": min(n_steps, config.max_steps or n_steps),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def sound(self) -> PreparedData:
        """The tracks."""
        return open_sound(self.data, RATE)

    def tracks(self, size: int, run: int) -> NDArray[np.int64]:
        """Choose tracks to learn from: those of a smaller size are part of those of a larger one.

        Args:
            size: how many.
            run: each has an order of its own.

        Returns:
            (size,) rows, in order.
        """
        rows = self.sound.index("train")
        order = np.random.default_rng(self.seed_of("order", run)).permutation(len(rows))
        return np.sort(rows[order[:size]])

    @functools.cached_property
    def features(self) -> HandMade:
        """What the trees learn from: the features of the tracks of all sets, and of the parts that are scored."""
        learned = [self.tracks(max(self.data["sizes"]), run) for run in range(self.config.runs)]
        scored = [self.sound.index("valid"), self.sound.index("test")]
        return HandMade(self.sound, self.files / FEATURES, np.unique(np.concatenate([*learned, *scored])))

    def start(self, cell: Cell) -> TaggingModel:
        """Build a cell's network with its first weights."""
        torch.manual_seed(self.seed_of("weights", cell.method, cell.run))
        sound = self.sound
        options = self.config.options(cell.method)
        model = create_model(f"at_scale_{cell.method}", n_tags=len(sound.tags), task=sound.task, **options)
        model.tags = sound.tags
        return model.train()

    def fit(self, cell: Cell, size: int) -> FitConfig:
        """Say how a cell's network is trained.

        Args:
            cell: which one.
            size: tracks that it learns from.

        Returns:
            The settings; with a fixed number of updates an epoch ends where the validation part is looked at.
        """
        own, config = self.config, Recipe.load(f"at_scale_{cell.method}_mtt").fit
        config = replace(
            config,
            loss="cross_entropy" if self.sound.task == "one" and own.loss == "binary" else own.loss,
            batch_size=own.batch_size or config.batch_size,
            keep=own.keep,
            keep_memory=True,
            seed=self.seed_of("training", cell.key),
        )
        if not own.updates:
            return config
        per_track = max(1, round(own.updates / own.n_looks * config.batch_size / size))
        n_steps = steps_per_epoch(size * per_track, config.batch_size)
        return replace(
            config,
            patches_per_track=per_track,
            max_epochs=math.ceil(own.updates / n_steps),
            max_steps=own.updates,
            schedule=replace(config.schedule, rule="constant"),
            norm_momentum=NORM_MOMENTUM,
        )

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        config = self.config
        length = f"{config.updates:,} updates each" if config.updates else "the schedule of musicnn"
        sizes = ", ".join(f"{size:,}" for size in self.data["sizes"])
        batch_size = config.batch_size or Recipe.load("at_scale_waveform_mtt").fit.batch_size
        kept = "the end" if config.keep == "last" else f"the best {config.keep}"
        return [
            f"Sets of {sizes} tracks. Patches of {config.patch_s:g} s, loss {config.loss}, batches of {batch_size}.",
            f"Networks: {length}; scored with the weights of {kept}.",
        ]

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables of what was measured and of what was published."""
        return tables_of(rows)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the paper says against what was measured."""
        return claims_of(rows)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw the learning curves."""
        from taggram.studies._at_scale_pictures import draw_learning_curves

        return {"curves": draw_learning_curves(rows, f"Learning at scale, on {self.data_facts()['title']}")}
