"""Labels and weights of frames around onsets."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from taggram.errors import ConfigError
from taggram.learning.onset_labels import label_onsets, weigh

CLOSE = ([0, 40, 47], 100)  # two of them are closer than 12 frames


def entries(labels, of):
    """(frame, weight) of the entries of a class."""
    return [(int(frame), float(weight)) for frame, label, weight in zip(*vars(labels).values()) if label == of]


def test_onset_is_widened_to_seven_frames_with_falling_weights():
    found = entries(label_onsets([0, 40], 100), 1)
    wanted = {37: 0.25, 38: 0.5, 39: 0.75, 40: 1.0, 41: 0.75, 42: 0.5, 43: 0.25}
    assert {frame: weight for frame, weight in found if frame > 10} == wanted


def test_frames_beside_an_onset_weigh_less():
    found = dict(entries(label_onsets([0, 40], 100), 0))
    assert [found[frame] for frame in (33, 34, 35, 36, 44, 45, 46, 47)] == [1, 0.75, 0.5, 0.25, 0.25, 0.5, 0.75, 1]


def test_close_onsets_count_as_the_source_counts():
    labels = label_onsets(*CLOSE)
    onsets = sorted(frame for frame, _ in entries(labels, 1))
    beside = sorted(frame for frame, weight in entries(labels, 0) if weight < 1)
    plain = [frame for frame, weight in entries(labels, 0) if weight == 1]
    assert onsets == [*range(4), *range(37, 44), *range(44, 51)]
    assert beside == sorted([4, 5, 6, 34, 35, 36, *range(41, 47), 51, 52, 53])
    assert (len(onsets), len(beside), len(plain)) == (18, 15, 73)


def test_frames_between_close_onsets_are_both():
    labels = label_onsets(*CLOSE)
    both = {frame for frame, _ in entries(labels, 0)} & {frame for frame, _ in entries(labels, 1)}
    assert both == set(range(41, 47))


def test_frames_can_be_taken_once():
    labels = label_onsets(*CLOSE, resolve="nearest")
    assert sorted(labels.frames.tolist()) == list(range(100))
    onsets = dict(entries(labels, 1))
    assert sorted(onsets) == [*range(4), *range(37, 51)]
    assert [onsets[frame] for frame in (43, 44)] == [0.25, 0.25]


def test_nothing_lies_outside_of_the_phrase():
    labels = label_onsets([10, 30], 33)
    counts = collections.Counter(labels.frames.tolist())
    assert (min(counts), max(counts)) == (10, 33)  # the end is one, for what is near an onset
    assert entries(labels, 0)[-1][0] < 33


@pytest.mark.parametrize(("onsets", "end"), [([], 10), ([5, 5], 10), ([8, 5], 10), ([5], 5)])
def test_onsets_that_do_not_rise_are_refused(onsets, end):
    with pytest.raises(ConfigError, match="at least one onset, rising to the end of the phrase"):
        label_onsets(onsets, end)


def test_unknown_way_to_resolve_is_refused():
    with pytest.raises(ConfigError, match="resolve is 'last'"):
        label_onsets([0], 10, resolve="last")


@pytest.mark.parametrize(
    ("weighting", "wanted"),
    [("sample", [0.5, 1, 1, 0.25]), ("class", [2, 2 / 3, 2 / 3, 2 / 3]), ("product", [1, 2 / 3, 2 / 3, 1 / 6])],
)
def test_weights(weighting, wanted):
    found = weigh(np.array([1, 0, 0, 0]), np.array([0.5, 1, 1, 0.25]), weighting)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_unknown_weighting_is_refused():
    with pytest.raises(ConfigError, match="weighting is 'none'"):
        weigh(np.zeros(1, np.int64), np.ones(1), "none")
