"""What every data set has: a card with the facts, and a reader that gives its tracks without touching its folder."""

from __future__ import annotations

import abc
import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from taggram.errors import printable, unknown_name

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Task = Literal["several", "one"]
Value = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file that may be downloaded.

    Attributes:
        file: its name, relative to the folder of the data set.
        urls: where it lies; more than one are its pieces, to be joined in order.
        checksum: "md5:...", "sha1:..." or "sha256:..." of the whole, or None where none is known.
        size: bytes of the whole, or None where that is not known.
        unpack: whether it is an archive that is to be unpacked beside it.
        optional: whether it is fetched only when it is named.
    """

    file: str
    urls: tuple[str, ...]
    checksum: str | None
    size: int | None = None
    unpack: bool = False
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Split:
    """A way to divide a data set.

    Attributes:
        rule: how it divides, and who uses it.
        n_tracks: in train, valid and test as published, or None where that is not known.
        source: who made it.
    """

    rule: str
    n_tracks: tuple[int, int, int] | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """The facts about a data set.

    Attributes:
        name: as in `open_dataset`.
        title: its full name.
        task: whether a track has several tags or exactly one.
        licence: of sound and labels.
        citation: the paper.
        page: where it lives.
        vocabularies: tag lists by name; the first is the default. A list is empty where its tags are found in the data,
            and all of this is where they always are.
        splits: by name; the first is the default.
        remotes: what `taggram data get` downloads.
        by_hand: what has to be done by hand, step by step, or "".
        n_tracks: in the whole set, or None where that is not fixed.
        faults: what is known to be wrong with it, or "".
    """

    name: str
    title: str
    task: Task
    licence: str
    citation: str
    page: str
    vocabularies: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, Split]
    remotes: tuple[Remote, ...] = ()
    by_hand: str = ""
    n_tracks: int | None = None
    faults: str = ""


@dataclass(frozen=True, kw_only=True)
class Track:
    """A sound of a data set with its tags.

    Attributes:
        track_id: its name within the data set.
        path: the file.
        part: of the split it is in.
        tags: out of the vocabulary, in its order; may be empty.
        start_s: where it begins in the file, in seconds.
        end_s: where it ends, or None for the end of the file.
        columns: what else the data set says of it, such as "artist_id" or "fold"; the same names for all tracks.
    """

    track_id: str
    path: Path
    part: Part
    tags: tuple[str, ...]
    start_s: float = 0.0
    end_s: float | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Broken:
    """A file that is no sound, or not the sound that it should be.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What is wrong with a data set on disk.

    Attributes:
        n_tracks: that the split names.
        missing: files that are named and not there.
        empty: files without a byte.
        broken: files that cannot be read as sound.
        extra: sound files that nothing names.
        notes: what else is to be said, such as counts that differ from the card.
    """

    n_tracks: int
    missing: tuple[Path, ...]
    empty: tuple[Path, ...]
    broken: tuple[Broken, ...]
    extra: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def is_fine(self) -> bool:
        """Whether every track can be expected to be read."""
        return self.n_tracks > 0 and not (self.missing or self.empty or self.broken)


class TagDataset(abc.ABC):
    """A data set on disk. A subclass has a `card` and writes `_read`.

    To be read: the folder `root`, the name of the `split` and of the `vocabulary`, the `tags` in order, the `task`.

    Args:
        root: its folder.
        split: one of the card's splits; None is the first.
        tags: one of the card's vocabularies; None is the first.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: the card has no such split or vocabulary.
    """

    card: ClassVar[DatasetCard]

    def __init__(self, root: Path, *, split: str | None = None, tags: str | None = None) -> None:
        self.root = root
        self.split = one_of("split", split, self.card.splits)
        known = self.card.vocabularies
        self.vocabulary = one_of("vocabulary", tags, known) if known or tags is not None else ""
        self.tags: tuple[str, ...] = self.card.vocabularies[self.vocabulary] if self.vocabulary else ()
        self.task: Task = self.card.task

    @classmethod  # noqa: B027 (most are not made up)
    def make(cls, root: Path, told: Callable[[int, int], object], **options: Any) -> None:
        """Write the sound of a data set that is made up; of others nothing is written.

        Args:
            root: its folder.
            told: called with the number of tracks that are there, and of all.
            **options: as for opening it.

        Raises:
            ConfigError: an option makes no sense.
            DatasetError: the folder holds something else, or cannot be written to.
        """

    @abc.abstractmethod
    def _read(self) -> Iterator[Track]:
        """Give all tracks of the split, in an order that is always the same; files need not be there."""

    def tracks(self, part: Part | None = None) -> Iterator[Track]:
        """Give the tracks of the split.

        Args:
            part: only those of this part.

        Yields:
            The tracks, in an order that is always the same. That a file is named does not say that it is there.

        Raises:
            DatasetError: the lists of the data set are missing or not as the card says.
        """
        for track in self._read():
            if part is None or track.part == part:
                yield track

    def notes(self) -> tuple[str, ...]:
        """Say what is odd about the split and no error: whoever trains or scores on it should hear of it.

        Returns:
            A line each, such as parts without a clip, and tags that no clip or every clip of a part has.

        Raises:
            DatasetError: the lists of the data set are missing or not as the card says.
        """
        n_clips = dict.fromkeys(PARTS, 0)
        n_tagged: dict[Part, dict[str, int]] = {part: {} for part in PARTS}
        for track in self._read():
            n_clips[track.part] += 1
            for tag in track.tags:
                n_tagged[track.part][tag] = n_tagged[track.part].get(tag, 0) + 1
        return notes_on_parts(self.tags, n_clips, n_tagged)

    def with_split(self, split: str) -> Self:
        """Give the same data set divided in another way.

        Args:
            split: one of the card's splits.

        Returns:
            Another data set on the same folder.

        Raises:
            UnknownNameError: the card has no such split.
        """
        other = copy.copy(self)
        other.split = one_of("split", split, self.card.splits)
        return other

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks the split should have, as far as that is known: of each part, or of all together."""
        sizes = self.card.splits[self.split].n_tracks
        return dict(zip(PARTS, sizes)) if sizes else {}

    def left_out(self) -> tuple[Path, ...]:
        """Give the files of the data set that no split names because they are known to be broken."""
        return ()

    def split_sha256(self) -> str:
        """Hash the split: identifiers, parts and tags of all tracks, so that equal hashes are equal experiments."""
        digest = hashlib.sha256()
        for line in sorted(
            f"{track.track_id}\t{track.part}\t{'|'.join(sorted(track.tags))}\n" for track in self._read()
        ):
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def notes_on_parts(
    tags: tuple[str, ...], n_clips: Mapping[Part, int], n_tagged: Mapping[Part, Mapping[str, int]]
) -> tuple[str, ...]:
    """Say which parts cannot teach, or not be scored, as they are.

    Args:
        tags: all there are.
        n_clips: of each part.
        n_tagged: clips of each part that have a tag; a tag may be missing where that is none.

    Returns:
        A line each; none where all is well.
    """
    notes = []
    for part in PARTS:
        if not n_clips[part]:
            notes.append(f"{part} has no clip")
            continue
        if nowhere := [tag for tag in tags if not n_tagged[part].get(tag)]:
            notes.append(f"no clip of {part} has {name_some(nowhere)}")
        if everywhere := [tag for tag in tags if n_tagged[part].get(tag) == n_clips[part]]:
            notes.append(f"every clip of {part} has {name_some(everywhere)}")
    return tuple(notes)


def name_some(names: Sequence[str], most: int = 8) -> str:
    """List names for a message.

    Args:
        names: such as tags.
        most: how many are listed; the others are counted.

    Returns:
        Such as "a, b, c and 12 more".
    """
    named = ", ".join(map(printable, names[:most]))
    return named if len(names) <= most else f"{named} and {len(names) - most} more"


def one_of(kind: str, name: str | None, known: Mapping[str, Any]) -> str:
    """Choose out of what a card has.

    Args:
        kind: what it is, for the message.
        name: the wanted one, or None for the first.
        known: all there are, at least one where `name` is None.

    Returns:
        The name.

    Raises:
        UnknownNameError: there is no such name.
    """
    if name is None:
        return next(iter(known))
    if name not in known:
        raise unknown_name(kind, name, known, f"There are {', '.join(known)}" if known else "There is none to choose")
    return name
