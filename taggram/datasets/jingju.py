"""Phonemes of jingju (Beijing opera) sung without accompaniment: each annotated phoneme is a track.

Source: R. Gong, R. Caro Repetto, Y. Yang and X. Serra, "Jingju a cappella singing dataset part 1", 2018, and its
annotations in github.com/MTG/jingjuPhonemeAnnotation. Classes and splits are those of J. Pons, O. Slizovskaia, R. Gong,
E. Gomez and X. Serra, "Timbre analysis of music audio signals with convolutional neural networks", EUSIPCO 2017, as
they stand in github.com/ronggong/EUSIPCO2017.

Differs: that code trains on the training recordings of one split and scores on the test recordings of the other, of
which it has then heard 11 of 14 (dan) and 4 of 7 (laosheng). Here a split is a split; S is the one whose training
recordings the published weights were trained on. There, a fifth of the frames for training, of each class its share, is
for validation; frames are no tracks, so valid is empty here.

A phoneme belongs to a syllable if it lies within it, up to a millisecond; the code wants equal ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taggram._checks import check
from taggram.datasets._base import DatasetCard, Part, Remote, Split, TagDataset, Track, name_some
from taggram.datasets._layout import find_folder, find_optional_folder
from taggram.datasets._text import packaged_list, read_lines
from taggram.datasets._textgrid import Interval, read_textgrid
from taggram.errors import DatasetError, printable

SYMBOLS = {  # class: the symbols of X-SAMPA that are annotated
    "sil": ("", "sil"), "?": ("?",), "an": ("an",), "in": ("in", "yn"), "aI^": ("aI^",), "SN": ("7N",), "@n": ("@n",),
    "eI^": ("eI^",), "ONE": ("1",), "S": ("7", "9"), "iNiN": ("iN",), "@": ("@",), "E": ("E",), "MM": ("M",),
    "O": ("O",), "N": ("N",), "oU^": ("oU^",), "ANAN": ("AN",), "AU^": ("AU^",), "a": ("a",), "EnEn": ("En",),
    "i": ("i",), "UN": ("UN",), "u": ("u", "w", "U^"), "y": ("y", "H"), "j": ("j",), "rr": ("r\\'",),
    "vc": ("m", "l", "n"), "nvc": ("c", "f", "k", "s", "x"),
}  # fmt: skip
CLASS_OF = {symbol: name for name, symbols in SYMBOLS.items() for symbol in symbols}
ROLES = {  # role: the folders that it has in one release or another
    "dan": ("dan", "danAll"),
    "laosheng": ("laosheng", "qmLonUpf/laosheng"),
}
SYLLABLES, PHONEMES = "dian", "details"  # tiers
TOLERANCE_S = 0.001
SILENT = "sil"  # how the text files write nothing
RECORD = "https://zenodo.org/record/1323561/files"


@dataclass(frozen=True)
class Recording:
    """A recording of the two splits.

    Attributes:
        role: "dan" or "laosheng".
        name: of its files.
        parts: by split, "S" and "P".
    """

    role: str
    name: str
    parts: Mapping[str, Part]


def _recordings() -> Iterator[Recording]:
    for line in packaged_list("jingju_recordings.txt"):
        role, name, *words = line.split("\t")
        parts: dict[str, Part] = {split: "test" if word == "test" else "train" for split, word in zip("SP", words)}
        yield Recording(role, name, parts)


RECORDINGS = tuple(_recordings())


class Jingju(TagDataset):
    """Phonemes of 42 recordings of dan and 23 of laosheng.

    Tracks are cut out of their recordings by `start_s` and `end_s`. Columns: recording_id, role, symbol (as annotated)
    and syllable (its text, "" where it is not known). Of stereo recordings, the published features take the left
    channel.

    Args:
        root: the folder with wav/ and textgrid/ or annotation_txt/, each with a folder a role. The TextGrids may also
            lie in jingjuPhonemeAnnotation/. They are taken where they are there; where not, the text files. Recordings
            without annotation are left out.
        split: "S" or "P".
        tags: the vocabulary, of which there is one, in the order of the published networks.
        role: "dan" or "laosheng", which were modelled apart; None is both.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: there is no such role.
    """

    card = DatasetCard(
        name="jingju",
        title="Jingju a cappella singing, phonemes",
        task="one",
        licence="CC BY-NC 4.0, in the first release CC BY-NC-SA 4.0; recordings of qm: terms of C4DM",
        citation="Gong, Caro Repetto, Yang and Serra, 2018",
        page="https://doi.org/10.5281/zenodo.1323561",
        vocabularies={"jingju29": tuple(SYMBOLS)},
        splits={
            "S": Split(
                rule="test are 12 recordings of dan and 10 of laosheng of which there are scores, train the other 30 "
                "and 13; for validation, draw a fifth of the frames of train, of each class its share",
                source="Pons, Slizovskaia, Gong, Gomez and Serra, EUSIPCO 2017",
            ),
            "P": Split(
                rule="test are 14 recordings of dan and 7 of laosheng, train the other 28 and 16; for validation as S",
                source="Pons, Slizovskaia, Gong, Gomez and Serra, EUSIPCO 2017",
            ),
        },
        remotes=(
            Remote(
                file="wav.zip",
                urls=(f"{RECORD}/wav.zip?download=1",),
                checksum="md5:4722abda831c20b169a62b2754b15bea",
                unpack=True,
            ),
            Remote(
                file="annotation_txt.zip",
                urls=(f"{RECORD}/annotation_txt.zip?download=1",),
                checksum="md5:851c9c3fe195fd20bec42d32ddd9deb7",
                unpack=True,
            ),
            Remote(
                file="catalogue - dan.csv",
                urls=(f"{RECORD}/catalogue%20-%20dan.csv?download=1",),
                checksum="md5:82ce90bd8508b1ae12c6a1fe489618a4",
                optional=True,
            ),
            Remote(
                file="catalogue - laosheng.csv",
                urls=(f"{RECORD}/catalogue%20-%20laosheng.csv?download=1",),
                checksum="md5:768fa00ce1f8880ae5480fae103ecc06",
                optional=True,
            ),
        ),
        by_hand="For the annotations that the published numbers were counted in: git clone "
        "https://github.com/MTG/jingjuPhonemeAnnotation ROOT/jingjuPhonemeAnnotation",
        faults="Recordings of a minute and more have long rests.",
    )

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        role: Literal["dan", "laosheng"] | None = None,
    ) -> None:
        check(role is None or role in ROLES, "role", role, f"{' or '.join(ROLES)}, or nothing for both")
        super().__init__(root, split=split, tags=tags)
        self.role = role

    def notes(self) -> tuple[str, ...]:
        """Say what is odd about the split, and which recordings have no annotation."""
        annotations = self._annotations()
        gone = [one.name for one in self._recordings() if not annotations.path(one).exists()]
        note = f"{len(gone)} recordings have no annotation and are left out: {name_some(gone)}"
        return (*super().notes(), *([note] if gone else []))

    def _read(self) -> Iterator[Track]:
        annotations = self._annotations()
        for recording in self._recordings():
            if not annotations.path(recording).exists():
                continue
            path = _role_folder(self.root / "wav", recording.role) / f"{recording.name}.wav"
            syllables, phonemes = annotations.read(recording)
            for number, (phoneme, syllable) in enumerate(_within(phonemes, syllables)):
                yield Track(
                    track_id=f"{recording.name}:{number:04}",
                    path=path,
                    part=recording.parts[self.split],
                    tags=(_class_of(phoneme, recording),),
                    start_s=phoneme.start_s,
                    end_s=phoneme.end_s,
                    columns={
                        "recording_id": recording.name,
                        "role": recording.role,
                        "symbol": phoneme.text,
                        "syllable": syllable.text,
                    },
                )

    def _recordings(self) -> list[Recording]:
        return [recording for recording in RECORDINGS if self.role in (None, recording.role)]

    def _annotations(self) -> _TextGrids | _TextFiles:
        marks = [folder for folders in ROLES.values() for folder in folders]
        tops = ["textgrid", "jingjuPhonemeAnnotation", "jingjuPhonemeAnnotation-master"]
        grids = find_optional_folder(self.root, marks, tops)
        if grids is not None:
            return _TextGrids(grids)
        return _TextFiles(find_folder(self.root, marks, ["annotation_txt", "textgrid"], name=self.card.name))


@dataclass(frozen=True)
class _TextGrids:
    """Annotations in TextGrids.

    Attributes:
        folder: with a folder a role.
    """

    folder: Path

    def path(self, recording: Recording) -> Path:
        """Say where the annotation of a recording is."""
        return _role_folder(self.folder, recording.role) / f"{recording.name}.TextGrid"

    def read(self, recording: Recording) -> tuple[list[Interval], list[Interval]]:
        """Read syllables and phonemes; names of tiers may have dots in them."""
        path = self.path(recording)
        tiers = {name.replace(".", ""): intervals for name, intervals in read_textgrid(path).items()}
        if missing := [name for name in (SYLLABLES, PHONEMES) if name not in tiers]:
            raise DatasetError(
                f"{printable(str(path))} has no tier {' and '.join(missing)}; it has {', '.join(tiers)}."
            )
        return tiers[SYLLABLES], tiers[PHONEMES]


@dataclass(frozen=True)
class _TextFiles:
    """Annotations in text files, one for syllables and one for phonemes.

    Attributes:
        folder: with a folder a role.
    """

    folder: Path

    def path(self, recording: Recording) -> Path:
        """Say where the phonemes of a recording are."""
        return _role_folder(self.folder, recording.role) / f"{recording.name}_phoneme.txt"

    def read(self, recording: Recording) -> tuple[list[Interval], list[Interval]]:
        """Read syllables and phonemes: a line each, start, end and label with tabs between."""
        path = self.path(recording)
        return _labels(path.with_name(f"{recording.name}_syllable.txt")), _labels(path)


def _role_folder(folder: Path, role: str) -> Path:
    """Find the folder of a role."""
    return find_optional_folder(folder, ["."], ROLES[role]) or folder / role


def _labels(path: Path) -> list[Interval]:
    """Read a text file."""
    intervals = []
    for line in read_lines(path):
        start, end, label = [*line.split("\t"), "", ""][:3]
        try:
            intervals.append(Interval(float(start), float(end), "" if label == SILENT else label))
        except ValueError as error:
            raise DatasetError(
                f"{printable(str(path))}: {printable(line)!r} is no start, end and label, with tabs between."
            ) from error
    return intervals


def _within(phonemes: list[Interval], syllables: list[Interval]) -> Iterator[tuple[Interval, Interval]]:
    """Give the phonemes that lie within a syllable with a text, each with its syllable."""
    sung = sorted((syllable for syllable in syllables if syllable.text.strip()), key=lambda one: one.start_s)
    place = 0
    for phoneme in sorted(phonemes, key=lambda one: one.start_s):
        while place < len(sung) and sung[place].end_s <= phoneme.start_s + TOLERANCE_S:
            place += 1
        if place == len(sung):
            return
        syllable = sung[place]
        if phoneme.start_s >= syllable.start_s - TOLERANCE_S and phoneme.end_s <= syllable.end_s + TOLERANCE_S:
            yield phoneme, syllable


def _class_of(phoneme: Interval, recording: Recording) -> str:
    """Say which class a phoneme is of."""
    name = CLASS_OF.get(phoneme.text.strip())
    if name is None:
        raise DatasetError(
            f"{recording.name}: the phoneme {phoneme.text!r} at {phoneme.start_s} s is none of the data set's."
        )
    return name
