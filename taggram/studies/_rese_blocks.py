"""The networks of the study on blocks, and what was published of them.

Source: Kim, Lee and Nam, ICASSP 2018, the poster: the bars of the blocks on MagnaTagATune, with the numbers printed on
    them; the curve of the excitations' dependence on tags, measured in the authors' notebook and poster.
"""

from __future__ import annotations

from typing import Any

BARS = "ICASSP 2018, poster, bars of the blocks on MagnaTagATune"
CURVE = "ICASSP 2018, poster and notebook, curve of the standard deviation over tags, read to ±0.0005"
TIMES = "ICASSP 2018, poster"
RELATIVE_TIME = 1.7  # of ReSE-2 beside SE
SPREAD = (0.055, 0.022, 0.020, 0.022, 0.0175, 0.0285, 0.0335, 0.036, 0.042)  # of the blocks of SE, several levels
MULTI = "_multi"
BLOCKS = {  # title; ROC-AUC with one level and with several
    "basic": ("Basic", 0.9055, 0.9077),
    "se": ("SE", 0.9083, 0.9111),
    "res1": ("Res-1", 0.9048, 0.9037),
    "res2": ("Res-2", 0.9061, 0.9098),
    "rese1": ("ReSE-1", 0.9066, 0.9053),
    "rese2": ("ReSE-2", 0.9102, 0.9113),
}
SINGLE = tuple(BLOCKS)
SEVERAL = tuple(f"{block}{MULTI}" for block in BLOCKS)
METHODS = tuple(method for pair in zip(SINGLE, SEVERAL) for method in pair)
PUBLISHED = {
    method: area for block, (_, *areas) in BLOCKS.items() for method, area in zip((block, f"{block}{MULTI}"), areas)
}


def block_of(method: str) -> str:
    """Give the block of a method's network, as `create_model` names it."""
    return method.removesuffix(MULTI)


def is_multi_level(method: str) -> bool:
    """Tell whether a method's network has features of several levels."""
    return method.endswith(MULTI)


def title_of(method: str) -> str:
    """Name a method in tables and pictures."""
    return f"{BLOCKS[block_of(method)][0]}{', several levels' if is_multi_level(method) else ''}"


def has_excitations(method: str) -> bool:
    """Tell whether a method's network has squeeze and excitation."""
    return block_of(method) in ("se", "rese1", "rese2")


def published_rows() -> list[dict[str, Any]]:
    """List what was published.

    Returns:
        Rows with method, source, and macro_roc_auc, or the spread over tags of each block's excitations, or the time of
        training beside that of another method.
    """
    areas = [{"method": method, "macro_roc_auc": area, "source": BARS} for method, area in PUBLISHED.items()]
    spread = {"method": "se_multi", "spread": list(SPREAD), "source": CURVE}
    time = {"method": "rese2_multi", "time_beside_se_multi": RELATIVE_TIME, "source": TIMES}
    return [*areas, spread, time]
