"""What a setting of a training means: which patches, which penalty, which optimiser, which accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import taggram
from taggram.errors import ConfigError, DatasetError
from taggram.learning._steps import n_right, penalised
from taggram.learning.config import FitConfig
from taggram.learning.data import TrainingPatches, drawn_for_validation
from taggram.learning.fit import fit
from taggram.learning.system import TaggingSystem

LENGTHS = (100, 45, 5)


class Ramps:
    """Tracks whose samples say where they are."""

    def n_samples(self, row):
        return LENGTHS[row]

    def labels(self, rows):
        return np.eye(3, dtype=np.float32)[rows]

    def crop(self, row, start, n_samples):
        return np.arange(start, start + n_samples, dtype=np.float32)


def starts(row, epoch=0, **settings):
    """Give where the patches of 10 samples of a track begin, in an epoch."""
    patches = TrainingPatches(Ramps(), np.array([row]), 10, settings.pop("sampling"), 0, **settings)
    first = epoch * patches.n_items
    return [int(patches[position][0][0]) for position in range(first, first + patches.n_items)]


# -- which patches -----------------------------------------------------------------------------------------------------


def test_all_patches_lie_side_by_side():
    assert sorted(starts(1, sampling="all")) == [0, 10, 20, 30]


def test_patches_overlap_where_the_hop_is_shorter():
    assert sorted(starts(1, sampling="all", hop=5)) == [0, 5, 10, 15, 20, 25, 30, 35]


def test_hop_longer_than_a_patch_leaves_gaps():
    assert sorted(starts(1, sampling="all", hop=30)) == [0, 30]


def test_no_more_than_the_first_patches_are_taken():
    assert sorted(starts(0, sampling="all", per_track=3)) == [0, 10, 20]


def test_limit_above_what_there_is_changes_nothing():
    assert sorted(starts(1, sampling="all", per_track=9)) == [0, 10, 20, 30]


def test_track_shorter_than_a_patch_is_one_patch():
    assert starts(2, sampling="all", hop=1) == [0]


def test_random_patches_of_a_track_differ():
    assert len(set(starts(0, sampling="random", per_track=8))) > 4


def test_random_patches_are_drawn_anew_in_the_next_epoch():
    settings = {"sampling": "random", "per_track": 8}
    assert starts(0, **settings) != starts(0, epoch=1, **settings)


def test_position_alone_says_which_patch_it_is():
    whole, later = (TrainingPatches(Ramps(), np.array([0, 1]), 10, "random", 7, per_track=4) for _ in range(2))
    in_order = [whole[position][0] for position in range(24)]
    assert torch.equal(torch.stack(in_order[17:]), torch.stack([later[position][0] for position in range(17, 24)]))


# -- which tracks are for validation -----------------------------------------------------------------------------------


def test_share_of_the_tracks_is_drawn_for_validation():
    train, valid = drawn_for_validation(np.arange(50), 0.2, seed=0)
    assert len(valid) == 10
    assert sorted([*train, *valid]) == list(range(50))


def test_other_seed_draws_other_tracks():
    first, second = (drawn_for_validation(np.arange(50), 0.2, seed)[1] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_small_share_draws_one_track():
    assert len(drawn_for_validation(np.arange(5), 0.01, seed=0)[1]) == 1


def test_share_of_nothing_draws_none():
    assert len(drawn_for_validation(np.arange(5), 0.0, seed=0)[1]) == 0


class Noises:
    """Ten tracks for training and none for validation, as prepared data gives them."""

    def __init__(self):
        self.tags, self.task, self.sample_rate = ("a", "b"), "one", 22_050
        same = {name: getattr(self, name) for name in ("tags", "task", "sample_rate")}
        self.card = {"name": "made", "split": "all", "split_sha256": "0", **same}

    def index(self, part):
        return np.arange(10 if part == "train" else 0)

    def n_samples(self, row):
        return 400

    def labels(self, rows):
        return np.eye(2, dtype=np.float32)[rows % 2]

    def crop(self, row, start, n_samples):
        sound = np.random.default_rng(row).standard_normal(400).astype(np.float32)
        return sound[start : start + n_samples]


def history_of(folder, **settings):
    torch.manual_seed(0)
    network = taggram.create_model("samplecnn", kernel=3, depth=3, n_samples=81, n_tags=2, task="one")
    settings = {"max_epochs": 2, "batch_size": 3, "valid_share": 0.4, **settings}
    return fit(network, Noises(), folder, FitConfig(**settings), device="cpu").history


def test_split_without_validation_trains_where_some_is_drawn(tmp_path):
    assert len(history_of(tmp_path / "run", keep="valid_accuracy", sampling="all", hop_frames=60)) == 2


def test_split_without_validation_is_refused_where_none_is_drawn(tmp_path):
    with pytest.raises(DatasetError, match=r"fit\.valid_share=0\.1 draws one"):
        history_of(tmp_path / "run", valid_share=0.0)


def test_validation_loss_can_be_without_the_penalty(tmp_path):
    whole, part = (
        history_of(tmp_path / str(has), l2=0.1, l2_in_valid_loss=has, max_epochs=1)[0]["valid_loss"]
        for has in (True, False)
    )
    assert whole > part + 1


# -- which penalty -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "names"),
    [
        ("kernels", ["0.weight", "4.weight"]),
        ("trunk_kernels", ["0.weight", "4.weight"]),  # a network without a head of that name
        ("convolutions", ["0.weight"]),
        ("kernels_and_norms", ["0.weight", "1.weight", "4.weight"]),
        ("all", ["0.bias", "0.weight", "1.bias", "1.weight", "4.bias", "4.weight"]),
    ],
)
def test_penalty_acts_on(of, names):
    network = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    known = {id(parameter): name for name, parameter in network.named_parameters()}
    assert sorted(known[id(weight)] for weight in penalised(network, of)) == names


def test_penalty_can_leave_out_the_head():
    network = taggram.create_model("phoneme_mlp", n_tags=2)
    found = list(penalised(network, "trunk_kernels"))
    assert [weight.shape for weight in found] == [network.dense1.weight.shape, network.dense2.weight.shape]


@pytest.mark.parametrize("of", ["kernels", "all"])
def test_weights_that_do_not_learn_have_no_penalty(of):
    assert not list(penalised(nn.Linear(2, 2).requires_grad_(False), of))


# -- which optimiser ---------------------------------------------------------------------------------------------------


class Headed(nn.Module):
    """The least of a network that an optimiser is made for."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)


