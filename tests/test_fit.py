"""Training: it learns, it keeps the best, and killed at any moment it goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal

import lightning
import pytest
import torch
from _made_prepared import MadeData, network

from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning._run_folder import CONFIG, kept_epoch
from taggram.learning.config import FitConfig
from taggram.learning.fit import fit
from taggram.learning.metrics import mean_over_tags, roc_auc
from taggram.learning.schedules import ScheduleConfig
from taggram.learning.system import TAGS_AT_ONCE, mean_roc_auc, moving_average


def config(**changes):
    return FitConfig(**{"batch_size": 4, "max_epochs": 3, "lr": 0.003, **changes})


def weights_of(result):
    return {name: tensor.clone() for name, tensor in result.model.state_dict().items()}


def same(a, b):
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_it_learns(tmp_path):
    result = fit(network(), MadeData(), tmp_path / "run", config(max_epochs=25), device="cpu")
    assert max(row["valid_auc"] for row in result.history) > 0.9  # of the best epoch; from one to the next it may fall


def test_one_seed_gives_the_same_weights_twice(tmp_path):
    first = fit(network(), MadeData(), tmp_path / "a", config(), device="cpu")
    second = fit(network(), MadeData(), tmp_path / "b", config(), device="cpu")
    assert same(weights_of(first), weights_of(second))


def test_average_of_the_weights_is_what_is_kept(tmp_path):
    last = fit(network(), MadeData(), tmp_path / "a", config(keep="last"), device="cpu")
    mean = fit(network(), MadeData(), tmp_path / "b", config(keep="last", ema_decay=0.9), device="cpu")
    assert not same(weights_of(last), weights_of(mean))
    assert [row["train_loss"] for row in last.history] == [row["train_loss"] for row in mean.history]


def test_average_follows_the_weights_from_the_first_steps_on():
    weights = [torch.tensor(float(value)) for value in (0, 1, 2, 3)]
    mean = weights[0]
    for n_before, new in enumerate(weights[1:], 1):
        mean = moving_average(mean, new, n_before, decay=0.99)
    assert mean > 2


def test_epoch_of_the_lower_loss_is_kept_where_no_tag_can_be_scored(tmp_path):
    data = MadeData()
    data._labels[data.index("valid")] = 1
    result = fit(network(), data, tmp_path, config(keep="valid_auc", max_epochs=4), device="cpu")
    losses = [row["valid_loss"] for row in result.history]
    again = fit(network(), data, tmp_path / "one", config(keep="valid_loss", max_epochs=4), device="cpu")
    assert same(weights_of(result), weights_of(again)), losses


def test_other_seed_gives_other_weights(tmp_path):
    first = fit(network(), MadeData(), tmp_path / "a", config(), device="cpu")
    second = fit(network(), MadeData(), tmp_path / "b", config(seed=1), device="cpu")
    assert not same(weights_of(first), weights_of(second))


def test_loader_processes_change_nothing(tmp_path):
    first = fit(network(), MadeData(), tmp_path / "a", config(max_epochs=2), device="cpu")
    second = fit(network(), MadeData(), tmp_path / "b", config(max_epochs=2, n_loaders=2), device="cpu")
    assert same(weights_of(first), weights_of(second))


@pytest.mark.parametrize("n_steps", [3, 10, 13])
def test_training_ends_after_so_many_steps_and_validates_what_it_cut_short(tmp_path, n_steps):
    told = []

    class Counts(lightning.Callback):
        def on_train_end(self, trainer, *_):
            told.append(trainer.global_step)

    limited = config(max_epochs=9, max_steps=n_steps, keep="last")  # 10 steps an epoch
    result = fit(network(), MadeData(), tmp_path / "run", limited, device="cpu", callbacks=[Counts()])
    assert (told, len(result.history)) == ([n_steps], -(-n_steps // 10))
    again = fit(network(), MadeData(), tmp_path / "run", limited, device="cpu", resume=True, callbacks=[Counts()])
    assert (told, again.history) == ([n_steps] * 2, result.history)
    assert same(weights_of(result), weights_of(again))


def test_runs_of_an_epoch_make_more_steps(tmp_path):
    steps = []

    class Counts(lightning.Callback):
        def on_train_end(self, trainer, *_):
            steps.append(trainer.global_step)

    for number, super_batch in enumerate((None, 14)):
        short = config(max_epochs=1, super_batch=super_batch)
        fit(network(), MadeData(), tmp_path / str(number), short, device="cpu", callbacks=[Counts()])
    assert steps == [10, 11]


# -- runs that are killed ----------------------------------------------------------------------------------------------

STEPS = {"max_epochs": 3, "checkpoint_steps": 2, "keep": "last"}


def train_and_die(folder, at_step, changes, number=signal.SIGKILL):
    """Train in this process, and end it by a signal at a step; as kill -9 does, where no other is given."""

    class Dies(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == at_step:
                os.kill(os.getpid(), number)

    fit(network(), MadeData(), folder, config(**STEPS, **changes), device="cpu", callbacks=[Dies()])


@pytest.mark.parametrize(
    ("at_step", "changes"),
    [(3, {}), (10, {}), (17, {}), (25, {}), (17, {"ema_decay": 0.9}), (17, {"optimizer": "sgd", "momentum": 0.9})],
    ids=str,
)
def test_run_that_was_killed_goes_on_to_the_same_weights(tmp_path, at_step, changes):
    whole = fit(network(), MadeData(), tmp_path / "whole", config(**STEPS, **changes), device="cpu")
    killed = multiprocessing.get_context("spawn").Process(
        target=train_and_die, args=(tmp_path / "cut", at_step, changes)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    again = config(**STEPS, **changes)
    result = fit(network(seed=9), MadeData(), tmp_path / "cut", again, device="cpu", resume=True)
    assert same(weights_of(whole), weights_of(result))
    assert result.history == whole.history


def test_run_that_was_told_to_end_is_no_success(tmp_path):
    told = multiprocessing.get_context("spawn").Process(
        target=train_and_die, args=(tmp_path / "cut", 3, {}, signal.SIGTERM)
    )
    told.start()
    told.join()
    assert told.exitcode == 128 + signal.SIGTERM


def test_run_that_had_ended_is_not_trained_again(tmp_path):
    first = fit(network(), MadeData(), tmp_path / "run", config(), device="cpu")
    second = fit(network(), MadeData(), tmp_path / "run", config(), device="cpu", resume=True)
    assert second.history == first.history


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_folder_with_a_run_is_not_trained_into(tmp_path):
    fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1), device="cpu")
    with pytest.raises(TrainingError, match="holds a run already"):
        fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1), device="cpu")


def test_run_does_not_go_on_with_other_settings(tmp_path):
    fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1), device="cpu")
    with pytest.raises(ConfigError, match=r"other settings, fit\.lr;"):
        fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1, lr=0.1), device="cpu", resume=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"sample_rate": 16_000}, "prepared at 16000 Hz and the network wants 22050", id="rate"),
        pytest.param({"tags": ("a",)}, "1 tags and the network 3 outputs", id="tags"),
        pytest.param({"task": "one"}, "task is 'one'", id="task"),
    ],
)
def test_data_that_does_not_fit_is_refused(tmp_path, change, told):
    data = MadeData()
    for name, value in change.items():
        setattr(data, name, value)
    with pytest.raises(DatasetError, match=told):
        fit(network(), data, tmp_path / "run", config(), device="cpu")


@pytest.mark.parametrize("part", ["train", "valid"])
def test_part_without_a_track_is_refused(tmp_path, part):
    data = MadeData()
    data._parts[data._parts == part] = "test"
    with pytest.raises(DatasetError, match=f"is there a part named {part}"):
        fit(network(), data, tmp_path / "run", config(), device="cpu")


def test_loss_that_is_no_number_ends_the_training(tmp_path):
    with pytest.raises(TrainingError, match=r"lower fit\.lr"):
        fit(network(), MadeData(), tmp_path / "run", config(optimizer="sgd", lr=1e30), device="cpu")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({"learning_rate": 1}, "no setting 'learning_rate'", id="unknown"),
        pytest.param({"schedule": {"rul": "drops"}}, "Did you mean rule", id="unknown in the schedule"),
        pytest.param({"lr": 0}, "lr is 0; wanted a number above 0", id="rate of 0"),
        pytest.param({"super_batch": 8}, "super_batch is 8; wanted a whole number from 32 on", id="run below a batch"),
        pytest.param({"max_steps": 0}, "max_steps is 0", id="no step"),
        pytest.param({"batch_size": 2.5}, "batch_size is 2.5", id="half a patch"),
        pytest.param({"optimizer": "lion"}, "one of 'adam', 'sgd'", id="unknown optimiser"),
    ],
)
def test_setting_without_sense_is_told(values, told):
    with pytest.raises(ConfigError, match=told):
        FitConfig.from_dict(values)


def test_config_survives_json():
    config = FitConfig.from_dict({"schedule": {"rule": "drops", "at": [20, 30]}, "lr": 0.1})
    assert FitConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_roc_auc_of_thousands_of_tags_is_computed_in_blocks():
    random = torch.Generator().manual_seed(0)
    scores = torch.rand(9, 2 * TAGS_AT_ONCE + 3, generator=random)
    labels = (torch.rand(scores.shape, generator=random) < 0.3).float()
    wanted = mean_over_tags(roc_auc(scores.numpy(), labels.numpy()))
    assert mean_roc_auc(list(scores), [row.nonzero().squeeze(1) for row in labels]) == pytest.approx(wanted)


@pytest.mark.parametrize(("keep", "epoch"), [("valid_loss", 2), ("valid_auc", 3), ("last", 4)])
def test_epoch_that_was_kept_is_found(keep, epoch):
    assert kept_epoch(history_of([3.0, 1.0, 2.0, 4.0], [float("nan"), 0.5, 0.7, 0.6]), keep)["epoch"] == epoch


@pytest.mark.parametrize(
    ("losses", "areas", "epoch"), [([2.0, 1.0], [0.5, 0.5], 2), ([2.0, 1.0], [float("nan")] * 2, 2)], ids=str
)
def test_between_equals_the_loss_decides_which_was_kept(losses, areas, epoch):
    assert kept_epoch(history_of(losses, areas), "valid_auc")["epoch"] == epoch


@pytest.mark.parametrize("keep", ["valid_loss", "valid_auc", "last"])
def test_epoch_that_is_found_is_the_one_whose_weights_lie_in_the_folder(tmp_path, keep):
    result = fit(network(), MadeData(), tmp_path / "run", config(max_epochs=4, keep=keep), device="cpu")
    epoch = int(kept_epoch(result.history, keep)["epoch"])
    shorter = fit(network(), MadeData(), tmp_path / "cut", config(max_epochs=epoch, keep="last"), device="cpu")
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, shorter.model.state_dict()[name])


def history_of(losses, areas):
    return [
        {"epoch": float(number), "valid_loss": loss, "valid_auc": area}
        for number, (loss, area) in enumerate(zip(losses, areas), start=1)
    ]


def test_run_that_was_begun_before_a_setting_was_there_goes_on(tmp_path):
    fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1), device="cpu")
    path = tmp_path / "run" / CONFIG
    known = json.loads(path.read_text(encoding="utf-8"))
    del known["fit"]["super_batch"], known["fit"]["schedule"]["stop_after_best"]
    path.write_text(json.dumps(known), encoding="utf-8")
    again = fit(network(), MadeData(), tmp_path / "run", config(max_epochs=2), device="cpu", resume=True)
    assert len(again.history) == 2


def test_other_setting_inside_of_the_schedule_is_named(tmp_path):
    fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1), device="cpu")
    other = dataclasses.replace(config(max_epochs=2), schedule=ScheduleConfig(patience=3))
    with pytest.raises(ConfigError, match=r"other settings, fit\.schedule\.patience;"):
        fit(network(), MadeData(), tmp_path / "run", other, device="cpu", resume=True)
