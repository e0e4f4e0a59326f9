"""Artist labels: networks that learn to tell artists apart, and what their features are worth for other tasks.

Source: Park, Lee, Park, Ha and Nam, "Representation learning of music using artist labels", ISMIR 2018, arXiv
    1710.06648, and its first version of 2017, which has the recognition of unseen artists and the tags; the authors'
    code, github.com/jongpillee/ismir2018-artist.
Differs:
    - The songs of an artist are put into a random order before they are divided, and anchors and clips come in another
      order in each epoch. The last, smaller batch of the classifiers is not dropped, and they are validated on whole
      songs.
    - The rate drops on a plateau, as it did in the training of the one network that was published; in the script it
      stays.
    - The network that learns tags has the songs of all artists, less those of the unseen ones, in training and in
      validation; how the protocols of
      unseen artists, retrieval and nearest neighbours went exactly is not known.
    - Mean and deviation of the spectrogram are those of the authors' training set, whatever the data.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from taggram.datasets._base import PARTS
from taggram.errors import DatasetError
from taggram.learning.aggregation import Segments, clip_vectors
from taggram.learning.artist_splits import ArtistSplit, artist_split, songs_by_part, tracks_by
from taggram.learning.clip_patches import patches_of_sound
from taggram.learning.patch_fit import scores_of
from taggram.learning.prepared import PreparedData
from taggram.learning.siamese import fit_siamese
from taggram.models import create_model
from taggram.models._saved import load_model
from taggram.studies._artist_data import MFCC_RATE, RATE, prepare_all
from taggram.studies._artist_results import BY_ARTISTS, PUBLISHED, TASKS, claims_of, draw, tables_of, titles_of
from taggram.studies._artist_settings import ArtistConfig
from taggram.studies._artist_transfer import (
    DENSE,
    RETRIEVAL,
    SVM,
    Examples,
    measure,
    measure_retrieval,
    measure_tags,
)
from taggram.studies._base import Cell, Claim, Row, Study
from taggram.studies._clips import Sounds, StudyClips
from taggram.studies._mfcc import mfcc_features
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import (
    fit_cell,
    is_begun,
    open_sound,
    shared_sound,
)
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher
    from taggram.models._contract import TaggingModel

LAYER = "conv5"  # whose values are the features
SEGMENTS = Segments(n_segments=10)  # of 3 s, of a clip of 30 s
TRAINING, FEATURES = "training", "features"  # the cells that make what others need
CLASSES, UNSEEN, TAGS = TASKS
VALID_SHARE = 0.1  # of the songs that tags are learned from, where there is no part for validation

Whole = NDArray[np.int64]


class Artist(Study):
    """Accuracy, retrieval and ROC-AUC on the features of networks that learned artists."""

    name = "artist"
    title = "Features learned from artist labels"
    paper = "Park et al., ISMIR 2018"
    paper_data = ("msd",)
    config_kind = ArtistConfig
    published = PUBLISHED

    @classmethod
    def prepare(cls, config: ArtistConfig, folder: Path, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
        """Decode the songs, and the clips that features are tried on; see `Study.prepare`."""
        found = prepare_all(config, folder, watcher, n_workers)
        return {**found, "heard": cls(config, folder, found).heard()}

    # -- cells ---------------------------------------------------------------------------------------------------------

    def phases(self) -> list[list[Cell]]:
        """List the cells: networks, then their features, then what is learned on these."""
        nets = [
            (method, run, details)
            for run, method in itertools.product(range(self.config.runs), self.config.chosen)
            for details in self._details(method)
            if run == 0 or method != "mfcc"
        ]
        training = [
            Cell(method=method, run=run, details={**details, "task": TRAINING})
            for method, run, details in nets
            if method in (*BY_ARTISTS, "tags")
        ]
        features = [
            Cell(method=method, run=run, details={**details, "task": task, "part": FEATURES}, is_scored=False)
            for method, run, details in nets
            for task in self._tasks(method)
        ]
        scored = [
            Cell(method=method, fold=fold, run=run, details={**details, "task": task, "classifier": classifier})
            for method, run, details in nets
            for task in self._tasks(method)
            for classifier in self._classifiers(method, task)
            for fold in (self._folds if task == CLASSES and classifier != RETRIEVAL else (0,))
        ]
        return [training, features, scored]

    @property
    def n_artists(self) -> tuple[int, ...]:
        """How many artists are learned, one network each."""
        config: ArtistConfig = self.config
        return config.n_artists(int(self.data["facts"]["n_artists"]))

    @property
    def tasks(self) -> list[str]:
        """What features are tried on."""
        there = {CLASSES: "clips" in self.data, UNSEEN: bool(self.config.unseen), TAGS: "tagged" in self.data}
        return [task for task in TASKS if there[task]]

    @property
    def _folds(self) -> tuple[int, ...]:
        return tuple(fold for fold in self.target.folds if fold in self.config.folds or not self.config.folds)

    def _details(self, method: str) -> list[dict[str, int]]:
        return [{"artists": number} for number in self.n_artists] if method in BY_ARTISTS else [{}]

    def _tasks(self, method: str) -> list[str]:
        """List what the features of a method are tried on."""
        return [task for task in self.tasks if task != TAGS or method != "mfcc"]

    def _classifiers(self, method: str, task: str) -> Sequence[str]:
        if task == TAGS:
            return (DENSE,)
        return (SVM,) if method == "mfcc" else (*self.config.classifiers, RETRIEVAL)

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train a network, compute features, or try them; see `Study.measure`."""
        task, artists = str(cell.details["task"]), int(cell.details.get("artists") or 0)
        if task == TRAINING:
            return self._train(cell, artists)
        features = self.features(cell.method, artists, cell.run, task)
        if not cell.is_scored:
            return {"n_clips": len(features), "n_features": features.shape[1]}
        place = ("classifier", cell.method, artists, task, cell.fold, cell.run)
        if task == TAGS:
            sound = open_sound({"prepared": self.data["tagged"]}, RATE)
            holds = sound.labels(np.arange(len(sound)))
            return measure_tags(features, holds, _parts_of(sound), self.seed_of(*place))
        if cell.details["classifier"] == RETRIEVAL:
            return measure_retrieval(features, self._labels(task))
        examples = self._examples(features, task, cell.fold)
        return measure(
            str(cell.details["classifier"]), examples, lambda run: self.seed_of(*place, run),
            n_runs=self.config.softmax_runs, n_hidden=self.config.hidden_layers,
        )  # fmt: skip

    # -- networks ------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def source(self) -> PreparedData:
        """The songs that networks learn from."""
        return open_sound({"prepared": self.data["source"]}, RATE)

    @functools.cached_property
    def all_artists(self) -> ArtistSplit:
        """All artists with enough songs, in the order in which they are taken; the unseen ones are the last."""
        config = self.config
        return artist_split(self.source, column=config.artist_column, n_songs=config.songs, seed=config.seed)

    @property
    def unseen(self) -> ArtistSplit:
        """The artists whom no network learns from."""
        return self.all_artists.some(len(self.all_artists) - self.config.unseen)

    def songs(self, method: str, artists: int) -> PreparedData:
        """Give what a network learns from.

        Args:
            method: a network that is trained.
            artists: how many it learns.

        Returns:
            Songs of these artists with their names for tags, or those of all but the unseen ones with their own tags.
        """
        if method in BY_ARTISTS:
            return self.all_artists.some(0, artists).view(self.source)
        parts = np.empty(len(self.source), np.int64)
        for number, part in enumerate(PARTS):
            parts[self.source.index(part)] = number
        # Also of validation, which chooses weights, and also the songs that nobody is to be recognised by.
        parts[tracks_by(self.source, self.unseen.artists, column=self.config.artist_column)] = -1
        return self.source.with_parts(parts, split="without unseen artists")

    def heard(self) -> dict[str, dict[str, int]]:
        """Count the clips of each task that sound exactly like songs that networks learn from, or are chosen by.

        Returns:
            By task: "test" and "all", how many clips for testing and of all parts there are; "heard_test" and
            "heard_all", how many of them are heard before.

        Raises:
            DatasetError: all songs to learn tags from are by unseen artists.
        """
        views = [
            self.songs(method, max(self.n_artists) if method in BY_ARTISTS else 0)  # fewer are among more
            for method in self.config.chosen
            if method in (*BY_ARTISTS, "tags")
        ]
        if any(not len(view.index("train")) for view in views):
            raise DatasetError("no song is left to learn tags from: all are by unseen artists; unseen=N says how many.")
        learned = np.concatenate([np.empty(0, np.int64), *(view.index(part) for view in views for part in PARTS[:2])])
        counts = {}
        for task in self.tasks:
            sounds, test = self.sounds(task, RATE), self._tested(task)
            counts[task] = {
                "test": len(test),
                "heard_test": shared_sound(sounds.data, sounds.rows[test], self.source, learned),
                "all": len(sounds),
                "heard_all": shared_sound(sounds.data, sounds.rows, self.source, learned),
            }
        return counts

    def _tested(self, task: str) -> Whole:
        """Give the clips of a task that are tested on, in whatever fold."""
        if task == CLASSES:
            return np.unique(np.concatenate([self.target.clips(fold, "test") for fold in self._folds]))
        if task == TAGS:
            return open_sound({"prepared": self.data["tagged"]}, RATE).index("test")
        return np.flatnonzero(self.unseen.parts[self.unseen.songs.ravel()] == PARTS.index("test"))

    def start(self, method: str, artists: int, run: int) -> TaggingModel:
        """Build a network with its first weights.

        Args:
            method: which one; that of "untrained" stays so.
            artists: how many it learns.
            run: from 0 on; each has other weights.

        Returns:
            The network in training mode.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_of("weights", method, artists, run))
            if method in ("siamese", "untrained"):
                return create_model("artist_siamese")
            songs = self.songs(method, artists)
            model = create_model(
                "artist_basic", n_tags=len(songs.tags), task=songs.task, dropout=self.config.dropout
            )  # fmt: skip
        model.tags = songs.tags
        return model

    def _train(self, cell: Cell, artists: int) -> dict[str, Any]:
        """Train a network, and say how that went."""
        folder, songs = self.files / cell.key, self.songs(cell.method, artists)
        config = replace(self.config.fit, seed=self.seed_of("training", cell.method, artists, cell.run))
        model = self.start(cell.method, artists, cell.run)
        if cell.method == "siamese":
            paired = fit_siamese(model, songs, folder, config, resume=is_begun(folder), device=self.config.device)
            trained, history = paired.model, paired.history
        else:
            if not len(songs.index("valid")):
                config = replace(config, valid_share=VALID_SHARE)
            fitted = fit_cell(model, songs, folder, config, device=self.config.device)
            trained, history = fitted.model, fitted.history
        best = min(history, key=lambda figures: figures["valid_loss"])
        return {
            "known_accuracy": self._recognised(trained, songs) if cell.method == "basic" else None,
            "valid_loss": best["valid_loss"],
            "valid_accuracy": best["valid_accuracy"],
            "valid_auc": best["valid_auc"] if cell.method == "tags" else None,
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(history),
            "n_songs": len(songs.index("train")),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }

    def _recognised(self, model: TaggingModel, songs: PreparedData) -> float:
        """Give the share of the test songs whose artist has the highest mean score; song by song, to save memory."""
        device, rows, frontend = find_device(self.config.device), songs.index("test"), model.frontend
        sounds = (patches_of_sound(frontend.cpu(), songs.whole(int(row))) for row in rows)
        found = [int(scores_of(model, patches, device=device).mean(0).argmax()) for patches in sounds]
        return float(np.mean(np.array(found) == songs.class_numbers(rows)))

    # -- features ------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def target(self) -> StudyClips:
        """The clips with a class each."""
        return StudyClips.load(self.folder / self.data["clips"])

    def sounds(self, task: str, rate: int) -> Sounds:
        """Give the sound of the clips of a task.

        Args:
            task: classes, unseen artists or tags.
            rate: in Hz.

        Returns:
            Their sound; that of unseen artists is artist after artist, as in `ArtistSplit.songs`.
        """
        if task == CLASSES:
            return self.target.sounds(rate)
        if task == TAGS:
            sound = open_sound({"prepared": self.data["tagged"]}, rate)
            return Sounds(sound, np.arange(len(sound)))
        return Sounds(open_sound({"prepared": self.data["source"]}, rate), self.unseen.songs.ravel())

    def features(self, method: str, artists: int, run: int, task: str) -> NDArray[np.float32]:
        """Give the features of the clips of a task: computed once for all cells.

        Args:
            method: a network, or "mfcc".
            artists: how many it learned.
            run: from 0 on.
            task: what they are tried on.

        Returns:
            (clips, features).
        """
        cache, facts = self.files / FEATURES, {"method": method, "artists": artists, "run": run, "task": task}
        if method == "mfcc":
            return mfcc_features(self.sounds(task, MFCC_RATE), cache, facts)
        details = {"artists": artists} if method in BY_ARTISTS else {}
        trained = self.files / Cell(method=method, run=run, details={**details, "task": TRAINING}).key
        network = self.start(method, artists, run) if method == "untrained" else load_model(trained)
        vectors = clip_vectors(
            network, self.sounds(task, RATE), [LAYER], segments=SEGMENTS, cache=cache, facts=facts,
            device=find_device(self.config.device), n_threads=1,
        )  # fmt: skip
        return vectors[LAYER]

    def _labels(self, task: str) -> Whole:
        """Give the class, or the unseen artist, of each clip of a task."""
        return self.target.labels if task == CLASSES else self.unseen.classes[self.unseen.songs.ravel()]

    def _examples(self, features: NDArray[np.float32], task: str, fold: int) -> Examples:
        """Divide the clips of a task."""
        seed = self.seed_of("validation", task, fold)
        if task == CLASSES:
            train, valid, test = (self.target.clips(fold, part) for part in PARTS)
        else:
            part_of = self.unseen.parts[self.unseen.songs.ravel()]
            train, valid, test = (np.flatnonzero(part_of == number) for number in range(len(PARTS)))
        return Examples.of(features, self._labels(task), (train, valid, test), seed)

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are, and what was made smaller."""
        config = self.config
        shares = " / ".join(map(str, songs_by_part(config.songs)))
        told = [f"{config.songs} songs of each artist, {shares} to learn from, validate and test; 20 in the paper."]
        if config.unseen:
            told.append(f"{config.unseen} artists whom no network learned from are to be recognised.")
        fit = config.fit
        told.append(
            f"SGD at {fit.lr:g}, batches of {fit.batch_size}, at most {fit.max_epochs} epochs (1000 in the paper); the "
            f"rate drops to a fifth after {config.patience} epochs without improvement, {config.stop_after} end it."
        )
        if others := config.changed():
            told.append(f"Otherwise than by default, which is in brackets: {'; '.join(others)}.")
        titles = titles_of(self.data_facts(), self.data["titles"])
        told += [
            f"{titles[task]}: {n['heard_test']:,} of {n['test']:,} clips for testing, and {n['heard_all']:,} of "
            f"{n['all']:,} in all, sound exactly like songs that networks learn from or are chosen by, so that these "
            "scores flatter them."
            for task, n in self.data["heard"].items()
            if n["heard_all"]
        ]
        return told

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make a table a task, and one of the trainings."""
        return tables_of(rows, titles_of(self.data_facts(), self.data["titles"]))

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw accuracy and retrieval against the number of artists."""
        return draw(rows, titles_of(self.data_facts(), self.data["titles"]))

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the paper says against what was measured."""
        return claims_of(rows)


# -- inside ------------------------------------------------------------------------------------------------------------


def _parts_of(sound: PreparedData) -> tuple[Whole, Whole, Whole]:
    return sound.index("train"), sound.index("valid"), sound.index("test")
