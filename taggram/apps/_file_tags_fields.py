"""The fields of a file that tags are written to, by their names in each kind of tag; what players read.

Where the names come from: Picard's tag map, Navidrome's `resources/mappings.yaml`, beets' MediaFile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from taggram._checks import check
from taggram.errors import printable, unknown_name

OWN = "TAGGRAM"
RECORD = "TAGGRAM_UNDO"
"""The field that keeps what `--undo` gives back."""
JOINED_BY = "; "
LONGEST_NAME = 64
NOT_FOR_TAGS = frozenset({  # of Vorbis comments, which other tags have too: what is in them is no list of tags
    "album", "albumartist", "artist", "artists", "composer", "copyright", "coverart", "date", "discnumber", "isrc",
    "lyrics", "metadata_block_picture", "organization", "performer", "title", "tracknumber", "version", "year",
})  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A field by its names in each kind of tag.

    Attributes:
        name: as it is asked for.
        id3: of ID3v2.4: a frame of text such as "TCON", "COMM:", or "TXXX:" and a description.
        id3_before: the same in ID3v2.3 and ID3v2.2.
        vorbis: of Vorbis comments, which FLAC, Ogg and Opus have.
        mp4: of MP4: an atom such as "©gen", or "----:com.apple.iTunes:" and a name.
        holds_one: whether players take one text alone from it.
    """

    name: str
    id3: str
    id3_before: str
    vorbis: str
    mp4: str
    holds_one: bool = False


STANDARD = {
    field.name: field
    for field in (
        Field("genre", "TCON", "TCON", "GENRE", "\xa9gen"),
        Field("mood", "TMOO", "TXXX:MOOD", "MOOD", "----:com.apple.iTunes:MOOD"),
        Field("grouping", "TIT1", "TIT1", "GROUPING", "\xa9grp", holds_one=True),
        Field("comment", "COMM:", "COMM:", "COMMENT", "\xa9cmt", holds_one=True),
    )
}
PRESETS = {"picard": "mood", "navidrome": "mood", "rekordbox": "comment", "beets": "grouping"}


def find_field(name: str) -> Field:
    """Find the field that a name stands for.

    Args:
        name: genre, mood, grouping or comment, or any other name for a field of one's own.

    Returns:
        The field.

    Raises:
        ConfigError: it is no name for a field, or that of one that holds something else, such as the title.
    """
    if name.lower() in STANDARD:
        return STANDARD[name.lower()]
    fits = 0 < len(name) <= LONGEST_NAME and all(" " <= character <= "}" for character in name)
    check(fits and "=" not in name and name == name.strip(), "--field", name, "plain letters, digits and signs but =")
    taken = name.lower() in NOT_FOR_TAGS or name.upper() == RECORD
    check(not taken, "--field", name, f"{', '.join(STANDARD)}, or a name of your own that means nothing else")
    return Field(name, f"TXXX:{name}", f"TXXX:{name}", name, f"----:com.apple.iTunes:{name}")


def preset_field(preset: str) -> str:
    """Name the field that a player reads and shows.

    Args:
        preset: name of the player.

    Returns:
        The name of the field.

    Raises:
        UnknownNameError: there is no such preset.
    """
    if preset.lower() not in PRESETS:
        raise unknown_name("preset", printable(preset), PRESETS, f"There are {', '.join(PRESETS)}")
    return PRESETS[preset.lower()]


RECORD_FIELD = Field(RECORD, f"TXXX:{RECORD}", f"TXXX:{RECORD}", RECORD, f"----:com.apple.iTunes:{RECORD}")


def as_values(field: Field, tags: Iterable[str]) -> list[str]:
    """Turn tags into what a field holds: several values, or one text.

    Args:
        field: the field.
        tags: names of tags.

    Returns:
        The values, without characters that would end a value or move the cursor.
    """
    named = (" ".join("".join(c if c.isprintable() else " " for c in tag).split()) for tag in tags)
    values = list(dict.fromkeys(filter(None, named)))
    return [JOINED_BY.join(values)] if field.holds_one and values else values
