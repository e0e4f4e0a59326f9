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
from _sounds import encoded, noise, patched

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


@pytest.fixture(scope="module")
def made_up(run_taggram, tmp_path_factory):
    """A set that the command makes up, in a folder that was not there."""
    folder = tmp_path_factory.mktemp("synth") / "new"
    done = run_taggram("data", "get", "synth", "n_tracks=5", "length_s=1", "seed=3", "--root", folder)
    return folder, done


def test_made_up_set_is_written_and_checked(made_up):
    folder, done = made_up
    assert done.returncode == 0
    assert done.stdout.startswith("synth, split artist, tags synth: ")
    assert done.stderr == "synth: all files are there\n"
    assert len(list(folder.rglob("*.flac"))) == 5


def test_made_up_set_that_is_there_is_not_made_again(run_taggram, made_up):
    folder, _ = made_up
    times = [path.stat().st_mtime_ns for path in sorted(folder.rglob("*.flac"))]
    assert run_taggram("data", "get", "synth", "--root", folder).returncode == 0
    assert [path.stat().st_mtime_ns for path in sorted(folder.rglob("*.flac"))] == times


def test_made_up_set_goes_on_where_it_was_cut_short(run_taggram, made_up, tmp_path):
    folder, _ = made_up
    begun = shutil.copytree(folder, tmp_path / "begun")
    lost = sorted(begun.rglob("*.flac"))[2]
    lost.unlink()
    (begun / "clips.csv").unlink()
    assert run_taggram("data", "get", "synth", "--root", begun).returncode == 0
    assert lost.read_bytes() == (folder / lost.relative_to(begun)).read_bytes()


def test_made_up_set_of_other_settings_is_refused(run_taggram, made_up):
    done = run_taggram("data", "get", "synth", "n_tracks=6", "--root", made_up[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert "holds a set with n_tracks=5, length_s=1.0, seed=3, not n_tracks=6; name another folder" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["synth", "n_track=6"], "has no option 'n_track'. Did you mean n_tracks?", id="name"),
        pytest.param(["synth", "n_tracks=many"], "n_tracks is 'many'; wanted a whole number", id="value"),
        pytest.param(["synth", "--file", "a"], "synth has no files to download; leave --file out", id="file"),
        pytest.param(["esc50", "n_tracks=6"], "esc50 has no option 'n_tracks'", id="another data set"),
        pytest.param(["esc50", "split=fold-6"], "no split named 'fold-6'", id="split, before anything is fetched"),
    ],
)
def test_option_of_get_that_makes_no_sense_is_refused(run_taggram, root, arguments, told):
    done = run_taggram("data", "get", *arguments, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
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


# -- check --decode ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A good file, one that is damaged in its middle, one cut short after its header, and cuts out of the good one."""
    folder = tmp_path_factory.mktemp("faulty")
    flac = encoded(noise(2.0), kind="FLAC")
    put(folder / "good.flac", flac)
    put(folder / "damaged.flac", patched(flac, len(flac) // 2, bytes(1000)))
    put(folder / "cut.wav", encoded(noise(1.0))[:30])
    put(folder / "half.wav", encoded(noise(1.0))[:20_000])
    rows = ["path,split,tags,start_s", "good.flac,train,a,0.5", "good.flac,train,a,3", "damaged.flac,train,a,"]
    put(folder / "clips.csv", "\n".join([*rows, "cut.wav,test,a,", "half.wav,test,a,", ""]).encode())
    return folder


def test_check_by_first_bytes_takes_what_begins_like_sound(run_taggram, faulty):
    assert run_taggram("data", "check", "csv", "min_count=1", "--root", faulty).returncode == 0


def test_check_that_decodes_finds_what_breaks_off_or_ends_too_early(run_taggram, faulty):
    done = run_taggram("data", "check", "csv", "min_count=1", "--root", faulty, "--decode", "--workers", "1")
    assert done.returncode == 1
    broken = dict(re.findall(r"^broken: .*/(.+?): (.+)$", done.stdout, re.MULTILINE))
    assert broken.keys() == {"good.flac", "cut.wav"}
    assert broken["good.flac"] == "it ends at 2.00 s, before a track that starts at 3 s"
    assert done.stderr == "csv: 2 broken\n"


def test_check_that_decodes_notes_damage_that_can_be_read_across(run_taggram, faulty):
    done = run_taggram("data", "check", "csv", "min_count=1", "--root", faulty, "--decode")
    notes = dict(re.findall(r"^note: .*/(.+?): (.+)$", done.stdout, re.MULTILINE))
    assert notes["damaged.flac"] == "damaged inside, parts may be missing"
    assert notes.keys() == {"damaged.flac", "half.wav"}


def test_check_that_decodes_is_content_with_good_sound(run_taggram, made_up):
    assert run_taggram("data", "check", "synth", "--root", made_up[0], "--decode").returncode == 0
