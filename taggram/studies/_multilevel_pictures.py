"""The pictures of the study on levels and scales: rows with marks, of systems and of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, FOOT, HEAD, ROW, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._pictures import BEHIND_NAMES, with_counts

MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")
SYSTEM_ROW = 0.3  # inches
LEGEND = 0.4  # inches, with the second line of a title
MOST_COLUMNS = 5  # of the legend


def draw_places(
    places: Mapping[str, Sequence[float]], intervals: Mapping[str, tuple[float, float]], *, title: str, unit: str
) -> Figure:
    """Draw a figure of each system on a row of its own, with runs, where there are several, as faint marks.

    Args:
        places: by name of the system, its figure in each run, from 0 to 1.
        intervals: of some of them, drawn as lines.
        title: stands on top.
        unit: of the figures.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, HEAD + FOOT + 0.3 + SYSTEM_ROW * len(places)), layout="constrained")
    axes = figure.subplots()
    names = list(places)
    for row, name in enumerate(names):
        if name in intervals:
            axes.plot(intervals[name], [row, row], color="0.7", linewidth=2, solid_capstyle="butt", zorder=1)
        if len(places[name]) > 1:
            axes.plot(places[name], [row] * len(places[name]), "|", color=COLOURS[0], alpha=0.5, markersize=9)
        mean = float(np.mean(places[name]))
        axes.plot(mean, row, "o", color=COLOURS[0], markersize=5)
        axes.annotate(f"{mean:.3f}", (mean, row), textcoords="offset points", xytext=(0, 4), ha="center",
                      fontsize=SMALL_PT - 1)  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=SMALL_PT, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.8)
    marks = ["dot: mean over runs; ticks: single runs"] if any(len(runs) > 1 for runs in places.values()) else []
    marks += ["line: 95 % interval over clips"] if intervals else []
    axes.set_xlabel("; ".join([unit, *marks]), fontsize=SMALL_PT)
    axes.tick_params(labelsize=SMALL_PT, length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    return figure


def draw_tags(series: Mapping[str, Mapping[str, float]], n_positive: Mapping[str, int], *, title: str) -> Figure:
    """Draw the ROC-AUC of each tag on a row of its own, by what it was found with.

    Args:
        series: by name, the ROC-AUC of each tag, from 0 to 1; the last one has the best tag on top, and is filled.
        n_positive: clips for testing with each tag, which stand behind its name; {} where they are not known.
        title: stands on top.

    Returns:
        The figure.
    """
    whole = list(series)[-1]
    tags = sorted(series[whole], key=lambda tag: -series[whole][tag])
    height = HEAD + FOOT + LEGEND + ROW * len(tags)
    figure = Figure(figsize=(WIDTH, max(3.0, height)), layout="constrained")
    axes = figure.subplots()
    for row, tag in enumerate(tags):
        values = [of_one[tag] for of_one in series.values() if tag in of_one]
        axes.plot([min(values), max(values)], [row, row], color="0.85", linewidth=1, zorder=1)
    for number, (name, of_one) in enumerate(series.items()):
        there = [row for row, tag in enumerate(tags) if tag in of_one]
        colour = "black" if name == whole else COLOURS[number % (len(COLOURS) - 2)]
        axes.plot(
            [of_one[tags[row]] for row in there], there, MARKS[number % len(MARKS)], color=colour, markersize=5,
            fillstyle="full" if name == whole else "none", label=name, zorder=2,
        )  # fmt: skip
    axes.set_yticks(range(len(tags)), with_counts(tags, n_positive), fontsize=SMALL_PT, parse_math=False)
    axes.set_ylim(len(tags) - 0.4, -0.6)
    axes.set_xlabel(f"ROC-AUC{BEHIND_NAMES if n_positive else ''}", fontsize=SMALL_PT)
    axes.tick_params(labelsize=SMALL_PT, length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, fontsize=TEXT_PT + 1)
    figure.legend(loc="outside lower center", ncols=min(len(series), MOST_COLUMNS), fontsize=SMALL_PT, frameon=False)
    return figure
