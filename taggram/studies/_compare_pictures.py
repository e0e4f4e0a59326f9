"""What networks reach against what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._base import Row, of_method
from taggram.studies._claims import mean_interval
from taggram.studies._compare_results import means_of

COSTS = {"mflop_per_s": "MFLOP per second of sound", "tag_s_per_hour": "seconds to tag an hour, on one core"}
SIZES = {10_000: "10 thousand parameters", 1_000_000: "1 million", 100_000_000: "100 million"}
LEAST_PARAMETERS = 1_000
AREA = 22.0  # of a mark, in square points, for a tenfold of parameters
N_LINES = 3  # of the list of names


def draw_costs(rows: Sequence[Row], title: str) -> Figure:
    """Draw ROC-AUC with its interval against two costs, a numbered mark a network, larger with more parameters.

    Args:
        rows: measured cells.
        title: stands on top.

    Returns:
        The figure.
    """
    reached = means_of(rows, "macro_roc_auc")
    names = sorted(reached, key=lambda name: -reached[name])
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (cost, name) in zip((left, right), COSTS.items()):
        _draw_panel(axes, rows, names, cost)
        axes.set_xlabel(name, fontsize=SMALL_PT)
    left.set_ylabel("ROC-AUC, %", fontsize=SMALL_PT)
    for n_parameters, words in SIZES.items():
        left.scatter([], [], _area(n_parameters), color="0.6", label=words)
    left.legend(fontsize=SMALL_PT - 1, frameon=False, loc="lower right")
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    listed = [f"{number} {name}" for number, name in enumerate(names, 1)]
    per_line = -(-len(listed) // N_LINES)
    lines = ["   ".join(listed[first : first + per_line]) for first in range(0, len(listed), per_line)]
    figure.supxlabel("\n".join(lines), fontsize=SMALL_PT - 1, parse_math=False)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row], names: Sequence[str], cost: str) -> None:
    reached, costs, sizes = (means_of(rows, name) for name in ("macro_roc_auc", cost, "parameters"))
    for number, name in enumerate(names, 1):
        low, high = mean_interval(of_method(rows, name))
        colour, level = COLOURS[(number - 1) % len(COLOURS)], 100 * reached[name]
        axes.plot([costs[name]] * 2, [100 * low, 100 * high], color=colour, linewidth=1, alpha=0.6)
        axes.scatter(costs[name], level, _area(sizes[name]), color=colour, zorder=3)
        axes.annotate(
            str(number), (costs[name], level), xytext=(6, 4), textcoords="offset points", fontsize=SMALL_PT - 1,
            color=colour, zorder=4,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.margins(x=0.1)
    axes.tick_params(labelsize=SMALL_PT)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _area(n_parameters: float) -> float:
    """Give the area of a mark."""
    return AREA * (1 + math.log10(max(n_parameters, LEAST_PARAMETERS) / LEAST_PARAMETERS))
