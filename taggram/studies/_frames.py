"""Spectrograms of whole clips, and the patches that are cut out of them when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._files import written_aside
from taggram.learning.patch_fit import Batch, Patches

if TYPE_CHECKING:
    from taggram.frontends import Frontend

Whole = NDArray[np.int64]
Floats = NDArray[np.float32]


@torch.no_grad()
def spectrogram(frontend: Frontend, samples: Floats, least_frames: int) -> Floats:
    """Make the spectrogram of a clip; sound that is too short is repeated.

    Args:
        frontend: of a network.
        samples: (samples,), -1 to 1, at its rate.
        least_frames: what the sound is repeated for, if it gives fewer.

    Returns:
        (frames, mels) float32.
    """
    n_wanted = frontend.n_samples_for(least_frames)
    filled = samples if len(samples) >= n_wanted else np.resize(samples, n_wanted)
    frames: Floats = frontend(torch.from_numpy(filled)[None])[0, 0].T.numpy()
    return frames


def patch_starts(n_frames: int, patch_frames: int, hop_frames: int, *, leave_last: bool = False) -> Whole:
    """Say where the patches of a clip begin.

    Args:
        n_frames: of the clip.
        patch_frames: of a patch.
        hop_frames: from one to the next.
        leave_last: whether the last one that fits is left out, as in the code of ICASSP 2017.

    Returns:
        (patches,) frames; at least one, at 0, however short the clip is.
    """
    n_hops = max(0, n_frames - patch_frames) // hop_frames
    n_patches = max(1, n_hops if leave_last else n_hops + 1)
    return np.arange(n_patches, dtype=np.int64) * hop_frames


@dataclass(frozen=True)
class ClipFrames:
    """The spectrograms of clips, one behind the other.

    Attributes:
        values: (frames of all clips, mels).
        lengths: (clips,) frames of each.
    """

    values: Floats
    lengths: Whole

    @classmethod
    def of(cls, clips: Sequence[Floats]) -> Self:
        """Put clips one behind the other.

        Args:
            clips: (frames, mels) each; at least one.

        Returns:
            All of them.
        """
        return cls(np.concatenate(clips), np.array([len(frames) for frames in clips], np.int64))

    def clip(self, number: int) -> Floats:
        """Give the frames of a clip: (frames, mels)."""
        end = int(self.lengths[: number + 1].sum())
        return self.values[end - int(self.lengths[number]) : end]

    def mean_and_std(self, clips: Whole) -> tuple[float, float]:
        """Give one mean and one deviation of all values of some clips.

        Args:
            clips: their numbers.

        Returns:
            Mean, and population deviation; 1 where all values are equal.
        """
        of_clip = np.repeat(np.arange(len(self.lengths)), self.lengths)
        values = self.values[np.isin(of_clip, clips)]
        std = float(values.std(dtype=np.float64))
        return float(values.mean(dtype=np.float64)), std or 1.0

    def patches(self, patch_frames: int, hop_frames: int, *, leave_last: bool = False) -> ClipWindows:
        """Cut all clips into patches; the frames of one that is shorter than a patch are repeated.

        Args:
            patch_frames: of a patch.
            hop_frames: from one to the next.
            leave_last: as for `patch_starts`.

        Returns:
            The patches.
        """
        is_short = self.lengths < patch_frames
        values, lengths = self.values, self.lengths
        if is_short.any():
            clips = [self.clip(number) for number in range(len(lengths))]
            clips = [np.resize(clip, (max(len(clip), patch_frames), clip.shape[1])) for clip in clips]
            filled = ClipFrames.of(clips)
            values, lengths = filled.values, filled.lengths
        firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        starts = [patch_starts(int(n), patch_frames, hop_frames, leave_last=leave_last) for n in lengths]
        return ClipWindows(
            windows=torch.from_numpy(values).unfold(0, patch_frames, 1).unsqueeze(1),
            starts=np.concatenate([first + of_clip for first, of_clip in zip(firsts, starts)]),
            clips=np.repeat(np.arange(len(lengths)), [len(of_clip) for of_clip in starts]),
            n_repeated=int(is_short.sum()),
        )

    def save(self, path: Path) -> None:
        """Write them as NAME.npz; `load` gives them back."""
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, values=self.values, lengths=self.lengths)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read clips that were saved."""
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return cls(file["values"], file["lengths"])


@dataclass(frozen=True)
class ClipWindows:
    """Patches of clips. They share the memory of the frames, also where they overlap.

    Attributes:
        windows: (positions, 1, mels, frames) of which the patches are some.
        starts: (patches,) positions of the patches, clip by clip.
        clips: (patches,) number of the clip of each.
        n_repeated: clips that were shorter than a patch.
    """

    windows: Tensor
    starts: Whole
    clips: Whole
    n_repeated: int = 0

    def of(self, clips: Whole) -> Whole:
        """Give the patches of some clips: (patches,) their numbers, in order."""
        return np.flatnonzero(np.isin(self.clips, clips))

    def chosen(self, patches: Whole, targets: Tensor) -> FramePatches:
        """Give some patches with what they are.

        Args:
            patches: (patches,) their numbers.
            targets: (clips, tags).

        Returns:
            What can be trained on.
        """
        of_patch = targets[torch.from_numpy(self.clips[patches])]
        return FramePatches(self.windows, torch.from_numpy(self.starts[patches]), of_patch)


@dataclass(frozen=True)
class FramePatches(Patches):
    """Patches that are cut when they are asked for.

    Attributes:
        windows: (positions, 1, mels, frames), one at every frame.
        starts: (patches,) positions of the patches.
        targets: (patches, tags), 0 or 1.
    """

    windows: Tensor
    starts: Tensor
    targets: Tensor

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.starts)

    def chosen(self, places: Tensor) -> Batch:
        """Give some of the patches; see `Patches`."""
        return Batch(self.windows[self.starts[places]].contiguous(), self.targets[places])

    @property
    def whole(self) -> Batch:
        """All of them."""
        return self.chosen(torch.arange(len(self)))


def whole_batches(n_patches: int, batch_size: int) -> int:
    """Count the patches of whole batches; all of them where there is not even one batch."""
    return n_patches - n_patches % batch_size if n_patches >= batch_size else n_patches
