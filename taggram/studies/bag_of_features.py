"""Deep bag-of-features: a sparse RBM on local patches, pooled into a bag a clip, and a pre-trained network on the bags.

Source: Nam, Herrera and Lee, "A deep bag-of-features model for music auto-tagging", 2015, revised 2016, arXiv
    1508.04999; the first author's experiment code, of whose settings those of the final scripts are the defaults here.
Differs: the split of the source is not at hand. Stereo is mixed down; the code keeps the first channel. Silent clips
    give no patches; the code takes the spectrogram of the clip before. Clips are in another order in each epoch of the
    network on bags; in the code they are not. What dropout leaves is scaled up in training, where the code halves
    weights in use, so that the layers behind it start at twice the effect. Which costs of the weights a network has
    been pre-trained with is chosen by validation. How units are described is our own. For what differs in patches see
    `taggram/learning/patch_sampling.py`, in the network `taggram/models/bag_of_features.py`.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch

from taggram._checks import check, check_count, is_count, is_number
from taggram.errors import DatasetError
from taggram.learning.data import drawn_for_validation
from taggram.learning.prepared import PreparedData
from taggram.learning.sparse_rbm import RBM
from taggram.learning.whitening import Whitening
from taggram.models.bag_of_features import AGC_MEL, N_HIDDEN, N_UNITS, PATCH_FRAMES, POOL_FRAMES
from taggram.studies import _bag_of_features_cells as cells
from taggram.studies import _bag_of_features_results as results
from taggram.studies._bag_of_features_song import BIAS_INITS, DEFAULT, PRETRAINED, SONGS
from taggram.studies._bag_of_features_units import Units
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig, Value
from taggram.studies._drawn import VALID_SHARE
from taggram.studies._tables import Table
from taggram.studies._tagged_sound import open_sound, prepare_sound
from taggram.studies._worker import cell_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.frontends import AGCMelConfig
    from taggram.learning.train import Watcher

SAMPLINGS = ("onset", "random")
MTT = {"tags": "mtt188", "split": "dir-all"}
MTT_TAGS = 160
HAMEL_CLIPS = {"train": (14_660,), "valid": (1_629,), "test": (6_498, 6_499)}  # in the lists, and in print
PAPER = {"n_patches": 200_000, "rbm_epochs": 300, "n_units": 1024, "n_hidden": 512, "stack_epochs": 200}
PAPER |= {"max_epochs": 100}


@dataclass(frozen=True, kw_only=True)
class BagOfFeaturesConfig(StudyConfig):
    """The settings of the study. Where one takes several values, every combination of them is measured.

    Attributes:
        METHODS: all methods that the study knows; those behind the first two are measured only if they are asked for.
        sampling: where patches begin that the RBM learns from: at the largest "onset" of each second, or "random".
        rho: mean activations that the units of the RBM are drawn to.
        patch_frames: lengths of a patch.
        pool_frames: lengths of the windows of the maximum.
        layers: hidden layers of the network on bags.
        bias_init: biases of pre-trained layers: "hidden" are those of the hidden units; "visible" is as in the code,
            which takes those of the visible units of the next RBM.
        weight_costs: L2 on the weights in pre-training: all rising combinations over the layers are tried, and the one
            that is best in validation is taken.
        n_tags: so many of the tags that most clips for training have; 0 is 160 of MagnaTagATune, and all of other data.
        n_patches: that the RBM learns from.
        n_units: of the RBM.
        rbm_epochs: of its training.
        n_hidden: units of each hidden layer.
        stack_epochs: of the pre-training of each layer.
        max_epochs: of the training of the network on bags.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(SONGS)

    sampling: tuple[str, ...] = field(default=("onset",), metadata=GRID)
    rho: tuple[float, ...] = field(default=(0.02,), metadata=GRID)
    patch_frames: tuple[int, ...] = field(default=(PATCH_FRAMES,), metadata=GRID)
    pool_frames: tuple[int, ...] = field(default=(POOL_FRAMES,), metadata=GRID)
    layers: tuple[int, ...] = field(default=(3,), metadata=GRID)
    bias_init: tuple[str, ...] = field(default=("hidden",), metadata=GRID)
    weight_costs: tuple[float, ...] = (0.001, 0.01, 0.1)
    n_tags: int = 0
    n_patches: int = PAPER["n_patches"]
    n_units: int = N_UNITS
    rbm_epochs: int = PAPER["rbm_epochs"]
    n_hidden: int = N_HIDDEN
    stack_epochs: int = PAPER["stack_epochs"]
    max_epochs: int = PAPER["max_epochs"]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("sampling", SAMPLINGS), ("bias_init", BIAS_INITS)):
            values = getattr(self, name)
            check(bool(values) and {*values} <= {*known}, name, values, f"some of {', '.join(known)}")
        for name in ("patch_frames", "pool_frames", "layers"):
            values = getattr(self, name)
            check(bool(values) and all(map(is_count, values)), name, values, "whole numbers from 1 on")
        fits = bool(self.rho) and all(is_number(rho) and 0 < rho < 1 for rho in self.rho)
        check(fits, "rho", self.rho, "numbers above 0 and below 1, such as rho=0.01,0.02")
        fits = bool(self.weight_costs) and all(is_number(cost) and cost >= 0 for cost in self.weight_costs)
        check(fits, "weight_costs", self.weight_costs, "numbers from 0 on, such as weight_costs=0.001,0.01")
        check_count("n_tags", self.n_tags, 0)
        for name in PAPER:
            check_count(name, getattr(self, name))

    def costs(self, n_layers: int) -> list[str]:
        """Name the combinations of weight costs of so many RBMs, such as "0.001+0.01"."""
        combinations = itertools.combinations_with_replacement(sorted(self.weight_costs), n_layers)
        return [cells.COSTS.join(f"{cost:g}" for cost in costs) for costs in combinations]


