"""Steps of training, beside a plain port: SampleCNN 3^9 and musicnn as one writes them in torch from the papers.

    python benchmarks/training_steps.py [--cores 1]

Clips of 30 s are written as MP3 and prepared once, which is not counted. Each side is a process of its own with one
thread of torch, since what a process does with its memory changes its speed; the sides take turns, round by round, and
a first round is not counted. All have as many patches a step, out of the same clips, and Adam.

- fit: `fit` as it comes, on prepared data that is memory-mapped, from the end of its first step to that of its last.
- port: plain layers, and a DataLoader whose data set calls `librosa.load` for each patch and, for musicnn,
  `librosa.feature.melspectrogram`; then a patch is cut out at random.
- in memory: the network of either side, fed over and over with one batch of what it eats, so that it is seen what comes
  from the way of the data and what from the network. `memory kept` is the port with what `fit` does to the C library.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import librosa
import lightning
import numpy as np
import torch
import torch.nn.functional as F
from _machine import bind_to_cores
from _sound import demo_song
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from training import N_TAGS, peer_patch, prepared_clips

import taggram
from taggram._processes import n_cores
from taggram.apps.bench import Figures, Spread, describe_machine, ratios, run_rounds, write_clips
from taggram.learning.config import FitConfig
from taggram.learning.fit import fit
from taggram.learning.memory import memory_kept
from taggram.learning.prepared import PreparedData
from taggram.models._summary import example_patches

LEAST = 1.3  # times the steps of the port
RATES = {"samplecnn": 22_050, "musicnn": 16_000}  # of each network, in Hz
N_SAMPLES = 59_049  # of a patch of SampleCNN
FIT, PORT, OUR_BATCH, PORT_BATCH, PORT_KEPT = (
    "fit", "port", "ours, in memory", "port, in memory", "port, in memory, memory kept",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What a side is to do.

    Attributes:
        network: which.
        side: one of the five.
        clips: the files.
        prepared: folder of the prepared data.
        runs: folder for the runs of `fit`.
        n_steps: that are timed.
        batch_size: patches of each.
    """

    network: str
    side: str
    clips: tuple[str, ...]
    prepared: Path
    runs: Path
    n_steps: int
    batch_size: int


def main() -> None:
    """Measure both networks and print the figures beside the promise."""
    args = parse_args()
    bind_to_cores(args.cores)
    torch.set_num_threads(args.cores)
    print(f"{args.clips} clips of 30 s, {args.rounds} rounds of {args.steps} steps, {args.batch} patches each")
    print(f"{describe_machine()}; {n_cores()} cores, one thread a side; load average {os.getloadavg()[0]:.2f}")
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        song = demo_song()
        for network in args.networks:
            home = Path(folder) / network
            home.mkdir()
            missed |= measure(network, write_clips(song, home, args.clips), home, args)
    print(f"load average at the end {os.getloadavg()[0]:.2f}, with our own work in it")
    sys.exit(missed)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure steps of training beside a plain port.")
    parser.add_argument("--networks", nargs="+", choices=RATES, default=[*RATES], help="which (default: both)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are counted (default: 3)")
    parser.add_argument("--steps", type=int, default=3, help="steps a round that are timed (default: 3)")
    parser.add_argument("--batch", type=int, default=16, help="patches a step (default: 16)")
    parser.add_argument("--clips", type=int, default=20, help="clips of 30 s (default: 20)")
    parser.add_argument("--cores", type=int, default=1, help="cores that the sides share in turns (default: 1)")
    return parser.parse_args()


