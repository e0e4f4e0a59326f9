"""Train a network: one call, one run folder.

A run folder holds `config.json` (the whole configuration), `metrics.csv` (the figures of each epoch), `curves.png`,
`last.ckpt` (from which a run goes on) and `model.safetensors` (the best weights, which `load_model` reads).
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import taggram
from taggram._files import written_aside
from taggram.errors import ConfigError, DatasetError, TrainingError, printable
from taggram.learning.config import FitConfig
from taggram.learning.data import StepBatches, TrainingPatches, generator, steps_per_epoch
from taggram.learning.system import TaggingSystem
from taggram.models._blocks import Standardize
from taggram.models._contract import TaggingModel
from taggram.models._saved import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from taggram.learning.prepared import PreparedData

CONFIG, HISTORY, MODEL, LAST = "config.json", "metrics.csv", "model.safetensors", "last.ckpt"
FIGURES = ("epoch", "lr", "train_loss", "valid_loss", "valid_auc")
N_FOR_STATISTICS = 1000  # patches that mean and spread of the input are taken from
EXPECTED_WARNINGS = (  # what Lightning says of things that are as they should be
    ".*does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # its own use of torch
    "You're resuming from a checkpoint that ended before the epoch ended",  # our loader begins at the step itself
    "The number of training batches .* is smaller than the logging interval",
)
_STATISTICS = 3  # beside those of data.py and system.py: what a random number is for


@dataclass(frozen=True)
class FitResult:
    """What came out of a training.

    Attributes:
        model: with the best weights, in evaluation mode.
        history: the figures of each epoch.
        folder: of the run.
    """

    model: TaggingModel
    history: list[dict[str, float]]
    folder: Path


def fit(
    model: TaggingModel,
    data: PreparedData,
    folder: Path,
    config: FitConfig,
    *,
    resume: bool = False,
    device: str = "auto",
    loggers: list[Logger] | None = None,
    callbacks: list[Callback] | None = None,
) -> FitResult:
    """Train a network on prepared data.

    Args:
        model: the network, with a head for the data's tags in their order.
        data: prepared at the rate of the network's front-end.
        folder: of the run; made if it is not there.
        config: how to train.
        resume: whether to go on where a run in the folder was cut short; the configuration must be the same.
        device: "auto", "cpu", "cuda", or what else Lightning knows.
        loggers: of Lightning, such as for TensorBoard.
        callbacks: of Lightning, such as for a progress bar.

    Returns:
        The network with its best weights, and the figures of all epochs.

    Raises:
        ConfigError: the configuration makes no sense, or is not the one of the run that is to go on.
        DatasetError: the data does not fit the network, or has no part to train or validate on.
        TrainingError: the folder holds a run already, or the loss is no number any more.
    """
    check_fits(model, data)
    train, valid = data.index("train"), data.index("valid")
    if not len(valid):
        raise DatasetError("there is no track to validate on; is there a part named valid?")
    facts = {"version": taggram.__version__, "fit": config.to_dict(), "data": data_facts(data)}
    _prepare_folder(folder, facts, resume)
    n_samples = model.frontend.n_samples_for(model.frontend.n_frames)
    patches = TrainingPatches(data, train, n_samples, config.sampling, config.seed)
    last = folder / LAST if resume and (folder / LAST).exists() else None
    if last is None:
        set_statistics(model, patches)
    history: list[dict[str, float]] = read_history(folder) if last else []

    def report(figures: dict[str, float]) -> None:
        del history[int(figures["epoch"]) - 1 :]  # what a run wrote after its last checkpoint
        history.append(figures)
        _write_history(folder, history)

    best = folder / MODEL
    system = TaggingSystem(
        model,
        config,
        save_best=lambda: model.save(best),
        load_best=lambda: _take_over(model, best),
        report=report,
    )
    loaders = _Loaders(system, patches, ValidationClips(data, valid, n_samples), config)
    limits = [Timer(duration=timedelta(minutes=config.max_minutes), interval="epoch")] if config.max_minutes else []
    with _only_what_is_unexpected():
        trainer = lightning.Trainer(
            accelerator=device, devices="auto" if device != "cpu" else 1, precision=config.precision,
            max_epochs=config.max_epochs, accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_norm, logger=loggers or False, default_root_dir=folder,
            callbacks=[
                ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=False),
                *_within_epochs(folder, config), *limits, *(callbacks or []),
            ],
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            use_distributed_sampler=False, reload_dataloaders_every_n_epochs=1,
        )  # fmt: skip
        trainer.fit(system, datamodule=loaders, ckpt_path=last, weights_only=True)
    return FitResult(load_model(best), history, folder)


def check_fits(model: TaggingModel, data: PreparedData) -> None:
    """Refuse data that does not fit a network.

    Args:
        model: the network.
        data: the prepared data.

    Raises:
        DatasetError: the rate, the number of tags or the task differ.
    """
    if data.sample_rate != model.frontend.sample_rate:
        raise DatasetError(
            f"the data was prepared at {data.sample_rate} Hz and the network wants {model.frontend.sample_rate} Hz: "
            f"`taggram data prepare ... --sample-rate {model.frontend.sample_rate}`."
        )
    if model.n_tags != len(data.tags):
        raise DatasetError(f"the data has {len(data.tags)} tags and the network {model.n_tags} outputs.")
    if model.task != data.task:
        raise DatasetError(f"the data's task is {data.task!r} and the network's {model.task!r}; see reset_head.")


def data_facts(data: PreparedData) -> dict[str, Any]:
    """Say which data it is: name, split and its hash, tags."""
    return {name: data.card[name] for name in ("name", "split", "split_sha256", "tags", "task", "sample_rate")}


@torch.no_grad()
def set_statistics(model: TaggingModel, patches: TrainingPatches) -> None:
    """Give a network that standardises its input the mean and spread of the training set, unless it has them already.

    Args:
        model: the network.
        patches: of the training set; some of them are looked at.
    """
    standardize = getattr(model, "standardize", None)
    if not isinstance(standardize, Standardize) or standardize.is_set:
        return
    n = min(N_FOR_STATISTICS, patches.n_items)
    chosen = generator(patches.seed, _STATISTICS).choice(patches.n_items, n, replace=False)
    axes = [0, 1] + [axis + 2 for axis, size in enumerate(standardize.mean.shape) if size == 1]
    total = square = torch.zeros((), dtype=torch.float64)
    for position in chosen:
        spec = model.frontend(patches[int(position)][0][None])
        spec = (spec if spec.ndim == 4 else spec.unsqueeze(1)).double()  # (1, 1, bands, frames)
        total = total + spec.mean(axes, keepdim=True) / n
        square = square + spec.square().mean(axes, keepdim=True) / n
    std = (square - total.square()).clamp_min(0).sqrt()
    standardize.set_statistics(total.float(), torch.where(std > 0, std, 1.0).float())


@contextlib.contextmanager
def _only_what_is_unexpected() -> Iterator[None]:
    """Keep to itself what Lightning says about things that are as they should be."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for expected in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=expected)
            yield
    finally:
        log.setLevel(level)


