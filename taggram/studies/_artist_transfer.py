"""The transfer tasks of the artist networks: what is learned on the features of clips, and how well it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.errors import DatasetError
from taggram.learning import metrics as m
from taggram.learning.classifier_grids import Labelled, svm_grid
from taggram.learning.data import drawn_for_validation
from taggram.learning.nearest import nearest_class_means, nearest_neighbours
from taggram.learning.retrieval import retrieval_precisions
from taggram.learning.vector_classifier import VECTOR_FIT, LabelledVectors, fit_vectors, score_vectors
from taggram.models._contract import Task

CLASSIFIERS = {"softmax": "softmax", "knn": "nearest neighbours", "lda": "LDA, nearest mean"}
SVM, RETRIEVAL, DENSE = "svm", "retrieval", "dense"
VALID_SHARE = 0.1  # of the clips to learn from, where there is no part for validation
N_HIDDEN = 2  # layers before the outputs for tags
N_RESAMPLES = 200  # of the intervals
FIT = replace(VECTOR_FIT, lr=0.01)  # whatever the number of hidden layers, as in the script

Features = NDArray[np.float32]
Whole = NDArray[np.int64]
SeedOf = Callable[[int], int]
"""Gives the seed of a repetition."""


@dataclass(frozen=True)
class Examples:
    """Features of clips in parts.

    Attributes:
        train: what is learned from.
        valid: what chooses.
        test: what is scored.
    """

    train: Labelled
    valid: Labelled
    test: Labelled

    @classmethod
    def of(cls, features: Features, labels: Whole, rows: tuple[Whole, Whole, Whole], seed: int) -> Examples:
        """Divide clips.

        Args:
            features: (all clips, values).
            labels: (all clips,).
            rows: of train, valid and test; where there is none in valid, a tenth of train is drawn.
            seed: of this draw.

        Returns:
            The parts.
        """
        train, valid, test = with_validation(rows, seed)
        return cls(*(Labelled.of(features, labels, part) for part in (train, valid, test)))


def with_validation(rows: tuple[Whole, Whole, Whole], seed: int) -> tuple[Whole, Whole, Whole]:
    """Draw clips for validation out of those for training where there are none.

    Args:
        rows: of train, valid and test.
        seed: of the draw.

    Returns:
        The same, or with a tenth of train in valid.
    """
    train, valid, test = rows
    if not len(valid):
        train, valid = drawn_for_validation(train, VALID_SHARE, seed)
    return train, valid, test


def measure(classifier: str, examples: Examples, seed_of: SeedOf, *, n_runs: int, n_hidden: int) -> dict[str, Any]:
    """Learn on features, and score the clips for testing.

    Args:
        classifier: "softmax", "knn", "lda" or "svm".
        examples: the clips.
        seed_of: gives the seed of a repetition.
        n_runs: of the dense layers with other random numbers, over which the mean is taken.
        n_hidden: hidden layers before the softmax.

    Returns:
        "accuracy", and what was chosen.

    Raises:
        DatasetError: there is no clip for testing.
    """
    test = examples.test
    if not len(test.labels):
        raise DatasetError("there is no clip to test on.")
    counts = {"n_train": len(examples.train.labels), "n_test": len(test.labels)}
    if classifier == "softmax":
        each = [_softmax(examples, n_hidden, seed_of(run)) for run in range(n_runs)]
        return {"accuracy": float(np.mean(each)), "each_run": each, **counts}
    if classifier == "knn":
        found = nearest_neighbours(examples.train, examples.valid, test.features)
        return {"accuracy": _accuracy(found.predicted, test), "n_neighbours": found.n_neighbours, **counts}
    if classifier == "lda":
        return {"accuracy": _accuracy(nearest_class_means(examples.train, test.features), test), **counts}
    scaled = [part.scaled_like(examples.train) for part in (examples.train, examples.valid, test)]
    grid = svm_grid(scaled[0], {"valid": scaled[1], "test": scaled[2]})
    best = max(grid, key=lambda point: point.accuracy["valid"])
    return {"accuracy": best.accuracy["test"], "chosen": dict(best.params), **counts}


def measure_retrieval(features: Features, labels: Whole) -> dict[str, Any]:
    """Ask for each clip of all parts among the others.

    Args:
        features: (clips, values).
        labels: (clips,) number of the class of each.

    Returns:
        "mean_average_precision" with its 95 % bootstrap interval, and "n_test", how many clips were asked for.

    Raises:
        DatasetError: no clip can be scored.
    """
    precisions = retrieval_precisions(features, labels)
    mean, n_test = float(precisions.mean()), len(precisions)
    draws = m.Bootstrap(n_test, n_resamples=N_RESAMPLES).sums(precisions) / n_test
    return {
        "mean_average_precision": mean, "mean_average_precision_interval": m.interval(draws, mean), "n_test": n_test,
    }  # fmt: skip


def measure_tags(
    features: Features, labels: NDArray[np.float32], rows: tuple[Whole, Whole, Whole], seed: int
) -> dict[str, Any]:
    """Learn tags on features by two dense layers of 1024, and score the clips for testing.

    Args:
        features: (all clips, values).
        labels: (all clips, tags), 0 or 1.
        rows: of train, valid and test.
        seed: of what is drawn.

    Returns:
        "macro_roc_auc" with its 95 % bootstrap interval, "macro_pr_auc", "n_tags" that could be scored, and counts.

    Raises:
        DatasetError: there is no clip for testing, or no tag can be scored.
    """
    train, valid, test = with_validation(rows, seed)
    holds = labels[test] > 0
    if not len(test) or not m.can_be_scored(holds).any():
        raise DatasetError("no tag can be scored: some clip for testing must have it, and some must not.")
    learned, checked, asked = (LabelledVectors(features[part], labels[part]) for part in (train, valid, test))
    scores, n_epochs = _scored(learned, checked, asked, "several", N_HIDDEN, seed)
    area = m.mean_over_tags(m.roc_auc(scores, holds))
    draws, _ = m.Bootstrap(len(test), n_resamples=N_RESAMPLES).areas(scores, holds)
    return {
        "macro_roc_auc": area,
        "macro_roc_auc_interval": m.interval([m.mean_over_tags(of_draw) for of_draw in draws], area),
        "macro_pr_auc": m.mean_over_tags(m.average_precision(scores, holds)),
        "n_tags": int(m.can_be_scored(holds).sum()),
        "n_epochs": n_epochs, "n_train": len(train), "n_test": len(test),
    }  # fmt: skip


# -- inside ------------------------------------------------------------------------------------------------------------


def _softmax(examples: Examples, n_hidden: int, seed: int) -> float:
    """Train once, and give the accuracy."""
    parts = (examples.train, examples.valid, examples.test)
    ones = np.eye(1 + max(int(part.labels.max(initial=0)) for part in parts), dtype=np.float32)
    train, valid, test = (LabelledVectors(part.features.astype(np.float32), ones[part.labels]) for part in parts)
    scores, _ = _scored(train, valid, test, "one", n_hidden, seed)
    return _accuracy(scores.argmax(1), examples.test)


def _scored(
    train: LabelledVectors, valid: LabelledVectors, test: LabelledVectors, task: Task, n_hidden: int, seed: int
) -> tuple[Features, int]:
    """Train dense layers once, and give the scores of the clips for testing and how many epochs there were."""
    model, history = fit_vectors(train, valid, replace(FIT, seed=seed), task=task, n_hidden_layers=n_hidden)
    return score_vectors(model, test.values), len(history)


def _accuracy(predicted: Whole, part: Labelled) -> float:
    return float(np.mean(predicted == part.labels))
