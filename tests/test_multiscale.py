"""The multi-scale CNN: shapes of each layer, its first weights, its options and its front-end."""

from __future__ import annotations

import math
from functools import partial

import _networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _networks import layer_shapes, librosa_mel, n_parameters, noise, unsettled

from taggram.errors import ConfigError
from taggram.frontends import create_frontend
from taggram.models._blocks import Standardize
from taggram.models.multiscale import MEL, N_SAMPLES, REWRITE

LN_FLOOR = math.log(1e-20)  # -46.05
KERNELS = ("fine.0.0", "fine.1.0", "fine.2.0", "middle.0.0", "middle.1.0", "conv_last1.0", "conv_last2.0", "dense")

create = partial(_networks.create, "multiscale", n_tags=50)
create_empty = partial(_networks.create_empty, "multiscale", n_tags=50)


def picture():
    """(1, 1, mels, frames) in the range of the front-end."""
    return 5 * noise(1, 1, 128, 628) - 5


@torch.no_grad()
def entering(stack, **options):
    """What comes into one of the three stacks for `picture()`."""
    model, seen = create(**options), []
    model.get_submodule(stack)[0].register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    model.forward_layers(picture())
    return seen[0]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("pool1_1", (157, 64, 50)),
        ("pool1_2", (39, 32, 100)),
        ("pool1_3", (19, 16, 70)),
        ("pool2_1", (39, 32, 100)),
        ("pool2_2", (19, 16, 70)),
        ("pool3_1", (19, 16, 70)),
        ("conv_last1", (19, 16, 70)),
        ("pool_last", (9, 8, 70)),
        ("bn_last", (5040,)),
        ("penultimate", (500,)),
    ],
)
def test_shape_of_a_layer(layer, shape):
    assert layer_shapes(create_empty())[layer] == shape


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("fine.0", 1_100),
        ("fine.1", 75_100),
        ("fine.2", 63_070),
        ("middle.0", 1_600),
        ("middle.1", 63_070),
        ("coarse.0", 700),
        ("conv_last1", 132_370),
        ("conv_last2", 44_170),
        ("bn_last", 10_080),
        ("dense", 2_520_500),
        ("head", 25_050),
    ],
)
def test_number_of_parameters_of_a_part(part, wanted):
    assert n_parameters(create_empty().get_submodule(part)) == wanted


@pytest.mark.parametrize("n_tags", [1, 135])
def test_each_tag_takes_501_parameters(n_tags):
    assert n_parameters(create_empty(n_tags=n_tags)) == 2_911_760 + 501 * n_tags


def test_rewrite_has_as_many_parameters():
    assert n_parameters(create_empty(**REWRITE)) == 2_936_810


@pytest.mark.parametrize(
    ("layer", "kernel"),
    [("fine.0.0", (3, 7)), ("fine.1.0", (3, 5)), ("fine.2.0", (3, 3)), ("middle.0.0", (3, 5)), ("coarse.0.0", (3, 3))],
)
def test_kernels_are_mels_by_frames(layer, kernel):
    assert create_empty().get_submodule(layer).kernel_size == kernel


