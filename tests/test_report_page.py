"""The report in a real browser: it stands alone, and its tables are sorted by a click."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.learning.evaluate import Evaluation
from taggram.learning.report import write_report

TAGS = ("rare", "common", "<b>odd</b>")


@pytest.fixture
def page(browser, tmp_path):
    """The report of some made-up scores, what it complained of, and what it asked for."""
    rng = np.random.default_rng(0)
    labels = rng.random((60, 3)) < (0.1, 0.6, 0.3)
    labels[0] = True
    scores = np.clip(0.4 * labels + 0.6 * rng.random(labels.shape), 0, 1).astype(np.float32)
    evaluation = Evaluation(
        model="made", data_set="csv", split="column", split_sha256="ab" * 32, part="test", tags=TAGS, task="several",
        track_ids=tuple(map(str, range(60))), scores=scores, labels=labels,
    )  # fmt: skip
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(write_report(evaluation, tmp_path).as_uri())
    yield page
    page.close()


def tags_in_order(page):
    return page.locator("table", has_text="share").locator("tbody td:first-child").all_text_contents()


def test_page_loads_nothing_else(page):
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


def test_page_complains_of_nothing(page):
    assert page.errors == []


def test_click_on_a_head_sorts_the_tags(page):
    assert tags_in_order(page)[0] == "common"
    page.locator("table", has_text="share").locator("th", has_text="tag").first.click()
    assert tags_in_order(page) == sorted(TAGS)


def test_name_of_a_tag_is_text_and_no_markup(page):
    assert page.get_by_text("<b>odd</b>").count() > 0


def test_split_and_hash_are_seen(page):
    assert page.get_by_text("abababababab").first.is_visible()
