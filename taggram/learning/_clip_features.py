"""The hand-made features of all clips of prepared data, computed side by side and kept as npz without pickles."""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_count
from taggram._files import written_aside
from taggram._processes import n_cores
from taggram.errors import ConfigError, DatasetError, printable
from taggram.learning._hand_made import FeatureSet, feature_names, hand_made

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

DAMAGE = (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)

Step = Literal["features", "trees"]
Told = Callable[[Step, int, int], None]
"""Is told how much of a step is done, of how much: clips of the features, models of the trees."""
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFeatures:
    """The features of all clips of prepared data.

    Attributes:
        kind: which set of features.
        names: of the features, in the order of the columns.
        values: (clips, features) float32, in the order of the rows of the data.
        sample_rate: of the sound that they were made of, in Hz.
        split_sha256: hash of the list of the split.

    Raises:
        ConfigError: the shape does not fit the names, or a value is not finite.
    """

    kind: FeatureSet
    names: tuple[str, ...]
    values: NDArray[np.float32]
    sample_rate: int
    split_sha256: str

    def __post_init__(self) -> None:
        shape = self.values.shape
        check(len(shape) == 2 and shape[1] == len(self.names), "the shape", shape, f"(clips, {len(self.names)})")
        if not np.isfinite(self.values).all():
            raise ConfigError("some feature is not finite.")

    def check_are_of(self, data: PreparedData, kind: FeatureSet) -> None:
        """Refuse other data than that which the features were made of.

        Args:
            data: the prepared data.
            kind: the set of features that is wanted.

        Raises:
            ConfigError: something differs.
        """
        facts = (kind, len(data), data.sample_rate, data.card["split_sha256"])
        own = (self.kind, len(self.values), self.sample_rate, self.split_sha256)
        for name, mine, other in zip(("the kind", "the number of clips", "the rate", "the split"), own, facts):
            check(mine == other, f"{name} of the features", mine, f"{other!r}, that of the data")

    def save(self, path: str | PathLike[str]) -> None:
        """Write the features as npz; `ClipFeatures.load` gives them back.

        Args:
            path: the file.

        Raises:
            OSError: it cannot be written.
        """
        card = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "values"}
        with written_aside(Path(path)) as aside, aside.open("wb") as file:
            np.savez_compressed(file, card=np.array(json.dumps(card)), values=self.values)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ClipFeatures:
        """Read features back.

        Args:
            path: the file.

        Returns:
            The features as they were saved.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        try:
            with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                card = json.loads(str(file["card"]))
                return cls(**{**card, "names": tuple(card["names"])}, values=file["values"])
        except OSError as error:
            raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
        except DAMAGE as error:
            raise DatasetError(f"{printable(str(path))} holds no features ({error}); make them again.") from error


def clip_features(
    data: PreparedData, kind: FeatureSet = "hand_made", *, n_workers: int | None = None, told: Told | None = None
) -> ClipFeatures:
    """Compute the features of all clips, side by side.

    Args:
        data: the prepared data.
        kind: which set of features.
        n_workers: threads; None is one a core. The features do not depend on it.
        told: is told of the progress.

    Returns:
        The features.

    Raises:
        ConfigError: there is no such set, the rate is too low, or the data was prepared without samples.
        DatasetError: the data is damaged.
    """
    names = feature_names(kind)

    def row_of(row: int) -> list[float]:
        return list(hand_made(data.whole(row), data.sample_rate, kind).values())

    values = np.zeros((len(data), len(names)), np.float32)
    for row, numbers in enumerate(side_by_side(row_of, range(len(data)), n_workers)):
        values[row] = numbers
        if told:
            told("features", row + 1, len(data))
    return ClipFeatures(
        kind=kind,
        names=names,
        values=values,
        sample_rate=data.sample_rate,
        split_sha256=str(data.card["split_sha256"]),
    )


def side_by_side(do: Callable[[In], Out], items: Iterable[In], n_workers: int | None) -> Iterator[Out]:
    """Do something for each item, in threads.

    Args:
        do: what.
        items: to what.
        n_workers: threads; None is one a core.

    Yields:
        What comes out, in order.

    Raises:
        ConfigError: the number of threads makes no sense.
    """
    if n_workers is not None:
        check_count("n_workers", n_workers)
    pool = ThreadPoolExecutor(n_workers or n_cores())
    try:
        yield from pool.map(do, items)
    finally:
        pool.shutdown(cancel_futures=True)
