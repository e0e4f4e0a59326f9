"""What of a network stays as it is while the rest learns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from taggram.errors import ConfigError, did_you_mean
from taggram.models._contract import TaggingModel


def frozen_modules(model: TaggingModel, names: Sequence[str], *, trunk: bool = False) -> list[nn.Module]:
    """Give the parts of a network that are not to learn.

    Args:
        model: the network.
        names: of its parts, as in `model.named_children()`.
        trunk: whether all but the head is meant.

    Returns:
        The parts.

    Raises:
        ConfigError: the network has no such part.
    """
    parts = dict(model.named_children())
    own = [name for name in parts if name not in ("frontend", "head", "head_dropout")]
    for name in names:
        if name not in own:
            hint = did_you_mean(name, own)
            raise ConfigError(f"the network has no part {name!r} to freeze.{hint} Its parts are {', '.join(own)}.")
    return [parts[name] for name in (own if trunk else names)]


def freeze(modules: Sequence[nn.Module]) -> None:
    """Let parts of a network learn nothing: no gradients, batch norms as in use, no dropout.

    Args:
        modules: the parts. Call it again whenever the network is set to training.
    """
    for module in modules:
        module.eval()
        module.requires_grad_(False)
