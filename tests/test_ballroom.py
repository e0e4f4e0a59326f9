"""The Ballroom networks: the paper's shapes and patches, and Time-Frequency started from trained branches."""

from __future__ import annotations

from functools import partial

import _networks
import pytest
import torch
from _networks import biases, create_empty, layer_shapes, noise, shape_within
from torch import nn

from taggram.errors import ConfigError

NETWORKS = ("ballroom_black_box", "ballroom_time", "ballroom_frequency", "ballroom_time_frequency")


create = partial(_networks.create, n_tags=8)


def patches(n_frames=80, seed=0):
    return noise(2, 1, 40, n_frames, seed=seed)


def layers_of(model, x):
    with torch.inference_mode():
        return model.forward_layers(x)


def spread(layer):
    """The largest weight, in limits of Glorot's uniform draw."""
    fans = layer.weight[0].numel() + layer.weight[:, 0].numel()
    return layer.weight.abs().max().item() / (6 / fans) ** 0.5


def is_start_of(branch, source):
    return torch.equal(branch.weight, source.weight) and torch.equal(branch.bias, source.bias)


@pytest.mark.parametrize(
    ("network", "options", "shape"),
    [
        ("ballroom_black_box", {"n_frames": 80}, (12, 8)),
        ("ballroom_black_box", {"n_frames": 250}, (12, 200)),
        ("ballroom_time", {"n_frames": 80}, (1, 60)),
        ("ballroom_time", {"n_frames": 250}, (1, 200)),
        ("ballroom_frequency", {"height": 30}, (30, 1)),
        ("ballroom_frequency", {"height": 40}, (40, 1)),
    ],
    ids=str,
)
def test_kernels_have_the_shape_of_the_paper(network, options, shape):
    assert create(network, **options).conv.weight.shape == (32, 1, *shape)


@pytest.mark.parametrize(
    ("network", "options", "layer", "shape"),
    [  # (frames, mels, filters), where the layer keeps time
        ("ballroom_black_box", {"n_frames": 80}, "conv", (73, 29, 32)),
        ("ballroom_black_box", {"n_frames": 80}, "pool", (73, 7, 32)),
        ("ballroom_black_box", {"n_frames": 80}, "penultimate", (200,)),
        ("ballroom_black_box", {"n_frames": 250}, "conv", (51, 29, 32)),
        ("ballroom_black_box", {"n_frames": 250}, "pool", (51, 7, 32)),
        ("ballroom_time", {"n_frames": 80}, "conv", (21, 40, 32)),
        ("ballroom_time", {"n_frames": 80}, "pool", (21, 32)),
        ("ballroom_time", {"n_frames": 80}, "penultimate", (672,)),
        ("ballroom_time", {"n_frames": 250}, "conv", (51, 40, 32)),
        ("ballroom_time", {"n_frames": 250}, "penultimate", (1632,)),
        ("ballroom_frequency", {"height": 30}, "conv", (80, 11, 32)),
        ("ballroom_frequency", {"height": 30}, "penultimate", (352,)),
        ("ballroom_frequency", {"height": 32}, "penultimate", (288,)),
        ("ballroom_frequency", {"height": 34}, "penultimate", (224,)),
        ("ballroom_frequency", {"height": 36}, "penultimate", (160,)),
        ("ballroom_frequency", {"height": 38}, "penultimate", (96,)),
        ("ballroom_frequency", {"height": 40}, "conv", (80, 1, 32)),
        ("ballroom_frequency", {"height": 40}, "penultimate", (32,)),
        ("ballroom_time_frequency", {}, "time_conv", (21, 40, 32)),
        ("ballroom_time_frequency", {}, "time_pool", (21, 32)),
        ("ballroom_time_frequency", {}, "frequency_conv", (80, 9, 32)),
        ("ballroom_time_frequency", {}, "frequency_pool", (288,)),
        ("ballroom_time_frequency", {}, "concat", (960,)),
        ("ballroom_time_frequency", {}, "penultimate", (200,)),
    ],
    ids=str,
)
def test_layer_has_the_shape_of_the_paper(network, options, layer, shape):
    assert layer_shapes(create_empty(network, **options))[layer] == shape


def test_concatenation_is_frames_then_mels_filter_by_filter():
    layers = layers_of(create("ballroom_time_frequency"), patches())
    concat = layers["concat"].unflatten(1, (32, 1, 30))
    assert torch.equal(concat[..., 0, :21], layers["time_pool"].transpose(1, 2))
    assert torch.equal(concat[..., 0, 21:].flatten(1), layers["frequency_pool"])


def test_time_looks_at_each_mel_band_alone():
    model = create("ballroom_time")
    x = patches()
    torch.testing.assert_close(model.forward_features(x.flip(2)), model.forward_features(x))


def test_frequency_looks_at_each_frame_alone():
    model = create("ballroom_frequency")
    x = patches()
    torch.testing.assert_close(model.forward_features(x.flip(3)), model.forward_features(x))


def test_frequency_of_a_longer_patch_is_the_maximum_of_its_parts():
    model = create("ballroom_frequency")
    first, second = patches(seed=1), patches(37, seed=2)
    parts = torch.maximum(model.forward_features(first), model.forward_features(second))
    torch.testing.assert_close(model.forward_features(torch.cat([first, second], 3)), parts)


@pytest.mark.parametrize("network", NETWORKS)
def test_half_of_the_features_is_dropped_before_the_head(network):
    assert create(network).head_dropout.p == 0.5


@pytest.mark.parametrize("network", ["ballroom_black_box", "ballroom_time_frequency"])
def test_half_of_the_pooled_is_dropped_before_the_dense_layer(network):
    model = create(network).train()
    share = [(model.dropout(torch.ones(10_000)) == value).float().mean().item() for value in (0.0, 2.0)]
    assert share == pytest.approx([0.5, 0.5], abs=0.03)


