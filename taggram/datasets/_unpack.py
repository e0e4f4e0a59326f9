"""Archives from elsewhere, unpacked into a folder that no member can leave."""

from __future__ import annotations

import logging
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from taggram._files import written_aside
from taggram.errors import DatasetError, printable

logger = logging.getLogger(__name__)

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
JUNK = ("__MACOSX", ".DS_Store")


@dataclass(frozen=True)
class _Member:
    """A file in an archive.

    Attributes:
        name: as the archive gives it.
        size: in bytes.
        is_file: or else a link or a device; folders are made as files need them.
        open: gives what is in it.
    """

    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, told: Callable[[int, int | None], object] | None = None) -> int:
    """Unpack a zip or tar archive.

    Files are written aside and renamed, so that none is ever cut short; one that is there with the right size is left
    alone, so unpacking goes on where it was stopped. Links and devices are left out, with a warning.

    Args:
        archive: the file.
        folder: where to; it is made if need be.
        told: called with the bytes that are unpacked, and of all where that is known.

    Returns:
        The number of files, with those that were there.

    Raises:
        DatasetError: it is no archive, is damaged, or has a member whose name leads out of the folder.
        OSError: the folder cannot be written to, or the disk is full.
    """
    n_files = n_bytes = 0
    with _opened(archive) as (n_all, members):
        for member in members:
            parts = _safe_parts(member.name, archive)
            if not parts or parts[0] in JUNK or parts[-1] in JUNK or parts[-1].startswith("._"):
                continue
            if not member.is_file:
                logger.warning("%s: left out %s, which is no plain file", archive.name, printable(member.name))
                continue
            target = folder.joinpath(*parts)
            if not (target.is_file() and target.stat().st_size == member.size):
                _write(member, target, archive)
            n_files += 1
            n_bytes += member.size
            if told is not None:
                told(n_bytes, n_all)
    return n_files


def _write(member: _Member, target: Path, archive: Path) -> None:
    """Write one file, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(target) as aside:
        source = member.open()
        if source is None:
            raise DatasetError(f"{printable(str(archive))}: {printable(member.name)} cannot be read.")
        with source, aside.open("wb") as out:
            shutil.copyfileobj(source, out, 2**20)
        if aside.stat().st_size != member.size:
            raise DatasetError(f"{printable(str(archive))}: {printable(member.name)} is cut short.")


def _safe_parts(name: str, archive: Path) -> tuple[str, ...]:
    """Split the name of a member, which may not lead out of the folder it is unpacked into."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if parts and (parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name):
        raise DatasetError(f"{printable(str(archive))} has a member {name!r}, which leads out of its folder.")
    return parts


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[int | None, Iterator[_Member]]]:
    """Open an archive: the bytes of all members where that is known, and the members."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                yield sum(info.file_size for info in packed.infolist()), _in_zip(packed)
        else:
            with tarfile.open(archive) as packed_tar:
                yield None, _in_tar(packed_tar)
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system; that of a codec has no number
            raise
        raise DatasetError(f"{printable(str(archive))} is no archive that can be unpacked: {error}.") from error


def _in_zip(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        if not info.is_dir():
            kind = info.external_attr >> 28  # what Unix says of the file; 0 where another system packed it
            yield _Member(info.filename, info.file_size, kind in (0, 8), partial(packed.open, info))


def _in_tar(packed: tarfile.TarFile) -> Iterator[_Member]:
    for info in packed:
        if not info.isdir():
            yield _Member(info.name, info.size, info.isfile(), partial(packed.extractfile, info))
