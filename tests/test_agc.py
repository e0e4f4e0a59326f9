"""Automatic gain control: the same numbers as written out frame by frame, and level regions whatever the loudness."""

from __future__ import annotations

import dataclasses
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._agc import band_layout, decaying_peak, mean_rise, spread_matrix
from taggram.errors import AudioError, ConfigError
from taggram.frontends import AGCMelConfig, create_frontend, mel_filterbank, onset_curve
from taggram.models.bag_of_features import AGC_MEL as AGC

MEL = AGC.mel
TINY = AGCMelConfig(mel=dataclasses.replace(MEL, n_fft=16, hop_length=8, n_mels=4))


def noise(n_samples: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, samples) of noise that grows from faint to loud."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, n_samples, generator=generator, dtype=dtype) * torch.linspace(0.01, 1, n_samples)


def white_noise() -> Tensor:
    """(1, samples) of noise of one level, 2 s."""
    return torch.randn(1, 44_100, generator=torch.Generator().manual_seed(0))


def peaks_one_by_one(levels: Tensor, decay: float) -> Tensor:
    """The recursion as it is defined."""
    peaks = [levels[:, 0]]
    for level in levels[:, 1:].unbind(1):
        peaks.append(torch.maximum(decay * peaks[-1], level))
    return torch.stack(peaks, 1)


def wide_bands(n_bands: int, widening: float) -> NDArray[np.float64]:
    """(bands, bins): triangles between equally spaced mels, widened about their peaks, of area 1 if they were not."""
    edges = librosa.mel_to_hz(np.linspace(0, librosa.hz_to_mel(11_025), n_bands + 2))
    bins = np.arange(513) * 22_050 / 1024
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - (peak - widening * (peak - low))) / (widening * (peak - low))
    falling = ((peak + widening * (high - peak)) - bins) / (widening * (high - peak))
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)


def controlled(waveform: Tensor) -> NDArray[np.float64]:
    """(bins, frames) under gain control, step by step as the source has it."""
    spectrum = np.abs(
        librosa.stft(
            waveform[0].double().numpy(), n_fft=1024, hop_length=512, window=np.hanning(1024), pad_mode="constant"
        )
    )
    spectrum = spectrum + 1e-4 * spectrum.max()
    bands = wide_bands(10, 2.0)
    levels = torch.from_numpy((bands @ spectrum).T[None])
    peaks = peaks_one_by_one(levels, np.exp(-1 / (22_050 / 512 * 0.5)))[0].numpy().T
    level = (bands / bands.sum(0)).T @ peaks
    return spectrum / (level + 0.01)


def test_mel_under_gain_control_is_that_of_the_source() -> None:
    waveform = noise(60_000)
    wanted = np.log10(1 + 10 * wide_bands(128, 1.0) @ controlled(waveform))
    np.testing.assert_allclose(create_frontend(AGC)(waveform)[0, 0].numpy(), wanted, rtol=0, atol=1e-5)


def test_onset_curve_is_that_of_the_source() -> None:
    waveform = noise(60_000)
    log_mel = np.log10(1 + 100 * wide_bands(40, 1.0) @ controlled(waveform))
    wanted = np.maximum(0, np.diff(log_mel, axis=1, prepend=log_mel[:, :1])).mean(0)
    np.testing.assert_allclose(onset_curve(waveform, create_frontend(AGC))[0].numpy(), wanted, rtol=0, atol=1e-5)


def test_decay_of_the_source() -> None:
    assert create_frontend(AGC).decay == pytest.approx(0.95462, abs=5e-6)


@pytest.mark.parametrize(
    ("f_scale", "n_bands", "widening"), [(2.0, 10, 2.0), (1.0, 20, 2.0), (0.5, 40, 2.0), (4.0, 10, 4.0), (1.5, 13, 2.0)]
)
def test_layout_of_the_wide_bands(f_scale: float, n_bands: int, widening: float) -> None:
    assert band_layout(f_scale) == (n_bands, widening)


def test_wide_bands_are_those_of_the_source() -> None:
    wide = dataclasses.replace(MEL, n_mels=10)
    np.testing.assert_allclose(mel_filterbank(wide, 2.0).T, wide_bands(10, 2.0), rtol=0, atol=1e-8)


@pytest.mark.parametrize("f_scale", [0.04, 0.5, 1.0, 2.0, 8.0])
def test_every_bin_lies_in_a_wide_band(f_scale: float) -> None:
    frontend = create_frontend(dataclasses.replace(AGC, f_scale=f_scale))
    assert (frontend.get_buffer("bands").sum(1) > 0).all()


def test_level_of_a_bin_is_a_mean_of_the_bands_over_it() -> None:
    spread = spread_matrix(torch.rand(7, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(torch.full((2, 3), 0.7) @ spread, torch.full((2, 7), 0.7))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95462, 1.0])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 64, 1000])
