"""Made-up sound of four rhythms by four timbres, whose label may be either: `python tests/_made_rhythms.py FOLDER`.

A bar has four hits whatever the rhythm, so that nothing but their order in time tells rhythms apart; the hits of all
timbres are as loud and as short, so that nothing but their spectrum tells timbres apart. Phase, tempo and level of a
clip hang on neither.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
BAR_S = 1.2
RHYTHMS = {  # when the hits of a bar come, in bars
    "straight": (0, 0.25, 0.5, 0.75),
    "swing": (0, 0.34, 0.5, 0.84),
    "gallop": (0, 0.125, 0.5, 0.625),
    "roll": (0, 0.125, 0.25, 0.375),
}
TIMBRES = {  # level in each quarter of the mel axis: loud or 20 dB below
    "even": (1, 0.1, 1, 0.1),
    "odd": (0.1, 1, 0.1, 1),
    "dark": (1, 1, 0.1, 0.1),
    "bright": (0.1, 0.1, 1, 1),
}
HIT = 1024  # samples


def hit_of(levels):
    """(samples,) an impulse with a spectrum of four steps."""
    hz = np.fft.rfftfreq(HIT, 1 / RATE)
    mel = np.log1p(hz / 700) / np.log1p(RATE / 2 / 700)
    spectrum = np.interp(mel, (np.arange(4) + 0.5) / 4, levels)
    return np.roll(np.fft.irfft(spectrum), HIT // 2) * np.hanning(HIT)


def clip_of(rhythm, timbre, rng, length_s=8.0):
    """(samples,) of one clip."""
    samples = 1e-4 * rng.standard_normal(round(length_s * RATE))
    hit, bar_s = hit_of(TIMBRES[timbre]), BAR_S * rng.uniform(0.97, 1.03)
    first_s, level = -rng.uniform(0, bar_s), 0.4 * 10 ** rng.uniform(-0.3, 0)
    for bar, place in itertools.product(range(int(length_s / bar_s) + 2), RHYTHMS[rhythm]):
        start = round((first_s + (bar + place) * bar_s) * RATE)
        if 0 <= start < len(samples) - HIT:
            samples[start : start + HIT] += level * hit
    return samples.astype(np.float32)


def write_rhythms(folder, n_each=3, seed=0, length_s=8.0):
    """Write clips.csv with the columns rhythm and timbre, and the sound."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for rhythm, timbre, number in itertools.product(RHYTHMS, TIMBRES, range(n_each)):
        path = f"{rhythm}-{timbre}-{number}.wav"
        soundfile.write(folder / path, clip_of(rhythm, timbre, rng, length_s), RATE)
        part = ("train", "valid", "test")[number % 3]
        rows.append((path, part, f"{rhythm}|{timbre}", rhythm, timbre))
    with (folder / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("path", "split", "tags", "rhythm", "timbre"), *rows])
    return folder


if __name__ == "__main__":
    write_rhythms(Path(sys.argv[1]))
