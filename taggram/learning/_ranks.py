"""The processes that train together, as torchrun starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from taggram.errors import ConfigError, printable

REMEDY = "begin with torchrun, as docs/scale.md has it"


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as torchrun says.

    Attributes:
        rank: which one this is.
        n_ranks: how many there are.
        n_local: how many of them are on each machine.
    """

    rank: int = 0
    n_ranks: int = 1
    n_local: int = 1

    @classmethod
    def of_environment(cls) -> Ranks:
        """Read what torchrun says; without it this process is alone.

        Returns:
            The processes.

        Raises:
            ConfigError: the variables make no sense, the machines have not equally many, or another program has started
                several, which do not know of each other.
        """
        if os.environ.get("WORLD_SIZE", "1") in ("", "1"):
            _refuse_srun()
            return cls()
        n_ranks = _number("WORLD_SIZE", 1)
        n_local = _number("LOCAL_WORLD_SIZE", 1, n_ranks)
        n_nodes = _number("GROUP_WORLD_SIZE", 1, n_ranks) if os.environ.get("GROUP_WORLD_SIZE") else n_ranks // n_local
        if n_nodes * n_local != n_ranks:
            raise ConfigError(
                f"{n_ranks} processes, {n_local} of them on this one of {n_nodes} machines: each must have as many; "
                "give all the same --nproc-per-node."
            )
        return cls(_number("RANK", 0, n_ranks - 1), n_ranks, n_local)

    @property
    def n_nodes(self) -> int:
        """How many machines there are."""
        return self.n_ranks // self.n_local

    @property
    def is_first(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0


def _number(name: str, least: int, most: int | None = None) -> int:
    """Read a whole number out of the environment."""
    text = os.environ.get(name, "")
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        wanted = f"from {least} on" if most is None else f"from {least} to {most}"
        came = repr(printable(text)) if text else "not set"
        raise ConfigError(
            f"the variable {name} is {came}, and WORLD_SIZE {printable(os.environ.get('WORLD_SIZE', ''))!r}; wanted is "
            f"a whole number {wanted}: {REMEDY}, or unset WORLD_SIZE to train in one process."
        )
    return int(text)


def _refuse_srun() -> None:
    """Refuse processes that srun has started side by side: each would train alone, into the same folder."""
    n_tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if n_tasks != "1":
        raise ConfigError(
            f"srun has started {printable(n_tasks)} processes, which do not know of each other: {REMEDY}, one a "
            "machine; or unset SLURM_STEP_NUM_TASKS where each is a run of its own."
        )
