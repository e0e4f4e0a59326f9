"""Pickles from elsewhere, of which none is trusted: containers, text, numbers and arrays of numbers, or an error.

Of numpy nothing is called by the pickle, since it lets a pickle set the flags of a type, and wrong flags make it take
bytes for addresses. What stands for an array takes its numbers out by itself.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taggram.errors import DatasetError, printable

FORMATS = {  # type of an array, by kind and bytes a value: as `struct` writes it
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip


class PickledArray:
    """An array of numbers out of a pickle.

    Attributes:
        shape: as in numpy.
        values: in C order, or in Fortran's where the array was stored so.
    """

    shape: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def __setstate__(self, state: Any) -> None:
        """Take what numpy put into the pickle: version, shape, type, order and the bytes."""
        _, shape, dtype, _, data = state
        octets = data.encode("latin1") if isinstance(data, str) else data
        if not (isinstance(dtype, _Type) and isinstance(octets, bytes | bytearray) and isinstance(shape, tuple)):
            raise pickle.UnpicklingError("an array of something else than numbers")
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise pickle.UnpicklingError(f"an array of shape {shape!r}")
        self.shape = shape
        self.values = struct.unpack(f"{dtype.order}{math.prod(shape)}{dtype.format}", octets)


class _Type:
    """The type of an array's values."""

    def __init__(self, name: str, *_: object) -> None:
        if name not in FORMATS:
            raise pickle.UnpicklingError(f"an array of type {name!r}")
        self.format = FORMATS[name]
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        """Take the order of bytes; all else of the state is for types that are no numbers."""
        self.order = ">" if state[1] == ">" else "<"


def _array(*_: object) -> PickledArray:
    return PickledArray()


def _scalar(dtype: object, data: object) -> float:
    """Give a single value that numpy stored."""
    value = PickledArray()
    value.__setstate__((1, (), dtype, False, data))
    return value.values[0]


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> PickledArray:
    """Make an array as protocol 5 has it."""
    array = PickledArray()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encoded(text: object, encoding: object) -> bytes:
    """Give bytes, which Python 3 writes as text where the pickle is to be read by Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encoded,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Type,
    **{("__builtin__", name): kind for name, kind in (("set", set), ("frozenset", frozenset), ("complex", complex))},
    **{("builtins", name): kind for name, kind in (("set", set), ("frozenset", frozenset), ("complex", complex))},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """Knows no other names than those of harmless things."""

    def find_class(self, module: str, name: str) -> Any:
        """Give what a name in the pickle stands for.

        Args:
            module: in which it is.
            name: of a class or function.

        Returns:
            What to call.

        Raises:
            UnpicklingError: it is none of those that are allowed.
        """
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what lies outside of the pickle."""
        raise pickle.UnpicklingError(f"it wants {pid!r} from outside")


def unpickle(path: Path) -> Any:
    """Read a pickle of any protocol, also one of Python 2, without running anything that it asks for.

    Args:
        path: the file.

    Returns:
        Containers, text, numbers, and `PickledArray` for arrays.

    Raises:
        DatasetError: the file is not there, is no pickle, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except OSError as error:
        raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
    # What a broken or hostile pickle makes the unpickler raise is not fixed.
    except Exception as error:
        raise DatasetError(
            f"{printable(str(path))} is no pickle of lists, text and numbers ({error or type(error).__name__}). "
            "Nothing of it was run; fetch it again from its owner."
        ) from error
