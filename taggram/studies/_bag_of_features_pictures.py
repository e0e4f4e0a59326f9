"""The pictures of the study on bags of features."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.models.bag_of_features import AGC_MEL
from taggram.studies._bag_of_features_results import PUBLISHED, grouped
from taggram.studies._bag_of_features_units import Units
from taggram.studies._base import Row
from taggram.studies._pictures import draw_accuracy_curves

STRIPS, IN_STRIP = 4, 36  # of units, one below the other, side by side
MOST_TAGS = 40  # in the map
DRAWN_TAGS = 10  # with the patches of their units
NAME_LETTERS = 52  # of a network, in a line
NAME_ROW, NAME_LINE = 0.2, 0.14  # inches between names, and of each of their lines
LEAST_SPAN = 0.1  # of the axis of areas: less makes small differences look large
HISTOGRAM_BINS = 40
MOST_PLACES = 10  # with ticks, on the axis of units by their centroid
NUMBER_PT = 5.0  # of the numbers of units
PATCH_COLOURS = "RdBu_r"
TICKS_HZ = (200, 500, 1000, 2000, 5000, 10_000)
COURSES = {  # grid: what it is called along the axis
    "rho": "target of the mean activation",
    "patch_frames": "frames of a patch",
    "pool_frames": "frames of a window",
    "layers": "hidden layers",
}


def draw_scores(rows: Sequence[Row], title: str, *, is_papers: bool) -> dict[str, Figure]:
    """Draw the areas of the networks, and over each setting that has several values.

    Args:
        rows: the networks.
        title: of the data.
        is_papers: whether published figures may stand beside them.

    Returns:
        The figures by name.
    """
    drawn = {"scores": _scores(rows, title, is_papers=is_papers)}
    for setting, words in COURSES.items():
        if len({row[setting] for row in rows}) > 1:
            curves: dict[str, dict[float, list[float]]] = {}
            for row in rows:
                curves.setdefault(row["method"], {}).setdefault(row[setting], []).append(row["macro_roc_auc"])
            drawn[f"by_{setting}"] = draw_accuracy_curves(
                curves, title=f"AROC-tag over {words}, {title}", x=words, unit="AROC-tag, %"
            )
    return drawn


def draw_training(facts: Mapping[str, Any], target: float) -> Figure:
    """Draw how an RBM came to its target.

    Args:
        facts: "history" of the epochs, and the mean "activation" of each unit.
        target: of the mean activation.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = [one["epoch"] for one in facts["history"]]
    dots: dict[str, Any] = {"color": COLOURS[0], "marker": ".", "markersize": 4}  # one epoch alone is seen too
    left.plot(epochs, [one["error"] for one in facts["history"]], **dots)
    left.set_title("error of the reconstruction", fontsize=TEXT_PT, loc="left")
    middle.plot(epochs, [one["activation"] for one in facts["history"]], **dots)
    middle.axhline(target, color=COLOURS[1], linewidth=1, linestyle="--", label=f"target {target:g}")
    middle.set_yscale("log")
    middle.set_yticks([target * 2**n for n in range(6)], [f"{target * 2**n:g}" for n in range(6)])
    middle.minorticks_off()
    middle.set_title("mean activation", fontsize=TEXT_PT, loc="left")
    middle.legend(fontsize=SMALL_PT, frameon=False)
    low, high = min(*facts["activation"], target), max(*facts["activation"], target)
    edge = 0.05 * (high - low or target)  # bins go over the whole axis, up to the target: those of a few are seen too
    right.hist(facts["activation"], bins=HISTOGRAM_BINS, range=(low - edge, high + edge), color=COLOURS[0])
    right.axvline(target, color=COLOURS[1], linewidth=1, linestyle="--")
    right.set_title("mean activation of each unit", fontsize=TEXT_PT, loc="left")
    right.set_ylabel("units", fontsize=SMALL_PT)
    for axes, x in ((left, "epoch"), (middle, "epoch"), (right, "mean over patches")):
        axes.set_xlabel(x, fontsize=SMALL_PT)
        _plain(axes)
    figure.suptitle("The sparse RBM in training", fontsize=TEXT_PT + 2)
    return figure


