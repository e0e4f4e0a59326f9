"""Folders that are watched: which files came or changed, once they are complete.

Folders are walked again and again, which works on every disk and system, also on one that sends no notices.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from taggram._sound_files import STDIN, walk
from taggram.audio import looks_like_audio
from taggram.errors import ConfigError, printable

LOOK_EVERY_S = 1.0
WALK_SHARE = 0.1  # of the time at most goes into walking folders
SETTLED_S = 2.0  # a file that did not change for so long is complete
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".temp", ".!qb", ".!ut", ".aria2")


@dataclass(frozen=True)
class FileState:
    """What a file looked like.

    Attributes:
        size: in bytes.
        modified_ns: when it was written to.
        file_id: which file it is, whatever its name.
        is_readable: whether we may read it.
    """

    size: int
    modified_ns: int
    file_id: int
    is_readable: bool

    @classmethod
    def of(cls, path: str) -> FileState | None:
        """Look at a file.

        Args:
            path: the file.

        Returns:
            What it looks like now, or None where it is gone.
        """
        try:
            status = Path(path).stat()
            is_readable = os.access(path, os.R_OK)
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, is_readable)


@dataclass(frozen=True)
class _Waiting:
    """A file that may not be complete yet.

    Attributes:
        state: what it looks like.
        since_s: when it was first seen like this.
    """

    state: FileState
    since_s: float


class Watch:
    """Folders in which files are waited for.

    A file is given when it stood still for `settled_s`, and again when it changed. Names that start with a dot or end
    like those of unfinished downloads are passed over, and so are files without sound in them.

    Args:
        folders: the folders; what is below them is watched too.
        settled_s: a file that did not change for so long is complete, in seconds.
        look_every_s: how often is looked, in seconds; rarer where the walk takes long.
        clock: tells the time in seconds.
        sleep: waits for so many seconds.

    Raises:
        ConfigError: something is no folder.
    """

    def __init__(
        self,
        folders: list[str],
        *,
        settled_s: float = SETTLED_S,
        look_every_s: float = LOOK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        for folder in folders:
            if folder == STDIN or not Path(folder).is_dir():
                raise ConfigError(f"{printable(folder)} is no folder; --watch wants folders.")
        self._folders = folders
        self._settled_s = settled_s
        self._look_every_s = look_every_s
        self._clock = clock
        self._sleep = sleep
        self._waiting: dict[str, _Waiting] = {}
        self._done: dict[str, FileState] = {}  # as it was when it was given, or found to be no sound

    def __iter__(self) -> Iterator[list[str]]:
        """Wait for files, without end.

        Yields:
            Files that are complete and were not given as they now are, sorted.
        """
        while True:
            started = self._clock()
            ready = self.look()
            if ready:
                yield ready
                continue
            walk_s = self._clock() - started
            self._sleep(max(self._look_every_s, walk_s * (1 - WALK_SHARE) / WALK_SHARE))

    def look(self) -> list[str]:
        """Look once.

        Returns:
            Files that are complete and were not given as they now are, sorted.
        """
        now_s = self._clock()
        found = {path: state for path in self._files() if (state := FileState.of(path)) is not None}
        self._done = {path: state for path, state in self._done.items() if path in found}
        new = {path: state for path, state in found.items() if state != self._done.get(path)}
        seen = {path: self._seen(path, state, now_s) for path, state in new.items()}
        settled = {path for path, one in seen.items() if now_s - one.since_s >= self._settled_s}
        self._waiting = {path: one for path, one in seen.items() if path not in settled}
        self._done.update((path, found[path]) for path in settled)
        return sorted(path for path in settled if looks_like_audio(Path(path)))

    def take_as_given(self, path: str, before: FileState, after: FileState) -> None:
        """Take a file that we changed for given as we left it, unless it was not the one any more that was given.

        Args:
            path: the file.
            before: what it looked like when we began.
            after: what it looked like when we were done.
        """
        if self._done.get(path) == before:
            self._done[path] = after

    def _seen(self, path: str, state: FileState, now_s: float) -> _Waiting:
        """Say since when a file looks as it does."""
        before = self._waiting.get(path)
        return before if before is not None and before.state == state else _Waiting(state, now_s)

    def _files(self) -> Iterator[str]:
        """Walk through the folders; one that cannot be read now may be there again later."""
        for folder in self._folders:
            yield from (file for file in walk(folder)[0] if not _is_unfinished(file))


def _is_unfinished(path: str) -> bool:
    """Say whether a name is that of a file that is being written."""
    name = os.path.basename(path).lower()  # noqa: PTH119 (a name that is no UTF-8 stays as it is)
    return name.startswith(".") or name.endswith((*UNFINISHED, "~"))
