"""Statistics of the MFCCs of clips, which several studies hold their networks against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from taggram.learning.embeddings import cached_features
from taggram.models._mfcc_statistics import N_STATISTICS, mfcc_statistics

if TYPE_CHECKING:
    from taggram.studies._clips import Sounds


def mfcc_features(sounds: Sounds, cache: Path, facts: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
    """Give means and deviations of the MFCCs of clips: computed once, and then read.

    Args:
        sounds: of the clips, at 12 kHz.
        cache: folder in which the features are kept.
        facts: what else is written beside them.

    Returns:
        (clips, 120).

    Raises:
        DatasetError: there is no clip, or the cache cannot be written to.
    """
    known = {"features": f"mfcc_statistics {N_STATISTICS}", "sounds": sounds.content(), "n_clips": len(sounds)}

    def compute(clips: Sequence[int]) -> NDArray[np.float32]:
        return np.concatenate([mfcc_statistics(torch.from_numpy(sounds.whole(clip))[None]) for clip in clips])

    return cached_features(lambda: compute, known, cache=cache, facts=facts, n_threads=1)
