"""Levels and scales: layers of several networks on short segments make one vector a clip, which dense layers tag.

Source: Lee and Nam, "Multi-level and multi-scale feature aggregation using pretrained convolutional neural networks for
    music auto-tagging", IEEE Signal Processing Letters 24(8), 2017, arXiv 1703.01793, by the authors' slides of it; and
    "Multi-level and multi-scale feature aggregation using sample-level deep convolutional neural networks for music
    classification", ICML 2017 workshop, arXiv 1706.06810, with the authors' code of its extraction.
Differs: no code of the first is public. What is assumed of its networks stands in `taggram/models/multilevel.py`, of
    their training in the recipe `local_mel_mtt`. Levels of several scales are put together counted from the output,
    since networks of other lengths have another number of layers. Which lengths the second one had could not be read:
    the best member of SampleCNN of each length is taken. Whether dropout is used is not known; there is none. MFCCs
    with an SVM stand beside for comparison, and are in neither paper.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._checks import check
from taggram.datasets import find_dataset
from taggram.datasets._base import PARTS, Part
from taggram.learning._run_folder import kept_epoch
from taggram.learning.aggregation import SCORES, clip_vectors, layer_widths
from taggram.learning.tag_machines import GRID as MACHINES
from taggram.learning.tag_machines import Machine, best_machine, machine_scores, scaled_like
from taggram.learning.train import SYNTH
from taggram.learning.vector_classifier import (
    LabelledVectors,
    VectorClassifier,
    fit_vectors,
    score_vectors,
)
from taggram.models import create_model
from taggram.models._mfcc_statistics import MFCC
from taggram.models._saved import load_model
from taggram.models.multilevel import MEL, LocalMel
from taggram.studies._base import Cell, Claim, Row, Study
from taggram.studies._clips import Sounds
from taggram.studies._drawn import VALID_SHARE, with_drawn_valid
from taggram.studies._mfcc import mfcc_features
from taggram.studies._multilevel_config import MultilevelConfig, defaults_of
from taggram.studies._multilevel_nets import (
    ALL,
    RATE,
    Choice,
    Net,
    Origin,
    cell_of,
    choices_of,
    describe_given,
    origin_of,
    whole_of,
)
from taggram.studies._multilevel_results import (
    LAST_SVM,
    LOCAL,
    MFCC_SVM,
    PUBLISHED,
    TAGGER,
    Results,
    WhichData,
    claims_of,
    draw,
    tables_of,
)
from taggram.studies._multilevel_tagger import put_together, save_weights
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import (
    evaluation_of,
    figures_of,
    fit_cell,
    open_dataset_of,
    open_sound,
    prepare_sound,
    score_part,
    shared_sound,
)
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.evaluate import Evaluation
    from taggram.learning.prepared import PreparedData
    from taggram.learning.recipe import DataConfig
    from taggram.learning.train import Watcher
    from taggram.models._contract import TaggingModel
    from taggram.studies._tagged_sound import OpenedData

RUNS_OF_ONE = 10  # where exactly one tag holds, as for GTZAN
LEARNED: tuple[Part, ...] = ("train", "valid")
MODEL = "model.safetensors"
NETWORK, VECTORS, STATISTICS = "network", "vectors", "mfcc_statistics"  # the cells that make what others need
Whole = NDArray[np.int64]
Floats = NDArray[np.float32]
ByPart = dict[Part, Floats]


class Multilevel(Study):
    """Scores of tags by the levels and scales that a classifier of clips is fed with."""

    name = "multilevel"
    title = "Levels and scales of features"
    paper = "Lee and Nam, IEEE Signal Processing Letters 2017 (mel) and ICML workshop 2017 (sample)"
    paper_data = ("mtt", "msd", "gtzan")
    config_kind = MultilevelConfig
    published = PUBLISHED

    @classmethod
    def prepare(
        cls,
        config: MultilevelConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the clips, and those of the source, once both are found; see `Study.prepare`."""
        given = describe_given(config.extractors, config.layers)
        config.nets(given)
        local = [name for name in config.origins if name != "given"]
        rates = [*([RATE] if local else []), *(one["rate"] for one in given)]
        rates += [MFCC.sample_rate] if MFCC_SVM in config.chosen else []
        data_there = open_dataset_of(config.data, watcher, defaults=defaults_of(config.data))
        source_there = _opened_source(config.source, watcher) if config.has_source else None
        data = prepare_sound(data_there, rates, watcher, n_workers)
        sound = open_sound(data, rates[0])
        facts = {**data["facts"], "task": sound.task, **{f"n_{part}": len(sound.index(part)) for part in LEARNED}}
        facts["extractors"] = {one["scale"]: one["digest"] for one in given}
        prepared = {**data, "facts": facts, "given": given}
        if source_there is not None:  # also where it is not asked for yet
            source = prepare_sound(source_there, [RATE], watcher, n_workers, parts=("train",))
            own = {name: value for name, value in source["facts"].items() if name not in ("title", "words")}
            own["n_valid"] = len(open_sound(source, RATE).index("valid"))
            prepared |= {"source": source, "facts": {**facts, "source": own}}
        return prepared

    # -- the cells -----------------------------------------------------------------------------------------------------

    def phases(self) -> list[list[Cell]]:
        """List the cells: networks, vectors of clips, what is learned on these, and the whole as one network."""
        networks, vectors, learned, taggers = [], [], [], []
        for origin, nets in self.nets.items():
            chosen = self.config.chosen_of(origin)
            if chosen:
                trained = nets if origin != "given" else []
                networks += [cell_of(NETWORK, origin, net.scale, is_scored=False) for net in trained]
                vectors += [cell_of(VECTORS, origin, net.scale, is_scored=False) for net in nets]
            if LOCAL in chosen:
                learned += [cell_of(LOCAL, origin, net.scale) for net in nets]
            learned += [
                cell_of(one.method, origin, one.scale, one.level, run=run)
                for run in range(self.n_runs)
                for one in choices_of(nets)
                if one.method in chosen
            ]
            if LAST_SVM in chosen:
                learned += [cell_of(LAST_SVM, origin, net.scale, "-1") for net in nets]
            if TAGGER in chosen:
                taggers.append(cell_of(TAGGER, origin, ALL, ALL))
        if MFCC_SVM in self.config.chosen:
            vectors.append(Cell(method=STATISTICS, is_scored=False))
            learned.append(Cell(method=MFCC_SVM))
        return [phase for phase in (networks, vectors, learned, taggers) if phase]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Train, aggregate, or learn and score; see `Study.measure`."""
        if cell.method == NETWORK:
            return self._trained(self.net(cell))
        if cell.method == VECTORS:
            net = self.net(cell)
            found = self.layers_of(net, (*net.layers, *([SCORES] if net.origin == "data" else [])))
            return {
                "n_clips": len(next(iter(found.values()))),
                **{f"n_{name}": v.shape[1] for name, v in found.items()},
            }
        if cell.method == STATISTICS:
            return {"n_clips": len(self.statistics())}
        if cell.method == LOCAL:
            rows = self.sound.index("test")
            return figures_of(self.evaluation(cell, self.layers_of(self.net(cell), (SCORES,))[SCORES][rows]))
        if cell.method == MFCC_SVM:
            statistics = self.statistics()
            parts = {part: statistics[rows] for part, rows in self.rows_of.items()}
            return self._machines(cell, parts, MACHINES, one_for_all=False)
        if cell.method == LAST_SVM:
            return self._machines(cell, self.vectors(self.choice(cell)), (Machine(),), one_for_all=True)
        if cell.method == TAGGER:
            return self._tagger(cell)
        return self._classified(cell)

    def _trained(self, net: Net) -> dict[str, Any]:
        """Train a network."""
        sound = self.sound_of(net.origin)
        seed = self.seed_of(NETWORK, net.origin, net.scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = net.build(len(sound.tags), sound.task)
        model.tags = sound.tags
        config = replace(self.config.local_fit(net.origin, sound), seed=seed)
        history = fit_cell(model.train(), sound, self._folder_of(net), config, device=self.config.device).history
        best = kept_epoch(history, config.keep)
        parameters = sum(one.numel() for one in model.parameters())
        return {"n_epochs": len(history), "valid_loss": best["valid_loss"], "parameters": parameters}

    def _classified(self, cell: Cell) -> dict[str, Any]:
        """Train a classifier of clips, and score it."""
        vectors = self.vectors(self.choice(cell))
        model, history = self._fitted(vectors, cell)
        if cell.run == 0 and self.choice(cell) == whole_of(choices_of(self.nets[origin_of(cell)])):
            save_weights(model, self._weights_of(origin_of(cell)))
        scores = score_vectors(model, vectors["test"], device=self.device)
        best = min(history, key=lambda one: one["valid_loss"])
        return {
            **figures_of(self.evaluation(cell, scores)),
            "n_values": vectors["test"].shape[1],
            "valid_loss": best["valid_loss"],
            "best_epoch": int(best["epoch"]),
            "n_epochs": len(history),
            "parameters": sum(one.numel() for one in model.parameters()),
        }

    def _fitted(self, vectors: ByPart, cell: Cell) -> tuple[VectorClassifier, list[dict[str, float]]]:
        """Train a classifier of clips on their vectors."""
        config = self.config
        train = LabelledVectors(vectors["train"], self.sound.labels(self.rows_of["train"]))
        valid = LabelledVectors(vectors["valid"], self.sound.labels(self.rows_of["valid"]))
        return fit_vectors(
            train, valid, config.vector_fit(len(self.rows_of["train"]), self.seed_of("classifier", cell.key)),
            task=self.sound.task, n_hidden_layers=config.hidden_layers,
            n_units=config.units, dropout=config.dropout, device=self.device,
        )  # fmt: skip

    def _machines(
        self, cell: Cell, features: ByPart, machines: Sequence[Machine], *, one_for_all: bool
    ) -> dict[str, Any]:
        """Fit support vector machines on features, choose by the validation part, and score."""
        task, train = self.sound.task, np.arange(len(features["train"]))
        if len(train) > self.config.svm_clips:
            drawn = np.random.default_rng(self.seed_of("svm_clips")).permutation(len(train))[: self.config.svm_clips]
            train = np.sort(drawn)
        labels = {part: self.sound.labels(rows) > 0 for part, rows in self.rows_of.items()}
        scaled = scaled_like(features["train"][train], features["valid"], features["test"], one_for_all=one_for_all)
        parts = {"valid": scaled[1], "test": scaled[2]}
        points = machine_scores(scaled[0], labels["train"][train], parts, machines, task=task)
        best = best_machine(points, labels["valid"], task) if len(machines) > 1 else next(points)
        return {
            **figures_of(self.evaluation(cell, best.scores["test"])),
            "n_values": features["test"].shape[1],
            "params": dict(best.params),
            "is_converged": best.is_converged,
        }

    def _tagger(self, cell: Cell) -> dict[str, Any]:
        """Put networks and classifier together into one, save it, and score it as any tagger is."""
        origin, config = origin_of(cell), self.config
        whole, weights = whole_of(choices_of(self.nets[origin])), self._weights_of(origin)
        if not weights.exists():  # only dense layers, which are trained again to the same weights
            again = cell_of(whole.method, origin, whole.scale, whole.level)
            save_weights(self._fitted(self.vectors(whole), again)[0], weights)
        networks = [network for network in map(self.network, self.nets[origin]) if isinstance(network, LocalMel)]
        model = put_together(
            networks, weights, self.sound.tags, self.sound.task, self.longest(), n_hidden_layers=config.hidden_layers,
            n_units=config.units, dropout=config.dropout,
        )  # fmt: skip
        folder = self.folder / f"{TAGGER}-{origin}"
        folder.mkdir(exist_ok=True)
        model.save(folder / MODEL)
        parameters = sum(one.numel() for one in model.parameters())
        figures = figures_of(score_part(folder, self.sound_of("data"), device=config.device))
        return {**figures, "n_frames": model.frontend.n_frames, "parameters": parameters}

    # -- what a cell is made of ----------------------------------------------------------------------------------------

    @functools.cached_property
    def nets(self) -> dict[Origin, list[Net]]:
        """The networks by where they come from."""
        return self.config.nets(self.data["given"])  # type: ignore[no-any-return]

    def net(self, cell: Cell) -> Net:
        """Find the network of a cell."""
        return next(net for net in self.nets[origin_of(cell)] if net.scale == cell.details["scale"])

    def choice(self, cell: Cell) -> Choice:
        """Find what is put together in a cell."""
        if cell.method == LAST_SVM:
            net = self.net(cell)
            return Choice(method=LAST_SVM, scale=net.scale, level="-1", parts=((net, net.layers[-1]),))
        place = (cell.details["scale"], cell.details["level"])
        return next(one for one in choices_of(self.nets[origin_of(cell)]) if (one.scale, one.level) == place)

    @property
    def n_runs(self) -> int:
        """Classifiers with other first weights."""
        return int(self.config.runs or (RUNS_OF_ONE if self.data_facts()["task"] == "one" else 1))

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return find_device(self.config.device)

    @functools.cached_property
    def sound(self) -> PreparedData:
        """The clips at some rate, as `sound_of` divides them: for their tags and parts, and not to be heard."""
        return self._divided(open_sound(self.data, min(map(int, self.data["prepared"]))))

    @functools.cached_property
    def rows_of(self) -> dict[Part, Whole]:
        """The clips of each part."""
        return {part: self.sound.index(part) for part in PARTS}

    def sound_of(self, origin: Origin) -> PreparedData:
        """Open what the networks of an origin are trained on, at their rate.

        Where it has no part for validation, one is drawn out of train, always the same one: networks learn nothing from
        the clips by which classifiers stop and machines are chosen.
        """
        return self._divided(open_sound(self.data["source"] if origin == "source" else self.data, RATE))

    def _divided(self, sound: PreparedData) -> PreparedData:
        return with_drawn_valid(sound, self.seed_of("validation"))

    def _folder_of(self, net: Net) -> Path:
        return Path(self.files / f"{NETWORK}-{net.origin}-{net.scale}")

    def _weights_of(self, origin: Origin) -> Path:
        return Path(self.files / f"classifier-{origin}.npz")

    def network(self, net: Net) -> TaggingModel:
        """Open a network that is trained or given."""
        return net.build() if net.origin == "given" else load_model(self._folder_of(net))

    def longest(self) -> int:
        """Count the frames of the longest clip, but for more than those of 29 s."""
        sound = self.sound_of("data")
        longest = max(sound.n_samples(row) for row in range(len(sound)))
        frontend = create_model("local_mel").frontend
        return min(MEL.n_frames, frontend.n_frames_in(longest))

    def layers_of(self, net: Net, layers: Sequence[str]) -> dict[str, Floats]:
        """Give the vectors of all clips, (clips, filters) a layer: computed once for all cells."""
        sound = open_sound(self.data, net.rate)
        return clip_vectors(
            self.network(net), Sounds(sound, np.arange(len(sound))), layers, segments=self.config.segments(net.origin),
            cache=self.files / VECTORS, facts={"trained_on": net.origin, "scale": net.scale}, device=self.device,
            n_threads=1,
        )  # fmt: skip

    def vectors(self, choice: Choice) -> ByPart:
        """Give the vectors of the clips of each part, (clips, values), of which no second copy is made on the way."""
        widths = [layer_widths(self.network(net), (layer,))[layer] for net, layer in choice.parts]
        found = {part: np.empty((len(rows), sum(widths)), np.float32) for part, rows in self.rows_of.items()}
        for (net, layer), last in zip(choice.parts, np.cumsum(widths).tolist()):
            values = self.layers_of(net, (layer,))[layer]
            for part, rows in self.rows_of.items():
                found[part][:, last - values.shape[1] : last] = values[rows]
        return found

    def statistics(self) -> Floats:
        """Give means and deviations of the MFCCs of all clips: (clips, 120), computed once."""
        sound = open_sound(self.data, MFCC.sample_rate)
        return mfcc_features(Sounds(sound, np.arange(len(sound))), self.files / VECTORS)

    def evaluation(self, cell: Cell, scores: Floats) -> Evaluation:
        """Put scores of the clips for testing beside their labels."""
        return evaluation_of(cell.key, self.sound, self.rows_of["test"], scores)

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Say what the settings are, what is smaller than published, and what was heard before."""
        told = self.config.remarks(self.data_facts()["n_train"])
        if "source" in self.config.origins:
            source = self.data["source"]["facts"]
            where = f"The networks are trained on {source['title']}: {source['words']}"
            told = [where, self._heard_before(), *told]
        facts = self.data_facts()
        drawn = [
            where for where, one in (("data", facts), ("source", facts.get("source"))) if one and not one["n_valid"]
        ]
        if drawn:
            told.append(f"{VALID_SHARE:.0%} of train is drawn for validation, once for all: of {' and '.join(drawn)}.")
        plural = "1 run" if self.n_runs == 1 else f"{self.n_runs} runs"
        return [*told, f"{plural} of each classifier; each network is trained once."]

    def _heard_before(self) -> str:
        """Say how many clips for testing the networks of the source were trained or chosen on."""
        tested, source = self.sound_of("data"), self.sound_of("source")
        rows = np.concatenate([source.index("train"), source.index("valid")])
        n_heard = shared_sound(tested, tested.index("test"), source, rows)
        return f"{n_heard:,} of the {len(tested.index('test')):,} clips for testing sound exactly like one of these."

    def is_papers_data(self) -> bool:
        """Say whether the data is divided and tagged as that of the paper."""
        return WhichData.of(self.data_facts()).is_published

    def results(self, rows: Sequence[Row]) -> Results:
        """Put what was measured together."""
        facts = self.data_facts()
        scales: dict[str, dict[str, tuple[str, ...]]] = {}
        for origin, nets in self.nets.items():
            scales[origin] = {net.scale: net.levels for net in nets}
        source = WhichData.of(self.data["source"]["facts"]) if "source" in self.data else None
        return Results(
            rows, scales, task=facts["task"], system=self.config.system, data=WhichData.of(facts), source=source,
            title=str(facts["title"]),
        )  # fmt: skip

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables: systems, and levels by scales."""
        return tables_of(self.results(rows))

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the claims of the papers against what was measured."""
        return claims_of(self.results(rows))

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw the systems, and each tag by levels and by scales."""
        return draw(self.results(rows))


def _opened_source(config: DataConfig, watcher: Watcher) -> OpenedData:
    """Open the source; what is missing of it is named by its own settings."""
    if config.name and config.name != SYNTH and not config.prepared:
        find_dataset(config.name)
        check(bool(config.root), "source.root", config.root, f"the folder in which {config.name} lies")
    return open_dataset_of(config, watcher, defaults=defaults_of(config))
