"""Frames with labels of their own: a patch around each, cut out of its recording when it is asked for.

A patch is 21 times as large as the frame that it is for, so the patches of an hour of sound are not for the memory; the
frames are. Beyond the ends of a recording its first and its last frame are repeated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._checks import check
from taggram.errors import ConfigError
from taggram.learning._random import Purpose, generator
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import Batch, Patches, fit_patches, one_hot
from taggram.models._contract import TaggingModel

Whole = NDArray[np.int64]


class PaddedFrames:
    """The frames of recordings, with those at the ends repeated, so that there is a patch around each.

    To be read: `patch_frames`, and `lengths`, (recordings,) the frames of each.

    Args:
        recordings: (frames, mels) float32 of each.
        patch_frames: length of a patch, odd, with the frame that it is for in the middle.

    Raises:
        ConfigError: there is no recording, one is empty, or a patch has no middle.
    """

    def __init__(self, recordings: Sequence[NDArray[np.float32]], patch_frames: int) -> None:
        check(patch_frames % 2 == 1, "patch_frames", patch_frames, "an odd number, so that one frame is in the middle")
        if not recordings or any(len(frames) == 0 for frames in recordings):
            raise ConfigError("there are no frames; at least one of each recording is wanted.")
        beside = patch_frames // 2
        padded = [np.pad(frames, ((beside, beside), (0, 0)), mode="edge") for frames in recordings]
        self.patch_frames = patch_frames
        self.lengths = np.array([len(frames) for frames in recordings], np.int64)
        self._frames = torch.from_numpy(np.concatenate(padded).astype(np.float32, copy=False))
        self._starts = np.concatenate([[0], np.cumsum(self.lengths + 2 * beside)[:-1]]).astype(np.int64)

    def places(self, recording: int, frames: Whole) -> Whole:
        """Say where some frames of a recording are.

        Args:
            recording: its number.
            frames: (patches,) numbers of the frames.

        Returns:
            (patches,) places, for `patches` and `statistics`.

        Raises:
            ConfigError: the recording has no such frame.
        """
        length = int(self.lengths[recording])
        if len(frames) and not (frames.min() >= 0 and frames.max() < length):
            raise ConfigError(f"frames {frames.min()} to {frames.max()} are wanted of a recording of {length}.")
        places: Whole = self._starts[recording] + frames
        return places

    def patches(self, places: Tensor) -> Tensor:
        """Cut patches.

        Args:
            places: (patches,) of the frames in the middle.

        Returns:
            (patches, 1, mels, patch_frames), past to future.
        """
        around = places[:, None] + torch.arange(self.patch_frames)  # padding moves all frames by half a patch
        return self._frames[around].transpose(1, 2).unsqueeze(1)

    def statistics(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and deviation of each value of a patch.

        Args:
            places: (patches,) of the patches that are counted, each as often as it stands there.

        Returns:
            Two tensors (mels, patch_frames), float32; the deviation divides by the number of patches, and is 1 where a
            value never changes.
        """
        means, stds = [], []
        for offset in range(self.patch_frames):
            values = self._frames[places + offset].double()
            means.append(values.mean(0))
            stds.append(values.std(0, correction=0))
        mean, std = torch.stack(means, 1).float(), torch.stack(stds, 1).float()
        return mean, torch.where(std > 0, std, torch.ones_like(std))


@dataclass(frozen=True)
class FrameExamples(Patches):
    """Frames with labels, whose patches are cut when they are asked for.

    Attributes:
        frames: where the patches are cut.
        places: (patches,) of the frames; one may be there several times, with different labels.
        labels: (patches,) numbers of the classes.
        n_classes: how many classes there are.
        weights: (patches,) of the loss of each, or None where all are equal.
    """

    frames: PaddedFrames
    places: Tensor
    labels: Tensor
    n_classes: int
    weights: Tensor | None = None

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.places)

    def chosen(self, places: Tensor) -> Batch:
        """Cut some of the patches; see `Patches`."""
        weights = None if self.weights is None else self.weights[places]
        return Batch(self.frames.patches(self.places[places]), one_hot(self.labels[places], self.n_classes), weights)

    def part(self, numbers: Tensor) -> FrameExamples:
        """Give some of the examples as examples.

        Args:
            numbers: (patches,) which ones, in order.

        Returns:
            Those.
        """
        return dataclasses.replace(
            self,
            places=self.places[numbers],
            labels=self.labels[numbers],
            weights=None if self.weights is None else self.weights[numbers],
        )

    def divided(self, share: float, seed: int) -> tuple[FrameExamples, FrameExamples]:
        """Draw a share of the examples of each class, as neighbours in time fall on both sides.

        Args:
            share: of each class, from 0 to 1; every class gives the whole number nearest to it.
            seed: of the draw.

        Returns:
            The others and those drawn, each in order.
        """
        drawn = torch.zeros(len(self), dtype=torch.bool)
        for label in torch.unique(self.labels).tolist():
            of_class = torch.nonzero(self.labels == label).squeeze(1)
            order = generator(seed, Purpose.VALIDATION, int(label)).permutation(len(of_class))
            drawn[of_class[torch.from_numpy(order[: round(share * len(of_class))])]] = True
        return self.part(torch.nonzero(~drawn).squeeze(1)), self.part(torch.nonzero(drawn).squeeze(1))


def fit_on_all(
    create: Callable[[str], TaggingModel],
    examples: FrameExamples,
    config: FitConfig,
    *,
    valid_share: float,
    device: torch.device | str = "cpu",
) -> tuple[TaggingModel, int]:
    """Find out on a part of the examples for how long to train, and train a fresh network on all for as long.

    The network needs a `standardize` for each value of a patch, which is given the statistics of all examples, whatever
    their weights.

    Args:
        create: makes a network; it is told what for, "trial" or "final", which have other first weights.
        examples: what is trained on.
        config: how; its schedule says when the trial ends. All epochs of it count, those without improvement too.
        valid_share: of the examples of each class, which the trial only looks at; 0 trains once, for `max_epochs`.
        device: where it is trained.

    Returns:
        The network, and for how many epochs it was trained.

    Raises:
        ConfigError: nothing is left for one of the two parts.
        TrainingError: the loss is no number.
    """
    statistics = examples.frames.statistics(examples.places)

    def made(purpose: str) -> TaggingModel:
        model = create(purpose)
        model.standardize.set_statistics(*statistics)  # type: ignore[union-attr, operator]
        return model

    n_epochs = config.max_epochs
    if valid_share:
        train, valid = examples.divided(valid_share, config.seed)
        if not len(train) or not len(valid):
            raise ConfigError(
                f"{len(examples)} frames are too few for a validation part of {valid_share:g}; more sound is wanted."
            )
        trial = made("trial")
        n_epochs = len(
            fit_patches(trial, lambda epoch: train.shuffled(config, epoch), config, valid=valid, device=device)
        )
    kept = dataclasses.replace(
        config,
        max_epochs=n_epochs,
        keep="last",
        schedule=dataclasses.replace(config.schedule, stop_after=None, monitor="train_loss"),
    )
    model = made("final")
    fit_patches(model, lambda epoch: examples.shuffled(kept, epoch), kept, device=device)
    return model, n_epochs
