"""Prepared data: the sound is kept as it is, a run that is cut short goes on, and one broken file costs its track."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
import soundfile
import torch
from _sounds import encoded, noise, tone, wav
from conftest import wait_until

from taggram.audio import read_sound
from taggram.datasets import DatasetCard, TagDataset, Track, open_dataset
from taggram.datasets._base import Split
from taggram.errors import ConfigError, DatasetError
from taggram.frontends import LogMelConfig, RawConfig, create_frontend
from taggram.learning import _arrow
from taggram.learning.prepared import PreparedData, prepare

RATE = 16_000
SOURCE_RATE = 22_050
N_TRACKS = 12
FILE_BYTES = 60_000
PARTS = ("train", "train", "valid", "test")
MEL = LogMelConfig(
    sample_rate=RATE, n_fft=512, hop_length=256, n_mels=40, n_frames=20, compression="log10_1p", gain=10_000.0
)


class Listed(TagDataset):
    """A data set that has the tracks it is given."""

    card = DatasetCard(
        name="listed", title="Listed", task="several", licence="none", citation="", page="",
        vocabularies={"few": ("a", "b", "c")}, splits={"one": Split(rule=""), "other": Split(rule="")},
    )  # fmt: skip

    def __init__(self, root, tracks):
        super().__init__(root)
        self.listed = tracks

    def _read(self):
        yield from self.listed


def track(path, name=None, part="train", tags=("a",), start_s=0.0, end_s=None, **columns):
    name = path.name if name is None else name
    return Track(track_id=name, path=path, part=part, tags=tags, start_s=start_s, end_s=end_s, columns=columns)


def listed(root, *names):
    """The data set of some files."""
    return Listed(root, [track(root / name) for name in names])


def quantised(samples):
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.float32) / 32768


def files_of(folder):
    """Name and bytes of the Arrow files and the card."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def settings_of(**changes):
    return {"sample_rate": RATE, "file_bytes": FILE_BYTES, "n_workers": 1} | changes


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Stereo clips of about half a second, with a list of them."""
    root = tmp_path_factory.mktemp("root")
    lines = ["path,split,tags,artist_id,bpm,notes"]
    for index in range(N_TRACKS):
        sound = noise(0.5 + index / 100, SOURCE_RATE, n_channels=2, seed=index)
        soundfile.write(root / f"{index:02d}.flac", sound, SOURCE_RATE)
        tags = ("a", "a|b", "c")[index % 3]
        lines.append(f"{index:02d}.flac,{PARTS[index % 4]},{tags},{index // 2},{90 + index / 2},{'' if index else 'x'}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def dataset(root):
    return open_dataset("csv", root, min_count=1)


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "new" / "folder"
    prepare(dataset, folder, **settings_of(frontend=MEL))
    return folder


@pytest.fixture(scope="module")
def plain(dataset, tmp_path_factory):
    """Prepared without features."""
    folder = tmp_path_factory.mktemp("plain")
    prepare(dataset, folder, **settings_of())
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return PreparedData(folder)


@pytest.fixture(scope="module")
def sounds(root):
    """The sound of each track as it is decoded, of 16 bits."""
    return [quantised(read_sound(path, sample_rate=RATE).samples) for path in sorted(root.glob("*.flac"))]


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", range(N_TRACKS))
def test_samples_are_the_decoded_sound(data, sounds, row):
    np.testing.assert_array_equal(data.whole(row), sounds[row])


@pytest.mark.parametrize(("start", "count"), [(0, 100), (4321, 2000), (7999, 1), (5, 0)])
def test_crop_is_a_stretch_of_the_sound(data, sounds, start, count):
    crop = data.crop(3, start, count)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, sounds[3][start : start + count])


@pytest.mark.parametrize("crop", [(-1, 10), (0, 10**6), (8000, 1000), (0, -1)])
def test_crop_beyond_the_track_is_refused(data, crop):
    with pytest.raises(ConfigError, match=f"samples from {crop[0]} to .* row 0 has 8000"):
        data.crop(0, *crop)


def test_crop_can_be_written_to(data):
    data.crop(0, 0, 10)[:] = 0


def test_16_bits_at_the_same_rate_are_kept_as_they_are(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    prepare(listed(tmp_path, "a.wav"), tmp_path / "out", **settings_of())
    np.testing.assert_array_equal(PreparedData(tmp_path / "out").whole(0) * 32768, samples)


def test_rows_come_in_the_order_of_the_tracks(data, dataset):
    assert list(data.column("track_id")) == [one.track_id for one in dataset.tracks()]


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_index_gives_the_rows_of_a_part(data, part):
    rows = data.index(part)
    assert rows.dtype == np.int64
    assert rows.tolist() == [row for row in range(N_TRACKS) if PARTS[row % 4] == part]


def test_unknown_part_is_refused(data):
    with pytest.raises(ConfigError, match="part is 'dev'; wanted one of train, valid, test"):
        data.index("dev")


def test_labels_are_ones_in_the_order_of_the_tags(data):
    assert data.tags == ("a", "b", "c")
    np.testing.assert_array_equal(data.labels([2, 0, 1]), np.array([[0, 0, 1], [1, 0, 0], [1, 1, 0]], np.float32))


def test_labels_of_no_rows_are_none(data):
    assert data.labels(data.index("train")[:0]).shape == (0, 3)


def test_track_without_tags_has_no_ones(root, tmp_path):
    prepare(Listed(root, [track(root / "00.flac", tags=())]), tmp_path, **settings_of())
    assert PreparedData(tmp_path).labels([0]).sum() == 0


def test_one_tag_of_a_track_is_had_as_its_number(data):
    assert data.class_numbers([0, 2, 3]).tolist() == [0, 2, 0]
    with pytest.raises(DatasetError, match="a track has 2 tags; exactly one is wanted"):
        data.class_numbers([0, 1])


@pytest.mark.parametrize(
    ("name", "kind", "first"),
    [("artist_id", np.int64, 0), ("bpm", np.float64, 90.0), ("notes_", object, "x"), ("sample_rate", np.int32, RATE)],
)
def test_column_has_a_value_a_track(data, name, kind, first):
    column = data.column(name)
    assert (len(column), column.dtype, column[0]) == (N_TRACKS, kind, first)


def test_missing_value_of_a_text_column_is_none(data):
    assert data.column("notes_")[1] is None


def test_unknown_column_is_answered_with_those_that_there_are(data):
    with pytest.raises(ConfigError, match=r"no column 'tempo'; there are track_id, .*bpm, notes_, notes, sound_hash\."):
        data.column("tempo")


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([1, None, 3], [1, np.nan, 3]),
        ([1, 2.5, None], [1, 2.5, np.nan]),
        ([1, "two", None], ["1", "two", None]),
        ([None, None, None], [None, None, None]),
        ([2**70, 1, 2], [str(2**70), "1", "2"]),
        (["\udcff", "é", "\n"], ["\\udcff", "é", "\n"]),
    ],
    ids=["whole", "number", "mixed", "nothing", "too large", "odd text"],
)
def test_own_column_holds_what_the_data_set_says(root, tmp_path, values, kept):
    tracks = [track(root / "00.flac", str(index), mine=value) for index, value in enumerate(values)]
    prepare(Listed(root, tracks), tmp_path, **settings_of())
    np.testing.assert_array_equal(
        PreparedData(tmp_path).column("mine"),
        np.array(kept, dtype=object if None in kept or isinstance(kept[0], str) else float),
    )


def test_card_says_what_the_data_is(folder, dataset):
    card = json.loads((folder / "card.json").read_text())
    facts = {name: card[name] for name in ("name", "task", "tags", "split", "split_sha256", "sample_rate", "n_rows")}
    assert facts == {
        "name": "csv", "task": "several", "tags": ["a", "b", "c"], "split": "column",
        "split_sha256": dataset.split_sha256(), "sample_rate": RATE, "n_rows": {"train": 6, "valid": 3, "test": 3},
    }  # fmt: skip


def test_path_that_is_no_utf_8_is_prepared(root, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.flac")
    path.write_bytes((root / "00.flac").read_bytes())
    prepare(listed(tmp_path, path.name), tmp_path / "out", **settings_of())
    assert PreparedData(tmp_path / "out").column("track_id")[0] == "\\udcff.flac"


# -- tracks that are cut out of files ----------------------------------------------------------------------------------


def test_cuts_of_a_file_are_its_stretches(root, tmp_path):
    times_s = [(0.1, 0.2), (0.0, 0.4), (0.25, None), (0.3, 0.35)]
    tracks = [track(root / "05.flac", str(index), start_s=a, end_s=b) for index, (a, b) in enumerate(times_s)]
    prepare(Listed(root, tracks), tmp_path, **settings_of())
    whole = quantised(read_sound(root / "05.flac", sample_rate=RATE).samples)
    cuts = [whole[round(a * RATE) : None if b is None else round(b * RATE)] for a, b in times_s]
    data = PreparedData(tmp_path)
    np.testing.assert_equal([data.whole(row) for row in range(4)], cuts)


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        ((9.0, None), "it starts at 9 s, and the sound ends at 0.50 s"),
        ((0.1, 0.10001), "there are no samples from 0.1 s to 0.10001 s"),
    ],
    ids=["behind the end", "nothing"],
)
def test_cut_without_sound_is_left_out(root, tmp_path, cut, reason):
    tracks = [track(root / "00.flac", "cut", start_s=cut[0], end_s=cut[1]), track(root / "00.flac")]
    report = prepare(Listed(root, tracks), tmp_path, **settings_of())
    assert [(one.track_id, one.reason) for one in report.left_out] == [("cut", reason)]


def test_cut_that_ends_behind_the_file_is_kept_and_told(root, tmp_path):
    prepare(Listed(root, [track(root / "00.flac", start_s=0.25, end_s=2.0)]), tmp_path, **settings_of())
    data = PreparedData(tmp_path)
    assert (data.n_samples(0), data.column("notes")[0]) == (4000, "ends 1.50 s early, with the file")


def test_cut_before_the_damage_of_its_file_is_kept(tmp_path):
    samples = noise(30)[:, 0]
    samples[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    tracks = [track(tmp_path / "a.wav", "good", end_s=1.0), track(tmp_path / "a.wav", "bad", start_s=29.0)]
    report = prepare(Listed(tmp_path, tracks), tmp_path / "out", **settings_of())
    assert [(one.track_id, one.reason) for one in report.left_out] == [
        ("bad", "some samples are not finite (NaN or infinity)")
    ]


# -- files that are not as they should be ------------------------------------------------------------------------------


def missing(path):
    pass


def empty(path):
    path.touch()


def text(path):
    path.write_text("no sound " * 100)


def not_a_number(path):
    soundfile.write(path, np.full(RATE, np.nan), RATE, format="WAV", subtype="FLOAT")


def too_long(path):
    path.write_bytes(encoded(noise(3)))


def no_samples(path):
    path.write_bytes(encoded(np.zeros((0, 1), np.float32)))


BAD = {
    missing: "No such file or directory",
    empty: "the file is empty",
    text: "no decoder knows what it is; is it sound at all?",
    not_a_number: "some samples are not finite (NaN or infinity)",
    too_long: "it is longer than the 2 s allowed (--max-duration-s)",
    no_samples: "there are no samples in it",
}


@pytest.fixture(scope="module")
def broken(root, tmp_path_factory):
    """Files of all bad kinds with good ones between them, prepared."""
    place = tmp_path_factory.mktemp("broken")
    tracks = []
    for number, make in enumerate(BAD):
        make(place / make.__name__)
        (place / f"good{number}").write_bytes((root / f"{number:02d}.flac").read_bytes())
        tracks += [track(place / make.__name__), track(place / f"good{number}")]
    told = []
    report = prepare(
        Listed(place, tracks), place / "out", **settings_of(max_duration_s=2.0, progress=lambda *one: told.append(one))
    )
    return report, told


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_file_is_left_out_with_its_reason(broken, make):
    assert {one.path: one.reason for one in broken[0].left_out}[make.__name__] == BAD[make]


def test_good_files_between_bad_ones_are_kept(broken):
    ids = PreparedData(broken[0].folder).column("track_id")
    assert list(ids) == [f"good{number}" for number in range(len(BAD))]


def test_bad_files_are_listed_on_the_card(broken):
    card = PreparedData(broken[0].folder).card
    assert [one["track_id"] for one in card["left_out"]] == [make.__name__ for make in BAD]


def test_bad_files_are_told_when_they_are_met(broken):
    assert [left_out.track_id for _, _, left_out in broken[1] if left_out] == [make.__name__ for make in BAD]


def test_progress_counts_all_tracks(broken):
    n_tracks = 2 * len(BAD)
    assert [one[:2] for one in broken[1]] == [(n_done, n_tracks) for n_done in range(n_tracks + 1)]


def test_sound_beyond_full_scale_is_clipped_and_told(tmp_path):
    samples = np.array([0.5, 1.5, -2.0, 1.0], np.float32).repeat(2000)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    report = prepare(listed(tmp_path, "a.wav"), tmp_path / "out", **settings_of())
    data = PreparedData(tmp_path / "out")
    assert (report.n_clipped, report.loudest) == (1, ("a.wav", 2.0))
    assert data.column("notes")[0].startswith("clipped: it goes up to 2, 1 is full scale")
    np.testing.assert_array_equal(data.whole(0)[::2000], np.array([16384, 32767, -32768, 32767]) / 32768)


def test_unusual_sound_is_kept_and_noted(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    report = prepare(listed(tmp_path, "a.wav"), tmp_path / "out", **settings_of())
    assert (report.n_noted, PreparedData(tmp_path / "out").column("notes")[0]) == (1, "silent")


def test_equal_sound_is_found_across_parts(root, tmp_path):
    tracks = [
        track(root / "01.flac", "one"),
        track(root / "02.flac", "two"),
        track(root / "01.flac", "again", part="test"),
    ]
    report = prepare(Listed(root, tracks), tmp_path, **settings_of())
    assert [(one.track_ids, one.parts) for one in report.same_sound] == [(("one", "again"), ("train", "test"))]


def test_two_tracks_of_one_name_are_refused(root, tmp_path):
    tracks = [track(root / "00.flac", "x"), track(root / "01.flac", "x")]
    with pytest.raises(DatasetError, match="two tracks of listed are named x"):
        prepare(Listed(root, tracks), tmp_path, **settings_of())


def test_tag_that_the_data_set_has_not_is_refused(root, tmp_path):
    with pytest.raises(DatasetError, match="has a tag that the data set has not: 'z'"):
        prepare(Listed(root, [track(root / "00.flac", tags=("a", "z"))]), tmp_path, **settings_of())


def test_data_set_without_tracks_is_refused(root, tmp_path):
    with pytest.raises(DatasetError, match="has no tracks"):
        prepare(listed(root), tmp_path, **settings_of())


def test_data_set_without_any_sound_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"none of the 2 tracks could be prepared; a: No such file"):
        prepare(listed(tmp_path, "a", "b"), tmp_path / "out", **settings_of())


def test_data_set_that_goes_away_ends_the_run(root, tmp_path):
    dataset = listed(tmp_path / "gone", "a", "b")
    with pytest.raises(DatasetError, match="gone is not there any more"):
        prepare(dataset, tmp_path / "out", **settings_of())


def workers_of(pid):
    """The processes that decode for another one."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = place.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            decodes = b"taggram.learning._decoding" in place.joinpath("cmdline").read_bytes()
        except OSError:  # it ended just now
            continue
        if int(parent) == pid and decodes:
            found.append(int(place.name))
    return found


