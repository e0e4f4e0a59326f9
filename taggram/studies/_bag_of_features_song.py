"""The network on bags: how it starts, how it is trained, and how its clips are scored."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram.errors import TrainingError
from taggram.learning import metrics as m
from taggram.learning._numbers import PRECISION_AT
from taggram.learning._random import Purpose, generator
from taggram.learning._steps import create_optimizer, loss_name, step_seed, tag_loss, take_step
from taggram.learning.config import FitConfig
from taggram.learning.sparse_rbm import RBM
from taggram.models.bag_of_features import Activation, BagNetwork

if TYPE_CHECKING:
    from taggram.learning.evaluate import Evaluation

BiasInit = Literal["hidden", "visible"]
BIAS_INITS: tuple[BiasInit, ...] = ("hidden", "visible")
DIVERSITY, N_ANNOTATED = 1.25, 10
PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Song:
    """What a method trains.

    Attributes:
        title: for people.
        is_pretrained: whether the layers start as stacked RBMs.
        activation: of the hidden layers.
        dropout: share of their units.
    """

    title: str
    is_pretrained: bool = False
    activation: Activation = "relu"
    dropout: float = 0.5


SONGS = {
    PRETRAINED: Song("pre-trained", is_pretrained=True),
    "random_start": Song("random start"),
    "no_dropout": Song("pre-trained, no dropout", is_pretrained=True, dropout=0.0),
    "sigmoid": Song("random start, sigmoid", activation="sigmoid"),
    "tanh": Song("random start, tanh", activation="tanh"),
}
DEFAULT = (PRETRAINED, "random_start")


@dataclass(frozen=True)
class Bags:
    """Bags of clips with their labels.

    Attributes:
        bags: (clips, units).
        labels: (clips, tags), 0 or 1.
    """

    bags: Tensor
    labels: Tensor


def song_fit(max_epochs: int, seed: int) -> FitConfig:
    """Say how the network on bags is trained, as published.

    Args:
        max_epochs: how many epochs.
        seed: of order and dropout.

    Returns:
        The settings.
    """
    return FitConfig(
        optimizer="adadelta", lr=1.0, rho=0.99, eps=1e-8, batch_size=128, max_epochs=max_epochs, keep="valid_auc",
        seed=seed,
    )  # fmt: skip


@torch.no_grad()
def start_as(model: BagNetwork, stack: Sequence[RBM], bias_init: BiasInit) -> None:
    """Give the hidden layers the weights of stacked RBMs.

    Args:
        model: the network.
        stack: an RBM a layer.
        bias_init: "hidden" takes the hidden bias of each RBM. "visible" does as the code of the source: a layer gets
            the visible bias of the RBM behind its own, and the last one 0.
    """
    behind = [*[rbm.visible_bias for rbm in stack[1:]], torch.zeros(len(stack[-1].hidden_bias))]
    biases = [rbm.hidden_bias for rbm in stack] if bias_init == "hidden" else behind
    for number, (rbm, bias) in enumerate(zip(stack, biases, strict=True)):
        model.get_parameter(f"hidden.{number}.0.weight").copy_(rbm.weight)
        model.get_parameter(f"hidden.{number}.0.bias").copy_(bias)


def train_song(
    model: BagNetwork, train: Bags, valid: Bags, config: FitConfig, *, device: torch.device | str = "cpu"
) -> list[dict[str, float]]:
    """Train the network on bags, and leave it with the weights of the best epoch.

    Args:
        model: with its first weights, on the CPU; it is left there, in evaluation mode.
        train: what is learned from.
        valid: the epoch with the highest mean ROC-AUC on it is kept; of equal ones, and where no tag can be scored,
            that of the lowest loss.
        config: how it is trained.
        device: where.

    Returns:
        The figures of each epoch: epoch, train_loss, valid_loss and valid_auc, which may be no number.

    Raises:
        TrainingError: the loss is no number.
    """
    model.to(device)
    loss = "cross_entropy" if loss_name(model, config) == "cross_entropy" else "binary_sum"
    optimizer, history = create_optimizer(model, config), []
    bags, labels = train.bags.to(device), train.labels.to(device)
    best, kept, step = (math.inf, math.inf), copy.deepcopy(model.state_dict()), 0
    for epoch in range(1, config.max_epochs + 1):
        model.train()
        order = torch.from_numpy(generator(config.seed, Purpose.ORDER, epoch).permutation(len(bags))).to(device)
        losses: list[float] = []
        for places in torch.split(order, config.batch_size):
            torch.manual_seed(step_seed(config.seed, step))
            for group in optimizer.param_groups:
                group["rho"] = config.rho if step else 0.0  # the running means begin with the first gradient itself
            found = tag_loss(model.forward_bags(bags[places]), labels[places], loss)
            take_step(found, model, optimizer, config.clip_norm)
            losses.append(found.item())
            step += 1
        figures = {"epoch": float(epoch), "train_loss": sum(losses) / len(losses), **_validated(model, valid, loss)}
        if not math.isfinite(figures["train_loss"]):
            raise TrainingError(f"the loss of the network on bags is no number in epoch {epoch}.")
        history.append(figures)
        auc = figures["valid_auc"]
        score = (0.0 if math.isnan(auc) else -auc, figures["valid_loss"])
        if score < best:
            best, kept = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    model.to("cpu").eval()
    return history


@torch.no_grad()
def logits_of(model: BagNetwork, bags: Tensor) -> Tensor:
    """Give the logits of clips, (clips, tags), on the CPU; the network is left in evaluation mode."""
    model.eval()
    return model.forward_bags(bags.to(model.local.mean.device)).cpu()


def figures_of_song(
    evaluation: Evaluation, logits: NDArray[np.float32], frequencies: NDArray[np.float64]
) -> dict[str, Any]:
    """Compute the figures of the source: areas, precision at K, and annotation.

    Args:
        evaluation: scores of the test.
        logits: (clips, tags) of the same clips, on which the source annotates.
        frequencies: (tags,) share of the training clips that have each tag.

    Returns:
        Plain values, None where one is not defined.
    """
    scores, labels = evaluation.scores.astype(np.float64), evaluation.labels
    found: dict[str, Any] = {
        "clip_roc_auc": _plain(m.mean_over_tags(m.roc_auc(scores.T, labels.T))),
        **{f"precision_at_{k}": m.precision_at(scores, labels, k) for k in PRECISION_AT if k <= labels.shape[1]},
    }
    for ending, values in (("", scores), ("_of_logits", logits.astype(np.float64))):
        found |= {f"{name}{ending}": value for name, value in annotation(values, labels, frequencies).items()}
    return found


def annotation(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], frequencies: NDArray[np.float64]
) -> dict[str, float | None]:
    """Give each clip its ten best tags, after each tag's mean is taken off 1.25 times, and see how right they are.

    Args:
        scores: (clips, tags).
        labels: (clips, tags).
        frequencies: (tags,) precision of a tag that is never given.

    Returns:
        "annotation_precision", "annotation_recall" and "annotation_f1", means over the tags that some clip has.
    """
    counts = m.Confusion.of(m.annotate(scores, n=N_ANNOTATED, diversity=DIVERSITY), labels)
    precision, recall = counts.precision_or(frequencies), counts.recall
    both = precision + recall
    f1 = 2 * precision * recall / np.where(both > 0, both, 1.0)
    names = ("precision", "recall", "f1")
    return {f"annotation_{n}": _plain(m.mean_over_tags(v)) for n, v in zip(names, (precision, recall, f1))}


# -- inside ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _validated(model: BagNetwork, valid: Bags, loss: str) -> dict[str, float]:
    logits = logits_of(model, valid.bags)
    auc = m.mean_over_tags(m.roc_auc(logits.double().numpy(), valid.labels.numpy() > 0))
    return {"valid_loss": float(tag_loss(logits, valid.labels, loss)), "valid_auc": auc}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
