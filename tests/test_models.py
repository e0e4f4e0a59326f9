"""Every network, trained or not, keeps the promises of the contract."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from _at_hand import each_model

import taggram
from taggram.errors import AudioError, ConfigError, UnknownNameError
from taggram.models import load_card
from taggram.models._blocks import he_truncated_normal_
from taggram.models._registry import find_network, register_model
from taggram.models.musicnn import library_hop_frames, library_patch_frames

LEAST_SAMPLES = 47_616  # 187 frames of 256 samples, the first centred on sample 0
N_PARAMETERS = {"musicnn": 787_159, "musicnn_big": 7_980_235, "vgg": 605_748}

each_network = pytest.mark.parametrize("network", sorted(N_PARAMETERS))


def create(network, **options):
    torch.manual_seed(0)
    return taggram.create_model(network, **{"n_tags": 50, **options}).eval()


def sound(n_samples=LEAST_SAMPLES, n_clips=2):
    return 0.1 * torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(0))


@each_network
def test_number_of_parameters(network):
    assert sum(parameter.numel() for parameter in create(network).parameters()) == N_PARAMETERS[network]


def test_pooling_of_the_training_has_the_same_parameters():
    assert sum(p.numel() for p in create("vgg", pooling="trained").parameters()) == N_PARAMETERS["vgg"]


@pytest.mark.parametrize("name", taggram.list_models())
def test_card_states_the_number_of_parameters(name):
    card = load_card(name)
    assert card.n_parameters == N_PARAMETERS[card.network]


@each_network
def test_number_of_statistics(network):
    buffers = dict(create(network).named_buffers())
    n_statistics = sum(buffer.numel() for name, buffer in buffers.items() if "running_" in name)
    assert n_statistics == {"musicnn": 4_920, "musicnn_big": 13_584, "vgg": 1_282}[network]


@each_network
def test_waveform_in_logits_out(network):
    assert create(network)(sound()).shape == (2, 50)


@each_network
def test_every_parameter_learns(network):
    model = create(network).train()
    model(sound()).square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


@each_network
def test_silence_gives_finite_logits(network):
    assert create(network)(torch.zeros(1, LEAST_SAMPLES)).isfinite().all()


@each_network
def test_clip_alone_equals_the_clip_in_a_batch(network):
    model = create(network)
    with torch.inference_mode():
        torch.testing.assert_close(model(sound())[1:], model(sound()[1:]), rtol=1e-5, atol=1e-5)


@each_network
def test_without_tags_there_is_no_head(network):
    model = create(network, n_tags=None)
    assert model(sound()).shape == (2, model.n_features)


@each_network
def test_new_head(network):
    model = create(network)
    model.reset_head(7)
    assert (model(sound()).shape, model.n_tags) == ((2, 7), 7)


@each_network
def test_named_layers_are_all_there(network):
    model = create(network)
    assert tuple(model.features(sound(), model.layers())) == model.layers()


@each_network
def test_last_layer_feeds_the_head(network):
    model = create(network)
    last = model.features(sound(), model.layers()[-1:])[model.layers()[-1]]
    torch.testing.assert_close(model.forward_head(last), model(sound()))


@each_network
def test_sound_too_short_is_told_the_samples_needed(network):
    with pytest.raises(AudioError, match=r"47615 samples.* at least 47616"):
        create(network)(sound(LEAST_SAMPLES - 1))


def test_sound_too_long_for_a_fixed_length_is_told_the_samples_taken():
    with pytest.raises(AudioError, match="takes 47616 to 47871"):
        create("vgg")(sound(47_872))


def test_musicnn_takes_longer_sound():
    assert create("musicnn")(sound(60_000)).shape == (2, 50)


@each_network
def test_waveform_without_a_batch_is_told_the_shape(network):
    with pytest.raises(AudioError, match=r"\(batch, samples\)"):
        create(network)(sound()[0])


@each_network
def test_unknown_layer_is_offered_the_nearest(network):
    layer = create(network).layers()[0]
    with pytest.raises(UnknownNameError, match=f"Did you mean .*{layer}"):
        create(network).features(sound(), [layer + "x"])


@each_network
def test_head_of_no_tags_is_refused(network):
    with pytest.raises(ConfigError, match="n_tags is 0"):
        create(network, n_tags=0)


@each_network
def test_kernels_start_with_the_spread_of_the_checkpoints(network):
    model = create(network)
    kernel = max((m.weight for m in model.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Conv2d)), key=len)
    fan_in = kernel[0].numel()
    assert kernel.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_truncated_normal_is_cut_at_two_sigma():
    layer = torch.nn.Linear(100, 1000)
    he_truncated_normal_(layer)
    assert layer.weight.abs().max() <= 2 * (2.6 / 100) ** 0.5


def test_unknown_model_is_offered_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'musicn'\. Did you mean .*musicnn"):
        taggram.create_model("musicn")


def test_unknown_option_is_offered_the_nearest():
    with pytest.raises(ConfigError, match=r"no option 'poling'\. Did you mean pooling\?"):
        taggram.create_model("vgg", poling="trained")


def test_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match="library and trained"):
        taggram.create_model("vgg", pooling="mean")


def test_name_cannot_be_registered_twice():
    facts = find_network("vgg", "vgg")
    with pytest.raises(ValueError, match="'vgg'"):
        register_model(paper=facts.paper, n_tags=facts.n_tags)(facts.build)


@each_model()
def test_trained_model_has_its_tags(name):
    assert taggram.create_model(name).tags == load_card(name).tag_names


@each_model("vgg.mtt")
def test_trained_model_with_a_new_head_keeps_its_features(name):
    torch.testing.assert_close(
        taggram.create_model(name, n_tags=3).blocks[0].conv.weight, taggram.create_model(name).blocks[0].conv.weight
    )


@pytest.mark.parametrize(("length_s", "n_frames"), [(3, 187), (3.1, 193), (1, 62), (2, 125)])
def test_patch_of_the_library(length_s, n_frames):
    assert library_patch_frames(length_s) == n_frames


@pytest.mark.parametrize(("hop_s", "n_frames"), [(1.0, 61), (1.5, 92), (2.0, 124), (3.0, 186)])
def test_hop_of_the_library(hop_s, n_frames):
    assert library_hop_frames(hop_s) == n_frames


def test_hop_of_the_library_below_a_frame_is_refused():
    with pytest.raises(ConfigError, match=r"0\.032 s is the least"):
        library_hop_frames(0.031)


def test_task_can_be_chosen():
    model = create("vgg", n_tags=3, task="one")
    torch.testing.assert_close(model.scores(model(sound())).sum(1), torch.ones(2))


def test_new_head_takes_tags_and_task():
    model = create("vgg")
    model.reset_head(2, tags=("a", "b"), task="one")
    assert (model.tags, model.task) == (("a", "b"), "one")


def test_new_head_with_other_tags_than_outputs_is_refused():
    with pytest.raises(ConfigError, match="must be as many"):
        create("vgg").reset_head(3, tags=("a", "b"))


def test_model_knows_how_it_was_made():
    model = create("vgg", pooling="trained")
    assert (model.name, model.options) == ("vgg", {"pooling": "trained"})


def test_changed_frontend_keeps_the_other_settings():
    model = create("vgg")
    before = model.frontend.config
    model.change_frontend(padding="zeros")
    assert model.frontend.config == dataclasses.replace(before, padding="zeros")


def test_unknown_setting_of_a_frontend_is_offered_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean padding"):
        create("vgg").change_frontend(pading="zeros")
