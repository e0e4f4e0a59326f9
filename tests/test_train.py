"""`taggram train` and `taggram evaluate` as people use them: from sound on disk to a model that tags, and numbers."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from _made_sounds import QUICK, RATE, TAGS, sound_of, write_csv, write_set

from taggram.datasets.synth import write_synth
from taggram.errors import ConfigError, DatasetError, TrainingError, UnknownNameError
from taggram.learning._run_folder import begin_run
from taggram.learning.evaluate import Evaluation
from taggram.learning.recipe import Recipe
from taggram.learning.train import train
from taggram.tagger import Tagger

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Prepared data goes into a cache of its own; weights need not be there."""
    before = os.environ.get("TAGGRAM_HOME")
    os.environ["TAGGRAM_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["TAGGRAM_HOME"]
    else:
        os.environ["TAGGRAM_HOME"] = before


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def run(cache, sounds, tmp_path_factory, run_taggram):
    """The folder of a run that the command line made, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = run_taggram("train", "samplecnn", *QUICK, *of(sounds), f"out={folder}", "fit.max_epochs=15", within_s=240)
    assert done.returncode == 0, done.stderr
    return folder, done


def of(sounds):
    return ("data=csv", f"data.root={sounds}", "data.min_count=3")


def recipe(sounds, **changes):
    settings = {"options.kernel": 3, "options.depth": 3, "options.n_samples": 2187, "fit.batch_size": 8}
    data = {"data": "csv", "data.root": str(sounds), "data.min_count": 3}
    return Recipe.load("samplecnn", {**settings, **data, "fit.max_epochs": 1, **changes})


def numbers_of(folder, part="test"):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))[part]


# -- a run -------------------------------------------------------------------------------------------------------------


def test_it_learns_what_is_easy_to_hear(run):
    assert numbers_of(run[0])["macro_roc_auc"] > 0.9


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "metrics.csv", "metrics.json", "tags.csv", "curves.png", "model.safetensors", "model.json"),
        *("report.html", "report/tags.csv", "last.ckpt", "scores_test.npz", "scores_valid.npz", "tensorboard"),
    ],
)
def test_run_folder_holds(run, name):
    assert (run[0] / name).exists()


@pytest.mark.parametrize("part", ["test", "valid"])
def test_numbers_have_the_split_and_its_hash_beside_them(run, part):
    numbers = numbers_of(run[0], part)
    assert (numbers["split"], len(numbers["split_sha256"]), numbers["n_clips"]) == ("column", 64, 12)


def test_numbers_of_each_tag_are_there(run):
    tags = numbers_of(run[0])["tags"]
    assert set(tags) == set(TAGS)
    assert all({"roc_auc", "pr_auc", "n_positive"} <= set(numbers) for numbers in tags.values())


def test_figures_of_each_epoch_are_a_table(run):
    with (run[0] / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == list(range(1, 16))


def test_epochs_and_speed_are_told_while_it_runs(run):
    assert "epoch 15/15: loss" in run[1].stderr
    assert "h of sound/s" in run[1].stderr


def test_numbers_go_to_standard_output(run):
    assert run[1].stdout.startswith("test: ROC-AUC ")


def test_tensorboard_has_events(run):
    assert list((run[0] / "tensorboard").glob("events.out.tfevents.*"))


def test_run_tags(run, sounds, run_taggram):
    done = run_taggram("tag", "--model", run[0], sounds / "000.wav", "--format", "json", "--threshold", "0")
    result = json.loads(done.stdout)
    assert (result["model"], {row["tag"] for row in result["tags"]}) == ("first", set(TAGS))


def test_run_embeds(run, sounds, tmp_path, run_taggram):
    done = run_taggram("embed", "--model", run[0], sounds / "000.wav", "--out", tmp_path / "e.npz")
    assert done.returncode == 0
    assert np.load(tmp_path / "e.npz")["features"].ndim == 2


def test_run_is_what_python_takes_too(run):
    assert set(Tagger(run[0]).tags) == set(TAGS)


# -- seeds, and runs that are killed -----------------------------------------------------------------------------------


def test_one_seed_gives_the_same_numbers_twice(sounds, tmp_path):
    for name in "ab":
        train(recipe(sounds, seed=3), tmp_path / name, n_workers=1)
    assert numbers_without_name(tmp_path / "a") == numbers_without_name(tmp_path / "b")


KILLED = """
import os, signal, sys
import lightning
import taggram.learning.fit as fitting
from taggram.apps.cli import main

class Dies(lightning.Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 20:
            os.killpg(0, signal.SIGKILL)

fit = fitting.fit
fitting.fit = lambda *given, **options: fit(*given, **options, callbacks=[Dies()])
main()
"""


def test_killed_run_goes_on_to_the_numbers_of_one_that_was_not(run, sounds, tmp_path, run_taggram):
    folder = tmp_path / "first"
    words = ["train", "samplecnn", *QUICK, *of(sounds), f"out={folder}", "fit.max_epochs=15", "fit.checkpoint_steps=1"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], start_new_session=True, timeout=240, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (folder / "last.ckpt").exists()
    assert not (folder / "metrics.json").exists()
    done = run_taggram(*words, "resume=true", within_s=240)
    assert done.returncode == 0, done.stderr
    assert numbers_of(folder) == numbers_of(run[0])
    assert (folder / "metrics.csv").read_bytes() == (run[0] / "metrics.csv").read_bytes()


def wait_for(path, within_s=180):
    """Wait for a file; a process that never writes it fails the test and does not hang it."""
    end = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} is not there"
        time.sleep(0.02)


def numbers_without_name(folder):
    return {name: value for name, value in numbers_of(folder).items() if name != "model"}


def test_folder_with_a_run_is_left_alone(run, sounds, run_taggram):
    before = (run[0] / "model.safetensors").read_bytes()
    done = run_taggram("train", "samplecnn", *QUICK, *of(sounds), f"out={run[0]}")
    assert (done.returncode, before) == (1, (run[0] / "model.safetensors").read_bytes())
    assert "resume=true" in done.stderr


def test_folder_with_something_else_is_left_alone(sounds, tmp_path, run_taggram):
    (tmp_path / "tags.csv").write_text("mine", encoding="utf-8")
    done = run_taggram("train", "samplecnn", *QUICK, *of(sounds), f"out={tmp_path}")
    assert (done.returncode, (tmp_path / "tags.csv").read_text(encoding="utf-8")) == (1, "mine")
    assert "holds something else" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_says_how_it_goes_on(sounds, tmp_path, started, number, status):
    process = started("train", "samplecnn", *QUICK, *of(sounds), f"out={tmp_path / 'run'}", "fit.max_epochs=500")
    wait_for(tmp_path / "run" / "last.ckpt")
    process.send_signal(number)
    _, told = process.communicate(timeout=100)
    assert process.returncode == status
    assert b"resume=true go on with it" in told


def test_list_without_train_is_scored_on(run, sounds, tmp_path, run_taggram):
    lines = (sounds / "clips.csv").read_text(encoding="utf-8").splitlines()[1:]
    others = tmp_path / "others"
    write_csv(others, [(str(sounds / path), "test", tags) for path, _, tags in (line.split(",") for line in lines)])
    done = run_taggram("evaluate", run[0], "data=csv", f"data.root={others}", f"out={tmp_path / 'scores'}")
    assert done.returncode == 0, done.stderr
    assert numbers_of(tmp_path / "scores")["n_clips"] == len(lines)


def test_run_is_looked_at(run, tmp_path, run_taggram):
    assert run_taggram("look", run[0], "--filters", "--out", tmp_path).returncode == 0


def test_run_goes_on_for_more_epochs(sounds, tmp_path):
    train(recipe(sounds), tmp_path / "run", n_workers=1)
    result = train(recipe(sounds, **{"fit.max_epochs": 3}), tmp_path / "run", resume=True, n_workers=1)
    assert len(result.history) == 3


def test_settings_of_one_recipe_do_not_leak_into_the_next():
    Recipe.load("vgg", {"fit.schedule.factor": 0.9})
    assert Recipe.load("vgg").fit.schedule.factor == 0.3


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        pytest.param({"options.width": 8}, {}, "options.width", id="option that is left out"),
        pytest.param({}, {"fit.lr": 0.1}, "fit.lr", id="other value"),
        pytest.param({}, {"augment.mixup": 0.2}, "augment.mixup", id="other section"),
    ],
)
def test_run_goes_on_with_its_own_settings_alone(tmp_path, first, second, told):
    begin_run(tmp_path, Recipe.load("samplecnn", first).to_dict(), resume=False)
    with pytest.raises(ConfigError, match=told):
        begin_run(tmp_path, Recipe.load("samplecnn", second).to_dict(), resume=True)


def test_run_does_not_go_on_with_another_network(tmp_path):
    begin_run(tmp_path, Recipe.load("samplecnn").to_dict(), resume=False)
    with pytest.raises(ConfigError, match="other settings, network"):
        begin_run(tmp_path, Recipe.load("vgg").to_dict(), resume=True)


def test_damaged_checkpoint_is_told(sounds, tmp_path):
    train(recipe(sounds), tmp_path / "run", n_workers=1)
    checkpoint = tmp_path / "run" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="is damaged"):
        train(recipe(sounds, **{"fit.max_epochs": 2}), tmp_path / "run", resume=True, n_workers=1)


def test_minutes_end_a_run(sounds, tmp_path):
    result = train(recipe(sounds, **{"fit.max_minutes": 1e-4, "fit.max_epochs": 500}), tmp_path / "run", n_workers=1)
    assert len(result.history) < 500


# -- several processes -------------------------------------------------------------------------------------------------


def test_two_processes_train_together(sounds, tmp_path):
    words = ["train", "samplecnn", *QUICK, *of(sounds), f"out={tmp_path / 'run'}", "device=cpu", "fit.max_epochs=4"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "taggram"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert numbers_of(tmp_path / "run")["n_clips"] == 12
    assert done.stderr.count("epoch 4/4") == 1


# -- other ways to train -----------------------------------------------------------------------------------------------


def test_run_is_trained_further_with_a_new_head(run, tmp_path):
    rng = np.random.default_rng(5)
    rows = []
    for number in range(24):
        tag = ("hum", "hiss")[number % 2]
        soundfile.write(tmp_path / f"{number}.wav", sound_of(["low" if tag == "hum" else "noisy"], seed=number), RATE)
        rows.append((f"{number}.wav", ("train", "valid", "test")[int(rng.integers(3))], tag))
    write_csv(tmp_path, rows)
    words = {"data": "csv", "data.root": str(tmp_path), "data.min_count": 1, "fit.max_epochs": 2, "fit.trunk_lr": 0}
    train(Recipe.load(str(run[0]), words), tmp_path / "run", n_workers=1)
    assert Tagger(tmp_path / "run").tags == ("hiss", "hum")


def test_head_alone_learns_where_the_trunk_is_frozen(run, sounds, tmp_path):
    words = {"data": "csv", "data.root": str(sounds), "data.min_count": 3, "fit.max_epochs": 1, "fit.trunk_lr": 0}
    train(Recipe.load(str(run[0]), words), tmp_path / "run", n_workers=1)
    before, after = (Tagger(folder).model.state_dict() for folder in (run[0], tmp_path / "run"))
    assert all(bool((before[name] == after[name]).all()) for name in before if not name.startswith("head"))


def test_prepared_data_is_enough_to_train_and_score(sounds, tmp_path, run_taggram):
    out = tmp_path / "prepared"
    run_taggram("data", "prepare", "csv", "--root", sounds, "--out", out, "--sample-rate", str(RATE), "min_count=3")
    words = {key: value for key, value in recipe_words().items() if not key.startswith("data")}
    result = train(Recipe.load("samplecnn", {**words, "data.prepared": str(out)}), tmp_path / "run", n_workers=1)
    assert [evaluation.n_clips for evaluation in result.evaluations] == [12, 12]


def recipe_words():
    return {"options.kernel": 3, "options.depth": 3, "options.n_samples": 2187, "fit.max_epochs": 1}


def test_features_on_disk_are_trained_on(sounds, tmp_path):
    words = {"data": "csv", "data.root": str(sounds), "data.min_count": 3, "data.features": True, "fit.max_epochs": 1}
    result = train(Recipe.load("timbre", words), tmp_path / "run", n_workers=1)
    assert len(result.history) == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"augment.mixup": 0.3, "augment.gain_db": (-6, 6), "augment.noise_snr_db": (10, 40)}, id="sound"),
        pytest.param({"fit.accumulate": 2, "fit.clip_norm": 1.0}, id="accumulated gradients"),
        pytest.param({"fit.precision": "bf16-mixed", "fit.max_epochs": 1}, id="mixed precision"),
        pytest.param({"fit.optimizer": "sgd", "fit.momentum": 0.9, "fit.nesterov": True, "fit.l2": 1e-6}, id="sgd"),
    ],
)
def test_setting_trains(sounds, tmp_path, changes):
    result = train(recipe(sounds, **changes), tmp_path / "run", n_workers=1)
    assert np.isfinite(result.history[0]["train_loss"])


def test_masks_train_a_spectrogram_network(sounds, tmp_path):
    words = {"data": "csv", "data.root": str(sounds), "data.min_count": 3, "fit.max_epochs": 1}
    masked = {**words, "augment.mask_bands": 8, "augment.mask_frames": 8}
    result = train(Recipe.load("timbre", masked), tmp_path / "run", n_workers=1)
    assert np.isfinite(result.history[0]["train_loss"])


def test_folder_for_each_tag_is_trained_on(tmp_path):
    for number in range(60):
        tag = ("hum", "hiss")[number % 2]
        (tmp_path / "sounds" / tag).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "sounds" / tag / f"{number}.wav"
        soundfile.write(path, sound_of(["low" if tag == "hum" else "noisy"], seed=number), RATE)
    words = {**recipe_words(), "data": "folder", "data.root": str(tmp_path / "sounds"), "fit.max_epochs": 4}
    train(Recipe.load("samplecnn", words), tmp_path / "run", n_workers=1)
    numbers = numbers_of(tmp_path / "run")
    assert (numbers["task"], Tagger(tmp_path / "run").model.task) == ("one", "one")
    assert "accuracy" in numbers


def test_music_is_made_up_where_there_is_none(tmp_path):
    words = {**recipe_words(), "data": "synth", "data.n_tracks": 40, "data.length_s": 1}
    result = train(Recipe.load("samplecnn", words), tmp_path / "run", n_workers=1)
    assert result.evaluations[0].data_set == "synth"


def test_boosted_trees_are_scored_as_networks_are(sounds, tmp_path):
    words = {"data": "csv", "data.root": str(sounds), "data.min_count": 3, "trees.features": "mfcc"}
    train(Recipe.load("boosted_trees", {**words, "trees.max_rounds": 20}), tmp_path / "run", n_workers=1)
    assert numbers_of(tmp_path / "run")["macro_roc_auc"] > 0.6


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_recipes_are_listed(run_taggram):
    done = run_taggram("train")
    assert (done.returncode, "musicnn_mtt" in done.stdout) == (0, True)


def test_recipe_is_shown_whole(run_taggram):
    done = run_taggram("train", "musicnn_mtt", "fit.max_epochs=3", "--show")
    shown = json.loads(done.stdout)
    assert (shown["data"]["name"], shown["fit"]["max_epochs"], shown["fit"]["batch_size"]) == ("mtt", 3, 32)


def test_other_data_set_has_none_of_the_options_of_the_recipe():
    assert Recipe.load("musicnn_mtt", {"data": "synth"}).data.options == {}


def test_published_numbers_stand_beside_ours_on_their_own_data_alone():
    assert Recipe.load("musicnn_mtt").beside
    assert not Recipe.load("musicnn_mtt", {"data": "synth"}).beside


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The folder of a little made-up music."""
    folder = tmp_path_factory.mktemp("made")
    write_synth(folder, n_tracks=12, length_s=1, n_processes=1)
    return folder


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["musicn"], "no recipe, network or trained model named 'musicn'. Did you mean musicnn"),
        (["vgg", "epochs=3"], "no setting 'epochs'"),
        (["vgg", "max_epochs=3"], "Did you mean fit.max_epochs?"),
        (["vgg", "fit.max_epoch=3"], "fit has no setting 'max_epoch'. Did you mean max_epochs"),
        (["vgg", "fit.max_epochs=many"], "max_epochs is 'many'; wanted a whole number from 1 on"),
        (["vgg", "fit.schedule.rule=drop"], "one of 'constant', 'drops'"),
        (["vgg", "data=cvs"], "no data set named 'cvs'. Did you mean csv"),
        (["vgg", "data=csv"], "data.root is missing"),
        (["vgg"], "say data=NAME"),
        (["vgg", "data=csv", "data.root=."], "out is missing"),
        (["vgg", "evaluate.clip_score=median"], "evaluate.clip_score is 'median'"),
        (["vgg", "augment.gain=3"], "augment has no setting 'gain'. Did you mean gain_db"),
        (["vgg", "out=a", "out=b"], "out is given twice"),
        (["vgg", "nonsense"], "write KEY=VALUE"),
        (["vgg", "options.n_tags=3"], "options.n_tags follows from the data"),
        (["vgg", "options.frontend=mel"], "is for Python alone"),
        (["vgg", "trees.max_rounds=3"], "trees.max_rounds is of boosted_trees"),
        (["boosted_trees", "fit.lr=3"], "fit.lr is of networks"),
        (["vgg", "data=synth", "device=nowhere"], "no device 'nowhere'"),
        (["vgg", "data=synth", "data.root=SYNTH", "fit.freeze=[conv]"], "freeze is '[conv]'"),
        (["vgg", "data=synth", "data.root=SYNTH", 'fit.freeze=["conv"]'], "no part 'conv' to freeze"),
        (["vgg", "data=synth", "data.n_track=5"], "synth has no option 'n_track'. Did you mean n_tracks"),
        (["samplecnn", "data=synth", "data.root=SYNTH", "augment.mask_bands=3"], "looks at raw samples"),
    ],
)
def test_wrong_word_is_answered_with_what_is_allowed(run_taggram, tmp_path, made_up, words, told):
    said = any(word.startswith("out=") for word in words) or told.startswith("out ")
    words = [word.replace("SYNTH", str(made_up)) for word in words]
    done = run_taggram("train", *words, *([] if said else [f"out={tmp_path / 'run'}"]))
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "run").exists()


