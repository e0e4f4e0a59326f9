"""What comes of the study on label reduction: counts, tables, examples, claims and remarks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from taggram.learning import metrics as m
from taggram.learning.evaluate import Evaluation
from taggram.learning.label_reduction import Reduction
from taggram.models.emarkou import Preset
from taggram.studies._base import Claim, Row
from taggram.studies._label_reduction_published import BY_TAG, SOURCE
from taggram.studies._tables import Table

if TYPE_CHECKING:
    from taggram.studies.label_reduction import LabelReductionConfig

LEAST_IN_COMMON = 5  # tags, from which on published ones stand beside ours
AVERAGES = ("micro_accuracy", "macro_recall", "micro_precision", "micro_recall", "micro_f1", "micro_roc_auc")
LEAST_TAGS = 10  # from which on a rank correlation says something
LEAST_POSITIVE = 10  # clips for testing that half of these tags are to have, since few make accuracy and recall chance
LEVEL = 0.05  # of significance
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Net:
    """What a method trains.

    Attributes:
        title: in tables.
        preset: of the network.
    """

    title: str
    preset: Preset


NETS = {
    "emarkou_2": Net(title="2 convolutions", preset="conv2"),
    "emarkou_2_nopool2": Net(title="2 convolutions, no second pool", preset="conv2_nopool2"),
    "emarkou_3": Net(title="3 convolutions, the final one", preset="conv3"),
    "emarkou_3_pool": Net(title="3 convolutions, 3 pools", preset="conv3_pool"),
}


def words_of(row: Mapping[str, Any]) -> str:
    """Name a network for people: method, features and training."""
    return f"{row['method']}, {row['features']}, {row['training']}"


# -- of a network ------------------------------------------------------------------------------------------------------


def decisions_of(evaluation: Evaluation) -> dict[str, Any]:
    """Sum up what was decided at 0.5.

    Args:
        evaluation: scores beside labels.

    Returns:
        Averages over tags or cells, and "decisions": by tag, "n_positive", "accuracy", "recall" (None where no clip has
        the tag), "tn", "fn", "fp", "tp"; the most frequent tag first.
    """
    numbers = evaluation.metrics(n_resamples=0)[evaluation.part]
    names = ("n_positive", "accuracy", "recall", "tn", "fn", "fp", "tp")
    by_count = sorted(numbers["tags"].items(), key=lambda item: -item[1]["n_positive"])
    known = [of_tag["accuracy"] for _, of_tag in by_count]
    return {
        **{name: numbers[name] for name in AVERAGES},
        "tag_accuracy": fmean(known),
        "decisions": {tag: {name: of_tag[name] for name in names} for tag, of_tag in by_count},
    }


def examples_of(evaluation: Evaluation, n: int, seed: int) -> list[dict[str, Any]]:
    """Give some clips at random with their tags and those that they were given at 0.5.

    Args:
        evaluation: scores beside labels.
        n: how many clips.
        seed: which ones.

    Returns:
        "track_id", "annotated" and "given" of each, in alphabetical order.
    """
    given = m.decide(evaluation.scores)
    tags = np.array(evaluation.tags, object)
    drawn = np.random.default_rng(seed).permutation(evaluation.n_clips)[:n]
    return [
        {
            "track_id": evaluation.track_ids[clip],
            "annotated": sorted(tags[evaluation.labels[clip]].tolist()),
            "given": sorted(tags[given[clip]].tolist()),
        }
        for clip in sorted(drawn.tolist())
    ]


# -- of all ------------------------------------------------------------------------------------------------------------


def count_rows(reduction: Reduction) -> list[dict[str, Any]]:
    """Give the counts of all tags: those before the reduction with what they were merged into.

    Args:
        reduction: what became of the tags.

    Returns:
        A row a tag of before, the commonest first.
    """
    goes_into = {name: kept for kept, names in reduction.groups.items() for name in names}
    rows = []
    for tag, count in sorted(reduction.n_before.items(), key=lambda item: -item[1]):
        merged = goes_into.get(tag, tag)
        rows.append({
            "tag": tag, "n_clips": count, "merged_into": merged, "n_clips_merged": reduction.n_merged[merged],
            "is_kept": int(merged in reduction.kept),
        })  # fmt: skip
    return rows


def best_row(rows: Sequence[Row]) -> Row:
    """Give the network with the highest ROC-AUC in validation, so that the test chooses nothing.

    Args:
        rows: what was measured, at least one.

    Returns:
        Its row.
    """
    return max(rows, key=lambda row: -1.0 if row["valid_auc"] is None else row["valid_auc"])


def tables(rows: Sequence[Row], reduction: Reduction) -> list[Table]:
    """Make the tables.

    Args:
        rows: what was measured.
        reduction: what became of the tags.

    Returns:
        Networks, what was published, tags, examples, and what was merged.
    """
    found = [_networks(rows), _published()]
    if rows:
        best = best_row(rows)
        found += [_tags(best, reduction), _examples(best)]
    return [*found, _groups(reduction)] if reduction.groups else found


def claims(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the README reads out of its charts against the network that is best in validation.

    Args:
        rows: what was measured.

    Returns:
        The claims, with rank correlations of a number and how frequent tags are.
    """
    words = {
        "accuracy": "frequent tags have a lower accuracy than rare ones, which true negatives make look good",
        "recall": "frequent tags have the best recall, so that they are what was learned",
    }
    if not rows:
        return [Claim(text, None) for text in words.values()]
    decisions = best_row(rows)["decisions"]
    order = [-place for place in range(len(BY_TAG))]
    given = []
    for place, (name, text) in enumerate(words.items()):
        known = [(one["n_positive"], one[name]) for one in decisions.values() if one[name] is not None]
        there, _ = rank_correlation(order, [pair[place] for pair in BY_TAG.values()])
        published = f"of the published charts {there:+.2f}"
        if len(known) < LEAST_TAGS:
            given.append(Claim(text, None, f"{len(known)} tags, fewer than {LEAST_TAGS}, say too little; {published}."))
            continue
        rank, chance = rank_correlation(*zip(*known))
        middle = median(n_positive for n_positive, _ in known)
        is_clear = chance <= LEVEL and middle >= LEAST_POSITIVE  # not so where it is no number
        told = f"p {chance:.2g}{'' if chance <= LEVEL else ', too much to tell'}"
        if middle < LEAST_POSITIVE:
            told += f"; half of the tags have {middle:g} clips for testing or fewer, and {LEAST_POSITIVE} are wanted"
        figures = f"Rank correlation with the number of clips {rank:+.2f} over {len(known)} tags, {told}; {published}."
        given.append(Claim(text, (rank < 0) == (name == "accuracy") if is_clear else None, figures))
    return given


