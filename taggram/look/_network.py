"""Parts of a network: what it sees, the convolutions that see it, and a layer as soon as it is computed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from taggram.errors import ConfigError, unknown_name
from taggram.frontends import LogMelConfig, MFCCConfig, RawConfig, mel_filterbank
from taggram.models._summary import example_patches

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel

Convolution = nn.Conv1d | nn.Conv2d
Kind = Literal["time", "bands"]

PROBE_FRAMES = 512  # of the patch that a network is tried with, where it takes so few and was made for more
LEAST_MOVE = 0.1  # share of what a value depends on that must be elsewhere for another place on an axis
CONVOLUTION = "onvolution"  # in the names of all nodes of autograd that stand for one


@dataclass(frozen=True, kw_only=True, eq=False)
class Bands:
    """The vertical axis of a spectrogram.

    Attributes:
        n_bands: how many there are.
        name: what one of them is, "mel band" or "coefficient".
        centres_hz: (n_bands,) their centre frequencies, rising, or None where they are no frequencies.
    """

    n_bands: int
    name: str
    centres_hz: NDArray[np.float64] | None


@dataclass(frozen=True)
class Role:
    """What an axis of a tensor inside a network stands for.

    Attributes:
        kind: along which axis of the patch one moves by moving along it.
        step: how far, in frames or bands of the patch.
    """

    kind: Kind
    step: float


@contextlib.contextmanager
def evaluating(model: TaggingModel) -> Iterator[None]:
    """Have a network in evaluation mode for a while, then every part of it in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def name_of(model: TaggingModel) -> str:
    """Name a network as `create_model` does, or by its class where that did not make it."""
    return model.name or type(model).__name__


def device_of(model: TaggingModel) -> torch.device:
    """Give the device that a network is on."""
    return next((tensor.device for tensor in [*model.parameters(), *model.buffers()]), torch.device("cpu"))


def sees_waveform(model: TaggingModel) -> bool:
    """Tell whether a network sees waveforms and not spectrograms."""
    return isinstance(model.frontend.config, RawConfig)


def bands_of(model: TaggingModel) -> Bands | None:
    """Describe the vertical axis of the spectrograms that a network sees; None where it sees waveforms."""
    config = model.frontend.config
    n_bands = model.frontend.n_bands
    if isinstance(config, RawConfig):
        return None
    if isinstance(config, MFCCConfig):
        return Bands(n_bands=n_bands, name="coefficient", centres_hz=None)
    mel = config if isinstance(config, LogMelConfig) else config.mel
    filters = mel_filterbank(mel).double().numpy()  # (bins, bands)
    bins_hz = np.fft.rfftfreq(mel.n_fft, 1 / mel.sample_rate)
    weights = filters.sum(axis=0)
    there = np.flatnonzero(weights)  # a narrow band may lie between two bins
    centres_hz = np.interp(np.arange(n_bands), there, (bins_hz @ filters)[there] / weights[there])
    return Bands(n_bands=n_bands, name="mel band", centres_hz=centres_hz)


def time_layers(model: TaggingModel) -> dict[str, int]:
    """Name the layers that keep time.

    Args:
        model: the network.

    Returns:
        The number of units of each, in order.
    """
    ghost = _without_storage(model)
    with torch.enable_grad():  # networks may take another way where gradients are off
        layers = ghost.forward_layers(_probe(ghost, 1))
    return {name: layer.shape[-1] for name, layer in layers.items() if layer.ndim > 2}


def first_convolutions(model: TaggingModel) -> dict[str, Convolution]:
    """Find the convolutions that see the input: between it and them there is no other.

    Args:
        model: the network.

    Returns:
        The modules by their path, in the order in which they are called.
    """
    ghost = _without_storage(model)
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, Convolution)}
    found: dict[str, Convolution] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, came: tuple[Tensor, ...]) -> None:
            if not _depends_on_convolution(came[0]):
                found.setdefault(name, convolutions[name])

        return hook

    for name in convolutions:
        ghost.get_submodule(name).register_forward_pre_hook(note(name))
    with torch.enable_grad():
        ghost.forward_layers(_probe(ghost, 1).requires_grad_())
    return found


