"""What a network learned: filters, gradient ascent and excitations are what the weights say, and pictures show them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _sounds import encoded, tone
from conftest import RunTaggram
from matplotlib.figure import Figure
from PIL import Image

from taggram.apps._looking import Wishes, draw_pictures
from taggram.errors import AudioError, ConfigError, UnknownNameError
from taggram.look import (
    Ascent,
    Excitations,
    Filters,
    ascend,
    excitations,
    excite,
    first_filters,
    layers_to_show,
    tagged_excitations,
    time_layers,
)
from taggram.look._draw_ascents import draw_ascents, draw_peaks, mel_scale_hz
from taggram.look._excitation import BATCH_SEGMENTS, cut_segments
from taggram.look._network import LayerTap, evaluating, evenly_spaced
from taggram.models import NETWORKS, create_model
from taggram.models._contract import TaggingModel
from taggram.picture import WIDTH, save_picture
from taggram.results import Failure

RATE = 22_050
SMALL = {"kernel": 3, "depth": 3, "n_samples": 81}  # of samplecnn
SQUEEZED = {"block": "se", "n_blocks": 3, "se_ratio": 0.125, "n_samples": 243}  # of rese


def small(network: str = "samplecnn", **options: Any) -> TaggingModel:
    """An untrained network, the same in every test."""
    torch.manual_seed(0)
    return create_model(network, **(options or (SMALL if network == "samplecnn" else {})))


def squeezed(n_tags: int | None = None) -> TaggingModel:
    torch.manual_seed(0)
    return create_model("rese", n_tags=n_tags, **SQUEEZED)


def clip(seconds: float = 0.1, hz: float = 440.0) -> tuple[Any, int]:
    return tone(seconds, RATE, hz), RATE


# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sines() -> tuple[Filters, list[float]]:
    """Filters whose first five kernels are sines, in no order, and the others are 0."""
    model = small("samplecnn_frame", window=243, hop=243)
    frequencies = [3000.0, 500.0, 9000.0, 1500.0, 6000.0]
    time_s = torch.arange(243) / RATE
    with torch.no_grad():
        weight = model.get_submodule("trunk.conv1.conv").weight
        weight.zero_()
        for kernel, hz in zip(weight, frequencies):
            kernel[0] = torch.sin(2 * math.pi * hz * time_s)
    return first_filters(model), frequencies


def test_sine_is_found_at_its_frequency(sines: tuple[Filters, list[float]]) -> None:
    filters, frequencies = sines
    assert filters.groups[0].centres[:5] == pytest.approx(frequencies, abs=10)


def test_filters_are_sorted_by_centre_frequency(sines: tuple[Filters, list[float]]) -> None:
    filters, frequencies = sines
    assert list(filters.groups[0].order[:5]) == list(np.argsort(frequencies))


def test_filters_that_are_all_but_0_are_faint(sines: tuple[Filters, list[float]]) -> None:
    assert list(np.flatnonzero(~sines[0].groups[0].faint)) == [0, 1, 2, 3, 4]


def test_taps_of_a_waveform_are_samples(sines: tuple[Filters, list[float]]) -> None:
    assert (sines[0].groups[0].kind, sines[0].groups[0].step_s) == ("waveform", 1 / RATE)


@pytest.mark.parametrize(
    ("network", "turn"),
    [
        ("vgg", lambda weight: weight[:, 0].swapaxes(1, 2)),  # sees (frames, mels)
        ("emarkou", lambda weight: weight[:, 0]),  # sees (mels, frames)
        ("local_mel", lambda weight: weight),  # has the bands as channels
        ("ballroom_time", lambda weight: weight[:, 0]),
        ("samplecnn_frame", lambda weight: weight),
    ],
)
def test_axes_are_turned_to_bands_and_taps(network: str, turn: Callable[[Any], Any]) -> None:
    model = small(network)
    group = first_filters(model).groups[0]
    np.testing.assert_array_equal(group.kernels, turn(model.get_submodule(group.name).weight.detach().numpy()))


def test_parallel_branches_are_all_found() -> None:
    groups = first_filters(small("musicnn")).groups
    assert [(group.kind, group.kernels.shape) for group in groups] == [
        ("patch", (204, 38, 7)),
        ("patch", (204, 67, 7)),
        ("temporal", (51, 1, 128)),
        ("temporal", (51, 1, 64)),
        ("temporal", (51, 1, 32)),
    ]


def test_kernels_of_one_frame_are_spectral() -> None:
    assert {group.kind for group in first_filters(small("ballroom_frequency")).groups} == {"spectral"}


def test_centre_band_is_the_one_of_most_energy() -> None:
    model = small("ballroom_frequency")
    with torch.no_grad():
        model.get_submodule("conv").weight[3, 0, 17] = 100.0
    assert first_filters(model).groups[0].centres[3] == 17


def test_taps_behind_a_pool_are_frames_apart() -> None:
    model = small("multiscale")  # whose three scales are pooled by 1, 4 and 16 frames
    hop_s = model.frontend.hop_length / model.frontend.sample_rate
    assert [group.step_s / hop_s for group in first_filters(model).groups] == pytest.approx([1, 4, 16])


def test_only_filters_that_see_the_input_are_shown() -> None:
    assert [group.name for group in first_filters(small()).groups] == ["trunk.conv1.conv"]


def test_network_without_convolution_has_no_filters() -> None:
    with pytest.raises(ConfigError, match="phoneme_mlp has no convolution"):
        first_filters(small("phoneme_mlp"))


def test_looking_leaves_a_network_as_it_was() -> None:
    model = small()
    model.get_submodule("trunk.conv2").eval()
    modes = [module.training for module in model.modules()]
    weights = [tensor.clone() for tensor in model.state_dict().values()]
    first_filters(model)
    ascend(model, "conv2", units=1, batch_statistics=True, n_steps=2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before, now) for before, now in zip(weights, model.state_dict().values()))


# -- gradient ascent ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def climbed() -> Ascent:
    return ascend(small(), "conv3", units=8)


def test_ascent_raises_the_activation(climbed: Ascent) -> None:
    alive = ~climbed.dead
    assert alive.any()
    assert (climbed.activations[-1] > 10 * climbed.activations[0])[alive].all()


def test_ascent_starts_from_faint_noise(climbed: Ascent) -> None:
    assert climbed.start.shape == (729,)
    assert 0.01 < np.abs(climbed.start).max() <= 0.015


def test_every_step_is_recorded(climbed: Ascent) -> None:
    assert climbed.activations.shape == (19, 8)


def test_steps_have_unit_length() -> None:
    found = ascend(small(), "conv1", units=4, n_steps=1)
    moved = found.inputs - found.start
    assert np.sqrt(np.square(moved).mean(axis=1)) == pytest.approx(1.0, rel=1e-4)


def test_unit_that_hears_a_sine_wants_that_sine() -> None:
    model = small("samplecnn_frame", window=81, hop=81)
    with torch.no_grad():
        weight = model.get_submodule("trunk.conv1.conv").weight
        weight[2, 0] = torch.sin(2 * math.pi * 20 * torch.arange(81) / 81)  # 20 periods
    assert ascend(model, "conv1", units=[2]).centres[0] == pytest.approx(20 * RATE / 81)


def peaks_at(*shares: float) -> Ascent:
    """What was found by units that want sines, at shares of half the sample rate."""
    time = np.arange(729)
    inputs = np.stack([np.sin(np.pi * share * time) for share in shares]).astype(np.float32)
    return Ascent(
        model="by hand", layer="conv1", n_units=len(shares), units=np.arange(len(shares)), start=inputs[0],
        inputs=inputs, activations=np.ones((2, len(shares)), np.float32), dead=np.zeros(len(shares), np.bool_),
        sample_rate=RATE, step_s=1 / RATE, bands=None,
    )  # fmt: skip


@pytest.mark.parametrize(("shares", "wanted"), [((0.25, 0.5, 0.75), 0.0), ((0.1, 0.1, 0.4), 0.6), ((0.9,), -0.8)])
def test_convexity_is_how_far_peaks_lie_below_a_straight_line(shares: tuple[float, ...], wanted: float) -> None:
    assert peaks_at(*shares).convexity == pytest.approx(wanted, abs=0.01)


def test_convexity_of_the_mel_scale() -> None:
    hz = mel_scale_hz(np.linspace(0, 1, 500), RATE / 2)
    assert peaks_at(*(hz / (RATE / 2))).convexity == pytest.approx(0.42, abs=0.01)


def test_dead_units_have_no_convexity() -> None:
    ascent = peaks_at(0.1, 0.9)
    ascent.dead[1] = True
    assert ascent.convexity == pytest.approx(0.8, abs=0.01)
    ascent.dead[0] = True
    assert math.isnan(ascent.convexity)


def test_unit_that_sees_a_band_wants_that_band() -> None:
    model = small("local_mel")
    with torch.no_grad():
        weight = model.get_submodule("convs.0.1").weight
        weight[5] = 0.0
        weight[5, 77] = 1.0
    found = ascend(model, "conv1", units=[5])
    assert found.centres[0] == 77


def test_spectrum_is_that_of_the_whole_signal() -> None:
    found = ascend(small(), "conv1", units=1, n_steps=1)
    window = np.hanning(730)[:-1]
    spectrum = np.abs(np.fft.rfft((found.inputs[0] - found.inputs[0].mean()) * window)) ** 2
    assert found.spectra[0] == pytest.approx(np.log10(1 + 10 * spectrum), rel=1e-4, abs=1e-4)
    assert (len(found.frequencies_hz), found.frequencies_hz[-1]) == (365, pytest.approx(364 * RATE / 729))


@pytest.mark.parametrize(("layer", "n_moments"), list(zip(range(1, 7), [243, 243, 81, 27, 9, 3])))
def test_layers_of_samplecnn_see_729_samples_as_published(layer: int, n_moments: int) -> None:
    model = small(n_samples=59_049)
    with evaluating(model):
        assert LayerTap(model, f"conv{layer}")(torch.zeros(1, 1, 729)).shape[2] == n_moments


def test_deeper_layer_gets_a_longer_input() -> None:
    assert ascend(small(n_samples=59_049), "conv7", units=1, n_steps=1).inputs.shape == (1, 2187)


def test_same_seed_gives_the_same_arrays(climbed: Ascent) -> None:
    again = ascend(small(), "conv3", units=8)
    np.testing.assert_array_equal(again.inputs, climbed.inputs)


def test_other_seed_gives_other_arrays() -> None:
    one, other = (ascend(small(), "conv2", units=1, n_steps=1, seed=seed).start for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_units_are_climbed_for_one_by_one() -> None:
    model = small()
    together = ascend(model, "conv2", units=[3, 70, 100], n_steps=3)
    alone = ascend(model, "conv2", units=[70], n_steps=3)
    np.testing.assert_allclose(together.inputs[1], alone.inputs[0], rtol=1e-4, atol=1e-4)


def test_dead_unit_keeps_the_noise_and_comes_last() -> None:
    model = small()
    with torch.no_grad():
        model.get_submodule("trunk.conv1.conv").bias[4] = -1.0
    found = ascend(model, "conv1", units=[4, 5, 6], n_steps=3)
    assert list(found.dead) == [True, False, False]
    assert found.order[-1] == 0
    np.testing.assert_array_equal(found.inputs[0], found.start)


def test_units_by_number_are_evenly_spaced(climbed: Ascent) -> None:
    assert list(climbed.units) == [0, 18, 36, 54, 73, 91, 109, 127]
    assert climbed.n_units == 128


@pytest.mark.parametrize(("n", "n_chosen", "places"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (9, 1, [0])])
def test_even_spacing(n: int, n_chosen: int, places: list[int]) -> None:
    assert list(evenly_spaced(n, n_chosen)) == places


def test_spectrogram_is_climbed_as_a_patch() -> None:
    found = ascend(small("musicnn"), "timbral", units=3, n_frames=16, n_steps=3)
    assert (found.inputs.shape, found.profiles.shape) == ((3, 96, 16), (3, 96))
    assert (found.activations[-1] > found.activations[0])[~found.dead].all()


def test_bands_know_their_frequencies() -> None:
    bands = ascend(small("musicnn"), "timbral", units=1, n_frames=8, n_steps=1).bands
    assert bands is not None
    assert bands.centres_hz is not None
    assert (len(bands.centres_hz), bool((np.diff(bands.centres_hz) > 0).all())) == (96, True)
    assert bands.centres_hz[-1] == pytest.approx(7850, rel=0.02)


def test_layer_and_its_module_are_the_same() -> None:
    model = small()
    layer, module = (ascend(model, name, units=2, n_steps=2).inputs for name in ("conv2", "trunk.conv2"))
    np.testing.assert_array_equal(layer, module)


def test_module_within_a_block_can_be_looked_at() -> None:
    assert ascend(squeezed(), "blocks.0.relu", units=2, n_steps=1).inputs.shape == (2, 729)


def test_module_of_a_layer_without_time_can_be_looked_at() -> None:
    found = ascend(small("o_p_net"), "o_net.0", units=2, n_steps=2)
    assert (found.n_units, found.inputs.shape) == (5, (2, 40, 64))


def test_statistics_of_the_input_are_offered() -> None:
    model = small()
    own, learned = (ascend(model, "conv3", units=1, batch_statistics=flag, n_steps=2) for flag in (True, False))
    assert not np.allclose(own.activations[0], learned.activations[0])


def test_progress_rises_to_the_end() -> None:
    shares: list[float] = []
    ascend(small(), "conv1", units=70, n_steps=2, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("samplecnn", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        ("musicnn", ["timbral", "temporal", "cnn1"]),
        ("vgg", ["pool1", "pool2", "pool3"]),
        ("o_p_net", []),
    ],
)
def test_first_layers_that_keep_time_are_shown(network: str, layers: list[str]) -> None:
    assert layers_to_show(small(network)) == layers


def test_layers_that_keep_time_are_named_with_their_units() -> None:
    assert time_layers(small("dieleman")) == {"pool1": 32, "pool2": 32}


def test_module_that_does_nothing_is_told() -> None:
    with pytest.raises(ConfigError, match="gives what the network is given"):
        ascend(small(), "trunk.conv1.pad")


def test_unknown_layer_is_told() -> None:
    with pytest.raises(UnknownNameError, match=r"no layer named 'covn2'\. Did you mean conv2"):
        ascend(small(), "covn2")


@pytest.mark.parametrize("layer", ["penultimate", "trunk.conv2.conv.bias", ""])
def test_layer_that_keeps_no_time_is_told(layer: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match="conv1, conv2"):
        ascend(small(), layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units is 0"),
        ({"units": [128]}, "some of 0 to 127"),
        ({"units": []}, "some of 0 to 127"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"n_frames": 2}, "n_frames is 2; wanted more, for a moment of conv2"),
    ],
)
def test_senseless_ascent_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ascend(small(), "conv2", **options)


def test_waveforms_have_no_profiles(climbed: Ascent) -> None:
    with pytest.raises(ConfigError, match="spectra"):
        climbed.profiles  # noqa: B018


def test_spectrograms_have_no_spectra() -> None:
    found = ascend(small("local_mel"), "conv1", units=1, n_steps=1)
    with pytest.raises(ConfigError, match="profiles"):
        found.spectra  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_every_network_can_be_looked_at(network: str) -> None:
    model = create_model(network)
    kinds = [first_filters(model).plot] if network not in ("phoneme_mlp", "bag_network") else []
    kinds += [ascend(model, layer, units=1, n_steps=1).plot for layer in layers_to_show(model)[:1]]
    assert all(isinstance(plot(), Figure) for plot in kinds)


# -- excitations -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> Excitations:
    clips = {"low": [clip(), clip(0.2)], "high": [clip(hz=5000.0)], "none": []}
    return excitations(squeezed(), clips)


def test_excitation_is_what_the_block_gives() -> None:
    model = squeezed()
    wanted = torch.linspace(0.1, 0.9, 128)
    with torch.no_grad():
        last = model.get_submodule("blocks.1.se.excite.2")
        last.weight.zero_()
        last.bias.copy_(torch.logit(wanted))
    found = excitations(model, {"a": [clip()], "b": [clip(hz=5000.0)]})
    np.testing.assert_allclose(found.by_tag[1], np.stack([wanted, wanted]), atol=1e-6)


def test_excitations_have_a_row_a_tag_and_a_column_a_channel(found: Excitations) -> None:
    assert [block.shape for block in found.by_tag] == [(2, 128), (2, 128), (2, 512)]
    assert found.names == ("blocks.0.se", "blocks.1.se", "blocks.2.se")


def test_tags_without_clips_are_left_out(found: Excitations) -> None:
    assert (found.tags, list(found.n_clips)) == (("low", "high"), [2, 1])


def test_clips_of_a_tag_count_the_same(found: Excitations) -> None:
    model = squeezed()
    means = [excite(model, source).blocks[2].mean(axis=0) for source in (clip(), clip(0.2))]
    np.testing.assert_allclose(found.by_tag[2][0], np.mean(means, axis=0), rtol=1e-5)


def test_loudness_is_the_root_mean_square_of_a_segment() -> None:
    samples = np.concatenate([np.full(243, 0.5), np.full(243, -0.1), np.full(100, 0.9)]).astype(np.float32)
    assert excite(squeezed(), (samples, RATE)).loudness == pytest.approx([0.5, 0.1])


def test_spread_is_the_deviation_over_tags() -> None:
    assert by_hand(by_tag=(np.float32([[0.2, 0.5], [0.4, 0.5]]),)).spread == pytest.approx([0.05])


def by_hand(**changes: Any) -> Excitations:
    """Excitations of three channels that depend on loudness as we say."""
    loudness = np.float32([0.1, 0.2, 0.4])
    first_block = np.stack([0.5 + 0.3 * loudness, 0.9 - loudness, [0.4, 0.6, 0.5]], axis=1).astype(np.float32)
    given: dict[str, Any] = {
        "model": "by hand", "names": ("a",), "tags": ("x", "y"), "tags_by": "caller", "n_clips": np.array([1, 2]),
        "by_tag": (np.float32([[0.1, 0.2, 0.9], [0.2, 0.1, 0.8]]),), "loudness": loudness, "first_block": first_block,
    }  # fmt: skip
    return Excitations(**given | changes)


def test_lines_over_loudness_are_least_squares() -> None:
    slopes, starts, left = by_hand().loudness_lines
    assert (slopes[:2], starts[:2]) == (pytest.approx([0.3, -1.0]), pytest.approx([0.5, 0.9]))
    assert [slopes[2], starts[2]] == pytest.approx(np.polyfit([0.1, 0.2, 0.4], [0.4, 0.6, 0.5], 1))
    assert left[:2] == pytest.approx([0, 0], abs=1e-6)


def test_channels_are_selected_by_their_lines() -> None:
    selected = by_hand().selected_channels
    assert (selected["most positive slope"], selected["most negative slope"]) == (0, 1)


def test_equal_loudness_gives_level_lines() -> None:
    slopes, starts, _ = by_hand(loudness=np.float32([0.2, 0.2, 0.2])).loudness_lines
    assert (slopes[2], starts[2]) == (0, pytest.approx(0.5))


def test_model_can_find_the_tags() -> None:
    found = excitations(squeezed(n_tags=3), [clip(), clip(hz=5000.0)])
    assert found.tags_by == "model"
    assert set(found.tags) <= {"tag0", "tag1", "tag2"}
    assert found.n_clips.sum() == 2


def test_model_without_head_finds_no_tags() -> None:
    with pytest.raises(ConfigError, match="rese has no head"):
        excitations(squeezed(), [clip()])


def test_network_without_blocks_is_told_which_has_them() -> None:
    with pytest.raises(
        ConfigError, match="samplecnn has no squeeze-and-excitation blocks; rese has them with block=se"
    ):
        excitations(small(), {"a": [clip()]})


def test_path_under_two_tags_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(tone(0.1, RATE), RATE))
    found = excitations(squeezed(), {"a": [path], "b": [str(path)]})
    assert len(found.loudness) == round(0.1 * RATE) // 243
    np.testing.assert_array_equal(found.by_tag[0][0], found.by_tag[0][1])


def test_clips_with_their_tags_give_what_tags_with_their_clips_do() -> None:
    low, high, both = clip(hz=200.0), clip(hz=5000.0), clip(0.2)
    wanted = excitations(squeezed(), {"low": [low], "high": [high]})
    found = tagged_excitations(squeezed(), [(["low"], low), (["high"], high)])
    for one, other in zip((*found.by_tag, found.first_block), (*wanted.by_tag, wanted.first_block), strict=True):
        np.testing.assert_array_equal(one, other)
    twice = tagged_excitations(squeezed(), [(["low"], low), (["low", "high"], both), ([], high)])
    assert (twice.tags, list(twice.n_clips)) == (("low", "high"), [2, 1])
    assert len(twice.loudness) == len(found.loudness) + len(tagged_excitations(squeezed(), [([], both)]).loudness)


def test_clip_is_asked_for_when_the_one_before_is_done() -> None:
    model, events = squeezed(), list[str]()
    model.register_forward_hook(lambda *_: events.append("heard"))

    def clips() -> Iterator[tuple[list[str], Any]]:
        for _ in range(2):
            events.append("read")
            yield ["a"], clip(0.02)

    tagged_excitations(model, clips())
    assert events == ["read", "heard", "read", "heard"]


def test_clip_that_fails_is_told_and_the_others_done() -> None:
    failures: list[Failure] = []
    found = excitations(squeezed(), {"a": [clip(), "missing.wav"]}, on_failure=failures.append)
    assert ([failure.path for failure in failures], list(found.n_clips)) == (["missing.wav"], [1])


def test_clip_that_fails_raises_where_nobody_is_told() -> None:
    with pytest.raises(AudioError, match=r"missing\.wav: No such file"):
        excitations(squeezed(), {"a": ["missing.wav"]})


def test_no_clip_that_can_be_used_is_an_error() -> None:
    with pytest.raises(AudioError, match="no clip that could be used"):
        excitations(squeezed(), {"a": ["missing.wav"]}, on_failure=lambda failure: None)


def test_excitations_leave_no_hooks() -> None:
    model = squeezed()
    with pytest.raises(AudioError):
        excite(model, "missing.wav")
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("n_samples", [3, 10, 11, 25, 10 * BATCH_SEGMENTS + 3, 30 * BATCH_SEGMENTS])
@pytest.mark.parametrize("n_block", [4, 1000])
def test_sound_is_cut_into_whole_segments(n_samples: int, n_block: int) -> None:
    samples = np.arange(n_samples, dtype=np.float32)
    blocks = [samples[start : start + n_block] for start in range(0, n_samples, n_block)]
    batches = list(cut_segments(blocks, 10))
    wanted = samples[: n_samples // 10 * 10] if n_samples >= 10 else np.resize(samples, 10)
    np.testing.assert_array_equal(np.concatenate(batches).ravel(), wanted)
    assert max(map(len, batches)) <= BATCH_SEGMENTS


# -- pictures ----------------------------------------------------------------------------------------------------------

PICTURES: dict[str, Callable[[], Figure]] = {
    "waveform filters": lambda: first_filters(small()).plot(),
    "filters of many kinds": lambda: first_filters(small("at_scale_spectrogram")).plot(),
    "filters of many lengths": lambda: first_filters(small("o_p_net")).plot(),
    "filters of many shapes": lambda: first_filters(small("timbre_mtt")).plot(),
    "filters over all bands": lambda: first_filters(small("local_mel")).plot(),
    "spectra of one layer": lambda: ascend(small(), "conv1", units=8, n_steps=2).plot(),
    "spectra of layers": lambda: draw_ascents(
        [ascend(small(), layer, units=4, n_steps=2) for layer in ("conv1", "conv2", "conv3", "conv4")]
    ),
    "peaks of layers": lambda: draw_peaks(
        [ascend(small(), layer, units=4, n_steps=2) for layer in ("conv1", "conv2", "conv3")]
    ),
    "profiles": lambda: ascend(small("local_mel"), "conv1", units=8, n_steps=2).plot(),
    "excitations": lambda: by_hand().plot(),
    "excitations of many tags": lambda: by_hand(
        tags=tuple(f"tag {number}" for number in range(30)),
        n_clips=np.ones(30, int),
        by_tag=tuple(np.random.default_rng(0).random((30, 64), np.float32) for _ in range(9)),
        names=tuple("abcdefghi"),
    ).plot(),
    "loudness": lambda: by_hand().plot_loudness(),
}


@functools.cache
def picture(name: str) -> Figure:
    return PICTURES[name]()


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_written_and_shows_something(name: str, tmp_path: Path) -> None:
    save_picture(picture(name), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1440
        assert np.asarray(image.convert("L")).std() > 5


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_drawn_off_the_page(name: str) -> None:
    figure = picture(name)
    box = figure.get_tightbbox()
    assert (box.x0 >= 0, box.y0 >= 0) == (True, True)
    assert (box.x1 <= WIDTH, box.y1 <= figure.get_figheight()) == (True, True)


@pytest.mark.parametrize("name", ["waveform filters", "profiles", "excitations"])
def test_same_arrays_give_the_same_picture(name: str, tmp_path: Path) -> None:
    for file, figure in (("a.png", picture(name)), ("b.png", PICTURES[name]())):
        save_picture(figure, tmp_path / file)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_filters_left_out_are_told() -> None:
    assert "5 of 128 filters" in texts_of(first_filters(small()).plot(max_filters=5))


def test_faint_filters_are_told(sines: tuple[Filters, list[float]]) -> None:
    assert "5 of 128 filters; 123 are faint" in texts_of(sines[0].plot())


def test_no_filter_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="max_filters is 0"):
        first_filters(small()).plot(max_filters=0)


def test_units_left_out_are_told(climbed: Ascent) -> None:
    assert "conv3: 8 of 128 units" in texts_of(climbed.plot())


def test_dead_units_are_told() -> None:
    model = small("local_mel")
    with torch.no_grad():
        model.get_submodule("convs.0.1").weight.zero_()
        model.get_submodule("convs.0.1").bias.fill_(-1.0)
    figure = ascend(model, "conv1", units=4, n_steps=1).plot()
    assert "conv1: 4 of 128 units, 4 dead" in texts_of(figure)


def test_columns_of_spectra_are_in_order(climbed: Ascent) -> None:
    (image,) = climbed.plot().axes[1].images  # the first axes are those of the colour bar
    np.testing.assert_allclose(np.asarray(image.get_array()).T, climbed.spectra[climbed.order])


def test_curves_are_the_excitations_of_tags_with_channels_in_order() -> None:
    curves = [line.get_ydata() for line in by_hand().plot().axes[0].lines]
    np.testing.assert_allclose(curves, [[0.1, 0.2, 0.9], [0.2, 0.1, 0.8]])


def test_tags_found_by_the_model_are_told() -> None:
    assert "by the network itself" in texts_of(by_hand(tags_by="model").plot())


def test_odd_names_can_be_drawn(tmp_path: Path) -> None:
    save_picture(by_hand(tags=("$\\frac{", "🎸 \ud83c\n" + "long " * 200), model="$x$").plot(), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("draw", [draw_ascents, draw_peaks])
def test_no_layer_cannot_be_drawn(draw: Callable[[list[Ascent]], Figure]) -> None:
    with pytest.raises(ConfigError, match="no layer"):
        draw([])


@pytest.mark.parametrize(("n_live", "told"), [(1, "only 1 live unit"), (8, "convexity")])
def test_few_live_units_are_marked_and_have_no_convexity(n_live: int, told: str) -> None:
    figure = draw_peaks([peaks_at(*np.linspace(0.9, 0.1, n_live))])
    curve = figure.axes[0].lines[1]
    assert (len(curve.get_xdata()), curve.get_marker() == "o") == (n_live, n_live == 1)
    assert told in texts_of(figure)


@pytest.mark.parametrize(("n_units", "wanted"), [(8, "nearest"), (128, "antialiased")])
def test_spectra_of_few_units_do_not_run_into_each_other(n_units: int, wanted: str) -> None:
    (image,) = ascend(small(), "conv1", units=n_units, n_steps=1).plot().axes[1].images
    assert image.get_interpolation() == wanted


@pytest.mark.parametrize("draw", [Excitations.plot, Excitations.plot_loudness])
def test_panels_of_excitations_share_an_axis_that_fits(draw: Callable[[Excitations], Figure]) -> None:
    first_block = np.float32([[0.50, 0.52], [0.51, 0.50], [0.50, 0.49]])
    by_tag = (np.float32([[0.50, 0.52], [0.49, 0.5]]), np.float32([[0.5, 0.5], [0.5, 0.5]]))
    figure = draw(by_hand(names=("a", "b"), by_tag=by_tag, first_block=first_block))
    limits = {axes.get_ylim() for axes in figure.axes if axes.get_ylabel() == "excitation"}
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((0.4885, 0.5215), abs=1e-6)


def test_small_slope_over_loudness_has_three_digits() -> None:
    first_block = np.stack([0.5 - 0.007 * by_hand().loudness] * 2, axis=1)
    figure = by_hand(first_block=first_block).plot_loudness()
    assert figure.axes[0].texts[0].get_text() == "slope -0.007"


def test_peaks_of_spectrograms_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="sees spectrograms"):
        draw_peaks([ascend(small("local_mel"), "conv1", units=1, n_steps=1)])


# -- the command -------------------------------------------------------------------------------------------------------


def look(network: str, *words: str, out: Path | None = None, **wishes: Any) -> int:
    """The command without a process of its own."""
    given: dict[str, Any] = {
        "filters": False, "spectra": False, "excitation": None, "layers": (), "units": 2, "seed": 0,
        "max_duration_s": 100.0,
    }  # fmt: skip
    return draw_pictures(network, words, Wishes(**given | wishes), out, "cpu")


SMALL_WORDS = tuple(f"{name}={value}" for name, value in SMALL.items())
SQUEEZED_WORDS = tuple(f"{name}={value}" for name, value in SQUEEZED.items())


@pytest.fixture
def clips_by_tag(tmp_path: Path) -> Path:
    """A folder with two tags, one of them with a file that is no sound."""
    folder = tmp_path / "clips"
    for tag, hz in (("low", 200.0), ("high", 5000.0)):
        (folder / tag).mkdir(parents=True)
        (folder / tag / "a.wav").write_bytes(encoded(tone(0.1, RATE, hz), RATE))
    (folder / "low" / "broken.wav").write_bytes(b"no sound")
    return folder


def test_command_draws_what_there_is_and_prints_where(tmp_path: Path, run_taggram: RunTaggram) -> None:
    done = run_taggram("look", "samplecnn", *SMALL_WORDS, "--units", "2", "--out", tmp_path / "new" / "pictures")
    paths = [
        tmp_path / "new" / "pictures" / f"samplecnn_{'_'.join(SMALL_WORDS)}_{kind}.png"
        for kind in ("filters", "spectra")
    ]
    assert (done.returncode, done.stdout.splitlines()) == (0, list(map(str, paths)))
    assert done.stderr == "samplecnn is not trained: its weights are drawn with seed 0.\n"
    assert sorted(path.name for path in paths) == sorted(path.name for path in paths[0].parent.iterdir())


def test_command_leaves_with_1_where_a_clip_failed(clips_by_tag: Path, tmp_path: Path, run_taggram: RunTaggram) -> None:
    done = run_taggram("look", "rese", *SQUEEZED_WORDS, "--excitation", clips_by_tag, "--out", tmp_path / "a.png")
    assert (done.returncode, done.stdout.split()) == (
        1,
        [str(tmp_path / f"a_{kind}.png") for kind in ("excitation", "loudness")],
    )
    assert f"{clips_by_tag / 'low' / 'broken.wav'}: " in done.stderr


def test_unknown_model_leaves_with_2_and_nothing_is_written(tmp_path: Path, run_taggram: RunTaggram) -> None:
    done = run_taggram("look", "nosuch", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert done.stderr.startswith("taggram: no model or network named 'nosuch'")


def test_one_picture_has_the_name_that_is_given(tmp_path: Path) -> None:
    look("samplecnn", *SMALL_WORDS, filters=True, out=tmp_path / "mine.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.svg"]


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        look("samplecnn", *SMALL_WORDS, layers=("conv2",), out=tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_naming_a_layer_is_asking_for_spectra(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look("samplecnn", *SMALL_WORDS, layers=("trunk.conv2",), out=tmp_path)
    assert capsys.readouterr().out == f"{tmp_path}/samplecnn_{'_'.join(SMALL_WORDS)}_spectra.png\n"


def test_model_in_a_file_is_looked_at(tmp_path: Path) -> None:
    small().save(tmp_path / "mine.safetensors")
    look(str(tmp_path / "mine.safetensors"), filters=True, out=tmp_path)
    assert (tmp_path / "mine_filters.png").exists()


def test_trained_model_is_looked_at(weights: str, tmp_path: Path) -> None:
    look(weights, filters=True, out=tmp_path)
    assert (tmp_path / f"{weights}_filters.png").exists()


def test_network_tags_a_folder_of_sound_itself(clips_by_tag: Path, tmp_path: Path) -> None:
    assert look("rese", *SQUEEZED_WORDS, "n_tags=2", excitation=clips_by_tag / "high", out=tmp_path / "a.png") == 0
    assert (tmp_path / "a_excitation.png").exists()


def test_sub_folder_without_sound_is_told(
    clips_by_tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips_by_tag / "empty").mkdir()
    (clips_by_tag / "low" / "broken.wav").unlink()
    assert look("rese", *SQUEEZED_WORDS, excitation=clips_by_tag, out=tmp_path) == 1
    assert f"{clips_by_tag / 'empty'}: there is no sound in this folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "words", "wishes", "message"),
    [
        ("phoneme_mlp", (), {}, "neither a convolution on its input nor a layer that keeps time"),
        ("o_p_net", (), {"spectra": True}, "no layer that keeps time"),
        ("samplecnn", SMALL_WORDS, {"layers": ("penultimate",)}, "keeps no time"),
        ("samplecnn", SMALL_WORDS, {"excitation": Path("missing")}, "no squeeze-and-excitation blocks"),
        ("samplecnn", ("n_tags=many",), {}, "n_tags is 'many'"),
        ("samplecnn", ("depht=3",), {}, "no option 'depht'. Did you mean depth"),
        ("rese", SQUEEZED_WORDS, {"excitation": Path("missing")}, "which is no folder"),
        ("missing.safetensors", (), {}, "no model file missing.safetensors"),
        ("missing.safetensors", ("a=1",), {}, "options are for a network given by name"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    network: str, words: tuple[str, ...], wishes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        look(network, *words, out=tmp_path, **wishes)
    assert list(tmp_path.iterdir()) == []


def test_folder_without_sound_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="there is no sound in this folder"):
        look("rese", *SQUEEZED_WORDS, excitation=tmp_path / "empty", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("name", ["a.jpg", "missing/a.png"])
def test_place_that_cannot_be_written_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.jpg|missing"):
        look("samplecnn", *SMALL_WORDS, filters=True, out=tmp_path / name)


def test_failed_picture_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(figure: Figure, file: Path, **options: Any) -> None:
        file.write_bytes(b"half a pic")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space"):
        look("samplecnn", *SMALL_WORDS, filters=True, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
