"""A catalogue as its readers see it: at each moment it is whole, also while a writer changes it or was killed in that.

A change is made by its line in the journal, when its parts are whole in aside/; they are renamed into parts/ and old
ones removed after it. So a part that is named lies in one of the two, or the journal has another line by now.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from taggram._processes import n_cores
from taggram.catalogue._folder import (
    ASIDE,
    CARD,
    LAYERS,
    MANIFEST,
    PARTS,
    Facts,
    read_card,
    read_manifest,
    sha256_of,
)
from taggram.catalogue._layers import find_layer
from taggram.errors import PartsChangedError, UnreadablePartError, printable

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
        n_rows: how many rows all parts have, as the journal has it.
    """

    folder: Path
    card: dict[str, Any]
    parts: list[Path]
    sums: list[str]
    n_rows: int

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
        layer: one of its layers, such as "musicnn.msd-1a2b3c4d", or a start of its name that fits no other; None is
            that of the last run.

    Returns:
        Where its parts are, and what is in them.

    Raises:
        CatalogueError: there is none, a part is missing, or it is damaged or too new.
        UnknownLayerError: it has no such layer, or several.
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
    is_it = card["layer"] == own["layer"] if layer is None else card["layer"].startswith(layer)
    is_one = is_it and _read_card(place) == card
    if not is_one or not (place / MANIFEST).exists():
        raise _changed(place, f"its {MANIFEST} is missing")
    sums = [state[name]["sha256"] for name in sorted(state)]
    return CatalogueFiles(place, card, parts, sums, sum(facts["rows"] for facts in state.values()))


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
                return self._ask(ask)
        return self._ask(ask)

    def _ask(self, ask: Callable[[CatalogueFiles], Found]) -> Found:
        files = self.files()
        with self._naming_damage(files):
            return ask(files)

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
            found = self._naming_each(files, ask(files))
            return itertools.chain(list(itertools.islice(found, 1)), found)

        yield from self.again(begin)

    def _naming_each(self, files: CatalogueFiles, found: Iterator[Found]) -> Iterator[Found]:
        with self._naming_damage(files):
            yield from found

    @contextlib.contextmanager
    def _naming_damage(self, files: CatalogueFiles) -> Iterator[None]:
        """Say which parts are damaged, where reading fails: what the libraries say of it names none."""
        try:
            yield
        except UnreadablePartError as error:
            damaged = _damaged_of(files)
            if self.files() != files:
                raise _changed(files.folder, "parts were merged while they were read") from error
            if not damaged:
                raise
            raise _damaged(files.folder, damaged) from error


def _damaged_of(files: CatalogueFiles) -> list[Path]:
    """List the parts whose bytes are not those that the journal has."""

    def is_damaged(part: Path, digest: str) -> bool:
        try:
            return sha256_of(part) != digest
        except OSError as error:  # what is gone shows in the journal; what may not be read is told by who tried first
            return error.errno == errno.EIO  # such as a bad sector

    with ThreadPoolExecutor(n_cores()) as pool:
        bad = list(pool.map(is_damaged, files.parts, files.sums))
    return [part for part, is_bad in zip(files.parts, bad) if is_bad]


def _damaged(folder: Path, parts: Sequence[Path]) -> UnreadablePartError:
    names = ", ".join(printable(part.name) for part in parts)
    which = f"the part {names} is" if len(parts) == 1 else f"the parts {names} are"
    return UnreadablePartError(
        f"{printable(str(folder))}: {which} damaged, and cannot be read. `taggram catalogue` on the same files makes "
        "good what is damaged."
    )
