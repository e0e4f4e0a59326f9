"""The phrases of the study on jingju: those of the corpus, or made-up singing in its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._checks import check
from taggram._files import written_aside
from taggram.errors import ConfigError, DatasetError, printable
from taggram.studies._made_singing import (
    RATE,
    make_recordings,
    n_recordings,
    n_tests,
    write_score,
    write_textgrid,
    write_wav,
)
from taggram.studies._phrases import LISTS, SCORES, Lists, Recording, read_corpus, save_recordings
from taggram.studies._recording_frames import hash_of_files

if TYPE_CHECKING:
    from taggram.learning.recipe import DataConfig
    from taggram.learning.train import Watcher

CORPUS, MADE, MADE_GROUP, PHRASES = "jingju", "made_singing", "made", "phrases.json"
WANTED = "this study takes data=jingju data.root=DIR, or nothing for made-up singing"


def prepare_phrases(config: DataConfig, folder: Path, watcher: Watcher, n_phrases: int, seed: int) -> dict[str, Any]:
    """Read annotations and scores, or make singing up, and write down what the phrases are.

    Args:
        config: names the data.
        folder: of the run, where `phrases.json` is written, and below which singing is made up.
        watcher: is told what happens.
        n_phrases: of made-up singing.
        seed: of made-up singing.

    Returns:
        "phrases", the file, and "facts", as `Study.data_facts` gives them.

    Raises:
        ConfigError: the data is another one, or has no folder.
        DatasetError: a file is missing, or is not what it should be.
    """
    if config.options or config.prepared:
        keys = ", ".join(f"data.{key}" for key in config.options) or "data.prepared"
        raise ConfigError(f"{keys}: {WANTED}.")
    if config.name == CORPUS:
        check(bool(config.root), "data.root", config.root, f"the folder with {', '.join(LISTS)} in it")
        root, lists, name = Path(config.root), LISTS, CORPUS
    elif config.name in ("", "synth", MADE) and not config.root:
        root, name = folder / "files" / MADE, MADE
        lists = _make_up(root, n_phrases, seed, watcher)
    else:
        raise ConfigError(f"data is {config.name!r} and data.root {config.root!r}; {WANTED}.")
    recordings = read_corpus(root, lists)
    for part in ("train", "test"):
        if not any(one.phrases for one in recordings if one.part == part):
            raise DatasetError(f"there is no phrase with a tempo for {part} in {printable(str(root))}.")
    _tell(recordings, watcher)
    save_recordings(recordings, folder / PHRASES)
    return {"phrases": PHRASES, "facts": _facts(recordings, name)}


# -- inside ------------------------------------------------------------------------------------------------------------


def _make_up(root: Path, n_phrases: int, seed: int, watcher: Watcher) -> Lists:
    """Make singing up where it is not there yet, and list it."""
    card = root / "card.json"
    facts = {"n_phrases": n_phrases, "seed": seed}
    if not card.exists() or json.loads(card.read_text(encoding="utf-8"))["made"] != facts:
        watcher.say(f"making up singing in {printable(str(root))}")
        names = []
        for made in make_recordings(n_phrases, seed):
            folder = root / MADE_GROUP
            write_wav(folder / "audio" / f"{made.name}.wav", made.samples)
            length_s = len(made.samples) / RATE
            write_textgrid(folder / "annotation" / f"{made.name}.TextGrid", made.tiers, length_s)
            write_score(folder / SCORES / f"{made.name}.csv", made.score)
            names.append(made.name)
            watcher.made(len(names), n_recordings(n_phrases))
        with written_aside(card) as aside:
            aside.write_text(json.dumps({"made": facts, "names": names}), encoding="utf-8")
    names = json.loads(card.read_text(encoding="utf-8"))["names"]
    at = len(names) - n_tests(n_phrases)
    return {MADE_GROUP: {"train": tuple(names[:at]), "test": tuple(names[at:])}}


def _tell(recordings: Sequence[Recording], watcher: Watcher) -> None:
    """Say what is odd about the phrases."""
    left_out = sum(one.n_without_tempo for one in recordings)
    if left_out:
        watcher.say(f"note: {left_out} phrases have no tempo in the score and are left out")
    for one in recordings:
        for phrase in one.phrases:
            if len(phrase.syllables) != len(phrase.texts):
                watcher.say(
                    f"note: {printable(one.name)}: the phrase at {phrase.start_s:.3f} s has {len(phrase.texts)} "
                    f"annotated syllables and {len(phrase.syllables)} in the score; the score is taken as it is"
                )


def _facts(recordings: Sequence[Recording], name: str) -> dict[str, Any]:
    """Say what is measured on."""
    counts = {
        part: [
            sum(len(one.phrases) for one in recordings if one.part == part),
            sum(len(phrase.texts) for one in recordings if one.part == part for phrase in one.phrases),
        ]
        for part in ("train", "test")
    }
    phrases = [[one.part, one.name, *dataclasses.astuple(phrase)] for one in recordings for phrase in one.phrases]
    digest = hashlib.sha256(json.dumps(phrases).encode())
    words = ", ".join(f"{n} phrases of {m} syllables for {part}" for part, (n, m) in counts.items())
    return {
        "name": name,
        "title": "a cappella singing of jingju" if name == CORPUS else "made-up singing",
        "words": f"{len(recordings)} recordings: {words}; split {digest.hexdigest()[:11]}.",
        "split": "of the paper" if name == CORPUS else "made",
        "split_sha256": digest.hexdigest(),
        "n_phrases": {part: n for part, (n, _) in counts.items()},
        "n_syllables": {part: m for part, (_, m) in counts.items()},
        "sounds": {"files": hash_of_files([one.audio for one in recordings])},
    }
