"""The Arrow files of prepared data as bytes, on this disk or in a store."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from taggram.errors import DatasetError, printable
from taggram.learning._copies import GB, Kept

MOST_BYTES = 2**30  # read at once; systems give no more than 2 GB
MOST_OPEN = 128  # files of a process at a time; systems give it 256 or 1,024, of which others want some


@dataclass(frozen=True)
class StoredFile:
    """A file in a store.

    Attributes:
        kept: the store, and the copies of what is in it.
        name: in the folder of the store.
        n_bytes: how many it has.
    """

    kept: Kept
    name: str
    n_bytes: int

    def __str__(self) -> str:
        """Give its address, fit for a message."""
        return self.kept.store.name_of(self.name)

    def open(self) -> IO[bytes]:
        """Open it to be read here and there: its copy where there is one, without fetching it, else in the store.

        Returns:
            The file.

        Raises:
            DatasetError: it is not there.
        """
        copy = self.kept.open_if_here(self.name, self.n_bytes)
        return self.kept.store.open(self.name) if copy is None else os.fdopen(copy, "rb")


class PartFiles:
    """Files that are read here and there, and are opened when they are read; of many, the last ones stay open.

    They are not read through a map into memory: its pages count as memory of the process, and a file that becomes
    shorter meanwhile, or a disk that fails, would end it without a word.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._open: OrderedDict[int, _Open] = OrderedDict()  # what was read last comes last
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[PartFiles], tuple[Any, ...]]:
        """Let another process open the files for itself."""
        return PartFiles, (self.paths,)

    def read(self, number: int, place: int, n_bytes: int) -> bytes:
        """Read some bytes of a file.

        Args:
            number: which file.
            place: bytes before them.
            n_bytes: how many.

        Returns:
            The bytes.

        Raises:
            DatasetError: they cannot be read.
        """
        try:
            file = self._file(number)
            data = self._read_at(file.number, min(n_bytes, MOST_BYTES), place)
            if len(data) == n_bytes:
                return data
            parts = [data]
            while parts[-1] and (n_read := sum(map(len, parts))) < n_bytes:
                parts.append(self._read_at(file.number, min(n_bytes - n_read, MOST_BYTES), place + n_read))
        except OSError as error:
            raise self._failed(number, error.strerror or str(error)) from error
        if not parts[-1]:
            raise self._failed(number, "it ends early")
        return b"".join(parts)

    def _file(self, number: int) -> _Open:
        """Give a file that is open; it stays so at least as long as it is held."""
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        opened = _Open(self._open_file(number))  # which may fetch it, and others need not wait for that
        with self._lock:
            file = self._open.setdefault(number, opened)
            for other in [key for key, one in self._open.items() if not os.fstat(one.number).st_nlink]:
                del self._open[other]  # a copy that had to go takes its place on the disk until it is closed
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return file

    def _open_file(self, number: int) -> int:
        return os.open(self.paths[number], os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def _failed(self, number: int, reason: str) -> DatasetError:
        return damaged(self.paths[number], reason)

    if sys.platform == "win32":

        def _read_at(self, file: int, n_bytes: int, place: int) -> bytes:
            with self._lock:
                os.lseek(file, place, os.SEEK_SET)
                return os.read(file, n_bytes)

    else:

        def _read_at(self, file: int, n_bytes: int, place: int) -> bytes:
            return os.pread(file, n_bytes, place)


class StoredParts(PartFiles):
    """Files in a store, whose copies are kept on this disk as long as there is room for them all.

    Args:
        kept: the copies.
        facts: of each file, in order, as the card has them.
    """

    def __init__(self, kept: Kept, facts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__([kept.path_of(file["file"]) for file in facts])
        self._kept, self._facts = kept, facts
        # Which are read from the store each time does not change, since each would drive another one out.
        n_bytes = 0
        self._is_kept = [(n_bytes := n_bytes + file["n_bytes"]) <= kept.limit_bytes for file in facts]

    def __reduce__(self) -> tuple[type[PartFiles], tuple[Any, ...]]:
        """Let another process open the files for itself."""
        return StoredParts, (self._kept, self._facts)

    def read(self, number: int, place: int, n_bytes: int) -> bytes:
        """Read some bytes of a file, from its copy or from the store.

        Args:
            number: which file.
            place: bytes before them.
            n_bytes: how many.

        Returns:
            The bytes.

        Raises:
            DatasetError: they cannot be read.
        """
        if self._is_kept[number]:
            return super().read(number, place, n_bytes)
        return self._kept.store.read(self._facts[number]["file"], place, n_bytes)

    def share_here(self) -> float:
        """Give the share of the files to be kept that there are copies of, 0 to 1."""
        wanted = [facts["file"] for facts, is_kept in zip(self._facts, self._is_kept) if is_kept]
        here = self._kept.names_here()
        return sum(name in here for name in wanted) / max(len(wanted), 1)

    def _open_file(self, number: int) -> int:
        facts = self._facts[number]
        return self._kept.open(facts["file"], facts["n_bytes"], facts.get("sha256"))

    def _failed(self, number: int, reason: str) -> DatasetError:
        return not_kept(self._kept, self.paths[number], reason)


class _Open:
    """An open file, closed when nobody holds it any more.

    Args:
        number: its descriptor.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


def damaged(path: Path | StoredFile, reason: str) -> DatasetError:
    """Make the error for a file that is not as it was written."""
    remedy = "copy the folder anew" if isinstance(path, StoredFile) else "prepare the data again, into another folder"
    return DatasetError(f"{printable(str(path))}: {reason}; {remedy}.")


def not_kept(kept: Kept, path: Path, reason: str) -> DatasetError:
    """Make the error for a disk that cannot take, or give back, what is kept of a store."""
    return DatasetError(
        f"{printable(str(path))}, which is kept of {kept.store}: {reason}; make room in {printable(str(kept.folder))}, "
        f"lower data.cache_gb, which is {kept.limit_bytes / GB:g}, or name another folder by TAGGRAM_HOME."
    )
