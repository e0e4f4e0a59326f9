"""Clips in folders that are their tags: what counts as sound, and which part a clip is in."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from taggram.datasets import check, open_dataset
from taggram.datasets.folder import Folder
from taggram.errors import ConfigError, DatasetError, UnknownNameError

WAV = b"RIFF\x24\0\0\0WAVEfmt "  # the beginning is what is looked at


def put(root: Path, *paths: str, data: bytes = WAV) -> Path:
    """Put files into a folder."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def parts(root: Path, **options) -> dict[str, str]:
    return {track.track_id: track.part for track in Folder(root, **options).tracks()}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """300 clips of each of two tags, by 30 artists."""
    names = (f"{tag}/artist {i % 30}/{i}.wav" for tag in ("kick", "snare") for i in range(300))
    return put(tmp_path_factory.mktemp("many"), *names)


def test_folders_are_tags_in_alphabetical_order(tmp_path):
    assert Folder(put(tmp_path, "snare/a.wav", "kick/b.wav", "Hat/c.wav")).tags == ("Hat", "kick", "snare")


def test_every_clip_has_its_folder_as_the_one_tag(tmp_path):
    data = open_dataset("folder", put(tmp_path, "snare/a.wav", "kick/b.wav"))
    assert (data.task, [track.tags for track in data.tracks()]) == ("one", [("kick",), ("snare",)])


def test_folders_may_be_nested(tmp_path):
    put(tmp_path, "kick/old/tape/a.wav", "kick/b.wav", "kick/new/c.wav")
    assert list(parts(tmp_path)) == ["kick/b.wav", "kick/new/c.wav", "kick/old/tape/a.wav"]


def test_paths_lead_to_the_files(tmp_path):
    (track,) = Folder(put(tmp_path, "kick/old/a.wav")).tracks()
    assert track.path == tmp_path / "kick" / "old" / "a.wav"


def test_sound_is_found_by_content(tmp_path):
    put(tmp_path, "kick/a", "kick/b.bin")
    put(tmp_path, "kick/c.txt", "kick/d", data=b"no sound at all")
    assert list(parts(tmp_path)) == ["kick/a", "kick/b.bin"]


@pytest.mark.parametrize("path", ["kick/.a.wav", "kick/.old/a.wav", ".trash/a.wav", "kick/._b.wav"])
def test_hidden_is_passed_over(tmp_path, path):
    assert list(parts(put(tmp_path, "kick/b.wav", path))) == ["kick/b.wav"]


def test_links_are_followed_once(tmp_path):
    put(tmp_path, "kick/a.wav")
    (tmp_path / "kick" / "again").symlink_to(tmp_path / "kick")
    put(tmp_path / "elsewhere" / ".hidden", "b.wav")
    (tmp_path / "snare").symlink_to(tmp_path / "elsewhere" / ".hidden")
    assert list(parts(tmp_path)) == ["kick/a.wav", "snare/b.wav"]


def test_names_are_the_same_however_accents_are_written(tmp_path):
    put(tmp_path, unicodedata.normalize("NFD", "é/é.wav"))
    (track,) = Folder(tmp_path).tracks()
    assert (track.track_id, track.tags, track.path.exists()) == (unicodedata.normalize("NFC", "é/é.wav"), ("é",), True)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_name_that_is_no_text_is_read(tmp_path):
    (tmp_path / "kick").mkdir()
    (tmp_path / "kick" / os.fsdecode(b"\xff.wav")).write_bytes(WAV)
    (track,) = Folder(tmp_path).tracks()
    assert track.path.read_bytes() == WAV


# Parts.


def test_parts_have_their_shares(many):
    n_clips = Counter(parts(many).values())
    assert [n_clips[part] for part in ("train", "valid", "test")] == pytest.approx([480, 60, 60], abs=25)


def test_parts_are_the_same_again(many):
    assert parts(many) == parts(many)


def test_parts_do_not_depend_on_where_the_folder_is(tmp_path):
    names = [f"kick/{i}.wav" for i in range(50)]
    assert parts(put(tmp_path / "here", *names)) == parts(put(tmp_path / "there", *names))


