"""The table of networks beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from taggram.studies._base import Row, of_method
from taggram.studies._claims import mean_interval
from taggram.studies._tables import Table

AREAS = ("macro_roc_auc", "macro_pr_auc")


def means_of(rows: Sequence[Row], measure: str) -> dict[str, float]:
    """Average a figure over runs.

    Args:
        rows: measured cells.
        measure: such as "macro_roc_auc".

    Returns:
        By network, in the order in which they came.
    """
    names = dict.fromkeys(str(row["network"]) for row in rows)
    return {name: fmean(float(row[measure]) for row in of_method(rows, name)) for name in names}


def table_of(rows: Sequence[Row]) -> Table:
    """Make the table, the best network first.

    Args:
        rows: measured cells; there may be less than all.

    Returns:
        A line a network.
    """
    has_accuracy = any(row["accuracy"] is not None for row in rows)
    reached = means_of(rows, "macro_roc_auc")
    lines = []
    for name in sorted(reached, key=lambda name: -reached[name]):
        found = of_method(rows, name)
        accuracy = [f"{100 * fmean(float(row['accuracy']) for row in found):.1f}"] if has_accuracy else []
        lines.append([
            name, *[_with_interval(found, area) for area in AREAS], *accuracy, f"{found[0]['parameters']:,}",
            f"{found[0]['patch_s']:.3g}", f"{_mean(found, 'mflop_per_s'):,.0f}",
            f"{_mean(found, 'train_s'):,.0f} ({'CPU' if found[0]['trained_on'] == 'cpu' else 'GPU'})",
            f"{_mean(found, 'tag_s_per_hour'):.1f}", f"{_mean(found, 'tag_beside_musicnn'):.2f}",
        ])  # fmt: skip
    columns = (
        "network", "ROC-AUC, %", "PR-AUC, %", *(["accuracy, %"] if has_accuracy else []), "parameters",
        "patch, s", "MFLOP per s of sound", "training, s", "tagging an hour, s", "beside musicnn",
    )  # fmt: skip
    note = (
        "In brackets the 95 % interval over clips. MFLOP are those of convolutions and matrix products, two for a "
        "multiplication and addition, with patches side by side. Beside musicnn: how many times the time that it takes."
    )
    return Table("Networks, the best first", columns, lines, note)


def _mean(found: Sequence[Row], measure: str) -> float:
    return fmean(float(row[measure]) for row in found)


def _with_interval(found: Sequence[Row], area: str) -> str:
    low, high = (100 * end for end in mean_interval(found, area))
    return f"{100 * _mean(found, area):.1f} ({low:.1f} to {high:.1f})"
