"""Gradient-boosted trees on hand-made features: the baseline beside which networks are measured.

Each tag has trees of its own; where exactly one tag holds, one model chooses among all. As many rounds are kept as give
the lowest loss on the validation part. The trees are not saved: they are grown again from the settings, the data and
the features, which are saved without pickles.

Source: the place of this baseline is that of Pons, Nieto, Prockup, Schmidt, Ehmann and Serra, "End-to-end learning for
    music audio tagging at scale", ISMIR 2018 (arXiv 1711.02520).
Differs: their trees and features are an industrial system that is not published, and this one does not reproduce it;
    features (`_hand_made.py`) and settings are ours, and the trees are those of scikit-learn's
    HistGradientBoostingClassifier. Their published numbers are not to be expected of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_choice, check_count, is_number
from taggram._processes import n_cores
from taggram.datasets._base import PARTS, Part, Task, Value, name_some
from taggram.errors import DatasetError, missing_extra
from taggram.learning import metrics as m
from taggram.learning._clip_features import ClipFeatures, Told, clip_features, side_by_side
from taggram.learning._hand_made import FAMILIES, FEATURE_SETS, FeatureSet
from taggram.learning._random import Purpose, generator
from taggram.learning._settings import from_values
from taggram.learning.evaluate import Evaluation

if TYPE_CHECKING:
    from taggram.learning.prepared import PreparedData

__all__ = ["ClipFeatures", "Told", "TreesConfig", "TreesResult", "clip_features", "fit_trees"]

MODEL = "boosted_trees"
N_TOLD = 8  # names in a note
TINY = 1e-15  # least chance in a logarithm

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TreesConfig:
    """How the trees are grown. The defaults are ours.

    Attributes:
        features: "mfcc" is statistics of MFCCs alone, "hand_made" these and spectrum, loudness, rhythm and harmony.
        learning_rate: what each round adds is multiplied by it.
        max_rounds: rounds at most; a round is one tree, or one a tag where exactly one holds.
        max_leaves: of a tree.
        min_clips: in a leaf.
        feature_share: share of the features, drawn anew, among which each branch chooses.
        l2: of the values in the leaves.
        seed: of these draws.

    Raises:
        ConfigError: some value makes no sense.
    """

    features: FeatureSet = "hand_made"
    learning_rate: float = 0.1
    max_rounds: int = 300
    max_leaves: int = 8
    min_clips: int = 20
    feature_share: float = 0.3
    l2: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("features", self.features, FEATURE_SETS)
        check_count("max_rounds", self.max_rounds)
        check_count("max_leaves", self.max_leaves, least=2)
        check_count("min_clips", self.min_clips)
        check_count("seed", self.seed, least=0, most=2**32 - 1)
        check(is_number(self.l2) and self.l2 >= 0, "l2", self.l2, "a number from 0 on")
        for name in ("learning_rate", "feature_share"):
            value = getattr(self, name)
            check(is_number(value) and 0 < value <= 1, name, value, "a number above 0, to 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TreesConfig:
        """Make a config of plain values, such as those of a TOML file.

        Args:
            values: by name.

        Returns:
            The config.

        Raises:
            ConfigError: there is no such setting, or a value makes no sense.
        """
        return from_values(cls, "trees", values)

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain values."""
        return dataclasses.asdict(self)


