"""Tables of results as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: stands above it.
        columns: their names.
        rows: cells, as text.
        note: stands below it, or "".
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """Write the table as Markdown."""
        lines = [_line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows)]
        parts = [f"## {self.title}", "\n".join(lines), self.note]
        return "\n\n".join(part for part in parts if part)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def percent(values: Sequence[float], digits: int = 1) -> str:
    """Write the mean of shares with their deviation, in percent.

    Args:
        values: from 0 to 1; may be none.
        digits: behind the point.

    Returns:
        Such as "59.6 ± 2.7", "59.6" of one value, or "-" of none. The deviation divides by the number of values.
    """
    if not values:
        return "-"
    mean = 100 * statistics.fmean(values)
    if len(values) == 1 or math.isnan(mean):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {100 * statistics.pstdev(values):.{digits}f}"
