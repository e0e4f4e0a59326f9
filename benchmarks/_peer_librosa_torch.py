"""musicnn and VGG in plain torch, timed file by file. `tagging.py` runs this file with the peer `frontends`.

Its arguments are "musicnn" or "vgg", and the weights: the safetensors file that `taggram models get` keeps, whose names
are those of the modules below. A file goes through `librosa.load`, `librosa.feature.melspectrogram` and the network as
the papers draw it: eager, all patches in one batch, with convolutions of one channel. torch has all cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

SAMPLE_RATE, N_FFT, HOP, N_MELS, N_FRAMES = 16_000, 512, 256, 96, 187
EPS = 1e-3  # of TensorFlow's batch norm
TIMBRAL_MELS, TEMPORAL_FRAMES = (38, 67), (128, 64, 32)
N_TIMBRAL, N_TEMPORAL, N_MIDEND, N_DENSE, N_VGG, N_TAGS = 204, 51, 64, 200, 128, 50
VGG_POOLS: list[tuple[Any, Any]] = [((4, 1), (2, 2)), (2, 2), (2, 2), (2, 2), (4, 4)]  # size and stride


class Block(nn.Module):
    """Convolution, ReLU, batch norm."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, ...)."""
        normed: Tensor = self.bn(self.conv(x).relu())
        return normed


class MusiCNN(nn.Module):
    """(batch, frames, mels) to logits; Pons and Serra, 2019."""

    def __init__(self) -> None:
        super().__init__()
        n_front = len(TIMBRAL_MELS) * N_TIMBRAL + len(TEMPORAL_FRAMES) * N_TEMPORAL
        n_pooled = 2 * (n_front + 3 * N_MIDEND)
        self.bn_in = nn.BatchNorm2d(1, eps=EPS)
        self.timbral = nn.ModuleList(
            Block(nn.Conv2d(1, N_TIMBRAL, (7, mels), padding=(3, 0)), nn.BatchNorm2d(N_TIMBRAL, eps=EPS))
            for mels in TIMBRAL_MELS
        )
        self.temporal = nn.ModuleList(
            Block(nn.Conv2d(1, N_TEMPORAL, (frames, 1), padding="same"), nn.BatchNorm2d(N_TEMPORAL, eps=EPS))
            for frames in TEMPORAL_FRAMES
        )
        self.midend = nn.ModuleList(
            Block(nn.Conv1d(n_in, N_MIDEND, 7, padding=3), nn.BatchNorm1d(N_MIDEND, eps=EPS))
            for n_in in (n_front, N_MIDEND, N_MIDEND)
        )
        self.bn_pool = nn.BatchNorm1d(n_pooled, eps=EPS)
        self.dense = nn.Linear(n_pooled, N_DENSE)
        self.bn_dense = nn.BatchNorm1d(N_DENSE, eps=EPS)
        self.head = nn.Linear(N_DENSE, N_TAGS)

    def forward(self, patches: Tensor) -> Tensor:
        """Give (batch, tags)."""
        x = self.bn_in(patches[:, None])
        front = torch.cat([block(x).amax(3) for block in (*self.timbral, *self.temporal)], 1)
        first = self.midend[0](front)
        second = self.midend[1](first) + first
        third = self.midend[2](second) + second
        whole = torch.cat([front, first, second, third], 1)
        pooled = torch.stack([whole.amax(2), whole.mean(2)], 2).flatten(1)
        logits: Tensor = self.head(self.bn_dense(self.dense(self.bn_pool(pooled)).relu()))
        return logits


class VGG(nn.Module):
    """(batch, frames, mels) to logits; the library's VGG."""

    def __init__(self) -> None:
        super().__init__()
        self.bn_in = nn.BatchNorm2d(1, eps=EPS)
        self.blocks = nn.ModuleList(
            Block(nn.Conv2d(n_in, N_VGG, 3, padding=1), nn.BatchNorm2d(N_VGG, eps=EPS)) for n_in in (1, *[N_VGG] * 4)
        )
        self.head = nn.Linear(2 * N_VGG, N_TAGS)

    def forward(self, patches: Tensor) -> Tensor:
        """Give (batch, tags)."""
        x = self.bn_in(patches[:, None])
        for block, (size, stride) in zip(self.blocks, VGG_POOLS):
            x = F.max_pool2d(block(x), size, stride)
        logits: Tensor = self.head(x.permute(0, 2, 3, 1).flatten(1))
        return logits


def make_ways(network: str, weights: str) -> dict[str, Any]:
    """Build the network and load its weights.

    Args:
        network: "musicnn" or "vgg".
        weights: the safetensors file.

    Returns:
        The one way to tag a path, by name.
    """
    model = {"musicnn": MusiCNN, "vgg": VGG}[network]().eval()
    missing, unexpected = model.load_state_dict(load_file(weights), strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"{weights} does not fit {network}: {[*missing, *unexpected][:3]}")

    @torch.inference_mode()
    def tag(path: str) -> Any:
        samples, _rate = librosa.load(path, sr=SAMPLE_RATE)
        mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS)
        frames = np.log10(10_000 * mel.T + 1)
        n_patches = len(frames) // N_FRAMES
        patches = torch.from_numpy(frames[: n_patches * N_FRAMES].reshape(n_patches, N_FRAMES, N_MELS))
        return model(patches).sigmoid().numpy()

    return {"tag": tag}


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "taggram" / "apps"))  # behind all others
    from _peer_loop import answer_paths  # type: ignore[import-not-found]

    answer_paths(lambda: make_ways(sys.argv[1], sys.argv[2]))
