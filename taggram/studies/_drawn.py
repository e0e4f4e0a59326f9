"""Parts that are drawn anew, for data that has none to test on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taggram.datasets._base import PARTS
from taggram.errors import DatasetError
from taggram.learning._random import Purpose, generator
from taggram.learning.data import drawn_for_validation
from taggram.learning.prepared import PreparedData

VALID_SHARE = 0.1  # of the clips for training, where there is no part for validation


def valid_share(data: PreparedData) -> float:
    """Say what share of the clips for training is drawn for validation.

    Args:
        data: the clips.

    Returns:
        0 where there is a part for validation, else `VALID_SHARE`.
    """
    return 0.0 if len(data.index("valid")) else VALID_SHARE


def with_drawn_valid(data: PreparedData, seed: int) -> PreparedData:
    """Give the same tracks with a part for validation: where there is none, it is drawn out of those for training.

    Whoever trains on this draws nothing more, so all that learn and choose by it leave the same tracks out.

    Args:
        data: the tracks.
        seed: of the draw.

    Returns:
        The data; as it is where there is such a part.

    Raises:
        DatasetError: nothing would be left to train on.
    """
    if not valid_share(data):
        return data
    train, valid = drawn_for_validation(data.index("train"), VALID_SHARE, seed)
    if not len(train):
        raise DatasetError(
            f"{len(valid)} clips for training came, and none for validation; at least 2 are wanted: some to learn "
            "from, and some to say when to stop."
        )
    parts = np.full(len(data), -1, np.int64)  # of what is in no part
    for part, rows in (("train", train), ("valid", valid), ("test", data.index("test"))):
        parts[rows] = PARTS.index(part)
    return data.with_parts(parts, split=f"{data.card['split']}, valid drawn out of train")


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
