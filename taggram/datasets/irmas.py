"""IRMAS: excerpts with their predominant instruments, one for training, one or several for testing.

Source: J. J. Bosch, J. Janer, F. Fuhrmann and P. Herrera, "A comparison of sound segregation techniques for predominant
instrument recognition in musical audio signals", ISMIR 2012; zenodo.org/record/1290750. The order irmas11_eusipco2017
and the validation of 15 % of the training files are those of J. Pons, O. Slizovskaia, R. Gong, E. Gomez and X. Serra,
"Timbre analysis of music audio signals with convolutional neural networks", EUSIPCO 2017.

Differs: there, the files for validation were drawn without a seed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from taggram._checks import check_count
from taggram.datasets._base import DatasetCard, Part, Remote, Split, TagDataset, Track
from taggram.datasets._folds import shuffled
from taggram.datasets._layout import find_folder, walk
from taggram.datasets._text import read_lines
from taggram.errors import DatasetError, printable

INSTRUMENTS = ("cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi")
EUSIPCO2017 = ("cel", "pia", "vio", "cla", "org", "gac", "tru", "flu", "sax", "gel", "voi")
NAMES = {
    "cel": "cello", "cla": "clarinet", "flu": "flute", "gac": "acoustic "
    "guitar", "gel": "electric guitar", "org": "organ",
    "pia": "piano", "sax": "saxophone", "tru": "trumpet", "vio": "violin", "voi": "voice",
}  # fmt: skip
DRUMS = ("dru", "nod")  # with drums, without
TRAINING = "IRMAS-TrainingData"
TESTING = ("IRMAS-TestingData-Part1", "IRMAS-TestingData-Part2", "IRMAS-TestingData-Part3")
N_TRAINING, N_TEST = 6_705, 2_874
PERCENT_VALID = 15
N_CODE = 3  # letters of an instrument's code
RECORD = "https://zenodo.org/record/1290750/files"
MD5 = {
    TRAINING: "4fd9f5ed5a18d8e2687e6360b5f60afe",
    TESTING[0]: "5a2e65520dcedada565dff2050bb2a56",
    TESTING[1]: "afb0c8ea92f34ee653693106be95c895",
    TESTING[2]: "9b3fb2d0c89cdc98037121c25bd5b556",
}


class IRMAS(TagDataset):
    """IRMAS. Columns: recording_id (excerpts of one recording share it), genre and drums ("dru", "nod"), None in test.

    Args:
        root: the folder with IRMAS-TrainingData and IRMAS-TestingData-Part1 to 3, or with what is in them.
        split: "official", or "official-by-recording".
        tags: "irmas11", or "irmas11_eusipco2017" for the order of that paper.
        valid_seed: of the files that are drawn for validation.

    Attributes:
        card: the facts.

    Raises:
        UnknownNameError: there is no such split or vocabulary.
        ConfigError: the seed is no whole number.
    """

    card = DatasetCard(
        name="irmas",
        title="IRMAS",
        task="several",
        licence="CC BY-NC-SA 3.0",
        citation="Bosch, Janer, Fuhrmann and Herrera, ISMIR 2012",
        page="https://www.upf.edu/web/mtg/irmas",
        vocabularies={"irmas11": INSTRUMENTS, "irmas11_eusipco2017": EUSIPCO2017},
        splits={
            "official": Split(
                rule="the official training and testing data, of the former 15 % of the files for validation; "
                "excerpts of one recording may be in train and in valid (EUSIPCO 2017)",
                n_tracks=(5_699, 1_006, 2_874),
                source="the authors; validation: taggram",
            ),
            "official-by-recording": Split(
                rule="the official training and testing data, of the former whole recordings for validation, until "
                "they are 15 % of the files",
                source="the authors; validation: taggram",
            ),
        },
        remotes=tuple(
            Remote(file=f"{name}.zip", urls=(f"{RECORD}/{name}.zip?download=1",), checksum=f"md5:{md5}", unpack=True)
            for name, md5 in MD5.items()
        ),
        n_tracks=N_TRAINING + N_TEST,
        faults="Every file for training has one instrument; those for testing have one to five.",
    )

    def __init__(self, root: Path, *, split: str | None = None, tags: str | None = None, valid_seed: int = 0) -> None:
        check_count("valid_seed", valid_seed, 0)
        super().__init__(root, split=split, tags=tags)
        self.valid_seed = valid_seed

    def published_sizes(self) -> Mapping[Part | Literal["all"], int]:
        """Say how many tracks each part should have, or all together where recordings stay whole."""
        return super().published_sizes() or {"all": N_TRAINING + N_TEST}

    def _read(self) -> Iterator[Track]:
        home = find_folder(self.root, list(INSTRUMENTS), ["", TRAINING], name=self.card.name)
        training = {
            f"{instrument}/{_name(path)}": (instrument, path)
            for instrument in INSTRUMENTS
            for path in walk(home / instrument, (".wav",))
        }
        validated = self._validated(list(training))
        for name, (instrument, path) in training.items():
            genre, drums = _facts(name)
            yield Track(
                track_id=name,
                path=path,
                part="valid" if name in validated else "train",
                tags=(instrument,),
                columns={"recording_id": _recording(name), "genre": genre, "drums": drums},
            )
        yield from self._testing()

    def _testing(self) -> Iterator[Track]:
        """Give the files for testing, each of which is named by a list of its instruments."""
        for number, top in enumerate(TESTING, 1):
            places = (f"{top}/Part{number}", f"Part{number}", top)
            home = next((self.root / place for place in places if (self.root / place).is_dir()), None)
            if home is None:
                raise DatasetError(
                    f"no {places[0]} in {printable(str(self.root))}. `taggram data get irmas --root "
                    f"{printable(str(self.root))}` fetches it."
                )
            for path in walk(home, (".txt",)):
                held = {line[:N_CODE] for line in read_lines(path)}  # a tab follows
                if not held or not held <= set(INSTRUMENTS):
                    raise DatasetError(
                        f"{printable(str(path))}: wanted a line an instrument, of {', '.join(INSTRUMENTS)}."
                    )
                name = f"Part{number}/{_name(path)}"
                yield Track(
                    track_id=name,
                    path=path.with_suffix(".wav"),
                    part="test",
                    tags=tuple(tag for tag in self.tags if tag in held),
                    columns={"recording_id": _title(name), "genre": None, "drums": None},
                )

    def _validated(self, names: list[str]) -> set[str]:
        """Draw the files for validation."""
        n_valid = round(len(names) * PERCENT_VALID / 100)
        if self.split == "official":
            return set(shuffled(names, self.valid_seed)[:n_valid])
        by_recording: dict[str, list[str]] = {}
        for name in names:
            by_recording.setdefault(_recording(name), []).append(name)
        drawn: set[str] = set()
        for recording in shuffled(by_recording, self.valid_seed):
            if len(drawn) >= n_valid:
                break
            drawn.update(by_recording[recording])
        return drawn


def _name(path: Path) -> str:
    """Give the name of a file without its suffix; systems write accents in one way or another."""
    return unicodedata.normalize("NFC", path.stem)


def _facts(name: str) -> tuple[str | None, str | None]:
    """Take genre and drums out of "[cla][nod][jaz_blu]0189__2", in which the drums may be missing."""
    brackets = re.findall(r"\[(\w+)\]", name)[1:]
    drums = next((word for word in brackets if word in DRUMS), None)
    return next((word for word in brackets if word not in DRUMS), None), drums


def _recording(name: str) -> str:
    """Take the number of the excerpt off a name, which leaves the recording."""
    return re.sub(r"__\d+$", "", name)


def _title(name: str) -> str:
    """Take the number of the excerpt off a name of the testing data."""
    return re.sub(r"-\d+$", "", name)