def draw_units(units: Units, tags: Sequence[str], title: str) -> dict[str, Figure]:
    """Draw what units respond to, how they differ, and in which tags they stand out.

    Args:
        units: the units.
        tags: names, in order.
        title: of the data.

    Returns:
        The figures by name.
    """
    drawn = {"units": _strips(units), "acoustics": _acoustics(units)}
    if strongest := units.strongest(MOST_TAGS):
        drawn["tags_and_units"] = _tag_map(units, tags, strongest, title)
        first = {int(units.top(tag, 1)[0]): tag for tag in reversed(strongest)}  # of tags with one first unit, one
        some = [tag for tag in strongest if tag in first.values()]
        drawn["units_of_tags"] = _patches_of_tags(units, tags, some[:DRAWN_TAGS], title)
    return drawn


# -- inside ------------------------------------------------------------------------------------------------------------


def _scores(rows: Sequence[Row], title: str, *, is_papers: bool) -> Figure:
    """Draw each network on a row of its own: the mean of its runs, their intervals, and the runs as faint marks."""
    groups = grouped(rows)
    published = PUBLISHED if is_papers else ()
    names = [textwrap.fill(name, NAME_LETTERS) for name in groups]
    names += [f"published: {one['title']}" for one in published]
    heights = [NAME_ROW + NAME_LINE * (1 + name.count("\n")) for name in names]
    places = np.cumsum(heights) - np.array(heights) / 2
    figure = Figure(figsize=(WIDTH, 1.0 + sum(heights)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name, figure_name in zip(panels, ("AROC-tag", "AROC-clip"), ("macro_roc_auc", "clip_roc_auc")):
        for place, of_name in zip(places, groups.values()):
            values = [row[figure_name] for row in of_name if row[figure_name] is not None]
            if values:
                axes.plot(values, [place] * len(values), "|", color=COLOURS[0], alpha=0.5, markersize=9)
                low, high = _interval(of_name, figure_name)
                axes.plot([low, high], [place, place], color=COLOURS[0], alpha=0.4, linewidth=2)
                _mark(axes, float(np.mean(values)), place, end=high)
        for place, one in zip(places[len(groups) :], published):
            _mark(axes, one[figure_name.removeprefix("macro_")], place, is_published=True)
        axes.set_xlabel(name, fontsize=SMALL_PT)
        low, high = axes.dataLim.intervalx
        aside = max(0.0, LEAST_SPAN - (high - low)) / 2
        room = 0.16 * (high - low + 2 * aside)  # for the figure beside the last mark
        axes.set_xlim(low - aside - room, high + aside + room)
        axes.tick_params(labelsize=SMALL_PT, length=0)
        axes.grid(axis="x", color="0.9", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    if not np.isnan(_interval(rows, "macro_roc_auc")).any():
        panels[0].set_xlabel("AROC-tag; bars are 95 % intervals over clips", fontsize=SMALL_PT)
    panels[0].set_yticks(places, names, fontsize=SMALL_PT, parse_math=False)
    panels[0].set_ylim(sum(heights), -0.1)
    figure.suptitle(f"Bags of features, {title}", fontsize=TEXT_PT + 2, parse_math=False)
    return figure


def _interval(rows: Sequence[Row], name: str) -> tuple[float, float]:
    """Give the mean ends of the intervals of an area over its runs; no numbers where they have none."""
    known = [row[f"{name}_interval"] for row in rows if None not in row.get(f"{name}_interval", [None])]
    low, high = np.mean(known, axis=0).tolist() if known else (np.nan, np.nan)
    return low, high


def _mark(axes: Axes, value: float, place: float, *, end: float = np.nan, is_published: bool = False) -> None:
    """Draw a mark, and its figure beside it, or beside the end of its interval."""
    colour, fill = (COLOURS[1], "none") if is_published else (COLOURS[0], "full")
    axes.plot(value, place, "o", color=colour, fillstyle=fill, markersize=5)
    axes.annotate(
        f"{value:.3f}", (np.nanmax([value, end]), place), textcoords="offset points", xytext=(6, 0), va="center",
        fontsize=SMALL_PT - 1,
    )  # fmt: skip


def _strips(units: Units) -> Figure:
    """Draw patches of units side by side, by their centroid."""
    order = units.by_centroid
    some = order[np.linspace(0, len(order) - 1, min(STRIPS * IN_STRIP, len(order))).round().astype(int)]
    strips = [some[first : first + IN_STRIP] for first in range(0, len(some), IN_STRIP)]
    figure = Figure(figsize=(WIDTH, 2.0 * len(strips) + 1.0), layout="constrained")
    for axes, strip in zip(figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips):
        _draw_patches(axes, units, strip)
        _mel_axis(axes, units.mels_hz)
    figure.suptitle("What units respond to, less the mean patch, by centroid", fontsize=TEXT_PT + 2)
    _explain_patches(figure, units.images.shape[1])
    return figure


def _draw_patches(axes: Axes, units: Units, some: NDArray[Any]) -> None:
    """Draw the (frames, mels) patches of some units side by side, their numbers above and white lines between."""
    images = [_scaled(units.images[unit]) for unit in some]
    gap = np.full((1, images[0].shape[1]), np.nan)
    wide = np.concatenate([part for image in images for part in (image, gap)][:-1])
    axes.imshow(wide.T, origin="lower", aspect="auto", cmap=PATCH_COLOURS, vmin=-1, vmax=1, interpolation="nearest")
    n_frames = len(images[0])
    centres = np.arange(len(images)) * (n_frames + 1) + (n_frames - 1) / 2
    axes.set_xticks(centres, [str(unit) for unit in some])
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, pad=1)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _scaled(image: NDArray[Any]) -> NDArray[Any]:
    return image / (np.abs(image).max() or 1.0)


def _mel_axis(axes: Axes, mels_hz: NDArray[Any]) -> None:
    ticks = [hz for hz in TICKS_HZ if mels_hz[0] <= hz <= mels_hz[-1]]
    axes.set_yticks(np.interp(ticks, mels_hz, np.arange(len(mels_hz))), [f"{hz:,}" for hz in ticks])
    axes.set_ylabel("Hz", fontsize=SMALL_PT)
    axes.tick_params(axis="y", labelsize=SMALL_PT - 1)
    axes.tick_params(axis="x", labelsize=NUMBER_PT)


def _explain_patches(figure: Figure, n_frames: int) -> None:
    """Say once below all patches what a column, time and colour are."""
    ms = 1000 * n_frames * AGC_MEL.mel.hop_length / AGC_MEL.sample_rate
    frames = "1 frame" if n_frames == 1 else f"{n_frames} frames"
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), PATCH_COLOURS), ax=figure.axes, orientation="horizontal", shrink=0.5,
        aspect=50, pad=0.02,
    )  # fmt: skip
    words = (
        f"{frames} ({ms:.0f} ms) of each unit from left to right, its number above: red is more than in the mean "
        "patch, blue is less; 1 is the largest of the unit"
    )
    bar.set_label(words, fontsize=SMALL_PT)
    bar.ax.tick_params(labelsize=SMALL_PT - 1)


