"""The study on Ballroom: patches, folds, validation, votes, networks that start from others, and what comes of it."""

from __future__ import annotations

import functools
import itertools
import json

import numpy as np
import pytest
import torch
from _made_rhythms import write_rhythms
from _made_study import made_study

from taggram.datasets._base import PARTS
from taggram.datasets._folds import cut, shuffled
from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.frontends import create_frontend
from taggram.learning.patch_fit import one_hot
from taggram.models import create_model
from taggram.models._essentia_mel import BALLROOM_MEL
from taggram.studies._ballroom_nets import INIT, NETS, PUBLISHED
from taggram.studies._ballroom_results import claims_of
from taggram.studies._base import Cell
from taggram.studies._clips import FILE, StudyClips
from taggram.studies._frames import ClipFrames, patch_starts, spectrogram, whole_batches
from taggram.studies.ballroom import BallroomConfig
from taggram.studies.run import run_study

pytestmark = pytest.mark.usefixtures("own_cache")

CLIP_FRAMES = 1292  # of 30 s
N_SONGS = 698

# -- patches and votes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "hop", "leave_last", "wanted"),
    [
        (80, 80, False, [80 * place for place in range(16)]),
        (250, 250, False, [0, 250, 500, 750, 1000]),
        (250, 250, True, [0, 250, 500, 750]),
        (250, 80, True, [80 * place for place in range(13)]),
        (250, 80, False, [80 * place for place in range(14)]),
    ],
)
def test_starts_of_the_patches_of_30_s(patch, hop, leave_last, wanted):
    assert patch_starts(CLIP_FRAMES, patch, hop, leave_last=leave_last).tolist() == wanted


@pytest.mark.parametrize("n_frames", [1, 249, 250, 329])
def test_short_clip_has_one_patch_also_as_the_code_counts(n_frames):
    assert patch_starts(n_frames, 250, 80, leave_last=True).tolist() == [0]


def frames_of(*lengths):
    """Clips whose values are the places of their frames."""
    return ClipFrames.of([np.arange(n, dtype=np.float32)[:, None] + 1000 * clip for clip, n in enumerate(lengths)])


def test_patches_are_stretches_of_their_clip():
    patches = frames_of(7, 5).patches(3, 2)
    chosen = patches.chosen(np.arange(5), torch.eye(2)).whole
    assert patches.clips.tolist() == [0, 0, 0, 1, 1]
    assert chosen.patches[:, 0, 0, 0].tolist() == [0, 2, 4, 1000, 1002]
    assert chosen.patches[4, 0, 0].tolist() == [1002, 1003, 1004]
    assert chosen.targets.argmax(1).tolist() == [0, 0, 0, 1, 1]


def test_clip_that_is_shorter_than_a_patch_is_repeated():
    patches = frames_of(4, 2).patches(4, 4)
    assert patches.n_repeated == 1
    whole = patches.chosen(np.arange(2), torch.eye(2)).whole
    assert whole.patches[1, 0, 0].tolist() == [1000, 1001, 1000, 1001]


def test_sound_that_is_too_short_is_repeated():
    frontend = create_frontend(BALLROOM_MEL)
    short = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    frames = spectrogram(frontend, short, 80)
    assert frames.shape == (80, 40)
    repeated = np.resize(short, frontend.n_samples_for(80))
    assert np.array_equal(frames, spectrogram(frontend, repeated, 1))


def test_saved_frames_come_back(tmp_path):
    frames = frames_of(4, 2)
    frames.save(tmp_path / "frames.npz")
    back = ClipFrames.load(tmp_path / "frames.npz")
    assert np.array_equal(back.values, frames.values)
    assert np.array_equal(back.lengths, frames.lengths)


def test_mean_and_deviation_are_those_of_the_clips_alone():
    mean, std = frames_of(3, 2, 2).mean_and_std(np.array([0, 2]))
    values = [0, 1, 2, 2000, 2001]
    assert (mean, std) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values)))


def test_values_that_never_change_are_not_scaled():
    assert ClipFrames.of([np.ones((3, 2), np.float32)]).mean_and_std(np.array([0])) == (1.0, 1.0)


@pytest.mark.parametrize(("n_patches", "batch_size", "wanted"), [(280, 50, 250), (1120, 10, 1120), (9, 10, 9)])
def test_patches_beyond_the_last_whole_batch_do_not_count(n_patches, batch_size, wanted):
    assert whole_batches(n_patches, batch_size) == wanted


# -- folds and validation, with as many songs as there are -------------------------------------------------------------

