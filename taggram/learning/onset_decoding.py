"""From the onset function of a sung phrase to where its syllables begin, with the score and without.

With the score, the number of the syllables and their durations are known up to how freely they are sung: a segmental
Viterbi search puts the boundaries where the onset function is high and the durations are likely.

Source: Pons, Gong and Serra, "Score-informed syllable segmentation for a cappella singing voice with convolutional
    neural networks", ISMIR 2017, arXiv 1707.03544; the code of github.com/ronggong/jingjuSyllabicSegmentaion. Peak
    picking is that of a later state of the code.
Differs: a phrase of one syllable, and durations that fit nowhere, have an answer; there, the first reads beyond an
    array and the second is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_choice
from taggram.errors import ConfigError

Floats = NDArray[np.float64]
Spread = Literal["proportion", "constant"]

HOP_S = 0.010  # of the onset function
SMOOTHING = (0.25, 0.5, 0.25)  # a Hann window of 5 points, of which the outer ones are 0
SPREAD = 0.35  # deviation of a sung duration from that of the score
N_DEVIATIONS = 3  # beyond which a duration is forbidden
EPS = float(np.finfo(np.float64).eps)

MEAN_FRAMES, MAX_FRAMES, GAP_FRAMES, DELTA = 5, 2, 20, 0.15  # of peak picking that looks back
THRESHOLD = 0.54  # of the other


def smooth(odf: Floats) -> Floats:
    """Smooth an onset function.

    Args:
        odf: (frames,) of the phrase; beyond it there are zeros.

    Returns:
        (frames,).
    """
    smoothed: Floats = np.convolve(odf, SMOOTHING)[1:-1]  # also right where the phrase is shorter than the window
    return smoothed


def _scaled(odf: Floats) -> Floats:
    """Scale to 0 to 1; a constant becomes 0."""
    low, high = odf.min(), odf.max()
    scaled: Floats = (odf - low) / (high - low) if high > low else np.zeros_like(odf)
    return scaled


FUSIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "scaled_geometric": lambda a, b: np.sqrt(_scaled(a) * _scaled(b)),
    "average": lambda a, b: (a + b) / 2,
    "scaled_average": lambda a, b: (_scaled(a) + _scaled(b)) / 2,
    "product": lambda a, b: a * b,
    "scaled_product": lambda a, b: _scaled(a) * _scaled(b),
}
"""Ways to make one onset function of two; "scaled" ones are first scaled to 0 to 1 over the phrase."""


def fuse(first: Floats, second: Floats, fusion: str = "scaled_geometric") -> Floats:
    """Make one onset function of those of two networks.

    Args:
        first: (frames,) smoothed, of the phrase.
        second: (frames,) likewise.
        fusion: one of `FUSIONS`.

    Returns:
        (frames,).

    Raises:
        ConfigError: there is no such fusion, or the two have other lengths.
    """
    check_choice("fusion", fusion, FUSIONS)
    check(len(first) == len(second), "the length of the second", len(second), f"that of the first, {len(first)}")
    return FUSIONS[fusion](np.asarray(first, np.float64), np.asarray(second, np.float64))


@dataclass(frozen=True)
class Segmentation:
    """Where the syllables of a phrase begin and end.

    Attributes:
        boundaries: one frame more than there are syllables, from 0 to the last; each ends where the next begins.
        log_score: of the path, or NaN where there was nothing to choose.
        is_relaxed: whether no path kept within the limits of the durations, so that they were dropped.
    """

    boundaries: tuple[int, ...]
    log_score: float
    is_relaxed: bool = False


def duration_densities(duration_s: float, spread: float = SPREAD, kind: Spread = "proportion") -> Floats:
    """Give how likely each length of a syllable is: a normal density, not normalised over the lengths.

    Args:
        duration_s: by the score, in seconds, scaled to the length of the phrase.
        spread: deviation, as a share of the duration or in seconds.
        kind: "proportion" or "constant", which of the two.

    Returns:
        (lengths,) at 0, 1, 2 ... frames, up to three deviations above the duration; 0 becomes the machine's epsilon.

    Raises:
        ConfigError: the duration or the spread is not above 0.
    """
    mean, deviation, n_lengths = _duration_model(duration_s, spread, kind)
    turns = (np.arange(n_lengths) - mean) / deviation
    densities: Floats = np.exp(-0.5 * turns**2) / (deviation * np.sqrt(2 * np.pi))
    densities[densities == 0] = EPS
    return densities


def decode_with_score(
    odf: Floats, durations_s: Sequence[float], *, spread: float = SPREAD, kind: Spread = "proportion"
) -> Segmentation:
    """Find the boundaries of the syllables that the score tells of.

    The value of the onset function at the end of a syllable and the density of its length are multiplied over all
    syllables; the best path is searched for. Where no path keeps within three deviations of all durations, lengths are
    free, and where too few frames have any onset, all frames are tried.

    Args:
        odf: (frames,) smoothed, from 0 to 1; its first and last value are taken as 1, since the phrase is known.
        durations_s: of the syllables by the score, in seconds, scaled to the length of the phrase.
        spread: as for `duration_densities`.
        kind: likewise.

    Returns:
        The boundaries; of equal paths, the one whose boundaries are earliest, looked at from the end.

    Raises:
        ConfigError: there are no syllables, more of them than frames to put them in, or a duration not above 0.
    """
    n_frames, n_syllables = len(odf), len(durations_s)
    check(n_syllables > 0, "the number of syllables", n_syllables, "at least 1")
    fits = n_frames - 1 >= n_syllables
    check(fits, "the length of the phrase", n_frames, f"at least {n_syllables + 1} frames, for {n_syllables} syllables")
    models = [_duration_model(duration, spread, kind) for duration in durations_s]
    if n_syllables == 1:
        return Segmentation((0, n_frames - 1), float("nan"))
    onset = np.array(odf, np.float64)
    onset[[0, -1]] = 1.0
    is_candidate = onset > EPS
    log_onset = np.where(is_candidate, np.log(np.maximum(onset, EPS)), -np.inf)
    found = _search(log_onset, [np.log(duration_densities(duration, spread, kind)) for duration in durations_s])
    if found is not None:
        return found
    if is_candidate[1:-1].sum() < n_syllables - 1:
        log_onset = np.log(np.maximum(onset, EPS))
    lengths = np.arange(n_frames)
    free = [
        -0.5 * ((lengths - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))
        for mean, deviation, _ in models
    ]
    relaxed = _search(log_onset, free)
    if relaxed is None:  # the squares of such differences are beyond what a number can hold
        raise ConfigError(f"durations are {list(durations_s)!r}; wanted durations that are less unequal.")
    return Segmentation(relaxed.boundaries, relaxed.log_score, is_relaxed=True)


def boundaries_of_score(n_frames: int, durations_s: Sequence[float]) -> tuple[int, ...]:
    """Put the boundaries where the score alone has them.

    Args:
        n_frames: length of the phrase.
        durations_s: of the syllables by the score, in seconds, scaled to the length of the phrase.

    Returns:
        One frame more than there are syllables, from 0 to the last.
    """
    inner = np.rint(np.cumsum(durations_s)[:-1] / HOP_S).astype(int)
    return (0, *np.minimum(inner, n_frames - 1).tolist(), n_frames - 1)


def scale_durations(durations: Sequence[float], length_s: float) -> list[float]:
    """Scale the durations of a score to the length of the phrase as it is sung.

    Args:
        durations: in any unit.
        length_s: of the phrase, in seconds.

    Returns:
        The durations in seconds.

    Raises:
        ConfigError: a duration is not above 0.
    """
    check(all(duration > 0 for duration in durations), "durations", list(durations), "numbers above 0")
    total = sum(durations)
    return [length_s * duration / total for duration in durations]


def pick_peaks(odf: Floats) -> tuple[int, ...]:
    """Find onsets without a score: values that are highest and stand out, looking back alone.

    Args:
        odf: (frames,) smoothed, from 0 to 1; its first value is taken as 1, since the phrase is known.

    Returns:
        Boundaries, rising: the onsets, and the last frame, at which the last syllable ends.

    Raises:
        ConfigError: the phrase is shorter than two frames.
    """
    onset = _with_known_start(odf)
    padded = np.concatenate([np.zeros(MEAN_FRAMES), onset])
    behind = np.lib.stride_tricks.sliding_window_view(padded, MEAN_FRAMES + 1)  # (frames, 6), the frame itself is last
    stands_out = (onset == behind[:, -1 - MAX_FRAMES :].max(1)) & (onset >= behind.mean(1) + DELTA)
    picked: list[int] = []
    for frame in np.flatnonzero(stands_out[:-1]).tolist():
        if not picked or frame - picked[-1] > GAP_FRAMES:
            picked.append(frame)
    return (*picked, len(onset) - 1)


def pick_maxima(odf: Floats, threshold: float = THRESHOLD) -> tuple[int, ...]:
    """Find onsets without a score: values of at least a threshold that none beside them is above.

    Where several frames in a row are equal, the first of them is taken.

    Args:
        odf: (frames,) smoothed, from 0 to 1; its first value is taken as 1, since the phrase is known.
        threshold: the least value of an onset.

    Returns:
        Boundaries, rising: the onsets, and the last frame, at which the last syllable ends.

    Raises:
        ConfigError: the phrase is shorter than two frames.
    """
    onset = _with_known_start(odf)
    inner = onset[1:-1]
    is_peak = (inner > onset[:-2]) & (inner >= onset[2:]) & (inner >= threshold)
    return (0, *(np.flatnonzero(is_peak) + 1).tolist(), len(onset) - 1)


PICKERS: dict[str, Callable[[Floats], tuple[int, ...]]] = {"back": pick_peaks, "maxima": pick_maxima}
"""Ways to find onsets without a score."""


# -- inside ------------------------------------------------------------------------------------------------------------


def _with_known_start(odf: Floats) -> Floats:
    """Copy the onset function of a phrase, which is known to begin with an onset."""
    check(len(odf) >= 2, "the length of the phrase", len(odf), "at least 2 frames")
    onset = np.array(odf, np.float64)
    onset[0] = 1.0
    return onset


def _duration_model(duration_s: float, spread: float, kind: Spread) -> tuple[float, float, int]:
    """Give mean and deviation in frames, and the number of lengths that are allowed, 0 among them."""
    check_choice("kind", kind, get_args(Spread))
    check(duration_s > 0, "a duration", duration_s, "a number above 0, in seconds")
    check(spread > 0, "spread", spread, "a number above 0")
    if kind == "constant":
        return duration_s / HOP_S, spread / HOP_S, int((duration_s + N_DEVIATIONS * spread) / HOP_S)
    longest_s = duration_s * (1 + N_DEVIATIONS * spread)
    return duration_s / HOP_S, spread * duration_s / HOP_S, int(longest_s / HOP_S)


def _search(log_onset: Floats, log_densities: Sequence[Floats]) -> Segmentation | None:
    """Search for the best path, or give None where there is none.

    Args:
        log_onset: (frames,), minus infinity where no syllable may end.
        log_densities: (lengths,) of each syllable, two at least.

    Returns:
        The boundaries and the score.
    """
    n_frames = len(log_onset)
    scores = np.full(n_frames, -np.inf)
    lengths = min(len(log_densities[0]), n_frames)
    scores[1:lengths] = log_densities[0][1:lengths] + log_onset[1:lengths]
    backs = []
    for densities in log_densities[1:]:
        longest = min(len(densities), n_frames) - 1
        if longest < 1:
            return None
        # Row j has the scores of j - longest ... j - 1, so that the first of equal ones is the earliest.
        before = np.concatenate([np.full(longest, -np.inf), scores[:-1]])
        windows = np.lib.stride_tricks.sliding_window_view(before, longest)
        paths = windows + densities[longest:0:-1]
        best = paths.argmax(1)
        backs.append(np.arange(n_frames) - longest + best)
        scores = paths[np.arange(n_frames), best] + log_onset
    if scores[-1] == -np.inf:
        return None
    boundaries = [n_frames - 1]
    for back in reversed(backs):
        boundaries.append(int(back[boundaries[-1]]))
    return Segmentation((0, *reversed(boundaries)), float(scores[-1]))
