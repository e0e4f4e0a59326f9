"""What the study on blocks found beside what was published: tables and claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from taggram.studies._base import Claim, Row, of_method
from taggram.studies._claims import judged_on_enough
from taggram.studies._rese_blocks import (
    BARS,
    CURVE,
    METHODS,
    MULTI,
    PUBLISHED,
    RELATIVE_TIME,
    SEVERAL,
    SINGLE,
    SPREAD,
    block_of,
    is_multi_level,
    title_of,
)
from taggram.studies._tables import Table
from taggram.studies._trained_grid import SCORE, mean_by_method, with_interval

GAINING = ("basic", "se", "res2", "rese2")  # by several levels
LOSING = ("res1", "rese1")
SQUEEZED = {"se": "basic", "rese1": "res1", "rese2": "res2"}
TIME_WITHIN = 0.2  # of the published ratio
LEAST_SEGMENTS = 100  # below which a slope over loudness is not judged
ERRORS = 2  # standard ones, beyond which a slope is more than chance
FIRST, LAST, MIDDLE = 0, -1, slice(1, 5)  # blocks: the published curve is high, high, and low in between


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """Make the tables of blocks, of excitations by tag and of excitations by loudness.

    Args:
        rows: what was measured.

    Returns:
        The tables.
    """
    trained, times = [row for row in rows if SCORE in row], mean_by_method(rows, "step_s")
    lines = [
        [
            title_of(method), f"{found[0]['parameters']:,}", with_interval(found), with_interval(found, "macro_pr_auc"),
            *_times_of(times, method), f"{PUBLISHED[method]:.4f}",
        ]
        for method in METHODS
        if (found := of_method(trained, method))
    ]  # fmt: skip
    columns = (
        "network", "parameters", "ROC-AUC", "PR-AUC", "s a step", "beside Basic", "published ROC-AUC",
    )  # fmt: skip
    note = (
        f"A step of training is timed by itself, beside that of Basic with as many levels. Published: {BARS}. There "
        f"ReSE-2 takes {RELATIVE_TIME} times as long to train as SE. Ranges are 95 % intervals over clips."
    )
    return [Table("Tagging by block", columns, lines, note), *_excitation_tables(rows)]


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the papers say against what was measured.

    Args:
        rows: what was measured.

    Returns:
        The claims.
    """
    areas = mean_by_method(rows)
    levels = {block: (f"{block}{MULTI}", block) for block in SINGLE}
    squeezed = [(f"{one}{end}", f"{other}{end}") for one, other in SQUEEZED.items() for end in ("", MULTI)]
    of_time = _of_time(mean_by_method(rows, "step_s"))
    of_areas = [
        _all_better("several levels help Basic, SE, Res-2 and ReSE-2", areas, [levels[one] for one in GAINING]),
        _all_better("they do harm to residual blocks of one convolution", areas, [levels[one][::-1] for one in LOSING]),
        _all_better("squeeze and excitation helps every block", areas, squeezed),
        _most_effective(areas),
    ]
    return [*judged_on_enough(of_areas, rows), of_time, *judged_on_enough(_of_excitations(rows), rows)]


# -- inside ------------------------------------------------------------------------------------------------------------


def _times_of(times: Mapping[str, float], method: str) -> list[str]:
    """Write the time of a step, and that beside the basic block with as many levels."""
    if method not in times:
        return ["-", "-"]
    basic = times.get(f"basic{MULTI}" if is_multi_level(method) else "basic")
    return [f"{times[method]:.3g}", f"{times[method] / basic:.2f}" if basic else "-"]


def _excitation_tables(rows: Sequence[Row]) -> list[Table]:
    excited = {method: found[0] for method in METHODS if (found := of_method(_excited(rows), method))}
    if not excited:
        return []
    n_blocks = max(len(row["spread"]) for row in excited.values())
    lines = [
        [
            str(number + 1),
            *[f"{row['spread'][number]:.4f}" for row in excited.values()],
            f"{SPREAD[number]:.4f}" if number < len(SPREAD) else "-",
        ]
        for number in range(n_blocks)
    ]
    columns = ("block", *map(title_of, excited), f"published, {title_of('se_multi')}")
    note = f"Standard deviation over the tags, in the mean over the channels. Published: {CURVE}."
    by_loudness = [
        [title_of(method), _slope_of(row), f"{row['n_segments']:,}", str(row["n_falling"]), str(row["n_rising"])]
        for method, row in excited.items()
    ]
    below = (
        "Least-squares lines of the excitation of each channel over the root mean square of a segment; ± is the "
        "standard error of the mean slope, as of segments that do not hang together."
    )
    return [
        Table("How much excitations depend on the tag", columns, lines, note),
        Table(
            "How excitations of block 1 depend on loudness",
            ("network", "mean slope", "segments", "channels that fall", "channels that rise"),
            by_loudness,
            below,
        ),
    ]


