"""Any file can be anything: the odd ones are tagged and said to be odd, the bad ones told in a line, all others done.

Everything here goes through `taggram tag` as a real process. To keep that quick, one run tags all the odd files and
another meets all the bad ones; each test looks at one file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _sounds import av_encoded, encoded, flac_without_length, noise, opus_of_hours, pcm16, tone, wav, with_cover
from PIL import Image

from taggram._processes import AHEAD
from taggram.errors import printable

pytestmark = pytest.mark.usefixtures("weights")


def cut(kind):
    """A file of 8 seconds without its last two fifths."""
    data = encoded(noise(8), kind=kind)
    return data[: len(data) * 3 // 5]


ODD = {  # name: content, and what must be said about it
    "silence.wav": (encoded(np.zeros(64_000)), "silent"),
    "dc.wav": (encoded(np.full(64_000, 0.25)), "(DC)"),
    "clipped.wav": (encoded(np.clip(9 * tone(), -1, 1)), "clipped"),
    "antiphase.wav": (encoded(np.stack([tone(), -tone()], axis=1)), "antiphase"),
    "one sample.wav": (encoded(tone()[1:2]), "shorter than a patch"),
    "short.wav": (encoded(tone(1)), "shorter than a patch of 2.992 s, repeated to fill one"),
    "8 kHz.wav": (encoded(tone(rate=8_000), 8_000), "nothing above 4000 Hz"),
    "6 channels.wav": (encoded(noise(n_channels=6)), "mean of 6 channels"),
    "24 channels.wav": (encoded(noise(n_channels=24)), "mean of 24 channels"),
    "no length.flac": (flac_without_length(tone()), "gives no length"),
    "4 GB.wav": (wav(pcm16(tone()), size=0xFFFFFFFF), "claims 4294967295 bytes"),
    "0 bytes of sound.wav": (wav(pcm16(tone()), size=0), "gives no length"),
    "cut.wav": (cut("WAV"), "damaged tail left out"),
    "cut.mp3": (cut("MP3"), "damaged tail left out"),
    "cut.flac": (cut("FLAC"), "damaged tail left out"),
    "cut.ogg": (cut("OGG"), "damaged tail left out"),
    "really wav.mp3": (encoded(tone()), "WAV by content, not .mp3"),
    "really flac.wav": (encoded(tone(), kind="FLAC"), "FLAC by content, not .wav"),
}
USUAL = {  # name: content; nothing is said about these on standard error
    "384 kHz.wav": encoded(tone(rate=384_000), 384_000),
    "8 bit.wav": encoded(tone(), subtype="PCM_U8"),
    "24 bit.wav": encoded(tone(), subtype="PCM_24"),
    "float64.wav": encoded(tone().astype(np.float64), subtype="DOUBLE"),
    "cover.mp3": with_cover(encoded(tone(), kind="MP3"), 20_000_000),
    "no suffix": encoded(tone()),
    "apple.m4a": av_encoded("ipod", "aac"),
    "film.mp4": av_encoded("mp4", "aac", video=True),
    "name with spaces .wav": encoded(tone()),
    "two\nlines.wav": encoded(tone()),
    "tab\tand\x1b[31mcolour.wav": encoded(tone()),
    "-dash.wav": encoded(tone()),
    "\N{SPARKLES} \N{MUSICAL NOTE} emoji.wav": encoded(tone()),
    os.fsdecode(b"no utf-8 \xff\xfe.wav"): encoded(tone()),
    ".hidden.wav": encoded(tone()),
    "%s {braces} $(touch x).wav": encoded(tone()),
}
GOOD = "good beside the bad.wav"
PICTURE = "picture.mp3"
BAD = {  # name: content, and the reason that must be given
    "empty.mp3": (b"", "the file is empty"),
    "text.mp3": (b"dear diary, this is text\n" * 400, "no decoder knows"),
    "text.au": (b"dear diary, this is text\n" * 400, "no decoder knows"),
    PICTURE: (b"", "no decoder knows"),
    "cut header.wav": (encoded(tone())[:30], "no decoder knows"),
    "cut header.flac": (encoded(tone(), kind="FLAC")[:40], ""),
    "cut header.ogg": (encoded(tone(), kind="OGG")[:40], ""),
    "cut header.mp3": (encoded(tone(), kind="MP3")[:40], ""),
    "no samples.wav": (wav(b""), "there are no samples in it"),
    "nan.wav": (encoded(np.where(np.arange(64_000) == 40_000, np.nan, tone()), subtype="FLOAT"), "not finite"),
    "infinity.wav": (encoded(np.where(np.arange(64_000) == 40_000, np.inf, tone()), subtype="FLOAT"), "not finite"),
    "huge.wav": (encoded(tone() * 1e30, subtype="FLOAT"), "samples of up to 5e+29"),
    "no channels.wav": (wav(pcm16(tone()), n_channels=0), "no sound could be decoded"),
    "1 Hz.wav": (wav(pcm16(tone()), rate=1), "its sample rate is 1 Hz"),
    "hours.opus": (opus_of_hours(5), "longer than the 600 s allowed"),
    **{f"random {seed}.mp3": (np.random.default_rng(seed).bytes(50_000), "no decoder knows") for seed in range(4)},
    "playlist.m3u8": (b"#EXTM3U\n#EXTINF:4,\n/dev/zero\n#EXT-X-ENDLIST\n", "no decoder knows"),
}
SPECIAL = {  # name: the reason; these are no files with a content
    "missing.wav": "No such file",
    "folder": "there is no sound in this folder",
    "pipe.wav": "no regular file",
    "/dev/zero": "no regular file",
    "/dev/null": "no regular file",
    "loop.wav": "Too many levels of symbolic links",
    "dangling.wav": "No such file",
    "below/a/file.wav": "Not a directory",
    "x" * 300: "File name too long",
}


class Results:
    """What one run of `taggram tag --format json` gave."""

    def __init__(self, run, folder):
        self.run = run
        self._folder = folder
        self.lines = [json.loads(line) for line in run.stdout.splitlines()]

    def line(self, name):
        """The one object on standard output about a file."""
        (found,) = [line for line in self.lines if line["path"] == self._path(name)]
        return found

    def said(self, name):
        """What standard error says about a file, line by line."""
        start = f"{printable(self._path(name))}: "
        return [line.removeprefix(start) for line in self.run.stderr.split("\n") if line.startswith(start)]

    def _path(self, name):
        return str(self._folder / name)


@pytest.fixture(scope="module")
def odd(tmp_path_factory, run_taggram):
    """One run over a folder with all the odd files and all the usual ones."""
    folder = tmp_path_factory.mktemp("odd")
    for name, content in [*((name, content) for name, (content, _) in ODD.items()), *USUAL.items()]:
        (folder / name).write_bytes(content)
    return Results(run_taggram("tag", "--format", "json", folder), folder)


@pytest.fixture(scope="module")
def bad(tmp_path_factory, run_taggram):
    """One run over all the bad files by name, and a good one in their middle."""
    folder = tmp_path_factory.mktemp("bad")
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content)
    Image.new("RGB", (64, 64), "red").save(folder / PICTURE, "png")
    (folder / "folder").mkdir()
    (folder / "below").write_bytes(b"a file, and no folder")
    os.mkfifo(folder / "pipe.wav")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    (folder / GOOD).write_bytes(encoded(tone()))
    names = [*BAD, GOOD, *SPECIAL]
    paths = b"\0".join(os.fsencode(folder / name) for name in names)
    return Results(run_taggram("tag", "--format", "json", "--max-duration-s", "600", "-", stdin=paths), folder)


# -- odd files ---------------------------------------------------------------------------------------------------------


def test_odd_files_are_no_failure(odd):
    assert odd.run.returncode == 0


def test_every_odd_file_has_one_line(odd):
    assert len(odd.lines) == len(ODD) + len(USUAL)


@pytest.mark.parametrize("name", [*ODD, *USUAL])
def test_odd_file_is_tagged(odd, name):
    assert [0 <= tag["score"] <= 1 for tag in odd.line(name)["tags"]] == [True] * 3


@pytest.mark.parametrize("name", ODD)
def test_what_is_unusual_is_in_the_notes(odd, name):
    assert ODD[name][1] in "; ".join(odd.line(name)["notes"])


@pytest.mark.parametrize("name", ODD)
def test_what_is_unusual_is_one_line_on_standard_error(odd, name):
    (line,) = odd.said(name)
    assert line.startswith("note: ")
    assert ODD[name][1] in line


@pytest.mark.parametrize("name", USUAL)
def test_what_is_usual_is_not_said(odd, name):
    assert odd.said(name) == []


def test_nothing_else_is_said(odd):
    assert odd.run.stderr.count("\n") == len(ODD)


def test_sound_of_one_sample_says_that_it_is_padded(odd):
    assert odd.line("one sample.wav")["padded"] is True


# -- lists of files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(tmp_path_factory, run_taggram):
    """Runs with lists on standard input, in a folder of files with odd names."""
    folder = tmp_path_factory.mktemp("listed")
    for name in ("-dash.wav", "a b.wav", os.fsdecode(b"\xff.wav")):
        (folder / name).write_bytes(encoded(tone()))
    lines = b"-dash.wav\n\na b.wav\r\n\xff.wav\na b.wav\n" + b"y" * 5000 + b"\n"
    return run_taggram("tag", "--workers", "1", "--top", "1", "-", stdin=lines, cwd=folder)


def test_list_on_standard_input_is_tagged_in_order(listed):
    names = [line.split("\t")[0] for line in listed.stdout.splitlines()]
    assert names == ["-dash.wav", "a b.wav", os.fsdecode(b"\xff.wav"), "a b.wav"]


def test_name_that_is_too_long_is_one_failure_of_a_list(listed):
    (line,) = listed.stderr.splitlines()
    assert (listed.returncode, line) == (1, "y" * 5000 + ": File name too long")


def test_empty_list_is_fine(run_taggram):
    done = run_taggram("tag", "-")
    assert (done.returncode, done.stdout) == (0, "")


# -- bad files ---------------------------------------------------------------------------------------------------------


def test_bad_files_are_a_failure(bad):
    assert bad.run.returncode == 1


def test_good_file_beside_bad_ones_is_tagged(bad):
    assert len(bad.line(GOOD)["tags"]) == 3


def test_nothing_but_failures_is_said(bad):
    assert bad.run.stderr.count("\n") == len(BAD) + len(SPECIAL)


@pytest.mark.parametrize("name", [*BAD, *SPECIAL], ids=lambda name: name[:40])
def test_bad_file_is_told_in_one_line(bad, name):
    reason = SPECIAL.get(name) or BAD[name][1]
    (line,) = bad.said(name)
    assert reason in line


@pytest.mark.parametrize("name", [*BAD, *SPECIAL], ids=lambda name: name[:40])
def test_bad_file_is_an_error_in_json(bad, name):
    line = bad.line(name)
    assert list(line) == ["path", "error", "message"]
    assert (line["error"], bad.said(name)) == ("AudioError", [line["message"]])


def test_file_that_may_not_be_read_is_told(tmp_path, run_taggram):
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded(tone()))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    done = run_taggram("tag", path)
    assert (done.returncode, done.stderr) == (1, f"{path}: Permission denied\n")


def test_file_that_goes_while_it_waits_is_told(tmp_path, started):
    """What is said of the first file fills the pipe, so the run asks for no other than those ahead until it is read."""
    names = ("first.wav", *(f"{number}.wav" for number in range(AHEAD)), "gone.wav", "last.wav")
    for name in names:
        (tmp_path / name).write_bytes(encoded(noise(120 if name == "first.wav" else 4)))
    words = ("--format", "csv", "--over-time", "--threshold", "0", "--top", "50", "--workers", "1")
    process = started("tag", *words, *(tmp_path / name for name in names))
    head = process.stdout.readline()
    (tmp_path / "gone.wav").unlink()
    rows, errors = process.stdout.read(), process.stderr.read()
    assert (process.wait(120), errors.decode()) == (1, f"{tmp_path / 'gone.wav'}: No such file or directory\n")
    assert (head[:5], len(rows) > 200_000) == (b"path,", True)
    tagged = [Path(os.fsdecode(row.split(b",")[0])).name for row in rows.splitlines()]
    assert list(dict.fromkeys(tagged)) == [name for name in names if name != "gone.wav"]


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walked(tmp_path_factory, run_taggram):
    """A run over a folder with sound, other files, folders, and links that lead back."""
    folder = tmp_path_factory.mktemp("walked")
    (folder / "b").mkdir()
    (folder / "b" / "back").symlink_to(folder)
    for name in ("z.wav", "b/a.wav", "b/no suffix"):
        (folder / name).write_bytes(encoded(tone()))
    for name in ("cover.jpg", "notes.txt", "b/list.m3u"):
        (folder / name).write_bytes(b"no sound")
    os.mkfifo(folder / "pipe")
    return folder, run_taggram("tag", "--workers", "1", "--top", "1", folder, folder / "z.wav", folder / "z.wav")


def test_folder_is_walked_and_the_same_file_tagged_as_often_as_named(walked):
    folder, done = walked
    names = [str(Path(line.split("\t")[0]).relative_to(folder)) for line in done.stdout.splitlines()]
    assert names == ["z.wav", "b/a.wav", "b/no suffix", "z.wav", "z.wav"]


def test_other_files_of_a_folder_are_passed_over_in_silence(walked):
    assert (walked[1].returncode, walked[1].stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_folder_of_ten_thousand_files_is_tagged(tmp_path):
    first = tmp_path / "00000.wav"
    first.write_bytes(encoded(tone(0.1)))
    for index in range(1, 10_000):
        (tmp_path / f"{index:05}.wav").hardlink_to(first)
    done = subprocess.run(
        [sys.executable, "-m", "taggram", "tag", tmp_path], capture_output=True, timeout=800, check=False
    )
    names = [Path(os.fsdecode(line.split(b"\t")[0])).name for line in done.stdout.splitlines()]
    assert names == [f"{index:05}.wav" for index in range(10_000)]


# -- memory ------------------------------------------------------------------------------------------------------------

PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "taggram", "tag", "--workers", "1", *sys.argv[1:]], capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def peak_mb(*arguments):
    """Largest memory of any process of a run, in MB."""
    done = subprocess.run([sys.executable, "-c", PEAK, *arguments], capture_output=True, timeout=600, check=True)
    return int(done.stdout)


def test_memory_does_not_grow_with_what_a_file_unpacks_to(tmp_path):
    (tmp_path / "short.opus").write_bytes(opus_of_hours(30 / 3600))
    (tmp_path / "hours.opus").write_bytes(opus_of_hours(5))
    short, hours = (
        peak_mb("--max-duration-s", "600", tmp_path / name) for name in ("short.opus", "hours.opus")
    )  # ten minutes at 48 kHz are 110 MB; what is computed at once of a sound that fills a batch is some 35 more
    assert hours < short + 75


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_recording_of_hours_takes_the_memory_of_a_short_one(tmp_path):
    (tmp_path / "short.opus").write_bytes(opus_of_hours(1 / 60))
    (tmp_path / "hours.opus").write_bytes(opus_of_hours(4))
    assert peak_mb(tmp_path / "hours.opus") < peak_mb(tmp_path / "short.opus") + 60