# -- trees -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class TreesResult:
    """What came out of growing trees.

    Attributes:
        config: how they were grown.
        evaluations: of the parts valid and test, where they have clips; test has the thresholds found on valid.
        features: that they stand on.
        n_rounds: rounds that were kept, by tag; 0 where no trees could be grown.
        importance: by family of features, how much of the macro ROC-AUC on valid is lost when its values are shuffled
            among the clips; empty if it was not asked for.
        notes: what else is to be said.
    """

    config: TreesConfig
    evaluations: Mapping[Part, Evaluation]
    features: ClipFeatures
    n_rounds: Mapping[str, int]
    importance: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give what is worth keeping beside the evaluations, as plain values."""
        return {
            "model": MODEL,
            "config": self.config.to_dict(),
            "feature_names": list(self.features.names),
            "n_rounds": dict(self.n_rounds),
            "importance": dict(self.importance),
            "notes": list(self.notes),
        }


def fit_trees(
    data: PreparedData,
    config: TreesConfig | None = None,
    *,
    features: ClipFeatures | None = None,
    importance: bool = False,
    n_workers: int | None = None,
    told: Told | None = None,
) -> TreesResult:
    """Grow trees on the part train of prepared data, and score the clips of valid and test.

    A tag that every clip of train has, or none, gets the same score for all clips and is named in the notes.

    Args:
        data: the prepared data.
        config: how to grow them; None takes the defaults.
        features: of this data, if they are at hand; None computes them.
        importance: whether to measure how much each family of features matters.
        n_workers: threads; None is one a core. The scores do not depend on it.
        told: is told of the progress.

    Returns:
        Evaluations as those of a network, and what they stand on.

    Raises:
        ConfigError: the features are not those of the data, or cannot be made of it, or train has too few clips for
            two leaves.
        DatasetError: there is no clip to learn from, none to score, or the data is damaged.
        MissingExtraError: scikit-learn is not installed.
    """
    config = config or TreesConfig()
    rows = {part: data.index(part) for part in PARTS}
    if not len(rows["train"]):
        raise DatasetError("there is no track to learn from; is there a part named train?")
    if not len(rows["valid"]) and not len(rows["test"]):
        raise DatasetError("there is no track to score; is there a part named valid or test?")
    n_train = len(rows["train"])
    wanted = f"at most half of train's {n_train} clips, as trees.min_clips={max(1, n_train // 4)}"
    check(2 * config.min_clips <= n_train, "trees.min_clips", config.min_clips, wanted)
    _sklearn()
    if features is None:
        features = clip_features(data, config.features, n_workers=n_workers, told=told)
    features.check_are_of(data, config.features)
    values, labels = features.values, data.labels(np.arange(len(data))).astype(bool)
    clips = _Clips(values, labels, rows["train"], rows["valid"], data.task)
    forest = _Forest.grown(clips, data.tags, config, n_workers, told)
    notes = forest.notes(len(rows["valid"]))
    evaluations: dict[Part, Evaluation] = {}
    for part in PARTS[1:]:
        if len(rows[part]):
            scores = forest.scores(values[rows[part]])
            evaluations[part] = _evaluation(data, config, part, scores, notes)
    if len(evaluations) == 2:
        evaluations["test"] = evaluations["test"].with_thresholds_of(evaluations["valid"])
    mattering = {}
    if importance and "valid" in evaluations:
        mattering = _importance(forest, features, rows["valid"], evaluations["valid"], config.seed)
    return TreesResult(
        config=config,
        evaluations=evaluations,
        features=features,
        n_rounds=forest.n_rounds(),
        importance=mattering,
        notes=notes,
    )


@dataclass(frozen=True, eq=False)
class _Clips:
    """What is learned from.

    Attributes:
        values: (clips, features).
        labels: (clips, tags).
        train: rows to grow trees on.
        valid: rows that say how many.
        task: whether a clip has several tags or exactly one.
    """

    values: Floats
    labels: NDArray[np.bool_]
    train: Rows
    valid: Rows
    task: Task

    def targets(self) -> list[_Target]:
        """Give what the models are to tell apart: each tag's clips from all others, or the tags from each other."""
        if self.task == "several":
            return [_Target(np.array([tag]), has_it.astype(np.int64)) for tag, has_it in enumerate(self.labels.T)]
        classes = self.labels.argmax(axis=1)
        return [_Target(np.unique(classes[self.train]), classes)]


@dataclass(frozen=True, eq=False)
class _Target:
    """What one model is to tell apart.

    Attributes:
        columns: places of the tags that it scores.
        classes: (clips,) where there is one column and several tags may hold, 1 for the clips that have the tag; else
            the place of the clip's only tag.
    """

    columns: Rows
    classes: Rows


@dataclass(frozen=True, eq=False)
class _Trees:
    """The model of one tag, or of all where exactly one holds.

    Attributes:
        columns: places of the tags that it scores.
        model: the trees, or None where all clips get the constant.
        n_rounds: how many are used.
        stopped: whether the validation part could say how many.
        constant: score of all clips where there are no trees.
    """

    columns: Rows
    model: Any = None
    n_rounds: int = 0
    stopped: bool = True
    constant: float = 0.0

    @classmethod
    def grown(cls, clips: _Clips, target: _Target, config: TreesConfig) -> _Trees:
        """Grow one model, and find how many rounds are best on the validation part."""
        in_train = target.classes[clips.train]
        known = np.unique(in_train)
        if len(known) == 1:
            return cls(target.columns, constant=1.0 if clips.task == "one" else float(known[0]))
        model = _untrained(config).fit(clips.values[clips.train], in_train)
        valid = clips.valid[np.isin(target.classes[clips.valid], known)]
        in_valid = target.classes[valid]
        if len(np.unique(in_valid)) < 2:
            return cls(target.columns, model, config.max_rounds, stopped=False)
        own = np.searchsorted(known, in_valid)[:, None]
        losses = [
            -np.log(np.maximum(np.take_along_axis(chances, own, axis=1), TINY)).mean()
            for chances in model.staged_predict_proba(clips.values[valid])
        ]
        return cls(target.columns, model, int(np.argmin(losses)) + 1)

    def scores(self, values: Floats) -> Floats:
        """Score clips: (clips, features) to (clips, columns)."""
        if self.model is None:
            return np.full((len(values), len(self.columns)), self.constant)
        chances = next(itertools.islice(self.model.staged_predict_proba(values), self.n_rounds - 1, None))
        return np.asarray(chances)[:, -len(self.columns) :]  # of without and with a tag, the latter


