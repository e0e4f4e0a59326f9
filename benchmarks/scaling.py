"""The figures from which docs/scale.md reckons a training on a million tracks.

    python benchmarks/scaling.py [--clips 80] [--gb 1] [--rounds 3] [--steps 6] [--networks vgg,samplecnn,musicnn]

- Preparing: clips of 30 s, MP3, by one worker: hours of sound decoded in a CPU second, with features and without, and
  bytes an hour of what is written.
- Training: CPU seconds of a step of `fit` on one thread, from the end of the second step to that of the last, with the
  settings that `taggram train NETWORK` has from scratch (16 patches a batch, the moving average) and 50 tags. Then
  those of validation, and of the scoring at the end of a run, for each patch.
- Reading: random patches of 3 s out of one file of 1 GB (prepared from WAV files of four minutes), wall time, in one
  interleaved run of a second or more a round: from a folder of this disk; from a store whose file is kept here already;
  from the store itself, with no room in the cache, which is one connection; and 5,000 bytes from the store, as opening
  it asks for them. The store is an HTTP server in a process of its own on this machine, so what a network adds is left
  out. Beside them, what fetching gives, and what opening asks for.

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
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
from taggram.learning._stores import Store
from taggram.learning.config import FitConfig
from taggram.learning.evaluate import evaluate_prepared
from taggram.learning.fit import fit
from taggram.learning.prepared import PreparedData, prepare
from taggram.learning.recipe import FROM_SCRATCH

ROOT = Path(__file__).parents[1]
CLIP_S = 30.0
HOUR_S = 3600.0
RATE = 16_000
PATCH_S = 3.0
ROUND_S = 1.0  # so long at least each side is read from in a round
SMALL_BYTES = 5_000
TRACK_S = 240.0
N_TAGS = 50


def main() -> None:
    """Measure and print, as text and as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--gb", type=float, default=1.0)
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
        figures["read"] = reading(folder, args.gb, args.rounds)
        figures["train"] = {network: training(folder, network, args.steps) for network in args.networks.split(",")}
    print(json.dumps(figures))


def write_set(folder: Path, n_clips: int) -> None:
    """Write clips and their list."""
    folder.mkdir()
    clips = write_clips(demo_song(), folder, n_clips)
    parts = ("train", "train", "train", "valid")
    all_tags = "|".join(f"t{number}" for number in range(N_TAGS))  # of the first, so that training has them all
    tags = [all_tags, *(f"t{number % N_TAGS}|t{7 * number % N_TAGS}" for number in range(1, n_clips))]
    lines = [f"{Path(clip).name},{parts[number % 4]},{tags[number]}" for number, clip in enumerate(clips)]
    (folder / "clips.csv").write_text("path,split,tags\n" + "\n".join(lines) + "\n", encoding="utf-8")


# -- preparing ---------------------------------------------------------------------------------------------------------


def preparing(folder: Path, n_clips: int) -> dict[str, float]:
    """Prepare twice: samples alone, and features with them."""
    hours = n_clips * CLIP_S / HOUR_S
    figures = {}
    musicnn = taggram.create_model("musicnn", n_tags=N_TAGS).frontend.config
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
    return prepare(dataset, out, sample_rate=rate, frontend=frontend, n_workers=1)


