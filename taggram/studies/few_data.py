"""What learns best from 1 to 100 labelled clips of each class: small CNNs, prototypes, or a network trained before.

Source: Pons, Serra and Serra, "Training neural audio classifiers with few data", ICASSP 2019, arXiv 1810.10274, and the
    code of its authors, which is followed where the two differ.
Differs: draws hang on a seed. All patches of the test are scored; the code drops up to 127 of them. musicnn, which has
    learned from music, stands beside VGGish, whose weights have to be given; its features are frozen. Clips of less
    than 2048 samples are repeated up to there before MFCCs are taken, and not padded. The numbers of runs of `runs=0`
    are not all told by the code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from taggram._checks import check, check_count, is_count, is_number
from taggram.errors import ConfigError, DatasetError, WeightsError, printable
from taggram.learning.episodes import draw_examples
from taggram.learning.prototypes import PrototypeConfig
from taggram.learning.train import Watcher
from taggram.models import create_model
from taggram.models._mfcc_statistics import MFCC
from taggram.models.few_data import FEW_DATA_MEL
from taggram.models.vggish import VGGISH_MEL, check_vggish_weights, load_vggish_weights
from taggram.studies import _few_data_methods as methods
from taggram.studies._base import GRID, Cell, Claim, Row, Study, StudyConfig, Value
from taggram.studies._clips import StudyClips, prepare_clips
from taggram.studies._few_data_features import NETWORKS as FROZEN_NETWORKS
from taggram.studies._few_data_features import FrozenFeatures
from taggram.studies._few_data_results import ALL, PUBLISHED, accuracy_table, claims_of, curve, toolkit_table
from taggram.studies._tables import Table
from taggram.tagger import find_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER_RUNS = ((2, 20), (10, 10))  # up to so many examples, so many runs; above them MANY_RUNS
MANY_RUNS = 5
PAPER = {"stop_epochs": 200, "max_epochs": 199, "test_hop_frames": 1, "support": 5, "trunk_lr": 1e-4}
BASELINES = ("random_guess", "mfcc_nn")
REGULARISED = tuple(f"{name}{ending}" for ending in ("", methods.LOG_LEARN) for name in methods.NETWORKS)
PROTOTYPICAL = ("prototypical", f"prototypical{methods.LOG_LEARN}")
ON_MUSICNN = ("musicnn", "musicnn_prototypical", *[f"musicnn_{probe}" for probe in methods.PROBES])
ON_VGGISH = ("vggish", "vggish_prototypical", *[f"vggish_{probe}" for probe in methods.PROBES])
DEFAULT = (*BASELINES, *REGULARISED, *PROTOTYPICAL, "musicnn", "musicnn_prototypical", "musicnn_nn")
TUNED = ("vggish", "vggish_prototypical")  # the networks that learn below their new layer; all others are frozen
_USERS = {  # of features that are kept
    "musicnn": ON_MUSICNN,
    "vggish": tuple(name for name in ON_VGGISH if name not in TUNED),
}
CERTAIN = ("_nn", "_svm")  # endings of methods that draw nothing but the examples
KINDS = {
    **dict.fromkeys(BASELINES, "baseline"),
    **dict.fromkeys(REGULARISED, "regularised"),
    **dict.fromkeys(PROTOTYPICAL, "prototypical"),
    **dict.fromkeys([*ON_MUSICNN, *ON_VGGISH], "transfer"),
}


@dataclass(frozen=True, kw_only=True)
class FewDataConfig(StudyConfig):
    """The settings of the study of few examples.

    Attributes:
        n: clips of each class that are learned from; "all" is all there are.
        runs: draws of the examples; 0 is 20 up to n = 2, 10 up to n = 10, then 5, and 1 of all.
        support: patches of a prototype, at most one a clip; "all" is all patches.
        stop_epochs: epochs without improvement that prototypical networks are trained on for, counted in total.
        max_epochs: of all other trainings.
        test_hop_frames: from patch to patch of a test clip for the regularised networks.
        test_clips: test clips of a fold that are taken at most, drawn from the seed; 0 is all.
        trunk_lr: times the learning rate for VGGish below its new layer; 0 freezes it.
        vggish_weights: file with the weights of VGGish, for the methods that need them.
        METHODS: all methods that the study knows.
        LEAST_RUNS: `runs` may be 0.

    Raises:
        ConfigError: some value makes no sense, or weights are wanted and not given.
    """

    n: tuple[int | str, ...] = field(default=(1, 2, 4), metadata=GRID)
    runs: int = field(default=3, metadata=GRID)
    support: int | str = 5
    stop_epochs: int = 200
    max_epochs: int = 199
    test_hop_frames: int = 1
    test_clips: int = 0
    trunk_lr: float = 1e-4
    vggish_weights: str = field(default="", metadata=GRID)

    METHODS: ClassVar[tuple[str, ...]] = tuple(KINDS)
    LEAST_RUNS: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        are_counts = bool(self.n) and all(is_count(n) or n == ALL for n in self.n)
        check(are_counts, "n", self.n, "numbers of clips from 1 on, or all, such as n=1,2,5,all")
        check(is_count(self.support) or self.support == ALL, "support", self.support, "a number from 1 on, or all")
        check_count("stop_epochs", self.stop_epochs, 0)
        check_count("max_epochs", self.max_epochs)
        check_count("test_hop_frames", self.test_hop_frames)
        check_count("test_clips", self.test_clips, 0)
        check(is_number(self.trunk_lr) and self.trunk_lr >= 0, "trunk_lr", self.trunk_lr, "a number from 0 on")
        check(isinstance(self.vggish_weights, str), "vggish_weights", self.vggish_weights, "the path of a file")
        if self.needs(*ON_VGGISH) and not self.vggish_weights:
            raise ConfigError(
                "vggish and what begins with it need the weights of VGGish, which taggram does not fetch: "
                "vggish_weights=FILE, such as vggish-10086976.pth of torchvggish, or vggish_model.ckpt as an npz."
            )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The methods that are measured."""
        return tuple(dict.fromkeys(self.methods)) or DEFAULT

    @property
    def n_shot(self) -> int | None:
        """Patches of a prototype, or None for all."""
        return None if self.support == ALL else int(self.support)

    def needs(self, *methods: str) -> bool:
        """Tell whether one of some methods is measured."""
        return not {*methods}.isdisjoint(self.wanted)

    def n_runs(self, method: str, n: int | str) -> int:
        """Say how many runs a method has with n examples."""
        if method == "random_guess" or (n == ALL and method.endswith(CERTAIN)):
            return 1
        if self.runs:
            return self.runs
        return 1 if n == ALL else next((runs for most, runs in PAPER_RUNS if int(n) <= most), MANY_RUNS)


