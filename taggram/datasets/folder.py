"""Sound of one's own in folders: one a tag, with all the sound in it and below."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from taggram._checks import check_count
from taggram.datasets._base import DatasetCard, Part, Split, TagDataset, Track, name_some
from taggram.errors import DatasetError, printable

TRAIN, VALID = 0.8, 0.1  # shares of the parts; test has the rest
HASH_BYTES = 8  # of the digest, read as a number


class Folder(TagDataset):
    """Clips in folders whose names are their tags.

    What is sound, the content says. Links to folders are followed once; what starts with a dot is passed over.

    The part of a clip depends on the seed and its own name alone: clips that are added or taken away leave all others
    where they are. So the shares of 80, 10 and 10 % hold for many clips, and of a few a part may have none.

    Args:
        root: the folder of the folders.
        split: "path" goes by the path of each clip. "group" goes by the folder directly under that of the tag, such as
            an artist: clips in folders of the same name are in the same part, whatever their tags.
        tags: none can be chosen; the tags are the names of the folders, in alphabetical order.
        seed: another one makes other parts.

    Attributes:
        card: the facts.

    Raises:
        ConfigError: the seed makes no sense.
        UnknownNameError: there is no such split.
        DatasetError: the folder cannot be read, or has no sound in folders.
    """

    card = DatasetCard(
        name="folder",
        title="Your own sound, a folder for each tag",
        task="one",
        licence="that of your sound",
        citation="",
        page="",
        vocabularies={},
        splits={
            "path": Split(rule="80, 10 and 10 % by a hash of the seed and the path of the clip", source="you"),
            "group": Split(
                rule="80, 10 and 10 % by a hash of the seed and the folder under that of the tag, such as an artist; "
                "where there is none, the path",
                source="you",
            ),
        },
        by_hand="make a folder for each tag and put its sound into it",
    )

    def __init__(self, root: Path, *, split: str | None = None, tags: str | None = None, seed: int = 0) -> None:
        super().__init__(root, split=split, tags=tags)
        check_count("seed", seed, least=0)
        self._seed = seed
        self._notes: list[str] = []
        self._clips = self._find()
        self.tags = tuple(sorted({_composed(parts[0]) for parts in self._clips}))

    def notes(self) -> tuple[str, ...]:
        """Say what is odd about the clips and the folders; see `TagDataset.notes`."""
        return (*self._notes, *super().notes())

    @property
    def notes_on_folders(self) -> tuple[str, ...]:
        """What is odd about the folders alone, whatever the parts."""
        return tuple(self._notes)

    def _read(self) -> Iterator[Track]:
        """Give the clips in the order of their paths."""
        for parts in self._clips:
            names = tuple(map(_composed, parts))
            group = names[1] if len(names) > 2 else None
            path = "/".join(names)
            by_group = self.split == "group" and group is not None
            yield Track(
                track_id=path,
                path=Path(self.root, *parts),
                part=_part_of(f"{self._seed} {'group' if by_group else 'path'} {group if by_group else path}"),
                tags=names[:1],
                columns={"group": group},
            )

    def _find(self) -> list[tuple[str, ...]]:
        """List the sound in the folders, as the parts of its paths from the root, sorted; note what is odd."""
        errors: list[OSError] = []
        found = sorted(_walk(Path(self.root), errors))
        clips = [parts for parts in found if len(parts) > 1]
        place = printable(str(self.root))
        if not clips:
            reason = "; ".join(error.strerror or str(error) for error in errors[:1]) or "there is no sound in folders"
            raise DatasetError(f"{place}: {reason}; wanted a folder for each tag, with its sound in it.")
        tagged = {parts[0] for parts in clips}
        folders = {path.name for path in Path(self.root).iterdir() if path.is_dir() and not _is_hidden(path.name)}
        if silent := sorted(folders - tagged):
            self._notes.append(f"folders without sound, which are no tags: {name_some(silent)}")
        if len(found) > len(clips):
            self._notes.append(f"sound that lies in no folder and is left out: {len(found) - len(clips):,}")
        self._notes += [f"{printable(str(error.filename))}: {error.strerror or error}" for error in errors]
        return clips


def _walk(root: Path, errors: list[OSError]) -> Iterator[tuple[str, ...]]:
    """Give the parts of each path to sound under a folder; add what cannot be read to `errors`."""
    from taggram.audio import looks_like_audio  # decoders load here, so that the card alone is quick to show

    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(root, onerror=errors.append, followlinks=True):
        try:
            status = Path(place).stat()
        except OSError as error:  # it was there a moment ago
            errors.append(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        inside = Path(place).relative_to(root).parts
        for name in names:
            if not _is_hidden(name) and looks_like_audio(Path(place, name)):
                yield (*inside, name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _composed(name: str) -> str:
    """Write a name in one way: some systems keep letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


def _part_of(key: str) -> Part:
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:HASH_BYTES], "big") / 2 ** (8 * HASH_BYTES)
    return "train" if place < TRAIN else "valid" if place < TRAIN + VALID else "test"
