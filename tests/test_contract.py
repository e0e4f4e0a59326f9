"""What all networks share: heads, layers, front-ends and names, and the errors where they do not fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from _at_hand import each_model

import taggram
from taggram.errors import AudioError, ConfigError, UnknownNameError
from taggram.models import NETWORKS, load_card
from taggram.models._registry import find_network, register_model

LEAST_SAMPLES = 47_616  # 187 frames of 256 samples, the first centred on sample 0


def create(network="vgg", **options):
    torch.manual_seed(0)
    return taggram.create_model(network, **{"n_tags": 50, **options}).eval()


def sound(n_samples=LEAST_SAMPLES, n_clips=2):
    return 0.1 * torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(0))


# -- heads -------------------------------------------------------------------------------------------------------------


def test_without_tags_there_is_no_head():
    model = create(n_tags=None)
    assert model(sound()).shape == (2, model.n_features)


def test_new_head_gives_as_many_logits():
    model = create()
    model.reset_head(7)
    assert (model(sound()).shape, model.n_tags) == ((2, 7), 7)


def test_new_head_takes_tags_and_task():
    model = create()
    model.reset_head(2, tags=("a", "b"), task="one")
    assert (model.tags, model.task) == (("a", "b"), "one")


def test_new_head_with_other_tags_than_outputs_is_refused():
    with pytest.raises(ConfigError, match="must be as many"):
        create().reset_head(3, tags=("a", "b"))


def test_new_head_for_no_tags_is_refused():
    with pytest.raises(ConfigError, match="'embedding'; a head is for several or one"):
        create().reset_head(3, task="embedding")


def test_head_of_no_tags_is_refused():
    with pytest.raises(ConfigError, match="n_tags is 0"):
        create(n_tags=0)


def test_head_on_an_embedding_is_for_several_tags():
    model = create("artist_siamese", n_tags=None)
    model.reset_head(3)
    assert model.task == "several"


def test_embedding_has_no_scores():
    model = create("artist_siamese", n_tags=None)
    with pytest.raises(ConfigError, match="gives embedding and no scores"):
        model.scores(torch.zeros(1, 256))


# -- task, names, options ----------------------------------------------------------------------------------------------


def test_task_can_be_chosen():
    model = create(n_tags=3, task="one")
    torch.testing.assert_close(model.scores(model(sound())).sum(1), torch.ones(2))


def test_task_without_a_head_is_refused():
    with pytest.raises(ConfigError, match="give n_tags too"):
        create(n_tags=None, task="one")


def test_model_knows_how_it_was_made():
    model = create(pooling="trained")
    assert (model.name, model.options) == ("vgg", {"pooling": "trained"})


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_network_says_its_paper(network):
    assert find_network(NETWORKS[network], network).paper


def test_unknown_model_is_offered_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'musicn'\. Did you mean .*musicnn"):
        taggram.create_model("musicn")


def test_unknown_option_is_offered_the_nearest():
    with pytest.raises(ConfigError, match=r"no option 'poling'\. Did you mean pooling\?"):
        create(poling="trained")


def test_name_cannot_be_registered_twice():
    facts = find_network("vgg", "vgg")
    with pytest.raises(ValueError, match="'vgg'"):
        register_model(paper=facts.paper, n_tags=facts.n_tags)(facts.build)


# -- sound, layers, front-ends -----------------------------------------------------------------------------------------


def test_waveform_without_a_batch_is_told_the_shape():
    with pytest.raises(AudioError, match=r"\(batch, samples\)"):
        create()(sound()[0])


def test_sound_too_short_is_told_the_samples_needed():
    with pytest.raises(AudioError, match=r"47615 samples.* at least 47616"):
        create()(sound(LEAST_SAMPLES - 1))


def test_sound_too_long_for_a_fixed_length_is_told_the_samples_taken():
    with pytest.raises(AudioError, match="takes 47616 to 47871"):
        create()(sound(47_872))


def test_unknown_layer_is_offered_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*pool1"):
        create().features(sound(), ["pool1x"])


def test_changed_frontend_keeps_the_other_settings():
    model = create()
    before = model.frontend.config
    model.change_frontend(padding="zeros")
    assert model.frontend.config == dataclasses.replace(before, padding="zeros")


def test_unknown_setting_of_a_frontend_is_offered_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean padding"):
        create().change_frontend(pading="zeros")


# -- trained models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", taggram.list_models())
def test_card_states_the_number_of_parameters(name):
    card = load_card(name)
    with torch.device("meta"):
        model = taggram.create_model(card.network, n_tags=len(card.tag_names), **card.options)
    assert card.n_parameters == sum(parameter.numel() for parameter in model.parameters())


@each_model()
def test_trained_model_has_its_tags(name):
    assert taggram.create_model(name).tags == load_card(name).tag_names


@each_model("vgg.mtt")
def test_trained_model_with_a_new_head_keeps_its_features(name):
    torch.testing.assert_close(
        taggram.create_model(name, n_tags=3).blocks[0].conv.weight, taggram.create_model(name).blocks[0].conv.weight
    )
