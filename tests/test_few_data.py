"""The networks for few labelled clips: shapes of the paper's code, its input, its trained logarithm and its norms."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import _networks
import pytest
import torch
from _networks import biases, create_empty, layer_shapes, n_parameters, noise, shape_within
from torch import nn

from taggram.errors import ConfigError
from taggram.models.few_data import FEW_DATA_MEL, LogLearn

FOUR = ("sb_cnn", "few_data_vgg", "timbre", "prototypical_embedding")
FIXED = ("sb_cnn", "few_data_vgg", "prototypical_embedding")  # in length

create = partial(_networks.create, n_tags=10)
each_network = pytest.mark.parametrize("network", FOUR)


def patches(n_frames=128, n_patches=2):
    return noise(n_patches, 1, 128, n_frames)


def sine_1_khz():
    """4 s, as the paper's clips have at most."""
    return (torch.arange(176_400, dtype=torch.float64) * (2 * math.pi * 1000 / 44_100)).sin().float()[None]


def share_of_glorot(layer):
    """The largest weight, in limits of Glorot's uniform draw."""
    fans = layer.weight[0].numel() + layer.weight[:, 0].numel()
    return layer.weight.abs().max().item() / math.sqrt(6 / fans)


@pytest.mark.parametrize(
    ("network", "n_tags", "options", "wanted"),
    [
        ("sb_cnn", 10, {"input_norm": "none"}, 241_434),
        ("sb_cnn", 15, {"input_norm": "none"}, 241_759),
        ("sb_cnn", 15, {"log_learn": True}, 241_763),
        ("few_data_vgg", 15, {"log_learn": True}, 45_331),
        ("few_data_vgg", 15, {"width": 128}, 623_633),
        ("few_data_vgg", 10, {"width": 128, "log_learn": True}, 613_390),
        ("few_data_vgg", 15, {"width": 128, "log_learn": True}, 623_635),
        ("timbre", 15, {"log_learn": True}, 11_359),
        ("prototypical_embedding", None, {"input_norm": "channel"}, 613_642 - 254),
    ],
    ids=str,
)
def test_number_of_parameters_of_the_variants(network, n_tags, options, wanted):
    assert n_parameters(create_empty(network, n_tags=n_tags, **options)) == wanted


@pytest.mark.parametrize(
    ("network", "layer", "shape"),
    [
        ("sb_cnn", "conv1", (124, 124, 24)),
        ("sb_cnn", "pool1", (31, 62, 24)),
        ("sb_cnn", "conv2", (27, 58, 48)),
        ("sb_cnn", "pool2", (6, 29, 48)),
        ("sb_cnn", "conv3", (2, 25, 48)),
        ("sb_cnn", "penultimate", (64,)),
        ("few_data_vgg", "block1", (64, 64, 32)),
        ("few_data_vgg", "block2", (32, 32, 32)),
        ("few_data_vgg", "block3", (16, 16, 32)),
        ("few_data_vgg", "block4", (8, 8, 32)),
        ("few_data_vgg", "block5", (4, 4, 32)),
        ("few_data_vgg", "penultimate", (512,)),
        ("timbre", "conv", (122, 21, 10)),
        ("timbre", "penultimate", (10,)),
        ("prototypical_embedding", "block5", (4, 4, 128)),
        ("prototypical_embedding", "penultimate", (10,)),
    ],
)
def test_shape_of_a_layer_is_that_of_the_paper(network, layer, shape):
    assert layer_shapes(create_empty(network))[layer] == shape


@each_network
def test_spectrogram_of_a_sine_has_the_reference_values(network):
    log_power = create(network).frontend(sine_1_khz())[0, 0]
    assert log_power.shape == (128, 173)
    assert log_power[:, 64].argmax() == 31
    wanted = torch.tensor([2.0342, 2.3791, 3.2679, 2.8021, 2.3898])
    torch.testing.assert_close(log_power[29:34, 64], wanted, rtol=0, atol=1e-3)


def test_patch_is_three_seconds():
    model = create("timbre")
    assert model.frontend.n_frames * model.frontend.hop_length / model.frontend.sample_rate == pytest.approx(
        2.97, abs=5e-3
    )


