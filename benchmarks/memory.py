"""Whether a long sound needs more memory than a short one, and gets the same scores.

    python benchmarks/memory.py [--long-s 10800] [--short-s 180] [--model musicnn.mtt]

Two files of the same sound are written block by block, the longer one going on where the shorter one ends. Each is
tagged in a fresh process with one thread, as in a worker, whose peak of resident memory is taken. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from _sound import demo_song

from taggram._processes import ONE_THREAD
from taggram.apps.bench import CLIP_SAMPLE_RATE

MOST_MORE_MB = 300.0
MOST_DIFFERENCE = 1e-5  # of a score
SAMPLE_RATE = CLIP_SAMPLE_RATE // 2
TAG = """
import sys, numpy
from taggram._processes import peak_mb
from taggram.tagger import Tagger
path, out, model = sys.argv[1:]
numpy.save(out, Tagger(model, device="cpu").tag(path).scores)
print(peak_mb())
"""


def main() -> None:
    """Write both files, tag them, and compare."""
    parser = argparse.ArgumentParser(description="Tag a long and a short sound, and compare memory and scores.")
    parser.add_argument("--long-s", type=float, default=3 * 3600.0, metavar="S", help="default: 10800, three hours")
    parser.add_argument("--short-s", type=float, default=180.0, metavar="S", help="default: 180, three minutes")
    parser.add_argument("--model", default="musicnn.mtt")
    args = parser.parse_args()
    peaks_mb, scores = [], []
    with tempfile.TemporaryDirectory() as folder:
        for duration_s in (args.short_s, args.long_s):
            path, out = Path(folder) / f"{duration_s:.0f}s.flac", Path(folder) / "scores.npy"
            write_sound(path, duration_s)
            peaks_mb.append(tag(path, out, args.model))
            scores.append(np.load(out))
            print(f"{duration_s:8.0f} s of sound: {peaks_mb[-1]:.0f} MB at the peak, {len(scores[-1])} patches")
    more_mb = peaks_mb[1] - peaks_mb[0]
    difference = float(np.abs(scores[1][: len(scores[0])] - scores[0]).max())
    print(f"the long one takes {more_mb:.0f} MB more; promised: under {MOST_MORE_MB:g}")
    print(f"scores of the shared part differ by {difference:.1e}; promised: at most {MOST_DIFFERENCE:.0e}")
    sys.exit(more_mb >= MOST_MORE_MB or not difference <= MOST_DIFFERENCE)


def write_sound(path: Path, duration_s: float) -> None:
    """Write the song over and over, as 16-bit mono FLAC, a whole song at a time.

    Args:
        path: where to.
        duration_s: length in seconds.
    """
    song = demo_song()[::2].mean(axis=1)  # what folds down from above the new rate does no harm here
    n_left = round(duration_s * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, channels=1, subtype="PCM_16") as file:
        while n_left > 0:
            file.write(song[:n_left])
            n_left -= min(n_left, len(song))


def tag(path: Path, out: Path, model: str) -> float:
    """Tag a file in a fresh process.

    Args:
        path: the file.
        out: where its scores are written, as npy.
        model: "network.weights".

    Returns:
        Peak of the process's resident memory, in MB of 10^6 bytes.
    """
    # The kernel's own peak: that of getrusage would begin with the memory of the process that starts this one.
    command = [sys.executable, "-c", TAG, str(path), str(out), model]
    told = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, check=True)
    return float(told.stdout)


if __name__ == "__main__":
    main()
