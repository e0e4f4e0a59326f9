"""Views of prepared data: pictures of one length, tracks of zeros, other parts, fewer tags."""

from __future__ import annotations

import copy
import csv
import tracemalloc

import numpy as np
import pytest
from _made_sounds import TAGS, write_set

from taggram.datasets import open_dataset
from taggram.errors import ConfigError
from taggram.frontends import LogMelConfig
from taggram.learning.fixed_frames import FixedFrames, ZeroTrack
from taggram.learning.prepared import PreparedData, prepare

MEL = LogMelConfig(sample_rate=4000, n_fft=256, hop_length=128, n_mels=8, n_frames=20, compression="ln_floor", eps=1e-9)
ZEROS = (
    ZeroTrack(track_id="gone", part="train", tags=("noisy", "high")),
    ZeroTrack(track_id="empty", part="test", tags=()),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"), n_clips=12)


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "data"
    prepare(open_dataset("csv", root, min_count=1), out, sample_rate=4000, frontend=MEL, n_workers=1)
    return out


@pytest.fixture(scope="module")
def whole(folder):
    return PreparedData(folder)


@pytest.fixture(scope="module")
def fixed(folder):
    return FixedFrames(folder, n_frames=6, fill=-20.0, zeros=ZEROS)


def test_frames_are_as_many_for_all(fixed):
    assert {fixed.n_frames(row) for row in range(len(fixed))} == {6}
    assert {fixed.features(row).shape for row in range(len(fixed))} == {(6, 8)}


def test_longer_track_is_cut_at_its_end(fixed, whole):
    row = max(range(len(whole)), key=whole.n_frames)
    assert np.array_equal(fixed.features(row), whole.features(row, 0, 6))


def test_shorter_track_is_filled_at_its_end(folder, whole):
    row = min(range(len(whole)), key=whole.n_frames)
    n_there = whole.n_frames(row)
    frames = FixedFrames(folder, n_frames=n_there + 3, fill=-20.0).features(row)
    assert np.array_equal(frames[:n_there], whole.features(row))
    assert (frames[n_there:] == -20).all()


@pytest.mark.parametrize(("start", "n_frames"), [(0, 6), (2, 3), (5, 1), (6, 0), (4, None)])
def test_stretch_is_that_of_the_whole(fixed, start, n_frames):
    for row in range(len(fixed)):
        end = None if n_frames is None else start + n_frames
        assert np.array_equal(fixed.features(row, start, n_frames), fixed.features(row)[start:end])


def test_frames_beyond_the_picture_are_refused(fixed):
    with pytest.raises(ConfigError, match="frames from 5 to 7 were asked for; every track has 6"):
        fixed.features(0, 5, 2)


def test_tracks_of_zeros_come_last_in_their_parts(fixed, whole):
    assert len(fixed) == len(whole) + 2
    assert fixed.index("train").tolist() == [*whole.index("train"), len(whole)]
    assert fixed.index("test").tolist() == [*whole.index("test"), len(whole) + 1]
    assert not fixed.features(len(whole)).any()


def test_tracks_of_zeros_keep_their_tags(fixed, whole):
    rows = [0, len(whole), len(whole) + 1]
    assert fixed.tags_of(len(whole)) == ("high", "noisy")
    wanted = [whole.labels([0])[0], [tag in ZEROS[0].tags for tag in whole.tags], np.zeros(3)]
    assert np.array_equal(fixed.labels(rows), wanted)


def test_tracks_of_zeros_have_their_names(fixed):
    assert fixed.column("track_id")[-2:].tolist() == ["gone", "empty"]
    assert np.isnan(fixed.column("sample_rate")[-1].astype(float))


def test_frontend_says_the_length(fixed):
    assert fixed.frontend.n_frames == 6


def test_track_of_zeros_with_an_unknown_tag_is_refused(folder):
    with pytest.raises(ConfigError, match="has the tag 'loud'"):
        FixedFrames(folder, n_frames=6, zeros=[ZeroTrack(track_id="a", part="train", tags=("loud",))])


# -- other parts, fewer tags -------------------------------------------------------------------------------------------


def test_other_parts_are_those_that_are_given(fixed):
    parts = np.arange(len(fixed)) % 4 - 1
    given = fixed.with_parts(parts, split="mine")
    assert [given.index(part).tolist() for part in ("train", "valid", "test")] == [
        np.flatnonzero(parts == number).tolist() for number in range(3)
    ]
    assert given.card["split"] == "mine"
    assert given.card["split_sha256"] != fixed.card["split_sha256"]


def test_same_parts_have_the_hash_of_the_data_set(whole):
    parts = np.empty(len(whole), int)
    for number, part in enumerate(("train", "valid", "test")):
        parts[whole.index(part)] = number
    assert whole.with_parts(parts, split="column").card["split_sha256"] == whole.card["split_sha256"]


def test_merged_tag_holds_where_one_of_its_tags_does(whole):
    given = whole.with_tags({"tone": ("high", "low"), "noisy": ("noisy",)})
    labels = whole.labels(range(len(whole)))
    tone = labels[:, [whole.tags.index("high"), whole.tags.index("low")]].max(axis=1)
    wanted = np.stack([tone, labels[:, whole.tags.index("noisy")]], axis=1)
    assert np.array_equal(given.labels(range(len(whole))), wanted)


def test_tag_may_go_into_several_and_a_name_may_come_twice(whole):
    given = whole.with_tags({"tone": ("high", "low", "high"), "high": ("high",)})
    for row in range(len(whole)):
        held = {*whole.tags_of(row)}
        assert given.tags_of(row) == ("tone",) * bool(held & {"high", "low"}) + ("high",) * ("high" in held)


def test_many_tags_are_taken_in_the_memory_of_what_holds(whole):
    many = tuple(f"tag {number}" for number in range(5000))
    given = copy.copy(whole)
    given.tags = (*whole.tags, *many)
    tracemalloc.start()
    given.with_tags({tag: (tag,) for tag in given.tags})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # a table of old by new tags would have 25 MB


def test_tracks_without_a_tag_may_be_left_out(whole):
    given = whole.with_tags({"noisy": ("noisy",)}, keep_untagged=False)
    rows = np.concatenate([given.index(part) for part in ("train", "valid", "test")])
    assert given.labels(rows).all()
    kept = whole.with_tags({"noisy": ("noisy",)})
    assert np.array_equal(kept.index("train"), whole.index("train"))


def test_fewer_tags_have_the_hash_of_such_a_data_set(root, tmp_path):
    rows = list(csv.DictReader((root / "clips.csv").read_text(encoding="utf-8").splitlines()))
    full = prepare(open_dataset("csv", root, min_count=1), tmp_path / "a", sample_rate=4000, n_workers=1)
    for row in rows:
        row["tags"] = "noisy" if "noisy" in row["tags"].split("|") else ""
    with (root / "few.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([rows[0].keys(), *(row.values() for row in rows)])
    few = open_dataset("csv", root, file="few.csv", min_count=1, task="several")
    given = PreparedData(full.folder).with_tags({"noisy": ("noisy",)})
    assert given.card["split_sha256"] == few.split_sha256()


@pytest.mark.parametrize(
    ("groups", "message"), [({"a": ("loud",)}, "no tag 'loud'"), ({}, "no new tag")], ids=["unknown", "none"]
)
def test_tags_that_there_are_not_are_refused(whole, groups, message):
    with pytest.raises(ConfigError, match=message):
        whole.with_tags(groups)


def test_parts_that_name_nothing_are_refused(whole):
    with pytest.raises(ConfigError, match="parts must be 12 numbers from -1 to 2"):
        whole.with_parts([3] * len(whole), split="mine")


def test_tags_of_a_track_are_names(whole):
    for row in range(len(whole)):
        assert set(whole.tags_of(row)) == {tag for tag, holds in zip(sorted(TAGS), whole.labels([row])[0]) if holds}
