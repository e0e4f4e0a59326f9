"""From the paths that a user gives to files of sound."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from taggram.audio import looks_like_audio
from taggram.results import Failure

STDIN = "-"


def list_files(paths: list[str]) -> tuple[list[str], list[Failure]]:
    """Turn paths into files: folders are walked, `-` is a list on standard input.

    Args:
        paths: files, folders, or `-`.

    Returns:
        The files in order, also those that do not exist; and the folders that hold no sound or cannot be read.
    """
    files: list[str] = []
    failures: list[Failure] = []
    for path in paths:
        for one in read_list() if path == STDIN else [path]:
            if not os.path.isdir(one):  # noqa: PTH112 (Path.is_dir raises where a folder above cannot be entered)
                files.append(one)
                continue
            found, unread = sound_in(one)
            files.extend(found)
            failures.extend(unread)
    return files, failures


def sound_in(folder: str) -> tuple[list[str], list[Failure]]:
    """List all sound in a folder and below.

    Args:
        folder: the folder.

    Returns:
        The files, sorted, and the folders that cannot be read, or this one where it holds no sound.
    """
    below, failures = walk(folder)
    found = [file for file in below if looks_like_audio(Path(file))]
    if not found and not failures:
        failures = [Failure(folder, "AudioError", "there is no sound in this folder")]
    return found, failures


def read_list() -> list[str]:
    """Read a list of paths from standard input: a line each, or between NUL characters as `find -print0` gives them."""
    data = sys.stdin.buffer.read() if sys.stdin is not None else b""
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(line) for line in lines if line.strip()]


def walk(folder: str) -> tuple[list[str], list[Failure]]:
    """List all files in a folder and below, sorted; links to folders are followed once.

    Args:
        folder: the folder.

    Returns:
        The files, whatever is in them, and the folders that cannot be read.
    """
    files: list[str] = []
    failures: list[Failure] = []
    seen: set[tuple[int, int]] = set()

    def keep(error: OSError) -> None:
        failures.append(Failure(str(error.filename), type(error).__name__, error.strerror or str(error)))

    for place, folders, names in os.walk(folder, onerror=keep, followlinks=True):
        try:
            status = Path(place).stat()
        except OSError as error:  # it was there a moment ago
            keep(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        files.extend(os.path.join(place, name) for name in sorted(names))  # noqa: PTH118 (keeps the path as it was typed)
    return files, failures
