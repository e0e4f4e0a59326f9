"""What comes of the study at scale: tables, where curves cross, and what the paper says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from taggram.studies._base import Claim, Row, of_method
from taggram.studies._tables import Table, percent

SLIDES = "slides of Pons's thesis defence, private data"
TITLES = {"waveform": "waveform", "spectrogram": "spectrogram", "boosted_trees": "boosted trees"}
MEASURES = {"macro_roc_auc": "ROC-AUC", "macro_pr_auc": "PR-AUC", "rmse": "root mean squared error"}
AREAS = ("macro_roc_auc", "macro_pr_auc")
PUBLISHED: tuple[dict[str, Any], ...] = tuple(
    {"method": method, "size": size, "macro_roc_auc": roc / 100, "macro_pr_auc": pr / 100, "source": SLIDES}
    for method, size, roc, pr in (
        ("boosted_trees", 1_200_000, 91.61, 54.27),
        ("waveform", 1_000_000, 92.50, 61.20),
        ("spectrogram", 1_000_000, 92.17, 59.92),
        ("waveform", 500_000, 91.16, 56.42),
        ("spectrogram", 500_000, 91.61, 58.18),
        ("waveform", 100_000, 90.27, 52.76),
        ("spectrogram", 100_000, 90.14, 52.67),
    )
)


def curve_of(rows: Sequence[Row], method: str, measure: str) -> dict[int, list[float]]:
    """Give what a method reached.

    Args:
        rows: measured cells.
        method: its name.
        measure: one of `MEASURES`.

    Returns:
        By size, rising, the values of its runs.
    """
    found: dict[int, list[float]] = {}
    for row in sorted(of_method(rows, method), key=lambda row: int(row["size"])):
        found.setdefault(int(row["size"]), []).append(float(row[measure]))
    return found


def crossings(rows: Sequence[Row], lower: str, upper: str, measure: str = "macro_roc_auc") -> list[float]:
    """Find the sizes at which one method passes another, on straight lines between the means over a logarithmic axis.

    Args:
        rows: measured cells.
        lower: the method that is behind below such a size.
        upper: the method that is behind above it.
        measure: one of `MEASURES`; more is better but of the error.

    Returns:
        The sizes, rising; none where the curves do not cross in this direction.
    """
    sign = -1 if measure == "rmse" else 1
    mine, other = ({size: fmean(of) for size, of in curve_of(rows, name, measure).items()} for name in (lower, upper))
    sizes = sorted(mine.keys() & other.keys())
    leads = {size: sign * (mine[size] - other[size]) for size in sizes}
    found = []
    for small, large in itertools.pairwise(sizes):
        if leads[small] < 0 <= leads[large]:
            share = leads[small] / (leads[small] - leads[large])
            found.append(math.exp(math.log(small) + share * math.log(large / small)))
    return found


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Make the tables.

    Args:
        rows: measured cells; there may be less than all.

    Returns:
        The table of what was measured, a line a size and method, and that of what was published.
    """
    ours = []
    for size in sorted({int(row["size"]) for row in rows}):
        for method, title in TITLES.items():
            if found := of_method(rows, method, size=size):
                areas = [percent([float(row[name]) for row in found], 2) for name in AREAS]
                ours.append([f"{size:,}", title, *areas, _error(found), _updates(found), str(len(found))])
    known = [
        [f"{row['size']:,}", TITLES[row["method"]], *[percent([row[name]], 2) for name in AREAS]] for row in PUBLISHED
    ]
    columns = ("tracks", "method", "ROC-AUC, %", "PR-AUC, %")
    note = f"Source: {SLIDES}. The values of its third column, the root mean squared error, are not known."
    return [
        Table("What was measured", (*columns, "root mean squared error", "updates", "runs"), ours, _told(rows)),
        Table("Published, on other data", columns, known, note),
    ]


def _error(found: Sequence[Row]) -> str:
    return f"{fmean(float(row['rmse']) for row in found):.4f}"


def _updates(found: Sequence[Row]) -> str:
    counts = [int(row["n_updates"]) for row in found if row["n_updates"] is not None]
    return f"{fmean(counts):,.0f}" if counts else "-"


def _told(rows: Sequence[Row]) -> str:
    """Say where the curves of the two networks, and those of networks and trees, cross."""
    told = []
    for lower, upper in (
        ("waveform", "spectrogram"),
        ("spectrogram", "waveform"),
        ("waveform", "boosted_trees"),
        ("spectrogram", "boosted_trees"),
    ):
        told += [
            f"The {TITLES[lower]} passes the {TITLES[upper]} at about {size:,.0f} tracks (ROC-AUC)."
            for size in crossings(rows, lower, upper)
        ]
    both = {method for method in TITLES if of_method(rows, method)}
    if not told and len(both) > 1:
        told.append("No two curves of ROC-AUC cross between these sizes.")
    return "Means over runs, ± their deviation. " + " ".join(told)


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the paper says against what was measured.

    Args:
        rows: measured cells.

    Returns:
        The claims: of the order of the methods at the ends of the curves, and of what more tracks bring.
    """
    return [
        _ahead(rows, "waveform", "spectrogram", "with the most tracks, the waveform is ahead of the spectrogram", -1),
        _gain(rows, "waveform"),
        _gain(rows, "spectrogram"),
        _ahead(rows, "boosted_trees", "waveform", "with the fewest tracks, the trees are ahead of the waveform", 0),
        _ahead(rows, "waveform", "boosted_trees", "with the most tracks, the waveform is ahead of the trees", -1),
    ]


def _ahead(rows: Sequence[Row], better: str, worse: str, words: str, place: int) -> Claim:
    """Compare two methods at the smallest size (place 0) or the largest (-1)."""
    curves = [curve_of(rows, name, "macro_roc_auc") for name in (better, worse)]
    sizes = sorted(curves[0].keys() & curves[1].keys())
    if len(sizes) < 2:
        return Claim(words, None)
    size = sizes[place]
    mine, other = (fmean(curve[size]) for curve in curves)
    return Claim(words, mine > other, f"{100 * mine:.2f} to {100 * other:.2f} % with {size:,} tracks")


def _gain(rows: Sequence[Row], method: str) -> Claim:
    words = f"more tracks help the {TITLES[method]}"
    curve = {size: fmean(values) for size, values in curve_of(rows, method, "macro_roc_auc").items()}
    if len(curve) < 2:
        return Claim(words, None)
    values = list(curve.values())
    rises = all(after > before for before, after in itertools.pairwise(values))
    return Claim(words, rises, " to ".join(f"{100 * value:.2f}" for value in values) + " %")
