"""The processes that train together, as torchrun starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as torchrun says.

    Attributes:
        rank: which one this is.
        n_ranks: how many there are.
        n_local: how many of them are on this machine.
    """

    rank: int = 0
    n_ranks: int = 1
    n_local: int = 1

    @classmethod
    def of_environment(cls) -> Ranks:
        """Read what torchrun says; without it this process is alone."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names)) if all(map(os.environ.get, names)) else cls()

    @property
    def is_first(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0
