"""Tables, pictures and claims of the study on artist labels."""

from __future__ import annotations

import itertools
import math
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
BY_ARTISTS = ("basic", "siamese")  # methods that learn artists
LEVELS = ("tags", "untrained", "mfcc")  # those that do not
TASKS = ("classes", "unseen", "tags")
COLUMNS = {**CLASSIFIERS, SVM: "SVM", RETRIEVAL: "retrieval, MAP", DENSE: "two dense layers, ROC-AUC"}
SCORES = {RETRIEVAL: "mean_average_precision", DENSE: "macro_roc_auc"}  # of others, it is the accuracy
LEVEL = 0.01  # of accuracy: who is no further behind is on a level
RISING = 0.75  # of all pairs of numbers of artists, in which the larger one is to be better
FEW = 1000  # clips for testing, below which a claim says how many there are
LEAST = 100  # from which on a claim can be told
NORMAL = 1.96  # deviations to either side that hold 95 % of a normal distribution
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

    def interval(self, method: str, task: str, classifier: str, artists: int) -> tuple[float, float] | None:
        """Give the 95 % interval over clips of the mean of `of`, 0 to 1; None where the cells do not say.

        That of accuracies is the interval of a share.
        """
        found = of_method(self.rows, method, task=task, classifier=classifier)
        found = [row for row in found if row.get("artists") == artists]
        if name := SCORES.get(classifier):
            ends = [row[f"{name}_interval"] for row in found if f"{name}_interval" in row]
            return (fmean(low for low, _ in ends), fmean(high for _, high in ends)) if ends else None
        n_test = _n_test(found)
        return _share_interval(fmean(float(row["accuracy"]) for row in found), n_test) if n_test else None

    def n_test(self, task: str, names: Sequence[str]) -> int:
        """Count the clips that each of some classifiers was tested on at least in a run, over all folds.

        0 is where that is not known.
        """
        rows = [row for row in self.rows if row["task"] == task]
        return min((_n_test([row for row in rows if row["classifier"] == name]) for name in names), default=0)

    def claim(self, words: str, shows: bool, figures: str, task: str, names: Sequence[str]) -> Claim:
        """Make a claim on what was measured; one on a few clips says how many, one on very few cannot be told.

        Args:
            words: the claim.
            shows: whether the figures say so.
            figures: these.
            task: whose they are.
            names: the classifiers.

        Returns:
            The claim.
        """
        n_test = self.n_test(task, names)
        if 0 < n_test < LEAST:
            return Claim(words, None, f"{figures} {n_test} clips for testing, fewer than {LEAST}, say too little.")
        few = f" Only {n_test} clips for testing: some points may be chance." if 0 < n_test < FEW else ""
        return Claim(words, shows, figures + few)

    def has_artists(self, task: str, classifier: str) -> bool:
        """Say whether a classifier was tried on features that were learned from artists."""
        return any(self.of(method, task, classifier, number) for method in BY_ARTISTS for number in self.artists)

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
        named: titles of the data sets, by setting.

    Returns:
        A title a task.
    """
    titles = {"unseen": f"Artists of {named['data']} that no network learned from"}
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
        *[_more_artists(scores, method) for method in BY_ARTISTS],
        _level_of_tags(scores),
        _siamese_retrieves(scores),
        *[_beats_untrained(scores, method) for method in BY_ARTISTS],
    ]


def draw(rows: Sequence[Row], titles: Mapping[str, str]) -> dict[str, Figure]:
    """Draw accuracy, retrieval and ROC-AUC against the number of artists.

    Args:
        rows: as `Study.rows` gives them.
        titles: of the tasks.

    Returns:
        A figure a task and score, where artists were learned.
    """
    from taggram.studies._artist_pictures import draw_by_artists

    scores, figures = Scores(rows), {}
    for task in scores.tasks:
        names = scores.classifiers(task)
        for name, unit, group in (
            ("accuracy", "accuracy, %", [one for one in names if one in CLASSIFIERS]),
            ("retrieval", "mean average precision, %", [one for one in names if one == RETRIEVAL]),
            ("roc_auc", "macro ROC-AUC, %", [one for one in names if one == DENSE]),
        ):
            there = [one for one in group if scores.has_artists(task, one)]
            if there:
                title = f"{titles[task]}: {name.replace('_', '-')}"
                figures[f"{task}_{name}"] = draw_by_artists(scores, task, there, title=title, unit=unit)
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


def _n_test(rows: Sequence[Row]) -> int:
    """Count the clips for testing of a cell, over its folds; the most where there are several cells."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        counts[row["method"], row.get("artists"), row["classifier"], row["run"]] += row.get("n_test", 0)
    return max(counts.values(), default=0)


def _share_interval(share: float, n: int) -> tuple[float, float]:
    """Give the 95 % interval of a share of so many clips (Wilson 1927)."""
    width = NORMAL**2 / n
    middle, half = (share + width / 2) / (1 + width), NORMAL * math.sqrt(share * (1 - share) / n + width / (4 * n))
    return max(0.0, middle - half / (1 + width)), min(1.0, middle + half / (1 + width))


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
    return scores.claim(words, fmean(rises) >= RISING, text, task, names)


def _level_of_tags(scores: Scores) -> Claim:
    words = "They reach the level of features that were learned from tags"
    task = _task(scores)
    names = _names(scores, task)
    wanted = _mean(scores, "tags", task, None, names)
    means = {
        f"{METHODS[method]}, {number} artists": mean
        for method in BY_ARTISTS
        for number in scores.artists[-1:]
        if (mean := _mean(scores, method, task, number, names)) is not None
    }
    if wanted is None or not means:
        return Claim(words, None)
    figures = ", ".join(f"{name} {100 * mean:.1f}" for name, mean in means.items())
    text = f"Mean over classifiers: tags {100 * wanted:.1f}; {figures}. A point behind counts as on a level."
    return scores.claim(words, max(means.values()) >= wanted - LEVEL, text, task, names)


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
    return scores.claim(words, mean[0] > mean[1], text, task, [RETRIEVAL])


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
    return scores.claim(words, all(one > two for one, two in pairs.values()), text, task, list(pairs))
