"""Results as Parquet: the columns and rows, odd paths, and that a file is whole or not there."""

from __future__ import annotations

import csv
import io
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from _sounds import encoded, noise
from conftest import COMMAND, MODEL, session_of, wait_until

import taggram
from taggram._files import utf8
from taggram.apps import _parquet
from taggram.apps._parquet import ParquetEmbeddings, ParquetTags
from taggram.results import Embedding, Failure, Taggram

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[train]'")
pq = pytest.importorskip("pyarrow.parquet")

N_PATCHES = 3
N_TAGS = 50


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Files with a plain name, a name that is not ASCII, and one that is no UTF-8."""
    folder = tmp_path_factory.mktemp("songs")
    paths = [folder / "a.wav", folder / "Öl ♪.wav", folder / os.fsdecode(b"\xff.wav")]
    for seed, path in enumerate(paths):
        path.write_bytes(encoded(noise(10, 16_000, seed=seed), 16_000))
    return paths


# -- tag ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tagged(weights, songs, tmp_path_factory, run_taggram):
    """A run over three files and one that is missing."""
    out = tmp_path_factory.mktemp("tag") / "tags.parquet"
    done = run_taggram("tag", "--workers", "1", "--format", "parquet", "--out", out, *songs, "missing.wav")
    return done, pq.read_table(out), out


@pytest.fixture(scope="module")
def over_time(weights, songs, tmp_path_factory, run_taggram):
    out = tmp_path_factory.mktemp("time") / "tags.parquet"
    run_taggram("tag", "--workers", "1", "--over-time", "--format", "parquet", "--threshold", "0", "--top", str(N_TAGS),
                "--out", out, songs[0])  # fmt: skip
    return pq.read_table(out)


def test_columns_of_tags(tagged):
    wanted = {"path": pa.string(), "tag": pa.string(), "score": pa.float32(), "model": pa.string()}
    assert tagged[1].schema.equals(pa.schema(wanted))


def test_rows_are_those_of_csv(tagged, songs, run_taggram):
    printed = run_taggram("tag", "--workers", "1", "--format", "csv", songs[0]).stdout
    rows = [row for row in tagged[1].to_pylist() if row["path"] == str(songs[0])]
    assert [(row["tag"], f"{row['score']:.6f}") for row in rows] == [
        (row["tag"], row["score"]) for row in csv.DictReader(io.StringIO(printed))
    ]


def test_rows_name_the_model(tagged):
    assert tagged[1]["model"].unique().to_pylist() == [MODEL]


def test_path_that_is_utf8_is_as_it_is(tagged, songs):
    assert tagged[1]["path"].unique().to_pylist()[:2] == list(map(str, songs[:2]))


def test_path_that_is_no_utf8_has_backslash_escapes(tagged, songs):
    assert tagged[1]["path"].unique().to_pylist()[2] == f"{songs[2].parent}{os.sep}\\udcff.wav"


def test_failure_is_told_and_has_no_row(tagged):
    done, table, _ = tagged
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "missing.wav: No such file or directory\n")
    assert table.num_rows == 9


def test_nothing_is_left_beside_the_table(tagged):
    assert [path.name for path in tagged[2].parent.iterdir()] == ["tags.parquet"]


def test_over_time_there_is_a_row_a_patch_and_tag(over_time):
    assert over_time.column_names == ["path", "time_s", "tag", "score", "model"]
    np.testing.assert_allclose(over_time["time_s"], np.repeat([0, 2.992, 5.984], N_TAGS))


def test_scores_over_time_are_those_of_python(over_time, songs):
    wanted = taggram.tag(songs[0], device="cpu").scores
    found = np.sort(over_time["score"].to_numpy().reshape(N_PATCHES, N_TAGS), axis=1)
    np.testing.assert_allclose(found, np.sort(wanted, axis=1), rtol=0, atol=1e-5)


def test_tags_that_are_all_too_weak_are_a_table_without_rows(weights, songs, tmp_path, run_taggram):
    out = tmp_path / "tags.parquet"
    done = run_taggram("tag", "--threshold", "1", "--format", "parquet", "--workers", "1", "--out", out, songs[0])
    assert (done.returncode, pq.read_table(out).num_rows) == (0, 0)


# -- embed -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(weights, songs, tmp_path_factory, run_taggram):
    out = tmp_path_factory.mktemp("embed") / "features.PARQUET"
    done = run_taggram("embed", "--workers", "1", "--out", out, *songs, "missing.wav")
    return done, pq.read_table(out)


def test_columns_of_embeddings(embedded):
    wanted = {"path": pa.string(), "times_s": pa.float64(), "features": pa.list_(pa.float32(), 200)}
    assert embedded[1].schema.equals(pa.schema(wanted))


def test_embeddings_are_those_of_python(embedded, songs):
    wanted = taggram.Tagger(MODEL, device="cpu").embed(songs[0])
    np.testing.assert_allclose(embedded[1]["features"].to_pylist()[:N_PATCHES], wanted, rtol=0, atol=1e-5)


def test_rows_of_embeddings_say_where_they_are_from(embedded, songs):
    table = embedded[1]
    assert table["path"].to_pylist() == [utf8(str(song)) for song in songs for _ in range(N_PATCHES)]
    np.testing.assert_allclose(table["times_s"], [0, 2.992, 5.984] * 3)


def test_failure_of_an_embedding_leaves_with_1(embedded):
    assert (embedded[0].returncode, embedded[0].stdout) == (1, "")
    assert "missing.wav: No such file or directory\n" in embedded[0].stderr


def test_mean_is_one_row_a_file(weights, songs, tmp_path, run_taggram):
    out = tmp_path / "mean.parquet"
    run_taggram("embed", "--mean", "--workers", "1", "--out", out, *songs)
    assert pq.read_table(out).num_rows == 3


# -- whole or not there ------------------------------------------------------------------------------------------------

COMMANDS = pytest.mark.parametrize("command", [("tag", "--format", "parquet"), ("embed",)], ids=["tag", "embed"])


@COMMANDS
def test_where_all_fails_there_is_no_file(weights, tmp_path, run_taggram, command):
    done = run_taggram(*command, "--workers", "1", "--out", tmp_path / "out.parquet", "missing.wav")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])


@COMMANDS
def test_full_disk_leaves_the_old_table_whole(weights, run_taggram, songs, tmp_path, command):
    (tmp_path / "out.parquet").write_text("old")
    done = run_taggram(
        *command, "--workers", "1", "--out", tmp_path / "out.parquet", songs[0],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "taggram: File too large\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.parquet", "old")]


@COMMANDS
def test_run_that_is_ended_leaves_no_table(weights, tmp_path, started, command):
    many = tmp_path / "many"
    many.mkdir()
    (many / "0000.wav").write_bytes(encoded(noise(60)))
    for index in range(1, 1000):
        (many / f"{index:04}.wav").hardlink_to(many / "0000.wav")
    process = started(*command, "--out", tmp_path / "out.parquet", many)
    assert wait_until(lambda: len(session_of(process.pid)) > 1 and list(tmp_path.glob(".taggram-*")))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == [many]


# -- wrong usage -------------------------------------------------------------------------------------------------------


def test_parquet_without_a_file_is_wrong_usage(run_taggram, songs):
    done = run_taggram("tag", "--format", "parquet", songs[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert "--out FILE says where it is written" in done.stderr


WITHOUT = (
    "import sys; sys.modules['pyarrow'] = None; from taggram.apps.cli import main; sys.argv[0] = 'taggram'; main()"
)


@COMMANDS
def test_missing_pyarrow_is_answered_with_the_line_that_installs_it(tmp_path, command):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *command, "--model", "nosuch", "--out", tmp_path / "out.parquet", "a.wav"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert "pip install 'taggram[train]'" in done.stderr


@pytest.mark.parametrize("arguments", [("tag", "--format", "json"), ("embed",)], ids=lambda words: words[0])
def test_other_formats_need_no_pyarrow(weights, songs, tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments, "--workers", "1", "--out", tmp_path / "out", songs[0]],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, [path.name for path in tmp_path.iterdir()]) == (0, ["out"])


def test_format_is_in_the_help():
    done = subprocess.run([*COMMAND, "tag", "--help"], capture_output=True, text=True, check=True)
    assert "parquet" in done.stdout


# -- the writers -------------------------------------------------------------------------------------------------------


def a_taggram(path="a.wav", n_patches=2, tags=("x", "y")):
    scores = np.linspace(0, 1, n_patches * len(tags), dtype=np.float32).reshape(n_patches, len(tags))
    return Taggram(
        path=path, model="made up", duration_s=1.0, patch_s=1.0, hop_s=1.0, padded=False, notes=(), unusual=(),
        tags=tags, times_s=np.arange(n_patches, dtype=np.float64), scores=scores,
    )  # fmt: skip


def an_embedding(shape, path="a.wav"):
    features = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Embedding(
        path=path, model="made up", layer="made up", notes=(), unusual=(), features=features,
        times_s=np.arange(len(features), dtype=np.float64),
    )  # fmt: skip


def read(buffer):
    return pq.ParquetFile(io.BytesIO(buffer.getvalue()))


def test_tags_are_written_as_they_come(monkeypatch):
    monkeypatch.setattr(_parquet, "GROUP_ROWS", 4)
    with ParquetTags(buffer := io.BytesIO(), None, 0.0, over_time=True) as table:
        for number in range(5):
            table.write(a_taggram(f"{number}.wav"))
    file = read(buffer)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [4] * 5


def test_tag_that_is_no_utf8_has_backslash_escapes():
    with ParquetTags(buffer := io.BytesIO(), None, 0.0, over_time=False) as table:
        table.write(a_taggram(tags=("x", "\udcff")))
    assert set(read(buffer).read()["tag"].to_pylist()) == {"x", "\\udcff"}


def test_failure_is_no_row():
    with ParquetTags(buffer := io.BytesIO(), None, 0.0, over_time=False) as table:
        table.write(Failure("a.wav", "AudioError", "no sound"))
    assert (table.n_files, read(buffer).metadata.num_rows) == (0, 0)


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 4)], ids=str)
def test_features_with_more_axes_are_lists_in_lists(shape):
    with ParquetEmbeddings(buffer := io.BytesIO()) as table:
        table.add(one := an_embedding((5, *shape)))
    found = read(buffer).read()["features"]
    np.testing.assert_array_equal(np.array(found.to_pylist(), dtype=np.float32), one.features)
    assert found.type.list_size == shape[0]


def test_embeddings_are_written_as_they_come(monkeypatch):
    monkeypatch.setattr(_parquet, "GROUP_VALUES", 20)
    with ParquetEmbeddings(buffer := io.BytesIO()) as table:
        for _ in range(3):
            table.add(an_embedding((5, 4)))
    file = read(buffer)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [5] * 3


def test_long_embedding_is_cut_into_row_groups(monkeypatch):
    monkeypatch.setattr(_parquet, "GROUP_VALUES", 20)
    with ParquetEmbeddings(buffer := io.BytesIO()) as table:
        table.add(one := an_embedding((12, 4)))
    file = read(buffer)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [5, 5, 2]
    np.testing.assert_array_equal(np.array(file.read()["features"].to_pylist()), one.features)


def test_short_embeddings_share_a_row_group():
    with ParquetEmbeddings(buffer := io.BytesIO()) as table:
        for name in ("a", "b"):
            table.add(an_embedding((2, 4), name))
    file = read(buffer)
    assert (file.num_row_groups, file.read()["path"].to_pylist()) == (1, ["a", "a", "b", "b"])
