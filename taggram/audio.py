"""Stage 1 of the path: a file, bytes, an open file or an array -> mono float32 blocks at the wanted rate.

This file alone knows decoders: soundfile for wav, flac, ogg, mp3 and aiff; PyAV (extra `codecs`) for all else and for
the good part of files that soundfile gives up on. What a file is, its content says and not its name. A header may
promise nothing, or everything, so no buffer is sized by one: limits are counted in the decode loop, block by block.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from taggram._files import ASIDE
from taggram.errors import AudioError, check_above_zero, missing_extra

if TYPE_CHECKING:
    import av

Samples = NDArray[np.float32]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | tuple[NDArray[Any], int]
"""A path, the bytes of a file, a file opened in binary mode, or (samples, sample_rate) with (samples,) or (samples,
channels)."""

MAX_DURATION_S = 100_000.0  # what the command line allows unless told otherwise
MAX_CHANNELS = 64
SAMPLE_RATES_HZ = (1_000, 1_000_000)  # a header outside of these is not believed
BLOCK_VALUES = 2**17  # values decoded at once, all channels: half a megabyte stays in the cache
LEAST_OF_DAMAGED_S = 0.2  # less than this before an error is chance, not sound
SILENT_PEAK = 1e-4  # -80 dB of full scale
CANCELLED_SHARE = 1e-4  # energy of the mean of two channels beside their own: -40 dB
FULL_SCALE = 0.999
LARGEST_SAMPLE = 1e6  # beyond this it is no sound, and its spectrum leaves the range of float32
CLIPPED_SHARE = 0.01
ENDS_EARLY_SHARE = 0.99  # lengths in the headers of mp3 are estimates
MP3_FIRST_FRAME_BYTES = 4096  # and some more: padding may come before it
UNKNOWN_SIZE = 2**31 - 1  # bytes; programs that write to a pipe claim this or more
UNKNOWN_FRAMES = 2**62  # libsndfile's number of frames for a header that gives none
NO_LENGTH = "its header gives no length"

SUFFIXES = {  # by content: the suffixes that fit it
    "WAV": (".wav", ".wave", ".bwf"),
    "FLAC": (".flac",),
    "OGG": (".ogg", ".oga", ".opus", ".spx"),
    "MP3": (".mp3", ".mp2", ".mpga"),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "MP4": (".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp"),
    "Matroska": (".mka", ".mkv", ".webm"),
    "ASF": (".wma", ".wmv", ".asf"),
    "AAC": (".aac",),
}
MORE_SUFFIXES = (
    *(".ac3", ".amr", ".ape", ".au", ".avi", ".caf", ".dsf"),
    *(".flv", ".mpg", ".mpeg", ".snd", ".ts", ".w64", ".wv"),
)
AUDIO_SUFFIXES = frozenset(suffix for fitting in SUFFIXES.values() for suffix in fitting) | frozenset(MORE_SUFFIXES)

# Containers that PyAV may open. Playlists and the like are not among them: they would open other files and addresses.
PYAV_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,ogg,tta,"
    "w64,wav,wv"
)
PYAV_SAMPLES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind) for name, kind in (("u8", "u1"), ("s16", "i2"), ("s32", "i4"), ("flt", "f4"), ("dbl", "f8"))
}
PYAV_NAMES = {"mov,mp4,m4a,3gp,3g2,mj2": "MP4", "matroska,webm": "Matroska", "asf": "ASF", "aac": "AAC"}
SIZED_BY_HEADER = ("MP4", "Matroska", "ASF")  # other containers give PyAV no length, or an estimate
SIZE_IN_WRONG_HEADER = re.compile(  # in libsndfile's log
    r"(?:data|SSND|BODY|Data Size|Riff size|riff) *: *(\d+) \(should be (\d+)\)"
)


@dataclass(frozen=True, eq=False)
class Waveform:
    """A whole sound in memory.

    Attributes:
        samples: (samples,) float32, mono, -1 to 1.
        sample_rate: in Hz.
        duration_s: length of the sound as decoded, before resampling.
        notes: what was done to it and what is unusual about it.
        unusual: those of the notes that a user should hear of.
    """

    samples: Samples
    sample_rate: int
    duration_s: float
    notes: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()


@dataclass
class _Facts:
    """What a decoder finds out about a file on the way."""

    content: str = ""  # kind of file, by content
    sample_rate: int = 0
    n_channels: int = 0
    claimed_frames: int | None = None  # by the header
    damage: str = ""  # what went wrong at the end
    oddity: str = ""  # what is wrong with a file that was read to its end all the same


@dataclass
class _Gauge:
    """Running measures of a sound, to tell silence, clipping and the like at the end."""

    n_frames: int = 0
    energy: float = 0.0  # of all channels, mean over them
    mono_energy: float = 0.0
    low: float = field(default=np.inf)
    high: float = field(default=-np.inf)
    n_clipped: int = 0

    def add(self, mono: Samples, energy: float) -> None:
        """Take in one block, with the energy of its channels before the downmix."""
        low, high = float(mono.min()), float(mono.max())
        self.n_frames += len(mono)
        self.energy += energy
        self.mono_energy += float(np.dot(mono, mono))
        self.low, self.high = min(self.low, low), max(self.high, high)
        if max(-low, high) >= FULL_SCALE:
            self.n_clipped += int(np.count_nonzero(np.abs(mono) >= FULL_SCALE))


class _Nameless:
    """An open file for libsndfile, without a name by which it would guess, and which bears its odd seeks.

    Args:
        file: the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        """Seek, or stay where the file has no such place: headers that lie point to before its start."""
        with contextlib.suppress(OSError, ValueError):
            self._file.seek(offset, whence)


