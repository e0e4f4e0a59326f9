"""Prototypical networks: their distance, their support, and when their training ends."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning import prototypes
from taggram.learning.clip_patches import ClipPatches
from taggram.learning.prototypes import (
    PrototypeConfig,
    Prototypes,
    TotalPatience,
    clip_log_probabilities,
    embed,
    fit_prototypes,
)
from taggram.models import create_model

QUICK = PrototypeConfig(stop_epochs=3)


def points(n_patches=1, n_clips=4, seed=0, spread=0.3):
    """Clips of two classes as points around two places in five dimensions, as patches of (5,)."""
    noise = torch.Generator().manual_seed(seed)
    places = 3 * torch.eye(5)[:2]
    labels = [0] * n_clips + [1] * n_clips
    clips = [places[label] + spread * torch.randn(n_patches, 5, generator=noise) for label in labels]
    return clips, labels


def fitted(config=QUICK, told=None, **options):
    clips, labels = points(**options)
    torch.manual_seed(0)
    layer = nn.Linear(5, 3)
    history = []
    found = fit_prototypes(layer, ClipPatches.of(clips, labels), 2, config, told=history.append)
    return layer, found, history


def test_vectors_that_differ_by_one_everywhere_are_one_apart():
    assert Prototypes(torch.zeros(1, 10)).distances(torch.ones(1, 10)).tolist() == [[1.0]]


def test_distance_is_the_mean_of_squared_differences():
    first, second = torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0], [0.0, 3.0]])
    assert Prototypes(second).distances(first).tolist() == [[12.5, 0.0]]


def test_prototype_is_the_mean_of_its_support():
    found = Prototypes.of(torch.tensor([[0.0, 2.0], [5.0, 5.0], [4.0, 0.0]]), torch.tensor([0, 1, 0]), 2)
    assert found.points.tolist() == [[2.0, 1.0], [5.0, 5.0]]


def test_probabilities_are_a_softmax_over_distances():
    places = Prototypes(torch.tensor([[0.0], [2.0]]))
    wanted = torch.tensor([[-1.0, -1.0], [-9.0, -1.0]]).log_softmax(1)
    torch.testing.assert_close(places.log_probabilities(torch.tensor([[1.0], [3.0]])), wanted)


def test_class_without_an_embedding_is_refused():
    with pytest.raises(ConfigError, match="class number 1 has no embedding"):
        Prototypes.of(torch.zeros(2, 3), torch.tensor([0, 2]), 3)


def test_gradients_flow_through_support_and_queries():
    support, queries = torch.rand(4, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    Prototypes.of(support, torch.tensor([0, 0, 1, 1]), 2).log_probabilities(queries)[:, 0].sum().backward()
    assert support.grad.abs().sum() > 0 < queries.grad.abs().sum()


def test_clip_is_scored_by_the_mean_of_logarithms():
    places = Prototypes(torch.tensor([[0.0], [1.0]]))
    clip = torch.tensor([[0.2], [0.4], [9.0]])
    wanted = places.log_probabilities(clip).mean(0, keepdim=True)
    torch.testing.assert_close(clip_log_probabilities(nn.Identity(), places, [clip]), wanted)


def test_constant_accuracy_is_borne_for_as_many_epochs_and_one_more():
    patience = TotalPatience(200)
    n_epochs = next(epoch for epoch in range(1, 1000) if patience.is_over(0.5))
    assert n_epochs == 1 + 201


def test_epochs_without_improvement_are_counted_in_total():
    patience = TotalPatience(2)
    assert [patience.is_over(score) for score in (0.1, 0.1, 0.2, 0.2, 0.3, 0.3)] == [False] * 5 + [True]


def test_accuracy_of_nothing_is_a_first_best_too():
    patience = TotalPatience(0)
    assert [patience.is_over(0.0), patience.is_over(0.0)] == [False, True]


def test_training_that_is_right_at_once_ends_after_the_epochs_that_are_borne():
    _, found, history = fitted(spread=0.0)
    assert (found.train_accuracy, found.n_epochs) == (1.0, 1 + 4)
    assert [figures["epoch"] for figures in history] == [1, 2, 3, 4, 5]


def test_it_learns():
    layer, found, history = fitted(dataclasses.replace(QUICK, stop_epochs=30), spread=1.0, n_clips=8, n_patches=2)
    clips, labels = points(seed=1, spread=1.0, n_clips=100)  # so many that one of them does not decide
    right = clip_log_probabilities(layer, found.prototypes, clips).argmax(1) == torch.tensor(labels)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert right.float().mean() > 0.9


def test_same_seed_gives_the_same_weights():
    (first, _, _), (second, _, _) = fitted(), fitted()
    assert torch.equal(first.weight, second.weight)


def test_other_seed_draws_another_support():
    supports = [fitted(dataclasses.replace(QUICK, n_shot=1, seed=seed))[1].prototypes.points for seed in (0, 1)]
    assert not torch.equal(*supports)


def test_training_does_not_hang_on_global_random_numbers():
    first, _, _ = fitted()
    clips, labels = points()
    torch.manual_seed(0)
    layer = nn.Linear(5, 3)
    torch.manual_seed(99)
    fit_prototypes(layer, ClipPatches.of(clips, labels), 2, QUICK)
    assert torch.equal(first.weight, layer.weight)


def test_support_is_embedded_apart_from_the_queries():
    seen = []

    class Watched(nn.Linear):
        def forward(self, patches):
            if self.training:
                seen.append(len(patches))
            return super().forward(patches)

    clips, labels = points(n_patches=3, n_clips=6)
    fit_prototypes(Watched(5, 3), ClipPatches.of(clips, labels), 2, dataclasses.replace(QUICK, stop_epochs=0))
    assert set(seen[::2]) == {10}  # five of each class
    assert set(seen[1::2]) == {10}
    assert len(seen) == 2 * 2 * 3  # two epochs of three updates, for 36 patches


def test_prototypes_are_those_of_the_last_weights():
    layer, found, _ = fitted(dataclasses.replace(QUICK, n_shot=None))
    clips, labels = points()
    with torch.no_grad():
        wanted = Prototypes.of(layer(torch.cat(clips)), torch.tensor(labels), 2).points
    torch.testing.assert_close(found.prototypes.points, wanted)


def test_gradient_is_clipped():
    before, config = nn.Linear(5, 3), dataclasses.replace(QUICK, stop_epochs=0, clip_norm=1e-4)
    layer = nn.Linear(5, 3)
    layer.load_state_dict(before.state_dict())
    clips, labels = points()
    fit_prototypes(layer, ClipPatches.of(clips, labels), 2, config)
    moved = (layer.weight - before.weight).norm()
    assert 0 < moved < 2 * 0.1 * 1e-4 + 1e-6  # two updates


def test_trunk_has_a_rate_of_its_own():
    torch.manual_seed(0)
    model = create_model("timbre", n_tags=4)
    model.reset_head(3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    patches = torch.randn(4, 1, 128, 10, generator=torch.Generator().manual_seed(0))
    examples = ClipPatches.of(list(patches[:, None]), [0, 0, 1, 1])
    fit_prototypes(model, examples, 2, dataclasses.replace(QUICK, stop_epochs=0, trunk_lr=0.0))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, start[name])}
    assert "head.weight" in moved
    assert moved <= {"head.weight", "head.bias"}


def test_rates_reach_the_head_and_the_trunk():
    model = create_model("timbre", n_tags=4)
    model.reset_head(3)
    groups = prototypes._optimizer(model, PrototypeConfig(trunk_lr=1e-4)).param_groups
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    found = {name: rates[parameter] for name, parameter in model.named_parameters()}
    assert {name: rate for name, rate in found.items() if name.startswith("head.")} == {
        "head.weight": 0.1, "head.bias": 0.1,
    }  # fmt: skip
    assert max(rate for name, rate in found.items() if not name.startswith("head.")) == pytest.approx(1e-5)


def test_network_that_is_all_frozen_is_refused():
    model = create_model("timbre")
    examples = ClipPatches.of(list(torch.zeros(2, 1, 1, 128, 10)), [0, 1])
    with pytest.raises(ConfigError, match="nothing of this network learns"):
        fit_prototypes(model, examples, 2, dataclasses.replace(QUICK, trunk_lr=0.0))


def test_embedding_of_a_network_is_what_its_head_gives():
    model = create_model("timbre", n_tags=4).eval()
    model.reset_head(3)
    assert embed(model, torch.zeros(2, 1, 128, 10)).shape == (2, 3)


def test_class_without_patches_is_refused():
    clips, labels = points()
    with pytest.raises(DatasetError, match="class number 2 has no patch"):
        fit_prototypes(nn.Linear(5, 3), ClipPatches.of(clips, labels), 3, QUICK)


def test_loss_that_is_no_number_ends_the_training():
    clips, labels = points()
    clips[0] = clips[0] * float("nan")
    with pytest.raises(TrainingError, match="the loss is no number in epoch 1"):
        fit_prototypes(nn.Linear(5, 3), ClipPatches.of(clips, labels), 2, QUICK)


@pytest.mark.parametrize(
    "options",
    [
        {"n_shot": 0}, {"n_query": 0}, {"stop_epochs": -1}, {"lr": 0}, {"trunk_lr": -1}, {"clip_norm": 0}, {"seed": -1},
    ],
    ids=str,
)  # fmt: skip
def test_setting_that_makes_no_sense_is_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is"):
        PrototypeConfig(**options)
