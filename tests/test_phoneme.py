"""The phoneme networks: the published sizes, front-end, start and options."""

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

from taggram.errors import ConfigError
from taggram.models._essentia_mel import JINGJU_MEL

NETWORKS = ("phoneme_timbre", "phoneme_small_rectangular", "phoneme_mlp")
each_network = pytest.mark.parametrize("network", NETWORKS)


def create(network="phoneme_timbre", **options):
    return _networks.create(network, n_tags=29, **options)


@pytest.mark.parametrize(("density", "wanted"), [(1, 55_661), (2, 111_293), (3, 166_925), (4, 222_557)])
def test_parameters_of_each_density(density, wanted):
    assert n_stored(create(density=density)) == n_parameters(create(density=density)) == wanted


def test_density_of_the_released_weights_is_the_default():
    assert n_parameters(create()) == 222_557


def test_parameters_of_the_filters_and_of_the_head():
    model = create()
    assert (n_parameters(model.branches), n_parameters(model.head)) == (92_608, 129_949)


def test_parameters_of_the_small_filters():
    assert n_parameters(create("phoneme_small_rectangular")) == 221_153


def test_stored_numbers_of_the_small_filters():
    assert n_stored(create("phoneme_small_rectangular")) == 221_897


def test_parameters_of_the_small_filters_by_kind():
    model = create("phoneme_small_rectangular")
    by_kind = [sum(n_parameters(block.get_submodule(kind)) for block in model.blocks) for kind in ("conv", "bn")]
    assert [*by_kind, n_parameters(model.head)] == [218_640, 744, 1769]


@pytest.mark.parametrize(("role", "wanted"), [("dan", 481_391), ("laosheng", 430_379)])
def test_parameters_of_each_role(role, wanted):
    assert n_stored(create("phoneme_mlp", role=role)) == n_parameters(create("phoneme_mlp", role=role)) == wanted


@pytest.mark.parametrize(
    ("layer", "n_features"),
    [
        ("pool_50x1", 1920),
        ("pool_50x5", 960),
        ("pool_50x10", 480),
        ("pool_70x1", 640),
        ("pool_70x5", 320),
        ("pool_70x10", 160),
        ("penultimate", 4480),
    ],
)
def test_features_of_each_shape_of_filter(layer, n_features):
    assert layer_shapes(create_empty("phoneme_timbre"))[layer] == (n_features,)


@pytest.mark.parametrize(
    ("shape", "conv", "pooled"),
    [
        ("50x1", (128, 31, 21), (128, 15, 1)),
        ("50x5", (64, 31, 17), (64, 15, 1)),
        ("50x10", (32, 31, 12), (32, 15, 1)),
        ("70x1", (128, 11, 21), (128, 5, 1)),
        ("70x5", (64, 11, 17), (64, 5, 1)),
        ("70x10", (32, 11, 12), (32, 5, 1)),
    ],
)
def test_maps_of_each_shape_of_filter(shape, conv, pooled):
    branch = create().branches[shape]
    x = torch.zeros(1, 1, 80, 21)
    assert (branch.conv(x).shape[1:], branch(x).shape[1:]) == (conv, pooled)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("pool1", (9, 39, 60)),
        ("pool2", (7, 18, 84)),
        ("pool3", (5, 8, 84)),
        ("pool4", (3, 3, 84)),
        ("penultimate", (60,)),
    ],
)
def test_layers_of_the_small_filters(layer, shape):
    assert layer_shapes(create_empty("phoneme_small_rectangular"))[layer] == shape


@pytest.mark.parametrize(
    ("block", "shape"),
    list(enumerate([(60, 78, 19), (84, 37, 7), (84, 16, 5), (84, 6, 3), (60, 1, 1)])),
    ids=["block1", "block2", "block3", "block4", "block5"],
)
def test_maps_of_the_small_filters(block, shape):
    assert shape_within(create_empty("phoneme_small_rectangular"), f"blocks.{block}.conv") == shape


@pytest.mark.parametrize(("role", "n_units"), [("dan", 511), ("laosheng", 475)])
@pytest.mark.parametrize("layer", ["dense1", "penultimate"])
def test_units_of_each_role(role, n_units, layer):
    assert layer_shapes(create_empty("phoneme_mlp", role=role))[layer] == (n_units,)


def test_perceptron_sees_the_frame_then_its_neighbours():
    model = create("phoneme_mlp")
    with torch.no_grad():
        nn.init.eye_(model.dense1.weight)
    frames = torch.arange(5.0)  # the frame to be named is the one in the middle
    dense = model.forward_layers(frames.expand(1, 1, 80, 5))["dense1"]
    assert dense[0, :400].reshape(5, 80)[:, 0].tolist() == [2.0, 1.0, 3.0, 0.0, 4.0]


def test_perceptron_sees_the_bands_of_a_frame_together():
    model = create("phoneme_mlp")
    with torch.no_grad():
        nn.init.eye_(model.dense1.weight)
    bands = torch.arange(80.0)
    dense = model.forward_layers(bands[:, None].expand(1, 1, 80, 5))["dense1"]
    assert torch.equal(dense[0, :400].reshape(5, 80), bands.expand(5, 80))