def conv(layer, x):
    """A convolution with as many zeros on both sides as keep the size, then ReLU."""
    zeros = [size // 2 for size in layer.kernel_size]
    return F.conv2d(x, layer.weight, layer.bias, padding=zeros).relu()


@torch.no_grad()
def test_network_is_the_table_of_the_source():
    model, x = unsettled(create()), picture()
    fine1, fine2, fine3, middle1, middle2, coarse1 = (
        block[0] for stack in (model.fine, model.middle, model.coarse) for block in stack
    )
    smaller = F.avg_pool2d(x, (2, 4))
    smallest = F.avg_pool2d(smaller, (2, 4))
    fine = F.max_pool2d(conv(fine2, F.max_pool2d(conv(fine1, x), (2, 4))), (2, 4))
    fine = F.max_pool2d(conv(fine3, fine), 2)
    middle = F.max_pool2d(conv(middle2, F.max_pool2d(conv(middle1, smaller), (2, 4))), 2)
    joined = torch.cat([fine, middle, F.max_pool2d(conv(coarse1, smallest), 2)], 1)
    last = F.max_pool2d(conv(model.conv_last2[0], conv(model.conv_last1[0], joined)), 2)
    wanted = model.dense(model.bn_last(last.flatten(1))).relu()
    torch.testing.assert_close(model.forward_features(x), wanted)


def test_flattened_map_is_normalised_channel_by_channel():
    model = create()
    layers = model.forward_layers(picture())
    flat = layers["pool_last"].permute(0, 3, 2, 1).flatten(1)  # (batch, channels, mels, frames), flattened
    torch.testing.assert_close(layers["bn_last"], flat / math.sqrt(1 + 1e-3))


def test_middle_picture_is_the_mean_of_2_by_4():
    torch.testing.assert_close(entering("middle"), F.avg_pool2d(picture(), (2, 4)))


def test_coarse_picture_is_the_mean_of_the_middle_one():
    torch.testing.assert_close(entering("coarse"), F.avg_pool2d(picture()[..., :624], (4, 16)))


def test_coarse_picture_of_the_rewrite_is_the_maximum_of_the_middle_one():
    middle = F.avg_pool2d(picture(), (2, 4))
    torch.testing.assert_close(entering("coarse", **REWRITE), F.max_pool2d(middle, (2, 4)))


def test_bands_are_standardised_by_the_statistics_of_the_training_set():
    model = create()
    mean, std = torch.linspace(-20, 0, 128), torch.linspace(1, 5, 128)
    plain = model.forward_features(picture())
    model.standardize.set_statistics(mean, std)
    scaled = picture() * std.reshape(-1, 1) + mean.reshape(-1, 1)
    torch.testing.assert_close(model.forward_features(scaled), plain, rtol=0, atol=1e-4)


def test_rewrite_standardises_nothing():
    assert not [module for module in create_empty(**REWRITE).modules() if isinstance(module, Standardize)]


@pytest.mark.parametrize("shared_mask", [False, True])
def test_same_input_gives_the_same_output_twice(shared_mask):
    model = create(shared_mask=shared_mask)
    assert torch.equal(model.forward_features(picture()), model.forward_features(picture()))


def dropped(**options):
    """(clips, features) that dropout leaves of ones."""
    return create(**options).train().dropout(torch.ones(4, 5040))


def test_shared_mask_drops_the_same_features_of_all_clips():
    left = dropped(shared_mask=True)
    assert torch.equal(left, left[:1].expand(4, -1))


def test_without_a_shared_mask_each_clip_has_its_own():
    left = dropped()
    assert not torch.equal(left[0], left[1])


@pytest.mark.parametrize(
    ("options", "share"),
    [({}, 0.4), ({"shared_mask": True}, 0.4), ({"dropout": 0.1}, 0.1), (REWRITE, 0.6)],
    ids=["default", "shared mask", "chosen", "rewrite"],
)
def test_share_of_features_dropped(options, share):
    assert (dropped(**options) == 0).float().mean().item() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("shared_mask", [False, True])
def test_what_dropout_leaves_is_scaled_up(shared_mask):
    assert dropped(shared_mask=shared_mask).max().item() == pytest.approx(1 / 0.6)


@pytest.mark.parametrize(
    ("options", "share"),
    [({}, 0.01), ({"bn_momentum": 0.1}, 0.1), (REWRITE, 0.99)],
    ids=["default", "chosen", "rewrite"],
)
def test_share_of_the_new_batch_in_the_running_mean(options, share):
    norm = create(**options).train().bn_last
    norm(torch.ones(2, 5040))
    torch.testing.assert_close(norm.running_mean, torch.full((5040,), share))


@pytest.mark.parametrize("layer", KERNELS)
def test_kernels_start_as_glorot_normal(layer):
    kernel = create().get_submodule(layer).weight
    fans = (kernel.shape[0] + kernel.shape[1]) * kernel[0, 0].numel()
    assert kernel.std().item() == pytest.approx(math.sqrt(2 / fans), rel=0.06)


@pytest.mark.parametrize(
    ("options", "gain"), [({}, 4.0), ({"head_gain": 2.0}, 2.0), (REWRITE, 1.0)], ids=["default", "chosen", "rewrite"]
)
def test_head_starts_as_glorot_normal_times_a_gain(options, gain):
    assert create(**options).head.weight.std().item() == pytest.approx(gain * math.sqrt(2 / 550), rel=0.03)


def test_new_head_starts_with_the_gain_too():
    model = create(n_tags=None)
    model.reset_head(100)
    assert model.head.weight.std().item() == pytest.approx(4 * math.sqrt(2 / 600), rel=0.03)


@pytest.mark.parametrize("layer", [*KERNELS, "coarse.0.0", "head"])
def test_biases_start_at_zero(layer):
    assert not create().get_submodule(layer).bias.any()


def test_clip_of_magnatagatune_fills_the_patch():
    assert create_empty(n_tags=None).frontend.n_frames_in(N_SAMPLES) == 628


def test_spectrogram_is_the_logarithm_of_that_of_librosa():
    sound = 0.1 * noise(1, 20_000)
    power = librosa_mel(sound[0], sr=11_025, n_fft=2048, hop_length=512, n_mels=128)
    frames = create_frontend(MEL)(sound)[0, 0].numpy()
    np.testing.assert_allclose(frames, np.log(np.clip(power, 1e-20, None)), rtol=0, atol=1e-3)


def test_silence_is_at_the_floor_of_the_logarithm():
    frames = create_frontend(MEL)(torch.zeros(1, 2048))
    torch.testing.assert_close(frames, torch.full_like(frames, LN_FLOOR))


# -- fewer scales, other pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scales", "wanted"), [(1, 2_783_240), (2, 2_892_010), (3, 2_936_810)])
def test_parameters_of_fewer_scales(scales, wanted):
    assert n_parameters(create_empty(scales=scales)) == wanted


def test_one_scale_is_the_finest_stack_and_what_comes_behind_the_join():
    model = create_empty(scales=1)
    assert model.layers() == ("pool1_1", "pool1_2", "pool1_3", "conv_last1", "pool_last", "bn_last", "penultimate")
    assert (model.middle, model.coarse, model.conv_last1[0].in_channels) == (None, None, 70)


@torch.no_grad()
def test_one_scale_does_as_three_whose_other_stacks_are_silent():
    three, one = create(), create(scales=1)
    taken = {name: value for name, value in three.state_dict().items() if name in one.state_dict()}
    taken["conv_last1.0.weight"] = taken["conv_last1.0.weight"][:, :70]
    one.load_state_dict(taken)
    three.conv_last1[0].weight[:, 70:] = 0
    torch.testing.assert_close(one.forward_features(picture()), three.forward_features(picture()))


@pytest.mark.parametrize(("n_frames", "n_flat"), [(64, 560), (216, 1680), (628, 5040)])
def test_shorter_pictures_leave_fewer_features(n_frames, n_flat):
    model = create_empty(n_frames=n_frames)
    assert (model.frontend.n_frames, model.dense.in_features) == (n_frames, n_flat)
    assert layer_shapes(model)["bn_last"] == (n_flat,)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("second_subsampling", "mean", "one of 'average', 'max'"),
        ("standardize", "no", "True or False"),
        ("dropout", 1.0, "a number from 0 to below 1"),
        ("dropout", True, "a number from 0 to below 1"),
        ("shared_mask", 1, "True or False"),
        ("bn_momentum", 0.0, "a number above 0, at most 1"),
        ("bn_momentum", 1.5, "a number above 0, at most 1"),
        ("head_gain", 0, "a number above 0"),
        ("head_gain", float("inf"), "a number above 0"),
        ("scales", 0, "a whole number from 1 to 3"),
        ("scales", 4, "a whole number from 1 to 3"),
        ("n_frames", 63, "a whole number from 64 on"),
    ],
)
def test_option_that_makes_no_sense_is_refused(option, value, wanted):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}; wanted {wanted}"):
        create(**{option: value})