def _ticks_of(values: NDArray[Any]) -> list[float]:
    """Choose ticks between the ends of some frequencies in Hz: round ones, or the ends where there are too few."""
    low, high = float(values.min()), float(values.max())
    ticks: list[float] = [hz for hz in TICKS_HZ if low <= hz <= high]
    return ticks if len(ticks) > 1 else sorted({low, *ticks, high})


def _acoustics(units: Units) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    centroid, bandwidth, _, _, slope, harmonicity = units.acoustics.T
    most = float(np.abs(slope).max()) or 1.0
    dots: dict[str, Any] = {"s": 12, "linewidths": 0.3, "edgecolors": "0.35"}  # pale ones are seen by their edge
    first = left.scatter(centroid, bandwidth, c=slope, cmap="RdBu_r", vmin=-most, vmax=most, **dots)
    left.set_xlabel("spectral centroid, Hz", fontsize=SMALL_PT)
    left.set_ylabel("bandwidth, Hz", fontsize=SMALL_PT)
    left.set_xscale("log")
    ticks = _ticks_of(centroid)
    names = [f"{hz:,.0f}" for hz in ticks]
    left.set_xticks(ticks, names)
    left.minorticks_off()
    second = right.scatter(slope, harmonicity, c=centroid, norm=LogNorm(*_ends(centroid)), cmap="viridis", **dots)
    right.set_xlabel("slope: falls, lasts, begins", fontsize=SMALL_PT)
    right.set_ylabel("harmonicity", fontsize=SMALL_PT)
    for axes, image, words in ((left, first, "slope"), (right, second, "spectral centroid, Hz")):
        bar = figure.colorbar(image, ax=axes)
        bar.set_label(words, fontsize=SMALL_PT)
        bar.ax.tick_params(labelsize=SMALL_PT)
        _plain(axes)
    bar.set_ticks(ticks, labels=names)
    bar.minorticks_off()
    figure.suptitle("Acoustic figures of the units", fontsize=TEXT_PT + 2)
    return figure


