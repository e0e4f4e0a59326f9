"""Steps of several processes that equal those of one: norms and dropout look at the whole batch.

Each process has some of the patches of a batch. Their gradients are averaged by torch; what is left is that a batch
norm takes mean and variance over the patches of all, that dropout drops what it would drop in one process, and that a
process counts for as much as it has patches.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)


@dataclass(frozen=True)
class Share:
    """What a process has of a batch: every so many of its patches.

    Attributes:
        n_batch: patches in the whole batch.
        rank: which process this is.
        n_ranks: how many there are.
    """

    n_batch: int
    rank: int
    n_ranks: int

    @property
    def n_mine(self) -> int:
        """Count the own patches; a process without one looks at the first of the batch, which counts for nothing."""
        return len(range(self.rank, self.n_batch, self.n_ranks))

    @property
    def rows(self) -> slice:
        """Which rows of the batch are looked at here."""
        return slice(self.rank, None, self.n_ranks) if self.n_mine else slice(0, 1)

    @property
    def weight(self) -> float:
        """What the mean over the own patches is multiplied by, so that the mean over processes is that of the batch."""
        return self.n_mine * self.n_ranks / self.n_batch


@dataclass
class Together:
    """Makes a network that several processes train do as in one.

    Attributes:
        ends: behind which patch of an epoch each batch ends.
        rank: which process this is.
        n_ranks: how many there are.
        share: of the step that is taken; None outside of one.
    """

    ends: Sequence[int]
    rank: int
    n_ranks: int
    share: Share | None = None

    def begin(self, position: int) -> Share:
        """Begin a step.

        Args:
            position: of a patch in its batch.

        Returns:
            What this process has of it.
        """
        place = position % self.ends[-1]
        batch = bisect_right(self.ends, place)
        first = self.ends[batch - 1] if batch else 0
        self.share = Share(self.ends[batch] - first, self.rank, self.n_ranks)
        return self.share

    def join(self, model: nn.Module) -> None:
        """Have norms and dropout of a network look at whole batches.

        Args:
            model: the network; the layers stay, and so does what is saved of them.
        """
        for module in model.modules():
            if isinstance(module, NORMS):
                module.forward = partial(self._norm, module)  # type: ignore[method-assign]
            elif type(module) in DROPOUTS:
                module.forward = partial(self._dropout, module)

    def leave(self, model: nn.Module) -> None:
        """Undo `join`: outside of the training each process looks at its own patches alone.

        Args:
            model: the network.
        """
        self.share = None
        for module in model.modules():
            if isinstance(module, NORMS) or type(module) in DROPOUTS:
                module.__dict__.pop("forward", None)

    def _norm(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Normalise (batch, channels, ...) by mean and variance over the patches of all processes."""
        if not norm.training or self.share is None:
            return type(norm).forward(norm, x)
        # A norm of one channel before a map of several takes these together.
        maps = x.float() if x.shape[1] == norm.num_features else x.float().flatten(1).unsqueeze(1)
        axes = [axis for axis in range(maps.ndim) if axis != 1]
        shape = [1, -1] + [1] * (maps.ndim - 2)
        counts = float(self.share.n_mine > 0)
        n_here = maps.new_tensor([counts * maps.numel() / maps.shape[1]])
        sums = _sum_of_all(torch.cat([maps.sum(axes) * counts, n_here]))
        n_values = sums[-1].detach()
        mean = sums[:-1] / n_values
        centred = maps - mean.view(shape)
        var = _sum_of_all(centred.square().sum(axes) * counts) / n_values
        _follow(norm, mean.detach(), var.detach() * n_values / (n_values - 1).clamp_min(1))
        given = centred * torch.rsqrt(var + norm.eps).view(shape)
        if norm.affine:
            given = given * norm.weight.view(shape) + norm.bias.view(shape)
        return given.view_as(x).to(x.dtype)

    def _dropout(self, dropout: nn.Module, x: Tensor) -> Tensor:
        """Drop what is dropped of these rows where one process has the whole batch; all draw the same numbers."""
        share = self.share
        if not dropout.training or share is None:
            return type(dropout).forward(dropout, x)  # type: ignore[no-any-return]
        per_patch = x.shape[0] // max(share.n_mine, 1)
        whole = x.new_ones((share.n_batch * per_patch, *x.shape[1:]))
        if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)  # numbers are drawn in the order of the memory
        kept: Tensor = type(dropout).forward(dropout, whole)
        return x * kept.reshape(share.n_batch, per_patch, *x.shape[1:])[share.rows].flatten(0, 1)


def _sum_of_all(values: Tensor) -> Tensor:
    """Add up the values of all processes, and their gradients on the way back."""
    return _SumOfAll.apply(values)  # type: ignore[no-untyped-call, no-any-return]


class _SumOfAll(torch.autograd.Function):
    """A sum over processes; what each contributed has an effect on the loss of all."""

    @staticmethod
    def forward(_: object, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


@torch.no_grad()
def _follow(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """Let the running statistics of a norm follow."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean), share)
    norm.running_var.lerp_(var.to(norm.running_var), share)