def test_peaks_are_those_of_the_recursion(n_frames: int, decay: float) -> None:
    levels = torch.randn(2, n_frames, 3, generator=torch.Generator().manual_seed(0)).exp()
    torch.testing.assert_close(decaying_peak(levels, decay), peaks_one_by_one(levels, decay), rtol=1e-5, atol=0)


def test_peak_decays_to_nothing() -> None:
    levels = torch.zeros(1, 20_000, 1)
    levels[0, 0] = 1.0
    assert decaying_peak(levels, 0.95462)[0, -1] == 0


def test_constant_level_comes_out_constant() -> None:
    inside = AGCMelConfig(mel=dataclasses.replace(MEL, centred=False))  # all frames are alike, the first one too
    hop_of_sine = (torch.arange(512) * (2 * torch.pi * 20 / 512)).sin()
    frames = create_frontend(inside)(hop_of_sine.repeat(60)[None])[0, 0]
    assert frames.max() > 0.5
    torch.testing.assert_close(frames, frames[:, :1].expand(-1, 59), rtol=0, atol=1e-5)


def test_loud_sound_comes_out_the_same_however_loud() -> None:
    frontend, waveform = create_frontend(AGC), white_noise()
    torch.testing.assert_close(frontend(10 * waveform), frontend(100 * waveform), rtol=0, atol=0.005)


def test_faint_part_comes_out_nearly_as_high_as_a_loud_one() -> None:
    waveform = 10 * white_noise()
    waveform[:, :22_050] *= 0.1
    frames = create_frontend(AGC)(waveform)[0, 0]
    assert frames[:, 10:30].mean() > 0.95 * frames[:, 55:75].mean()


@pytest.mark.parametrize("floor", [0.0, 1e-4])
def test_silent_clip_is_silent(floor: float) -> None:
    frames = create_frontend(dataclasses.replace(AGC, floor=floor))(torch.zeros(1, 20_000))
    torch.testing.assert_close(frames, torch.zeros(1, 1, 128, 40))


def test_gradient_of_a_silent_clip_is_finite() -> None:
    waveform = torch.zeros(1, 5000, requires_grad=True)
    create_frontend(AGC)(waveform).sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


def test_silent_start_is_finite() -> None:
    waveform = torch.cat([torch.zeros(1, 20_000), noise(20_000)], 1)
    assert create_frontend(dataclasses.replace(AGC, floor=0.0))(waveform).isfinite().all()


def test_gradient_is_the_slope() -> None:
    waveform = noise(60, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(create_frontend(TINY), (waveform,))


def test_decibels_have_their_floor_behind_the_gain_control() -> None:
    mel = dataclasses.replace(MEL, compression="db", gain=None, eps=1e-10, top_db=10.0)
    frames = create_frontend(AGCMelConfig(mel=mel))(noise(30_000))
    assert frames.max() - frames.min() == pytest.approx(10.0, abs=1e-4)


def test_onset_curve_has_a_value_a_frame() -> None:
    frontend = create_frontend(AGC)
    assert onset_curve(noise(30_000).expand(3, -1), frontend).shape == (3, frontend.n_frames_in(30_000))


def test_onset_curve_peaks_at_a_beginning() -> None:
    waveform = 0.001 * noise(60_000)
    waveform[:, 30_000:] += 0.1 * torch.randn(30_000, generator=torch.Generator().manual_seed(1))
    assert onset_curve(waveform, create_frontend(AGC)).argmax() in (58, 59)  # sample 30,000 is frame 58.6


def test_first_frame_and_a_fall_are_no_onset() -> None:
    mel = torch.tensor([[[5.0, 5.0], [1.0, 0.5], [1.0, 0.5]]])
    assert torch.equal(mean_rise(mel), torch.zeros(1, 3))


def test_rise_is_the_mean_over_the_bands() -> None:
    mel = torch.tensor([[[0.0, 0.0], [0.99, 0.0]]])  # log10(1 + 99) is 2
    torch.testing.assert_close(mean_rise(mel), torch.tensor([[0.0, 1.0]]))


def test_onset_curve_of_a_wrong_waveform_is_refused() -> None:
    with pytest.raises(AudioError, match=r"\(batch, samples\)"):
        onset_curve(torch.zeros(1000), create_frontend(AGC))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mel", 3),
        ("floor", -1e-4),
        ("floor", "1e-4"),
        ("t_scale_s", 0.0),
        ("t_scale_s", float("inf")),
        ("f_scale", 0.0),
        ("f_scale", 0.03),
        ("eps", 0.0),
        ("eps", True),
    ],
)
def test_value_that_makes_no_sense_is_refused_and_shown(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is .*{value}.*; wanted "):
        dataclasses.replace(AGC, **{name: value})
