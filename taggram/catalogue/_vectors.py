"""Embeddings of a catalogue at the length 1, in blocks, so that memory does not grow with the catalogue.

Decoding Parquet takes several times as long as comparing, so what was decoded is kept beside the catalogue as plain
numbers, a file for each part, named after it and its hash. It is a cache: it can be removed at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._files import ASIDE, written_aside
from taggram._processes import n_cores
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import CatalogueError, ConfigError, PartsChangedError, UnreadablePartError, printable

CACHE = "cache"  # folder in that of the catalogue
SUFFIX = ".f32"
BLOCK_BYTES = 4_000_000  # what fits into the caches of a core is compared the quickest
BATCH_ROWS = 10_000  # that are decoded at once
Vectors = NDArray[np.float32]
Told = Callable[[str, int, int], None]
"""Is told what is done, and how many of how many are done."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Span:
    """Rows of a part that follow each other.

    Attributes:
        part: place of the part.
        first: place of the first row in its part.
        n_rows: how many.
    """

    part: int
    first: int
    n_rows: int


class UnitVectors:
    """The embeddings of a catalogue, each at the length 1; NaN for files that failed, and for zeros.

    Args:
        parts: files of the catalogue, in order.
        sums: sha256 of each part.
        size: numbers of an embedding.
        cache: folder for what was decoded; it is made when it is needed.
    """

    def __init__(self, parts: Sequence[Path], sums: Sequence[str], size: int, cache: Path) -> None:
        self.parts = list(parts)
        self.keys = keys_of(parts, sums)  # tell what is in a part from all else
        self.size = size
        self.cache = cache
        self._files: list[Path | None] = [None] * len(self.parts)

    @cached_property
    def n_rows(self) -> list[int]:
        """Rows of each part."""
        with _readable():
            return [load_pyarrow().parquet.read_metadata(part).num_rows for part in self.parts]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(parts + 1,) number of the first row of each part, counted over all of them, and of all rows."""
        return np.concatenate([[0], np.cumsum(self.n_rows, dtype=np.int64)])

    @property
    def n_total(self) -> int:
        """Rows of all parts."""
        return int(self.starts[-1])

    def is_of(self, parts: Sequence[Path], sums: Sequence[str]) -> bool:
        """Whether these are the parts as they are now, and what was decoded of them is still there."""
        is_same = self.parts == list(parts) and self.keys == keys_of(parts, sums)
        return is_same and all(file is None or file.is_file() for file in self._files)

    def spans(self, parts: Sequence[int] | None = None) -> list[Span]:
        """Divide rows among threads: what was decoded into blocks, and what was not into whole parts.

        Args:
            parts: places of the parts that are wanted; None is all.

        Returns:
            The spans, in order.
        """
        block = max(1, BLOCK_BYTES // (4 * self.size))
        spans = []
        for part in range(len(self.parts)) if parts is None else parts:
            n_rows = self.n_rows[part]
            step = n_rows if self._files[part] is None else block
            spans += [Span(part, first, min(step, n_rows - first)) for first in range(0, n_rows, max(1, step))]
        return spans

    def read(self, span: Span) -> Iterator[tuple[int, Vectors]]:
        """Read a span; several threads may do so at once, after `prepare`.

        Args:
            span: which.

        Yields:
            The number of a first row, counted over all parts, and (rows, size) from there on.

        Raises:
            CatalogueError: the part cannot be read.
        """
        number = int(self.starts[span.part]) + span.first
        file = self._files[span.part]
        if file is not None:
            with _readable():
                found = np.fromfile(file, np.float32, span.n_rows * self.size, offset=4 * self.size * span.first)
                yield number, found.reshape(span.n_rows, self.size)
            return
        for found in self._decode(span.part):
            yield number, found
            number += len(found)

    def rows(self, numbers: NDArray[np.int64]) -> Vectors:
        """Read single rows.

        Args:
            numbers: counted over all parts, in any order.

        Returns:
            (numbers, size).

        Raises:
            CatalogueError: a part cannot be read.
        """
        found = np.full((len(numbers), self.size), np.nan, np.float32)
        parts = np.searchsorted(self.starts, numbers, side="right") - 1
        for part in np.unique(parts):
            file = self._files[part]
            places = np.flatnonzero(parts == part)
            if file is None:
                for first, vectors in self.read(Span(part, 0, self.n_rows[part])):
                    here = places[(numbers[places] >= first) & (numbers[places] < first + len(vectors))]
                    found[here] = vectors[numbers[here] - first]
                continue
            with _readable():
                whole = np.memmap(file, np.float32, "r", shape=(self.n_rows[part], self.size))
                found[places] = whole[numbers[places] - self.starts[part]]
        return found

    def prepare(self, told: Told | None = None) -> None:
        """Have all parts decoded and kept, as far as the folder can be written to.

        Args:
            told: hears how many parts are done.

        Raises:
            CatalogueError: a part cannot be read.
        """
        wanted = [self.cache / f"{key}{SUFFIX}" for key in self.keys]

        def kept(place: int) -> bool:
            file = wanted[place]
            return _has_size(file, 4 * self.size * self.n_rows[place]) or self._keep(place, file)

        with ThreadPoolExecutor(n_cores()) as pool:
            for place, is_kept in enumerate(pool.map(kept, range(len(wanted)))):
                self._files[place] = wanted[place] if is_kept else None
                if told is not None:
                    told("reading embeddings", place + 1, len(wanted))
        for old in self.cache.glob(f"*{SUFFIX}"):
            if old not in wanted and not old.name.startswith(ASIDE):
                with contextlib.suppress(OSError):  # another process reads it, or removed it too
                    old.unlink()

    def _keep(self, part: int, file: Path) -> bool:
        """Decode a part into a file; give whether it could be written."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with written_aside(file) as aside, aside.open("wb") as stream:
                for vectors in self._decode(part):
                    vectors.tofile(stream)
                os.fsync(stream.fileno())  # so that a file of this length never holds zeros after a power cut
        except OSError as error:
            logger.warning(
                "%s: %s; embeddings are decoded each time, which takes several times as long.",
                printable(str(self.cache)), error.strerror or error,
            )  # fmt: skip
            return False
        return True

    def _decode(self, part: int) -> Iterator[Vectors]:
        """Read the embeddings of a part, a batch after the other, and give them the length 1."""
        pq = load_pyarrow().parquet
        with _readable(), pq.ParquetFile(self.parts[part], page_checksum_verification=True) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["embedding"]):
                column = batch["embedding"]
                found = np.full((len(column), self.size), np.nan, np.float32)
                valid = column.is_valid().to_numpy(zero_copy_only=False)
                found[valid] = column.flatten().to_numpy().reshape(-1, self.size)
                yield _units(found)


