"""A front-end as matrix products alone, for runtimes that know no Fourier transform.

The transform of a frame is its product with cosines and sines. Their tables are not kept whole: a turn of the circle
is, from which the tables are looked up, so a graph that holds a front-end stays small.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from taggram.frontends import MFCC, AGCMel, Frontend, LogMel


class MatrixFrontend(nn.Module):
    """The frames of a front-end, made without a Fourier transform and without a look at the length of the sound.

    Args:
        frontend: whose frames are made, with its settings as they are now.
        n_frames: as many frames are made of any sound that has them; None is all that there are.
    """

    def __init__(self, frontend: Frontend, n_frames: int | None = None) -> None:
        super().__init__()
        self.frontend = frontend
        self.cosines: Tensor
        self.sines: Tensor
        framing = frontend._framing
        self._n_padded = None if n_frames is None else (n_frames - 1) * framing.hop + framing.length
        self._mel = _mel_of(frontend)
        if self._mel is not None:
            n_fft = self._mel.config.n_fft
            turn = torch.arange(n_fft, dtype=torch.float64) * (2 * math.pi / n_fft)
            dtype = torch.float64 if self._mel.is_precise else torch.float32
            self.register_buffer("cosines", turn.cos().to(dtype), persistent=False)
            self.register_buffer("sines", turn.sin().to(dtype), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Turn sounds into frames, as the front-end does.

        Args:
            waveform: (batch, samples), mono, -1 to 1, float32, at the front-end's rate; long enough for the frames.

        Returns:
            (batch, 1, mels, frames), or (batch, 1, samples) for the raw waveform.
        """
        frontend, framing = self.frontend, self.frontend._framing
        # Samples that would begin a frame and not fill it are left out by the framing.
        padded = framing.pad(frontend.rounded(waveform), framing.before, framing.after_max)
        if self._n_padded is not None:
            padded = padded.narrow(1, 0, self._n_padded)
        if self._mel is None:
            return padded.unsqueeze(1)
        spectrum = self._spectrum(padded.unfold(-1, framing.length, framing.hop), self._mel)
        values = spectrum if isinstance(frontend, AGCMel) else self._mel._mel_of(spectrum)
        return frontend._shaped(frontend._clip(values))

    def _spectrum(self, frames: Tensor, mel: LogMel) -> Tensor:
        """(batch, frames, length) to (batch, frames, bins), as `LogMel` computes them by FFT."""
        n_fft, window = mel.config.n_fft, mel.window.to(self.cosines.dtype)[:, None]
        places = torch.arange(len(window))[:, None] * torch.arange(n_fft // 2 + 1) % n_fft  # on the circle
        frames = frames.to(window.dtype)
        real, imaginary = (frames @ (_look_up(turn, places) * window) for turn in (self.cosines, self.sines))
        power = (real * real + imaginary * imaginary).to(torch.float32)
        return power.clamp_min(torch.finfo(power.dtype).tiny).sqrt() if mel.config.power == 1 else power


def _mel_of(frontend: Frontend) -> LogMel | None:
    """Give the mel spectrogram that a front-end is made of, if it is."""
    if isinstance(frontend, MFCC | AGCMel):
        return frontend.mel
    return frontend if isinstance(frontend, LogMel) else None


def _look_up(turn: Tensor, places: Tensor) -> Tensor:
    """Give the value at each place, as an operation that all runtimes have."""
    return turn.index_select(0, places.flatten()).view(places.shape)
