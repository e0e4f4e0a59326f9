"""Learning curves of several methods, with intervals and where they cross."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._at_scale_results import AREAS, MEASURES, TITLES, crossings, curve_of
from taggram.studies._base import Row, of_method
from taggram.studies._claims import mean_interval

BAND = 0.15  # opacity of an interval


def draw_learning_curves(rows: Sequence[Row], title: str) -> Figure:
    """Draw a panel a measure: the mean over runs of each method, each run as a dot, and the intervals over clips.

    Args:
        rows: measured cells.
        title: stands on top.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for axes, (measure, name) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items()):
        _draw_panel(axes, rows, measure)
        axes.set_title(f"{name}, %" if measure in AREAS else name, fontsize=SMALL_PT + 1)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(TITLES) + 1, fontsize=SMALL_PT, frameon=False)
    figure.suptitle(f"{title}\nlines: means over runs; dots: runs; bands: 95 % over tracks", fontsize=TEXT_PT)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row], measure: str) -> None:
    scale = 100 if measure in AREAS else 1
    for number, (method, title) in enumerate(TITLES.items()):
        colour, curve = COLOURS[number], curve_of(rows, method, measure)
        sizes = list(curve)
        if not sizes:
            continue
        axes.plot(sizes, [scale * fmean(curve[size]) for size in sizes], color=colour, label=title)
        for size in sizes:
            axes.plot([size] * len(curve[size]), [scale * value for value in curve[size]], ".", color=colour)
        if measure in AREAS:
            low, high = zip(*(mean_interval(of_method(rows, method, size=size), measure) for size in sizes))
            axes.fill_between(
                sizes, scale * np.array(low), scale * np.array(high), color=colour, alpha=BAND, linewidth=0
            )
    for lower, upper in itertools.permutations(TITLES, 2):
        for passed in crossings(rows, lower, upper, measure):
            axes.axvline(passed, color="0.4", linewidth=1, linestyle=":")
            axes.annotate(
                f"{TITLES[lower]}\nahead of\n{TITLES[upper]}\nfrom {passed:,.0f}", (passed, 1),
                xycoords=("data", "axes fraction"), xytext=(3, -3), textcoords="offset points", va="top",
                fontsize=SMALL_PT - 1,
            )  # fmt: skip
    sizes = sorted({int(row["size"]) for row in rows})
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=SMALL_PT)
    axes.set_xlabel("tracks learned from", fontsize=SMALL_PT)
    axes.tick_params(labelsize=SMALL_PT)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
