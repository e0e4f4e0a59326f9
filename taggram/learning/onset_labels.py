"""What a network that hears onsets is trained on: labels of frames, and how much each frame counts.

Source: Pons, Gong and Serra, "Score-informed syllable segmentation for a cappella singing voice with convolutional
    neural networks", ISMIR 2017, arXiv 1707.03544; the code of github.com/ronggong/jingjuSyllabicSegmentaion.
Differs: `resolve="nearest"` gives every frame one label; in the source, frames between two onsets that are close to
    each other are there several times, some of them as onset and as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_choice

Resolve = Literal["as_original", "nearest"]
Weighting = Literal["sample", "class", "product"]

WEIGHTS = (  # by the distance from an onset in frames: whether the frame is an onset, and its weight
    (1, 1.0), (1, 0.75), (1, 0.5), (1, 0.25), (0, 0.25), (0, 0.5), (0, 0.75),
)  # fmt: skip
N_CLASSES = 2


@dataclass(frozen=True)
class OnsetLabels:
    """Labels of the frames of a phrase.

    Attributes:
        frames: (entries,) int64, a frame each; one may be there several times.
        labels: (entries,) int64, 1 for an onset and 0 for none.
        weights: (entries,) float64, above 0 and up to 1.
    """

    frames: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]


def label_onsets(onsets: Sequence[int], end: int, *, resolve: Resolve = "as_original") -> OnsetLabels:
    """Label the frames of a phrase: the targets stay 0 and 1, only the weights are smeared.

    Args:
        onsets: frames at which syllables begin, rising; the phrase begins with the first.
        end: the frame at which the phrase ends.
        resolve: "as_original" takes a frame that is near to several onsets several times; "nearest" takes each frame
            once, as the nearest onset says, the earlier one of two.

    Returns:
        The labels: onsets and what is near them, then all other frames.

    Raises:
        ConfigError: there is no onset, they do not rise, or the phrase ends before the last.
    """
    check_choice("resolve", resolve, get_args(Resolve))
    rises = all(first < second for first, second in zip([*onsets, end], [*onsets, end][1:]))
    check(len(onsets) > 0 and rises, "onsets", [*onsets, end], "at least one onset, rising to the end of the phrase")
    first = int(onsets[0])
    near, labels, weights = [], [], []
    if resolve == "as_original":
        for onset in onsets:
            for offset in range(1 - len(WEIGHTS), len(WEIGHTS)):
                if first <= onset + offset <= end:
                    near.append(int(onset) + offset)
                    labels.append(WEIGHTS[abs(offset)][0])
                    weights.append(WEIGHTS[abs(offset)][1])
    else:
        distances = np.abs(np.arange(first, end)[:, None] - np.asarray(onsets)).min(1)
        for frame, distance in zip(range(first, end), distances.tolist()):
            if distance < len(WEIGHTS):
                near.append(frame)
                labels.append(WEIGHTS[distance][0])
                weights.append(WEIGHTS[distance][1])
    others = np.setdiff1d(np.arange(first, end), near)
    return OnsetLabels(
        np.concatenate([np.array(near, np.int64), others]),
        np.concatenate([np.array(labels, np.int64), np.zeros(len(others), np.int64)]),
        np.concatenate([np.array(weights), np.ones(len(others))]),
    )


def weigh(labels: NDArray[np.int64], weights: NDArray[np.float64], weighting: Weighting) -> NDArray[np.float64]:
    """Say how much each frame counts in the loss.

    Args:
        labels: (entries,) of all frames that are trained on.
        weights: (entries,) as `label_onsets` gives them.
        weighting: "sample" takes those, "class" gives both classes as much weight in sum whatever their frames weigh,
            "product" multiplies the two.

    Returns:
        (entries,) weights.

    Raises:
        ConfigError: there is no such weighting.
    """
    check_choice("weighting", weighting, get_args(Weighting))
    if weighting == "sample":
        return weights
    counts = np.bincount(labels, minlength=N_CLASSES)
    of_class = len(labels) / (N_CLASSES * np.maximum(1, counts))
    balanced: NDArray[np.float64] = of_class[labels]
    return balanced if weighting == "class" else balanced * weights
