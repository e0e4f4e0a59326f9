"""The extreme learning machine: a scikit-learn classifier that solves its least squares as a pseudo-inverse does."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from taggram.errors import ConfigError
from taggram.learning import elm
from taggram.learning.elm import CUT, ELMClassifier, minimum_norm


def made(n_examples=60, n_features=5, n_classes=3, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((n_examples, n_features)), np.arange(n_examples) % n_classes


def in_blocks(matrix, targets, n_rows):
    for start in range(0, len(matrix), n_rows):
        yield matrix[start : start + n_rows], targets[start : start + n_rows]


@parametrize_with_checks([ELMClassifier(n_hidden=200)])
def test_is_a_classifier_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_rows", [1, 7, 40, 1000])
@pytest.mark.parametrize("shape", [(200, 30), (30, 30), (20, 30), (31, 30), (1, 30), (200, 1)])
def test_blocks_give_what_the_pseudo_inverse_gives(shape, n_rows):
    random = np.random.default_rng(0)
    matrix, targets = random.standard_normal(shape), random.standard_normal((shape[0], 3))
    wanted = np.linalg.pinv(matrix, rcond=CUT) @ targets
    np.testing.assert_allclose(minimum_norm(in_blocks(matrix, targets, n_rows)), wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n_rows", [13, 1000])
def test_columns_that_follow_from_others_give_the_least_norm(n_rows):
    random = np.random.default_rng(1)
    matrix = random.standard_normal((100, 8)) @ random.standard_normal((8, 20))
    targets = random.standard_normal((100, 2))
    wanted = np.linalg.pinv(matrix, rcond=CUT) @ targets
    np.testing.assert_allclose(minimum_norm(in_blocks(matrix, targets, n_rows)), wanted, rtol=1e-7, atol=1e-9)


def test_small_singular_values_are_dropped():
    matrix = np.diag([1.0, 1e-9, 1e-10])
    found = minimum_norm([(matrix, np.ones((3, 1)))])
    np.testing.assert_allclose(found[:, 0], [1.0, 1e9, 0.0], rtol=1e-6)


def test_all_zeros_give_no_weights():
    assert not minimum_norm([(np.zeros((5, 3)), np.ones((5, 2)))]).any()


def test_no_row_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        minimum_norm([])


def test_output_weights_are_those_of_the_pseudo_inverse_of_the_hidden_layer(monkeypatch):
    monkeypatch.setattr(elm, "LEAST_ROWS", 16)
    features, labels = made(300)
    model = ELMClassifier(n_hidden=20, random_state=0).fit(features, labels)
    hidden = np.maximum(0, features @ model.weights_ + model.biases_)
    wanted = np.linalg.pinv(hidden, rcond=CUT) @ np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    np.testing.assert_allclose(model.output_weights_, wanted, rtol=1e-8, atol=1e-10)


def test_biases_are_drawn_before_the_weights():
    features, labels = made()
    model = ELMClassifier(n_hidden=10, random_state=3).fit(features, labels)
    random = np.random.RandomState(3)
    np.testing.assert_array_equal(model.biases_, random.standard_normal(10))
    np.testing.assert_array_equal(model.weights_, random.standard_normal((5, 10)))


def test_more_hidden_units_than_examples_fit_all_of_them():
    features, _ = made(80)
    labels = np.random.default_rng(5).integers(0, 4, 80)  # nothing to be learned but by heart
    assert ELMClassifier(n_hidden=100, random_state=0).fit(features, labels).score(features, labels) == 1.0


def test_same_seed_gives_the_same_scores():
    features, labels = made()
    one, other = (ELMClassifier(n_hidden=30, random_state=7).fit(features, labels) for _ in range(2))
    np.testing.assert_array_equal(one.decision_function(features), other.decision_function(features))


def test_another_seed_gives_other_scores():
    features, labels = made()
    one, other = (ELMClassifier(n_hidden=30, random_state=seed).fit(features, labels) for seed in (1, 2))
    assert not np.allclose(one.decision_function(features), other.decision_function(features))


def test_float32_is_worked_on_in_float64():
    features, labels = made()
    single = features.astype(np.float32)
    one = ELMClassifier(n_hidden=30, random_state=7).fit(single, labels)
    other = ELMClassifier(n_hidden=30, random_state=7).fit(single.astype(np.float64), labels)
    np.testing.assert_array_equal(one.output_weights_, other.output_weights_)


@pytest.mark.parametrize("n_hidden", [0, -5, 2.5, True, "many"])
def test_number_of_hidden_units_is_checked(n_hidden):
    with pytest.raises(ConfigError, match="n_hidden is"):
        ELMClassifier(n_hidden=n_hidden).fit(*made())


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="needs at least 2 classes"):
        ELMClassifier().fit(made()[0], np.zeros(60))


def test_missing_scikit_learn_is_told(monkeypatch):
    monkeypatch.setattr(elm, "HAS_SKLEARN", False)
    with pytest.raises(ImportError, match=r"taggram\[train\]"):
        ELMClassifier()
