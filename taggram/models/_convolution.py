"""Convolutions over an area, as they are quickest on a CPU: float32 in and out, and within them what is asked for.

bfloat16. Values and filters are rounded to the 8 bits of bfloat16, products are summed up in float32, and a sum is
rounded to bfloat16 again. The range is that of float32, so nothing can overflow or has to be scaled.

int8. Values and filters are rounded to whole numbers of 8 bits, products are summed up exactly. What makes these few
bits do:

    filters  each has a scale of its own: its largest weight is 127.
    channels that meet small weights are made smaller, and these weights as much larger, so that one step of rounding
        counts alike whichever channel it is in.
    patches  each has a scale of its own, that of its largest value, and so does not hang on what else is in the batch;
        or all have one, where the values are known to lie within a reach.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from taggram.models._registry import Precision

Pair = tuple[int, int]
MOST = 127  # magnitude of a whole number of 8 bits, the same on both sides
LEVELS = 255  # the largest without a sign, as oneDNN wants values; half of it, rounded up, stands for 0
LEAST = 1e-30  # that is divided by, so that silence stays silence


class Convolution(abc.ABC):
    """A convolution over an area with zeros around it, the same on both sides.

    Args:
        weight: (filters, channels of a group, height, width).
        bias: (filters,), or None.
        padding: zeros on either side, in height and in width.
        stride: steps in height and in width.
        dilation: steps between the taps of a filter.
        groups: groups of channels that meet filters of their own.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        padding: Pair = (0, 0),
        stride: Pair = (1, 1),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        self.weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        self.padding, self.stride, self.dilation, self.groups = padding, stride, dilation, groups

    @abc.abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Give (batch, filters, height, width) float32 for (batch, channels, height, width) float32."""


class FloatConvolution(Convolution):
    """In float32, as torch has it; the arguments are those of `Convolution`."""

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve; see `Convolution`."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BfloatConvolution(Convolution):
    """In bfloat16; the arguments are those of `Convolution`."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, **shape: Any) -> None:
        weight = weight.to(torch.bfloat16, memory_format=torch.channels_last)
        super().__init__(weight, None if bias is None else bias.bfloat16(), **shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve; see `Convolution`."""
        x = x.to(torch.bfloat16, memory_format=torch.channels_last)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups).float()


class Int8Convolution(Convolution):
    """In whole numbers of 8 bits; the arguments are those of `Convolution`, and one more.

    Args:
        weight: as for `Convolution`.
        bias: as for `Convolution`.
        reach: the least value, not above 0, and the most, not below 0, where they are known; others are cut off there.
        **shape: as for `Convolution`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, reach: tuple[float, float] | None = None, **shape: Any
    ) -> None:
        super().__init__(weight.contiguous(memory_format=torch.channels_last), bias, **shape)
        self._reach = reach
        self._gain = self.weight.new_ones(1)  # that a channel is multiplied by, and its weights are divided by
        if reach is None:
            self._zero = (LEVELS + 1) // 2
            if self.groups == 1:
                largest = self.weight.abs().amax((0, 2, 3))  # (channels,)
                self._gain = torch.where(largest > 0, largest, 1)
        else:
            low, high = reach
            # A whole number of steps from the least value to 0, so that both are exact: in a spectrogram, silence.
            self._zero = 0 if low == 0 else max(1, int(-low / (high - low) * LEVELS))
            self._step = torch.tensor([[max(-low / max(1, self._zero), high / (LEVELS - self._zero))]])
        even = self.weight / self._gain[:, None, None]
        self._scales = (even.abs().amax((1, 2, 3)) / MOST).clamp(min=LEAST)  # (filters,)
        self._packed = torch.ops.onednn.qconv_prepack(
            (even / self._scales[:, None, None, None]).round().to(torch.int8), self._scales, 1.0, self._zero,
            self.stride, self.padding, self.dilation, self.groups,
        )  # fmt: skip
        self._no_shift = torch.zeros(len(weight), dtype=torch.int32)
        self._to_whole = torch.tensor(self._zero + 0.5)  # what is cut off to a whole number then is rounded

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve; see `Convolution`."""
        x = x.contiguous(memory_format=torch.channels_last)
        if self._reach is None:
            peaks = torch.maximum(x.amax((2, 3)), -x.amin((2, 3))) * self._gain  # (batch, channels)
            step = peaks.amax(1, keepdim=True).clamp(min=LEAST) / MOST  # (batch, 1); NaN where a value is
        else:
            x, step = x.clamp(*self._reach), self._step
        factors = (self._gain / step)[:, :, None, None]  # (batch, channels, 1, 1)
        whole = torch.addcmul(self._to_whole, x, factors).to(torch.uint8)
        found: Tensor = torch.ops.onednn.qconv2d_pointwise(
            whole, 1.0, self._zero, self._packed, self._scales, self._no_shift, None, self.stride, self.padding,
            self.dilation, self.groups, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        found.mul_(step[:, :, None, None])
        return found if self.bias is None else found.add_(self.bias[:, None, None])


Kind = Callable[..., Convolution]
"""Makes a convolution of its arguments."""

KINDS: dict[Precision, Kind] = {
    "float32": FloatConvolution,
    "bfloat16": BfloatConvolution,
    "int8": Int8Convolution,
}
