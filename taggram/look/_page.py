"""A page of pictures, laid out in inches as it would stand in a paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from taggram.picture import DPI, EDGE, GREY, SMALL_PT, TITLE_PT, WIDTH, _drawable, _fonts

if TYPE_CHECKING:
    from taggram.look._network import Bands

Array = NDArray[Any]

SIGNED, POSITIVE = "RdBu_r", "magma_r"  # both are light where nothing is
TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
TICKS_APART = 0.1  # at least, as a share of the axis
LETTER = 0.0078  # width of one in inches, in the mean, for each point of its size
N_ACROSS = 3  # panels side by side
BLENDED_COLUMNS = 100  # fewer are far wider than dots: blending would only run them into each other

# Lengths on the page, in inches.
HEAD = 0.62  # title, subtitle and colour bars
LEFT = 0.5  # of a panel, for the labels of its vertical axis
BELOW = 0.42  # for those of its horizontal axis
ABOVE = 0.22  # for its name
RIGHT = 0.08
ROOM = WIDTH - 2 * EDGE
BAR, BAR_GAP = 0.95, 0.38
PANEL, ONLY_PANEL = 1.5, 2.4  # heights


class Page:
    """A figure, 7.2 inches wide, on which places are given in inches from its upper left corner.

    Args:
        height: of what stands below the title.
    """

    def __init__(self, height: float) -> None:
        self._height = HEAD + height
        self.figure = Figure(figsize=(WIDTH, self._height), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float, labels: tuple[str, str] = ("", "")) -> Axes:
        """Add axes, with the labels of the horizontal and the vertical one."""
        bottom = self._height - top - height
        axes = self.figure.add_axes((left / WIDTH, bottom / self._height, width / WIDTH, height / self._height))
        axes.tick_params(labelsize=SMALL_PT - 0.5, length=2, width=0.4, pad=1.5)
        axes.set_xlabel(labels[0], fontsize=SMALL_PT, labelpad=1.5)
        axes.set_ylabel(labels[1], fontsize=SMALL_PT, labelpad=2)
        for spine in axes.spines.values():
            spine.set_linewidth(0.4)
        return axes

    def text(
        self, left: float, foot: float, text: str, *, size: float = SMALL_PT, colour: str = "black", room: float = ROOM
    ) -> None:
        """Print a line; what is too long for its room loses its middle."""
        line, most = _drawable(text), int(room / (LETTER * size))
        if len(line) > most:
            line = f"{line[: (most + 1) // 2 - 1]}…{line[len(line) - most // 2 :]}"
        x, y = left / WIDTH, 1 - foot / self._height
        self.figure.text(x, y, line, fontsize=size, color=colour, va="baseline", parse_math=False, fontfamily=_fonts())

    def key(self, left: float, foot: float, colour: str, text: str) -> None:
        """Print a line of a legend."""
        y = 1 - (foot - 0.035) / self._height
        ends = [left / WIDTH, (left + 0.16) / WIDTH]
        self.figure.add_artist(Line2D(ends, [y, y], color=colour, linewidth=1.2))
        self.text(left + 0.22, foot, text, room=WIDTH - EDGE - left - 0.22)

    def print_title(self, title: str, subtitle: str, *, n_bars: int = 0) -> None:
        """Print both lines flush left, the first beside so many colour bars."""
        self.text(EDGE, 0.22, title, size=TITLE_PT, room=ROOM - n_bars * (BAR + BAR_GAP))
        self.text(EDGE, 0.47, subtitle, colour=GREY)

    def colour_bars(self, *bars: tuple[str, str, float, float]) -> None:
        """Add colour bars at the upper right: of each its label, its colours, and the values at its ends."""
        left = WIDTH - EDGE - 0.1 - len(bars) * BAR - (len(bars) - 1) * BAR_GAP
        for label, colours, least, most in bars:
            axes = self.axes(left, 0.1, BAR, 0.07)
            scale = ScalarMappable(Normalize(least, most), colours)
            bar = self.figure.colorbar(scale, cax=axes, orientation="horizontal")
            ticks = [least, (least + most) / 2, most]
            bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
            bar.outline.set_linewidth(0.4)
            axes.tick_params(labelsize=SMALL_PT - 1, length=1.5, width=0.4, pad=1)
            axes.set_xlabel(label, fontsize=SMALL_PT - 0.5, labelpad=1)
            left += BAR + BAR_GAP


class Grid:
    """Panels of one size, row by row.

    Args:
        n_panels: how many.
    """

    def __init__(self, n_panels: int) -> None:
        self._n_across = min(N_ACROSS, n_panels)
        self._width = ROOM / self._n_across
        self._panel = PANEL if n_panels > 1 else ONLY_PANEL
        self._row = ABOVE + self._panel + BELOW
        self.height = -(-n_panels // self._n_across) * self._row

    def place(self, number: int) -> tuple[float, float]:
        """Give the upper left corner of a panel with its name, in inches."""
        row, column = divmod(number, self._n_across)
        return EDGE + LEFT + column * self._width, HEAD + row * self._row

    def axes(self, page: Page, number: int, name: str, labels: tuple[str, str]) -> Axes:
        """Add the axes of a panel and print its name; a vertical axis like its neighbour's needs no label."""
        left, top = self.place(number)
        width = self._width - LEFT - RIGHT
        page.text(left, top + ABOVE - 0.06, name, room=self._width - 0.1)
        return page.axes(left, top + ABOVE, width, self._panel, labels)


