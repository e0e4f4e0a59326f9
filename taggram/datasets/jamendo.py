"""MTG-Jamendo: 55,525 full tracks with tags of genre, instrument and mood, in five subsets with five splits each.

Source: D. Bogdanov, M. Won, P. Tovstogan, A. Porter and X. Serra, "The MTG-Jamendo dataset for automatic music
tagging", Machine Learning for Music Discovery workshop, ICML 2019; github.com/MTG/mtg-jamendo-dataset. Sizes of the
splits were counted in its files.

A subset is chosen by its vocabulary: `tags="genre"` reads the lists of that subset. The lists are no plain tables: tags
go on as further columns, so rows differ in length, and lines end in CRLF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from taggram._checks import check_choice
from taggram.datasets._base import PARTS, DatasetCard, Part, Split, TagDataset, Track
from taggram.datasets._layout import find_folder, find_optional_folder, inside
from taggram.datasets._text import packaged_list, read_lines
from taggram.errors import DatasetError, printable

N_SPLITS = 5
N_TRACKS = 55_525
HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
N_FIELDS = HEADER.index("TAGS")  # before the tags
SUFFIXES = {"audio": ".mp3", "audio-low": ".low.mp3"}  # kind of sound: what it has in place of the lists' .mp3
PART_NAMES: dict[Part, str] = {"train": "train", "valid": "validation", "test": "test"}
SUBSETS = {  # vocabulary: the lists of its subset
    "top50": "autotagging_top50tags",
    "genre": "autotagging_genre",
    "instrument": "autotagging_instrument",
    "moodtheme": "autotagging_moodtheme",
    "all": "autotagging",
}
TAGS = {name: packaged_list(f"jamendo_{name}.txt") for name in ("top50", "genre", "instrument", "moodtheme")}
SIZES: Mapping[str, tuple[tuple[int, int, int], ...]] = {  # train, valid and test of split 0 and so on
    "top50": (
        (32136, 10888, 11356), (32395, 10619, 11366), (32010, 11961, 10409), (33173, 10468, 10739),
        (30868, 11593, 11919),
    ),
    "genre": (
        (32572, 11043, 11479), (32746, 10833, 11515), (32360, 12185, 10549), (33515, 10656, 10923),
        (31305, 11804, 11985),
    ),
    "instrument": (
        (14395, 5466, 5115), (14943, 4960, 5073), (14702, 5066, 5208), (14875, 5068, 5033), (14829, 5159, 4988),
    ),
    "moodtheme": (
        (9949, 3802, 4231), (10190, 3594, 4198), (10484, 4085, 3413), (10920, 3500, 3562), (10241, 3706, 4035),
    ),
}  # fmt: skip
BY_HAND = """\
1. git clone https://github.com/MTG/mtg-jamendo-dataset ROOT
2. cd ROOT; python3 scripts/download/download.py --dataset raw_30s --type audio-low --unpack --remove ROOT
   That is 156 GB; --type audio has 508 GB. For the subset moodtheme, --dataset autotagging_moodtheme has 46 or 152 GB.
3. Use audio=audio-low with the former type."""


class Jamendo(TagDataset):
    """MTG-Jamendo. Tracks have the columns artist_id, album_id and duration_s.

    Args:
        root: the folder with the lists of the repository (data/splits/split-0 and so on) and the sound (folders 00 to
            99), which may also lie in a folder of its own, named as its kind.
        split: "split-0" to "split-4".
        tags: "top50", "genre", "instrument", "moodtheme" or "all"; it chooses the subset.
        audio: kind of sound: "audio", or "audio-low" of low bit rate, whose files are named otherwise.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: there is no such kind of sound.
    """

    card = DatasetCard(
        name="jamendo",
        title="MTG-Jamendo",
        task="several",
        licence="sound: Creative Commons, each track its own; lists: CC BY-NC-SA 4.0",
        citation="Bogdanov, Won, Tovstogan, Porter and Serra, ICML 2019 workshop",
        page="https://github.com/MTG/mtg-jamendo-dataset",
        vocabularies={**TAGS, "all": (*TAGS["genre"], *TAGS["instrument"], *TAGS["moodtheme"])},
        splits={
            f"split-{number}": Split(
                rule="official; the sizes here are of the subset top50",
                n_tracks=SIZES["top50"][number],
                source="the authors",
            )
            for number in range(N_SPLITS)
        },
        by_hand=BY_HAND,
        n_tracks=N_TRACKS,
    )

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        audio: Literal["audio", "audio-low"] = "audio",
    ) -> None:
        check_choice("audio", audio, SUFFIXES)
        super().__init__(root, split=split, tags=tags)
        self.audio = audio

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks each part of the split should have, or all together, in the subset."""
        if self.vocabulary == "all":
            return {"all": N_TRACKS}
        return dict(zip(PARTS, SIZES[self.vocabulary][int(self.split.removeprefix("split-"))]))

    def _read(self) -> Iterator[Track]:
        lists = self._lists()
        sound = self._sound()
        for part in PARTS:
            path = lists / self.split / f"{SUBSETS[self.vocabulary]}-{PART_NAMES[part]}.tsv"
            lines = iter(read_lines(path))
            header = next(lines, "").split("\t")
            if header != HEADER:
                raise DatasetError(f"{printable(str(path))} does not begin with {' '.join(HEADER)}. Fetch it again.")
            for line in lines:
                yield self._track(line, part, path, sound)

    def _track(self, line: str, part: Part, path: Path, sound: Path) -> Track:
        """Read a line, on which all fields from the sixth on are tags."""
        fields = line.split("\t")
        held = set(fields[N_FIELDS:])
        if not held or not held <= set(self.tags):
            raise DatasetError(
                f"{printable(str(path))}: {printable(line)!r} has not five fields and then tags of the subset "
                f"{self.vocabulary}."
            )
        track_id, artist, album, file, duration = fields[:N_FIELDS]
        try:
            duration_s = float(duration)
        except ValueError as error:
            raise DatasetError(f"{printable(str(path))}: the duration of {track_id} is {duration!r}.") from error
        return Track(
            track_id=track_id,
            path=inside(sound, file.removesuffix(".mp3") + SUFFIXES[self.audio]),
            part=part,
            tags=tuple(tag for tag in self.tags if tag in held),
            columns={"artist_id": artist, "album_id": album, "duration_s": duration_s},
        )

    def _lists(self) -> Path:
        tops = [f"{top}{place}" for top in ("", "mtg-jamendo-dataset/") for place in ("data/splits", "splits", ".")]
        return find_folder(self.root, ["split-0"], tops, name=self.card.name)

    def _sound(self) -> Path:
        """Find the sound in a folder of its kind, or in the open."""
        tops = [f"{top}{kind}" for top in ("", "mtg-jamendo-dataset/") for kind in (self.audio, ".")]
        folders = [f"{number:02}" for number in range(100)]
        return find_optional_folder(self.root, folders, tops) or self.root
