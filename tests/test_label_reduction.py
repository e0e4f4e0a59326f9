"""Fewer tags: merging, counting, choosing, and the files that say what is merged."""

from __future__ import annotations

import json

import pytest

from taggram.datasets import _synonyms, mtt
from taggram.errors import ConfigError, DatasetError
from taggram.learning.label_reduction import Reduction, read_synonyms, reduce_tags

TAGS = ("beats", "beat", "rock", "voices", "folk", "vocal")
GROUPS = {"beat": ("beats",), "vocal": ("vocals", "voices")}
CLIPS = [{"beats"}, {"beat", "beats"}, {"rock", "voices"}, {"rock", "vocal"}, {"folk"}, set()]


def reduced(n_tags=50, groups=GROUPS, clips=CLIPS):
    return reduce_tags(lambda: iter(clips), TAGS, groups, n_tags)


def test_merged_tag_holds_where_one_of_its_names_does():
    assert reduced().n_merged == {"beat": 2, "rock": 2, "vocal": 2, "folk": 1}


def test_counts_before_are_those_of_each_name():
    assert reduced().n_before == {"beats": 2, "beat": 1, "rock": 2, "voices": 1, "folk": 1, "vocal": 1}


def test_commonest_stay_in_alphabetical_order():
    assert reduced(3).kept == ("beat", "rock", "vocal")


def test_of_tags_that_are_as_common_the_first_column_stays():
    assert reduced(2).kept == ("beat", "rock")
    assert reduced().merged == ("beat", "rock", "folk", "vocal")


def test_name_that_is_no_tag_stands_where_its_first_one_does():
    assert reduced(groups={"pulse": ("rock", "beats")}).merged == ("pulse", "beat", "voices", "folk", "vocal")


def test_clips_are_counted_by_their_number_of_tags():
    both = reduced(2)
    assert (both.per_clip_before, both.per_clip_after) == ((1, 2, 3), (2, 4))
    assert (both.n_clips, both.n_untagged) == (6, 2)


def test_members_are_all_names_that_a_tag_stands_for():
    assert reduced(3).members() == {"beat": ("beat", "beats"), "rock": ("rock",), "vocal": ("vocal", "voices")}


def test_reduction_survives_json():
    found = reduced(3)
    assert Reduction.of(json.loads(json.dumps(found.to_dict()))) == found


def test_groups_of_the_source_make_188_tags_134_and_keep_its_50():
    listed = mtt.MTT.card.vocabularies["mtt50_emarkou"]
    found = reduce_tags(lambda: iter([{tag} for tag in listed]), mtt.ALL_TAGS, _synonyms.EMARKOU, 50)
    assert (len(found.tags), len(found.merged), found.kept) == (188, 134, listed)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": ("rock",), "b": ("rock",)}, "'rock' is in two groups, 'a' and 'b'"),
        ({"beat": ("rock",), "pulse": ("beat",)}, "'beat' is kept and goes into 'pulse' as well"),
        ({"jazz": ("jazzy",)}, "none of the synonyms is a tag of the data, such as jazz"),
    ],
    ids=["two groups", "chain", "nothing"],
)
def test_groups_without_sense_are_refused(groups, message):
    with pytest.raises(ConfigError, match=message):
        reduced(groups=groups)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"beat": ["beats"], "voices": "vocal", "voice": "vocal"}'),
        ("a.json", '{"beats": "beat", "vocal": ["voices", "voice"]}'),
        ("a.toml", 'beat = ["beats"]\nvoices = "vocal"\n"voice" = "vocal"\n'),
        ("a.csv", "name,group\nbeats,beat\nvoices,vocal\nvoice,vocal\n"),
        ("a.csv", "group,name\nbeat,beat\nbeat,beats\nvocal,voices\nvocal,voice\n"),
    ],
)
def test_synonyms_are_read(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_synonyms(path) == {"beat": ("beats",), "vocal": ("voices", "voice")}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[1]", "is no list of synonyms"),
        ("a.json", '{"a": [1]}', "has something that is no name"),
        ("a.json", "{", "is no list of synonyms"),
        ("a.toml", "a = 1", "is no list of synonyms"),
        ("a.csv", "from,to\na,b\n", "is no list of synonyms"),
        ("a.json", "{}", "names no synonym"),
    ],
)
def test_file_that_is_no_list_of_synonyms_is_told(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        read_synonyms(tmp_path / name)


def test_file_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match=r"ends in \.json, \.toml or \.csv"):
        read_synonyms("synonyms.txt")


def test_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        read_synonyms(tmp_path / "none.json")
