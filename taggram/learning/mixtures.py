"""A mixture of Gaussians for each class, on cepstra and their differences: the classic way to tell phonemes apart.

Source: the baseline of Pons, Slizovskaia, Gong, Gomez and Serra, "Timbre analysis of music audio signals with
    convolutional neural networks", EUSIPCO 2017, arXiv 1703.06697: 40 diagonal Gaussians a class, 13 coefficients with
    first and second differences over 5 frames, the most likely class without a prior.
Differs: a class of fewer frames than Gaussians has as many as frames.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_count

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

SIDE = 2  # frames on each side that a difference looks at
LEAST = 2  # frames of a class that has a mixture


def with_differences(frames: NDArray[Any]) -> Floats:
    """Put first and second differences in time beside features; the frames at the ends are repeated.

    Args:
        frames: (frames, features).

    Returns:
        (frames, 3 * features): the features, their slopes over 5 frames, and the slopes of these.
    """
    values = np.asarray(frames, np.float64)
    slopes = _slopes(values)
    return np.concatenate([values, slopes, _slopes(slopes)], axis=1)


class ClassMixtures:
    """A mixture of diagonal Gaussians for each class.

    Args:
        n_classes: how many classes there are.
        n_components: Gaussians of a class.
        seed: of the first guess.

    Raises:
        ConfigError: a number is none from 1 on.
    """

    def __init__(self, n_classes: int, n_components: int = 40, seed: int = 0) -> None:
        check_count("n_classes", n_classes)
        check_count("n_components", n_components)
        self.n_classes = n_classes
        self.n_components = n_components
        self.seed = seed
        self._mixtures: dict[int, Any] = {}

    def fit(self, features: Floats, labels: Whole) -> ClassMixtures:
        """Fit the mixtures.

        Args:
            features: (frames, features).
            labels: (frames,) numbers of the classes; one with fewer than two frames is never answered.

        Returns:
            Itself.

        Raises:
            ConfigError: no class has two frames.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        self._mixtures = {}
        for number in range(self.n_classes):
            of_class = features[labels == number]
            if len(of_class) < LEAST:
                continue
            mixture = GaussianMixture(
                n_components=min(self.n_components, len(of_class)),
                covariance_type="diag",
                random_state=(self.seed + number) % 2**32,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # 100 rounds are near enough, or the frames are few
                self._mixtures[number] = mixture.fit(of_class)
        check(bool(self._mixtures), "labels", np.unique(labels).tolist(), "two frames of one class at least")
        return self

    def predict(self, features: Floats) -> Whole:
        """Give the class under which each frame is most likely.

        Args:
            features: (frames, features).

        Returns:
            (frames,) numbers of the classes.
        """
        likely = np.full((len(features), self.n_classes), -np.inf)
        for number, mixture in self._mixtures.items():
            likely[:, number] = mixture.score_samples(features)
        classes: Whole = likely.argmax(1)
        return classes


def _slopes(values: Floats) -> Floats:
    """Give the slope of the line through each frame and those beside it."""
    padded = np.pad(values, ((SIDE, SIDE), (0, 0)), mode="edge")
    total = np.zeros_like(values)
    for step in range(1, SIDE + 1):
        total += step * (padded[SIDE + step :][: len(values)] - padded[SIDE - step :][: len(values)])
    slopes: Floats = total / (2 * sum(step**2 for step in range(1, SIDE + 1)))
    return slopes
