"""How fast features of random CNNs are had from files, beside librosa and the plain network; what an ELM needs.

    python benchmarks/random_features.py [--rounds 5] [--files 200] [--cores 2] [--clock cpu] [--examples 100000]

- Features: clips of 10 s of noise with a beat, written as WAV at 22,050 Hz. Ours is `embed_clips` from the files, first
  without a cache and then answered from one; the cache is filled before. Beside it, clip by clip, as scripts do it:
  `librosa.load` at 12 kHz, `librosa.feature.melspectrogram`, decibels, frames repeated to 1376, and the same network,
  called as it is, with all cores for torch. The sides take turns, round by round; a first round is not counted, and a
  ratio is taken within each round. With `--cores 1 --clock cpu`, what is counted is the CPU time of one thread, which
  other work on the machine moves less than it moves wall time; that two cores are kept busy then counts for nothing.
- Memory: an ELM with 2500 hidden units is fitted on as many examples of 3,584 random float32 values as asked for, in a
  fresh process, whose peak of resident memory is taken; Linux only. `--examples 0` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from _machine import bind_to_cores

import taggram
from taggram._processes import n_cores
from taggram.apps.bench import Figures, Rounds, Spread, describe_machine, ratios, run_rounds
from taggram.learning.embeddings import FileSounds, embed_clips
from taggram.models._contract import TaggingModel

NETWORKS = {"random_timbral_temporal": 4, "random_vgg": 32}  # and their widths
LEAST_FRESH = 1.5  # times the clips a second of the peer
LEAST_CACHED = 50.0
MOST_GB = 6.0
FILE_RATE, CLIP_S = 22_050, 10.0
N_CLOSE = 8  # clips whose features are compared
TOLERANCE = 1e-3  # of the largest feature: librosa resamples in another way
N_FEATURES, N_HIDDEN, N_CLASSES = 3584, 2500, 10
FIT = """
import sys, time
import numpy as np
from taggram._processes import peak_mb
from taggram.learning.elm import ELMClassifier
n_examples, n_features, n_hidden, n_classes = map(int, sys.argv[1:])
random = np.random.default_rng(0)
features = random.standard_normal((n_examples, n_features), dtype=np.float32)
labels = np.arange(n_examples) % n_classes
begun = time.perf_counter()
ELMClassifier(n_hidden=n_hidden, random_state=0).fit(features, labels)
print(peak_mb(), time.perf_counter() - begun)
"""


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Measure both promises and print the figures beside them."""
    args = parse_args()
    bind_to_cores(args.cores)
    torch.set_num_threads(args.cores)
    warnings.filterwarnings("ignore")
    print(f"{args.files} clips of {CLIP_S:g} s, {args.rounds} rounds; {args.clock} time on {args.cores} cores")
    print(f"{describe_machine()}; load average {os.getloadavg()[0]:.2f}")
    rounds: Rounds = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(Path(folder), args.files)
        cache, clock = Path(folder, "cache"), CLOCKS[args.clock]
        sources = [source for name in args.networks for source in sources_of(name, paths, cache, clock)]
        rounds = run_rounds(sources, args.rounds)
    for name in args.networks:
        print_features(name, rounds)
    print(f"load average at the end {os.getloadavg()[0]:.2f}, with our own work in it")
    memory = fit_memory(args.examples) if args.examples else {}
    if args.out:
        facts = {"machine": describe_machine(), "rounds": rounds, "memory": memory}
        args.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure how fast features of random CNNs are had from files.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default: 5)")
    parser.add_argument("--files", type=int, default=200, help="clips of 10 s (default: 200)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--cores", type=int, default=min(2, n_cores()), help="cores for each side (default: 2)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="time that is counted (default: wall)")
    parser.add_argument("--examples", type=int, default=100_000, help="that the ELM is fitted on (default: 100000)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the figures of every round here")
    return parser.parse_args()


def write_clips(folder: Path, n_clips: int) -> list[str]:
    """Write clips of noise with a beat.

    Args:
        folder: where to.
        n_clips: how many.

    Returns:
        Their paths.
    """
    random = np.random.default_rng(0)
    paths = []
    for number in range(n_clips):
        samples = 0.1 * random.standard_normal(round(CLIP_S * FILE_RATE))
        samples[:: int(random.integers(4000, 12_000))] = 0.8
        paths.append(str(folder / f"{number:04d}.wav"))
        soundfile.write(paths[-1], samples, FILE_RATE, subtype="PCM_16")
    return paths


# -- features ----------------------------------------------------------------------------------------------------------


def figure(name: str, side: str) -> str:
    """Name a figure."""
    return f"{name}, {side}"


def sources_of(name: str, paths: list[str], cache: Path, clock: Clock) -> list[Callable[[], Figures]]:
    """Give what measures the clips a second of the three sides, after a look at whether they agree.

    Args:
        name: of the network.
        paths: of the clips.
        cache: folder for the side that is answered from it.
        clock: gives seconds.

    Returns:
        The sides.
    """
    torch.manual_seed(0)
    model: TaggingModel = taggram.create_model(name, width=NETWORKS[name]).eval()
    sounds = FileSounds(paths, model.frontend.sample_rate)
    compare(model, paths[:N_CLOSE])
    embed_clips(model, sounds, cache=cache)
    sides = {
        "ours": lambda: embed_clips(model, sounds),
        "cached": lambda: embed_clips(model, sounds, cache=cache),
        "peer": lambda: [peer_features(model, path) for path in paths],
    }
    return [
        lambda side=side, work=work: {figure(name, side): a_second(clock, len(paths), work)}
        for side, work in sides.items()
    ]


def compare(model: TaggingModel, paths: list[str]) -> None:
    """Refuse to measure sides that do not do the same."""
    ours = embed_clips(model, FileSounds(paths, model.frontend.sample_rate))
    theirs = np.concatenate([peer_features(model, path) for path in paths])
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if difference > TOLERANCE:
        raise SystemExit(f"the features differ by {difference:.2g} of the largest; at most {TOLERANCE:g} is expected.")


@torch.inference_mode()
def peer_features(model: TaggingModel, path: str) -> np.ndarray:
    """Compute the features of one file by librosa and the plain network: (1, features)."""
    config = model.frontend.config
    samples, _ = librosa.load(path, sr=config.sample_rate)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=config.sample_rate, n_fft=config.n_fft, hop_length=config.hop_length, n_mels=config.n_mels,
        pad_mode="reflect",
    )  # fmt: skip
    decibels = librosa.power_to_db(mel)
    frames = decibels[:, np.arange(config.n_frames) % decibels.shape[1]]
    return model.forward_features(torch.from_numpy(np.ascontiguousarray(frames))[None, None]).numpy()


