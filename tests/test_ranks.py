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
from _made_sounds import QUICK as QUICK_NETWORK
from _made_sounds import write_set
from _rank_fits import CASES, RECIPES, differences, run, run_apart, run_recipe

QUICK = ("uneven", "augmented")
QUICK_TO_TRAIN = (*QUICK_NETWORK, "data=csv", "data.min_count=3", "fit.max_epochs=500", "fit.checkpoint_steps=1")
SLOW = [name for name in CASES if name not in QUICK]
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
    return compared(tmp_path_factory.mktemp("ranks"), QUICK)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("ranks"), SLOW)


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_give_the_weights_and_figures_of_one(quick, name):
    assert max(quick[name]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_give_the_weights_and_figures_of_one_also_where(slow, name):
    assert max(slow[name]) < TOLERANCE


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
    assert max(differences(of_recipes / "one" / name, of_recipes / "two" / name)) < 1e-3


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
