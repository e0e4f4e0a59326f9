"""From a recipe to a run folder: data is prepared, a network trained, scored and reported on, in one call.

To the files of `fit` come `metrics.json`, `tags.csv` and `scores_PART.npz` (numbers and scores on the test and
validation parts), `report.html` with its folder `report`, and `tensorboard`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import taggram
from taggram._files import cache_home
from taggram._stores import is_address, without_password
from taggram.datasets import TagDataset, Track, check_options, find_dataset, open_dataset
from taggram.datasets._base import Part
from taggram.datasets.synth import CLIPS
from taggram.errors import ConfigError, DatasetError, printable
from taggram.frontends import RawConfig
from taggram.learning._copies import GB
from taggram.learning._ranks import Ranks
from taggram.learning._run_folder import begin_run, data_facts, refuse_run
from taggram.learning.boosted_trees import TreesConfig, fit_trees
from taggram.learning.evaluate import (
    Evaluation,
    evaluate_part,
    evaluate_prepared,
    save_evaluations,
    with_best_thresholds,
)
from taggram.learning.prepared import PreparedData, PrepareReport, Progress, prepare
from taggram.learning.recipe import TREES, DataConfig, Recipe
from taggram.learning.report import write_report
from taggram.learning.transfer import frozen_modules
from taggram.models import NETWORKS, create_model, list_models
from taggram.models._saved import load_model
from taggram.results import Failure, Taggram
from taggram.tagger import Tagger, find_device

if TYPE_CHECKING:
    from taggram.frontends import FrontendConfig
    from taggram.learning._teller import FitProgress, Told
    from taggram.models._contract import TaggingModel, Task

TENSORBOARD = "tensorboard"
SCORED: tuple[Part, ...] = ("test", "valid")
SYNTH = "synth"  # the one data set that makes itself
TREES_RATE = 16_000  # Hz, of the sound that hand-made features are computed of
LOOK_S = 2.0  # between looks at how much of a store is here
WAIT_S = 1.0  # between looks at whether the first process has prepared the data


@dataclass(frozen=True)
class Watcher:
    """Who is told what, while a training runs; what is None is not told.

    Attributes:
        say: lines, such as what is odd about the data.
        made: tracks of made-up music that are there, of so many.
        prepared: tracks that are prepared.
        report: what became of preparing.
        fitted: steps and epochs.
        scored: clips that are scored, of a part with so many.
    """

    say: Callable[[str], None] = lambda _: None
    made: Callable[[int, int], object] = lambda *_: None
    prepared: Progress | None = None
    report: Callable[[PrepareReport], None] = lambda _: None
    fitted: Told | None = None
    scored: Callable[[Part, int, Failure | None], None] = lambda *_: None


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Attributes:
        folder: of the run.
        evaluations: scores beside labels, of the test and the validation part, as far as these have clips.
        history: figures of each epoch; none of boosted trees.
    """

    folder: Path
    evaluations: tuple[Evaluation, ...]
    history: list[dict[str, float]]


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: str = "auto",
    n_workers: int | None = None,
    watcher: Watcher | None = None,
) -> TrainResult | None:
    """Train as a recipe says, and score what came of it.

    Args:
        recipe: what to do; see `Recipe.load`.
        out: folder of the run, new or empty.
        resume: whether to go on with the run that is in it.
        device: "auto", "cpu", "cuda", ...
        n_workers: processes that prepare and score; None is one a core.
        watcher: is told what happens.

    Returns:
        The run; None in the other processes that torchrun started.

    Raises:
        ConfigError: something in the recipe makes no sense.
        DatasetError: the data is missing, or does not fit.
        TrainingError: the folder holds a run already, or training fails.
        MissingExtraError: a package is not installed.
    """
    folder, ranks = Path(out), Ranks.of_environment()
    watcher = watcher if watcher and ranks.is_first else Watcher()
    if ranks.is_first:  # to the others, what the first has begun looks like another run
        refuse_run(folder, resume=resume)
    find_device(device)
    dataset = open_data(recipe.data, watcher)
    if recipe.network == TREES:
        if not ranks.is_first:
            return None  # trees grow in one process
        return _train_trees(recipe, folder, dataset, resume, n_workers, watcher)
    from taggram.learning.fit import fit, check_augment  # isort: skip (it tells who has no lightning how to install it)

    from lightning.pytorch.loggers import TensorBoardLogger  # isort: skip

    tags, task = _tags_and_task(recipe, dataset)
    model = build(recipe, tags, task)
    check_augment(recipe.augment, model, use_features=recipe.data.features)
    frozen_modules(model, recipe.fit.freeze)
    data = prepared_data(recipe.data, dataset, model.frontend.config, n_workers, watcher)
    result = fit(
        model, data, folder, recipe.fit, augment=recipe.augment, use_features=recipe.data.features, resume=resume,
        device=device, facts=_without_passwords(recipe.to_dict()), told=_with_share_here(watcher.fitted, data),
        loggers=[TensorBoardLogger(folder, name="", version=TENSORBOARD)],
    )  # fmt: skip
    if not ranks.is_first:
        return None
    tagger = Tagger(folder, device=device, hop_frames=recipe.evaluate.hop_frames)
    evaluations = with_best_thresholds([
        _score(tagger, recipe, dataset, data, part, n_workers, watcher) for part in SCORED if len(data.index(part))
    ])  # fmt: skip
    _write(evaluations, recipe, folder, watcher)
    return TrainResult(folder, tuple(evaluations), result.history)


