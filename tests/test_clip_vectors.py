"""Vectors of clips: what a network gives on segments by hand, in a cache of a file a layer."""

from __future__ import annotations

import _networks
import numpy as np
import pytest
import torch
from _made_sounds import MadeSounds

from taggram.errors import AudioError, ConfigError, DatasetError, UnknownNameError
from taggram.learning import aggregation
from taggram.learning.aggregation import SCORES, Segments, clip_vectors, default_layers, layer_widths
from taggram.models._aggregation import aggregate, spread_starts

RATE = 22_050
LENGTH = 54  # samples of a segment of the tiny network


def sample_network(**options):
    return _networks.unsettled(
        _networks.create("samplecnn", kernel=3, depth=3, n_samples=LENGTH, n_tags=4, **options)
    ).eval()


def mel_network():
    return _networks.create("local_mel", n_frames=18, filters="3,4,5", n_tags=4).eval()


def vectors(model, sounds, layers=None, **options):
    return clip_vectors(model, sounds, layers, n_threads=1, **options)


@torch.no_grad()
def by_hand(model, segments, layer):
    """The mean over (segments, 1, ...) of the maxima of a layer."""
    return aggregate(model.forward_layers(segments)[layer][None])[0].numpy()


# -- what a vector is --------------------------------------------------------------------------------------------------


def test_vector_is_the_aggregate_of_contiguous_segments():
    model, sounds = sample_network(), MadeSounds(3 * LENGTH + 10)
    segments = torch.from_numpy(sounds.clips[0][: 3 * LENGTH]).reshape(3, 1, LENGTH)
    for layer, found in vectors(model, sounds, ("conv2", "pool3", "conv5")).items():
        np.testing.assert_allclose(found[0], by_hand(model, segments, layer), rtol=1e-4, atol=1e-6)


def test_no_more_segments_are_looked_at_than_were_asked_for():
    model, sounds = sample_network(), MadeSounds(3 * LENGTH)
    first = torch.from_numpy(sounds.clips[0][:LENGTH]).reshape(1, 1, LENGTH)
    found = clip_vectors(model, sounds, ["conv5"], segments=Segments(n_segments=1), n_threads=1)["conv5"]
    np.testing.assert_allclose(found[0], by_hand(model, first, "conv5"), rtol=1e-4, atol=1e-6)


def test_spectrogram_of_the_whole_clip_is_cut():
    model, sounds = mel_network(), MadeSounds(25_000)
    frames = model.frontend(torch.from_numpy(sounds.clips[0])[None])
    n_segments = frames.shape[-1] // 18
    segments = frames[0, :, :, : 18 * n_segments].unflatten(-1, (n_segments, 18)).permute(2, 0, 1, 3)
    found = vectors(model, sounds)["conv2"][0]
    np.testing.assert_allclose(found, by_hand(model, segments, "conv2"), rtol=1e-4, atol=1e-5)


def test_spread_segments_are_those_of_the_released_code():
    model, sounds = sample_network(), MadeSounds(2 * LENGTH)
    starts = spread_starts(2 * LENGTH, LENGTH, 5)
    segments = torch.stack([torch.from_numpy(sounds.clips[0][None, at : at + LENGTH]) for at in starts])
    found = vectors(model, sounds, ["conv5"], segments=Segments(layout="spread", n_segments=5))["conv5"][0]
    np.testing.assert_allclose(found, by_hand(model, segments, "conv5"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", ["conv3", "conv5", SCORES])
def test_order_of_the_segments_does_not_matter(layer):
    sounds, turned = MadeSounds(3 * LENGTH), MadeSounds(3 * LENGTH)
    turned.clips = [np.roll(sounds.clips[0], LENGTH)]
    model = sample_network()
    np.testing.assert_allclose(
        vectors(model, sounds, [layer])[layer], vectors(model, turned, [layer])[layer], rtol=1e-4, atol=1e-6
    )


def test_scores_are_the_mean_over_segments_of_what_the_head_says():
    model, sounds = sample_network(), MadeSounds(2 * LENGTH)
    segments = torch.from_numpy(sounds.clips[0]).reshape(2, 1, LENGTH)
    with torch.no_grad():
        wanted = torch.sigmoid(model.forward_head(model.forward_features(segments))).mean(0).numpy()
    np.testing.assert_allclose(vectors(model, sounds, [SCORES])[SCORES][0], wanted, rtol=1e-5)


def test_long_clip_is_looked_at_in_groups_of_segments(monkeypatch):
    model, sounds = sample_network(), MadeSounds(40 * LENGTH)
    at_once = vectors(model, sounds, ["conv4"])["conv4"]
    monkeypatch.setattr(aggregation, "BATCH_VALUES", 3 * LENGTH)
    np.testing.assert_allclose(vectors(model, sounds, ["conv4"])["conv4"], at_once, rtol=1e-4, atol=1e-6)


def test_values_are_as_many_as_the_filters_of_the_layers():
    model = mel_network()
    widths = layer_widths(model, [*default_layers(model), SCORES])
    assert widths == {"conv1": 3, "conv2": 4, "conv3": 5, SCORES: 4}
    found = vectors(model, MadeSounds(20_000, 30_000), tuple(widths))
    assert {name: values.shape for name, values in found.items()} == {name: (2, n) for name, n in widths.items()}


def test_network_is_left_as_it_was():
    model = sample_network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    vectors(model, MadeSounds(100), ["conv2"])
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("network", "options", "wanted"),
    [
        ("local_mel", {"n_frames": 54}, ("conv1", "conv2", "conv3", "conv4")),
        ("samplecnn", {}, ("conv9", "conv10", "conv11")),
        ("vgg", {}, ("pool4", "pool5", "penultimate")),
    ],
)
def test_layers_that_are_taken_if_nothing_is_said(network, options, wanted):
    assert default_layers(_networks.create_empty(network, **options)) == wanted


# -- segments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "wanted"), [(59_049, 12), (16_384, 41), (78_125, 9)])
def test_spread_segments_are_one_more_than_30_s_hold(length, wanted):
    assert len(Segments(layout="spread").starts(30 * RATE, length, RATE)) == wanted


@pytest.mark.parametrize("n_samples", [59_049, 80_000, 661_500, 1_000_000])
def test_last_spread_segment_ends_near_the_end_of_the_clip(n_samples):
    starts = Segments(layout="spread").starts(n_samples, 59_049, RATE)
    assert 0 <= n_samples - starts[-1] - 59_049 <= 11


def test_segments_that_would_be_one_are_looked_at_once():
    assert Segments(layout="spread").starts(59_049, 59_049, RATE) == [0]


def test_short_clip_is_repeated():
    clip = np.arange(4, dtype=np.float32)
    assert Segments().lengthened(clip, 7).tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_samples_of_a_short_clip_may_be_repeated_in_their_place():
    clip = np.arange(2, dtype=np.float32)
    slowed = Segments(short="slowed")
    assert slowed.lengthened(clip, 15).tolist() == [0] * 10 + [1] * 10
    assert len(slowed.lengthened(clip, 25)) == 25
    assert slowed.lengthened(clip, 2) is clip


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layout": "even"}, "layout is 'even'"), ({"short": "zero"}, "short"), ({"n_segments": -1}, "n_segments is -1")],
    ids=str,
)
def test_wrong_way_to_cut_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Segments(**options)


