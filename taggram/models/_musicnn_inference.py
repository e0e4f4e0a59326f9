"""musicnn made ready to tag: less than half of the work, as products at nearly the speed of the processor.

Most filters of the front-end are constant (`_pruning`); only the live ones are computed, and for those the maximum over
mel comes before bias, ReLU and batch norm. What is left is matrix products, none of whose operands is ever copied out
into all windows:

    timbral   every 7 frames side by side, (mels, 7, frames), is a small matrix. The windows of a filter of 38 mels at
              one position in mel are 38 * 7 rows of it that lie together: (filters, 38 * 7) @ (38 * 7, frames).
    temporal  a filter of 128 frames meets each mel band alone. The windows of 8 frames that follow each other are 135
              rows of (frames, mels): (mels, 135) @ (135, 8 * filters), the filter once for each of the 8.

The constants are one more channel of the mid-end, 1 in the patch and 0 in the padding, as all else is; in the pooled
layer they are part of the dense layer's bias. Patches that overlap share the frames where no filter meets padding.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram.models._blocks import ConvReluNorm, same_zeros
from taggram.models._inference import InferenceForm, PlainForm
from taggram.models._pruning import (
    Bounds,
    bias_of,
    block_bounds,
    input_bounds,
    rectifier,
    scale_and_shift,
    tap_bounds,
    within_limit,
)

if TYPE_CHECKING:
    from taggram.models.musicnn import MusiCNN

PRODUCT_VALUES = 190_000  # outputs of the products between two maxima: 760 kB, which stay in the cache
N_COLUMNS = 256  # frames of a timbral product, at most about
N_PRODUCTS = 256  # filters times frames of a temporal product, about
POOLS: dict[str, Callable[[Tensor], Tensor]] = {  # layers over all of a patch, for (patches, channels, frames)
    "mean_pool": lambda layer: layer.mean(2),
    "max_pool": lambda layer: layer.amax(2),
}
MOST_FRAMES_TOGETHER = 32  # of a temporal product: beyond, too much of it is zeros


class MusiCNNForm(InferenceForm):
    """A musicnn of any width, pruned, as matrix products.

    Args:
        model: the plain module.
    """

    @torch.no_grad()
    def __init__(self, model: MusiCNN) -> None:
        super().__init__(model)
        branches = cast("list[ConvReluNorm]", [*model.timbral, *model.temporal])
        midend = cast("list[ConvReluNorm]", [*model.midend])
        self.bounds = [front_bounds(branch, model.bn_in) for branch in branches]
        rectifiers = [rectifier(branch) for branch in branches]
        filters = [
            (branch.conv.weight[:, 0] * after.sign[:, None, None])[bounds.is_live].float()  # (live, taps, mels)
            for branch, bounds, after in zip(branches, self.bounds, rectifiers)
        ]
        n_timbral = len(model.timbral)
        self.groups = [Timbral(filters[:n_timbral]), *map(Temporal, filters[n_timbral:])]

        is_live = torch.cat([bounds.is_live for bounds in self.bounds])
        self.lower = torch.cat([after.lower for after in rectifiers])[is_live, None].float()
        self.upper = torch.cat([after.upper for after in rectifiers])[is_live, None].float()
        gain = torch.cat([after.gain for after in rectifiers])[is_live]
        offsets = torch.cat([bounds.constants for bounds in self.bounds])  # what stands beside gain * channel
        offsets[is_live] = torch.cat([after.shift for after in rectifiers])[is_live]
        self.is_live, self.gain, self.offsets = is_live, gain.float(), offsets.float()

        self.scale_in, self.shift_in = (float(part) for part in scale_and_shift(model.bn_in))
        weights = [block.conv.weight.double() for block in midend]  # (filters, channels, taps)
        constant = torch.einsum("fct,c->ft", weights[0], offsets)  # what the channel of ones adds
        weights[0] = torch.cat([weights[0][:, is_live] * gain[:, None], constant[:, None]], 1)
        self.midend = [Midend(*layer) for layer in zip(midend, weights)]
        self.dense_weight, self.dense_bias = _fold_pooled(model, is_live, gain, offsets)
        self.dense_scale, self.dense_shift = (part.float() for part in scale_and_shift(model.bn_dense))

    def features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `InferenceForm.features`."""
        if not within_limit(frames):  # nothing is known of the pruned channels then
            return PlainForm(self.model).features(frames, starts, n_frames)
        layers = self._whole(frames, starts, n_frames)
        pooled = torch.cat([layer.amax(2) for layer in layers] + [layer.mean(2) for layer in layers], 1)
        dense = F.linear(pooled, self.dense_weight, self.dense_bias)
        return dense.relu_().mul_(self.dense_scale).add_(self.dense_shift)

    def layer(self, name: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute a named layer, the pooled ones without what is pruned; see `InferenceForm.layer`."""
        if name in POOLS:
            return self.layers([name], frames, starts, n_frames)[0]
        return super().layer(name, frames, starts, n_frames)

    def layers(self, names: Sequence[str], frames: Tensor, starts: Sequence[int], n_frames: int) -> list[Tensor]:
        """Compute named layers, all pooled ones in one pass; see `InferenceForm.layers`."""
        if not POOLS.keys() >= set(names):
            return super().layers(names, frames, starts, n_frames)
        if not within_limit(frames):
            return PlainForm(self.model).layers(names, frames, starts, n_frames)
        whole = self._whole(frames, starts, n_frames)
        return [self._pooled(POOLS[name], whole) for name in names]

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
        live = front[:-1]
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

    @abc.abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Give the maxima, (batch, filters, frames - n_taps + 1), for (batch, frames, mels)."""


class Timbral(FilterGroup):
    """Filters that see few frames and part of the mels, at every position in mel.

    Args:
        filters: (filters, taps, mels) for each height; the taps are as many in all.
    """

    def __init__(self, filters: Sequence[Tensor]) -> None:
        super().__init__(filters[0].shape[1])
        self.weights = [of_height.transpose(1, 2).flatten(1) for of_height in filters]  # (filters, height * taps)

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the maxima; see `FilterGroup`."""
        n_out = x.shape[1] - self.n_taps + 1
        return torch.cat([self._maxima(some, n_out) for some in torch.split(x, max(1, N_COLUMNS // n_out))])

    def _maxima(self, x: Tensor, n_out: int) -> Tensor:
        """Give (batch, filters, n_out) for (batch, frames, mels) that fit into the cache, or for one long stretch."""
        windows = x.transpose(1, 2).unfold(2, n_out, 1)  # (batch, mels, taps, n_out)
        columns = windows.permute(1, 2, 0, 3).reshape(-1, len(x) * n_out)  # (mels * taps, batch * n_out)
        peaks = [
            torch.cat([self._over_mel(weight, some) for weight in self.weights])  # (filters, columns)
            for some in torch.split(columns, N_COLUMNS, dim=1)
        ]
        return torch.unflatten(torch.cat(peaks, 1), 1, (len(x), n_out)).transpose(0, 1)

    def _over_mel(self, weight: Tensor, columns: Tensor) -> Tensor:
        """Give (filters, columns), the maxima over all positions in mel, for (mels * taps, columns)."""
        windows = columns.unfold(0, weight.shape[1], self.n_taps).transpose(1, 2)  # (positions, height * taps, columns)
        step = products_at_once(weight.shape[0] * columns.shape[1])
        peaks = [torch.bmm(weight.expand(len(some), -1, -1), some).amax(0) for some in torch.split(windows, step)]
        return torch.stack(peaks).amax(0)


class Temporal(FilterGroup):
    """Filters that see many frames of one mel band, on every band.

    Args:
        filters: (filters, taps, 1).
    """

    def __init__(self, filters: Tensor) -> None:
        super().__init__(filters.shape[1])
        n_together = min(MOST_FRAMES_TOGETHER, max(1, N_PRODUCTS // max(1, len(filters))))
        self.weight = filters.new_zeros(self.n_taps + n_together - 1, n_together, len(filters))
        for frame in range(n_together):
            self.weight[frame : frame + self.n_taps, frame] = filters[:, :, 0].t()

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the maxima; see `FilterGroup`."""
        return torch.stack([self._maxima(one) for one in x])

    def _maxima(self, x: Tensor) -> Tensor:
        """Give (filters, n_out) for (frames, mels)."""
        n_window, n_together, n_filters = self.weight.shape
        n_out = len(x) - self.n_taps + 1
        x = F.pad(x, (0, 0, 0, -n_out % n_together))  # to whole blocks; what they find in the zeros is left out below
        windows = x.unfold(0, n_window, n_together)  # (blocks, mels, taps + together - 1)
        weight = self.weight.flatten(1)  # (taps + together - 1, together * filters)
        step = products_at_once(windows.shape[1] * weight.shape[1])
        peaks = [torch.bmm(some, weight.expand(len(some), -1, -1)).amax(1) for some in torch.split(windows, step)]
        return torch.cat(peaks).view(len(windows) * n_together, n_filters)[:n_out].t()


class Midend:
    """A layer of the mid-end, for (batch, channels, frames).

    Args:
        block: the plain layer.
        weight: (filters, channels, taps), in place of its own.
    """

    def __init__(self, block: ConvReluNorm, weight: Tensor) -> None:
        self.weight, self.bias = weight.float(), bias_of(block).float()
        self.scale, self.shift = (part.float()[:, None] for part in scale_and_shift(block.bn))

    def __call__(self, x: Tensor) -> Tensor:
        """Give (batch, filters, frames)."""
        return F.conv1d(x, self.weight, self.bias, padding="same").relu_().mul_(self.scale).add_(self.shift)


def front_bounds(branch: ConvReluNorm, norm_in: nn.BatchNorm2d) -> Bounds:
    """Bound the channels of a branch of the front-end; any frame it sees may be padding."""
    inputs = input_bounds(norm_in)
    inputs = Bounds(inputs.low.clamp(max=0), inputs.high.clamp(min=0))
    low, high = (of_taps.sum((1, 2)) for of_taps in tap_bounds(branch.conv.weight, inputs))
    return block_bounds(low, high, branch)


def products_at_once(n_values: int) -> int:
    """Say how many products of so many values each are made before their maximum is taken."""
    return max(1, PRODUCT_VALUES // max(1, n_values))


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
