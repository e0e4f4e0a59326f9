"""`taggram evaluate`: models on a data set, or the scores that trainings left, as numbers and a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from taggram._files import written_aside
from taggram.apps._options import parse_options
from taggram.apps._progress import FileProgress, say
from taggram.apps._training import SHORT, SHOWN, TEXT_KEYS, scores_in_words
from taggram.datasets import Track
from taggram.datasets._base import Part, TagDataset
from taggram.errors import ConfigError, did_you_mean, printable
from taggram.learning._ranks import Ranks
from taggram.learning._report import Html
from taggram.learning._run_folder import CONFIG
from taggram.learning.evaluate import (
    SCORES,
    Evaluation,
    compare,
    evaluate_part,
    evaluate_prepared,
    over_folds,
    save_evaluations,
    with_best_thresholds,
)
from taggram.learning.perturb import Perturbation, evaluate_perturbed, parse_perturbations, write_perturbations
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import DataConfig, EvaluateConfig
from taggram.learning.report import Published, published_by, write_report
from taggram.learning.train import SCORED, Watcher, open_data
from taggram.models import list_models, load_card
from taggram.models._registry import is_model_file, title_of
from taggram.results import Failure, Taggram
from taggram.tagger import Tagger

FOLDS = "folds.json"
KEYS = ("out", "device", "task", "data", "data.root", "data.split", "evaluate.clip_score", "evaluate.hop_frames")
TRAINED_ON = {"mtt": "MagnaTagATune", "msd": "Million Song Dataset"}  # as the cards of weights write them


@dataclass(frozen=True, kw_only=True)
class _Wishes:
    """What is asked for.

    Attributes:
        models: names of models, files or runs.
        out: folder for numbers and report.
        data: what is scored on; None takes the scores that trainings left.
        how: how clips are scored.
        device: to compute on.
        n_workers: processes; None is one a core.
    """

    models: tuple[str, ...]
    out: Path
    data: DataConfig | None
    how: EvaluateConfig
    device: str
    n_workers: int | None


def run_evaluation(
    words: Sequence[str], *, perturb: str | None, mixed: bool, folds: bool, n_workers: int | None
) -> bool:
    """Score models, and print and write what comes of it.

    Args:
        words: models, and KEY=VALUE.
        perturb: kinds of change to the sound; None changes nothing.
        mixed: whether numbers of different splits may stand in one table.
        folds: whether the models are those of the folds of one cross-validation.
        n_workers: processes; None is one a core.

    Returns:
        Whether every clip could be scored.

    Raises:
        ConfigError: a word makes no sense, or numbers cannot stand side by side.
        TaggramError: the data or a model is not at hand, or not as it should be.
    """
    if (n_ranks := Ranks.of_environment().n_ranks) > 1:
        raise ConfigError(f"torchrun has started {n_ranks} processes, and scoring takes one; leave out torchrun.")
    wishes = _wishes(words, n_workers)
    perturbations = [] if perturb is None else parse_perturbations(perturb)
    if perturbations and (len(wishes.models) > 1 or wishes.data is None or not wishes.data.name):
        raise ConfigError("--perturb takes one model and the sound to change: data=NAME data.root=DIR.")
    dataset = open_data(wishes.data, Watcher(say=say)) if wishes.data else None
    if perturbations and dataset is None:
        raise ConfigError("--perturb changes the sound files themselves: say data.root=DIR too.")
    each = [_scored(name, dataset, wishes) if wishes.data else _left_scores(name) for name in wishes.models]
    first = [evaluations[0] for evaluations in each]
    if not folds:
        compare(first, mixed=mixed)  # raises before anything is written
    is_whole = not any(evaluation.failures for evaluations in each for evaluation in evaluations)
    sections: list[Html] = []
    if dataset and perturbations:
        section, all_changed = _perturbed(first[0], dataset, perturbations, wishes)
        sections, is_whole = [section], is_whole and all_changed
    write_report(first, wishes.out, published=_published(wishes, first), mixed=mixed or folds, sections=sections)
    for name, evaluations in zip(_folder_names(wishes.models), each):
        save_evaluations(evaluations, wishes.out / name)
        for evaluation in evaluations:
            print(f"{evaluation.model}: {scores_in_words(evaluation)}")
    if folds:
        _average_folds(first, wishes.out)
    numbers = "metrics.json" if len(each) == 1 else "metrics.json in a folder for each model"
    print(f"{printable(str(wishes.out))}: report.html, {numbers}")
    return is_whole


# -- what is asked for -------------------------------------------------------------------------------------------------


def _wishes(words: Sequence[str], n_workers: int | None) -> _Wishes:
    """Tell models and settings apart: a setting has a "=" and is no file."""
    settings = [word for word in words if "=" in word and not Path(word).exists()]
    models = tuple(word for word in words if word not in settings)
    if not models:
        raise ConfigError("no model is named; say which run, trained model or .safetensors file is to be scored.")
    given = parse_options(settings, as_text=TEXT_KEYS)
    out, device, task = given.pop("out", ""), given.pop("device", "auto"), given.pop("task", None)
    if not out:
        raise ConfigError("out is missing: the folder for numbers and report, as out=DIR.")
    if (Path(out) / CONFIG).exists():
        raise ConfigError(f"{printable(out)} holds a run, whose numbers would be lost; name another folder.")
    how = {key.removeprefix("evaluate."): given.pop(key) for key in [*given] if key.startswith("evaluate.")}
    data = given.pop("data", given.pop("data.name", ""))
    options = {key.removeprefix("data."): given.pop(key) for key in [*given] if key.startswith("data.")}
    if given:
        key = next(iter(given))
        raise ConfigError(f"there is no setting {key!r}.{did_you_mean(key, KEYS)} There are {', '.join(KEYS)}.")
    if task is not None:
        options["task"] = task
    asked = DataConfig.of({"name": data, **options}) if data or options else None
    return _Wishes(
        models=models, out=Path(out), data=asked, how=EvaluateConfig.of(how), device=device, n_workers=n_workers
    )


def _folder_names(models: Sequence[str]) -> list[str]:
    """Name the folders of the models' numbers below the one of the report: none where there is one model alone."""
    if len(models) == 1:
        return [""]
    titles = [title_of(name) if is_model_file(name) else name for name in models]
    return [f"{place}-{title}" for place, title in enumerate(titles, 1)]


