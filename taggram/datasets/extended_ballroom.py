"""Extended Ballroom: 4,180 excerpts of 30 s in 13 dances, very unevenly.

Source: U. Marchand and G. Peeters, "The Extended Ballroom dataset", ISMIR 2016 late-breaking session, version 1.1.
Folds as in J. Pons and X. Serra, "Randomly weighted CNNs for (music) audio classification", ICASSP 2019: ten,
stratified, not shuffled, over the sorted list of files.

Differs: the list of that paper was in no known order, and scikit-learn of its time dealt out a little less evenly.

How many songs each dance has is from memory; only their sum was checked. The sound is not in the archive; a script of
the authors fetched it from a shop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.parsers import expat

from taggram._checks import check, check_count, check_flag
from taggram.datasets._base import DatasetCard, Part, TagDataset, Track
from taggram.datasets._folds import fold_splits, number_of, part_of, shuffled, stratify
from taggram.datasets._layout import find_folder, walk
from taggram.errors import DatasetError, printable

FILE = "extendedballroom_v1.1.xml"
DANCES = (
    "Chacha", "Foxtrot", "Jive", "Pasodoble", "Quickstep", "Rumba", "Salsa", "Samba", "Slowwaltz", "Tango",
    "Viennesewaltz", "Waltz", "Wcswing",
)  # fmt: skip
N_TRACKS = 4_180
N_FOLDS = 10
RELATIONS = ("exact", "time", "version", "karaoke")  # how a song may repeat another one
TOPS = ("", "extendedballroom_v1.1", "extendedballroom", "ExtendedBallroom", "extended_ballroom")
BY_HAND = """\
1. Unpack the archive of http://anasynth.ircam.fr/home/media/ExtendedBallroom in ROOT; it has extendedballroom_v1.1.xml.
2. Run getExtendedBallroomDataset.py, which comes with it, in ROOT. It fetches the sound into a folder a dance."""


@dataclass(frozen=True)
class _Song:
    """A song of the file.

    Attributes:
        dance: its class.
        facts: all that the file says of it.
    """

    dance: str
    facts: Mapping[str, str]

    @property
    def name(self) -> str:
        """Dance and number, by which songs are sorted."""
        return f"{self.dance}/{self.facts['id']}"


class ExtendedBallroom(TagDataset):
    """Extended Ballroom.

    Columns: fold, artist_id and album_id (names), bpm, md5 of the file, and exact, time, version and karaoke: the song
    that it repeats in this way, or None.

    Args:
        root: the folder with extendedballroom_v1.1.xml and a folder a dance, whose files are named ID.mp3 or
            DANCE.ID.mp3. Without the file, what is in the folders is taken; the columns are then None.
        split: "fold-1" to "fold-10".
        tags: the vocabulary, of which there is one.
        drop: songs that repeat another one are left out: any of "exact", "time", "version" and "karaoke".
        keep_related: whether songs that repeat each other are in one fold, that of the first of them.
        fold_seed: of an order in which songs are put before they are dealt out; None is the sorted one.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: an option makes no sense.
    """

    card = DatasetCard(
        name="extended_ballroom",
        title="Extended Ballroom",
        task="one",
        licence="none stated; previews of a shop",
        citation="Marchand and Peeters, ISMIR 2016 late-breaking session",
        page="http://anasynth.ircam.fr/home/media/ExtendedBallroom",
        vocabularies={"extended_ballroom13": DANCES},
        splits=fold_splits(
            N_FOLDS,
            "of each dance, in the order of the sorted list, a run of about a tenth is a fold: the fold is test, "
            "the others are train; nothing is for validation. The mean over the folds also chose the settings "
            "(randomly weighted CNNs)",
            source="taggram, after Pons and Serra, ICASSP 2019",
        ),
        by_hand=BY_HAND,
        n_tracks=N_TRACKS,
        faults="Some songs repeat others: exactly, at another tempo, in another version, or as karaoke; the file says "
        "which.",
    )

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        drop: Collection[str] = (),
        keep_related: bool = False,
        fold_seed: int | None = None,
    ) -> None:
        drop = (drop,) if isinstance(drop, str) else tuple(drop)
        check(set(drop) <= set(RELATIONS), "drop", drop, f"some of {', '.join(RELATIONS)}")
        check_flag("keep_related", keep_related)
        if fold_seed is not None:
            check_count("fold_seed", fold_seed, 0)
        super().__init__(root, split=split, tags=tags)
        self.drop = drop
        self.keep_related = keep_related
        self.fold_seed = fold_seed

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks there are, where none is left out."""
        return {} if self.drop else {"all": N_TRACKS}

    def left_out(self) -> tuple[Path, ...]:
        """Give the repetitions that are left out."""
        home, songs = self._songs()
        kept = {song.name for song in self._kept(songs)}
        return tuple(_path(home, song) for song in songs if song.name not in kept)

    def _read(self) -> Iterator[Track]:
        home, songs = self._songs()
        songs = self._kept(songs)
        folds = self._folds(songs)
        tested = number_of(self.split) or 0
        for song in songs:
            fold = folds[song.name]
            yield Track(
                track_id=song.facts["id"],
                path=_path(home, song),
                part=part_of(fold, tested, N_FOLDS, validated=False),
                tags=(song.dance,),
                columns={
                    "fold": fold,
                    "artist_id": song.facts.get("artist"),
                    "album_id": song.facts.get("album"),
                    "bpm": _number(song.facts.get("bpm")),
                    "md5": song.facts.get("hash"),
                    **{relation: song.facts.get(relation) for relation in RELATIONS},
                },
            )

    def _kept(self, songs: list[_Song]) -> list[_Song]:
        """Leave out songs that repeat one that stays; of two that name each other, the second stays."""
        stays = {song.facts["id"] for song in songs}
        for song in songs:
            own = song.facts["id"]
            if any(other in stays and other != own for other in map(song.facts.get, self.drop)):
                stays.remove(own)
        return [song for song in songs if song.facts["id"] in stays]

    def _folds(self, songs: list[_Song]) -> dict[str, int]:
        """Deal the songs out."""
        dances = {song.name: song.dance for song in songs}
        names = list(dances) if self.fold_seed is None else shuffled(dances, self.fold_seed)
        folds = dict(zip(names, stratify([dances[name] for name in names], N_FOLDS)))
        if not self.keep_related:
            return folds
        first = _first_of_related(songs)
        return {name: folds[first[name]] for name in folds}

    def _songs(self) -> tuple[Path, list[_Song]]:
        """Read the songs from the file or from the folders, sorted by dance and number."""
        home = find_folder(self.root, [FILE, *DANCES], TOPS, name=self.card.name)
        songs = _parse(home / FILE) if (home / FILE).exists() else _found(home)
        return home, sorted(songs, key=lambda song: song.name)


