"""Scores of syllables that were found."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.errors import ConfigError
from taggram.learning.onset_scores import Counts, Segments, count_onsets, count_segments, onset_f_measure

STARTS = [0.0, 0.4, 0.9, 1.6]
ENDS = [0.4, 0.9, 1.6, 2.0]


def shifted(by_s, labels=None):
    return Segments([start + by_s for start in STARTS], [end + by_s for end in ENDS], labels)


def test_what_is_identical_is_right():
    counts = count_segments(shifted(0, "abcd"), shifted(0, "abcd"))
    assert (counts, counts.f1) == (Counts(4, 4, 4), 1.0)


@pytest.mark.parametrize(("by_s", "n_correct"), [(0.049, 4), (-0.049, 4), (0.051, 0), (-0.051, 0)])
def test_onsets_within_the_tolerance_are_right(by_s, n_correct):
    assert count_onsets(shifted(by_s).starts_s, STARTS) == Counts(4, 4, n_correct)
    assert count_segments(shifted(by_s), shifted(0)).n_correct == n_correct


def test_as_far_as_the_tolerance_is_too_far():
    assert count_onsets([0.5], [0.0], 0.5).n_correct == 0


def test_end_may_be_off_by_a_fifth_of_the_syllable():
    annotated = Segments([0.0], [1.0])
    found = [count_segments(Segments([0.0], [end]), annotated).n_correct for end in (1.19, 0.81, 1.21, 0.79)]
    assert found == [1, 1, 0, 0]


def test_end_of_a_short_syllable_may_be_off_by_the_tolerance():
    assert count_segments(Segments([0.0], [0.14]), Segments([0.0], [0.1])).n_correct == 1


def test_another_syllable_is_wrong():
    assert count_segments(shifted(0, "abcd"), shifted(0, "abdc")).n_correct == 2


def test_labels_that_are_not_known_do_not_count():
    assert count_segments(shifted(0), shifted(0, "abcd")).n_correct == 4


def test_onsets_are_paired_one_to_one():
    assert count_onsets([1.0], [0.98, 1.02]) == Counts(1, 2, 1)
    assert count_onsets([0.98, 1.02], [1.0]) == Counts(2, 1, 1)


def test_syllables_that_share_one_of_the_other_side_count_once():
    one, two = Segments([1.0], [2.0]), Segments([0.98, 1.02], [2.0, 2.0])
    assert count_segments(one, two) == Counts(1, 2, 1)
    assert count_segments(two, one) == Counts(2, 1, 1)


@pytest.mark.parametrize("counts", [Counts(), Counts(3, 0, 0), Counts(0, 3, 0), Counts(3, 3, 0)])
def test_nothing_right_is_0(counts):
    assert counts.f1 == 0.0


def test_counts_of_phrases_are_summed():
    assert Counts(1, 2, 1) + Counts(3, 3, 2) == Counts(4, 5, 3)


def test_precision_recall_and_f1():
    counts = Counts(n_detected=4, n_annotated=2, n_correct=2)
    assert (counts.precision, counts.recall, counts.f1) == (0.5, 1.0, pytest.approx(2 / 3))


def test_starts_without_ends_are_refused():
    with pytest.raises(ConfigError, match="the number of starts, ends and labels"):
        count_segments(Segments([0.0, 1.0], [1.0]), shifted(0))


def test_one_to_one_pairs_of_mir_eval():
    pytest.importorskip("mir_eval", reason="mir_eval, of the extra train, is not installed")
    assert onset_f_measure([[1.0], STARTS], [[0.98, 1.02], STARTS]) == pytest.approx((2 / 3 + 1) / 2)


def test_phrase_without_onsets_has_0():
    assert onset_f_measure([[]], [STARTS]) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_mir_eval(seed):
    pytest.importorskip("mir_eval", reason="mir_eval, of the extra train, is not installed")
    rng = np.random.default_rng(seed)
    annotated, detected = (np.sort(rng.uniform(0, 2, int(rng.integers(1, 30)))) for _ in range(2))
    assert onset_f_measure([detected], [annotated]) == pytest.approx(count_onsets(detected, annotated).f1)
