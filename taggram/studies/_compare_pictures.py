"""What networks reach against what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._base import Row, of_method
from taggram.studies._compare_results import means_of

COSTS = {"mflop_per_s": "MFLOP per second of sound", "tag_s_per_hour": "seconds to tag an hour, on one core"}
MARKS = "osD^vP"
LEAST_PARAMETERS = 1_000
AREA = 14.0  # of a mark, in square points, for a tenfold of parameters


def draw_costs(rows: Sequence[Row], title: str) -> Figure:
    """Draw ROC-AUC with its interval against two costs, a mark a network, larger where there are more parameters.

    Args:
        rows: measured cells.
        title: stands on top.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (cost, name) in zip((left, right), COSTS.items()):
        _draw_panel(axes, rows, cost)
        axes.set_xlabel(name, fontsize=SMALL_PT)
    left.set_ylabel("ROC-AUC, %", fontsize=SMALL_PT)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Row], cost: str) -> None:
    reached, costs, sizes = (means_of(rows, name) for name in ("macro_roc_auc", cost, "parameters"))
    for number, name in enumerate(sorted(reached, key=lambda name: -reached[name])):
        ends = [row["macro_roc_auc_interval"] for row in of_method(rows, name)]
        low, high = (sum(float(end[place]) for end in ends) / len(ends) for place in (0, 1))
        colour, level = COLOURS[number % len(COLOURS)], 100 * reached[name]
        axes.plot([costs[name]] * 2, [100 * low, 100 * high], color=colour, linewidth=1, alpha=0.6)
        decades = len(str(int(max(sizes[name], LEAST_PARAMETERS) / LEAST_PARAMETERS)))
        mark = MARKS[number // len(COLOURS) % len(MARKS)]
        axes.scatter(costs[name], level, AREA * decades, color=colour, marker=mark, zorder=3)
        axes.annotate(
            name, (costs[name], level), xytext=(5, 0), textcoords="offset points", va="center", fontsize=SMALL_PT - 1,
            color=colour, parse_math=False,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.margins(x=0.18)
    axes.tick_params(labelsize=SMALL_PT)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