@pytest.mark.parametrize(("network", "shape"), [("ballroom_black_box", (16_352,)), ("ballroom_time_frequency", (960,))])
def test_dropout_stands_before_the_dense_layer(network, shape):
    assert shape_within(create_empty(network), "dropout") == shape


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("ballroom_black_box", "conv"),
        ("ballroom_black_box", "penultimate"),
        ("ballroom_time", "conv"),
        ("ballroom_frequency", "conv"),
        ("ballroom_time_frequency", "time_conv"),
        ("ballroom_time_frequency", "frequency_conv"),
        ("ballroom_time_frequency", "penultimate"),
    ],
)
def test_activation_is_relu(network, layer):
    values = layers_of(create(network), patches())[layer]
    assert values.min() == 0 < values.max()


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_start_as_glorot_uniform(network):
    layers = [module for module in create(network).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [spread(layer) for layer in layers] == [pytest.approx(1.0, abs=0.02)] * len(layers)


@pytest.mark.parametrize("network", NETWORKS)
def test_biases_start_at_0(network):
    assert not biases(create(network)).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_patches_are_standardised_first(network):
    model = create(network)
    before = model.forward_features(patches())
    model.standardize.set_statistics(torch.tensor([3.0]), torch.tensor([2.0]))
    torch.testing.assert_close(model.forward_features(2 * patches() + 3), before)


@pytest.mark.parametrize("network", NETWORKS)
def test_exactly_one_tag_holds(network):
    assert create(network).task == "one"


@pytest.mark.parametrize("network", ["ballroom_black_box", "ballroom_time"])
@pytest.mark.parametrize("n_frames", [0, 81, 80.5, "80", None])
def test_patch_of_another_length_is_refused(network, n_frames):
    with pytest.raises(ConfigError, match=f"n_frames is {n_frames!r}; wanted one of 80, 250"):
        create(network, n_frames=n_frames)


@pytest.mark.parametrize("height", [0, -1, 41, 32.0, True, "32"])
def test_height_beyond_the_mels_is_refused(height):
    with pytest.raises(ConfigError, match=f"height is {height!r}; wanted a whole number from 1 to 40"):
        create("ballroom_frequency", height=height)


def branches():
    time, frequency = create("ballroom_time"), create("ballroom_frequency")
    for parameter in (*time.parameters(), *frequency.parameters()):
        nn.init.normal_(parameter)
    return time, frequency


def test_started_branches_are_their_sources_bit_for_bit():
    model, (time, frequency) = create("ballroom_time_frequency"), branches()
    model.start_branches(time, frequency)
    assert is_start_of(model.time_conv, time.conv)
    assert is_start_of(model.frequency_conv, frequency.conv)


def test_started_branches_see_what_their_sources_see():
    model, (time, frequency) = create("ballroom_time_frequency"), branches()
    model.start_branches(time, frequency)
    layers = layers_of(model, patches())
    assert torch.equal(layers["time_pool"], layers_of(time, patches())["pool"])
    assert torch.equal(layers["frequency_pool"], layers_of(frequency, patches())["penultimate"])


def test_started_branches_go_on_learning():
    model, (time, frequency) = create("ballroom_time_frequency"), branches()
    model.start_branches(time, frequency)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.forward_head(model.forward_features(patches())).square().sum().backward()
    optimizer.step()
    learned = (*model.time_conv.parameters(), *model.frequency_conv.parameters())
    started = (*time.conv.parameters(), *frequency.conv.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(learned, started))


def test_sources_of_the_branches_stay_as_they_are():
    model, (time, frequency) = create("ballroom_time_frequency"), branches()
    before = time.conv.weight.clone()
    model.start_branches(time, frequency)
    nn.init.zeros_(model.time_conv.weight)
    assert torch.equal(time.conv.weight, before)


def test_starting_the_branches_leaves_the_dense_layers():
    model = create("ballroom_time_frequency")
    before = [value.clone() for value in (*model.dense.parameters(), *model.head.parameters())]
    model.start_branches(*branches())
    after = (*model.dense.parameters(), *model.head.parameters())
    assert all(torch.equal(a, b) for a, b in zip(after, before))


@pytest.mark.parametrize(
    ("time", "frequency", "message"),
    [
        (("ballroom_time", {"n_frames": 250}), ("ballroom_frequency", {}), r"BallroomTime are 1 x 200 .* has 1 x 60"),
        (("ballroom_time", {}), ("ballroom_frequency", {"height": 34}), r"are 34 x 1 \(mels x frames\).* has 32 x 1"),
        (("ballroom_frequency", {}), ("ballroom_time", {}), "a BallroomFrequency came; .* from a BallroomTime"),
        (("ballroom_time", {}), ("ballroom_black_box", {}), "a BallroomBlackBox came; .* from a BallroomFrequency"),
    ],
    ids=str,
)
def test_branch_of_another_shape_is_refused_and_nothing_copied(time, frequency, message):
    model = create("ballroom_time_frequency")
    before = model.time_conv.weight.clone()
    (time, time_options), (frequency, frequency_options) = time, frequency
    with pytest.raises(ConfigError, match=message):
        model.start_branches(create(time, **time_options), create(frequency, **frequency_options))
    assert torch.equal(model.time_conv.weight, before)


@pytest.mark.parametrize(("n_frames", "n_patches"), [(80, 16), (250, 5)])
def test_patches_of_a_clip_of_30_s(n_frames, n_patches):
    frontend = create("ballroom_time", n_frames=n_frames).frontend
    n_clip_frames = frontend.n_frames_in(30 * 44_100)
    assert (n_clip_frames, n_clip_frames // frontend.n_frames) == (1292, n_patches)
