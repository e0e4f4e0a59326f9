"""The embeddings of a catalogue and the index of them, as they are when they are asked for, kept for the next time."""

from __future__ import annotations

import threading
from pathlib import Path

from taggram.catalogue._neighbours import Neighbours, extend_index, open_index, read_facts
from taggram.catalogue._reading import CatalogueFiles
from taggram.catalogue._vectors import Told, UnitVectors


class Embeddings:
    """Embeddings and their index. Several threads may ask at once; who comes while they are prepared waits.

    Args:
        cache: folder for what is kept.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._vectors: UnitVectors | None = None
        self._index: Neighbours | None = None
        self._preparing = threading.Lock()
        self._indexing = threading.Lock()

    @property
    def recall(self) -> float | None:
        """What share of the true ten nearest the index finds; None where none was asked."""
        return None if self._index is None else self._index.recall

    def of(self, files: CatalogueFiles, told: Told | None = None) -> UnitVectors:
        """Give the embeddings of parts, prepared.

        Args:
            files: of the catalogue as it is now.
            told: hears what is done, and how many of how many are done.

        Returns:
            The embeddings.

        Raises:
            CatalogueError: a part cannot be read.
        """
        with self._preparing:
            if self._vectors is None or not self._vectors.is_of(files.parts, files.sums):
                size = int(files.card["embedding"]["size"])
                vectors = UnitVectors(files.parts, files.sums, size, self._cache)
                vectors.prepare(told)
                self._vectors = vectors
            return self._vectors

    def kept_index(self, vectors: UnitVectors) -> Neighbours | None:
        """Give the index that is kept.

        Args:
            vectors: that it is asked for.

        Returns:
            The index; None where there is none, or most of what it holds is gone.

        Raises:
            MissingExtraError: there is one, and usearch is not installed.
        """
        with self._indexing:
            self._index = self._opened(vectors)
            return self._index

    def full_index(self, vectors: UnitVectors, most_missing: int, told: Told | None = None) -> Neighbours:
        """Give an index, and build it or add to it first where it lacks too many rows.

        Args:
            vectors: that it is asked for.
            most_missing: rows that need not be in it.
            told: hears what is done, and how many of how many are done.

        Returns:
            The index.

        Raises:
            CatalogueError: a part cannot be read.
            MissingExtraError: usearch is not installed.
        """
        with self._indexing:
            index = self._opened(vectors)
            if index is None or index.n_missing > most_missing:
                old = None if index is None else open_index(index.facts, vectors, to_add=True)
                index = extend_index(vectors, old, told)
            self._index = index
            return index

    def _opened(self, vectors: UnitVectors) -> Neighbours | None:
        """Give the index that is open, if it is the one that is kept, or open that."""
        held = self._index
        facts = read_facts(self._cache)
        if held is not None and facts in (None, held.facts):
            index: Neighbours | None = held if held.vectors is vectors else held.asked_for(vectors)
        else:
            index = None if facts is None else open_index(facts, vectors)
        return index if index is not None and index.is_worth_it else None
