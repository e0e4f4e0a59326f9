"""The Lightning module around a TaggingModel: loss, optimiser, validation, and what follows from it.

Dropout draws from the step's own random numbers, data from the position's (`data.py`), and the schedule's state is in
the checkpoint: so a run that was killed and goes on gives the numbers of one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
import torch.distributed
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from taggram.errors import TrainingError, missing_extra
from taggram.learning._steps import (
    create_optimizer,
    loss_name,
    n_right,
    penalty,
    scale_rates,
    set_norm_momentum,
    step_seed,
    tag_loss,
)
from taggram.learning._together import Together
from taggram.learning.augment import Augmenter
from taggram.learning.config import FitConfig
from taggram.learning.metrics import mean_over_tags, roc_auc
from taggram.learning.schedules import Decision, Schedule
from taggram.learning.transfer import freeze, frozen_modules
from taggram.models._contract import TaggingModel

try:
    import lightning
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
except ImportError as error:
    raise missing_extra("lightning", "train", "trainings") from error

T = TypeVar("T")

EVAL_BATCH = 64  # patches that validation looks at once
TAGS_AT_ONCE = 512  # whose ROC-AUC is computed together: ranks take many times the memory of the scores
MOST_TAGS = 2000  # whose ROC-AUC validation gives unasked


class TaggingSystem(lightning.LightningModule):
    """A network in training.

    With more than 2000 tags the ROC-AUC of validation is NaN, unless weights are kept by it: for that, the scores of
    all its clips are held, 4 bytes a clip and tag; else nothing of them is.

    Args:
        model: the network, with a head.
        config: how it is trained.
        save_best: is given the network when its weights are the best so far.
        load_best: puts these back.
        report: is told the figures of each epoch.
        augmenter: puts masks over spectrograms; None puts none.
        together: knows the processes that share each batch; None where there is one.
    """

    def __init__(
        self,
        model: TaggingModel,
        config: FitConfig,
        save_best: Callable[[TaggingModel], None],
        load_best: Callable[[], None],
        report: Callable[[dict[str, float]], None],
        augmenter: Augmenter | None = None,
        together: Together | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.schedule = Schedule(config.schedule)
        self.lr_scale = 1.0
        self._augmenter = augmenter
        self.steps_since_restart = 0
        self.best: list[float] | None = None  # of what `keep` says, then the loss; the smaller the better
        self._save_best, self._load_best, self._report = save_best, load_best, report
        network = _in_parts(model)
        self._network: Callable[[Tensor], Tensor] = torch.compile(network) if config.compile else network
        self._has_stopped = False
        self._train_losses: list[Tensor] = []
        self._clips: list[tuple[Tensor, Tensor, Tensor]] = []  # scores, places of the tags that hold, sums
        set_norm_momentum(model, config)
        self.averaged: AveragedModel | None = None  # in the checkpoint, as all modules are
        if config.ema_decay:
            average = partial(moving_average, decay=config.ema_decay)
            self.averaged = AveragedModel(model, avg_fn=average, use_buffers=True).requires_grad_(False)
        self._frozen = frozen_modules(model, config.freeze, trunk=config.trunk_lr == 0)
        self._together = together
        if together is not None:
            together.join(model)
        self.train()

    # -- a step --------------------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Give the loss of a batch: (batch, samples) or features, (batch, tags), and (batch,) positions."""
        self._refuse_no_number()
        torch.manual_seed(step_seed(self.config.seed, self.trainer.fit_loop.total_batch_idx))
        sounds, labels, positions = batch
        weight = self._together.begin(int(positions[0])).weight if self._together is not None else 1.0
        patches = self._augment(self.patches(sounds), positions)
        loss = weight * tag_loss(self._network(patches), labels, self.loss_name) + self.penalty()
        self._train_losses.append(loss.detach())
        return loss

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take a step, and take it up in the average."""
        super().optimizer_step(*arguments, **named)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    @property
    def scored(self) -> TaggingModel:
        """The network that is validated and kept: the average of the last steps, or the one that learns."""
        return self.model if self.averaged is None else cast(TaggingModel, self.averaged.module)

    def on_train_start(self) -> None:
        """End at once where the run had ended by its schedule."""
        if self._has_stopped:
            self.trainer.should_stop = True

    def on_train_batch_start(self, *_: Any) -> None:
        """Set the learning rate of the step."""
        decay = 1.0 + self.config.lr_decay * self.steps_since_restart
        scale_rates(self.optimizers().param_groups, self.config, self.lr_scale / decay)  # type: ignore[union-attr]
        self.steps_since_restart += 1

    def train(self, mode: bool = True) -> TaggingSystem:
        """Set the mode of training; parts that learn nothing stay as they are in use."""
        super().train(mode)
        freeze(self._frozen)
        return self

    def patches(self, sounds: Tensor) -> Tensor:
        """Give what the network eats, in full precision: a spectrogram's small values do not survive half of it."""
        if sounds.ndim > 2:  # features that were prepared, (batch, frames, bands)
            return sounds.float().transpose(1, 2).unsqueeze(1)
        with torch.no_grad(), torch.autocast(sounds.device.type, enabled=False):
            patches: Tensor = self.model.frontend(sounds)
        return patches

    def _augment(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Put masks over spectrograms, where they are asked for."""
        return patches if self._augmenter is None else self._augmenter.apply_masks(patches, positions)

    def _refuse_no_number(self) -> None:
        """Raise if the loss of the step before was no number; that of this one would have to be waited for."""
        if self._train_losses and not self._train_losses[-1].isfinite():
            loss = self._train_losses[-1].item()
            raise TrainingError(f"the loss is {loss} at step {self.global_step}; lower fit.lr or set fit.clip_norm.")

    @property
    def loss_name(self) -> str:
        """The loss, where "auto" is what the task asks for."""
        return loss_name(self.model, self.config)

    def penalty(self) -> Tensor:
        """Give the L2 term of the loss."""
        return penalty(self.model, self.config)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser: the head has the full rate, the rest `trunk_lr` times that."""
        return create_optimizer(self.model, self.config)

    # -- validation, and what follows ----------------------------------------------------------------------------------

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        """Score all patches of some clips: (patches, samples) side by side, (clips, tags), and (clips,) patches."""
        sounds, labels, counts = batch
        network = self._network if self.averaged is None else _in_parts(self.scored)
        is_ranked = labels.shape[1] <= MOST_TAGS or self.config.keep == "valid_auc"
        logits = torch.cat([network(self.patches(part)).float() for part in torch.split(sounds, EVAL_BATCH)])
        for of_clip, label in zip(torch.split(logits, counts.tolist()), labels):
            of_each = label.expand(len(of_clip), -1)
            loss = tag_loss(of_clip, of_each, self.loss_name) * len(of_clip)
            right = n_right(of_clip, of_each, self.model.task)
            sums = torch.stack([loss, right, torch.tensor(float(len(of_clip)), device=loss.device)])
            scores = self.model.scores(of_clip).mean(0).cpu() if is_ranked else torch.empty(0)
            self._clips.append((scores, label.cpu().nonzero().squeeze(1), sums.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Sum up the epoch, keep the weights if they are the best, and do as the schedule says."""
        all_losses = self._losses_of_batches()
        of_ranks = gathered(self._clips)
        self._clips, self._train_losses = [], []
        scores, holding, sums = zip(*(clip for clips in of_ranks for clip in clips))
        total, right, n_patches = torch.stack(sums).double().sum(0).tolist()
        if not all_losses.isfinite().all():
            raise TrainingError(
                f"the loss is no number in epoch {self.current_epoch + 1}; lower fit.lr or set fit.clip_norm."
            )
        figures = {
            "epoch": float(self.current_epoch + 1),
            "lr": self.config.lr * self.lr_scale,
            "train_loss": float(all_losses.mean()) if len(all_losses) else math.nan,
            "valid_loss": total / n_patches + (float(self.penalty()) if self.config.l2_in_valid_loss else 0.0),
            "valid_auc": mean_roc_auc(scores, holding),
            "valid_accuracy": right / n_patches,
        }
        figures = gathered(figures)[0]  # one process decides for all: machines of two kinds may round otherwise
        self._keep_if_best(figures)
        self._do(self.schedule.end_epoch(figures[self.config.schedule.monitor]))
        self._report(figures)
        self.log_dict({name: value for name, value in figures.items() if name != "epoch"}, rank_zero_only=True)

    def _losses_of_batches(self) -> Tensor:
        """Give the losses of the batches of the epoch so far, each the mean over the processes that shared it."""
        mine = [float(loss) for loss in self._train_losses]
        return torch.tensor(gathered(mine), dtype=torch.float64).mean(0)

    def _keep_if_best(self, figures: dict[str, float]) -> None:
        """Keep the weights if they are better than those kept."""
        sign = {"valid_loss": 1.0, "valid_auc": -1.0, "valid_accuracy": -1.0, "last": 0.0}[self.config.keep]
        wanted = sign * figures.get(self.config.keep, 0.0)
        # Without a tag that can be scored there is no ROC-AUC: then the loss alone decides, as it does between equals.
        score = [0.0 if math.isnan(wanted) else wanted, figures["valid_loss"]]
        if self.best is None or score < self.best or self.config.keep == "last":
            self.best = score
            self._save_best(self.scored)

    def _do(self, decision: Decision) -> None:
        """Do as the schedule decided."""
        self.lr_scale = decision.lr_scale
        if decision.restart:
            self.trainer.strategy.barrier()  # the first process may still be writing them
            self._load_best()
            if self.averaged is not None:
                self.averaged.n_averaged.zero_()  # the next step begins the average anew
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()
            self.steps_since_restart = 0
        if decision.stop:
            self.trainer.should_stop = self._has_stopped = True

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a run needs to go on."""
        checkpoint["taggram"] = {
            "schedule": self.schedule.state_dict(), "lr_scale": self.lr_scale, "best": self.best,
            "steps_since_restart": self.steps_since_restart, "has_stopped": self._has_stopped,
            "train_losses": self._losses_of_batches().tolist(),
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it over."""
        state = checkpoint["taggram"]
        self.schedule.load_state_dict(state["schedule"])
        self.lr_scale, self.best, self._has_stopped = state["lr_scale"], state["best"], state["has_stopped"]
        self.steps_since_restart = state["steps_since_restart"]
        self._train_losses = [torch.tensor(loss, dtype=torch.float64) for loss in _flat(state["train_losses"])]


def mean_roc_auc(scores: Sequence[Tensor], holding: Sequence[Tensor]) -> float:
    """Average the ROC-AUC over tags, of which there may be thousands: some at a time, so that nothing is held twice.

    Args:
        scores: of each clip, (tags,), or (0,) where they were not kept.
        holding: of each clip, places of the tags that hold.

    Returns:
        The mean, NaN where no tag can be scored.
    """
    row_of = torch.repeat_interleave(torch.arange(len(scores)), torch.tensor(list(map(len, holding))))
    places = torch.cat(list(holding))
    areas: list[float] = []
    for first in range(0, len(scores[0]), TAGS_AT_ONCE):
        block = torch.stack([of_clip[first : first + TAGS_AT_ONCE] for of_clip in scores])
        inside = (places >= first) & (places < first + TAGS_AT_ONCE)
        holds = torch.zeros(block.shape, dtype=torch.bool)
        holds[row_of[inside], places[inside] - first] = True
        areas.extend(roc_auc(block.numpy(), holds.numpy()))
    return mean_over_tags(areas)


def moving_average(mean: Tensor, new: Tensor, n_before: Tensor | int, *, decay: float) -> Tensor:
    """Take new values up in a moving average, of which the first ones hardly weigh once there are more.

    Args:
        mean: the average so far, any shape.
        new: the values, of the same shape.
        n_before: how many times that was done before.
        decay: share of the old, once there are many.

    Returns:
        The new average.
    """
    share = min(decay, (1 + int(n_before)) / (10 + int(n_before)))
    return mean + (new - mean) * (1 - share)  # what does not change stays as it is, bit for bit


def _flat(losses: list[Any]) -> list[float]:
    """Read losses of batches; older checkpoints have a list of them for each process."""
    if losses and isinstance(losses[0], list):
        return torch.tensor(losses, dtype=torch.float64).mean(0).tolist()
    return losses


def _in_parts(model: TaggingModel) -> Callable[[Tensor], Tensor]:
    """Give the network without its front-end: patches to logits."""
    return lambda patches: model.forward_head(model.forward_features(patches))


def gathered(mine: T) -> list[T]:
    """Give what each of the processes that train together has, in their order; alone, what this one has."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    of_ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(of_ranks, mine)
    return of_ranks