def keys_of(parts: Sequence[Path], sums: Sequence[str]) -> list[str]:
    """Name parts and what is in them.

    Args:
        parts: the files.
        sums: sha256 of each.

    Returns:
        A name for each, which is the same wherever the catalogue lies.
    """
    return [f"{part.stem}-{digest[:16]}" for part, digest in zip(parts, sums)]


def unit(vector: NDArray[Any], size: int) -> Vectors:
    """Give a vector the length 1.

    Args:
        vector: (size,).
        size: numbers of an embedding of the catalogue.

    Returns:
        (size,).

    Raises:
        CatalogueError: it is of zeros, or not of numbers.
        ConfigError: it has another shape.
    """
    vector = np.asarray(vector)
    if vector.shape != (size,):
        raise ConfigError(f"the embedding has the shape {vector.shape}; those of this catalogue have ({size},).")
    found: Vectors = _units(vector[None].astype(np.float32))[0]
    if np.isnan(found[0]):
        raise CatalogueError("the embedding is of zeros or of no numbers, so nothing is similar to it.")
    return found


def _units(vectors: Vectors) -> Vectors:
    """Give vectors the length 1, and make NaN of those that have none, or one that is too large for 32 bits."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    is_one = (lengths > 0) & (lengths <= np.finfo(np.float32).max)
    vectors[~is_one] = np.nan
    vectors[is_one] /= lengths[is_one, None].astype(np.float32)
    return vectors


def _has_size(file: Path, n_bytes: int) -> bool:
    try:
        return file.stat().st_size == n_bytes
    except OSError:
        return False


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Tell parts that cannot be read as errors of the catalogue."""
    try:
        yield
    except FileNotFoundError as error:
        raise PartsChangedError("parts of the catalogue were merged while they were read; ask again.") from error
    except (OSError, ValueError, load_pyarrow().ArrowException) as error:
        raise UnreadablePartError(
            f"a part of the catalogue cannot be read: {printable(str(error))}. `taggram catalogue` on the same files "
            "makes good what is damaged."
        ) from error
