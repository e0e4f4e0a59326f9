"""SampleCNN with other blocks: each block is what it says, and the options give what both publications had."""

from __future__ import annotations

from functools import partial

import _networks
import pytest
import torch
import torch.nn.functional as F
from _networks import biases, layer_shapes, limit_and_spread, n_parameters, norm_constants, unsettled

from taggram.errors import ConfigError
from taggram.models.rese import STATISTICS, MiddleFrame, SqueezeExcite

BLOCKS = ("basic", "se", "res1", "res2", "rese1", "rese2")
SMALL = {"n_blocks": 3, "n_samples": 162, "se_ratio": 0.125}  # widths 128, 128, 512; frames 54, 18, 6, 2
WIDTHS = [128, 128, 128, 256, 256, 256, 256, 256, 256, 512]  # conv1 and nine blocks
FRAMES = {  # n_blocks, n_samples: frames of conv1 and of each block
    (9, 59_049): [19_683, 6_561, 2_187, 729, 243, 81, 27, 9, 3, 1],
    (8, 22_050): [7_350, 2_450, 816, 272, 90, 30, 10, 3, 1],
    (9, 64_000): [21_333, 7_111, 2_370, 790, 263, 87, 29, 9, 3, 1],
}
REFUSED = [  # options and what the message offers
    ({"block": "se2"}, "one of 'basic', 'se', 'res1', 'res2', 'rese1', 'rese2'"),
    ({"down_sampling": "mean"}, "one of 'max', 'avg', 'stride'"),
    ({"init": "he"}, "one of 'icassp', 'journal'"),
    ({"padding": "zeros"}, "one of 'valid', 'same'"),
    ({"standardize": "msd"}, "one of 'none', 'mtt', 'speech_commands', 'dcase2017'"),
    ({"se_ratio": 0}, "from 1/128 on"),
    ({"se_ratio": float("nan")}, "from 1/128 on"),
    ({"se_ratio": True}, "from 1/128 on"),
    ({"multi_level": "yes"}, "True or False"),
    ({"n_blocks": 2}, "from 3 to 15"),
    ({"n_blocks": 16}, "from 3 to 15"),
    ({"n_samples": 59_048}, "from 59049 on with 9 blocks"),
    ({"n_samples": 59_049.0}, "from 59049 on with 9 blocks"),
    ({"n_samples": 59_046, "padding": "same"}, "from 59047 on with 9 blocks"),
]

create = partial(_networks.create, "rese")
create_empty = partial(_networks.create_empty, "rese")
small = partial(create, **SMALL)

each_block = pytest.mark.parametrize("block", BLOCKS)
each_length = pytest.mark.parametrize(
    ("length", "frames"), FRAMES.items(), ids=[f"{blocks} blocks, {samples}" for blocks, samples in FRAMES]
)


def shapes(**options):
    """Shape of each layer of a patch."""
    return layer_shapes(create_empty(**options))


def noise(*shape):
    return 0.1 * _networks.noise(*shape)


@each_length
@pytest.mark.parametrize("down_sampling", ["max", "avg", "stride"])
@pytest.mark.parametrize("block", ["basic", "rese2"])
def test_frames_of_each_block(block, down_sampling, length, frames):
    found = shapes(n_blocks=length[0], n_samples=length[1], block=block, down_sampling=down_sampling)
    assert [found[name][0] for name in list(found)[:-2]] == frames


@each_block
def test_channels_of_each_block(block):
    assert [shape[1] for shape in list(shapes(block=block).values())[:-2]] == WIDTHS


def test_channels_of_eight_blocks():
    found = shapes(n_blocks=8, n_samples=22_050)
    assert [found[f"block{number}"][1] for number in range(1, 9)] == [128, 128, 256, 256, 256, 256, 256, 512]


@pytest.mark.parametrize(("multi_level", "width"), [(True, 1024), (False, 512)])
def test_width_of_the_features(multi_level, width):
    found = shapes(multi_level=multi_level)
    assert (found["pooled"], found["penultimate"]) == ((width,), (width,))


def test_levels_are_the_maxima_of_the_last_three_blocks():
    layers = small().forward_layers(noise(2, 1, 162))
    maxima = [layers[f"block{number}"].amax(1) for number in (1, 2, 3)]
    torch.testing.assert_close(layers["pooled"], torch.cat(maxima, 1))


def test_without_levels_the_last_block_counts_alone():
    layers = small(multi_level=False).forward_layers(noise(2, 1, 162))
    torch.testing.assert_close(layers["pooled"], layers["block3"].amax(1))


