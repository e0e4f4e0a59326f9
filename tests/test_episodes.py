"""Few-shot tasks: how many examples of each class are drawn, from what, and what an update is asked."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.errors import ConfigError, DatasetError
from taggram.learning.episodes import Episodes, draw_examples

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 0])  # five, four and three clips
COUNTS = (5, 4, 3)


def drawn(n_shot, seed=0, labels=LABELS):
    return draw_examples(labels, 3, n_shot, seed=seed)


@pytest.mark.parametrize("n_shot", [1, 2, 3])
def test_exactly_so_many_of_each_class_are_drawn(n_shot):
    places = drawn(n_shot)
    assert np.bincount(LABELS[places]).tolist() == [n_shot] * 3


def test_none_is_drawn_twice():
    assert len(set(drawn(3).tolist())) == 9


def test_all_of_a_class_may_be_drawn():
    assert sorted(drawn(3)[LABELS[drawn(3)] == 2].tolist()) == [2, 5, 8]


def test_all_examples_are_all():
    assert sorted(drawn(None).tolist()) == list(range(12))


def test_same_seed_draws_the_same():
    assert drawn(2).tolist() == drawn(2).tolist()


def test_other_seeds_draw_others():
    assert len({tuple(drawn(2, seed)) for seed in range(8)}) > 1


def test_every_clip_can_be_drawn():
    assert {int(place) for seed in range(60) for place in drawn(1, seed)} == set(range(12))


def test_what_a_class_gets_does_not_hang_on_the_others():
    others = np.where(LABELS == 2, 2, 1 - LABELS)
    assert drawn(2)[LABELS[drawn(2)] == 2].tolist() == (found := drawn(2, labels=others))[others[found] == 2].tolist()


def test_class_with_too_few_clips_is_named():
    with pytest.raises(DatasetError, match="the class cat has 3 clips to learn from; 4 are wanted"):
        draw_examples(LABELS, 3, 4, seed=0, classes=("dog", "bird", "cat"))


@pytest.mark.parametrize("n_shot", [1, None])
def test_class_without_clips_is_named(n_shot):
    with pytest.raises(DatasetError, match="the class number 3 has 0 clips"):
        draw_examples(LABELS, 4, n_shot, seed=0)


@pytest.mark.parametrize("n_shot", [0, -1, 1.5])
def test_number_of_examples_that_makes_no_sense_is_refused(n_shot):
    with pytest.raises(ConfigError, match="n_shot is"):
        drawn(n_shot)


# -- episodes ----------------------------------------------------------------------------------------------------------


def patches_of(n_clips=7, n_patches=3, n_way=2):
    """(patches,) classes and clips of so many clips of each class."""
    clips = np.repeat(np.arange(n_way * n_clips), n_patches)
    return clips // n_clips, clips


def episodes(n_clips=7, n_patches=3, **options):
    labels, clips = patches_of(n_clips, n_patches)
    return Episodes(labels, clips, 2, **options), labels, clips


@pytest.mark.parametrize(("n_clips", "n_support"), [(1, 1), (2, 2), (5, 5), (7, 5)])
def test_support_has_five_patches_of_a_class_or_one_a_clip(n_clips, n_support):
    drawn, labels, _ = episodes(n_clips)
    assert np.bincount(labels[drawn.support]).tolist() == [n_support, n_support]


def test_patches_of_the_support_are_of_different_clips():
    drawn, _, clips = episodes()
    assert len(set(clips[drawn.support].tolist())) == len(drawn.support)


def test_clips_of_the_support_are_drawn():
    found = {tuple(sorted(clips[one.support])) for one, _, clips in (episodes(seed=seed) for seed in range(10))}
    assert len(found) > 1


def test_support_may_be_all_patches():
    drawn, labels, _ = episodes(n_shot=None)
    assert sorted(drawn.support.tolist()) == list(range(len(labels)))


def test_support_stays_over_all_updates():
    drawn, _, _ = episodes()
    before = drawn.support.copy()
    for update in range(10):
        drawn.queries(update)
    assert np.array_equal(drawn.support, before)


def test_update_asks_about_five_patches_of_each_class():
    drawn, labels, _ = episodes()
    assert np.bincount(labels[drawn.queries(0)]).tolist() == [5, 5]


def test_update_asks_about_all_patches_of_a_class_that_has_fewer():
    drawn, _, _ = episodes(n_clips=1, n_patches=2)
    assert sorted(drawn.queries(0).tolist()) == [0, 1, 2, 3]


def test_no_patch_is_asked_about_twice_in_an_update():
    drawn, _, _ = episodes()
    assert all(len(set(drawn.queries(update).tolist())) == 10 for update in range(20))


def test_patches_of_the_support_are_asked_about_too():
    drawn, _, _ = episodes()
    asked = {int(place) for update in range(50) for place in drawn.queries(update)}
    assert set(drawn.support.tolist()) < asked


def test_update_is_the_same_whatever_was_drawn_before():
    first, _, _ = episodes()
    second, _, _ = episodes()
    second.queries(0)
    assert np.array_equal(first.queries(3), second.queries(3))


def test_updates_differ():
    drawn, _, _ = episodes()
    assert not np.array_equal(drawn.queries(0), drawn.queries(1))


@pytest.mark.parametrize(
    ("n_way", "n_clips", "n_patches", "n_queries", "n_updates"),
    [(10, 1, 2, 20, 1), (15, 1, 8, 75, 1), (10, 5, 2, 50, 2), (15, 100, 8, 75, 160)],
    ids=["us8k, n = 1", "asc, n = 1", "us8k, n = 5", "asc, n = 100"],
)
def test_epoch_asks_about_as_many_patches_as_there_are(n_way, n_clips, n_patches, n_queries, n_updates):
    drawn = Episodes(*patches_of(n_clips, n_patches, n_way), n_way)
    assert (drawn.n_queries, drawn.n_updates) == (n_queries, n_updates)


def test_class_without_patches_is_refused():
    with pytest.raises(DatasetError, match="class number 2 has no patch"):
        Episodes(*patches_of(), 3)


@pytest.mark.parametrize("options", [{"n_shot": 0}, {"n_query": 0}, {"n_query": True}])
def test_number_that_makes_no_sense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is"):
        episodes(**options)
