"""The multi-scale study: its training, its pictures, what scales them, and what comes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from _made_sounds import write_csv, write_set
from _made_study import made_study

from taggram.errors import ConfigError
from taggram.learning.epoch_scores import evaluate_features
from taggram.learning.schedules import Schedule
from taggram.studies import _multiscale_results as results
from taggram.studies._base import Cell
from taggram.studies._drawn import drawn_parts
from taggram.studies._multiscale_data import SILENCE, band_statistics
from taggram.studies.multiscale import CLIP_S, NETS, MultiscaleConfig
from taggram.studies.run import run_study

pytestmark = pytest.mark.usefixtures("own_cache")

SHORT_S = 3.0  # 65 frames: one place in time is left


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clips of which two cannot be decoded, one to learn from and one to test on."""
    folder = write_set(tmp_path_factory.mktemp("set"), n_clips=24)
    lines = (folder / "clips.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines[1:]]
    for name in ("broken", "worse"):
        (folder / f"{name}.wav").write_bytes(b"no sound")
    write_csv(folder, [*rows, ("broken.wav", "train", "low|noisy"), ("worse.wav", "test", "high")])
    return folder


@pytest.fixture(scope="module")
def values(root):
    return {
        "data": "csv", "data.root": str(root), "data.min_count": 1, "clip_s": SHORT_S, "max_epochs": 1,
        "feature_workers": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("multiscale", values, tmp_path_factory.mktemp("run"))


def fit_of(study, method="multiscale", **changes):
    config = MultiscaleConfig.of({**study.config.to_dict(), "max_epochs": 0, **changes})
    return type(study)(config, study.folder, study.data).fit(Cell(method=method))


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["multiscale", "two_scales", "one_scale"])
def test_learning_rate_falls_after_epochs_20_30_and_35(study, method):
    fit = fit_of(study, method)
    schedule, rates = Schedule(fit.schedule), []
    for _ in range(fit.max_epochs):
        rates.append(fit.lr * schedule.lr_scale)
        schedule.end_epoch(1.0)
    assert rates == pytest.approx([1e-3] * 20 + [1e-4] * 10 + [1e-5] * 5 + [1e-6] * 5)


def test_training_is_that_of_the_original(study):
    fit = fit_of(study)
    assert (fit.optimizer, fit.batch_size, fit.super_batch, fit.l2, fit.eps) == ("adam", 32, 3000, 0.0, 1e-8)
    assert (fit.keep, fit.sampling, fit.norm_momentum) == ("valid_auc", "all", None)


def test_rewrite_has_its_own_training(study):
    fit = fit_of(study, "rewrite")
    assert (fit.lr, fit.batch_size, fit.super_batch, fit.max_epochs) == (1e-4, 20, None, 100)
    assert (fit.l2, fit.l2_of, fit.schedule.rule) == (5e-5, "all", "constant")


def test_fewer_epochs_keep_the_shares_of_the_rates(study):
    assert fit_of(study, max_epochs=16).schedule.at == (8, 12, 14)


def test_runs_of_3000_clips_are_a_setting(study):
    assert fit_of(study, super_batches=False).super_batch is None


@pytest.mark.parametrize(
    ("method", "options"),
    [("multiscale", (3, True, 0.4)), ("one_scale", (1, True, 0.4)), ("rewrite", (3, False, 0.6))],
)
def test_network_is_that_of_the_method(study, method, options):
    model = study.start(Cell(method=method))
    is_shared = type(model.dropout).__name__ == "SharedDropout"
    scales = sum(stack is not None for stack in (model.fine, model.middle, model.coarse))
    assert (scales, is_shared, model.dropout.p) == options
    assert (model.standardize is None) == (method == "rewrite")


def test_mask_of_dropout_may_be_one_a_clip(study):
    config = MultiscaleConfig.of({**study.config.to_dict(), "shared_mask": False})
    model = type(study)(config, study.folder, study.data).start(Cell(method="multiscale"))
    assert type(model.dropout) is torch.nn.Dropout


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_clip_of_magnatagatune_has_628_frames():
    assert MultiscaleConfig().n_frames == 628


def test_short_clip_is_filled_with_silence(study):
    assert study.pictures.features(0).shape == (65, 128)
    assert study.pictures.features(0)[-1].astype(float) == pytest.approx(np.full(128, SILENCE), abs=0.02)


def test_clips_that_cannot_be_decoded_are_dropped(study):
    assert (len(study.pictures), study.data["zeros"]) == (24, [])


@pytest.fixture(scope="module")
def with_zeros(values, tmp_path_factory):
    return made_study("multiscale", {**values, "unreadable": "zeros"}, tmp_path_factory.mktemp("zeros"))


def test_clips_that_cannot_be_decoded_may_be_kept_as_zeros(with_zeros):
    pictures = with_zeros.pictures
    assert pictures.column("track_id")[-2:].tolist() == ["broken.wav", "worse.wav"]
    assert [pictures.tags_of(row) for row in (24, 25)] == [("low", "noisy"), ("high",)]
    assert (pictures.index("train")[-1], pictures.index("test")[-1]) == (24, 25)
    assert not pictures.features(24).any()
    assert "2 of them zeros" in with_zeros.data_facts()["words"]


def test_zeros_are_refused_where_nothing_knows_their_tags(study, tmp_path):
    asked = {"data.prepared": study.data["prepared"], "clip_s": SHORT_S, "unreadable": "zeros"}
    with pytest.raises(ConfigError, match=r"unreadable is 'zeros'; wanted drop where there is data.prepared alone"):
        made_study("multiscale", asked, tmp_path)


def test_bands_are_scaled_by_all_frames_of_train(study):
    mean, std = study.statistics
    frames = np.concatenate(
        [study.pictures.features(int(row)).astype(np.float64) for row in study.pictures.index("train")]
    )
    np.testing.assert_allclose(mean, frames.mean(0), atol=1e-4)
    np.testing.assert_allclose(std, frames.std(0), rtol=1e-4)
    standardize = study.start(Cell(method="one_scale")).standardize
    assert np.array_equal(standardize.mean[:, 0].numpy(), mean)


def test_bands_may_be_scaled_by_all_parts_and_zeros(with_zeros):
    config = MultiscaleConfig.of({**with_zeros.config.to_dict(), "stats_from": "all"})
    study = type(with_zeros)(config, with_zeros.folder, with_zeros.data)
    wanted = band_statistics(study.pictures, range(26))
    assert np.array_equal(study.statistics[0], wanted[0])
    assert not np.array_equal(study.statistics[0], with_zeros.statistics[0])


def test_parts_are_drawn_where_there_is_no_test(root, values, tmp_path):
    lines = (root / "clips.csv").read_text(encoding="utf-8").replace(",valid,", ",train,").replace(",test,", ",train,")
    (root / "all.csv").write_text(lines, encoding="utf-8")
    study = made_study("multiscale", {**values, "data.file": "all.csv"}, tmp_path)
    sizes = [len(study.pictures.index(part)) for part in ("train", "valid", "test")]
    assert sizes == [17, 2, 5]
    assert study.data_facts()["split"].startswith("drawn")
    assert "divided by chance" in " ".join(study.remarks())


@pytest.mark.parametrize(("n", "wanted"), [(25_863, (18_000, 2_000, 5_863)), (3, (1, 1, 1)), (24, (17, 2, 5))])
def test_shares_of_drawn_parts(n, wanted):
    parts = drawn_parts(n, (18_000, 2_000, 5_863), 0)
    assert tuple(np.bincount(parts, minlength=3)) == wanted


# -- trees -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_trees(tmp_path_factory):
    """Clips without a part for validation, of which two cannot be decoded."""
    folder = write_set(tmp_path_factory.mktemp("more"), n_clips=66)
    text = (folder / "clips.csv").read_text(encoding="utf-8").replace(",valid,", ",train,")
    (folder / "clips.csv").write_text(f"{text}broken.wav,train,low|noisy\nworse.wav,test,high\n", encoding="utf-8")
    for name in ("broken", "worse"):
        (folder / f"{name}.wav").write_bytes(b"no sound")
    asked = {
        "data": "csv", "data.root": str(folder), "data.min_count": 1, "clip_s": SHORT_S, "feature_workers": 1,
        "methods": "boosted_trees", "unreadable": "zeros",
    }  # fmt: skip
    return made_study("multiscale", asked, tmp_path_factory.mktemp("trees"))


def test_trees_learn_from_the_clips_of_the_networks_and_are_tested_on_the_same(with_trees):
    pictures, sound = with_trees.pictures, with_trees.sound()
    assert sound.sample_rate == 16_000

    def ids(data, *parts):
        names = data.column("track_id")
        return {names[row] for part in parts for row in data.index(part)}

    assert ids(sound, "train", "valid") == ids(pictures, "train") - {"broken.wav"}
    assert ids(sound, "test") == ids(pictures, "test") - {"worse.wav"}
    assert len(sound.index("valid")) == 6  # a tenth, as the networks draw it
    assert "neither learn from these" in " ".join(with_trees.remarks())


def test_trees_are_measured_where_they_are_named(study, with_trees):
    assert {cell.method for phase in study.phases() for cell in phase if cell.is_scored} == {*NETS}
    (needed, (trees,)) = with_trees.phases()
    assert [with_trees.measure(cell) for cell in needed if cell.method == "boosted_trees"] == [{"n_clips": 66}]
    found = trees.row(with_trees.measure(trees))
    assert found["n_test"] == 11
    assert found["macro_roc_auc"] > 0.8  # tones and noise are easy to hear
    assert results.tables([found], on_papers_data=False)[0].rows[0][1] == "-"
    assert {*with_trees.draw([found])} == {"scales"}


def test_trees_need_sound_and_clips(study, values, root, tmp_path):
    with pytest.raises(ConfigError, match="clips of train is 16; wanted 40 at least"):
        made_study("multiscale", {**values, "methods": "boosted_trees"}, tmp_path)
    asked = {"data.prepared": study.data["prepared"], "clip_s": SHORT_S, "methods": "boosted_trees"}
    with pytest.raises(ConfigError, match="prepared pictures have no sound"):
        made_study("multiscale", asked, tmp_path)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stats_from": "test"}, "stats_from is 'test'"),
        ({"unreadable": "keep"}, "unreadable is 'keep'"),
        ({"clip_s": 2}, "clip_s is 2; wanted seconds from 2.97"),
        ({"super_batches": 3000}, "super_batches is 3000; wanted True or False"),
        ({"norm_momentum": 1}, "norm_momentum is 1"),
        ({"feature_workers": 0}, "feature_workers is 0"),
        ({"max_epochs": -1}, "max_epochs is -1"),
        ({"methods": "three_scales"}, "no method 'three_scales'"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MultiscaleConfig.of(settings)


def test_folds_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"folds is .*; wanted nothing"):
        made_study("multiscale", {**values, "folds": 1}, tmp_path)


# -- results -----------------------------------------------------------------------------------------------------------


def row(method, roc_auc, **details):
    facts = {"parameters": 2_936_810, "macro_pr_auc": 0.3, "valid_auc": 0.85, "best_epoch": 7, "history": []}
    interval = {"macro_roc_auc_interval": [roc_auc - 0.02, roc_auc + 0.02]}
    return {"method": method, "fold": 0, "run": 0, "macro_roc_auc": roc_auc, **facts, **interval, **details}


NAN = float("nan")


@pytest.mark.parametrize(
    ("areas", "losses", "kept"),
    [
        ((0.7, 0.8, 0.8), (0.5, 0.4, 0.3), 3),  # of equal ones that of the lower loss
        ((0.7, 0.8, 0.8), (0.5, 0.3, 0.4), 2),
        ((NAN, NAN, NAN), (0.3, 0.2, 0.4), 2),  # no tag could be scored: the loss alone decides
    ],
    ids=["the later", "the earlier", "no ROC-AUC"],
)
def test_best_epoch_is_that_whose_weights_are_tested(study, monkeypatch, areas, losses, kept):
    from taggram.learning.fit import FitResult
    from taggram.studies import multiscale

    history = [
        {"epoch": float(epoch), "lr": 0.001, "train_loss": 0.5, "valid_loss": loss, "valid_auc": area}
        for epoch, (area, loss) in enumerate(zip(areas, losses), start=1)
    ]
    cell = Cell(method="one_scale")

    def trained(model, pictures, folder, *_, **__):
        folder.mkdir(exist_ok=True)
        return FitResult(model=model, history=history, folder=folder)

    monkeypatch.setattr(multiscale, "fit_cell", trained)
    found = study.measure(cell)
    assert found["best_epoch"] == kept
    assert results.kept_row(found)["valid_loss"] == losses[kept - 1]
    assert found["valid_auc"] == (None if np.isnan(areas[kept - 1]) else areas[kept - 1])
    json.dumps(found, allow_nan=False)


def test_published_figures_stand_beside_ours_on_its_own_data_alone():
    rows = [row("multiscale", 0.8), row("one_scale", 0.7)]
    table, published = results.tables(rows, on_papers_data=True)
    assert table.rows[0][3:5] == ["0.800", "0.780 to 0.820"]
    assert published.title == "Published"
    assert published.rows[0][1:3] == ["0.904", "0.900"]
    assert results.tables(rows, on_papers_data=False)[1].title == "Published, on other data"


def test_orders_of_scales_are_a_note_and_no_claim():
    rows = [row("multiscale", 0.8), row("two_scales", 0.79), row("one_scale", 0.7)]
    note = results.tables(rows, on_papers_data=False)[0].note
    assert "multiscale 0.800 (0.780 to 0.820) and one_scale 0.700 (0.680 to 0.720)." in note
    assert "multiscale 0.800 (0.780 to 0.820) and two_scales 0.790 (0.770 to 0.810) are too close to tell." in note
    assert len(results.claims(rows, as_published=False)) == 2


@pytest.mark.parametrize(
    ("ours", "trees", "shows"),
    [
        ([0.9], [0.8], True),
        ([0.8], [0.9], False),
        ([0.9], [0.889], None),  # in the interval
        ([0.99, 0.81], [0.75], None),  # runs differ as much
        ([0.9], [], None),
        ([], [0.8], None),
    ],
)
def test_claim_of_the_abstract_is_that_networks_are_clearly_ahead_of_trees(ours, trees, shows):
    rows = [*(row("multiscale", area) for area in ours), *(row("boosted_trees", area) for area in trees)]
    claim = results.claims(rows, as_published=False)[0]
    assert claim.shows is shows
    assert bool(claim.figures) == bool(ours and trees)


@pytest.mark.parametrize(
    ("roc_auc", "as_published", "shows"), [(0.905, True, True), (0.88, True, False), (0.9, False, None)]
)
def test_published_figure_is_of_the_papers_data_alone(roc_auc, as_published, shows):
    found = results.claims([row("multiscale", roc_auc)], as_published=as_published)[-1]
    assert found.shows is shows
    assert f"{roc_auc:.3f}" in found.figures


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        ({}, True), ({"stats_from": "all"}, True), ({"max_epochs": 2}, None), ({"batch_size": 16}, None),
        ({"clip_s": 3.0}, None), ({"norm_momentum": 0.1}, None), ({"super_batches": False}, None),
        ({"shared_mask": False}, None), ({"split": "dir-all"}, None), ({"tags": ["rock"]}, None),
    ],
    ids=str,
)  # fmt: skip
def test_published_figure_is_of_the_published_settings_alone(study, settings, shows):
    from taggram.datasets.mtt import MTT

    facts = {"name": "mtt", "split": "random-18000-2000", "tags": list(MTT.card.vocabularies["mtt50_multiscale"])}
    given = dict(settings)
    facts |= {name: given.pop(name) for name in ("split", "tags") if name in given}
    made = type(study)(MultiscaleConfig(**given), study.folder, {**study.data, "facts": facts})
    assert made.claims([row("multiscale", 0.9)])[-1].shows is shows


