"""What the page says of one evaluation, section by section; each also goes into files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.datasets._base import name_some
from taggram.errors import ConfigError
from taggram.learning import metrics as m
from taggram.learning._numbers import DECISIONS, PRECISION_AT, calibration_of
from taggram.learning._report import Cell, Column, Html, element, join, picture, table
from taggram.learning.evaluate import ClipScore, Evaluation, tag_rows, write_rows, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_CURVES = 6
N_BEST = 5  # scores shown beside a clip
N_ENDS = 10  # most frequent and rarest tags that are set side by side
FEW_CLIPS = 500
FEW_POSITIVES = 10
NONE = "none"

NAMES = {  # number: how it is called, and what it means
    "macro_roc_auc": ("ROC-AUC, macro", "mean over tags: chance that a clip with the tag scores above one without"),
    "macro_pr_auc": ("PR-AUC, macro", "mean over tags of the average precision"),
    "micro_roc_auc": ("ROC-AUC, micro", "all clips and tags in one ranking"),
    "micro_pr_auc": ("PR-AUC, micro", "all clips and tags in one ranking"),
    "clip_roc_auc": ("ROC-AUC by clip", "mean over clips: chance that a tag that holds scores above one that does not"),
    "accuracy": ("Accuracy", "share of clips whose best tag is the true one"),
    "macro_accuracy": ("Accuracy per tag, macro", "at 0.5; rare tags have a high one without ever being found"),
    "macro_precision": ("Precision, macro", "at 0.5; 0 for a tag that is never given"),
    "macro_recall": ("Recall, macro", "at 0.5"),
    "macro_f1": ("F1, macro", "at 0.5"),
    "micro_accuracy": ("Accuracy per tag, micro", "at 0.5, over all clips and tags"),
    "micro_precision": ("Precision, micro", "at 0.5, over all clips and tags"),
    "micro_recall": ("Recall, micro", "at 0.5, over all clips and tags"),
    "micro_f1": ("F1, micro", "at 0.5, over all clips and tags"),
    **{f"precision_at_{k}": (f"Precision at {k}", "true ones among the best tags of a clip") for k in PRECISION_AT},
    "rmse": ("Root mean squared error", "of scores and labels"),
    "calibration_error": ("Calibration error", "mean distance of scores and how often they are true"),
}

CLIP_SCORES: dict[ClipScore, str] = {
    "mean": "mean over its patches",
    "log_mean": "geometric mean over its patches",
    "logit_mean": "mean of the logits over its patches, turned into a score again",
    "vote": "share of its patches that vote for the tag",
    "relative": "mean over its patches, divided by that of the clip's best tag",
}

INTERVALS = "where the number may well lie for other clips of the same kind, by a bootstrap over clips"
ANNOTATIONS = "Annotations are incomplete, so that a tag that counts as wrong may be a good one."
CURVES = "Beside a tag stand the areas under its two curves. Dotted is what chance gives."
READING = (
    "Rare tags look accurate: a clip that was rightly not given the tag counts as much as one that rightly was. The "
    "mark shows what never giving the tag would reach; only a bar that ends right of it shows that something was "
    "learnt. What was, the recall tells: the share of the tag's clips that were found."
)


class Files:
    """A folder that tables and pictures are written to.

    Args:
        folder: it is made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def draw(self, name: str, figure: Figure, about: str) -> Html:
        """Write a picture, and give it for the page."""
        from taggram.learning._pictures import to_svg

        svg = to_svg(figure)
        with written_aside(self.folder / f"{name}.svg") as aside:
            aside.write_bytes(svg)
        return picture(svg, about)

    def write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a table."""
        write_table(self.folder / f"{name}.csv", rows)


class Chapter:
    """What the page says of one evaluation.

    Args:
        evaluation: it.
        files: where its tables and pictures go.
        anchor: its name within the page.
        n_examples: clips in each table of examples.
        seed: which clips are shown at random.
    """

    def __init__(self, evaluation: Evaluation, files: Files, anchor: str, n_examples: int, seed: int) -> None:
        self.evaluation = evaluation
        self.files = files
        self.anchor = anchor
        self.n_examples = n_examples
        self.seed = seed
        self.numbers: dict[str, Any] = evaluation.metrics()[evaluation.part]
        by_count = sorted(evaluation.tags, key=lambda tag: -self.numbers["tags"][tag]["n_positive"])
        self.by_tag = [{"tag": tag, **self.numbers["tags"][tag]} for tag in by_count]

    def html(self, curve_tags: Sequence[str]) -> list[Html]:
        """Give the parts of the chapter, of which the first is its head."""
        return [
            self._head(),
            self._section("numbers", "All numbers", self._all_numbers()),
            self._section("left-out", "What was left out", self._left_out()),
            self._section("tags", "Tags", self._tags()),
            self._section("bars", "Accuracy and recall", self._bars()),
            self._section("curves", "Curves", self._curves(curve_tags)),
            self._section("calibration", "Calibration", self._calibration()),
            *([self._section("confusion", "Confusion", self._confusion())] if self.evaluation.task == "one" else []),
            self._section("examples", "Predictions beside the truth", self._examples()),
        ]

    def _section(self, name: str, title: str, parts: Sequence[object]) -> Html:
        return element("section", element("h2", title), *parts, id=f"{self.anchor}-{name}")

    def _where(self) -> Html:
        """Say what a number is of: the split and the hash of its list stand beside every table and picture."""
        return where(self.evaluation)

    def _head(self) -> Html:
        evaluation, numbers = self.evaluation, self.numbers
        shown = [*(["accuracy"] if evaluation.task == "one" else []), "macro_roc_auc", "macro_pr_auc"]
        spans = {name: _interval(numbers["intervals"].get(name)) for name in shown}
        about = {name: f"95 %: {span}" if span else "not defined" for name, span in spans.items()}
        boxes = [_box(NAMES[name][0], number(numbers[name]), about[name]) for name in shown]
        n_scored = f"{numbers['n_tags_scored']} of {len(evaluation.tags)} tags scored"
        boxes.append(_box("clips", f"{evaluation.n_clips:,}", n_scored))
        notes = [element("div", note, class_="note") for note in (*evaluation.notes, *self._warnings())]
        return element(
            "header",
            element("h1", f"{evaluation.model} on {evaluation.data_set}"),
            self._where(),
            element("div", *boxes, class_="numbers"),
            *notes,
            id=self.anchor,
        )

    def _warnings(self) -> list[str]:
        """Say what makes the numbers less sure than they look."""
        evaluation, found = self.evaluation, []
        if evaluation.n_clips < FEW_CLIPS:
            found.append(f"Only {evaluation.n_clips:,} clips: mind the intervals.")
        rare = [row["tag"] for row in self.by_tag if 0 < row["n_positive"] < FEW_POSITIVES]
        if rare:
            found.append(f"Fewer than {FEW_POSITIVES} clips have {name_some(rare)}: their numbers say little.")
        if evaluation.not_in_model:
            n_all = len(evaluation.tags) + len(evaluation.not_in_model)
            found.append(
                f"The model knows {len(evaluation.tags)} of the data set's {n_all} tags. They were matched by name "
                "alone; the same word may mean something else."
            )
        return found

    def _all_numbers(self) -> list[object]:
        evaluation, numbers = self.evaluation, self.numbers
        at_best = numbers.get("at_best_thresholds", {})
        columns = [Column("", text=True), Column("value"), Column("95 % interval", about=INTERVALS)]
        columns += [Column("at best thresholds", about="of the best F1 on the validation part")] if at_best else []
        columns += [Column("split", text=True)]
        split = join([f"{evaluation.split} ", element("code", evaluation.split_sha256[:12])])
        rows = []
        for name, (title, about) in NAMES.items():
            if name in numbers:
                cells: list[object] = [join([title, element("span", f" {about}" if about else "", class_="of")])]
                cells += [number(numbers[name]), _interval(numbers["intervals"].get(name))]
                cells += [number(at_best.get(name))] if at_best else []
                rows.append([*cells, split])
        thresholds = "A tag is given where its score is above 0.5"
        if at_best:
            thresholds += ", or above the threshold of the best F1 on the validation part"
        how = f"{thresholds}. The score of a clip is the {CLIP_SCORES[evaluation.clip_score]}."
        return [self._where(), element("p", how), table(columns, rows)]

    def _left_out(self) -> list[object]:
        evaluation, left = self.evaluation, self.numbers["left_out"]
        items = [
            ("Tags that no clip has, and which no average counts", left["no_positive"]),
            ("Tags that every clip has, and which no average counts", left["no_negative"]),
            ("Tags of the data set that the model does not give", left["not_in_model"]),
            ("Tags of the model that the data set does not have", left["not_in_data"]),
        ]
        lines = [
            element(
                "li",
                f"{what}: ",
                f"{len(names)}. " if names else "none.",
                element("span", ", ".join(names), class_="of"),
            )
            for what, names in items
        ]
        failures = evaluation.failures
        lines.append(element("li", f"Clips that could not be tagged: {len(failures) or 'none'}."))
        parts: list[object] = [self._where(), element("ul", *lines)]
        if failures:
            columns = [Column("file", text=True), Column("why", text=True)]
            parts.append(table(columns, [[failure.path, failure.message] for failure in failures]))
            self.files.write("failures", [dataclasses.asdict(failure) for failure in failures])
        return parts

    def _tags(self) -> list[object]:
        from taggram.learning._pictures import draw_areas

        self.files.write("tags", tag_rows(self.evaluation))
        has_best = self.evaluation.thresholds is not None
        columns = [
            Column("tag", text=True),
            Column("clips", about="clips that have the tag"),
            Column("share"),
            Column("ROC-AUC", about="with its 95 % interval"),
            Column("PR-AUC", about="average precision, with its 95 % interval; chance gives the share"),
            *(Column(name.capitalize() if name != "f1" else "F1", about="at 0.5") for name in DECISIONS),
        ]
        if has_best:
            columns += [Column("threshold", about="of the best F1 on the validation part"), Column("F1 there")]
        rows = []
        for row in self.by_tag:
            cells: list[object] = [row["tag"], row["n_positive"], f"{row['n_positive'] / self.evaluation.n_clips:.3f}"]
            cells += [with_interval(row[name], row[f"{name}_interval"], 3) for name in ("roc_auc", "pr_auc")]
            cells += [number(row[name], 3) for name in DECISIONS]
            if has_best:
                best = row["at_best_threshold"]
                cells += [number(best["threshold"], 3), number(best["f1"], 3)]
            rows.append(cells)
        about = "ROC-AUC and PR-AUC of each tag with their intervals, as in the table."
        drawing = self.files.draw("areas", draw_areas(self.by_tag, self.evaluation.n_clips), about)
        how = "The most frequent tag comes first; a click on a head sorts. Decisions are at 0.5."
        return [self._where(), element("p", how), table(columns, rows), drawing]

    def _bars(self) -> list[object]:
        from taggram.learning._pictures import draw_decisions

        drawing = self.files.draw(
            "accuracy_recall", draw_decisions(self.evaluation, self.by_tag), "Accuracy and recall of each tag at 0.5."
        )
        return [self._where(), element("p", READING), *self._ends(), drawing]

    def _ends(self) -> list[object]:
        """Set the most frequent tags beside the rarest, if there are enough."""
        known = [row for row in self.by_tag if row["n_positive"]]
        n = min(N_ENDS, len(known) // 2)
        if n < 2:
            return []
        parts = []
        for name, rows in (("most frequent", known[:n]), ("rarest", known[-n:])):
            accuracy, recall = (float(np.mean([row[key] for row in rows])) for key in ("accuracy", "recall"))
            parts.append(f"the {n} {name} tags have a mean accuracy of {accuracy:.3f} and a recall of {recall:.3f}")
        return [element("p", f"Here {' and '.join(parts)}.")]

    def _curves(self, tags: Sequence[str]) -> list[object]:
        from taggram.learning._pictures import draw_curves

        if not tags:
            return [self._where(), element("p", "No tag has clips with it and clips without it.")]
        drawing = self.files.draw("curves", draw_curves(self.evaluation, tags), f"Curves of {', '.join(tags)}.")
        return [self._where(), element("p", CURVES), drawing]

    def _calibration(self) -> list[object]:
        from taggram.learning._pictures import draw_calibration

        found = calibration_of(self.evaluation)
        exactly_one = self.evaluation.task == "one"
        drawing = self.files.draw(
            "calibration", draw_calibration(found, exactly_one=exactly_one), "Scores and how often they are true."
        )
        rows = [
            {"from": low, "to": high, "n": int(count), "mean_score": score, "share_true": share}
            for low, high, count, score, share in zip(
                found.edges[:-1].tolist(), found.edges[1:].tolist(), found.counts, found.mean_scores.tolist(),
                found.shares.tolist(),
            ) if count
        ]  # fmt: skip
        self.files.write("calibration", rows)
        of = "The best score of each clip is counted." if exactly_one else "All clips and tags are counted."
        text = f"Where the line is below the dotted one, scores are too high. {of}"
        return [self._where(), element("p", text), drawing]

    def _confusion(self) -> list[object]:
        from taggram.learning._pictures import draw_confusion

        evaluation = self.evaluation
        matrix = m.confusion_matrix(evaluation.scores, evaluation.labels)
        rows = [[tag, *counts] for tag, counts in zip(evaluation.tags, matrix.tolist())]
        write_rows(self.files.folder / "confusion.csv", [["true", *evaluation.tags], *rows])
        drawing = self.files.draw("confusion", draw_confusion(matrix, evaluation.tags), "Confusion matrix.")
        mixed_up = matrix - np.diag(np.diag(matrix))
        parts = [
            self._where(),
            element("p", "Rows are the true tags, columns those given; shades are shares of a row."),
        ]
        if mixed_up.any():
            true, given = np.unravel_index(mixed_up.argmax(), mixed_up.shape)
            most = f"{evaluation.tags[true]} for {evaluation.tags[given]}"
            parts.append(element("p", f"Most often taken: {most}, {mixed_up[true, given]} times."))
        return [*parts, drawing]

    def _examples(self) -> list[object]:
        evaluation = self.evaluation
        given = predictions(evaluation)
        losses = clip_losses(evaluation)
        drawn = np.random.default_rng(self.seed).permutation(evaluation.n_clips)[: self.n_examples]
        worst = np.argsort(-losses, kind="stable")[: self.n_examples]
        at = "what is above 0.5" if evaluation.thresholds is None else "what is above each tag's best threshold"
        if evaluation.task == "one":
            at = "the best tag"
        known = "Annotated tags that the model does not know are not shown. " if evaluation.not_in_model else ""
        _write_predictions(self.files.folder / "predictions.csv", evaluation, given)
        parts: list[object] = [
            self._where(),
            element(
                "p",
                f"Given is {at}; hits are ",
                element("b", "green and bold", class_="hit"),
                f". {known}",
                ANNOTATIONS,
            ),
        ]
        for title, clips in (("Clips at random", np.sort(drawn)), ("Where they differ most", worst)):
            parts += [element("h3", title), self._example_table(clips, given)]
        chosen = dict.fromkeys([*np.sort(drawn).tolist(), *worst.tolist()])
        rows = []
        for clip in chosen:
            truth, got = _names(evaluation, evaluation.labels[clip]), _names(evaluation, given[clip])
            hits = [tag for tag in got if tag in truth]
            rows.append({
                "track_id": evaluation.track_ids[clip],
                "annotated": "|".join(truth), "predicted": "|".join(got), "hits": "|".join(hits),
                "loss": float(losses[clip]),
            })  # fmt: skip
        self.files.write("examples", rows)
        return parts

    def _example_table(self, clips: NDArray[np.int64], given: NDArray[np.bool_]) -> Html:
        evaluation = self.evaluation
        columns = [Column(name, text=True) for name in ("clip", "annotated", "given", "best scores")]
        rows = []
        for clip in clips:
            truth, got = _names(evaluation, evaluation.labels[clip]), _names(evaluation, given[clip])
            best = np.argsort(-evaluation.scores[clip], kind="stable")[:N_BEST]
            scores = [
                join([_marked(evaluation.tags[place], truth), f" {evaluation.scores[clip, place]:.2f}"])
                for place in best
            ]
            rows.append([
                evaluation.track_ids[clip],
                join([_marked(tag, got) for tag in truth], ", ") or NONE,
                join([_marked(tag, truth) for tag in got], ", ") or NONE,
                join(scores, ", "),
            ])  # fmt: skip
        return table(columns, rows)


# -- inside ------------------------------------------------------------------------------------------------------------


def where(evaluation: Evaluation) -> Html:
    """Make the line that stands beside every number.

    Args:
        evaluation: what the number is of.

    Returns:
        HTML; the whole hash shows when the mouse rests on it.
    """
    known = evaluation.split_sha256
    digest = element("code", known[:12], title=known) if known else Html("no hash")
    counted = f", part {evaluation.part}, {evaluation.n_clips:,} clips"
    return element("div", f"{evaluation.data_set}, split {evaluation.split} (", digest, ")", counted, class_="where")


def predictions(evaluation: Evaluation) -> NDArray[np.bool_]:
    """Decide which tags each clip is given: the best one, or those above their thresholds, or above 0.5.

    Args:
        evaluation: the scores.

    Returns:
        (clips, tags).
    """
    if evaluation.task == "one":
        given = np.zeros(evaluation.scores.shape, dtype=bool)
        given[np.arange(evaluation.n_clips), evaluation.scores.argmax(axis=1)] = True
        return given
    return m.decide(evaluation.scores, m.HALF if evaluation.thresholds is None else evaluation.thresholds)


def clip_losses(evaluation: Evaluation) -> m.Floats:
    """Say how far scores and labels of each clip are apart: the mean cross-entropy over the tags.

    Args:
        evaluation: the scores and labels.

    Returns:
        (clips,), the larger the more they differ.
    """
    right = np.where(evaluation.labels, evaluation.scores, 1 - evaluation.scores.astype(np.float64))
    losses: m.Floats = -np.log(np.maximum(right, 1e-7)).mean(axis=1)
    return losses


def tags_with_curves(evaluation: Evaluation, chosen: Sequence[str] | None) -> list[str]:
    """Name the tags whose curves are drawn.

    Args:
        evaluation: what they are of.
        chosen: names; None takes the most frequent one, the best, the worst and some between.

    Returns:
        Those that some clip has and some clip has not.

    Raises:
        ConfigError: a chosen tag was not evaluated.
    """
    can_be = [tag for tag, fits in zip(evaluation.tags, m.can_be_scored(evaluation.labels)) if fits]
    by_tag = evaluation.metrics()[evaluation.part]["tags"]
    if chosen is not None:
        if unknown := [tag for tag in chosen if tag not in evaluation.tags]:
            raise ConfigError(f"there are no curves of {name_some(unknown)}, which the evaluation does not have.")
        return [tag for tag in chosen if tag in can_be]
    often = [tag for tag in can_be if by_tag[tag]["n_positive"] >= FEW_POSITIVES] or can_be
    by_area = sorted(often, key=lambda tag: -by_tag[tag]["roc_auc"])
    places = np.linspace(0, len(by_area) - 1, N_CURVES - 1).round().astype(int).tolist() if by_area else []
    most = sorted(often, key=lambda tag: -by_tag[tag]["n_positive"])[:1]
    shown = {*most, *(by_area[place] for place in places)}
    return [tag for tag in by_area if tag in shown]


def _write_predictions(path: Path, evaluation: Evaluation, given: NDArray[np.bool_]) -> None:
    """Write three rows a clip, a column a tag: scores, what is given, and the truth."""
    rows: list[list[Any]] = [["track_id", "row", *evaluation.tags]]
    for place, track_id in enumerate(evaluation.track_ids):
        rows.append([track_id, "score", *(f"{score:.6g}" for score in evaluation.scores[place])])
        rows.append([track_id, "prediction", *given[place].astype(int)])
        rows.append([track_id, "truth", *evaluation.labels[place].astype(int)])
    write_rows(path, rows)


def _names(evaluation: Evaluation, flags: NDArray[np.bool_]) -> list[str]:
    return sorted(tag for tag, holds in zip(evaluation.tags, flags) if holds)


def _marked(tag: str, hits: Sequence[str]) -> Html:
    return element("b", tag, class_="hit") if tag in hits else element("span", tag)


def _box(name: str, value: str, about: str) -> Html:
    return element("div", element("span", name), element("b", value), element("span", about), class_="number")


def number(value: float | None, decimals: int = 4) -> str:
    """Write a number; what is not defined is left empty."""
    return "" if value is None else f"{value:.{decimals}f}"


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None or ends[0] is None or ends[1] is None:
        return ""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def with_interval(value: float | None, ends: Sequence[float | None] | None, decimals: int = 4) -> Cell:
    """Write a number with its interval in small print, as a cell that is sorted by the number."""
    if value is None:
        return Cell("", None)
    span = _interval(ends)
    return Cell(join([number(value, decimals), *([element("span", f" {span}", class_="of")] if span else [])]), value)
