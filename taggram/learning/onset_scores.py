"""Scores of the syllables that were found: onsets alone, and whole segments.

Source: the code of Pons, Gong and Serra, ISMIR 2017, github.com/ronggong/jingjuSyllabicSegmentaion. A segment is right
    if its onset is nearer than the tolerance to an annotated one, its end nearer than the tolerance or a fifth of the
    annotated duration, and the syllables are the same; counts are summed over all phrases.
Differs: where nothing is right, F1 is 0; there it divides by 0. Of segments, as there, every annotation is held against
    every detection, and two annotations that share one count once; two detections that share an annotation also count
    once, and there twice, so that more than all could be right. Onsets alone, which the source counts likewise but does
    not report, are paired one to one.
    `onset_f_measure` is that of mir_eval, where a distance of just the tolerance is near enough.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taggram._checks import check

TOLERANCES_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
TOLERANCE_S = 0.05  # of the paper's code
OFFSET_SHARE = 0.2  # of the annotated duration


@dataclass(frozen=True)
class Segments:
    """Syllables of a phrase, in order.

    Attributes:
        starts_s: where they begin, from the start of the phrase on.
        ends_s: where they end.
        labels: what is sung, or None where that is not known.
    """

    starts_s: Sequence[float]
    ends_s: Sequence[float]
    labels: Sequence[str] | None = None

    def __len__(self) -> int:
        """Count the syllables."""
        return len(self.starts_s)


@dataclass(frozen=True)
class Counts:
    """How many were found, how many there are, and how many of those found are right.

    Attributes:
        n_detected: found.
        n_annotated: there.
        n_correct: found and right.
    """

    n_detected: int = 0
    n_annotated: int = 0
    n_correct: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.n_detected + other.n_detected,
            self.n_annotated + other.n_annotated,
            self.n_correct + other.n_correct,
        )

    @property
    def precision(self) -> float:
        """Share of those found that are right; 0 if nothing was found."""
        return self.n_correct / self.n_detected if self.n_detected else 0.0

    @property
    def recall(self) -> float:
        """Share of those there that were found; 0 if there are none."""
        return self.n_correct / self.n_annotated if self.n_annotated else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 0 if nothing is right."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def count_onsets(detected_s: ArrayLike, annotated_s: ArrayLike, tolerance_s: float = TOLERANCE_S) -> Counts:
    """Count onsets that are nearer than a tolerance to an annotated one, each paired with one of its own.

    Args:
        detected_s: (onsets,) in seconds, in any order.
        annotated_s: (onsets,) in seconds, in any order.
        tolerance_s: in seconds; as far is too far.

    Returns:
        The counts.
    """
    detected, annotated = np.sort(np.asarray(detected_s, float)), np.sort(np.asarray(annotated_s, float))
    ours = theirs = n_correct = 0
    while ours < len(detected) and theirs < len(annotated):  # the first of each that are near make the most pairs
        if abs(detected[ours] - annotated[theirs]) < tolerance_s:
            ours, theirs, n_correct = ours + 1, theirs + 1, n_correct + 1
        elif detected[ours] < annotated[theirs]:
            ours += 1
        else:
            theirs += 1
    return Counts(len(detected), len(annotated), n_correct)


def count_segments(detected: Segments, annotated: Segments, tolerance_s: float = TOLERANCE_S) -> Counts:
    """Count syllables whose onset, end and label are right; labels count where both sides have them.

    Args:
        detected: found.
        annotated: there.
        tolerance_s: of onsets, in seconds; as far is too far. Of ends it is a fifth of the annotated duration where
            that is more.

    Returns:
        The counts.

    Raises:
        ConfigError: starts, ends and labels are not as many as each other.
    """
    for segments in (detected, annotated):
        lengths = {len(segments.starts_s), len(segments.ends_s), len(segments.labels or segments.starts_s)}
        check(len(lengths) == 1, "the number of starts, ends and labels", sorted(lengths), "as many of each")
    durations = np.asarray(annotated.ends_s, float) - np.asarray(annotated.starts_s, float)
    right = _distances(detected.starts_s, annotated.starts_s) < tolerance_s
    right &= _distances(detected.ends_s, annotated.ends_s) < np.maximum(tolerance_s, OFFSET_SHARE * durations)
    if detected.labels is not None and annotated.labels is not None:
        right &= np.array([[ours == theirs for theirs in annotated.labels] for ours in detected.labels], bool).reshape(
            right.shape
        )
    n_correct = min(int(right.any(1).sum()), int(right.any(0).sum()))
    return Counts(len(detected), len(annotated), n_correct)


def onset_f_measure(
    detected_s: Sequence[Sequence[float]], annotated_s: Sequence[Sequence[float]], tolerance_s: float = TOLERANCE_S
) -> float:
    """Give the mean over phrases of mir_eval's F-measure of onsets.

    Args:
        detected_s: onsets of each phrase, rising, in seconds.
        annotated_s: likewise.
        tolerance_s: in seconds; as far is near enough.

    Returns:
        From 0 to 1; a phrase without any onset on one side has 0.
    """
    from mir_eval.onset import f_measure

    phrases = [
        float(f_measure(np.asarray(theirs, float), np.asarray(ours, float), window=tolerance_s)[0])
        if len(ours) and len(theirs)
        else 0.0
        for ours, theirs in zip(detected_s, annotated_s, strict=True)
    ]
    return statistics.fmean(phrases) if phrases else 0.0


def _distances(detected_s: ArrayLike, annotated_s: ArrayLike) -> NDArray[np.float64]:
    """(detected, annotated) distances in seconds."""
    detected, annotated = np.asarray(detected_s, float), np.asarray(annotated_s, float)
    distances: NDArray[np.float64] = np.abs(detected[:, None] - annotated)
    return distances
