"""The picture of the filters that see the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from taggram._checks import check_count
from taggram.look._network import evenly_spaced
from taggram.look._page import (
    ABOVE,
    BELOW,
    HEAD,
    LEFT,
    POSITIVE,
    RIGHT,
    ROOM,
    SIGNED,
    Array,
    Page,
    band_ticks,
    band_unit,
    counted,
    draw_image,
    scaled,
    some_of,
)
from taggram.picture import EDGE, GREY

if TYPE_CHECKING:
    from taggram.look._filters import FilterGroup, Filters
    from taggram.look._network import Bands

TILES = 64  # of one shape, where nobody says how many
ROWS = 2  # of them
COLUMNS = 256  # of one panel
NEAR_BANDS = 10  # from so many on, labels of the first and last band point inwards: those of the next row are near
FFT_POINTS = 2048  # at least, of the spectra

# Lengths on the page, in inches.
TILE_GAP = 0.045
COLUMN = 0.03
NAME = 1.3  # at least, for the name of a panel
SECOND_LINE = 0.12
KERNELS, SPECTRA = 1.0, 1.6  # heights of the two images of kernels over time
BETWEEN = 0.08


@dataclass(frozen=True)
class _Panel:
    """Part of a page, with its labels.

    Attributes:
        width: in inches.
        height: in inches.
        draw: is given the page and the place of the upper left corner, in inches from that of the page.
    """

    width: float
    height: float
    draw: Callable[[Page, float, float], None]


def draw_filters(filters: Filters, *, max_filters: int | None = None) -> Figure:
    """Draw the kernels of the convolutions that see the input.

    Kernels over time alone are columns of two images: as they are, and their magnitude spectra. Kernels over bands
    alone are columns of one image. Others are small images of their own. Each is scaled to its largest weight.

    Args:
        filters: what `first_filters` gave.
        max_filters: most filters of each convolution; None is what a page has room for.

    Returns:
        The figure, 7.2 inches wide.

    Raises:
        ConfigError: `max_filters` is less than 1.
    """
    if max_filters is not None:
        check_count("max_filters", max_filters)
    over_time: dict[tuple[str, float], list[FilterGroup]] = {}  # lengths side by side in a network make one panel
    panels = []
    for group in filters.groups:
        if group.kind in ("waveform", "temporal"):
            over_time.setdefault((group.name.split(".")[0], group.step_s), []).append(group)
        else:
            panels.append(_kernel_panel(group, filters.bands, max_filters))
    panels += [_time_panel(groups, max_filters) for groups in over_time.values()]
    shelves = _shelves(panels)
    heights = [max(panel.height for panel in shelf) for shelf in shelves]
    page = Page(sum(heights))
    bars = [("weight, of the largest", SIGNED, -1.0, 1.0), ("magnitude, of the largest", POSITIVE, 0.0, 1.0)]
    bars = bars if over_time else bars[:1]
    page.print_title(f"{filters.model}: filters on the input", _subtitle(filters), n_bars=len(bars))
    page.colour_bars(*bars)
    top = HEAD
    for shelf, height in zip(shelves, heights):
        left = EDGE
        for panel in shelf:
            panel.draw(page, left, top)
            left += panel.width
        top += height
    return page.figure


def _subtitle(filters: Filters) -> str:
    kinds = {group.kind for group in filters.groups}
    n_filters = counted(sum(len(group.kernels) for group in filters.groups), "filter")
    faint = "; faint ones are left out" if any(group.faint.any() for group in filters.groups) else ""
    if kinds == {"waveform"}:
        return f"{n_filters} on the waveform, by centre frequency{faint}"
    if kinds == {"temporal"} or filters.bands is None:
        return f"{n_filters} over time, by centre frequency{faint}"
    return f"{n_filters}; frames × {filters.bands.name}s, and how many are drawn; by centre{faint}"  # noqa: RUF001


def _shelves(panels: Sequence[_Panel]) -> list[list[_Panel]]:
    """Put each panel beside the first ones that leave it room."""
    shelves: list[list[_Panel]] = []
    for panel in panels:
        with_room = (shelf for shelf in shelves if sum(other.width for other in shelf) + panel.width <= ROOM)
        shelf = next(with_room, None)
        if shelf is None:
            shelves.append([panel])
        else:
            shelf.append(panel)
    return shelves


def _kernel_panel(group: FilterGroup, bands: Bands | None, max_filters: int | None) -> _Panel:
    """Lay out the kernels of one convolution that reach over bands."""
    _, n_bands, n_taps = group.kernels.shape
    tile_height = float(np.clip(0.11 * n_bands**0.5, 0.3, 1.3))
    tile_width = max(min(tile_height, tile_height * n_taps / n_bands), 0.075 * n_taps**0.5)
    tiles = _Tiles(n_bands, n_taps, tile_width, tile_height)
    most = COLUMNS if group.kind == "spectral" else min(TILES, ROWS * tiles.n_across)
    chosen, told = _chosen(group, max_filters or most)
    kernels = scaled(group.kernels[chosen])
    if group.kind == "spectral":
        image, rows = kernels[:, :, 0].T, [0]
        width, height = min(COLUMN * max(4, len(kernels)), ROOM - LEFT - RIGHT), tile_height
    else:
        image, rows = tiles.mosaic(kernels)
        width, height = image.shape[1] * tile_width / n_taps, image.shape[0] * tile_height / n_bands
    ticks, labels, unit = [0.0, n_bands - 1.0], ["1", str(n_bands)], bands.name if bands else "channel"
    if bands is not None and bands.n_bands == n_bands:
        (ticks, labels), unit = band_ticks(bands), band_unit(bands)
    panel_width = LEFT + max(width, NAME) + RIGHT
    size = f"{n_taps} × {n_bands} ({_seconds(n_taps * group.step_s)}), {told}"  # noqa: RUF001

    def draw(page: Page, left: float, top: float) -> None:
        left, top = left + LEFT, top + ABOVE + SECOND_LINE
        page.text(left, top - 0.06 - SECOND_LINE, group.name, room=panel_width - LEFT)
        page.text(left, top - 0.06, size, colour=GREY, room=panel_width - LEFT)
        axes = page.axes(left, top, width, height, ("", unit))
        draw_image(axes, image, SIGNED, (-1, 1))
        axes.set_xticks([])
        axes.set_yticks([row + tick for row in rows for tick in ticks], labels=labels * len(rows))
        for place, label in enumerate(axes.get_yticklabels() if n_bands >= NEAR_BANDS else []):
            first, last = place % len(ticks) == 0, place % len(ticks) == len(ticks) - 1
            label.set_verticalalignment("bottom" if first else "top" if last else "center")
        for spine in axes.spines.values():
            spine.set_visible(False)

    return _Panel(panel_width, ABOVE + SECOND_LINE + height + 0.12, draw)


class _Tiles:
    """Kernels side by side in one image, with gaps of whole cells between them.

    Args:
        n_bands: of a kernel.
        n_taps: of a kernel.
        width: of a kernel, in inches.
        height: of a kernel, in inches.
    """

    def __init__(self, n_bands: int, n_taps: int, width: float, height: float) -> None:
        self._n_bands, self._n_taps = n_bands, n_taps
        self._gap_x = max(1, round(TILE_GAP * n_taps / width))
        self._gap_y = max(1, round(TILE_GAP * n_bands / height))
        n_cells = int((ROOM - LEFT - RIGHT) * n_taps / width)
        self.n_across = max(1, (n_cells + self._gap_x) // (n_taps + self._gap_x))

    def mosaic(self, kernels: Array) -> tuple[Array, list[int]]:
        """Put kernels into the image, row by row from above; give it, and where its rows begin, from below."""
        n_across = min(len(kernels), self.n_across)
        n_rows = -(-len(kernels) // n_across)
        step_y, step_x = self._n_bands + self._gap_y, self._n_taps + self._gap_x
        image = np.full((n_rows * step_y - self._gap_y, n_across * step_x - self._gap_x), np.nan)
        for place, kernel in enumerate(kernels):
            bottom, left = (n_rows - 1 - place // n_across) * step_y, place % n_across * step_x
            image[bottom : bottom + self._n_bands, left : left + self._n_taps] = kernel
        return image, [row * step_y for row in range(n_rows)]


def _time_panel(groups: Sequence[FilterGroup], max_filters: int | None) -> _Panel:
    """Lay out kernels over time alone, of one or more lengths: as they are, and their spectra below."""
    groups = sorted(groups, key=lambda group: -group.kernels.shape[2])
    step_s = groups[0].step_s
    lengths = [group.kernels.shape[2] for group in groups]
    n_points = max(FFT_POINTS, 2 * lengths[0])
    n_each = max_filters or _fair_share([int((~group.faint).sum()) for group in groups])
    kernels, spectra = [], []
    for group, n_taps in zip(groups, lengths):
        chosen, _ = _chosen(group, n_each)
        values = scaled(group.kernels[chosen])[:, 0]
        kernels.append(np.pad(values, ((0, 0), (0, lengths[0] - n_taps)), constant_values=np.nan))
        spectra.append(scaled(np.abs(np.fft.rfft(values, n_points))))
    edges = np.cumsum([len(values) for values in kernels])
    n_there = sum(len(group.kernels) for group in groups)
    n_faint = int(sum(group.faint.sum() for group in groups))
    what = "samples" if groups[0].kind == "waveform" else "frames"
    name = groups[0].name if len(groups) == 1 else groups[0].name.split(".")[0]
    reach = f"{lengths[-1]} to {lengths[0]}" if lengths[-1] < lengths[0] else f"{lengths[0]}"
    told = _told(int(edges[-1]), n_there, n_faint, " filters")
    title = f"{name}: {reach} {what} ({_seconds(lengths[0] * step_s)}), {told}"
    time, per_time = ("s", 1.0) if lengths[0] * step_s >= 1 else ("ms", 1000.0)
    frequency, per_frequency = ("kHz", 1e-3) if step_s < 1e-4 else ("Hz", 1.0)
    across = "filter, by centre frequency" + (" within each length" if len(groups) > 1 else "")

    def draw(page: Page, left: float, top: float) -> None:
        left, top, width, n_columns = left + LEFT, top + ABOVE, ROOM - LEFT - RIGHT, float(max(1, edges[-1]))
        page.text(left, top - 0.06, title)
        upper = page.axes(left, top, width, KERNELS, ("", f"time ({time})"))
        ends = (-0.5 * step_s * per_time, (lengths[0] - 0.5) * step_s * per_time)
        draw_image(upper, np.concatenate(kernels).T, SIGNED, (-1, 1), (0.0, n_columns, *ends))
        upper.set_xticks([])
        lower = page.axes(left, top + KERNELS + BETWEEN, width, SPECTRA, (across, f"frequency ({frequency})"))
        highest = 0.5 / step_s * per_frequency
        draw_image(lower, np.concatenate(spectra).T, POSITIVE, (0, 1), (0.0, n_columns, 0.0, highest), smooth=True)
        for axes in (upper, lower):
            axes.vlines(edges[:-1], *axes.get_ylim(), color="0.6", linewidth=0.4)

    return _Panel(ROOM, ABOVE + KERNELS + BETWEEN + SPECTRA + BELOW, draw)


def _fair_share(counts: Sequence[int]) -> int:
    """Give the most of each group with which a panel is not too full."""
    share = max(1, *counts)
    while share > 1 and sum(min(share, count) for count in counts) > COLUMNS:
        share -= 1
    return share


def _chosen(group: FilterGroup, most: int) -> tuple[NDArray[np.intp], str]:
    """Choose the filters of a convolution to draw, and say how many of how many they are."""
    n_faint = int(group.faint.sum())
    there = group.order[: len(group.order) - n_faint]
    chosen = there[evenly_spaced(len(there), most)]
    return chosen, _told(len(chosen), len(group.kernels), n_faint)


def _told(n_drawn: int, n_there: int, n_faint: int, what: str = "") -> str:
    return f"{some_of(n_drawn, n_there)}{what}" + (f"; {n_faint:,} are faint" if n_faint else "")


def _seconds(length_s: float) -> str:
    return f"{length_s:.3g} s" if length_s >= 1 else f"{1000 * length_s:.3g} ms"
