"""Tags in files: what is written is read by others, all else keeps its bytes, and undoing gives the bytes back."""

from __future__ import annotations

import json
import os
import stat

import mutagen
import numpy as np
import pytest
from _tagged_files import KINDS, file_of, packets_of, seen_by_mutagen, seen_by_pyav, with_users_tags

from taggram.apps import _file_tags_aside
from taggram.apps.file_tags import Outcome, tags_for_files, undo_tags, write_tags
from taggram.errors import ConfigError, FileTagsError
from taggram.results import Taggram

TAGS = ["guitar", "female vocal", "Ümläut 日本"]
FIRST_ALONE = ("mp3", "wav", "aiff", "m4a")  # where FFmpeg shows the first of several values


@pytest.fixture(scope="module")
def made():
    """Bytes of a file of each kind: bare, and with tags of its user's."""
    bare = {kind: file_of(kind) for kind in KINDS}
    return {
        (kind, tagged): with_users_tags(kind, bare[kind]) if tagged else bare[kind]
        for kind in KINDS
        for tagged in (False, True)
    }


@pytest.fixture(
    params=[(kind, tagged) for kind in KINDS for tagged in (False, True)],
    ids=lambda p: f"{p[0]}-{'tagged' if p[1] else 'bare'}",
)
def file(request, made, tmp_path):
    """A file of each kind, bare and with tags of its user's."""
    path = tmp_path / f"song.{request.param[0]}"
    path.write_bytes(made[request.param])
    return path


@pytest.fixture
def song(made, tmp_path):
    """An mp3 file with tags of its user's."""
    path = tmp_path / "song.mp3"
    path.write_bytes(made["mp3", True])
    return path


def others(path):
    """All tags that are none of ours, by mutagen."""
    tags = mutagen.File(path).tags
    pairs = [] if tags is None else list(tags) if isinstance(tags, list) else list(dict(tags).items())
    return sorted(repr(pair) for pair in pairs if "TAGGRAM" not in repr(pair))


# -- each format -------------------------------------------------------------------------------------------------------


def test_mutagen_reads_what_was_written(file):
    write_tags(file, TAGS)
    assert seen_by_mutagen(file) == TAGS


def test_pyav_reads_what_was_written(file):
    write_tags(file, TAGS)
    assert seen_by_pyav(file)["TAGGRAM"] == (TAGS[0] if file.suffix[1:] in FIRST_ALONE else ";".join(TAGS))


def test_encoded_sound_keeps_its_bytes(file):
    before = packets_of(file)
    write_tags(file, TAGS)
    assert packets_of(file) == before


def test_other_tags_stay(file):
    before = others(file)
    write_tags(file, TAGS)
    assert others(file) == before


def test_undo_gives_the_bytes_back(file):
    before = file.read_bytes()
    change = write_tags(file, TAGS), undo_tags(file)
    assert [one.outcome for one in change] == [Outcome.written, Outcome.taken_out]
    assert file.read_bytes() == before


@pytest.mark.parametrize("field", ["genre", "mood", "grouping", "comment", "My Own"])
def test_undo_gives_the_bytes_of_any_field_back(file, field):
    before = file.read_bytes()
    assert write_tags(file, TAGS, field=field).outcome is Outcome.written
    undo_tags(file)
    assert file.read_bytes() == before


