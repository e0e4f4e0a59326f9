"""Study: what every published experiment here offers, and the settings that all of them share."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from taggram._checks import check, check_count, is_count
from taggram.errors import ConfigError, did_you_mean
from taggram.learning._settings import from_values
from taggram.learning.recipe import DataConfig
from taggram.studies._tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.learning.train import Watcher

Value = str | int | float | bool | None
Row = dict[str, Any]
"""A measured cell as `results.json` holds it: method, fold, run, the cell's own details, and what was measured."""
GRID = {"grid": True}
"""Marks a setting that only says which cells there are, so that a run folder may be gone on with under another one."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement: a method, on a fold, in one run.

    Attributes:
        method: its name.
        fold: of the data, from 1 on; 0 is the one split of data without folds.
        run: from 0 on; another one has other random numbers.
        details: what else tells cells apart, such as the number of examples.
        is_scored: whether it is a measurement. What is not makes something that others need, such as features.
    """

    method: str
    fold: int = 0
    run: int = 0
    details: Mapping[str, Value] = field(default_factory=dict)
    is_scored: bool = True

    @property
    def key(self) -> str:
        """Name the cell, in characters that every file system takes."""
        parts = [self.method, *[f"{name}-{value}" for name, value in self.details.items()]]
        return "_".join([*parts, f"fold-{self.fold}", f"run-{self.run}"])

    @property
    def words(self) -> str:
        """Name the cell for people."""
        details = [str(value) if isinstance(value, str) else f"{name} {value}" for name, value in self.details.items()]
        fold = [f"fold {self.fold}"] if self.fold else []
        return ", ".join([self.method, *details, *fold, f"run {self.run}"])

    def row(self, measured: Mapping[str, Any]) -> Row:
        """Put what was measured beside what the cell is."""
        return {"method": self.method, "fold": self.fold, "run": self.run, **self.details, **measured}


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """The settings that every study has.

    Attributes:
        data: what is measured on.
        methods: which ones; () is all that need nothing from outside.
        runs: repetitions with other random numbers.
        folds: which ones, from 1 on; () is all that the data has.
        seed: of all random numbers.
        device: "auto", "cpu", "cuda", ...
        METHODS: all methods that the study knows.
        GROUPS: names that stand for several of them.
        LEAST_RUNS: 0 where `runs=0` has a meaning, such as as many as in the paper.
        INSTEAD_OF_METHODS: what a study without methods says to who names some.

    Raises:
        ConfigError: some value makes no sense.
    """

    data: DataConfig = field(default_factory=DataConfig)
    methods: tuple[str, ...] = field(default=(), metadata=GRID)
    runs: int = field(default=1, metadata=GRID)
    folds: tuple[int, ...] = field(default=(), metadata=GRID)
    seed: int = 0
    device: str = field(default="auto", metadata=GRID)

    METHODS: ClassVar[tuple[str, ...]] = ()
    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    LEAST_RUNS: ClassVar[int] = 1
    INSTEAD_OF_METHODS: ClassVar[str] = "this study has none; `--show` says what it has"

    def __post_init__(self) -> None:
        if self.methods and not self.METHODS:
            raise ConfigError(f"methods is {', '.join(self.methods)}; {self.INSTEAD_OF_METHODS}.")
        methods = dict.fromkeys(method for name in self.methods for method in self.GROUPS.get(name, (name,)))
        object.__setattr__(self, "methods", tuple(methods))
        for name in self.methods:
            if name not in self.METHODS:
                known = [*self.METHODS, *self.GROUPS]
                raise ConfigError(
                    f"there is no method {name!r}.{did_you_mean(str(name), known)} The methods are {', '.join(known)}."
                )
        check_count("runs", self.runs, self.LEAST_RUNS)
        check_count("seed", self.seed, 0)
        check(all(map(is_count, self.folds)), "folds", self.folds, "numbers from 1 on, such as folds=1,2")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make the settings of plain values.

        Args:
            values: by key; "data" names the data set, "data.KEY" are its settings, and so with every other setting that
                is a data set. One value stands for a list of it.

        Returns:
            The settings.

        Raises:
            ConfigError: there is no such setting, or a value makes no sense.
        """
        given, data = dict(values), {}
        for name in cls.data_names():
            own = {key.removeprefix(f"{name}."): given.pop(key) for key in list(given) if key.startswith(f"{name}.")}
            data[name] = DataConfig.of({"name": given.pop(name), **own} if name in given else own)
        lists = {one.name for one in dataclasses.fields(cls) if str(one.type).startswith("tuple")}
        wrapped = {key: _without_repeats(_as_list(value)) if key in lists else value for key, value in given.items()}
        return from_values(cls, "the study", {**wrapped, **data})

    @classmethod
    def data_names(cls) -> tuple[str, ...]:
        """Name the settings that are data sets; "data" is the first."""
        return tuple(one.name for one in dataclasses.fields(cls) if str(one.type) == DataConfig.__name__)

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain values; `of` takes them."""
        names = self.data_names()
        flat: dict[str, Any] = {}
        for name in names:
            data = dataclasses.asdict(getattr(self, name))
            flat |= {f"{name}.{key}": value for key, value in {**data.pop("options"), **data}.items()}
        own = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name not in names}
        return {**flat, **own}

    def fixed(self) -> dict[str, Any]:
        """Give the settings that must stay as they are while a run folder is gone on with."""
        free = {one.name for one in dataclasses.fields(self) if one.metadata.get("grid")}
        free |= {f"{name}.root" for name in self.data_names()}
        return {name: value for name, value in self.to_dict().items() if name not in free}


