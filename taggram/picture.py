"""Draw the taggram, the picture of the scores of tags over time, as it would stand in a paper."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from taggram._files import written_aside
from taggram.errors import ConfigError, printable

Floats = NDArray[np.float64]

DPI = 200
FORMATS = ("png", "pdf", "svg")
MAX_COLUMNS = 1000  # the map is about 900 dots wide: more columns would be dropped in drawing, not blended
COLOURS = "magma_r"  # perceptually uniform, and light where nothing is heard, as the page is
GREY = "0.35"
MISSING = "\N{REPLACEMENT CHARACTER}"
# The font that comes with matplotlib, then those that hold what it lacks, where they are installed.
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic")
FRACTIONS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
TICK_STEPS_S = (*FRACTIONS_S, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)

# Lengths on the page, in inches.
WIDTH = 7.2  # both columns of a paper
EDGE = 0.12
NAMES_AT_MOST = 1.9
GAP = 0.28  # beside the map at least: half a label of the time axis fits in
BARS = 0.85
MEANS = 0.32
SMALL_PT, TITLE_PT = 7.0, 10.0


def draw_taggram(
    scores: ArrayLike,
    times_s: ArrayLike,
    tags: Sequence[str],
    *,
    patch_s: float,
    title: str,
    subtitle: str = "",
    max_tags: int = 50,
) -> Figure:
    """Draw scores over time: a row a tag, the highest mean on top, the means as bars beside it.

    Colours and bars share one linear scale, which is the colour bar below the bars. It starts at 0 and ends at the
    highest score of the rows shown, rounded up to a tenth, and at 0.2 at least: most taggers rarely come near 1,
    and on a fixed scale their pictures would be empty. Mind it when two pictures are compared.

    A column reaches from the start of its patch to the start of the next one, the last to its own end. More than
    `MAX_COLUMNS` patches are averaged in runs of equal number; the bars are means over all patches.

    What the fonts cannot draw becomes a replacement character, and names too long for the page lose their middle.

    Args:
        scores: (patches, tags), 0 to 1.
        times_s: (patches,), starts of the patches in s, rising.
        tags: names of the tags, in the order of `scores`.
        patch_s: length of a patch in s.
        title: what was tagged, usually the name of a file.
        subtitle: small print below the title, usually the name of the model.
        max_tags: most rows to draw; if there are more tags, the subtitle says how many were left out.

    Returns:
        The figure, 7.2 inches wide and as high as its rows need, ready for `save_picture`.

    Raises:
        ConfigError: the shapes do not agree, there is nothing to draw, a score is outside 0 to 1, the times do not
            rise, or `patch_s` or `max_tags` is not positive.
    """
    values, starts = _checked(scores, times_s, tags, patch_s, max_tags)
    means = values.mean(axis=0)
    rows = np.argsort(-means, kind="stable")[:max_tags]
    values, edges = _columns(values[:, rows], np.append(starts, starts[-1] + patch_s))
    means = means[rows]
    scale = max(0.2, float(np.ceil(values.max() * 10 - 1e-6) / 10))
    if len(rows) < len(tags):
        subtitle = f"{subtitle + ', ' if subtitle else ''}{len(rows)} best of {len(tags)} tags"

    page = _Page(len(rows))
    names = [page.fit(tags[row], page.row_pt, NAMES_AT_MOST) for row in rows]
    page.place(max(page.width_of(name, page.row_pt) for name in names))
    page.print_title(title, subtitle)

    scores_axes = page.axes(page.map_left, page.map_width)
    mesh = scores_axes.pcolormesh(
        edges, np.arange(len(rows) + 1) - 0.5, values.T, cmap=COLOURS, vmin=0.0, vmax=scale, rasterized=True
    )
    scores_axes.hlines(np.arange(1, len(rows)) - 0.5, edges[0], edges[-1], colors="white", linewidth=0.5)
    _label_rows(scores_axes, names, page.row_pt)
    _label_time(scores_axes, float(edges[0]), float(edges[-1]))

    bars_axes = page.axes(page.bars_left, BARS)
    _draw_means(bars_axes, means, scale, page.row_pt)
    colour_axes = page.colour_bar_axes()
    bar = page.figure.colorbar(mesh, cax=colour_axes, orientation="horizontal")
    bar.set_label("score", fontsize=SMALL_PT, labelpad=2)
    bar.set_ticks([0.0, scale / 2, scale], labels=["0", f"{scale / 2:.2g}", f"{scale:.1g}" if scale < 1 else "1"])
    bar.outline.set_linewidth(0.4)
    _style_ticks(colour_axes)
    return page.figure


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure, aside and then renamed, so that half a picture is never found under its name.

    Args:
        figure: what `draw_taggram` gave.
        path: where to, with the suffix `.png`, `.pdf` or `.svg`; what is there is replaced.

    Raises:
        ConfigError: the suffix is none of these.
        OSError: the file cannot be written; nothing is left behind.
    """
    kind = _format_of(path)
    with written_aside(path) as aside:
        figure.savefig(aside, format=kind, dpi=DPI)


