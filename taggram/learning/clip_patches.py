"""Clips as patches in memory: how they are cut, one of each to learn from, and what patches say of their clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._checks import check_count
from taggram.errors import AudioError, DatasetError
from taggram.frontends import Frontend
from taggram.learning._random import Purpose, generator
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import Batch

AT_ONCE = 32  # patches that a network looks at together: more of them leave the cache of a CPU

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class ClipPatches:
    """All patches of some clips.

    Attributes:
        patches: (patches, ...), clip after clip.
        labels: (patches,) number of the class of each.
        clips: (patches,) number of the clip of each, from 0 on in order.
    """

    patches: Tensor
    labels: Whole
    clips: Whole

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.patches)

    @classmethod
    def of(cls, clips: Sequence[Tensor], labels: Sequence[int] | Whole) -> Self:
        """Put the patches of clips behind each other.

        Args:
            clips: the patches of each, (patches, ...).
            labels: number of the class of each clip.

        Returns:
            All patches.

        Raises:
            DatasetError: there is no clip.
        """
        if not len(clips):
            raise DatasetError("there is no clip to learn from.")
        counts = [len(clip) for clip in clips]
        return cls(
            torch.cat(list(clips)),
            np.repeat(np.asarray(labels, np.int64), counts),
            np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        )


class RandomPatches:
    """One random patch of each clip an epoch, in random order; both hang on seed, epoch and clip alone.

    It is called with the number of an epoch, from 1 on, and gives its batches, as `fit_patches` wants it.

    Args:
        clips: the patches of each, (patches, ...); may be views of one spectrogram.
        targets: (clips, tags), 0 or 1.
        config: has the seed and the size of the batches.
    """

    def __init__(self, clips: Sequence[Tensor], targets: Tensor, config: FitConfig) -> None:
        self._clips = clips
        self._targets = targets
        self._config = config

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """Give the batches of an epoch; the last may be smaller."""
        draw = generator(self._config.seed, Purpose.CROP, epoch)
        drawn = [int(draw.integers(len(clip))) for clip in self._clips]
        order = torch.from_numpy(generator(self._config.seed, Purpose.ORDER, epoch).permutation(len(self._clips)))
        for places in torch.split(order, self._config.batch_size):
            patches = torch.stack([self._clips[place][drawn[place]] for place in places.tolist()])
            yield Batch(patches, self._targets[places])


def repeat_frames(frames: Tensor, n_frames: int) -> Tensor:
    """Repeat what is shorter than a patch up to its length; what is longer comes back as it is.

    Args:
        frames: (..., frames), at least one.
        n_frames: of a patch.

    Returns:
        (..., at least n_frames).
    """
    came = frames.shape[-1]
    if came >= n_frames:
        return frames
    times = -(-n_frames // came)
    return frames.repeat(*[1] * (frames.ndim - 1), times)[..., :n_frames]


def cut_patches(frames: Tensor, n_frames: int, hop_frames: int) -> Tensor:
    """Cut frames into patches, from the start on; frames at the end that fill no patch are left out.

    Args:
        frames: (bands, frames), at least one patch of them.
        n_frames: of a patch.
        hop_frames: from patch to patch.

    Returns:
        (patches, 1, bands, n_frames), a view.

    Raises:
        ConfigError: the hop is no number from 1 on.
    """
    check_count("hop_frames", hop_frames)
    return frames.unfold(1, n_frames, hop_frames).transpose(0, 1).unsqueeze(1)


@torch.no_grad()
def patches_of_sound(
    frontend: Frontend, sound: Tensor | NDArray[np.float32], *, hop_frames: int | None = None
) -> Tensor:
    """Turn the sound of a clip into patches. One that is shorter than a patch is repeated up to there.

    Args:
        frontend: of a network; its `n_frames` are a patch.
        sound: (samples,), mono, -1 to 1, at the rate of the front-end.
        hop_frames: from patch to patch; None is side by side.

    Returns:
        (patches, 1, bands, frames), at least one patch.

    Raises:
        AudioError: the sound is empty.
        ConfigError: the hop is no number from 1 on.
    """
    samples = torch.as_tensor(sound)
    if samples.ndim != 1 or not len(samples):
        raise AudioError(f"a sound of shape {tuple(samples.shape)}; (samples,) is wanted, at least one.")
    samples = repeat_frames(samples, frontend.n_samples_for(frontend.n_frames))
    frames = frontend(samples[None])[0]
    frames = frames[0] if frames.ndim == 3 else frames  # the raw waveform has no bands
    return cut_patches(frames, frontend.n_frames, frontend.n_frames if hop_frames is None else hop_frames)


@torch.no_grad()
def mean_scores(score: Callable[[Tensor], Tensor], clips: Sequence[Tensor], *, at_once: int = AT_ONCE) -> Tensor:
    """Score all patches of each clip, and take their mean.

    Args:
        score: gives (patches, values) on the CPU for (patches, ...), such as probabilities or their logarithms.
        clips: the patches of each; may be views.
        at_once: patches that are scored together.

    Returns:
        (clips, values).

    Raises:
        DatasetError: there is no clip.
    """
    if not len(clips):
        raise DatasetError("there is no clip to score.")
    means = []
    for group in _groups(clips, at_once):
        parts = torch.split(torch.cat(group), at_once)
        scores = torch.cat([score(part) for part in parts])
        means += [of_clip.mean(0) for of_clip in torch.split(scores, [len(clip) for clip in group])]
    return torch.stack(means)


def _groups(clips: Sequence[Tensor], at_once: int) -> Iterator[list[Tensor]]:
    """Take so many clips together that they have patches enough."""
    group: list[Tensor] = []
    for clip in clips:
        group.append(clip)
        if sum(map(len, group)) >= at_once:
            yield group
            group = []
    if group:
        yield group


def majority_votes(votes: Whole, n_patches: Sequence[int] | Whole, n_classes: int) -> Whole:
    """Give the class that most patches of each clip are taken for; of equal ones, the first.

    Args:
        votes: (patches,) number of a class each, clip after clip.
        n_patches: of each clip.
        n_classes: how many there are.

    Returns:
        (clips,) numbers of classes.
    """
    ends = np.cumsum(n_patches)[:-1]
    return np.array([np.bincount(part, minlength=n_classes).argmax() for part in np.split(votes, ends)], np.int64)
