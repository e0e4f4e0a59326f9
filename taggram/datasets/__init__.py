"""Data sets: a card with the facts and a reader each. Listing them loads none of them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from taggram.datasets._base import Broken, CheckReport, DatasetCard, Part, TagDataset, Track, one_of
from taggram.datasets._check import check
from taggram.errors import ConfigError, did_you_mean, unknown_name

DATASETS = {  # data set: the class in the module of that name that reads it
    "ballroom": "Ballroom",
    "csv": "Csv",
    "esc50": "ESC50",
    "extended_ballroom": "ExtendedBallroom",
    "fma": "FMA",
    "folder": "Folder",
    "gtzan": "GTZAN",
    "irmas": "IRMAS",
    "jamendo": "Jamendo",
    "jingju": "Jingju",
    "msd": "MSD",
    "mtt": "MTT",
    "synth": "Synth",
    "tut2017": "TUT2017",
    "urbansound8k": "UrbanSound8K",
}

__all__ = [
    "DATASETS",
    "Broken",
    "CheckReport",
    "DatasetCard",
    "Part",
    "TagDataset",
    "Track",
    "check",
    "check_options",
    "find_dataset",
    "list_datasets",
    "open_dataset",
]


def list_datasets() -> list[str]:
    """Name the data sets."""
    return sorted(DATASETS)


def find_dataset(name: str) -> type[TagDataset]:
    """Give the reader of a data set; its `card` holds the facts.

    Args:
        name: one of `list_datasets()`.

    Returns:
        The class.

    Raises:
        UnknownNameError: there is no such data set.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS, f"`taggram data list` shows all {len(DATASETS)}")
    reader: type[TagDataset] = getattr(importlib.import_module(f"taggram.datasets.{name}"), DATASETS[name])
    return reader


def open_dataset(name: str, root: str | PathLike[str], **options: Any) -> TagDataset:
    """Open a data set that lies on disk.

    Args:
        name: one of `list_datasets()`.
        root: its folder, with or without the folder that its archive makes.
        **options: `split=`, `tags=`, and what the data set itself has.

    Returns:
        The data set.

    Raises:
        UnknownNameError: there is no such data set, split or vocabulary.
        ConfigError: the data set has no such option, or its value makes no sense.
        DatasetError: the folder is not what the card says.
    """
    check_options(name, options)
    return find_dataset(name)(Path(root), **options)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a data set has not, before anything is done for it.

    Args:
        name: one of `list_datasets()`.
        options: as for `open_dataset`.

    Raises:
        UnknownNameError: there is no such data set, split or vocabulary.
        ConfigError: the data set has no such option; the message lists those that it has.
    """
    reader = find_dataset(name)
    known = [option for option in inspect.signature(reader).parameters if option != "root"]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"{name} has no option {option!r}.{did_you_mean(option, known)} Its options are {', '.join(known)}."
            )
    one_of("split", options.get("split"), reader.card.splits)
    if reader.card.vocabularies:
        one_of("vocabulary", options.get("tags"), reader.card.vocabularies)
