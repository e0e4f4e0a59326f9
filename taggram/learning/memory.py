"""What the C library does with memory that is free again.

By itself glibc gives large buffers back to the system and takes them anew, and the system fills every page of them with
zeros: a step of training on a CPU spends half of its time on that.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
USUAL = {  # what glibc is at by itself once large buffers came and went; having been told, it does not get there again
    M_MMAP_MAX: 65_536,
    M_MMAP_THRESHOLD: 32 * 2**20,
    M_TRIM_THRESHOLD: 64 * 2**20,
}
KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}


def keep_memory() -> None:
    """Let the C library give no memory back, where that is Linux with glibc; elsewhere nothing is changed."""
    _tell_malloc(KEEPING)


@contextlib.contextmanager
def memory_kept(keeps: bool) -> Iterator[None]:
    """Let the C library give no memory back for a while, and then all that is free.

    Args:
        keeps: whether it is to be so; with False nothing is changed.
    """
    if not keeps:
        yield
        return
    keep_memory()
    try:
        yield
    finally:
        _tell_malloc(USUAL)
        with _where_glibc_is():
            ctypes.CDLL(None).malloc_trim(0)


def _tell_malloc(settings: dict[int, int]) -> None:
    with _where_glibc_is():
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in settings.items():
            mallopt(name, value)


def _where_glibc_is() -> contextlib.AbstractContextManager[None]:
    """Do nothing on another system, or with another C library."""
    return contextlib.suppress(OSError, AttributeError, TypeError)
