"""What a step of training is made of: loss, penalty, optimiser, and the random numbers that are drawn in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram.learning._random import Purpose
from taggram.learning.config import FitConfig, Penalised
from taggram.models._contract import TaggingModel

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d)
KERNELS = (*CONVOLUTIONS, nn.Linear)
PENALISED = {  # the layers whose weights L2 acts on
    "kernels": KERNELS,
    "trunk_kernels": KERNELS,
    "convolutions": CONVOLUTIONS,
    "kernels_and_norms": (*KERNELS, nn.BatchNorm1d, nn.BatchNorm2d),
}


def loss_name(model: TaggingModel, config: FitConfig) -> str:
    """Name the loss, where "auto" is what the task asks for."""
    if config.loss != "auto":
        return config.loss
    return "binary" if model.task == "several" else "cross_entropy"


def tag_loss(logits: Tensor, labels: Tensor, name: str) -> Tensor:
    """Compute a loss, the mean over the batch.

    Args:
        logits: (batch, tags).
        labels: (batch, tags), 0 or 1; for "cross_entropy" with one 1 a row.
        name: "binary", "binary_sum", "cross_entropy" or "mse".

    Returns:
        A scalar.
    """
    if name == "cross_entropy":
        return F.cross_entropy(logits, labels)
    if name == "mse":
        return F.mse_loss(torch.sigmoid(logits), labels)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    return loss * labels.shape[1] if name == "binary_sum" else loss


def n_right(logits: Tensor, labels: Tensor, task: str) -> Tensor:
    """Count the patches whose best tag is the true one; where several tags may hold, the share of tags told right.

    Args:
        logits: (patches, tags).
        labels: (patches, tags), 0 or 1.
        task: "one" or "several".

    Returns:
        A scalar, the sum over the patches.
    """
    if task == "one":
        return (logits.argmax(1) == labels.argmax(1)).float().sum()
    return ((logits > 0) == (labels > 0.5)).float().mean(1).sum()


def penalised(model: nn.Module, of: Penalised) -> Iterator[Tensor]:
    """Give the weights that L2 acts on; biases only with "all"."""
    if of == "all":
        yield from (parameter for parameter in model.parameters() if parameter.requires_grad)
        return
    kinds = PENALISED[of]
    head = getattr(model, "head", None) if of == "trunk_kernels" else None
    in_head = set() if head is None else set(head.modules())
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if module not in in_head and isinstance(module, kinds) and isinstance(weight, Tensor) and weight.requires_grad:
            yield weight


def penalty(model: nn.Module, config: FitConfig) -> Tensor:
    """Give the L2 term of the loss."""
    total = torch.zeros((), device=next(model.parameters()).device)
    if config.l2:
        for weight in penalised(model, config.l2_of):
            total = total + weight.square().sum()
    return config.l2 * total


def create_optimizer(model: TaggingModel, config: FitConfig) -> torch.optim.Optimizer:
    """Make the optimiser: the head has the full rate, the rest `trunk_lr` times that."""
    head = [parameter for parameter in model.head.parameters() if parameter.requires_grad]
    in_head = set(map(id, head))
    trunk = [p for p in model.parameters() if p.requires_grad and id(p) not in in_head]
    groups = [
        {"params": parameters, "scale": scale}
        for parameters, scale in ((head, 1.0), (trunk, config.trunk_lr))
        if parameters and scale
    ]
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, eps=config.eps)
    if config.optimizer == "adadelta":
        return torch.optim.Adadelta(groups, lr=config.lr, rho=config.rho, eps=config.eps)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def scale_rates(groups: Iterable[dict[str, Any]], config: FitConfig, scale: float) -> None:
    """Set the learning rates of a step.

    Args:
        groups: of the optimiser that `create_optimizer` made.
        config: has the first rate.
        scale: what it is multiplied by.
    """
    for group in groups:
        group["lr"] = config.lr * group["scale"] * scale


def take_step(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> None:
    """Learn from the loss of a batch.

    Args:
        loss: a scalar, with its penalty.
        model: what learns.
        optimizer: of its parameters.
        clip_norm: largest norm of the gradient; None is no limit.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()


def set_norm_momentum(model: nn.Module, config: FitConfig) -> None:
    """Give all batch norms the momentum of the config, if it has one."""
    if config.norm_momentum is not None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = config.norm_momentum


def step_seed(seed: int, step: int) -> int:
    """Give the seed of the random numbers that a step draws, for dropout; all processes draw the same."""
    return int(np.random.SeedSequence((seed, Purpose.DROPOUT, step, 0)).generate_state(1, np.uint64)[0] >> 1)