def write_endless(path):
    """A file that takes minutes to decode and no place on the disk: 24 hours of silence that nobody wrote."""
    n_bytes = 24 * 3600 * 8000 * 2
    path.write_bytes(wav(b"", rate=8000, size=n_bytes))
    os.truncate(path, path.stat().st_size + n_bytes)


def test_file_that_kills_its_decoder_costs_its_track(root, tmp_path):
    write_endless(tmp_path / "long.wav")
    (tmp_path / "good.flac").write_bytes((root / "00.flac").read_bytes())
    out = tmp_path / "out"

    def kill():
        wait_until(lambda: any(path.stat().st_size > 10**6 for path in out.glob(".taggram-*/*")), within_s=200)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    report = prepare(listed(tmp_path, "long.wav", "good.flac"), out, **settings_of())
    killer.join()
    assert [(one.path, one.reason) for one in report.left_out] == [("long.wav", "its decoder crashed (SIGKILL)")]
    assert list(PreparedData(out).column("track_id")) == ["good.flac"]


# -- going on ----------------------------------------------------------------------------------------------------------


def test_bytes_do_not_depend_on_the_number_of_workers(dataset, plain, tmp_path):
    prepare(dataset, tmp_path, **settings_of(n_workers=3))
    assert files_of(tmp_path) == files_of(plain)