def build(recipe: Recipe, tags: Sequence[str], task: Task) -> TaggingModel:
    """Build the network of a recipe, with a head for some tags: a new one, unless it has one for just these.

    Args:
        recipe: names the network, and the seed of its first weights.
        tags: names.
        task: whether several of them may hold, or exactly one does.

    Returns:
        The network in training mode.

    Raises:
        ConfigError: the network has no such option.
    """
    torch.manual_seed(recipe.fit.seed)
    if recipe.network in NETWORKS:
        model = create_model(recipe.network, n_tags=len(tags), task=task, **recipe.options)
        model.tags = tuple(tags)
        return model.train()
    if recipe.network in list_models():
        model = create_model(recipe.network, **recipe.options)
    else:
        model = load_model(recipe.network)
    if (model.tags, model.task) != (tuple(tags), task):
        model.reset_head(len(tags), tags=tuple(tags), task=task)
    return model.train()


def open_data(config: DataConfig, watcher: Watcher) -> TagDataset | None:
    """Open the data set of a recipe.

    Args:
        config: names it.
        watcher: is told what is odd about it.

    Returns:
        The data set; None where there is prepared data alone.

    Raises:
        ConfigError: no data is named.
        DatasetError: it is not as it should be.
    """
    if not config.name or (config.prepared and not config.root and config.name != SYNTH):
        if config.prepared:
            return None
        raise ConfigError(
            "there is no data: say data=NAME data.root=DIR, such as data=csv data.root=my-sounds, or data.root=DIR "
            "alone for what `taggram data prepare` wrote; data=synth makes some up. `taggram data list` shows what "
            "there is."
        )
    find_dataset(config.name)
    root = config.root or (str(_synth_root(config)) if config.name == SYNTH else "")
    if not root:
        raise ConfigError(f"data.root is missing: the folder in which {config.name} lies, as data.root=DIR.")
    check_options(config.name, config.options)
    if config.name == SYNTH and not Path(root, CLIPS).exists():
        _make_up(Path(root), config, watcher)
    dataset = open_dataset(config.name, root, **config.options)
    for note in dataset.notes():
        watcher.say(f"note: {note}")
    return dataset


