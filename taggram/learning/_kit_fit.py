"""From vectors of examples to a kit: standardised, a method chosen, scores made honest, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taggram.errors import ConfigError, TrainingError, printable
from taggram.kit import NONE_OF_THESE, Kit, KitExample, KitRows, KitTask, rooted, scaled, unit_rows
from taggram.learning.kit_methods import (
    METHODS,
    MOST_ONE_BY_ONE,
    Lesson,
    Method,
    Validated,
    choose,
    fit_linear,
    logits_of,
    none_threshold,
    temperature,
    validate,
)

Choice = Literal["auto", "logistic", "lda", "svm", "prototypes", "finetune"]
CHOICES: tuple[Choice, ...] = ("auto", *METHODS, "finetune")
FLOOR = 1e-2  # of the mean deviation, added to each, so that a feature that hardly moves is not blown up
DEAD = 1e-4  # features with so small a share of the mean deviation say nothing
MEAN_AND_MAX = ("mean_pool", "max_pool")
MEAN_EMPHASIS = 0.35**2  # beside the maxima, which tell few examples apart better; its root weighs, see `rooted`
NEVER = -1e4  # logit of a tag that nothing is known of


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """What a kit says of the network that it needs.

    Attributes:
        model: its name, or its place.
        layers: whose values make the vector.
        features_sha256: hash of what its features follow from.
        tuned: changed tensors, by name.
    """

    model: str
    layers: tuple[str, ...]
    features_sha256: str
    tuned: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """All examples, with their vectors as the network gives them.

    Attributes:
        examples: in order.
        vectors: (rows, features).
        example: (rows,) which example each is of.
        semitones: (rows,) how much higher it was played.
    """

    examples: tuple[KitExample, ...]
    vectors: NDArray[np.floating]
    example: NDArray[np.int32]
    semitones: NDArray[np.int8]


def fit_kit(
    heard: Heard,
    network: Network,
    *,
    task: KitTask,
    method: Choice,
    none_of_these: bool,
    told: Callable[[str], object] = lambda _: None,
    held_out: Mapping[str, Any] | None = None,
) -> Kit:
    """Make a kit of examples.

    Args:
        heard: the examples.
        network: that gave their vectors.
        task: whether exactly one tag holds.
        method: one of `CHOICES`.
        none_of_these: whether the kit may answer that none of its tags holds.
        told: is told what is being done.
        held_out: a figure from examples that were held out before, where vectors of a tuned network know all of them.

    Returns:
        The kit.

    Raises:
        ConfigError: a tag has the name of the answer that none holds.
        TrainingError: there are too few tags or examples.
    """
    from threadpoolctl import threadpool_limits  # of scikit-learn

    tags = tuple(sorted({tag for example in heard.examples for tag in example.tags}))
    labels = np.array([[tag in example.tags for tag in tags] for example in heard.examples], bool)
    _check_enough(tags, labels, task)
    with threadpool_limits(1):  # the arrays are so small that threads only wait for each other
        return _fitted(heard, network, tags, labels, task, method, none_of_these, told, held_out)


def _fitted(
    heard: Heard,
    network: Network,
    tags: tuple[str, ...],
    labels: NDArray[np.bool_],
    task: KitTask,
    method: Choice,
    none_of_these: bool,
    told: Callable[[str], object],
    held_out: Mapping[str, Any] | None,
) -> Kit:
    """Make the kit, as `fit_kit` does."""
    mean, inverse_scale = _standard(heard, network.layers)
    rows = scaled(heard.vectors, mean, inverse_scale).astype(np.float16)
    lesson = Lesson(
        unit_rows(rooted(rows.astype(np.float64))), heard.example.astype(np.int64), heard.semitones == 0, labels, task
    )
    chosen, compared = _chosen(method, lesson, told)
    unseen = None if held_out is not None else validate(chosen, lesson, most_left_out=MOST_ONE_BY_ONE)
    weight, bias = fit_linear(chosen, lesson)
    bias = np.maximum(bias, NEVER)
    heat = _temperature(unseen, (weight, bias), lesson)
    if none_of_these:
        if unseen is None:
            raise TrainingError(
                "the threshold of 'none of these' is set from examples that are left out, and no tag has two, or the "
                "network is tuned on all of them. Give more examples, or leave it out."
            )
        told(NONE_OF_THESE)
        weight = np.concatenate([weight, np.zeros((1, weight.shape[1]))])
        bias = np.append(bias, none_threshold(chosen, lesson, unseen.logits))
    return Kit(
        tags=(*tags, NONE_OF_THESE) if none_of_these else tags,
        task=task,
        method="finetune" if network.tuned else chosen,
        model=network.model,
        layers=network.layers,
        features_sha256=network.features_sha256,
        mean=mean,
        inverse_scale=inverse_scale,
        weight=(weight / heat).astype(np.float32),
        bias=(bias / heat).astype(np.float32),
        examples=heard.examples,
        rows=KitRows(vectors=rows, example=heard.example, semitones=heard.semitones),
        tuned=network.tuned,
        facts={
            "asked_for": method,
            "validation": held_out or _facts_of(unseen, lesson, tags),
            "compared": {one.method: round(one.figure, 4) for one in compared},
        },
    )


def _check_enough(tags: Sequence[str], labels: NDArray[np.bool_], task: KitTask) -> None:
    """Refuse what nothing can be learned from."""
    if NONE_OF_THESE in tags:
        raise ConfigError(f"a tag is named {NONE_OF_THESE!r}, which is the answer where none holds; name it otherwise.")
    if task == "one" and len(tags) < 2:
        names = ", ".join(map(printable, tags))
        raise TrainingError(
            f"there are examples of {len(tags)} tag{'' if len(tags) == 1 else 's'} ({names}); "
            "2 are needed, since a tag is learned by what it is not. Add a tag such as 'other'."
        )
    for tag, n_with in zip(tags, labels.sum(0)):
        if n_with == len(labels):
            raise TrainingError(
                f"all {len(labels)} examples have the tag {printable(tag)!r}, so nothing says what it is not. Add "
                "examples without it."
            )
    if not tags:
        raise TrainingError("no example has a tag.")


def _standard(heard: Heard, layers: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the mean of each feature, and what it is multiplied by, 0 where it says nothing."""
    weights = 1.0 / np.bincount(heard.example)[heard.example]
    vectors = heard.vectors.astype(np.float64)
    mean = np.average(vectors, axis=0, weights=weights)
    deviation = np.sqrt(np.average((vectors - mean) ** 2, axis=0, weights=weights))
    typical = deviation.mean()
    if not typical > 0:
        raise TrainingError("all examples sound the same to this network, so nothing tells them apart.")
    live = deviation > DEAD * typical
    inverse_scale = np.where(live, 1 / (deviation + FLOOR * typical), 0.0)
    if layers == MEAN_AND_MAX:
        inverse_scale[: len(inverse_scale) // 2] *= MEAN_EMPHASIS
    return mean.astype(np.float32), inverse_scale.astype(np.float32)


def _chosen(method: Choice, lesson: Lesson, told: Callable[[str], object]) -> tuple[Method, list[Validated]]:
    """Give the method that fits, and how all did where it was chosen among them."""
    if method == "auto":
        return choose(lesson, told)
    return (METHODS[0] if method == "finetune" else method), []


def _temperature(unseen: Validated | None, linear: tuple[Any, Any], lesson: Lesson) -> float:
    """Make scores honest by unseen examples; without any, those of the examples themselves are all there is."""
    if unseen is None:
        everything = np.ones(lesson.n_examples, bool)
        logits = logits_of(linear, lesson, everything)
        others = np.where(lesson.labels, np.nan, logits)
        gaps = np.nanmean(np.where(lesson.labels, logits, np.nan), axis=1) - np.nanmean(others, axis=1)
        gap = float(np.nanmedian(gaps))
        return gap / 2 if gap > 0 else 1.0
    seen = ~np.isnan(unseen.logits).any(1)
    return temperature(unseen.logits[seen], lesson.labels[seen], lesson.task)


def _facts_of(unseen: Validated | None, lesson: Lesson, tags: Sequence[str]) -> dict[str, Any] | None:
    """Sum up cross-validation in plain values."""
    if unseen is None:
        return None
    seen = np.flatnonzero(~np.isnan(unseen.right))
    confusion = np.zeros((len(tags), len(tags)), int)
    for place in seen:
        confusion[lesson.labels[place], unseen.logits[place].argmax()] += 1
    return {
        "how": "leave-one-out" if unseen.n_folds == len(seen) else f"{unseen.n_folds}-fold",
        "n_examples": len(seen),
        "figure": round(unseen.figure, 4),
        "confusion": confusion.tolist(),
    }
