"""What the study on sample-level filters found beside what was published: table, claims, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from taggram.look._ascent import LEAST_LIVE
from taggram.studies._base import Claim, Row, of_method
from taggram.studies._claims import judged_on_enough
from taggram.studies._sample_level_members import ALL, BEST_MEL, FAMILIES, TABLE, WINDOWS, Member
from taggram.studies._tables import Table
from taggram.studies._trained_grid import SCORE, Area, areas_of, mean_by_method, with_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEEP = 10  # layers from which on the paper finds networks better
LEAST_S, MOST_S = 1.0, 5.0  # of input, which the paper finds best
NEAR_CHANCE = 0.6  # ROC-AUC below which a network has hardly learnt
WIDEST = 0.1  # interval of an area that another one is held against
FILTERS = "filters"  # the detail of cells that look at filters
COLUMNS = (
    "model", "samples", "ms", "first filter, stride", "frames", "layers", "patches a clip", "parameters", "ROC-AUC",
    "PR-AUC", "published ROC-AUC",
)  # fmt: skip


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Make the table of networks in the order of the paper, and that of the filters.

    Args:
        rows: what was measured.

    Returns:
        The tables.
    """
    trained, lines = [row for row in rows if SCORE in row], []
    for name, member in ALL.items():
        if found := of_method(trained, name):
            lines.append([
                member.title, f"{member.n_samples:,}", f"{member.ms:.0f}", f"{member.window}, {member.hop}",
                f"{member.n_frames:,}", str(member.n_layers), f"{found[0]['n_patches']:g}",
                f"{found[0]['parameters_without_norms']:,}", with_interval(found),
                with_interval(found, "macro_pr_auc"), "-" if member.published is None else f"{member.published:.4f}",
            ])  # fmt: skip
    lines.append(["the best with mel spectrograms", *["-"] * (len(COLUMNS) - 2), f"{BEST_MEL:.4f}"])
    note = (
        "m^n: n modules of filters and pools of m. Parameters without batch norms, as in the paper. Published: "
        f"{TABLE}; it is not known for certain of which window the best with mel spectrograms is. Ranges are 95 % "
        "intervals over clips."
    )
    tables = [Table("Tagging by network", COLUMNS, lines, note)]
    if looked := [row for row in rows if "convexity" in row]:
        layers = [
            [layer, "-" if value is None else f"{value:.2f}", str(n_dead)]
            for layer, value, n_dead in zip(*(looked[0][name] for name in ("layers", "convexity", "n_dead")))
        ]
        title = f"Peaks of the filters of {ALL[looked[0]['method']].title} by layer"
        below = (
            "0 where the sorted peaks rise in a straight line from 0 Hz to the highest, 0.42 on the mel scale; layers "
            f"with fewer than {LEAST_LIVE} live units among those that were looked at have none."
        )
        tables.append(Table(title, ("layer", "convexity", "dead units"), layers, below))
    return tables


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the paper says against what was measured.

    Args:
        rows: what was measured.

    Returns:
        The claims.
    """
    areas = mean_by_method(rows)
    of_areas = [_of_first_filter(areas), _of_depth(areas), _of_length(areas), _of_mel(rows)]
    return [*judged_on_enough(of_areas, rows), _of_filters(rows)]


def draw(rows: Sequence[Row], title: str) -> dict[str, Figure]:
    """Draw ROC-AUC over the first filter, a curve a family, the mels as a level: ours, and the published ones beside.

    Args:
        rows: what was measured.
        title: of the data.

    Returns:
        The figure by its name.
    """
    from taggram.studies._sample_level_pictures import Panel, draw_first_filter

    areas = areas_of(rows)
    known: dict[str, Area] = {
        name: (member.published, None, None) for name, member in ALL.items() if member.published is not None
    }
    mels = {name: area for name, area in areas.items() if ALL[name].kind == "mel"}
    best = [(ALL[name].title, mels[name]) for name in sorted(mels, key=lambda name: -mels[name][0])[:1]]
    panels = [
        Panel(title, _curves(areas), *best),
        Panel("published, MagnaTagATune", _curves(known), ("best mel", (BEST_MEL, None, None))),
    ]
    return {"first_filter": draw_first_filter([panel for panel in panels if panel.curves or panel.level])}


# -- inside ------------------------------------------------------------------------------------------------------------


def _curves(areas: Mapping[str, Area]) -> dict[str, dict[float, Area]]:
    """Give ROC-AUC by the first filter, by family."""
    curves: dict[str, dict[float, Area]] = {}
    for family, names in FAMILIES.items():
        points = {float(ALL[name].window): areas[name] for name in names if name in areas}
        if points and family not in WINDOWS:
            member = ALL[names[0]]
            curves[f"{member.kernel}^n, {member.n_samples:,}"] = dict(sorted(points.items()))
    return curves


def _measured(areas: Mapping[str, float], family: str) -> list[Member]:
    """List the measured members of a family, the shallowest first."""
    return [ALL[name] for name in FAMILIES[family] if name in areas]


def _of_first_filter(areas: Mapping[str, float]) -> Claim:
    words = "the smaller the first filter and stride, the better"
    told, fits = [], []
    for family in FAMILIES:
        members = _measured(areas, family)
        if family not in WINDOWS and len(members) > 1:
            largest, smallest = members[0], members[-1]
            fits.append(areas[smallest.name] > areas[largest.name])
            told.append(
                f"{family}: {areas[largest.name]:.3f} with {largest.window} samples, {areas[smallest.name]:.3f} with "
                f"{smallest.window}"
            )
    return Claim(words, all(fits) if fits else None, _sentence(told))


def _of_depth(areas: Mapping[str, float]) -> Claim:
    words = f"with as much sound, {DEEP} or more layers are better than fewer"
    told, fits = [], []
    for family in FAMILIES:
        members = _measured(areas, family)
        deep = [areas[one.name] for one in members if one.n_layers >= DEEP]
        shallow = [areas[one.name] for one in members if one.n_layers < DEEP]
        if family not in WINDOWS and deep and shallow:
            fits.append(np.mean(deep) > np.mean(shallow))
            told.append(f"{family}: {np.mean(deep):.3f} in the mean, {np.mean(shallow):.3f} with fewer")
    return Claim(words, bool(all(fits)) if fits else None, _sentence(told))


def _of_length(areas: Mapping[str, float]) -> Claim:
    words = f"{LEAST_S:g} to {MOST_S:g} s of sound are better than less"
    told, fits = [], []
    for kernel in dict.fromkeys(member.kernel for member in ALL.values()):
        members = [ALL[name] for name in areas if ALL[name].kernel == kernel and ALL[name].kind == "member"]
        long = [areas[one.name] for one in members if LEAST_S <= one.ms / 1000 <= MOST_S]
        short = [areas[one.name] for one in members if one.ms / 1000 < LEAST_S]
        if long and short:
            fits.append(max(long) > max(short))
            told.append(f"{kernel}^n: {max(long):.3f} at best, {max(short):.3f} with less")
    return Claim(words, all(fits) if fits else None, _sentence(told))


def _of_mel(rows: Sequence[Row]) -> Claim:
    words = "the best network on samples comes up to the best on mel spectrograms"
    areas = mean_by_method(rows)
    mels = {name: area for name, area in areas.items() if ALL[name].kind == "mel"}
    sample_level = {name: area for name, area in areas.items() if ALL[name].kind == "member"}
    if not mels or not sample_level:
        return Claim(words, None)
    best, mel = (max(found, key=found.__getitem__) for found in (sample_level, mels))
    told = f"{best} {areas[best]:.3f}, {mel} {areas[mel]:.3f}"
    ends = [row[f"{SCORE}_interval"] for row in of_method(rows, mel)]
    if any(None in pair for pair in ends):
        return Claim(words, areas[best] >= areas[mel], f"{told}.")
    low, high = np.mean(ends, axis=0).tolist()
    told += f", whose interval is {low:.3f} to {high:.3f}"
    if high - low > WIDEST:
        return Claim(words, None, f"{told}, wider than {WIDEST:g}.")
    if max(areas[best], areas[mel]) < NEAR_CHANCE:
        return Claim(words, None, f"{told}; both are near chance.")
    return Claim(words, areas[best] >= low, f"{told}.")


def _of_filters(rows: Sequence[Row]) -> Claim:
    words = "the peaks of the filters, in order, become more convex with depth"
    looked = next((row for row in rows if "convexity" in row), None)
    if looked is None:
        return Claim(words, None)
    known = {layer: value for layer, value in zip(looked["layers"], looked["convexity"]) if value is not None}
    left_out = [layer for layer in looked["layers"] if layer not in known]
    without = f"{', '.join(left_out)} left out, with fewer than {LEAST_LIVE} live units" if left_out else ""
    values = list(known.values())
    if len(values) < 2:
        return Claim(words, None, f"{looked['method']}: {without}." if without else "")
    ranks = np.argsort(np.argsort(values))
    rises = float(np.corrcoef(np.arange(len(values)), ranks)[0, 1])
    told = f"{looked['method']}: {', '.join(f'{value:.2f}' for value in values)}; rank correlation {rises:.2f}"
    return Claim(words, values[-1] > values[0] and rises > 0.5, f"{told}; {without}." if without else f"{told}.")


def _sentence(told: Sequence[str]) -> str:
    return f"{'; '.join(told)}." if told else ""
