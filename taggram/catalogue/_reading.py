"""A catalogue as its readers see it: at each moment it is whole, also while a writer changes it or was killed in that.

A change is made by its line in the journal, when its parts are whole in aside/; they are renamed into parts/ and old
ones removed after it. So a part that is named lies in one of the two, or the journal has another line by now.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from taggram.catalogue._folder import ASIDE, CARD, LAYERS, MANIFEST, PARTS, Facts, read_card, read_manifest
from taggram.catalogue._layers import find_layer
from taggram.errors import PartsChangedError, printable

Found = TypeVar("Found")
MOST_ATTEMPTS = 5  # to read parts that are merged meanwhile
MOST_LOOKS = 5  # at a catalogue that changes while it is looked at
LOOK_AGAIN_S = 0.02  # a writer needs some milliseconds from the line in the journal to the end of the change


@dataclass(frozen=True)
class CatalogueFiles:
    """A catalogue as its readers see it.

    Attributes:
        folder: of this layer.
        card: what its catalogue.json holds.
        parts: its Parquet files, in order.
        sums: sha256 of each part, as the journal has it.
    """

    folder: Path
    card: dict[str, Any]
    parts: list[Path]
    sums: list[str]

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags, in the order of the column scores."""
        return tuple(self.card["tags"])

    @property
    def columns(self) -> dict[str, str]:
        """The column of each tag."""
        columns: dict[str, str] = self.card["columns"]
        return columns


def open_catalogue(folder: str | PathLike[str], layer: str | None = None) -> CatalogueFiles:
    """Open a catalogue to read it.

    Args:
        folder: of the catalogue.
        layer: one of its layers, such as "musicnn.msd-1a2b3c4d"; None is that of the last run.

    Returns:
        Where its parts are, and what is in them.

    Raises:
        CatalogueError: there is none, it has no such layer, a part is missing, or it is damaged or too new.
    """
    for _ in range(MOST_LOOKS - 1):
        with contextlib.suppress(PartsChangedError):
            return _look(Path(folder), layer)
        time.sleep(LOOK_AGAIN_S)
    return _look(Path(folder), layer)


def _look(top: Path, layer: str | None) -> CatalogueFiles:
    """Look at a catalogue, which a writer may change meanwhile."""
    own = _read_card(top)
    place = find_layer(top, layer)
    card = _read_card(place)
    state, _ = read_manifest(place / MANIFEST)
    parts = [_find_part(place, name, state[name]) for name in sorted(state)]
    is_one = card["layer"] == (layer or own["layer"]) and _read_card(place) == card
    if not is_one or not (place / MANIFEST).exists():
        raise _changed(place, f"its {MANIFEST} is missing")
    return CatalogueFiles(place, card, parts, [state[name]["sha256"] for name in sorted(state)])


def _find_part(folder: Path, name: str, facts: Facts) -> Path:
    """Find a part that the journal names: in its place, or still in aside/, where it is whole before it is named."""
    for path in (folder / PARTS / name, folder / ASIDE / name):
        with contextlib.suppress(OSError):
            if path.stat().st_size == facts["bytes"]:
                return path
    raise _changed(folder, f"the part {printable(name)} is missing or damaged, and cannot be read")


def _read_card(folder: Path) -> dict[str, Any]:
    """Read a card, which is not there for a moment while a layer takes its place."""
    if not (folder / CARD).exists() and (folder / LAYERS).exists():
        raise _changed(folder, f"its {CARD} is missing")
    return read_card(folder)


def _changed(folder: Path, how: str) -> PartsChangedError:
    return PartsChangedError(
        f"{printable(str(folder))}: {how}. If it was written to just now, ask again; if not, `taggram catalogue` on "
        "the same files makes good what is damaged."
    )


class Reader:
    """Asks the parts that are there now, and asks again where they were merged meanwhile.

    Args:
        folder: of the catalogue.
        layer: whose parts are asked.
    """

    def __init__(self, folder: Path, layer: str) -> None:
        self._folder = folder
        self._layer = layer

    def files(self) -> CatalogueFiles:
        """Look at the catalogue as it is now.

        Returns:
            Where its parts are, and what is in them.

        Raises:
            CatalogueError: it is damaged.
        """
        return open_catalogue(self._folder, self._layer)

    def again(self, ask: Callable[[CatalogueFiles], Found]) -> Found:
        """Ask for something whole.

        Args:
            ask: gets it out of the parts.

        Returns:
            What it gets.

        Raises:
            CatalogueError: a part cannot be read.
        """
        for _ in range(MOST_ATTEMPTS - 1):
            with contextlib.suppress(PartsChangedError):
                return ask(self.files())
        return ask(self.files())

    def each(self, ask: Callable[[CatalogueFiles], Iterator[Found]]) -> Iterator[Found]:
        """Ask for things one by one.

        Args:
            ask: gets them out of the parts.

        Yields:
            A thing.

        Raises:
            CatalogueError: a part cannot be read.
            PartsChangedError: parts were merged after the first of them was given.
        """

        def begin(files: CatalogueFiles) -> Iterator[Found]:
            found = ask(files)
            return itertools.chain(list(itertools.islice(found, 1)), found)

        yield from self.again(begin)
