"""The pictures of studies: bars with deviations, and curves with theirs. This file alone of them knows matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH

BAND = 0.15  # opacity of a deviation
Values = Sequence[float]


def draw_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Values]],
    *,
    title: str,
    unit: str = "accuracy, %",
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Draw groups of bars: the mean of each, in percent, with its deviation.

    Args:
        groups: names of the groups, from left to right.
        series: by name, the values of each group, from 0 to 1; a group may have none.
        title: stands on top.
        unit: of the axis.
        lines: levels that are drawn across, such as chance, from 0 to 1.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(series))
    for number, (name, values) in enumerate(series.items()):
        there = [place for place, of_group in enumerate(values) if len(of_group)]
        means = [100 * float(np.mean(values[place])) for place in there]
        spread = [100 * float(np.std(values[place])) for place in there]
        places = np.array(there) + (number - (len(series) - 1) / 2) * width
        axes.bar(places, means, width, yerr=spread, label=name, color=COLOURS[number % len(COLOURS)], capsize=2)
        for place, mean, deviation in zip(places, means, spread):
            axes.annotate(
                f"{mean:.0f}", (place, mean + deviation), textcoords="offset points", xytext=(0, 2), ha="center",
                fontsize=SMALL_PT - 1,
            )  # fmt: skip
    for number, (name, level) in enumerate((lines or {}).items()):
        axes.axhline(100 * level, color="0.3", linewidth=1, linestyle=("--", ":", "-.")[number % 3], label=name)
    axes.set_xticks(range(len(groups)), groups, fontsize=SMALL_PT, rotation=20 if len(groups) > 6 else 0)
    _finish(figure, title, unit)
    return figure


def draw_accuracy_curves(
    curves: Mapping[str, Mapping[float, Values]],
    *,
    title: str,
    x: str,
    unit: str = "accuracy, %",
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Draw means over something that grows, such as the number of examples, with their deviations as bands.

    Args:
        curves: by name, values from 0 to 1 at each place.
        title: stands on top.
        x: what grows.
        unit: of the axis.
        lines: levels that are drawn across, from 0 to 1.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items()):
        places = sorted(place for place in points if len(points[place]))
        means = np.array([100 * np.mean(points[place]) for place in places])
        spread = np.array([100 * np.std(points[place]) for place in places])
        colour, dashes = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        axes.plot(places, means, color=colour, linestyle=dashes, marker=".", label=name)
        axes.fill_between(places, means - spread, means + spread, color=colour, alpha=BAND, linewidth=0)
    for number, (name, level) in enumerate((lines or {}).items()):
        axes.axhline(100 * level, color="0.3", linewidth=1, linestyle=("--", ":", "-.")[number % 3], label=name)
    places = sorted({place for points in curves.values() for place in points})
    if places and places[0] > 0:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(places, [f"{place:g}" for place in places], fontsize=SMALL_PT)
    axes.set_xlabel(x, fontsize=SMALL_PT)
    _finish(figure, title, unit)
    return figure


def _finish(figure: Figure, title: str, unit: str) -> None:
    (axes,) = figure.axes
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    axes.set_ylabel(unit, fontsize=SMALL_PT)
    axes.tick_params(labelsize=SMALL_PT)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=SMALL_PT, frameon=False)
