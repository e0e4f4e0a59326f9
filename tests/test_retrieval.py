"""Mean average precision of retrieval by the cosine."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.errors import ConfigError, DatasetError
from taggram.learning import retrieval
from taggram.learning.retrieval import retrieval_precision, retrieval_precisions


def test_classes_apart_are_found_without_a_mistake():
    assert retrieval_precision([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], [0, 0, 1, 1]) == 1


def test_value_by_hand():
    # Angles of 0, 10, 25 and 45 degrees: the other one of the class comes at ranks 2, 3, 3 and 2.
    angles = np.radians([0, 10, 25, 45])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert retrieval_precision(vectors, [0, 1, 0, 1]) == pytest.approx(np.mean([1 / 2, 1 / 3, 1 / 3, 1 / 2]))


def test_length_of_vectors_does_not_matter():
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((20, 3)), np.arange(20) % 4
    scaled = vectors * rng.uniform(0.1, 10, (20, 1))
    assert retrieval_precision(scaled, labels) == pytest.approx(retrieval_precision(vectors, labels))


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((23, 3)), np.arange(23) % 4
    whole = retrieval_precision(vectors, labels)
    monkeypatch.setattr(retrieval, "BLOCK", 5)
    assert retrieval_precision(vectors, labels) == pytest.approx(whole)


def test_clip_that_is_alone_in_its_class_does_not_count():
    assert retrieval_precision([[1, 0], [2, 0.1], [0, 1]], [0, 0, 1]) == 1
    assert retrieval_precisions([[1, 0], [2, 0.1], [0, 1]], [0, 0, 1]).tolist() == [1, 1]


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0], []], ids=str)
def test_nothing_to_score_is_refused(labels):
    with pytest.raises(DatasetError, match="none of"):
        retrieval_precision(np.ones((len(labels), 2)), labels)


@pytest.mark.parametrize(
    ("features", "labels"), [([1, 2], [0, 1]), ([[1.0], [2.0]], [0]), ([[np.nan], [1.0]], [0, 0])], ids=str
)
def test_shapes_and_numbers_that_do_not_fit_are_refused(features, labels):
    with pytest.raises(ConfigError, match="features of shape"):
        retrieval_precision(features, labels)