@pytest.mark.parametrize(("network", "n_frames"), list(zip(NETWORKS, [21, 21, 5])))
def test_patch_is_a_frame_and_as_many_on_each_side(network, n_frames):
    assert create(network).frontend.n_frames == n_frames


@each_network
def test_front_ends_differ_by_the_length_of_the_patch_alone(network):
    config = create(network).frontend.config
    assert dataclasses.replace(config, n_frames=21) == JINGJU_MEL


@each_network
def test_each_place_of_the_patch_is_standardised_by_its_own_statistics(network):
    model = create(network)
    patches = noise(2, 1, 80, model.frontend.n_frames)
    mean, std = patches.mean(0)[0], patches.std(0)[0] + 0.1
    wanted = model.forward_features((patches - mean) / std)
    model.standardize.set_statistics(mean, std)
    torch.testing.assert_close(model.forward_features(patches), wanted)


@each_network
def test_statistics_are_saved_with_the_weights(network):
    model = create(network)
    shape = (80, model.frontend.n_frames)
    saved = model.state_dict()
    assert (saved["standardize.mean"].shape, saved["standardize.std"].shape) == (shape, shape)


def test_tall_filters_start_as_he_uniform():
    limit = (6 / 700) ** 0.5
    assert limit_and_spread(create().branches["70x10"].conv.weight) == pytest.approx((limit, limit), rel=0.02)


@pytest.mark.parametrize(
    ("network", "layer", "fans"),
    [
        ("phoneme_timbre", "head", 4480 + 29),
        ("phoneme_small_rectangular", "blocks.1.conv", 9 * (60 + 84)),
        ("phoneme_small_rectangular", "head", 60 + 29),
        ("phoneme_mlp", "dense1", 400 + 511),
        ("phoneme_mlp", "dense2", 511 + 511),
        ("phoneme_mlp", "head", 511 + 29),
    ],
)
def test_other_layers_start_as_glorot_uniform(network, layer, fans):
    limit = (6 / fans) ** 0.5
    assert limit_and_spread(create(network).get_submodule(layer).weight) == pytest.approx((limit, limit), rel=0.05)


@each_network
def test_biases_start_at_zero(network):
    assert not biases(create(network)).any()


def test_norm_has_the_constants_of_keras_1_1():
    norms = [module for module in create("phoneme_small_rectangular").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.01)}


@pytest.mark.parametrize(
    ("network", "options", "rates"),
    [
        ("phoneme_timbre", {}, [0.32]),
        ("phoneme_small_rectangular", {}, [0.0]),
        ("phoneme_mlp", {"role": "dan"}, [0.251, 0.251]),
        ("phoneme_mlp", {"role": "laosheng"}, [0.291, 0.291]),
    ],
    ids=["timbre", "small_rectangular", "mlp-dan", "mlp-laosheng"],
)
def test_rates_of_dropout(network, options, rates):
    assert [module.p for module in create(network, **options).modules() if isinstance(module, nn.Dropout)] == rates


def test_dropout_of_the_perceptron_stands_between_its_layers():
    model = create("phoneme_mlp").train()
    fill(model.dense2, weight=0.0, bias=1.0)
    layers = model.forward_layers(noise(4, 1, 80, 5))
    assert (layers["penultimate"] == 1).all()
    assert shape_within(create_empty("phoneme_mlp"), "dropout") == (511,)


@pytest.mark.parametrize("layer", ["dense1", "penultimate"])
def test_perceptron_has_relu(layer):
    values = create("phoneme_mlp").forward_layers(noise(4, 1, 80, 5))[layer]
    assert values.min() == 0 < values.max()


def test_tall_filters_have_elu():
    features = fill(create(), weight=0.0, bias=-2.0).forward_features(noise(1, 1, 80, 21))
    torch.testing.assert_close(features, torch.full_like(features, math.exp(-2) - 1))


def test_block_of_small_filters_is_convolution_norm_activation_and_pool():
    block = create("phoneme_small_rectangular").blocks[0].train()
    x = noise(4, 1, 80, 21)
    normed = F.batch_norm(block.conv(x), None, None, training=True, eps=1e-5)
    torch.testing.assert_close(block(x), F.max_pool2d(normed.relu(), 2))


def test_small_filters_have_relu_unless_told_otherwise():
    assert (create("phoneme_small_rectangular").forward_features(noise(4, 1, 80, 21)) >= 0).all()


def test_small_filters_can_have_elu():
    model = create("phoneme_small_rectangular", activation="elu")
    features = model.forward_features(noise(4, 1, 80, 21))
    assert -1 <= features.min() < 0


@pytest.mark.parametrize("density", [0, -1, 1.5, "4", True])
def test_density_that_makes_no_sense_is_refused(density):
    with pytest.raises(ConfigError, match=f"density is {density!r}; wanted a whole number from 1 on"):
        create(density=density)


def test_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match="activation is 'tanh'; wanted one of 'relu', 'elu'"):
        create("phoneme_small_rectangular", activation="tanh")


def test_unknown_role_is_refused():
    with pytest.raises(ConfigError, match="role is 'jing'; wanted one of 'dan', 'laosheng'"):
        create("phoneme_mlp", role="jing")
