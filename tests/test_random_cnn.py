"""The networks of random weights: shapes, lengths, draws and averages are those of the paper's code."""

from __future__ import annotations

import math

import _networks
import pytest
import torch
from _networks import biases, create_empty, fill, layer_shapes, n_parameters, noise
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import taggram
from taggram.errors import AudioError, ConfigError
from taggram.models._blocks import SamePad1d
from taggram.models.random_cnn import N_AT_ONCE

SMALL = {  # network: a width that is quick, in the paper's small set
    "random_sample_level": 23,
    "random_frame_level": 40,
    "random_frame_level_many": 20,
    "random_7x96": 160,
    "random_7x86": 160,
    "random_timbral": 8,
    "random_temporal": 8,
    "random_timbral_temporal": 4,
    "random_vgg": 32,
}
LEAST = {  # network: frames, or samples, of the shortest patch
    "random_sample_level": 2187,
    "random_frame_level": 736,
    "random_frame_level_many": 225,
    "random_7x96": 7,
    "random_7x86": 7,
    "random_timbral": 1,
    "random_temporal": 1,
    "random_timbral_temporal": 1,
    "random_vgg": 1280,
}
WAVEFORM = ("random_sample_level", "random_frame_level", "random_frame_level_many")
FRAME_LEVEL = ("random_frame_level", "random_frame_level_many")
TOO_SHORT = [network for network, least in LEAST.items() if least > 1]

each_network = pytest.mark.parametrize("network", SMALL)


def create(network, **options):
    return _networks.create(network, **{"width": SMALL[network], **options})


def length_option(network):
    return "n_samples" if network in WAVEFORM else "n_frames"


def patches(network, length):
    """(1, 1, samples) of noise or (1, 1, mels, frames) of decibels."""
    return 0.1 * noise(1, 1, length) if network in WAVEFORM else 20 * noise(1, 1, 96, length) - 30


def layers_of(model, x):
    with torch.inference_mode():
        return model.forward_layers(x)


def maps_of(model, x):
    return list(layers_of(model, x).values())[:-1]


def map_shapes(network, length, **options):
    model = create_empty(network, **{"width": SMALL[network], **options})
    return list(layer_shapes(model, length).values())[:-1]


def convs_of(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]


