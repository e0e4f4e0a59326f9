"""The pictures of a report and of a tag map. This file alone knows matplotlib; all text may be anything."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from taggram.learning import metrics as m
from taggram.learning._map_page import MIDDLE, lay_out
from taggram.picture import GREY, _drawable, _fonts

if TYPE_CHECKING:
    from taggram.learning.evaluate import Evaluation

Array = NDArray[Any]

# Lengths in inches.
WIDTH = 9.0
ROW = 0.18  # of a tag
HEAD, FOOT = 0.35, 0.55
SMALL_PT, TEXT_PT = 8.0, 9.0
DPI = 150  # of PNG files
PANELS = 3  # side by side
NAME_CHARACTERS = 26  # of a tag beside its row
MOST_POINTS = 400  # of a curve: more cannot be told apart

# Colours that are told apart also by those who see few (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
FULL, LIGHT, MARK = "#0072B2", "#9ecae1", "#D55E00"


def to_svg(figure: Figure) -> bytes:
    """Turn a figure into SVG; equal figures give equal bytes, and letters are drawn as shapes.

    Args:
        figure: the figure.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "taggram", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """Turn a figure into PNG.

    Args:
        figure: the figure.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def draw_decisions(evaluation: Evaluation, by_tag: Sequence[dict[str, Any]]) -> Figure:
    """Draw accuracy and recall of each tag as bars, the most frequent tag on top.

    Args:
        evaluation: what they are of.
        by_tag: the numbers of each tag in the order of the rows, with its name as "tag".

    Returns:
        The figure; a mark shows the accuracy of never giving the tag.
    """
    figure, (left, right) = _rows_of_tags([row["tag"] for row in by_tag], 2)
    places = np.arange(len(by_tag))
    share = np.array([row["n_positive"] for row in by_tag]) / max(1, evaluation.n_clips)
    left.barh(places, [row["accuracy"] for row in by_tag], color=LIGHT, height=0.7)
    left.plot(1 - share, places, "|", color=MARK, markersize=5, markeredgewidth=1.2, label="if it were never given")
    recall = np.array([row["recall"] for row in by_tag], dtype=float)  # None becomes NaN, which is not drawn
    right.barh(places, recall, color=FULL, height=0.7)
    for axes, name in ((left, "accuracy"), (right, "recall")):
        axes.set_xlim(0, 1)
        axes.set_title(name, fontsize=TEXT_PT, loc="left")
        axes.grid(axis="x", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
    _legend_below(figure, left)
    return figure


def draw_areas(by_tag: Sequence[dict[str, Any]], n_clips: int) -> Figure:
    """Draw ROC-AUC and PR-AUC of each tag with their intervals, the most frequent tag on top.

    Args:
        by_tag: as for `draw_decisions`.
        n_clips: all clips, of which the tag's share is what chance gives as PR-AUC.

    Returns:
        The figure; tags that cannot be scored have an empty row.
    """
    figure, axes_of = _rows_of_tags([row["tag"] for row in by_tag], 2)
    for axes, name, title in zip(axes_of, ("roc_auc", "pr_auc"), ("ROC-AUC", "PR-AUC")):
        for place, row in enumerate(by_tag):
            if row[name] is None:
                continue
            low, high = row.get(f"{name}_interval", (None, None))
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=LIGHT, linewidth=3, solid_capstyle="butt")
            axes.plot(row[name], place, "o", color=FULL, markersize=3)
            chance = 0.5 if name == "roc_auc" else row["n_positive"] / max(1, n_clips)
            axes.plot(chance, place, "|", color=MARK, markersize=5, markeredgewidth=1.2)
        axes.set_xlim(0, 1)
        axes.set_title(title, fontsize=TEXT_PT, loc="left")
        axes.grid(axis="x", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
    axes_of[0].plot([], [], "|", color=MARK, markersize=5, markeredgewidth=1.2, label="chance")
    axes_of[0].plot([], [], color=LIGHT, linewidth=3, label="95 % interval")
    _legend_below(figure, axes_of[0])
    return figure


def draw_curves(evaluation: Evaluation, tags: Sequence[str]) -> Figure:
    """Draw ROC and precision-recall curves.

    Args:
        evaluation: what they are of.
        tags: those to be drawn; each must have clips with it and clips without it.

    Returns:
        The figure; the areas stand in the legends.
    """
    n_lines = -(-len(tags) // 3)
    below = 0.6 + 0.2 * n_lines
    height = 4.0 + below
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.99, top=1 - 0.3 / height, bottom=below / height, wspace=0.16)
    left.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    lines = []
    for number, tag in enumerate(tags):
        place = evaluation.tags.index(tag)
        scores, labels = evaluation.scores[:, place], evaluation.labels[:, place]
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": "-" if number < len(COLOURS) else "--",
            "linewidth": 1.2,
        }
        roc, precision = m.roc_curve(scores, labels), m.precision_recall_curve(scores, labels)
        area = m.roc_auc(scores[:, None], labels[:, None])[0]
        average = m.average_precision(scores[:, None], labels[:, None])[0]
        left.plot(*_thinned(roc.x, roc.y), **style)
        lines += right.plot(*_thinned(precision.x, precision.y), drawstyle="steps-pre", **style)
        lines[-1].set_label(f"{area:.3f}, {average:.3f}  {_name(tag)}")  # no name first: one with "_" would be left out
        right.axhline(labels.mean(), color=style["color"], linewidth=0.8, linestyle=":")
    for axes, title, x, y in (
        (left, "ROC", "false positive rate", "true positive rate"),
        (right, "precision and recall", "recall", "precision"),
    ):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.set_title(title, fontsize=TEXT_PT, loc="left")
        axes.set_xlabel(x, fontsize=SMALL_PT)
        axes.set_ylabel(y, fontsize=SMALL_PT)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(color="0.92", linewidth=0.5)
    legend = figure.legend(
        handles=lines, loc="lower center", ncols=3, fontsize=SMALL_PT, frameon=False, title="ROC-AUC, PR-AUC",
        title_fontsize=SMALL_PT,
    )  # fmt: skip
    _style_names(legend.get_texts(), SMALL_PT)
    return figure


def draw_calibration(found: m.Calibration, *, exactly_one: bool) -> Figure:
    """Draw how often what was given some score is true, and how many scores there are.

    Args:
        found: the bins.
        exactly_one: whether they are of the best tag of each clip.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 3.6), facecolor="white")
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.91, bottom=0.13, wspace=0.18)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle=":", label="as often as the score says")
    shown = found.counts > 0
    left.plot(found.mean_scores[shown], found.shares[shown], "o-", color=FULL, markersize=3.5, linewidth=1)
    left.set(xlim=(0, 1), ylim=(0, 1))
    _legend(left, loc="upper left")
    what = "best score of a clip" if exactly_one else "score"
    left.set_title(f"how often it is true (mean distance {found.error:.3f})", fontsize=TEXT_PT, loc="left")
    left.set_ylabel("share that is true", fontsize=SMALL_PT)
    widths = np.diff(found.edges)
    right.bar(found.edges[:-1] + widths / 2, found.counts, width=0.9 * widths, color=LIGHT)
    right.set_yscale("symlog", linthresh=1)
    right.set(xlim=(0, 1), ylim=(0, None))
    right.set_title("how many there are", fontsize=TEXT_PT, loc="left")
    for axes in (left, right):
        axes.set_xlabel(what, fontsize=SMALL_PT)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(color="0.92", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure


def draw_confusion(matrix: Array, tags: Sequence[str]) -> Figure:
    """Draw a confusion matrix: a row a true tag, a column a given one, shades by the share of the row.

    Args:
        matrix: (tags, tags) counts.
        tags: their names.

    Returns:
        The figure.
    """
    n_tags = len(tags)
    cell = float(np.clip(5.0 / max(1, n_tags), 0.14, 0.5))
    names_width = 1.5
    side = cell * n_tags
    width, height = max(WIDTH, names_width + side + 0.6), side + names_width + 0.3
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((names_width / width, names_width / height, side / width, side / height))
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = min(TEXT_PT, 55 * cell)
    for row, column in np.argwhere(matrix > 0):
        dark = shares[row, column] > 0.5
        axes.text(
            column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=min(size, 60 * cell / 3),
            color="white" if dark else "black",
        )  # fmt: skip
    names = [_name(tag) for tag in tags]
    axes.set_xticks(range(n_tags), labels=names, rotation=90)
    axes.set_yticks(range(n_tags), labels=names)
    _style_names([*axes.get_xticklabels(), *axes.get_yticklabels()], size)
    axes.tick_params(length=0)
    axes.set_xlabel("given", fontsize=SMALL_PT, color=GREY)
    axes.set_ylabel("true", fontsize=SMALL_PT, color=GREY)
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
    return figure


def draw_comparison(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the averages of several models with their intervals.

    Args:
        rows: as `Comparison` has them.

    Returns:
        The figure.
    """
    figure, axes_of = _rows_of_tags([row["model"] for row in rows], 2)
    for axes, name, title in zip(axes_of, ("macro_roc_auc", "macro_pr_auc"), ("macro ROC-AUC", "macro PR-AUC")):
        for place, row in enumerate(rows):
            if row[name] is None:
                continue
            axes.plot([row[f"{name}_low"], row[f"{name}_high"]], [place, place], color=LIGHT, linewidth=4)
            axes.plot(row[name], place, "o", color=FULL, markersize=4)
        axes.set_title(title, fontsize=TEXT_PT, loc="left")
        axes.grid(axis="x", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.margins(x=0.1)
    return figure


def draw_perturbations(rows: Sequence[dict[str, Any]], kinds: dict[str, tuple[str, str, float | None]]) -> Figure:
    """Draw how macro ROC-AUC holds when the sound is changed, a panel for each way to change it.

    Args:
        rows: with kind, strength, macro_roc_auc and baseline_macro_roc_auc; None is not drawn.
        kinds: title, unit, and the strength that changes nothing or None, by the kinds of the rows.

    Returns:
        The figure; the strengths of a panel stand side by side in equal steps.
    """
    n_columns = min(PANELS, len(kinds))
    n_rows = -(-len(kinds) // n_columns)
    width, height = WIDTH / PANELS * n_columns + 0.3, 2.7 * n_rows
    figure = Figure(figsize=(width, height), facecolor="white")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.65 / width, right=1 - 0.1 / width, top=1 - 0.3 / height, bottom=0.5 / height, wspace=0.08, hspace=0.42
    )
    for axes in grid.flat[len(kinds) :]:
        axes.set_visible(False)
    for axes, (kind, (title, unit, neutral)) in zip(grid.flat, kinds.items()):
        baseline = next(row["baseline_macro_roc_auc"] for row in rows if row["kind"] == kind)
        values = {row["strength"]: row["macro_roc_auc"] for row in rows if row["kind"] == kind}
        if neutral is not None:
            values = dict(sorted({neutral: baseline, **values}.items()))
        places = np.arange(len(values))
        heights = np.array(list(values.values()), dtype=float)  # None becomes NaN, which is not drawn
        if baseline is not None:
            axes.axhline(baseline, color="0.5", linewidth=0.9, linestyle="--")
        axes.plot(places, heights, "o-", color=FULL, markersize=4, linewidth=1.2)
        if neutral in values:
            axes.plot(list(values).index(neutral), baseline or np.nan, "o", color="white", mec=FULL, markersize=4)
        axes.set_xticks(places, labels=[f"{strength:g}" for strength in values])
        axes.set_title(title, fontsize=TEXT_PT, loc="left")
        axes.set_xlabel(unit, fontsize=SMALL_PT)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(axis="y", color="0.92", linewidth=0.5)
        axes.margins(x=0.08, y=0.1)
    for line in grid:
        line[0].set_ylabel("macro ROC-AUC", fontsize=SMALL_PT)
    return figure


def draw_map(places: Array, labels: Sequence[str], *, title: str, subtitle: str) -> Figure:
    """Draw a map of tags: a point each, with its label where it covers least.

    Args:
        places: (tags, 2).
        labels: of the points.
        title: what the map is of.
        subtitle: how it was made.

    Returns:
        The figure.
    """
    side = float(np.clip(4.5 + 0.07 * len(labels), 7.2, 18.0))
    figure = Figure(figsize=(side, side + 0.5), facecolor="white")
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96 * side / (side + 0.5)))
    names = [_name(label) for label in labels]
    length = 0.96 * side * 72  # in points, as the letters are
    layout = lay_out(places, names, length, TEXT_PT)
    axes.set(xlim=(0, length), ylim=(0, length))
    axes.scatter(layout.at[:, 0], layout.at[:, 1], s=14, color=FULL, zorder=3)
    for at, offset in zip(layout.at[layout.is_far], layout.offsets[layout.is_far]):
        axes.plot(*zip(at, at + offset + (0, MIDDLE * TEXT_PT)), color="0.65", linewidth=0.6, zorder=1)
    for name, at, offset, is_left in zip(names, layout.at, layout.offsets, layout.is_left):
        axes.annotate(
            name, at, xytext=offset, textcoords="offset points", ha="right" if is_left else "left", va="baseline",
            fontsize=TEXT_PT, fontfamily=_fonts(), parse_math=False,
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color="0.6")
    for text, top, size, colour in ((title, 0.3, TEXT_PT + 2, "black"), (subtitle, 0.5, SMALL_PT, GREY)):
        figure.text(
            0.02,
            1 - top / (side + 0.5),
            _drawable(text),
            fontsize=size,
            color=colour,
            fontfamily=_fonts(),
            parse_math=False,
        )
    return figure


# -- inside ------------------------------------------------------------------------------------------------------------


def _rows_of_tags(names: Sequence[str], n_columns: int) -> tuple[Figure, list[Axes]]:
    """Lay out panels side by side that share rows with names."""
    height = HEAD + FOOT + ROW * max(1, len(names))
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    longest = max((len(_name(name)) for name in names), default=0)
    names_width, gap = 0.3 + 0.075 * max(8, longest), 0.35
    panel = (WIDTH - names_width - 0.15 - gap * (n_columns - 1)) / n_columns
    all_axes = []
    for column in range(n_columns):
        left = names_width + column * (panel + gap)
        axes = figure.add_axes((left / WIDTH, FOOT / height, panel / WIDTH, 1 - (HEAD + FOOT) / height))
        axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), labels=[_name(name) if not column else "" for name in names])
        _style_names(axes.get_yticklabels(), SMALL_PT)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=SMALL_PT, length=2)
        axes.spines[["top", "right", "left"]].set_visible(False)
        all_axes.append(axes)
    return figure, all_axes


def _name(tag: str) -> str:
    """Make a name that can be drawn and is not too long."""
    name = _drawable(tag) or "(no name)"
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS // 2]}…{name[-NAME_CHARACTERS // 2 :]}"


def _style_names(labels: Sequence[Any], size: float) -> None:
    for label in labels:
        label.set(fontsize=size, fontfamily=_fonts(), parse_math=False)


def _legend(axes: Axes, **options: Any) -> None:
    legend = axes.legend(fontsize=SMALL_PT, frameon=False, handlelength=1.4, **options)
    _style_names(legend.get_texts(), SMALL_PT)


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Put the legend of rows of tags at the lower edge, whatever their number."""
    corner = (axes.get_position().x0, 0.02)
    _legend(axes, loc="lower left", bbox_to_anchor=corner, bbox_transform=figure.transFigure, ncols=2, borderpad=0)


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """Leave out points of a curve that cannot be told apart, but neither end."""
    if len(x) <= MOST_POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))
    return x[kept], y[kept]


