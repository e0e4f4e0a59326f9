"""How scores hold when the sound is changed: the clips of an evaluation under noise, softer, higher, slower, flatter.

Changes are made at the rate that the network hears, and each sound is changed in the same way in every run: its noise
hangs on the seed and the name of the track.

Source: none; the strengths are ours. The changes themselves are in `_sound_changes.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_count, is_number
from taggram._files import written_aside
from taggram.datasets._base import Track, name_some
from taggram.errors import ConfigError, DatasetError, printable, unknown_name
from taggram.learning import _sound_changes as changes
from taggram.learning._chapter import number, where
from taggram.learning._report import Column, Html, element, picture, table
from taggram.learning.evaluate import Evaluation, Told, _Cutter, score_clip, write_table
from taggram.results import Failure, Taggram

if TYPE_CHECKING:
    from taggram.tagger import Tagger

NAME = "perturbations"  # of the files
ALL = "all"
HOW = (
    "The same clips were tagged again with their sound changed, by more from row to row. Mean change is that of all "
    "scores of all clips, whatever its sign; the best tag stays where the highest score is that of the same tag as "
    "before. The dashed line, and the hollow point where a strength means no change, are the sound as it is."
)


@dataclass(frozen=True)
class Kind:
    """A way to change sound.

    Attributes:
        title: how it is called.
        unit: of its strength.
        about: what is done.
        strengths: those that are tried.
        limits: the least and the greatest strength that makes sense.
        neutral: the strength that changes nothing, or None where there is none.
    """

    title: str
    unit: str
    about: str
    strengths: tuple[float, ...]
    limits: tuple[float, float]
    neutral: float | None = None


PERTURBATIONS: dict[str, Kind] = {
    "noise": Kind(
        "Noise", "dB SNR", "white noise, so far below the level of the clip", (40, 30, 20, 10, 0), (-60, 120)
    ),
    "gain": Kind("Gain", "dB", "louder or softer, clipped at full scale", (-40, -20, -10, 10), (-120, 60), 0),
    "stretch": Kind("Speed", "times as quick", "quicker at the same pitch", (0.8, 0.9, 1.1, 1.25), (0.25, 4), 1),
    "pitch": Kind("Pitch", "semitones", "higher at the same speed", (-4, -2, -1, 1, 2, 4), (-24, 24), 0),
    "compression": Kind(
        "Compression",
        "to 1",
        f"less between loud and soft: threshold {-changes.THRESHOLD_DB:g} dB below full scale, attack "
        f"{1000 * changes.ATTACK_S:g} ms, release {1000 * changes.RELEASE_S:g} ms; the level stays",
        (2, 4, 10),
        (1, 1000),
        1,
    ),
}
"""The ways to change sound, by their names."""


@dataclass(frozen=True)
class Perturbation:
    """A change of sound of some strength.

    Attributes:
        kind: one of `PERTURBATIONS`.
        strength: in the unit of the kind.

    Raises:
        ConfigError: the strength makes no sense.
        UnknownNameError: there is no such kind.
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in PERTURBATIONS:
            listed = f"The perturbations are {', '.join(PERTURBATIONS)}, or {ALL}"
            raise unknown_name("perturbation", str(self.kind), PERTURBATIONS, listed)
        kind = PERTURBATIONS[self.kind]
        least, most = kind.limits
        fits = is_number(self.strength) and least <= self.strength <= most
        check(fits, f"strength of {self.kind}", self.strength, f"{least:g} to {most:g} {kind.unit}")

    @property
    def label(self) -> str:
        """What is done, such as "noise, 20 dB SNR"."""
        return f"{self.kind}, {self.strength:g} {PERTURBATIONS[self.kind].unit}"


Results: TypeAlias = Sequence[tuple[Perturbation, Evaluation]]


def parse_perturbations(wanted: str | Iterable[str]) -> list[Perturbation]:
    """Read which perturbations are wanted.

    Args:
        wanted: names, or one text with commas between them; a name alone stands for all its strengths, "noise:15" for
            one, and "all" for all names.

    Returns:
        Each once, in the order in which they were named.

    Raises:
        ConfigError: none is named, or a strength makes no sense.
        UnknownNameError: there is no such perturbation.
    """
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    found = [one for name in names if name.strip() for one in _parsed(name.strip())]
    check(bool(found), "perturbations", wanted, f"some of {', '.join(PERTURBATIONS)}, or {ALL}")
    return list(dict.fromkeys(found))


