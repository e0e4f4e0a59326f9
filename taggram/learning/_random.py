"""Random numbers that belong to a place and not to what was drawn before, so that a run goes on anywhere."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a random number of a training is for, so that no two uses share one; these numbers stay as they are."""

    ORDER = 0
    CROP = 1
    DROPOUT = 2
    STATISTICS = 3
    STRETCH = 4
    PITCH = 5
    GAIN = 6
    NOISE = 7
    MIXUP = 8
    MASKS = 9
    VALIDATION = 10
    SUPPORT = 11
    QUERY = 12
    COMPANIONS = 13


def generator(seed: int, *place: int) -> np.random.Generator:
    """Make the random numbers that belong to one place, whatever was drawn before.

    Args:
        seed: of the run.
        *place: whole numbers that say which place it is, such as a `Purpose` and the position.

    Returns:
        A generator that is always the same for the same numbers.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *place))))
