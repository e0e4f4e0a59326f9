"""From vectors of examples to a kit: standardised, a method chosen, scores made honest, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from taggram.errors import ConfigError, TrainingError, printable
from taggram.kit import NONE_OF_THESE, Kit, KitExample, KitRows, KitTask, rooted, scaled, unit_rows
from taggram.learning._kit_validation import (
    MOST_LEFT_OUT,
    MOST_ONE_BY_ONE,
    Validated,
    choose,
    folds_of,
    none_threshold,
    temperature,
    validate,
)
from taggram.learning.kit_methods import METHODS, Lesson, Linear, Method, fit_linear, logits_of

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
        held_out: a figure from examples that were held out before the network was tuned on all. Without it, a kit of a
            tuned network has no figure, since its network knows every example that could be left out.

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
        unit_rows(rooted(rows.astype(np.float64))), heard.example.astype(np.int64), heard.semitones == 0, labels, task,
        recordings(heard.examples),
    )  # fmt: skip
    chosen, compared, unseen = _validated(method, lesson, bool(network.tuned), told)
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
        bias = np.append(bias, none_threshold(lesson, unseen))
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
            "validation": held_out or (unseen and unseen.facts(labels)),
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


def recordings(examples: Sequence[KitExample]) -> NDArray[np.int64]:
    """Give each example the number of the recording that it is a part of, from 0 on."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(example.recording, len(numbers)) for example in examples], np.int64)


def _validated(
    method: Choice, lesson: Lesson, is_tuned: bool, told: Callable[[str], object]
) -> tuple[Method, list[Validated], Validated | None]:
    """Give the method that fits, how all did where it was chosen among them, and what it answers on unseen examples.

    A network that is tuned on the examples knows them all, so nothing is compared or found out with it.
    """
    if is_tuned:
        return (METHODS[0] if method in {"auto", "finetune"} else cast("Method", method)), [], None
    folds = folds_of(lesson, MOST_ONE_BY_ONE)
    compared: list[Validated] = []
    chosen = cast("Method", method)
    if method == "auto":
        fewer = folds_of(lesson, MOST_LEFT_OUT)
        chosen, compared = choose(lesson, fewer, told)
        if fewer is not None and folds is not None and fewer.how == folds.how:
            return chosen, compared, next((one for one in compared if one.method == chosen), None)
    return chosen, compared, validate(chosen, lesson, folds)


def _temperature(unseen: Validated | None, linear: Linear, lesson: Lesson) -> float:
    """Make scores honest by unseen examples; without any, those of the examples themselves are all there is."""
    if unseen is not None:
        seen = unseen.was_left_out
        return temperature(unseen.logits[seen], lesson.labels[seen], lesson.task)
    logits = logits_of(linear, lesson, np.ones(lesson.n_examples, bool))
    # How far the right answers are above the wrong ones: in an example, or where several may hold over the examples.
    pairs = zip(logits, lesson.labels) if lesson.task == "one" else zip(logits.T, lesson.labels.T)
    gap = float(np.median([values[holds].mean() - values[~holds].mean() for values, holds in pairs]))
    return gap / 2 if gap > 0 else 1.0
