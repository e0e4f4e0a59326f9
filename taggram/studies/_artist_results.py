"""Tables, pictures and claims of the study on artist labels."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from taggram.studies._artist_transfer import CLASSIFIERS, DENSE, RETRIEVAL, SVM
from taggram.studies._base import Claim, Row, of_method
from taggram.studies._tables import Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = {
    "basic": "artists, classifier",
    "siamese": "artists, siamese",
    "tags": "tags",
    "untrained": "untrained",
    "mfcc": "MFCC statistics",
}
TASKS = ("classes", "unseen", "tags")
COLUMNS = {**CLASSIFIERS, SVM: "SVM", RETRIEVAL: "retrieval, MAP", DENSE: "two dense layers, ROC-AUC"}
SCORES = {RETRIEVAL: "mean_average_precision", DENSE: "macro_roc_auc"}  # of others, it is the accuracy
LEVEL = 0.01  # of accuracy: who is no further behind is on a level
RISING = 0.75  # of all pairs of numbers of artists, in which the larger one is to be better
FEW = 1000  # clips for testing, below which a claim says how many there are
SOURCE = "Lee and Nam 2017, figures of the authors, as transcribed by others"
PUBLISHED = tuple(
    {"method": method, "data": "gtzan, fault-filtered", "accuracy": accuracy, "source": SOURCE}
    for method, accuracy in (
        ("2-D CNN (Kereliuk)", 0.632),
        ("temporal features", 0.659),
        ("multi-level and multi-scale, learned from tags", 0.720),
    )
)

Values = list[float]


def score_name(classifier: str) -> str:
    """Name the score of a classifier in `results.json`."""
    return SCORES.get(classifier, "accuracy")


class Scores:
    """What was measured, by method, number of artists, task and classifier.

    Args:
        rows: of the study.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = [row for row in rows if "classifier" in row]
        self.artists = sorted({int(row["artists"]) for row in self.rows if row.get("artists")})
        self.tasks = [task for task in TASKS if any(row["task"] == task for row in self.rows)]

    def of(self, method: str, task: str, classifier: str, artists: int | None = None) -> Values:
        """Give the scores over folds and runs, 0 to 1; maybe none."""
        found = of_method(self.rows, method, task=task, classifier=classifier)
        return [float(row[score_name(classifier)]) for row in found if row.get("artists") == artists]

    def few(self, task: str, names: Sequence[str]) -> str:
        """Say how many clips classifiers were tested on in a run, over all folds, where they are few; else nothing."""
        counts: Counter[tuple[Any, ...]] = Counter()
        for row in self.rows:
            if row["task"] == task and row["classifier"] in names:
                place = (row["method"], row.get("artists"), row["classifier"], row["run"])
                counts[place] += row.get("n_test", 0)
        n_test = max(counts.values(), default=0)
        return f" Only {n_test} clips for testing: some points may be chance." if 0 < n_test < FEW else ""

    def classifiers(self, task: str) -> list[str]:
        """List those that something was measured with, in order."""
        return [name for name in COLUMNS if any((row["task"], row["classifier"]) == (task, name) for row in self.rows)]

    def systems(self, task: str) -> list[tuple[str, int | None]]:
        """List methods and numbers of artists that were measured, in order."""
        there = {(row["method"], row.get("artists")) for row in self.rows if row["task"] == task}
        order = list(METHODS)
        return sorted(there, key=lambda one: (order.index(one[0]), one[1] or 0))


def titles_of(facts: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str]:
    """Name the tasks.

    Args:
        facts: about the data.
        named: titles of the other data sets, by setting.

    Returns:
        A title a task.
    """
    titles = {"unseen": "Artists that no network learned from"}
    if "target" in named:
        titles["classes"] = f"{len(facts['target']['classes'])} classes of {named['target']}"
    if "tagged" in named:
        titles["tags"] = f"{len(facts['tagged']['tags'])} tags of {named['tagged']}"
    return titles