SONGS = tuple(f"Media-{number:06}" for number in range(N_SONGS))


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """The study with 698 songs of 30 s, whose sound is left out; folds are dealt out as the seed says."""
    folder = tmp_path_factory.mktemp("songs")
    runs = cut(shuffled(SONGS, 0), 10)
    test, train = PARTS.index("test"), PARTS.index("train")
    parts = np.array([[test if name in run else train for name in SONGS] for run in map(set, runs)], np.int8)
    labels = np.arange(N_SONGS) % 8
    StudyClips(tuple("abcdefgh"), SONGS, labels, tuple(range(1, 11)), parts, {}).save(folder / FILE)
    data = {"clips": FILE, "facts": {"name": "csv", "title": "songs", "words": ""}}
    study = made_study("ballroom", {"data": "csv", "n_folds": 10}, folder, data)
    study.__dict__["frames"] = ClipFrames.of([np.zeros((CLIP_FRAMES, 1), np.float32)] * N_SONGS)
    return study


def test_folds_have_70_songs_or_69(songs):
    tested = [songs.clips.clips(fold, "test") for fold in range(1, 11)]
    assert list(map(len, tested)) == [70] * 8 + [69] * 2
    assert sorted(itertools.chain(*tested)) == list(range(N_SONGS))


@pytest.mark.parametrize("fold", [1, 2, 10])
def test_validation_songs_are_the_first_69_that_are_not_tested(songs, fold):
    order = [SONGS.index(name) for name in shuffled(SONGS, 0)]
    patches = songs.patches(cell := Cell(method="o_net", fold=fold, details={"hop": 250}))
    train, valid = songs.parts(cell)
    assert set(patches.clips[valid]) == set(order[70:139] if fold == 1 else order[:69])
    assert set(patches.clips[train]).isdisjoint({*patches.clips[valid], *songs.clips.clips(fold, "test")})


@pytest.mark.parametrize(("hop", "n_patches"), [(250, 4), (80, 13)])
def test_patches_of_a_fold_of_icassp_2017(songs, hop, n_patches):
    train, valid = songs.parts(Cell(method="p_net", fold=10, details={"hop": hop}))
    assert (len(train), len(valid)) == (560 * n_patches, 69 * n_patches)


