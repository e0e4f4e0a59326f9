"""A tagger beside a data set: the scores of all clips with their labels, and the numbers that follow from them.

An `Evaluation` holds scores and labels, and names the split and the hash of its list; every number that it gives has
them beside it. `compare` refuses to put numbers of different splits into one table.

Source: scores of a clip from those of its patches as musicnn (mean), Pons et al., CBMI 2016 (vote), prototypical
    networks of Pons, Serra and Serra, ICASSP 2019 (mean of log-probabilities), and Han et al., 2017 (beside the
    largest) have them.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_choice
from taggram._files import written_aside
from taggram.audio import Samples, Waveform, read_sound
from taggram.datasets._base import PARTS, Part, TagDataset, Task, Track, Value, name_some
from taggram.errors import AudioError, ConfigError, DatasetError, printable
from taggram.learning import metrics as m
from taggram.learning._numbers import all_numbers
from taggram.results import Failure, Taggram

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData
    from taggram.tagger import Tagger

METRICS, TAGS = "metrics.json", "tags.csv"
SCORES = "scores_{part}.npz"
TINY = float(np.finfo(np.float32).tiny)
NEAREST_TO_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
N_TOLD = 8  # names in a message
DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)

Told = Callable[[Track, "Taggram | Failure"], None]
"""Is told each track that was tagged, or that could not be."""

Tagged = Callable[[Sequence[Track]], Iterator[tuple[Track, "Taggram | Failure"]]]
"""Gives each track, in order, with what came of tagging it."""

ClipScore = Literal["mean", "log_mean", "logit_mean", "vote", "relative"]
"""How the scores of the patches become those of the clip: their mean; the geometric mean; the mean of the logits; the
share of patches that vote for the tag; or the mean, divided by that of the clip's best tag."""


