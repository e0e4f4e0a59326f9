"""From a module to an ONNX graph that runs anywhere.

torch's own exporter does it, and what it leaves is made fit: no path of this machine stays in the graph, and constants
are folded. The rewriting rules of onnxscript are not applied: one takes the addition of a number below 1e-8 for one of
0, and so drops the `eps` of a logarithm.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from taggram.errors import ConfigError, ExportError, missing_extra

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

EXTRA = "export"
OPSET = 18  # what torch's exporter is written for; onnxruntime takes it from 1.14 on
MOST_BYTES = 2**31 - 2**24  # of all numbers: protobuf holds less than 2 GiB, and the graph itself needs some of that
MOST_FOLDED = 4096  # values of a constant that is computed beforehand: larger ones would only make the file larger


def trace(module: nn.Module, example: Tensor, *, given: str, axes: Mapping[int, str], gives: str) -> ONNXProgram:
    """Turn a module of one input and one output into an ONNX graph.

    Args:
        module: in evaluation mode, on the CPU.
        example: an input, longer than 1 on all axes of `axes` and wherever they lead to inside.
        given: name of the input.
        axes: the axes of the input that may have any length, and their names; the first axis of the output has that of
            axis 0.
        gives: name of the output.

    Returns:
        The graph; its `save` writes it.

    Raises:
        ConfigError: the module is too large for a file of one piece.
        ExportError: torch cannot export it, or only for the lengths of the example.
        MissingExtraError: the extra `export` is not installed.
    """
    _check_size(module)
    optimizer = _load_optimizer()
    with _quietly(), torch.inference_mode(False), torch.no_grad(), _PoolsOfAnyLength():
        try:
            traced = torch.export.export(
                module,
                (example,),
                dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.AUTO),),
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            _check_axes(traced, axes)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=OPSET,
                input_names=[given],
                output_names=[gives],
            )
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ExportError(f"torch cannot export this network: {reason}") from error
        if program is None:
            raise ExportError("torch gave no graph of this network; a newer torch may.")
        optimizer.fold_constants(program.model, output_size_limit=MOST_FOLDED)
        optimizer.remove_unused_nodes(program.model)
    _tidy(program.model, axes)
    return program


class _PoolsOfAnyLength(TorchFunctionMode):
    """Takes max-pools over time as those over an area one high, since torch fixes the length of the former."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or what stands in for it."""
        kwargs = kwargs or {}
        return _max_pool_1d(*args, **kwargs) if func is F.max_pool1d else func(*args, **kwargs)


def _max_pool_1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `torch.nn.functional.max_pool1d`, for a graph."""
    if return_indices:
        raise ExportError("a max-pool that gives its places cannot be exported.")
    size, zeros, gap = (
        value if isinstance(value, int) else int(value[0]) for value in (kernel_size, padding, dilation)
    )
    step = size if not stride else stride if isinstance(stride, int) else int(stride[0])
    pooled = F.max_pool2d(x.unsqueeze(-2), (1, size), (1, step), (0, zeros), (1, gap), ceil_mode)
    return pooled.squeeze(-2)


def _load_optimizer() -> Any:
    try:
        import onnx  # noqa: F401 (what torch exports through)
        from onnxscript import optimizer
    except ImportError as error:
        raise missing_extra("onnx and onnxscript", EXTRA, "ONNX files") from error
    return optimizer


def _check_size(module: nn.Module) -> None:
    """Refuse what one file cannot hold, before any work is done."""
    numbers = [*module.parameters(), *module.buffers()]
    n_bytes = sum(number.numel() * number.element_size() for number in numbers)
    if n_bytes > MOST_BYTES:
        raise ConfigError(
            f"the network holds {n_bytes / 1e9:.1f} GB of numbers, and an ONNX file at most {MOST_BYTES / 1e9:.1f} GB. "
            "Build it smaller, or keep it as .safetensors."
        )


def _check_axes(traced: torch.export.ExportedProgram, axes: Mapping[int, str]) -> None:
    """Refuse a graph that is only for the lengths of its example."""
    name = traced.graph_signature.user_inputs[0]
    shape = next(node.meta["val"].shape for node in traced.graph.nodes if node.name == name)
    fixed = [axis_name for axis, axis_name in axes.items() if isinstance(shape[axis], int)]
    if fixed:
        raise ExportError(f"torch can export this network only for a fixed number of {' and '.join(fixed)}.")


def _tidy(model: Any, axes: Mapping[int, str]) -> None:
    """Name the axes, and take out what tells of the code that the graph came from, paths of it among that."""
    (given,), (out,) = model.graph.inputs, model.graph.outputs
    for axis, name in axes.items():
        given.shape[axis] = name
    out.shape[0] = axes[0]
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        values.extend(node.outputs)
    for value in (*values, model.graph, model):
        value.metadata_props.clear()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter from telling of packages that are not there and of its own old names."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
