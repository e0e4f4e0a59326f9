"""What the study on bags of features found, beside what was published: tables and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from taggram.learning._numbers import PRECISION_AT
from taggram.studies._bag_of_features_song import PRETRAINED, SONGS
from taggram.studies._bag_of_features_units import ACOUSTICS, Units
from taggram.studies._base import Claim, Row, of_method
from taggram.studies._claims import judged_on_enough
from taggram.studies._tables import Table

SOURCE = "a public list of papers on MagnaTagATune, as transcribed by others"
FIGURES = ("roc_auc", "clip_roc_auc", *[f"precision_at_{k}" for k in PRECISION_AT])
OURS = "deep_bof"
BEST_BEFORE = 0.870  # AROC-tag of the best system in the table before this one
PUBLISHED: tuple[Mapping[str, Any], ...] = tuple(
    {"method": method, "title": title, **dict(zip(FIGURES, figures)), "source": SOURCE}
    for method, title, figures in (
        ("pmsc_pfc", "PMSC+PFC (Hamel 2011)", (0.845, 0.938, 0.449, 0.320, 0.249, 0.205, 0.175)),
        ("pmsc_mtsl", "PMSC+MTSL (Hamel 2011)", (0.861, 0.943, 0.467, 0.327, 0.255, 0.211, 0.181)),
        ("multi_pmsc", "Multi-PMSC (Hamel 2012)", (0.870, 0.949, 0.481, 0.339, 0.263, 0.216, 0.184)),
        (OURS, "Deep-BoF", (0.888, 0.956, 0.511, 0.358, 0.275, 0.225, 0.190)),
    )
)
RBM_DETAILS = ("sampling", "patch_frames", "rho")
GRID_DETAILS = (*RBM_DETAILS, "pool_frames", "layers", "bias_init")
USUAL = {"sampling": "onset", "patch_frames": 8, "rho": 0.02, "pool_frames": 86, "layers": 3, "bias_init": "hidden"}
MEAN_NEAR = 0.25  # of its target: so far off, the mean activation of all units counts as at it
SMALL = 0.01  # a covariance that differs by less is as it should be
MOST_TAGS = 20  # in the table of units
N_UNITS = 3  # of a tag there


def named(row: Row) -> str:
    """Name the network of a row by its method, and by the settings that are not the usual ones."""
    words = {"sampling": "{} patches", "patch_frames": "patches of {} frames", "pool_frames": "pool {}"}
    words |= {"layers": "{} hidden", "bias_init": "{} biases", "rho": "rho {}"}
    other = [words[name].format(row[name]) for name in GRID_DETAILS if name in row and row[name] != USUAL[name]]
    return ", ".join([SONGS[row["method"]].title, *other])


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Put the runs of each network together, by its name."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(named(row), []).append(row)
    return groups


def main_table(rows: Sequence[Row]) -> Table:
    """Make the table of the paper, with mean average precision.

    Args:
        rows: the networks.

    Returns:
        The table.
    """
    names = ("macro_roc_auc", "clip_roc_auc", "macro_pr_auc", *[f"precision_at_{k}" for k in PRECISION_AT])
    lines = [
        [name, *[_mean(of_name, figure) for figure in names], of_name[0].get("costs", "-")]
        for name, of_name in grouped(rows).items()
    ]
    for row in PUBLISHED:
        figures = [f"{row[name]:.3f}" for name in FIGURES]
        lines.append([f"published: {row['title']}", *figures[:2], "-", *figures[2:], "-"])
    columns = ("system", "AROC-tag", "AROC-clip", "MAP", *[f"P@{k}" for k in PRECISION_AT], "weight costs")
    failed = [
        f" Of {named(row)}, run {row['run']}, pre-training failed with {', '.join(row['failed_costs'])}."
        for row in rows
        if row.get("failed_costs")
    ]
    note = (
        f"Published: {SOURCE}; MagnaTagATune, 160 tags, the split of Hamel et al. Weight costs are those of the first "
        f"run, chosen by validation.{''.join(failed)}"
    )
    return Table("Retrieval", columns, lines, note)


def annotation_table(rows: Sequence[Row]) -> Table:
    """Make the table of annotation.

    Args:
        rows: the networks.

    Returns:
        The table.
    """
    names = [f"annotation_{name}{ending}" for ending in ("", "_of_logits") for name in ("precision", "recall", "f1")]
    lines = [[name, *[_mean(found, figure) for figure in names]] for name, found in grouped(rows).items()]
    columns = ("network", "precision", "recall", "F1", "precision, logits", "recall, logits", "F1, logits")
    note = (
        "The ten best tags of each clip, after 1.25 times the mean of each tag is taken off: of scores from 0 to 1, "
        "and of logits, which is what the code of the paper does."
    )
    return Table("Annotation", columns, lines, note)


def rbm_table(rows: Sequence[Row]) -> Table:
    """Make the table of RBMs: what their whitened patches are like, and how active their units.

    Args:
        rows: the networks.

    Returns:
        The table.
    """
    lines = [
        [
            str(row["run"]), str(row["sampling"]), str(row["patch_frames"]), f"{row['n_patches']:,}",
            str(row["n_components"]),
            f"{row['variance_kept']:.4f}", f"{row['covariance_error']:.1e}", f"{row['covariance_off_diagonal']:.1e}",
            f"{row['rho']:g}", f"{row['mean_activation']:.4f} ± {row['activation_std']:.4f}",
            f"{100 * row['units_near_target']:.0f} %",
        ]
        for row in _rbms(rows)
    ]  # fmt: skip
    columns = (
        "run", "sampling", "frames", "patches", "components", "variance kept", "off d / (d + 0.01)", "off 0", "target",
        "mean activation", "units near",
    )  # fmt: skip
    note = (
        "How far the covariance of whitened patches is from what it has to be, on the diagonal and off it; mean "
        "activation of all units on the patches for training, and its deviation over the units; units that are within "
        "half of the target."
    )
    return Table("Whitening and RBM", columns, lines, note)


def unit_table(units: Units, tags: Sequence[str]) -> Table:
    """Make the table of the units that stand out in tags.

    Args:
        units: the units.
        tags: names, in order.

    Returns:
        The table, of the tags whose first unit stands out most surely.
    """
    lines = []
    for tag in units.strongest(MOST_TAGS):
        top = units.top(tag, N_UNITS)
        figures = dict(zip(ACOUSTICS, units.acoustics[top].mean(axis=0).tolist()))
        lines.append([
            tags[tag], ", ".join(map(str, top.tolist())), f"{units.differences[tag, top[0]]:.3f}",
            f"{units.certainty(tag):.1f}",
            f"{figures['centroid']:.0f}", f"{figures['bandwidth']:.0f}", f"{figures['flatness']:.2f}",
            f"{figures['slope']:+.2f}", f"{figures['harmonicity']:.2f}", f"{units.activation[top].mean():.4f}",
        ])  # fmt: skip
    columns = (
        "tag", "units", "difference", "standard errors", "centroid, Hz", "bandwidth, Hz", "flatness", "slope",
        "harmonicity", "activation",
    )  # fmt: skip
    note = (
        "The three units whose mean in the bags of clips with the tag is most above that of the others, by how much "
        "the first is, how many standard errors that is, by which the tags are in order, and means of the acoustic "
        "figures of the three. All units and tags are in units-*.csv and tags-*.csv."
    )
    return Table("Units that stand out in a tag", columns, lines, note)


def claims_of(rows: Sequence[Row], *, is_papers: bool) -> list[Claim]:
    """Hold what the paper says, or its settings imply, against what was measured.

    Args:
        rows: the networks.
        is_papers: whether this is the data of the paper, divided as there.

    Returns:
        The claims.
    """
    usual = [row for row in rows if all(row.get(name, value) == value for name, value in USUAL.items())]
    found = of_method(usual, PRETRAINED)
    above = Claim(f"Deep-BoF has an AROC-tag above {BEST_BEFORE}, the best of before", None)
    if is_papers and found:
        auc = _printed(found)
        above = Claim(above.words, float(auc) > BEST_BEFORE, f"{auc}{_best_of(found)}.")
    of_areas = [
        above,
        _better(
            "networks that are pre-trained, as in the final scripts, tag better",
            rows,
            {"method": PRETRAINED},
            {"method": "random_start"},
        ),
        _better(
            "patches at onsets, as in the final scripts, are better than random ones",
            rows,
            {"sampling": "onset"},
            {"sampling": "random"},
        ),
        _better(
            "three hidden layers, as in the final scripts, are better than one", rows, {"layers": 3}, {"layers": 1}
        ),
        _better(
            "dropout, as in the final scripts, makes it better", rows, {"method": PRETRAINED}, {"method": "no_dropout"}
        ),
        _better(
            "rectified units, as in the final scripts, are better than sigmoids",
            rows,
            {"method": "random_start"},
            {"method": "sigmoid"},
        ),
    ]
    first, *others = judged_on_enough(of_areas, rows)
    return [first, _activation_claim(rows), _covariance_claim(rows), *others]


# -- inside ------------------------------------------------------------------------------------------------------------


def _mean(rows: Sequence[Row], name: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return f"{fmean(values):.3f}" if values else "-"


def _printed(rows: Sequence[Row]) -> str:
    """Give the mean AROC-tag as it is printed; claims are judged by no more digits than that."""
    return f"{fmean(row['macro_roc_auc'] for row in rows):.3f}"


def _best_of(rows: Sequence[Row]) -> str:
    """Say among how many tries networks were chosen."""
    counts = sorted({row.get("n_tried", 1) for row in rows} - {1})
    return f" (best of {' or '.join(map(str, counts))} in validation)" if counts else ""


def _rbms(rows: Sequence[Row]) -> list[Row]:
    """Give a row for each RBM."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        if "mean_activation" in row:
            found.setdefault(tuple(row[name] for name in (*RBM_DETAILS, "run")), row)
    return list(found.values())