@pytest.mark.parametrize(("padding", "least"), [("valid", 59_049), ("same", 59_047)])
def test_shortest_sound(padding, least):
    assert create(block="basic", padding=padding, n_samples=70_000).least_frames == least


@pytest.mark.parametrize(("padding", "least"), [("valid", 59_049), ("same", 59_047)])
def test_shortest_sound_leaves_one_frame(padding, least):
    assert shapes(n_samples=least, padding=padding)["block9"] == (1, 512)


@pytest.mark.parametrize("n_samples", [59_047, 59_048, 59_049])
def test_same_padding_fills_the_last_frame(n_samples):
    found = shapes(padding="same", n_samples=n_samples)
    assert (found["conv1"], found["block9"]) == ((19_683, 128), (1, 512))


def test_same_padding_adds_nothing_to_a_multiple_of_three():
    sound = noise(2, 162)
    torch.testing.assert_close(small(padding="same")(sound), small(padding="valid")(sound))


def test_same_padding_puts_the_odd_zero_at_the_end():
    model, sound = small(padding="same"), noise(2, 161)
    torch.testing.assert_close(model(sound), model(F.pad(sound, (0, 1))))


def test_longer_sound_is_taken():
    assert small(block="se")(noise(2, 500)).shape == (2, 768)


def test_open_gates_leave_the_basic_block():
    basic, se = small(block="basic"), small(block="se")
    se.load_state_dict(basic.state_dict(), strict=False)
    for block in se.blocks:
        torch.nn.init.constant_(block.se.excite[2].bias, 100.0)
    sound = noise(2, 162)
    torch.testing.assert_close(se(sound), basic(sound))


@pytest.mark.parametrize(("residual", "gated"), [("res1", "rese1"), ("res2", "rese2")])
def test_open_gates_leave_the_residual_block(residual, gated):
    plain, se = small(block=residual), small(block=gated)
    se.load_state_dict(plain.state_dict(), strict=False)
    for block in se.blocks:
        torch.nn.init.constant_(block.se.excite[2].bias, 100.0)
    sound = noise(2, 162)
    torch.testing.assert_close(se(sound), plain(sound))


@pytest.mark.parametrize("index", [0, 2], ids=["as many channels", "more channels"])
@pytest.mark.parametrize("name", ["res1", "res2", "rese1", "rese2"])
def test_residual_block_without_a_branch_is_its_shortcut(name, index):
    block = unsettled(small(block=name)).blocks[index]
    for parameter in block.branch.parameters():
        torch.nn.init.zeros_(parameter)
    block.branch[-1].running_mean.zero_()
    x = noise(2, 128, 12)
    torch.testing.assert_close(block(x), F.max_pool1d(block.shortcut(x).relu(), 3))


@pytest.mark.parametrize("name", ["res1", "res2", "rese1", "rese2"])
def test_shortcut_is_a_convolution_only_where_channels_change(name):
    blocks = create_empty(block=name).blocks
    assert [number for number, block in enumerate(blocks, start=1) if len(block.shortcut)] == [3, 9]


@torch.no_grad()
def test_norm_stands_between_the_first_convolution_and_its_relu():
    first, sound = unsettled(small()).conv1, noise(2, 1, 162)
    torch.testing.assert_close(first(sound), first.bn(first.conv(sound)).relu())


@torch.no_grad()
def test_norm_stands_between_the_dense_layer_and_its_relu():
    model = unsettled(small())
    layers = model.forward_layers(noise(2, 1, 162))
    linear, norm, _ = model.dense
    torch.testing.assert_close(layers["penultimate"], norm(linear(layers["pooled"])).relu())


def test_gate_of_a_plain_block_comes_after_the_pool():
    block = small(block="se").blocks[0]
    x = noise(2, 128, 12)
    pooled = F.max_pool1d(block.bn(block.conv(x)).relu(), 3)
    torch.testing.assert_close(block(x), pooled * block.se.excite(pooled.mean(2))[:, :, None])


def test_gate_of_a_residual_block_comes_before_the_sum():
    block = small(block="rese1").blocks[0]
    x = noise(2, 128, 12)
    branch = block.branch(x)
    gated = branch * block.se.excite(branch.mean(2))[:, :, None]
    torch.testing.assert_close(block(x), F.max_pool1d((x + gated).relu(), 3))


@pytest.mark.parametrize(("block", "dropouts"), [("res1", []), ("rese1", []), ("res2", [0.2]), ("rese2", [0.2])])
def test_dropout_is_between_two_convolutions(block, dropouts):
    branch = small(block=block).blocks[0].branch
    assert [step.p for step in branch if isinstance(step, torch.nn.Dropout)] == dropouts


def test_dropout_before_the_head():
    assert small().head_dropout.p == 0.5


