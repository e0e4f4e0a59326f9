"""Ballroom: 698 excerpts of 30 s in eight dances.

Source: F. Gouyon, A. Klapuri, S. Dixon, M. Alonso, G. Tzanetakis, C. Uhle and P. Cano, "An experimental comparison of
audio tempo induction algorithms", IEEE Transactions on Audio, Speech and Language Processing 14(5), 2006. The
repetitions were found by B. L. Sturm and stand in github.com/CPJKU/BallroomAnnotations.

The archive keeps the rumbas in three folders, which are one dance here. Folds are as in J. Pons, T. Lidy and X. Serra,
"Experimenting with musically motivated convolutional neural networks", CBMI 2016: a random order cut into ten, not
stratified. Their order was not seeded, so nobody has their folds. There, validation is a ninth of the patches of the
other nine folds, from the same songs as train; that is had by joining train and valid here. Whole songs for validation
are as in J. Pons and X. Serra, "Designing efficient architectures for modeling temporal features with convolutional
neural networks", ICASSP 2017: the first 69 of the other nine folds, the same for nine of the folds.

That some copies have album folders within those of the dances is from memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from taggram._checks import check_choice, check_count
from taggram.datasets._base import DatasetCard, Part, Remote, TagDataset, Track
from taggram.datasets._folds import cut, fold_splits, number_of, shuffled
from taggram.datasets._layout import find_folder, walk
from taggram.errors import DatasetError, printable

DANCES = ("ChaChaCha", "Jive", "Quickstep", "Rumba", "Samba", "Tango", "VienneseWaltz", "Waltz")
RUMBAS = ("Rumba-American", "Rumba-International", "Rumba-Misc")
DANCE_OF_FOLDER = {**{dance: dance for dance in DANCES}, **dict.fromkeys(RUMBAS, "Rumba")}
N_TRACKS = 698
N_FOLDS = 10
EXACT = (  # the same file twice; the second pair has two labels
    ("Albums-AnaBelen_Veneo-11", "Albums-Chrisanne2-12"),
    ("Albums-Fire-08", "Albums-Fire-09"),
    ("Albums-Latin_Jam2-05", "Albums-Latin_Jam2-13"),
    ("Albums-Secret_Garden-01", "Media-104705"),
)
SAME_RECORDING = (
    ("Albums-AnaBelen_Veneo-03", "Albums-AnaBelen_Veneo-15"),
    ("Albums-Ballroom_Magic-03", "Albums-Ballroom_Magic-18"),
    ("Albums-Latin_Jam-04", "Albums-Latin_Jam-13"),
    ("Albums-Latin_Jam-08", "Albums-Latin_Jam-14"),
    ("Albums-Latin_Jam-06", "Albums-Latin_Jam-15"),
    ("Albums-Latin_Jam2-02", "Albums-Latin_Jam2-14"),
    ("Albums-Latin_Jam2-07", "Albums-Latin_Jam2-15"),
    ("Albums-Latin_Jam3-02", "Media-103414"),
    ("Media-103402", "Media-103415"),
)
DROPPED = {  # which repetitions are left out: their names
    "none": frozenset[str](),
    "exact": frozenset(second for _, second in EXACT),
    "recordings": frozenset(second for _, second in (*EXACT, *SAME_RECORDING)),
}
Drop = Literal["none", "exact", "recordings"]


class Ballroom(TagDataset):
    """Ballroom. Tracks have the columns fold (1 to 10) and folder (Rumba-Misc and the like).

    Args:
        root: the folder with a folder a dance, or with these in BallroomData/.
        split: "fold-1" to "fold-10".
        tags: the vocabulary, of which there is one.
        fold_seed: of the order that is cut into folds.
        drop: which repetitions are left out: "none", as published; "exact", the second file of four pairs; or
            "recordings", that of nine more pairs too.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: an option makes no sense.
    """

    card = DatasetCard(
        name="ballroom",
        title="Ballroom",
        task="one",
        licence="CC BY-NC-SA 4.0",
        citation="Gouyon, Klapuri, Dixon, Alonso, Tzanetakis, Uhle and Cano, IEEE TASLP 14(5), 2006",
        page="https://mtg.upf.edu/ismir2004/contest/tempoContest/node5.html",
        vocabularies={"ballroom8": DANCES},
        splits=fold_splits(
            N_FOLDS,
            "a random order of all songs, cut into ten: the fold is test; the first tenth of the rest, in that "
            "order, is valid (ICASSP 2017); the others are train. Join train and valid and draw patches from them for "
            "the validation of CBMI 2016",
            n_tracks=[(559, 69, 70)] * 8 + [(560, 69, 69)] * 2,
            source="taggram, after Pons, Lidy and Serra, CBMI 2016",
        ),
        remotes=(
            Remote(
                file="data1.tar.gz",
                urls=("https://mtg.upf.edu/ismir2004/contest/tempoContest/data1.tar.gz",),
                checksum="md5:2872a3e52070bc342a4510a95e2fa0b8",
                unpack=True,
            ),
        ),
        n_tracks=N_TRACKS,
        faults="Four songs are there twice, one of them under two dances, and nine recordings come again.",
    )

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        fold_seed: int = 0,
        drop: Drop = "none",
    ) -> None:
        check_count("fold_seed", fold_seed, 0)
        check_choice("drop", drop, DROPPED)
        super().__init__(root, split=split, tags=tags)
        self.fold_seed = fold_seed
        self.drop: Drop = drop

    def published_sizes(self) -> dict[Part | Literal["all"], int]:
        """Say how many tracks each part should have, or all together where repetitions are left out."""
        return {"all": N_TRACKS - len(DROPPED[self.drop])} if DROPPED[self.drop] else dict(super().published_sizes())

    def left_out(self) -> tuple[Path, ...]:
        """Give the repetitions that are left out."""
        return tuple(path for _, path in self._files() if path.stem in DROPPED[self.drop])

    def _read(self) -> Iterator[Track]:
        files = {path.stem: (folder, path) for folder, path in self._files() if path.stem not in DROPPED[self.drop]}
        order = shuffled(files, self.fold_seed)
        folds = {stem: fold for fold, run in enumerate(cut(order, N_FOLDS), 1) for stem in run}
        tested = number_of(self.split)
        rest = [stem for stem in order if folds[stem] != tested]
        validated = set(rest[: len(order) // N_FOLDS])
        for stem in sorted(files, key=lambda stem: (DANCE_OF_FOLDER[files[stem][0]], stem)):
            folder, path = files[stem]
            part: Part = "test" if folds[stem] == tested else "valid" if stem in validated else "train"
            yield Track(
                track_id=stem,
                path=path,
                part=part,
                tags=(DANCE_OF_FOLDER[folder],),
                columns={"fold": folds[stem], "folder": folder},
            )

    def _files(self) -> list[tuple[str, Path]]:
        """List the sound with the folder of its dance."""
        home = find_folder(
            self.root, list(DANCE_OF_FOLDER), ["", "BallroomData", "ballroom/audio"], name=self.card.name
        )
        found = [(folder, path) for folder in DANCE_OF_FOLDER for path in walk(home / folder, (".wav",))]
        first: dict[str, Path] = {}
        for _, path in found:
            if first.setdefault(path.stem, path) is not path:
                raise DatasetError(
                    f"{printable(str(first[path.stem]))} and {printable(str(path))} have one name; no song is there "
                    "twice."
                )
        return found
