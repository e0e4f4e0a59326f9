"""Training on patches in memory: what a step does, what is kept, when it ends."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from taggram.errors import TrainingError
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import Batch, PatchSet, fit_patches, one_hot, scores_of
from taggram.learning.schedules import ScheduleConfig
from taggram.models import create_model

SGD = FitConfig(loss="cross_entropy", optimizer="sgd", lr=0.1, batch_size=4, max_epochs=3, keep="last")
N_CLASSES = 2


def patches_of(n: int, seed: int = 0) -> PatchSet:
    """Patches of noise: those of the second class are louder in the upper half."""
    noise = torch.randn((n, 1, 40, 80), generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n) % N_CLASSES
    noise[:, :, 20:] += 2.0 * labels.float()[:, None, None, None]
    return PatchSet(noise, one_hot(labels, N_CLASSES))


def network() -> nn.Module:
    torch.manual_seed(0)
    model = create_model("ballroom_frequency", n_tags=N_CLASSES)
    model.standardize.set_statistics(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    return model


def weights_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def trained(config: FitConfig, train: PatchSet, **options) -> tuple[nn.Module, list[dict[str, float]]]:
    model = network()
    return model, fit_patches(model, lambda epoch: train.shuffled(config, epoch), config, **options)


def test_it_learns():
    train, test = patches_of(40), patches_of(40, seed=1)
    model, history = trained(dataclasses.replace(SGD, max_epochs=10), train)
    right = scores_of(model, test.patches).argmax(1) == test.targets.argmax(1)
    assert right.float().mean() > 0.95
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_one_seed_gives_the_same_weights_twice():
    train = patches_of(12)
    first, second = (weights_of(trained(SGD, train)[0]) for _ in range(2))
    assert torch.equal(first, second)


def test_another_seed_gives_another_order():
    train = patches_of(12)
    orders = [
        [batch.patches.sum().item() for batch in train.shuffled(dataclasses.replace(SGD, seed=seed), 1)]
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]


def test_every_patch_comes_once_an_epoch():
    train = patches_of(10)
    sizes = [len(batch.patches) for batch in train.shuffled(SGD, 1)]
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize(("n_patches", "sizes"), [(9, [4, 5]), (8, [4, 4]), (1, [1])])
def test_patch_that_is_left_over_goes_with_the_last_batch(n_patches, sizes):
    assert [len(batch.patches) for batch in patches_of(n_patches).shuffled(SGD, 1)] == sizes


def test_batches_of_one_patch_stay_so():
    config = dataclasses.replace(SGD, batch_size=1)
    assert [len(batch.patches) for batch in patches_of(3).shuffled(config, 1)] == [1, 1, 1]


def test_last_smaller_batch_may_be_dropped():
    sizes = [len(batch.patches) for batch in patches_of(10).shuffled(SGD, 1, drop_last=True)]
    assert sizes == [4, 4]


def test_step_is_that_of_plain_sgd_with_the_penalty_inside_the_clipped_norm():
    config = dataclasses.replace(SGD, max_epochs=1, l2=0.05, clip_norm=0.5)
    batch = patches_of(4)
    model, by_hand = network(), network()
    fit_patches(model, lambda _: [batch], config)

    torch.manual_seed(_seed_of_first_step())
    by_hand.train()
    logits = by_hand.forward_head(by_hand.forward_features(batch.patches))
    kernels = [module.weight for module in by_hand.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    loss = nn.functional.cross_entropy(logits, batch.targets) + 0.05 * sum(w.square().sum() for w in kernels)
    loss.backward()
    norm = torch.sqrt(sum(p.grad.square().sum() for p in by_hand.parameters()))
    assert norm > 0.5
    with torch.no_grad():
        for parameter in by_hand.parameters():
            parameter -= 0.1 * parameter.grad * (0.5 / (norm + 1e-6))
    assert torch.allclose(weights_of(model), weights_of(by_hand), atol=1e-6)


def _seed_of_first_step() -> int:
    from taggram.learning._steps import step_seed

    return step_seed(SGD.seed, 0)


def test_weight_of_zero_teaches_nothing():
    batch = patches_of(4)
    silent = Batch(batch.patches, batch.targets, torch.zeros(4))
    model = network()
    before = weights_of(model)
    fit_patches(model, lambda _: [silent], SGD)
    assert torch.equal(before, weights_of(model))


def test_best_weights_in_validation_are_kept():
    config = dataclasses.replace(SGD, max_epochs=8, keep="valid_loss", lr=0.02)
    valid = patches_of(20, seed=2)
    model, history = trained(config, patches_of(12), valid=valid)
    best = min(figures["valid_loss"] for figures in history)
    loss = nn.functional.nll_loss(scores_of(model, valid.patches).log(), valid.targets.argmax(1))
    assert loss.item() == pytest.approx(best, rel=1e-4)


def test_schedule_ends_training():
    rule = ScheduleConfig(rule="plateau", monitor="train_loss", patience=9, stop_after=1)
    frozen = dataclasses.replace(SGD, lr=1e-12, max_epochs=50, schedule=rule)
    _, history = trained(frozen, patches_of(8))
    assert len(history) < 50


def test_loss_that_is_no_number_is_told():
    train = patches_of(4)
    broken = PatchSet(train.patches * torch.inf, train.targets)
    with pytest.raises(TrainingError, match="no number in epoch 1"):
        trained(SGD, broken)


def test_network_is_left_ready_for_use():
    model, _ = trained(SGD, patches_of(4))
    assert not model.training
