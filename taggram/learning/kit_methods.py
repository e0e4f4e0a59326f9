"""From the vectors of a few examples to a linear map onto tags, in several ways.

All rows have the length 1, and all ways give a weight and a bias, so a kit is applied in one way however it was fitted.
Each example counts once, whatever its number of patches.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taggram.kit import KitTask, unit_rows

Method = Literal["logistic", "lda", "svm", "prototypes"]
METHODS: tuple[Method, ...] = ("lda", "svm", "logistic", "prototypes")  # the first, where they do not differ clearly

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Linear: TypeAlias = tuple[Array, Array]
"""Weight (tags, features) and bias (tags,)."""

LOGISTIC_C = 300.0  # inverse strength of the penalty, for rows of length 1
SVM_C = 3.0
LDA_SHRINKAGE = 0.3  # times the mean variance is added to each; the directions of few examples are known badly
MAX_STEPS = 1_000


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learned from: the rows of all examples.

    Attributes:
        rows: (rows, features), each of length 1.
        example: (rows,) which example each is of, from 0 on.
        is_plain: (rows,) whether it is the example as it is, and not played higher or lower.
        labels: (examples, tags) which tags hold.
        task: whether exactly one does.
        recording: (examples,) which recording each is of, from 0 on.
    """

    rows: Array
    example: NDArray[np.int64]
    is_plain: Flags
    labels: Flags
    task: KitTask
    recording: NDArray[np.int64]

    @property
    def n_examples(self) -> int:
        """Number of examples."""
        return len(self.labels)

    def without(self, out: Flags, tags: Flags | None = None) -> Lesson:
        """Leave examples out, and if wanted tags too.

        Args:
            out: (examples,) those that are left out.
            tags: (tags,) those that stay; None is all.

        Returns:
            The rest.
        """
        kept = ~out[self.example]
        labels = self.labels[~out]
        number = np.cumsum(~out) - 1
        return Lesson(
            self.rows[kept], number[self.example[kept]], self.is_plain[kept],
            labels if tags is None else labels[:, tags], self.task, self.recording[~out],
        )  # fmt: skip

    def weights(self) -> Array:
        """Give each row its weight, so that all examples together weigh as many as they are."""
        return 1.0 / np.bincount(self.example, minlength=self.n_examples)[self.example]


def fit_linear(method: Method, lesson: Lesson) -> Linear:
    """Fit one of the methods.

    Args:
        method: out of `METHODS`.
        lesson: what is learned from. Tags that nothing is known of, since all examples or none have them, get scores
            that are never the best.

    Returns:
        Weight and bias.
    """
    fit = {"logistic": _logistic, "lda": _lda, "svm": _svm, "prototypes": _prototypes}[method]
    weights, n_tags = lesson.weights(), lesson.labels.shape[1]
    weight, bias = np.zeros((n_tags, lesson.rows.shape[1])), np.full(n_tags, -np.inf)
    if lesson.task == "one":
        classes, labels = np.unique(lesson.labels.argmax(1), return_inverse=True)
        if len(classes) == 1:  # nothing to tell it from
            bias[classes] = 0.0
        else:
            weight[classes], bias[classes] = fit(lesson.rows, labels[lesson.example], weights, lesson)
        return weight, bias
    for tag in np.flatnonzero(lesson.labels.any(0) & ~lesson.labels.all(0)):
        two, offsets = fit(lesson.rows, lesson.labels[lesson.example, tag].astype(int), weights, lesson)
        weight[tag], bias[tag] = two[1] - two[0], offsets[1] - offsets[0]
    return weight, bias


def logits_of(linear: Linear, lesson: Lesson, examples: Flags) -> Array:
    """Score examples as they are, mean over their patches.

    Args:
        linear: weight and bias.
        lesson: has their rows.
        examples: (examples,) which ones.

    Returns:
        (chosen, tags).
    """
    weight, bias = linear
    return np.stack([
        (lesson.rows[(lesson.example == place) & lesson.is_plain] @ weight.T + bias).mean(0)
        for place in np.flatnonzero(examples)
    ])  # fmt: skip


# -- the methods: (rows, features), (rows,) classes from 0 on, (rows,) weights -> weight and bias ---------------------


def _means(rows: Array, classes: NDArray[Any], weights: Array) -> Array:
    sums = np.zeros((int(classes.max()) + 1, rows.shape[1]))
    np.add.at(sums, classes, rows * weights[:, None])
    return sums / np.bincount(classes, weights)[:, None]


def _prototypes(rows: Array, classes: NDArray[Any], weights: Array, lesson: Lesson) -> Linear:  # noqa: ARG001
    """Cosine with the mean of each class."""
    prototypes = unit_rows(_means(rows, classes, weights))
    return prototypes, np.zeros(len(prototypes))


def _lda(rows: Array, classes: NDArray[Any], weights: Array, lesson: Lesson) -> Linear:
    """Linear discriminants with a covariance that is shrunk towards equal variances, and equal priors."""
    means = _means(rows, classes, weights)
    n_features = rows.shape[1]
    spread = (rows - means[classes]) * np.sqrt(weights / weights.sum())[:, None]  # its square is the covariance
    if lesson.n_examples <= len(means) or not spread.any():  # one example each: nothing is known of how they vary
        return means, -0.5 * (means**2).sum(1)
    ridge = LDA_SHRINKAGE * (spread**2).sum() / n_features
    if len(spread) < n_features:  # by the matrix that is smaller
        inner = np.linalg.inv(spread @ spread.T + ridge * np.eye(len(spread)))
        weight = (means - ((means @ spread.T) @ inner) @ spread) / ridge
    else:
        weight = np.linalg.solve(spread.T @ spread + ridge * np.eye(n_features), means.T).T
    return weight, -0.5 * (means * weight).sum(1)


def _logistic(rows: Array, classes: NDArray[Any], weights: Array, lesson: Lesson) -> Linear:  # noqa: ARG001
    """Multinomial logistic regression, examples of all classes together weighing the same."""
    from sklearn.linear_model import LogisticRegression

    return _of_sklearn(LogisticRegression(C=LOGISTIC_C, max_iter=MAX_STEPS), rows, classes, weights)


def _svm(rows: Array, classes: NDArray[Any], weights: Array, lesson: Lesson) -> Linear:  # noqa: ARG001
    """A linear support vector machine for each class against the rest."""
    from sklearn.svm import LinearSVC

    return _of_sklearn(LinearSVC(C=SVM_C, max_iter=MAX_STEPS, random_state=0), rows, classes, weights)


def _of_sklearn(estimator: Any, rows: Array, classes: NDArray[Any], weights: Array) -> Linear:
    """Fit a classifier of scikit-learn and take its weights."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is nearly there is good enough
        estimator.fit(rows, classes, _balanced(classes, weights))
    weight, bias = estimator.coef_, estimator.intercept_
    if len(weight) == 1:  # of two classes, the second's against the first's
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _balanced(classes: NDArray[Any], weights: Array) -> Array:
    """Let all classes weigh the same, and all rows together as many as they are."""
    of_class = np.bincount(classes, weights)
    balanced: Array = weights / of_class[classes] * len(weights) / len(of_class)
    return balanced