# -- what comes out ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Scores of clips beside their labels.

    Attributes:
        model: name of the model.
        data_set: name of the data set.
        split: name of the split.
        split_sha256: hash of the split's list, as `TagDataset.split_sha256` gives it, or "" where there is none.
        part: of the split.
        tags: names, in the order of the columns.
        task: whether a clip has several tags or exactly one.
        track_ids: of the clips.
        scores: (clips, tags) float32, 0 to 1.
        labels: (clips, tags) bool.
        columns: what else the data set says of the clips, (clips,) each.
        clip_score: how the scores of patches became those of the clip.
        thresholds: (tags,) scores above which a tag is given, found on the validation part; None where there are none.
        not_in_model: tags of the data set that the model does not give.
        not_in_data: tags of the model that the data set does not have.
        failures: files that could not be tagged, and so are not among the clips.
        notes: what else is to be said beside the numbers.

    Raises:
        ConfigError: the shapes differ, a score is not from 0 to 1, or a clip has not exactly one tag where it should.
    """

    model: str
    data_set: str
    split: str
    split_sha256: str
    part: Part
    tags: tuple[str, ...]
    task: Task
    track_ids: tuple[str, ...]
    scores: NDArray[np.float32]
    labels: NDArray[np.bool_]
    columns: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    clip_score: ClipScore = "mean"
    thresholds: NDArray[np.float64] | None = None
    not_in_model: tuple[str, ...] = ()
    not_in_data: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    _known: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("part", self.part, PARTS)
        check_choice("task", self.task, get_args(Task))
        check_choice("clip_score", self.clip_score, get_args(ClipScore))
        shape = (len(self.track_ids), len(self.tags))
        check(len(set(self.tags)) == len(self.tags), "tags", self.tags, "no name twice")
        for name, kind in (("scores", np.float32), ("labels", np.bool_)):
            own = np.array(getattr(self, name), dtype=kind)
            check(own.shape == shape, f"the shape of the {name}", own.shape, f"(clips, tags), which are {shape}")
            own.setflags(write=False)  # numbers that follow from it are kept
            object.__setattr__(self, name, own)
        m.check_scores(self.scores)
        if self.task == "one":
            exactly_one = bool(np.all(self.labels.sum(axis=1) == 1))
            check(exactly_one, "the task", "one", "several, since some clip has not exactly one tag")
        if self.thresholds is not None:
            found = np.array(self.thresholds, dtype=np.float64)
            check(
                found.shape == shape[1:], "the shape of the thresholds", found.shape, f"(tags,), which is {shape[1:]}"
            )
            object.__setattr__(self, "thresholds", found)
        for name, values in self.columns.items():
            check(len(values) == shape[0], f"the length of column {name!r}", len(values), f"{shape[0]}, a value a clip")

    @property
    def n_clips(self) -> int:
        """Clips that were tagged."""
        return len(self.track_ids)

    @property
    def n_positive(self) -> NDArray[np.int64]:
        """(tags,) clips that have each tag."""
        count: NDArray[np.int64] = self.labels.sum(axis=0)
        return count

    @property
    def where(self) -> str:
        """The split and the hash of its list, as they stand beside every number."""
        known = self.split_sha256[:12] if self.split_sha256 else "no hash"
        return f"{self.data_set}, split {self.split} ({known}), {self.part}"

    def metrics(self, *, n_resamples: int = m.N_RESAMPLES, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Compute all numbers.

        Macro averages are over the tags that some clip has and some clip has not; the others are named in "left_out".
        Decisions are at 0.5, and below "at_best_thresholds" at the thresholds found on the validation part.

        Args:
            n_resamples: draws of the bootstrap from which the 95 % intervals come; 0 is for none.
            seed: of the bootstrap.

        Returns:
            By part, as metrics.json has it: plain values, None where a number is not defined.
        """
        if (n_resamples, seed) not in self._known:
            self._known[n_resamples, seed] = all_numbers(self, n_resamples, seed)
        return {self.part: self._known[n_resamples, seed]}

    def with_thresholds_of(self, valid: Evaluation) -> Evaluation:
        """Take each tag's best threshold from the validation part.

        Args:
            valid: the same model on another part of the same split, which must not be the test part.

        Returns:
            This evaluation with the thresholds of the highest F1 on `valid`.

        Raises:
            ConfigError: `valid` is the test part, or of another model or split, or has not the same tags.
        """
        if valid.part == "test":
            raise ConfigError("thresholds are found on the validation part; on the test part they flatter.")
        for name in ("model", "data_set", "split", "split_sha256", "clip_score"):
            mine, other = getattr(self, name), getattr(valid, name)
            check(mine == other, f"{name} of the validation part", other, f"{mine!r}, as here")
        check(set(valid.tags) == set(self.tags), "the tags of the validation part", valid.tags, "the same as here")
        found = dict(zip(valid.tags, m.best_thresholds(valid.scores, valid.labels)))
        return dataclasses.replace(self, thresholds=np.array([found[tag] for tag in self.tags]))

    def without(self, *tags: str) -> Evaluation:
        """Leave tags out, such as the one that a published number does not count.

        Args:
            *tags: names; each must be there.

        Returns:
            The evaluation over the other tags, with a note.

        Raises:
            ConfigError: a tag is not there, none is left, or the task is "one", where a clip would be left with none.
        """
        if missing := [tag for tag in tags if tag not in self.tags]:
            raise ConfigError(f"no tag named {name_some(missing)} was evaluated.")
        kept = [place for place, tag in enumerate(self.tags) if tag not in tags]
        check(bool(kept), "the tags that are left", "none", "at least one")
        return dataclasses.replace(
            self,
            tags=tuple(self.tags[place] for place in kept),
            scores=self.scores[:, kept],
            labels=self.labels[:, kept],
            thresholds=None if self.thresholds is None else self.thresholds[kept],
            notes=(*self.notes, f"left out on request: {name_some(tags, N_TOLD)}"),
        )

    def save(self, folder: str | PathLike[str]) -> None:
        """Write numbers and scores; `Evaluation.load` gives the evaluation back.

        Args:
            folder: where to; it is made if it is not there. See `save_evaluations` for the files.

        Raises:
            OSError: a file cannot be written.
        """
        save_evaluations([self], folder)

    @classmethod
    def load(cls, folder: str | PathLike[str], part: Part = "test") -> Self:
        """Read an evaluation back.

        Args:
            folder: where it was saved.
            part: which part.

        Returns:
            The evaluation as it was saved.

        Raises:
            DatasetError: there is none of that part, or the file is damaged.
        """
        path = Path(folder) / SCORES.format(part=part)
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                card = json.loads(str(file["card"]))
                failures = tuple(Failure(**failure) for failure in card.pop("failures"))
                lists = {name: tuple(value) for name, value in card.items() if isinstance(value, list)}
                columns = {name: tuple(values) for name, values in card.pop("columns").items()}
                arrays = {name: file[name] for name in file.files if name != "card"}
                return cls(**{**card, **lists}, **arrays, columns=columns, failures=failures)
        except FileNotFoundError as error:
            raise DatasetError(f"{printable(str(path))} is not there; `taggram evaluate` makes it.") from error
        except DAMAGE as error:
            raise DatasetError(f"{printable(str(path))} is damaged ({error}); evaluate again.") from error