def _activation_claim(rows: Sequence[Row]) -> Claim:
    words = f"the mean activation of the RBM is at its target, within {100 * MEAN_NEAR:.0f} %"
    found = _rbms(rows)
    if not found:
        return Claim(words, None)
    naming = {"sampling": "{} patches", "patch_frames": "{} frames", "run": "run {}"}
    telling = {name: form for name, form in naming.items() if len({row[name] for row in found}) > 1}
    figures = []
    for row in found:
        place = ", ".join(form.format(row[name]) for name, form in telling.items())
        figures.append(f"{row['mean_activation']:.4f} for {row['rho']:g}{f' ({place})' if place else ''}")
    shows = all(abs(row["mean_activation"] - row["rho"]) <= MEAN_NEAR * row["rho"] for row in found)
    return Claim(words, shows, f"{', '.join(figures)}.")


def _covariance_claim(rows: Sequence[Row]) -> Claim:
    words = "whitened patches have variances d / (d + 0.01), at most 1, and no covariance"
    known = [row for row in rows if "covariance_error" in row]
    if not known:
        return Claim(words, None)
    on, off = (max(row[name] for row in known) for name in ("covariance_error", "covariance_off_diagonal"))
    largest = max(row["largest_variance"] for row in known)
    shows = on < SMALL and off < SMALL and largest <= 1
    return Claim(words, shows, f"Off by {on:.1e} and {off:.1e} at most; the largest variance is {largest:.4f}.")


def _better(words: str, rows: Sequence[Row], better: Mapping[str, Any], worse: Mapping[str, Any]) -> Claim:
    """Compare networks that differ in one thing alone."""
    (name,) = better
    pairs = []
    for row in rows:
        if row.get(name) == better[name]:
            same = [one for one in rows if one.get(name) == worse[name] and _differs_only_in(name, row, one)]
            pairs += [(row, one) for one in same]
    if not pairs:
        return Claim(words, None)
    ours, theirs = zip(*pairs)
    figures = " beside ".join(f"{_printed(side)}{_best_of(side)}" for side in (ours, theirs))
    means = f", means of {len(pairs)} pairs" if len(pairs) > 1 else ""
    return Claim(words, float(_printed(ours)) > float(_printed(theirs)), f"AROC-tag {figures}{means}.")


def _differs_only_in(name: str, first: Row, second: Row) -> bool:
    kinds = ("method", "run", *GRID_DETAILS)
    return all(first[kind] == second[kind] for kind in kinds if kind != name and kind in first and kind in second)
