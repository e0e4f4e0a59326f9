"""The pictures of the multi-scale study."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._base import Row, of_method
from taggram.studies._multiscale_results import NETS, TITLES, kept_row
from taggram.studies._pictures import BEHIND_NAMES, draw_intervals, with_counts

ROW = 0.18  # of a tag, in inches


def draw_epochs(rows: Sequence[Row], *, title: str) -> Figure:
    """Draw ROC-AUC on validation and test after each epoch, a panel a network, of the first run.

    Args:
        rows: what was measured.
        title: name of the data.

    Returns:
        The figure; a ring marks the epoch that was kept, and dotted lines the drops of the learning rate.
    """
    found = {method: of_method(rows, method)[0] for method in NETS if of_method(rows, method)}
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(found)), sharey=True, squeeze=False)[0]
    for axes, (method, row) in zip(panels, found.items()):
        history = row["history"]
        epochs = [one["epoch"] for one in history]
        for number, (name, dashes) in enumerate((("valid", "--"), ("test", "-"))):
            values = [np.nan if one[f"{name}_auc"] is None else 100 * one[f"{name}_auc"] for one in history]
            label = {"valid": "validation", "test": "test"}[name]
            axes.plot(epochs, values, color=COLOURS[number], linestyle=dashes, marker=".", markersize=4, label=label)
        kept = kept_row(row)
        if kept["test_auc"] is not None:
            level = 100 * kept["test_auc"]
            axes.plot(kept["epoch"], level, "o", markersize=9, color=COLOURS[1], fillstyle="none")
            axes.annotate(
                f"{level:.1f}", (kept["epoch"], level), textcoords="offset points", xytext=(0, -15), ha="center",
                fontsize=SMALL_PT, color=COLOURS[1],
            )  # fmt: skip
        for before, after in itertools.pairwise(history[1:]):
            if after["lr"] < before["lr"]:
                axes.axvline(before["epoch"] + 0.5, color="0.7", linewidth=0.8, linestyle=":")
        axes.set_title(NETS[method].title, fontsize=TEXT_PT, loc="left")
        axes.set_xlabel("epoch", fontsize=SMALL_PT)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("macro ROC-AUC, %", fontsize=SMALL_PT)
    panels[-1].legend(fontsize=SMALL_PT, frameon=False, loc="lower right")
    figure.suptitle(f"ROC-AUC after each epoch, {title}", fontsize=TEXT_PT + 2)
    return figure


def draw_scales(rows: Sequence[Row], *, title: str) -> Figure:
    """Draw the test ROC-AUC of each network with its interval; of several runs, a mark each.

    Args:
        rows: what was measured.
        title: name of the data.

    Returns:
        The figure.
    """
    groups = {}
    for method, title_of in TITLES.items():
        if found := of_method(rows, method):
            n_parameters = found[0]["parameters"]
            name = title_of if n_parameters is None else f"{title_of}\n{n_parameters:,} parameters"
            groups[name] = {"": [(row["macro_roc_auc"], *row["macro_roc_auc_interval"]) for row in found]}
    return draw_intervals(groups, title=f"Scales, {title}", unit="test macro ROC-AUC, %")


def draw_gains(gains: Mapping[str, float], n_positive: Mapping[str, int], *, title: str) -> Figure:
    """Draw what each tag gains by three scales in the place of one.

    Args:
        gains: differences of ROC-AUC by tag, the greatest first; at least one.
        n_positive: clips for testing with each tag, which stand behind its name; {} where they are not known.
        title: name of the data.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(gains)), layout="constrained")
    axes = figure.subplots()
    values = 100 * np.array(list(gains.values()))
    colours = [COLOURS[0] if value >= 0 else COLOURS[1] for value in values]
    axes.barh(range(len(gains)), values, color=colours, height=0.7)
    axes.set_yticks(range(len(gains)), with_counts(list(gains), n_positive), fontsize=SMALL_PT, parse_math=False)
    axes.set_ylim(len(gains) - 0.4, -0.6)
    axes.axvline(0, color="0.3", linewidth=0.8)
    mean = float(values.mean())
    axes.axvline(mean, color="0.3", linewidth=0.8, linestyle="--", label=f"mean {mean:+.2f}")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SMALL_PT)
    behind = BEHIND_NAMES if n_positive else ""
    axes.set_xlabel(f"ROC-AUC of three scales less that of one, points{behind}", fontsize=SMALL_PT)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(fontsize=SMALL_PT, frameon=False, loc="lower right")
    figure.suptitle(f"What tags gain by three scales, {title}", fontsize=TEXT_PT + 2)
    return figure
