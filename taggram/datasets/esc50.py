"""ESC-50: 2,000 sounds of 5 s in 50 classes and five given folds.

Source: K. J. Piczak, "ESC: dataset for environmental sound classification", ACM Multimedia 2015;
github.com/karolpiczak/ESC-50.

The spelling of the classes is from a copy of its description; where the table spells one otherwise, that is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from taggram.datasets._base import DatasetCard, Part, Remote, TagDataset, Track
from taggram.datasets._folds import fold_splits, number_of, part_of
from taggram.datasets._layout import find_folder, inside
from taggram.datasets._text import read_table

TABLE = "meta/esc50.csv"
CLASSES = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow",
    "rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind", "pouring_water",
    "toilet_flush", "thunderstorm",
    "crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing", "brushing_teeth",
    "snoring", "drinking_sipping",
    "door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening", "washing_machine",
    "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking",
    "helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane", "fireworks",
    "hand_saw",
)  # fmt: skip
ESC10 = (
    "dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing", "clock_tick", "helicopter",
    "chainsaw",
)  # fmt: skip
N_FOLDS = 5
N_OF_CLASS_AND_FOLD = 8
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


class ESC50(TagDataset):
    """ESC-50, or its part ESC-10. Tracks have the columns fold, recording_id (sounds of one are in one fold) and take.

    Args:
        root: the folder with audio/ and meta/, or with these in ESC-50-master/.
        split: "fold-1" to "fold-5".
        tags: "esc50", or "esc10" for the ten classes whose licence is CC BY.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
    """

    card = DatasetCard(
        name="esc50",
        title="ESC-50",
        task="one",
        licence="CC BY-NC 3.0; ESC-10: CC BY",
        citation="Piczak, ACM Multimedia 2015",
        page="https://github.com/karolpiczak/ESC-50",
        vocabularies={"esc50": CLASSES, "esc10": ESC10},
        splits=fold_splits(
            N_FOLDS,
            "the given folds: the fold is test, the others are train; nothing is for validation. Report the mean "
            "of all five",
            n_tracks=[(1_600, 0, 400)] * N_FOLDS,
            source="the author",
        ),
        remotes=(
            Remote(
                file="ESC-50-master.zip",
                urls=("https://github.com/karolpiczak/ESC-50/archive/master.zip",),
                checksum="md5:7771e4b9d86d0945acce719c7a59305a",
                unpack=True,
            ),
        ),
        n_tracks=2_000,
        faults="Many clips are filled up to 5 s with zeros. The archive is one that GitHub packs: if its checksum has "
        "changed, unpack it by hand.",
    )

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks each part should have in the classes that are read."""
        n_of_fold = len(self.tags) * N_OF_CLASS_AND_FOLD
        return {"train": (N_FOLDS - 1) * n_of_fold, "valid": 0, "test": n_of_fold}

    def _read(self) -> Iterator[Track]:
        folder = find_folder(self.root, [TABLE], ["", "ESC-50-master", "ESC-50"], name=self.card.name)
        tested = number_of(self.split) or 0
        for row in read_table(folder / TABLE, COLUMNS):
            fold, number = row.whole("fold"), row.whole("target")
            if not 1 <= fold <= N_FOLDS:
                raise row.wrong("fold", f"a number from 1 to {N_FOLDS}")
            if number >= len(CLASSES) or row["category"] != CLASSES[number]:
                raise row.wrong("category", f"the name of class {number}, {CLASSES[number % len(CLASSES)]}")
            if row["category"] not in self.tags:
                continue
            yield Track(
                track_id=row["filename"].removesuffix(".wav"),
                path=inside(folder / "audio", row["filename"]),
                part=part_of(fold, tested, N_FOLDS, validated=False),
                tags=(row["category"],),
                columns={"fold": fold, "recording_id": row["src_file"], "take": row["take"]},
            )
