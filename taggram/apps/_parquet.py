"""Results as Parquet, in row groups that are written as results come, so that memory does not grow with their number.

Strings in Parquet are UTF-8: bytes of a path that are none become backslash escapes (a backslash and udcff for 0xff).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from taggram._extras import load_extra
from taggram._files import utf8
from taggram.results import Embedding, Failure, Taggram, best_tags

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP_ROWS = 2**16  # of tags
GROUP_VALUES = 2**22  # of features: 16 MiB


def load_pyarrow() -> Any:
    """Load pyarrow.

    Returns:
        The package, and in it `parquet`.

    Raises:
        MissingExtraError: it is not installed.
    """
    return load_extra("pyarrow", "train", "Parquet files", "parquet")


class _Table:
    """A Parquet file that grows by row groups; a block that raises leaves no more than a file to be thrown away.

    Args:
        stream: where to.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._pa = load_pyarrow()
        self._stream = stream
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self._writer is not None:
            with contextlib.suppress(OSError):  # of the same full disk, say; the first error is the one to be told
                self._writer.close()

    def _finish(self) -> None:
        """Write what waits, and the end of the file."""
        self._writer.close()

    def _open(self, fields: dict[str, Any]) -> None:
        """Begin the file with columns of these types."""
        schema = self._pa.schema(fields)
        repeated = [name for name in fields if self._pa.types.is_string(schema.field(name).type)]
        self._writer = self._pa.parquet.ParquetWriter(self._stream, schema, use_dictionary=repeated)

    def _write(self, columns: list[Any]) -> None:
        """Write columns as a row group."""
        self._writer.write_table(self._pa.table(columns, schema=self._writer.schema))


class ParquetTags(_Table):
    """Writes tags as a long table: path, time_s where it is asked for, tag, score, model. To be read: `n_files` so far.

    Args:
        stream: where to.
        top: at most so many tags a sound, or None for all.
        threshold: least score.
        over_time: whether there are rows for each patch, and not for the whole sound.
    """

    def __init__(self, stream: BinaryIO, top: int | None, threshold: float, over_time: bool) -> None:
        super().__init__(stream)
        self._top = top
        self._threshold = threshold
        self._over_time = over_time
        self._rows: list[tuple[Any, ...]] = []
        self.n_files = 0
        pa = self._pa
        times = {"time_s": pa.float64()} if over_time else {}
        self._open({"path": pa.string(), **times, "tag": pa.string(), "score": pa.float32(), "model": pa.string()})

    def write(self, result: Taggram | Failure) -> None:
        """Take in one result; of failures there are no rows."""
        if isinstance(result, Failure):
            return
        self.n_files += 1
        path = utf8(result.path)
        for time, scores in self._parts(result):
            best = best_tags(result.tags, scores, self._top, self._threshold)
            self._rows.extend((path, *time, utf8(tag), score, utf8(result.model)) for tag, score in best)
            if len(self._rows) >= GROUP_ROWS:
                self._flush()

    def _parts(self, result: Taggram) -> Iterator[tuple[list[float], NDArray[np.float32]]]:
        if not self._over_time:
            yield [], result.mean_scores
            return
        for time_s, scores in zip(result.times_s, result.scores):
            yield [float(time_s)], scores

    def _flush(self) -> None:
        kinds = self._writer.schema.types
        self._write([self._pa.array(values, kind) for values, kind in zip(zip(*self._rows), kinds)])
        self._rows.clear()

    def _finish(self) -> None:
        if self._rows:
            self._flush()
        super()._finish()


class ParquetEmbeddings(_Table):
    """Writes embeddings as a table: path, times_s and features, a list of a fixed length, or lists in it for more axes.

    To be read: `n_files` and `n_rows` so far.

    Args:
        stream: where to.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._waiting: list[Embedding] = []
        self._n_waiting = 0  # values
        self.n_files = 0
        self.n_rows = 0

    def add(self, embedding: Embedding) -> None:
        """Take in the embedding of one file."""
        self.n_files += 1
        self.n_rows += len(embedding.features)
        self._waiting.append(embedding)
        self._n_waiting += embedding.features.size
        if self._n_waiting >= GROUP_VALUES:
            self._flush()

    def _flush(self) -> None:
        """Write what waits, cut into row groups of a bounded size."""
        import numpy as np

        features = np.concatenate([one.features for one in self._waiting])
        times_s = np.concatenate([one.times_s for one in self._waiting])
        paths = [utf8(one.path) for one in self._waiting for _ in one.times_s]
        self._waiting, self._n_waiting = [], 0
        if self._writer is None:
            kind = _lists(self._pa, features.shape[1:])
            self._open({"path": self._pa.string(), "times_s": self._pa.float64(), "features": kind})
        step = max(1, GROUP_VALUES // features[0].size)
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            self._write([self._pa.array(paths[rows]), self._pa.array(times_s[rows]), self._nested(features[rows])])

    def _nested(self, features: NDArray[np.float32]) -> Any:
        """Turn (rows, ...) into a column of lists, the innermost first."""
        column = self._pa.array(features.reshape(-1))
        for length in reversed(features.shape[1:]):
            column = self._pa.FixedSizeListArray.from_arrays(column, length)
        return column

    def _finish(self) -> None:
        if self._waiting:
            self._flush()
        super()._finish()


def _lists(pa: Any, shape: tuple[int, ...]) -> Any:
    """Give the type of lists of lists of float32 with these lengths."""
    kind = pa.float32()
    for length in reversed(shape):
        kind = pa.list_(kind, length)
    return kind
