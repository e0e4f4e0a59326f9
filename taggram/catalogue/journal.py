"""The folder of a catalogue: parts that are whole, and the journal of them.

    catalogue.json    the card: model, tags and columns, and the fingerprint of all that the results follow from
    manifest.jsonl    the journal; a line is a change: parts that are put, with what their bytes sum to, or dropped
    parts/            one row a file
    layers/           catalogues of the same form, by other models
    aside/            parts that are being written
    damaged/          parts that were found damaged

A change is written ahead: its parts are whole in aside/ before the line, and are renamed into parts/ after it. So
whatever kills the writer, the next one finds a line and brings the change to its end, or finds none, and it never was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

from taggram._files import only_writer, written_aside
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import CatalogueError, DatasetError, did_you_mean, printable

FORMAT = 1
CARD, MANIFEST, PARTS, LAYERS, ASIDE, DAMAGED = (
    *("catalogue.json", "manifest.jsonl", "parts", "layers", "aside", "damaged"),
)
LOCK = ".lock"

Facts = dict[str, Any]
"""Of a part: rows, bytes, sha256."""


@dataclass(frozen=True)
class CatalogueFiles:
    """A catalogue as its readers see it.

    Attributes:
        folder: of this layer.
        card: what its catalogue.json holds.
        parts: its Parquet files, in order.
    """

    folder: Path
    card: dict[str, Any]
    parts: list[Path]

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
        CatalogueError: there is none, it has no such layer, or it is damaged or too new.
    """
    top = Path(folder)
    own = read_card(top)
    place = top
    if layer is not None and layer != own["layer"]:
        place = top / LAYERS / layer
        known = [own["layer"], *layers_of(top)]
        if layer not in known:
            near = did_you_mean(layer, known)
            raise CatalogueError(f"{printable(str(top))} has no layer {layer!r}.{near} It has {', '.join(known)}.")
    card = read_card(place)
    state, _ = read_manifest(place / MANIFEST)
    parts = [place / PARTS / name for name in sorted(state)]
    return CatalogueFiles(place, card, [part for part in parts if part.is_file()])


