"""Prototypical networks: a class is the mean of the embeddings of its examples, and the nearest class is the answer.

Source: J. Snell, K. Swersky and R. Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017; Pons, Serra and
    Serra, "Training neural audio classifiers with few data", ICASSP 2019, arXiv 1810.10274, and the code of its
    authors, which is followed in what is drawn, in the distance, and in when training ends.
Differs: the support is drawn from a seed; `n_shot=None` makes prototypes from all patches, where the code has at most
    five clips of each class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check, check_count, is_number
from taggram.errors import ConfigError, TrainingError
from taggram.learning._steps import create_optimizer, scale_rates, step_seed, take_step
from taggram.learning.clip_patches import AT_ONCE, ClipPatches, mean_scores
from taggram.learning.config import FitConfig
from taggram.learning.episodes import N_QUERY, N_SUPPORT, Episodes
from taggram.learning.transfer import freeze, frozen_modules
from taggram.models._contract import TaggingModel


@dataclass(frozen=True)
class Prototypes:
    """A point for each class, among which an embedding finds the nearest.

    Attributes:
        points: (n_way, values).
    """

    points: Tensor

    @classmethod
    def of(cls, embeddings: Tensor, labels: Tensor, n_way: int) -> Self:
        """Take the mean of the embeddings of each class. Gradients flow through it.

        Args:
            embeddings: (patches, values) of the support.
            labels: (patches,) number of the class of each, 0 to n_way - 1.
            n_way: number of classes.

        Returns:
            The prototypes.

        Raises:
            ConfigError: a class has no embedding.
        """
        members = F.one_hot(labels, n_way).to(embeddings)  # (patches, n_way)
        counts = members.sum(0)
        if bool((counts == 0).any()):
            raise ConfigError(f"the class number {int((counts == 0).nonzero()[0])} has no embedding to take a mean of.")
        return cls(members.T @ embeddings / counts[:, None])

    def distances(self, embeddings: Tensor) -> Tensor:
        """Measure how far embeddings are from each prototype.

        Args:
            embeddings: (patches, values).

        Returns:
            (patches, n_way): the mean of the squared differences of their values.
        """
        return (embeddings[:, None] - self.points).square().mean(2)

    def log_probabilities(self, embeddings: Tensor) -> Tensor:
        """Say how probable each class is.

        Args:
            embeddings: (patches, values).

        Returns:
            (patches, n_way) natural logarithms: the nearer, the more probable.
        """
        return F.log_softmax(-self.distances(embeddings), dim=1)


@dataclass(frozen=True, kw_only=True)
class PrototypeConfig:
    """How a prototypical network is trained. The defaults are those of the few-data paper.

    Attributes:
        n_shot: patches of each class in the support, at most one a clip; None is all patches.
        n_query: patches of each class that an update asks about.
        stop_epochs: training ends when more epochs than these have not made the accuracy of the training clips better.
            They are counted in total, also where they do not follow each other.
        lr: learning rate, which stays.
        trunk_lr: times the learning rate for all but the head of a network; 0 freezes it.
        clip_norm: largest norm of the gradient; None is no limit.
        seed: of support, queries and dropout.

    Raises:
        ConfigError: some value makes no sense.
    """

    n_shot: int | None = N_SUPPORT
    n_query: int = N_QUERY
    stop_epochs: int = 200
    lr: float = 0.1
    trunk_lr: float = 1.0
    clip_norm: float | None = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_shot is not None:
            check_count("n_shot", self.n_shot)
        check_count("n_query", self.n_query)
        check_count("stop_epochs", self.stop_epochs, 0)
        check_count("seed", self.seed, 0)
        check(is_number(self.lr) and self.lr > 0, "lr", self.lr, "a number above 0")
        check(is_number(self.trunk_lr) and self.trunk_lr >= 0, "trunk_lr", self.trunk_lr, "a number from 0 on")
        fits = self.clip_norm is None or (is_number(self.clip_norm) and self.clip_norm > 0)
        check(fits, "clip_norm", self.clip_norm, "a number above 0, or None")


@dataclass(frozen=True)
class PrototypeFit:
    """What a training left.

    Attributes:
        prototypes: of the support, by the last weights.
        n_epochs: how many there were.
        train_accuracy: of the training clips, by the last weights.
    """

    prototypes: Prototypes
    n_epochs: int
    train_accuracy: float


class TotalPatience:
    """Counts, in total, the epochs that were no better than the best before.

    Args:
        most: of them that are borne.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._best = -math.inf
        self._n_without = 0

    def is_over(self, score: float) -> bool:
        """Take the score of an epoch, and tell whether it was the last one.

        Args:
            score: higher is better.

        Returns:
            Whether there were more epochs without improvement than are borne.
        """
        if score > self._best:
            self._best = score
        else:
            self._n_without += 1
        return self._n_without > self._most


def embed(model: nn.Module, patches: Tensor) -> Tensor:
    """Embed patches.

    Args:
        model: a `TaggingModel`, whose head gives the embedding where it has one, or any module.
        patches: (patches, ...), as the front-end gives them, or what the module takes.

    Returns:
        (patches, values).
    """
    if isinstance(model, TaggingModel):
        return model.forward_head(model.forward_features(patches))
    embeddings: Tensor = model(patches)
    return embeddings


