"""FMA small and medium: clips of 30 s from the Free Music Archive, with their genre.

Source: M. Defferrard, K. Benzi, P. Vandergheynst and X. Bresson, "FMA: a dataset for music analysis", ISMIR 2017;
github.com/mdeff/fma. The order of the 16 genres is that of the official challenge, WWW 2018.

A subset is chosen by its vocabulary: `tags="fma_medium"` reads that subset, of which the small one is a part.

That the small one divides into 6,400, 800 and 800 tracks and the medium one into 19,922, 2,505 and 2,573 is from
memory, and so is that their archives are packed with bzip2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from taggram._checks import check_flag
from taggram.datasets._base import DatasetCard, Part, Remote, Split, TagDataset, Track
from taggram.datasets._layout import find_folder, find_optional_folder
from taggram.datasets._text import packaged_list, read_rows, whole
from taggram.errors import DatasetError, printable

TABLE = "tracks.csv"
SERVER = "https://os.unil.cloud.switch.ch/fma"
SMALL = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
MEDIUM = (
    "Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental",
    "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken",
)  # fmt: skip
SUBSETS = {"fma_small": ("small",), "fma_medium": ("small", "medium")}  # vocabulary: the subsets of its tracks
FOLDERS = {  # vocabulary: where its sound may be, the smallest first
    "fma_small": ("fma_small", "fma_medium", "fma_large", "fma_full", "."),
    "fma_medium": ("fma_medium", "fma_large", "fma_full", "."),
}
SILENT = frozenset((99134, 108925, 133297))  # no sound at all in their clips
PARTS_BY_NAME: dict[str, Part] = {"training": "train", "validation": "valid", "test": "test"}
COLUMNS = {  # what is read of the table: group and name of the column
    "split": ("set", "split"),
    "subset": ("set", "subset"),
    "genre": ("track", "genre_top"),
    "artist_id": ("artist", "id"),
    "album_id": ("album", "id"),
}
WRONG_CUT = frozenset(map(int, packaged_list("fma_wrong_cut.txt")))
"""Tracks whose clip was cut with a wrong length of the track, as the maintainer lists them."""


class FMA(TagDataset):
    """FMA small or medium. Tracks have the columns artist_id, album_id, subset and wrong_cut (0 or 1).

    Args:
        root: the folder with fma_metadata/tracks.csv and the sound in fma_small/ or fma_medium/.
        split: "official".
        tags: "fma_small" or "fma_medium"; it chooses the subset.
        drop_wrong_cuts: whether clips that were cut with a wrong length are left out; some of them are short.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: an option makes no sense.
    """

    card = DatasetCard(
        name="fma",
        title="FMA small and medium",
        task="one",
        licence="sound: Creative Commons, each track its own; table: CC BY 4.0",
        citation="Defferrard, Benzi, Vandergheynst and Bresson, ISMIR 2017",
        page="https://github.com/mdeff/fma",
        vocabularies={"fma_small": SMALL, "fma_medium": MEDIUM},
        splits={
            "official": Split(
                rule="of each genre 80 % train, 10 % valid, 10 % test, no artist in two parts; less the three clips "
                "without sound",
                source="the authors",
            )
        },
        remotes=(
            Remote(
                file="fma_metadata.zip",
                urls=(f"{SERVER}/fma_metadata.zip",),
                checksum="sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
                unpack=True,
            ),
            Remote(
                file="fma_small.zip",
                urls=(f"{SERVER}/fma_small.zip",),
                checksum="sha1:ade154f733639d52e35e32f5593efe5be76c6d70",
                unpack=True,
            ),
            Remote(
                file="fma_medium.zip",
                urls=(f"{SERVER}/fma_medium.zip",),
                checksum="sha1:c67b69ea232021025fca9231fc1c7c1a063ab50b",
                unpack=True,
                optional=True,
            ),
        ),
        n_tracks=25_000,
        faults="Three clips have no sound and are in no split; 21 were cut with a wrong length; some are mono, some "
        "at 48 kHz.",
    )

    def __init__(
        self, root: Path, *, split: str | None = None, tags: str | None = None, drop_wrong_cuts: bool = False
    ) -> None:
        check_flag("drop_wrong_cuts", drop_wrong_cuts)
        super().__init__(root, split=split, tags=tags)
        self.drop_wrong_cuts = drop_wrong_cuts

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks the small subset has; those of the medium one without silent clips were not counted."""
        return {"all": 8_000 - len(SILENT)} if self.vocabulary == "fma_small" and not self.drop_wrong_cuts else {}

    def left_out(self) -> tuple[Path, ...]:
        """Give the files of the clips that no split names."""
        return tuple(self._path(self._sound(), track_id) for track_id in sorted(SILENT | WRONG_CUT & self._dropped()))

    def _read(self) -> Iterator[Track]:
        folder = find_folder(self.root, [TABLE], ["", "fma_metadata", "data/fma_metadata"], name=self.card.name)
        sound = self._sound()
        dropped = self._dropped()
        for track_id, facts in _rows(folder / TABLE):
            if facts["subset"] not in SUBSETS[self.vocabulary] or track_id in dropped:
                continue
            if facts["genre"] not in self.tags or facts["split"] not in PARTS_BY_NAME:
                raise DatasetError(
                    f"{printable(str(folder / TABLE))}: track {track_id} has the genre {facts['genre']!r} and the "
                    f"split {facts['split']!r}, which the subset {facts['subset']} has not."
                )
            yield Track(
                track_id=f"{track_id:06}",
                path=self._path(sound, track_id),
                part=PARTS_BY_NAME[facts["split"]],
                tags=(facts["genre"],),
                columns={
                    "artist_id": facts["artist_id"],
                    "album_id": facts["album_id"],
                    "subset": facts["subset"],
                    "wrong_cut": int(track_id in WRONG_CUT),
                },
            )

    def _dropped(self) -> frozenset[int]:
        return SILENT | WRONG_CUT if self.drop_wrong_cuts else SILENT

    def _sound(self) -> Path:
        folders = [f"{number:03}" for number in range(160)]  # numbers go up to 155,320
        return find_optional_folder(self.root, folders, FOLDERS[self.vocabulary]) or self.root / self.vocabulary

    @staticmethod
    def _path(sound: Path, track_id: int) -> Path:
        name = f"{track_id:06}"
        return sound / name[:3] / f"{name}.mp3"


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the table, whose columns have names on two lines; a third line names the index."""
    rows = read_rows(table, delimiter=",")
    _, groups = next(rows, (0, []))
    _, names = next(rows, (0, []))
    _, index = next(rows, (0, []))
    header = list(zip(groups, names))
    missing = [" ".join(column) for column in COLUMNS.values() if column not in header]
    if missing or index[:1] != ["track_id"]:
        raise DatasetError(
            f"{printable(str(table))} does not begin with two lines of columns and a third with track_id, or has no "
            f"{', '.join(missing)}. Fetch it again."
        )
    places = {what: header.index(column) for what, column in COLUMNS.items()}
    for line, fields in rows:
        if len(fields) != len(header):
            raise DatasetError(f"{printable(str(table))}, line {line}: it is cut short. Fetch it again.")
        track_id = whole(fields[0], f"track_id in line {line} of {printable(str(table))}")
        yield track_id, {what: fields[place] for what, place in places.items()}
