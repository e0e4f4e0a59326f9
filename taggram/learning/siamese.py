"""Siamese training: tracks of a class come nearer to each other, by the cosine, than to tracks of other classes.

Source: Park, Lee, Park, Ha and Nam, "Representation learning of music using artist labels", ISMIR 2018, arXiv
    1710.06648; the authors' code. Anchor, positive and each of the negatives go through the network apart, as there, so
    that batch norms see one kind at a time.
Differs: the order of the anchors is drawn anew for each epoch, and not once. Training can be cut short: what comes when
    is a function of seed, epoch and place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import taggram
from taggram._checks import check, check_choice, check_count, is_number
from taggram._files import written_aside
from taggram.errors import DatasetError, TrainingError, printable
from taggram.learning._random import Purpose, generator
from taggram.learning._run_folder import MODEL, begin_run, data_facts, write_history
from taggram.learning._steps import (
    create_optimizer,
    penalty,
    scale_rates,
    set_norm_momentum,
    step_seed,
    take_step,
)
from taggram.learning.config import FitConfig
from taggram.learning.data import cut
from taggram.learning.prepared import PreparedData
from taggram.learning.schedules import Schedule, ScheduleConfig
from taggram.models._contract import TaggingModel
from taggram.models._saved import load_model
from taggram.tagger import find_device

MARGIN = 0.4  # by which a positive is to be nearer than a negative
N_NEGATIVES = 4
SAMPLE_BITS = 16  # of prepared data; see `fit`
STATE = "last.npz"  # what a run goes on from
FIRST_EPOCH = 0  # whose draws are those of validation, once for all
ARTIST_FIT = FitConfig(  # of the paper's networks, siamese or not
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    nesterov=True,
    lr_decay=1e-6,
    l2=1e-5,
    l2_of="trunk_kernels",
    batch_size=15,
    max_epochs=1000,
    schedule=ScheduleConfig(rule="plateau", factor=0.2, patience=1, stop_after_best=6),
)

Whole = NDArray[np.int64]


def siamese_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, *, margin: float = MARGIN) -> Tensor:
    """Compute the hinge loss: how far each negative comes within a margin behind the positive, by the cosine.

    Args:
        anchors: (batch, values).
        positives: (batch, values), each of the class of its anchor.
        negatives: (batch, negatives, values), each of another class.
        margin: by which the cosine of anchor and positive is to be above that of anchor and negative.

    Returns:
        A scalar, the sum over batch and negatives.
    """
    near = F.cosine_similarity(anchors, positives, dim=1)
    far = F.cosine_similarity(anchors[:, None], negatives, dim=2)
    return (margin - near[:, None] + far).clamp_min(0).sum()


class Companions:
    """Which tracks stand beside an anchor, and where each of their crops begins.

    The positive is another track of the anchor's class; negatives are drawn uniformly over the tracks of other classes,
    each by itself. All of it hangs on seed, epoch and anchor alone.

    To be read: `anchors`, (anchors,) places of the tracks that can be one.

    Args:
        classes: (tracks,) number of the class of each.
        lengths: (tracks,) samples of each.
        n_samples: of a crop.
        n_negatives: of an anchor.
        seed: of the run.
        anchors: (anchors,) places of the tracks that are to be anchors; None is all. Companions come from all tracks.
            Those that have no other track of their class are left out.

    Raises:
        DatasetError: no track has another one of its class, or all are of one class.
    """

    def __init__(
        self,
        classes: Whole,
        lengths: Whole,
        n_samples: int,
        *,
        n_negatives: int = N_NEGATIVES,
        seed: int = 0,
        anchors: Whole | None = None,
    ) -> None:
        self._classes, self._lengths = classes, lengths
        self._n_samples, self._n_negatives, self._seed = n_samples, n_negatives, seed
        self._order = np.argsort(classes, kind="stable")  # class after class
        counts = np.bincount(classes)
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        candidates = np.arange(len(classes)) if anchors is None else anchors
        self.anchors: Whole = candidates[counts[classes[candidates]] > 1]
        if not len(self.anchors) or (counts > 0).sum() < 2:
            raise DatasetError(
                f"{len(candidates)} tracks of {(counts > 0).sum()} classes came; an anchor needs another track of its "
                "class, and tracks of another one."
            )

    def of(self, epoch: int, anchor: int) -> tuple[Whole, Whole]:
        """Draw what stands beside an anchor.

        Args:
            epoch: its number.
            anchor: place of the track.

        Returns:
            (2 + negatives,) places of anchor, positive and negatives, and the first sample of each one's crop; a track
            that is shorter than a crop may begin anywhere, and is repeated.
        """
        draw = generator(self._seed, Purpose.COMPANIONS, epoch, anchor)
        own = self._classes[anchor]
        first, last = self._ends[own], self._ends[own + 1]
        mine = self._order[first:last]
        positive = mine[(int(np.flatnonzero(mine == anchor)[0]) + 1 + draw.integers(last - first - 1)) % len(mine)]
        far = draw.integers(len(self._order) - len(mine), size=self._n_negatives)
        negatives = self._order[np.where(far < first, far, far + len(mine))]
        tracks = np.array([anchor, positive, *negatives], np.int64)
        lengths = self._lengths[tracks]
        n_starts = np.where(lengths >= self._n_samples, lengths - self._n_samples + 1, lengths)
        return tracks, draw.integers(n_starts)


@dataclass(frozen=True)
class SiameseFit:
    """What came out of a training.

    Attributes:
        model: with the weights that were kept, in evaluation mode.
        history: the figures of each epoch: epoch, lr, train_loss and valid_loss, which are hinges an anchor, without
            the penalty, and valid_accuracy, the share of anchors whose positive is nearer than all negatives.
        folder: of the run.
    """

    model: TaggingModel
    history: list[dict[str, float]]
    folder: Path


def fit_siamese(
    model: TaggingModel,
    data: PreparedData,
    folder: Path,
    config: FitConfig = ARTIST_FIT,
    *,
    margin: float = MARGIN,
    n_negatives: int = N_NEGATIVES,
    resume: bool = False,
    device: str = "auto",
    told: Callable[[dict[str, float]], object] = lambda _: None,
) -> SiameseFit:
    """Train an embedding on prepared data, or go on behind the last epoch of a run that was cut short.

    Memory is that of the crops of a batch, whatever the length of the data. Of the settings, those that speak of
    sampling, heads, precision, time and loaders do nothing here; a last batch that is not full is left out.

    Args:
        model: the network, whose embedding is compared; `create_model("artist_siamese")` is that of the paper.
        data: prepared at the rate of its front-end, each track of exactly one class, with tracks to validate on.
        folder: of the run: `config.json`, `metrics.csv`, `model.safetensors` with the weights that were kept, and
            `last.npz`, from which a run goes on.
        config: optimiser, schedule, L2, batch size, epochs, seed, and `keep`: "valid_loss" or "last".
        margin: by which the cosine of a positive is to be above that of a negative.
        n_negatives: of an anchor.
        resume: whether to go on with the run in the folder; the settings must be the same.
        device: "auto", "cpu", "cuda", ...
        told: is told the figures of each epoch.

    Returns:
        The network with the weights that were kept, and the figures of all epochs.

    Raises:
        ConfigError: a setting makes no sense, or is not that of the run that is to go on.
        DatasetError: the data does not fit the network, or has too few tracks.
        TrainingError: the folder holds a run already, or the loss is no number any more.
    """
    check(is_number(margin) and margin > 0, "margin", margin, "a number above 0")
    check_count("n_negatives", n_negatives)
    check_choice("keep", config.keep, ("valid_loss", "last"))
    check_count("batch_size", config.batch_size, 2)
    if data.sample_rate != model.frontend.sample_rate:
        raise DatasetError(
            f"the data was prepared at {data.sample_rate} Hz and the network wants {model.frontend.sample_rate} Hz."
        )
    model.frontend.sample_bits = SAMPLE_BITS
    training = _Training(model, data, config, margin, n_negatives, find_device(device))
    facts = {
        "version": taggram.__version__, "fit": config.to_dict(), "data": data_facts(data),
        "siamese": {"margin": margin, "n_negatives": n_negatives},
    }  # fmt: skip
    begin_run(folder, facts, resume=resume)
    if (folder / STATE).exists():
        training.load(folder / STATE)
    while not training.is_over:
        figures, is_best = training.epoch()
        if is_best:
            model.save(folder / MODEL)
        training.save(folder / STATE)
        write_history(folder, training.history)
        told(figures)
    return SiameseFit(load_model(folder / MODEL), training.history, folder)


# -- inside ------------------------------------------------------------------------------------------------------------


class _Training:
    """A training and its state between two epochs.

    Args:
        model: the network.
        data: what it learns from.
        config: how.
        margin: of the loss.
        n_negatives: of an anchor.
        device: where.
    """

    def __init__(
        self,
        model: TaggingModel,
        data: PreparedData,
        config: FitConfig,
        margin: float,
        n_negatives: int,
        device: torch.device,
    ) -> None:
        self._model, self._data, self._config, self._margin, self._device = model, data, config, margin, device
        self._n_samples = model.frontend.n_samples_for(model.frontend.n_frames)
        train, valid = data.index("train"), data.index("valid")
        if not len(valid):
            raise DatasetError("there is no track to validate on; is there a part named valid?")
        self._train, self._train_rows = self._companions(train, n_negatives), train
        self._valid_rows = np.concatenate([valid, self._lent(train, valid)])
        self._valid = self._companions(self._valid_rows, n_negatives, np.arange(len(valid)))
        set_norm_momentum(model, config)
        model.to(device)
        self._optimizer = create_optimizer(model, config)
        self._schedule = Schedule(config.schedule)
        self._step, self._best, self._has_stopped = 0, math.inf, False
        self.history: list[dict[str, float]] = []

    def _lent(self, train: Whole, valid: Whole) -> Whole:
        """Give the tracks to train on of classes with a single track to validate on, which else had no positive."""
        numbers, counts = np.unique(self._data.class_numbers(valid), return_counts=True)
        return train[np.isin(self._data.class_numbers(train), numbers[counts == 1])]

    def _companions(self, rows: Whole, n_negatives: int, anchors: Whole | None = None) -> Companions:
        """Draw among some tracks."""
        lengths = np.array([self._data.n_samples(int(row)) for row in rows], np.int64)
        return Companions(
            self._data.class_numbers(rows), lengths, self._n_samples,
            n_negatives=n_negatives, seed=self._config.seed, anchors=anchors,
        )  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        return self._has_stopped or len(self.history) >= self._config.max_epochs

    def epoch(self) -> tuple[dict[str, float], bool]:
        """Train for an epoch and validate; give its figures, and whether its weights are to be kept."""
        number, config = len(self.history) + 1, self._config
        lr_scale = self._schedule.lr_scale
        self._model.train()
        total, n_anchors = 0.0, 0
        for anchors in self._batches(number):
            torch.manual_seed(step_seed(config.seed, self._step))
            scale_rates(self._optimizer.param_groups, config, lr_scale / (1.0 + config.lr_decay * self._step))
            embedded = self._embedded(self._train, self._train_rows, number, anchors)
            loss = siamese_loss(embedded[:, 0], embedded[:, 1], embedded[:, 2:], margin=self._margin)
            take_step(loss + penalty(self._model, config), self._model, self._optimizer, config.clip_norm)
            total, n_anchors = total + loss.item(), n_anchors + len(anchors)
            self._step += 1
            if not math.isfinite(total):
                raise TrainingError(f"the loss is no number in epoch {number}; lower lr or set clip_norm.")
        figures = {"epoch": float(number), "lr": config.lr * lr_scale, "train_loss": total / n_anchors}
        figures |= self._validated()
        is_best = config.keep == "last" or figures["valid_loss"] < self._best
        self._best = min(self._best, figures["valid_loss"])
        self.history.append(figures)
        self._has_stopped = self._schedule.end_epoch(figures[config.schedule.monitor]).stop
        return figures, is_best

    def _batches(self, epoch: int) -> Iterator[Whole]:
        """Give the anchors of each step, all full, unless there are too few for one."""
        anchors, size = self._train.anchors, self._config.batch_size
        order = anchors[generator(self._config.seed, Purpose.ORDER, epoch).permutation(len(anchors))]
        for first in range(0, max(1, len(order) // size) * size, size):
            yield order[first : first + size]

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        """Give the figures of the tracks that are not trained on."""
        self._model.eval()
        total, n_right = 0.0, 0
        anchors, size = self._valid.anchors, self._config.batch_size
        for first in range(0, len(anchors), size):
            embedded = self._embedded(self._valid, self._valid_rows, FIRST_EPOCH, anchors[first : first + size])
            total += siamese_loss(embedded[:, 0], embedded[:, 1], embedded[:, 2:], margin=self._margin).item()
            near = F.cosine_similarity(embedded[:, :1], embedded[:, 1:], dim=2)
            n_right += int((near[:, :1] > near[:, 1:]).all(dim=1).sum())
        n = len(anchors)
        return {"valid_loss": total / n, "valid_auc": math.nan, "valid_accuracy": n_right / n}

    def _embedded(self, companions: Companions, rows: Whole, epoch: int, anchors: Whole) -> Tensor:
        """Give (anchors, 2 + negatives, values) for anchors and what stands beside them."""
        drawn = [companions.of(epoch, int(anchor)) for anchor in anchors]
        embedded = []
        for place in range(len(drawn[0][0])):
            crops = [
                cut(self._data, int(rows[tracks[place]]), int(starts[place]), self._n_samples)
                for tracks, starts in drawn
            ]
            with torch.no_grad():
                patches = self._model.frontend(torch.from_numpy(np.stack(crops)).to(self._device))
            embedded.append(self._model.forward_head(self._model.forward_features(patches)))
        return torch.stack(embedded, dim=1)

    # -- what a run goes on from ---------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write weights, momentum and what else the next epoch follows from, whole or not at all."""
        state = {
            "history": self.history, "step": self._step, "best": self._best, "has_stopped": self._has_stopped,
            "schedule": self._schedule.state_dict(),
        }  # fmt: skip
        arrays = {f"model/{name}": tensor for name, tensor in self._model.state_dict().items()}
        for number, values in self._optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer/{number}/{name}": one for name, one in values.items() if isinstance(one, Tensor)}
        plain: dict[str, Any] = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **plain)

    def load(self, path: Path) -> None:
        """Take over what was written."""
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError) as error:
            raise TrainingError(
                f"{printable(str(path))} is damaged, so the run cannot go on; name another folder."
            ) from error
        state = json.loads(str(arrays.pop("state")))
        weights: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "model":
                weights[rest] = torch.from_numpy(array)
            else:
                number, _, what = rest.partition("/")
                moments.setdefault(int(number), {})[what] = torch.from_numpy(array)
        self._model.load_state_dict(weights)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.history, self._step = state["history"], state["step"]
        self._best, self._has_stopped = state["best"], state["has_stopped"]
        self._schedule.load_state_dict(state["schedule"])
