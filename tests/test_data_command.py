"""`taggram data`: what is listed and shown, how data sets are got, and what a check says."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest
from _dataset_layouts import LAYOUTS, put

from taggram.apps._data import get_dataset, print_dataset
from taggram.datasets import list_datasets
from taggram.datasets.esc50 import ESC50


@pytest.fixture(scope="module")
def table(run_taggram):
    done = run_taggram("data", "list")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def card(run_taggram):
    return run_taggram("data", "show", "mtt").stdout


@pytest.fixture
def root(tmp_path):
    """A folder with a name that a shell takes for two."""
    return tmp_path / "my data"


def line_of(table, name):
    (line,) = re.findall(rf"^{name} .*", table, re.MULTILINE)
    return line


# -- list and show -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_datasets())
def test_every_data_set_is_listed(table, name):
    assert line_of(table, name)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("mtt", ["MagnaTagATune", "25,863", "50", "several", "CC BY-NC-SA 3.0", "download"]),
        ("tut2017", ["6,300", "15", "one", "download, 14.3 GB"]),
        ("jamendo", ["55,525", "by hand"]),
        ("jingju", ["29", "download and by hand"]),
    ],
)
def test_line_of_a_data_set_says(table, name, cells):
    assert [cell for cell in cells if cell not in line_of(table, name)] == []


@pytest.mark.parametrize(
    "text",
    [
        "CC BY-NC-SA 3.0", "Law, West, Mandel, Bay and Downie, ISMIR 2009", "mtt50_samplecnn", "random-18000-2000",
        "15,244  1,529  4,332  folders 0 to b are train", "mp3.zip", "3.0 GB", "Three clips cannot be read",
    ],
)  # fmt: skip
def test_card_shows(card, text):
    assert text in card


@pytest.mark.parametrize("name", list_datasets())
def test_every_card_can_be_shown(capsys, name):
    print_dataset(name)
    assert capsys.readouterr().out.startswith(f"{name}: ")


@pytest.mark.parametrize("command", ["show", "get", "check"])
def test_unknown_data_set_is_offered_the_nearest(run_taggram, command, root):
    done = run_taggram("data", command, "gtzn", *(["--root", root] if command != "show" else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert "no data set named 'gtzn'. Did you mean gtzan? `taggram data list`" in done.stderr


# -- get ---------------------------------------------------------------------------------------------------------------


def test_what_is_to_be_done_by_hand_is_told_for_the_folder(run_taggram, root):
    done = run_taggram("data", "get", "jamendo", "--root", root)
    assert done.returncode == 1
    assert f"1. git clone https://github.com/MTG/mtg-jamendo-dataset '{root}'\n" in done.stdout
    assert "no split-0 in" in done.stderr


def test_what_was_done_by_hand_is_seen(run_taggram, root):
    LAYOUTS["jamendo"].write(root, "")
    done = run_taggram("data", "get", "jamendo", "--root", root)
    assert done.returncode == 0
    assert "by hand" not in done.stdout
    assert "jamendo: all files are there" in done.stderr


def test_own_sound_is_nothing_to_get(run_taggram, root):
    assert run_taggram("data", "get", "synth", "--root", root).returncode == 0
    assert not root.exists()


def test_offline_fetches_nothing(run_taggram, root):
    done = run_taggram("data", "get", "esc50", "--root", root, env={**os.environ, "TAGGRAM_OFFLINE": "1"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "ESC-50-master.zip is not at hand and TAGGRAM_OFFLINE is set" in done.stderr


def test_unknown_file_is_told(run_taggram, root):
    done = run_taggram("data", "get", "fma", "--root", root, "--file", "fma_smal.zip")
    assert done.returncode == 2
    assert "no file named 'fma_smal.zip'. Did you mean fma_small.zip" in done.stderr


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The archive of a small ESC-50, which its card names."""
    LAYOUTS["esc50"].write(tmp_path / "made", "ESC-50-master")
    data = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "made")).read_bytes()
    (remote,) = ESC50.card.remotes
    remote = dataclasses.replace(remote, checksum=f"md5:{hashlib.md5(data).hexdigest()}")
    monkeypatch.setattr(ESC50, "card", dataclasses.replace(ESC50.card, remotes=(remote,)))
    monkeypatch.setenv("TAGGRAM_OFFLINE", "1")
    return data


def test_archive_that_was_brought_is_unpacked_and_checked(archive, root, capsys):
    put(root / "ESC-50-master.zip", archive)
    assert get_dataset("esc50", root, None)
    told = capsys.readouterr()
    assert told.out.startswith("esc50, split fold-1, tags esc50: 200 train, 0 valid, 50 test; sha256 ")
    assert "unpacking ESC-50-master.zip (" in told.err
    assert "esc50: all files are there" in told.err


def test_one_file_alone_is_not_checked(archive, root, capsys):
    put(root / "ESC-50-master.zip", archive)
    assert get_dataset("esc50", root, ["ESC-50-master.zip"])
    assert capsys.readouterr().out == ""


# -- check -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def urbansound(root):
    LAYOUTS["urbansound8k"].write(root, "UrbanSound8K")
    return root


def test_check_of_all_that_is_there(run_taggram, urbansound):
    done = run_taggram("data", "check", "urbansound8k", "--root", urbansound, "--split", "fold-10")
    assert done.returncode == 0
    first, *notes = done.stdout.splitlines()
    assert re.fullmatch(
        "urbansound8k, split fold-10, tags urbansound8k: 24 train, 3 valid, 3 test; sha256 [0-9a-f]{64}", first
    )
    assert "note: test: 3 tracks, 837 are published" in notes
    assert done.stderr == "urbansound8k: all files are there\n"


def test_check_names_what_is_wrong(run_taggram, urbansound):
    sound = urbansound / "UrbanSound8K/audio"
    (sound / "fold1/100000-0-0-0.wav").unlink()
    put(sound / "fold2/100001-1-0-1.wav", b"")
    put(sound / "fold3/a\nb.wav")
    done = run_taggram("data", "check", "urbansound8k", "--root", urbansound)
    assert done.returncode == 1
    assert f"missing: {sound}/fold1/100000-0-0-0.wav\nempty: {sound}/fold2/100001-1-0-1.wav\n" in done.stdout
    assert f"in no split: {sound}/fold3/a\\nb.wav\n" in done.stdout
    assert done.stderr == "urbansound8k: 1 missing, 1 empty\n"


def test_options_of_the_data_set_can_be_given(run_taggram, root):
    LAYOUTS["jamendo"].write(root, "")
    done = run_taggram(
        "data", "check", "jamendo", "tags=genre", "audio=audio-low", "--root", root, "--split", "split-2"
    )
    assert done.returncode == 0
    assert done.stdout.startswith("jamendo, split split-2, tags genre: 2 train, 1 valid, 2 test")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["audio=flac"], "audio is 'flac'; wanted one of 'audio', 'audio-low'"),
        (["sound=x"], "jamendo has no option 'sound'"),
        (["--split", "split-5"], "no split named 'split-5'. Did you mean split-4"),
    ],
)
def test_wrong_usage_is_told(run_taggram, root, arguments, told):
    done = run_taggram("data", "check", "jamendo", *arguments, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_folder_that_holds_nothing_is_told(run_taggram, root):
    done = run_taggram("data", "check", "mtt", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`taggram data get mtt --root {root}` fetches the data set" in done.stderr


def test_checksums_are_compared_when_asked_for(run_taggram, urbansound):
    done = run_taggram("data", "check", "urbansound8k", "--root", urbansound, "--hashes")
    assert "note: the data set gives no checksums of its files" in done.stdout