def input_roles(model: TaggingModel, convolutions: dict[str, Convolution]) -> dict[str, dict[int, Role]]:
    """Say what the axes of that stand for which some convolutions are given.

    Args:
        model: the network, in evaluation mode.
        convolutions: modules of it that see its input, in the order in which they are called.

    Returns:
        For each the roles of the axes of its input, 1 being the channels; axes that stand for neither are left out.
    """
    patches = _probe(model, 1).requires_grad_()
    inputs: dict[str, Tensor] = {}
    last = list(convolutions)[-1]

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, came: tuple[Tensor, ...]) -> None:
            inputs[name] = came[0]
            if name == last:
                raise _EnoughError(came[0])

        return hook

    with contextlib.ExitStack() as hooks, contextlib.suppress(_EnoughError), torch.enable_grad():
        for name, module in convolutions.items():
            hooks.callback(module.register_forward_pre_hook(note(name)).remove)
        model.forward_layers(patches)
    seen: dict[int, dict[int, Role]] = {}  # branches side by side are given the same tensor
    for given in inputs.values():
        if id(given) not in seen:
            seen[id(given)] = _roles(given, patches)
    return {name: seen[id(given)] for name, given in inputs.items()}


class LayerTap:
    """A network up to one of its layers. What comes behind is not computed, so a patch may be too short for that.

    To be read: the name, `layer`, and `n_units`, the length of the layer's last axis or of the module's channel axis.

    Args:
        model: the network, in evaluation mode.
        layer: a layer that keeps time, or the path of a module of which the same is true, such as "blocks.0.relu".

    Raises:
        UnknownNameError: the network has no such layer or module.
        ConfigError: the layer keeps no time, or nothing is computed for it.
    """

    def __init__(self, model: TaggingModel, layer: str) -> None:
        self.layer = layer
        self._model = model
        patches = _probe(model, 2).requires_grad_()  # with two of them, the axis of the batch is no other's
        with torch.enable_grad(), _Recorder() as recorder:
            wanted = self._find(layer, patches)
        named = layer in model.layers()
        found = recorder.place_of(wanted)
        if found is None:
            raise ConfigError(f"{layer!r} of {name_of(model)} gives what the network is given.")
        self._place, out = found
        self._units = _same_axis(out, wanted, -1 if named else 1)
        if named:
            self._time = _same_axis(out, wanted, 1, other_than=self._units)
        else:
            of_time = [
                axis for axis, role in _roles(out, patches).items() if role.kind == "time" and axis != self._units
            ]
            self._time = of_time[0] if of_time else out.ndim - 1
        self.n_units = out.shape[self._units]

    def __call__(self, patches: Tensor) -> Tensor:
        """Compute the layer.

        Args:
            patches: (batch, 1, mels, frames) or (batch, 1, samples).

        Returns:
            (batch, units, time): the mean over mels, where the layer keeps them.
        """
        try:
            with torch.enable_grad(), _Until(self._place):
                self._model.forward_layers(patches)
        except _EnoughError as enough:
            out = enough.tensor.movedim((self._units, self._time), (1, 2))
            return out.flatten(3).mean(3) if out.ndim > 3 else out
        raise AssertionError("a network that computes the same in the same way gets to the same place")

    def _find(self, layer: str, patches: Tensor) -> Tensor:
        """Run the whole network once and give what a layer or a module gives."""
        model = self._model
        modules = dict(model.named_modules())
        if layer not in modules and layer not in model.layers():
            raise unknown_name(
                "layer",
                layer,
                [*model.layers(), *filter(None, modules)],
                f"The layers of {name_of(model)} are {', '.join(model.layers())}; the path of a module will do too",
            )
        if layer in model.layers():
            wanted: Any = model.forward_layers(patches)[layer]
        else:
            given: list[Any] = []
            hook = modules[layer].register_forward_hook(lambda _module, _came, out: given.append(out))
            try:
                model.forward_layers(patches)
            finally:
                hook.remove()
            wanted = given[0] if given else None
        if not isinstance(wanted, Tensor) or wanted.ndim < 3 or len(wanted) != len(patches):
            keep = ", ".join(time_layers(model)) or "none, though modules such as a convolution may"
            raise ConfigError(f"{layer!r} of {name_of(model)} keeps no time. Of its layers these do: {keep}.")
        return wanted


