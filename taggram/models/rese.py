"""SampleCNN with squeeze-and-excitation and residual blocks, and with features of several levels.

Source: Kim, Lee and Nam, "Sample-level CNN architectures for music auto-tagging using raw waveforms", ICASSP 2018,
    arXiv 1710.10451, and its code (Keras), github.com/tae-jun/resemul; the same authors' "Comparison and analysis of
    SampleCNN architectures for audio classification", IEEE Journal of Selected Topics in Signal Processing 13(2), 2019,
    and its code (TensorFlow), github.com/tae-jun/sampleaudio. The two differ in what `se_ratio`, `init`, `standardize`
    and `padding` say; the defaults are those of ICASSP. Its code lacks the residual blocks of one convolution, which
    are built as in the journal's.
Differs: logits out, no sigmoid and no softmax. The journal's code draws kernels narrower than its authors meant (a note
    in it says so); `init="journal"` is the code as it is. The journal's tables were not at hand, so these are
    assumptions: numbers of blocks other than 9 and 8, and down-sampling other than "max". "avg" takes the mean of three
    frames in place of the maximum. With "stride" a block has no pool; its last convolution has a stride of 3 and
    windows side by side, as the first of the network has, and a shortcut keeps the middle frame of each window.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal, TypeGuard, get_args

import torch
from torch import Tensor, nn

from taggram._checks import check, check_choice, check_count, check_flag, is_count, is_number
from taggram.frontends import RawConfig
from taggram.models._blocks import SamePad1d, Standardize, batch_norm_1d, glorot_uniform_, he_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._learning_layers import NeighboursMaxPool1d
from taggram.models._registry import register_model

SAMPLE_RATE = 22_050  # Hz
N_SAMPLES = 59_049  # 3^10, 2.68 s
POOL = 3  # kernel and stride of the first convolution, kernel of the others, and frames that a block makes one of
N_FIRST = 128  # filters of the first convolution and of the first two blocks
N_MIDDLE = 256  # filters of the blocks between those and the last
N_TOP = 512  # filters of the last block
N_LEVELS = 3  # last blocks whose maxima make the features with `multi_level`
LEAST_BLOCKS, MOST_BLOCKS = 3, 15  # for fewer no widths are defined; a patch for more would last 97 minutes
BRANCH_DROPOUT = 0.2  # between the two convolutions of a residual block
Block = Literal["basic", "se", "res1", "res2", "rese1", "rese2"]
DownSampling = Literal["max", "avg", "stride"]
Init = Literal["icassp", "journal"]
Padding = Literal["valid", "same"]
Statistics = Literal["none", "mtt", "speech_commands", "dcase2017"]
STATISTICS = {  # mean and std of the samples of a training set, from the journal's code
    "mtt": (-0.000165003, 0.155119),
    "speech_commands": (-0.0000852047, 0.18),
    "dcase2017": (-0.000332068, 0.205146),
}


class SqueezeExcite(nn.Module):
    """Scale each channel by a number from 0 to 1, its excitation, which follows from the means of all channels.

    The excitation, (batch, channels), is what the sub-module `excite` gives: a forward hook on it sees them.

    Args:
        n_channels: channels in and out.
        ratio: hidden units a channel.
    """

    def __init__(self, n_channels: int, ratio: float) -> None:
        super().__init__()
        n_hidden = round(ratio * n_channels)
        self.excite = nn.Sequential(
            nn.Linear(n_channels, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, frames) for the same."""
        excitation: Tensor = self.excite(x.mean(2))  # (batch, channels)
        return x * excitation.unsqueeze(2)


