"""A file as a row: the columns of a catalogue's parts, and from rows to a table and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._extras import load_extra

FIXED = (
    *("path", "sha256", "size", "modified", "duration_s", "model", "weights", "scores", "embedding"),
    *("taggram", "notes", "error"),
)
"""Columns that are the same whatever the tags are."""
PLACE = "place"  # on the way to a catalogue: number of a file among those to do
NUMBER_OF_ROW = "file_row_number"  # a column that DuckDB adds where it is asked to
PREFIX = "tag:"  # of the column of a tag that is called like another column


@dataclass(frozen=True, eq=False)
class Row:
    """What is known of one file.

    Attributes:
        path: absolute, or an address; as UTF-8 can say it.
        size: in bytes, or None where the file could not be looked at.
        modified_us: when it was changed last, in microseconds since 1970, or None.
        sha256: of its bytes, in hexadecimal digits, or None where it could not be read.
        duration_s: length of the sound; None where there is an error.
        scores: (tags,) float32, means over the patches; likewise.
        embedding: (features,) float32, the mean over the patches of the layer before the head; likewise.
        taggram: (patches, tags) float32, if it is wanted; likewise.
        notes: what was done to the sound and what is unusual about it.
        error: what went wrong, such as "AudioError: it holds no sound", or None.
        frames: (frames, bands) float32, of which the scores are still to be made; then these are None.
        place: number of the file among those to do.
    """

    path: str
    size: int | None
    modified_us: int | None
    sha256: str | None = None
    duration_s: float | None = None
    scores: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    taggram: NDArray[np.float32] | None = None
    notes: Sequence[str] = field(default=())
    error: str | None = None
    frames: NDArray[np.float32] | None = None
    place: int = 0

    @property
    def n_bytes(self) -> int:
        """About how much memory it takes."""
        arrays = (self.scores, self.embedding, self.taggram, self.frames)
        return 512 + 2 * len(self.path) + sum(array.nbytes for array in arrays if array is not None)


def load_pyarrow() -> Any:
    """Load pyarrow with what catalogues need of it.

    Returns:
        The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    return load_extra("pyarrow", "catalogue", "catalogues", "compute", "parquet")


def name_columns(tags: Sequence[str]) -> dict[str, str]:
    """Name the column of each tag: the tag, or "tag:NAME" where another column is called so, whatever the case.

    Args:
        tags: in the model's order.

    Returns:
        The column by tag.
    """
    taken = {*FIXED, NUMBER_OF_ROW}
    columns = {}
    for tag in tags:
        column = tag
        while column.casefold() in taken:
            column = PREFIX + column
        taken.add(column.casefold())
        columns[tag] = column
    return columns


def schema_of(card: Mapping[str, Any]) -> Any:
    """Give the columns of the parts of a catalogue.

    Args:
        card: what catalogue.json holds.

    Returns:
        A pyarrow schema, with the fingerprint of the results in its metadata.
    """
    pa = load_pyarrow()
    fields = {
        "path": pa.string(), "sha256": pa.string(), "size": pa.int64(), "modified": pa.timestamp("us", "UTC"),
        "duration_s": pa.float64(), "model": pa.string(), "weights": pa.string(), "scores": pa.list_(pa.float32()),
        **dict.fromkeys(card["columns"].values(), pa.float32()),
        "embedding": pa.list_(pa.float32(), card["embedding"]["size"]),
    }  # fmt: skip
    if card["settings"]["over_time"]:
        fields["taggram"] = pa.list_(pa.list_(pa.float32()))
    fields |= {"notes": pa.list_(pa.string()), "error": pa.string()}
    return pa.schema(fields, metadata={"taggram": card["fingerprint"]})


def to_table(rows: Sequence[Row], card: Mapping[str, Any]) -> Any:
    """Turn rows into a table.

    Args:
        rows: of files.
        card: what catalogue.json holds.

    Returns:
        A pyarrow table with the columns of `schema_of`.
    """
    pa = load_pyarrow()
    schema = schema_of(card)
    columns = card["columns"].values()
    scores = [[None] * len(columns) if row.scores is None else row.scores.tolist() for row in rows]
    values: dict[str, Sequence[Any]] = {
        "path": [row.path for row in rows],
        "sha256": [row.sha256 for row in rows],
        "size": [row.size for row in rows],
        "modified": [row.modified_us for row in rows],
        "duration_s": [row.duration_s for row in rows],
        "model": [card["model"]] * len(rows),
        "weights": [card["weights_sha256"]] * len(rows),
        "scores": [row.scores for row in rows],
        **{column: [of_file[place] for of_file in scores] for place, column in enumerate(columns)},
        "embedding": [row.embedding for row in rows],
        "notes": [list(row.notes) for row in rows],
        "error": [row.error for row in rows],
    }
    if "taggram" in schema.names:
        values["taggram"] = [None if row.taggram is None else list(row.taggram) for row in rows]
    return pa.table([pa.array(values[one.name], one.type) for one in schema], schema=schema)


def in_groups(rows: Iterable[Row], *, most_bytes: int, most_rows: int | None = None) -> Iterator[list[Row]]:
    """Gather rows as they come.

    Args:
        rows: of files.
        most_bytes: a group is given when it has so many.
        most_rows: likewise; None is any number.

    Yields:
        Groups of rows in order, none empty.
    """
    group: list[Row] = []
    n_bytes = 0
    for row in rows:
        group.append(row)
        n_bytes += row.n_bytes
        if n_bytes >= most_bytes or len(group) == most_rows:
            yield group
            group, n_bytes = [], 0
    if group:
        yield group


def half_done(rows: Sequence[Row]) -> Any:
    """Turn rows into a table that keeps their frames.

    Args:
        rows: of files, with frames or without.

    Returns:
        A pyarrow table with a column for each field of `Row`.
    """
    pa = load_pyarrow()
    floats = pa.list_(pa.float32())
    kinds = {
        "path": pa.string(), "size": pa.int64(), "modified_us": pa.int64(), "sha256": pa.string(),
        "duration_s": pa.float64(), "scores": floats, "embedding": floats, "taggram": pa.list_(floats),
        "notes": pa.list_(pa.string()), "error": pa.string(), "place": pa.int64(), "frames": pa.large_binary(),
        "n_bands": pa.int32(),
    }  # fmt: skip
    values = {name: [getattr(row, name) for row in rows] for name in kinds if name not in ("frames", "n_bands")}
    values["notes"] = [list(row.notes) for row in rows]
    values["taggram"] = [None if row.taggram is None else list(row.taggram) for row in rows]
    values["frames"] = [None if row.frames is None else row.frames.tobytes() for row in rows]
    values["n_bands"] = [None if row.frames is None else row.frames.shape[1] for row in rows]
    return pa.table({name: pa.array(values[name], kind) for name, kind in kinds.items()})


def from_half_done(table: Any) -> Iterator[Row]:
    """Turn such a table into rows.

    Args:
        table: as `half_done` makes it.

    Yields:
        The rows.
    """
    for start in range(table.num_rows):
        (fields,) = table.slice(start, 1).to_pylist()
        n_bands = fields.pop("n_bands")
        if n_bands is not None:
            fields["frames"] = np.frombuffer(fields["frames"], np.float32).reshape(-1, n_bands)
        for name in ("scores", "embedding", "taggram"):
            if fields[name] is not None:
                fields[name] = np.array(fields[name], np.float32)
        yield Row(**fields)
