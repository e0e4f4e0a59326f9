"""What the study on random CNNs found beside what was published: choice of settings, tables, claims, picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from taggram.studies._base import Cell, Claim, Row
from taggram.studies._tables import Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MFCC = "mfcc"
TITLES = {
    "vgg": "VGG",
    "7x96": "7 x 96",
    "7x86": "7 x 86",
    "timbral": "Timbral",
    "temporal": "Temporal",
    "timbral_temporal": "Timbral + temporal",
    "sample_level": "Sample-level",
    "frame_level": "Frame-level",
    "frame_level_many": "Frame-level, many",
    MFCC: "MFCC",
}
NETWORKS = tuple(method for method in TITLES if method != MFCC)
CLASSIFIERS = {"svm": "SVM", "elm": "ELM"}
DATA = {"gtzan": "GTZAN", "extended_ballroom": "Extended Ballroom", "urbansound8k": "UrbanSound8K"}

CHART = "the bar chart of Pons and Serra, ICASSP 2019, measured in pixels, ±{} points"
READ_TO = {"gtzan": 0.25, "extended_ballroom": 0.35, "urbansound8k": 0.3}  # points that a pixel leaves open
CHARTS = {  # data and classifier: mean and half error bar of the networks in percent, in the order of the charts
    ("gtzan", "svm"): "59.6 2.7, 45.1 0.6, 53.2 1.1, 52.5 0.7, 44.0 0.8, 56.8 1.6, 50.6 0.7, 39.9 0.5, 44.4 2.0",
    ("gtzan", "elm"): "43.7 1.2, 43.0 1.4, 42.3 3.4, 46.8 3.3, 36.6 1.5, 50.1 2.6, 48.0 1.0, 37.8 2.6, 39.2 1.4",
    ("extended_ballroom", "svm"): (
        "71.4 0.5, 60.6 0.4, 65.3 0.3, 64.3 0.3, 89.9 0.3, 81.5 0.3, 71.1 0.6, 38.7 0.3, 41.4 0.3"
    ),
    ("extended_ballroom", "elm"): (
        "69.7 0.3, 56.2 0.7, 57.6 0.3, 56.9 0.7, 89.9 0.2, 78.5 0.6, 65.7 0.4, 38.7 0.3, 40.8 0.6"
    ),
    ("urbansound8k", "svm"): "70.8 0.3, 57.0 0.3, 63.1 0.3, 62.5 0.4, -, 64.2 0.4, 58.6 0.3, 38.5 0.4, 45.1 0.3",
    ("urbansound8k", "elm"): "66.8 0.5, 57.8 0.8, 59.7 0.9, 60.7 0.7, -, 62.9 0.5, 57.6 0.8, 42.0 0.5, 46.7 0.2",
}
BASELINES = {  # accuracy of MFCC with the SVM in percent, and where it stands
    "gtzan": (53.44, "slides of the authors"),
    "extended_ballroom": (63.3, f"the line in {CHART.format(0.35)}"),
    "urbansound8k": (65.6, f"the line in {CHART.format(0.3)}"),
}
CHANCE = "chance"


def published_rows() -> list[dict[str, Any]]:
    """List what was published, of the large set of networks.

    Returns:
        Rows with data, method, classifier, accuracy and, where there is one, deviation, from 0 to 1, and source.
    """
    rows = []
    for (data, classifier), bars in CHARTS.items():
        for method, bar in zip(NETWORKS, bars.split(", ")):
            if bar != "-":
                accuracy, deviation = (round(float(number) / 100, 4) for number in bar.split())
                facts = {"data": data, "method": method, "classifier": classifier, "accuracy": accuracy}
                rows.append({**facts, "deviation": deviation, "source": CHART.format(READ_TO[data])})
    for data, (accuracy, source) in BASELINES.items():
        facts = {"data": data, "method": MFCC, "classifier": "svm", "accuracy": round(accuracy / 100, 4)}
        rows.append({**facts, "source": source})
    return rows


PUBLISHED = published_rows()


def choose(measured: Sequence[tuple[Cell, Mapping[str, Any]]], by: str) -> list[Row]:
    """Choose a point of the grid for each method, classifier and run: that with the best mean over the folds.

    Args:
        measured: cells, and in each "grid", whose points are the same in the same order.
        by: the part whose accuracy decides, valid or test; the one of test is what is reported.

    Returns:
        A row a cell, in their order.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for cell, values in measured:
        groups.setdefault(_group(cell), []).append(values)
    best = {group: _best(cells, by) for group, cells in groups.items()}
    rows = []
    for cell, values in measured:
        point = values["grid"][best[_group(cell)]]
        facts = {name: value for name, value in values.items() if name not in ("grid", "best_accuracy")}
        accuracy = {f"{part}_accuracy": value for part, value in point["accuracy"].items() if part != "test"}
        n_open = sum(not one["is_converged"] for one in values["grid"])
        rows.append(
            cell.row({
                "accuracy": point["accuracy"]["test"], "params": point["params"], **accuracy, "chosen_by": by,
                "is_converged": point["is_converged"], "n_not_converged": n_open, **facts,
            })
        )  # fmt: skip
    return rows


