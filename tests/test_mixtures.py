"""Mixtures of Gaussians, and the differences that they are fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.errors import ConfigError
from taggram.learning.mixtures import ClassMixtures, with_differences


def clouds(n=60, seed=0):
    """Frames of two classes in two places each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    places = np.array([[0, 0], [4, 0], [8, 0], [12, 0]])[2 * rng.integers(0, 2, n) + labels]
    return places + 0.3 * rng.standard_normal((n, 2)), labels


def test_slope_of_a_ramp_is_its_rise():
    found = with_differences(np.arange(12.0)[:, None] * 3)
    assert found.shape == (12, 3)
    np.testing.assert_allclose(found[4:-4], np.stack([np.arange(12) * 3, np.full(12, 3), np.zeros(12)], 1)[4:-4])


def test_ends_are_repeated():
    np.testing.assert_allclose(with_differences(np.arange(5.0)[:, None])[0, 1], (1 * 1 + 2 * 2) / 10)


def test_classes_in_several_places_are_told_apart():
    mixtures = ClassMixtures(3, n_components=2, seed=0).fit(*clouds())
    features, labels = clouds(seed=1)
    assert (mixtures.predict(features) == labels).mean() > 0.95


def test_one_seed_gives_the_same_answers():
    noisy = np.random.default_rng(0).standard_normal((200, 3))
    labels = np.arange(200) % 2
    first, second = (ClassMixtures(2, 5, seed=3).fit(noisy, labels).predict(noisy) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_class_without_frames_is_never_answered():
    features, labels = clouds()
    assert set(ClassMixtures(5, 2).fit(features, labels + 1).predict(features)) == {1, 2}


def test_class_of_few_frames_has_fewer_gaussians():
    features, labels = clouds(n=8)
    assert len(ClassMixtures(2, 40).fit(features, labels).predict(features)) == 8


def test_no_class_with_frames_is_refused():
    with pytest.raises(ConfigError, match="two frames of one class at least"):
        ClassMixtures(2, 2).fit(np.zeros((1, 2)), np.zeros(1, np.int64))
