"""What comes of the multi-scale study: tables, claims, remarks, and what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram.studies._base import Claim, Row, of_method
from taggram.studies._claims import Reached
from taggram.studies._tables import Table

if TYPE_CHECKING:
    from taggram.studies.multiscale import MultiscaleConfig

Floats = NDArray[np.float32]
CLOSE = 0.01  # of ROC-AUC, that still counts as near what was published
THREE, TWO, ONE, TREES = "multiscale", "two_scales", "one_scale", "boosted_trees"


@dataclass(frozen=True, kw_only=True)
class Net:
    """What a method trains.

    Attributes:
        title: in tables.
        scales: resolutions that it looks at.
        recipe: how it is trained.
    """

    title: str
    scales: int = 3
    recipe: str = "multiscale_mtt"


NETS = {
    THREE: Net(title="three scales, the original"),
    TWO: Net(title="two scales", scales=2),
    ONE: Net(title="one scale", scales=1),
    "rewrite": Net(title="three scales, the rewrite", recipe="multiscale_rewrite_mtt"),
}
TITLES = {**{method: net.title for method, net in NETS.items()}, TREES: "boosted trees on hand-made features"}
PUBLISHED = (
    {"method": THREE, "valid_auc": 0.904, "roc_auc": 0.900, "source": "description of the project, Theano original"},
    {
        "method": "rewrite",
        "valid_auc": 0.91590,
        "roc_auc": 0.90936,
        "source": "README of the rewrite, one run of 100 epochs; others have 0.90 to 0.915",
    },
)


def kept_row(row: Row) -> Mapping[str, Any]:
    """Give the figures of the epoch whose weights a network kept.

    Args:
        row: of a network.

    Returns:
        That row of its history.
    """
    found: Mapping[str, Any] = next(one for one in row["history"] if one["epoch"] == row["best_epoch"])
    return found


def tables(rows: Sequence[Row], *, on_papers_data: bool) -> list[Table]:
    """Make the table of networks, and that of what was published.

    Args:
        rows: what was measured.
        on_papers_data: whether that was on the data and the split of the source.

    Returns:
        The tables.
    """
    lines = []
    for method, title in TITLES.items():
        if found := of_method(rows, method):
            first = found[0]
            low, high = first["macro_roc_auc_interval"]
            interval = f"{low:.3f} to {high:.3f}" if len(found) == 1 else f"{len(found)} runs"
            epochs = ", ".join(str(row["best_epoch"]) for row in found if row["best_epoch"] is not None)
            parameters = "-" if first["parameters"] is None else f"{first['parameters']:,}"
            lines.append([
                title, parameters, _mean(found, "valid_auc"), _mean(found, "macro_roc_auc"), interval,
                _mean(found, "macro_pr_auc"), epochs or "-",
            ])  # fmt: skip
    columns = (
        "method", "parameters", "validation ROC-AUC", "test ROC-AUC", "95 % interval", "test PR-AUC", "best epoch",
    )  # fmt: skip
    note = "Test ROC-AUC is that of the epoch that is best in validation."
    orders = [_compared(rows, better, worse)[1] for better, worse in ((THREE, ONE), (TWO, ONE), (THREE, TWO))]
    if told := " ".join(filter(None, orders)):
        note += f" What fewer scales reach was not published; here: {told}"
    known = [
        [TITLES[str(row["method"])], f"{row['valid_auc']:.3f}", f"{row['roc_auc']:.3f}", str(row["source"])]
        for row in PUBLISHED
    ]
    return [
        Table("Tagging by the number of scales", columns, lines, note),
        Table(
            "Published" if on_papers_data else "Published, on other data",
            ("network", "validation ROC-AUC", "test ROC-AUC", "source"), known,
            "MagnaTagATune, synonyms merged, clips divided at random, so that songs lie on both sides; not to be set "
            "beside a split by folders. The rewrite has a split of its own.",
        ),
    ]  # fmt: skip


def claims(rows: Sequence[Row], *, as_published: bool) -> list[Claim]:
    """Hold the claims against what was measured.

    Args:
        rows: what was measured.
        as_published: whether that was on data, split, tags and with the settings of the source; else no figure may
            stand beside its.

    Returns:
        The claims: that of the abstract, and the published figure.
    """
    shallow = "three scales tag clearly better than shallow classifiers on hand-made features"
    near = Claim("the test ROC-AUC is close to the published 0.900", None)
    if values := [float(row["macro_roc_auc"]) for row in of_method(rows, THREE)]:
        figures = f"{THREE} {fmean(values):.3f}"
        other = Claim(near.words, None, f"{figures}, on other data or with other settings than published.")
        near = Claim(near.words, abs(fmean(values) - 0.900) <= CLOSE, f"{figures}.") if as_published else other
    return [Claim(shallow, *_compared(rows, THREE, TREES)), near]


def gains_by_tag(rows: Sequence[Row]) -> dict[str, float]:
    """Say how much each tag gains by three scales in the place of one.

    Args:
        rows: what was measured.

    Returns:
        Differences of ROC-AUC, means over the runs, the greatest first; none where one of both was not measured.
    """
    by_tag: dict[str, dict[str, float]] = {}
    for method in (THREE, ONE):
        found = [row["by_tag"] for row in of_method(rows, method)]
        tags = dict.fromkeys(tag for areas in found for tag in areas)
        by_tag[method] = {
            tag: fmean(areas[tag] for areas in found) for tag in tags if all(areas[tag] is not None for areas in found)
        }
    both = {tag: area - by_tag[ONE][tag] for tag, area in by_tag[THREE].items() if tag in by_tag[ONE]}
    return dict(sorted(both.items(), key=lambda item: -item[1]))


def remarks(config: MultiscaleConfig, data: Mapping[str, Any], published_s: float) -> list[str]:
    """Say what the settings are.

    Args:
        config: the settings.
        data: what the study was made from.
        published_s: length of a clip in the source, in seconds.

    Returns:
        A line each.
    """
    whose = "the clips for training" if config.stats_from == "train" else "all clips, those for testing too"
    lines = [f"Bands are scaled by mean and deviation of {whose}."]
    if config.unreadable == "zeros":
        lines.append(f"{len(data['zeros'])} clips that cannot be decoded are kept as pictures of zeros.")
        if TREES in config.methods and data["zeros"]:
            lines.append("Boosted trees neither learn from these nor are tested on them.")
    if config.max_epochs:
        lines.append(f"{config.max_epochs} epochs; published are 40, and 100 of the rewrite.")
    if config.batch_size:
        lines.append(f"Batches of {config.batch_size}; published are 32, and 20 of the rewrite.")
    if not config.super_batches:
        lines.append("An epoch is cut into batches as a whole; published are runs of 3,000 clips.")
    if not config.shared_mask:
        lines.append("Each clip has its own mask of dropout; published is one for a batch.")
    if config.norm_momentum:
        lines.append(f"Batch norms take {config.norm_momentum:g} of a new batch; published are 0.01, and 0.99.")
    if abs(config.clip_s - published_s) > 0.01:
        lines.append(f"Pictures of {config.clip_s:g} s; published are {published_s:.2f} s.")
    if data["is_drawn"]:
        lines.append("The data has no part for testing: its clips were divided by chance.")
    return lines


# -- inside ------------------------------------------------------------------------------------------------------------


def _mean(rows: Sequence[Row], name: str) -> str:
    """Write the mean of a figure over runs."""
    values = [float(row[name]) for row in rows if row[name] is not None]
    return f"{fmean(values):.3f}" if values else "-"


def _compared(rows: Sequence[Row], better: str, worse: str) -> tuple[bool | None, str]:
    """Say whether the test ROC-AUC of a method is ahead, with the figures, "" where one of both was not measured.

    None is where they are too close to tell.
    """
    both = [of_method(rows, method) for method in (better, worse)]
    if not all(both):
        return None, ""
    mine, other = map(Reached.of, both)
    told = " and ".join(
        f"{method} {one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"
        for method, one in zip((better, worse), (mine, other))
    )
    shows = mine.is_ahead_of(other)
    return shows, f"{told} are too close to tell." if shows is None else f"{told}."
