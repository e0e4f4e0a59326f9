"""The artist networks: their layers, their first weights and their options."""

from __future__ import annotations

import dataclasses

import _networks
import numpy as np
import pytest
import torch
from _networks import create_empty, layer_shapes, librosa_mel, n_parameters, noise, norm_constants, unsettled

from taggram.errors import ConfigError
from taggram.frontends import RawConfig
from taggram.models._blocks import LEE_MEL_MEAN, LEE_MEL_STD
from taggram.models.artist import MEL

N_SAMPLES = 66_000  # 129 frames
NUMBERS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def sound(n_samples=N_SAMPLES, n_clips=2):
    return 0.1 * noise(n_clips, n_samples)


def create(network="artist_siamese", **options):
    return _networks.create(network, **options)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("conv1", (129, 128)),
        ("conv2", (32, 128)),
        ("conv3", (8, 128)),
        ("conv4", (2, 128)),
        ("conv5", (1, 256)),
        ("penultimate", (256,)),
    ],
)
def test_shape_of_a_layer(layer, shape):
    assert layer_shapes(create_empty("artist_siamese"))[layer] == shape


@pytest.mark.parametrize(("number", "wanted"), [*enumerate([65_664, 65_664, 65_664, 32_896, 33_024])], ids=NUMBERS)
def test_parameters_of_a_convolution(number, wanted):
    assert n_parameters(create().convs[number][1]) == wanted


@pytest.mark.parametrize("number", range(5), ids=NUMBERS)
def test_kernels_start_within_the_limit_of_he(number):
    weight = create().convs[number][1].weight
    limit = (6 / weight[0].numel()) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit


@pytest.mark.parametrize("number", range(5), ids=NUMBERS)
def test_biases_start_at_zero(number):
    assert not create().convs[number][1].bias.any()


def test_batch_norm_has_the_constants_of_keras():
    assert norm_constants(create_empty("artist_siamese")) == {(1e-3, 0.01)}


@torch.no_grad()
def test_norm_stands_between_convolution_and_relu():
    model, patches = unsettled(create()), noise(1, 1, 128, 129)
    pad, conv, norm, _ = model.convs[0]
    wanted = norm(conv(pad(model.standardize(patches)[:, 0]))).relu()
    torch.testing.assert_close(model.forward_layers(patches)["conv1"], wanted.transpose(1, 2))


def test_convolution_is_pooled_before_the_next():
    model = create()
    layers = model.forward_layers(noise(1, 1, 128, 129))
    pooled = layers["conv1"][:, :128].unflatten(1, (32, 4)).amax(2)
    torch.testing.assert_close(layers["conv2"], model.convs[1](pooled.transpose(1, 2)).transpose(1, 2))


def test_spectrogram_is_log10_of_the_magnitudes_of_librosa():
    mel = librosa_mel(sound()[0], sr=22_050, n_fft=1024, hop_length=512, n_mels=128, power=1)
    frames = create_empty("artist_siamese").frontend(sound())[0, 0].numpy()
    np.testing.assert_allclose(frames, np.log10(1 + 10 * mel), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("number", "zeros"), [*enumerate([(1, 2), (1, 2), (1, 2), (0, 1), (0, 0)])], ids=NUMBERS)
def test_zeros_around_are_those_of_tensorflow(number, zeros):
    assert tuple(create().convs[number][0].padding) == zeros


def test_spectrogram_is_standardized_first():
    model = create()
    patches = torch.full((1, 1, 128, 129), LEE_MEL_MEAN + 2 * LEE_MEL_STD)
    plain = create()
    plain.standardize.set_statistics(torch.zeros(1), torch.ones(1))
    torch.testing.assert_close(
        model.forward_features(patches), plain.forward_features(torch.full_like(patches, 2.0)), rtol=1e-4, atol=1e-5
    )


def test_longer_sound_is_averaged_over_time():
    layers = create().features(sound(4 * N_SAMPLES), ["conv5", "penultimate"])
    assert layers["conv5"].shape == (2, 4, 256)
    torch.testing.assert_close(layers["penultimate"], layers["conv5"].mean(1))


@pytest.mark.parametrize(("network", "dropout"), [("artist_basic", 0.5), ("artist_siamese", 0.0)])
def test_dropout_of_the_source(network, dropout):
    assert create(network).head_dropout.p == dropout


@pytest.mark.parametrize("network", ["artist_basic", "artist_siamese"])
def test_dropout_can_be_chosen(network):
    assert create(network, dropout=0.25).head_dropout.p == 0.25


def test_dropout_works_on_the_embedding_too():
    model = create(dropout=0.9).train()
    assert (model.forward_head(torch.ones(1, 1000)) == 0).float().mean() > 0.8


@pytest.mark.parametrize("dropout", [-0.1, 1.0, "half", True], ids=str)
def test_wrong_dropout_is_refused(dropout):
    with pytest.raises(ConfigError, match=f"dropout is .*{dropout}"):
        create("artist_basic", dropout=dropout)


def test_bands_of_another_front_end_are_the_channels():
    model = create_empty("artist_basic", frontend=dataclasses.replace(MEL, n_mels=96))
    assert model.convs[0][1].in_channels == 96


def test_front_end_without_bands_is_refused():
    with pytest.raises(ConfigError, match=r"frontend is RawConfig.*; wanted a LogMelConfig"):
        create("artist_basic", frontend=RawConfig(sample_rate=22_050, n_samples=66_000))


def test_siamese_is_the_trunk_of_the_classifier():
    basic, siamese = create("artist_basic", n_tags=7), create()
    siamese.load_state_dict({name: value for name, value in basic.state_dict().items() if not name.startswith("head.")})
    torch.testing.assert_close(siamese(sound()), basic.features(sound(), ["penultimate"])["penultimate"])