def check_picture_path(path: Path) -> None:
    """Refuse a place that no picture can be written to, before there is one.

    Args:
        path: where a picture is to be written.

    Raises:
        ConfigError: the suffix is of no format, there is no such folder, or it cannot be written to.
    """
    _format_of(path)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {printable(str(path.parent))} to draw {printable(path.name)} into.")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"the folder {printable(str(path.parent))} cannot be written to.")


def _format_of(path: Path) -> str:
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"cannot draw {path.name!r}: the name should end in {known}")
    return kind


class _Page:
    """A figure laid out in inches, as its height and left margin depend on what it shows.

    Args:
        n_rows: number of tags.
    """

    def __init__(self, n_rows: int) -> None:
        few = float(np.clip((40 - n_rows) / 30, 0.0, 1.0))  # 1 up to 10 rows, 0 from 40 on
        self.row_pt = 7.0 + 1.5 * few
        self.map_height = n_rows * (0.145 + 0.065 * few)
        self.bottom, self.top = 0.55, 0.66
        self.height = self.bottom + self.map_height + self.top
        self.figure = Figure(figsize=(WIDTH, self.height), dpi=DPI, facecolor="white")
        self.renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self.map_left = self.map_width = 0.0
        self.bars_left = WIDTH - EDGE - MEANS - BARS

    def place(self, names_width: float) -> None:
        """Give the names the room that they need, and the map the rest."""
        self.map_left = EDGE + max(names_width + 0.06, GAP)
        self.map_width = self.bars_left - GAP - self.map_left

    def axes(self, left: float, width: float) -> Axes:
        """Add axes that are as high as the rows."""
        return self._add(left, self.bottom, width, self.map_height)

    def colour_bar_axes(self) -> Axes:
        """Add axes for the scale below the bars of the means."""
        return self._add(self.bars_left, self.bottom - 0.13, BARS, 0.08)

    def _add(self, left: float, bottom: float, width: float, height: float) -> Axes:
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def print_title(self, title: str, subtitle: str) -> None:
        """Print both lines flush left, cut to the width of the page."""
        room = WIDTH - 2 * EDGE
        for text, size, from_top, colour in ((title, TITLE_PT, 0.25, "black"), (subtitle, SMALL_PT + 0.5, 0.43, GREY)):
            self.figure.text(
                EDGE / WIDTH,
                1 - from_top / self.height,
                self.fit(text, size, room),
                fontsize=size,
                color=colour,
                va="baseline",
                parse_math=False,
                fontfamily=_fonts(),
            )

    def width_of(self, text: str, size: float) -> float:
        """Measure a text, in inches."""
        font = font_manager.FontProperties(family=_fonts(), size=size)
        return float(self.renderer.get_text_width_height_descent(text, font, False)[0]) / DPI

    def fit(self, text: str, size: float, room: float) -> str:
        """Make a text drawable and short enough, in inches, by leaving out its middle."""
        text = _drawable(text)
        if len(text) <= 400 and self.width_of(text, size) <= room:
            return text
        least, most = 0, min(len(text), 400)
        while least < most:
            kept = (least + most + 1) // 2
            if self.width_of(_elided(text, kept), size) <= room:
                least = kept
            else:
                most = kept - 1
        return _elided(text, least)


