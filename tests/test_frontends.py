"""Front-ends: the same numbers as librosa, as the published networks saw, and as the whole when streamed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taggram.errors import AudioError, ConfigError
from taggram.frontends import (
    AGCMelConfig,
    Compression,
    FrontendConfig,
    LogMelConfig,
    MFCCConfig,
    Padding,
    RawConfig,
    config_from_dict,
    config_to_dict,
    create_frontend,
    mel_filterbank,
)

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "musicnn" / "vibeace_30s.npz"

SMALL = LogMelConfig(sample_rate=8000, n_fft=256, hop_length=100, n_mels=20, n_frames=10)
MUSICNN = LogMelConfig(
    sample_rate=16_000,
    n_fft=512,
    hop_length=256,
    n_mels=96,
    n_frames=187,
    float16=True,
    compression="log10_1p",
    gain=10_000.0,
)
ELMARC = LogMelConfig(
    sample_rate=12_000,
    n_fft=512,
    hop_length=256,
    n_mels=96,
    n_frames=1404,
    compression="db",
    eps=1e-10,
    top_db=80.0,
)
ELMARC_MFCC = MFCCConfig(
    n_mfcc=20, mel=dataclasses.replace(ELMARC, n_fft=2048, hop_length=512, n_mels=128, n_frames=128)
)
FEW_DATA = LogMelConfig(
    sample_rate=44_100,
    n_fft=1024,
    hop_length=1024,
    n_mels=128,
    n_frames=128,
    compression="log10_eps",
    eps=2.220446e-16,
)
VGGISH = LogMelConfig(
    sample_rate=16_000,
    n_fft=512,
    win_length=400,
    hop_length=160,
    centred=False,
    n_mels=64,
    n_frames=96,
    fmin_hz=125.0,
    fmax_hz=7500.0,
    power=1.0,
    mel_scale="htk",
    mel_norm=None,
    mel_triangles="mel",
    compression="ln_eps",
    eps=0.01,
)
CBMI2016 = LogMelConfig(
    sample_rate=44_100,
    n_fft=2048,
    hop_length=1024,
    n_mels=40,
    n_frames=80,
    window="blackmanharris62",
    window_sum=2.0,
    padding="zeros",
    mel_scale="htk",
    mel_norm="sum",
    mel_triangles="mel",
    compression="log10_1p",
    gain=10_000.0,
)
JINGJU = LogMelConfig(
    sample_rate=44_100,
    n_fft=2206,
    win_length=1103,
    hop_length=441,
    n_mels=80,
    n_frames=21,
    fmax_hz=11_000.0,
    window_sum=2.0,
    padding="zeros",
    mel_scale="htk",
    mel_norm="sum",
    mel_triangles="mel",
    compression="ln_1p",
    gain=100_000.0,
)
SAMPLE_LEVEL = LogMelConfig(
    sample_rate=22_050,
    n_fft=729,
    hop_length=243,
    pad_length=243,
    n_mels=128,
    n_frames=243,
    power=1.0,
    compression="log10_1p",
    gain=10.0,
)
AGC = AGCMelConfig(
    mel=dataclasses.replace(
        SMALL, window="hann_symmetric", padding="zeros", power=1.0, compression="log10_1p", gain=10.0
    )
)
COMPRESSIONS: dict[Compression, dict[str, Any]] = {
    "none": {},
    "log10_1p": {"gain": 10_000.0},
    "ln_1p": {"gain": 100_000.0},
    "log10_eps": {"eps": 2.220446e-16},
    "ln_eps": {"eps": 0.01},
    "ln_floor": {"eps": 1e-20},
    "db": {"eps": 1e-10, "top_db": 80.0},
    "db_squared": {"eps": 1e-10, "top_db": 80.0},
}
STREAMED = {
    "musicnn": MUSICNN,
    "elmarc, top_db": ELMARC,
    "mfcc": dataclasses.replace(ELMARC_MFCC, mel=dataclasses.replace(ELMARC_MFCC.mel, top_db=None)),
    "gain control": AGC,
    "vggish, not centred": VGGISH,
    "jingju, short window, zeros": JINGJU,
    "odd window, own padding": SAMPLE_LEVEL,
    "hop beyond the window": dataclasses.replace(SMALL, n_fft=128, hop_length=300),
    "raw": RawConfig(sample_rate=16_000, n_samples=59_049),
}


def noise(n_samples: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(samples,) of noise, with a loud tone in it."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n_samples, generator=generator, dtype=dtype) + 0.5 * sine(0.05, n_samples, 1, dtype)


def sine(frequency_hz: float, n_samples: int, sample_rate: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(samples,) of a sine of amplitude 1, rounded from float64."""
    return (torch.arange(n_samples, dtype=torch.float64) * (2 * torch.pi * frequency_hz / sample_rate)).sin().to(dtype)


