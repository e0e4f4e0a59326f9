"""The folder of a catalogue: parts that are whole, and the journal of them.

    catalogue.json    the card: model, tags and columns, and the fingerprint of all that the results follow from
    manifest.jsonl    the journal; a line is a change: parts that are put, with what their bytes sum to, or dropped
    parts/            one row a file
    layers/           catalogues of the same form, by other models
    aside/            parts that are being written
    damaged/          files that were found among the parts and cannot be used: damaged, or with rows that are known

A change is written ahead: its parts are whole in aside/ before the line, and are renamed into parts/ after it. So
whatever kills the writer, the next one finds a line and brings the change to its end, or finds none, and it never was.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, Self

from taggram._files import only_writer, written_aside
from taggram._processes import n_cores
from taggram.catalogue._folder import (
    ASIDE,
    CARD,
    DAMAGED,
    FORMAT,
    LAYERS,
    LOCK,
    MANIFEST,
    PART_NAME,
    PARTS,
    Facts,
    is_whole,
    read_card,
    sha256_of,
    sync_folder,
)
from taggram.catalogue._layers import end_change, end_moves, find_layer, refuse_layer, shelve, unshelve
from taggram.catalogue._strays import fingerprint_of, first_rows, hash_paths, read_stray
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import CatalogueError, DatasetError, printable

NAMED = 3  # parts in a message


class JournalWatcher:
    """Is told what a writer finds when it opens a catalogue; does nothing by itself."""

    def checked(self, n_bytes: int, of: int) -> None:
        """So many bytes of all parts were compared with the journal."""

    def noted(self, note: str) -> None:
        """Something was found that is to be known, and was dealt with."""


class Journal:
    """A catalogue that is written to, by one process at a time. Use it in a `with` statement.

    Args:
        folder: of the catalogue; it is made if it is not there.
        card: of what is to be written; None is the card that is there. Where the catalogue has other results, these
            become a layer of their own, and one with these results is taken up again.
        layer: the layer that is written to where it lies, without a card; None is that of the last run.
        drop_damaged: whether parts that are damaged or gone are taken out; False refuses to open, for who cannot tag
            their files again.
        watcher: is told what is found.

    Raises:
        CatalogueError: another process writes to it, it is damaged or too new, or there is no such layer.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        card: Mapping[str, Any] | None = None,
        *,
        layer: str | None = None,
        drop_damaged: bool = True,
        watcher: JournalWatcher | None = None,
    ) -> None:
        self.folder = self._top = Path(folder)
        self._drop_damaged = drop_damaged
        self._wanted = card
        self._layer = layer
        self._watcher = watcher or JournalWatcher()
        self.card: dict[str, Any] = {}
        self.lost: list[str] = []
        self._state: dict[str, Facts] = {}
        self._end = 0  # of the last line of the journal that counts, in bytes
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        refuse_layer(self._top)
        if self._wanted is None and not (self._top / LAYERS).exists():
            read_card(self._top)
        self._top.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in self._top.iterdir()}
        if names and not names & {CARD, LAYERS, LOCK, MANIFEST}:
            place = printable(str(self._top))
            raise CatalogueError(f"{place} holds other things; give a catalogue a folder of its own.")
        with self._stack as stack:
            stack.enter_context(_only_writer(self._top))
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

    @property
    def n_errors(self) -> int:
        """How many of them could not be tagged."""
        return sum(facts["errors"] for facts in self._state.values())

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
        facts = {}
        try:
            for name, table in put.items():
                facts[name] = self._write_aside(name, table)
            sync_folder(self.folder / ASIDE)
        except BaseException:  # up to here nothing has changed; from here on what is in aside/ may be all there is
            for name in put:
                (self.folder / ASIDE / name).unlink(missing_ok=True)
            raise
        self._change(facts, sorted(set(drop) - set(put)))

    def _write_aside(self, name: str, table: Any) -> Facts:
        """Write a part into aside/, and give its facts."""
        pq = load_pyarrow().parquet
        path = self.folder / ASIDE / name
        dictionaries = ["model", "weights", "notes", "error"]
        with path.open("wb") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=dictionaries, write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        return _facts_of(path)

    def _change(self, put: Mapping[str, Facts], drop: list[str], **more: bool) -> None:
        """Make a change whose parts are whole, in aside/ or in their place."""
        self._append({"put": put, "drop": drop, **more})
        gone = set(drop)
        self._state = {name: of for name, of in (self._state | dict(put)).items() if name not in gone}
        for name in put:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / ASIDE / name).replace(self.path_of(name))
        for name in drop:
            self.path_of(name).unlink(missing_ok=True)
        sync_folder(self.folder / PARTS)

    def _append(self, change: dict[str, Any]) -> None:
        """Add a line to the journal: from here on the change is made.

        It is written behind the last line that counts, over what an interrupted writer may have left there.
        """
        path = self.folder / MANIFEST
        line = json.dumps(change, sort_keys=True).encode("ascii") + b"\n"
        try:
            with path.open("r+b") as file:
                file.truncate(self._end)
                file.seek(self._end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, self._end)
            raise
        self._end += len(line)

    # -- taking up what is there ---------------------------------------------------------------------------------------

    def _take_place(self) -> None:
        """Have the wanted results in the folder itself, and all others in layers."""
        end_moves(self._top)
        if self._wanted is None:
            self.folder = find_layer(self._top, self._layer)
        else:
            self._give_place_to(self._wanted)
        self.card = read_card(self.folder)
        (self.folder / PARTS).mkdir(exist_ok=True)
        (self.folder / MANIFEST).touch()
        sync_folder(self.folder)

    def _give_place_to(self, card: Mapping[str, Any]) -> None:
        if (self._top / CARD).exists():
            there = read_card(self._top)
            if there["fingerprint"] == card["fingerprint"]:
                return
            shelve(self._top, there["layer"])
            self._watcher.noted(
                f"what is there is by {there['layer']}, and is kept as a layer; it is {card['layer']} that is made and "
                "asked from now on"
            )
        elif (self._top / PARTS).exists():
            self._check_whose_parts(sorted((self._top / PARTS).iterdir()), card)
        if (self._top / LAYERS / card["layer"] / CARD).exists():
            unshelve(self._top, card["layer"])
        else:
            self._write_card(card)

    def _check_whose_parts(self, parts: Iterable[Path], card: Mapping[str, Any]) -> None:
        """Refuse to mix results: the first part that can be read has to be of those on the card."""
        found = next((mark for part in parts if (mark := fingerprint_of(part)) is not None), None)
        if found not in (None, card["fingerprint"]):
            raise CatalogueError(
                f"the parts in {printable(str(self.folder))} are of another model or other settings than "
                f"{card['model']}, and the {CARD} of these is not there. Put it back from a copy; or remove what is "
                "there of that name, and give `taggram catalogue` what the parts were made with, which writes it; or "
                "take another folder."
            )

    def _write_card(self, card: Mapping[str, Any]) -> None:
        with written_aside(self._top / CARD) as aside:
            text = json.dumps({"format": FORMAT, **card}, indent=1, ensure_ascii=False)
            aside.write_text(f"{text}\n", encoding="utf-8")
        sync_folder(self._top)

    def _recover(self) -> None:
        """Bring an unfinished change to its end, and have the journal name what is whole, and nothing else."""
        self._state, self._end = end_change(self.folder)
        (self.folder / ASIDE).mkdir()
        self.lost = self._find_damaged()
        if self.lost and not self._drop_damaged:
            raise CatalogueError(
                f"{printable(str(self.folder))}: {', '.join(self.lost[:NAMED])}{' ...' * (len(self.lost) > NAMED)} "
                "was damaged or is gone, and nothing was changed; `taggram catalogue` on its files tags them again, "
                "or put back a copy."
            )
        self._check_whose_parts((self.path_of(name) for name in self._state if name not in self.lost), self.card)
        for name in self.lost:
            if self.path_of(name).exists():
                self._set_aside(self.path_of(name))
        if self.lost:
            self._change({}, self.lost, damaged=True)
        without = [name for name, facts in self._state.items() if "errors" not in facts]
        if without:
            counted = {name: _count_errors(self.path_of(name)) for name in without}
            self._change({name: {**self._state[name], "errors": n} for name, n in counted.items()}, [])
        self._take_in_strays()

    def _find_damaged(self) -> list[str]:
        """Compare all parts with the journal, byte for byte."""
        total, n_bytes, damaged = sum(facts["bytes"] for facts in self._state.values()), 0, []
        pool = ThreadPoolExecutor(n_cores())
        try:
            places = map(self.path_of, self._state)
            for (name, facts), good in zip(self._state.items(), pool.map(is_whole, places, self._state.values())):
                if not good:
                    damaged.append(name)
                n_bytes += facts["bytes"]
                self._watcher.checked(n_bytes, total)
        finally:
            pool.shutdown(cancel_futures=True)
        return sorted(damaged)

    def _take_in_strays(self) -> None:
        """Take in parts that the journal does not name, as far as their files have no row yet; newer ones first."""
        found = (path for path in (self.folder / PARTS).iterdir() if path.name not in self._state)
        strays = sorted((path for path in found if not path.name.startswith(".")), reverse=True)
        if not strays:
            return
        paths = {part: read for part in strays if (read := read_stray(part, self.card)) is not None}
        known = [hash_paths(self.path_of(name)) for name in self._state]
        wanted = dict(zip(paths, first_rows([*known, *paths.values()])[len(known) :], strict=True))
        put = {}
        for part, rows in wanted.items():
            if rows.all():
                put.update(self._facts_of_whole(part))
            elif rows.any():
                name = self.new_name()
                put[name] = self._write_aside(name, load_pyarrow().parquet.read_table(part).filter(rows))
        sync_folder(self.folder / ASIDE)
        if put:
            self._change(put, [])
            n_rows = sum(facts["rows"] for facts in put.values())
            self._watcher.noted(f"{n_rows:,} rows were taken in from parts that {MANIFEST} did not name")
        for part in strays:
            if part not in wanted or not wanted[part].all():
                self._set_aside(part)
                why = "has rows that are here already" if part in wanted else "is damaged, or no part of this catalogue"
                self._watcher.noted(f"{printable(part.name)} {why}; it is in {DAMAGED}/ now")

    def _facts_of_whole(self, part: Path) -> dict[str, Facts]:
        """Give the facts of a part that is taken in as it is, under a name that parts have."""
        if not PART_NAME.fullmatch(part.name):
            part = part.replace(self.path_of(self.new_name()))
        return {part.name: _facts_of(part)}

    def _set_aside(self, part: Path) -> None:
        """Keep a file where no reader takes it for a part."""
        target = self.folder / DAMAGED / part.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            target = target.with_name(f"{secrets.token_hex(4)}-{part.name}")
        part.replace(target)


def _facts_of(part: Path) -> Facts:
    """Say of a part what the journal keeps."""
    n_rows = load_pyarrow().parquet.read_metadata(part).num_rows
    return {
        "rows": n_rows, "errors": _count_errors(part), "bytes": part.stat().st_size, "sha256": sha256_of(part),
    }  # fmt: skip


def _count_errors(part: Path) -> int:
    errors = load_pyarrow().parquet.read_table(part, columns=["error"])["error"]
    return len(errors) - int(errors.null_count)


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep other writers out."""
    try:
        with only_writer(folder, LOCK):
            yield
    except DatasetError as error:
        raise CatalogueError(str(error)) from error
