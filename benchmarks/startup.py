"""What starting costs: help, the import, the first file from a cold process, and making and loading networks.

    python benchmarks/startup.py [--runs 9]

CPU seconds are user and system time of the process with all that it started. A first run of each command, in which the
files come into the system's cache, is not counted. The commands take turns. POSIX only.

Networks are made in this process, each beside drawing as many normal values at once; loading one is beside reading the
same file's tensors and no more, and beside making the network anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _sound import demo_song
from safetensors.torch import load_file

import taggram
from taggram.apps.bench import Figures, Spread, describe_machine, ratios, run_rounds, write_clips
from taggram.models import find_facts, load_card
from taggram.models._weights import ensure_weights

HELP, BARE, IMPORT, TORCH, TAG = "taggram --help", "python", "import taggram", "import torch", "taggram tag FILE"
LIST = "taggram models"
NETWORKS = ("samplecnn", "musicnn_big", "at_scale_spectrogram", "random_vgg", "rese", "emarkou", "vggish")
PER_PARAMETERS = 20_000_000
MOST_CREATION_S = 2.0  # for so many parameters
MOST_HELP_CPU_S = 0.5
MOST_IMPORT_CPU_S = 0.1
MOST_TAG_WALL_S = 2.5


def main() -> None:
    """Measure the commands and print a line each."""
    parser = argparse.ArgumentParser(description="Measure what starting taggram costs.")
    parser.add_argument("--runs", type=int, default=9, help="runs of each command that are counted (default: 9)")
    n_runs = parser.parse_args().runs
    ensure_weights(load_card("musicnn.mtt"))
    with tempfile.TemporaryDirectory() as folder:
        (clip,) = write_clips(demo_song(), Path(folder), 1)
        commands = {
            HELP: ["-m", "taggram", "--help"],
            BARE: ["-c", "pass"],
            IMPORT: ["-c", "import taggram"],
            LIST: ["-m", "taggram", "models"],
            TORCH: ["-c", "import torch"],
            TAG: ["-m", "taggram", "tag", clip],
        }
        sources = [lambda name=name, command=command: run(name, command) for name, command in commands.items()]
        rounds = run_rounds(sources, n_runs)
    print(f"{n_runs} runs, median (least .. most)")
    print(describe_machine())
    for name in commands:
        print(f"{name:18} {Spread.of(rounds[cpu(name)]):.3f} s CPU, {Spread.of(rounds[wall(name)]):.3f} s wall")
    above_bare = [ours - bare for ours, bare in zip(rounds[cpu(IMPORT)], rounds[cpu(BARE)])]
    print()
    print_promise(f"{HELP}, CPU", Spread.of(rounds[cpu(HELP)]), MOST_HELP_CPU_S)
    print_promise("import taggram above a bare python, CPU", Spread.of(above_bare), MOST_IMPORT_CPU_S)
    print_promise("first file of a cold process, wall", Spread.of(rounds[wall(TAG)]), MOST_TAG_WALL_S)
    print(f"first file of a cold process to import torch: {ratios(rounds, wall(TAG), wall(TORCH)):.2f} times as long")
    print(f"taggram models to --help, CPU: {ratios(rounds, cpu(LIST), cpu(HELP)):.2f} times as long")
    measure_networks(n_runs)


def measure_networks(n_runs: int) -> None:
    """Measure how long making and loading networks takes, and print a line each."""
    print(
        "\nnetwork, parameters, s to make, s for 20 million, to drawing normals, loading to reading, loading to making"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            path = Path(folder) / "model.safetensors"
            model = create(name)
            model.save(path)
            n_parameters = sum(parameter.numel() for parameter in model.parameters())
            del model
            sources = [
                partial(timed, "made", partial(create, name)),
                partial(timed, "drawn", partial(torch.randn, n_parameters)),
                partial(timed, "loaded", partial(taggram.load_model, path)),
                partial(timed, "read", partial(read, path)),
            ]
            rounds = run_rounds(sources, n_runs)
            made = Spread.of(rounds["made"])
            share = Spread.of([seconds * PER_PARAMETERS / n_parameters for seconds in rounds["made"]])
            missed = ", missed" if share.median >= MOST_CREATION_S else ""
            against = [ratios(rounds, *pair) for pair in (("made", "drawn"), ("loaded", "read"), ("loaded", "made"))]
            columns = "  ".join(f"{spread:.2f}" for spread in (made, share, *against))
            print(f"{name:20} {n_parameters:11,}  {columns}{missed}")
    print(f"promised: under {MOST_CREATION_S:g} s for {PER_PARAMETERS:,} parameters")


def create(name: str) -> torch.nn.Module:
    """Make a network as its paper has it."""
    return taggram.create_model(name, n_tags=find_facts(name).n_tags)


def read(path: Path) -> object:
    """Read the tensors of a file, as copies."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def timed(name: str, call: Callable[[], object]) -> Figures:
    """Time a call once."""
    started = time.perf_counter()
    call()
    return {name: time.perf_counter() - started}


def cpu(name: str) -> str:
    """Name the figure of a command's CPU time."""
    return f"{name}, CPU"


def wall(name: str) -> str:
    """Name the figure of a command's wall time."""
    return f"{name}, wall"


def run(name: str, arguments: list[str]) -> Figures:
    """Run a command once.

    Args:
        name: of the command.
        arguments: for this Python.

    Returns:
        Seconds of CPU and of wall time.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} ended with exit code {process.returncode}")
    return {cpu(name): usage.ru_utime + usage.ru_stime, wall(name): wall_s}


def print_promise(what: str, spread: Spread, most_s: float) -> None:
    """Print a figure beside what is promised of it."""
    missed = ", missed" if spread.median >= most_s else ""
    print(f"{what}: {spread:.3f} s; promised: under {most_s:g} s{missed}")


if __name__ == "__main__":
    main()
