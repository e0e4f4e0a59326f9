"""Support vector machines on features of clips with several tags, or exactly one: at points of a grid, as scores.

Where several tags may hold, each has a machine of its own, against the rest; where exactly one does, they are one
against one. What a machine says, its distance to the margin, goes through a sigmoid or a softmax, so that it can be
scored as a network is: neither changes an order of clips.

Source: the classifier that J. Lee and J. Nam released with their SampleCNN for MIREX 2017: RBF kernel, C = 1, gamma =
    1 / (number of features), features scaled by one mean and deviation; and the grid of `classifier_grids.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.datasets._base import Task
from taggram.errors import DatasetError, TrainingError, missing_extra
from taggram.learning import metrics as m
from taggram.learning.classifier_grids import COSTS, GAMMAS, KERNEL_CACHE_MB, MAX_STEPS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NEVER = -1.0  # what is said of a tag that no clip to learn from has; of one that all have, the opposite


@dataclass(frozen=True)
class Machine:
    """The settings of a support vector machine.

    Attributes:
        cost: of what lies on the wrong side.
        gamma: of the kernel exp(-gamma d^2); None is 1 / (number of features).
        is_linear: whether the kernel is the inner product, and gamma not used.
    """

    cost: float = 1.0
    gamma: float | None = None
    is_linear: bool = False

    def params(self, n_features: int) -> dict[str, Any]:
        """Give the settings as plain values."""
        if self.is_linear:
            return {"kernel": "linear", "cost": self.cost}
        return {"kernel": "rbf", "gamma": self.gamma or 1 / n_features, "cost": self.cost}


GRID = (
    *(Machine(cost=cost, gamma=gamma) for gamma in GAMMAS for cost in COSTS),
    *(Machine(cost=cost, is_linear=True) for cost in COSTS),
)


@dataclass(frozen=True)
class MachineScores:
    """What machines with some settings made of the parts.

    Attributes:
        params: the settings.
        scores: (clips, tags) float32 by part, 0 to 1.
        is_converged: whether all fits came to an end.
    """

    params: Mapping[str, Any]
    scores: Mapping[str, NDArray[np.float32]]
    is_converged: bool


def machine_scores(
    features: Floats,
    labels: Flags,
    parts: Mapping[str, Floats],
    machines: Iterable[Machine] = (Machine(),),
    *,
    task: Task = "several",
    max_steps: int = MAX_STEPS,
) -> Iterator[MachineScores]:
    """Fit machines at some points, and score the parts by each.

    Args:
        features: (clips, features) of the clips to learn from. Memory is that of some tables of (clips, clips).
        labels: (clips, tags) of the same.
        parts: (clips, features) of what is scored, by name.
        machines: the points.
        task: whether several tags may hold or exactly one does.
        max_steps: of a machine for two classes; it is taken as it is then, and the point says so.

    Yields:
        The scores at each point, in order.

    Raises:
        DatasetError: there are not as many labels as clips, or none.
        TrainingError: no tag tells the clips apart.
        MissingExtraError: scikit-learn is not installed.
    """
    if len(features) != len(labels) or not len(labels):
        raise DatasetError(f"{len(features)} clips and {len(labels)} rows of labels came; they must be as many, and 1.")
    if not m.can_be_scored(labels).any():
        raise TrainingError(f"no tag tells the {len(labels)} clips for training apart; some need it, and some not.")
    inner = features @ features.T
    products = {name: part @ features.T for name, part in parts.items()}
    squares = np.einsum("ij,ij->i", features, features)
    for machine in machines:
        params = machine.params(features.shape[1])
        if machine.is_linear:
            own, seen = inner, products
        else:
            own = _rbf(inner, squares, squares, params["gamma"])
            seen = {
                name: _rbf(products[name], np.einsum("ij,ij->i", part, part), squares, params["gamma"])
                for name, part in parts.items()
            }
        fit = _one_of_all if task == "one" else _each_against_the_rest
        scores, is_converged = fit(own, labels, seen, machine.cost, max_steps)
        yield MachineScores(params, scores, is_converged)


def best_machine(points: Iterable[MachineScores], labels: Flags, task: Task, *, part: str = "valid") -> MachineScores:
    """Choose the point that does best on a part.

    Args:
        points: as `machine_scores` gives them.
        labels: (clips, tags) of the part.
        task: where exactly one tag holds accuracy decides, and elsewhere the ROC-AUC, mean over tags.
        part: its name.

    Returns:
        The first of the best.

    Raises:
        DatasetError: there is no point, or no tag of the part can be scored.
    """
    best: tuple[float, MachineScores] | None = None
    for point in points:
        figure = figure_of(point.scores[part], labels, task)
        if best is None or figure > best[0]:
            best = figure, point
    if best is None or np.isnan(best[0]):
        raise DatasetError(f"no settings of a machine can be chosen by {part}: no tag in it can be scored.")
    return best[1]


def figure_of(scores: NDArray[np.float32], labels: Flags, task: Task) -> float:
    """Give the one figure that choices go by: accuracy where exactly one tag holds, elsewhere macro ROC-AUC."""
    if task == "one":
        return float(np.mean(scores.argmax(1) == labels.argmax(1)))
    return m.mean_over_tags(m.roc_auc(scores, labels))


def scaled_like(train: NDArray[np.floating], *others: NDArray[np.floating], one_for_all: bool = False) -> list[Floats]:
    """Shift and scale features so that they have mean 0 and deviation 1 in the clips to learn from.

    Args:
        train: (clips, features).
        *others: likewise.
        one_for_all: whether there is one mean and one deviation for all features, and not one of each.

    Returns:
        All of them in float64, train first; features that never change are shifted alone.
    """
    axis = None if one_for_all else 0
    mean, deviation = train.mean(axis, dtype=np.float64), train.std(axis, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)
    return [(part.astype(np.float64) - mean) / scale for part in (train, *others)]


# -- inside ------------------------------------------------------------------------------------------------------------


def _rbf(products: Floats, rows: Floats, columns: Floats, gamma: float) -> Floats:
    """Give the kernel of clips by their inner products and squared lengths."""
    distances = np.maximum(rows[:, None] + columns - 2 * products, 0)
    kernel: Floats = np.exp(-gamma * distances)
    return kernel


def _machine(cost: float, max_steps: int) -> Any:
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "support vector machines") from error
    return SVC(
        kernel="precomputed", C=cost, max_iter=max_steps, cache_size=KERNEL_CACHE_MB, decision_function_shape="ovr"
    )


def _fitted(kernel: Floats, labels: NDArray[Any], cost: float, max_steps: int) -> Any:
    machine = _machine(cost, max_steps)
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the point says so
        return machine.fit(kernel, labels)


def _each_against_the_rest(
    kernel: Floats, labels: Flags, seen: Mapping[str, Floats], cost: float, max_steps: int
) -> tuple[dict[str, NDArray[np.float32]], bool]:
    """Fit a machine a tag."""
    said = {name: np.full((len(part), labels.shape[1]), NEVER) for name, part in seen.items()}
    is_converged = True
    for tag in range(labels.shape[1]):
        holds = labels[:, tag]
        if holds.all() or not holds.any():
            for table in said.values():
                table[:, tag] = -NEVER if holds.all() else NEVER
            continue
        machine = _fitted(kernel, holds, cost, max_steps)
        is_converged &= not machine.fit_status_
        for name, part in seen.items():
            said[name][:, tag] = machine.decision_function(part)
    return {name: _sigmoid(table) for name, table in said.items()}, is_converged


def _one_of_all(
    kernel: Floats, labels: Flags, seen: Mapping[str, Floats], cost: float, max_steps: int
) -> tuple[dict[str, NDArray[np.float32]], bool]:
    """Fit machines one against one; classes that no clip to learn from has get a score of 0."""
    machine = _fitted(kernel, labels.argmax(1), cost, max_steps)
    scores = {}
    for name, part in seen.items():
        said = machine.decision_function(part)
        said = np.stack([-said, said], axis=1) if said.ndim == 1 else said  # of two classes there is one distance
        powers = np.exp(said - said.max(axis=1, keepdims=True))
        scores[name] = np.zeros((len(part), labels.shape[1]), np.float32)
        scores[name][:, machine.classes_] = powers / powers.sum(axis=1, keepdims=True)
    return scores, not np.any(machine.fit_status_)


def _sigmoid(values: Floats) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = (1 / (1 + np.exp(-values))).astype(np.float32)
    return scores
