"""The emarkou networks: the square picture, the layers, the first weights and the options."""

from __future__ import annotations

from functools import partial

import _networks
import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _networks import biases, layer_shapes, librosa_mel, n_parameters, noise
from torch import nn

from taggram.errors import ConfigError
from taggram.frontends import create_frontend
from taggram.models.emarkou import FRONTENDS

N_SAMPLES = 61_393  # a clip of MagnaTagATune, 29.124 s, at 2108 Hz
SMALL = {"widths": (2, 3), "pools": (6, 2), "n_dense": 8}

create = partial(_networks.create, "emarkou")
create_empty = partial(_networks.create_empty, "emarkou")

each_kind = pytest.mark.parametrize("features", FRONTENDS)


def sound(n_samples=N_SAMPLES, n_clips=1):
    return 0.1 * noise(n_clips, n_samples)


def power_of(samples, n_mels):
    return librosa_mel(samples, sr=2108, n_fft=2048, hop_length=512, n_mels=n_mels)


@each_kind
def test_picture_of_a_clip_is_square(features):
    assert create_frontend(FRONTENDS[features])(sound()).shape == (1, 1, 120, 120)


def test_mel_is_the_power_of_librosa():
    came = create_frontend(FRONTENDS["mel"])(sound())[0, 0].numpy()
    wanted = power_of(sound()[0], 120)
    np.testing.assert_allclose(came, wanted, rtol=0, atol=1e-4 * wanted.max())


def test_logmel_are_the_decibels_of_the_power():
    came = create_frontend(FRONTENDS["logmel"])(sound())[0, 0].numpy()
    np.testing.assert_allclose(came, 10 * np.log10(np.maximum(power_of(sound()[0], 120), 1e-10)), rtol=0, atol=1e-2)


def test_mfcc_is_that_of_librosa():
    came = create_frontend(FRONTENDS["mfcc"])(sound())[0, 0].numpy()
    wanted = librosa.feature.mfcc(S=librosa.power_to_db(power_of(sound()[0], 128)), n_mfcc=120)
    np.testing.assert_allclose(came, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_silence_is_at_the_floor_of_the_decibels():
    frames = create_frontend(FRONTENDS["logmel"])(torch.zeros(1, N_SAMPLES))
    torch.testing.assert_close(frames, torch.full_like(frames, -100.0))


@pytest.mark.parametrize(("features", "scaled"), [("mel", False), ("mfcc", False), ("logmel", True)])
def test_decibels_alone_are_standardized(features, scaled):
    assert (create(features=features, **SMALL).standardize is not None) == scaled


def test_network_is_the_table_of_the_source():
    model, picture = create(widths=(2, 3, 4), n_dense=8), noise(1, 1, 120, 120)
    first, second, third = (conv[1] for conv in model.convs)
    x = F.max_pool2d(first(F.pad(picture, (4, 5, 4, 5))).relu(), 6)
    x = F.max_pool2d(second(F.pad(x, (4, 5, 4, 5))).relu(), 2)
    x = third(F.pad(x, (4, 5, 4, 5))).relu()
    torch.testing.assert_close(model.forward_features(picture), model.dense(x.flatten(1)).relu())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("conv1", (120, 120, 64)),
        ("pool1", (20, 20, 64)),
        ("conv2", (20, 20, 128)),
        ("pool2", (10, 10, 128)),
        ("conv3", (10, 10, 256)),
    ],
)
def test_shape_of_a_layer(layer, shape):
    assert layer_shapes(create_empty())[layer] == shape


def test_third_convolution_has_no_pool():
    assert create_empty().layers()[-2:] == ("conv3", "penultimate")


@pytest.mark.parametrize(("number", "wanted"), [(1, 6_464), (2, 819_328), (3, 3_277_056)])
def test_parameters_of_a_convolution(number, wanted):
    assert n_parameters(create_empty().convs[number - 1]) == wanted


@pytest.mark.parametrize(
    ("preset", "n_flat"), [("conv3", 25_600), ("conv2", 12_800), ("conv2_nopool2", 51_200), ("conv3_pool", 6_400)]
)
def test_values_that_the_dense_layer_sees(preset, n_flat):
    assert create_empty(preset=preset).dense.in_features == n_flat


def test_dense_layer_and_dropout_of_the_source():
    model = create_empty()
    assert (model.dense.out_features, model.head_dropout.p) == (1024, 0.25)


