"""Fewer tags for a data set: those that mean the same become one, then the commonest are kept.

Source: Alekseeva, Klironomou, Markou and Xenaki, Audio-auto-tagging, 2017, its code: 188 tags of MagnaTagATune become
    134 by 29 groups of synonyms, and the 50 commonest of them stay, in alphabetical order.
Differs: of tags that are as common as each other, the first column stays; there it is not said which.
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from taggram._checks import check, check_count
from taggram.errors import ConfigError, DatasetError, printable

NAME, GROUP = "name", "group"  # columns of a CSV file of synonyms
Groups = Mapping[str, Sequence[str]]
TaggedClips = Callable[[], Iterable[Collection[str]]]
"""Gives the tags of each clip, anew at each call."""


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """How many tags became fewer.

    Attributes:
        tags: all names before, in order.
        groups: what was merged: the name that is kept, and those that went into it, of the ones that there are.
        merged: all names after merging, in order.
        kept: the commonest of these, in alphabetical order.
        n_before: clips that have each tag before merging.
        n_merged: clips that have each tag after it.
        per_clip_before: clips with no tag, with one, with two and so on, before.
        per_clip_after: likewise, of the tags that are kept.
    """

    tags: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    merged: tuple[str, ...]
    kept: tuple[str, ...]
    n_before: Mapping[str, int]
    n_merged: Mapping[str, int]
    per_clip_before: tuple[int, ...]
    per_clip_after: tuple[int, ...]

    @property
    def n_clips(self) -> int:
        """How many clips were counted."""
        return sum(self.per_clip_before)

    @property
    def n_untagged(self) -> int:
        """Clips that have none of the tags that are kept."""
        return self.per_clip_after[0]

    def members(self) -> dict[str, tuple[str, ...]]:
        """Give each tag that is kept with the tags of before that it stands for."""
        known = set(self.tags)
        return {tag: tuple(one for one in (tag, *self.groups.get(tag, ())) if one in known) for tag in self.kept}

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain values."""
        return {**vars(self), "groups": {kept: list(names) for kept, names in self.groups.items()}}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Reduction:
        """Take plain values back, also out of JSON.

        Args:
            values: what `to_dict` gave.

        Returns:
            The reduction.
        """
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list | tuple)}
        groups = {kept: tuple(names) for kept, names in values["groups"].items()}
        return cls(**{**values, **lists, "groups": groups})


def reduce_tags(clips: TaggedClips, tags: Sequence[str], groups: Groups, n_tags: int) -> Reduction:
    """Merge synonyms and choose the commonest tags, in two walks through the clips.

    A merged tag holds where one of its names does. Where two tags are as common, the one stays whose name comes first
    in `tags`; a name that is no tag itself stands where the first of its names does.

    Args:
        clips: gives the tags of each clip.
        tags: all names, in order.
        groups: the name that is kept, and those that go into it; names that are no tags are passed over.
        n_tags: how many are kept; all where there are fewer.

    Returns:
        The names and the counts.

    Raises:
        ConfigError: a name is in two groups, is kept and goes into another one, or no name at all is a tag.
    """
    check_count("n_tags", n_tags)
    check_groups(groups)
    known = set(tags)
    there = {kept: tuple(name for name in names if name in known) for kept, names in groups.items()}
    there = {kept: names for kept, names in there.items() if names}
    if groups and not there:
        raise ConfigError(f"none of the synonyms is a tag of the data, such as {printable(next(iter(groups)))}.")
    goes_into = {name: kept for kept, names in there.items() for name in names}
    places = {tag: place for place, tag in enumerate(tags)}
    merged = list(dict.fromkeys(goes_into.get(tag, tag) for tag in tags))
    merged.sort(key=lambda tag: places[tag] if tag in places else min(places[name] for name in there[tag]))
    before, after, per_clip = Counter[str](), Counter[str](), Counter[int]()
    for held in clips():
        own = known.intersection(held)
        before.update(own)
        per_clip[len(own)] += 1
        after.update({goes_into.get(tag, tag) for tag in own})
    kept = sorted(sorted(merged, key=lambda tag: -after[tag])[:n_tags])
    per_clip_after = Counter(len({goes_into.get(tag, tag) for tag in held} & {*kept}) for held in clips())
    return Reduction(
        tags=tuple(tags),
        groups=there,
        merged=tuple(merged),
        kept=tuple(kept),
        n_before={tag: before[tag] for tag in tags},
        n_merged={tag: after[tag] for tag in merged},
        per_clip_before=_up_to_most(per_clip),
        per_clip_after=_up_to_most(per_clip_after),
    )


