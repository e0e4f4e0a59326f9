"""What the units of an RBM on patches respond to: their patches, acoustic figures, and the tags that they stand out in.

Source: Nam, Herrera and Lee, "A deep bag-of-features model for music auto-tagging", arXiv 1508.04999, first version,
    which announces such figures and does not say how they are computed.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._files import written_aside
from taggram.frontends import LogMelConfig, mel_filterbank
from taggram.learning.sparse_rbm import RBM
from taggram.learning.whitening import Whitening

Floats = NDArray[np.float32]
LEAST_LAG = 3  # bands: less is the width of one partial
TINY = 1e-9
N_TOP = 6  # units of a tag
LEAST_CLIPS = 5  # with a tag and without it, below which no error is known
ACOUSTICS = {  # figure: its unit
    "centroid": "Hz",
    "bandwidth": "Hz",
    "flatness": "0 to 1",
    "temporal_centroid": "0 to 1",
    "slope": "of the mean, over a patch",
    "harmonicity": "0 to 1",
}


@dataclass(frozen=True)
class Units:
    """The units of an RBM.

    Attributes:
        images: (units, frames, mels) what each looks for in a patch, less the mean patch.
        mean: (frames, mels) the mean patch.
        acoustics: (units, figures) in the order of `ACOUSTICS`.
        activation: (units,) mean over the patches of the clips for testing.
        differences: (tags, units) mean bag of the clips for training with a tag, less that of those without it; no
            number where all of them have it, or none.
        errors: (tags, units) standard error of each difference; no number of tags that fewer than `LEAST_CLIPS` clips
            have, or lack.
        mels_hz: (mels,) centre of each band.
    """

    images: Floats
    mean: Floats
    acoustics: Floats
    activation: Floats
    differences: Floats
    errors: Floats
    mels_hz: Floats

    @property
    def by_centroid(self) -> NDArray[np.int64]:
        """(units,) their numbers, the one of the lowest centroid first."""
        return np.argsort(self.acoustics[:, 0], kind="stable").astype(np.int64)

    def top(self, tag: int, n: int = N_TOP) -> NDArray[np.int64]:
        """Give the units that stand out most in the clips with a tag, the first most; none where that is unknown."""
        values = self.differences[tag]
        return np.empty(0, np.int64) if np.isnan(values).any() else np.argsort(-values, kind="stable")[:n]

    def certainty(self, tag: int) -> float:
        """Give the difference of a tag's first unit in its standard errors; no number where that is unknown."""
        top = self.top(tag, 1)
        return float(self.differences[tag, top[0]] / max(self.errors[tag, top[0]], TINY)) if len(top) else math.nan

    def strongest(self, n: int) -> list[int]:
        """Give the tags whose first unit stands out most surely, the first one most.

        A difference alone would put tags of few clips in front, whose means are the least sure.
        """
        certainties = {tag: self.certainty(tag) for tag in range(len(self.differences))}
        known = [tag for tag, value in certainties.items() if not math.isnan(value)]
        return sorted(known, key=lambda tag: -certainties[tag])[:n]

    def save(self, path: Path) -> None:
        """Write them as NAME.npz; `load` gives them back."""
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read units that were saved."""
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in cls.__dataclass_fields__})


def images_of(rbm: RBM, whitening: Whitening, n_mels: int) -> tuple[Floats, Floats]:
    """Turn the weights of units back into patches.

    Args:
        rbm: on whitened patches.
        whitening: that whitened them.
        n_mels: values of a frame.

    Returns:
        (units, frames, mels) less the mean patch, and that patch, (frames, mels).
    """
    mean = whitening.mean.view(-1, n_mels)
    images: Tensor = whitening.restored(rbm.weight).view(len(rbm.weight), -1, n_mels) - mean
    return images.numpy(), mean.numpy()


def centres_hz(config: LogMelConfig) -> Floats:
    """Give the frequency at the peak of each mel band.

    Args:
        config: of the spectrogram.

    Returns:
        (mels,) in Hz, that of the centre of gravity of its filter.
    """
    filters = mel_filterbank(config).double()
    bins_hz = torch.arange(len(filters), dtype=torch.float64) * (config.sample_rate / config.n_fft)
    sums = filters.sum(0).clamp_min(TINY)
    centres: Floats = ((bins_hz @ filters) / sums).float().numpy()
    return centres


def acoustics_of(images: Floats, mels_hz: Floats) -> Floats:
    """Describe patches by what a unit responds to, the part above 0.

    Args:
        images: (units, frames, mels).
        mels_hz: (mels,) centre of each band.

    Returns:
        (units, figures) in the order of `ACOUSTICS`. Centroid and bandwidth are mean and deviation over frequency.
        Flatness is the geometric mean over the bands beside the arithmetic one. The temporal centroid is 0 at the first
        frame and 1 at the last. The slope is how much the sum over the bands grows over the patch by a straight line,
        beside its mean: above 0 it begins, about 0 it lasts. Harmonicity is the largest value of the autocorrelation
        along mel behind its first fall below 0.
    """
    energy = np.maximum(images, 0).astype(np.float64) + TINY
    profile = energy.sum(axis=1)  # (units, mels)
    share = profile / profile.sum(axis=1, keepdims=True)
    centroid = share @ mels_hz
    bandwidth = np.sqrt((share * (mels_hz - centroid[:, None]) ** 2).sum(axis=1))
    flatness = np.exp(np.log(profile).mean(axis=1)) / profile.mean(axis=1)
    course = energy.sum(axis=2)  # (units, frames)
    place = np.linspace(0, 1, course.shape[1]) if course.shape[1] > 1 else np.array([0.5])
    temporal = (course @ place) / course.sum(axis=1)
    off = place - place.mean()
    slope = (course @ off) / max((off**2).sum(), TINY) / course.mean(axis=1)
    harmonicity = [_harmonicity(of_unit) for of_unit in profile]
    return np.stack([centroid, bandwidth, flatness, temporal, slope, harmonicity], axis=1).astype(np.float32)


def tag_differences(bags: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Take the mean bag of the clips without a tag off that of the clips with it.

    Args:
        bags: (clips, units).
        labels: (clips, tags), 0 or 1.

    Returns:
        (tags, units) differences; no number where all clips have a tag, or none has. (tags, units) their standard
        errors, by one variance within both kinds of clips; no number where one kind has fewer than `LEAST_CLIPS`.
    """
    n_with = labels.sum(axis=0, dtype=np.float64)[:, None]
    n_without = len(labels) - n_with
    fewest = np.minimum(n_with, n_without)
    total, with_tag = bags.sum(axis=0, dtype=np.float64), labels.T.astype(np.float64) @ bags
    n_with, n_without = np.maximum(n_with, 1), np.maximum(n_without, 1)
    mean_with, mean_without = with_tag / n_with, (total - with_tag) / n_without
    squares = np.einsum("cu,cu->u", bags, bags, dtype=np.float64)
    within = np.maximum(squares - n_with * mean_with**2 - n_without * mean_without**2, 0.0)
    errors = np.sqrt(within / max(1, len(labels) - 2) * (1 / n_with + 1 / n_without))
    differences = np.where(fewest > 0, mean_with - mean_without, np.nan)
    return differences.astype(np.float32), np.where(fewest >= LEAST_CLIPS, errors, np.nan).astype(np.float32)