def test_layers_that_keep_time_are_frames_by_bands():
    model = create(widths=1, kernels=1, pools=1, n_dense=1)
    nn.init.ones_(model.convs[0][1].weight)
    picture = torch.rand(1, 1, 120, 120)
    torch.testing.assert_close(model.forward_layers(picture)["conv1"][0, :, :, 0], picture[0, 0].T)


def test_zeros_around_are_those_of_tensorflow():
    assert tuple(create_empty().convs[0][0].padding) == (4, 5, 4, 5)


@pytest.mark.parametrize("init", ["he", "unit_normal"])
def test_spread_of_the_first_kernels(init):
    weight = create(init=init, n_dense=8).convs[1][1].weight
    wanted = (2 / weight[0].numel()) ** 0.5 if init == "he" else 1.0
    assert weight.std().item() == pytest.approx(wanted, rel=0.01)


def test_biases_start_at_zero():
    assert not biases(create(n_tags=3, **SMALL)).any()


@pytest.mark.parametrize("part", ["conv", "dense", "head"])
def test_biases_of_the_source_start_with_deviation_1(part):
    model = create(n_tags=1000, widths=1000, kernels=1, pools=120, n_dense=1000, init="unit_normal")
    module = {"conv": model.convs[0][1], "dense": model.dense, "head": model.head}[part]
    assert module.bias.std().item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("init", "spread"), [("he", (2 / 1000) ** 0.5), ("unit_normal", 1.0)])
def test_new_head_starts_like_the_rest(init, spread):
    model = create(widths=1, kernels=1, pools=120, n_dense=1000, init=init)
    model.reset_head(100)
    assert model.head.weight.std().item() == pytest.approx(spread, rel=0.02)


@pytest.mark.parametrize("widths", [(4, 5), [4, 5], "4,5", "4, 5"], ids=str)
def test_ways_to_give_widths(widths):
    model = create(widths=widths, pools=(6, 2), n_dense=8)
    assert [conv[1].out_channels for conv in model.convs] == [4, 5]


@pytest.mark.parametrize(("kernels", "sides"), [(3, [3, 3]), ("5", [5, 5]), ("5,2", [5, 2])], ids=str)
def test_ways_to_give_kernels(kernels, sides):
    model = create(kernels=kernels, **SMALL)
    assert [conv[1].kernel_size[0] for conv in model.convs] == sides


def test_size_of_the_dense_layer():
    assert create(**SMALL)(sound()).shape == (1, 8)


@pytest.mark.parametrize(("size", "side"), [(7, 18), (50, 3), (120, 1), (200, 1)])
def test_pool_that_does_not_divide_the_picture_rounds_up(size, side):
    assert layer_shapes(create_empty(widths=1, pools=size, n_dense=1))["pool1"] == (side, side, 1)


def test_pool_that_does_not_divide_the_picture_begins_before_it():
    # 120 = 3 * 50 - 30: TensorFlow's "same" lets the windows begin 15 before the picture, at -15, 35 and 85.
    model = create(widths=1, pools=50, n_dense=1)
    layers = model.features(sound(), ["conv1", "pool1"])
    torch.testing.assert_close(layers["pool1"][0, 1, 1, 0], layers["conv1"][0, 35:85, 35:85, 0].amax())
    torch.testing.assert_close(layers["pool1"][0, 0, 0, 0], layers["conv1"][0, :35, :35, 0].amax())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "conv4"}, "preset is 'conv4'; wanted one of 'conv3', 'conv2', 'conv2_nopool2', 'conv3_pool'"),
        ({"features": "cqt"}, "features is 'cqt'; wanted one of 'mel', 'mfcc', 'logmel'"),
        ({"init": "glorot"}, "init is 'glorot'; wanted one of 'he', 'unit_normal'"),
        ({"widths": "64,many,256"}, "widths is '64,many,256'; wanted whole numbers from 1 on"),
        ({"widths": ()}, r"widths is \(\); wanted"),
        ({"widths": 0}, "widths is 0; wanted"),
        ({"widths": 64.5}, "widths is 64.5; wanted"),
        ({"widths": (64, 128)}, r"pools is \(6, 2, 1\); wanted .* as many as widths, 2"),
        ({"kernels": "10,10"}, "kernels is '10,10'; wanted .* as many as widths, 3"),
        ({"kernels": -1}, "kernels is -1"),
        ({"pools": (1, 1, True)}, "pools is"),
        ({"n_dense": 0}, "n_dense is 0; wanted a whole number from 1 on"),
        ({"n_dense": "1024"}, "n_dense is '1024'"),
    ],
    ids=str,
)
def test_wrong_value_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        create(**options)
