"""Vorbis comments, in FLAC; Ogg and Opus have them in packets of their own."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from taggram.apps._file_tags_fields import Field
from taggram.apps._file_tags_id3 import HEADER, tag_size
from taggram.apps._file_tags_record import Layout, Splice, room_left, room_of
from taggram.errors import FileTagsError

VENDOR = b"taggram"
PADDING, COMMENTS = 1, 4  # types of blocks of FLAC
BLOCK_HEAD = 4
LARGEST_BLOCK = 2**24 - 1


@dataclass
class VorbisComments:
    """Comments, as `TagBlock` describes a block of tags.

    Attributes:
        exists: whether there are any.
        items: KEY=value, each as it stands.
        layout: how they lie in the file.
        vendor: the program that made the file.
        tail: what follows the comments.
    """

    exists: bool = False
    items: list[bytes] = field(default_factory=list)
    layout: Layout = field(default_factory=dict)
    vendor: bytes = VENDOR
    tail: bytes = b""

    def parse(self, data: bytes) -> None:
        """Take comments apart.

        Args:
            data: vendor, number, comments, and what follows.

        Raises:
            FileTagsError: they are damaged.
        """
        try:
            self.vendor, at = _counted(data, 0)
            (n_items,) = struct.unpack_from("<I", data, at)
            at += 4
            for _ in range(n_items):
                item, at = _counted(data, at)
                self.items.append(item)
        except struct.error as error:
            raise FileTagsError("its Vorbis comments are cut short") from error
        self.tail = data[at:]
        self.exists = True

    def render(self, items: Sequence[bytes]) -> bytes:
        """Put comments together."""
        parts = [struct.pack("<I", len(self.vendor)), self.vendor, struct.pack("<I", len(items))]
        for item in items:
            parts += [struct.pack("<I", len(item)), item]
        return b"".join([*parts, self.tail])

    def place(self, field: Field) -> str:
        """Give the key of a field."""
        return field.vorbis

    def name(self, item: bytes) -> str:
        """Give the key of a comment."""
        return item.partition(b"=")[0].decode("utf-8", errors="replace")

    def values(self, items: Sequence[bytes]) -> list[str]:
        """Read the values of comments."""
        texts = (item.partition(b"=")[2].decode("utf-8", errors="replace") for item in items)
        return [text for text in texts if text]

    def make(self, field: Field, values: Sequence[str]) -> list[bytes]:
        """Make a comment a value."""
        return [f"{self.place(field)}={value}".encode() for value in values]

    def translated(self, items: Sequence[bytes], field: Field, layout: Layout) -> list[bytes]:  # noqa: ARG002
        """Give comments as they were."""
        return list(items)

    def finish(self, file: BinaryIO) -> None:
        """Leave the new file as it is."""


@dataclass
class FlacTags(VorbisComments):
    """The comments of a FLAC file, with the blocks of metadata around them.

    Attributes:
        start: where the blocks start.
        end: where they end, which is where the sound starts.
        blocks: type and content of each.
    """

    start: int = 0
    end: int = 0
    blocks: list[tuple[int, bytes]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> FlacTags:
        """Read the blocks of a file.

        Args:
            path: a FLAC file, which may have an ID3 tag at its start.

        Returns:
            Its comments, which may be none.

        Raises:
            FileTagsError: it is damaged.
        """
        tags = cls()
        with path.open("rb") as file:
            head = file.read(HEADER)
            offset = HEADER + tag_size(head) if head[:3] == b"ID3" else 0
            tags.start = tags.end = offset + len(b"fLaC")
            file.seek(tags.start)
            is_last = False
            while not is_last:
                head = file.read(BLOCK_HEAD)
                size = int.from_bytes(head[1:], "big")
                content = file.read(size)
                if len(head) < BLOCK_HEAD or len(content) < size:
                    raise FileTagsError("its metadata is cut short")
                is_last = bool(head[0] & 0x80)
                tags.blocks.append((head[0] & 0x7F, content))
                tags.end += BLOCK_HEAD + size
        comments = tags._find(COMMENTS)
        if comments is not None:
            tags.parse(tags.blocks[comments][1])
        padding = tags._find(PADDING)
        is_room = padding is not None and not any(tags.blocks[padding][1])
        tags.layout = {"room": len(tags.blocks[padding][1]) if is_room and padding is not None else None}
        return tags

    def fitted(self, items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> Layout:
        """Use the block of padding, where there is one."""
        if room_of(layout) is None:
            return layout
        more = BLOCK_HEAD * (len(items) - len(first))  # the length of each comment stands before it
        return {"room": max(0, room_left(items, first, layout) - more)}

    def splices(self, items: Sequence[bytes] | None, layout: Layout) -> list[Splice]:
        """Put other blocks in the place of these."""
        blocks = list(self.blocks)
        padding, room = self._find(PADDING), room_of(layout)
        if padding is not None and room is not None and len(blocks[padding][1]) != room:
            blocks[padding] = (PADDING, bytes(room))
        comments = self._find(COMMENTS)
        new = [] if items is None else [(COMMENTS, self.render(items))]
        if comments is None:
            blocks[1:1] = new  # after the facts about the sound, which come first
        else:
            blocks[comments : comments + 1] = new
        return [Splice(self.start, self.end, b"".join(_flac_blocks(blocks)))]

    def _find(self, kind: int) -> int | None:
        """Find the first block of comments, or the last one of padding."""
        places = [place for place, (one, _) in enumerate(self.blocks) if one == kind]
        if not places:
            return None
        return places[-1] if kind == PADDING else places[0]


def _flac_blocks(blocks: list[tuple[int, bytes]]) -> list[bytes]:
    parts = []
    for number, (kind, content) in enumerate(blocks):
        if len(content) > LARGEST_BLOCK:
            raise FileTagsError("a block of its metadata would be larger than the 16 MB that there are")
        is_last = number == len(blocks) - 1
        parts += [bytes([kind | 0x80 * is_last]), len(content).to_bytes(3, "big"), content]
    return parts


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    """Read bytes that have their length before them; give them and where they end."""
    (length,) = struct.unpack_from("<I", data, at)
    start = at + 4
    if start + length > len(data):
        raise struct.error
    return data[start : start + length], start + length
