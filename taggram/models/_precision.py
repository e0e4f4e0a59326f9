"""Which machine computes in which numbers, and any network in other numbers than those that it was trained in."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from taggram.errors import ConfigError
from taggram.models._convolution import Int8Convolution, Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggram.models._contract import TaggingModel
    from taggram.models._inference import InferenceForm
    from taggram.models._registry import Engine, Precision

INSTRUCTIONS: dict[Precision, tuple[str, ...]] = {  # one of them makes it worth while, as torch names them
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8"),
}
FARTHEST: dict[Precision, float] = {"bfloat16": 0.05, "int8": 0.1}  # that scores may be off those of float32
LEAST_CHANNELS = 4  # that int8 multiplies at once; a layer that sees fewer sees the sound itself, which needs more bits


def check_precision(precision: Precision, engine: Engine, device: torch.device) -> None:
    """Refuse numbers that the engine, the device or the CPU cannot compute in, or only slower than in float32.

    Args:
        precision: what is asked for.
        engine: what is to run the network.
        device: where.

    Raises:
        ConfigError: it cannot, with the reason.
    """
    if precision == "float32":
        return
    usual = "leave precision out, or say float32"
    if engine != "torch":
        raise ConfigError(f"precision {precision!r} is of engine 'torch'; engine {engine!r} computes in float32.")
    if device.type == "cuda" and precision == "bfloat16":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ConfigError(f"this GPU has no bfloat16; {usual}.")
        return
    if device.type != "cpu":
        raise ConfigError(f"precision {precision!r} is not for the device {device.type}; {usual}.")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise ConfigError(f"precision {precision!r} needs oneDNN, which this torch is built without; {usual}.")
    wanted = INSTRUCTIONS[precision]
    if not any(cpu_capabilities().get(name) for name in wanted):
        raise ConfigError(
            f"precision {precision!r} would be slower than float32 here: this CPU has none of the instructions "
            f"{', '.join(wanted)}, or torch {torch.__version__} cannot tell; {usual}."
        )


def cpu_capabilities() -> dict[str, object]:
    """Say which instructions this CPU has, as far as torch can tell."""
    tell: Callable[[], dict[str, object]] | None = getattr(torch.cpu, "get_capabilities", None)  # older ones have none
    return {} if tell is None else tell()


def check_accuracy(plain: InferenceForm, form: InferenceForm, precision: Precision, n_frames: int) -> None:
    """Refuse a form whose results are far off those in float32, on sound that is made up; see `made_sound`.

    Args:
        plain: in float32.
        form: in other numbers.
        precision: these.
        n_frames: length of a patch.

    Raises:
        ConfigError: they are.
    """
    from taggram.models._onnx_check import difference, made_sound
    from taggram.models._onnx_file import has_scores, scores_of

    model = plain.model
    sounds = made_sound(model.frontend.sample_rate, model.frontend.n_samples_for(n_frames), 2)
    device = next(model.parameters()).device
    farthest = 0.0
    for sound in sounds.to(device):
        frames = model.frontend(sound[None])[0].flatten(0, -2)[:, :n_frames]  # (mels, frames) or (1, samples)
        wanted, got = (scores_of(model, one.features(frames, [0], n_frames)).cpu() for one in (plain, form))
        farthest = max(farthest, difference(got, wanted, has_scores(model)))
    if not farthest <= FARTHEST[precision]:
        raise ConfigError(
            f"in {precision}, results of {_name(model)} are off by {farthest:.3f} on a sound made up to try it, where "
            f"{FARTHEST[precision]} is allowed; say precision float32."
        )


def with_precision(model: TaggingModel, precision: Precision) -> TaggingModel:
    """Give a network whose features are computed in other numbers. Its head stays as it is.

    In bfloat16 these are the layers that torch's autocast takes, and what goes from one to the next is bfloat16 too.
    In int8 they are the convolutions and dense layers, but for those that see fewer than four channels: the first layer
    of most networks. All else is float32.

    Args:
        model: the network, in evaluation mode.
        precision: the numbers.

    Returns:
        The network itself for float32, else another one, with the same weights.

    Raises:
        ConfigError: it has no layer that could.
    """
    if precision == "float32":
        return model
    if precision == "bfloat16":
        return _with_autocast(model)
    lowered = copy.deepcopy(model)
    n_lowered = 0
    for name, module in lowered.named_modules():
        if name.partition(".")[0] != "head" and _can(module):
            # In place of the method and not of the module, which networks may ask for its sizes.
            module.forward = _Int8Layer(module)
            n_lowered += 1
    if not n_lowered:
        raise ConfigError(
            f"{_name(model)} has no layer that could compute in {precision}: its convolutions see the sound itself, or "
            "it has none. Say precision float32 or bfloat16."
        )
    return lowered


def _name(model: TaggingModel) -> str:
    return model.name or type(model).__name__


def _with_autocast(model: TaggingModel) -> TaggingModel:
    """Give the network with the same layers, which compute in bfloat16 where torch says that they can."""
    lowered = copy.copy(model)

    def forward_layers(patches: Tensor) -> dict[str, Tensor]:
        with torch.autocast(patches.device.type, torch.bfloat16):
            return {name: layer.float() for name, layer in model.forward_layers(patches).items()}

    lowered.forward_layers = forward_layers  # type: ignore[method-assign]
    return lowered


def _can(module: nn.Module) -> bool:
    """Tell whether a layer can compute in int8."""
    if isinstance(module, nn.Linear):
        return True
    if not isinstance(module, nn.Conv1d | nn.Conv2d) or module.padding_mode != "zeros":
        return False
    return module.in_channels // module.groups >= LEAST_CHANNELS


class _Int8Layer:
    """What a convolution or dense layer computes, in int8: all of them as convolutions over an area.

    Args:
        layer: one that `_can`.
    """

    def __init__(self, layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> None:
        self._layer, self._weight = layer, layer.weight
        self._n_axes, self._around = 0, (0, 0, 0, 0)
        if isinstance(layer, nn.Linear):
            self._convolve = Int8Convolution(layer.weight[:, :, None, None], layer.bias)
            return
        self._n_axes = layer.weight.ndim - 2
        padding: Pair = (0, 0)
        if layer.padding == "same":
            self._around = _same(layer)
        elif not isinstance(layer.padding, str):
            padding = _pair(layer.padding, 0)
        self._convolve = Int8Convolution(
            layer.weight if self._n_axes == 2 else layer.weight.unsqueeze(2), layer.bias, padding=padding,
            stride=_pair(layer.stride, 1), dilation=_pair(layer.dilation, 1), groups=layer.groups,
        )  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        """Compute what the layer's own `forward` does, float32."""
        if self._layer.weight is not self._weight:
            raise ConfigError(
                "a layer of this network is computed some filters at a time, which int8 cannot; say precision float32 "
                "or bfloat16."
            )
        if self._n_axes == 0:
            rows = x.reshape(-1, x.shape[-1], 1, 1)
            return self._convolve(rows).reshape(*x.shape[:-1], -1)
        if any(self._around):
            x = nn.functional.pad(x, self._around[: 2 * self._n_axes])
        return self._convolve(x) if self._n_axes == 2 else self._convolve(x.unsqueeze(2)).squeeze(2)


def _pair(values: tuple[int, ...], of_height: int) -> Pair:
    """Give what is said of height and width, for a convolution over time alone as for one over an area."""
    return (of_height, values[0]) if len(values) == 1 else (values[0], values[1])


def _same(conv: nn.Conv1d | nn.Conv2d) -> tuple[int, int, int, int]:
    """Give the zeros of padding "same", the last axis first: before, after, before, after."""
    most = [gap * (taps - 1) for gap, taps in zip(_pair(conv.dilation, 1), _pair(conv.kernel_size, 1))]
    height, width = ((all_of // 2, all_of - all_of // 2) for all_of in most)
    return (*width, *height)
