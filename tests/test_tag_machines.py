"""Support vector machines of tags: as scikit-learn has them, chosen by validation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from taggram.errors import DatasetError, TrainingError
from taggram.learning.tag_machines import (
    GRID,
    Machine,
    MachineScores,
    best_machine,
    figure_of,
    machine_scores,
    scaled_like,
)

svm = pytest.importorskip("sklearn.svm", reason="scikit-learn is not installed")


def made(n_clips, seed=0, *, task="several"):
    random = np.random.default_rng(seed)
    labels = random.random((n_clips, 3)) < 0.4
    if task == "one":
        labels = np.eye(3, dtype=bool)[random.integers(0, 3, n_clips)]
    features = random.standard_normal((n_clips, 6))
    features[:, :3] += 2 * labels
    return features, labels


def scored(machine=None, task="several", n_clips=60, **parts):
    train, labels = made(n_clips, task=task)
    parts = parts or {"test": made(30, 1, task=task)[0]}
    return next(machine_scores(train, labels, parts, [machine or Machine()], task=task))


@pytest.mark.parametrize("machine", [Machine(), Machine(cost=2, gamma=0.05), Machine(is_linear=True)], ids=str)
def test_tag_has_the_machine_of_scikit_learn_against_the_rest(machine):
    train, labels = made(60)
    test, _ = made(30, 1)
    found = scored(machine).scores["test"]
    kernel = {"kernel": "linear"} if machine.is_linear else {"gamma": machine.gamma or 1 / 6}
    for tag in range(3):
        said = svm.SVC(C=machine.cost, **kernel).fit(train, labels[:, tag]).decision_function(test)
        np.testing.assert_allclose(found[:, tag], 1 / (1 + np.exp(-said)), atol=2e-3)


def test_one_of_all_is_that_of_scikit_learn():
    train, labels = made(60, task="one")
    test, _ = made(30, 1, task="one")
    found = scored(task="one").scores["test"]
    machine = svm.SVC(gamma=1 / 6).fit(train, labels.argmax(1))
    assert np.array_equal(found.argmax(1), machine.decision_function(test).argmax(1))
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_two_classes_are_told_apart():
    features, labels = made(40, task="one")
    labels = np.stack([labels[:, 0], ~labels[:, 0]], axis=1)
    (found,) = machine_scores(features, labels, {"train": features}, task="one")
    assert figure_of(found.scores["train"], labels, "one") > 0.8


@pytest.mark.parametrize("task", ["several", "one"])
def test_class_that_no_clip_has_is_never_given(task):
    features, labels = made(40, task=task)
    labels = np.concatenate([labels, np.zeros((40, 1), bool)], axis=1)
    (found,) = machine_scores(features, labels, {"train": features}, task=task)
    assert (found.scores["train"][:, 3] == found.scores["train"][0, 3]).all()
    assert found.scores["train"][0, 3] < 0.5


def test_point_of_the_best_figure_on_validation_is_chosen():
    _, labels = made(30)
    points = [
        MachineScores({"cost": 1}, {"valid": 1 - labels.astype(np.float32)}, True),
        MachineScores({"cost": 2}, {"valid": labels.astype(np.float32)}, True),
        MachineScores({"cost": 3}, {"valid": labels.astype(np.float32)}, True),
    ]
    assert best_machine(points, labels, "several").params == {"cost": 2}


def test_grid_is_that_of_the_study_on_random_networks():
    assert len(GRID) == 32
    assert sum(machine.is_linear for machine in GRID) == 4


def test_machine_that_does_not_settle_says_so():
    train, labels = made(60)
    (found,) = machine_scores(train, labels, {"test": train}, [Machine(cost=100)], max_steps=2)
    assert not found.is_converged
    assert scored().is_converged


@pytest.mark.parametrize("one_for_all", [True, False])
def test_features_are_scaled_by_the_clips_to_learn_from(one_for_all):
    train, test = 5 + 3 * made(50)[0], made(10, 1)[0]
    scaled, other = scaled_like(train, test, one_for_all=one_for_all)
    axis = None if one_for_all else 0
    np.testing.assert_allclose(scaled.mean(axis), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis), 1)
    np.testing.assert_allclose(other, (test - train.mean(axis)) / train.std(axis))


def test_feature_that_never_changes_is_shifted_alone():
    assert not scaled_like(np.full((3, 2), 7.0))[0].any()


def test_clips_that_no_tag_tells_apart_are_refused():
    with pytest.raises(TrainingError, match="no tag tells the 3 clips"):
        next(machine_scores(np.ones((3, 2)), np.ones((3, 2), bool), {}))


def test_other_numbers_of_clips_and_labels_are_refused():
    with pytest.raises(DatasetError, match="3 clips and 2 rows"):
        next(machine_scores(np.ones((3, 2)), np.ones((2, 2), bool), {}))


def test_no_point_is_refused():
    with pytest.raises(DatasetError, match="no settings"):
        best_machine([], made(3)[1], "several")


def test_many_clips_are_scored_without_a_kernel_of_all():
    train, labels = made(50)
    many = np.random.default_rng(2).standard_normal((20_000, 6))
    tracemalloc.start()
    (found,) = machine_scores(train, labels, {"test": many})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 50 * 8 / 2
    for some in (slice(1020, 1030), slice(19_990, None)):  # across two blocks, and at the end
        np.testing.assert_allclose(
            found.scores["test"][some], scored(few=many[some], n_clips=50).scores["few"], atol=1e-6
        )


def test_sigmoid_keeps_the_order_of_clips():
    train, labels = made(60)
    test, _ = made(30, 1)
    said = svm.SVC(gamma=1 / 6).fit(train, labels[:, 0]).decision_function(test)
    assert np.array_equal(np.argsort(scored().scores["test"][:, 0]), np.argsort(said))