class ValidationClips(Dataset[tuple[Tensor, Tensor]]):
    """The clips of a part, each as all its patches side by side.

    Args:
        data: the prepared data.
        rows: of the part.
        n_samples: length of a patch.
    """

    def __init__(self, data: PreparedData, rows: NDArray[np.int64], n_samples: int) -> None:
        self._data = data
        self._rows = rows
        self._n_samples = n_samples

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Give (patches, samples) and (tags,); a clip shorter than a patch is repeated until it fills one."""
        row = int(self._rows[index])
        whole = self._data.whole(row)
        n_patches = max(1, len(whole) // self._n_samples)
        patches = np.resize(whole, (n_patches, self._n_samples))
        return torch.from_numpy(patches), torch.from_numpy(self._data.labels(np.array([row]))[0])


class _Loaders(lightning.LightningDataModule):
    """Loaders that begin at the step where the training is."""

    def __init__(
        self, system: TaggingSystem, patches: TrainingPatches, clips: ValidationClips, config: FitConfig
    ) -> None:
        super().__init__()
        self._system, self._patches, self._clips, self._config = system, patches, clips, config

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Give the batches from the current step to the end of its epoch."""
        loop = self._system.trainer.fit_loop
        n_done = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        n_done %= steps_per_epoch(self._patches.n_items, self._config.batch_size)
        sampler = StepBatches(
            self._patches.n_items, self._config.batch_size, self._system.trainer.current_epoch, n_done
        )
        return DataLoader(self._patches, batch_sampler=sampler, num_workers=self._config.n_loaders)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Give the clips one by one."""
        return DataLoader(self._clips, batch_size=None, num_workers=self._config.n_loaders)


def _within_epochs(folder: Path, config: FitConfig) -> list[Callback]:
    """Checkpoints within epochs, if they are asked for; they take the place of the last one."""
    if config.checkpoint_steps is None:
        return []
    return [
        ModelCheckpoint(
            folder, filename="last", enable_version_counter=False, every_n_train_steps=config.checkpoint_steps
        )
    ]


def _prepare_folder(folder: Path, facts: dict[str, Any], resume: bool) -> None:
    """Make the folder of a new run, or check that the run in it is the one that is to go on."""
    path = folder / CONFIG
    if path.exists():
        if not resume:
            raise TrainingError(
                f"{printable(str(folder))} holds a run already; choose another folder, or go on with it."
            )
        known = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(facts))
        different = [
            f"{section}.{name}"
            for section in ("fit", "data")
            for name in wanted[section]
            if known.get(section, {}).get(name) != wanted[section][name]
        ]
        if different:
            raise ConfigError(
                f"the run in {printable(str(folder))} has other settings, {', '.join(different)}; give those."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        aside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def read_history(folder: Path) -> list[dict[str, float]]:
    """Read the figures of each epoch of a run.

    Args:
        folder: of the run.

    Returns:
        A dict an epoch, in order; none where there was no epoch yet.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def _write_history(folder: Path, history: list[dict[str, float]]) -> None:
    with written_aside(folder / HISTORY) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIGURES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _take_over(model: TaggingModel, path: Path) -> None:
    """Put saved weights into a network in training."""
    model.load_state_dict(load_model(path).state_dict())
