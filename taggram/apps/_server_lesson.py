"""What is sent to be taught: examples as text, and the object that holds them, with its limits."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from taggram.errors import ConfigError, printable
from taggram.learning._example_worker import MOST_PATCHES, SEMITONES, EmbeddedExample

if TYPE_CHECKING:
    from pydantic import BaseModel

MOST_LESSON_MB = 50.0  # as many examples as may be, each with all of its rows
MOST_EXAMPLES = 500
MOST_TAGS = 100
MOST_ROWS = len(SEMITONES) * MOST_PATCHES  # of an example
TENSORS = ("vectors", "semitones")
NO_EXAMPLE = "an example is none that /v1/examples gave."


@functools.cache
def lesson_type() -> type[BaseModel]:
    """Make the type of the object that is sent to be taught, since pydantic comes with an extra."""
    from pydantic import BaseModel, ConfigDict, Field

    class Example(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = Field("", max_length=200, description="What the example is called.")
        tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(max_length=MOST_TAGS)
        example: str = Field(description="As /v1/examples gave it.")

    class Lesson(BaseModel):
        model_config = ConfigDict(extra="forbid")
        model: str | None = Field(None, description="The model that the examples were given to.")
        task: Literal["one", "several"] = Field("one", description="Whether exactly one tag holds, or several may.")
        none_of_these: bool = Field(False, description="Whether the kit may answer that none of its tags holds.")
        examples: list[Example] = Field(min_length=1, max_length=MOST_EXAMPLES)

    return Lesson


def read_lesson(data: bytes) -> Any:
    """Read what was sent to be taught.

    Args:
        data: JSON.

    Returns:
        An object with `model`, `task`, `none_of_these` and `examples`, each of these with `name`, `tags` and `example`.

    Raises:
        ConfigError: it is no such object, or has more tags than are taken.
    """
    from pydantic import ValidationError

    try:
        lesson: Any = lesson_type().model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ConfigError(f"{printable(where) or 'the body'}: {fault['msg']}.") from error
    n_tags = len({tag for one in lesson.examples for tag in one.tags})
    if n_tags > MOST_TAGS:
        raise ConfigError(
            f"the examples have {n_tags} tags; {MOST_TAGS} at most are taught here, more by `taggram teach`."
        )
    return lesson


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
    except (binascii.Error, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(NO_EXAMPLE) from error
    fits = vectors.dtype == np.float16 and vectors.ndim == 2 and semitones.dtype == np.int8
    fits = fits and semitones.shape == vectors.shape[:1] and 0 < len(vectors) <= MOST_ROWS
    if not (fits and np.isfinite(vectors).all()):
        raise ConfigError(NO_EXAMPLE)
    return EmbeddedExample(vectors.astype(np.float32), semitones, str(sound), ())