def save_evaluations(evaluations: Sequence[Evaluation], folder: str | PathLike[str]) -> None:
    """Write the evaluations of a model, a part each.

    Args:
        evaluations: no two of the same part.
        folder: where to; it is made if it is not there. metrics.json holds all numbers by part, tags.csv those of each
            tag, scores_PART.npz the scores and labels.

    Raises:
        ConfigError: there is none, or two are of the same part.
        OSError: a file cannot be written; each file is whole or as it was.
    """
    parts = [evaluation.part for evaluation in evaluations]
    check(bool(parts) and len(set(parts)) == len(parts), "the parts", parts, "each once")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        numbers |= evaluation.metrics()
        _write_scores(evaluation, place / SCORES.format(part=evaluation.part))
    rows = [row for evaluation in evaluations for row in tag_rows(evaluation)]
    write_table(place / TAGS, rows)
    with written_aside(place / METRICS) as aside:
        aside.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def with_best_thresholds(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Give the test part of a model the best thresholds of its validation part, where both are there.

    Args:
        evaluations: of one model, a part each.

    Returns:
        The same in their order, those of the test part with thresholds.
    """
    valid = next((evaluation for evaluation in evaluations if evaluation.part == "valid"), None)
    return [
        evaluation.with_thresholds_of(valid) if valid and evaluation.part == "test" else evaluation
        for evaluation in evaluations
    ]


def tag_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Give the numbers of each tag, the most frequent tag first.

    Args:
        evaluation: the evaluation.

    Returns:
        A row a tag, with the split and the hash of its list; counts at 0.5 as tn, fn, fp and tp.
    """
    numbers = evaluation.metrics()[evaluation.part]
    rows = []
    for tag in sorted(evaluation.tags, key=lambda tag: -numbers["tags"][tag]["n_positive"]):
        row: dict[str, Any] = {"part": evaluation.part, "tag": tag}
        for name, value in numbers["tags"][tag].items():
            if name.endswith("_interval"):
                row |= zip((name.replace("_interval", "_low"), name.replace("_interval", "_high")), value)
            elif name == "at_best_threshold":
                row |= {f"best_{key}" if key != "threshold" else "threshold": number for key, number in value.items()}
            else:
                row[name] = value
        rows.append(row | {"split": evaluation.split, "split_sha256": evaluation.split_sha256})
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; None becomes an empty field.

    Args:
        path: the file.
        rows: columns by name; the columns are those of all rows, in the order in which they come.

    Raises:
        OSError: the file cannot be written; what was there is as it was.
    """
    head = list(dict.fromkeys(name for row in rows for name in row))
    write_rows(path, [head, *([row.get(name) for name in head] for row in rows)])


def write_rows(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write lines of fields as CSV, UTF-8, one after the other; what is no character is written as an escape.

    Args:
        path: the file.
        rows: the head first.

    Raises:
        OSError: the file cannot be written; what was there is as it was.
    """
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


# -- tagger and data set -----------------------------------------------------------------------------------------------


def evaluate(
    tagger: Tagger,
    tracks: Iterable[Track],
    *,
    vocabulary: Sequence[str],
    data_set: str,
    split: str,
    split_sha256: str,
    part: Part = "test",
    task: Task | None = None,
    clip_score: ClipScore = "mean",
    n_workers: int | None = None,
    told: Told | None = None,
    notes: Sequence[str] = (),
    tagged: Tagged | None = None,
) -> Evaluation:
    """Tag the clips of a data set and put the scores beside the labels.

    Tags of model and data set are matched by name, in whatever order; those that only one of them has are left out and
    named. A file that cannot be read is told and listed, and the others are done.

    Args:
        tagger: the model.
        tracks: the clips.
        vocabulary: tags of the data set, in order.
        data_set: its name.
        split: name of the split that the clips are of.
        split_sha256: hash of its list.
        part: of the split.
        task: whether a clip has several tags or exactly one; None sees it from the clips. With exactly one, clips whose
            tag the model does not give are left out.
        clip_score: how the scores of patches become those of the clip.
        n_workers: processes; None is one a core.
        told: is told each track with what came of it.
        notes: what is to be said beside the numbers.
        tagged: tags the tracks, in order; None reads their files.

    Returns:
        Scores and labels of the clips that could be tagged.

    Raises:
        ConfigError: model and data set have no tag in common, or an option makes no sense.
        DatasetError: there is no clip, or none could be tagged.
    """
    check_choice("clip_score", clip_score, get_args(ClipScore))
    given, wanted = tagger.tags, tuple(vocabulary)
    tags = tuple(tag for tag in wanted if tag in set(given))
    if not tags:
        raise ConfigError(
            f"{tagger.name} gives none of the tags of {data_set}, which are {name_some(wanted, N_TOLD)}. It gives "
            f"{name_some(given, N_TOLD)}. Tags are matched by their exact names."
        )
    listed = list(tracks)
    if not listed:
        raise DatasetError(f"{data_set}, split {split}: {part} has no clip to evaluate on.")
    task = task or ("one" if all(len(track.tags) == 1 for track in listed) else "several")
    kept = [track for track in listed if task == "several" or set(track.tags) & set(tags)]
    if len(kept) < len(listed):
        reason = "which have only tags that the model does not give"
        notes = (*notes, f"{len(listed) - len(kept):,} of {len(listed):,} clips left out, {reason}")
    columns = [given.index(tag) for tag in tags]
    done: list[Track] = []
    scores: list[NDArray[np.float32]] = []
    failures: list[Failure] = []
    for track, result in tagged(kept) if tagged else _tagged(tagger, kept, n_workers):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            done.append(track)
            scores.append(score_clip(result.scores, clip_score, tagger.model.task == "one")[columns])
        if told:
            told(track, result)
    if not done:
        reason = f"; the first: {printable(failures[0].path)}: {failures[0].message}" if failures else ""
        raise DatasetError(f"{data_set}, split {split}: no clip of {part} could be tagged{reason}")
    return Evaluation(
        model=tagger.name,
        data_set=data_set,
        split=split,
        split_sha256=split_sha256,
        part=part,
        tags=tags,
        task=task,
        track_ids=tuple(track.track_id for track in done),
        scores=np.stack(scores),
        labels=np.array([[tag in track.tags for tag in tags] for track in done]),
        columns={name: tuple(track.columns.get(name) for track in done) for name in done[0].columns},
        clip_score=clip_score,
        not_in_model=tuple(tag for tag in wanted if tag not in tags),
        not_in_data=tuple(tag for tag in given if tag not in tags),
        failures=tuple(failures),
        notes=tuple(notes),
    )


def evaluate_part(tagger: Tagger, dataset: TagDataset, part: Part = "test", **options: Any) -> Evaluation:
    """Tag a part of a data set and put the scores beside the labels.

    Args:
        tagger: the model.
        dataset: the data set.
        part: of its split.
        **options: `task`, `clip_score`, `n_workers`, `told` and `notes` of `evaluate`. What is known to be wrong with
            the data set is noted too.

    Returns:
        Scores and labels of the clips that could be tagged.

    Raises:
        ConfigError: as for `evaluate`.
        DatasetError: as for `evaluate`.
    """
    faults = (f"{dataset.card.title}: {dataset.card.faults}",) if dataset.card.faults else ()
    options["notes"] = (*faults, *options.get("notes", ()))
    facts: dict[str, Any] = {
        "vocabulary": dataset.tags,
        "data_set": dataset.card.name,
        "split": dataset.split,
        "split_sha256": dataset.split_sha256(),
        "part": part,
        "task": dataset.task,
    }
    return evaluate(tagger, dataset.tracks(part), **(facts | options))


def evaluate_prepared(tagger: Tagger, data: PreparedData, part: Part, **options: Any) -> Evaluation:
    """Score a part of prepared data, whose files need not be at hand.

    Args:
        tagger: the model.
        data: prepared at its rate, with samples.
        part: of the split.
        **options: `clip_score`, `told` and `notes` of `evaluate`.

    Returns:
        Scores and labels of the clips.

    Raises:
        ConfigError: as for `evaluate`, or the samples were not kept.
        DatasetError: there is no clip.
    """
    rows = data.index(part)
    ids = data.column("track_id")
    labels = data.labels(rows)
    tracks = [
        Track(
            track_id=str(ids[row]), path=Path(str(ids[row])), part=part,
            tags=tuple(tag for tag, holds in zip(data.tags, label) if holds),
        )
        for row, label in zip(rows.tolist(), labels)
    ]  # fmt: skip
    rows_of = {track.track_id: row for track, row in zip(tracks, rows.tolist())}

    def tagged(chosen: Sequence[Track]) -> Iterator[tuple[Track, Taggram | Failure]]:
        for track in chosen:
            sound = data.whole(rows_of[track.track_id])
            try:
                yield track, tagger.tag((sound, data.sample_rate))
            except AudioError as error:  # such as scores that are no numbers: one clip must not cost the others
                yield track, Failure.of(track.track_id, error)

    card = data.card
    return evaluate(
        tagger, tracks, vocabulary=data.tags, data_set=card["name"], split=card["split"],
        split_sha256=card["split_sha256"], part=part, task=data.task, tagged=tagged, **options,
    )  # fmt: skip


def score_clip(scores: NDArray[np.float32], rule: ClipScore, exactly_one: bool) -> NDArray[np.float32]:
    """Turn the scores of the patches of a clip into those of the clip.

    Args:
        scores: (patches, tags) of all tags of the model, 0 to 1.
        rule: see `ClipScore`. A patch votes for its best tag where exactly one holds, the first of equal ones, and for
            all tags above 0.5 where several do.
        exactly_one: whether the scores of a patch come from a softmax and not from sigmoids.

    Returns:
        (tags,), 0 to 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    if rule == "vote":
        votes = np.eye(values.shape[1])[values.argmax(axis=1)] if exactly_one else values > m.HALF
        clip = votes.mean(axis=0)
    elif rule == "log_mean":
        clip = np.exp(np.log(np.maximum(values, TINY)).mean(axis=0))
    elif rule == "logit_mean" and exactly_one:
        logits = np.log(np.maximum(values, TINY)).mean(axis=0)
        powers = np.exp(logits - logits.max())
        clip = powers / powers.sum()
    elif rule == "logit_mean":
        inside = np.clip(values, TINY, NEAREST_TO_ONE)
        clip = 1 / (1 + np.exp(-(np.log(inside) - np.log1p(-inside)).mean(axis=0)))
    else:
        clip = values.mean(axis=0)
        if rule == "relative":
            clip = clip / max(clip.max(), TINY)
    scored: NDArray[np.float32] = clip.astype(np.float32)
    return scored


# -- several evaluations -----------------------------------------------------------------------------------------------


COMPARED = ("macro_roc_auc", "macro_pr_auc", "micro_roc_auc", "micro_pr_auc", "macro_f1", "accuracy")


@dataclass(frozen=True)
class Comparison:
    """Evaluations in one table.

    Attributes:
        rows: a row an evaluation: model, data_set, split, split_sha256, part, n_clips, n_tags, and numbers with the
            ends of their intervals as NAME_low and NAME_high; None where one is not defined.
        differences: what keeps the numbers from being compared; none unless that was asked for.
    """

    rows: tuple[dict[str, Any], ...]
    differences: tuple[str, ...]


def compare(evaluations: Sequence[Evaluation], *, mixed: bool = False) -> Comparison:
    """Put evaluations into one table.

    Args:
        evaluations: of the same split, part, tags and clips.
        mixed: whether others are taken too; what differs is then named.

    Returns:
        The table.

    Raises:
        ConfigError: there is none, or they differ in what they were evaluated on and `mixed` is not set.
    """
    if not evaluations:
        raise ConfigError("there is no evaluation to compare.")
    differences = tuple(_differences(evaluations))
    if differences and not mixed:
        raise ConfigError(
            f"these numbers cannot be compared: {'; '.join(differences)}. mixed=True, --mixed takes them even so."
        )
    return Comparison(tuple(_compared(evaluation) for evaluation in evaluations), differences)


def over_folds(evaluations: Sequence[Evaluation]) -> dict[str, m.OverFolds]:
    """Average the numbers of the folds of a cross-validation.

    Args:
        evaluations: of one model, a fold each.

    Returns:
        Mean and standard deviation of each number over all tags.

    Raises:
        ConfigError: there is none, one comes twice, or they are not of one cross-validation.
    """
    for name in ("data_set", "part", "tags", "task", "clip_score"):
        if len({getattr(evaluation, name) for evaluation in evaluations}) > 1:
            raise ConfigError(f"these are no folds of one cross-validation: their {name} differs.")
    splits = [(evaluation.split, evaluation.split_sha256) for evaluation in evaluations]
    check(len(set(splits)) == len(splits), "the splits", [split for split, _ in splits], "each fold once")
    folds = []
    for evaluation in evaluations:
        numbers = evaluation.metrics(n_resamples=0)[evaluation.part]
        folds.append({name: value for name, value in numbers.items() if isinstance(value, float)})
    return m.mean_over_folds(folds)


# -- inside ------------------------------------------------------------------------------------------------------------


def _tagged(
    tagger: Tagger, tracks: Sequence[Track], n_workers: int | None
) -> Iterator[tuple[Track, Taggram | Failure]]:
    """Tag tracks in order: whole files side by side, and here those that are cut out of a file."""
    whole = tagger.tag_many((track.path for track in tracks if not _is_cut(track)), n_workers=n_workers)
    cutter = _Cutter(tagger)
    for track in tracks:
        result = cutter.tag(track) if _is_cut(track) else next(whole)
        if isinstance(result, Taggram) and not np.isfinite(result.scores).all():
            result = Failure(str(track.path), "ValueError", f"{tagger.name} gives scores that are no numbers for it")
        yield track, result


def _is_cut(track: Track) -> bool:
    return track.start_s > 0 or track.end_s is not None


class _Cutter:
    """Tags tracks that are cut out of files; the last file is held, so that its other tracks cost no decoding.

    Args:
        tagger: the model.
    """

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger
        self._path: Path | None = None
        self._sound: Waveform | None = None

    def tag(self, track: Track) -> Taggram | Failure:
        """Tag one track."""
        try:
            return self._tagger.tag(self.samples(track))
        except Exception as error:  # one track must not cost the next one
            return Failure.of(fspath(track.path), error)

    def samples(self, track: Track) -> tuple[Samples, int]:
        """Read the sound of a track, at the rate that the network hears."""
        sound = self._read(track.path)
        rate = sound.sample_rate
        end = None if track.end_s is None else round(track.end_s * rate)
        samples = sound.samples[round(track.start_s * rate) : end]
        if not len(samples):
            raise AudioError(f"it ends before {track.start_s:g} s, where the track begins")
        return samples, rate

    def _read(self, path: Path) -> Waveform:
        if self._sound is None or path != self._path:
            self._sound = None
            rate = self._tagger.model.frontend.sample_rate
            self._sound = read_sound(path, sample_rate=rate, max_duration_s=self._tagger.max_duration_s)
            self._path = path
        return self._sound


def _write_scores(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as arrays and a card; names go into the card, since arrays of text cut off their ends."""
    in_arrays = {"scores", "labels", "thresholds"}
    card: dict[str, Any] = {}
    for entry in dataclasses.fields(evaluation):
        if entry.init and entry.name not in in_arrays:
            card[entry.name] = getattr(evaluation, entry.name)
    card["failures"] = [dataclasses.asdict(failure) for failure in evaluation.failures]
    card["columns"] = dict(evaluation.columns)
    arrays = {name: getattr(evaluation, name) for name in in_arrays if getattr(evaluation, name) is not None}
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, card=np.array(json.dumps(card)), **arrays)


