"""Instruments: networks with filters shaped for timbre, and a deep one of squares, name the instruments of a mix.

Source: Pons, Slizovskaia, Gong, Gómez and Serra, "Timbre analysis of music audio signals with convolutional neural
    networks", EUSIPCO 2017, arXiv 1703.06697, the experiment on IRMAS; code and released weights of
    github.com/Veleslavia/EUSIPCO2017, whose weights speak for another optimiser than its code.
Differs: the files for validation are drawn with a seed. The patches of a clip are its own, where the source finds them
    by a part of the file's name, and so mixes clips whose names contain each other. Clips that are shorter than a patch
    are repeated until they fill one. For what else differs in the networks see `taggram/models/instrument.py`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from taggram._checks import check, check_choice, check_count
from taggram.datasets._base import Part, TagDataset
from taggram.errors import ConfigError
from taggram.frontends import LogMelConfig, RawConfig
from taggram.learning.clip_patches import patches_of_sound
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import PatchSet, fit_patches, scores_of
from taggram.learning.recipe import DataConfig, Recipe
from taggram.learning.train import open_data, prepared_data
from taggram.models import create_model
from taggram.models._blocks import Standardize
from taggram.models._contract import TaggingModel
from taggram.models.instrument import HAN_MEL, INSTRUMENT_MEL
from taggram.studies import _multi_label as multi
from taggram.studies._base import Cell, Claim, Row, Study, StudyConfig, of_method
from taggram.studies._excerpts import Excerpts, excerpts_of, facts_of
from taggram.studies._tables import Table, percent
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

FILE = "excerpts.json"
SAMPLE_BITS = 16  # of prepared data
SPLIT_OF = {"files": "official", "songs": "official-by-recording"}  # of IRMAS, by what is drawn for validation
SCRIPT_DROPS = tuple(range(5, 400, 5))  # epochs after which the code halves the rate; the weights speak for 20
FIGURES = ("micro_precision", "micro_recall", "micro_f1", "macro_precision", "macro_recall", "macro_f1")


@dataclass(frozen=True, kw_only=True)
class Net:
    """What a method trains.

    Attributes:
        title: as the paper has it.
        mel: its front-end.
        parameters: in the paper, from its counts by thousands and our arithmetic.
        loss: on the validation files, in the name of the released weights; None where there are none.
        by_peak: whether the sound of a clip is divided by its largest sample.
    """

    title: str
    mel: LogMelConfig
    parameters: str
    loss: float | None = None
    by_peak: bool = False


NETS = {
    "single_layer": Net(title="single-layer", mel=INSTRUMENT_MEL, parameters="62k", loss=0.902),
    "multi_layer": Net(title="multi-layer", mel=INSTRUMENT_MEL, parameters="743k", loss=0.866),
    "han": Net(title="Han et al.", mel=HAN_MEL, parameters="1446k", by_peak=True),
}
WEIGHTS = "names of the released weight files, github.com/Veleslavia/EUSIPCO2017"


@dataclass(frozen=True, kw_only=True)
class InstrumentsConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        optimizer: "adam" with a rate that is halved every 20 epochs, as the released weights speak for, or "sgd" with
            momentum and a rate that is halved every 5, as in the code.
        validation: whether "files" are drawn for validation, as published, or whole "songs". Data other than IRMAS that
            has a part for validation keeps it.
        max_epochs: at most; 0 is as published, 400.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(NETS)

    optimizer: Literal["adam", "sgd"] = "adam"
    validation: Literal["files", "songs"] = "files"
    max_epochs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_choice("validation", self.validation, SPLIT_OF)
        check_count("max_epochs", self.max_epochs, 0)


class Instruments(Study):
    """F1 of the instruments of a mix, by the network."""

    name = "instruments"
    title = "Filters shaped for timbre: the instruments of a mix"
    paper = "Pons et al., EUSIPCO 2017, the experiment on IRMAS"
    paper_data = ("irmas",)
    config_kind = InstrumentsConfig
    published = tuple(
        {"method": method, "valid_loss": net.loss, "source": WEIGHTS} for method, net in NETS.items() if net.loss
    )

    @classmethod
    def prepare(
        cls, config: InstrumentsConfig, folder: Path, watcher: Watcher, n_workers: int | None
    ) -> dict[str, Any]:
        """Decode the clips, and draw those for validation; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split")
        dataset = _open(config, watcher)
        tracks = list(dataset.tracks())
        prepared = {}
        for rate in sorted({NETS[method].mel.sample_rate for method in config.methods or config.METHODS}):
            raw = RawConfig(sample_rate=rate, n_samples=rate)
            data = prepared_data(config.data, dataset, raw, n_workers, watcher)
            prepared[rate] = str(data.folder.resolve())
            there = set(map(str, data.column("track_id")))
            tracks = [track for track in tracks if track.track_id in there]
        whole_songs = config.validation == "songs"
        excerpts = excerpts_of(dataset, tracks, prepared, config.seed, whole_songs=whole_songs)
        excerpts.save(folder / FILE)
        return {"excerpts": FILE, "facts": facts_of(dataset, excerpts)}

    def phases(self) -> list[list[Cell]]:
        """List the cells: a network in a run each."""
        methods = dict.fromkeys(self.config.methods or self.config.METHODS)
        return [[Cell(method=method, run=run) for run in range(self.config.runs) for method in methods]]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train and test a network; see `Study.measure`."""
        device, fit, model = find_device(self.config.device), self.fit(cell), self.start(cell)
        train, valid = (self._patch_set(cell, model, part) for part in ("train", "valid"))
        if isinstance(model.standardize, Standardize):
            mean = train.patches.double().mean((0, 1))
            model.standardize.set_statistics(mean.float(), torch.ones_like(mean.float()))
        history = fit_patches(model, lambda epoch: train.shuffled(fit, epoch), fit, valid=valid, device=device)
        model.save(self.files / f"{cell.key}.safetensors")
        best = min(history, key=lambda figures: figures["valid_loss"])
        swept = self._tested(cell, model, device)
        headline = next(one for one in swept if (one["strategy"], one["threshold"]) == multi.HEADLINE)
        return {
            **{name: headline[name] for name in FIGURES},
            "valid_loss": best["valid_loss"],
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(history),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "n_train": len(train),
            "n_valid": len(valid),
            "sweep": swept,
        }

    def _tested(self, cell: Cell, model: TaggingModel, device: torch.device) -> list[dict[str, Any]]:
        """Score the clips for testing, and decide at all thresholds."""
        clips, read = self.excerpts.clips("test"), self._reader(cell, model)
        scored = [scores_of(model, read(int(clip)), device=device).numpy() for clip in clips]
        scores = {
            strategy: np.stack([multi.clip_scores(patches, strategy) for patches in scored])
            for strategy in multi.THRESHOLDS
        }
        return multi.sweep(scores, self.excerpts.labels[clips])

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def excerpts(self) -> Excerpts:
        """The clips."""
        return Excerpts.load(self.folder / self.data["excerpts"])

    def fit(self, cell: Cell) -> FitConfig:
        """Say how a cell's network is trained."""
        fit = Recipe.load(f"instrument_{cell.method}_irmas").fit
        if self.config.optimizer == "sgd":
            schedule = replace(fit.schedule, at=SCRIPT_DROPS)
            fit = replace(fit, optimizer="sgd", momentum=0.9, nesterov=True, schedule=schedule)
        max_epochs = self.config.max_epochs or fit.max_epochs
        return replace(fit, max_epochs=max_epochs, seed=self.seed_of("training", cell.key))

    def start(self, cell: Cell) -> TaggingModel:
        """Build a cell's network with its first weights, in training mode."""
        torch.manual_seed(self.seed_of("weights", cell.key))
        model = create_model(f"instrument_{cell.method}", n_tags=len(self.excerpts.tags))
        model.tags = self.excerpts.tags
        model.frontend.sample_bits = SAMPLE_BITS
        return model.train()

    def _patch_set(self, cell: Cell, model: TaggingModel, part: Part) -> PatchSet:
        """Give all patches of a part, each with the instrument of its clip."""
        read = self._reader(cell, model)
        clips = self.excerpts.clips(part)
        patches = [read(int(clip)) for clip in clips]
        labels = np.repeat(self.excerpts.labels[clips].astype(np.float32), [len(of_clip) for of_clip in patches], 0)
        return PatchSet(torch.cat(patches), torch.from_numpy(labels))

    def _reader(self, cell: Cell, model: TaggingModel) -> Callable[[int], Tensor]:
        """Give what reads the patches of a clip, side by side: (patches, 1, mels, frames)."""
        net, sounds = NETS[cell.method], self.excerpts.sounds(NETS[cell.method].mel.sample_rate)
        frontend = copy.deepcopy(model.frontend).cpu()  # its own, as the network moves to where it works

        def read(clip: int) -> Tensor:
            samples = sounds.whole(clip)
            if net.by_peak and samples.max() > 0:
                samples = samples / samples.max()
            return patches_of_sound(frontend, samples)

        return read

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are."""
        strategy, threshold = multi.HEADLINE
        told = [
            f"A tag is given where its score, summed over patches ({strategy}), is {threshold} of the largest or more.",
            f"Optimiser: {self.config.optimizer}; validation: {self.data_facts()['validation']}.",
        ]
        return told + ([f"At most {self.config.max_epochs} epochs."] if self.config.max_epochs else [])

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the table of networks, and that of the best thresholds."""
        found = {method: of_method(rows, method) for method in NETS}
        there = {method: of_net for method, of_net in found.items() if of_net}
        lines, best = [], []
        for method, of_net in there.items():
            net = NETS[method]
            loss = f"{fmean(row['valid_loss'] for row in of_net):.3f}"
            figures = [percent([row[name] for row in of_net]) for name in FIGURES]
            known = f"{net.loss:.3f}" if net.loss else "-"
            lines.append([net.title, f"{of_net[0]['parameters']:,}", net.parameters, *figures, loss, known])
            best += [[net.title, *_best(of_net, strategy)] for strategy in multi.THRESHOLDS]
        names = ("micro P, %", "micro R, %", "micro F1, %", "macro P, %", "macro R, %", "macro F1, %")
        columns = ("network", "parameters", "in the paper", *names, "validation loss", "released")
        note = f"Released: validation loss on IRMAS, {WEIGHTS}. The numbers of the paper's table are not at hand."
        chosen = "Chosen on the clips for testing, and so too good; the whole sweep is in results.json and sweep.png."
        best_columns = ("network", "strategy", "threshold", "micro F1, %", "macro F1, %")
        return [
            Table("Instruments by network", columns, lines, note),
            Table("Thresholds of the highest micro F1", best_columns, best, chosen),
        ]

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the names of the released weights say against what was measured."""
        words = "more layers have a lower validation loss than one (names of the released weights: 0.866 and 0.902)"
        losses = [[row["valid_loss"] for row in of_method(rows, name)] for name in ("multi_layer", "single_layer")]
        if not all(losses):
            return [Claim(words, None)]
        many, one = map(fmean, losses)
        return [Claim(words, many < one, f"multi_layer {many:.3f}, single_layer {one:.3f}.")]

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw micro F1 over the thresholds."""
        from taggram.studies._pictures import draw_sweeps

        panels: dict[str, dict[str, dict[float, float]]] = {}
        titles = {multi.S1: "S1: mean over patches", multi.S2: "S2: sum, beside the largest"}
        for strategy, thresholds in multi.THRESHOLDS.items():
            panels[titles[strategy]] = {
                net.title: {at: fmean(_swept(of_net, strategy, at, "micro_f1")) for at in thresholds}
                for method, net in NETS.items()
                if (of_net := of_method(rows, method))
            }
        title = f"Micro F1 by threshold, {self.data_facts()['title']}"
        return {"sweep": draw_sweeps(panels, title=title, x="threshold", unit="micro F1, %")}


