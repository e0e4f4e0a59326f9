"""What a network is made of: its layers with shapes, its cost, and how much sound one value of a layer depends on."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from taggram.frontends import FrontendConfig, RawConfig, config_to_dict

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel


@dataclass(frozen=True)
class Layer:
    """One module of a network, as a patch passes through it.

    Attributes:
        name: where it is in the network, such as "blocks.0.conv".
        kind: what it is and its main settings, such as "Conv2d 3 x 3, 128".
        shape: of what comes out, without the batch.
        n_parameters: that it has.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    n_parameters: int


@dataclass(frozen=True)
class Feature:
    """One named layer of a network.

    Attributes:
        name: as in `model.layers()`.
        shape: for one patch: (features,), or (time, ...) where it keeps time.
        receptive_field_s: seconds of sound that one value in the middle depends on; the whole patch where time is gone.
    """

    name: str
    shape: tuple[int, ...]
    receptive_field_s: float


@dataclass(frozen=True)
class Summary:
    """What there is to say about a network and one choice of its options.

    Attributes:
        network: its name, without weights.
        paper: who, where and when.
        about: what its module says: what it is, source and differences.
        builder: what its builder says.
        options: every option with its default.
        chosen: the options that were chosen.
        n_outputs: of the head, or the length of the features where there is none.
        task: what comes out, see `Task`.
        n_parameters: that it learns.
        n_frozen: that it does not.
        frontend: the settings, without those at their default.
        sample_rate: of the waveform, in Hz.
        patch_s: length of the patch in seconds.
        shortest_s: of the shortest that is taken; None where the length is fixed.
        layers: its modules, for that patch.
        features: its named layers.
        flops_per_s: floating-point operations for a second of sound, see `count_flops`.
    """

    network: str
    paper: str
    about: str
    builder: str
    options: dict[str, Any]
    chosen: dict[str, Any]
    n_outputs: int
    task: str
    n_parameters: int
    n_frozen: int
    frontend: dict[str, Any]
    sample_rate: int
    patch_s: float
    shortest_s: float | None
    layers: list[Layer]
    features: list[Feature]
    flops_per_s: float


def summarise(
    network: str, options: Mapping[str, Any] | None = None, *, n_tags: int | None = None, length_s: float | None = None
) -> Summary:
    """Build a network and say what it is made of.

    Args:
        network: its name, without weights.
        options: its own options.
        n_tags: number of outputs; None is as in its paper.
        length_s: length of the patch in seconds; None is the one that the network was made for.

    Returns:
        Everything that a card of the network shows.

    Raises:
        UnknownNameError: there is no such network.
        ConfigError: the network has no such option, or takes no patch of that length.
    """
    from taggram.models import NETWORKS, create_model, find_facts

    facts = find_facts(network)
    model = create_model(network, n_tags=facts.n_tags if n_tags is None else n_tags, **(options or {}))
    frontend = model.frontend
    n_frames = frontend.n_frames
    if length_s is not None:
        n_frames = model.check_patch_frames(int(length_s * frontend.sample_rate / frontend.hop_length + 1e-9))
    learning = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    frozen = [parameter.numel() for parameter in model.parameters() if not parameter.requires_grad]
    return Summary(
        network=network,
        paper=facts.paper,
        about=inspect.getdoc(sys.modules[f"taggram.models.{NETWORKS[network]}"]) or "",
        builder=inspect.getdoc(facts.build) or "",
        options=facts.options,
        chosen=dict(options or {}),
        n_outputs=model.n_tags or model.n_features,
        task=model.task,
        n_parameters=sum(learning),
        n_frozen=sum(frozen),
        frontend=_settings_of(frontend.config),
        sample_rate=frontend.sample_rate,
        patch_s=patch_s(model, n_frames),
        shortest_s=None if model.fixed_length else patch_s(model, model.least_frames),
        layers=list_layers(model, n_frames),
        features=list_features(model, n_frames),
        flops_per_s=count_flops(model, n_frames) / patch_s(model, n_frames),
    )


def list_layers(model: TaggingModel, n_frames: int | None = None) -> list[Layer]:
    """List the modules that a patch passes through, in the order of their first call.

    Args:
        model: the network, on any device, "meta" included.
        n_frames: length of the patch; None is the one that the network was made for.

    Returns:
        The modules that have no parts, but for those that learn nothing and change no shape, such as a ReLU. What is
        computed without a module is not among them.
    """
    model = _without_storage(model)
    rows: dict[str, Layer] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, came: tuple[Tensor, ...], out: Tensor) -> None:
            n_parameters = sum(parameter.numel() for parameter in module.parameters())
            if n_parameters or out.shape != came[0].shape:
                rows.setdefault(name, Layer(name, describe_module(module), tuple(out.shape[1:]), n_parameters))

        return hook

    for name, module in model.named_modules():
        if not any(module.children()):
            module.register_forward_hook(note(name))
    _run(model, n_frames)
    return list(rows.values())


