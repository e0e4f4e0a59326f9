"""What comes of the study at scale: tables, where curves cross, and what the paper says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from taggram.studies._base import Claim, Row, of_method
from taggram.studies._claims import Reached, mean_interval
from taggram.studies._tables import Table, percent

SLIDES = "slides of Pons's thesis defence"
REPLICATION = "an independent replication, quoting the paper"
PRIVATE, MSD = "private tracks", "Million Song Dataset"
TITLES = {"waveform": "waveform", "spectrogram": "spectrogram", "boosted_trees": "boosted trees"}
NETWORKS, TREES = ("waveform", "spectrogram"), "boosted_trees"
MEASURES = {"macro_roc_auc": "ROC-AUC", "macro_pr_auc": "PR-AUC", "rmse": "root mean squared error"}
AREAS = ("macro_roc_auc", "macro_pr_auc")
PUBLISHED: tuple[dict[str, Any], ...] = tuple(
    {"method": method, "size": size, "data": data, "macro_roc_auc": roc, "macro_pr_auc": pr, "source": source}
    for method, size, data, roc, pr, source in (
        ("boosted_trees", 1_200_000, PRIVATE, 0.9161, 0.5427, SLIDES),
        ("waveform", 1_000_000, PRIVATE, 0.9250, 0.6120, SLIDES),
        ("spectrogram", 1_000_000, PRIVATE, 0.9217, 0.5992, SLIDES),
        ("waveform", 500_000, PRIVATE, 0.9116, 0.5642, SLIDES),
        ("spectrogram", 500_000, PRIVATE, 0.9161, 0.5818, SLIDES),
        ("waveform", 100_000, PRIVATE, 0.9027, 0.5276, SLIDES),
        ("spectrogram", 100_000, PRIVATE, 0.9014, 0.5267, SLIDES),
        ("waveform", 201_680, MSD, 0.8741, 0.2853, REPLICATION),
        ("spectrogram", 201_680, MSD, 0.8875, 0.3124, REPLICATION),
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
        if leads[small] < 0 < leads[large]:
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
                means = [_with_interval(found, name) for name in AREAS]
                ours.append([f"{size:,}", title, *means, _error(found), _updates(found), str(len(found))])
    known = [
        [str(row["data"]), f"{row['size']:,}", TITLES[row["method"]], *[percent([row[name]], 2) for name in AREAS]]
        for row in PUBLISHED
    ]
    columns = ("tracks", "method", "ROC-AUC, %", "PR-AUC, %")
    unknown = "whose third column, the root mean squared error, is not known"
    note = f"Source: of {PRIVATE} the {SLIDES}, {unknown}; of the {MSD} {REPLICATION}."
    return [
        Table("What was measured", (*columns, "root mean squared error", "updates", "runs"), ours, _told(rows)),
        Table("Published, on other data", ("data", *columns), known, note),
    ]


def _with_interval(found: Sequence[Row], area: str) -> str:
    low, high = (100 * end for end in mean_interval(found, area))
    return f"{percent([float(row[area]) for row in found], 2)} ({low:.1f} to {high:.1f})"


def _error(found: Sequence[Row]) -> str:
    return f"{fmean(float(row['rmse']) for row in found):.4f}"


def _updates(found: Sequence[Row]) -> str:
    counts = [int(row["n_updates"]) for row in found if row["n_updates"] is not None]
    return f"{fmean(counts):,.0f}" if counts else "-"


def _told(rows: Sequence[Row]) -> str:
    """Say where the curves cross."""
    methods = [method for method in TITLES if len(curve_of(rows, method, "macro_roc_auc")) > 1]
    told = [
        f"ROC-AUC is higher with the {TITLES[lower]} than with the {TITLES[upper]} from about {size:,.0f} tracks on."
        for lower, upper in itertools.permutations(methods, 2)
        for size in crossings(rows, lower, upper)
    ]
    if not told and len(methods) > 1:
        told.append("No two curves of ROC-AUC cross between these sizes.")
    return " ".join(["Means over runs, ± their deviation, and in brackets the 95 % interval over tracks.", *told])


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the paper says against what was measured.

    Args:
        rows: measured cells.

    Returns:
        The claims: the order of the networks at the ends of the curves, what more tracks bring, and each network,
        with the fewest and the most tracks, beside trees that learned from the most.
    """
    return [
        _ahead(rows, "waveform", "spectrogram", "with the most tracks, the waveform is ahead of the spectrogram", -1),
        *[_gain(rows, method) for method in NETWORKS],
        *[claim for method in NETWORKS for claim in _beside_trees(rows, method)],
    ]


def _ahead(rows: Sequence[Row], better: str, worse: str, words: str, place: int) -> Claim:
    """Compare two methods at the smallest size (place 0) or the largest (-1)."""
    sizes = sorted(curve_of(rows, better, "macro_roc_auc").keys() & curve_of(rows, worse, "macro_roc_auc").keys())
    if len(sizes) < 2:
        return Claim(words, None)
    size = sizes[place]
    return _compared(of_method(rows, better, size=size), of_method(rows, worse, size=size), words)


def _beside_trees(rows: Sequence[Row], method: str) -> list[Claim]:
    """Hold a network with the fewest and with the most tracks against trees that learned from the most."""
    curve, trees = (curve_of(rows, name, "macro_roc_auc") for name in (method, TREES))
    words = [
        f"the {TITLES[method]} with the fewest tracks is behind trees that learned from the most",
        f"the {TITLES[method]} with the most tracks is ahead of them",
    ]
    if len(curve) < 2 or not trees:
        return [Claim(one, None) for one in words]
    best = of_method(rows, TREES, size=max(trees))
    few, many = (of_method(rows, method, size=size) for size in (min(curve), max(curve)))
    return [_compared(best, few, words[0]), _compared(many, best, words[1])]


def _compared(better: Sequence[Row], worse: Sequence[Row], words: str) -> Claim:
    mine, other = Reached.of(better), Reached.of(worse)
    shows = mine.is_ahead_of(other)
    told = f"{_named(better, mine.mean)} to {_named(worse, other.mean)}"
    return Claim(words, shows, f"{told}, too close" if shows is None else told)


def _named(found: Sequence[Row], mean: float) -> str:
    return f"{100 * mean:.2f} % ({TITLES[str(found[0]['method'])]}, {int(found[0]['size']):,} tracks)"


def _gain(rows: Sequence[Row], method: str) -> Claim:
    words = f"more tracks help the {TITLES[method]}"
    curve = {size: fmean(values) for size, values in curve_of(rows, method, "macro_roc_auc").items()}
    if len(curve) < 2:
        return Claim(words, None)
    told = " to ".join(f"{100 * value:.2f}" for value in curve.values()) + " %"
    ends = [of_method(rows, method, size=size) for size in (max(curve), min(curve))]
    shows = _compared(ends[0], ends[1], words).shows
    rises = all(after > before for before, after in itertools.pairwise(curve.values()))
    return Claim(words, shows if rises else False, told)
