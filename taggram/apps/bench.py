"""How fast this machine tags, step by step: the command `bench`, and what the scripts in `benchmarks/` share.

Other work on a machine moves all of its times, so nothing is measured alone: what is compared takes turns, round by
round, and the ratios within a round are the result. Each figure is the median over the rounds, with the least and the
most. Imports, loading and a first round are left out on all sides. Everything runs on the CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeVar

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from taggram._processes import n_cores
from taggram.apps._progress import FileProgress
from taggram.audio import Samples, SoundStream, Source
from taggram.errors import ConfigError, TaggramError, printable
from taggram.models import load_card
from taggram.results import Failure
from taggram.tagger import Progress, Tagger, one_torch_thread

STEPS = ("decode", "downmix", "resample", "front-end", "network", "rest")
WHOLE = "whole path, one thread"
WORKERS = "whole path, workers"
PEAK = "matrix product"
PEER_USER = "musicnn, as called"
PEER_KEPT = "musicnn, kept session"

CLIP_S = 30.0
CLIP_SAMPLE_RATE = 44_100
N_CLIPS = 8  # made up where no file is named
PEAK_SIZE = 1024  # rows and columns: three such matrices of float32 are 12 MB
PEAK_RUNS = 20

PEER_SCRIPT = Path(__file__).with_name("_peer_musicnn.py")
PEER_RECIPE = """\
An environment with the original musicnn is made by (Python 3.11):
    python3.11 -m venv peer
    peer/bin/pip install 'setuptools<81' tensorflow-cpu==2.15.1 'numpy<2' librosa==0.10.2 soundfile
    peer/bin/pip install --no-deps musicnn==0.1.0
