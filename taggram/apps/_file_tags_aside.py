"""A file of the user's with some bytes changed: written aside, checked, and only then in the place of the old one."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from taggram._files import ASIDE
from taggram.apps._file_tags_record import Splice
from taggram.errors import FileTagsError

PREFIX = f"{ASIDE}write-"
PIECE = 2**20  # bytes copied at once
ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

Alive = Callable[[], None]
"""Is called every now and then, as a sign of life."""


def check_may_write(path: Path) -> None:
    """Refuse a file that says of itself that it is not to be written.

    Args:
        path: the file.

    Raises:
        FileTagsError: it is read-only, or may not be written to.
        OSError: it is not there.
    """
    if not path.stat().st_mode & ANY_WRITE:  # asked for, since the administrator may write all the same
        raise FileTagsError("it is read-only, so nothing was written; make it writable to have tags in it")
    if not os.access(path, os.W_OK):
        raise FileTagsError("it may not be written to: permission denied")


def replace_spliced(
    path: Path,
    status: os.stat_result,
    splices: Sequence[Splice],
    finish: Callable[[BinaryIO], None],
    check: Callable[[Path], None],
    *,
    keep_times: bool,
    alive: Alive,
) -> list[str]:
    """Change bytes of a file. At any moment there is the old file or the new one, whole.

    Args:
        path: the file itself, and no link to it.
        status: of it when it was looked at; if it is another one by now, the splices are none for it.
        splices: what is changed.
        finish: does the rest to the new file.
        check: raises if the new file is not as it should be.
        keep_times: whether the time of its last change stays.
        alive: is called as it goes on.

    Returns:
        What could not be kept, in words.

    Raises:
        FileTagsError: the file was changed meanwhile, or `check` says no.
        OSError: it cannot be written.
    """
    _sweep(path.parent)
    with _new_file(path.parent, alive) as (aside, file):
        with path.open("rb") as old:
            _copy(old, file, splices)
        finish(file)
        file.flush()
        os.fsync(file.fileno())
        check(aside)
        notes = _keep_what_is_around(path, aside, status, keep_times)
        now = path.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (status.st_ino, status.st_size, status.st_mtime_ns):
            raise FileTagsError("another program changed it meanwhile, so nothing was written")
        if sys.platform == "win32":
            file.close()  # a file that is open cannot be renamed there
        aside.replace(path)
    return notes


class _Telling(io.FileIO):
    """A new file for its owner alone that gives a sign of life with each write.

    Args:
        path: the file.
        alive: is called.
    """

    def __init__(self, path: Path, alive: Alive) -> None:
        super().__init__(path, "x+", opener=lambda name, flags: os.open(name, flags, 0o600))
        self._alive = alive

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Write, and tell."""
        self._alive()
        return super().write(data)


@contextlib.contextmanager
def _new_file(folder: Path, alive: Alive) -> Iterator[tuple[Path, io.BufferedRandom]]:
    """Make a file that is held while it is open, so that nobody takes it for a leftover; it is removed on an error."""
    path, file = _held_file(folder, alive)
    with file:
        try:
            yield path, file
        except BaseException:
            if sys.platform == "win32":
                file.close()
            path.unlink(missing_ok=True)
            raise


def _held_file(folder: Path, alive: Alive) -> tuple[Path, io.BufferedRandom]:
    """Make a file and take its lock; one that was swept away between the two is made anew under another name."""
    while True:
        path = folder / (PREFIX + secrets.token_hex(8))  # without a suffix, so that no player takes it for sound
        file = io.BufferedRandom(_Telling(path, alive), PIECE)
        if _is_held(file, path):
            return path, file
        file.close()


def _is_held(file: io.BufferedRandom, path: Path) -> bool:
    """Take the lock of a new file; give whether it is there still, and nobody is about to sweep it away."""
    try:
        _hold(file)
    except BlockingIOError:
        return False
    except OSError:  # some network drives know no locks
        return True
    return path.exists()  # of this name there is no other


def _hold(file: BinaryIO) -> None:
    """Take the lock of a file, or raise; on Windows a file that is open is held by that alone."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder, once a process."""
    for left in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            with left.open("rb") as file:
                _hold(file)
                if sys.platform != "win32":  # while it is held, so that nobody has it meanwhile
                    left.unlink()
            if sys.platform == "win32":  # where a file that is open cannot be removed
                left.unlink()


def _copy(old: BinaryIO, new: BinaryIO, splices: Sequence[Splice]) -> None:
    """Copy a file with some bytes in place of others."""
    for splice in sorted(splices, key=lambda one: one.start):
        _copy_piece(old, new, splice.start - old.tell())
        new.write(splice.new)
        old.seek(splice.end)
    _copy_piece(old, new, None)


def _copy_piece(old: BinaryIO, new: BinaryIO, n_bytes: int | None) -> None:
    """Copy so many bytes, or all that are left."""
    while n_bytes is None or n_bytes > 0:
        piece = old.read(PIECE if n_bytes is None else min(PIECE, n_bytes))
        if not piece:
            if n_bytes is not None:
                raise FileTagsError("it became shorter while it was copied, so nothing was written")
            return
        new.write(piece)
        n_bytes = None if n_bytes is None else n_bytes - len(piece)


def _keep_what_is_around(path: Path, aside: Path, status: os.stat_result, keep_times: bool) -> list[str]:
    """Give a new file the owner, permissions, extended attributes and, if wanted, times of the old one."""
    notes = []
    if sys.platform != "win32":
        made = aside.stat()
        if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
            try:
                os.chown(aside, status.st_uid, status.st_gid)
            except OSError:
                notes.append("its owner and group could not be kept, and are yours now")
    shutil.copystat(path, aside)
    if not keep_times:
        os.utime(aside, ns=(status.st_atime_ns, time.time_ns()))
    if status.st_nlink > 1:
        notes.append(f"it has other names too (hard links: {status.st_nlink - 1}), under which it stays as it was")
    return notes
