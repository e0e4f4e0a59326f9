"""A small data set to train on: tones and noise, whose tags are easy to hear."""

from __future__ import annotations

import csv

import numpy as np
import soundfile

RATE = 22_050
TAGS = ("low", "high", "noisy")
SMALL = ("options.kernel=3", "options.depth=3", "options.n_samples=2187")  # a samplecnn that is quick to train
QUICK = (*SMALL, "fit.batch_size=8", "fit.lr=0.003")


def sound_of(tags, length=6000, seed=0):
    """(samples,) with a tone or noise for each tag."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / RATE
    parts = {"low": 0.3 * np.sin(2 * np.pi * 300 * t), "high": 0.3 * np.sin(2 * np.pi * 3000 * t)}
    parts["noisy"] = 0.1 * rng.standard_normal(length)
    return sum((parts[tag] for tag in tags), 0.001 * rng.standard_normal(length)).astype(np.float32)


def write_csv(folder, rows, columns=("path", "split", "tags")):
    """Write clips.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def write_set(folder, n_clips=72, seed=0):
    """Write a csv data set with sound: two thirds train, a sixth valid, a sixth test."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n_clips):
        tags = [tag for tag in TAGS if rng.random() < 0.5]
        path = f"{number:03d}.wav"
        soundfile.write(folder / path, sound_of(tags, int(rng.integers(1500, 9000)), number), RATE)
        rows.append((path, ("train", "train", "train", "train", "valid", "test")[number % 6], "|".join(tags)))
    write_csv(folder, rows)
    return folder


class MadeSounds:
    """Clips of noise in memory, of such lengths in samples."""

    def __init__(self, *lengths, sample_rate=RATE, seed=0):
        self.sample_rate = sample_rate
        random = np.random.default_rng(seed)
        self.clips = [0.1 * random.standard_normal(length).astype(np.float32) for length in lengths]
        self.n_read = 0

    def __len__(self):
        return len(self.clips)

    def whole(self, clip):
        self.n_read += 1
        return self.clips[clip]

    def content(self):
        return str(hash(tuple(clip.tobytes() for clip in self.clips)))