class BagOfFeatures(Study):
    """Tagging by bags of sparse features, pre-trained and not."""

    name = "bag_of_features"
    title = "Deep bag-of-features"
    paper = "Nam, Herrera and Lee, arXiv 1508.04999"
    paper_data = ("mtt",)
    config_kind = BagOfFeaturesConfig
    published = results.PUBLISHED

    @classmethod
    def prepare(
        cls,
        config: BagOfFeaturesConfig,
        folder: Path,  # noqa: ARG003 (all that is needed is in the cache)
        watcher: Watcher,
        n_workers: int | None,
    ) -> dict[str, Any]:
        """Decode the clips, and choose the tags; see `Study.prepare`."""
        check(not config.folds, "folds", config.folds, "nothing: the clips have one split, data.split=NAME")
        is_mtt = config.data.name == "mtt"
        defaults = MTT if is_mtt else {}
        data = prepare_sound(config.data, [AGC_MEL.sample_rate], watcher, n_workers, defaults=defaults)
        sound = open_sound(data, AGC_MEL.sample_rate)
        n_tags = config.n_tags or (MTT_TAGS if is_mtt else len(sound.tags))
        if sound.task == "one":
            check(n_tags >= len(sound.tags), "n_tags", config.n_tags, "0, as each clip has exactly one class")
        counts = sound.labels(sound.index("train")).sum(axis=0)
        kept = sorted(np.argsort(-counts, kind="stable")[:n_tags].tolist())
        tested = sound.labels(sound.index("test"))[:, kept]
        if not (tested.any(axis=0) & ~tested.all(axis=0)).any():
            raise DatasetError(
                f"none of the {len(kept)} tags can be scored on the {len(tested)} clips for testing: some of these "
                "must have it, and some must not. Name another split by data.split, or take more tags by n_tags."
            )
        facts = data["facts"] | {"tags": [sound.tags[tag] for tag in kept]}
        facts["words"] = (
            f"{len(sound):,} clips with {len(kept)} tags, split {facts['split']} {facts['split_sha256'][:11]}."
        )
        return {**data, "facts": facts, "kept_tags": kept}

    def phases(self) -> list[list[Cell]]:
        """List the cells: whitened patches, RBMs, bags, stacked RBMs layer by layer, networks, and what units are."""
        config = self.config
        methods = config.methods or DEFAULT
        patches = list(self._grid(sampling=config.sampling, patch_frames=config.patch_frames))
        rbms = [one | {"rho": rho} for one in patches for rho in config.rho]
        bags = [one | {"pool_frames": pool} for one in rbms for pool in config.pool_frames]
        n_stacked = max(config.layers) if any(SONGS[method].is_pretrained for method in methods) else 0
        blocks = range(-(-self.data["facts"]["n_clips"] // cells.BLOCK_CLIPS))
        listed: list[list[Cell]] = [
            self._cells(cells.WHITENING, patches),
            self._cells(cells.RBM_CELL, rbms),
            self._cells(cells.BAGS, [one | {"block": block} for one in bags for block in blocks]),
        ]
        listed += [
            self._cells(cells.STACK, [one | {"costs": costs} for one in bags for costs in config.costs(n_layers)])
            for n_layers in range(1, n_stacked + 1)
        ]
        tries, songs = [], []
        for method in dict.fromkeys(methods):
            of_method = [net for one in bags for net in self._nets(method, one)]
            tried = [net | {"net": method, "costs": costs} for net in of_method for costs in self._tried(method, net)]
            tries += self._cells(cells.TRY, tried)
            songs += self._cells(method, of_method, scored=True)
        return [*listed, tries, songs, self._cells(cells.UNITS, bags)]

    def _grid(self, **values: Sequence[Value]) -> Iterator[dict[str, Value]]:
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination))

    def _cells(self, method: str, details: Sequence[dict[str, Value]], *, scored: bool = False) -> list[Cell]:
        runs = range(self.config.runs)
        return [Cell(method=method, run=run, details=one, is_scored=scored) for run in runs for one in details]

    def _nets(self, method: str, bags: dict[str, Value]) -> list[dict[str, Value]]:
        """Give what tells the networks of a method apart."""
        nets = [bags | {"layers": layers} for layers in self.config.layers]
        if not SONGS[method].is_pretrained:
            return nets
        return [net | {"bias_init": bias_init} for net in nets for bias_init in self.config.bias_init]

    def _tried(self, method: str, net: Mapping[str, Value]) -> list[str]:
        """Give the weight costs that are tried for a network; none where it is not pre-trained."""
        return self.config.costs(int(cast(int, net["layers"]))) if SONGS[method].is_pretrained else []

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Do a cell; see `Study.measure`."""
        kinds = {
            cells.WHITENING: cells.whiten, cells.RBM_CELL: cells.learn_rbm, cells.BAGS: cells.make_bags,
            cells.STACK: cells.learn_stacked, cells.TRY: cells.learn_song, cells.UNITS: cells.describe_units,
        }  # fmt: skip
        if cell.method in kinds:
            return kinds[cell.method](self, cell)
        known = (cells.choose_song if SONGS[cell.method].is_pretrained else cells.learn_song)(self, cell)
        return {**cells.score_song(self, cell), **known}

    # -- what cells share ----------------------------------------------------------------------------------------------

    @functools.cached_property
    def sound(self) -> PreparedData:
        """The sound of the clips."""
        return open_sound(self.data, AGC_MEL.sample_rate)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, in order."""
        return tuple(self.data["facts"]["tags"])

    def labels(self, rows: cells.Whole) -> cells.Floats:
        """Give (rows, tags), 0 or 1, of the tags that are kept."""
        labels: cells.Floats = self.sound.labels(rows)[:, self.data["kept_tags"]]
        return labels

    def rows_of(self, part: str, run: int) -> cells.Whole:
        """Give the rows of "train", "valid" or "test"; validation is drawn from train where the split has none."""
        if part == "test" or len(self.sound.index("valid")):
            return self.sound.index(part)  # type: ignore[arg-type]
        train, valid = drawn_for_validation(self.sound.index("train"), VALID_SHARE, self.seed_of("validation", run))
        return train if part == "train" else valid

    def path_of(self, kind: str, cell: Cell, suffix: str = ".npz", *, with_costs: str = "", block: int = -1) -> Path:
        """Say where something is kept that a cell makes or needs.

        Args:
            kind: of it, one of the cells that make files.
            cell: whose details say which one.
            suffix: of the file.
            with_costs: of a stacked RBM.
            block: of bags.

        Returns:
            The path.
        """
        names = {cells.WHITENING: 2, cells.RBM_CELL: 3}.get(kind, 4)
        order = ("sampling", "patch_frames", "rho", "pool_frames")[:names]
        parts = [kind, *[f"{name}-{cell.details[name]}" for name in order], f"run-{cell.run}"]
        parts += [f"costs-{with_costs}"] if with_costs else []
        parts += [f"block-{block}"] if block >= 0 else []
        return self.files / f"{'_'.join(parts)}{suffix}"

    def whitening(self, cell: Cell) -> Whitening:
        """Read the whitening that a cell rests on."""
        return Whitening.load(self.path_of(cells.WHITENING, cell))

    def rbm(self, cell: Cell) -> RBM:
        """Read the RBM that a cell rests on."""
        return RBM.load(self.path_of(cells.RBM_CELL, cell))

    def bags(self, cell: Cell, rows: cells.Whole) -> torch.Tensor:
        """Read the bags of some clips: (rows, units)."""
        found = torch.empty(len(rows), self.config.n_units)
        for block in np.unique(rows // cells.BLOCK_CLIPS).tolist():
            values = torch.from_numpy(self._of_block(cell, block, "bags"))
            inside = np.flatnonzero(rows // cells.BLOCK_CLIPS == block)
            found[torch.from_numpy(inside)] = values[torch.from_numpy(rows[inside] % cells.BLOCK_CLIPS)]
        return found

    def activation(self, cell: Cell) -> cells.Floats:
        """Give the mean activation of each unit over the patches of the clips for testing: (units,)."""
        test = self.rows_of("test", cell.run)
        blocks = np.unique(test // cells.BLOCK_CLIPS).tolist()
        total = sum(self._of_block(cell, block, "test_activation") for block in blocks)
        return np.asarray(total / len(test), np.float32)

    def _of_block(self, cell: Cell, block: int, what: str) -> cells.Floats:
        path = self.path_of(cells.BAGS, cell, block=block)
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values: cells.Floats = file[what]
        return values

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def rows(self, measured: Sequence[tuple[Cell, Mapping[str, Any]]]) -> list[Row]:
        """Put what is known of patches and RBM beside each network."""
        return [cell.row({**self._facts_of(cell), **values}) for cell, values in measured]

    def _facts_of(self, cell: Cell) -> dict[str, Any]:
        """Read what was measured in the cells that a network rests on."""
        found: dict[str, Any] = {}
        for kind, names in ((cells.WHITENING, ("sampling", "patch_frames")), (cells.RBM_CELL, results.RBM_DETAILS)):
            known = Cell(method=kind, run=cell.run, details={name: cell.details[name] for name in names})
            found |= self.measured(known) if cell_path(self.folder, known.key).exists() else {}
        return found

    def measured(self, cell: Cell) -> dict[str, Any]:
        """Read what was measured in a cell."""
        found: dict[str, Any] = json.loads(cell_path(self.folder, cell.key).read_text(encoding="utf-8"))
        return found

    def units(self, row: Row) -> Units | None:
        """Read what is known of the units behind a row; None where that was not measured."""
        details = {name: row[name] for name in (*results.RBM_DETAILS, "pool_frames")}
        path = self.path_of(cells.UNITS, Cell(method=cells.UNITS, run=row["run"], details=details))
        return Units.load(path) if path.exists() else None

    def is_papers_data(self) -> bool:
        """Tell whether tags and parts are as many as in the lists of the paper, whatever they were read from."""
        counts = {part: len(self.sound.index(part)) for part in HAMEL_CLIPS}  # type: ignore[arg-type]
        return len(self.tags) == MTT_TAGS and all(counts[part] in wanted for part, wanted in HAMEL_CLIPS.items())

    def remarks(self) -> list[str]:
        """Say what is done otherwise than in the paper."""
        config = self.config
        told = []
        if self.is_papers_data():
            told.append(f"Taken for the data of the paper, by its {MTT_TAGS} tags and the sizes of its parts.")
        elif self.data_facts()["name"] in self.paper_data:
            told.append(
                "Neither the split of Hamel et al. nor its list of 160 tags is at hand: the split is "
                f"{self.data_facts()['split']}, the tags are the {len(self.tags)} commonest of its part for training."
            )
        smaller = [f"{name} {getattr(config, name):,}, not {most:,}" for name, most in PAPER.items()]
        smaller = [words for words, name in zip(smaller, PAPER) if getattr(config, name) != PAPER[name]]
        told += [f"Otherwise than in the paper: {'; '.join(smaller)}."] if smaller else []
        if not len(self.sound.index("valid")):
            told.append("A tenth of train is drawn for validation.")
        return told

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Make the tables: networks, annotation, RBMs, and the units of tags."""
        units = self.units(rows[0]) if rows else None
        of_tags = [results.unit_table(units, self.tags)] if units is not None and units.strongest(1) else []
        return [results.main_table(rows), results.annotation_table(rows), results.rbm_table(rows), *of_tags]

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold what the page says against what was measured."""
        return results.claims_of(rows, is_papers=self.is_papers_data())

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw scores, the training of the RBM, and its units."""
        from taggram.studies import _bag_of_features_pictures as pictures

        first = Cell(method=PRETRAINED, run=rows[0]["run"], details={n: rows[0][n] for n in results.RBM_DETAILS})
        facts = self.data_facts()
        drawn = pictures.draw_scores(rows, facts["title"], is_papers=self.is_papers_data())
        history = self.path_of(cells.RBM_CELL, first, ".json")
        if history.exists():
            drawn["rbm"] = pictures.draw_training(json.loads(history.read_text(encoding="utf-8")), rows[0]["rho"])
        if (units := self.units(rows[0])) is not None:
            drawn |= pictures.draw_units(units, self.tags, facts["title"])
        return drawn

    def frontend_of(self, n_frames: int) -> AGCMelConfig:
        """Give the settings of the front-end, whose patch is as long as a clip."""
        return replace(AGC_MEL, mel=replace(AGC_MEL.mel, n_frames=n_frames))
