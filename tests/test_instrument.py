"""The instrument networks: the published sizes, front-ends and start."""

from __future__ import annotations

import dataclasses
import math

import _networks
import pytest
import torch
import torch.nn.functional as F
from _networks import (
    biases,
    create_empty,
    fill,
    layer_shapes,
    limit_and_spread,
    n_parameters,
    n_stored,
    noise,
    shape_within,
)
from torch import nn

from taggram.frontends import create_frontend
from taggram.models.instrument import HAN_MEL, INSTRUMENT_MEL

SINGLE, MULTI, HAN = NETWORKS = ("instrument_single_layer", "instrument_multi_layer", "instrument_han")
MELS = {"instrument": INSTRUMENT_MEL, "han": HAN_MEL}
TONE = torch.sin(0.3 * torch.arange(40_000.0))[None]

each_network = pytest.mark.parametrize("network", NETWORKS)
each_mel = pytest.mark.parametrize("mel", MELS.values(), ids=MELS)


def create(network=SINGLE, **options):
    return _networks.create(network, n_tags=11, **options)


def patches_for(model, n_patches=2):
    return noise(n_patches, 1, model.frontend.n_bands, model.frontend.n_frames)


def mel_power(mel, waveform):
    return create_frontend(dataclasses.replace(mel, compression="none", eps=None, top_db=None))(waveform)


@pytest.mark.parametrize(("network", "wanted"), list(zip(NETWORKS, [61_867, 742_315, 1_446_123])))
def test_parameters(network, wanted):
    assert n_parameters(create(network)) == wanted


@pytest.mark.parametrize(("network", "wanted"), list(zip(NETWORKS, [62_763, 743_723, 1_446_123])))
def test_stored_numbers(network, wanted):
    assert n_stored(create(network)) == wanted


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [("5x1", 768), ("5x3", 1024), ("5x5", 832), ("80x1", 10_368), ("80x3", 15_424), ("80x5", 12_832)],
)
@pytest.mark.parametrize("network", [SINGLE, MULTI])
def test_parameters_of_each_shape_of_filter(network, shape, wanted):
    assert n_parameters(create(network).first.branches[shape].conv) == wanted


def test_parameters_of_the_norms_of_the_single_layer():
    branches = create().first.branches.values()
    assert (sum(n_parameters(b.bn) for b in branches), sum(n_stored(b.bn) for b in branches)) == (896, 2 * 896)


def test_parameters_of_the_head_of_the_single_layer():
    assert n_parameters(create().head) == 19_723


@pytest.mark.parametrize(
    ("layer", "wanted"), [("second.conv", 516_224), ("third.conv", 147_584), ("dense", 33_024), ("head", 2827)]
)
def test_parameters_of_the_upper_layers(layer, wanted):
    assert n_parameters(create(MULTI).get_submodule(layer)) == wanted


@pytest.mark.parametrize(
    ("network", "layer", "shape"),
    [
        (SINGLE, "pool1", (4, 448)),
        (SINGLE, "penultimate", (1792,)),
        (MULTI, "pool1", (4, 4, 448)),
        (MULTI, "pool2", (2, 2, 128)),
        (MULTI, "pool3", (128,)),
        (MULTI, "penultimate", (256,)),
        (HAN, "pool1", (15, 44, 32)),
        (HAN, "pool2", (6, 16, 64)),
        (HAN, "pool3", (3, 6, 128)),
        (HAN, "max_pool", (256,)),
        (HAN, "penultimate", (1024,)),
    ],
)
def test_layers(network, layer, shape):
    assert layer_shapes(create_empty(network))[layer] == shape


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        ("blocks.0.conv1", (32, 130, 45)),
        ("blocks.0.conv2", (32, 132, 47)),
        ("blocks.1.conv1", (64, 46, 17)),
        ("blocks.1.conv2", (64, 48, 19)),
        ("blocks.2.conv1", (128, 18, 8)),
        ("blocks.2.conv2", (128, 20, 10)),
        ("blocks.3.conv1", (256, 8, 5)),
        ("blocks.3.conv2", (256, 10, 7)),
    ],
)
def test_maps_of_han_grow_by_2(conv, shape):
    assert shape_within(create_empty(HAN), conv) == shape