# -- cache -------------------------------------------------------------------------------------------------------------


def test_each_layer_has_a_file_and_none_is_computed_twice(tmp_path):
    model, sounds = sample_network(), MadeSounds(100, 200, 300)
    first = vectors(model, sounds, ("conv3", "conv4", SCORES), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert sounds.n_read == 3
    again = vectors(model, sounds, (SCORES, "conv4"), cache=tmp_path)
    assert sounds.n_read == 3
    assert np.array_equal(again["conv4"], first["conv4"])
    assert np.array_equal(again[SCORES], first[SCORES])


def test_one_pass_makes_all_layers_and_a_new_one_costs_another(tmp_path):
    model, sounds = sample_network(), MadeSounds(100, 200)
    vectors(model, sounds, ("conv3",), cache=tmp_path)
    found = vectors(model, sounds, ("conv3", "conv4"), cache=tmp_path)
    assert sounds.n_read == 4
    plain = vectors(model, sounds, ("conv3", "conv4"))
    assert all(np.array_equal(found[name], plain[name]) for name in plain)
    assert len(list(tmp_path.iterdir())) == 2


def test_run_that_was_cut_short_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("taggram.learning.embeddings.BLOCK", 2)
    model, sounds = sample_network(), MadeSounds(100, 200, 300, 400, 500)
    whole = sounds.whole
    monkeypatch.setattr(sounds, "whole", lambda clip: whole(clip) if clip < 3 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        vectors(model, sounds, ("conv3", "conv4"), cache=tmp_path)
    monkeypatch.setattr(sounds, "whole", whole)
    sounds.n_read = 0
    vectors(model, sounds, ("conv3", "conv4"), cache=tmp_path)
    assert sounds.n_read == 3


def test_other_weights_other_segments_and_other_sound_are_computed_anew(tmp_path):
    sounds = MadeSounds(100)
    for model, segments in (
        (sample_network(), Segments()),
        (_networks.create("samplecnn", kernel=3, depth=3, n_samples=LENGTH), Segments()),
        (sample_network(), Segments(layout="spread", n_segments=3)),
    ):
        vectors(model, sounds, ["conv3"], segments=segments, cache=tmp_path)
    vectors(sample_network(), MadeSounds(100, seed=1), ["conv3"], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_head_tells_scores_apart_and_no_layer(tmp_path):
    model, sounds = sample_network(), MadeSounds(100)
    first = vectors(model, sounds, ("conv3", SCORES), cache=tmp_path)
    with torch.no_grad():
        model.head.bias += 1
    again = vectors(model, sounds, ("conv3", SCORES), cache=tmp_path)
    assert np.array_equal(again["conv3"], first["conv3"])
    assert (again[SCORES] > first[SCORES]).all()


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (("conv9",), UnknownNameError, "no layer named 'conv9'"),
        ((), ConfigError, "at least one is wanted"),
        (("conv2", "conv2"), ConfigError, "each once"),
    ],
)
def test_layers_without_sense_are_refused(layers, error, message):
    with pytest.raises(error, match=message):
        vectors(sample_network(), MadeSounds(100), layers)


def test_scores_without_a_head_are_refused():
    model = _networks.create("samplecnn", kernel=3, depth=3, n_samples=LENGTH)
    with pytest.raises(ConfigError, match="no head"):
        vectors(model, MadeSounds(100), [SCORES])


def test_sound_at_another_rate_is_refused():
    with pytest.raises(ConfigError, match="16000 Hz; this network wants 22050"):
        vectors(sample_network(), MadeSounds(100, sample_rate=16_000))


def test_clip_without_a_sample_is_refused():
    with pytest.raises(AudioError, match="without a sample"):
        vectors(sample_network(), MadeSounds(0))


def test_no_clip_is_refused():
    with pytest.raises(DatasetError, match="no clip"):
        vectors(sample_network(), MadeSounds())
