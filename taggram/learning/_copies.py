"""The copies that are kept on this machine of files in a store.

A file is fetched once, checked, and kept in the cache; whoever wants it meanwhile waits. What is used least recently
goes when the cache is full. What the cache cannot hold is read from the store, the bytes that are wanted alone.

Two kinds of locks: one a file, held while it is opened or fetched, and one of the folder, held while files in it come
into being, get their names or go. Who has the former may wait for the latter, and never the other way round.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from pathlib import Path

from taggram._files import ASIDE, cache_home, in_turn, is_free
from taggram._stores import without_password
from taggram.learning._stores import Store

CACHE_GB = 100.0
GB = 1_000_000_000
COPY, INDEX = ".arrow", ".npz"  # what names end with: of copies, and of what is known of all files of a folder
UNUSED_S = 30 * 86_400  # after so long without use, an index goes
NO_FALLOCATE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # what file systems say that cannot


class Kept:
    """Copies of files, kept on this machine as long as there is room.

    Several processes may use one at a time: one fetches a file, the others wait for it.

    Args:
        store: where the files are.
        key: tells what is in the files from what was in them at another time.
        limit_bytes: size of all copies together, those of other data too.
        folder: of all copies; None is in `TAGGRAM_HOME`.
    """

    def __init__(self, store: Store, key: str, limit_bytes: int, folder: Path | None = None) -> None:
        self.store = store
        self.limit_bytes = limit_bytes
        self.folder = folder or cache_home() / "stored"
        known = f"{without_password(store.address)} {key}"
        self._key = hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def path_of(self, name: str) -> Path:
        """Say where the copy of a file is, if there is one."""
        return self.folder / f"{self._key}-{name}"

    def names_here(self) -> set[str]:
        """Give the names of the files that there are copies of."""
        paths = self.folder.glob(f"{self._key}-*{COPY}")
        return {path.name.removeprefix(f"{self._key}-") for path in paths}

    def open(self, name: str, n_bytes: int, sha256: str | None) -> int:
        """Open the copy of a file, after fetching it where there is none.

        Args:
            name: of the file.
            n_bytes: how many it has.
            sha256: of it; None is not known.

        Returns:
            A file descriptor to read from. What it leads to stays until it is closed, also when the copy has to go.

        Raises:
            DatasetError: it cannot be fetched, or is not what was written.
            OSError: the disk is full, or what else the own disk may say.
        """
        path = self.path_of(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with in_turn(lock_of(path)):
            while (file := self.open_if_here(name, n_bytes)) is None:
                aside = self._make_room(path, n_bytes)
                try:
                    self.store.fetch(name, aside, n_bytes, sha256)
                    with self._alone():
                        aside.replace(path)
                except BaseException:
                    aside.unlink(missing_ok=True)
                    raise
            return file

    def open_if_here(self, name: str, n_bytes: int) -> int | None:
        """Open the copy of a file, where there is one.

        Args:
            name: of the file.
            n_bytes: how many it has.

        Returns:
            A file descriptor to read from; None where there is no copy of this size.

        Raises:
            OSError: what the own disk may say.
        """
        path = self.path_of(name)
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return None
        if os.fstat(file).st_size != n_bytes:
            os.close(file)
            return None
        # What was used last goes last. It may have gone since it was opened, or be another user's; it can be read.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.utime(file if os.utime in os.supports_fd else path)
        return file

    def _make_room(self, path: Path, n_bytes: int) -> Path:
        """Remove copies until there is room for one more; give a file of its size that holds the place."""
        aside = aside_of(path)
        with self._alone():
            self._remove_what_was_left(aside)
            copies = [(one, facts) for one in self.folder.iterdir() if one.suffix == COPY and (facts := _facts(one))]
            n_kept = sum(facts.st_size for _, facts in copies)
            for copy, facts in sorted(copies, key=lambda one: one[1].st_mtime_ns):
                if n_kept + n_bytes > self.limit_bytes and not copy.name.startswith(ASIDE):
                    with contextlib.suppress(PermissionError):  # Windows keeps what another process reads
                        copy.unlink(missing_ok=True)
                        n_kept -= facts.st_size
            try:
                _hold_place(aside, n_bytes)
            except OSError:
                aside.unlink(missing_ok=True)
                raise
        return aside

    def _remove_what_was_left(self, mine: Path) -> None:
        """Remove what is half fetched and nobody fetches any more, and indices that are long unused."""
        mine.unlink(missing_ok=True)  # this process has the lock of the file
        for path in self.folder.iterdir():
            if path.name.startswith(ASIDE):
                is_left = is_free(lock_of(path.with_name(path.name.removeprefix(ASIDE))))
            else:
                facts = _facts(path) if path.suffix == INDEX else None
                is_left = facts is not None and time.time() - facts.st_mtime > UNUSED_S
            if is_left:
                path.unlink(missing_ok=True)

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Have the files of the folder for oneself."""
        return in_turn(self.folder / "room.lock")


def lock_of(path: Path) -> Path:
    """Name the file by which processes take turns at a copy."""
    return path.with_name(path.name + ".lock")


def aside_of(path: Path) -> Path:
    """Name the file that a copy is while it is fetched; it is of who has the lock of the copy."""
    return path.with_name(ASIDE + path.name)


def _facts(path: Path) -> os.stat_result | None:
    """Ask for size and time of a file; None where it has just gone."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat()
    return None


def _hold_place(path: Path, n_bytes: int) -> None:
    """Make a file of a size, and have the disk set the place aside where it can: a full one is told at once."""
    with path.open("xb") as file:
        try:
            if n_bytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            if error.errno not in NO_FALLOCATE:
                raise
        file.truncate(n_bytes)
