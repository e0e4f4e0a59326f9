"""The MFCC baseline: the 120 numbers of a clip are those of librosa and numpy."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from taggram.errors import AudioError
from taggram.models._mfcc_statistics import mfcc_statistics


def sine(n_samples):
    angle = 2 * torch.pi * 1000 / 12_000 * torch.arange(n_samples, dtype=torch.float64)
    return angle.sin().float()[None]


def noise(n_samples, n_clips=1):
    return 0.1 * torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(0))


def by_librosa(waveform):
    mfcc = librosa.feature.mfcc(y=waveform.numpy(), sr=12_000, n_mfcc=20, pad_mode="reflect")
    tracks = (mfcc, np.diff(mfcc), np.diff(mfcc, n=2))
    return np.concatenate([part for track in tracks for part in (track.mean(1), track.std(1))])


@pytest.mark.parametrize(
    ("first", "wanted"),
    [(0, [-381.97, 22.53, -27.30, -37.04, -5.56]), (20, [88.05, 24.75, 9.26])],
    ids=["means", "deviations"],
)
def test_reference_values_of_a_sine(first, wanted):
    found = mfcc_statistics(sine(24_000))[0, first : first + len(wanted)]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=0.01)


@pytest.mark.parametrize("n_samples", [2048, 12_345, 48_000])
def test_same_numbers_as_librosa(n_samples):
    waveform = noise(n_samples)
    np.testing.assert_allclose(mfcc_statistics(waveform)[0], by_librosa(waveform[0]), rtol=1e-3, atol=1e-3)


def test_batch_gives_what_its_clips_give():
    waveform = noise(6000, n_clips=3)
    alone = torch.cat([mfcc_statistics(clip[None]) for clip in waveform])
    torch.testing.assert_close(mfcc_statistics(waveform), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 700, 2047])
def test_short_clip_is_repeated_up_to_one_window(n_samples):
    waveform = noise(n_samples)
    repeated = waveform.repeat(1, 2048)[:, :2048]
    assert torch.equal(mfcc_statistics(waveform), mfcc_statistics(repeated))


def test_silence_gives_finite_numbers():
    assert mfcc_statistics(torch.zeros(2, 12_000)).isfinite().all()


def test_type_of_the_waveform_is_kept():
    assert mfcc_statistics(noise(3000).double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(3000,), (1, 1, 3000)])
def test_waveform_of_another_shape_is_refused(shape):
    with pytest.raises(AudioError, match="batch, samples"):
        mfcc_statistics(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 0), (0, 3000), (0, 100)])
def test_empty_waveform_is_refused(shape):
    with pytest.raises(AudioError, match="empty"):
        mfcc_statistics(torch.zeros(shape))
