"""An index of neighbours, by usearch: kept beside the catalogue as a cache, built anew when parts change."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._extras import load_extra
from taggram._files import written_aside
from taggram._processes import n_cores
from taggram.catalogue._vectors import Told, UnitVectors, Vectors
from taggram.errors import CatalogueError, printable

SUFFIX = ".usearch"
CONNECTIVITY = 16
EXPANSION = 128  # candidates that are kept, while it is built and while it is asked
SAMPLE = 200  # rows that the recall is measured with
SAMPLE_N = 10  # neighbours of each
SEED = 0

logger = logging.getLogger(__name__)


class Neighbours:
    """An index of all vectors. To be read: `recall`, the share of the ten nearest to each of a sample that it finds.

    Args:
        vectors: all of them, prepared.
        told: hears what is done, and how many of how many are done.

    Raises:
        MissingExtraError: usearch is not installed.
        CatalogueError: a part cannot be read, or the index cannot be.
    """

    def __init__(self, vectors: UnitVectors, told: Told | None = None) -> None:
        self._usearch = load_extra("usearch", "catalogue", "an index of neighbours", "index").index
        self.vectors = vectors
        self._told = told
        path = vectors.cache / f"{vectors.key}{SUFFIX}"
        facts = path.with_suffix(".json")
        if path.is_file() and facts.is_file():
            self._index = self._open(path)
            self.recall: float = json.loads(facts.read_bytes())["recall"]
        else:
            self._index = self._build()
            self.recall = self._measure()
            self._keep(path, facts)

    def nearest(self, wanted: Vectors, n: int) -> list[NDArray[np.int64]]:
        """Ask the index.

        Args:
            wanted: (questions, size).
            n: how many neighbours of each.

        Returns:
            Numbers of rows for each question, the nearest first.
        """
        n = min(n, len(self._index))
        if n == 0:
            return [np.zeros(0, np.int64)] * len(wanted)
        self._index.expansion_search = max(EXPANSION, 2 * n)
        found = self._index.search(wanted, n, threads=n_cores())
        keys, counts = np.atleast_2d(found.keys), np.atleast_1d(getattr(found, "counts", len(found)))
        return [row[:count].astype(np.int64) for row, count in zip(keys, counts)]

    def _new(self) -> Any:
        return self._usearch.Index(
            ndim=self.vectors.size, metric="cos", dtype="f16", connectivity=CONNECTIVITY, expansion_add=EXPANSION,
            expansion_search=EXPANSION,
        )  # fmt: skip

    def _open(self, path: Path) -> Any:
        index = self._new()
        try:
            index.view(str(path))
        except (RuntimeError, ValueError, OSError) as error:
            raise CatalogueError(
                f"{printable(str(path))} cannot be read ({printable(str(error))}); remove it, and it is built again."
            ) from error
        return index

    def _build(self) -> Any:
        index = self._new()
        for span in self.vectors.spans():
            for first, found in self.vectors.read(span):
                is_there = ~np.isnan(found[:, 0])
                if is_there.any():
                    numbers = first + np.flatnonzero(is_there)
                    index.add(numbers.astype(np.uint64), found[is_there], threads=n_cores())
                if self._told is not None:
                    self._told("building the index", first + len(found), self.vectors.n_total)
        return index

    def _measure(self) -> float:
        """Compare the neighbours of a sample with the true ones."""
        drawn = np.random.default_rng(SEED).choice(
            self.vectors.n_total, min(SAMPLE, self.vectors.n_total), replace=False
        )
        wanted = self.vectors.rows(np.sort(drawn))
        wanted = wanted[~np.isnan(wanted[:, 0])]
        if not len(wanted):
            return 1.0
        best = np.full((len(wanted), SAMPLE_N), -np.inf, np.float32)
        for span in self.vectors.spans():
            for _, vectors in self.vectors.read(span):
                scores = np.nan_to_num(wanted @ vectors.T, nan=-np.inf)
                best = -np.partition(-np.concatenate([best, scores], axis=1), SAMPLE_N - 1, axis=1)[:, :SAMPLE_N]
        best = -np.sort(-best, axis=1)
        found = self.nearest(wanted, SAMPLE_N)
        n_hits = n_true = 0
        for of_one, numbers, row in zip(best, found, wanted):
            true = of_one[np.isfinite(of_one)]
            scores = self.vectors.rows(numbers) @ row
            n_true += len(true)
            n_hits += min(len(true), int((scores >= true[-1] - 1e-6).sum()))  # of equals, any will do
        return n_hits / n_true

    def _keep(self, path: Path, facts: Path) -> None:
        """Keep the index, in the place of those of earlier states."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as aside:
                self._index.save(str(aside))
            with written_aside(facts) as aside:
                aside.write_text(json.dumps({"recall": self.recall, "rows": len(self._index)}), encoding="utf-8")
        except OSError as error:
            logger.warning(
                "%s: %s; the index is built each time.", printable(str(path.parent)), error.strerror or error
            )
            return
        for old in path.parent.glob(f"*{SUFFIX}"):
            if old != path:
                with contextlib.suppress(OSError):  # another process reads it, or removed it too
                    old.unlink()
                    old.with_suffix(".json").unlink()