@pytest.mark.parametrize(
    ("n_seconds", "n_frames", "n_at_hop_1", "n_at_hop_42"), [(4, 173, 46, 2), (10, 431, 304, 8)], ids=["4 s", "10 s"]
)
def test_frames_and_patches_of_a_clip(n_seconds, n_frames, n_at_hop_1, n_at_hop_42):
    frontend = create("timbre").frontend
    came = frontend.n_frames_in(n_seconds * frontend.sample_rate)
    n_starts = came - frontend.n_frames
    assert (came, n_starts + 1, n_starts // 42 + 1) == (n_frames, n_at_hop_1, n_at_hop_42)


@each_network
def test_kernels_start_within_the_limits_of_glorot(network):
    model = create(network)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [share_of_glorot(layer) for layer in layers] == [pytest.approx(1.0, abs=0.05)] * len(layers)


@each_network
def test_biases_start_at_zero(network):
    assert not biases(create(network)).any()


@each_network
def test_batch_norm_has_the_constants_of_the_source(network):
    norms = [module for module in create(network).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum, norm.affine) for norm in norms} == {(1e-3, 0.01, True)}


@pytest.mark.parametrize(
    ("network", "shares"),
    [("sb_cnn", [0.5, 0.5]), ("few_data_vgg", [0.5]), ("timbre", []), ("prototypical_embedding", [0.5])],
)
def test_dropout_is_that_of_the_source(network, shares):
    dropouts = [module.p for module in create(network).modules() if isinstance(module, nn.Dropout)]
    assert [share for share in dropouts if share] == shares


@pytest.mark.parametrize(("network", "shape"), [("sb_cnn", (2400,)), ("prototypical_embedding", (2048,))])
def test_dropout_stands_before_the_dense_layer(network, shape):
    assert shape_within(create_empty(network), "dropout") == shape


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv3", "penultimate"])
def test_activations_of_sb_cnn_are_relu(layer):
    values = create("sb_cnn").forward_layers(patches())[layer]
    assert values.min() == 0 < values.max()


@pytest.mark.parametrize("network", ["sb_cnn", "few_data_vgg", "timbre"])
def test_exactly_one_tag_holds(network):
    assert create(network).task == "one"


def test_embedding_is_no_scores():
    assert create("prototypical_embedding", n_tags=None).task == "embedding"


def test_embedding_of_a_clip_has_10_numbers():
    assert create("prototypical_embedding", n_tags=None)(sine_1_khz()[:, :131_000]).shape == (1, 10)


def test_norm_follows_the_activation_in_vgg():
    model = create("few_data_vgg").train()
    block = model.blocks[0]
    x = patches()
    normed = nn.functional.batch_norm(nn.functional.elu(block.conv(x)), None, None, training=True, eps=1e-3)
    torch.testing.assert_close(block(x), nn.functional.max_pool2d(normed, 2), rtol=1e-4, atol=1e-4)


def test_norm_by_channel_has_one_mean_for_the_whole_patch():
    std, mean = torch.std_mean(create("sb_cnn").train()._normed(7 + 3 * patches()))
    torch.testing.assert_close(torch.stack((std, mean)), torch.tensor([1.0, 0.0]), rtol=0, atol=1e-3)


def test_norm_by_time_has_a_mean_for_each_frame():
    level = torch.arange(128.0)  # rises from frame to frame
    normed = create("prototypical_embedding").train()._normed(patches() + level)
    std, mean = torch.std_mean(normed, (0, 1, 3), correction=0)
    torch.testing.assert_close(torch.stack((std, mean)), torch.tensor([[1.0], [0.0]]).expand(2, 128), rtol=0, atol=2e-3)


def test_norm_by_channel_keeps_what_frames_differ_by():
    level = torch.arange(128.0)
    normed = create("prototypical_embedding", input_norm="channel").train()._normed(patches() + level)
    assert normed.mean((0, 1, 3)).std() > 0.9


def test_norm_by_time_is_the_one_of_the_prototypes():
    assert create("prototypical_embedding").bn_in.num_features == 128


def test_without_norm_the_input_is_left_alone():
    x = patches()
    assert torch.equal(create("sb_cnn", input_norm="none")._normed(x), x.transpose(2, 3))


def test_log_learn_starts_at_the_scalars_of_the_source():
    log = LogLearn()
    came = torch.stack((log.a.exp(), log(torch.tensor(0.0)).exp(), log(torch.tensor(0.0))))
    torch.testing.assert_close(came, torch.tensor([1096.633, 1.313262, 0.272514]), rtol=1e-6, atol=1e-6)


def test_log_learn_is_its_formula():
    power = torch.tensor([0.0, 1e-6, 1.0, 1e4])
    wanted = torch.log(math.exp(7) * power + math.log(1 + math.e))
    torch.testing.assert_close(LogLearn()(power), wanted)


@each_network
def test_log_learn_takes_the_power_as_it_is(network):
    sound = sine_1_khz().double()
    plain, learned = create(network).frontend(sound), create(network, log_learn=True).frontend(sound)
    torch.testing.assert_close(plain, (learned + 2.220446e-16).log10())


