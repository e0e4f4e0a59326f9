"""Support vector machines on kernels that are ready: what grids of classifiers and machines of tags share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.errors import missing_extra

KERNEL_CACHE_MB = 1000

Floats = NDArray[np.float64]


def squared_distances(some: Floats, others: Floats, products: Floats | None = None) -> Floats:
    """Give the squared distances between clips, from the products of their features.

    Args:
        some: (some, features).
        others: (others, features).
        products: (some, others) inner products, where they are there already.

    Returns:
        (some, others), 0 and more.
    """
    squares = [np.einsum("ij,ij->i", one, one) for one in (some, others)]
    distances: Floats = squares[0][:, None] + squares[1]
    distances -= 2 * (some @ others.T if products is None else products)
    return np.maximum(distances, 0, out=distances)


def rbf_kernel(distances: Floats, gamma: float) -> Floats:
    """Give the kernel exp(-gamma d^2).

    Args:
        distances: (some, others) squared.
        gamma: above 0.

    Returns:
        (some, others), 0 to 1.
    """
    kernel = -gamma * distances
    return np.exp(kernel, out=kernel)


def fitted_machine(kernel: Floats, labels: NDArray[Any], cost: float, max_steps: int) -> Any:
    """Fit a C-SVM, one against one where there are more than two classes.

    Args:
        kernel: (clips, clips) among those to learn from.
        labels: (clips,) their classes.
        cost: of what lies on the wrong side.
        max_steps: of a machine for two classes; it is taken as it is then, and its `fit_status_` is not 0.

    Returns:
        The machine of scikit-learn, which takes the kernel of other clips with these.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import SVC
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "support vector machines") from error

    machine = SVC(kernel="precomputed", C=cost, max_iter=max_steps, cache_size=KERNEL_CACHE_MB)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `fit_status_` says so
        return machine.fit(kernel, labels)
