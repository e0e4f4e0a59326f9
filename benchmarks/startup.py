"""What starting costs: help, the import, and the first file from a cold process, beside the import of torch.

    python benchmarks/startup.py [--runs 9]

CPU seconds are user and system time of the process with all that it started. A first run of each command, in which the
files come into the system's cache, is not counted. The commands take turns. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _sound import demo_song

from taggram.apps.bench import Figures, Spread, describe_machine, ratios, run_rounds, write_clips
from taggram.models import load_card
from taggram.models._weights import ensure_weights

HELP, BARE, IMPORT, TORCH, TAG = "taggram --help", "python", "import taggram", "import torch", "taggram tag FILE"
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