def a_second(clock: Clock, n_items: int, work: Callable[[], object]) -> float:
    """Time some work and say how many items a second that is."""
    started = clock()
    work()
    return n_items / (clock() - started)


def print_features(name: str, rounds: Rounds) -> None:
    """Print the figures of a network beside what is promised."""
    for side in ("ours", "cached", "peer"):
        print(f"{figure(name, side):32} {Spread.of(rounds[figure(name, side)]):.1f} clips a second")
    for side, least in (("ours", LEAST_FRESH), ("cached", LEAST_CACHED)):
        under = "peer" if side == "ours" else "ours"
        spread = ratios(rounds, figure(name, side), figure(name, under))
        missed = ", missed" if spread.median < least else ""
        print(f"  {side} to {under}: {spread:.2f} times; promised: at least {least:g}{missed}")


# -- memory ------------------------------------------------------------------------------------------------------------


def fit_memory(n_examples: int) -> dict[str, float]:
    """Fit an ELM in a fresh process, and print its peak of memory beside what is promised.

    Args:
        n_examples: how many.

    Returns:
        The figures.
    """
    sizes = [n_examples, N_FEATURES, N_HIDDEN, N_CLASSES]
    done = subprocess.run([sys.executable, "-c", FIT, *map(str, sizes)], capture_output=True, text=True, check=True)
    peak_mb, seconds = map(float, done.stdout.split())
    peak_gb = peak_mb / 1000
    missed = ", missed" if peak_gb > MOST_GB else ""
    print(f"ELM of {N_HIDDEN} units on {n_examples:,} x {N_FEATURES:,}: {peak_gb:.2f} GB, {seconds:.0f} s; ", end="")
    print(f"promised: at most {MOST_GB:g} GB for 100,000{missed}")
    return {"n_examples": n_examples, "peak_gb": peak_gb, "fit_s": seconds}


if __name__ == "__main__":
    main()
