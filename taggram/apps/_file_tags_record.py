"""What taggram wrote into a file, kept in the file itself, so that it can be taken out again.

A block of tags is a list of items: frames, comments or atoms, each as its bytes. With the record, the list as it was
before anything was written can be made again, and what is written is always made from that list. So writing twice is
the same as writing once, and undoing gives the bytes back, also where another program changed other items meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from taggram._checks import is_count
from taggram.apps._file_tags_fields import OWN, RECORD_FIELD, Field, find_field
from taggram.errors import ConfigError, FileTagsError

VERSION = 1
MOST_ROOM = 2**24  # bytes; more after a tag is no room but damage

Layout = dict[str, Any]
"""How a block lies in its file, such as the room left after it; plain values, which only the block understands."""


@dataclass(frozen=True)
class Splice:
    """Some bytes of a file in place of others.

    Attributes:
        start: first byte that is replaced.
        end: the byte after the last one.
        new: what takes their place.
    """

    start: int
    end: int
    new: bytes


class TagBlock(Protocol):
    """The tags in a file of some kind, as bytes.

    Attributes:
        exists: whether the file has such a block.
        items: frames, comments or atoms, raw, in order.
        layout: how the block lies in the file.
    """

    exists: bool
    items: list[bytes]
    layout: Layout

    def place(self, field: Field) -> str:
        """Give the name of a field in this kind of tag."""

    def name(self, item: bytes) -> str:
        """Give the name of an item, to be compared with that of a field without regard to case."""

    def values(self, items: Sequence[bytes]) -> list[str]:
        """Read what the items of one field hold."""

    def make(self, field: Field, values: Sequence[str]) -> list[bytes]:
        """Make the items of a field."""

    def translated(self, items: Sequence[bytes], field: Field, layout: Layout) -> list[bytes]:
        """Give items of a field that lay in the file by some layout as they have to be now."""

    def fitted(self, items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> Layout:
        """Lay out items in the room of those that were there first, where that is enough."""

    def splices(self, items: Sequence[bytes] | None, layout: Layout) -> list[Splice]:
        """Say which bytes of the file change, so that it has these items, or no block at all."""

    def finish(self, file: BinaryIO) -> None:
        """Do to the new file what splices cannot say."""


@dataclass(frozen=True)
class Written:
    """What was written to one field.

    Attributes:
        values: what the field was given.
        was: the items that it had before, each with its place in the list as it was.
    """

    values: list[str]
    was: list[tuple[int, bytes]]


@dataclass
class Original:
    """The tags of a file as they were before anything of ours.

    Attributes:
        exists: whether there was a block of tags.
        items: what was in it.
        layout: how it lay in the file.
        written: what was written since, by the name of the field.
        changed: fields that were written and then changed by somebody else, whose they are now.
    """

    exists: bool
    items: list[bytes]
    layout: Layout
    written: dict[str, Written] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


def of_field(block: TagBlock, items: Sequence[bytes], wanted: Field) -> list[tuple[int, bytes]]:
    """Find the items of a field, each with its place."""
    place = block.place(wanted).casefold()
    return [(index, item) for index, item in enumerate(items) if block.name(item).casefold() == place]


def find_original(block: TagBlock) -> Original:
    """Make the tags of a file as they were before anything of ours.

    Args:
        block: its tags.

    Returns:
        Them; what other programs changed since stays.

    Raises:
        FileTagsError: the record of what was written cannot be read.
    """
    found = of_field(block, block.items, RECORD_FIELD)
    if not found:
        return _without_record(block)
    exists, layout, written = _read(block, found)
    ours = {index for index, _ in found}
    was: list[tuple[int, bytes]] = []
    changed = []
    for name, one in list(written.items()):
        there = of_field(block, block.items, find_field(name))
        if block.values([item for _, item in there]) == one.values:
            ours.update(index for index, _ in there)
            was += zip(
                (index for index, _ in one.was),
                block.translated([item for _, item in one.was], find_field(name), layout),
            )
        else:
            changed.append(name)
            del written[name]
    items = [item for index, item in enumerate(block.items) if index not in ours]
    for index, item in sorted(was):
        items.insert(index, item)
    return Original(exists or bool(items), items, layout, written, changed)


def _without_record(block: TagBlock) -> Original:
    """Make the tags of a file that has no record; the field that is taggram's own is no part of them."""
    there = of_field(block, block.items, find_field(OWN))
    places = {index for index, _ in there}
    items = [item for index, item in enumerate(block.items) if index not in places]
    written = {OWN: Written(block.values([item for _, item in there]), [])} if there else {}
    return Original(block.exists, items, block.layout, written)


def with_fields(block: TagBlock, original: Original, wanted: dict[str, list[str]]) -> list[bytes]:
    """Make the items of a block whose fields have values.

    Args:
        block: the tags of a file.
        original: them as they were.
        wanted: values by the name of the field.

    Returns:
        The items: those that were there in their order, then ours, then the record.
    """
    taken: set[int] = set()
    new: list[bytes] = []
    written: dict[str, Any] = {}
    for name, values in wanted.items():
        was = of_field(block, original.items, find_field(name))
        taken.update(index for index, _ in was)
        made = block.make(find_field(name), values)
        new += made
        written[name] = {
            "values": block.values(made),
            "was": [[index, base64.b64encode(item).decode("ascii")] for index, item in was],
        }
    kept = [item for index, item in enumerate(original.items) if index not in taken]
    record = {"version": VERSION, "exists": original.exists, "layout": original.layout, "fields": written}
    text = json.dumps(record, separators=(",", ":"))
    return [*kept, *new, *block.make(RECORD_FIELD, [text])]


def _read(block: TagBlock, found: list[tuple[int, bytes]]) -> tuple[bool, Layout, dict[str, Written]]:
    """Read the record: whether there was a block, its layout, and what was written."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, binascii.Error, ConfigError):
        (text,) = block.values([item for _, item in found])
        record = json.loads(text)
        if record["version"] == VERSION and isinstance(record["layout"], dict):
            written = {find_field(name).name: _written(one) for name, one in record["fields"].items()}
            return bool(record["exists"]), record["layout"], written
    raise FileTagsError(
        f"the field {RECORD_FIELD.name}, which says what was there before, is damaged or of a newer taggram; remove it "
        "with a tag editor to go on"
    )


def _written(one: dict[str, Any]) -> Written:
    was = [(index, base64.b64decode(item, validate=True)) for index, item in one["was"] if is_count(index, 0)]
    return Written([str(value) for value in one["values"]], was)


def room_of(layout: Layout) -> int | None:
    """Read the room of a layout, which may come from a file of anybody's, in bytes; None where there is none."""
    room = layout.get("room")
    if room is None:
        return None
    if not is_count(room, 0) or room > MOST_ROOM:
        raise FileTagsError(f"the field {RECORD_FIELD.name} says that there was room of {room!r}; that is damaged")
    return room


def room_left(items: Sequence[bytes], first: Sequence[bytes], layout: Layout) -> int:
    """Compute the room after items that take the place of others and, where they are larger, of their room."""
    return max(0, (room_of(layout) or 0) + sum(map(len, first)) - sum(map(len, items)))