def _parse(path: Path) -> list[_Song]:
    """Read the file: a node a dance, in it a node a song whose attributes are the facts."""
    songs: list[_Song] = []
    nodes: list[str] = []  # those that are open

    def start(name: str, facts: dict[str, str]) -> None:
        nodes.append(name)
        if len(nodes) != 3:
            return
        dance = nodes[1]
        if dance not in DANCES or not facts.get("id", "").isalnum():
            raise DatasetError(
                f"{printable(str(path))} has a song {facts.get('id')!r} of {dance!r}, which is no dance of it."
            )
        songs.append(_Song(dance, facts))

    def refuse(*_: Any) -> None:
        raise DatasetError(f"{printable(str(path))} defines entities, which the original does not.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: nodes.pop()
    parser.EntityDeclHandler = refuse  # entities within entities fill any memory
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
    except expat.ExpatError as error:
        raise DatasetError(f"{printable(str(path))} is no XML ({error}). Fetch it again.") from error
    return songs


def _found(home: Path) -> list[_Song]:
    """Take the songs that are there, where no file names them."""
    return [
        _Song(dance, {"id": path.stem.removeprefix(f"{dance}.")})
        for dance in DANCES
        for path in walk(home / dance, (".mp3",))
    ]


def _path(home: Path, song: _Song) -> Path:
    """Say where a song lies, in one of the two ways in which files are named."""
    plain = home / song.dance / f"{song.facts['id']}.mp3"
    named = plain.with_name(f"{song.dance}.{plain.name}")
    return named if named.exists() else plain


def _first_of_related(songs: list[_Song]) -> dict[str, str]:
    """Say for each song, by name, which is the first of those that it repeats or that repeat it, over any others."""
    by_id = {song.facts["id"]: song.name for song in songs}
    first = {song.name: song.name for song in songs}

    def follow(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    for song in songs:
        related = [by_id[other] for other in map(song.facts.get, RELATIONS) if other in by_id]
        firsts = {follow(name) for name in (song.name, *related)}
        first |= dict.fromkeys(firsts, min(firsts))
    return {name: follow(name) for name in first}


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
