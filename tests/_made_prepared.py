"""Prepared data in memory, and a network that is quick to train on it."""

from __future__ import annotations

import numpy as np
import torch

import taggram

RATE = 22_050
TAGS = ("low", "high", "noisy")


class MadeData:
    """Tones and noise, as prepared data gives them: each tag is easy to hear."""

    def __init__(self, n_tracks=60, length=6000, seed=0, *, rate=RATE, task="several"):
        rng = np.random.default_rng(seed)
        self.tags, self.task, self.sample_rate = TAGS, task, rate
        self.card = {
            "name": "made", "split": "all", "split_sha256": "0", "tags": list(TAGS), "task": task,
            "sample_rate": rate,
        }  # fmt: skip
        self._labels = (rng.random((n_tracks, 3)) < 0.5).astype(np.float32)
        if task == "one":
            self._labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=n_tracks)]
        t = np.arange(length) / rate
        low, high = np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 3000 * t)
        self._sounds = [
            (0.3 * a * low + 0.3 * b * high + 0.1 * c * rng.standard_normal(length)).astype(np.float32)
            for a, b, c in self._labels
        ]
        self._parts = np.array(["train", "train", "valid"] * n_tracks)[:n_tracks]

    def index(self, part):
        return np.flatnonzero(self._parts == part)

    def labels(self, rows):
        return self._labels[rows]

    def n_samples(self, row):
        return len(self._sounds[row])

    def whole(self, row):
        return self._sounds[row]

    def crop(self, row, start, n_samples):
        return self._sounds[row][start : start + n_samples]


def network(seed=0):
    torch.manual_seed(seed)
    return taggram.create_model("samplecnn", kernel=3, depth=3, n_samples=2187, n_tags=3)
