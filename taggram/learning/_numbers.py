"""All numbers of an evaluation, as metrics.json holds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram.learning import metrics as m

if TYPE_CHECKING:
    from taggram.learning.evaluate import Evaluation

PRECISION_AT = (3, 6, 9, 12, 15)  # as Hamel et al. and Nam et al. report
DECISIONS = ("accuracy", "precision", "recall", "f1")


def all_numbers(evaluation: Evaluation, n_resamples: int, seed: int) -> dict[str, Any]:
    """Compute what metrics.json holds of a part.

    Args:
        evaluation: scores and labels.
        n_resamples: draws of the bootstrap; 0 is for no intervals.
        seed: of the bootstrap.

    Returns:
        Plain values, None where a number is not defined.
    """
    scores, labels = evaluation.scores.astype(np.float64), evaluation.labels
    at_half = m.Confusion.of(m.decide(scores), labels)
    by_tag: dict[str, list[Any]] = {
        "n_positive": evaluation.n_positive.tolist(),
        "roc_auc": _plain_list(m.roc_auc(scores, labels)),
        "pr_auc": _plain_list(m.average_precision(scores, labels)),
        **{name: _plain_list(getattr(at_half, name)) for name in DECISIONS},
        "tn": at_half.true_negative.tolist(),
        "fn": at_half.false_negative.tolist(),
        "fp": at_half.false_positive.tolist(),
        "tp": at_half.true_positive.tolist(),
    }
    numbers: dict[str, Any] = {
        "model": evaluation.model,
        "data_set": evaluation.data_set,
        "split": evaluation.split,
        "split_sha256": evaluation.split_sha256,
        "task": evaluation.task,
        "clip_score": evaluation.clip_score,
        "n_clips": evaluation.n_clips,
        "n_tags": len(evaluation.tags),
        "n_tags_scored": int(m.can_be_scored(labels).sum()),
        **_averages(evaluation, at_half),
    }
    if evaluation.thresholds is not None:
        at_best = m.Confusion.of(m.decide(scores, evaluation.thresholds), labels)
        numbers["at_best_thresholds"] = _decision_averages(at_best, labels)
        columns = [evaluation.thresholds.tolist(), *(_plain_list(getattr(at_best, name)) for name in DECISIONS)]
        by_tag["at_best_threshold"] = [dict(zip(("threshold", *DECISIONS), values)) for values in zip(*columns)]
    if n_resamples:
        bootstrap = m.Bootstrap(evaluation.n_clips, n_resamples=n_resamples, seed=seed)
        areas = dict(zip(("roc_auc", "pr_auc"), bootstrap.areas(scores, labels)))
        draws = _draws(evaluation, bootstrap) | {f"macro_{name}": _means(draw) for name, draw in areas.items()}
        numbers["intervals"] = {name: _interval(draws[name], numbers[name]) for name in numbers if name in draws}
        for name, draw in areas.items():
            by_tag[f"{name}_interval"] = [_interval(column, value) for column, value in zip(draw.T, by_tag[name])]
    return numbers | {
        "left_out": {
            "no_positive": [tag for tag, holds in zip(evaluation.tags, labels.T) if not holds.any()],
            "no_negative": [tag for tag, holds in zip(evaluation.tags, labels.T) if holds.all()],
            "not_in_model": list(evaluation.not_in_model),
            "not_in_data": list(evaluation.not_in_data),
        },
        "failures": [dataclasses.asdict(failure) for failure in evaluation.failures],
        "notes": list(evaluation.notes),
        "tags": {
            tag: {name: values[place] for name, values in by_tag.items()} for place, tag in enumerate(evaluation.tags)
        },
    }


def calibration_of(evaluation: Evaluation) -> m.Calibration:
    """Compare scores with how often they are right: all cells, or the best tag of each clip where exactly one holds.

    Args:
        evaluation: the evaluation.

    Returns:
        The bins.
    """
    if evaluation.task == "several":
        return m.calibration(evaluation.scores, evaluation.labels)
    best = evaluation.scores.argmax(axis=1)
    clips = np.arange(evaluation.n_clips)
    return m.calibration(evaluation.scores[clips, best], evaluation.labels[clips, best])


def _averages(evaluation: Evaluation, at_half: m.Confusion) -> dict[str, float | None]:
    """Compute the numbers over all tags."""
    scores, labels = evaluation.scores.astype(np.float64), evaluation.labels
    cells = m.pooled(scores), m.pooled(labels)
    averages = {
        "macro_roc_auc": _plain(m.mean_over_tags(m.roc_auc(scores, labels))),
        "macro_pr_auc": _plain(m.mean_over_tags(m.average_precision(scores, labels))),
        "micro_roc_auc": _plain(m.roc_auc(*cells)[0]),
        "micro_pr_auc": _plain(m.average_precision(*cells)[0]),
        "clip_roc_auc": _plain(m.mean_over_tags(m.roc_auc(scores.T, labels.T))),
        **_decision_averages(at_half, labels),
        "rmse": _plain(m.root_mean_squared_error(scores, labels)),
        "calibration_error": _plain(calibration_of(evaluation).error),
    }
    if evaluation.task == "one":
        return averages | {"accuracy": _plain(m.top_accuracy(scores, labels))}
    at = [k for k in PRECISION_AT if k <= len(evaluation.tags)]
    return averages | {f"precision_at_{k}": _plain(m.precision_at(scores, labels, k)) for k in at}


def _decision_averages(confusion: m.Confusion, labels: NDArray[np.bool_]) -> dict[str, float | None]:
    """Average accuracy, precision, recall and F1 over the tags that can be scored, and over all cells."""
    can_be = m.can_be_scored(labels)
    macro = {f"macro_{name}": _plain(m.mean_over_tags(getattr(confusion, name)[can_be])) for name in DECISIONS}
    return macro | {f"micro_{name}": _plain(getattr(confusion.pooled(), name)[0]) for name in DECISIONS}


def _draws(evaluation: Evaluation, bootstrap: m.Bootstrap) -> dict[str, m.Floats]:
    """Compute averages in each draw, (resamples,) each, but for those of the areas over tags."""
    scores, labels = evaluation.scores.astype(np.float64), evaluation.labels
    micro_roc, micro_precision = bootstrap.pooled_areas(scores, labels)
    draws = {"micro_roc_auc": micro_roc, "micro_pr_auc": micro_precision}
    at_half = bootstrap.confusion(m.decide(scores), labels)
    can_be = m.can_be_scored(labels)
    for name in DECISIONS:
        draws[f"macro_{name}"] = _means(getattr(at_half, name)[:, can_be])
        draws[f"micro_{name}"] = getattr(at_half.pooled(), name)[:, 0]
    if evaluation.task == "one":
        right = labels[np.arange(len(labels)), scores.argmax(axis=1)]
        draws["accuracy"] = bootstrap.sums(right) / len(labels)
    return draws


def _interval(draws: m.Floats, number: float | None) -> list[float | None]:
    return _plain_list(m.interval(draws, math.nan if number is None else number))


def _means(values: m.Floats) -> m.Floats:
    """Average each draw over the tags that can be scored in it."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    means: m.Floats = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return means


def _plain(value: float) -> float | None:
    """Make a number that JSON has; what is not defined is None."""
    return None if math.isnan(value) else float(value)


def _plain_list(values: Iterable[float]) -> list[float | None]:
    return [_plain(value) for value in values]