@pytest.mark.parametrize(
    ("shape", "mel", "frame"), [("5x1", 2, 0), ("5x3", 2, 1), ("5x5", 2, 2), ("80x1", 40, 0), ("80x5", 40, 2)]
)
def test_filter_lies_around_its_place_with_the_odd_zero_before(shape, mel, frame):
    branch = create().first.branches[shape]
    with torch.no_grad():
        branch.conv.weight.zero_()
        branch.conv.weight[:, :, mel, frame] = 1
    x = noise(1, 1, 96, 128)
    torch.testing.assert_close(branch.conv(branch.pad(x))[:, :1], x)


def test_single_layer_is_pooled_over_all_mels():
    model = create()
    patches = torch.zeros(1, 1, 96, 128)
    patches[..., 40, :] = 1.0
    shifted = patches.roll(3, dims=2)  # far enough from the borders for the filters of 5 bands
    came, wanted = (model.forward_layers(p)["pool1"][..., :224] for p in (patches, shifted))
    torch.testing.assert_close(came, wanted)


def test_three_seconds_hold_one_patch():
    n_frames = create_frontend(INSTRUMENT_MEL).n_frames_in(3 * 12_000)
    assert (n_frames, n_frames // INSTRUMENT_MEL.n_frames) == (141, 1)


@pytest.mark.parametrize(("mel", "patch_s"), [(INSTRUMENT_MEL, 2.73), (HAN_MEL, 1.0)], ids=MELS)
def test_length_of_the_patch(mel, patch_s):
    assert mel.n_frames * mel.hop_length / mel.sample_rate == pytest.approx(patch_s, abs=0.005)


@each_mel
def test_mel_power_is_squared_before_it_is_turned_into_decibels(mel):
    waveform = 0.1 * noise(1, 40_000)
    wanted = 10 * torch.log10(mel_power(mel, waveform) ** 2)
    torch.testing.assert_close(create_frontend(mel)(waveform), wanted, rtol=1e-4, atol=1e-3)


@each_mel
def test_nothing_lies_further_than_80_db_below_the_maximum(mel):
    decibels = create_frontend(mel)(TONE)
    assert decibels.min().item() == pytest.approx(decibels.max().item() - 80, abs=1e-3)


@each_mel
def test_floor_keeps_40_db_of_mel_power(mel):
    decibels, power = create_frontend(mel)(TONE), mel_power(mel, TONE)
    assert torch.equal(decibels > decibels.min(), power > 1e-4 * power.max())


@each_network
def test_each_place_of_the_patch_is_centred_and_not_scaled(network):
    model = create(network)
    patches = patches_for(model)
    mean = patches[0, 0]
    wanted = model.forward_features(patches - mean)
    model.standardize.set_statistics(mean, 7 * torch.ones_like(mean))
    torch.testing.assert_close(model.forward_features(patches), wanted)


@pytest.mark.parametrize(("network", "shape"), list(zip(NETWORKS, [(96, 128), (96, 128), (128, 43)])))
def test_mean_patch_is_saved_with_the_weights(network, shape):
    assert create(network).state_dict()["standardize.mean"].shape == shape


@pytest.mark.parametrize(
    ("network", "layer", "fan_in"),
    [
        (SINGLE, "first.branches.80x5.conv", 400),
        (SINGLE, "head", 1792),
        (MULTI, "first.branches.80x5.conv", 400),
        (MULTI, "second.conv", 9 * 448),
        (MULTI, "third.conv", 9 * 128),
        (MULTI, "dense", 128),
        (MULTI, "head", 256),
    ],
)
def test_proposed_networks_start_as_he_normal(network, layer, fan_in):
    weight = create(network).get_submodule(layer).weight
    assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_he_normal_is_not_cut():
    weight = create(MULTI).second.conv.weight
    assert weight.abs().max() > 4 * (2 / (9 * 448)) ** 0.5


def test_new_head_of_a_proposed_network_starts_as_he_normal():
    model = create()
    model.reset_head(300)
    assert model.head.weight.std().item() == pytest.approx((2 / 1792) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("layer", "fans"), [("blocks.3.conv2", 9 * 512), ("dense", 256 + 1024), ("head", 1024 + 11)])
def test_han_starts_as_glorot_uniform(layer, fans):
    limit = (6 / fans) ** 0.5
    assert limit_and_spread(create(HAN).get_submodule(layer).weight) == pytest.approx((limit, limit), rel=0.02)


@each_network
def test_biases_start_at_zero(network):
    assert not biases(create(network)).any()


@pytest.mark.parametrize(("network", "n_norms"), [(SINGLE, 6), (MULTI, 8), (HAN, 0)])
def test_norms_have_the_constants_of_keras_1_2(network, n_norms):
    norms = [module for module in create(network).modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == n_norms * [(1e-3, 0.01)]


@pytest.mark.parametrize(("network", "rates"), [(SINGLE, [0.5]), (MULTI, [0.25, 0.25, 0.5, 0.5]), (HAN, [0.25, 0.5])])
def test_rates_of_dropout(network, rates):
    assert sorted(module.p for module in create(network).modules() if isinstance(module, nn.Dropout)) == rates


@pytest.mark.parametrize(
    ("part", "shape"), [("second.dropout", (448, 4, 4)), ("third.dropout", (128, 2, 2)), ("dropout", (128,))]
)
def test_dropout_of_several_layers_stands_before_each(part, shape):
    assert shape_within(create_empty(MULTI), part) == shape


def test_dropout_of_han_stands_behind_each_pool_but_the_last():
    model, shapes = create_empty(HAN), []
    model.dropout.register_forward_hook(lambda module, given, found: shapes.append(found.shape[1:]))
    layer_shapes(model)
    assert shapes == [(32, 44, 15), (64, 16, 6), (128, 6, 3)]


def test_first_layer_is_convolution_norm_elu_and_pool():
    branch = create(MULTI).first.branches["5x3"].train()
    x = noise(2, 1, 96, 128)
    conv = F.conv2d(x, branch.conv.weight, padding=(2, 1))
    normed = F.batch_norm(conv, None, None, training=True, eps=1e-3)
    torch.testing.assert_close(branch(x), F.max_pool2d(F.elu(normed), (24, 32)), rtol=1e-4, atol=1e-4)


def test_filters_have_elu():
    features = fill(create(), weight=0.0, bias=-2.0).forward_features(noise(1, 1, 96, 128))
    torch.testing.assert_close(features, torch.full_like(features, math.exp(-2) - 1))


def test_second_layer_is_convolution_norm_elu_and_pool():
    layer = create(MULTI).second
    layer.bn.train()
    x = noise(8, 448, 4, 4)
    conv = F.conv2d(x, layer.conv.weight, padding=1)
    normed = F.batch_norm(conv, None, None, training=True, eps=1e-3)
    torch.testing.assert_close(layer(x), F.max_pool2d(F.elu(normed), 2), rtol=1e-4, atol=1e-4)


def test_dense_layer_of_several_layers_has_elu():
    model = create(MULTI)
    fill(model.dense, weight=0.0, bias=-2.0)
    features = model.forward_features(patches_for(model))
    torch.testing.assert_close(features, torch.full_like(features, math.exp(-2) - 1))


def test_leaky_relu_of_han_has_a_slope_of_a_third():
    model = create(HAN)
    slopes = {module.negative_slope for module in model.modules() if isinstance(module, nn.LeakyReLU)}
    assert slopes == {0.33}


def test_dense_layer_of_han_is_leaky_too():
    model = create(HAN)
    fill(model.dense, weight=0.0, bias=-1.0)
    assert model.forward_features(patches_for(model)).unique().tolist() == pytest.approx([-0.33])
