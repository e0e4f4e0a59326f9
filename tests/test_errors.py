"""Errors name what came, what is near, and what to do."""

from __future__ import annotations

import pytest

from taggram import errors
from taggram.vocabulary import MSD50, MTT50_MUSICNN, MTT50_SAMPLECNN, VOCABULARIES, load_vocabulary


@pytest.mark.parametrize(
    ("name", "offered"),
    [("musicn", " Did you mean musicnn?"), ("guitar solo", ""), ("vgg.mt", " Did you mean vgg.mtt or vgg.msd?")],
)
def test_nearest_names_are_offered(name, offered):
    assert errors.did_you_mean(name, ["musicnn", "vgg.mtt", "vgg.msd"]) == offered


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.AudioError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.UnknownNameError, ValueError),
        (errors.WeightsError, RuntimeError),
        (errors.WorkerError, RuntimeError),
        (errors.MissingExtraError, ImportError),
    ],
)
def test_error_is_also_the_built_in_kind(kind, builtin):
    assert issubclass(kind, builtin)
    assert issubclass(kind, errors.TaggramError)


def test_audio_error_starts_with_the_file():
    assert str(errors.AudioError("it is empty", "a.mp3")) == "a.mp3: it is empty"


def test_missing_extra_gives_the_line_that_installs_it():
    assert "pip install 'taggram[codecs]'" in str(errors.missing_extra("av", "codecs", "m4a files"))


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb", r"a\nb"), ("a\x1b[2J", r"a\x1b[2J"), ("ä 🎸 \udcff", "ä 🎸 \udcff")]
)
def test_printable_keeps_a_name_on_its_line(name, shown):
    assert errors.printable(name) == shown


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_values_that_must_be_above_zero_are(value):
    with pytest.raises(errors.ConfigError, match="hop_s is"):
        errors.check_above_zero(hop_s=value)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabulary_has_fifty_tags(name):
    assert len(set(load_vocabulary(name))) == 50


def test_two_orders_of_magnatagatune_differ_in_two_places():
    differ = [index for index, pair in enumerate(zip(MTT50_MUSICNN, MTT50_SAMPLECNN)) if len(set(pair)) == 2]
    assert (differ, MTT50_MUSICNN[47:49]) == ([47, 48], ("metal", "female voice"))


def test_capitals_are_those_of_the_source():
    assert [tag for tag in MSD50 if tag != tag.lower()] == ["Mellow", "Hip-Hop", "Progressive rock", "House"]


def test_unknown_vocabulary_is_offered_the_nearest():
    with pytest.raises(errors.UnknownNameError, match="Did you mean msd50"):
        load_vocabulary("msd5")