def test_files_are_about_as_large_as_wanted(plain):
    sizes = [path.stat().st_size for path in sorted(plain.glob("*.arrow"))]
    assert len(sizes) > 2
    assert all(FILE_BYTES < size < FILE_BYTES + 30_000 for size in sizes[:-1])


class StopError(Exception):
    """Ends a run in the middle."""


def stopping_after(n):
    def progress(n_done, n_tracks, left_out):
        if n_done == n:
            raise StopError

    return progress


@pytest.mark.parametrize("n_done", [0, 7, N_TRACKS])
def test_run_that_was_stopped_goes_on_with_equal_bytes(dataset, plain, tmp_path, n_done):
    with pytest.raises(StopError):
        prepare(dataset, tmp_path, **settings_of(progress=stopping_after(n_done)))
    prepare(dataset, tmp_path, **settings_of())
    assert files_of(tmp_path) == files_of(plain)


def test_finished_files_are_not_written_again(dataset, tmp_path):
    with pytest.raises(StopError):
        prepare(dataset, tmp_path, **settings_of(progress=stopping_after(9)))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.arrow")}
    report = prepare(dataset, tmp_path, **settings_of())
    assert report.n_before > 4
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before


def test_cuts_of_one_file_go_on_with_equal_bytes(root, tmp_path):
    tracks = [track(root / "05.flac", f"{index}", start_s=index / 50, end_s=0.5) for index in range(20)]
    prepare(Listed(root, tracks), tmp_path / "whole", **settings_of(file_bytes=20_000))
    with pytest.raises(StopError):
        prepare(Listed(root, tracks), tmp_path / "cut", **settings_of(file_bytes=20_000, progress=stopping_after(11)))
    prepare(Listed(root, tracks), tmp_path / "cut", **settings_of(file_bytes=20_000))
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_finished_folder_stays_as_it_is(dataset, plain):
    before = files_of(plain)
    report = prepare(dataset, plain, **settings_of())
    assert (report.n_before, files_of(plain)) == (N_TRACKS, before)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A list of clips that take some seconds to decode, some of them broken."""
    root = tmp_path_factory.mktemp("many")
    lines = ["path,split,tags"]
    for index in range(60):
        (root / f"{index}.wav").write_bytes(
            b"bad" if index % 9 == 0 else encoded(noise(10, 44_100, seed=index), 44_100)
        )
        lines.append(f"{index}.wav,{PARTS[index % 4]},a")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def uninterrupted(many, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    prepare(open_dataset("csv", many, min_count=1), folder, sample_rate=RATE, n_workers=2, file_bytes=2_000_000)
    return folder


RUN = """
import os, signal, sys
from pathlib import Path
from taggram.datasets import open_dataset
from taggram.learning.prepared import prepare

