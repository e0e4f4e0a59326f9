"""What tells the weights of networks apart, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch

from taggram.frontends import config_to_dict

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel


def weights_sha256(model: TaggingModel, *, with_head: bool) -> str:
    """Hash the weights of a network.

    Args:
        model: the network.
        with_head: whether its head is a part of them.

    Returns:
        Hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if with_head or not name.startswith("head."):
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def features_sha256(model: TaggingModel) -> str:
    """Hash all that the features of a network follow from: its weights but the head, and its front-end.

    Args:
        model: the network.

    Returns:
        Hexadecimal digits.
    """
    facts = {
        "weights": weights_sha256(model, with_head=False),
        "frontend": config_to_dict(model.frontend.config),
        "sample_bits": model.frontend.sample_bits,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
