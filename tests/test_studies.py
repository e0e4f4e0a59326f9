"""The frame of the studies: names, settings, tables, run folders, cells that fail, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taggram.apps import _studying
from taggram.errors import ConfigError, DatasetError, TrainingError, UnknownNameError
from taggram.studies import STUDIES, find_study, list_studies
from taggram.studies._base import Cell, StudyConfig
from taggram.studies._tables import Table, percent
from taggram.studies.few_data import FewDataConfig
from taggram.studies.run import _Pace, run_study

PAGES = Path(__file__).parents[1] / "docs" / "studies"
SMALL = {"n_phrases": 4, "methods": "score_only"}  # of jingju: made-up singing and no network


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_studies())
def test_study_is_found_by_its_name(name):
    assert find_study(name).name == name


@pytest.mark.parametrize("name", list_studies())
def test_study_has_a_page_with_its_command(name):
    assert f"taggram study {name} " in (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert f"[{name}.md]({name}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")


def test_unknown_study_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no study named 'elmarq'\. Did you mean elmarc"):
        find_study("elmarq")


# -- settings ----------------------------------------------------------------------------------------------------------


def test_words_with_commas_are_lists():
    config = FewDataConfig.of({"methods": "sb_cnn, vgg", "n": "1,all", "folds": 2})
    assert (config.methods, config.n, config.folds) == (("sb_cnn", "vgg"), (1, "all"), (2,))


def test_what_is_said_twice_counts_once():
    assert FewDataConfig.of({"methods": "vgg,sb_cnn,vgg", "n": [2, 1, 2]}).methods == ("vgg", "sb_cnn")


def test_settings_of_the_data_are_its_own():
    config = StudyConfig.of({"data": "csv", "data.root": "sounds", "data.label": "genre"})
    assert (config.data.name, config.data.root, dict(config.data.options)) == ("csv", "sounds", {"label": "genre"})
    assert StudyConfig.of(config.to_dict()) == config


def test_cells_may_be_added_and_the_data_moved_later():
    free = {"methods", "runs", "folds", "device", "data.root", "n", "vggish_weights"}
    assert FewDataConfig().to_dict().keys() - FewDataConfig().fixed().keys() == free


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": "vgg,sbcnn"}, r"no method 'sbcnn'\. Did you mean sb_cnn"),
        ({"folds": 0}, "folds is"),
        ({"seed": -1}, "seed is -1"),
        ({"epochs": 3}, "epochs"),
    ],
    ids=str,
)
def test_setting_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        FewDataConfig.of(values)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_table_is_markdown():
    table = Table("Title", ["a", "b"], [["1", "x|y"]], "Note.")
    assert table.markdown() == "## Title\n\n| a | b |\n| --- | --- |\n| 1 | x\\|y |\n\nNote."


@pytest.mark.parametrize(
    ("shares", "wanted"), [([], "-"), ([0.5], "50.0"), ([0.5, 0.7], "60.0 ± 10.0"), ([float("nan"), 0.5], "nan")]
)
def test_shares_are_written_in_percent_with_the_deviation_of_all_of_them(shares, wanted):
    assert percent(shares) == wanted


# -- run folders -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study("jingju", SMALL, tmp_path_factory.mktemp("run"), n_workers=2)


def test_results_say_what_was_measured_on_what(run):
    results = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    assert {"study", "data", "cells", "published", "claims", "failures"} <= results.keys()
    assert (results["study"], results["data"]["name"], results["failures"]) == ("jingju", "made_singing", [])
    assert {"method", "fold", "run"} <= results["cells"][0].keys()


def test_title_says_that_the_data_is_not_that_of_the_paper(run):
    assert run.table.splitlines()[0].endswith(", on made-up singing, which is not the data of the paper")


def test_second_call_measures_nothing(run):
    told = []
    again = run_study("jingju", SMALL, run.folder, n_workers=1, told=lambda *cell: told.append(cell))
    assert (told, again.results, again.table) == ([], run.results, run.table)


def test_most_memory_of_a_process_is_kept(run):
    kept = run.folder / "memory.json"
    if run.peak_mb is None:
        pytest.skip("this system does not say how much memory a process held")
    assert json.loads(kept.read_text(encoding="utf-8")) == {"peak_mb": run.peak_mb}
    assert 20 < run.peak_mb < 4000


def test_cell_that_was_cut_short_is_measured_again(run):
    (cell,) = (run.folder / "cells").glob("score_only*.json")
    cell.write_text(cell.read_text(encoding="utf-8")[:-1], encoding="utf-8")
    assert run_study("jingju", SMALL, run.folder, n_workers=1).results == run.results


def test_cell_that_fails_costs_no_other_and_is_tried_again(tmp_path):
    run_study("jingju", SMALL, tmp_path, n_workers=1)
    frames = tmp_path / "files" / "frames" / "000.npy"
    frames.unlink()
    frames.mkdir()  # nothing can be written there
    for cell in (tmp_path / "cells").glob("frames_recording-0*"):
        cell.unlink()
    failed = run_study("jingju", SMALL, tmp_path, n_workers=1)
    assert (len(failed.failures), len(failed.results["cells"])) == (1, 1)
    frames.rmdir()
    told = []
    assert run_study("jingju", SMALL, tmp_path, n_workers=1, told=lambda *cell: told.append(cell)).failures == ()
    assert len(told) == 1


def test_other_sound_under_the_same_names_is_refused(tmp_path):
    run_study("jingju", SMALL, tmp_path, n_workers=1)
    sound = next((tmp_path / "files").rglob("*.wav"))
    data = bytearray(sound.read_bytes())
    data[1000] ^= 1
    sound.write_bytes(data)
    with pytest.raises(TrainingError, match="was begun with other sound"):
        run_study("jingju", SMALL, tmp_path, n_workers=1)


def test_cells_that_are_not_asked_for_now_are_told(tmp_path):
    run_study("jingju", SMALL, tmp_path, n_workers=1)
    (tmp_path / "cells" / "fusion_score-True_fold-0_run-0.json").write_text("{}", encoding="utf-8")
    table = run_study("jingju", SMALL, tmp_path, n_workers=1).table
    assert "Not asked for now, and not shown: 1 cell that earlier calls measured." in table


def test_call_that_fails_at_once_leaves_no_folder(tmp_path):
    with pytest.raises(DatasetError):
        run_study("elmarc", {"data": "csv", "data.root": str(tmp_path / "nowhere")}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folder_of_another_study_is_refused(run):
    with pytest.raises(TrainingError, match="holds jingju, and not phonemes"):
        run_study("phonemes", {}, run.folder)


def test_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(TrainingError, match="holds something else; name a new or an empty folder"):
        run_study("jingju", SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# -- the command -------------------------------------------------------------------------------------------------------


def test_studies_are_listed(run_taggram):
    done = run_taggram("study")
    assert (done.returncode, [line.split()[0] for line in done.stdout.splitlines()][:-1]) == (0, list(STUDIES))


def test_settings_are_shown_and_nothing_is_done(run_taggram):
    shown = json.loads(run_taggram("study", "jingju", "n_phrases=7", "--show").stdout)
    assert (shown["study"], shown["settings"]["n_phrases"]) == ("jingju", 7)


def test_missing_folder_is_told(run_taggram):
    done = run_taggram("study", "jingju")
    assert (done.returncode, "out is missing" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("left_s", "words"),
    [(None, ""), (9.6, "; about 10 s left"), (150, "; about 2 min left"), (7300, "; about 2 h 2 min left")],
    ids=str,
)
def test_line_of_a_cell_says_what_is_left(capsys, left_s, words):
    with _studying._Screen(Path()) as screen:
        screen.measured(Cell(method="vgg"), {"accuracy": 0.5}, 3, 6, left_s)
    assert capsys.readouterr().err == f"[3/6] vgg, run 0: accuracy 0.5{words}\n"


def test_time_left_is_not_guessed_from_cells_of_another_kind():
    cells = [Cell(method="mfcc_nn", run=0), Cell(method="vgg", run=0), Cell(method="vgg", run=1)]
    pace = _Pace(cells, n_workers=2)
    assert pace.left_s(cells[0], 1.0) is None
    assert pace.left_s(cells[1], 30.0) == 15.0
