"""A catalogue that the service answers for: tracks by their tags, and tracks that sound like an upload.

Annotations are no text in this file, for the reason that `_server_app` gives.
"""

import asyncio
import itertools
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from taggram.apps._asking import rounded
from taggram.apps._server_answers import JSON, Answer
from taggram.apps._server_errors import BusyError, NotReadyError, TooMuchWorkError
from taggram.apps._server_log import log
from taggram.apps._server_requests import answer_sound
from taggram.catalogue.asking import Catalogue, embedding_of
from taggram.catalogue.expression import COLUMNS
from taggram.catalogue.similar import DEFAULT_N
from taggram.errors import CatalogueError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from taggram.apps._server_decoding import DecodedSound
    from taggram.apps._server_network import ServedTagger
    from taggram.apps._server_work import Service

AT_ONCE = 2  # questions by tags, each of which takes all cores
MOST_ASKING = 16  # that are answered or wait
FOUND = 100  # tracks where the request says nothing
FIND_EXAMPLE = {"tracks": [{"path": "/music/a.mp3", "guitar": 0.91, "vocal": 0.02}], "more": False}
SIMILAR_EXAMPLE = {"model": "musicnn.mtt", "duration_s": 29.2, "tracks": [{"path": "/music/a.mp3", "score": 0.97}]}


@dataclass
class ServedCatalogue:
    """A catalogue that the service answers for.

    Attributes:
        catalogue: it.
        model: the served model that tagged it.
        tags: its tags.
        hop_s: the step between patches that it was tagged with, in seconds.
    """

    catalogue: Catalogue
    model: str
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

    async def find(self, expression: str, limit: int, timeout_s: float) -> dict[str, Any]:
        """Find tracks by their tags.

        Args:
            expression: what is asked.
            limit: at most so many.
            timeout_s: time after which the catalogue gives up, in seconds.

        Returns:
            `tracks`, and whether there would be `more`.

        Raises:
            BusyError: too many ask.
            ConfigError: it is no expression.
            UnknownNameError: it names a tag that is not there.
            TooMuchWorkError: it takes too long.
            NotReadyError: the catalogue cannot be read.
        """
        if self._n_asking >= MOST_ASKING:
            raise BusyError("others ask the catalogue just now; try again a little later.", {"Retry-After": "2"})
        self._n_asking += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(self._find, expression, limit, timeout_s)
        finally:
            self._n_asking -= 1

    def _find(self, expression: str, limit: int, timeout_s: float) -> dict[str, Any]:
        begun = time.monotonic()
        try:
            tracks = list(itertools.islice(self.catalogue.find(expression, limit=limit + 1), limit + 1))
        except CatalogueError as error:
            if time.monotonic() - begun >= timeout_s:
                raise TooMuchWorkError(str(error)) from error
            raise _unreadable(error) from error
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
        try:
            found = self.catalogue.nearest(vector, n=self.n, min_score=self.min_score)
        except CatalogueError as error:
            raise _unreadable(error) from error
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
    async def find(query: Annotated[FindQuery, Query()]) -> JSONResponse:
        """Find tracks of the catalogue by their tags."""
        return JSONResponse(await collection.find(query.q, query.limit, service.settings.work_s))

    @app.post("/v1/similar", openapi_extra=upload, response_class=Response, responses={**errors, 200: alike})
    async def similar(request: Request, query: Annotated[SimilarQuery, Query()]) -> Response:
        """Find tracks of the catalogue that sound like an upload."""
        wish = SimilarWish(catalogue=collection.catalogue, n=query.n, min_score=query.min_score)
        service.check_room()
        tagger = await service.tagger(collection.model)
        return await answer_sound(service, request, tagger, collection.hop_s, wish.answer)


def _unreadable(error: CatalogueError) -> NotReadyError:
    """Tell the log, and not who asks, what is wrong with the catalogue."""
    log("catalogue failed", level=logging.ERROR, raised=error)
    return NotReadyError("the catalogue cannot be read just now; the log says more.", {"Retry-After": "10"})
