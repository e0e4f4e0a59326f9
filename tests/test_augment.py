"""Augmentation: what a patch becomes hangs on (seed, position) alone, and is as strong as was asked for."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from _sounds import noise, tone

import taggram
from taggram.errors import ConfigError, MissingExtraError
from taggram.learning.augment import AugmentConfig, Augmenter, check_augment_fits, mix

RATE = 16_000
N_SAMPLES = 24_000
POSITIONS = range(40)
N_BANDS, N_FRAMES = 12, 30
ALL = {"gain_db": (-6.0, 6.0), "noise_snr_db": (10.0, 30.0), "pitch_semitones": (-2.0, 2.0), "stretch": (0.8, 1.25)}
WITHOUT_EXTRA = {name: ALL[name] for name in ("gain_db", "noise_snr_db")}


needs_audiomentations = pytest.mark.skipif(
    importlib.util.find_spec("audiomentations") is None, reason="audiomentations: pip install 'taggram[augment]'"
)
EFFECTS = [
    pytest.param(WITHOUT_EXTRA, id="gain and noise"),
    pytest.param(ALL, id="all", marks=needs_audiomentations),
]


def augmenter(seed=0, **settings):
    return Augmenter(AugmentConfig(**settings), RATE, seed)


def sound():
    return tone(N_SAMPLES / RATE) + noise(N_SAMPLES / RATE)[:, 0]


def level_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def loudest_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * RATE / len(samples)


def masks_of(positions=POSITIONS, **settings):
    return augmenter(**settings).masks(torch.tensor(list(positions)), N_BANDS, N_FRAMES)[:, 0]


# -- settings ----------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_for_nothing_changes():
    np.testing.assert_array_equal(augmenter().waveform(sound(), 3), sound())
    assert augmenter().mixed(3, 10) is None


def test_no_masks_give_the_patches_themselves():
    patches = torch.rand(2, 1, N_BANDS, N_FRAMES)
    assert augmenter().apply_masks(patches, torch.tensor([0, 1])) is patches


def test_settings_come_back_from_plain_values():
    config = AugmentConfig(**ALL, mixup=0.2, mask_bands=4, probability=0.5)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in config.to_dict().items()}
    assert AugmentConfig.from_dict(plain) == config


def test_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"augment has no setting 'gain'. Did you mean gain_db.*mask_frames"):
        AugmentConfig.from_dict({"gain": [1, 2]})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gain_db": (3, -3)}, r"gain_db is \(3, -3\); wanted \(least, most\)"),
        ({"gain_db": 3}, "gain_db is 3"),
        ({"gain_db": (0, 1, 2)}, "gain_db"),
        ({"noise_snr_db": (0, float("inf"))}, "noise_snr_db"),
        ({"noise_snr_db": ("0", "1")}, "noise_snr_db"),
        ({"pitch_semitones": (-30, 0)}, "from -24 to 24"),
        ({"stretch": (0.1, 1)}, "from 0.5 to 2"),
        ({"mixup": -1}, "mixup is -1; wanted a number from 0 on"),
        ({"mask_bands": 2.5}, "mask_bands is 2.5"),
        ({"n_frame_masks": 0}, "n_frame_masks is 0"),
        ({"probability": 1.5}, "probability is 1.5; wanted a number from 0 to 1"),
    ],
)
def test_setting_that_makes_no_sense_is_told(setting, message):
    with pytest.raises(ConfigError, match=message):
        AugmentConfig(**setting)


@pytest.mark.parametrize("setting", [{"pitch_semitones": (-1, 1)}, {"stretch": (0.9, 1.1)}])
def test_missing_extra_is_told_at_once(monkeypatch, setting):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"need audiomentations.*pip install 'taggram\[augment\]'"):
        augmenter(**setting)


def test_what_needs_no_extra_works_without_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    assert augmenter(**WITHOUT_EXTRA).waveform(sound(), 0).shape == (N_SAMPLES,)


@pytest.mark.parametrize("setting", [{"mask_bands": 3}, {"mask_frames": 3}])
def test_masks_are_refused_for_raw_samples(setting):
    with pytest.raises(ConfigError, match="for spectrograms, and this network looks at raw samples"):
        check_augment_fits(AugmentConfig(**setting), taggram.create_model("samplecnn", n_tags=2))


def test_mask_wider_than_the_patch_is_refused():
    with pytest.raises(ConfigError, match="mask_bands is 97; wanted at most 96"):
        check_augment_fits(AugmentConfig(mask_bands=97), taggram.create_model("musicnn", n_tags=2))


def test_masks_fit_a_spectrogram():
    check_augment_fits(AugmentConfig(mask_bands=96, mask_frames=187), taggram.create_model("musicnn", n_tags=2))


def test_sound_fits_any_network():
    check_augment_fits(AugmentConfig(**ALL, mixup=0.2), taggram.create_model("samplecnn", n_tags=2))


# -- the same place, the same change -----------------------------------------------------------------------------------


@pytest.mark.parametrize("effects", EFFECTS)
def test_same_position_gives_the_same_sound_whatever_came_before(effects):
    forward, backward = augmenter(**effects), augmenter(**effects)
    there = [forward.waveform(sound(), position) for position in range(4)]
    back = [backward.waveform(sound(), position) for position in reversed(range(4))]
    np.testing.assert_array_equal(there, back[::-1])


@pytest.mark.parametrize("effects", EFFECTS)
def test_other_position_gives_another_sound(effects):
    one = augmenter(**effects)
    assert not np.array_equal(one.waveform(sound(), 0), one.waveform(sound(), 1))


@pytest.mark.parametrize("effects", EFFECTS)
def test_other_seed_gives_another_sound(effects):
    assert not np.array_equal(
        augmenter(0, **effects).waveform(sound(), 0), augmenter(1, **effects).waveform(sound(), 0)
    )


@pytest.mark.parametrize("effects", EFFECTS)
def test_other_process_gives_the_same_sound(effects):
    one = augmenter(**effects)
    code = (
        "import hashlib, pickle, sys, numpy as np\n"
        "one, samples = pickle.loads(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256(one.waveform(samples, 7).tobytes()).hexdigest())"
    )
    sent = pickle.dumps((one, sound()))
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().strip() == hashlib.sha256(one.waveform(sound(), 7).tobytes()).hexdigest()


@pytest.mark.parametrize("effects", EFFECTS)
def test_global_random_state_is_neither_read_nor_touched(effects):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    first = augmenter(**effects).waveform(sound(), 5)
    assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    random.seed(2), np.random.seed(2), torch.manual_seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(augmenter(**effects).waveform(sound(), 5), first)


def test_one_more_effect_leaves_the_others():
    settings = {"gain_db": (-6.0, 6.0)}
    without = augmenter(**settings).waveform(sound(), 2)
    with_noise = augmenter(**settings, noise_snr_db=(100.0, 100.0)).waveform(sound(), 2)
    np.testing.assert_allclose(with_noise, without, atol=1e-4)


def test_masks_of_a_position_do_not_hang_on_its_batch():
    settings = {"mask_bands": 5, "mask_frames": 9}
    assert torch.equal(masks_of([4, 1], **settings)[0], masks_of([4], **settings)[0])


def test_mix_of_a_position_is_always_the_same():
    one = augmenter(mixup=0.4)
    assert one.mixed(11, 100) == augmenter(mixup=0.4).mixed(11, 100) != one.mixed(12, 100)


# -- how strong --------------------------------------------------------------------------------------------------------


def gains():
    one = augmenter(gain_db=(-12.0, -3.0))
    return np.array([level_db(one.waveform(sound(), position)) - level_db(sound()) for position in POSITIONS])


def test_gain_is_within_its_range():
    assert gains().min() >= -12.001
    assert gains().max() <= -2.999


def test_gain_fills_its_range():
    assert np.histogram(gains(), bins=3, range=(-12, -3))[0].min() >= 5


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0, 40.0])
def test_noise_is_as_far_below_the_sound_as_asked(snr_db):
    noisy = augmenter(noise_snr_db=(snr_db, snr_db)).waveform(sound(), 0)
    assert level_db(sound()) - level_db(noisy - sound()) == pytest.approx(snr_db, abs=0.02)


def test_noise_keeps_its_distance_where_the_sound_is_made_louder():
    louder = sound() * np.float32(10 ** (12 / 20))
    noisy = augmenter(noise_snr_db=(20.0, 20.0), gain_db=(12.0, 12.0)).waveform(sound(), 0)
    assert level_db(louder) - level_db(noisy - louder) == pytest.approx(20, abs=0.02)


def test_noise_is_white():
    noisy = augmenter(noise_snr_db=(0.0, 0.0)).waveform(sound(), 0) - sound()
    low, high = np.split(np.abs(np.fft.rfft(noisy))[: N_SAMPLES // 2] ** 2, 2)
    assert 10 * np.log10(low.mean() / high.mean()) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("effects", EFFECTS)
def test_silence_stays_silence(effects):
    assert not augmenter(**effects).waveform(np.zeros(N_SAMPLES, np.float32), 0).any()


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("n_samples", [1, 100, N_SAMPLES])
def test_length_and_type_stay(effects, n_samples):
    changed = augmenter(**effects).waveform(sound()[:n_samples], 0)
    assert (changed.shape, changed.dtype) == ((n_samples,), np.float32)


@pytest.mark.parametrize("effects", EFFECTS)
def test_sound_that_came_is_not_written_to(effects):
    given = sound()
    given.setflags(write=False)
    augmenter(**effects).waveform(given, 0)
    np.testing.assert_array_equal(given, sound())


def test_probability_is_the_share_of_patches_that_change():
    one = augmenter(gain_db=(-12.0, -3.0), probability=0.25)
    quiet = np.ones(10, np.float32)
    changed = [not np.array_equal(one.waveform(quiet, position), quiet) for position in range(2000)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("effects", EFFECTS)
def test_probability_of_0_changes_nothing(effects):
    one = augmenter(**effects, mixup=1.0, probability=0.0)
    np.testing.assert_array_equal(one.waveform(sound(), 0), sound())
    assert one.mixed(0, 10) is None


@needs_audiomentations
@pytest.mark.parametrize("semitones", [-12.0, -2.0, 3.0, 12.0])
def test_pitch_moves_as_far_as_asked(semitones):
    shifted = augmenter(pitch_semitones=(semitones, semitones)).waveform(tone(1.5), 0)
    assert 12 * np.log2(loudest_hz(shifted) / 440) == pytest.approx(semitones, abs=0.1)


@needs_audiomentations
@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_stretch_keeps_the_pitch(speed):
    stretched = augmenter(stretch=(speed, speed)).waveform(tone(1.5), 0)
    assert loudest_hz(stretched) == pytest.approx(440, abs=1)


@needs_audiomentations
@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_stretch_moves_what_happens_as_far_as_asked(speed):
    one = augmenter(stretch=(speed, speed))
    halfway = noise(one.n_input(N_SAMPLES, 0) / RATE)[:, 0]
    halfway[: len(halfway) // 2] = 0
    stretched = one.waveform(halfway, 0, N_SAMPLES)
    assert np.argmax(np.abs(stretched) > 0.1) / RATE == pytest.approx(N_SAMPLES / RATE / 2, abs=0.03)


@needs_audiomentations
@pytest.mark.parametrize("speed", [0.5, 0.83, 1.0, 1.21, 2.0])
def test_enough_input_leaves_nothing_to_repeat(speed):
    one = augmenter(stretch=(speed, speed))
    n_input = one.n_input(N_SAMPLES, 0)
    assert abs(n_input - N_SAMPLES * speed) <= 1
    assert one.waveform(np.ones(n_input, np.float32), 0, N_SAMPLES).shape == (N_SAMPLES,)


def test_no_stretch_needs_no_more_than_the_patch():
    assert augmenter(**WITHOUT_EXTRA).n_input(N_SAMPLES, 0) == N_SAMPLES


@needs_audiomentations
def test_what_is_too_short_after_the_stretch_is_repeated():
    changed = augmenter(stretch=(2.0, 2.0)).waveform(sound(), 0)
    np.testing.assert_array_equal(changed[: N_SAMPLES // 2], changed[N_SAMPLES // 2 :])


# -- mixup -------------------------------------------------------------------------------------------------------------


def test_sound_and_labels_are_mixed_alike():
    own, other = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    assert torch.allclose(mix(own, other, 0.7), torch.tensor([1.0, 0.3, 0.7]))


def test_other_item_is_any_of_the_epoch():
    one = augmenter(mixup=0.4)
    assert {one.mixed(position, 5).item for position in range(200)} == set(range(5))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_share_has_the_spread_of_its_beta_distribution(alpha):
    one = augmenter(mixup=alpha)
    shares = np.array([one.mixed(position, 5).share for position in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


# -- masks -------------------------------------------------------------------------------------------------------------


def test_band_mask_covers_whole_bands():
    masked = masks_of(mask_bands=5)
    assert torch.equal(masked.any(2), masked.all(2))


def test_frame_mask_covers_whole_frames():
    masked = masks_of(mask_frames=5)
    assert torch.equal(masked.any(1), masked.all(1))


@pytest.mark.parametrize(("name", "axis"), [("mask_bands", 2), ("mask_frames", 1)])
def test_widths_go_from_0_to_the_widest(name, axis):
    widths = masks_of(range(300), **{name: 4}).all(axis).sum(1)
    assert set(widths.tolist()) == {0, 1, 2, 3, 4}


def test_mask_is_in_one_piece():
    edges = masks_of(mask_bands=5).all(2).int().diff(dim=1)
    assert (edges == 1).sum(1).max() <= 1


def test_mask_comes_anywhere():
    assert masks_of(range(300), mask_bands=4).any(2).any(0).all()


def test_several_masks_cover_no_more_than_all_of_them():
    widths = masks_of(range(300), mask_frames=4, n_frame_masks=3).all(1).sum(1)
    assert 4 < widths.max() <= 12


def test_masked_part_has_the_mean_of_its_patch():
    one, positions = augmenter(mask_bands=6, mask_frames=9), torch.arange(8)
    patches = torch.rand(8, 1, N_BANDS, N_FRAMES)
    masks = one.masks(positions, N_BANDS, N_FRAMES)
    wanted = patches.clone()
    for patch, mask, mean in zip(wanted, masks, patches.mean((1, 2, 3))):
        patch[mask] = mean
    torch.testing.assert_close(one.apply_masks(patches, positions), wanted)


def test_masks_take_what_a_front_end_gives():
    model = taggram.create_model("musicnn", n_tags=2).eval()
    patches = model.frontend(torch.from_numpy(noise(3.0)[None, :, 0]))
    masked = augmenter(mask_bands=20, mask_frames=40).apply_masks(patches, torch.tensor([1]))
    assert masked.shape == patches.shape
    assert model.forward_features(masked).isfinite().all()


def test_probability_holds_for_masks():
    masked = masks_of(range(500), mask_bands=N_BANDS, mask_frames=N_FRAMES, probability=0.3).flatten(1).any(1)
    assert masked.float().mean() == pytest.approx(0.3, abs=0.06)
