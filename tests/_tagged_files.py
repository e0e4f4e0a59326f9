"""Files of sound of each kind that tags go into, made on the fly, and what is looked at in them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import av
import mutagen
import mutagen.id3
from _sounds import av_encoded, encoded, noise

KINDS = ("mp3", "flac", "ogg", "opus", "m4a", "wav", "aiff")
SECONDS = 1.0


def file_of(kind: str) -> bytes:
    """A file without tags of anybody's, but for those of its encoder."""
    if kind == "m4a":
        return av_encoded("ipod", "aac", SECONDS)
    if kind == "opus":
        return encoded(noise(SECONDS, 48_000, 2), 48_000, "OGG", "OPUS")
    return encoded(noise(SECONDS, 44_100, 2), 44_100, kind.upper())


def with_users_tags(kind: str, data: bytes) -> bytes:
    """The same file with a title, two genres, a comment and something odd, by mutagen."""
    file = io.BytesIO(data)
    opened = mutagen.File(file)
    if kind in ("mp3", "wav", "aiff"):
        if opened.tags is None:
            opened.add_tags()
        opened.tags.add(mutagen.id3.TIT2(encoding=1, text=["Höhe"]))
        opened.tags.add(mutagen.id3.TCON(encoding=3, text=["Schlager", "Polka"]))
        opened.tags.add(mutagen.id3.COMM(encoding=0, lang="deu", desc="", text=["from a friend"]))
        opened.tags.add(mutagen.id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=bytes(range(256)) * 20))
        opened.tags.add(mutagen.id3.PRIV(owner="somebody", data=b"\xff\xe0\xff\0" * 5))
    elif kind == "m4a":
        opened["\xa9nam"] = ["Höhe"]
        opened["\xa9gen"] = ["Schlager", "Polka"]
        opened["\xa9cmt"] = ["from a friend"]
        opened["----:com.apple.iTunes:ODD"] = [b"\1\2\3"]
    else:
        opened["title"] = ["Höhe"]
        opened["genre"] = ["Schlager", "Polka"]
        opened["comment"] = ["from a friend"]
        opened["odd"] = ["=\t="]
    file.seek(0)
    opened.save(file)
    return file.getvalue()


def packets_of(path: Path) -> str:
    """The sha256 of the encoded sound, as PyAV reads it out of its container."""
    digest = hashlib.sha256()
    with av.open(str(path), metadata_errors="ignore") as container:
        for packet in container.demux(audio=0):
            digest.update(bytes(packet))
    return digest.hexdigest()


def seen_by_pyav(path: Path) -> dict[str, str]:
    """All tags that PyAV shows, by their names in capitals."""
    with av.open(str(path), metadata_errors="ignore") as container:
        tags = {**container.metadata, **container.streams.audio[0].metadata}
    return {name.upper(): value for name, value in tags.items()}


def seen_by_mutagen(path: Path, name: str = "TAGGRAM") -> list[str]:
    """The values of a field of one's own, by mutagen."""
    tags = mutagen.File(path).tags
    if isinstance(tags, mutagen.id3.ID3):
        return [text for frame in tags.getall(f"TXXX:{name}") for text in frame.text]
    if isinstance(tags, mutagen.mp4.MP4Tags):
        return [value.decode() for value in tags.get(f"----:com.apple.iTunes:{name}", [])]
    return tags.get(name, [])
