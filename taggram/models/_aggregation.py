"""From the layers of networks that look at short segments to one vector a clip.

Source: Lee and Nam, "Multi-level and multi-scale feature aggregation using pretrained convolutional neural networks for
    music auto-tagging", IEEE Signal Processing Letters 24(8), 2017, arXiv 1703.01793.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taggram.errors import ConfigError


def contiguous_starts(n_frames: int, length: int) -> list[int]:
    """Cut a clip into segments side by side; what is left over at the end is dropped.

    Args:
        n_frames: length of the clip, in frames or samples.
        length: of a segment, in the same unit.

    Returns:
        First frame of each segment.

    Raises:
        ConfigError: the clip is shorter than a segment.
    """
    _check_length(n_frames, length)
    return list(range(0, n_frames - length + 1, length))


def spread_starts(n_frames: int, length: int, n_segments: int) -> list[int]:
    """Spread segments evenly over a clip; they overlap where the clip is too short for so many.

    Args:
        n_frames: length of the clip, in frames or samples.
        length: of a segment, in the same unit.
        n_segments: at least 1.

    Returns:
        First frame of each segment. The step is a whole number, so that the last of two or more ends up to
        `n_segments - 2` frames before the clip does.

    Raises:
        ConfigError: the clip is shorter than a segment, or no segment is asked for.
    """
    _check_length(n_frames, length)
    if n_segments < 1:
        raise ConfigError(f"n_segments is {n_segments}; at least 1 is wanted.")
    step = (n_frames - length) // max(1, n_segments - 1)
    return [step * index for index in range(n_segments)]


def cut_segments(patches: Tensor, starts: Sequence[int], length: int) -> Tensor:
    """Cut clips into segments.

    Args:
        patches: (clips, ..., frames), as a front-end gives them.
        starts: first frame of each segment.
        length: of a segment, in frames.

    Returns:
        (clips, segments, ..., length).
    """
    return torch.stack([patches[..., start : start + length] for start in starts], dim=1)


def side_by_side(patches: Tensor, length: int) -> Tensor:
    """Cut clips into the segments of `contiguous_starts`, in one step for clips of any length.

    Args:
        patches: (clips, ..., frames), as a front-end gives them.
        length: of a segment, at most that of a clip, in frames.

    Returns:
        (clips, segments, ..., length).
    """
    n_segments = patches.shape[-1] // length
    whole = patches[..., : n_segments * length]
    return whole.reshape(*patches.shape[:-1], n_segments, length).movedim(-2, 1)


def aggregate(*activations: Tensor) -> Tensor:
    """Make one vector of each clip: the maximum inside a segment, the mean over segments, layer after layer.

    Args:
        *activations: layers of any networks, (clips, segments, time, filters), (clips, segments, filters) where time is
            gone, or (clips, segments, time, bands, filters), whose maximum is over time and bands. Each layer may have
            its own number of segments.

    Returns:
        (clips, sum of filters): a value a filter.

    Raises:
        ConfigError: there is no layer, or one has too few axes.
    """
    if not activations or any(layer.ndim < 3 for layer in activations):
        shapes = ", ".join(str(tuple(layer.shape)) for layer in activations)
        raise ConfigError(f"layers of shapes [{shapes}]; at least one is wanted, each (clips, segments, ..., filters).")
    return torch.cat([_maxima(layer).mean(1) for layer in activations], dim=1)


def _maxima(layer: Tensor) -> Tensor:
    """(clips, segments, ..., filters) to (clips, segments, filters)."""
    between = tuple(range(2, layer.ndim - 1))
    return layer.amax(between) if between else layer


def _check_length(n_frames: int, length: int) -> None:
    if not 1 <= length <= n_frames:
        raise ConfigError(f"segments of {length} frames from a clip of {n_frames}; a segment is 1 frame to the clip.")