class SoundStream:
    """A sound that is decoded as it is walked through, in blocks; memory does not grow with its length.

    To be used in a `with` statement and walked through once. `notes`, `unusual` and `n_frames` are whole at the end.

    Args:
        source: where the sound is, see `Source`.
        sample_rate: in Hz, of the blocks; None keeps the sound's own.
        max_duration_s: longest sound that is taken, in seconds.
        channel: the one that is taken, from 0 on, which is the left; None is the mean of all.

    Raises:
        AudioError: the source cannot be opened, holds no sound, or has no such channel.
        ConfigError: `max_duration_s` is not above 0.
    """

    def __init__(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        max_duration_s: float = MAX_DURATION_S,
        channel: int | None = None,
    ) -> None:
        check_above_zero(max_duration_s=max_duration_s)
        self._channel = channel
        self.name = source_name(source)
        self.max_duration_s = max_duration_s
        self._facts = _Facts()
        self._gauge = _Gauge()
        self._closing = contextlib.ExitStack()
        try:
            blocks = self._open(source)
            # The first block is decoded here, so that what is no sound is refused before a model is asked for.
            self._first = next(blocks, None)
            if self._first is None:
                raise self._error("there are no samples in it")
            self._blocks = blocks
            self._check_format()
        except BaseException:
            self.close()
            raise
        self.sample_rate = sample_rate or self._facts.sample_rate

    @property
    def source_rate(self) -> int:
        """Sample rate of the sound itself, in Hz."""
        return self._facts.sample_rate

    @property
    def duration_s(self) -> float:
        """Length of what was decoded so far, in seconds."""
        return self._gauge.n_frames / self._facts.sample_rate

    @property
    def decoded_bytes(self) -> int:
        """Size of what was decoded so far: all channels at their own rate, in 32 bits."""
        return 4 * self._facts.n_channels * self._gauge.n_frames

    @property
    def claimed_duration_s(self) -> float | None:
        """Length that the header claims, in seconds; good for a progress bar, and for nothing else."""
        claimed = self._facts.claimed_frames
        return None if claimed is None else claimed / self._facts.sample_rate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, unless the caller opened it."""
        self._closing.close()

    def __iter__(self) -> Iterator[Samples]:
        """Decode block by block.

        Yields:
            (samples,) float32, mono, at `sample_rate`; all blocks together have ceil(n * rate / own rate) samples.

        Raises:
            AudioError: a sample is not finite, or the sound is longer than allowed.
        """
        blocks = self._mono_blocks()
        if self.sample_rate == self.source_rate:
            yield from blocks
            return
        resampler = soxr.ResampleStream(self.source_rate, self.sample_rate, 1, dtype="float32", quality="HQ")
        n_given = 0
        for block in blocks:
            given = resampler.resample_chunk(block)
            n_given += len(given)
            if len(given):
                yield given
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        n_wanted = -(-self._gauge.n_frames * self.sample_rate // self.source_rate) - n_given
        if n_wanted > 0:
            yield np.pad(rest[:n_wanted], (0, max(0, n_wanted - len(rest))))

    def _mono_blocks(self) -> Iterator[Samples]:
        """Check, measure and mix down the blocks of the decoder."""
        block = self._first
        self._first = None
        while block is not None:
            with np.errstate(over="ignore"):
                energy = float(np.vdot(block, block))
            if not energy < LARGEST_SAMPLE**2:  # true also of NaN: one pass over the good blocks in place of three
                self._check_values(block)
            # Divided, since the product of a limit and a rate may fall short of a whole number of frames.
            if (self._gauge.n_frames + len(block)) / self.source_rate > self.max_duration_s:
                raise self._error(f"it is longer than the {self.max_duration_s:g} s allowed (--max-duration-s)")
            mono = mix_down(block) if self._channel is None else block[:, self._channel].copy()
            self._gauge.add(mono, energy / block.shape[1])
            yield mono
            block = next(self._blocks, None)
        if self._facts.damage and self.duration_s < LEAST_OF_DAMAGED_S:
            raise self._error(f"no sound could be decoded ({self._facts.damage})")

    def _check_values(self, block: Samples) -> None:
        """Refuse samples that no sound has."""
        if not np.isfinite(block).all():
            raise self._error("some samples are not finite (NaN or infinity)")
        largest = float(np.abs(block).max())
        if largest > LARGEST_SAMPLE:
            raise self._error(f"it has samples of up to {largest:.3g}; -1 to 1 is wanted")

    def _check_format(self) -> None:
        """Refuse rates and numbers of channels that no sound has."""
        low, high = SAMPLE_RATES_HZ
        if not low <= self._facts.sample_rate <= high:
            raise self._error(f"its sample rate is {self._facts.sample_rate} Hz; {low} to {high} Hz are taken")
        if self._facts.n_channels > MAX_CHANNELS:
            raise self._error(f"it has {self._facts.n_channels} channels; up to {MAX_CHANNELS} are taken")
        if self._channel is not None and not 0 <= self._channel < self._facts.n_channels:
            raise self._error(f"it has {self._facts.n_channels} channels, counted from 0; {self._channel} is wanted")

    def _error(self, reason: str) -> AudioError:
        return AudioError(reason, self.name)

    # -- opening -------------------------------------------------------------------------------------------------------

    def _open(self, source: Source) -> Iterator[Samples]:
        """Find the decoder for a source and give its blocks."""
        if isinstance(source, tuple):
            if len(source) != 2:
                raise self._error(f"a tuple of {len(source)}; (samples, sample_rate) is wanted")
            return self._array_blocks(*source)
        if isinstance(source, bytes | bytearray | memoryview):
            if not len(source):
                raise self._error("it is empty")
            return self._decoded(io.BytesIO(source))
        if isinstance(source, str | os.PathLike):
            return self._decoded(_checked_path(source, self.name))
        if not _is_binary_file(source):
            raise self._error(
                f"{type(source).__name__} is no sound: a path, bytes, a binary file that can seek, or (samples, "
                "sample_rate) is wanted"
            )
        return self._decoded(source)

    def _array_blocks(self, samples: NDArray[Any], sample_rate: int) -> Iterator[Samples]:
        """Walk through an array as a decoder walks through a file."""
        array = np.asarray(samples)
        rate = _whole_number(sample_rate)
        if rate is None:
            raise self._error(f"its sample rate is {sample_rate!r}; a whole number of Hz is wanted")
        if array.ndim not in (1, 2) or not np.issubdtype(array.dtype, np.floating):
            raise self._error(
                f"an array of shape {array.shape} and type {array.dtype}; floats from -1 to 1 of shape (samples,) or "
                "(samples, channels) are wanted"
            )
        frames = array[:, None] if array.ndim == 1 else array
        if frames.shape[1] > MAX_CHANNELS:
            raise self._error(f"an array of shape {array.shape}; (samples, channels) is wanted, at most {MAX_CHANNELS}")
        self._facts = _Facts("", rate, frames.shape[1], len(frames))
        step = BLOCK_VALUES // max(1, frames.shape[1])
        return (_as_float32(frames[start : start + step]) for start in range(0, frames.size and len(frames), step))

    def _decoded(self, source: Path | BinaryIO) -> Iterator[Samples]:
        """Decode by soundfile as far as it goes, and by PyAV from there on."""
        start = 0 if isinstance(source, Path) else source.tell()
        n_done = 0
        try:
            for block in self._soundfile_blocks(source):
                n_done += len(block)
                yield block
            if n_done and not self._is_guessed_short(source, n_done):
                return
            reason = "" if n_done else "there are no samples in it"
        except soundfile.SoundFileError as error:
            reason = str(error).rpartition(": ")[2].strip(" .") or "soundfile cannot read it"
        if not isinstance(source, Path):
            source.seek(start)
        begun = self._facts  # empty where soundfile did not know what the file is
        try:
            n_more = 0
            for block in self._pyav_blocks(source, n_done):
                n_more += len(block)
                yield block
        except ImportError as error:
            reason = reason or "its length is a guess"
            if n_done == 0:
                extra = missing_extra("av", "codecs", "m4a, aac, opus, wma, webm, video and damaged files")
                raise self._error(f"{reason}; {extra}") from error
            self._facts.damage = f"{reason}; the extra 'codecs' may read more"
        except AudioError as error:
            if not begun.content:
                raise
            if n_done == 0:
                raise self._error(reason) from error
            self._facts = begun
            self._facts.damage = reason
        else:
            if not reason and not n_more:  # the guess was right
                self._facts = begun
            elif begun.content and not self._facts.damage and not reason:
                self._facts.oddity = NO_LENGTH
            elif begun.content and not self._facts.damage and n_more:
                self._facts.oddity = "damaged inside, parts may be missing" if begun.claimed_frames else NO_LENGTH
            elif begun.content and not self._facts.damage:
                self._facts.damage = reason

    def _is_guessed_short(self, source: Path | BinaryIO, n_frames: int) -> bool:
        """Whether decoding ended where the length was guessed to be, and there may be more."""
        return n_frames == self._facts.claimed_frames and _is_guessed(self._facts.content, source)

    def _soundfile_blocks(self, source: Path | BinaryIO) -> Iterator[Samples]:
        """Decode by soundfile."""
        opened: int | _Nameless  # never a path: by its suffix libsndfile would take text for sound without a header
        if not isinstance(source, Path):
            opened = _Nameless(source)
        elif os.name == "nt":
            opened = _Nameless(self._closing.enter_context(source.open("rb")))
        else:
            opened = os.open(source, os.O_RDONLY)  # closed by libsndfile, also if it cannot use it
        file = self._closing.enter_context(soundfile.SoundFile(opened))
        claimed = None if file.frames >= UNKNOWN_FRAMES else file.frames
        self._facts = _Facts(file.format.removesuffix("EX"), file.samplerate, file.channels, claimed)
        if claimed is None:
            self._facts.oddity = NO_LENGTH
        self._check_format()
        buffer = np.empty((max(1, BLOCK_VALUES // file.channels), file.channels), np.float32)
        n_frames = 0
        while n_read := file.buffer_read_into(buffer, "float32"):
            n_frames += n_read
            yield buffer[:n_read]
            if n_read < len(buffer):
                break
        if claimed is not None and n_frames < ENDS_EARLY_SHARE * claimed and not _is_guessed(file.format, source):
            self._facts.damage = f"the file ends early: its header claims {claimed / file.samplerate:.1f} s"
        elif (wrong := SIZE_IN_WRONG_HEADER.search(file.extra_info)) and int(wrong[1]) > int(wrong[2]):
            claim = f"its header claims {wrong[1]} bytes, there are {wrong[2]}"
            if int(wrong[1]) < UNKNOWN_SIZE:
                self._facts.damage = claim
            else:
                self._facts.oddity = claim
        elif self._facts.content == "OGG" and _ogg_is_cut_short(source):
            self._facts.damage = "the file ends early: its last page is missing"

    def _pyav_blocks(self, source: Path | BinaryIO, n_skip: int) -> Iterator[Samples]:
        """Decode by PyAV, without the first `n_skip` frames, which were given already."""
        import av

        av.logging.set_level(None)
        stream = self._closing.enter_context(source.open("rb")) if isinstance(source, Path) else source
        try:
            container = self._closing.enter_context(
                av.open(stream, "r", metadata_errors="ignore", options={"format_whitelist": PYAV_CONTAINERS})
            )
        except (av.FFmpegError, OSError) as error:
            raise self._error("no decoder knows what it is; is it sound at all?") from error
        if not container.streams.audio:
            raise self._error("there is no sound in it")
        content = PYAV_NAMES.get(container.format.name, container.format.name.upper())
        begun = self._facts
        self._facts = _Facts(content, oddity=begun.oddity)
        if n_skip:
            self._facts.sample_rate, self._facts.n_channels = begun.sample_rate, begun.n_channels
        claimed_s = _claimed_s(container) if content in SIZED_BY_HEADER else 0.0
        parts: list[Samples] = []
        n_waiting = 0
        for part in self._pyav_parts(container.decode(container.streams.audio[0]), claimed_s):
            part, n_skip = part[n_skip:], max(0, n_skip - len(part))
            parts.append(part)
            n_waiting += part.size
            if n_waiting >= BLOCK_VALUES:
                yield np.concatenate(parts)
                parts, n_waiting = [], 0
        if n_waiting:
            yield np.concatenate(parts)

    def _pyav_parts(self, frames: Iterator[av.AudioFrame], claimed_s: float) -> Iterator[Samples]:
        """Decode frame by frame until the end, an error, or a change of format."""
        import av

        n_frames = 0
        try:
            for frame in frames:
                shape = (frame.sample_rate, frame.layout.nb_channels)
                if self._facts.sample_rate == 0:
                    self._facts.sample_rate, self._facts.n_channels = shape
                    self._check_format()
                elif shape != (self._facts.sample_rate, self._facts.n_channels):
                    self._facts.damage = f"its format changes after {n_frames / self._facts.sample_rate:.1f} s"
                    return
                n_frames += frame.samples
                yield self._frame_to_array(frame)
            if n_frames < ENDS_EARLY_SHARE * claimed_s * self._facts.sample_rate:
                self._facts.damage = f"the file ends early: its header claims {claimed_s:.1f} s"
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it cannot be decoded"
            if n_frames < LEAST_OF_DAMAGED_S * self._facts.sample_rate or n_frames == 0:
                raise self._error(f"no sound could be decoded: {reason}") from error
            self._facts.damage = reason

    def _frame_to_array(self, frame: av.AudioFrame) -> Samples:
        """Turn a frame of PyAV into (frames, channels) float32, -1 to 1."""
        from av.audio.plane import AudioPlane

        kind = PYAV_SAMPLES.get(frame.format.name.removesuffix("p"))
        if kind is None:
            raise self._error(f"samples of type {frame.format.name} are not known")
        n_channels = frame.layout.nb_channels
        # Not by `frame.planes` or `to_ndarray`: these run past the last plane of 8 channels or more, and crash.
        n_planes = n_channels if frame.format.is_planar else 1
        count = frame.samples * n_channels // n_planes
        buffers: list[Any] = [AudioPlane(frame, index) for index in range(n_planes)]
        planes = [np.frombuffer(buffer, kind, count) for buffer in buffers]
        frames: NDArray[Any] = np.stack(planes, axis=1) if n_planes > 1 else planes[0].reshape(-1, n_channels)
        samples = _as_float32(frames)
        if frames.dtype == np.uint8:
            samples = (samples - np.float32(128)) / np.float32(128)
        elif np.issubdtype(frames.dtype, np.integer):
            samples *= np.float32(0.5 ** (8 * frames.dtype.itemsize - 1))
        return samples

    # -- telling -------------------------------------------------------------------------------------------------------

    @property
    def unusual(self) -> tuple[str, ...]:
        """What a user should hear of, such as "silent"."""
        facts, gauge = self._facts, self._gauge
        notes = []
        suffix = Path(self.name).suffix
        if suffix.lower() in AUDIO_SUFFIXES.difference(SUFFIXES.get(facts.content, AUDIO_SUFFIXES)):
            notes.append(f"{facts.content} by content, not {suffix}")
        if facts.oddity:
            notes.append(facts.oddity)
        if facts.damage:
            notes.append(f"damaged tail left out after {self.duration_s:.1f} s ({facts.damage})")
        is_mixed = self._channel is None
        if is_mixed and facts.n_channels == 2 and gauge.mono_energy < CANCELLED_SHARE * gauge.energy:
            notes.append("the two channels cancel each other out (antiphase)")
        elif max(gauge.high, -gauge.low) < SILENT_PEAK:
            notes.append("silent")
        elif gauge.high - gauge.low < SILENT_PEAK:
            notes.append(f"a constant value of {gauge.high:.3g} (DC), no sound")
        elif gauge.n_clipped > CLIPPED_SHARE * gauge.n_frames:
            notes.append(f"clipped ({100 * gauge.n_clipped / gauge.n_frames:.0f} % of the samples at full scale)")
        if is_mixed and facts.n_channels > 2:
            notes.append(f"mean of {facts.n_channels} channels")
        if self.source_rate < self.sample_rate:
            notes.append(f"nothing above {self.source_rate // 2} Hz: recorded at {self.source_rate} Hz")
        return tuple(notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the sound, and what is unusual about it."""
        notes = []
        if self.sample_rate != self.source_rate:
            notes.append(f"resampled from {self.source_rate} Hz")
        if self._channel is not None and self._facts.n_channels > 1:
            notes.append(f"channel {self._channel} alone")
        elif self._facts.n_channels == 2:
            notes.append("mean of 2 channels")
        return (*notes, *self.unusual)


