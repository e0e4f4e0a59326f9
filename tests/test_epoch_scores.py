"""Scores of further parts after each epoch: they are those of the weights, choose nothing, and go on after a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal

import lightning
import numpy as np
import pytest
import torch
from test_fit import MadeData, config, network, same, weights_of

from taggram.learning import metrics as m
from taggram.learning.epoch_scores import EpochScores, read_epoch_scores
from taggram.learning.fit import fit

N_SAMPLES = 2187


class WithTest(MadeData):
    """The made data, of which every third track is for testing."""

    def __init__(self):
        super().__init__()
        self._parts = np.array(["train", "test", "valid"] * 20)


def watched(folder, data=None):
    return EpochScores(data or WithTest(), ("valid", "test"), folder / "scores.csv", N_SAMPLES)


def test_rows_are_before_the_training_and_after_each_epoch(tmp_path):
    seen = watched(tmp_path)
    result = fit(network(), WithTest(), tmp_path / "run", config(), device="cpu", callbacks=[seen])
    assert [row["epoch"] for row in seen.rows] == [0, *(int(row["epoch"]) for row in result.history)]
    assert [row.keys() for row in seen.rows] == [{"epoch", "valid_auc", "test_auc"}, *[{"epoch", "test_auc"}] * 3]
    assert read_epoch_scores(tmp_path / "scores.csv")[0] == seen.rows[0]


def test_last_row_is_the_score_of_the_last_weights(tmp_path):
    seen, data = watched(tmp_path), WithTest()
    result = fit(network(), data, tmp_path / "run", config(keep="last"), device="cpu", callbacks=[seen])
    rows = data.index("test")
    sounds = torch.from_numpy(np.stack([data.whole(row)[: 2 * N_SAMPLES].reshape(2, -1) for row in rows]))
    with torch.no_grad():
        scores = torch.sigmoid(result.model(sounds.flatten(0, 1))).reshape(len(rows), 2, -1).mean(1)
    wanted = m.mean_over_tags(m.roc_auc(scores.numpy(), data.labels(rows) > 0))
    assert seen.rows[-1]["test_auc"] == pytest.approx(wanted)


def test_they_change_nothing(tmp_path):
    plain = fit(network(), WithTest(), tmp_path / "a", config(), device="cpu")
    seen = fit(network(), WithTest(), tmp_path / "b", config(), device="cpu", callbacks=[watched(tmp_path)])
    assert same(weights_of(plain), weights_of(seen))
    assert plain.history == seen.history


def test_part_without_a_track_has_no_column(tmp_path):
    seen = watched(tmp_path, MadeData())
    fit(network(), MadeData(), tmp_path / "run", config(max_epochs=1), device="cpu", callbacks=[seen])
    assert [row.keys() for row in seen.rows] == [{"epoch", "valid_auc"}, {"epoch"}]


def train_and_die(folder):
    """Train in this process, and end it as kill -9 does."""

    class Dies(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 8:
                os.kill(os.getpid(), signal.SIGKILL)

    fit(network(), WithTest(), folder / "run", config(), device="cpu", callbacks=[watched(folder), Dies()])


@pytest.mark.slow
def test_run_that_was_killed_goes_on_with_its_rows(tmp_path):
    whole = watched(tmp_path)
    fit(network(), WithTest(), tmp_path / "whole", config(), device="cpu", callbacks=[whole])
    cut = tmp_path / "cut"
    cut.mkdir()
    killed = multiprocessing.get_context("spawn").Process(target=train_and_die, args=(cut,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    again = watched(cut)
    fit(network(9), WithTest(), cut / "run", config(), device="cpu", resume=True, callbacks=[again])
    assert [row["test_auc"] for row in again.rows] == pytest.approx([row["test_auc"] for row in whole.rows])
