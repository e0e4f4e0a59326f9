"""A kit: new tags, taught by examples, on the features of a network. One file, which holds no sound.

It is a safetensors file with its facts as JSON in the header: the tags, the network that it needs (by name and by the
hash of its weights), and the linear map from a vector of features to the scores. The vectors of the examples are in it
too, so that examples can be added and tags taken out later without the old sound. `learning/teach.py` makes kits;
using one needs neither that nor scikit-learn.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

import taggram
from taggram._files import written_aside
from taggram.errors import ConfigError, KitError, MissingKitError, printable

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel

FORMAT = 1  # of the facts; a reader refuses a higher one
HEADER_KEY = "taggram_kit"
SUFFIX = ".safetensors"
NONE_OF_THESE = "none of these"
TUNED = "tuned."  # what the names of a tuned network's tensors begin with in the file
LEAST_NORM = 1e-9
PART = re.compile(r"@[0-9.e+-]+$")  # how the name of an example ends that is a part of a file, such as "@12-12.8"

Floats = NDArray[np.float32]
KitTask = Literal["one", "several"]
"""Whether exactly one tag holds of a sound, or several may."""


@dataclass(frozen=True)
class KitExample:
    """What a kit knows of the sound that it was taught with.

    Attributes:
        name: of the file, from the folder or list of the examples on, with the part that was taken of it.
        tags: names of its tags.
        sound: a hash of its samples, to know it again.
    """

    name: str
    tags: tuple[str, ...]
    sound: str

    @property
    def recording(self) -> str:
        """The name without the part that was taken, so that parts of one recording are known as such."""
        return PART.sub("", self.name)


@dataclass(frozen=True, kw_only=True, eq=False)
class KitRows:
    """The vectors that a kit was fitted on.

    Attributes:
        vectors: (rows, live) float16: with the mean taken off and scaled.
        example: (rows,) int32: which example each is of.
        semitones: (rows,) int8: how much higher it was played than it is.
    """

    vectors: NDArray[np.float16]
    example: NDArray[np.int32]
    semitones: NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kit:
    """Tags that were taught by examples, and all that is needed to tag with them beside the network.

    Attributes:
        tags: names, with `NONE_OF_THESE` last where the kit may answer that.
        task: "one" or "several".
        method: how it was fitted, such as "lda".
        model: the network: a name, or a path as it was given.
        layers: of the network, whose values make the vector.
        features_sha256: of the network's weights and front-end.
        mean: (features,) that are taken off a vector.
        inverse_scale: (features,) that it is multiplied by then; 0 where a feature says nothing.
        weight: (tags, live) for vectors that are rooted and then have the length 1; "none of these" has a row of zeros.
        bias: (tags,); of "none of these" it is the score that the best tag must reach.
        examples: what it was taught with.
        rows: their vectors.
        tuned: changed tensors of the network, by name, where it was tuned on the examples; else empty.
        facts: what else is told of it: how it was fitted, and what cross-validation gave.
    """

    tags: tuple[str, ...]
    task: KitTask
    method: str
    model: str
    layers: tuple[str, ...]
    features_sha256: str
    mean: Floats
    inverse_scale: Floats
    weight: Floats
    bias: Floats
    examples: tuple[KitExample, ...]
    rows: KitRows
    tuned: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_none(self) -> bool:
        """Whether it may answer that none of its tags holds."""
        return NONE_OF_THESE in self.tags

    @property
    def taught_tags(self) -> tuple[str, ...]:
        """The tags that there were examples of."""
        return tuple(tag for tag in self.tags if tag != NONE_OF_THESE)

    def scores(self, vectors: Floats) -> Floats:
        """Score vectors of patches.

        Args:
            vectors: (patches, features), of `layers`.

        Returns:
            (patches, tags), 0 to 1.
        """
        logits = unit_rows(rooted(scaled(vectors, self.mean, self.inverse_scale))) @ self.weight.T + self.bias
        if self.task == "one":
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares: Floats = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
            return shares
        if self.has_none:  # its bias is what the best of the others must reach
            logits[:, -1] -= logits[:, :-1].max(axis=1)
        scores: Floats = (0.5 * (1 + np.tanh(logits / 2))).astype(np.float32)
        return scores

    def check_network(self, model: TaggingModel) -> None:
        """Refuse a network that the kit was not taught on.

        Args:
            model: the network, before it is tuned.

        Raises:
            KitError: it has other weights, another front-end or lacks a layer.
        """
        from taggram.models._fingerprint import features_sha256

        if features_sha256(model) != self.features_sha256:
            raise KitError(
                f"the kit was taught on {printable(self.model)} with other weights, or another front-end, than the "
                "network at hand has. Give that network as model (--model), or teach the kit again."
            )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the kit into a file, whole or not at all.

        Args:
            path: NAME.safetensors. Another kit may be there and is replaced; anything else is left alone.

        Raises:
            ConfigError: the name has another ending, or the file is there and is no kit.
            KitError: something in the kit does not fit together, so that it could not be read again.
            OSError: it cannot be written.
        """
        path = check_kit_path(path)
        data = self.to_bytes()
        with written_aside(path) as aside, aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def to_bytes(self) -> bytes:
        """Give the bytes of the kit's file, which are the same for the same kit.

        Returns:
            What `load` reads.

        Raises:
            KitError: something in the kit does not fit together, so that it could not be read again.
        """
        from safetensors.numpy import save

        if wrong := _what_is_wrong(self):
            raise KitError(f"this kit cannot be saved: {wrong}.")
        header = {
            "format": FORMAT, "version": taggram.__version__, "tags": list(self.tags), "task": self.task,
            "method": self.method, "model": self.model, "layers": list(self.layers),
            "features_sha256": self.features_sha256, "facts": dict(self.facts),
            "examples": [[example.name, list(example.tags), example.sound] for example in self.examples],
        }  # fmt: skip
        tensors: dict[str, NDArray[Any]] = {
            "mean": self.mean, "inverse_scale": self.inverse_scale, "weight": self.weight, "bias": self.bias,
            "rows.vectors": self.rows.vectors, "rows.example": self.rows.example, "rows.semitones": self.rows.semitones,
            **{TUNED + name: array for name, array in self.tuned.items()},
        }  # fmt: skip
        whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        return save(whole, metadata={HEADER_KEY: json.dumps(header)})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a kit.

        Args:
            path: a file that `save` wrote.

        Returns:
            The kit.

        Raises:
            KitError: the file is missing, damaged, no kit, or of a newer taggram.
        """
        path = Path(path)
        header, tensors = _read(path)
        try:
            kit = cls(
                tags=tuple(header["tags"]),
                task=header["task"],
                method=header["method"],
                model=header["model"],
                layers=tuple(header["layers"]),
                features_sha256=header["features_sha256"],
                facts=header["facts"],
                mean=tensors["mean"],
                inverse_scale=tensors["inverse_scale"],
                weight=tensors["weight"],
                bias=tensors["bias"],
                examples=tuple(KitExample(name, tuple(tags), sound) for name, tags, sound in header["examples"]),
                rows=KitRows(**{name: tensors[f"rows.{name}"] for name in ("vectors", "example", "semitones")}),
                tuned={name.removeprefix(TUNED): tensors[name] for name in tensors if name.startswith(TUNED)},
            )
            wrong = _what_is_wrong(kit)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, f"it lacks {error}") from error
        if wrong:
            raise _damaged(path, wrong)
        return kit


def open_kit(kit: Kit | str | PathLike[str]) -> Kit:
    """Give a kit that is given, or read the one that is named.

    Args:
        kit: a kit, or its file.

    Returns:
        The kit.

    Raises:
        KitError: the file cannot be used.
    """
    return kit if isinstance(kit, Kit) else Kit.load(kit)


def check_kit_path(path: str | PathLike[str]) -> Path:
    """Refuse a place that no kit may be written to.

    Args:
        path: where a kit is to be written.

    Returns:
        The same, as a path.

    Raises:
        ConfigError: the name has another ending, there is no such folder, it cannot be written to, or a file is there
            that is no kit.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ConfigError(f"{printable(str(path))}: a kit is saved as NAME{SUFFIX}.")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {printable(str(path.parent))} to write {printable(path.name)} into.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"the folder {printable(str(path.parent))} cannot be written to.")
    if path.exists() and not is_kit(path):
        raise ConfigError(f"{printable(str(path))} is there and is no kit, so it is left alone; choose another name.")
    return path


