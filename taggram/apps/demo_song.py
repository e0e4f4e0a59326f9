"""Compose a short piece of music out of nothing but numpy, as something to tag.

    python -m taggram.apps.demo_song OUT.wav

Five sections that differ on purpose, so that the scores of a tagger change over time: plucked strings alone, a band
with drums, a quiet flute over strings, a loud techno part, and an ending. The same seed gives the same samples.
"""

# ruff: noqa: ARG001  # all instruments are called alike, also those that take no heed of pitch, length or chance

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from taggram._files import written_aside

SAMPLE_RATE = 44_100
PEAK = 0.89  # -1 dB, so that a lossy codec has room to overshoot
TAIL_S = 1.0  # the last chord and the room ring out
RING_S = 1.5  # no note is heard for longer after its end
REVERB_S = 1.7
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11, "#": 1, "b": -1}

Sound = NDArray[np.float64]  # (samples,), about -1 to 1
Instrument = Callable[[float, float, Generator], Sound]  # pitch in Hz, length in s, chance


# Building blocks.


def seconds(length_s: float) -> Sound:
    """Give the time of every sample of a note, in s."""
    return np.arange(int(length_s * SAMPLE_RATE)) / SAMPLE_RATE


def envelope(t: Sound, length_s: float, attack_s: float, release_s: float) -> Sound:
    """Swell, hold and fade: a gain, 0 to 1, rounded at the corners."""
    gain: Sound = np.minimum(t / attack_s, 1.0) * np.clip(1.0 - (t - length_s) / release_s, 0.0, 1.0)
    return gain * gain * (3.0 - 2.0 * gain)


def wave(hz: float | Sound, t: Sound, partials: Sound, phase: float = 0.0) -> Sound:
    """Play one period, built from its partials, at a pitch that may bend: a table, read at the running phase."""
    spectrum = np.zeros(2049, dtype=complex)
    spectrum[1 : len(partials) + 1] = -0.5j * partials
    table = np.fft.irfft(spectrum, norm="forward")
    turns = hz * t if isinstance(hz, float) else np.cumsum(hz) / SAMPLE_RATE
    return table[((turns + phase) * len(table)).astype(np.int64) % len(table)]


def fft_size(samples: int) -> int:
    """Round up to a power of two: an unlucky length takes a transform many times as long."""
    return 1 << (samples - 1).bit_length()


def partials_below(hz: float, top_hz: float) -> Sound:
    """Number the partials of a pitch up to some frequency, so that a tone holds none that would fold back."""
    return np.arange(1.0, max(int(top_hz / hz), 1) + 1)


def bandpass(sound: Sound, low_hz: float, high_hz: float) -> Sound:
    """Keep a band, with gentle second-order skirts and no shift in time."""
    size = fft_size(len(sound))
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    skirts = f * f / np.sqrt((f**4 + low_hz**4) * (1 + (f / high_hz) ** 4))
    return np.fft.irfft(np.fft.rfft(sound, size) * skirts, size)[: len(sound)]


# Instruments with a pitch.