def draw_training(history: Sequence[dict[str, float]], title: str) -> Figure:
    """Draw how a training went: losses, ROC-AUC on the validation part, and the learning rate.

    Args:
        history: the figures of each epoch.
        title: stands on top.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    figure.suptitle(_drawable(title), fontsize=TEXT_PT + 2)
    columns = {name: np.array([row[name] for row in history]) for name in history[0]}
    panels = {
        "loss": (("train_loss", "train", FULL), ("valid_loss", "valid", MARK)),
        "ROC-AUC, valid": (("valid_auc", "", FULL),),
        "learning rate": (("lr", "", FULL),),
    }
    for axes, (name, lines) in zip(figure.subplots(1, len(panels)), panels.items()):
        for key, label, colour in lines:
            axes.plot(columns["epoch"], columns[key], color=colour, label=label or None, marker=".", markersize=4)
        axes.set_title(name, fontsize=TEXT_PT)
        axes.set_xlabel("epoch", fontsize=SMALL_PT)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if any(label for _, label, _ in lines):
            axes.legend(fontsize=SMALL_PT, frameon=False)
        if name == "learning rate":
            axes.set_yscale("log")
    _mark_best(figure.axes[1], columns)
    return figure


def _mark_best(axes: Axes, columns: dict[str, Array]) -> None:
    """Mark the highest ROC-AUC."""
    known = np.nan_to_num(columns["valid_auc"], nan=-1.0)
    best = int(known.argmax())
    if known[best] < 0:
        return
    axes.plot(columns["epoch"][best], known[best], "o", color=MARK)
    axes.annotate(
        f"{known[best]:.3f}", (columns["epoch"][best], known[best]), textcoords="offset points", xytext=(0, -12),
        ha="center", fontsize=SMALL_PT, color=MARK,
    )  # fmt: skip