def layers_of(folder: Path) -> list[str]:
    """List the layers by other models."""
    return sorted(card.parent.name for card in (folder / LAYERS).glob(f"*/{CARD}"))


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a catalogue.

    Args:
        folder: of the catalogue.

    Returns:
        What catalogue.json holds.

    Raises:
        CatalogueError: it is not there, damaged or too new.
    """
    place = printable(str(folder))
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_bytes())
    except FileNotFoundError as error:
        raise CatalogueError(
            f"there is no catalogue in {place}; `taggram catalogue PATH... --out {place}` makes one."
        ) from error
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{place}/{CARD} cannot be read ({error}); make the catalogue anew.") from error
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise CatalogueError(f"{place}/{CARD} is no card of a catalogue.")
    if card["format"] > FORMAT:
        raise CatalogueError(f"{place} was written by a newer taggram: pip install --upgrade taggram")
    return card


def read_manifest(path: Path) -> tuple[dict[str, Facts], int]:
    """Read the journal.

    Args:
        path: the file.

    Returns:
        The parts with their facts, and how many bytes of the journal are whole: a line that was cut off counts as
        never written.

    Raises:
        CatalogueError: a line in the midst of it is damaged.
    """
    state: dict[str, Facts] = {}
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return state, 0
    end = data.rfind(b"\n") + 1
    for number, line in enumerate(data[:end].splitlines(), 1):
        try:
            change = json.loads(line)
            for name in change["drop"]:
                state.pop(name, None)
            state.update(change["put"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CatalogueError(
                f"{printable(str(path))}: line {number} is damaged. Remove this file, and the next run takes in all "
                "parts that are whole."
            ) from error
    return state, end


class Journal:
    """A catalogue that is written to, by one process at a time. Use it in a `with` statement.

    Args:
        folder: of the catalogue; it is made if it is not there.
        card: of what is to be written; None is the card that is there. Where the catalogue has other results, these
            become a layer of their own, and one with these results is taken up again.

    Raises:
        CatalogueError: another process writes to it, or it is damaged or too new.
    """

    def __init__(self, folder: str | PathLike[str], card: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        self._wanted = card
        self.card: dict[str, Any] = {}
        self.lost: list[str] = []
        self._state: dict[str, Facts] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._wanted is None:
            read_card(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in self.folder.iterdir()}
        if names and not names & {CARD, LAYERS, LOCK}:
            place = printable(str(self.folder))
            raise CatalogueError(f"{place} holds other things; give a catalogue a folder of its own.")
        with self._stack as stack:
            stack.enter_context(_only_writer(self.folder))
            self._take_place()
            self._recover()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def parts(self) -> dict[str, Facts]:
        """The parts by name, in order."""
        return dict(sorted(self._state.items()))

    @property
    def n_rows(self) -> int:
        """How many files the catalogue holds."""
        return sum(facts["rows"] for facts in self._state.values())

    def path_of(self, part: str) -> Path:
        """Say where a part lies."""
        return self.folder / PARTS / part

    def new_name(self) -> str:
        """Name a part that is to come, behind all others."""
        last = max((int(name.split("-")[1]) for name in self._state), default=-1)
        return f"part-{last + 1:06d}-{secrets.token_hex(4)}.parquet"

    def commit(self, put: Mapping[str, Any], drop: Iterable[str] = ()) -> None:
        """Change the catalogue: all of it, or nothing.

        Args:
            put: tables by the name of their part; a part of that name is replaced.
            drop: parts to be taken out.

        Raises:
            OSError: the disk is full, or the folder cannot be written to. The catalogue is as before.
        """
        gone = sorted(set(drop) - set(put))
        facts = {}
        try:
            for name, table in put.items():
                facts[name] = self._write_aside(name, table)
            _sync_folder(self.folder / ASIDE)
            self._append({"put": facts, "drop": gone})
        except BaseException:
            for name in put:
                (self.folder / ASIDE / name).unlink(missing_ok=True)
            raise
        for name in facts:
            (self.folder / ASIDE / name).replace(self.path_of(name))
        for name in gone:
            self.path_of(name).unlink(missing_ok=True)
        _sync_folder(self.folder / PARTS)
        self._state = {name: of for name, of in (self._state | facts).items() if name not in gone}

    def _write_aside(self, name: str, table: Any) -> Facts:
        """Write a part into aside/, and give its facts."""
        pq = load_pyarrow().parquet
        path = self.folder / ASIDE / name
        with path.open("wb") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=["model", "weights", "notes", "error"])
            file.flush()
            os.fsync(file.fileno())
        return {"rows": table.num_rows, "bytes": path.stat().st_size, "sha256": sha256_of(path)}

    def _append(self, change: dict[str, Any]) -> None:
        """Add a line to the journal: from here on the change is made."""
        path = self.folder / MANIFEST
        before = path.stat().st_size
        line = json.dumps(change, sort_keys=True).encode("ascii") + b"\n"
        try:
            with path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.truncate(path, before)  # so that half a line does not spoil the next one
            raise

    # -- taking up what is there ---------------------------------------------------------------------------------------

    def _take_place(self) -> None:
        """Have the wanted results in the folder itself, and all others in layers."""
        self._end_moves()
        there = read_card(self.folder) if (self.folder / CARD).exists() else None
        if self._wanted is not None and (there is None or there["fingerprint"] != self._wanted["fingerprint"]):
            if there is not None:
                self._shelve(there["layer"])
            if (self.folder / LAYERS / self._wanted["layer"] / CARD).exists():
                self._unshelve(self._wanted["layer"])
            else:
                self._write_card(self._wanted)
        self.card = read_card(self.folder)
        for name in (PARTS, ASIDE):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / MANIFEST).touch()

    def _write_card(self, card: Mapping[str, Any]) -> None:
        with written_aside(self.folder / CARD) as aside:
            text = json.dumps({"format": FORMAT, **card}, indent=1, ensure_ascii=False)
            aside.write_text(f"{text}\n", encoding="utf-8")
        _sync_folder(self.folder)

    def _shelve(self, layer: str) -> None:
        """Make what lies in the folder a layer; its card moves last, so that a move that was cut short shows."""
        shelf = self.folder / LAYERS / layer
        shelf.mkdir(parents=True, exist_ok=True)
        for name in (PARTS, MANIFEST, CARD):
            _move(self.folder / name, shelf / name)

    def _unshelve(self, layer: str) -> None:
        """Take a layer up again; its card moves last."""
        shelf = self.folder / LAYERS / layer
        for name in (PARTS, MANIFEST, CARD):
            _move(shelf / name, self.folder / name)
        shelf.rmdir()

    def _end_moves(self) -> None:
        """Bring to an end what a writer was killed in, between the folder and a layer."""
        here = self.folder / CARD
        shelves = [path for path in (self.folder / LAYERS).glob("*") if path.is_dir()]
        if here.exists():
            own = self.folder / LAYERS / read_card(self.folder)["layer"]
            if own in shelves:  # its card was to follow, or the empty shelf was to go
                if any(own.iterdir()):
                    self._shelve(own.name)
                else:
                    own.rmdir()
        elif (self.folder / PARTS).exists():
            for shelf in shelves:
                if (shelf / CARD).exists() and not (shelf / PARTS).exists():
                    self._unshelve(shelf.name)

    def _recover(self) -> None:
        """Bring an unfinished change to its end, and take out parts that are no longer what they were."""
        path = self.folder / MANIFEST
        self._state, n_whole = read_manifest(path)
        if path.stat().st_size > n_whole:
            os.truncate(path, n_whole)
        with ThreadPoolExecutor() as pool:
            whole = dict(zip(self._state, pool.map(self._is_whole, self._state, self._state.values())))
        self.lost = sorted(name for name, good in whole.items() if not good)
        known = {name for name, good in whole.items() if good}
        for part in sorted((self.folder / PARTS).iterdir()):
            if part.name not in known and not self._was_dropped(part, bool(n_whole)):
                self._set_aside(part)
        shutil.rmtree(self.folder / ASIDE)
        (self.folder / ASIDE).mkdir()
        if self.lost:
            self._append({"put": {}, "drop": self.lost})
            for name in self.lost:
                del self._state[name]

    def _is_whole(self, name: str, facts: Facts) -> bool:
        """Whether a part is what the journal says, after it was renamed into its place if it was not yet."""
        part, aside = self.path_of(name), self.folder / ASIDE / name
        if aside.is_file() and _is(aside, facts):
            aside.replace(part)
            return True
        return part.is_file() and _is(part, facts)

    def _was_dropped(self, part: Path, has_journal: bool) -> bool:
        """Deal with a part that the journal does not name; give whether that is all.

        With a journal, a change that dropped it was cut short. Without one, whatever is whole is taken in again.
        """
        pq = load_pyarrow().parquet
        try:
            with part.open("rb") as file:
                found = pq.ParquetFile(file)
                ours = (found.schema_arrow.metadata or {}).get(b"taggram", b"").decode() == self.card["fingerprint"]
                n_rows = found.metadata.num_rows
                if ours and not has_journal:
                    found.read()  # raises where it is damaged
        except (OSError, ValueError, load_pyarrow().ArrowException):
            return False
        if not ours or part.name in self.lost:
            return False
        if has_journal:
            part.unlink()
        else:
            facts = {"rows": n_rows, "bytes": part.stat().st_size, "sha256": sha256_of(part)}
            self._append({"put": {part.name: facts}, "drop": []})
            self._state[part.name] = facts
        return True

    def _set_aside(self, part: Path) -> None:
        """Keep a damaged or strange file where no reader takes it for a part."""
        (self.folder / DAMAGED).mkdir(exist_ok=True)
        part.replace(self.folder / DAMAGED / part.name)


def sha256_of(path: Path) -> str:
    """Hash the bytes of a file; hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is(path: Path, facts: Facts) -> bool:
    return (path.stat().st_size, sha256_of(path)) == (facts["bytes"], facts["sha256"])


def _move(source: Path, target: Path) -> None:
    """Rename, unless that was done before."""
    if source.exists():
        source.replace(target)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where a system can be asked for that."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep other writers out."""
    try:
        with only_writer(folder, LOCK):
            yield
    except DatasetError as error:
        raise CatalogueError(str(error)) from error
