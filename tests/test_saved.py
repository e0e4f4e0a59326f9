"""A model that is saved comes back equal to the bit, and what does not fit is refused by name."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from _sounds import encoded
from safetensors.torch import load_file, save_file

import taggram
from taggram.errors import ConfigError, WeightsError
from taggram.models._saved import CARD_KEY, describe

SETTINGS = {"n_tags": 3, "pooling": "trained"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = taggram.create_model("vgg", **SETTINGS).eval()
    model.tags = ("a", "b", "c")
    return model


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def sound():
    return 0.1 * torch.randn(2, 47_616, generator=torch.Generator().manual_seed(0))


def rewrite(path, card=None, **changes):
    """Write a saved file again with other facts in its card, or with another card altogether."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    known = json.loads(header["__metadata__"][CARD_KEY])
    text = json.dumps({**known, **changes}) if card is None else card
    save_file(load_file(path), path, metadata={CARD_KEY: text})
    return path


def test_loaded_model_gives_the_same_bits(model, saved):
    assert torch.equal(taggram.load_model(saved)(sound()), model(sound()))


def test_loaded_model_has_the_same_facts(model, saved):
    assert describe(taggram.load_model(saved)) == describe(model)


def test_loaded_model_is_in_evaluation_mode(saved):
    assert not taggram.load_model(saved).training


def test_saving_again_gives_the_same_bytes(saved, tmp_path):
    taggram.load_model(saved).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_card_lies_beside_the_weights(model, saved):
    assert json.loads(saved.with_suffix(".json").read_text(encoding="utf-8")) == describe(model)


def test_new_head_and_task_are_kept(model, tmp_path):
    model.reset_head(2, tags=("x", "y"), task="one")
    model.save(tmp_path / "mine.safetensors")
    loaded = taggram.load_model(tmp_path / "mine.safetensors")
    assert (loaded.n_tags, loaded.tags, loaded.task) == (2, ("x", "y"), "one")


def test_changed_frontend_is_kept(model, tmp_path):
    model.change_frontend(padding="zeros")
    model.save(tmp_path / "mine.safetensors")
    assert taggram.load_model(tmp_path / "mine.safetensors").frontend.config == model.frontend.config


def test_frontend_given_as_an_option_is_kept(tmp_path):
    frontend = taggram.create_model("vgg").frontend.config
    model = taggram.create_model("vgg", frontend=frontend)
    model.save(tmp_path / "mine.safetensors")
    assert taggram.load_model(tmp_path / "mine.safetensors").options == {"frontend": frontend}


def test_saved_model_tags_by_its_file(saved):
    result = taggram.tag((sound()[0].numpy(), 16_000), model=saved)
    assert (result.model, result.tags) == ("mine", ("a", "b", "c"))


def test_saved_model_tags_in_workers(saved, tmp_path):
    song = tmp_path / "song.wav"
    song.write_bytes(encoded(sound()[0].numpy(), 16_000))
    with taggram.Tagger(saved) as tagger:
        (result,) = tagger.tag_many([song], n_workers=1)
    assert result.tags == ("a", "b", "c")


def test_other_suffix_is_refused(model, tmp_path):
    with pytest.raises(ConfigError, match=r"saved as NAME\.safetensors"):
        model.save(tmp_path / "mine.pt")


def test_network_that_no_name_builds_is_refused(model, tmp_path):
    model.name = None
    with pytest.raises(ConfigError, match="not made by create_model"):
        model.save(tmp_path / "mine.safetensors")


def test_write_that_fails_leaves_the_old_file(model, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.save(saved)
    assert (saved.read_bytes(), len(list(saved.parent.iterdir()))) == (before, 2)


def test_missing_file_is_told(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        taggram.load_model(tmp_path / "none.safetensors")


def test_file_cut_short_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="cut short"):
        taggram.load_model(saved)


def test_weights_of_another_program_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="its header has no card"):
        taggram.load_model(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"network": "vg"}, "no network named 'vg'. Did you mean vgg", id="unknown network"),
        pytest.param({"network": "musicnn", "options": {}}, "it lacks .*it has no place for", id="other network"),
        pytest.param({"options": {"poling": 1}}, "no option 'poling'", id="unknown option"),
        pytest.param({"options": {"pooling": "no"}}, "wanted one of 'library', 'trained'", id="option without sense"),
        pytest.param({"n_tags": 4}, r"head\.weight \(float32 \(3, 256\) came, float32 \(4, 256\)", id="other shape"),
        pytest.param({"tags": ["a"]}, "1 tags for 3 outputs", id="too few tags"),
        pytest.param({"tags": [1, 2, 3]}, "lacks tags", id="tags that are no names"),
        pytest.param({"task": "guess"}, "lacks task", id="unknown task"),
        pytest.param({"frontend": {"kind": "log_mel"}}, "needs sample_rate", id="half a front-end"),
        pytest.param({"format": 2}, "Use a newer taggram", id="newer format"),
    ],
)
def test_card_that_does_not_fit_is_refused(saved, changes, told):
    with pytest.raises(WeightsError, match=told):
        taggram.load_model(rewrite(saved, **changes))


@pytest.mark.parametrize("card", ["{", "[]", "{}", "[" * 100_000], ids=["cut", "list", "empty", "deep"])
def test_card_that_is_none_is_refused(saved, card):
    with pytest.raises(WeightsError, match="its card"):
        taggram.load_model(rewrite(saved, card=card))