def frames_of(config: FrontendConfig, samples: Tensor) -> Tensor:
    """(mels, frames) of one sound."""
    frontend = create_frontend(config)
    frames: Tensor = frontend(samples[None])
    return frames.view(frontend.n_bands, -1)


def librosa_power(config: LogMelConfig, samples: Tensor) -> np.ndarray:
    return librosa.feature.melspectrogram(
        y=samples.numpy(),
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length,
        window="boxcar" if config.window == "rectangular" else "hann",
        center=config.centred,
        pad_mode="reflect" if config.padding == "reflect" else "constant",
        power=config.power,
        n_mels=config.n_mels,
        fmin=config.fmin_hz,
        fmax=config.fmax_hz,
        htk=config.mel_scale == "htk",
        norm=config.mel_norm,
    )


def assert_near(came: Tensor, wanted: np.ndarray) -> None:
    """Within 1e-4 of the largest value."""
    assert came.shape == wanted.shape
    np.testing.assert_allclose(came.numpy(), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"padding": "zeros"},
        {"centred": False},
        {"mel_scale": "htk"},
        {"mel_norm": None},
        {"mel_scale": "htk", "mel_norm": None, "fmin_hz": 125.0, "fmax_hz": 3000.0},
        {"power": 1.0},
        {"win_length": 200},
        {"win_length": 151, "padding": "zeros"},
        {"n_fft": 243, "hop_length": 81},
        {"n_fft": 243, "win_length": 100, "padding": "zeros"},
        {"window": "rectangular"},
        {"hop_length": 400},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_samples", [4000, 4099])
def test_mel_spectrogram_is_that_of_librosa(changes: dict[str, Any], n_samples: int) -> None:
    config = dataclasses.replace(SMALL, **changes)
    samples = noise(n_samples)
    assert_near(frames_of(config, samples), librosa_power(config, samples))


@pytest.mark.parametrize("top_db", [None, 30.0])
def test_decibels_are_those_of_librosa(top_db: float | None) -> None:
    config = dataclasses.replace(SMALL, compression="db", eps=1e-10, top_db=top_db)
    samples = noise(4000)
    wanted = librosa.power_to_db(librosa_power(config, samples), ref=1.0, amin=1e-10, top_db=top_db)
    assert_near(frames_of(config, samples), wanted)


def test_squared_decibels_are_those_of_the_squared_mel_power() -> None:
    config = dataclasses.replace(SMALL, compression="db_squared", eps=1e-10, top_db=80.0)
    samples = sine(440.0, 4000, 8000)
    wanted = librosa.power_to_db(librosa_power(config, samples) ** 2, ref=1.0, amin=1e-10, top_db=80.0)
    assert_near(frames_of(config, samples), wanted)


def test_mfcc_are_those_of_librosa() -> None:
    config = dataclasses.replace(SMALL, compression="db", eps=1e-10, top_db=80.0)
    samples = noise(4000)
    decibels = librosa.power_to_db(librosa_power(config, samples), ref=1.0, amin=1e-10, top_db=80.0)
    assert_near(frames_of(MFCCConfig(n_mfcc=13, mel=config), samples), librosa.feature.mfcc(S=decibels, n_mfcc=13))


