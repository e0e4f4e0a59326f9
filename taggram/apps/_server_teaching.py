"""Teaching by the service: examples become vectors one by one, vectors become a kit, and a kit tags for a while.

An example is uploaded like any other sound and is not kept: what its vectors are goes back to the client, who sends
those of all examples to be taught. Kits are held in memory, the last used ones, under names that follow from their
content; a client that finds its kit gone sends it again.

Annotations are no text in this file, for the reason that `_server_app` gives.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from taggram.apps._server_answers import JSON, Answer
from taggram.apps._server_errors import BusyError, TooLargeError
from taggram.apps._server_settings import MB
from taggram.errors import ConfigError, KitError, UnknownNameError, printable
from taggram.kit import Kit
from taggram.learning._example_worker import EmbeddedExample, embed_example
from taggram.learning._listening import default_layers
from taggram.learning.teach import summary, teach_embedded

if TYPE_CHECKING:
    from fastapi import FastAPI

    from taggram.apps._server_decoding import DecodedSound
    from taggram.apps._server_network import ServedTagger
    from taggram.apps._server_work import Service

MOST_KITS = 32  # in memory
MOST_KIT_MB = 8.0
MOST_EXAMPLES = 500
MOST_LEARNING = 4  # requests that learn or wait to
PREFIX = "kit-"
NAME_DIGITS = 12
TENSORS = ("vectors", "semitones")


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
        self.learning = asyncio.Semaphore(1)
        self.n_learning = 0

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


def packed(example: EmbeddedExample) -> str:
    """Write an example as text: safetensors in base64."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {
        "vectors": example.vectors.astype(np.float16),
        "semitones": example.semitones,
    }
    return base64.b64encode(save(tensors, {"sound": example.sound})).decode("ascii")


def unpacked(text: str) -> EmbeddedExample:
    """Read an example that `packed` wrote.

    Args:
        text: the text.

    Returns:
        The example.

    Raises:
        ConfigError: it is something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = base64.b64decode(text, validate=True)
        length = int.from_bytes(data[:8], "little")
        sound = json.loads(data[8 : 8 + length])["__metadata__"]["sound"]
        vectors, semitones = (load(data)[name] for name in TENSORS)
    except (binascii.Error, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("an example is none that /v1/examples gave.") from error
    fits = vectors.dtype == np.float16 and vectors.ndim == 2 and semitones.dtype == np.int8
    if not (fits and semitones.shape == vectors.shape[:1] and len(vectors) and np.isfinite(vectors).all()):
        raise ConfigError("an example is none that /v1/examples gave.")
    return EmbeddedExample(vectors.astype(np.float32), semitones, str(sound), ())


def add_teaching(app: "FastAPI", service: "Service", errors: dict[int | str, dict[str, Any]]) -> None:
    """Add the routes that teach.

    Args:
        app: the application.
        service: does the work.
        errors: how errors are documented.
    """
    from fastapi import Query
    from pydantic import BaseModel, ConfigDict, Field, ValidationError
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    class Taught(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = Field("", max_length=200, description="What the example is called.")
        tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(max_length=100)
        example: str = Field(description="As /v1/examples gave it.")

    class Lesson(BaseModel):
        model_config = ConfigDict(extra="forbid")
        model: str | None = Field(None, description="The model that the examples were given to.")
        task: Literal["one", "several"] = Field("one", description="Whether exactly one tag holds, or several may.")
        none_of_these: bool = Field(False, description="Whether the kit may answer that none of its tags holds.")
        examples: list[Taught] = Field(min_length=1, max_length=MOST_EXAMPLES)

    class KitQuery(BaseModel):
        model_config = ConfigDict(extra="forbid")
        model: str | None = Field(None, description="The model that the kit was taught on, where the kit names a file.")

    def read(data: bytes) -> Lesson:
        try:
            return Lesson.model_validate_json(data)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise ConfigError(f"{printable(where) or 'the body'}: {fault['msg']}.") from error

    def learn(lesson: Lesson, base: "ServedTagger") -> tuple[Kit, bytes, tuple[str, ...]]:
        examples = [(one.name, tuple(one.tags), unpacked(one.example)) for one in lesson.examples]
        taught = teach_embedded(examples, base, task=lesson.task, none_of_these=lesson.none_of_these)
        return taught.kit, taught.kit.to_bytes(), taught.notes

    body = {"requestBody": {"required": True, "content": {JSON: {"schema": Lesson.model_json_schema()}}}}

    @app.post("/v1/teach", openapi_extra=body, response_class=JSONResponse, responses=errors)
    async def teach(request: Request) -> JSONResponse:
        """Make a kit of examples. `kit` is its file in base64, `model` what it can be asked for by."""
        kits = service.kits
        async with service.uploads.take(request) as upload:  # with the limits of all uploads
            lesson = await asyncio.to_thread(lambda: read(upload.path.read_bytes()))
        base = await service.tagger(lesson.model)
        if kits.n_learning >= MOST_LEARNING:
            raise BusyError("others are taught just now; try again a little later.", {"Retry-After": "5"})
        kits.n_learning += 1
        try:
            async with kits.learning:
                kit, data, notes = await asyncio.to_thread(learn, lesson, base)
        finally:
            kits.n_learning -= 1
        name = await asyncio.to_thread(kits.add, kit, data, base)
        return JSONResponse({
            "model": name, "tags": kit.tags, "task": kit.task, "summary": summary(kit), "notes": notes,
            "kit": base64.b64encode(data).decode("ascii"),
        })  # fmt: skip

    @app.post("/v1/kits", response_class=JSONResponse, responses=errors)
    async def kits(request: Request, query: Annotated[KitQuery, Query()]) -> JSONResponse:
        """Take the file of a kit in, and say what it can be asked for by."""
        async with service.uploads.take(request) as upload:
            if upload.n_bytes > MOST_KIT_MB * MB:
                raise TooLargeError(
                    f"a kit of more than {MOST_KIT_MB:g} MB; larger ones are for `taggram serve --kit`."
                )
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
