"""`taggram teach` and `taggram tag --kit` as processes: what they print, write and refuse."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from _sounds import encoded
from _tagged_files import seen_by_mutagen
from _taught import sound, write_examples, write_network

from taggram import Kit
from taggram.kit import KitExample, KitRows

TAGS = ("beep", "hiss", "hum")


@pytest.fixture(scope="module")
def place(tmp_path_factory, run_taggram):
    """A folder with examples, a network, a kit of them, and a sound that is not among them."""
    place = tmp_path_factory.mktemp("place")
    write_network(place / "net.safetensors")
    write_examples(place / "examples", 3)
    (place / "examples" / "hum" / "broken.wav").write_bytes(b"no sound")
    (place / "new.wav").write_bytes(encoded(sound("hum", 90)))
    return place


@pytest.fixture(scope="module")
def taught(place, run_taggram):
    return run_taggram(
        "teach", "examples", "--kit", "kit.safetensors", "--model", "net.safetensors", "--picture", "confused.png",
        "--workers", "1", cwd=place,
    )  # fmt: skip


def test_kit_is_made_and_told(taught):
    assert re.fullmatch(r"3 tags, 3 examples, leave-one-out accuracy [01]\.\d\d(, weakest: .+)?\n", taught.stdout)
    assert "on penultimate of net.safetensors" in taught.stderr


def test_broken_example_is_told_in_one_line(taught):
    assert taught.returncode == 1
    line = next(line for line in taught.stderr.splitlines() if "broken.wav" in line)
    assert line.startswith("hum/broken.wav: ")


def test_confusions_are_drawn(taught, place):
    assert (place / "confused.png").read_bytes().startswith(b"\x89PNG")


def test_kit_tags_files(taught, place, run_taggram):
    done = run_taggram("tag", "--kit", "kit.safetensors", "--format", "json", "new.wav", "--workers", "1", cwd=place)
    line = json.loads(done.stdout)
    assert (done.returncode, line["model"], line["tags"][0]["tag"]) == (0, "kit", "hum")
    assert {one["tag"] for one in line["tags"]} == set(TAGS)


def test_tag_is_removed(taught, place, run_taggram):
    (place / "less.safetensors").write_bytes((place / "kit.safetensors").read_bytes())
    done = run_taggram("teach", "--kit", "less.safetensors", "--remove", "hiss", cwd=place)
    assert (done.returncode, Kit.load(place / "less.safetensors").tags) == (0, ("beep", "hum"))


def test_examples_are_added(taught, place, run_taggram):
    (place / "more.safetensors").write_bytes((place / "kit.safetensors").read_bytes())
    (place / "two" / "whine").mkdir(parents=True)
    (place / "two" / "whine" / "1.wav").write_bytes(encoded(sound("beep", 5)[::2]))
    done = run_taggram("teach", "two", "--kit", "more.safetensors", "--add", "--workers", "1", cwd=place)
    assert (done.returncode, Kit.load(place / "more.safetensors").tags) == (0, ("beep", "hiss", "hum", "whine"))


def test_one_tag_of_a_kit_goes_into_a_file(taught, place, run_taggram):
    pytest.importorskip("mutagen", reason="mutagen is not installed: pip install 'taggram[write]'")
    (place / "written.flac").write_bytes(encoded(sound("hum", 91), kind="FLAC"))
    done = run_taggram("tag", "--write", "--kit", "kit.safetensors", "written.flac", "--workers", "1", cwd=place)
    assert (done.returncode, seen_by_mutagen(place / "written.flac")) == (0, ["hum"])


def test_kit_is_replaced_if_asked(taught, place, run_taggram):
    write_examples(place / "other", 1, ("hum", "beep"))
    (place / "again.safetensors").write_bytes((place / "kit.safetensors").read_bytes())
    arguments = ("teach", "other", "--kit", "again.safetensors", "--model", "net.safetensors", "--workers", "1")
    refused = run_taggram(*arguments, cwd=place)
    assert (refused.returncode, "--add adds the examples to it, --replace" in refused.stderr) == (2, True)
    assert (place / "again.safetensors").read_bytes() == (place / "kit.safetensors").read_bytes()
    assert run_taggram(*arguments, "--replace", cwd=place).returncode == 0
    assert Kit.load(place / "again.safetensors").tags == ("beep", "hum")


def test_two_who_change_one_kit_at_once_take_turns(place, started, monkeypatch):
    monkeypatch.chdir(place)
    rows = np.repeat(np.eye(4, dtype=np.float16), 2, axis=0)
    names = ["a", "b", "c", "d"]
    Kit(
        tags=tuple(names), task="one", method="svm", model="net.safetensors", layers=("penultimate",),
        features_sha256="0" * 64, mean=np.zeros(4, np.float32), inverse_scale=np.ones(4, np.float32),
        weight=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32),
        examples=tuple(KitExample(f"{name} {n}", (name,), f"{name}{n}") for name in names for n in range(2)),
        rows=KitRows(vectors=rows, example=np.arange(8, dtype=np.int32), semitones=np.zeros(8, np.int8)),
        facts={"asked_for": "auto", "validation": None},
    ).save("shared.safetensors")  # fmt: skip
    both = [started("teach", "--kit", "shared.safetensors", "--remove", name) for name in ("b", "d")]
    assert [process.wait() for process in both] == [0, 0]
    assert Kit.load("shared.safetensors").tags == ("a", "c")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("--kit", "new.safetensors"), "there are no examples", 2),
        (("examples", "--kit", "new.npz"), "saved as NAME.safetensors", 2),
        (("examples", "--kit", "net.safetensors"), "is there and is no kit", 2),
        (("examples", "--kit", "new.safetensors", "--add"), "there is no such kit", 2),
        (("examples", "--kit", "kit.safetensors", "--remove", "hum"), "wants no examples", 2),
        (("examples", "--kit", "kit.safetensors", "--add", "--task", "one"), "--task is what the kit was made with", 2),
        (("--kit", "kit.safetensors", "--remove", "hum", "--model", "x"), "--model is of no use with --remove", 2),
        (("examples", "--kit", "kit.safetensors", "--add", "--replace"), "--replace makes a new kit, and --add", 2),
        (("examples", "--kit", "new.safetensors", "--picture", "out.xyz"), "the name should end in .png", 2),
        (("examples", "--kit", "new.safetensors", "--model", "musicn.mtt"), "Did you mean musicnn.mtt", 2),
        (("examples", "--kit", "new.safetensors", "--method", "svn"), "method is 'svn'", 2),
        (("missing", "--kit", "new.safetensors"), "wanted a folder with a folder for each tag", 1),
        (("examples/hum", "--kit", "new.safetensors"), "there is no sound in folders", 1),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(taught, place, run_taggram, arguments, words, code):
    model = () if {"--model", "--add", "--remove"} & set(arguments) else ("--model", "net.safetensors")
    done = run_taggram("teach", *arguments, *model, cwd=place)
    assert words in done.stderr
    assert (done.returncode, done.stdout) == (code, "")
    assert not (place / "new.safetensors").exists()


@pytest.mark.parametrize(
    ("kit", "code", "said"), [("missing.safetensors", 2, "no such kit"), ("net.safetensors", 1, "no kit of taggram")]
)
def test_tagging_with_what_is_no_kit_is_refused(taught, place, run_taggram, kit, code, said):
    done = run_taggram("tag", "--kit", kit, "new.wav", cwd=place)
    assert (done.returncode, said in done.stderr) == (code, True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_kit_is_as_it_was_when_teaching_is_killed_while_it_is_written(taught, place, step):
    before = (place / "kit.safetensors").read_bytes()
    code = f"""
        import os, pathlib, signal, sys
        from taggram.apps.cli import main
        def end(*arguments, **options): os.kill(os.getpid(), signal.SIGKILL)
        {step} = end
        main()
    """
    arguments = ("teach", "--kit", "kit.safetensors", "--remove", "hiss")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *arguments], cwd=place, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (place / "kit.safetensors").read_bytes() == before
