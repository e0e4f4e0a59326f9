"""Excitations of a trained network: computed clip by clip, summed up in a few figures, as files of a study and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taggram._files import written_aside
from taggram.look import Excitations, tagged_excitations

if TYPE_CHECKING:
    from taggram.audio import Source
    from taggram.learning.prepared import PreparedData
    from taggram.models._contract import TaggingModel

ARRAYS = ("n_clips", "loudness", "first_block")
WORDS = ("names", "tags")


def excite_part(model: TaggingModel, sound: PreparedData, n_clips: int) -> Excitations:
    """Compute the excitations of the clips for testing, one clip at a time in memory.

    Args:
        model: a network with squeeze and excitation.
        sound: at its rate.
        n_clips: so many, evenly spaced; 0 is all.

    Returns:
        The excitations by tag and by loudness.
    """
    rows = sound.index("test")
    if 0 < n_clips < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, n_clips).round().astype(int)]

    def clips() -> Iterator[tuple[list[str], Source]]:
        for row in map(int, rows):
            names = [tag for tag, holds in zip(sound.tags, sound.labels([row])[0]) if holds]
            yield names, (sound.whole(row), sound.sample_rate)

    return tagged_excitations(model, clips())


def summed_up(found: Excitations) -> dict[str, Any]:
    """Sum excitations up.

    Args:
        found: the excitations.

    Returns:
        "spread", how much each block depends on the tag; "mean_slope" of the first block over loudness, with
        its standard error, "mean_slope_error", None where there are too few segments, and "n_rising" and "n_falling"
        channels; "first_block" by tag, the mean over channels; "n_segments".
    """
    slopes, _, _ = found.loudness_lines
    return {
        "spread": found.spread.tolist(),
        "mean_slope": float(slopes.mean()),
        "mean_slope_error": _slope_error(found),
        "n_rising": int((slopes > 0).sum()),
        "n_falling": int((slopes < 0).sum()),
        "first_block": dict(zip(found.tags, found.by_tag[0].mean(axis=1, dtype=np.float64).tolist())),
        "n_segments": len(found.loudness),
    }


def _slope_error(found: Excitations) -> float | None:
    """Give the standard error of the slope of the mean over channels, as of segments that do not hang together."""
    slopes, starts, _ = found.loudness_lines
    loudness = found.loudness.astype(np.float64)
    left = found.first_block.mean(axis=1, dtype=np.float64) - starts.mean() - slopes.mean() * loudness
    variance, n_free = float(np.square(loudness - loudness.mean()).sum()), len(loudness) - 2
    if n_free < 1 or not variance:
        return None
    return float(np.sqrt(np.square(left).sum() / n_free / variance))


def save_excitations(found: Excitations, path: Path) -> None:
    """Write excitations.

    Args:
        found: what they are.
        path: the npz file.
    """
    arrays: dict[str, Any] = {name: getattr(found, name) for name in ARRAYS}
    arrays |= {name: np.array(getattr(found, name), dtype=np.str_) for name in WORDS}
    arrays |= {f"by_tag.{number}": block for number, block in enumerate(found.by_tag)}
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, model=np.array(found.model), **arrays)


def load_excitations(path: Path) -> Excitations:
    """Read what `save_excitations` wrote.

    Args:
        path: the npz file.

    Returns:
        The excitations; their tags are those of the data.
    """
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        names, tags = (tuple(map(str, file[name])) for name in WORDS)
        return Excitations(
            model=str(file["model"]),
            names=names,
            tags=tags,
            tags_by="caller",
            by_tag=tuple(file[f"by_tag.{number}"] for number in range(len(names))),
            **{name: file[name] for name in ARRAYS},
        )
