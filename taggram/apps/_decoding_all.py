"""Whether sound can be decoded to its end: worker processes read whole files and keep nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from taggram._processes import NOT_STARTED, Do, FileTask, Message, Processes, Tell, serve
from taggram.audio import MAX_DURATION_S, SoundStream
from taggram.datasets import Track
from taggram.datasets._base import Broken
from taggram.errors import WorkerError, printable
from taggram.results import Failure


@dataclass(frozen=True)
class _Whole:
    """A file that was decoded to its end.

    Attributes:
        duration_s: its length, in seconds.
        unusual: what is odd about it and no error.
    """

    duration_s: float
    unusual: list[str]


def decode_all(
    tracks: Iterable[Track], told: Callable[[int, int], object], n_workers: int | None = None
) -> tuple[list[Broken], list[str]]:
    """Decode every file of some tracks from its start to its end.

    Args:
        tracks: the tracks; a file that several are cut out of is decoded once.
        told: called with the number of files that are done, and of all.
        n_workers: processes; None is one a core.

    Returns:
        The files that cannot be decoded, or end before one of their tracks starts; and a note for each that is damaged
        and can be decoded all the same.

    Raises:
        WorkerError: no worker can be started.
    """
    starts_s: dict[Path, float] = {}  # of the last track in each file
    for track in tracks:
        starts_s[track.path] = max(track.start_s, starts_s.get(track.path, 0.0))
    broken, notes = [], []
    with Processes("taggram.apps._decoding_all", {}, _read_whole, n_workers) as workers:
        results = workers.run(FileTask(str(path)) for path in starts_s)
        for n_done, ((path, start_s), result) in enumerate(zip(starts_s.items(), results, strict=True), 1):
            if reason := _why_broken(result, start_s):
                broken.append(Broken(path, reason))
            elif isinstance(result, _Whole) and result.unusual:
                notes.append(f"{printable(str(path))}: {'; '.join(result.unusual)}")
            told(n_done, len(starts_s))
    return broken, notes


def _why_broken(result: _Whole | Failure, start_s: float) -> str:
    """Say what is wrong with a file, or "" where nothing is."""
    if isinstance(result, Failure):
        if result.error == NOT_STARTED:
            raise WorkerError(result.message)
        return result.message
    if start_s >= result.duration_s:
        return f"it ends at {result.duration_s:.2f} s, before a track that starts at {start_s:g} s"
    return ""


def _read_whole(_: FileTask, fields: Message) -> _Whole:
    return _Whole(**fields)


# -- inside of a worker ------------------------------------------------------------------------------------------------


def _make(_: Message) -> Do:
    return _decode


def _decode(fields: Message, tell: Tell) -> Message:
    """Decode a file to its end."""
    with SoundStream(fields["path"], max_duration_s=MAX_DURATION_S) as stream:
        for _ in stream:
            tell(stream.duration_s)
        return {"duration_s": stream.duration_s, "unusual": list(stream.unusual)}


if __name__ == "__main__":
    serve(_make)
