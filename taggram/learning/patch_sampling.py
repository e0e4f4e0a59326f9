"""Patches of clips that an unsupervised learner is shown: one of each second, where something begins or anywhere.

Source: Nam, Herrera and Lee, "A deep bag-of-features model for music auto-tagging", 2015, arXiv 1508.04999, and the
    first author's code.
Differs: no patch is taken twice, and where segments give several, all passes over them but the last are whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_count
from taggram.errors import DatasetError
from taggram.learning._random import Purpose, generator

SEGMENT_FRAMES = 43  # about a second

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Picks:
    """Which segments give patches, in the order of the clips and of time.

    Attributes:
        clips: (patches,) number of the clip.
        segments: (patches,) number of the segment in it.
        passes: (patches,) how many patches of the segment come before this one.
        segment_frames: length of a segment, in frames.
    """

    clips: Whole
    segments: Whole
    passes: Whole
    segment_frames: int = SEGMENT_FRAMES

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.clips)

    @classmethod
    def draw(cls, n_starts: Whole, n_patches: int, seed: int, segment_frames: int = SEGMENT_FRAMES) -> Picks:
        """Choose segments, from the lengths of the clips alone.

        Each segment gives one patch, then each a second one, and so on until there are enough; of the last such pass,
        those that are too many are left out at random.

        Args:
            n_starts: (clips,) frames at which a patch may begin; 0 of a clip that is too short.
            n_patches: how many are wanted.
            seed: of what is left out.
            segment_frames: length of a segment; the last of a clip may be shorter.

        Returns:
            The picks; fewer than wanted where there are no more patches.

        Raises:
            ConfigError: a number makes no sense.
            DatasetError: no clip has a patch.
        """
        check_count("n_patches", n_patches)
        check_count("segment_frames", segment_frames)
        starts = np.asarray(n_starts, np.int64)
        if not starts.sum():
            raise DatasetError("no clip is as long as a patch, so there is nothing to learn from.")
        n_segments = -(-starts // segment_frames)
        clips = np.repeat(np.arange(len(starts)), n_segments)
        segments = np.arange(len(clips)) - np.repeat(np.cumsum(n_segments) - n_segments, n_segments)
        sizes = np.minimum(segment_frames, starts[clips] - segments * segment_frames)
        taken: list[tuple[Whole, Whole]] = []  # places of segments, and the pass
        n_left = min(n_patches, int(starts.sum()))
        for number in range(segment_frames):
            places = np.flatnonzero(sizes > number)
            if len(places) > n_left:
                order = generator(seed, Purpose.CROP).permutation(len(places))
                places = places[np.sort(order[:n_left])]
            taken.append((places, np.full(len(places), number)))
            n_left -= len(places)
        chosen, passes = (np.concatenate(column) for column in zip(*taken))
        order = np.lexsort((passes, chosen))
        return cls(clips[chosen[order]], segments[chosen[order]], passes[order], segment_frames)

    def by_clip(self) -> Iterator[tuple[int, slice]]:
        """Give each clip that has patches, and where its picks stand."""
        clips, firsts = np.unique(self.clips, return_index=True)
        ends = [*firsts[1:].tolist(), len(self)]
        for clip, first, end in zip(clips.tolist(), firsts.tolist(), ends):
            yield clip, slice(first, end)

    def starts(self, where: slice, order: Whole) -> Whole:
        """Say where the patches of a clip begin.

        Args:
            where: its picks.
            order: (starts,) frames at which a patch may begin, those that are to be taken first in front.

        Returns:
            (patches,) frames.
        """
        of_order = order // self.segment_frames
        found = {
            int(segment): order[of_order == segment][: int(self.passes[where].max()) + 1]
            for segment in np.unique(self.segments[where])
        }
        pairs = zip(self.segments[where].tolist(), self.passes[where].tolist())
        return np.array([found[segment][number] for segment, number in pairs], np.int64)


def onset_order(onsets: NDArray[np.float32], n_starts: int) -> Whole:
    """Put frames in the order in which patches are taken where something begins.

    Args:
        onsets: (frames,) how much begins in each, as `taggram.frontends.onset_curve` gives it.
        n_starts: frames from the first on at which a patch may begin.

    Returns:
        (n_starts,) frames, those of the largest onset first, of equal ones the first.
    """
    return np.argsort(-onsets[:n_starts], kind="stable").astype(np.int64)


def random_order(n_starts: int, seed: int, clip: int) -> Whole:
    """Put frames in random order, which hangs on seed and clip alone.

    Args:
        n_starts: how many there are.
        seed: of the run.
        clip: its number.

    Returns:
        (n_starts,) frames.
    """
    return generator(seed, Purpose.CROP, 1, clip).permutation(n_starts).astype(np.int64)
