"""A collection on a map: near each other are tracks that sound alike, by t-SNE of their embeddings.

Source: van der Maaten and Hinton, "Visualizing data using t-SNE", 2008; the library is scikit-learn. Embeddings are
    brought to the length 1, since cosines say what sounds alike, and to at most 50 dimensions by PCA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_count
from taggram._files import written_aside
from taggram.catalogue._collection_page import collection_page
from taggram.catalogue._table import Table
from taggram.catalogue._vectors import Told, UnitVectors
from taggram.errors import ConfigError, unknown_name

MOST_TRACKS = 5_000
LEAST_TRACKS = 5
PCA_DIMS = 50
PERPLEXITY = 30.0
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False)
class CollectionMap:
    """Tracks on a map.

    Attributes:
        title: what it is a map of.
        paths: of the tracks.
        places: (tracks, 2), in no unit.
        tags: names of the tags, in the model's order.
        scores: (tracks, tags) float32.
        notes: how it was made, and what is to be known about it.
        tag: what colours mean at first; None is the best tag of each track.
    """

    title: str
    paths: tuple[str, ...]
    places: NDArray[np.float32]
    tags: tuple[str, ...]
    scores: NDArray[np.float32]
    notes: tuple[str, ...]
    tag: str | None = None

    def save(self, path: str | PathLike[str]) -> None:
        """Write a page that stands alone; the mouse on a point shows its path, and a list chooses what colours mean.

        Args:
            path: of an HTML file.

        Raises:
            OSError: it cannot be written; what was there before stays.
        """
        page = collection_page(self.title, self.paths, self.places, self.tags, self.scores, self.notes, chosen=self.tag)
        with written_aside(Path(path)) as aside:
            aside.write_bytes(page)


def make_collection_map(
    table: Table,
    vectors: UnitVectors,
    tags: Sequence[str],
    title: str,
    *,
    n: int = MOST_TRACKS,
    seed: int = 0,
    tag: str | None = None,
    told: Told | None = None,
) -> CollectionMap:
    """Place tracks on a map.

    Args:
        table: asks for rows.
        vectors: all embeddings, prepared.
        tags: names of the tags.
        title: what it is a map of.
        n: at most so many tracks, drawn at random where there are more.
        seed: of what is drawn, and of t-SNE.
        tag: what colours mean at first; None is the best tag of each track.
        told: hears what is done.

    Returns:
        The map.

    Raises:
        ConfigError: there are too few tracks, or a setting makes no sense.
        UnknownNameError: there is no such tag.
        CatalogueError: a part cannot be read.
    """
    check_count("n", n, LEAST_TRACKS)
    check_count("seed", seed, 0, MOST_SEED)
    if tag is not None and tag not in tags:
        raise unknown_name("tag", tag, tags, f"the catalogue has {len(tags)} of them")
    numbers, n_all = _draw(vectors, n, seed)
    if len(numbers) < LEAST_TRACKS:
        raise ConfigError(f"a map needs {LEAST_TRACKS} tracks or more, and the catalogue has {len(numbers)} to show.")
    found = table.rows_at(vectors.parts, vectors.starts, numbers, ["path", "scores"])
    paths, scores = zip(*(found[number] for number in numbers.tolist()))
    if told is not None:
        told(f"placing {len(numbers)} tracks by t-SNE", 0, 1)
    places, how = _place(vectors.rows(numbers), seed)
    drawn = f"{len(numbers)} tracks, drawn from {n_all} with seed {seed}" if len(numbers) < n_all else f"{n_all} tracks"
    notes = (f"{drawn}; {how}.", "Near is alike. Far, size and direction say nothing; other seeds give other maps.")
    return CollectionMap(title, paths, places, tuple(tags), np.array(scores, np.float32), notes, tag)


def _draw(vectors: UnitVectors, n: int, seed: int) -> tuple[NDArray[np.int64], int]:
    """Draw rows that have an embedding; give them in order, and how many have one."""
    numbers = np.concatenate([
        np.zeros(0, np.int64),
        *(
            first + np.flatnonzero(~np.isnan(found[:, 0]))
            for span in vectors.spans()
            for first, found in vectors.read(span)
        ),
    ])  # fmt: skip
    if len(numbers) <= n:
        return numbers, len(numbers)
    return np.sort(np.random.default_rng(seed).choice(numbers, n, replace=False)), len(numbers)


def _place(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], str]:
    """Give (tracks, 2), and say how."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n_dims = min(PCA_DIMS, *vectors.shape)
    flat = PCA(n_dims, random_state=seed).fit_transform(vectors)
    if not (spread := flat.std(axis=0)[0]) > 0:
        return np.zeros((len(vectors), 2), np.float32), "all of them sound the same"
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    start = flat[:, :2] / spread * 1e-4 if n_dims > 1 else "random"
    places = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(flat)
    return places.astype(np.float32), f"t-SNE with perplexity {perplexity:g} on {n_dims} dimensions of PCA"
