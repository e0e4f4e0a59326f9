"""How well tags are given, as numbers: pure functions on arrays, with numpy alone.

`scores` are (clips, tags), the higher the likelier a tag; `labels` are (clips, tags), true where a tag holds. A tag
that no clip has, or every clip has, cannot be scored: its number is NaN, and the mean over tags leaves it out.

Of numbers per tag (tags,), `mean_over_tags` is the macro average. With `pooled` arrays a function gives the micro
average; with both arrays transposed it scores each clip over its tags.

Source: ROC-AUC and PR-AUC (average precision) over tags as musicnn reports them (Pons and Serra, ISMIR 2019); scores by
    clip, precision at K and annotation with a diversity factor from Nam, Herrera and Lee, "A deep bag-of-features model
    for music auto-tagging", 2015; accuracy and recall of each tag at 0.5 from the Audio-auto-tagging project of 2017;
    calibration error from Guo et al., ICML 2017.
Differs: areas are exact, with equal scores as one step; some of the sources use a fixed number of thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taggram._checks import check, check_count
from taggram.errors import ConfigError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

LEVEL = 0.95  # of intervals
N_RESAMPLES = 1000
N_BINS = 15  # of calibration
HALF = 0.5


# -- areas under curves ------------------------------------------------------------------------------------------------


def can_be_scored(labels: ArrayLike) -> Flags:
    """Tell which tags some clip has and some clip has not.

    Args:
        labels: (clips, tags).

    Returns:
        (tags,).
    """
    flags = np.asarray(labels, dtype=bool)
    found: Flags = np.any(flags, axis=0) & ~np.all(flags, axis=0)
    return found


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Compute the area under the ROC curve of each tag, exactly.

    It is the chance that a clip with the tag has a higher score than one without it; equal scores count half.

    Args:
        scores: (clips, tags).
        labels: (clips, tags).

    Returns:
        (tags,), 0 to 1; NaN where a tag cannot be scored.

    Raises:
        ConfigError: the shapes differ, or a score is not finite.
    """
    ranked = _Ranked.of(*_checked(scores, labels))
    wrong_above = ranked.last + 1 - ranked.hits_to_last + ranked.first - ranked.hits_before_first
    n_hits, n_misses = ranked.n_hits, len(ranked.hits) - ranked.n_hits
    area = np.where(ranked.hits, n_misses - wrong_above / 2, 0.0).sum(axis=0)
    return _divided(area, n_hits * n_misses)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Compute the average precision of each tag, which is what the field calls PR-AUC.

    It is the mean over the clips with the tag of the precision among all that score as high. Chance gives the share of
    clips with the tag.

    Args:
        scores: (clips, tags).
        labels: (clips, tags).

    Returns:
        (tags,), 0 to 1; NaN where a tag cannot be scored.

    Raises:
        ConfigError: the shapes differ, or a score is not finite.
    """
    ranked = _Ranked.of(*_checked(scores, labels))
    precision = np.where(ranked.hits, ranked.hits_to_last / (ranked.last + 1), 0.0).sum(axis=0)
    return np.where(can_be_scored(ranked.hits), _divided(precision, ranked.n_hits), np.nan)


def mean_over_tags(values: ArrayLike) -> float:
    """Average over the tags that could be scored; NaN where there is none.

    Args:
        values: (tags,), NaN where a tag could not be scored.

    Returns:
        The mean.
    """
    numbers = np.asarray(values, dtype=np.float64)
    kept = numbers[~np.isnan(numbers)]
    return float(kept.mean()) if len(kept) else float("nan")


def pooled(values: ArrayLike) -> NDArray[Any]:
    """Put all clips and tags into one column, so that any function here gives its micro average.

    Args:
        values: (clips, tags).

    Returns:
        (clips * tags, 1).
    """
    return np.asarray(values).reshape(-1, 1)


@dataclass(frozen=True)
class Curve:
    """Points of a curve, from the highest threshold to the lowest.

    Attributes:
        x: false positive rate, or recall.
        y: true positive rate, or precision.
        thresholds: scores from which on a tag counts as given.
    """

    x: Floats
    y: Floats
    thresholds: Floats


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """Compute the ROC curve of one tag.

    Args:
        scores: (clips,).
        labels: (clips,).

    Returns:
        True over false positive rate, from (0, 0) to (1, 1).

    Raises:
        ConfigError: the shapes differ, a score is not finite, or the tag cannot be scored.
    """
    taken, hits, thresholds = _steps(scores, labels)
    misses = taken - hits
    start = np.zeros(1)
    return Curve(
        np.concatenate([start, misses / misses[-1]]),
        np.concatenate([start, hits / hits[-1]]),
        np.concatenate([[np.inf], thresholds]),
    )


def precision_recall_curve(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """Compute the precision-recall curve of one tag; its area by steps is the average precision.

    Args:
        scores: (clips,).
        labels: (clips,).

    Returns:
        Precision over recall, from the highest threshold on.

    Raises:
        ConfigError: the shapes differ, a score is not finite, or the tag cannot be scored.
    """
    taken, hits, thresholds = _steps(scores, labels)
    return Curve(hits / hits[-1], hits / taken, thresholds)


# -- decisions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confusion:
    """How many clips a tag was rightly and wrongly given to, tag by tag.

    Attributes:
        true_positive: (tags,) or (..., tags).
        false_positive: likewise.
        false_negative: likewise.
        true_negative: likewise.
    """

    true_positive: NDArray[Any]
    false_positive: NDArray[Any]
    false_negative: NDArray[Any]
    true_negative: NDArray[Any]

    @classmethod
    def of(cls, predicted: ArrayLike, labels: ArrayLike) -> Confusion:
        """Count decisions.

        Args:
            predicted: (clips, tags), true where a tag is given.
            labels: (clips, tags).

        Returns:
            The counts, (tags,) each.

        Raises:
            ConfigError: the shapes differ.
        """
        given, holds = np.asarray(predicted, dtype=bool), np.asarray(labels, dtype=bool)
        _check_shapes(given, holds)
        return cls(*(cell.sum(axis=0) for cell in _cells(given, holds)))

    @property
    def accuracy(self) -> Floats:
        """Share of the clips with the right decision; rare tags have a high one without ever being found."""
        right = self.true_positive + self.true_negative
        return _divided(right, right + self.false_positive + self.false_negative)

    @property
    def recall(self) -> Floats:
        """Share of the clips with the tag that were given it; NaN where no clip has it."""
        return _divided(self.true_positive, self.true_positive + self.false_negative)

    @property
    def precision(self) -> Floats:
        """Share of the clips that were given the tag that have it; 0 where none was, NaN where no clip has it."""
        given = self.true_positive + self.false_positive
        return self._where_some_clip_has_it(_divided(self.true_positive, np.maximum(given, 1)))

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall; 0 where no clip was rightly given it, NaN where no clip has it."""
        missed = self.false_positive + self.false_negative
        both = 2 * self.true_positive
        return self._where_some_clip_has_it(_divided(both, np.maximum(both + missed, 1)))

    def precision_or(self, frequencies: ArrayLike) -> Floats:
        """Give the precision, with something else for tags that were never given, as Nam, Herrera and Lee do.

        Args:
            frequencies: (tags,) how frequent each tag is in training.

        Returns:
            As `precision`, with these in place of 0 where a tag was never given.
        """
        never = self.true_positive + self.false_positive == 0
        return self._where_some_clip_has_it(np.where(never, frequencies, self.precision))

    def pooled(self) -> Confusion:
        """Add up over the tags: one column, for the micro average."""
        cells = (self.true_positive, self.false_positive, self.false_negative, self.true_negative)
        return Confusion(*(cell.sum(axis=-1, keepdims=True) for cell in cells))

    def _where_some_clip_has_it(self, values: Floats) -> Floats:
        return np.where(self.true_positive + self.false_negative > 0, values, np.nan)


