"""From the vectors of a few examples to a linear map onto tags, in several ways, and what cross-validation says.

All rows have the length 1, and all ways give a weight and a bias, so a kit is applied in one way however it was fitted.
Each example counts once, whatever its number of patches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taggram.kit import KitTask, unit_rows

Method = Literal["logistic", "lda", "svm", "prototypes"]
METHODS: tuple[Method, ...] = ("lda", "svm", "logistic", "prototypes")  # the first, where they do not differ clearly
UNCOMPARED: Method = "svm"  # where none can be validated: with one example of each tag it is ahead

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Linear: TypeAlias = tuple[Array, Array]
"""Weight (tags, features) and bias (tags,)."""

LOGISTIC_C = 300.0  # inverse strength of the penalty, for rows of length 1
SVM_C = 3.0
LDA_SHRINKAGE = 0.3  # times the mean variance is added to each; the directions of few examples are known badly
MOST_LEFT_OUT = 30  # examples that are left out one by one where methods are compared; of more, folds are made
MOST_ONE_BY_ONE = 100  # likewise for the figure that is told
N_FOLDS = 5
TEMPERATURES = np.geomspace(1e-3, 1e2, 101)  # among which scores are made honest
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
    """

    rows: Array
    example: NDArray[np.int64]
    is_plain: Flags
    labels: Flags
    task: KitTask

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
            labels if tags is None else labels[:, tags], self.task,
        )  # fmt: skip

    def weights(self) -> Array:
        """Give each row its weight, so that all examples together weigh as many as they are."""
        return 1.0 / np.bincount(self.example, minlength=self.n_examples)[self.example]


@dataclass(frozen=True, eq=False)
class Validated:
    """What a method answers on examples that it has not seen.

    Attributes:
        method: its name.
        logits: (examples, tags); a row that is no number is of an example that was not left out.
        n_folds: how often it was fitted.
        right: (examples,) how good each answer is, 0 to 1; no number likewise.
    """

    method: Method
    logits: Array
    n_folds: int
    right: Array

    @property
    def figure(self) -> float:
        """Mean over the examples."""
        return float(np.nanmean(self.right))


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


def validate(method: Method, lesson: Lesson, *, most_left_out: int = MOST_LEFT_OUT) -> Validated | None:
    """Let a method answer on examples that it has not seen.

    Args:
        method: out of `METHODS`.
        lesson: the examples. One that alone has some tag is always learned from.
        most_left_out: up to so many are left out one by one; of more, `N_FOLDS` folds are made, each with some of each
            tag.

    Returns:
        The answers, or None where no example can be left out.
    """
    logits = np.full(lesson.labels.shape, np.nan)
    n_folds = 0
    for out in _folds(lesson, most_left_out):
        n_folds += 1
        logits[out] = logits_of(fit_linear(method, lesson.without(out)), lesson, out)
    if not n_folds:
        return None
    return Validated(method, logits, n_folds, goodness(logits, lesson))


def choose(lesson: Lesson, told: Callable[[str], object] = lambda _: None) -> tuple[Method, list[Validated]]:
    """Choose a method by cross-validation.

    The first of `METHODS` is left only for one that is better by more than one standard error of the difference: with
    few examples the best figure is often chance.

    Args:
        lesson: the examples.
        told: is told the name of each method as it is tried.

    Returns:
        The method, and what was found of each; nothing where no example can be left out.
    """
    found = []
    for method in METHODS:
        told(method)
        if (one := validate(method, lesson)) is not None:
            found.append(one)
    best = found[0] if found else None
    for other in found[1:]:
        gain = (other.right - found[0].right)[~np.isnan(other.right)]
        is_ahead = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else False
        if best is not None and is_ahead and other.figure > best.figure:
            best = other
    return (UNCOMPARED if best is None else best.method), found


