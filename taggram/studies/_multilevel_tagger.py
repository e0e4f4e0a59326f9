"""Networks and the classifier of clips put together into one network, which tags as any other does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from taggram._files import written_aside
from taggram.learning.vector_classifier import VectorClassifier
from taggram.models import create_model
from taggram.models._contract import Task
from taggram.models.multilevel import LocalMel, MultiLevelMel

SAMPLE_BITS = 16  # of prepared sound


def save_weights(model: VectorClassifier, path: Path) -> None:
    """Keep the weights of a classifier.

    Args:
        model: the classifier.
        path: of an npz file.
    """
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in model.state_dict().items()})


def put_together(
    networks: Sequence[LocalMel], weights: Path, tags: tuple[str, ...], task: Task, n_frames: int, **options: Any
) -> MultiLevelMel:
    """Make one network of trained ones and the classifier that learned from all of their levels.

    Args:
        networks: in the order of their values in a vector.
        weights: of the classifier, as `save_weights` wrote them.
        tags: of the classifier.
        task: whether several tags may hold or exactly one does.
        n_frames: length of the stretches that it looks at; the longest segment where that is longer.
        **options: n_hidden_layers, n_units and dropout of the classifier.

    Returns:
        The network in evaluation mode.
    """
    lengths = [network.frontend.n_frames for network in networks]
    model = create_model(
        "multilevel_mel", n_tags=len(tags), task=task, n_frames=max(n_frames, *lengths),
        scales=",".join(map(str, lengths)), **options,
    )  # fmt: skip
    built = cast(MultiLevelMel, model)
    built.load_extractors(*networks)
    with weights.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        for name, part in (("classifier.", built.classifier), ("head.", built.head)):
            own = [key for key in file.files if key.startswith(name)]
            part.load_state_dict({key.removeprefix(name): torch.from_numpy(file[key]) for key in own})
    built.tags = tags
    built.frontend.sample_bits = SAMPLE_BITS
    return built.eval()
