"""The golden outputs of the original networks, and the inputs that they are of, by their formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN = json.loads((Path(__file__).parent / "golden" / "musicnn.json").read_text(encoding="utf-8"))


def patch_a():
    frame, mel = np.meshgrid(np.arange(187), np.arange(96), indexing="ij")
    return (4 * (((frame * 96 + mel) * 1103515245 + 12345) % 2**31) / 2**31).astype(np.float32)


def patch_b():
    frame, mel = np.meshgrid(np.arange(187), np.arange(96), indexing="ij")
    return ((5 * (frame // 8) + 3 * mel + mel * mel // 7) % 32 / 8 * (96 - mel) / 96).astype(np.float32)


PATCHES = {"A": patch_a, "B": patch_b}


def audio():
    n = np.arange(112_000)
    s = n / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 110 * s) + 0.25 * np.sin(2 * np.pi * 440 * s)
    return (tone + 0.125 * np.sin(2 * np.pi * 1760 * s) * (n // 4000 % 2 == 0)).astype(np.float32)
