"""VGG made ready to tag: the constant channels left out, the maximum first, in the layout that oneDNN is quickest with.

Every block is convolution, bias, ReLU, batch norm and max-pool. Here it is convolution, bias, maximum and clamp; the
sign of the norm goes into the filters, its scale and shift into those of the next block (`_pruning`). So a block
carries, with its live channels,

    a channel of ones: where it meets the next block's filters it adds the shifts, and the constants of the channels
        left out; as it is 0 in the padding, so are they, which no bias could do
    zeros: up to a multiple of `LANES` channels

and both come out of a clamp whose ends are both 1 or both 0. All is laid out as (patches, frames, mels, channels).

Patches that overlap share the first two blocks, which are most of the work. Padding only reaches the first row of the
first block's output, and so the first two and the last of the second's; these rows are computed for each patch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from taggram.models._convolution import KINDS, Kind
from taggram.models._pruning import (
    Bounds,
    PrunedForm,
    block_bounds,
    input_bounds,
    rectifier,
    scale_and_shift,
    tap_bounds,
)

if TYPE_CHECKING:
    from taggram.models._blocks import ConvReluNorm
    from taggram.models._registry import Precision
    from taggram.models.vgg import VGG

LANES = 4  # channels come in multiples of it: with more, the zeros cost more than even rows save
KERNEL = 3  # frames and mels of every filter
CHUNK_ROWS = 1024  # positions of the first block at once: their outputs, about 300 kB, stay in the cache
WORTH_SHARING = 0.8  # of the rows of the patches one by one: sharing pays where the stretch has fewer
Window = tuple[int, int]  # (frames, mels)


class VGGForm(PrunedForm):
    """A VGG with either pooling, pruned.

    Args:
        model: the plain module.
        precision: the numbers that its convolutions compute in, but for the first block's.
    """

    @torch.no_grad()
    def __init__(self, model: VGG, precision: Precision = "float32") -> None:
        from taggram.models.vgg import POOLS

        super().__init__(model, precision)
        blocks = cast("list[ConvReluNorm]", [*model.blocks])
        self.bounds = network_bounds(blocks, input_bounds(model.bn_in))
        self.scale_in, self.shift_in = (float(part) for part in scale_and_shift(model.bn_in))
        channels = [Channels(block, bounds) for block, bounds in zip(blocks, self.bounds)]
        pools = POOLS[model.pooling]
        self.first = FirstBlock(blocks[0], channels[0], *pools[0])
        self.second, *self.others = (
            Block(block, before, after, size, KINDS[precision])
            for block, before, after, (size, _) in zip(blocks[1:], channels, channels[1:], pools[1:])
        )
        self.last = channels[-1]

    def pruned_features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `PrunedForm`."""
        x = frames.t() * self.scale_in + self.shift_in  # (frames, mels)
        pooled = self._first_two(x, starts, n_frames)  # (patches, 46, 24, channels)
        for block in self.others:
            pooled = block(pooled)
        return self.last.unpack(pooled).flatten(1)  # (patches, 2 * 128)

    def shares(self) -> dict[str, float]:
        """Say what pruning leaves, and the first pooling, which passes bands over; see `InferenceForm.shares`."""
        live = [bounds.is_live.float().mean().item() for bounds in self.bounds]
        first = live[0] / self.first.stride[1]
        others = {f"blocks.{index}": before * own for index, (before, own) in enumerate(itertools.pairwise(live), 1)}
        return {"blocks.0": first, **others}

    def _first_two(self, x: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Run the first two blocks, sharing among the patches whose rows fall together what it is worth to share."""
        pooled: dict[int, Tensor] = {}
        may_share = self.precision != "int8"  # whose scale is that of a patch
        for phase in range(self.first.stride[0]):
            alike = [start for start in starts if start % self.first.stride[0] == phase]
            if may_share and alike and alike[-1] - alike[0] < (len(alike) - 1) * n_frames * WORTH_SHARING:
                pooled.update(zip(alike, self._shared(x, alike, n_frames)))
            else:
                pooled.update((start, self._alone(x[start : start + n_frames])) for start in alike)
        return torch.stack([pooled[start] for start in starts])

    def _alone(self, patch: Tensor) -> Tensor:
        """Run the first two blocks on one patch, (frames, mels)."""
        return self.second(self.first(F.pad(patch, (0, 0, 1, 1)))[None])[0]

    def _shared(self, x: Tensor, starts: Sequence[int], n_frames: int) -> list[Tensor]:
        """Run the first two blocks on patches that overlap; see the top of this file."""
        begin, end = starts[0], starts[-1] + n_frames
        rows = self.first(F.pad(x[begin:end], (0, 0, 1, 1)))  # (rows, mels, channels)
        n_rows = self.first.n_rows(n_frames)
        offsets = [(start - begin) // self.first.stride[0] for start in starts]
        heads = [self.first(F.pad(x[start : start + self.first.size + 1], (0, 0, 1, 0))) for start in starts]
        # The rows 0, 1, 2, n - 2 and n - 1 of each patch; of their outputs 0, 1 and 4 are right.
        strips = torch.stack(
            [
                torch.cat([head, rows[offset + 1 : offset + 3], rows[offset + n_rows - 2 : offset + n_rows]])
                for head, offset in zip(heads, offsets)
            ]
        )
        edges, inner = self.second.convolve(strips), self.second.convolve(rows[None])[0]
        return [
            self.second.pool(torch.cat([edge[:2], inner[offset + 2 : offset + n_rows - 1], edge[-1:]])[None])[0]
            for edge, offset in zip(edges, offsets)
        ]


class Channels:
    """How the channels that a block gives are carried: the live ones, one of ones, then zeros.

    Args:
        block: the plain block.
        bounds: of its channels.
    """

    def __init__(self, block: ConvReluNorm, bounds: Bounds) -> None:
        after = rectifier(block)
        self.live = bounds.is_live.nonzero().flatten()
        self.sign, self.gain = after.sign[self.live], after.gain[self.live]
        self.offsets = bounds.constants.index_copy(0, self.live, after.shift[self.live])  # beside gain * channel
        self.n_carried = -(-(len(self.live) + 1) // LANES) * LANES
        ends = torch.zeros(2, self.n_carried, dtype=torch.float64)
        ends[:, : len(self.live)] = torch.stack([after.lower, after.upper])[:, self.live]
        ends[:, len(self.live)] = 1
        self.bias = torch.zeros(self.n_carried)
        self.bias[: len(self.live)] = after.bias[self.live].float()
        self.lower, self.upper = ends.float()

    def filters_onto(self, weight: Tensor) -> Tensor:
        """Keep the filters of the live channels, (carried, ...) for (channels, ...); the others are zeros."""
        kept = weight.new_zeros(self.n_carried, *weight.shape[1:])
        kept[: len(self.live)] = weight[self.live] * self.sign[:, None, None, None]
        return kept

    def filters_from(self, weight: Tensor) -> Tensor:
        """Make filters of what is carried, (filters, carried, ...) for (filters, channels, ...)."""
        kept = weight.new_zeros(weight.shape[0], self.n_carried, *weight.shape[2:])
        kept[:, : len(self.live)] = weight[:, self.live] * self.gain[:, None, None]
        kept[:, len(self.live)] = torch.einsum("fcij,c->fij", weight, self.offsets)
        return kept

    def clamp_(self, x: Tensor) -> Tensor:
        """Clamp (..., carried) in place: ReLU, and the ones and the zeros."""
        torch.maximum(x, self.lower, out=x)
        return torch.minimum(x, self.upper, out=x)

    def unpack(self, x: Tensor) -> Tensor:
        """Give the plain block's output, (..., channels) for (..., carried)."""
        whole = self.offsets.float().repeat(*x.shape[:-1], 1)
        whole[..., self.live] += x[..., : len(self.live)] * self.gain.float()
        return whole


class FirstBlock:
    """The block that sees one channel, as products.

    Of `stride` frames that follow each other the windows, stride + 2 frames by 3 mels, are met by the filter at each of
    its `stride` places; the larger of these, and of `size` / `stride` such groups, is the pooled row.

    Args:
        block: the plain block.
        channels: how its output is carried.
        size: of the pooling.
        stride: of the pooling. In mel the pooling is one wide, so bands between the strides are never computed.
    """

    def __init__(self, block: ConvReluNorm, channels: Channels, size: Window, stride: Window) -> None:
        self.channels, self.size, self.stride = channels, size[0], stride
        kernel = channels.filters_onto(block.conv.weight.double())[:, 0].float()  # (carried, 3, 3)
        self.weights = kernel.new_zeros(stride[0], stride[0] + KERNEL - 1, KERNEL, channels.n_carried)
        for frame in range(stride[0]):
            self.weights[frame, frame : frame + KERNEL] = kernel.permute(1, 2, 0)
        self.weights = self.weights.flatten(1, 2)  # (places, (stride + 2) * 3, carried)

    def n_rows(self, n_frames: int) -> int:
        """Count the pooled rows of so many frames."""
        return (n_frames - self.size) // self.stride[0] + 1

    def __call__(self, x: Tensor) -> Tensor:
        """Give (rows, mels, carried) for (frames + 2, mels): what is on either side of the frames comes with them."""
        n_rows = self.n_rows(len(x) - KERNEL + 1)
        n_groups = self.size // self.stride[0]  # of frames, to a row
        x = F.pad(x, (1, 1))  # (frames + 2, mels + 2)
        windows = x.unfold(0, self.stride[0] + KERNEL - 1, self.stride[0]).unfold(1, KERNEL, self.stride[1])
        windows = windows[: n_rows + n_groups - 1]  # (groups, mels, stride + 2, 3)
        peaks = torch.unflatten(self._over_places(windows.flatten(2).flatten(0, 1)), 0, windows.shape[:2])
        pooled = peaks[:n_rows]
        for group in range(1, n_groups):
            pooled = torch.maximum(pooled, peaks[group : group + n_rows])
        return pooled

    def _over_places(self, windows: Tensor) -> Tensor:
        """Take the maximum over the places of the filter, (n, carried) for (n, (stride + 2) * 3), and clamp it."""
        peaks = windows.new_empty(len(windows), self.channels.n_carried)
        for some, found in zip(torch.split(windows, CHUNK_ROWS), torch.split(peaks, CHUNK_ROWS)):
            torch.mm(some, self.weights[0], out=found)
            for weight in self.weights[1:]:
                torch.maximum(found, torch.mm(some, weight), out=found)
            self.channels.clamp_(found.add_(self.channels.bias))
        return peaks


class Block:
    """A block of convolution, max-pool and clamp on what the one before carries.

    Args:
        block: the plain block.
        before: how its input is carried.
        after: how its output is carried.
        size: of the pooling, and its stride.
        kind: how it convolves.
    """

    def __init__(self, block: ConvReluNorm, before: Channels, after: Channels, size: Window, kind: Kind) -> None:
        weight = after.filters_onto(before.filters_from(block.conv.weight.double()))
        weight = weight.float().contiguous(memory_format=torch.channels_last)
        self.conv = kind(weight, after.bias, padding=(1, 1))
        self.channels, self.size = after, size

    def __call__(self, x: Tensor) -> Tensor:
        """Give (patches, rows, mels, carried), pooled."""
        return self.pool(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve, and take the maximum over neighbouring mels."""
        found = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return max_of_neighbours(found, 2, self.size[1])

    def pool(self, x: Tensor) -> Tensor:
        """Take the maximum over neighbouring rows, and clamp."""
        return self.channels.clamp_(max_of_neighbours(x, 1, self.size[0]))


def max_of_neighbours(x: Tensor, dim: int, size: int) -> Tensor:
    """Take the maximum of each `size` neighbours along an axis; a last, smaller lot is left out."""
    lots = torch.unflatten(x.narrow(dim, 0, x.shape[dim] // size * size), dim, (-1, size))
    first, *others = lots.unbind(dim + 1)
    for other in others:
        first = torch.maximum(first, other)
    return first


def network_bounds(blocks: Sequence[ConvReluNorm], inputs: Bounds) -> list[Bounds]:
    """Bound the channels of every block, at the borders as inside, from the bounds of the first one's input."""
    # Inside, a filter meets its input with all taps; at a border its first or its last ones meet zeros.
    met = slice(None), slice(1, None), slice(None, -1)
    found = []
    for block in blocks:
        low, high = tap_bounds(block.conv.weight, inputs)  # (channels, 3, 3)
        lows = [low[:, rows, mels].sum((1, 2)) for rows, mels in itertools.product(met, met)]
        highs = [high[:, rows, mels].sum((1, 2)) for rows, mels in itertools.product(met, met)]
        inputs = block_bounds(torch.stack(lows).amin(0), torch.stack(highs).amax(0), block)
        found.append(inputs)
    return found
