"""The study of few examples: what is drawn and shared, what its methods do, and what comes of it as a command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from _at_hand import needs_weights
from _made_sounds import write_csv

from taggram.datasets.urbansound8k import UrbanSound8K
from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning.prototypes import PrototypeConfig
from taggram.learning.train import Watcher
from taggram.models import create_model
from taggram.models._vggish_files import WEIGHTED_LAYERS
from taggram.models._weights import cache_folder
from taggram.studies import _few_data_methods as methods
from taggram.studies import few_data
from taggram.studies._base import Cell
from taggram.studies._clips import prepare_clips
from taggram.studies._few_data_features import FrozenFeatures
from taggram.studies._few_data_results import accuracies, claims_of, toolkit_table
from taggram.studies._worker import make_study
from taggram.studies.run import page_of, run_study

RATE = 44_100
CLASSES = {"low": 300, "mid": 1000, "high": 4000}  # Hz
N_TRAIN, N_TEST = 3, 2
QUICK = {"methods": ("random_guess", "mfcc_nn", "timbre"), "n": (1, 2), "runs": 1, "max_epochs": 2}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of the tests' own, for what is prepared; weights that are at hand are not fetched again."""
    home = tmp_path_factory.mktemp("cache")
    (home / "weights").symlink_to(cache_folder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGGRAM_HOME", str(home))
        yield


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A csv with tones of three heights, the shortest of 0.2 s and the longest of 3.5 s."""
    folder = tmp_path_factory.mktemp("sounds")
    rng, rows = np.random.default_rng(0), []
    for name, hz in CLASSES.items():
        for number in range(N_TRAIN + N_TEST):
            n_samples = round((0.2, 3.5, 0.5)[number % 3] * RATE)
            sine = np.sin(2 * np.pi * hz * rng.uniform(0.9, 1.1) * np.arange(n_samples) / RATE)
            soundfile.write(folder / f"{name}{number}.wav", 0.3 * sine + 0.01 * rng.standard_normal(n_samples), RATE)
            rows.append((f"{name}{number}.wav", "train" if number < N_TRAIN else "test", f"{name}|tone"))
    write_csv(folder, rows)
    return folder


def settings(sounds, **changes):
    return {"data": "csv", "data.root": str(sounds), **QUICK, **changes}


@pytest.fixture(scope="module")
def prepared(sounds, tmp_path_factory):
    """What `prepare` gives for any of the methods here, and the folder that it is in."""
    folder = tmp_path_factory.mktemp("run")
    config = few_data.FewDataConfig.of(settings(sounds))
    data = prepare_clips(config.data, (12_000, 16_000, RATE), folder, Watcher(), 1)
    (folder / "files").mkdir()
    return folder, {**data, "vggish": {"sha256": "0123456789abcdef", "published": False}}


@pytest.fixture
def study(sounds, prepared):
    """Makes a study in this process."""
    folder, data = prepared

    def make(**changes):
        config = few_data.FewDataConfig.of(settings(sounds, **changes))
        made = make_study({"study": "few_data", "config": config.to_dict(), "folder": str(folder), "data": data})
        assert isinstance(made, few_data.FewData)
        return made

    return make


def cell(method, n=1, run=0, **details):
    return Cell(method=method, run=run, details={"n": n, **details})


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_all_methods_of_a_run_learn_from_the_same_clips(study):
    made = study()
    tasks = [made._task(cell(method, n=2)) for method in QUICK["methods"]]
    assert all(np.array_equal(task.train, tasks[0].train) for task in tasks)


def test_runs_learn_from_others(study):
    made = study()
    drawn = {tuple(made._task(cell("timbre", n=2, run=run)).train) for run in range(6)}
    assert len(drawn) > 1


def test_examples_are_as_many_of_each_class_and_none_of_the_test(study):
    task = study()._task(cell("timbre", n=2))
    assert np.bincount(task.train_labels).tolist() == [2, 2, 2]
    assert not {*task.train} & {*task.test}
    assert len(task.test) == N_TEST * len(CLASSES)


def test_class_is_the_first_tag(study):
    assert study().clips.classes == tuple(sorted(CLASSES))


def test_all_examples_are_the_whole_part_for_training(study):
    task = study()._task(cell("timbre", n="all"))
    assert sorted(task.train) == sorted(study().clips.clips(0, "train"))


def test_random_numbers_are_those_of_the_method_and_of_the_run(study):
    made = study()
    seeds = {made._task(cell(method, n, run)).seed("w") for method in ("a", "b") for n in (1, 2) for run in (0, 1)}
    assert len(seeds) == 8


def test_few_test_clips_are_drawn_alike_for_all(study):
    made = study(test_clips=4)
    tests = [
        made._task(cell(method, n, run)).test.tolist() for method in ("timbre", "vgg") for n, run in ((1, 0), (2, 1))
    ]
    assert len(tests[0]) == 4
    assert tests[1:] == tests[:1] * 3


@pytest.mark.parametrize(
    ("fold", "sizes"),
    [(1, (6971, 888, 873)), (4, (6806, 936, 990)), (9, (7079, 837, 816)), (10, (7022, 873, 837))],
)
def test_folds_of_urbansound8k_are_those_of_the_paper(fold, sizes):
    assert UrbanSound8K.card.splits[f"fold-{fold}"].n_tracks == sizes


@pytest.mark.parametrize(
    ("n", "method", "runs"),
    [
        (1, "vgg", 20), (2, "vgg", 20), (5, "vgg", 10), (10, "vgg", 10), (20, "vgg", 5), (100, "vgg", 5),
        ("all", "vgg", 1), (1, "random_guess", 1), (5, "mfcc_nn", 10),
    ],
)  # fmt: skip
def test_runs_of_zero_become_fewer_with_more_examples(n, method, runs):
    assert few_data.FewDataConfig(runs=0).n_runs(method, n) == runs


def test_what_draws_nothing_is_measured_once_on_all_clips():
    config = few_data.FewDataConfig(runs=4)
    assert [config.n_runs(method, "all") for method in ("mfcc_nn", "musicnn_svm", "vgg")] == [1, 1, 4]


# -- input -------------------------------------------------------------------------------------------------------------


def test_short_clip_is_repeated_as_power_and_then_compressed(study):
    made = study()
    task = made._task(cell("vgg", n="all"))
    whole, _ = task.power(log_learn=True)
    compressed, _ = task.power(log_learn=False)
    place = next(place for place, clip in enumerate(task.train) if made.clips.track_ids[clip] == "low0.wav")
    n_own = 1 + round(0.2 * RATE) // 1024
    assert whole[place].shape == (128, 128)
    assert torch.equal(whole[place][:, n_own : 2 * n_own], whole[place][:, :n_own])
    torch.testing.assert_close(compressed[place], (whole[place] + 2.220446e-16).log10())


def test_spectrogram_is_that_of_the_network(study):
    made = study()
    task = made._task(cell("vgg", n="all"))
    place = next(place for place, clip in enumerate(task.train) if made.clips.track_ids[clip] == "mid1.wav")
    sound = torch.from_numpy(made.clips.sounds(RATE).whole(int(task.train[place])))
    wanted = create_model("few_data_vgg", n_tags=3).frontend(sound[None])[0, 0]
    torch.testing.assert_close(task.power(log_learn=False)[0][place], wanted, rtol=1e-4, atol=1e-4)


# -- what methods measure ----------------------------------------------------------------------------------------------


def test_random_guess_is_one_of_the_classes(study):
    assert study().measure(cell("random_guess"))["accuracy"] == pytest.approx(1 / 3)


def test_nearest_mfcc_tells_tones(study):
    assert study().measure(cell("mfcc_nn", n="all"))["accuracy"] > 0.6


@pytest.mark.parametrize("method", ["timbre", "timbre_log_learn", "sb_cnn", "vgg"])
def test_regularised_network_is_measured(study, method):
    measured = study().measure(cell(method))
    assert 0 <= measured["accuracy"] <= 1
    assert (measured["n_train"], measured["n_test"]) == (3, 6)


def test_cell_is_the_same_whatever_was_measured_before(study):
    first = study().measure(cell("timbre", n=2))
    made = study()
    made.measure(cell("timbre", n=1))
    torch.manual_seed(99)
    assert made.measure(cell("timbre", n=2)) == first


def test_training_follows_the_recipe_of_the_paper(study, monkeypatch):
    seen = []
    monkeypatch.setattr(methods, "fit_patches", lambda model, batches, config, **_: seen.append((model, config)))
    study(max_epochs=199).measure(cell("vgg_log_learn"))
    model, config = seen[0]
    facts = (config.optimizer, config.lr, config.momentum, config.l2, config.l2_of, config.clip_norm)
    assert facts == ("sgd", 0.1, 0.0, 5e-4, "kernels", 5.0)
    assert (config.batch_size, config.max_epochs, config.keep, config.loss) == (256, 199, "last", "cross_entropy")
    assert sum(parameter.numel() for parameter in model.parameters()) == 42_764 + 2 - 7 * 513  # for three classes


def test_test_clips_are_cut_at_the_hop_that_is_set(study, monkeypatch):
    counts = []

    def watched(score, clips, **options):
        counts.append(sorted({len(clip) for clip in clips}))
        return torch.zeros(len(clips), 3)

    monkeypatch.setattr(methods, "mean_scores", watched)
    monkeypatch.setattr(methods, "fit_patches", lambda *_, **__: None)
    for hop in (1, 10):
        study(test_hop_frames=hop).measure(cell("timbre"))
    assert counts[::2] == [[1, 24], [1, 3]]  # 3.5 s are 151 frames; one patch of clips that were repeated


@pytest.mark.parametrize("method", ["prototypical", "prototypical_log_learn"])
def test_prototypical_network_is_measured(study, method):
    measured = study(stop_epochs=0).measure(cell(method))
    assert measured["n_epochs"] >= 2
    assert 0 <= measured["accuracy"] <= 1


def test_prototypical_network_is_that_of_the_paper(study, monkeypatch):
    seen = []

    def watched(model, examples, n_way, config, **_):
        seen.append((sum(parameter.numel() for parameter in model.parameters()), len(examples), n_way, config))
        raise TrainingError("seen enough")

    monkeypatch.setattr(methods, "fit_prototypes", watched)
    with pytest.raises(TrainingError, match="seen enough"):
        study(support="all").measure(cell("prototypical"))
    n_parameters, _, n_way, config = seen[0]
    assert (n_parameters, n_way) == (613_642, 3)
    assert (config.n_shot, config.n_query, config.lr, config.clip_norm, config.stop_epochs) == (None, 5, 0.1, 5.0, 200)


# -- frozen features ---------------------------------------------------------------------------------------------------


def kept_features(made, name, n_values=6):
    """Write features of all clips in which classes are easy to tell; clips have one or two patches."""
    rng, labels = np.random.default_rng(0), made.clips.labels
    (of_cells,) = made._frozen[name].cells()
    n_patches = 1 + np.arange(len(labels)) % 2
    values = 4 * np.eye(n_values)[np.repeat(labels, n_patches)] + 0.3 * rng.standard_normal((n_patches.sum(), n_values))
    arrays = dict.fromkeys({*few_data.FROZEN_NETWORKS[name][1:]}, values.astype(np.float32))
    np.savez(made._frozen[name]._file(of_cells), n_patches=n_patches, **arrays)


@pytest.mark.parametrize(
    "method",
    ["musicnn", "musicnn_prototypical", "musicnn_nn", "musicnn_svm", "musicnn_linear_svm", "musicnn_logistic",
     "musicnn_mlp", "vggish_nn", "vggish_svm"],
)  # fmt: skip
def test_method_on_frozen_features_tells_easy_classes(study, method):
    made = study(methods=(method,), max_epochs=50, stop_epochs=20, vggish_weights="vggish.npz")
    kept_features(made, method.partition("_")[0])
    assert made.measure(cell(method, n=2))["accuracy"] > 0.8


def test_features_that_failed_are_named(study, prepared):
    made = study(methods=("musicnn",))
    (of_cells,) = made._frozen["musicnn"].cells()
    made._frozen["musicnn"]._file(of_cells).unlink(missing_ok=True)
    with pytest.raises(TrainingError, match="the features of musicnn are missing, as musicnn_features, part 0"):
        made.measure(cell("musicnn"))


def test_features_come_before_the_methods(study):
    first, second = study(methods=("musicnn", "musicnn_nn"), n=(1,)).phases()
    assert [one.key for one in first] == ["musicnn_features_part-0_fold-0_run-0"]
    assert {one.method for one in second} == {"musicnn", "musicnn_nn"}
    assert all(one.is_scored for one in second)


def test_fine_tuning_needs_no_features(study):
    assert len(study(methods=("vggish",), vggish_weights="vggish.npz").phases()) == 1


def test_cells_of_vggish_name_the_weights(study):
    (only,) = study(methods=("vggish",), n=(1,), vggish_weights="vggish.npz").phases()[0]
    assert only.details == {"n": 1, "weights": "01234567"}


@needs_weights("musicnn.mtt")
def test_features_of_musicnn_are_computed_and_kept(study, tmp_path):
    clips = study().clips
    two = dataclasses.replace(clips, labels=clips.labels[:2])  # these alone are computed
    features = FrozenFeatures("musicnn", two, tmp_path, weights="", details={})
    (of_cells,) = features.cells()
    assert features.make(of_cells, torch.device("cpu")) == {"n_patches": 2}
    assert [clip.shape for clip in features.of_layer("penultimate")] == [(1, 200)] * 2
    assert [clip.shape for clip in features.of_layer("max_pool")] == [(1, 753)] * 2


@pytest.fixture(scope="module")
def vggish_weights(tmp_path_factory):
    """A file in TensorFlow's layout of a VGGish that lets sound through; 288 MB."""
    path = tmp_path_factory.mktemp("vggish") / "vggish.npz"
    arrays = {}
    for layer in WEIGHTED_LAYERS:
        shapes = layer.shapes(of_tensorflow=True)
        kernel, bias = shapes[f"{layer.name}.weight"], shapes[f"{layer.name}.bias"]
        fan_in = int(np.prod(kernel[:-1]))
        draw = np.random.default_rng(fan_in).standard_normal(kernel, dtype=np.float32)
        arrays[f"{layer.scope}/weights"] = draw * np.float32((2 / fan_in) ** 0.5)
        arrays[f"{layer.scope}/biases"] = np.zeros(bias, np.float32)
    np.savez(path, **arrays)
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vggish", "vggish_prototypical"])
def test_vggish_is_trained_on(study, vggish_weights, method):
    made = study(methods=(method,), max_epochs=2, stop_epochs=0, vggish_weights=str(vggish_weights))
    measured = made.measure(cell(method))
    assert 0 <= measured["accuracy"] <= 1
    assert measured["n_train"] == 3


@pytest.mark.slow
def test_vggish_moves_ten_thousand_times_less_than_its_new_layer(study, vggish_weights, monkeypatch):
    seen = []
    monkeypatch.setattr(
        methods, "fit_patches", lambda model, batches, config, **_: seen.append((model.task, model.n_tags, config))
    )
    study(methods=("vggish",), vggish_weights=str(vggish_weights)).measure(cell("vggish"))
    task, n_tags, config = seen[0]
    facts = (config.optimizer, config.lr, config.trunk_lr, config.l2, config.clip_norm, config.batch_size)
    assert facts == ("sgd", 0.1, 1e-4, 0.0, None, 128)
    assert (task, n_tags) == ("one", 3)


@pytest.mark.slow
def test_features_of_vggish_are_computed_as_a_run(sounds, vggish_weights, tmp_path):
    values = settings(sounds, methods=("vggish_nn", "vggish_svm"), n=(2,), vggish_weights=str(vggish_weights))
    result = run_study("few_data", values, tmp_path / "run", n_workers=1)
    assert result.failures == ()
    assert {row["method"] for row in result.results["cells"]} == {"vggish_nn", "vggish_svm"}
    assert "The weights of VGGish are not the published ones" in result.table


def test_optimiser_of_prototypes_on_vggish_is_that_of_fine_tuning(study, monkeypatch):
    seen = []
    monkeypatch.setattr(methods, "vggish_prototypical", lambda task, weights, config: seen.append(config) or {})
    study(methods=("vggish_prototypical",), vggish_weights="vggish.npz").measure(cell("vggish_prototypical"))
    assert seen == [PrototypeConfig(clip_norm=None, trunk_lr=1e-4)]


# -- results -----------------------------------------------------------------------------------------------------------


def rows_of(**means):
    return [
        {"method": method, "fold": 0, "run": run, "n": n, "accuracy": mean + 0.01 * run}
        for method, mean in means.items() for run in (0, 1) for n in (1, 2)
    ]  # fmt: skip


NETWORKS = {"sb_cnn": 0.3, "vgg": 0.2, "timbre": 0.35}


@pytest.mark.parametrize(
    ("means", "shows"),
    [
        ({**NETWORKS, "prototypical": 0.4, "musicnn": 0.5}, [True, True]),
        ({**NETWORKS, "prototypical": 0.33, "musicnn": 0.34}, [False, False]),
        ({**NETWORKS, "prototypical": 0.4}, [True, None]),
        ({"sb_cnn": 0.3, "prototypical": 0.4}, [None, None]),
        ({**NETWORKS, "prototypical": 0.4, "musicnn": 0.5, "vggish": 0.39}, [True, False]),
    ],
)
def test_claims_are_held_against_the_orderings(means, shows):
    assert [claim.shows for claim in claims_of(rows_of(**means))] == shows


def test_claim_tells_its_figures():
    claim = claims_of(rows_of(**NETWORKS, prototypical=0.4))[0]
    assert claim.figures == "prototypical 40.5, sb_cnn 30.5, vgg 20.5, timbre 35.5."
    assert "n = 1" in claim.words


def test_accuracies_are_those_of_method_and_n():
    assert accuracies(rows_of(vgg=0.2), "vgg", 2) == pytest.approx([0.2, 0.21])


def test_toolkit_stands_beside_ours_on_all_clips():
    rows = [{"method": "musicnn_svm", "fold": 0, "run": 0, "n": "all", "accuracy": 0.5}]
    table = toolkit_table(rows)
    assert table is not None
    assert ["musicnn, max-pool, PCA of 128, SVM", "50.00", "77.24"] in table.rows
    assert ["OpenL3, PCA of 128, SVM", "-", "74.65"] in table.rows


def test_toolkit_is_left_out_where_nothing_of_it_was_measured():
    assert toolkit_table(rows_of(musicnn_svm=0.4)) is None


def test_shorter_training_is_said_in_the_titles(study):
    made = study(methods=("prototypical",), stop_epochs=20, test_hop_frames=5)
    assert "stop_epochs=20, 200 in the paper" in made.tables([])[0].title
    assert made.remarks() == ["stop_epochs is 20; 200 in the paper."]


def test_settings_of_the_paper_need_no_remark(study):
    made = study(methods=("prototypical", "vgg"), max_epochs=199)
    assert (made.remarks(), "stop" in made.tables([])[0].title) == ([], False)


def test_page_without_any_cell_can_be_written(study):
    made = study()
    assert "6 of 6 cells are missing" in page_of(made, [], 6)
    assert made.draw([]) == {}


def test_pictures_are_of_both_logarithms(study):
    made = study(methods=("vgg", "vgg_log_learn"))
    assert sorted(made.draw(rows_of(vgg=0.2, vgg_log_learn=0.3))) == ["accuracy", "log_learn"]


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words(sounds):
    return ["study", "few_data", "data=csv", f"data.root={sounds}", "methods=random_guess,mfcc_nn,timbre", "runs=1",
            "max_epochs=2", "seed=5"]  # fmt: skip


@pytest.fixture(scope="module")
def finished(run_taggram, words, tmp_path_factory):
    """A run by the command, and its folder."""
    folder = tmp_path_factory.mktemp("command") / "run"
    return run_taggram(*words, "n=1", f"out={folder}", "--workers", "1"), folder


def results_of(folder: Path):
    return json.loads((folder / "results.json").read_text())


def test_command_leaves_table_results_and_pictures(finished):
    done, folder = finished
    assert done.returncode == 0, done.stderr
    assert "| method | kind | n = 1 |" in done.stdout
    assert {path.name for path in folder.glob("*.*")} >= {"table.md", "results.json", "accuracy.png", "config.json"}
    assert [(row["method"], row["n"]) for row in results_of(folder)["cells"]] == [
        ("random_guess", 1), ("mfcc_nn", 1), ("timbre", 1),
    ]  # fmt: skip


def test_more_examples_measure_only_what_is_missing(finished, run_taggram, words):
    _, folder = finished
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    before = results_of(folder)["cells"]
    done = run_taggram(*words, "n=1,2", f"out={folder}", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    after = results_of(folder)["cells"]
    assert len(after) == 6
    assert [row for row in after if row["n"] == 1] == before


def test_another_process_measures_the_same(finished, study):
    _, folder = finished
    made = study(seed=5)
    rows = [row for row in results_of(folder)["cells"] if row["n"] == 1]
    assert [cell(row["method"]).row(made.measure(cell(row["method"]))) for row in rows] == rows


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("methods=vgish", "there is no method 'vgish'. Did you mean vggish"),
        ("methods=vggish", "vggish_weights=FILE"),
        ("n=0", "n is (0,)"),
        ("n=4", "the class high has 3 clips in the part train, so n may be 3 at most, or all"),
        ("n=some", "n is ('some',)"),
        ("runs=-1", "runs is -1"),
        ("support=none", "support is 'none'"),
        ("stop_epochs=-1", "stop_epochs is -1"),
        ("test_hop_frames=0", "test_hop_frames is 0"),
        ("folds=2", "there is no fold 2"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(sounds, tmp_path, word, told):
    name, _, value = word.partition("=")
    number = int(value) if value.lstrip("-").isdecimal() else value
    with pytest.raises((ConfigError, DatasetError)) as refused:
        run_study("few_data", settings(sounds, **{name: number}), tmp_path / "run", n_workers=1)
    assert told in str(refused.value)


def test_file_of_weights_that_is_not_there_is_refused(sounds, tmp_path):
    values = settings(sounds, methods=("vggish",), vggish_weights=str(tmp_path / "vggish.npz"))
    with pytest.raises(ConfigError, match="there is no such file"):
        run_study("few_data", values, tmp_path / "run", n_workers=1)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("low0.wav", "train", "low"), ("low1.wav", "test", "low")], "of one class"),
        ([("low0.wav", "train", "low"), ("mid0.wav", "train", "mid")], "the part test is empty"),
    ],
    ids=["one class", "no test"],
)
def test_data_that_cannot_be_learned_from_is_refused(sounds, tmp_path, rows, told):
    write_csv(tmp_path / "data", [(str(sounds / path), part, tag) for path, part, tag in rows])
    with pytest.raises(DatasetError, match=told):
        run_study("few_data", settings(tmp_path / "data", n=(1,)), tmp_path / "run", n_workers=1)


def test_class_without_examples_is_named(study):
    clips = dataclasses.replace(
        study().clips, parts=np.array([[2, 0, 0, 0, 2]], np.int8), labels=np.array([0, 1, 2, 2, 1])
    )
    with pytest.raises(DatasetError, match="the class high has no clip in the part train"):
        few_data._check_sizes(clips, few_data.FewDataConfig())
