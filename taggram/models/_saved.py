"""Models in files: weights as safetensors, and in its header a JSON card that says how to build the network again.

The card also lies beside the weights as a JSON file, for people to read; only the one in the header is used, so the two
cannot come apart. Nothing in a file is run.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import taggram
from taggram._files import written_aside
from taggram.errors import ConfigError, TaggramError, WeightsError, printable
from taggram.frontends import FrontendConfig, config_from_dict, config_to_dict, create_frontend
from taggram.models._contract import Task
from taggram.models._registry import MODEL_SUFFIX, model_file
from taggram.models._weights import load_strictly

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel

FORMAT = 1  # of the card; a reader refuses a higher one
CARD_KEY = "taggram"  # in the header of the safetensors file
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "version": str,
    "network": str,
    "options": dict,
    "n_tags": (int, type(None)),
    "new_head_n_tags": (int, type(None)),
    "tags": (list, type(None)),
    "task": str,
    "frontend": dict,
    "sample_bits": (int, type(None)),
}


def save_model(model: TaggingModel, path: Path) -> None:
    """Write a model into a file, whole or not at all.

    Args:
        model: a network that `create_model` or `load_model` made, with whatever head it has now.
        path: NAME.safetensors; the card is also written beside it as NAME.json.

    Raises:
        ConfigError: the file is no .safetensors, or the network cannot be built again by its name and options.
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_file

    if path.suffix != MODEL_SUFFIX:
        raise ConfigError(f"{printable(str(path))}: a model is saved as NAME{MODEL_SUFFIX}.")
    card = json.dumps(describe(model), indent=2)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with written_aside(path) as aside, written_aside(path.with_suffix(".json")) as card_aside:
        save_file(tensors, aside, metadata={CARD_KEY: card})
        card_aside.write_text(card + "\n", encoding="utf-8")
        aside.chmod(stat.S_IMODE(card_aside.stat().st_mode))  # safetensors would keep it to its writer


def describe(model: TaggingModel) -> dict[str, Any]:
    """Say how a model is to be built again.

    Args:
        model: a network that `create_model` or `load_model` made.

    Returns:
        The card: plain values that JSON can hold.

    Raises:
        ConfigError: the network was not made by `create_model`, or an option is no plain value.
    """
    if model.name is None:
        raise ConfigError(
            f"{type(model).__name__} was not made by create_model, so no file could say how to build it again. "
            "Register its builder with register_model and list it in NETWORKS."
        )
    options = {name: _plain(value) for name, value in model.options.items()}
    try:
        json.dumps(options)
    except TypeError as error:
        raise ConfigError(f"an option of {model.name} is no plain value, so it cannot be saved: {error}.") from error
    return {
        "format": FORMAT,
        "version": taggram.__version__,
        "network": model.name.partition(".")[0],
        "options": options,
        "n_tags": model.built_n_tags,
        "new_head_n_tags": model.n_tags if model.has_new_head else None,
        "tags": None if model.tags is None else list(model.tags),
        "task": model.task,
        "frontend": config_to_dict(model.frontend.config),
        "sample_bits": model.frontend.sample_bits,
    }


def load_model(path: str | Path) -> TaggingModel:
    """Read a model that `model.save` wrote.

    Args:
        path: NAME.safetensors, or the folder of a training run.

    Returns:
        The model in evaluation mode, equal to the one that was saved bit for bit.

    Raises:
        WeightsError: the file is missing, damaged or none of ours, or its weights do not fit the network that its card
            names; the message says what differs.
    """
    import torch

    from taggram.models import build_network

    path = model_file(path)
    tensors, card = _read(path)
    options = {
        name: config_from_dict(value) if isinstance(value, Mapping) else value
        for name, value in card["options"].items()
    }
    try:
        with torch.device("meta"):  # nothing is initialised only to be overwritten
            model = build_network(card["network"], card["n_tags"], options)
            if card["new_head_n_tags"] is not None:
                model.reset_head(card["new_head_n_tags"])
        frontend = config_from_dict(card["frontend"])
    except (TaggramError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{printable(str(path))}: taggram {taggram.__version__} cannot build the network of this file, which "
            f"taggram {card['version']} wrote: {error}"
        ) from error
    load_strictly(model, tensors, printable(str(path)))
    if frontend != model.frontend.config:
        model.frontend = create_frontend(frontend)
    model.frontend.sample_bits = card["sample_bits"]
    if card["tags"] is not None and len(card["tags"]) != model.n_tags:
        raise WeightsError(f"{printable(str(path))}: {len(card['tags'])} tags for {model.n_tags} outputs.")
    model.tags = None if card["tags"] is None else tuple(card["tags"])
    model.task = card["task"]
    return model.eval()


def _plain(value: Any) -> Any:
    """Give an option as JSON can hold it."""
    return config_to_dict(value) if isinstance(value, FrontendConfig) else value


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tensors and the card of a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (it is no dict)
    except FileNotFoundError as error:
        raise WeightsError(f"{printable(str(path))}: there is no such file.") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{printable(str(path))}: no safetensors file, or cut short: {error}") from error
    if CARD_KEY not in header:
        raise WeightsError(
            f"{printable(str(path))}: no model of taggram: its header has no card. Write it by model.save."
        )
    return tensors, _checked(header[CARD_KEY], path)


def _checked(text: str, path: Path) -> dict[str, Any]:
    """Read a card and check that it has what it must have, of the kind that it must be."""
    try:
        card: dict[str, Any] = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{printable(str(path))}: its card is no JSON: {error}.") from error
    if isinstance(card, dict) and isinstance(card.get("format"), int) and card["format"] > FORMAT:
        raise WeightsError(
            f"{printable(str(path))}: its card has format {card['format']}, and this taggram knows up to {FORMAT}. "
            "Use a newer taggram."
        )
    wrong = [name for name, kind in FIELDS.items() if not (isinstance(card, dict) and isinstance(card.get(name), kind))]
    if not wrong and card["task"] not in get_args(Task):
        wrong = ["task"]
    if not wrong and not all(isinstance(tag, str) for tag in card["tags"] or []):
        wrong = ["tags"]
    if wrong:
        raise WeightsError(f"{printable(str(path))}: its card lacks {', '.join(wrong)}, or has it of another kind.")
    return {"sample_bits": None, **card}
