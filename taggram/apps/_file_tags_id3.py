"""ID3v2 tags as frames of bytes, in mp3, and in a chunk of wav and aiff.

A library that writes ID3 makes the whole tag anew: frames in another order, texts in another encoding, version 2.2 as
2.4. Here each frame stays the bytes that it was, in the version that the tag has, and only ours are added.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from taggram.apps._file_tags_fields import JOINED_BY, RECORD, Field
from taggram.apps._file_tags_record import Layout, Splice, room_left, room_of
from taggram.errors import FileTagsError

HEADER = 10
VERSIONS = (2, 3, 4)  # of ID3v2
NEW_VERSION = 4
UNSYNCHRONISED, EXTENDED, FOOTER = 0x80, 0x40, 0x10
LARGEST = 2**28 - 1
LARGEST_TEXT = 2**24  # bytes of a packed frame that are looked at
IDS_OF_2 = {b"TCO": "TCON", b"TT1": "TIT1", b"TXX": "TXXX", b"COM": "COMM"}
OF_2 = {name: id_ for id_, name in IDS_OF_2.items()}
LATIN_1, UTF_16, UTF_16_BE, UTF_8 = range(4)
ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
LANGUAGE = b"eng"


@dataclass
class Id3Tag:
    """A tag, as `TagBlock` describes it.

    Attributes:
        exists: whether there is one.
        version: 2, 3 or 4, of ID3v2.
        flags: of its header.
        revision: of the version.
        items: its frames.
        layout: the room after them.
        tail: what is neither frame nor room.
        is_plain: whether sizes of frames are plain numbers.
    """

    exists: bool = False
    version: int = NEW_VERSION
    flags: int = 0
    revision: int = 0
    items: list[bytes] = field(default_factory=list)
    layout: Layout = field(default_factory=dict)
    tail: bytes = b""
    is_plain: bool = False

    @classmethod
    def parse(cls, data: bytes) -> Id3Tag:
        """Take a tag apart.

        Args:
            data: the whole tag, with its header.

        Returns:
            The tag.

        Raises:
            FileTagsError: it has parts that hardly any program writes, or is damaged.
        """
        version, flags = data[3], data[5]
        if version not in VERSIONS:
            raise FileTagsError(f"its ID3 tag is of version 2.{version}; 2.2, 2.3 and 2.4 are known")
        if flags & EXTENDED or (version == 4 and flags & FOOTER):
            raise FileTagsError("its ID3 tag has an extended header or a footer, which cannot be kept as they are")
        if len(data) < HEADER + tag_size(data):
            raise FileTagsError("its ID3 tag is cut short")
        body = data[HEADER : HEADER + tag_size(data)]
        if version < 4 and flags & UNSYNCHRONISED:
            plain = synchronised(body)
            if unsynchronised(plain) != body:
                raise FileTagsError("the bytes of its ID3 tag could not be kept as they are (unsynchronisation)")
            body = plain
        ways = [_whole_number] if version < 4 else [_synchsafe_number, _whole_number]
        walks = [_walk(body, version, way) for way in ways]
        best = next((number for number, (_, rest) in enumerate(walks) if not any(rest)), 0)
        items, rest = walks[best]
        room, tail = (0, rest) if any(rest) else (len(rest), b"")
        is_plain = version < 4 or best == 1
        layout = {"room": room, "version": version}
        return cls(True, version, flags, data[4], items, layout, tail, is_plain)

    def place(self, field: Field) -> str:
        """Give the name of a field: a frame, and a description where it has one."""
        return field.id3 if self.version == 4 else field.id3_before

    def name(self, item: bytes) -> str:
        """Give the name of a frame, with its description where it has one."""
        id_ = self._id(item)
        if id_ not in ("TXXX", "COMM"):
            return id_
        description = self._texts(item)[:1]
        return f"{id_}:{description[0]}" if description else id_

    def values(self, items: Sequence[bytes]) -> list[str]:
        """Read the texts of frames."""
        texts: list[str] = []
        for item in items:
            read = self._texts(item)
            texts += read[1:] if self._id(item) in ("TXXX", "COMM") else read
        return [text for text in texts if text]

    def make(self, field: Field, values: Sequence[str]) -> list[bytes]:
        """Make a frame; before version 2.4 it has one text."""
        id_, _, description = self.place(field).partition(":")
        texts = list(values) if self.version == 4 else [JOINED_BY.join(values)]
        described = [description, *texts] if id_ in ("TXXX", "COMM") else texts
        encoding = UTF_8 if self.version == 4 else _encoding(described)
        ends = b"\0\0" if encoding == UTF_16 else b"\0"
        content = ends.join(text.encode(ENCODINGS[encoding]) for text in described)
        return [self._frame(id_, bytes([encoding]) + (LANGUAGE if id_ == "COMM" else b"") + content)]

    def translated(self, items: Sequence[bytes], field: Field, layout: Layout) -> list[bytes]:
        """Give frames as they were, or their texts if another program has changed the version of the tag."""
        version = layout.get("version", self.version)
        if version == self.version or not items:
            return list(items)
        if version not in VERSIONS:
            raise FileTagsError(f"the field {RECORD} says that its ID3 tag was of version 2.{version}; that is damaged")
        return self.make(field, replace(self, version=version).values(items))

    def fitted(self, items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> Layout:
        """Use the room after the frames."""
        return {**layout, "room": room_left(items, first, layout)}

    def render(self, items: Sequence[bytes], layout: Layout) -> bytes:
        """Put a tag together.

        Args:
            items: its frames.
            layout: the room after them.

        Returns:
            The whole tag.

        Raises:
            FileTagsError: it would be too large.
        """
        body = b"".join([*items, self.tail, bytes(room_of(layout) or 0)])
        if self.version < 4 and self.flags & UNSYNCHRONISED:
            body = unsynchronised(body)
        if len(body) > LARGEST:
            raise FileTagsError("its ID3 tag would be larger than the 256 MB that there are")
        return b"ID3" + bytes([self.version, self.revision, self.flags]) + _synchsafe(len(body)) + body

    def _frame(self, id_: str, content: bytes) -> bytes:
        if self.version == 2:
            return OF_2[id_] + len(content).to_bytes(3, "big") + content
        size = len(content).to_bytes(4, "big") if self.is_plain else _synchsafe(len(content))
        return id_.encode("ascii") + size + b"\0\0" + content

    def _id(self, item: bytes) -> str:
        if self.version > 2:
            return item[:4].decode("latin-1")
        return IDS_OF_2.get(item[:3], item[:3].decode("latin-1"))

    def _texts(self, item: bytes) -> list[str]:
        """Read the description and the texts of a frame, or nothing of one that is encrypted or holds no text."""
        content = _content(item, self.version) if self._id(item)[0] in "TC" else b""
        if not content or content[0] >= len(ENCODINGS):
            return []
        encoding, text = content[0], content[1:]
        if self._id(item) == "COMM":
            text = text[len(LANGUAGE) :]
        return [_decoded(part, encoding) for part in _split(text, encoding)]


@dataclass
class Mp3Tags(Id3Tag):
    """The tag at the start of an mp3 file.

    Attributes:
        size: bytes of it in the file.
    """

    size: int = 0

    @classmethod
    def open(cls, path: Path) -> Mp3Tags:
        """Read the tag of a file.

        Args:
            path: the file.

        Returns:
            Its tag, which may be none.

        Raises:
            FileTagsError: it is damaged, or has parts that cannot be kept.
        """
        with path.open("rb") as file:
            head = file.read(HEADER)
            if head[:3] != b"ID3":
                return cls()
            data = head + file.read(tag_size(head))
        return cls(**vars(Id3Tag.parse(data)), size=len(data))

    def splices(self, items: Sequence[bytes] | None, layout: Layout) -> list[Splice]:
        """Put another tag in the place of this one."""
        return [Splice(0, self.size, b"" if items is None else self.render(items, layout))]

    def finish(self, file: BinaryIO) -> None:
        """Leave the new file as it is."""


def tag_size(head: bytes) -> int:
    """Read the size of a tag, without its header, from its header."""
    return _synchsafe_number(head[6:10])


def synchronised(data: bytes) -> bytes:
    """Undo unsynchronisation: take out the zeros after 0xFF."""
    return data.replace(b"\xff\0", b"\xff")


def unsynchronised(data: bytes) -> bytes:
    """Put a zero after each 0xFF that could be taken for the start of sound."""
    return re.sub(rb"\xff(?=[\xe0-\xff\x00]|\Z)", b"\xff\0", data, flags=re.DOTALL)


def _walk(body: bytes, version: int, number: Callable[[bytes], int]) -> tuple[list[bytes], bytes]:
    """Cut the body of a tag into frames; what is left is room, or no frame."""
    id_size, header = (3, 6) if version == 2 else (4, 10)
    items = []
    start = 0
    while re.fullmatch(rb"[A-Z][A-Z0-9]{%d}" % (id_size - 1), body[start : start + id_size]):
        end = start + header + number(body[start + id_size : start + 2 * id_size])
        if end > len(body):
            break
        items.append(body[start:end])
        start = end
    return items, body[start:]


def _content(item: bytes, version: int) -> bytes:
    """Give what is in a frame, without what its flags put before it."""
    if version == 2:
        return item[6:]
    flags, content = item[9], item[HEADER:]
    grouped, packed, encrypted, sized, doubled = (
        (flags & 0x20, flags & 0x80, flags & 0x40, flags & 0x80, 0)
        if version == 3
        else (flags & 0x40, flags & 0x08, flags & 0x04, flags & 0x01, flags & 0x02)
    )
    if encrypted:
        return b""
    if version == 3:
        content = content[(4 if sized else 0) + (1 if grouped else 0) :]
    else:
        content = content[(1 if grouped else 0) + (4 if sized else 0) :]
    if doubled:
        content = synchronised(content)
    try:
        return zlib.decompressobj().decompress(content, LARGEST_TEXT) if packed else content
    except zlib.error:
        return b""


def _split(text: bytes, encoding: int) -> list[bytes]:
    """Cut text at its zeros, of which an encoding with two bytes has two."""
    if encoding not in (UTF_16, UTF_16_BE):
        return text.split(b"\0")
    units = [text[at : at + 2] for at in range(0, len(text) - 1, 2)]
    parts: list[list[bytes]] = [[]]
    for unit in units:
        if unit == b"\0\0":
            parts.append([])
        else:
            parts[-1].append(unit)
    return [b"".join(part) for part in parts]


def _decoded(text: bytes, encoding: int) -> str:
    return text.decode(ENCODINGS[encoding], errors="replace")


def _encoding(texts: Sequence[str]) -> int:
    try:
        "".join(texts).encode("latin-1")
    except UnicodeEncodeError:
        return UTF_16
    return LATIN_1


def _synchsafe(number: int) -> bytes:
    """Write a number of 28 bits in four bytes of 7 bits."""
    if number > LARGEST:
        raise FileTagsError("a frame of its ID3 tag would be larger than the 256 MB that there are")
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _synchsafe_number(data: bytes) -> int:
    return sum((byte & 0x7F) << shift for byte, shift in zip(data, (21, 14, 7, 0)))


def _whole_number(data: bytes) -> int:
    return int.from_bytes(data, "big")