def _differences(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Say in what evaluations differ that would make one number higher than another."""
    for name in ("data_set", "split", "split_sha256", "part"):
        values = dict.fromkeys(getattr(evaluation, name) for evaluation in evaluations)
        if len(values) > 1:
            shown = (printable(value[:12] if name == "split_sha256" else value) or "not given" for value in values)
            yield f"{name} is {' and '.join(shown)}"
    for name, kind in (("tags", "tags"), ("track_ids", "clips")):
        all_sets = [frozenset(getattr(evaluation, name)) for evaluation in evaluations]
        if len(set(all_sets)) > 1:
            counts = " and ".join(f"{len(one):,}" for one in all_sets)
            yield f"the {kind} are not the same ({counts})"


def _compared(evaluation: Evaluation) -> dict[str, Any]:
    numbers = evaluation.metrics()[evaluation.part]
    named = ("model", "data_set", "split", "split_sha256")
    row: dict[str, Any] = {name: numbers[name] for name in named}
    row |= {"part": evaluation.part, "n_clips": numbers["n_clips"], "n_tags": numbers["n_tags_scored"]}
    for name in COMPARED:
        if name in numbers:
            low, high = numbers["intervals"][name]
            row |= {name: numbers[name], f"{name}_low": low, f"{name}_high": high}
    return row
