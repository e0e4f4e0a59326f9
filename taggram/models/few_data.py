"""SB-CNN, VGG, TIMBRE and a prototypical embedding, for learning from a few labelled clips a class.

Source: Pons, Serra and Serra, "Training neural audio classifiers with few data", ICASSP 2019, arXiv 1810.10274; the
    code of its authors, github.com/jordipons/neural-classifiers-with-few-audio. SB-CNN is after Salamon and Bello.
    Where paper and code differ, the code is followed.
Differs: `timbre` without `n_tags` has 10 filters and gives their maxima. Its outputs are its features, so
    `reset_head` puts a linear layer on these, which the source has nowhere. `n_tags` of the embedding puts a linear
    layer on it, too; the source compares distances. Sound shorter than a patch raises; the source repeats its
    spectrogram. The trained logarithm always gets plain power; the source can be set to take a logarithm twice. Which
    of the two logarithms a published curve used is not told; the fixed one is the default.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check_choice, check_count, check_flag
from taggram.errors import ConfigError
from taggram.frontends import LogMelConfig
from taggram.models._blocks import batch_norm_2d, check_patch_size, glorot_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

PAPER = "Pons, Serra and Serra, ICASSP 2019"
FEW_DATA_MEL = LogMelConfig(
    sample_rate=44_100,
    n_fft=1024,
    hop_length=1024,
    n_mels=128,
    n_frames=128,  # 2.97 s
    compression="log10_eps",
    eps=2.220446e-16,  # the step of float64 at 1
)
InputNorm = Literal["channel", "time", "none"]
"""Over what the input is normed: "channel" is one mean and variance of the whole patch, "time" is one a frame."""
LOG_LEARN_A = 7.0  # first value of a, alpha is exp(a): 1096.633
LOG_LEARN_B = 1.0  # first value of b, beta is softplus(b): 1.313262
SB_CNN_FILTERS = (24, 48, 48)
SB_CNN_KERNEL = 5  # frames and mels
SB_CNN_POOL = (4, 2)  # frames, mels
SB_CNN_FLAT = 2 * 25 * SB_CNN_FILTERS[-1]  # 2 frames, 25 mels
SB_CNN_DENSE = 64
SB_CNN_LAYERS = ("conv1", "pool1", "conv2", "pool2", "conv3", "penultimate")
N_BLOCKS = 5  # of VGG, each halves frames and mels: 128 become 4
N_PLACES = 4 * 4  # what they leave of a patch
VGG_LAYERS = ("block1", "block2", "block3", "block4", "block5", "penultimate")
TIMBRE_KERNEL = (7, 108)  # frames, mels
TIMBRE_FILTERS = 10  # without tags: the classes of UrbanSound8K
TIMBRE_LAYERS = ("conv", "penultimate")
PROTOTYPE_WIDTH = 128  # filters of every block
N_EMBEDDING = 10  # whatever the number of classes


class LogLearn(nn.Module):
    """A logarithm with two trained scalars: ln(alpha x + beta), alpha = exp(a) and beta = softplus(b)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(LOG_LEARN_A))
        self.b = nn.Parameter(torch.tensor(LOG_LEARN_B))

    def forward(self, power: Tensor) -> Tensor:
        """Give the logarithm of what is at least 0."""
        return (self.a.exp() * power + F.softplus(self.b)).log()


class FewDataNetwork(TaggingModel):
    """What the four networks share: a logarithm that may be trained, and batch norm of the input.

    Args:
        frontend: settings of the front-end.
        log_learn: whether the logarithm is trained; the front-end then gives power, whatever its compression was.
        input_norm: see `InputNorm`.
        **contract: the other arguments of `TaggingModel`.

    Raises:
        ConfigError: an option makes no sense, or the network cannot take the front-end's patches.
    """

    def __init__(self, *, frontend: LogMelConfig, log_learn: bool, input_norm: InputNorm, **contract: Any) -> None:
        check_flag("log_learn", log_learn)
        check_choice("input_norm", input_norm, get_args(InputNorm))
        if log_learn:
            frontend = dataclasses.replace(frontend, compression="none", gain=None, eps=None, top_db=None)
        super().__init__(frontend=frontend, **contract)
        self.input_norm = input_norm
        self.log = LogLearn() if log_learn else nn.Identity()
        self.bn_in: nn.Module = nn.Identity()
        if input_norm != "none":
            self.bn_in = batch_norm_2d(frontend.n_frames if input_norm == "time" else 1)

    def change_frontend(self, **changes: Any) -> None:
        """Give the network another front-end: the same with some settings changed.

        Args:
            **changes: settings of its config, such as `padding="zeros"`.

        Raises:
            ConfigError: there is no such setting, the value makes no sense, or two logarithms would be taken.
        """
        compression = changes.get("compression", "none")
        if isinstance(self.log, LogLearn) and compression != "none":
            raise ConfigError(
                f"compression is {compression!r}; this network trains its own logarithm (log_learn=True), which needs "
                "power: leave it at 'none', or build the network with log_learn=False."
            )
        super().change_frontend(**changes)

    def _normed(self, patches: Tensor) -> Tensor:
        """Give (batch, 1, frames, mels), as the source lays it out, for (batch, 1, mels, frames)."""
        x: Tensor = self.log(patches.transpose(2, 3))  # (batch, 1, frames, mels)
        by_frame = self.input_norm == "time"
        normed: Tensor = self.bn_in(x.transpose(1, 2)).transpose(1, 2) if by_frame else self.bn_in(x)
        return normed


