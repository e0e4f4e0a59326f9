"""`taggram export`: from the words of a command line to an ONNX file that was compared with torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram.apps._options import parse_options
from taggram.apps._progress import say
from taggram.errors import ConfigError, printable
from taggram.kit import is_kit
from taggram.models import NETWORKS, check_name, create_model, find_facts
from taggram.models._registry import ONNX_SUFFIX, is_model_file, model_file

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel
    from taggram.models._onnx_file import OnnxFile


def export_network(name: str, out: Path, words: Sequence[str], seed: int) -> None:
    """Write a network as ONNX; print where it is, and say how it compares with torch.

    Args:
        name: a trained model, a network, the folder of a training, or a .safetensors file.
        out: the file to write, NAME.onnx.
        words: options of a network, as KEY=VALUE; `n_tags` is by default as in its paper.
        seed: of the weights of a network that is not trained.

    Raises:
        UnknownNameError: there is no such model.
        ConfigError: an option makes no sense, or the file cannot be written there.
        WeightsError: the weights cannot be had.
        ExportError: torch cannot export the network, or the file does not give the same.
        MissingExtraError: the extra `export` is not installed.
        OSError: the file cannot be written.
    """
    _check_place(out)
    options = parse_options(words)
    _check_name(name, options)
    model = _load(name, options, seed)
    say(f"exporting {printable(name)} and comparing it with torch")
    written = model.export_onnx(out)
    say(_summary(written))
    print(printable(str(out)))


def _check_place(out: Path) -> None:
    """Refuse a file that cannot be written, before any work is done."""
    shown = printable(str(out))
    if out.suffix != ONNX_SUFFIX or out.is_dir():
        raise ConfigError(f"{shown}: a network is exported into a file, NAME{ONNX_SUFFIX}.")
    if not out.parent.is_dir():
        raise ConfigError(f"there is no folder {printable(str(out.parent))} to write {printable(out.name)} into.")
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"the folder {printable(str(out.parent))} cannot be written to.")


def _check_name(name: str, options: dict[str, Any]) -> None:
    """Refuse what is no network, before torch is loaded."""
    if not is_model_file(name):
        check_name(name)
        return
    file = model_file(name)
    shown = printable(str(file))
    if options:
        raise ConfigError("options are for a network given by name; one in a file has its own.")
    if not file.is_file():
        raise ConfigError(f"there is no model file {shown}.")
    if is_kit(file):
        raise ConfigError(f"{shown} is a kit, and kits cannot be exported; the network that it was taught on can.")


def _load(name: str, options: dict[str, Any], seed: int) -> TaggingModel:
    import torch

    from taggram.models._saved import load_model

    if is_model_file(name):
        return load_model(name)
    if name in NETWORKS:
        say(f"{name} is not trained: its weights are drawn with seed {seed}.")
        options.setdefault("n_tags", find_facts(name).n_tags)
    torch.manual_seed(seed)
    return create_model(name, **options).eval()


def _summary(written: OnnxFile) -> str:
    """Say what was written and how it compares, in one line."""
    from taggram.models._onnx_file import SCORES

    lengths = " and ".join(f"{n_samples:,}" for n_samples in written.n_samples)
    unit = "" if written.output == SCORES else " of 1 + the value"
    return (
        f"{printable(str(written.path))}: {written.n_bytes / 1e6:.1f} MB, {written.output} differ from torch by "
        f"{written.difference:.1e}{unit} at most, on sounds of {lengths} samples"
    )