def test_tags_that_gain_most_come_first():
    rows = [
        row("multiscale", 0.8, by_tag={"a": 0.7, "b": 0.9, "c": None}),
        row("one_scale", 0.8, by_tag={"a": 0.8, "b": 0.8, "c": 0.5}),
    ]
    assert results.gains_by_tag(rows) == pytest.approx({"b": 0.1, "a": -0.1})
    assert list(results.gains_by_tag(rows)) == ["b", "a"]


def test_counts_of_clips_stand_behind_the_names_of_tags(study):
    history = [{"epoch": 7, "lr": 0.001, "valid_auc": 0.8, "test_auc": 0.8}]
    rows = [
        row(method, 0.8, by_tag={"a": area, "b": 0.6}, n_positive={"a": 2, "b": 1200}, history=history)
        for method, area in (("multiscale", 0.9), ("one_scale", 0.7))
    ]
    (axes,) = study.draw(rows)["gains"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a (2)", "b (1,200)"]
    assert "clips for testing" in axes.get_xlabel()


def test_title_says_what_was_made_smaller(study):
    told = " ".join(study.remarks())
    assert "1 epochs" in told
    assert "Pictures of 3 s" in told
    assert pytest.approx(29.124, abs=0.001) == CLIP_S


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path):
    asked = {**values, "methods": "multiscale,one_scale", "max_epochs": 2}
    first = run_study("multiscale", asked, tmp_path, n_workers=1)
    assert first.failures == ()
    assert {path.stem for path in first.pictures} == {"epochs", "scales", "gains"}
    (three, one) = first.results["cells"]
    lines = (tmp_path / "files" / "multiscale_fold-0_run-0" / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,lr,train_loss,valid_loss,valid_auc,test_auc"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]
    at_best = three["history"][three["best_epoch"]]
    assert at_best["test_auc"] == pytest.approx(three["macro_roc_auc"])
    assert three["parameters"] - one["parameters"] == 2_936_810 - 2_783_240
    told = []
    (tmp_path / "cells" / "one_scale_fold-0_run-0.json").unlink()  # as if killed before its end
    again = run_study("multiscale", asked, tmp_path, n_workers=1, told=lambda cell, *_: told.append(cell.method))
    assert told == ["one_scale"]
    assert json.dumps(again.results) == json.dumps(first.results)


@pytest.mark.parametrize("method", NETS)
def test_test_part_is_scored_by_its_pictures(study, method):
    model = study.start(Cell(method=method)).eval()
    found = evaluate_features(model, study.pictures, "test")
    rows = study.pictures.index("test")
    frames = torch.from_numpy(np.stack([study.pictures.features(int(one)) for one in rows]).astype(np.float32))
    with torch.no_grad():
        logits = model.forward_head(model.forward_features(frames.transpose(1, 2).unsqueeze(1)))
    np.testing.assert_allclose(found.scores, torch.sigmoid(logits).numpy(), atol=1e-6)
    assert np.array_equal(found.labels, study.pictures.labels(rows) > 0)
