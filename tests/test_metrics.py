"""Scores of scores: those of scikit-learn and torchmetrics, also for ties and odd cases; intervals to be trusted."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from taggram.errors import ConfigError
from taggram.learning import metrics as m

sklearn_metrics = pytest.importorskip("sklearn.metrics")

N_CLIPS, N_TAGS = 120, 7


def make(kind: str):
    """Scores and labels: fine, with many equal scores, all equal, upside down, or of two values."""
    random = np.random.default_rng(0)
    labels = random.random((N_CLIPS, N_TAGS)) < np.linspace(0.02, 0.9, N_TAGS)
    labels[0], labels[1] = True, False
    scores = 1 / (1 + np.exp(-(random.standard_normal(labels.shape) + labels - 0.5)))
    change = {
        "fine": lambda s: s,
        "ties": lambda s: np.round(s, 1),
        "all equal": np.zeros_like,
        "upside down": lambda s: 1 - s,
        "two values": lambda s: np.round(s),
        "float32": lambda s: s.astype(np.float32),
    }[kind]
    return change(scores), labels


KINDS = ("fine", "ties", "all equal", "upside down", "two values", "float32")
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def functional():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchmetrics.functional.classification")


def tensors(scores, labels):
    import torch

    return torch.from_numpy(np.asarray(scores, dtype=np.float64)), torch.from_numpy(labels.astype(np.int64))


# -- areas -------------------------------------------------------------------------------------------------------------


@each_kind
def test_roc_auc_is_that_of_sklearn(kind):
    scores, labels = make(kind)
    wanted = sklearn_metrics.roc_auc_score(labels, scores, average=None)
    np.testing.assert_allclose(m.roc_auc(scores, labels), wanted, atol=1e-12)


@each_kind
def test_roc_auc_is_that_of_torchmetrics(kind, functional):
    scores, labels = make(kind)
    wanted = functional.multilabel_auroc(*tensors(scores, labels), num_labels=N_TAGS, average=None)
    np.testing.assert_allclose(m.roc_auc(scores, labels), wanted, atol=1e-6)


@each_kind
def test_average_precision_is_that_of_sklearn(kind):
    scores, labels = make(kind)
    wanted = sklearn_metrics.average_precision_score(labels, scores, average=None)
    np.testing.assert_allclose(m.average_precision(scores, labels), wanted, atol=1e-12)


@each_kind
def test_average_precision_is_that_of_torchmetrics(kind, functional):
    scores, labels = make(kind)
    wanted = functional.multilabel_average_precision(*tensors(scores, labels), num_labels=N_TAGS, average=None)
    np.testing.assert_allclose(m.average_precision(scores, labels), wanted, atol=1e-6)


@each_kind
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(m.roc_auc, "roc_auc_score"), (m.average_precision, "average_precision_score")],
    ids=["roc", "precision"],
)
def test_pooled_is_the_micro_average_of_sklearn(kind, ours, theirs):
    scores, labels = make(kind)
    wanted = getattr(sklearn_metrics, theirs)(labels, scores, average="micro")
    assert ours(m.pooled(scores), m.pooled(labels))[0] == pytest.approx(wanted)


@each_kind
def test_transposed_scores_each_clip(kind):
    scores, labels = make(kind)
    can_be = m.can_be_scored(labels.T)
    wanted = [sklearn_metrics.roc_auc_score(y, s) for s, y in zip(scores[can_be], labels[can_be])]
    np.testing.assert_allclose(m.roc_auc(scores.T, labels.T)[can_be], wanted, atol=1e-12)


@pytest.mark.parametrize("value", [False, True], ids=["no positive", "no negative"])
@pytest.mark.parametrize("score", [m.roc_auc, m.average_precision], ids=["roc", "precision"])
def test_tag_of_one_class_cannot_be_scored(score, value):
    scores, labels = make("fine")
    labels[:, 2] = value
    assert np.flatnonzero(np.isnan(score(scores, labels))).tolist() == [2]


def test_mean_leaves_out_what_cannot_be_scored():
    assert m.mean_over_tags([0.5, np.nan, 1.0]) == 0.75


def test_mean_of_nothing_is_nan():
    assert np.isnan(m.mean_over_tags([np.nan]))


@pytest.mark.parametrize("score", [m.roc_auc, m.average_precision], ids=["roc", "precision"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 3)])
def test_too_few_cells_give_nan(score, shape):
    values = score(np.zeros(shape), np.zeros(shape, dtype=bool))
    assert values.shape == shape[1:]
    assert np.isnan(values).all()


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
def test_score_that_is_not_finite_is_refused(value):
    with pytest.raises(ConfigError, match=f"a score is {value}"):
        m.roc_auc([[value], [0.0]], [[True], [False]])


def test_shapes_that_differ_are_refused():
    with pytest.raises(ConfigError, match=r"the shapes is \[\(2, 1\), \(2, 2\)\]"):
        m.roc_auc(np.zeros((2, 1)), np.zeros((2, 2)))


@each_kind
def test_area_under_the_roc_curve_is_the_area(kind):
    scores, labels = make(kind)
    curve = m.roc_curve(scores[:, 3], labels[:, 3])
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(m.roc_auc(scores, labels)[3])


@each_kind
def test_steps_of_the_precision_curve_are_the_average_precision(kind):
    scores, labels = make(kind)
    curve = m.precision_recall_curve(scores[:, 3], labels[:, 3])
    assert np.sum(np.diff(curve.x, prepend=0) * curve.y) == pytest.approx(m.average_precision(scores, labels)[3])


@each_kind
def test_roc_curve_is_that_of_sklearn(kind):
    scores, labels = make(kind)
    x, y, _ = sklearn_metrics.roc_curve(labels[:, 3], scores[:, 3], drop_intermediate=False)
    curve = m.roc_curve(scores[:, 3], labels[:, 3])
    np.testing.assert_allclose([curve.x, curve.y], [x, y])


def test_curve_of_one_class_is_refused():
    with pytest.raises(ConfigError, match="clips with the tag and clips without it"):
        m.roc_curve([0.1, 0.2], [True, True])


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_score_at_the_threshold_is_no_decision():
    assert m.decide([[0.5, 0.500001]]).tolist() == [[False, True]]


def test_confusion_counts_cells():
    predicted = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=bool)
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 0]], dtype=bool)
    counts = m.Confusion.of(predicted, labels)
    cells = (counts.true_negative, counts.false_negative, counts.false_positive, counts.true_positive)
    assert np.stack(cells, axis=1).tolist() == [[1, 1, 1, 1], [2, 1, 1, 0]]


@each_kind
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_decisions_are_scored_as_by_sklearn(kind, name):
    scores, labels = make(kind)
    given = m.decide(scores)
    score = getattr(sklearn_metrics, f"{name}_score")
    wanted = score(labels, given, average=None, zero_division=0)
    np.testing.assert_allclose(getattr(m.Confusion.of(given, labels), name), wanted)


@each_kind
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_pooled_decisions_are_the_micro_average_of_sklearn(kind, name):
    scores, labels = make(kind)
    given = m.decide(scores)
    wanted = getattr(sklearn_metrics, f"{name}_score")(labels, given, average="micro", zero_division=0)
    assert getattr(m.Confusion.of(given, labels).pooled(), name)[0] == pytest.approx(wanted)


@each_kind
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("accuracy", "accuracy"), ("precision", "precision"), ("recall", "recall"), ("f1", "f1_score")],
)
def test_decisions_are_scored_as_by_torchmetrics(kind, name, theirs, functional):
    scores, labels = make(kind)
    score = getattr(functional, f"multilabel_{theirs}")
    wanted = score(*tensors(scores, labels), num_labels=N_TAGS, average=None)
    np.testing.assert_allclose(getattr(m.Confusion.of(m.decide(scores), labels), name), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_tag_that_no_clip_has_is_not_scored(name):
    counts = m.Confusion.of(np.array([[True], [False]]), np.array([[False], [False]]))
    assert np.isnan(getattr(counts, name)).all()


def test_tag_that_is_never_given_has_precision_zero():
    assert m.Confusion.of(np.array([[False]]), np.array([[True]])).precision.tolist() == [0.0]


def test_tag_that_is_never_given_may_have_its_frequency_as_precision():
    counts = m.Confusion.of(np.array([[False, True]]), np.array([[True, True]]))
    assert counts.precision_or([0.25, 0.25]).tolist() == [0.25, 1.0]


@each_kind
def test_best_threshold_has_the_best_f1(kind):
    scores, labels = make(kind)
    edges = np.concatenate([np.unique(scores) - 1e-9, [2.0]])
    every = [m.Confusion.of(m.decide(scores, edge), labels).f1 for edge in edges]
    found = m.Confusion.of(m.decide(scores, m.best_thresholds(scores, labels)), labels).f1
    np.testing.assert_allclose(found, np.max(every, axis=0))


def test_best_threshold_is_midway():
    assert m.best_thresholds([[0.9], [0.8], [0.2]], [[True], [True], [False]]).tolist() == [0.5]


def test_best_threshold_of_neighbours_still_parts_them():
    scores = np.array([[0.5], [np.nextafter(0.5, 1)]])
    assert m.decide(scores, m.best_thresholds(scores, [[False], [True]])).tolist() == [[False], [True]]


def test_best_threshold_of_equal_scores_takes_them():
    assert m.decide([[0.0], [0.0]], m.best_thresholds([[0.0], [0.0]], [[True], [False]])).all()


def test_best_threshold_without_a_positive_is_half():
    assert m.best_thresholds([[0.9], [0.1]], [[False], [False]]).tolist() == [0.5]


@pytest.mark.parametrize(("inclusive", "n_given"), [(False, 1), (True, 2)])
def test_sweep_counts_at_each_threshold(inclusive, n_given):
    (counts,) = m.sweep([[0.5, 1.0]], [[True, True]], [0.5], inclusive=inclusive)
    assert counts.true_positive.sum() == n_given


def test_annotation_takes_off_the_mean():
    scores = np.array([[0.9, 0.3, 0.1], [0.9, 0.1, 0.3]])
    assert m.annotate(scores, n=1).tolist() == [[False, True, False], [False, False, True]]


@pytest.mark.parametrize(("k", "share"), [(1, 0.5), (2, 0.5), (3, 1 / 3), (6, 1 / 6)])
def test_precision_at_k(k, share):
    scores, labels = [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]], [[True, True, False], [False, False, False]]
    assert m.precision_at(scores, labels, k) == pytest.approx(share)


# -- exactly one -------------------------------------------------------------------------------------------------------


@pytest.fixture
def exactly_one():
    random = np.random.default_rng(1)
    return np.round(random.random((50, 4)), 1), np.eye(4, dtype=bool)[random.integers(4, size=50)]


def test_confusion_matrix_is_that_of_sklearn(exactly_one):
    scores, labels = exactly_one
    wanted = sklearn_metrics.confusion_matrix(labels.argmax(axis=1), scores.argmax(axis=1))
    assert m.confusion_matrix(scores, labels).tolist() == wanted.tolist()


def test_confusion_matrix_is_that_of_torchmetrics(exactly_one, functional):
    scores, labels = exactly_one
    values, truth = tensors(scores, labels)
    wanted = functional.multiclass_confusion_matrix(values.argmax(dim=1), truth.argmax(dim=1), num_classes=4)
    assert m.confusion_matrix(scores, labels).tolist() == wanted.tolist()


def test_top_accuracy_is_that_of_sklearn(exactly_one):
    scores, labels = exactly_one
    wanted = sklearn_metrics.accuracy_score(labels.argmax(axis=1), scores.argmax(axis=1))
    assert m.top_accuracy(scores, labels) == pytest.approx(wanted)


def test_of_equal_scores_the_first_tag_is_given():
    assert m.confusion_matrix([[0.5, 0.5]], [[False, True]]).tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("labels", [[[True, True]], [[False, False]]], ids=["two", "none"])
def test_confusion_matrix_needs_exactly_one(labels):
    with pytest.raises(ConfigError, match="exactly one each"):
        m.confusion_matrix([[0.1, 0.2]], labels)


# -- scores as chances -------------------------------------------------------------------------------------------------


def test_root_mean_squared_error_is_that_of_sklearn():
    scores, labels = make("fine")
    wanted = sklearn_metrics.root_mean_squared_error(labels.ravel().astype(float), scores.ravel())
    assert m.root_mean_squared_error(scores, labels) == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["fine", "upside down", "two values", "all equal"])
@pytest.mark.parametrize("n_bins", [5, 10, 15])  # in torchmetrics, scores of 1 have a bin of their own
def test_calibration_error_is_that_of_torchmetrics(kind, n_bins, functional):
    scores, labels = make(kind)
    values, truth = tensors(scores.ravel(), labels.ravel())
    wanted = float(functional.binary_calibration_error(values, truth, n_bins=n_bins, norm="l1"))
    assert m.calibration(scores, labels, n_bins=n_bins).error == pytest.approx(wanted, abs=1e-6)


def test_calibration_bins_are_those_of_sklearn():
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    scores, labels = make("fine")
    shares, means = calibration_curve(labels.ravel(), scores.ravel(), n_bins=10)
    found = m.calibration(scores, labels, n_bins=10)
    shown = found.counts > 0
    np.testing.assert_allclose([found.shares[shown], found.mean_scores[shown]], [shares, means])


def test_scores_of_one_are_in_the_last_bin():
    assert m.calibration([1.0, 0.0], [True, False], n_bins=4).counts.tolist() == [1, 0, 0, 1]


def test_calibration_refuses_logits():
    with pytest.raises(ConfigError, match=r"a score is 1\.5; wanted a number from 0 to 1"):
        m.calibration([1.5], [True])


# -- intervals ---------------------------------------------------------------------------------------------------------


def drawn(bootstrap, draw, *arrays):
    """The clips of a draw, as often as it has them."""
    clips = np.repeat(np.arange(len(bootstrap.weights)), bootstrap.weights[:, draw])
    return tuple(array[clips] for array in arrays)


@each_kind
def test_areas_of_a_draw_are_those_of_its_clips(kind):
    scores, labels = make(kind)
    bootstrap = m.Bootstrap(N_CLIPS, n_resamples=5)
    some = drawn(bootstrap, 3, scores, labels)
    areas = np.stack([area[3] for area in bootstrap.areas(scores, labels)])
    np.testing.assert_allclose(areas, [m.roc_auc(*some), m.average_precision(*some)], atol=1e-12)


@each_kind
def test_pooled_areas_of_a_draw_are_those_of_its_clips(kind):
    scores, labels = make(kind)
    bootstrap = m.Bootstrap(N_CLIPS, n_resamples=5)
    some = [m.pooled(array) for array in drawn(bootstrap, 2, scores, labels)]
    areas = [area[2] for area in bootstrap.pooled_areas(scores, labels)]
    np.testing.assert_allclose(areas, [m.roc_auc(*some)[0], m.average_precision(*some)[0]], atol=1e-12)


def test_confusion_of_a_draw_is_that_of_its_clips():
    scores, labels = make("fine")
    bootstrap = m.Bootstrap(N_CLIPS, n_resamples=5)
    given = m.decide(scores)
    np.testing.assert_allclose(
        bootstrap.confusion(given, labels).f1[4], m.Confusion.of(*drawn(bootstrap, 4, given, labels)).f1
    )


def test_tag_of_one_class_has_no_interval():
    scores, labels = make("fine")
    labels[:, 0] = False
    roc, _ = m.Bootstrap(N_CLIPS, n_resamples=5).areas(scores, labels)
    assert np.isnan(m.interval(roc[:, 0], np.nan)).all()


def test_draw_without_the_tag_is_left_out():
    labels = np.zeros((3, 1), dtype=bool)
    labels[0] = True
    bootstrap = m.Bootstrap(3, n_resamples=200)
    roc, _ = bootstrap.areas(np.array([[0.9], [0.5], [0.1]]), labels)
    lacking = (bootstrap.weights[0] == 0) | (bootstrap.weights[1:].sum(axis=0) == 0)
    assert np.isnan(roc[:, 0]).tolist() == lacking.tolist()


def test_equal_seeds_draw_the_same_clips():
    assert (m.Bootstrap(50, n_resamples=3, seed=7).weights == m.Bootstrap(50, n_resamples=3, seed=7).weights).all()


def test_every_draw_has_as_many_clips():
    assert (m.Bootstrap(50, n_resamples=20).weights.sum(axis=0) == 50).all()


def test_interval_of_one_draw_is_around_the_number():
    assert m.interval([0.6], 0.5) == (0.4, 0.5)


def test_interval_stays_within_0_and_1():
    low, high = m.interval(np.linspace(0.8, 1.0, 100), 0.99)
    assert low <= 0.99 <= high <= 1.0


def test_other_number_of_clips_is_refused():
    with pytest.raises(ConfigError, match="the number of clips is 120; wanted 3"):
        m.Bootstrap(3, n_resamples=1).areas(*make("fine"))


def test_bootstrap_of_no_clips_gives_nan():
    roc, _ = m.Bootstrap(0, n_resamples=2).areas(np.zeros((0, 3)), np.zeros((0, 3), dtype=bool))
    assert np.isnan(roc).all()


@pytest.mark.slow
def test_interval_of_a_macro_average_holds_the_truth_in_most_tests():
    def simulate(random, n_clips):
        labels = random.random((n_clips, 10)) < 0.05
        return random.standard_normal(labels.shape) + 1.5 * labels, labels

    truth = m.mean_over_tags(m.average_precision(*simulate(np.random.default_rng(0), 200_000)))

    def holds(seed):
        scores, labels = simulate(np.random.default_rng(seed), 500)
        _, draws = m.Bootstrap(500, n_resamples=300, seed=seed).areas(scores, labels)
        low, high = m.interval(draws.mean(axis=1), m.mean_over_tags(m.average_precision(scores, labels)))
        return low <= truth <= high

    assert np.mean([holds(seed) for seed in range(1, 101)]) >= 0.85


# -- folds -------------------------------------------------------------------------------------------------------------


def test_folds_have_mean_and_population_deviation():
    found = m.mean_over_folds([{"accuracy": 0.5, "other": 1.0}, {"accuracy": 0.7}])
    assert set(found) == {"accuracy"}
    assert (found["accuracy"].mean, found["accuracy"].std) == (pytest.approx(0.6), pytest.approx(0.1))


def test_fold_without_a_number_is_not_counted():
    assert m.mean_over_folds([{"roc_auc": 0.5}, {"roc_auc": np.nan}])["roc_auc"].n_folds == 1


def test_no_fold_is_refused():
    with pytest.raises(ConfigError, match="no fold"):
        m.mean_over_folds([])
