"""Training on patches that are in memory: of few clips, of frames with labels of their own, of tasks drawn anew.

`fit` is for data sets: it reads, crops, checkpoints and reports. Studies train hundreds of small networks, one a cell,
each on little data, so here is the loop alone, on the same settings, losses, optimisers and schedules.
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from taggram.errors import ConfigError, TrainingError
from taggram.learning._random import Purpose, generator
from taggram.learning._steps import (
    create_optimizer,
    loss_name,
    n_right,
    penalty,
    scale_rates,
    set_norm_momentum,
    step_seed,
    tag_loss,
    take_step,
)
from taggram.learning.config import FitConfig
from taggram.learning.schedules import Schedule
from taggram.learning.transfer import freeze, frozen_modules
from taggram.models._contract import TaggingModel

EVAL_BATCH = 256  # patches that are looked at at once where nothing is learned


@dataclass(frozen=True)
class Batch:
    """Patches of one step.

    Attributes:
        patches: (patches, 1, mels, frames) or (patches, 1, samples).
        targets: (patches, tags), 0 or 1; where exactly one tag holds, with one 1 a row.
        weights: (patches,) of the loss of each, or None where all are equal.
    """

    patches: Tensor
    targets: Tensor
    weights: Tensor | None = None


class Patches(abc.ABC):
    """Patches that are trained on or looked at, a batch at a time."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Count the patches."""

    @abc.abstractmethod
    def chosen(self, places: Tensor) -> Batch:
        """Give some of the patches.

        Args:
            places: (patches,) which ones, in order.

        Returns:
            A batch of them.
        """

    def shuffled(self, config: FitConfig, epoch: int, *, drop_last: bool = False) -> Iterator[Batch]:
        """Give all patches in an order that hangs on seed and epoch alone.

        Args:
            config: has the seed and the size of the batches.
            epoch: from 1 on.
            drop_last: whether a last, smaller batch is left out.

        Yields:
            The batches; one patch that is left over goes with the last of them, since batch norms need two.
        """
        order = torch.from_numpy(generator(config.seed, Purpose.ORDER, epoch).permutation(len(self)))
        batches = list(torch.split(order, config.batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1 < config.batch_size and not drop_last:
            batches[-2:] = [torch.cat(batches[-2:])]
        for places in batches:
            if len(places) == config.batch_size or not drop_last:
                yield self.chosen(places)


@dataclass(frozen=True)
class PatchSet(Batch, Patches):
    """Patches that lie in memory, with what they are."""

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.patches)

    def chosen(self, places: Tensor) -> Batch:
        """Give some of the patches; see `Patches`."""
        weights = None if self.weights is None else self.weights[places]
        return Batch(self.patches[places], self.targets[places], weights)


def fit_patches(
    model: TaggingModel,
    batches: Callable[[int], Iterable[Batch]],
    config: FitConfig,
    *,
    valid: Patches | None = None,
    device: torch.device | str = "cpu",
    told: Callable[[dict[str, float]], object] = lambda _: None,
) -> list[dict[str, float]]:
    """Train a network in place.

    Of the settings, those that read data (sampling, patches_per_track, super_batch and the like), accumulate,
    ema_decay, precision, compile, max_steps and max_minutes do nothing here.

    Args:
        model: the network, with a head.
        batches: gives those of an epoch, which is counted from 1 on.
        config: how it is trained. `keep` other than "last" needs `valid`, and so does a schedule that looks at
            its loss.
        valid: what is looked at after each epoch.
        device: where it is trained; the network is back on the CPU at the end.
        told: is told the figures of each epoch.

    Returns:
        The figures of each epoch: epoch, lr, train_loss and train_accuracy; with `valid` also valid_loss and
        valid_accuracy. The network is left in evaluation mode, with the weights that `keep` says.

    Raises:
        ConfigError: `keep` is "valid_auc".
        TrainingError: the loss is no number.
    """
    if config.keep == "valid_auc":
        raise ConfigError("keep is 'valid_auc', which needs clips; of patches there are valid_accuracy and valid_loss.")
    model.to(device)
    set_norm_momentum(model, config)
    frozen = frozen_modules(model, config.freeze, trunk=config.trunk_lr == 0)
    freeze(frozen)
    optimizer, schedule = create_optimizer(model, config), Schedule(config.schedule)
    name, history, step = loss_name(model, config), [], 0
    best, kept = math.inf, None
    for epoch in range(1, config.max_epochs + 1):
        model.train()
        freeze(frozen)
        figures = {"epoch": float(epoch), "lr": config.lr * schedule.lr_scale}
        losses, right, n_patches = 0.0, 0.0, 0
        n_steps = 0
        for batch in batches(epoch):
            torch.manual_seed(step_seed(config.seed, step))
            scale_rates(optimizer.param_groups, config, schedule.lr_scale / (1 + config.lr_decay * step))
            patches, targets = batch.patches.to(device), batch.targets.to(device)
            logits = model.forward_head(model.forward_features(patches))
            loss = _loss(logits, targets, batch.weights, name) + penalty(model, config)
            take_step(loss, model, optimizer, config.clip_norm)
            losses += loss.item()
            right += float(n_right(logits.detach(), targets, model.task))
            n_patches += len(patches)
            n_steps += 1
            step += 1
        figures |= {"train_loss": losses / max(1, n_steps), "train_accuracy": right / max(1, n_patches)}
        if not math.isfinite(figures["train_loss"]):
            raise TrainingError(f"the loss is no number in epoch {epoch}; lower lr or set clip_norm.")
        if valid is not None:
            figures |= _validated(model, valid, config, name, device)
            score = figures["valid_loss"] if config.keep == "valid_loss" else -figures["valid_accuracy"]
            if config.keep != "last" and score < best:
                best, kept = score, copy.deepcopy(model.state_dict())
        history.append(figures)
        told(figures)
        if schedule.end_epoch(figures.get(config.schedule.monitor, figures["train_loss"])).stop:
            break
    if kept is not None:
        model.load_state_dict(kept)
    model.to("cpu").eval()
    return history


@torch.no_grad()
def scores_of(
    model: TaggingModel, patches: Tensor, *, device: torch.device | str = "cpu", batch_size: int = EVAL_BATCH
) -> Tensor:
    """Score patches.

    Args:
        model: the network, with a head; it is left in evaluation mode.
        patches: (patches, 1, ...).
        device: where it is done.
        batch_size: patches at once.

    Returns:
        (patches, tags) from 0 to 1, on the CPU.
    """
    model.to(device).eval()
    parts = [
        model.scores(model.forward_head(model.forward_features(part.to(device)))).cpu()
        for part in torch.split(patches, batch_size)
    ]
    return torch.cat(parts)


def one_hot(labels: np.ndarray[tuple[int], np.dtype[np.int64]] | Tensor, n_classes: int) -> Tensor:
    """Write classes as targets.

    Args:
        labels: (patches,) numbers of the classes.
        n_classes: how many there are.

    Returns:
        (patches, classes) float32.
    """
    return F.one_hot(torch.as_tensor(labels, dtype=torch.int64), n_classes).float()


# -- inside ------------------------------------------------------------------------------------------------------------


def _loss(logits: Tensor, targets: Tensor, weights: Tensor | None, name: str) -> Tensor:
    """Compute the loss of a batch, the mean over its patches, each by its weight."""
    if weights is None:
        return tag_loss(logits, targets, name)
    if name == "cross_entropy":
        each = F.cross_entropy(logits, targets, reduction="none")
    else:
        each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
    return (each * weights.to(each.device)).mean()


@torch.no_grad()
def _validated(
    model: TaggingModel, valid: Patches, config: FitConfig, name: str, device: torch.device | str
) -> dict[str, float]:
    """Give loss and accuracy of patches that are not trained on."""
    model.eval()
    losses, right = 0.0, 0.0
    for places in torch.split(torch.arange(len(valid)), EVAL_BATCH):
        batch = valid.chosen(places)
        targets = batch.targets.to(device)
        logits = model.forward_head(model.forward_features(batch.patches.to(device)))
        losses += float(_loss(logits, targets, batch.weights, name)) * len(places)
        right += float(n_right(logits, targets, model.task))
    loss = losses / len(valid) + (float(penalty(model, config)) if config.l2_in_valid_loss else 0.0)
    return {"valid_loss": loss, "valid_accuracy": right / len(valid)}
