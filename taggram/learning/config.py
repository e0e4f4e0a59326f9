"""How a network is trained: one frozen dataclass, checked on entry and saved whole beside each checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from taggram._checks import check, check_choice, check_count, check_flag, check_share, is_number
from taggram.learning._settings import from_values
from taggram.learning.data import Sampling
from taggram.learning.schedules import ScheduleConfig

Loss = Literal["auto", "binary", "binary_sum", "cross_entropy", "mse"]
Optimizer = Literal["adam", "sgd", "adadelta"]
Penalised = Literal["kernels", "trunk_kernels", "convolutions", "kernels_and_norms", "all"]
Keep = Literal["valid_loss", "valid_auc", "valid_accuracy", "last"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a network is trained. The defaults are those of musicnn, for fewer epochs.

    Attributes:
        loss: "auto" is "binary" where several tags may hold and "cross_entropy" where one does; "binary_sum" sums over
            the tags of a patch, where "binary" takes their mean; "mse" is the squared error of the scores.
        optimizer: "adam", "sgd" or "adadelta".
        lr: first learning rate.
        momentum: of sgd.
        nesterov: whether sgd looks ahead.
        rho: of adadelta: share of the old in its running means.
        eps: of adam and adadelta: added to what they divide by.
        lr_decay: the rate is divided by 1 + lr_decay * steps, as old Keras does; counted anew at a restart.
        l2: times the sum of squares of what `l2_of` names is added to the loss. (musicnn's 1e-5 with a half is 5e-6.)
        l2_in_valid_loss: whether the validation loss has that term too.
        l2_of: "kernels" of convolutions and dense layers, "trunk_kernels", which are those but the head's, those of
            "convolutions" alone, "kernels_and_norms", which are kernels and the scales of batch norms, or "all" that
            learns.
        clip_norm: largest norm of the gradient; None is no limit.
        trunk_lr: times the learning rate for all but the head; 0 freezes it.
        freeze: parts of the network that learn nothing, such as ("timbral", "temporal") of musicnn.
        norm_momentum: share of a new batch in the running statistics of batch norms; None is the network's own, which
            for many is 0.01: too little for a training of a few hundred steps.
        ema_decay: share of the old in the moving average of the weights, which is what is validated and kept;
            0 keeps the weights themselves.
        batch_size: patches a step.
        super_batch: patches of an epoch after each so many of which a batch ends, smaller if need be; None is at its
            end alone. The sources that move so many to a GPU at once have such batches.
        accumulate: batches over whose gradients one step of the optimiser takes the mean.
        sampling: "random" is random patches of each track, drawn anew each epoch, "all" is all patches of each.
        hop_frames: from patch to patch with "all", in frames of the front-end; None is side by side.
        patches_per_track: how many random patches of each track an epoch has (None is 1); with "all" how many at most,
            from its start on (None is no limit).
        valid_share: of the tracks for training, to be drawn for validation where the split has no part for it.
        valid_patches: of each clip, that are validated after an epoch, at most; None is all, side by side. Fewer are
            spread over the clip, the same ones each time.
        max_epochs: epochs at most.
        max_steps: steps at most, or None; the epoch that is cut short by it is validated.
        max_minutes: minutes at most, or None; likewise.
        keep: which weights are kept: of the lowest validation loss, of the highest ROC-AUC of the clips or accuracy of
            the patches in validation, or the last.
        schedule: how the learning rate changes.
        seed: of the first weights, the order, the crops and dropout.
        precision: of the arithmetic.
        compile: whether torch compiles the network.
        keep_memory: whether memory that is free again is kept for the next step and given back to the system only at
            the end, where that is Linux with glibc: up to twice as quick on a CPU, for up to two and a half times the
            memory. None keeps it on a CPU and not beside a GPU.
        n_loaders: processes that read data beside the training; 0 reads in its own. None is 0 on a CPU, and one a core
            beside a GPU, up to 8.
        checkpoint_steps: steps between checkpoints within an epoch; None is at its end alone.

    Raises:
        ConfigError: some value makes no sense.
    """

    loss: Loss = "auto"
    optimizer: Optimizer = "adam"
    lr: float = 0.001
    momentum: float = 0.0
    nesterov: bool = False
    rho: float = 0.9
    eps: float = 1e-8
    lr_decay: float = 0.0
    l2: float = 0.0
    l2_in_valid_loss: bool = True
    l2_of: Penalised = "kernels"
    clip_norm: float | None = None
    trunk_lr: float = 1.0
    freeze: tuple[str, ...] = ()
    norm_momentum: float | None = None
    ema_decay: float = 0.0
    batch_size: int = 32
    super_batch: int | None = None
    accumulate: int = 1
    sampling: Sampling = "random"
    hop_frames: int | None = None
    patches_per_track: int | None = None
    valid_share: float = 0.0
    valid_patches: int | None = None
    max_epochs: int = 100
    max_steps: int | None = None
    max_minutes: float | None = None
    keep: Keep = "valid_loss"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    seed: int = 0
    precision: Precision = "32-true"
    compile: bool = False
    keep_memory: bool | None = None
    n_loaders: int | None = None
    checkpoint_steps: int | None = None

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, get_args(Loss))
        check_choice("optimizer", self.optimizer, get_args(Optimizer))
        check_choice("l2_of", self.l2_of, get_args(Penalised))
        check_choice("sampling", self.sampling, get_args(Sampling))
        check_choice("keep", self.keep, get_args(Keep))
        check_choice("precision", self.precision, get_args(Precision))
        for name in ("batch_size", "accumulate", "max_epochs"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, 0)
        if self.n_loaders is not None:
            check_count("n_loaders", self.n_loaders, 0)
        for name in ("nesterov", "l2_in_valid_loss", "compile"):
            check_flag(name, getattr(self, name))
        if self.keep_memory is not None:
            check_flag("keep_memory", self.keep_memory)
        are_names = isinstance(self.freeze, tuple) and all(isinstance(name, str) for name in self.freeze)
        check(are_names, "freeze", self.freeze, 'names of parts, such as ["timbral", "temporal"]')
        if self.norm_momentum is not None:
            check_share("norm_momentum", self.norm_momentum)
        for name in ("lr", "eps", "clip_norm", "max_minutes"):
            value = getattr(self, name)
            optional = value is None and name not in ("lr", "eps")
            check(optional or (is_number(value) and value > 0), name, value, "a number above 0")
        for name in ("momentum", "lr_decay", "l2", "trunk_lr"):
            value = getattr(self, name)
            check(is_number(value) and value >= 0, name, value, "a number from 0 on")
        check(not self.nesterov or self.momentum > 0, "nesterov", self.nesterov, "a momentum above 0 with it")
        for name in ("rho", "ema_decay", "valid_share"):
            check_share(name, getattr(self, name))
        for name in ("checkpoint_steps", "hop_frames", "patches_per_track", "max_steps", "valid_patches"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.super_batch is not None:
            check_count("super_batch", self.super_batch, self.batch_size)
        fits = self.hop_frames is None or self.sampling == "all"
        check(fits, "hop_frames", self.hop_frames, 'none where sampling is "random", or sampling = "all"')
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
            given["schedule"] = from_values(ScheduleConfig, "fit.schedule", given["schedule"])
        return from_values(cls, "fit", given)

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain values."""
        return dataclasses.asdict(self)
