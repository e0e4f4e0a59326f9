"""Results change places: those of the last run are in the folder of a catalogue itself, and all others in layers/.

A move may be cut short anywhere. Parts go first and the card last, so what is where says which move it was.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from taggram.catalogue._folder import (
    ASIDE,
    CARD,
    LAYERS,
    LOCK,
    MANIFEST,
    PARTS,
    Change,
    Facts,
    is_whole,
    layers_of,
    parts_after,
    read_card,
    read_changes,
    sync_folder,
)
from taggram.errors import CatalogueError, UnknownLayerError, did_you_mean, printable


def end_change(folder: Path) -> tuple[dict[str, Facts], int]:
    """Bring the last change of parts to its end, or take away what is left of one that never was.

    Args:
        folder: of the results; parts/ is there.

    Returns:
        The parts that the journal names, and how many bytes of it are whole.

    Raises:
        CatalogueError: the journal is damaged.
    """
    changes, end = read_changes(folder / MANIFEST)
    state = parts_after(changes)
    if (folder / ASIDE).is_dir():
        for path in (folder / ASIDE).iterdir():
            if path.name in state and is_whole(path, state[path.name]):
                path.replace(folder / PARTS / path.name)
        sync_folder(folder / PARTS)
        shutil.rmtree(folder / ASIDE)
    if changes:
        _end_dropping(folder / PARTS, changes[-1])
    return state, end


def _end_dropping(parts: Path, last: Change) -> None:
    """Remove what the last change drops. Who puts back what an older one dropped may have need of it."""
    if last.get("damaged"):  # these were moved away before the line
        return
    left = [parts / name for name in last["drop"] if name not in last["put"] and (parts / name).exists()]
    if left and all(is_whole(parts / name, facts) for name, facts in last["put"].items()):
        for path in left:
            path.unlink()


def end_moves(top: Path) -> None:
    """Bring to an end what a writer was killed in, between the folder and a layer.

    Args:
        top: of the catalogue.

    Raises:
        CatalogueError: a card or a journal is damaged, or two results are in one place.
    """
    if (top / CARD).exists():
        shelf = top / LAYERS / read_card(top)["layer"]
        if any((shelf / name).exists() for name in (PARTS, MANIFEST)):
            _move_all(top, shelf)
        else:
            _take_away(shelf)
    elif (top / PARTS).exists():
        for layer in layers_of(top):
            if not (top / LAYERS / layer / PARTS).exists():
                unshelve(top, layer)


def shelve(top: Path, layer: str) -> None:
    """Make what lies in the folder a layer.

    Args:
        top: of the catalogue.
        layer: its name.

    Raises:
        CatalogueError: a journal is damaged, or other results are in that place.
    """
    if (top / PARTS).exists():
        end_change(top)
    (top / LAYERS / layer).mkdir(parents=True, exist_ok=True)
    _move_all(top, top / LAYERS / layer)


def unshelve(top: Path, layer: str) -> None:
    """Take a layer up again.

    Args:
        top: of the catalogue.
        layer: its name.

    Raises:
        CatalogueError: a journal is damaged, or other results are in that place.
    """
    shelf = top / LAYERS / layer
    if (shelf / PARTS).exists():
        end_change(shelf)
    _move_all(shelf, top)
    _take_away(shelf)


def find_layer(top: Path, layer: str | None) -> Path:
    """Say where the results of a layer lie.

    Args:
        top: of the catalogue.
        layer: name of a layer, or a start of it that fits no other; None is the one in that folder itself.

    Returns:
        A folder.

    Raises:
        CatalogueError: there is no catalogue.
        UnknownLayerError: there is no such layer, or several.
    """
    own = read_card(top)["layer"] if layer is None or (top / CARD).exists() else None
    if layer in (None, own):
        return top
    known = names_of_layers(top)
    fitting = [layer] if layer in known else [name for name in known if name.startswith(layer)]
    if len(fitting) != 1:
        raise _unknown_layer(top, layer, fitting, known)
    return top if fitting[0] == own else top / LAYERS / fitting[0]


def names_of_layers(top: Path) -> list[str]:
    """List all results of a catalogue.

    Args:
        top: of the catalogue.

    Returns:
        Their names: the one in that folder itself, then those in layers/, sorted.

    Raises:
        CatalogueError: the card is damaged.
    """
    own = [read_card(top)["layer"]] if (top / CARD).exists() else []
    return [*own, *(name for name in layers_of(top) if name not in own)]


def _unknown_layer(top: Path, layer: str, fitting: list[str], known: list[str]) -> UnknownLayerError:
    place = printable(str(top))
    if fitting:
        return UnknownLayerError(
            f"{place} has {len(fitting)} layers whose names begin with {layer!r}: {', '.join(fitting)}. "
            f"`taggram catalogue stats {place}` shows what they differ in."
        )
    near = did_you_mean(layer, known)
    return UnknownLayerError(f"{place} has no layer {layer!r}.{near} It has {', '.join(known) or 'none'}.")


def refuse_layer(folder: Path) -> None:
    """Refuse to take a layer for a catalogue: the lock of the catalogue would not hold there.

    Args:
        folder: that is to be written to.

    Raises:
        CatalogueError: it is a layer.
    """
    place = folder.resolve()
    top = place.parent.parent
    if place.parent.name == LAYERS and any((top / name).exists() for name in (CARD, LOCK)):
        of, name = printable(str(top)), printable(place.name)
        raise CatalogueError(
            f"{printable(str(folder))} is a layer of the catalogue {of}. `taggram catalogue PATH... --out {of}` with "
            f"its model and settings goes on with it; `taggram catalogue compact {of} --layer {name}` merges its parts."
        )


def _move_all(source: Path, target: Path) -> None:
    for name in (PARTS, MANIFEST, CARD):
        _move(source / name, target / name)


def _move(source: Path, target: Path) -> None:
    """Rename, unless that was done before."""
    if not source.exists():
        return
    if target.is_dir() and any(target.iterdir()):
        raise CatalogueError(
            f"{printable(str(source))} is to become {printable(str(target))}, where other parts are; move one of the "
            "two out of the catalogue."
        )
    source.replace(target)


def _take_away(shelf: Path) -> None:
    """Remove the folder of a layer that is one no more; what somebody else put there stays."""
    with contextlib.suppress(OSError):
        shelf.rmdir()