def measure(network: str, clips: list[str], home: Path, args: argparse.Namespace) -> bool:
    """Measure one network and print its figures; give whether the promise is missed in CPU time."""
    prepared_clips(clips, home, sample_rate=RATES[network])
    sides = (FIT, PORT, OUR_BATCH, PORT_BATCH, PORT_KEPT)
    spawn = multiprocessing.get_context("spawn")
    pools = {side: ProcessPoolExecutor(1, spawn, initializer=begin_side) for side in sides}
    jobs = [Job(network, side, tuple(clips), home / "prepared", home, args.steps, args.batch) for side in sides]
    try:
        rounds = run_rounds([source(pools[job.side], job) for job in jobs], args.rounds)
    finally:
        for pool in pools.values():
            pool.shutdown()
    print(f"\n{network}, steps a second")
    for side in sides:
        print(f"  {side:30} CPU {Spread.of(rounds[f'{side}, CPU']):.3f}, wall {Spread.of(rounds[f'{side}, wall']):.3f}")
    for clock in ("CPU", "wall"):
        spread = ratios(rounds, f"{FIT}, {clock}", f"{PORT}, {clock}")
        missed = ", missed" if spread.median < LEAST else ""
        print(f"  {FIT} to {PORT}, {clock} time: {spread:.2f} times; promised: at least {LEAST}{missed}")
        for other in (PORT_BATCH, PORT_KEPT):
            spread = ratios(rounds, f"{OUR_BATCH}, {clock}", f"{other}, {clock}")
            print(f"  {OUR_BATCH} to {other}, {clock} time: {spread:.2f} times")
    return ratios(rounds, f"{FIT}, CPU", f"{PORT}, CPU").median < LEAST


def source(pool: ProcessPoolExecutor, job: Job) -> Callable[[], Figures]:
    """Give what has a side do its job once."""

    def turn() -> Figures:
        cpu_s, wall_s = pool.submit(run_side, job).result()
        return {f"{job.side}, CPU": job.n_steps / cpu_s, f"{job.side}, wall": job.n_steps / wall_s}

    return turn


# -- in the process of a side ------------------------------------------------------------------------------------------


class Stopwatch:
    """Seconds of CPU and of wall time since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def seconds(self) -> tuple[float, float]:
        """Read both clocks."""
        return time.process_time() - self._cpu, time.perf_counter() - self._wall


class FitTimer(Callback):
    """Times the steps behind the first one, and ends the training with the last.

    Args:
        n_steps: that are timed.
    """

    def __init__(self, n_steps: int) -> None:
        self.n_steps, self.n_done = n_steps, -1
        self.seconds = (0.0, 0.0)
        self._watch = Stopwatch()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Count a step."""
        self.n_done += 1
        if self.n_done == 0:
            self._watch = Stopwatch()
        if self.n_done == self.n_steps:
            self.seconds = self._watch.seconds()
            trainer.should_stop = True


def begin_side() -> None:
    """Set the process of a side up: one thread, and nothing told."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def run_side(job: Job) -> tuple[float, float]:
    """Do some steps, and give their CPU and wall seconds."""
    torch.manual_seed(0)
    if job.side == FIT:
        return fit_steps(job)
    if job.side == PORT:
        return port_steps(job)
    with memory_kept(job.side in (OUR_BATCH, PORT_KEPT)):
        return batch_steps(job)


def fit_steps(job: Job) -> tuple[float, float]:
    """Train with `fit`."""
    timer = FitTimer(job.n_steps)
    data = PreparedData(job.prepared)
    config = FitConfig(
        batch_size=job.batch_size, patches_per_track=2 * job.batch_size * (job.n_steps + 2) // len(data) + 1,
        max_epochs=1, n_loaders=0,
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(dir=job.runs))
    fit(taggram.create_model(job.network, n_tags=N_TAGS), data, folder, config, device="cpu", callbacks=[timer])
    return timer.seconds


def port_steps(job: Job) -> tuple[float, float]:
    """Train the port from its files; a first step is not timed."""
    network = PORTS[job.network]().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    patches = PATCHES[job.network](job.clips, job.batch_size * (job.n_steps + 1))
    watch = Stopwatch()
    for number, (x, y) in enumerate(DataLoader(patches, batch_size=job.batch_size, shuffle=True)):
        step(network, optimizer, x, y)
        if number == 0:
            watch = Stopwatch()
    return watch.seconds()


def batch_steps(job: Job) -> tuple[float, float]:
    """Train either network on one batch in memory; a first step is not timed."""
    ours = taggram.create_model(job.network, n_tags=N_TAGS)
    x = example_patches(ours, n_patches=job.batch_size)
    y = (torch.rand(job.batch_size, N_TAGS) < 3 / N_TAGS).float()
    network = InParts(ours) if job.side == OUR_BATCH else PORTS[job.network]()
    optimizer = torch.optim.Adam(network.train().parameters(), lr=0.001)
    step(network, optimizer, x, y)
    watch = Stopwatch()
    for _ in range(job.n_steps):
        step(network, optimizer, x, y)
    return watch.seconds()


class InParts(nn.Module):
    """One of our networks without its front-end.

    Args:
        model: the whole.
    """

    def __init__(self, model: taggram.TaggingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, patches: Tensor) -> Tensor:
        """Give logits for patches."""
        return self.model.forward_head(self.model.forward_features(patches))


def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Make one step."""
    optimizer.zero_grad()
    F.binary_cross_entropy_with_logits(network(x), y).backward()
    optimizer.step()


