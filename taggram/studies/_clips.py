"""Clips of exactly one class each, in folds, with their sound decoded once at each rate that a study needs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.datasets import TagDataset
from taggram.datasets._base import PARTS
from taggram.datasets._folds import cut, number_of, shuffled, stratify
from taggram.errors import ConfigError, DatasetError, printable
from taggram.frontends import RawConfig
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import DataConfig
from taggram.learning.train import Watcher, open_data, prepared_data

if TYPE_CHECKING:
    from taggram.datasets._base import Part, Track

FILE = "clips.json"
FIRST_TAG = "tags"  # the column of a csv whose first tag is the class
STYLE = "style"  # the column of made-up music that says the one thing it is
UNUSED = -1  # of a clip that a fold leaves out

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class StudyClips:
    """The clips of a study.

    Attributes:
        classes: their names, in the order of their numbers.
        track_ids: of the clips.
        labels: (clips,) number of the class of each.
        folds: numbers of the folds; (0,) where the data has one split.
        parts: (folds, clips) places in `PARTS`, or -1 of a clip that a fold leaves out.
        prepared: folder of the prepared sound by its rate in Hz.
    """

    classes: tuple[str, ...]
    track_ids: tuple[str, ...]
    labels: Whole
    folds: tuple[int, ...]
    parts: NDArray[np.int8]
    prepared: Mapping[int, str]

    def clips(self, fold: int, *parts: Part) -> Whole:
        """Give the clips of some parts of a fold.

        Args:
            fold: its number.
            *parts: train, valid or test; several are put together.

        Returns:
            (clips,) their numbers, in order.
        """
        places = [PARTS.index(part) for part in parts]
        return np.flatnonzero(np.isin(self.parts[self.folds.index(fold)], places))

    def sounds(self, sample_rate: int) -> Sounds:
        """Open the sound at a rate.

        Args:
            sample_rate: in Hz, one of those that were prepared.

        Returns:
            The sound of each clip.
        """
        return Sounds.of(self.prepared[sample_rate], self.track_ids)

    def some(self, n_clips: int, seed: int) -> StudyClips:
        """Keep some clips at random: of every class in every part its share.

        Args:
            n_clips: how many.
            seed: another one keeps others; they hang on it and the names of the clips alone.

        Returns:
            The clips that are kept, in their order; all of them where there are no more.
        """
        place = {name: place for place, name in enumerate(shuffled(self.track_ids, seed))}
        groups: dict[tuple[int, ...], list[int]] = {}
        for clip, group in enumerate(zip(self.labels.tolist(), *self.parts.tolist())):
            groups.setdefault(group, []).append(clip)
        ranks = {}
        for clips in groups.values():
            for rank, clip in enumerate(sorted(clips, key=lambda clip: place[self.track_ids[clip]])):
                ranks[clip] = ((rank + 0.5) / len(clips), place[self.track_ids[clip]])
        kept = sorted(sorted(ranks, key=lambda clip: ranks[clip])[:n_clips])
        return dataclasses.replace(
            self, track_ids=tuple(self.track_ids[clip] for clip in kept), labels=self.labels[kept],
            parts=self.parts[:, kept],
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the clips as JSON; `load` gives them back.

        Args:
            path: the file.
        """
        facts = {
            "classes": self.classes, "track_ids": self.track_ids, "labels": self.labels.tolist(),
            "folds": self.folds, "parts": self.parts.tolist(), "prepared": dict(self.prepared),
        }  # fmt: skip
        with written_aside(path) as aside:
            aside.write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read clips that were saved.

        Args:
            path: the file.

        Returns:
            The clips.
        """
        facts = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            tuple(facts["classes"]), tuple(facts["track_ids"]), np.array(facts["labels"], np.int64),
            tuple(facts["folds"]), np.array(facts["parts"], np.int8),
            {int(rate): folder for rate, folder in facts["prepared"].items()},
        )  # fmt: skip


@dataclass(frozen=True)
class Sounds:
    """The sound of the clips of a study at one rate.

    Attributes:
        data: where it is.
        rows: (clips,) row of each clip.
    """

    data: PreparedData
    rows: Whole

    @classmethod
    def of(cls, prepared: str, track_ids: Sequence[str]) -> Self:
        """Open the sound of some clips.

        Args:
            prepared: folder of the prepared sound.
            track_ids: of the clips.

        Returns:
            Their sound, in this order.
        """
        data = PreparedData(prepared)
        rows = {str(name): row for row, name in enumerate(data.column("track_id"))}
        return cls(data, np.array([rows[name] for name in track_ids], np.int64))

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.rows)

    @property
    def sample_rate(self) -> int:
        """Rate of the samples in Hz."""
        return self.data.sample_rate

    def whole(self, clip: int) -> NDArray[np.float32]:
        """Read a clip: (samples,) float32, -1 to 1."""
        return self.data.whole(int(self.rows[clip]))

    def content(self) -> str:
        """Hash what all clips sound like, in order: equal hashes are equal samples."""
        hashes = self.data.column("sound_hash")
        digest = hashlib.sha256(str(self.data.sample_rate).encode())
        for row in self.rows:
            digest.update(f"\t{hashes[row]}".encode())
        return digest.hexdigest()


def prepare_clips(
    config: DataConfig,
    rates: Iterable[int],
    folder: Path,
    watcher: Watcher,
    n_workers: int | None,
    *,
    n_folds: int = 0,
    fold_seed: int | None = None,
    wanted_folds: Sequence[int] = (),
    n_clips: int = 0,
    clip_seed: int = 0,
    opened: TagDataset | None = None,
) -> dict[str, Any]:
    """Open a data set of clips with one class each, decode it, and write down what is in which fold.

    A data set that has folds gives all of them, unless one is named as its split. Of a csv, the class of a row is the
    first of its tags, or the value of the column that `data.label` names; of other data sets likewise, where clips have
    more than one tag.

    Args:
        config: names the data.
        rates: in Hz, at which the sound is wanted.
        folder: of the run, where `clips.json` is written.
        watcher: is told what happens.
        n_workers: processes that decode; None is one a core.
        n_folds: deal all clips out to so many folds, whatever parts the data has; 0 is the data's own.
        fold_seed: of the random order that is cut into these folds; None is the sorted one, of which each fold gets its
            share of every class.
        wanted_folds: refuse data that has not these.
        n_clips: keep so many clips at random, of every class in every part its share; 0 is all.
        clip_seed: of this choice.
        opened: the data set as `open_clips` gives it, where it is open already; None opens it.

    Returns:
        "clips", the file, and "facts", as `Study.data_facts` gives them.

    Raises:
        ConfigError: no data is named, or it has no such folds or column.
        DatasetError: the data is missing, or clips have no class.
    """
    dataset = open_clips(config, watcher) if opened is None else opened
    tracks = [(track, _class_of(track, config, dataset)) for track in dataset.tracks()]
    prepared = {}
    there = {track.track_id for track, name in tracks if name}
    for rate in sorted(set(rates)):
        data = prepared_data(config, dataset, RawConfig(sample_rate=rate, n_samples=rate), n_workers, watcher)
        prepared[rate] = str(data.folder.resolve())
        there &= set(map(str, data.column("track_id")))
    kept = [(track, name) for track, name in tracks if track.track_id in there]
    classes = _classes(dataset, [name for _, name in kept])
    if len(classes) < 2:
        raise DatasetError(f"all clips of {dataset.card.name} are of one class ({', '.join(classes)}); two are wanted.")
    numbers = {name: number for number, name in enumerate(classes)}
    folds, parts = _folds(dataset, config, [track for track, _ in kept], [name for _, name in kept], n_folds, fold_seed)
    if missing := [fold for fold in wanted_folds if fold not in folds]:
        raise ConfigError(
            f"there is no fold {missing[0]} of {dataset.card.name}; there are {', '.join(map(str, folds))}."
        )
    clips = StudyClips(
        classes=classes,
        track_ids=tuple(track.track_id for track, _ in kept),
        labels=np.array([numbers[name] for _, name in kept], np.int64),
        folds=folds,
        parts=parts,
        prepared=prepared,
    )
    if n_clips:
        clips = clips.some(n_clips, clip_seed)
    clips.save(folder / FILE)
    return {"clips": FILE, "facts": _facts(dataset, clips)}


def open_clips(config: DataConfig, watcher: Watcher) -> TagDataset:
    """Open a data set for `prepare_clips`, a csv with one tag a clip.

    Args:
        config: names the data.
        watcher: is told what is odd about it.

    Returns:
        The data set, of which nothing is decoded yet.

    Raises:
        ConfigError: no data is named, or prepared data.
        DatasetError: it is missing, or not as it should be.
    """
    options = dict(config.options)
    if config.name == "csv":
        options = {"label": FIRST_TAG, "min_count": 1, **options}
    else:
        options.pop("label", None)
    dataset = open_data(DataConfig(name=config.name, root=config.root, options=options), watcher)
    if dataset is None or config.prepared:
        raise ConfigError("data.prepared is not for studies, which may need the sound at several rates: data.root=DIR.")
    return dataset


def title_of(dataset: TagDataset) -> str:
    """Name a data set in the title of a table: a published one, or the folder of one's own."""
    folder = printable(dataset.root.resolve().name)
    return dataset.card.title if dataset.card.citation else f"{dataset.card.name} data in {folder}"


