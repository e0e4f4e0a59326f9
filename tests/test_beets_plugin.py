"""The plugin of beets, with a real library: imports are tagged, the field is in the files, queries find by it."""

from __future__ import annotations

import os
import subprocess
import sys

import mutagen
import pytest
from _sounds import RATE, encoded, noise
from _tagged_files import seen_by_mutagen
from _taught import sound, write_network

import taggram

pytest.importorskip("beets", reason="beets is not installed: pip install 'taggram[beets]'")
WITHIN_S = 120


@pytest.fixture(scope="module")
def beet(weights, tmp_path_factory):
    """Run `beet ...` with a library of its own."""
    home = tmp_path_factory.mktemp("beets")
    (home / "config.yaml").write_text(
        "plugins: taggram\nimport: {copy: yes, write: yes, autotag: no, quiet: yes}\n"
        "taggram: {auto: yes, top: 2, workers: 1}\nthreaded: no\n",
        encoding="utf-8",
    )

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "beets", "-d", home / "music", "-l", home / "library.db", *arguments],
            env={**os.environ, "BEETSDIR": str(home)},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def imported(beet, tmp_path_factory):
    """Two imported songs, and a third that is broken inside of the library."""
    folder = tmp_path_factory.mktemp("songs")
    for name, kind in (("a", "MP3"), ("b", "FLAC")):
        path = folder / f"{name}.{kind.lower()}"
        path.write_bytes(encoded(noise(4, 44_100, seed=ord(name)), 44_100, kind))
        file = mutagen.File(path, easy=True)
        if file.tags is None:
            file.add_tags()
        file["title"] = [f"song {name}"]
        file.save()
    done = beet("import", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_import_keeps_tags_in_the_library_and_beets_writes_them(imported, beet):
    assert beet("write", "--force").returncode == 0  # an import as it is leaves the files as they are
    lines = beet("ls", "-f", "$title|$taggram|$path").stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        _, tags, path = line.split("|")
        assert len(tags.split("; ")) == 2
        assert seen_by_mutagen(path) == tags.split("; ")


@pytest.mark.slow
def test_query_finds_by_tag(imported, beet):
    tag = beet("ls", "-f", "$taggram", "title:song a").stdout.strip().split("; ")[0]
    assert "song a" in beet("ls", "-f", "$title", f"taggram:{tag}").stdout
    assert beet("ls", "taggram:no such tag").stdout == ""


@pytest.mark.slow
def test_tags_are_those_of_the_command(imported, beet, run_taggram):
    path = beet("ls", "-f", "$path", "title:song b").stdout.strip()
    line = run_taggram("tag", "--top", "2", path).stdout.strip().split("\t")
    tags = beet("ls", "-f", "$taggram", "title:song b").stdout.strip()
    assert tags == "; ".join(word.rpartition("=")[0] for word in line[1:])


@pytest.mark.slow
def test_command_tags_again_when_forced_and_tells_a_broken_file(imported, beet):
    path = beet("ls", "-f", "$path", "title:song a").stdout.strip()
    assert beet("modify", "-y", "-W", "title:song a", "taggram=mine").returncode == 0
    kept = beet("taggram", "title:song a")
    assert (kept.returncode, beet("ls", "-f", "$taggram", "title:song a").stdout.strip()) == (0, "mine")
    assert "song a" in beet("taggram", "--pretend", "--force", "title:song a").stdout
    assert beet("ls", "-f", "$taggram", "title:song a").stdout.strip() == "mine"
    assert beet("taggram", "--force", "--nowrite", "title:song a").returncode == 0
    assert beet("ls", "-f", "$taggram", "title:song a").stdout.strip() == "; ".join(seen_by_mutagen(path))
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"broken")
    assert "is it sound at all" in beet("taggram", "--force", "title:song a").stderr


@pytest.mark.slow
def test_wrong_model_is_told_in_one_line(imported, beet, tmp_path):
    config = tmp_path / "more.yaml"
    config.write_text("taggram: {model: musicn.mtt}\n", encoding="utf-8")
    done = beet("-c", config, "taggram", "--force")
    assert (done.returncode, "Did you mean musicnn.mtt" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.slow
def test_tags_of_a_kit_come_into_the_library(imported, beet, tmp_path):
    write_network(tmp_path / "net.safetensors")
    kinds = {tag: [(sound(tag, place), RATE) for place in range(2)] for tag in ("hiss", "hum")}
    taggram.teach(kinds, model=tmp_path / "net.safetensors", device="cpu").kit.save(tmp_path / "kit.safetensors")
    config = tmp_path / "more.yaml"
    config.write_text(f"taggram: {{kit: '{tmp_path / 'kit.safetensors'}', top: null}}\n", encoding="utf-8")
    done = beet("-c", config, "taggram", "--force", "--nowrite", "title:song b")
    assert done.returncode == 0, done.stderr
    assert beet("ls", "-f", "$taggram", "title:song b").stdout.strip() == "hiss"  # of two, exactly one holds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("top: 0", "top is 0; it must be 1 at least"),
        ("workers: -1", "workers is -1"),
        ("workers: many", "must be"),
        ("threshold: 2", "threshold is 2; it must be from 0 to 1"),
        ("kit: missing.safetensors", "there is no such kit"),
    ],
)
def test_setting_that_makes_no_sense_is_told_in_one_line(imported, beet, tmp_path, settings, words):
    config = tmp_path / "more.yaml"
    config.write_text(f"taggram: {{{settings}}}\n", encoding="utf-8")
    done = beet("-c", config, "taggram", "--force")
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
