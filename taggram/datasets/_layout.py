"""Where things lie in the folder of a data set: with the folder that its archive makes, or without it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from taggram.errors import DatasetError, printable


def find_folder(root: Path, marks: Sequence[str], tops: Sequence[str], *, name: str) -> Path:
    """Find the folder that holds the files of a data set.

    Args:
        root: the folder that was given.
        marks: files or folders, of which one must be in it, relative to it.
        tops: folders in which it may be, relative to `root`; "" is `root` itself.
        name: of the data set, for the message.

    Returns:
        The first folder that holds a mark.

    Raises:
        DatasetError: there is none; the message says what was looked for and how to get it.
    """
    folder = find_optional_folder(root, marks, tops)
    if folder is None:
        places = ", ".join(printable(str(root / top)) for top in tops)
        raise DatasetError(
            f"no {' or '.join(marks)} in {places}. `taggram data get {name} --root {printable(str(root))}` fetches the "
            "data set, or says what to do by hand."
        )
    return folder


def find_optional_folder(root: Path, marks: Sequence[str], tops: Sequence[str]) -> Path | None:
    """Find the folder that holds some files, or None; see `find_folder`."""
    for top in tops:
        if any((root / top / mark).exists() for mark in marks):
            return root / top
    return None


def inside(folder: Path, relative: str) -> Path:
    """Join a path that a list gives, which may not lead out of the folder.

    Args:
        folder: that it is relative to.
        relative: the path, with slashes.

    Returns:
        The whole path.

    Raises:
        DatasetError: the path is absolute, empty, or has "..".
    """
    parts = PurePosixPath(relative.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in relative:
        raise DatasetError(
            f"{relative!r} is no path within {printable(str(folder))}; the list is not the original one."
        )
    return folder.joinpath(*parts)


def walk(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """List the files in a folder and below.

    Args:
        folder: it need not be there.
        suffixes: of the files, such as ".wav", in lower case; any case is taken.

    Returns:
        Their paths, sorted by name. What starts with a dot, as macOS writes beside each file, is left out.
    """
    wanted = tuple(suffixes)
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if name.lower().endswith(wanted) and not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
