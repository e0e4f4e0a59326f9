"""Sound that comes in now: from a microphone, or from another program through a pipe."""

from __future__ import annotations

import queue
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from taggram.errors import AudioError, ConfigError, missing_extra, printable

if TYPE_CHECKING:
    from types import ModuleType

BLOCK_S = 0.05
HELD_BLOCKS = 1_200  # a minute; a microphone that is not listened to for longer loses what comes
PIPE = "standard input"
LONGEST_CHUNK = 16_000_000  # bytes before the samples
WHOLE_NUMBERS, EXTENSIBLE = 1, 0xFFFE  # formats of samples; the second says which it is further behind,
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # in two bytes before these
PCM = {1: "u1", 2: "<i2", 4: "<i4"}  # by bytes a sample; 3 of them become 4
WAIT_S = 0.2  # a wait without end cannot be interrupted on Windows


class _HeaderError(Exception):
    """A header of a WAV file that cannot be used."""


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
        n_lost: how often sound was lost.

    Raises:
        ConfigError: there is no such input.
        MissingExtraError: sounddevice is not installed.
        AudioError: it cannot be opened.
    """

    is_live = True
    n_lost = 0

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

        Raises:
            AudioError: it gives no sound any more.
        """
        while True:
            try:
                yield self._blocks.get(timeout=WAIT_S)
            except queue.Empty:
                if not self._stream.active:
                    raise AudioError("it gives no sound any more; was it pulled out?", self.name) from None

    def _take(self, samples: NDArray[np.float32], n_frames: int, when: Any, status: Any) -> None:  # noqa: ARG002
        if status is not None and status.input_overflow:  # the system had no room, since we were too slow
            self.n_lost += 1
        try:
            self._blocks.put_nowait(Heard(samples[:, 0].copy(), time.monotonic()))
        except queue.Full:
            self.n_lost += 1


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
        n_lost: how often sound was lost.

    Raises:
        AudioError: it is no WAV file that can be read.
    """

    is_live = False
    name = PIPE
    waiting_s = 0.0
    n_lost = 0

    def __init__(self, stream: BinaryIO, *, sample_rate: int | None = None, n_channels: int = 1) -> None:
        self._stream = stream
        self._n_bytes = 2
        if sample_rate is not None:
            self.sample_rate, self._n_channels = sample_rate, n_channels
            return
        try:
            self.sample_rate, self._n_channels, self._n_bytes = _read_header(stream)
        except _HeaderError as error:
            raise AudioError(
                f"it is no WAV file of whole numbers ({error}). `ffmpeg -i song.mp3 -f wav - | "
                "taggram listen -` makes one of any sound, `taggram tag song.mp3` takes the file itself, and with "
                "--sample-rate HZ, samples of 16 bits are taken without a header",
                PIPE,
            ) from error

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


def _read_header(stream: BinaryIO) -> tuple[int, int, int]:
    """Read a WAV file up to its samples; give its rate in Hz, its channels, and the bytes of a sample.

    The module `wave` knows the longer form of the header only from Python 3.12 on, and takes a rate of 0.
    """
    if not (start := _exactly(stream, 12)):
        raise _HeaderError("it is empty")
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise _HeaderError("it does not begin like one")
    form = b""
    while (head := _exactly(stream, 8))[:4] != b"data":
        name, length = struct.unpack("<4sI", head) if head else (b"", 0)
        if not name or length > LONGEST_CHUNK:
            raise _HeaderError("it has no samples")
        chunk = _exactly(stream, length + length % 2)
        form = chunk if name == b"fmt " else form
    return _read_form(form)


def _read_form(form: bytes) -> tuple[int, int, int]:
    """Read the chunk that says what the samples are."""
    if len(form) < 16:
        raise _HeaderError("it does not say what its samples are")
    kind, n_channels, sample_rate, _, n_frame, _ = struct.unpack_from("<HHIIHH", form)
    if kind == EXTENSIBLE and form[26:40] == SUBFORMAT:
        (kind,) = struct.unpack_from("<H", form, 24)
    n_bytes = n_frame // max(1, n_channels)
    if kind != WHOLE_NUMBERS:
        raise _HeaderError(f"its format is {kind}")
    if sample_rate == 0 or n_bytes not in (*PCM, 3) or n_frame != n_bytes * n_channels:
        raise _HeaderError(f"it has {n_channels} channels of {8 * n_bytes} bits at {sample_rate} Hz")
    return sample_rate, n_channels, n_bytes


def _exactly(stream: BinaryIO, length: int) -> bytes:
    """Read so many bytes, or none where the stream ends before."""
    data = stream.read(length)
    return data if len(data) == length else b""


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
