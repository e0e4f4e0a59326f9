"""What the study on levels and scales found beside what was published: tables, claims, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, Self

from taggram.datasets.gtzan import GENRES
from taggram.studies._base import Claim, Row, of_method
from taggram.studies._claims import mean_interval
from taggram.studies._multilevel_nets import ALL, LENGTHS, MIDDLE, System
from taggram.studies._tables import Table
from taggram.vocabulary import MSD50, MTT50_SAMPLECNN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOCAL, TAGGER, LAST_SVM, MFCC_SVM = "local", "tagger", "last_level_svm", "mfcc_svm"
SINGLE, LEVELS, SCALES = "single_level", "levels", "scales"
METHODS = {  # method: as the tables have it
    LOCAL: "local network, mean over segments",
    SINGLE: "one level, one scale",
    LEVELS: "all levels, one scale",
    SCALES: "one level, all scales",
    ALL: "all levels, all scales",
    TAGGER: "the same, saved as one network and scored by Tagger",
    LAST_SVM: "last level, RBF-SVM",
    MFCC_SVM: "MFCC statistics, SVM",
}
CHOICES = (SINGLE, LEVELS, SCALES, ALL)
DATA = {"mtt": "MTT", "msd": "MSD", "gtzan": "GTZAN"}
SOURCE = "msd"  # what the networks of the published rows were trained on that were not trained on the data
PAPERS = {  # data: split and tags of what was published
    "mtt": ("dir-tagged", frozenset(MTT50_SAMPLECNN)),
    "msd": ("lastfm", frozenset(MSD50)),
    "gtzan": ("fault-filtered", frozenset(GENRES)),
}
ALMOST_ALL = 0.9  # of the tags; the page gives no number
SLIDES = "the authors' slides of the paper of 2017, table of results"
POSTER = "a later poster of the same group"
SAMPLECNN = "SMC 2017, table of results of SampleCNN"
_MEL = {"system": "mel", "source": SLIDES}
_ELSEWHERE = {"system": "", "method": "", "trained_on": "", "source": SLIDES}
PUBLISHED: tuple[dict[str, Any], ...] = (  # ROC-AUC, of GTZAN accuracy
    {"title": "bag of multi-scaled features", **_ELSEWHERE, "mtt": 0.898},
    {"title": "1-D CNN", **_ELSEWHERE, "mtt": 0.8815},
    {"title": "transfer learning (van den Oord et al.)", **_ELSEWHERE, "mtt": 0.88},
    {"title": "persistent CNN", **_ELSEWHERE, "mtt": 0.9013},
    {"title": "time-frequency CNN", **_ELSEWHERE, "mtt": 0.9007},
    {"title": "2-D CNN (Choi et al.)", **_ELSEWHERE, "mtt": 0.894, "msd": 0.851},
    {"title": "CRNN (Choi et al.)", **_ELSEWHERE, "msd": 0.862},
    {"title": "2-D CNN (Kereliuk et al.)", **_ELSEWHERE, "gtzan": 0.632},
    {"title": "temporal features", **_ELSEWHERE, "gtzan": 0.659},
    {"title": "mel: local model", "method": LOCAL, "trained_on": "data", **_MEL, "mtt": 0.8981, "msd": 0.8783},
    {"title": "mel: several levels, one scale", "method": LEVELS, "trained_on": "data", **_MEL, "mtt": 0.9002,
     "msd": 0.8853},
    {"title": "mel: several levels and scales", "method": ALL, "trained_on": "data", **_MEL, "mtt": 0.9017,
     "msd": 0.8878},
    {"title": "mel: the same, networks trained on MSD", "method": ALL, "trained_on": "source", **_MEL, "mtt": 0.9021,
     "gtzan": 0.720},
    {"title": "sample: SampleCNN by itself", "system": "sample", "method": LOCAL, "trained_on": "data",
     "source": SAMPLECNN, "mtt": 0.9055, "msd": 0.8812},
    {"title": "sample: several levels and scales", "system": "sample", "method": ALL, "trained_on": "data",
     "source": POSTER, "mtt": 0.9064, "msd": 0.8842},
)  # fmt: skip
WHERE = {"data": "the data", "source": "the source", "given": "given"}


@dataclass(frozen=True)
class WhichData:
    """What tells data from other data.

    Attributes:
        name: of the data set.
        split: how it is divided.
        tags: names.
    """

    name: str
    split: str
    tags: frozenset[str]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Take it out of the facts of data."""
        return cls(str(facts["name"]), str(facts["split"]), frozenset(facts["tags"]))

    @property
    def is_published(self) -> bool:
        """Whether figures of just this division and these tags were published."""
        return PAPERS.get(self.name) == (self.split, self.tags)


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        rows: of the cells.
        scales: by where networks come from, the levels of each, the one nearest to the input first.
        task: whether clips have several tags or exactly one.
        system: on mel spectrograms or on samples.
        data: what is tagged.
        source: what the networks of the source are trained on; None where there is none.
        title: of the data.
    """

    rows: Sequence[Row]
    scales: Mapping[str, Mapping[str, Sequence[str]]]
    task: str
    system: System
    data: WhichData
    source: WhichData | None
    title: str

    @property
    def figure(self) -> str:
        """The figure that counts: accuracy where exactly one tag holds, else macro ROC-AUC."""
        return "accuracy" if self.task == "one" else "macro_roc_auc"

    @property
    def unit(self) -> str:
        """What it is called."""
        return "accuracy" if self.task == "one" else "macro ROC-AUC"

    def values(self, method: str, figure: str = "", **details: str) -> list[float]:
        """Give a figure of the cells of a method: one a run, maybe none."""
        return [float(row[figure or self.figure]) for row in of_method(self.rows, method, **details)]

    def of_choice(self, origin: str, scale: str = ALL, level: str = ALL) -> list[Row]:
        """Give the rows of a classifier of clips, whatever it is called: with one scale, all scales are that one."""
        own = self.scales[origin]
        scale = next(iter(own)) if scale == ALL and len(own) == 1 else scale
        level = own[scale][0] if level == ALL and scale != ALL and len(own[scale]) == 1 else level
        found = [row for method in CHOICES for row in of_method(self.rows, method, trained_on=origin)]
        return [row for row in found if (row["scale"], row["level"]) == (scale, level)]

    def mean_of_choice(self, origin: str, scale: str = ALL, level: str = ALL) -> float | None:
        """Give the mean over runs of a classifier of clips, or None."""
        found = [float(row[self.figure]) for row in self.of_choice(origin, scale, level)]
        return fmean(found) if found else None

    def middle(self, origin: str) -> str:
        """Name the scale that single networks of the tables are assumed to have, or the one in the middle."""
        own = list(self.scales[origin])
        return MIDDLE[self.system] if MIDDLE[self.system] in own else own[len(own) // 2]


def tables_of(results: Results) -> list[Table]:
    """Make the tables.

    Args:
        results: what was measured.

    Returns:
        The systems, levels by scales for each origin of the networks, and what was published.
    """
    return [_systems(results), *_matrices(results), _published()]


def claims_of(results: Results) -> list[Claim]:
    """Hold the claims of the papers against what was measured.

    Args:
        results: what was measured.

    Returns:
        The claims, those on levels and scales for each origin of the networks.
    """
    claims = []
    for origin in results.scales:
        said = f" (networks of {WHERE[origin]})" if len(results.scales) > 1 else ""
        claims += [
            _levels_claim(results, origin, said),
            _scales_claim(results, origin, said),
            _level_tags_claim(results, origin, said),
            _scale_tags_claim(results, origin, said),
        ]
    claims.append(_local_claim(results))
    if "source" in results.scales:
        claims.append(_source_claim(results))
    claims.append(_mfcc_claim(results))
    return claims


def draw(results: Results) -> dict[str, Figure]:
    """Draw the systems, and each tag by levels and by scales.

    Args:
        results: what was measured.

    Returns:
        The figures by name of their file.
    """
    from taggram.studies._multilevel_pictures import draw_places, draw_tags

    figures = {}
    systems = {f"{name}{where}": rows for name, where, rows in _lines_of(results)}
    places = {name: [float(row[results.figure]) for row in rows] for name, rows in systems.items()}
    intervals = {name: mean_interval(rows) for name, rows in systems.items() if results.task != "one"}
    if places:
        title = f"{results.unit} by system, {results.title}"
        figures["systems"] = draw_places(places, intervals, title=title, unit=results.unit)
    for origin, scales in results.scales.items():
        middle = results.middle(origin)
        by_level = {f"level {level}": results.of_choice(origin, middle, level) for level in scales[middle]}
        by_level["all levels"] = results.of_choice(origin, middle)
        by_scale = {f"scale {scale}": results.of_choice(origin, scale) for scale in scales}
        by_scale["all scales"] = results.of_choice(origin)
        for name, series, at in ((LEVELS, by_level, f", scale {middle}"), (SCALES, by_scale, ", all levels")):
            there = {one: _by_tag(rows) for one, rows in series.items() if rows}
            if len(there) > 1:
                title = f"ROC-AUC of each tag by {name}{at}, networks of {WHERE[origin]}\n{results.title}"
                n_positive = next(rows[0].get("n_positive", {}) for rows in series.values() if rows)
                figures[f"{name}-{origin}"] = draw_tags(there, n_positive, title=title)
    return figures


# -- inside ------------------------------------------------------------------------------------------------------------


def _written(values: Sequence[float]) -> str:
    """Write the mean over runs with its deviation."""
    if not values:
        return "-"
    return f"{fmean(values):.3f}" + (f" ± {pstdev(values):.3f}" if len(values) > 1 else "")


def _by_tag(rows: Sequence[Row]) -> dict[str, float]:
    """Give the ROC-AUC of each tag, the mean over runs; tags that cannot be scored are left out."""
    return {
        tag: fmean(float(row["by_tag"][tag]) for row in rows)
        for tag in rows[0]["by_tag"]
        if all(row["by_tag"][tag] is not None for row in rows)
    }


def _lines_of(results: Results) -> Iterator[tuple[str, str, list[Row]]]:
    """Give the lines of the table of systems: name, what tells it from others of the name, and its rows."""
    for origin, scales in results.scales.items():
        where = f", networks of {WHERE[origin]}" if len(results.scales) > 1 else ""
        for method in (LOCAL, LEVELS, ALL, TAGGER, LAST_SVM):
            for scale in (*scales, ALL):
                if found := of_method(results.rows, method, trained_on=origin, scale=scale):
                    yield METHODS[method], f"{f', {scale}' if scale != ALL else ''}{where}", found
    if found := of_method(results.rows, MFCC_SVM):
        yield METHODS[MFCC_SVM], "", found


def _systems(results: Results) -> Table:
    """Make the table of systems, beside the published one."""
    lines = []
    for name, where, rows in _lines_of(results):
        size = str(rows[0].get("n_values") or "-")
        accuracy = [_written([float(row["accuracy"]) for row in rows])] if results.task == "one" else []
        ours = [_written([float(row[figure]) for row in rows]) for figure in ("macro_roc_auc", "macro_pr_auc")]
        lines.append([name + where, size, *accuracy, *ours, _published_beside(results, rows[0])])
    accuracy = ["accuracy"] if results.task == "one" else []
    columns = ["system", "values a clip", *accuracy, "ROC-AUC", "PR-AUC", "published"]
    note = "Mean and deviation over runs. Which scale the published single networks have is assumed."
    return Table("Systems", columns, lines, note)


def _published_beside(results: Results, row: Row) -> str:
    """Find what was published for a system: on this data, as divided here, by networks trained on the same."""
    origin, method = row.get("trained_on"), row["method"]
    if not results.data.is_published:
        return "-"
    is_papers_source = results.source is not None and results.source.name == SOURCE and results.source.is_published
    if origin == "source" and not is_papers_source:
        return "-"
    if method in (LOCAL, LEVELS) and row.get("scale") != MIDDLE[results.system]:
        return "-"
    if method == ALL and len(results.scales[str(origin)]) < len(LENGTHS[results.system]):
        return "-"
    for known in PUBLISHED:
        is_same = (known["system"], known["method"], known["trained_on"]) == (results.system, method, origin)
        if is_same and results.data.name in known:
            return f"{known[results.data.name]:.4f}"
    return "-"


def _matrices(results: Results) -> list[Table]:
    """Make a table of levels by scales for each origin of the networks."""
    tables = []
    for origin, scales in results.scales.items():
        names = sorted({level for levels in scales.values() for level in levels}, key=int)
        lines = []
        for scale in (*scales, *([ALL] if len(scales) > 1 else [])):
            cells = [results.of_choice(origin, scale, level) for level in names]
            cells.append(results.of_choice(origin, scale))
            lines.append([scale, *(_written([float(row[results.figure]) for row in rows]) for rows in cells)])
        if any(cell != "-" for line in lines for cell in line[1:]):
            where = f"networks of {WHERE[origin]}"
            columns = ["scale", *(f"level {name}" for name in names), "all levels"]
            note = "Level -1 is the one nearest to the output."
            tables.append(Table(f"{results.unit}, levels by scales, {where}", columns, lines, note))
    return tables


def _published() -> Table:
    """Make the table of what was published."""
    lines = [[str(row["title"]), *(f"{row[name]:g}" if name in row else "-" for name in DATA)] for row in PUBLISHED]
    note = (
        f"ROC-AUC, of GTZAN accuracy. Source: {SLIDES}; of SampleCNN by itself: {SAMPLECNN}; of several levels and "
        f"scales of samples: {POSTER}."
    )
    return Table("Published", ["system", *DATA.values()], lines, note)


def _pair(words: str, better: float | None, worse: float | None, names: tuple[str, str]) -> Claim:
    """Compare two figures."""
    if better is None or worse is None:
        return Claim(words, None)
    return Claim(words, better > worse, f"{names[0]} {better:.3f}, {names[1]} {worse:.3f}.")


def _levels_claim(results: Results, origin: str, said: str) -> Claim:
    """All levels of a scale against its best level, of each scale."""
    words = f"all levels of a network together beat the best of them{said}"
    pairs = []
    for scale, levels in results.scales[origin].items():
        whole = results.mean_of_choice(origin, scale)
        singles = {level: results.mean_of_choice(origin, scale, level) for level in levels}
        known = {level: value for level, value in singles.items() if value is not None}
        if whole is not None and len(known) == len(levels) > 1:
            best = max(known, key=lambda level: known[level])
            pairs.append((scale, whole, best, known[best]))
    if not pairs:
        return Claim(words, None)
    figures = "; ".join(f"{scale}: {whole:.3f} beside {one:.3f} of {best}" for scale, whole, best, one in pairs)
    return Claim(words, fmean(whole - one for _, whole, _, one in pairs) > 0, f"{figures}; on the mean over scales.")


def _scales_claim(results: Results, origin: str, said: str) -> Claim:
    """All scales with all levels against the best scale with all levels."""
    words = f"all scales together, with all levels, beat the best of them{said}"
    singles = {scale: results.mean_of_choice(origin, scale) for scale in results.scales[origin]}
    known = {scale: value for scale, value in singles.items() if value is not None}
    if len(known) < 2:
        return Claim(words, None)
    best = max(known, key=lambda scale: known[scale])
    return _pair(words, results.mean_of_choice(origin), known[best], ("all", best))


def _level_tags_claim(results: Results, origin: str, said: str) -> Claim:
    """For how many tags all levels of the middle scale are the best of its levels."""
    middle = results.middle(origin)
    singles = [results.of_choice(origin, middle, level) for level in results.scales[origin][middle]]
    return _tags_claim("levels", said, results.of_choice(origin, middle), singles, f", scale {middle}")


def _scale_tags_claim(results: Results, origin: str, said: str) -> Claim:
    """For how many tags all scales are the best of the scales, each with all of its levels."""
    singles = [results.of_choice(origin, scale) for scale in results.scales[origin]]
    return _tags_claim("scales", said, results.of_choice(origin), singles, ", all levels")


def _tags_claim(name: str, said: str, whole: list[Row], singles: list[list[Row]], where: str) -> Claim:
    """For how many tags the whole is better than each of its parts."""
    words = f"for almost all tags ({ALMOST_ALL:.0%} here), all {name} together are better than any of them alone{said}"
    if not whole or len(singles) < 2 or not all(singles):
        return Claim(words, None)
    ours, others = _by_tag(whole), [_by_tag(rows) for rows in singles]
    won = sum(all(ours[tag] > other[tag] for other in others) for tag in ours)
    return Claim(words, won >= ALMOST_ALL * len(ours), f"{won} of {len(ours)} tags{where}.")


def _local_claim(results: Results) -> Claim:
    """A classifier on all levels against the mean of the network's own scores."""
    words = "a classifier of clips on all levels of a network beats the mean of the network's own scores"
    pairs = []
    for scale in results.scales.get("data", {}):
        local = results.values(LOCAL, trained_on="data", scale=scale)
        whole = results.mean_of_choice("data", scale)
        if local and whole is not None:
            pairs.append((scale, whole, fmean(local)))
    if not pairs:
        return Claim(words, None)
    figures = "; ".join(f"{scale}: {whole:.3f} beside {local:.3f}" for scale, whole, local in pairs)
    return Claim(words, fmean(whole - local for _, whole, local in pairs) > 0, f"{figures}; on the mean over scales.")


def _source_claim(results: Results) -> Claim:
    """Networks of the source against those of the data."""
    words = "networks that were trained on the source do better than those trained on the data"
    own = results.mean_of_choice("data") if "data" in results.scales else None
    return _pair(words, results.mean_of_choice("source"), own, ("source", "data"))


def _mfcc_claim(results: Results) -> Claim:
    """The whole system against MFCCs; not in the papers."""
    origin = "source" if "source" in results.scales else next(iter(results.scales))
    mfcc = results.values(MFCC_SVM)
    words = f"(not in the papers) all levels and scales, networks of {WHERE[origin]}, beat MFCC statistics with an SVM"
    return _pair(words, results.mean_of_choice(origin), fmean(mfcc) if mfcc else None, ("all", "MFCC"))
