"""O-net and P-net: lengths, numbers and start of the filters, and what the pools leave."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import _networks
import pytest
import torch
import torch.nn.functional as F
from _networks import biases, fill, noise

from taggram.errors import ConfigError
from taggram.models._essentia_mel import BALLROOM_MEL

ONSETS = (6, 11, 16, 21, 26, 31, 36, 41)
PATTERNS = tuple(46 + 5 * i for i in range(35))


create = partial(_networks.create, "o_p_net", n_tags=8)


def patches(n_frames=250):
    return noise(2, 1, 40, n_frames)


def kernels_of(model):
    """Length and number of the filters of every convolution."""
    return [(conv.kernel_size[1], conv.out_channels) for conv in (*model.o_net, *model.p_net)]


def conv_of(model, length):
    return next(conv for conv in (*model.o_net, *model.p_net) if conv.kernel_size == (1, length))


def test_onset_filters():
    assert kernels_of(create(o=1, p=0)) == [(length, 5) for length in ONSETS]


def test_pattern_filters():
    assert kernels_of(create(o=0, p=1)) == [(length, 1) for length in PATTERNS]


def test_repeated_blocks_have_as_many_times_the_filters():
    assert kernels_of(create(o=2, p=3)) == [(n, 10) for n in ONSETS] + [(n, 3) for n in PATTERNS]


@pytest.mark.parametrize(("length", "width"), [(6, 245), (216, 35)])
def test_positions_of_a_filter_in_a_patch(length, width):
    assert conv_of(create(), length)(patches()).shape[2:] == (40, width)


@pytest.mark.parametrize(("layer", "shape"), [("o_net", (2, 40, 10, 1)), ("p_net", (2, 35, 10, 1))])
def test_features_of_a_block(layer, shape):
    features = create().forward_layers(patches())[layer]
    assert features.unflatten(1, shape[1:]).shape == shape


@pytest.mark.parametrize("length", [6, 41, 46, 216])
def test_features_are_maxima_over_four_mels_and_the_whole_time(length):
    model = create()
    n_before = sum(n_filters for n, n_filters in kernels_of(model) if n < length)
    conv = conv_of(model, length)
    wanted = F.max_pool2d(conv(patches()).relu(), (4, 251 - length)).squeeze(3)  # (batch, filters, 10)
    features = model.forward_features(patches()).unflatten(1, (75, 10))
    torch.testing.assert_close(features[:, n_before : n_before + conv.out_channels], wanted)


def test_activation_is_relu():
    assert not fill(create(), weight=0.0, bias=-2.0).forward_features(patches()).any()


def test_onsets_come_before_patterns():
    layers = create().forward_layers(patches())
    assert torch.equal(layers["penultimate"], torch.cat([layers["o_net"], layers["p_net"]], 1))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"o": 1, "p": 0}, ("o_net", "penultimate")),
        ({"o": 0, "p": 1}, ("p_net", "penultimate")),
        ({"o": 1, "p": 1}, ("o_net", "p_net", "penultimate")),
    ],
    ids=str,
)
def test_only_blocks_that_are_there_are_layers(options, names):
    assert create(**options).layers() == names


def test_longer_patch_never_lowers_a_feature():
    model = create()
    longer = patches(400)
    # The features are up to 5, of which 1e-6 is two units in the last place: too few for sums of 216 products.
    assert (model.forward_features(longer) >= model.forward_features(longer[..., :250]) - 1e-5).all()


@pytest.mark.parametrize(("options", "n_frames"), [({"o": 1, "p": 0}, 41), ({"o": 0, "p": 1}, 216)], ids=str)
def test_shortest_patch_is_the_longest_filter(options, n_frames):
    model = create(**options)
    assert model.least_frames == n_frames
    assert model.forward_features(patches(n_frames)).shape == (2, model.n_features)


@pytest.mark.parametrize("length", [6, 41, 216])
def test_filters_start_as_he_uniform_of_gain_1(length):
    model = create(o=20, p=100)  # enough filters for a sharp maximum
    assert conv_of(model, length).weight.abs().max().item() == pytest.approx(math.sqrt(3 / length), rel=0.01)


def test_filters_of_41_frames_start_within_the_bound():
    weight = conv_of(create(o=8, p=0), 41).weight
    assert 0.26 < weight.abs().max() <= 0.2705


def test_head_starts_as_glorot_uniform():
    model = create(o=8, p=8)
    assert model.head.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (6000 + 8)), rel=0.01)


def test_biases_start_at_0():
    assert not biases(create()).any()


def test_every_filter_learns_from_standardised_patches():
    model = create()
    model.standardize.set_statistics(torch.tensor([3.0]), torch.tensor([2.0]))
    model.forward_head(model.forward_features(2 * patches() + 3)).square().sum().backward()
    assert all(conv.weight.grad.abs().sum((1, 2, 3)).all() for conv in (*model.o_net, *model.p_net))


def test_half_of_the_features_is_dropped_before_the_head():
    assert create().head_dropout.p == 0.5


def test_exactly_one_tag_holds():
    assert create().task == "one"


def test_front_end_is_that_of_ballroom_with_longer_patches():
    config = create().frontend.config
    assert config.n_frames == 250
    assert dataclasses.replace(config, n_frames=80) == BALLROOM_MEL


def test_no_block_at_all_is_refused():
    with pytest.raises(ConfigError, match=r"o=0 and p=0; .* at least one block"):
        create(o=0, p=0)


@pytest.mark.parametrize("name", ["o", "p"])
@pytest.mark.parametrize("count", [-1, 1.0, True, "1", None])
def test_number_of_blocks_that_makes_no_sense_is_refused(name, count):
    with pytest.raises(ConfigError, match=f"{name} is {count!r}; wanted a whole number from 0 on"):
        create(**{name: count})
