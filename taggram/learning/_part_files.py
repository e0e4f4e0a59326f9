"""The Arrow files of prepared data as bytes, on this disk or in a store."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taggram.errors import DatasetError, printable
from taggram.learning._stores import Kept, Store

MOST_BYTES = 2**30  # read at once; systems give no more than 2 GB


@dataclass(frozen=True)
class StoredFile:
    """A file in a store.

    Attributes:
        store: where it is.
        name: in the folder of the store.
    """

    store: Store
    name: str

    def __str__(self) -> str:
        """Give its address."""
        return f"{self.store.address}/{self.name}"


class PartFiles:
    """Files that are read here and there, and are opened when they are first read.

    They are not read through a map into memory: its pages count as memory of the process, and a file that becomes
    shorter meanwhile, or a disk that fails, would end it without a word.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._open)

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
            file = self._open.get(number)
            if file is None:
                file = self._opened(number)
            data = self._read_at(file, min(n_bytes, MOST_BYTES), place)
            if len(data) == n_bytes:
                return data
            parts = [data]
            while parts[-1] and (n_read := sum(map(len, parts))) < n_bytes:
                parts.append(self._read_at(file, min(n_bytes - n_read, MOST_BYTES), place + n_read))
        except OSError as error:
            raise damaged(self.paths[number], error.strerror or str(error)) from error
        if not parts[-1]:
            raise damaged(self.paths[number], "it ends early")
        return b"".join(parts)

    def _opened(self, number: int) -> int:
        with self._lock:
            if number not in self._open:
                self._open[number] = self._open_file(number)
            return self._open[number]

    def _open_file(self, number: int) -> int:
        return os.open(self.paths[number], os.O_RDONLY | getattr(os, "O_BINARY", 0))

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

    def _open_file(self, number: int) -> int:
        facts = self._facts[number]
        return self._kept.open(facts["file"], facts["n_bytes"], facts.get("sha256"))


def damaged(path: Path | StoredFile, reason: str) -> DatasetError:
    return DatasetError(f"{printable(str(path))}: {reason}; prepare the data again, into another folder.")


def _close_all(files: dict[int, int]) -> None:
    for file in files.values():
        os.close(file)
