"""Tables and claims of the study on Ballroom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from taggram.studies._ballroom_nets import CBMI, COMMON, GOUYON, INIT, MARCHAND, NETS, PUBLISHED, Net
from taggram.studies._base import Claim, Row, of_method
from taggram.studies._tables import Table, percent

COLUMNS = ("architecture", "input", "filters", "parameters", "accuracy, %", "patches, %", "published, %")
GROWING = ("o_net_p_net", "o_net_2_p_net_2", "o_net_4_p_net_4", "o_net_8_p_net_8")
CLEARLY, ABOUT = 0.02, 0.01  # shares of the clips
EXPECTED = "expected of the design; no numbers of the paper are at hand"
Key = tuple[str, int | None]
"""A method, and the hop of its patches where there may be several."""


def grouped(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Put the rows of a network together, in the order of the study's networks.

    Args:
        rows: all.

    Returns:
        The rows of each method and hop.
    """
    keys = {(row["method"], row.get("hop")) for row in rows}
    order = list(NETS)
    return {
        (method, hop): [row for row in of_method(rows, method) if row.get("hop") == hop]
        for method, hop in sorted(keys, key=lambda key: (order.index(key[0]), -(key[1] or 0)))
    }


def accuracies(rows: Sequence[Row]) -> list[float]:
    """Give the accuracies of rows, from 0 to 1."""
    return [float(row["accuracy"]) for row in rows]


def table_of(rows: Sequence[Row]) -> Table:
    """Make the table of architectures.

    Args:
        rows: at least one.

    Returns:
        The table, with the published numbers.
    """
    published = {str(row["method"]): row for row in PUBLISHED}
    lines = [_line(NETS[method], hop, found, published.get(method)) for (method, hop), found in grouped(rows).items()]
    common = percent([row["common_accuracy"] for row in rows], 2)
    beside = [
        [name, "-", "-", "-", common if name == COMMON else "-", "-", f"{100 * published[name]['accuracy']:g}"]
        for name in (MARCHAND, GOUYON, COMMON)
    ]
    n_repeated = max(row["n_repeated"] for row in rows)
    short = f" Shorter than a patch, and so repeated, were {n_repeated} clips." if n_repeated else ""
    note = (
        f"Published: {CBMI}, on Ballroom. The numbers of ICASSP 2017 are not at hand; slides of the authors say about "
        f"92 % for temporal filters on it, but not of which network.{short}"
    )
    return Table("Accuracy by architecture", COLUMNS, [*lines, *beside], note)


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold the relations of the papers against what was measured.

    Args:
        rows: as for `Study.claims`.

    Returns:
        The claims.
    """
    hops = sorted({row["hop"] for row in rows if "hop" in row}, reverse=True)
    flat = "filters that cannot move along frequency, 40 x 1, are clearly worse than those of 32 x 1"
    start = "Time-Frequency gains when it starts from trained branches, a point in the paper"
    small = "Time-FrequencyInit is as good as Black-box, with 17 times fewer weights"
    claims = [
        _claim(rows, "Time tells dances better than Frequency", ("time", "frequency_32"), lambda a, b: a > b),
        _claim(rows, flat, ("frequency_32", "frequency_40"), lambda a, b: a - b > CLEARLY),
        _claim(rows, "filters of 200 frames are not better than of 60", ("time_250", "time"), lambda a, b: a <= b),
        _claim(rows, start, (INIT, "time_frequency"), lambda a, b: a > b),
        _claim(rows, small, (INIT, "black_box"), lambda a, b: a > b - ABOUT),
    ]
    for hop in hops:
        both = f"O-net + P-net is better than 2 x O-net and 2 x P-net, hop {hop} ({EXPECTED})"
        grows = f"accuracy grows from one to eight of both blocks, hop {hop} ({EXPECTED})"
        three = ("o_net_p_net", "o_net_2", "p_net_2")
        claims.append(_claim(rows, both, three, lambda a, *others: a > max(others), hop=hop))
        claims.append(_claim(rows, grows, GROWING, lambda *means: all(map(float.__lt__, means, means[1:])), hop=hop))
    return [*claims, *([_overlap_claim(rows)] if len(hops) > 1 else [])]


# -- inside ------------------------------------------------------------------------------------------------------------


def _line(net: Net, hop: int | None, rows: Sequence[Row], published: Mapping[str, Any] | None) -> list[str]:
    """Write the line of a network."""
    title = f"{net.title}, hop {hop}" if hop else net.title
    known = f"{100 * published['accuracy']:.2f} ± {100 * published['deviation']:.2f}" if published else "-"
    return [
        title, f"40 x {net.n_frames}", net.filters, f"{rows[0]['parameters']:,}",
        percent(accuracies(rows), 2), percent([row["patch_accuracy"] for row in rows], 2), known,
    ]  # fmt: skip


def _claim(
    rows: Sequence[Row], words: str, methods: Sequence[str], shows: Callable[..., bool], **details: Any
) -> Claim:
    """Compare the means of methods."""
    found = {method: accuracies(of_method(rows, method, **details)) for method in methods}
    if not all(found.values()):
        return Claim(words, None)
    means = [fmean(values) for values in found.values()]
    figures = ", ".join(f"{method} {100 * mean:.1f} %" for method, mean in zip(found, means))
    return Claim(words, shows(*means), f"{figures}.")


def _overlap_claim(rows: Sequence[Row]) -> Claim:
    """Compare patches that overlap with those that lie side by side."""
    words = f"patches that overlap are better than those side by side ({EXPECTED})"
    by_hop: dict[int, dict[str, float]] = {}
    for (method, hop), found in grouped(rows).items():
        if hop is not None:
            by_hop.setdefault(hop, {})[method] = fmean(accuracies(found))
    narrow, wide = min(by_hop), max(by_hop)
    both = sorted(by_hop[narrow].keys() & by_hop[wide].keys())
    if not both:
        return Claim(words, None)
    means = [fmean(by_hop[hop][method] for method in both) for hop in (narrow, wide)]
    words_of = [f"hop {hop} {100 * mean:.1f} %" for hop, mean in zip((narrow, wide), means)]
    return Claim(words, means[0] > means[1], f"Mean of {len(both)} networks: {', '.join(words_of)}.")
