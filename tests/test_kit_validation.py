"""What cross-validation says of a kit, with vectors that are made up: no network and no sound is needed."""

from __future__ import annotations

import numpy as np
import pytest

from taggram import Kit
from taggram.errors import TrainingError
from taggram.kit import NONE_OF_THESE, KitExample
from taggram.learning._kit_fit import Heard, Network, fit_kit
from taggram.learning._kit_validation import temperature
from taggram.learning.kit_methods import METHODS

WIDTH = 12
NETWORK = Network(model="musicnn.mtt", layers=("penultimate",), features_sha256="0" * 64)


def kit_of(*examples, task="one", method="auto", network=NETWORK, **options):
    """Fit a kit on examples of one vector each: (name, tags, vector)."""
    heard = Heard(
        examples=tuple(KitExample(name, tuple(tags), name) for name, tags, _ in examples),
        vectors=np.array([vector for _, _, vector in examples], np.float32),
        example=np.arange(len(examples), dtype=np.int32),
        semitones=np.zeros(len(examples), np.int8),
    )
    options = {"none_of_these": False, **options}
    return fit_kit(heard, network, task=task, method=method, **options)


def apart(n=3, tags=("a", "b", "c")):
    """Examples of tags that are far apart: each along an axis of its own, with a little noise."""
    rng = np.random.default_rng(0)
    return [
        (f"{tag} {place}", (tag,), 10 * np.eye(WIDTH)[axis] + rng.normal(0, 0.1, WIDTH))
        for axis, tag in enumerate(tags)
        for place in range(n)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_kit_without_a_mistake_is_not_sure_of_any_sound(method):
    kit = kit_of(*apart(), method=method)
    assert kit.facts["validation"]["figure"] == 1.0
    other = np.random.default_rng(1).normal(0, 10, (200, WIDTH)).astype(np.float32)
    assert np.median(kit.scores(other).max(axis=1)) < 0.95


def test_kit_without_a_mistake_is_fairly_sure_of_its_own_tags():
    kit = kit_of(*apart())
    own = np.array([vector for _, _, vector in apart()], np.float32)
    assert (kit.scores(own).max(axis=1) > 0.8).all()


def test_scores_of_several_tags_stay_below_certainty():
    kit = kit_of(*apart(), task="several")
    own = np.array([vector for _, _, vector in apart()], np.float32)
    assert 0.7 < kit.scores(own).max() < 0.995


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_scores_are_as_high_as_answers_are_right(share):
    rng = np.random.default_rng(0)
    labels = np.eye(2, dtype=bool)[rng.integers(0, 2, 5_000)]
    answers = np.where(rng.random(5_000)[:, None] < share, labels, ~labels)
    heat = temperature(70.0 * answers, labels, "one")
    assert 1 / (1 + np.exp(-70.0 / heat)) == pytest.approx(share, abs=0.02)


# -- parts of recordings -----------------------------------------------------------------------------------------------


def in_pairs(parts=3):
    """Four recordings in parts. Each sounds like one of the other tag, so a recording that is left out is missed."""
    axes = np.eye(WIDTH)
    places = {"a1": axes[0] + axes[2], "b1": axes[0] - axes[2], "a2": axes[1] + axes[3], "b2": axes[1] - axes[3]}
    rng = np.random.default_rng(0)
    return [
        (f"{name}.wav@{part}-{part + 0.5}", (name[0],), vector + rng.normal(0, 0.0003, WIDTH))
        for name, vector in places.items()
        for part in range(parts)
    ]


def test_parts_of_one_recording_are_left_out_together():
    found = kit_of(*in_pairs()).facts["validation"]
    assert (found["how"], found["n_examples"]) == ("recording-wise leave-one-out", 12)
    assert found["figure"] < 0.5


def test_folds_keep_recordings_whole():
    found = kit_of(*[(f"{n}{name}", tags, vector) for n in range(26) for name, tags, vector in in_pairs(2)])
    found = found.facts["validation"]
    assert (found["how"], found["n_examples"]) == ("recording-wise 5-fold", 208)


def test_parts_of_one_recording_alone_are_told_as_such():
    examples = [(f"all.wav@{place}-{place + 1}", tags, vector) for place, (_, tags, vector) in enumerate(apart())]
    found = kit_of(*examples).facts["validation"]
    assert (found["how"], found["n_examples"]) == ("segment-wise leave-one-out", 9)


# -- examples without a tag --------------------------------------------------------------------------------------------


def test_one_example_with_and_one_without_a_tag_have_no_figure():
    (name, tags, vector), _, _, (_, _, other), *_ = apart()
    kit = kit_of((name, tags, vector), ("none", (), other), task="several")
    assert kit.facts["validation"] is None


def test_examples_without_a_tag_do_not_change_how_it_is_called():
    rest = [(f"none {place}", (), vector) for place, (_, _, vector) in enumerate(apart(2, ("c", "d")))]
    found = kit_of(*apart(2, ("a", "b")), *rest, task="several").facts["validation"]
    assert (found["how"], found["n_examples"]) == ("leave-one-out", 4)


def test_threshold_of_a_tag_and_one_example_without_it_is_a_number(tmp_path):
    (*x, other) = apart()[:4]
    kit = kit_of(*x, ("none", (), other[2]), task="several", none_of_these=True)
    kit.save(tmp_path / "kit.safetensors")
    assert Kit.load(tmp_path / "kit.safetensors").tags == ("a", NONE_OF_THESE)


def test_examples_without_a_tag_stand_for_other_sound():
    rest = [(f"none {place}", (), vector) for place, (_, _, vector) in enumerate(apart(3, ("c", "d"))[3:])]
    kit = kit_of(*apart(3, ("a",)), *rest, task="several", none_of_these=True)
    best = kit.scores(np.array([vector for _, _, vector in rest], np.float32)).argmax(axis=1)
    assert [kit.tags[place] for place in best] == [NONE_OF_THESE] * 3


# -- a network that knows the examples ---------------------------------------------------------------------------------

TUNED = Network(
    model="musicnn.mtt", layers=("penultimate",), features_sha256="0" * 64, tuned={"x": np.zeros(1, np.float16)}
)


def test_tuned_network_has_no_figure_of_the_examples_that_it_knows():
    kit = kit_of(*apart(), network=TUNED)
    assert (kit.facts["validation"], kit.facts["compared"]) == (None, {})


def test_tuned_network_gives_no_threshold_either():
    with pytest.raises(TrainingError, match="the network is tuned on all of them"):
        kit_of(*apart(), network=TUNED, none_of_these=True)
