"""Train a network: one call, one run folder.

A run folder holds `config.json` (all that the run follows from), `metrics.csv` (the figures of each epoch),
`curves.png`, `last.ckpt` (from which a run goes on) and `model.safetensors` (the best weights, which `load_model`
reads).
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import taggram
from taggram._files import written_aside
from taggram.errors import ConfigError, DatasetError, TrainingError, printable
from taggram.learning._random import Purpose, generator
from taggram.learning._ranks import Ranks
from taggram.learning._run_folder import LAST, MODEL, begin_run, data_facts, draw_run, read_history, write_history
from taggram.learning._together import Together
from taggram.learning.augment import AugmentConfig, Augmenter, check_augment_fits
from taggram.learning.config import FitConfig
from taggram.learning.data import (
    Clips,
    FeatureReader,
    StepBatches,
    TrackReader,
    TrainingPatches,
    batch_ends,
    drawn_for_validation,
    side_by_side,
    steps_per_epoch,
)
from taggram.learning.memory import memory_kept
from taggram.learning.system import TaggingSystem
from taggram.models._blocks import Standardize
from taggram.models._contract import TaggingModel
from taggram.models._saved import load_model

# `system` comes first: it tells who has no lightning how to install it.
import lightning  # isort: skip
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment  # isort: skip
from lightning.fabric.plugins.environments.lightning import LightningEnvironment  # isort: skip
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment  # isort: skip
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer  # isort: skip
from lightning.pytorch.loggers import Logger  # isort: skip
from lightning.pytorch.plugins.io import TorchCheckpointIO  # isort: skip
from taggram.learning._agreement import Agreement, facts_of  # isort: skip
from taggram.learning._teller import Teller, Told  # isort: skip

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

N_FOR_STATISTICS = 1000  # patches that mean and spread of the input are taken from
SAMPLE_BITS = 16  # of prepared data: what the network hears when it tags is to be what it was trained on
VALID_CLIPS = 16  # clips that validation reads at once
MOST_LOADERS = 8  # processes that read beside a GPU: more than it can eat
OTHER_HAS_ENDED = (  # what gloo and NCCL say where a process does not answer any more
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed", "remote process exited",
)  # fmt: skip
EXPECTED_WARNINGS = (  # what Lightning says of things that are as they should be
    ".*does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # its own use of torch
    "You're resuming from a checkpoint that ended before the epoch ended",  # our loader begins at the step itself
    "Found .* module\\(s\\) in eval mode at the start of training",  # a trunk that learns nothing
    "The number of training batches .* is smaller than the logging interval",
    "It is recommended to use `self.log\\(.*sync_dist=True",  # all processes have the same figures
    "Grad strides do not match bucket view strides",  # of a kernel with an axis of length 1
)


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
    augment: AugmentConfig | None = None,
    use_features: bool = False,
    resume: bool = False,
    device: str = "auto",
    facts: Mapping[str, Any] | None = None,
    told: Told | None = None,
    loggers: list[Logger] | None = None,
    callbacks: list[Callback] | None = None,
) -> FitResult:
    """Train a network on prepared data.

    With `torchrun`, each process calls this. Batches are divided among them, batch norm and dropout look at the whole
    batch, and so a run gives the same with any number of processes, to rounding; it may go on with another number.

    Args:
        model: the network, with a head for the data's tags in their order.
        data: prepared at the rate of the network's front-end.
        folder: of the run; made if it is not there.
        config: how to train.
        augment: changes of the patches; None is none.
        use_features: whether the network is fed with features that were prepared, and its front-end left out.
        resume: whether to go on where a run in the folder was cut short; the configuration must be the same.
        device: "auto", "cpu", "cuda", "cuda:1", or what else Lightning knows.
        facts: what the run follows from besides, to be kept in config.json.
        told: is told how far it is.
        loggers: of Lightning, such as for TensorBoard.
        callbacks: of Lightning.

    Returns:
        The network with its best weights, and the figures of all epochs. Of several processes, only the first gives the
        best weights, and the others the last ones.

    Raises:
        ConfigError: the configuration makes no sense, or is not the one of the run that is to go on.
        DatasetError: the data does not fit the network, or has no part to train or validate on.
        TrainingError: the folder holds a run already, or the loss is no number any more, or of several processes one
            sees another folder, checkpoint or data than the first, or has ended.
        MissingExtraError: augmentation needs a package that is not installed.
    """
    augment = augment or AugmentConfig()
    check_fits(model, data, use_features=use_features)
    _check_task(model, data, config)
    check_augment(augment, model, use_features=use_features)
    model.frontend.sample_bits = SAMPLE_BITS
    augmenter = Augmenter(augment, model.frontend.sample_rate, config.seed)
    patches, clips = _patches_and_clips(model, data, config, augmenter, use_features)
    ranks = Ranks.of_environment()
    hardware = _hardware(device, ranks)
    if len(clips) < ranks.n_ranks:
        raise DatasetError(f"there are {len(clips)} clips to validate on, and {ranks.n_ranks} processes; start fewer.")
    if ranks.is_first:
        known = {
            **(facts or {}), "version": taggram.__version__, "fit": config.to_dict(), "augment": augment.to_dict(),
            "data": {**(facts or {}).get("data", {}), **data_facts(data), "features": use_features},
        }  # fmt: skip
        begin_run(folder, known, resume=resume)
    last = folder / LAST if resume and (folder / LAST).exists() else None
    if last is not None:
        _check_whole(last)
    history = _History(folder, go_on=last is not None, writes=ranks.is_first)
    best = folder / MODEL
    together = _together(patches, config, ranks)
    system = TaggingSystem(
        model, config, together=together,
        save_best=lambda scored: scored.save(best) if ranks.is_first else None,
        load_best=lambda: _take_over(model, best), report=history.add, augmenter=augmenter if augment.masks else None,
    )  # fmt: skip
    if last is None:
        set_statistics(system, patches)
    agreed: list[Callback] = []
    if ranks.n_ranks > 1:
        agreed = [Agreement(folder, last, facts_of(data, config, augment, use_features=use_features), ranks)]
    patch_s = model.frontend.n_frames * model.frontend.hop_length / model.frontend.sample_rate
    teller = Teller(told if ranks.is_first else None, patch_s, lambda: history.rows[-1])
    with _only_what_is_unexpected(), history.drawn(), memory_kept(_keeps_memory(config, device)):
        trainer = lightning.Trainer(
            **hardware, precision=config.precision,
            max_epochs=config.max_epochs, accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_norm, logger=loggers or False, default_root_dir=folder,
            callbacks=[*agreed, *_checkpoints(folder, config), *_limits(config), teller, *(callbacks or [])],
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            use_distributed_sampler=False, plugins=[_WholeFiles(), _launched(ranks)],
        )  # fmt: skip
        loaders = _Loaders(system, patches, clips, config, ranks)
        try:
            trainer.fit(system, datamodule=loaders, ckpt_path=last, weights_only=True)
        except RuntimeError as error:
            if ranks.n_ranks > 1 and any(sign in str(error) for sign in OTHER_HAS_ENDED):
                raise TrainingError(
                    f"one of the {ranks.n_ranks} processes of this training has ended, so the others cannot go on; "
                    "what it said stands above. The same command with resume=true goes on from the last checkpoint, "
                    "with any number of processes."
                ) from error
            raise
        except SystemExit as leaving:
            if isinstance(leaving.__context__, KeyboardInterrupt):  # which Lightning ends with 1
                raise KeyboardInterrupt from leaving
            if leaving.code is None:  # as it ends on SIGTERM, which would look like success
                raise SystemExit(128 + signal.SIGTERM) from leaving
            raise
        finally:
            if together is not None:
                together.leave(model)
    return FitResult(load_model(best) if ranks.is_first else model.eval(), history.rows, folder)


def check_fits(model: TaggingModel, data: PreparedData, *, use_features: bool = False) -> None:
    """Refuse data that does not fit a network.

    Args:
        model: the network.
        data: the prepared data.
        use_features: whether the network is fed with its features.

    Raises:
        DatasetError: the rate, the number of tags or the features differ.
    """
    rate = model.frontend.sample_rate
    if data.sample_rate != rate:
        raise DatasetError(
            f"the data was prepared at {data.sample_rate} Hz and the network wants {rate} Hz: "
            f"`taggram data prepare ... --sample-rate {rate}`."
        )
    if model.n_tags != len(data.tags):
        raise DatasetError(f"the data has {len(data.tags)} tags and the network {model.n_tags} outputs.")
    if use_features and data.frontend != model.frontend.config:
        came = "no features" if data.frontend is None else "those of another front-end"
        raise DatasetError(f"the data was prepared with {came}: `taggram data prepare ... --features {model.name}`.")


def check_augment(augment: AugmentConfig, model: TaggingModel, *, use_features: bool = False) -> None:
    """Refuse augmentation that does not fit a network, or what it is fed with.

    Args:
        augment: changes of the patches.
        model: the network.
        use_features: whether it is fed with features.

    Raises:
        ConfigError: there is nothing of that kind to change.
        MissingExtraError: a package that it needs is not installed.
    """
    check_augment_fits(augment, model)
    Augmenter(augment, model.frontend.sample_rate, seed=0)
    if use_features and augment.changes_sound:
        raise ConfigError("gain, noise, pitch and stretch change sound, and features are none; leave one of them out.")


@torch.no_grad()
def set_statistics(system: TaggingSystem, patches: TrainingPatches) -> None:
    """Give a network that standardises its input the mean and spread of the training set, unless it has them already.

    Args:
        system: around the network.
        patches: of the training set; some of them are looked at.
    """
    standardize = getattr(system.model, "standardize", None)
    if not isinstance(standardize, Standardize) or standardize.is_set:
        return
    n = min(N_FOR_STATISTICS, patches.n_items)
    chosen = generator(patches.seed, Purpose.STATISTICS).choice(patches.n_items, n, replace=False)
    axes = [0, 1] + [axis + 2 for axis, size in enumerate(standardize.mean.shape) if size == 1]
    total = square = torch.zeros((), dtype=torch.float64)
    for position in chosen:
        spec = system.patches(patches[int(position)][0][None])
        spec = (spec if spec.ndim == 4 else spec.unsqueeze(1)).double()  # (1, 1, bands, frames)
        total = total + spec.mean(axes, keepdim=True) / n
        square = square + spec.square().mean(axes, keepdim=True) / n
    std = (square - total.square()).clamp_min(0).sqrt()
    standardize.set_statistics(total.float(), torch.where(std > 0, std, 1.0).float())


# -- inside ------------------------------------------------------------------------------------------------------------


class _History:
    """The figures of all epochs, in memory and in the folder of the run.

    Args:
        folder: of the run.
        go_on: whether those of a run that was cut short come first.
        writes: whether this process writes them.
    """

    def __init__(self, folder: Path, *, go_on: bool, writes: bool) -> None:
        self.rows: list[dict[str, float]] = read_history(folder) if go_on else []
        self._folder, self._writes = folder, writes

    def add(self, figures: dict[str, float]) -> None:
        """Take in the figures of an epoch, in the place of what a run wrote after its last checkpoint."""
        del self.rows[int(figures["epoch"]) - 1 :]
        self.rows.append(figures)
        if self._writes:
            write_history(self._folder, self.rows)

    @contextlib.contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw them at the end, however it ends."""
        try:
            yield
        finally:
            if self._writes:
                draw_run(self._folder, self.rows, self._folder.resolve().name)