and used by: taggram bench --peer peer/bin/python"""

Figures = dict[str, float]
Rounds = dict[str, list[float]]  # name of a figure: its value in each round
Item = TypeVar("Item")


def print_bench(files: Sequence[str], *, model: str, n_rounds: int, peer: Path | None) -> None:
    """Measure how fast this machine tags, and print the table.

    Args:
        files: sound to measure on; none for clips that are made up.
        model: "network.weights".
        n_rounds: how often each step is measured, at least 1.
        peer: Python of an environment with the original musicnn, or None.

    Raises:
        AudioError: a file cannot be read.
        TaggramError: the peer cannot be started, or cannot tag a file.
    """
    with contextlib.ExitStack() as closing:
        paths = list(files) or write_clips(
            made_up_song(), Path(closing.enter_context(tempfile.TemporaryDirectory())), N_CLIPS
        )
        sound_s = sum(map(length_s, paths))
        original = closing.enter_context(Peer(peer, model)) if peer else None
        tagger = closing.enter_context(StepTagger(model))
        network_gflop = sum(tagger.network_gflop(path) for path in paths) / len(paths)
        sources: list[Callable[[], Figures]] = [
            lambda: measure_steps(tagger, paths),
            lambda: {WORKERS: workers_s(tagger, paths, n_cores())},
            lambda: {PEAK: matmul_gflop_per_s()},
        ]
        if original is not None:
            sources.append(lambda: original.measure(paths))
        rounds = run_rounds(sources, n_rounds)
        peer_note = original.note if original is not None else ""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{model}, {len(paths)} files, {sound_s:.1f} s of sound, {n_rounds} rounds", markup=False)
    console.print(describe_machine(), markup=False)
    console.print()
    console.print(_make_table(rounds, len(paths) / sound_s))
    console.print()
    for line in (*_ratio_lines(rounds, network_gflop), peer_note):
        if line:
            console.print(line, markup=False)


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


class StepClock:
    """Adds up how long each of several nested steps takes, without the steps within it."""

    def __init__(self) -> None:
        self.seconds: Figures = defaultdict(float)
        self._steps: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what is done within the `with` statement as this step."""
        self._book()
        self._steps.append(name)
        try:
            yield
        finally:
            self._book()
            self._steps.pop()

    def each(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """Count the making of each item as this step.

        Args:
            name: of the step.
            items: what is made.

        Yields:
            The items.
        """
        while True:
            with self.step(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def _book(self) -> None:
        """Add the time since the last change to the step that it was spent in."""
        now = time.perf_counter()
        if self._steps:
            self.seconds[self._steps[-1]] += now - self._since
        self._since = now


class _StepStream(SoundStream):
    """A sound whose decoding, downmix and resampling are measured.

    Args:
        source: as for `SoundStream`.
        clock: adds up the steps.
        **options: those of `SoundStream`.
    """

    def __init__(self, source: Source, clock: StepClock, **options: Any) -> None:
        self._clock = clock
        super().__init__(source, **options)

    def _open(self, source: Source) -> Iterator[Samples]:
        return self._clock.each("decode", super()._open(source))

    def _mono_blocks(self) -> Iterator[Samples]:
        return self._clock.each("downmix", super()._mono_blocks())

    def __iter__(self) -> Iterator[Samples]:
        return self._clock.each("resample", super().__iter__())


class StepTagger(Tagger):
    """A tagger that measures the steps of its path, in this process and on the CPU.

    Args:
        model: "network.weights".
    """

    def __init__(self, model: str) -> None:
        super().__init__(model, device="cpu")
        self._clock = StepClock()

    def steps(self, path: str) -> Figures:
        """Tag one file with one torch thread.

        Args:
            path: the file.

        Returns:
            Seconds of each of `STEPS`, which add up to the whole path. "rest" is the cutting of patches and the result.
        """
        self._clock = StepClock()
        with one_torch_thread(), self._clock.step("rest"):
            self.tag(path)
        return self._clock.seconds

    def network_gflop(self, path: str) -> float:
        """Count what the network multiplies and adds for one file.

        Args:
            path: the file.

        Returns:
            10^9 operations of matrix products and convolutions, a multiplication and an addition being two.
        """
        counter = FlopCounterMode(display=False)
        n_flop = 0
        with torch.inference_mode(), self._open(path) as sound:
            for frames, starts, _ in self._stretches(self._rows(sound, None), self.batch_size):
                with counter:
                    self._form.scores(frames, starts, self.patch_frames)
                n_flop += counter.get_total_flops()
        return n_flop / 1e9

    def _open(self, source: Source) -> SoundStream:
        rate, longest_s = self.model.frontend.sample_rate, self.max_duration_s
        return _StepStream(source, self._clock, sample_rate=rate, max_duration_s=longest_s)

    def _rows(self, sound: SoundStream, progress: Progress | None) -> Iterator[tuple[Tensor, bool, bool]]:
        return self._clock.each("front-end", super()._rows(sound, progress))

    def _run(
        self, sound: SoundStream, compute: Callable[[Tensor, list[int], int], Tensor], progress: Progress | None
    ) -> tuple[Samples, bool]:
        def timed(frames: Tensor, starts: list[int], n_frames: int) -> Tensor:
            with self._clock.step("network"):
                return compute(frames, starts, n_frames)

        return super()._run(sound, timed, progress)


def measure_steps(tagger: StepTagger, paths: Sequence[str]) -> Figures:
    """Measure the steps over files.

    Args:
        tagger: tags them in this process.
        paths: the files.

    Returns:
        Seconds a file of each of `STEPS`, and of `WHOLE`.
    """
    total_s: Counter[str] = Counter()
    for path in paths:
        total_s.update(tagger.steps(path))
    figures = {step: total_s[step] / len(paths) for step in STEPS}
    return {**figures, WHOLE: sum(figures.values())}


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


def matmul_gflop_per_s() -> float:
    """Measure the peak of this machine: the quickest of several large matrix products, float32, one thread.

    Returns:
        10^9 operations a second, a multiplication and an addition being two.
    """
    left, right = torch.rand(2, PEAK_SIZE, PEAK_SIZE)
    best_s = float("inf")
    with one_torch_thread():
        for _ in range(PEAK_RUNS):
            started = time.perf_counter()
            torch.mm(left, right)
            best_s = min(best_s, time.perf_counter() - started)
    return 2 * PEAK_SIZE**3 / best_s / 1e9


class Peer:
    """The original musicnn in a process of another Python, kept alive so that its rounds take turns with ours.

    To be used in a `with` statement.

    Args:
        python: the Python of an environment that has it.
        model: our name of the model.

    Raises:
        TaggramError: it cannot be started.
        ConfigError: its package has no such model.
    """

    def __init__(self, python: Path, model: str) -> None:
        card = load_card(model)
        if card.wheel is None:
            raise ConfigError(f"the package of the original musicnn holds no weights for {model}.")
        name = PurePosixPath(card.data_file.member).parent.name
        self.note = (
            f"the original is {card.wheel.requirement} with {name}, on all cores; ratios are to ours in workers."
        )
        self._told = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        command = [
            str(python),
            "-I",
            str(PEER_SCRIPT),
            name,
        ]  # isolated: no module of ours may stand in for one of its own
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._told, env=quiet, encoding="utf-8"
            )
        except OSError as error:
            self._told.close()
            raise TaggramError(f"{printable(str(python))}: {error.strerror or error}.\n{PEER_RECIPE}") from error
        try:
            self._receive()
        except EOFError as error:
            self.close()
            raise TaggramError(f"{printable(str(python))} cannot run musicnn: {error}.\n{PEER_RECIPE}") from error
        except BaseException:
            self.close()
            raise

    def measure(self, paths: Sequence[str]) -> Figures:
        """Tag files in both ways, see `_peer_musicnn.py`.

        Args:
            paths: the files.

        Returns:
            Seconds a file of `PEER_USER` and `PEER_KEPT`.

        Raises:
            TaggramError: it failed.
        """
        answers = [self._ask(path) for path in paths]
        return {
            PEER_USER: sum(answer["user"] for answer in answers) / len(paths),
            PEER_KEPT: sum(answer["kept"] for answer in answers) / len(paths),
        }

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._told.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, path: str) -> Figures:
        try:
            assert self._process.stdin is not None  # noqa: S101  # it is a pipe
            self._process.stdin.write(json.dumps(path) + "\n")
            self._process.stdin.flush()
            answer = self._receive()
        except (OSError, EOFError) as error:
            raise TaggramError(f"{printable(path)}: the original musicnn ended: {error}.") from error
        if "error" in answer:
            raise TaggramError(f"{printable(path)}: the original musicnn cannot tag it: {answer['error']}.")
        return answer

    def _receive(self) -> dict[str, Any]:
        """Read one answer, or raise EOFError with the last line that the process said."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._told.seek(0)
        said = self._told.read().decode(errors="replace").strip()
        raise EOFError(printable(said.rpartition("\n")[2].rstrip(".")) or "it said nothing")


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
    for heading in ("ms a file", "(min .. max)", "share", "s an hour of sound"):
        table.add_column(heading, justify="right", no_wrap=True)
    whole_s = statistics.median(rounds[WHOLE])
    names = {WORKERS: f"whole path, {n_cores()} workers"}
    for name in (*STEPS, WHOLE, WORKERS, PEER_USER, PEER_KEPT):
        if name in rounds:
            spread = Spread.of([1000 * seconds for seconds in rounds[name]])
            share = f"{spread.median / whole_s / 10:.0f} %" if name in STEPS else ""
            hour_s = spread.median / 1000 * files_per_s * 3600
            extent = f"({spread.low:.1f} .. {spread.high:.1f})"
            table.add_row(names.get(name, name), f"{spread.median:.1f}", extent, share, f"{hour_s:.2f}")
    return table


def _ratio_lines(rounds: Rounds, network_gflop: float) -> Iterator[str]:
    """Say what the table's figures are to each other.

    Args:
        rounds: the figures.
        network_gflop: what the network multiplies and adds a file.

    Yields:
        Lines to print.
    """
    yield f"{PEAK}, one thread: {Spread.of(rounds[PEAK]):.0f} GFLOP/s"
    of_peak = [
        100 * network_gflop / seconds / gflop_per_s for seconds, gflop_per_s in zip(rounds["network"], rounds[PEAK])
    ]
    yield f"network: {network_gflop:.2f} GFLOP a file, at {Spread.of(of_peak):.0f} % of that"
    yield f"{n_cores()} workers to one thread: {ratios(rounds, WHOLE, WORKERS):.2f} times as fast"
    for name in (PEER_USER, PEER_KEPT):
        if name in rounds:
            yield f"ours to {name}: {ratios(rounds, name, WORKERS):.1f} times as fast"
