"""What the tests of single networks share: networks that are the same each time, and what is read off them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import taggram
from taggram.models._contract import TaggingModel


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


def biases(model: nn.Module) -> Tensor:
    """All biases, and the shifts of norms."""
    return torch.cat([value.flatten() for name, value in model.named_parameters() if name.endswith("bias")])


def limit_and_spread(kernel: Tensor) -> tuple[float, float]:
    """The largest value, and the limit of a uniform draw with this deviation: of a uniform draw, the two are equal."""
    return kernel.abs().max().item(), kernel.std().item() * 3**0.5
