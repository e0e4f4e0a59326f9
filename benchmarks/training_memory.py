"""Whether training on much prepared data needs more memory than training on little.

    python benchmarks/training_memory.py [--small-gb 1] [--large-gb 8] [--steps 40] [--rounds 3] [--folder DIR]

Noise is prepared as overlapping clips of 30 s, which fill an Arrow file of about 1 GB, and again without the few clips
for validation; the latter file is copied as often as wanted. A small network is trained with random crops out of all of
it and validated on the few clips, each time in a fresh process with one thread, whose peak of resident memory is taken.
The two sizes take turns. Needs the room for both on the disk; Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from taggram._processes import ONE_THREAD
from taggram.apps.bench import Spread
from taggram.datasets import open_dataset
from taggram.learning._reading import read_card
from taggram.learning.prepared import prepare

MOST_MORE_MB = 100.0
SAMPLE_RATE = 16_000
CLIP_S = 30.0
HOP_S = 0.5  # between the starts of clips
FILE_BYTES = 10**9
CLIPS_PER_FILE = round(FILE_BYTES / (CLIP_S * SAMPLE_RATE * 2))
N_VALID = 4
TAGS = ("a", "b", "c")
SPARE_BYTES = 4 * 10**9  # that the disk should have beyond what is written
TRAIN = """
import logging, pathlib, sys, warnings
import taggram, torch
from lightning.pytorch.callbacks import Callback
from taggram._processes import peak_mb
from taggram.learning.config import FitConfig
from taggram.learning.fit import fit
from taggram.learning.prepared import PreparedData
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
folder, out, n_steps = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
class Stop(Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= n_steps
data = PreparedData(folder)
model = taggram.create_model("dieleman", n_tags=len(data.tags))
config = FitConfig(batch_size=16, max_epochs=100)
fit(model, data, out, config, device="cpu", callbacks=[Stop()])
print(len(data), peak_mb())
"""


def main() -> None:
    """Train on both, and compare."""
    args = parse_args()
    peaks_mb: dict[int, list[float]] = {args.small_gb: [], args.large_gb: []}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        need = round((args.small_gb + args.large_gb + 2) * 1e9) + SPARE_BYTES
        if shutil.disk_usage(folder).free < need:
            sys.exit(f"the disk of {folder} has less than {need / 1e9:.0f} GB free; name another with --folder")
        first, further = (prepare_noise(Path(folder), n_valid) for n_valid in (N_VALID, 0))
        folders = {n_files: joined(first, further, n_files) for n_files in peaks_mb}
        for index in range(args.rounds):
            for n_files, data in folders.items():
                n_tracks, peak_mb = train(data, Path(folder) / f"run {n_files} {index}", args.steps)
                print(f"{n_files} GB, {n_tracks:,} tracks: {peak_mb:.0f} MB at the peak", flush=True)
                peaks_mb[n_files].append(peak_mb)
    few, many = map(Spread.of, peaks_mb.values())
    print(f"{args.steps} steps, median (least .. most): {few:.0f} MB with {args.small_gb} GB, {many:.0f} MB with more")
    more_mb = many.median - few.median
    print(f"the larger one takes {more_mb:.0f} MB more; promised: under {MOST_MORE_MB:g}")
    sys.exit(more_mb >= MOST_MORE_MB)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train on little and on much prepared data, and compare memory.")
    parser.add_argument("--small-gb", type=int, default=1, metavar="GB", help="default: 1")
    parser.add_argument("--large-gb", type=int, default=8, metavar="GB", help="default: 8")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="steps of training (default: 40)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="trainings with each (default: 3)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data is written (default: the system's)")
    return parser.parse_args()


def prepare_noise(folder: Path, n_valid: int) -> Path:
    """Prepare clips out of one file of noise, enough for one full Arrow file.

    Args:
        folder: where to.
        n_valid: how many of the clips are for validation.

    Returns:
        The prepared folder, of one file.
    """
    rng = np.random.default_rng(0)
    length_s = CLIPS_PER_FILE * HOP_S + CLIP_S
    soundfile.write(folder / "noise.wav", 0.1 * rng.standard_normal(round(length_s * SAMPLE_RATE)), SAMPLE_RATE)
    rows = []
    for index in range(CLIPS_PER_FILE):
        part = "valid" if index < n_valid else "train"
        start_s = index * HOP_S
        rows.append(f"noise.wav,{part},{TAGS[index % 2]}|{TAGS[2] if index % 3 else ''},{start_s},{start_s + CLIP_S}")
    (folder / "clips.csv").write_text("\n".join(["path,split,tags,start_s,end_s", *rows, ""]), encoding="utf-8")
    out = folder / f"prepared {n_valid}"
    prepare(open_dataset("csv", folder, min_count=1), out, sample_rate=SAMPLE_RATE, file_bytes=2 * FILE_BYTES)
    return out


def joined(first: Path, further: Path, n_files: int) -> Path:
    """Make a prepared folder out of a file, and copies of another.

    Args:
        first: a prepared folder of one Arrow file, which comes first.
        further: one of another file, which is copied.
        n_files: how many files there are to be.

    Returns:
        The new folder.
    """
    folder = first.with_name(f"{n_files} files")
    folder.mkdir()
    card = read_card(first)
    sources = [first, *[further] * (n_files - 1)]
    card["files"] = [
        {**read_card(source)["files"][0], "file": f"part-{number:05d}.arrow"} for number, source in enumerate(sources)
    ]
    card["n_tracks"] = sum(file["n_rows"] for file in card["files"])
    for source, file in zip(sources, card["files"]):
        shutil.copyfile(source / "part-00000.arrow", folder / file["file"])
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def train(data: Path, out: Path, n_steps: int) -> tuple[int, float]:
    """Train in a fresh process.

    Args:
        data: the prepared folder.
        out: folder of the run.
        n_steps: steps.

    Returns:
        How many tracks there are, and the peak of the process's resident memory, in MB of 10^6 bytes.
    """
    # The kernel's own peak: that of getrusage would begin with the memory of the process that starts this one.
    command = [sys.executable, "-c", TRAIN, str(data), str(out), str(n_steps)]
    told = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, check=True, text=True)
    n_tracks, peak = told.stdout.split()[-2:]
    return int(n_tracks), float(peak)


if __name__ == "__main__":
    main()
