"""Patches that are sampled: which segments give some, and where in them."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.errors import ConfigError, DatasetError
from taggram.learning.patch_sampling import Picks, onset_order, random_order

STARTS = np.array([100, 0, 43, 5])  # 3, 0, 1 and 1 segments of 43 frames


def as_set(picks):
    return set(zip(picks.clips.tolist(), picks.segments.tolist(), picks.passes.tolist()))


def test_every_segment_gives_one_patch():
    assert as_set(Picks.draw(STARTS, 5, 0)) == {(0, 0, 0), (0, 1, 0), (0, 2, 0), (2, 0, 0), (3, 0, 0)}


def test_surplus_is_left_out_at_random():
    drawn = {frozenset(as_set(Picks.draw(STARTS, 2, seed))) for seed in range(20)}
    assert len(drawn) > 3
    assert {len(picks) for picks in drawn} == {2}


def test_segments_give_a_second_patch_where_there_are_too_few():
    picks = Picks.draw(STARTS, 8, 0)
    assert len(picks) == 8
    assert as_set(Picks.draw(STARTS, 5, 0)) <= as_set(picks)
    assert {number for _, _, number in as_set(picks)} == {0, 1}


def test_no_more_patches_are_taken_than_there_are():
    picks = Picks.draw(STARTS, 10_000, 0)
    assert len(picks) == len(as_set(picks)) == STARTS.sum()


def test_picks_stand_in_the_order_of_clips():
    picks = Picks.draw(STARTS, 8, 0)
    assert [clip for clip, _ in picks.by_clip()] == [0, 2, 3]
    assert all((picks.clips[where] == clip).all() for clip, where in picks.by_clip())


def test_patches_begin_at_the_largest_onset_of_each_segment_then_at_the_next():
    onsets = np.zeros(100, np.float32)
    onsets[[7, 30, 50, 99]] = 1, 2, 3, 4
    picks = Picks.draw(np.array([100]), 6, 0)
    ((_, where),) = picks.by_clip()
    starts = picks.starts(where, onset_order(onsets, 100))
    assert starts.tolist() == [30, 7, 50, 43, 99, 86]


def test_onsets_behind_the_last_start_do_not_count():
    assert onset_order(np.array([0, 1, 5], np.float32), 2).tolist() == [1, 0]


def test_random_patches_lie_anywhere_in_their_segment():
    starts = set()
    picks = Picks.draw(np.array([86]), 2, 0)
    ((_, where),) = picks.by_clip()
    for seed in range(400):
        first, second = picks.starts(where, random_order(86, seed, 0)).tolist()
        assert 0 <= first < 43 <= second < 86
        starts |= {first, second}
    assert starts == set(range(86))


def test_random_order_hangs_on_seed_and_clip():
    orders = [random_order(50, *place).tolist() for place in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert orders[0] == orders[3]
    assert len({tuple(order) for order in orders}) == 3


def test_clips_that_are_all_too_short_are_refused():
    with pytest.raises(DatasetError, match="no clip is as long as a patch"):
        Picks.draw(np.zeros(3, np.int64), 5, 0)


@pytest.mark.parametrize("values", [(0, 43), (5, 0)], ids=str)
def test_number_without_sense_is_refused(values):
    n_patches, segment_frames = values
    with pytest.raises(ConfigError, match="wanted a whole number from 1 on"):
        Picks.draw(STARTS, n_patches, 0, segment_frames)