def remarks(config: LabelReductionConfig, reduction: Reduction, *, is_drawn: bool) -> list[str]:
    """Say what the settings are.

    Args:
        config: the settings.
        reduction: what became of the tags.
        is_drawn: whether the parts were drawn here.

    Returns:
        A line each.
    """
    lines = []
    if len(reduction.kept) < config.n_tags:
        lines.append(f"There are no more than {len(reduction.kept)} tags; {config.n_tags} were asked for.")
    if config.width != 1:
        lines.append(f"Networks have {config.width:g} times the published filters and units.")
    if config.max_epochs:
        lines.append(f'The training "default" has {config.max_epochs} epochs, where its recipe has 20.')
    if config.batch_size:
        lines.append(f"Batches of {config.batch_size}, where the recipes have 64 (default) and 700 (literal).")
    if config.n_updates:
        lines.append(f'The training "literal" has {config.n_updates} steps; published are 210.')
    if is_drawn:
        lines.append("The data has no part for testing: its clips were divided by chance, 80, 10 and 10 %.")
    return lines


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Compute Spearman's rank correlation; equal values share the mean of their ranks.

    Args:
        a: (values,), at least two.
        b: as many.

    Returns:
        -1 to 1, and how likely chance alone gives one as large; NaN where all of one side are equal.
    """
    from scipy.stats import (  # type: ignore[import-untyped]  # comes with scikit-learn
        ConstantInputWarning,
        spearmanr,
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        found = spearmanr(a, b)
    return float(found.statistic), float(found.pvalue)


# -- inside ------------------------------------------------------------------------------------------------------------


def _networks(rows: Sequence[Row]) -> Table:
    """Compare the networks; runs are averaged."""
    names = (
        "macro_roc_auc", "macro_pr_auc", "micro_roc_auc", "tag_accuracy", "macro_recall", "micro_precision",
        "micro_recall", "micro_f1",
    )  # fmt: skip
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["training"], row["features"], row["method"]), []).append(row)
    lines = []
    for (training, features, method), found in groups.items():
        means = [f"{fmean(float(row[name]) for row in found):.3f}" for name in names]
        lines.append([NETS[method].title, features, training, f"{found[0]['parameters']:,}", *means])
    columns = (
        "network", "features", "training", "parameters", "ROC-AUC", "PR-AUC", "micro ROC-AUC", "accuracy", "recall",
        "micro precision", "micro recall", "micro F1",
    )  # fmt: skip
    return Table("Networks", columns, lines, "Accuracy and recall are means over tags, at 0.5.")


def _published() -> Table:
    """Show what is known of the source's network, whose clips nobody else has."""
    means = [f"{fmean(pair[place] for pair in BY_TAG.values()):.3f}" for place in (0, 1)]
    columns = ("network", "features", "training", "parameters", "accuracy", "recall")
    note = f"Means over the tags of the {SOURCE} of MagnaTagATune that were chosen by hand; no ROC-AUC is known."
    lines = [[NETS["emarkou_3"].title, "mel", "literal", "30,369,522", *means]]
    return Table("Published, on other data", columns, lines, note)


