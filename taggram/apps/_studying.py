"""`taggram study`: the list of studies, or one of them with a line a cell and its table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taggram.apps._data_screen import DataScreen
from taggram.apps._options import parse_options
from taggram.apps._progress import STOPS, say
from taggram.apps._training import TEXT_KEYS
from taggram.errors import ConfigError, printable
from taggram.learning.train import Watcher
from taggram.results import Failure
from taggram.studies import STUDIES, find_study
from taggram.studies._base import Cell
from taggram.studies.run import RESULTS, TABLE, run_study

MINUTE_S = 60.0
FILES = ("vggish_weights", "synonyms", "vectors")  # settings of studies that name a file
DATA = "data"  # the setting that a data set is told by; a study may have others


def print_studies() -> None:
    """Print the studies, one a line."""
    width = max(map(len, STUDIES))
    for name, (_, question) in STUDIES.items():
        print(f"{name:<{width}}  {question}")
    print("`taggram study NAME data=NAME data.root=DIR out=RUN` runs one; docs/studies has a page on each.")


def run(name: str, words: list[str], *, show: bool, n_workers: int | None) -> bool:
    """Run a study as the words say, or print what it would be run with.

    Args:
        name: of the study.
        words: KEY=VALUE each.
        show: whether to print all settings and do nothing.
        n_workers: processes that decode and measure; None is one a core.

    Returns:
        Whether all could be measured.

    Raises:
        ConfigError: a key or value makes no sense, or `out` is missing.
        TaggramError: as `run_study` raises it.
    """
    kind = find_study(name)
    of_data = [key.removeprefix(DATA) for key in TEXT_KEYS if key.startswith(DATA)]
    texts = [f"{data}{key}" for data in kind.config_kind.data_names() for key in of_data]
    values = parse_options(words, as_text=(*TEXT_KEYS, *texts, *FILES))
    out = values.pop("out", "")
    if show:
        config = kind.config_kind.of(values)
        facts = {"study": name, "title": kind.title, "paper": kind.paper, "methods": config.METHODS}
        print(json.dumps(facts | {"settings": config.to_dict()}, indent=2))
        return True
    if not out:
        raise ConfigError("out is missing: the folder of the run, as out=RUN.")
    with _Screen(Path(str(values.get("data.root", "")))) as screen:
        watcher = Watcher(say=say, made=screen.made, prepared=screen.prepared, report=screen.report)
        try:
            result = run_study(name, values, out, n_workers=n_workers, watcher=watcher, told=screen.measured)
        except STOPS:
            say("interrupted; the same words go on with it")
            raise
    print(result.table, end="")
    names = [RESULTS, TABLE, *[path.name for path in result.pictures]]
    print(f"\n{printable(str(result.folder))}: {', '.join(names)}")
    if result.peak_mb is not None:
        print(f"No process held more than {result.peak_mb:,.0f} MB.")
    return screen.is_whole and not result.failures


class _Screen(DataScreen):
    """What is shown while a study runs.

    Args:
        root: folder of the data, for the paths in messages.
    """

    def measured(
        self, cell: Cell, result: Mapping[str, Any] | Failure, n_done: int, n_cells: int, left_s: float | None
    ) -> None:
        """Print a line for a cell, and show how many are left."""
        self.make_way()
        said = f"{cell.words}: {result.message if isinstance(result, Failure) else _in_words(result)}"
        say(f"[{n_done}/{n_cells}] {said}{_time_left(left_s) if n_done < n_cells else ''}")
        self.advance("cells", n_cells - n_done + 1, "measuring")


def _time_left(left_s: float | None) -> str:
    """Say how long it will take, in whole minutes where it is long; nothing where that is not known."""
    if left_s is None:
        return ""
    if left_s < MINUTE_S:
        return f"; about {left_s:.0f} s left"
    hours, minutes = divmod(round(left_s / MINUTE_S), 60)
    return f"; about {hours} h {minutes} min left" if hours else f"; about {minutes} min left"


def _in_words(measured: Mapping[str, Any]) -> str:
    """Write the plain numbers of a cell, whole ones in full."""
    numbers = {name: value for name, value in measured.items() if isinstance(value, (int, float))}
    words = [f"{name} {f'{value:,}' if isinstance(value, int) else f'{value:.4g}'}" for name, value in numbers.items()]
    return ", ".join(words) or "done"
