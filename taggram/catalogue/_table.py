"""The rows of a catalogue, as DuckDB reads them out of the parts."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._extras import load_extra
from taggram._processes import n_cores
from taggram.errors import CatalogueError, printable

MEMORY = "2GB"  # of DuckDB; what needs more goes through temporary files
CHUNK_ROWS = 2_000
ROWS = "WITH rows AS (SELECT * FROM read_parquet(?, hive_partitioning = false)) "
NUMBERED = "WITH rows AS (SELECT * FROM read_parquet(?, hive_partitioning = false, file_row_number = true)) "


class Table:
    """Asks for rows. It can read this one folder and nothing else, and write nowhere but to temporary files.

    Args:
        folder: of the catalogue.
        timeout_s: a question that takes longer is given up, in seconds; None is never.

    Raises:
        MissingExtraError: duckdb is not installed.
    """

    def __init__(self, folder: Path, timeout_s: float | None = None) -> None:
        self._duckdb = load_extra("duckdb", "catalogue", "questions to catalogues")
        self._folder = folder
        self._timeout_s = timeout_s
        self._connection = self._duckdb.connect(
            ":memory:",
            config={
                "threads": n_cores(),
                "memory_limit": MEMORY,
                "temp_directory": str(Path(tempfile.gettempdir()) / f"taggram-{secrets.token_hex(8)}"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        allowed = os.path.realpath(folder).replace("'", "''")
        for setting in (f"allowed_directories = ['{allowed}']", "enable_external_access = false"):
            self._connection.execute(f"SET {setting}")
        self._connection.execute("SET lock_configuration = true")

    def ask(
        self, parts: Sequence[Path], sql: str, values: Sequence[Any] = (), *, numbered: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        """Ask for rows; several threads may do so at once.

        Args:
            parts: files that hold them.
            sql: a query of the table `rows`, with a question mark for each value.
            values: of the question marks.
            numbered: whether the table has a column file_row_number, the place of a row in its part.

        Yields:
            A row after the other.

        Raises:
            CatalogueError: a part cannot be read, or it takes too long.
        """
        if not parts:
            return
        places = [os.path.realpath(part) for part in parts]
        try:
            with self._connection.cursor() as cursor, self._limited(cursor):
                cursor.execute((NUMBERED if numbered else ROWS) + sql, [places, *values])
                while rows := cursor.fetchmany(CHUNK_ROWS):
                    yield from rows
        except self._duckdb.InterruptException as error:
            raise CatalogueError(
                f"the question takes longer than the {self._timeout_s:g} s allowed; ask for less."
            ) from error
        except (self._duckdb.Error, UnicodeError) as error:
            reason = printable(str(error).strip().partition("\n")[0])
            raise CatalogueError(
                f"{printable(str(self._folder))} cannot be read: {reason}. If it was written to just now, ask again; "
                "if not, `taggram catalogue` on the same files makes good what is damaged."
            ) from error

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
        sql = f"SELECT file_row_number, {wanted} FROM rows WHERE file_row_number IN (SELECT unnest(?))"  # noqa: S608
        found = {}
        for part in np.unique(of_part):
            start = int(starts[part])
            rows = (numbers[of_part == part] - start).tolist()
            for row, *values in self.ask([parts[part]], sql, [rows], numbered=True):
                found[start + row] = tuple(values)
        return found

    @contextlib.contextmanager
    def _limited(self, cursor: Any) -> Iterator[None]:
        """Interrupt what takes too long."""
        if self._timeout_s is None:
            yield
            return
        timer = threading.Timer(self._timeout_s, cursor.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let go of the memory."""
        self._connection.close()
