"""Several processes that train together give what one gives, and go on from each other's runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _made_prepared import MadeData, network
from _made_sounds import QUICK as QUICK_NETWORK
from _made_sounds import write_set
from _rank_fits import CASES, RECIPES, differences, run, run_apart, run_recipe

from taggram.apps import _training
from taggram.apps._evaluating import run_evaluation
from taggram.errors import ConfigError
from taggram.learning._ranks import Ranks
from taggram.learning._together import Together
from taggram.learning.config import FitConfig
from taggram.learning.fit import fit

QUICK = ("uneven", "augmented")
QUICK_TO_TRAIN = (*QUICK_NETWORK, "data=csv", "data.min_count=3", "fit.max_epochs=500", "fit.checkpoint_steps=1")
ADAM = "default_adam"  # one step of it
SLOW = [name for name in CASES if name not in (*QUICK, ADAM)]
TOLERANCE = 5e-5  # of weights and figures; rounding alone gives some 1e-6


def compared(folder, names):
    """Train some cases in two processes, and in one; give the differences by name."""
    done = run_apart(2, str(folder / "two"), *names)
    assert done.returncode == 0, done.stderr
    for name in names:
        run(folder / "one", name)
    return {name: differences(folder / "one" / name, folder / "two" / name) for name in names}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("ranks"), (*QUICK, ADAM))


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("ranks"), SLOW)


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_give_the_weights_and_figures_of_one(quick, name):
    assert max(quick[name]) < TOLERANCE


def test_adam_makes_no_more_of_rounding_than_between_one_thread_and_two(quick):
    # A gradient near 0 may round to either sign, and a first step moves each weight by the whole rate.
    of_weights, of_figures = quick[ADAM]
    assert of_weights < 2 * CASES[ADAM][0]["lr"] * 1.001
    assert of_figures < 5e-4  # threads give 1.4e-4, processes 9e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`")  # which torch's own compiler imports
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_give_the_weights_and_figures_of_one_also_where(slow, name):
    assert max(slow[name]) < TOLERANCE


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    done = run_apart(2, str(tmp_path_factory.mktemp("refused")), "apart:plain", "half:plain", "other:plain")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("apart", r"process 1 on .* does not see what process 0 on .* writes into .*; name an out=DIR on a disk that"),
        ("half", r"process 1 on .* has another checkpoint in .*, or none, than process 0 on"),
        ("other", r"process 1 on .* has other prepared data than process 0 on"),
    ],
)
def test_processes_that_do_not_see_the_same_are_refused(refusals, how, told, rank):
    assert re.search(rf"{how}:plain in process {rank}: {told}", refusals)


TORCHRUN = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("said", "ranks"),
    [
        pytest.param({}, Ranks(), id="alone"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, Ranks(), id="torchrun with one"),
        pytest.param(TORCHRUN | {"RANK": "3"}, Ranks(3, 4, 2), id="two machines"),
        pytest.param({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, Ranks(), id="batch script of a job of two tasks"),
    ],
)
def test_processes_are_what_torchrun_says(said, ranks, monkeypatch):
    set_environment(monkeypatch, said)
    assert Ranks.of_environment() == ranks


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(TORCHRUN | {"RANK": "x"}, "RANK is 'x'.*wanted is a whole number from 0 to 3", id="word"),
        pytest.param(TORCHRUN | {"RANK": "4"}, "RANK is '4'", id="too large"),
        pytest.param({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'.*from 1 on", id="negative"),
        pytest.param({"WORLD_SIZE": "2", "RANK": "0"}, "LOCAL_WORLD_SIZE is not set", id="another launcher"),
        pytest.param(TORCHRUN | {"GROUP_WORLD_SIZE": "3"}, "the same --nproc-per-node", id="unequal machines"),
        pytest.param(TORCHRUN | {"LOCAL_WORLD_SIZE": "3"}, "the same --nproc-per-node", id="no multiple"),
        pytest.param({"SLURM_STEP_NUM_TASKS": "2"}, "srun has started 2 processes", id="srun alone"),
    ],
)
def test_processes_that_make_no_sense_are_told(said, told, monkeypatch):
    set_environment(monkeypatch, said)
    with pytest.raises(ConfigError, match=told):
        Ranks.of_environment()


def set_environment(monkeypatch, said):
    for name in (*TORCHRUN, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)


def test_one_gpu_for_several_processes_is_refused(tmp_path, monkeypatch):
    set_environment(monkeypatch, TORCHRUN)
    with pytest.raises(ConfigError, match="device=cuda:1 is one, and each of 4 processes takes one of its own"):
        fit(network(), MadeData(), tmp_path, FitConfig(), device="cuda:1")
    assert list(tmp_path.iterdir()) == []


def test_scoring_in_several_processes_is_refused(monkeypatch, tmp_path):
    set_environment(monkeypatch, TORCHRUN)
    with pytest.raises(ConfigError, match="torchrun has started 4 processes, and scoring takes one"):
        run_evaluation(
            ["musicnn.mtt", "data=csv", f"out={tmp_path}"], perturb=None, mixed=False, folds=False, n_workers=1
        )


def test_job_of_two_tasks_trains_in_its_one_process(tmp_path, monkeypatch):
    set_environment(monkeypatch, {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"})
    assert len(fit(network(), MadeData(), tmp_path, FitConfig(max_steps=1), device="cpu").history) == 1


def test_layers_are_as_they_were_when_the_processes_part(monkeypatch):
    model = network()
    together = Together([8], 0, 2)
    together.join(model)
    together.begin(0)
    assert any("forward" in module.__dict__ for module in model.modules())
    together.leave(model)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert together.share is None


@pytest.fixture(scope="module")
def of_recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    done = run_apart(2, str(folder / "two"), *(f"recipe:{name}" for name in RECIPES))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_gives_in_two_processes_what_it_gives_in_one(of_recipes, name):
    run_recipe(of_recipes / "one", name)
    assert max(differences(of_recipes / "one" / name, of_recipes / "two" / name)) < 2e-5


# -- runs that end before their time -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(("n_before", "n_after"), [(2, 1), (2, 2), (1, 2)])
def test_run_whose_process_was_killed_goes_on_with_another_number(tmp_path, n_before, n_after):
    killed = run_apart(n_before, str(tmp_path), "augmented", TAGGRAM_TEST_DIES_AT="9")
    assert killed.returncode != 0
    assert n_before == 1 or "Signal 9 (SIGKILL)" in killed.stderr
    done = run_apart(n_after, str(tmp_path), "augmented", TAGGRAM_TEST_RESUME="1")
    assert done.returncode == 0, done.stderr
    run(tmp_path / "whole", "augmented")
    assert max(differences(tmp_path / "augmented", tmp_path / "whole" / "augmented")) < TOLERANCE


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes cannot be told apart")
def test_command_whose_process_was_killed_says_how_it_goes_on(tmp_path):
    sounds = write_set(tmp_path / "sounds")
    words = ["train", "samplecnn", *QUICK_TO_TRAIN, f"data.root={sounds}", f"out={tmp_path / 'run'}", "device=cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "taggram"]
    environment = {**os.environ, "TAGGRAM_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*torchrun, *words], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        wait_for(tmp_path / "run" / "last.ckpt", process)
        os.kill(process_of_rank(1, process.pid), signal.SIGKILL)
        told = process.communicate(timeout=100)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert re.search("processes? of th(e|is) training has", told)
    assert "resume=true" in told


@pytest.mark.parametrize(
    ("rank", "told"),
    [
        ("0", "interrupted, or ended since another process of the training has; the same words and resume=true"),
        ("1", ""),
    ],
)
def test_first_process_says_how_it_goes_on_when_torchrun_ends_it(rank, told, monkeypatch, capsys):
    def ended(*_, **__):
        raise SystemExit(128 + signal.SIGTERM)

    set_environment(monkeypatch, {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"})
    monkeypatch.setattr(_training, "train", ended)
    with pytest.raises(SystemExit):
        _training.run_training("vgg", ["data=synth", "out=run"], show=False, n_workers=1)
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert bool(said) == bool(told)


def wait_for(path, process, within_s=120):
    end = time.monotonic() + within_s
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, f"{path.name} is not there"
        time.sleep(0.05)


def process_of_rank(rank, parent):
    """Find a child of torchrun by what that told it."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(pid) for pid in children if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text())
