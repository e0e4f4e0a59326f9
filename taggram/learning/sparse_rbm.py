"""Restricted Boltzmann machines by one-step contrastive divergence: sparse ones on patches, stacked ones on features.

Three kinds of units: linear with unit variance, binary, and noisy rectified linear. With a target for the mean
activation, hidden units are kept sparse.

Source: Nam, Herrera and Lee, "A deep bag-of-features model for music auto-tagging", 2015, arXiv 1508.04999, with the
    constants of the first author's code; rectified units are those of Nair and Hinton, ICML 2010.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from taggram._checks import check, check_choice, check_count, check_share, is_number
from taggram._files import written_aside
from taggram.errors import DatasetError, TrainingError, printable
from taggram.learning._random import Purpose, generator

Visible = Literal["linear", "binary", "relu"]
Hidden = Literal["binary", "relu"]
AT_ONCE = 2048  # examples that are looked at together where nothing is learned
EARLY = 5  # the momentum is low for one epoch of so many
PARTS = ("weight", "hidden_bias", "visible_bias")


@dataclass(frozen=True, kw_only=True)
class RBMConfig:
    """How an RBM is trained. The defaults are those of the sparse RBM on whitened patches.

    Attributes:
        n_hidden: hidden units.
        visible: kind of the visible units: "linear", "binary" (values from 0 to 1) or "relu".
        hidden: kind of the hidden units, "binary" or "relu".
        n_epochs: passes over the examples, in one order; what fills no batch at their end is left out.
        batch_size: examples a step.
        lr: first learning rate.
        lr_decay: times which it is multiplied after each epoch.
        lr_floor: below which it does not fall.
        momentum: up to a fifth of the epochs.
        late_momentum: from there on.
        weight_cost: L2 on the weights.
        weight_std: deviation of the first weights; biases begin at 0.
        target: mean activation that hidden units are drawn to; None draws them nowhere.
        sparsity_cost: how strongly, times the learning rate.
        activation_decay: share of the old in the running mean of the activation.
        seed: of the first weights, the order and the samples.

    Raises:
        ConfigError: some value makes no sense.
    """

    n_hidden: int = 1024
    visible: Visible = "linear"
    hidden: Hidden = "binary"
    n_epochs: int = 300
    batch_size: int = 100
    lr: float = 0.007
    lr_decay: float = 0.99
    lr_floor: float = 0.003
    momentum: float = 0.5
    late_momentum: float = 0.9
    weight_cost: float = 0.001
    weight_std: float = 0.01
    target: float | None = 0.02
    sparsity_cost: float = 3.0
    activation_decay: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_hidden", "n_epochs", "batch_size"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, 0)
        check_choice("visible", self.visible, get_args(Visible))
        check_choice("hidden", self.hidden, get_args(Hidden))
        for name in ("lr", "weight_std"):
            value = getattr(self, name)
            check(is_number(value) and value > 0, name, value, "a number above 0")
        for name in ("lr_floor", "weight_cost", "sparsity_cost"):
            value = getattr(self, name)
            check(is_number(value) and value >= 0, name, value, "a number from 0 on")
        for name in ("momentum", "late_momentum", "activation_decay"):
            check_share(name, getattr(self, name))
        fits = is_number(self.lr_decay) and 0 < self.lr_decay <= 1
        check(fits, "lr_decay", self.lr_decay, "a number above 0, at most 1")
        fits = self.target is None or (is_number(self.target) and 0 < self.target < 1)
        check(fits, "target", self.target, "a number above 0 and below 1, or None")
        fits = self.target is None or self.hidden == "binary"
        check(fits, "target", self.target, "None with rectified hidden units")

    def lr_of(self, epoch: int) -> float:
        """Give the learning rate of an epoch, which is counted from 1 on."""
        return max(self.lr * self.lr_decay ** (epoch - 1), self.lr_floor)

    def momentum_of(self, epoch: int) -> float:
        """Give the momentum of an epoch, which is counted from 1 on."""
        return self.late_momentum if epoch * EARLY > self.n_epochs else self.momentum


def stacked_config(
    number: int, *, n_hidden: int = 512, n_epochs: int = 200, weight_cost: float = 0.001, seed: int = 0
) -> RBMConfig:
    """Say how an RBM of a stack on bags of features is trained.

    Args:
        number: its place, from 1 on. The first has binary visible units, the others rectified ones and a tenth of its
            learning rate; hidden units are rectified.
        n_hidden: hidden units.
        n_epochs: passes over the examples.
        weight_cost: L2 on the weights.
        seed: of all random numbers.

    Returns:
        The settings.

    Raises:
        ConfigError: some value makes no sense.
    """
    check_count("number", number)
    is_first = number == 1
    return RBMConfig(
        n_hidden=n_hidden, visible="binary" if is_first else "relu", hidden="relu", n_epochs=n_epochs,
        lr=0.03 if is_first else 0.003, lr_floor=0.01 if is_first else 0.001, weight_cost=weight_cost, target=None,
        seed=seed,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class RBM:
    """A trained RBM.

    Attributes:
        weight: (hidden, visible).
        hidden_bias: (hidden,).
        visible_bias: (visible,).
        hidden: kind of the hidden units.
    """

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor
    hidden: Hidden = "binary"

    def __call__(self, examples: Tensor) -> Tensor:
        """Compute hidden units, without noise.

        Args:
            examples: (examples, visible).

        Returns:
            (examples, hidden): sigmoid(weight x + bias) of binary units, max(0, weight x + bias) of rectified ones.
        """
        return _mean_of(torch.addmm(self.hidden_bias, examples, self.weight.T), self.hidden)

    def mean_activation(self, examples: Tensor) -> Tensor:
        """Give the mean of each hidden unit over examples: (hidden,)."""
        total = torch.zeros(len(self.hidden_bias), dtype=torch.float64)
        for part in torch.split(examples, AT_ONCE):
            total += self(part).sum(0).double()
        return (total / len(examples)).float()

    def save(self, path: Path) -> None:
        """Write it as NAME.npz; `load` gives it back."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in PARTS}
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, hidden=np.array(self.hidden), **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one that was saved."""
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            kind: Hidden = "relu" if str(file["hidden"]) == "relu" else "binary"
            weight, hidden_bias, visible_bias = (torch.from_numpy(file[name]) for name in PARTS)
            return cls(weight, hidden_bias, visible_bias, kind)


def train_rbm(
    examples: Tensor,
    config: RBMConfig,
    *,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    told: Callable[[dict[str, float]], object] = lambda _: None,
) -> tuple[RBM, list[dict[str, float]]]:
    """Train an RBM.

    What is drawn hangs on seed and epoch alone, so a training that goes on from a checkpoint gives the same weights, on
    the same kind of device.

    Args:
        examples: (examples, visible) float32; they lie on the device while it learns.
        config: how.
        checkpoint: NAME.npz, written after each epoch, and gone on from where it is there; None writes none.
        device: where it is trained.
        told: is told the figures of each epoch.

    Returns:
        The RBM on the CPU, and the figures of each epoch: epoch, lr, error (mean squared difference of an example and
        its reconstruction) and activation (mean of all hidden units).

    Raises:
        DatasetError: there is not even one batch.
        TrainingError: the weights are no numbers any more, or the checkpoint is of another training.
    """
    n_batches = len(examples) // config.batch_size
    if not n_batches:
        raise DatasetError(f"there are {len(examples)} examples, and a batch has {config.batch_size}.")
    shape = (config.n_hidden, examples.shape[1])
    state = _State.load(checkpoint, config, shape) if checkpoint is not None and checkpoint.exists() else None
    state = (_State.begin(config, shape) if state is None else state).to(device)
    order = torch.from_numpy(generator(config.seed, Purpose.ORDER).permutation(len(examples)))
    order = order[: n_batches * config.batch_size].to(device)
    data = examples.to(device)
    for epoch in range(len(state.history) + 1, config.n_epochs + 1):
        random = torch.Generator(device=device).manual_seed(_seed_of(config.seed, Purpose.NOISE, epoch))
        error, activation = torch.zeros(2, dtype=torch.float64, device=device).unbind()
        for places in torch.split(order, config.batch_size):
            batch_error, batch_activation = _take_step(state, data[places], config, epoch, random)
            error += batch_error
            activation += batch_activation
        figures = {
            "epoch": float(epoch), "lr": config.lr_of(epoch), "error": float(error) / n_batches,
            "activation": float(activation) / n_batches,
        }  # fmt: skip
        if not all(math.isfinite(value) for value in figures.values()):
            raise TrainingError(f"the weights of an RBM are no numbers any more in epoch {epoch}; lower its lr.")
        state.history.append(figures)
        if checkpoint is not None:
            state.save(checkpoint, config)
        told(figures)
    weight, hidden_bias, visible_bias = (getattr(state, name).cpu() for name in PARTS)
    return RBM(weight, hidden_bias, visible_bias, config.hidden), state.history


# -- inside ------------------------------------------------------------------------------------------------------------


@dataclass
class _State:
    """An RBM in training.

    Attributes:
        weight: (hidden, visible).
        hidden_bias: (hidden,).
        visible_bias: (visible,).
        weight_step: the last change of the weights, and so with the biases.
        hidden_bias_step: (hidden,).
        visible_bias_step: (visible,).
        activation: (hidden,) running mean.
        history: figures of the epochs that are done.
    """

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor
    weight_step: Tensor
    hidden_bias_step: Tensor
    visible_bias_step: Tensor
    activation: Tensor
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)

    @classmethod
    def begin(cls, config: RBMConfig, shape: tuple[int, int]) -> Self:
        """Draw the first weights."""
        random = torch.Generator().manual_seed(_seed_of(config.seed, Purpose.STATISTICS))
        n_hidden, n_visible = shape
        return cls(
            weight=config.weight_std * torch.randn(shape, generator=random),
            hidden_bias=torch.zeros(n_hidden), visible_bias=torch.zeros(n_visible), weight_step=torch.zeros(shape),
            hidden_bias_step=torch.zeros(n_hidden), visible_bias_step=torch.zeros(n_visible),
            activation=torch.zeros(n_hidden),
        )  # fmt: skip

    @classmethod
    def tensors(cls) -> tuple[str, ...]:
        """Name what is a tensor."""
        return tuple(one.name for one in dataclasses.fields(cls) if one.name != "history")

    def to(self, device: torch.device | str) -> Self:
        """Give it on a device."""
        return dataclasses.replace(self, **{name: getattr(self, name).to(device) for name in self.tensors()})

    def save(self, path: Path, config: RBMConfig) -> None:
        """Write a checkpoint."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in self.tensors()}
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, config=np.array(_as_text(config)), history=np.array(json.dumps(self.history)), **arrays)

    @classmethod
    def load(cls, path: Path, config: RBMConfig, shape: tuple[int, int]) -> Self:
        """Read a checkpoint, and refuse that of another training."""
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in cls.tensors()}
            known, history = str(file["config"]), json.loads(str(file["history"]))
        if known != _as_text(config) or tensors["weight"].shape != shape:
            raise TrainingError(
                f"{printable(str(path))} is of an RBM that was trained otherwise, or on other examples; remove it."
            )
        return cls(**tensors, history=history)


