"""ID3 tags in a chunk of their own, in wav (RIFF) and aiff (IFF); all other chunks, such as LIST, stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from taggram.apps._file_tags_id3 import HEADER, Id3Tag, tag_size
from taggram.apps._file_tags_record import Layout, Splice, room_left
from taggram.errors import FileTagsError

HEAD = 12  # bytes: FORM or RIFF, size, kind
CHUNK = 8  # bytes before what is in a chunk: name, size
LARGEST = 2**32 - 1
ROOM_AT_END = 160  # bytes; in the last 131 of a file the letters TAG, with which our fields begin, are taken for ID3v1
IDS = {"little": b"id3 ", "big": b"ID3 "}


@dataclass
class ChunkTags(Id3Tag):
    """The tag in a chunk of a file.

    Attributes:
        order: of the bytes in sizes of chunks.
        id_: name of the chunk.
        start: where the chunk is, or would be.
        end: where it ends.
        total: the size of all that the file's header claims.
    """

    order: Literal["little", "big"] = "little"
    id_: bytes = b""
    start: int = 0
    end: int = 0
    total: int = 0

    @classmethod
    def open(cls, path: Path) -> ChunkTags:
        """Read the tag of a file.

        Args:
            path: a file that begins with RIFF or FORM.

        Returns:
            Its tag, which may be none.

        Raises:
            FileTagsError: sizes in its headers are wrong, or the tag cannot be kept as it is.
        """
        with path.open("rb") as file:
            order: Literal["little", "big"] = "big" if file.read(4) == b"FORM" else "little"
            total = int.from_bytes(file.read(4), order)
            end = CHUNK + total
            chunks = _chunks(file, order, end, path.stat().st_size)
            for id_, start, size in chunks:
                if id_.upper() != b"ID3 ":
                    continue
                file.seek(start + CHUNK)
                data = file.read(size)
                if size < HEADER or data[:3] != b"ID3":
                    raise FileTagsError("its chunk for an ID3 tag holds none")
                tag = Id3Tag.parse(data)
                if size != HEADER + tag_size(data):
                    raise FileTagsError("its ID3 tag does not fill its chunk")
                after = min(end, _even(start + CHUNK + size))
                return cls(**vars(tag), order=order, id_=id_, start=start, end=after, total=total)
        return cls(order=order, id_=IDS[order], start=end, end=end, total=total)

    def fitted(self, items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> Layout:
        """Use the room after the frames, and leave some at the end of the file."""
        return {**layout, "room": max(ROOM_AT_END, room_left(items, first, layout))}

    def splices(self, items: Sequence[bytes] | None, layout: Layout) -> list[Splice]:
        """Put another chunk in the place of this one."""
        chunk = b""
        if items is not None:
            data = self.render(items, layout)
            chunk = self.id_ + len(data).to_bytes(4, self.order) + data + bytes(len(data) % 2)
        chunk = bytes(self.start % 2) + chunk  # what came before lacks the byte that makes its size even
        total = self.total + len(chunk) - (self.end - self.start)
        if total > LARGEST:
            raise FileTagsError("the file would be larger than the 4 GB that its format allows")
        return [Splice(4, 8, total.to_bytes(4, self.order)), Splice(self.start, self.end, chunk)]

    def finish(self, file: BinaryIO) -> None:
        """Leave the new file as it is."""


def _chunks(file: BinaryIO, order: Literal["little", "big"], end: int, file_size: int) -> list[tuple[bytes, int, int]]:
    """List the chunks of a file: name, start, size without its head."""
    if end > file_size:
        raise FileTagsError(f"its header claims {end} bytes, there are {file_size}; such a file is not written to")
    found = []
    start = HEAD
    while start + CHUNK <= end:
        file.seek(start)
        head = file.read(CHUNK)
        size = int.from_bytes(head[4:], order)
        if start + CHUNK + size > end:
            raise FileTagsError(f"its chunk {head[:4].decode('latin-1')!r} claims more bytes than the file has")
        found.append((head[:4], start, size))
        start = _even(start + CHUNK + size)
    return found


def _even(size: int) -> int:
    return size + size % 2
