"""The study on random CNNs: cells, protocol and choices of the paper, on sound made here."""

from __future__ import annotations

import json
import os
import shutil
import signal
from statistics import fmean

import numpy as np
import pytest
import soundfile
from _made_sounds import write_csv
from conftest import wait_until

from taggram.errors import ConfigError, DatasetError
from taggram.learning import classifier_grids
from taggram.learning.train import Watcher
from taggram.studies import run as runner
from taggram.studies._base import Cell
from taggram.studies._clips import StudyClips
from taggram.studies._elmarc_results import MFCC, NETWORKS, PUBLISHED, Scores, choose, claims_of, tables_of
from taggram.studies._worker import make_study, measure_cell
from taggram.studies.elmarc import WIDTHS, Elmarc, ElmarcConfig

RATE = 12_000
N_SAMPLES = RATE  # of a clip
SHORT = {"width": "small", "n_frames": 60, "n_samples": 3000}  # patches that are quick
MEASURED = ("temporal", "7x86", "7x96", "sample_level", "frame_level", "frame_level_many", "mfcc")
PARTS = ("train", "train", "valid", "test")


def noise(random):
    return 0.1 * random.standard_normal(N_SAMPLES)


def clicks(random, period=1500):
    sound = 1e-4 * random.standard_normal(N_SAMPLES)
    sound[int(random.integers(period)) :: period] = 0.5
    return sound


def fast_clicks(random):
    return clicks(random, period=600)