def cpu_s_of_all() -> float:
    """CPU time of this process and of those of its children that have ended, in s."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# -- reading -----------------------------------------------------------------------------------------------------------


def reading(folder: Path, n_gb: float, n_rounds: int) -> dict[str, float]:
    """Read from the disk, from the copy of a store's file, and from the store itself, in turns."""
    write_long(folder / "long", n_gb)
    prepare_clips(folder / "long", folder / "file", RATE)
    with served(folder / "file") as address:
        with counted() as asked:
            kept = PreparedData(address)
        direct = PreparedData(address, cache_gb=1e-9)
        (file,) = kept.card["files"]
        before = time.perf_counter()
        kept.crop(0, 0, 1)
        fetched = file["n_bytes"] / 1e9 / (time.perf_counter() - before)
        disk, store = PreparedData(folder / "file"), Store(address)
        sides: dict[str, Callable[[np.random.Generator], object]] = {
            "disk": partial(read_patch, disk), "kept": partial(read_patch, kept), "store": partial(read_patch, direct),
            "small": lambda random: store.read(file["file"], int(random.integers(file["n_bytes"] // 2)), SMALL_BYTES),
        }  # fmt: skip
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(n_rounds + 1):
            for name, read in sides.items():
                rate = reads_a_second(read, seed=number)
                if number:
                    rates[name].append(rate)
    print(f"read, fetching a file of {file['n_bytes'] / 1e9:.2f} GB: {fetched:.3f} GB/s")
    print(f"read, opening the store: {len(asked)} parts, {sum(asked) / 1e6:.2f} MB")
    for name, of_name in rates.items():
        each = [rate / disk for rate, disk in zip(of_name, rates["disk"])]
        spread = f"{statistics.median(of_name):,.0f} ({min(of_name):,.0f} .. {max(of_name):,.0f})"
        print(f"read, {name}: {spread} a second, {statistics.median(each):.3g} times the disk")
    return {
        "fetched_gb_s": fetched, "opening_parts": len(asked), "opening_mb": sum(asked) / 1e6,
        **{f"{name}_reads_s": statistics.median(of) for name, of in rates.items()},
    }  # fmt: skip


def write_long(folder: Path, n_gb: float) -> None:
    """Write tracks of four minutes, WAV, of so many bytes, and their list."""
    folder.mkdir()
    n_samples = int(TRACK_S * RATE)
    n_tracks = int(-(-n_gb * 1e9 // (2 * n_samples)))
    lines = []
    for number in range(n_tracks):
        noise = np.random.default_rng(number).integers(-3000, 3000, n_samples, np.int16)
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, n_samples, "NONE", ""))
            file.writeframes(noise.tobytes())
        lines.append(f"{number}.wav,train,a")
    (folder / "clips.csv").write_text("path,split,tags\n" + "\n".join(lines) + "\n", encoding="utf-8")


def read_patch(data: PreparedData, random: np.random.Generator) -> object:
    """Read a patch at random."""
    n_samples, row = int(PATCH_S * RATE), int(random.integers(len(data)))
    return data.crop(row, int(random.integers(data.n_samples(row) - n_samples)), n_samples)


def reads_a_second(read: Callable[[np.random.Generator], object], seed: int) -> float:
    """Read at random for a round; give how often a second."""
    random = np.random.default_rng(seed)
    n_reads = 0
    before = time.perf_counter()
    while (elapsed_s := time.perf_counter() - before) < ROUND_S:
        read(random)
        n_reads += 1
    return n_reads / elapsed_s


@contextmanager
def counted() -> Iterator[list[int]]:
    """Note the bytes of each part of a file that a store is asked for."""
    asked: list[int] = []
    read = Store.read

    def noted(store: Store, name: str, place: int, n_bytes: int) -> bytes:
        asked.append(n_bytes)
        return read(store, name, place, n_bytes)

    Store.read = noted  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        Store.read = read  # type: ignore[method-assign]


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
    """Notes the CPU time at the end of each step, and what validation takes."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.valid_s = 0.0

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the end of a step."""
        self.ends.append(time.process_time())

    def on_validation_start(self, *_: Any) -> None:
        """Begin to count."""
        self.valid_s -= time.process_time()

    def on_validation_end(self, *_: Any) -> None:
        """End it; the loop has taken in its figures."""
        self.valid_s += time.process_time()


def training(folder: Path, network: str, n_steps: int) -> dict[str, float]:
    """Train a network for some steps, validate and score it; give CPU seconds of a step, and patches a CPU second."""
    model = taggram.create_model(network, n_tags=N_TAGS)
    frontend = model.frontend
    place = folder / f"at-{frontend.sample_rate}"
    if not place.exists():
        prepare_clips(folder / "sounds", place, frontend.sample_rate)
    data = PreparedData(place)
    model.tags = data.tags
    clock = Clock()
    config = FitConfig.from_dict(
        {**FROM_SCRATCH, "patches_per_track": n_steps + 2, "max_steps": n_steps, "max_epochs": 1}
    )
    run = folder / f"run-{network}"
    fit(model, data, run, config, device="cpu", callbacks=[clock])
    n_patch = frontend.n_samples_for(frontend.n_frames)
    n_valid = sum(max(1, data.n_samples(row) // n_patch) for row in data.index("valid").tolist())
    tagger = taggram.Tagger(run, device="cpu")
    before = time.process_time()
    evaluate_prepared(tagger, data, "valid")
    scoring_s = time.process_time() - before
    step_s = (clock.ends[-1] - clock.ends[1]) / (len(clock.ends) - 2)
    patch_s, hours = n_patch / frontend.sample_rate, len(data) * CLIP_S / HOUR_S
    figures = {
        "step_cpu_s": step_s, "trained_a_cpu_s": config.batch_size / step_s,
        "validated_a_cpu_s": n_valid / clock.valid_s,
        "scored_a_cpu_s": n_valid / scoring_s, "patch_s": patch_s, "patch_bytes": 2 * n_patch,
        "gb_an_hour": sum(file["n_bytes"] for file in data.card["files"]) / 1e9 / hours,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }  # fmt: skip
    print(f"train, {network}: " + ", ".join(f"{name} {value:,.4g}" for name, value in figures.items()))
    return figures


if __name__ == "__main__":
    main()
