"""Files that are whole or not there at all, written aside, then renamed; and where the cache is."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from taggram.errors import DatasetError, printable

ASIDE = ".taggram-"
"""What the names of files begin with that are not yet whole."""
ESCAPED = re.compile(r"\\u(d[89a-f][0-9a-f]{2})")
"""A surrogate as `utf8` writes it."""
TURN_S = 0.1  # so long until it is tried again whether another process is done


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path to write to, beside `path`, that takes its place when the block ends well.

    Args:
        path: the file to make or to replace.

    Yields:
        A new, empty file in the same folder with the same suffix. If the block raises, it is removed and `path` stays
        as it was.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    aside = path.with_name(f"{ASIDE}{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less the user's own mask, as for any file
    try:
        with contextlib.suppress(FileNotFoundError):
            aside.chmod(stat.S_IMODE(path.stat().st_mode))
        yield aside
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def utf8(text: str) -> str:
    """Write surrogate escapes, which stand for bytes that are no UTF-8, as backslash escapes.

    Args:
        text: such as a path.

    Returns:
        The text, fit for UTF-8.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_gone(path: str) -> bool:
    """Tell whether there is no file of a path as `utf8` writes it.

    Args:
        path: with surrogates or with the backslash escapes of them; the same letters may also be its true name.

    Returns:
        False also for a file that cannot be looked at, such as one below a folder that may not be entered.
    """
    names = {path, ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), path)}
    return all(map(_is_missing, names))


def _is_missing(path: str) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no file can be called so
        return True
    except OSError:
        return False
    return False


def cache_home() -> Path:
    """Say where all is kept that can be had again: `TAGGRAM_HOME`, or the system's place for caches."""
    import platformdirs

    home = os.environ.get("TAGGRAM_HOME")
    return Path(home) if home else Path(platformdirs.user_cache_dir("taggram"))


@contextlib.contextmanager
def only_writer(folder: Path, lock: str) -> Iterator[None]:
    """Keep all others from writing into a folder. The system takes the lock away from a process that ends.

    Args:
        folder: that is written to.
        lock: name of the file in it that says so.

    Yields:
        Nothing.

    Raises:
        DatasetError: another process writes into it.
    """
    with (folder / lock).open("ab") as file:
        if not _took_lock(file):
            raise DatasetError(
                f"{printable(str(folder))} is being written by another process; wait until that is done."
            )
        yield


@contextlib.contextmanager
def in_turn(lock: Path) -> Iterator[None]:
    """Let one process after the other do what several would do at once.

    Args:
        lock: the file that says whose turn it is, in a folder that is there.

    Yields:
        Nothing, when it is this one's turn.

    Raises:
        OSError: the folder cannot be written to.
    """
    with lock.open("ab") as file:
        while not _took_lock(file):
            time.sleep(TURN_S)
        yield


def is_free(lock: Path) -> bool:
    """Whether no process is at what `in_turn` guards by a lock, in a folder that is there."""
    with lock.open("ab") as file:
        return _took_lock(file)


def _took_lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed, if no other process has; give whether it is locked now."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
