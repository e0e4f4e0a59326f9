"""The settings of the study on levels and scales, and what follows from them for how networks learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from taggram._checks import check, check_choice, check_count, check_share, is_number
from taggram.errors import ConfigError
from taggram.learning.aggregation import Segments, Short
from taggram.learning.config import FitConfig
from taggram.learning.recipe import DataConfig, Recipe
from taggram.learning.schedules import ScheduleConfig
from taggram.learning.vector_classifier import LR_OF_HIDDEN, PATIENCE, VECTOR_FIT
from taggram.models.multilevel import N_UNITS
from taggram.studies._base import GRID, StudyConfig
from taggram.studies._multilevel_nets import LENGTHS, ORIGINS, Net, Origin, System, choices_of, given_nets, local_nets
from taggram.studies._multilevel_results import CHOICES, LAST_SVM, LOCAL, METHODS, MFCC_SVM, TAGGER

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

RECIPES = {"mel": "local_mel", "sample": "samplecnn"}  # with _mtt or _msd
FEW, BATCH_OF_MANY = 5000, 128  # clips up to which batches are small; clips a step where there are more
OF_TRAINING = (  # settings of networks that are trained
    "system", "lengths", "n_segments", "local_epochs", "local_patches", "local_lr", "norm_momentum", "local_keep",
)  # fmt: skip
SAID_ELSEWHERE = ("methods", "runs", "folds", "seed", "device", "data", "source", "extractors", "trained_on")
Keep = Literal["valid_loss", "valid_auc"]


@dataclass(frozen=True, kw_only=True)
class MultilevelConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        LEAST_RUNS: 0 is as many as in the sources.
        runs: classifiers with other first weights; 0 is 10 where exactly one tag holds, as for GTZAN, and 1 elsewhere.
        source: the data set that the networks are trained on, in place of `data`, on which all else is done.
        system: networks on "mel" spectrograms, of which all convolutions count, or SampleCNNs on each "sample", of
            which the last three do.
        lengths: of the segments, in frames (18, 27, 54) or samples; () is all that the system has.
        extractors: models that are given, in place of networks that are trained: trained weights, files, run folders.
        layers: of these, which ones count; () is the last three of most.
        trained_on: where the networks come from that are compared: "data", "source" or "given", several of which may be
            named; () is what is given, else the source, else the data.
        n_segments: of a clip, spread over it, with `system=sample` alone; 0 is one more than 30 s hold, as published.
        short: what becomes of clips that are shorter than a segment: repeated ("tiled") or "slowed", as in the code.
        local_epochs: of the networks, at most; 0 is until the schedule ends, as published.
        local_patches: random segments of each clip in an epoch of the networks; 0 is all of them, as published.
        local_lr: first learning rate of the networks; 0 is as published.
        norm_momentum: share of a new batch in the statistics of their norms; 0 is as published, a hundredth, which is
            too little for few steps.
        local_keep: which of their weights are kept: of the best "valid_loss", as published, or "valid_auc".
        hidden_layers: of the classifier of clips.
        units: of each of its hidden layers.
        dropout: share of its hidden units dropped in training.
        lr: its learning rate; 0 is as published, which hangs on the number of hidden layers.
        batch_size: clips a step; 0 is 16 for up to 5000 clips, and 128 for more.
        max_epochs: of the classifier, at most.
        patience: its epochs without a better validation loss that end the training.
        svm_clips: so many random clips at most are what the support vector machines learn from.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(METHODS)
    LEAST_RUNS: ClassVar[int] = 0

    runs: int = field(default=0, metadata=GRID)
    source: DataConfig = field(default_factory=DataConfig)
    system: System = "mel"
    lengths: tuple[int, ...] = ()
    extractors: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = field(default=(), metadata=GRID)
    n_segments: int = 0
    short: Short = "tiled"
    local_epochs: int = 0
    local_patches: int = 0
    local_lr: float = 0.0
    norm_momentum: float = 0.0
    local_keep: Keep = "valid_loss"
    hidden_layers: int = 2
    units: int = N_UNITS
    dropout: float = 0.0
    lr: float = 0.0
    batch_size: int = 0
    max_epochs: int = VECTOR_FIT.max_epochs
    patience: int = PATIENCE
    svm_clips: int = FEW

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("system", self.system, get_args(System))
        known = LENGTHS[self.system]
        fits = set(self.lengths) <= set(known)
        check(fits, "lengths", self.lengths, f"some of {', '.join(map(str, known))} with system={self.system}")
        check_choice("short", self.short, get_args(Short))
        check_choice("local_keep", self.local_keep, get_args(Keep))
        for name in ("n_segments", "local_epochs", "local_patches", "batch_size"):
            check_count(name, getattr(self, name), 0)
        for name in ("units", "max_epochs"):
            check_count(name, getattr(self, name))
        check_count("patience", self.patience, 2)
        check_count("svm_clips", self.svm_clips, 2)
        check_count("hidden_layers", self.hidden_layers, 0, 2)
        for name in ("norm_momentum", "dropout"):
            check_share(name, getattr(self, name))
        for name in ("local_lr", "lr"):
            value = getattr(self, name)
            check(is_number(value) and value >= 0, name, value, "a number from 0 on")
        self._check_origins()

    def _check_origins(self) -> None:
        check(not self.folds, "folds", self.folds, "nothing: the clips have one split, data.split=NAME")
        check(not self.layers or bool(self.extractors), "layers", self.layers, "nothing without extractors=MODEL")
        can = {"data": True, "source": self.has_source, "given": bool(self.extractors)}
        for name in self.trained_on:
            check_choice("trained_on", name, ORIGINS)
            said = {"source": "source=NAME beside it", "given": "extractors=MODEL beside it"}
            check(can[name], "trained_on", name, said.get(name, "something else"))
        self._check_what_is_trained()

    def _check_what_is_trained(self) -> None:
        """Refuse what would do nothing, since no network is trained, or none that it could be done with."""
        is_trained = self.origins != ("given",)
        usual = {one.name: one.default for one in dataclasses.fields(self)}
        for name in OF_TRAINING if not is_trained else ():
            value = getattr(self, name)
            check(value == usual[name], name, value, "nothing where no network is trained; see trained_on")
        source = self.source.name or self.source.prepared
        check(is_trained or not source, "source", source, "nothing with extractors, or trained_on=source,given")
        fits = self.system == "sample" or not self.n_segments
        check(fits, "n_segments", self.n_segments, "0 with system=mel, whose segments are side by side")
        fits = TAGGER not in self.methods or (is_trained and self.system == "mel")
        check(fits, "methods", TAGGER, "others: one network is made of trained ones of system=mel alone")
        fits = LOCAL not in self.methods or "data" in self.origins
        wanted = "others, or trained_on with data in it: other networks have scores for other tags"
        check(fits, "methods", LOCAL, wanted)

    @property
    def has_source(self) -> bool:
        """Whether the networks have data of their own."""
        return bool(self.source.name or self.source.prepared)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the networks come from that are compared."""
        own: Origin = "given" if self.extractors else "source" if self.has_source else "data"
        return tuple(name for name in ORIGINS if name in (self.trained_on or (own,)))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods that are measured."""
        return tuple(name for name in METHODS if not self.methods or name in self.methods)

    def chosen_of(self, origin: Origin) -> frozenset[str]:
        """Name the methods that are measured on the networks of an origin.

        Args:
            origin: where they come from.

        Returns:
            Those that have a meaning there; none that needs no network.
        """
        without = {MFCC_SVM}
        if origin != "data":
            without.add(LOCAL)
        if origin == "given" or self.system != "mel":
            without.add(TAGGER)
        return frozenset(self.chosen) - without

    def nets(self, given: Sequence[Mapping[str, Any]]) -> dict[Origin, list[Net]]:
        """List the networks by where they come from.

        Args:
            given: the models that are given, as `describe_given` says.

        Returns:
            The networks of each origin that is compared.

        Raises:
            ConfigError: a method that is asked for has nothing to put together.
        """
        lengths = self.lengths or LENGTHS[self.system]
        nets = {
            origin: given_nets(given) if origin == "given" else local_nets(origin, self.system, lengths)
            for origin in self.origins
        }
        there = {choice.method for own in nets.values() for choice in choices_of(own)}
        if missing := [name for name in self.methods if name in CHOICES and name not in there]:
            raise ConfigError(
                f"methods has {missing[0]}, which is nothing of its own here: with one network there is one scale, and "
                f"with one layer one level. Name some of {', '.join(name for name in CHOICES if name in there)}."
            )
        return nets

    def segments(self, origin: Origin) -> Segments:
        """Say how clips are cut.

        Args:
            origin: for networks from where.

        Returns:
            Spread for the SampleCNNs of `system=sample`, else side by side.
        """
        if self.system == "sample" and origin != "given":
            return Segments(layout="spread", n_segments=self.n_segments, short=self.short)
        return Segments(layout="contiguous", short=self.short)

    def local_fit(self, origin: Origin, sound: PreparedData) -> FitConfig:
        """Say how the networks are trained.

        Args:
            origin: on what.
            sound: the same.

        Returns:
            The settings, but for the seed.
        """
        where = self.source if origin == "source" else self.data
        fit = Recipe.load(f"{RECIPES[self.system]}_{'msd' if where.name == 'msd' else 'mtt'}").fit
        if self.local_patches:
            fit = replace(fit, sampling="random", patches_per_track=self.local_patches)
        return replace(
            fit,
            loss="cross_entropy" if sound.task == "one" else fit.loss,
            max_epochs=self.local_epochs or fit.max_epochs,
            lr=self.local_lr or fit.lr,
            norm_momentum=self.norm_momentum or fit.norm_momentum,
            keep=self.local_keep,
            valid_share=0.0,  # what is for validation is drawn before, and for all
        )

    def vector_fit(self, n_train: int, seed: int) -> FitConfig:
        """Say how a classifier of clips is trained.

        Args:
            n_train: clips that are learned from.
            seed: of weights and order.

        Returns:
            The settings.
        """
        return replace(
            VECTOR_FIT,
            lr=self.lr or LR_OF_HIDDEN[self.hidden_layers],
            batch_size=self.batch_size or (VECTOR_FIT.batch_size if n_train <= FEW else BATCH_OF_MANY),
            max_epochs=self.max_epochs,
            schedule=ScheduleConfig(rule="constant", stop_after=self.patience - 1),
            seed=seed,
        )

    def remarks(self, n_train: int) -> list[str]:
        """Say what is smaller than published, or otherwise.

        Args:
            n_train: clips that are learned from.

        Returns:
            A line each.
        """
        told = []
        changed = [
            _setting(one.name, value, one.default)
            for one in dataclasses.fields(self)
            if one.name not in SAID_ELSEWHERE and (value := getattr(self, one.name)) != one.default
        ]
        if changed:
            told.append(f"Settings that are not the default: {', '.join(changed)}.")
        if n_train > self.svm_clips and {MFCC_SVM, LAST_SVM} & set(self.chosen):
            told.append(f"Support vector machines learn from {self.svm_clips:,} random clips.")
        return told


def _setting(name: str, value: Any, usual: Any) -> str:
    """Write a setting as it is given, with the default where that is more than "as published"."""
    words = f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
    return f"{words} (not {usual})" if usual else words


def defaults_of(config: DataConfig) -> Mapping[str, Any]:
    """Give the options of a data set as the papers have them.

    Args:
        config: names it.

    Returns:
        Split and tags, or nothing.
    """
    return Recipe.load(f"local_mel_{config.name}").data.options if config.name in ("mtt", "msd") else {}
