"""Sound for the data set `synth`: from the plan of a piece to its samples, and a process that writes many.

Strings are Karplus and Strong's loop, solved in the frequency domain; bowed, blown and sung tones and organs are tables
of one period, read at a pitch that bends; bells and brass are frequency modulation; drums are noise and falling sines.

Source: Karplus and Strong, "Digital synthesis of plucked-string and drum timbres", Computer Music Journal 7(2), 1983;
    Chowning, "The synthesis of complex audio spectra by means of frequency modulation", JAES 21(7), 1973; formants of
    vowels after Peterson and Barney, JASA 24(2), 1952. From memory, and tuned by ear and eye.
"""

# ruff: noqa: ARG001  # all instruments and drums are called alike, also those that need no chance or no pitch

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.datasets.synth import Piece, Player, Studio
from taggram.errors import WorkerError

SAMPLE_RATE = 16_000  # Hz, that of MagnaTagATune
TOP_HZ = 7_000.0  # no partial is above
PERIOD = 4_096  # samples of a table
PEAK = 0.95
KNEE = 0.6  # above this, peaks are bent down
STEPS = 4  # of a beat

T = TypeVar("T")
Sound = NDArray[np.float64]  # (samples,)


@dataclass(frozen=True)
class Note:
    """A note, or a stroke of a drum.

    Attributes:
        start_s: when it begins; before 0 it is cut.
        length_s: how long it is held.
        pitch: a MIDI number.
        strength: 0 to 1.
    """

    start_s: float
    length_s: float
    pitch: int
    strength: float


# From the plan to notes.

MODES = {  # semitones above the tonic
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "raga": (0, 1, 4, 5, 7, 8, 11),
}
PROGRESSIONS = {  # steps of the scale, a bar each
    "major": ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 6, 0), (0, 6, 5, 6), (0, 3, 0, 4)),
    "raga": ((0, 0, 0, 0),),
}
RHYTHMS = ((1.0,), (1.0,), (0.5, 0.5), (0.5, 0.5), (1.5, 0.5), (0.5, 0.25, 0.25), (2.0,))  # in beats
REST = 0.1  # how often a melody pauses
LATE_S = 0.012  # players are late by so much at most


