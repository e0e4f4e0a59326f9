"""The path of a file, measured step by step as it runs, and each of its steps alone beside it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from taggram.apps._peer import CPU
from taggram.audio import Samples, SoundStream, Source, mix_down, resampled
from taggram.models._summary import count_flops
from taggram.tagger import Progress, Tagger, one_torch_thread

STEPS = ("decode", "downmix", "resample", "front-end", "network", "rest")
ALONE = STEPS[:4]  # what is also measured with nothing around it
WHOLE = "whole path, one thread"
LIMIT = "limit"
PEAK = "matrix product"  # 10^9 operations a second
PEAK_SIZE = 1024  # rows and columns: three such matrices of float32 are 12 MB
PEAK_RUNS = 3  # after each file

Figures = dict[str, float]
Item = TypeVar("Item")


def alone(step: str) -> str:
    """Name the figure of a step that is measured with nothing around it."""
    return f"{step}, alone"


class StepClock:
    """Adds up how long each of several nested steps takes, without the steps within it.

    To be read: `seconds` and `cpu_s` of each step, the latter of this thread.
    """

    def __init__(self) -> None:
        self.seconds: Figures = defaultdict(float)
        self.cpu_s: Figures = defaultdict(float)
        self._steps: list[str] = []
        self._since = (0.0, 0.0)

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
        now = time.perf_counter(), time.thread_time()
        if self._steps:
            self.seconds[self._steps[-1]] += now[0] - self._since[0]
            self.cpu_s[self._steps[-1]] += now[1] - self._since[1]
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

    def decoded(self) -> Iterator[Samples]:
        """Give the decoder's blocks, (frames, channels), as they come."""
        if self._first is not None:
            yield self._first
        yield from self._blocks


class StepTagger(Tagger):
    """A tagger that measures the steps of its path, in this process and on the CPU.

    Args:
        model: "network.weights".
    """

    def __init__(self, model: str) -> None:
        super().__init__(model, device="cpu")
        self._clock = StepClock()
        self._gflop_per_patch = count_flops(self.model, self.patch_frames, shares=self._form.shares()) / 1e9

    def steps(self, path: str) -> StepClock:
        """Tag one file with one torch thread.

        Args:
            path: the file.

        Returns:
            The seconds of each of `STEPS`, which add up to the whole path. "rest" is the cutting of patches and the
            result.
        """
        self._clock = StepClock()
        with one_torch_thread(), self._clock.step("rest"):
            self.tag(path)
        return self._clock

    def steps_alone(self, path: str) -> StepClock:
        """Do each of `ALONE` with nothing around it: no checks, no blocks that are put together, no patches.

        Args:
            path: the file.

        Returns:
            The seconds of each.
        """
        clock, frontend = StepClock(), self.model.frontend
        with one_torch_thread(), torch.inference_mode():
            with _StepStream(path, clock) as sound:
                mono = clock.each("downmix", map(mix_down, sound.decoded()))
                blocks = resampled(mono, sound.source_rate, frontend.sample_rate)
                samples = np.concatenate([*clock.each("resample", blocks)])
            if len(samples) < (least := frontend.n_samples_for(self.patch_frames)):
                samples = np.resize(samples, least)
            with clock.step("front-end"):
                frontend(torch.from_numpy(samples)[None])
        return clock

    def network_gflop(self, path: str) -> float:
        """Count what the network has to multiply and add for one file, without what pruning leaves out.

        Args:
            path: the file.

        Returns:
            10^9 operations of matrix products and convolutions, a multiplication and an addition being two.
        """
        return len(self.tag(path).scores) * self._gflop_per_patch

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


def measure_steps(tagger: StepTagger, paths: Sequence[str], network_gflop: float) -> Figures:
    """Measure the steps over files, and after each file what limits them, so that other work hits both alike.

    Args:
        tagger: tags them in this process.
        paths: the files.
        network_gflop: what the network has to multiply and add a file, in 10^9 operations.

    Returns:
        Seconds a file of each of `STEPS`, of `WHOLE`, of each of `ALONE`, and of `LIMIT`: those alone, and the
        network's arithmetic at the speed of `PEAK`, which is here too, in 10^9 operations a second. Each of them also
        in CPU seconds of the one thread, with `CPU` at the end of the name.
    """
    total: Figures = defaultdict(float)
    peak: Figures = defaultdict(float)
    for path in paths:
        for clock, names in ((tagger.steps(path), {step: step for step in STEPS}),
                             (tagger.steps_alone(path), {step: alone(step) for step in ALONE})):  # fmt: skip
            for step, name in names.items():
                total[name] += clock.seconds[step] / len(paths)
                total[name + CPU] += clock.cpu_s[step] / len(paths)
        for name, gflop_per_s in measure_peak().items():
            peak[name] = max(peak[name], gflop_per_s)
    for kind in ("", CPU):
        total[WHOLE + kind] = sum(total[step + kind] for step in STEPS)
        total[LIMIT + kind] = sum(total[alone(step) + kind] for step in ALONE) + network_gflop / peak[PEAK + kind]
    return {**total, **peak}


def measure_peak() -> Figures:
    """Measure how fast one thread multiplies large matrices, float32: the best of torch's own product and oneDNN's.

    Returns:
        10^9 operations a second, a multiplication and an addition being two, by the clock and by CPU seconds.
    """
    left, right = torch.rand(2, PEAK_SIZE, PEAK_SIZE)
    products = [partial(torch.mm, left, right)]
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        products.append(partial(torch.nn.functional.linear, left.to_mkldnn(), right.to_mkldnn()))
    best_s, best_cpu_s = float("inf"), float("inf")
    with one_torch_thread(), torch.inference_mode():
        for product in products * PEAK_RUNS:
            began, began_cpu = time.perf_counter(), time.thread_time()
            product()
            best_s = min(best_s, time.perf_counter() - began)
            best_cpu_s = min(best_cpu_s, time.thread_time() - began_cpu)
    gflop = 2 * PEAK_SIZE**3 / 1e9
    return {PEAK: gflop / best_s, PEAK + CPU: gflop / best_cpu_s}
