"""The report: one page that stands alone, whatever tags and paths are; files beside it; the same numbers everywhere."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from taggram.errors import ConfigError
from taggram.learning import metrics as m
from taggram.learning._chapter import clip_losses, predictions, tags_with_curves
from taggram.learning._report import Cell, Column, element, page, table, text
from taggram.learning.evaluate import Evaluation
from taggram.learning.report import Published, published_by, write_report
from taggram.models import load_card
from taggram.results import Failure

SHA = "0123456789abcdef" * 4
ODD_NAMES = (
    "<script>alert(1)</script>", "cost $5 $x_1$", "a\\b \\frac{", "new\nline\r\ttab", "🎸 guitar", "caf\udce9 \ud83c",
    "\x00\x1b[31m", "_under", "", "שלום \u202e", "\"quoted\" & 'single'", "tag " * 60, "true", "track_id",
)  # fmt: skip
VOID = {"img", "meta", "br"}


def made(tags=("guitar", "flute", "drums", "voice"), task="several", n_clips=60, seed=0, **changes):
    random = np.random.default_rng(seed)
    labels = random.random((n_clips, len(tags))) < np.linspace(0.6, 0.2, len(tags))
    labels[0] = True
    if task == "one":
        labels = np.eye(len(tags), dtype=bool)[random.integers(len(tags), size=n_clips)]
    facts = {
        "model": "net", "data_set": "mtt", "split": "dir", "split_sha256": SHA, "part": "test", "tags": tags,
        "task": task, "track_ids": tuple(f"clip {index}" for index in range(n_clips)),
        "scores": (random.random(labels.shape) + 0.3 * labels) / 1.3, "labels": labels,
    }  # fmt: skip
    return Evaluation(**(facts | changes))


class Page(HTMLParser):
    """What a browser sees: elements, text, and whether all is closed."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    test = made().with_thresholds_of(made(part="valid", seed=1))
    return write_report(test, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def odd_report(tmp_path_factory):
    n_clips = 40
    labels = np.random.default_rng(0).random((n_clips, len(ODD_NAMES))) < 0.4
    odd = made(
        ODD_NAMES, n_clips=n_clips, labels=labels, model="<b>evil & co</b>", data_set="<i>", split='"><x>',
        track_ids=tuple(f"<img src=x onerror=alert({index})>\udcff" for index in range(n_clips)),
        failures=(Failure("<y>\n", "AudioError", "<z>&"),), not_in_model=("<u>",), not_in_data=("<v>",),
        notes=("</div><script>1</script>",),
    )  # fmt: skip
    return write_report(odd, tmp_path_factory.mktemp("odd"))


# -- the page ----------------------------------------------------------------------------------------------------------


def test_page_says_what_it_is_of(report):
    assert "net on mtt" in read(report).text


def test_numbers_are_those_of_the_evaluation(report):
    numbers = made().metrics()["test"]
    assert f"ROC-AUC, macro{numbers['macro_roc_auc']:.4f}" in read(report).text


def test_every_section_names_split_and_hash(report):
    html = report.read_text(encoding="utf-8")
    sections = html.split("<section")[1:]
    assert len(sections) == 7
    assert all("split dir (<code" in section and SHA[:12] in section for section in sections)


def test_whole_hash_is_on_the_page(report):
    assert f'title="{SHA}"' in report.read_text(encoding="utf-8")


def test_page_loads_nothing(report):
    addresses = [
        value for _, attributes in read(report).elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)


def test_page_may_run_its_own_script_alone(report):
    html = report.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (given["content"] for _, given in read(report).elements if "http-equiv" in given)
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_pictures_have_a_text_for_those_who_cannot_see_them(report):
    assert all(attributes["alt"] for name, attributes in read(report).elements if name == "img")


def test_page_is_closed_properly(odd_report):
    assert read(odd_report).open == []


def test_text_never_becomes_an_element(odd_report):
    found = read(odd_report)
    assert (found.count("script"), found.count("b") > 0, found.count("x"), found.count("u")) == (1, True, 0, 0)
    assert not any("onerror" in attributes for _, attributes in found.elements)


@pytest.mark.parametrize("shown", ["<script>alert(1)</script>", "<b>evil & co</b>", "new\\nline\\r\\ttab", "<z>&"])
def test_odd_text_is_shown_as_it_is(odd_report, shown):
    assert shown in read(odd_report).text


def test_rare_tags_are_warned_of(tmp_path):
    labels = made().labels.copy()
    labels[3:, 3] = False
    html = read(write_report(made(labels=labels), tmp_path)).text
    assert "Fewer than 10 clips have voice: their numbers say little." in html


def test_reading_of_rare_tags_is_on_the_page(report):
    assert "Rare tags look accurate" in read(report).text


def test_tags_of_one_class_are_named(tmp_path):
    labels = made().labels.copy()
    labels[:, 1], labels[:, 2] = False, True
    shown = read(write_report(made(labels=labels), tmp_path)).text
    assert "Tags that no clip has, and which no average counts: 1. flute" in shown
    assert "Tags that every clip has, and which no average counts: 1. drums" in shown


def test_one_class_everywhere_makes_a_report(tmp_path):
    assert "not defined" in read(write_report(made(labels=np.zeros((60, 4), dtype=bool)), tmp_path)).text


def test_one_clip_of_one_tag_makes_a_report(tmp_path):
    assert write_report(made(("guitar",), n_clips=1), tmp_path).is_file()


def test_exactly_one_has_its_accuracy_and_confusion(tmp_path):
    one = made(task="one")
    shown = read(write_report(one, tmp_path)).text
    assert f"Accuracy{one.metrics()['test']['accuracy']:.4f}" in shown
    assert "Rows are the true tags" in shown


def test_hits_are_emphasised(report):
    html = report.read_text(encoding="utf-8")
    assert '<b class="hit">guitar</b>' in html


def test_clips_that_differ_most_come_first(tmp_path):
    evaluation = made()
    scores = np.where(evaluation.labels, 0.9, 0.1)
    scores[7] = 1 - scores[7]
    html = write_report(made(scores=scores), tmp_path, n_examples=3).read_text(encoding="utf-8")
    assert re.search(r"differ most</h3>.*?<td[^>]*>(clip \d+)</td>", html, re.DOTALL)[1] == "clip 7"


def test_published_numbers_stand_beside_ours(tmp_path):
    row = Published(system="A & B 2019", source="table 2", split="theirs", values={"macro_roc_auc": 0.9067})
    shown = read(write_report(made(), tmp_path, published=[row])).text
    assert re.search(r"A & B 2019 ?0\.9067 ?theirs ?table 2", shown)
    assert "net (ours)" in shown


def test_published_row_comes_from_a_card():
    row = published_by(load_card("musicnn.mtt").published, "musicnn.mtt")
    assert row.values == {"macro_roc_auc": 0.90668, "macro_pr_auc": 0.38311}


# -- files -------------------------------------------------------------------------------------------------------------

TABLES = ("tags", "calibration", "predictions", "examples")
PICTURES = ("areas", "accuracy_recall", "curves", "calibration")


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("which", ["report", "odd_report"])
def test_picture_is_svg(request, which, name):
    path = request.getfixturevalue(which).parent / "report" / f"{name}.svg"
    assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("name", [*TABLES, "failures"])
def test_table_has_its_columns_in_every_row(odd_report, name):
    with (odd_report.parent / "report" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert rows
    assert {len(row) for row in rows} == {len(head)}


def test_confusion_is_written_with_odd_names(tmp_path):
    write_report(made(("true", "a,b", "c\nd"), task="one"), tmp_path)
    with (tmp_path / "report" / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["true", "true", "a,b", "c\nd"]
    assert sum(int(count) for row in rows[1:] for count in row[1:]) == 60


def test_predictions_hold_all_clips(report):
    evaluation = made()
    with (report.parent / "report" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == "truth"]
    assert [[row[tag] == "1" for tag in evaluation.tags] for row in rows] == evaluation.labels.tolist()


def test_equal_evaluations_give_equal_reports(tmp_path):
    pages = [write_report(made(), tmp_path / name).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


# -- several -----------------------------------------------------------------------------------------------------------


def test_models_stand_side_by_side(tmp_path):
    other = made(model="other/<net>", scores=1 - made().scores)
    path = write_report([made(), other], tmp_path)
    assert read(path).text.startswith("2 evaluations 2 evaluationsSide by side")
    assert {folder.name for folder in (tmp_path / "report").iterdir() if folder.is_dir()} == {"1-net", "2-other_net_"}


def test_models_on_different_splits_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="split is dir and random"):
        write_report([made(), made(split="random")], tmp_path)


def test_models_on_different_splits_are_warned_of_if_asked_for(tmp_path):
    shown = read(write_report([made(), made(split="random")], tmp_path, mixed=True)).text
    assert "Not to be compared: split is dir and random." in shown


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_best_thresholds_decide_where_they_are_known():
    test = made().with_thresholds_of(made(part="valid", seed=1))
    np.testing.assert_array_equal(predictions(test), m.decide(test.scores, test.thresholds))


def test_exactly_one_tag_is_given_where_exactly_one_holds():
    assert (predictions(made(task="one")).sum(axis=1) == 1).all()


def test_loss_is_the_cross_entropy():
    evaluation = made()
    wanted = -np.log(np.where(evaluation.labels, evaluation.scores, 1 - evaluation.scores)).mean(axis=1)
    np.testing.assert_allclose(clip_losses(evaluation), wanted, rtol=1e-5)


def test_curves_of_chosen_tags_keep_their_order():
    assert tags_with_curves(made(), ("drums", "guitar")) == ["drums", "guitar"]


def test_curve_of_a_tag_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no curves of voices"):
        tags_with_curves(made(), ("voices",))


def test_curves_are_of_tags_that_can_be_scored():
    labels = made().labels.copy()
    labels[:, 1] = False
    assert "flute" not in tags_with_curves(made(labels=labels), None)


# -- HTML --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "html"),
    [
        ("<&>\"'", "&lt;&amp;&gt;&quot;&#x27;"),
        ("a\nb", "a\\nb"),
        ("\udce9", "?"),
        (7, "7"),
        (element("b", "<"), "<b>&lt;</b>"),
    ],
    ids=["marks", "line", "surrogate", "number", "html"],
)
def test_text_is_escaped_once(value, html):
    assert text(value) == html


def test_attributes_are_escaped():
    assert element("p", class_='"><script>') == '<p class="&quot;&gt;&lt;script&gt;"></p>'


def test_cell_is_sorted_by_its_value():
    assert '<td data-value="0.25">a quarter</td>' in table([Column("x")], [[Cell("a quarter", 0.25)]])


def test_title_is_escaped():
    assert b"<title>&lt;/title&gt;</title>" in page("</title>")


def test_odd_tag_names_do_not_change_the_numbers():
    labels = made().labels
    plain, odd = (made(tags, labels=labels) for tags in (("a", "b", "c", "d"), ODD_NAMES[:4]))
    assert [row["roc_auc"] for row in plain.metrics()["test"]["tags"].values()] == [
        row["roc_auc"] for row in odd.metrics()["test"]["tags"].values()
    ]


def test_report_of_a_changed_evaluation_is_of_the_change(tmp_path):
    left = dataclasses.replace(made(), notes=("left out by hand",))
    assert "left out by hand" in read(write_report(left, tmp_path)).text