@pytest.mark.parametrize(("method", "n_patches"), [("time", 16), ("time_250", 5)])
def test_patches_of_cbmi_2016_are_cut_at_eight_ninths_and_one_is_lost(songs, method, n_patches):
    train, valid = songs.parts(Cell(method=method, fold=1))
    n_rest = 628 * n_patches
    assert (len(train), len(valid)) == (n_rest * 8 // 9, n_rest - n_rest * 8 // 9 - 1)
    assert set(train).isdisjoint(valid)


def test_validation_patches_of_cbmi_2016_are_of_songs_that_are_trained_on(songs):
    patches = songs.patches(cell := Cell(method="time", fold=1))
    train, valid = (set(patches.clips[part]) for part in songs.parts(cell))
    tested = set(songs.clips.clips(1, "test"))
    assert len(valid & train) > 500
    assert tested.isdisjoint(train | valid)


def test_networks_with_patches_of_one_length_share_their_order(songs):
    time, frequency = (songs.parts(Cell(method=method, fold=3))[0] for method in ("time", "frequency_40"))
    longer = songs.parts(Cell(method="time_250", fold=3))[0]
    assert np.array_equal(time, frequency)
    assert len(longer) < len(time)


def test_validation_of_cbmi_2016_may_be_of_whole_songs(songs):
    config = BallroomConfig.of({**songs.config.to_dict(), "validation": "songs"})
    study = type(songs)(config, songs.folder, songs.data)
    study.__dict__["frames"] = songs.frames
    patches = study.patches(cell := Cell(method="time", fold=2))
    train, valid = (set(patches.clips[part]) for part in study.parts(cell))
    assert (len(train), len(valid), train & valid) == (559, 69, set())


@pytest.mark.parametrize("method", ["time", "o_net"])
def test_training_is_as_published(songs, method):
    fit = songs.fit(Cell(method=method, fold=1))
    assert (fit.optimizer, fit.lr, fit.momentum, fit.l2, fit.keep) == ("sgd", 0.01, 0.0, 0.0, "valid_accuracy")
    assert (fit.batch_size, fit.max_epochs) == {"time": (10, 2000), "o_net": (50, 250)}[method]
    rule = fit.schedule
    wanted = ("on_improvement", 20, 40, "train_loss")
    assert (rule.rule, rule.patience, rule.stop_after, rule.monitor) == wanted


# -- cells -------------------------------------------------------------------------------------------------------------


def cells_of(study, phase, **changes):
    config = BallroomConfig.of({**study.config.to_dict(), **changes})
    return type(study)(config, study.folder, study.data).phases()[phase]


def test_init_brings_the_networks_that_it_starts_from(songs):
    before = cells_of(songs, 1, methods=(INIT,), folds=(2, 5))
    after = cells_of(songs, 2, methods=(INIT,), folds=(2, 5))
    assert {(cell.method, cell.fold) for cell in before} == set(itertools.product(("time", "frequency_32"), (2, 5)))
    assert not any(cell.is_scored for cell in before)
    assert [(cell.method, cell.fold) for cell in after] == [(INIT, 2), (INIT, 5)]


def test_networks_that_are_asked_for_themselves_are_scored(songs):
    before = cells_of(songs, 1, methods=("time", INIT), folds=(1,))
    assert {cell.method: cell.is_scored for cell in before} == {"time": True, "frequency_32": False}


def test_both_hops_are_cells_of_their_own(songs):
    cells = cells_of(songs, 1, methods=("o_net", "time"), folds=(1,), op_hop=(250, 80))
    assert [cell.key for cell in cells] == [
        "o_net_hop-250_fold-1_run-0",
        "o_net_hop-80_fold-1_run-0",
        "time_fold-1_run-0",
    ]


@pytest.mark.parametrize("row", [row for row in PUBLISHED if row["parameters"]], ids=lambda row: row["method"])
def test_published_parameters_are_those_of_the_network(songs, row):
    net = NETS[row["method"]]
    name = {"Black-box": "black_box", "Time-FrequencyInit": "time_frequency"}.get(net.title)
    name = name or net.title.lower().replace("-", "_")
    frames = {"n_frames": net.n_frames} if name in ("black_box", "time") else {}
    model = create_model(f"ballroom_{name}", n_tags=8, **{**frames, **net.options})
    assert sum(parameter.numel() for parameter in model.parameters()) == row["parameters"]


# -- a small set -------------------------------------------------------------------------------------------------------

SMALL = {"data": "csv", "data.label": "rhythm", "n_folds": 4, "max_epochs": 2}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_rhythms(tmp_path_factory.mktemp("rhythms"), n_each=1, length_s=4.0)


@pytest.fixture(scope="module")
def prepared(sound, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    return made_study("ballroom", {**SMALL, "data.root": str(sound)}, folder)


@pytest.fixture
def small(prepared, sound, tmp_path):
    """Make the study with some settings, in a folder of its own, without decoding again."""

    def make(**changes):
        (tmp_path / FILE).write_bytes((prepared.folder / FILE).read_bytes())
        study = made_study("ballroom", {**SMALL, "data.root": str(sound), **changes}, tmp_path, prepared.data)
        study.__dict__["frames"] = prepared.frames
        return study

    return make


def test_all_clips_are_dealt_out(prepared):
    tested = [prepared.clips.clips(fold, "test") for fold in prepared.clips.folds]
    assert list(map(len, tested)) == [4] * 4
    assert sorted(itertools.chain(*tested)) == list(range(16))
    assert prepared.clips.classes == ("gallop", "roll", "straight", "swing")


def test_spectrograms_are_computed_once(prepared):
    assert prepared.measure(Cell(method="spectrograms")) == {"frames": len(prepared.frames.values)}
    (path,) = prepared.files.glob("spectrograms-*.npz")
    path_time = path.stat().st_mtime_ns
    again = made_study("ballroom", prepared.config.to_dict(), prepared.folder, prepared.data)
    assert np.array_equal(again.frames.values, prepared.frames.values)
    assert path.stat().st_mtime_ns == path_time


def test_measured_cell_does_not_hang_on_what_was_measured_before(small):
    study, cell = small(), Cell(method="frequency_32", fold=1)
    alone = study.measure(cell)
    study.measure(Cell(method="time", fold=2))
    assert study.measure(cell) == alone
    assert json.loads(json.dumps(alone)) == alone


def test_another_run_has_other_numbers(small):
    study = small()
    one, other = (study.start(Cell(method="time", fold=1, run=run)).state_dict() for run in (0, 1))
    assert not torch.equal(one["conv.weight"], other["conv.weight"])


def test_confusion_counts_the_clips_of_the_fold(small):
    found = small().measure(Cell(method="frequency_40", fold=1))
    confusion = np.array(found["confusion"])
    assert confusion.shape == (4, 4)
    assert confusion.sum() == 4
    assert found["accuracy"] == np.trace(confusion) / 4


def test_network_that_was_trained_is_kept(small):
    study, cell = small(), Cell(method="frequency_38", fold=1)
    study.measure(cell)
    assert study.network_path(cell).exists()


def test_longer_patches_are_told_where_clips_are_shorter(small):
    study = small()
    assert study.measure(Cell(method="p_net", fold=1, details={"hop": 80}))["n_repeated"] == 16
    assert study.patches(Cell(method="time", fold=1)).n_repeated == 0


@functools.cache
def branch(method):
    torch.manual_seed(0)
    model = create_model(f"ballroom_{method.split('_')[0]}", n_tags=4)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_init_starts_from_the_branches_of_its_fold_and_goes_on_learning(small):
    study, cell = small(max_epochs=1), Cell(method=INIT, fold=1)
    for method in ("time", "frequency_32"):
        branch(method).save(study.network_path(Cell(method=method, fold=1)))
    started = study.start(cell)
    assert torch.equal(started.time_conv.weight, branch("time").conv.weight)
    assert torch.equal(started.time_conv.bias, branch("time").conv.bias)
    assert torch.equal(started.frequency_conv.weight, branch("frequency_32").conv.weight)
    before = started.time_conv.weight.clone()
    optimizer = torch.optim.SGD(started.parameters(), lr=0.01)
    batch = study.patches(cell).chosen(np.arange(4), one_hot(study.clips.labels, 4)).whole
    started.forward_head(started.forward_features(batch.patches)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(started.time_conv.weight, before)


def test_init_of_a_fold_without_its_branches_says_what_is_missing(small):
    study = small()
    for method in ("time", "frequency_32"):
        branch(method).save(study.network_path(Cell(method=method, fold=2)))
    with pytest.raises(TrainingError, match=r"time_fold-1_run-0.safetensors, which is not there; delete .*json"):
        study.start(Cell(method=INIT, fold=1))


@pytest.mark.parametrize("validation", ["patches", "songs"])
def test_input_may_be_scaled_by_the_training_set_alone(small, validation):
    study = small(normalisation="train", validation=validation)
    cell = Cell(method="time", fold=1)
    clips = study.clips.clips(1, "train", "valid")
    if validation == "songs":
        clips = np.unique(study.patches(cell).clips[study.parts(cell)[0]])
    standardize = study.start(cell).standardize
    wanted = study.frames.mean_and_std(clips)
    assert (standardize.mean.item(), standardize.std.item()) == pytest.approx(wanted)


def test_input_is_scaled_by_all_clips_as_published(small):
    study = small()
    standardize = study.start(Cell(method="time", fold=1)).standardize
    assert standardize.mean.item() == pytest.approx(study.frames.values.mean(dtype=np.float64))
    assert standardize.std.item() == pytest.approx(study.frames.values.std(dtype=np.float64))


# -- what cannot be done -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_folds": 1}, "n_folds is 1"),
        ({"n_folds": -2}, "n_folds is -2"),
        ({"normalisation": "test"}, "normalisation is 'test'"),
        ({"validation": "song"}, "validation is 'song'"),
        ({"op_hop": (0,)}, "op_hop is"),
        ({"op_count": "most"}, "op_count is 'most'"),
        ({"max_epochs": -1}, "max_epochs is -1"),
        ({"methods": ("tine",)}, "no method 'tine'. Did you mean time"),
        ({"epochs": 3}, "no setting 'epochs'"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        BallroomConfig.of(settings)


def test_more_folds_than_clips_are_refused(sound, tmp_path):
    with pytest.raises(DatasetError, match=r"fold 17 has no clip to test .* n_folds=10 deals"):
        made_study("ballroom", {**SMALL, "data.root": str(sound), "n_folds": 18}, tmp_path)


def test_fold_that_is_not_there_is_refused(sound, tmp_path):
    with pytest.raises(ConfigError, match="no fold 9"):
        made_study("ballroom", {**SMALL, "data.root": str(sound), "folds": (9,)}, tmp_path)


# -- results -----------------------------------------------------------------------------------------------------------


def row(method, accuracy, **details):
    facts = {"parameters": 100, "patch_accuracy": 0.5, "common_accuracy": 0.25, "n_repeated": 0, "confusion": [[1]]}
    return {"method": method, "fold": 1, "run": 0, "accuracy": accuracy, **facts, **details}


def claim(rows, start):
    return next(one for one in claims_of(rows) if one.words.startswith(start))


@pytest.mark.parametrize(
    ("start", "higher", "lower"),
    [
        ("Time tells", "time", "frequency_32"),
        ("filters that cannot move", "frequency_32", "frequency_40"),
        ("filters of 200 frames", "time", "time_250"),
        ("Time-Frequency gains", INIT, "time_frequency"),
        ("Time-FrequencyInit is as good", INIT, "black_box"),
    ],
)
def test_relation_of_the_paper_shows_or_does_not(start, higher, lower):
    assert claim([row(higher, 0.8), row(lower, 0.6)], start).shows is True
    assert claim([row(higher, 0.6), row(lower, 0.8)], start).shows is False
    assert claim([row(higher, 0.6)], start).shows is None


@pytest.mark.parametrize(("last", "shows"), [(0.9, True), (0.8, False)])
def test_accuracy_grows_with_the_number_of_blocks_or_does_not(last, shows):
    names = ("o_net_p_net", "o_net_2_p_net_2", "o_net_4_p_net_4", "o_net_8_p_net_8")
    rows = [row(name, value, hop=80) for name, value in zip(names, (0.6, 0.7, 0.85, last))]
    assert claim(rows, "accuracy grows").shows is shows


def test_overlap_is_compared_over_the_networks_that_have_both():
    rows = [row("o_net", 0.7, hop=80), row("o_net", 0.6, hop=250), row("p_net", 0.9, hop=250)]
    assert claim(rows, "patches that overlap").shows is True


def test_table_has_published_numbers_of_cbmi_2016_alone(small):
    (table,) = small().tables([row("time", 0.5), row("time", 0.7), row("o_net", 0.6, hop=250)])
    lines = {line[0]: line for line in table.rows}
    assert lines["Time"][1:] == ["40 x 80", "1 x 60", "100", "60.00 ± 10.00", "50.00 ± 0.00", "81.79 ± 4.72"]
    assert lines["O-net, hop 250"][-1] == "-"
    assert lines["Marchand et al."][-1] == "93.12"
    assert "as transcribed by others" in table.note


# -- all of it ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_study_from_words_to_files(sound, tmp_path, run_taggram):
    words = [f"{key}={value}" for key, value in SMALL.items()]
    out = tmp_path / "run"
    methods = f"methods={INIT},time,frequency_32,o_net"
    done = run_taggram("study", "ballroom", *words, f"data.root={sound}", "folds=1,2", methods, f"out={out}")
    assert done.returncode == 0, done.stderr
    assert "not the data of the paper" in done.stdout
    assert {path.stem for path in out.glob("*.png")} == {"sizes", "confusion", "filters_time", "filters_frequency"}
    results = json.loads((out / "results.json").read_text())
    assert len(results["cells"]) == 8
    assert len(results["published"]) == len(PUBLISHED)


@pytest.mark.slow
def test_run_that_goes_on_gives_what_one_run_gives(sound, tmp_path):
    values = {**SMALL, "data.root": str(sound), "folds": (1,)}
    whole = run_study("ballroom", {**values, "methods": (INIT, "time", "frequency_32")}, tmp_path / "a", n_workers=2)
    run_study("ballroom", {**values, "methods": ("time", "frequency_32")}, tmp_path / "b", n_workers=1)
    (tmp_path / "b" / "cells" / "time_fold-1_run-0.json").unlink()
    later = run_study("ballroom", {**values, "methods": (INIT, "time", "frequency_32")}, tmp_path / "b", n_workers=1)
    assert later.results["cells"] == whole.results["cells"]
    assert later.table == whole.table


RHYTHM_AND_TIMBRE = {"data": "csv", "n_folds": 4, "max_epochs": 150, "methods": ("time", "frequency_32")}


@pytest.fixture(scope="module")
def louder_sound(tmp_path_factory):
    return write_rhythms(tmp_path_factory.mktemp("sets"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "better", "worse"), [("rhythm", "time", "frequency_32"), ("timbre", "frequency_32", "time")]
)
def test_filters_tell_what_they_are_shaped_for(louder_sound, tmp_path, label, better, worse):
    values = {**RHYTHM_AND_TIMBRE, "data.root": str(louder_sound), "data.label": label}
    found = run_study("ballroom", values, tmp_path, n_workers=1).results["cells"]
    accuracy = {name: np.mean([one["accuracy"] for one in found if one["method"] == name]) for name in (better, worse)}
    assert accuracy[better] - accuracy[worse] > 0.3
