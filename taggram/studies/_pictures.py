"""The pictures of studies: bars with deviations, and curves with theirs. This file alone of them knows matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH

BAND = 0.15  # opacity of a deviation
DASHES = ("-", "--", ":", "-.")
ROW, SINGLE_ROW = 0.2, 0.45  # of a value with its interval, in inches: among several series, and alone
GAP = 0.6  # of a row, between groups of several series
BEHIND_NAMES = "; behind the tags: clips for testing that have them"
Values = Sequence[float]
Marked = tuple[float, float, float]
"""A value, and the ends of its interval."""


def with_counts(tags: Sequence[str], n_positive: Mapping[str, int]) -> list[str]:
    """Put the number of clips behind the names of tags, since a figure on a few of them may be chance.

    Args:
        tags: their names.
        n_positive: clips for testing with each; may be none.

    Returns:
        Such as "rock (12)".
    """
    return [f"{tag} ({n_positive[tag]:,})" if tag in n_positive else tag for tag in tags]


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
    series = {name: values for name, values in series.items() if any(map(len, values))}
    width = 0.8 / max(1, len(series))
    for number, (name, values) in enumerate(series.items()):
        there = [place for place, of_group in enumerate(values) if len(of_group)]
        means = [100 * float(np.mean(values[place])) for place in there]
        spread = [100 * float(np.std(values[place])) for place in there]
        places = np.array(there) + (number - (len(series) - 1) / 2) * width
        bars = spread if any(len(values[place]) > 1 for place in there) else None
        axes.bar(places, means, width, yerr=bars, label=name, color=COLOURS[number % len(COLOURS)], capsize=2)
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


def draw_intervals(
    groups: Mapping[str, Mapping[str, Sequence[Marked]]],
    *,
    title: str,
    unit: str,
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Draw values with their intervals, each on a row of its own, in percent to a tenth; of several runs a mark each.

    Args:
        groups: by name from top to bottom, by name of the series, the runs: a value and the ends of its interval over
            clips, from 0 to 1. One series alone needs no name.
        title: stands on top.
        unit: of the axis.
        lines: levels that are drawn across, such as chance, from 0 to 1.

    Returns:
        The figure.
    """
    names = list(dict.fromkeys(name for series in groups.values() for name in series))
    n_rows = sum(map(len, groups.values())) + max(0, len(groups) - 1) * GAP * (len(names) > 1)
    row_inches = ROW if len(names) > 1 else SINGLE_ROW
    figure = Figure(figsize=(WIDTH, 1.4 + row_inches * n_rows), layout="constrained")
    axes = figure.subplots()
    place, middles = 0.0, []
    for series in groups.values():
        first = place
        for name, runs in series.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            for value, low, high in runs:
                axes.plot((100 * low, 100 * high), (place, place), color=colour, linewidth=4, alpha=2 * BAND,
                          solid_capstyle="butt")  # fmt: skip
                axes.plot(100 * value, place, "o", color=colour, markersize=4)
            mean = 100 * float(np.mean([value for value, _, _ in runs]))
            highest = 100 * max(high for _, _, high in runs)
            axes.annotate(
                f"{mean:.1f}", (highest, place), textcoords="offset points", xytext=(4, 0), va="center",
                fontsize=SMALL_PT - 1,
            )  # fmt: skip
            place += 1
        middles.append((first + place - 1) / 2)
        place += GAP * (len(names) > 1)
    for number, (name, level) in enumerate((lines or {}).items()):
        axes.axvline(100 * level, color="0.3", linewidth=1, linestyle=("--", ":", "-.")[number % 3], label=name)
    for name in filter(None, names):
        axes.plot([], [], "o", color=COLOURS[names.index(name) % len(COLOURS)], markersize=4, label=name)
    axes.set_yticks(middles, list(groups), fontsize=SMALL_PT, parse_math=False)
    axes.set_ylim(max(1.0, n_rows) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SMALL_PT)
    axes.set_xlabel(f"{unit}, with its 95 % interval over clips", fontsize=SMALL_PT)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    if any(names) or lines:
        figure.legend(loc="outside right upper", fontsize=SMALL_PT, frameon=False)
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
        curves: by name, values from 0 to 1 at each place. Names that are equal up to a comma have one colour, and
            those that are equal behind it one kind of line.
        title: stands on top.
        x: what grows.
        unit: of the axis.
        lines: levels that are drawn across, from 0 to 1.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    families = list(dict.fromkeys(name.partition(", ")[0] for name in curves))
    ways = list(dict.fromkeys(name.partition(", ")[2] for name in curves))
    for name, points in curves.items():
        places = sorted(place for place in points if len(points[place]))
        means = np.array([100 * np.mean(points[place]) for place in places])
        spread = np.array([100 * np.std(points[place]) for place in places])
        family, _, way = name.partition(", ")
        number = families.index(family)
        colour = COLOURS[number % len(COLOURS)]
        dashes = DASHES[(number // len(COLOURS) + ways.index(way)) % len(DASHES)]
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


def draw_sizes(
    sizes: Mapping[str, tuple[int, Values]],
    *,
    title: str,
    published: Mapping[str, float] | None = None,
    unit: str = "accuracy, %",
) -> Figure:
    """Draw accuracy against the number of parameters, with deviations.

    Args:
        sizes: by name of the network, its parameters and its accuracies, from 0 to 1.
        title: stands on top.
        published: accuracies of the same networks elsewhere, from 0 to 1, drawn as hollow marks.
        unit: of the axis.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    axes = figure.subplots()
    marks = ("o", "s", "^", "D")
    for number, (name, (n_parameters, values)) in enumerate(sizes.items()):
        colour, mark = COLOURS[number % len(COLOURS)], marks[number // len(COLOURS) % len(marks)]
        mean, spread = 100 * float(np.mean(values)), 100 * float(np.std(values))
        bar = spread if len(values) > 1 else None
        axes.errorbar(n_parameters, mean, bar, marker=mark, color=colour, linestyle="none", capsize=2, label=name)
        if name in (published or {}):
            level = 100 * (published or {})[name]
            axes.plot(n_parameters, level, marker=mark, color=colour, linestyle="none", fillstyle="none")
    if set(sizes) & set(published or {}):
        axes.plot([], [], marker="o", color="0.4", linestyle="none", fillstyle="none", label="published")
    axes.set_xscale("log")
    counts = [n_parameters for n_parameters, _ in sizes.values()]
    axes.set_xlim(min(counts) / 2, max(counts) * 2)  # so that networks of nearly one size stand side by side
    axes.set_xlabel("parameters", fontsize=SMALL_PT)
    _finish(figure, title, unit)
    return figure


def draw_counts(matrix: NDArray[Any], classes: Sequence[str], *, title: str) -> Figure:
    """Draw how often clips of each class were taken for which, in shades by the share of the row.

    Args:
        matrix: (classes, classes) counts: a row a true class, a column a given one.
        classes: their names.
        title: stands on top.

    Returns:
        The figure.
    """
    side = 2.6 + 0.45 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=SMALL_PT, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=SMALL_PT)
    axes.set_yticks(range(len(classes)), classes, fontsize=SMALL_PT)
    axes.set_xlabel("given", fontsize=SMALL_PT)
    axes.set_ylabel("true", fontsize=SMALL_PT)
    axes.tick_params(length=0)
    figure.suptitle(title, fontsize=TEXT_PT + 1)
    return figure


def draw_filters(weights: NDArray[Any], *, x: str, title: str) -> Figure:
    """Draw filters of one dimension, as a line each and as the rows of one map.

    Args:
        weights: (filters, places).
        x: what the places are, such as "frames".
        title: stands on top.

    Returns:
        The figure; each line has its own scale, the map has one for all.
    """
    n_filters, n_places = weights.shape
    n_columns = 4
    n_rows = -(-n_filters // n_columns)
    figure = Figure(figsize=(WIDTH, max(3.0, 0.62 * n_rows)), layout="constrained")
    left, right = np.ravel(np.asarray(figure.subfigures(1, 2, width_ratios=(1.2, 1)), dtype=object))
    grid = left.subplots(n_rows, n_columns, sharex=True, squeeze=False)
    for number, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if number < n_filters:
            axes.axhline(0, color="0.85", linewidth=0.5)
            axes.plot(weights[number], color=COLOURS[0], linewidth=1)
            axes.set_title(str(number), fontsize=SMALL_PT - 2, loc="left", pad=0, color="0.4")
    axes = right.subplots()
    most = float(np.abs(weights).max()) or 1.0
    image = axes.imshow(weights, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    axes.set_xlabel(x, fontsize=SMALL_PT)
    axes.set_ylabel("filter", fontsize=SMALL_PT)
    axes.tick_params(labelsize=SMALL_PT)
    bar = right.colorbar(image, ax=axes)
    bar.ax.tick_params(labelsize=SMALL_PT)
    left.supxlabel(f"0 to {n_places} {x}", fontsize=SMALL_PT)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    return figure


def draw_sweeps(
    panels: Mapping[str, Mapping[str, Mapping[float, float]]],
    *,
    title: str,
    x: str,
    unit: str,
) -> Figure:
    """Draw curves over a threshold or the like, in panels side by side.

    Args:
        panels: by title, the curves by name: the value, from 0 to 1, at each place. The last panel has all names.
        title: stands on top.
        x: what the places are.
        unit: of the values.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(name for curves in reversed(list(panels.values())) for name in curves))
    for axes, (name, curves) in zip(row, panels.items()):
        for curve, points in curves.items():
            places, values = list(points), [100 * value for value in points.values()]
            axes.plot(places, values, color=COLOURS[names.index(curve) % len(COLOURS)], marker=".", label=curve)
        axes.set_title(name, fontsize=TEXT_PT, loc="left")
        axes.set_xlabel(x, fontsize=SMALL_PT)
        axes.tick_params(labelsize=SMALL_PT)
        axes.grid(axis="y", color="0.9", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    row[0].set_ylabel(unit, fontsize=SMALL_PT)
    row[-1].legend(fontsize=SMALL_PT, frameon=False)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
    return figure


def draw_phrase(
    spectrogram: NDArray[Any],
    curve: NDArray[Any],
    hop_s: float,
    boundaries: Mapping[str, Values],
    *,
    labels: Sequence[str],
    title: str,
) -> Figure:
    """Draw a phrase: its spectrogram, an onset function, and boundaries that are true and that were found.

    Args:
        spectrogram: (mels, frames).
        curve: (frames,) the onset function.
        hop_s: from frame to frame, in seconds.
        boundaries: times in seconds from the start on, by what they are; the first ones are the true ones.
        labels: of what lies between the true ones.
        title: stands on top.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    length_s = hop_s * spectrogram.shape[1]
    above.imshow(
        spectrogram, origin="lower", aspect="auto", cmap="magma", extent=(0, length_s, 0, len(spectrogram)),
        interpolation="nearest",
    )  # fmt: skip
    above.set_ylabel("mel bands", fontsize=SMALL_PT)
    middle.plot(hop_s * np.arange(len(curve)), curve, color=COLOURS[0], linewidth=1)
    middle.set_ylabel("onset function", fontsize=SMALL_PT)
    middle.set_ylim(0, 1.25)
    true = next(iter(boundaries.values()))
    for axes, colour in ((above, "1.0"), (middle, "0.6")):
        for time_s in true:
            axes.axvline(time_s, color=colour, linewidth=0.8)
    for number, (name, times) in enumerate(boundaries.items()):
        height = len(boundaries) - number
        below.vlines(
            times, height - 0.4, height + 0.4, color=COLOURS[(2, 0, 1, 3)[number % 4]], linewidth=2, label=name
        )
    for start, end, label in zip(true, true[1:], labels):
        middle.text((start + end) / 2, 1.22, label, ha="center", va="top", fontsize=SMALL_PT, parse_math=False)
    below.set_yticks(range(len(boundaries), 0, -1), list(boundaries), fontsize=SMALL_PT)
    below.set_ylim(0.4, len(boundaries) + 0.6)
    below.set_xlim(0, length_s)
    below.set_xlabel("s", fontsize=SMALL_PT)
    for axes in (above, middle, below):
        axes.tick_params(labelsize=SMALL_PT)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=TEXT_PT + 2)
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
