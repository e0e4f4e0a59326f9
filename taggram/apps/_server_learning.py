"""A process that learns what is sent to be taught: it can be ended, which a thread cannot.

It is started with the first lesson, and ended when one takes too long, when nobody waits for it any more, or when the
service stops; then the next lesson starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taggram import errors
from taggram._processes import NOT_STARTED, Do, FileTask, Message, Processes, Tell, serve
from taggram.apps._server_errors import BusyError, CutError, NotReadyError
from taggram.apps._server_lesson import read_lesson, unpacked
from taggram.errors import TaggramError

if TYPE_CHECKING:
    from taggram.apps._server_settings import ServiceSettings
    from taggram.tagger import Tagger

MOST_LESSONS = 4  # that are learned or wait to be


@dataclass(frozen=True)
class LessonTask(FileTask):
    """A lesson that is to be learned; `path` is the file that holds it.

    Attributes:
        tagger: settings of the `Tagger` that the examples were given to.
    """

    tagger: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of a lesson.

    Attributes:
        kit: the file of a kit.
        notes: what else is to be said.
    """

    kit: bytes
    notes: tuple[str, ...]


class Lessons:
    """Learns one lesson after the other. To be read: `n_open`, those that are learned or wait.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._work_s = settings.work_s
        self._turn = asyncio.Semaphore(1)
        self._pool: Processes[LessonTask, Learned] | None = None
        self.n_open = 0

    def check_room(self) -> None:
        """Refuse a lesson that there is no room for, before its upload is read.

        Raises:
            BusyError: too many wait.
        """
        if self.n_open >= MOST_LESSONS:
            raise BusyError("others are taught just now; try again a little later.", {"Retry-After": "5"})

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for a lesson whose upload is whole.

        Raises:
            BusyError: there is none.
        """
        self.check_room()
        self.n_open += 1
        try:
            yield
        finally:
            self.n_open -= 1

    async def learn(self, task: LessonTask, is_cut: Callable[[], Any]) -> Learned:
        """Wait for the turn of a lesson that has a place, and learn it.

        Args:
            task: the lesson.
            is_cut: a coroutine that ends when the client goes away.

        Returns:
            What came of it.

        Raises:
            CutError: the client went away.
            NotReadyError: no process can be started.
            WorkerError: it took too long.
            TaggramError: the lesson cannot be learned.
        """
        learning = asyncio.create_task(self._learn_in_turn(task))
        cut = asyncio.ensure_future(is_cut())
        try:
            await asyncio.wait({learning, cut}, return_when=asyncio.FIRST_COMPLETED)
            if not learning.done():
                raise CutError("nobody waits for the answer any more.")
            return learning.result()
        finally:
            cut.cancel()
            learning.cancel()

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    async def _learn_in_turn(self, task: LessonTask) -> Learned:
        async with self._turn:
            if self._pool is None:
                self._pool = Processes(__name__, {}, _read, 1, hang_s=self._work_s, at_work="what learns from examples")
            try:
                return await asyncio.to_thread(_learned, self._pool, task)
            except asyncio.CancelledError:
                self.close()
                raise


def _learned(pool: Processes[LessonTask, Learned], task: LessonTask) -> Learned:
    """Have a lesson learned, or raise what the failure says."""
    result = next(pool.run([task]))
    if isinstance(result, Learned):
        return result
    if result.error == NOT_STARTED:
        raise NotReadyError(result.message)
    kind = getattr(errors, result.error, None)
    if isinstance(kind, type) and issubclass(kind, TaggramError):
        raise kind(result.message)
    raise RuntimeError(f"{result.error}: {result.message}")


def _read(task: LessonTask, fields: Message) -> Learned:  # noqa: ARG001 (as `Processes` wants it)
    return Learned(fields["kit"].tobytes(), tuple(fields["notes"]))


# -- inside of the process ---------------------------------------------------------------------------------------------


def _make(settings: Message) -> Do:  # noqa: ARG001 (as `serve` wants it)
    """Get ready to learn."""
    from taggram.learning.teach import teach_embedded

    def do(fields: Message, tell: Tell) -> Message:  # noqa: ARG001 (as `serve` wants it)
        lesson = read_lesson(Path(fields["path"]).read_bytes())
        examples = [(one.name, tuple(one.tags), unpacked(one.example)) for one in lesson.examples]
        tagger = _tagger(json.dumps(fields["tagger"]))
        taught = teach_embedded(examples, tagger, task=lesson.task, none_of_these=lesson.none_of_these)
        return {"kit": np.frombuffer(taught.kit.to_bytes(), np.uint8), "notes": list(taught.notes)}

    return do


@functools.lru_cache(1)
def _tagger(settings: str) -> Tagger:
    """Load the network whose vectors are learned from; the last one is kept."""
    from taggram.tagger import Tagger

    usual = {"engine": "torch", "precision": "float32"}  # it runs nothing, and needs no other form
    return Tagger(**{**json.loads(settings), **usual}, device="cpu")


if __name__ == "__main__":
    serve(_make)
