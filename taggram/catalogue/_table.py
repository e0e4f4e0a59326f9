"""The rows of a catalogue, as DuckDB reads them out of the parts."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._extras import load_extra
from taggram._files import utf8
from taggram._processes import n_cores
from taggram.catalogue._folder import LAYERS, PARTS
from taggram.catalogue.rows import NUMBER_OF_ROW
from taggram.errors import (
    CatalogueError,
    PartsChangedError,
    TooLongQuestionError,
    UnreadablePartError,
    printable,
)

MEMORY_MB = 2_000  # of DuckDB; what needs more goes through temporary files
CHUNK_ROWS = 2_000
WATCH_S = 0.05  # between looks at whether a question is still wanted
ROWS = "WITH rows AS (SELECT * FROM read_parquet(?, hive_partitioning = false)) "
NUMBERED = "WITH rows AS (SELECT * FROM read_parquet(?, hive_partitioning = false, file_row_number = true)) "


class Table:
    """Asks for rows. It can read this one folder and nothing else, and write nowhere but to temporary files.

    Args:
        folder: of the catalogue.
        timeout_s: a question that takes longer is given up, in seconds; None is never.
        n_threads: threads of all questions together; None is one a core.
        memory_mb: memory of all questions together, in MB (1,000,000 bytes).

    Raises:
        CatalogueError: the path of the folder is no UTF-8.
        MissingExtraError: duckdb is not installed.
    """

    def __init__(
        self,
        folder: Path,
        timeout_s: float | None = None,
        *,
        n_threads: int | None = None,
        memory_mb: float = MEMORY_MB,
    ) -> None:
        self._duckdb = load_extra("duckdb", "catalogue", "questions to catalogues")
        self._folder = folder
        self._timeout_s = timeout_s
        self._is_closed = False
        allowed = [os.path.realpath(place) for place in (folder, *_places_of_parts(folder))]
        if any(utf8(place) != place for place in allowed):
            raise CatalogueError(f"the path of {printable(str(folder))} is no UTF-8, which DuckDB needs; rename it.")
        self._connection = self._duckdb.connect(
            ":memory:",
            config={
                "threads": n_threads or n_cores(),
                "memory_limit": f"{round(memory_mb * 1000)}KB",
                "temp_directory": str(Path(tempfile.gettempdir()) / f"taggram-{secrets.token_hex(8)}"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        quoted = ", ".join("'" + place.replace("'", "''") + "'" for place in allowed)
        for setting in (f"allowed_directories = [{quoted}]", "enable_external_access = false"):
            self._connection.execute(f"SET {setting}")
        self._connection.execute("SET lock_configuration = true")

    def ask(
        self,
        parts: Sequence[Path],
        sql: str,
        values: Sequence[Any] = (),
        *,
        numbered: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Ask for rows; several threads may do so at once.

        Args:
            parts: files that hold them.
            sql: a query of the table `rows`, with a question mark for each value.
            values: of the question marks.
            numbered: whether the table has a column file_row_number, the place of a row in its part.
            stop: ends the question when it is set.

        Yields:
            A row after the other.

        Raises:
            CatalogueError: the question needs more memory than is allowed.
            PartsChangedError: a part is gone, since parts were merged meanwhile.
            TooLongQuestionError: it takes too long, or was stopped.
            UnreadablePartError: DuckDB fails, as it does in many ways on a damaged part.
        """
        if self._is_closed:
            raise CatalogueError(f"{printable(str(self._folder))} was closed; open it again to ask.")
        if not parts:
            return
        places = [os.path.realpath(part) for part in parts]
        try:
            with self._connection.cursor() as cursor, self._watched(cursor, stop):
                cursor.execute((NUMBERED if numbered else ROWS) + sql, [places, *values])
                while rows := cursor.fetchmany(CHUNK_ROWS):
                    yield from rows
        except self._duckdb.InterruptException as error:
            raise TooLongQuestionError(
                "the question was stopped, since nobody waits for its answer."
                if stop is not None and stop.is_set()
                else f"the question takes longer than the {self._timeout_s:g} s allowed; ask for less."
            ) from error
        except (self._duckdb.Error, UnicodeError) as error:
            raise self._told(error, parts) from error

    def _told(self, error: Exception, parts: Sequence[Path]) -> CatalogueError:
        """Say what an error of DuckDB means."""
        place = printable(str(self._folder))
        if not all(part.is_file() for part in parts):
            return PartsChangedError(f"{place}: parts were merged while they were read; ask again.")
        reason = printable(str(error).strip().partition("\n")[0])
        if isinstance(error, self._duckdb.OutOfMemoryException):
            return CatalogueError(f"the question needs more memory than it may take: {reason}. Ask for less.")
        if isinstance(error, self._duckdb.IOException | self._duckdb.InvalidInputException):
            return UnreadablePartError(
                f"{place} cannot be read: {reason}. `taggram catalogue` on the same files makes good what is damaged."
            )
        return UnreadablePartError(f"{place} cannot be asked this: {reason}.")

    def rows_at(
        self, parts: Sequence[Path], starts: NDArray[np.int64], numbers: NDArray[np.int64], columns: Sequence[str]
    ) -> dict[int, tuple[Any, ...]]:
        """Look up single rows by their numbers.

        Args:
            parts: files that hold them.
            starts: (parts + 1,) number of the first row of each.
            numbers: of the wanted rows, counted over all parts.
            columns: wanted of each, in SQL.

        Returns:
            The columns by number.

        Raises:
            CatalogueError: a part cannot be read.
        """
        of_part = np.searchsorted(starts, numbers, side="right") - 1
        wanted = ", ".join(columns)
        sql = f"SELECT {NUMBER_OF_ROW}, {wanted} FROM rows WHERE {NUMBER_OF_ROW} IN (SELECT unnest(?))"  # noqa: S608
        found = {}
        for part in np.unique(of_part):
            start = int(starts[part])
            rows = (numbers[of_part == part] - start).tolist()
            for row, *values in self.ask([parts[part]], sql, [rows], numbered=True):
                found[start + row] = tuple(values)
        return found

    @contextlib.contextmanager
    def _watched(self, cursor: Any, stop: threading.Event | None) -> Iterator[None]:
        """Interrupt what takes too long, or is not wanted any more, until it ends: once may come before it begins."""
        if self._timeout_s is None and stop is None:
            yield
            return
        is_done = threading.Event()
        end = math.inf if self._timeout_s is None else time.monotonic() + self._timeout_s

        def watch() -> None:
            while not is_done.wait(WATCH_S):
                if time.monotonic() >= end or (stop is not None and stop.is_set()):
                    cursor.interrupt()

        watcher = threading.Thread(target=watch, name="watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_done.set()
            watcher.join()

    def close(self) -> None:
        """Let go of the memory."""
        self._is_closed = True
        self._connection.close()


def _places_of_parts(folder: Path) -> list[Path]:
    """Give the folders that hold parts, any of which may be a link to another disk."""
    return [place / PARTS for place in (folder, *(folder / LAYERS).glob("*"))]