def evenly_spaced(n: int, n_chosen: int) -> NDArray[np.intp]:
    """Choose evenly among things in a row.

    Args:
        n: how many there are.
        n_chosen: how many to choose at most, from 1 on.

    Returns:
        Their places, rising; with two or more, the first and the last are among them.
    """
    return np.round(np.linspace(0, n - 1, min(n, n_chosen))).astype(np.intp)


class _EnoughError(Exception):
    """What was wanted is computed.

    Args:
        tensor: what was wanted.
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor


class _Recorder(TorchFunctionMode):
    """Keeps what each operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self._given: list[tuple[Any, int]] = []  # with the version, as what is changed in place is given before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._given.append((out, out._version if isinstance(out, Tensor) else 0))
        return out

    def place_of(self, wanted: Tensor) -> tuple[int, Tensor] | None:
        """Find the first operation that gives a tensor, maybe with its axes in another order.

        Args:
            wanted: what some operation gave, or a view of that.

        Returns:
            The number of the operation and what it gives, or None where it was there before all operations.
        """
        key = (wanted.untyped_storage().data_ptr(), wanted.numel(), wanted._version)
        for place, (out, version) in enumerate(self._given):
            if not isinstance(out, Tensor) or out.ndim < 3 or out.shape[0] != wanted.shape[0]:
                continue
            if (out.untyped_storage().data_ptr(), out.numel(), version) == key:
                return place, out
        return None


class _Until(TorchFunctionMode):
    """Stops a computation behind an operation.

    Args:
        place: its number.
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self._left = place

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self._left:
            raise _EnoughError(out)
        self._left -= 1
        return out


def _probe(model: TaggingModel, n_patches: int) -> Tensor:
    """Make patches to try a network with: no longer than need be."""
    n_frames = model.frontend.n_frames
    if not model.fixed_length:
        n_frames = max(model.least_frames, min(n_frames, PROBE_FRAMES))
    return example_patches(model, n_frames, n_patches)


def _without_storage(model: TaggingModel) -> TaggingModel:
    """Copy a network to the device "meta", where shapes are computed and values are not."""
    return copy.deepcopy(model).to("meta").eval()


def _depends_on_convolution(tensor: Tensor) -> bool:
    """Walk back through what a tensor was computed from, and look for a convolution."""
    ahead, seen = [tensor.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if CONVOLUTION in node.name():
            return True
        seen.add(node)
        ahead.extend(before for before, _ in node.next_functions)
    return False


def _same_axis(out: Tensor, view: Tensor, axis: int, other_than: int = 0) -> int:
    """Find the axis of a tensor that is a given one of a view of it."""
    wanted = (view.shape[axis], view.stride(axis))
    return next(
        place for place in range(1, out.ndim) if place != other_than and (out.shape[place], out.stride(place)) == wanted
    )


def _roles(tensor: Tensor, patches: Tensor) -> dict[int, Role]:
    """Say what the axes of a tensor stand for: where in a patch two places on each look, in time and in bands."""
    roles: dict[int, Role] = {}
    for axis in range(1, tensor.ndim):
        size = tensor.shape[axis]
        if size < 2:
            continue
        first, second = size // 4, max(size // 4 + 1, 3 * size // 4)
        one, other = (_where_it_looks(tensor.select(axis, place).sum(), patches) for place in (first, second))
        moves = {kind: float((one[kind] - other[kind]).abs().sum()) / 2 for kind in one}  # 1: nothing in common
        kind = max(moves, key=moves.__getitem__)
        if moves[kind] > LEAST_MOVE:
            n_moved = abs(int(other[kind].argmax()) - int(one[kind].argmax()))
            roles[axis] = Role(kind, n_moved / (second - first))
    return roles


def _where_it_looks(value: Tensor, patches: Tensor) -> dict[Kind, Tensor]:
    """Give the shares of the frames, and of the bands, of the first patch in what a value depends on."""
    (gradient,) = torch.autograd.grad(value, patches, retain_graph=True)
    energy = gradient[0].square().reshape(-1, patches.shape[-1])  # (bands, frames)
    energy = energy / energy.sum().clamp_min(torch.finfo(energy.dtype).tiny)
    return {"time": energy.sum(0), "bands": energy.sum(1)}
