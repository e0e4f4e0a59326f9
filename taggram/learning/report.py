"""The report of an evaluation: one HTML page that stands alone, and the same as tables and pictures beside it.

Source: the table of predictions beside the truth, the bars of accuracy and recall and their reading are those of the
    README of Audio-auto-tagging (Alekseeva, Klironomou, Markou and Xenaki, 2017).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import taggram
from taggram._checks import check_count
from taggram._files import written_aside
from taggram.learning._chapter import NAMES, Chapter, Files, number, tags_with_curves, with_interval
from taggram.learning._report import Column, Html, element, page, table
from taggram.learning.evaluate import Comparison, Evaluation, compare

PAGE, FOLDER = "report.html", "report"
N_EXAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a published table, to stand beside ours.

    Attributes:
        system: what was measured.
        source: the paper or page, and its table.
        split: what it was measured on, as the source says it.
        values: numbers from 0 to 1, by their names in metrics.json, such as "macro_roc_auc".
    """

    system: str
    source: str
    split: str
    values: Mapping[str, float]


def published_by(facts: Mapping[str, Any], system: str) -> Published:
    """Make a published row out of what a card of weights says.

    Args:
        facts: `card.published`, with data_set, split, source, roc_auc and pr_auc.
        system: the name of the weights.

    Returns:
        The row.
    """
    names = {"roc_auc": "macro_roc_auc", "pr_auc": "macro_pr_auc"}
    return Published(
        system=system,
        source=str(facts.get("source", "")),
        split=", ".join(str(facts[key]) for key in ("data_set", "split") if key in facts),
        values={ours: float(facts[theirs]) for theirs, ours in names.items() if theirs in facts},
    )


def write_report(
    evaluations: Evaluation | Sequence[Evaluation],
    folder: str | PathLike[str],
    *,
    published: Sequence[Published] = (),
    curve_tags: Sequence[str] | None = None,
    n_examples: int = N_EXAMPLES,
    mixed: bool = False,
    seed: int = 0,
    sections: Sequence[Html] = (),
) -> Path:
    """Write the report.

    Args:
        evaluations: one, or several of the same split, each of which has its chapter.
        folder: where to; it is made if it is not there. report.html is the page, and the folder report beside it holds
            its tables as CSV and its pictures as SVG, in a folder for each evaluation where there are several.
        published: rows of published tables, which stand beside ours.
        curve_tags: tags whose curves are drawn; None takes the most frequent one, the best, the worst and some between.
        n_examples: clips shown at random, and as many where prediction and truth differ most.
        mixed: whether evaluations of different splits may stand in one table.
        seed: which clips are shown at random.
        sections: what else stands at the end of the page, such as that of `write_perturbations`.

    Returns:
        The page.

    Raises:
        ConfigError: there is no evaluation, they cannot be compared and `mixed` is not set, or an option is wrong.
        OSError: a file cannot be written.
    """
    listed = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    check_count("n_examples", n_examples)
    compared = compare(listed, mixed=mixed)
    files = Path(folder) / FOLDER
    chapters = []
    for place, evaluation in enumerate(listed, start=1):
        own = files if len(listed) == 1 else files / f"{place}-{_file_name(evaluation.model)}"
        chapter = Chapter(evaluation, Files(own), f"c{place}", n_examples, seed)
        chapters.append(chapter.html(tags_with_curves(evaluation, curve_tags)))
    beside = _published(listed, published) if published else []
    if len(listed) == 1:
        title = f"{listed[0].model} on {listed[0].data_set}"
        head, *own_sections = chapters[0]
        parts = [head, *beside, *own_sections]
    else:
        title = f"{len(listed)} evaluations"
        of_chapters = [section for chapter in chapters for section in chapter]
        parts = [element("h1", title), *_comparison(compared, Files(files)), *beside, *of_chapters]
    footer = element("footer", f"Made by taggram {taggram.__version__}. Intervals are those of a bootstrap over clips.")
    path = Path(folder) / PAGE
    with written_aside(path) as aside:
        aside.write_bytes(page(title, *parts, *sections, footer))
    return path


# -- what stands above the chapters ------------------------------------------------------------------------------------


def _comparison(compared: Comparison, files: Files) -> list[Html]:
    from taggram.learning._pictures import draw_comparison

    files.write("comparison", compared.rows)
    names = [name for name in ("macro_roc_auc", "macro_pr_auc", "micro_f1", "accuracy") if name in compared.rows[0]]
    columns = [Column("model", text=True), *(Column(NAMES[name][0]) for name in names)]
    columns += [Column("clips"), Column("tags"), Column("part", text=True), Column("split", text=True)]
    rows = [
        [
            row["model"],
            *(with_interval(row.get(name), (row.get(f"{name}_low"), row.get(f"{name}_high"))) for name in names),
            f"{row['n_clips']:,}",
            row["n_tags"],
            row["part"],
            f"{row['data_set']}, {row['split']} {row['split_sha256'][:12]}",
        ]
        for row in compared.rows
    ]
    notes = []
    if compared.differences:
        notes.append(element("div", f"Not to be compared: {'; '.join(compared.differences)}.", class_="note"))
    about = "Macro ROC-AUC and PR-AUC of each model with their intervals."
    drawing = files.draw("comparison", draw_comparison(compared.rows), about)
    return [element("h2", "Side by side"), *notes, table(columns, rows), drawing]


def _published(evaluations: Sequence[Evaluation], published: Sequence[Published]) -> list[Html]:
    """Set published rows beside ours."""
    ours = [evaluation.metrics()[evaluation.part] for evaluation in evaluations]
    names = [name for name in NAMES if any(name in row.values for row in published)]
    columns = [Column("system", text=True), *(Column(NAMES[name][0]) for name in names)]
    columns += [Column("split", text=True), Column("source", text=True)]
    rows: list[list[object]] = [
        [row.system, *(number(row.values.get(name)) for name in names), row.split, row.source] for row in published
    ]
    for evaluation, numbers in zip(evaluations, ours):
        cells = [with_interval(numbers.get(name), numbers["intervals"].get(name)) for name in names]
        rows.append([f"{evaluation.model} (ours)", *cells, evaluation.where, "this report"])
    how = "Numbers can be compared only where data set, split and tags are the same; ours are the rows that stand out."
    marked = frozenset(range(len(published), len(rows)))
    return [element("h2", "Beside published numbers"), element("p", how), table(columns, rows, ours=marked)]


# -- inside ---


def _file_name(model: str) -> str:
    """Make a name that any file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", model)[:60].strip(".") or "model"
