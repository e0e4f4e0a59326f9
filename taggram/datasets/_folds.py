"""Folds: an order that hangs on names and a seed alone, and cuts of it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import TypeVar

from taggram.datasets._base import Part, Split

Item = TypeVar("Item")


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Put names into a random order.

    Names are sorted by a hash of the seed and the name. So the order is the same with every version of everything, and
    a name that is missing leaves all others in their order.

    Args:
        names: no two of them equal.
        seed: another one gives another order.

    Returns:
        The names.
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\t{name}".encode("utf-8", "surrogateescape")).digest())


def cut(items: Sequence[Item], n_folds: int) -> list[Sequence[Item]]:
    """Cut a sequence into runs that are as long as each other, the first ones longer by one where that does not go.

    Args:
        items: in order.
        n_folds: how many runs.

    Returns:
        The runs.
    """
    length, n_longer = divmod(len(items), n_folds)
    ends = [fold * length + min(fold, n_longer) for fold in range(n_folds + 1)]
    return [items[start:end] for start, end in itertools.pairwise(ends)]


def stratify(labels: Sequence[str], n_folds: int) -> list[int]:
    """Give each item a fold, so that every fold has its share of every label, without shuffling.

    Items that are sorted by label are dealt out in turn, which says how many of a label each fold gets; the first ones
    of the label go into the first fold. So does `StratifiedKFold` of scikit-learn from 0.22 on.

    Args:
        labels: of the items, in order.
        n_folds: how many folds.

    Returns:
        The fold of each item, from 1 on.
    """
    folds = [0] * len(labels)
    n_dealt = 0
    for label in dict.fromkeys(labels):
        places = [place for place, other in enumerate(labels) if other == label]
        dealt = sorted((n_dealt + turn) % n_folds for turn in range(len(places)))
        n_dealt += len(places)
        for place, fold in zip(places, dealt):
            folds[place] = fold + 1
    return folds


def fold_splits(
    n_folds: int, rule: str, *, n_tracks: Sequence[tuple[int, int, int]] = (), source: str = ""
) -> dict[str, Split]:
    """Describe the splits "fold-1" and so on.

    Args:
        n_folds: how many.
        rule: how a fold divides.
        n_tracks: of each fold in train, valid and test, or nothing where that is not known.
        source: who made the folds.

    Returns:
        The splits by name.
    """
    return {
        f"fold-{fold}": Split(rule=rule, n_tracks=n_tracks[fold - 1] if n_tracks else None, source=source)
        for fold in range(1, n_folds + 1)
    }


def number_of(split: str) -> int | None:
    """Give the number of a fold, or None where the split is none."""
    return int(split.removeprefix("fold-")) if split.startswith("fold-") else None


def part_of(fold: int, tested: int, n_folds: int, *, validated: bool) -> Part:
    """Say which part a fold is.

    Args:
        fold: of the track, from 1 on.
        tested: the fold that is the test.
        n_folds: how many there are.
        validated: whether the next fold, the first after the last, is for validation; else it is in train too.

    Returns:
        The part.
    """
    if fold == tested:
        return "test"
    return "valid" if validated and fold == tested % n_folds + 1 else "train"
