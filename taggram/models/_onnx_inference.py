"""The form of a network that tags by onnxruntime; its graphs are kept in the cache.

The front-end stays torch's, over the whole sound, and the patches are cut from its frames: so scores are those of the
other forms. A graph holds the network from the patch to one of its outputs.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib.metadata
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import taggram
from taggram._files import cache_home, in_turn, written_aside
from taggram.errors import ExportError
from taggram.models._inference import InferenceForm
from taggram.models._onnx_check import check_difference, difference, made_sound
from taggram.models._onnx_file import SCORES, has_scores, scores_of
from taggram.models._onnx_graph import OPSET, trace
from taggram.models._onnx_session import Session, load_onnxruntime
from taggram.models._registry import ONNX_SUFFIX
from taggram.models._saved import describe

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

    from taggram.models._contract import TaggingModel

logger = logging.getLogger(__name__)

FOLDER = "onnx"  # in the cache
LOCK = ".lock"
EXPORTERS = ("torch", "onnx", "onnxscript")  # packages that a graph depends on
KEY_DIGITS = 20


class OnnxForm(InferenceForm):
    """A network run by onnxruntime, patch by patch in one batch. A graph is made when its output is first asked for.

    Args:
        model: the plain module; it is put in evaluation mode.

    Raises:
        MissingExtraError: the extra `export` is not installed.
    """

    def __init__(self, model: TaggingModel) -> None:
        super().__init__(model)
        load_onnxruntime()
        self._sessions: dict[tuple[str, int], Session] = {}
        self._opening = threading.Lock()

    def features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `InferenceForm.features`."""
        return self.layer(self.model.layers()[-1], frames, starts, n_frames)

    def scores(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute the scores of patches; see `InferenceForm.scores`."""
        return self._run(SCORES, frames, starts, n_frames)

    def layer(self, name: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute a named layer; see `InferenceForm.layer`."""
        return self._run(name, frames, starts, n_frames)

    def _run(self, output: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        with self._opening:  # threads may share a form, and a graph is exported once
            if (output, n_frames) not in self._sessions:
                self._sessions[output, n_frames] = _open_session(self.model, output, n_frames)
            session = self._sessions[output, n_frames]
        return session.run(self.cut_patches(frames, starts, n_frames))


class PatchesTo(nn.Module):
    """A network from its patches to one output, as one module that a graph can be made of.

    Args:
        model: the network, in evaluation mode, on the CPU.
        output: "scores", or the name of a layer.
    """

    def __init__(self, model: TaggingModel, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, patches: Tensor) -> Tensor:
        """Give (batch, ...) for (batch, 1, mels, frames) or (batch, 1, samples)."""
        if self.output == SCORES:
            return scores_of(self.model, self.model.forward_features(patches))
        return self.model.forward_layers(patches)[self.output]


def _open_session(model: TaggingModel, output: str, n_frames: int) -> Session:
    """Have a graph ready to run, out of the cache where it is there."""
    part = PatchesTo(model, output).eval()
    if model.name is None:  # nothing but its code could tell it from others, so it is kept nowhere
        return _checked(Session(_trace(part, n_frames).model_proto.SerializeToString()), part, n_frames)
    path = _place(part, n_frames)
    session = _kept(path, part, n_frames)
    if session is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_turn(path.parent / LOCK):
            session = _kept(path, part, n_frames) or _made(path, part, n_frames)
    return session


def _kept(path: Path, part: PatchesTo, n_frames: int) -> Session | None:
    """Take a graph out of the cache, if it is there and good."""
    if path.is_file():
        with contextlib.suppress(ExportError):
            return _checked(Session(path), part, n_frames)
    return None


def _made(path: Path, part: PatchesTo, n_frames: int) -> Session:
    """Make a graph and put it into the cache."""
    logger.warning("exporting %s of %s for onnxruntime, once", part.output, part.model.name)
    with written_aside(path) as aside:
        _trace(part, n_frames).save(str(aside), external_data=False)
        return _checked(Session(aside), part, n_frames)


@torch.inference_mode()
def _checked(session: Session, part: PatchesTo, n_frames: int) -> Session:
    """Give a session back if it gives what torch gives."""
    frontend = part.model.frontend
    sounds = made_sound(frontend.sample_rate, frontend.n_samples_for(n_frames), 2)
    patches = frontend(sounds)[..., :n_frames]
    off = difference(session.run(patches), part(patches), part.output == SCORES and has_scores(part.model))
    check_difference(off, f"{part.output} of a patch of {n_frames} frames")
    return session


@torch.inference_mode(False)  # numbers that were made in it cannot be exported
def _trace(part: PatchesTo, n_frames: int) -> ONNXProgram:
    on_cpu = copy.deepcopy(part).cpu()
    frontend = part.model.frontend
    example = torch.zeros(2, 1, *([frontend.n_bands] if frontend.n_bands > 1 else []), n_frames)
    return trace(on_cpu, example, given="patches", axes={0: "batch"}, gives=part.output)


def _place(part: PatchesTo, n_frames: int) -> Path:
    """Say where a graph is kept: under a name that follows from all that changes it."""
    digest = hashlib.sha256()
    facts = {
        "model": describe(part.model),
        "output": part.output,
        "n_frames": n_frames,
        "opset": OPSET,
        "versions": {"taggram": taggram.__version__, **{name: importlib.metadata.version(name) for name in EXPORTERS}},
        "code": _code_digest(),
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(part.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    key = digest.hexdigest()[:KEY_DIGITS]
    return cache_home() / FOLDER / f"{part.model.name}-{key}{ONNX_SUFFIX}"


@functools.cache
def _code_digest() -> str:
    """Sum up the code of all networks, which a version may not tell apart where somebody works on it."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