def _as_list(value: Any) -> Any:
    """Make a list of one value, and of words with commas between."""
    if isinstance(value, str):
        words = [word.strip() for word in value.split(",") if word.strip()]
        return tuple(map(_number_or_word, words))
    return value if isinstance(value, (tuple, list)) else (value,)


def _number_or_word(word: str) -> int | float | str:
    """Read a whole number or a decimal fraction; all else is a word."""
    if word.isdecimal():
        return int(word)
    whole, point, fraction = word.partition(".")
    return float(word) if point and whole.isdecimal() and fraction.isdecimal() else word


def _without_repeats(values: Sequence[Any]) -> tuple[Any, ...]:
    """Leave out what came before, so that no cell is measured twice."""
    return tuple(value for place, value in enumerate(values) if value not in values[:place])


@dataclass(frozen=True)
class Claim:
    """What the paper says, and whether it shows in what was measured.

    Attributes:
        words: the claim.
        shows: whether it does; None where the cells that it speaks of were not measured, or say too little.
        figures: those that say so, "" where there are none.
    """

    words: str
    shows: bool | None
    figures: str = ""


class Study(abc.ABC):
    """A published experiment. It is made anew in each process from plain values alone.

    Args:
        config: its settings.
        folder: of the run; `files` in it is the study's own.
        data: what `prepare` gave; "facts" in it are those of `data_facts`.

    Attributes:
        name: as in `find_study`.
        title: what is measured.
        paper: where it was published; "" of what no paper has.
        paper_data: data sets of the paper, by their names here.
        paper_splits: splits of the paper, by their names in the cards of these; () is the first of the card.
        config_kind: class of the settings.
        published: rows of the paper's tables, each with what says where it stands ("source"), or none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    paper_data: ClassVar[tuple[str, ...]]
    paper_splits: ClassVar[tuple[str, ...]] = ()
    config_kind: ClassVar[type[StudyConfig]]
    published: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def __init__(self, config: Any, folder: Path, data: Mapping[str, Any]) -> None:
        self.config = config
        self.folder = folder
        self.data = data

    @classmethod
    @abc.abstractmethod
    def prepare(cls, config: Any, folder: Path, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
        """Make the data ready, once, in the process that the user started.

        Args:
            config: the settings.
            folder: of the run.
            watcher: is told what happens.
            n_workers: processes that decode; None is one a core.

        Returns:
            Plain values that the study is made from, such as folders of prepared data.

        Raises:
            ConfigError: a setting does not fit the data.
            DatasetError: the data is missing, or is not what the study needs.
        """

    @abc.abstractmethod
    def phases(self) -> list[list[Cell]]:
        """List the cells; those of one phase do not depend on each other, and may on those of phases before."""

    @abc.abstractmethod
    def measure(self, cell: Cell) -> dict[str, Any]:
        """Do one cell, in a worker process.

        Args:
            cell: which one.

        Returns:
            What was measured, plain values.

        Raises:
            TaggramError: it cannot be measured.
        """

    def rows(self, measured: Sequence[tuple[Cell, Mapping[str, Any]]]) -> list[Row]:
        """Make the rows of `results.json`.

        Args:
            measured: scored cells and what was measured in them.

        Returns:
            The rows, in the same order unless the study chooses among them.
        """
        return [cell.row(values) for cell, values in measured]

    @abc.abstractmethod
    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Sum the rows up in tables.

        Args:
            rows: as `rows` gives them; there may be less than all.

        Returns:
            The tables, ours first.
        """

    def draw(self, rows: Sequence[Row]) -> dict[str, Figure]:  # noqa: ARG002 (a study without pictures)
        """Draw the pictures.

        Args:
            rows: as for `tables`.

        Returns:
            The figures by name of their file, without suffix.
        """
        return {}

    def claims(self, rows: Sequence[Row]) -> list[Claim]:  # noqa: ARG002 (a study without claims)
        """Hold the claims of the paper against what was measured.

        Args:
            rows: as for `tables`.

        Returns:
            The claims.
        """
        return []

    def remarks(self) -> list[str]:
        """Say what is done otherwise than in the paper, a line each; shown under the title of the table."""
        return []

    def data_facts(self) -> dict[str, Any]:
        """Say what is measured on: "name", "title", "words" for people, and hashes of the split."""
        facts: dict[str, Any] = self.data["facts"]
        return facts

    def is_papers_data(self) -> bool | None:
        """Say whether this is the data of the paper, divided as there; None goes by `paper_data` and `paper_splits`."""
        return None

    def seed_of(self, *place: str | int) -> int:
        """Give the seed of something: the same for the same place, whatever else is measured.

        Args:
            *place: what it is for, such as "weights", the fold and the run.

        Returns:
            A whole number below 2^63.
        """
        text = "\t".join(map(str, (self.config.seed, *place)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    @property
    def files(self) -> Path:
        """The folder for what the study keeps beside its results, such as trained networks."""
        return self.folder / "files"


def of_method(rows: Iterable[Row], method: str, **details: Value) -> list[Row]:
    """Give the rows of a method.

    Args:
        rows: all.
        method: its name.
        **details: what else must be so.

    Returns:
        The rows that fit.
    """
    return [
        row
        for row in rows
        if row["method"] == method and all(row.get(name) == value for name, value in details.items())
    ]
