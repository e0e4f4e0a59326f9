"""The methods of the study of few examples: what each learns from the drawn clips, and how it scores the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram.frontends import create_frontend
from taggram.learning.clip_patches import (
    ClipPatches,
    RandomPatches,
    cut_patches,
    mean_scores,
    patches_of_sound,
    repeat_frames,
)
from taggram.learning.patch_fit import fit_patches, one_hot, scores_of
from taggram.learning.probes import HEAD_FIT, N_COMPONENTS, PatchProbe, ProbeKind, create_linear, fit_head
from taggram.learning.prototypes import PrototypeConfig, clip_log_probabilities, fit_prototypes
from taggram.learning.recipe import Recipe
from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.models._mfcc_statistics import MFCC, mfcc_statistics
from taggram.models.few_data import FEW_DATA_MEL, N_EMBEDDING
from taggram.models.vggish import VGGISH_MEL, load_vggish_weights
from taggram.studies._clips import Sounds, StudyClips

LOG_EPS = FEW_DATA_MEL.eps or 0.0
PATCH_FRAMES = FEW_DATA_MEL.n_frames
HOP_FRAMES = 42  # about 1 s: from patch to patch of the prototypes
NETWORKS = {  # method: the network, and the recipe with its training
    "sb_cnn": ("sb_cnn", "sb_cnn_urbansound8k"),
    "vgg": ("few_data_vgg", "few_data_vgg_urbansound8k"),
    "timbre": ("timbre", "timbre_urbansound8k"),
}
LOG_LEARN = "_log_learn"  # ends the name of a method whose network trains its logarithm
PROBES: dict[str, tuple[ProbeKind, int | None]] = {  # ending of a method: the probe, and the components of its PCA
    "nn": ("nearest_neighbour", None),
    "svm": ("svm", N_COMPONENTS),
    "linear_svm": ("linear_svm", None),
    "logistic": ("logistic", None),
    "mlp": ("mlp", None),
}
VGGISH_FIT = dataclasses.replace(HEAD_FIT, trunk_lr=1e-4)

Whole = NDArray[np.int64]
Measured = dict[str, Any]


class Inputs:
    """What networks are given of the clips. The clips of a test are kept from cell to cell.

    Args:
        clips: of the study.
    """

    def __init__(self, clips: StudyClips) -> None:
        self._clips = clips
        self._sounds: dict[int, Sounds] = {}
        self._kept: dict[str, tuple[int, list[Tensor]]] = {}
        self._mel = create_frontend(dataclasses.replace(FEW_DATA_MEL, compression="none", eps=None))
        self._vggish = create_frontend(VGGISH_MEL)

    def power(self, clip: int) -> Tensor:
        """Give the mel power spectrogram of a clip, (mels, frames); what is shorter than a patch is repeated."""
        frames: Tensor = self._mel(self._sound(clip, FEW_DATA_MEL.sample_rate, self._mel.n_samples_for(1)))[0, 0]
        return repeat_frames(frames, PATCH_FRAMES)

    def mfcc(self, clip: int) -> Tensor:
        """Give the MFCC statistics of a clip, (1, 120)."""
        return mfcc_statistics(self._sound(clip, MFCC.sample_rate))

    def vggish(self, clip: int) -> Tensor:
        """Give the examples of a clip for VGGish, (examples, 1, 64, 96)."""
        return patches_of_sound(self._vggish, self._sound(clip, VGGISH_MEL.sample_rate)[0])

    def of_test(self, make: Callable[[int], Tensor], fold: int, clips: Sequence[int] | Whole) -> list[Tensor]:
        """Give what is made of the test clips of a fold, and keep it until another fold comes.

        Args:
            make: a method of these inputs.
            fold: number of the fold.
            clips: its test clips, the same in each call.

        Returns:
            What was made of each.
        """
        name = make.__name__
        if name not in self._kept or self._kept[name][0] != fold:
            self._kept[name] = (fold, [make(int(clip)) for clip in clips])
        return self._kept[name][1]

    def _sound(self, clip: int, sample_rate: int, least: int = 1) -> Tensor:
        """Give (1, samples) of a clip, repeated up to what a front-end can take."""
        if sample_rate not in self._sounds:
            self._sounds[sample_rate] = self._clips.sounds(sample_rate)
        return repeat_frames(torch.from_numpy(self._sounds[sample_rate].whole(clip)), least)[None]


@dataclass(frozen=True)
class Task:
    """What a cell learns from and is tested on.

    Attributes:
        train: (clips,) numbers of the drawn clips.
        train_labels: (clips,) of their classes.
        test: (clips,) numbers of the test clips.
        test_labels: (clips,) of their classes.
        fold: number of the fold.
        n_classes: how many there are.
        seed: gives the seed of something by its name.
        device: where networks run.
        inputs: what networks are given.
    """

    train: Whole
    train_labels: Whole
    test: Whole
    test_labels: Whole
    fold: int
    n_classes: int
    seed: Callable[[str], int]
    device: torch.device
    inputs: Inputs

    def power(self, *, log_learn: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Give the spectrograms of the clips to learn from, and of the test, with the logarithm that is not trained."""
        train = [self.inputs.power(int(clip)) for clip in self.train]
        test = self.inputs.of_test(self.inputs.power, self.fold, self.test)
        return (train, test) if log_learn else ([*map(_log, train)], [*map(_log, test)])

    def scored(self, test_scores: Tensor, train_scores: Tensor, **more: Any) -> Measured:
        """Say how many clips were told right, by scores of (clips, classes)."""
        found, learned = test_scores.numpy().argmax(1), train_scores.numpy().argmax(1)
        return self.told_right(found, train_accuracy=float((learned == self.train_labels).mean()), **more)

    def told_right(self, found: Whole, **more: Any) -> Measured:
        """Say how many clips of the test were told right."""
        accuracy = float((found == self.test_labels).mean())
        return {"accuracy": accuracy, **more, "n_train": len(self.train), "n_test": len(self.test)}


