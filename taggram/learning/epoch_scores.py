"""ROC-AUC of further parts after each epoch, for the record: nothing is chosen by it.

Source: the code of Dabral, Deshmukh and Malapati, 2018, which scores validation and test before the training and after
    each epoch, and reports the test at the epoch that is best in validation.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram.datasets._base import Part
from taggram.learning.data import Clips, FeatureReader, TrackReader, side_by_side
from taggram.learning.evaluate import Evaluation, write_table
from taggram.learning.metrics import mean_over_tags, roc_auc
from taggram.learning.prepared import PreparedData
from taggram.learning.system import EVAL_BATCH, TaggingSystem
from taggram.models._contract import TaggingModel

# `system` comes first: it tells who has no lightning how to install it.
from lightning.pytorch import Trainer  # isort: skip
from lightning.pytorch.callbacks import Callback  # isort: skip

CLIPS = 16  # that are read at once
Scores = NDArray[np.float32]
Flags = NDArray[np.bool_]


class EpochScores(Callback):
    """Scores parts of the data before a training and after each of its epochs.

    Validation after an epoch is left out, since the training does it.

    Args:
        data: that is trained on.
        parts: that are scored.
        path: of a CSV file: a row an epoch, with `PART_auc` of each part; epoch 0 is before the training. It is gone on
            with where the training is.
        n_frames: of a patch.
        use_features: whether the network is fed with features; else with samples, so that `n_frames` are these.
    """

    def __init__(
        self, data: PreparedData, parts: tuple[Part, ...], path: Path, n_frames: int, *, use_features: bool = False
    ) -> None:
        reader: TrackReader = FeatureReader(data) if use_features else data
        self._clips = {part: Clips(reader, data.index(part), n_frames) for part in parts if len(data.index(part))}
        self._path = path
        self.rows: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Trainer, system: Any) -> None:
        """Score all parts before the first step, or take up what was scored before a kill."""
        if trainer.global_step:
            self.rows = read_epoch_scores(self._path)  # what is trained anew takes the place of its row
        else:
            self._add(0, system, self._clips)
            system.train()

    def on_validation_end(self, trainer: Trainer, system: Any) -> None:
        """Score the parts behind an epoch."""
        self._add(trainer.current_epoch + 1, system, {part: of for part, of in self._clips.items() if part != "valid"})

    def _add(self, epoch: int, system: TaggingSystem, clips: Mapping[Part, Clips]) -> None:
        system.eval()
        row: dict[str, Any] = {"epoch": epoch}
        for part, of_part in clips.items():
            scores, labels = clip_scores(system.scored, of_part, system.patches, system.device)
            area = mean_over_tags(roc_auc(scores, labels))
            row[f"{part}_auc"] = None if np.isnan(area) else area
        self.rows = [*(before for before in self.rows if before["epoch"] < epoch), row]
        if system.global_rank == 0:
            write_table(self._path, self.rows)


def read_epoch_scores(path: Path) -> list[dict[str, Any]]:
    """Read what `EpochScores` wrote.

    Args:
        path: of its file.

    Returns:
        A row an epoch, None where nothing was scored; none where there is no file.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: int(value) if name == "epoch" else float(value) if value else None for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


@torch.no_grad()
def clip_scores(
    model: TaggingModel, clips: Clips, to_patches: Callable[[Tensor], Tensor], device: torch.device | str
) -> tuple[Scores, Flags]:
    """Score clips, each by the mean over its patches, in the memory of a few of them.

    Args:
        model: in evaluation mode, on the device.
        clips: what is scored.
        to_patches: makes what the network eats of what `clips` reads.
        device: where the network is.

    Returns:
        (clips, tags) scores from 0 to 1, and labels.
    """
    scores, labels = [], []
    for first in range(0, len(clips), CLIPS):
        sounds, of_clips, counts = side_by_side([clips[i] for i in range(first, min(first + CLIPS, len(clips)))])
        logits = [
            model.forward_head(model.forward_features(to_patches(part.to(device)))).float()
            for part in torch.split(sounds, EVAL_BATCH)
        ]
        scores += [
            model.scores(of_clip).mean(0).cpu().numpy() for of_clip in torch.split(torch.cat(logits), counts.tolist())
        ]
        labels.append(of_clips.numpy() > 0)
    return np.stack(scores), np.concatenate(labels)


def evaluate_features(
    model: TaggingModel, data: PreparedData, part: Part, *, device: torch.device | str = "cpu"
) -> Evaluation:
    """Score a part of prepared data by its features, where `evaluate_prepared` takes its samples.

    Args:
        model: the network, with a head for the data's tags in their order.
        data: with the features of its front-end.
        part: of the split.
        device: where it is done.

    Returns:
        Scores beside labels.

    Raises:
        ConfigError: the scores or the labels are not what the task says.
    """
    rows = data.index(part)
    clips = Clips(FeatureReader(data), rows, model.frontend.n_frames)
    model = model.eval().to(device)
    scores, labels = clip_scores(model, clips, lambda frames: frames.float().transpose(1, 2).unsqueeze(1), device)
    ids = data.column("track_id")
    return Evaluation(
        model=model.name or type(model).__name__,
        data_set=str(data.card["name"]),
        split=str(data.card["split"]),
        split_sha256=str(data.card["split_sha256"]),
        part=part,
        tags=data.tags,
        task=data.task,
        track_ids=tuple(str(ids[row]) for row in rows),
        scores=scores,
        labels=labels,
    )
