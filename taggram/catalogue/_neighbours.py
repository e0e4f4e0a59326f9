"""An index of neighbours, by usearch: kept beside the catalogue as a cache, with a list of the parts that it holds.

Parts that come are added to it, and rows of parts that are gone are passed over, until most of it is of such. What is
not in it is for others to compare; `missing` says which parts those are.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._extras import load_extra
from taggram._files import written_aside
from taggram._processes import n_cores
from taggram.catalogue._folder import sha256_of
from taggram.catalogue._vectors import Told, UnitVectors, Vectors
from taggram.errors import printable

FACTS = "index.json"
SUFFIX = ".usearch"
CONNECTIVITY = 16
EXPANSION = 128  # candidates that are kept, while it is built and while it is asked
ALONE = 1_000  # rows that are added one after the other: side by side, the first ones may not find each other
SAMPLE = 200  # rows that the recall is measured with
SAMPLE_N = 10  # neighbours of each
SEED = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexFacts:
    """What is known of an index that is kept.

    Attributes:
        file: its name, in the same folder.
        sha256: of that file.
        recall: share of the ten nearest to each of a sample that it finds, 0 to 1.
        parts: of each part that it holds, by its key: the number of its first row in the index, and how many rows.
    """

    file: str
    sha256: str
    recall: float
    parts: dict[str, tuple[int, int]]


class Neighbours:
    """An index that is asked for rows of a catalogue.

    To be read: `missing`, the places of parts that it does not hold; `n_missing`, their rows; and `is_worth_it`,
    whether most of what it holds is still there.

    Args:
        index: of usearch.
        facts: of it.
        vectors: of the catalogue as it is now.
    """

    def __init__(self, index: Any, facts: IndexFacts, vectors: UnitVectors) -> None:
        self.vectors = vectors
        self.facts = facts
        self.index = index
        places = {key: place for place, key in enumerate(vectors.keys)}
        self.missing = [place for key, place in places.items() if key not in facts.parts]
        self.n_missing = sum(vectors.n_rows[place] for place in self.missing)
        held = sorted((first, n_rows, places.get(key)) for key, (first, n_rows) in facts.parts.items())
        self._firsts = np.array([first for first, _, _ in held], np.int64)
        self._starts = np.array([-1 if place is None else vectors.starts[place] for _, _, place in held], np.int64)
        n_there = sum(n_rows for _, n_rows, place in held if place is not None)
        self.is_worth_it = 2 * n_there >= sum(n_rows for _, n_rows, _ in held)

    @property
    def recall(self) -> float:
        """Share of the ten nearest to each of a sample that it finds, 0 to 1."""
        return self.facts.recall

    def asked_for(self, vectors: UnitVectors) -> Neighbours:
        """Give the same index for other embeddings, after parts changed."""
        return Neighbours(self.index, self.facts, vectors)

    def nearest(self, wanted: Vectors, n: int) -> list[NDArray[np.int64]]:
        """Ask the index.

        Args:
            wanted: (questions, size).
            n: how many neighbours of each.

        Returns:
            Numbers of rows for each question, the nearest first.
        """
        n_all = len(self.index)
        n_asked = min(n, n_all)
        while True:
            found = [self._rows_of(keys)[:n] for keys in self._search(wanted, n_asked)]
            if n_asked >= n_all or all(len(rows) == n for rows in found):
                return found
            n_asked = min(4 * n_asked, n_all)  # rows that are gone were among them

    def _search(self, wanted: Vectors, n: int) -> list[NDArray[np.int64]]:
        if n == 0:
            return [np.zeros(0, np.int64)] * len(wanted)
        self.index.expansion_search = max(EXPANSION, 2 * n)
        found = self.index.search(wanted, n, threads=n_cores())
        keys, counts = np.atleast_2d(found.keys), np.atleast_1d(getattr(found, "counts", len(found)))
        return [row[:count].astype(np.int64) for row, count in zip(keys, counts)]

    def _rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn numbers in the index into those of rows, without those that are gone."""
        held = np.searchsorted(self._firsts, keys, side="right") - 1
        return (self._starts[held] + keys - self._firsts[held])[self._starts[held] >= 0]


