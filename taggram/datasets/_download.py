"""Downloads of data sets: they go on where they stopped, are checked, joined and unpacked.

What is half there ends in ".part". Beside it, ".part.of" holds what the server calls this version of the file, so that
two versions are never joined. What is done stands in ".taggram-data.json", so that an archive may be removed when it is
unpacked. Nothing else is ever removed, and a file that was brought by hand is taken as it is if its checksum is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import taggram
from taggram._files import written_aside
from taggram.datasets._base import DatasetCard, Remote
from taggram.datasets._unpack import unpack
from taggram.errors import DatasetError, printable, unknown_name

logger = logging.getLogger(__name__)

RECORD = ".taggram-data.json"
BLOCK = 2**20  # bytes that are received at once
TIMEOUT_S = 60.0  # without a byte
PAUSES_S = (1.0, 5.0, 20.0, 60.0)  # before trying again, while nothing comes; any byte starts them anew
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers of a server that may be another one in a while
PARTIAL, NOT_SATISFIABLE = 206, 416

Told = Callable[[str, str, int, int | None], object]
"""Called with what is done ("fetching", "checking" or "unpacking"), the file, its bytes so far, and of all."""


class _DroppedError(Exception):
    """The connection was lost, or the server is busy; trying again may help."""


def get(
    card: DatasetCard, root: Path, *, files: Iterable[str] | None = None, told: Told = lambda *_: None
) -> list[Path]:
    """Download what a card names, and unpack it.

    Args:
        card: of the data set.
        root: its folder, which is made if need be.
        files: names of those that are wanted, which are unpacked again if they were before; None is all but the
            optional ones, and what was done before is left alone.
        told: called as work goes on.

    Returns:
        The files, also those that were there.

    Raises:
        UnknownNameError: the card has no such file.
        DatasetError: a file cannot be fetched, or is not the one that the card names.
        OSError: the folder cannot be written to, or the disk is full.
    """
    by_name = {remote.file: remote for remote in card.remotes}
    names = [name for name in by_name if not by_name[name].optional] if files is None else list(files)
    for name in names:
        if name not in by_name:
            raise unknown_name("file", name, by_name, f"There are {', '.join(by_name)}")
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        remote = by_name[name]
        if files is None and _is_done(remote, root):
            continue
        _fetch(remote, root, told)
        if remote.unpack:
            n_files = unpack(root / name, root, partial(told, "unpacking", name))
            logger.info("%s: %d files unpacked", name, n_files)
        _note_done(remote, root)
    return [root / name for name in names]


def is_offline() -> bool:
    """Tell whether `TAGGRAM_OFFLINE` forbids to fetch anything."""
    return os.environ.get("TAGGRAM_OFFLINE", "0") not in ("", "0")


def _fetch(remote: Remote, root: Path, told: Told) -> None:
    """Have a file in its place, checked."""
    target = root / remote.file
    if target.exists():
        _verify(target, remote, told)
        return
    part = target.with_name(f"{target.name}.part")
    fetched = [part]
    if len(remote.urls) == 1:
        _download(remote.urls[0], part, remote, told)
    else:
        pieces = [_piece(url, root, remote, told) for url in remote.urls]
        fetched = [piece for piece in pieces if piece.suffix == ".part"]
        with part.open("wb") as whole:
            for piece in pieces:
                with piece.open("rb") as source:
                    shutil.copyfileobj(source, whole, BLOCK)
    _verify(part, remote, told, of=fetched)
    part.replace(target)
    for one in fetched:
        one.unlink(missing_ok=True)
        _version_file(one).unlink(missing_ok=True)


def _piece(url: str, root: Path, remote: Remote, told: Told) -> Path:
    """Have a piece of a file at hand: one that was brought, or one that is downloaded."""
    piece = root / _name_of(url)
    if piece.exists():
        return piece
    part = piece.with_name(f"{piece.name}.part")
    _download(url, part, remote, told)
    return part


def _download(url: str, part: Path, remote: Remote, told: Told) -> None:
    """Download into a file, going on behind what is in it."""
    if is_offline():
        raise DatasetError(
            f"{remote.file} is not at hand and TAGGRAM_OFFLINE is set. Unset it, or bring the file to "
            f"{printable(str(part.parent))} from {url}."
        )
    tries = iter(PAUSES_S)
    n_before = -1
    while True:
        try:
            _receive(url, part, remote, told)
        except _DroppedError as lost:
            n_bytes = part.stat().st_size if part.exists() else 0
            if n_bytes > n_before:
                tries = iter(PAUSES_S)
                n_before = n_bytes
            pause_s = next(tries, None)
            if pause_s is None:
                raise DatasetError(
                    f"{url} cannot be fetched: {lost}. What came is kept, so try again later; or bring {remote.file} "
                    f"to {printable(str(part.parent))} by hand."
                ) from lost
            logger.warning("%s: %s; trying again in %g s", url, lost, pause_s)
            time.sleep(pause_s)
        else:
            return


def _receive(url: str, part: Path, remote: Remote, told: Told) -> None:
    """Ask for what is still to come, and write it down; return when all is there."""
    n_bytes = part.stat().st_size if part.exists() else 0
    version = _read_version(part)
    if n_bytes and not version and remote.checksum is None:
        n_bytes = 0  # nothing would tell if the rest were that of another file
    headers = {"User-Agent": f"taggram/{taggram.__version__}", "Accept-Encoding": "identity"}
    if n_bytes:
        headers["Range"] = f"bytes={n_bytes}-"
        if version:
            headers["If-Range"] = version
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == NOT_SATISFIABLE and n_bytes:
            if error.headers.get("Content-Range", "").strip() == f"bytes */{n_bytes}":
                return
            part.unlink()
            raise _DroppedError("the server has less than what came before; starting anew") from error
        if error.code in AGAIN:
            raise _DroppedError(f"the server answers {error.code} {error.reason}") from error
        raise DatasetError(
            f"{url} cannot be fetched: the server answers {error.code} {error.reason}. Bring {remote.file} to "
            f"{printable(str(part.parent))} by hand."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    with response:
        goes_on = response.status == PARTIAL
        if goes_on and not _starts_at(response.headers, n_bytes):
            part.unlink(missing_ok=True)
            raise _DroppedError("the server goes on somewhere else; starting anew")
        n_all = _length(response.headers, n_bytes if goes_on else 0)
        _check_answer(url, remote, response.headers, n_all)
        _check_space(part.parent, n_all, n_bytes if goes_on else 0)
        if not goes_on:
            n_bytes = 0
            part.unlink(missing_ok=True)  # first, so that it never has the name of another version
            _write_version(part, response.headers)
        with part.open("ab") as out:
            while block := _read(response):
                out.write(block)
                n_bytes += len(block)
                told("fetching", part.name.removesuffix(".part"), n_bytes, n_all)
    if n_all is not None and n_bytes < n_all:
        raise _DroppedError(f"the connection ended after {n_bytes} of {n_all} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Receive a block; errors of the network are told apart from those of the disk."""
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _DroppedError(str(error) or type(error).__name__) from error


