"""The pictures of what units answer most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from taggram.errors import ConfigError
from taggram.look._ascent import LEAST_LIVE, Ascent
from taggram.look._network import evenly_spaced
from taggram.look._page import (
    ABOVE,
    BELOW,
    HEAD,
    LEFT,
    ONLY_PANEL,
    POSITIVE,
    ROOM,
    SIGNED,
    Grid,
    Page,
    band_ticks,
    band_unit,
    counted,
    draw_image,
    scaled,
    some_of,
)
from taggram.picture import EDGE, GREY, SMALL_PT, WIDTH

if TYPE_CHECKING:
    from taggram.look._network import Bands

N_PATCHES = 6  # spectrograms beside the profiles of a layer
DEAD = "0.85"  # colour of a unit without a profile
COLOURED = (0.05, 0.999)  # which quantiles of all spectra the colours start and end at

# Lengths on the page, in inches.
PROFILES = 1.45
PATCHES = 3.1  # width of all
GAP = 0.045
PEAKS = 4.2  # width of the curves


def draw_ascents(ascents: Sequence[Ascent]) -> Figure:
    """Draw what the units of some layers answer most.

    For waveforms a panel a layer, with a column a unit: the spectrum of what was found. For spectrograms a row a layer:
    a column a unit with its profile over the bands, and beside it the spectrograms of a few units.

    Args:
        ascents: what `ascend` gave, a layer each, all of one network.

    Returns:
        The figure, 7.2 inches wide.

    Raises:
        ConfigError: there is none.
    """
    if not ascents:
        raise ConfigError("there is no layer to draw.")
    bands = ascents[0].bands
    return _draw_spectra(ascents) if bands is None else _draw_profiles(ascents, bands)


def draw_peaks(ascents: Sequence[Ascent]) -> Figure:
    """Draw where the spectra of the units of some layers are highest, a rising curve a layer, beside the mel scale.

    Args:
        ascents: what `ascend` gave, a layer each, all of one network on waveforms.

    Returns:
        The figure, 7.2 inches wide.

    Raises:
        ConfigError: there is none, or the network sees spectrograms.
    """
    if not ascents:
        raise ConfigError("there is no layer to draw.")
    grid = Grid(1)
    page = Page(grid.height)
    page.print_title(
        f"{ascents[0].model}: where spectra that units answer most have their peaks",
        "units in order of frequency, dead ones left out; the more a curve sags, the larger its convexity",
    )
    left, top = EDGE + LEFT, HEAD + ABOVE
    axes = page.axes(left, top, PEAKS, ONLY_PANEL, ("share of the units", "frequency (kHz)"))
    highest_hz = ascents[0].sample_rate / 2
    shares = np.linspace(0, 1, 101)
    axes.plot(shares, mel_scale_hz(shares, highest_hz) / 1000, color=GREY, linestyle="--", linewidth=1)
    page.key(left + PEAKS + 0.25, top + 0.1, GREY, "mel scale (dashed)")
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(ascents)))
    for number, (ascent, colour) in enumerate(zip(ascents, map(to_hex, colours)), start=1):
        peaks_khz = np.sort(ascent.centres[~ascent.dead]) / 1000
        convexity, is_told = ascent.convexity, len(peaks_khz) >= LEAST_LIVE
        dots: dict[str, Any] = (
            {} if is_told else {"marker": "o", "markersize": 4, "clip_on": False}
        )  # one alone is at the very edge
        axes.plot(np.linspace(0, 1, len(peaks_khz)), peaks_khz, color=colour, linewidth=1.2, **dots)
        text = f"{ascent.layer}, "
        text += f"convexity {convexity:.2f}" if is_told else f"only {counted(len(peaks_khz), 'live unit')}"
        page.key(left + PEAKS + 0.25, top + 0.1 + 0.16 * number, colour, text)
    axes.set(xlim=(0, 1), ylim=(0, highest_hz / 1000))
    return page.figure


def mel_scale_hz(shares: NDArray[np.float64], highest_hz: float) -> NDArray[np.float64]:
    """Give the frequencies at even steps of the mel scale, 2595 log10(1 + f / 700).

    Args:
        shares: of the way up the scale, 0 to 1.
        highest_hz: the frequency at 1.

    Returns:
        Their frequencies in Hz.
    """
    hz: NDArray[np.float64] = 700 * ((1 + highest_hz / 700) ** shares - 1)
    return hz


def _draw_spectra(ascents: Sequence[Ascent]) -> Figure:
    grid = Grid(len(ascents))
    page = Page(grid.height)
    n_steps = len(ascents[0].activations) - 1
    page.print_title(
        f"{ascents[0].model}: spectra that units answer most",
        f"gradient ascent from noise, {n_steps} steps; units by the peak of their spectrum, dead ones last",
        n_bars=1,
    )
    spectra = [ascent.spectra[ascent.order] for ascent in ascents]
    alive = [ascent.spectra[~ascent.dead] for ascent in ascents if not ascent.dead.all()] or spectra
    least, most = np.quantile(np.concatenate([values.ravel() for values in alive]), COLOURED).tolist()
    page.colour_bars(("log10(1 + 10 X), power X", POSITIVE, least, most))
    for number, (ascent, values) in enumerate(zip(ascents, spectra)):
        axes = grid.axes(page, number, _name(ascent), ("unit, sorted", "frequency (kHz)"))
        extent = (0.0, float(len(values)), 0.0, ascent.sample_rate / 2000)
        draw_image(axes, values.T, POSITIVE, (least, most), extent, smooth=True)
        _mark_dead(axes, ascent)
    return page.figure


def _draw_profiles(ascents: Sequence[Ascent], bands: Bands) -> Figure:
    row = ABOVE + PROFILES + BELOW
    page = Page(row * len(ascents))
    n_steps = len(ascents[0].activations) - 1
    page.print_title(
        f"{ascents[0].model}: spectrograms that units answer most",
        f"gradient ascent from noise, {n_steps} steps; left the mean over time, units by the band raised most, "
        "dead ones last",
        n_bars=1,
    )
    page.colour_bars(("change, of the largest", SIGNED, -1.0, 1.0))
    ticks, labels = band_ticks(bands)
    for number, ascent in enumerate(ascents):
        left, top = EDGE + LEFT, HEAD + row * number + ABOVE
        width = ROOM - LEFT - PATCHES - 3 * GAP
        profiles = scaled(ascent.profiles[ascent.order])
        profiles[~profiles.any(axis=1)] = np.nan
        page.text(left, top - 0.06, _name(ascent), room=width)
        axes = page.axes(left, top, width, PROFILES, ("unit, sorted", band_unit(bands)))
        extent = (0.0, float(len(profiles)), -0.5, bands.n_bands - 0.5)
        draw_image(axes, profiles.T, SIGNED, (-1, 1), extent, missing=DEAD)
        axes.set_yticks(ticks, labels=labels)
        _mark_dead(axes, ascent)
        _draw_patches(page, ascent, top)
    return page.figure


def _draw_patches(page: Page, ascent: Ascent, top: float) -> None:
    """Draw the spectrograms of some units that are not dead, in their order."""
    left = WIDTH - EDGE - PATCHES
    alive = ascent.order[: len(ascent.order) - int(ascent.dead.sum())]
    if not len(alive):
        page.text(left, top + PROFILES / 2, "all of these units are dead", colour=GREY)
        return
    chosen = alive[evenly_spaced(len(alive), N_PATCHES)]
    width = (PATCHES + GAP) / N_PATCHES - GAP
    length_s = ascent.inputs.shape[2] * ascent.step_s
    for place, patch in enumerate(scaled(ascent.inputs[chosen] - ascent.start)):
        x = left + place * (width + GAP)
        axes = page.axes(x, top, width, PROFILES, ("time (s)" if not place else "", ""))
        draw_image(axes, patch, SIGNED, (-1, 1), (0.0, length_s, 0.0, 1.0))
        axes.set_yticks([])
        axes.set_xticks([] if place else [0.0, length_s], labels=[] if place else ["0", f"{length_s:.2g}"])
        page.text(x, top - 0.06, f"unit {ascent.units[chosen[place]]}", size=SMALL_PT - 1, colour=GREY)


def _name(ascent: Ascent) -> str:
    n_dead = int(ascent.dead.sum())
    dead = f", {n_dead:,} dead" if n_dead else ""
    return f"{ascent.layer}: {some_of(len(ascent.units), ascent.n_units)} units{dead}"


def _mark_dead(axes: Axes, ascent: Ascent) -> None:
    """Draw a line where dead units begin."""
    n_alive = int((~ascent.dead).sum())
    if 0 < n_alive < len(ascent.dead):
        axes.axvline(n_alive, color="0.4", linewidth=0.6)
