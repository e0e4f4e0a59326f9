"""Sounds changed by a known amount: noise, level, speed, pitch, dynamics. Equal arguments give equal samples.

Source: speed is a phase vocoder as librosa 0.11 has it in `librosa.effects.time_stretch` (Flanagan and Golden, "Phase
    Vocoder", 1966), pitch the same and a resampling; the compressor is the feed-forward one of Giannoulis, Massberg and
    Reiss, "Digital Dynamic Range Compressor Design", J. Audio Eng. Soc. 60(6), 2012, with a hard knee and smooth
    branching.
Differs: the window is about as long in seconds as librosa's at 22,050 Hz, whatever the rate; the compressor looks at
    the level once a millisecond, and what it gives is as loud as what came.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from taggram.audio import read_sound
from taggram.learning._random import generator

Samples: TypeAlias = NDArray[np.float32]

WINDOW_S = 2048 / 22_050  # of the phase vocoder
HOPS = 4  # in a window
SEMITONES = 12  # of an octave
THRESHOLD_DB = -30.0  # of the compressor, below full scale
ATTACK_S, RELEASE_S = 0.005, 0.1
CONTROL_S = 0.001  # step of its control
SILENCE_DB = -120.0


def add_noise(samples: Samples, snr_db: float, seed: int) -> Samples:
    """Put a sound under white noise.

    Args:
        samples: (samples,).
        snr_db: level of the sound above that of the noise, as root mean squares over all of it.
        seed: of the noise, which is the same at all levels.

    Returns:
        (samples,), not clipped; silence stays silence.
    """
    noise = generator(seed).standard_normal(len(samples), dtype=np.float32)
    return samples + noise * np.float32(_ratio(samples, noise) * 10 ** (-snr_db / 20))


def change_gain(samples: Samples, gain_db: float) -> Samples:
    """Make a sound louder or softer, clipped at full scale as a file would be.

    Args:
        samples: (samples,).
        gain_db: by how much.

    Returns:
        (samples,), -1 to 1.
    """
    changed: Samples = np.clip(samples * np.float32(10 ** (gain_db / 20)), -1, 1)
    return changed


def change_speed(samples: Samples, sample_rate: int, speed: float) -> Samples:
    """Play a sound quicker or more slowly at the same pitch.

    Args:
        samples: (samples,), at least one.
        sample_rate: in Hz.
        speed: above 1 is quicker.

    Returns:
        (samples / speed,), rounded.
    """
    n_fft = 2 ** max(4, round(math.log2(WINDOW_S * sample_rate)))
    hop = n_fft // HOPS
    window = torch.hann_window(n_fft)
    sound = torch.from_numpy(np.array(samples, dtype=np.float32))
    spectrum = torch.stft(sound, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    stretched = _vocoded(spectrum, hop, speed)
    n_samples = max(1, round(len(samples) / speed))
    result: Samples = torch.istft(stretched, n_fft, hop, window=window, length=n_samples).numpy()
    return result


def change_pitch(samples: Samples, sample_rate: int, semitones: float) -> Samples:
    """Shift the pitch of a sound at the same speed.

    Args:
        samples: (samples,), at least one.
        sample_rate: in Hz.
        semitones: up, or down below 0; the highest frequencies are then empty.

    Returns:
        (samples,), as long as what came.
    """
    played_at = round(sample_rate * 2 ** (semitones / SEMITONES))
    longer = change_speed(samples, sample_rate, sample_rate / played_at)
    shifted = read_sound((longer, played_at), sample_rate=sample_rate).samples[: len(samples)]
    return np.pad(shifted, (0, len(samples) - len(shifted)))  # rounding may cost a sample


def compress(samples: Samples, sample_rate: int, ratio: float) -> Samples:
    """Make the loud parts of a sound softer, and then all of it as loud as it was.

    Args:
        samples: (samples,).
        sample_rate: in Hz.
        ratio: dB above the threshold of 30 dB below full scale that become one.

    Returns:
        (samples,), with the root mean square of what came; not clipped.
    """
    step = max(1, round(CONTROL_S * sample_rate))
    n_steps = -(-len(samples) // step)
    peaks = np.abs(np.pad(samples, (0, n_steps * step - len(samples)))).reshape(n_steps, step).max(axis=1)
    levels_db = 20 * np.log10(np.maximum(peaks, 10 ** (SILENCE_DB / 20)))
    wanted_db = np.maximum(levels_db - THRESHOLD_DB, 0) * (1 - 1 / ratio)
    reduction_db = _smoothed(wanted_db.tolist(), step / sample_rate)
    middles = step * (np.arange(n_steps) + 0.5)
    factors = 10 ** (-np.interp(np.arange(len(samples)), middles, reduction_db) / 20)
    changed: Samples = samples * factors.astype(np.float32)
    return changed * np.float32(_ratio(samples, changed))


def _ratio(one: Samples, other: Samples) -> float:
    """Divide the root mean square of a sound by that of another, or give 0 where the other is silent."""
    power, other_power = (float(np.mean(np.square(samples, dtype=np.float64))) for samples in (one, other))
    return math.sqrt(power / other_power) if other_power else 0.0


def _vocoded(spectrum: torch.Tensor, hop: int, speed: float) -> torch.Tensor:
    """Read a spectrogram (bins, frames) at another speed: magnitudes between frames, phases that go on as they went."""
    n_bins, n_frames = spectrum.shape
    steps = torch.arange(0, n_frames, speed, dtype=torch.float64)
    left = steps.long()
    magnitudes, angles = (torch.nn.functional.pad(part, (0, 2)) for part in (spectrum.abs(), spectrum.angle()))
    magnitude = torch.lerp(magnitudes[:, left], magnitudes[:, left + 1], (steps - left).float())
    advance = torch.linspace(0, math.pi * hop, n_bins, dtype=torch.float64)[:, None]  # of a bin's own frequency
    turned = angles[:, 1:] - angles[:, :-1] - advance
    turned = advance + turned - 2 * math.pi * torch.round(turned / (2 * math.pi))
    # In float64 and less whole turns: the sum grows with the length of the sound.
    phase = torch.cumsum(torch.cat([angles[:, :1], turned[:, left[:-1]]], dim=1), dim=1) % (2 * math.pi)
    return torch.polar(magnitude, phase.float())


def _smoothed(values: list[float], step_s: float) -> list[float]:
    """Follow values, quickly where they rise and slowly where they fall."""
    attack, release = math.exp(-step_s / ATTACK_S), math.exp(-step_s / RELEASE_S)
    state, found = 0.0, []
    for value in values:
        keep = attack if value > state else release
        state = keep * state + (1 - keep) * value
        found.append(state)
    return found
