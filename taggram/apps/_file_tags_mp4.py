"""Tags of MP4 (m4a): atoms in `moov/udta/meta/ilst`, as iTunes writes them.

All other atoms keep their bytes, but for the sizes of those around and, where the sound moves, the places of its
chunks.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from taggram._checks import is_count
from taggram.apps._file_tags_fields import Field
from taggram.apps._file_tags_record import Layout, Splice, room_left, room_of
from taggram.errors import FileTagsError

HEAD = 8  # bytes of an atom before what is in it: size, name
LARGE_HEAD = 16  # of one whose size has 64 bits
VERSION = 4  # bytes in an atom before its own atoms, where it has a version
LARGEST = 2**32 - 1
FREEFORM = b"----"
TEXT = 1  # kind of data
WAY = (b"udta", b"meta", b"ilst")  # inside of moov
TABLES = {b"stco": ">I", b"co64": ">Q"}  # places of the chunks of sound in the file
TRACKS = (b"trak", b"mdia", b"minf", b"stbl")
HOLDS = {  # atoms that are taken apart, by the one that they are in
    b"moov": (b"udta", b"trak"), b"udta": (b"meta",), b"meta": (b"ilst",),
    **{above: (below,) for above, below in itertools.pairwise(TRACKS)},
}  # fmt: skip
HANDLER = bytes(8) + b"mdirappl" + bytes(9)  # says that the tags are those of iTunes


@dataclass
class Atom:
    """An atom that holds others, or bytes.

    Attributes:
        name: four bytes.
        content: bytes before what it holds; all of it in one that is not taken apart.
        parts: the atoms in it.
        tail: bytes after these.
    """

    name: bytes
    content: bytes = b""
    parts: list[Atom] = field(default_factory=list)
    tail: bytes = b""

    @classmethod
    def parse(cls, name: bytes, body: bytes) -> Atom:
        """Take an atom apart, as far as there may be tags or places of sound in it.

        Args:
            name: its name.
            body: what is in it.

        Returns:
            The atom.
        """
        n_before = VERSION if name == b"meta" and body[4:8] != b"hdlr" else 0
        atom = cls(name, body[:n_before])
        start = n_before
        while HEAD <= (size := int.from_bytes(body[start : start + 4], "big")) <= len(body) - start:
            below, inner = body[start + 4 : start + HEAD], body[start + HEAD : start + size]
            is_open = below in HOLDS.get(name, ())
            atom.parts.append(cls.parse(below, inner) if is_open else cls(below, inner))
            start += size
        atom.tail = body[start:]
        return atom

    def render(self) -> bytes:
        """Put the atom together."""
        body = b"".join([self.content, *(part.render() for part in self.parts), self.tail])
        if len(body) + HEAD > LARGEST:
            raise FileTagsError("its metadata would be larger than the 4 GB that there are")
        return struct.pack(">I", len(body) + HEAD) + self.name + body

    def find(self, name: bytes) -> Atom | None:
        """Give the first atom of a name in this one."""
        return next((part for part in self.parts if part.name == name), None)


@dataclass
class Mp4Tags:
    """The tags of a file, as `TagBlock` describes them.

    Attributes:
        exists: whether there is a list of tags.
        items: atoms of the list.
        layout: the room after the list, and which of the atoms around it there are.
        start: where moov is in the file.
        end: where it ends.
        moov: the bytes of it.
        is_in_pieces: whether the sound is in fragments.
    """

    exists: bool = False
    items: list[bytes] = field(default_factory=list)
    layout: Layout = field(default_factory=dict)
    start: int = 0
    end: int = 0
    moov: bytes = b""
    is_in_pieces: bool = False

    @classmethod
    def open(cls, path: Path) -> Mp4Tags:
        """Read the tags of a file.

        Args:
            path: an MP4 file.

        Returns:
            Its tags, which may be none.

        Raises:
            FileTagsError: it is damaged.
        """
        tags = cls()
        with path.open("rb") as file:
            for name, start, end, head in _atoms_of_file(file, path.stat().st_size):
                tags.is_in_pieces |= name == b"moof"
                if name == b"moov" and not tags.moov:
                    if head != HEAD:
                        raise FileTagsError("its atom moov has a size of 64 bits, which hardly any program writes")
                    tags.start, tags.end = start, end
                    file.seek(start)
                    tags.moov = file.read(end - start)
        if not tags.moov:
            raise FileTagsError("it has no atom moov, so it is damaged or still being written")
        way = _way(Atom.parse(b"moov", tags.moov[HEAD:]))
        tags.layout = {"room": None, "way": len(way) - 1}
        if len(way) > len(WAY):
            tags.exists = True
            tags.items = [part.render() for part in way[-1].parts]
            free = _free_after(way)
            tags.layout["room"] = len(free.content) if free else None
        return tags

    def place(self, field: Field) -> str:
        """Give the name of a field."""
        return field.mp4

    def name(self, item: bytes) -> str:
        """Give the name of an atom; of one of anybody's with the names in it."""
        if item[4:8] == b"gnre":  # a genre by its number
            return "\xa9gen"
        if item[4:8] != FREEFORM:
            return item[4:8].decode("latin-1")
        atom = Atom.parse(FREEFORM, item[HEAD:])
        parts = [part.content[VERSION:] for name in (b"mean", b"name") if (part := atom.find(name))]
        return ":".join([FREEFORM.decode(), *(part.decode("utf-8", errors="replace") for part in parts)])

    def values(self, items: Sequence[bytes]) -> list[str]:
        """Read the texts of atoms."""
        atoms = [Atom.parse(item[4:HEAD], item[HEAD:]) for item in items]
        data = [part.content[HEAD:] for atom in atoms for part in atom.parts if part.name == b"data"]
        texts = [content.decode("utf-8", errors="replace") for content in data]
        return [text for text in texts if text]

    def make(self, field: Field, values: Sequence[str]) -> list[bytes]:
        """Make one atom that holds all values."""
        name, *rest = self.place(field).split(":", 2)
        parts = [Atom(kind, bytes(VERSION) + text.encode()) for kind, text in zip((b"mean", b"name"), rest)]
        parts += [Atom(b"data", struct.pack(">II", TEXT, 0) + value.encode()) for value in values]
        return [Atom(name.encode("latin-1"), parts=parts).render()]

    def translated(self, items: Sequence[bytes], field: Field, layout: Layout) -> list[bytes]:  # noqa: ARG002
        """Give atoms as they were."""
        return list(items)

    def fitted(self, items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> Layout:
        """Use the free atom after the list, where there is one."""
        return layout if room_of(layout) is None else {**layout, "room": room_left(items, first, layout)}

    def splices(self, items: Sequence[bytes] | None, layout: Layout) -> list[Splice]:
        """Put another moov in the place of this one."""
        moov = Atom.parse(b"moov", self.moov[HEAD:])
        if moov.render() != self.moov:
            raise FileTagsError("the bytes of its atom moov could not be kept as they are")
        way = _whole_way(moov)
        free, room = _free_after(way), room_of(layout)
        if free is not None and room is not None and len(free.content) != room:
            free.content = bytes(room)
        if items is None:
            _shorten(way, layout)
        else:
            way[-1].parts = [Atom(item[4:HEAD], item[HEAD:]) for item in items]
        moved = len(moov.render()) - len(self.moov)
        if moved and self.is_in_pieces:
            raise FileTagsError(
                "its sound is in fragments, as of a stream; copied by `ffmpeg -c copy` it can have tags"
            )
        if moved:
            _shift(moov, TRACKS, self.end, moved)
        return [Splice(self.start, self.end, moov.render())]

    def finish(self, file: BinaryIO) -> None:
        """Leave the new file as it is."""


def _atoms_of_file(file: BinaryIO, file_size: int) -> list[tuple[bytes, int, int, int]]:
    """List the atoms of a file: name, start, end, bytes of the head."""
    found = []
    start = 0
    while start + HEAD <= file_size:
        file.seek(start)
        head = file.read(LARGE_HEAD)
        size, n_head = int.from_bytes(head[:4], "big"), HEAD
        if size == 1:
            size, n_head = int.from_bytes(head[8:], "big"), LARGE_HEAD
        end = start + size if size else file_size
        if size and size < n_head:
            raise FileTagsError(f"its atom {head[4:8].decode('latin-1')!r} has an impossible size")
        if end > file_size and head[4:8] == b"moov":
            raise FileTagsError("its atom moov is cut short")
        found.append((head[4:8], start, end, n_head))
        start = end
    return found


def _way(moov: Atom) -> list[Atom]:
    """Give the atoms from moov to the list of tags, as far as there are any."""
    way = [moov]
    for name in WAY:
        below = way[-1].find(name)
        if below is None:
            break
        way.append(below)
    return way


def _whole_way(moov: Atom) -> list[Atom]:
    """Give the atoms from moov to the list of tags, and make those that lack."""
    way = _way(moov)
    for name in WAY[len(way) - 1 :]:
        is_meta = name == b"meta"
        below = Atom(name, bytes(VERSION) if is_meta else b"", [Atom(b"hdlr", HANDLER)] if is_meta else [])
        way[-1].parts.append(below)
        way.append(below)
    return way


def _shorten(way: list[Atom], layout: Layout) -> None:
    """Take the list of tags out, and what was made around it and holds nothing else."""
    n_kept = layout.get("way")
    least = n_kept if is_count(n_kept, 0) else len(WAY) - 1
    for depth in range(len(WAY), least, -1):
        above, atom = way[depth - 1], way[depth]
        if depth < len(WAY) and any(part.name != b"hdlr" for part in atom.parts):
            return
        above.parts = [part for part in above.parts if part is not atom]


def _free_after(way: list[Atom]) -> Atom | None:
    """Give the free atom right after the list of tags, if there is one with nothing in it."""
    if len(way) <= len(WAY):
        return None
    parts = way[-2].parts
    place = next(place for place, part in enumerate(parts) if part is way[-1]) + 1
    is_free = place < len(parts) and parts[place].name == b"free" and not any(parts[place].content)
    return parts[place] if is_free else None


def _shift(atom: Atom, below: Sequence[bytes], after: int, by: int) -> None:
    """Move the places of chunks that are in the file after some place."""
    for part in atom.parts:
        if below and part.name == below[0]:
            _shift(part, below[1:], after, by)
        elif not below and part.name in TABLES:
            _shift_table(part, after, by)


def _shift_table(table: Atom, after: int, by: int) -> None:
    kind = TABLES[table.name]
    head, data = table.content[:HEAD], table.content[HEAD:]
    places = [place + by if place >= after else place for (place,) in struct.iter_unpack(kind, data)]
    try:
        table.content = head + b"".join(struct.pack(kind, place) for place in places)
    except struct.error as error:
        raise FileTagsError("its sound would be farther back than its table of chunks can say") from error
