"""Classifiers on features that are there already, at every point of a grid: support vector machines and ELMs.

A point is fitted on the training clips alone and scored on every other part, so whoever chooses among the points, and
by which part, does so afterwards and without another fit.

Source: the grids of Pons and Serra, "Randomly weighted CNNs for (music) audio classification", ICASSP 2019, arXiv
    1805.00237; the released code.
Differs:
    - Kernels are computed once for all points; the machine then gets them as they are. The predictions are those that
      it gives on the features.
    - A machine that has not converged after a million steps is taken as it is then, and the point says so; the code
      would wait for ever.
    - Gammas are the numbers that stand in the code. Under Python 2 they would all have become 1 / (number of features);
      which Python was used is not known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taggram.errors import TrainingError
from taggram.learning._kernel_machines import fitted_machine, rbf_kernel, squared_distances
from taggram.learning.elm import ELMClassifier

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

COSTS = (0.1, 2.0, 8.0, 32.0)
GAMMAS = (2.0**-3, 2.0**-5, 2.0**-7, 2.0**-9, 2.0**-11, 2.0**-13, None)  # None is 1 / (number of features)
ELM_SIZES = (100, 250, 500, 1200, 1800, 2500)  # hidden units
MAX_STEPS = 1_000_000  # of a machine for two classes


@dataclass(frozen=True)
class Labelled:
    """Features of clips, and their classes.

    Attributes:
        features: (clips, features).
        labels: (clips,) number of the class of each.
    """

    features: Floats
    labels: Labels

    @classmethod
    def of(cls, features: NDArray[np.floating], labels: Labels, clips: NDArray[np.int64]) -> Self:
        """Take some clips out of all.

        Args:
            features: (all clips, features).
            labels: (all clips,).
            clips: (clips,) which ones.

        Returns:
            The clips, in float64.
        """
        return cls(features[clips].astype(np.float64), labels[clips])

    def scaled_like(self, other: Labelled) -> Labelled:
        """Shift and scale each feature so that it has mean 0 and deviation 1 in other clips; constant ones are shifted.

        Args:
            other: whose means and deviations are taken.

        Returns:
            The clips with scaled features.
        """
        deviation = other.features.std(0)
        scaled = (self.features - other.features.mean(0)) / np.where(deviation > 0, deviation, 1.0)
        return dataclasses.replace(self, features=scaled)


@dataclass(frozen=True)
class GridPoint:
    """What a classifier with some settings made of the parts.

    Attributes:
        params: the settings.
        accuracy: by part, from 0 to 1; of a part without clips there is none.
        is_converged: whether its fit came to an end.
    """

    params: Mapping[str, Any]
    accuracy: Mapping[str, float]
    is_converged: bool = True


def svm_grid(train: Labelled, parts: Mapping[str, Labelled], *, max_steps: int = MAX_STEPS) -> list[GridPoint]:
    """Fit C-SVMs, one against one, with all kernels and costs.

    Args:
        train: what is fitted.
        parts: what is scored, by name.
        max_steps: of a machine for two classes.

    Returns:
        28 points with the kernel exp(-gamma d^2), then 4 with the linear one; each in the order of the gammas, then the
        costs.

    Raises:
        TrainingError: all training clips are of one class.
        MissingExtraError: scikit-learn is not installed.
    """
    check_classes(train)
    parts = _filled(parts)
    products = {name: part.features @ train.features.T for name, part in parts.items()}
    inner = train.features @ train.features.T
    distances = {name: squared_distances(part.features, train.features, products[name]) for name, part in parts.items()}
    own = squared_distances(train.features, train.features, inner)
    np.fill_diagonal(own, 0.0)
    points = []
    for gamma in GAMMAS:
        factor = 1 / train.features.shape[1] if gamma is None else gamma
        kernel = rbf_kernel(own, factor)
        seen = {name: rbf_kernel(values, factor) for name, values in distances.items()}
        params = {"kernel": "rbf", "gamma": factor}
        points += [_svm(kernel, train.labels, seen, parts, {**params, "cost": cost}, max_steps) for cost in COSTS]
    params = {"kernel": "linear"}
    points += [_svm(inner, train.labels, products, parts, {**params, "cost": cost}, max_steps) for cost in COSTS]
    return points


def elm_grid(
    train: Labelled,
    parts: Mapping[str, Labelled],
    seed_of: Callable[[str, int], int],
    *,
    sizes: Sequence[int] = ELM_SIZES,
) -> list[GridPoint]:
    """Fit extreme learning machines of several sizes, each part by a hidden layer of its own.

    Args:
        train: what is fitted.
        parts: what is scored, by name.
        seed_of: gives the seed for a part and a size, below 2^32.
        sizes: hidden units.

    Returns:
        A point a size.

    Raises:
        TrainingError: all training clips are of one class.
        MissingExtraError: scikit-learn is not installed.
    """
    check_classes(train)
    points = []
    for size in sizes:
        accuracy = {}
        for name, part in _filled(parts).items():
            machine = ELMClassifier(n_hidden=size, random_state=seed_of(name, size))
            machine.fit(train.features, train.labels)
            accuracy[name] = float(np.mean(machine.predict(part.features) == part.labels))
        points.append(GridPoint({"n_hidden": size}, accuracy))
    return points


def check_classes(train: Labelled) -> None:
    """Refuse training clips of one class.

    Args:
        train: the clips.

    Raises:
        TrainingError: there are not two classes among them.
    """
    if len(np.unique(train.labels)) < 2:
        raise TrainingError(
            f"the {len(train.labels)} clips for training are not of 2 classes; a classifier needs at least 2."
        )


# -- inside ------------------------------------------------------------------------------------------------------------


def _filled(parts: Mapping[str, Labelled]) -> dict[str, Labelled]:
    """Leave out the parts without clips."""
    return {name: part for name, part in parts.items() if len(part.labels)}


def _svm(
    kernel: Floats,
    labels: Labels,
    seen: Mapping[str, Floats],
    parts: Mapping[str, Labelled],
    params: Mapping[str, Any],
    max_steps: int,
) -> GridPoint:
    """Fit one machine on the kernel among the training clips, and score the parts by theirs with these."""
    machine = fitted_machine(kernel, labels, params["cost"], max_steps)
    accuracy = {name: float(np.mean(machine.predict(seen[name]) == part.labels)) for name, part in parts.items()}
    return GridPoint(params, accuracy, is_converged=not machine.fit_status_)
