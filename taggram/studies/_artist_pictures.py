"""The pictures of the study on artist labels."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taggram.learning._pictures import COLOURS, SMALL_PT, TEXT_PT, WIDTH
from taggram.studies._artist_results import BY_ARTISTS, COLUMNS, LEVELS, METHODS, Scores
from taggram.studies._artist_transfer import RETRIEVAL, SVM

MARKS = ("o", "s")
DASHES = ("--", ":", "-.")
APART = 0.12  # of the way from one number of artists to the next, between marks that may coincide


def draw_by_artists(scores: Scores, task: str, names: Sequence[str], *, title: str, unit: str) -> Figure:
    """Draw scores against the number of artists that were learned, a panel a classifier, each with its interval.

    Args:
        scores: what was measured.
        task: whose.
        names: the classifiers.
        title: stands on top.
        unit: of the scores.

    Returns:
        The figure; lines across are what learned no artists.
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names):
        _draw_panel(axes, scores, task, name)
    panels[0].set_ylabel(unit, fontsize=SMALL_PT)
    known = {
        label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels())
    }  # one a name, whatever panel has it
    figure.legend(
        list(known.values()), list(known), loc="outside lower center", ncols=len(known), fontsize=SMALL_PT,
        frameon=False,
    )  # fmt: skip
    n_test = scores.n_test(task, names)
    told = f"bars: 95 % interval over {n_test:,} clips for testing"
    figure.suptitle(f"{title}\n{told}" if n_test else title, fontsize=TEXT_PT + 1)
    return figure


def _draw_panel(axes: Axes, scores: Scores, task: str, name: str) -> None:
    """Draw one classifier."""
    for number, method in enumerate(BY_ARTISTS):
        points = {
            place: values
            for place, artists in enumerate(scores.artists)
            if (values := scores.of(method, task, name, artists))
        }
        if not points:
            continue
        places = [place + APART * (number - 0.5) for place in points]
        means = [100 * fmean(values) for values in points.values()]
        line, mark, colour = "-", MARKS[number], COLOURS[number]
        axes.plot(places, means, line, marker=mark, color=colour, markersize=5, label=METHODS[method])
        for place, at in zip(points, places):
            if ends := scores.interval(method, task, name, scores.artists[place]):
                axes.plot([at, at], [100 * end for end in ends], color=colour, linewidth=1, alpha=0.6)
    for number, method in enumerate(LEVELS):
        by = SVM if method == "mfcc" and name != RETRIEVAL else name  # MFCCs have no classifier but this one
        if values := scores.of(method, task, by):
            axes.axhline(100 * fmean(values), color="0.3", linewidth=1, linestyle=DASHES[number], label=METHODS[method])
    axes.set_title(COLUMNS[name].partition(", MAP")[0].partition(", ROC")[0], fontsize=TEXT_PT, loc="left")
    axes.set_xticks(range(len(scores.artists)), [f"{artists:,}" for artists in scores.artists], fontsize=SMALL_PT)
    axes.set_xlim(-0.4, len(scores.artists) - 0.6)
    axes.set_xlabel("artists that were learned", fontsize=SMALL_PT)
    axes.tick_params(labelsize=SMALL_PT)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