def prepared_data(
    config: DataConfig,
    dataset: TagDataset | None,
    frontend: FrontendConfig,
    n_workers: int | None,
    watcher: Watcher,
    *,
    keep_samples: bool = True,
) -> PreparedData:
    """Open the prepared data, after preparing it where it is not.

    Args:
        config: names the data.
        dataset: as `open_data` gives it.
        frontend: of the network that is fed with it; its rate is that of the sound.
        n_workers: processes that prepare; None is one a core.
        watcher: is told what happens.
        keep_samples: whether samples are kept beside features.

    Returns:
        The data.

    Raises:
        ConfigError: what was prepared does not fit.
        DatasetError: the sound is missing, or the folder is damaged.
    """
    if dataset is None:
        data = PreparedData(config.prepared, cache_gb=config.cache_gb)
        _tell_of_store(data, config, watcher)
        return data
    if is_address(config.prepared):
        raise ConfigError(
            f"data.prepared={printable(without_password(config.prepared))} is in a store, where nothing is prepared: "
            "prepare into a folder, copy it there, and leave out data and data.root."
        )
    features = frontend if config.features else None
    if config.prepared:
        folder = Path(config.prepared)
    else:
        folder = _cached_data(dataset, frontend.sample_rate, features, keep_samples)
    if not Ranks.of_environment().is_first:
        _wait_until(lambda: _is_prepared(folder))
        return PreparedData(folder)
    if not (folder / "card.json").exists():
        watcher.say(f"preparing {dataset.card.name} in {printable(str(folder))}")
    report = prepare(
        dataset, folder, sample_rate=frontend.sample_rate, n_workers=n_workers, frontend=features,
        keep_samples=keep_samples, progress=watcher.prepared,
    )  # fmt: skip
    watcher.report(report)
    return PreparedData(folder)


# -- inside ------------------------------------------------------------------------------------------------------------


def _tell_of_store(data: PreparedData, config: DataConfig, watcher: Watcher) -> None:
    """Say that data comes from a store, and how much of it is kept here."""
    if is_address(config.prepared):
        n_gb = sum(file["n_bytes"] for file in data.card["files"]) / GB
        most = "" if n_gb <= config.cache_gb else f" as far as data.cache_gb={config.cache_gb:g} goes"
        watcher.say(
            f"note: {n_gb:.3g} GB lie in {printable(data.place)}; a file is fetched when it is first read, and "
            f"kept in {printable(str(data.folder))}{most}"
        )


def _with_share_here(told: Told | None, data: PreparedData) -> Told | None:
    """Have it told how much of a store is here: steps wait while files are fetched."""
    if told is None or data.share_here() is None:
        return told
    seen: tuple[float, float | None] = (-LOOK_S, None)  # when it was looked at, and what was there

    def with_share(progress: FitProgress) -> None:
        nonlocal seen
        now = time.monotonic()
        if now - seen[0] >= LOOK_S:
            seen = now, data.share_here()
        told(dataclasses.replace(progress, share_here=seen[1]))

    return with_share


def _without_passwords(facts: dict[str, Any]) -> dict[str, Any]:
    """Take the password out of the address of prepared data: what is written down may be shown to others."""
    of_data = facts["data"]
    return {**facts, "data": {**of_data, "prepared": without_password(of_data["prepared"])}}


def _make_up(root: Path, config: DataConfig, watcher: Watcher) -> None:
    """Make music up, in the first process alone."""
    if Ranks.of_environment().is_first:
        watcher.say(f"making up music in {printable(str(root))}")
        find_dataset(SYNTH).make(root, watcher.made, **config.options)
    else:
        _wait_until((root / CLIPS).exists)


def _synth_root(config: DataConfig) -> Path:
    """Say where made-up music lies that was given no folder: one for each set of options."""
    given = [f"{name}={config.options[name]}" for name in ("n_tracks", "length_s", "seed") if name in config.options]
    return cache_home() / "data" / "-".join([SYNTH, *given])


