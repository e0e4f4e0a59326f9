"""The artist networks: their layers, their first weights and their options."""

from __future__ import annotations

import _networks
import pytest
import torch
from _networks import create_empty, layer_shapes, n_parameters, noise

from taggram.errors import ConfigError
from taggram.models.artist import MEL_MEAN, MEL_STD

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
    norm = create().convs[0][2]
    assert (norm.eps, norm.momentum) == (1e-3, pytest.approx(0.01))


@pytest.mark.parametrize(("number", "zeros"), [*enumerate([(1, 2), (1, 2), (1, 2), (0, 1), (0, 0)])], ids=NUMBERS)
def test_zeros_around_are_those_of_tensorflow(number, zeros):
    assert tuple(create().convs[number][0].padding) == zeros


def test_spectrogram_is_standardized_first():
    model = create()
    patches = torch.full((1, 1, 128, 129), MEL_MEAN + 2 * MEL_STD)
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


def test_siamese_is_the_trunk_of_the_classifier():
    basic, siamese = create("artist_basic", n_tags=7), create()
    siamese.load_state_dict({name: value for name, value in basic.state_dict().items() if not name.startswith("head.")})
    torch.testing.assert_close(siamese(sound()), basic.features(sound(), ["penultimate"])["penultimate"])
