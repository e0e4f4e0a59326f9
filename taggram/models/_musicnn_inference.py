"""musicnn made ready to tag: less than half of the work, at nearly the speed of the processor.

Most filters of the front-end are constant (`_pruning`); only the live ones are computed, and for those the maximum over
mel comes before bias, ReLU and batch norm. A convolution of one channel is slow, so each is made one of several
channels along a single axis. Laid out as (batch, mels, frames, channels) these run at the speed of oneDNN's largest
products, which on some processors is twice that of torch's own:

    timbral   the 7 frames that a filter sees are 7 channels: what is left is a filter of 38 mels along the mels.
    temporal  a filter of 128 frames meets each mel band alone. 4 frames that follow each other, or more, are 4 channels
              of one step: what is left is a filter of 33 steps along time, once for each of the 4 places in a step.

The constants are one more channel of the mid-end, 1 in the patch and 0 in the padding, as all else is; in the pooled
layer they are part of the dense layer's bias. Patches that overlap share the frames where no filter meets padding.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram.models._blocks import ConvReluNorm, same_zeros
from taggram.models._convolution import KINDS, Int8Convolution, Kind
from taggram.models._pruning import (
    LOG_MEL_LIMIT,
    Bounds,
    PrunedForm,
    bias_of,
    block_bounds,
    input_bounds,
    rectifier,
    scale_and_shift,
    tap_bounds,
)

if TYPE_CHECKING:
    from taggram.models._registry import Precision
    from taggram.models.musicnn import MusiCNN

FRAMES_AT_ONCE = 512  # that a group of filters is run on, at most about
POOLS: dict[str, Callable[[Tensor], Tensor]] = {  # layers over all of a patch, for (patches, channels, frames)
    "mean_pool": lambda layer: layer.mean(2),
    "max_pool": lambda layer: layer.amax(2),
}
INT8_LIMIT = 7.0  # of a log-mel: a full-scale sine gives less than 6.6, and a step of rounding is 1/255 of it
LANES = 16  # filters that a processor computes at once
MOST_PLACES = 2  # in mel at which timbral filters are computed at once
FRAMES_TOGETHER = (16, 8, 4)  # that may be in a step of a temporal filter


class MusiCNNForm(PrunedForm):
    """A musicnn of any width, pruned.

    Args:
        model: the plain module.
        precision: the numbers that its convolutions compute in.
    """

    @torch.no_grad()
    def __init__(self, model: MusiCNN, precision: Precision = "float32") -> None:
        super().__init__(model, precision, INT8_LIMIT if precision == "int8" else LOG_MEL_LIMIT)
        branches = cast("list[ConvReluNorm]", [*model.timbral, *model.temporal])
        midend = cast("list[ConvReluNorm]", [*model.midend])
        self.bounds = [front_bounds(branch, model.bn_in) for branch in branches]
        rectifiers = [rectifier(branch) for branch in branches]
        filters = [
            (branch.conv.weight[:, 0] * after.sign[:, None, None])[bounds.is_live].float()  # (live, taps, mels)
            for branch, bounds, after in zip(branches, self.bounds, rectifiers)
        ]
        n_timbral = len(model.timbral)
        self.scale_in, self.shift_in = (float(part) for part in scale_and_shift(model.bn_in))
        kind = self._front_kind()
        self.groups = [Timbral(filters[:n_timbral], kind), *(Temporal(some, kind) for some in filters[n_timbral:])]

        is_live = torch.cat([bounds.is_live for bounds in self.bounds])
        self.bias = torch.cat([after.bias for after in rectifiers])[is_live, None].float()
        self.lower = torch.cat([after.lower for after in rectifiers])[is_live, None].float()
        self.upper = torch.cat([after.upper for after in rectifiers])[is_live, None].float()
        gain = torch.cat([after.gain for after in rectifiers])[is_live]
        offsets = torch.cat([bounds.constants for bounds in self.bounds])  # what stands beside gain * channel
        offsets[is_live] = torch.cat([after.shift for after in rectifiers])[is_live]
        self.is_live, self.gain, self.offsets = is_live, gain.float(), offsets.float()

        weights = [block.conv.weight.double() for block in midend]  # (filters, channels, taps)
        constant = torch.einsum("fct,c->ft", weights[0], offsets)  # what the channel of ones adds
        weights[0] = torch.cat([weights[0][:, is_live] * gain[:, None], constant[:, None]], 1)
        # Few values of a layer of the mid-end are much larger than the others, which int8 rounds away, and there is
        # little work in it.
        midend_kind = KINDS["float32" if precision == "int8" else precision]
        self.midend = [Midend(*layer, midend_kind) for layer in zip(midend, weights)]
        self.dense_weight, self.dense_bias = _fold_pooled(model, is_live, gain, offsets)
        self.dense_scale, self.dense_shift = (part.float() for part in scale_and_shift(model.bn_dense))

    def pruned_features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `PrunedForm`."""
        layers = self._whole(frames, starts, n_frames)
        pooled = torch.cat([layer.amax(2) for layer in layers] + [layer.mean(2) for layer in layers], 1)
        dense = F.linear(pooled, self.dense_weight, self.dense_bias)
        return dense.relu_().mul_(self.dense_scale).add_(self.dense_shift)

    def shares(self) -> dict[str, float]:
        """Say what pruning leaves; see `InferenceForm.shares`."""
        model = cast("MusiCNN", self.model)
        branches = (model.timbral, "timbral"), (model.temporal, "temporal")
        names = [f"{name}.{index}" for blocks, name in branches for index in range(len(blocks))]
        front = {name: bounds.is_live.float().mean().item() for name, bounds in zip(names, self.bounds)}
        return {**front, "midend.0": self.is_live.float().mean().item()}

    def layer(self, name: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute a named layer, the pooled ones without what is pruned; see `InferenceForm.layer`."""
        if name in POOLS:
            return self.layers([name], frames, starts, n_frames)[0]
        return super().layer(name, frames, starts, n_frames)

    def layers(self, names: Sequence[str], frames: Tensor, starts: Sequence[int], n_frames: int) -> list[Tensor]:
        """Compute named layers, all pooled ones in one pass; see `InferenceForm.layers`."""
        if not POOLS.keys() >= set(names):
            return super().layers(names, frames, starts, n_frames)

        def pruned(starts: Sequence[int]) -> list[Tensor]:
            whole = self._whole(frames, starts, n_frames)
            return [self._pooled(POOLS[name], whole) for name in names]

        def exact(starts: Sequence[int]) -> list[Tensor]:
            return self._exact.layers(names, frames, starts, n_frames)

        return self._by_loudness(frames, starts, n_frames, pruned, exact)

    def _front_kind(self) -> Kind:
        """Say how the front-end convolves: in int8 with one scale for all, so that patches that overlap can share."""
        if self.precision != "int8":
            return KINDS[self.precision]
        ends = self.shift_in, self.limit * self.scale_in + self.shift_in
        return partial(Int8Convolution, reach=(min(*ends, 0.0), max(*ends, 0.0)))

    def _pooled(self, pool: Callable[[Tensor], Tensor], whole: Sequence[Tensor]) -> Tensor:
        """Pool what `_whole` gives over the patch, and put the constants in for what is pruned."""
        front, *midend = map(pool, whole)
        channels = self.offsets.repeat(len(front), 1)  # (patches, front-end channels)
        channels[:, self.is_live] += front * self.gain
        return torch.cat([channels, *midend], 1)

    def _whole(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> tuple[Tensor, ...]:
        """Compute what is pooled, (patches, channels, frames) each.

        These are the live channels of the front-end before the gain and shift of their norm, and the mid-end's layers.
        """
        x = frames.t().contiguous() * self.scale_in + self.shift_in  # (frames, mels)
        peaks = [same(group, x, starts, n_frames) for group in self.groups]
        front = torch.stack([self._rectify(*of_patch) for of_patch in zip(*peaks)])  # (patches, live + 1, frames)
        cnn1 = self.midend[0](front)  # (patches, 64, frames)
        cnn2 = self.midend[1](cnn1).add_(cnn1)
        cnn3 = self.midend[2](cnn2).add_(cnn2)
        return front[:, :-1], cnn1, cnn2, cnn3

    def _rectify(self, *peaks: Tensor) -> Tensor:
        """Clamp what the groups found in a patch, (filters, frames) each, and join it with a channel of ones."""
        front = torch.cat([*peaks, peaks[0].new_ones(1, peaks[0].shape[1])])
        live = front[:-1].add_(self.bias)
        torch.maximum(live, self.lower, out=live)
        torch.minimum(live, self.upper, out=live)
        return front


class FilterGroup(abc.ABC):
    """Filters of the front-end that are computed together: a convolution over time, then the maximum over mel.

    Args:
        n_taps: frames that a filter sees.
    """

    def __init__(self, n_taps: int) -> None:
        self.n_taps = n_taps

    def __call__(self, x: Tensor) -> Tensor:
        """Give the maxima, (batch, filters, frames - n_taps + 1), for (batch, frames, mels)."""
        n_out = x.shape[1] - self.n_taps + 1
        return torch.cat([self._by_parts(some, n_out) for some in torch.split(x, max(1, FRAMES_AT_ONCE // n_out))])

    def _by_parts(self, x: Tensor, n_out: int) -> Tensor:
        starts, n_more = range(0, n_out, FRAMES_AT_ONCE), self.n_taps - 1
        return torch.cat([self._maxima(x[:, start : start + FRAMES_AT_ONCE + n_more]) for start in starts], 2)

    @abc.abstractmethod
    def _maxima(self, x: Tensor) -> Tensor:
        """Do the same for so few frames that what is found in them stays small."""


class Timbral(FilterGroup):
    """Filters that see few frames and part of the mels, at every position in mel.

    Args:
        filters: (filters, taps, mels) for each height; the taps are as many in all.
        kind: how they convolve.
    """

    def __init__(self, filters: Sequence[Tensor], kind: Kind) -> None:
        super().__init__(filters[0].shape[1])
        self.heights = [OneHeight(of_height, kind) for of_height in filters if len(of_height)]

    def _maxima(self, x: Tensor) -> Tensor:
        windows = x.unfold(1, self.n_taps, 1).transpose(1, 2)  # (batch, mels, n_out, taps)
        channels = windows.contiguous().permute(0, 3, 1, 2)  # (batch, taps, mels, n_out)
        found = [of_height(channels) for of_height in self.heights]
        return torch.cat([x.new_empty(len(x), 0, windows.shape[2]), *found], 1)


class OneHeight:
    """Timbral filters of one height, at as many neighbouring places in mel at once as waste the least.

    A processor computes `LANES` filters for the price of fewer; at two places 23 filters are 46, and 2 in 48 are wasted
    in place of 9 in 32, for one more mel that each filter meets with a zero.

    Args:
        filters: (filters, taps, mels).
        kind: how they convolve.
    """

    def __init__(self, filters: Tensor, kind: Kind) -> None:
        self.n_filters, n_taps, height = filters.shape
        self.n_places = min(range(1, MOST_PLACES + 1), key=lambda n: _cost(n, self.n_filters, height))
        self.height = height + self.n_places - 1
        weight = filters.new_zeros(self.n_places, self.n_filters, n_taps, self.height)
        for place in range(self.n_places):
            weight[place, ..., place : place + height] = filters
        self.convolve = kind(_channels_last(weight.flatten(0, 1)[..., None]), stride=(self.n_places, 1))

    def __call__(self, channels: Tensor) -> Tensor:
        """Give the maxima over mel, (batch, filters, frames), for (batch, taps, mels, frames)."""
        peaks = _max_over_mel(self.convolve(channels))
        if (channels.shape[2] - self.height) % self.n_places:  # the last places, some of them for the second time
            peaks = torch.maximum(peaks, _max_over_mel(self.convolve(channels[:, :, -self.height :])))
        return torch.unflatten(peaks, 1, (self.n_places, self.n_filters)).amax(1)


class Temporal(FilterGroup):
    """Filters that see many frames of one mel band, on every band, in steps of as many frames as waste the least.

    Args:
        filters: (filters, taps, 1).
        kind: how they convolve.
    """

    def __init__(self, filters: Tensor, kind: Kind) -> None:
        super().__init__(filters.shape[1])
        self.n_filters = len(filters)
        together = min(FRAMES_TOGETHER, key=lambda n: _lanes(n * self.n_filters) * _steps(self.n_taps, n))
        self.together, self.n_steps = together, _steps(self.n_taps, together)
        weight = filters.new_zeros(together, self.n_filters, self.n_steps * together)
        for place in range(together):
            weight[place, :, place : place + self.n_taps] = filters[:, :, 0]
        weight = torch.unflatten(weight.flatten(0, 1), 1, (self.n_steps, together))
        if self.n_filters:
            weight = weight.transpose(1, 2)[:, :, None]  # (together * filters, together, 1, steps)
            self.convolve = kind(_channels_last(weight))

    def _maxima(self, x: Tensor) -> Tensor:
        n_out = x.shape[1] - self.n_taps + 1
        if not self.n_filters:
            return x.new_empty(len(x), 0, n_out)
        n_steps = -(-n_out // self.together) + self.n_steps - 1
        # To whole steps; what the filters find in the zeros is left out below.
        x = F.pad(x.transpose(1, 2), (0, n_steps * self.together - x.shape[1]))  # (batch, mels, frames)
        steps = torch.unflatten(x, 2, (n_steps, self.together)).permute(0, 3, 1, 2)
        found = _max_over_mel(self.convolve(steps))  # (batch, together * filters, steps)
        places = torch.unflatten(found, 1, (self.together, self.n_filters)).permute(0, 2, 3, 1)
        return places.flatten(2)[:, :, :n_out]


class Midend:
    """A layer of the mid-end, for (batch, channels, frames).

    Args:
        block: the plain layer.
        weight: (filters, channels, taps), in place of its own.
        kind: how it convolves.
    """

    def __init__(self, block: ConvReluNorm, weight: Tensor, kind: Kind) -> None:
        around = same_zeros(weight.shape[2])[0]  # before as after, since the taps are an odd number
        self.convolve = kind(weight.float()[:, :, None], bias_of(block).float(), padding=(0, around))
        self.scale, self.shift = (part.float()[:, None] for part in scale_and_shift(block.bn))

    def __call__(self, x: Tensor) -> Tensor:
        """Give (batch, filters, frames)."""
        return self.convolve(x[:, :, None])[:, :, 0].relu_().mul_(self.scale).add_(self.shift)


def front_bounds(branch: ConvReluNorm, norm_in: nn.BatchNorm2d) -> Bounds:
    """Bound the channels of a branch of the front-end; any frame it sees may be padding."""
    inputs = input_bounds(norm_in)
    inputs = Bounds(inputs.low.clamp(max=0), inputs.high.clamp(min=0))
    low, high = (of_taps.sum((1, 2)) for of_taps in tap_bounds(branch.conv.weight, inputs))
    return block_bounds(low, high, branch)


def _cost(n_places: int, n_filters: int, height: int) -> float:
    """Say what a filter costs at one place, where so many places are computed at once."""
    return _lanes(n_places * n_filters) / n_places * (height + n_places - 1)


def _lanes(n_filters: int) -> int:
    """Say how many filters are paid for where so many are computed."""
    return -(-n_filters // LANES) * LANES


def _steps(n_taps: int, n_together: int) -> int:
    """Count the steps of so many frames that a filter sees, wherever in a step it starts."""
    return -(-(n_taps - 1) // n_together) + 1


def _channels_last(weight: Tensor) -> Tensor:
    """Lay out a filter, (filters, channels, mels, frames), as what it meets is laid out."""
    return weight.contiguous(memory_format=torch.channels_last)


def _max_over_mel(found: Tensor) -> Tensor:
    """Give (batch, filters, frames) for (batch, filters, mels, frames) that has its channels last."""
    by_mel = found.permute(0, 2, 3, 1).flatten(2)  # (batch, mels, frames * filters): along the last axis it is quick
    return torch.unflatten(by_mel.amax(1), 1, (-1, found.shape[1])).transpose(1, 2)


def same(group: FilterGroup, x: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
    """Compute a group of filters for each patch, with zeros around the patch.

    Args:
        group: the filters.
        x: (frames, mels): the stretch, normalised.
        starts: first frame of each patch.
        n_frames: length of a patch.

    Returns:
        (patches, filters, n_frames).
    """
    patches = torch.stack([x[start : start + n_frames] for start in starts])
    before, after = same_zeros(group.n_taps)
    first, end = starts[0], starts[-1] + n_frames
    if len(starts) * (n_frames - group.n_taps + 1) <= end - first:  # so little overlap that nothing is saved
        return group(F.pad(patches, (0, 0, before, after)))
    # Only the first and the last frames of a patch see its padding; the others are the stretch's own.
    head = group(F.pad(patches[:, : group.n_taps - 1], (0, 0, before, 0)))  # (patches, filters, before)
    tail = group(F.pad(patches[:, n_frames - group.n_taps + 1 :], (0, 0, 0, after)))  # (patches, filters, after)
    inner = group(x[None, first:end])[0]  # (filters, frames without padding)
    n_inner = n_frames - group.n_taps + 1
    shared = torch.stack([inner[:, start - first : start - first + n_inner] for start in starts])
    return torch.cat([head, shared, tail], 2)


def _fold_pooled(model: MusiCNN, is_live: Tensor, gain: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Put the batch norm of the pooled layer, and what is constant in it, into the dense layer.

    Args:
        model: the plain module.
        is_live: (front-end channels,).
        gain: (live,): what the live channels are still to be multiplied by.
        offsets: (front-end channels,): what is still to be added.

    Returns:
        The weight for the maxima of the live channels and of the mid-end's, then their means; and the bias.
    """
    scale, shift = scale_and_shift(model.bn_pool)
    bias = model.dense.bias + model.dense.weight.double() @ shift
    weight = torch.unflatten(model.dense.weight * scale, 1, (-1, 2))  # (dense, channels, maximum and mean)
    n_front = len(offsets)
    bias = bias + torch.einsum("dcp,c->d", weight[:, :n_front], offsets)  # both poolings add the same
    front = weight[:, :n_front][:, is_live] * gain[:, None]
    weight = torch.cat([front, weight[:, n_front:]], 1).transpose(1, 2)
    return weight.flatten(1).float(), bias.float()
