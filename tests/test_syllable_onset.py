"""The syllable onset networks: shapes, padding, dropout and start of the weights."""

from __future__ import annotations

import math

import _networks
import pytest
import torch
import torch.nn.functional as F
from _networks import biases, create_empty, fill, layer_shapes, n_parameters, noise

from taggram.errors import ConfigError
from taggram.models._essentia_mel import JINGJU_MEL

NETWORKS = ("syllable_onset", "syllable_onset_schluter")
BRANCHES = {  # size of the kernels and number of the filters
    "temporal": [((1, 7), 12), ((3, 7), 6), ((5, 7), 3), ((1, 12), 12), ((3, 12), 6), ((5, 12), 3)],
    "timbral": [((50, 1), 12), ((50, 5), 6), ((50, 10), 3), ((70, 1), 12), ((70, 5), 6), ((70, 10), 3)],
}

each_network = pytest.mark.parametrize("network", NETWORKS)
each_kind = pytest.mark.parametrize("kind", BRANCHES)


def create(network="syllable_onset", **options):
    return _networks.create(network, n_tags=2, **options)


def patches():
    return noise(2, 1, 80, 21)


@each_kind
def test_filters_of_the_branches(kind):
    branches = create(kind=kind).branches
    assert [(branch.conv.kernel_size, branch.conv.out_channels) for branch in branches] == BRANCHES[kind]


@pytest.mark.parametrize(
    ("kind", "width", "parts"),
    [  # branches, second convolution, dense layer, head
        ("temporal", 32, [897, 12_128, 196_864, 514]),
        ("temporal", 20, [897, 7_580, 123_136, 514]),
        ("timbral", 32, [8_682, 12_128, 164_096, 514]),
        ("timbral", 20, [8_682, 7_580, 102_656, 514]),
    ],
)
def test_parameters_of_each_part(kind, width, parts):
    model = create(kind=kind, width=width)
    assert [n_parameters(part) for part in (model.branches, model.conv, model.dense, model.head)] == parts


def test_parameters_of_each_part_of_the_baseline():
    model = create("syllable_onset_schluter")
    parts = [n_parameters(part) for part in (model.conv1, model.conv2, model.dense, model.head)]
    assert parts == [220, 1_820, 532_736, 514]


@pytest.mark.parametrize(
    ("network", "options", "layer", "shape"),
    [  # (frames, mels, filters)
        ("syllable_onset", {"kind": "temporal"}, "branches", (5, 27, 42)),
        ("syllable_onset", {"kind": "temporal"}, "conv", (3, 25, 32)),
        ("syllable_onset", {"kind": "temporal"}, "pool", (3, 8, 32)),
        ("syllable_onset", {"kind": "temporal"}, "penultimate", (256,)),
        ("syllable_onset", {"kind": "timbral"}, "branches", (7, 16, 42)),
        ("syllable_onset", {"kind": "timbral"}, "conv", (5, 14, 32)),
        ("syllable_onset", {"kind": "timbral"}, "pool", (5, 4, 32)),
        ("syllable_onset", {"width": 20}, "conv", (3, 25, 20)),
        ("syllable_onset_schluter", {}, "conv1", (15, 78, 10)),
        ("syllable_onset_schluter", {}, "pool1", (15, 26, 10)),
        ("syllable_onset_schluter", {}, "conv2", (13, 24, 20)),
        ("syllable_onset_schluter", {}, "pool2", (13, 8, 20)),
        ("syllable_onset_schluter", {}, "penultimate", (256,)),
    ],
    ids=str,
)
def test_layer_has_the_shape_of_the_paper(network, options, layer, shape):
    assert layer_shapes(create_empty(network, **options))[layer] == shape


@each_kind
@pytest.mark.parametrize("number", range(6))
def test_convolution_of_a_branch_keeps_the_size(kind, number):
    branch = create(kind=kind).branches[number]
    assert branch.conv(branch.pad(patches())).shape[2:] == (80, 21)


@each_kind
@pytest.mark.parametrize("number", range(6))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolution_of_a_branch_has_its_odd_zero_at_the_end(kind, number):
    branch = create(kind=kind).branches[number]
    same = F.conv2d(patches(), branch.conv.weight, branch.conv.bias, padding="same")
    torch.testing.assert_close(branch.conv(branch.pad(patches())), same)