def _ends(values: NDArray[Any]) -> tuple[float, float]:
    """Give the ends of a scale, apart also where all values are one."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (0.9 * low, 1.1 * high)


def _tag_map(units: Units, tags: Sequence[str], strongest: Sequence[int], title: str) -> Figure:
    """Draw how far each unit stands out in each tag, units by their centroid, tags by that of their units.

    The number of the unit that stands out most in a tag is beside it.
    """
    order = units.by_centroid
    values = units.differences[list(strongest)][:, order]
    weights = np.maximum(values, 0) + 1e-9
    place = (weights @ np.arange(len(order))) / weights.sum(axis=1)
    lines = np.argsort(place)
    figure = Figure(figsize=(WIDTH, 1.4 + 0.17 * len(lines)), layout="constrained")
    axes = figure.subplots()
    most = float(np.abs(values).max()) or 1.0
    image = axes.imshow(
        values[lines], aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest", origin="lower"
    )
    axes.set_yticks(range(len(lines)), [tags[strongest[line]] for line in lines], fontsize=SMALL_PT - 1)
    places = np.linspace(0, len(order) - 1, min(MOST_PLACES, len(order))).round().astype(int)
    axes.set_xticks(places, [f"{units.acoustics[order[one], 0]:,.0f}" for one in places], fontsize=SMALL_PT)
    axes.set_xlabel(
        "units in order of their spectral centroid, Hz; numbers stand beside the units that are first in a tag",
        fontsize=SMALL_PT,
    )
    for row, line in enumerate(lines):
        best = int(values[line].argmax())
        is_right = best > 0.9 * len(order)  # there is no room behind it
        axes.annotate(
            str(order[best]), (best, row), textcoords="offset points", xytext=(-4 if is_right else 4, 0),
            ha="right" if is_right else "left", va="center", fontsize=NUMBER_PT,
        )  # fmt: skip
    bar = figure.colorbar(image, ax=axes)
    bar.set_label("mean bag with the tag less that without", fontsize=SMALL_PT)
    bar.ax.tick_params(labelsize=SMALL_PT)
    figure.suptitle(f"Which units stand out in which tags, {title}", fontsize=TEXT_PT + 2)
    return figure


def _patches_of_tags(units: Units, tags: Sequence[str], strongest: Sequence[int], title: str) -> Figure:
    n_columns = 5
    n_rows = -(-len(strongest) // n_columns)
    figure = Figure(figsize=(WIDTH, 2.4 * n_rows + 1.0), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(strongest):
            axes.set_axis_off()
            continue
        _draw_patches(axes, units, units.top(strongest[number]))
        axes.set_title(tags[strongest[number]], fontsize=TEXT_PT, loc="left", parse_math=False)
        _mel_axis(axes, units.mels_hz)
        if number % n_columns:
            axes.set_ylabel("")
            axes.set_yticklabels([])
    figure.suptitle(f"The units that stand out most in a tag, {title}", fontsize=TEXT_PT + 2)
    _explain_patches(figure, units.images.shape[1])
    return figure


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=SMALL_PT)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
