"""What the units of a trained network want to hear, as files of a study and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taggram._files import written_aside
from taggram.look import Ascent

ARRAYS = ("units", "start", "inputs", "activations", "dead")
FACTS = ("model", "layer", "n_units", "sample_rate", "step_s")


def save_ascents(ascents: Sequence[Ascent], path: Path) -> None:
    """Write what was found for some layers of a network on waveforms.

    Args:
        ascents: a layer each.
        path: the npz file.
    """
    arrays: dict[str, Any] = {"layers": np.array([ascent.layer for ascent in ascents])}
    for ascent in ascents:
        arrays |= {f"{ascent.layer}.{name}": np.asarray(getattr(ascent, name)) for name in (*ARRAYS, *FACTS)}
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_ascents(path: Path) -> list[Ascent]:
    """Read what `save_ascents` wrote.

    Args:
        path: the npz file.

    Returns:
        A layer each, in their order.
    """
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return [
            Ascent(
                **{name: file[f"{layer}.{name}"] for name in ARRAYS},
                **{name: file[f"{layer}.{name}"].item() for name in FACTS},
                bands=None,
            )
            for layer in file["layers"]
        ]
