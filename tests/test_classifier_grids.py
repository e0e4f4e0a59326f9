"""Grids of classifiers: a point scores as the classifier of scikit-learn with its settings does on the features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import SVC

from taggram.errors import TrainingError
from taggram.learning.classifier_grids import COSTS, GAMMAS, Labelled, elm_grid, svm_grid
from taggram.learning.elm import ELMClassifier


def clips(n_clips, seed, scale=1.0, n_features=12, n_classes=4):
    """Overlapping clouds, one a class; the features are shifted far from 0, as decibels are."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_clips) % n_classes
    centres = 1.5 * np.random.default_rng(99).standard_normal((n_classes, n_features))
    return Labelled(scale * (centres[labels] + random.standard_normal((n_clips, n_features)) - 3), labels)


@pytest.fixture(scope="module")
def parts():
    return {"valid": clips(40, 1), "test": clips(50, 2)}


@pytest.fixture(scope="module")
def points(parts):
    return svm_grid(clips(90, 0), parts)


def test_grid_has_28_rbf_and_4_linear_points(points):
    kernels = [point.params["kernel"] for point in points]
    assert kernels == ["rbf"] * len(GAMMAS) * len(COSTS) + ["linear"] * len(COSTS)
    assert len(points) == 32


def test_last_gamma_is_one_over_the_number_of_features(points):
    assert points[27].params == {"kernel": "rbf", "gamma": 1 / 12, "cost": 32.0}


@pytest.mark.parametrize("scale", [0.05, 1.0, 10.0])
def test_points_score_as_the_machine_of_scikit_learn_does(scale):
    train, test = clips(90, 0, scale), clips(50, 2, scale)
    for point in svm_grid(train, {"test": test}):
        options = {"gamma": point.params["gamma"]} if "gamma" in point.params else {}
        machine = SVC(kernel=point.params["kernel"], C=point.params["cost"], **options).fit(
            train.features, train.labels
        )
        assert point.accuracy["test"] == machine.score(test.features, test.labels)


def test_every_part_is_scored(points, parts):
    assert {frozenset(point.accuracy) for point in points} == {frozenset(parts)}


def test_part_without_clips_has_no_accuracy():
    nothing = Labelled(np.empty((0, 12)), np.empty(0, np.int64))
    assert set(svm_grid(clips(40, 0), {"valid": nothing, "test": clips(8, 1)})[0].accuracy) == {"test"}


def test_machine_that_does_not_converge_says_so(parts):
    assert not any(point.is_converged for point in svm_grid(clips(90, 0), parts, max_steps=2))


def test_converged_points_say_so(points):
    assert all(point.is_converged for point in points)


def test_elm_points_score_as_the_machine_does():
    train, test = clips(90, 0), clips(50, 2)
    (point,) = elm_grid(train, {"test": test}, lambda part, size: 5, sizes=[30])
    machine = ELMClassifier(n_hidden=30, random_state=5).fit(train.features, train.labels)
    assert point.accuracy["test"] == machine.score(test.features, test.labels)


def test_each_part_has_a_hidden_layer_of_its_own(parts):
    asked = []
    elm_grid(clips(60, 0), parts, lambda part, size: asked.append((part, size)) or 0, sizes=[10, 20])
    assert asked == [("valid", 10), ("test", 10), ("valid", 20), ("test", 20)]


@pytest.mark.parametrize("grid", [svm_grid, lambda train, parts: elm_grid(train, parts, lambda *_: 0)])
def test_one_class_is_refused(grid):
    train = Labelled(np.ones((5, 2)), np.zeros(5, np.int64))
    with pytest.raises(TrainingError, match="at least 2"):
        grid(train, {})


def test_scaling_gives_mean_0_and_deviation_1():
    train = clips(40, 0)
    scaled = train.scaled_like(train).features
    np.testing.assert_allclose([scaled.mean(0), scaled.std(0)], [np.zeros(12), np.ones(12)], atol=1e-12)


def test_scaling_leaves_constant_features_finite():
    constant = Labelled(np.full((4, 2), 7.0), np.arange(4))
    assert not constant.scaled_like(constant).features.any()
