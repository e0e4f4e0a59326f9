"""The networks of the study on Ballroom, and what is published of them.

Source: CBMI 2016 and ICASSP 2017, see `ballroom.py`. The accuracies of CBMI 2016 are those that notes of others on the
    paper give. Those of ICASSP 2017 are not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INIT, INIT_FROM = "time_frequency_init", ("time", "frequency_32")
CBMI = "CBMI 2016, table of results, as transcribed by others"
MARCHAND, GOUYON, COMMON = "Marchand et al.", "Gouyon et al., 1-NN on annotated tempo", "most frequent class"
HEIGHTS = (30, 32, 34, 36, 38, 40)  # mels of the filters of Frequency


@dataclass(frozen=True, kw_only=True)
class Net:
    """What a method trains.

    Attributes:
        title: as the paper has it.
        filters: their shapes, mels x frames.
        recipe: how it is trained.
        n_frames: of a patch.
        options: of the network.
        is_o_p: whether it is of ICASSP 2017.
        keeps: whether the trained network is kept; Black-box is too large for that.
    """

    title: str
    filters: str
    recipe: str
    n_frames: int = 80
    options: Mapping[str, Any] = field(default_factory=dict)
    is_o_p: bool = False
    keeps: bool = True


def _o_p(o: int, p: int) -> Net:
    """Describe a network of so many O and P blocks."""
    blocks = [f"{n} x {name}-net" if n > 1 else f"{name}-net" for n, name in ((o, "O"), (p, "P")) if n]
    filters = [name for n, name in ((o, "1 x 6 to 1 x 41"), (p, "1 x 46 to 1 x 216")) if n]
    return Net(
        title=" + ".join(blocks), filters=" and ".join(filters), recipe="o_p_net_ballroom", n_frames=250,
        options={"o": o, "p": p}, is_o_p=True,
    )  # fmt: skip


def _frequency(height: int) -> Net:
    """Describe Frequency with filters of some height."""
    return Net(title="Frequency", filters=f"{height} x 1", recipe="ballroom_frequency", options={"height": height})


_BLACK_BOX_250 = Net(title="Black-box", filters="12 x 200", recipe="ballroom_black_box_250", n_frames=250, keeps=False)
NETS = {  # by method
    "black_box": Net(title="Black-box", filters="12 x 8", recipe="ballroom_black_box", keeps=False),
    "black_box_250": _BLACK_BOX_250,
    "time": Net(title="Time", filters="1 x 60", recipe="ballroom_time"),
    "time_250": Net(title="Time", filters="1 x 200", recipe="ballroom_time_250", n_frames=250),
    **{f"frequency_{height}": _frequency(height) for height in HEIGHTS},
    "time_frequency": Net(title="Time-Frequency", filters="1 x 60 and 32 x 1", recipe="ballroom_time_frequency"),
    INIT: Net(title="Time-FrequencyInit", filters="1 x 60 and 32 x 1", recipe="ballroom_time_frequency"),
    "o_net": _o_p(1, 0),
    "p_net": _o_p(0, 1),
    "o_net_2": _o_p(2, 0),
    "o_net_p_net": _o_p(1, 1),
    "p_net_2": _o_p(0, 2),
    "o_net_2_p_net_2": _o_p(2, 2),
    "o_net_4_p_net_4": _o_p(4, 4),
    "o_net_8_p_net_8": _o_p(8, 8),
}
PUBLISHED: tuple[Mapping[str, Any], ...] = tuple(
    {"method": method, "accuracy": accuracy, "deviation": deviation, "parameters": n, "source": CBMI}
    for method, accuracy, deviation, n in (  # accuracy and deviation over ten folds
        ("black_box", 0.8725, 0.0339, 3_275_312),
        ("black_box_250", 0.8280, 0.0512, 2_363_440),
        ("time", 0.8179, 0.0472, 7_336),
        ("time_250", 0.8152, 0.0387, 19_496),
        ("frequency_30", 0.5945, 0.0502, 3_816),
        ("frequency_32", 0.5959, 0.0582, 3_368),
        ("frequency_34", 0.5817, 0.0358, 2_920),
        ("frequency_36", 0.5788, 0.0538, 2_472),
        ("frequency_38", 0.5745, 0.0593, 2_024),
        ("frequency_40", 0.5243, 0.0563, 1_576),
        ("time_frequency", 0.8654, 0.0429, 196_816),
        (INIT, 0.8768, 0.0444, 196_816),
        (MARCHAND, 0.9312, None, None),
        (GOUYON, 0.8230, None, None),
        (COMMON, 0.1590, None, None),
    )
)
