"""The study on sung phonemes: recordings, frames and labels, trainings, tables, and bad input."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from _made_study import made_study

from taggram.datasets._textgrid import Interval
from taggram.datasets.jingju import RECORDINGS
from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.frontends import create_frontend
from taggram.models import create_model
from taggram.models._essentia_mel import JINGJU_MEL
from taggram.models._saved import load_model
from taggram.studies._base import Cell
from taggram.studies._made_singing import RATE, write_textgrid, write_wav
from taggram.studies._phoneme_data import CLASSES, SungRecording
from taggram.studies._recording_frames import frame_at, keep_array, keep_frames, load_array
from taggram.studies.phonemes import MFCC, N_PARAMETERS, Phonemes, PhonemesConfig
from taggram.studies.run import run_study

TINY = {"n_phrases": 4, "max_epochs": 1, "roles": "dan", "n_components": 4, "density": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study("phonemes", TINY, tmp_path_factory.mktemp("phonemes"), n_workers=1)


@pytest.fixture
def study(tmp_path):
    """A study on made-up singing, of which nothing is measured yet."""
    return made_study("phonemes", TINY, tmp_path)


# -- frames and labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_s", "frame"),
    [(0.0, 0), (0.004, 0), (0.005, 1), (0.0149, 1), (0.125, 13), (0.135, 14), (0.235, 24), (0.585, 59), (1.0, 100)],
)
def test_times_are_rounded_to_frames(time_s, frame):
    assert frame_at(time_s) == frame


def recording(*phonemes):
    return SungRecording("dan", "a", "train", "a.wav", phonemes)


def test_phoneme_has_the_frames_from_start_to_end():
    frames, labels = recording((0.104, 0.126, 3), (0.126, 0.151, 5)).labels(100)
    assert (frames.tolist(), labels.tolist()) == ([10, 11, 12, 13, 14], [3, 3, 3, 5, 5])


def test_phonemes_side_by_side_have_each_frame_once():
    rng = np.random.default_rng(0)
    edges = np.cumsum(rng.uniform(0.005, 0.2, 200))
    frames, _ = recording(*[(a, b, 0) for a, b in itertools.pairwise(edges)]).labels(10_000)
    assert frames.tolist() == list(range(frame_at(edges[0]), frame_at(edges[-1])))


def test_frames_behind_the_sound_are_left_out():
    frames, labels = recording((0.1, 0.2, 3), (0.2, 0.3, 5)).labels(15)
    assert (frames.tolist(), labels.tolist()) == ([10, 11, 12, 13, 14], [3] * 5)


def test_left_channel_is_taken(tmp_path):
    import soundfile

    rng = np.random.default_rng(0)
    left, right = 0.1 * rng.standard_normal((2, RATE // 4))
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "left.wav", left, RATE, subtype="FLOAT")
    for name in ("stereo", "left"):
        keep_frames(tmp_path / f"{name}.npy", tmp_path / f"{name}.wav", JINGJU_MEL)
    np.testing.assert_array_equal(load_array(tmp_path / "stereo.npy"), load_array(tmp_path / "left.npy"))


def test_frames_are_those_of_the_front_end_of_the_network(tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal(RATE // 4)
    write_wav(tmp_path / "a.wav", samples)
    n_frames = keep_frames(tmp_path / "a.npy", tmp_path / "a.wav", JINGJU_MEL)
    sound = torch.from_numpy(np.rint(32_767 * samples) / 32_768).float()[None]
    wanted = create_model("phoneme_timbre", n_tags=29).frontend(sound)[0, 0].T
    assert n_frames == len(wanted)
    np.testing.assert_allclose(load_array(tmp_path / "a.npy"), wanted, rtol=0, atol=1e-4)


def test_frames_that_are_gone_are_told(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read"):
        load_array(tmp_path / "none.npy")


def test_cepstra_are_13_of_40_bands_in_the_same_frames():
    sound = 0.1 * torch.randn(1, RATE // 4, generator=torch.Generator().manual_seed(0))
    cepstra = create_frontend(MFCC)(sound)[0, 0]
    assert (MFCC.mel.n_mels, len(cepstra)) == (40, 13)
    assert cepstra.shape[1] == create_frontend(JINGJU_MEL).n_frames_in(RATE // 4)


def test_patch_is_cut_out_of_the_whole_recording(study):
    for number, one in enumerate(study.recordings):
        n_frames = frame_at(one.phonemes[-1][1]) + 20
        keep_array(
            study.files / "frames" / f"{number:03}.npy", np.arange(n_frames * 80, dtype=np.float32).reshape(-1, 80)
        )
    examples = study.examples("dan", "train")
    first = frame_at(study.recordings[0].phonemes[0][0])
    patch = examples.chosen(torch.tensor([0])).patches[0, 0]
    assert patch.shape == (80, 21)
    assert (patch[0] / 80).tolist() == list(range(first - 10, first + 11))  # also before the phoneme


# -- cells -------------------------------------------------------------------------------------------------------------


def test_cells_are_those_of_the_roles_asked_for(study):
    frames, scored = study.phases()
    assert [study.recordings[cell.details["recording"]].role for cell in frames] == ["dan", "dan"]
    assert [cell.method for cell in scored] == ["timbre", "small_rectangular", "mlp", "gmm"]


def test_both_roles_are_measured_unless_told_otherwise():
    assert PhonemesConfig.of({}).roles == ("dan", "laosheng")


@pytest.mark.parametrize(("split", "tested"), [("S", [2, 3]), ("P", [0, 1])])
def test_splits_of_made_up_singing_have_other_tests(tmp_path, split, tested):
    study = made_study("phonemes", {**TINY, "split": split}, tmp_path)
    names = sorted(study.recordings, key=lambda one: one.name[-2:])
    assert [place for place, one in enumerate(names) if one.part == "test"] == tested


@pytest.mark.parametrize(("key", "n_parameters"), N_PARAMETERS.items())
def test_published_numbers_of_parameters_are_those_of_the_networks(key, n_parameters):
    method, role = key
    options = {"role": role} if method == "mlp" else {}
    model = create_model(f"phoneme_{method}", n_tags=len(CLASSES), **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters


def test_nothing_but_sizes_is_quoted():
    assert all(set(row) == {"method", "role", "n_parameters", "source"} for row in Phonemes.published)


@pytest.mark.parametrize("split", ["S", "P"])
def test_no_recording_is_on_both_sides(split):
    sides = {part: {one.name for one in RECORDINGS if one.parts[split] == part} for part in ("train", "test")}
    assert sides["train"] & sides["test"] == set()
    assert len(sides["train"] | sides["test"]) == 65


# -- the whole run -----------------------------------------------------------------------------------------------------


def test_every_annotated_frame_is_tested(run):
    n_test = run.results["data"]["n_frames"]["dan test"]
    for row in run.results["cells"]:
        confusion = np.array(row["confusion"])
        assert (row["n_test"], confusion.sum()) == (n_test, n_test)
        assert row["accuracy"] == pytest.approx(np.trace(confusion) / n_test)


def test_networks_have_29_outputs_whatever_is_sung(run):
    by_method = {row["method"]: row["n_parameters"] for row in run.results["cells"]}
    assert by_method == {"timbre": 55_661, "small_rectangular": 221_153, "mlp": 481_391, "gmm": 0}
    model = load_model(run.folder / "files" / "timbre_role-dan_fold-0_run-0.safetensors")
    assert model.tags == CLASSES


def test_timbre_filters_are_trained_on_all_for_the_given_epochs(run):
    rows = {row["method"]: row for row in run.results["cells"]}
    assert rows["timbre"]["n_epochs"] == 1
    assert rows["timbre"]["n_train"] == rows["mlp"]["n_train"] == run.results["data"]["n_frames"]["dan train"]


def test_table_says_that_the_singing_is_made_up_and_quotes_no_accuracy(run):
    assert "on made-up singing, which is not the data of the paper" in run.table
    assert "The accuracies of the paper are not at hand" in run.table
    assert "222,557" in run.table


def test_pictures_are_drawn(run):
    assert sorted(path.name for path in run.pictures) == ["accuracy.png", "confusion_dan.png"]


def test_a_second_call_measures_what_is_missing_to_the_same_result(run):
    path = run.folder / "cells" / "mlp_role-dan_fold-0_run-0.json"
    before = json.loads(path.read_text())
    path.unlink()
    told = []
    again = run_study("phonemes", TINY, run.folder, n_workers=1, told=lambda cell, *_: told.append(cell.key))
    assert (told, json.loads(path.read_text())) == ([path.stem], before)
    assert again.table == run.table


@pytest.mark.slow
def test_one_seed_gives_the_same_results_elsewhere(run, tmp_path):
    values = {**TINY, "methods": "mlp,gmm"}
    again = run_study("phonemes", values, tmp_path, n_workers=2).results["cells"]
    assert again == [row for row in run.results["cells"] if row["method"] in ("mlp", "gmm")]


def test_command_runs_the_study(run_taggram, tmp_path):
    words = ["n_phrases=4", "methods=gmm", "n_components=2", "roles=laosheng", f"out={tmp_path}", "--workers", "1"]
    done = run_taggram("study", "phonemes", *words)
    assert done.returncode == 0, done.stderr
    assert "| gmm |" in done.stdout


# -- claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timbre", "shows"), [(0.6, True), (0.4, False)])
def test_claim_holds_timbre_filters_against_the_best_of_the_others(study, timbre, shows):
    assert [claim.shows for claim in study.claims(accuracies(timbre=timbre, small_rectangular=0.5))] == [shows]


def accuracies(common=0.1, **of_methods):
    there = {"small_rectangular": 0.3, "mlp": 0.3, "gmm": 0.2, **of_methods}
    return [
        {"method": method, "role": "dan", "accuracy": accuracy, "common_accuracy": common}
        for method, accuracy in there.items()
    ]


def test_claim_does_not_show_below_the_most_frequent_class(study):
    assert study.claims(accuracies(common=0.7, timbre=0.6))[0].shows is False


def test_claim_about_timbre_filters_alone_is_open(study):
    rows = [row for row in accuracies(timbre=0.5) if row["method"] == "timbre"]
    assert study.claims(rows)[0].shows is None


# -- the data set itself, and what is wrong ----------------------------------------------------------------------------


def write_jingju(root, *, tier="details", sound=True):
    """Write a recording for training and one for the test, of dan, in the files of the data set."""
    for part in ("train", "test"):
        one = next(one for one in RECORDINGS if (one.role, one.parts["S"]) == ("dan", part))
        tiers = {
            "dian": [Interval(0.1, 0.5, "sa")],
            tier: [Interval(0.1, 0.2, "s"), Interval(0.2, 0.5, "a"), Interval(0.6, 0.8, "a")],
        }
        write_textgrid(root / "textgrid" / "dan" / f"{one.name}.TextGrid", tiers, 1.0)
        if sound:
            write_wav(root / "wav" / "dan" / f"{one.name}.wav", np.zeros(RATE))
    return root


def test_data_set_is_read_with_its_split(tmp_path):
    root = write_jingju(tmp_path / "data")
    study = made_study("phonemes", {"data": "jingju", "data.root": str(root), "roles": "dan"}, tmp_path / "run")
    assert study.data_facts()["n_frames"] == {"dan train": 40, "dan test": 40}
    assert study.data_facts()["name"] in study.paper_data
    names = {number: name for name, number in zip(CLASSES, range(len(CLASSES)))}
    assert [names[number] for *_, number in study.recordings[0].phonemes] == ["nvc", "a"]


def test_frames_of_the_data_set_are_measured(tmp_path):
    root = write_jingju(tmp_path / "data")
    study = made_study("phonemes", {"data": "jingju", "data.root": str(root), "roles": "dan"}, tmp_path / "run")
    assert study.measure(Cell(method="frames", details={"recording": 0}))["n_frames"] == 101


def test_role_without_recordings_is_told(tmp_path):
    root = write_jingju(tmp_path / "data")
    with pytest.raises(DatasetError, match="no phonemes of laosheng for train"):
        made_study("phonemes", {"data": "jingju", "data.root": str(root)}, tmp_path / "run")


def test_missing_tier_is_told(tmp_path):
    root = write_jingju(tmp_path / "data", tier="phonemes")
    with pytest.raises(DatasetError, match="has no tier details; it has dian, phonemes"):
        made_study("phonemes", {"data": "jingju", "data.root": str(root), "roles": "dan"}, tmp_path / "run")


def test_missing_sound_is_told(tmp_path):
    root = write_jingju(tmp_path / "data", sound=False)
    with pytest.raises(DatasetError, match=r"there is no .*\.wav, which is annotated"):
        made_study("phonemes", {"data": "jingju", "data.root": str(root), "roles": "dan"}, tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "mtt", "data.root": "x"}, r"this study takes data=jingju data\.root=DIR, or nothing"),
        ({"data.root": "x"}, r"this study takes data=jingju data\.root=DIR, or nothing"),
        ({"data": "jingju", "data.root": "x", "data.split": "S"}, r"data\.split: .*split=S or split=P"),
        ({"data": "jingju"}, r"data\.root is missing"),
        ({"folds": 1}, "folds is .*split=S or split=P"),
    ],
)
def test_data_that_makes_no_sense_is_refused(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        made_study("phonemes", values, tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "Q"}, "split is 'Q'; wanted one of 'S', 'P'"),
        ({"roles": "jing"}, "roles is .*; wanted some of dan, laosheng"),
        ({"max_epochs": -1}, "max_epochs is -1"),
        ({"density": 0}, "density is 0"),
        ({"n_components": 0}, "n_components is 0"),
        ({"n_phrases": 2}, "n_phrases is 2; wanted a whole number from 4 on"),
        ({"methods": "timber"}, r"there is no method 'timber'\. Did you mean timbre"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        PhonemesConfig.of(values)
