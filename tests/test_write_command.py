"""`taggram tag --write` and `--undo` as real processes; files stay whole whatever ends the process."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest
from _tagged_files import file_of, seen_by_mutagen, with_users_tags
from conftest import wait_until

from taggram.apps._file_tags_aside import PREFIX
from taggram.apps._file_tags_worker import UndoWorkers
from taggram.apps._writing import run_undo
from taggram.apps.file_tags import FileChange, Outcome, undo_tags, write_tags
from taggram.audio import looks_like_audio

TAGS = ["guitar", "drums"]
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")


@pytest.fixture(scope="module")
def data():
    """An mp3 and a FLAC file with tags of their user's."""
    return {kind: with_users_tags(kind, file_of(kind)) for kind in ("mp3", "flac")}


@pytest.fixture
def folder(data, tmp_path):
    """A folder with the two files, and one that is broken."""
    for kind, content in data.items():
        (tmp_path / f"song.{kind}").write_bytes(content)
    (tmp_path / "broken.mp3").write_bytes(b"hello" * 100)
    return tmp_path


# -- the end of a process ----------------------------------------------------------------------------------------------


def killed_at(step, path):
    """Write tags in a process that is killed by the system at one of its steps."""
    code = f"""
        import os, pathlib, signal, sys
        from taggram.apps import _file_tags_aside, file_tags
        def end(*arguments, **options): os.kill(os.getpid(), signal.SIGKILL)
        def after(function):
            def both(*arguments, **options): function(*arguments, **options); end()
            return both
        {step}
        file_tags.write_tags(sys.argv[1], {TAGS!r})
        sys.exit("it was not killed")
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code), path]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


STEPS = {
    "while it is copied": "_file_tags_aside._copy_piece = after(_file_tags_aside._copy_piece)",
    "before it is on the disk": "os.fsync = end",
    "while it is checked": "file_tags.sound_of = end",
    "before it is renamed": "pathlib.Path.replace = end",
}


@needs_kill
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_file_is_the_old_one_if_the_process_is_killed(step, folder, data):
    path = folder / "song.mp3"
    killed_at(step, path)
    assert path.read_bytes() == data["mp3"]


@needs_kill
def test_file_is_the_new_one_if_the_process_is_killed_after_the_renaming(folder):
    killed_at("pathlib.Path.replace = after(pathlib.Path.replace)", folder / "song.mp3")
    assert seen_by_mutagen(folder / "song.mp3") == TAGS
    assert undo_tags(folder / "song.mp3").outcome is Outcome.taken_out


@needs_kill
def test_what_a_killed_process_left_is_no_sound_and_is_swept(folder, data):
    killed_at(STEPS["while it is checked"], folder / "song.mp3")
    (left,) = folder.glob(f"{PREFIX}*")
    assert not looks_like_audio(left)
    from taggram.apps._file_tags_aside import _sweep

    _sweep.cache_clear()
    write_tags(folder / "song.flac", TAGS)
    assert list(folder.glob(f"{PREFIX}*")) == []


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the size of files cannot be limited here")
def test_no_space_is_told_and_the_file_is_the_old_one(folder, data):
    path = folder / "song.flac"
    code = (
        f"import resource, sys; from taggram.apps.file_tags import write_tags\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999)); write_tags(sys.argv[1], {TAGS!r})"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert "FileTagsError: nothing was written: File too large" in done.stderr
    assert path.read_bytes() == data["flac"]
    assert len(list(folder.iterdir())) == 3


# -- the command -------------------------------------------------------------------------------------------------------


def test_tags_are_written_and_printed_and_a_broken_file_is_told(weights, folder, run_taggram):
    done = run_taggram("tag", "--write", "--workers", "1", folder)
    assert done.returncode == 1
    lines = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    for name in ("song.mp3", "song.flac"):
        printed = [word.rpartition("=")[0] for word in lines[str(folder / name)].split("\t")]
        assert seen_by_mutagen(folder / name) == printed
    assert "broken.mp3: " in done.stderr
    assert done.stderr.splitlines()[-1] == "tags in files: 2 written, 1 failed"


def test_json_says_what_was_written_and_read_only_files_are_told(weights, folder, data, run_taggram):
    (folder / "song.mp3").chmod(0o444)
    options = ("--format", "json", "--workers", "1", "--top", "2", "--field", "genre")
    done = run_taggram("tag", "--write", *options, folder / "song.flac", folder / "song.mp3")
    flac, mp3 = map(json.loads, done.stdout.splitlines())
    names = "; ".join(tag["tag"] for tag in flac["tags"])
    assert flac["notes"][-1] == f"written: genre={names}, before: genre=Schlager; Polka"
    assert len(mp3["tags"]) == 2
    assert "song.mp3: no tags were written: it is read-only" in done.stderr
    assert done.stderr.splitlines()[-1] == "tags in files: 1 written, 1 failed"
    assert done.returncode == 1
    assert (folder / "song.mp3").read_bytes() == data["mp3"]


def test_dry_run_says_what_would_be_written(weights, folder, data, run_taggram):
    options = ("--dry-run", "--preset", "Navidrome", "--workers", "1", "--top", "1")
    done = run_taggram("tag", "--write", *options, folder / "song.mp3")
    tag = done.stdout.split("\t")[1].rpartition("=")[0]
    assert f"song.mp3: would be written: mood={tag}\n" in done.stderr
    assert (folder / "song.mp3").read_bytes() == data["mp3"]


def test_nothing_is_written_without_confidence_or_into_what_is_full(weights, folder, data, run_taggram):
    done = run_taggram("tag", "--write", "--if-confident", "0.99", "--workers", "1", folder / "song.mp3")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "tags in files: 1 not confident")
    options = ("--write", "--if-empty", "--field", "genre", "--workers", "1")
    done = run_taggram("tag", *options, folder / "song.mp3")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "tags in files: 1 not empty")
    assert (folder / "song.mp3").read_bytes() == data["mp3"]


def test_undo_needs_neither_network_nor_weights(folder, data, tmp_path, run_taggram):
    for kind in data:
        write_tags(folder / f"song.{kind}", TAGS)
    (folder / "broken.mp3").unlink()
    env = {**os.environ, "TAGGRAM_HOME": str(tmp_path / "none"), "TAGGRAM_OFFLINE": "1"}
    done = run_taggram("tag", "--undo", "--dry-run", folder, env=env)
    assert (done.returncode, done.stdout) == (0, "")
    assert "song.mp3: would be taken out: TAGGRAM=guitar; drums\n" in done.stderr
    done = run_taggram("tag", "--undo", folder, env=env)
    assert done.returncode == 0
    assert f"{folder / 'song.mp3'}\ttaken out: TAGGRAM=guitar; drums\n" in done.stdout
    assert {kind: (folder / f"song.{kind}").read_bytes() for kind in data} == data
    assert run_taggram("tag", "--undo", folder, env=env).stderr == "tags in files: 2 nothing of ours\n"


def test_undo_tells_a_broken_file_and_goes_on(folder, run_taggram):
    (folder / "broken.mp3").write_bytes(b"fLaC")
    write_tags(folder / "song.flac", TAGS)
    done = run_taggram("tag", "--undo", folder, "missing.mp3")
    assert (done.returncode, "song.flac" in done.stdout) == (1, True)
    assert "broken.mp3: its metadata is cut short" in done.stderr
    assert "missing.mp3: No such file or directory" in done.stderr
    assert done.stderr.splitlines()[-1] == "tags in files: 1 taken out, 1 nothing of ours, 2 failed"


def test_undo_says_what_was_given_back(folder, run_taggram):
    write_tags(folder / "song.mp3", TAGS, field="genre")
    done = run_taggram("tag", "--undo", folder / "song.mp3")
    assert done.stdout.endswith("\ttaken out: genre=guitar; drums, given back: genre=Schlager; Polka\n")


def test_stopped_run_says_how_many_files_were_done(monkeypatch, folder, capsys):
    def interrupted(self, tasks, progress):
        yield FileChange(outcome=Outcome.taken_out, values={}, before={"TAGGRAM": TAGS})
        raise KeyboardInterrupt

    monkeypatch.setattr(UndoWorkers, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_undo([str(folder)], dry_run=False, keep_times=False, max_duration_s=100, n_workers=1)
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; tags in files: 1 taken out"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--undo", "--write"), "--write is of no use with --undo"),
        (("--undo", "--format", "json"), "--format is of no use with --undo"),
        (("--undo", "--field", "genre"), "--field is of no use with --undo"),
        (("--field", "genre"), "--field says how tags go into files; it wants --write"),
        (("--dry-run",), "--dry-run says how tags go into files; it wants --write"),
        (("--write", "--field", "a", "--preset", "picard"), "give one of them"),
        (("--write", "--preset", "beet"), "Did you mean beets?"),
        (("--write", "--field", "title"), "--field is 'title'"),
        (("--write", "--if-confident", "nan"), "--if-confident"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, reason, folder, run_taggram):
    done = run_taggram("tag", *options, folder / "song.mp3")
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_without_mutagen_the_line_that_installs_it_is_said(folder, tmp_path):
    code = "import sys; sys.modules['mutagen'] = None\nfrom taggram.apps.cli import main; main()"
    arguments = [sys.executable, "-c", code, "tag", "--write", folder / "song.mp3"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, "pip install 'taggram[write]'" in done.stderr) == (1, True)


@needs_kill
@pytest.mark.slow
def test_killed_command_leaves_every_file_whole(weights, data, tmp_path, started):
    for index in range(60):
        (tmp_path / f"{index:02}.flac").write_bytes(data["flac"])
    process = started("tag", "--write", "--workers", "2", tmp_path)
    assert wait_until(lambda: any(path.read_bytes() != data["flac"] for path in tmp_path.glob("[0-9]*.flac")))
    process.kill()
    process.wait()
    for path in tmp_path.glob("[0-9]*.flac"):
        assert path.read_bytes() == data["flac"] or len(seen_by_mutagen(path)) == 3
