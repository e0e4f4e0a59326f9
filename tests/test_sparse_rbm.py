"""RBMs: one step as it is written in the source, sparsity, stacks, and trainings that go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning import sparse_rbm
from taggram.learning.sparse_rbm import RBM, RBMConfig, stacked_config, train_rbm

SMALL = RBMConfig(n_hidden=7, n_epochs=4, batch_size=10)


def examples(n_examples=45, n_values=5, seed=0):
    return torch.randn(n_examples, n_values, generator=torch.Generator().manual_seed(seed))


def one_step(config, x, epoch=1):
    """The state before and after a step, and the samples of the hidden units that it drew."""
    state = sparse_rbm._State.begin(config, (config.n_hidden, x.shape[1]))
    for name, value in (("hidden_bias", 0.1), ("visible_bias", -0.2), ("activation", 0.3)):
        getattr(state, name).fill_(value)
    state.weight_step.fill_(0.01)
    state.hidden_bias_step.fill_(0.02)
    before = {name: getattr(state, name).double().numpy().copy() for name in state.tensors()}
    shape = (len(x), config.n_hidden)
    draw = torch.rand if config.hidden == "binary" else torch.randn
    drawn = draw(shape, generator=torch.Generator().manual_seed(5)).double().numpy()
    sparse_rbm._take_step(state, x, config, epoch, torch.Generator().manual_seed(5))
    return before, state, drawn


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_step_of_the_sparse_rbm_is_that_of_the_source():
    x = examples(10)
    before, state, drawn = one_step(replace(SMALL, n_epochs=300), x)
    w, b, c, v = (*(before[name] for name in ("weight", "hidden_bias", "visible_bias")), x.double().numpy())
    p = sigmoid(v @ w.T + b)
    again = (drawn < p) @ w + c
    p_again = sigmoid(again @ w.T + b)
    activation = 0.99 * 0.3 + 0.01 * p.mean(0)
    w_step = 0.5 * 0.01 + 0.007 * ((p.T @ v - p_again.T @ again) / 10 - 0.001 * w)
    b_step = 0.5 * 0.02 - 3 * 0.007 * (activation - 0.02) + 0.007 * (p - p_again).mean(0)
    c_step = 0.007 * (v - again).mean(0)
    for name, wanted in (
        ("activation", activation), ("weight", w + w_step), ("hidden_bias", b + b_step), ("visible_bias", c + c_step),
        ("hidden_bias_step", b_step),
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(state, name).numpy(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("number", "lr"), [(1, 0.03), (2, 0.003)])
def test_step_of_a_stacked_rbm_is_that_of_the_source(number, lr):
    x = examples(10).abs().clamp(max=1)
    before, state, noise = one_step(stacked_config(number, n_hidden=7, weight_cost=0.01), x)
    w, b, c, v = (*(before[name] for name in ("weight", "hidden_bias", "visible_bias")), x.double().numpy())
    z = v @ w.T + b
    drive = np.maximum(0, z + np.sqrt(sigmoid(z)) * noise) @ w + c
    again = sigmoid(drive) if number == 1 else np.maximum(0, drive)
    p, p_again = np.maximum(0, z), np.maximum(0, again @ w.T + b)
    w_step = 0.5 * 0.01 + lr * ((p.T @ v - p_again.T @ again) / 10 - 0.01 * w)
    np.testing.assert_allclose(state.weight.numpy(), w + w_step, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        state.hidden_bias.numpy(), b + 0.5 * 0.02 + lr * (p - p_again).mean(0), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(("epoch", "wanted"), [(1, 0.5), (60, 0.5), (61, 0.9), (300, 0.9)])
def test_momentum_rises_after_a_fifth_of_the_epochs(epoch, wanted):
    assert RBMConfig().momentum_of(epoch) == wanted


@pytest.mark.parametrize(
    ("epoch", "wanted"), [(1, 0.007), (2, 0.00693), (84, 0.007 * 0.99**83), (86, 0.003), (300, 0.003)]
)
def test_rate_falls_to_its_floor(epoch, wanted):
    assert RBMConfig().lr_of(epoch) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("number", "wanted"), [(1, ("binary", "relu", 0.03, 0.01)), (2, ("relu", "relu", 0.003, 0.001))]
)
def test_stack_is_that_of_the_source(number, wanted):
    config = stacked_config(number)
    assert (config.visible, config.hidden, config.lr, config.lr_floor) == wanted
    assert (config.n_hidden, config.n_epochs, config.batch_size, config.target) == (512, 200, 100, None)
    assert config.momentum_of(40) == 0.5
    assert config.momentum_of(41) == 0.9


def test_mean_activation_comes_to_its_target():
    x = torch.tanh(examples(500, 10) @ examples(10, 10, seed=1))
    config = RBMConfig(n_hidden=20, n_epochs=100, batch_size=10, target=0.05)
    rbm, history = train_rbm((x - x.mean(0)) / x.std(0), config)
    # Samples that rounding tips over lead to other weights: other seeds end at 0.0535 to 0.0552.
    assert rbm.mean_activation((x - x.mean(0)) / x.std(0)).mean().item() == pytest.approx(0.05, rel=0.2)
    assert history[-1]["activation"] == pytest.approx(0.05, rel=0.2)


def test_reconstruction_becomes_better():
    x = examples(200, 1) * torch.ones(1, 6)
    history = train_rbm(x, RBMConfig(n_hidden=10, n_epochs=60, batch_size=10, target=None))[1]
    assert history[-1]["error"] < 0.5 * history[0]["error"]


def test_last_batch_that_is_not_full_is_left_out():
    order = sparse_rbm.generator(0, sparse_rbm.Purpose.ORDER).permutation(45)
    longer = examples(45)
    longer[torch.from_numpy(order[40:].copy())] = 1e6  # would end in no numbers
    rbm, _ = train_rbm(longer, SMALL)
    assert rbm.weight.abs().max() < 1


def test_killed_training_goes_on_to_the_same_weights(tmp_path):
    whole, history = train_rbm(examples(), SMALL)

    def stop(figures):
        if figures["epoch"] == 2:
            raise KeyboardInterrupt

    path = tmp_path / "rbm.npz"
    with pytest.raises(KeyboardInterrupt):
        train_rbm(examples(), SMALL, checkpoint=path, told=stop)
    seen = []
    again, history_again = train_rbm(examples(), SMALL, checkpoint=path, told=lambda one: seen.append(one["epoch"]))
    assert seen == [3, 4]
    assert history_again == history
    for name in sparse_rbm.PARTS:
        assert torch.equal(getattr(again, name), getattr(whole, name))


@pytest.mark.parametrize("changes", [{"target": 0.03}, {"n_hidden": 8}, {"seed": 1}], ids=str)
def test_checkpoint_of_another_training_is_refused(tmp_path, changes):
    path = tmp_path / "rbm.npz"
    train_rbm(examples(), SMALL, checkpoint=path)
    with pytest.raises(TrainingError, match="trained otherwise"):
        train_rbm(examples(), replace(SMALL, **changes), checkpoint=path)


def test_what_else_is_drawn_changes_nothing():
    torch.manual_seed(1)
    first = train_rbm(examples(), SMALL)[0]
    torch.manual_seed(2)
    assert torch.equal(train_rbm(examples(), SMALL)[0].weight, first.weight)


@pytest.mark.parametrize("hidden", ["binary", "relu"])
def test_rbm_is_saved(tmp_path, hidden):
    rbm = RBM(examples(3, 5), examples(1, 3)[0], examples(1, 5)[0], hidden)
    rbm.save(tmp_path / "rbm.npz")
    assert torch.equal(RBM.load(tmp_path / "rbm.npz")(examples()), rbm(examples()))


def test_weights_that_are_no_numbers_are_told():
    with pytest.raises(TrainingError, match="no numbers any more in epoch 1"):
        train_rbm(1e30 * examples(), SMALL)


def test_less_than_a_batch_is_refused():
    with pytest.raises(DatasetError, match="there are 9 examples, and a batch has 10"):
        train_rbm(examples(9), SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_hidden": 0}, "n_hidden is 0"),
        ({"visible": "gaussian"}, "visible is 'gaussian'"),
        ({"lr": 0}, "lr is 0"),
        ({"momentum": 1}, "momentum is 1"),
        ({"target": 1.0}, "target is 1.0"),
        ({"hidden": "relu"}, "target is 0.02; wanted None with rectified hidden units"),
        ({"lr_decay": 1.1}, "lr_decay is 1.1"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RBMConfig(**options)