def test_writing_again_changes_nothing(file):
    write_tags(file, TAGS)
    before = file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino
    assert write_tags(file, TAGS).outcome is Outcome.unchanged
    assert (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_many_fields_and_values_come_and_go(file):
    before = file.read_bytes()
    for field, tags in (
        ("TAGGRAM", TAGS),
        ("genre", ["a"]),
        ("taggram", ["b"]),
        ("mood", TAGS),
        ("genre", ["x" * 999]),
    ):
        write_tags(file, tags, field=field)
    assert seen_by_mutagen(file) == ["b"]
    undo_tags(file)
    assert file.read_bytes() == before


def test_without_tags_what_was_written_is_taken_out(file):
    before = file.read_bytes()
    write_tags(file, TAGS)
    assert write_tags(file, []).outcome is Outcome.written
    assert file.read_bytes() == before


def test_dry_run_writes_nothing(file):
    before = file.read_bytes()
    change = write_tags(file, TAGS, dry_run=True)
    assert (change.outcome, change.values) == (Outcome.would_be_written, {"TAGGRAM": TAGS})
    assert file.read_bytes() == before


def test_nothing_is_left_beside_the_file(file):
    write_tags(file, TAGS)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


# -- fields that hold something ----------------------------------------------------------------------------------------


def test_field_of_the_users_is_replaced_and_said(song):
    change = write_tags(song, TAGS, field="genre")
    assert change.before == {"genre": ["Schlager", "Polka"]}
    assert "before: genre=Schlager; Polka" in str(change)
    assert mutagen.File(song)["TCON"].text == TAGS


def test_field_that_is_not_empty_stays_if_asked(song):
    before = song.read_bytes()
    assert write_tags(song, TAGS, field="genre", if_empty=True).outcome is Outcome.not_empty
    assert song.read_bytes() == before


def test_what_we_wrote_does_not_count_as_something(song):
    write_tags(song, TAGS, if_empty=True)
    assert write_tags(song, ["drums"], if_empty=True).outcome is Outcome.written


def test_field_that_somebody_changed_since_is_theirs(song):
    write_tags(song, TAGS, field="genre")
    write_tags(song, TAGS)
    theirs = mutagen.File(song)
    theirs["TCON"].text = ["Jazz"]
    theirs.save()
    change = undo_tags(song)
    assert mutagen.File(song)["TCON"].text == ["Jazz"]
    assert seen_by_mutagen(song) == []
    assert "genre was changed by somebody since it was written, and stays" in change.notes


def test_tags_that_others_add_meanwhile_stay(file):
    write_tags(file, TAGS, field="genre")
    theirs = mutagen.File(file)
    if isinstance(theirs.tags, mutagen.id3.ID3):
        theirs.tags.add(mutagen.id3.TALB(encoding=3, text=["Later"]))
    else:
        theirs["\xa9alb" if file.suffix == ".m4a" else "album"] = ["Later"]
    theirs.save()
    undo_tags(file)
    assert "Later" in str(others(file))
    assert TAGS[0] not in str(others(file))


@pytest.mark.parametrize("version", [3, 4])
def test_another_program_may_change_the_version_of_a_tag_meanwhile(song, version):
    theirs = mutagen.id3.ID3(song)
    theirs.save(v2_version=version)
    write_tags(song, TAGS, field="genre")
    theirs = mutagen.id3.ID3(song)
    theirs.save(v2_version=7 - version, v23_sep=None)
    undo_tags(song)
    tags = mutagen.File(song).tags
    assert tags.version == (2, 7 - version, 0)
    assert "; ".join(tags["TCON"].text).replace("/", "; ") == "Schlager; Polka"
    assert tags["TIT2"].text == ["Höhe"]


def test_own_field_without_a_record_is_ours(song):
    theirs = mutagen.File(song)
    theirs.tags.add(mutagen.id3.TXXX(encoding=3, desc="TAGGRAM", text=["by a plugin"]))
    theirs.save()
    assert undo_tags(song).outcome is Outcome.taken_out
    assert seen_by_mutagen(song) == []


def test_field_for_one_text_gets_one(song):
    write_tags(song, TAGS, field="comment")
    assert [frame.text for frame in mutagen.File(song).tags.getall("COMM")] == [["; ".join(TAGS)]]


def test_tags_lose_what_no_field_can_hold(song):
    write_tags(song, ["a\0b\n", "  ", "a b", "c"])
    assert seen_by_mutagen(song) == ["a b", "c"]


@pytest.mark.parametrize(
    "name", ["title", "Artist", "TRACKNUMBER", "", " x", "a=b", "Ü", "x" * 65, "TAGGRAM_UNDO", "a\nb"]
)
def test_name_that_is_none_for_tags_is_refused(song, name):
    with pytest.raises(ConfigError, match="--field"):
        write_tags(song, TAGS, field=name)


def record(layout=None, fields=None, version=1):
    """A record of what was written, as text."""
    return json.dumps({"version": version, "exists": True, "layout": layout or {}, "fields": fields or {}})


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "{",
        "[]",
        record(version=2),
        record({"room": 10**12}),
        record({"room": -1}),
        record({"version": "x"}, {"genre": {"values": ["Schlager", "Polka"], "was": [[0, ""]]}}),
        record(fields={"title": {"values": ["x"], "was": []}}),
        record(fields={"a": {"values": ["x"], "was": [[0, "*"]]}}),
    ],
)
def test_record_that_is_damaged_is_refused(song, text):
    theirs = mutagen.File(song)
    theirs.tags.add(mutagen.id3.TXXX(encoding=3, desc="TAGGRAM_UNDO", text=[text]))
    theirs.save()
    before = song.read_bytes()
    with pytest.raises(FileTagsError, match="TAGGRAM_UNDO"):
        undo_tags(song)
    assert song.read_bytes() == before


# -- which tags -------------------------------------------------------------------------------------------------------