@pytest.mark.parametrize(("kind", "mels", "frames"), [("temporal", 2, 1), ("timbral", 5, 3)])
def test_last_pool_of_a_branch_takes_what_is_left(kind, mels, frames):
    ramp = torch.arange(80 * 21.0).reshape(1, 1, 80, 21)
    corner = torch.full_like(ramp, -1.0)
    corner[..., -mels:, -frames:] = ramp[..., -mels:, -frames:]
    pooled = create(kind=kind).branches[0].pool(corner)
    assert (pooled > 0).sum() == 1
    assert pooled[0, 0, -1, -1] == 80 * 21 - 1


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("syllable_onset", "branches"),
        ("syllable_onset", "conv"),
        ("syllable_onset", "penultimate"),
        ("syllable_onset_schluter", "conv1"),
        ("syllable_onset_schluter", "conv2"),
        ("syllable_onset_schluter", "penultimate"),
    ],
)
def test_activation_is_elu(network, layer):
    values = fill(create(network), weight=0.0, bias=-2.0).forward_layers(patches())[layer]
    torch.testing.assert_close(values, torch.full_like(values, math.exp(-2) - 1))


@pytest.mark.parametrize(
    ("kind", "width", "rate"),
    [("temporal", 32, 0.3), ("temporal", 20, 0.3), ("timbral", 32, 0.38), ("timbral", 20, 0.3)],
)
def test_dropout_of_the_released_models(kind, width, rate):
    model = create(kind=kind, width=width)
    assert (model.dropout.p, model.head_dropout.p) == (rate, rate)


@each_kind
@pytest.mark.parametrize("width", [32, 20])
def test_dropout_of_the_dense_layer_only(kind, width):
    model = create(kind=kind, width=width, dropout="dense_only")
    assert (model.dropout.p, model.head_dropout.p) == (0.0, 0.3)


@pytest.mark.parametrize("layer", ["branches", "pool"])
def test_values_after_each_pool_are_dropped(layer):
    model = create().train()
    share = (model.forward_layers(noise(50, 1, 80, 21))[layer] == 0).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.02)


def test_dropout_of_the_baseline():
    assert create("syllable_onset_schluter").head_dropout.p == 0.2503


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("syllable_onset", {"kind": "temporal"}),
        ("syllable_onset", {"kind": "timbral"}),
        ("syllable_onset_schluter", {}),
    ],
    ids=str,
)
def test_weights_before_the_head_start_as_he_uniform(network, options):
    model = create(network, **options)
    weights = [value for name, value in model.named_parameters() if name.endswith("weight") and "head" not in name]
    shares = [(weight.abs().max() * (weight[0].numel() / 6) ** 0.5).item() for weight in weights]
    assert all(0.9 < share <= 1 for share in shares)


@each_network
def test_head_starts_as_glorot_uniform(network):
    assert create(network).head.weight.abs().max().item() == pytest.approx((6 / (256 + 2)) ** 0.5, rel=0.02)


@each_network
def test_biases_start_at_0(network):
    assert not biases(create(network)).any()


@each_network
def test_each_cell_of_a_patch_is_standardised_by_itself(network):
    model = create(network)
    before = model.forward_features(patches())
    mean, std = noise(80, 21), 1 + noise(80, 21).abs()
    model.standardize.set_statistics(mean, std)
    torch.testing.assert_close(model.forward_features(patches() * std + mean), before, rtol=1e-4, atol=1e-4)


@each_network
def test_statistics_of_the_cells_are_saved(network):
    model, other = create(network), create(network)
    model.standardize.set_statistics(noise(80, 21), 1 + noise(80, 21).abs())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.forward_features(patches()), model.forward_features(patches()))


@each_network
def test_exactly_one_of_onset_and_none_holds(network):
    assert create(network).task == "one"


@pytest.mark.parametrize(
    ("name", "value", "choices"),
    [
        ("kind", "rhythmic", "'temporal', 'timbral'"),
        ("kind", None, "'temporal', 'timbral'"),
        ("width", 64, "32, 20"),
        ("width", 32.0, "32, 20"),
        ("width", "32", "32, 20"),
        ("dropout", "none", "'released', 'dense_only'"),
        ("dropout", 0.3, "'released', 'dense_only'"),
    ],
)
def test_unknown_choice_is_refused(name, value, choices):
    with pytest.raises(ConfigError, match=f"^{name} is {value!r}; wanted one of {choices}"):
        create(**{name: value})


@each_network
def test_front_end_is_that_of_jingju(network):
    assert create(network).frontend.config == JINGJU_MEL
