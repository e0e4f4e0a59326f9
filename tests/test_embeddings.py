"""Features of a frozen network: what the network gives on the clip as it should be cut or repeated, computed once."""

from __future__ import annotations

import functools

import _made_sounds
import _networks
import numpy as np
import pytest
import soundfile
import torch
from _sounds import tone

from taggram.errors import AudioError, ConfigError, DatasetError, UnknownNameError
from taggram.learning import embeddings
from taggram.learning.embeddings import FileSounds, cached_features, embed_clips

RATE = 12_000
FRAMES = 40  # of patches here
HOP = 256
MadeSounds = functools.partial(_made_sounds.MadeSounds, sample_rate=RATE)


def timbral_temporal(**options):
    return _networks.create("random_timbral_temporal", **{"width": 4, "n_frames": FRAMES, **options})


def sample_level(**options):
    return _networks.create("random_sample_level", **{"width": 5, "n_samples": 3000, **options})


def plain(model, patches):
    with torch.inference_mode():
        return model.forward_features(patches).numpy()


def frames_of(model, clip):
    return model.frontend(torch.from_numpy(clip)[None])


def embed(model, sounds, **options):
    return embed_clips(model, sounds, n_threads=1, **options)


@pytest.mark.parametrize(
    "network", ["random_vgg", "random_timbral_temporal", "random_7x86", "random_7x96", "random_temporal"]
)
def test_clip_of_the_right_length_gives_what_the_network_gives(network):
    width, n_frames = (4, 1280) if network == "random_vgg" else (8, FRAMES)
    model, sounds = _networks.create(network, width=width, n_frames=n_frames), MadeSounds((n_frames - 1) * HOP)
    np.testing.assert_allclose(
        embed(model, sounds), plain(model, frames_of(model, sounds.clips[0])), rtol=1e-4, atol=1e-4
    )


def test_longer_clip_is_cut_to_its_first_frames():
    model, sounds = timbral_temporal(), MadeSounds(3 * FRAMES * HOP)
    frames = frames_of(model, sounds.clips[0])[..., :FRAMES]
    np.testing.assert_allclose(embed(model, sounds), plain(model, frames), rtol=1e-4, atol=1e-4)


def test_floor_of_the_decibels_is_that_of_the_whole_clip():
    model, sounds = timbral_temporal(), MadeSounds(2 * FRAMES * HOP)
    sounds.clips[0][: FRAMES * HOP] *= 1e-6  # the loud half is cut off, and sets the floor nevertheless
    features = embed(model, sounds)
    sounds.clips[0] = sounds.clips[0][: FRAMES * HOP]
    assert not np.allclose(features, embed(model, sounds), rtol=1e-2)


def test_frames_of_a_shorter_clip_are_repeated():
    model, sounds = timbral_temporal(), MadeSounds(14 * HOP)
    frames = frames_of(model, sounds.clips[0])  # 15 of them
    repeated = torch.cat([frames] * 3, 3)[..., :FRAMES]
    np.testing.assert_allclose(embed(model, sounds), plain(model, repeated), rtol=1e-4, atol=1e-4)


def test_zeros_stand_behind_the_frames_of_a_shorter_clip():
    model, sounds = timbral_temporal(), MadeSounds(14 * HOP)
    frames = torch.nn.functional.pad(frames_of(model, sounds.clips[0]), (0, FRAMES - 15))
    np.testing.assert_allclose(embed(model, sounds, length="zero"), plain(model, frames), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", ["repeat", "zero"])
@pytest.mark.parametrize("n_samples", [700, 3000, 5000])
def test_samples_are_cut_repeated_or_followed_by_zeros(n_samples, length):
    model, sounds = sample_level(), MadeSounds(n_samples)
    clip = sounds.clips[0]
    wanted = np.resize(clip, 3000) if length == "repeat" or n_samples >= 3000 else np.pad(clip, (0, 3000 - n_samples))
    np.testing.assert_allclose(
        embed(model, sounds, length=length), plain(model, torch.from_numpy(wanted)[None, None]), rtol=1e-4, atol=1e-5
    )


def test_clip_shorter_than_a_window_is_repeated_up_to_there():
    sounds = MadeSounds(60)
    assert np.isfinite(embed(timbral_temporal(), sounds)).all()


def test_reading_of_a_long_clip_stops_where_no_later_sample_matters():
    model = _networks.create("timbre", n_tags=None).eval()
    sounds = MadeSounds(200_000, sample_rate=model.frontend.sample_rate)
    shortened = MadeSounds(200_000, sample_rate=model.frontend.sample_rate)
    shortened.clips[0] = shortened.clips[0][:150_000]
    np.testing.assert_array_equal(embed(model, sounds), embed(model, shortened))


def test_clips_of_many_lengths_stay_in_order():
    model, sounds = timbral_temporal(), MadeSounds(*range(500, 20_000, 1500))
    alone = []
    for clip in sounds.clips:
        one = MadeSounds(1)
        one.clips = [clip]
        alone.append(embed(model, one)[0])
    np.testing.assert_allclose(embed(model, sounds), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"n_threads": 2}, {"n_threads": 3, "batch_size": 7}, {"batch_size": 1}])