@pytest.mark.parametrize(("ratio", "n_hidden"), [(16, 2048), (0.125, 16), (1, 128)])
def test_ratio_widens_or_narrows_the_gate(ratio, n_hidden):
    assert SqueezeExcite(128, ratio).excite[0].out_features == n_hidden


@pytest.mark.parametrize("block", ["se", "rese1", "rese2"])
def test_excitations_can_be_seen(block):
    model, seen = small(block=block), []
    for each in model.blocks:
        each.se.excite.register_forward_hook(lambda module, given, excitation: seen.append(excitation))
    model(noise(2, 162))
    assert [tuple(excitation.shape) for excitation in seen] == [(2, 128), (2, 128), (2, 512)]


@each_block
def test_maps_are_seen_after_the_relu_and_before_the_pool(block):
    model, seen = create(block=block, se_ratio=0.125, n_blocks=5, n_samples=729), []
    for each in model.blocks:
        each.relu.register_forward_hook(lambda module, given, found: seen.append(found))
    model(noise(1, 729))
    assert [found.shape[2] for found in seen] == [243, 81, 27, 9, 3]


@pytest.mark.parametrize("index", [0, 2], ids=["as many channels", "more channels"])
@pytest.mark.parametrize("name", ["basic", "se", "res1", "res2"])  # elsewhere the gate sees a third of the frames
def test_strided_block_takes_the_middle_frame_instead_of_the_maximum(name, index):
    strided = unsettled(small(block=name, down_sampling="stride")).blocks[index]
    pooled = small(block=name).blocks[index]
    pooled.load_state_dict(strided.state_dict())
    pooled.pool = MiddleFrame()
    x = noise(2, 128, 20)
    torch.testing.assert_close(strided(x), pooled(x))


@pytest.mark.parametrize(("n_frames", "kept"), [(3, [1]), (4, [1]), (5, [1]), (6, [1, 4]), (8, [1, 4])])
def test_middle_frame(n_frames, kept):
    assert MiddleFrame()(torch.arange(n_frames)[None, None])[0, 0].tolist() == kept


def test_average_is_taken_of_three_frames():
    block = small(block="basic", down_sampling="avg").blocks[0]
    x = noise(2, 128, 12)
    frames = block.bn(block.conv(x)).relu()
    torch.testing.assert_close(block(x), frames.unflatten(2, (4, 3)).mean(3))


@pytest.mark.parametrize("down_sampling", ["avg", "stride"])
@each_block
def test_down_sampling_has_no_parameters(block, down_sampling):
    assert n_parameters(small(block=block, down_sampling=down_sampling)) == n_parameters(small(block=block))


@pytest.mark.parametrize(
    ("init", "name", "limit"),
    [
        ("icassp", "conv1.conv", (6 / 3) ** 0.5),
        ("icassp", "blocks.1.branch.4", (6 / (3 * 128)) ** 0.5),
        ("journal", "conv1.conv", 1.0),
        ("journal", "blocks.1.branch.4", (6 / (3 * 128**2)) ** 0.5),
        ("journal", "blocks.2.shortcut.0", (6 / (128 + 512)) ** 0.5),
        ("icassp", "blocks.2.shortcut.0", (6 / (128 + 512)) ** 0.5),
        ("icassp", "blocks.2.se.excite.0", (6 / (512 + 64)) ** 0.5),
        ("icassp", "dense.0", (6 / (768 + 768)) ** 0.5),
        ("icassp", "head", (6 / (768 + 50)) ** 0.5),
    ],
)
def test_kernels_start_within_the_published_limits(init, name, limit):
    weight = small(n_tags=50, init=init).get_submodule(name).weight
    assert limit_and_spread(weight) == pytest.approx((limit, limit), rel=0.08)


def test_biases_start_at_zero():
    assert not biases(small(n_tags=50)).any()


def test_batch_norm_has_the_constants_of_keras():
    assert norm_constants(small()) == {(1e-3, 0.01)}


@pytest.mark.parametrize("name", STATISTICS)
def test_samples_are_scaled_by_published_statistics(name):
    mean, std = STATISTICS[name]
    sound = noise(2, 162)
    torch.testing.assert_close(small(standardize=name)(sound), small()((sound - mean) / std))


@pytest.mark.parametrize("options", [{}, {"n_blocks": 8, "n_samples": 22_050}], ids=["ICASSP", "journal"])
def test_sample_rate_of_the_source(options):
    assert create_empty(**options).frontend.sample_rate == 22_050


def test_samples_are_not_scaled_by_default():
    assert small().standardize is None


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused_with_what_would(options, message):
    with pytest.raises(ConfigError, match=message):
        create(**options)
