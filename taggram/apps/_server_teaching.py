"""Teaching by the service: examples become vectors one by one, vectors become a kit, and a kit tags for a while.

An example is uploaded like any other sound and is not kept: what its vectors are goes back to the client, who sends
those of all examples to be taught. Kits are held in memory, the last used ones, under names that follow from their
content; a client that finds its kit gone sends it again.

Annotations are no text in this file, for the reason that `_server_app` gives.
"""

import asyncio
import base64
import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from taggram.apps._server_answers import JSON, Answer
from taggram.apps._server_learning import Learned, LessonTask
from taggram.apps._server_lesson import MOST_LESSON_MB, lesson_type, packed, read_lesson
from taggram.errors import KitError, UnknownNameError, printable
from taggram.kit import Kit
from taggram.learning._example_worker import embed_example
from taggram.learning._listening import default_layers
from taggram.learning.teach import summary

if TYPE_CHECKING:
    from fastapi import FastAPI

    from taggram.apps._server_decoding import DecodedSound
    from taggram.apps._server_network import ServedTagger
    from taggram.apps._server_work import Service

MOST_KITS = 32  # in memory
MOST_KIT_MB = 8.0
PREFIX = "kit-"
NAME_DIGITS = 12


@dataclass(frozen=True)
class ExampleWish:
    """That a sound is wanted as an example."""

    def answer(self, tagger: "ServedTagger", sound: "DecodedSound") -> Answer:
        """Turn a sound into vectors.

        Args:
            tagger: of this request.
            sound: the sound.

        Returns:
            JSON with `name`, `duration_s`, `notes`, and `example`, which is for `/v1/teach`.
        """
        rate = tagger.model.frontend.sample_rate
        samples = np.concatenate(list(sound))
        found = embed_example(tagger.embedder(default_layers(tagger.model)), (samples, rate), rate)
        fields = {
            "name": sound.name, "model": tagger.name, "duration_s": round(sound.duration_s, 6),
            "notes": list(sound.notes), "example": packed(found),
        }  # fmt: skip
        return Answer(json.dumps(fields, ensure_ascii=False).encode("utf-8"), JSON)


class Kits:
    """The kits that clients brought or taught, the last used ones; threads may use it side by side."""

    def __init__(self) -> None:
        self._taggers: OrderedDict[str, ServedTagger] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, kit: Kit, data: bytes, base: "ServedTagger") -> str:
        """Take a kit in.

        Args:
            kit: the kit.
            data: its file.
            base: the tagger whose network it stands on.

        Returns:
            The name that it is asked for by, always the same for the same file.

        Raises:
            KitError: it was taught on another network.
        """
        name = PREFIX + hashlib.sha256(data).hexdigest()[:NAME_DIGITS]
        tagger = base.with_kit(kit, name)
        if tagger.embedder(kit.layers).n_features() != len(kit.mean):
            raise KitError("the kit is damaged: it wants vectors of another length than its network gives.")
        with self._lock:
            self._taggers[name] = tagger
            self._taggers.move_to_end(name)
            while len(self._taggers) > MOST_KITS:
                self._taggers.popitem(last=False)
        return name

    def tagger(self, name: str) -> "ServedTagger":
        """Give the tagger of a kit.

        Args:
            name: as `add` gave it.

        Returns:
            The tagger.

        Raises:
            UnknownNameError: it is not there any more.
        """
        with self._lock:
            if name not in self._taggers:
                raise UnknownNameError(
                    f"the kit {printable(name)} is not here any more; POST /v1/kits takes it in again."
                )
            self._taggers.move_to_end(name)
            return self._taggers[name]


def add_teaching(app: "FastAPI", service: "Service", errors: dict[int | str, dict[str, Any]]) -> None:
    """Add the routes that teach.

    Args:
        app: the application.
        service: does the work.
        errors: how errors are documented.
    """
    from fastapi import Query
    from pydantic import BaseModel, ConfigDict, Field
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    class KitQuery(BaseModel):
        model_config = ConfigDict(extra="forbid")
        model: str | None = Field(None, description="The model that the kit was taught on, where the kit names a file.")

    body = {"requestBody": {"required": True, "content": {JSON: {"schema": _plain(lesson_type().model_json_schema())}}}}

    async def learn(place: Path, request: Request) -> "tuple[Learned, ServedTagger]":
        lesson = await asyncio.to_thread(lambda: read_lesson(place.read_bytes()))
        offered, base = service.offered(lesson.model), await service.tagger(lesson.model)
        return await service.lessons.learn(LessonTask(str(place), offered.settings), request.receive), base

    @app.post("/v1/teach", openapi_extra=body, response_class=JSONResponse, responses=errors)
    async def teach(request: Request) -> JSONResponse:
        """Make a kit of examples. `kit` is its file in base64, `model` what it can be asked for by."""
        service.lessons.check_room()
        async with service.uploads.take(request, MOST_LESSON_MB) as upload:
            with service.lessons.place():
                learned, base = await learn(upload.path, request)
            await asyncio.to_thread(upload.path.write_bytes, learned.kit)
            kit = await asyncio.to_thread(_load, upload.path)
        name = await asyncio.to_thread(service.kits.add, kit, learned.kit, base)
        return JSONResponse({
            "model": name, "tags": kit.tags, "task": kit.task, "summary": summary(kit), "notes": learned.notes,
            "kit": base64.b64encode(learned.kit).decode("ascii"),
        })  # fmt: skip

    @app.post("/v1/kits", response_class=JSONResponse, responses=errors)
    async def kits(request: Request, query: Annotated[KitQuery, Query()]) -> JSONResponse:
        """Take the file of a kit in, and say what it can be asked for by."""
        async with service.uploads.take(request, MOST_KIT_MB) as upload:
            data = await asyncio.to_thread(upload.path.read_bytes)
            kit = await asyncio.to_thread(_load, upload.path)
        base = await service.tagger(query.model or (kit.model if kit.model in service.models else None))
        name = await asyncio.to_thread(service.kits.add, kit, data, base)
        return JSONResponse({"model": name, "tags": kit.tags, "task": kit.task})


def _load(place: Path) -> Kit:
    """Read a kit; what is wrong with it is said without our name for its file."""
    try:
        return Kit.load(place)
    except KitError as error:
        raise KitError(str(error).replace(printable(str(place)), "the kit")) from error


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Write a schema without definitions of its own, which none of the places within an OpenAPI document has."""
    parts: dict[str, Any] = {f"#/$defs/{name}": part for name, part in schema.pop("$defs", {}).items()}

    def put_in(found: dict[str, Any]) -> Any:
        return parts.get(found.get("$ref", ""), found)

    plain: dict[str, Any] = json.loads(json.dumps(schema), object_hook=put_in)
    return plain
