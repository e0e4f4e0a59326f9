"""Tracks by their tags."""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taggram.catalogue._table import Table
from taggram.catalogue.expression import TIME, Column, Query

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def find_tracks(
    table: Table,
    parts: Sequence[Path],
    query: Query,
    *,
    also: Sequence[Column] = (),
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Any]]:
    """Find tracks.

    Args:
        table: asks for rows.
        parts: files that hold them.
        query: what is asked. Files that failed are left out, unless it names the column error.
        also: columns that are wanted beside those that the query names.
        stop: ends the question when it is set.

    Yields:
        A track: its path, then what the query names, by the name of the column.

    Raises:
        CatalogueError: a part cannot be read.
        PartsChangedError: a part is gone, since parts were merged meanwhile.
        TooLongQuestionError: it takes too long, or was stopped.
    """
    columns = list({column.name: column for column in (*query.columns, *also) if column.name != "path"}.values())
    sql, values = _select(query, columns)
    for path, *row in table.ask(parts, sql, values, stop=stop):
        yield {"path": path} | {column.name: _plain(column, value) for column, value in zip(columns, row)}


def _select(query: Query, columns: Sequence[Column]) -> tuple[str, list[Any]]:
    """Write the query, with its values."""
    conditions = [] if query.takes_failures else ["error IS NULL"]
    conditions += [query.where] if query.where else []
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f" ORDER BY {query.order}, path" if query.order else ""
    values = list(query.values)
    limit = ""
    if query.limit is not None:
        limit = " LIMIT ?"
        values.append(query.limit)
    wanted = ", ".join(["path", *(column.sql for column in columns)])
    return f"SELECT {wanted} FROM rows{where}{order}{limit}", values  # noqa: S608 (no word of it is the asker's)


def _plain(column: Column, value: Any) -> Any:
    """Turn a value into one that JSON has: times are written out, in UTC, and what is no number is None."""
    if column.kind == TIME and value is not None:
        try:
            return (EPOCH + dt.timedelta(microseconds=value)).isoformat()
        except OverflowError:  # beyond the year 9999
            return f"{np.datetime64(value, 'us')}+00:00"
    return None if isinstance(value, float) and not math.isfinite(value) else value