def _check_answer(url: str, remote: Remote, headers: Any, n_all: int | None) -> None:
    """Refuse an answer that cannot be the file, before anything of it is written."""
    if headers.get_content_type() == "text/html" and not remote.file.endswith((".html", ".htm")):
        raise DatasetError(f"{url} gives a page of the web in place of {remote.file}. Look at it, and bring the file.")
    if len(remote.urls) == 1 and None not in (remote.size, n_all) and n_all != remote.size:
        raise DatasetError(f"{url} is not {remote.file}: it has {n_all} bytes, {remote.size} are wanted.")


def _starts_at(headers: Any, n_bytes: int) -> bool:
    """Say whether a partial answer begins where it should."""
    return str(headers.get("Content-Range", "")).startswith(f"bytes {n_bytes}-")


def _length(headers: Any, n_before: int) -> int | None:
    """Say how many bytes the whole has, where the server says so."""
    length = headers.get("Content-Length", "")
    return n_before + int(length) if length.isdecimal() else None


def _verify(path: Path, remote: Remote, told: Told, *, of: Sequence[Path] = ()) -> None:
    """Check size and checksum of a file, which may be made of others."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        raise DatasetError(_refusal(path, remote, f"it has {size} bytes, {remote.size} are wanted", of))
    if remote.checksum is None:
        return
    kind, _, wanted = remote.checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        n_bytes = 0
        while block := file.read(BLOCK):
            digest.update(block)
            n_bytes += len(block)
            told("checking", remote.file, n_bytes, size)
    if digest.hexdigest() != wanted:
        raise DatasetError(_refusal(path, remote, f"its {kind} is {digest.hexdigest()}, {wanted} is wanted", of))


def _refusal(path: Path, remote: Remote, why: str, of: Sequence[Path]) -> str:
    removed = " and ".join(printable(str(one)) for one in of or [path])
    return f"{printable(str(path))} is not {remote.file}: {why}. Remove {removed} to fetch it again."


def _check_space(folder: Path, n_all: int | None, n_bytes: int) -> None:
    """Refuse to begin what the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if n_all is not None and n_all - n_bytes > free:
        raise DatasetError(f"{n_all - n_bytes} bytes are to come, and the disk of {printable(str(folder))} has {free}.")


def _name_of(url: str) -> str:
    """Give the name of the file that an address ends in."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.of")


def _read_version(part: Path) -> str:
    """Give what the server called the version of what is there, or ""."""
    with contextlib.suppress(OSError):
        return _version_file(part).read_text(encoding="utf-8")
    return ""


def _write_version(part: Path, headers: Any) -> None:
    """Keep what the server calls this version: a strong tag, or when it was changed."""
    tag = headers.get("ETag", "")
    version = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    _version_file(part).write_text(version, encoding="utf-8")


def _is_done(remote: Remote, root: Path) -> bool:
    """Say whether a file was fetched before, and unpacked if it is to be; then it need not be there any more."""
    entry = _read_record(root).get(remote.file)
    if entry is None or entry.get("checksum") != remote.checksum:
        return False
    target = root / remote.file
    return (remote.unpack and not target.exists()) or (target.exists() and target.stat().st_size == entry.get("size"))


def _note_done(remote: Remote, root: Path) -> None:
    entry = {"checksum": remote.checksum, "size": (root / remote.file).stat().st_size}
    record = {**_read_record(root), remote.file: entry}
    with written_aside(root / RECORD) as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _read_record(root: Path) -> dict[str, dict[str, Any]]:
    """Read what is done; a record that cannot be read only means that files are checked again."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((root / RECORD).read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return {name: entry for name, entry in record.items() if isinstance(entry, dict)}
    return {}
