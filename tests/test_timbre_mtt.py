"""The small tagging networks of MagnaTagATune: the published sizes, front-end, start and options."""

from __future__ import annotations

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
from taggram.frontends import create_frontend
from taggram.models.timbre_mtt import MTT_MEL

NETWORKS = ("timbre_mtt", "dieleman", "small_rectangular")
each_network = pytest.mark.parametrize("network", NETWORKS)


def create(network="timbre_mtt", **options):
    return _networks.create(network, n_tags=50, **options)


@pytest.mark.parametrize(("factor", "wanted"), [(1, 74_526), (2, 191_006), (4, 565_278)])
def test_parameters_of_each_factor(factor, wanted):
    assert n_stored(create(factor=factor)) == n_parameters(create(factor=factor)) == wanted


@pytest.mark.parametrize(
    ("factor", "wanted"),
    [
        (1, [16_992, 23_584, 28_900, 5050]),
        (2, [33_984, 94_272, 57_700, 5050]),
        (4, [67_968, 376_960, 115_300, 5050]),
    ],
    ids=["1", "2", "4"],
)
def test_parameters_of_each_layer(factor, wanted):
    model = create(factor=factor)
    assert [n_parameters(part) for part in (model.branches, model.second, model.dense, model.head)] == wanted


@pytest.mark.parametrize(("n_mels", "wanted"), [(100, 6422), (75, 7910), (25, 2660)])
def test_parameters_of_each_height(n_mels, wanted):
    branches = create().branches
    assert sum(n_parameters(branches[f"{n_frames}x{n_mels}"]) for n_frames in (1, 3, 5, 7)) == wanted


def test_parameters_of_dieleman():
    model = create("dieleman")
    parts = [n_parameters(part) for part in (model.branches, model.second, model.dense, model.head)]
    assert (parts, n_stored(model)) == ([32_800, 8224, 28_900, 5050], 74_974)


def test_parameters_of_the_small_filters():
    assert n_parameters(create("small_rectangular")) == 73_778


def test_stored_numbers_of_the_small_filters():
    assert n_stored(create("small_rectangular")) == 74_130


def test_parameters_of_the_small_filters_by_kind():
    model = create("small_rectangular")
    by_kind = [sum(n_parameters(block.get_submodule(kind)) for block in model.blocks) for kind in ("conv", "bn")]
    assert [*by_kind, n_parameters(model.head)] == [50_976, 352, 22_450]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_layers_of_each_factor(factor):
    assert layer_shapes(create_empty("timbre_mtt", factor=factor)) == {
        "pool1": (46, 92 * factor),
        "pool2": (9, 32 * factor),
        "penultimate": (100,),
    }


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_second_layer_is_flattened_to_288_times_the_factor(factor):
    assert create(factor=factor).dense.in_features == 288 * factor


@pytest.mark.parametrize("n_mels", [100, 75, 25])
@pytest.mark.parametrize("n_frames", [1, 3, 5, 7])
def test_maps_of_each_shape_keep_time(n_frames, n_mels):
    branch = create().branches[f"{n_frames}x{n_mels}"]
    x = torch.zeros(1, 1, 187, 128)
    assert (branch.conv(x).shape[2:], branch(x).shape[2:]) == ((187, 129 - n_mels), (46, 1))


def test_layers_of_dieleman():
    assert layer_shapes(create_empty("dieleman")) == {"pool1": (45, 32), "pool2": (9, 32), "penultimate": (100,)}


@pytest.mark.parametrize(
    ("conv", "shape"), [("branches.8x128.conv", (32, 180, 1)), ("second.conv", (32, 38))], ids=["first", "second"]
)
def test_maps_of_dieleman(conv, shape):
    assert shape_within(create_empty("dieleman"), conv) == shape


def test_second_layer_gives_39_frames():
    assert shape_within(create_empty("timbre_mtt"), "second.conv") == (32, 39)


def test_second_layer_runs_over_time():
    model = create()
    x = torch.zeros(1, 1, 128, 187)
    x[..., 80:84] = 1.0  # seen by filters around frames 77 to 86, which are 19 to 21 of the 46 pooled ones
    silence, sound = (model.forward_layers(p)["pool2"][0] for p in (torch.zeros_like(x), x))
    moved = (silence - sound).abs().amax(1) > 0  # frame i sees 4 i to 4 i + 10 of them
    assert moved.nonzero().flatten().tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("pool1", (46, 126, 32)),
        ("pool2", (44, 31, 32)),
        ("pool3", (21, 14, 64)),
        ("pool4", (9, 6, 32)),
        ("conv5", (7, 4, 16)),
        ("penultimate", (448,)),
    ],
)
def test_layers_of_the_small_filters(layer, shape):
    assert layer_shapes(create_empty("small_rectangular"))[layer] == shape


