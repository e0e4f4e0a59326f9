"""Hand-made features of a clip: timbre, loudness, rhythm and harmony as plain statistics.

Source: the kinds of features that the boosted trees of Pons et al., "End-to-end learning for music audio tagging at
    scale", ISMIR 2018 stand on are timbre, rhythm and harmony; which ones is not published. Those here are textbook
    ones: MFCCs; centroid, rolloff and low energy of Tzanetakis and Cook, 2002; contrast of Jiang et al., ICME 2002;
    attack of Peeters, 2004; tempo of Ellis, 2007; pitch by autocorrelation of Boersma, 1993; keys by the profiles of
    Krumhansl and Kessler, 1982.
Differs: the choice, the window lengths and the statistics are ours. How long a clip is, is no feature: it says how the
    clip was cut.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._checks import check_choice, check_count
from taggram.audio import Samples
from taggram.frontends import MFCC, LogMelConfig, MFCCConfig

FeatureSet = Literal["mfcc", "hand_made"]
"""MFCC statistics alone, or all features."""
FEATURE_SETS: tuple[FeatureSet, ...] = ("mfcc", "hand_made")
FAMILIES = ("mfcc", "spectrum", "loudness", "rhythm", "harmony")
"""What the name of a feature begins with."""

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
Values = dict[str, float]

LEAST_RATE = 4000  # Hz; below, windows and bands have too few samples
WINDOW_S, HARMONY_WINDOW_S = 0.064, 0.256  # of timbre and rhythm; of pitch and chords. The nearest power of 2 is taken
HOPS = 4  # hops in a window of timbre
HARMONY_HOPS = 2
BLOCK_FRAMES = 256  # worked on together, so that memory does not grow with the length
N_MFCC, N_MELS = 20, 64
RANGE_DB = 80.0
SOUNDING_DB = 60.0  # frames further below the loudest are left out of statistics
TINY = 1e-10  # -100 dB, below which is silence
ROLLOFF = 0.85  # share of the magnitude below it
CONTRAST_EDGES_HZ = (0, 200, 400, 800, 1600, 3200, 6400)
CONTRAST_SHARE = 0.2  # of the bins of a band, that are its peaks, and as many its valleys
ATTACK = (0.1, 0.9)  # of the largest amplitude, from where to where the attack is
PULSE_EDGES_BPM = (40, 60, 80, 110, 150, 200, 280)
TEMPO_BPM, TEMPO_OCTAVES = 120.0, 0.9  # tempos near this one are preferred, by a bell of this width
A4_HZ = 440.0
CHROMA_HZ = (55.0, 5000.0)
CHROMA = ("c", "c_sharp", "d", "d_sharp", "e", "f", "f_sharp", "g", "g_sharp", "a", "a_sharp", "b")
PITCH_HZ = (50.0, 2000.0)
NEARLY = 0.9  # of the highest peak: the first lag as high as this is the period
KEYS = {  # how well each step above the tonic fits
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def hand_made(samples: Samples, sample_rate: int, features: FeatureSet = "hand_made") -> Values:
    """Sum a clip up.

    Args:
        samples: (samples,) mono, -1 to 1. What is shorter than a window is repeated until it fills one; no samples at
            all are as silence.
        sample_rate: in Hz, at least 4000. Features of different rates are not the same.
        features: which ones.

    Returns:
        By name, always the same names in the same order, and all finite. A name begins with its family. `_hz`, `_db`
        and `_s` are units.

    Raises:
        ConfigError: there is no such set of features, or the rate is too low.
    """
    check_choice("features", features, FEATURE_SETS)
    check_count("sample_rate", sample_rate, least=LEAST_RATE)
    sound = _filled(samples, _window_length(HARMONY_WINDOW_S, sample_rate))
    mel_db, coefficients = _mel_and_mfcc(sound, sample_rate)
    values = _of_mfcc(coefficients)
    if features == "hand_made":
        hop_s = _window_length(WINDOW_S, sample_rate) / HOPS / sample_rate
        rows = _spectral_rows(sound, sample_rate)
        values |= _of_spectrum(rows) | _of_loudness(rows["rms_db"], hop_s)
        values |= _of_rhythm(mel_db, hop_s) | _of_harmony(sound, sample_rate)
    return {name: float(value) for name, value in values.items()}


def feature_names(features: FeatureSet = "hand_made") -> tuple[str, ...]:
    """Give the names of the features of a set, in order.

    Args:
        features: the set.

    Returns:
        The names that `hand_made` gives.

    Raises:
        ConfigError: there is no such set.
    """
    return tuple(hand_made(np.zeros(0, np.float32), LEAST_RATE, features))


# -- timbre ------------------------------------------------------------------------------------------------------------


def _mel_and_mfcc(sound: Samples, sample_rate: int) -> tuple[Floats, Floats]:
    """Give (frames, mels) in dB and (frames, coefficients)."""
    mfcc = _mfcc(sample_rate)
    with torch.inference_mode():
        mel_db = mfcc.mel(torch.from_numpy(sound)[None])[0, 0].T  # (frames, mels)
        return mel_db.numpy(), (mel_db @ mfcc.dct).numpy()


@functools.lru_cache(maxsize=4)
def _mfcc(sample_rate: int) -> MFCC:
    n_fft = _window_length(WINDOW_S, sample_rate)
    mel = LogMelConfig(
        sample_rate=sample_rate,
        n_fft=n_fft,
        hop_length=n_fft // HOPS,
        n_mels=N_MELS,
        n_frames=1,  # clips come whole
        compression="db",
        eps=TINY,
        top_db=RANGE_DB,
    )
    return MFCC(MFCCConfig(n_mfcc=N_MFCC, mel=mel))


def _of_mfcc(coefficients: Floats) -> Values:
    """Mean and deviation of the coefficients and of their first and second differences in time."""
    values: Values = {}
    for order, name in enumerate(("", "delta_", "delta2_")):
        track = np.diff(coefficients, n=order, axis=0)
        for statistic, numbers in (("mean", track.mean(0)), ("std", track.std(0))):
            values |= {f"mfcc_{name}{place:02d}_{statistic}": number for place, number in enumerate(numbers)}
    return values


def _spectral_rows(sound: Samples, sample_rate: int) -> dict[str, Floats]:
    """Describe the spectrum of each frame: (frames,) by name."""
    length = _window_length(WINDOW_S, sample_rate)
    bins_hz = np.fft.rfftfreq(length, 1 / sample_rate)

    def describe(frames: Floats) -> dict[str, Floats]:
        power = _power(frames)
        energy = np.square(frames).mean(1)
        crossings = np.diff(np.signbit(frames), axis=1).mean(1)
        own = {"rms_db": _db(energy), "crossings_hz": crossings * (sample_rate / 2)}
        return own | _shape(np.sqrt(power), bins_hz) | _flatness(power) | _contrast(power, bins_hz)

    return _by_blocks(sound, length, length // HOPS, describe)


def _shape(magnitude: Floats, bins_hz: Floats) -> dict[str, Floats]:
    """Where in frequency the sound lies, and how wide; all 0 for silence."""
    total = magnitude.sum(1)
    share = magnitude / np.maximum(total, TINY)[:, None]
    centroid = share @ bins_hz
    variance = share @ np.square(bins_hz) - np.square(centroid)
    below = np.cumsum(magnitude, axis=1)
    rolloff = bins_hz[np.argmax(below >= ROLLOFF * total[:, None], axis=1)]
    return {
        "centroid_hz": centroid,
        "bandwidth_hz": np.sqrt(np.maximum(variance, 0)),
        "rolloff_hz": rolloff,
    }


def _flatness(power: Floats) -> dict[str, Floats]:
    """How like noise a frame is: its geometric beside its arithmetic mean; 0 dB for white noise or silence."""
    return {"flatness_db": _db(power).mean(1) - _db(power.mean(1))}


def _contrast(power: Floats, bins_hz: Floats) -> dict[str, Floats]:
    """How far the peaks of each octave stand above its valleys, in dB."""
    rows: dict[str, Floats] = {}
    for low, high in zip(CONTRAST_EDGES_HZ, (*CONTRAST_EDGES_HZ[1:], math.inf)):
        band = np.sort(power[:, (bins_hz >= low) & (bins_hz < high)], axis=1)
        n_taken = max(1, round(CONTRAST_SHARE * band.shape[1]))
        peak, valley = (
            (_db(band[:, -n_taken:].mean(1)), _db(band[:, :n_taken].mean(1)))
            if band.shape[1]
            else (np.zeros(len(power)), np.zeros(len(power)))
        )
        rows[f"contrast_from_{low}_hz_db"] = peak - valley
    return rows


def _of_spectrum(rows: dict[str, Floats]) -> Values:
    sounding = _sounding(rows["rms_db"])
    values: Values = {}
    for name, row in rows.items():
        if name != "rms_db":
            values |= _statistics(f"spectrum_{name}", row[sounding])
    return values


# -- loudness ----------------------------------------------------------------------------------------------------------


def _of_loudness(rms_db: Floats, hop_s: float) -> Values:
    """How loud, how even, and how a note begins and dies away; (frames,) in dB."""
    power = 10 ** (rms_db / 10)
    amplitude = np.sqrt(power)
    peak = int(rms_db.argmax())
    rises = [int(np.argmax(amplitude >= share * amplitude[peak])) for share in ATTACK]
    decay_s = max(len(rms_db) - 1 - peak, 1) * hop_s
    times = np.linspace(0, 1, len(power))
    return {
        **_statistics("loudness_rms_db", rms_db),
        "loudness_max_db": rms_db[peak],
        "loudness_dynamics_db": rms_db[peak] - _db(power.mean()),
        "loudness_low_share": np.mean(amplitude < amplitude.mean()),
        "loudness_silent_share": np.mean(~_sounding(rms_db)),
        "loudness_centre": times @ power / power.sum(),
        "loudness_attack_log10_s": math.log10((rises[1] - rises[0] + 1) * hop_s),
        "loudness_decay_db_per_s": (rms_db[peak] - rms_db[-1]) / decay_s,
    }


# -- rhythm ------------------------------------------------------------------------------------------------------------


def _of_rhythm(mel_db: Floats, hop_s: float) -> Values:
    """How often something begins, and how regularly; from (frames, mels) in dB."""
    onsets = np.maximum(np.diff(mel_db, axis=0), 0).mean(1)
    inner = onsets[1:-1]
    is_peak = (inner > onsets[:-2]) & (inner >= onsets[2:]) & (inner > onsets.mean() + onsets.std())
    lags = np.arange(math.ceil(60 / PULSE_EDGES_BPM[-1] / hop_s), int(60 / PULSE_EDGES_BPM[0] / hop_s) + 1)
    likeness = _likeness(onsets - onsets.mean(), int(lags[-1]))[lags]
    lags_bpm = 60 / (lags * hop_s)
    preferred = np.exp(-0.5 * np.square(np.log2(lags_bpm / TEMPO_BPM) / TEMPO_OCTAVES))
    best = int(np.argmax(np.maximum(likeness, 0) * preferred))
    values = {
        **_statistics("rhythm_onset_db", onsets),
        "rhythm_onset_max_db": onsets.max(),
        "rhythm_onsets_per_s": is_peak.sum() / (len(onsets) * hop_s),
        "rhythm_tempo_bpm": lags_bpm[best],
        "rhythm_pulse": likeness[best],
    }
    for low, high in itertools.pairwise(PULSE_EDGES_BPM):
        values[f"rhythm_pulse_from_{low}_bpm"] = likeness[(lags_bpm >= low) & (lags_bpm < high)].max()
    return values


def _likeness(curve: Floats, longest: int) -> Floats:
    """Autocorrelation for the lags from 0 to the longest, beside that at 0; 0 beyond the end, and for silence."""
    n = 2 ** math.ceil(math.log2(len(curve) + longest + 1))
    sums = np.fft.irfft(np.square(np.abs(np.fft.rfft(curve, n))), n)[: longest + 1]
    return sums / max(float(sums[0]), TINY)


# -- harmony -----------------------------------------------------------------------------------------------------------


def _of_harmony(sound: Samples, sample_rate: int) -> Values:
    length = _window_length(HARMONY_WINDOW_S, sample_rate)
    bins_hz = np.fft.rfftfreq(length, 1 / sample_rate)
    inside = (bins_hz >= CHROMA_HZ[0]) & (bins_hz <= CHROMA_HZ[1])
    classes = (np.rint(12 * np.log2(bins_hz[inside] / A4_HZ)).astype(int) + CHROMA.index("a")) % 12
    to_chroma = np.eye(12, dtype=np.float32)[classes]
    lags = np.arange(math.ceil(sample_rate / PITCH_HZ[1]), int(sample_rate / PITCH_HZ[0]) + 1)

    def describe(frames: Floats) -> dict[str, Floats]:
        chroma = np.sqrt(_power(frames)[:, inside]) @ to_chroma
        chroma /= np.maximum(chroma.max(1, keepdims=True), TINY)
        harmonicity, pitch = _pitch(frames, lags, sample_rate)
        level = _db(np.square(frames).mean(1))
        return {"chroma": chroma, "harmonicity": harmonicity, "pitch_octaves": pitch, "level": level}

    rows = _by_blocks(sound, length, length // HARMONY_HOPS, describe)
    sounding = _sounding(rows["level"])
    chroma = rows["chroma"][sounding]
    values: Values = {}
    for place, name in enumerate(CHROMA):
        values |= _statistics(f"harmony_{name}", chroma[:, place], quantiles=False)
    for name in ("harmonicity", "pitch_octaves"):
        values |= _statistics(f"harmony_{name}", rows[name][sounding])
    return values | {"harmony_chroma_entropy": _entropy(chroma).mean(), **_keys(chroma.mean(0))}


def _pitch(frames: Floats, lags: NDArray[np.int64], sample_rate: int) -> tuple[Floats, Floats]:
    """Give (frames,) how periodic each frame is, 0 to 1, and its pitch in octaves above 1 Hz."""
    length = frames.shape[1]
    window = _hann(length)

    def sums(values: Floats) -> Floats:
        spectrum = np.fft.rfft(values, 2 * length)
        kept: Floats = np.fft.irfft(np.square(np.abs(spectrum)), 2 * length)[..., : lags[-1] + 2]
        return kept

    own = sums((frames - frames.mean(1, keepdims=True)) * window) / sums(window)
    own = own / np.maximum(own[:, :1], TINY)
    before, at, after = (own[:, lags + step] for step in (-1, 0, 1))
    peaks = np.where((at >= before) & (at >= after), at, 0)
    height = np.clip(peaks.max(1), 0, 1)
    first = np.argmax(peaks >= NEARLY * peaks.max(1, keepdims=True), axis=1)
    return height, np.log2(sample_rate / lags[first])


def _entropy(chroma: Floats) -> Floats:
    """How evenly (frames, 12) is spread: 0 for one class alone, 1 for all alike or none."""
    share = (chroma + TINY) / (chroma + TINY).sum(1, keepdims=True)
    entropy: Floats = -(share * np.log(share)).sum(1) / math.log(12)
    return entropy


def _keys(chroma: Floats) -> Values:
    """How well the best of the 12 keys of each mode fits, as a correlation, and what major is ahead by."""
    best = {}
    for mode, profile in KEYS.items():
        turned = np.stack([np.roll(profile, steps) for steps in range(12)])
        turned = turned - turned.mean(1, keepdims=True)
        centred = chroma - chroma.mean()
        size = np.linalg.norm(turned[0]) * np.linalg.norm(centred)
        best[mode] = float((turned @ centred).max() / max(size, TINY))
    fits = {f"harmony_{mode}": value for mode, value in best.items()}
    return fits | {"harmony_major_ahead": best["major"] - best["minor"]}


# -- shared ------------------------------------------------------------------------------------------------------------


def _window_length(window_s: float, sample_rate: int) -> int:
    """Give the power of 2 that is nearest to some seconds, in samples."""
    return int(2 ** round(math.log2(window_s * sample_rate)))


def _filled(samples: Samples, n_samples: int) -> Samples:
    """Repeat what is too short; no samples at all become silence."""
    if len(samples) >= n_samples:
        return np.ascontiguousarray(samples, np.float32)
    return np.resize(samples, n_samples).astype(np.float32) if len(samples) else np.zeros(n_samples, np.float32)


@functools.lru_cache(maxsize=8)
def _hann(length: int) -> Floats:
    window: Floats = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)
    return window


def _power(frames: Floats) -> Floats:
    """(frames, length) to (frames, bins): a sine of amplitude 1 has 1 at its bin."""
    spectrum = np.fft.rfft(frames * _hann(frames.shape[1])) * (4 / frames.shape[1])
    power: Floats = np.square(spectrum.real) + np.square(spectrum.imag)
    return power


def _by_blocks(
    sound: Samples, length: int, hop: int, describe: Callable[[Floats], dict[str, Floats]]
) -> dict[str, Floats]:
    """Describe the frames that lie inside a sound, some at a time."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, length)[::hop]
    blocks = [describe(block) for block in _blocks(frames)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _blocks(frames: Floats) -> Iterator[Floats]:
    for first in range(0, len(frames), BLOCK_FRAMES):
        yield frames[first : first + BLOCK_FRAMES]


def _sounding(level_db: Floats) -> Flags:
    """Tell which frames are not far below the loudest; all are in a silent clip."""
    flags: Flags = level_db >= level_db.max() - SOUNDING_DB
    return flags


def _statistics(name: str, row: Floats, *, quantiles: bool = True) -> Values:
    """Mean, deviation and, if wanted, the tenth, half and nine tenths of a row."""
    values = {f"{name}_mean": row.mean(), f"{name}_std": row.std()}
    if quantiles:
        levels = np.quantile(row, (0.1, 0.5, 0.9))
        values |= {f"{name}_q{level}": value for level, value in zip((10, 50, 90), levels)}
    return values


def _db(power: Floats) -> Floats:
    """Give decibels; silence is -100."""
    levels: Floats = 10 * np.log10(np.maximum(power, TINY))
    return levels
