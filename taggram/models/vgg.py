"""VGG, the baseline of the musicnn library: five blocks of 3 x 3 convolutions on log-mel spectrograms.

Source: the library musicnn 0.1.0 (Pons and Serra, ISMIR 2019 late-breaking demo, arXiv 1909.06654).
Differs: logits out, no sigmoid. The weights "msd" were trained with other pooling than the library runs them with;
    `pooling="library"` (the default) gives the library's answers, `pooling="trained"` those of the training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check_choice
from taggram.frontends import LogMelConfig
from taggram.models._blocks import MUSICNN_MEL, ConvReluNorm, batch_norm_2d, he_truncated_normal_
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

if TYPE_CHECKING:
    from taggram.models._inference import InferenceForm
    from taggram.models._registry import Precision

N_FILTERS = 128  # of every block
Pooling = Literal["library", "trained"]
Window = tuple[int, int]  # (frames, mels)
POOLS: dict[Pooling, tuple[tuple[Window, Window], ...]] = {  # size and stride of each block's max-pool
    "library": (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))),
    "trained": (((4, 1), (4, 1)), ((1, 4), (1, 4)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))),
}
LAYERS = ("pool1", "pool2", "pool3", "pool4", "pool5", "penultimate")
N_FLAT = 2 * N_FILTERS  # both kinds of pooling leave 2 frames and 1 mel


class VGG(TaggingModel):
    """Five blocks of convolution, ReLU, norm, max-pool and dropout, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        pooling: "library" or "trained", see `POOLS`.
        frontend: settings of the front-end.

    Raises:
        ConfigError: `pooling` is none of the two.
    Shape:
        (batch, 1, mels=96, frames=187) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, pooling: Pooling = "library", frontend: LogMelConfig = MUSICNN_MEL) -> None:
        check_choice("pooling", pooling, POOLS)
        super().__init__(
            frontend=frontend, n_features=N_FLAT, n_tags=n_tags, layers=LAYERS, fixed_length=True, dropout=0.5
        )
        self.pooling = pooling
        self.bn_in = batch_norm_2d(1)
        self.blocks = nn.ModuleList(
            ConvReluNorm(nn.Conv2d(n_in, N_FILTERS, 3, padding=1), batch_norm_2d(N_FILTERS))
            for n_in in (1, *[N_FILTERS] * 4)
        )
        self.dropout = nn.Dropout(0.25)
        self.apply(he_truncated_normal_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer of the library, for (batch, 1, mels, frames)."""
        x = self.bn_in(patches.transpose(2, 3))  # (batch, 1, frames, mels), as the source lays it out
        layers = {}
        for number, (block, (size, stride)) in enumerate(zip(self.blocks, POOLS[self.pooling]), start=1):
            pooled = F.max_pool2d(block(x), size, stride)
            layers[f"pool{number}"] = pooled.permute(0, 2, 3, 1)  # (batch, frames, mels, 128)
            x = pooled if number == len(self.blocks) else self.dropout(pooled)
        layers["pool5"] = layers["pool5"].squeeze(2)  # (batch, 2, 128)
        layers["penultimate"] = layers["pool5"].flatten(1)  # (batch, 256)
        return layers

    def init_head(self, head: nn.Linear) -> None:
        """Start the head like every other kernel of the released checkpoints."""
        he_truncated_normal_(head)

    def inference(self, precision: Precision = "float32") -> InferenceForm:
        """Build the pruned form: the same scores from less than half of the work; see `TaggingModel.inference`."""
        from taggram.models._vgg_inference import VGGForm

        return VGGForm(self, precision)


@register_model(paper="Pons and Serra, ISMIR 2019", n_tags=50)
def vgg(n_tags: int | None = None, *, pooling: Pooling = "library", frontend: LogMelConfig = MUSICNN_MEL) -> VGG:
    """Build the library's VGG, 605,748 parameters with 50 tags."""
    return VGG(n_tags, pooling=pooling, frontend=frontend)
