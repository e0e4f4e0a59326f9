"""Trains several small networks, one after the other, in as many processes as torchrun starts; and compares.

    python -m torch.distributed.run --standalone --nproc-per-node 2 tests/_rank_fits.py OUT NAME...

Each NAME is one of `CASES`, or recipe:NAME of a recipe; its run goes into OUT/NAME. Without torchrun the same runs in
one process. apart:NAME, half:NAME and other:NAME are refused, which is printed: each process has a folder of its own;
only the first has a checkpoint in it; the last has other data.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import lightning
import numpy as np
import torch
from _made_prepared import TAGS, MadeData, network

import taggram
from taggram.errors import TrainingError
from taggram.learning import _agreement
from taggram.learning.augment import AugmentConfig
from taggram.learning.config import FitConfig
from taggram.learning.fit import fit
from taggram.learning.recipe import Recipe
from taggram.learning.schedules import ScheduleConfig
from taggram.learning.train import build
from taggram.recipes import list_recipes

BASE = {"batch_size": 6, "max_epochs": 2, "lr": 0.01, "optimizer": "sgd", "momentum": 0.9, "keep": "last"}
PLATEAU = ScheduleConfig(rule="plateau", factor=0.1, patience=1, stop_after_best=3)
STAGES = ScheduleConfig(rule="stages", factor=0.2, patience=1, n_drops=2)
SOUND = AugmentConfig(gain_db=(-6.0, 6.0), noise_snr_db=(10.0, 30.0), mixup=0.3)
CASES: dict[str, tuple[dict[str, object], AugmentConfig | None]] = {  # settings, changes of the sound
    "plain": ({}, None),
    "uneven": ({"batch_size": 13}, None),  # 40 patches: 13, 13, 14, of which no process has a half
    "fewer_patches_than_processes": ({"batch_size": 39, "super_batch": 39}, None),  # 39, and one alone
    "accumulated": ({"accumulate": 3}, None),
    "augmented": ({}, SOUND),
    "average": ({"ema_decay": 0.9, "keep": "valid_loss"}, None),
    "clipped": ({"clip_norm": 0.1, "l2": 0.001}, None),
    "ends_early": ({"max_epochs": 9, "lr": 0.003, "schedule": PLATEAU, "keep": "valid_loss"}, None),
    "stages": ({"max_epochs": 9, "lr": 0.003, "schedule": STAGES, "keep": "valid_loss"}, None),
    "adam": ({"optimizer": "adam", "lr": 0.003, "eps": 0.01}, None),  # with less, it makes rounding large
    "steps": ({"max_epochs": 9, "max_steps": 10}, None),
    "loaders": ({"n_loaders": 1}, SOUND),
    "compiled": ({"compile": True, "max_epochs": 1}, None),
    "default_adam": ({"optimizer": "adam", "lr": 0.001, "momentum": 0.0, "max_steps": 1}, None),
}


RECIPES = [name for name in list_recipes() if name != "boosted_trees"]
OF_RECIPE = "recipe:"  # begins the name of one


class Dies(lightning.Callback):
    """Ends the last of the processes as kill -9 does, at a step."""

    def on_train_batch_end(self, trainer, *_):
        if (
            trainer.global_step == int(os.environ["TAGGRAM_TEST_DIES_AT"])
            and trainer.global_rank == trainer.world_size - 1
        ):
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder, name, *, resume=False, callbacks=(), n_tracks=60, **more):
    """Train one of the cases."""
    settings, augment = CASES[name]
    config = FitConfig(**{**BASE, **settings, **more})
    data = MadeData(n_tracks)
    if "schedule" in settings:  # what is learned is wrong, so validation is soon worse and the schedule acts
        data._labels[data.index("valid")] = 1 - data._labels[data.index("valid")]
    return fit(
        network(), data, folder / name, config, augment=augment, device="cpu", resume=resume,
        callbacks=list(callbacks),
    )  # fmt: skip


def refused(folder, how, name):
    """Train where the processes do not see the same; give what is said of it. half goes on with what apart began."""
    rank = int(os.environ["RANK"])
    _agreement.SEEN_S = 0.0
    if how != "other":
        folder = folder / f"{rank}"
    if how == "half" and rank == 0:
        with zipfile.ZipFile(folder / name / "last.ckpt", "w") as file:
            file.writestr("a", "b")
    try:
        run(folder, name, resume=how == "half", n_tracks=60 - 3 * rank if how == "other" else 60)
    except TrainingError as error:
        return str(error)
    return "not refused"


def run_recipe(folder, name):
    """Train the network of a recipe for two steps, with its own loss, penalty, frozen layers and changes of the sound.

    The optimiser alone is another: those that divide by the size of a gradient make rounding large in the first steps.
    """
    recipe = Recipe.load(name)
    task = "one" if recipe.fit.loss == "cross_entropy" else "several"
    model = build(recipe, TAGS, task)
    frontend = model.frontend
    data = MadeData(9, frontend.n_samples_for(frontend.n_frames) + 99, rate=frontend.sample_rate, task=task)
    config = dataclasses.replace(
        recipe.fit, optimizer="sgd", lr=1e-4, batch_size=3, super_batch=None, accumulate=1, max_epochs=1, max_steps=2,
        keep="last", patches_per_track=1, hop_frames=None, sampling="random",
    )  # fmt: skip
    return fit(model, data, folder / name, config, augment=recipe.augment, device="cpu")


def run_apart(n_processes, *words, **environment):
    """Do what the command on top says; give what became of it."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    command = [sys.executable, *(torchrun if n_processes > 1 else []), str(Path(__file__).resolve()), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)


def differences(one, other):
    """Give the largest difference of any weight, and of any figure of an epoch, between two runs.

    What is larger than 1 is taken relative to its size: one recipe begins with a loss of 10^30, as published.
    """
    models = [taggram.load_model(folder / "model.safetensors").state_dict() for folder in (one, other)]
    of_weights = max(_difference(models[0][name].numpy(), models[1][name].numpy()) for name in models[0])
    tables = [np.genfromtxt(folder / "metrics.csv", delimiter=",", skip_header=1, ndmin=2) for folder in (one, other)]
    assert tables[0].shape == tables[1].shape
    return of_weights, max(map(_difference, tables[0].T, tables[1].T))


def _difference(one, other):
    one, other = one.astype(np.float64), other.astype(np.float64)
    assert np.array_equal(np.isnan(one), np.isnan(other))
    return float(np.nanmax(np.abs(one - other), initial=0.0)) / max(1.0, float(np.nanmax(np.abs(one), initial=0.0)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, *names = sys.argv[1:]
    resume = "TAGGRAM_TEST_RESUME" in os.environ
    steps = {"checkpoint_steps": 2} if resume or "TAGGRAM_TEST_DIES_AT" in os.environ else {}
    for case in names:
        dies = [Dies()] if "TAGGRAM_TEST_DIES_AT" in os.environ else []
        if case.startswith(OF_RECIPE):
            run_recipe(Path(out), case.removeprefix(OF_RECIPE))
            continue
        if ":" in case:
            sys.stdout.write(f"{case} in process {os.environ['RANK']}: {refused(Path(out), *case.split(':'))}\n")
            continue
        run(Path(out), case, resume=resume, callbacks=dies, **steps)
