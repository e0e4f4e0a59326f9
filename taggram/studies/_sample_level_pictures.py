"""The picture of the study on sample-level filters: ROC-AUC over the first filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.picture import GREY

if TYPE_CHECKING:
    from taggram.studies._trained_grid import Area


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Attributes:
        title: stands on top.
        curves: by name, the area at each first filter in samples.
        level: name and area of a network that has no first filter.
    """

    title: str
    curves: Mapping[str, Mapping[float, Area]]
    level: tuple[str, Area] | None = None


def draw_first_filter(panels: Sequence[Panel]) -> Figure:
    """Draw ROC-AUC over the first filter, in panels side by side, each with a vertical axis of its own.

    Args:
        panels: from left to right; the last has all names.

    Returns:
        The figure. Intervals are upright bars, those of a level a band.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    row = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    names = list(dict.fromkeys(name for panel in reversed(panels) for name in panel.curves))
    for axes, panel in zip(row, panels):
        for name, curve in panel.curves.items():
            _draw_curve(axes, name, curve, names.index(name))
        if panel.level is not None:
            name, (area, low, high) = panel.level
            axes.axhline(100 * area, color=GREY, linestyle="--", linewidth=1, label=name)
            if low is not None and high is not None:
                axes.axhspan(100 * low, 100 * high, color=GREY, alpha=0.12, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(panel.title, fontsize=TEXT_PT, loc="left", parse_math=False)
        axes.set_xlabel("first filter, samples", fontsize=SMALL_PT)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=SMALL_PT, frameon=False)
    row[0].set_ylabel("macro ROC-AUC, %; bars and band: 95 % intervals over clips", fontsize=SMALL_PT)
    figure.suptitle("The smaller the first filter, the better?", fontsize=TEXT_PT + 2)
    return figure


def _draw_curve(axes: Axes, name: str, curve: Mapping[float, Area], number: int) -> None:
    """Draw a curve with its intervals."""
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(list(curve), [100 * area for area, _, _ in curve.values()], color=colour, marker=".", label=name)
    for place, (_, low, high) in curve.items():
        if low is not None and high is not None:
            axes.plot([place, place], [100 * low, 100 * high], color=colour, alpha=0.4, linewidth=2)