def _patches_and_clips(
    model: TaggingModel, data: PreparedData, config: FitConfig, augmenter: Augmenter, use_features: bool
) -> tuple[TrainingPatches, Clips]:
    """Give what is trained on and what is validated on."""
    train, valid = data.index("train"), data.index("valid")
    if not len(valid):
        train, valid = drawn_for_validation(train, config.valid_share, config.seed)
    if not len(valid):
        raise DatasetError(
            "there is no track to validate on; is there a part named valid? fit.valid_share=0.1 draws one out of train."
        )
    frontend = model.frontend
    reader: TrackReader = FeatureReader(data) if use_features else data
    n_samples = frontend.n_frames if use_features else frontend.n_samples_for(frontend.n_frames)
    hop = config.hop_frames and config.hop_frames * (1 if use_features else frontend.hop_length)
    patches = TrainingPatches(
        reader, train, n_samples, config.sampling, config.seed,
        hop=hop, per_track=config.patches_per_track, augmenter=augmenter,
    )  # fmt: skip
    return patches, Clips(reader, valid, n_samples, per_clip=config.valid_patches)


def _together(patches: TrainingPatches, config: FitConfig, ranks: Ranks) -> Together | None:
    """Say who shares the batches, where several processes do."""
    if ranks.n_ranks == 1:
        return None
    return Together(batch_ends(patches.n_items, config.batch_size, config.super_batch), ranks.rank, ranks.n_ranks)


