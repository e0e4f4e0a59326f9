"""Classifiers on a vector a clip that ask what is near: neighbours and class means."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning.classifier_grids import Labelled
from taggram.learning.nearest import nearest_class_means, nearest_neighbours


def clusters(n_clips=30, *, spread=0.3, seed=0, scale=1.0):
    """Three classes, each about a direction of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_clips) % 3
    return Labelled(scale * (np.eye(3)[labels] + spread * rng.standard_normal((n_clips, 3))), labels)


# -- neighbours --------------------------------------------------------------------------------------------------------


def test_validation_chooses_how_many_neighbours():
    vectors = [[1, 0.1], [1, 0.12], [1, 0.13], [0, 1], [0.05, 1], [1, 0.11]]
    train = Labelled(np.array(vectors), np.array([0, 0, 0, 1, 1, 1]))
    valid = Labelled(np.array([[1, 0.11]]), np.array([0]))  # beside a wrong one
    found = nearest_neighbours(train, valid, np.array([[2.0, 0.22], [0.0, 3.0]]), numbers=(1, 3))
    assert (found.n_neighbours, found.predicted.tolist()) == (3, [0, 1])


def test_of_equal_numbers_of_neighbours_the_smallest_is_taken():
    assert nearest_neighbours(clusters(spread=0.01), clusters(seed=1, spread=0.01), np.eye(3)).n_neighbours == 1


def test_more_neighbours_than_clips_are_not_asked():
    train = Labelled(np.eye(3)[:2], np.array([0, 1]))
    assert nearest_neighbours(train, train, np.eye(3)[:2], numbers=(1, 5)).predicted.tolist() == [0, 1]
    with pytest.raises(ConfigError, match=r"one from 1 to 2"):
        nearest_neighbours(train, train, np.eye(3)[:2], numbers=(5,))


def test_neighbours_need_clips_to_choose_by():
    nobody = Labelled(np.empty((0, 3)), np.empty(0, np.int64))
    with pytest.raises(DatasetError, match="no clip to choose"):
        nearest_neighbours(clusters(), nobody, np.eye(3))


# -- class means -------------------------------------------------------------------------------------------------------


def test_class_means_are_found_after_a_discriminant_analysis():
    test = clusters(seed=2, spread=0.1)
    assert (nearest_class_means(clusters(), test.features) == test.labels).mean() > 0.9


def test_numbers_of_classes_need_not_follow_each_other():
    train = clusters()
    found = nearest_class_means(Labelled(train.features, 10 * train.labels), np.eye(3))
    assert set(found) <= {0, 10, 20}


def test_features_that_are_always_0_do_no_harm():
    train = clusters()
    padded = Labelled(np.hstack([train.features, np.zeros((30, 2))]), train.labels)
    wanted = nearest_class_means(train, np.eye(3))
    assert np.array_equal(nearest_class_means(padded, np.eye(3, 5)), wanted)


def test_features_that_are_equal_to_each_other_do_no_harm():
    train, asked = clusters(), clusters(seed=2, spread=0.1)
    doubled = Labelled(np.hstack([train.features, train.features]), train.labels)
    wanted = nearest_class_means(train, asked.features)
    assert len(set(wanted)) == 3
    assert np.array_equal(nearest_class_means(doubled, np.hstack([asked.features, asked.features])), wanted)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=str)
def test_classes_that_cannot_be_told_apart_are_refused(labels):
    with pytest.raises(TrainingError, match="class"):
        nearest_class_means(Labelled(np.eye(3), np.array(labels)), np.eye(3))
