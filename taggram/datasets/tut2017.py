"""TUT Acoustic Scenes 2017: segments of 10 s of fifteen scenes, for development and for evaluation.

Source: A. Mesaros, T. Heittola and T. Virtanen, DCASE 2017 challenge, task 1; zenodo.org/record/400515 and 1040168.
File names, sizes and checksums stand in github.com/DCASE-REPO/dcase_util.

One scene has a slash in its name, "cafe/restaurant": no name of a scene is a name of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from taggram.datasets._base import DatasetCard, Part, Remote, Split, TagDataset, Track
from taggram.datasets._folds import fold_splits, number_of
from taggram.datasets._layout import find_folder, inside
from taggram.datasets._text import read_lines
from taggram.errors import DatasetError, printable

SCENES = (
    "beach", "bus", "cafe/restaurant", "car", "city_center", "forest_path", "grocery_store", "home", "library",
    "metro_station", "office", "park", "residential_area", "train", "tram",
)  # fmt: skip
DEVELOPMENT, EVALUATION = "TUT-acoustic-scenes-2017-development", "TUT-acoustic-scenes-2017-evaluation"
N_DEVELOPMENT, N_EVALUATION = 312 * len(SCENES), 108 * len(SCENES)
N_FOLDS = 4
RECORDS = {DEVELOPMENT: 400515, EVALUATION: 1040168}
FILES = (  # set, what is in the file, bytes, md5
    (DEVELOPMENT, "meta", 104_321, "9007fd4772d816590c5db5f5e9568f5d"),
    (DEVELOPMENT, "error", 1_432, "802c700b021769e52a2c1e3b9c117a1b"),
    (DEVELOPMENT, "audio.1", 1_071_445_248, "251325a9afaaad0326ad1c57f57d514a"),
    (DEVELOPMENT, "audio.2", 1_073_453_613, "c26861e05147dc319b4250eb103d9d99"),
    (DEVELOPMENT, "audio.3", 1_073_077_819, "a4815775f8a5e629179726ee4cd4f55a"),
    (DEVELOPMENT, "audio.4", 1_072_822_038, "1732b03afe8c53ef8bba80ba14766e57"),
    (DEVELOPMENT, "audio.5", 1_072_644_652, "611be754a0c951185c6ae4b7643c19a0"),
    (DEVELOPMENT, "audio.6", 1_072_667_888, "165a201db800d3ea76fce5a9c2bd97d7"),
    (DEVELOPMENT, "audio.7", 1_073_417_661, "c7d79db84264401c0f8680dcc36013ad"),
    (DEVELOPMENT, "audio.8", 1_072_381_222, "35043f25123439392338c790494c7a19"),
    (DEVELOPMENT, "audio.9", 1_072_087_738, "0805dcf5d8e6871dc9610182b2efb93a"),
    (DEVELOPMENT, "audio.10", 1_046_262_120, "5df83a191295a04e290b125c634e13e7"),
    (EVALUATION, "meta", 4_473, "e006cfec14a49dd79a6ab8f8d5b1c5e6"),
    (EVALUATION, "audio.1", 1_071_856_687, "5d97dea8461baec8027ae4a0c2b18d4b"),
    (EVALUATION, "audio.2", 1_073_362_972, "4085ef5fa286f2169074993a4e405953"),
    (EVALUATION, "audio.3", 1_071_521_152, "cac432579e7cf2dff0aec7aaed248956"),
    (EVALUATION, "audio.4", 382_756_463, "664bf09c3d24bd26c6b587f1d709de36"),
)


class TUT2017(TagDataset):
    """TUT Acoustic Scenes 2017. The column location_id says where a segment was recorded, None where that is not told.

    Args:
        root: the folder with TUT-acoustic-scenes-2017-development and -evaluation. For the folds, the former is enough,
            or what is in it.
        split: "development-evaluation", or "fold-1" to "fold-4".
        tags: the vocabulary, of which there is one.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
    """

    card = DatasetCard(
        name="tut2017",
        title="TUT Acoustic Scenes 2017",
        task="one",
        licence="free for research, non-commercial",
        citation="Mesaros, Heittola and Virtanen, DCASE 2017",
        page="https://dcase.community/challenge2017/task-acoustic-scene-classification",
        vocabularies={"tut2017": SCENES},
        splits={
            "development-evaluation": Split(
                rule="the development set is train, the evaluation set is test; nothing is for validation (few data)",
                n_tracks=(N_DEVELOPMENT, 0, N_EVALUATION),
                source="the authors",
            ),
            **fold_splits(
                N_FOLDS,
                "the official fold of the development set, no location in two parts; nothing is for validation",
                source="the authors",
            ),
        },
        remotes=tuple(
            Remote(
                file=f"{half}.{what}.zip",
                urls=(f"https://zenodo.org/record/{RECORDS[half]}/files/{half}.{what}.zip?download=1",),
                checksum=f"md5:{md5}",
                size=size,
                unpack=True,
            )
            for half, what, size, md5 in FILES
        ),
        n_tracks=N_DEVELOPMENT + N_EVALUATION,
        faults="In some segments a microphone fails for a moment; the folder error lists when.",
    )

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks the split should have."""
        return super().published_sizes() or {"all": N_DEVELOPMENT}

    def _read(self) -> Iterator[Track]:
        development = self._folder(DEVELOPMENT)
        fold = number_of(self.split)
        if fold is not None:
            yield from _development(development, f"evaluation_setup/fold{fold}_train.txt", "train")
            yield from _development(development, f"evaluation_setup/fold{fold}_evaluate.txt", "test")
            return
        yield from _development(development, "meta.txt", "train")
        evaluation = self._folder(EVALUATION)
        recorded_as = _recorded_names(evaluation)
        for file, scene in _listed(evaluation / "evaluation_setup/evaluate.txt"):
            yield _track(evaluation, file, scene, "test", f"evaluation/{Path(file).stem}", recorded_as.get(file))

    def _folder(self, half: str) -> Path:
        if half == DEVELOPMENT:
            return find_folder(self.root, ["meta.txt"], [half, "development", ""], name=self.card.name)
        return find_folder(self.root, ["evaluation_setup/evaluate.txt"], [half, "evaluation"], name=self.card.name)


def _development(folder: Path, name: str, part: Part) -> Iterator[Track]:
    """Read a list of the development set, whose names tell where a segment was recorded."""
    for file, scene in _listed(folder / name):
        yield _track(folder, file, scene, part, Path(file).stem, file)


def _track(folder: Path, file: str, scene: str, part: Part, track_id: str, recorded_as: str | None) -> Track:
    location = None if recorded_as is None else Path(recorded_as).name.partition("_")[0]
    return Track(
        track_id=track_id, path=inside(folder, file), part=part, tags=(scene,), columns={"location_id": location}
    )


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    """Read a list of files and scenes, separated by tabs; further fields are left alone."""
    for line in read_lines(path):
        file, scene = [*line.split("\t"), ""][:2]
        if scene.strip() not in SCENES:
            raise DatasetError(f"{printable(str(path))}: {printable(line)!r} is no path, a tab and one of the scenes.")
        yield file, scene.strip()


def _recorded_names(folder: Path) -> dict[str, str]:
    """Read under which name each file for evaluation was recorded, where that is told."""
    path = folder / "evaluation_setup" / "map.txt"
    rows = (line.split("\t") for line in read_lines(path)) if path.exists() else ()
    return {row[1].strip(): row[0] for row in rows if len(row) > 1}
