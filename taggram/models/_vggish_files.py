"""Files with weights of VGGish, in every layout they are passed around in, read without running anything in them.

A layout is a set of names and an order of axes. The two are told apart on their own: names by the names, axes by the
shape of the first kernel.
"""

from __future__ import annotations

import importlib
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taggram.errors import MissingExtraError, WeightsError, printable

N_EMBEDDING = 128
TRUNKS = ("features", "features_network")  # what torch ports call the convolutions
HEADS = ("embeddings", "fc", "embedding_network")  # and the dense layers
KINDS = (("weight", "weights"), ("bias", "biases"))  # in torch and in TensorFlow
WRAPPERS = re.compile(r"^(?:(?:module|model)\.)+")  # what parallel training and other modules put before a name
POSTPROCESSOR = "pproc."  # part of torchvggish that comes after the network
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # ends a checkpoint in one file, and the index of a newer one
N_LISTED = 6  # faults of a kind that a message names


@dataclass(frozen=True)
class VGGishLayer:
    """A layer with weights.

    Attributes:
        name: of the layer in taggram's network.
        scope: of its variables in TensorFlow.
        groups: what torch ports call the group of layers that it belongs to.
        index: where it stands in that group.
        shape: of its kernel in torch.
    """

    name: str
    scope: str
    groups: tuple[str, ...]
    index: int
    shape: tuple[int, ...]

    def shapes(self, *, of_tensorflow: bool) -> dict[str, tuple[int, ...]]:
        """Give the shape of each parameter of the network; the last axis of TensorFlow is torch's first."""
        return {
            f"{self.name}.weight": self.shape[2:] + self.shape[1::-1] if of_tensorflow else self.shape,
            f"{self.name}.bias": self.shape[:1],
        }


WEIGHTED_LAYERS = (
    VGGishLayer("conv1", "vggish/conv1", TRUNKS, 0, (64, 1, 3, 3)),
    VGGishLayer("conv2", "vggish/conv2", TRUNKS, 3, (128, 64, 3, 3)),
    VGGishLayer("conv3_1", "vggish/conv3/conv3_1", TRUNKS, 6, (256, 128, 3, 3)),
    VGGishLayer("conv3_2", "vggish/conv3/conv3_2", TRUNKS, 8, (256, 256, 3, 3)),
    VGGishLayer("conv4_1", "vggish/conv4/conv4_1", TRUNKS, 11, (512, 256, 3, 3)),
    VGGishLayer("conv4_2", "vggish/conv4/conv4_2", TRUNKS, 13, (512, 512, 3, 3)),
    VGGishLayer("fc1_1", "vggish/fc1/fc1_1", HEADS, 0, (4096, 12_288)),
    VGGishLayer("fc1_2", "vggish/fc1/fc1_2", HEADS, 2, (4096, 4096)),
    VGGishLayer("fc2", "vggish/fc2", HEADS, 4, (N_EMBEDDING, 4096)),
)


def _known_names() -> dict[str, str]:
    """Give the parameter of taggram's network for every name that a file may use."""
    known = {}
    for layer in WEIGHTED_LAYERS:
        for ours, theirs in KINDS:
            parameter = f"{layer.name}.{ours}"
            known[f"{layer.scope}/{theirs}"] = parameter
            known.update({f"{group}.{layer.index}.{ours}": parameter for group in layer.groups})
    return known


KNOWN_NAMES = _known_names()
EXPECTED = ", ".join(  # for the message about a file that does not fit
    f"{layer.scope}/weights and /biases (or {layer.groups[0]}.{layer.index}.weight and .bias)"
    for layer in WEIGHTED_LAYERS
)


def read_parameters(path: Path) -> dict[str, Tensor]:
    """Read a file with the weights of VGGish.

    Args:
        path: an npz, a torch file, or a checkpoint of TensorFlow.

    Returns:
        A tensor for each of the 18 parameters of taggram's network, axes in torch's order.

    Raises:
        WeightsError: the file cannot be read, or does not hold these weights.
        MissingExtraError: it is a checkpoint, and TensorFlow is not installed.
    """
    return to_parameters(read_tensors(path), str(path))