# -- scores ------------------------------------------------------------------------------------------------------------


def _left_scores(name: str) -> list[Evaluation]:
    """Read the scores that a training left in its folder."""
    folder = Path(name)
    parts = [part for part in SCORED if (folder / SCORES.format(part=part)).exists()]
    if not parts:
        wanted = "give data=NAME data.root=DIR to score it on"
        raise ConfigError(f"{printable(name)} is no folder of a run with scores in it; {wanted}.")
    return [Evaluation.load(folder, part) for part in parts]


def _scored(name: str, dataset: TagDataset | None, wishes: _Wishes) -> list[Evaluation]:
    """Score a model on the test and the validation part."""
    tagger = _tagger(name, wishes)
    clip_score = wishes.how.clip_score
    scored: list[Evaluation] = []
    if dataset is None:
        data = PreparedData(wishes.data.prepared if wishes.data else "")
        counts: dict[Part, int] = {part: len(data.index(part)) for part in SCORED}
    else:
        counts = {part: sum(1 for _ in dataset.tracks(part)) for part in SCORED}
    for part in SCORED:
        if not counts[part]:
            continue
        with _Bar(counts[part], f"{tagger.name} on {part}") as bar:
            if dataset is None:
                scored.append(evaluate_prepared(tagger, data, part, clip_score=clip_score, told=bar.told))
            else:
                how = {"clip_score": clip_score, "n_workers": wishes.n_workers, "told": bar.told}
                scored.append(evaluate_part(tagger, dataset, part, **how))
    if not scored:
        raise ConfigError("the data has no clip in test or valid to score on.")
    return with_best_thresholds(scored)


def _tagger(name: str, wishes: _Wishes) -> Tagger:
    return Tagger(name, device=wishes.device, hop_frames=wishes.how.hop_frames)


def _perturbed(
    evaluation: Evaluation, dataset: TagDataset, perturbations: Sequence[Perturbation], wishes: _Wishes
) -> tuple[Html, bool]:
    """Score with changed sound, write what comes of it, and say whether every clip could be."""
    tracks = list(dataset.tracks(evaluation.part))
    with _Bar(len(tracks), "with changed sound") as bar:
        results = evaluate_perturbed(
            _tagger(wishes.models[0], wishes), tracks, evaluation, perturbations, told=bar.told
        )
    n_failed = len(results[0][1].failures) - len(evaluation.failures)
    return write_perturbations(results, evaluation, wishes.out), n_failed == 0


class _Bar:
    """Counts clips on the screen, and says which could not be scored.

    Args:
        n_clips: how many there are.
        what: is done to them.
    """

    def __init__(self, n_clips: int, what: str) -> None:
        self._bar, self._what = FileProgress(n_clips), what

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.make_way()

    def told(self, _: Track, result: Taggram | Failure) -> None:
        """Take in one more clip."""
        if isinstance(result, Failure):
            self._bar.make_way()
            say(f"{printable(result.path)}: {result.message}")
        self._bar.advance(self._what)


# -- what stands beside ------------------------------------------------------------------------------------------------


def _published(wishes: _Wishes, evaluations: Sequence[Evaluation]) -> list[Published]:
    """Give the published numbers of trained models on the data set that they are of."""
    rows = []
    for name, evaluation in zip(wishes.models, evaluations):
        if name in list_models() and evaluation.data_set in TRAINED_ON:
            facts = load_card(name).published
            if facts.get("data_set") == TRAINED_ON[evaluation.data_set]:
                rows.append(published_by(facts, name))
    return rows


def _average_folds(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Print and write the mean of each number over the folds."""
    numbers = over_folds(evaluations)
    rows: dict[str, Any] = {
        "data_set": evaluations[0].data_set,
        "folds": [{"split": one.split, "split_sha256": one.split_sha256} for one in evaluations],
        "numbers": {
            name: {"mean": value.mean, "std": value.std, "n": value.n_folds} for name, value in numbers.items()
        },
    }
    with written_aside(folder / FOLDS) as aside:
        aside.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    for name in SHOWN:
        if name in numbers:
            splits = ", ".join(one.split for one in evaluations)
            mean, std = numbers[name].mean, numbers[name].std
            print(f"mean over {len(evaluations)} folds ({splits}): {SHORT[name]} {mean:.4f}, deviation {std:.4f}")
