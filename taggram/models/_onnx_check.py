"""Whether a graph gives what torch gives, on sound that is much like music."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from taggram.errors import ExportError

# Of a score; of other outputs, as a share of 1 + the largest magnitude for that sound. Sums round by the size of what
# is summed up: torch's own float32 is off float64 by more than 1e-4 of 1 + |x| in small values beside large ones.
TOLERANCE = 1e-4
NOTE_S = 0.25
LOWEST_HZ = 110.0
SEMITONES = (0, 3, 5, 7, 10, 12, 15, 17, 19, 22)  # above it
N_HARMONICS = 6
NOISE = 1e-3  # below the notes
LEVELS = (0.5, 0.02)  # of one sound and the next
SILENT_SHARE = 0.1  # of every sound, at its end


def made_sound(sample_rate: int, n_samples: int, n_sounds: int) -> Tensor:
    """Make up sounds that are much like music: notes that fade, over some noise, then silence; loud and soft ones.

    Args:
        sample_rate: in Hz.
        n_samples: of each sound.
        n_sounds: how many.

    Returns:
        (n_sounds, n_samples) float32, the same each time.
    """
    random = torch.Generator().manual_seed(0)
    times_s = torch.arange(n_samples, dtype=torch.float64) / sample_rate
    note = (times_s / NOTE_S).long()
    sounds = []
    for index in range(n_sounds):
        pitches = torch.randint(len(SEMITONES), (int(note[-1]) + 1,), generator=random)
        notes_hz = LOWEST_HZ * 2 ** (torch.tensor(SEMITONES, dtype=torch.float64)[pitches] / 12)
        turn = (notes_hz[note] / sample_rate).cumsum(0) * (2 * math.pi)
        tone = sum((turn * harmonic).sin() / harmonic for harmonic in range(1, N_HARMONICS + 1))
        fading = torch.exp(-4 * (times_s / NOTE_S - note))
        noise = NOISE * torch.randn(n_samples, generator=random, dtype=torch.float64)
        sounds.append(LEVELS[index % len(LEVELS)] * (tone * fading / 2 + noise))
    made = torch.stack(sounds)
    made[:, n_samples - int(SILENT_SHARE * n_samples) :] = 0
    return made.float()


def difference(got: Tensor, wanted: Tensor, are_scores: bool) -> float:
    """Measure how much an output differs from torch's at most.

    Args:
        got: (sounds, ...).
        wanted: the same shape.
        are_scores: whether they lie between 0 and 1; of others the share of 1 + the largest counts.

    Returns:
        The largest difference; infinite where shapes differ or some value is not finite.
    """
    if got.shape != wanted.shape:
        return math.inf
    off = (got - wanted).abs()
    scale = 1 if are_scores else 1 + wanted.abs().flatten(1).amax(1)
    largest = float((off.flatten(1).amax(1) / scale).max())
    return largest if math.isfinite(largest) else math.inf


def check_difference(largest: float, where: str) -> None:
    """Refuse a graph that differs from torch.

    Args:
        largest: as `difference` gives it.
        where: what was compared, in words.

    Raises:
        ExportError: it differs by more than `TOLERANCE`.
    """
    if not largest <= TOLERANCE:
        raise ExportError(
            f"onnxruntime differs from torch by {largest:.1e} on {where}, where {TOLERANCE:.0e} is allowed, so the "
            "graph is not kept. Are the weights finite? torch runs this network as it is."
        )
