"""Tags and genres for tracks of the Million Song Dataset, for whoever has the previews.

Source: T. Bertin-Mahieux, D. P. W. Ellis, B. Whitman and P. Lamere, "The Million Song Dataset", ISMIR 2011; tags of
Last.fm. The lists are those of github.com/jongpillee/music_dataset_split, after K. Choi's split; the genres those of H.
Schreiber, "Improving genre annotations for the Million Song Dataset", ISMIR 2015.

The sound, previews of 30 s, was never to be passed on, and cannot be had any more.

The lists are pickles of Python 2, which are read without running anything in them. That the genres are 15, the form of
their file, and that of unique_tracks.txt are from memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from taggram._checks import check_choice, check_flag
from taggram.datasets._base import PARTS, DatasetCard, Part, Split, TagDataset, Task, Track
from taggram.datasets._layout import find_folder, find_optional_folder, inside
from taggram.datasets._text import read_lines
from taggram.datasets._unpickle import PickledArray, unpickle
from taggram.errors import DatasetError, printable
from taggram.vocabulary import MSD50

LISTS = "MSD_split"
GENRE_LISTS = "TAGTRAUM_split"
N_TRAIN = {"lastfm": 201_680, "tagtraum": 141_372}  # of the list for train, whose rest is for validation
GENRES = "tagtraum_cd2c"
GENRE_FILE = "msd_tagtraum_cd2c.cls"
ARTISTS = "unique_tracks.txt"
MISMATCHES = "sid_mismatches.txt"
PATHS = ("preview_id", "track_id")
BY_HAND = """\
1. Have the previews of 7digital, which nobody gives away any more, in ROOT/audio.
2. git clone https://github.com/jongpillee/music_dataset_split and copy MSD_split and TAGTRAUM_split from it into ROOT.
3. For genres, unpack msd_tagtraum_cd2c.cls.zip from https://www.tagtraum.com/msd_genre_datasets.html in ROOT.
4. If you like, put unique_tracks.txt and sid_mismatches.txt of the Million Song Dataset into ROOT."""


class MSD(TagDataset):
    """Tracks of the Million Song Dataset. The columns are preview_id and artist (None without unique_tracks.txt).

    Args:
        root: the folder with the lists, in MSD_split and TAGTRAUM_split or in the open, and the sound, in audio/ or in
            the open. Genres are in msd_tagtraum_cd2c.cls.
        split: "lastfm" or "tagtraum".
        tags: "msd50", or "tagtraum_cd2c" for the genre: exactly one a track, in alphabetical order. Tracks without a
            genre are then left out.
        paths: how files are named: after the "preview_id", as the lists have it (8/9/8947470.clip.mp3), or after the
            "track_id", in folders of its third, fourth and fifth letter (A/B/C/TRABC...mp3).
        drop_mismatches: whether tracks whose song is known to be another one are left out, which needs
            sid_mismatches.txt. No published score leaves them out.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: an option makes no sense.
        DatasetError: the file of genres is needed and not there, or not as it should be.
    """

    card = DatasetCard(
        name="msd",
        title="Million Song Dataset, tags of Last.fm or genres of tagtraum",
        task="several",
        licence="tags: for research, terms of Last.fm; sound: not to be had",
        citation="Bertin-Mahieux, Ellis, Whitman and Lamere, ISMIR 2011; genres: Schreiber, ISMIR 2015",
        page="http://millionsongdataset.com/lastfm",
        vocabularies={"msd50": MSD50, GENRES: ()},
        splits={
            "lastfm": Split(
                rule="K. Choi's split, tracks whose preview is longer than 29.1 s (musicnn, SampleCNN and their "
                "successors); the first 201,680 of the training list are train, the rest valid",
                n_tracks=(201_680, 11_774, 28_435),
                source="J. Lee, github.com/jongpillee/music_dataset_split",
            ),
            "tagtraum": Split(
                rule="80 % for training, of each genre its share, tracks whose preview is longer than 29.1 s "
                "(multi-level and multi-scale features); the first 141,372 of the training list are train, the rest "
                "valid",
                source="J. Lee, github.com/jongpillee/music_dataset_split",
            ),
        },
        by_hand=BY_HAND,
        n_tracks=241_889,
        faults="Some tracks are matched with another song, which sid_mismatches.txt lists; some previews are silent "
        "or short.",
    )

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        paths: Literal["preview_id", "track_id"] = "preview_id",
        drop_mismatches: bool = False,
    ) -> None:
        check_choice("paths", paths, PATHS)
        check_flag("drop_mismatches", drop_mismatches)
        super().__init__(root, split=split, tags=tags)
        self.paths = paths
        self.drop_mismatches = drop_mismatches
        if self.vocabulary == GENRES:
            task: Task = "one"
            self.task = task
            self.tags = tuple(sorted(set(self._genres().values())))

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks each part has, which holds for the tags of Last.fm and nothing left out."""
        return {} if self.drop_mismatches or self.vocabulary == GENRES else super().published_sizes()

    def _read(self) -> Iterator[Track]:
        folder = self._folder(GENRE_LISTS if self.split == "tagtraum" else LISTS)
        labels = self._labels()
        preview_ids = _dict(self._folder(LISTS) / "MSD_id_to_7D_id.pkl")
        files = _dict(self._folder(LISTS) / "7D_id_to_path.pkl")
        artists = self._artists()
        dropped = self._mismatches() if self.drop_mismatches else frozenset()
        sound = find_optional_folder(self.root, ["."], ["audio"]) or self.root
        for part, track_ids in zip(PARTS, self._parts(folder)):
            for track_id in track_ids:
                held = labels.get(track_id)
                if track_id in dropped or held is None:
                    continue
                preview_id = preview_ids.get(track_id)
                yield Track(
                    track_id=track_id,
                    path=inside(sound, self._file(track_id, files.get(preview_id))),
                    part=part,
                    tags=tuple(tag for tag in self.tags if tag in held),
                    columns={
                        "preview_id": None if preview_id is None else str(preview_id),
                        "artist": artists.get(track_id),
                    },
                )

    def _parts(self, folder: Path) -> tuple[list[str], list[str], list[str]]:
        """Read the lists of train, valid and test."""
        names = ("train_list.cP", "test_list.cP")
        if self.split == "lastfm":
            names = ("filtered_list_train.cP", "filtered_list_test.cP")
        training, test = (_list(folder / name) for name in names)
        n_train = N_TRAIN[self.split]
        return training[:n_train], training[n_train:], test

    def _labels(self) -> Mapping[str, Collection[str]]:
        """Read the tags or the genre of each track."""
        if self.vocabulary == GENRES:
            return {track_id: (genre,) for track_id, genre in self._genres().items()}
        path = self._folder(LISTS) / "msd_id_to_tag_vector.cP"
        return {track_id: _tags_of(vector, track_id, path) for track_id, vector in _dict(path).items()}

    def _genres(self) -> dict[str, str]:
        """Read the genres: a line a track, its id and its genre with a tab between; "#" begins a remark."""
        path = find_folder(self.root, [GENRE_FILE], ["", "tagtraum", GENRE_LISTS, LISTS], name="msd") / GENRE_FILE
        genres = {}
        for line in read_lines(path):
            if line.startswith("#"):
                continue
            track_id, tab, genre = line.partition("\t")
            if not tab or not genre.strip():
                raise DatasetError(f"{printable(str(path))}: {printable(line)!r} is no track id, a tab and a genre.")
            genres[track_id] = genre.strip()
        return genres

    def _file(self, track_id: str, file: object) -> str:
        """Say where the sound of a track is, relative to the folder of all sound."""
        if self.paths == "track_id":
            return "/".join((*track_id[2:5], f"{track_id}.mp3"))
        if not isinstance(file, str):
            raise DatasetError(f"the lists give no file for the track {track_id!r}; paths=track_id needs none.")
        return file

    def _artists(self) -> dict[str, str]:
        path = self.root / ARTISTS
        rows = (line.split("<SEP>") for line in read_lines(path)) if path.exists() else ()
        return {row[0]: row[2] for row in rows if len(row) > 2}

    def _mismatches(self) -> frozenset[str]:
        path = find_folder(self.root, [MISMATCHES], ["", LISTS], name="msd") / MISMATCHES
        return frozenset(re.findall(r"<SO\w{16} (TR\w{16})>", "\n".join(read_lines(path))))

    def _folder(self, lists: str) -> Path:
        mark = "train_list.cP" if lists == GENRE_LISTS else "filtered_list_train.cP"
        return find_folder(self.root, [mark], ["", lists, f"music_dataset_split/{lists}"], name=self.card.name)


def _list(path: Path) -> list[str]:
    """Read a list of track ids."""
    ids = unpickle(path)
    if not isinstance(ids, list) or not all(isinstance(one, str | bytes) for one in ids):
        raise DatasetError(f"{printable(str(path))} is no list of track ids.")
    return [_decoded(one) for one in ids]


def _dict(path: Path) -> dict[Any, Any]:
    """Read a dictionary."""
    entries = unpickle(path)
    if not isinstance(entries, dict):
        raise DatasetError(f"{printable(str(path))} is no dictionary.")
    return {_decoded(key): _decoded(value) for key, value in entries.items()}


def _decoded(value: Any) -> Any:
    """Make text of bytes, which lists that Python 3 wrote may hold."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _tags_of(vector: object, track_id: str, path: Path) -> tuple[str, ...]:
    """Turn a vector of 50 times 0 or 1 into tags."""
    values = vector.values if isinstance(vector, PickledArray) else vector
    if not isinstance(values, tuple | list) or len(values) != len(MSD50) or not set(values) <= {0, 1}:
        raise DatasetError(f"{printable(str(path))}: the tags of {track_id!r} are not {len(MSD50)} times 0 or 1.")
    return tuple(tag for tag, held in zip(MSD50, values) if held)
