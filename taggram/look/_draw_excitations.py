"""The pictures of excitations, by tag and by loudness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from taggram.look._page import ABOVE, Grid, Page, counted
from taggram.picture import SMALL_PT

if TYPE_CHECKING:
    from taggram.look._excitation import Excitations

COLOURED_TAGS = 10  # with more, three have a colour
OTHER = "0.75"  # colour of the others
LINE = 0.13  # of a legend, in inches
LEAST_SPAN = 0.02  # of the axis of excitations: less would make noise look large


def draw_excitations(found: Excitations) -> Figure:
    """Draw excitations by tag.

    Args:
        found: what `excitations` gave.

    Returns:
        The figure: a panel a block, one for how much the blocks depend on the tags, and the names of the tags.
    """
    n_blocks = len(found.names)
    grid = Grid(n_blocks + 2)
    page = Page(grid.height)
    given = "the best tag of each by the network itself" if found.tags_by == "model" else "as they are sorted"
    page.print_title(
        f"{found.model}: excitations by tag",
        f"mean over the clips of each of {counted(len(found.tags), 'tag')}, {given}; channels by their mean over tags",
    )
    colours, keys = _colours(found)
    limits = _limits(found.by_tag)
    for number, block in enumerate(found.by_tag):
        axes = grid.axes(page, number, f"block {number + 1}", (f"{block.shape[1]} channels, sorted", "excitation"))
        order = np.argsort(block.mean(axis=0), kind="stable")
        for curve, colour in sorted(zip(block[:, order], colours), key=lambda pair: pair[1] != OTHER):
            axes.plot(curve, color=colour, linewidth=0.5 if colour == OTHER else 0.9)
        axes.set(xlim=(0, block.shape[1] - 1), ylim=limits)
    axes = grid.axes(page, n_blocks, "how much blocks depend on the tag", ("block", "standard deviation"))
    numbers = range(1, n_blocks + 1)
    axes.plot(numbers, found.spread, color="black", marker="o", markersize=2.5, linewidth=0.8)
    axes.set(xlim=(0.5, n_blocks + 0.5), ylim=(0, 1.15 * float(found.spread.max()) or 1.0), xticks=numbers)
    left, top = grid.place(n_blocks + 1)
    for line, (text, colour) in enumerate(keys):
        page.key(left, top + ABOVE + 0.1 + LINE * line, colour, text)
    return page.figure


def draw_loudness(found: Excitations) -> Figure:
    """Draw the excitations of the first block over the loudness of the sound.

    Args:
        found: what `excitations` gave.

    Returns:
        The figure: the mean over channels and the selected channels, a dot a segment, with least-squares lines.
    """
    slopes, starts, _ = found.loudness_lines
    panels = [(f"mean over {len(slopes)} channels", found.first_block.mean(axis=1), slopes.mean(), starts.mean())]
    for name, channel in found.selected_channels.items():
        panels.append((f"{name}: {channel}", found.first_block[:, channel], slopes[channel], starts[channel]))
    grid = Grid(len(panels))
    page = Page(grid.height)
    page.print_title(
        f"{found.model}: excitations of block 1 over loudness",
        f"{counted(len(found.loudness), 'segment')}; the least-squares lines of {(slopes > 0).sum()} channels rise, "
        f"of {(slopes < 0).sum()} they fall",
    )
    end = 1.05 * float(found.loudness.max()) or 1.0
    limits = _limits([values for _, values, _, _ in panels])
    dots: dict[str, Any] = {"color": "0.3", "alpha": 0.6, "markersize": 6, "markeredgewidth": 0, "rasterized": True}
    for number, (name, values, slope, start) in enumerate(panels):
        axes = grid.axes(page, number, name, ("RMS of the segment", "excitation"))
        axes.plot(found.loudness, values, ".", **dots)
        axes.plot([0, end], [start, start + slope * end], color="tab:red", linewidth=0.8)
        x, side = (0.04, "left") if slope > 0 else (0.96, "right")  # where the line is not
        axes.text(x, 0.94, f"slope {slope:+.3f}", transform=axes.transAxes, ha=side, va="top", size=SMALL_PT)
        axes.set(xlim=(0, end), ylim=limits)
    return page.figure


def _limits(parts: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Give the ends of an axis that fits all panels, within 0 to 1."""
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    aside = max(0.05 * (high - low), (LEAST_SPAN - (high - low)) / 2)
    return max(0.0, low - aside), min(1.0, high + aside)


def _colours(found: Excitations) -> tuple[list[str], list[tuple[str, str]]]:
    """Give the colour of each tag, and the lines of the legend with theirs."""
    names = [f"{tag} ({counted(int(n), 'clip')})" for tag, n in zip(found.tags, found.n_clips)]
    if len(names) <= COLOURED_TAGS:
        colours = [f"C{number}" for number in range(len(names))]
        return colours, list(zip(names, colours))
    order = np.argsort(found.by_tag[0].mean(axis=1), kind="stable")
    colours = [OTHER] * len(names)
    keys = []
    for place, colour, what in ((0, "C0", "least"), (len(order) // 2, "C2", "median"), (-1, "C3", "most")):
        colours[order[place]] = colour
        keys.append((f"{names[order[place]]}, {what} in block 1", colour))
    return colours, [*keys, (f"the other {len(names) - 3} tags", OTHER)]
