"""Dense layers on vectors of clips, trained by gradient descent: what stands behind features that are ready.

Source: Lee and Nam, "Multi-level and multi-scale feature aggregation using pretrained convolutional neural networks for
    music auto-tagging", IEEE Signal Processing Letters 24(8), 2017, arXiv 1703.01793: the authors' slides, and the
    classifier that they released later.
Differs: the rate is divided by 1 + 1e-6 times the steps, as the "decay" of old Keras does; whether the best weights are
    those of the lowest validation loss is assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram.errors import DatasetError
from taggram.frontends import RawConfig
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import PatchSet, fit_patches, scores_of
from taggram.learning.schedules import ScheduleConfig
from taggram.models._contract import TaggingModel, Task
from taggram.models.multilevel import N_UNITS, ClipClassifier

BLOCK_CLIPS = 1024  # that are summed up at once
PATIENCE = 8  # epochs without a better validation loss that end the training
LR_OF_HIDDEN = {0: 0.005, 1: 0.01, 2: 0.005}  # learning rate by the number of hidden layers
VECTOR_FIT = FitConfig(  # of two hidden layers, on some hundred clips
    optimizer="sgd",
    lr=LR_OF_HIDDEN[2],
    momentum=0.9,
    nesterov=True,
    lr_decay=1e-6,
    batch_size=16,
    max_epochs=1000,  # never reached
    keep="valid_loss",
    schedule=ScheduleConfig(rule="constant", stop_after=PATIENCE - 1),  # it ends at the eighth epoch, as Keras does
)


class VectorClassifier(TaggingModel):
    """The classifier of clips as a network of its own, which takes ready vectors in the place of patches.

    Its layers have the names that they have in `multilevel_mel`, so its weights fit there.

    Args:
        n_values: length of a vector.
        n_tags: number of outputs.
        task: whether several tags may hold or exactly one does.
        n_hidden_layers: 0, 1 or 2 in the source.
        n_units: of each hidden layer.
        dropout: share of each hidden layer's units dropped in training.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, n_values) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_values: int,
        n_tags: int,
        *,
        task: Task = "several",
        n_hidden_layers: int = 2,
        n_units: int = N_UNITS,
        dropout: float = 0.0,
    ) -> None:
        classifier = ClipClassifier(n_values, None, n_hidden_layers, n_units, dropout)
        super().__init__(
            frontend=RawConfig(sample_rate=1, n_samples=n_values),
            n_features=classifier.n_features,
            n_tags=n_tags,
            layers=classifier.layers(),
            task=task,
            fixed_length=True,
            dropout=dropout,
        )
        self.classifier = classifier

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every hidden layer, for (batch, 1, n_values)."""
        return self.classifier.forward_layers(patches.flatten(1))


@dataclass(frozen=True)
class LabelledVectors:
    """Vectors of clips, and what the clips are.

    Attributes:
        values: (clips, values) float32.
        labels: (clips, tags), 1 where a tag holds, else 0.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.float32]

    def as_patches(self) -> PatchSet:
        """Give the same as training takes it; nothing is copied."""
        return PatchSet(torch.from_numpy(self.values)[:, None], torch.from_numpy(self.labels))


def fit_vectors(
    train: LabelledVectors,
    valid: LabelledVectors,
    config: FitConfig = VECTOR_FIT,
    *,
    task: Task = "several",
    n_hidden_layers: int = 2,
    n_units: int = N_UNITS,
    dropout: float = 0.0,
    device: torch.device | str = "cpu",
) -> tuple[VectorClassifier, list[dict[str, float]]]:
    """Train a classifier on vectors that are scaled by one mean and one deviation, those of all values in train.

    Args:
        train: what is learned from.
        valid: what says when it is enough.
        config: how; see `fit_patches` for the settings that count. Its seed is also that of the first weights.
        task: whether several tags may hold or exactly one does.
        n_hidden_layers: of the classifier.
        n_units: of each hidden layer.
        dropout: share of their units dropped in training.
        device: where it is trained.

    Returns:
        The classifier on the CPU, in evaluation mode, and the figures of each epoch.

    Raises:
        ConfigError: a value makes no sense.
        DatasetError: there is no clip to learn from, or none to validate on.
        TrainingError: the loss is no number.
    """
    if not len(train.values) or not len(valid.values):
        raise DatasetError(f"{len(train.values)} clips to learn from, {len(valid.values)} to validate on; both need 1.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = VectorClassifier(
            train.values.shape[1], train.labels.shape[1], task=task, n_hidden_layers=n_hidden_layers, n_units=n_units,
            dropout=dropout,
        )  # fmt: skip
        mean, std = _mean_and_std(train.values)
        model.classifier.standardize.set_statistics(torch.tensor([mean]), torch.tensor([std if std > 0 else 1.0]))
        patches, checks = train.as_patches(), valid.as_patches()
        history = fit_patches(model, lambda epoch: patches.shuffled(config, epoch), config, valid=checks, device=device)
    return model, history


def score_vectors(
    model: VectorClassifier, values: NDArray[np.float32], *, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Score clips by their vectors.

    Args:
        model: a trained classifier.
        values: (clips, values).
        device: where it is done.

    Returns:
        (clips, tags), 0 to 1.
    """
    scores: NDArray[np.float32] = scores_of(model, torch.from_numpy(values)[:, None], device=device).numpy()
    model.cpu()
    return scores


# -- inside ------------------------------------------------------------------------------------------------------------


def _mean_and_std(values: NDArray[np.float32]) -> tuple[float, float]:
    """Give mean and deviation of all values, in float64, of which no copy of the whole is made."""
    blocks = [values[first : first + BLOCK_CLIPS] for first in range(0, len(values), BLOCK_CLIPS)]
    mean = float(sum(block.sum(dtype=np.float64) for block in blocks)) / values.size
    squares = float(sum(np.square(block.astype(np.float64) - mean).sum() for block in blocks))
    return mean, math.sqrt(squares / values.size)