def _slope_of(row: Row) -> str:
    error = row.get("mean_slope_error")
    return f"{row['mean_slope']:+.4f}" + ("" if error is None else f" ± {error:.4f}")


def _falls(row: Row) -> bool | None:
    """Say whether block 1 falls with loudness; None where the slope may be chance."""
    error = row.get("mean_slope_error")
    if error is None or row["n_segments"] < LEAST_SEGMENTS or abs(row["mean_slope"]) <= ERRORS * error:
        return None
    return bool(row["mean_slope"] < 0)


def _all_better(words: str, areas: Mapping[str, float], pairs: Sequence[tuple[str, str]]) -> Claim:
    """Say whether the first of each pair is better, of those that were measured."""
    known = [pair for pair in pairs if pair[0] in areas and pair[1] in areas]
    told = [f"{title_of(one)} {areas[one]:.3f} beside {areas[other]:.3f}" for one, other in known]
    shows = all(areas[one] > areas[other] for one, other in known) if known else None
    return Claim(words, shows, _sentence(told))


def _most_effective(areas: Mapping[str, float]) -> Claim:
    words = "squeeze and excitation alone does more than residual connections alone"
    told, fits = [], []
    for methods in (SINGLE, SEVERAL):
        of_block = {block_of(method): areas[method] for method in methods if method in areas}
        residual = [of_block[block] for block in ("res1", "res2") if block in of_block]
        if "se" in of_block and residual:
            fits.append(of_block["se"] > max(residual))
            several = ", several levels" if methods is SEVERAL else ""
            told.append(f"{of_block['se']:.3f} beside {max(residual):.3f} at best{several}")
    return Claim(words, all(fits) if fits else None, _sentence(told))


def _of_time(times: Mapping[str, float]) -> Claim:
    words = f"ReSE-2 takes about {RELATIVE_TIME} times as long to train as SE"
    pairs = [(f"rese2{end}", f"se{end}") for end in ("", MULTI)]
    ratios = [times[one] / times[other] for one, other in pairs if one in times and other in times]
    if not ratios:
        return Claim(words, None)
    ratio = fmean(ratios)
    return Claim(words, abs(ratio - RELATIVE_TIME) <= TIME_WITHIN * RELATIVE_TIME, f"{ratio:.2f} times, a step.")


def _of_excitations(rows: Sequence[Row]) -> list[Claim]:
    """Hold what is said of the networks with plain SE blocks against those, or against what there is."""
    excited = _excited(rows)
    plain = [row for row in excited if block_of(row["method"]) == "se"] or excited

    def claim(
        words: str, holds: Callable[[Row], bool | None], figures: Callable[[Row], str], known: Sequence[Row]
    ) -> Claim:
        told = [f"{title_of(row['method'])}: {figures(row)}" for row in known]
        held = [holds(row) for row in known]
        return Claim(words, None if not held or None in held else all(held), _sentence(told))

    with_both = [row for row in plain if {"classical", "metal"} <= row["first_block"].keys()]
    return [
        claim(
            "block 1 depends much on the tag, the middle little, and block 9 much again",
            lambda row: min(row["spread"][FIRST], row["spread"][LAST]) > fmean(row["spread"][MIDDLE]),
            lambda row: (
                f"{row['spread'][FIRST]:.3f}, {fmean(row['spread'][MIDDLE]):.3f} in the mean of 2 to 5, "
                f"{row['spread'][LAST]:.3f}"
            ),
            plain,
        ),
        claim(
            "the mean excitation of block 1 falls as the sound gets louder",
            _falls,
            lambda row: (
                f"slope {_slope_of(row)} over {row['n_segments']:,} segments, {row['n_falling']} channels fall and "
                f"{row['n_rising']} rise"
            ),
            plain,
        ),
        claim(
            "block 1 is excited more by classical than by metal",
            lambda row: row["first_block"]["classical"] > row["first_block"]["metal"],
            lambda row: f"{row['first_block']['classical']:.3f} and {row['first_block']['metal']:.3f}",
            with_both,
        ),
    ]


def _excited(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "spread" in row]


def _sentence(told: Sequence[str]) -> str:
    return f"{'; '.join(told)}." if told else ""
