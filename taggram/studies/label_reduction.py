"""Label reduction: what networks of two and three layers learn of fewer tags, after synonyms are merged.

Source: Alekseeva, Klironomou, Markou and Xenaki, "Development of a convolutional neural network for multi label auto
    tagging of music audio files", student project, 2017: code and README, github.com/emarkou/Audio-auto-tagging. There
    is no paper.
Differs: its split is not known, two folders filled by hand; here it is that of the data, on MagnaTagATune by folders.
    Its progress was steered by the test clips; here by those for validation, and the test is looked at once. Its
    metrics ran on over training and test; here each is of the test alone. An epoch is shuffled. Sound is decoded
    straight to 2,108 Hz, there by way of a WAV file of 44.1 kHz. Its code has no network but that of three layers;
    those of two layers and of other pools are ours, and so are decibels and the training "default". A shorter clip
    is repeated until it fills the picture. No ROC-AUC of the source is known.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from taggram._checks import check, check_count, is_number
from taggram.errors import DatasetError, printable
from taggram.learning._run_folder import kept_epoch
from taggram.learning.config import FitConfig
from taggram.learning.evaluate import Evaluation, save_evaluations, write_rows, write_table
from taggram.learning.label_reduction import Reduction, read_synonyms, reduce_tags
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import Recipe
from taggram.learning.report import write_report
from taggram.learning.tag_map import (
    LEAST_TAGS,
    TagVectors,
    count_tags,
    count_vectors,
    make_map,
    output_vectors,
    read_vectors,
)
from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.models.emarkou import FRONTENDS, KERNEL, N_DENSE, POWER, PRESETS
from taggram.studies import _label_reduction_results as results
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig
from taggram.studies._drawn import valid_share, with_drawn_parts
from taggram.studies._label_reduction_published import ROWS
from taggram.studies._label_reduction_results import NETS
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import figures_of, fit_cell, open_sound, prepare_sound, score_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

REPORTS, MAPS, LABELS = "reports", "maps", "labels"  # folders in that of the run
TRAININGS = {"default": "emarkou_mtt", "literal": "emarkou_literal_mtt"}  # by what recipe
SHARES = (80, 10, 10)  # where the data has no part for testing
DRAWN = "drawn, 80, 10 and 10 %"
NOT_KNOWN = "not known"  # the split of the source: no division of the data is the same
DEFAULTS: dict[str, dict[str, Any]] = {  # options of data sets: all their tags, to be reduced here
    "mtt": {"split": "dir-all", "tags": "mtt188"},
    "csv": {"min_count": 1},
}


@dataclass(frozen=True, kw_only=True)
class LabelReductionConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        features: what the networks see: the power of the mel spectrogram ("mel"), its cepstrum ("mfcc"), or its
            decibels ("logmel").
        training: how they are trained: "literal" is as in the code, 210 steps of 700 clips from weights of deviation 1,
            and the last weights are kept; "default" is ours, 20 epochs in batches of 64, kept by validation.
        synonyms: file of what is merged, as `taggram.learning.label_reduction.read_synonyms` takes it; "" is the 29
            groups of the source on MagnaTagATune, and nothing on other data.
        n_tags: so many of the commonest tags are kept.
        width: times the filters and units of the published networks.
        max_epochs: of the training "default"; 0 is 20.
        batch_size: clips a step of both; 0 is 64, and 700 of "literal".
        n_updates: steps of the training "literal"; 0 is 210, as published.
        vectors: file of word vectors (word2vec, GloVe or fastText) for a map of the tags; "" draws none of these.
        n_examples: clips in the tables of examples of each report.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(NETS)

    features: tuple[str, ...] = field(default=tuple(FRONTENDS), metadata=GRID)
    training: tuple[str, ...] = field(default=tuple(TRAININGS), metadata=GRID)
    synonyms: str = ""
    n_tags: int = 50
    width: float = 1.0
    max_epochs: int = 0
    batch_size: int = 0
    n_updates: int = 0
    vectors: str = field(default="", metadata=GRID)
    n_examples: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("features", FRONTENDS), ("training", TRAININGS)):
            came = getattr(self, name)
            check(bool(came) and set(came) <= {*known}, name, came, f"some of {', '.join(known)}")
        check_count("n_tags", self.n_tags)
        check(is_number(self.width) and 0 < self.width <= 4, "width", self.width, "a number above 0, at most 4")
        for name in ("max_epochs", "batch_size", "n_updates"):
            check_count(name, getattr(self, name), 0)
        check_count("n_examples", self.n_examples)
        check(isinstance(self.synonyms, str), "synonyms", self.synonyms, "the name of a file")
        check(isinstance(self.vectors, str), "vectors", self.vectors, "the name of a file")


class LabelReduction(Study):
    """Accuracy, recall and ROC-AUC of few tags, by the network."""

    name = "label_reduction"
    title = "Fewer tags: synonyms merged, the commonest kept, networks of two and three layers"
    paper = "Alekseeva, Klironomou, Markou and Xenaki, student project, 2017"
    paper_data = ("mtt",)
    paper_splits = (NOT_KNOWN,)
    config_kind = LabelReductionConfig
    published = ROWS

    @classmethod
    def prepare(
        cls,
        config: LabelReductionConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the clips and reduce their tags; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split, data.split=NAME")
        groups = read_synonyms(config.synonyms) if config.synonyms else _known_groups(config.data.name)
        found = prepare_sound(
            config.data, [POWER.sample_rate], watcher, n_workers, defaults=DEFAULTS.get(config.data.name),
            parts=("train",),
        )  # fmt: skip
        raw = open_sound(found, POWER.sample_rate)
        reduction = reduce_tags(lambda: map(raw.tags_of, range(len(raw))), raw.tags, groups, config.n_tags)
        found |= {"reduction": reduction.to_dict(), "is_drawn": not len(raw.index("test")), "seed": config.seed}
        reduced = open_reduced(found)
        for part in ("train", "test"):
            n_clips = len(reduced.index(part))
            check(n_clips > 0, f"clips of {part} with one of the tags that are kept", n_clips, "one at least")
        if config.vectors:
            read_vectors(config.vectors, reduced.tags)  # what is wrong with the file is told before hours of training
            found["vectors"] = _digest(Path(config.vectors))
        split, digest = (str(reduced.card[key]) for key in ("split", "split_sha256"))
        numbers = f"{len(reduction.tags)} tags, merged to {len(reduction.merged)}, of which {len(reduction.kept)} stay"
        none = f"{reduction.n_untagged:,} clips have none of these and are left out"
        own = {
            "words": f"{reduction.n_clips:,} clips with {numbers}; {none}. Split {split} {digest[:11]}.",
            "split": split,
            "split_sha256": digest,
            "n_clips": reduction.n_clips - reduction.n_untagged,
            "tags": reduction.kept,
        }
        return {**found, "facts": {**found["facts"], **own}}

    def phases(self) -> list[list[Cell]]:
        """List the cells: what became of the labels, and maps of them; then the networks."""
        config = self.config
        about = [Cell(method="labels", is_scored=False), Cell(method="map", details={"of": "clips"}, is_scored=False)]
        if config.vectors:
            about.append(Cell(method="map", details={"of": f"words-{self.data['vectors']}"}, is_scored=False))
        cells = [
            Cell(method=method, run=run, details={"features": features, "training": training})
            for run in range(config.runs)
            for training in config.training
            for features in config.features
            for method in config.methods or config.METHODS
        ]
        return [[*about, *cells]]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Write what became of the labels, draw a map, or train and test a network; see `Study.measure`."""
        if cell.method == "labels":
            self._write_labels()
            return {"n_tags": len(self.reduction.kept)}
        if cell.method == "map":
            return self._map_of_labels(str(cell.details["of"]))
        model, folder = self.start(cell), self.files / cell.key
        trained = fit_cell(model, self.sound, folder, self.fit(cell), device=self.config.device)
        evaluation = score_part(trained.model, self.sound, device=self.config.device)
        evaluation = replace(evaluation, model=results.words_of(cell.row({})))
        own = self.folder / REPORTS / cell.key
        save_evaluations([evaluation], own)
        write_report(evaluation, own, n_examples=self.config.n_examples, seed=self.config.seed)
        self._save_map(output_vectors(trained.model), cell.key, evaluation)
        best = kept_epoch(trained.history, self.fit(cell).keep)
        return {
            **figures_of(evaluation),
            **results.decisions_of(evaluation),
            "examples": results.examples_of(evaluation, self.config.n_examples, self.config.seed),
            **{name: _known(best[name]) for name in ("valid_loss", "valid_auc")},
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(trained.history),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    # -- labels and maps -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def reduction(self) -> Reduction:
        """What became of the tags."""
        return Reduction.of(self.data["reduction"])

    @functools.cached_property
    def sound(self) -> PreparedData:
        """The sound of the clips with the tags that are kept."""
        return open_reduced(self.data)

    def _write_labels(self) -> None:
        """Write the table of labels and the counts, as the source's helpers do."""
        folder = self.folder / LABELS
        folder.mkdir(exist_ok=True)
        write_rows(folder / "labels.csv", self._label_rows())
        write_table(folder / "counts.csv", results.count_rows(self.reduction))

    def _label_rows(self) -> Iterator[list[Any]]:
        """Give the lines of the table of labels, the head first."""
        yield ["track_id", *self.reduction.kept]
        ids = self.sound.column("track_id")
        for row in range(len(self.sound)):
            if self.sound.tags_of(row):
                yield [ids[row], *self.sound.labels([row])[0].astype(int).tolist()]

    def _map_of_labels(self, of: str) -> dict[str, Any]:
        """Draw a map by which tags clips have together, or by word vectors."""
        rows = np.concatenate([self.sound.index(part) for part in ("train", "valid", "test")])
        if of == "clips":
            vectors = count_vectors(count_tags(map(self.sound.tags_of, rows.tolist()), self.sound.tags))
        else:
            vectors = read_vectors(self.config.vectors, self.sound.tags)
        self._save_map(vectors, of)
        return {"n_tags": len(vectors.tags), "dropped": list(vectors.dropped)}

    def _save_map(self, vectors: TagVectors, name: str, evaluation: Evaluation | None = None) -> None:
        """Write a map, where there are enough tags for one."""
        if len(vectors.tags) < LEAST_TAGS:
            return
        columns: dict[str, list[Any]] = {"clips": [self.reduction.n_merged[tag] for tag in vectors.tags]}
        if evaluation is not None:
            of_tags = results.decisions_of(evaluation)["decisions"]
            columns["recall"] = [
                "" if of_tags[tag]["recall"] is None else of_tags[tag]["recall"] for tag in vectors.tags
            ]
        make_map(vectors, seed=self.config.seed).save(self.folder / MAPS, name=name, columns=columns)

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    def fit(self, cell: Cell) -> FitConfig:
        """Say how a cell's network is trained."""
        config, own = self.config, Recipe.load(TRAININGS[str(cell.details["training"])]).fit
        own = replace(
            own,
            batch_size=config.batch_size or own.batch_size,
            valid_share=valid_share(self.sound),
            seed=self.seed_of("training", cell.run),
        )
        if cell.details["training"] == "default":
            return replace(own, max_epochs=config.max_epochs or own.max_epochs)
        n_updates = config.n_updates or own.max_steps
        return replace(own, max_steps=n_updates, max_epochs=n_updates or own.max_epochs)  # an epoch has one at least

    def start(self, cell: Cell) -> TaggingModel:
        """Build a cell's network with its first weights."""
        stack = PRESETS[NETS[cell.method].preset]
        width = self.config.width
        torch.manual_seed(self.seed_of("weights", cell.run))
        model = create_model(
            "emarkou", n_tags=len(self.sound.tags), preset=NETS[cell.method].preset, features=cell.details["features"],
            widths=tuple(max(1, round(width * n_filters)) for n_filters in stack.widths), kernels=KERNEL,
            n_dense=max(1, round(width * N_DENSE)),
            init=Recipe.load(TRAININGS[str(cell.details["training"])]).options["init"],
        )  # fmt: skip
        model.tags = self.sound.tags
        return model.train()

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are, and where the reports lie."""
        lines = results.remarks(self.config, self.reduction, is_drawn=self.data["is_drawn"])
        inside = f"{REPORTS}/ has a report of each network, {MAPS}/ has maps of the tags"
        return [*lines, f"{inside}, and {LABELS}/ has the reduced labels and the counts."]

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables."""
        return results.tables(rows, self.reduction)

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the README reads out of its charts against what was measured."""
        return results.claims(rows)

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw the labels before and after, and what the networks learned."""
        from taggram.studies import _label_reduction_pictures as pictures

        title = str(self.data_facts()["title"])
        return {
            "tags_by_count": pictures.draw_counts(self.reduction, title=title),
            "tags_per_clip": pictures.draw_per_clip(self.reduction, title=title),
            "networks": pictures.draw_networks(rows, title=title),
            "accuracy_recall": pictures.draw_tags(results.best_row(rows), title=title),
        }


def open_reduced(data: Any) -> PreparedData:
    """Open the sound with the tags that are kept.

    Args:
        data: as `LabelReduction.prepare` gave it.

    Returns:
        The clips that have one of them, in their parts.
    """
    raw = open_sound(data, POWER.sample_rate)
    if data["is_drawn"]:
        raw = with_drawn_parts(raw, SHARES, data["seed"], split=DRAWN)
    return raw.with_tags(Reduction.of(data["reduction"]).members(), keep_untagged=False)


def _known_groups(name: str) -> dict[str, tuple[str, ...]]:
    """Give the groups of the source on its own data, and none on other data."""
    if name != "mtt":
        return {}
    from taggram.datasets import _synonyms

    return dict(_synonyms.EMARKOU)


def _digest(path: Path) -> str:
    """Hash the content of a file, in the memory of a piece of it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
