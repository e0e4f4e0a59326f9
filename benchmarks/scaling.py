"""The figures from which docs/scale.md reckons a training on a million tracks.

    python benchmarks/scaling.py [--clips 80] [--rounds 3] [--steps 6] [--networks vgg,samplecnn,musicnn]

- Preparing: clips of 30 s, MP3, by one worker: hours of sound decoded in a CPU second, with features and without, and
  bytes an hour of what is written.
- Training: CPU seconds of a step of `fit` on one thread, 16 patches a batch, from the end of the second step to that of
  the last.
- Reading: random patches of 3 s out of prepared data, wall time, in one interleaved run: from a folder of this disk;
  from a store whose files are kept here already; and from the store itself, with no room in the cache. The store is an
  HTTP server in a process of its own on this machine, so what a network adds is left out. Beside them, what fetching
  gives.

Everything stands in 10^9 bytes, hours of sound and seconds of one core, whatever the machine does besides: CPU time is
moved less by other work than wall time.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _sound import demo_song
from lightning.pytorch.callbacks import Callback

import taggram
from taggram.apps.bench import describe_machine, write_clips
from taggram.datasets import open_dataset
from taggram.frontends import FrontendConfig
from taggram.learning.config import FitConfig
from taggram.learning.fit import fit
from taggram.learning.prepared import PreparedData, prepare

ROOT = Path(__file__).parents[1]
CLIP_S = 30.0
HOUR_S = 3600.0
RATE = 16_000
PATCH_S = 3.0
N_PATCHES = 400  # a round
BATCH = 16


def main() -> None:
    """Measure and print, as text and as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--networks", default="vgg,samplecnn,musicnn")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(f"{describe_machine()}; load average {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TAGGRAM_HOME"] = str(folder / "home")
        write_set(folder / "sounds", args.clips)
        figures = {"prepare": preparing(folder, args.clips)}
        figures["read"] = reading(folder, args.rounds)
        figures["train"] = {network: training(folder, network, args.steps) for network in args.networks.split(",")}
    print(json.dumps(figures))


def write_set(folder: Path, n_clips: int) -> None:
    """Write clips and their list."""
    folder.mkdir()
    clips = write_clips(demo_song(), folder, n_clips)
    parts = ("train", "train", "train", "valid")
    tags = ("a", "b", "a|b")
    lines = [f"{Path(clip).name},{parts[number % 4]},{tags[number % 3]}" for number, clip in enumerate(clips)]
    (folder / "clips.csv").write_text("path,split,tags\n" + "\n".join(lines) + "\n", encoding="utf-8")


# -- preparing ---------------------------------------------------------------------------------------------------------


def preparing(folder: Path, n_clips: int) -> dict[str, float]:
    """Prepare twice: samples alone, and features with them."""
    hours = n_clips * CLIP_S / HOUR_S
    figures = {}
    musicnn = taggram.create_model("musicnn", n_tags=2).frontend.config
    for name, frontend in (("samples", None), ("samples_and_features", musicnn)):
        out = folder / name
        before = cpu_s_of_all()
        report = prepare_clips(folder / "sounds", out, RATE, frontend)
        cpu_s = cpu_s_of_all() - before
        figures[f"{name}_gb_an_hour"] = report.n_bytes / 1e9 / hours
        figures[f"{name}_hours_a_cpu_s"] = hours / cpu_s
        print(
            f"prepare, {name}: {figures[f'{name}_gb_an_hour']:.4f} GB an hour of sound, {hours / cpu_s:.3f} h a CPU s"
        )
    return figures


def prepare_clips(sounds: Path, out: Path, rate: int, frontend: FrontendConfig | None = None) -> Any:
    """Prepare the clips with one worker."""
    dataset = open_dataset("csv", sounds, min_count=1)
    return prepare(dataset, out, sample_rate=rate, frontend=frontend, n_workers=1, file_bytes=4_000_000)


def cpu_s_of_all() -> float:
    """CPU time of this process and of those of its children that have ended, in s."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# -- reading -----------------------------------------------------------------------------------------------------------


def reading(folder: Path, n_rounds: int) -> dict[str, float]:
    """Read random patches from the disk, from copies of a store, and from the store itself, in turns."""
    with served(folder / "samples") as address:
        kept, direct = PreparedData(address), PreparedData(address, cache_gb=1e-9)
        n_bytes = sum(file["n_bytes"] for file in kept.card["files"])
        before = time.perf_counter()
        for row in range(len(kept)):
            kept.crop(row, 0, 1)
        fetched = n_bytes / 1e9 / (time.perf_counter() - before)
        sides = {"disk": PreparedData(folder / "samples"), "kept": kept, "store": direct}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(n_rounds + 1):
            for name, data in sides.items():
                rate = read_patches(data, seed=number)
                if number:
                    rates[name].append(rate)
    print(f"read, fetching files: {fetched:.3f} GB/s")
    for name, of_name in rates.items():
        each = [rate / disk for rate, disk in zip(of_name, rates["disk"])]
        spread = f"{statistics.median(of_name):,.0f} ({min(of_name):,.0f} .. {max(of_name):,.0f})"
        print(f"read, {name}: {spread} patches/s, {statistics.median(each):.2f} times the disk")
    return {"fetched_gb_s": fetched, **{f"{name}_patches_s": statistics.median(of) for name, of in rates.items()}}


def read_patches(data: PreparedData, seed: int) -> float:
    """Read patches at random; give how many a second."""
    random = np.random.default_rng(seed)
    n_samples = int(PATCH_S * RATE)
    before = time.perf_counter()
    for row in random.integers(len(data), size=N_PATCHES).tolist():
        data.crop(row, int(random.integers(data.n_samples(row) - n_samples)), n_samples)
    return N_PATCHES / (time.perf_counter() - before)


class served:  # noqa: N801 (a context)
    """Serve a folder over HTTP, with parts of files, in another process; gives the address."""

    def __init__(self, folder: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._mine, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(folder, theirs), daemon=True)

    def __enter__(self) -> str:
        self._process.start()
        address: str = self._mine.recv()
        return address

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def serve(folder: Path, pipe: Connection) -> None:
    """Serve a folder until this process is ended."""
    sys.path.insert(0, str(ROOT / "tests"))  # whose server gives parts of files; that of the standard library does not
    from _http_store import http_store

    with http_store(folder) as (address, _):
        pipe.send(address)
        time.sleep(HOUR_S)


# -- training ----------------------------------------------------------------------------------------------------------


class Clock(Callback):
    """Notes the CPU time at the end of each step."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self._clock = clock
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note it."""
        self.ends.append(self._clock())


def training(folder: Path, network: str, n_steps: int) -> dict[str, float]:
    """Train a network for some steps; give CPU seconds of one, and patches a CPU second."""
    model = taggram.create_model(network, n_tags=2)
    model.tags = ("a", "b")
    frontend = model.frontend
    place = folder / f"at-{frontend.sample_rate}"
    if not place.exists():
        prepare_clips(folder / "sounds", place, frontend.sample_rate)
    clock = Clock()
    config = FitConfig(
        batch_size=BATCH, patches_per_track=n_steps + 2, max_steps=n_steps, max_epochs=1, keep_memory=True
    )
    fit(model, PreparedData(place), folder / f"run-{network}", config, device="cpu", callbacks=[clock])
    step_s = (clock.ends[-1] - clock.ends[1]) / (len(clock.ends) - 2)
    patch_s = frontend.n_samples_for(frontend.n_frames) / frontend.sample_rate
    of = f"{BATCH} patches of {patch_s:.2f} s"
    print(f"train, {network}: {step_s:.3f} CPU s a step of {of}, {BATCH / step_s:.1f} patches/s")
    return {"step_cpu_s": step_s, "patches_a_cpu_s": BATCH / step_s, "patch_s": patch_s}


if __name__ == "__main__":
    main()
