"""What cross-validation says of the ways to fit a kit: which is chosen, how good it is, and how sure its scores may be.

Examples that are parts of one recording are left out together: they sound alike in more than their tag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.errors import TrainingError
from taggram.kit import KitTask
from taggram.learning.kit_methods import METHODS, Array, Flags, Lesson, Method, fit_linear, logits_of

UNCOMPARED: Method = "svm"  # where none can be validated: with one example of each tag it is ahead
MOST_LEFT_OUT = 30  # examples that are left out one by one where methods are compared; of more, folds are made
MOST_ONE_BY_ONE = 100  # likewise for the figure that is told
N_FOLDS = 5
TEMPERATURES = np.geomspace(1e-2, 1e3, 101)  # times the typical logit; among these is the one that is taken
MISSED = 0.05  # share of examples below the threshold of "none of these" where no other sound sets it


@dataclass(frozen=True, eq=False)
class Folds:
    """Which examples are left out at once.

    Attributes:
        how: in words, such as "leave-one-out".
        out: (examples,) each; an example is left out once, or never if it alone has a tag.
    """

    how: str
    out: tuple[Flags, ...]


@dataclass(frozen=True, eq=False)
class Validated:
    """What a method answers on examples that it has not seen.

    Attributes:
        method: its name.
        how: how examples were left out, in words.
        logits: (examples, tags); a row that is no number is of an example that was not left out.
        right: (examples,) how good each answer is, 0 to 1; no number likewise, and where an example has no tag.
    """

    method: Method
    how: str
    logits: Array
    right: Array

    @property
    def figure(self) -> float:
        """Mean over the examples."""
        return float(np.nanmean(self.right))

    @property
    def was_left_out(self) -> Flags:
        """(examples,) whether each was."""
        was: Flags = np.isnan(self.logits).sum(1) == 0
        return was

    def facts(self, labels: Flags) -> dict[str, Any]:
        """Sum it up in plain values.

        Args:
            labels: (examples, tags) which tags hold.

        Returns:
            How, the number of examples, the figure, and the confusions: a row a true tag, a column the best answer.
        """
        seen = np.flatnonzero(~np.isnan(self.right))
        confusion = np.zeros((labels.shape[1],) * 2, int)
        for place in seen:
            confusion[labels[place], self.logits[place].argmax()] += 1
        return {
            "how": self.how,
            "n_examples": len(seen),
            "figure": round(self.figure, 4),
            "confusion": confusion.tolist(),
        }


def folds_of(lesson: Lesson, most_left_out: int) -> Folds | None:
    """Say which examples are left out at once.

    Args:
        lesson: the examples. One that alone has some tag is always learned from.
        most_left_out: up to so many recordings are left out one by one; of more, `N_FOLDS` folds are made, each with
            some of each tag.

    Returns:
        The folds. Parts of one recording are left out together; if no tag has two recordings, they are left out as if
        each were one, which `how` says. None where no example can be left out.
    """
    has_tag: Flags = lesson.labels.sum(1) > 0
    units, way = lesson.recording, "recording-wise "
    if not (has_tag & (can_be := _can_be_left_out(lesson, units))).any():
        units, way = np.arange(lesson.n_examples), "segment-wise "
        can_be = _can_be_left_out(lesson, units)
    if not (has_tag & can_be).any():
        return None
    if len(np.unique(lesson.recording)) == lesson.n_examples:
        way = ""
    names, first = np.unique(units[can_be], return_index=True)
    if len(names) <= most_left_out:
        return Folds(f"{way}leave-one-out", tuple((units == name) & can_be for name in names))
    tag_of = lesson.labels[can_be].argmax(1)[first]
    names = names[np.argsort(tag_of, kind="stable")]  # so that each fold has some of each tag
    dealt = (np.isin(units, names[fold::N_FOLDS]) & can_be for fold in range(N_FOLDS))
    return Folds(f"{way}{N_FOLDS}-fold", tuple(_without_lost_tags(lesson, out) for out in dealt))


def _can_be_left_out(lesson: Lesson, units: NDArray[np.int64]) -> Flags:
    """Tell of each example whether its tags are learned from other units as well."""
    n_units = np.array([len(np.unique(units[has])) for has in lesson.labels.T])
    can_be: Flags = (lesson.labels & (n_units < 2)).sum(1) == 0
    return can_be


def _without_lost_tags(lesson: Lesson, out: Flags) -> Flags:
    """Keep the examples of tags that would all be left out at once."""
    lost = ~lesson.labels[~out].any(0)
    kept: Flags = out & ~lesson.labels[:, lost].any(axis=1)
    return kept


def validate(method: Method, lesson: Lesson, folds: Folds | None) -> Validated | None:
    """Let a method answer on examples that it has not seen.

    Args:
        method: out of `METHODS`.
        lesson: the examples.
        folds: which of them are left out at once.

    Returns:
        The answers, or None where no example with a tag can be left out.
    """
    if folds is None:
        return None
    logits = np.full(lesson.labels.shape, np.nan)
    for out in folds.out:
        if out.any():
            logits[out] = logits_of(fit_linear(method, lesson.without(out)), lesson, out)
    right = goodness(logits, lesson)
    return None if np.isnan(right).all() else Validated(method, folds.how, logits, right)


def choose(
    lesson: Lesson, folds: Folds | None, told: Callable[[str], object] = lambda _: None
) -> tuple[Method, list[Validated]]:
    """Choose a method by cross-validation.

    The first of `METHODS` is left only for one that is better by more than one standard error of the difference: with
    few examples the best figure is often chance.

    Args:
        lesson: the examples.
        folds: which of them are left out at once.
        told: is told the name of each method as it is tried.

    Returns:
        The method, and what was found of each; nothing where no example can be left out.
    """
    found = []
    for method in METHODS:
        told(method)
        if (one := validate(method, lesson, folds)) is not None:
            found.append(one)
    best = found[0] if found else None
    for other in found[1:]:
        gain = (other.right - found[0].right)[~np.isnan(other.right)]
        is_ahead = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else False
        if best is not None and is_ahead and other.figure > best.figure:
            best = other
    return (UNCOMPARED if best is None else best.method), found


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


def temperature(logits: Array, labels: Flags, task: KitTask) -> float:
    """Find what logits must be divided by for the scores to be honest: as often right as they are high.

    What is wanted of n examples is a score of (n + 1) / (n + 2) and not of 1, by the rule of succession: if all n are
    right, that is how sure one may be of the next. Without it, a kit that makes no mistake on its few examples would be
    certain of any sound.

    Args:
        logits: (examples, tags) of examples that were not learned from; -inf of a tag that nothing was known of.
        labels: (examples, tags).
        task: whether exactly one tag holds.

    Returns:
        The temperature with the least cross-entropy.
    """
    soft = 1 / (len(labels) + 2)
    known = np.isfinite(logits)
    if task == "one":
        others = known & ~labels
        kept = others.any(1) & (known & labels).any(1)
        logits, labels, known, others = logits[kept], labels[kept], known[kept], others[kept]
        wanted = np.where(labels, 1 - soft, soft / np.maximum(others.sum(1, keepdims=True), 1))
        logits = logits - np.mean(logits, axis=1, keepdims=True, where=known)
    else:
        wanted = np.where(labels, 1 - soft, soft)
    if not known.any() or not (typical := float(np.abs(logits[known]).mean())) > 0:
        return 1.0
    losses = [_cross_entropy(logits / (typical * ratio), wanted, known, task) for ratio in TEMPERATURES]
    return typical * float(TEMPERATURES[int(np.argmin(losses))])


def _cross_entropy(logits: Array, wanted: Array, known: Flags, task: KitTask) -> float:
    """Give the mean over the examples, or over the single answers where several tags may hold."""
    finite = np.where(known, logits, 0.0)
    if task == "one":
        whole = np.logaddexp.reduce(np.where(known, logits, -np.inf), axis=1)
        return float(np.mean(whole - (known * wanted * finite).sum(1)))
    return float(np.mean((np.logaddexp(0.0, finite) - wanted * finite)[known]))


def none_threshold(lesson: Lesson, unseen: Validated) -> float:
    """Find the logit that the best tag must reach, or else none of the tags is said to hold.

    Tags are left out in turn, and their examples stand for sound that no tag is for, beside examples without a tag.

    Args:
        lesson: the examples.
        unseen: what the method that the kit is fitted by answers on those that it has not seen.

    Returns:
        The threshold that tells the two kinds apart best, where both count the same. With nothing that stands for
        other sound, the one that 19 of 20 examples reach.

    Raises:
        TrainingError: nothing is known of examples with a tag.
    """
    best = unseen.logits.max(1)
    has_tag = lesson.labels.any(1)
    known = _finite(best[has_tag])
    unknown = _finite(np.concatenate([best[~has_tag], *_best_of_unknown(unseen.method, lesson)]))
    if not len(known):
        raise TrainingError(
            "the threshold of 'none of these' is set from examples that are left out, and too few can be. Give more "
            "examples, or leave it out."
        )
    if not len(unknown):
        return float(np.quantile(known, MISSED))
    values = np.unique(np.concatenate([known, unknown]))
    points = np.concatenate([values[:1] - 1e-6, (values[1:] + values[:-1]) / 2])
    told_apart = [(known >= point).mean() + (unknown < point).mean() for point in points]
    return float(points[int(np.argmax(told_apart))])


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]


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
