"""The recordings of the study on phonemes: those of the data set, or made-up singing in its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.datasets import TagDataset
from taggram.datasets._base import Part
from taggram.datasets.jingju import Jingju
from taggram.datasets.jingju import Recording as Listed
from taggram.errors import ConfigError, DatasetError, printable
from taggram.learning.recipe import DataConfig
from taggram.learning.train import open_data
from taggram.studies._made_singing import RATE, make_recordings, n_recordings, n_tests, write_textgrid, write_wav
from taggram.studies._recording_frames import frame_at, hash_of_files

if TYPE_CHECKING:
    from taggram.datasets._base import Track
    from taggram.learning.train import Watcher

CORPUS, MADE, RECORDINGS = "jingju", "made_singing", "recordings.json"
CLASSES = Jingju.card.vocabularies["jingju29"]
WANTED = "this study takes data=jingju data.root=DIR, or nothing for made-up singing"

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class SungRecording:
    """A recording with its phonemes.

    Attributes:
        role: "dan" or "laosheng".
        name: of its files.
        part: "train" or "test".
        audio: its sound.
        phonemes: start and end in seconds and number of the class of each, in order of time.
    """

    role: str
    name: str
    part: str
    audio: Path
    phonemes: tuple[tuple[float, float, int], ...]

    def labels(self, n_frames: int) -> tuple[Whole, Whole]:
        """Label the frames that are annotated.

        Args:
            n_frames: of the recording; an annotation may go on behind its end.

        Returns:
            (annotated,) numbers of the frames, and as many of the classes.
        """
        frames, classes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start_s, end_s, number in self.phonemes:
            of_phoneme = np.arange(frame_at(start_s), min(frame_at(end_s), n_frames), dtype=np.int64)
            frames.append(of_phoneme)
            classes.append(np.full(len(of_phoneme), number, np.int64))
        return np.concatenate(frames), np.concatenate(classes)


def prepare_recordings(
    config: DataConfig, folder: Path, watcher: Watcher, *, split: str, roles: Sequence[str], n_phrases: int, seed: int
) -> dict[str, Any]:
    """Read the annotations, or make singing up, and write down what the recordings are.

    Args:
        config: names the data.
        folder: of the run, where `recordings.json` is written, and below which singing is made up.
        watcher: is told what happens.
        split: "S" or "P".
        roles: those that are measured.
        n_phrases: of made-up singing.
        seed: of made-up singing.

    Returns:
        "recordings", the file, and "facts", as `Study.data_facts` gives them.

    Raises:
        ConfigError: the data is another one, or has no folder.
        DatasetError: annotations or sound are missing, or a role has nothing to train on or to test.
    """
    if config.options or config.prepared:
        keys = ", ".join(f"data.{key}" for key in config.options) or "data.prepared"
        raise ConfigError(f"{keys}: {WANTED}; split=S or split=P says which split.")
    if config.name == CORPUS:
        dataset = open_data(dataclasses.replace(config, options={"split": split}), watcher)
    elif config.name in ("", "synth", MADE) and not config.root:
        dataset = _make_up(folder / "files" / MADE, split, n_phrases, seed, watcher)
    else:
        raise ConfigError(f"data is {config.name!r} and data.root {config.root!r}; {WANTED}.")
    if dataset is None:
        raise ConfigError(f"data.root is missing; {WANTED}.")
    recordings = _recordings(dataset)
    for role in roles:
        for part in ("train", "test"):
            if not any(one.phonemes for one in recordings if (one.role, one.part) == (role, part)):
                raise DatasetError(f"there are no phonemes of {role} for {part} in {printable(str(dataset.root))}.")
    for one in recordings:
        if not one.audio.is_file():
            raise DatasetError(f"there is no {printable(str(one.audio))}, which is annotated.")
    facts = [{**dataclasses.asdict(one), "audio": str(one.audio.resolve())} for one in recordings]
    with written_aside(folder / RECORDINGS) as aside:
        aside.write_text(json.dumps(facts), encoding="utf-8")
    return {"recordings": RECORDINGS, "facts": _facts(recordings, split, is_made=isinstance(dataset, MadeJingju))}


def load_recordings(path: Path) -> list[SungRecording]:
    """Read recordings that were written down.

    Args:
        path: the file.

    Returns:
        The recordings.
    """
    return [
        SungRecording(
            **{**facts, "audio": Path(facts["audio"]), "phonemes": tuple(tuple(one) for one in facts["phonemes"])}
        )
        for facts in json.loads(path.read_text(encoding="utf-8"))
    ]


class MadeJingju(Jingju):
    """Made-up singing, in the files of the data set.

    Args:
        root: its folder.
        split: "S" or "P".
    """

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split=split)

    def _recordings(self) -> list[Listed]:
        listed = json.loads((self.root / "card.json").read_text(encoding="utf-8"))["recordings"]
        return [Listed(role, name, parts) for role, name, parts in listed]


# -- inside ------------------------------------------------------------------------------------------------------------


def _make_up(root: Path, split: str, n_phrases: int, seed: int, watcher: Watcher) -> TagDataset:
    """Make singing up where it is not there yet. The last recordings are the test of S, the first ones that of P."""
    card = root / "card.json"
    facts = {"n_phrases": n_phrases, "seed": seed}
    if not card.exists() or json.loads(card.read_text(encoding="utf-8"))["made"] != facts:
        watcher.say(f"making up singing in {printable(str(root))}")
        n_all, n_test = n_recordings(n_phrases), n_tests(n_phrases)
        listed = []
        for number, made in enumerate(make_recordings(n_phrases, seed)):
            write_wav(root / "wav" / made.role / f"{made.name}.wav", made.samples)
            grid = root / "textgrid" / made.role / f"{made.name}.TextGrid"
            write_textgrid(grid, made.tiers, len(made.samples) / RATE)
            parts: dict[str, Part] = {
                "S": "test" if number >= n_all - n_test else "train",
                "P": "test" if number < n_test else "train",
            }
            listed.append([made.role, made.name, parts])
            watcher.made(number + 1, n_all)
        with written_aside(card) as aside:
            aside.write_text(json.dumps({"made": facts, "recordings": listed}), encoding="utf-8")
    return MadeJingju(root, split)


def _recordings(dataset: TagDataset) -> list[SungRecording]:
    """Put the phonemes of each recording together."""
    numbers = {name: number for number, name in enumerate(CLASSES)}
    phonemes: dict[str, list[tuple[float, float, int]]] = {}
    first: dict[str, Track] = {}
    for track in dataset.tracks():
        name = str(track.columns["recording_id"])
        first.setdefault(name, track)
        phonemes.setdefault(name, []).append((track.start_s or 0.0, track.end_s or 0.0, numbers[track.tags[0]]))
    return [
        SungRecording(str(track.columns["role"]), name, track.part, track.path, tuple(sorted(phonemes[name])))
        for name, track in first.items()
    ]


def _facts(recordings: Sequence[SungRecording], split: str, *, is_made: bool) -> dict[str, Any]:
    """Say what is measured on."""
    counts = {
        f"{role} {part}": sum(len(one.labels(10**9)[0]) for one in recordings if (one.role, one.part) == (role, part))
        for role in dict.fromkeys(one.role for one in recordings)
        for part in ("train", "test")
    }
    listed = [[one.role, one.name, one.part, one.phonemes] for one in recordings]
    digest = hashlib.sha256(json.dumps(listed).encode())
    there = {number for one in recordings for *_, number in one.phonemes}
    words = ", ".join(f"{n:,} frames of {name}" for name, n in counts.items())
    which = f"split {split} {digest.hexdigest()[:11]}"
    return {
        "name": MADE if is_made else CORPUS,
        "title": "made-up singing" if is_made else Jingju.card.title,
        "words": f"{len(recordings)} recordings, {len(there)} phonemes: {words}; {which}.",
        "split": split,
        "split_sha256": digest.hexdigest(),
        "n_frames": counts,
        "classes": CLASSES,
        "sounds": {"files": hash_of_files([one.audio for one in recordings])},
    }