class FewData(Study):
    """Few examples of each class: regularised CNNs, prototypical networks, and transfer."""

    name: ClassVar[str] = "few_data"
    title: ClassVar[str] = "Training with few examples of each class"
    paper: ClassVar[str] = "Pons, Serra and Serra, ICASSP 2019, arXiv 1810.10274"
    paper_data: ClassVar[tuple[str, ...]] = ("urbansound8k", "tut2017")
    config_kind: ClassVar[type[StudyConfig]] = FewDataConfig
    published: ClassVar[Sequence[Mapping[str, Any]]] = PUBLISHED

    def __init__(self, config: FewDataConfig, folder: Path, data: Mapping[str, Any]) -> None:
        super().__init__(config, folder, data)
        self.config: FewDataConfig = config
        self.clips = StudyClips.load(folder / data["clips"])
        self._inputs = methods.Inputs(self.clips)
        self._frozen = {
            name: FrozenFeatures(
                name, self.clips, self.files, weights=config.vggish_weights, details=self._weights_of(name)
            )
            for name, users in _USERS.items()
            if config.needs(*users)
        }

    @classmethod
    def prepare(cls, config: FewDataConfig, folder: Path, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
        """Decode the clips at the rates that the methods need, and see whether there are enough; see `Study`."""
        users = {
            FEW_DATA_MEL.sample_rate: (*REGULARISED, *PROTOTYPICAL),
            MFCC.sample_rate: ("mfcc_nn",),
            VGGISH_MEL.sample_rate: (*ON_MUSICNN, *ON_VGGISH),  # musicnn has the same
        }
        rates = [rate for rate, names in users.items() if config.needs(*names)]
        weights = _weights_facts(config.vggish_weights) if config.needs(*ON_VGGISH) else {}
        data = prepare_clips(
            config.data, rates or [VGGISH_MEL.sample_rate], folder, watcher, n_workers, wanted_folds=config.folds
        )
        _check_sizes(StudyClips.load(folder / data["clips"]), config)
        return {**data, "vggish": weights}

    def phases(self) -> list[list[Cell]]:
        """List features of frozen networks first, then the methods; see `Study`."""
        features = [cell for one in self._frozen.values() for cell in one.cells()]
        scored = [
            Cell(method=method, fold=fold, run=run, details={"n": n, **self._weights_of(method)})
            for fold in self.config.folds or self.clips.folds
            for n in dict.fromkeys(self.config.n)
            for run in range(max(self.config.n_runs(method, n) for method in self.config.wanted))
            for method in self.config.wanted
            if run < self.config.n_runs(method, n)
        ]
        return [features, scored] if features else [scored]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Compute features, or learn from the drawn clips and score the test; see `Study`."""
        config, method = self.config, cell.method
        if not cell.is_scored:
            return dict(self._frozen[method.removesuffix("_features")].make(cell, find_device(config.device)))
        task = self._task(cell)
        prototypes = PrototypeConfig(n_shot=config.n_shot, stop_epochs=config.stop_epochs)
        weights, trunk_lr = Path(config.vggish_weights), config.trunk_lr
        if method == "random_guess":
            return {"accuracy": 1 / task.n_classes, "n_train": 0, "n_test": len(task.test)}
        if method == "mfcc_nn":
            return methods.mfcc_nearest(task)
        if method in REGULARISED:
            hop_frames = config.test_hop_frames
            return methods.regularised(method, task, max_epochs=config.max_epochs, test_hop_frames=hop_frames)
        if method in PROTOTYPICAL:
            return methods.prototypical(method, task, prototypes)
        if method == "vggish":
            return methods.vggish(task, weights, max_epochs=config.max_epochs, trunk_lr=trunk_lr)
        transferred = replace(prototypes, clip_norm=None, trunk_lr=trunk_lr)
        if method == "vggish_prototypical":
            return methods.vggish_prototypical(task, weights, transferred)
        return self._measure_frozen(method, task, transferred)

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Give the accuracy of each method for each n, and beside the toolkit's where the data is its own."""
        kinds = {method: KINDS[method] for method in self.config.wanted}
        ours = accuracy_table(rows, kinds, self.config.n, shortcuts=self._shortcuts())
        beside = toolkit_table(rows) if self.data_facts()["name"] == "gtzan" else None
        return [ours] if beside is None else [ours, beside]

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:
        """Draw accuracy over n, of networks with the fixed logarithm and of those that train it."""
        from taggram.studies._pictures import draw_accuracy_curves

        curves = {method: curve(rows, method) for method in self.config.wanted if method != "random_guess"}
        learned = {name: one for name, one in curves.items() if one and name.endswith(methods.LOG_LEARN)}
        plain = {name: one for name, one in curves.items() if one and name not in learned}
        title = f"{self.title},\non {self.data_facts()['title']}{self._shortcuts()}"
        lines = {"random guess": 1 / len(self.clips.classes)}
        return {
            name: draw_accuracy_curves(some, title=title, x="examples of each class", lines=lines)
            for name, some in (("accuracy", plain), ("log_learn", learned))
            if some
        }

    def claims(self, rows: Sequence[Row]) -> list[Claim]:
        """Hold the orderings that the paper states against what was measured."""
        return claims_of(rows)

    def remarks(self) -> list[str]:
        """Say what is done otherwise than in the paper."""
        config, prototypes = self.config, [name for name in KINDS if "prototypical" in name]
        users = {
            "stop_epochs": prototypes,
            "max_epochs": [name for name in KINDS if name in (*REGULARISED, "musicnn", "vggish")],
            "test_hop_frames": REGULARISED,
            "support": prototypes,
            "trunk_lr": TUNED,
        }
        said = [
            f"{name} is {getattr(config, name)}; {PAPER[name]} in the paper."
            for name, of in users.items()
            if config.needs(*of) and getattr(config, name) != PAPER[name]
        ]
        if config.test_clips:
            said.append(f"At most {config.test_clips} clips of each test part are taken, drawn from the seed.")
        if config.needs(*ON_MUSICNN):
            said.append(
                f"musicnn is {FROZEN_NETWORKS['musicnn'][0]}, which has learned tags of music. It is not in the paper. "
                "Frozen, it sees patches of 3 s side by side; dense layer, embedding or probe learn on its features."
            )
        if config.needs(*ON_VGGISH) and not self.data["vggish"]["published"]:
            said.append("The weights of VGGish are not the published ones: they fail the smoke test of its source.")
        return said

    # -- inside --------------------------------------------------------------------------------------------------------

    def _task(self, cell: Cell) -> methods.Task:
        """Draw the examples of a cell: the same for all methods of one fold, run and n."""
        n, labels = str(cell.details["n"]), self.clips.labels
        offered, test = self.clips.clips(cell.fold, "train"), self.clips.clips(cell.fold, "test")
        places = draw_examples(
            labels[offered],
            len(self.clips.classes),
            None if n == ALL else int(n),
            seed=self.seed_of("examples", cell.fold, cell.run, n),
            classes=self.clips.classes,
        )
        if self.config.test_clips:
            order = np.random.default_rng(self.seed_of("test", cell.fold)).permutation(len(test))
            test = test[np.sort(order[: self.config.test_clips])]
        return methods.Task(
            train=offered[places],
            train_labels=labels[offered[places]],
            test=test,
            test_labels=labels[test],
            fold=cell.fold,
            n_classes=len(self.clips.classes),
            seed=lambda what: self.seed_of(what, cell.method, cell.fold, cell.run, n),
            device=find_device(self.config.device),
            inputs=self._inputs,
        )

    def _measure_frozen(self, method: str, task: methods.Task, prototypes: PrototypeConfig) -> dict[str, Any]:
        """Measure a method on features that are kept."""
        name, _, ending = method.partition("_")
        _, of_head, of_toolkit = FROZEN_NETWORKS[name]
        features = self._frozen[name].of_layer(of_head if ending in ("", "prototypical", "nn") else of_toolkit)
        train, test = ([features[clip] for clip in part] for part in (task.train, task.test))
        if not ending:
            return methods.frozen_head(train, test, task, max_epochs=self.config.max_epochs)
        if ending == "prototypical":
            return methods.frozen_prototypes(train, test, task, prototypes)
        return methods.frozen_probe(ending, train, test, task)

    def _weights_of(self, method: str) -> dict[str, Value]:
        """Name the weights of VGGish, whose file may be another in a later call."""
        return {"weights": self.data["vggish"]["sha256"][:8]} if method.startswith("vggish") else {}

    def _shortcuts(self) -> str:
        """Say in titles that prototypical networks were trained shorter than in the paper."""
        is_used = self.config.needs(*[name for name in KINDS if "prototypical" in name])
        stop, papers = self.config.stop_epochs, PAPER["stop_epochs"]
        return f"; stop_epochs={stop}, {papers} in the paper" if is_used and stop != papers else ""


def _weights_facts(weights: str) -> dict[str, Any]:
    """Say which weights of VGGish are used, and whether they are the published ones."""
    path = Path(weights)
    files = [path] if path.is_file() else sorted(path.parent.glob(f"{path.name}.*"))  # a checkpoint may be several
    if not files:
        raise ConfigError(f"vggish_weights={printable(weights)}: there is no such file.")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    model = create_model("vggish")
    load_vggish_weights(model, path)
    try:
        check_vggish_weights(model)
    except WeightsError:  # somebody's own weights are fine, and the page says so
        return {"sha256": digest.hexdigest(), "published": False}
    return {"sha256": digest.hexdigest(), "published": True}


def _check_sizes(clips: StudyClips, config: FewDataConfig) -> None:
    """Refuse more examples than the smallest class has, before anything is measured."""
    most = max((int(n) for n in config.n if n != ALL), default=1)
    for fold in config.folds or clips.folds:
        where = f" of fold {fold}" if fold else ""
        counts = np.bincount(clips.labels[clips.clips(fold, "train")], minlength=len(clips.classes))
        name, least = clips.classes[int(counts.argmin())], int(counts.min())
        if not least:
            raise DatasetError(f"the class {name} has no clip in the part train{where}; each needs one at least.")
        if least < most:
            raise ConfigError(
                f"n is {most}; the class {name} has {least} clips in the part train{where}, so n may be {least} at "
                "most, or all."
            )
        if not len(clips.clips(fold, "test")):
            raise DatasetError(f"the part test{where} is empty; some clips must be kept to test on.")
