"""Automatic gain control of a spectrogram: each region of time and frequency is brought to about the same level.

Source: D. Ellis, "Time-frequency automatic gain control", 2010, web resource with code, in the simplified form of Nam,
    Herrera and Lee, "A deep bag-of-features model for music auto-tagging", 2015, arXiv 1508.04999.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def band_layout(f_scale: float) -> tuple[int, float]:
    """Find the mel bands on which the level is followed.

    Args:
        f_scale: how coarse they are, above 0.

    Returns:
        Their number, at least 10, and how many times as wide as usual they are, at least 2.
    """
    n_bands = max(10.0, 20.0 / f_scale)
    return int(n_bands), f_scale * n_bands / 10.0


def decaying_peak(levels: Tensor, decay: float) -> Tensor:
    """Follow a level up at once, and down by a fixed ratio a frame: s_t = max(decay s_(t-1), level_t).

    Args:
        levels: (batch, frames, bands), at least 0.
        decay: above 0 and below 1.

    Returns:
        (batch, frames, bands).
    """
    # Each turn doubles how far back a frame looks, until what lies further back has decayed to nothing.
    n_frames, reach = levels.shape[1], 1
    whatever_length = torch.compiler.is_compiling()  # a graph for all lengths takes all turns that any of them takes
    while (whatever_length or reach < n_frames) and decay**reach > 0:
        earlier = F.pad(levels, (0, 0, reach, 0))[:, :n_frames]
        levels = torch.maximum(levels, earlier * decay**reach)
        reach *= 2
    return levels


def spread_matrix(bands: Tensor) -> Tensor:
    """Make the matrix that brings the levels of the bands back to the bins, as a mean of the bands over each bin.

    Bands at least twice as wide as usual leave no bin uncovered, and a level is 0 only in a silent clip, so that the
    source's rules for uncovered bins and levels of 0 would never act.

    Args:
        bands: (bins, bands), at each bin at least one above 0.

    Returns:
        (bands, bins).
    """
    return (bands / bands.sum(1, keepdim=True)).T


def mean_rise(mel: Tensor) -> Tensor:
    """Give the rise of log10(1 + 100 mel) from frame to frame, a fall being none, its mean over the bands.

    Args:
        mel: (batch, frames, mels), at least 0.

    Returns:
        (batch, frames), at least 0; the first frame is 0.
    """
    rise = (1.0 + 100.0 * mel).log10().diff(dim=1).clamp_min(0.0)
    return F.pad(rise.mean(2), (1, 0))
