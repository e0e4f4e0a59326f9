"""The two networks of music tagging at scale: golden outputs of the original, lengths, counts and options."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from _networks import create, create_empty, layer_shapes, librosa_mel, n_parameters, noise, norm_constants
from torch import nn

from taggram.errors import AudioError, ConfigError
from taggram.models._blocks import ConvReluNorm
from taggram.models.at_scale import ScalarNorm

GOLDEN = json.loads((Path(__file__).parent / "golden" / "at_scale.json").read_text(encoding="utf-8"))["models"]
WAVEFORM, SPECTROGRAM = "at_scale_waveform", "at_scale_spectrogram"
AS_THE_CODE = {WAVEFORM: {}, SPECTROGRAM: {"standardize_patch": False}}  # which begins with the first convolution
SUM_TOLERANCE = {WAVEFORM: 0.05, SPECTROGRAM: 0.5}
BACK_END, DENSE, HEAD = 11, 14, 15  # numbers of layers in the golden formula; those of the front-end begin at 1

each_network = pytest.mark.parametrize("network", [WAVEFORM, SPECTROGRAM])


def golden_waveform():
    s = np.arange(48_000) / 16_000
    return (0.5 * np.sin(2 * np.pi * 220 * s) + 0.25 * np.sin(2 * np.pi * 1730 * s)).astype(np.float32)


def golden_spectrogram():
    """(frames, mels) as it enters the first convolutions."""
    t, f = np.meshgrid(np.arange(188), np.arange(96), indexing="ij")
    return ((5 * (t // 8) + 3 * f + f * f // 7) % 32 / 8 * (96 - f) / 96).astype(np.float32)


def golden_patch(network):
    """(1, 1, samples) or (1, 1, mels, frames)."""
    values = golden_waveform() if network == WAVEFORM else golden_spectrogram().T
    return torch.from_numpy(values)[None, None]


def uniform(shape, seed):
    """Pseudo-random numbers from 0 to 1 by the golden formula, float64."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.int64)
    return ((index * 1_103_515_245 + 12_345 * (seed + 1)) % 2**31 / 2**31).double().reshape(shape)


@torch.no_grad()
def fill(number, layer, norm=None):
    """Give a layer and its batch norm the parameters of the golden formula."""
    shape, seed = layer.weight.shape, 10 * number
    layer.weight.copy_((2 * uniform(shape, seed) - 1) * (6 / shape[1:].numel()) ** 0.5)
    layer.bias.copy_(0.1 * (2 * uniform(layer.bias.shape, seed + 1) - 1))
    if norm is not None:
        norm.weight.copy_(0.5 + uniform(norm.weight.shape, seed + 2))
        norm.bias.copy_(0.2 * (2 * uniform(norm.bias.shape, seed + 3) - 1))
        norm.running_mean.copy_(0.2 * uniform(norm.running_mean.shape, seed + 4))
        norm.running_var.copy_(0.5 + uniform(norm.running_var.shape, seed + 5))


@cache
def golden_model(network):
    model = create(network, n_tags=50, **AS_THE_CODE[network])
    blocks = [module for module in model.modules() if isinstance(module, ConvReluNorm)]
    numbers = [*range(1, len(blocks) - 2), *range(BACK_END, DENSE)]
    for number, block in zip(numbers, blocks, strict=True):
        fill(number, block.conv, block.bn)
    fill(DENSE, model.back_end.dense, model.back_end.bn_dense)
    fill(HEAD, model.head)
    return model


@cache
def golden_map(network):
    """(frames, channels) that the front-end gives for the golden input."""
    return golden_model(network).forward_layers(golden_patch(network))["front_end"][0].detach().double().numpy()


def test_waveform_is_the_golden_one():
    np.testing.assert_allclose(golden_waveform()[1:4], [0.20021883, 0.33036453, 0.3513403], rtol=0, atol=1e-7)


def test_spectrogram_is_the_golden_one():
    assert golden_spectrogram().astype(np.float64).sum() == pytest.approx(17665.390619736165, abs=1e-9)


def test_weights_are_the_golden_ones():
    first = golden_model(WAVEFORM).convs[0].conv.weight.flatten()[:4].tolist()
    assert first == pytest.approx([-1.4140347, 0.0393931, -1.3356062, 0.11782159], abs=1e-6)


@each_network
def test_front_end_has_the_golden_shape(network):
    assert list(golden_map(network).shape) == GOLDEN[network]["front_end"]["shape"]


