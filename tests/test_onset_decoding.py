"""From onset functions to boundaries: smoothing, fusion, the search that knows the score, and peaks without it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from taggram.errors import ConfigError
from taggram.learning.onset_decoding import (
    EPS,
    FUSIONS,
    HOP_S,
    boundaries_of_score,
    decode_with_score,
    duration_densities,
    fuse,
    pick_maxima,
    pick_peaks,
    scale_durations,
    smooth,
)

BUMPS = ((28, 0.60), (33, 0.75), (61, 0.80), (70, 0.50), (95, 0.90), (15, 0.85))
CHECKED = [  # durations in s, boundaries, log score
    ((0.30, 0.35, 0.25, 0.30), (0, 33, 70, 95, 120), -14.306796844604955),
    ((0.30, 0.30, 0.30, 0.30), (0, 33, 61, 95, 120), -13.942339260080091),
    ((0.20, 0.60, 0.20, 0.20), (0, 15, 70, 95, 120), -14.312684437074395),
    ((0.40, 0.20, 0.20, 0.40), (0, 33, 60, 70, 120), -16.306847042506135),
]


def checked_odf():
    """The onset function whose boundaries are known."""
    odf = np.full(121, 0.02)
    for centre, height in BUMPS:
        around = slice(centre - 2, centre + 3)
        odf[around] = np.maximum(odf[around], height * np.array([0.25, 0.7, 1, 0.7, 0.25]))
    odf[[0, -1]] = 1.0
    return odf


# -- smoothing and fusion ----------------------------------------------------------------------------------------------


def test_impulse_becomes_the_window():
    assert smooth(np.eye(9)[4]).tolist() == [0, 0, 0, 0.25, 0.5, 0.25, 0, 0, 0]


def test_beyond_the_phrase_are_zeros():
    odf = np.array([0.4, 0, 0, 0, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(smooth(odf), [0.2, 0.1, 0, 0.25, 0.5, 0.25, 0, 0, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_smoothing_keeps_the_length(n_frames):
    assert len(smooth(np.ones(n_frames))) == n_frames


FIRST, SECOND = np.array([0.2, 0.6, 0.3]), np.array([0.1, 0.4, 0.25])
SCALED = np.array([0, 1, 0.25]), np.array([0, 1, 0.5])


@pytest.mark.parametrize(
    ("fusion", "wanted"),
    [
        ("scaled_geometric", np.sqrt(SCALED[0] * SCALED[1])),
        ("average", (FIRST + SECOND) / 2),
        ("scaled_average", (SCALED[0] + SCALED[1]) / 2),
        ("product", FIRST * SECOND),
        ("scaled_product", SCALED[0] * SCALED[1]),
    ],
)
def test_fusion(fusion, wanted):
    np.testing.assert_allclose(fuse(FIRST, SECOND, fusion), wanted, rtol=0, atol=1e-12)


def test_fusion_of_the_paper_is_the_default():
    np.testing.assert_array_equal(fuse(FIRST, SECOND), fuse(FIRST, SECOND, "scaled_geometric"))


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name.startswith("scaled")])
def test_constant_is_scaled_to_0(fusion):
    fused = fuse(np.full(4, 0.3), np.full(4, 0.7), fusion)
    assert fused.tolist() == [0, 0, 0, 0]


def test_unknown_fusion_is_refused():
    with pytest.raises(ConfigError, match=r"fusion is 'sum'; wanted one of 'scaled_geometric'"):
        fuse(np.ones(3), np.ones(3), "sum")


def test_fusion_of_other_lengths_is_refused():
    with pytest.raises(ConfigError, match="the length of the second is 4; wanted that of the first, 3"):
        fuse(np.ones(3), np.ones(4))


# -- durations ---------------------------------------------------------------------------------------------------------


def test_densities_of_a_duration():
    densities = duration_densities(0.30)
    assert len(densities) == 61
    assert densities.sum() == pytest.approx(0.996338, abs=1e-6)
    assert (densities[0], densities[30]) == pytest.approx((0.00064134, 0.037994502895), abs=1e-8)


def test_densities_of_another_duration():
    densities = duration_densities(0.35)
    assert len(densities) == 71
    assert densities[35] == pytest.approx(0.032566716767, abs=1e-12)


def test_constant_spread_is_in_seconds():
    narrow = duration_densities(0.30, 0.05, "constant")
    assert len(narrow) == 45
    assert narrow[30] / narrow[25] == pytest.approx(math.exp(0.5))
    assert duration_densities(1.0, 0.01, "constant")[0] == EPS


def test_durations_are_scaled_to_the_phrase():
    assert scale_durations([1, 1, 2], 2.0) == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("durations", [[1.0, 0.0], [1.0, -1.0]])
def test_duration_of_nothing_is_refused(durations):
    with pytest.raises(ConfigError, match="wanted numbers above 0"):
        scale_durations(durations, 1.0)


# -- the search --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("durations", "boundaries", "score"), CHECKED)
def test_boundaries_that_are_known(durations, boundaries, score):
    found = decode_with_score(checked_odf(), durations)
    assert found.boundaries == boundaries
    assert found.log_score == pytest.approx(score, abs=1e-9)
    assert not found.is_relaxed


def best_of_all(odf, durations):
    """The best path by trying all, as (score, boundaries)."""
    onset = np.array(odf)
    onset[[0, -1]] = 1.0
    densities = [duration_densities(duration) for duration in durations]
    paths = []
    for inner in itertools.combinations(range(1, len(onset) - 1), len(durations) - 1):
        boundaries = (0, *inner, len(onset) - 1)
        score = 0.0
        for density, start, end in zip(densities, boundaries, boundaries[1:]):
            fits = end - start < len(density) and onset[end] > EPS
            score += math.log(density[end - start]) + math.log(onset[end]) if fits else -math.inf
        paths.append((score, boundaries))
    return max(paths)


@pytest.mark.parametrize("seed", range(30))
def test_search_finds_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    n_frames, n_syllables = int(rng.integers(8, 17)), int(rng.integers(2, 5))
    odf = rng.random(n_frames) * (rng.random(n_frames) < 0.8)  # some frames are none to end at
    durations = scale_durations(rng.uniform(0.5, 2, n_syllables).tolist(), HOP_S * (n_frames - 1))
    score, boundaries = best_of_all(odf, durations)
    found = decode_with_score(odf, durations)
    if score == -math.inf:
        assert found.is_relaxed
    else:
        assert (found.boundaries, found.is_relaxed) == (boundaries, False)
        assert found.log_score == pytest.approx(score, abs=1e-9)


def test_ends_of_the_phrase_are_known():
    odf = checked_odf()
    odf[[0, -1]] = 0.0
    assert decode_with_score(odf, CHECKED[0][0]).boundaries == CHECKED[0][1]


def test_onset_function_stays_as_it_was():
    odf = np.full(50, 0.5)
    decode_with_score(odf, [0.2, 0.3])
    assert set(odf) == {0.5}


def test_one_syllable_is_the_phrase():
    assert decode_with_score(np.zeros(10), [0.1]).boundaries == (0, 9)


def test_perfect_onset_function_is_followed():
    onsets = [0, 22, 60, 91]
    odf = np.full(121, 0.01)
    odf[onsets] = 1.0
    assert decode_with_score(odf, [0.3] * 4).boundaries == (*onsets, 120)


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_constant_onset_function_leaves_it_to_the_score(level):
    durations = scale_durations([1, 2, 1, 3, 2], 1.5)
    found = decode_with_score(np.full(151, level), durations).boundaries
    alone = boundaries_of_score(151, durations)
    # The wider density of a long syllable makes it a little cheaper to be short of, hence a frame.
    assert np.abs(np.subtract(found, alone)).max() <= 1


def test_limits_of_durations_are_dropped_where_nothing_keeps_them():
    odf = np.zeros(101)
    odf[90] = 1.0  # the only frame to end at, and the first syllable is to have 0.1 s
    found = decode_with_score(odf, [0.1, 0.9])
    assert (found.boundaries, found.is_relaxed) == ((0, 90, 100), True)


def test_all_frames_are_tried_where_too_few_have_an_onset():
    found = decode_with_score(np.zeros(101), [0.25, 0.5, 0.25])
    assert found.is_relaxed
    assert np.abs(np.subtract(found.boundaries, (0, 25, 75, 100))).max() <= 1


def test_as_many_syllables_as_steps_fit():
    assert decode_with_score(np.full(5, 0.5), [0.01] * 4).boundaries == (0, 1, 2, 3, 4)


def test_more_syllables_than_steps_are_refused():
    with pytest.raises(ConfigError, match="the length of the phrase is 5; wanted at least 6 frames, for 5 syllables"):
        decode_with_score(np.full(5, 0.5), [0.01] * 5)


def test_no_syllables_are_refused():
    with pytest.raises(ConfigError, match="the number of syllables is 0; wanted at least 1"):
        decode_with_score(np.full(5, 0.5), [])


def test_syllable_without_length_is_refused():
    with pytest.raises(ConfigError, match=r"a duration is 0\.0; wanted a number above 0"):
        decode_with_score(np.full(50, 0.5), [0.0, 0.5])


def test_score_alone_puts_boundaries_at_the_summed_durations():
    assert boundaries_of_score(121, [0.30, 0.35, 0.25, 0.30]) == (0, 30, 65, 90, 120)


# -- peaks -------------------------------------------------------------------------------------------------------------


def odf_with(**values):
    odf = np.zeros(100)
    for frame, value in values.items():
        odf[int(frame.removeprefix("at"))] = value
    return odf


def test_peaks_are_onsets_and_the_last_frame_ends_the_phrase():
    assert pick_peaks(odf_with(at30=0.9, at60=0.8)) == (0, 30, 60, 99)


def test_peak_that_does_not_stand_out_is_none():
    assert pick_peaks(odf_with(at30=0.17, at60=0.19)) == (0, 60, 99)  # 0.17 less a sixth of it is below 0.15


@pytest.mark.parametrize(("second", "wanted"), [(50, (0, 30, 99)), (51, (0, 30, 51, 99))])
def test_peaks_lie_more_than_20_frames_apart(second, wanted):
    assert pick_peaks(odf_with(**{"at30": 0.9, f"at{second}": 0.9})) == wanted


def test_peak_is_highest_of_the_last_three_frames():
    assert pick_peaks(odf_with(at30=0.9, at31=0.8, at60=0.5, at61=0.9)) == (0, 30, 60, 99)


@pytest.mark.parametrize("pick", [pick_peaks, pick_maxima])
def test_peaks_of_no_phrase_are_refused(pick):
    with pytest.raises(ConfigError, match="wanted at least 2 frames"):
        pick(np.ones(1))


def test_maxima_are_values_that_none_beside_them_is_above():
    odf = odf_with(at30=0.6, at31=0.9, at32=0.8, at60=0.53, at80=0.54)
    assert pick_maxima(odf) == (0, 31, 80, 99)


def test_first_of_equal_values_is_the_maximum():
    assert pick_maxima(odf_with(at30=0.9, at31=0.9, at32=0.9)) == (0, 30, 99)