def _log(power: Tensor) -> Tensor:
    return (power + LOG_EPS).log10()


def regularised(method: str, task: Task, *, max_epochs: int, test_hop_frames: int) -> Measured:
    """Train a small network on random patches, and average its probabilities over all patches of a test clip.

    Args:
        method: a key of `NETWORKS`, with "_log_learn" where the logarithm is trained.
        task: what is learned.
        max_epochs: of training.
        test_hop_frames: from patch to patch of a test clip.

    Returns:
        What was measured.
    """
    network, recipe = NETWORKS[method.removesuffix(LOG_LEARN)]
    log_learn = method.endswith(LOG_LEARN)
    fit = dataclasses.replace(Recipe.load(recipe).fit, max_epochs=max_epochs, seed=task.seed("training"))
    model = _create(network, task.seed("weights"), n_tags=task.n_classes, log_learn=log_learn)
    train, test = task.power(log_learn=log_learn)
    crops = RandomPatches([cut_patches(frames, PATCH_FRAMES, 1) for frames in train], _targets(task), fit)
    fit_patches(model, crops, fit, device=task.device)

    def scores(spectrograms: Sequence[Tensor], hop_frames: int) -> Tensor:
        clips = [cut_patches(frames, PATCH_FRAMES, hop_frames) for frames in spectrograms]
        return mean_scores(lambda patches: scores_of(model, patches, device=task.device), clips)

    return task.scored(scores(test, test_hop_frames), scores(train, HOP_FRAMES))


def prototypical(method: str, task: Task, config: PrototypeConfig) -> Measured:
    """Train an embedding in which clips lie near the prototype of their class.

    Args:
        method: "prototypical", with "_log_learn" where the logarithm is trained.
        task: what is learned.
        config: how prototypes are trained.

    Returns:
        What was measured.
    """
    log_learn = method.endswith(LOG_LEARN)
    model = _create("prototypical_embedding", task.seed("weights"), log_learn=log_learn)
    train, test = (
        [cut_patches(frames, PATCH_FRAMES, HOP_FRAMES) for frames in part] for part in task.power(log_learn=log_learn)
    )
    return _by_prototypes(model, train, test, task, config)


def vggish(task: Task, weights: Path, *, max_epochs: int, trunk_lr: float) -> Measured:
    """Train a dense layer on VGGish, and VGGish itself a little.

    Args:
        task: what is learned.
        weights: file of VGGish.
        max_epochs: of training.
        trunk_lr: times the learning rate for VGGish; 0 freezes it.

    Returns:
        What was measured.
    """
    fit = dataclasses.replace(VGGISH_FIT, max_epochs=max_epochs, trunk_lr=trunk_lr, seed=task.seed("training"))
    model = _load_vggish(weights, task.seed("weights"), task.n_classes)
    train, test = _vggish_examples(task)
    fit_patches(model, RandomPatches(train, _targets(task), fit), fit, device=task.device)

    def scores(clips: Sequence[Tensor]) -> Tensor:
        return mean_scores(lambda patches: scores_of(model, patches, device=task.device), clips)

    return task.scored(scores(test), scores(train))


