"""What lies in the folder of a catalogue, as it is on the disk: the card, the lines of the journal, parts as bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taggram.errors import CatalogueError, printable

FORMAT = 1
CARD, MANIFEST, PARTS, LAYERS, ASIDE, DAMAGED = (
    *("catalogue.json", "manifest.jsonl", "parts", "layers", "aside", "damaged"),
)
LOCK = ".lock"
CHUNK_BYTES = 2**22  # of a file that is read to be hashed
PART_NAME = re.compile(r"part-(\d+)-\w+\.parquet")

Facts = dict[str, Any]
"""Of a part: rows, bytes, sha256; and errors, the rows without scores, which journals of old do not have."""
NEEDED_FACTS = {"rows", "bytes", "sha256"}
Change = dict[str, Any]
"""A line of the journal: put, facts by part; drop, names; and damaged, if what it drops was found damaged."""

CARD_FIELDS = {
    "layer": str, "model": str, "weights_sha256": str, "fingerprint": str, "tags": list, "columns": dict,
    "embedding": dict, "settings": dict,
}  # fmt: skip
MADE_ANEW = "Put it back from a copy; or remove it, and `taggram catalogue` with the same model and settings writes it."


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a catalogue.

    Args:
        folder: of the catalogue.

    Returns:
        What catalogue.json holds.

    Raises:
        CatalogueError: it is not there, cannot be read, or is damaged or too new.
    """
    place = printable(str(folder))
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_bytes())
    except FileNotFoundError as error:
        if (folder / PARTS).is_dir():
            raise CatalogueError(
                f"{place} has parts and no {CARD}. Put it back from a copy; or `taggram catalogue` with the model and "
                "settings of these parts writes it."
            ) from error
        if layers := layers_of(folder):
            raise CatalogueError(f"{place} has layers alone; name one of them: {', '.join(layers)}") from error
        raise CatalogueError(
            f"there is no catalogue in {place}; `taggram catalogue PATH... --out {place}` makes one."
        ) from error
    except OSError as error:
        raise CatalogueError(f"{place}/{CARD} cannot be read: {error}") from error
    except ValueError as error:
        raise CatalogueError(f"{place}/{CARD} is damaged ({error}). {MADE_ANEW}") from error
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise CatalogueError(f"{place}/{CARD} is no card of a catalogue. {MADE_ANEW}")
    if card["format"] > FORMAT:
        raise CatalogueError(f"{place} was written by a newer taggram: pip install --upgrade taggram")
    if wrong := _wrong_fields(card):
        raise CatalogueError(f"{place}/{CARD} has no proper {', '.join(wrong)}. {MADE_ANEW}")
    return card


def _wrong_fields(card: dict[str, Any]) -> list[str]:
    """List the fields that are missing, or are not what their readers rely on."""
    wrong = [name for name, kind in CARD_FIELDS.items() if not isinstance(card.get(name), kind)]
    if wrong:
        return wrong
    fine = {
        "layer": card["layer"] == Path(card["layer"]).name,  # it becomes a folder
        "columns": card["columns"].keys() == set(card["tags"]),
        "embedding": isinstance(card["embedding"].get("size"), int),
        "settings": isinstance(card["settings"].get("over_time"), bool),
    }
    return [name for name, is_fine in fine.items() if not is_fine]


def layers_of(folder: Path) -> list[str]:
    """List the layers by other models."""
    return sorted(card.parent.name for card in (folder / LAYERS).glob(f"*/{CARD}"))


def read_changes(path: Path) -> tuple[list[Change], int]:
    """Read the lines of the journal.

    Args:
        path: the file.

    Returns:
        The changes, and how many bytes of the journal are whole: a line that was cut off counts as never written.

    Raises:
        CatalogueError: a line in the midst of it is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    end = data.rfind(b"\n") + 1
    changes = []
    for number, line in enumerate(data[:end].splitlines(), 1):
        try:
            change = json.loads(line)
            names, facts = [*change["put"], *change["drop"]], change["put"].values()
            whole = all(map(PART_NAME.fullmatch, names)) and all(of.keys() >= NEEDED_FACTS for of in facts)
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise CatalogueError(
                f"{printable(str(path))}: line {number} is damaged. Remove this file, and the next run takes in all "
                "parts that are whole."
            )
        changes.append(change)
    return changes, end


def parts_after(changes: list[Change]) -> dict[str, Facts]:
    """Give the parts that are there after all changes, with their facts."""
    state: dict[str, Facts] = {}
    for change in changes:
        for name in change["drop"]:
            state.pop(name, None)
        state.update(change["put"])
    return state


def read_manifest(path: Path) -> tuple[dict[str, Facts], int]:
    """Read the journal.

    Args:
        path: the file.

    Returns:
        The parts with their facts, and how many bytes of the journal are whole.

    Raises:
        CatalogueError: a line in the midst of it is damaged.
    """
    changes, end = read_changes(path)
    return parts_after(changes), end


def sha256_of(path: Path, told: Callable[[], None] = lambda: None) -> str:
    """Hash the bytes of a file; hexadecimal digits. `told` is called now and then."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
            told()
    return digest.hexdigest()


def is_whole(path: Path, facts: Facts) -> bool:
    """Whether a file is there, can be read, and is what the journal says."""
    try:
        return path.is_file() and path.stat().st_size == facts["bytes"] and sha256_of(path) == facts["sha256"]
    except OSError as error:
        if error.errno == errno.EIO:  # such as a bad sector
            return False
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where a system can be asked for that."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
