"""An ONNX graph at work in onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taggram._extras import load_extra
from taggram.errors import ExportError, printable
from taggram.models._onnx_graph import EXTRA

LOG_ERRORS = 3  # and no warnings


class Session:
    """A graph of one input and one output that is ready to run, on as many threads as torch uses now.

    Args:
        graph: the file, or the bytes of one.

    Raises:
        ExportError: onnxruntime cannot load it.
        MissingExtraError: the extra `export` is not installed.
    """

    def __init__(self, graph: Path | bytes) -> None:
        runtime = load_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_ERRORS
        # Threads that wait leave the cores to others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the errors of onnxruntime have no class in common
            place = "the graph" if isinstance(graph, bytes) else printable(str(graph))
            raise ExportError(f"onnxruntime cannot load {place}: {error}") from error
        self._given = self._session.get_inputs()[0].name

    def run(self, values: Tensor) -> Tensor:
        """Run the graph.

        Args:
            values: the input, float32, on any device.

        Returns:
            The output, on the CPU.

        Raises:
            ExportError: onnxruntime cannot run it.
        """
        try:
            (out,) = self._session.run(None, {self._given: values.cpu().contiguous().numpy()})
        except Exception as error:  # likewise
            raise ExportError(f"onnxruntime cannot run the graph: {error}") from error
        return torch.from_numpy(out)


def load_onnxruntime() -> Any:
    """Import onnxruntime.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    return load_extra("onnxruntime", EXTRA, "ONNX files")