@each_network
def test_front_end_has_the_golden_sum(network):
    wanted = GOLDEN[network]["front_end"]["sum"]
    assert golden_map(network).sum() == pytest.approx(wanted, abs=SUM_TOLERANCE[network])


@each_network
def test_front_end_has_the_golden_maximum(network):
    assert np.abs(golden_map(network)).max() == pytest.approx(GOLDEN[network]["front_end"]["abs_max"], abs=2e-5)


@each_network
def test_first_frame_of_the_front_end_is_the_golden_one(network):
    wanted = GOLDEN[network]["front_end"]["first_row_first_8"]
    np.testing.assert_allclose(golden_map(network)[0, :8], wanted, rtol=0, atol=2e-5)


@each_network
def test_middle_frame_of_the_front_end_is_the_golden_one(network):
    found = golden_map(network)
    wanted = GOLDEN[network]["front_end"]["middle_row_last_8"]
    np.testing.assert_allclose(found[len(found) // 2, -8:], wanted, rtol=0, atol=2e-5)


@each_network
def test_channels_of_the_front_end_have_the_golden_sums(network):
    wanted = GOLDEN[network]["front_end"]["column_sums_first_8"]
    np.testing.assert_allclose(golden_map(network).sum(0)[:8], wanted, rtol=0, atol=1e-3)


@each_network
def test_probabilities_are_the_golden_ones(network):
    model = golden_model(network)
    scores = model.scores(model.forward_head(model.forward_features(golden_patch(network))))
    np.testing.assert_allclose(scores[0].detach().numpy(), GOLDEN[network]["probabilities"], rtol=0, atol=1e-5)


def test_spectrogram_is_log10_of_that_of_librosa():
    sound = 0.1 * noise(1, 48_000)
    wanted = np.log10(1 + 10_000 * librosa_mel(sound[0], sr=16_000, n_fft=512, hop_length=256, n_mels=96))
    frames = create_empty(SPECTROGRAM).frontend(sound)
    np.testing.assert_allclose(frames[0, 0].numpy(), wanted, rtol=0, atol=1e-4)


def test_standardised_patch_is_the_plain_one_of_mean_0_and_deviation_1():
    patch = golden_patch(SPECTROGRAM)
    standardising = create(SPECTROGRAM, n_tags=50)
    standardising.load_state_dict(golden_model(SPECTROGRAM).state_dict())
    wanted = golden_model(SPECTROGRAM).forward_features((patch - patch.mean()) / patch.std(correction=0))
    torch.testing.assert_close(standardising.forward_features(patch), wanted, rtol=0, atol=1e-4)


def test_each_patch_is_standardised_by_itself():
    patches = golden_patch(SPECTROGRAM) * torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1)
    norm = create_empty(SPECTROGRAM).patch_norm
    torch.testing.assert_close(norm(patches)[1:], norm(patches[1:]))


@pytest.mark.parametrize("factor", [0.1, 100.0])
def test_standardised_patch_is_the_same_at_any_scale(factor):
    patch = golden_patch(SPECTROGRAM)
    norm = create_empty(SPECTROGRAM).patch_norm
    torch.testing.assert_close(norm(factor * patch + 3.0), norm(patch), rtol=0, atol=1e-3)


def test_standardised_silence_is_zero():
    assert not create_empty(SPECTROGRAM).patch_norm(torch.zeros(1, 1, 188, 96)).any()


FRAMES_OF_CONVS = {
    240_000: (80_000, 26_666, 8_888, 2_962, 986, 328, 108),
    48_000: (16_000, 5_332, 1_776, 591, 196, 64, 20),
}


@pytest.mark.parametrize("n_samples", FRAMES_OF_CONVS)
def test_frames_that_the_convolutions_leave_of_a_waveform(n_samples):
    shapes = list(layer_shapes(create_empty(WAVEFORM), n_samples).values())[:7]
    assert shapes == list(zip(FRAMES_OF_CONVS[n_samples], (64, 64, 64, 128, 128, 128, 256)))


@pytest.mark.parametrize(("n_samples", "n_frames"), [(59_049, 26), (246_000, 111), (465_600, 211), (19_680, 8)])
def test_frames_that_the_front_end_makes_of_other_waveforms(n_samples, n_frames):
    assert layer_shapes(create_empty(WAVEFORM), n_samples)["front_end"] == (n_frames, 256)


FRAMES_OF_BACK_END = [
    pytest.param(WAVEFORM, 240_000, 102, 51, id="waveform of 15 s"),
    pytest.param(WAVEFORM, 48_000, 14, 7, id="waveform of 3 s"),
    pytest.param(SPECTROGRAM, 938, 932, 466, id="spectrogram of 15 s"),
    pytest.param(SPECTROGRAM, 188, 182, 91, id="spectrogram of 3 s"),
]


@pytest.mark.parametrize(("network", "length", "before_pool", "after_pool"), FRAMES_OF_BACK_END)
def test_frames_of_the_back_end(network, length, before_pool, after_pool):
    shapes = layer_shapes(create_empty(network), length)
    assert {name: shapes[name] for name in ("cnn1", "cnn2", "pool", "cnn3")} == {
        "cnn1": (before_pool, 512), "cnn2": (before_pool, 512), "pool": (after_pool, 512), "cnn3": (after_pool, 512)
    }  # fmt: skip


@pytest.mark.parametrize("n_frames", [188, 938])
def test_front_end_keeps_the_frames_of_a_spectrogram(n_frames):
    shapes = layer_shapes(create_empty(SPECTROGRAM), n_frames)
    assert [shapes[name] for name in ("timbral", "temporal", "front_end")] == [
        (n_frames, 224), (n_frames, 240), (n_frames, 464)
    ]  # fmt: skip


@pytest.mark.parametrize(("n_samples", "n_frames"), [(48_000, 188), (240_000, 938)])
def test_frames_of_a_spectrogram(n_samples, n_frames):
    assert create_empty(SPECTROGRAM).frontend.n_frames_in(n_samples) == n_frames


@each_network
def test_network_takes_20_s(network):
    with torch.inference_mode():
        assert create(network)(0.1 * noise(1, 320_000)).isfinite().all()


@pytest.mark.parametrize(("network", "n_samples", "least"), [(WAVEFORM, 19_679, 19_680), (SPECTROGRAM, 1_791, 1_792)])
def test_sound_that_leaves_7_frames_to_the_back_end_is_refused(network, n_samples, least):
    with pytest.raises(AudioError, match=f"{n_samples} samples.* at least {least}"):
        create(network)(torch.zeros(1, n_samples))


@pytest.mark.parametrize(("network", "patch_shape"), [(WAVEFORM, (19_679,)), (SPECTROGRAM, (96, 7))])
def test_no_shorter_patch_is_left_anything_by_the_pool(network, patch_shape):
    with pytest.raises(RuntimeError, match="pool"):
        create(network).forward_layers(torch.zeros(1, 1, *patch_shape))


def one_band(mel):
    """(1, 1, mels, frames) of whole numbers in one band, so that its means are exact, and zeros."""
    patch = torch.zeros(1, 1, 96, 40)
    patch[0, 0, mel] = torch.arange(40) % 7
    return patch


@pytest.mark.parametrize("branch", range(6))
@torch.no_grad()
def test_timbral_branch_does_not_tell_where_a_band_is(branch):
    model = create(SPECTROGRAM, **AS_THE_CODE[SPECTROGRAM])
    kernel = model.timbral[branch].conv.weight  # (filters, 1, frames, mels)
    inside = kernel.shape[3] // 2
    kernel[..., :inside] = kernel[..., inside + 3 :] = 0  # what else reaches over the border of the picture
    first, second = (model.timbral[branch](one_band(mel).transpose(2, 3)).amax(3) for mel in (47, 50))
    torch.testing.assert_close(first, second)


def test_temporal_branches_do_not_tell_where_a_band_is():
    model = create(SPECTROGRAM, **AS_THE_CODE[SPECTROGRAM])
    first, second = (model.forward_layers(one_band(mel))["temporal"] for mel in (20, 70))
    assert torch.equal(first, second)


@each_network
@pytest.mark.parametrize("residual_bn", ["scalar", "per_channel"])
def test_batch_norm_has_the_constants_of_tensorflow(network, residual_bn):
    assert norm_constants(create_empty(network, residual_bn=residual_bn)) == {(1e-3, 0.01)}


@each_network
def test_half_is_dropped_before_and_behind_the_dense_layer(network):
    model = create_empty(network)
    assert (model.back_end.dropout.p, model.head_dropout.p) == (0.5, 0.5)


@each_network
def test_residual_norms_learn_four_values(network):
    back_end = create_empty(network).back_end
    assert n_parameters(back_end.cnn2.bn, back_end.cnn3.bn) == 4


def test_scalar_norm_takes_all_channels_together():
    x = torch.tensor([[[0.0, 0.0], [2.0, 2.0]]])  # (batch, channels, frames): constant in each channel
    torch.testing.assert_close(ScalarNorm()(x), x - 1, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("network", "n_dense", "n_tags", "plain", "scalar", "per_channel"),
    [
        (WAVEFORM, 500, 50, 5_373_390, 5_377_082, 5_379_126),
        (WAVEFORM, 500, 139, 5_417_979, 5_421_671, 5_423_715),
        (WAVEFORM, 200, 50, 5_050_890, 5_053_982, 5_056_026),
        (SPECTROGRAM, 500, 50, 5_921_198, 5_924_154, 5_926_198),
        (SPECTROGRAM, 500, 139, 5_965_787, 5_968_743, 5_970_787),
        (SPECTROGRAM, 200, 50, 5_598_698, 5_601_054, 5_603_098),
    ],
)
def test_number_of_parameters(network, n_dense, n_tags, plain, scalar, per_channel):
    model = create_empty(network, n_dense=n_dense, n_tags=n_tags)
    other = create_empty(network, n_dense=n_dense, n_tags=n_tags, residual_bn="per_channel")
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    assert (n_parameters(model) - n_parameters(*norms), n_parameters(model), n_parameters(other)) == (
        plain, scalar, per_channel
    )  # fmt: skip


def test_number_of_parameters_of_each_waveform_convolution():
    convs = [module.conv for module in create_empty(WAVEFORM).convs.modules() if isinstance(module, ConvReluNorm)]
    assert [n_parameters(conv) for conv in convs] == [256, 12_352, 12_352, 24_704, 49_280, 49_280, 98_560]


def test_number_of_parameters_of_each_branch():
    model = create_empty(SPECTROGRAM)
    branches = [branch for part in (model.timbral, model.temporal) for branch in part.modules()]
    assert [n_parameters(branch.conv) for branch in branches if isinstance(branch, ConvReluNorm)] == [
        9_648, 8_288, 5_568, 4_272, 3_680, 2_496, 2_656, 4_128, 4_160, 4_224
    ]  # fmt: skip


@pytest.mark.parametrize(("n_filters", "n_channels"), [(4, 116), (8, 232), (16, 464), (32, 928)])
def test_channels_are_29_times_the_filters(n_filters, n_channels):
    assert layer_shapes(create_empty(SPECTROGRAM, n_filters=n_filters))["front_end"] == (188, n_channels)


@pytest.mark.parametrize(("n_mels", "heights"), [(96, {86, 38}), (128, {115, 51}), (3, {2, 1})])
def test_heights_of_the_timbral_kernels_follow_the_bands(n_mels, heights):
    model = create_empty(SPECTROGRAM, n_mels=n_mels)
    assert {branch.conv.kernel_size[1] for branch in model.timbral} == heights


def test_patch_of_a_waveform_can_be_chosen():
    assert create_empty(WAVEFORM, n_samples=240_000).frontend.n_frames == 240_000


def test_patch_of_a_spectrogram_can_be_chosen():
    assert create_empty(SPECTROGRAM, n_frames=938).frontend.n_frames == 938


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        (WAVEFORM, "convs.6.0.conv"),
        (WAVEFORM, "back_end.cnn1.conv"),
        (SPECTROGRAM, "timbral.0.conv"),
        (SPECTROGRAM, "temporal.3.1.conv"),
        (SPECTROGRAM, "back_end.dense"),
        (SPECTROGRAM, "head"),
    ],
)
def test_kernels_start_with_the_published_spread(network, layer):
    kernel = create(network, n_tags=50).get_submodule(layer).weight
    assert kernel.std().item() == pytest.approx((2 / kernel[0].numel()) ** 0.5, rel=0.03)


def test_new_head_starts_with_the_published_spread():
    model = create(WAVEFORM)
    model.reset_head(100)
    assert model.head.weight.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    ("network", "option", "value", "wanted"),
    [
        (WAVEFORM, "n_samples", 19_679, "a whole number from 19680 on"),
        (WAVEFORM, "n_dense", 0, "a whole number from 1 on"),
        (WAVEFORM, "residual_bn", "none", "one of 'scalar', 'per_channel'"),
        (SPECTROGRAM, "n_filters", 0.5, "a whole number from 1 on"),
        (SPECTROGRAM, "n_mels", 2, "a whole number from 3 on"),
        (SPECTROGRAM, "n_frames", 7, "a whole number from 8 on"),
        (SPECTROGRAM, "n_dense", True, "a whole number from 1 on"),
        (SPECTROGRAM, "residual_bn", 1, "one of 'scalar', 'per_channel'"),
        (SPECTROGRAM, "standardize_patch", "yes", "True or False"),
    ],
)
def test_option_that_makes_no_sense_is_refused(network, option, value, wanted):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}; wanted {wanted}"):
        create(network, **{option: value})
