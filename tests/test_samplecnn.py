"""SampleCNN: each member ends in one frame, is built and started as published, and refuses what does not fit."""

from __future__ import annotations

import _networks
import librosa
import numpy as np
import pytest
import torch
from _networks import (
    biases,
    create_empty,
    layer_shapes,
    limit_and_spread,
    n_parameters,
    norm_constants,
    unsettled,
)

from taggram.errors import ConfigError
from taggram.models.samplecnn import ConvNormReLU

MEMBERS = [  # kernel, depth, patch in samples, stride of the first convolution: all of the paper
    *((2, depth, 16_384, 2 ** (14 - depth)) for depth in range(6, 14)),
    *((2, depth, 32_768, 2 ** (15 - depth)) for depth in range(7, 15)),
    *((3, depth, 19_683, 3 ** (9 - depth)) for depth in range(3, 9)),
    *((3, depth, 59_049, 3 ** (10 - depth)) for depth in range(4, 10)),
    *((4, depth, 16_384, 4 ** (7 - depth)) for depth in range(3, 7)),
    *((4, depth, 65_536, 4 ** (8 - depth)) for depth in range(4, 8)),
    *((5, depth, 15_625, 5 ** (6 - depth)) for depth in range(3, 6)),
    *((5, depth, 78_125, 5 ** (7 - depth)) for depth in range(4, 7)),
]
MIXED = {  # the members of the DCASE 2017 entry: patch in samples, stride, kernel of each module
    "372 ms": (16_384, 2, [2] * 13),
    "557 ms": (24_576, 2, [2] * 12 + [3]),
    "627 ms": (27_648, 2, [2] * 9 + [3] * 3),
    "743 ms": (32_768, 2, [2] * 14),
    "893 ms": (39_366, 3, [3] * 8 + [2]),
    "1486 ms": (65_536, 2, [2] * 15),
    "2678 ms": (118_098, 3, [3] * 9 + [2]),
    "3543 ms": (156_250, 5, [5] * 6 + [2]),
}
LAYERS = {  # of 3^9: frames, channels, weights and biases of the convolution
    "conv1": (19_683, 128, 512),
    "pool2": (6_561, 128, 49_280),
    "pool3": (2_187, 128, 49_280),
    "pool4": (729, 256, 98_560),
    "pool5": (243, 256, 196_864),
    "pool6": (81, 256, 196_864),
    "pool7": (27, 256, 196_864),
    "pool8": (9, 256, 196_864),
    "pool9": (3, 256, 196_864),
    "pool10": (1, 512, 393_728),
    "conv11": (1, 512, 262_656),
}
WINDOWS = {"729/729": (729, 729), "729/243": (729, 243), "243/243": (243, 243), "243/81": (243, 81), "81/81": (81, 81)}
REFUSED = [  # options and what the message offers
    ({"n_samples": 60_000}, "59049 or 78732 would"),
    ({"depth": 10}, "depth is one of 3, 4, 5, 6, 7, 8, 9"),
    ({"kernel": 2, "depth": 13}, "57344 or 65536 would"),
    ({"n_samples": 100}, "39366 would"),
    ({"kernels": "3,3,3,2", "n_samples": 100}, "108 would"),
    ({"kernels": "3,x,3"}, "such as '3,3,3,2'"),
    ({"kernels": [3, 3]}, "3 to 24 whole numbers"),
    ({"kernels": 3}, "3 to 24 whole numbers"),
    ({"kernel": 3, "kernels": "3,3,3"}, "leave kernel and depth out"),
    ({"kernel": 1}, "from 2 on"),
    ({"depth": 2}, "from 3 to 24"),
    ({"depth": "9"}, "from 3 to 24"),
    ({"n_samples": 59_049.0}, "wanted a whole number"),
    ({"variant": "released"}, "one of 'paper', 'released_msd'"),
    ({"variant": "released_msd", "depth": 8}, "kernel=3, depth=9, n_samples=59049"),
]

each_member = pytest.mark.parametrize(
    ("kernel", "depth", "n_samples", "stride"), MEMBERS, ids=[f"{m}^{n} of {samples}" for m, n, samples, _ in MEMBERS]
)
each_mixed = pytest.mark.parametrize(("n_samples", "stride", "kernels"), MIXED.values(), ids=MIXED)
each_window = pytest.mark.parametrize(("window", "hop"), WINDOWS.values(), ids=WINDOWS)


def create(network="samplecnn", **options):
    return _networks.create(network, **options)


def shapes(network="samplecnn", **options):
    """Shape of each layer of a patch."""
    return layer_shapes(create_empty(network, **options))


def noise(*shape):
    return 0.1 * _networks.noise(*shape)


