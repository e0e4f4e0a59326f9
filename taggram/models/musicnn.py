"""musicnn, a musically motivated CNN on log-mel spectrograms, and its wide variant.

Source: Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", ISMIR 2019
    late-breaking demo, arXiv 1909.06654; the graphs stored in the released checkpoints of the library, version 0.1.0.
Differs: logits out, no sigmoid. Sound shorter than a patch raises; the library crashes. A hop is given as a hop: the
    library calls it overlap and turns 1 s into 61 frames (`library_hop_frames`), where taggram's 1 s is 62.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram.errors import ConfigError
from taggram.frontends import LogMelConfig
from taggram.models._blocks import (
    MUSICNN_MEL,
    ConvReluNorm,
    batch_norm_1d,
    batch_norm_2d,
    he_truncated_normal_,
    same_zeros,
)
from taggram.models._contract import TaggingModel
from taggram.models._learning_layers import TemporalConv2d
from taggram.models._registry import register_model

if TYPE_CHECKING:
    from taggram.models._inference import InferenceForm
    from taggram.models._registry import Precision

PAPER = "Pons and Serra, ISMIR 2019"
TIMBRAL_MELS = (38, 67)  # heights of the timbral kernels: int(0.4 * 96), int(0.7 * 96)
TIMBRAL_FRAMES = 7  # their width in time
N_TIMBRAL = 204  # filters of each: int(1.6 * 128)
TEMPORAL_FRAMES = (128, 64, 32)  # lengths of the temporal kernels
N_TEMPORAL = 51  # filters of each: int(1.6 * 32)
N_FRONT = len(TIMBRAL_MELS) * N_TIMBRAL + len(TEMPORAL_FRAMES) * N_TEMPORAL  # 561
MIDEND_FRAMES = 7  # length of the mid-end kernels
LAYERS = ("timbral", "temporal", "cnn1", "cnn2", "cnn3", "mean_pool", "max_pool", "penultimate")


class MusiCNN(TaggingModel):
    """Timbral and temporal filters, three residual layers over time, max and mean pooling, one dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
        n_midend: filters of each mid-end layer.
        n_dense: units of the dense layer.
        frontend: settings of the front-end.
    Shape:
        (batch, 1, mels=96, frames>=187) in, (batch, n_tags) logits out.
    """

    def __init__(
        self, n_tags: int | None, n_midend: int = 64, n_dense: int = 200, frontend: LogMelConfig = MUSICNN_MEL
    ) -> None:
        super().__init__(frontend=frontend, n_features=n_dense, n_tags=n_tags, layers=LAYERS, dropout=0.5)
        n_pooled = N_FRONT + 3 * n_midend
        self.bn_in = batch_norm_2d(1)
        self.timbral = nn.ModuleList(
            ConvReluNorm(nn.Conv2d(1, N_TIMBRAL, (TIMBRAL_FRAMES, n_mels)), batch_norm_2d(N_TIMBRAL))
            for n_mels in TIMBRAL_MELS
        )
        self.temporal = nn.ModuleList(
            ConvReluNorm(TemporalConv2d(N_TEMPORAL, n_frames), batch_norm_2d(N_TEMPORAL))
            for n_frames in TEMPORAL_FRAMES
        )
        self.midend = nn.ModuleList(
            ConvReluNorm(nn.Conv1d(n_in, n_midend, MIDEND_FRAMES, padding="same"), batch_norm_1d(n_midend))
            for n_in in (N_FRONT, n_midend, n_midend)
        )
        self.bn_pool = batch_norm_1d(2 * n_pooled)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(2 * n_pooled, n_dense)
        self.bn_dense = batch_norm_1d(n_dense)
        self.apply(he_truncated_normal_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer of the library, for (batch, 1, mels, frames)."""
        x = self.bn_in(patches.transpose(2, 3))  # (batch, 1, frames, mels), as the source lays it out
        # The padding is zero in the normalised domain; max over all positions in mel.
        padded = F.pad(x, (0, 0, *same_zeros(TIMBRAL_FRAMES)))
        timbral = torch.cat([branch(padded).amax(3) for branch in self.timbral], 1)  # (batch, 408, frames)
        temporal = torch.cat(
            [branch(F.pad(x, (0, 0, *same_zeros(n)))).amax(3) for branch, n in zip(self.temporal, TEMPORAL_FRAMES)], 1
        )  # (batch, 153, frames)
        front = torch.cat([timbral, temporal], 1)  # (batch, 561, frames)
        cnn1 = self.midend[0](front)  # (batch, 64, frames)
        cnn2 = self.midend[1](cnn1) + cnn1
        cnn3 = self.midend[2](cnn2) + cnn2
        whole = torch.cat([front, cnn1, cnn2, cnn3], 1)  # (batch, 753, frames)
        max_pool, mean_pool = whole.amax(2), whole.mean(2)
        pooled = torch.stack([max_pool, mean_pool], 2).flatten(1)  # (batch, 1506): max0, mean0, max1, mean1, ...
        dense = self.dense(self.dropout(self.bn_pool(pooled)))
        return {
            "timbral": timbral.transpose(1, 2),
            "temporal": temporal.transpose(1, 2),
            "cnn1": cnn1.transpose(1, 2),
            "cnn2": cnn2.transpose(1, 2),
            "cnn3": cnn3.transpose(1, 2),
            "mean_pool": mean_pool,
            "max_pool": max_pool,
            "penultimate": self.bn_dense(dense.relu()),
        }

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel of the released checkpoints."""
        he_truncated_normal_(head)

    def inference(self, precision: Precision = "float32") -> InferenceForm:
        """Build the pruned form: the same scores from less than half of the work; see `TaggingModel.inference`."""
        from taggram.models._musicnn_inference import MusiCNNForm

        return MusiCNNForm(self, precision)


@register_model(paper=PAPER, n_tags=50)
def musicnn(n_tags: int | None = None, *, frontend: LogMelConfig = MUSICNN_MEL) -> MusiCNN:
    """Build musicnn, 787,159 parameters with 50 tags."""
    return MusiCNN(n_tags, frontend=frontend)


@register_model(paper=PAPER, n_tags=50)
def musicnn_big(n_tags: int | None = None, *, frontend: LogMelConfig = MUSICNN_MEL) -> MusiCNN:
    """Build musicnn with a wide mid-end and dense layer, 7,980,235 parameters with 50 tags."""
    return MusiCNN(n_tags, n_midend=512, n_dense=500, frontend=frontend)


def library_patch_frames(input_length_s: float) -> int:
    """Frames that the musicnn library makes of its `input_length`; 3 s are 187, 1 s are 62."""
    return (int(input_length_s * MUSICNN_MEL.sample_rate) - MUSICNN_MEL.hop_length) // MUSICNN_MEL.hop_length + 1


def library_hop_frames(input_overlap_s: float) -> int:
    """Frames that the musicnn library makes of its `input_overlap`, which is a hop; 1 s is 61.

    Args:
        input_overlap_s: the library's argument, in seconds.

    Returns:
        The hop in frames, to be given as `hop_frames` where results are compared with the library's.

    Raises:
        ConfigError: the hop is shorter than one frame.
    """
    n_frames = (int(input_overlap_s * MUSICNN_MEL.sample_rate) - MUSICNN_MEL.hop_length) // MUSICNN_MEL.hop_length
    if n_frames < 1:
        raise ConfigError(f"input_overlap={input_overlap_s} s is a hop of {n_frames} frames; 0.032 s is the least.")
    return n_frames
