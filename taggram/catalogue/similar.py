"""Tracks that sound alike: those whose embeddings have the smallest angle to one.

Every track is compared, or an index of usearch answers (a graph of neighbours: Malkov and Yashunin, "Efficient and
robust approximate nearest neighbor search using hierarchical navigable small world graphs", 2016), which misses some;
how many is measured when it is built. What is not in it is compared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_choice, check_count, is_number
from taggram._processes import n_cores
from taggram.catalogue._neighbours import Neighbours
from taggram.catalogue._table import Table
from taggram.catalogue._vectors import Span, UnitVectors, Vectors

Search = Literal["auto", "exact", "index"]
EXACT_ROWS = 4_000_000  # tracks up to which "auto" compares every one, even where an index is kept
MOST_MISSING = 100_000  # tracks that need not be in an index: comparing them takes less time than adding a hundred
DEFAULT_N = 10


class Match(NamedTuple):
    """A track that was found.

    Attributes:
        path: of the file.
        score: the cosine of the angle between the embeddings, -1 to 1; 1 for the same.
    """

    path: str
    score: float


def find_nearest(
    vectors: UnitVectors, wanted: Vectors, n: int, index: Neighbours | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the rows whose vectors have the smallest angle to one.

    Args:
        vectors: all of them, prepared.
        wanted: (size,) of length 1.
        n: how many.
        index: is asked for them, where it is given, and what is not in it is compared; else every one is compared.

    Returns:
        Numbers of the rows, the nearest first, and their cosines.

    Raises:
        CatalogueError: a part cannot be read.
    """
    if index is None:
        numbers, scores = _compare(vectors, vectors.spans(), wanted, n)
    else:
        near = index.nearest(wanted[None], n)[0]
        beside = _compare(vectors, vectors.spans(index.missing), wanted, n)
        numbers, scores = _joined([(near, vectors.rows(near) @ wanted), beside])
    order = np.lexsort((numbers, -scores))[:n]
    return numbers[order], scores[order]


def check_wish(n: int, min_score: float, search: str) -> None:
    """Refuse what makes no sense.

    Args:
        n: how many.
        min_score: least cosine.
        search: one of `Search`.

    Raises:
        ConfigError: it does not.
    """
    check_count("n", n)
    check(is_number(min_score) and -1 <= min_score <= 1, "min_score", min_score, "a number from -1 to 1")
    check_choice("search", search, get_args(Search))


def row_of(table: Table, parts: Sequence[Any], path: str) -> tuple[int | None, int | None, NDArray[np.float32]] | None:
    """Look up a file of the catalogue.

    Args:
        table: asks for rows.
        parts: files that hold them.
        path: as the catalogue has it.

    Returns:
        Its size in bytes, its time of the last change in microseconds since 1970, and its embedding; or None where the
        catalogue has none of it.

    Raises:
        CatalogueError: a part cannot be read.
    """
    sql = "SELECT size, epoch_us(modified), embedding FROM rows WHERE path = ? AND embedding IS NOT NULL LIMIT 1"
    for size, modified_us, embedding in table.ask(parts, sql, [path]):
        return size, modified_us, np.array(embedding, np.float32)
    return None


def is_unchanged(path: str, size: int | None, modified_us: int | None) -> bool:
    """Say whether a file is still the one that was catalogued, as far as it is at hand."""
    try:
        now = os.stat(path)  # noqa: PTH116 (of bytes that may be no UTF-8)
    except OSError:
        return True
    return now.st_size == size and now.st_mtime_ns // 1000 == modified_us


def _compare(
    vectors: UnitVectors, spans: Sequence[Span], wanted: Vectors, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compare rows, block by block, in a thread a core."""

    def best_of(span: Span) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        pieces = [_best(first, found @ wanted, n) for first, found in vectors.read(span)]
        return _joined(pieces)

    with ThreadPoolExecutor(n_cores()) as pool:
        return _joined(list(pool.map(best_of, spans)))


def _best(first: int, scores: NDArray[np.float32], n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the numbers of the best rows, and their scores."""
    scores[np.isnan(scores)] = -np.inf
    best = np.argpartition(-scores, n - 1)[:n] if len(scores) > n else np.arange(len(scores))
    best = best[scores[best] > -np.inf]
    return first + best, scores[best]


def _joined(
    pieces: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    numbers = np.concatenate([np.zeros(0, np.int64), *(numbers for numbers, _ in pieces)])
    return numbers, np.concatenate([np.zeros(0, np.float32), *(scores for _, scores in pieces)])