def _as_text(config: RBMConfig) -> str:
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def _seed_of(seed: int, *place: int) -> int:
    return int(generator(seed, *place).integers(2**63 - 1))


def _take_step(
    state: _State, examples: Tensor, config: RBMConfig, epoch: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Learn from a batch, and give the mean squared error of its reconstruction and its mean activation."""
    lr, momentum, n = config.lr_of(epoch), config.momentum_of(epoch), len(examples)
    drive = torch.addmm(state.hidden_bias, examples, state.weight.T)  # (batch, hidden)
    hidden = _mean_of(drive, config.hidden)
    sample = _sample_of(drive, hidden, config.hidden, random)
    again = _mean_of(torch.addmm(state.visible_bias, sample, state.weight), config.visible)  # (batch, visible)
    hidden_again = _mean_of(torch.addmm(state.hidden_bias, again, state.weight.T), config.hidden)
    state.weight_step.addmm_(hidden.T, examples, beta=momentum, alpha=lr / n)
    state.weight_step.addmm_(hidden_again.T, again, alpha=-lr / n).add_(state.weight, alpha=-lr * config.weight_cost)
    state.visible_bias_step.mul_(momentum).add_((examples - again).mean(0), alpha=lr)
    mean = hidden.mean(0)
    state.hidden_bias_step.mul_(momentum).add_(mean - hidden_again.mean(0), alpha=lr)
    if config.target is not None:
        state.activation.mul_(config.activation_decay).add_(mean, alpha=1 - config.activation_decay)
        state.hidden_bias_step.add_(state.activation - config.target, alpha=-config.sparsity_cost * lr)
    for name in PARTS:
        getattr(state, name).add_(getattr(state, f"{name}_step"))
    return (examples - again).square_().mean(), mean.mean()


def _mean_of(drive: Tensor, kind: Visible) -> Tensor:
    """Give the units without noise."""
    if kind == "linear":
        return drive
    return drive.sigmoid() if kind == "binary" else drive.relu()


def _sample_of(drive: Tensor, mean: Tensor, kind: Hidden, random: torch.Generator) -> Tensor:
    """Draw the hidden units."""
    if kind == "binary":
        return (torch.rand(mean.shape, generator=random, device=mean.device) < mean).to(mean.dtype)
    noise = torch.randn(drive.shape, generator=random, device=drive.device)
    return drive.sigmoid().sqrt_().mul_(noise).add_(drive).relu_()