def check_groups(groups: Groups) -> None:
    """Refuse groups that do not say into which one a name goes.

    Args:
        groups: the name that is kept, and those that go into it.

    Raises:
        ConfigError: a name is in two groups, or is kept and goes into another one.
    """
    group_of: dict[str, str] = {}
    for kept, names in groups.items():
        for name in names:
            if name in group_of and group_of[name] != kept:
                raise ConfigError(f"{name!r} is in two groups, {group_of[name]!r} and {kept!r}; one is wanted.")
            group_of[name] = kept
    if twice := sorted(name for name, kept in group_of.items() if name in groups and name != kept):
        name = twice[0]
        raise ConfigError(f"{name!r} is kept and goes into {group_of[name]!r} as well; put its names there too.")


def read_synonyms(path: str | PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Read groups of synonyms.

    Args:
        path: of a JSON or TOML file, with a name and its group ("beats": "beat") or a group and its names ("beat":
            ["beats"]) each, or of a CSV file with the columns name and group. The suffix says which.

    Returns:
        The name that is kept, and those that go into it, in the order of the file.

    Raises:
        DatasetError: the file is not there, or is not such a file.
        ConfigError: a name is in two groups, or is kept and goes into another one.
    """
    place, where = Path(path), printable(str(path))
    readers = {".json": _of_json, ".toml": _of_toml, ".csv": _of_csv}
    check(place.suffix.lower() in readers, "the file of synonyms", str(path), "one that ends in .json, .toml or .csv")
    try:
        pairs = readers[place.suffix.lower()](place.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"{where}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        wanted = "a name and its group each, or a group and a list of its names"
        raise DatasetError(f"{where} is no list of synonyms ({error}); wanted {wanted}.") from error
    groups: dict[str, list[str]] = {}
    for name, kept in pairs:
        names = groups.setdefault(kept, [])
        if name not in (kept, *names):
            names.append(name)
    if not groups:
        raise DatasetError(f"{where} names no synonym.")
    check_groups(groups)
    return {kept: tuple(names) for kept, names in groups.items()}


# -- inside ------------------------------------------------------------------------------------------------------------


def _up_to_most(counts: Mapping[int, int]) -> tuple[int, ...]:
    """Turn counts by number into a list from 0 on."""
    return tuple(counts.get(number, 0) for number in range(max(counts, default=0) + 1))


def _of_json(text: str) -> list[tuple[str, str]]:
    return _pairs(json.loads(text))


def _of_toml(text: str) -> list[tuple[str, str]]:
    return _pairs(tomllib.loads(text))


def _pairs(values: Any) -> list[tuple[str, str]]:
    """Give each name with its group."""
    if not isinstance(values, dict):
        raise TypeError(f"it holds a {type(values).__name__}")
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        named = [(key, value)] if isinstance(value, str) else [(name, key) for name in value]
        if not all(isinstance(name, str) for pair in named for name in pair):
            raise TypeError(f"{key!r} has something that is no name")
        found += named
    return found


def _of_csv(text: str) -> list[tuple[str, str]]:
    rows = csv.DictReader(text.splitlines())
    return [(row[NAME].strip(), row[GROUP].strip()) for row in rows]
