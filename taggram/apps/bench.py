"""How fast this machine tags, step by step: the command `bench`, and what the scripts in `benchmarks/` share.

Other work on a machine moves all of its times, so nothing is measured alone: what is compared takes turns, round by
round, and the ratios within a round are the result. Each figure is the median over the rounds, with the least and the
most. Imports, loading and a first round are left out on all sides. Everything runs on the CPU.
"""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from taggram._processes import n_cores
from taggram.apps._bench_steps import ALONE, LIMIT, PEAK, STEPS, WHOLE, Figures, StepTagger, alone, measure_steps
from taggram.apps._peer import CPU, PEER_KEPT, PEER_USER, Peer, original_name, original_program
from taggram.apps._progress import FileProgress
from taggram.audio import Samples, SoundStream
from taggram.errors import TaggramError, printable
from taggram.results import Failure
from taggram.tagger import Tagger

WORKERS = "whole path, workers"

CLIP_S = 30.0
CLIP_SAMPLE_RATE = 44_100
N_CLIPS = 8  # made up where no file is named
TABLE_WIDTH = 110  # characters, also where the terminal has fewer: figures that are cut tell nothing

Rounds = dict[str, list[float]]  # name of a figure: its value in each round


def print_bench(files: Sequence[str], *, model: str, n_rounds: int, peer: Path | None, as_json: bool = False) -> None:
    """Measure how fast this machine tags, and print the table.

    Args:
        files: sound to measure on; none for clips that are made up.
        model: "network.weights".
        n_rounds: how often each step is measured, at least 1.
        peer: Python of an environment with the original musicnn, or None.
        as_json: print the figures of every round in place of the table, as one JSON object.

    Raises:
        AudioError: a file cannot be read.
        TaggramError: the peer cannot be started, or cannot tag a file.
    """
    with contextlib.ExitStack() as closing:
        paths = list(files) or write_clips(
            made_up_song(), Path(closing.enter_context(tempfile.TemporaryDirectory())), N_CLIPS
        )
        sound_s = sum(map(length_s, paths))
        original = closing.enter_context(Peer(peer, original_program(model))) if peer else None
        tagger = closing.enter_context(StepTagger(model))
        network_gflop = sum(tagger.network_gflop(path) for path in paths) / len(paths)
        sources: list[Callable[[], Figures]] = [
            lambda: measure_steps(tagger, paths, network_gflop),
            lambda: {WORKERS: workers_s(tagger, paths, n_cores())},
        ]
        if original is not None:
            sources.append(lambda: original.measure(paths))
        rounds = run_rounds(sources, n_rounds)
    if as_json:
        print(
            json.dumps({
                "model": model, "machine": describe_machine(), "n_files": len(paths), "sound_s": sound_s,
                "network_gflop": network_gflop, "n_workers": n_cores(), "rounds": rounds,
            })
        )  # fmt: skip
        return
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, TABLE_WIDTH)
    console.print(f"{model}, {len(paths)} files, {sound_s:.1f} s of sound, {n_rounds} rounds", markup=False)
    console.print(describe_machine(), markup=False)
    console.print()
    console.print(_make_table(rounds, len(paths) / sound_s))
    console.print()
    for line in _ratio_lines(rounds, network_gflop):
        console.print(line, markup=False)
    if original is not None:
        console.print(
            f"the original is musicnn 0.1.0 with {original_name(model)}, on all cores; ratios are to ours in workers.",
            markup=False,
        )


# -- rounds --------------------------------------------------------------------------------------------------------


def run_rounds(sources: Sequence[Callable[[], Figures]], n_rounds: int) -> Rounds:
    """Let sources of figures take turns; a first round, in which everything warms up, is not counted.

    Args:
        sources: each measures its figures once.
        n_rounds: rounds that are counted.

    Returns:
        The values of each figure.
    """
    rounds: Rounds = defaultdict(list)
    with FileProgress((n_rounds + 1) * len(sources)) as progress:
        for index in range(n_rounds + 1):
            for measure in sources:
                for name, value in measure().items():
                    if index:
                        rounds[name].append(value)
                progress.advance()
    return dict(rounds)


@dataclass(frozen=True)
class Spread:
    """What rounds gave: the median, the least and the most.

    Attributes:
        median: the middle value.
        low: the least.
        high: the most.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Sum up the values of all rounds."""
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, digits: str) -> str:
        """Write as "median (low .. high)", each in the format `digits`."""
        return f"{self.median:{digits}} ({self.low:{digits}} .. {self.high:{digits}})"


def ratios(rounds: Rounds, over: str, under: str) -> Spread:
    """Divide two figures within each round, so that a slow moment of the machine is in both."""
    return Spread.of([top / bottom for top, bottom in zip(rounds[over], rounds[under])])


# -- what is measured ----------------------------------------------------------------------------------------------


