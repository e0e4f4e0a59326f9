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
    for method, accuracy, deviation, n in (  # accuracy and deviation over ten folds in percent
        ("black_box", 87.25, 3.39, 3_275_312),
        ("black_box_250", 82.80, 5.12, 2_363_440),
        ("time", 81.79, 4.72, 7_336),
        ("time_250", 81.52, 3.87, 19_496),
        ("frequency_30", 59.45, 5.02, 3_816),
        ("frequency_32", 59.59, 5.82, 3_368),
        ("frequency_34", 58.17, 3.58, 2_920),
        ("frequency_36", 57.88, 5.38, 2_472),
        ("frequency_38", 57.45, 5.93, 2_024),
        ("frequency_40", 52.43, 5.63, 1_576),
        ("time_frequency", 86.54, 4.29, 196_816),
        (INIT, 87.68, 4.44, 196_816),
        (MARCHAND, 93.12, None, None),
        (GOUYON, 82.3, None, None),
        (COMMON, 15.9, None, None),
    )
)
