"""Prepared data that lies in a store which fsspec knows, such as s3://bucket/prepared."""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from taggram._stores import open_store, without_password
from taggram.errors import DatasetError, printable

T = TypeVar("T")

N_TRIES = 4  # of a request
WAIT_S = 0.5  # before the second try; doubled before each further one
TIMEOUT_S = 60.0  # of a request, beside the time that its bytes take
SLOWEST_BYTES_S = 100_000.0  # what a connection gives at least that is waited for
PASSING = (408, 429)  # answers of HTTP that blame the client and still may be others the next time
ABSENT = (404, 410)
CHUNK_BYTES = 2**24  # of a file that is fetched; a connection that breaks costs no more
SEEN_BYTES = 2**18  # read ahead where small columns are looked for
NO_PARTS = "the store gives no parts of files, only whole ones; copy the folder to this disk"
NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


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
        if address.startswith("file://") and not self._files.exists(self._path):
            self._path = unquote(self._path)  # as `Path.as_uri` and file managers write it

    def __str__(self) -> str:
        """Give the address, fit for a message."""
        return printable(without_password(self.address))

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        """Let another process open the store for itself."""
        return Store, (self.address,)

    def name_of(self, name: str) -> str:
        """Give the address of a file, fit for a message."""
        return printable(f"{self}/{name}")

    def read_text(self, name: str) -> str:
        """Read a small file.

        Args:
            name: of the file.

        Returns:
            Its text.

        Raises:
            DatasetError: it cannot be read, or is no text.
        """
        data: bytes = self._tried(name, lambda path: self._files.cat_file(path, **self._limit()))
        try:
            return data.decode("utf-8")
        except ValueError as error:
            raise DatasetError(f"{self.name_of(name)} is no text in UTF-8; copy the folder anew.") from error

    def check_parts(self, name: str) -> None:
        """Refuse a server that gives whole files alone, before it sends many; that costs some bytes of one.

        Args:
            name: of a file that has two bytes at least.

        Raises:
            DatasetError: it gives no parts of files, or the file cannot be read.
        """

        def second_byte(path: str) -> None:
            with self._files.open(path, block_size=SEEN_BYTES, cache_type="none") as file:
                try:
                    file.seek(1)
                    file.read(1)
                except ValueError as error:  # what fsspec says of a server that answers with more
                    raise DatasetError(f"{self.name_of(name)}: {NO_PARTS}.") from error

        if self.address.startswith(("http://", "https://")):  # all other kinds do
            self._tried(name, second_byte)

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
            data: bytes = self._files.cat_file(path, start=place, end=place + n_bytes, **self._limit(n_bytes))
            if len(data) > n_bytes:
                raise DatasetError(f"{self.name_of(name)}: {NO_PARTS}.")
            if len(data) < n_bytes:
                raise OSError(f"{len(data)} bytes came, {n_bytes} were asked for; if it is cut, copy it anew")
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
        n_bytes = int(self._facts(name)["size"])
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
        facts = self._facts(name)
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

    def _facts(self, name: str) -> Mapping[str, Any]:
        """Ask what a store knows of a file."""
        return self._tried(name, lambda path: self._files.info(path, **self._limit()))

    def _limit(self, n_bytes: int = 0) -> dict[str, float]:
        """Give the option that ends a request which is not answered; only what fsspec runs in its own thread has it."""
        return {"timeout": TIMEOUT_S + n_bytes / SLOWEST_BYTES_S} if self._files.async_impl else {}

    def _tried(self, name: str, ask: Callable[[str], T]) -> T:
        """Ask for something several times, since connections break."""
        for left in reversed(range(N_TRIES)):
            try:
                return ask(f"{self._path}/{name}")
            except DatasetError:
                raise
            except Exception as error:  # the packages for stores raise what they like
                cause = _cause(error)
                if isinstance(cause, NOT_THERE):
                    raise DatasetError(
                        f"{self.name_of(name)} is not there; copy the whole folder that was prepared."
                    ) from error
                if not left or _stays(cause):
                    raise DatasetError(f"{self.name_of(name)} cannot be read: {_reason(cause)}.") from error
                time.sleep(WAIT_S * 2 ** (N_TRIES - 1 - left))
        raise AssertionError("every last try returns or raises")


def _cause(error: BaseException) -> BaseException:
    """Give what is behind a "not found": fsspec says that too of a server that is busy, or keeps a file from others."""
    behind = error.__cause__
    is_other = behind is not None and getattr(behind, "status", None) not in ABSENT
    return behind if behind is not None and is_other and isinstance(error, NOT_THERE) else error


def _stays(error: BaseException) -> bool:
    """Whether the next try would end in the same way: rights are missing, or what is asked for makes no sense."""
    status = getattr(error, "status", None)  # of HTTP
    is_refused = isinstance(status, int) and 400 <= status < 500 and status not in PASSING
    return is_refused or isinstance(error, PermissionError)


def _reason(error: BaseException) -> str:
    """Say in words why a request failed."""
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no answer within {TIMEOUT_S:g} s and {SLOWEST_BYTES_S:g} bytes a second"
    return printable(without_password(str(error).strip() or type(error).__name__)).rstrip(".")


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


def _md5_in(facts: Mapping[str, Any]) -> str | None:
    """Find the MD5 that S3 gives as the ETag of what was sent whole; others have a mark of their own making there."""
    etag = str(facts.get("ETag", "")).strip('"')
    return etag if "StorageClass" in facts and re.fullmatch("[0-9a-f]{32}", etag) else None


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
