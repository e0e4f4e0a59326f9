"""The study on bags of features: patches, bags, stacked RBMs, the network on bags, what units are, and a whole run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _made_sounds import sound_of, write_csv, write_set
from _made_study import made_study
from _networks import create, noise

import taggram
from taggram.errors import AudioError, ConfigError, DatasetError, TrainingError
from taggram.frontends import create_frontend, onset_curve
from taggram.learning.bags import bag_of_clip
from taggram.learning.sparse_rbm import RBM
from taggram.learning.whitening import Whitening
from taggram.models.bag_of_features import AGC_MEL
from taggram.studies import _bag_of_features_cells as cells
from taggram.studies import _bag_of_features_pictures as pictures
from taggram.studies import _bag_of_features_results as results
from taggram.studies._bag_of_features_song import Bags, annotation, logits_of, song_fit, start_as, train_song
from taggram.studies._bag_of_features_units import (
    ACOUSTICS,
    Units,
    acoustics_of,
    centres_hz,
    images_of,
    tag_differences,
)
from taggram.studies._base import Cell
from taggram.studies.bag_of_features import BagOfFeaturesConfig
from taggram.studies.run import page_of, run_study
from taggram.tagger import one_torch_thread

pytestmark = pytest.mark.usefixtures("own_cache")

SHORT = {"n_patches": 400, "n_units": 16, "rbm_epochs": 3, "n_hidden": 8, "stack_epochs": 3, "max_epochs": 3}
SMALL = {"n_units": 6, "n_components": 5, "n_hidden": 4}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    sound = write_set(tmp_path_factory.mktemp("set"), n_clips=36)
    return {
        "data": "csv",
        "data.root": str(sound),
        "data.min_count": 1,
        "weight_costs": (0.001, 0.01),
        "layers": 2,
        **SHORT,
    }


@pytest.fixture(scope="module")
def run(values, tmp_path_factory):
    return run_study("bag_of_features", values, tmp_path_factory.mktemp("run"), n_workers=1)


@pytest.fixture(scope="module")
def study(run, values):
    data = made_study("bag_of_features", values, run.folder)
    return data


@pytest.fixture
def copied(run, values, study, tmp_path):
    """The study in a copy of its folder, in which cells may be measured anew."""
    shutil.copytree(run.folder, tmp_path / "run")
    return made_study("bag_of_features", values, tmp_path / "run", study.data)


def first_cell(study, method):
    return next(cell for phase in study.phases() for cell in phase if cell.method == method)


# -- cells -------------------------------------------------------------------------------------------------------------


def test_all_rising_combinations_of_weight_costs_are_tried():
    costs = BagOfFeaturesConfig().costs(3)
    assert len(costs) == 10
    assert costs[0] == "0.001+0.001+0.001"
    assert "0.01+0.001+0.1" not in costs


def test_settings_with_several_values_are_combined(values, study):
    more = {**values, "rho": "0.01,0.02", "layers": "1,3", "sampling": "onset,random", "methods": "random_start"}
    songs = made_study("bag_of_features", more, study.folder, study.data).phases()[-2]
    assert len(songs) == len({cell.key for cell in songs}) == 8
    assert {cell.details["rho"] for cell in songs} == {0.01, 0.02}


def test_nothing_is_pre_trained_where_nobody_needs_it(values, study):
    cells_of = made_study("bag_of_features", {**values, "methods": "random_start"}, study.folder, study.data).phases()
    assert [cell.method for phase in cells_of for cell in phase] == [
        "whitening",
        "rbm",
        "bags",
        "random_start",
        "units",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "loudest"}, "sampling is"),
        ({"rho": "0.02,1.5"}, "rho is"),
        ({"patch_frames": 0}, "patch_frames is"),
        ({"layers": ()}, "layers is"),
        ({"bias_init": "both"}, "bias_init is"),
        ({"weight_costs": "much"}, "weight_costs is"),
        ({"n_patches": 0}, "n_patches is 0"),
        ({"n_tags": -1}, "n_tags is -1"),
        ({"methods": "pretraind"}, "no method 'pretraind'. Did you mean pretrained"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        BagOfFeaturesConfig.of(settings)


def test_folds_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"folds is .*; wanted nothing"):
        made_study("bag_of_features", {**values, "folds": 1}, tmp_path)


def test_commonest_tags_are_kept(values, tmp_path):
    study = made_study("bag_of_features", {**values, "n_tags": 2}, tmp_path)
    counts = study.sound.labels(study.sound.index("train")).sum(0)
    assert len(study.tags) == 2
    assert set(study.tags) == {study.sound.tags[tag] for tag in np.argsort(-counts, kind="stable")[:2]}
    rows = study.sound.index("test")
    assert study.labels(rows).shape == (len(rows), 2)


@pytest.mark.parametrize("tested", [("high", ""), ("low|high", "low")], ids=["none has it", "all have it"])
def test_nothing_is_learned_where_no_tag_that_is_kept_can_be_scored(tmp_path, tested):
    import soundfile

    rows = [("0.wav", "train", "low"), ("1.wav", "train", "low|high")]
    rows += [(f"{number}.wav", "test", tags) for number, tags in enumerate(tested, 2)]
    for path, _, _ in rows:
        soundfile.write(tmp_path / path, sound_of(("low",), 22_050), 22_050)
    write_csv(tmp_path, rows)
    values = {"data": "csv", "data.root": str(tmp_path), "data.min_count": 1, "n_tags": 1, **SHORT}
    with pytest.raises(DatasetError, match="none of the 1 tags can be scored on the 2 clips for testing"):
        made_study("bag_of_features", values, tmp_path / "run")


# -- patches, RBM, bags ------------------------------------------------------------------------------------------------


def test_patches_are_those_at_onsets(values, tmp_path, monkeypatch):
    study = made_study("bag_of_features", {**values, "n_patches": 5}, tmp_path)
    kept = []
    monkeypatch.setattr(cells, "_save", lambda path, array: (kept.append(array), np.save(path, array)))
    cells.whiten(study, Cell(method="whitening", details={"sampling": "onset", "patch_frames": 8}))
    frontend = create_frontend(AGC_MEL)
    best = []
    for row in study.sound.index("train").tolist():
        sound = torch.from_numpy(study.sound.whole(row))[None]
        frames, onsets = frontend(sound)[0, 0].T, onset_curve(sound, frontend)[0]
        if len(frames) > 8:
            start = int(onsets[: len(frames) - 8].argmax())
            best.append(frames[start : start + 8].flatten().numpy())
    assert len(kept[0]) == 5
    assert all(any(np.allclose(patch, one, atol=1e-5) for one in best) for patch in kept[0])


def test_blocks_of_patches_are_gone_on_from_and_removed(values, tmp_path, monkeypatch):
    study = made_study("bag_of_features", values, tmp_path)
    cell = first_cell(study, "whitening")
    monkeypatch.setattr(cells, "BLOCK_PATCHES", 20)
    whole = cells.whiten(study, cell)
    kept = np.load(study.path_of("whitening", cell, ".npy"))
    load = cells._load
    monkeypatch.setattr(cells, "_load", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cells.whiten(study, cell)
    assert len(list(study.files.glob("*.block-*"))) > 2
    monkeypatch.setattr(cells, "_load", load)
    monkeypatch.setattr(cells, "_patches_of", None)  # nothing is left to be cut
    assert cells.whiten(study, cell) == whole
    assert np.array_equal(np.load(study.path_of("whitening", cell, ".npy")), kept)
    assert not list(study.files.glob("*.block-*"))


def test_silent_clip_gives_no_patches(tmp_path):
    import soundfile

    for number, tags in enumerate([("low",), (), ("high",), ("high",)]):
        sound = sound_of(tags, 22_050, number) if tags else np.zeros(22_050)
        soundfile.write(tmp_path / f"{number}.wav", sound, 22_050)
    write_csv(
        tmp_path,
        [("0.wav", "train", "low"), ("1.wav", "train", ""), ("2.wav", "test", "low"), ("3.wav", "test", "")],
    )
    values = {"data": "csv", "data.root": str(tmp_path), "data.min_count": 1, **SHORT}
    study = made_study("bag_of_features", values, tmp_path / "run")
    silent = study.sound.index("train")[1]
    assert not study.sound.whole(int(silent)).any()
    assert cells.whiten(study, first_cell(study, "whitening"))["n_patches"] == study.sound.n_samples(0) // 512 + 1 - 8


def test_whitening_and_rbm_are_told_beside_each_network(run):
    for row in run.results["cells"]:
        assert row["covariance_error"] < 1e-4
        assert row["covariance_off_diagonal"] < 1e-4
        assert row["largest_variance"] <= 1
        assert 0 < row["mean_activation"] < 1


def features(n_units=6):
    model = create("bag_network", n_tags=2, pool_frames=10, **{**SMALL, "n_units": n_units})
    model.local.set_whitening(torch.zeros(1024), noise(5, 1024) / 8)
    model.local.set_rbm(noise(n_units, 5), noise(n_units))
    return model


@pytest.mark.parametrize("n_samples", [4608, 5120, 40_000, 100_000])
def test_bag_is_that_of_the_whole_clip(monkeypatch, n_samples):
    monkeypatch.setattr("taggram.learning.bags.WINDOWS_AT_ONCE", 2)
    model, sound = features(), 0.1 * noise(n_samples)
    layers = model.forward_layers(model.frontend(sound[None]))
    bag, activation = bag_of_clip(model, sound)
    torch.testing.assert_close(bag, layers["bag"][0])
    torch.testing.assert_close(activation, layers["rbm"][0].mean(0))


def test_clip_that_is_too_short_is_repeated():
    model, sound = features(), 0.1 * noise(1000)
    torch.testing.assert_close(bag_of_clip(model, sound)[0], bag_of_clip(model, sound.repeat(5)[:4096])[0])


def test_empty_sound_is_refused():
    with pytest.raises(AudioError, match="at least one"):
        bag_of_clip(features(), torch.zeros(0))


# -- the network on bags -----------------------------------------------------------------------------------------------


def stack():
    sizes = ((4, 6), (4, 4), (4, 4))
    rbms = enumerate(sizes)
    return [RBM(noise(h, v, seed=n), noise(h, seed=n + 10), noise(v, seed=n + 20), "relu") for n, (h, v) in rbms]


@pytest.mark.parametrize("bias_init", ["hidden", "visible"])
def test_layers_start_as_the_stack(bias_init):
    model, rbms = features(), stack()
    start_as(model, rbms, bias_init)
    behind = [rbms[1].visible_bias, rbms[2].visible_bias, torch.zeros(4)]
    wanted = [rbm.hidden_bias for rbm in rbms] if bias_init == "hidden" else behind
    for (dense, _), rbm, bias in zip(model.hidden, rbms, wanted):
        assert torch.equal(dense.weight, rbm.weight)
        assert torch.equal(dense.bias, bias)


def test_pre_trained_layers_give_what_the_stack_does():
    model, rbms, bags = features(), stack(), torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    start_as(model, rbms, "hidden")
    x = bags
    for rbm in rbms:
        x = rbm(x)
    torch.testing.assert_close(model.forward_bags(bags), model.head(x))


def bags_of(n_clips=60, seed=0):
    bags = torch.rand(n_clips, 6, generator=torch.Generator().manual_seed(seed))
    return Bags(bags, (bags[:, :2] > 0.5).float())


def test_best_epoch_in_validation_is_kept():
    model, valid = features(), bags_of(seed=1)
    history = train_song(model, bags_of(), valid, song_fit(12, 0))
    best = max(one["valid_auc"] for one in history)
    scores = logits_of(model, valid.bags).double().numpy()
    assert taggram_auc(scores, valid.labels.numpy()) == pytest.approx(best)


def taggram_auc(scores, labels):
    from taggram.learning import metrics as m

    return m.mean_over_tags(m.roc_auc(scores, labels > 0))


def test_training_learns():
    model = create("bag_network", n_tags=2, dropout=0.0, **{**SMALL, "n_hidden": 32})
    history = train_song(model, bags_of(300), bags_of(100, 1), song_fit(150, 0))
    assert max(one["valid_auc"] for one in history) > 0.9


def test_training_hangs_on_its_seed_alone():
    first, second = features(), features()
    torch.manual_seed(1)
    train_song(first, bags_of(), bags_of(seed=1), song_fit(3, 7))
    torch.manual_seed(2)
    train_song(second, bags_of(), bags_of(seed=1), song_fit(3, 7))
    assert torch.equal(first.head.weight, second.head.weight)


def test_first_step_of_adadelta_has_no_past():
    model = create("bag_network", n_tags=2, dropout=0.0, **SMALL)
    before, data = model.head.bias.detach().clone(), bags_of()
    train_song(model, data, data, song_fit(1, 0))
    step = (model.head.bias - before).detach().abs()
    torch.testing.assert_close(step, torch.full((2,), 1e-4), rtol=0.05, atol=0)  # root of 1e-8, whatever the gradient


def test_training_is_as_published():
    fit = song_fit(100, 0)
    assert (fit.optimizer, fit.rho, fit.eps, fit.lr, fit.batch_size, fit.max_epochs) == (
        "adadelta",
        0.99,
        1e-8,
        1,
        128,
        100,
    )
    assert (fit.l2, fit.clip_norm) == (0.0, None)


def test_annotation_is_that_of_the_source():
    scores = np.array([[0.9, 0.1, 0.4], [0.8, 0.3, 0.5], [0.7, 0.2, 0.6]])
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    found = annotation(scores, labels, np.array([0.5, 0.25, 0.1]))  # ten tags are more than there are: all are given
    precision = (2 / 3 + 1 / 3) / 2
    f1 = (2 * (2 / 3) / (5 / 3) + 2 * (1 / 3) / (4 / 3)) / 2
    assert found == {
        "annotation_precision": pytest.approx(precision), "annotation_recall": 1.0, "annotation_f1": pytest.approx(f1)
    }  # fmt: skip


def test_best_weight_costs_are_chosen_by_validation(run, study):
    tried = [study.measured(cell) | {"costs": cell.details["costs"]} for cell in study.phases()[-3]]
    row = next(row for row in run.results["cells"] if row["method"] == "pretrained")
    assert len(tried) == 3
    assert row["valid_auc"] == max(one["valid_auc"] for one in tried)
    assert row["costs"] in {one["costs"] for one in tried if one["valid_auc"] == row["valid_auc"]}


def tries(study):
    return [cell for phase in study.phases() for cell in phase if cell.method == "try"]


def measured_file(study, cell):
    return study.folder / "cells" / f"{cell.key}.json"


def test_try_has_no_figures_of_the_test(study):
    measured = [study.measured(cell) for cell in tries(study)]
    assert not any("macro_roc_auc" in one or "by_tag" in one for one in measured)


def test_weight_costs_are_told_apart_by_one_seed(copied, monkeypatch):
    seen = {"rbm": [], "song": []}

    def train_rbm(examples, config, **options):
        seen["rbm"].append((config.weight_cost, config.seed))
        return RBM(noise(8, 16), noise(8), noise(16), "relu"), [{"error": 0.0, "activation": 0.0}]

    def train_song(model, train, valid, config, **options):
        seen["song"].append((config.seed, model.head.weight.clone()))
        return [{"epoch": 1.0, "valid_auc": 0.5, "valid_loss": 1.0}]

    monkeypatch.setattr(cells, "train_rbm", train_rbm)
    monkeypatch.setattr(cells, "train_song", train_song)
    for cell in copied.phases()[3]:
        cells.learn_stacked(copied, cell)
    costs, seeds = zip(*seen["rbm"])
    assert costs == (0.001, 0.01)
    assert seeds[0] == seeds[1]
    for cell in tries(copied):
        cells.learn_song(copied, cell)
    (first_seed, first), *others = seen["song"]
    assert len(others) == 2
    assert all(seed == first_seed and torch.equal(head, first) for seed, head in others)


def test_best_is_chosen_among_what_could_be_trained(copied):
    cell, (first, *others) = first_cell(copied, "pretrained"), tries(copied)
    measured_file(copied, first).unlink()
    found = copied.measure(cell)
    assert found["failed_costs"] == [first.details["costs"]]
    assert found["n_tried"] == len(others) == 2
    assert found["valid_auc"] == max(copied.measured(one)["valid_auc"] for one in others)
    assert (copied.folder / found["model"]).exists()


def test_nothing_to_choose_among_is_said(copied):
    for one in tries(copied):
        measured_file(copied, one).unlink()
    with pytest.raises(TrainingError, match=r"none of the 3 networks .* 0\.001\+0\.01"):
        copied.measure(first_cell(copied, "pretrained"))


def test_network_on_an_rbm_that_failed_says_so(copied):
    copied.path_of("stack", first_cell(copied, "stack"), with_costs="0.01").unlink()
    with pytest.raises(TrainingError, match=r"the RBM with weight costs 0\.01, .* could not be trained"):
        copied.measure(tries(copied)[-1])


@pytest.mark.slow
def test_rbm_that_diverges_takes_no_other_with_it(values, tmp_path):
    diverging = {**values, "weight_costs": (0.001, 999_999.0), "stack_epochs": 20, "methods": "pretrained"}
    run = run_study("bag_of_features", diverging, tmp_path, n_workers=1)
    assert {failure.error for failure in run.failures} == {"TrainingError"}
    (row,) = run.results["cells"]
    assert (row["costs"], row["n_tried"]) == ("0.001+0.001", 1)
    assert "pre-training failed with 0.001+999999, 999999+999999" in run.table


# -- what units are ----------------------------------------------------------------------------------------------------


def test_units_are_turned_back_into_patches():
    whitening = Whitening(noise(12), torch.eye(12)[:2], torch.tensor([0.99, 0.24]), 0.9)
    rbm = RBM(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2), torch.zeros(2))
    images, mean = images_of(rbm, whitening, 4)
    wanted = np.zeros((2, 12))
    wanted[0, 0], wanted[1, 1] = 1.0, 1.0
    np.testing.assert_allclose(images.reshape(2, 12), wanted, atol=1e-6)
    np.testing.assert_allclose(mean.reshape(12), whitening.mean, atol=1e-6)


MELS_HZ = np.arange(1, 65, dtype=np.float32) * 100


def image(rows=slice(None), columns=slice(None)):
    one = np.zeros((1, 8, 64), np.float32)
    one[0, rows, columns] = 1
    return dict(zip(ACOUSTICS, acoustics_of(one, MELS_HZ)[0]))


def test_band_has_its_centroid_and_no_width():
    found = image(columns=9)
    assert found["centroid"] == pytest.approx(1000, rel=1e-4)
    assert found["bandwidth"] < 10
    assert found["flatness"] < 0.01


def test_flat_patch_is_flat_and_lasts():
    found = image()
    assert found["flatness"] == pytest.approx(1)
    assert found["centroid"] == pytest.approx(MELS_HZ.mean(), rel=1e-4)
    assert found["temporal_centroid"] == pytest.approx(0.5)
    assert abs(found["slope"]) < 1e-4


def test_patch_that_begins_rises_and_one_that_ends_falls():
    assert image(rows=slice(5, None))["slope"] > 1
    assert image(rows=slice(0, 3))["slope"] < -1
    assert image(rows=7)["temporal_centroid"] == pytest.approx(1, abs=1e-4)


def test_comb_is_harmonic_and_one_band_is_not():
    assert image(columns=slice(4, None, 8))["harmonicity"] > 0.6
    assert image(columns=30)["harmonicity"] < 0.1


def test_centres_of_bands_rise_to_half_the_rate():
    centres = centres_hz(AGC_MEL.mel)
    assert centres.shape == (128,)
    assert (np.diff(centres) > 0).all()
    assert centres[-1] < 11_025


def test_units_of_a_tag_are_those_of_its_clips_less_those_of_others():
    bags = np.array([[1, 0], [3, 0], [0, 4]], np.float32)
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    found, errors = tag_differences(bags, labels)
    assert found[0].tolist() == [2, -4]
    assert np.isnan(found[1:]).all()
    assert np.isnan(errors).all()  # of so few clips


def test_error_of_a_difference_is_that_of_students_test():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    bags = rng.random((30, 4), np.float32)
    labels = (np.arange(30) < 7).astype(np.float32)[:, None]
    differences, errors = tag_differences(bags, labels)
    np.testing.assert_allclose(differences[0] / errors[0], ttest_ind(bags[:7], bags[7:]).statistic, rtol=1e-4)


def units_of(differences, errors):
    n_units = len(differences[0])
    acoustics = np.tile(np.arange(1, n_units + 1, dtype=np.float32)[:, None], (1, len(ACOUSTICS)))
    return Units(
        np.zeros((n_units, 8, 64), np.float32), np.zeros((8, 64), np.float32), acoustics, np.zeros(n_units, np.float32),
        np.array(differences, np.float32), np.array(errors, np.float32), MELS_HZ,
    )  # fmt: skip


def test_rare_tag_is_not_in_front_by_its_difference_alone():
    few = float("nan")
    units = units_of([[0.9, 0.1], [0.3, 0.5], [0.2, 0.4]], [[few, few], [0.2, 0.2], [0.05, 0.05]])
    assert units.strongest(3) == [2, 1]
    table = results.unit_table(units, ["rare", "loud", "slow"])
    assert [line[:4] for line in table.rows] == [["slow", "1, 0", "0.400", "8.0"], ["loud", "1, 0", "0.500", "2.5"]]


def test_activation_of_units_is_that_of_the_clips_for_testing(study):
    cell = first_cell(study, "units")
    rows = study.sound.index("test").tolist()
    model = cells.feature_network(study, cell)
    model.frontend.sample_bits = 16
    wanted = np.mean([bag_of_clip(model, study.sound.whole(row))[1].numpy() for row in rows], axis=0)
    np.testing.assert_allclose(study.activation(cell), wanted, rtol=1e-5)
    np.testing.assert_allclose(Units.load(study.path_of("units", cell)).activation, wanted, rtol=1e-5)


def test_bags_of_a_block_are_all_that_its_file_holds_a_clip(study):
    path = study.path_of("bags", first_cell(study, "bags"), block=0)
    assert path.stat().st_size < 4 * (len(study.sound) + 2) * 16 + 1024  # bags, and two rows of sums at most


def test_units_are_written_by_centroid(run):
    (path,) = run.folder.glob("units-*.csv")
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0][:2] == ["unit", "centroid"]
    centroids = [float(line[1]) for line in lines[1:]]
    assert centroids == sorted(centroids)
    assert len(centroids) == 16


# -- results -----------------------------------------------------------------------------------------------------------


def row(method="pretrained", auc=0.8, **details):
    figures = {"macro_roc_auc": auc, "clip_roc_auc": 0.9, "macro_pr_auc": 0.3}
    net = {"sampling": "onset", "patch_frames": 8, "rho": 0.02, "pool_frames": 86, "layers": 3}
    net |= {"bias_init": "hidden"} if method == "pretrained" else {}
    return {"method": method, "fold": 0, "run": 0, **net, **figures, **details}


def test_table_stands_beside_that_of_the_paper():
    table = results.main_table(
        [row(precision_at_3=0.5, costs="0.001+0.001+0.1"), row("random_start", sampling="random")]
    )
    assert table.rows[0] == ["pre-trained", "0.800", "0.900", "0.300", "0.500", "-", "-", "-", "-", "0.001+0.001+0.1"]
    assert table.rows[1][0] == "random start, random patches"
    assert table.rows[-1][1:5] == ["0.888", "0.956", "-", "0.511"]


def shows(start, *rows, is_papers=False):
    return next(one.shows for one in results.claims_of(rows, is_papers=is_papers) if one.words.startswith(start))


@pytest.mark.parametrize(
    ("start", "better", "worse"),
    [
        ("networks that are pre-trained", {}, {"method": "random_start"}),
        ("patches at onsets", {}, {"sampling": "random"}),
        ("three hidden layers", {}, {"layers": 1}),
        ("dropout", {}, {"method": "no_dropout"}),
        ("rectified", {"method": "random_start"}, {"method": "sigmoid"}),
    ],
    ids=str,
)
def test_claim_shows_or_does_not(start, better, worse):
    assert shows(start, row(**better), row(auc=0.7, **worse)) is True
    assert shows(start, row(**better), row(auc=0.9, **worse)) is False
    assert shows(start, row(**better)) is None
    other = {"patch_frames": 6}
    assert shows(start, row(**better, **other), row(auc=0.7, **worse, **other)) is True


def test_claim_does_not_show_on_what_is_printed_alike():
    first, second = row(auc=0.91704), row("no_dropout", auc=0.91696)
    claim = next(one for one in results.claims_of([first, second], is_papers=False) if one.words.startswith("dropout"))
    assert (claim.shows, claim.figures) == (False, "AROC-tag 0.917 beside 0.917.")
    assert shows("Deep-BoF", row(auc=0.8704), is_papers=True) is False


def test_claim_says_among_how_many_tries_the_best_was_chosen():
    rows = [row(n_tried=10), row("random_start", auc=0.7)]
    figures = [one.figures for one in results.claims_of(rows, is_papers=True)]
    assert "0.800 (best of 10 in validation)." in figures
    assert "AROC-tag 0.800 (best of 10 in validation) beside 0.700." in figures


def test_pre_training_that_failed_is_said_under_the_table():
    table = results.main_table([row(costs="0.001", failed_costs=["0.1"])])
    assert table.note.endswith("Of pre-trained, run 0, pre-training failed with 0.1.")


def test_rbms_of_several_runs_are_told_apart():
    whitening = {"n_patches": 9, "n_components": 5, "variance_kept": 0.9, "covariance_error": 0.0}
    whitening |= {"covariance_off_diagonal": 0.0, "largest_variance": 0.9, "activation_std": 0.0}
    facts = {**whitening, "mean_activation": 0.0203, "units_near_target": 1.0}
    rows = [row(**facts, run=run) for run in (0, 1)]
    assert [line[0] for line in results.rbm_table(rows).rows] == ["0", "1"]
    figures = [one.figures for one in results.claims_of(rows, is_papers=False)]
    assert "0.0203 for 0.02 (run 0), 0.0203 for 0.02 (run 1)." in figures


def test_networks_that_differ_in_two_things_are_not_compared():
    assert shows("three hidden layers", row(), row(layers=1, rho=0.01)) is None


@pytest.mark.parametrize(("activation", "wanted"), [(0.021, True), (0.03, False)])
def test_activation_at_its_target_shows(activation, wanted):
    assert shows("the mean activation", row(mean_activation=activation)) is wanted


@pytest.mark.parametrize(("off", "wanted"), [(1e-6, True), (0.02, False)])
def test_covariance_of_whitened_patches_shows(off, wanted):
    facts = {"covariance_error": 1e-6, "covariance_off_diagonal": off, "largest_variance": 0.99}
    assert shows("whitened", row(**facts)) is wanted


@pytest.mark.parametrize(("is_papers", "auc", "wanted"), [(True, 0.9, True), (True, 0.8, False), (False, 0.9, None)])
def test_best_of_before_is_beaten_on_its_data_alone(is_papers, auc, wanted):
    assert shows("Deep-BoF", row(auc=auc), is_papers=is_papers) is wanted


def like_hamel(study, parts, n_tags=160):
    """The study, on clips of which only the numbers are known."""
    facts = {**study.data["facts"], "tags": [f"tag {number}" for number in range(n_tags)]}
    made = type(study)(study.config, study.folder, {**study.data, "facts": facts})
    made.__dict__["sound"] = SimpleNamespace(index=lambda part: range(parts[part]))
    return made


HAMEL = {"train": 14_660, "valid": 1_629, "test": 6_498}


@pytest.mark.parametrize(
    ("parts", "n_tags", "wanted"),
    [
        (HAMEL, 160, True),
        ({**HAMEL, "test": 6_499}, 160, True),
        (HAMEL, 50, False),
        ({**HAMEL, "train": 14_659}, 160, False),
        ({**HAMEL, "test": 6_500}, 160, False),
    ],
    ids=str,
)
def test_data_of_the_paper_is_known_by_its_numbers(study, parts, n_tags, wanted):
    made = like_hamel(study, parts, n_tags)
    rows = [row(auc=0.9)]
    claim = next(one for one in made.claims(rows) if one.words.startswith("Deep-BoF"))
    assert claim.shows is (True if wanted else None)
    assert ("not the data of the paper" in page_of(made, rows, 1)) is not wanted
    names = [label.get_text() for label in made.draw(rows)["scores"].axes[0].get_yticklabels()]
    assert ("published: Deep-BoF" in names) is wanted


@pytest.mark.parametrize("split", ["dir-all", "dir-tagged"])
def test_other_splits_of_magnatagatune_are_not_those_of_the_paper(study, split):
    made = like_hamel(study, {"train": 18_706, "valid": 1_825, "test": 5_329})
    made.data["facts"].update(name="mtt", split=split)
    page = page_of(made, [row(auc=0.9)], 1)
    assert "which is not the data of the paper" in page
    assert "above 0.87, the best of before: was not measured" in page
    assert f"the split is {split}" in page


def test_one_epoch_is_seen():
    facts = {"history": [{"epoch": 1, "error": 0.9, "activation": 0.1}], "activation": [0.1, 0.2]}
    left, middle, _ = pictures.draw_training(facts, 0.02).axes
    assert {left.lines[0].get_marker(), middle.lines[0].get_marker()} == {"."}


def drawn_units(n_units=12, n_tags=2):
    rng = np.random.default_rng(0)
    differences = rng.random((n_tags, n_units))
    made = units_of(differences, np.full((n_tags, n_units), 0.1))
    acoustics = made.acoustics.copy()
    acoustics[:, 0] = np.linspace(1600, 1900, n_units)[::-1]  # no round frequency between
    made = replace(made, images=rng.standard_normal((n_units, 8, 64)).astype(np.float32), acoustics=acoustics)
    return made, pictures.draw_units(made, [f"tag {number}" for number in range(n_tags)], "clips")


def ticks_of(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_units_have_their_numbers_and_a_scale():
    made, figures = drawn_units()
    assert ticks_of(figures["units"].axes[0]) == [str(unit) for unit in made.by_centroid]
    first = made.strongest(1)[0]
    assert ticks_of(figures["units_of_tags"].axes[0]) == [str(unit) for unit in made.top(first)]
    for name in ("units", "units_of_tags"):
        assert figures[name].axes[-1].get_xlabel().startswith("8 frames (186 ms) of each unit from left to right")


def test_map_of_tags_has_ticks_all_along_and_the_first_units():
    made, figures = drawn_units()
    axes = figures["tags_and_units"].axes[0]
    assert len(ticks_of(axes)) == 10
    assert {text.get_text() for text in axes.texts} == {str(made.top(tag, 1)[0]) for tag in (0, 1)}


def test_colour_of_acoustics_is_in_hz_and_dots_have_an_edge():
    _, figures = drawn_units()
    left, right, _, bar = figures["acoustics"].axes
    assert bar.get_ylabel() == "spectral centroid, Hz"
    assert [label.get_text() for label in bar.get_yticklabels()] == ["1,600", "1,900"]
    assert all(axes.collections[0].get_linewidths()[0] > 0 for axes in (left, right))


def test_scores_have_intervals_and_no_axis_that_makes_little_look_large():
    rows = [row(auc=0.8, macro_roc_auc_interval=[0.79, 0.81]), row("random_start", auc=0.801)]
    axes = pictures.draw_scores(rows, "clips", is_papers=False)["scores"].axes[0]
    assert any(list(line.get_xdata()) == [0.79, 0.81] for line in axes.lines)
    low, high = axes.get_xlim()
    assert high - low >= 0.1


def test_few_clips_for_testing_judge_no_area():
    few = {"n_test": 9, "mean_activation": 0.02}
    start = "networks that are pre-trained"
    assert shows(start, row(**few), row("random_start", auc=0.7, **few)) is None
    assert shows("the mean activation", row(**few)) is True


def test_names_of_networks_stand_beside_their_figures():
    rows = [row(layers=n, sampling="random", pool_frames=pool) for n in (1, 2, 3) for pool in (22, 43, 86, 172)]
    figure = pictures.draw_scores(rows, "clips", is_papers=False)["scores"]
    figure.draw_without_rendering()
    left, right = (axes.get_window_extent() for axes in figure.axes)
    assert figure.legends == []
    assert len(figure.axes[0].get_yticklabels()) == 12
    assert left.width + right.width > figure.bbox.width / 2
    assert figure._suptitle.get_window_extent().y0 > left.y1


def test_activations_that_lie_close_together_are_seen():
    history = [{"epoch": 1.0, "error": 1.0, "activation": 0.1}]
    figure = pictures.draw_training({"history": history, "activation": [0.3, 0.3 + 1e-6]}, 0.02)
    axes = figure.axes[2]
    low, high = axes.get_xlim()
    (bar,) = [patch for patch in axes.patches if patch.get_height()]
    assert (bar.get_height(), low < 0.02 < 0.3 < high) == (2, True)
    assert bar.get_width() > (high - low) / 60


def test_activations_at_their_target_are_drawn():
    history = [{"epoch": 1.0, "error": 1.0, "activation": 0.02}]
    figure = pictures.draw_training({"history": history, "activation": [0.02, 0.02]}, 0.02)
    assert max(patch.get_height() for patch in figure.axes[2].patches) == 2


# -- the whole of it ---------------------------------------------------------------------------------------------------


def test_run_leaves_tables_and_pictures(run):
    assert run.failures == ()
    assert [cell["method"] for cell in run.results["cells"]] == ["pretrained", "random_start"]
    assert "not the data of the paper" in run.table
    assert "cells are missing" not in run.table
    names = {"scores", "rbm", "units", "acoustics", "tags_and_units", "units_of_tags"}
    assert {path.stem for path in run.pictures} == names
    assert "Otherwise than in the paper: n_patches 400, not 200,000" in run.table


@pytest.mark.parametrize("method", ["pretrained", "random_start"])
def test_network_tags_sound_as_it_was_scored(run, study, method):
    found = next(cell for cell in run.results["cells"] if cell["method"] == method)
    tagger = taggram.Tagger(Path(run.folder / found["model"]).parent)
    assert tagger.tags == study.tags
    row = int(study.sound.index("test")[0])
    sound = np.resize(study.sound.whole(row), tagger.model.frontend.n_samples_for(tagger.patch_frames))
    with torch.no_grad():
        wanted = tagger.model.scores(tagger.model.forward_bags(bag_of_clip(tagger.model, sound)[0][None])).numpy()
    np.testing.assert_allclose(tagger.tag((sound, 22_050)).scores, wanted, atol=1e-4)


def test_network_has_the_features_that_the_bags_were_made_with(run, study):
    cell = first_cell(study, "random_start")
    model = taggram.load_model(run.folder / "files" / cell.key)
    row = study.sound.index("test")[:1]
    torch.testing.assert_close(bag_of_clip(model, study.sound.whole(int(row[0])))[0], study.bags(cell, row)[0])


def test_second_call_measures_nothing(run, values):
    told = []
    again = run_study("bag_of_features", values, run.folder, n_workers=1, told=lambda *cell: told.append(cell))
    assert (told, again.results["cells"]) == ([], run.results["cells"])


@pytest.mark.parametrize("method", ["whitening", "rbm", "bags", "stack", "try", "random_start", "pretrained", "units"])
def test_cell_that_is_measured_again_gives_the_same(study, method):
    cell = first_cell(study, method)
    with one_torch_thread():
        assert study.measure(cell) == study.measured(cell)


@pytest.mark.slow
def test_bags_of_many_long_clips_take_the_memory_of_one(tmp_path):
    import subprocess
    import sys

    code = (
        "import resource, sys, torch\n"
        "from taggram import create_model\n"
        "from taggram.learning.bags import bag_of_clip\n"
        "torch.set_num_threads(1)\n"
        "model = create_model('bag_network', n_tags=None).eval()\n"
        "for clip in range(int(sys.argv[1])):\n"
        "    bag_of_clip(model, torch.rand(640_000) - 0.5)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    peaks = []
    for n_clips in (2, 12):
        done = subprocess.run([sys.executable, "-c", code, str(n_clips)], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] < 3000
    assert peaks[1] < peaks[0] + 100
