"""Layers that learn quicker on a CPU than torch's own, which they are otherwise: the same names, weights and answers.

Each gives way to torch where it is not at its best: in use, on another device, in less than float32, and where torch
compiles or exports, since torch then sees operations that it knows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class TemporalConv2d(nn.Conv2d):
    """Filters that see one mel band over many frames, (taps, 1), of a map with one channel.

    torch's gradients of such a convolution take four times as long as the two matrix products that they are: where
    every frame is a row with all patches and bands side by side, a window is as many rows as the filter has taps.

    Args:
        n_filters: how many.
        n_frames: taps of each.
    """

    def __init__(self, n_filters: int, n_frames: int) -> None:
        super().__init__(1, n_filters, (n_frames, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, filters, frames - taps + 1, mels) for (batch, 1, frames, mels)."""
        if self.training and self.bias is not None and _is_worth_it(x, self.weight):
            given: Tensor = _TemporalConv.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return given
        return super().forward(x)


class NeighboursMaxPool1d(nn.MaxPool1d):
    """The maximum of each `size` neighbours in time; a last, smaller lot is left out.

    torch's pool, which also notes where each maximum was, takes five times as long as comparing every `size`-th value
    with those behind it. Where a maximum was is seen again on the way back; of equals the first one has it.

    Args:
        size: values that one is made of.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, time // size) for (batch, channels, time)."""
        if self.training and _is_worth_it(x, x) and x.shape[-1] >= self.size:
            given: Tensor = _NeighboursMax.apply(x, self.size)  # type: ignore[no-untyped-call]
            return given
        pooled: Tensor = super().forward(x)
        return pooled


def _is_worth_it(x: Tensor, learning: Tensor) -> bool:
    """Tell whether a layer learns here as it is made for."""
    return (
        torch.is_grad_enabled()
        and learning.requires_grad
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _TemporalConv(torch.autograd.Function):
    """torch's convolution, with gradients by matrix products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        filters = weight[:, 0, :, 0]  # (filters, taps)
        n_taps = filters.shape[1]
        rows = x[:, 0].transpose(0, 1).flatten(1)  # (frames, batch * mels)
        to_rows, to_filters = torch.zeros_like(rows), torch.zeros_like(filters)
        for frame, of_frame in enumerate(gradient.permute(2, 1, 0, 3).flatten(2)):  # (filters, batch * mels)
            to_rows[frame : frame + n_taps].addmm_(filters.t(), of_frame)
            to_filters.addmm_(of_frame, rows[frame : frame + n_taps].t())
        to_x = torch.unflatten(to_rows, 1, (x.shape[0], x.shape[3])).transpose(0, 1).unsqueeze(1)
        return to_x, to_filters.view_as(weight), gradient.sum((0, 2, 3))


class _NeighboursMax(torch.autograd.Function):
    """The maximum of neighbours, whose place is found again on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        first, *others = _lots(x, size).unbind(-1)
        for other in others:
            first = torch.maximum(first, other)
        ctx.save_for_backward(x, first)
        ctx.size = size
        return first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        to_x = torch.zeros_like(x)
        # Patch by patch, since what is in between then stays in the cache.
        for values, peak, left, to_values in zip(_lots(x, ctx.size), largest, gradient, _lots(to_x, ctx.size)):
            for value, to_value in zip(values.unbind(-1), to_values.unbind(-1)):
                is_peak = value == peak
                torch.mul(left, is_peak, out=to_value)
                left = left * ~is_peak
        return to_x, None


def _lots(x: Tensor, size: int) -> Tensor:
    """View (..., time) as (..., time // size, size)."""
    return torch.unflatten(x[..., : x.shape[-1] // size * size], -1, (-1, size))
