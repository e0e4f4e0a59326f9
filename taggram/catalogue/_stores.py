"""Files that lie in a store which fsspec knows, such as s3://bucket/song.mp3."""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from taggram._stores import is_address, open_store
from taggram.audio import AUDIO_SUFFIXES

CHUNK_BYTES = 2**22
US = 1_000_000


@contextlib.contextmanager
def at_hand(path: str) -> Iterator[Path]:
    """Have a file at hand for the `with` statement; one that lies in a store is fetched, and removed afterwards.

    Args:
        path: a file, or an address.

    Yields:
        The file.

    Raises:
        OSError: it cannot be fetched.
    """
    if not is_address(path):
        yield Path(path)
        return
    files, inner = open_store(path)
    with tempfile.TemporaryDirectory(prefix="taggram-") as folder:
        place = Path(folder) / (PurePosixPath(inner).name or "sound")
        with files.open(inner, "rb") as source, place.open("wb") as target:
            while data := source.read(CHUNK_BYTES):
                target.write(data)
        yield place


def list_store(address: str) -> Iterator[tuple[str, int | None, int | None]]:
    """List what an address stands for: a file, all sound in a folder, or all that a glob fits.

    Args:
        address: such as s3://bucket/songs or s3://bucket/*.mp3. What is sound is told by the suffix.

    Yields:
        Address, size in bytes and time of the last change in microseconds since 1970, as far as the store knows.

    Raises:
        OSError: the store cannot be asked.
        ConfigError: there is no such kind of store.
    """
    files, path = open_store(address)
    if any(sign in path for sign in "*?["):
        found = files.glob(path, detail=True)
    elif files.isdir(path):
        found = files.find(path, detail=True)
        found = {name: facts for name, facts in found.items() if _is_sound(name)}
    else:
        found = {path: files.info(path)}
    for name, facts in sorted(found.items()):
        if facts["type"] == "file":
            yield files.unstrip_protocol(name), facts.get("size"), _modified_us(facts)


def _is_sound(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _modified_us(facts: dict[str, Any]) -> int | None:
    """Find the time of the last change under the names that stores have for it."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = facts.get(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = dt.datetime.fromisoformat(value)
        if isinstance(value, dt.datetime):
            return round(value.timestamp() * US)
        if isinstance(value, int | float):
            return round(value * US)
    return None