class Scores:
    """Accuracies by method and classifier: one a run, the mean over its folds.

    Args:
        rows: as `choose` gives them.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        runs: dict[tuple[str, str], dict[int, list[float]]] = {}
        for row in rows:
            runs.setdefault((row["method"], row["classifier"]), {}).setdefault(row["run"], []).append(row["accuracy"])
        self._runs = {key: [fmean(folds) for folds in of_key.values()] for key, of_key in runs.items()}
        self.classifiers = [name for name in CLASSIFIERS if any(key[1] == name for key in runs)]

    def of(self, method: str, classifier: str) -> list[float]:
        """Give the accuracy of each run, from 0 to 1; maybe none."""
        return self._runs.get((method, classifier), [])

    def means(self, methods: Sequence[str], classifier: str) -> dict[str, float]:
        """Give the mean accuracy of those methods that were measured."""
        return {method: fmean(values) for method in methods if (values := self.of(method, classifier))}

    def all_means(self, methods: Sequence[str]) -> dict[str, dict[str, float]]:
        """Give the means by classifier, where all methods were measured."""
        found = {classifier: self.means(methods, classifier) for classifier in self.classifiers}
        return {classifier: means for classifier, means in found.items() if len(means) == len(methods)}


def tables_of(rows: Sequence[Row], data: str, by: str) -> list[Table]:
    """Make the table of what was measured and that of what was published.

    Args:
        rows: as `choose` gives them.
        data: name of the data set.
        by: the part whose accuracy decided.

    Returns:
        The tables, ours first.
    """
    scores, lengths = Scores(rows), {row["method"]: row["n_features"] for row in rows}
    is_papers = data in DATA
    columns = ["network", "features", *CLASSIFIERS.values(), *(f"{name}, published" for name in CLASSIFIERS.values())]
    lines = []
    for method, title in TITLES.items():
        if method in lengths:
            ours = [percent(scores.of(method, classifier)) for classifier in CLASSIFIERS]
            theirs = [_bar(data, method, classifier) for classifier in CLASSIFIERS]
            lines.append([title, str(lengths[method]), *ours, *(theirs if is_papers else [])])
    table = Table("Accuracy, %", columns[: len(columns) if is_papers else 4], lines, _note(rows, by))
    lines = [
        [title, *(_bar(name, method, classifier) for name in DATA for classifier in CLASSIFIERS)]
        for method, title in TITLES.items()
    ]
    columns = ["network", *(f"{title}, {name}" for title in DATA.values() for name in CLASSIFIERS.values())]
    note = (
        f"Networks: {CHART.format('0.25 to 0.35')}; half of the error bar stands behind the mean. They have 3584 or "
        "3585 features, MFCC has 120. MFCC: of GTZAN slides of the authors, of the others the lines in the charts. The "
        "chart of UrbanSound8K has no bar for Temporal."
    )
    return [table, Table("Published, %", columns, lines, note)]


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """Hold what the paper says against what was measured.

    Args:
        rows: as `choose` gives them.

    Returns:
        The claims.
    """
    scores = Scores(rows)
    waveform = ("sample_level", "frame_level_many", "frame_level")
    best_of = "is the best of the networks"
    return [
        _ordered(scores, "Of the networks on waveforms, sample-level beats frame-level, many and one", waveform),
        _ordered(scores, "7 x 86 beats 7 x 96 with the SVM", ("7x86", "7x96"), ["svm"]),
        _best_network(scores, f"VGG {best_of} (said of UrbanSound8K, which is no music)", "vgg"),
        _above_mfcc(scores),
        _best_network(scores, f"Temporal {best_of} (said of Extended Ballroom)", "temporal"),
        _svm_above_elm(scores),
    ]


def draw(rows: Sequence[Row], title: str, n_classes: int) -> Figure:
    """Draw the bar chart of the paper: networks and classifiers, with MFCC and chance as lines.

    Args:
        rows: as `choose` gives them.
        title: stands on top.
        n_classes: of the data.

    Returns:
        The figure.
    """
    from taggram.studies._pictures import draw_bars

    scores = Scores(rows)
    methods = [method for method in NETWORKS if any(scores.of(method, name) for name in CLASSIFIERS)]
    lines = {f"MFCC + {CLASSIFIERS[name]}": fmean(values) for name in CLASSIFIERS if (values := scores.of(MFCC, name))}
    series = {CLASSIFIERS[name]: [scores.of(method, name) for method in methods] for name in scores.classifiers}
    return draw_bars(
        [TITLES[method] for method in methods], series, title=title, lines={**lines, CHANCE: 1 / n_classes}
    )


# -- inside ------------------------------------------------------------------------------------------------------------


def _group(cell: Cell) -> tuple[Any, ...]:
    """Name the cells that share a choice."""
    return cell.method, cell.details["classifier"], cell.run


def _best(cells: Sequence[Mapping[str, Any]], by: str) -> int:
    """Give the place of the first point whose mean over the cells is the highest."""
    n_points = min(len(values["grid"]) for values in cells)
    means = [fmean(values["grid"][point]["accuracy"][by] for values in cells) for point in range(n_points)]
    return means.index(max(means))


def _bar(data: str, method: str, classifier: str) -> str:
    """Write a published number."""
    for row in PUBLISHED:
        if (row["data"], row["method"], row["classifier"]) == (data, method, classifier):
            return " ± ".join(f"{100 * row[name]:.1f}" for name in ("accuracy", "deviation") if name in row)
    return "-"


def _note(rows: Sequence[Row], by: str) -> str:
    """Say what the numbers are, and what could not be done."""
    n_runs = len({row["run"] for row in rows})
    parts = [f"Mean over {n_runs} runs, each with weights of its own, ± deviation." if n_runs > 1 else "One run."]
    if by == "valid":
        parts.append("The settings of the classifiers were chosen on the clips for validation.")
    else:
        parts.append(
            "The mean over the folds also chose the settings of the classifiers, as in the paper, so it is too high."
        )
    if n_open := sum(row["n_not_converged"] for row in rows):
        n_chosen = sum(not row["is_converged"] for row in rows)
        parts.append(
            f"{n_open} machines of the grids had not converged after a million steps and were taken as they were then; "
            f"{n_chosen} of the chosen ones are among them."
        )
    return " ".join(parts)


def _figures(means: Mapping[str, Mapping[str, float]]) -> str:
    """Write means by classifier."""
    words = []
    for classifier, of_it in means.items():
        listed = ", ".join(f"{TITLES[method]} {100 * mean:.1f}" for method, mean in of_it.items())
        words.append(f"{CLASSIFIERS[classifier]}: {listed}")
    return f"{'; '.join(words)}." if words else ""


def _ordered(scores: Scores, words: str, methods: Sequence[str], classifiers: Sequence[str] = ()) -> Claim:
    """Look whether the first method is above all others, with every classifier that all were measured with."""
    means = scores.all_means(methods)
    means = {name: of_it for name, of_it in means.items() if not classifiers or name in classifiers}
    shows = all(of_it[methods[0]] > max(of_it[method] for method in methods[1:]) for of_it in means.values())
    return Claim(words, shows if means else None, _figures(means))


def _best_network(scores: Scores, words: str, method: str) -> Claim:
    """Look whether a network is above all others, with every classifier."""
    means = {name: scores.means(NETWORKS, name) for name in scores.classifiers}
    means = {name: of_it for name, of_it in means.items() if len(of_it) >= len(NETWORKS) - 1 and method in of_it}
    shows = all(max(of_it, key=lambda one: of_it[one]) == method for of_it in means.values())
    best = {name: dict(sorted(of_it.items(), key=lambda one: -one[1])[:3]) for name, of_it in means.items()}
    best = {name: {**of_it, method: means[name][method]} for name, of_it in best.items()}
    return Claim(words, shows if means else None, _figures(best))


def _above_mfcc(scores: Scores) -> Claim:
    """Look which networks are above the MFCCs, with the SVM."""
    words = "With the SVM, VGG alone is above MFCC (said of UrbanSound8K)"
    means, baseline = scores.means(NETWORKS, "svm"), scores.of(MFCC, "svm")
    if "vgg" not in means or not baseline:
        return Claim(words, None)
    above = [TITLES[method] for method, mean in means.items() if mean > fmean(baseline)]
    figures = f"MFCC {100 * fmean(baseline):.1f}; above it: {', '.join(above) or 'none'}."
    return Claim(words, above == [TITLES["vgg"]], figures)


def _svm_above_elm(scores: Scores) -> Claim:
    """Compare the classifiers, network by network."""
    words = "The SVM is not below the ELM for any network (said of both music sets)"
    both = scores.means(NETWORKS, "svm"), scores.means(NETWORKS, "elm")
    methods = [method for method in NETWORKS if all(method in means for means in both)]
    below = [TITLES[method] for method in methods if both[0][method] < both[1][method]]
    figures = f"Below it: {', '.join(below) or 'none'} of {len(methods)}."
    return Claim(words, not below if methods else None, figures if methods else "")
