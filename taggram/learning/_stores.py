"""Prepared data that lies in a store which fsspec knows, such as s3://bucket/prepared, and the copies kept of it here.

A file is fetched once, checked, and kept in the cache; whoever wants it meanwhile waits. What is used least recently
goes when the cache is full. What the cache cannot hold is read from the store, the bytes that are wanted alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from taggram._files import ASIDE, cache_home, in_turn
from taggram._stores import open_store
from taggram.errors import DatasetError, printable

T = TypeVar("T")

CACHE_GB = 100.0
GB = 1_000_000_000
N_TRIES = 4  # of a request
WAIT_S = 0.5  # before the second try; doubled before each further one
CHUNK_BYTES = 2**24  # of a file that is fetched; a connection that breaks costs no more
SEEN_BYTES = 2**18  # read ahead where small columns are looked for
NO_PARTS = "the store gives no parts of files, only whole ones; copy the folder to this disk"
LEFT_S = 86_400  # after so long, what lies half fetched in the cache was left by a process that is no more


class Store:
    """A folder in a store.

    Args:
        address: of the folder, such as s3://bucket/prepared. Keys and the like are those that the package for the kind
            of store finds by itself.

    Raises:
        ConfigError: there is no such kind of store.
        MissingExtraError: the package for it is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files, self._path = open_store(self.address)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        """Let another process open the store for itself."""
        return Store, (self.address,)

    def name_of(self, name: str) -> str:
        """Give the address of a file, fit for a message."""
        return printable(f"{self.address}/{name}")

    def read_text(self, name: str) -> str:
        """Read a small file.

        Args:
            name: of the file.

        Returns:
            Its text.

        Raises:
            DatasetError: it cannot be read.
        """
        data: bytes = self._tried(name, lambda path: self._files.cat_file(path))
        return data.decode("utf-8")

    def read(self, name: str, place: int, n_bytes: int) -> bytes:
        """Read some bytes of a file.

        Args:
            name: of the file.
            place: bytes before them.
            n_bytes: how many.

        Returns:
            The bytes.

        Raises:
            DatasetError: they cannot be read.
        """

        def part(path: str) -> bytes:
            data: bytes = self._files.cat_file(path, start=place, end=place + n_bytes)
            if len(data) != n_bytes:
                raise OSError(f"{len(data)} bytes came, {n_bytes} were asked for" if len(data) < n_bytes else NO_PARTS)
            return data

        return self._tried(name, part) if n_bytes else b""

    def open(self, name: str) -> io.BufferedReader:
        """Open a file to be read here and there, a little at a time.

        Args:
            name: of the file.

        Returns:
            The file.

        Raises:
            DatasetError: it is not there.
        """
        n_bytes = int(self._tried(name, self._files.info)["size"])
        return io.BufferedReader(_Parts(self, name, n_bytes), SEEN_BYTES)

    def fetch(self, name: str, target: Path, n_bytes: int, sha256: str | None) -> None:
        """Fetch a whole file.

        Args:
            name: of the file.
            target: where it goes, a file that is there.
            n_bytes: how many it has.
            sha256: of it; None is not known. Then the store is asked for what it knows.

        Raises:
            DatasetError: it cannot be fetched, or is not what was written.
            OSError: the disk is full, or what else the own disk may say.
        """
        facts = self._tried(name, self._files.info)
        if facts["size"] != n_bytes:
            raise DatasetError(f"{self.name_of(name)} has {facts['size']} bytes, {n_bytes} were written; copy it anew.")
        with target.open("r+b") as file:
            for place in range(0, n_bytes, CHUNK_BYTES):
                file.write(self.read(name, place, min(CHUNK_BYTES, n_bytes - place)))
            file.flush()
            os.fsync(file.fileno())
        kind, wanted = ("sha256", sha256) if sha256 else ("md5", _md5_in(facts))
        if wanted and _digest(target, kind) != wanted:
            raise DatasetError(f"{self.name_of(name)} is not what was written (its {kind} differs); copy it anew.")

    def _tried(self, name: str, ask: Callable[[str], T]) -> T:
        """Ask for something several times, since connections break."""
        for left in reversed(range(N_TRIES)):
            try:
                return ask(f"{self._path}/{name}")
            except FileNotFoundError as error:
                raise DatasetError(
                    f"{self.name_of(name)} is not there; copy the whole folder that was prepared."
                ) from error
            except Exception as error:  # the packages for stores raise what they like
                if not left:
                    reason = str(error).strip() or type(error).__name__
                    raise DatasetError(f"{self.name_of(name)} cannot be read: {printable(reason)}.") from error
                time.sleep(WAIT_S * 2 ** (N_TRIES - 1 - left))
        raise AssertionError("every last try returns or raises")


