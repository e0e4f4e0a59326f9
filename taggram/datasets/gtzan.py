"""GTZAN: 1,000 clips of 30 s in ten genres.

Source: G. Tzanetakis and P. Cook, "Musical genre classification of audio signals", IEEE Transactions on Speech and
Audio Processing 10(5), 2002. The filtered split is that of C. Kereliuk, B. L. Sturm and J. Larsen, "Deep learning and
music adversaries", 2015, as it stands in github.com/jongpillee/music_dataset_split. The faults were listed by B. L.
Sturm, "The GTZAN dataset", 2013.

The ten folds are taggram's own. Songs and artists come again in other folds, so their scores are higher than those of
the filtered split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taggram._checks import check_count
from taggram.datasets._base import PARTS, DatasetCard, Part, Remote, Split, TagDataset, Track
from taggram.datasets._folds import cut, fold_splits, number_of, part_of, shuffled
from taggram.datasets._layout import find_folder
from taggram.datasets._text import packaged_list

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
N_OF_GENRE = 100
N_FOLDS = 10
SUFFIXES = (".wav", ".au")
TOPS = (
    "",
    "genres",
    "genres_original",
    "Data/genres_original",
    "Data",
    "gtzan",
    "gtzan/genres",
    "GTZAN",
    "GTZAN/genres",
)


class GTZAN(TagDataset):
    """GTZAN. Tracks have the column fold, 1 to 10, of the seeded folds.

    Args:
        root: the folder with a folder a genre, or with these in genres/, genres_original/ or Data/genres_original/.
            Files may be .wav or .au.
        split: "fault-filtered", or "fold-1" to "fold-10".
        tags: the vocabulary, of which there is one.
        fold_seed: of the folds.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: the seed is no whole number.
    """

    card = DatasetCard(
        name="gtzan",
        title="GTZAN genre collection",
        task="one",
        licence="none stated; used for research",
        citation="Tzanetakis and Cook, IEEE TSAP 10(5), 2002",
        page="http://marsyas.info/downloads/datasets.html",
        vocabularies={"gtzan10": GENRES},
        splits={
            "fault-filtered": Split(
                rule="930 clips without known faults, no artist in two parts",
                n_tracks=(443, 197, 290),
                source="Kereliuk, Sturm and Larsen, 2015",
            ),
            **fold_splits(
                N_FOLDS,
                "all clips at random, of each genre as many: the fold is test, the next one valid, the others "
                "train. Songs and artists come again in other folds, so scores are too high",
                n_tracks=[(800, 100, 100)] * N_FOLDS,
                source="taggram",
            ),
        },
        remotes=(
            Remote(
                file="genres.tar.gz",
                urls=("http://opihi.cs.uvic.ca/sound/genres.tar.gz",),
                checksum="md5:5b3d6dddb579ab49814ab86dba69e7c7",
                unpack=True,
            ),
        ),
        n_tracks=len(GENRES) * N_OF_GENRE,
        faults="50 exact repetitions, one across genres; 22 excerpts of recordings that are there again; 13 versions; "
        "43 clear and 63 arguable wrong labels; one clip of noise; few artists in some genres. In a common repack "
        "jazz.00054.wav cannot be read, which is in train of fault-filtered.",
    )

    def __init__(self, root: Path, *, split: str | None = None, tags: str | None = None, fold_seed: int = 0) -> None:
        check_count("fold_seed", fold_seed, 0)
        super().__init__(root, split=split, tags=tags)
        self.fold_seed = fold_seed

    def _read(self) -> Iterator[Track]:
        folder = find_folder(self.root, GENRES, TOPS, name=self.card.name)
        tested = number_of(self.split)
        filtered = filtered_parts()
        for genre in GENRES:
            stems = [f"{genre}.{number:05}" for number in range(N_OF_GENRE)]
            runs = cut(shuffled(stems, self.fold_seed), N_FOLDS)
            folds = {stem: fold for fold, run in enumerate(runs, 1) for stem in run}
            suffix = _suffix(folder / genre)
            for stem in stems:
                part = filtered.get(stem) if tested is None else part_of(folds[stem], tested, N_FOLDS, validated=True)
                if part is not None:
                    yield Track(
                        track_id=stem,
                        path=folder / genre / f"{stem}{suffix}",
                        part=part,
                        tags=(genre,),
                        columns={"fold": folds[stem]},
                    )


def filtered_parts() -> dict[str, Part]:
    """Say in which part of the filtered split each clip is, by its name without suffix."""
    parts: dict[str, Part] = {}
    for line in packaged_list("gtzan_fault_filtered.txt"):
        word, genre, *runs = line.split()
        part = next(part for part in PARTS if part == word)
        for run in runs:
            first, _, last = run.partition("-")
            parts |= {f"{genre}.{number:05}": part for number in range(int(first), int(last or first) + 1)}
    return parts


def _suffix(folder: Path) -> str:
    """Say how the files of a folder end."""
    return next((suffix for suffix in SUFFIXES if any(folder.glob(f"*{suffix}"))), SUFFIXES[0])
