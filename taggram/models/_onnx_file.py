"""A network as an ONNX file of its own: waveform in, scores out, and all that one must know of it inside."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import taggram
from taggram._files import written_aside
from taggram._matrix_frontend import MatrixFrontend
from taggram.errors import ConfigError, printable
from taggram.models import list_models, load_card
from taggram.models._onnx_check import check_difference, difference, made_sound
from taggram.models._onnx_graph import trace
from taggram.models._onnx_session import Session
from taggram.models._registry import ONNX_SUFFIX
from taggram.models._saved import describe

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

    from taggram.models._contract import TaggingModel

WAVEFORM = "waveform"  # name of the input
SCORES = "scores"  # of the output of a network with tags; of others it is the name of their task
BATCHES = (1, 3, 2)  # sounds at once that are compared; the graph is made with two
LONGER = 1.5  # patches of the longest sound that is compared, where the length is free
PARTS_OF_CARD = ("title", "citation", "source", "published", "note")  # of trained weights, that go into the file


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """What was written, and how it compares with torch.

    Attributes:
        path: the file.
        n_bytes: its size.
        output: name of the output: "scores", "embedding" or "features".
        n_samples: lengths of the sounds that were compared.
        difference: the largest between onnxruntime and torch; what is no score, as a share of 1 + the largest value.
    """

    path: Path
    n_bytes: int
    output: str
    n_samples: tuple[int, ...]
    difference: float


class WaveformToScores(nn.Module):
    """A network with its front-end, as one module that a graph can be made of.

    Args:
        model: the network, in evaluation mode, on the CPU.
    """

    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        self.model = model
        self.frontend = MatrixFrontend(model.frontend, model.frontend.n_frames if model.fixed_length else None)

    def forward(self, waveform: Tensor) -> Tensor:
        """Give (batch, n_tags) scores, or (batch, n_features) without tags, for (batch, samples)."""
        return scores_of(self.model, self.model.forward_features(self.frontend(waveform)))


def write_onnx(model: TaggingModel, path: Path) -> OnnxFile:
    """Write a network as ONNX, and compare it with torch; see `TaggingModel.export_onnx`."""
    if path.suffix != ONNX_SUFFIX:
        raise ConfigError(f"{printable(str(path))}: a network is exported as NAME{ONNX_SUFFIX}.")
    model = copy.deepcopy(model).cpu().float().eval()
    with written_aside(path) as aside:
        program = _trace(model)
        program.model.metadata_props.update(_metadata(model))
        program.save(str(aside), external_data=False)
        lengths, largest = _compare(model, Session(aside))
        n_bytes = aside.stat().st_size
    return OnnxFile(path=path, n_bytes=n_bytes, output=output_of(model), n_samples=lengths, difference=largest)


def output_of(model: TaggingModel) -> str:
    """Name what comes out of a network: "scores", "embedding" or "features"."""
    return SCORES if has_scores(model) else model.task


def has_scores(model: TaggingModel) -> bool:
    """Tell whether scores of tags come out of a network."""
    return model.task in ("several", "one") and model.n_tags is not None


def scores_of(model: TaggingModel, features: Tensor) -> Tensor:
    """Give what comes out of a network for what its head sees: scores, or where there are no tags, the features."""
    logits = model.forward_head(features)
    return model.scores(logits) if has_scores(model) else logits


def _trace(model: TaggingModel) -> ONNXProgram:
    least, most = model.sample_limits()
    # So long that no axis inside has a length of 1, which torch would take for fixed.
    n_samples = 2 * math.ceil(LONGER * model.frontend.n_samples_for(model.frontend.n_frames)) if most is None else most
    axes = {0: "batch"} if least == most else {0: "batch", 1: "samples"}
    program = trace(
        WaveformToScores(model).eval(), torch.zeros(2, n_samples), given=WAVEFORM, axes=axes, gives=output_of(model)
    )
    program.model.producer_name, program.model.producer_version = "taggram", taggram.__version__
    return program


def _compare(model: TaggingModel, session: Session) -> tuple[tuple[int, ...], float]:
    """Compare a graph with torch: one sound of the least length, then three and two, or three, of longer ones."""
    least, most = model.sample_limits()
    patch = model.frontend.n_samples_for(model.frontend.n_frames)
    longer = (least + most) // 2 if most is not None else math.ceil(LONGER * patch)
    lengths = tuple(sorted({least, longer, patch if most is None else most}))
    largest = 0.0
    for n_sounds, n_samples in zip(BATCHES, lengths if len(lengths) > 1 else 2 * lengths):
        sounds = made_sound(model.frontend.sample_rate, n_samples, n_sounds)
        with torch.inference_mode():
            wanted = scores_of(model, model.forward_features(model.frontend(sounds)))
        off = difference(session.run(sounds), wanted, has_scores(model))
        check_difference(off, f"a batch of {n_sounds} with {n_samples} samples each")
        largest = max(largest, off)
    return lengths, largest


def _metadata(model: TaggingModel) -> dict[str, str]:
    """Put together what one must know of a network to use it; all of it text, lists and tables as JSON."""
    frontend = model.frontend
    least, most = model.sample_limits()
    trained = load_card(model.name) if model.name in list_models() else None
    card = {} if model.name is None else describe(model)
    if trained is not None:
        card["weights"] = {name: getattr(trained, name) for name in PARTS_OF_CARD}
    return {
        "name": model.name or type(model).__name__,
        "task": model.task,
        "tags": json.dumps(model.tag_names(), ensure_ascii=False),
        "sample_rate": str(frontend.sample_rate),
        "patch_samples": str(frontend.n_samples_for(frontend.n_frames)),
        "hop_samples": str(frontend.n_frames * frontend.hop_length),
        "least_samples": str(least),
        "most_samples": "any" if most is None else str(most),
        "licence": "not known" if trained is None else trained.licence,
        "card": json.dumps(card, ensure_ascii=False),
        "taggram_version": taggram.__version__,
    }
