"""The network that a kit needs: found, checked, and tuned where the kit tuned it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from taggram.errors import KitError, printable
from taggram.kit import Kit
from taggram.models._registry import is_model_file, model_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from taggram.models._contract import TaggingModel


def model_of_kit(kit: Kit, place: str | PathLike[str] | None) -> str:
    """Say which model a kit needs.

    Args:
        kit: the kit.
        place: its file, or None. A model in a file is looked for where it was when the kit was taught, then beside it.

    Returns:
        A name, or a path.

    Raises:
        KitError: the model is a file, and is in neither place.
    """
    if not is_model_file(kit.model) and Path(kit.model).name == kit.model:
        return kit.model
    beside = Path(fspath(place)).parent / Path(kit.model).name if place is not None else None
    for path in (Path(kit.model), beside):
        if path is not None and model_file(path).is_file():
            return fspath(path)
    raise KitError(
        f"the kit needs the model {printable(kit.model)}, which is not there, nor beside the kit. "
        "Say where it is: model= (--model)."
    )


def tune(model: TaggingModel, kit: Kit) -> None:
    """Put the tensors into a network that the kit changed in it.

    Args:
        model: the network that the kit was taught on; changed in place.
        kit: the kit.

    Raises:
        KitError: the network has no such tensors.
    """
    state = model.state_dict()
    wrong = [name for name, array in kit.tuned.items() if name not in state or state[name].shape != array.shape]
    if wrong:
        raise KitError(f"the kit tuned {', '.join(map(printable, wrong[:3]))}, which its network does not have.")
    put_in(model, kit.tuned)


def put_in(model: TaggingModel, tensors: Mapping[str, NDArray[np.floating]]) -> None:
    """Change tensors of a network.

    Args:
        model: the network; changed in place.
        tensors: by name, each of the shape that the network has.
    """
    import torch

    state = model.state_dict()
    with torch.no_grad():
        for name, array in tensors.items():
            state[name].copy_(torch.from_numpy(array.astype("float32")))
