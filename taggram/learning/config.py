"""How a network is trained: one frozen dataclass, checked on entry and saved whole beside each checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from taggram._checks import check, check_choice, check_count, check_flag, is_number
from taggram.errors import ConfigError, did_you_mean
from taggram.learning.data import Sampling
from taggram.learning.schedules import ScheduleConfig

Loss = Literal["auto", "binary", "binary_sum", "cross_entropy", "mse"]
Optimizer = Literal["adam", "sgd"]
Keep = Literal["valid_loss", "valid_auc", "last"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a network is trained. The defaults are those of musicnn, for fewer epochs.

    Attributes:
        loss: "auto" is "binary" where several tags may hold and "cross_entropy" where one does; "binary_sum" sums over
            the tags of a patch, where "binary" takes their mean; "mse" is the squared error of the scores.
        optimizer: "adam" or "sgd".
        lr: first learning rate.
        momentum: of sgd.
        nesterov: whether sgd looks ahead.
        lr_decay: the rate is divided by 1 + lr_decay * steps, as old Keras does; counted anew at a restart.
        l2: times the sum of squares of what `l2_of` names is added to the loss. (musicnn's 1e-5 with a half is 5e-6.)
        l2_of: "kernels" of convolutions and dense layers, or these and the scales of batch norms.
        clip_norm: largest norm of the gradient; None is no limit.
        trunk_lr: times the learning rate for all but the head; 0 freezes it.
        batch_size: patches a step.
        accumulate: batches whose gradients are summed up to one step of the optimiser.
        sampling: "random" is one random patch of each track an epoch, "all" is all patches of each.
        max_epochs: epochs at most.
        max_minutes: minutes at most, or None; looked at after each epoch.
        keep: which weights are kept: of the lowest validation loss, of the highest validation ROC-AUC, or the last.
        schedule: how the learning rate changes.
        seed: of the first weights, the order, the crops and dropout.
        precision: of the arithmetic.
        compile: whether torch compiles the network.
        n_loaders: processes that read data beside the training; 0 reads in its own.
        checkpoint_steps: steps between checkpoints within an epoch; None is at its end alone.

    Raises:
        ConfigError: some value makes no sense.
    """

    loss: Loss = "auto"
    optimizer: Optimizer = "adam"
    lr: float = 0.001
    momentum: float = 0.0
    nesterov: bool = False
    lr_decay: float = 0.0
    l2: float = 0.0
    l2_of: Literal["kernels", "kernels_and_norms"] = "kernels"
    clip_norm: float | None = None
    trunk_lr: float = 1.0
    batch_size: int = 32
    accumulate: int = 1
    sampling: Sampling = "random"
    max_epochs: int = 100
    max_minutes: float | None = None
    keep: Keep = "valid_loss"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    seed: int = 0
    precision: Precision = "32-true"
    compile: bool = False
    n_loaders: int = 0
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, ("auto", "binary", "binary_sum", "cross_entropy", "mse"))
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_choice("l2_of", self.l2_of, ("kernels", "kernels_and_norms"))
        check_choice("sampling", self.sampling, ("random", "all"))
        check_choice("keep", self.keep, ("valid_loss", "valid_auc", "last"))
        check_choice("precision", self.precision, ("32-true", "16-mixed", "bf16-mixed"))
        for name in ("batch_size", "accumulate", "max_epochs"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, 0)
        check_count("n_loaders", self.n_loaders, 0)
        for name in ("nesterov", "compile"):
            check_flag(name, getattr(self, name))
        for name in ("lr", "clip_norm", "max_minutes"):
            value = getattr(self, name)
            optional = value is None and name != "lr"
            check(optional or (is_number(value) and value > 0), name, value, "a number above 0")
        for name in ("momentum", "lr_decay", "l2", "trunk_lr"):
            value = getattr(self, name)
            check(is_number(value) and value >= 0, name, value, "a number from 0 on")
        check(not self.nesterov or self.momentum > 0, "nesterov", self.nesterov, "a momentum above 0 with it")
        if self.checkpoint_steps is not None:
            check_count("checkpoint_steps", self.checkpoint_steps)
        check(isinstance(self.schedule, ScheduleConfig), "schedule", self.schedule, "a ScheduleConfig")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FitConfig:
        """Make a config of plain values, such as those of a TOML file.

        Args:
            values: by name; "schedule" is a mapping too.

        Returns:
            The config.

        Raises:
            ConfigError: there is no such setting, or a value makes no sense.
        """
        given = dict(values)
        if isinstance(given.get("schedule"), Mapping):
            given["schedule"] = _made(ScheduleConfig, "fit.schedule", given["schedule"])
        made: FitConfig = _made(cls, "fit", given)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain values."""
        return dataclasses.asdict(self)


def _made(kind: Any, where: str, values: Mapping[str, Any]) -> Any:
    """Make a config dataclass, with an error that names its settings where one is wrong."""
    known = [one.name for one in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{where} has no setting {name!r}.{did_you_mean(str(name), known)} Its settings are {', '.join(known)}."
            )
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
