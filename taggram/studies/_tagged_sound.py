"""Clips with tags in parts, decoded once at each rate that a study needs; networks that cells train on them and score.

A cell that trains a network goes on after a kill behind its last epoch, in a folder of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check
from taggram.errors import DatasetError
from taggram.frontends import RawConfig
from taggram.learning._run_folder import CONFIG
from taggram.learning.evaluate import Evaluation, evaluate_prepared
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import DataConfig
from taggram.learning.train import Watcher, open_data, prepared_data
from taggram.studies._clips import Sounds, title_of
from taggram.tagger import Tagger

if TYPE_CHECKING:
    from taggram.datasets import TagDataset
    from taggram.datasets._base import Part
    from taggram.learning._reading import Rows
    from taggram.learning._teller import Told
    from taggram.learning.augment import AugmentConfig
    from taggram.learning.config import FitConfig
    from taggram.learning.epoch_scores import EpochScores
    from taggram.learning.fit import FitResult
    from taggram.models._contract import TaggingModel

LABEL_ROWS = 4096  # clips whose labels are looked at together
N_RESAMPLES = 200  # of the intervals in a cell
WANTED: tuple[Part, ...] = ("train", "test")


@dataclass(frozen=True)
class OpenedData:
    """A data set of tagged clips that is there, with nothing of its sound decoded.

    Attributes:
        config: names it, with all options.
        dataset: the data set; None where there is prepared data alone.
    """

    config: DataConfig
    dataset: TagDataset | None


def open_dataset_of(config: DataConfig, watcher: Watcher, *, defaults: Mapping[str, Any] | None = None) -> OpenedData:
    """Open a data set, so that what is missing of it is told before that of another one is decoded.

    Args:
        config: names the data.
        watcher: is told what is odd about it.
        defaults: options of the data set where `config` has none, such as those of a recipe.

    Returns:
        What `prepare_sound` takes.

    Raises:
        ConfigError: no data is named.
        DatasetError: its lists are missing.
    """
    own = replace(config, features=False, options={**(defaults or {}), **config.options})
    return OpenedData(own, open_data(own, watcher))


def prepare_sound(
    config: DataConfig | OpenedData,
    rates: Iterable[int],
    watcher: Watcher,
    n_workers: int | None,
    *,
    defaults: Mapping[str, Any] | None = None,
    parts: Sequence[Part] = WANTED,
) -> dict[str, Any]:
    """Open a data set of tagged clips, and decode it at each rate.

    Args:
        config: names the data, or is what `open_dataset_of` gave.
        rates: in Hz, at which the sound is wanted.
        watcher: is told what happens.
        n_workers: processes that decode; None is one a core.
        defaults: as for `open_dataset_of`, where the data is not open yet.
        parts: each of which must have a clip.

    Returns:
        "prepared", a folder by rate, and "facts", as `Study.data_facts` gives them.

    Raises:
        ConfigError: no data is named.
        DatasetError: the data is missing, has no clip in a part, or no tag that can be scored.
    """
    wanted = sorted(set(rates))
    named = config if isinstance(config, OpenedData) else open_dataset_of(config, watcher, defaults=defaults)
    own, dataset = named.config, named.dataset
    opened = {
        rate: prepared_data(own, dataset, RawConfig(sample_rate=rate, n_samples=rate), n_workers, watcher)
        for rate in wanted
    }
    data = opened[wanted[0]]
    for rate, other in opened.items():
        check(other.sample_rate == rate, "the rate of data.prepared", other.sample_rate, f"{rate} Hz, as is needed")
        if list(other.column("track_id")) != list(data.column("track_id")):
            raise DatasetError(
                f"other clips can be decoded at {rate} Hz than at {wanted[0]} Hz, and methods must learn from the "
                "same; `taggram data check` says which files are damaged."
            )
    name, split, digest = (str(data.card[key]) for key in ("name", "split", "split_sha256"))
    for part in parts:
        if not len(data.index(part)):
            raise DatasetError(f"{name}, split {split}, has no clip in {part}; {' and '.join(parts)} are wanted.")
    if "test" in parts and not has_scorable_tag(data):
        raise DatasetError(
            f"{name}, split {split}: no tag can be scored; some clip of test must have it, and some not."
        )
    facts = {
        "name": name,
        "title": title_of(dataset) if dataset else f"{name} data in {Path(own.prepared).name}",
        "words": f"{len(data):,} clips with {len(data.tags)} tags, split {split} {digest[:11]}.",
        "split": split,
        "split_sha256": digest,
        "n_clips": len(data),
        "tags": data.tags,
        "sounds": {str(rate): Sounds(other, np.arange(len(other))).content() for rate, other in opened.items()},
    }
    folders = {str(rate): str(other.folder.resolve()) for rate, other in opened.items()}
    return {"prepared": folders, "facts": facts}


def open_sound(data: Mapping[str, Any], sample_rate: int) -> PreparedData:
    """Open the clips at a rate.

    Args:
        data: as `prepare_sound` gave it.
        sample_rate: in Hz, one of those that were prepared.

    Returns:
        The clips.
    """
    return PreparedData(data["prepared"][str(sample_rate)])


def has_scorable_tag(data: PreparedData) -> bool:
    """Tell whether some tag holds for a clip of test and does not for another; labels are looked at block by block."""
    rows = data.index("test")
    counts = np.zeros(len(data.tags), np.int64)
    for first in range(0, len(rows), LABEL_ROWS):
        counts += data.labels(rows[first : first + LABEL_ROWS]).astype(np.int64).sum(axis=0)
    return bool(((counts > 0) & (counts < len(rows))).any())


def shared_sound(test: PreparedData, test_rows: Rows, other: PreparedData, other_rows: Rows) -> int:
    """Count the clips for testing whose sound something learns from: by what they sound like, not by their names.

    Args:
        test: clips, some of which are tested on.
        test_rows: (rows,) these.
        other: clips, some of which are learned from, at the same rate; maybe the same data.
        other_rows: (rows,) these.

    Returns:
        How many of `test_rows` sound exactly like one of `other_rows`.

    Raises:
        ConfigError: the rates differ, so that no sound can be equal.
    """
    check(test.sample_rate == other.sample_rate, "the rate", test.sample_rate, f"{other.sample_rate} Hz in both")
    tested, learned = (
        data.column("sound_hash")[np.asarray(rows, np.int64)] for data, rows in ((test, test_rows), (other, other_rows))
    )
    return int(np.isin(tested, np.unique(learned)).sum())


def is_begun(folder: Path) -> bool:
    """Say whether there is a training to go on with; what was killed before it began is put away.

    Args:
        folder: of this training alone.

    Returns:
        Whether there is.
    """
    if folder.exists() and not (folder / CONFIG).exists():
        shutil.rmtree(folder)
    return folder.exists()


def fit_cell(
    model: TaggingModel,
    sound: PreparedData,
    folder: Path,
    config: FitConfig,
    *,
    device: str = "auto",
    augment: AugmentConfig | None = None,
    told: Told | None = None,
    use_features: bool = False,
    watched: EpochScores | None = None,
) -> FitResult:
    """Train a network in a folder, or go on with it where an earlier process was killed.

    Args:
        model: with its first weights, and a head for the tags of the sound.
        sound: at the rate of its front-end.
        folder: of this training alone.
        config: how it is trained.
        device: "auto", "cpu", "cuda", ...
        augment: changes of the patches; None is none.
        told: is told each step, and the figures of each epoch.
        use_features: whether the network is fed with features that were prepared.
        watched: scores further parts after each epoch; None scores none.

    Returns:
        The network with the weights that were kept, and the figures of each epoch.

    Raises:
        ConfigError: settings make no sense.
        DatasetError: the sound does not fit the network.
        TrainingError: training fails.
    """
    from taggram.learning.fit import fit

    return fit(
        model, sound, folder, config, resume=is_begun(folder), device=device, augment=augment, told=told,
        use_features=use_features, callbacks=[watched] if watched else None,
    )  # fmt: skip


def score_part(
    model: TaggingModel | Path, sound: PreparedData, part: Part = "test", *, device: str = "auto"
) -> Evaluation:
    """Score the clips of a part, each by the mean over its patches, as `taggram evaluate` does.

    Args:
        model: the network, or the folder of its training.
        sound: at its rate.
        part: of the clips.
        device: where it is done.

    Returns:
        Scores beside labels.

    Raises:
        DatasetError: there is no clip.
    """
    return evaluate_prepared(Tagger(model, device=device), sound, part)


def evaluation_of(
    model: str,
    sound: PreparedData,
    rows: Rows,
    scores: NDArray[np.float32],
    *,
    tags: Sequence[str] | None = None,
) -> Evaluation:
    """Put scores of the clips for testing, whatever they come from, beside their labels.

    Args:
        model: what they come from, such as the key of a cell.
        sound: the clips.
        rows: (rows,) those that are tested on.
        scores: (rows, tags), 0 to 1.
        tags: those that are scored; None is all of `sound`.

    Returns:
        Scores beside labels.

    Raises:
        ConfigError: the shapes differ, or a score is not from 0 to 1.
    """
    kept = sound.tags if tags is None else tuple(tags)
    number_of = {tag: number for number, tag in enumerate(sound.tags)}
    card, ids = sound.card, sound.column("track_id")
    return Evaluation(
        model=model, data_set=str(card["name"]), split=str(card["split"]), split_sha256=str(card["split_sha256"]),
        part="test", tags=kept, task=sound.task, track_ids=tuple(str(ids[row]) for row in np.asarray(rows).tolist()),
        scores=scores, labels=sound.labels(rows)[:, [number_of[tag] for tag in kept]] > 0,
    )  # fmt: skip


def figures_of(evaluation: Evaluation, *, n_resamples: int = N_RESAMPLES) -> dict[str, Any]:
    """Sum a scored part up in the figures that every study of tags has.

    Args:
        evaluation: scores beside labels.
        n_resamples: of the clips, from which the intervals come.

    Returns:
        "macro_roc_auc" and "macro_pr_auc", each with "..._interval", its 95 % bootstrap interval; "accuracy" where
        exactly one tag holds, else None; "rmse"; "n_tags" that could be scored, "n_test" clips; "by_tag", the ROC-AUC
        of each tag, None of those that could not; and "n_positive", how many clips for testing have each tag.

    Raises:
        DatasetError: no tag can be scored.
    """
    numbers = evaluation.metrics(n_resamples=n_resamples)[evaluation.part]
    if numbers["macro_roc_auc"] is None:
        raise DatasetError("no tag can be scored: some clip for testing must have it, and some must not.")
    areas = {name: numbers[name] for name in ("macro_roc_auc", "macro_pr_auc")}
    return {
        **areas,
        **{f"{name}_interval": numbers["intervals"][name] for name in areas},
        "accuracy": numbers.get("accuracy"),
        "rmse": numbers["rmse"],
        "n_tags": numbers["n_tags_scored"],
        "n_test": numbers["n_clips"],
        "by_tag": {tag: of_tag["roc_auc"] for tag, of_tag in numbers["tags"].items()},
        "n_positive": {tag: of_tag["n_positive"] for tag, of_tag in numbers["tags"].items()},
    }