def is_kit(path: Path) -> bool:
    """Tell whether a file is a kit, also one that this taggram cannot use."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stream:
            return HEADER_KEY in (stream.metadata() or {})
    except (OSError, SafetensorError):
        return False


def scaled(vectors: NDArray[Any], mean: Floats, inverse_scale: Floats) -> NDArray[Any]:
    """Standardise vectors and leave out what says nothing.

    Args:
        vectors: (rows, features).
        mean: (features,).
        inverse_scale: (features,), 0 where a feature says nothing.

    Returns:
        (rows, live).
    """
    live = inverse_scale > 0
    rows: NDArray[Any] = (vectors[:, live] - mean[live]) * inverse_scale[live]
    return rows


def rooted(rows: NDArray[Any]) -> NDArray[Any]:
    """Take the square root of each value, its sign kept, so that no single feature outweighs all others."""
    roots: NDArray[Any] = np.sign(rows) * np.sqrt(np.abs(rows))
    return roots


def unit_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Set the length of each row to 1; one of no length stays 0."""
    unit: NDArray[Any] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LEAST_NORM)
    return unit


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the facts and the arrays of a file."""
    from safetensors import SafetensorError, safe_open

    name = printable(str(path))
    try:
        with safe_open(path, framework="np") as stream:
            metadata = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (it is no dict)
    except FileNotFoundError as error:
        quoted = f'"{name}"' if " " in name else name
        raise MissingKitError(
            f"{name}: there is no such kit; `taggram teach FOLDER --kit {quoted}` makes one."
        ) from error
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise KitError(f"{name}: no safetensors file, or cut short: {error}") from error
    if HEADER_KEY not in metadata:
        raise KitError(f"{name}: no kit of taggram; `taggram teach` makes kits, and --model takes models.")
    try:
        header = json.loads(metadata[HEADER_KEY])
    except (json.JSONDecodeError, RecursionError) as error:
        raise _damaged(path, f"its facts are no JSON ({error})") from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise _damaged(path, "its facts have no format")
    if header["format"] > FORMAT:
        raise KitError(
            f"{name}: a kit of format {header['format']}, written by taggram {header.get('version')}; this taggram "
            f"knows up to {FORMAT}. Use a newer taggram."
        )
    return header, tensors


def _what_is_wrong(kit: Kit) -> str:
    """Say what in a kit does not fit together, or ""."""
    if kit.task not in get_args(KitTask):
        return f"its task is {kit.task!r}"
    texts = (*kit.tags, *kit.layers, kit.method, kit.model, kit.features_sha256)
    if not kit.tags or not kit.layers or not all(isinstance(text, str) for text in texts):
        return "its tags, layers or names are no text"
    if not isinstance(kit.facts, dict):
        return "its facts are no object"
    if len(set(kit.tags)) < len(kit.tags) or NONE_OF_THESE in kit.tags[:-1]:
        return f"a tag comes twice, or {NONE_OF_THESE!r} before others"
    n_live = int(np.count_nonzero(kit.inverse_scale > 0))
    n_rows, n_tags, n_features = len(kit.rows.example), len(kit.tags), len(kit.mean)
    shapes: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "mean": (kit.mean, (n_features,)),
        "inverse_scale": (kit.inverse_scale, (n_features,)),
        "weight": (kit.weight, (n_tags, n_live)),
        "bias": (kit.bias, (n_tags,)),
        "rows.vectors": (kit.rows.vectors, (n_rows, n_live)),
        "rows.example": (kit.rows.example, (n_rows,)),
        "rows.semitones": (kit.rows.semitones, (n_rows,)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            return f"{name} has the shape {array.shape}, and {shape} is wanted"
    numbers = {**{name: array for name, (array, _) in shapes.items()}, **kit.tuned}
    for name, array in numbers.items():
        kind = "i" if name in {"rows.semitones", "rows.example"} else "f"
        if array.dtype.kind != kind:
            return f"{name} holds {array.dtype}, and {'whole numbers' if kind == 'i' else 'floats'} are wanted"
        if not np.isfinite(array).all():
            return f"some of {name} is no finite number"
    if n_rows and not 0 <= kit.rows.example.min() <= kit.rows.example.max() < len(kit.examples):
        return "its vectors are of examples that it does not name"
    return ""


def _damaged(path: Path, reason: str) -> KitError:
    return KitError(f"{printable(str(path))} is damaged: {reason}. Teach it again.")