# -- inside ------------------------------------------------------------------------------------------------------------


def _class_of(track: Track, config: DataConfig, dataset: TagDataset) -> str:
    """Give the class of a clip, or "" where it has none."""
    label = config.options.get("label", STYLE if config.name == "synth" else "")
    columns = ", ".join(track.columns) or "none"
    if label and config.name != "csv":
        if label not in track.columns:
            raise ConfigError(f"data.label={label}: {dataset.card.name} has no such column; it has {columns}.")
        return "" if track.columns[label] is None else str(track.columns[label])
    if dataset.task == "several" and len(track.tags) > 1:
        raise ConfigError(
            f"clips of {dataset.card.name} have several tags, and this study wants one class each; "
            f"data.label=COLUMN names a column that says it; there are {columns}."
        )
    return track.tags[0] if track.tags else ""


def _classes(dataset: TagDataset, names: Sequence[str]) -> tuple[str, ...]:
    """List the classes: in the order of the data set, or of the alphabet where it has none for them."""
    there = set(names)
    if there <= set(dataset.tags):
        return tuple(tag for tag in dataset.tags if tag in there)
    return tuple(sorted(there))


def _folds(
    dataset: TagDataset,
    config: DataConfig,
    tracks: Sequence[Track],
    names: Sequence[str],
    n_folds: int,
    fold_seed: int | None,
) -> tuple[tuple[int, ...], NDArray[np.int8]]:
    """Say what is in which part of each fold."""
    places = {track.track_id: place for place, track in enumerate(tracks)}
    if n_folds:
        if fold_seed is None:
            order = sorted(places)
            dealt = stratify([names[places[track_id]] for track_id in order], n_folds)
        else:
            order = shuffled(places, fold_seed)
            dealt = [fold for fold, run in enumerate(cut(order, n_folds), 1) for _ in run]
        fold_of = np.zeros(len(tracks), int)
        fold_of[[places[track_id] for track_id in order]] = dealt
        numbers = tuple(range(1, n_folds + 1))
        test, train = PARTS.index("test"), PARTS.index("train")
        return numbers, np.array([np.where(fold_of == fold, test, train) for fold in numbers], np.int8)
    if number_of(dataset.split) is None:
        return (0,), np.array([[PARTS.index(track.part) for track in tracks]], np.int8)
    splits = [name for name in dataset.card.splits if number_of(name) is not None]
    if "split" in config.options:
        splits = [dataset.split]
    parts = np.full((len(splits), len(tracks)), UNUSED, np.int8)
    for row, split in enumerate(splits):
        for track in dataset.with_split(split).tracks():
            if track.track_id in places:
                parts[row, places[track.track_id]] = PARTS.index(track.part)
    return tuple(number_of(split) or 0 for split in splits), parts


def _facts(dataset: TagDataset, clips: StudyClips) -> dict[str, Any]:
    """Say what is measured on."""
    digest = hashlib.sha256(json.dumps([clips.track_ids, clips.labels.tolist(), clips.parts.tolist()]).encode())
    split = digest.hexdigest()[:11]
    where = f"{len(clips.folds)} folds" if len(clips.folds) > 1 else f"split {dataset.split}"
    return {
        "name": dataset.card.name,
        "title": title_of(dataset),
        "words": f"{len(clips.track_ids):,} clips of {len(clips.classes)} classes, {where} {split}.",
        "split": dataset.split,
        "split_sha256": digest.hexdigest(),
        "n_clips": len(clips.track_ids),
        "classes": clips.classes,
        "sounds": {str(rate): clips.sounds(rate).content() for rate in clips.prepared},
    }