class SBCNN(FewDataNetwork):
    """Three convolutions, two of them with a max-pool, and a dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
        log_learn: whether the logarithm is trained.
        input_norm: see `InputNorm`.
        frontend: settings of the front-end.

    Raises:
        ConfigError: an option makes no sense, or the front-end has patches of another size.
    Shape:
        (batch, 1, mels=128, frames=128) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        log_learn: bool = False,
        input_norm: InputNorm = "channel",
        frontend: LogMelConfig = FEW_DATA_MEL,
    ) -> None:
        check_patch_size(frontend, FEW_DATA_MEL)
        super().__init__(
            frontend=frontend,
            log_learn=log_learn,
            input_norm=input_norm,
            n_features=SB_CNN_DENSE,
            n_tags=n_tags,
            layers=SB_CNN_LAYERS,
            task="one",
            fixed_length=True,
            dropout=0.5,
        )
        first, second, third = SB_CNN_FILTERS
        self.conv1 = nn.Conv2d(1, first, SB_CNN_KERNEL)
        self.pool1 = nn.MaxPool2d(SB_CNN_POOL)
        self.conv2 = nn.Conv2d(first, second, SB_CNN_KERNEL)
        self.pool2 = nn.MaxPool2d(SB_CNN_POOL)
        self.conv3 = nn.Conv2d(second, third, SB_CNN_KERNEL)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(SB_CNN_FLAT, SB_CNN_DENSE)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self._normed(patches)  # (batch, 1, 128, 128): frames, then mels
        conv1 = self.conv1(x).relu()  # (batch, 24, 124, 124)
        pool1 = self.pool1(conv1)  # (batch, 24, 31, 62)
        conv2 = self.conv2(pool1).relu()  # (batch, 48, 27, 58)
        pool2 = self.pool2(conv2)  # (batch, 48, 6, 29)
        conv3 = self.conv3(pool2).relu()  # (batch, 48, 2, 25)
        maps = {"conv1": conv1, "pool1": pool1, "conv2": conv2, "pool2": pool2, "conv3": conv3}
        layers = {name: _channels_last(x) for name, x in maps.items()}
        layers["penultimate"] = self.dense(self.dropout(layers["conv3"].flatten(1))).relu()  # (batch, 64)
        return layers


class FewDataVGG(FewDataNetwork):
    """Five blocks of 3 x 3 convolution, ELU, norm and max-pool, then the head.

    Args:
        n_tags: number of outputs, or None for no head.
        width: filters of every block.
        log_learn: whether the logarithm is trained.
        input_norm: see `InputNorm`.
        frontend: settings of the front-end.

    Raises:
        ConfigError: an option makes no sense, or the front-end has patches of another size.
    Shape:
        (batch, 1, mels=128, frames=128) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        width: int = 32,
        log_learn: bool = False,
        input_norm: InputNorm = "channel",
        frontend: LogMelConfig = FEW_DATA_MEL,
    ) -> None:
        check_count("width", width)
        check_patch_size(frontend, FEW_DATA_MEL)
        super().__init__(
            frontend=frontend,
            log_learn=log_learn,
            input_norm=input_norm,
            n_features=N_PLACES * width,
            n_tags=n_tags,
            layers=VGG_LAYERS,
            task="one",
            fixed_length=True,
            dropout=0.5,
        )
        self.blocks = _blocks(width)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        layers = _run_blocks(self.blocks, self._normed(patches))
        layers["penultimate"] = layers["block5"].flatten(1)  # (batch, 512)
        return layers