def optimizer_of(**settings):
    system = TaggingSystem(Headed(), FitConfig(**settings), print, print, print)
    return system.configure_optimizers()


def test_adadelta_has_its_own_settings():
    optimizer = optimizer_of(optimizer="adadelta", lr=1.0, rho=0.99, eps=1e-8)
    assert isinstance(optimizer, torch.optim.Adadelta)
    assert (optimizer.defaults["rho"], optimizer.defaults["eps"], optimizer.defaults["lr"]) == (0.99, 1e-8, 1.0)


def test_adam_divides_by_what_eps_says():
    assert optimizer_of(eps=1e-3).defaults["eps"] == 1e-3


# -- which accuracy ----------------------------------------------------------------------------------------------------


def test_patch_is_right_where_its_best_tag_is_the_true_one():
    logits = torch.tensor([[1.0, 2.0], [3.0, 1.0], [-5.0, -4.0]])
    labels = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert n_right(logits, labels, "one") == 2


def test_where_several_tags_hold_each_counts():
    logits = torch.tensor([[1.0, -2.0, 3.0, 4.0]])
    assert n_right(logits, torch.tensor([[1.0, 0.0, 0.0, 1.0]]), "several") == 0.75


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"hop_frames": 0, "sampling": "all"},
        {"hop_frames": 4, "sampling": "random"},
        {"patches_per_track": 0},
        {"rho": 1.0},
        {"eps": 0.0},
        {"valid_share": 1.0},
        {"l2_in_valid_loss": 0},
        {"l2_of": "biases"},
        {"keep": "accuracy"},
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings):
    with pytest.raises(ConfigError):
        FitConfig(**settings)
