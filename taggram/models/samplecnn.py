"""SampleCNN, a deep network of tiny filters on the waveform, and the frame-level baselines of the same paper.

The model "m^n" is a strided convolution and n modules, each of which makes time m times shorter, down to length 1.

Source: Lee, Park, Kim and Nam, "Sample-level deep convolutional neural networks for music auto-tagging using raw
    waveforms", SMC 2017, arXiv 1703.01789; the authors' code (Theano, Keras 1.1), github.com/jongpillee/sampleCNN, and
    the JSON of their released MSD tagger, github.com/jongpillee/musicTagging_MSD. Modules of different kernels: the
    model JSONs of the same first author's entry to DCASE 2017, task 4, github.com/jongpillee/dcase2017submission.
Differs: logits out, no sigmoid. The code builds 2^13 and 3^9; the filters of the other members follow its rule, which
    for three and four modules is an assumption. An even kernel takes the odd zero at its end, as TensorFlow does;
    Theano puts it in front. The regulariser that the code defines and never uses is left out.
    The baselines are no part of the code. That the mel spectrogram has 128 bands and log10(1 + 10 x) is from memory
    and from sibling code of the authors. Assumed are: a Fourier transform as long as the window (so with a short window
    some low bands lie between two bins and stay 0), the Slaney mel scale and norm of that sibling code, one mean and
    std for all bands, and that a window longer than its hop is centred on it: mirrored at the ends of the sound by the
    mel variant, with zeros by the raw one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from taggram._checks import check, check_choice, check_count, is_count, whole_numbers
from taggram.errors import ConfigError
from taggram.frontends import FrontendConfig, LogMelConfig, RawConfig
from taggram.models._blocks import BN_MOMENTUM, Standardize, he_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._learning_layers import NeighboursMaxPool1d
from taggram.models._registry import register_model

PAPER = "Lee et al., SMC 2017"
SAMPLE_RATE = 22_050  # Hz; MagnaTagATune, at 16 kHz, was resampled to it
N_SAMPLES = 59_049  # 3^10, 2.68 s: the patch of 3^9 and of the baselines
N_FIRST = 128  # filters of the first convolution, of the first two modules, and mel bands
N_MIDDLE = 256  # filters of the modules between those and the last
N_TOP = 512  # filters of the last module and of the 1 x 1 convolution
N_TOP_RELEASED = 256  # the same in the released MSD tagger
BN_EPS = 1e-5
LEAST_DEPTH = 3  # modules of the shallowest member
MOST_DEPTH = 24  # 2^24 frames of 2 samples are 25 minutes: more is taken for a slip
HOPS = (3, 9, 27, 81, 243, 729)  # of the frame-level networks, in samples: each leaves a power of 3 of frames
Variant = Literal["paper", "released_msd"]


class ConvNormReLU(nn.Module):
    """Convolution with bias, batch norm, then ReLU.

    Args:
        n_in: channels in.
        n_out: channels out.
        kernel: taps.
        stride: step in samples or frames.
        padding: zeros at both ends; None is as many as keep the length, where the stride is 1.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        uneven = padding is None and kernel % 2 == 0
        self.pad: nn.Module = nn.ConstantPad1d((0, 1), 0.0) if uneven else nn.Identity()
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride, (kernel - 1) // 2 if padding is None else padding)
        self.bn = nn.BatchNorm1d(n_out, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Give (batch, channels out, frames) for (batch, channels in, time)."""
        out: Tensor = self.relu(self.bn(self.conv(self.pad(x))))
        return out


class SampleCNN(TaggingModel):
    """A strided convolution, modules of convolution and max-pool, a 1 x 1 convolution, then the head.

    The k-th convolution with its norm and ReLU is `trunk.conv<k>`, the pool behind it `trunk.pool<k>`, and layers have
    the same names. The trunk alone takes sound of any length: `trunk[: n]` is its first n steps, with these weights.

    Args:
        n_tags: number of outputs, or None for no head.
        frontend: settings of the front-end; its patch has as many frames as the modules make 1 of.
        kernels: taps of the convolution of each module, and the length of its pool.
        first: the convolution on the waveform, or None where mel bands are the channels of the first module.
        n_top: filters of the last module and of the 1 x 1 convolution.
        dropout: share of the features dropped before the head in training.
    Shape:
        (batch, 1, samples) of exactly the front-end's length in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        frontend: FrontendConfig,
        kernels: Sequence[int],
        *,
        first: ConvNormReLU | None,
        n_top: int = N_TOP,
        dropout: float = 0.5,
    ) -> None:
        trunk = _trunk(kernels, first, n_top)
        super().__init__(
            frontend=frontend,
            n_features=n_top,
            n_tags=n_tags,
            layers=(*trunk, "penultimate"),
            fixed_length=True,
            dropout=dropout,
        )
        self.trunk = nn.Sequential(trunk)
        self.trunk.apply(he_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every step of the trunk, for (batch, 1, samples)."""
        x = patches
        layers = {}
        for name, step in self.trunk.named_children():
            x = step(x)  # (batch, channels, frames)
            layers[name] = x.transpose(1, 2)
        layers["penultimate"] = x.flatten(1)  # (batch, n_top): one frame is left
        return layers


class SampleCNNMel(SampleCNN):
    """The modules of SampleCNN over the frames of a mel spectrogram, whose bands are their channels.

    Args:
        n_tags: number of outputs, or None for no head.
        frontend: settings of the front-end; its patch has as many frames as the modules make 1 of.
        kernels: taps of the convolution of each module, and the length of its pool.
    Shape:
        (batch, 1, mels=128, frames) of exactly the front-end's length in, (batch, n_tags) logits out.
    """

    def __init__(self, n_tags: int | None, frontend: LogMelConfig, kernels: Sequence[int]) -> None:
        super().__init__(n_tags, frontend, kernels, first=None)
        self.standardize = Standardize()

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every step of the trunk, for (batch, 1, mels, frames)."""
        return super().forward_layers(self.standardize(patches).squeeze(1))


def _trunk(kernels: Sequence[int], first: ConvNormReLU | None, n_top: int) -> OrderedDict[str, nn.Module]:
    """Name all that stands before the head: conv1, conv2, pool2 and so on."""
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    number = 1
    if first is not None:
        steps["conv1"] = first
        number = 2
    n_in = N_FIRST
    for place, kernel in enumerate(kernels, start=1):
        n_out = n_top if place == len(kernels) else N_FIRST if place <= 2 else N_MIDDLE
        steps[f"conv{number}"] = ConvNormReLU(n_in, n_out, kernel)
        steps[f"pool{number}"] = NeighboursMaxPool1d(kernel)
        n_in, number = n_out, number + 1
    steps[f"conv{number}"] = ConvNormReLU(n_top, n_top, 1)
    return steps


@register_model(paper=PAPER, n_tags=50)
def samplecnn(
    n_tags: int | None = None,
    *,
    kernel: int | None = None,
    depth: int | None = None,
    n_samples: int = N_SAMPLES,
    kernels: str | Sequence[int] | None = None,
    sample_rate: int = SAMPLE_RATE,
    variant: Variant = "paper",
) -> SampleCNN:
    """Build a member of the family; 3^9, the default, has 1,869,874 parameters with 50 tags.

    Args:
        n_tags: number of outputs, or None for no head.
        kernel: taps and pool of every module; None is 3.
        depth: number of modules; None is 9.
        n_samples: length of the patch. The first convolution has kernel and stride n_samples / kernel^depth.
        kernels: instead of `kernel` and `depth`, the kernel of each module, as numbers or as "3,3,3,2".
        sample_rate: of the waveform, in Hz.
        variant: "released_msd" is 3^9 as the authors' public tagger has it: 256 filters at the top, no dropout.

    Returns:
        The network, untrained.

    Raises:
        ConfigError: the modules do not make one frame of the patch, or some value makes no sense.
    """
    check_choice("variant", variant, get_args(Variant))
    chain = _checked_kernels(kernel, depth, kernels)
    stride = _checked_stride(chain, n_samples)
    released = variant == "released_msd"
    if released and (set(chain), len(chain), n_samples) != ({3}, 9, N_SAMPLES):
        raise ConfigError(f"variant={variant!r} is kernel=3, depth=9, n_samples={N_SAMPLES}; leave the others out.")
    return SampleCNN(
        n_tags,
        RawConfig(sample_rate=sample_rate, n_samples=n_samples),
        chain,
        first=ConvNormReLU(1, N_FIRST, stride, stride, padding=0),
        n_top=N_TOP_RELEASED if released else N_TOP,
        dropout=0.0 if released else 0.5,
    )


@register_model(paper=PAPER, n_tags=50)
def samplecnn_mel(n_tags: int | None = None, *, window: int = 243, hop: int = 81) -> SampleCNNMel:
    """Build the frame-level baseline on mel spectrograms, 1,276,978 parameters with 50 tags and a hop of 81.

    Args:
        n_tags: number of outputs, or None for no head.
        window: of the spectrogram, in samples.
        hop: of the spectrogram, in samples, one of `HOPS`.

    Returns:
        The network, untrained.

    Raises:
        ConfigError: the hop is none of those, or the window cannot be centred on it.
    """
    depth = _checked_frames(window, hop)
    frontend = LogMelConfig(
        sample_rate=SAMPLE_RATE,
        n_fft=window,
        hop_length=hop,
        pad_length=(window - hop) // 2,  # the centre of the window is the centre of the hop
        n_mels=N_FIRST,
        n_frames=3**depth,
        power=1,
        compression="log10_1p",
        gain=10,
    )
    return SampleCNNMel(n_tags, frontend, [3] * depth)


@register_model(paper=PAPER, n_tags=50)
def samplecnn_frame(n_tags: int | None = None, *, window: int = 81, hop: int = 81) -> SampleCNN:
    """Build the frame-level baseline on the waveform, 1,287,730 parameters with 50 tags, window and hop of 81.

    Args:
        n_tags: number of outputs, or None for no head.
        window: taps of the first convolution.
        hop: its stride in samples, one of `HOPS`.

    Returns:
        The network, untrained.

    Raises:
        ConfigError: the hop is none of those, or the window cannot be centred on it.
    """
    depth = _checked_frames(window, hop)
    return SampleCNN(
        n_tags,
        RawConfig(sample_rate=SAMPLE_RATE, n_samples=N_SAMPLES),
        [3] * depth,
        first=ConvNormReLU(1, N_FIRST, window, hop, padding=(window - hop) // 2),
    )


def _checked_kernels(kernel: int | None, depth: int | None, kernels: str | Sequence[int] | None) -> list[int]:
    """Give the kernel of each module, from whichever of the options says it."""
    if kernels is None:
        kernel = 3 if kernel is None else kernel
        depth = 9 if depth is None else depth
        check_count("kernel", kernel, least=2)
        check_count("depth", depth, LEAST_DEPTH, MOST_DEPTH)
        return [kernel] * depth
    if kernel is not None or depth is not None:
        raise ConfigError("kernels names the kernel of every module; leave kernel and depth out.")
    chain = list(whole_numbers(kernels))
    fits = LEAST_DEPTH <= len(chain) <= MOST_DEPTH and min(chain) >= 2
    wanted = f"{LEAST_DEPTH} to {MOST_DEPTH} whole numbers from 2 on, such as '3,3,3,2'"
    check(fits, "kernels", kernels, wanted)
    return chain


def _checked_stride(kernels: list[int], n_samples: int) -> int:
    """Give the stride of the first convolution with which the modules make one frame of the patch."""
    n_frames = math.prod(kernels)
    check(is_count(n_samples), "n_samples", n_samples, f"a whole number, such as {2 * n_frames}")
    if _fits(n_frames, n_samples):
        return n_samples // n_frames
    below = max(2, n_samples // n_frames) * n_frames
    nearest = f"{below} or {below + n_frames}" if n_samples > below else f"{below}"
    message = (
        f"n_samples={n_samples} does not fit {len(kernels)} modules of kernel "
        f"{' '.join(map(str, dict.fromkeys(kernels)))}, which need {n_frames} frames of 2 samples or more each; "
        f"{nearest} would."
    )
    if len(set(kernels)) == 1:
        depths = [depth for depth in range(LEAST_DEPTH, MOST_DEPTH + 1) if _fits(kernels[0] ** depth, n_samples)]
        if depths:
            message += f" With kernel={kernels[0]} and that n_samples, depth is one of {', '.join(map(str, depths))}."
    raise ConfigError(message)


def _fits(n_frames: int, n_samples: int) -> bool:
    """Tell whether a first convolution of stride 2 or more leaves that number of frames."""
    return n_samples % n_frames == 0 and n_samples >= 2 * n_frames


def _checked_frames(window: int, hop: int) -> int:
    """Give the number of modules that make one frame of what a window and a hop leave."""
    check_choice("hop", hop, HOPS)
    fits = is_count(window, least=hop) and (window - hop) % 2 == 0 and window <= N_SAMPLES
    check(fits, "window", window, f"the hop, {hop}, or an even number of samples more, up to {N_SAMPLES}")
    return next(depth for depth in range(LEAST_DEPTH, 10) if hop * 3**depth == N_SAMPLES)
