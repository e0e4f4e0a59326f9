"""The study on sample-level filters: its networks are those of the paper, are trained as there, and are looked at."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from _made_sounds import write_set
from _made_study import made_study

from taggram.errors import ConfigError
from taggram.look import ascend
from taggram.models import create_model
from taggram.studies._base import Cell
from taggram.studies._sample_level_filters import load_ascents, save_ascents
from taggram.studies._sample_level_members import ALL, BEST, DEFAULT, FAMILIES, published_rows
from taggram.studies._sample_level_results import claims_of, draw, tables_of
from taggram.studies._tagged_sound import score_part
from taggram.studies._trained_grid import n_parameters
from taggram.studies._worker import measure_cell
from taggram.studies.run import page_of
from taggram.studies.sample_level import SampleLevel, SampleLevelConfig

pytestmark = pytest.mark.usefixtures("own_cache")

SMALLEST = "m3n3_19683"
NETWORKS = {"member": "samplecnn", "mel": "samplecnn_mel", "raw": "samplecnn_frame"}
FACTS = {  # of the published table: model, ms, first filter, frames, layers, segments of a clip
    "m2n6_16384": (743, 256, 64, 8, 39),
    "m2n13_16384": (743, 2, 8192, 15, 39),
    "m2n14_32768": (1486, 2, 16_384, 16, 19),
    "m3n3_19683": (893, 729, 27, 5, 32),
    "m3n4_59049": (2678, 729, 81, 6, 10),
    "m3n9_59049": (2678, 3, 19_683, 11, 10),
    "m4n6_16384": (743, 4, 4096, 8, 39),
    "m4n7_65536": (2972, 4, 16_384, 9, 9),
    "m5n5_15625": (709, 5, 3125, 7, 40),
    "m5n6_78125": (3543, 5, 15_625, 8, 8),
}
each_network = pytest.mark.parametrize("method", ALL)
each_member = pytest.mark.parametrize("method", [name for name, one in ALL.items() if one.kind == "member"])


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    sound = write_set(tmp_path_factory.mktemp("set"), n_clips=36)
    return {
        "data": "csv", "data.root": str(sound), "data.min_count": 1, "methods": SMALLEST, "max_epochs": 2,
        "n_clips": 8, "n_units": 2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("sample_level", values, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def measured(study):
    """All cells of one network, as the workers measure them."""
    return [(cell, measure_cell(study, cell)) for phase in study.phases() for cell in phase]


def other(study, **values):
    """The same study with other settings."""
    return SampleLevel(SampleLevelConfig.of({**study.config.to_dict(), **values}), study.folder, study.data)


# -- networks ----------------------------------------------------------------------------------------------------------


def test_all_members_of_the_paper_are_there():
    assert (len([one for one in ALL.values() if one.kind == "member"]), len(FAMILIES) - 2) == (42, 8)


@each_member
def test_stride_times_frames_is_the_input(method):
    one = ALL[method]
    assert one.window == one.hop
    assert one.hop * one.kernel**one.depth == one.n_samples


@pytest.mark.parametrize(("method", "facts"), FACTS.items(), ids=FACTS)
def test_facts_are_those_of_the_published_table(method, facts):
    one = ALL[method]
    assert (round(one.ms), one.hop, one.n_frames, one.n_layers, one.n_segments()) == facts


@each_network
def test_name_is_safe_for_every_file_system(method):
    assert method.replace("_", "").isalnum()
    assert method == method.lower()


@each_network
def test_network_of_a_method_is_what_its_name_says(study, method):
    net, one = study.net(method), ALL[method]
    model = create_model(
        {"member": "samplecnn", "mel": "samplecnn_mel", "raw": "samplecnn_frame"}[one.kind], **net.options
    )
    assert model.frontend.n_samples_for(model.frontend.n_frames) >= one.n_samples
    assert len([name for name in model.layers() if name.startswith("conv")]) == one.n_layers


def test_best_of_each_family_is_measured_unless_others_are_named():
    assert set(BEST.values()) <= set(DEFAULT)
    assert set(FAMILIES["m3_59049"]) <= set(DEFAULT)


def test_group_stands_for_its_networks():
    config = SampleLevelConfig.of({"methods": "mel,m5_15625,mel_729_729"})
    assert config.methods == (*FAMILIES["mel"], *FAMILIES["m5_15625"])
    assert SampleLevelConfig.of({"methods": "all"}).methods == tuple(ALL)


def test_best_published_network_is_3_9():
    areas = {row["method"]: row["macro_roc_auc"] for row in published_rows()}
    assert areas.pop("mel") == 0.9059
    assert (len(areas), max(areas, key=areas.get), areas["m3n9_59049"]) == (42, "m3n9_59049", 0.9055)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["m3n9_59049", "mel_243_81", "raw_243_81"])
def test_training_is_as_published(study, method):
    fit = other(study, max_epochs=0).fit(Cell(method=method))
    assert (fit.optimizer, fit.lr, fit.momentum, fit.nesterov, fit.lr_decay) == ("sgd", 0.01, 0.9, True, 1e-6)
    assert (fit.batch_size, fit.sampling, fit.l2, fit.keep, fit.loss) == (23, "all", 0.0, "valid_loss", "binary")
    rule = fit.schedule
    assert (rule.rule, rule.factor, rule.patience, rule.n_drops) == ("stages", 0.2, 3, 4)


def test_training_may_be_made_shorter(study):
    smaller = {"max_epochs": 7, "n_stages": 2, "patience": 1, "batch_size": 5, "n_patches": 3, "norm_momentum": 0.1}
    changed = other(study, **smaller)
    fit = changed.fit(Cell(method=SMALLEST))
    assert (fit.max_epochs, fit.schedule.n_drops, fit.schedule.patience) == (7, 1, 1)
    assert (fit.batch_size, fit.patches_per_track, fit.norm_momentum) == (5, 3, 0.1)
    (told,) = changed.remarks()
    for words in ("7 epochs", "2 stages", "patience of 1", "batches of 5", "3 patches", "momentum 0.1", "8 clips"):
        assert words in told


def test_same_clips_are_learnt_from_by_all_networks(study):
    sound = study.sound()
    drawn = study._learnt_from(sound).index("train")
    assert (len(drawn), len(sound.index("train"))) == (8, 24)
    assert np.array_equal(study._learnt_from(sound).index("train"), drawn)


def test_networks_begin_with_weights_of_their_own(study):
    first, again, another = (study.start(Cell(method=SMALLEST, run=run)).head.weight for run in (0, 0, 1))
    assert np.array_equal(first.detach(), again.detach())
    assert not np.array_equal(first.detach(), another.detach())


def test_norms_may_be_left_out_of_the_count():
    model = create_model("samplecnn", n_tags=50)
    assert (n_parameters(model, with_norms=False), n_parameters(model)) == (1_863_986, 1_869_874)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_stages": -1}, "n_stages is -1"),
        ({"norm_momentum": 1.0}, "norm_momentum is 1.0"),
        ({"keep": "best"}, "keep is 'best'"),
        ({"n_units": -1}, "n_units is -1"),
        ({"filters_of": "mel_243_81"}, "filters_of is 'mel_243_81'"),
        ({"methods": "m3n9_59048"}, "no method 'm3n9_59048'. Did you mean m3n9_59049"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SampleLevelConfig.of(settings)


def test_filters_of_a_network_that_is_not_trained_are_refused(study):
    with pytest.raises(ConfigError, match="which is none of methods"):
        other(study, filters_of="m3n9_59049").phases()


def test_folds_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"folds is .*; wanted nothing"):
        made_study("sample_level", {**values, "folds": 1}, tmp_path)


# -- what is measured --------------------------------------------------------------------------------------------------


def test_network_is_trained_tested_and_kept(study, measured):
    cell, found = measured[0]
    assert cell.key == "m3n3_19683_fold-0_run-0"
    assert study.network_of(cell).exists()
    assert (found["n_test"], found["n_epochs"], found["n_patches"]) == (6, 2, 1)
    assert 0 <= found["macro_roc_auc"] <= 1
    assert found["parameters_without_norms"] == 677_426 - 47 * 513


@torch.no_grad()
def test_clip_has_the_mean_of_the_scores_of_its_patches_and_not_of_the_logits(study):
    torch.manual_seed(0)
    sound, n_samples = study.sound(), 729
    model = create_model("samplecnn", n_tags=len(sound.tags), kernel=3, depth=3, n_samples=n_samples).eval()
    model.tags = sound.tags
    found, apart = score_part(model, sound).scores, []
    for scores, row in zip(found, sound.index("test"), strict=True):
        samples = sound.whole(int(row))
        patches = samples[: len(samples) // n_samples * n_samples].reshape(-1, n_samples)
        logits = model(torch.from_numpy(patches))
        np.testing.assert_allclose(scores, logits.sigmoid().mean(0).numpy(), atol=1e-5)
        apart.append(np.abs(scores - logits.mean(0).sigmoid().numpy()).max())
    assert max(apart) > 1e-3


def test_filters_are_looked_at_and_kept(study, measured):
    cell, found = measured[1]
    assert (cell.key, found["layers"]) == (
        "m3n3_19683_of-filters_fold-0_run-0",
        ["conv1", "conv2", "conv3", "conv4", "conv5"],
    )
    kept = load_ascents(study.files / f"filters-{SMALLEST}.npz")
    assert [ascent.inputs.shape[0] for ascent in kept] == [2] * 5
    assert found["convexity"] == [None] * 5  # two units of a layer are too few


def test_filters_of_3_9_are_those_of_the_paper(study):
    assert other(study, methods="m2n6_16384,m3n9_59049,m2n14_32768").phases()[1][0].method == "m3n9_59049"
    assert other(study, methods="m2n6_16384,m2n14_32768").phases()[1][0].method == "m2n14_32768"
    assert len(other(study, methods="mel").phases()) == 1


def test_ascents_are_read_as_they_were_written(tmp_path):
    model = create_model("samplecnn", kernel=3, depth=3, n_samples=81)
    (wanted,) = written = [ascend(model, "conv1", units=2, n_steps=1)]
    save_ascents(written, tmp_path / "a.npz")
    (found,) = load_ascents(tmp_path / "a.npz")
    for name in ("units", "start", "inputs", "activations", "dead"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert (found.model, found.layer, found.n_units, found.sample_rate) == ("samplecnn", "conv1", 128, 22_050)


def test_page_and_pictures_show_all_of_it(study, measured):
    rows = study.rows(measured)
    page = page_of(study, rows, len(rows))
    assert "| 3^3 | 19,683 | 893 | 729, 729 | 27 | 5 | 1 |" in page
    assert "Peaks of the filters of 3^3 by layer" in page
    assert set(study.draw(rows)) == {"first_filter", "filters", "filter_peaks"}


# -- what comes of it --------------------------------------------------------------------------------------------------


def row(method, area, low=None, high=1.0):
    facts = {"macro_roc_auc_interval": [low, high], "macro_pr_auc": 0.3, "macro_pr_auc_interval": [0.2, 0.4]}
    return {
        "method": method, "fold": 0, "run": 0, "macro_roc_auc": area, "n_patches": 10.0,
        "parameters_without_norms": 1_863_986, **facts,
    }  # fmt: skip


def shows(rows, start):
    return next(one.shows for one in claims_of(rows) if one.words.startswith(start))


PAPER = [row(name, one.published) for name, one in ALL.items() if one.published is not None]


@pytest.mark.parametrize(
    "start", ["the smaller the first filter", "with as much sound, 10 or more", "1 to 5 s of sound"]
)
def test_published_figures_show_what_the_paper_says(start):
    assert shows(PAPER, start) is True
    assert shows([{**one, "macro_roc_auc": 1 - one["macro_roc_auc"]} for one in PAPER], start) is False
    assert shows(PAPER[:1], start) is None


def test_sample_level_comes_up_to_mels_or_does_not():
    start = "the best network on samples"
    assert shows([row("m3n9_59049", 0.9055), row("mel_243_81", 0.9059, 0.904)], start) is True
    assert shows([row("m3n9_59049", 0.9055), row("mel_243_81", 0.9059, 0.9057)], start) is False
    assert shows([row("m3n9_59049", 0.9055)], start) is None


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([0.0, 0.1, 0.3], True), ([0.3, 0.1, 0.0], False), ([0.1, None, 0.4], True), ([None, 0.2], None)],
)
def test_filters_become_more_convex_or_do_not(values, wanted):
    looked = looked_at(values)
    assert shows([looked], "the peaks of the filters") is wanted


def looked_at(values):
    layers = [f"conv{number}" for number, _ in enumerate(values, 1)]
    return {"method": "m3n9_59049", "convexity": values, "layers": layers, "n_dead": [0] * len(values)}


def test_layer_with_few_live_units_is_said_to_be_left_out():
    claim = claims_of([looked_at([0.1, None, 0.4])])[-1]
    assert claim.figures.endswith("0.10, 0.40; rank correlation 1.00; conv2 left out, with fewer than 8 live units.")


@pytest.mark.parametrize(
    ("ours", "mel", "low", "high"), [(0.80, 0.81, 0.75, 0.86), (0.55, 0.57, 0.53, 0.60)], ids=["wide", "near chance"]
)
def test_what_may_be_chance_is_not_held_against_mels(ours, mel, low, high):
    rows = [row("m3n9_59049", ours), row("mel_243_81", mel, low, high)]
    claim = next(one for one in claims_of(rows) if one.words.startswith("the best network on samples"))
    assert claim.shows is None
    assert f"{mel:.3f}, whose interval is {low:.3f} to {high:.3f}" in claim.figures


def test_few_clips_for_testing_judge_nothing():
    assert all(one.shows is None for one in claims_of([{**one, "n_test": 2} for one in PAPER]))


def test_first_filter_is_drawn_with_intervals_and_the_mel_as_a_level():
    rows = [row("m3n9_59049", 0.8, 0.7, 0.9), row("m3n4_59049", 0.6), row("mel_243_81", 0.75, 0.65, 0.85)]
    ours, published = draw(rows, "clips")["first_filter"].axes
    assert [line.get_ydata() for line in ours.lines if list(line.get_xdata()) == [3, 3]] == [pytest.approx([70, 90])]
    for axes, level in ((ours, 75), (published, 90.59)):
        assert any(line.get_linestyle() == "--" and line.get_ydata()[0] == pytest.approx(level) for line in axes.lines)
    assert ours.get_legend_handles_labels()[1] == ["3^n, 59,049", "3^6, mel"]


def test_pictures_of_filters_name_the_network(study, measured):
    figures = study.draw(study.rows(measured))
    for name in ("filters", "filter_peaks"):
        assert figures[name].texts[0].get_text().startswith("3^3 on 19,683 samples: ")


def test_table_is_in_the_order_of_the_paper_with_its_figures():
    (table,) = tables_of([row("mel_243_81", 0.8), row("m3n9_59049", 0.7, 0.6)])
    assert table.rows[0][0] == "3^9"
    assert table.rows[0][7:] == ["1,863,986", "0.700 (0.600 to 1.000)", "0.300 (0.200 to 0.400)", "0.9055"]
    assert (table.rows[1][0], table.rows[1][-1]) == ("3^6, mel", "-")
    assert table.rows[-1][-1] == "0.9059"


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path, run_taggram):
    words = [f"{key}={value}" for key, value in values.items() if key != "methods"]
    out = tmp_path / "run"
    done = run_taggram("study", "sample_level", *words, f"methods={SMALLEST}", f"out={out}")
    assert done.returncode == 0, done.stderr
    assert "not the data of the paper" in done.stdout
    assert (out / "first_filter.png").exists()
    first = json.loads((out / "results.json").read_text())["cells"]
    (out / "cells" / f"{SMALLEST}_fold-0_run-0.json").unlink()  # as if killed before its end
    again = run_taggram("study", "sample_level", *words, f"methods={SMALLEST},mel_729_729", f"out={out}")
    assert again.returncode == 0, again.stderr
    cells = json.loads((out / "results.json").read_text())["cells"]
    assert [cell for cell in cells if cell["method"] == SMALLEST] == first
    assert [cell["method"] for cell in cells] == [SMALLEST, "mel_729_729", SMALLEST]
