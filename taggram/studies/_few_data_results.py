"""What comes of the study of few examples: its tables, curves and claims."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taggram.studies._base import Claim, Row, of_method
from taggram.studies._tables import Table, percent

ALL = "all"  # as n: all clips for training
TOOLKIT = "J. Pons's toolkit for frozen features, its README and slides"
PUBLISHED: list[dict[str, Any]] = [
    {"source": TOOLKIT, "data": "gtzan", "features": features, "method": method, "n": ALL, "accuracy": accuracy}
    for features, method, accuracy in (
        ("VGGish, PCA of 128, SVM", "vggish_svm", 0.7758),
        ("musicnn, max-pool, PCA of 128, SVM", "musicnn_svm", 0.7724),
        ("OpenL3, PCA of 128, SVM", "", 0.7465),
        ("VGGish, linear SVM", "vggish_linear_svm", 0.7724),
    )
]
NETWORKS = ("sb_cnn", "vgg", "timbre")
EXPECTED = "expected; the paper has curves and recommends both"
NO_NUMBERS = "The paper gives its results as curves alone, so no number of it can stand beside these."


def accuracies(rows: Iterable[Row], method: str, n: int | str) -> list[float]:
    """Give the accuracies of a method with n examples, of all runs and folds."""
    return [float(row["accuracy"]) for row in of_method(rows, method, n=n)]


def accuracy_table(
    rows: Sequence[Row], kinds: Mapping[str, str], counts: Iterable[int | str], *, shortcuts: str
) -> Table:
    """Sum up the accuracy of each method for each n.

    Args:
        rows: what was measured.
        kinds: what each method is, in the order of the lines.
        counts: numbers of examples, in the order of the columns.
        shortcuts: what the title says at its end.

    Returns:
        The table.
    """
    there = [n for n in dict.fromkeys(counts) if any(row["n"] == n for row in rows)]
    several = any(row["run"] for row in rows) or len({row["fold"] for row in rows}) > 1
    spread = ", mean and deviation over runs and folds" if several else ""
    lines = [[method, kind, *[percent(accuracies(rows, method, n)) for n in there]] for method, kind in kinds.items()]
    columns = ["method", "kind", *[f"n = {n}" for n in there]]
    return Table(f"Accuracy in percent{spread}{shortcuts}", columns, lines, NO_NUMBERS)


def toolkit_table(rows: Sequence[Row]) -> Table | None:
    """Put what was measured with all clips beside what the toolkit publishes, where there is anything."""
    found = [accuracies(rows, one["method"], ALL) for one in PUBLISHED]
    if not any(found):
        return None
    lines = [[one["features"], percent(ours, 2), percent([one["accuracy"]], 2)] for one, ours in zip(PUBLISHED, found)]
    note = f"Published: {TOOLKIT}. Which weights of musicnn it takes, and where its patches lie, is not told."
    return Table("Frozen features of all clips, accuracy in percent", ["features", "ours", "published"], lines, note)


def curve(rows: Sequence[Row], method: str) -> dict[float, list[float]]:
    """Give the accuracies of a method by the number of examples; all clips have no place on that axis."""
    counts = {row["n"] for row in of_method(rows, method)} - {ALL}
    return {float(n): accuracies(rows, method, n) for n in sorted(counts)}


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the paper finds promising against what was measured where examples are fewest.

    Its abstract names transfer and prototypical networks; that they come in this order is what one expects of it.
    """
    transfer = "vggish" if of_method(rows, "vggish") else "musicnn"
    whose = "" if transfer == "vggish" else ", here musicnn in the place of VGGish,"
    return [
        _claim(f"Prototypical networks do better than regularised CNNs ({EXPECTED})", rows, "prototypical", NETWORKS),
        _claim(f"Transfer{whose} does better than both ({EXPECTED})", rows, transfer, ("prototypical", *NETWORKS)),
    ]


def _claim(words: str, rows: Sequence[Row], better: str, others: Sequence[str]) -> Claim:
    """Hold that a method does better than each of some others."""
    counts = {row["n"] for row in of_method(rows, better)} - {ALL}
    shared = sorted(n for n in counts if all(accuracies(rows, other, n) for other in others))
    if not shared:
        return Claim(f"{words} where examples are fewest", None)
    means = {name: statistics.fmean(accuracies(rows, name, shared[0])) for name in (better, *others)}
    figures = ", ".join(f"{name} {100 * mean:.1f}" for name, mean in means.items())
    shows = all(means[better] > means[other] for other in others)
    return Claim(f"{words} where examples are fewest (n = {shared[0]})", shows, f"{figures}.")
