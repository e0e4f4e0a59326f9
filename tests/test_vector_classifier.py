"""Dense layers on vectors of clips: how they start, when they stop, and what is kept."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import _networks
import numpy as np
import pytest
import torch

from taggram.errors import ConfigError, DatasetError
from taggram.learning import patch_fit
from taggram.learning.vector_classifier import (
    VECTOR_FIT,
    LabelledVectors,
    VectorClassifier,
    fit_vectors,
    score_vectors,
)
from taggram.models.multilevel import ClipClassifier

QUICK = replace(VECTOR_FIT, lr=0.05, max_epochs=20)


def made(n_clips, seed=0, *, task="several"):
    """Vectors of which the first values say which of three tags hold."""
    random = np.random.default_rng(seed)
    labels = (random.random((n_clips, 3)) < 0.5).astype(np.float32)
    if task == "one":
        labels = np.eye(3, dtype=np.float32)[random.integers(0, 3, n_clips)]
    noise = random.standard_normal((n_clips, 8)).astype(np.float32)
    noise[:, :3] += 4 * labels
    return LabelledVectors(100 + 10 * noise, labels)


def fitted(config=QUICK, **options):
    return fit_vectors(made(60), made(20, 1), config, **{"n_units": 16, **options})


@pytest.mark.parametrize("task", ["several", "one"])
def test_what_vectors_say_is_learned(task):
    train, valid, test = (made(n_clips, seed, task=task) for seed, n_clips in enumerate((120, 20, 60)))
    model, _ = fit_vectors(train, valid, QUICK, task=task, n_units=16)
    scores = score_vectors(model, test.values)
    right = (scores.argmax(1) == test.labels.argmax(1)) if task == "one" else ((scores > 0.5) == (test.labels > 0.5))
    assert right.mean() > 0.9
    assert np.allclose(scores.sum(1), 1, atol=1e-5) == (task == "one")


def test_vectors_are_scaled_by_one_mean_and_deviation_of_the_training_set():
    model, _ = fitted()
    values = made(60).values
    assert float(model.classifier.standardize.mean) == pytest.approx(values.mean())
    assert float(model.classifier.standardize.std) == pytest.approx(values.std(), rel=1e-4)


def test_vectors_are_scaled_without_a_copy_of_all():
    many = made(30_000)
    fitted(replace(QUICK, max_epochs=1))  # the first training of a process imports much
    tracemalloc.start()
    fit_vectors(many, made(4, 1), replace(QUICK, batch_size=8192, max_epochs=1), n_units=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < many.values.nbytes


def test_vectors_that_never_change_are_not_scaled():
    same = LabelledVectors(np.ones((4, 2), np.float32), np.eye(4, 2, dtype=np.float32))
    model, _ = fit_vectors(same, same, replace(QUICK, max_epochs=1), n_units=2)
    assert float(model.classifier.standardize.std) == 1


def test_training_ends_at_the_eighth_epoch_without_a_better_loss():
    config = replace(VECTOR_FIT, lr=0.3, max_epochs=200)
    model, history = fitted(config)
    losses = [one["valid_loss"] for one in history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 8 < 200
    valid = made(20, 1)
    scores = torch.from_numpy(score_vectors(model, valid.values)).double()
    loss = torch.nn.functional.binary_cross_entropy(scores, torch.from_numpy(valid.labels).double())
    assert float(loss) == pytest.approx(losses[best], rel=1e-3)  # its weights are kept


def test_seed_alone_says_what_is_learned():
    (first, _), (again, _), (other, _) = fitted(), fitted(), fitted(replace(QUICK, seed=1))
    values = made(10, 2).values
    assert np.array_equal(score_vectors(first, values), score_vectors(again, values))
    assert not np.array_equal(score_vectors(first, values), score_vectors(other, values))


def test_rate_falls_with_the_steps(monkeypatch):
    rates = []
    monkeypatch.setattr(patch_fit, "scale_rates", lambda _groups, _config, scale: rates.append(scale))
    fitted(replace(QUICK, lr_decay=0.1, max_epochs=1))
    assert rates == [pytest.approx(1 / (1 + 0.1 * step)) for step in range(len(rates))]
    assert len(rates) == 4


@pytest.mark.parametrize("n_hidden_layers", [0, 1, 2])
def test_classifier_is_that_of_the_whole_system(n_hidden_layers):
    torch.manual_seed(0)
    model = VectorClassifier(43, 5, n_hidden_layers=n_hidden_layers, n_units=8).eval()
    whole = _networks.create(
        "multilevel_mel", n_tags=5, n_units=8, filters="3,4,5;3,4,6;3,4,5,6", n_hidden_layers=n_hidden_layers
    )
    missing, unexpected = whole.load_state_dict(model.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {"extractors"}
    values = torch.rand(4, 43)
    logits = model.forward_head(model.forward_features(values[:, None]))
    torch.testing.assert_close(whole.forward_vectors(values), logits)


def test_classifier_starts_as_in_the_source():
    torch.manual_seed(0)
    model = VectorClassifier(100, 50, n_hidden_layers=1, n_units=200)
    limit = (6 / 250) ** 0.5
    assert 0.99 * limit < model.head.weight.abs().max() <= limit
    assert not model.head.bias.any()
    assert isinstance(model.classifier, ClipClassifier)


def test_training_is_as_released():
    facts = (VECTOR_FIT.optimizer, VECTOR_FIT.lr, VECTOR_FIT.momentum, VECTOR_FIT.nesterov, VECTOR_FIT.lr_decay)
    assert facts == ("sgd", 0.005, 0.9, True, 1e-6)
    assert (VECTOR_FIT.batch_size, VECTOR_FIT.keep) == (16, "valid_loss")


def test_random_numbers_of_others_stay_as_they_are():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fitted(replace(QUICK, max_epochs=1))
    assert torch.equal(torch.rand(3), wanted)


def test_no_clip_is_refused():
    none = LabelledVectors(np.zeros((0, 8), np.float32), np.zeros((0, 3), np.float32))
    with pytest.raises(DatasetError, match="0 to validate on"):
        fit_vectors(made(4), none)


def test_wrong_classifier_is_refused():
    with pytest.raises(ConfigError, match="n_units is 0"):
        fitted(n_units=0)
