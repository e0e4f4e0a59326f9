"""Extreme learning machine: one hidden layer that is drawn at random, and a linear layer found by least squares.

Source: Pons and Serra, "Randomly weighted CNNs for (music) audio classification", ICASSP 2019, arXiv 1805.00237; the
    last state of the released code, May 2018: ReLU, weights and biases N(0, 1) without any scaling, targets -1 and 1,
    no ridge term, float64, singular values below 10^6 eps of the largest dropped.
Differs:
    - The code keeps the hidden values of all examples and takes their pseudo-inverse. Here blocks of them are folded
      into one triangle by Householder reflections, and its pseudo-inverse is taken: the same weights, up to rounding,
      with memory that does not grow with the number of examples.
    - Other random numbers; the code sets no seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taggram._checks import check_count
from taggram.errors import ConfigError, missing_extra

try:
    from sklearn.base import BaseEstimator, ClassifierMixin

    HAS_SKLEARN = True
except ImportError:  # told to who makes one
    BaseEstimator, ClassifierMixin = (type(name, (), {}) for name in ("BaseEstimator", "ClassifierMixin"))
    HAS_SKLEARN = False

Floats = NDArray[np.float64]

CUT = 1e6 * np.finfo(np.float64).eps  # 2.2e-10, of the largest singular value
BLOCKS_PER_TRIANGLE = 4  # rows of a block beside those of the triangle; more is less work and more memory
LEAST_ROWS = 1024  # of a block


class ELMClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Extreme learning machine, a scikit-learn classifier.

    With at least as many hidden units as examples it fits them exactly, by the weights of the least norm. Features are
    not scaled.

    Args:
        n_hidden: hidden units.
        random_state: seed or generator of the hidden layer, as everywhere in scikit-learn.

    Attributes:
        classes_: (classes,) their names, in order.
        n_features_in_: length of the features.
        biases_: (hidden,) drawn first.
        weights_: (features, hidden).
        output_weights_: (hidden, classes).

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """

    classes_: NDArray[Any]
    n_features_in_: int
    biases_: Floats
    weights_: Floats
    output_weights_: Floats

    def __init__(self, n_hidden: int = 500, *, random_state: int | np.random.RandomState | None = None) -> None:
        if not HAS_SKLEARN:
            raise missing_extra("scikit-learn", "train", "extreme learning machines")
        self.n_hidden = n_hidden
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 (scikit-learn's name)
        """Draw the hidden layer, and find the output layer.

        Args:
            X: (examples, features), float32 or float64; no copy is made of it.
            y: (examples,) the class of each.

        Returns:
            Itself.

        Raises:
            ConfigError: `n_hidden` is no count, or there is one class alone.
            ValueError: the data has another shape, or something in it is no number.
        """
        from sklearn.utils import check_random_state
        from sklearn.utils.multiclass import check_classification_targets

        features, labels = _validated(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(labels)
        check_count("n_hidden", self.n_hidden)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ConfigError(f"there is 1 class, {self.classes_[0]}; a classifier needs at least 2 classes.")
        random = check_random_state(self.random_state)
        self.biases_ = random.standard_normal(self.n_hidden)
        self.weights_ = random.standard_normal((features.shape[1], self.n_hidden))

        def blocks() -> Iterator[tuple[Floats, Floats]]:
            for rows in _in_blocks(len(features), self._n_rows):
                targets = np.where(numbers[rows, None] == np.arange(len(self.classes_)), 1.0, -1.0)
                yield self._hidden(features[rows]), targets

        self.output_weights_ = minimum_norm(blocks())
        return self

    def decision_function(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Score examples.

        Args:
            X: (examples, features).

        Returns:
            (examples, classes), near 1 for the class and near -1 for the others; of two classes (examples,), above 0
            for the second.

        Raises:
            ValueError: the data has another shape, or something in it is no number.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        features = _validated(self, X, dtype=(np.float64, np.float32), reset=False)
        scores = np.concatenate([
            self._hidden(features[rows]) @ self.output_weights_ for rows in _in_blocks(len(features), self._n_rows)
        ])  # fmt: skip
        return scores[:, 1] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Name the class of examples.

        Args:
            X: (examples, features).

        Returns:
            (examples,) that with the highest score.

        Raises:
            ValueError: the data has another shape, or something in it is no number.
        """
        scores = self.decision_function(X)
        places = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        named: NDArray[Any] = self.classes_[places]
        return named

    @property
    def _n_rows(self) -> int:
        return max(LEAST_ROWS, BLOCKS_PER_TRIANGLE * self.n_hidden)

    def _hidden(self, features: NDArray[np.floating]) -> Floats:
        """Give (examples, hidden) of (examples, features)."""
        hidden: Floats = features.astype(np.float64) @ self.weights_
        hidden += self.biases_
        return np.maximum(hidden, 0, out=hidden)


def minimum_norm(blocks: Iterable[tuple[Floats, Floats]], cut: float = CUT) -> Floats:
    """Solve a least-squares problem whose rows come in blocks; of all solutions give that of the least norm.

    Args:
        blocks: (rows, columns) and (rows, targets) each, of any numbers of rows.
        cut: singular values that are not above this share of the largest count as 0.

    Returns:
        (columns, targets), which are pinv(all rows) @ all targets. No more than a block and a square of columns by
        columns are in memory at once.

    Raises:
        ConfigError: no row came.
    """
    triangle: Floats | None = None  # (rows <= columns, columns + targets): R beside Q^T Y of all rows so far
    n_columns = 0
    for matrix, targets in blocks:
        n_columns = matrix.shape[1]
        rows = np.hstack([matrix, targets])
        stacked = rows if triangle is None else np.vstack([triangle, rows])
        triangle = cast("Floats", np.linalg.qr(stacked, mode="r"))[:n_columns]  # what is below is residual
    if triangle is None or not len(triangle):
        raise ConfigError("no row came; a least-squares problem needs at least 1.")
    left, sizes, right = np.linalg.svd(triangle[:, :n_columns], full_matrices=False)
    kept = sizes > cut * sizes[0]
    weights: Floats = right[kept].T @ ((left[:, kept].T @ triangle[:, n_columns:]) / sizes[kept, None])
    return weights


# -- inside ------------------------------------------------------------------------------------------------------------


def _in_blocks(n_rows: int, n_at_once: int) -> Iterator[slice]:
    for start in range(0, n_rows, n_at_once):
        yield slice(start, start + n_at_once)


def _validated(estimator: ELMClassifier, *data: ArrayLike, **options: Any) -> Any:
    """Let scikit-learn check shapes and values, and note the number and names of features."""
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # before 1.6
        return estimator._validate_data(*data, **options)
    return validate_data(estimator, *data, **options)
