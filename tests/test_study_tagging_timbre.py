"""The study on tagging: what scales the bands, how clips and patches are scored, and what comes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from _made_sounds import TAGS, write_csv, write_set
from _made_study import made_study

from taggram.errors import ConfigError, DatasetError
from taggram.learning import metrics as m
from taggram.studies._base import Cell
from taggram.studies.tagging_timbre import NETS, TaggingTimbre, TaggingTimbreConfig, band_statistics

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"), n_clips=36)


@pytest.fixture(scope="module")
def values(sound):
    return {"data": "csv", "data.root": str(sound), "data.min_count": 1, "max_epochs": 1}


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("tagging_timbre", values, tmp_path_factory.mktemp("run"))


# -- statistics --------------------------------------------------------------------------------------------------------


def patches_of(*counts):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(count, 1, 4, 5, generator=random) for count in counts]


def test_bands_have_mean_and_deviation_over_patches_and_time():
    clips = patches_of(3, 1, 2)
    mean, std = band_statistics(iter(clips))
    whole = torch.cat(clips).numpy()
    np.testing.assert_allclose(mean, whole.mean((0, 1, 3)), atol=1e-6)
    np.testing.assert_allclose(std, whole.std((0, 1, 3)), rtol=1e-5)


@pytest.mark.parametrize("most", [3, 4, 5])
def test_first_patches_alone_may_count(most):
    clips = patches_of(3, 1, 2)
    mean, _ = band_statistics(iter(clips), most)
    np.testing.assert_allclose(mean, torch.cat(clips)[:most].numpy().mean((0, 1, 3)), atol=1e-6)


def test_no_clip_is_read_beyond_the_last_patch():
    clips = iter(patches_of(2, 2, 2))
    band_statistics(clips, 4)
    assert len(list(clips)) == 1


def test_band_that_never_changes_is_not_scaled():
    assert band_statistics(iter([torch.zeros(2, 1, 4, 5)]))[1].tolist() == [1.0] * 4


def test_statistics_are_computed_once_and_are_those_of_every_network(study):
    mean, std = study.statistics
    assert mean.shape == std.shape == (128,)
    assert (study.files / "statistics-train.npz").exists()
    for method in ("dieleman", "small_rectangular", "timbre"):
        standardize = study.start(Cell(method=method)).standardize
        assert np.array_equal(standardize.mean[:, 0].numpy(), mean)
        assert np.array_equal(standardize.std[:, 0].numpy(), std)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", NETS)
def test_training_is_as_published(study, method):
    config = TaggingTimbreConfig.of({**study.config.to_dict(), "max_epochs": 0})
    fit = TaggingTimbre(config, study.folder, study.data).fit(Cell(method=method))
    assert (fit.optimizer, fit.lr, fit.momentum, fit.batch_size, fit.max_epochs) == ("sgd", 0.1, 0.0, 10, 200)
    assert (fit.l2, fit.l2_of, fit.l2_in_valid_loss, fit.sampling) == (1e-5, "kernels_and_norms", False, "all")
    rule = fit.schedule
    wanted = ("on_improvement", 3, 10, "train_loss")
    assert (rule.rule, rule.patience, rule.stop_after, rule.monitor) == wanted


def test_training_may_be_the_other_one_of_the_code(study):
    config = TaggingTimbreConfig.of({**study.config.to_dict(), "optimizer": "adam"})
    fit = TaggingTimbre(config, study.folder, study.data).fit(Cell(method="timbre"))
    assert (fit.optimizer, fit.lr, fit.schedule.rule, fit.schedule.stop_after) == ("adam", 0.001, "constant", 20)


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("small_rectangular", 73_778),
        ("dieleman", 74_974),
        ("timbre", 74_526),
        ("timbre_x2", 191_006),
        ("timbre_x4", 565_278),
    ],
)
def test_parameters_with_50_tags(study, method, wanted):
    n_head = (448 if method == "small_rectangular" else 100) + 1
    model = study.start(Cell(method=method))
    assert sum(one.numel() for one in model.parameters()) == wanted - (50 - len(TAGS)) * n_head


def test_part_for_validation_is_drawn_where_there_is_none(sound, tmp_path):
    lines = (sound / "clips.csv").read_text().replace(",valid,", ",train,")
    for path in sound.glob("*.wav"):
        (tmp_path / path.name).hardlink_to(path)
    (tmp_path / "clips.csv").write_text(lines)
    values = {"data": "csv", "data.root": str(tmp_path), "data.min_count": 1}
    assert made_study("tagging_timbre", values, tmp_path / "run").fit(Cell(method="timbre")).valid_share == 0.1


def test_folds_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"folds is .*; wanted nothing"):
        made_study("tagging_timbre", {**values, "folds": 1}, tmp_path)


def test_data_without_a_test_is_refused(sound, tmp_path):
    (tmp_path / "000.wav").hardlink_to(sound / "000.wav")
    write_csv(tmp_path, [("000.wav", "train", "low|noisy")])
    values = {"data": "csv", "data.root": str(tmp_path), "data.min_count": 1}
    with pytest.raises(DatasetError, match="no clip in test"):
        made_study("tagging_timbre", values, tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"statistics": "test"}, "statistics is 'test'"),
        ({"optimizer": "rmsprop"}, "optimizer is 'rmsprop'"),
        ({"max_epochs": -1}, "max_epochs is -1"),
        ({"methods": ("timber",)}, "no method 'timber'. Did you mean timbre"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TaggingTimbreConfig.of(settings)


# -- results -----------------------------------------------------------------------------------------------------------


def test_clips_are_scored_by_the_mean_over_their_patches(study):
    torch.manual_seed(0)
    model = study.start(Cell(method="timbre")).eval()
    found = study._tested(model)
    rows = study.sound.index("test")
    with torch.no_grad():
        scores = [
            torch.sigmoid(model.forward_head(model.forward_features(study._patches(model.frontend, int(row))))).mean(0)
            for row in rows
        ]
    wanted = m.mean_over_tags(m.roc_auc(torch.stack(scores).numpy(), study.sound.labels(rows)))
    assert found["roc_auc"] == pytest.approx(wanted)
    assert found["roc_auc_without_choral"] is None


def test_choral_may_be_left_out(study, monkeypatch):
    model = study.start(Cell(method="timbre")).eval()
    monkeypatch.setattr(study.sound, "tags", ("high", "low", "choral"))
    found = study._tested(model)
    kept = [auc for tag, auc in found["by_tag"].items() if tag != "choral"]
    assert found["roc_auc_without_choral"] == pytest.approx(np.mean(kept))
    assert found["roc_auc"] == pytest.approx(np.mean(list(found["by_tag"].values())))


def row(method, roc_auc, **details):
    facts = {"parameters": 74_526, "pr_auc": 0.3, "patch_roc_auc": 0.7, "roc_auc_without_choral": None}
    return {"method": method, "fold": 0, "run": 0, "roc_auc": roc_auc, **facts, **details}


def test_table_stands_beside_that_of_the_paper(study):
    (table,) = study.tables([row("timbre", 0.8), row("timbre", 0.7)])
    assert table.rows[0] == ["proposed", "74,526", "0.750", "0.300", "0.700", "0.889", "75k"]
    assert table.rows[-1][-2:] == ["0.894", "22M"]
    assert "without choral" not in table.columns


def test_table_has_the_mean_without_choral_where_there_is_that_tag(study):
    (table,) = study.tables([row("timbre", 0.8, roc_auc_without_choral=0.81)])
    assert table.rows[0][table.columns.index("without choral")] == "0.810"


@pytest.mark.parametrize(
    ("start", "better", "worse"),
    [
        ("filters of many shapes", "timbre", "small_rectangular"),
        ("they tag better", "timbre", "dieleman"),
        ("twice as many", "timbre_x2", "timbre"),
    ],
)
def test_order_of_the_paper_shows_or_does_not(study, start, better, worse):
    def shows(*rows):
        return next(one.shows for one in study.claims(rows) if one.words.startswith(start))

    assert shows(row(better, 0.9), row(worse, 0.8)) is True
    assert shows(row(better, 0.8), row(worse, 0.9)) is False
    assert shows(row(better, 0.8)) is None


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path, run_taggram):
    words = [f"{key}={value}" for key, value in values.items()]
    out = tmp_path / "run"
    asked = ("study", "tagging_timbre", *words, f"out={out}")
    done = run_taggram(*asked, "methods=timbre,small_rectangular")
    assert done.returncode == 0, done.stderr
    assert "not the data of the paper" in done.stdout
    assert (out / "sizes.png").exists()
    first = json.loads((out / "results.json").read_text())["cells"]
    (out / "cells" / "timbre_fold-0_run-0.json").unlink()  # as if killed before its end: its training is gone on with
    assert run_taggram(*asked, "methods=timbre,small_rectangular,dieleman").returncode == 0
    again = json.loads((out / "results.json").read_text())["cells"]
    assert again[:2] == first
    assert [cell["method"] for cell in again] == ["timbre", "small_rectangular", "dieleman"]
