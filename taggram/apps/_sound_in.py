"""Sound that comes in now: from a microphone, or from another program through a pipe."""

from __future__ import annotations

import contextlib
import io
import queue
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from taggram.errors import AudioError, ConfigError, missing_extra, printable

if TYPE_CHECKING:
    from types import ModuleType

BLOCK_S = 0.05
HELD_BLOCKS = 1_200  # a minute; a microphone that is not listened to for longer loses what comes
PIPE = "standard input"
PCM = {1: "u1", 2: "<i2", 4: "<i4"}  # by bytes a sample; 3 of them become 4
WAIT_S = 0.2  # a wait without end cannot be interrupted on Windows


@dataclass(frozen=True, eq=False)
class Heard:
    """A block of sound, and when it was there.

    Attributes:
        samples: (samples,) float32, mono, -1 to 1.
        at_s: on the clock of `time.monotonic`.
    """

    samples: NDArray[np.float32]
    at_s: float


class Microphone:
    """Sound from a sound card. To be used in a `with` statement.

    Args:
        device: number or part of the name of an input; "" is the system's own choice.

    Attributes:
        is_live: whether what is not taken in time is lost.

    Raises:
        ConfigError: there is no such input.
        MissingExtraError: sounddevice is not installed.
        AudioError: it cannot be opened.
    """

    is_live = True

    def __init__(self, device: str = "") -> None:
        self._sounddevice = load_sounddevice()
        self._blocks: queue.Queue[Heard] = queue.Queue(HELD_BLOCKS)
        wanted = int(device) if device.isdecimal() else device or None
        try:
            info = self._sounddevice.query_devices(wanted, "input")
            self.sample_rate = round(info["default_samplerate"])
            self.name = str(info["name"])
            self._stream = self._sounddevice.InputStream(
                device=wanted,
                channels=1,
                dtype="float32",
                samplerate=self.sample_rate,
                blocksize=round(BLOCK_S * self.sample_rate),
                callback=self._take,
            )
        except ValueError as error:
            raise ConfigError(f"no input is {printable(device)!r}; `taggram listen --devices` lists them.") from error
        except self._sounddevice.PortAudioError as error:
            raise AudioError(f"it cannot be opened ({error})", device or "the microphone") from error

    @property
    def waiting_s(self) -> float:
        """Sound that is there and was not taken yet, in seconds."""
        return self._blocks.qsize() * BLOCK_S

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Heard]:
        """Listen, without end.

        Yields:
            Blocks as they come.
        """
        while True:
            with contextlib.suppress(queue.Empty):
                yield self._blocks.get(timeout=WAIT_S)

    def _take(self, samples: NDArray[np.float32], n_frames: int, when: Any, status: Any) -> None:  # noqa: ARG002
        with contextlib.suppress(queue.Full):
            self._blocks.put_nowait(Heard(samples[:, 0].copy(), time.monotonic()))


class Pipe:
    """Sound that another program writes: a WAV file without end, or samples of 16 bits alone.

    Args:
        stream: where it comes from.
        sample_rate: in Hz, of samples that come without a header; None wants a WAV file.
        n_channels: of such samples.

    Attributes:
        is_live: whether what is not taken in time is lost; the other program waits.
        name: what it is called.
        waiting_s: sound that is there and was not taken yet, in seconds; the other program holds it.

    Raises:
        AudioError: it is no WAV file that can be read.
    """

    is_live = False
    name = PIPE
    waiting_s = 0.0

    def __init__(self, stream: BinaryIO, *, sample_rate: int | None = None, n_channels: int = 1) -> None:
        self._stream = stream
        self._n_bytes = 2
        if sample_rate is not None:
            self.sample_rate, self._n_channels = sample_rate, n_channels
            return
        try:
            header = wave.open(cast("BinaryIO", _Forward(stream)), "rb")  # noqa: SIM115 (the stream goes on behind the header)
        except (wave.Error, EOFError) as error:
            raise AudioError(
                f"it is no WAV file of whole numbers ({str(error) or 'it is empty'}). `ffmpeg -i song.mp3 -f wav - | "
                "taggram listen -` makes one of any sound, `taggram tag song.mp3` takes the file itself, and with "
                "--sample-rate HZ, samples of 16 bits are taken without a header",
                PIPE,
            ) from error
        self.sample_rate, self._n_channels = header.getframerate(), header.getnchannels()
        self._n_bytes = header.getsampwidth()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __iter__(self) -> Iterator[Heard]:
        """Read to the end.

        Yields:
            Blocks as they come.
        """
        n_frame = self._n_bytes * self._n_channels
        n_block = n_frame * max(1, round(BLOCK_S * self.sample_rate))
        while data := self._stream.read(n_block):
            whole = data[: len(data) - len(data) % n_frame]
            if whole:
                yield Heard(self._as_mono(whole), time.monotonic())

    def _as_mono(self, data: bytes) -> NDArray[np.float32]:
        """Turn the bytes of whole numbers into the mean of the channels."""
        if self._n_bytes == 3:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            values = wide.reshape(-1).view("<i4").astype(np.float64) / 2**31
        else:
            values = np.frombuffer(data, PCM[self._n_bytes]).astype(np.float64) / 2 ** (8 * self._n_bytes - 1)
        if self._n_bytes == 1:
            values -= 1.0  # those of 8 bits have no sign
        samples: NDArray[np.float32] = values.reshape(-1, self._n_channels).mean(axis=1).astype(np.float32)
        return samples


class _Forward(io.RawIOBase):
    """A stream that the header's reader cannot seek in, and that it does not close.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def seekable(self) -> bool:
        return False


def open_input(source: str, *, sample_rate: int | None, n_channels: int) -> Microphone | Pipe:
    """Open what is to be listened to.

    Args:
        source: "-" for a pipe, or an input of the sound card as `Microphone` takes it.
        sample_rate: in Hz, of samples without a header.
        n_channels: of such samples.

    Returns:
        The input.

    Raises:
        ConfigError: there is no such input, or the rate of a microphone is given.
        AudioError: it cannot be opened or read.
        MissingExtraError: sounddevice is not installed.
    """
    if source == "-":
        if sys.stdin is None:
            raise AudioError("it is closed", PIPE)
        return Pipe(sys.stdin.buffer, sample_rate=sample_rate, n_channels=n_channels)
    if sample_rate is not None or n_channels != 1:
        raise ConfigError("--sample-rate and --channels are those of samples through a pipe: taggram listen -")
    return Microphone(source)


def list_inputs() -> list[str]:
    """List the inputs of the sound card.

    Returns:
        A line each: number, name, rate.

    Raises:
        MissingExtraError: sounddevice is not installed.
    """
    devices = load_sounddevice().query_devices()
    return [
        f"{number}\t{device['name']}\t{device['default_samplerate']:.0f} Hz"
        for number, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def load_sounddevice() -> ModuleType:
    """Load the package that knows sound cards.

    Returns:
        sounddevice.

    Raises:
        MissingExtraError: it is not installed.
        AudioError: the system's PortAudio is missing.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise missing_extra("sounddevice", "listen", "microphones") from error
    except OSError as error:  # it looks for the library when it is imported
        raise AudioError(
            "PortAudio, which knows sound cards, is missing: apt install libportaudio2", "the microphone"
        ) from error
    module: ModuleType = sounddevice
    return module
