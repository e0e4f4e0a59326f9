"""Support vector machines on features of clips with several tags, or exactly one: at points of a grid, as scores.

Where several tags may hold, each has a machine of its own, against the rest; where exactly one does, they are one
against one. What a machine says, its distance to the margin, goes through a sigmoid or a softmax, so that it can be
scored as a network is. The sigmoid leaves clips in the order of their distances. The softmax leaves each clip its best
class, and so the accuracy, but weighs the classes of a clip against each other: ROC-AUC and PR-AUC of classes are those
of its shares, in which clips may stand in another order.

Source: the classifier that J. Lee and J. Nam released with their SampleCNN for MIREX 2017: RBF kernel, C = 1, gamma =
    1 / (number of features), features scaled by one mean and deviation; and the grid of `classifier_grids.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram.datasets._base import Task
from taggram.errors import DatasetError, TrainingError
from taggram.learning import metrics as m
from taggram.learning._kernel_machines import fitted_machine, rbf_kernel, squared_distances
from taggram.learning.classifier_grids import COSTS, GAMMAS, MAX_STEPS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Scores = NDArray[np.float32]
Scored = Callable[[Floats], Scores]
"""Gives scores, (clips, tags) from 0 to 1, by the kernel of clips with those that were learned from."""
BLOCK_CLIPS = 1024  # that are scored at once
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
    scores: Mapping[str, Scores]
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
        features: (clips, features) of the clips to learn from. Memory is that of up to four tables of (clips, clips),
            however many clips are scored.
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
    fit = _one_of_all if task == "one" else _each_against_the_rest
    for machine in machines:
        params = machine.params(features.shape[1])
        scored, is_converged = fit(_kernel(features, features, params), labels, machine.cost, max_steps)
        scores = {name: _in_blocks(part, features, params, scored) for name, part in parts.items()}
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


def figure_of(scores: Scores, labels: Flags, task: Task) -> float:
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


def _kernel(some: Floats, others: Floats, params: Mapping[str, Any]) -> Floats:
    """Give the kernel of (some, features) with (others, features)."""
    if params["kernel"] == "linear":
        return some @ others.T
    return rbf_kernel(squared_distances(some, others), params["gamma"])


def _in_blocks(part: Floats, features: Floats, params: Mapping[str, Any], scored: Scored) -> Scores:
    """Score (clips, features) some clips at a time, so that no kernel of all of them is in memory."""
    blocks = [part[first : first + BLOCK_CLIPS] for first in range(0, len(part), BLOCK_CLIPS)]
    return np.concatenate([scored(_kernel(block, features, params)) for block in blocks])


def _each_against_the_rest(kernel: Floats, labels: Flags, cost: float, max_steps: int) -> tuple[Scored, bool]:
    """Fit a machine a tag."""
    can_be_told = m.can_be_scored(labels)
    machines = {
        int(tag): fitted_machine(kernel, labels[:, tag], cost, max_steps) for tag in np.flatnonzero(can_be_told)
    }
    never_or_always = np.where(labels.all(axis=0), -NEVER, NEVER)

    def scored(seen: Floats) -> Scores:
        said = np.tile(never_or_always, (len(seen), 1))
        for tag, machine in machines.items():
            said[:, tag] = machine.decision_function(seen)
        scores: Scores = (1 / (1 + np.exp(-said))).astype(np.float32)
        return scores

    return scored, not any(machine.fit_status_ for machine in machines.values())


def _one_of_all(kernel: Floats, labels: Flags, cost: float, max_steps: int) -> tuple[Scored, bool]:
    """Fit machines one against one; classes that no clip to learn from has get a score of 0."""
    machine = fitted_machine(kernel, labels.argmax(1), cost, max_steps)

    def scored(seen: Floats) -> Scores:
        said = machine.decision_function(seen)
        said = np.stack([-said, said], axis=1) if said.ndim == 1 else said  # of two classes there is one distance
        powers = np.exp(said - said.max(axis=1, keepdims=True))
        scores = np.zeros((len(seen), labels.shape[1]), np.float32)
        scores[:, machine.classes_] = powers / powers.sum(axis=1, keepdims=True)
        return scores

    return scored, not np.any(machine.fit_status_)
