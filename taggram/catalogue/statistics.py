"""What a catalogue holds, in numbers: of each tag, and of all files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taggram.catalogue._layers import names_of_layers
from taggram.catalogue._reading import CatalogueFiles, open_catalogue
from taggram.catalogue._table import Table
from taggram.catalogue._vectors import Told
from taggram.catalogue.expression import LARGEST_FLOAT, NUMBER, Column
from taggram.errors import ConfigError

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
THRESHOLD = 0.5
TAGS_AT_ONCE = 8  # so that the scores of millions of files need not be in memory for all tags
MOST_ERRORS = 20
WEIGHTS_DIGITS = 8  # of a sha256 that are shown


@dataclass(frozen=True)
class TagStatistics:
    """How the scores of a tag are spread over the files.

    Attributes:
        tag: its name.
        mean: of its scores; None where there is no file.
        quantiles: scores that a share of the files stay below, by that share; None likewise.
        n_above: files with at least the threshold.
    """

    tag: str
    mean: float | None
    quantiles: Mapping[float, float | None]
    n_above: int


@dataclass(frozen=True)
class LayerFacts:
    """Results that a catalogue has.

    Attributes:
        layer: their name.
        n_files: files, with those that failed.
        differs: settings in which the layers of the catalogue differ from each other; the weights, of which these are
            the first digits of their sha256, are among them.
    """

    layer: str
    n_files: int
    differs: Mapping[str, Any]


@dataclass(frozen=True)
class Statistics:
    """What a catalogue holds.

    Attributes:
        model: that tagged it.
        layer: its results' name, in which the weights and settings are summed up.
        n_files: files, with those that failed.
        n_failed: files that failed.
        hours: length of all sound.
        n_bytes: size of all files.
        n_copies: files that have the same bytes as one before them.
        errors: what went wrong, and with how many files; the commonest first, and at most twenty of them.
        threshold: from which score on a file counts for a tag.
        tags: of each tag, in the model's order.
        layers: all results that the catalogue has, those of the last run first.
    """

    model: str
    layer: str
    n_files: int
    n_failed: int
    hours: float
    n_bytes: int
    n_copies: int
    errors: Mapping[str, int]
    threshold: float
    tags: tuple[TagStatistics, ...]
    layers: tuple[LayerFacts, ...]


def compute_statistics(
    table: Table, top: Path, files: CatalogueFiles, threshold: float, told: Told | None = None
) -> Statistics:
    """Count and average over a catalogue.

    Args:
        table: asks for rows.
        top: folder of the catalogue.
        files: of the layer that is counted.
        threshold: from which score on a file counts for a tag.
        told: hears how many tags are done.

    Returns:
        The numbers.

    Raises:
        ConfigError: the threshold is no number that a score can have.
        CatalogueError: a part cannot be read.
    """
    parts, card = files.parts, files.card
    if not -LARGEST_FLOAT <= threshold <= LARGEST_FLOAT:
        raise ConfigError(f"the threshold is {threshold}; it must be a number such as 0.5.")
    sql = (
        "SELECT count(*), count(error), sum(duration_s) / 3600, sum(size), count(sha256) - count(DISTINCT sha256) "
        "FROM rows"
    )
    n_files, n_failed, hours, n_bytes, n_copies = next(table.ask(parts, sql), (0, 0, None, None, 0))
    sql = (
        "SELECT split_part(error, ':', 1), count(*) FROM rows WHERE error IS NOT NULL GROUP BY 1 "
        "ORDER BY 2 DESC, 1 LIMIT ?"
    )
    return Statistics(
        model=str(card["model"]), layer=str(card["layer"]), n_files=n_files, n_failed=n_failed, hours=hours or 0.0,
        n_bytes=int(n_bytes or 0), n_copies=n_copies, errors=dict(table.ask(parts, sql, [MOST_ERRORS])),
        threshold=threshold, tags=tuple(_tags(table, parts, files.columns, threshold, told)),
        layers=list_layers(top),
    )  # fmt: skip


def list_layers(top: Path) -> tuple[LayerFacts, ...]:
    """List the layers of a catalogue, and what they differ in.

    Args:
        top: folder of the catalogue.

    Returns:
        The one of the last run first, then by name.

    Raises:
        CatalogueError: one of them is damaged.
    """
    found = [open_catalogue(top, name) for name in names_of_layers(top)]
    facts = [{**files.card["settings"], "weights": files.card["weights_sha256"][:WEIGHTS_DIGITS]} for files in found]
    names = dict.fromkeys(name for one in facts for name in one)
    differing = [name for name in names if any(one.get(name) != facts[0].get(name) for one in facts)]
    return tuple(
        LayerFacts(files.card["layer"], files.n_rows, {name: one.get(name) for name in differing})
        for files, one in zip(found, facts)
    )


def _tags(
    table: Table, parts: Sequence[Path], columns: Mapping[str, str], threshold: float, told: Told | None
) -> list[TagStatistics]:
    found = []
    tags = list(columns)
    for first in range(0, len(tags), TAGS_AT_ONCE):
        some = tags[first : first + TAGS_AT_ONCE]
        wanted, values = [], []
        for tag in some:
            column = Column(columns[tag], NUMBER, is_tag=True).finite_sql
            wanted.append(
                f"avg({column}), quantile_cont({column}, {list(QUANTILES)}), "
                f"count(*) FILTER ({column} >= CAST(? AS FLOAT))"
            )
            values.append(threshold)
        sql = f"SELECT {', '.join(wanted)} FROM rows"  # noqa: S608 (names of columns, in quotes)
        row: tuple[Any, ...] = next(table.ask(parts, sql, values), (None, None, 0) * len(some))
        for place, tag in enumerate(some):
            mean, quantiles, n_above = row[3 * place : 3 * place + 3]
            by_share = dict(zip(QUANTILES, quantiles or [None] * len(QUANTILES)))
            found.append(TagStatistics(tag, mean, by_share, n_above))
        if told is not None:
            told("counting over tags", len(found), len(tags))
    return found
