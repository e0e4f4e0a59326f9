"""Intervals of what methods reached, and whether one is ahead of another by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from taggram.studies._base import Claim, Row

SCORE = "macro_roc_auc"
LEAST_TEST = 10  # clips, below which areas are chance


def mean_interval(rows: Sequence[Row], measure: str = SCORE) -> tuple[float, float]:
    """Average the ends of an interval over runs.

    Args:
        rows: of one method, at least one, each with "..._interval" of the measure.
        measure: such as "macro_pr_auc".

    Returns:
        The lower and the upper end.
    """
    low, high = (fmean(float(row[f"{measure}_interval"][end]) for row in rows) for end in (0, 1))
    return low, high


@dataclass(frozen=True)
class Reached:
    """What a method reached.

    Attributes:
        mean: over its runs.
        spread: from the lowest run to the highest.
        low: lower end of the 95 % interval over clips, the mean over runs.
        high: the upper end.
    """

    mean: float
    spread: float
    low: float
    high: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Reached:
        """Sum measured cells up.

        Args:
            rows: of one method, at least one, each with "macro_roc_auc" and its interval.

        Returns:
            What was reached.
        """
        values = [float(row[SCORE]) for row in rows]
        return cls(fmean(values), max(values) - min(values), *mean_interval(rows))

    def is_ahead_of(self, other: Reached) -> bool | None:
        """Tell whether the mean is higher.

        Args:
            other: what another method reached on the same clips.

        Returns:
            None where the difference is no larger than that of runs, or a mean lies in the interval of the other.
        """
        is_inside = other.low <= self.mean <= other.high or self.low <= other.mean <= self.high
        if is_inside or abs(self.mean - other.mean) <= max(self.spread, other.spread):
            return None
        return self.mean > other.mean


def judged_on_enough(claims: Sequence[Claim], rows: Sequence[Row]) -> list[Claim]:
    """Leave claims undecided that hang on too few clips for testing.

    Args:
        claims: what is said of areas.
        rows: measured cells, with "n_test" where they tested.

    Returns:
        The claims; where some cell tested on fewer than `LEAST_TEST` clips they show nothing, and those with figures
        say why.
    """
    fewest = min((row["n_test"] for row in rows if "n_test" in row), default=LEAST_TEST)
    if fewest >= LEAST_TEST:
        return list(claims)
    why = f"Only {fewest} {'clip' if fewest == 1 else 'clips'} for testing; {LEAST_TEST} or more are wanted."
    return [replace(one, shows=None, figures=f"{one.figures} {why}" if one.figures else "") for one in claims]