def count_flops(model: TaggingModel, n_frames: int | None = None, *, shares: Mapping[str, float] | None = None) -> int:
    """Count the floating-point operations of one patch, two for a multiplication and addition.

    Args:
        model: the network, on any device, "meta" included.
        n_frames: length of the patch; None is the one that the network was made for.
        shares: of the operations of some parts, by name, how many are counted, as `InferenceForm.shares` gives them.

    Returns:
        Those of convolutions and matrix products; the front-end, pooling and what is elementwise are left out.
    """
    model = _without_storage(model)
    spared: list[float] = []

    def note(share: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
            of_a_value = cast("Tensor", module.weight)[0].numel()  # multiplications
            spared.append((1 - share) * 2 * of_a_value * out.numel())

        return hook

    for part, share in (shares or {}).items():
        for module in model.get_submodule(part).modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                module.register_forward_hook(note(share))
    with FlopCounterMode(display=False) as counter:
        _run(model, n_frames)
    return int(counter.get_total_flops() - sum(spared))


def list_features(model: TaggingModel, n_frames: int | None = None) -> list[Feature]:
    """List the named layers with the seconds of sound that they depend on.

    Args:
        model: the network, with weights, on a device where it can run.
        n_frames: length of the patch; None is the one that the network was made for.

    Returns:
        The layers in order.
    """
    patches = example_patches(model, n_frames).requires_grad_()
    was_training = model.training
    model.eval()
    with _SmoothPooling():
        layers = model.forward_layers(patches)
    model.train(was_training)
    return [
        Feature(name, tuple(out.shape[1:]), _receptive_field_s(model, patches, out)) for name, out in layers.items()
    ]


def patch_s(model: TaggingModel, n_frames: int | None = None) -> float:
    """Give the length of a patch in seconds.

    Args:
        model: the network.
        n_frames: length of the patch in frames; None is the one that the network was made for.

    Returns:
        Frames times the hop.
    """
    frontend = model.frontend
    return (n_frames or frontend.n_frames) * frontend.hop_length / frontend.sample_rate


def example_patches(model: TaggingModel, n_frames: int | None = None, n_patches: int = 1) -> Tensor:
    """Make up patches, as the front-end would give them.

    Args:
        model: the network; the patches are on its device.
        n_frames: their length; None is the one that the network was made for.
        n_patches: how many.

    Returns:
        (n_patches, 1, mels, frames), or (n_patches, 1, samples).
    """
    frontend = model.frontend
    n_frames = n_frames or frontend.n_frames
    shape = (
        (n_patches, 1, n_frames)
        if isinstance(frontend.config, RawConfig)
        else (n_patches, 1, frontend.n_bands, n_frames)
    )
    device = next((tensor.device for tensor in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)


def describe_module(module: nn.Module) -> str:
    """Say in a few words what a module is.

    Args:
        module: a module without parts.

    Returns:
        Its class, kernel, width and stride where it has them.
    """
    name = next((kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules.")), "")
    name = type(module).__name__ if name in ("Module", "") else name  # torch's own, where it is one that learns quicker
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        stride = f", stride {_times(module.stride)}" if any(step != 1 for step in module.stride) else ""
        return f"{name} {_times(module.kernel_size)}, {module.out_channels}{stride}"
    if isinstance(module, nn.Linear):
        return f"{name} {module.out_features}"
    if isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool1d | nn.AvgPool2d):
        stride = "" if module.stride == module.kernel_size else f", stride {_times(module.stride)}"
        return f"{name} {_times(module.kernel_size)}{stride}"
    return name


class _SmoothPooling(TorchFunctionMode):
    """Takes the mean where a network takes the maximum, so that a gradient reaches all that a value depends on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _SMOOTH.get(getattr(func, "__name__", ""), func)(*args, **(kwargs or {}))


def _mean_1d(x: Tensor, size: Any, stride: Any = None, padding: Any = 0, *rest: Any, **named: Any) -> Tensor:
    return F.avg_pool1d(x, size, stride, padding, _rounds_up(*rest, **named))


def _mean_2d(x: Tensor, size: Any, stride: Any = None, padding: Any = 0, *rest: Any, **named: Any) -> Tensor:
    return F.avg_pool2d(x, size, stride, padding, _rounds_up(*rest, **named))


def _rounds_up(dilation: Any = 1, ceil_mode: bool = False, **_: Any) -> bool:  # noqa: ARG001 (no network dilates)
    return ceil_mode


_SMOOTH: dict[str, Callable[..., Any]] = {"max_pool1d": _mean_1d, "max_pool2d": _mean_2d, "amax": torch.mean}


def _receptive_field_s(model: TaggingModel, patches: Tensor, out: Tensor) -> float:
    """Give the seconds between the first and the last sample on which the value in the middle of a layer depends."""
    if out.ndim < 3:
        return patch_s(model, patches.shape[-1])
    middle = out[:, out.shape[1] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, patches, retain_graph=True)
    frames = gradient.flatten(0, -2).abs().sum(0).nonzero()
    n_samples = int(frames[-1] - frames[0]) * model.frontend.hop_length + model.frontend.frame_length
    return n_samples / model.frontend.sample_rate


def _settings_of(config: FrontendConfig) -> dict[str, Any]:
    """Give the settings of a front-end that are not at their default, with the kind of front-end first."""
    settings = config_to_dict(config)
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    return {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}


def _without_storage(model: TaggingModel) -> TaggingModel:
    """Copy a network to the device "meta", where shapes are computed and values are not."""
    return copy.deepcopy(model).to("meta").eval()


def _run(model: TaggingModel, n_frames: int | None) -> None:
    """Pass one patch through a network; gradients are on, since networks may save memory where they are off."""
    with torch.enable_grad():
        model.forward_head(model.forward_features(example_patches(model, n_frames)))


def _times(sizes: int | tuple[int, ...]) -> str:
    return str(sizes) if isinstance(sizes, int) else " x ".join(map(str, sizes))
