"""What a worker does to prepare a file: decode it once, and write it aside as 16-bit samples, and features if wanted.

The samples of the file from the first cut on are written in one go, block by block, so memory does not grow with the
length; the tracks are stretches of them, which may overlap.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from taggram._processes import Do, FileTask, Message, Tell, serve
from taggram.audio import Samples, SoundStream
from taggram.errors import AudioError, DatasetError, printable
from taggram.results import Failure

if TYPE_CHECKING:
    from taggram.frontends import Frontend, FrontendStream

SCALE = np.float32(2**15)
PCM = np.dtype("<i2")
FLOAT16 = np.dtype("<f2")
FLOAT16_MAX = float(np.finfo(np.float16).max)
GROUP_SAMPLES = 2**18  # that the front-end is given at once
FEATURES = ".features"  # end of the name of the file that they are written to
HASH_BYTES = 8
SHORTER_S = 0.05  # a track that ends so much earlier than the data set says is told


@dataclass(frozen=True)
class Decoding(FileTask):
    """A file that is to be decoded.

    Attributes:
        aside: where its samples are to be written; features go beside them.
        cuts: start and end of each of its tracks, in seconds; None is the end of the file.
    """

    aside: str
    cuts: tuple[tuple[float, float | None], ...] = ((0.0, None),)


@dataclass
class Decoded:
    """A track that was decoded.

    Attributes:
        first: samples before it in the file of samples.
        n_samples: of it.
        first_frame: frames before it in the file of features.
        n_frames: of it.
        sound_hash: equal for equal samples.
        peak: largest sample before it was clipped, without its sign.
        notes: what is unusual about it.
        error: why there is no such track, or "".
    """

    first: int = 0
    n_samples: int = 0
    first_frame: int = 0
    n_frames: int = 0
    sound_hash: int = 0
    peak: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str = ""


def read_decoded(_: Decoding, fields: Message) -> list[Decoded]:
    """Make what came of a file, a track each, from what the worker sent."""
    return [Decoded(**one) for one in fields["tracks"]]


def to_float(samples: NDArray[Any]) -> Samples:
    """Turn 16-bit samples into float32, -1 to 1."""
    scaled: Samples = samples * (1 / SCALE)
    return scaled


# -- inside of a worker ------------------------------------------------------------------------------------------------


class _Cut:
    """A track while its file is decoded.

    Args:
        start_s: where it starts in the file.
        end_s: where it ends; None is the end of the file.
        sample_rate: in Hz, of what is written.
    """

    def __init__(self, start_s: float, end_s: float | None, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.start_s, self.end_s = start_s, end_s
        self.start = round(start_s * sample_rate)
        self.end = math.inf if end_s is None else round(end_s * sample_rate)
        self.is_whole = self.start == 0 and end_s is None
        self.peak = 0.0

    def measure(self, block: Samples, place: int) -> None:
        """Take in a block of the file, of which `place` samples came before."""
        inside = block[max(0, self.start - place) : max(0, int(min(self.end - place, len(block))))]
        if len(inside):
            self.peak = max(self.peak, float(inside.max()), -float(inside.min()))

    def result(self, base: int, n_samples: int, error: str) -> Decoded:
        """Give the track, or why there is none.

        Args:
            base: sample of the file with which the file of samples begins.
            n_samples: of the file that were decoded.
            error: what ended the decoding too early, or "".

        Returns:
            The track, with what is wrong with it.
        """
        end = int(min(self.end, n_samples))
        if error and (self.end > n_samples):
            return Decoded(error=error)
        if end <= self.start:
            whole_s = n_samples / self.sample_rate
            if self.start >= n_samples:
                return Decoded(error=f"it starts at {self.start_s:g} s, and the sound ends at {whole_s:.2f} s")
            return Decoded(error=f"there are no samples from {self.start_s:g} s to {self.end_s:g} s")
        track = Decoded(first=self.start - base, n_samples=end - self.start, peak=self.peak)
        if self.peak > 1:
            track.notes.append(f"clipped: it goes up to {self.peak:.3g}, 1 is full scale")
        if not self.is_whole and self.peak == 0:
            track.notes.append("silent")
        missing_s = (self.end - end) / self.sample_rate
        if SHORTER_S < missing_s < math.inf:
            track.notes.append(f"ends {missing_s:.2f} s early, with the file")
        return track


def _make(settings: Message) -> Do:
    """Get ready to decode; torch is loaded only for features."""
    sample_rate: int = settings["sample_rate"]
    max_duration_s: float = settings["max_duration_s"]
    frontend = _make_frontend(settings["frontend"]) if settings["frontend"] else None

    def do(fields: Message, tell: Tell) -> Message:
        task = Decoding(**fields)
        cuts = [_Cut(start_s, end_s, sample_rate) for start_s, end_s in task.cuts]
        tracks = _decode(task, cuts, sample_rate, max_duration_s, tell)
        for track in tracks:
            if not track.error:
                track.sound_hash = _hash(task.aside, track)
        if frontend:
            _write_features(task.aside, tracks, frontend, tell)
        return {"tracks": [asdict(track) for track in tracks]}

    return do


def _make_frontend(config: dict[str, Any]) -> Frontend:
    import torch

    from taggram.frontends import config_from_dict, create_frontend

    torch.set_num_threads(1)
    return create_frontend(config_from_dict(config))


class _Aside:
    """A new file of values. Trouble with it ends the run, since no sound is to blame.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = FileIO(path, "wb")
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, values: NDArray[Any]) -> None:
        """Add values at the end."""
        rest = values.reshape(-1).view(np.uint8).data
        try:
            while len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> DatasetError:
        return DatasetError(f"{printable(self._path)}: {error.strerror or error}.")


