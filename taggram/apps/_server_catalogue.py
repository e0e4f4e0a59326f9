"""A catalogue that the service answers for: tracks by their tags, and tracks that sound like an upload.

Annotations are no text in this file, for the reason that `_server_app` gives.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from taggram.apps._asking import rounded
from taggram.apps._server_answers import JSON, Answer
from taggram.apps._server_errors import BusyError, CutError, NotReadyError, TooMuchWorkError
from taggram.apps._server_log import log
from taggram.apps._server_requests import answer_sound
from taggram.catalogue._embedder import embedding_of, is_by
from taggram.catalogue.asking import Catalogue
from taggram.catalogue.expression import COLUMNS
from taggram.catalogue.similar import DEFAULT_N
from taggram.errors import CatalogueError, ConfigError, TooLongQuestionError, printable

if TYPE_CHECKING:
    from fastapi import FastAPI

    from taggram.apps._server_decoding import DecodedSound
    from taggram.apps._server_network import ServedTagger
    from taggram.apps._server_work import Service

AT_ONCE = 2  # questions by tags, which share the threads of the catalogue
MOST_ASKING = 16  # that are answered or wait
MOST_TERMS = 50  # comparisons and keys of the order in a question, each of which takes time
FOUND = 100  # tracks where the request says nothing
FIND_EXAMPLE = {"tracks": [{"path": "/music/a.mp3", "guitar": 0.91, "vocal": 0.02}], "more": False}
SIMILAR_EXAMPLE = {"model": "musicnn.mtt", "duration_s": 29.2, "tracks": [{"path": "/music/a.mp3", "score": 0.97}]}


@dataclass
class ServedCatalogue:
    """A catalogue that the service answers for.

    Attributes:
        catalogue: it.
        model: the served model that tagged it; None is whichever has its weights.
        find_s: longest time that a question by tags may take, in seconds, with its wait for others.
        tags: its tags.
        hop_s: the step between patches that it was tagged with, in seconds.
    """

    catalogue: Catalogue
    model: str | None
    find_s: float
    tags: tuple[str, ...] = field(init=False)
    hop_s: float | None = field(init=False)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _n_asking: int = 0

    def __post_init__(self) -> None:
        card = self.catalogue.card
        self.tags, self.hop_s = tuple(card["tags"]), card["settings"]["hop_s"]

    def facts(self) -> dict[str, Any]:
        """Say what can be asked."""
        return {"model": self.model, "tags": self.tags, "columns": list(COLUMNS)}

    def prepare(self, taggers: "dict[str, ServedTagger]") -> None:
        """Find the served model that tagged it, and have embeddings at hand.

        Args:
            taggers: all that are served, by name.

        Raises:
            CatalogueError: none of them has its weights, or a part cannot be read.
        """
        card = self.catalogue.card
        names = list(taggers) if self.model is None else [self.model]
        fitting = [name for name in names if is_by(taggers[name], card)]
        if not fitting:
            raise CatalogueError(
                f"{printable(str(self.catalogue.folder))} is by other weights of {printable(card['model'])} than those "
                f"of {', '.join(names)}; --model FILE or --kit FILE says where those lie that it is by."
            )
        self.model = fitting[0]
        self.catalogue.prepare()

    async def find(self, expression: str, limit: int, is_cut: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """Find tracks by their tags.

        Args:
            expression: what is asked.
            limit: at most so many.
            is_cut: a coroutine that ends when the client goes away.

        Returns:
            `tracks`, and whether there would be `more`.

        Raises:
            BusyError: too many ask.
            ConfigError: it is no expression, or has too many comparisons.
            CutError: the client went away.
            UnknownNameError: it names a tag that is not there.
            TooMuchWorkError: it takes too long.
            NotReadyError: the catalogue cannot be read.
        """
        if self._n_asking >= MOST_ASKING:
            raise _busy()
        end = time.monotonic() + self.find_s
        cut = asyncio.ensure_future(is_cut())
        self._n_asking += 1
        try:
            async with self._in_turn(cut, end):
                stop = threading.Event()
                work = asyncio.ensure_future(asyncio.to_thread(self._find, expression, limit, stop))
                try:
                    await _first_of(work, cut, end)
                finally:
                    stop.set()
                await asyncio.wait({work})
                if cut.done():
                    work.exception()  # is looked at here, since nobody else does
                    raise CutError("the client went away.")
                return work.result()
        finally:
            self._n_asking -= 1
            cut.cancel()

    @contextlib.asynccontextmanager
    async def _in_turn(self, cut: "asyncio.Future[Any]", end: float) -> AsyncIterator[None]:
        """Wait until there is room for one more question, but not longer than its time or its client."""
        turn = asyncio.ensure_future(self._turn.acquire())
        try:
            await _first_of(turn, cut, end)
            if not turn.done():
                raise CutError("the client went away.") if cut.done() else _busy()
            yield
        finally:
            if not turn.cancel():
                self._turn.release()

    def _find(self, expression: str, limit: int, stop: threading.Event) -> dict[str, Any]:
        with _told():
            query = self.catalogue.parse(expression, listed_by="/v1/models lists")
            if query.n_terms > MOST_TERMS:
                raise ConfigError(
                    f"the expression has {query.n_terms} comparisons and keys of the order; at most {MOST_TERMS} are "
                    "answered here."
                )
            tracks = list(itertools.islice(self.catalogue.find(query, limit=limit + 1, stop=stop), limit + 1))
        plain = [{name: rounded(value) for name, value in track.items()} for track in tracks[:limit]]
        return {"tracks": plain, "more": len(tracks) > limit}


@dataclass(frozen=True, kw_only=True)
class SimilarWish:
    """That tracks are wanted which sound like an upload.

    Attributes:
        catalogue: where they are looked for.
        n: how many.
        min_score: least cosine.
    """

    catalogue: Catalogue
    n: int
    min_score: float

    def answer(self, tagger: "ServedTagger", sound: "DecodedSound") -> Answer:
        """Find tracks.

        Args:
            tagger: of this request, the one of the catalogue.
            sound: the sound.

        Returns:
            JSON with `model`, `duration_s` and `tracks`, each with `path` and `score`.

        Raises:
            NotReadyError: the catalogue cannot be read.
        """
        vector = embedding_of(tagger, sound)  # type: ignore[arg-type]  # a ServedTagger takes a DecodedSound too
        with _told():
            found = self.catalogue.nearest(vector, n=self.n, min_score=self.min_score)
        fields = {
            "model": tagger.name, "duration_s": rounded(sound.duration_s),
            "tracks": [{"path": match.path, "score": rounded(match.score)} for match in found],
        }  # fmt: skip
        return Answer(json.dumps(fields, ensure_ascii=False).encode("utf-8"), JSON)


def add_collection(
    app: "FastAPI",
    service: "Service",
    collection: ServedCatalogue,
    errors: dict[int | str, dict[str, Any]],
    upload: dict[str, Any],
) -> None:
    """Add the routes that ask the catalogue.

    Args:
        app: the application.
        service: does the work.
        collection: what is asked.
        errors: how errors are documented.
        upload: how the body is documented.
    """
    from fastapi import Query
    from pydantic import BaseModel, ConfigDict, Field
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

    most = service.settings.max_tracks

    class FindQuery(BaseModel):
        model_config = ConfigDict(extra="forbid")
        q: str = Field(description="Such as: guitar > 0.5 and 'male vocal' < 0.2 order by piano desc limit 20")
        limit: int = Field(min(FOUND, most), ge=1, le=most, description="At most so many tracks.")

    class SimilarQuery(BaseModel):
        model_config = ConfigDict(extra="forbid")
        n: int = Field(min(DEFAULT_N, most), ge=1, le=most, description="How many tracks.")
        min_score: float = Field(-1, ge=-1, le=1, description="Least cosine of the embeddings.")
        name: str | None = Field(None, description="What the file is called.")

    found = {"description": "The tracks.", "content": {JSON: {"example": FIND_EXAMPLE}}}
    alike = {"description": "The tracks.", "content": {JSON: {"example": SIMILAR_EXAMPLE}}}

    @app.get("/v1/find", response_class=JSONResponse, responses={**errors, 200: found})
    async def find(request: Request, query: Annotated[FindQuery, Query()]) -> JSONResponse:
        """Find tracks of the catalogue by their tags."""

        async def is_cut() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return JSONResponse(await collection.find(query.q, query.limit, is_cut))

    @app.post("/v1/similar", openapi_extra=upload, response_class=Response, responses={**errors, 200: alike})
    async def similar(request: Request, query: Annotated[SimilarQuery, Query()]) -> Response:
        """Find tracks of the catalogue that sound like an upload."""
        wish = SimilarWish(catalogue=collection.catalogue, n=query.n, min_score=query.min_score)
        service.check_room()
        if collection.model is None:
            await service.tagger(None)  # once all are loaded, it is known which it is
        tagger = await service.tagger(collection.model)
        return await answer_sound(service, request, tagger, collection.hop_s, wish.answer)


async def _first_of(work: "asyncio.Future[Any]", cut: "asyncio.Future[Any]", end: float) -> None:
    """Wait until work is done, nobody waits for it any more, or it is too late."""
    await asyncio.wait(
        {work, cut}, timeout=max(0.0, end - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
    )  # fmt: skip


def _busy() -> BusyError:
    return BusyError("others ask the catalogue just now; try again a little later.", {"Retry-After": "2"})


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell who asks what went wrong, but tell the log alone what is wrong with the catalogue."""
    try:
        yield
    except TooLongQuestionError as error:
        raise TooMuchWorkError("the question takes longer than allowed here; ask for less.") from error
    except CatalogueError as error:
        log("catalogue failed", level=logging.ERROR, raised=error)
        raise NotReadyError(
            "the catalogue cannot be read just now; the log says more.", {"Retry-After": "10"}
        ) from error