def draw_image(
    axes: Axes,
    values: Array,
    colours: str,
    limits: tuple[float, float],
    extent: tuple[float, float, float, float] | None = None,
    *,
    missing: str = "white",
    smooth: bool = False,
) -> None:
    """Draw an array, its rows from below.

    Args:
        axes: where to.
        values: (rows, columns); what is not a number is missing.
        colours: name of a colour map.
        limits: the values at its ends.
        extent: left, right, lower and upper edge; None counts columns and rows.
        missing: colour of what is missing.
        smooth: whether cells are blended where there are more of them than dots; few columns are not.
    """
    axes.imshow(
        values,
        cmap=mpl.colormaps[colours].with_extremes(bad=missing),
        vmin=limits[0],
        vmax=limits[1],
        extent=extent,
        aspect="auto",
        origin="lower",
        interpolation="antialiased" if smooth and values.shape[1] >= BLENDED_COLUMNS else "nearest",
    )


def band_ticks(bands: Bands) -> tuple[list[float], list[str]]:
    """Choose ticks over all bands: round frequencies where they have some, else the first and the last."""
    if bands.centres_hz is None:
        return [0.0, bands.n_bands - 1.0], ["1", str(bands.n_bands)]
    kept: dict[float, str] = {}
    for hz in TICKS_HZ:
        place = float(np.interp(hz, bands.centres_hz, np.arange(bands.n_bands), left=np.nan, right=np.nan))
        if place - max(kept, default=-bands.n_bands) >= TICKS_APART * bands.n_bands:
            kept[place] = f"{hz // 1000}k" if hz >= 1000 else str(hz)
    return list(kept), list(kept.values())


def band_unit(bands: Bands) -> str:
    """Label an axis with the ticks of `band_ticks`."""
    return bands.name if bands.centres_hz is None else "frequency (Hz)"


def scaled(values: Array) -> Array:
    """Divide each of several arrays by its largest magnitude; what is all 0 stays so."""
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    return np.asarray(values / np.where(largest > 0, largest, 1.0).reshape(-1, *[1] * (values.ndim - 1)))


def some_of(n_drawn: int, n_there: int) -> str:
    """Say how many are drawn of how many there are."""
    return f"{n_there:,}" if n_drawn == n_there else f"{n_drawn:,} of {n_there:,}"


def counted(n: int, what: str) -> str:
    """Say how many of a thing there are."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
