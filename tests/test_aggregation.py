"""Segments of a clip, and one vector of what networks make of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taggram.errors import ConfigError
from taggram.models._aggregation import aggregate, contiguous_starts, cut_segments, side_by_side, spread_starts

SHAPES = {  # of a layer of 2 clips and 5 segments
    "no time": (2, 5, 3),
    "time": (2, 5, 7, 3),
    "time and bands": (2, 5, 7, 4, 3),
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def values(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@each_shape
def test_constant_layer_gives_the_constant(shape):
    assert torch.equal(aggregate(torch.full(shape, 0.7)), torch.full((2, 3), 0.7))


@each_shape
def test_order_of_the_segments_does_not_matter(shape):
    layer = values(*shape)
    torch.testing.assert_close(aggregate(layer), aggregate(layer[:, [3, 1, 4, 0, 2]]))


@each_shape
def test_maximum_inside_a_segment_then_mean_over_segments(shape):
    layer = values(*shape)
    torch.testing.assert_close(aggregate(layer), layer.reshape(2, 5, -1, 3).amax(2).mean(1))


def test_length_is_the_sum_of_filters():
    layers = [values(2, n_segments, 6, n_filters) for n_segments, n_filters in ((71, 128), (47, 512), (23, 256))]
    assert aggregate(*layers).shape == (2, 896)


def test_layers_stand_in_the_order_given():
    first, second = values(2, 5, 7, 3), values(2, 4, 2)
    assert torch.equal(aggregate(first, second), torch.cat([aggregate(first), aggregate(second)], dim=1))


def test_gradient_flows_back():
    layer = values(2, 5, 7, 3).requires_grad_()
    aggregate(layer).sum().backward()
    assert layer.grad.count_nonzero() == 2 * 5 * 3


@pytest.mark.parametrize("layers", [[], [torch.zeros(2, 3)]], ids=["none", "no segments"])
def test_wrong_layers_are_refused(layers):
    with pytest.raises(ConfigError, match=r"\(clips, segments, ..., filters\)"):
        aggregate(*layers)


@pytest.mark.parametrize(("length", "n_segments"), [(18, 71), (27, 47), (54, 23), (1291, 1)])
def test_number_of_contiguous_segments(length, n_segments):
    assert contiguous_starts(1291, length) == [index * length for index in range(n_segments)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(n_frames=st.integers(1, 700_000), share=st.floats(0, 1), n_segments=st.integers(2, 100))
def test_spread_segments_reach_to_the_end_of_the_clip(n_frames, share, n_segments):
    length = max(1, int(share * n_frames))
    starts = spread_starts(n_frames, length, n_segments)
    rest = n_frames - starts[-1] - length
    assert len(starts) == n_segments
    assert 0 <= rest < n_segments - 1


def test_one_segment_is_the_first():
    assert spread_starts(100, 30, 1) == [0]


def test_spread_segments_of_the_released_code():
    # 12 segments of 59,049 samples from 30 s at 22,050 Hz
    assert spread_starts(661_500, 59_049, 12)[:3] == [0, 54_768, 109_536]


@pytest.mark.parametrize(
    "call",
    [lambda: contiguous_starts(17, 18), lambda: spread_starts(17, 18, 2), lambda: contiguous_starts(17, 0)],
    ids=["contiguous", "spread", "empty"],
)
def test_segment_that_does_not_fit_is_refused(call):
    with pytest.raises(ConfigError, match="frames from a clip of 17"):
        call()


def test_no_segment_is_refused():
    with pytest.raises(ConfigError, match="n_segments is 0"):
        spread_starts(10, 5, 0)


@pytest.mark.parametrize("n_frames", [6, 17, 18])
def test_segments_side_by_side_are_those_of_their_starts(n_frames):
    clips = values(2, 1, 8, n_frames)
    assert torch.equal(side_by_side(clips, 6), cut_segments(clips, contiguous_starts(n_frames, 6), 6))


def test_segments_are_parts_of_the_clip():
    clips = values(2, 1, 8, 20)
    segments = cut_segments(clips, [0, 6, 12], 6)
    assert segments.shape == (2, 3, 1, 8, 6)
    assert torch.equal(segments[:, 1], clips[..., 6:12])
