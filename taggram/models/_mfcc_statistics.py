"""Means and deviations of MFCCs over a clip: the features that untrained networks are compared with.

Source: Pons and Serra, "Randomly weighted CNNs for (music) audio classification", ICASSP 2019, arXiv 1805.00237; the
    released code.
Differs: clips are taken whole; with one option of the code, no more than 2048 samples would be left of any, and the
    charts do not say which they stand on. Shorter clips are repeated up to there, as in the code for UrbanSound8K.
"""

from __future__ import annotations

import torch
from torch import Tensor

from taggram.errors import AudioError
from taggram.frontends import LogMelConfig, MFCCConfig, create_frontend

LEAST_SAMPLES = 2048  # one window; it has 5 frames, and a second difference needs 3
MFCC = MFCCConfig(
    n_mfcc=20,
    mel=LogMelConfig(
        sample_rate=12_000,
        n_fft=2048,
        hop_length=512,
        n_mels=128,
        n_frames=5,  # of the shortest clip; longer ones come as they are
        compression="db",
        eps=1e-10,
        top_db=80,
    ),
)
N_STATISTICS = 6 * MFCC.n_mfcc  # 120


def mfcc_statistics(waveform: Tensor) -> Tensor:
    """Sum a clip up by the MFCCs of its frames and their plain first and second differences in time.

    Args:
        waveform: (batch, samples), mono, -1 to 1, float32 or float64, at 12 kHz. Clips of other lengths come in other
            calls. What is shorter than 2048 samples is repeated up to there.

    Returns:
        (batch, 120): mean and deviation of the 20 coefficients, then of their first differences, then of the second
        ones. The deviations divide by the number of frames.

    Raises:
        AudioError: the waveform is empty, or has the wrong shape or type.
    """
    if waveform.ndim == 2 and waveform.shape[1] < LEAST_SAMPLES:
        waveform = _repeated(waveform)
    coefficients = create_frontend(MFCC).to(waveform.device)(waveform).squeeze(1)  # (batch, 20, frames)
    tracks = [coefficients, coefficients.diff(n=1, dim=2), coefficients.diff(n=2, dim=2)]
    return torch.cat([part for track in tracks for part in (track.mean(2), track.std(2, correction=0))], 1)


def _repeated(waveform: Tensor) -> Tensor:
    n_samples = waveform.shape[1]
    if n_samples == 0:
        raise AudioError("an empty waveform came; at least 1 sample is wanted.")
    return waveform.repeat(1, -(-LEAST_SAMPLES // n_samples))[:, :LEAST_SAMPLES]
