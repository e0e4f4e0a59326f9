"""A catalogue that answers: tracks by their tags, tracks that sound alike, duplicates, numbers and a map."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from taggram._checks import check_choice, check_count
from taggram._files import utf8
from taggram._stores import is_address
from taggram.catalogue._embedder import Embedder
from taggram.catalogue._embeddings import Embeddings
from taggram.catalogue._neighbours import Neighbours
from taggram.catalogue._reading import CatalogueFiles, Reader, open_catalogue
from taggram.catalogue._table import MEMORY_MB, Table
from taggram.catalogue._vectors import CACHE, Told, UnitVectors, unit
from taggram.catalogue.duplicates import EXACT_ROWS as EXACT_PAIRS_ROWS
from taggram.catalogue.duplicates import MIN_SCORE, Duplicates, Same, same_content, same_sound
from taggram.catalogue.expression import MOST_ROWS, Query, column_of, parse
from taggram.catalogue.find import find_tracks
from taggram.catalogue.similar import (
    DEFAULT_N,
    EXACT_ROWS,
    MOST_MISSING,
    Match,
    Search,
    check_wish,
    find_nearest,
    is_unchanged,
    row_of,
)
from taggram.catalogue.statistics import THRESHOLD, Statistics, compute_statistics
from taggram.errors import check_above_zero

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from taggram.audio import Source
    from taggram.catalogue.collection_map import CollectionMap


class Catalogue:
    """A catalogue that can be asked. It is only read; what is written beside it is a cache.

    Each question is answered by the parts that are there at that moment, so it may be written to meanwhile. Several
    threads may ask at once. Can be used in a `with` statement, which lets go of memory at its end.

    Args:
        folder: of the catalogue, as `taggram catalogue PATH... --out FOLDER` made it.
        layer: whose results are asked, by its name or a start of it that fits no other; None is those of the last run.
        model: where the model lies now, if it is a file that was moved since.
        kit: where the kit lies now, likewise.
        device: what the network computes on that embeds sound which is not in the catalogue.
        timeout_s: a question that takes longer is given up, in seconds; None is never.
        n_threads: threads that answer all questions by tags together; None is one a core.
        memory_mb: memory that these may take, in MB (1,000,000 bytes); what needs more goes through temporary files.

    Raises:
        CatalogueError: there is no catalogue, or it is damaged or too new.
        UnknownLayerError: it has no such layer, or several.
        ConfigError: a limit is not above 0.
        MissingExtraError: duckdb or pyarrow is not installed.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        layer: str | None = None,
        model: str | PathLike[str] | None = None,
        kit: str | PathLike[str] | None = None,
        device: str = "auto",
        timeout_s: float | None = None,
        n_threads: int | None = None,
        memory_mb: float = MEMORY_MB,
    ) -> None:
        check_above_zero(timeout_s=timeout_s, memory_mb=memory_mb)
        if n_threads is not None:
            check_count("n_threads", n_threads)
        self.folder = Path(folder)
        self.layer: str = open_catalogue(self.folder, layer).card["layer"]
        self._reader = Reader(self.folder, self.layer)
        self._table = Table(self.folder, timeout_s, n_threads=n_threads, memory_mb=memory_mb)
        self._embedder = Embedder(model, kit, device)
        self._embeddings = Embeddings(self.folder / CACHE / self.layer)

    def __repr__(self) -> str:
        return f"Catalogue({str(self.folder)!r}, layer={self.layer!r})"

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
        return self._reader.files().card

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags, in the model's order."""
        return self._reader.files().tags

    @property
    def index_recall(self) -> float | None:
        """How many of the true ten nearest the index finds, 0 to 1, by a sample of 200; None where none was asked."""
        return self._embeddings.recall

    def parse(self, expression: str, **options: Any) -> Query:
        """Understand an expression without asking.

        Args:
            expression: as for `find`.
            **options: of `taggram.catalogue.expression.parse`.

        Returns:
            What is asked; its `columns` are those that each track comes with, beside its path.

        Raises:
            ConfigError: it is no expression.
            UnknownNameError: it names a tag or a column that is not there.
        """
        return parse(expression, self._reader.files().columns, **options)

    def prepare(self, *, told: Told | None = None) -> None:
        """Have ready what the first `similar` would have to wait for.

        Args:
            told: as for `similar`.

        Raises:
            CatalogueError: a part cannot be read.
        """
        self._reader.again(lambda files: self._index(self._embeddings.of(files, told), "auto", EXACT_ROWS, told))

    def find(
        self,
        expression: str | Query,
        *,
        limit: int | None = None,
        also: Sequence[str] = (),
        stop: threading.Event | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Find tracks by their tags.

        Args:
            expression: such as "guitar > 0.5 and not 'male vocal' > 0.2 order by piano desc limit 20"; or what `parse`
                gave of one.
            limit: at most so many, whatever the expression says.
            also: tags and columns that are wanted beside those that it names, such as "duration_s".
            stop: ends the question when it is set, from any thread.

        Returns:
            An iterator over tracks: `path`, then what the expression names. Without "order by" they come as the
            catalogue has them. Files that failed are among them only where the expression names `error`. A score that
            is no number is None.

        Raises:
            ConfigError: it is no expression, or the limit makes no sense.
            UnknownNameError: it names a tag or a column that is not there.
            CatalogueError: a part cannot be read.
            PartsChangedError: parts were merged while the answer was read, after a part of it was given.
            TooLongQuestionError: it takes too long, or was stopped.
        """
        if limit is not None:
            check_count("limit", limit, 1, MOST_ROWS)
        files = self._reader.files()
        query = (parse(expression, files.columns) if isinstance(expression, str) else expression).at_most(limit)
        columns = [column_of(name, files.columns) for name in also]
        return self._reader.each(lambda now: find_tracks(self._table, now.parts, query, also=columns, stop=stop))

    def lengths(self, paths: Sequence[str]) -> dict[str, float | None]:
        """Look up how long files are.

        Args:
            paths: as the catalogue has them.

        Returns:
            Seconds by path, of those that are in the catalogue.

        Raises:
            CatalogueError: a part cannot be read.
        """
        sql = "SELECT path, duration_s FROM rows WHERE path IN (SELECT unnest(?))"
        return self._reader.again(lambda files: dict(self._table.ask(files.parts, sql, [list(paths)])))

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
            source: a path, an address such as s3://bucket/song.mp3, bytes, a file opened in binary mode, or (samples,
                sample_rate). A file that is in the catalogue and did not change since is not decoded again, and is not
                among the answers; one at an address is taken for unchanged.
            n: how many.
            min_score: least cosine, -1 to 1.
            search: "exact" compares every track; "index" asks an index of usearch, which misses some, and is built or
                added to first where that is needed; "auto" is exact up to four million tracks, and beyond asks the
                index if there is one.
            told: hears what is done, and how many of how many are done, where something is prepared.

        Returns:
            The nearest, the most alike first.

        Raises:
            ConfigError: a setting makes no sense, or there is no such kind of store.
            AudioError: the sound cannot be fetched, read or used.
            CatalogueError: a part cannot be read, or the catalogue is by other weights than those at hand.
            MissingExtraError: an index is wanted and usearch is not installed, or the package for a store.
        """
        check_wish(n, min_score, search)  # before the sound is decoded
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
        check_wish(n, min_score, search)
        n_asked = n if without is None else n + 1

        def ask(files: CatalogueFiles) -> list[Match]:
            vectors = self._embeddings.of(files, told)
            wanted = unit(vector, vectors.size)
            index = self._index(vectors, search, EXACT_ROWS, told)
            numbers, scores = find_nearest(vectors, wanted, n_asked, index)
            paths = self._table.rows_at(vectors.parts, vectors.starts, numbers, ["path"])
            cosines = scores.clip(-1, 1).tolist()  # rounding may lead out of it
            return [Match(paths[number][0], score) for number, score in zip(numbers.tolist(), cosines)]

        found = self._reader.again(ask)
        return [match for match in found if match.path != without and match.score >= min_score][:n]

    def embed(self, source: Source) -> NDArray[np.float32]:
        """Compute the embedding of a sound, as those of the catalogue were computed.

        Args:
            source: as for `similar`.

        Returns:
            (size,) float32.

        Raises:
            AudioError: the sound cannot be fetched, read or used.
            CatalogueError: the catalogue is by other weights than those at hand.
            ConfigError: there is no such kind of store.
            MissingExtraError: the package for the store is not installed.
        """
        return self._embedder.embed(self.card, source)

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
            search: "exact" compares all with all; "index" asks an index of usearch, which is built or added to first;
                "auto" does so from 100,000 tracks on.
            told: as for `similar`.

        Returns:
            An iterator over groups: first those with the same bytes, then those that sound the same.

        Raises:
            ConfigError: a setting makes no sense.
            CatalogueError: a part cannot be read.
            MissingExtraError: an index is wanted and usearch is not installed.
        """
        if same is not None:
            check_choice("same", same, get_args(Same))
        check_wish(1, min_score, search)
        return self._duplicates(same, min_score, search, told)

    def _duplicates(
        self, same: Same | None, min_score: float, search: Search, told: Told | None
    ) -> Iterator[Duplicates]:
        if same != "sound":
            yield from self._reader.each(lambda files: same_content(self._table, files.parts))
        if same != "content":

            def of_sound(files: CatalogueFiles) -> Iterator[Duplicates]:
                vectors = self._embeddings.of(files, told)
                index = self._index(vectors, search, EXACT_PAIRS_ROWS, told, pairs=True)
                return same_sound(self._table, vectors, min_score=min_score, index=index, told=told)

            yield from self._reader.each(of_sound)

    def statistics(self, *, threshold: float = THRESHOLD, told: Told | None = None) -> Statistics:
        """Count and average.

        Args:
            threshold: from which score on a file counts for a tag.
            told: as for `similar`.

        Returns:
            Numbers of all files, and of each tag.

        Raises:
            ConfigError: the threshold is no number.
            CatalogueError: a part cannot be read.
        """
        return self._reader.again(lambda files: compute_statistics(self._table, self.folder, files, threshold, told))

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

        return self._reader.again(
            lambda files: make_collection_map(
                self._table, self._embeddings.of(files, told), files.tags, f"{self.folder.name}, {files.card['model']}",
                n=MOST_TRACKS if n is None else n, seed=seed, tag=tag, told=told,
            )
        )  # fmt: skip

    # -- inside --------------------------------------------------------------------------------------------------------

    def _index(
        self, vectors: UnitVectors, search: Search, most: int, told: Told | None, *, pairs: bool = False
    ) -> Neighbours | None:
        """Give the index, if one is to be asked; only who wants it, or wants pairs of very many, waits for one."""
        if search == "exact" or (search == "auto" and vectors.n_total <= most):
            return None
        if search == "auto" and not pairs:
            return self._embeddings.kept_index(vectors)
        return self._embeddings.full_index(vectors, 0 if pairs else MOST_MISSING, told)

    def _known(self, source: Source) -> tuple[str | None, NDArray[np.float32] | None]:
        """Give the path and the embedding of a file that is in the catalogue as it is now, as far as it is."""
        if not isinstance(source, str | PathLike):
            return None, None
        place = fsdecode(source)
        whole = place if is_address(place) else os.path.abspath(place)  # noqa: PTH100 (of bytes that may be no UTF-8)
        for path in dict.fromkeys((place, whole)):
            row = self._row_of(utf8(path))
            if row is not None:
                size, modified_us, embedding = row
                return utf8(path), embedding if is_unchanged(path, size, modified_us) else None
        return None, None

    def _row_of(self, path: str) -> tuple[int | None, int | None, NDArray[np.float32]] | None:
        return self._reader.again(lambda files: row_of(self._table, files.parts, path))