@pytest.mark.parametrize(
    ("network", "options", "wanted"),
    [
        ("random_temporal", {"width": 8, "kernels": "audio"}, 1_920),
        ("random_timbral_temporal", {"width": 256, "kernels": "audio"}, 604_672),
        ("random_timbral_temporal", {"width": 256}, 760_768),
        ("random_timbral_temporal", {"width": 8, "kernels": "audio"}, 18_896),
        ("random_timbral_temporal", {"width": 8}, 23_774),
        ("random_timbral_temporal", {"width": 4, "kernels": "audio"}, 9_448),
        ("random_vgg", {"width": 90}, 292_860),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_parameters_of_further_widths(network, options, wanted):
    assert n_parameters(create_empty(network, **options)) == wanted


@pytest.mark.parametrize(
    ("network", "n_features"),
    [
        ("random_sample_level", 3584),
        ("random_frame_level", 3584),
        ("random_frame_level_many", 3584),
        ("random_7x96", 3585),
        ("random_7x86", 3585),
        ("random_timbral", 3584),
        ("random_temporal", 3584),
        ("random_timbral_temporal", 3584),
        ("random_vgg", 3585),
    ],
)
def test_length_of_the_features_is_that_of_the_large_set_by_default(network, n_features):
    assert create_empty(network).n_features == n_features


@pytest.mark.parametrize(
    ("network", "n_features"),
    [
        ("random_sample_level", 161),
        ("random_frame_level", 160),
        ("random_frame_level_many", 160),
        ("random_7x96", 160),
        ("random_7x86", 160),
        ("random_timbral", 112),
        ("random_temporal", 112),
        ("random_timbral_temporal", 112),
        ("random_vgg", 160),
    ],
)
def test_length_of_the_features_of_the_small_set(network, n_features):
    assert layer_shapes(create(network), LEAST[network])["penultimate"] == (n_features,)


@pytest.mark.parametrize(
    ("n_samples", "lengths"),
    [
        (350_000, [116_666, 38_888, 12_962, 4_320, 1_440, 480, 160]),
        (48_000, [16_000, 5_333, 1_777, 592, 197, 65, 21]),
        (2_187, [729, 243, 81, 27, 9, 3, 1]),
    ],
    ids=["music", "urban sounds", "shortest"],
)
def test_lengths_of_the_sample_level_maps(n_samples, lengths):
    assert map_shapes("random_sample_level", n_samples, width=2) == [(length, 2) for length in lengths]


@pytest.mark.parametrize(
    ("network", "n_samples", "lengths"),
    [
        ("random_frame_level", 350_000, [10_922, 10_916, 10_916, 5_458]),
        ("random_frame_level", 48_000, [1_485, 1_479, 1_479, 739]),
        ("random_frame_level", 736, [8, 2, 2, 1]),
        ("random_frame_level_many", 350_000, [10_938] * 5 + [10_932, 10_932, 5_466]),
        ("random_frame_level_many", 48_000, [1_500] * 5 + [1_494, 1_494, 747]),
        ("random_frame_level_many", 225, [8] * 5 + [2, 2, 1]),
    ],
    ids=["music", "urban sounds", "shortest", "many, music", "many, urban sounds", "many, shortest"],
)
def test_lengths_of_the_frame_level_maps(network, n_samples, lengths):
    assert map_shapes(network, n_samples, width=2) == [(length, 2) for length in lengths]


@pytest.mark.parametrize("n_frames", [1376, 1404, 188])
@pytest.mark.parametrize(
    ("network", "n_lost", "n_channels"),
    [
        ("random_7x96", 6, [160]),
        ("random_7x86", 6, [160]),
        ("random_timbral", 0, [112]),
        ("random_temporal", 0, [112]),
        ("random_timbral_temporal", 0, [56, 56]),
    ],
)
def test_lengths_of_the_maps_that_are_pooled_over_mel(network, n_lost, n_channels, n_frames):
    assert map_shapes(network, n_frames) == [(n_frames - n_lost, n) for n in n_channels]


@pytest.mark.parametrize(
    ("n_frames", "sizes"),
    [
        (1376, [(344, 48), (86, 16), (17, 8), (4, 4), (1, 1)]),
        (1404, [(351, 48), (87, 16), (17, 8), (4, 4), (1, 1)]),
        (1280, [(320, 48), (80, 16), (16, 8), (4, 4), (1, 1)]),
    ],
)
def test_sizes_of_the_vgg_maps(n_frames, sizes):
    assert map_shapes("random_vgg", n_frames, width=2) == [(*size, 2) for size in sizes]


@pytest.mark.parametrize(
    ("network", "n_positions"),
    [("random_7x96", [1]), ("random_7x86", [11]), ("random_timbral", [11, 11, 11, 59, 59, 59])],
)
def test_positions_in_mel_that_are_pooled(network, n_positions):
    pools = [module for module in create(network).modules() if isinstance(module, nn.MaxPool2d)]
    assert [pool.kernel_size for pool in pools] == [(1, n) for n in n_positions]


def test_convolution_of_86_mels_leaves_11_positions():
    model = create("random_7x86", width=3)
    assert model.layer.conv(patches("random_7x86", 20).transpose(2, 3)).shape == (1, 3, 14, 11)


@each_network
def test_features_are_the_averages_of_the_maps(network):
    model = create(network)
    layers = layers_of(model, patches(network, LEAST[network] + 50))
    maps = [layers[name] for name in model.layers()[:-1]]
    means = torch.cat([values.flatten(1, -2).mean(1) for values in maps], 1)
    torch.testing.assert_close(layers["penultimate"], means)


@pytest.mark.parametrize(
    ("network", "width", "n_informative"),
    [
        ("random_frame_level", 896, 899),
        ("random_frame_level", 40, 43),
        ("random_frame_level_many", 448, 2243),
        ("random_frame_level_many", 20, 103),
    ],
)
def test_reference_pooling_leaves_few_features_that_are_not_zero(network, width, n_informative):
    model = create(network, width=width, backend_pooling="reference")
    assert layers_of(model, patches(network, 4000))["penultimate"].count_nonzero() == n_informative


@pytest.mark.parametrize("network", FRAME_LEVEL)
def test_reference_pooling_averages_back_end_maps_over_their_filters_too(network):
    x, width = patches(network, 2000), SMALL[network]
    each = layers_of(create(network), x)["penultimate"].unflatten(1, (-1, width))
    reference = layers_of(create(network, backend_pooling="reference"), x)["penultimate"].unflatten(1, (-1, width))
    torch.testing.assert_close(reference[:, -3:, 0], each[:, -3:].mean(2))


@pytest.mark.parametrize("network", FRAME_LEVEL)
def test_reference_pooling_averages_each_filter_of_the_front(network):
    x, n_back_end = patches(network, 2000), 3 * SMALL[network]
    each = layers_of(create(network), x)["penultimate"][:, :-n_back_end]
    reference = layers_of(create(network, backend_pooling="reference"), x)["penultimate"][:, :-n_back_end]
    assert torch.equal(reference, each)


@pytest.mark.parametrize("network", FRAME_LEVEL)
def test_per_filter_pooling_is_the_default(network):
    n_informative = layers_of(create(network), patches(network, 4000))["penultimate"].count_nonzero()
    assert n_informative > create(network).n_features // 2


def test_everything_learns_with_reference_pooling():
    model = create("random_frame_level", backend_pooling="reference")
    model.reset_head(3)
    model.forward_head(model.forward_features(patches("random_frame_level", 2000))).square().sum().backward()
    assert [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("network", FRAME_LEVEL)
def test_back_end_adds_what_went_in(network):
    model = create(network)
    fill(model.back2, weight=0.0, bias=-1.0)  # which ReLU makes 0
    fill(model.back3, weight=0.0, bias=-1.0)
    layers = layers_of(model, patches(network, 2000))
    pooled = nn.functional.max_pool1d(layers["back1"].transpose(1, 2), 2).transpose(1, 2)
    torch.testing.assert_close((layers["back2"], layers["back3"]), (layers["back1"], pooled))


@each_network
def test_kernels_start_with_the_spread_of_he(network):
    kernels = [p.flatten(1) for p in create(network).parameters() if p.ndim > 1]
    scaled = torch.cat([(kernel * math.sqrt(kernel.shape[1] / 2)).flatten() for kernel in kernels])
    assert scaled.std().item() == pytest.approx(1.0, rel=0.02)


@each_network
def test_kernels_are_cut_at_two_sigma(network):
    kernels = [p.flatten(1) for p in create(network).parameters() if p.ndim > 1]
    assert max((kernel.abs().max() * math.sqrt(kernel.shape[1] / 2.6)).item() for kernel in kernels) <= 2.00001


@each_network
def test_biases_start_at_zero(network):
    assert not biases(create(network)).any()


@each_network
def test_seed_gives_the_draw(network):
    first, second = create(network).state_dict(), create(network).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@each_network
def test_another_seed_gives_another_draw(network):
    first = create(network)
    second = taggram.create_model(network, width=SMALL[network])  # goes on in the same stream
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


@pytest.mark.parametrize(
    ("n_samples", "n_taps", "zeros"),
    [
        (350_000, 512, (248, 248)),
        (350_000, 256, (120, 120)),
        (350_000, 128, (56, 56)),
        (350_000, 64, (24, 24)),
        (350_000, 32, (8, 8)),
        (48_000, 512, (240, 240)),
        (48_000, 256, (112, 112)),
        (48_000, 128, (48, 48)),
        (48_000, 64, (16, 16)),
        (48_000, 32, (0, 0)),
        (225, 32, (15, 16)),
    ],
)
def test_zeros_around_the_sound_for_many_kernels(n_samples, n_taps, zeros):
    padded = SamePad1d(n_taps, stride=32)(torch.ones(1, 1, n_samples)).flatten()
    first = int(padded.argmax())
    assert (first, len(padded) - first - n_samples) == zeros


@pytest.mark.parametrize(
    ("network", "kernels", "channel", "zeros"),
    [
        ("random_timbral", None, 0, (3, 3)),
        ("random_timbral", None, 4, (1, 1)),
        ("random_timbral", None, 12, (0, 0)),
        ("random_timbral", None, 28, (3, 3)),
        ("random_timbral", None, 32, (1, 1)),
        ("random_timbral", None, 40, (0, 0)),
        ("random_temporal", "music", 0, (82, 82)),
        ("random_temporal", "music", 3, (63, 64)),
        ("random_temporal", "music", 10, (31, 32)),
        ("random_temporal", "music", 25, (15, 16)),
        ("random_temporal", "audio", 0, (31, 32)),
        ("random_temporal", "audio", 3, (15, 16)),
        ("random_temporal", "audio", 10, (7, 8)),
        ("random_temporal", "audio", 25, (3, 4)),
    ],
)
def test_impulse_shows_the_zeros_around_the_frames(network, kernels, channel, zeros):
    # With kernels of ones, an impulse reaches as far back as there are zeros at the end, and as far on as at the start.
    model = create(network, width=4, **({"kernels": kernels} if kernels else {}))
    fill(model, weight=1.0, bias=0.0)
    x = torch.zeros(1, 1, 96, 401)
    x[..., 200] = 1.0
    reached = maps_of(model, x)[0][0, :, channel].nonzero()
    assert (int(reached.max()) - 200, 200 - int(reached.min())) == zeros


@pytest.mark.parametrize(
    ("network", "conv", "n_taps"),
    [
        ("random_sample_level", "blocks.0.conv", 3),
        ("random_frame_level", "back2", 7),
        ("random_frame_level", "back3", 7),
    ],
)
def test_convolution_that_keeps_the_length_has_zeros_at_both_ends(network, conv, n_taps):
    model = fill(create(network, width=1), weight=1.0, bias=0.0)
    n_seen = model.get_submodule(conv)(torch.ones(1, 1, 50)).flatten().tolist()
    half = n_taps // 2
    assert n_seen == [*range(half + 1, n_taps), *[n_taps] * (50 - 2 * half), *reversed(range(half + 1, n_taps))]


def test_convolution_of_the_vgg_has_zeros_on_all_sides():
    model = fill(create("random_vgg", width=1), weight=1.0, bias=0.0)
    n_seen = model.blocks[0].conv(torch.ones(1, 1, 3, 3))[0, 0].tolist()
    assert n_seen == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@pytest.mark.parametrize(
    ("network", "n_filters"),
    [("random_timbral", [8, 16, 32, 8, 16, 32]), ("random_temporal", [6, 14, 30, 62])],
)
def test_order_of_the_branches(network, n_filters):
    assert [conv.out_channels for conv in convs_of(create(network))] == n_filters


@pytest.mark.parametrize("network", ["random_timbral", "random_temporal"])
def test_maps_of_the_branches_stand_in_order(network):
    model = create(network)
    wanted = torch.cat([fill(conv, weight=0.0, bias=number).bias for number, conv in enumerate(convs_of(model), 1)])
    assert torch.equal(layers_of(model, patches(network, 30))["penultimate"][0], wanted)


def test_temporal_filters_see_the_mean_of_the_mels():
    model, x = create("random_temporal"), patches("random_temporal", 200)
    mean = x.mean(2, keepdim=True).expand(-1, -1, 96, -1)
    torch.testing.assert_close(layers_of(model, x), layers_of(model, mean), rtol=1e-4, atol=1e-4)


def test_timbral_kernels_may_stand_anywhere_in_mel():
    model, x = create("random_timbral"), torch.zeros(1, 1, 96, 20)
    x[:, :, 45:55] = patches("random_timbral", 20)[:, :, 45:55]
    shifted = maps_of(model, x.roll(3, dims=2))[0][..., -32:]  # the lowest kernel, which meets all of it either way
    torch.testing.assert_close(maps_of(model, x)[0][..., -32:], shifted)


def test_kernels_are_of_the_mels_that_the_paper_names():
    heights = {tuple(p.shape[2:]) for p in create("random_timbral").parameters() if p.ndim == 4}
    assert heights == {(7, 86), (3, 86), (1, 86), (7, 38), (3, 38), (1, 38)}


@pytest.mark.parametrize("network", [network for network in SMALL if network != "random_vgg"])
def test_maps_of_relu_are_never_below_zero(network):
    maps = maps_of(create(network), patches(network, LEAST[network] + 50))
    assert all(values.min() >= 0 for values in maps)


def test_vgg_has_elu():
    model = create("random_vgg")
    fill(model.blocks[0], weight=0.0, bias=-2.0)
    pool1 = layers_of(model, patches("random_vgg", 1280))["pool1"]
    torch.testing.assert_close(pool1, torch.full_like(pool1, math.exp(-2) - 1))


@pytest.mark.parametrize(
    ("network", "width"),
    [
        ("random_sample_level", 100),
        ("random_7x96", 200),
        ("random_7x86", 200),
        ("random_timbral", 40),
        ("random_timbral_temporal", 32),
        ("random_vgg", 80),
    ],
)
def test_same_features_with_and_without_gradient(network, width):
    model, x = create(network, width=width), patches(network, LEAST[network] + 20)
    torch.testing.assert_close(layers_of(model, x)["penultimate"], model.forward_features(x).detach())


def test_features_are_those_of_the_order_in_the_paper():
    # convolution, activation, then pool
    model, x = create("random_7x86"), patches("random_7x86", 30)
    conv = nn.functional.conv2d(x.transpose(2, 3), model.layer.conv.weight, model.layer.conv.bias)
    wanted = nn.functional.max_pool2d(conv.relu(), (1, 11)).mean((2, 3))
    torch.testing.assert_close(layers_of(model, x)["penultimate"], wanted)


class Largest(TorchDispatchMode):
    """Remembers how many values the largest tensor has that an operation gave."""

    def __init__(self):
        super().__init__()
        self.n_values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = function(*args, **(kwargs or {}))
        self.n_values = max(self.n_values, *(leaf.numel() for leaf in tree_leaves(given) if torch.is_tensor(leaf)), 0)
        return given


@pytest.mark.parametrize(
    ("network", "width", "n_frames", "n_pooled"),
    [("random_7x86", 3585, 50, 3585 * 44), ("random_vgg", 640, 1280, 640 * 320 * 48)],
)
def test_map_before_a_pool_is_never_there_as_a_whole(network, width, n_frames, n_pooled):
    model, x = create(network, width=width), patches(network, n_frames)
    module = model.layer if network == "random_7x86" else model.blocks[0]
    with torch.inference_mode(), Largest() as largest:
        module(x.transpose(2, 3))
    assert largest.n_values == n_pooled


def test_filters_are_worked_on_in_parts_without_gradient():
    model = create("random_7x86")
    n_filters = []
    model.layer.pool.register_forward_hook(lambda module, inputs, output: n_filters.append(output.shape[1]))
    layers_of(model, patches("random_7x86", 10))
    assert n_filters == [N_AT_ONCE, N_AT_ONCE, 160 - 2 * N_AT_ONCE]


@each_network
def test_sound_is_taken_at_12_khz(network):
    assert create_empty(network).frontend.sample_rate == 12_000


@each_network
def test_length_of_a_patch_is_that_of_the_music_sets_by_default(network):
    assert create_empty(network).frontend.n_frames == (350_000 if network in WAVEFORM else 1376)


@each_network
def test_length_of_a_patch_can_be_chosen(network):
    length = LEAST[network] + 100
    assert create_empty(network, **{length_option(network): length}).frontend.n_frames == length


def test_decibels_are_those_of_librosa_with_reflection():
    frontend = create_empty("random_vgg").frontend
    sine = (2 * math.pi * 1000 / 12_000 * torch.arange(350_000, dtype=torch.float64)).sin().float()
    decibels = frontend(sine[None])[0, 0]
    found = [*decibels[33:36, 100].tolist(), decibels.min().item(), decibels.mean().item(), *decibels.shape]
    assert found == pytest.approx([16.3372, 26.3504, 25.5074, -53.6496, -46.911, 96, 1368], abs=1e-3)


def test_decibels_end_80_below_the_maximum_of_the_whole_clip():
    frontend = create_empty("random_vgg").frontend
    clip = torch.zeros(1, 24_000)
    clip[:, :6000] = patches("random_sample_level", 6000)[0]
    decibels = frontend(clip)
    assert (decibels.max() - decibels.min()).item() == pytest.approx(80.0, abs=1e-4)


@pytest.mark.parametrize("network", TOO_SHORT)
def test_patch_below_the_least_is_refused(network):
    option, least = length_option(network), LEAST[network]
    with pytest.raises(ConfigError, match=f"{option} is {least - 1}; this network needs at least {least}"):
        create_empty(network, **{option: least - 1})


def test_vgg_of_188_frames_is_refused():
    with pytest.raises(ConfigError, match="n_frames is 188; this network needs at least 1280"):
        create_empty("random_vgg", n_frames=188)


def test_vgg_tells_the_samples_that_it_needs():
    with pytest.raises(AudioError, match=r"48000 samples.* at least 327424"):
        create("random_vgg")(torch.zeros(1, 48_000))


@each_network
def test_shortest_patch_gives_finite_features(network):
    model = create(network, **{length_option(network): LEAST[network]})
    assert layers_of(model, patches(network, LEAST[network]))["penultimate"].isfinite().all()


@pytest.mark.parametrize("width", [0, -8, 2.5, True, "wide"])
@each_network
def test_width_that_is_no_count_is_refused(network, width):
    with pytest.raises(ConfigError, match=f"width is {width!r}"):
        create_empty(network, width=width)


@pytest.mark.parametrize("width", [2, 12, 512])
@pytest.mark.parametrize("network", ["random_temporal", "random_timbral_temporal"])
def test_width_without_temporal_filters_is_refused(network, width):
    with pytest.raises(ConfigError, match=rf"width is {width}; .*\(4, 8, 16, 32, 64, 128, 256\)"):
        create_empty(network, width=width)


@pytest.mark.parametrize("width", [4, 16, 32, 64])
def test_temporal_half_is_as_wide_as_the_timbral_one(width):
    model = create("random_timbral_temporal", width=width)
    timbral, temporal = maps_of(model, patches("random_timbral_temporal", 5))
    assert timbral.shape == temporal.shape == (1, 5, 14 * width)


@pytest.mark.parametrize("network", ["random_temporal", "random_timbral_temporal"])
def test_unknown_kernels_are_refused(network):
    with pytest.raises(ConfigError, match="wanted one of 'music', 'audio'"):
        create_empty(network, kernels="speech")


@pytest.mark.parametrize("network", FRAME_LEVEL)
def test_unknown_pooling_of_the_back_end_is_refused(network):
    with pytest.raises(ConfigError, match="wanted one of 'reference', 'per_filter'"):
        create_empty(network, backend_pooling="mean")
