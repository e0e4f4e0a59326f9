"""The path of a sound in two stages, which may run in two places: to frames on a CPU, and from frames to tags on a GPU.

`Tagger` does both in one pass, block by block. Here the frames of a whole track are kept between the stages, so a track
that has too many of them is left to `Tagger`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from taggram.audio import Source
    from taggram.tagger import Progress, Tagger

BATCH_SIZE = 256  # patches that a GPU sees at once


@dataclass(frozen=True, eq=False)
class TrackFrames:
    """What the front-end makes of a track.

    Attributes:
        frames: (frames, bands) float32, at least those of one patch.
        duration_s: length of the sound.
        notes: what was done to it and what is unusual about it.
    """

    frames: NDArray[np.float32]
    duration_s: float
    notes: tuple[str, ...]


def make_frames(
    tagger: Tagger, source: Source, *, most_bytes: int, progress: Progress | None = None
) -> TrackFrames | None:
    """Do the first stage.

    Args:
        tagger: whose front-end it is; it has no kit, since kits look at the sound of each patch.
        source: the sound.
        most_bytes: frames that are kept at most.
        progress: is told the seconds of sound that are done.

    Returns:
        The frames, or None where there are more.

    Raises:
        AudioError: the sound cannot be read or used.
    """
    import torch

    with torch.inference_mode(), tagger._open(source) as sound:
        blocks, n_bytes, padded = [], 0, False
        for block, repeated, _ in tagger._rows(sound, progress):
            padded = repeated
            blocks.append(block)
            n_bytes += block.nbytes
            if n_bytes > most_bytes:
                return None
        notes = tagger._notes(sound, padded)["notes"]
        return TrackFrames(torch.cat(blocks).cpu().numpy(), sound.duration_s, notes)


def scores_and_features(
    tagger: Tagger, tracks: Sequence[NDArray[np.float32]], *, batch_size: int = BATCH_SIZE
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Do the second stage for several tracks, whose patches share batches.

    Args:
        tagger: whose network it is.
        tracks: (frames, bands) float32 each, at least those of one patch.
        batch_size: patches that the network sees at once.

    Returns:
        For each track the scores (patches, tags) and the last layer (patches, features), float32.
    """
    import torch

    with torch.inference_mode():
        rows = [row for batch in _batches(tagger, tracks, batch_size) for row in batch]
    counts = [len(_starts(tagger, track)) for track in tracks]
    joined = np.split(np.stack(rows), np.cumsum(counts)[:-1]) if rows else []
    return [(one[:, : len(tagger.tags)], one[:, len(tagger.tags) :]) for one in joined]


def _starts(tagger: Tagger, track: NDArray[np.float32]) -> range:
    return range(0, len(track) - tagger.patch_frames + 1, tagger.hop_frames)


def _batches(tagger: Tagger, tracks: Sequence[NDArray[np.float32]], batch_size: int) -> Iterator[NDArray[np.float32]]:
    """Run the network over the patches of all tracks, in order; give (patches, tags + features) a batch."""
    stretches: list[NDArray[np.float32]] = []
    starts: list[int] = []
    length = 0
    for track in tracks:
        own = _starts(tagger, track)
        while own:
            some, own = own[: batch_size - len(starts)], own[batch_size - len(starts) :]
            stretches.append(track[some[0] : some[-1] + tagger.patch_frames])
            starts += [length + start - some[0] for start in some]
            length += len(stretches[-1])
            if len(starts) == batch_size:
                yield _run(tagger, stretches, starts)
                stretches, starts, length = [], [], 0
    if starts:
        yield _run(tagger, stretches, starts)


def _run(tagger: Tagger, stretches: list[NDArray[np.float32]], starts: list[int]) -> NDArray[np.float32]:
    import torch

    frames: torch.Tensor = torch.from_numpy(np.concatenate(stretches))
    if tagger.device.type == "cuda":
        frames = frames.pin_memory().to(tagger.device, non_blocking=True)
    computed = tagger._scores_and_features(frames.to(tagger.device).t(), starts, tagger.patch_frames)
    result: NDArray[np.float32] = computed.cpu().numpy()
    return result
