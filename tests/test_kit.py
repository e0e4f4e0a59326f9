"""A kit as a file: what is written comes back, and what cannot be used is refused with the reason."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import taggram
from taggram import Kit
from taggram.errors import ConfigError, KitError
from taggram.kit import FORMAT, HEADER_KEY, NONE_OF_THESE, KitExample, KitRows


def made(task="one", tags=("hat", "kick"), none=False):
    """A kit of two tags on three features, of which the last says nothing."""
    weight, bias = np.array([[4.0, 0.0], [0.0, 4.0]], np.float32), np.zeros(2, np.float32)
    if none:
        tags = (*tags, NONE_OF_THESE)
        weight, bias = np.concatenate([weight, np.zeros((1, 2), np.float32)]), np.array([0, 0, 1], np.float32)
    return Kit(
        tags=tags, task=task, method="svm", model="musicnn.mtt", layers=("max_pool",), features_sha256="0" * 64,
        mean=np.array([1, 2, 3], np.float32), inverse_scale=np.array([1, 0.5, 0], np.float32), weight=weight, bias=bias,
        examples=(KitExample("hat/a.wav", ("hat",), "aa"), KitExample("kick/é.wav", ("kick",), "bb")),
        rows=KitRows(
            vectors=np.eye(2, dtype=np.float16), example=np.array([0, 1], np.int32), semitones=np.zeros(2, np.int8)
        ),
        facts={"asked_for": "auto", "validation": None},
    )  # fmt: skip


VECTORS = np.array([[2, 2, 7], [1, 6, -7], [1, 2, 3]], np.float32)  # like the one, like the other, like none


def test_kit_comes_back_as_it_was(tmp_path):
    made().save(tmp_path / "kit.safetensors")
    kit = Kit.load(tmp_path / "kit.safetensors")
    assert (kit.tags, kit.examples, kit.facts) == (made().tags, made().examples, made().facts)
    np.testing.assert_array_equal(kit.scores(VECTORS), made().scores(VECTORS))


def test_scores_of_one_tag_add_up_to_1():
    np.testing.assert_allclose(made().scores(VECTORS).sum(axis=1), 1, atol=1e-6)


def test_scores_follow_the_weights():
    assert made().scores(VECTORS)[:2].argmax(axis=1).tolist() == [0, 1]


def test_feature_that_says_nothing_changes_nothing():
    other = VECTORS + np.array([0, 0, 100], np.float32)
    np.testing.assert_array_equal(made().scores(VECTORS), made().scores(other))


@pytest.mark.parametrize("task", ["one", "several"])
def test_none_of_these_is_best_where_no_tag_reaches_the_threshold(task):
    kit = made(task, none=True)
    best = kit.scores(VECTORS)
    assert [kit.tags[place] for place in best.argmax(axis=1)][:2] == ["hat", "kick"]
    assert best[2, -1] > (best[2, :2].max() if task == "one" else 0.5)


def test_several_tags_may_score_high_at_once():
    both = np.array([[3, 6, 0]], np.float32)
    assert (made("several").scores(both) > 0.9).all()


def test_kit_is_small(tmp_path):
    made().save(tmp_path / "kit.safetensors")
    assert (tmp_path / "kit.safetensors").stat().st_size < 3_000


def test_facts_are_json_in_the_header(tmp_path):
    made().save(tmp_path / "kit.safetensors")
    with safe_open(tmp_path / "kit.safetensors", framework="np") as stream:
        facts = json.loads(stream.metadata()[HEADER_KEY])
    assert (facts["format"], facts["version"], facts["tags"]) == (FORMAT, taggram.__version__, ["hat", "kick"])


def test_another_file_is_not_written_over(tmp_path):
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="is there and is no kit"):
        made().save(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_kit_that_could_not_be_read_again_is_not_written(tmp_path):
    made().save(tmp_path / "kit.safetensors")
    before = (tmp_path / "kit.safetensors").read_bytes()
    with pytest.raises(KitError, match="cannot be saved: some of bias is no finite number"):
        replace(made(), bias=np.array([0, np.nan], np.float32)).save(tmp_path / "kit.safetensors")
    assert (tmp_path / "kit.safetensors").read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_folder_that_is_read_only_is_told(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ConfigError, match="cannot be written to"):
            made().save(tmp_path / "kit.safetensors")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("a.wav@12-12.8", "a.wav"),
        ("a.wav@0-", "a.wav"),
        ("b@home.wav", "b@home.wav"),
        ("b@home.wav@1e-05-2", "b@home.wav"),
    ],
)
def test_parts_of_a_recording_are_known_by_their_names(name, recording):
    assert KitExample(name, ("x",), "aa").recording == recording


@pytest.mark.parametrize("name", ["kit.npz", "missing/kit.safetensors"])
def test_place_that_makes_no_sense_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"saved as NAME\.safetensors|no folder"):
        made().save(tmp_path / name)


def test_missing_kit_is_told_with_how_to_make_one():
    with pytest.raises(KitError, match=r'`taggram teach FOLDER --kit "my kit.safetensors"` makes one'):
        Kit.load("my kit.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_kit_that_is_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "kit.safetensors"
    made().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    with pytest.raises(KitError, match="cut short"):
        Kit.load(path)


def test_model_is_no_kit(tmp_path):
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(KitError, match="no kit of taggram"):
        Kit.load(tmp_path / "model.safetensors")


def rewritten(path, change):
    """Write a kit whose facts and tensors a function changed."""
    made().save(path)
    with safe_open(path, framework="np") as stream:
        facts = json.loads(stream.metadata()[HEADER_KEY])
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    change(facts, tensors)
    save_file(tensors, path, metadata={HEADER_KEY: json.dumps(facts)})
    return path


def test_kit_of_a_newer_taggram_is_refused(tmp_path):
    path = rewritten(tmp_path / "kit.safetensors", lambda facts, _: facts.update(format=FORMAT + 1, version="9.0"))
    with pytest.raises(KitError, match=r"written by taggram 9\.0.*Use a newer taggram"):
        Kit.load(path)


WRONG = {
    "no tags": lambda facts, _: facts.pop("tags"),
    "tags that are no text": lambda facts, _: facts.update(tags=[1, 2]),
    "another task": lambda facts, _: facts.update(task="some"),
    "facts that are no object": lambda facts, _: facts.update(facts=[]),
    "an example without tags": lambda facts, _: facts.update(examples=[["a"]]),
    "a missing tensor": lambda _, tensors: tensors.pop("weight"),
    "a tensor of another shape": lambda _, tensors: tensors.update(bias=np.zeros(3, np.float32)),
    "numbers that are none": lambda _, tensors: tensors.update(bias=np.full(2, np.nan, np.float32)),
    "a tag that comes twice": lambda facts, _: facts.update(tags=["hat", "hat"]),
    "none of these before others": lambda facts, _: facts.update(tags=[NONE_OF_THESE, "hat"]),
    "numbers of another kind": lambda _, tensors: tensors.update({"rows.example": np.zeros(2, np.float32)}),
    "vectors of unknown examples": lambda _, tensors: tensors.update({"rows.example": np.array([0, 7], np.int32)}),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_damaged_kit_is_refused(tmp_path, change):
    with pytest.raises(KitError, match="is damaged"):
        Kit.load(rewritten(tmp_path / "kit.safetensors", change))


def test_kit_of_other_weights_is_refused():
    model = taggram.create_model("musicnn", n_tags=2)
    with pytest.raises(KitError, match=r"musicnn\.mtt with other weights"):
        taggram.Tagger(model, kit=made(), device="cpu")


def test_kit_has_its_own_patch():
    with pytest.raises(ConfigError, match="a kit has the patch"):
        taggram.Tagger(kit=made(), patch_s=1.0)


def test_kit_of_a_model_file_that_is_gone_says_where_it_was_looked_for(tmp_path):
    kit = replace(made(), model=str(tmp_path / "mine.safetensors"))
    kit.save(tmp_path / "kit.safetensors")
    with pytest.raises(KitError, match=r"needs the model .*mine\.safetensors.* nor beside the kit"):
        taggram.Tagger(kit=tmp_path / "kit.safetensors")