def read_sound(
    source: Source,
    *,
    sample_rate: int | None = None,
    max_duration_s: float = MAX_DURATION_S,
    channel: int | None = None,
) -> Waveform:
    """Read a whole sound into memory.

    Args:
        source: where the sound is, see `Source`.
        sample_rate: in Hz, of the result; None keeps the sound's own.
        max_duration_s: longest sound that is taken, in seconds.
        channel: the one that is taken, from 0 on, which is the left; None is the mean of all.

    Returns:
        The sound, mono.

    Raises:
        AudioError: it cannot be read, holds no sound, is too long, or has no such channel.
    """
    with SoundStream(source, sample_rate=sample_rate, max_duration_s=max_duration_s, channel=channel) as stream:
        samples = np.concatenate([block.copy() for block in stream])
        return Waveform(samples, stream.sample_rate, stream.duration_s, stream.notes, stream.unusual)


def source_name(source: Source) -> str:
    """Name a source: its path where it has one, and what it is where not."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, tuple):
        return "<array>"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<bytes>"


def resampled(blocks: Iterable[Samples], source_rate: int, sample_rate: int) -> Iterator[Samples]:
    """Resample sound while it comes in.

    Args:
        blocks: (samples,) each.
        source_rate: of the blocks, in Hz.
        sample_rate: that is wanted, in Hz.

    Yields:
        (samples,) each, as soon as they can be had; the filter holds back some hundredths of a second.
    """
    if source_rate == sample_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        given = resampler.resample_chunk(block)
        if len(given):
            yield given


def mix_down(block: Samples) -> Samples:
    """Take the mean over the channels.

    Args:
        block: (frames, channels).

    Returns:
        (frames,), a new array.
    """
    n_channels = block.shape[1]
    if n_channels == 1:
        mixed: Samples = block[:, 0].copy()
    elif n_channels == 2:  # bit for bit the mean, in a twelfth of its time
        mixed = (block[:, 0] + block[:, 1]) * np.float32(0.5)
    else:
        mixed = block.mean(axis=1, dtype=np.float32)
    return mixed


def looks_like_audio(path: Path) -> bool:
    """Tell whether a file in a folder should be tried: by its suffix, or else by how its content starts.

    Args:
        path: a file.

    Returns:
        True also for a file of a known suffix that cannot be read, so that it is told and not passed over.
    """
    if path.name.startswith(("._", ASIDE)):  # what macOS keeps about a file, beside it; what is being written
        return False
    if path.suffix.lower() in AUDIO_SUFFIXES:
        return True
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return begins_like_sound(head)


def begins_like_sound(head: bytes) -> bool:
    """Tell whether bytes are those that files of sound begin with.

    Args:
        head: the first 16 bytes of a file.

    Returns:
        Whether a format is known by them. An MP3 file may begin with others, and still be one.
    """
    return (
        head[:4] in (b"fLaC", b"OggS", b"caff", b"wvpk", b".snd", b"\x1aE\xdf\xa3")
        or head[:3] == b"ID3"
        or (head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))
        or head[4:8] == b"ftyp"
        or head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF
        or (len(head) > 3 and head[0] == 0xFF and head[1] in (0xFB, 0xFA, 0xF3, 0xF2, 0xF1, 0xF9))  # MP3, AAC
    )


def _checked_path(source: str | os.PathLike[str], name: str) -> Path:
    """Refuse what is no regular, readable file with something in it, before a decoder opens it."""
    path = Path(source)
    try:
        status = os.stat(source)  # noqa: PTH116 (Path("") would be the working folder)
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("it is a folder, a file is wanted", name)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("it is no regular file (a pipe or a device)", name)
        if status.st_size == 0:
            raise AudioError("the file is empty", name)
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(getattr(error, "strerror", None) or str(error), name) from error
    return path


def _is_binary_file(source: object) -> bool:
    """Tell whether a source is a file, opened in binary mode, that can be read and can seek."""
    file: Any = source
    try:
        file.seek(file.tell())
        return isinstance(file.read(0), bytes)
    except (AttributeError, TypeError, OSError, ValueError):
        return False


def _whole_number(value: object) -> int | None:
    """Give a number as an int, or None if it is none or not whole."""
    number: Any = value
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if int(number) == number:
            return int(number)
    return None


def _as_float32(samples: NDArray[Any]) -> Samples:
    """Turn samples of any type into float32; what is too large for it becomes infinite, and is refused later on."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(samples, dtype=np.float32)


