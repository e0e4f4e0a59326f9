"""Folders that are watched: files come when they are complete, once, and again when they changed."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from pathlib import Path

import mutagen
import pytest
from conftest import wait_until

from taggram.apps._watching import SETTLED_S, FileState, Watch
from taggram.errors import ConfigError
from tests._sounds import encoded, tone


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now_s = 0.0
        self.events = {}

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds
        for at_s in sorted(self.events):
            if at_s <= self.now_s:
                self.events.pop(at_s)()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(tmp_path, clock):
    return Watch([str(tmp_path)], clock=clock, sleep=clock.sleep)


def names(batches, n):
    return [[file.rpartition("/")[2] for file in batch] for batch in itertools.islice(batches, n)]


def add(path, length_s=0.1):
    return lambda: path.write_bytes(encoded(tone(length_s)))


def test_file_that_is_there_is_given(watch, tmp_path):
    add(tmp_path / "a.wav")()
    assert names(watch, 1) == [["a.wav"]]


def test_file_that_arrives_is_given(watch, tmp_path, clock):
    clock.events[5.0] = add(tmp_path / "later.wav")
    assert names(watch, 1) == [["later.wav"]]


def test_file_in_a_new_folder_is_given(watch, tmp_path, clock):
    clock.events[5.0] = (tmp_path / "new").mkdir
    clock.events[6.0] = add(tmp_path / "new" / "b.wav")
    assert names(watch, 1) == [["b.wav"]]


def test_file_is_given_when_it_has_stopped_growing(watch, tmp_path, clock):
    for length in range(1, 9):
        clock.events[float(length)] = add(tmp_path / "copied.wav", 0.1 * length)
    assert (names(watch, 1), clock.now_s >= 8 + SETTLED_S) == ([["copied.wav"]], True)


def test_file_is_given_once(watch, tmp_path, clock):
    add(tmp_path / "a.wav")()
    clock.events[30.0] = add(tmp_path / "b.wav")
    assert names(watch, 2) == [["a.wav"], ["b.wav"]]


def test_file_that_changed_is_given_again(watch, tmp_path, clock):
    add(tmp_path / "a.wav")()
    clock.events[30.0] = add(tmp_path / "a.wav", 0.2)
    assert names(watch, 2) == [["a.wav"], ["a.wav"]]


def test_file_that_we_changed_is_not_given_again(watch, tmp_path, clock):
    add(tmp_path / "a.wav")()
    batches = iter(watch)
    next(batches)
    change(watch, tmp_path / "a.wav")
    clock.events[60.0] = add(tmp_path / "b.wav")
    assert names(batches, 1) == [["b.wav"]]


def change(watch, path):
    """Change a file as the command does."""
    before = FileState.of(str(path))
    add(path, 0.2)()
    watch.take_as_given(str(path), before, FileState.of(str(path)))


def test_file_that_grew_before_we_changed_it_is_given_again(watch, tmp_path):
    add(tmp_path / "a.wav")()
    batches = iter(watch)
    next(batches)
    add(tmp_path / "a.wav", 0.3)()  # a copy that stood still for a while goes on
    change(watch, tmp_path / "a.wav")
    assert names(batches, 1) == [["a.wav"]]


def test_file_that_grew_after_we_changed_it_is_given_again(watch, tmp_path):
    add(tmp_path / "a.wav")()
    batches = iter(watch)
    next(batches)
    change(watch, tmp_path / "a.wav")
    add(tmp_path / "a.wav", 0.3)()
    assert names(batches, 1) == [["a.wav"]]


def test_file_that_becomes_readable_is_given_again(watch, tmp_path, clock, monkeypatch):
    may_read = False
    monkeypatch.setattr("os.access", lambda path, mode: may_read)  # root may read what nobody may

    def allow():
        nonlocal may_read
        may_read = True

    add(tmp_path / "a.wav")()
    batches = iter(watch)
    next(batches)
    clock.events[30.0] = allow
    assert names(batches, 1) == [["a.wav"]]


@pytest.mark.parametrize("name", ["song.mp3.part", "song.wav.crdownload", ".song.wav", "song.wav~", "SONG.TMP"])
def test_unfinished_file_is_passed_over(watch, tmp_path, clock, name):
    add(tmp_path / name)()
    clock.events[30.0] = add(tmp_path / "whole.wav")
    assert names(watch, 1) == [["whole.wav"]]


def test_unfinished_file_is_given_under_its_last_name(watch, tmp_path, clock):
    add(tmp_path / "song.wav.part")()
    clock.events[9.0] = lambda: (tmp_path / "song.wav.part").rename(tmp_path / "song.wav")
    assert names(watch, 1) == [["song.wav"]]


def test_file_without_sound_is_passed_over(watch, tmp_path, clock):
    (tmp_path / "notes.txt").write_text("no sound", encoding="utf-8")
    clock.events[30.0] = add(tmp_path / "a.wav")
    assert names(watch, 1) == [["a.wav"]]


def test_file_with_the_name_of_a_sound_is_given_and_so_told(watch, tmp_path):
    (tmp_path / "text.mp3").write_text("no sound", encoding="utf-8")
    assert names(watch, 1) == [["text.mp3"]]


def test_folder_that_goes_and_comes_back_is_watched_on(tmp_path, clock):
    folder = tmp_path / "stick"
    folder.mkdir()
    watch = Watch([str(folder)], clock=clock, sleep=clock.sleep)
    clock.events[3.0] = folder.rmdir
    clock.events[9.0] = folder.mkdir
    clock.events[12.0] = add(folder / "a.wav")
    assert names(watch, 1) == [["a.wav"]]


@pytest.mark.parametrize("path", ["-", "file.wav", "missing"])
def test_what_is_no_folder_is_refused(tmp_path, path):
    add(tmp_path / "file.wav")()
    with pytest.raises(ConfigError, match="--watch wants folders"):
        Watch([path if path == "-" else str(tmp_path / path)])


# -- the command -------------------------------------------------------------------------------------------------------


def lines_of(process):
    lines = []
    threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, b"")), daemon=True).start()
    return lines


@pytest.fixture
def watching(weights, started, tmp_path):
    """The command while it watches a folder, and the lines that it printed."""
    process = started("tag", "--watch", "--write", "--format", "json", tmp_path)
    return process, lines_of(process)


def test_command_tags_what_is_there_and_what_arrives(watching, tmp_path):
    _, lines = watching
    add(tmp_path / "first.wav", 1.0)()
    assert wait_until(lambda: len(lines) == 1)
    add(tmp_path / "second.wav", 1.0)()
    assert wait_until(lambda: len(lines) == 2)
    assert [Path(json.loads(line)["path"]).name for line in lines] == ["first.wav", "second.wav"]


def test_file_that_the_command_wrote_into_is_not_tagged_again(watching, tmp_path):
    _, lines = watching
    add(tmp_path / "a.wav", 1.0)()
    assert wait_until(lambda: len(lines) == 1 and mutagen.File(tmp_path / "a.wav").tags)
    add(tmp_path / "b.wav", 1.0)()
    assert wait_until(lambda: len(lines) >= 2)
    assert [Path(json.loads(line)["path"]).name for line in lines] == ["a.wav", "b.wav"]


def test_worker_says_what_it_made_of_a_file(weights, tmp_path):
    from taggram._workers import Task
    from taggram.apps._file_tags_worker import WriteSettings, WritingWorkers

    path = tmp_path / "a.wav"
    add(path, 1.0)()
    how = WriteSettings(
        field="TAGGRAM", top=1, threshold=0, if_empty=False, if_confident=None, dry_run=False, keep_times=False,
        max_duration_s=600,
    )  # fmt: skip
    tagger = {"model": weights, "hop_s": None, "max_duration_s": 600, "device": "cpu"}
    with WritingWorkers(tagger, how, 1) as pool:
        before = FileState.of(str(path))
        (first,) = pool.run([Task(str(path))])
        (again,) = pool.run([Task(str(path))])
    assert first.rewritten == (before, FileState.of(str(path)))
    assert again.rewritten is None  # nothing was to be written


def test_interrupt_ends_the_command(watching, tmp_path):
    process, _ = watching
    add(tmp_path / "a.wav", 1.0)()
    assert b"tags in files: 1 written\n" in iter(process.stderr.readline, b"")  # it is counted after it is printed
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == b"stopped; tags in files: 1 written\n"


def test_output_that_would_never_be_whole_is_refused(run_taggram, tmp_path):
    done = run_taggram("tag", "--watch", tmp_path, "--out", tmp_path / "tags.csv", "--format", "csv")
    assert (done.returncode, ">> FILE" in done.stderr) == (2, True)
