"""Bags of features of whole clips, stretch by stretch, so that memory hangs on no clip's number of patches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram.errors import AudioError
from taggram.learning.clip_patches import repeat_frames
from taggram.models.bag_of_features import BagNetwork

WINDOWS_AT_ONCE = 16  # of the maximum, whose features lie in memory together: half a minute


@torch.no_grad()
def bag_of_clip(model: BagNetwork, sound: Tensor | NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Compute the bag of a clip, and how active each unit is in it.

    Args:
        model: with whitening and RBM.
        sound: (samples,), mono, -1 to 1, at the rate of its front-end; one that is too short is repeated.

    Returns:
        (n_units,) the bag, as the layer "bag" of the whole clip, and (n_units,) the mean over its patches.

    Raises:
        AudioError: the sound is empty.
    """
    samples = torch.as_tensor(sound)
    if samples.ndim != 1 or not len(samples):
        raise AudioError(f"a sound of shape {tuple(samples.shape)}; (samples,) is wanted, at least one.")
    device = model.local.mean.device
    n_least = model.frontend.n_samples_for(model.local.patch_frames + 1)
    frames = model.frontend(repeat_frames(samples, n_least)[None].to(device))  # (1, 1, mels, frames)
    n_patches = frames.shape[-1] - model.local.patch_frames
    step = WINDOWS_AT_ONCE * model.pool_frames
    maxima, total, n_windows = [], torch.zeros(len(model.local.bias), device=device), 0
    for first in range(0, n_patches, step):
        end = min(first + step, n_patches)
        features = model.local(frames[..., first : end + model.local.patch_frames])  # (1, end - first, n_units)
        windows = -(-(end - first) // model.pool_frames)
        maxima.append(model.pool_bags(features)[0] * windows)
        total += features[0].sum(0)
        n_windows += windows
    return torch.stack(maxima).sum(0) / n_windows, total / n_patches