def to_parameters(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Find the parameters of taggram's network among the tensors of a file.

    Args:
        tensors: by the names of any layout, axes in torch's or TensorFlow's order.
        source: the file, for the message.

    Returns:
        A tensor for each of the 18 parameters, axes in torch's order; views of what came.

    Raises:
        WeightsError: a tensor is missing, unknown, there twice, or has another shape or type than it must have.
    """
    found: dict[str, Tensor] = {}
    unknown, twice = [], []
    for key, tensor in tensors.items():
        name = WRAPPERS.sub("", key).removesuffix(":0")
        if name.startswith(POSTPROCESSOR):
            continue
        parameter = KNOWN_NAMES.get(name)
        if parameter is None:
            unknown.append(printable(key))
        elif parameter in found:
            twice.append(printable(key))
        else:
            found[parameter] = tensor
    first = found.get("conv1.weight")
    of_tensorflow = first is not None and first.shape == WEIGHTED_LAYERS[0].shapes(of_tensorflow=True)["conv1.weight"]
    missing, misfit = [], []
    for layer in WEIGHTED_LAYERS:
        for parameter, shape in layer.shapes(of_tensorflow=of_tensorflow).items():
            if parameter not in found:
                missing.append(parameter)
            elif found[parameter].shape != shape or found[parameter].dtype != torch.float32:
                misfit.append(f"{parameter} is {_facts(found[parameter])} where float32 of {shape} is wanted")
    faults = {"missing": missing, "unknown": unknown, "there twice": twice, "of a wrong kind": misfit}
    told = "; ".join(f"{fault}: {_listed(names)}" for fault, names in faults.items() if names)
    if told:
        raise WeightsError(
            f"{printable(source)} does not hold the weights of VGGish. {told}. Expected are 18 tensors: {EXPECTED}."
        )
    return {parameter: _in_torch_order(tensor) if of_tensorflow else tensor for parameter, tensor in found.items()}


def read_pca(path: Path) -> tuple[Tensor, Tensor]:
    """Read the parameters of the PCA that may follow VGGish.

    Args:
        path: an npz, or a torch file that holds tensors; other tensors in it are left alone.

    Returns:
        The eigenvectors as rows, (128, 128), and the means, (128,), float32.

    Raises:
        WeightsError: the file cannot be read, or does not hold these parameters.
    """
    tensors = {WRAPPERS.sub("", key).removeprefix(POSTPROCESSOR): tensor for key, tensor in read_tensors(path).items()}
    vectors, means = tensors.get("pca_eigen_vectors"), tensors.get("pca_means")
    told = f"{printable(str(path))} does not hold the PCA of VGGish."
    if vectors is None or means is None:
        raise WeightsError(
            f"{told} Expected are pca_eigen_vectors and pca_means; it holds {_listed(map(printable, tensors))}."
        )
    fits = vectors.shape == (N_EMBEDDING, N_EMBEDDING) and means.shape in ((N_EMBEDDING,), (N_EMBEDDING, 1))
    if not (fits and vectors.is_floating_point() and means.is_floating_point()):
        raise WeightsError(
            f"{told} pca_eigen_vectors is {_facts(vectors)} where numbers of (128, 128) are wanted; pca_means is "
            f"{_facts(means)} where (128,) is."
        )
    return vectors.float(), means.flatten().float()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file.

    Args:
        path: an npz, a torch file, or a checkpoint of TensorFlow.

    Returns:
        A tensor a name, as they stand in the file.

    Raises:
        WeightsError: the file cannot be read, or holds something else than tensors by name.
        MissingExtraError: it is a checkpoint, and TensorFlow is not installed.
    """
    try:
        if _is_checkpoint(path):
            return _read_checkpoint(path)
        return _read_npz(path) if _is_npz(path) else _read_torch(path)
    except (WeightsError, MissingExtraError):
        raise
    except OSError as error:
        raise WeightsError(f"{printable(str(path))} cannot be read: {error}.") from error
    except Exception as error:  # to damaged bytes, the readers answer with nearly every kind there is
        raise WeightsError(
            f"{printable(str(path))} is damaged, or no npz or torch file that holds tensors alone. Pickled objects, "
            "NumPy arrays in a torch file among them, are never loaded; save these with numpy.savez."
        ) from error


def _is_checkpoint(path: Path) -> bool:
    """Tell whether this is a checkpoint in one file, the index of one in several, or the name that these share."""
    if path.with_name(f"{path.name}.index").is_file():
        return True
    if not path.is_file() or path.stat().st_size < len(TABLE_MAGIC):
        return False
    with path.open("rb") as stream:
        stream.seek(-len(TABLE_MAGIC), os.SEEK_END)
        return stream.read() == TABLE_MAGIC


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        tensorflow = importlib.import_module("tensorflow")
    except ImportError as error:
        raise MissingExtraError(
            f"{printable(str(path))} is a checkpoint of TensorFlow, which is needed to read it and not installed. "
            "Where it is, convert it once, and load the npz here: reader = tensorflow.train.load_checkpoint(FILE); "
            "numpy.savez('vggish.npz', **{n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()})"
        ) from error
    reader = tensorflow.train.load_checkpoint(str(path).removesuffix(".index"))
    return {name: _to_tensor(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: _to_tensor(arrays[name]) for name in arrays.files}


def _read_torch(path: Path) -> dict[str, Tensor]:
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, Mapping):
        raise WeightsError(f"{printable(str(path))} holds one {type(tensors).__name__}; wanted are tensors by name.")
    others = [printable(str(name)) for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if others:
        raise WeightsError(f"{printable(str(path))} holds something else than tensors: {_listed(others)}.")
    return {str(name): tensor for name, tensor in tensors.items()}


def _to_tensor(array: Any) -> Tensor:
    """Give an array as a tensor that may be written to, so that torch has nothing to warn of."""
    return torch.from_numpy(np.require(array, requirements="W"))


def _in_torch_order(tensor: Tensor) -> Tensor:
    """Give a tensor of TensorFlow with its axes in torch's order."""
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor


def _facts(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of {tuple(tensor.shape)}"


def _listed(names: Iterable[str]) -> str:
    """Name the first few, and count the others."""
    listed = list(names)
    more = len(listed) - N_LISTED
    return ", ".join(listed[:N_LISTED]) + (f" and {more} more" if more > 0 else "")
