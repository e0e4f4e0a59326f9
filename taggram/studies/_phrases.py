"""Sung phrases with their scores, in the files that the corpus of jingju syllables has.

    ROOT/GROUP/audio/REC.wav
    ROOT/GROUP/annotation/REC.TextGrid          tiers "line" and "dianSilence": phrases and their syllables
    ROOT/GROUP/scoreDianSilence/REC.csv         two rows a phrase: syllables; tempo and durations

Source: the code of Pons, Gong and Serra, ISMIR 2017, github.com/ronggong/jingjuSyllabicSegmentaion, whose lists say
    what is trained on and what is the test.
Differs: times that should be equal may differ by a millisecond. The London recording Laosheng-04, which is in one of
    its lists and not in the other, and male_01/pos_2, which is in none, are left out.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taggram._files import written_aside
from taggram.datasets._text import read_text
from taggram.datasets._textgrid import Interval, read_textgrid
from taggram.errors import DatasetError, printable

Part = Literal["train", "test"]
Lists = dict[str, dict[Part, tuple[str, ...]]]

TIERS = ("line", "dianSilence")
TOLERANCE_S = 0.001
SCORES = "scoreDianSilence"
QUEEN_MARY, LONDON, BARCELONA = "QueenMary/jingjuSingingMono", "londonRecording", "bcnRecording"


def _named(singer: str, names: str) -> tuple[str, ...]:
    return tuple(f"{singer}/{name}" for name in names.split())


LISTS: Lists = {  # of the paper
    QUEEN_MARY: {
        "test": (
            *_named("male_01", "neg_1 neg_2 pos_4 pos_5"),
            *_named("fem_01", "pos_3"),
            *_named("fem_10", "pos_3"),
        ),
        "train": (
            *_named("male_01", "neg_3 neg_4 neg_5 pos_1 pos_3 pos_6"),
            *_named("male_02", "neg_1"),
            *_named("male_12", "neg_1"),
            *_named("male_13", "pos_1 pos_3"),
            *_named("fem_01", "neg_1 neg_3 neg_5 pos_1 pos_5 pos_7"),
            *_named("fem_10", "pos_1"),
            *_named("fem_11", "pos_1"),
        ),
    },
    LONDON: {"test": ("Dan-03",), "train": ("Dan-01", "Dan-02", "Dan-04", "Laosheng-01", "Laosheng-02")},
    BARCELONA: {"test": ("005", "008"), "train": ("001", "007", "003", "004")},
}


@dataclass(frozen=True)
class Phrase:
    """A sung phrase.

    Attributes:
        number: in its recording, from 0 on; those that were left out count.
        start_s: in the recording.
        end_s: in the recording.
        starts_s: of its syllables as annotated, in the recording.
        ends_s: likewise.
        texts: of its syllables as annotated.
        syllables: of its score.
        durations: of the syllables of the score, in any unit.
    """

    number: int
    start_s: float
    end_s: float
    starts_s: tuple[float, ...]
    ends_s: tuple[float, ...]
    texts: tuple[str, ...]
    syllables: tuple[str, ...]
    durations: tuple[float, ...]


@dataclass(frozen=True)
class Recording:
    """A recording with its phrases.

    Attributes:
        group: its folder in the corpus.
        name: of its files in there.
        part: "train" or "test".
        audio: its sound.
        phrases: those that have a tempo.
        n_without_tempo: phrases that are left out since they have none.
    """

    group: str
    name: str
    part: Part
    audio: Path
    phrases: tuple[Phrase, ...]
    n_without_tempo: int = 0


def read_corpus(root: Path, lists: Lists) -> list[Recording]:
    """Read all annotations and scores.

    Args:
        root: folder of the corpus.
        lists: names of the recordings of each group, by part.

    Returns:
        The recordings: those that are trained on, then the test, as the lists have them.

    Raises:
        DatasetError: a file is missing, or is not what it should be.
    """
    parts: tuple[Part, ...] = ("train", "test")
    return [
        read_recording(root, group, name, part)
        for part in parts
        for group, names in lists.items()
        for name in names[part]
    ]


def read_recording(root: Path, group: str, name: str, part: Part) -> Recording:
    """Read annotation and score of a recording.

    Args:
        root: folder of the corpus.
        group: folder of the recording in there.
        name: of its files.
        part: it is for.

    Returns:
        The recording.

    Raises:
        DatasetError: a file is missing, or is not what it should be.
    """
    audio = root / group / "audio" / f"{name}.wav"
    if not audio.is_file():
        raise DatasetError(
            f"there is no {printable(str(audio))}; data.root is the folder with {', '.join(LISTS)} in it, each with "
            f"audio, annotation and {SCORES}."
        )
    annotation = root / group / "annotation" / f"{name}.TextGrid"
    lines, syllables = _tiers(annotation)
    score = root / group / SCORES / f"{name}.csv"
    pairs = read_score(score)
    if len(pairs) != len(lines):
        raise DatasetError(
            f"{printable(str(score))} has {len(pairs)} phrases, and {printable(str(annotation))} has {len(lines)} in "
            f"{TIERS[0]!r}; wanted two rows of the score for each phrase."
        )
    phrases = [
        _phrase(number, line, syllables, pair, annotation)
        for number, (line, pair) in enumerate(zip(lines, pairs))
        if pair.bpm > 0
    ]
    return Recording(group, name, part, audio, tuple(phrases), len(lines) - len(phrases))


@dataclass(frozen=True)
class ScoredPhrase:
    """A phrase of a score.

    Attributes:
        bpm: its tempo; 0 where it has none.
        syllables: their texts.
        durations: one a syllable.
    """

    bpm: float
    syllables: tuple[str, ...]
    durations: tuple[float, ...]


def read_score(path: Path) -> list[ScoredPhrase]:
    """Read a score: rows in pairs, an empty cell and the syllables, then the tempo and a duration each.

    Args:
        path: the csv, UTF-8; empty cells at the end of a row are padding.

    Returns:
        The phrases in order.

    Raises:
        DatasetError: the file is not there, a row has no partner, or a phrase with a tempo has not as many durations as
            syllables, all above 0.
    """
    rows = _rows(path)
    if len(rows) % 2:
        raise DatasetError(f"{printable(str(path))} has {len(rows)} rows; wanted two for each phrase.")
    phrases = []
    for (_, texts), (line, numbers) in zip(rows[::2], rows[1::2]):
        where = f"{printable(str(path))}, line {line}"
        if texts[0].strip():
            raise DatasetError(f"{where}: the row above begins with {texts[0]!r}; wanted an empty cell first.")
        bpm = _number(numbers[0], where)
        syllables = tuple(text.strip() for text in texts[1:] if text.strip())
        durations = tuple(_number(text, where) for text in numbers[1:] if text.strip())
        if bpm > 0 and (len(syllables) != len(durations) or min(durations, default=0.0) <= 0):
            raise DatasetError(
                f"{where}: {len(durations)} durations came for {len(syllables)} syllables; wanted one above 0 for each."
            )
        phrases.append(ScoredPhrase(bpm, syllables, durations))
    return phrases


def write_lab(path: Path, starts_s: Sequence[float], ends_s: Sequence[float], labels: Sequence[str]) -> None:
    """Write syllables as .lab: a line each, start, end and label with blanks between.

    Args:
        path: the file; its folder is made.
        starts_s: in seconds.
        ends_s: in seconds.
        labels: of the syllables.
    """
    lines = [f"{start:.3f} {end:.3f} {label}\n" for start, end, label in zip(starts_s, ends_s, labels)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        aside.write_text("".join(lines), encoding="utf-8")


def save_recordings(recordings: Sequence[Recording], path: Path) -> None:
    """Write recordings as JSON; `load_recordings` gives them back.

    Args:
        recordings: all.
        path: the file.
    """
    facts = [{**dataclasses.asdict(one), "audio": str(one.audio.resolve())} for one in recordings]
    with written_aside(path) as aside:
        aside.write_text(json.dumps(facts), encoding="utf-8")


def load_recordings(path: Path) -> list[Recording]:
    """Read recordings that were saved.

    Args:
        path: the file.

    Returns:
        The recordings.
    """
    recordings = []
    for facts in json.loads(path.read_text(encoding="utf-8")):
        phrases = [Phrase(**_with_tuples(one)) for one in facts["phrases"]]
        recordings.append(Recording(**{**facts, "audio": Path(facts["audio"]), "phrases": tuple(phrases)}))
    return recordings


# -- inside ------------------------------------------------------------------------------------------------------------


def _tiers(path: Path) -> tuple[list[Interval], list[Interval]]:
    """Read the phrases and the syllables that have a text; names of tiers may have dots in them."""
    tiers = {name.replace(".", ""): intervals for name, intervals in read_textgrid(path).items()}
    if missing := [name for name in TIERS if name not in tiers]:
        there = ", ".join(map(printable, tiers)) or "none"
        raise DatasetError(f"{printable(str(path))} has no tier {' and '.join(missing)}; it has {there}.")
    lines, syllables = ([one for one in tiers[name] if one.text.strip()] for name in TIERS)
    return lines, syllables


def _phrase(
    number: int, line: Interval, syllables: Sequence[Interval], score: ScoredPhrase, annotation: Path
) -> Phrase:
    """Put a phrase together."""
    start, end = line.start_s - TOLERANCE_S, line.end_s + TOLERANCE_S
    sung = [one for one in syllables if one.start_s >= start and one.end_s <= end]
    if not sung or not score.syllables:
        raise DatasetError(
            f"{printable(str(annotation))}: the phrase at {line.start_s:.3f} s has {len(sung)} syllables, and "
            f"{len(score.syllables)} in its score; wanted at least one. A tempo of 0 in the score leaves a phrase out."
        )
    return Phrase(
        number=number,
        start_s=line.start_s,
        end_s=line.end_s,
        starts_s=tuple(one.start_s for one in sung),
        ends_s=tuple(one.end_s for one in sung),
        texts=tuple(one.text.strip() for one in sung),
        syllables=score.syllables,
        durations=score.durations,
    )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Read the rows with their lines; those without anything count, but for the last ones, which are padding."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise DatasetError(f"{printable(str(path))} is no table that can be read: {error}.") from error
    while rows and not any(text.strip() for text in rows[-1][1]):
        rows.pop()
    return rows


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise DatasetError(f"{where}: {text!r} is no tempo or duration; wanted a number from 0 on.")
    return number


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
