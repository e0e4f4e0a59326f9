"""How fast prepared data feeds a training, beside decoding MP3 as one goes; and what training costs beside its network.

    python benchmarks/training.py [--rounds 5] [--clips 40] [--steps 10] [--batch 32] [--cores N] [--clock cpu]

Clips of 30 s are written as MP3 and prepared once, which is not counted. Everything runs in one process, on all cores.
With `--cores 1 --clock cpu`, what is counted is the CPU time of one thread, which other work on the machine moves less
than it moves wall time; time in which the thread waits for the disk is left out then, on all sides.

- Patches a second: random patches of 3 s, in batches, out of prepared data as `fit` reads them, without the front-end
  of musicnn and with it (a log-mel spectrogram of the batch). Beside it, per patch: `librosa.load` of a whole clip at
  16 kHz, its `librosa.feature.melspectrogram`, the logarithm, and a patch cut out at random.
- Steps a second: `fit` of musicnn on the prepared data, from the end of its first step to that of its last. Beside it
  the same network, optimiser and loss, fed over and over with one batch that lies in memory.

The sides take turns, round by round; a first round is not counted. A ratio is taken within each round.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import lightning
import numpy as np
import torch
from _machine import bind_to_cores
from _sound import demo_song
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

import taggram
from taggram._processes import n_cores
from taggram.apps.bench import Figures, Rounds, Spread, describe_machine, ratios, run_rounds, write_clips
from taggram.datasets import open_dataset
from taggram.learning._steps import tag_loss
from taggram.learning.config import FitConfig
from taggram.learning.data import TrainingPatches
from taggram.learning.fit import fit
from taggram.learning.prepared import PreparedData, prepare
from taggram.models._contract import TaggingModel

SAMPLES, PATCHES, PEER = "prepared, samples", "prepared, log-mel", "librosa, each item"
FIT, BARE = "fit", "one batch in memory"
LEAST_PATCHES = 20.0  # times those of the peer
LEAST_STEPS = 0.9  # of those of the network alone
N_TAGS = 50
N_PATCHES = 640  # a round
N_PEER = 4  # items a round
GAIN = 10_000.0  # of musicnn's logarithm

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Measure both promises and print the figures beside them."""
    args = parse_args()
    bind_to_cores(args.cores)
    torch.set_num_threads(args.cores)
    clock = CLOCKS[args.clock]
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"{args.clips} clips of 30 s, {args.rounds} rounds; {args.clock} time on {n_cores()} cores")
    print(f"{describe_machine()}; load average {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(demo_song(), Path(folder), args.clips)
        data = prepared_clips(clips, Path(folder))
        sources = [
            *patch_sources(data, clips, args.batch, clock),
            *step_sources(data, Path(folder), args.steps, args.batch, clock),
        ]
        rounds = run_rounds(sources, args.rounds)
    for name in (SAMPLES, PATCHES, PEER):
        print(f"{name:22} {Spread.of(rounds[name]):.1f} patches a second")
    print_promise(f"{SAMPLES} to {PEER}", ratios(rounds, SAMPLES, PEER), LEAST_PATCHES)
    print_promise(f"{PATCHES} to {PEER}", ratios(rounds, PATCHES, PEER), LEAST_PATCHES)
    for name in (FIT, BARE):
        print(f"{name:22} {Spread.of(rounds[name]):.3f} steps a second, {args.batch} patches each")
    print_promise(f"{FIT} to {BARE}", ratios(rounds, FIT, BARE), LEAST_STEPS)
    print(f"load average at the end {os.getloadavg()[0]:.2f}, with our own work in it")
    if args.out:
        write_report(args.out, rounds)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure how fast prepared data feeds a training.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--clips", type=int, default=40, help="clips of 30 s (default: 40)")
    parser.add_argument("--steps", type=int, default=10, help="steps of training a round (default: 10)")
    parser.add_argument("--batch", type=int, default=32, help="patches a step (default: 32)")
    parser.add_argument("--cores", type=int, default=n_cores(), help="cores that are used (default: all)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="time that is counted (default: wall)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures of every round here")
    return parser.parse_args()


def prepared_clips(clips: list[str], folder: Path, sample_rate: int = 16_000) -> PreparedData:
    """Prepare clips with made-up tags: all but one train, and the last for validation too.

    Args:
        clips: the files.
        folder: where to.
        sample_rate: in Hz.

    Returns:
        The data.
    """
    rng = np.random.default_rng(0)
    tags = ["|".join(f"tag {tag}" for tag in rng.choice(N_TAGS, 3, replace=False)) for _ in clips]
    tags[0] = "|".join(f"tag {tag}" for tag in range(N_TAGS))
    rows = [f"{Path(clip).name},train,{tag}" for clip, tag in zip(clips, tags)]
    rows[-1] = rows[-1].replace(",train,", ",valid,")
    (folder / "clips.csv").write_text("\n".join(["path,split,tags", *rows, ""]), encoding="utf-8")
    prepare(open_dataset("csv", folder, min_count=1), folder / "prepared", sample_rate=sample_rate)
    return PreparedData(folder / "prepared")


# -- patches -----------------------------------------------------------------------------------------------------------


def patch_sources(data: PreparedData, clips: list[str], batch_size: int, clock: Clock) -> list[Callable[[], Figures]]:
    """Give what measures the patches a second of the three sides."""
    model = create_model()
    frontend, n_samples = model.frontend, model.frontend.n_samples_for(model.frontend.n_frames)
    batches = endless(data, n_samples, batch_size)
    rng = np.random.default_rng(0)
    return [
        lambda: {SAMPLES: a_second(clock, N_PATCHES, lambda: take(batches, batch_size, lambda waveforms: waveforms))},
        lambda: {PATCHES: a_second(clock, N_PATCHES, lambda: take(batches, batch_size, frontend))},
        lambda: {PEER: a_second(clock, N_PEER, lambda: [peer_patch(clip, rng) for clip in rng.choice(clips, N_PEER)])},
    ]


def create_model() -> TaggingModel:
    """Make musicnn, whose front-end has patches of 187 frames."""
    torch.manual_seed(0)
    model: TaggingModel = taggram.create_model("musicnn", n_tags=N_TAGS)
    return model


def endless(data: PreparedData, n_samples: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give batches of waveforms and labels, epoch after epoch."""
    patches = TrainingPatches(data, data.index("train"), n_samples, "random", seed=0)
    position = 0
    while True:
        loader = DataLoader(patches, batch_size=batch_size, sampler=range(position, position + N_PATCHES))
        for waveforms, labels, *_ in loader:
            yield waveforms, labels
        position += N_PATCHES


def take(batches: Iterator[tuple[Tensor, Tensor]], batch_size: int, frontend: Callable[[Tensor], Tensor]) -> None:
    """Take the batches of a round through a front-end."""
    with torch.no_grad():
        for _, (waveforms, _) in zip(range(N_PATCHES // batch_size), batches):
            frontend(waveforms)


def peer_patch(path: str, rng: np.random.Generator) -> np.ndarray:
    """Make a patch as many trainings do: the whole file, its spectrogram, a stretch of that."""
    samples, sample_rate = librosa.load(path, sr=16_000)
    mel = librosa.feature.melspectrogram(y=samples, sr=sample_rate, n_fft=512, hop_length=256, n_mels=96)
    spectrogram = np.log10(1 + GAIN * mel)
    start = int(rng.integers(spectrogram.shape[1] - 187 + 1))
    return spectrogram[:, start : start + 187]


def a_second(clock: Clock, n_items: int, work: Callable[[], object]) -> float:
    """Time some work and say how many items a second that is."""
    started = clock()
    work()
    return n_items / (clock() - started)


# -- steps -------------------------------------------------------------------------------------------------------------


def step_sources(
    data: PreparedData, folder: Path, n_steps: int, batch_size: int, clock: Clock
) -> list[Callable[[], Figures]]:
    """Give what measures the steps a second of `fit`, and of the network alone."""
    n_runs = iter(range(10**6))
    return [
        lambda: {FIT: fit_steps(data, folder / f"run{next(n_runs)}", n_steps, batch_size, clock)},
        lambda: {BARE: bare_steps(data, n_steps, batch_size, clock)},
    ]


class StepTimer(Callback):
    """Times the steps after the first, and ends the training when there were enough.

    Args:
        n_steps: that are timed.
        clock: gives seconds.
    """

    def __init__(self, n_steps: int, clock: Clock) -> None:
        self.n_steps = n_steps
        self.n_done = -1
        self.seconds = 0.0
        self._clock = clock
        self._started = 0.0

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Count a step."""
        now = self._clock()
        self.n_done += 1
        if self.n_done == 0:
            self._started = now
        self.seconds = now - self._started
        if self.n_done >= self.n_steps:
            trainer.should_stop = True


def fit_steps(data: PreparedData, folder: Path, n_steps: int, batch_size: int, clock: Clock) -> float:
    """Train with `fit`, and give its steps a second."""
    timer = StepTimer(n_steps, clock)
    config = FitConfig(
        batch_size=batch_size, patches_per_track=2 * batch_size * (n_steps + 2) // len(data) + 1, max_epochs=1
    )
    fit(create_model(), data, folder, config, device="cpu", callbacks=[timer])
    return timer.n_done / timer.seconds


def bare_steps(data: PreparedData, n_steps: int, batch_size: int, clock: Clock) -> float:
    """Train the same network on one batch over and over, and give its steps a second."""
    model = create_model()
    n_samples = model.frontend.n_samples_for(model.frontend.n_frames)
    waveforms, labels = next(endless(data, n_samples, batch_size))
    optimizer = torch.optim.Adam(model.parameters(), lr=FitConfig().lr)
    model.train()
    step(model, optimizer, waveforms, labels)
    return a_second(clock, n_steps, lambda: [step(model, optimizer, waveforms, labels) for _ in range(n_steps)])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, waveforms: Tensor, labels: Tensor) -> None:
    """Make one step."""
    optimizer.zero_grad()
    tag_loss(model(waveforms), labels, "binary").backward()
    optimizer.step()


# -- the end -----------------------------------------------------------------------------------------------------------


def print_promise(what: str, spread: Spread, least: float) -> None:
    """Print a ratio beside what is promised of it."""
    missed = ", missed" if spread.median < least else ""
    print(f"  {what}: {spread:.2f} times; promised: at least {least:g}{missed}")


def write_report(path: Path, rounds: Rounds) -> None:
    """Write the figures of every round."""
    path.write_text(json.dumps({"machine": describe_machine(), "rounds": rounds}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