@dataclass(frozen=True, eq=False)
class _Forest:
    """The models of all tags.

    Attributes:
        trees: the models; tags that none of them scores get 0.
        tags: all names.
        n_workers: threads that score.
    """

    trees: tuple[_Trees, ...]
    tags: tuple[str, ...]
    n_workers: int | None

    @classmethod
    def grown(
        cls, clips: _Clips, tags: tuple[str, ...], config: TreesConfig, n_workers: int | None, told: Told | None
    ) -> _Forest:
        """Grow the models, side by side."""
        targets = clips.targets()
        threads_each = max(1, (n_workers or n_cores()) // len(targets))

        def grow(target: _Target) -> _Trees:
            with _threads(threads_each):
                return _Trees.grown(clips, target, config)

        trees = []
        for one in side_by_side(grow, targets, n_workers):
            trees.append(one)
            if told:
                told("trees", len(trees), len(targets))
        return cls(tuple(trees), tags, n_workers)

    def scores(self, values: Floats) -> NDArray[np.float32]:
        """Score clips: (clips, features) to (clips, tags)."""

        def score(trees: _Trees) -> Floats:
            with _threads(1):
                return trees.scores(values)

        scores = np.zeros((len(values), len(self.tags)), np.float32)
        for trees, own in zip(self.trees, side_by_side(score, self.trees, self.n_workers)):
            scores[:, trees.columns] = own
        return scores

    def n_rounds(self) -> dict[str, int]:
        """Give the rounds of each tag."""
        rounds = dict.fromkeys(self.tags, 0)
        for trees in self.trees:
            rounds |= dict.fromkeys(self._names(trees), trees.n_rounds)
        return rounds

    def notes(self, n_valid: int) -> tuple[str, ...]:
        """Say which tags are not scored as the others are."""
        scored = {tag for trees in self.trees for tag in self._names(trees)}
        flat = [(tag, trees.constant) for trees in self.trees if trees.model is None for tag in self._names(trees)]
        never = {tag for tag, score in flat if score == 0} | set(self.tags).difference(scored)
        always = {tag for tag, score in flat if score > 0}
        unstopped = {tag for trees in self.trees if not trees.stopped for tag in self._names(trees)}
        said = {
            "no clip of train has these tags, whose score is always 0": never,
            "every clip of train has these tags, whose score is always 1": always,
            "all or none of the clips of valid have these tags, of which all rounds are kept": unstopped,
        }
        if not n_valid:
            said.popitem()
        notes = [f"{what}: {self._listed(tags)}" for what, tags in said.items() if tags]
        return (*notes, *(["there is no part named valid: all rounds are kept"] if not n_valid else []))

    def _names(self, trees: _Trees) -> list[str]:
        return [self.tags[column] for column in trees.columns]

    def _listed(self, tags: set[str]) -> str:
        return name_some([tag for tag in self.tags if tag in tags], N_TOLD)


def _evaluation(
    data: PreparedData, config: TreesConfig, part: Part, scores: NDArray[np.float32], notes: tuple[str, ...]
) -> Evaluation:
    """Put the scores of a part beside its labels."""
    rows = data.index(part)
    return Evaluation(
        model=f"{MODEL}, {config.features} features",
        data_set=data.card["name"],
        split=data.card["split"],
        split_sha256=data.card["split_sha256"],
        part=part,
        tags=data.tags,
        task=data.task,
        track_ids=tuple(map(str, data.column("track_id")[rows])),
        scores=scores,
        labels=data.labels(rows).astype(bool),
        columns={name: _plain(data.column(here)[rows]) for name, here in data.card["columns"].items()},
        notes=notes,
    )


def _importance(
    forest: _Forest, features: ClipFeatures, valid: Rows, evaluation: Evaluation, seed: int
) -> dict[str, float]:
    """Measure what is lost when the values of a family are shuffled among the clips, one order for all of them."""
    values = features.values[valid]
    order = generator(seed, Purpose.ORDER).permutation(len(valid))
    whole = m.mean_over_tags(m.roc_auc(evaluation.scores, evaluation.labels))
    lost: dict[str, float] = {}
    for family in FAMILIES:
        own = [place for place, name in enumerate(features.names) if name.startswith(f"{family}_")]
        if own and not np.isnan(whole):
            shuffled = values.copy()
            shuffled[:, own] = values[order][:, own]
            scores = forest.scores(shuffled)
            lost[family] = whole - m.mean_over_tags(m.roc_auc(scores, evaluation.labels))
    return lost


# -- inside ------------------------------------------------------------------------------------------------------------


def _plain(values: NDArray[Any]) -> tuple[Value, ...]:
    """Give plain values, None where there is none."""
    return tuple(None if value is None or value != value else value for value in values.tolist())


def _sklearn() -> Any:
    """Give scikit-learn's trees."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "boosted trees") from error
    return HistGradientBoostingClassifier


def _untrained(config: TreesConfig) -> Any:
    return _sklearn()(
        learning_rate=config.learning_rate,
        max_iter=config.max_rounds,
        max_leaf_nodes=config.max_leaves,
        min_samples_leaf=config.min_clips,
        max_features=config.feature_share,
        l2_regularization=config.l2,
        early_stopping=False,  # its own would be on a part of train
        random_state=config.seed,
    )


def _threads(n_threads: int) -> Any:
    """Limit the threads of one model: models side by side are quicker, and threads that wait for each other slow."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(n_threads, user_api="openmp")
