"""The study on the syllables of jingju: cells, what is trained on, what is found, tables, and bad input."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from _made_study import made_study

from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning.onset_decoding import HOP_S
from taggram.learning.onset_scores import TOLERANCES_S
from taggram.models import create_model
from taggram.models._saved import load_model
from taggram.studies._base import Cell
from taggram.studies._jingju_results import claims_of
from taggram.studies._made_singing import RATE, write_score, write_textgrid, write_wav
from taggram.studies._phrases import LISTS
from taggram.studies._recording_frames import frame_at, keep_array
from taggram.studies.jingju import NETWORKS, Jingju, JingjuConfig
from taggram.studies.run import run_study

TINY = {"n_phrases": 4, "max_epochs": 1, "filters": 20, "methods": "schluter,score_only"}
WITH, WITHOUT = {"score": True}, {"score": False, "picker": "back"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jingju")
    return run_study("jingju", TINY, folder, n_workers=1)


@pytest.fixture
def study(tmp_path):
    """A study on made-up singing, of which nothing is measured yet."""
    return made_study("jingju", {**TINY, "methods": ()}, tmp_path)


def filled(study, odf_of):
    """Give every network of a study onset functions that are made up from the phrase."""
    odfs = {f"{number}-{phrase.number}": odf_of(phrase) for number, phrase in study.tests}
    for network in NETWORKS:
        with (study.files / f"{network}-0.npz").open("wb") as file:
            np.savez(file, n_parameters=1, n_epochs=1, n_samples=1, **odfs)
    return study


def perfect(phrase):
    odf = np.full(frame_at(phrase.end_s) - frame_at(phrase.start_s), 0.01)
    for start in phrase.starts_s:
        odf[frame_at(start) - frame_at(phrase.start_s)] = 1.0
    return odf


# -- cells -------------------------------------------------------------------------------------------------------------


def test_cells_come_in_phases(study):
    frames, trained, found = study.phases()
    assert len(frames) == len(study.recordings) == 4
    assert [cell.details["network"] for cell in trained] == ["temporal", "timbral", "schluter"]
    assert {cell.is_scored for cell in (*frames, *trained)} == {False}
    kinds = [(cell.method, cell.details.get("picker")) for cell in found]
    ways = itertools.product(("temporal", "timbral", "fusion", "schluter"), (None, "back", "maxima"))
    assert kinds == [*ways, ("score_only", None)]


def test_fusion_asks_for_both_networks(tmp_path):
    study = made_study("jingju", {**TINY, "methods": "fusion"}, tmp_path)
    assert [cell.details["network"] for cell in study.phases()[1]] == ["temporal", "timbral"]


def test_score_alone_asks_for_no_network(tmp_path):
    study = made_study("jingju", {**TINY, "methods": "score_only"}, tmp_path)
    assert study.phases()[1] == []


@pytest.mark.parametrize(
    ("network", "filters", "n_parameters"),
    [("temporal", 32, 210_403), ("temporal", 20, 132_127), ("timbral", 32, 185_420), ("timbral", 20, 119_432)],
)
def test_networks_have_the_published_sizes(network, filters, n_parameters):
    name, options = NETWORKS[network]
    model = create_model(name, n_tags=2, width=filters, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters


def test_baseline_has_the_published_size(run):
    row = next(row for row in run.results["cells"] if row["method"] == "schluter")
    assert row["n_parameters"] == 535_290


# -- what is trained on ------------------------------------------------------------------------------------------------


def with_frames(study):
    """Put frames in place of spectrograms."""
    for number, recording in enumerate(study.recordings):
        n_frames = frame_at(recording.phrases[-1].end_s) + 30
        keep_array(study.files / "frames" / f"{number:03}.npy", np.zeros((n_frames, 80), np.float32))
    return study


def test_frames_of_the_phrases_for_training_are_trained_on(study):
    examples = with_frames(study).examples("temporal")
    phrases = [phrase for one in study.recordings if one.part == "train" for phrase in one.phrases]
    n_frames = sum(frame_at(one.end_s) - frame_at(one.starts_s[0]) for one in phrases)
    n_onsets = sum(len(one.texts) for one in phrases)
    assert len(set(examples.places.tolist())) in range(n_frames, n_frames + len(phrases) + 1)
    assert int(examples.labels.sum()) == 7 * n_onsets - 3 * len(phrases)  # nothing before the first onset


def test_proposed_networks_have_both_weights_and_the_baseline_those_of_classes(study):
    weights = {network: with_frames(study).examples(network).weights for network in ("temporal", "schluter")}
    assert len(torch.unique(weights["schluter"])) == 2
    assert len(torch.unique(weights["temporal"])) == 8


def test_weighting_can_be_that_of_samples(tmp_path):
    study = with_frames(made_study("jingju", {**TINY, "weighting": "sample"}, tmp_path))
    assert torch.unique(study.examples("timbral").weights).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_annotation_may_go_on_behind_the_sound(study):
    n_all = len(with_frames(study).examples("temporal"))
    last = study.recordings[0].phrases[-1]
    keep_array(study.files / "frames" / "000.npy", np.zeros((frame_at(last.end_s) - 5, 80), np.float32))
    assert n_all - 12 <= len(study.examples("temporal")) < n_all


# -- what is found -----------------------------------------------------------------------------------------------------


def test_perfect_onset_function_finds_every_syllable(study):
    measured = filled(study, perfect).measure(Cell(method="temporal", details=WITH))
    # A frame is 10 ms, so that nothing is as exact as the annotation.
    assert (measured["onset_f1"], measured["segment_f1"], measured["mir_eval_f"]) == (1.0, 1.0, 1.0)
    assert measured["n_relaxed"] == 0


def test_constant_onset_function_finds_what_the_score_alone_finds(study):
    filled(study, lambda phrase: np.full(len(perfect(phrase)), 0.4))
    for number, phrase in study.tests:
        found, _ = study.boundaries(Cell(method="temporal", details=WITH), number, phrase)
        alone, _ = study.boundaries(Cell(method="score_only", details=WITH), number, phrase)
        # Lengths are whole frames, so that roundings of half a frame add up until a long syllable makes good for them.
        assert np.abs(np.subtract(found, alone)).max() <= 4


def test_without_the_score_nothing_hangs_on_it(study, tmp_path):
    filled(study, perfect)
    cell = Cell(method="temporal", details=WITHOUT)
    before = study.measure(cell)
    for recording in study.recordings:
        for phrase in recording.phrases:
            object.__setattr__(phrase, "durations", tuple(reversed(phrase.durations)))
    assert study.measure(cell) == before


def test_onset_functions_are_smoothed_before_they_are_fused(study):
    filled(study, perfect)
    number, phrase = study.tests[0]
    odf = study.onset_function("fusion", 0, number, phrase)
    assert len(odf) == len(perfect(phrase))
    assert np.count_nonzero(odf > 0.2) == pytest.approx(3 * len(phrase.texts), abs=3)


def test_found_syllables_are_written_as_lab(run):
    folder = run.folder / "files" / "lab" / "score_only_score-True_fold-0_run-0" / "made"
    first = sorted(folder.iterdir())[0]
    lines = [line.split(" ") for line in first.read_text(encoding="utf-8").splitlines()]
    assert lines[0][0] == "0.000"
    assert all(float(start) <= float(end) and label for start, end, label in lines)
    assert [end for _, end, _ in lines[:-1]] == [start for start, _, _ in lines[1:]]


def test_network_whose_training_failed_is_named(study):
    with pytest.raises(TrainingError, match="onset functions of schluter, run 3, are missing"):
        study.onset_function("schluter", 3, *study.tests[0])


def test_phrase_with_too_many_syllables_is_told(study):
    number, phrase = study.tests[0]
    filled(study, lambda _: np.full(3, 0.5))
    with pytest.raises(DatasetError, match=r"has 3 frames for \d+ syllables of the score"):
        study.boundaries(Cell(method="temporal", details=WITH), number, phrase)


# -- the whole run -----------------------------------------------------------------------------------------------------


def test_every_tolerance_is_measured(run):
    for row in run.results["cells"]:
        assert [float(tolerance) for tolerance in row["tolerances_s"]] == list(TOLERANCES_S)
        f1s = [at["onsets"]["f1"] for at in row["tolerances_s"].values()]
        assert f1s == sorted(f1s)


def test_with_the_score_as_many_are_found_as_there_are(run):
    for row in run.results["cells"]:
        counts = row["tolerances_s"]["0.05"]["onsets"]
        if row["score"]:
            assert counts["n_detected"] == counts["n_annotated"]
            assert counts["precision"] == counts["recall"] == counts["f1"]


def test_table_says_that_the_singing_is_made_up(run):
    assert run.table.startswith(
        "# Syllables of a cappella singing, with the score and without, on made-up singing, which is not the data of "
        "the paper"
    )


def test_pictures_are_drawn(run):
    assert sorted(path.name for path in run.pictures) == ["phrase.png", "tolerances.png"]
    assert min(path.stat().st_size for path in run.pictures) > 10_000


def test_trained_network_is_kept(run):
    model = load_model(run.folder / "files" / "schluter-0.safetensors")
    assert model.standardize.is_set


def test_a_second_call_measures_nothing_and_finds_the_same(run):
    told = []
    again = run_study("jingju", TINY, run.folder, n_workers=1, told=lambda cell, *_: told.append(cell))
    assert told == []
    assert (again.results, again.table) == (run.results, run.table)


def test_missing_cell_is_measured_again_to_the_same_result(run):
    path = run.folder / "cells" / "schluter_score-True_fold-0_run-0.json"
    before = json.loads(path.read_text())
    path.unlink()
    told = []
    again = run_study("jingju", TINY, run.folder, n_workers=1, told=lambda cell, *_: told.append(cell.key))
    assert (told, json.loads(path.read_text())) == ([path.stem], before)
    assert again.results == run.results


@pytest.mark.slow
def test_one_seed_gives_the_same_results_elsewhere(run, tmp_path):
    again = run_study("jingju", TINY, tmp_path, n_workers=2)
    assert again.results["cells"] == run.results["cells"]


def test_another_seed_is_another_singing(run):
    with pytest.raises(TrainingError, match="was begun with"):
        run_study("jingju", {**TINY, "seed": 1}, run.folder, n_workers=1)


def test_other_settings_are_refused_before_any_data_is_made(run, monkeypatch):
    monkeypatch.setattr(Jingju, "prepare", lambda *_: pytest.fail("data was made"))
    with pytest.raises(TrainingError, match="was begun with filters"):
        run_study("jingju", {**TINY, "filters": 32 if run.results["settings"]["filters"] == 20 else 20}, run.folder)


def test_what_is_asked_for_twice_is_measured_once(tmp_path):
    study = made_study("jingju", {**TINY, "methods": "score_only,score_only"}, tmp_path)
    assert [cell.method for cell in study.phases()[2]] == ["score_only"]


def test_command_runs_the_study(run_taggram, tmp_path):
    words = ["n_phrases=4", "methods=score_only", f"out={tmp_path}", "--workers", "1"]
    done = run_taggram("study", "jingju", *words)
    assert done.returncode == 0, done.stderr
    assert "| score_only | with the score |" in done.stdout


# -- claims ------------------------------------------------------------------------------------------------------------


def row_of(method, score, f1, picker="back"):
    return {"method": method, "score": score, "picker": picker, "onset_f1": f1}


def test_claims_show_where_the_score_helps():
    rows = [row_of("temporal", True, 0.9), row_of("temporal", False, 0.7), row_of("score_only", True, 0.2)]
    assert [claim.shows for claim in claims_of(rows, "score_only")] == [True, True]


def test_claims_do_not_show_where_one_network_does_without():
    rows = [row_of("temporal", True, 0.9), row_of("temporal", False, 0.7), row_of("timbral", True, 0.6)]
    rows += [row_of("timbral", False, 0.6), row_of("score_only", True, 0.65)]
    assert [claim.shows for claim in claims_of(rows, "score_only")] == [False, False]


def test_claims_take_the_better_way_to_pick_onsets():
    rows = [row_of("temporal", True, 0.9), row_of("temporal", False, 0.2), row_of("temporal", False, 0.95, "maxima")]
    assert claims_of(rows, "score_only")[0].shows is False


def test_claims_of_what_was_not_measured_are_open():
    assert [claim.shows for claim in claims_of([row_of("score_only", True, 0.2)], "score_only")] == [None, None]


# -- the corpus itself -------------------------------------------------------------------------------------------------


def write_corpus(root, made):
    """Write a phrase of the made-up singing as every recording of the paper's lists."""
    for group, parts in LISTS.items():
        for name in (*parts["train"], *parts["test"]):
            folder = root / group
            write_wav(folder / "audio" / f"{name}.wav", made.samples[: RATE // 10])
            write_textgrid(folder / "annotation" / f"{name}.TextGrid", made.tiers, len(made.samples) / RATE)
            write_score(folder / "scoreDianSilence" / f"{name}.csv", made.score)
    return root


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from taggram.studies._made_singing import make_recordings

    return write_corpus(tmp_path_factory.mktemp("corpus"), next(make_recordings(4, 0)))


def test_corpus_of_the_paper_is_read(corpus, tmp_path):
    study = made_study("jingju", {"data": "jingju", "data.root": str(corpus)}, tmp_path)
    assert (len(study.recordings), len(study.tests)) == (36, 9)
    facts = study.data_facts()
    assert (facts["name"], facts["n_phrases"]) == ("jingju", {"train": 27, "test": 9})
    assert facts["name"] in study.paper_data


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "mtt", "data.root": "x"}, "this study takes data=jingju data.root=DIR, or nothing"),
        ({"data.root": "x"}, "this study takes data=jingju data.root=DIR, or nothing"),
        ({"data": "jingju"}, "data.root is ''; wanted the folder with QueenMary"),
        ({"data": "jingju", "data.root": "x", "data.split": "S"}, r"data\.split: this study takes"),
        ({"data.prepared": "x"}, r"data\.prepared: this study takes"),
        ({"folds": 1}, "folds is .*; wanted nothing"),
    ],
)
def test_data_that_makes_no_sense_is_refused(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        made_study("jingju", values, tmp_path)


def test_missing_corpus_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no .*; data\.root is the folder with QueenMary"):
        made_study("jingju", {"data": "jingju", "data.root": str(tmp_path / "none")}, tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"filters": 64}, "filters is 64; wanted one of 32, 20"),
        ({"weighting": "both"}, "weighting is 'both'; wanted one of 'sample', 'class', 'product'"),
        ({"resolve": "last"}, "resolve is 'last'"),
        ({"fusion": "sum"}, "fusion is 'sum'"),
        ({"dropout": 0.3}, "dropout is 0.3"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"n_phrases": 3}, "n_phrases is 3; wanted a whole number from 4 on"),
        ({"methods": "temporl"}, "there is no method 'temporl'. Did you mean temporal"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        JingjuConfig.of(values)


# -- whether it works --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_network_with_the_score_finds_most_onsets(tmp_path):
    values = {"methods": "temporal,score_only", "max_epochs": 6, "filters": 20}
    cells = run_study("jingju", values, tmp_path, n_workers=1).results["cells"]
    f1 = {(row["method"], row.get("picker")): row["onset_f1"] for row in cells}
    assert f1["temporal", None] >= 0.9
    assert f1["temporal", None] > max(f1["temporal", "back"], f1["temporal", "maxima"])
    assert f1["temporal", None] > f1["score_only", None] + 0.2


def test_onset_function_has_a_value_every_10_ms():
    frontend = create_model("syllable_onset").frontend
    assert frontend.hop_length / frontend.sample_rate == HOP_S
