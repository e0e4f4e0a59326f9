"""The study on artist labels: who is learned and who is not, what is tried on the features, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from _made_sounds import RATE, write_csv
from _made_study import made_study

from taggram.datasets import synth
from taggram.datasets._base import PARTS, Track
from taggram.errors import ConfigError, DatasetError
from taggram.learning.classifier_grids import Labelled
from taggram.studies import _artist_data, _artist_transfer, _clips, _tagged_sound
from taggram.studies._artist_results import METHODS, Scores, claims_of, draw, tables_of, titles_of
from taggram.studies._artist_settings import ArtistConfig
from taggram.studies._artist_transfer import Examples, measure
from taggram.studies._base import Cell

pytestmark = pytest.mark.usefixtures("own_cache")

ARTISTS, SONGS = 7, 5  # one song of each more than is used


def write_sound(path, number):
    """A tone whose pitch and noise hang on a number."""
    rng = np.random.default_rng(number)
    t = np.arange(6000) / RATE
    sound = 0.3 * np.sin(2 * np.pi * (200 + 400 * (number % 7)) * t) + 0.03 * rng.standard_normal(len(t))
    soundfile.write(path, sound.astype(np.float32), RATE)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Songs of seven artists, and clips of two instruments with other tags, each of which sounds like a song."""
    songs, clips = tmp_path_factory.mktemp("songs"), tmp_path_factory.mktemp("clips")
    rows = []
    for number in range(ARTISTS * SONGS):
        write_sound(songs / f"{number:02d}.wav", number)
        rows.append((f"{number:02d}.wav", ("train", "train", "valid")[number % 3], "ab"[number % 2], number % ARTISTS))
    write_csv(songs, rows, ("path", "split", "tags", "artist_id"))
    rows = []
    for number in range(12):
        write_sound(clips / f"{number:02d}.wav", 3 * number)  # the sound of song 3 * number
        tags = ("flute", "harp")[number % 2] + ("|high" if number % 3 else "")
        rows.append((f"{number:02d}.wav", ("train", "train", "valid", "test")[number // 3], tags))
    write_csv(clips, rows)
    return {
        "data": "csv", "data.root": str(songs), "data.min_count": 1, "target": "csv", "target.root": str(clips),
        "tagged": "csv", "tagged.root": str(clips), "tagged.min_count": 1, "artists": (2, 4), "songs": 4, "unseen": 2,
        "max_epochs": 1, "softmax_runs": 2, "norm_momentum": 0.1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("artist", values, tmp_path_factory.mktemp("run"))


# -- who is learned ----------------------------------------------------------------------------------------------------


def test_unseen_artists_are_none_of_those_that_are_learned(study):
    learned = set(study.songs("basic", 4).tags)
    assert len(learned) == 4
    assert len(study.unseen) == 2
    assert not learned & set(study.unseen.artists)


def test_fewer_artists_are_among_more(study):
    assert set(study.songs("siamese", 2).tags) < set(study.songs("siamese", 4).tags)


def test_each_artist_has_its_songs_in_every_part(study):
    songs = study.songs("basic", 4)
    for part, wanted in zip(PARTS, (2, 1, 1)):
        assert np.bincount(songs.class_numbers(songs.index(part))).tolist() == [wanted] * 4


def test_tags_are_not_learned_from_songs_of_unseen_artists(study):
    tagged, unseen = study.songs("tags", 0), list(map(int, study.unseen.artists))
    assert tagged.tags == ("a", "b")
    for part in ("train", "valid"):
        there = {int(row) for row in study.source.index(part)}
        wanted = {row for row in there if row % ARTISTS not in unseen}  # also the song that the split does not use
        assert {int(row) for row in tagged.index(part)} == wanted != there


def test_tags_need_songs_of_artists_who_are_not_unseen(values, tmp_path):
    with pytest.raises(DatasetError, match="no song is left to learn tags from"):
        made_study("artist", {**values, "methods": "tags", "unseen": ARTISTS}, tmp_path)


def test_clips_that_sound_like_songs_that_are_learned_are_told(values, study, tmp_path):
    learned = [row for row in range(ARTISTS * SONGS) if row % ARTISTS not in map(int, study.unseen.artists)]
    heard = [number for number in range(12) if 3 * number in learned]
    n_test = sum(number >= 9 for number in heard)
    wanted = {"test": 3, "heard_test": n_test, "all": 12, "heard_all": len(heard)}
    assert study.data["heard"]["classes"] == study.data["heard"]["tags"] == wanted
    assert study.data["heard"]["unseen"] == {"test": 2, "heard_test": 0, "all": 8, "heard_all": 0}
    told = f"{n_test} of 3 clips for testing, and {len(heard)} of 12 in all, sound exactly like songs"
    assert sum(told in remark for remark in study.remarks()) == 2
    other = made_study("artist", {**values, "methods": "untrained"}, tmp_path)
    assert not any("sound exactly like" in remark for remark in other.remarks())


def test_more_artists_than_there_are_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"12 artists are wanted, 2 of whom stay unseen; 7 .* have 4 songs"):
        made_study("artist", {**values, "artists": 10}, tmp_path)


def test_number_of_songs_that_would_do_is_told(values, tmp_path):
    with pytest.raises(
        ConfigError, match=r"0 .* have 7 songs\. The artist with the most songs has 5\. songs=5 gives 7"
    ):
        made_study("artist", {**values, "songs": 7}, tmp_path)


@pytest.mark.parametrize(
    ("songs", "wanted"),
    [
        (6, "has 3; at least 4 are needed. data.n_tracks=240 songs=6 makes 6 songs by each of 40 artists."),
        (20, "has 3; at least 4 are needed. data.n_tracks=480 songs=12 makes 12 songs by each of 40 artists."),
    ],
)
def test_how_made_up_music_gets_artists_with_enough_songs_is_told(tmp_path, monkeypatch, songs, wanted):
    class Made:
        def tracks(self):
            return [
                Track(track_id=str(n), path=Path(str(n)), tags=(), part="train", columns={"artist_id": str(n % 40)})
                for n in range(120)
            ]

    def opened(config, *_, **__):
        return _tagged_sound.OpenedData(config, Made())

    monkeypatch.setattr(_artist_data, "open_dataset_of", opened)
    small = {"data": "synth", "data.n_tracks": 120, "artists": (3, 6), "unseen": 2, "songs": songs}
    with pytest.raises(ConfigError, match=re.escape(f"The artist with the most songs {wanted}")):
        made_study("artist", small, tmp_path)


def test_songs_by_artist_are_as_said_for_made_up_music():
    for n_tracks, n_artists, n_songs in ((160, 40, 4), (240, 40, 6), (480, 40, 12)):
        settings = synth._Settings(n_tracks=n_tracks, length_s=1.0, seed=0)
        songs = Counter(track.artist.artist_id for track in synth._plan(settings))
        assert (len(songs), set(songs.values())) == (n_artists, {n_songs})


def test_folds_without_a_target_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"folds is .*; wanted a target"):
        made_study("artist", {**values, "target": "", "folds": 1}, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"songs": 7}, "0 artists of csv have 7 songs"),
        ({"artist_column": "singer"}, "no column 'singer'"),
        ({"target.root": "nowhere"}, "nowhere"),
        ({"tagged.root": "nowhere"}, "nowhere"),
        ({"target": "", "folds": 1}, "folds is"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_is_decoded(values, tmp_path, monkeypatch, wrong, message):
    for module in (_clips, _tagged_sound):
        monkeypatch.setattr(module, "prepared_data", lambda *_, **__: pytest.fail("sound was decoded"))
    with pytest.raises((ConfigError, DatasetError), match=message):
        made_study("artist", {**values, **wrong}, tmp_path)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "n_tags"), [("basic", 4), ("tags", 2), ("siamese", None), ("untrained", None)])
