"""Four small networks for the dances of Ballroom, each with one layer of convolutions shaped after an idea of music.

Source: Pons, Lidy and Serra, "Experimenting with musically motivated convolutional neural networks", CBMI 2016; pools,
    dropout and initialisation as in jordipons/CBMI2016. The paper's Time-FrequencyInit is the Time-Frequency network
    after `start_branches`.
Differs: logits out, no softmax. The paper writes log(1 + 10,000 x), the code takes log10, and so do we: standardised,
    they are equal. `standardize` holds one mean and one std, in the source those of all clips, test clips included.
    Frequency pools over all frames there are, which are 80 in the source, and so takes any length. For the front-end
    see `_essentia_mel.py`.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from taggram._checks import check_choice, check_count
from taggram.errors import ConfigError
from taggram.models._blocks import Standardize, glorot_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._essentia_mel import BALLROOM_MEL
from taggram.models._registry import register_model

PAPER = "Pons, Lidy and Serra, CBMI 2016"
N_MELS = BALLROOM_MEL.n_mels
N_FILTERS = 32  # of every convolution
N_DENSE = 200  # units of the dense layer, in the two networks that have one
DROPOUT = 0.5  # before every dense layer, the head included
BLACK_BOX_KERNELS = {80: (12, 8), 250: (12, 200)}  # frames of the patch: (mels, frames) of the kernels
BLACK_BOX_POOL = 4  # mels
TIME_KERNELS = {80: 60, 250: 200}  # frames of the patch: frames of the kernels, 1.39 s and 4.64 s
MERGED_FRAMES = TIME_KERNELS[BALLROOM_MEL.n_frames]  # of the kernels of Time-Frequency's one branch
MERGED_HEIGHT = 32  # of those of the other, in mels
LAYERS = ("conv", "pool", "penultimate")  # of Black-box and Time
FREQUENCY_LAYERS = ("conv", "penultimate")
TIME_FREQUENCY_LAYERS = ("time_conv", "time_pool", "frequency_conv", "frequency_pool", "concat", "penultimate")


class BallroomBlackBox(TaggingModel):
    """Rectangular filters, max-pool over mels, one dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
        n_frames: length of the patch, 80 or 250; the kernels follow from it, see `BLACK_BOX_KERNELS`.

    Raises:
        ConfigError: `n_frames` is none of the two.
    Shape:
        (batch, 1, mels=40, frames=n_frames) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, n_frames: int = 80) -> None:
        check_choice("n_frames", n_frames, BLACK_BOX_KERNELS)
        height, length = BLACK_BOX_KERNELS[n_frames]
        mel = dataclasses.replace(BALLROOM_MEL, n_frames=n_frames)
        super().__init__(
            frontend=mel,
            n_features=N_DENSE,
            n_tags=n_tags,
            layers=LAYERS,
            task="one",
            fixed_length=True,
            dropout=DROPOUT,
        )
        n_mels_left = (N_MELS - height + 1) // BLACK_BOX_POOL
        self.standardize = Standardize()
        self.conv = nn.Conv2d(1, N_FILTERS, (height, length))
        self.pool = nn.MaxPool2d((BLACK_BOX_POOL, 1))
        self.dropout = nn.Dropout(DROPOUT)
        self.dense = nn.Linear(N_FILTERS * n_mels_left * (n_frames - length + 1), N_DENSE)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames); the sizes are those of 80 frames."""
        conv = self.conv(self.standardize(patches)).relu()  # (batch, 32, mels=29, frames=73)
        pool = self.pool(conv)  # (batch, 32, 7, 73)
        return {
            "conv": conv.permute(0, 3, 2, 1),
            "pool": pool.permute(0, 3, 2, 1),
            "penultimate": self.dense(self.dropout(pool.flatten(1))).relu(),  # (batch, 200)
        }


class BallroomTime(TaggingModel):
    """Filters along time in each mel band, max-pool over all mels: rhythm, whatever plays it.

    Args:
        n_tags: number of outputs, or None for no head.
        n_frames: length of the patch, 80 or 250; the kernels follow from it, see `TIME_KERNELS`.

    Raises:
        ConfigError: `n_frames` is none of the two.
    Shape:
        (batch, 1, mels=40, frames=n_frames) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, n_frames: int = 80) -> None:
        check_choice("n_frames", n_frames, TIME_KERNELS)
        length = TIME_KERNELS[n_frames]
        mel = dataclasses.replace(BALLROOM_MEL, n_frames=n_frames)
        n_flat = N_FILTERS * (n_frames - length + 1)
        super().__init__(
            frontend=mel,
            n_features=n_flat,
            n_tags=n_tags,
            layers=LAYERS,
            task="one",
            fixed_length=True,
            dropout=DROPOUT,
        )
        self.standardize = Standardize()
        self.conv = nn.Conv2d(1, N_FILTERS, (1, length))
        self.pool = nn.MaxPool2d((N_MELS, 1))
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames); the sizes are those of 80 frames."""
        conv = self.conv(self.standardize(patches)).relu()  # (batch, 32, mels=40, frames=21)
        pool = self.pool(conv).squeeze(2)  # (batch, 32, 21)
        return {
            "conv": conv.permute(0, 3, 2, 1),
            "pool": pool.transpose(1, 2),
            "penultimate": pool.flatten(1),  # (batch, 672)
        }


class BallroomFrequency(TaggingModel):
    """Filters along frequency in each frame, max-pool over all frames: timbre, whenever it sounds.

    Args:
        n_tags: number of outputs, or None for no head.
        height: of the kernels, in mels; the paper has 30, 32, 34, 36, 38 and 40.

    Raises:
        ConfigError: `height` is no whole number from 1 to 40.
    Shape:
        (batch, 1, mels=40, frames>=1) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, height: int = 32) -> None:
        check_count("height", height, most=N_MELS)
        super().__init__(
            frontend=BALLROOM_MEL,
            n_features=N_FILTERS * (N_MELS - height + 1),
            n_tags=n_tags,
            layers=FREQUENCY_LAYERS,
            task="one",
            least_frames=1,
            dropout=DROPOUT,
        )
        self.standardize = Standardize()
        self.conv = nn.Conv2d(1, N_FILTERS, (height, 1))
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames); the sizes are those of a height of 32."""
        conv = self.conv(self.standardize(patches)).relu()  # (batch, 32, mels=9, frames)
        return {"conv": conv.permute(0, 3, 2, 1), "penultimate": conv.amax(3).flatten(1)}  # (batch, 288)


class BallroomTimeFrequency(TaggingModel):
    """The filters of Time and of Frequency side by side, then one dense layer.

    Args:
        n_tags: number of outputs, or None for no head.
    Shape:
        (batch, 1, mels=40, frames=80) in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None) -> None:
        super().__init__(
            frontend=BALLROOM_MEL,
            n_features=N_DENSE,
            n_tags=n_tags,
            layers=TIME_FREQUENCY_LAYERS,
            task="one",
            fixed_length=True,
            dropout=DROPOUT,
        )
        n_frames = self.frontend.n_frames
        n_positions = (n_frames - MERGED_FRAMES + 1) + (N_MELS - MERGED_HEIGHT + 1)  # 21 in time and 9 in frequency
        self.standardize = Standardize()
        self.time_conv = nn.Conv2d(1, N_FILTERS, (1, MERGED_FRAMES))
        self.time_pool = nn.MaxPool2d((N_MELS, 1))
        self.frequency_conv = nn.Conv2d(1, N_FILTERS, (MERGED_HEIGHT, 1))
        self.frequency_pool = nn.MaxPool2d((1, n_frames))
        self.dropout = nn.Dropout(DROPOUT)
        self.dense = nn.Linear(N_FILTERS * n_positions, N_DENSE)
        self.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames)."""
        x = self.standardize(patches)
        time_conv = self.time_conv(x).relu()  # (batch, 32, mels=40, frames=21)
        time_pool = self.time_pool(time_conv).squeeze(2)  # (batch, 32, 21)
        frequency_conv = self.frequency_conv(x).relu()  # (batch, 32, mels=9, frames=80)
        frequency_pool = self.frequency_pool(frequency_conv).squeeze(3)  # (batch, 32, 9)
        concat = torch.cat([time_pool, frequency_pool], 2).flatten(1)  # (batch, 32 * 30), filter by filter
        return {
            "time_conv": time_conv.permute(0, 3, 2, 1),
            "time_pool": time_pool.transpose(1, 2),
            "frequency_conv": frequency_conv.permute(0, 3, 2, 1),
            "frequency_pool": frequency_pool.flatten(1),
            "concat": concat,
            "penultimate": self.dense(self.dropout(concat)).relu(),  # (batch, 200)
        }

    def start_branches(self, time: TaggingModel, frequency: TaggingModel) -> None:
        """Start the two convolutions from trained networks, which makes this the paper's Time-FrequencyInit.

        The dense layer and the head stay as they are, and everything goes on learning. The paper takes the best
        networks of the same fold.

        Args:
            time: a trained `ballroom_time` of 80 frames.
            frequency: a trained `ballroom_frequency` of height 32.

        Raises:
            ConfigError: one is another network, or its kernels have another shape; nothing is copied then.
        """
        time_conv = _conv_of(time, BallroomTime, self.time_conv)
        frequency_conv = _conv_of(frequency, BallroomFrequency, self.frequency_conv)
        self.time_conv.load_state_dict(time_conv.state_dict())
        self.frequency_conv.load_state_dict(frequency_conv.state_dict())


def _conv_of(model: TaggingModel, wanted: type[BallroomTime | BallroomFrequency], target: nn.Conv2d) -> nn.Conv2d:
    """The convolution of a network that is to start a branch, if it fits there."""
    if not isinstance(model, wanted):
        raise ConfigError(f"a {type(model).__name__} came; this branch starts from a {wanted.__name__}.")
    if model.conv.kernel_size != target.kernel_size:
        came, fits = (" x ".join(map(str, conv.kernel_size)) for conv in (model.conv, target))
        raise ConfigError(f"the kernels of {wanted.__name__} are {came} (mels x frames); this branch has {fits}.")
    return model.conv


@register_model(paper=PAPER, n_tags=8)
def ballroom_black_box(n_tags: int | None = None, *, n_frames: int = 80) -> BallroomBlackBox:
    """Build Black-box, 3,275,312 parameters with 80 frames and 2,363,440 with 250, for 8 tags."""
    return BallroomBlackBox(n_tags, n_frames=n_frames)


@register_model(paper=PAPER, n_tags=8)
def ballroom_time(n_tags: int | None = None, *, n_frames: int = 80) -> BallroomTime:
    """Build Time, 7,336 parameters with 80 frames and 19,496 with 250, for 8 tags."""
    return BallroomTime(n_tags, n_frames=n_frames)


@register_model(paper=PAPER, n_tags=8)
def ballroom_frequency(n_tags: int | None = None, *, height: int = 32) -> BallroomFrequency:
    """Build Frequency, 3,368 parameters with kernels of 32 mels and 8 tags."""
    return BallroomFrequency(n_tags, height=height)


@register_model(paper=PAPER, n_tags=8)
def ballroom_time_frequency(n_tags: int | None = None) -> BallroomTimeFrequency:
    """Build Time-Frequency, 196,816 parameters with 8 tags; see `start_branches` for Time-FrequencyInit."""
    return BallroomTimeFrequency(n_tags)