# -- inside ------------------------------------------------------------------------------------------------------------


def _swept(rows: Sequence[Row], strategy: str, threshold: float, name: str) -> list[float]:
    """Give a figure of each row at a threshold."""
    return [
        float(one[name])
        for row in rows
        for one in row["sweep"]
        if (one["strategy"], one["threshold"]) == (strategy, threshold)
    ]


def _best(rows: Sequence[Row], strategy: str) -> list[str]:
    """Give strategy and threshold of the highest micro F1, with both F1."""
    best = max(multi.THRESHOLDS[strategy], key=lambda at: fmean(_swept(rows, strategy, at, "micro_f1")))
    figures = [percent(_swept(rows, strategy, best, name)) for name in ("micro_f1", "macro_f1")]
    return [strategy, f"{best:.2f}", *figures]


def _open(config: InstrumentsConfig, watcher: Watcher) -> TagDataset:
    """Open the data set, IRMAS with the order of the paper."""
    options = dict(config.data.options)
    if config.data.name == "irmas":
        split = SPLIT_OF[config.validation]
        options = {"tags": "irmas11_eusipco2017", "split": split, "valid_seed": config.seed, **options}
    if config.data.name == "csv":
        options = {"min_count": 1, **options}
    dataset = open_data(DataConfig(name=config.data.name, root=config.data.root, options=options), watcher)
    if dataset is None or config.data.prepared:
        raise ConfigError("data.prepared is not for this study, which needs the sound at two rates: data.root=DIR.")
    return dataset
