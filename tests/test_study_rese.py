"""The study on blocks: its networks are those of the papers, are trained as there, looked at and timed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from _made_sounds import write_set
from _made_study import made_study

from taggram.errors import ConfigError
from taggram.look import Excitations
from taggram.studies._base import Cell
from taggram.studies._rese_blocks import METHODS, PUBLISHED, SPREAD, has_excitations, published_rows
from taggram.studies._rese_excitations import load_excitations, save_excitations, summed_up
from taggram.studies._rese_results import claims_of, tables_of
from taggram.studies._trained_grid import Net
from taggram.studies._worker import measure_cell
from taggram.studies.rese import ReSE, ReSEConfig
from taggram.studies.run import page_of

pytestmark = pytest.mark.usefixtures("own_cache")

SMALL = {"n_blocks": 3, "n_samples": 2187}  # of the networks of tests
METHOD = "se_multi"


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    sound = write_set(tmp_path_factory.mktemp("set"), n_clips=24)
    return {
        "data": "csv", "data.root": str(sound), "data.min_count": 1, "methods": METHOD, "se_ratio": 0.125,
        "max_epochs": 1, "n_clips": 4, "n_excited": 3, "n_timed": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("rese", values, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def measured(study):
    """All cells of one network with three blocks, as the workers measure them."""
    with pytest.MonkeyPatch.context() as patch:
        whole = study.net(METHOD)
        patch.setattr(study, "net", lambda _: Net(recipe=whole.recipe, options={**whole.options, **SMALL}))
        return [(cell, measure_cell(study, cell)) for phase in study.phases() for cell in phase]


def other(study, **values):
    """The same study with other settings."""
    return ReSE(ReSEConfig.of({**study.config.to_dict(), **values}), study.folder, study.data)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_network_of_a_method_is_what_its_name_says(study, method):
    block, _, level = method.partition("_")
    options = study.net(method).options
    assert (options["block"], options["multi_level"], options["se_ratio"]) == (block, level == "multi", 0.125)
    model = study.start(Cell(method=method))
    assert (model.n_features, len(model.blocks)) == (1024 if level else 512, 9)


@pytest.mark.parametrize(
    ("settings", "recipe", "ratio"),
    [
        ({}, "se_mtt", 16),
        ({"version": "journal"}, "se_journal_mtt", 0.125),
        ({"version": "journal", "se_ratio": 2}, "se_journal_mtt", 2),
    ],
    ids=str,
)
def test_version_says_the_ratio_unless_it_is_named(study, settings, recipe, ratio):
    net = other(study, **{"se_ratio": 0, **settings}).net("rese1")
    assert (net.recipe, net.options["se_ratio"]) == (recipe, ratio)


def test_journal_scales_its_samples(study):
    assert other(study, version="journal").start(Cell(method="basic")).standardize is not None
    assert study.start(Cell(method="basic")).standardize is None


def test_down_sampling_is_that_of_the_setting(study):
    assert other(study, down_sampling="avg").net("basic").options["down_sampling"] == "avg"


def test_training_is_as_published(study):
    fit = other(study, max_epochs=0).fit(Cell(method=METHOD))
    assert (fit.optimizer, fit.lr, fit.momentum, fit.nesterov, fit.lr_decay) == ("sgd", 0.01, 0.9, True, 1e-6)
    assert (fit.batch_size, fit.sampling, fit.max_epochs, fit.loss) == (23, "all", 100, "binary")
    assert (fit.schedule.rule, fit.schedule.factor, fit.schedule.patience) == ("stages", 0.2, 2)


def test_groups_stand_for_networks():
    assert len(ReSEConfig.of({"methods": "all"}).methods) == 12
    assert all(name.endswith("_multi") for name in ReSEConfig.of({"methods": "multi_level"}).methods)


def test_published_figures_are_those_of_the_poster():
    assert (PUBLISHED["rese2_multi"], PUBLISHED["se_multi"], PUBLISHED["res1_multi"]) == (0.9113, 0.9111, 0.9037)
    assert (PUBLISHED["rese2"], PUBLISHED["se"], PUBLISHED["res1"]) == (0.9102, 0.9083, 0.9048)
    assert (len(published_rows()), len(SPREAD)) == (14, 9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": "poster"}, "version is 'poster'"),
        ({"se_ratio": 0.001}, "se_ratio is 0.001"),
        ({"down_sampling": "mean"}, "down_sampling is 'mean'"),
        ({"n_timed": -1}, "n_timed is -1"),
        ({"n_excited": -1}, "n_excited is -1"),
        ({"methods": "se_mutli"}, "no method 'se_mutli'. Did you mean se_multi"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ReSEConfig.of(settings)


# -- what is measured --------------------------------------------------------------------------------------------------


def test_one_step_is_timed_at_a_time(study):
    phases = other(study, methods="basic,se,rese2").phases()
    assert [[cell.method for cell in phase] for phase in phases] == [
        ["basic", "se", "rese2"],
        ["se", "rese2"],
        ["basic"],
        ["se"],
        ["rese2"],
    ]


def test_no_step_is_timed_where_none_is_wanted(study):
    assert len(other(study, methods="basic", n_timed=0).phases()) == 1


@pytest.mark.parametrize("method", METHODS)
def test_excitations_are_those_of_networks_that_have_some(method):
    assert has_excitations(method) == ("se" in method.split("_")[0].removeprefix("ba"))


def test_network_is_trained_excited_and_timed(measured):
    network, excited, timed = (found for _, found in measured)
    assert 0 <= network["macro_roc_auc"] <= 1
    assert (len(excited["spread"]), excited["n_rising"] + excited["n_falling"] <= 128) == (3, True)
    assert timed["step_s"] > 0


def test_excitations_are_kept(study, measured):
    kept = load_excitations(study.files / f"excitations-{METHOD}.npz")
    assert kept.spread.tolist() == measured[1][1]["spread"]
    assert (kept.first_block.shape[1], len(kept.names)) == (128, 3)


def test_page_and_pictures_show_all_of_it(study, measured):
    rows = study.rows(measured)
    page = page_of(study, rows, len(rows))
    for title in ("Tagging by block", "How much excitations depend on the tag", "excitations of block 1 depend on"):
        assert title in page
    assert "Ratio of squeeze and excitation: 0.125" in page
    names = {"blocks", "tag_dependence", f"excitations_{METHOD}", f"loudness_{METHOD}"}
    assert set(study.draw(rows)) == names


def made(**changes):
    """Excitations of two blocks, whose first falls with loudness in two of three channels."""
    loudness = np.float32([0.1, 0.2, 0.4])
    first = np.stack([0.5 + 0.3 * loudness, 0.9 - loudness, 0.8 - loudness], axis=1).astype(np.float32)
    given = {
        "model": "made", "names": ("a", "b"), "tags": ("classical", "metal"), "tags_by": "caller",
        "n_clips": np.array([1, 2]), "loudness": loudness, "first_block": first,
        "by_tag": (np.float32([[0.3, 0.5, 0.7], [0.1, 0.3, 0.5]]), np.float32([[0.5], [0.5]])),
    }  # fmt: skip
    return Excitations(**{**given, **changes})


def test_excitations_are_summed_up():
    found = summed_up(made())
    assert found["spread"] == pytest.approx([0.1, 0.0])
    assert (found["n_rising"], found["n_falling"], found["n_segments"]) == (1, 2, 3)
    assert found["mean_slope"] == pytest.approx((0.3 - 1 - 1) / 3, rel=1e-4)
    assert found["first_block"] == pytest.approx({"classical": 0.5, "metal": 0.3})


def test_excitations_are_read_as_they_were_written(tmp_path):
    save_excitations(made(), tmp_path / "a.npz")
    found = load_excitations(tmp_path / "a.npz")
    assert (found.model, found.names, found.tags) == ("made", ("a", "b"), ("classical", "metal"))
    for one, wanted in zip((*found.by_tag, found.loudness), (*made().by_tag, made().loudness)):
        np.testing.assert_array_equal(one, wanted)


# -- what comes of it --------------------------------------------------------------------------------------------------


def row(method, area):
    facts = {"macro_roc_auc_interval": [0.7, 0.9], "macro_pr_auc": 0.3, "macro_pr_auc_interval": [0.2, 0.4]}
    return {"method": method, "fold": 0, "run": 0, "macro_roc_auc": area, "parameters": 100, **facts}


def excited(method="se_multi", **changes):
    facts = {"spread": list(SPREAD), "mean_slope": -0.7, "n_rising": 19, "n_falling": 109}
    facts |= {"mean_slope_error": 0.1, "n_segments": 100}
    return {"method": method, "first_block": {"classical": 0.5, "metal": 0.2}, **facts, **changes}


def timed(method, step_s):
    return {"method": method, "step_s": step_s}


def shows(rows, start):
    return next(one.shows for one in claims_of(rows) if one.words.startswith(start))


PAPER = [row(method, area) for method, area in PUBLISHED.items()]


@pytest.mark.parametrize(
    "start", ["several levels help", "they do harm", "squeeze and excitation helps", "squeeze and excitation alone"]
)
def test_published_figures_show_what_the_paper_says(start):
    assert shows(PAPER, start) is True
    assert shows([row(method, 1 - area) for method, area in PUBLISHED.items()], start) is False
    assert shows(PAPER[:1], start) is None


@pytest.mark.parametrize(("step_s", "wanted"), [(1.7, True), (1.2, False), (2.5, False)])
def test_time_is_about_that_of_the_paper_or_is_not(step_s, wanted):
    assert shows([timed("se", 1.0), timed("rese2", step_s)], "ReSE-2 takes") is wanted


def test_published_excitations_show_what_is_said_of_them():
    for start in ("block 1 depends", "the mean excitation", "block 1 is excited more"):
        assert shows([excited()], start) is True
        assert shows([], start) is None


def test_excitations_may_show_otherwise():
    assert shows([excited(spread=[0.01] * 9)], "block 1 depends") is False
    assert shows([excited(mean_slope=0.3)], "the mean excitation") is False
    assert shows([excited(first_block={"classical": 0.2, "metal": 0.5})], "block 1 is excited more") is False
    assert shows([excited(first_block={"low": 0.2})], "block 1 is excited more") is None


@pytest.mark.parametrize("changes", [{"mean_slope": -0.2}, {"n_segments": 99}, {"mean_slope_error": None}], ids=str)
def test_slope_that_may_be_chance_is_not_judged(changes):
    claim = next(one for one in claims_of([excited(**changes)]) if one.words.startswith("the mean excitation"))
    assert claim.shows is None
    assert "109 channels fall" in claim.figures


def test_few_clips_for_testing_judge_nothing_but_time():
    rows = [{**one, "n_test": 9} for one in PAPER]
    rows += [excited(), timed("se", 1.0), timed("rese2", 1.7)]
    judged = [one.words for one in claims_of(rows) if one.shows is not None]
    assert judged == ["ReSE-2 takes about 1.7 times as long to train as SE"]
    assert claims_of(rows)[0].figures.endswith("Only 9 clips for testing; 10 or more are wanted.")
    assert shows([{**one, "n_test": 10} for one in PAPER], "several levels help") is True


def test_error_of_the_slope_is_that_of_least_squares():
    from scipy.stats import linregress

    rng = np.random.default_rng(0)
    loudness, first = rng.random(20, np.float32), rng.random((20, 3), np.float32)
    found = summed_up(made(loudness=loudness, first_block=first))
    wanted = linregress(loudness, first.mean(axis=1))
    assert (found["mean_slope"], found["mean_slope_error"]) == pytest.approx((wanted.slope, wanted.stderr), rel=1e-4)
    assert summed_up(made(loudness=np.full(3, 0.2, np.float32)))["mean_slope_error"] is None


def test_pictures_name_the_network(study, measured):
    figures = study.draw(study.rows(measured))
    for name in (f"excitations_{METHOD}", f"loudness_{METHOD}"):
        assert figures[name].texts[0].get_text().startswith("SE, several levels: ")


def test_table_stands_beside_that_of_the_poster():
    tables = tables_of([row("basic", 0.8), row("se", 0.81), timed("basic", 2.0), timed("se", 3.0), excited("se")])
    assert tables[0].rows == [
        ["Basic", "100", "0.800 (0.700 to 0.900)", "0.300 (0.200 to 0.400)", "2", "1.00", "0.9055"],
        ["SE", "100", "0.810 (0.700 to 0.900)", "0.300 (0.200 to 0.400)", "3", "1.50", "0.9083"],
    ]
    assert tables[1].rows[0] == ["1", "0.0550", "0.0550"]
    assert tables[2].rows == [["SE", "-0.7000 ± 0.1000", "100", "109", "19"]]


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path, run_taggram):
    words = [f"{key}={value}" for key, value in {**values, "n_timed": 0}.items()]
    out = tmp_path / "run"
    done = run_taggram("study", "rese", *words, f"out={out}")
    assert done.returncode == 0, done.stderr
    assert (out / f"loudness_{METHOD}.png").exists()
    first = json.loads((out / "results.json").read_text())["cells"]
    (out / "cells" / f"{METHOD}_of-excitations_fold-0_run-0.json").unlink()
    again = run_taggram("study", "rese", *words, f"out={out}")
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "results.json").read_text())["cells"] == first
