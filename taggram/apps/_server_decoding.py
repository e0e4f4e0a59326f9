"""The decoders of the service, seen from the service: an uploaded file in, sound that can be walked through out."""

from __future__ import annotations

import io
import math
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from taggram._processes import NOT_STARTED, Message, Processes
from taggram.apps._server_decoder import DecodeTask
from taggram.apps._server_errors import NotReadyError
from taggram.errors import AudioError, WorkerError
from taggram.results import Failure

if TYPE_CHECKING:
    from taggram.apps._server_settings import ServiceSettings
    from taggram.audio import Samples

BLOCK_SAMPLES = 65_536  # read at once
HANG_S = 20.0  # a decoder without any progress for so long is ended
FRESH_S = 10.0  # a decoder that answered so long ago need not be asked whether it does
OUT_OF_MEMORY = "MemoryError"


@dataclass(frozen=True, kw_only=True)
class DecodedSound:
    """A sound whose samples lie in a file; it can be walked through as a `SoundStream` can.

    Attributes:
        name: what the client calls it, or "".
        samples: the file.
        duration_s: length of the sound.
        notes: as those of a `SoundStream`.
        unusual: likewise.
    """

    name: str
    samples: Path
    duration_s: float
    notes: tuple[str, ...]
    unusual: tuple[str, ...]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the file where it is; whoever made it removes it."""

    def __iter__(self) -> Iterator[Samples]:
        """Read block by block: (samples,) float32."""
        import numpy as np

        with self.samples.open("rb", buffering=0) as file:
            while len(block := np.fromfile(file, np.float32, BLOCK_SAMPLES)):
                yield block


class Decoders:
    """Decoder processes. One that crashes, hangs or is killed costs one file, and another takes its place.

    Args:
        settings: of the service.
        max_sample_rate: the highest that is asked for, in Hz.
        lost: is called for each process that was lost.
    """

    def __init__(self, settings: ServiceSettings, max_sample_rate: int, lost: Callable[[], None]) -> None:
        names = ("max_duration_s", "max_decoded_mb", "max_memory_mb", "decode_s")
        limits = {name: getattr(settings, name) for name in names} | {"max_sample_rate": max_sample_rate}
        self._max_memory_mb = settings.max_memory_mb
        self._pool: Processes[DecodeTask, DecodedSound] = Processes(
            "taggram.apps._server_decoder", limits, _read, settings.decoders, hang_s=min(HANG_S, settings.decode_s)
        )
        self._lost = lost
        self._answered = -math.inf

    def start(self, spool: Path) -> None:
        """Start all of them, and have each decode something.

        Args:
            spool: a folder for files.

        Raises:
            TaggramError: they cannot be started.
        """
        probe = spool / "probe"
        probe.write_bytes(_wav())
        tasks = [
            DecodeTask(str(probe), str(spool / f"probe-{index}"), 16_000, "") for index in range(self._pool.n_workers)
        ]
        for result in self._pool.run(tasks):
            self._checked(result)
        for task in tasks:
            Path(task.samples).unlink()

    def decode(self, upload: Path, name: str, sample_rate: int) -> DecodedSound:
        """Decode a file; the samples are written beside it.

        Args:
            upload: the file.
            name: what the client calls it, or "".
            sample_rate: in Hz, of the samples.

        Returns:
            The sound.

        Raises:
            AudioError: it cannot be read or used, or is more than is allowed.
            WorkerError: its decoder crashed, hung, or was killed.
            NotReadyError: no decoder can be started.
        """
        task = DecodeTask(str(upload), f"{upload}.samples", sample_rate, name)
        return self._checked(next(self._pool.run([task], self._hear)))

    def answer(self, spool: Path) -> bool:
        """Say whether a decoder answers: whether one has just now told of its work, or does when it is asked.

        Args:
            spool: a folder for files.

        Returns:
            Whether one does.
        """
        if time.monotonic() - self._answered < FRESH_S:
            return True
        task = DecodeTask(str(spool / "probe"), str(spool / "probe-health"), 16_000, "")
        try:
            self._checked(next(self._pool.run([task])))
        except (NotReadyError, WorkerError):
            return False
        return True

    def close(self) -> None:
        """End the processes."""
        self._pool.close()

    def _hear(self, path: str, done_s: float) -> None:  # noqa: ARG002 (as `Processes` tells it)
        """Note that a decoder is at work and not stuck."""
        self._answered = time.monotonic()

    def _checked(self, result: DecodedSound | Failure) -> DecodedSound:
        """Give what was decoded, or raise what the failure says."""
        if isinstance(result, Failure) and result.error in (NOT_STARTED, WorkerError.__name__):
            self._lost()
            kind: Any = NotReadyError if result.error == NOT_STARTED else WorkerError
            raise kind(result.message)
        self._answered = time.monotonic()
        if isinstance(result, DecodedSound):
            return result
        if result.error == OUT_OF_MEMORY:
            raise AudioError(f"decoding it needs more memory than the {self._max_memory_mb:g} MB allowed")
        if result.error != AudioError.__name__:  # a decoder that stumbles over what it did not expect
            raise AudioError(f"it cannot be decoded ({result.error})")
        raise AudioError(result.message)


def _read(task: DecodeTask, fields: Message) -> DecodedSound:
    """Make the sound of what a decoder said."""
    return DecodedSound(
        name=task.name,
        samples=Path(task.samples),
        duration_s=fields["duration_s"],
        notes=tuple(fields["notes"]),
        unusual=tuple(fields["unusual"]),
    )


def _wav() -> bytes:
    """Make a file of a tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(16_000)
        wav.writeframes(bytes(3_200))
    return file.getvalue()
