"""Recipes: all that a training follows from, by name, with whatever a user changes in them.

`taggram.recipes` holds one TOML file for each published training. Every network has a recipe of its own name too, and
so have trained weights and models in files, which are trained further with a new head.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, get_args

from taggram._checks import check, check_choice, check_count, check_flag, is_number
from taggram._stores import is_address, without_password
from taggram.datasets import list_datasets
from taggram.errors import ConfigError, did_you_mean, printable, unknown_name
from taggram.learning._reading import is_prepared_folder
from taggram.learning._settings import from_values
from taggram.learning.augment import AugmentConfig
from taggram.learning.boosted_trees import TreesConfig
from taggram.learning.config import FitConfig
from taggram.learning.evaluate import ClipScore
from taggram.learning.report import Published
from taggram.models import NETWORKS, list_models, load_card
from taggram.models._registry import is_model_file
from taggram.recipes import list_recipes, read_recipe

TREES = "boosted_trees"  # a recipe that trains no network
SECTIONS = ("options", "data", "fit", "augment", "evaluate", "trees")
FROM_SCRATCH: dict[str, Any] = {  # of a network that has no recipe by this name; found on small sets of sound
    "keep": "valid_auc",
    "lr": 0.002,
    "batch_size": 16,
    "norm_momentum": 0.1,
    "ema_decay": 0.99,
    "schedule": {"rule": "plateau", "factor": 0.3, "patience": 6},
}
FINE_TUNING: dict[str, Any] = {**FROM_SCRATCH, "trunk_lr": 0.5, "max_epochs": 60}  # of weights that are trained already
FROZEN = {  # parts of trained networks that are best left alone: the most work, and the most general filters
    "musicnn": ("bn_in", "timbral", "temporal"),
    "musicnn_big": ("bn_in", "timbral", "temporal"),
}
PUBLISHED = {"system", "source", "split"}  # what a published row says beside its numbers


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained and scored on.

    Attributes:
        name: one of `list_datasets()`, or "" where `prepared` is given instead.
        root: its folder, or "" where it has none yet (synth). One of prepared data becomes `prepared`, as an address
            does.
        prepared: folder of prepared data, or its address in a store; "" is one in the cache, named after the data.
        features: whether features are prepared, and the network is fed with them.
        cache_gb: size of what is kept here of stores, in 10^9 bytes.
        options: `split`, `tags` and what else the data set has.
    """

    name: str = ""
    root: str = ""
    prepared: str = ""
    features: bool = False
    cache_gb: float = 100.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make it of plain values: those that are not its own are options of the data set.

        Args:
            values: by name.

        Returns:
            The config.

        Raises:
            ConfigError: a value makes no sense.
        """
        options = dict(values)
        own = {
            name: options.pop(name) for name in ("name", "root", "prepared", "features", "cache_gb") if name in options
        }
        check_flag("data.features", own.get("features", False))
        cache_gb = own.get("cache_gb", cls.cache_gb)
        check(is_number(cache_gb) and cache_gb > 0, "data.cache_gb", cache_gb, "a number above 0")
        root = str(own.get("root", ""))
        is_stored = "://" in root
        if is_stored or (root and is_prepared_folder(root)):  # prepared data knows its own name
            if own.get("prepared"):
                what = "an address" if is_stored else "a folder"
                raise ConfigError(
                    f"data.root={printable(without_password(root))} is {what} of prepared data, and so is "
                    "data.prepared; give one."
                )
            own |= {"name": "", "prepared": own["root"], "root": ""}
        if cache_gb != cls.cache_gb and not is_address(own.get("prepared")):
            raise ConfigError(
                f"data.cache_gb={cache_gb:g} limits what is kept of a store, and the data lies in none: leave it out, "
                "or give the data's address, such as data.root=s3://bucket/prepared."
            )
        return cls(**own, options=options)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How clips are scored.

    Attributes:
        clip_score: how the scores of patches become those of the clip.
        hop_frames: from patch to patch, in frames of the front-end; None is side by side.

    Raises:
        ConfigError: some value makes no sense.
    """

    clip_score: ClipScore = "mean"
    hop_frames: int | None = None

    def __post_init__(self) -> None:
        check_choice("evaluate.clip_score", self.clip_score, get_args(ClipScore))
        if self.hop_frames is not None:
            check_count("evaluate.hop_frames", self.hop_frames)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make it of plain values.

        Args:
            values: by name.

        Returns:
            The config.

        Raises:
            ConfigError: there is no such setting, or a value makes no sense.
        """
        return from_values(cls, "evaluate", values)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a training follows from.

    Attributes:
        name: as it was asked for.
        title: what it is, in a few words.
        source: where it was published, or "".
        differs: what is done otherwise than there, or "".
        network: a network, trained weights, or a model in a file or run folder.
        options: of the network.
        data: what is trained on.
        fit: how.
        augment: how patches are changed.
        evaluate: how clips are scored.
        trees: settings of boosted trees, which are no network.
        published: numbers of the source.
        published_on: name, split and vocabulary that they are of.
    """

    name: str
    title: str = ""
    source: str = ""
    differs: str = ""
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    data: DataConfig
    fit: FitConfig
    augment: AugmentConfig
    evaluate: EvaluateConfig
    trees: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    published_on: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, changes: Mapping[str, Any] | None = None) -> Self:
        """Find a recipe and change it.

        Args:
            name: of a recipe, a network, trained weights, a .safetensors file or the folder of a run.
            changes: values by key, such as {"data": "csv", "data.root": "sounds", "fit.max_epochs": 3, "seed": 1}.

        Returns:
            The recipe.

        Raises:
            UnknownNameError: there is no recipe of that name.
            ConfigError: a key or a value makes no sense.
        """
        facts = copy.deepcopy(_facts_of(name))
        published_on = dict(facts.get("data", {}))
        _change(facts, changes or {})
        _refuse_unused(facts, changes or {})
        fit = FitConfig.from_dict(facts.get("fit", {}))
        return cls(
            name=name,
            **{key: facts.get(key, "") for key in ("title", "source", "differs")},
            network=facts["network"],
            options=facts.get("options", {}),
            data=DataConfig.of(facts.get("data", {})),
            fit=fit,
            augment=AugmentConfig.from_dict(facts.get("augment", {})),
            evaluate=EvaluateConfig.of(facts.get("evaluate", {})),
            trees=facts.get("trees", {}),
            published=tuple(map(_published, facts.get("published", []))),
            published_on=published_on,
        )

    @property
    def beside(self) -> tuple[Published, ...]:
        """The published numbers that ours may stand beside: those on the same data set, split and vocabulary."""
        mine = {"name": self.data.name, **self.data.options}
        is_same = all(mine.get(key) == self.published_on.get(key) for key in ("name", "split", "tags"))
        return self.published if is_same else ()

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain values by section, as config.json holds it."""
        data = dataclasses.asdict(self.data)
        return {
            "recipe": self.name, "network": self.network, "options": dict(self.options),
            "data": {**data.pop("options"), **data}, "fit": self.fit.to_dict(), "augment": self.augment.to_dict(),
            "evaluate": dataclasses.asdict(self.evaluate), "trees": dict(self.trees),
        }  # fmt: skip


def _facts_of(name: str) -> dict[str, Any]:
    """Give the plain values of a recipe, a network, or trained weights."""
    if name in list_recipes():
        return read_recipe(name)
    if name == TREES:
        return {"title": "boosted trees on hand-made features", "network": TREES}
    if name in NETWORKS:
        return {"title": f"{name}, from scratch", "network": name, "fit": dict(FROM_SCRATCH)}
    if name in list_models() or is_model_file(name):
        frozen = FROZEN.get(load_card(name).network, ()) if name in list_models() else ()
        fit = {**FINE_TUNING, "freeze": frozen}
        return {"title": f"{name}, trained further with a new head", "network": name, "fit": fit}
    known = [*list_recipes(), *NETWORKS, *list_models(), TREES]
    raise unknown_name(
        "recipe, network or trained model", name, known, "`taggram train` lists the recipes, `taggram models` the rest"
    )


def _change(facts: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put what a user says into a recipe; another data set has none of the options of the recipe's own."""
    wished = dict(changes)
    name = wished.pop("data", wished.pop("data.name", None))
    if name is not None:
        if name not in list_datasets():
            raise unknown_name("data set", str(name), list_datasets(), "`taggram data list` shows them")
        if facts.get("data", {}).get("name") != name:
            facts["data"] = {"name": name}
            facts.get("fit", {}).pop("loss", None)  # the task of other data may be another one
    elif "data.prepared" in wished and "data.root" not in wished:
        facts["data"] = {}  # the folder says what it holds
    if "seed" in wished:
        wished["fit.seed"] = wished.pop("seed")
    if "task" in wished:
        wished["data.task"] = wished.pop("task")
    for key, value in wished.items():
        section, *inside = key.split(".")
        if section not in SECTIONS or not inside or not all(inside):
            raise _unknown_key(key)
        place = facts.setdefault(section, {})
        for part in inside[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise _unknown_key(key)
        place[inside[-1]] = value


def _refuse_unused(facts: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Refuse settings that would change nothing."""
    network = facts["network"]
    own = ("trees.", "fit.seed", "fit.max_", "data.")  # limits of time are for all; trees keep within them by far
    for key in changes:
        if key in ("options.n_tags", "options.task"):
            raise ConfigError(f"{key} follows from the data; min_count, tags and task of the data change it.")
        if key == "options.frontend":
            raise ConfigError(f"{key} is no plain value, and is for Python alone; see `create_model`.")
        if network == TREES and "." in key and not key.startswith(own):
            raise ConfigError(f"{key} is of networks, and {TREES} are none; their settings are trees.KEY.")
        if network != TREES and key.startswith("trees."):
            raise ConfigError(f"{key} is of {TREES}, and {network} is a network; its settings are fit.KEY.")
        if key.startswith("options.") and is_model_file(network):
            raise ConfigError(f"{key}: {network} is built already; options are of networks that are built anew.")
    if network == TREES:
        TreesConfig.from_dict(facts.get("trees", {}))
        if facts.get("data", {}).get("features"):
            raise ConfigError(f"data.features is of networks; {TREES} compute their own (trees.features).")


def _unknown_key(key: str) -> ConfigError:
    fit = [f"fit.{one.name}" for one in dataclasses.fields(FitConfig)]
    augment = [f"augment.{one.name}" for one in dataclasses.fields(AugmentConfig)]
    known = [*fit, *augment, "data", "data.root", "data.split", "data.tags", "data.prepared", "seed", "task", "out"]
    near = next((one for one in known if one.rpartition(".")[2] == key), "")
    hint = f" Did you mean {near}?" if near else did_you_mean(key, known)
    sections = ", ".join(f"{section}.KEY" for section in SECTIONS)
    return ConfigError(
        f"there is no setting {key!r}.{hint} There are data, out, seed, task, device, resume, {sections}."
    )


def _published(row: Mapping[str, Any]) -> Published:
    """Make a row of a published table."""
    values = {name: float(value) for name, value in row.items() if name not in PUBLISHED}
    return Published(system=row["system"], source=row["source"], split=row["split"], values=values)
