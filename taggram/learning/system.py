"""The Lightning module around a TaggingModel: loss, optimiser, validation, and what follows from it.

Dropout draws from the step's own random numbers, data from the position's (`data.py`), and the schedule's state is in
the checkpoint: so a run that was killed and goes on gives the numbers of one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from taggram.errors import TrainingError
from taggram.learning.config import FitConfig
from taggram.learning.metrics import mean_over_tags, roc_auc
from taggram.learning.schedules import Decision, Schedule
from taggram.models._contract import TaggingModel

_DROPOUT = 2  # beside those of data.py: what a random number is for
EVAL_BATCH = 64  # patches that validation looks at once


class TaggingSystem(lightning.LightningModule):
    """A network in training.

    Args:
        model: the network, with a head.
        config: how it is trained.
        save_best: is called when the weights are the best so far.
        load_best: puts these back.
        report: is told the figures of each epoch.
    """

    def __init__(
        self,
        model: TaggingModel,
        config: FitConfig,
        save_best: Callable[[], None],
        load_best: Callable[[], None],
        report: Callable[[dict[str, float]], None],
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.schedule = Schedule(config.schedule)
        self.lr_scale = 1.0
        self.steps_since_restart = 0
        self.best: float | None = None  # of what `keep` says; the smaller the better
        self._save_best, self._load_best, self._report = save_best, load_best, report
        self._network: Callable[[Tensor], Tensor] = torch.compile(model) if config.compile else model
        self._train_losses: list[Tensor] = []
        self._clips: list[tuple[Tensor, Tensor, Tensor]] = []

    # -- a step --------------------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Give the loss of a batch of (waveforms, labels)."""
        torch.manual_seed(step_seed(self.config.seed, self.trainer.fit_loop.total_batch_idx, self.global_rank))
        waveforms, labels = batch
        loss = tag_loss(self._network(waveforms), labels, self.loss_name) + self.penalty()
        if not loss.isfinite():
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step}; lower fit.lr or set fit.clip_norm."
            )
        self._train_losses.append(loss.detach())
        return loss

    def on_train_batch_start(self, *_: Any) -> None:
        """Set the learning rate of the step."""
        decay = 1.0 + self.config.lr_decay * self.steps_since_restart
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.config.lr * group["scale"] * self.lr_scale / decay
        self.steps_since_restart += 1

    @property
    def loss_name(self) -> str:
        """The loss, where "auto" is what the task asks for."""
        if self.config.loss != "auto":
            return self.config.loss
        return "binary" if self.model.task == "several" else "cross_entropy"

    def penalty(self) -> Tensor:
        """Give the L2 term of the loss."""
        total = torch.zeros((), device=self.device)
        if self.config.l2:
            for weight in penalised(self.model, self.config.l2_of):
                total = total + weight.square().sum()
        return self.config.l2 * total

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser: the head has the full rate, the rest `trunk_lr` times that."""
        config = self.config
        head = [parameter for parameter in self.model.head.parameters() if parameter.requires_grad]
        in_head = set(map(id, head))
        trunk = [p for p in self.model.parameters() if p.requires_grad and id(p) not in in_head]
        groups = [
            {"params": parameters, "scale": scale}
            for parameters, scale in ((head, 1.0), (trunk, config.trunk_lr))
            if parameters and scale
        ]
        if config.optimizer == "adam":
            return torch.optim.Adam(groups, lr=config.lr)
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)

    # -- validation, and what follows ----------------------------------------------------------------------------------

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Score all patches of one clip: (patches, samples) and (tags,)."""
        patches, labels = batch
        logits = torch.cat([self._network(part) for part in torch.split(patches, EVAL_BATCH)])
        loss = tag_loss(logits, labels.expand(len(logits), -1), self.loss_name) * len(logits)
        self._clips.append((self.model.scores(logits.float()).mean(0).cpu(), labels.cpu(), torch.stack(
            [loss.detach().cpu(), torch.tensor(float(len(logits)))]
        )))  # fmt: skip

    def on_validation_epoch_end(self) -> None:
        """Sum up the epoch, keep the weights if they are the best, and do as the schedule says."""
        if self.trainer.sanity_checking:
            self._clips.clear()
            return
        scores, labels, losses = (torch.stack(column) for column in zip(*self._clips))
        self._clips.clear()
        total, n_patches = losses.double().sum(0).tolist()
        train_loss = float(torch.stack(self._train_losses).double().mean()) if self._train_losses else math.nan
        self._train_losses.clear()
        figures = {
            "epoch": float(self.current_epoch + 1),
            "lr": self.config.lr * self.lr_scale,
            "train_loss": train_loss,
            "valid_loss": total / n_patches + float(self.penalty()),
            "valid_auc": mean_over_tags(roc_auc(scores.numpy(), labels.numpy())),
        }
        self._keep_if_best(figures)
        self._do(self.schedule.end_epoch(figures[self.config.schedule.monitor]))
        self._report(figures)
        self.log_dict({name: value for name, value in figures.items() if name != "epoch"})

    def _keep_if_best(self, figures: dict[str, float]) -> None:
        """Keep the weights if they are better than those kept."""
        score = {"valid_loss": figures["valid_loss"], "valid_auc": -figures["valid_auc"], "last": 0.0}[self.config.keep]
        if self.best is None or score < self.best or self.config.keep == "last":
            self.best = score if math.isfinite(score) else None
            self._save_best()

    def _do(self, decision: Decision) -> None:
        """Do as the schedule decided."""
        self.lr_scale = decision.lr_scale
        if decision.restart:
            self._load_best()
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()
            self.steps_since_restart = 0
        if decision.stop:
            self.trainer.should_stop = True

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a run needs to go on."""
        checkpoint["taggram"] = {
            "schedule": self.schedule.state_dict(), "lr_scale": self.lr_scale, "best": self.best,
            "steps_since_restart": self.steps_since_restart,
            "train_losses": [float(loss) for loss in self._train_losses],
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it over."""
        state = checkpoint["taggram"]
        self.schedule.load_state_dict(state["schedule"])
        self.lr_scale, self.best = state["lr_scale"], state["best"]
        self.steps_since_restart = state["steps_since_restart"]
        self._train_losses = [torch.tensor(loss) for loss in state["train_losses"]]


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


def penalised(model: nn.Module, of: str) -> Iterator[Tensor]:
    """Give the weights that L2 acts on: kernels, and where asked for the scales of batch norms; never biases."""
    for module in model.modules():
        is_norm = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        is_kernel = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)
        weight = getattr(module, "weight", None)
        if (
            isinstance(weight, Tensor)
            and weight.requires_grad
            and (is_kernel or (is_norm and of == "kernels_and_norms"))
        ):
            yield weight


def step_seed(seed: int, step: int, rank: int) -> int:
    """Give the seed of the random numbers that a step draws, for dropout."""
    return int(np.random.SeedSequence((seed, _DROPOUT, step, rank)).generate_state(1, np.uint64)[0] >> 1)
