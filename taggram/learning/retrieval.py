"""Retrieval: how high those of the same class stand when clips are ordered by how near they are to one of them.

Source: mean average precision by the cosine, as in Park, Lee, Park, Ha and Nam, "Representation learning of music using
    artist labels", ISMIR 2018, arXiv 1710.06648.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taggram.errors import ConfigError, DatasetError
from taggram.learning.metrics import average_precision, can_be_scored

Floats = NDArray[np.float64]
BLOCK = 256  # clips that are asked for at once: memory grows with this times the number of clips


def retrieval_precision(features: ArrayLike, labels: ArrayLike) -> float:
    """Ask for each clip, order all others by the cosine of their features with its own, and score the order.

    Args:
        features: (clips, values). A vector of zeros has the cosine 0 with all.
        labels: (clips,) number of the class of each.

    Returns:
        The mean of `retrieval_precisions`, 0 to 1.

    Raises:
        ConfigError: the shapes do not fit, or a value is not finite.
        DatasetError: no clip can be scored.
    """
    return float(retrieval_precisions(features, labels).mean())


def retrieval_precisions(features: ArrayLike, labels: ArrayLike) -> Floats:
    """Score the order of all others for each clip; see `retrieval_precision`.

    Args:
        features: (clips, values).
        labels: (clips,) number of the class of each.

    Returns:
        (scored clips,) the average precision of each, 0 to 1. Clips whose class nobody else has, or everybody, cannot
        be scored and are left out.

    Raises:
        ConfigError: the shapes do not fit, or a value is not finite.
        DatasetError: no clip can be scored.
    """
    vectors, classes = np.asarray(features, np.float64), np.asarray(labels)
    if vectors.ndim != 2 or classes.shape != vectors.shape[:1] or not np.isfinite(vectors).all():
        raise ConfigError(
            f"features of shape {vectors.shape} and labels of shape {classes.shape}; wanted are (clips, values), "
            "all finite, and (clips,)."
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms > 0, norms, 1.0)
    blocks = [np.arange(first, min(first + BLOCK, len(vectors))) for first in range(0, len(vectors), BLOCK)]
    precisions = np.concatenate([np.empty(0), *[_precisions(vectors, classes, asked) for asked in blocks]])
    scored: Floats = precisions[~np.isnan(precisions)]
    if not len(scored):
        raise DatasetError(f"none of {len(vectors)} clips has both clips of its own class and of others beside it.")
    return scored


def _precisions(
    vectors: NDArray[np.float64], classes: NDArray[np.int64], asked: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give (asked,) average precisions, NaN where there is none."""
    cosines = vectors @ vectors[asked].T  # (clips, asked)
    same = classes[:, None] == classes[asked]
    others = np.ones(same.shape, bool)
    others[asked, np.arange(len(asked))] = False  # nobody finds themselves
    shape = (len(asked), len(vectors) - 1)
    scores, holds = (values.T[others.T].reshape(shape).T for values in (cosines, same))
    return np.where(can_be_scored(holds), average_precision(scores, holds), np.nan)
