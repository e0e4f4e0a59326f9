"""Thresholds on scores where several tags may hold: two ways to decide, precision, recall and F1 over a sweep.

Source: Pons et al., "Timbre analysis of music audio signals with convolutional neural networks", EUSIPCO 2017, the
    experiment on IRMAS; code of github.com/Veleslavia/EUSIPCO2017. The second way is that of Han, Kim and Lee, "Deep
    convolutional neural networks for predominant instrument recognition in polyphonic music", arXiv 1605.09507.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

S1, S2 = "S1", "S2"  # mean over patches; sum over patches beside the largest
THRESHOLDS = {  # that the source sweeps over
    S1: tuple(round(0.10 + 0.02 * step, 2) for step in range(8)),
    S2: tuple(round(0.25 + 0.05 * step, 2) for step in range(8)),
}
HEADLINE = (S2, 0.5)
AVERAGES = ("micro", "macro")


def clip_scores(patches: NDArray[np.float32], strategy: str) -> Floats:
    """Make the scores of a clip from those of its patches.

    Args:
        patches: (patches, tags), 0 to 1, and above 0 somewhere.
        strategy: S1 takes the mean over patches; S2 their sum, divided by that of the clip's best tag.

    Returns:
        (tags,) 0 to 1.
    """
    total: Floats = patches.sum(axis=0, dtype=np.float64)
    return total / len(patches) if strategy == S1 else total / total.max()


def decided(scores: Floats, strategy: str, threshold: float) -> Flags:
    """Decide which tags hold: above the threshold with S1, at it or above with S2.

    Args:
        scores: (clips, tags).
        strategy: S1 or S2.
        threshold: 0 to 1.

    Returns:
        (clips, tags).
    """
    flags: Flags = scores > threshold if strategy == S1 else scores >= threshold
    return flags


def f_measures(given: Flags, holds: Flags) -> dict[str, float]:
    """Compute precision, recall and F1 over all decisions (micro), and as means over the tags (macro).

    Args:
        given: (clips, tags) what was decided.
        holds: (clips, tags) what is so.

    Returns:
        "micro_precision" and the like, 0 to 1; 0 where nothing can be divided by.
    """
    from sklearn.metrics import precision_recall_fscore_support

    found: dict[str, float] = {}
    for average in AVERAGES:
        figures = precision_recall_fscore_support(holds, given, average=average, zero_division=0)
        found |= {f"{average}_{name}": float(value) for name, value in zip(("precision", "recall", "f1"), figures)}
    return found


def sweep(scores: dict[str, Floats], holds: Flags) -> list[dict[str, Any]]:
    """Decide at all thresholds.

    Args:
        scores: by strategy, (clips, tags).
        holds: (clips, tags).

    Returns:
        Strategy, threshold and `f_measures`, in the order of `THRESHOLDS`.
    """
    return [
        {"strategy": strategy, "threshold": threshold}
        | f_measures(decided(scores[strategy], strategy, threshold), holds)
        for strategy, thresholds in THRESHOLDS.items()
        for threshold in thresholds
    ]
