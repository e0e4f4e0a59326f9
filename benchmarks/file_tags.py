"""How long it takes to write tags into files, beside decoding them: CPU seconds of one thread.

python benchmarks/file_tags.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from taggram.apps.file_tags import write_tags
from taggram.audio import read_sound

SAMPLE_RATE = 44_100
LENGTH_S = 240
N_ROUNDS = 5


def main() -> None:
    """Measure each format; the least of the rounds is printed."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((LENGTH_S * SAMPLE_RATE, 2))
    print(f"CPU seconds of one thread, {LENGTH_S} s of noise in stereo at {SAMPLE_RATE} Hz")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("mp3", "flac", "wav", "aiff"):
            path = Path(folder, f"noise.{kind}")
            soundfile.write(path, noise, SAMPLE_RATE)
            decode_s = _least_s(lambda _, path=path: read_sound(path))  # type: ignore[misc]
            write_s = _least_s(lambda index, path=path: write_tags(path, [f"tag {index}", "drums"]))  # type: ignore[misc]
            print(f"{kind:5} {path.stat().st_size / 2**20:5.1f} MB  decode {decode_s:.2f}  write tags {write_s:.2f}")


def _least_s(do: Callable[[int], object]) -> float:
    times_s = []
    for index in range(N_ROUNDS):
        begun = time.process_time()
        do(index)
        times_s.append(time.process_time() - begun)
    return min(times_s)


if __name__ == "__main__":
    main()