@pytest.mark.parametrize(("layer", "shape"), [(name, facts[:2]) for name, facts in LAYERS.items()], ids=LAYERS)
def test_shape_of_each_layer(layer, shape):
    assert shapes()[layer] == shape


@pytest.mark.parametrize(("layer", "n_weights"), [(name, facts[2]) for name, facts in LAYERS.items()], ids=LAYERS)
def test_weights_of_each_convolution(layer, n_weights):
    conv = create().trunk.get_submodule(layer.replace("pool", "conv")).conv
    assert n_parameters(conv) == n_weights


@each_member
def test_stride_of_each_member(kernel, depth, n_samples, stride):
    first = create(kernel=kernel, depth=depth, n_samples=n_samples).trunk.conv1.conv
    assert (first.kernel_size, first.stride) == ((stride,), (stride,))


@each_member
def test_each_member_ends_in_one_frame(kernel, depth, n_samples, stride):
    found = shapes(kernel=kernel, depth=depth, n_samples=n_samples)
    assert (found["conv1"], found[f"conv{depth + 2}"]) == ((kernel**depth, 128), (1, 512))


@each_mixed
def test_modules_of_different_kernels_end_in_one_frame(n_samples, stride, kernels):
    found = shapes(kernels=kernels, n_samples=n_samples, sample_rate=44_100)
    assert (found["conv1"], found[f"conv{len(kernels) + 2}"]) == ((n_samples // stride, 128), (1, 512))


def test_kernels_can_be_a_string():
    assert shapes(kernels="3,3,3,2", n_samples=108) == shapes(kernels=[3, 3, 3, 2], n_samples=108)


def test_kernels_all_the_same_give_the_member_of_that_kernel():
    assert shapes(kernels=[3] * 4, n_samples=243) == shapes(kernel=3, depth=4, n_samples=243)


@pytest.mark.parametrize(
    ("depth", "widths"), [(3, [128, 128, 512]), (4, [128, 128, 256, 512]), (6, [128, 128, 256, 256, 256, 512])]
)
def test_filters_of_the_modules(depth, widths):
    found = shapes(depth=depth, n_samples=2 * 3**depth)
    assert [found[f"conv{number}"][1] for number in range(2, depth + 2)] == widths


def test_layers_are_named_after_the_steps_of_the_trunk():
    model = create(depth=3, n_samples=81)
    assert model.layers() == ("conv1", "conv2", "pool2", "conv3", "pool3", "conv4", "pool4", "conv5", "penultimate")


def test_released_tagger_is_narrower_at_the_top():
    found = shapes(variant="released_msd")
    assert (found["pool9"], found["conv10"], found["penultimate"]) == ((3, 256), (3, 256), (256,))


@pytest.mark.parametrize(("variant", "dropout"), [("paper", 0.5), ("released_msd", 0.0)])
def test_dropout_before_the_head(variant, dropout):
    assert create(variant=variant).head_dropout.p == dropout


@pytest.mark.parametrize("network", ["samplecnn_mel", "samplecnn_frame"])
def test_dropout_before_the_head_of_the_frame_level_networks(network):
    assert create_empty(network).head_dropout.p == 0.5


@pytest.mark.parametrize("n_samples", [59_048, 59_050])
def test_only_the_length_of_the_patch_is_taken(n_samples):
    with pytest.raises(ConfigError, match="exactly 59049"):
        create().check_patch_frames(n_samples)


@pytest.mark.parametrize(
    ("number", "frames", "channels"),
    [(1, 243, 128), (2, 243, 128), (3, 81, 128), (4, 27, 256), (5, 9, 256), (6, 3, 256)],
)
def test_begin_of_the_trunk_takes_729_samples(number, frames, channels):
    trunk = create().trunk
    names = [name for name, _ in trunk.named_children()]
    assert trunk[: names.index(f"conv{number}") + 1](noise(1, 1, 729)).shape == (1, channels, frames)


def test_gradient_of_a_filter_reaches_the_sound():
    sound = noise(1, 1, 729).requires_grad_()
    create().trunk[:7](sound)[:, 0].mean().backward()  # up to the fourth module
    assert sound.grad.abs().sum() > 0


def test_convolution_is_seen_before_its_pool():
    layers = create(depth=3, n_samples=81).forward_layers(noise(1, 1, 81))
    pooled = torch.nn.functional.max_pool1d(layers["conv2"].transpose(1, 2), 3)
    torch.testing.assert_close(layers["pool2"].transpose(1, 2), pooled)


def test_layers_are_seen_after_the_relu():
    assert create(depth=3, n_samples=81).forward_layers(noise(1, 1, 81))["conv3"].min() == 0


@pytest.mark.parametrize(("kernel", "tap"), [(2, 0), (3, 1), (4, 1), (5, 2)])
def test_same_padding_puts_the_odd_zero_at_the_end(kernel, tap):
    layer = ConvNormReLU(1, 1, kernel)
    with torch.no_grad():
        layer.conv.weight.zero_()[0, 0, tap] = 1.0  # what lies in the middle, or just before it
    sound = noise(1, 1, 16)
    torch.testing.assert_close(layer.conv(layer.pad(sound)) - layer.conv.bias[:, None], sound)


@pytest.mark.parametrize("name", ["conv1", "conv4", "conv10", "conv11"])
def test_kernels_start_with_he_uniform(name):
    kernel = create().trunk.get_submodule(name).conv.weight
    limit = (6 / kernel[0].numel()) ** 0.5
    assert limit_and_spread(kernel) == pytest.approx((limit, limit), rel=0.1)


def test_biases_start_at_zero():
    assert not biases(create(n_tags=50)).any()


def test_head_starts_with_glorot_uniform():
    limit = (6 / (512 + 50)) ** 0.5
    assert limit_and_spread(create(n_tags=50).head.weight) == pytest.approx((limit, limit), rel=0.05)


def test_batch_norm_has_the_constants_of_the_released_model():
    assert norm_constants(create()) == {(1e-5, 0.01)}


@torch.no_grad()
def test_norm_stands_between_convolution_and_relu():
    torch.manual_seed(0)
    layer, sound = unsettled(ConvNormReLU(2, 3, 5)).eval(), noise(1, 2, 40)
    torch.testing.assert_close(layer(sound), layer.bn(layer.conv(sound)).relu())


@each_window
@pytest.mark.parametrize("network", ["samplecnn_mel", "samplecnn_frame"])
def test_frame_level_networks_end_in_one_frame(network, window, hop):
    found = list(shapes(network, window=window, hop=hop).values())
    assert (found[0][0], found[-2]) == (59_049 // hop, (1, 512))


@each_window
def test_spectrogram_of_a_patch_has_a_frame_a_hop(window, hop):
    frontend = create("samplecnn_mel", window=window, hop=hop).frontend
    assert frontend(noise(1, 59_049)).shape == (1, 1, 128, 59_049 // hop)


@each_window
def test_window_on_the_waveform_is_centred_on_its_hop(window, hop):
    conv = create("samplecnn_frame", window=window, hop=hop).trunk.conv1.conv
    with torch.no_grad():
        conv.weight.zero_()[:, :, window // 2] = 1.0
    sound = noise(1, 1, 59_049)
    torch.testing.assert_close(conv(sound)[:, :1], sound[:, :, hop // 2 :: hop])


def test_window_of_one_hop_is_the_member_of_that_depth():
    assert shapes("samplecnn_frame", window=27, hop=27) == shapes(depth=7)


@each_window
@pytest.mark.filterwarnings("ignore:Empty filters")  # a short window has fewer bins than there are bands
def test_mel_frame_is_log10_of_the_mel_magnitudes_about_its_hop(window, hop):
    frontend = create("samplecnn_mel", window=window, hop=hop).frontend
    sound = noise(1, 59_049)
    start = 7 * hop - (window - hop) // 2
    windowed = sound[0, start : start + window].double().numpy() * np.hanning(window + 1)[:-1]
    filters = librosa.filters.mel(sr=22_050, n_fft=window, n_mels=128)
    expected = np.log10(1 + 10 * filters @ np.abs(np.fft.rfft(windowed)))
    np.testing.assert_allclose(frontend(sound)[0, 0, :, 7], expected, atol=1e-5)


def test_statistics_of_a_training_set_scale_the_spectrogram():
    model = create("samplecnn_mel", window=729, hop=729)
    patches = noise(1, 1, 128, 81)
    expected = model.forward_features((patches - 0.2) / 0.3)
    model.standardize.set_statistics(torch.tensor([0.2]), torch.tensor([0.3]))
    torch.testing.assert_close(model.forward_features(patches), expected)


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_what_does_not_fit_is_refused_with_what_would(options, message):
    with pytest.raises(ConfigError, match=message):
        create(**options)


@pytest.mark.parametrize("network", ["samplecnn_mel", "samplecnn_frame"])
@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [(243, 80, "one of 3, 9, 27, 81, 243, 729"), (79, 81, "the hop, 81, or"), (512, 81, "an even number")],
)
def test_window_and_hop_that_do_not_fit_are_refused(network, window, hop, message):
    with pytest.raises(ConfigError, match=message):
        create(network, window=window, hop=hop)