def decide(scores: ArrayLike, thresholds: ArrayLike = HALF) -> Flags:
    """Give a tag where its score is above a threshold; a score that equals it is not.

    Args:
        scores: (clips, tags).
        thresholds: one for all, or (tags,).

    Returns:
        (clips, tags).
    """
    given: Flags = np.asarray(scores, dtype=np.float64) > np.asarray(thresholds, dtype=np.float64)
    return given


def best_thresholds(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Find the threshold of each tag with the highest F1. To be found on a validation part, never on the test part.

    Args:
        scores: (clips, tags).
        labels: (clips, tags).

    Returns:
        (tags,), for `decide`: midway between two scores; the highest where several are as good, and 0.5 where no clip
        has the tag.

    Raises:
        ConfigError: the shapes differ, or a score is not finite.
    """
    values, flags = _checked(scores, labels)
    thresholds = np.full(values.shape[1], HALF)
    for tag in np.flatnonzero(flags.any(axis=0)):
        taken, hits, steps = _steps(values[:, tag], flags[:, tag], scorable=False)
        best = int(np.argmax(2 * hits / (taken + hits[-1])))
        below = steps[best + 1] if best + 1 < len(steps) else np.nextafter(steps[best], -np.inf)
        middle = steps[best] / 2 + below / 2
        thresholds[tag] = middle if below <= middle < steps[best] else below
    return thresholds


def sweep(
    scores: ArrayLike, labels: ArrayLike, thresholds: Sequence[float], *, inclusive: bool = False
) -> list[Confusion]:
    """Count decisions at several thresholds for all tags, as IRMAS is scored.

    Source: Bosch et al., ISMIR 2012, and Han et al., 2017: the mean over patches from 0.10 to 0.24, or the scores
        beside the clip's largest from 0.25 to 0.60.

    Args:
        scores: (clips, tags).
        labels: (clips, tags).
        thresholds: one after the other.
        inclusive: whether a score that equals the threshold is enough.

    Returns:
        The counts at each threshold.

    Raises:
        ConfigError: the shapes differ, or a score is not finite.
    """
    values, flags = _checked(scores, labels)
    return [Confusion.of(values >= edge if inclusive else values > edge, flags) for edge in thresholds]


def annotate(scores: ArrayLike, *, n: int = 10, diversity: float = 1.25) -> Flags:
    """Give each clip its best tags, after each tag's mean score is taken off so that frequent tags leave room.

    Args:
        scores: (clips, tags).
        n: tags of each clip; all where there are fewer.
        diversity: how many times the mean over the clips is taken off.

    Returns:
        (clips, tags), true where a tag is given; of equal scores the first tag is.

    Raises:
        ConfigError: `n` is less than 1.
    """
    check_count("n", n)
    values = np.asarray(scores, dtype=np.float64)
    return _best(values - diversity * values.mean(axis=0), n)


def precision_at(scores: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Compute the share of true tags among the `k` best of each clip, mean over the clips.

    Args:
        scores: (clips, tags).
        labels: (clips, tags).
        k: how many tags; of equal scores the first tag is taken. Tags that are not there count as wrong.

    Returns:
        0 to 1; clips without a tag count as 0. NaN where there is no clip.

    Raises:
        ConfigError: the shapes differ, a score is not finite, or `k` is less than 1.
    """
    check_count("k", k)
    values, flags = _checked(scores, labels)
    if not len(values):
        return float("nan")
    return float((_best(values, k) & flags).sum() / (k * len(values)))


# -- exactly one tag ---------------------------------------------------------------------------------------------------


def confusion_matrix(scores: ArrayLike, labels: ArrayLike) -> Counts:
    """Count clips by the tag that they have and the one that they are given, where each has exactly one.

    Args:
        scores: (clips, tags); of equal scores the first tag is given.
        labels: (clips, tags).

    Returns:
        (tags, tags): a row a true tag, a column a given one.

    Raises:
        ConfigError: the shapes differ, a score is not finite, or a clip has not exactly one tag.
    """
    values, flags = _checked(scores, labels)
    if not np.all(flags.sum(axis=1) == 1):
        raise ConfigError("some clip has no tag or several; a confusion matrix is for exactly one each.")
    n_tags = values.shape[1]
    if not n_tags:
        return np.zeros((0, 0), np.int64)
    cells = flags.argmax(axis=1) * n_tags + values.argmax(axis=1)
    return np.bincount(cells, minlength=n_tags * n_tags).reshape(n_tags, n_tags)


def top_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the share of clips whose best tag is the true one, where each has exactly one.

    Args:
        scores: (clips, tags); of equal scores the first tag counts.
        labels: (clips, tags).

    Returns:
        0 to 1, or NaN where there is no clip.

    Raises:
        ConfigError: as for `confusion_matrix`.
    """
    matrix = confusion_matrix(scores, labels)
    return float(_divided(np.trace(matrix), matrix.sum()))


# -- scores as chances -------------------------------------------------------------------------------------------------


def root_mean_squared_error(scores: ArrayLike, labels: ArrayLike) -> float:
    """Compute the root of the mean squared difference of scores and labels, over all clips and tags.

    Args:
        scores: (clips, tags), 0 to 1.
        labels: (clips, tags).

    Returns:
        0 to 1, or NaN where there is no cell.

    Raises:
        ConfigError: the shapes differ, or a score is not finite.
    """
    values, flags = _checked(scores, labels)
    return float(np.sqrt(np.mean((values - flags) ** 2))) if values.size else float("nan")


def check_scores(scores: NDArray[Any]) -> None:
    """Refuse scores that are no chances.

    Args:
        scores: of any shape.

    Raises:
        ConfigError: one is not from 0 to 1.
    """
    outside = scores[~((scores >= 0) & (scores <= 1))]
    came = float(outside[0]) if len(outside) else 0.0
    check(not len(outside), "a score", came, "a number from 0 to 1, as a sigmoid or softmax gives")


@dataclass(frozen=True)
class Calibration:
    """How often what was given some score is true, in bins of equal width from 0 to 1.

    Attributes:
        edges: (bins + 1,) of the bins; a score that is an edge is in the bin above it.
        counts: (bins,) scores in each.
        mean_scores: (bins,), NaN where a bin is empty.
        shares: (bins,) how many of them are true, NaN where a bin is empty.
    """

    edges: Floats
    counts: Counts
    mean_scores: Floats
    shares: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and share, weighted by counts; NaN without a score."""
        gaps = np.abs(self.mean_scores - self.shares)[self.counts > 0]
        return float(np.average(gaps, weights=self.counts[self.counts > 0])) if len(gaps) else float("nan")


def calibration(scores: ArrayLike, labels: ArrayLike, *, n_bins: int = N_BINS) -> Calibration:
    """Compare scores with how often they are right.

    Args:
        scores: of any shape, 0 to 1. For several tags these are all cells; where exactly one holds, it is usual to take
            the best score of each clip.
        labels: of the same shape, whether the tag holds.
        n_bins: how many bins.

    Returns:
        The bins.

    Raises:
        ConfigError: the shapes differ, a score is not from 0 to 1, or `n_bins` is less than 1.
    """
    check_count("n_bins", n_bins)
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    flags = np.asarray(labels, dtype=bool).reshape(-1)
    _check_shapes(values, flags)
    check_scores(values)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n_bins - 1)
    counts = np.bincount(places, minlength=n_bins)
    sums = np.bincount(places, weights=values, minlength=n_bins)
    hits = np.bincount(places, weights=flags, minlength=n_bins)
    return Calibration(edges, counts, _divided(sums, counts), _divided(hits, counts))