# -- the port ----------------------------------------------------------------------------------------------------------


class SoundPatches(Dataset[tuple[Tensor, Tensor]]):
    """Random patches of sound files, each read whole when it is asked for.

    Args:
        clips: the files.
        n_items: patches in all.
    """

    def __init__(self, clips: tuple[str, ...], n_items: int) -> None:
        self.clips, self.n_items = clips, n_items
        self.labels = (torch.rand(len(clips), N_TAGS) < 3 / N_TAGS).float()
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        clip = index % len(self.clips)
        return torch.from_numpy(self.patch(self.clips[clip])).float()[None], self.labels[clip]

    def patch(self, path: str) -> np.ndarray:
        """Read a file and cut (samples,) out."""
        samples, _ = librosa.load(path, sr=RATES["samplecnn"])
        start = int(self.rng.integers(len(samples) - N_SAMPLES + 1))
        return samples[start : start + N_SAMPLES]


class MelPatches(SoundPatches):
    """The same of log-mel spectrograms."""

    def patch(self, path: str) -> np.ndarray:
        """Read a file and cut (mels, frames) out."""
        return peer_patch(path, self.rng)


def plain_samplecnn() -> nn.Module:
    """Build SampleCNN 3^9."""
    layers: list[nn.Module] = [nn.Conv1d(1, 128, 3, stride=3), nn.BatchNorm1d(128), nn.ReLU()]
    widths = [128, 128, 128, *[256] * 6, 512]
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Conv1d(n_in, n_out, 3, padding=1), nn.BatchNorm1d(n_out), nn.ReLU(), nn.MaxPool1d(3)]
    layers += [nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(512, N_TAGS))


class PlainMusicnn(nn.Module):
    """musicnn, with 64 filters in each layer of its mid-end."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.timbral = nn.ModuleList(conv_relu_norm(nn.Conv2d(1, 204, (mels, 7), padding=(0, 3))) for mels in (38, 67))
        self.temporal = nn.ModuleList(
            conv_relu_norm(nn.Conv2d(1, 51, (1, frames), padding="same")) for frames in (128, 64, 32)
        )
        self.midend = nn.ModuleList(
            nn.Sequential(nn.Conv1d(n_in, 64, 7, padding=3), nn.ReLU(), nn.BatchNorm1d(64)) for n_in in (561, 64, 64)
        )
        self.dense = nn.Sequential(
            nn.BatchNorm1d(1506), nn.Dropout(0.5), nn.Linear(1506, 200), nn.ReLU(), nn.BatchNorm1d(200),
            nn.Dropout(0.5), nn.Linear(200, N_TAGS),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Give logits for (batch, 1, mels, frames)."""
        x = self.norm(x)
        front = torch.cat([branch(x).amax(2) for branch in (*self.timbral, *self.temporal)], 1)
        first = self.midend[0](front)
        second = self.midend[1](first) + first
        third = self.midend[2](second) + second
        whole = torch.cat([front, first, second, third], 1)
        logits: Tensor = self.dense(torch.cat([whole.amax(2), whole.mean(2)], 1))
        return logits


def conv_relu_norm(conv: nn.Conv2d) -> nn.Sequential:
    """Put ReLU and batch norm behind a convolution."""
    return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(conv.out_channels))


PORTS: dict[str, Callable[[], nn.Module]] = {"samplecnn": plain_samplecnn, "musicnn": PlainMusicnn}
PATCHES = {"samplecnn": SoundPatches, "musicnn": MelPatches}


if __name__ == "__main__":
    main()