def plucked(hz: float, length_s: float, rng: Generator) -> Sound:
    """A guitar or harp string: Karplus and Strong's loop, a burst of noise in a delay line that dulls and dies away.

    The loop is solved in the frequency domain, which is quick and allows a delay that is no whole number of samples.
    """
    t = seconds(length_s + 1.3)
    size = fft_size(len(t) * 3 // 2)  # longer than the note, as what still rings at the end wraps around to the start
    w = -2j * np.pi * np.fft.rfftfreq(size)
    z = np.exp(w)  # a delay of one sample
    ring_s = 3.2 * (220.0 / hz) ** 0.4  # to -60 dB; high strings die sooner
    dull = 0.35
    loop = np.exp(w * (SAMPLE_RATE / hz - dull)) * (1 - dull + dull * z) * 10 ** (-3.0 / (ring_s * hz))
    burst = rng.uniform(-1.0, 1.0, int(SAMPLE_RATE / hz))
    fingertip = 1 - 0.6 * z  # softens the burst
    sound = np.fft.irfft(np.fft.rfft(burst - burst.mean(), size) / (fingertip * (1 - loop)), size)[: len(t)]
    return sound * (0.9 / float(np.abs(sound).max())) * envelope(t, length_s, 0.002, 1.3)


def bowed(hz: float, length_s: float, rng: Generator) -> Sound:
    """A small string section: three players, a saw through the body of a violin, each with a vibrato of their own."""
    t = seconds(length_s + 0.3)
    k = partials_below(hz, 9000.0)
    body = 0.35 + np.exp(-(((k * hz - 480) / 260) ** 2)) + 0.8 * np.exp(-(((k * hz - 2400) / 1100) ** 2))
    sound = np.zeros(len(t))
    for detune in (-0.0025, 0.0, 0.0028):
        wobble = 0.005 * np.minimum(t / 0.6, 1.0) * np.sin(2 * np.pi * (rng.uniform(5.0, 6.0) * t + rng.random()))
        sound += wave(hz * (1 + detune + wobble), t, body / k, rng.random())
    return 0.22 * sound * envelope(t, length_s, min(0.16, length_s / 2), 0.3)


def blown(hz: float, length_s: float, rng: Generator) -> Sound:
    """A flute: few partials, breath around the pitch, a vibrato that sets in late."""
    t = seconds(length_s + 0.12)
    vibrato = np.clip((t - 0.25) / 0.5, 0.0, 1.0) * np.sin(2 * np.pi * 5.1 * t)
    scoop = -0.012 * np.exp(-t / 0.035)
    tone = wave(hz * (1 + 0.004 * vibrato + scoop), t, np.array([1.0, 0.32, 0.16, 0.05, 0.02]))
    breath = bandpass(rng.standard_normal(len(t)), hz, 2.5 * hz)
    chiff = 1 + 2.5 * np.exp(-t / 0.05)
    return (0.55 * tone * (1 + 0.14 * vibrato) + 0.05 * breath * chiff) * envelope(t, length_s, 0.07, 0.12)


def struck(hz: float, length_s: float, rng: Generator) -> Sound:
    """A piano: stretched partials, high ones dying first, two strings a hair apart, the knock of the hammer."""
    t = seconds(length_s + 0.35)
    sound = np.zeros(len(t))
    fading = np.exp(-t * (hz / 220) ** 0.4)
    decay, faster = fading**0.7, fading**0.35
    for k in partials_below(hz, 5000.0)[:9]:
        decay *= faster
        partial_hz = hz * k * (1 + 0.0004 * k * k) ** 0.5
        sound += np.sin(2 * np.pi * partial_hz * t) * decay / k**1.25
    beat = 0.75 + 0.25 * np.cos(2 * np.pi * 0.6 * t)
    knock = 0.12 * bandpass(rng.standard_normal(len(t)), 120.0, 900.0) * np.exp(-t / 0.012)
    return (0.5 * sound * beat + knock) * envelope(t, length_s, 0.003, 0.35)


def bass(hz: float, length_s: float, rng: Generator) -> Sound:
    """A bass guitar: a bright start that settles to a round tone."""
    t = seconds(length_s + 0.08)
    k = np.arange(1.0, 16.0)
    bright = wave(hz, t, np.abs(np.sin(k * np.pi * 0.22)) / k)
    round_tone = wave(hz, t, np.array([1.0, 0.4, 0.12]))
    sound = 0.55 * round_tone * np.exp(-t / 1.2) + 0.5 * bright * np.exp(-t / 0.16)
    return sound * envelope(t, length_s, 0.006, 0.08)


def synth(hz: float, length_s: float, rng: Generator) -> Sound:
    """A stack of five detuned saws."""
    t = seconds(length_s + 0.15)
    k = partials_below(hz, 12_000.0)
    saws = sum(wave(hz * (1 + cents / 1731), t, 1 / k, rng.random()) for cents in (-17, -7, 0, 8, 15))
    return 0.17 * np.asarray(saws) * envelope(t, length_s, 0.004, 0.15)


def acid(hz: float, length_s: float, rng: Generator) -> Sound:
    """A synthesizer bass whose filter closes on every note: a bright and ringing saw fades into a dark one."""
    t = seconds(length_s + 0.03)
    k = partials_below(hz, 6000.0)
    ringing = wave(hz, t, (1 + 5 * np.exp(-(((k * hz - 1300) / 350) ** 2))) / k)
    dark = wave(hz, t, 1 / (k * (1 + (k * hz / 220) ** 2)))
    closing = np.exp(-t / 0.07)
    return (0.25 * ringing * closing + 0.8 * dark * (1 - 0.5 * closing)) * envelope(t, length_s, 0.003, 0.03)


# Drums: the pitch is not heeded, and the length only where it says so.


def kick(hz: float, length_s: float, rng: Generator) -> Sound:
    """A bass drum: a sine that drops from 190 Hz to 48 Hz."""
    t = seconds(0.4)
    drop = wave(48 + 142 * np.exp(-t / 0.028), t, np.ones(1))
    return np.tanh(1.6 * drop * np.exp(-t / 0.13)) * envelope(t, 0.3, 0.001, 0.1)


def snare(hz: float, length_s: float, rng: Generator) -> Sound:
    """A snare drum: the tone of the skin and the rattle of the wires."""
    t = seconds(0.3)
    skin = (np.sin(2 * np.pi * 185 * t) + 0.6 * np.sin(2 * np.pi * 331 * t)) * np.exp(-t / 0.05)
    wires = bandpass(rng.standard_normal(len(t)), 1200.0, 9000.0) * np.exp(-t / 0.075)
    return 0.45 * skin + 0.4 * wires * envelope(t, 0.2, 0.001, 0.1)


def hat(hz: float, length_s: float, rng: Generator) -> Sound:
    """A hi-hat: hiss, short when closed; a long note is an open one."""
    t = seconds(0.3)
    hiss = bandpass(rng.standard_normal(len(t)), 7000.0, 15_000.0)
    return 0.3 * hiss * np.exp(-t / (0.03 if length_s < 0.2 else 0.1)) * envelope(t, 0.2, 0.0007, 0.1)


def clap(hz: float, length_s: float, rng: Generator) -> Sound:
    """Many hands: three bursts of noise and a short room."""
    t = seconds(0.25)
    hands = sum(np.exp(-np.maximum(t - late, 0) / 0.006) * (t >= late) for late in (0.0, 0.011, 0.023))
    room = 0.7 * np.exp(-t / 0.06) * (t > 0.023)
    return 0.55 * bandpass(rng.standard_normal(len(t)), 800.0, 3500.0) * (hands + room)


# The score. A part steps through its words: notes (`A4`, chords as `A3+C4+E4`, `x` and `X` for soft and loud strokes of
# a drum), `-` holds the note before, `.` rests, `|` is there for the eye.


@dataclass(frozen=True)
class Part:
    """What one instrument plays in a section."""

    instrument: Instrument
    gain: float
    pan: float  # -1 left, 1 right
    wet: float  # how much goes to the room
    step: float  # length of a word in beats
    words: str


@dataclass(frozen=True)
class Section:
    """A stretch of music in one tempo."""

    bpm: float
    beats: int
    gain: float
    parts: tuple[Part, ...]


INTRO = Section(bpm=104, beats=16, gain=0.8, parts=(
    Part(plucked, 0.8, -0.25, 0.25, 0.5, "A2 E3 B3 C4 E4 C4 B3 E3 | F2 C3 A3 C4 E4 C4 A3 C3 |"
                                         "C3 G3 C4 D4 G4 D4 C4 G3 | G2 D3 A3 B3 D4 G4 D4 B3"),
    Part(plucked, 0.9, 0.3, 0.35, 0.5, "E5 - - - D5 - C5 - | A4 - - - C5 - B4 - |"
                                       "C5 - - - D5 - E5 - | D5 - - - G5 - B5 -"),
))  # fmt: skip
BAND = Section(bpm=104, beats=16, gain=0.62, parts=(
    Part(bowed, 0.75, 0.25, 0.35, 0.5, "E5 - - D5 E5 - G5 - | D5 - - B4 D5 - G4 - |"
                                       "C5 - - B4 C5 - E5 - | A4 - G4 A4 B4 - D5 -"),
    Part(bowed, 0.4, -0.35, 0.35, 4, "G3+E4 | G3+D4 | A3+E4 | A3+C4"),
    Part(struck, 0.42, -0.3, 0.2, 0.5, "C4+E4+G4 . C4+E4+G4 - . C4+E4+G4 - . | B3+D4+G4 . B3+D4+G4 - . B3+D4+G4 - . |"
                                       "C4+E4+A4 . C4+E4+A4 - . C4+E4+A4 - . | C4+F4+A4 . C4+F4+A4 - . B3+D4+G4 - ."),
    Part(plucked, 0.5, 0.5, 0.2, 0.5, "C3 G3 E4 G3 C4 G3 E4 G3 | G2 D3 B3 D3 G3 D3 B3 D3 | A2 E3 C4 E3 A3 E3 C4 E3 |"
                                      "F2 C3 A3 C3 G2 D3 B3 D3"),
    Part(bass, 0.85, 0.0, 0.03, 0.5, "C2 - . C2 C2 - G2 - | G1 - . G1 G1 - D2 - |"
                                     "A1 - . A1 A1 - E2 - | F1 - . F1 G1 - B1 -"),
    Part(kick, 0.9, 0.0, 0.03, 0.5, "X . . x X . . . |" * 4),
    Part(snare, 0.75, 0.05, 0.15, 0.25, ". . . . X . . . . . . . X . . . |" * 3 + ". . . . X . . . . . x . X x X X"),
    Part(hat, 0.6, 0.3, 0.08, 0.5, "X x X x X x X x |" * 4),
))  # fmt: skip
QUIET = Section(bpm=96, beats=16, gain=0.1, parts=(
    Part(blown, 1.0, 0.1, 0.6, 0.5, "E5 - - - A5 - G5 E5 | F5 - E5 C5 A4 - - - |"
                                    "D5 - - E5 F5 - A5 - | B5 - - - G#5 - - ."),
    Part(bowed, 0.3, -0.4, 0.5, 4, "A3+E4 | A3+C4 | A3+D4 | G#3+B3"),
    Part(bowed, 0.25, 0.4, 0.5, 4, "A2+C4 | F2+F4 | D3+F4 | E3+E4"),
))  # fmt: skip
TECHNO = Section(bpm=132, beats=24, gain=0.9, parts=(
    Part(kick, 1.0, 0.0, 0.02, 1, "X " * 24),
    Part(clap, 0.6, 0.05, 0.2, 1, ". X " * 12),
    Part(hat, 0.75, -0.2, 0.08, 0.25, "x x X - " * 24),
    Part(acid, 0.75, 0.0, 0.03, 0.25, "A1 A1 A2 A1 A1 C2 A1 A2 A1 A1 G1 A1 A2 A1 E2 G2 |" * 2
                                      + "F1 F1 F2 F1 F1 A1 F1 F2 F1 F1 C2 F1 F2 F1 C2 E2 |"
                                      + "G1 G1 G2 G1 G1 B1 G1 G2 G1 G1 D2 G1 G2 G1 D2 F2 |"
                                      + "A1 A1 A2 A1 A1 C2 A1 A2 A1 A1 G1 A1 A2 A1 E2 G2 |" * 2),
    Part(synth, 0.42, -0.3, 0.3, 0.25, "A3+C4+E4 - . A3+C4+E4 - . A3+C4+E4 - . A3+C4+E4 . . A3+C4+E4 - . . |" * 2
                                       + "A3+C4+F4 - . A3+C4+F4 - . A3+C4+F4 - . A3+C4+F4 . . A3+C4+F4 - . . |"
                                       + "B3+D4+G4 - . B3+D4+G4 - . B3+D4+G4 - . B3+D4+G4 . . B3+D4+G4 - . . |"
                                       + "A3+C4+E4 - . A3+C4+E4 - . A3+C4+E4 - . A3+C4+E4 . . A3+C4+E4 - . . |" * 2),
    Part(synth, 0.3, 0.4, 0.35, 0.25, ". " * 32 + "A5 C5 F5 A4 C5 F5 A4 C5 " * 2 + "B5 D5 G5 B4 D5 G5 B4 D5 " * 2
                                      + "A5 C5 E5 A4 C5 E5 A4 C5 " * 4),
))  # fmt: skip
ENDING = Section(bpm=88, beats=6, gain=0.6, parts=(
    Part(plucked, 0.7, 0.3, 0.4, 0.25, "F3 A3 C4 F4 A4 C5 F5 A5 G3 B3 D4 G4 B4 D5 G5 B5 C6"),
    Part(struck, 0.5, -0.2, 0.35, 2, "F2+C4+F4+A4 G2+B3+D4+G4 C2+G3+C4+E4"),
    Part(bowed, 0.5, -0.1, 0.45, 2, "A3+F4+C5 G3+D4+B4 G3+E4+C5"),
))  # fmt: skip
SONG = (INTRO, BAND, QUIET, TECHNO, ENDING)


# From score to sound.


def pitch_hz(name: str) -> float:
    """Turn `A4` into 440.0, and a drum stroke into 0."""
    if name in "xX":
        return 0.0
    octave = int(name[-1])
    return float(440.0 * 2 ** ((sum(SEMITONES[c] for c in name[:-1]) - 9) / 12 + octave - 4))


def play(part: Part, section: Section, start_s: float, dry: Sound, wet: Sound, rng: Generator) -> None:
    """Add the notes of a part to the mix, a little uneven in time and strength as hands are.

    Args:
        part: what to play.
        section: the section it is played in, for the tempo and the gain.
        start_s: where the section starts in the song, in s.
        dry: (2, samples), the mix, added to in place.
        wet: (2, samples), what the room will hear, added to in place.
        rng: chance.
    """
    step_s = part.step * 60 / section.bpm
    line = seconds(section.beats * 60 / section.bpm + RING_S) * 0
    tones: dict[tuple[str, int], Sound] = {}
    place = 0
    for word, holds in re.findall(r"([^\s|.-]\S*|\.)((?:[\s|]+-)*)", part.words):
        steps = 1 + holds.count("-")
        for name in word.split("+") if word != "." else ():
            at = int((place * step_s + rng.uniform(0.0, 0.008)) * SAMPLE_RATE)
            strength = rng.uniform(0.88, 1.0) * (0.55 if name == "x" else 1.0)
            if (name, steps) not in tones:
                tones[name, steps] = part.instrument(pitch_hz(name), steps * step_s, rng)
            sound = tones[name, steps][: len(line) - at]
            line[at : at + len(sound)] += strength * sound
        place += steps
    angle = (part.pan + 1) * np.pi / 4
    start = int(start_s * SAMPLE_RATE)
    line = line[: dry.shape[1] - start] * part.gain * section.gain
    stereo = np.array([[np.cos(angle)], [np.sin(angle)]]) * line
    dry[:, start : start + len(line)] += stereo
    wet[:, start : start + len(line)] += part.wet * stereo


def reverb(wet: Sound, rng: Generator) -> Sound:
    """Put (2, samples) into a room: noise that fades by 60 dB in `REVERB_S`, another one on each side."""
    t = seconds(REVERB_S)
    fade = 10 ** (-3 * t / REVERB_S) * np.minimum(t / 0.02, 1.0)
    size = fft_size(wet.shape[1] + len(t))
    sides = []
    for heard in wet:
        room = bandpass(rng.standard_normal(len(t)) * fade, 200.0, 4500.0)
        room /= np.sqrt(np.sum(room**2))
        # Single precision halves the time of these long transforms.
        echo = np.fft.rfft(heard.astype(np.float32), size) * np.fft.rfft(room.astype(np.float32), size)
        sides.append(np.fft.irfft(echo, size)[: len(heard)])
    return np.stack(sides)


def compose(seed: int = 0) -> NDArray[np.float32]:
    """Play the whole song.

    Args:
        seed: what the unevenness of the hands and the noises are drawn from.

    Returns:
        (samples, 2) at `SAMPLE_RATE`, left and right, peak at `PEAK`.
    """
    rng = np.random.default_rng(seed)
    starts_s = np.cumsum([0.2, *(section.beats * 60 / section.bpm for section in SONG)])
    dry = np.zeros((2, int((starts_s[-1] + TAIL_S) * SAMPLE_RATE)))
    wet = np.zeros_like(dry)
    for section, start_s in zip(SONG, starts_s, strict=False):
        for part in section.parts:
            play(part, section, float(start_s), dry, wet, rng)
    mix = np.tanh(0.9 * (dry + reverb(wet, rng)))  # rounds off the peaks of the drums
    mix[:, -SAMPLE_RATE // 2 :] *= np.linspace(1.0, 0.0, SAMPLE_RATE // 2)
    return np.ascontiguousarray(mix.T * (PEAK / np.abs(mix).max()), dtype=np.float32)


def encode(samples: NDArray[np.float32], kind: str) -> bytes:
    """Encode the song with 16 bits.

    Args:
        samples: (samples, 2), -1 to 1, at `SAMPLE_RATE`.
        kind: the format, "WAV" or "FLAC".

    Returns:
        The bytes of the file.
    """
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, SAMPLE_RATE, format=kind, subtype="PCM_16")
    return encoded.getvalue()


def main() -> None:
    """Compose, write, and say so in one line."""
    parser = argparse.ArgumentParser(description="Compose a short piece of music and write it as a 16-bit stereo wav.")
    parser.add_argument("out", type=Path, metavar="OUT.wav")
    parser.add_argument("--seed", type=int, default=0, help="another seed plays it a little differently")
    args = parser.parse_args()
    samples = compose(args.seed)
    try:
        with written_aside(args.out) as aside:
            aside.write_bytes(encode(samples, "WAV"))
    except OSError as error:
        sys.exit(f"{args.out}: {error.strerror}")
    print(f"{args.out}: {len(samples) / SAMPLE_RATE:.1f} s of music, stereo, {SAMPLE_RATE} Hz")


if __name__ == "__main__":
    main()
