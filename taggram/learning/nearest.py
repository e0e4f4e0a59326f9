"""Classifiers on one vector a clip that ask what is near: neighbours, and class means.

Source: the transfer experiments of Park, Lee, Park, Ha and Nam, "Representation learning of music using artist labels",
    ISMIR 2018, arXiv 1710.06648; its first version of 2017 has the discriminant analysis.
Differs: how many neighbours the paper has, and by which distance, is not known; here validation chooses, by the cosine.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taggram.errors import ConfigError, DatasetError, TrainingError, missing_extra
from taggram.learning.classifier_grids import Labelled, check_classes

NEIGHBOURS = (1, 3, 5, 7, 9, 11, 15, 21, 31)  # among which validation chooses
MOST_LDA = 199  # dimensions that a discriminant analysis keeps
SCORED_AT_ONCE = 4096

Floats = NDArray[np.floating]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """What the nearest neighbours make of clips.

    Attributes:
        n_neighbours: how many were asked, as validation chose.
        predicted: (clips,) classes.
    """

    n_neighbours: int
    predicted: Whole


def nearest_neighbours(
    train: Labelled, valid: Labelled, features: Floats, *, numbers: Sequence[int] = NEIGHBOURS
) -> Neighbours:
    """Give each clip the class that most of its nearest neighbours have, by the cosine.

    Args:
        train: the neighbours.
        valid: clips that choose how many are asked; of equal numbers, the smallest.
        features: (clips, values) of the clips that are asked about.
        numbers: of neighbours, from which is chosen; those above the number of clips are left out.

    Returns:
        The classes.

    Raises:
        TrainingError: all neighbours are of one class.
        DatasetError: there is no clip to choose by.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.neighbors import KNeighborsClassifier
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "nearest neighbours") from error
    check_classes(train)
    if not len(valid.labels):
        raise DatasetError("there is no clip to choose the number of neighbours by.")
    best, machine, chosen = -1.0, None, 0
    for number in sorted(number for number in numbers if number <= len(train.labels)):
        tried = KNeighborsClassifier(number, metric="cosine", algorithm="brute").fit(train.features, train.labels)
        accuracy = float(np.mean(tried.predict(valid.features) == valid.labels))
        if accuracy > best:
            best, machine, chosen = accuracy, tried, number
    if machine is None:
        raise ConfigError(
            f"numbers are {tuple(numbers)}; one from 1 to {len(train.labels)} is wanted, as many as clips."
        )
    return Neighbours(chosen, np.asarray(machine.predict(features), np.int64))


def nearest_class_means(train: Labelled, features: Floats, *, most: int = MOST_LDA) -> Whole:
    """Give each clip the class whose mean is nearest by the cosine, after a linear discriminant analysis.

    Args:
        train: clips of each class.
        features: (clips, values) of the clips that are asked about.
        most: dimensions that are kept; no more than there are classes, less one, or values.

    Returns:
        (clips,) classes.

    Raises:
        TrainingError: all clips for training are of one class, or no class has two clips.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "discriminant analysis") from error
    check_classes(train)
    classes = np.unique(train.labels)
    if len(classes) == len(train.labels):
        raise TrainingError(
            f"{len(classes)} clips of as many classes; a discriminant analysis needs two of some class."
        )
    n_kept = min(most, len(classes) - 1, train.features.shape[1])
    analysis = LinearDiscriminantAnalysis(solver="svd", n_components=n_kept)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variables are collinear")  # filters that never speak are equal to each other
        space = analysis.fit(train.features, train.labels).transform(train.features)
    means = np.stack([space[train.labels == number].mean(0) for number in classes])
    return np.asarray(classes[_cosines(analysis.transform(features), means).argmax(1)], np.int64)


# -- inside ------------------------------------------------------------------------------------------------------------


def _cosines(some: Floats, others: Floats) -> Floats:
    """Give (some, others) cosines; a vector of zeros has 0 with all."""
    lengths = [np.linalg.norm(one, axis=1, keepdims=True) for one in (some, others)]
    scaled = [one / np.where(length > 0, length, 1.0) for one, length in zip((some, others), lengths)]
    return np.asarray(scaled[0] @ scaled[1].T)