def _tags(row: Row, reduction: Reduction) -> Table:
    """Show each tag of a network, the most frequent first."""
    decisions = row["decisions"]
    beside = published_tags(decisions)
    lines = []
    for tag, one in decisions.items():
        own = reduction.n_before.get(tag, 0)
        line = [tag, f"{own:,}", f"{reduction.n_merged[tag]:,}", f"{one['tp'] + one['fn']:,}"]
        line += [f"{one[name]:,}" for name in ("tn", "fn", "fp", "tp")]
        line += [f"{one['accuracy']:.3f}", "" if one["recall"] is None else f"{one['recall']:.3f}"]
        if beside:
            line += [f"{value:.3f}" for value in beside[tag]] if tag in beside else ["-", "-"]
        lines.append(line)
    columns = ["tag", "clips, own name", "clips, merged", "test clips", "TN", "FN", "FP", "TP", "accuracy", "recall"]
    columns += ["published accuracy", "published recall"] if beside else []
    note = "Decisions at 0.5. Recall is empty where no test clip has the tag."
    note += f" Published: {SOURCE} of MagnaTagATune." if beside else ""
    return Table(f"Tags of the network that is best in validation: {words_of(row)}", columns, lines, note)


def published_tags(tags: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Give published accuracy and recall of tags, where enough of them are the same."""
    found = {tag: BY_TAG[tag] for tag in tags if tag in BY_TAG}
    return found if len(found) >= LEAST_IN_COMMON else {}


def _examples(row: Row) -> Table:
    """Show clips with their tags and those given, hits bold."""
    lines = []
    for one in row["examples"]:
        hits = set(one["annotated"]) & set(one["given"])
        cells = [
            ", ".join(f"**{tag}**" if tag in hits else tag for tag in one[name]) or NONE
            for name in ("annotated", "given")
        ]
        lines.append([str(one["track_id"]), *cells])
    note = "Clips at random; given is what is above 0.5, hits are bold. A tag that counts as wrong may be a good one."
    return Table(f"Examples, {words_of(row)}", ("clip", "annotated", "given"), lines, note)


def _groups(reduction: Reduction) -> Table:
    """Show what was merged, with counts."""
    lines = []
    for kept, names in reduction.groups.items():
        parts = ", ".join(f"{name} {reduction.n_before[name]:,}" for name in names)
        own = f"{reduction.n_before[kept]:,}" if kept in reduction.n_before else "-"
        stays = "yes" if kept in reduction.kept else "no"
        lines.append([kept, own, parts, f"{reduction.n_merged[kept]:,}", stays])
    title = f"What was merged: {len(reduction.tags)} tags to {len(reduction.merged)}"
    return Table(title, ("kept name", "clips before", "merged with, clips of each", "clips after", "stays"), lines)