def tables_of(rows: Sequence[Row], titles: Mapping[str, str]) -> list[Table]:
    """Make a table a task, one of the trainings, and one of what others published.

    Args:
        rows: as `Study.rows` gives them.
        titles: of the tasks.

    Returns:
        The tables.
    """
    scores = Scores(rows)
    tables = [_task_table(scores, task, titles[task]) for task in scores.tasks]
    trained = [row for row in rows if row.get("task") == "training"]
    if trained:
        tables.append(_training_table(trained))
    known = [[str(row["method"]), f"{100 * float(str(row['accuracy'])):.1f}"] for row in PUBLISHED]
    note = (
        f"{SOURCE}. The figures of the paper itself could not be checked, and are not given; GTZAN is data=msd "
        "target=gtzan here."
    )
    return [*tables, Table("Published of others, GTZAN, accuracy, %", ["features", "accuracy"], known, note)]


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the paper says against what was measured.

    Args:
        rows: as `Study.rows` gives them.

    Returns:
        The claims, and whether training is of use at all.
    """
    scores = Scores(rows)
    return [
        *[_more_artists(scores, method) for method in ("basic", "siamese")],
        _level_of_tags(scores),
        _siamese_retrieves(scores),
        *[_beats_untrained(scores, method) for method in ("basic", "siamese")],
    ]


def draw(rows: Sequence[Row], titles: Mapping[str, str]) -> dict[str, Figure]:
    """Draw accuracy, retrieval and ROC-AUC against the number of artists.

    Args:
        rows: as `Study.rows` gives them.
        titles: of the tasks.

    Returns:
        A figure a task and score, where artists were learned.
    """
    from taggram.studies._pictures import draw_accuracy_curves

    scores, figures = Scores(rows), {}
    for task in scores.tasks:
        names = scores.classifiers(task)
        for title, unit, group in (
            ("accuracy", "accuracy, %", [name for name in names if name in CLASSIFIERS]),
            ("retrieval", "mean average precision, %", [name for name in names if name == RETRIEVAL]),
            ("roc_auc", "macro ROC-AUC, %", [name for name in names if name == DENSE]),
        ):
            curves: dict[str, dict[float, Values]] = {
                f"{method}, {COLUMNS[name].partition(',')[0]}": points
                for method in ("basic", "siamese")
                for name in group
                if (points := {float(number): scores.of(method, task, name, number) for number in scores.artists})
                and any(points.values())
            }
            if curves:
                lines = _levels(scores, task, group)
                heading = f"{titles[task]}: {title.replace('_', '-')}"
                figures[f"{task}_{title}"] = draw_accuracy_curves(
                    curves, title=heading, x="artists that were learned", unit=unit, lines=lines
                )
    return figures


# -- inside ------------------------------------------------------------------------------------------------------------


def _task_table(scores: Scores, task: str, title: str) -> Table:
    names = scores.classifiers(task)
    lines = [
        [METHODS[method], str(artists or "-"), *(percent(scores.of(method, task, name, artists)) for name in names)]
        for method, artists in scores.systems(task)
    ]
    unit = "%" if task == "tags" else "accuracy and mean average precision, %"
    note = "Mean over runs and folds, ± deviation where there are several."
    if RETRIEVAL in names:
        note += " Retrieval asks for each clip of all parts among the others, by the cosine of the features."
    columns = ["learned from", "artists", *(COLUMNS[name] for name in names)]
    return Table(f"{title}, {unit}", columns, lines, note)


def _training_table(rows: Sequence[Row]) -> Table:
    lines = []
    for row in sorted(rows, key=lambda row: (list(METHODS).index(row["method"]), row.get("artists") or 0, row["run"])):
        known, auc = row["known_accuracy"], row["valid_auc"]
        lines.append([
            METHODS[row["method"]], str(row.get("artists") or "-"), f"{row['parameters']:,}", f"{row['n_songs']:,}",
            f"{row['best_epoch']} of {row['n_epochs']}", f"{row['valid_loss']:.3f}",
            "-" if known is None else percent([known]), "-" if auc is None else percent([auc]),
        ])  # fmt: skip
    columns = (
        "learned from", "artists", "parameters", "songs", "best epoch", "validation loss",
        "artists of test songs, %", "ROC-AUC of tags, %",
    )  # fmt: skip
    note = (
        "Validation loss: cross-entropy with its penalty, of the siamese network the hinge an anchor. The artist of a "
        "test song is the one with the highest mean probability; the ROC-AUC is that of validation."
    )
    return Table("The trainings", columns, lines, note)


def _levels(scores: Scores, task: str, group: Sequence[str]) -> dict[str, float]:
    """Give the levels of what learned no artists: the best of the classifiers that are drawn."""
    levels = {}
    for method in ("tags", "untrained", "mfcc"):
        means = [fmean(found) for name in (*group, SVM) if (found := scores.of(method, task, name))]
        if means and not (method == "mfcc" and group == [RETRIEVAL]):
            levels[METHODS[method]] = max(means)
    return levels


def _task(scores: Scores) -> str:
    """Give the task that the claims are about: classes, where that was measured."""
    return scores.tasks[0] if scores.tasks else TASKS[0]


def _mean(scores: Scores, method: str, task: str, artists: int | None, names: Sequence[str]) -> float | None:
    """Give the mean over classifiers, or None where one is missing."""
    found = [scores.of(method, task, name, artists) for name in names]
    return fmean(fmean(values) for values in found) if found and all(found) else None


def _names(scores: Scores, task: str) -> list[str]:
    """List what a claim on accuracy looks at."""
    return [name for name in scores.classifiers(task) if name in (*CLASSIFIERS, DENSE)]


def _more_artists(scores: Scores, method: str) -> Claim:
    words = f"Features are better the more artists are learned ({METHODS[method]})"
    task = _task(scores)
    names = _names(scores, task)
    means = {
        number: mean for number in scores.artists if (mean := _mean(scores, method, task, number, names)) is not None
    }
    if len(means) < 2:
        return Claim(words, None)
    figures = ", ".join(f"{number} artists {100 * mean:.1f}" for number, mean in means.items())
    rises = [more > fewer for fewer, more in itertools.combinations(means.values(), 2)]  # by number of artists
    text = (
        f"Mean over classifiers: {figures}. The larger number is better in {sum(rises)} of {len(rises)} pairs, and at "
        f"least {RISING:.0%} are wanted."
    )
    return Claim(words, fmean(rises) >= RISING, text + scores.few(task, names))


def _level_of_tags(scores: Scores) -> Claim:
    words = "They reach the level of features that were learned from tags"
    task = _task(scores)
    names = _names(scores, task)
    wanted = _mean(scores, "tags", task, None, names)
    means = {
        f"{METHODS[method]}, {number} artists": mean
        for method in ("basic", "siamese")
        for number in scores.artists[-1:]
        if (mean := _mean(scores, method, task, number, names)) is not None
    }
    if wanted is None or not means:
        return Claim(words, None)
    figures = ", ".join(f"{name} {100 * mean:.1f}" for name, mean in means.items())
    text = f"Mean over classifiers: tags {100 * wanted:.1f}; {figures}. A point behind counts as on a level."
    return Claim(words, max(means.values()) >= wanted - LEVEL, text + scores.few(task, names))


def _siamese_retrieves(scores: Scores) -> Claim:
    words = "The siamese network is better at retrieval than the classifier"
    task = _task(scores)
    pairs = {
        number: (_mean(scores, "siamese", task, number, [RETRIEVAL]), _mean(scores, "basic", task, number, [RETRIEVAL]))
        for number in scores.artists
    }
    known = {number: (one, other) for number, (one, other) in pairs.items() if one is not None and other is not None}
    if not known:
        return Claim(words, None)
    figures = ", ".join(
        f"{number} artists {100 * one:.1f} and {100 * other:.1f}" for number, (one, other) in known.items()
    )
    mean = [fmean(both) for both in zip(*known.values())]
    text = f"Mean average precision, siamese and classifier: {figures}."
    return Claim(words, mean[0] > mean[1], text + scores.few(task, [RETRIEVAL]))


def _beats_untrained(scores: Scores, method: str) -> Claim:
    words = f"They are better than those of the same network untrained ({METHODS[method]}; not said in the paper)"
    task = _task(scores)
    number = max((one for one in scores.artists if scores.of(method, task, RETRIEVAL, one)), default=None)
    pairs = {
        name: (fmean(mine), fmean(other))
        for name in (*_names(scores, task), RETRIEVAL)
        if (mine := scores.of(method, task, name, number)) and (other := scores.of("untrained", task, name))
    }
    if not pairs:
        return Claim(words, None)
    figures = ", ".join(f"{COLUMNS[name]} {100 * one:.1f} and {100 * two:.1f}" for name, (one, two) in pairs.items())
    text = f"With {number} artists, trained and untrained: {figures}."
    return Claim(words, all(one > two for one, two in pairs.values()), text + scores.few(task, list(pairs)))
