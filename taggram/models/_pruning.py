"""What is known of a network's channels before any sound comes in: their bounds, and which maximum may come first.

Bounds. A log-mel lies between 0 and `LOG_MEL_LIMIT`, so interval arithmetic bounds every channel: the positive weights
of a filter meet the upper ends of its inputs and the negative ones the lower ends, then ReLU and batch norm carry the
ends on. A channel that cannot leave `NEGLIGIBLE` around one value is taken for that value and never computed. In the
released networks that is the larger part of the first layers.

Maximum first. These networks take the maximum, over mel bands or over a pooling window, of s * relu(z + b) + t, where z
is a product with a filter. That rises with s * z, so the maximum can be taken of z, or of -z where s is negative, and
bias, ReLU and norm come after it, on a fraction of the values. With u = max(sign(s) * z) the result is

    |s| * clamp(u + b, lower, upper) + t

with b taken times the sign too, and a clamp that cuts at 0: from below for s >= 0, from above for s < 0. What follows
the clamp is linear, and goes into the weights of the next layer. What is cut off is 0, which all kinds of numbers have
exactly; at any other end bfloat16 and int8 would round many values alike.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from taggram.models._inference import InferenceForm, PlainForm

if TYPE_CHECKING:
    from taggram.models._blocks import ConvReluNorm
    from taggram.models._contract import TaggingModel
    from taggram.models._registry import Precision

LOG_MEL_LIMIT = 10.0  # log10(1 + 10000 x) is there at a mel power of 1e6; sound within -1 to 1 stays far below
NEGLIGIBLE = 1e-4  # how far a pruned channel may be from its constant, at most

Norm = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True)
class Bounds:
    """The ends of what each channel can be, whatever comes in.

    Attributes:
        low: (channels,), float64.
        high: (channels,), float64.
    """

    low: Tensor
    high: Tensor

    @property
    def is_live(self) -> Tensor:
        """(channels,): whether a channel has to be computed. One that may be NaN has to."""
        return ~((self.high - self.low) / 2 <= NEGLIGIBLE)

    @property
    def constants(self) -> Tensor:
        """(channels,): the value that stands for a pruned channel, 0 for a live one."""
        return torch.where(self.is_live, 0, (self.low + self.high) / 2)


@dataclass(frozen=True)
class Rectifier:
    """Bias, ReLU and batch norm of each channel, as they are after the maximum; see the top of this file.

    Attributes:
        sign: (channels,), 1 or -1: what the filters are multiplied by before the maximum.
        bias: (channels,), what is added to the maximum.
        lower: (channels,), where the sum is cut off from below: 0, or infinitely far away.
        upper: (channels,), where it is cut off from above, likewise.
        gain: (channels,), what it is multiplied by then, not negative.
        shift: (channels,), what is added last.
    """

    sign: Tensor
    bias: Tensor
    lower: Tensor
    upper: Tensor
    gain: Tensor
    shift: Tensor


def scale_and_shift(norm: Norm) -> tuple[Tensor, Tensor]:
    """Write a batch norm in evaluation as scale * x + shift, (channels,) each, float64."""
    weight, bias, mean, variance = (
        norm.state_dict()[name].double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / (variance + norm.eps).sqrt()
    return scale, bias - scale * mean


def input_bounds(norm: Norm) -> Bounds:
    """Bound a log-mel after the batch norm at the input, which has one channel."""
    scale, shift = scale_and_shift(norm)
    ends = torch.stack([shift, LOG_MEL_LIMIT * scale + shift])
    return Bounds(ends.amin(0), ends.amax(0))


def tap_bounds(weight: Tensor, inputs: Bounds) -> tuple[Tensor, Tensor]:
    """Bound what each tap of a convolution adds.

    Args:
        weight: (filters, channels, ...), the taps last.
        inputs: bounds of the channels.

    Returns:
        Least and most, (filters, ...) each. Summed over the taps that meet no padding, they bound the product.
    """
    weight = weight.detach().double().movedim(1, -1)  # (filters, ..., channels)
    rising, falling = weight.clamp(min=0), weight.clamp(max=0)
    return rising @ inputs.low + falling @ inputs.high, rising @ inputs.high + falling @ inputs.low


def block_bounds(low: Tensor, high: Tensor, block: ConvReluNorm) -> Bounds:
    """Carry the bounds of the products of a block, (channels,) each, through its bias, ReLU and batch norm."""
    scale, shift = scale_and_shift(block.bn)
    ends = (torch.stack([low, high]) + bias_of(block)).relu() * scale + shift
    return Bounds(ends.amin(0), ends.amax(0))


def rectifier(block: ConvReluNorm) -> Rectifier:
    """Prepare bias, ReLU and batch norm of a block to come after the maximum, for all channels, float64."""
    scale, shift = scale_and_shift(block.bn)
    sign = torch.where(scale < 0, -1.0, 1.0).double()
    return Rectifier(
        sign=sign,
        bias=sign * bias_of(block),
        lower=torch.where(sign > 0, 0, -torch.inf),
        upper=torch.where(sign > 0, torch.inf, 0),
        gain=scale.abs(),
        shift=shift,
    )


def bias_of(block: ConvReluNorm) -> Tensor:
    """Give the bias of a block's convolution, (channels,), float64."""
    return cast(Tensor, block.conv.bias).detach().double()


class PrunedForm(InferenceForm):
    """A form that relies on bounds. Patches that are louder than they allow go to the plain module, in float32.

    Each patch is looked at for itself, so its scores do not hang on how loud its neighbours are.

    Args:
        model: the plain module.
        precision: the numbers that features are computed in.
        limit: of a log-mel, up to which the form may be used.
    """

    def __init__(self, model: TaggingModel, precision: Precision, limit: float = LOG_MEL_LIMIT) -> None:
        super().__init__(model, precision)
        self.limit = limit
        self._exact = PlainForm(model)

    def features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `InferenceForm.features`."""

        def pruned(starts: Sequence[int]) -> list[Tensor]:
            return [self.pruned_features(frames, starts, n_frames)]

        def exact(starts: Sequence[int]) -> list[Tensor]:
            return [self._exact.features(frames, starts, n_frames)]

        return self._by_loudness(frames, starts, n_frames, pruned, exact)[0]

    @abc.abstractmethod
    def pruned_features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Do the same for patches for which the bounds hold; other frames of the stretch may be beyond them."""

    def _by_loudness(
        self,
        frames: Tensor,
        starts: Sequence[int],
        n_frames: int,
        pruned: Callable[[Sequence[int]], list[Tensor]],
        exact: Callable[[Sequence[int]], list[Tensor]],
    ) -> list[Tensor]:
        """Have patches computed by `pruned` where the bounds hold, and by `exact` where not; both take starts."""
        places: tuple[list[int], list[int]] = [], []
        for place, start in enumerate(starts):
            low, high = frames[:, start : start + n_frames].aminmax()
            places[bool((low >= 0) & (high <= self.limit))].append(place)  # a NaN is beyond all bounds
        if not all(places):
            return (exact if places[0] else pruned)(starts)
        results = (compute([starts[place] for place in some]) for compute, some in zip((exact, pruned), places))
        order = torch.tensor([*places[0], *places[1]]).argsort()
        return [torch.cat(both)[order] for both in zip(*results)]
