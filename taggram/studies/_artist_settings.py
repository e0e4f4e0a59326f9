"""The settings of the study on artist labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from taggram._checks import check, check_choice, check_count, check_share, is_count
from taggram.learning.artist_splits import LEAST_SONGS, N_SONGS
from taggram.learning.config import FitConfig
from taggram.learning.recipe import DataConfig
from taggram.learning.siamese import ARTIST_FIT
from taggram.learning.train import SYNTH
from taggram.studies._artist_results import METHODS
from taggram.studies._artist_transfer import CLASSIFIERS
from taggram.studies._base import GRID, StudyConfig

N_ARTISTS = (500, 1000, 2000, 5000, 10_000)  # of the paper
N_UNSEEN = 500
NUMBERS = (  # settings that say how much is done, and how
    "artists", "songs", "unseen", "classifiers", "softmax_runs", "hidden_layers", "dropout", "max_epochs", "patience",
    "stop_after", "norm_momentum",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ArtistConfig(StudyConfig):
    """The settings of the study.

    Attributes:
        METHODS: all methods that the study knows.
        target: clips of one class each, such as genres, that features are tried on; not named, they are not.
        tagged: clips with tags, likewise. `data` are the songs by artists, that the networks learn from.
        artists: how many artists are learned; () is 500, 1000, 2000, 5000 and 10,000, as far as there are.
        songs: of each artist. Of 20, 15 are learned from, 3 validate and 2 test; of others, each part has its share.
        unseen: artists that no network learns from, who are to be recognised by its features; 0 leaves that out.
        artist_column: which says whose a song is; "" is artist_id or artist.
        classifiers: on features: "softmax", "knn" (nearest neighbours), "lda" (discriminant analysis, nearest mean).
        softmax_runs: trainings of the softmax, over which the mean is taken.
        hidden_layers: of 1024 before the softmax: 0, 1 or 2.
        dropout: before the output of the classifiers of artists and tags.
        max_epochs: of the networks at most; 0 is as published, 1000.
        patience: epochs without improvement after which the rate drops.
        stop_after: epochs without improvement after which training ends.
        norm_momentum: share of a batch in the running statistics of batch norms; 0.1 is better for a few hundred steps.

    Raises:
        ConfigError: some value makes no sense.
    """

    METHODS: ClassVar[tuple[str, ...]] = tuple(METHODS)

    target: DataConfig = field(default_factory=DataConfig)
    tagged: DataConfig = field(default_factory=DataConfig)
    artists: tuple[int, ...] = field(default=(), metadata=GRID)
    songs: int = N_SONGS
    unseen: int = N_UNSEEN
    artist_column: str = ""
    classifiers: tuple[str, ...] = field(default=tuple(CLASSIFIERS), metadata=GRID)
    softmax_runs: int = 10
    hidden_layers: int = 0
    dropout: float = 0.5
    max_epochs: int = 0
    patience: int = 1
    stop_after: int = 6
    norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        fit = all(is_count(number, 2) for number in self.artists)
        check(fit, "artists", self.artists, "whole numbers from 2 on, such as artists=500,1000")
        check_count("songs", self.songs, LEAST_SONGS)
        check(is_count(self.unseen, 0) and self.unseen != 1, "unseen", self.unseen, "a number from 2 on, or 0 for none")
        for name in self.classifiers:
            check_choice("classifiers", name, CLASSIFIERS)
        for name, least in (("softmax_runs", 1), ("max_epochs", 0), ("patience", 1), ("stop_after", 1)):
            check_count(name, getattr(self, name), least)
        check_count("hidden_layers", self.hidden_layers, 0, 2)
        check_share("dropout", self.dropout)
        check_share("norm_momentum", self.norm_momentum)
        for name, data in (("target", self.target), ("tagged", self.tagged)):
            is_there = not data.name or data.name == SYNTH or bool(data.root or data.prepared)
            check(is_there, f"{name}.root", "", f"the folder in which {data.name} lies, as {name}.root=DIR")
        asks = bool(self.target.name or self.has_tagged or self.unseen)
        check(asks, "target", "", "a data set that features are tried on, as target=NAME target.root=DIR, or unseen=N")
        can = self.chosen != ("mfcc",) or bool(self.target.name or self.unseen)
        check(can, "methods", self.chosen, "another one too, target=NAME or unseen=N: mfcc is not tried on tags")

    @property
    def has_tagged(self) -> bool:
        """Whether features are tried on tags."""
        return bool(self.tagged.name or self.tagged.prepared)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods that are measured."""
        return self.methods or self.METHODS

    @property
    def fit(self) -> FitConfig:
        """How the networks are trained, but for the seed."""
        schedule = replace(ARTIST_FIT.schedule, patience=self.patience, stop_after_best=self.stop_after)
        return replace(
            ARTIST_FIT, schedule=schedule, max_epochs=self.max_epochs or ARTIST_FIT.max_epochs,
            norm_momentum=self.norm_momentum,
        )  # fmt: skip

    def changed(self) -> list[str]:
        """List the settings that are not as by default, each with that in brackets; those of the data are left out."""
        defaults = {one.name: one.default for one in fields(self) if one.name in NUMBERS}
        defaults |= {"artists": N_ARTISTS, "max_epochs": ARTIST_FIT.max_epochs}
        mine = {name: getattr(self, name) for name in defaults}
        mine |= {"artists": self.artists or N_ARTISTS, "max_epochs": self.fit.max_epochs}
        others = {name: usual for name, usual in defaults.items() if mine[name] != usual}
        return [f"{name}={_words(mine[name])} ({_words(usual)})" for name, usual in others.items()]

    def n_artists(self, n_there: int) -> tuple[int, ...]:
        """Say how many artists are learned, one network each.

        Args:
            n_there: artists with enough songs.

        Returns:
            As `artists` says.
        """
        return self.artists or tuple(number for number in N_ARTISTS if number <= n_there - self.unseen)


# -- inside ------------------------------------------------------------------------------------------------------------


def _words(value: Any) -> str:
    """Write a setting as it is given."""
    return ",".join(map(str, value)) if isinstance(value, Sequence) else f"{value:g}"