@pytest.mark.parametrize("name", ["log10_1p", "ln_1p", "log10_eps", "ln_eps", "ln_floor"])
def test_compression_is_its_formula(name: Compression) -> None:
    options = COMPRESSIONS[name]
    x = frames_of(SMALL, noise(1000)).double()
    wanted = {
        "log10_1p": lambda: torch.log10(1 + options["gain"] * x),
        "ln_1p": lambda: torch.log(1 + options["gain"] * x),
        "log10_eps": lambda: torch.log10(x + options["eps"]),
        "ln_eps": lambda: torch.log(x + options["eps"]),
        "ln_floor": lambda: torch.log(x.clamp_min(options["eps"])),
    }[name]()
    came = frames_of(dataclasses.replace(SMALL, compression=name, **options), noise(1000))
    torch.testing.assert_close(came.double(), wanted, rtol=1e-5, atol=1e-5)


def test_musicnn_rows_are_the_golden_ones() -> None:
    # musicnn-weights/golden.json, inputs.audio: made by the original's graph; tolerances of musicnn.md section 5.
    n = np.arange(112_000)
    s = n / 16_000
    wave = 0.5 * np.sin(2 * np.pi * 110 * s) + 0.25 * np.sin(2 * np.pi * 440 * s)
    wave += 0.125 * np.sin(2 * np.pi * 1760 * s) * (n // 4000 % 2 == 0)
    log_mel = frames_of(MUSICNN, torch.from_numpy(wave.astype(np.float32))).T
    wanted = torch.tensor(
        [
            [5.461228, 5.004393, 4.576074, 3.965868, 5.083686, 1.449643, 1.915957, 0.4670441],
            [2.985785, 5.986773, 3.259452, 5.488729, 5.072633, 0.0002587826, 0.0, 0.0],
            [2.717617, 5.985371, 3.274925, 5.488288, 5.073207, 0.000517411, 0.0, 0.0],
            [4.833064, 5.824859, 4.113585, 5.324799, 5.107638, 1.339398, 0.432883, 0.03552365],
        ]
    )
    rows = log_mel[[0, 1, 100, 437]][:, [0, 3, 5, 13, 14, 40, 60, 95]]
    torch.testing.assert_close(rows, wanted, rtol=0, atol=5e-4)
    assert log_mel.shape == (438, 96)
    assert log_mel.double().sum().item() == pytest.approx(30027.9318, abs=0.1)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the stored outputs of musicnn are not there")
def test_mel_power_is_that_of_musicnn_for_real_music() -> None:
    with np.load(REFERENCE) as stored:
        config = dataclasses.replace(MUSICNN, padding="zeros", float16=False, compression="none", gain=None)
        samples = torch.from_numpy(stored["wave16k"])
        assert_near(frames_of(config, samples)[:, :374].T, stored["mel_power"])


@pytest.mark.skipif(not REFERENCE.exists(), reason="the stored outputs of musicnn are not there")
@pytest.mark.parametrize(("float16", "tolerance", "most_off"), [(False, 2.5e-4, 1.0), (True, 5e-4, 1e-3)])
def test_log_mel_is_that_of_musicnn_for_real_music(float16: bool, tolerance: float, most_off: float) -> None:
    # Unrounded, a value is off by up to half a float16 step; rounded, by none or, where the FFT tips it over, by one.
    with np.load(REFERENCE) as stored:
        config = dataclasses.replace(MUSICNN, padding="zeros", float16=float16)
        log_mel = frames_of(config, torch.from_numpy(stored["wave16k"])).T
        assert len(log_mel) == stored["n_frames"]
        difference = np.abs(log_mel[:1870].reshape(10, 187, 96).numpy() - stored["logmel_batch"])
    assert difference.max() <= tolerance
    assert (difference > 1e-5).mean() <= most_off


def test_elmarc_reference_values() -> None:
    # elmarc.md 2.2
    decibels = frames_of(ELMARC, sine(1000.0, 350_000, 12_000))
    assert decibels.shape == (96, 1368)
    torch.testing.assert_close(decibels[33:36, 100], torch.tensor([16.3372, 26.3504, 25.5074]), rtol=0, atol=1e-3)
    assert decibels[:, 100].argmax() == 34
    assert decibels.min().item() == pytest.approx(-53.6496, abs=1e-3)
    assert decibels.mean().item() == pytest.approx(-46.911, abs=1e-2)


def test_elmarc_mfcc_reference_values() -> None:
    # elmarc.md 7
    mfcc = frames_of(ELMARC_MFCC, sine(1000.0, 24_000, 12_000))
    assert mfcc.shape == (20, 47)
    wanted = torch.tensor([-381.97, 22.53, -27.30, -37.04, -5.56])
    torch.testing.assert_close(mfcc.mean(dim=1)[:5], wanted, rtol=0, atol=0.02)
    torch.testing.assert_close(mfcc.std(dim=1, correction=0)[:3], torch.tensor([88.05, 24.75, 9.26]), rtol=0, atol=0.02)


def test_few_data_reference_values() -> None:
    # few-data.md 2
    log_power = frames_of(FEW_DATA, sine(1000.0, 176_400, 44_100))
    assert log_power.shape == (128, 173)
    assert log_power[:, 64].argmax() == 31
    wanted = torch.tensor([2.0342, 2.3791, 3.2679, 2.8021, 2.3898])
    torch.testing.assert_close(log_power[29:34, 64], wanted, rtol=0, atol=1e-3)


def test_vggish_reference_values_of_a_sine() -> None:
    # few-data.md 6.1
    log_mel = frames_of(VGGISH, sine(1000.0, 48_000, 16_000))
    assert log_mel.shape == (64, 298)
    wanted = torch.tensor([2.69300, 4.81112, 4.77504, 2.26222, -0.58961])
    torch.testing.assert_close(log_mel[18:23, 0], wanted, rtol=0, atol=1e-3)
    examples = log_mel[:, :288]
    came = torch.stack((examples.mean(), examples.std(correction=0), examples.min(), examples.max()))
    torch.testing.assert_close(came, torch.tensor([-3.42962, 2.12658, -4.60116, 4.81112]), rtol=0, atol=1e-3)


def test_vggish_reference_values_of_an_impulse() -> None:
    # few-data.md 6.1
    impulse = torch.zeros(16_000)
    impulse[8000] = 1.0
    log_mel = frames_of(VGGISH, impulse)
    assert log_mel.shape == (64, 98)
    assert log_mel.mean().item() == pytest.approx(-4.50089, abs=1e-4)
    assert log_mel.max().item() == pytest.approx(2.09188, abs=1e-4)
    assert log_mel.argmax() == 63 * 98 + 49


def test_vggish_reference_values_of_the_filters() -> None:
    # few-data.md 6.1
    filters = mel_filterbank(VGGISH)
    assert filters.shape == (257, 64)
    assert filters.sum().item() == pytest.approx(230.9136, abs=1e-3)
    assert filters.max().item() == pytest.approx(0.99619, abs=1e-4)
    torch.testing.assert_close(filters[32, 19:21], torch.tensor([0.5363, 0.4637]), rtol=0, atol=1e-4)
    assert (filters.sum(dim=0) > 0).all()
    assert not filters[0].any()


@pytest.mark.parametrize("config", [CBMI2016, JINGJU], ids=["cbmi2016", "jingju"])
def test_filters_of_unit_sum(config: LogMelConfig) -> None:
    torch.testing.assert_close(mel_filterbank(config).sum(dim=0), torch.ones(config.n_mels))


def test_window_that_sums_to_2_shows_a_sine_at_its_amplitude() -> None:
    # cbmi2016.md 2. Bin 64 of 2048, and a filter bank so fine that some band holds this bin alone.
    config = dataclasses.replace(CBMI2016, n_mels=900, mel_norm="sum", compression="none", gain=None, power=1.0)
    peak = frames_of(config, 0.7 * sine(64 / 2048, 8192, 1))[:, 4].max()
    assert peak.item() == pytest.approx(0.7, rel=1e-3)


def test_symmetric_window_ends_as_it_begins() -> None:
    window = create_frontend(dataclasses.replace(SMALL, window="hann_symmetric")).get_buffer("window")
    torch.testing.assert_close(window, torch.hann_window(256, periodic=False))


@pytest.mark.parametrize(
    ("config", "n_samples", "n_frames"),
    [
        (MUSICNN, 47_616, 187),
        (MUSICNN, 47_615, 186),
        (MUSICNN, 256, 0),
        (MUSICNN, 257, 2),
        (VGGISH, 16_000, 98),
        (VGGISH, 399, 0),
        (CBMI2016, 30 * 44_100, 1292),
        (JINGJU, 1, 1),
        (SAMPLE_LEVEL, 59_049, 243),
        (dataclasses.replace(SAMPLE_LEVEL, n_fft=243, hop_length=81, pad_length=81), 59_049, 729),
        (RawConfig(sample_rate=22_050, n_samples=59_049), 59_049, 59_049),
    ],
)
def test_count_of_frames(config: FrontendConfig, n_samples: int, n_frames: int) -> None:
    assert create_frontend(config).n_frames_in(n_samples) == n_frames


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
@pytest.mark.parametrize("n_samples", [2300, 2301, 5000])
def test_forward_gives_as_many_frames_as_it_says(config: FrontendConfig, n_samples: int) -> None:
    frontend = create_frontend(config)
    assert frontend(noise(n_samples)[None]).shape[-1] == frontend.n_frames_in(n_samples)


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
@pytest.mark.parametrize("n_frames", [1, 2, 30])
def test_least_samples_for_some_frames(config: FrontendConfig, n_frames: int) -> None:
    frontend = create_frontend(config)
    n_samples = frontend.n_samples_for(n_frames)
    assert frontend.n_frames_in(n_samples) >= n_frames
    assert frontend.n_frames_in(n_samples - 1) in (0, n_frames - 1)


@pytest.mark.parametrize("config", [MUSICNN, ELMARC_MFCC, AGC, RawConfig(sample_rate=8000, n_samples=100)])
def test_what_a_front_end_tells_is_what_its_config_says(config: FrontendConfig) -> None:
    frontend = create_frontend(config)
    assert (frontend.sample_rate, frontend.hop_length, frontend.n_frames) == (
        config.sample_rate,
        config.hop_length,
        config.n_frames,
    )


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (SMALL, (3, 1, 20, 11)),
        (MFCCConfig(n_mfcc=5, mel=SMALL), (3, 1, 5, 11)),
        (AGC, (3, 1, 20, 11)),
        (RawConfig(sample_rate=8000, n_samples=1000), (3, 1, 1000)),
    ],
)
def test_shape_of_a_batch(config: FrontendConfig, shape: tuple[int, ...]) -> None:
    assert create_frontend(config)(noise(3000).view(3, 1000)).shape == shape