def _check_task(model: TaggingModel, data: PreparedData, config: FitConfig) -> None:
    """Refuse a task that the tracks do not have.

    Where several tags may hold, those to learn from may yet have one each, as the training part of IRMAS has; a softmax
    can be trained on that.
    """
    if model.task == data.task:
        return
    rows = np.concatenate([data.index("train"), data.index("valid")])
    if model.task != "one" or config.loss not in ("auto", "cross_entropy") or (data.labels(rows).sum(1) != 1).any():
        raise DatasetError(f"the data's task is {data.task!r} and the network's {model.task!r}; see reset_head.")


def _hardware(device: str, ranks: Ranks) -> dict[str, Any]:
    """Say what Lightning trains on. More than one device only with torchrun, which begins the processes itself."""
    kind, _, number = device.partition(":")
    if ranks.n_ranks > 1:
        if number:
            raise ConfigError(
                f"device={device} is one, and each of {ranks.n_ranks} processes takes one of its own: device={kind}."
            )
        many = {"devices": ranks.n_local, "num_nodes": ranks.n_nodes, "strategy": "ddp"}
        return {"accelerator": kind, **many}
    return {"accelerator": kind, "devices": [int(number)] if number else 1}


def _launched(ranks: Ranks) -> ClusterEnvironment:
    """Say who started the processes. Lightning would guess, and takes one process in a job of Slurm for several."""
    return TorchElasticEnvironment() if ranks.n_ranks > 1 else LightningEnvironment()


