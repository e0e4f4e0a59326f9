"""The register of networks and of trained weights. Listing either loads no torch."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from taggram.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel, Task

MODEL_SUFFIX = ".safetensors"  # of the file that `model.save` writes
ONNX_SUFFIX = ".onnx"  # of the file that `model.export_onnx` writes

Engine = Literal["torch", "onnx"]
"""What runs a network: torch, in its quickest form, or onnxruntime."""

Precision = Literal["float32", "bfloat16", "int8"]
"""In which numbers a network computes; its front-end and its head always do in float32."""

Builder = Callable[..., "TaggingModel"]
BuilderT = TypeVar("BuilderT", bound=Builder)

_NETWORKS: dict[str, NetworkFacts] = {}


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """A wheel on the package index.

    Attributes:
        requirement: what pip is asked for, such as "musicnn==0.1.0".
        file: name of the wheel.
        size: bytes.
        sha256: hexadecimal digest of the wheel.
    """

    requirement: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """The data file of a TensorFlow checkpoint: tensors one after the other, float32, little-endian.

    Attributes:
        member: where it lies in the wheel or the source repository.
        size: bytes.
        sha256: hexadecimal digest, or None where it is not known; the tensors' checksums are checked then.
    """

    member: str
    size: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class SourceTensor:
    """Where one parameter lies in the data file.

    Attributes:
        parameter: its name in our network.
        shape: its shape in the data file.
        order: "as_is", "dense", "conv1d" or "conv2d": how its axes are put into torch's order.
        offset: first byte.
        crc32c_masked: hexadecimal CRC-32C of its bytes, masked as TensorFlow does.
    """

    parameter: str
    shape: tuple[int, ...]
    order: str
    offset: int
    crc32c_masked: str


@dataclass(frozen=True, kw_only=True)
class WeightsCard:
    """The facts about one set of trained weights.

    Attributes:
        name: "network.weights", as in `create_model`.
        network: the network they belong to.
        options: the network's options that they were trained with.
        title: what it is, in a few words.
        tags: name of the vocabulary.
        task: "several" or "one", see `Task`.
        n_parameters: trainable parameters, head included.
        licence: of the weights.
        citation: the paper.
        source: where the weights come from.
        published: the scores that the source states, such as roc_auc and pr_auc, with data_set, split and source.
        note: what else one should know, or "".
        wheel: the wheel that holds them, or None where they are given by hand.
        data_file: the file that holds them.
        tensors: the parameters in it.
        other_tensors: (offset, size, masked CRC-32C) of what else it holds, to be checked where no digest is known.
    """

    name: str
    network: str
    options: dict[str, Any]
    title: str
    tags: str
    task: Task
    n_parameters: int
    licence: str
    citation: str
    source: str
    published: dict[str, Any]
    note: str
    wheel: WheelFile | None
    data_file: DataFile
    tensors: tuple[SourceTensor, ...]
    other_tensors: tuple[tuple[int, int, str], ...]

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The tags, in the order of the outputs."""
        return load_vocabulary(self.tags)


@dataclass(frozen=True)
class NetworkFacts:
    """What its module says of a network.

    Attributes:
        name: as in `create_model`.
        paper: who, where and when, in a few words.
        n_tags: number of outputs in the paper, or None for a network that gives an embedding or features.
        build: takes `n_tags` (or None for no head) and the network's options by name.
    """

    name: str
    paper: str
    n_tags: int | None
    build: Builder

    @property
    def options(self) -> dict[str, Any]:
        """The network's own options with their defaults."""
        parameters = inspect.signature(self.build).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "n_tags"}


def register_model(*, paper: str, n_tags: int | None) -> Callable[[BuilderT], BuilderT]:
    """Put a network into the register, under the name of the function that builds it.

    Args:
        paper: who, where and when, such as "Pons and Serra, ISMIR 2019".
        n_tags: number of outputs in the paper, or None for a network that gives an embedding or features.

    Returns:
        A decorator for the builder, which takes `n_tags` (or None for no head) and the network's options by name.
    """

    def register(builder: BuilderT) -> BuilderT:
        name = builder.__name__
        if name in _NETWORKS:
            raise ValueError(f"two networks are named {name!r}; names are for ever, so choose another.")
        _NETWORKS[name] = NetworkFacts(name, paper, n_tags, builder)
        return builder

    return register


def find_network(module: str, network: str) -> NetworkFacts:
    """Import the module that holds a network and give what it says.

    Args:
        module: name of the module in `taggram.models`.
        network: name of the network.

    Returns:
        What `register_model` stored.
    """
    importlib.import_module(f"taggram.models.{module}")
    return _NETWORKS[network]


def is_model_file(name: object) -> bool:
    """Tell whether a model is named by its file, or the folder of its training, and not by its name in the register."""
    if not isinstance(name, str | PathLike):
        return False
    text = fsdecode(name)
    return text.endswith(MODEL_SUFFIX) or (text not in read_cards() and Path(text).is_dir())


def model_file(name: str | PathLike[str]) -> Path:
    """Give the file of a model that `is_model_file` takes for one.

    Args:
        name: NAME.safetensors, or the folder of a training run.

    Returns:
        The file, which need not be there.
    """
    path = Path(fsdecode(name))
    return path / f"model{MODEL_SUFFIX}" if path.is_dir() else path


def title_of(name: str | PathLike[str]) -> str:
    """Give what a model in a file is called: the name of the file, or of the folder of its training run."""
    path = Path(fsdecode(name))
    return path.resolve().name if path.is_dir() else path.stem


@functools.cache
def read_cards() -> dict[str, WeightsCard]:
    """Read the cards of all trained weights, by name; they lie beside this file as JSON."""
    folder = resources.files("taggram.models").joinpath("cards")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name)
    cards = [_read_card(json.loads(entry.read_text(encoding="utf-8"))) for entry in files]
    return {card.name: card for card in cards}


def _read_card(facts: dict[str, Any]) -> WeightsCard:
    """Turn the JSON of a card into the card."""
    wheel = WheelFile(**facts.pop("wheel")) if facts["wheel"] else facts.pop("wheel")
    data_file = DataFile(**facts.pop("data_file"))
    tensors = tuple(SourceTensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in facts.pop("tensors"))
    others = tuple((offset, size, crc) for offset, size, crc in facts.pop("other_tensors"))
    return WeightsCard(wheel=wheel, data_file=data_file, tensors=tensors, other_tensors=others, **facts)
