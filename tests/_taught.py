"""Sounds to teach with, and a small network to teach on: untrained, so that no weights are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _networks import create, unsettled
from _sounds import RATE, encoded

LENGTH_S = 0.6


def sound(tag: str, place: int) -> np.ndarray:
    """A short sound: "hum" is low and steady, "beep" high and steady, "hiss" is noise; each a little different."""
    rng = np.random.default_rng([place, len(tag)])
    t = np.arange(round(LENGTH_S * RATE)) / RATE
    if tag == "hiss":
        return (0.2 * rng.standard_normal(len(t))).astype(np.float32)
    hz = {"hum": 110, "beep": 2_000}[tag] * 2 ** rng.uniform(-0.3, 0.3)
    return (rng.uniform(0.1, 0.9) * np.sin(2 * np.pi * hz * t) * np.exp(-t / rng.uniform(0.3, 2))).astype(np.float32)


def write_examples(folder: Path, n: int, tags: tuple[str, ...] = ("hum", "beep", "hiss"), first: int = 0) -> Path:
    """A folder with a folder for each tag, and n sounds in each."""
    for tag in tags:
        (folder / tag).mkdir(parents=True)
        for place in range(first, first + n):
            (folder / tag / f"{place}.wav").write_bytes(encoded(sound(tag, place)))
    return folder


def write_network(path: Path) -> Path:
    """A network in a file."""
    model = unsettled(create("vgg", n_tags=2))
    model.save(path)
    return path
