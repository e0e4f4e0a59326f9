"""Parts that are drawn anew, for data that has none to test on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taggram.datasets._base import PARTS
from taggram.errors import DatasetError
from taggram.learning._random import Purpose, generator
from taggram.learning.prepared import PreparedData


def with_drawn_parts(data: PreparedData, shares: Sequence[float], seed: int, *, split: str) -> PreparedData:
    """Give the same tracks, divided by chance, whatever part they were in.

    Args:
        data: the tracks.
        shares: weights of train, valid and test.
        seed: of the draw.
        split: name of the division.

    Returns:
        The data, with a track at least in each part.

    Raises:
        DatasetError: there are fewer than three tracks.
    """
    return data.with_parts(drawn_parts(len(data), shares, seed), split=split)


def drawn_parts(n_tracks: int, shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Draw the part of each track: the first of a random order are valid, then comes test, and the rest is train.

    Args:
        n_tracks: how many.
        shares: weights of train, valid and test.
        seed: of the draw.

    Returns:
        (tracks,) places in `PARTS`.

    Raises:
        DatasetError: there are fewer tracks than parts.
    """
    if n_tracks < len(PARTS):
        raise DatasetError(f"there are {n_tracks} clips; at least {len(PARTS)} are wanted, one for each part.")
    n_valid, n_test = (min(max(1, round(n_tracks * share / sum(shares))), n_tracks - 2) for share in shares[1:])
    n_test = min(n_test, n_tracks - n_valid - 1)
    order = generator(seed, Purpose.VALIDATION).permutation(n_tracks)
    parts = np.full(n_tracks, PARTS.index("train"), np.int64)
    parts[order[:n_valid]] = PARTS.index("valid")
    parts[order[n_valid : n_valid + n_test]] = PARTS.index("test")
    return parts
