"""What the service answers with: the JSON of the command line, a picture, or an embedding."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram.apps._outputs import DEFAULT_TOP, SCORE_DIGITS, TIME_DIGITS, tag_fields

if TYPE_CHECKING:
    from taggram.apps._server_decoding import DecodedSound
    from taggram.apps._server_network import ServedTagger
    from taggram.results import Taggram

JSON = "application/json"
PNG = "image/png"
NPZ = "application/x-npz"
NAMELESS = "sound"  # title of a picture where the client gave no name
WEIGHT = re.compile(r"[01](\.\d{0,3})?")  # in the header `Accept`
_DRAWING = threading.Lock()  # matplotlib is not made for several threads


@dataclass(frozen=True)
class Answer:
    """What a request is answered with.

    Attributes:
        body: its bytes.
        media_type: their type.
    """

    body: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class TagWish:
    """How tags are wanted.

    Attributes:
        top: at most so many; None is 3, or all with a threshold.
        threshold: least score.
        over_time: whether the scores of each patch are wanted too.
        picture: whether the picture is wanted within the JSON.
        only_picture: whether the picture is wanted in place of the JSON.
    """

    top: int | None
    threshold: float
    over_time: bool
    picture: bool
    only_picture: bool

    def answer(self, tagger: ServedTagger, sound: DecodedSound) -> Answer:
        """Tag a sound.

        Args:
            tagger: of this request.
            sound: the sound.

        Returns:
            The object of `taggram tag --format json`, without `path` where the client gave no name; or a PNG.
        """
        result = tagger.tag(sound)  # type: ignore[arg-type]  # a ServedTagger takes a DecodedSound too
        if self.only_picture:
            return Answer(_picture(result, sound), PNG)
        top = DEFAULT_TOP if self.top is None and self.threshold == 0 else self.top
        fields = _named(tag_fields(result, top, self.threshold, self.over_time))
        if self.picture:
            fields["picture"] = f"data:{PNG};base64,{base64.b64encode(_picture(result, sound)).decode('ascii')}"
        return _as_json(fields)


@dataclass(frozen=True, kw_only=True)
class EmbedWish:
    """How an embedding is wanted.

    Attributes:
        layer: name of a layer; None is the last.
        mean: whether one row is wanted, the mean over all.
        as_npz: whether as a file of numpy, in place of JSON.
    """

    layer: str | None
    mean: bool
    as_npz: bool

    def answer(self, tagger: ServedTagger, sound: DecodedSound) -> Answer:
        """Embed a sound.

        Args:
            tagger: of this request.
            sound: the sound.

        Returns:
            JSON with `path` where the client gave a name, `model`, `layer`, `duration_s`, `notes`, `times_s` and
            `features`; or npz with the last two.
        """
        import numpy as np

        result = tagger.embed_whole(sound, layer=self.layer)  # type: ignore[arg-type]  # as above
        if self.mean:
            result = result.mean()
        if self.as_npz:
            file = io.BytesIO()
            np.savez(file, times_s=result.times_s, features=result.features)
            return Answer(file.getvalue(), NPZ)
        fields = {
            "path": result.path,
            "model": result.model,
            "layer": result.layer,
            "duration_s": round(sound.duration_s, TIME_DIGITS),
            "notes": list(result.notes),
            "times_s": [round(float(time_s), TIME_DIGITS) for time_s in result.times_s],
            "features": np.round(result.features.astype(float), SCORE_DIGITS).tolist(),
        }
        return _as_json(_named(fields))


def wants_picture(accept: str) -> bool:
    """Say whether a picture is wanted in place of JSON.

    Args:
        accept: the header `Accept`.

    Returns:
        Whether it names pictures, and JSON not or with less weight; what takes anything is given JSON.
    """
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *options = (piece.strip() for piece in part.split(";"))
        given = next((option[2:] for option in options if option.startswith("q=")), "1")
        weights[kind] = float(given) if WEIGHT.fullmatch(given) else 0.0
    return max(weights.get(PNG, 0), weights.get("image/*", 0)) > weights.get(JSON, 0)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave the path out where the client gave none."""
    return fields if fields["path"] else {name: value for name, value in fields.items() if name != "path"}


def _as_json(fields: dict[str, Any]) -> Answer:
    return Answer(json.dumps(fields, ensure_ascii=False).encode("utf-8"), JSON)


def _picture(result: Taggram, sound: DecodedSound) -> bytes:
    """Draw the picture of a result."""
    from taggram.picture import save_picture

    place = Path(f"{sound.samples}.png")
    with _DRAWING:
        save_picture(replace(result, path=result.path or NAMELESS).plot(), place)
    try:
        return place.read_bytes()
    finally:
        place.unlink()
