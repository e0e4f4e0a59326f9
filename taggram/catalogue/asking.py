"""A catalogue that answers: tracks by their tags, tracks that sound alike, duplicates, numbers and a map."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from taggram._checks import check, check_choice, check_count, is_number
from taggram._files import utf8
from taggram.catalogue._neighbours import Neighbours
from taggram.catalogue._table import Table
from taggram.catalogue._vectors import CACHE, Told, UnitVectors, unit
from taggram.catalogue.duplicates import EXACT_ROWS as EXACT_PAIRS_ROWS
from taggram.catalogue.duplicates import MIN_SCORE, Duplicates, Same, same_content, same_sound
from taggram.catalogue.expression import COLUMNS, Column, parse
from taggram.catalogue.find import find_tracks
from taggram.catalogue.journal import CatalogueFiles, open_catalogue
from taggram.catalogue.similar import DEFAULT_N, EXACT_ROWS, Match, Search, find_nearest, is_unchanged, row_of
from taggram.catalogue.statistics import THRESHOLD, Statistics, compute_statistics
from taggram.errors import CatalogueError, check_above_zero, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from taggram.audio import Source
    from taggram.catalogue.collection_map import CollectionMap
    from taggram.tagger import Tagger


class Catalogue:
    """A catalogue that can be asked. It is only read; what is written beside it is a cache.

    Each question is answered by the parts that are there at that moment, so it may be written to meanwhile. Several
    threads may ask at once. Can be used in a `with` statement, which lets go of memory at its end.

    Args:
        folder: of the catalogue, as `taggram catalogue PATH... --out FOLDER` made it.
        layer: whose results are asked; None is those of the last run.
        model: where the model lies now, if it is a file that was moved since.
        device: what the network computes on that embeds sound which is not in the catalogue.
        timeout_s: a question that takes longer is given up, in seconds; None is never.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new, or has no such layer.
        MissingExtraError: duckdb or pyarrow is not installed.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        layer: str | None = None,
        model: str | PathLike[str] | None = None,
        device: str = "auto",
        timeout_s: float | None = None,
    ) -> None:
        check_above_zero(timeout_s=timeout_s)
        self.folder = Path(folder)
        self.layer: str = open_catalogue(self.folder, layer).card["layer"]
        self._model = model
        self._device = device
        self._table = Table(self.folder, timeout_s)
        self._tagger: Tagger | None = None
        self._vectors: UnitVectors | None = None
        self._index: Neighbours | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of memory."""
        self._table.close()

    @property
    def card(self) -> dict[str, Any]:
        """What catalogue.json says: model, tags, settings."""
        return self._files().card

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags, in the model's order."""
        return self._files().tags

    @property
    def index_recall(self) -> float | None:
        """How many of the true ten nearest the index finds, 0 to 1, by a sample of 200; None where none was asked."""
        return None if self._index is None else self._index.recall

    def names(self, expression: str) -> list[str]:
        """Say what the tracks have that an expression finds.

        Args:
            expression: as for `find`.

        Returns:
            "path", then the names of columns.

        Raises:
            ConfigError: it is no expression.
            UnknownNameError: it names a tag or a column that is not there.
        """
        query = parse(expression, self._files().columns)
        return list(dict.fromkeys(["path", *(column.name for column in query.columns)]))

    def prepare(self, *, search: Search = "auto", told: Told | None = None) -> None:
        """Have ready what the first `similar` would have to wait for.

        Args:
            search: as for `similar`.
            told: as for `similar`.

        Raises:
            CatalogueError: a part cannot be read.
            MissingExtraError: an index is wanted and usearch is not installed.
        """
        self._index_for(self._unit_vectors(told), search, EXACT_ROWS, told)

    def find(
        self, expression: str, *, limit: int | None = None, also: tuple[str, ...] = ()
    ) -> Iterator[dict[str, Any]]:
        """Find tracks by their tags.

        Args:
            expression: such as "guitar > 0.5 and not 'male vocal' > 0.2 order by piano desc limit 20".
            limit: at most so many, whatever the expression says.
            also: columns that are wanted beside those that it names, such as "duration_s".

        Returns:
            An iterator over tracks: `path`, then what the expression names. Without "order by" they come as the
            catalogue has them. Files that failed are among them only where the expression names `error`.

        Raises:
            ConfigError: it is no expression.
            UnknownNameError: it names a tag or a column that is not there.
            CatalogueError: a part cannot be read.
        """
        files = self._files()
        query = parse(expression, files.columns).at_most(limit)
        return find_tracks(self._table, files.parts, query, also=[Column(name, COLUMNS[name]) for name in also])

    def similar(
        self,
        source: Source,
        *,
        n: int = DEFAULT_N,
        min_score: float = -1.0,
        search: Search = "auto",
        told: Told | None = None,
    ) -> list[Match]:
        """Find tracks that sound like one.

        Args:
            source: a path, bytes, a file opened in binary mode, or (samples, sample_rate). A file that is in the
                catalogue and did not change since is not decoded again, and is not among the answers.
            n: how many.
            min_score: least cosine, -1 to 1.
            search: "exact" compares every track, "index" asks an index of usearch, which misses some and is built when
                it is first asked; "auto" takes it from four million tracks on.
            told: hears what is done, and how many of how many are done, where something is prepared.

        Returns:
            The nearest, the most alike first.

        Raises:
            ConfigError: a setting makes no sense.
            AudioError: the sound cannot be read or used.
            CatalogueError: a part cannot be read, or the catalogue is by other weights than those at hand.
            MissingExtraError: an index is wanted and usearch is not installed.
        """
        known, vector = self._known(source)
        if vector is None:
            vector = self.embed(source)
        return self.nearest(vector, n=n, min_score=min_score, search=search, without=known, told=told)

    def nearest(
        self,
        vector: NDArray[np.float32],
        *,
        n: int = DEFAULT_N,
        min_score: float = -1.0,
        search: Search = "auto",
        without: str | None = None,
        told: Told | None = None,
    ) -> list[Match]:
        """Find tracks by an embedding.

        Args:
            vector: (size,) as `embed` gives it.
            n: as for `similar`.
            min_score: as for `similar`.
            search: as for `similar`.
            without: path of a track that is left out.
            told: as for `similar`.

        Returns:
            The nearest, the most alike first.

        Raises:
            ConfigError: a setting makes no sense.
            CatalogueError: a part cannot be read.
            MissingExtraError: an index is wanted and usearch is not installed.
        """
        check_count("n", n)
        check(is_number(min_score) and -1 <= min_score <= 1, "min_score", min_score, "a number from -1 to 1")
        check_choice("search", search, get_args(Search))
        wanted = unit(vector)
        vectors = self._unit_vectors(told)
        index = self._index_for(vectors, search, EXACT_ROWS, told)
        numbers, scores = find_nearest(vectors, wanted, n if without is None else n + 1, index)
        paths = self._table.rows_at(vectors.parts, vectors.starts, numbers, ["path"])
        cosines = scores.clip(-1, 1).tolist()  # rounding may lead out of it
        found = [Match(paths[number][0], score) for number, score in zip(numbers.tolist(), cosines)]
        return [match for match in found if match.path != without and match.score >= min_score][:n]

    def embed(self, source: Source) -> NDArray[np.float32]:
        """Compute the embedding of a sound, as those of the catalogue were computed.

        Args:
            source: as for `similar`.

        Returns:
            (size,) float32.

        Raises:
            AudioError: the sound cannot be read or used.
            CatalogueError: the catalogue is by other weights than those at hand.
        """
        with self._lock:
            if self._tagger is None:
                self._tagger = self._load_tagger()
            return embedding_of(self._tagger, source)

    def check_tagger(self, tagger: Tagger) -> None:
        """Refuse a tagger whose embeddings cannot be compared with those of the catalogue.

        Args:
            tagger: the tagger.

        Raises:
            CatalogueError: it has other weights.
        """
        from taggram.models._fingerprint import weights_sha256

        card = self.card
        if weights_sha256(tagger.model, with_head=tagger.kit is None) != card["weights_sha256"]:
            raise CatalogueError(
                f"{printable(str(self.folder))} is by other weights of {printable(card['model'])} than those at hand, "
                "so embeddings cannot be compared; `taggram catalogue` with these makes a layer of their own."
            )

    def duplicates(
        self,
        *,
        same: Same | None = None,
        min_score: float = MIN_SCORE,
        search: Search = "auto",
        told: Told | None = None,
    ) -> Iterator[Duplicates]:
        """Find files that are there more than once.

        Args:
            same: "content" for the same bytes, "sound" for nearly the same embedding; None is both.
            min_score: least cosine of two that sound the same.
            search: "exact" compares all with all, "index" asks an index of usearch; "auto" takes it from 100,000
                tracks on.
            told: as for `similar`.

        Returns:
            An iterator over groups: first those with the same bytes, then those that sound the same.

        Raises:
            ConfigError: a setting makes no sense.
            CatalogueError: a part cannot be read.
            MissingExtraError: an index is wanted and usearch is not installed.
        """
        check_choice("same", same, (None, *get_args(Same)))
        check(is_number(min_score) and -1 <= min_score <= 1, "min_score", min_score, "a number from -1 to 1")
        check_choice("search", search, get_args(Search))
        return self._duplicates(same, min_score, search, told)

    def _duplicates(
        self, same: Same | None, min_score: float, search: Search, told: Told | None
    ) -> Iterator[Duplicates]:
        if same != "sound":
            yield from same_content(self._table, self._files().parts)
        if same != "content":
            vectors = self._unit_vectors(told)
            index = self._index_for(vectors, search, EXACT_PAIRS_ROWS, told)
            yield from same_sound(self._table, vectors, min_score=min_score, index=index, told=told)

    def statistics(self, *, threshold: float = THRESHOLD) -> Statistics:
        """Count and average.

        Args:
            threshold: from which score on a file counts for a tag.

        Returns:
            Numbers of all files, and of each tag.

        Raises:
            ConfigError: the threshold is no number.
            CatalogueError: a part cannot be read.
        """
        files = self._files()
        return compute_statistics(self._table, files.parts, files.card, files.columns, threshold)

    def map(
        self, *, n: int | None = None, seed: int = 0, tag: str | None = None, told: Told | None = None
    ) -> CollectionMap:
        """Place tracks on a map: near each other are those that sound alike.

        Args:
            n: at most so many tracks, drawn at random where there are more; None is 5,000.
            seed: of what is drawn, and of t-SNE.
            tag: what colours mean at first; None is the best tag of each track.
            told: as for `similar`.

        Returns:
            The map; `save("map.html")` writes it as a page.

        Raises:
            ConfigError: there are too few tracks.
            UnknownNameError: there is no such tag.
            CatalogueError: a part cannot be read.
        """
        from taggram.catalogue.collection_map import MOST_TRACKS, make_collection_map

        files = self._files()
        return make_collection_map(
            self._table, self._unit_vectors(told), files.tags, f"{self.folder.name}, {files.card['model']}",
            n=MOST_TRACKS if n is None else n, seed=seed, tag=tag,
        )  # fmt: skip

    # -- inside --------------------------------------------------------------------------------------------------------

    def _files(self) -> CatalogueFiles:
        return open_catalogue(self.folder, self.layer)

    def _unit_vectors(self, told: Told | None) -> UnitVectors:
        """Give the embeddings of the parts that are there now, prepared."""
        files = self._files()
        with self._lock:
            if self._vectors is None or not self._vectors.is_of(files.parts):
                size = int(files.card["embedding"]["size"])
                vectors = UnitVectors(files.parts, size, self.folder / CACHE / self.layer)
                vectors.prepare(told)
                self._vectors, self._index = vectors, None
            return self._vectors

    def _index_for(self, vectors: UnitVectors, search: Search, most: int, told: Told | None) -> Neighbours | None:
        """Give the index where one is to be asked: if that is wanted, or if there are more tracks than `most`."""
        if search == "exact" or (search == "auto" and vectors.n_total <= most):
            return None
        with self._lock:
            if self._index is None or self._index.vectors is not vectors:
                self._index = Neighbours(vectors, told)
            return self._index

    def _known(self, source: Source) -> tuple[str | None, NDArray[np.float32] | None]:
        """Give the path and the embedding of a file that is in the catalogue as it is now, as far as it is."""
        if not isinstance(source, str | PathLike):
            return None, None
        place = fsdecode(source)
        for path in dict.fromkeys((place, os.path.abspath(place))):  # noqa: PTH100 (of bytes that may be no UTF-8)
            row = row_of(self._table, self._files().parts, utf8(path))
            if row is not None:
                size, modified_us, embedding = row
                return utf8(path), embedding if is_unchanged(path, size, modified_us) else None
        return None, None

    def _load_tagger(self) -> Tagger:
        from taggram.tagger import Tagger

        card = self.card
        settings = {name: card["settings"][name] for name in ("model", "hop_s", "max_duration_s", "engine", "kit")}
        if self._model is not None:
            settings["model"] = fsdecode(self._model)
        tagger = Tagger(**settings, device=self._device)
        self.check_tagger(tagger)
        return tagger


def embedding_of(tagger: Tagger, source: Source) -> NDArray[np.float32]:
    """Compute the embedding of a sound as catalogues hold it: the mean over the patches.

    Args:
        tagger: of the catalogue.
        source: the sound.

    Returns:
        (size,) float32.

    Raises:
        AudioError: the sound cannot be read or used.
    """
    mean: NDArray[np.float32] = tagger.tag_and_embed(source)[1].features.mean(axis=0)
    return mean