class _Score:
    """Notes of the players of a piece.

    Args:
        piece: the plan.
        rng: chance.
    """

    def __init__(self, piece: Piece, rng: Generator) -> None:
        self._piece = piece
        self._rng = rng
        self._scale = MODES[piece.mode]
        self._bars = _pick(PROGRESSIONS[piece.mode], rng)
        self._beat_s = 60 / piece.bpm
        self._lead_beats = piece.metre * float(rng.random())  # a clip starts anywhere in a bar
        self._n_beats = int(np.ceil(piece.length_s / self._beat_s + self._lead_beats))

    def notes(self, player: Player) -> Iterator[Note]:
        """Give the notes of a player in order; all start before the end of the piece."""
        for beat, n_beats, step, strength in ROLES[player.role](self):
            yield self._note(beat, n_beats, self._pitch(step, player.pitch), strength)

    def strokes(self, pattern: str) -> Iterator[Note]:
        """Give the strokes of one drum; a pattern is a bar or a part of it, four signs a beat."""
        for step in range(self._n_beats * STEPS):
            sign = pattern[step % (self._piece.metre * STEPS) % len(pattern)]
            if sign != ".":
                yield self._note(step / STEPS, 0.25, 60, 1.0 if sign == "X" else 0.5)

    def _note(self, beat: float, n_beats: float, pitch: int, strength: float) -> Note:
        late = self._piece.swing / 2 if beat % 1 == 0.5 else 0.0
        start_s = (beat + late - self._lead_beats) * self._beat_s + LATE_S * float(self._rng.random())
        return Note(start_s, n_beats * self._beat_s, pitch, strength * (0.8 + 0.2 * float(self._rng.random())))

    def _pitch(self, step: int, near: int) -> int:
        """Turn a step of the scale into a pitch, with the tonic not far from that of the player."""
        tonic = near - (near - self._piece.key + 6) % 12 + 6
        return tonic + self._scale[step % 7] + 12 * (step // 7)

    def _chord(self, beat: float) -> int:
        return self._bars[int(beat // self._piece.metre) % len(self._bars)]

    def melody(self) -> Iterator[tuple[float, float, int, float]]:
        """Walk up and down the scale, and meet the chord where a bar begins."""
        beat, step = 0.0, 0
        while beat < self._n_beats:
            for n_beats in _pick(RHYTHMS, self._rng):
                if beat % self._piece.metre == 0:
                    step = self._chord(beat) + _pick((0, 2, 4, -3), self._rng)
                if self._rng.random() >= REST:
                    yield beat, 0.95 * n_beats, step, 1.0 if beat % 1 == 0 else 0.8
                step += _pick((-2, -1, -1, 0, 1, 1, 2), self._rng)
                step = min(max(step, -4), 8)
                beat += n_beats

    def arpeggio(self) -> Iterator[tuple[float, float, int, float]]:
        """Break the chord, two notes a beat."""
        order = _pick(((0, 4, 7, 9), (0, 2, 4, 7), (7, 4, 2, 4), (0, 4, 2, 4)), self._rng)
        for half in range(2 * self._n_beats):
            yield half / 2, 1.0, self._chord(half / 2) + order[half % len(order)], 1.0 if half % 4 == 0 else 0.75

    def chords(self) -> Iterator[tuple[float, float, int, float]]:
        """Strike the chord on every beat, or on every other."""
        every = _pick((1, 1, 2), self._rng)
        for beat in range(0, self._n_beats, every):
            for tone in (0, 2, 4):
                yield beat, 0.9 * every, self._chord(beat) + tone, 1.0 if beat % self._piece.metre == 0 else 0.7

    def pad(self) -> Iterator[tuple[float, float, int, float]]:
        """Hold the chord for a bar."""
        for beat in range(0, self._n_beats, self._piece.metre):
            for tone in (0, 4, 9):
                yield beat, self._piece.metre, self._chord(beat) + tone, 1.0

    def riff(self) -> Iterator[tuple[float, float, int, float]]:
        """Repeat roots and fifths, two a beat, with gaps."""
        hits = [self._rng.random() < 0.75 for _ in range(2 * self._piece.metre)]
        for half in range(2 * self._n_beats):
            if hits[half % len(hits)]:
                for tone in (0, 4, 7):
                    yield half / 2, 0.45, self._chord(half / 2) + tone, 1.0

    def roots(self) -> Iterator[tuple[float, float, int, float]]:
        """Play the root on every beat or twice, as a bass does."""
        per_beat = _pick((1, 1, 2), self._rng)
        for place in range(per_beat * self._n_beats):
            beat = place / per_beat
            yield beat, 0.85 / per_beat, self._chord(beat) + (4 if self._rng.random() < 0.15 else 0), 0.9

    def drone(self) -> Iterator[tuple[float, float, int, float]]:
        """Let tonic and fifth ring, again and again."""
        for beat in range(0, self._n_beats, 2):
            for tone in (0, 4, 7):
                yield beat + 0.12 * tone, 2.5, tone, 0.8


ROLES: dict[str, Callable[[_Score], Iterator[tuple[float, float, int, float]]]] = {  # beat, beats, step, strength
    "melody": _Score.melody,
    "arpeggio": _Score.arpeggio,
    "chords": _Score.chords,
    "pad": _Score.pad,
    "riff": _Score.riff,
    "roots": _Score.roots,
    "drone": _Score.drone,
}


def _pick(choices: Sequence[T], rng: Generator) -> T:
    return choices[int(rng.random() * len(choices))]


# Building blocks of sound.


def _times(length_s: float) -> Sound:
    """Give the time of every sample, in seconds."""
    return np.arange(int(length_s * SAMPLE_RATE)) / SAMPLE_RATE


def _swell(t: Sound, length_s: float, attack_s: float, release_s: float) -> Sound:
    """Rise, hold and fall: a gain, 0 to 1."""
    gain = np.minimum(t / attack_s, (length_s + release_s - t) / release_s)
    return np.clip(gain, 0.0, 1.0, out=gain)


def _size(n_samples: int) -> int:
    """Round up to an even length whose transform is quick."""
    return min(factor << max(1, (-(-n_samples // factor) - 1).bit_length()) for factor in (1, 3, 5))


@functools.lru_cache(maxsize=16)
def _angles(size: int) -> Sound:
    """Give the angle by which each frequency turns in one sample."""
    return np.linspace(0.0, np.pi, size // 2 + 1)  # sizes are even


@functools.lru_cache(maxsize=16)
def _hz(size: int) -> Sound:
    """Give the frequencies of a transform."""
    return np.linspace(0.0, SAMPLE_RATE / 2, size // 2 + 1)


def _noise(n_samples: int, low_hz: float, high_hz: float, rng: Generator) -> Sound:
    """Make noise of a band with gentle edges, RMS about 1."""
    size = _size(n_samples)
    hz = _hz(size)
    gain = hz**2 / np.sqrt((hz**4 + low_hz**4) * (1 + (hz / high_hz) ** 4))
    gain *= np.sqrt(size / 4 / np.mean(gain**2))
    band = gain * (rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz)))
    noise: Sound = np.fft.irfft(band, size)[:n_samples]
    return noise


def _partials(hz: float, top_hz: float = TOP_HZ) -> Sound:
    """Number the partials of a tone."""
    return np.arange(1.0, max(int(top_hz / hz), 1) + 1)


def _read(turns: Sound, levels: Sound, rng: Generator) -> Sound:
    """Play a period that has partials of some levels; `turns` counts periods from the start."""
    spectrum = np.zeros(PERIOD // 2 + 1, complex)
    spectrum[1 : len(levels) + 1] = levels * np.exp(2j * np.pi * rng.random(len(levels)))
    table: Sound = np.fft.irfft(spectrum, norm="forward") / np.sqrt(2 * np.sum(levels**2))
    sound: Sound = table[(turns * PERIOD).astype(np.int64) & (PERIOD - 1)]
    return sound


def _turns(hz: float, t: Sound, depth: float, rate_hz: float, rng: Generator) -> Sound:
    """Count periods of a tone whose pitch sways by `depth`, as a share of it, after a while."""
    phase = 2 * np.pi * (rate_hz * t + rng.random())
    sway: Sound = depth * np.minimum(t / 0.5, 1.0) * np.cos(phase) / (2 * np.pi * rate_hz)
    return hz * (t + sway) + 1.0  # more than it sways back


def _string(
    hz: float, length_s: float, rng: Generator, *, ring_s: float, dull: float, soft: float, pick: float = 0.0
) -> Sound:
    """Pluck a string.

    Args:
        hz: its pitch.
        length_s: how long it may ring.
        rng: chance.
        ring_s: to -60 dB, of a string of 220 Hz.
        dull: how fast high partials die, 0 to 0.5.
        soft: how few of them there are at the start, below 1; below 0 there are more than in noise.
        pick: where it is plucked, as a share of its length; 0 is anywhere.

    Returns:
        (samples,) of peak 1.
    """
    n_samples = int(length_s * SAMPLE_RATE)
    size = _size(n_samples + n_samples // 2)  # longer, as what rings on comes back at the start
    angles = _angles(size)
    z = np.exp(-1j * angles)
    period = SAMPLE_RATE / hz
    dull *= min(1.0, 500 / hz)  # the loop is run through more often the higher the pitch
    kept = 10 ** (-3 / (ring_s * (220 / hz) ** 0.4 * hz))
    loop = np.exp(angles * (-1j * (period - dull))) * ((1 - dull + dull * z) * kept)
    burst = np.fft.rfft(rng.uniform(-1, 1, max(int(period), 2)), size)
    burst[0] = 0
    if pick:
        burst *= 1 - np.exp(angles * (-1j * pick * period))
    sound: Sound = np.fft.irfft(burst / ((1 - soft * z) * (1 - loop)), size)[:n_samples]
    return sound / float(np.abs(sound).max())


# Instruments: pitch in Hz, length in seconds, colour from 0 (dark) to 1 (bright), chance -> (samples,), about 1.


def guitar(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Pluck a string of steel or nylon."""
    sound = _string(hz, length_s + 1.0, rng, ring_s=3.0, dull=0.4 - 0.15 * colour, soft=0.75 - 0.4 * colour, pick=0.2)
    return sound * _swell(_times(length_s + 1.0), length_s, 0.002, 1.0)


def electric_guitar(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Pluck a string that the amplifier keeps alive; the distortion is put on all of them together."""
    sound = _string(hz, length_s + 0.1, rng, ring_s=8.0, dull=0.25, soft=0.5 - 0.3 * colour, pick=0.12)
    return sound * _swell(_times(length_s + 0.1), length_s, 0.003, 0.1)


def harp(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Pluck a soft string in its middle."""
    sound = _string(hz, length_s + 1.5, rng, ring_s=2.5, dull=0.45, soft=0.92 - 0.1 * colour, pick=0.45)
    return sound * _swell(_times(length_s + 1.5), length_s + 0.5, 0.003, 1.0)


def harpsichord(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Pluck two thin strings, an octave apart, and damp them with a click."""
    length_s = length_s + 0.08
    low = _string(hz, length_s, rng, ring_s=2.2, dull=0.08, soft=-0.3 - 0.3 * colour, pick=0.06)
    high = _string(2 * hz, length_s, rng, ring_s=2.2, dull=0.08, soft=-0.3, pick=0.06)
    return (low + 0.6 * high) * _swell(_times(length_s), length_s - 0.08, 0.001, 0.08)


def sitar(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Pluck a string that buzzes on its bridge, and bend it up to its pitch."""
    length_s = length_s + 0.8
    t = _times(length_s)
    turns = hz * (t + 0.004 * np.exp(-t / 0.08))
    k = _partials(hz)
    sound = np.zeros(len(t))
    # The bridge hands on to higher and higher partials: these come later, and die sooner.
    for low, high, grow_s, fade_s in ((1, 3, 0.002, 0.9), (4, 8, 0.008, 0.6), (9, 40, 0.018, 0.35)):
        levels = np.where((low <= k) & (k <= high), k ** (0.3 * colour - 0.65), 0.0)
        if levels.any():
            sound += _read(turns, levels, rng) * np.exp(-t / fade_s) * (1 - np.exp(-t / grow_s))
    return 0.4 * sound * _swell(t, length_s - 0.8, 0.002, 0.8)


def violin(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Bow a string, with vibrato."""
    return _bowed(hz, length_s, colour, rng, body_hz=(480.0, 2600.0), n_players=1)


def cello(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Bow a longer string on a larger body."""
    return _bowed(hz, length_s, colour, rng, body_hz=(220.0, 1100.0), n_players=1)


def strings(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Bow many strings that agree only about."""
    return _bowed(hz, length_s, colour, rng, body_hz=(400.0, 1800.0), n_players=4)


def _bowed(
    hz: float, length_s: float, colour: float, rng: Generator, *, body_hz: tuple[float, float], n_players: int
) -> Sound:
    release_s = 0.12 if n_players == 1 else 0.35
    t = _times(length_s + release_s)
    k = _partials(hz)
    first, second = (np.exp(-(np.log2(k * hz / peak_hz) ** 2) / 0.5) for peak_hz in body_hz)
    levels = (0.3 + first + (0.5 + colour) * second) / k
    sound = np.zeros(len(t))
    for _ in range(n_players):
        off = 1 + 0.004 * (rng.random() - 0.5) * (n_players > 1)
        sound += _read(_turns(hz * off, t, 0.006, 5.0 + rng.random(), rng), levels, rng)
    scrape = _noise(len(t), 2 * hz, 6 * hz, rng) * (0.03 + 0.15 * np.exp(-t / 0.05))
    attack_s = min(0.08 if n_players == 1 else 0.2, length_s / 2)
    return (sound / float(np.sqrt(n_players)) + scrape) * _swell(t, length_s, attack_s, release_s)


def flute(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Blow over an edge: few partials, and breath."""
    t = _times(length_s + 0.1)
    levels = (0.22 + 0.2 * colour) ** (_partials(hz)[:5] - 1)
    breath = _noise(len(t), hz, 3 * hz, rng) * (0.06 + 0.35 * np.exp(-t / 0.04))
    tremble = 1 + 0.15 * np.minimum(t / 0.5, 1.0) * np.sin(2 * np.pi * 5.2 * t)
    tone = _read(_turns(hz, t, 0.003, 5.2, rng), levels, rng)
    return (tone * tremble + breath) * _swell(t, length_s, min(0.06, length_s / 2), 0.1)


def clarinet(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Blow a reed on a pipe that is closed at one end: odd partials."""
    t = _times(length_s + 0.06)
    k = _partials(hz, 5_000.0)
    levels = np.where(k % 2 == 1, 1.0, 0.06 + 0.02 * k) * k ** (-1.3 + 0.4 * colour)
    tone = _read(_turns(hz, t, 0.0008, 4.8, rng), levels, rng)
    return (tone + 0.01 * _noise(len(t), 500.0, 4_000.0, rng)) * _swell(t, length_s, min(0.045, length_s / 2), 0.06)


def trumpet(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Modulate a tone by itself, the more the louder it is: brass brightens as it swells."""
    t = _times(length_s + 0.07)
    swell = _swell(t, length_s, min(0.05, length_s / 2), 0.07)
    turns = 2 * np.pi * _turns(hz, t, 0.003, 5.4, rng)
    index = (4.0 + 3.0 * colour) * swell * (0.7 + 0.3 * np.exp(-t / 0.15)) * min(1.0, 500 / hz)
    return 1.3 * np.sin(turns + index * np.sin(turns)) * swell


def piano(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Strike stiff strings: stretched partials, each with its own fading, and the knock of the hammer."""
    t = _times(length_s + 0.25)
    sound = np.zeros(len(t))
    fading = np.exp(-t * 0.8 * (hz / 220) ** 0.5)
    fade = fading**0.5
    for k in _partials(hz, 5_000.0)[:9]:
        fade = fade * fading**0.4
        partial_hz = hz * k * (1 + 0.0005 * k * k) ** 0.5
        sound += np.sin(2 * np.pi * (partial_hz * t + rng.random())) * fade * k ** (colour - 1.7)
    knock = 0.12 * _noise(len(t), 100.0, 1_200.0, rng) * np.exp(-t / 0.012)
    return (sound + knock) * _swell(t, length_s, 0.002, 0.25)


def bells(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Strike metal: frequency modulation at a ratio that is no whole number."""
    t = _times(length_s + 1.5)
    fade = np.exp(-t / 0.9)
    index = (1.5 + 2.0 * colour) * np.exp(-t / 0.4) * min(1.0, 900 / hz)
    tone = np.sin(2 * np.pi * hz * t + index * np.sin(2 * np.pi * 3.51 * hz * t))
    strike = 0.3 * np.sin(2 * np.pi * min(2.76 * hz, TOP_HZ) * t) * fade
    return (tone + strike) * fade * _swell(t, length_s + 0.5, 0.001, 1.0)


def organ(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Sound ranks of pipes, an octave apart, without any fading."""
    t = _times(length_s + 0.08)
    k = _partials(hz)
    levels = np.where(np.isin(k, (1, 2, 4, 8)), 1.0, 0.08 + 0.25 * (k == 3)) / k ** (0.7 - 0.4 * colour)
    tone = _read(_turns(hz, t, 0.002, 6.0, rng), levels[:16], rng)
    return (tone + 0.02 * _noise(len(t), 1_000.0, 4_000.0, rng)) * _swell(t, length_s, min(0.03, length_s / 2), 0.08)


def synth(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Stack three saws that are out of tune."""
    t = _times(length_s + 0.2)
    k = _partials(hz)
    cutoff_hz = 900 + 2_000 * colour
    dark = 1 / k / (1 + (k * hz / cutoff_hz) ** 4) + 0.5 * np.exp(-(((k * hz / cutoff_hz - 1) * 4) ** 2)) / k**0.5
    closing = np.exp(-t / 0.12)
    sound = np.zeros(len(t))
    for off in (-0.006, 0.0, 0.007):
        turns = hz * (1 + off) * t
        sound += _read(turns, dark, rng) + closing * _read(turns, 1 / k, rng)
    return 0.6 * sound * _swell(t, length_s, min(0.1 if length_s > 1.5 else 0.01, length_s / 2), 0.2)


def bass(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Pluck a thick string."""
    sound = _string(hz, length_s + 0.08, rng, ring_s=2.0, dull=0.45, soft=0.93 - 0.15 * colour, pick=0.3)
    return sound * _swell(_times(length_s + 0.08), length_s, 0.004, 0.08)


def synth_bass(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Let a bright saw fade into a dark one on each note."""
    t = _times(length_s + 0.03)
    k = _partials(hz, 4_000.0)
    bright = _read(hz * t, (1 + 4 * np.exp(-(((k * hz - 900) / 300) ** 2))) / k, rng)
    dark = _read(hz * t, 1 / k / (1 + (k * hz / 200) ** 2), rng)
    closing = np.exp(-t / (0.04 + 0.08 * colour))
    return (0.6 * bright * closing + dark) * _swell(t, length_s, 0.003, 0.03)


VOWELS_HZ = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
WIDTHS_HZ = (80, 110, 160)
HEARD = (1.0, 0.5, 0.25)  # levels of the three formants


def _sung(hz: float, length_s: float, colour: float, rng: Generator, *, size: float, attack_s: float) -> Sound:
    """Sing from one vowel to another; `size` scales the formants, above 1 for a smaller head."""
    t = _times(length_s + 0.1)
    turns = _turns(hz, t, 0.012, 5.0 + rng.random(), rng)
    k = _partials(hz, 5_000.0)
    vowels = []
    for _ in range(2):
        shape = 0.02 + sum(
            level / (1 + ((k * hz - size * formant) / (size * width)) ** 2)
            for formant, width, level in zip(_pick(VOWELS_HZ, rng), WIDTHS_HZ, HEARD)
        )
        vowels.append(_read(turns, shape * k ** (-0.7 + 0.4 * colour), np.random.default_rng(0)))
    glide = np.clip(t / length_s * 2 - 0.5, 0.0, 1.0)
    breath = _noise(len(t), 1_500.0, 6_000.0, rng)
    consonant = 0.5 * np.exp(-(((t - 0.02) / 0.02) ** 2)) * (rng.random() < 0.6)
    tone = vowels[0] * (1 - glide) + vowels[1] * glide
    return tone * _swell(t, length_s, min(attack_s, length_s / 2), 0.1) + breath * (0.01 + consonant)


def male(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Sing with a low voice."""
    return _sung(hz, length_s, colour, rng, size=1.0, attack_s=0.06)


def female(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Sing with a high voice."""
    return _sung(hz, length_s, colour, rng, size=1.17, attack_s=0.06)


def choir(hz: float, length_s: float, colour: float, rng: Generator) -> Sound:
    """Sing with many voices, which agree only about."""
    voices = [
        _sung(hz * (1 + 0.008 * (rng.random() - 0.5)), length_s, colour, rng, size=size, attack_s=0.25)
        for size in (0.98, 1.03, 1.12, 1.2)
    ]
    sound: Sound = np.sum(voices, axis=0)
    return 0.5 * sound


Instrument = Callable[[float, float, float, Generator], Sound]
INSTRUMENTS: dict[str, Instrument] = {
    instrument.__name__.replace("_", " "): instrument
    for instrument in (
        *(guitar, electric_guitar, harp, harpsichord, sitar),
        *(violin, cello, strings),
        *(flute, clarinet, trumpet),
        *(piano, bells, organ, synth),
        *(bass, synth_bass),
        *(male, female, choir),
    )
}
DRIVE = 15.0  # of the amplifier of an electric guitar
SPEAKER_HZ = (90.0, 3_800.0)


# Drums: pitch of the kit as a factor, chance -> (samples,).


def kick(kit: float, rng: Generator) -> Sound:
    """Hit a bass drum: a sine that falls."""
    t = _times(0.3)
    turns = kit * (48 * t + 110 * 0.03 * (1 - np.exp(-t / 0.03)))
    skin: Sound = np.tanh(2 * np.sin(2 * np.pi * turns) * np.exp(-t / 0.11))
    return skin + 0.3 * np.exp(-t / 0.002)


def snare(kit: float, rng: Generator) -> Sound:
    """Hit a snare drum: its skin, and the rattle of wires."""
    t = _times(0.25)
    skin = np.sin(2 * np.pi * 190 * kit * t) + 0.6 * np.sin(2 * np.pi * 330 * kit * t)
    return 0.5 * skin * np.exp(-t / 0.04) + 0.35 * _noise(len(t), 1_000.0, 7_500.0, rng) * np.exp(-t / 0.07)


def hat(kit: float, rng: Generator) -> Sound:
    """Hit a closed hi-hat."""
    t = _times(0.12)
    return 0.25 * _noise(len(t), 5_500.0, 8_000.0, rng) * np.exp(-t / 0.025)


def ride(kit: float, rng: Generator) -> Sound:
    """Stroke a cymbal that rings."""
    t = _times(0.5)
    ping: Sound = np.sin(2 * np.pi * 3_150 * kit * t) * np.exp(-t / 0.08)
    return 0.12 * (_noise(len(t), 3_500.0, 8_000.0, rng) * np.exp(-t / 0.15) + ping)


def clap(kit: float, rng: Generator) -> Sound:
    """Clap many hands: three bursts."""
    t = _times(0.22)
    hands = 0.6 * np.exp(-t / 0.06)
    for late_s in (0.0, 0.011, 0.022):
        hands += np.exp(-np.maximum(t - late_s, 0) / 0.007) * (t >= late_s)
    return 0.35 * _noise(len(t), 900.0, 3_500.0, rng) * hands


def high_hand(kit: float, rng: Generator) -> Sound:
    """Strike a small hand drum near its edge."""
    t = _times(0.3)
    slap = 0.15 * _noise(len(t), 1_000.0, 4_000.0, rng) * np.exp(-t / 0.006)
    return np.sin(2 * np.pi * 320 * kit * t) * np.exp(-t / 0.07) + slap


def low_hand(kit: float, rng: Generator) -> Sound:
    """Strike a large hand drum and bend it up with the palm."""
    t = _times(0.45)
    turns = kit * (85 * t + 30 * np.maximum(t - 0.05, 0) ** 2 / 0.2)
    slap = 0.1 * _noise(len(t), 300.0, 2_000.0, rng) * np.exp(-t / 0.005)
    return np.sin(2 * np.pi * turns) * np.exp(-t / 0.15) + slap


Drum = Callable[[float, Generator], Sound]
GROOVES: dict[str, tuple[tuple[Drum, str], ...]] = {  # X is loud, x is soft, four signs a beat
    "rock": ((kick, "X.....x.X......."), (snare, "....X.......X..."), (hat, "X.x.X.x.")),
    "techno": ((kick, "X..."), (clap, "....X..."), (hat, "..X.")),
    "metal": ((kick, "X.X."), (snare, "....X..."), (ride, "X...")),
    "brushes": ((ride, "X...X.x."), (snare, "....x..."), (kick, "x...............")),
    "waltz": ((kick, "X..........."), (snare, "....x...x..."), (hat, "..x...x...x.")),
    "hand": ((low_hand, "X.....x.X..."), (high_hand, "..xX.xX...Xx.xX.")),
}


# From notes to samples.


def synthesise(piece: Piece) -> NDArray[np.float32]:
    """Play a piece.

    Args:
        piece: the plan.

    Returns:
        (samples,) at `SAMPLE_RATE`, within -1 to 1; the same for the same plan.
    """
    rng = np.random.default_rng(piece.seed)
    score = _Score(piece, rng)
    mix = np.zeros(int(piece.length_s * SAMPLE_RATE))
    for player in piece.players:
        mix += _scaled(_play(player, piece, score, rng), player.level_db)
    if piece.drums:
        line = np.zeros(len(mix))
        for drum, pattern in GROOVES[piece.drums]:
            stroke = drum(piece.studio.kit, rng)
            for note in score.strokes(pattern):
                _add(line, stroke, note)
        mix += _scaled(line, piece.drums_db)
    music = _scaled(_in_room(mix, piece.studio), 0.0)
    sound = _scaled(music + _scaled(rng.standard_normal(len(mix)), piece.studio.hiss_db), piece.level_db)
    above = np.maximum(np.abs(sound) - KNEE, 0.0)
    bent = np.minimum(np.abs(sound), KNEE) + (PEAK - KNEE) * np.tanh(above / (PEAK - KNEE))
    return np.copysign(bent, sound).astype(np.float32)


def _play(player: Player, piece: Piece, score: _Score, rng: Generator) -> Sound:
    """Play the part of a player; notes that are alike are made once."""
    line = np.zeros(int(piece.length_s * SAMPLE_RATE))
    tones: dict[tuple[int, float], Sound] = {}
    for note in score.notes(player):
        kind = (note.pitch, note.length_s)
        if kind not in tones:
            pitch_hz = 440.0 * 2 ** ((note.pitch - 69 + piece.studio.tuning_cents / 100) / 12)
            tones[kind] = INSTRUMENTS[player.instrument](pitch_hz, note.length_s, piece.studio.colour, rng)
        _add(line, tones[kind], note)
    return _amplified(line) if player.instrument == "electric guitar" else line


def _add(line: Sound, sound: Sound, note: Note) -> None:
    """Put a sound where its note is, as far as it is within the line."""
    start = round(note.start_s * SAMPLE_RATE)
    heard = sound[max(-start, 0) : max(len(line) - start, 0)]
    start = max(start, 0)
    line[start : start + len(heard)] += note.strength * heard


def _amplified(line: Sound) -> Sound:
    """Overdrive all notes of a guitar together, and play them through a speaker."""
    size = _size(len(line))
    hz = _hz(size)
    low_hz, high_hz = SPEAKER_HZ
    speaker = hz**2 / np.sqrt((hz**4 + low_hz**4) * (1 + (hz / high_hz) ** 8))
    return np.fft.irfft(np.fft.rfft(np.tanh(DRIVE * line), size) * speaker, size)[: len(line)]


def _scaled(sound: Sound, level_db: float) -> Sound:
    """Bring a sound to an RMS; silence stays."""
    rms = float(np.sqrt(np.mean(sound**2)))
    return sound * (10 ** (level_db / 20) / rms) if rms > 0 else sound


def _in_room(dry: Sound, studio: Studio) -> Sound:
    """Play a sound in a room, with the tilt of the mix."""
    t = _times(studio.room_s)
    room = np.random.default_rng(studio.room).standard_normal(len(t)) * 10 ** (-3 * t / studio.room_s)
    room *= studio.wet / np.sqrt(np.sum(room**2))
    room[0] += 1.0  # the sound itself
    size = _size(len(dry) + len(room))
    hz = _hz(size)
    tilt = np.maximum(hz, 50.0) ** (studio.tilt_db / (20 * np.log10(2)))
    # In single precision: these transforms are the longest by far.
    heard = np.fft.rfft(dry.astype(np.float32), size) * np.fft.rfft(room.astype(np.float32), size)
    return np.fft.irfft(heard * tilt, size)[: len(dry)]


def write(path: Path, piece: Piece) -> None:
    """Write a piece as 16-bit FLAC; the file is whole or not there.

    Args:
        path: the file; its folder must be there.
        piece: the plan.

    Raises:
        OSError: it cannot be written.
    """
    sound = synthesise(piece)
    try:
        with written_aside(path) as aside:
            soundfile.write(aside, sound, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    except soundfile.SoundFileError as error:
        raise OSError(str(error)) from error


def write_pieces(jobs: Iterable[tuple[Path, Piece]], n_processes: int) -> collections.abc.Generator[Path, None, None]:
    """Write many pieces.

    Args:
        jobs: the file and the plan of each.
        n_processes: that make sound; 1 is this one.

    Yields:
        The files as they are done.

    Raises:
        OSError: one cannot be written; those in work are still finished.
        WorkerError: a process ended by itself.
    """
    if n_processes == 1:
        for path, piece in jobs:
            write(path, piece)
            yield path
        return
    done: queue.SimpleQueue[Path | Exception | None] = queue.SimpleQueue()
    waiting = iter(jobs)
    lock, stopped = threading.Lock(), threading.Event()

    def serve() -> None:
        """Keep one process busy until nothing is left."""
        try:
            with _started() as process:
                while not stopped.is_set():
                    with lock:
                        job = next(waiting, None)
                    if job is None:
                        break
                    _have_written(process, *job)
                    done.put(job[0])
            done.put(None)
        except Exception as error:  # whoever waits must hear of it
            done.put(error)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(n_processes)]
    for thread in threads:
        thread.start()
    try:
        n_busy = n_processes
        while n_busy:
            answer = done.get()
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                n_busy -= 1
            else:
                yield answer
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _started() -> subprocess.Popen[str]:
    """Start a process that runs `main`, out of reach of Ctrl-C, which is for this one."""
    # -P and our own path: what lies in the folder that the user stands in is data, and no module to import.
    search_path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "taggram.datasets._synthesis"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": search_path},
        start_new_session=True,
    )


def _have_written(process: subprocess.Popen[str], path: Path, piece: Piece) -> None:
    """Have a process write a piece."""
    if process.stdin is None or process.stdout is None:
        raise WorkerError("a process that makes sound cannot be spoken to.")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{json.dumps(str(path))}\t{json.dumps(dataclasses.asdict(piece))}\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        with contextlib.suppress(BrokenPipeError):  # of what it did not take, and not where it is closed at last
            process.stdin.close()
        raise WorkerError(f"a process that makes sound ended by itself (code {process.wait()}).")
    if reason := json.loads(answer):
        raise OSError(reason)


def _piece_of(fields: dict[str, Any]) -> Piece:
    """Undo `dataclasses.asdict`."""
    players = tuple(Player(**player) for player in fields["players"])
    return Piece(**fields | {"players": players, "studio": Studio(**fields["studio"])})


def main() -> None:
    """Write one piece for each line on standard input, a path and a plan in JSON; answer "" or what went wrong."""
    for line in sys.stdin:
        path, _, plan = line.partition("\t")
        reason = ""
        try:
            write(Path(json.loads(path)), _piece_of(json.loads(plan)))
        except OSError as error:
            reason = str(error)
        sys.stdout.write(f"{json.dumps(reason)}\n")
        sys.stdout.flush()


def n_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