# -- how sure a number is ----------------------------------------------------------------------------------------------


def interval(values: ArrayLike, estimate: float, level: float = LEVEL) -> tuple[float, float]:
    """Give the range in which a number may well lie for other clips of the same kind.

    Clips that a draw has twice push each other up, so that average precision comes out too high in draws, by as much
    again as it does for few clips in the first place. So the percentiles of the draws are shifted down by twice the
    distance of their mean from the number. In simulations with 10 to 30 tags, plain percentiles held the true macro
    average in 22 to 70 of 100 tests, and these in 89 to 94; of ROC-AUC both held it in 95.

    Args:
        values: (resamples,) the number in each draw, 0 to 1; NaN is left out.
        estimate: the number over all clips.
        level: the share of tests in which the range should hold the true value.

    Returns:
        Its ends, from 0 to 1 and around the number; both NaN where there is no number.

    Raises:
        ConfigError: `level` is not between 0 and 1.
    """
    check(0 < level < 1, "level", level, "a number between 0 and 1")
    numbers = np.asarray(values, dtype=np.float64)
    kept = numbers[~np.isnan(numbers)]
    if not len(kept) or np.isnan(estimate):
        return float("nan"), float("nan")
    shift = 2 * (kept.mean() - estimate)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2]) - shift
    return float(max(0.0, min(low, estimate))), float(min(1.0, max(high, estimate)))