# -- bad data ----------------------------------------------------------------------------------------------------------


def test_broken_file_is_told_and_the_rest_is_trained_on(sounds, tmp_path, run_taggram):
    folder = write_set(tmp_path / "sounds")
    (folder / "000.wav").write_bytes(b"no sound")
    (folder / "005.wav").unlink()
    done = run_taggram("train", "samplecnn", *QUICK, *of(folder), f"out={tmp_path / 'run'}", "fit.max_epochs=1")
    assert done.returncode == 1
    assert numbers_of(tmp_path / "run")["n_clips"] == 11
    assert "000.wav" in done.stderr
    assert "005.wav" in done.stderr


@pytest.mark.parametrize("part", ["train", "valid"])
def test_part_without_a_clip_is_told(tmp_path, part):
    folder = write_set(tmp_path / "sounds")
    rows = [line.split(",") for line in (folder / "clips.csv").read_text(encoding="utf-8").splitlines()[1:]]
    write_csv(folder, [row for row in rows if row[1] != part])
    changes = {"data.min_count": 0} if part == "train" else {}
    with pytest.raises(DatasetError, match=f"is there a part named {part}"):
        train(recipe(folder, **changes), tmp_path / "run", n_workers=1)


def test_set_without_a_test_part_is_scored_on_validation(tmp_path):
    folder = write_set(tmp_path / "sounds")
    rows = [line.split(",") for line in (folder / "clips.csv").read_text(encoding="utf-8").splitlines()[1:]]
    write_csv(folder, [row for row in rows if row[1] != "test"])
    result = train(recipe(folder), tmp_path / "run", n_workers=1)
    assert [evaluation.part for evaluation in result.evaluations] == ["valid"]


