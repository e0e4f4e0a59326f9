"""The comparison of networks: one training for all, costs, speed beside a baseline, and what comes of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from _made_sounds import write_set
from _made_study import made_study

from taggram.errors import ConfigError, UnknownNameError
from taggram.learning._teller import FitProgress
from taggram.models import NETWORKS, create_model
from taggram.studies import compare
from taggram.studies._base import Cell
from taggram.studies._compare_results import table_of
from taggram.studies.compare import ONE_EACH, CompareConfig
from taggram.studies.run import run_study
from taggram.tagger import Tagger

pytestmark = pytest.mark.usefixtures("own_cache")

FIXED_WORDS = (
    "network",
    "macro_roc_auc",
    "macro_pr_auc",
    "parameters",
    "mflop_per_s",
    "train_s",
    "tag_s_per_hour",
)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = write_set(tmp_path_factory.mktemp("set"), n_clips=36)
    return {"data": "csv", "data.root": str(folder), "data.min_count": 1, "networks": "local_mel", "max_epochs": 1}


@pytest.fixture(scope="module")
def run(values, tmp_path_factory):
    return run_study("compare", values, tmp_path_factory.mktemp("runs") / "run", n_workers=1)


def test_every_family_is_there_once_by_default():
    families = [NETWORKS[name] for name in ONE_EACH]
    assert set(families) == set(NETWORKS.values())
    twice = {family for family in families if families.count(family) > 1}
    assert twice == {"at_scale", "samplecnn"}  # on waveforms and on spectrograms


def test_cells_have_the_fixed_words(run):
    (cell,) = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))["cells"]
    assert set(FIXED_WORDS) <= cell.keys()
    assert cell["network"] == "local_mel"
    assert all(isinstance(cell[name], (int, float)) for name in FIXED_WORDS[1:])


def test_parameters_and_cost_are_those_of_the_network(run):
    (cell,) = run.results["cells"]
    model = create_model("local_mel", n_tags=3)
    assert cell["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    # Three convolutions on 27, 9 and 3 frames, and the head, two operations for each weight.
    flops = 2 * (27 * 3 * 128 * 128 + 9 * 3 * 128 * 128 + 3 * 3 * 128 * 512 + 512 * 3)
    assert cell["mflop_per_s"] == pytest.approx(flops / (27 * 512 / 22_050) / 1e6)


def test_trained_network_tags(run, values):
    tagger = Tagger(run.folder / "files" / "local_mel_part-train_fold-0_run-0")
    assert tagger.tag(f"{values['data.root']}/000.wav").tags == ("high", "low", "noisy")


def test_picture_and_table_are_written(run):
    assert [path.name for path in run.pictures] == ["accuracy_and_cost.png"]
    assert "which is not the data of the paper" not in run.table
    assert "| local_mel | " in run.table


def test_networks_may_be_added_and_those_that_are_done_stay(values, run):
    told = []
    added = run_study(
        "compare", {**values, "networks": "local_mel,o_p_net"}, run.folder, n_workers=1,
        told=lambda *facts: told.append(facts[0].method),
    )  # fmt: skip
    assert told == ["o_p_net", "o_p_net"]
    assert [cell["network"] for cell in added.results["cells"]] == ["local_mel", "o_p_net"]


def test_training_is_the_same_for_all(values, tmp_path):
    study = made_study("compare", {**values, "networks": "musicnn,musicnn.mtt,samplecnn", "max_epochs": 20}, tmp_path)
    fits = [study.recipe(Cell(method=name)).fit for name in study.config.chosen]
    assert {(fit.optimizer, fit.lr, fit.batch_size, fit.max_epochs, fit.freeze, fit.schedule.at) for fit in fits} == {
        ("adam", 0.001, 16, 20, (), (12, 17))
    }


def test_speed_stands_beside_the_baseline(monkeypatch):
    model = create_model("local_mel", n_tags=3).eval()
    model.tags = ("a", "b", "c")
    now = iter([0.0, 1.0, 10.0, 12.0, 20.0, 25.0])  # both begin a first round, which is not timed; then 2 s and 5 s
    monkeypatch.setattr(compare, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    seconds, ratio = compare.tagging_s_per_hour(Tagger(model, device="cpu"), sound_s=3.0, n_rounds=1)
    assert (seconds, ratio) == (2.0 * 3600 / 3, 2.0 / 5)


def progress(figures):
    return FitProgress(epoch=1, max_epochs=2, step=1, n_steps=1, sound_h_per_s=1.0, waiting=0.0, figures=figures)


def test_seconds_of_epochs_that_are_kept_alone_are_counted(tmp_path, monkeypatch):
    now = iter([0.0, 10.0, 100.0, 105.0])
    monkeypatch.setattr(compare, "time", SimpleNamespace(monotonic=lambda: next(now)))  # other threads keep their clock
    first = compare._Clock(tmp_path / "seconds.json")
    first.told(progress(None))
    first.told(progress({"epoch": 1.0}))
    gone_on = compare._Clock(tmp_path / "seconds.json")  # what the first did behind its epoch is done again
    gone_on.told(progress({"epoch": 2.0}))
    assert gone_on.seconds == 15.0


def row(name, roc_auc, accuracy=None):
    return {
        "method": name, "network": name, "macro_roc_auc": roc_auc, "macro_roc_auc_interval": [roc_auc, roc_auc],
        "macro_pr_auc": 0.5, "macro_pr_auc_interval": [0.4, 0.6], "accuracy": accuracy, "parameters": 1000,
        "mflop_per_s": 10.0, "train_s": 5.0, "patch_s": 3.0, "trained_on": "cpu",
        "tag_s_per_hour": 2.0, "tag_beside_musicnn": 0.5,
    }  # fmt: skip


def test_best_network_comes_first():
    table = table_of([row("vgg", 0.7), row("musicnn", 0.9)])
    assert [line[0] for line in table.rows] == ["musicnn", "vgg"]
    assert table.rows[0][1:3] == ["90.0 (90.0 to 90.0)", "50.0 (40.0 to 60.0)"]


def test_accuracy_is_shown_where_exactly_one_tag_holds():
    assert "accuracy, %" not in table_of([row("vgg", 0.7)]).columns
    assert table_of([row("vgg", 0.7, accuracy=0.25)]).rows[0][3] == "25.0"


def test_network_that_was_not_trained_is_told_and_costs_no_other(values, tmp_path):
    values = {**values, "networks": "local_mel,o_p_net", "lr": 1e38}
    failed = run_study("compare", values, tmp_path / "run", n_workers=1)
    told = [failure.message for failure in failed.failures]
    assert any("local_mel was not trained, as was said of it before" in message for message in told)
    assert (tmp_path / "run" / "table.md").exists()


def test_unknown_network_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'musicn'\. Did you mean musicnn"):
        CompareConfig.of({"networks": "vgg,musicn"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": "vgg"}, r"methods is vgg; what is compared is named by networks=a,b\."),
        ({"folds": 1}, "folds is"),
        ({"lr": 0}, "lr is 0; wanted a number above 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"max_epochs": 0}, "max_epochs is 0"),
    ],
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        CompareConfig.of(settings)


def test_batch_larger_than_the_data_is_refused(values, tmp_path):
    with pytest.raises(ConfigError, match="batch_size is 64, and there are 24 clips"):
        made_study("compare", {**values, "batch_size": 64}, tmp_path)