def perturbed(
    samples: NDArray[np.float32], sample_rate: int, perturbation: Perturbation, seed: int
) -> NDArray[np.float32]:
    """Change a sound.

    Args:
        samples: (samples,) float32, mono, at least one.
        sample_rate: in Hz.
        perturbation: how.
        seed: of the noise.

    Returns:
        (samples,) float32; another number of them where the speed changes.
    """
    strength = perturbation.strength
    if perturbation.kind == "noise":
        return changes.add_noise(samples, strength, seed)
    if perturbation.kind == "gain":
        return changes.change_gain(samples, strength)
    change = {
        "stretch": changes.change_speed,
        "pitch": changes.change_pitch,
        "compression": changes.compress,
    }[perturbation.kind]
    return change(samples, sample_rate, strength)


def track_seed(seed: int, track_id: str) -> int:
    """Give the seed of a track's noise."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{track_id}".encode("utf-8", "surrogatepass")).digest()[:8], "big")


# -- tagging -----------------------------------------------------------------------------------------------------------


def evaluate_perturbed(
    tagger: Tagger,
    tracks: Iterable[Track],
    baseline: Evaluation,
    perturbations: Sequence[Perturbation],
    *,
    seed: int = 0,
    told: Told | None = None,
) -> list[tuple[Perturbation, Evaluation]]:
    """Tag the clips of an evaluation again with their sound changed.

    Each file is read once. A track that cannot be read, or be tagged under one of the perturbations, is left out under
    all of them and listed, so that all that comes out is of the same clips.

    Args:
        tagger: the model of the evaluation.
        tracks: the clips of the evaluation; others are passed by.
        baseline: scores of the sound as it is.
        perturbations: which changes.
        seed: of the noise.
        told: is told each track with the last taggram of it, or with what went wrong.

    Returns:
        An evaluation for each perturbation, in their order.

    Raises:
        ConfigError: the evaluation is of another model, or of clips that are not among the tracks.
        DatasetError: no track could be tagged.
    """
    check_count("seed", seed, 0)
    check(bool(perturbations), "perturbations", perturbations, "at least one")
    by_id = _checked_tracks(tagger, tracks, baseline)
    clips = _Clips(tagger, baseline, perturbations, seed)
    rows: list[int] = []
    scored: list[_Scored] = []
    failures: list[Failure] = []
    for row, track_id in enumerate(baseline.track_ids):
        track, result = by_id[track_id], clips.score(by_id[track_id])
        if isinstance(result, Failure):
            failures.append(result)
        else:
            rows.append(row)
            scored.append(result)
        if told:
            told(track, result if isinstance(result, Failure) else result.last)
    if not rows:
        first = f"; the first: {printable(failures[0].path)}: {failures[0].message}" if failures else ""
        raise DatasetError(f"{baseline.where}: no clip could be tagged with its sound changed{first}")
    kept = dataclasses.replace(_of_clips(baseline, rows), failures=(*baseline.failures, *failures))
    results = []
    for place, perturbation in enumerate(perturbations):
        notes = (*kept.notes, *_notes(perturbation, sum(clip.clipped[place] for clip in scored), len(rows)))
        scores = np.stack([clip.scores[place] for clip in scored])
        results.append((perturbation, dataclasses.replace(kept, scores=scores, notes=notes)))
    return results


@dataclass(frozen=True)
class _Scored:
    """A clip under all perturbations: (perturbations, tags) scores, whether each was clipped, and the last taggram."""

    scores: NDArray[np.float32]
    clipped: list[bool]
    last: Taggram


class _Clips:
    """Tags the clips of an evaluation under all perturbations.

    Args:
        tagger: the model.
        baseline: which tags, and how the scores of patches become those of a clip.
        perturbations: which changes.
        seed: of the noise.
    """

    def __init__(self, tagger: Tagger, baseline: Evaluation, perturbations: Sequence[Perturbation], seed: int) -> None:
        self._tagger, self._perturbations, self._seed = tagger, perturbations, seed
        self._columns = [tagger.tags.index(tag) for tag in baseline.tags]
        self._rule = baseline.clip_score
        self._cutter = _Cutter(tagger)

    def score(self, track: Track) -> _Scored | Failure:
        """Tag one track."""
        try:
            samples, rate = self._cutter.samples(track)
            seed = track_seed(self._seed, track.track_id)
            scores = []
            for perturbation in self._perturbations:
                taggram = self._tag(perturbed(samples, rate, perturbation, seed), rate)
                scores.append(score_clip(taggram.scores, self._rule, self._tagger.model.task == "one")[self._columns])
            return _Scored(np.stack(scores), [_is_clipped(samples, one) for one in self._perturbations], taggram)
        except Exception as error:  # one file must not cost the next one
            return Failure.of(fspath(track.path), error)

    def _tag(self, samples: NDArray[np.float32], rate: int) -> Taggram:
        result = self._tagger.tag((samples, rate))
        if not np.isfinite(result.scores).all():
            raise ValueError(f"{self._tagger.name} gives scores that are no numbers for it")
        return result


# -- numbers -----------------------------------------------------------------------------------------------------------


def perturbation_rows(results: Results, baseline: Evaluation) -> list[dict[str, Any]]:
    """Give the numbers of each perturbation beside those of the sound as it is, over the same clips.

    Args:
        results: of `evaluate_perturbed`.
        baseline: scores of the sound as it is.

    Returns:
        A row a perturbation: its kind, strength and unit, macro_roc_auc and macro_pr_auc with their baseline_ and their
        change_, mean_abs_change of scores, same_best_tag as a share of clips, notes, and what they were measured on.
        None where a number is not defined.

    Raises:
        ConfigError: a result is of other clips or tags than the baseline.
    """
    return [_row(perturbation, evaluation, baseline) for perturbation, evaluation in results]


def write_perturbations(results: Results, baseline: Evaluation, folder: str | PathLike[str]) -> Html:
    """Write the numbers as perturbations.csv and .json, and their curves as perturbations.svg and .png.

    Args:
        results: of `evaluate_perturbed`, at least one.
        baseline: scores of the sound as it is.
        folder: where to; it is made if it is not there.

    Returns:
        A section for the page of `write_report`, with all of them in it.

    Raises:
        ConfigError: there is no result, or one is of other clips or tags than the baseline.
        OSError: a file cannot be written; each file is whole or as it was.
    """
    from taggram.learning._pictures import draw_perturbations, to_png, to_svg

    check(bool(results), "results", results, "at least one")
    rows = perturbation_rows(results, baseline)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_table(place / f"{NAME}.csv", rows)
    card = {name: rows[0][name] for name in ("model", "data_set", "split", "split_sha256", "part", "n_clips")}
    kinds = {row["kind"]: PERTURBATIONS[row["kind"]] for row in rows}
    card |= {"kinds": {name: kind.about for name, kind in kinds.items()}, "perturbations": rows}
    figure = draw_perturbations(rows, {name: (kind.title, kind.unit, kind.neutral) for name, kind in kinds.items()})
    svg = to_svg(figure)
    written = {"json": (json.dumps(card, indent=1, allow_nan=False) + "\n").encode(), "svg": svg, "png": to_png(figure)}
    for suffix, content in written.items():
        with written_aside(place / f"{NAME}.{suffix}") as aside:
            aside.write_bytes(content)
    return _section(rows, kinds, results[0][1], svg)


# -- inside ------------------------------------------------------------------------------------------------------------


def _parsed(name: str) -> list[Perturbation]:
    """Read one name, with or without a strength."""
    kind, colon, strength = name.partition(":")
    if kind == ALL and not colon:
        return [Perturbation(one, value) for one, entry in PERTURBATIONS.items() for value in entry.strengths]
    if not colon:
        strengths = PERTURBATIONS[kind].strengths if kind in PERTURBATIONS else (0.0,)  # the name is then refused
        return [Perturbation(kind, value) for value in strengths]
    try:
        return [Perturbation(kind, float(strength))]
    except ValueError as error:
        if isinstance(error, ConfigError) or kind not in PERTURBATIONS:
            raise
        raise ConfigError(
            f"strength of {kind} is {strength!r}; wanted a number of {PERTURBATIONS[kind].unit}."
        ) from error


def _checked_tracks(tagger: Tagger, tracks: Iterable[Track], baseline: Evaluation) -> dict[str, Track]:
    """Give the tracks by their names, once it is sure that they and the tagger are those of the evaluation."""
    check(tagger.name == baseline.model, "the model", tagger.name, f"{baseline.model!r}, which the evaluation is of")
    if lost := [tag for tag in baseline.tags if tag not in tagger.tags]:
        raise ConfigError(f"{tagger.name} does not give {name_some(lost)}, which the evaluation has.")
    by_id = {track.track_id: track for track in tracks}
    if missing := [track_id for track_id in baseline.track_ids if track_id not in by_id]:
        raise ConfigError(f"the evaluation has clips that are not among the tracks: {name_some(missing)}.")
    return by_id


def _is_clipped(samples: NDArray[np.float32], perturbation: Perturbation) -> bool:
    return perturbation.kind == "gain" and bool(np.abs(samples).max() * 10 ** (perturbation.strength / 20) > 1)


def _notes(perturbation: Perturbation, n_clipped: int, n_clips: int) -> list[str]:
    """Say beside the numbers how the sound was changed."""
    notes = [f"the sound was changed: {perturbation.label}"]
    if n_clipped:
        notes.append(f"{n_clipped:,} of {n_clips:,} clips went above full scale and were clipped")
    return notes


def _of_clips(evaluation: Evaluation, rows: Sequence[int]) -> Evaluation:
    """Leave out all clips but some."""
    return dataclasses.replace(
        evaluation,
        track_ids=tuple(evaluation.track_ids[row] for row in rows),
        scores=evaluation.scores[list(rows)],
        labels=evaluation.labels[list(rows)],
        columns={name: tuple(values[row] for row in rows) for name, values in evaluation.columns.items()},
    )


def _row(perturbation: Perturbation, evaluation: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    places = {track_id: place for place, track_id in enumerate(baseline.track_ids)}
    known = all(track_id in places for track_id in evaluation.track_ids) and evaluation.tags == baseline.tags
    check(known, f"the result of {perturbation.label}", "of other clips or tags", "those of the baseline")
    before = _of_clips(baseline, [places[track_id] for track_id in evaluation.track_ids])
    numbers, old = (one.metrics(n_resamples=0)[one.part] for one in (evaluation, before))
    row: dict[str, Any] = {
        "kind": perturbation.kind,
        "strength": perturbation.strength,
        "unit": PERTURBATIONS[perturbation.kind].unit,
    }
    for name in ("macro_roc_auc", "macro_pr_auc"):
        new, was = numbers[name], old[name]
        row |= {name: new, f"baseline_{name}": was, f"change_{name}": None if None in (new, was) else new - was}
    stays = evaluation.scores.argmax(axis=1) == before.scores.argmax(axis=1)
    return row | {
        "mean_abs_change": float(np.abs(evaluation.scores.astype(np.float64) - before.scores).mean()),
        "same_best_tag": float(stays.mean()),
        "n_clips": evaluation.n_clips,
        "model": evaluation.model,
        "data_set": evaluation.data_set,
        "part": evaluation.part,
        "split": evaluation.split,
        "split_sha256": evaluation.split_sha256,
        "notes": "; ".join(note for note in evaluation.notes if note not in baseline.notes),
    }


def _section(rows: Sequence[dict[str, Any]], kinds: dict[str, Kind], evaluation: Evaluation, svg: bytes) -> Html:
    columns = [Column("", text=True), Column("strength"), Column("ROC-AUC, macro"), Column("change")]
    columns += [Column("PR-AUC, macro"), Column("change"), Column("mean change of scores"), Column("best tag stays")]
    columns += [Column("split", text=True), Column("", text=True)]
    split = f"{evaluation.split} {evaluation.split_sha256[:12]}"
    cells: list[list[object]] = [["sound as it is", None, number(rows[0]["baseline_macro_roc_auc"]), None]]
    cells[0] += [number(rows[0]["baseline_macro_pr_auc"]), None, None, None, split, None]
    for row in rows:
        line: list[object] = [row["kind"], f"{row['strength']:g} {row['unit']}"]
        for name in ("macro_roc_auc", "macro_pr_auc"):
            change = row[f"change_{name}"]
            line += [number(row[name]), None if change is None else f"{change:+.4f}"]
        line += [number(row["mean_abs_change"]), f"{100 * row['same_best_tag']:.1f} %", split]
        cells.append([*line, row["notes"].partition("; ")[2]])
    ways = element("ul", *(element("li", element("b", kind.title), f": {kind.about}.") for kind in kinds.values()))
    about = "Macro ROC-AUC over the strength of each change of the sound."
    parts = [
        where(evaluation),
        element("p", HOW),
        ways,
        picture(svg, about),
        table(columns, cells, ours=frozenset({0})),
    ]
    return element("section", element("h2", "When the sound is changed"), *parts, id=NAME)
