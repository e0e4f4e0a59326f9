"""Files that lie in a store which fsspec knows, such as s3://bucket/song.mp3."""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from taggram._stores import is_address, open_store
from taggram.audio import AUDIO_SUFFIXES
from taggram.errors import CatalogueError, printable

CHUNK_BYTES = 2**22
US = 1_000_000
GLOB_SIGNS = "*?["
ASKED_AT_ONCE = 16  # questions to a store, each of which takes some hundredths of a second

Found = tuple[str, int | None, int | None]
"""Path, size in bytes, and time of the last change in microseconds since 1970, as far as they are known."""


@contextlib.contextmanager
def at_hand(path: str, told: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Have a file at hand for the `with` statement; one that lies in a store is fetched, and removed afterwards.

    Args:
        path: a file, or an address.
        told: is called now and then while it is fetched.

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
        # The name in the store may be longer than a disk allows, as signed addresses are.
        place = Path(folder) / f"sound{suffix_of(path) if is_sound(path) else ''}"
        with files.open(inner, "rb") as source, place.open("wb") as target:
            while data := source.read(CHUNK_BYTES):
                target.write(data)
                told()
        yield place


def list_store(address: str, *, with_globs: bool) -> Iterator[Found]:
    """List what an address stands for: a file, all sound in a folder, or all sound that a glob fits.

    Args:
        address: such as s3://bucket/songs or s3://bucket/*.mp3. What is sound is told by the suffix.
        with_globs: whether an address at which there is nothing is taken for a glob if it looks like one.

    Yields:
        The files, with addresses as paths; those of one folder after the other, sorted.

    Raises:
        CatalogueError: no sound fits the glob.
        ConfigError: there is no such kind of store.
        FileNotFoundError: there is nothing at that address.
        OSError: the store cannot be asked.
    """
    files, path = open_store(address)
    try:
        facts = files.info(path)
    except (FileNotFoundError, NotADirectoryError):
        if not (with_globs and any(sign in path for sign in GLOB_SIGNS)):
            raise
        yield from _fitting(files, path, address)
        return
    # Of a web server all there is are files, but a folder shows as a page of links.
    if facts["type"] == "directory" or address.endswith("/") or facts.get("mimetype") == "text/html":
        yield from _sound_below(files, path)
    else:
        yield _found(files, path, facts)


def _fitting(files: Any, path: str, address: str) -> Iterator[Found]:
    n_found = 0
    for name, facts in sorted(files.glob(path, detail=True).items()):
        below = [_found(files, name, facts)] if is_sound(name) else []
        for one in _sound_below(files, name) if facts["type"] == "directory" else below:
            n_found += 1
            yield one
    if not n_found:
        raise CatalogueError(f"no sound fits {printable(address)}.")


def _sound_below(files: Any, folder: str) -> Iterator[Found]:
    """List the sound in a folder and below; some of the folders in it at once, as facts take a kilobyte a file."""
    inner = {facts["name"]: facts for facts in files.ls(folder, detail=True)}
    folders = []
    for name, facts in sorted(inner.items()):
        if facts["type"] == "file" and is_sound(name):
            yield _found(files, name, facts)
        elif facts["type"] == "directory" and name.rstrip("/") != folder.rstrip("/"):
            folders.append(name)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        for start in range(0, len(folders), ASKED_AT_ONCE):
            some = folders[start : start + ASKED_AT_ONCE]
            for below in pool.map(lambda name: files.find(name, detail=True), some):
                yield from (_found(files, name, facts) for name, facts in sorted(below.items()) if is_sound(name))
            files.invalidate_cache()  # what a store remembers of each folder would add up


def _found(files: Any, name: str, facts: dict[str, Any]) -> Found:
    return files.unstrip_protocol(name), facts.get("size"), _modified_us(facts)


def suffix_of(path: str) -> str:
    """Find the suffix of a file's name, in small letters; in web addresses, what follows a ? is no part of the name.

    Args:
        path: a path or an address.

    Returns:
        Such as ".mp3", or "".
    """
    if path.startswith(("http://", "https://")):
        path = path.partition("?")[0]
    return PurePosixPath(path).suffix.lower()


def is_sound(name: str) -> bool:
    """Tell by its suffix whether a file in a store is sound.

    Args:
        name: its path or address.

    Returns:
        Whether it is to be tried.
    """
    return suffix_of(name) in AUDIO_SUFFIXES


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
