"""Files that are there more than once: the same bytes, or what sounds the same, such as another encoding."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taggram.catalogue._neighbours import Neighbours
from taggram.catalogue._table import Table
from taggram.catalogue._vectors import Told, UnitVectors

Same = Literal["content", "sound"]
MIN_SCORE = 0.99
EXACT_ROWS = 100_000  # tracks up to which "auto" compares all with all
N_NEIGHBOURS = 30  # of each track that an index is asked for
TILE_BYTES = 32_000_000  # of cosines at once
QUESTIONS = 2_000  # to an index at once


@dataclass(frozen=True)
class Duplicates:
    """Files that are the same.

    Attributes:
        same: "content" where their bytes are, "sound" where their embeddings nearly are.
        score: the smallest cosine by which a file belongs to them; 1 for the same content.
        paths: of the files, in the order of the catalogue.
    """

    same: Same
    score: float
    paths: tuple[str, ...]


def same_content(table: Table, parts: Sequence[Path]) -> Iterator[Duplicates]:
    """Find files with the same bytes.

    Args:
        table: asks for rows.
        parts: files that hold them.

    Yields:
        A group after the other, by the path of its first file.

    Raises:
        CatalogueError: a part cannot be read.
    """
    sql = (
        "SELECT list(path ORDER BY path) AS paths FROM rows WHERE sha256 IS NOT NULL "
        "GROUP BY sha256 HAVING count(*) > 1 ORDER BY paths[1]"
    )
    for (paths,) in table.ask(parts, sql):
        yield Duplicates("content", 1.0, tuple(paths))


def same_sound(
    table: Table,
    vectors: UnitVectors,
    *,
    min_score: float = MIN_SCORE,
    index: Neighbours | None = None,
    told: Told | None = None,
) -> Iterator[Duplicates]:
    """Find files that sound the same. Files of one group are joined by pairs; its first and last may be farther apart.

    Args:
        table: asks for rows.
        vectors: all embeddings, prepared.
        min_score: least cosine of a pair.
        index: where it is given, each is compared with the neighbours that it knows; else all are with all.
        told: hears what is done, and how many of how many are done.

    Yields:
        A group after the other, in the order of the catalogue. Groups whose files all have the same bytes are left out.

    Raises:
        CatalogueError: a part cannot be read.
    """
    pairs = _by_all(vectors, min_score, told) if index is None else _by_index(vectors, index, min_score, told)
    labels, scores = _join(pairs, vectors.n_total)
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order], prepend=-1, append=vectors.n_total))
    groups = [order[start:end] for start, end in itertools.pairwise(edges) if end - start > 1]
    groups.sort(key=lambda group: int(group[0]))
    wanted = np.concatenate([np.zeros(0, np.int64), *groups])
    found = table.rows_at(vectors.parts, vectors.starts, wanted, ["path", "sha256"])
    for group in groups:
        paths, contents = zip(*(found[number] for number in group.tolist()))
        if len(set(contents)) > 1:
            yield Duplicates("sound", float(scores[group[0]]), paths)


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Numbers of rows, those that sound like them, and the cosines."""


def _by_all(vectors: UnitVectors, min_score: float, told: Told | None) -> Iterator[Pairs]:
    """Compare all rows with all that follow, tile by tile."""
    whole = np.concatenate(
        [found for span in vectors.spans() for _, found in vectors.read(span)] or [np.zeros((0, vectors.size), "f")]
    )
    whole = np.nan_to_num(whole)
    step = max(1, TILE_BYTES // (4 * max(1, len(whole))))
    for first in range(0, len(whole), step):
        scores = whole[first : first + step] @ whole[first:].T
        left, right = np.nonzero(scores >= min_score)
        is_pair = right > left
        left, right = left[is_pair], right[is_pair]
        yield left + first, right + first, scores[left, right]
        if told is not None:
            told("comparing", min(first + step, len(whole)), len(whole))


def _by_index(vectors: UnitVectors, index: Neighbours, min_score: float, told: Told | None) -> Iterator[Pairs]:
    """Compare all rows with those that an index takes for their neighbours."""
    for span in vectors.spans():
        for first, found in vectors.read(span):
            for start in range(0, len(found), QUESTIONS):
                some = found[start : start + QUESTIONS]
                is_there = np.flatnonzero(~np.isnan(some[:, 0]))
                near = index.nearest(some[is_there], N_NEIGHBOURS)
                left = np.repeat(is_there, [len(numbers) for numbers in near])
                right = np.concatenate([np.zeros(0, np.int64), *near])
                is_other = right != left + first + start
                left, right = left[is_other], right[is_other]
                scores = np.einsum("ij,ij->i", some[left], vectors.rows(right))
                is_pair = scores >= min_score
                yield (left + first + start)[is_pair], right[is_pair], scores[is_pair]
            if told is not None:
                told("comparing", first + len(found), vectors.n_total)


def _join(pairs: Iterable[Pairs], n_rows: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Join pairs into groups; give the group of each row, which is its first row, and the smallest cosine of each."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    labels = np.arange(n_rows)
    scores = np.ones(n_rows, np.float32)
    for left, right, found in pairs:
        if not len(left):
            continue
        graph = coo_array((np.ones(len(left), bool), (labels[left], labels[right])), shape=(n_rows, n_rows))
        _, parts = connected_components(graph, directed=False)
        first = np.full(parts.max() + 1, n_rows)
        np.minimum.at(first, parts, np.arange(n_rows))
        labels = first[parts[labels]]
        np.minimum.at(scores, labels, scores.copy())
        np.minimum.at(scores, labels[left], found)
    return labels, scores