def test_threads_and_batches_change_nothing_but_rounding(options):
    model, sounds = timbral_temporal(), MadeSounds(*[3000 + 10 * clip for clip in range(70)])
    np.testing.assert_allclose(
        embed_clips(model, sounds, **{"n_threads": 1, **options}), embed(model, sounds), rtol=1e-4, atol=1e-4
    )


def test_threads_of_torch_are_as_before():
    before = torch.get_num_threads()
    embed_clips(timbral_temporal(), MadeSounds(3000, 3000), n_threads=2)
    assert torch.get_num_threads() == before


def test_layer_that_keeps_time_is_averaged():
    model, sounds = timbral_temporal(), MadeSounds((FRAMES - 1) * HOP)
    with torch.inference_mode():
        wanted = model.forward_layers(frames_of(model, sounds.clips[0]))["temporal"].mean(1)
    np.testing.assert_allclose(embed(model, sounds, layer="temporal"), wanted, rtol=1e-4, atol=1e-4)


def test_layer_with_mels_is_averaged_over_them():
    model = _networks.create("random_vgg", width=4, n_frames=1280)
    assert embed(model, MadeSounds(20_000), layer="pool1").shape == (1, 4)


def test_network_with_a_head_gives_what_its_head_sees():
    model = timbral_temporal(n_tags=3)
    assert embed(model, MadeSounds(3000)).shape == (1, 112)


def test_network_is_left_as_it_is():
    model = timbral_temporal().train()
    strides = [parameter.stride() for parameter in model.parameters()]
    embed(model, MadeSounds(3000))
    assert model.training
    assert [parameter.stride() for parameter in model.parameters()] == strides


# -- the cache ---------------------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Ends a computation as a kill would."""


def many(n_clips=150):
    return MadeSounds(*[2500 + clip for clip in range(n_clips)])


def test_second_call_reads_no_sound_and_runs_no_network(tmp_path, monkeypatch):
    model, sounds = timbral_temporal(), many(5)
    first = embed(model, sounds, cache=tmp_path)
    sounds.n_read = 0
    monkeypatch.setattr(type(model), "forward_maps", None)
    np.testing.assert_array_equal(embed(model, sounds, cache=tmp_path), first)
    assert sounds.n_read == 0


def test_kept_features_are_those_without_a_cache(tmp_path):
    model, sounds = timbral_temporal(), many()
    np.testing.assert_array_equal(embed(model, sounds, cache=tmp_path), embed(model, sounds))


