"""The hand-made features of the clips of a study, on which boosted trees are grown: in blocks, a cell each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import taggram
from taggram.learning._clip_features import ClipFeatures
from taggram.learning._hand_made import feature_names, hand_made
from taggram.learning.embeddings import cached_features
from taggram.learning.prepared import PreparedData
from taggram.studies._clips import Sounds

BLOCK_CLIPS = 1000  # whose features are made in one cell
TREE_SEEDS = 2**32  # that scikit-learn takes


class HandMade:
    """The hand-made features of clips, computed once for all cells.

    Args:
        sound: the clips.
        cache: folder of the features.
        rows: (rows,) of the clips that features are wanted of; None is all.
    """

    def __init__(self, sound: PreparedData, cache: Path, rows: NDArray[np.int64] | None = None) -> None:
        self._sound, self._cache = sound, cache
        self.rows = np.arange(len(sound)) if rows is None else rows

    def block(self, number: int) -> NDArray[np.float32]:
        """Give the features of a block of clips.

        Args:
            number: of the block, from 0 on.

        Returns:
            (clips, features).

        Raises:
            DatasetError: the sound is damaged, or the cache cannot be written to.
        """
        sounds = Sounds(self._sound, self.rows[number * BLOCK_CLIPS : (number + 1) * BLOCK_CLIPS])
        known = {
            "features": "hand_made", "names": feature_names("hand_made"), "version": taggram.__version__,
            "sounds": sounds.content(), "n_clips": len(sounds),
        }  # fmt: skip

        def compute(clips: Sequence[int]) -> NDArray[np.float32]:
            found = [list(hand_made(sounds.whole(clip), self._sound.sample_rate).values()) for clip in clips]
            return np.array(found, np.float32)

        return cached_features(lambda: compute, known, cache=self._cache, n_threads=1)

    @property
    def n_blocks(self) -> int:
        """The number of cells that make the features."""
        return n_blocks(len(self.rows))

    def all(self) -> ClipFeatures:
        """Give the features of all clips, 0 of those that none are wanted of.

        Returns:
            The features.

        Raises:
            DatasetError: the sound is damaged, or the cache cannot be written to.
        """
        names = feature_names("hand_made")
        values = np.zeros((len(self._sound), len(names)), np.float32)
        for number in range(self.n_blocks):
            values[self.rows[number * BLOCK_CLIPS : (number + 1) * BLOCK_CLIPS]] = self.block(number)
        return ClipFeatures(
            kind="hand_made", names=names, values=values, sample_rate=self._sound.sample_rate,
            split_sha256=str(self._sound.card["split_sha256"]),
        )  # fmt: skip


def n_blocks(n_clips: int) -> int:
    """Count the blocks of some clips.

    Args:
        n_clips: how many.

    Returns:
        The number of cells that make their features.
    """
    return -(-n_clips // BLOCK_CLIPS)
