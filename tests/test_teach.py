"""Tags taught by examples, in Python: what a kit then answers, and how it is changed without the old sound."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _at_hand import SHARED, needs_weights
from _sounds import encoded
from _taught import sound, write_examples, write_network

import taggram
from taggram.errors import ConfigError, DatasetError, KitError, TrainingError, UnknownNameError
from taggram.kit import NONE_OF_THESE
from taggram.learning.examples import read_examples
from taggram.learning.kit_methods import METHODS
from taggram.learning.teach import confusion, draw_confusions, summary

TAGS = ("beep", "hiss", "hum")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "net.safetensors")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"), 3)


@pytest.fixture(scope="module")
def taught(examples, network):
    return taggram.teach(examples, model=network, device="cpu", n_workers=1)


def unseen(tag, place=90):
    return sound(tag, place), 16_000


def answers(kit, network, *sounds):
    """The best tag of each sound."""
    with taggram.Tagger(network, kit=kit, device="cpu") as tagger:
        return [tagger.tag(one).top(1)[0][0] for one in sounds]


def listened(kit, network, *tags):
    return answers(kit, network, *(unseen(tag) for tag in tags))


# -- what a kit answers ------------------------------------------------------------------------------------------------


def test_kit_tags_sound_that_it_has_not_seen(taught, network):
    assert listened(taught.kit, network, *TAGS) == list(TAGS)


def test_kit_in_a_file_answers_as_the_one_in_memory(taught, network, tmp_path):
    taught.kit.save(tmp_path / "kit.safetensors")
    wanted = taggram.Tagger(network, kit=taught.kit, device="cpu").tag(unseen("hum"))
    got = taggram.Tagger(network, kit=tmp_path / "kit.safetensors", device="cpu").tag(unseen("hum"))
    np.testing.assert_array_equal(got.scores, wanted.scores)
    assert got.model == "kit"


def test_level_of_a_sound_does_not_matter(taught, network):
    tagger = taggram.Tagger(network, kit=taught.kit, device="cpu")
    samples, rate = unseen("beep")
    loud, soft = tagger.tag((samples, rate)), tagger.tag((0.1 * samples, rate))
    np.testing.assert_allclose(soft.scores, loud.scores, atol=1e-3)


def test_long_sound_is_scored_patch_by_patch(taught, network):
    tagger = taggram.Tagger(network, kit=taught.kit, device="cpu")
    whole = np.concatenate([np.resize(sound(tag, 90), 48_000) for tag in ("hum", "hiss")])
    result = tagger.tag((whole, 16_000))
    assert [result.tags[place] for place in result.scores.argmax(axis=1)] == ["hum", "hiss"]
    assert not result.padded


def test_many_files_are_tagged_in_worker_processes(taught, network, examples, tmp_path):
    taught.kit.save(tmp_path / "kit.safetensors")
    paths = [examples / tag / "0.wav" for tag in TAGS]
    with taggram.Tagger(network, kit=tmp_path / "kit.safetensors", device="cpu") as tagger:
        assert [result.top(1)[0][0] for result in tagger.tag_many(paths, n_workers=1)] == list(TAGS)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns(examples, network, taught, method):
    kit = taggram.remove_tags(taught.kit, method=method).kit
    assert kit.method == method
    assert listened(kit, network, *TAGS) == list(TAGS)


def test_one_example_of_each_is_enough(network):
    one = {tag: [(sound(tag, 0), 16_000)] for tag in TAGS}
    kit = taggram.teach(one, model=network, device="cpu").kit
    assert listened(kit, network, *TAGS) == list(TAGS)
    assert summary(kit) == "3 tags, 1 example, nothing could be left out to validate"


def test_none_of_these_is_said_of_other_sound(network):
    kinds = {tag: [(sound(tag, place), 16_000) for place in range(3)] for tag in TAGS}
    kit = taggram.teach(kinds, model=network, device="cpu", none_of_these=True).kit
    assert kit.tags == (*TAGS, NONE_OF_THESE)
    t = np.arange(9_600) / 16_000
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (300, 371, 460, 590, 707, 911)) / 8
    clicks = np.where(np.arange(9_600) % 800 == 0, 0.9, 0.0)
    others = [(other.astype(np.float32), 16_000) for other in (chord, clicks)]
    assert answers(kit, network, *others) == [NONE_OF_THESE] * 2
    assert listened(kit, network, *TAGS) == list(TAGS)
    fewer = taggram.remove_tags(kit, "hiss").kit
    assert fewer.tags == ("beep", "hum", NONE_OF_THESE)


def test_several_tags_may_hold(network):
    def mixed(place, *tags):
        return sum(sound(tag, place) for tag in tags), 16_000

    examples = {tag: [mixed(place, tag) for place in range(3)] for tag in TAGS}
    for place in range(3):
        examples["hum"].append(mixed(place, "hum", "hiss"))
        examples["hiss"].append(mixed(place, "hum", "hiss"))
    kit = taggram.teach(examples, model=network, task="several", device="cpu").kit
    both = [example for example in kit.examples if len(example.tags) == 2]
    assert len(both) == 3
    result = taggram.Tagger(network, kit=kit, device="cpu").tag(mixed(90, "hum", "hiss"))
    assert {tag for tag, _ in result.top(2)} == {"hum", "hiss"}


# -- what is told ------------------------------------------------------------------------------------------------------


def test_summary_tells_how_good_a_kit_is(taught):
    assert re.match(r"3 tags, 3 examples, leave-one-out accuracy [01]\.\d\d", summary(taught.kit))


def test_confusions_count_each_example_once(taught):
    assert confusion(taught.kit).sum(axis=1).tolist() == [3, 3, 3]
    assert draw_confusions(taught.kit) is not None


def test_progress_is_told(network, examples):
    seen = []
    taggram.teach(examples, model=network, device="cpu", n_workers=1, told=lambda *what: seen.append(what))
    assert [n_done for _, n_done, n in seen if n] == list(range(1, 10))


def test_broken_file_is_told_and_passed_over(network, examples, tmp_path):
    folder = tmp_path / "examples"
    shutil.copytree(examples, folder)
    (folder / "hum" / "broken.wav").write_bytes(b"no sound")
    (folder / "hum" / "silent.wav").write_bytes(encoded(np.zeros(8_000, np.float32)))
    taught = taggram.teach(folder, model=network, device="cpu", n_workers=1)
    assert [failure.path for failure in taught.failures] == ["hum/broken.wav", "hum/silent.wav"]
    assert "silent" in taught.failures[1].message
    assert len(taught.kit.examples) == 9


def test_same_sound_under_two_tags_is_refused(network):
    examples = {"a": [unseen("hum")], "b": [unseen("hum")]}
    with pytest.raises(TrainingError, match=r"b 1 \(b\) is the same sound as a 1 \(a\)"):
        taggram.teach(examples, model=network, device="cpu")


def test_same_sound_twice_counts_once(network):
    examples = {"a": [unseen("hum"), unseen("hum")], "b": [unseen("beep")]}
    taught = taggram.teach(examples, model=network, device="cpu")
    assert taught.notes == ("a 2 is the same sound as a 1, and counts once",)
    assert len(taught.kit.examples) == 2


@pytest.mark.parametrize(
    ("examples", "options", "error", "words"),
    [
        ({"a": [(sound("hum", 0), 16_000)]}, {}, TrainingError, "examples of 1 tag"),
        ({"a": [(np.zeros(9, np.float32), 16_000)]}, {}, TrainingError, "none of the 1 examples could be read"),
        ({"a": [(sound("hum", 0), 16_000)]}, {"task": "several"}, TrainingError, "all 1 examples have the tag"),
        ({"a": "song.wav"}, {}, ConfigError, "wanted a list of sounds"),
        ({"a": []}, {"task": "some"}, ConfigError, "task is 'some'"),
        ({"a": []}, {"method": "magic"}, ConfigError, "method is 'magic'"),
        ({"a": []}, {"epochs": 3}, ConfigError, "finetune"),
        ({"a": []}, {"layers": ["pool9"]}, UnknownNameError, "no layer named 'pool9'"),
        ({"a": []}, {"layers": ["pool4", "pool4"]}, ConfigError, "a layer is named twice"),
        ({"a": []}, {"method": "finetune", "none_of_these": True}, ConfigError, "a tuned network knows all of them"),
        ({"": []}, {}, ConfigError, "a tag is ''; wanted a name"),
        ({1: []}, {}, ConfigError, "a tag is 1; wanted a name"),
        ("nowhere", {}, DatasetError, "wanted a folder with a folder for each tag"),
    ],
)
def test_what_makes_no_sense_is_refused(network, examples, options, error, words):
    with pytest.raises(error, match=words):
        taggram.teach(examples, model=network, device="cpu", **options)


def test_threshold_without_a_second_example_is_refused(network):
    one = {tag: [unseen(tag)] for tag in TAGS}
    with pytest.raises(TrainingError, match="threshold of 'none of these' is set from examples"):
        taggram.teach(one, model=network, none_of_these=True, device="cpu")


# -- changes without the old sound -------------------------------------------------------------------------------------


def test_examples_are_added_without_the_old_sound(network, tmp_path):
    first = taggram.teach(write_examples(tmp_path / "a", 3, ("hum", "beep")), model=network, device="cpu", n_workers=1)
    first.kit.save(tmp_path / "kit.safetensors")
    shutil.rmtree(tmp_path / "a")
    more = write_examples(tmp_path / "b", 3, ("hiss",))
    taught = taggram.add_examples(tmp_path / "kit.safetensors", more, device="cpu", n_workers=1)
    assert taught.kit.tags == TAGS
    assert listened(taught.kit, network, *TAGS) == list(TAGS)


def test_kit_that_grew_is_nearly_that_taught_at_once(taught, network, tmp_path):
    parts = [write_examples(tmp_path / tag, 3, (tag,)) for tag in TAGS]
    two = write_examples(tmp_path / "two", 3, TAGS[:2])
    kit = taggram.teach(two, model=network, device="cpu", n_workers=1).kit
    grown = taggram.add_examples(kit, parts[2], model=network, device="cpu").kit
    one, other = (
        taggram.Tagger(network, kit=one, device="cpu").tag(unseen("hum")).scores for one in (grown, taught.kit)
    )
    np.testing.assert_allclose(one, other, atol=0.1)


def test_sound_that_is_known_is_not_added_again(taught, network, examples):
    again = taggram.add_examples(taught.kit, {"hum": [examples / "hum" / "0.wav"]}, model=network, device="cpu")
    assert again.kit.examples == taught.kit.examples
    assert "is the same sound as hum/0.wav, and counts once" in again.notes[0]


def test_tag_is_taken_out_with_its_examples(taught):
    kit = taggram.remove_tags(taught.kit, "hiss").kit
    assert kit.tags == ("beep", "hum")
    assert all(example.tags != ("hiss",) for example in kit.examples)
    assert len(kit.rows.example) < len(taught.kit.rows.example)


def test_last_but_one_tag_stays(taught):
    with pytest.raises(TrainingError, match=r"examples of 1 tag \(hum\)"):
        taggram.remove_tags(taught.kit, "hiss", "beep")


def test_tag_that_a_kit_has_not_is_told(taught):
    with pytest.raises(UnknownNameError, match=r"no tag named 'hem'\. Did you mean hum"):
        taggram.remove_tags(taught.kit, "hem")


def test_kit_of_another_network_takes_no_examples(taught, network, tmp_path):
    kit = replace(taught.kit, features_sha256="0" * 64)
    with pytest.raises(KitError, match="other weights"):
        taggram.add_examples(kit, {"hum": [unseen("hum")]}, model=network, device="cpu")


# -- lists and parts of files ------------------------------------------------------------------------------------------


def test_parts_of_a_long_file_are_examples(network, tmp_path):
    long = np.concatenate([sound(tag, place) for place in range(2) for tag in TAGS])
    (tmp_path / "long.wav").write_bytes(encoded(long))
    rows = [f"long.wav,{tag},{0.6 * (3 * place + at)},{0.6 * (3 * place + at + 1)}"
            for place in range(2) for at, tag in enumerate(TAGS)]  # fmt: skip
    (tmp_path / "list.csv").write_text("path,tags,start,end\n" + "\n".join(rows) + "\n", encoding="utf-8")
    taught = taggram.teach(tmp_path / "list.csv", model=network, device="cpu", n_workers=1)
    assert taught.kit.examples[1].name == "long.wav@0.6-1.2"
    assert listened(taught.kit, network, *TAGS) == list(TAGS)


def test_rows_for_testing_are_left_out_of_a_list(network, tmp_path):
    write_examples(tmp_path / "x", 2)
    rows = [f"x/{tag}/{place}.wav,{'train' if place == 0 else 'test'},{tag}" for tag in TAGS for place in (0, 1)]
    (tmp_path / "list.csv").write_text("path,split,tags\n" + "\n".join(rows), encoding="utf-8")
    taught = taggram.teach(tmp_path / "list.csv", model=network, device="cpu", n_workers=1)
    assert [example.name for example in taught.kit.examples] == [f"x/{tag}/0.wav" for tag in TAGS]
    assert taught.notes == ("rows that are not of train and are left out: 3",)


def test_two_tags_where_exactly_one_holds_are_refused(network, tmp_path):
    write_examples(tmp_path / "x", 1, ("hum",))
    (tmp_path / "list.csv").write_text("path,tags\nx/hum/0.wav,hum|low\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"has 2 tags; exactly one is wanted, or the task 'several'"):
        taggram.teach(tmp_path / "list.csv", model=network, device="cpu", n_workers=1)


def test_odd_characters_in_a_list_are_no_ends_of_lines(tmp_path):
    (tmp_path / "list.csv").write_text('path,tags\n"a\u2028b\x85c\x0cd.wav",x\n', encoding="utf-8")
    assert [example.name for example in read_examples(tmp_path / "list.csv").examples] == ["a\u2028b\x85c\x0cd.wav"]


def test_columns_that_are_not_used_are_told_with_what_was_meant(tmp_path):
    (tmp_path / "list.csv").write_text("path,tags,begin,ends,mood\na.wav,x,1,2,calm\n", encoding="utf-8")
    assert read_examples(tmp_path / "list.csv").notes == (
        "the column begin is not used. Did you mean start?",
        "the column ends is not used. Did you mean end_s or end?",
        "the column mood is not used.",
    )


def test_sound_in_the_place_of_a_list_is_told(tmp_path):
    (tmp_path / "song.wav").write_bytes(encoded(sound("hiss", 0)))
    with pytest.raises(DatasetError, match="it is a sound; wanted a folder with a folder for each tag, or a CSV file"):
        read_examples(tmp_path / "song.wav")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("path,tag\na.wav,x\n", "there is no tags. Did you mean tag"),
        ("path,tags\na.wav\n", "line 2: it has 1 fields; the header has 2"),
        ("path,tags,start,end\na.wav,x,2,1\n", "line 2: the example ends at 1 s"),
        ("path,tags,start\na.wav,x,soon\n", "line 2: start is 'soon'"),
        ("path,tags,split\na.wav,x,test\n", "it lists no example of train"),
        ("path,tags\n,x\n", "line 2: it has no path"),
    ],
)
def test_list_that_makes_no_sense_is_refused(network, tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=words):
        taggram.teach(tmp_path / "list.csv", model=network, device="cpu")


def test_part_behind_the_end_of_a_file_is_told(network, tmp_path):
    write_examples(tmp_path / "x", 1)
    rows = "x/hum/0.wav,hum,\nx/beep/0.wav,beep,\nx/hiss/0.wav,hiss,9\n"
    (tmp_path / "list.csv").write_text("path,tags,start\n" + rows, encoding="utf-8")
    taught = taggram.teach(tmp_path / "list.csv", model=network, device="cpu", n_workers=1)
    assert "it ends before 9 s" in taught.failures[0].message


# -- other networks ----------------------------------------------------------------------------------------------------


def test_network_is_tuned_on_the_examples(network):
    kinds = {tag: [(sound(tag, place), 16_000) for place in range(3)] for tag in TAGS}
    seen = []
    kit = taggram.teach(
        kinds, model=network, method="finetune", epochs=2, device="cpu", told=lambda *what: seen.append(what)
    ).kit
    assert kit.method == "finetune"
    assert kit.tuned
    assert "held-out accuracy" in summary(kit)
    assert {("heard for tuning", 9, 9), ("heard with the tuned network", 9, 9)} <= set(seen)
    assert listened(kit, network, *TAGS) == list(TAGS)
    less = taggram.remove_tags(kit, "hiss").kit
    assert listened(less, network, "hum") == ["hum"]
    assert summary(less) == "2 tags, 3 examples, its network knows all of them"
    with pytest.raises(ConfigError, match="stays as it is then"):
        taggram.remove_tags(kit, "hiss", method="finetune")
    with pytest.raises(ConfigError, match="a tuned network knows all of them"):
        taggram.remove_tags(kit, "hiss", none_of_these=True)


@pytest.mark.parametrize("layers", [("pool3",), ("pool4", "penultimate")])
def test_other_layers_may_be_learned_on(network, layers):
    kinds = {tag: [(sound(tag, place), 16_000) for place in range(2)] for tag in TAGS}
    kit = taggram.teach(kinds, model=network, layers=layers, device="cpu").kit
    assert kit.layers == layers
    assert listened(kit, network, *TAGS) == list(TAGS)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data" / "philharmonia").is_dir(), reason="the recordings of notes are not at hand")
@needs_weights("musicnn.mtt")
def test_instruments_are_told_apart_by_few_notes_each():
    place = Path(__file__).parents[1] / "benchmarks" / "teaching.py"
    options = ("--root", SHARED / "data" / "philharmonia", "--methods", "auto", "--n", "1,5,20")
    done = subprocess.run([sys.executable, place, *options], capture_output=True, text=True, check=True)
    row = next(line for line in done.stdout.splitlines() if line.startswith("| auto"))
    one, five, twenty = (float(cell.split()[0]) for cell in row.split("|")[2:5])
    assert one >= 0.42
    assert five >= 0.70
    assert twenty >= 0.89
