"""The machine: some of its cores, the processes of a command that is measured, and their memory. Linux only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from taggram._processes import n_cores


def bind_to_cores(n_wanted: int) -> None:
    """Bind this process, and so all that it starts, to some of its cores; end it where that cannot be."""
    if n_wanted == n_cores():
        return
    if n_wanted > n_cores() or not hasattr(os, "sched_setaffinity"):
        sys.exit(f"--cores {n_wanted}: there are {n_cores()} cores, and only Linux binds to some of them")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_wanted])


def session_of(leader: int) -> list[int]:
    """List the processes of a session that are still at work.

    Args:
        leader: the process that began it.

    Returns:
        Their numbers.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = place.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(place.name))
    return found


def memory_mb(processes: Iterable[int]) -> float:
    """Sum the resident memory of processes; pages that they share count once.

    Args:
        processes: their numbers; one that ended just now counts as nothing.

    Returns:
        In MB, of 10^6 bytes.
    """
    total_kib = 0
    for pid in processes:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib * 1024 / 1e6