def write_units(units: Units, tags: tuple[str, ...], folder: Path, name: str) -> None:
    """Write what is known of units as tables.

    Args:
        units: the units.
        tags: names, in order.
        folder: where to.
        name: ending of the files, units-NAME.csv and tags-NAME.csv.
    """
    lines = [
        [unit, *[f"{value:.6g}" for value in units.acoustics[unit]], f"{units.activation[unit]:.6g}"]
        for unit in units.by_centroid.tolist()
    ]
    _write(folder / f"units-{name}.csv", ["unit", *ACOUSTICS, "mean_activation"], lines)
    of_tags = [
        [
            tag, rank, unit, f"{units.differences[number, unit]:.6g}", f"{units.errors[number, unit]:.6g}",
            *[f"{value:.6g}" for value in units.acoustics[unit]],
        ]
        for number, tag in enumerate(tags)
        for rank, unit in enumerate(units.top(number).tolist(), 1)
    ]  # fmt: skip
    _write(folder / f"tags-{name}.csv", ["tag", "rank", "unit", "difference", "standard_error", *ACOUSTICS], of_tags)


# -- inside ------------------------------------------------------------------------------------------------------------


def _harmonicity(profile: NDArray[np.float64]) -> float:
    off = profile - profile.mean()
    likeness = np.correlate(off, off, mode="full")[len(off) - 1 :]
    if likeness[0] <= TINY:
        return 0.0
    falls = np.flatnonzero(likeness < 0)
    first = max(LEAST_LAG, int(falls[0]) if len(falls) else len(off))
    behind = likeness[first : len(off) // 2] / likeness[0]
    return float(np.clip(behind.max(), 0.0, 1.0)) if len(behind) else 0.0


def _write(path: Path, columns: list[str], lines: list[list[object]]) -> None:
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *lines])