def _decode(task: Decoding, cuts: list[_Cut], sample_rate: int, max_duration_s: float, tell: Tell) -> list[Decoded]:
    """Decode a file as far as its tracks go, and write its samples from the first of them on."""
    base = min(cut.start for cut in cuts)
    end = max(cut.end for cut in cuts)
    place = 0
    error = ""
    unusual: tuple[str, ...] = ()
    with _Aside(task.aside) as file:
        try:
            with SoundStream(task.path, sample_rate=sample_rate, max_duration_s=max_duration_s) as stream:
                for block in stream:
                    for cut in cuts:
                        cut.measure(block, place)
                    file.write(_to_pcm(block[max(0, base - place) :]))
                    place += len(block)
                    tell(place / sample_rate)
                    if place >= end:
                        break
                unusual = stream.unusual
        except (AudioError, OSError) as problem:
            error = Failure.of(task.path, problem).message
    tracks = [cut.result(base, place, error) for cut in cuts]
    for cut, track in zip(cuts, tracks):
        if cut.is_whole:  # what is said of the file depends on how far it was decoded
            track.notes.extend(unusual)
    return tracks


def _to_pcm(block: Samples) -> NDArray[np.int16]:
    """Turn float32 samples into 16-bit ones; what is beyond -1 or 1 is clipped."""
    scaled = block * SCALE
    np.rint(scaled, out=scaled)
    np.clip(scaled, -SCALE, SCALE - 1, out=scaled)
    return scaled.astype(PCM)


def _groups(path: str, first: int, n_samples: int) -> Iterator[NDArray[np.int16]]:
    """Read some samples of a file of samples, group by group."""
    with Path(path).open("rb") as file:
        file.seek(first * PCM.itemsize)
        for start in range(0, n_samples, GROUP_SAMPLES):
            yield np.frombuffer(file.read(min(GROUP_SAMPLES, n_samples - start) * PCM.itemsize), PCM)


def _hash(path: str, track: Decoded) -> int:
    """Hash the samples of a track to a number of 64 bits with a sign."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for group in _groups(path, track.first, track.n_samples):
        digest.update(group.data)
    return int.from_bytes(digest.digest(), "little", signed=True)


def _write_features(path: str, tracks: list[Decoded], frontend: Frontend, tell: Tell) -> None:
    """Write the features of all tracks of a file, one behind the other."""
    n_frames = 0
    with _Aside(path + FEATURES) as file:
        for track in tracks:
            if track.error:
                continue
            track.first_frame = n_frames
            for values in _features(path, track, frontend, tell):
                file.write(values)
                n_frames += len(values)
            track.n_frames = n_frames - track.first_frame


def _features(path: str, track: Decoded, frontend: Frontend, tell: Tell) -> Iterator[NDArray[np.float16]]:
    """Make the features of a track, (frames, values), from its 16-bit samples, as they are made from prepared ones.

    A track that is too short for one frame is repeated until it is not.
    """
    import torch

    stream: FrontendStream = frontend.stream()
    groups = _groups(path, track.first, track.n_samples)
    least = frontend.n_samples_for(1)
    if track.n_samples < least:
        groups = iter([np.resize(np.concatenate(list(groups)), least)])
    for number, group in enumerate(groups):
        yield _to_float16(stream.feed(torch.from_numpy(to_float(group))).T.numpy())
        tell(number * GROUP_SAMPLES / frontend.sample_rate)
    yield _to_float16(stream.finish().T.numpy())


def _to_float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return np.ascontiguousarray(values.clip(-FLOAT16_MAX, FLOAT16_MAX), FLOAT16)


if __name__ == "__main__":
    serve(_make)
