"""Tells how far a training is, how quickly it learns, and how long it waits for data."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


@dataclass(frozen=True)
class FitProgress:
    """How far a training is.

    Attributes:
        epoch: counted from 1.
        max_epochs: epochs at most.
        step: of the epoch, counted from 1.
        n_steps: of an epoch.
        sound_h_per_s: hours of sound that are learned from in a second, since the epoch began.
        waiting: share of that time in which the network waited for data.
        figures: of the epoch, at its end; None before.
        share_here: of the files of a store that are to be kept here, those that are, 0 to 1; None without a store.
    """

    epoch: int
    max_epochs: int
    step: int
    n_steps: int
    sound_h_per_s: float
    waiting: float
    figures: Mapping[str, float] | None = None
    share_here: float | None = None


Told = Callable[[FitProgress], None]
"""Is told each step, and the figures at the end of each epoch."""


class Teller(Callback):
    """Counts patches and seconds.

    Args:
        told: is told; None logs to the trainer's loggers alone.
        patch_s: length of a patch of sound, in seconds.
        figures: gives those of the last epoch, at its end.
    """

    def __init__(self, told: Told | None, patch_s: float, figures: Callable[[], Mapping[str, float]]) -> None:
        self._told = told
        self._patch_s = patch_s
        self._figures = figures
        self._began = self._stepped = time.monotonic()
        self._waited_s = 0.0
        self._n_patches = 0
        self._last: FitProgress | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin to count."""
        self._began = self._stepped = time.monotonic()
        self._waited_s, self._n_patches = 0.0, 0

    def on_train_batch_start(self, *_: Any) -> None:
        """Take in that a batch has come."""
        self._waited_s += time.monotonic() - self._stepped

    def on_train_batch_end(self, trainer: lightning.Trainer, *others: Any) -> None:
        """Take in that it has been learned from."""
        self._stepped = time.monotonic()
        *_, batch, batch_idx = others
        self._n_patches += len(batch[0]) * trainer.world_size
        elapsed_s = max(self._stepped - self._began, 1e-9)
        self._last = FitProgress(
            epoch=trainer.current_epoch + 1, max_epochs=trainer.max_epochs or 0, step=batch_idx + 1,
            n_steps=int(trainer.num_training_batches), sound_h_per_s=self._n_patches * self._patch_s / 3600 / elapsed_s,
            waiting=self._waited_s / elapsed_s,
        )  # fmt: skip
        if self._told:
            self._told(self._last)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Tell the figures of the epoch, and log how quick it was."""
        last = self._last
        if last is None:
            return
        for logger in trainer.loggers:
            speed = {"sound_h_per_s": last.sound_h_per_s, "waiting": last.waiting}
            logger.log_metrics(speed, trainer.global_step)
        if self._told:
            self._told(dataclasses.replace(last, figures=self._figures()))
