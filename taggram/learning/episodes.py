"""Few-shot tasks: which examples are drawn, which of their patches make prototypes, and which are asked about.

Source: the code of Pons, Serra and Serra, "Training neural audio classifiers with few data", ICASSP 2019; the words are
    those of J. Snell, K. Swersky and R. Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017.
Differs: the code draws without a seed, and takes the clips of the support in the order of a Python set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_count
from taggram.errors import DatasetError
from taggram.learning._random import Purpose, generator

N_SUPPORT = 5  # patches a class that its prototype is made from
N_QUERY = 5  # patches a class that an update asks about

Whole = NDArray[np.int64]


def draw_examples(
    labels: Sequence[int] | Whole, n_way: int, n_shot: int | None, *, seed: int, classes: Sequence[str] = ()
) -> Whole:
    """Draw labelled clips of each class, without replacement. What is not offered, such as a test part, cannot come.

    Args:
        labels: (clips,) number of the class of each clip that may be drawn.
        n_way: number of classes.
        n_shot: clips of each class; None is all.
        seed: of the draw; what a class gets does not hang on the other classes.
        classes: their names, for the message.

    Returns:
        (clips,) places in `labels`, class after class, in the order of the draw; all come in their own order.

    Raises:
        DatasetError: a class has fewer clips than wanted, or none.
        ConfigError: `n_shot` is no number from 1 on.
    """
    if n_shot is not None:
        check_count("n_shot", n_shot)
    labels = np.asarray(labels, np.int64)
    drawn = []
    for number in range(n_way):
        there = np.flatnonzero(labels == number)
        wanted = len(there) if n_shot is None else n_shot
        if len(there) < max(1, wanted):
            name = classes[number] if number < len(classes) else f"number {number}"
            raise DatasetError(
                f"the class {name} has {len(there)} clips to learn from; {max(1, wanted)} are wanted of each class."
            )
        order = generator(seed, Purpose.SUPPORT, number).permutation(len(there))[:wanted]
        drawn.append(there if n_shot is None else there[order])
    return np.concatenate(drawn)


class Episodes:
    """What the updates of a prototypical network see: one support for all of them, and other queries in each.

    Every update has all classes. The support has one random patch from each of some clips of a class, which are the
    first in a random order; it is drawn once. The queries of an update are drawn from all patches, those of the support
    too.

    To be read: `n_way`; `support`, (patches,) places of the support, class after class; `n_queries`, the patches of all
    classes that an update asks about; and `n_updates` of an epoch, which ask about as many patches as there are.

    Args:
        labels: (patches,) number of the class of each patch, 0 to n_way - 1.
        clips: (patches,) number of the clip of each patch.
        n_way: number of classes.
        n_shot: patches of each class in the support, at most one a clip; None is all patches of all clips.
        n_query: patches of each class that an update asks about; all where a class has fewer.
        seed: of all draws.

    Raises:
        DatasetError: a class has no patch.
        ConfigError: a number makes no sense.
    """

    def __init__(
        self,
        labels: Whole,
        clips: Whole,
        n_way: int,
        *,
        n_shot: int | None = N_SUPPORT,
        n_query: int = N_QUERY,
        seed: int = 0,
    ) -> None:
        check_count("n_way", n_way)
        check_count("n_query", n_query)
        if n_shot is not None:
            check_count("n_shot", n_shot)
        self.n_way = n_way
        self._seed = seed
        self._of_class = [np.flatnonzero(labels == number) for number in range(n_way)]
        if empty := [number for number, there in enumerate(self._of_class) if not len(there)]:
            raise DatasetError(f"the class number {empty[0]} has no patch; each class needs one at least.")
        self.support: Whole = np.concatenate([self._support_of(number, clips, n_shot) for number in range(n_way)])
        self._n_query = n_query
        self.n_queries = sum(min(n_query, len(there)) for there in self._of_class)
        self.n_updates = max(1, len(labels) // self.n_queries)

    def _support_of(self, number: int, clips: Whole, n_shot: int | None) -> Whole:
        """Draw the support of a class."""
        there = self._of_class[number]
        if n_shot is None:
            return there
        draw = generator(self._seed, Purpose.SUPPORT, number)
        order = draw.permutation(np.unique(clips[there]))[:n_shot]
        return np.array([draw.choice(there[clips[there] == clip]) for clip in order], np.int64)

    def queries(self, update: int) -> Whole:
        """Draw what an update asks about.

        Args:
            update: its number, from 0 on; the same number gives the same patches.

        Returns:
            (patches,) places, class after class, none twice.
        """
        draw = generator(self._seed, Purpose.QUERY, update)
        return np.concatenate([draw.permutation(there)[: self._n_query] for there in self._of_class])
