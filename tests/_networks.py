"""What the tests of single networks share: networks that are the same each time, and what is read off them."""

from __future__ import annotations

from typing import Any, TypeVar

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import taggram
from taggram.models._contract import TaggingModel

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def create(network: str, **options: Any) -> TaggingModel:
    """A network in evaluation mode, with the same weights each time."""
    torch.manual_seed(0)
    return taggram.create_model(network, **options).eval()


def create_empty(network: str, **options: Any) -> TaggingModel:
    """A network of shapes alone, which is quick to make and to run."""
    with torch.device("meta"):
        return create(network, **options)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Normal noise of deviation 1, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def librosa_mel(sound: Tensor, **settings: Any) -> NDArray[np.float32]:
    """(mels, frames) of one sound by librosa, with its own settings but for those given, and mirrored ends."""
    mel: NDArray[np.float32] = librosa.feature.melspectrogram(y=sound.numpy(), pad_mode="reflect", **settings)
    return mel


@torch.no_grad()
def unsettled(model: ModuleT) -> ModuleT:
    """A network whose norms have statistics, scales and shifts of their own, as after some training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.1, 0.1)
    return model


def norm_constants(model: nn.Module) -> set[tuple[float, float | None]]:
    """(eps, momentum) of all batch norms."""
    norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d))
    return {(norm.eps, norm.momentum) for norm in norms}


def layer_shapes(model: TaggingModel, length: int | None = None) -> dict[str, tuple[int, ...]]:
    """Shapes of the named layers of one patch, by default of the length that the network was made for."""
    bands = (model.frontend.n_bands,) if model.frontend.n_bands > 1 else ()
    device = next(model.parameters()).device
    layers = model.forward_layers(torch.zeros(1, 1, *bands, length or model.frontend.n_frames, device=device))
    return {name: tuple(layer.shape[1:]) for name, layer in layers.items()}


def shape_within(model: TaggingModel, part: str) -> tuple[int, ...]:
    """Shape of what a sub-module gives for one patch."""
    shapes = []
    model.get_submodule(part).register_forward_hook(lambda module, given, found: shapes.append(found.shape[1:]))
    layer_shapes(model)
    return tuple(*shapes)


def n_parameters(*modules: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def n_stored(*modules: nn.Module) -> int:
    """Number of parameters and of statistics of norms."""
    buffers = [named for module in modules for named in module.named_buffers()]
    return n_parameters(*modules) + sum(buffer.numel() for name, buffer in buffers if "running_" in name)


def fill(module: nn.Module, weight: float, bias: float) -> nn.Module:
    """Give all weights of a module one value and all its biases another, and give it back."""
    for name, parameter in module.named_parameters():
        nn.init.constant_(parameter, bias if name.endswith("bias") else weight)
    return module


def biases(model: nn.Module) -> Tensor:
    """All biases, and the shifts of norms."""
    return torch.cat([value.flatten() for name, value in model.named_parameters() if name.endswith("bias")])


def limit_and_spread(kernel: Tensor) -> tuple[float, float]:
    """The largest value, and the limit of a uniform draw with this deviation: of a uniform draw, the two are equal."""
    return kernel.abs().max().item(), kernel.std().item() * 3**0.5
