"""Each published schedule does what its source does with a series of losses."""

from __future__ import annotations

import json
import math

import pytest

from taggram.errors import ConfigError
from taggram.learning.schedules import Schedule, ScheduleConfig


def run(losses, **settings):
    schedule = Schedule(ScheduleConfig(**settings))
    decisions = []
    for loss in losses:
        decisions.append(schedule.end_epoch(loss))
        if decisions[-1].stop:
            break
    return decisions


def scales(losses, **settings):
    return [decision.lr_scale for decision in run(losses, **settings)]


def test_constant_rate_stays():
    assert scales([3, 2, 4, 5, 6], rule="constant") == [1.0] * 5


def test_drops_come_after_their_epochs():
    assert scales([1.0] * 5, rule="drops", at=(2, 4), factor=0.1) == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_counts_epochs_in_a_row():
    assert scales([5, 6, 6, 4, 6, 6, 6, 6], rule="plateau", patience=3) == [1, 1, 1, 1, 1, 1, 0.5, 0.5]


def test_plateau_in_total_counts_over_improvements():
    assert scales([5, 6, 6, 4, 6, 4.5], rule="plateau_in_total", patience=3) == [1, 1, 1, 1, 1, 0.5]


def test_plateau_in_total_looks_before_it_counts():
    assert scales([5, 6, 6, 6], rule="plateau_in_total", patience=2) == [1, 1, 1, 0.5]


def test_stage_ends_with_a_restart_from_the_best():
    decisions = run([5, 4, 6, 6, 5, 3, 6, 6], rule="stages", patience=2, factor=0.2, n_drops=1)
    assert [decision.restart for decision in decisions] == [False, False, False, True, False, False, False, False]


def test_stage_may_be_the_only_one():
    decisions = run([5, 4, 6, 6], rule="stages", patience=2, n_drops=0)
    assert [decision.stop for decision in decisions] == [False, False, False, True]
    assert not any(decision.restart for decision in decisions)


def test_last_stage_ends_the_training():
    decisions = run([5, 6, 6, 5, 6, 6, 1], rule="stages", patience=2, factor=0.2, n_drops=1)
    assert (len(decisions), decisions[-1].stop) == (6, True)


def test_first_epoch_of_a_stage_improves():
    assert run([5, 6, 6, 7], rule="stages", patience=2)[-1].improved


def test_drop_on_an_improvement_after_21_epochs_without():
    losses = [5, *[6] * 21, 4]
    assert scales(losses, rule="on_improvement", patience=20)[-2:] == [1, 0.5]


def test_no_drop_on_an_improvement_after_20_epochs_without():
    assert scales([5, *[6] * 20, 4], rule="on_improvement", patience=20)[-1] == 1


def test_41_epochs_without_improvement_end_the_training():
    decisions = run([5, *[6] * 50], rule="on_improvement", patience=20, stop_after=40, monitor="train_loss")
    assert (len(decisions), decisions[-1].stop) == (42, True)


def test_epochs_since_the_best_end_the_training_whatever_drops_come_between():
    decisions = run([5, 4, 6, 6, 5, 6, 1], rule="plateau", patience=1, factor=0.2, stop_after_best=4)
    assert (len(decisions), decisions[-1].stop) == (6, True)
    assert [decision.lr_scale for decision in decisions][-2] == pytest.approx(0.2**3)


def test_loss_that_is_no_number_is_no_improvement():
    assert not run([math.nan], rule="plateau")[0].improved


def test_schedule_that_goes_on_decides_as_one_that_was_not_cut():
    losses = [5, 6, 6, 4, 6, 6, 6, 5, 6]
    config = ScheduleConfig(rule="plateau_in_total", patience=2, stop_after_best=3)
    whole, first = Schedule(config), Schedule(config)
    wanted = [whole.end_epoch(loss) for loss in losses]
    got = [first.end_epoch(loss) for loss in losses[:4]]
    second = Schedule(config)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert got + [second.end_epoch(loss) for loss in losses[4:]] == wanted


@pytest.mark.parametrize(
    "settings",
    [{"rule": "cosine"}, {"factor": 1.5}, {"patience": 0}, {"at": (0,)}, {"stop_after": 0}, {"stop_after_best": 0}],
    ids=str,
)
def test_setting_without_sense_is_refused(settings):
    with pytest.raises(ConfigError):
        ScheduleConfig(**settings)