def test_networks_have_one_trunk(study, method, n_tags):
    model = study.start(method, 4 if method in ("basic", "siamese") else 0, 0)
    assert model.n_tags == n_tags
    trunk = sum(one.numel() for name, one in model.named_parameters() if not name.startswith("head."))
    assert trunk == 264_448


def test_first_weights_hang_on_method_artists_and_run(study):
    def first(*place):
        return study.start(*place).convs[0][1].weight

    assert torch.equal(first("basic", 4, 0), first("basic", 4, 0))
    assert not torch.equal(first("basic", 4, 0), first("basic", 4, 1))
    assert not torch.equal(first("basic", 4, 0), first("siamese", 4, 0))


def test_training_is_as_published():
    fit = ArtistConfig().fit
    assert (fit.optimizer, fit.lr, fit.momentum, fit.nesterov, fit.lr_decay) == ("sgd", 0.1, 0.9, True, 1e-6)
    assert (fit.l2, fit.l2_of, fit.batch_size, fit.max_epochs) == (1e-5, "trunk_kernels", 15, 1000)
    assert (fit.schedule.rule, fit.schedule.factor, fit.norm_momentum) == ("plateau", 0.2, 0.01)


def test_numbers_of_artists_are_those_of_the_paper_as_far_as_there_are():
    assert ArtistConfig().n_artists(17_591) == (500, 1000, 2000, 5000, 10_000)
    assert ArtistConfig().n_artists(2600) == (500, 1000, 2000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"artists": 1}, "artists is"),
        ({"songs": 3}, "songs is 3"),
        ({"unseen": 1}, "unseen is 1"),
        ({"unseen": 0}, "target is ''"),
        ({"target": "gtzan"}, "target.root is ''; wanted the folder in which gtzan lies, as target.root=DIR"),
        ({"tagged": "mtt"}, "tagged.root is ''"),
        (
            {"methods": "mfcc", "unseen": 0, "tagged": "csv", "tagged.root": "clips"},
            r"methods is \('mfcc',\); wanted another one too, .*: mfcc is not tried on tags",
        ),
        ({"classifiers": "svn"}, "classifiers is 'svn'"),
        ({"hidden_layers": 3}, "hidden_layers is 3"),
        ({"dropout": 1}, "dropout is 1"),
        ({"methods": "siames"}, "no method 'siames'. Did you mean siamese"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ArtistConfig.of(settings)


# -- cells -------------------------------------------------------------------------------------------------------------


def test_networks_come_before_features_and_these_before_what_is_tried_on_them(study):
    training, features, scored = study.phases()
    assert {cell.method for cell in training} == {"basic", "siamese", "tags"}
    assert len(training) == 2 + 2 + 1
    assert not any(cell.is_scored for cell in features)
    keys = [cell.key for cell in (*training, *features, *scored)]
    assert len(set(keys)) == len(keys)


def test_every_task_has_what_is_tried_on_it(study):
    found = {(cell.method, cell.details["task"]): set() for cell in study.phases()[2]}
    for cell in study.phases()[2]:
        found[cell.method, cell.details["task"]].add(cell.details["classifier"])
    assert found["basic", "classes"] == found["untrained", "unseen"] == {"softmax", "knn", "lda", "retrieval"}
    assert found["siamese", "tags"] == {"dense"}
    assert found["mfcc", "classes"] == {"svm"}
    assert ("mfcc", "tags") not in found


@pytest.mark.parametrize(
    ("task", "classifier", "score"),
    [
        ("classes", "softmax", "accuracy"),
        ("classes", "knn", "accuracy"),
        ("unseen", "lda", "accuracy"),
        ("unseen", "retrieval", "mean_average_precision"),
        ("tags", "dense", "macro_roc_auc"),
    ],
)
def test_features_are_tried_on_the_labels_of_their_clips(study, monkeypatch, task, classifier, score):
    instruments = np.arange(12) % 2
    labels = {
        "classes": np.eye(2)[instruments],
        "unseen": np.eye(2)[np.repeat([0, 1], 4)],
        "tags": np.column_stack([instruments == 0, instruments == 1, np.arange(12) % 3 > 0]),
    }[task].astype(np.float32)

    def tried(features):
        monkeypatch.setattr(study, "features", lambda *_: features)
        return study.measure(Cell(method="untrained", details={"task": task, "classifier": classifier}))[score]

    monkeypatch.setattr(_artist_transfer, "FIT", dataclasses.replace(_artist_transfer.FIT, max_epochs=40))
    spread = 0.01 * np.random.default_rng(1).standard_normal(labels.shape).astype(np.float32)
    assert tried(labels + spread) == 1
    assert tried(spread) < 1


def test_features_of_an_untrained_network_are_those_of_its_clips(study):
    sounds, features = study.sounds("classes", 22_050), study.features("untrained", 0, 0, "classes")
    network = study.start("untrained", 0, 0).eval()
    short = torch.from_numpy(np.resize(sounds.whole(5), network.frontend.n_samples_for(network.frontend.n_frames)))
    with torch.inference_mode():
        wanted = network.forward_layers(network.frontend(short[None]))["conv5"]
    assert np.allclose(features[5], wanted.flatten(), atol=1e-5)
    assert not np.allclose(features[5], features[6], atol=1e-3)


def test_songs_of_unseen_artists_are_divided_as_their_split_says(study):
    examples = study._examples(np.arange(8, dtype=np.float32)[:, None], "unseen", 0)
    assert [part.labels.tolist() for part in (examples.train, examples.valid, examples.test)] == [
        [0, 0, 1, 1], [0, 1], [0, 1],
    ]  # fmt: skip


def test_a_siamese_network_is_trained_and_its_features_are_its_own(study):
    cell = Cell(method="siamese", details={"artists": 4, "task": "training"})
    trained = study.measure(cell)
    assert (trained["n_epochs"], trained["parameters"], trained["n_songs"]) == (1, 264_448, 8)
    features = study.features("siamese", 4, 0, "classes")
    assert features.shape == (12, 256)
    assert not np.array_equal(features, study.features("untrained", 0, 0, "classes"))
    folder = study.files / cell.key
    (folder / "config.json").unlink()  # as if killed before it began
    assert study.measure(cell) == trained


def test_test_songs_of_known_artists_are_recognised(study):
    found = study.measure(Cell(method="basic", details={"artists": 4, "task": "training"}))
    assert 0 <= found["known_accuracy"] <= 1
    assert (found["n_songs"], found["parameters"]) == (8, 264_448 + 257 * 4)


def test_settings_that_are_not_as_by_default_are_told(study):
    assert ArtistConfig().changed() == ArtistConfig.of({"max_epochs": 1000}).changed() == []
    (told,) = (remark for remark in study.remarks() if remark.startswith("Otherwise than by default"))
    wanted = (
        "artists=2,4 (500,1000,2000,5000,10000); songs=4 (20); unseen=2 (500); softmax_runs=2 (10); "
        "max_epochs=1 (1000); norm_momentum=0.1 (0.01)."
    )
    assert told.endswith(wanted)
    few = {"dropout": 0, "hidden_layers": 2, "patience": 3, "stop_after": 9, "classifiers": "knn"}
    assert ArtistConfig.of(few).changed() == [
        "classifiers=knn (softmax,knn,lda)", "hidden_layers=2 (0)", "dropout=0 (0.5)", "patience=3 (1)",
        "stop_after=9 (6)",
    ]  # fmt: skip


# -- results -----------------------------------------------------------------------------------------------------------


def row(method, score, artists=None, classifier="softmax", task="classes"):
    name = {"retrieval": "mean_average_precision", "dense": "macro_roc_auc"}.get(classifier, "accuracy")
    made = {"method": method, "fold": 0, "run": 0, "task": task, "classifier": classifier, name: score}
    return made if artists is None else {**made, "artists": artists}


def test_table_has_a_line_for_each_number_of_artists():
    rows = [row("basic", 0.6, 500), row("basic", 0.7, 1000), row("tags", 0.8), row("basic", 0.3, 500, "retrieval")]
    table = tables_of(rows, {"classes": "Genres"})[0]
    assert table.columns == ["learned from", "artists", "softmax", "retrieval, MAP"]
    assert table.rows == [
        ["artists, classifier", "500", "60.0", "30.0"],
        ["artists, classifier", "1000", "70.0", "-"],
        ["tags", "-", "80.0", "-"],
    ]


@pytest.mark.parametrize(
    ("start", "holds", "fails"),
    [
        (
            "Features are better the more",
            [row("basic", 0.6, 5), row("basic", 0.7, 9)],
            [row("basic", 0.7, 5), row("basic", 0.6, 9)],
        ),
        ("They reach", [row("basic", 0.695, 9), row("tags", 0.7)], [row("basic", 0.6, 9), row("tags", 0.7)]),
        (
            "The siamese",
            [row("siamese", 0.3, 9, "retrieval"), row("basic", 0.2, 9, "retrieval")],
            [row("siamese", 0.2, 9, "retrieval"), row("basic", 0.3, 9, "retrieval")],
        ),
        (
            "They are better than those of the same network untrained",
            [row("basic", 0.3, 9, "retrieval"), row("untrained", 0.2, None, "retrieval")],
            [row("basic", 0.2, 9, "retrieval"), row("untrained", 0.2, None, "retrieval")],
        ),
    ],
    ids=["more", "tags", "retrieval", "untrained"],
)  # fmt: skip
def test_claim_shows_or_does_not(start, holds, fails):
    def shows(rows):
        return next(claim.shows for claim in claims_of(rows) if claim.words.startswith(start))

    assert shows(holds) is True
    assert shows(fails) is False
    assert shows(holds[:1]) is None


@pytest.mark.parametrize(
    ("levels", "shows"),
    [
        ((0.5, 0.4, 0.3, 0.2, 0.6), False),  # falls four times, and jumps once
        ((0.2, 0.1, 0.4, 0.3, 0.5), True),
        ((0.3, 0.3, 0.3), False),
    ],
    ids=str,
)
def test_features_are_better_only_where_most_numbers_of_artists_say_so(levels, shows):
    claim = claims_of([row("basic", level, number) for number, level in enumerate(levels, 2)])[0]
    assert claim.shows is shows
    assert f"{100 * levels[0]:.1f}" in claim.figures


def test_claim_says_on_how_few_clips_it_stands():
    def figures(n_test):
        rows = [{**row("basic", 0.5, n), "fold": fold, "n_test": n_test} for n in (5, 9) for fold in (1, 2)]
        return claims_of(rows)[0].figures

    assert "Only 240 clips for testing" in figures(120)
    assert "Only" not in figures(500)


@pytest.mark.parametrize(("n_test", "shows"), [(49, None), (50, True)])
def test_no_claim_can_be_told_on_fewer_than_100_clips(n_test, shows):
    rows = [
        {**row(method, score, 9, "retrieval"), "fold": fold, "n_test": n_test}
        for method, score in (("siamese", 0.531), ("basic", 0.526))
        for fold in (1, 2)
    ]
    claim = next(one for one in claims_of(rows) if one.words.startswith("The siamese"))
    assert claim.shows is shows
    assert "9 artists 53.1 and 52.6." in claim.figures
    assert ("98 clips for testing, fewer than 100, say too little." in claim.figures) == (shows is None)


def test_a_claim_stands_on_the_classifier_with_the_fewest_clips():
    rows = [
        {**row(method, score, artists, name), "n_test": n_test}
        for method, score, artists in (("basic", 0.7, 9), ("untrained", 0.5, None))
        for name, n_test in (("knn", 20), ("retrieval", 2000))
    ]
    claim = next(one for one in claims_of(rows) if one.words.startswith("They are better than"))
    assert claim.shows is None
    assert "20 clips for testing" in claim.figures


def test_pictures_have_the_levels_of_what_learned_no_artists():
    rows = [row("basic", 0.6, 5), row("basic", 0.7, 9), row("tags", 0.8), row("mfcc", 0.5, None, "svm")]
    figures = draw(rows, {"classes": "Genres"})
    assert list(figures) == ["classes_accuracy"]
    (axes,) = figures["classes_accuracy"].axes
    assert [line.get_label() for line in axes.get_lines()] == ["artists, classifier", "tags", "MFCC statistics"]


def test_pictures_have_a_panel_a_classifier_names_of_the_table_and_intervals():
    rows = [
        {**row(method, 0.5, artists, name), "n_test": 40}
        for method in ("basic", "siamese")
        for artists in (3, 6)
        for name in ("softmax", "knn")
    ]
    figure = draw(rows, {"classes": "8 classes of made music"})["classes_accuracy"]
    title = figure.get_suptitle()
    assert "8 classes of made music: accuracy" in title
    assert "95 % interval over 40 clips" in title
    assert [axes.get_title("left") for axes in figure.axes] == ["softmax", "nearest neighbours"]
    for axes in figure.axes:
        found = axes.get_legend_handles_labels()[1]
        assert found == [METHODS["basic"], METHODS["siamese"]]
        lines = [line for line in axes.get_lines() if line.get_label() not in found]
        assert len(lines) == 4
        assert all(line.get_ydata() == pytest.approx([35.2, 64.8], abs=0.1) for line in lines)  # Wilson's of 20 in 40
        places = [tuple(line.get_xdata()) for line in axes.get_lines() if line.get_label() in found]
        assert len(set(places)) == 2  # marks of equal scores stand side by side


def test_intervals_of_retrieval_and_of_tags_are_those_of_the_cells(study, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(study, "features", lambda *_: rng.standard_normal((12, 3)).astype(np.float32))
    for task, classifier in (("classes", "retrieval"), ("tags", "dense")):
        found = study.measure(Cell(method="untrained", details={"task": task, "classifier": classifier}))
        name = {"retrieval": "mean_average_precision", "dense": "macro_roc_auc"}[classifier]
        low, high = found[f"{name}_interval"]
        assert 0 <= low <= found[name] <= high <= 1
        scores = Scores([{"method": "basic", "task": task, "classifier": classifier, "artists": 9, **found}])
        assert scores.interval("basic", task, classifier, 9) == (low, high)


def test_title_of_unseen_artists_names_the_songs(study):
    title = titles_of(study.data_facts(), study.data["titles"])["unseen"]
    assert study.data["titles"]["data"] in title
    assert study.data["titles"]["data"] == study.data_facts()["title"].partition(", tried on")[0]


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path, run_taggram):
    few = {**values, "artists": "2,4", "methods": "basic,siamese,untrained,mfcc", "classifiers": "knn"}
    words = [f"{key}={value}" for key, value in few.items()]
    out = tmp_path / "run"
    done = run_taggram("study", "artist", *words, f"out={out}")
    assert done.returncode == 0, done.stderr
    assert "not the data of the paper" in done.stdout
    assert (out / "classes_accuracy.png").exists()
    first = json.loads((out / "results.json").read_text())
    assert first["failures"] == []
    cell = "siamese_artists-4_task-training_fold-0_run-0"
    (out / "cells" / f"{cell}.json").unlink()  # as if killed before its end: its training is gone on with
    weights = (out / "files" / cell / "model.safetensors").stat().st_mtime_ns
    again = run_taggram("study", "artist", *words, f"out={out}", "--workers", "1")
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "results.json").read_text())["cells"] == first["cells"]
    assert (out / "files" / cell / "model.safetensors").stat().st_mtime_ns == weights


def test_target_without_a_test_is_told():
    some, nobody = Labelled(np.eye(2), np.array([0, 1])), Labelled(np.empty((0, 2)), np.empty(0, np.int64))
    with pytest.raises(DatasetError, match="no clip to test on"):
        measure("knn", Examples(some, some, nobody), lambda run: run, n_runs=1, n_hidden=0)