@pytest.mark.parametrize(
    ("block", "shape"),
    list(enumerate([(32, 185, 126), (32, 44, 124), (64, 42, 29), (32, 19, 12), (16, 7, 4)])),
    ids=["block1", "block2", "block3", "block4", "block5"],
)
def test_maps_of_the_small_filters(block, shape):
    assert shape_within(create_empty("small_rectangular"), f"blocks.{block}.conv") == shape


def test_a_clip_of_29_12_s_holds_9_patches():
    n_frames = create_frontend(MTT_MEL).n_frames_in(round(29.12 * 16_000))
    assert (n_frames, n_frames // MTT_MEL.n_frames) == (1821, 9)


def test_patch_is_the_most_frames_within_3_s():
    assert int(3 * MTT_MEL.sample_rate / MTT_MEL.hop_length) == MTT_MEL.n_frames


def test_value_is_the_logarithm_of_one_and_10_000_times_the_power():
    waveform = 0.1 * noise(1, 16_000)
    model = create()
    log_mel = model.frontend(waveform)
    model.change_frontend(compression="none", gain=None)
    torch.testing.assert_close(log_mel, torch.log10(1 + 10_000 * model.frontend(waveform)))


@each_network
def test_each_band_is_standardised_by_its_own_statistics(network):
    model, patches = create(network), noise(2, 1, 128, 187)
    mean, std = torch.linspace(0, 1, 128), torch.linspace(1, 2, 128)
    wanted = model.forward_features((patches - mean[:, None]) / std[:, None])
    model.standardize.set_statistics(mean, std)
    torch.testing.assert_close(model.forward_features(patches), wanted)


@pytest.mark.parametrize(
    ("network", "layer", "fan_in"),
    [
        ("timbre_mtt", "branches.7x100.conv", 700),
        ("timbre_mtt", "second.conv", 8 * 92),
        ("timbre_mtt", "dense", 288),
        ("dieleman", "branches.8x128.conv", 8 * 128),
        ("small_rectangular", "blocks.2.conv", 9 * 32),
    ],
)
def test_kernels_start_as_he_uniform_of_lasagne(network, layer, fan_in):
    limit = (3 / fan_in) ** 0.5
    assert limit_and_spread(create(network).get_submodule(layer).weight) == pytest.approx((limit, limit), rel=0.05)


@pytest.mark.parametrize(("network", "n_features"), list(zip(NETWORKS, [100, 100, 448])))
def test_head_starts_as_glorot_uniform(network, n_features):
    limit = (6 / (n_features + 50)) ** 0.5
    assert limit_and_spread(create(network).head.weight) == pytest.approx((limit, limit), rel=0.05)


@each_network
def test_biases_start_at_zero(network):
    assert not biases(create(network)).any()


def test_convolutions_before_a_norm_have_no_bias():
    assert [block.conv.bias for block in create("small_rectangular").blocks] == 5 * [None]


def test_norms_have_the_constants_of_lasagne():
    norms = [module for module in create("small_rectangular").modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == 5 * [(1e-4, 0.1)]


@pytest.mark.parametrize(
    ("network", "rates"),
    list(zip(NETWORKS, [[0.5, 0.5], [0.5, 0.5], [0.25, 0.25, 0.25, 0.25, 0.25, 0.5]])),
    ids=NETWORKS,
)
def test_rates_of_dropout(network, rates):
    assert sorted(module.p for module in create(network).modules() if isinstance(module, nn.Dropout)) == rates


@pytest.mark.parametrize(
    ("network", "part", "shape"),
    [
        ("timbre_mtt", "dropout", (288,)),
        ("dieleman", "dropout", (288,)),
        ("small_rectangular", "blocks.0.dropout", (1, 187, 128)),
        ("small_rectangular", "blocks.1.dropout", (32, 46, 126)),
        ("small_rectangular", "blocks.4.dropout", (32, 9, 6)),
    ],
)
def test_place_of_dropout(network, part, shape):
    assert shape_within(create_empty(network), part) == shape


@pytest.mark.parametrize("network", ["timbre_mtt", "dieleman"])
@pytest.mark.parametrize("layer", ["pool1", "pool2", "penultimate"])
def test_activation_of_tall_filters_is_elu(network, layer):
    values = fill(create(network), weight=0.0, bias=-2.0).forward_layers(noise(1, 1, 128, 187))[layer]
    torch.testing.assert_close(values, torch.full_like(values, math.exp(-2) - 1))


def test_block_of_small_filters_is_convolution_norm_elu_and_pool():
    block = create("small_rectangular").blocks[0]
    block.bn.train()
    x = noise(2, 1, 187, 128)
    normed = F.batch_norm(F.conv2d(x, block.conv.weight), None, None, training=True, eps=1e-4)
    torch.testing.assert_close(block(x), F.max_pool2d(F.elu(normed), (4, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [0, -1, 1.5, "2", True])
def test_factor_that_makes_no_sense_is_refused(factor):
    with pytest.raises(ConfigError, match=f"factor is {factor!r}; wanted a whole number from 1 on"):
        create(factor=factor)
