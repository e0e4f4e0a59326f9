"""What a file is by its content; and the check of a written one: mutagen reads its tags, and its sound is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._extras import load_extra
from taggram.apps._file_tags_chunks import ChunkTags
from taggram.apps._file_tags_id3 import HEADER, Mp3Tags, tag_size
from taggram.apps._file_tags_mp4 import Mp4Tags
from taggram.apps._file_tags_ogg import OggTags
from taggram.apps._file_tags_vorbis import FlacTags
from taggram.audio import SoundStream, begins_like_sound
from taggram.errors import AudioError, FileTagsError

if TYPE_CHECKING:
    from taggram.apps._file_tags_record import TagBlock

WRITABLE = "mp3, flac, ogg, opus, m4a, wav and aiff"
MP3_SUFFIXES = (".mp3", ".mp2", ".mpga")
OPENERS: dict[str, Callable[[Path], TagBlock]] = {
    "mp3": Mp3Tags.open,
    "flac": FlacTags.open,
    "ogg": OggTags.open,
    "mp4": Mp4Tags.open,
    "wav": ChunkTags.open,
    "aiff": ChunkTags.open,
}


def load_mutagen() -> Any:
    """Load mutagen.

    Returns:
        The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    return load_extra("mutagen", "write", "tags in files")


def kind_of(path: Path) -> str:
    """Tell by its content what a file is.

    Args:
        path: the file.

    Returns:
        One of `OPENERS`.

    Raises:
        FileTagsError: it is none that tags are written into.
    """
    with path.open("rb") as file:
        head = file.read(16)
        after = head
        if head[:3] == b"ID3":
            file.seek(HEADER + tag_size(head))
            after = file.read(4)
    if head[:4] in (b"RF64", b"BW64"):
        raise FileTagsError("it is a wav of more than 4 GB (RF64), which mutagen cannot read, so nothing is written")
    known = {
        "flac": after[:4] == b"fLaC",
        "ogg": head[:4] == b"OggS",
        "mp4": head[4:8] == b"ftyp",
        "wav": head[:4] == b"RIFF" and head[8:12] == b"WAVE",
        "aiff": head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"),
        "mp3": len(after) > 1 and after[0] == 0xFF and after[1] & 0xE0 == 0xE0 and bool(after[1] & 0x06),
    }
    kind = next((kind for kind, is_it in known.items() if is_it), None)
    if kind is None and path.suffix.lower() in MP3_SUFFIXES and (head[:3] == b"ID3" or not begins_like_sound(head)):
        kind = "mp3"  # with something before its first frame; mutagen says whether it is one
    if kind is None:
        raise FileTagsError(f"tags are written into {WRITABLE}; by its content it is none of these")
    return kind


def read_tags(path: Path, kind: str) -> dict[str, list[str]]:
    """Read all tags of a file by mutagen.

    Args:
        path: the file.
        kind: what it is by its content.

    Returns:
        What each item holds, by its name in lower case.

    Raises:
        FileTagsError: mutagen cannot read it.
    """
    mutagen = load_mutagen()
    try:
        with path.open("rb") as file:
            tags = _opened(kind, file).tags
    except mutagen.MutagenError as error:
        raise FileTagsError(f"mutagen cannot read it: {error}") from error
    found: dict[str, list[str]] = {}
    for name, values in _items(tags):
        found.setdefault(name.casefold(), []).extend(values)
    return found


def sound_of(path: Path, max_duration_s: float, tell: Callable[[float], None]) -> tuple[str, float]:
    """Decode a file to its end.

    Args:
        path: the file.
        max_duration_s: longest sound that is taken, in seconds.
        tell: is told the seconds that are done.

    Returns:
        The sha256 of its samples, and its length in seconds.

    Raises:
        FileTagsError: it cannot be decoded.
    """
    digest = hashlib.sha256()
    try:
        with SoundStream(path, max_duration_s=max_duration_s) as sound:
            for block in sound:
                digest.update(block.tobytes())
                tell(sound.duration_s)
            return digest.hexdigest(), sound.duration_s
    except AudioError as error:
        raise FileTagsError(f"its sound cannot be compared before and after: {error.reason}") from error


def _opened(kind: str, file: Any) -> Any:
    """Open a file by the part of mutagen that is for its kind."""
    import mutagen
    import mutagen.aiff
    import mutagen.flac
    import mutagen.mp3
    import mutagen.mp4
    import mutagen.oggflac
    import mutagen.oggopus
    import mutagen.oggspeex
    import mutagen.oggvorbis
    import mutagen.wave

    if kind == "ogg":
        of_ogg = (
            mutagen.oggvorbis.OggVorbis, mutagen.oggopus.OggOpus, mutagen.oggflac.OggFLAC, mutagen.oggspeex.OggSpeex,
        )  # fmt: skip
        opened = mutagen.File(file, options=of_ogg)
        if opened is None:
            raise mutagen.MutagenError("it knows no such stream")
        return opened
    kinds: dict[str, Callable[[Any], Any]] = {
        "mp3": mutagen.mp3.MP3,
        "flac": mutagen.flac.FLAC,
        "mp4": mutagen.mp4.MP4,
        "wav": mutagen.wave.WAVE,
        "aiff": mutagen.aiff.AIFF,
    }
    return kinds[kind](file)


def _items(tags: Any) -> list[tuple[str, list[str]]]:
    """List what tags hold: name, and values as text."""
    from mutagen.id3 import ID3, TextFrame

    if tags is None:
        return []
    if not isinstance(tags, ID3):
        pairs = tags if isinstance(tags, list) else tags.items()  # Vorbis comments are a list, with names given twice
        return [(name, _texts(value)) for name, value in pairs]
    items = [(repr(frame), [""]) for frame in tags.unknown_frames]
    frames: dict[str, Any] = dict(tags)
    for key, frame in frames.items():
        name = f"{frame.FrameID}:{frame.desc}" if frame.FrameID in ("TXXX", "COMM") else key
        is_text = isinstance(frame, TextFrame)
        items.append((name, [str(text) for text in frame.text] if is_text else [repr(frame)]))
    return items


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one.decode("utf-8", errors="replace") if isinstance(one, bytes) else str(one) for one in values]