class Bootstrap:
    """Draws the clips of a test again and again, with replacement, and scores each draw.

    What a number would be on other clips of the same kind, `interval` of its draws says. All numbers are of the same
    draws, and two bootstraps of as many clips with the same seed draw the same clips. A tag that cannot be scored in a
    draw has NaN there.

    Args:
        n_clips: how many there are.
        n_resamples: draws.
        seed: another one gives other draws.

    Raises:
        ConfigError: `n_resamples` is less than 1.
    """

    def __init__(self, n_clips: int, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> None:
        check_count("n_resamples", n_resamples)
        random = np.random.default_rng(seed)
        self.weights = np.empty((n_clips, n_resamples), np.int32)  # how often each draw has each clip
        for draw in range(n_resamples):
            drawn = random.integers(n_clips, size=n_clips) if n_clips else np.empty(0, np.int64)
            self.weights[:, draw] = np.bincount(drawn, minlength=n_clips)

    def areas(self, scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
        """Compute ROC-AUC and average precision of each tag in each draw.

        Args:
            scores: (clips, tags).
            labels: (clips, tags).

        Returns:
            (resamples, tags) each.

        Raises:
            ConfigError: the shapes differ, a score is not finite, or there are not as many clips.
        """
        values, flags = self._checked(scores, labels)
        rows = np.arange(len(values))
        columns = [self._column(values[:, tag], flags[:, tag], rows) for tag in range(values.shape[1])]
        empty = np.empty((0, self.weights.shape[1]))
        roc, precision = (np.array([column[part] for column in columns]) if columns else empty for part in (0, 1))
        return roc.T, precision.T

    def pooled_areas(self, scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
        """Compute ROC-AUC and average precision over all cells in each draw; whole clips are drawn.

        Args:
            scores: (clips, tags).
            labels: (clips, tags).

        Returns:
            (resamples,) each.

        Raises:
            ConfigError: as for `areas`.
        """
        values, flags = self._checked(scores, labels)
        rows = np.repeat(np.arange(len(values)), values.shape[1])
        return self._column(values.reshape(-1), flags.reshape(-1), rows)

    def confusion(self, predicted: ArrayLike, labels: ArrayLike) -> Confusion:
        """Count decisions in each draw.

        Args:
            predicted: (clips, tags), true where a tag is given.
            labels: (clips, tags).

        Returns:
            The counts, (resamples, tags) each.

        Raises:
            ConfigError: as for `areas`.
        """
        given, holds = np.asarray(predicted, dtype=bool), np.asarray(labels, dtype=bool)
        _check_shapes(given, holds)
        self._check_count(len(given))
        return Confusion(*(self.sums(cell) for cell in _cells(given, holds)))

    def sums(self, values: ArrayLike) -> Floats:
        """Add up something over the clips of each draw.

        Args:
            values: (clips, ...).

        Returns:
            (resamples, ...).
        """
        numbers = np.asarray(values, dtype=np.float64)
        return np.tensordot(self.weights.astype(np.float64), numbers, axes=(0, 0))

    def _checked(self, scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Flags]:
        values, flags = _checked(scores, labels)
        self._check_count(len(values))
        return values, flags

    def _check_count(self, came: int) -> None:
        check(came == len(self.weights), "the number of clips", came, f"{len(self.weights)}, as said at the start")

    def _column(self, scores: Floats, labels: Flags, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Compute both areas of one column in each draw.

        The scores are walked down once for all draws, from one group of equal scores with a hit in it to the next.

        Args:
            scores: (cells,).
            labels: (cells,).
            rows: (cells,) the clip of each cell.

        Returns:
            (resamples,) each.
        """
        n_resamples = self.weights.shape[1]
        taken, hits, area, precision = np.zeros((4, n_resamples))
        order = np.argsort(-scores, kind="stable")
        falling, clips, holds = -scores[order], rows[order], labels[order]
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]) + 1, len(falling))
        done = 0
        for first, end in _groups_with_hits(holds, ends):
            taken += self._drawn(clips[done:first])
            wrong_above = taken - hits
            found = self._drawn(clips[first:end][holds[first:end]])
            hits += found
            taken += self._drawn(clips[first:end])
            area += found * (wrong_above + taken - hits) / 2
            precision += found * hits / np.maximum(taken, 1)
            done = end
        n_misses = taken + self._drawn(clips[done:]) - hits
        can_be = n_misses * hits > 0
        roc = np.where(can_be, 1 - _divided(area, n_misses * hits), np.nan)
        return roc, np.where(can_be, _divided(precision, hits), np.nan)

    def _drawn(self, clips: NDArray[np.int64]) -> NDArray[np.int32]:
        """Count in each draw how often it has some clips."""
        counts: NDArray[np.int32] = self.weights[clips].sum(axis=0, dtype=np.int32)
        return counts


@dataclass(frozen=True)
class OverFolds:
    """A number over the folds of a cross-validation.

    Attributes:
        mean: over the folds.
        std: their standard deviation, divided by the number of folds, as the sources report it.
        n_folds: those that have the number.
    """

    mean: float
    std: float
    n_folds: int


def mean_over_folds(folds: Sequence[Mapping[str, float]]) -> dict[str, OverFolds]:
    """Average the numbers of folds.

    Args:
        folds: numbers by name, a mapping a fold; NaN is left out, and so is a name that some fold has not.

    Returns:
        Each number over the folds.

    Raises:
        ConfigError: there is no fold.
    """
    if not folds:
        raise ConfigError("there is no fold to average.")
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    values = {name: np.array([fold[name] for fold in folds], dtype=np.float64) for name in names}
    kept = {name: numbers[~np.isnan(numbers)] for name, numbers in values.items()}
    return {name: OverFolds(float(v.mean()), float(v.std()), len(v)) for name, v in kept.items() if len(v)}


# -- inside ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ranked:
    """Cells in falling order of their scores, column by column; those with equal scores are a group.

    Attributes:
        hits: (clips, tags) whether the tag holds.
        first: (clips, tags) place of the first cell of the group that each is in.
        last: likewise of the last.
        hits_before_first: hits above the group.
        hits_to_last: hits down to the end of the group.
        n_hits: (tags,).
    """

    hits: Flags
    first: Counts
    last: Counts
    hits_before_first: Counts
    hits_to_last: Counts
    n_hits: Counts

    @classmethod
    def of(cls, scores: Floats, labels: Flags) -> _Ranked:
        order = np.argsort(-scores, axis=0, kind="stable")
        hits = np.take_along_axis(labels, order, axis=0)
        in_order = np.take_along_axis(scores, order, axis=0)
        place = np.arange(len(scores))[:, None]
        new = np.ones(scores.shape, dtype=bool)
        new[1:] = in_order[1:] != in_order[:-1]
        first: Counts = np.maximum.accumulate(np.where(new, place, 0), axis=0)
        ends = np.ones_like(new)
        ends[:-1] = new[1:]
        last: Counts = np.minimum.accumulate(np.where(ends, place, len(scores))[::-1], axis=0)[::-1]
        counted: Counts = np.cumsum(hits, axis=0)
        before: Counts = np.take_along_axis(counted - hits, first, axis=0)
        return cls(hits, first, last, before, np.take_along_axis(counted, last, axis=0), hits.sum(axis=0))


def _steps(scores: ArrayLike, labels: ArrayLike, *, scorable: bool = True) -> tuple[Floats, Floats, Floats]:
    """Walk down the scores of one tag: cells and hits down to the end of each group of equal scores, and the score."""
    values, flags = _checked(np.asarray(scores)[:, None], np.asarray(labels)[:, None])
    if scorable and not can_be_scored(flags)[0]:
        raise ConfigError("a curve needs clips with the tag and clips without it.")
    ranked = _Ranked.of(values, flags)
    ends = np.unique(ranked.last[:, 0])
    in_order = -np.sort(-values[:, 0])
    return (ends + 1).astype(np.float64), ranked.hits_to_last[ends, 0].astype(np.float64), in_order[ends]


def _best(values: Floats, n: int) -> Flags:
    """Mark the `n` best columns of each row; of equal values the first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :n]
    marked = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(marked, order, True, axis=1)
    return marked


def _cells(given: Flags, holds: Flags) -> tuple[Flags, Flags, Flags, Flags]:
    """Tell true positives, false positives, false negatives and true negatives apart."""
    return given & holds, given & ~holds, ~given & holds, ~given & ~holds


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Flags]:
    values, flags = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    _check_shapes(values, flags)
    check(values.ndim == 2, "the shape of the scores", values.shape, "(clips, tags)")
    strange = values[~np.isfinite(values)]
    check(not len(strange), "a score", float(strange[0]) if len(strange) else 0.0, "a finite number")
    return values, flags


def _check_shapes(*arrays: NDArray[Any]) -> None:
    shapes = [array.shape for array in arrays]
    check(len(set(shapes)) == 1, "the shapes", shapes, "the same for all")


def _groups_with_hits(holds: Flags, ends: Counts) -> Iterator[tuple[int, int]]:
    """Give first and end of each group of equal scores in which some tag holds.

    Args:
        holds: (cells,) by falling score.
        ends: of all groups.

    Yields:
        The place of its first cell, and that behind its last one.
    """
    groups = np.unique(np.searchsorted(ends, np.flatnonzero(holds), side="right"))
    firsts = np.concatenate([[0], ends])[groups]
    yield from zip(firsts.tolist(), ends[groups].tolist())


def _divided(above: ArrayLike, below: ArrayLike) -> Floats:
    """Divide; NaN where there is nothing to divide by."""
    numerator, denominator = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    whole: Floats = np.divide(
        numerator,
        denominator,
        out=np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan),
        where=denominator != 0,
    )
    return whole