class _Parts(io.RawIOBase):
    """A file of a store, read in parts of it.

    Args:
        store: where it is.
        name: of the file.
        n_bytes: how many it has.
    """

    def __init__(self, store: Store, name: str, n_bytes: int) -> None:
        super().__init__()
        self._store, self._name, self._n_bytes, self._place = store, name, n_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._n_bytes}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        n_wanted = max(0, min(len(buffer), self._n_bytes - self._place))
        buffer[:n_wanted] = self._store.read(self._name, self._place, n_wanted)
        self._place += n_wanted
        return n_wanted


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
        self._key = hashlib.sha256(f"{store.address} {key}".encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def path_of(self, name: str) -> Path:
        """Say where the copy of a file is, if there is one."""
        return self.folder / f"{self._key}-{name}"

    def open(self, name: str, n_bytes: int, sha256: str | None) -> int:
        """Open the copy of a file, after fetching it where there is none.

        Args:
            name: of the file.
            n_bytes: how many it has.
            sha256: of it; None is not known.

        Returns:
            A file descriptor to read from. What it leads to stays, also when the copy has to go.

        Raises:
            DatasetError: it cannot be fetched, or is not what was written.
            OSError: the disk is full, or what else the own disk may say.
        """
        path = self.path_of(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with in_turn(path.with_name(path.name + ".lock")):
            if not path.exists() or path.stat().st_size != n_bytes:
                aside = self._make_room(n_bytes, path.suffix)
                try:
                    self.store.fetch(name, aside, n_bytes, sha256)
                    aside.replace(path)
                except BaseException:
                    aside.unlink(missing_ok=True)
                    raise
            os.utime(path)  # what was used last goes last
            return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def _make_room(self, n_bytes: int, suffix: str) -> Path:
        """Remove copies until there is room for one more; give a file of its size that holds the place."""
        with in_turn(self.folder / "room.lock"):
            copies = [(path, path.stat()) for path in self.folder.iterdir() if path.suffix == suffix]
            n_kept = sum(facts.st_size for _, facts in copies)
            for path, facts in sorted(copies, key=lambda one: one[1].st_mtime_ns):
                is_left = path.name.startswith(ASIDE) and time.time() - facts.st_mtime > LEFT_S
                if is_left or (n_kept + n_bytes > self.limit_bytes and not path.name.startswith(ASIDE)):
                    with contextlib.suppress(PermissionError):  # Windows keeps what another process reads
                        path.unlink(missing_ok=True)
                        n_kept -= facts.st_size
            aside = self.folder / f"{ASIDE}{secrets.token_hex(8)}{suffix}"
            with aside.open("xb") as file:
                file.truncate(n_bytes)
            return aside


def _md5_in(facts: Mapping[str, Any]) -> str | None:
    """Find the MD5 that S3 gives as the ETag of what was sent whole; others have a mark of their own making there."""
    etag = str(facts.get("ETag", "")).strip('"')
    return etag if "StorageClass" in facts and re.fullmatch("[0-9a-f]{32}", etag) else None


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
