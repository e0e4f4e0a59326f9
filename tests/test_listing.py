"""`taggram models`: what is listed, what words find, what a card shows; and the pages made from the same."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from taggram.apps._options import parse_options
from taggram.errors import ConfigError
from taggram.models import NETWORKS, list_models
from taggram.models._facts import find_listed, read_listing

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "models"
QUICK = ("ballroom", "few_data", "o_p_net", "vgg")  # families whose pages are made in a moment


def names_in(listing):
    """First words of the lines, but for headings and remarks."""
    return {line.split()[0] for line in listing.splitlines() if line.strip()} & {*NETWORKS, *list_models()}


@pytest.fixture(scope="module")
def listing(run_taggram):
    return run_taggram("models").stdout


def test_all_are_listed(listing):
    assert names_in(listing) == {*NETWORKS, *list_models()}


@pytest.mark.parametrize("cell", ["7,336", "1.86 s", "one", "Pons, Lidy and Serra, CBMI 2016"])
def test_line_of_a_network_says(listing, cell):
    (line,) = re.findall(r"^ballroom_time .*", listing, re.MULTILINE)
    assert cell in line


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        pytest.param(["ballroom", "frequency"], {"ballroom_frequency", "ballroom_time_frequency"}, id="all of them"),
        pytest.param(["MSD"], {"musicnn.msd", "musicnn_big.msd", "vgg.msd"}, id="any case"),
        pytest.param(["icassp 2017", "o_p"], {"o_p_net"}, id="paper"),
    ],
)
def test_words_find(run_taggram, words, wanted):
    assert names_in(run_taggram("models", *words).stdout) == wanted


def test_words_that_find_nothing_are_told(run_taggram):
    done = run_taggram("models", "smaplecnn")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no model or network has 'smaplecnn'. Did you mean samplecnn" in done.stderr


def test_card_shows_layers_cost_and_what_a_layer_depends_on(run_taggram):
    card = run_taggram("models", "o_p_net", "o=1", "p=0").stdout
    assert "| parameters | 4,188 |" in card
    assert "| `o_net.7` | Conv2d 1 x 41, 5 | 5 x 40 x 210 | 210 |" in card
    assert re.search(r"\| cost \| [\d.]+ MFLOP a second of sound", card)


def test_card_is_for_the_length_that_is_asked_for(run_taggram):
    assert (
        "| `o_net.7` | Conv2d 1 x 41, 5 | 5 x 40 x 304 |"
        in run_taggram("models", "o_p_net", "p=0", "--length-s", "8").stdout
    )


def test_card_of_a_trained_model_says_where_its_weights_are(run_taggram):
    card = run_taggram("models", "vgg.mtt").stdout
    assert "| licence | ISC |" in card
    assert "| weights | " in card


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["o_p_net", "q=1"], "no option 'q'", id="unknown option"),
        pytest.param(["o_p_net", "p"], "'p' is no option; write KEY=VALUE", id="no value"),
        pytest.param(["vgg", "--length-s", "8"], "needs exactly 187", id="length that is not taken"),
        pytest.param(["vgg", "--length-s", "0"], "must be above 0", id="no length"),
    ],
)
def test_wrong_usage_is_told(run_taggram, arguments, told):
    done = run_taggram("models", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("x=3", 3), ("x=0.125", 0.125), ("x=true", True), ("x=se", "se"), ("x=[18, 27]", (18, 27)), ("x=1=2", "1=2"),
        ("x=", ""),
    ],
)  # fmt: skip
def test_option_is_read(word, value):
    assert parse_options([word]) == {"x": value}


def test_option_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_options(["=3"])


# -- what is made from the code ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maker():
    """The script that writes the pages."""
    spec = importlib.util.spec_from_file_location("make_model_pages", ROOT / "docs" / "make_model_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_facts_of_the_listing_are_those_of_the_network(name):
    assert read_listing()[name] == find_listed(name)


def test_listing_has_no_other_network():
    assert set(read_listing()) == set(NETWORKS)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family in QUICK else pytest.mark.slow)
        for family in sorted(set(NETWORKS.values()))
    ],
)
def test_page_is_what_the_code_makes(maker, family):
    assert (PAGES / f"{family}.md").read_text(encoding="utf-8") == maker.page_of(family), "make docs writes it anew"


def test_list_of_pages_is_what_the_code_makes(maker):
    assert (PAGES / "README.md").read_text(encoding="utf-8") == maker.list_of_all()


def test_every_page_is_of_a_family():
    assert {path.stem for path in PAGES.glob("*.md")} == {*NETWORKS.values(), "README"}