def test_set_with_train_alone_is_trained_on(tmp_path):
    folder = write_set(tmp_path / "sounds")
    rows = [line.split(",") for line in (folder / "clips.csv").read_text(encoding="utf-8").splitlines()[1:]]
    write_csv(folder, [row for row in rows if row[1] == "train"])
    result = train(recipe(folder, **{"fit.valid_share": 0.2}), tmp_path / "run", n_workers=1)
    assert (result.evaluations, (tmp_path / "run" / "model.safetensors").exists()) == ((), True)


def test_changed_sound_is_prepared_again(tmp_path):
    folder = write_set(tmp_path / "sounds")
    train(recipe(folder), tmp_path / "a", n_workers=1)
    soundfile.write(folder / "000.wav", sound_of(["noisy"], 8000, 99), RATE)
    train(recipe(folder), tmp_path / "b", n_workers=1)
    assert (tmp_path / "a" / "metrics.csv").read_bytes() != (tmp_path / "b" / "metrics.csv").read_bytes()


# -- evaluate ----------------------------------------------------------------------------------------------------------


def test_evaluation_gives_the_numbers_of_the_training(run, sounds, tmp_path, run_taggram):
    done = run_taggram("evaluate", run[0], *of(sounds), f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert numbers_of(tmp_path) == numbers_of(run[0])
    assert (tmp_path / "report.html").exists()


def test_scores_that_trainings_left_stand_side_by_side(run, sounds, tmp_path, run_taggram):
    train(recipe(sounds), tmp_path / "second", n_workers=1)
    done = run_taggram("evaluate", run[0], tmp_path / "second", f"out={tmp_path / 'both'}")
    assert done.returncode == 0, done.stderr
    assert "Side by side" in (tmp_path / "both" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def other_split(tmp_path):
    """The folder of a run on another split."""
    train(recipe(write_set(tmp_path / "other", 48, seed=7)), tmp_path / "run", n_workers=1)
    return tmp_path / "run"


def test_numbers_of_different_splits_are_not_compared(run, other_split, tmp_path, run_taggram):
    done = run_taggram("evaluate", run[0], other_split, f"out={tmp_path / 'both'}")
    assert done.returncode == 2
    assert "cannot be compared: split_sha256 is" in done.stderr
    assert not (tmp_path / "both").exists()


def test_numbers_of_different_splits_are_compared_where_that_is_asked_for(run, other_split, tmp_path, run_taggram):
    done = run_taggram("evaluate", run[0], other_split, f"out={tmp_path / 'both'}", "--mixed")
    assert done.returncode == 0, done.stderr


def test_folds_are_averaged(run, other_split, tmp_path, run_taggram):
    done = run_taggram("evaluate", run[0], other_split, f"out={tmp_path / 'both'}", "--folds")
    mean = json.loads((tmp_path / "both" / "folds.json").read_text(encoding="utf-8"))["numbers"]["macro_roc_auc"]
    each = [Evaluation.load(folder).metrics()["test"]["macro_roc_auc"] for folder in (run[0], other_split)]
    assert mean["mean"] == pytest.approx(np.mean(each))
    assert "mean over 2 folds" in done.stdout


def test_changed_sound_is_scored(run, sounds, tmp_path, run_taggram):
    done = run_taggram("evaluate", run[0], *of(sounds), f"out={tmp_path}", "--perturb", "noise:0,gain:-40")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "perturbations.csv").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["out=x"], "no model is named"),
        (["RUN"], "out is missing"),
        (["RUN", "out=x", "date=csv"], "no setting 'date'. Did you mean data"),
        (["RUN", "out=RUN"], "holds a run"),
        (["RUN", "out=x", "--perturb", "noise"], "--perturb takes one model and the sound"),
        (["RUN", "out=x", "data=csv", "data.root=nowhere"], "nowhere"),
        (["musicnn.mtt", "out=x"], "give data=NAME"),
    ],
)
def test_evaluate_answers_what_it_cannot_do(run, run_taggram, words, told, tmp_path):
    done = run_taggram("evaluate", *(word.replace("RUN", str(run[0])) for word in words), cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert told in done.stderr


def test_unknown_recipe_is_an_unknown_name():
    with pytest.raises(UnknownNameError):
        Recipe.load("nothing")


def test_out_that_holds_a_run_is_a_training_error(run, sounds):
    with pytest.raises(TrainingError):
        train(recipe(sounds), run[0])


def test_key_of_no_section_is_a_config_error():
    with pytest.raises(ConfigError):
        Recipe.load("vgg", {"fit": {}})


def test_training_and_tagging_hear_the_same(tmp_path):
    """Quiet tones, under a logarithm that tells silence from the rounding to 16 bits."""
    folder = tmp_path / "sounds"
    for number in range(24):
        folder.mkdir(exist_ok=True)
        quiet = 1e-3 * sound_of([TAGS[number % 3]], 44_100, number).astype(np.float64)
        soundfile.write(folder / f"{number}.wav", quiet, RATE, subtype="FLOAT")
    write_csv(folder, [(f"{n}.wav", ("train", "valid")[n % 2], TAGS[n % 3]) for n in range(24)])
    words = {"data": "csv", "data.root": str(folder), "data.min_count": 1, "fit.max_epochs": 2, "fit.keep": "last"}
    result = train(Recipe.load("timbre", words), tmp_path / "run", n_workers=1)
    (evaluation,) = result.evaluations
    numbers = evaluation.metrics()["valid"]
    assert numbers["macro_roc_auc"] == pytest.approx(result.history[-1]["valid_auc"], abs=1e-6)