out, n_files = Path(sys.argv[2]), int(sys.argv[3])

def progress(*_):
    if n_files and len([*out.glob("*.arrow")]) >= n_files and [*out.glob(".taggram-*/*")]:
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.stdin.read():
        raise SystemExit

dataset = open_dataset("csv", sys.argv[1], min_count=1)
prepare(dataset, out, sample_rate=16000, n_workers=2, file_bytes=2000000, progress=progress)
"""


def run(many, out, n_files=0):
    """Words that prepare; the run waits for the end of its input, and kills itself behind so many files."""
    return [sys.executable, "-c", RUN, many, out, str(n_files)]


@pytest.mark.parametrize("n_files", [1, 3])
def test_run_that_is_killed_goes_on_with_equal_bytes(many, uninterrupted, tmp_path, n_files):
    done = subprocess.run(run(many, tmp_path, n_files), stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [*tmp_path.glob(".taggram-*/*")]
    assert not json.loads((tmp_path / "card.json").read_text())["complete"]
    prepare(open_dataset("csv", many, min_count=1), tmp_path, sample_rate=RATE, file_bytes=2_000_000)
    assert files_of(tmp_path) == files_of(uninterrupted)


def test_what_a_killed_run_left_is_removed(dataset, tmp_path):
    (tmp_path / ".taggram-left").mkdir()
    (tmp_path / ".taggram-left" / "7").write_bytes(b"half")
    (tmp_path / ".taggram-1.json").write_bytes(b"half")
    prepare(dataset, tmp_path, **settings_of())
    assert [*tmp_path.glob(".taggram-*")] == []


def test_full_disk_ends_the_run_and_costs_no_track(many, uninterrupted, tmp_path):
    done = subprocess.run(
        run(many, tmp_path), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert "DatasetError" in done.stderr
    assert "File too large" in done.stderr
    prepare(open_dataset("csv", many, min_count=1), tmp_path, sample_rate=RATE, file_bytes=2_000_000)
    assert files_of(tmp_path) == files_of(uninterrupted)


def test_second_run_at_once_is_refused(many, dataset, uninterrupted, tmp_path):
    with subprocess.Popen(run(many, tmp_path), stdin=subprocess.PIPE) as process:
        assert wait_until(lambda: [*tmp_path.glob(".taggram-*")])
        with pytest.raises(DatasetError, match="is being written by another process; wait"):
            prepare(dataset, tmp_path, **settings_of())
    assert process.returncode == 0
    assert files_of(tmp_path) == files_of(uninterrupted)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample_rate": 8000}, "sample_rate=16000, not 8000"),
        ({"file_bytes": 1000}, "file_bytes=60000, not 1000"),
        ({"max_duration_s": 5.0}, "max_duration_s=100000.0, not 5.0"),
        ({"frontend": MEL}, "other frontend than now"),
        ({"frontend": MEL, "keep_samples": False}, "other frontend than now"),
    ],
    ids=["rate", "file size", "longest", "features", "no samples"],
)
def test_folder_of_other_settings_is_refused(dataset, plain, change, said):
    with pytest.raises(DatasetError, match=f"was begun with {said}; name another folder"):
        prepare(dataset, plain, **settings_of(**change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tags": ("b",)}, "other tracks, parts or tags than now"),
        ({"part": "test"}, "other tracks, parts or tags than now"),
        ({"end_s": 0.2}, "other tracks, files or columns than now"),
        ({"artist_id": 7}, "other tracks, files or columns than now"),
    ],
    ids=["tags", "part", "cut", "column"],
)
def test_folder_of_other_tracks_is_refused(root, tmp_path, change, said):
    prepare(listed(root, "00.flac"), tmp_path, **settings_of())
    with pytest.raises(DatasetError, match=f"was begun with {said}"):
        prepare(Listed(root, [track(root / "00.flac", **change)]), tmp_path, **settings_of())


@pytest.mark.parametrize("name", ["song.mp3", "card.json"])
def test_folder_with_something_else_is_refused(dataset, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(DatasetError, match=r"holds song.mp3; name a new|card.json is no card of prepared data"):
        prepare(dataset, tmp_path, **settings_of())
    assert [path.name for path in tmp_path.glob("[!.]*")] == [name]


def test_folder_that_cannot_be_made_is_refused(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file/out: Not a directory"):
        prepare(dataset, tmp_path / "file" / "out", **settings_of())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample_rate": 100}, "sample_rate is 100"),
        ({"file_bytes": 0}, "file_bytes is 0"),
        ({"n_workers": 0}, "n_workers is 0"),
        ({"max_duration_s": 0}, "max_duration_s is 0"),
        ({"keep_samples": False}, "keep_samples is False; wanted True without a frontend"),
        ({"frontend": RawConfig(sample_rate=RATE, n_samples=100)}, "a raw front-end makes no features"),
        ({"frontend": MEL, "sample_rate": 22_050}, "the front-end wants sound at 16000 Hz, not 22050"),
    ],
    ids=["rate", "file size", "workers", "longest", "nothing", "raw", "rate of features"],
)
def test_setting_that_makes_no_sense_is_refused(dataset, tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        prepare(dataset, tmp_path, **settings_of(**change))


# -- features ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 7])
def test_features_are_those_of_the_kept_samples(data, row):
    frames = create_frontend(data.frontend)(torch.from_numpy(data.whole(row))[None])[0, 0].T
    np.testing.assert_array_equal(data.features(row), frames.half().numpy())


def test_some_frames_are_a_stretch_of_all(data):
    np.testing.assert_array_equal(data.features(2, 3, 5), data.features(2)[3:8])


def test_front_end_of_features_is_on_the_card(data):
    assert data.frontend == MEL


def test_data_without_features_has_no_front_end(plain):
    assert PreparedData(plain).frontend is None


def test_features_of_a_sound_shorter_than_a_frame_are_those_of_its_repetition(tmp_path):
    sound = tone(0.01)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    prepare(listed(tmp_path, "a.wav"), tmp_path / "out", **settings_of(frontend=MEL))
    frontend = create_frontend(MEL)
    repeated = np.resize(quantised(sound), frontend.n_samples_for(1))
    wanted = frontend(torch.from_numpy(repeated)[None])[0, 0].T
    np.testing.assert_array_equal(PreparedData(tmp_path / "out").features(0), wanted.half().numpy())


def test_features_alone_are_kept_without_samples(dataset, data, tmp_path):
    prepare(dataset, tmp_path, **settings_of(frontend=MEL, keep_samples=False))
    alone = PreparedData(tmp_path)
    np.testing.assert_array_equal(alone.features(4), data.features(4))
    with pytest.raises(ConfigError, match="was prepared without samples"):
        alone.n_samples(4)


# -- the reader --------------------------------------------------------------------------------------------------------


def test_reader_can_be_sent_to_another_process(data, sounds):
    data.crop(0, 0, 1)
    sent = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(sent.whole(8), sounds[8])


@pytest.mark.slow
def test_loader_processes_read_what_this_one_reads(data, sounds):
    loader = torch.utils.data.DataLoader(_Crops(data), batch_size=None, num_workers=2, multiprocessing_context="spawn")
    np.testing.assert_equal([crop.numpy() for crop in loader], [sound[10:110] for sound in sounds])


class _Crops(torch.utils.data.Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        if row >= len(self):
            raise IndexError
        return self.data.crop(row, 10, 100)


def rss():
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four tracks of 16 MB: each is as large as a batch."""
    root = tmp_path_factory.mktemp("large")
    sound = np.random.default_rng(0).integers(-1000, 1000, _arrow.BATCH_BYTES // 2).astype(np.int16)
    tracks = []
    for index in range(4):
        soundfile.write(root / f"{index}.wav", np.roll(sound, index), RATE)
        tracks.append(track(root / f"{index}.wav"))
    prepare(Listed(root, tracks), root / "out", sample_rate=RATE, n_workers=1)
    return root / "out", sound


def test_tracks_as_large_as_a_batch_are_kept(large):
    folder, sound = large
    np.testing.assert_array_equal(PreparedData(folder).whole(3) * 32768, np.roll(sound, 3))


def n_bytes_read():
    """How many bytes this process has read from files, be they in the system's cache or not."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_opening_reads_little_and_a_crop_its_own_bytes(large):
    before = n_bytes_read()
    data = PreparedData(large[0])
    opened = n_bytes_read()
    data.crop(3, 1_000_000, 48_000)
    assert opened - before < 100_000
    assert n_bytes_read() - opened < 2 * 48_000 + 1_000


def test_crops_from_all_over_leave_no_memory_behind(large):
    data = PreparedData(large[0])
    assert len(data.crop(0, 0, 48_000)) == 48_000
    before = rss()
    assert all(len(data.crop(row, start, 48_000)) for start in range(0, 8_000_000, 400_000) for row in range(4))
    assert rss() - before < 5e6


def test_unfinished_folder_is_refused_by_the_reader(dataset, tmp_path):
    with pytest.raises(StopError):
        prepare(dataset, tmp_path, **settings_of(progress=stopping_after(7)))
    with pytest.raises(DatasetError, match="is not finished; `taggram data prepare` with the same words goes on"):
        PreparedData(tmp_path)


def unlink(path):
    path.unlink()


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def overwrite(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.fixture
def copied(plain, tmp_path):
    return Path(shutil.copytree(plain, tmp_path / "copied"))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (unlink, r"part-00001\.arrow: No such file or directory; prepare the data again"),
        (cut, r"part-00001\.arrow: \d+ bytes are there, \d+ were written"),
        (overwrite, r"part-00001\.arrow: .*Arrow file"),
    ],
    ids=["missing", "cut", "overwritten"],
)
def test_damaged_file_is_named(copied, harm, said):
    harm(copied / "part-00001.arrow")
    with pytest.raises(DatasetError, match=said):
        PreparedData(copied)


def test_file_that_is_cut_while_it_is_read_is_an_error(copied):
    data = PreparedData(copied)
    os.truncate(copied / "part-00000.arrow", 1000)
    with pytest.raises(DatasetError, match=r"part-00000\.arrow: it ends early"):
        data.whole(0)


def test_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"card.json: No such file or directory; `taggram data prepare` makes"):
        PreparedData(tmp_path)


def test_folder_of_another_format_is_refused(plain, tmp_path):
    card = json.loads((plain / "card.json").read_text())
    card["settings"]["format"] = 99
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(DatasetError, match="is in format 99; this version reads format 1"):
        PreparedData(tmp_path)


# -- other tools -------------------------------------------------------------------------------------------------------


def test_pyarrow_dataset_reads_the_folder(folder, data):
    table = pa.dataset.dataset(folder, format="arrow", exclude_invalid_files=True).to_table()
    assert table.num_rows == N_TRACKS
    np.testing.assert_array_equal(np.array(table["samples"][5].as_py()) / 32768, data.whole(5))


def test_pyarrow_ipc_reads_a_file(folder, data):
    with pa.memory_map(str(folder / "part-00000.arrow")) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
        features = np.array(batch["features"][1].as_py(), np.float16)
    np.testing.assert_array_equal(features, data.features(1))


def test_duckdb_reads_the_folder(plain):
    duckdb = pytest.importorskip("duckdb")
    rows = pa.dataset.dataset(plain, format="arrow", exclude_invalid_files=True)
    counts = duckdb.from_arrow(rows).aggregate("split, count(*)", "split").order("split").fetchall()
    assert counts == [("test", 3), ("train", 6), ("valid", 3)]


def test_duckdb_reads_samples(plain):
    duckdb = pytest.importorskip("duckdb")
    rows = pa.dataset.dataset(plain, format="arrow", exclude_invalid_files=True)
    data = PreparedData(plain)
    ((n_samples,),) = duckdb.from_arrow(rows).aggregate("sum(len(samples))").fetchall()
    assert n_samples == sum(map(data.n_samples, range(N_TRACKS)))


def test_datasets_reads_the_folder(folder, data, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert len(rows) == N_TRACKS
    np.testing.assert_array_equal(np.array(rows[5]["samples"]) / 32768, data.whole(5))


# -- the command -------------------------------------------------------------------------------------------------------


def test_command_prepares_and_says_so(run_taggram, root, tmp_path):
    done = run_taggram("data", "prepare", "csv", "--root", root, "--out", tmp_path, "min_count=1", "--workers", "2")
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path}: 12 tracks (6 train, 3 valid, 3 test), 0.1 min at 16000 Hz, 0.2 MB\n"


def test_command_tells_what_is_left_out_and_leaves_with_1(run_taggram, many, tmp_path):
    done = run_taggram("data", "prepare", "csv", "--root", many, "--out", tmp_path, "min_count=1")
    assert done.returncode == 1
    assert f"{many}/9.wav: no decoder knows what it is; is it sound at all?\n" in done.stderr
    assert "7 of 60 tracks were left out; card.json lists them\n" in done.stderr


def test_command_refuses_another_rate(run_taggram, root, plain):
    done = run_taggram("data", "prepare", "csv", "--root", root, "--out", plain, "min_count=1", "--sample-rate", "8000")
    assert done.returncode == 1
    assert "sample_rate=16000, not 8000; name another folder" in done.stderr


@pytest.mark.slow
def test_command_keeps_features_of_a_network(run_taggram, root, tmp_path):
    arguments = ("--root", root, "--out", tmp_path, "--features", "musicnn", "--no-samples", "min_count=1")
    assert run_taggram("data", "prepare", "csv", *arguments).returncode == 0
    assert PreparedData(tmp_path).features(0).shape[1] == 96


def test_command_that_is_interrupted_leaves_nothing_half_written(tmp_path, started):
    write_endless(tmp_path / "long.wav")
    (tmp_path / "clips.csv").write_text("path,split,tags\nlong.wav,train,a\n")
    out = tmp_path / "out"
    process = started("data", "prepare", "csv", "--root", tmp_path, "--out", out, "min_count=1")
    assert wait_until(lambda: [*out.glob(".taggram-*/*")])
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert [path.name for path in out.iterdir() if path.name != ".lock"] == ["card.json"]


def test_command_without_its_extra_says_what_installs_it(root, tmp_path):
    code = "import sys; sys.modules['pyarrow'] = None; from taggram.apps.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "prepare", "csv", "--root", root, "--out", tmp_path, "min_count=1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "pip install 'taggram[train]'" in done.stderr) == (1, True)