def _checkpoints(folder: Path, config: FitConfig) -> list[Callback]:
    """Keep what a run goes on from: at the end of each epoch, and within where that is asked for."""
    names: dict[str, Any] = {"dirpath": folder, "filename": Path(LAST).stem, "enable_version_counter": False}
    kept: list[Callback] = [ModelCheckpoint(**names, save_on_train_epoch_end=False)]
    if config.checkpoint_steps is not None:
        kept.append(ModelCheckpoint(**names, every_n_train_steps=config.checkpoint_steps))
    return kept


def _keeps_memory(config: FitConfig, device: str) -> bool:
    """Say whether memory that is free again is kept: on a CPU, unless the config says otherwise."""
    if config.keep_memory is not None:
        return config.keep_memory
    return device == "cpu" or (device == "auto" and not torch.accelerator.is_available())


class _Steps(Callback):
    """Ends a training after so many steps of the optimiser.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """End at once where the run had ended by its steps."""
        self._look(trainer)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """End behind the last step; the epoch that it cuts short is validated."""
        self._look(trainer)

    def _look(self, trainer: lightning.Trainer) -> None:
        if trainer.global_step >= self._most:
            trainer.should_stop = True


def _limits(config: FitConfig) -> list[Callback]:
    by_steps: list[Callback] = [_Steps(config.max_steps)] if config.max_steps else []
    by_time = [Timer(duration=timedelta(minutes=config.max_minutes), verbose=False)] if config.max_minutes else []
    return [*by_steps, *by_time]


@contextlib.contextmanager
def _only_what_is_unexpected() -> Iterator[None]:
    """Keep to itself what Lightning says about things that are as they should be."""
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for expected in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=expected)
            yield
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)


def _check_whole(checkpoint: Path) -> None:
    """Refuse a checkpoint that was cut short; it is a zip file, whose list of contents stands at its end."""
    if not zipfile.is_zipfile(checkpoint):
        raise TrainingError(f"{printable(str(checkpoint))} is damaged, so the run cannot go on; name another folder.")


class _WholeFiles(TorchCheckpointIO):
    """Writes checkpoints aside, on the same disk: one that was cut short would end a run for good."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        """Write a checkpoint, whole or not at all."""
        with written_aside(Path(path)) as aside:
            torch.save(checkpoint, aside)


class _Loaders(lightning.LightningDataModule):
    """Loaders that begin at the step where the training is."""

    def __init__(
        self, system: TaggingSystem, patches: TrainingPatches, clips: Clips, config: FitConfig, ranks: Ranks
    ) -> None:
        super().__init__()
        self._system, self._patches, self._clips, self._config, self._ranks = system, patches, clips, config, ranks

    def train_dataloader(self) -> DataLoader[Any]:
        """Give the batches of an epoch, the first time from the current step on."""
        sampler = StepBatches(
            self._patches.n_items, self._config.batch_size, self._start, self._ranks.rank, self._ranks.n_ranks,
            self._config.super_batch,
        )  # fmt: skip
        return DataLoader(self._patches, batch_sampler=sampler, **self._reading())

    def val_dataloader(self) -> DataLoader[Any]:
        """Give this process's share of the clips."""
        mine = range(self._ranks.rank, len(self._clips), self._ranks.n_ranks)
        batches = [list(mine[first : first + VALID_CLIPS]) for first in range(0, len(mine), VALID_CLIPS)]
        return DataLoader(self._clips, batch_sampler=batches, collate_fn=side_by_side, **self._reading())

    def _start(self) -> tuple[int, int]:
        """Give the epoch, and how many of its batches were seen before the run was cut short."""
        loop = self._system.trainer.fit_loop
        n_done = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        config = self._config
        n_steps = steps_per_epoch(self._patches.n_items, config.batch_size, config.super_batch)
        return self._system.trainer.current_epoch, n_done % n_steps

    def _reading(self) -> dict[str, Any]:
        """Say who reads: this process, or others beside it, which stay from epoch to epoch."""
        on_gpu = self._system.trainer.strategy.root_device.type == "cuda"
        n_loaders = self._config.n_loaders
        if n_loaders is None:
            n_loaders = min(MOST_LOADERS, max(1, (os.cpu_count() or 1) - 1)) if on_gpu else 0
        spawn = multiprocessing.get_context("spawn") if n_loaders else None
        return {
            "num_workers": n_loaders, "pin_memory": on_gpu, "persistent_workers": n_loaders > 0,
            "multiprocessing_context": spawn,
        }  # fmt: skip


def _take_over(model: TaggingModel, path: Path) -> None:
    """Put saved weights into a network in training."""
    model.load_state_dict(load_model(path).state_dict())