def workers_s(tagger: Tagger, paths: Sequence[str], n_workers: int) -> float:
    """Measure the whole path in worker processes, which stay warm with the tagger.

    Args:
        tagger: starts the workers.
        paths: the files; all are done several times where there are fewer than two a worker.
        n_workers: processes, with one torch thread each.

    Returns:
        Wall seconds a file.

    Raises:
        TaggramError: a file failed.
    """
    tasks = [*paths] * -(-2 * n_workers // len(paths))
    started = time.perf_counter()
    results = list(tagger.tag_many(tasks, n_workers=n_workers))
    elapsed_s = time.perf_counter() - started
    for result in results:
        if isinstance(result, Failure):
            raise TaggramError(f"{printable(result.path)}: {result.message}")
    return elapsed_s / len(tasks)


# -- sound ---------------------------------------------------------------------------------------------------------


def length_s(path: str) -> float:
    """Decode a whole file, so that one that cannot be read is told at once.

    Args:
        path: the file.

    Returns:
        Its length in seconds.

    Raises:
        AudioError: it cannot be read.
    """
    with SoundStream(path) as sound:
        for _ in sound:
            pass
        return sound.duration_s


def made_up_song(seed: int = 0) -> Samples:
    """Make sound that gives a decoder the work that music gives: notes of many partials, and noise that beats.

    Args:
        seed: of chance.

    Returns:
        (samples, 2) at `CLIP_SAMPLE_RATE`, -1 to 1, a little longer than a clip.
    """
    rng = np.random.default_rng(seed)
    note_s, n_notes = 0.25, int(CLIP_S / 0.25) + 4
    t = np.arange(int(note_s * CLIP_SAMPLE_RATE)) / CLIP_SAMPLE_RATE
    partials = np.arange(1, 13)
    notes = []
    for semitone in rng.integers(0, 36, n_notes):
        phases = 2 * np.pi * 110 * 2 ** (semitone / 12) * np.outer(partials, t)
        tone = (np.sin(phases) / partials[:, None]).sum(axis=0)
        beat = rng.standard_normal((len(t), 2)) * np.exp(-30 * t)[:, None]
        notes.append(0.2 * (tone * np.exp(-4 * t))[:, None] + 0.1 * beat)
    song: Samples = np.concatenate(notes).clip(-1, 1).astype(np.float32)
    return song


def write_clips(song: Samples, folder: Path, n_clips: int) -> list[str]:
    """Cut different clips of `CLIP_S` out of one song, and write them as MP3, as most collections have it.

    Args:
        song: (samples, 2) at `CLIP_SAMPLE_RATE`, at least as long as a clip.
        folder: where to.
        n_clips: how many.

    Returns:
        The paths.

    Raises:
        TaggramError: soundfile cannot write MP3 here.
    """
    paths = []
    for index in range(n_clips):
        path = folder / f"clip{index:02d}.mp3"
        clip = np.roll(song, -index * len(song) // n_clips, axis=0)[: int(CLIP_S * CLIP_SAMPLE_RATE)]
        try:
            soundfile.write(path, clip, CLIP_SAMPLE_RATE)
        except soundfile.LibsndfileError as error:
            raise TaggramError(f"soundfile cannot write MP3 here ({error}); name files to measure on.") from error
        paths.append(str(path))
    return paths


# -- what is printed -----------------------------------------------------------------------------------------------


def describe_machine() -> str:
    """Describe what was measured on: cores, processor and torch."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{n_cores()} cores of {_cpu_name()} ({capability}), torch {torch.__version__}, float32"


def _cpu_name() -> str:
    """Name the processor; only Linux says more than its family."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _make_table(rounds: Rounds, files_per_s: float) -> Table:
    """Make the table of all figures that are seconds a file.

    Args:
        rounds: the figures.
        files_per_s: files in a second of sound.

    Returns:
        The table.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("step", no_wrap=True)
    for heading in ("ms a file", "(min .. max)", "share", "s an hour of sound", "CPU ms", "alone, CPU ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    whole_s = statistics.median(rounds[WHOLE])
    names = {WORKERS: f"whole path, {n_cores()} workers"}
    for name in (*STEPS, WHOLE, LIMIT, WORKERS, PEER_USER, PEER_KEPT):
        if name in rounds:
            spread = Spread.of([1000 * seconds for seconds in rounds[name]])
            share = f"{spread.median / whole_s / 10:.0f} %" if name in STEPS else ""
            hour_s = spread.median / 1000 * files_per_s * 3600
            extent = f"({spread.low:.1f} .. {spread.high:.1f})"
            cpu_ms = [
                f"{1000 * statistics.median(rounds[kind + CPU]):.1f}" if kind + CPU in rounds else ""
                for kind in (name, alone(name))
            ]
            table.add_row(names.get(name, name), f"{spread.median:.1f}", extent, share, f"{hour_s:.2f}", *cpu_ms)
    return table


def _ratio_lines(rounds: Rounds, network_gflop: float) -> Iterator[str]:
    """Say what the table's figures are to each other.

    Args:
        rounds: the figures.
        network_gflop: what the network multiplies and adds a file.

    Yields:
        Lines to print.
    """
    peak = rounds[PEAK + CPU]
    yield f"{PEAK}, one thread: {Spread.of(peak):.0f} GFLOP/s"
    of_peak = [
        100 * network_gflop / seconds / gflop_per_s for seconds, gflop_per_s in zip(rounds["network" + CPU], peak)
    ]
    yield f"network: {network_gflop:.2f} GFLOP a file, at {Spread.of(of_peak):.0f} % of that"
    yield f"{LIMIT}: {', '.join(ALONE)}, each alone, and the network's GFLOP at the speed of the {PEAK}"
    of_limit = [Spread.of([100 * share for share in shares(rounds, kind)]) for kind in (CPU, "")]
    yield f"whole path: at {of_limit[0]:.0f} % of the limit in CPU seconds, at {of_limit[1]:.0f} % by the clock"
    yield f"{n_cores()} workers to one thread: {ratios(rounds, WHOLE, WORKERS):.2f} times as fast"
    for name in (PEER_USER, PEER_KEPT):
        if name in rounds:
            yield f"ours to {name}: {ratios(rounds, name, WORKERS):.1f} times as fast"


def shares(rounds: Rounds, kind: str) -> list[float]:
    """Say at which share of the limit the whole path is, in each round: 1 is a path in which nothing is lost."""
    return [limit / whole for limit, whole in zip(rounds[LIMIT + kind], rounds[WHOLE + kind])]