class MiddleFrame(nn.Module):
    """Keep the middle one of every three frames, as a convolution of kernel and stride 3 does."""

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels, frames // 3) for (batch, channels, frames)."""
        return x[:, :, POOL // 2 : x.shape[2] // POOL * POOL : POOL]


class PlainBlock(nn.Module):
    """Convolution, norm, ReLU, pool; then squeeze and excitation, or not.

    Args:
        n_in: channels in.
        n_out: channels out.
        down_sampling: how three frames become one.
        se_ratio: hidden units a channel of the squeeze and excitation, or None for none.
    """

    def __init__(self, n_in: int, n_out: int, down_sampling: DownSampling, se_ratio: float | None) -> None:
        super().__init__()
        self.conv = _conv(n_in, n_out, down_sampling == "stride")
        self.bn = batch_norm_1d(n_out)
        self.relu = nn.ReLU()
        self.pool = _pool(down_sampling)
        self.se = nn.Identity() if se_ratio is None else SqueezeExcite(n_out, se_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels out, frames // 3) for (batch, channels in, frames)."""
        out: Tensor = self.se(self.pool(self.relu(self.bn(self.conv(x)))))
        return out


class ResidualBlock(nn.Module):
    """One or two convolutions, with squeeze and excitation or not, added to a shortcut; then ReLU and pool.

    Args:
        n_in: channels in.
        n_out: channels out; where they are not as many, the shortcut is a 1 x 1 convolution and norm.
        n_convs: convolutions of the branch, 1 or 2.
        down_sampling: how three frames become one.
        se_ratio: hidden units a channel of the squeeze and excitation, or None for none.
    """

    def __init__(
        self, n_in: int, n_out: int, n_convs: int, down_sampling: DownSampling, se_ratio: float | None
    ) -> None:
        super().__init__()
        strided = down_sampling == "stride"
        steps: list[nn.Module] = []
        if n_convs == 2:
            steps += [_conv(n_in, n_out), batch_norm_1d(n_out), nn.ReLU(), nn.Dropout(BRANCH_DROPOUT)]
        steps += [_conv(n_out if steps else n_in, n_out, strided), batch_norm_1d(n_out)]
        self.branch = nn.Sequential(*steps)
        self.se = nn.Identity() if se_ratio is None else SqueezeExcite(n_out, se_ratio)
        self.middle = MiddleFrame() if strided else nn.Identity()
        self.shortcut = nn.Sequential(*((nn.Conv1d(n_in, n_out, 1), batch_norm_1d(n_out)) if n_in != n_out else ()))
        self.relu = nn.ReLU()
        self.pool = _pool(down_sampling)

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels out, frames // 3) for (batch, channels in, frames)."""
        out: Tensor = self.pool(self.relu(self.shortcut(self.middle(x)) + self.se(self.branch(x))))
        return out


class ReSE(TaggingModel):
    """A strided convolution, blocks that each make time three times shorter, the maximum over time, one dense layer.

    `conv1` and `blocks[i].relu` give what the convolutions find, after ReLU and before pooling, for sound of any length
    that still fills a frame there. `blocks[i].se.excite` gives the excitations, in blocks that have them.

    Args:
        n_tags: number of outputs, or None for no head.
        block: "basic"; "se" with squeeze and excitation; "res1" and "res2", residual with one or two convolutions;
            "rese1" and "rese2", both.
        se_ratio: hidden units of the squeeze and excitation as a multiple of the channels.
        multi_level: whether the features are the maxima of the last three blocks, or of the last alone.
        n_blocks: number of blocks.
        n_samples: length of the patch that the network is made for; longer ones are taken too.
        down_sampling: how a block makes one frame of three.
        init: how the kernels of length 3 start, as in the code of ICASSP or in that of the journal.
        padding: of the first convolution, for lengths that are no multiple of 3: "valid" leaves samples out.
        standardize: which statistics the samples are scaled by until a training set gives others, or "none".

    Raises:
        ConfigError: some value makes no sense, or the patch is too short for the blocks.
    Shape:
        (batch, 1, samples>=59049) in with 9 blocks, >=3^(n_blocks + 1) with others; (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        *,
        block: Block,
        se_ratio: float,
        multi_level: bool,
        n_blocks: int,
        n_samples: int,
        down_sampling: DownSampling,
        init: Init,
        padding: Padding,
        standardize: Statistics,
    ) -> None:
        check_choice("block", block, get_args(Block))
        check_choice("down_sampling", down_sampling, get_args(DownSampling))
        check_choice("init", init, get_args(Init))
        check_choice("padding", padding, get_args(Padding))
        check_choice("standardize", standardize, get_args(Statistics))
        check_flag("multi_level", multi_level)
        fits = is_number(se_ratio) and se_ratio >= 1 / N_FIRST
        check(fits, "se_ratio", se_ratio, f"a number from 1/{N_FIRST} on, such as 16 or 0.125")
        check_count("n_blocks", n_blocks, LEAST_BLOCKS, MOST_BLOCKS)
        least = _least_samples(n_blocks, padding)
        wanted = f"a whole number from {least} on with {n_blocks} blocks"
        check(is_count(n_samples, least), "n_samples", n_samples, wanted)
        widths = (N_FIRST, N_FIRST, *[N_MIDDLE] * (n_blocks - 3), N_TOP)
        n_features = sum(widths[-N_LEVELS:]) if multi_level else N_TOP
        super().__init__(
            frontend=RawConfig(sample_rate=SAMPLE_RATE, n_samples=n_samples),
            n_features=n_features,
            n_tags=n_tags,
            layers=("conv1", *(f"block{number}" for number in range(1, n_blocks + 1)), "pooled", "penultimate"),
            least_frames=least,
            dropout=0.5,
        )
        self.n_levels = N_LEVELS if multi_level else 1
        mean, std = STATISTICS.get(standardize, (0.0, 1.0))
        self.standardize = None if standardize == "none" else Standardize(mean=mean, std=std)
        self.conv1 = nn.Sequential(
            OrderedDict[str, nn.Module](
                pad=SamePad1d(POOL, POOL) if padding == "same" else nn.Identity(),
                conv=_conv(1, N_FIRST, strided=True),
                bn=batch_norm_1d(N_FIRST),
                relu=nn.ReLU(),
            )
        )
        self.blocks = nn.ModuleList(
            _block(block, n_in, n_out, down_sampling, se_ratio) for n_in, n_out in zip((N_FIRST, *widths), widths)
        )
        self.dense = nn.Sequential(nn.Linear(n_features, n_features), batch_norm_1d(n_features), nn.ReLU())
        for part in (self.conv1, self.blocks, self.dense):
            part.apply(_start if init == "icassp" else _start_journal)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every block, for (batch, 1, samples)."""
        x = patches if self.standardize is None else self.standardize(patches)
        levels = [self.conv1(x)]  # (batch, 128, samples // 3)
        for block in self.blocks:
            levels.append(block(levels[-1]))  # (batch, channels, frames), frames a third of those before
        names = self.layers()[: len(levels)]
        layers = {name: level.transpose(1, 2) for name, level in zip(names, levels)}
        pooled = [level.amax(2) for level in levels[-self.n_levels :]]
        layers["pooled"] = torch.cat(pooled, 1)  # (batch, 1024), or (batch, 512) of the last level alone
        layers["penultimate"] = self.dense(layers["pooled"])
        return layers


def _conv(n_in: int, n_out: int, strided: bool = False) -> nn.Conv1d:
    """A convolution that keeps the length, or one whose windows tile it."""
    return nn.Conv1d(n_in, n_out, POOL, POOL) if strided else nn.Conv1d(n_in, n_out, POOL, padding=POOL // 2)


def _pool(down_sampling: DownSampling) -> nn.Module:
    match down_sampling:
        case "max":
            return NeighboursMaxPool1d(POOL)
        case "avg":
            return nn.AvgPool1d(POOL)
        case "stride":
            return nn.Identity()


def _block(block: Block, n_in: int, n_out: int, down_sampling: DownSampling, se_ratio: float) -> nn.Module:
    match block:
        case "basic" | "se":
            return PlainBlock(n_in, n_out, down_sampling, se_ratio if block == "se" else None)
        case _:
            n_convs, ratio = int(block[-1]), se_ratio if block.startswith("rese") else None
            return ResidualBlock(n_in, n_out, n_convs, down_sampling, ratio)


def _is_wide(module: nn.Module) -> TypeGuard[nn.Conv1d]:
    """Tell a convolution with kernels of length 3 from shortcuts and dense layers."""
    return isinstance(module, nn.Conv1d) and module.kernel_size == (POOL,)


def _start(module: nn.Module) -> None:
    """Start kernels of length 3 with He's uniform, shortcuts and dense layers with Glorot's."""
    if _is_wide(module):
        he_uniform_(module)
    else:
        glorot_uniform_(module)


def _start_journal(module: nn.Module) -> None:
    """Start as the journal's code does, whose fan-in of a kernel of length 3 counts the channels in twice."""
    _start(module)
    if _is_wide(module):
        scale = 1 if module.in_channels == 1 else 2  # 1 in the first convolution alone
        limit = math.sqrt(3 * scale / (POOL * module.in_channels**2))
        nn.init.uniform_(module.weight, -limit, limit)


def _least_samples(n_blocks: int, padding: Padding) -> int:
    """Samples of the shortest patch of which the last block makes a frame."""
    whole: int = POOL ** (n_blocks + 1)
    return whole - POOL + 1 if padding == "same" else whole


@register_model(paper="Kim et al., ICASSP 2018", n_tags=50)
def rese(
    n_tags: int | None = None,
    *,
    block: Block = "rese2",
    se_ratio: float = 16,
    multi_level: bool = True,
    n_blocks: int = 9,
    n_samples: int = N_SAMPLES,
    down_sampling: DownSampling = "max",
    init: Init = "icassp",
    padding: Padding = "valid",
    standardize: Statistics = "none",
) -> ReSE:
    """Build a SampleCNN with other blocks; the default, the best of ICASSP, has 26,980,146 parameters with 50 tags."""
    return ReSE(
        n_tags,
        block=block,
        se_ratio=se_ratio,
        multi_level=multi_level,
        n_blocks=n_blocks,
        n_samples=n_samples,
        down_sampling=down_sampling,
        init=init,
        padding=padding,
        standardize=standardize,
    )
