"""What the study on jingju sums up: counts over all phrases, tables, and whether the claims show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from taggram.learning.onset_scores import (
    TOLERANCE_S,
    TOLERANCES_S,
    Counts,
    Segments,
    count_onsets,
    count_segments,
)
from taggram.studies._base import Claim, Row
from taggram.studies._tables import Table, percent

SHARES = ("f1", "precision", "recall")
WITH = "with the score"
SHOWN = f"{TOLERANCE_S:g}"  # the tolerance of the claims, as `results.json` writes it


def count_all(sides: Sequence[tuple[Segments, Segments]], tolerance_s: float) -> dict[str, dict[str, float]]:
    """Count onsets and whole syllables of all phrases.

    Args:
        sides: of each phrase, what was found and what is there.
        tolerance_s: in seconds.

    Returns:
        For "onsets" and for "segments": counts, and F1, precision and recall from 0 to 1.
    """
    onsets = sum((count_onsets(ours.starts_s, there.starts_s, tolerance_s) for ours, there in sides), Counts())
    segments = sum((count_segments(ours, there, tolerance_s) for ours, there in sides), Counts())
    return {
        kind: {**dataclasses.asdict(counts), **{name: getattr(counts, name) for name in SHARES}}
        for kind, counts in (("onsets", onsets), ("segments", segments))
    }


def way_of(details: Mapping[str, Any]) -> str:
    """Say in words whether the score is known, and how onsets are picked where it is not."""
    return WITH if details["score"] else f"without, {details['picker']}"


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Put the runs of a method together, by whether the score is known; see `way_of`."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], way_of(row)), []).append(row)
    return groups


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Make the tables: onsets alone and whole syllables at all tolerances, then more on the tolerance of the paper.

    Args:
        rows: one at least.

    Returns:
        The tables.
    """
    columns = ["method", "onsets", *[f"{1000 * tolerance:g} ms" for tolerance in TOLERANCES_S]]
    return [
        Table("F1 of onsets, in percent, by tolerance", columns, _lines(rows, "onsets")),
        Table(
            "F1 of syllables, in percent, by tolerance",
            columns,
            _lines(rows, "segments"),
            "Onset, end and, where the score gives it, the syllable itself are right; the end may be off by a fifth of "
            "the syllable where that is more.",
        ),
        Table(
            f"Onsets within {1000 * TOLERANCE_S:g} ms",
            ["method", "onsets", "F of mir_eval", "precision", "recall", "parameters", "epochs"],
            [_details(method, way, group) for (method, way), group in grouped(rows).items()],
            "F of mir_eval is the mean over phrases. Without the score, onsets are picked where the onset function has "
            "just risen (back), or at its maxima.",
        ),
    ]


def claims_of(rows: Sequence[Row], score_alone: str) -> list[Claim]:
    """Say whether the score helps the networks, and the networks the score.

    Args:
        rows: what was measured.
        score_alone: the method that has no network.

    Returns:
        The claims.
    """
    means = {key: 100 * fmean(row["onset_f1"] for row in group) for key, group in grouped(rows).items()}
    informed = {method: f1 for (method, way), f1 in means.items() if way == WITH and method != score_alone}
    bare = {
        method: max(others)
        for method in informed
        if (others := [f1 for (other, way), f1 in means.items() if other == method and way != WITH])
    }
    alone = means.get((score_alone, WITH))
    gains = [f"{method} {f1:.1f} without, {informed[method]:.1f} with" for method, f1 in bare.items()]
    levels = [f"{method} {f1:.1f}" for method, f1 in informed.items()]
    return [
        Claim(
            "A CNN finds more onsets with the score than without",
            all(informed[method] > f1 for method, f1 in bare.items()) if bare else None,
            f"F1, without by the better way to pick onsets: {'; '.join(gains)}." if bare else "",
        ),
        Claim(
            "A CNN with the score finds more onsets than the score alone",
            None if alone is None or not informed else min(informed.values()) > alone,
            "" if alone is None or not informed else f"F1: {alone:.1f} by the score alone; {', '.join(levels)}.",
        ),
    ]


def _lines(rows: Sequence[Row], kind: str) -> list[list[str]]:
    """Write F1 at all tolerances."""
    return [
        [
            method, way,
            *[percent([row["tolerances_s"][f"{one:g}"][kind]["f1"] for row in group]) for one in TOLERANCES_S],
        ]
        for (method, way), group in grouped(rows).items()
    ]  # fmt: skip


def _details(method: str, way: str, rows: Sequence[Row]) -> list[str]:
    """Write what there is beside F1."""
    has_network = rows[0]["n_parameters"] > 0
    shares = [percent([row["tolerances_s"][SHOWN]["onsets"][name] for row in rows]) for name in SHARES[1:]]
    return [
        method,
        way,
        percent([row["mir_eval_f"] for row in rows]),
        *shares,
        f"{rows[0]['n_parameters']:,}" if has_network else "-",
        ", ".join(str(row["n_epochs"]) for row in rows) if has_network else "-",
    ]
