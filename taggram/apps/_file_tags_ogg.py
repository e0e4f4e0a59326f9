"""Vorbis comments in Ogg: a packet near the start of a stream, cut into pages.

Pages that hold no comments keep their bytes. Where the comments need more pages than before, those that follow get
other numbers and checksums, and what is in them stays.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from taggram._checks import is_count
from taggram.apps._file_tags_record import Layout, Splice
from taggram.apps._file_tags_vorbis import VorbisComments
from taggram.errors import FileTagsError

OggPage = Any  # of mutagen, which is loaded where it is used

SEGMENTS = 255  # in a page at most; bytes in a segment at most, and one with fewer ends its packet
NO_END = -1  # position of a page in which no packet ends
COMMENTS_OF = {  # how a stream of sound begins: what is before the comments in its second packet
    b"\x01vorbis": b"\x03vorbis",
    b"OpusHead": b"OpusTags",
    b"\x7fFLAC": None,  # the head of a block of metadata: type, and size in three bytes
    b"Speex   ": b"",
}


@dataclass
class OggTags(VorbisComments):
    """The comments of the first stream of sound in a file.

    Attributes:
        head: what is before the comments in their packet.
        is_flac: whether the head says how long the comments are.
        pages: those that the packet is in.
        added: how many more pages there are than before; known when splices were made.
        rest_at: where the pages that follow are in the new file.
    """

    head: bytes = b""
    is_flac: bool = False
    pages: list[OggPage] = field(default_factory=list)
    added: int = 0
    rest_at: int = 0

    @classmethod
    def open(cls, path: Path) -> OggTags:
        """Read the comments of a file.

        Args:
            path: an Ogg file.

        Returns:
            The comments of its first stream of Vorbis, Opus, FLAC or Speex.

        Raises:
            FileTagsError: it has no such stream, or is damaged.
        """
        from mutagen.ogg import error

        tags = cls()
        try:
            with path.open("rb") as file:
                head = tags._find_pages(_pages(file))
        except error as fault:
            raise FileTagsError(f"its pages cannot be read ({fault})") from fault
        packet, _ = _first_packet(tags.pages)
        tags.is_flac = head is None
        tags.head = packet[:4] if head is None else head
        if not packet.startswith(tags.head) or tags.pages[0].continued:
            raise FileTagsError("its second packet does not hold its comments")
        tags.parse(packet[len(tags.head) :])
        tags.layout = {"pages": [[len(_segments([page])), page.position] for page in tags.pages]}
        return tags

    def fitted(self, items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> Layout:  # noqa: ARG002
        """Use as many pages as there are, if they are enough."""
        return {"pages": []}

    def splices(self, items: Sequence[bytes] | None, layout: Layout) -> list[Splice]:
        """Put other pages in the place of these; without comments there is still an empty list of them."""
        comments = self.render(items or [])
        head = self.head[:1] + len(comments).to_bytes(3, "big") if self.is_flac else self.head
        new = b"".join(page.write() for page in self._paged(_cut(head + comments), layout))
        spans = [(page.offset, page.offset + page.size) for page in self.pages]
        self.rest_at = spans[-1][1] + len(new) - sum(end - start for start, end in spans)
        return [Splice(*spans[0], new), *(Splice(start, end, b"") for start, end in spans[1:])]

    def finish(self, file: BinaryIO) -> None:
        """Number the pages that follow anew, where there are more or fewer before them.

        Args:
            file: the new file, to be read and written.

        Raises:
            FileTagsError: there is something else between the pages.
        """
        if not self.added:
            return
        from mutagen.ogg import error

        file.seek(self.rest_at)
        try:
            for page in _pages(file):
                if page.serial != self.pages[0].serial:
                    continue
                page.sequence += self.added
                file.seek(page.offset)
                file.write(page.write())
                if page.last:
                    return
        except error as fault:
            raise FileTagsError(f"pages after its comments cannot be numbered anew ({fault})") from fault

    def _find_pages(self, pages: Iterator[OggPage]) -> bytes | None:
        """Find the pages with the comments; give what is before these in their packet."""
        serial: int | None = None
        head: bytes | None = None
        for page in pages:
            if serial is None:
                begin = bytes(page.packets[0]) if page.first and page.packets else b""
                known = [one for one in COMMENTS_OF if begin.startswith(one)]
                if known and len(page.packets) == 1 and page.complete:
                    serial, head = page.serial, COMMENTS_OF[known[0]]
                elif not page.first:
                    break
            elif page.serial == serial:
                self.pages.append(page)
                if page.complete or len(page.packets) > 1:
                    return head
        raise FileTagsError("it has no stream of Vorbis, Opus, FLAC or Speex at its start")

    def _paged(self, packet: list[bytes], layout: Layout) -> list[OggPage]:
        """Put the segments of a packet into pages: as the layout says, where it fits, and else evenly."""
        from mutagen import ogg

        old = self.pages
        _, rest = _first_packet(old)
        segments = packet + rest
        wanted = _known_pages(layout, len(segments)) or _even_pages(len(packet), len(rest), len(old), old[-1].position)
        new = []
        end = 0
        for number, (size, position) in enumerate(wanted):
            start, end = end, end + size
            page: Any = ogg.OggPage()  # type: ignore[no-untyped-call]
            page.serial, page.sequence, page.position = old[0].serial, old[0].sequence + number, position
            page.continued = start > 0 and len(segments[start - 1]) == SEGMENTS
            page.complete = len(segments[end - 1]) < SEGMENTS
            page.packets = _joined(segments[start:end])
            new.append(page)
        new[-1].last = old[-1].last
        self.added = len(new) - len(old)
        return new


def _pages(file: BinaryIO) -> Iterator[OggPage]:
    """Read pages from where a file is, until its end."""
    from mutagen import ogg

    with contextlib.suppress(EOFError):
        while True:
            page: Any = ogg.OggPage(file)  # type: ignore[no-untyped-call]
            yield page
            file.seek(page.offset + page.size)


def _segments(pages: Sequence[OggPage]) -> list[bytes]:
    """Cut what is in pages into segments, as it is cut there."""
    segments: list[bytes] = []
    for page in pages:
        for packet in page.packets:
            segments += _cut(packet)
        if not page.complete:
            segments.pop()  # the empty one that would end a packet
    return segments


def _first_packet(pages: Sequence[OggPage]) -> tuple[bytes, list[bytes]]:
    """Give the packet that begins with some pages, and the segments after it."""
    segments = _segments(pages)
    end = next(number for number, segment in enumerate(segments) if len(segment) < SEGMENTS) + 1
    return b"".join(segments[:end]), segments[end:]


def _cut(packet: bytes) -> list[bytes]:
    """Cut a packet into segments, of which the last is shorter than the others, or empty."""
    return [packet[start : start + SEGMENTS] for start in range(0, len(packet) + 1, SEGMENTS)]


def _joined(segments: Sequence[bytes]) -> list[bytes]:
    """Join segments into packets, or the parts of these that are in one page."""
    packets = [b""]
    for segment in segments:
        packets[-1] += segment
        if len(segment) < SEGMENTS:
            packets.append(b"")
    return packets if packets[-1] else packets[:-1]


def _known_pages(layout: Layout, n_segments: int) -> list[tuple[int, int]]:
    """Read from a layout how many segments each page has, and its position; nothing where they are not as many."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        pages = [(size, position) for size, position in layout["pages"]]
        fits = all(is_count(size) and size <= SEGMENTS and is_count(position, NO_END) for size, position in pages)
        if fits and sum(size for size, _ in pages) == n_segments:
            return pages
    return []


def _even_pages(n_comments: int, n_rest: int, n_pages: int, last_position: int) -> list[tuple[int, int]]:
    """Spread the segments of a packet evenly over pages; in the last of them is what follows the packet, too.

    Args:
        n_comments: segments of the packet.
        n_rest: segments that follow.
        n_pages: pages that there were, which are taken again if they are enough.
        last_position: position of the last of these.

    Returns:
        How many segments each page has, and its position.
    """
    n_needed = 1 - (SEGMENTS - n_rest - n_comments) // SEGMENTS  # the last, and what its own place is too small for
    n_pages = max(min(n_pages, n_comments), n_needed)
    n_last = max(1, n_comments - SEGMENTS * (n_pages - 1), min(SEGMENTS - n_rest, n_comments // n_pages))
    ends = [(n_comments - n_last) * number // max(1, n_pages - 1) for number in range(n_pages)]
    return [*((end - start, NO_END) for start, end in itertools.pairwise(ends)), (n_last + n_rest, last_position)]
