"""The pictures of the study on label reduction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, FULL, LIGHT, MARK, SMALL_PT, TEXT_PT, WIDTH
from taggram.learning.label_reduction import Reduction
from taggram.studies._base import Row, of_method
from taggram.studies._label_reduction_results import NETS, published_tags, words_of
from taggram.studies._pictures import draw_intervals

ROW = 0.17  # of a tag, in inches
MOST_NAMED = 60  # tags that have their names beside their bars


def draw_counts(reduction: Reduction, *, title: str) -> Figure:
    """Draw how many clips have each tag, before and after, the commonest on top.

    Args:
        reduction: what became of the tags.
        title: name of the data.

    Returns:
        The figure; a bar after is what its own name had, and what synonyms added.
    """
    before = sorted(reduction.n_before.items(), key=lambda item: -item[1])
    after = sorted(((tag, reduction.n_merged[tag]) for tag in reduction.kept), key=lambda item: -item[1])
    n_rows = max(len(after), min(len(before), MOST_NAMED))
    figure = Figure(figsize=(WIDTH, 1.3 + ROW * n_rows), layout="constrained")
    left, right = figure.subplots(1, 2)
    stands_for = {name for names in reduction.members().values() for name in names}
    colours = [FULL if tag in stands_for else "0.75" for tag, _ in before]
    left.barh(range(len(before)), [count for _, count in before], color=colours, height=0.75)
    left.set_title(f"before: {len(before)} tags, grey ones do not stay", fontsize=TEXT_PT, loc="left")
    names = [tag for tag, _ in before] if len(before) <= MOST_NAMED else []
    _name_rows(left, names, len(before))
    own = np.array([reduction.n_before.get(tag, 0) for tag, _ in after])
    whole = np.array([count for _, count in after])
    right.barh(range(len(after)), own, color=FULL, height=0.75, label="own name")
    if (whole > own).any():
        right.barh(range(len(after)), whole - own, left=own, color=MARK, height=0.75, label="added by synonyms")
        right.legend(fontsize=SMALL_PT, frameon=False, loc="lower right")
    merged = "merged tags" if reduction.groups else "tags, none merged"
    right.set_title(f"after: {len(after)} of {len(reduction.merged)} {merged}", fontsize=TEXT_PT, loc="left")
    _name_rows(right, [tag for tag, _ in after], len(after))
    for axes in (left, right):
        axes.set_xlabel("clips", fontsize=SMALL_PT)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"Clips of each tag, {title}", fontsize=TEXT_PT + 2)
    return figure


def draw_per_clip(reduction: Reduction, *, title: str) -> Figure:
    """Draw how many clips have how many tags, before and after.

    Args:
        reduction: what became of the tags.
        title: name of the data.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    of_both = (("before", reduction.per_clip_before), ("after", reduction.per_clip_after))
    for axes, (name, counts) in zip(panels, of_both):
        axes.bar(range(len(counts)), counts, color=["0.75", *[FULL] * (len(counts) - 1)], width=0.8)
        mean = sum(number * count for number, count in enumerate(counts)) / max(1, sum(counts))
        axes.axvline(mean, color=MARK, linewidth=1, linestyle="--", label=f"mean {mean:.2f}")
        axes.set_title(f"{name}; {counts[0]:,} clips have none", fontsize=TEXT_PT, loc="left")
        axes.set_xlabel("tags of a clip", fontsize=SMALL_PT)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=SMALL_PT, frameon=False)
    panels[0].set_ylabel("clips", fontsize=SMALL_PT)
    panels[0].yaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"Tags of a clip, {title}", fontsize=TEXT_PT + 2)
    return figure


def draw_networks(rows: Sequence[Row], *, title: str) -> Figure:
    """Draw the ROC-AUC of the networks, for each kind of features and training.

    Args:
        rows: what was measured.
        title: name of the data.

    Returns:
        The figure.
    """
    groups: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    kinds = dict.fromkeys((row["features"], row["training"]) for row in rows)
    for method, net in NETS.items():
        for features, training in kinds:
            if found := of_method(rows, method, features=features, training=training):
                marks = [(row["macro_roc_auc"], *row["macro_roc_auc_interval"]) for row in found]
                groups.setdefault(net.title, {})[f"{features}, {training}"] = marks
    name = f"Networks from shallow to deep, {title}"
    return draw_intervals(groups, title=name, unit="test macro ROC-AUC, %", lines={"chance": 0.5})


def draw_tags(row: Row, *, title: str) -> Figure:
    """Draw accuracy and recall of each tag at 0.5, the most frequent on top, beside the published ones.

    Args:
        row: of a network.
        title: name of the data.

    Returns:
        The figure; a line shows the accuracy of never giving the tag.
    """
    decisions: Mapping[str, Mapping[str, Any]] = row["decisions"]
    beside = published_tags(decisions)
    figure = Figure(figsize=(WIDTH, 1.5 + ROW * len(decisions)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(decisions))
    never = [1 - one["n_positive"] / row["n_test"] for one in decisions.values()]
    left.barh(places, [one["accuracy"] for one in decisions.values()], color=LIGHT, height=0.75)
    left.plot(never, places, "|", color=MARK, markersize=6, markeredgewidth=1.3, label="if it were never given")
    recall = np.array([one["recall"] for one in decisions.values()], dtype=float)
    right.barh(places, recall, color=FULL, height=0.75)
    if beside:
        for column, axes in enumerate((left, right)):
            known = [(beside[tag][column], place) for place, tag in enumerate(decisions) if tag in beside]
            axes.plot(
                *zip(*known), "o", color=COLOURS[4], markeredgecolor="white", markersize=5.5, clip_on=False,
                label="published, other clips",
            )  # fmt: skip
    for axes, name in ((left, "accuracy"), (right, "recall")):
        axes.set_xlim(0, 1)
        axes.set_title(name, fontsize=TEXT_PT, loc="left")
        _name_rows(axes, list(decisions), len(decisions))
    right.tick_params(labelleft=False)
    figure.legend(
        *left.get_legend_handles_labels(), fontsize=SMALL_PT, frameon=False, loc="outside lower left", ncols=2
    )
    figure.suptitle(f"Tags at 0.5: {words_of(row)}, {title}", fontsize=TEXT_PT + 2)
    return figure


def _name_rows(axes: Axes, names: Sequence[str], n_rows: int) -> None:
    """Put names beside the rows, the first on top; without names the rows are counted."""
    if names:
        axes.set_yticks(range(n_rows), names, fontsize=SMALL_PT - 0.5, parse_math=False)
    else:
        axes.set_ylabel("tags, the commonest on top", fontsize=SMALL_PT)
    axes.set_ylim(n_rows - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="both", labelsize=SMALL_PT - 0.5)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
