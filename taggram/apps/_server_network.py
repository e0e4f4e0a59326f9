"""Networks of the service: patches of several requests go through one network together.

A request is tagged by a `Tagger` in a thread of its own, which runs the front-end and waits for the network. What waits
at the same time becomes one batch: the stretches of spectrogram stand one after the other, each with the starts of its
own patches, so the scores are those of each alone.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from taggram.apps._server_decoding import DecodedSound
from taggram.models._inference import InferenceForm
from taggram.tagger import Tagger

if TYPE_CHECKING:
    from taggram.audio import SoundStream, Source

Compute = Callable[[Tensor, Sequence[int], int], Sequence[Tensor]]
"""Takes a stretch, the starts of its patches and their length; gives (patches, ...) of one thing or of several."""


@dataclass(frozen=True, eq=False)
class _Stretch:
    """A stretch of one sound that waits for the network.

    Attributes:
        key: what can share a batch has the same: form, what is computed, and length of a patch.
        compute: what is computed.
        frames: (mels, frames) or (1, samples).
        starts: first frame of each patch.
        result: what `compute` gives of it, once it is there.
    """

    key: tuple[Any, ...]
    compute: Compute
    frames: Tensor
    starts: Sequence[int]
    result: Future[Sequence[Tensor]]


class Batches:
    """Threads that run networks, each on one core, on whatever waits.

    Args:
        n_threads: how many.
        batch_size: patches at most in a batch; a stretch alone may have more.
        told: is told the number of patches of each batch.
    """

    def __init__(self, n_threads: int, batch_size: int, told: Callable[[int], None]) -> None:
        self._batch_size = batch_size
        self._told = told
        self._waiting: deque[_Stretch] = deque()
        self._change = threading.Condition()
        self._is_open = True
        torch.set_num_threads(1)  # several side by side keep the cores busier than one on all of them
        for _ in range(n_threads):
            threading.Thread(target=self._serve, name="network", daemon=True).start()

    def run(
        self, key: tuple[Any, ...], compute: Compute, frames: Tensor, starts: Sequence[int], n_frames: int
    ) -> Sequence[Tensor]:
        """Compute something for the patches of a stretch, maybe together with others, and wait for it.

        Args:
            key: stretches with the same form and the same computation have the same.
            compute: what is computed.
            frames: (mels, frames) or (1, samples): the stretch.
            starts: first frame of each patch.
            n_frames: length of a patch.

        Returns:
            What `compute` gives of this stretch.
        """
        stretch = _Stretch((*key, n_frames), compute, frames, starts, Future())
        with self._change:
            if not self._is_open:
                raise RuntimeError("the network was closed.")
            self._waiting.append(stretch)
            self._change.notify()
        return stretch.result.result()

    def close(self) -> None:
        """Let the threads end when they are done with what they have."""
        with self._change:
            self._is_open = False
            self._change.notify_all()

    def _serve(self) -> None:
        with torch.inference_mode():
            while batch := self._next_batch():
                self._told(sum(len(stretch.starts) for stretch in batch))
                _compute(batch)

    def _next_batch(self) -> list[_Stretch]:
        """Wait for a stretch, and take those that can go with it, the oldest first; none when closed."""
        with self._change:
            while not self._waiting:
                if not self._is_open:
                    return []
                self._change.wait()
            batch = [self._waiting.popleft()]
            room = self._batch_size - len(batch[0].starts)
            others: deque[_Stretch] = deque()
            while self._waiting:
                stretch = self._waiting.popleft()
                if stretch.key == batch[0].key and len(stretch.starts) <= room:
                    batch.append(stretch)
                    room -= len(stretch.starts)
                else:
                    others.append(stretch)
            self._waiting = others
            return batch


def _compute(batch: list[_Stretch]) -> None:
    """Run a network over a batch; where that fails, over each stretch alone, so that one cannot spoil the others."""
    try:
        results = _results(batch)
    except Exception as error:
        if len(batch) == 1:
            batch[0].result.set_exception(error)
        else:
            for stretch in batch:
                _compute([stretch])
        return
    for stretch, result in zip(batch, results):
        stretch.result.set_result(result)


def _results(batch: list[_Stretch]) -> list[Sequence[Tensor]]:
    """Join stretches into one, run the network, and take its results apart."""
    first, n_frames = batch[0], batch[0].key[-1]
    if len(batch) == 1:
        return [first.compute(first.frames, first.starts, n_frames)]
    starts: list[int] = []
    offset = 0
    for stretch in batch:
        starts.extend(offset + start for start in stretch.starts)
        offset += stretch.frames.shape[1]
    joined = first.compute(torch.cat([stretch.frames for stretch in batch], dim=1), starts, n_frames)
    counts = [len(stretch.starts) for stretch in batch]
    return list(zip(*(torch.split(one, counts) for one in joined)))


class BatchedForm(InferenceForm):
    """A form whose patches share batches with those of other threads.

    Args:
        form: the form that does the work.
        batches: what runs it.
        told: is told how many numbers each stretch has given; it may raise to end the work.
    """

    def __init__(self, form: InferenceForm, batches: Batches, told: Callable[[int], None] | None = None) -> None:
        super().__init__(form.model)
        self.form = form
        self._batches = batches
        self._told = told

    def features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `InferenceForm.features`."""
        return self._run(("features",), lambda *given: [self.form.features(*given)], frames, starts, n_frames)[0]

    def scores(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute scores; see `InferenceForm.scores`."""
        return self._run(("scores",), lambda *given: [self.form.scores(*given)], frames, starts, n_frames)[0]

    def layer(self, name: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute a named layer; see `InferenceForm.layer`."""
        return self._run(("layer", name), lambda *given: [self.form.layer(name, *given)], frames, starts, n_frames)[0]

    def layers(self, names: Sequence[str], frames: Tensor, starts: Sequence[int], n_frames: int) -> list[Tensor]:
        """Compute several named layers; see `InferenceForm.layers`."""
        what = ("layers", *names)
        return list(self._run(what, lambda *given: self.form.layers(names, *given), frames, starts, n_frames))

    def _run(
        self, what: tuple[str, ...], compute: Compute, frames: Tensor, starts: Sequence[int], n_frames: int
    ) -> Sequence[Tensor]:
        results = self._batches.run((id(self.form), *what), compute, frames, starts, n_frames)
        if self._told:
            self._told(sum(result.numel() for result in results))
        return results


class ServedTagger(Tagger):
    """A tagger for many threads, whose sound was decoded elsewhere.

    Args:
        batches: what runs its network.
        **settings: those of `Tagger`.
    """

    def __init__(self, batches: Batches, **settings: Any) -> None:
        super().__init__(**settings)
        self._batches = batches
        self._plain_form = self._form

    def warm_up(self) -> None:
        """Tag a patch of silence, so that what is made at first use, such as a graph, is there before any request.

        Raises:
            ExportError: the graph cannot be made.
        """
        frontend = self.model.frontend
        if self.tags:
            self.tag((np.zeros(frontend.n_samples_for(self.patch_frames), np.float32), frontend.sample_rate))

    def for_request(self, hop_s: float | None, told: Callable[[int], None]) -> Self:
        """Give the tagger of one request, with the same network.

        Args:
            hop_s: step between patches in seconds; None is this tagger's own.
            told: is told how many numbers each stretch has given; it may raise to end the work.

        Returns:
            The tagger.

        Raises:
            ConfigError: the hop is shorter than a frame.
        """
        own = copy.copy(self)
        own.hop_frames = self._frames(hop_s, None, self.hop_frames, "hop")
        own._form = BatchedForm(self._plain_form, self._batches, told)
        return own

    def _open(self, source: Source | DecodedSound) -> SoundStream:
        return cast("SoundStream", source) if isinstance(source, DecodedSound) else super()._open(source)
