"""The study on instruments: who validates, which patches, thresholds and F1, and what comes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from _dataset_layouts import LAYOUTS
from _made_sounds import write_csv
from _made_study import made_study

from taggram.datasets import open_dataset
from taggram.errors import ConfigError, DatasetError
from taggram.learning.train import Watcher
from taggram.models._saved import load_model
from taggram.studies import _multi_label as multi
from taggram.studies._base import Cell
from taggram.studies._excerpts import Excerpts, excerpts_of
from taggram.studies.instruments import FILE, NETS, Instruments, InstrumentsConfig, _open

pytestmark = pytest.mark.usefixtures("own_cache")

# -- thresholds --------------------------------------------------------------------------------------------------------


def test_thresholds_are_those_of_the_source():
    assert multi.THRESHOLDS == {
        "S1": (0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24),
        "S2": (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
    }


PATCHES = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]], np.float32)


@pytest.mark.parametrize(("strategy", "wanted"), [("S1", (0.4, 0.4, 0.2)), ("S2", (1, 1, 0.5))])
def test_scores_of_a_clip(strategy, wanted):
    np.testing.assert_allclose(multi.clip_scores(PATCHES, strategy), wanted, rtol=1e-6)


@pytest.mark.parametrize(("strategy", "wanted"), [("S1", (True, False, False)), ("S2", (True, True, False))])
def test_score_at_the_threshold_counts_with_the_second_strategy_alone(strategy, wanted):
    scores = np.array([[0.51, 0.5, 0.49]])
    assert multi.decided(scores, strategy, 0.5).tolist() == [list(wanted)]


def test_f_measures_are_as_by_hand():
    given = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]], bool)
    holds = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], bool)
    # by tag: 1 of 2 given and 1 of 1 held; likewise; nothing given of 1 held
    found = multi.f_measures(given, holds)
    assert found == pytest.approx(
        {
            "micro_precision": 2 / 4, "micro_recall": 2 / 3, "micro_f1": 4 / 7,
            "macro_precision": (1 / 2 + 1 / 2 + 0) / 3, "macro_recall": (1 + 1 + 0) / 3,
            "macro_f1": (2 / 3 + 2 / 3 + 0) / 3,
        }
    )  # fmt: skip


def test_sweep_has_all_thresholds_of_both_strategies():
    scores = np.array([[0.21, 0.4], [0.6, 0.1]])
    swept = multi.sweep({"S1": scores, "S2": scores}, np.array([[0, 1], [1, 0]], bool))
    pairs = [(one["strategy"], one["threshold"]) for one in swept]
    assert pairs == [(name, at) for name, all_of_it in multi.THRESHOLDS.items() for at in all_of_it]
    assert multi.HEADLINE in pairs
    assert [one["micro_precision"] for one in swept[:2]] == [pytest.approx(2 / 3), pytest.approx(2 / 3)]


# -- data --------------------------------------------------------------------------------------------------------------

TONES = {"low": 220.0, "mid": 880.0, "high": 3000.0}


def write_tones(folder, *, n_train=6, parts=("train", "valid", "test"), columns=("path", "split", "tags")):
    """Write clips of one tone to learn from, and of one or two to test on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n_train + 6):
        part = "train" if number < n_train else ("valid", "test")[number % 2]
        part = part if part in parts else "train"
        names = list(TONES)
        tags = [names[number % 3]] if part != "test" else sorted({names[number % 3], names[number // 3 % 3]})
        seconds = 6.0 if part == "test" else 3.0
        t = np.arange(round(seconds * 12_000)) / 12_000
        samples = sum(0.2 * np.sin(2 * np.pi * TONES[tag] * t) for tag in tags)
        soundfile.write(folder / f"{number}.wav", samples, 12_000)
        extra = (f"song-{number // 2}",) if len(columns) > 3 else ()
        rows.append((f"{number}.wav", part, "|".join(tags), *extra))
    write_csv(folder, rows, columns)
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def study(sound, tmp_path_factory):
    values = {"data": "csv", "data.root": str(sound), "max_epochs": 1}
    return made_study("instruments", values, tmp_path_factory.mktemp("run"))


def drawn(dataset, *, whole_songs, seed=0):
    found = excerpts_of(dataset, list(dataset.tracks()), {}, seed, whole_songs=whole_songs)
    return {found.track_ids[clip] for clip in found.clips("valid")}


def test_data_keeps_its_own_part_for_validation(study):
    excerpts = study.excerpts
    assert [len(excerpts.clips(part)) for part in ("train", "valid", "test")] == [6, 3, 3]
    assert excerpts.tags == ("high", "low", "mid")
    assert excerpts.labels[excerpts.clips("test")].sum(1).max() == 2


def test_saved_excerpts_come_back(study, tmp_path):
    study.excerpts.save(tmp_path / FILE)
    back = Excerpts.load(tmp_path / FILE)
    assert np.array_equal(back.labels, study.excerpts.labels)
    assert (back.track_ids, back.prepared) == (study.excerpts.track_ids, study.excerpts.prepared)


def test_15_percent_of_the_files_are_drawn_where_there_is_no_part_for_it(tmp_path):
    dataset = open_dataset("csv", write_tones(tmp_path, n_train=37, parts=("train", "test")), min_count=1)
    first, other = (drawn(dataset, whole_songs=False, seed=seed) for seed in (0, 1))
    assert len(first) == len(other) == 6  # of 40
    assert first != other
    assert first == drawn(dataset, whole_songs=False)


def test_whole_songs_may_be_drawn(tmp_path):
    columns = ("path", "split", "tags", "recording_id")
    dataset = open_dataset(
        "csv", write_tones(tmp_path, n_train=37, parts=("train", "test"), columns=columns), min_count=1
    )
    songs = {track.track_id: track.columns["recording_id"] for track in dataset.tracks("train")}
    valid = drawn(dataset, whole_songs=True)
    assert {songs[name] for name in valid}.isdisjoint({song for name, song in songs.items() if name not in valid})
    assert len(valid) >= 6


def test_songs_that_nobody_names_cannot_be_drawn(tmp_path):
    dataset = open_dataset("csv", write_tones(tmp_path, parts=("train", "test")), min_count=1)
    with pytest.raises(ConfigError, match=r"validation=songs: the data has no column recording_id"):
        drawn(dataset, whole_songs=True)


def test_clip_of_two_instruments_cannot_be_learned_from(tmp_path):
    write_csv(
        write_tones(tmp_path), [("0.wav", "train", "low|mid"), ("1.wav", "valid", "mid"), ("2.wav", "test", "low")]
    )
    dataset = open_dataset("csv", tmp_path, min_count=1)
    with pytest.raises(DatasetError, match=r"0.wav has low, mid; data.label=COLUMN"):
        drawn(dataset, whole_songs=False)


def test_folds_are_refused(sound, tmp_path):
    with pytest.raises(ConfigError, match=r"folds is .*; wanted nothing"):
        made_study("instruments", {"data": "csv", "data.root": str(sound), "folds": 1}, tmp_path)


def test_data_without_a_test_is_refused(tmp_path):
    write_csv(write_tones(tmp_path), [("0.wav", "train", "low"), ("1.wav", "valid", "low")])
    dataset = open_dataset("csv", tmp_path, min_count=1)
    with pytest.raises(DatasetError, match="no clip for test"):
        drawn(dataset, whole_songs=False)


@pytest.mark.parametrize(("validation", "split"), [("files", "official"), ("songs", "official-by-recording")])
def test_irmas_has_the_order_of_the_paper_and_what_the_seed_draws(tmp_path, validation, split):
    LAYOUTS["irmas"].write(tmp_path, LAYOUTS["irmas"].tops[0])
    values = {"data": "irmas", "data.root": str(tmp_path), "validation": validation, "seed": 3}
    dataset = _open(InstrumentsConfig.of(values), Watcher())
    assert (dataset.split, dataset.valid_seed) == (split, 3)
    assert dataset.tags == ("cel", "pia", "vio", "cla", "org", "gac", "tru", "flu", "sax", "gel", "voi")


# -- cells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "shape"), [("single_layer", (1, 1, 96, 128)), ("han", (3, 1, 128, 43))])
def test_patches_of_a_file_of_3_s(study, method, shape):
    cell = Cell(method=method)
    read = study._reader(cell, study.start(cell))
    assert read(int(study.excerpts.clips("train")[0])).shape == shape


def test_patches_are_of_their_own_clip_alone(study):
    cell = Cell(method="single_layer")
    read = study._reader(cell, study.start(cell))
    names = list(study.excerpts.track_ids)
    one, eleven = names.index("1.wav"), names.index("11.wav")  # the name of the first is in that of the second
    assert (len(read(one)), len(read(eleven))) == (1, 2)


def test_patches_are_cut_wherever_the_network_is(study):
    cell = Cell(method="single_layer")
    model = study.start(cell)
    read = study._reader(cell, model)
    patches = read(0)
    model.to("meta")
    assert torch.equal(read(0), patches)


def test_sound_of_han_is_divided_by_its_largest_sample(study, monkeypatch):
    cell = Cell(method="han")
    model = study.start(cell)
    sounds = study.excerpts.sounds(NETS["han"].mel.sample_rate)
    plain = study._reader(cell, model)(0)
    monkeypatch.setattr(type(sounds), "whole", lambda self, clip: 0.25 * sounds.data.whole(int(self.rows[clip])))
    np.testing.assert_allclose(study._reader(cell, model)(0), plain, atol=1e-3)


@pytest.mark.parametrize("method", ["single_layer", "multi_layer", "han"])
def test_training_is_that_of_the_released_weights(study, method):
    fit = study.fit(Cell(method=method))
    assert (fit.optimizer, fit.lr, fit.batch_size, fit.keep) == ("adam", 0.001, 16, "valid_loss")
    assert (fit.schedule.at[:2], fit.schedule.factor, fit.schedule.stop_after) == ((20, 40), 0.5, 20)
    assert fit.l2 == (0.0 if method == "han" else 1e-5)


def test_training_may_be_that_of_the_code(study):
    config = InstrumentsConfig.of({**study.config.to_dict(), "optimizer": "sgd", "max_epochs": 0})
    fit = Instruments(config, study.folder, study.data).fit(Cell(method="single_layer"))
    assert (fit.optimizer, fit.lr, fit.momentum, fit.nesterov, fit.max_epochs) == ("sgd", 0.001, 0.9, True, 400)
    assert fit.schedule.at[:3] == (5, 10, 15)


@pytest.fixture(scope="module")
def measured(study):
    return study.measure(Cell(method="single_layer"))


def test_headline_is_half_of_the_largest_sum(measured):
    headline = next(one for one in measured["sweep"] if (one["strategy"], one["threshold"]) == ("S2", 0.5))
    assert {name: measured[name] for name in headline if name not in ("strategy", "threshold")} == {
        name: value for name, value in headline.items() if name not in ("strategy", "threshold")
    }


def test_measured_again_it_is_the_same(study, measured):
    assert study.measure(Cell(method="single_layer")) == measured
    assert json.loads(json.dumps(measured)) == measured


def test_input_is_centred_by_the_mean_patch_of_the_training_files(study, measured):
    cell = Cell(method="single_layer")
    model = load_model(study.files / f"{cell.key}.safetensors")
    read = study._reader(cell, study.start(cell))
    patches = np.concatenate([read(int(clip)) for clip in study.excerpts.clips("train")])
    np.testing.assert_allclose(model.standardize.mean.numpy(), patches.mean((0, 1)), atol=1e-4)
    assert torch.equal(model.standardize.std, torch.ones(96, 128))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adagrad"}, "optimizer is 'adagrad'"),
        ({"validation": "patches"}, "validation is 'patches'"),
        ({"max_epochs": -1}, "max_epochs is -1"),
        ({"methods": ("han_et_al",)}, "no method 'han_et_al'"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        InstrumentsConfig.of(settings)


# -- results -----------------------------------------------------------------------------------------------------------


def test_no_f1_of_the_paper_is_quoted(study, measured):
    rows = [Cell(method="single_layer").row(measured)]
    assert all({*row} == {"method", "valid_loss", "source"} for row in Instruments.published)
    (table, best) = study.tables(rows)
    assert "not at hand" in table.note
    assert table.rows[0][:3] == ["single-layer", f"{measured['parameters']:,}", "62k"]
    assert [line[1] for line in best.rows] == ["S1", "S2"]


@pytest.mark.parametrize(("losses", "shows"), [((0.9, 0.8), True), ((0.8, 0.9), False)])
def test_more_layers_are_better_or_not(study, losses, shows):
    rows = [{"method": name, "valid_loss": loss} for name, loss in zip(("single_layer", "multi_layer"), losses)]
    assert study.claims(rows)[0].shows is shows
    assert study.claims(rows[:1])[0].shows is None


@pytest.mark.slow
def test_study_from_words_to_files(sound, tmp_path, run_taggram):
    words = ["data=csv", f"data.root={sound}", "max_epochs=1", "methods=single_layer,multi_layer,han"]
    done = run_taggram("study", "instruments", *words, f"out={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "not the data of the paper" in done.stdout
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"sweep.png"}
    cells = json.loads((tmp_path / "run" / "results.json").read_text())["cells"]
    assert [cell["method"] for cell in cells] == ["single_layer", "multi_layer", "han"]