def test_parts_are_those_of_every_version(tmp_path):
    put(tmp_path, "kick/0.wav", "kick/1.wav", "kick/3.wav")
    assert parts(tmp_path) == {"kick/0.wav": "test", "kick/1.wav": "train", "kick/3.wav": "test"}


@pytest.mark.parametrize("split", ["path", "group"])
def test_added_clips_leave_the_others_where_they_are(tmp_path, split):
    before = parts(put(tmp_path, *(f"kick/{i % 9}/{i}.wav" for i in range(60))), split=split)
    put(tmp_path, *(f"{tag}/{i % 7}/new {i}.wav" for tag in ("a", "kick") for i in range(60)))
    after = parts(tmp_path, split=split)
    assert before.items() <= after.items()


def test_another_seed_makes_other_parts(many):
    assert parts(many, seed=1) != parts(many)


def test_seed_changes_the_hash_of_the_split(many):
    assert Folder(many, seed=1).split_sha256() != Folder(many).split_sha256()


def test_groups_are_in_one_part_whatever_the_tag(many):
    of_group: dict[object, set[str]] = {}
    for track in Folder(many, split="group").tracks():
        of_group.setdefault(track.columns["group"], set()).add(track.part)
    assert [len(found) for found in of_group.values()] == [1] * 30


def test_groups_are_in_several_parts(many):
    assert set(parts(many, split="group").values()) == {"train", "valid", "test"}


def test_clip_without_a_group_goes_by_its_path(tmp_path):
    put(tmp_path, *(f"kick/{i}.wav" for i in range(50)))
    assert parts(tmp_path, split="group") == parts(tmp_path)


@pytest.mark.parametrize(("path", "group"), [("kick/a.wav", None), ("kick/x/a.wav", "x"), ("kick/x/y/a.wav", "x")])
def test_group_is_the_folder_under_that_of_the_tag(tmp_path, path, group):
    (track,) = Folder(put(tmp_path, path)).tracks()
    assert track.columns == {"group": group}


def test_split_may_be_changed(many):
    assert {track.track_id: track.part for track in Folder(many).with_split("group").tracks()} == parts(
        many, split="group"
    )


# What is odd, and what is refused.


@pytest.mark.parametrize(
    ("paths", "note"),
    [
        pytest.param(["kick/a.wav", "b.wav"], "sound that lies in no folder and is left out: 1", id="no folder"),
        pytest.param(["kick/a.wav", "tea/.b.wav"], "folders without sound, which are no tags: tea", id="no sound"),
        pytest.param(["kick/0.wav"], "train has no clip", id="empty part"),
        pytest.param(["kick/0.wav"], "every clip of test has kick", id="one class"),
    ],
)
def test_note(tmp_path, paths, note):
    assert note in Folder(put(tmp_path, *paths)).notes()


def test_check_says_the_notes(tmp_path):
    report = check(Folder(put(tmp_path, "kick/0.wav")))
    assert report.is_fine
    assert "train has no clip" in report.notes


@pytest.mark.parametrize("paths", [[], ["a.wav"], ["kick/notes.txt"]], ids=["nothing", "no folder", "no sound"])
def test_folder_without_sound_is_refused(tmp_path, paths):
    put(tmp_path, *paths[:1], data=WAV if paths == ["a.wav"] else b"text")
    with pytest.raises(DatasetError, match="there is no sound in folders; wanted a folder for each tag"):
        Folder(tmp_path)


def test_missing_folder_is_told(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: No such file or directory; wanted a folder for each tag"):
        Folder(tmp_path / "nowhere")


@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_seed_is_refused(tmp_path, seed):
    with pytest.raises(ConfigError, match="seed is"):
        Folder(put(tmp_path, "kick/a.wav"), seed=seed)


@pytest.mark.parametrize("options", [{"split": "artist"}, {"tags": "mtt50_musicnn"}], ids=["split", "vocabulary"])
def test_unknown_name_is_refused(tmp_path, options):
    with pytest.raises(UnknownNameError):
        Folder(put(tmp_path, "kick/a.wav"), **options)