@pytest.mark.parametrize(
    "change",
    [
        {"n_frames": FRAMES + 1},
        {"length": "zero"},
        {"layer": "temporal"},
        {"model": timbral_temporal(width=8)},
        {"model": timbral_temporal(kernels="audio")},
        {"sounds": MadeSounds(4000, 3000, seed=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_features_follow_from_tells_them_apart(tmp_path, change):
    call = {"model": timbral_temporal(), "sounds": MadeSounds(4000, 3000), "cache": tmp_path}
    first = embed(**call)
    second = embed(**{**call, **change})
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_other_weights_are_other_features(tmp_path):
    model, sounds = timbral_temporal(), many(2)
    first = embed(model, sounds, cache=tmp_path)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert not np.allclose(first, embed(model, sounds, cache=tmp_path))


def test_other_head_has_the_same_features(tmp_path):
    model, sounds = timbral_temporal(n_tags=3), many(2)
    embed(model, sounds, cache=tmp_path)
    model.reset_head(5)
    embed(model, sounds, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_computation_goes_on_behind_the_last_whole_block(tmp_path):
    model, sounds = timbral_temporal(), many()
    read = sounds.whole

    def stop_at_100(clip):
        if clip == 100:
            raise StoppedError
        return read(clip)

    sounds.whole = stop_at_100
    with pytest.raises(StoppedError):
        embed(model, sounds, cache=tmp_path)
    sounds.whole, sounds.n_read = read, 0
    features = embed(model, sounds, cache=tmp_path)
    assert sounds.n_read == 150 - 64
    np.testing.assert_array_equal(features, embed(model, sounds))


def test_blocks_are_gone_when_all_is_there(tmp_path):
    embed(timbral_temporal(), many(), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", "cut"])
def test_damaged_file_is_computed_anew(tmp_path, damage):
    model, sounds = timbral_temporal(), many(3)
    first = embed(model, sounds, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-30] if damage == "cut" else damage)
    np.testing.assert_array_equal(embed(model, sounds, cache=tmp_path), first)


def test_facts_stand_beside_the_features(tmp_path):
    embed(timbral_temporal(), many(2), cache=tmp_path, facts={"seed": 7})
    (file,) = tmp_path.iterdir()
    with np.load(file, allow_pickle=False) as kept:
        text = str(kept["facts"])
    for fact in ('"seed": 7', '"n_frames": 40', '"length": "repeat"', '"network": "random_timbral_temporal"'):
        assert fact in text


def test_told_of_each_block(tmp_path):
    told = []
    embed(timbral_temporal(), many(), cache=tmp_path, told=lambda *numbers: told.append(numbers))
    assert told == [(64, 150), (128, 150), (150, 150)]


def test_cache_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DatasetError, match="file"):
        embed(timbral_temporal(), many(1), cache=tmp_path / "file")


def test_anything_can_be_kept(tmp_path):
    def ready():
        return lambda clips: np.array([[clip, -clip] for clip in clips], np.float32)

    features = cached_features(ready, {"n_clips": 70, "what": "numbers"}, cache=tmp_path, n_threads=1)
    np.testing.assert_array_equal(features[:, 0], np.arange(70))


# -- files, and what is refused ----------------------------------------------------------------------------------------


def test_files_are_decoded_at_the_rate_of_the_network(tmp_path):
    paths = [str(tmp_path / f"{hz}.wav") for hz in (200, 400)]
    for path, hz in zip(paths, (200, 400)):
        soundfile.write(path, tone(1.0, 24_000, hz), 24_000, subtype="FLOAT")
    model, sounds = timbral_temporal(), FileSounds(paths, RATE)
    frames = [frames_of(model, sounds.whole(clip)) for clip in range(2)]
    wanted = plain(model, torch.cat([torch.cat([part] * 2, 3)[..., :FRAMES] for part in frames]))
    np.testing.assert_allclose(embed(model, sounds), wanted, rtol=1e-4, atol=1e-4)


def test_file_that_is_written_anew_is_another_one(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, RATE), RATE)
    before = FileSounds([str(path)], RATE).content()
    soundfile.write(path, tone(0.6, RATE), RATE)
    assert FileSounds([str(path)], RATE).content() != before


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.wav"):
        embed(timbral_temporal(), FileSounds([str(tmp_path / "none.wav")], RATE), cache=tmp_path)


def test_clip_without_a_sample_is_refused():
    with pytest.raises(AudioError, match="too short"):
        embed(timbral_temporal(), MadeSounds(3000, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_frames": 0}, "at least 1"),
        ({"length": "loop"}, "length is 'loop'"),
        ({"batch_size": 33}, "batch_size is 33"),
        ({"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        embed_clips(timbral_temporal(), MadeSounds(3000), **{"n_threads": 1, **options})


def test_another_rate_is_refused():
    with pytest.raises(ConfigError, match="16000 Hz; this network wants 12000 Hz"):
        embed(timbral_temporal(), MadeSounds(3000, sample_rate=16_000))


def test_unknown_layer_is_refused():
    with pytest.raises(UnknownNameError, match="temporal"):
        embed(timbral_temporal(), MadeSounds(3000), layer="tempora")


def test_no_clip_is_refused():
    with pytest.raises(DatasetError, match="no clip"):
        embed(timbral_temporal(), MadeSounds())


def test_blocks_can_be_filled_with_whole_batches():
    assert embeddings.BLOCK % embeddings.MOST_AT_ONCE == 0
