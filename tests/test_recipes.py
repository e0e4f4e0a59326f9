"""Every published training as a file: it can be built and trained as it says, and says where its numbers are from."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import get_args

import pytest
import torch

from taggram.datasets import DATASETS, find_dataset
from taggram.learning._steps import PENALISED
from taggram.learning.config import FitConfig
from taggram.learning.evaluate import ClipScore
from taggram.models import NETWORKS, create_model

FILES = {
    file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8"))
    for file in resources.files("taggram").joinpath("recipes").iterdir()
    if file.name.endswith(".toml")
}
TAGS_FOUND_IN_THE_DATA = {"mtt50_multiscale": 50}
SECTIONS = {"title", "source", "differs", "network", "options", "data", "fit", "augment", "evaluate", "published"}
NUMBERS = {
    "macro_roc_auc", "macro_pr_auc", "micro_roc_auc", "micro_pr_auc", "accuracy", "macro_accuracy", "macro_precision",
    "macro_recall", "macro_f1", "micro_accuracy", "micro_precision", "micro_recall", "micro_f1",
}  # fmt: skip

each_recipe = pytest.mark.parametrize("name", sorted(FILES))


def n_tags_of(recipe):
    known = find_dataset(recipe["data"]["name"]).card.vocabularies[recipe["data"]["tags"]]
    return len(known) or TAGS_FOUND_IN_THE_DATA[recipe["data"]["tags"]]


def built(name):
    recipe = FILES[name]
    with torch.device("meta"):
        return create_model(recipe["network"], n_tags=n_tags_of(recipe), **recipe.get("options", {}))


def fit_of(name):
    return FitConfig.from_dict(FILES[name]["fit"])


@each_recipe
def test_recipe_says_what_it_is_and_where_it_is_from(name):
    recipe = FILES[name]
    assert set(recipe) <= SECTIONS
    assert all(recipe[key] for key in ("title", "source"))


@each_recipe
def test_network_can_be_built(name):
    assert FILES[name]["network"] in NETWORKS
    assert built(name).n_tags == n_tags_of(FILES[name])


@each_recipe
def test_data_set_split_and_vocabulary_are_known(name):
    data = FILES[name]["data"]
    assert data["name"] in DATASETS
    card = find_dataset(data["name"]).card
    assert data["split"] in card.splits
    assert data["tags"] in card.vocabularies


@each_recipe
def test_settings_make_sense(name):
    assert fit_of(name).max_epochs >= 1
    assert FILES[name]["evaluate"]["clip_score"] in get_args(ClipScore)


@each_recipe
def test_there_is_something_to_validate_on(name):
    data = FILES[name]["data"]
    rule = find_dataset(data["name"]).card.splits[data["split"]].rule
    has_none = "nothing is for validation" in rule or "for validation, draw" in rule
    assert has_none == (fit_of(name).valid_share > 0)


@each_recipe
def test_loss_is_one_for_the_task_of_the_network(name):
    assert fit_of(name).loss == {"several": "binary", "one": "cross_entropy"}[built(name).task]


@each_recipe
def test_published_numbers_have_source_and_split(name):
    for row in FILES[name].get("published", []):
        numbers = {key: value for key, value in row.items() if key not in ("system", "source", "split")}
        assert all(row[key] for key in ("system", "source", "split"))
        assert numbers
        assert set(numbers) <= NUMBERS
        assert all(0 < value < 1 for value in numbers.values())


@each_recipe
def test_lines_are_short(name):
    text = resources.files("taggram").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 120


# -- what the sources fix ----------------------------------------------------------------------------------------------

FIXED = {
    "musicnn_mtt": {
        "optimizer": "adam", "lr": 0.001, "l2": 0.5e-5, "l2_of": "kernels", "batch_size": 32, "sampling": "random",
        "max_epochs": 599, "schedule.rule": "plateau_in_total", "schedule.patience": 75, "schedule.factor": 0.5,
    },
    "musicnn_big_msd": {"lr": 0.001, "l2": 0.5e-5, "batch_size": 32, "max_epochs": 5999, "schedule.patience": 75},
    "multiscale_mtt": {
        "optimizer": "adam", "lr": 0.001, "l2": 0, "batch_size": 32, "super_batch": 3000, "max_epochs": 40,
        "keep": "valid_auc",
        "schedule.rule": "drops", "schedule.at": (20, 30, 35), "schedule.factor": 0.1,
    },
    "samplecnn_mtt": {
        "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "lr_decay": 1e-6, "l2": 0, "batch_size": 23,
        "sampling": "all", "schedule.rule": "stages", "schedule.factor": 0.2, "schedule.patience": 3,
        "schedule.n_drops": 4,
    },
    "samplecnn_msd": {"batch_size": 50, "patches_per_track": 10, "schedule.patience": 3},
    "rese_mtt": {"lr": 0.01, "momentum": 0.9, "batch_size": 23, "max_epochs": 100, "schedule.patience": 2},
    "timbre_mtt": {
        "optimizer": "sgd", "lr": 0.1, "momentum": 0, "l2": 1e-5, "l2_of": "kernels_and_norms", "batch_size": 10,
        "sampling": "all", "max_epochs": 200, "l2_in_valid_loss": False, "schedule.rule": "on_improvement",
        "schedule.patience": 3,
        "schedule.stop_after": 10, "schedule.monitor": "train_loss", "schedule.factor": 0.5,
    },
    "instrument_single_layer_irmas": {
        "optimizer": "adam", "lr": 0.001, "l2": 1e-5, "batch_size": 16, "max_epochs": 400, "schedule.stop_after": 20,
        "schedule.at": tuple(range(20, 400, 20)),
    },
    "phoneme_timbre_laosheng": {"l2": 1e-5, "l2_of": "convolutions", "batch_size": 128, "max_epochs": 54},
    "phoneme_mlp_dan": {"l2": 0, "batch_size": 58, "valid_share": 0.2, "max_epochs": 500, "schedule.stop_after": 5},
    "ballroom_time": {
        "optimizer": "sgd", "lr": 0.01, "momentum": 0, "l2": 0, "batch_size": 10, "max_epochs": 2000,
        "keep": "valid_accuracy", "schedule.rule": "on_improvement", "schedule.patience": 20, "schedule.factor": 0.5,
        "schedule.stop_after": 40, "schedule.monitor": "train_loss",
    },
    "o_p_net_overlap_ballroom": {"batch_size": 50, "max_epochs": 250, "sampling": "all", "hop_frames": 80},
    "emarkou_literal_mtt": {"optimizer": "adam", "lr": 0.001, "batch_size": 700, "max_steps": 210},
    "sb_cnn_urbansound8k": {
        "optimizer": "sgd", "lr": 0.1, "momentum": 0, "l2": 0.5e-3, "l2_of": "kernels", "clip_norm": 5.0,
        "batch_size": 256, "sampling": "random", "max_epochs": 199, "keep": "last", "schedule.rule": "constant",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FIXED))
def test_settings_are_those_of_the_source(name):
    config = fit_of(name)
    found = {}
    for setting in FIXED[name]:
        place, _, last = setting.rpartition(".")
        found[setting] = getattr(config.schedule if place else config, last)
    assert found == FIXED[name]


@pytest.mark.parametrize(
    ("name", "number", "value"),
    [
        ("musicnn_mtt", "macro_roc_auc", 0.90668),
        ("musicnn_mtt", "macro_pr_auc", 0.38311),
        ("vgg_msd", "macro_roc_auc", 0.87676),
        ("multiscale_mtt", "macro_roc_auc", 0.900),
        ("samplecnn_mtt", "macro_roc_auc", 0.9055),
        ("samplecnn_msd", "macro_roc_auc", 0.8812),
        ("rese_mtt", "macro_roc_auc", 0.9113),
        ("se_msd", "macro_roc_auc", 0.8840),
        ("timbre_mtt_x2", "macro_roc_auc", 0.893),
        ("ballroom_black_box", "accuracy", 0.8725),
        ("local_mel_msd", "macro_roc_auc", 0.8783),
    ],
)
def test_published_number_is_the_one_of_the_source(name, number, value):
    assert [row[number] for row in FILES[name]["published"]] == [value]


@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [
        ("vgg_msd", 605_748),
        ("multiscale_mtt", 2_936_810),
        ("rese_mtt", 26_980_146),
        ("se_mtt", 24_742_706),
        ("se_journal_mtt", 2_044_498),
        ("timbre_mtt_x2", 191_006),
        ("ballroom_black_box_250", 2_363_440),
        ("o_p_net_ballroom", 11_608),
        ("phoneme_mlp_laosheng", 430_379),
        ("emarkou_literal_mtt", 30_369_522),
        ("few_data_vgg_tut2017", 45_329),
    ],
)
def test_network_has_the_published_number_of_parameters(name, n_parameters):
    assert sum(parameter.numel() for parameter in built(name).parameters()) == n_parameters


@each_recipe
def test_penalty_finds_weights(name):
    config = fit_of(name)
    if config.l2 and config.l2_of != "all":
        assert any(isinstance(module, PENALISED[config.l2_of]) for module in built(name).modules())
