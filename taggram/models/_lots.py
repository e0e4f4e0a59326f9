"""Patches run in lots so small that memory is used again at once.

The C library gives a large buffer back to the system when it is free and takes it anew for the next layer, page by
page, each of which the system fills with zeros first. A network on samples, whose first layers hold 10 MB a patch,
spends two thirds of its time on that where a whole track is one batch, and next to nothing where a patch is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

LOT_VALUES = 4_000_000  # of the largest layer at once, 16 MB: less reads the weights of dense layers too often


class Lots:
    """Runs a network over patches, on a CPU some at a time. How many, the first patch of a length shows."""

    def __init__(self) -> None:
        self._n_at_once: dict[torch.Size, int] = {}  # by the shape of a patch

    def run(self, compute: Callable[[Tensor], Sequence[Tensor]], patches: Tensor) -> list[Tensor]:
        """Compute some layers.

        Args:
            compute: gives layers, (batch, ...) each, for (batch, ...).
            patches: (patches, ...), at least one.

        Returns:
            What `compute` gives, (patches, ...) each.
        """
        if patches.device.type != "cpu" or len(patches) == 1:
            return list(compute(patches))
        if patches.shape[1:] not in self._n_at_once:
            # What is computed here is not used: by another division into lots it may be rounded otherwise.
            with _LargestResult() as largest:
                compute(patches[:1])
            self._n_at_once[patches.shape[1:]] = max(1, LOT_VALUES // largest.n_values)
        found = [compute(lot) for lot in torch.split(patches, self._n_at_once[patches.shape[1:]])]
        return [torch.cat(parts) for parts in zip(*found)]


class _LargestResult(TorchFunctionMode):
    """Notes how many values the largest tensor has that torch gives."""

    def __init__(self) -> None:
        super().__init__()
        self.n_values = 1

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, and look at what it gives."""
        given = func(*args, **(kwargs or {}))
        if isinstance(given, Tensor):
            self.n_values = max(self.n_values, given.numel())
        return given