def _claimed_s(container: av.container.InputContainer) -> float:
    """Length of the first sound by the header, in seconds; 0 where it gives none."""
    stream = container.streams.audio[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:  # else it may be that of a picture
        return container.duration / 1e6
    return 0.0


def _is_guessed(kind: str, source: Path | BinaryIO) -> bool:
    """Tell whether a length is a guess by the size, as it is of MP3 files without a header that counts their frames."""
    if kind != "MP3":
        return False
    with contextlib.ExitStack() as closing:
        file = closing.enter_context(source.open("rb")) if isinstance(source, Path) else source
        file.seek(0)
        head = file.read(10)
        if head[:3] == b"ID3":
            n_bytes = int.from_bytes(head[6:10], "big")  # seven bits a byte
            file.seek(10 + sum((n_bytes >> 8 * place & 0x7F) << 7 * place for place in range(4)))
        else:
            file.seek(0)
        first = file.read(MP3_FIRST_FRAME_BYTES)
    return not any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def _ogg_is_cut_short(source: Path | BinaryIO) -> bool:
    """Tell whether the last page of an Ogg file lacks the mark of the end."""
    with contextlib.ExitStack() as closing:
        file = closing.enter_context(source.open("rb")) if isinstance(source, Path) else source
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 2**17))  # no page is longer than 65,307 bytes
        tail = file.read()
    page = tail.rfind(b"OggS")
    return page >= 0 and len(tail) > page + 5 and not tail[page + 5] & 4