def write_set(folder, *, classes=(noise, clicks), n_clips=40, parts=PARTS, seed=0):
    """Clips of 1 s in classes named after what makes them, as many in each part of each."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for number in range(n_clips):
        make = classes[number % len(classes)]
        name = f"{number:03d}.wav"
        soundfile.write(folder / name, make(random), RATE)
        rows.append((name, parts[number // len(classes) % len(parts)], make.__name__))
    write_csv(folder, rows)
    return folder


def study_of(data, out, **settings):
    """The study, as the command makes it."""
    values = {"data": "csv", "data.root": str(data), **SHORT, **settings}
    runner._make_folders(out, Elmarc)
    config = ElmarcConfig.of(values)
    prepared = Elmarc.prepare(config, out, Watcher(), 1)
    whole = {"study": "elmarc", "config": config.to_dict(), "folder": str(out), "data": prepared}
    study = make_study(json.loads(json.dumps(whole)))
    runner._begin(out, study)
    return study


def run(data, out, **settings):
    """What the study leaves, measured in this process."""
    study = study_of(data, out, **settings)
    for phase in study.phases():
        for cell in phase:
            measure_cell(study, cell)
    return runner._write(study, [])


@pytest.fixture(scope="module", autouse=True)
def few_sizes(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGGRAM_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setitem(classifier_grids.elm_grid.__kwdefaults__, "sizes", (20, 50))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sounds") / "set")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("runs") / "first", methods=MEASURED, runs=2)


def accuracies(result, **wanted):
    rows = result.results["cells"]
    return [row["accuracy"] for row in rows if all(row[name] == value for name, value in wanted.items())]


# -- end to end --------------------------------------------------------------------------------------------------------


def test_temporal_tells_noise_from_a_click_train(finished):
    assert accuracies(finished, method="temporal", classifier="svm") == [1.0, 1.0]


def test_temporal_tells_periods_apart(tmp_path):
    data = write_set(tmp_path / "set", classes=(clicks, fast_clicks))
    result = run(data, tmp_path / "run", methods=("temporal",), runs=1, classifiers="svm")
    assert accuracies(result) == [1.0]


def test_rows_say_what_was_measured(finished):
    for row in finished.results["cells"]:
        assert {"method", "fold", "run", "classifier", "accuracy", "params", "n_features", "valid_accuracy"} <= set(row)
        assert 0 <= row["accuracy"] <= 1


def test_rows_of_frame_level_networks_state_the_mode_of_averaging(finished):
    modes = {row["method"]: row["backend_pooling"] for row in finished.results["cells"]}
    assert (modes["frame_level"], modes["frame_level_many"], modes["temporal"]) == ("per_filter", "per_filter", None)


def test_page_has_the_accuracies_and_the_published_ones(finished):
    assert "| Temporal | 112 | 100.0 ± 0.0 |" in finished.table
    assert "| VGG | 59.6 ± 2.7 | 43.7 ± 1.2 | 71.4 ± 0.5 |" in finished.table
    assert "which is not the data of the paper" in finished.table


def test_page_says_the_settings(finished):
    for words in ("The small networks", "averaged filter by filter", "60 frames", "3,000 samples", "repeated"):
        assert words in finished.table


def test_picture_is_left(finished):
    assert [path.name for path in finished.pictures] == ["accuracy.png"]
    assert finished.pictures[0].stat().st_size > 10_000


def test_same_seed_gives_the_same_results(data, finished, tmp_path):
    again = run(data, tmp_path / "run", methods=MEASURED, runs=2)
    assert again.results == finished.results


def test_result_of_a_cell_does_not_hang_on_what_else_is_measured(data, finished, tmp_path):
    alone = run(data, tmp_path / "run", methods="7x86", runs=2, classifiers="elm")
    assert accuracies(alone) == accuracies(finished, method="7x86", classifier="elm")


def test_runs_have_other_weights(data, tmp_path):
    study = study_of(data, tmp_path / "run", methods="7x86")
    assert not np.allclose(study.features("7x86", 0), study.features("7x86", 1))


def test_features_are_computed_once(finished, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    study = study_of(data, out, methods=MEASURED, runs=2)
    monkeypatch.setattr("taggram.models.random_cnn.RandomTimbralTemporal.forward_maps", None)
    assert study.features("temporal", 1).shape == (40, 112)


# -- cells -------------------------------------------------------------------------------------------------------------


def test_features_come_before_classifiers_and_are_no_scores(data, tmp_path):
    first, second = study_of(data, tmp_path / "run", methods="vgg,mfcc", n_frames=1280, runs=3).phases()
    assert [(cell.method, cell.run) for cell in first] == [("vgg", 0), ("mfcc", 0), ("vgg", 1), ("vgg", 2)]
    assert not any(cell.is_scored for cell in first)
    assert all(cell.is_scored for cell in second)


@pytest.mark.parametrize(("asked", "n_cells"), [("svm", 1), ("svm,elm", 4), ("elm", 3)])
def test_mfcc_has_the_svm_once_and_the_elm_where_asked(data, tmp_path, asked, n_cells):
    _, cells = study_of(data, tmp_path / "run", methods="mfcc", mfcc_classifiers=asked, runs=3).phases()
    assert len(cells) == n_cells


def test_all_ten_methods_are_measured_by_default(data, tmp_path):
    study = study_of(data, tmp_path / "run", n_frames=1280)
    assert {cell.method for cell in study.phases()[0]} == {*WIDTHS, MFCC} == {*NETWORKS, MFCC}


@pytest.mark.parametrize(("method", "n_features"), [("sample_level", 161), ("timbral_temporal", 112), ("vgg", 160)])
def test_small_networks_have_the_features_of_the_small_set(data, tmp_path, method, n_features):
    study = study_of(data, tmp_path / "run", methods=method, n_frames=1280)
    assert study.network(method, 0).n_features == n_features


def test_drawing_a_network_leaves_torch_as_it_was(data, tmp_path):
    import torch

    study = study_of(data, tmp_path / "run", methods="7x86")
    before = torch.random.get_rng_state()
    study.network("7x86", 0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("gtzan", "vgg", {"width": 717, "n_frames": 1404}),
        ("extended_ballroom", "temporal", {"width": 256, "n_frames": 1376, "kernels": "music"}),
        ("extended_ballroom", "sample_level", {"width": 512, "n_samples": 350_000}),
        ("urbansound8k", "timbral_temporal", {"width": 128, "n_frames": 1376, "kernels": "audio"}),
        (
            "urbansound8k",
            "frame_level",
            {"width": 896, "n_samples": 48_000, "backend_pooling": "per_filter"},
        ),
        ("gtzan", "timbral", {"width": 256, "n_frames": 1404}),
    ],
)
def test_options_of_the_networks_are_those_for_the_data(name, method, options):
    assert ElmarcConfig.of({"data": name}).options(method) == options


def test_kernels_can_be_chosen():
    assert ElmarcConfig.of({"data": "gtzan", "kernels": "audio"}).options("temporal")["kernels"] == "audio"


# -- protocol ----------------------------------------------------------------------------------------------------------


def measured(*points, method="vgg", fold=0, run=0, classifier="svm", is_converged=True):
    """A cell whose grid has such accuracies."""
    grid = [
        {"params": {"cost": place}, "accuracy": dict(point), "is_converged": is_converged}
        for place, point in enumerate(points)
    ]
    cell = Cell(method=method, fold=fold, run=run, details={"classifier": classifier})
    return cell, {"grid": grid, "n_features": 3}


def test_validation_chooses_and_test_is_reported():
    (row,) = choose([measured({"valid": 0.5, "test": 0.9}, {"valid": 0.6, "test": 0.4})], "valid")
    assert (row["accuracy"], row["valid_accuracy"], row["params"]) == (0.4, 0.6, {"cost": 1})


def test_first_of_equal_points_is_chosen():
    (row,) = choose([measured({"valid": 0.5, "test": 0.1}, {"valid": 0.5, "test": 0.9})], "valid")
    assert row["params"] == {"cost": 0}


def test_best_mean_over_folds_chooses_one_point_for_all():
    folds = [measured({"test": 0.9}, {"test": 0.6}, fold=1), measured({"test": 0.2}, {"test": 0.6}, fold=2)]
    assert [row["accuracy"] for row in choose(folds, "test")] == [0.6, 0.6]


def test_each_run_chooses_for_itself():
    runs = [measured({"test": 0.9}, {"test": 0.6}, run=0), measured({"test": 0.2}, {"test": 0.6}, run=1)]
    assert [row["params"]["cost"] for row in choose(runs, "test")] == [0, 1]


def test_score_of_a_run_is_the_mean_of_its_folds():
    rows = choose([measured({"test": 0.2}, fold=1), measured({"test": 0.6}, fold=2)], "test")
    assert Scores(rows).of("vgg", "svm") == [pytest.approx(0.4)]


def test_machines_that_did_not_converge_are_told():
    rows = choose([measured({"valid": 0.5, "test": 0.1}, {"valid": 0.4, "test": 0.2}, is_converged=False)], "valid")
    assert "2 machines of the grids had not converged" in tables_of(rows, "csv", "valid")[0].note


def test_choice_by_the_reported_accuracy_is_told():
    note = tables_of(choose([measured({"test": 0.5})], "test"), "gtzan", "test")[0].note
    assert "so it is too high" in note


def test_final_machines_learn_from_train_alone(data, tmp_path):
    study = study_of(data, tmp_path / "run", methods="7x96")
    train, parts = study.parts(0, study.features("7x96", 0))
    assert [len(train.labels), len(parts["valid"].labels), len(parts["test"].labels)] == [20, 10, 10]


def test_folds_learn_from_all_that_is_not_tested(data, tmp_path):
    study = study_of(data, tmp_path / "run", methods="7x96", n_folds=4)
    train, parts = study.parts(2, study.features("7x96", 0))
    assert (len(train.labels), {name: len(part.labels) for name, part in parts.items()}) == (30, {"test": 10})


def test_folds_are_measured_one_by_one(data, tmp_path):
    result = run(data, tmp_path / "run", methods="7x96", n_folds=4, folds=(1, 3), runs=1, classifiers="elm")
    assert [row["fold"] for row in result.results["cells"]] == [1, 3]
    assert "4 stratified folds in their sorted order" in result.table


def test_data_without_validation_is_dealt_out_to_ten_folds(tmp_path):
    data = write_set(tmp_path / "set", parts=("train", "test"))
    study = study_of(data, tmp_path / "run", methods="7x96")
    assert study.clips.folds == tuple(range(1, 11))
    assert "10 stratified folds" in " ".join(study.remarks())


def test_every_fold_has_its_share_of_each_class(data, tmp_path):
    clips = study_of(data, tmp_path / "run", methods="7x96", n_folds=5).clips
    for fold in clips.folds:
        assert np.bincount(clips.labels[clips.clips(fold, "test")]).tolist() == [4, 4]


def test_standardized_features_have_mean_0_in_train(data, tmp_path):
    study = study_of(data, tmp_path / "run", methods="7x96", standardize=True)
    train, _ = study.parts(0, study.features("7x96", 0))
    np.testing.assert_allclose(train.features.mean(0), 0, atol=1e-9)


def test_some_clips_are_of_each_class_and_part_its_share(data, tmp_path):
    study = study_of(data, tmp_path / "run", methods="7x96", n_clips=20)
    clips = study.clips
    shares = [np.bincount(clips.labels[clips.clips(0, part)]).tolist() for part in ("train", "valid", "test")]
    assert [sum(share) for share in shares] == [10, 5, 5]
    assert np.ptp(np.sum(shares, axis=0)) == 0
    assert study.data_facts()["n_clips"] == 20
    assert "20 clips out of all" in " ".join(study.remarks())


def test_choice_of_clips_hangs_on_the_seed():
    labels = np.arange(40) % 2
    clips = StudyClips(("a", "b"), tuple(map(str, range(40))), labels, (0,), np.zeros((1, 40), np.int8), {})
    first, again, other = (clips.some(10, seed).track_ids for seed in (0, 0, 1))
    assert first == again != other


def test_more_clips_than_there_are_is_all_of_them():
    clips = StudyClips(("a", "b"), ("x", "y"), np.arange(2), (0,), np.zeros((1, 2), np.int8), {})
    assert clips.some(5, 0).track_ids == ("x", "y")


# -- what was published, and claims ------------------------------------------------------------------------------------


def test_published_bars_are_those_of_the_charts():
    assert len(PUBLISHED) == 2 * 9 + 2 * 9 + 2 * 8 + 3
    assert all(row["source"] for row in PUBLISHED)


@pytest.mark.parametrize(
    ("data", "method", "classifier", "wanted"),
    [
        ("gtzan", "frame_level_many", "elm", (0.392, 0.014)),
        ("extended_ballroom", "temporal", "svm", (0.899, 0.003)),
        ("urbansound8k", "timbral_temporal", "svm", (0.642, 0.004)),
        ("urbansound8k", "frame_level_many", "elm", (0.467, 0.002)),
        ("gtzan", "mfcc", "svm", (0.5344, None)),
    ],
)
def test_published_bar(data, method, classifier, wanted):
    (row,) = (row for row in PUBLISHED if (row["data"], row["method"], row["classifier"]) == (data, method, classifier))
    assert (row["accuracy"], row.get("deviation")) == wanted


def test_published_bars_stand_beside_ours_for_the_data_of_the_paper():
    table, _ = tables_of(choose([measured({"test": 0.5}, method="7x86")], "test"), "gtzan", "test")
    assert table.rows == [["7 x 86", "3", "50.0", "-", "53.2 ± 1.1", "42.3 ± 3.4"]]


def rows_of(**percent):
    """Rows of such accuracies with the SVM; the published ones."""
    return choose([measured({"test": value / 100}, method=method) for method, value in percent.items()], "test")


def published_rows_of(data):
    bars = {
        row["method"]: 100 * row["accuracy"] for row in PUBLISHED if row["data"] == data and row["classifier"] == "svm"
    }
    return rows_of(**bars)


def shows(rows, start):
    (claim,) = (claim for claim in claims_of(rows) if claim.words.startswith(start))
    return claim.shows


@pytest.mark.parametrize("data", ["gtzan", "extended_ballroom", "urbansound8k"])
@pytest.mark.parametrize("claim", ["Of the networks on waveforms", "7 x 86 beats"])
def test_claims_on_all_data_show_in_the_published_bars(claim, data):
    assert shows(published_rows_of(data), claim)


@pytest.mark.parametrize(
    ("data", "claim", "wanted"),
    [
        ("urbansound8k", "VGG is the best", True),
        ("urbansound8k", "With the SVM, VGG alone", True),
        ("gtzan", "With the SVM, VGG alone", False),
        ("extended_ballroom", "Temporal is the best", True),
        ("extended_ballroom", "VGG is the best", False),
    ],
)
def test_claims_on_some_data_show_in_its_published_bars(data, claim, wanted):
    assert shows(published_rows_of(data), claim) is wanted


def test_claim_whose_networks_were_not_measured_is_left_open():
    assert [claim.shows for claim in claims_of(rows_of(timbral=50))] == [None] * 6


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": "sample_leve"}, "Did you mean sample_level"),
        ({"methods": "vg"}, "Did you mean vgg"),
        ({"classifiers": "svm,knn"}, "classifiers is 'knn'"),
        ({"classifiers": ()}, "svm, elm or both"),
        ({"width": "huge"}, "wanted one of 'small', 'large'"),
        ({"backend_pooling": "mean"}, "backend_pooling is 'mean'"),
        ({"kernels": "speech"}, "kernels is 'speech'"),
        ({"length": "loop"}, "length is 'loop'"),
        ({"n_clips": -1}, "n_clips is -1"),
        ({"n_folds": 1}, "n_folds is 1"),
        ({"runs": 0}, "runs is 0"),
        ({"standardize": "yes"}, "standardize is 'yes'"),
        ({"with": "small"}, "Did you mean width"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ElmarcConfig.of({"data": "csv", **settings})


def test_patch_that_is_too_short_is_refused_before_anything_is_decoded(tmp_path):
    with pytest.raises(ConfigError, match="n_frames is 188; this network needs at least 1280"):
        study_of(tmp_path / "nowhere", tmp_path / "run", methods="vgg", n_frames=188)


def test_fold_that_the_data_has_not_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="there is no fold 7; there are 1, 2, 3, 4"):
        study_of(data, tmp_path / "run", methods="7x96", n_folds=4, folds=7)


def test_one_class_is_refused(tmp_path):
    data = write_set(tmp_path / "set", classes=(noise,), n_clips=8)
    with pytest.raises(DatasetError, match=r"of one class \(noise\)"):
        study_of(data, tmp_path / "run", methods="7x96")


def test_data_without_classes_is_refused(tmp_path):
    data = write_set(tmp_path / "set", n_clips=8)
    lines = (data / "clips.csv").read_text(encoding="utf-8").splitlines()
    (data / "clips.csv").write_text(
        "\n".join([lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:])]), encoding="utf-8"
    )
    with pytest.raises((DatasetError, ConfigError), match=r"class|tag"):
        study_of(data, tmp_path / "run", methods="7x96")


# -- the command -------------------------------------------------------------------------------------------------------


def words_of(data, out):
    settings = {**SHORT, "methods": "temporal,7x96,mfcc", "runs": 2, "data": "csv", "data.root": data, "out": out}
    return ["study", "elmarc", *[f"{name}={value}" for name, value in settings.items()]]


@pytest.mark.slow
def test_command_leaves_results_table_and_picture(run_taggram, data, tmp_path):
    done = run_taggram(*words_of(data, tmp_path / "run"), "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "| Temporal | 112 |" in done.stdout
    assert {"results.json", "table.md", "accuracy.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert fmean(row["accuracy"] for row in results["cells"]) > 0.9


@pytest.mark.slow
def test_unknown_method_is_told_by_the_command(run_taggram, data, tmp_path):
    done = run_taggram("study", "elmarc", "data=csv", f"data.root={data}", f"out={tmp_path / 'run'}", "methods=vg")
    assert (done.returncode, "Did you mean vgg" in done.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are killed in groups")
def test_killed_run_goes_on_to_the_same_results(run_taggram, started, data, tmp_path):
    words = [*words_of(data, tmp_path / "killed"), "--workers", "1"]
    process = started(*words)
    cells = tmp_path / "killed" / "cells"
    assert wait_until(lambda: len(list(cells.glob("*.json"))) >= 4, 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    n_left = len(list(cells.glob("*.json")))
    assert run_taggram(*words).returncode == 0
    assert run_taggram(*words_of(data, tmp_path / "whole"), "--workers", "1").returncode == 0
    results = [
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("killed", "whole")
    ]
    assert results[0]["cells"] == results[1]["cells"]
    assert n_left < len(list(cells.glob("*.json"))), "it was killed too late"