def test_bands_without_sound_hold_no_rounding_of_the_transform():
    frontend = create("timbre").frontend
    torch.testing.assert_close(frontend(sine_1_khz()), frontend(sine_1_khz().double()).float(), atol=1e-4, rtol=0)


@each_network
def test_log_learn_leaves_out_any_logarithm_of_the_front_end(network):
    frontend = dataclasses.replace(FEW_DATA_MEL, compression="db", eps=1e-10, top_db=80.0)
    config = create(network, log_learn=True, frontend=frontend).frontend.config
    assert config == dataclasses.replace(FEW_DATA_MEL, compression="none", eps=None)


@each_network
def test_log_learn_refuses_a_second_logarithm(network):
    model = create(network, log_learn=True)
    with pytest.raises(ConfigError, match=r"'log10_eps'.* trains its own logarithm"):
        model.change_frontend(compression="log10_eps", eps=1e-10)


def test_log_learn_lets_other_settings_be_changed():
    model = create("timbre", log_learn=True)
    model.change_frontend(padding="zeros")
    assert model.frontend.config.padding == "zeros"


def test_other_logarithm_is_fine_where_none_is_trained():
    model = create("timbre")
    model.change_frontend(compression="ln_eps", eps=1e-6)
    assert model.frontend.config.compression == "ln_eps"


def test_timbre_gives_the_greatest_of_each_filter():
    model = create("timbre")
    windows = model._normed(patches()).unfold(2, 7, 1).unfold(3, 108, 1)  # (batch, 1, 122, 21, 7, 108)
    activations = torch.einsum("bcfmij,ocij->bfmo", windows, model.conv.weight) + model.conv.bias
    torch.testing.assert_close(model.forward_features(patches()), activations.amax((1, 2)), rtol=1e-4, atol=1e-4)


def test_timbre_of_a_long_patch_is_the_greatest_of_its_parts():
    model, x = create("timbre"), patches(20)
    parts = torch.stack([model.forward_features(x[..., :10]), model.forward_features(x[..., 4:])])
    torch.testing.assert_close(model.forward_features(x), parts.amax(0))


def test_timbre_takes_patches_from_its_kernel_on():
    assert create("timbre").forward_features(patches(create("timbre").least_frames)).shape == (2, 10)


def test_timbre_has_no_layer_behind_its_filters():
    model = create("timbre", n_tags=15)
    features = model.forward_features(patches())
    assert torch.equal(model.forward_head(features), features)


def test_timbre_without_tags_has_ten_filters():
    model = create("timbre", n_tags=None)
    assert (model(sine_1_khz()).shape, model.n_tags, model.task) == ((1, 10), None, "one")


def test_timbre_with_a_new_head_has_a_linear_layer_on_its_filters():
    model = create("timbre", n_tags=15)
    model.reset_head(3)
    assert (model.head.in_features, model(sine_1_khz()).shape) == (15, (1, 3))


@pytest.mark.parametrize("width", [0, -1, 32.0, True, "32"], ids=repr)
def test_width_that_makes_no_sense_is_refused(width):
    with pytest.raises(ConfigError, match=f"width is {width!r}; wanted a whole number"):
        create("few_data_vgg", width=width)


@pytest.mark.parametrize("log_learn", [1, "true", None], ids=repr)
@each_network
def test_log_learn_that_is_no_bool_is_refused(network, log_learn):
    with pytest.raises(ConfigError, match=f"log_learn is {log_learn!r}; wanted True or False"):
        create(network, log_learn=log_learn)


@pytest.mark.parametrize("network", FIXED)
def test_unknown_norm_is_refused(network):
    with pytest.raises(ConfigError, match="input_norm is 'batch'; wanted one of 'channel', 'time', 'none'"):
        create(network, input_norm="batch")


@pytest.mark.parametrize("changes", [{"n_mels": 96}, {"n_frames": 129}], ids=str)
@pytest.mark.parametrize("network", FIXED)
def test_patch_of_another_size_is_refused(network, changes):
    with pytest.raises(ConfigError, match="needs 128 frames and 128 mels"):
        create(network, frontend=dataclasses.replace(FEW_DATA_MEL, **changes))


def test_fewer_mels_than_the_timbral_kernel_are_refused():
    with pytest.raises(ConfigError, match=r"107 mels.* span 108"):
        create("timbre", frontend=dataclasses.replace(FEW_DATA_MEL, n_mels=107))


@pytest.mark.parametrize("n_tags", [0, -1])
def test_timbre_of_no_tags_is_refused(n_tags):
    with pytest.raises(ConfigError, match=f"n_tags is {n_tags}"):
        create("timbre", n_tags=n_tags)