def fit_prototypes(
    model: nn.Module,
    examples: ClipPatches,
    n_way: int,
    config: PrototypeConfig,
    *,
    device: torch.device | str = "cpu",
    told: Callable[[dict[str, float]], object] = lambda _: None,
) -> PrototypeFit:
    """Train an embedding in place so that patches lie near the prototype of their class.

    Support and queries go through the network apart, so that batch norms see one of them at a time.

    Args:
        model: a `TaggingModel` that gives an embedding, or any module, such as a linear layer on features.
        examples: the patches to learn from.
        n_way: number of classes.
        config: how it is trained.
        device: where it is trained, and left in evaluation mode.
        told: is told the figures of each epoch: epoch, train_loss and train_accuracy.

    Returns:
        The prototypes, and how training went.

    Raises:
        DatasetError: a class has no patch.
        ConfigError: nothing of the network learns.
        TrainingError: the loss is no number.
    """
    model.to(device)
    episodes = Episodes(
        examples.labels, examples.clips, n_way, n_shot=config.n_shot, n_query=config.n_query, seed=config.seed
    )
    support = examples.patches[torch.from_numpy(episodes.support)].to(device)
    of_class, of_clip = torch.from_numpy(examples.labels), torch.from_numpy(examples.clips)
    support_labels = of_class[torch.from_numpy(episodes.support)].to(device)
    clips = list(torch.split(examples.patches, torch.bincount(of_clip).tolist()))
    clip_labels = torch.stack([part[0] for part in torch.split(of_class, torch.bincount(of_clip).tolist())])
    frozen = frozen_modules(model, (), trunk=config.trunk_lr == 0) if isinstance(model, TaggingModel) else []
    freeze(frozen)
    optimizer = _optimizer(model, config)
    patience, n_epochs, update = TotalPatience(config.stop_epochs), 0, 0
    while True:
        model.train()
        freeze(frozen)
        losses = 0.0
        for _ in range(episodes.n_updates):
            places = torch.from_numpy(episodes.queries(update))
            torch.manual_seed(step_seed(config.seed, update))
            made = Prototypes.of(embed(model, support), support_labels, n_way)
            answers = made.log_probabilities(embed(model, examples.patches[places].to(device)))
            loss = F.nll_loss(answers, of_class[places].to(device))
            take_step(loss, model, optimizer, config.clip_norm)
            losses += loss.item()
            update += 1
        n_epochs += 1
        if not math.isfinite(losses):
            raise TrainingError(f"the loss is no number in epoch {n_epochs}; lower lr or set clip_norm.")
        prototypes = prototypes_of(model, support, support_labels, n_way)
        found = clip_log_probabilities(model, prototypes, clips, device=device).argmax(1)
        accuracy = (found == clip_labels).double().mean().item()
        told({"epoch": n_epochs, "train_loss": losses / episodes.n_updates, "train_accuracy": accuracy})
        if patience.is_over(accuracy):
            return PrototypeFit(prototypes, n_epochs, accuracy)


@torch.no_grad()
def prototypes_of(model: nn.Module, support: Tensor, labels: Tensor, n_way: int) -> Prototypes:
    """Make the prototypes of a support, by a network as it is in use.

    Args:
        model: embeds; it is left in evaluation mode.
        support: (patches, ...), on the network's device.
        labels: (patches,) number of the class of each, likewise.
        n_way: number of classes.

    Returns:
        The prototypes, without gradients.

    Raises:
        ConfigError: a class has no patch.
    """
    model.eval()
    embeddings = torch.cat([embed(model, part) for part in torch.split(support, AT_ONCE)])
    return Prototypes.of(embeddings, labels, n_way)


def clip_log_probabilities(
    model: nn.Module, prototypes: Prototypes, clips: Sequence[Tensor], *, device: torch.device | str = "cpu"
) -> Tensor:
    """Score clips: the mean of the logarithms of the probabilities over the patches of each.

    Args:
        model: embeds; it is left in evaluation mode.
        prototypes: of the classes, on the device.
        clips: the patches of each, (patches, ...).
        device: where the network is.

    Returns:
        (clips, n_way), on the CPU.

    Raises:
        DatasetError: there is no clip.
    """
    model.eval()
    return mean_scores(lambda patches: prototypes.log_probabilities(embed(model, patches.to(device))).cpu(), clips)


def _optimizer(model: nn.Module, config: PrototypeConfig) -> torch.optim.Optimizer:
    """Make plain SGD; of a network with a head, the trunk may have a rate of its own."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("nothing of this network learns; with trunk_lr=0 it needs a head, as reset_head puts it on.")
    if not isinstance(model, TaggingModel):
        return torch.optim.SGD(model.parameters(), lr=config.lr)
    settings = FitConfig(optimizer="sgd", lr=config.lr, trunk_lr=config.trunk_lr)
    optimizer = create_optimizer(model, settings)
    scale_rates(optimizer.param_groups, settings, 1.0)
    return optimizer
