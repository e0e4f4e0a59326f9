"""UrbanSound8K: 8,732 sounds of the street of at most 4 s, in ten classes and ten given folds.

Source: J. Salamon, C. Jacoby and J. P. Bello, "A dataset and taxonomy for urban sound research", ACM Multimedia 2014.
Validation by the next fold is as in J. Pons, J. Serra and X. Serra, "Training neural audio classifiers with few data",
ICASSP 2019.

That sample rates go from 8 to 192 kHz, and that some files are of odd types, is from memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from taggram.datasets._base import DatasetCard, Remote, TagDataset, Track
from taggram.datasets._folds import fold_splits, number_of, part_of
from taggram.datasets._layout import find_folder, inside
from taggram.datasets._text import read_table

TABLE = "metadata/UrbanSound8K.csv"
CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
    "jackhammer", "siren", "street_music",
)  # fmt: skip
FOLD_SIZES = (873, 888, 925, 990, 936, 823, 838, 806, 816, 837)
N_FOLDS = len(FOLD_SIZES)
N_TRACKS = sum(FOLD_SIZES)
COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")


def _sizes(fold: int) -> tuple[int, int, int]:
    """Say how many tracks are in train, valid and test where a fold, from 0 on, is the test."""
    test, valid = FOLD_SIZES[fold], FOLD_SIZES[(fold + 1) % N_FOLDS]
    return N_TRACKS - test - valid, valid, test


class UrbanSound8K(TagDataset):
    """UrbanSound8K.

    Columns: fold, recording_id (sounds of one recording are in one fold), start_in_recording_s, end_in_recording_s and
    salience (1 is foreground, 2 background).

    Args:
        root: the folder with audio/ and metadata/, or with these in UrbanSound8K/.
        split: "fold-1" to "fold-10".
        tags: the vocabulary, of which there is one.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
    """

    card = DatasetCard(
        name="urbansound8k",
        title="UrbanSound8K",
        task="one",
        licence="CC BY-NC 3.0 in its text, CC BY-NC 4.0 on its page",
        citation="Salamon, Jacoby and Bello, ACM Multimedia 2014",
        page="https://urbansounddataset.weebly.com/urbansound8k.html",
        vocabularies={"urbansound8k": CLASSES},
        splits=fold_splits(
            N_FOLDS,
            "the given folds: the fold is test, the next one valid, the others train (few data). Where nothing is "
            "chosen by validation, join train and valid (randomly weighted CNNs). Report the mean of all ten, and "
            "never deal out anew: sounds of one recording share a fold",
            n_tracks=[_sizes(fold) for fold in range(N_FOLDS)],
            source="the authors",
        ),
        remotes=(
            Remote(
                file="UrbanSound8K.tar.gz",
                urls=("https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz?download=1",),
                checksum="md5:9aa69802bbf37fb986f71ec1483a196e",
                unpack=True,
            ),
        ),
        n_tracks=N_TRACKS,
        faults="Files differ in sample rate, depth and channels; some are as short as 0.05 s.",
    )

    def _read(self) -> Iterator[Track]:
        folder = find_folder(self.root, [TABLE], ["", "UrbanSound8K"], name=self.card.name)
        tested = number_of(self.split) or 0
        for row in read_table(folder / TABLE, COLUMNS):
            fold, number = row.whole("fold"), row.whole("classID")
            if not 1 <= fold <= N_FOLDS:
                raise row.wrong("fold", f"a number from 1 to {N_FOLDS}")
            if row["class"] not in CLASSES or CLASSES.index(row["class"]) != number:
                raise row.wrong("class", f"the name of class {number}")
            yield Track(
                track_id=row["slice_file_name"].removesuffix(".wav"),
                path=inside(folder / "audio" / f"fold{fold}", row["slice_file_name"]),
                part=part_of(fold, tested, N_FOLDS, validated=True),
                tags=(row["class"],),
                columns={
                    "fold": fold,
                    "recording_id": row["fsID"],
                    "start_in_recording_s": row.number("start"),
                    "end_in_recording_s": row.number("end"),
                    "salience": row.whole("salience"),
                },
            )