def _checked(
    scores: ArrayLike, times_s: ArrayLike, tags: Sequence[str], patch_s: float, max_tags: int
) -> tuple[Floats, Floats]:
    """Turn what came into arrays that can be drawn, or say what is wrong with it."""
    values = np.asarray(scores, dtype=np.float64)
    starts = np.asarray(times_s, dtype=np.float64)
    if values.ndim != 2 or starts.shape != values.shape[:1] or len(tags) != values.shape[1]:
        raise ConfigError(
            f"scores should be (patches, tags), got {values.shape} with {starts.shape} times and {len(tags)} tags"
        )
    if not values.size:
        raise ConfigError(f"nothing to draw: {values.shape[0]} patches of {values.shape[1]} tags")
    if not np.all((values >= 0) & (values <= 1)):
        raise ConfigError("scores should be from 0 to 1: logits need a sigmoid or softmax first")
    if not (np.all(np.isfinite(starts)) and np.all(np.diff(starts) > 0)):
        raise ConfigError("times_s should rise from patch to patch")
    if not (patch_s > 0 and max_tags > 0):
        raise ConfigError(f"patch_s and max_tags should be positive, got {patch_s} and {max_tags}")
    return values, starts


def _columns(values: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Average neighbouring patches until at most `MAX_COLUMNS` are left."""
    run = -(-len(values) // MAX_COLUMNS)
    firsts = np.arange(0, len(values), run)
    counts = np.diff(np.append(firsts, len(values)))
    return np.add.reduceat(values, firsts, axis=0) / counts[:, None], np.append(edges[firsts], edges[-1])


@cache
def _fonts() -> list[str]:
    """Name the fonts that are at hand, the one that comes with matplotlib first."""
    at_hand = set(font_manager.fontManager.get_font_names())
    return [name for name in FONTS if name in at_hand]


@cache
def _characters() -> frozenset[int]:
    """Collect the code points that some font at hand can draw."""
    found: set[int] = set()
    for name in _fonts():
        found.update(font_manager.get_font(font_manager.findfont(name)).get_charmap())
    return frozenset(found)


def _drawable(text: str) -> str:
    """Make one line that the fonts at hand can draw, whatever a file name or a tag holds."""
    known = _characters()
    line = []
    for character in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(character)
        if character.isspace() or kind == "Cc":
            line.append(" ")
        elif kind != "Cf":  # joiners and marks of direction, which have no shape of their own
            line.append(character if ord(character) in known else MISSING)
    return re.sub(f"{MISSING}+", MISSING, "".join(line)).strip()


def _elided(text: str, kept: int) -> str:
    """Keep so many characters, half of them from the start and half from the end."""
    return text if kept >= len(text) else f"{text[: (kept + 1) // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}"


def _label_rows(axes: Axes, names: Sequence[str], size: float) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), labels=names)
    axes.tick_params(axis="y", length=0, pad=3)
    for label in axes.get_yticklabels():
        label.set(fontsize=size, fontfamily=_fonts(), parse_math=False)


def _label_time(axes: Axes, start_s: float, end_s: float) -> None:
    step = next((step for step in TICK_STEPS_S if (end_s - start_s) / step <= 9), None)
    step = step or 86_400 * float(np.ceil((end_s - start_s) / 9 / 86_400))
    ticks = np.arange(np.ceil(start_s / step - 1e-9), np.floor(end_s / step + 1e-9) + 1) * step
    hours = end_s >= 3600
    axes.set_xlim(start_s, end_s)
    axes.set_xticks(ticks, labels=[_clock(tick, step, hours) for tick in ticks])
    axes.set_xlabel("time (h:mm:ss)" if hours else "time (m:ss)", fontsize=SMALL_PT, labelpad=2)
    _style_ticks(axes)


def _clock(time_s: float, step_s: float, hours: bool) -> str:
    """Write a time as m:ss or h:mm:ss, with the decimals that the step between ticks needs."""
    decimals = 0 if step_s >= 1 else 1 if step_s >= 0.1 else 2
    units = round(time_s * 10**decimals)
    whole, rest = divmod(units, 10**decimals)
    fraction = f".{rest:0{decimals}}" if decimals else ""
    minutes, second = divmod(whole, 60)
    if hours:
        return f"{minutes // 60}:{minutes % 60:02}:{second:02}{fraction}"
    return f"{minutes}:{second:02}{fraction}"


def _draw_means(axes: Axes, means: Floats, scale: float, size: float) -> None:
    axes.barh(np.arange(len(means)), means, height=0.62, color="0.55")
    axes.set_xlim(0.0, scale)
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(len(means)), labels=[f"{mean:.2f}" for mean in means])
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", length=0, pad=MEANS * 72 - 2, labelsize=size - 0.5, labelcolor=GREY)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("right")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_linewidth(0.4)
    axes.set_title("mean", fontsize=SMALL_PT, color=GREY, loc="left", pad=3)


def _style_ticks(axes: Axes) -> None:
    axes.tick_params(axis="x", labelsize=SMALL_PT, length=2.5, width=0.5, pad=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
