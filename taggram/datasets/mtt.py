"""MagnaTagATune: 25,863 clips of 29 s with 188 tags, from people who played a game.

Source: E. Law, K. West, M. Mandel, M. Bay and J. S. Downie, "Evaluation of algorithms using games: the case of music
tagging", ISMIR 2009. The clips of "dir-tagged" and the order mtt50_samplecnn are those of
github.com/jongpillee/music_dataset_split, the clips that cannot be read and the order mtt50_musicnn those of
github.com/jordipons/musicnn-training, the tags by falling number of clips those of
github.com/keunwoochoi/magnatagatune-list.

Scores of different splits cannot be compared: PR-AUC of one network differs by as much as 0.07. "dir-all" has 997 test
clips and 296 for validation without any of the 50 tags; in "random-18000-2000" clips of one song lie on both sides.

The columns of clip_info_final.csv are from memory, and so is that clips which cannot be read may be files of 0 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taggram._checks import check_flag
from taggram.datasets import _synonyms
from taggram.datasets._base import DatasetCard, Part, Remote, Split, TagDataset, Track, Value
from taggram.datasets._layout import find_folder, find_optional_folder, inside
from taggram.datasets._text import packaged_list, read_rows, read_table, unpack_ids, whole
from taggram.errors import DatasetError, printable
from taggram.vocabulary import MTT50_MUSICNN, MTT50_SAMPLECNN

TABLE = "annotations_final.csv"
CLIP_INFO = "clip_info_final.csv"
FOLDERS = "0123456789abcdef"
FOLDERS_OF_VALID = "c"
FOLDERS_OF_TEST = "def"
N_CLIPS = 25_863
UNREADABLE = {  # clip: its place in the table, from 0 on
    35644: 16250,
    55753: 24867,
    57881: 25546,
}
SEED = 1337  # of the historical split
N_DRAWN_BEFORE = 2_925_580  # weights of the network of that split, which the same generator drew first
N_VALID, N_TEST = 2_000, 5_863  # of the historical split, in this order; the rest is train
N_COMMONEST = 50
SERVER = "http://mi.soi.city.ac.uk/datasets/magnatagatune"

ALL_TAGS = packaged_list("mtt188.txt")
BY_POPULARITY = packaged_list("mtt188_by_popularity.txt")
GROUPS = {  # vocabulary: which tags are merged first
    "mtt135_multiscale": _synonyms.MULTISCALE,
    "mtt50_multiscale": _synonyms.MULTISCALE,
    "mtt134_emarkou": _synonyms.EMARKOU,
    "mtt50_emarkou": _synonyms.EMARKOU,
}


@dataclass(frozen=True)
class _Clip:
    """A row of the table.

    Attributes:
        clip_id: its number.
        place: of the row in the table, from 0 on.
        path: of the sound, relative, with slashes.
        tags: the data set's own names, in the order of the columns.
    """

    clip_id: int
    place: int
    path: str
    tags: tuple[str, ...]


class MTT(TagDataset):
    """MagnaTagATune, with the splits and vocabularies that are in use.

    Tracks have the columns folder (0 to f), song_id (clips of one song have it in common; of a song there may be
    several copies on several albums), artist_id and album_id (names, None without clip_info_final.csv).

    Args:
        root: the folder with annotations_final.csv and the folders 0 to f, or with the latter in mp3/ or audio/.
        split: "dir-tagged", "dir-all" or "random-18000-2000".
        tags: the vocabulary. The 50 of mtt50_multiscale are counted in the table, which is read for it.
        keep_unreadable: name the three clips that cannot be read too, where their split is one of all clips. They
            cannot be prepared; the multi-scale network was trained on zeros in their place.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        DatasetError: the table is needed for the tags and is not there, or not as it should be.
    """

    card = DatasetCard(
        name="mtt",
        title="MagnaTagATune",
        task="several",
        licence="CC BY-NC-SA 3.0",
        citation="Law, West, Mandel, Bay and Downie, ISMIR 2009",
        page="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
        vocabularies={
            "mtt50_musicnn": MTT50_MUSICNN,
            "mtt50_samplecnn": MTT50_SAMPLECNN,
            "mtt188": ALL_TAGS,
            "mtt160": BY_POPULARITY[:160],
            "mtt135_multiscale": _synonyms.merge(ALL_TAGS, _synonyms.MULTISCALE),
            "mtt50_multiscale": (),
            "mtt134_emarkou": _synonyms.merge(ALL_TAGS, _synonyms.EMARKOU),
            "mtt50_emarkou": packaged_list("mtt50_emarkou.txt"),
        },
        splits={
            "dir-tagged": Split(
                rule="folders 0 to b are train, c valid, d to f test; clips with at least one of the 50 commonest "
                "tags, less a few of train that are shorter than 29.1 s (SampleCNN and its successors)",
                n_tracks=(15_244, 1_529, 4_332),
                source="J. Lee, github.com/jongpillee/music_dataset_split",
            ),
            "dir-all": Split(
                rule="folders 0 to b are train, c valid, d to f test; all clips, also those without any of the 50 "
                "tags, less the three that cannot be read (musicnn)",
                n_tracks=(18_706, 1_825, 5_329),
                source="J. Pons, github.com/jordipons/musicnn-training",
            ),
            "random-18000-2000": Split(
                rule="clips at random, whatever their song: 2,000 for validation, 5,863 for test, the other 18,000 "
                "less the three that cannot be read for train. The order follows from the code and the seed of the "
                "multi-scale network; nobody published it",
                n_tracks=(18_000 - len(UNREADABLE), N_VALID, N_TEST),
                source="Dabral, Deshmukh and Malapati, 2018",
            ),
        },
        remotes=(
            Remote(file=TABLE, urls=(f"{SERVER}/{TABLE}",), checksum="md5:f04fa01752a8cc64f6e1ca142a0fef1d"),
            Remote(
                file="mp3.zip",
                urls=tuple(f"{SERVER}/mp3.zip.00{piece}" for piece in (1, 2, 3)),
                checksum="md5:f12add0eb4cd6c2a3ab7e4afaf7b7467",
                size=1_100_000_000 + 1_100_000_000 + 772_769_864,
                unpack=True,
            ),
        ),
        n_tracks=N_CLIPS,
        faults="Three clips cannot be read and are in no split. Tags that hold are often missing; synonyms and "
        "negations are tags of their own; two names are misspelt.",
    )

    def __init__(
        self, root: Path, *, split: str | None = None, tags: str | None = None, keep_unreadable: bool = False
    ) -> None:
        super().__init__(root, split=split, tags=tags)
        check_flag("keep_unreadable", keep_unreadable)
        self._not_read = frozenset() if keep_unreadable else frozenset(UNREADABLE)
        self._kept = _synonyms.kept_names(GROUPS.get(self.vocabulary, {}))
        if self.vocabulary == "mtt50_multiscale":
            merged = _synonyms.merge(ALL_TAGS, GROUPS[self.vocabulary])
            tagged = (self._merged(clip.tags) for clip in _clips(self._folder() / TABLE))
            self.tags = _synonyms.commonest(merged, tagged, N_COMMONEST)

    def left_out(self) -> tuple[Path, ...]:
        """Give the files of the three clips that cannot be read, unless they are named."""
        sound = self._sound()
        return tuple(
            inside(sound, clip.path) for clip in _clips(self._folder() / TABLE) if clip.clip_id in self._not_read
        )

    def _read(self) -> Iterator[Track]:
        folder, sound = self._folder(), self._sound()
        clips = list(_clips(folder / TABLE))
        parts = self._parts(clips)
        people = _artists_and_albums(folder / CLIP_INFO)
        for clip in clips:
            part = parts.get(clip.clip_id)
            if part is None:
                continue
            held = self._merged(clip.tags)
            artist, album = people.get(clip.clip_id, (None, None))
            columns: dict[str, Value] = {
                "folder": clip.path[0], "song_id": _song_of(clip.path), "artist_id": artist, "album_id": album,
            }  # fmt: skip
            yield Track(
                track_id=str(clip.clip_id),
                path=inside(sound, clip.path),
                part=part,
                tags=tuple(tag for tag in self.tags if tag in held),
                columns=columns,
            )

    def _merged(self, tags: tuple[str, ...]) -> set[str]:
        return {self._kept.get(tag, tag) for tag in tags}

    def _parts(self, clips: list[_Clip]) -> dict[int, Part]:
        """Say in which part each clip is that is in the split."""
        if self.split == "random-18000-2000":
            if len(clips) != N_CLIPS:
                raise DatasetError(
                    f"the table has {len(clips)} rows; the split {self.split} is one of exactly {N_CLIPS}. Fetch "
                    f"{TABLE} again."
                )
            by_place = historical_parts()
            return {clip.clip_id: by_place[clip.place] for clip in clips if clip.clip_id not in self._not_read}
        if self.split == "dir-tagged":
            chosen = {clip_id for part in ("train", "valid", "test") for clip_id in tagged_clips(part)}
        else:
            chosen = {clip.clip_id for clip in clips} - self._not_read
        return {clip.clip_id: _part_of_folder(clip.path[0]) for clip in clips if clip.clip_id in chosen}

    def _folder(self) -> Path:
        return find_folder(self.root, [TABLE], ["", "MagnaTagATune", "magnatagatune"], name=self.card.name)

    def _sound(self) -> Path:
        folder = self._folder()
        return find_optional_folder(folder, list(FOLDERS), ["", "mp3", "audio"]) or folder


def tagged_clips(part: str) -> list[int]:
    """Give the clips of a part of the split "dir-tagged".

    Args:
        part: "train", "valid" or "test".

    Returns:
        Their numbers, rising.
    """
    return unpack_ids("".join(packaged_list(f"mtt_dir_tagged_{part}.txt")))


def historical_parts() -> list[Part]:
    """Draw the split of the multi-scale network anew, with the generator that drew its weights first.

    Returns:
        The part of each row of the table.
    """
    import numpy as np  # here, since no other split needs it

    generator = np.random.RandomState(SEED)
    generator.normal(size=N_DRAWN_BEFORE)
    order = np.arange(N_CLIPS)
    generator.shuffle(order)
    parts: list[Part] = ["train"] * N_CLIPS
    for position, place in enumerate(order[: N_VALID + N_TEST].tolist()):
        parts[place] = "valid" if position < N_VALID else "test"
    return parts


def _clips(table: Path) -> Iterator[_Clip]:
    """Read the table of annotations, which is separated by tabs, whatever its name says."""
    rows = read_rows(table, delimiter="\t")
    _, header = next(rows, (0, []))
    if header != ["clip_id", *ALL_TAGS, "mp3_path"]:
        raise DatasetError(
            f"{printable(str(table))} does not begin with clip_id, the {len(ALL_TAGS)} tags and mp3_path, separated by "
            "tabs. Fetch it again."
        )
    for place, (line, fields) in enumerate(rows):
        where = f"{printable(str(table))}, line {line}"
        if len(fields) != len(header) or not set(fields[1:-1]) <= {"0", "1"}:
            raise DatasetError(f"{where}: wanted a number, {len(ALL_TAGS)} times 0 or 1, and a path. Fetch it again.")
        if fields[-1][:2] not in {f"{folder}/" for folder in FOLDERS}:
            raise DatasetError(f"{where}: the path is {fields[-1]!r}; wanted one in a folder from 0 to f.")
        tags = tuple(tag for tag, held in zip(ALL_TAGS, fields[1:-1]) if held == "1")
        yield _Clip(whole(fields[0], f"{where}: clip_id"), place, fields[-1], tags)


def _artists_and_albums(table: Path) -> dict[int, tuple[str, str]]:
    """Read who plays what, where that table is there."""
    if not table.exists():
        return {}
    rows = read_table(table, ("clip_id", "artist", "album"), delimiter="\t")
    return {row.whole("clip_id"): (row["artist"], row["album"]) for row in rows}


def _part_of_folder(folder: str) -> Part:
    if folder in FOLDERS_OF_TEST:
        return "test"
    return "valid" if folder in FOLDERS_OF_VALID else "train"


def _song_of(path: str) -> str:
    """Take the seconds off "f/artist-album-01-title-30-59.mp3", which leaves the song."""
    return re.sub(r"-\d+-\d+\.mp3$", "", path.partition("/")[2])
