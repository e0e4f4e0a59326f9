"""Whether one method is ahead of another by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from taggram.studies._base import Row

SCORE = "macro_roc_auc"


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
        low, high = (fmean(float(row[f"{SCORE}_interval"][end]) for row in rows) for end in (0, 1))
        return cls(fmean(values), max(values) - min(values), low, high)

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
