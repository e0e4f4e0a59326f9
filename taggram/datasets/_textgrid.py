"""TextGrid files of Praat: named tiers of intervals.

Only numbers and quoted texts that stand free count, so the long and the short form are read alike. A quote within a
text is written twice; a backslash is itself.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from taggram.errors import DatasetError, printable

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|<(exists|absent)>')
MARKS = ((codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"))
INTERVALS = "IntervalTier"


@dataclass(frozen=True)
class Interval:
    """A stretch of time with a text.

    Attributes:
        start_s: in seconds.
        end_s: in seconds.
        text: "" where nothing is written.
    """

    start_s: float
    end_s: float
    text: str


def read_textgrid(path: Path) -> dict[str, list[Interval]]:
    """Read the tiers of intervals.

    Args:
        path: the file, UTF-16 or UTF-8 with or without a byte order mark.

    Returns:
        The intervals of each tier, in order of time, by its name. Tiers of points are left out.

    Raises:
        DatasetError: the file is not there, or no TextGrid.
    """
    try:
        data = path.read_bytes()
        text = data.decode(next((name for mark, name in MARKS if data.startswith(mark)), "utf-8"))
    except OSError as error:
        raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{printable(str(path))} is no text in UTF-16 or UTF-8.") from error
    try:
        return _tiers(_Tokens(text))
    except (IndexError, ValueError) as error:
        raise DatasetError(f"{printable(str(path))} is no TextGrid of Praat, or is cut short.") from error


class _Tokens:
    """The free-standing numbers and texts of a file, one after the other."""

    def __init__(self, text: str) -> None:
        self._tokens = list(TOKEN.finditer(text))
        self._next = 0

    def text(self) -> str:
        """Take a text."""
        found = self._take()[1]
        if found is None:
            raise ValueError("a number where a text was wanted")
        return found.replace('""', '"')

    def number(self) -> float:
        """Take a number."""
        return float(self._take()[2])

    def flag(self) -> bool:
        """Take what says whether there is anything."""
        return self._take()[3] == "exists"

    def _take(self) -> re.Match[str]:
        self._next += 1
        return self._tokens[self._next - 1]


def _tiers(tokens: _Tokens) -> dict[str, list[Interval]]:
    """Read what follows the first texts, "ooTextFile" and "TextGrid"."""
    if (tokens.text(), tokens.text()) != ("ooTextFile", "TextGrid"):
        raise ValueError("it begins otherwise")
    tokens.number(), tokens.number()  # from and to when it goes
    tiers: dict[str, list[Interval]] = {}
    for _ in range(int(tokens.number()) if tokens.flag() else 0):
        kind, name = tokens.text(), tokens.text()
        tokens.number(), tokens.number()
        n_entries = int(tokens.number())
        if kind == INTERVALS:
            tiers[name] = [Interval(tokens.number(), tokens.number(), tokens.text()) for _ in range(n_entries)]
        else:
            for _ in range(n_entries):
                tokens.number(), tokens.text()
    return tiers