def scored(**scores):
    """Scores of a sound of one patch."""
    return Taggram(
        path="a.wav", model="kit", duration_s=3.0, patch_s=3.0, hop_s=3.0, padded=False, notes=(), unusual=(),
        tags=tuple(name.replace("_", " ") for name in scores), times_s=np.zeros(1),
        scores=np.array([list(scores.values())], np.float32),
    )  # fmt: skip


def test_best_tags_are_written():
    assert tags_for_files(scored(a=0.2, b=0.5, c=0.4), 2, 0.0) == ["b", "c"]


def test_none_of_these_is_never_written():
    assert tags_for_files(scored(a=0.5, b=0.1, c=0.05, none_of_these=0.4), 3, 0.0) == ["a", "b", "c"]


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
def test_nothing_is_written_where_none_of_these_is_best(threshold):
    assert tags_for_files(scored(a=0.35, b=0.25, none_of_these=0.4), None, threshold) == []


# -- the file as the system sees it ------------------------------------------------------------------------------------


def test_permissions_and_owner_stay(song):
    song.chmod(0o640)
    before = song.stat()
    write_tags(song, TAGS)
    after = song.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, before.st_gid)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="Python knows extended attributes on Linux alone")
def test_extended_attributes_stay(song):
    try:
        os.setxattr(song, "user.mood", b"calm")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    write_tags(song, TAGS)
    assert os.getxattr(song, "user.mood") == b"calm"


@pytest.mark.parametrize("keep", [False, True])
def test_time_of_the_last_change_is_new_or_kept(song, keep):
    os.utime(song, ns=(10**18, 10**18))
    write_tags(song, TAGS, keep_times=keep)
    assert (song.stat().st_mtime_ns == 10**18) is keep


def test_link_is_followed_and_stays_one(song):
    link = song.with_name("link.mp3")
    link.symlink_to(song.name)
    write_tags(link, TAGS)
    assert link.is_symlink()
    assert seen_by_mutagen(song) == TAGS


def test_other_name_of_the_file_keeps_the_old_bytes_and_is_told(song):
    other = song.with_name("other.mp3")
    other.hardlink_to(song)
    before = song.read_bytes()
    change = write_tags(song, TAGS)
    assert other.read_bytes() == before
    assert any("hard links: 1" in note for note in change.notes)


def test_who_has_the_file_open_reads_on(song):
    before = song.read_bytes()
    with song.open("rb") as open_elsewhere:
        open_elsewhere.read(10)
        write_tags(song, TAGS)
        assert open_elsewhere.read() == before[10:]


def test_read_only_file_is_told_and_left(song):
    song.chmod(0o444)
    before = song.read_bytes()
    with pytest.raises(FileTagsError, match="it is read-only"):
        write_tags(song, TAGS)
    assert song.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_folder_that_is_read_only_is_told(song):
    song.parent.chmod(0o555)
    try:
        with pytest.raises(FileTagsError, match="nothing was written: Permission denied"):
            write_tags(song, TAGS)
    finally:
        song.parent.chmod(0o755)


def test_name_that_is_no_utf8(made, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe.mp3")
    try:
        path.write_bytes(made["mp3", False])
    except OSError:
        pytest.skip("this file system takes no such name")
    write_tags(path, TAGS)
    assert undo_tags(path).outcome is Outcome.taken_out


def test_suffix_that_lies_does_not_matter(made, tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(made["flac", False])
    write_tags(path, TAGS)
    assert mutagen.flac.FLAC(path)["TAGGRAM"] == TAGS


def test_file_that_another_process_sweeps_away_is_made_anew(song, monkeypatch):
    hold, swept = _file_tags_aside._hold, []

    def hold_too_late(file):
        if not swept:
            (left,) = song.parent.glob(f"{_file_tags_aside.PREFIX}*")
            left.unlink()
            swept.append(left)
        hold(file)

    monkeypatch.setattr(_file_tags_aside, "_hold", hold_too_late)
    write_tags(song, TAGS)
    assert seen_by_mutagen(song) == TAGS
    assert len(swept) == 1


def test_file_that_changes_meanwhile_is_not_overwritten(song):
    def tell(done_s):
        if done_s:
            song.write_bytes(b"somebody else's")

    with pytest.raises(FileTagsError):
        write_tags(song, TAGS, tell=tell)
    assert song.read_bytes() == b"somebody else's"
    assert len(list(song.parent.iterdir())) == 1


def test_missing_file_is_told(tmp_path):
    with pytest.raises(FileTagsError, match="No such file"):
        write_tags(tmp_path / "no.mp3", TAGS)