def test_raw_frames_are_the_samples() -> None:
    samples = noise(1000)
    assert torch.equal(frames_of(RawConfig(sample_rate=8000, n_samples=1000), samples), samples[None])


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
def test_batch_gives_what_each_sound_gives_alone(config: FrontendConfig) -> None:
    frontend = create_frontend(config)
    batch = torch.stack((noise(5000, seed=1), 0.01 * noise(5000, seed=2), noise(5000, seed=3)))
    alone = torch.cat([frontend(samples[None]) for samples in batch])
    torch.testing.assert_close(frontend(batch), alone, rtol=0, atol=1e-6 * float(alone.abs().max()))


def test_frames_are_the_same_however_they_are_grouped() -> None:
    frontend = create_frontend(MUSICNN)
    samples = noise(400_000)
    torch.testing.assert_close(
        frontend(samples[None])[..., 900:1000],
        frontend(samples[None, 898 * 256 : 1002 * 256])[..., 2:102],
        rtol=0,
        atol=1e-6,
    )


def stream_of(config: FrontendConfig, samples: Tensor, block_sizes: list[int]) -> Tensor:
    """(mels, frames) of a sound fed in blocks of these sizes, over and over."""
    stream = create_frontend(config).stream()
    parts, start, turn = [], 0, 0
    while start < len(samples):
        size = block_sizes[turn % len(block_sizes)]
        parts.append(stream.feed(samples[start : start + size]))
        start, turn = start + size, turn + 1
    return torch.cat((*parts, stream.finish()), dim=1)


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    n_samples=st.integers(1500, 6000),
    block_sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 100),
)
def test_stream_gives_the_frames_of_the_whole(config: FrontendConfig, n_samples: int, block_sizes: list[int]) -> None:
    samples = noise(n_samples)
    whole = frames_of(config, samples)
    scale = max(1.0, whole.abs().max().item())
    torch.testing.assert_close(stream_of(config, samples, block_sizes), whole, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
def test_stream_of_single_samples_gives_the_frames_of_the_whole(config: FrontendConfig) -> None:
    samples = noise(create_frontend(config).n_samples_for(2))[:2500]
    whole = frames_of(config, samples)
    scale = max(1.0, whole.abs().max().item())
    torch.testing.assert_close(stream_of(config, samples, [1]), whole, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("config", STREAMED.values(), ids=STREAMED)
def test_stream_of_the_shortest_sound(config: FrontendConfig) -> None:
    samples = noise(create_frontend(config).n_samples_for(1))
    torch.testing.assert_close(stream_of(config, samples, [7]), frames_of(config, samples), rtol=1e-6, atol=1e-6)


def test_stream_gives_frames_as_soon_as_they_are_certain() -> None:
    stream = create_frontend(SMALL).stream()
    assert [stream.feed(noise(n)).shape[1] for n in (128, 1, 99, 99, 1, 0)] == [0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("config", "n_bands", "n_frames"), [(ELMARC, 96, 20), (AGC, 20, 51)], ids=["top_db", "gain control"]
)
def test_stream_that_needs_the_whole_sound_gives_all_at_the_end(
    config: FrontendConfig, n_bands: int, n_frames: int
) -> None:
    stream = create_frontend(config).stream()
    assert stream.feed(noise(5000)).shape == (n_bands, 0)
    assert stream.finish().shape == (n_bands, n_frames)


def test_stream_keeps_no_more_samples_as_it_goes_on() -> None:
    stream = create_frontend(MUSICNN).stream()
    kept = []
    for seed in range(10):
        stream.feed(noise(4000, seed))
        assert stream._kept is not None
        kept.append(stream._kept.untyped_storage().nbytes() // 4)
    assert max(kept) <= 512 + 256


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", [SMALL, MFCCConfig(n_mfcc=5, mel=SMALL), AGC, RawConfig(sample_rate=1, n_samples=1)])
def test_type_of_the_waveform_is_kept(config: FrontendConfig, dtype: torch.dtype) -> None:
    assert frames_of(config, noise(1000, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("config", [MUSICNN, AGC], ids=["musicnn", "gain control"])
def test_frames_of_the_half_precision_region_are_float32(config: FrontendConfig) -> None:
    frontend = create_frontend(config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        came = frontend(noise(2000)[None])
    assert torch.equal(came, frontend(noise(2000)[None]))


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_gradient_is_the_slope(name: Compression, power: float) -> None:
    config = LogMelConfig(
        sample_rate=8000,
        n_fft=16,
        hop_length=8,
        n_mels=4,
        n_frames=2,
        power=power,
        mel_norm=None,
        compression=name,
        **COMPRESSIONS[name],
    )
    waveform = noise(30, dtype=torch.float64)[None].requires_grad_()
    assert torch.autograd.gradcheck(create_frontend(config), (waveform,))


def test_gradient_of_mfcc_is_the_slope() -> None:
    mel = dataclasses.replace(SMALL, n_fft=16, hop_length=8, n_mels=4, mel_norm=None, compression="db", eps=1e-10)
    waveform = noise(30, dtype=torch.float64)[None].requires_grad_()
    assert torch.autograd.gradcheck(create_frontend(MFCCConfig(n_mfcc=3, mel=mel)), (waveform,))


def test_gradient_passes_the_rounding_to_float16() -> None:
    waveforms = [noise(2000)[None].requires_grad_() for _ in range(2)]
    create_frontend(MUSICNN)(waveforms[0]).sum().backward()
    create_frontend(dataclasses.replace(MUSICNN, float16=False))(waveforms[1]).sum().backward()
    torch.testing.assert_close(waveforms[0].grad, waveforms[1].grad, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "config", [MUSICNN, ELMARC, AGC, VGGISH, SAMPLE_LEVEL], ids=["musicnn", "elmarc", "gain control", "vggish", "sl"]
)
def test_same_numbers_with_and_without_gradient(config: FrontendConfig) -> None:
    frontend = create_frontend(config)
    waveform = noise(5000)[None]
    with torch.inference_mode():
        without = frontend(waveform).clone()
    with_gradient = frontend(waveform.requires_grad_()).detach()
    torch.testing.assert_close(with_gradient, without, rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("padding", ["reflect", "zeros"])
@pytest.mark.parametrize("n_samples", [400_000, 400_001, 400_255])
@pytest.mark.parametrize("n_fft", [512, 1000])
def test_long_sounds_of_a_batch_are_those_of_one_padded_whole(padding: Padding, n_samples: int, n_fft: int) -> None:
    frontend = create_frontend(dataclasses.replace(MUSICNN, padding=padding, n_fft=n_fft, float16=False))
    waveforms = torch.stack([noise(n_samples), noise(n_samples).flip(0)])
    together = frontend(waveforms)
    whole = frontend(waveforms.clone().requires_grad_()).detach()
    torch.testing.assert_close(together, whole, rtol=1e-6, atol=2e-6)
    assert torch.equal(frontend(waveforms[1:]), together[1:])


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_silence_is_finite_and_so_is_its_gradient(name: Compression, power: float) -> None:
    config = dataclasses.replace(SMALL, power=power, compression=name, **COMPRESSIONS[name])
    waveform = torch.zeros(1, 1000, requires_grad=True)
    came = create_frontend(config)(waveform)
    came.sum().backward()
    assert waveform.grad is not None
    assert came.isfinite().all()
    assert waveform.grad.isfinite().all()


@pytest.mark.parametrize("amplitude", [1.0, 1000.0])
def test_float16_never_overflows(amplitude: float) -> None:
    log_mel = frames_of(MUSICNN, amplitude * sine(110.0, 16_000, 16_000))
    assert log_mel.isfinite().all()
    assert log_mel.max() <= np.log10(1 + 65_504 * 10_000.0) + 1e-5


@pytest.mark.parametrize("config", [ELMARC_MFCC, AGC], ids=["mfcc", "gain control"])
def test_front_end_has_nothing_to_save(config: FrontendConfig) -> None:
    frontend = create_frontend(config)
    assert not frontend.state_dict()
    assert not list(frontend.parameters())


def test_a_frame_stands_together_in_memory() -> None:
    assert create_frontend(MUSICNN)(noise(300_000)[None]).squeeze(1).transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("config", [*STREAMED.values(), FEW_DATA, CBMI2016])
def test_config_comes_back_from_json(config: FrontendConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sample_rate": 8000}, "kind is None; wanted one of 'log_mel', 'mfcc', 'agc_mel', 'raw'"),
        ({"kind": "mel"}, "kind is 'mel'"),
        ({"kind": ["raw"]}, "kind is"),
        ({"kind": "raw", "sample_rate": 8000}, "needs n_samples"),
        ({"kind": "raw", "sample_rates": 8000, "n_samples": 1}, "no field 'sample_rates'.*mean sample_rate"),
        ({"kind": "raw", "sample_rate": "8000", "n_samples": 1}, "sample_rate is '8000'"),
        ({"kind": "mfcc", "n_mfcc": 1, "mel": {"kind": "raw", "sample_rate": 1, "n_samples": 1}}, "LogMelConfig"),
        ({"kind": "mfcc", "n_mfcc": 1, "mel": 3}, "LogMelConfig"),
        ({"kind": "agc_mel", "mel": {"kind": "raw", "sample_rate": 1, "n_samples": 1}}, "LogMelConfig"),
        ({"kind": "agc_mel", "floor": 0.1}, "needs mel"),
    ],
)
def test_wrong_dict_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", 0),
        ("sample_rate", 16_000.0),
        ("n_fft", 2),
        ("n_fft", True),
        ("hop_length", 0),
        ("n_mels", -1),
        ("n_frames", 0),
        ("win_length", 257),
        ("win_length", 0),
        ("window", "hamming"),
        ("window_sum", 0.0),
        ("centred", None),
        ("padding", "edge"),
        ("pad_length", -1),
        ("pad_length", 129),
        ("power", 3.0),
        ("fmin_hz", -1.0),
        ("fmin_hz", 4000.0),
        ("fmax_hz", 0.0),
        ("fmax_hz", 4001.0),
        ("fmax_hz", float("nan")),
        ("mel_scale", "bark"),
        ("mel_norm", "area"),
        ("mel_triangles", "bark"),
        ("float16", 1),
        ("compression", "log"),
        ("gain", 10.0),
        ("eps", 1e-10),
        ("top_db", 80.0),
    ],
)
def test_value_that_makes_no_sense_is_refused_and_shown(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is .*{value}.*; wanted "):
        dataclasses.replace(SMALL, **{name: value})


@pytest.mark.parametrize(
    ("compression", "options", "name"),
    [
        ("log10_1p", {}, "gain"),
        ("ln_1p", {"gain": 0.0}, "gain"),
        ("log10_eps", {}, "eps"),
        ("ln_eps", {"eps": 0.0}, "eps"),
        ("ln_floor", {"eps": 1e-46}, "eps"),
        ("ln_floor", {"eps": 1e-20, "top_db": 80.0}, "top_db"),
        ("db", {}, "eps"),
        ("db", {"eps": 1e-10, "top_db": -80.0}, "top_db"),
        ("db", {"eps": 1e-10, "gain": 1.0}, "gain"),
    ],
)
def test_wrong_option_of_a_compression_is_refused(compression: Compression, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is "):
        dataclasses.replace(SMALL, compression=compression, **options)


def test_more_coefficients_than_bands_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_mfcc is 21; wanted a whole number from 1 to n_mels, 20"):
        MFCCConfig(n_mfcc=21, mel=SMALL)


def test_fewer_than_one_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="n_frames is 0"):
        create_frontend(SMALL).n_samples_for(0)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(1000), r"shape \(1000,\) came; \(batch, samples\)"),
        (torch.zeros(1, 1, 1000), r"\(batch, samples\)"),
        (torch.zeros(1, 1000, dtype=torch.int16), "int16"),
        (torch.zeros(1, 1000, dtype=torch.float16), "float16"),
        (torch.zeros(0, 1000), "empty batch"),
        (torch.zeros(1, 0), "0 samples came, at least 129 are needed"),
        (torch.zeros(1, 128), "128 samples came, at least 129 are needed"),
    ],
)
def test_wrong_waveform_is_refused(waveform: Tensor, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        create_frontend(SMALL)(waveform)


@pytest.mark.parametrize(
    ("block", "message"), [(torch.zeros(1, 1000), r"\(samples,\)"), (torch.zeros(1000, dtype=torch.int16), "int16")]
)
def test_wrong_block_is_refused(block: Tensor, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        create_frontend(SMALL).stream().feed(block)


def test_block_of_another_type_is_refused() -> None:
    stream = create_frontend(SMALL).stream()
    stream.feed(torch.zeros(10))
    with pytest.raises(AudioError, match=r"float64 came after blocks of torch\.float32"):
        stream.feed(torch.zeros(10, dtype=torch.float64))


@pytest.mark.parametrize("blocks", [[], [0], [100, 28]])
def test_stream_too_short_for_a_frame_is_refused(blocks: list[int]) -> None:
    stream = create_frontend(SMALL).stream()
    for n_samples in blocks:
        stream.feed(torch.zeros(n_samples))
    with pytest.raises(AudioError, match=f"{sum(blocks)} samples came, at least 129 are needed"):
        stream.finish()


def test_finished_stream_is_closed() -> None:
    stream = create_frontend(SMALL).stream()
    stream.feed(noise(1000))
    stream.finish()
    with pytest.raises(AudioError, match="finished"):
        stream.feed(noise(10))