class Timbre(FewDataNetwork):
    """One convolution over 7 frames and 108 mels, and the maximum of each of its filters.

    Args:
        n_tags: number of filters, which are the outputs; None is 10 filters, which are the features.
        log_learn: whether the logarithm is trained.
        frontend: settings of the front-end.

    Raises:
        ConfigError: an option makes no sense, or the front-end has fewer mels than the kernels.
    Shape:
        (batch, 1, mels=128, frames>=7) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, log_learn: bool = False, frontend: LogMelConfig = FEW_DATA_MEL) -> None:
        n_filters = TIMBRE_FILTERS if n_tags is None else n_tags
        if n_filters < 1:
            raise ConfigError(f"n_tags is {n_tags}; there must be at least 1. Leave it out for 10 features.")
        n_frames, n_mels = TIMBRE_KERNEL
        if frontend.n_mels < n_mels:
            raise ConfigError(f"a front-end of {frontend.n_mels} mels; the kernels of this network span {n_mels}.")
        super().__init__(
            frontend=frontend,
            log_learn=log_learn,
            input_norm="channel",
            n_features=n_filters,
            n_tags=n_tags,
            layers=TIMBRE_LAYERS,
            task="one",
            least_frames=n_frames,
            head=nn.Identity(),
        )
        self.conv = nn.Conv2d(1, n_filters, TIMBRE_KERNEL)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        conv = self.conv(self._normed(patches))  # (batch, 10, frames - 6, mels - 107)
        return {"conv": _channels_last(conv), "penultimate": self.max_pool(conv).flatten(1)}  # (batch, 10)


class PrototypicalEmbedding(FewDataNetwork):
    """The blocks of `FewDataVGG` with 128 filters and a linear layer of 10 units, which are the embedding.

    Args:
        n_tags: number of outputs of a head on the embedding, or None for the embedding itself.
        log_learn: whether the logarithm is trained.
        input_norm: see `InputNorm`.
        frontend: settings of the front-end.

    Raises:
        ConfigError: an option makes no sense, or the front-end has patches of another size.
    Shape:
        (batch, 1, mels=128, frames=128) in, (batch, 10) out.
    """

    def __init__(
        self,
        n_tags: int | None,
        log_learn: bool = False,
        input_norm: InputNorm = "time",
        frontend: LogMelConfig = FEW_DATA_MEL,
    ) -> None:
        check_patch_size(frontend, FEW_DATA_MEL)
        super().__init__(
            frontend=frontend,
            log_learn=log_learn,
            input_norm=input_norm,
            n_features=N_EMBEDDING,
            n_tags=n_tags,
            layers=VGG_LAYERS,
            task="embedding",
            fixed_length=True,
        )
        self.blocks = _blocks(PROTOTYPE_WIDTH)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(N_PLACES * PROTOTYPE_WIDTH, N_EMBEDDING)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        layers = _run_blocks(self.blocks, self._normed(patches))
        layers["penultimate"] = self.dense(self.dropout(layers["block5"].flatten(1)))  # (batch, 10)
        return layers


def _blocks(width: int) -> nn.ModuleList:
    """Make the blocks of VGG: here the norm comes after the activation."""
    return nn.ModuleList(
        nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(n_in, width, 3, padding=1), elu=nn.ELU(), bn=batch_norm_2d(width), pool=nn.MaxPool2d(2)
            )
        )
        for n_in in (1, *[width] * (N_BLOCKS - 1))
    )


def _run_blocks(blocks: nn.ModuleList, x: Tensor) -> dict[str, Tensor]:
    """Give "block1" to "block5" for (batch, 1, frames, mels), each half as long and half as high as the one before."""
    layers = {}
    for number, block in enumerate(blocks, start=1):
        x = block(x)  # (batch, width, 64, 64), then 32, 16, 8, 4
        layers[f"block{number}"] = _channels_last(x)
    return layers


def _channels_last(maps: Tensor) -> Tensor:
    """Give (batch, frames, mels, channels) for (batch, channels, frames, mels)."""
    return maps.permute(0, 2, 3, 1)


@register_model(paper=PAPER, n_tags=10)
def sb_cnn(
    n_tags: int | None = None,
    *,
    log_learn: bool = False,
    input_norm: InputNorm = "channel",
    frontend: LogMelConfig = FEW_DATA_MEL,
) -> SBCNN:
    """Build SB-CNN, 241,436 parameters with 10 tags."""
    return SBCNN(n_tags, log_learn=log_learn, input_norm=input_norm, frontend=frontend)


@register_model(paper=PAPER, n_tags=10)
def few_data_vgg(
    n_tags: int | None = None,
    *,
    width: int = 32,
    log_learn: bool = False,
    input_norm: InputNorm = "channel",
    frontend: LogMelConfig = FEW_DATA_MEL,
) -> FewDataVGG:
    """Build the VGG of the paper, 42,764 parameters with 10 tags, 613,388 with 128 filters."""
    return FewDataVGG(n_tags, width=width, log_learn=log_learn, input_norm=input_norm, frontend=frontend)


@register_model(paper=PAPER, n_tags=10)
def timbre(n_tags: int | None = None, *, log_learn: bool = False, frontend: LogMelConfig = FEW_DATA_MEL) -> Timbre:
    """Build TIMBRE, 7,572 parameters with 10 tags."""
    return Timbre(n_tags, log_learn=log_learn, frontend=frontend)


@register_model(paper=PAPER, n_tags=None)
def prototypical_embedding(
    n_tags: int | None = None,
    *,
    log_learn: bool = False,
    input_norm: InputNorm = "time",
    frontend: LogMelConfig = FEW_DATA_MEL,
) -> PrototypicalEmbedding:
    """Build the embedding that prototypes are compared in, 613,642 parameters."""
    return PrototypicalEmbedding(n_tags, log_learn=log_learn, input_norm=input_norm, frontend=frontend)
