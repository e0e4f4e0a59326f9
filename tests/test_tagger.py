"""The tagger: patches, hops, short sounds, and the same scores whatever the blocks, batches and ways in."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch
from _at_hand import each_model, needs_weights

import taggram
from taggram.errors import AudioError, ConfigError, UnknownNameError

RATE = 16_000
pytestmark = needs_weights("musicnn.mtt", "vgg.mtt")


def music(seconds, rate=RATE, seed=0):
    """Noise that is struck twice a second, with a tone that rises."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t)) * np.exp(-8 * (t % 0.5))
    return (0.2 * noise + 0.3 * np.sin(2 * np.pi * (200 + 20 * t) * t)).astype(np.float32)


@pytest.fixture(scope="module")
def musicnn():
    return taggram.Tagger("musicnn.mtt")


@pytest.mark.parametrize(
    ("seconds", "n_patches"), [(2.976, 1), (3, 1), (5.967, 1), (5.968, 2), (7, 2), (29.1, 9), (30, 10)]
)
def test_number_of_patches(musicnn, seconds, n_patches):
    assert musicnn.tag((music(seconds), RATE)).scores.shape == (n_patches, 50)


def test_times_are_the_true_starts(musicnn):
    np.testing.assert_allclose(musicnn.tag((music(9), RATE)).times_s, [0, 2.992, 5.984], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "n_frames"),
    [({"hop_s": 1.0}, 62), ({"hop_s": 3.0}, 187), ({"hop_s": 2.992}, 187), ({"hop_frames": 5}, 5)],
)
def test_hop_is_whole_frames(settings, n_frames):
    assert taggram.Tagger("musicnn.mtt", **settings).hop_frames == n_frames


def test_patch_in_seconds_is_whole_frames():
    tagger = taggram.Tagger("musicnn.mtt", patch_s=4.0)
    assert (tagger.patch_frames, tagger.patch_s) == (250, 4.0)


def test_vgg_takes_no_other_patch():
    with pytest.raises(ConfigError, match=r"exactly 187 \(2\.992 s\)"):
        taggram.Tagger("vgg.mtt", patch_s=4.0)


@pytest.mark.parametrize("hop_s", [0, -1.0, 0.001, float("nan"), float("inf")])
def test_hop_below_a_frame_is_refused(hop_s):
    with pytest.raises(ConfigError, match="hop"):
        taggram.Tagger("musicnn.mtt", hop_s=hop_s)


def test_hop_given_twice_is_refused():
    with pytest.raises(ConfigError, match="give one"):
        taggram.Tagger("musicnn.mtt", hop_s=1.0, hop_frames=62)


def test_hop_longer_than_the_patch_is_said(musicnn):
    found = taggram.Tagger("musicnn.mtt", hop_s=5.0).tag((music(20), RATE))
    assert any("only 2.992 s of every 4.992 s" in note for note in found.unusual)