def _tags_and_task(recipe: Recipe, dataset: TagDataset | None) -> tuple[tuple[str, ...], Task]:
    """Give what the network is to learn; with a softmax, exactly one tag."""
    if dataset is not None:
        tags, task = dataset.tags, dataset.task
    else:
        data = PreparedData(recipe.data.prepared, cache_gb=recipe.data.cache_gb)
        if not data.card["settings"]["keep_samples"]:
            raise ConfigError(
                f"{printable(data.place)} has no samples to score; give data=NAME data.root=DIR beside it."
            )
        tags, task = data.tags, data.task
    return tags, "one" if recipe.fit.loss == "cross_entropy" else task


def _cached_data(dataset: TagDataset, sample_rate: int, frontend: FrontendConfig | None, keep_samples: bool) -> Path:
    """Name a folder in the cache after all that prepared data follows from, the state of the sound files too."""
    digest = hashlib.sha256()
    facts = [dataset.card.name, os.path.realpath(dataset.root), dataset.split, dataset.tags, dataset.task, sample_rate]
    digest.update(json.dumps([*facts, repr(frontend), *([] if keep_samples else ["no samples"])]).encode())
    for track in dataset.tracks():
        known = (
            track.track_id,
            str(track.path),
            track.part,
            track.tags,
            track.start_s,
            track.end_s,
            *track.columns.items(),
        )
        digest.update(f"{known}{_state_of(track.path)}".encode("utf-8", "surrogateescape"))
    return cache_home() / "prepared" / f"{dataset.card.name}-{sample_rate}-{digest.hexdigest()[:16]}"


def _state_of(path: Path) -> str:
    """Give what tells that a file has changed."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_prepared(folder: Path) -> bool:
    try:
        PreparedData(folder)
    except DatasetError:
        return False
    return True


def _wait_until(there: Callable[[], bool]) -> None:
    """Wait for what the first process makes; where that fails, torchrun ends this one."""
    while not there():
        time.sleep(WAIT_S)


def _train_trees(
    recipe: Recipe, folder: Path, dataset: TagDataset | None, resume: bool, n_workers: int | None, watcher: Watcher
) -> TrainResult:
    """Train boosted trees, and score them as a network is."""
    config = TreesConfig.from_dict({"seed": recipe.fit.seed, **recipe.trees})
    data = prepared_data(
        recipe.data, dataset, RawConfig(sample_rate=TREES_RATE, n_samples=TREES_RATE), n_workers, watcher
    )
    result = fit_trees(data, config, n_workers=n_workers)
    facts = _without_passwords(recipe.to_dict())
    known = {**facts, "version": taggram.__version__, "data": {**facts["data"], **data_facts(data)}}
    begin_run(folder, known, resume=resume)
    evaluations = with_best_thresholds([result.evaluations[part] for part in SCORED if part in result.evaluations])
    _write(evaluations, recipe, folder, watcher)
    return TrainResult(folder, tuple(evaluations), [])


def _score(
    tagger: Tagger,
    recipe: Recipe,
    dataset: TagDataset | None,
    data: PreparedData,
    part: Part,
    n_workers: int | None,
    watcher: Watcher,
) -> Evaluation:
    """Score the clips of a part: from their files, or where these are not at hand as they were prepared."""
    clip_score = recipe.evaluate.clip_score
    n_clips = len(data.index(part))

    def told(_: Track, result: Taggram | Failure) -> None:
        watcher.scored(part, n_clips, result if isinstance(result, Failure) else None)

    if dataset is not None:
        return evaluate_part(tagger, dataset, part, clip_score=clip_score, n_workers=n_workers, told=told)
    return evaluate_prepared(tagger, data, part, clip_score=clip_score, told=told)


def _write(evaluations: Sequence[Evaluation], recipe: Recipe, folder: Path, watcher: Watcher) -> None:
    """Write numbers, scores and the report on the first part."""
    if not evaluations:
        watcher.say("note: no clip is in test or valid, so there are no scores")
        return
    save_evaluations(evaluations, folder)
    write_report(evaluations[0], folder, published=recipe.beside)
