"""The front-ends that were Essentia's: their frames are those of the algorithm as Essentia describes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _networks import noise

from taggram.frontends import create_frontend
from taggram.models._essentia_mel import BALLROOM_MEL, JINGJU_MEL

FRONTENDS = {"ballroom": create_frontend(BALLROOM_MEL), "jingju": create_frontend(JINGJU_MEL)}

each_frontend = pytest.mark.parametrize("frontend", FRONTENDS.values(), ids=FRONTENDS)


def mel_power(samples, number, window, n_fft, hop_length, n_mels, fmax_hz):
    """One frame of mel power."""
    n_before = (len(window) + 1) // 2  # so that the first frame is centred on sample 0
    padded = np.concatenate([np.zeros(n_before), samples, np.zeros(n_fft)])
    frame = padded[hop_length * number :][: len(window)]
    power = np.abs(np.fft.rfft(frame * window * 2 / window.sum(), n=n_fft)) ** 2
    mel_of_bins = 1127 * np.log1p(np.fft.rfftfreq(n_fft, 1 / 44_100) / 700)
    width = 1127 * np.log1p(fmax_hz / 700) / (n_mels + 1)  # in mel; the centres stand as far apart
    triangles = np.maximum(0, 1 - np.abs(mel_of_bins[:, None] - width * np.arange(1, n_mels + 1)) / width)
    return power @ (triangles / triangles.sum(0))


@pytest.mark.parametrize("number", [0, 3, 7])
def test_frame_for_ballroom(number):
    turn = 2 * np.pi * np.arange(2048) / 2047
    window = 0.44959 - 0.49364 * np.cos(turn) + 0.05677 * np.cos(2 * turn)
    samples = 0.1 * noise(8 * 1024 - 1)
    frames = FRONTENDS["ballroom"](samples[None])[0, 0]
    wanted = np.log10(1 + 10_000 * mel_power(samples.double().numpy(), number, window, 2048, 1024, 40, 22_050))
    np.testing.assert_allclose(frames[:, number], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1, 10, 20])
def test_frame_for_jingju(number):
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1103) / 1102)
    samples = 0.1 * noise(21 * 441 - 1)
    frames = FRONTENDS["jingju"](samples[None])[0, 0]
    wanted = np.log(1 + 100_000 * mel_power(samples.double().numpy(), number, window, 2206, 441, 80, 11_000))
    np.testing.assert_allclose(frames[:, number], wanted, rtol=0, atol=1e-4)


def test_window_and_bins_for_jingju():
    frontend = FRONTENDS["jingju"]
    assert (len(frontend.window), frontend.filters.shape) == (1103, (1104, 80))


@pytest.mark.parametrize(("name", "n_samples", "n_frames"), [("ballroom", 30 * 44_100, 1292), ("jingju", 44_099, 100)])
def test_number_of_frames(name, n_samples, n_frames):
    assert FRONTENDS[name].n_frames_in(n_samples) == n_frames


@each_frontend
def test_louder_sound_is_nowhere_lower(frontend):
    samples = 0.1 * noise(1, 44_100)
    assert (frontend(2 * samples) > frontend(samples)).all()


@each_frontend
def test_silence_is_0(frontend):
    assert not frontend(torch.zeros(1, 44_100)).any()