def temperature(logits: Array, labels: Flags, task: KitTask) -> float:
    """Find what logits must be divided by for the scores to be honest: as often right as they are high.

    Args:
        logits: (examples, tags) of examples that were not learned from.
        labels: (examples, tags).
        task: whether exactly one tag holds.

    Returns:
        The temperature with the least cross-entropy.
    """
    finite = np.where(np.isfinite(logits), logits, -1e6)
    losses = []
    for value in TEMPERATURES:
        some = finite / value
        if task == "one":
            some = some - some.max(1, keepdims=True)
            losses.append(float(np.mean(np.log(np.exp(some).sum(1)) - some[labels])))
        else:
            losses.append(float(np.mean(np.logaddexp(0.0, np.where(labels, -some, some)))))
    return float(TEMPERATURES[int(np.argmin(losses))])


def none_threshold(method: Method, lesson: Lesson, known: Array) -> float:
    """Find the logit that the best tag must reach, or else none of the tags is said to hold.

    Tags are left out in turn, and their examples stand for sound that no tag is for.

    Args:
        method: that the kit is fitted by.
        lesson: its examples.
        known: (examples, tags) logits of examples that were not learned from, as `validate` gives them.

    Returns:
        The threshold that tells the two kinds apart best, where both count the same. With fewer than three tags, the
        one that 19 of 20 examples reach.
    """
    known_best = known[~np.isnan(known).any(1)].max(1)
    unknown = np.concatenate([np.zeros(0), *_best_of_unknown(method, lesson)])
    if not len(unknown):
        return float(np.quantile(known_best, 0.05))
    values = np.unique(np.concatenate([known_best, unknown]))
    points = np.concatenate([values[:1] - 1e-6, (values[1:] + values[:-1]) / 2])
    told_apart = [(known_best >= point).mean() + (unknown < point).mean() for point in points]
    return float(points[int(np.argmax(told_apart))])


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


# -- cross-validation --------------------------------------------------------------------------------------------------


def _folds(lesson: Lesson, most_left_out: int) -> Iterator[Flags]:
    """Give (examples,) flags of those that are left out at once; each example that can be is left out once."""
    of_tag = lesson.labels.sum(0)
    can_be = ~(lesson.labels & (of_tag < 2)).any(1)
    places = np.flatnonzero(can_be)
    if len(places) <= most_left_out:
        for place in places:
            yield np.arange(lesson.n_examples) == place
        return
    first = lesson.labels[places].argmax(1)
    order = places[np.argsort(first, kind="stable")]  # so that each fold has some of each tag
    for fold in range(N_FOLDS):
        yield np.isin(np.arange(lesson.n_examples), order[fold::N_FOLDS])


def goodness(logits: Array, lesson: Lesson) -> Array:
    """Say how good each answer is.

    Args:
        logits: (examples, tags); rows that are no number are of examples that were not left out.
        lesson: the examples.

    Returns:
        (examples,) whether it is right, or where several tags may hold, the average precision over those that do.
    """
    right = np.full(len(logits), np.nan)
    for place in np.flatnonzero(~np.isnan(logits).any(1)):
        holds = lesson.labels[place]
        if lesson.task == "one":
            right[place] = holds[logits[place].argmax()]
        elif holds.any():
            ranked = holds[np.argsort(-logits[place], kind="stable")]
            right[place] = float(np.mean(np.cumsum(ranked)[ranked] / (np.flatnonzero(ranked) + 1)))
    return right


def _best_of_unknown(method: Method, lesson: Lesson) -> Iterator[Array]:
    """Give the best logits of examples whose tags were all left out, tag by tag."""
    n_tags = lesson.labels.shape[1]
    if n_tags < 3:
        return
    for tag in range(n_tags):
        has = lesson.labels[:, tag]
        alone = has & (lesson.labels.sum(1) == 1)
        if alone.any():
            kept = np.arange(n_tags) != tag
            yield logits_of(fit_linear(method, lesson.without(has, kept)), lesson, alone).max(1)