def test_hop_longer_than_the_patch_starts_where_it_says(musicnn):
    sparse = taggram.Tagger("musicnn.mtt", hop_frames=2 * 187, batch_size=1, block_s=0.7).tag((music(20), RATE))
    np.testing.assert_allclose(sparse.scores, musicnn.tag((music(20), RATE)).scores[::2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seconds", [1 / RATE, 0.5, 2.975])
def test_short_sound_is_repeated_to_fill_a_patch(musicnn, seconds):
    short = music(seconds)
    filled = np.resize(short, 47_616)
    np.testing.assert_allclose(musicnn.tag((short, RATE)).scores, musicnn.tag((filled, RATE)).scores, rtol=0, atol=1e-6)


def test_short_sound_is_said_to_be_padded(musicnn):
    found = musicnn.tag((music(1), RATE))
    assert found.padded
    assert any("repeated" in note for note in found.unusual)


def test_sound_of_one_patch_is_not_padded(musicnn):
    assert not musicnn.tag((music(2.976), RATE)).padded


@pytest.mark.parametrize("settings", [{"block_s": 0.01}, {"block_s": 100.0}, {"batch_size": 1}, {"batch_size": 3}])
@pytest.mark.parametrize("hop_s", [None, 1.0])
@pytest.mark.parametrize("name", ["musicnn.mtt", "vgg.mtt"])
def test_blocks_and_batches_change_nothing(name, hop_s, settings):
    wanted = taggram.Tagger(name, hop_s=hop_s).tag((music(16), RATE))
    found = taggram.Tagger(name, hop_s=hop_s, **settings).tag((music(16), RATE))
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["musicnn.mtt", "vgg.mtt"])
def test_model_gives_the_scores_of_the_tagger(name):
    model = taggram.create_model(name)
    patch = music(2.976)
    with torch.inference_mode():
        wanted = model.scores(model(torch.from_numpy(patch)[None]))
    np.testing.assert_allclose(taggram.Tagger(name).tag((patch, RATE)).scores, wanted, rtol=0, atol=1e-5)


def wav(samples, rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def ways_in(tmp_path):
    (tmp_path / "song.wav").write_bytes(wav(music(7)))
    return {
        "path": tmp_path / "song.wav",
        "text": str(tmp_path / "song.wav"),
        "bytes": wav(music(7)),
        "open file": io.BytesIO(wav(music(7))),
        "stereo array": (np.stack([music(7), music(7)], 1), RATE),
    }


@pytest.mark.parametrize("way", ["path", "text", "bytes", "open file", "stereo array"])
def test_ways_in_give_the_same(musicnn, ways_in, way):
    wanted = musicnn.tag((music(7), RATE))
    np.testing.assert_allclose(musicnn.tag(ways_in[way]).scores, wanted.scores, rtol=0, atol=1e-5)


def test_model_object_can_be_given(musicnn):
    tagger = taggram.Tagger(taggram.create_model("musicnn.mtt"))
    np.testing.assert_array_equal(tagger.tag((music(4), RATE)).scores, musicnn.tag((music(4), RATE)).scores)


def test_untrained_network_without_a_head_cannot_tag():
    with pytest.raises(ConfigError, match="no head"):
        taggram.Tagger("musicnn").tag((music(4), RATE))


def test_embedding_is_the_last_layer(musicnn):
    assert musicnn.embed((music(7), RATE)).shape == (2, 200)


def test_unknown_layer_is_offered_the_nearest(musicnn):
    with pytest.raises(UnknownNameError, match="Did you mean penultimate"):
        musicnn.embed((music(7), RATE), layer="penultimat")


def test_rows_of_a_layer_that_keeps_time_are_in_step(musicnn):
    found = musicnn.embed_whole((music(7), RATE), layer="cnn1")
    np.testing.assert_allclose(found.times_s[[0, 1, 187]], [0, 0.016, 2.992], atol=1e-12)


def test_top_gives_the_best_first(musicnn):
    found = musicnn.tag((music(7), RATE))
    scores = [score for _, score in found.top(5)]
    assert scores == sorted(found.mean_scores.tolist(), reverse=True)[:5]


def test_threshold_leaves_out_the_rest(musicnn):
    assert all(score >= 0.1 for _, score in musicnn.tag((music(7), RATE)).top(None, threshold=0.1))


def test_plot_is_a_figure_with_the_tags(musicnn):
    labels = [label.get_text() for label in musicnn.tag((music(7), RATE)).plot().axes[0].get_yticklabels()]
    assert labels[0] == musicnn.tag((music(7), RATE)).top(1)[0][0]


def test_error_names_the_file_and_the_reason(musicnn, tmp_path):
    with pytest.raises(AudioError, match=r"nothing\.mp3: No such file"):
        musicnn.tag(tmp_path / "nothing.mp3")


def test_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="no device 'gpu'"):
        taggram.Tagger("musicnn.mtt", device="gpu")


def test_failure_does_not_stop_many(tmp_path):
    (tmp_path / "good.wav").write_bytes(wav(music(4)))
    paths = [tmp_path / "missing.wav", tmp_path / "good.wav"]
    with taggram.Tagger("musicnn.mtt") as tagger:
        kinds = [type(result).__name__ for result in tagger.tag_many(paths)]
    assert kinds == ["Failure", "Taggram"]


@each_model()
def test_full_scale_sine_gives_finite_scores(name):
    loud = np.sin(np.arange(80_000) * 0.3).astype(np.float32)
    assert np.isfinite(taggram.Tagger(name).tag((loud, RATE)).scores).all()


def test_sound_a_thousand_times_too_loud_gives_the_plain_modules_scores():
    loud = 1000 * music(3)
    model = taggram.create_model("musicnn.mtt")
    with torch.inference_mode():
        wanted = model.scores(model(torch.from_numpy(loud)[None, :47_616]))
    np.testing.assert_allclose(
        taggram.Tagger("musicnn.mtt").tag((loud[:47_616], RATE)).scores, wanted, rtol=0, atol=1e-5
    )


def test_untrained_part_runs_in_this_process(tmp_path):
    (tmp_path / "good.wav").write_bytes(wav(music(4)))
    tagger = taggram.Tagger("musicnn.mtt", options={"n_tags": 3})
    (found,) = tagger.tag_many([tmp_path / "good.wav"])
    np.testing.assert_array_equal(found.scores, tagger.tag(tmp_path / "good.wav").scores)


def test_settings_of_a_given_model_are_refused():
    with pytest.raises(ConfigError, match="given by name"):
        taggram.Tagger(taggram.create_model("vgg", n_tags=3), frontend={"padding": "zeros"})


def test_tags_that_are_not_as_many_as_the_outputs_are_refused():
    model = taggram.create_model("vgg", n_tags=3)
    model.tags = ("a", "b")
    with pytest.raises(ConfigError, match="3 outputs and 2 tags"):
        taggram.Tagger(model)


def test_given_model_keeps_its_name():
    assert taggram.Tagger(taggram.create_model("vgg.mtt")).tag((music(4), RATE)).model == "vgg.mtt"