def read_facts(cache: Path) -> IndexFacts | None:
    """Read what is known of the index that is kept.

    Args:
        cache: its folder.

    Returns:
        The facts, or None where none is kept, or they are damaged.
    """
    try:
        found = json.loads((cache / FACTS).read_bytes())
        parts = {str(key): (int(first), int(n_rows)) for key, (first, n_rows) in found["parts"].items()}
        return IndexFacts(str(found["file"]), str(found["sha256"]), float(found["recall"]), parts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s cannot be read (%r); the index is passed over.", printable(str(cache / FACTS)), error)
        return None


def open_index(facts: IndexFacts, vectors: UnitVectors, *, to_add: bool = False) -> Neighbours | None:
    """Open the index that is kept.

    Args:
        facts: of it.
        vectors: of the catalogue as it is now.
        to_add: whether it is loaded into memory, so that it can be added to.

    Returns:
        The index, or None where its file is missing or damaged.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    index = _new_index(vectors.size)
    path = vectors.cache / Path(facts.file).name
    try:
        if sha256_of(path) != facts.sha256:  # usearch may crash the process over a damaged file
            raise ValueError("it is damaged")
        (index.load if to_add else index.view)(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        logger.warning("%s: %s; the index is passed over.", printable(str(path)), printable(str(error)))
        return None
    return Neighbours(index, facts, vectors)


def extend_index(vectors: UnitVectors, old: Neighbours | None = None, told: Told | None = None) -> Neighbours:
    """Add what is missing to an index, or build one; measure what it finds, and keep it.

    Args:
        vectors: of the catalogue, prepared.
        old: an index that was opened to be added to, or None for a new one.
        told: hears what is done, and how many of how many are done.

    Returns:
        The index, which holds all of the catalogue.

    Raises:
        CatalogueError: a part cannot be read.
        MissingExtraError: usearch is not installed.
    """
    index = _new_index(vectors.size) if old is None else old.index
    parts = {} if old is None else dict(old.facts.parts)
    missing = list(range(len(vectors.parts))) if old is None else old.missing
    shift = {}  # of the numbers of rows to those in the index
    end = max((first + n_rows for first, n_rows in parts.values()), default=0)
    for place in missing:
        parts[vectors.keys[place]] = (end, vectors.n_rows[place])
        shift[place] = end - int(vectors.starts[place])
        end += vectors.n_rows[place]
    n_done, n_all = 0, sum(vectors.n_rows[place] for place in missing)
    for span in vectors.spans(missing):
        for first, found in vectors.read(span):
            is_there = ~np.isnan(found[:, 0])
            if is_there.any():
                keys = first + np.flatnonzero(is_there) + shift[span.part]
                _add(index, keys.astype(np.uint64), found[is_there])
            n_done += len(found)
            if told is not None:
                told("adding to the index", n_done, n_all)
    unmeasured = Neighbours(index, IndexFacts("", "", 0.0, parts), vectors)
    facts = _keep(index, vectors.cache, IndexFacts("", "", _measure(unmeasured, told), parts))
    return Neighbours(index, facts, vectors)


def _add(index: Any, keys: NDArray[np.uint64], rows: Vectors) -> None:
    """Add rows to an index, on all cores once there are enough in it."""
    n_alone = max(0, ALONE - len(index))
    for some, n_threads in ((slice(n_alone), 1), (slice(n_alone, None), n_cores())):
        if len(keys[some]):
            index.add(keys[some], rows[some], threads=n_threads)


def _new_index(size: int) -> Any:
    usearch = load_extra("usearch", "catalogue", "an index of neighbours", "index").index
    return usearch.Index(
        ndim=size, metric="cos", dtype="f16", connectivity=CONNECTIVITY, expansion_add=EXPANSION,
        expansion_search=EXPANSION,
    )  # fmt: skip


def _measure(index: Neighbours, told: Told | None) -> float:
    """Compare the neighbours of a sample with the true ones."""
    vectors = index.vectors
    drawn = np.random.default_rng(SEED).choice(vectors.n_total, min(SAMPLE, vectors.n_total), replace=False)
    wanted = vectors.rows(np.sort(drawn))
    wanted = wanted[~np.isnan(wanted[:, 0])]
    if not len(wanted):
        return 1.0
    best = np.full((len(wanted), SAMPLE_N), -np.inf, np.float32)
    for span in vectors.spans():
        for first, found in vectors.read(span):
            scores = np.nan_to_num(wanted @ found.T, nan=-np.inf)
            best = -np.partition(-np.concatenate([best, scores], axis=1), SAMPLE_N - 1, axis=1)[:, :SAMPLE_N]
            if told is not None:
                told("measuring what the index finds", first + len(found), vectors.n_total)
    best = -np.sort(-best, axis=1)
    n_hits = n_true = 0
    for of_one, numbers, row in zip(best, index.nearest(wanted, SAMPLE_N), wanted):
        true = of_one[np.isfinite(of_one)]
        scores = vectors.rows(numbers) @ row
        n_true += len(true)
        n_hits += min(len(true), int((scores >= true[-1] - 1e-6).sum()))  # of equals, any will do
    return n_hits / n_true


def _keep(index: Any, cache: Path, facts: IndexFacts) -> IndexFacts:
    """Keep the index in the place of earlier ones, as far as the folder can be written to; give what is known of it."""
    path = cache / f"{secrets.token_hex(8)}{SUFFIX}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            index.save(str(aside))
        facts = IndexFacts(path.name, sha256_of(path), facts.recall, facts.parts)
        with written_aside(cache / FACTS) as aside:
            aside.write_text(json.dumps(asdict(facts)), encoding="utf-8")
    except (OSError, RuntimeError) as error:  # usearch raises the second where the disk is full
        logger.warning("%s: %s; the index is built each time.", printable(str(cache)), printable(str(error)))
        with contextlib.suppress(OSError):
            path.unlink()
        return facts
    for old in cache.glob(f"*{SUFFIX}"):
        if old != path:
            with contextlib.suppress(OSError):  # another process reads it, or removed it too
                old.unlink()
    return facts
