"""The Arrow files of prepared data: which columns they have, and how they are written.

Nothing is compressed, so that the samples of a track can be read where they lie. They stand behind all else in a record
batch: whoever reads the small columns passes over them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taggram._extras import load_extra
from taggram.datasets import Track
from taggram.datasets._base import Value

Kind = Literal["whole", "number", "text"]
"""What all values of a data set's own column are."""

BATCH_BYTES = 2**24  # of samples and features, at which a record batch is written
BATCH_ROWS = 4096
LISTS = ("samples", "features")
OURS = ("track_id", "split", "tags", "sample_rate", "notes", "sound_hash", *LISTS)
INT64 = 2**63


def arrow() -> Any:
    """Load pyarrow.

    Returns:
        The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    return load_extra("pyarrow", "train", "prepared data", "compute", "ipc")


@dataclass(frozen=True)
class Layout:
    """Which columns there are.

    Attributes:
        sample_rate: of the samples, in Hz.
        has_samples: whether samples are kept.
        n_bands: values in a frame of features; None where there are no features.
        own: kinds of the data set's own columns, by its own names.
    """

    sample_rate: int
    has_samples: bool
    n_bands: int | None
    own: Mapping[str, Kind]

    @property
    def names(self) -> dict[str, str]:
        """What the data set's own columns are called here: their own name, but never one of ours."""
        names: dict[str, str] = {}
        for name in self.own:
            here = as_text(name)
            while here in OURS or here in names.values():
                here += "_"
            names[name] = here
        return names

    def schema(self) -> Any:
        """Give the Arrow schema."""
        pa = arrow()
        types = {"whole": pa.int64(), "number": pa.float64(), "text": pa.string()}
        fields = {
            "track_id": pa.string(),
            "split": pa.string(),
            "tags": pa.list_(pa.string()),
            "sample_rate": pa.int32(),
            **{here: types[self.own[name]] for name, here in self.names.items()},
            "notes": pa.string(),
            "sound_hash": pa.int64(),
        }
        if self.has_samples:
            fields["samples"] = pa.large_list(pa.int16())
        if self.n_bands is not None:
            fields["features"] = pa.large_list(pa.list_(pa.float16(), self.n_bands))
        return pa.schema(list(fields.items()))


@dataclass(frozen=True, eq=False)
class Row:
    """A track as it is written.

    Attributes:
        track: what the data set says.
        notes: what is unusual about its sound, or "".
        sound_hash: equal for equal samples.
        samples: (samples,) of 16 bits; empty where they are not kept.
        features: (frames, values) of 16 bits; empty where there are none.
    """

    track: Track
    notes: str
    sound_hash: int
    samples: NDArray[np.int16]
    features: NDArray[np.float16]

    @property
    def n_bytes(self) -> int:
        """Size of samples and features."""
        return self.samples.nbytes + self.features.nbytes


@dataclass
class PartWriter:
    """Writes one Arrow file, which depends on the rows alone.

    Attributes:
        path: the file.
        layout: its columns.
        n_rows: how many came.
        n_bytes: of samples and features that came.
        places: see `find_lists`, when it is closed.
    """

    path: Path
    layout: Layout
    n_rows: int = 0
    n_bytes: int = 0
    places: list[dict[str, list[int]]] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=list)
    _waiting: int = 0  # bytes in the rows that are not written yet

    def __post_init__(self) -> None:
        pa = arrow()
        self._schema = self.layout.schema()
        self._file = pa.OSFile(str(self.path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def add(self, row: Row) -> None:
        """Add a row. Its samples and features may be gone afterwards if they are as large as a batch."""
        self._rows.append(row)
        self.n_rows += 1
        self.n_bytes += row.n_bytes
        self._waiting += row.n_bytes
        if self._waiting >= BATCH_BYTES or len(self._rows) >= BATCH_ROWS:
            self._write_batch()

    def close(self) -> None:
        """Write what is left, and wait until all is on the disk."""
        if self._rows:
            self._write_batch()
        self._writer.close()
        self._file.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.places = find_lists(self.path)

    def _write_batch(self) -> None:
        pa = arrow()
        rows, self._rows, self._waiting = self._rows, [], 0
        columns: dict[str, Any] = {
            "track_id": [as_text(row.track.track_id) for row in rows],
            "split": [row.track.part for row in rows],
            "tags": [[as_text(tag) for tag in row.track.tags] for row in rows],
            "sample_rate": [self.layout.sample_rate] * len(rows),
            "notes": [row.notes or None for row in rows],
            "sound_hash": [row.sound_hash for row in rows],
        }
        for name, here in self.layout.names.items():
            kind = self.layout.own[name]
            columns[here] = [_as_kind(row.track.columns.get(name), kind) for row in rows]
        arrays = {name: pa.array(values, self._schema.field(name).type) for name, values in columns.items()}
        if self.layout.has_samples:
            arrays["samples"] = _lists(
                pa, [len(row.samples) for row in rows], pa.array(_joined([r.samples for r in rows]))
            )
        if self.layout.n_bands is not None:
            features = [row.features for row in rows]
            frames = pa.FixedSizeListArray.from_arrays(pa.array(_joined(features).reshape(-1)), self.layout.n_bands)
            arrays["features"] = _lists(pa, list(map(len, features)), frames)
        self._writer.write_batch(pa.record_batch([arrays[name] for name in self._schema.names], schema=self._schema))


def find_lists(path: Path) -> list[dict[str, list[int]]]:
    """Find out where samples and features lie in a file.

    pyarrow would tell a reader too, but has the system read whatever it tells of ahead, and that is the whole file.

    Args:
        path: the file.

    Returns:
        For each record batch and column of lists, the byte at which their (rows + 1) offsets of 8 bytes begin, and that
        at which their values do.
    """
    pa = arrow()
    with path.open("rb") as file:
        whole = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    reader = pa.ipc.open_file(pa.BufferReader(whole))
    batches = []
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        lists = {name: batch.column(name) for name in LISTS if name in batch.schema.names}
        batches.append(
            {
                name: [_address(column.buffers()[1], whole), _address(column.values.buffers()[-1], whole)]
                for name, column in lists.items()
            }
        )
    return batches


def _address(buffer: Any, whole: Any) -> int:
    """Give the byte of a file at which a buffer begins; one without a byte may be nowhere."""
    return buffer.address - whole.address if buffer else 0


def kind_of(value: Value, kind: Kind | None) -> Kind | None:
    """Widen the kind of a column by one more value of it.

    Args:
        value: of the column.
        kind: what all values before it are; None where there were none but None.

    Returns:
        The narrowest kind that holds all; None where there were none but None.
    """
    if value is None or kind == "text":
        return kind
    if isinstance(value, int) and -INT64 <= value < INT64:
        return kind or "whole"
    return "number" if isinstance(value, float) else "text"


def as_text(text: str) -> str:
    """Write a text in a way that UTF-8 can hold: bytes of a path that were no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _as_kind(value: Value, kind: Kind) -> Value:
    if value is None:
        return None
    return {"whole": int, "number": float}[kind](value) if kind != "text" else as_text(str(value))


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Put arrays behind each other; one alone is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _lists(pa: Any, lengths: list[int], values: Any) -> Any:
    """Make a column of lists out of their values."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)