def vggish_prototypical(task: Task, weights: Path, config: PrototypeConfig) -> Measured:
    """Train a linear layer on VGGish as an embedding for prototypes, and VGGish itself a little.

    Args:
        task: what is learned.
        weights: file of VGGish.
        config: how prototypes are trained.

    Returns:
        What was measured.
    """
    model = _load_vggish(weights, task.seed("weights"), N_EMBEDDING)
    train, test = _vggish_examples(task)
    return _by_prototypes(model, train, test, task, config)


def mfcc_nearest(task: Task) -> Measured:
    """Find the nearest of the drawn clips by its MFCC statistics and the cosine.

    Args:
        task: what is learned.

    Returns:
        What was measured.
    """
    train = [task.inputs.mfcc(int(clip)).numpy() for clip in task.train]
    test = [one.numpy() for one in task.inputs.of_test(task.inputs.mfcc, task.fold, task.test)]
    return frozen_probe("nn", train, test, task)


def frozen_probe(
    ending: str, train: Sequence[NDArray[np.float32]], test: Sequence[NDArray[np.float32]], task: Task
) -> Measured:
    """Classify clips by the features of their patches.

    Args:
        ending: a key of `PROBES`.
        train: features of the clips to learn from, (patches, values) each.
        test: of those to be told.
        task: what is learned.

    Returns:
        What was measured.
    """
    kind, n_components = PROBES[ending]
    probe = PatchProbe(kind, n_components=n_components, seed=task.seed("training"))
    labels = np.repeat(task.train_labels, [len(clip) for clip in train])
    return task.told_right(probe.fit(np.concatenate(list(train)), labels).predict_clips(test))


def frozen_head(
    train: Sequence[NDArray[np.float32]], test: Sequence[NDArray[np.float32]], task: Task, *, max_epochs: int
) -> Measured:
    """Train a dense layer on features, as on VGGish, and average the probabilities over the patches of a clip.

    Args:
        train: features of the clips to learn from, (patches, values) each.
        test: of those to be told.
        task: what is learned.
        max_epochs: of training.

    Returns:
        What was measured.
    """
    fit = dataclasses.replace(HEAD_FIT, max_epochs=max_epochs, seed=task.seed("training"))
    head = fit_head(train, task.train_labels, task.n_classes, fit, device=task.device)

    def scores(clips: Sequence[NDArray[np.float32]]) -> Tensor:
        return mean_scores(lambda patches: head(patches).softmax(1), [*map(torch.from_numpy, clips)])

    return task.scored(scores(test), scores(train))


def frozen_prototypes(
    train: Sequence[NDArray[np.float32]], test: Sequence[NDArray[np.float32]], task: Task, config: PrototypeConfig
) -> Measured:
    """Train a linear layer on features as an embedding for prototypes.

    Args:
        train: features of the clips to learn from, (patches, values) each.
        test: of those to be told.
        task: what is learned.
        config: how prototypes are trained.

    Returns:
        What was measured.
    """
    layer = create_linear(train[0].shape[1], N_EMBEDDING, task.seed("weights"))
    return _by_prototypes(layer, [*map(torch.from_numpy, train)], [*map(torch.from_numpy, test)], task, config)


# -- inside ------------------------------------------------------------------------------------------------------------


def _by_prototypes(
    model: torch.nn.Module, train: Sequence[Tensor], test: Sequence[Tensor], task: Task, config: PrototypeConfig
) -> Measured:
    """Train an embedding, and score the test by the prototypes of the support."""
    config = dataclasses.replace(config, seed=task.seed("training"))
    examples = ClipPatches.of(train, task.train_labels)
    fitted = fit_prototypes(model, examples, task.n_classes, config, device=task.device)
    found = clip_log_probabilities(model, fitted.prototypes, test, device=task.device).numpy().argmax(1)
    return task.told_right(found, train_accuracy=fitted.train_accuracy, n_epochs=fitted.n_epochs)


def _create(network: str, seed: int, **options: Any) -> TaggingModel:
    """Build a network whose first weights hang on a seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(network, **options)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # up to twice as quick on a CPU
    return model


def _load_vggish(weights: Path, seed: int, n_outputs: int) -> TaggingModel:
    """Build VGGish with the weights of a file and a new dense layer."""
    model = _create("vggish", seed)
    load_vggish_weights(model, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.reset_head(n_outputs, task="one")
    return model


def _vggish_examples(task: Task) -> tuple[list[Tensor], list[Tensor]]:
    """Give the examples of the clips to learn from, and of the test."""
    train = [task.inputs.vggish(int(clip)) for clip in task.train]
    return train, task.inputs.of_test(task.inputs.vggish, task.fold, task.test)


def _targets(task: Task) -> Tensor:
    return one_hot(task.train_labels, task.n_classes)
