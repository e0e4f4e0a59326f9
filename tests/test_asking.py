"""A catalogue that is asked: what is found, how it is written, and what happens where it cannot be."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from _catalogues import SIZE, TAGS, card_of, row, write_catalogue
from _sounds import encoded, tone
from _taught import write_network
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb", reason="duckdb is not installed: pip install 'taggram[catalogue]'")
pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")

import taggram
from taggram.apps._asking import run_duplicates, run_map, run_similar
from taggram.apps._outputs import ListFormat, TableFormat, format_of
from taggram.catalogue import _embeddings as embeddings
from taggram.catalogue import _neighbours as neighbours
from taggram.catalogue import asking
from taggram.catalogue import duplicates as duplicating
from taggram.catalogue._reading import open_catalogue
from taggram.catalogue._table import Table
from taggram.catalogue._vectors import UnitVectors
from taggram.catalogue.asking import Catalogue
from taggram.catalogue.build import tagger_settings
from taggram.catalogue.journal import Journal
from taggram.catalogue.rows import load_pyarrow
from taggram.errors import (
    AudioError,
    CatalogueError,
    ConfigError,
    TooLongQuestionError,
    UnknownLayerError,
    UnknownNameError,
    UnreadablePartError,
)

N = 40


def some_rows(n=N, first=0):
    """Rows whose scores grow with their number, and whose embeddings point anywhere."""
    vectors = np.random.default_rng(first).standard_normal((n, SIZE))
    return [
        row(f"/music/{i:03d}.mp3", [i / 100, 1 - i / 100, (i % 4) / 4, 0.5], vectors[i - first], size=1000 + i)
        for i in range(first, first + n)
    ]


@pytest.fixture
def folder(tmp_path):
    """A catalogue of two parts, one row of which failed, in a folder whose name is no pattern."""
    rows = [*some_rows(), row("/music/broken.mp3", None)]
    return write_catalogue(tmp_path / "my [1]*? k=v 'x'", rows[:25], rows[25:])


@pytest.fixture
def catalogue(folder):
    with Catalogue(folder) as one:
        yield one


def paths(tracks):
    return [track["path"].removeprefix("/music/").removesuffix(".mp3") for track in tracks]


# -- find --------------------------------------------------------------------------------------------------------------


def test_tracks_are_found_by_their_tags(catalogue):
    assert paths(catalogue.find("guitar >= 0.36 and 'male vocal' < 0.5")) == ["036", "037"]


def test_order_is_kept_and_equals_come_by_their_path(catalogue):
    assert paths(catalogue.find("order by 'male vocal' desc limit 3")) == ["003", "007", "011"]


def test_tracks_have_what_the_expression_names(catalogue):
    assert next(catalogue.find("piano < 0.7 order by size")) == {
        "path": "/music/031.mp3", "piano": pytest.approx(0.69), "size": 1031,
    }  # fmt: skip


def test_failed_files_are_found_by_their_error_alone(catalogue):
    assert paths(catalogue.find("not guitar > 2"))[-1] == "039"
    assert paths(catalogue.find("error contains 'NO SOUND'")) == ["broken"]


def test_empty_expression_finds_all(catalogue):
    assert len(list(catalogue.find(""))) == N


def test_time_is_written_in_utc(catalogue):
    assert next(catalogue.find("modified = '1970-01-01' limit 1"))["modified"] == "1970-01-01T00:00:00+00:00"


WORDS = (
    *("guitar", "'male vocal'", "path", "notes", "80s", "size", "modified", "error", "and", "or", "not", "(", ")", "<"),
    *(">=", "=", "!=", "contains", "0.5", "-3", "1e39", "'x'", "'1970-01-02'", "order by", "limit", "desc", ",", "3"),
)
COMPARISONS = st.sampled_from([
    *("guitar > 0.5", "'male vocal' <= -1e39", "0.5 != guitar", "guitar = piano", "size < 3", "path contains 'é'"),
    *("notes contains 'x'", "modified >= '1970-01-02T03:04+05:00'", "'x' = error", "error != ''", "path = sha256"),
    *("modified = modified", "duration_s > size", "piano >= 'male vocal'"),
])  # fmt: skip
JOINED = st.sampled_from(["and", "or"])
CONDITIONS = st.recursive(COMPARISONS, lambda one: st.tuples(one, JOINED, one).map(lambda t: f"not ({' '.join(t)})"))
ORDERS = st.sampled_from(["", " order by guitar desc, path", " order by modified, size asc limit 3", " limit 1"])
LOOSE = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with Catalogue(write_catalogue(tmp_path_factory.mktemp("plain") / "c", some_rows(3), [row("/x", None)])) as one:
        yield one


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.one_of(st.builds(str.__add__, CONDITIONS, ORDERS), LOOSE))
def test_whatever_is_understood_is_answered(plain, expression):
    try:
        tracks = plain.find(expression)
    except (ConfigError, UnknownNameError):
        return
    assert all("path" in track for track in tracks)


def test_longest_expression_is_answered(catalogue):
    expression = " or ".join(["(not guitar > 0.385)"] * 400)
    assert len(list(catalogue.find(expression))) == N - 1


def test_tag_that_is_called_like_a_column_is_found(tmp_path):
    folder = write_catalogue(tmp_path / "c", [row("/a", [0.1]), row("/b", [0.9])], card=card_of(["size"]))
    assert list(taggram.Catalogue(folder).find("tag:size > 0.5")) == [{"path": "/b", "tag:size": pytest.approx(0.9)}]


def test_tag_that_is_called_like_a_column_of_the_database_is_found(tmp_path):
    rows = [row("/a", [0.1]), row("/b", [0.9])]
    catalogue = Catalogue(write_catalogue(tmp_path / "c", rows, card=card_of(["file_row_number"])))
    assert paths(catalogue.find("file_row_number > 0.5")) == ["/b"]
    assert len(catalogue.nearest(np.ones(SIZE, np.float32))) == 2


@pytest.mark.parametrize("expression", ["error contains 'sound'", "error = 'x'", "guitar > 0.5", "error != 'x'"])
def test_not_finds_what_is_not_found_without_it(tmp_path, expression):
    rows = [row("/low", [0.1] * 4), row("/high", [0.9] * 4), row("/nan", [np.nan] * 4), row("/failed", None)]
    catalogue = Catalogue(write_catalogue(tmp_path / "c", rows))
    everything = " or error = ''"  # which names the error, so that files that failed are asked for
    found = paths(catalogue.find(f"({expression}){everything}"))
    others = paths(catalogue.find(f"not ({expression}){everything}"))
    assert sorted(found + others) == sorted(["/low", "/high", "/nan", "/failed"])


def test_score_that_is_no_number_fits_nothing_comes_last_and_is_none(tmp_path):
    catalogue = Catalogue(write_catalogue(tmp_path / "c", [row("/nan", [np.nan] * 4), row("/y", [0.9] * 4)]))
    assert paths(catalogue.find("guitar > 0.5")) == ["/y"]
    assert [(track["path"], track["guitar"]) for track in catalogue.find("order by guitar desc")] == [
        ("/y", pytest.approx(0.9)), ("/nan", None),
    ]  # fmt: skip
    assert catalogue.statistics().tags[0].mean == pytest.approx(0.9)


def test_time_beyond_the_year_9999_is_written(tmp_path):
    catalogue = Catalogue(write_catalogue(tmp_path / "c", [row("/x", [0.1] * 4, modified_us=2**62)]))
    assert next(catalogue.find("order by modified"))["modified"].startswith("148108-07-06T")


def test_path_that_is_no_utf8_is_found_as_it_was_written(tmp_path):
    catalogue = Catalogue(write_catalogue(tmp_path / "c", [row("/caf\\udce9.mp3", [0.1] * 4)]))
    assert len(list(catalogue.find("path contains '/caf\udce9'"))) == 1


@pytest.mark.parametrize("limit", [-1, 0, 10**30, 1.5, True])
def test_limit_without_sense_is_refused(catalogue, limit):
    with pytest.raises(ConfigError, match="limit is"):
        catalogue.find("", limit=limit)


def test_more_can_be_asked_for_than_is_named(catalogue):
    assert next(catalogue.find("guitar > 0.38", also=["piano", "size"])) == {
        "path": "/music/039.mp3", "guitar": pytest.approx(0.39), "piano": pytest.approx(0.61), "size": 1039,
    }  # fmt: skip
    with pytest.raises(UnknownNameError, match="Did you mean guitar"):
        catalogue.find("", also=["guitr"])


def test_catalogue_that_was_closed_says_so(folder):
    catalogue = Catalogue(folder)
    catalogue.close()
    with pytest.raises(CatalogueError, match="was closed"):
        list(catalogue.find(""))


def test_parts_on_another_disk_are_read(folder, tmp_path):
    (folder / "parts").rename(tmp_path / "elsewhere")
    (folder / "parts").symlink_to(tmp_path / "elsewhere")
    assert len(list(Catalogue(folder).find(""))) == N


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 here")
def test_folder_whose_name_is_no_utf8_is_told(folder, tmp_path):
    other = folder.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with pytest.raises(CatalogueError, match="no UTF-8"):
        Catalogue(other)


def test_catalogue_without_files_finds_nothing(tmp_path):
    write_catalogue(tmp_path / "c")
    assert list(Catalogue(tmp_path / "c").find("guitar > 0")) == []


def test_parts_that_come_later_are_found(folder, catalogue):
    write_catalogue(folder, some_rows(5, first=100))
    assert paths(catalogue.find("guitar > 1")) == ["101", "102", "103", "104"]


def test_layer_is_asked_by_its_name(folder):
    write_catalogue(folder, [row("/other.mp3", [0.1])], card=card_of(["other"], name="other-1"))
    assert paths(Catalogue(folder, layer="made-00000000").find("guitar > 0.385")) == ["039"]
    assert len(list(Catalogue(folder).find("other > 0"))) == 1


def test_layer_is_asked_by_a_start_of_its_name_that_fits_no_other(folder):
    write_catalogue(folder, card=card_of(name="made"))
    write_catalogue(folder, card=card_of(name="other-1"))
    assert [Catalogue(folder, layer=name).layer for name in ("o", "made", "made-")] == [
        "other-1", "made", "made-00000000",
    ]  # fmt: skip
    with pytest.raises(UnknownLayerError, match=r"2 layers whose names begin with 'ma': made, made-00000000\. .*stats"):
        Catalogue(folder, layer="ma")


def test_catalogue_names_its_folder_and_layer(tmp_path):
    catalogue = Catalogue(write_catalogue(tmp_path / "c"))
    assert repr(catalogue) == f"Catalogue({str(tmp_path / 'c')!r}, layer='made-00000000')"


def test_database_reads_this_folder_alone_and_writes_nothing(folder, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    table, parts = Table(folder), open_catalogue(folder).parts
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')", f"SELECT * FROM '{tmp_path / 'secret.csv'}'",
        f"SELECT * FROM rows; COPY (SELECT 1) TO '{tmp_path / 'new.csv'}'", "SELECT getenv('HOME') FROM rows",
        "SELECT 1; SET enable_external_access = true",
    ):  # fmt: skip
        with pytest.raises(CatalogueError):
            list(table.ask(parts, sql))
    assert not (tmp_path / "new.csv").exists()


def test_damaged_part_is_told(folder, catalogue):
    open_catalogue(folder).parts[0].write_bytes(b"no table")
    with pytest.raises(CatalogueError, match="cannot be read"):
        list(catalogue.find("guitar > 0"))


ASKED = {
    "find": lambda one: list(one.find("guitar > 0.1")), "similar": lambda one: one.similar("/music/003.mp3"),
    "duplicates": lambda one: list(one.duplicates()), "statistics": lambda one: one.statistics(),
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
def test_damaged_part_is_named_whatever_is_asked(folder, catalogue, kind):
    part = open_catalogue(folder).parts[1]
    data = bytearray(part.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    part.write_bytes(data)
    with pytest.raises(CatalogueError, match=f"the part {part.name} is damaged.*`taggram catalogue` on the same files"):
        ASKED[kind](catalogue)


def test_embedding_with_a_bit_that_changed_is_found(folder, catalogue):
    part = open_catalogue(folder).parts[0]
    data = bytearray(part.read_bytes())
    data[end_of_embeddings(part) - 9] ^= 1
    part.write_bytes(data)
    with pytest.raises(CatalogueError, match=f"the part {part.name} is damaged"):
        list(catalogue.duplicates())


def end_of_embeddings(part):
    """Give the place in a part after the last byte of its embeddings."""
    group = load_pyarrow().parquet.read_metadata(part).row_group(0)
    (column,) = (
        one for one in map(group.column, range(group.num_columns)) if one.path_in_schema.startswith("embedding")
    )
    return (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size


def test_embedding_whose_length_32_bits_do_not_hold_is_none(tmp_path):
    rows = [*some_rows(3), row("/huge.mp3", [0] * 4, [3e38] * SIZE)]
    catalogue = Catalogue(write_catalogue(tmp_path / "c", rows))
    found = catalogue.similar("/music/000.mp3")
    assert sorted(match.path for match in found) == ["/music/001.mp3", "/music/002.mp3"]


def test_parts_that_are_merged_before_they_are_compared_are_asked_for_anew(folder, catalogue, monkeypatch):
    ask, merged = Table.ask, []

    def fails_first(self, *arguments, **options):
        if not merged:
            merged.append(1)
            with Journal(folder) as journal:
                merge(journal)
            raise UnreadablePartError("it cannot be read")
        return ask(self, *arguments, **options)

    monkeypatch.setattr(Table, "ask", fails_first)
    assert len(list(catalogue.find(""))) == N


def test_question_that_takes_too_long_is_given_up(folder):
    slow = "SELECT count(*) FROM rows, range(10000000) a, range(1000) b WHERE a.range % 7 = b.range % 11"
    with pytest.raises(CatalogueError, match="longer than"):
        list(Table(folder, timeout_s=0.2).ask(open_catalogue(folder).parts, slow))


# -- asked while it is written to ------------------------------------------------------------------------------------


def merge(journal):
    """Merge all parts into one, or divide the one into two."""
    pa = load_pyarrow()
    names = list(journal.parts)
    whole = pa.concat_tables([pa.parquet.read_table(journal.path_of(name)) for name in names])
    first = journal.new_name()
    pieces = [whole] if len(names) > 1 else [whole.slice(0, 20), whole.slice(20)]
    journal.commit({first.replace("part-", f"part-{i}"): piece for i, piece in enumerate(pieces)}, drop=names)


class Killed(BaseException):
    """Ends a writer where it is."""


@pytest.mark.parametrize("moment", ["replace", "unlink"])
def test_nothing_is_missing_where_a_writer_was_killed_after_its_line(folder, catalogue, monkeypatch, moment):
    before = sorted(paths(catalogue.find("")))
    near = catalogue.similar("/music/003.mp3", n=N)

    def kill(path, *arguments, **options):
        raise Killed

    with monkeypatch.context() as patch, Journal(folder) as journal:
        append = journal._append

        def append_and_die(*arguments):
            append(*arguments)
            patch.setattr(type(folder), moment, kill)

        patch.setattr(journal, "_append", append_and_die)
        with pytest.raises(Killed):
            merge(journal)
    for one in (catalogue, Catalogue(folder)):
        assert sorted(paths(one.find(""))) == before
        assert sorted(one.similar("/music/003.mp3", n=N)) == sorted(near)


def test_answers_are_whole_while_parts_are_merged(folder, catalogue):
    """Questions are asked at each step of a writer that something else could be seen at."""
    expected = sorted(paths(catalogue.find("")))
    seen = []

    def ask(*_):
        seen.append((sorted(paths(catalogue.find(""))), len(catalogue.similar("/music/003.mp3", n=N))))

    with Journal(folder) as journal:
        for step in ("replace", "unlink"):
            real = getattr(type(folder), step)
            with pytest.MonkeyPatch.context() as patch:
                busy = []

                def watched(path, *arguments, real=real, busy=busy, **options):
                    if not busy and "cache" not in path.parts:
                        busy.append(1)
                        ask()
                        busy.clear()
                    return real(path, *arguments, **options)

                patch.setattr(type(folder), step, watched)
                merge(journal)
                merge(journal)
    assert len(seen) >= 6
    assert all(one == (expected, N - 1) for one in seen)


def test_parts_that_go_while_they_are_looked_up_are_asked_for_anew(folder, catalogue, monkeypatch):
    ask = Table.ask
    merged = []

    def merges_first(self, *arguments, **options):
        if not merged:
            merged.append(1)
            with Journal(folder) as journal:
                merge(journal)
        return ask(self, *arguments, **options)

    catalogue.prepare()
    monkeypatch.setattr(Table, "ask", merges_first)
    assert len(list(catalogue.find(""))) == N
    merged.clear()
    assert len(catalogue.nearest(np.ones(SIZE, np.float32), n=N)) == N


def test_part_that_is_gone_is_told_with_its_name(folder, catalogue):
    part = open_catalogue(folder).parts[0]
    part.unlink()
    with pytest.raises(CatalogueError, match=f"{part.name} is missing or damaged.*taggram catalogue"):
        list(catalogue.find(""))


def test_journal_that_is_gone_is_told(folder, catalogue):
    (folder / "manifest.jsonl").unlink()
    with pytest.raises(CatalogueError, match=r"manifest\.jsonl is missing"):
        list(catalogue.find(""))


def test_question_that_nobody_waits_for_is_stopped(folder):
    stop = threading.Event()
    stop.set()
    slow = "SELECT count(*) FROM rows, range(10000000) a, range(1000) b WHERE a.range % 7 = b.range % 11"
    with pytest.raises(TooLongQuestionError, match="nobody waits"):
        list(Table(folder).ask(open_catalogue(folder).parts, slow, stop=stop))


# -- similar -----------------------------------------------------------------------------------------------------------


def by_hand(folder, vector):
    """Paths and cosines, the nearest first, by numpy on all embeddings."""
    rows = [(path, np.array(e)) for path, e in Table(folder).ask(
        open_catalogue(folder).parts, "SELECT path, embedding FROM rows WHERE embedding IS NOT NULL")]  # fmt: skip
    scores = [(float(e @ vector / np.linalg.norm(e) / np.linalg.norm(vector)), path) for path, e in rows]
    return [(path, pytest.approx(score, abs=1e-6)) for score, path in sorted(scores, reverse=True)]


@pytest.mark.parametrize("search", ["exact", "index"])
def test_nearest_are_those_with_the_largest_cosine(folder, catalogue, search):
    wanted = np.random.default_rng(5).standard_normal(SIZE).astype(np.float32)
    assert catalogue.nearest(wanted, n=7, search=search) == by_hand(folder, wanted)[:7]


def test_file_of_the_catalogue_needs_no_sound_and_is_not_its_own_neighbour(folder, catalogue):
    found = catalogue.similar("/music/003.mp3", n=N)
    vector = some_rows()[3].embedding
    assert found == by_hand(folder, vector)[1:]


def test_file_of_the_catalogue_at_an_address_is_not_fetched(tmp_path):
    rows = [row(f"https://nowhere.invalid/{i}.mp3", [0] * 4, some_rows(3)[i].embedding) for i in range(3)]
    found = Catalogue(write_catalogue(tmp_path / "c", rows)).similar(rows[0].path)
    assert sorted(match.path for match in found) == [rows[1].path, rows[2].path]


@pytest.mark.parametrize(("name", "said"), [("no.wav", "nothing at that address"), ("", "cannot be fetched")])
def test_address_that_cannot_be_fetched_is_told_with_its_name(catalogue, tmp_path, name, said):
    address = (tmp_path / name).as_uri()
    with pytest.raises(AudioError, match=f"{address}: .*{said}"):
        catalogue.similar(address)


def test_least_score_is_kept(catalogue):
    assert all(match.score >= 0.3 for match in catalogue.similar("/music/003.mp3", n=N, min_score=0.3))


def test_what_has_no_embedding_is_never_similar(tmp_path):
    rows = [row("/a", [0] * 4, np.ones(SIZE)), row("/zeros", [0] * 4, np.zeros(SIZE)), row("/failed", None)]
    rows.append(row("/nan", [0] * 4, np.full(SIZE, np.nan)))
    catalogue = Catalogue(write_catalogue(tmp_path / "c", rows))
    for search in ("exact", "index"):
        assert catalogue.nearest(np.ones(SIZE, np.float32), search=search) == [("/a", pytest.approx(1))]


@pytest.mark.parametrize("vector", [np.zeros(SIZE), np.full(SIZE, np.nan)])
def test_embedding_of_nothing_is_refused(catalogue, vector):
    with pytest.raises(CatalogueError, match="nothing is similar"):
        catalogue.nearest(vector)


def test_embeddings_are_decoded_once_and_again_where_a_part_changed(folder, catalogue, monkeypatch):
    decoded = []
    decode = UnitVectors._decode
    monkeypatch.setattr(UnitVectors, "_decode", lambda self, part: decoded.append(part) or decode(self, part))
    catalogue.similar("/music/003.mp3")
    Catalogue(folder).similar("/music/003.mp3")
    assert sorted(decoded) == [0, 1]
    write_catalogue(folder, some_rows(5, first=100))
    assert catalogue.nearest(some_rows(5, first=100)[2].embedding, n=1)[0].path == "/music/102.mp3"
    assert sorted(decoded) == [0, 1, 2]
    files = [file for file in (folder / "cache").rglob("*") if file.is_file()]
    assert len(files) == 3


def test_cache_that_is_removed_meanwhile_is_made_again(folder, catalogue):
    before = catalogue.similar("/music/003.mp3")
    shutil.rmtree(folder / "cache")
    assert catalogue.similar("/music/003.mp3") == before
    assert len(list((folder / "cache").rglob("*.f32"))) == 2


def test_decoded_embeddings_of_parts_that_are_gone_are_removed(folder, catalogue):
    catalogue.prepare()
    with Journal(folder) as journal:
        journal.commit({}, drop=list(journal.parts)[:1])
    catalogue.prepare()
    assert len(list((folder / "cache").rglob("*.f32"))) == 1


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="this user may write everywhere")
def test_folder_that_cannot_be_written_to_is_asked_too(folder, catalogue, caplog):
    folder.chmod(0o555)
    try:
        assert catalogue.similar("/music/003.mp3", n=2) == by_hand(folder, some_rows()[3].embedding)[1:3]
    finally:
        folder.chmod(0o755)
    assert "decoded each time" in caplog.text


def test_place_for_the_cache_that_is_taken_is_told_and_answered_without(folder, catalogue, caplog):
    (folder / "cache").write_text("a file")
    expected = by_hand(folder, some_rows()[3].embedding)[1:3]
    assert catalogue.similar("/music/003.mp3", n=2) == expected
    assert catalogue.similar("/music/003.mp3", n=2, search="index") == expected
    assert "decoded each time" in caplog.text


@pytest.fixture
def added(monkeypatch):
    """How many rows were added to an index, each time."""
    added = []
    extend = embeddings.extend_index

    def counted(vectors, old=None, told=None):
        missing = range(len(vectors.parts)) if old is None else old.missing
        added.append(sum(vectors.n_rows[place] for place in missing))
        return extend(vectors, old, told)

    monkeypatch.setattr(embeddings, "extend_index", counted)
    return added


def test_index_is_built_once_and_kept(folder, catalogue, added):
    for one in (catalogue, catalogue, Catalogue(folder)):
        one.similar("/music/003.mp3", search="index")
    assert added == [N + 1]


def test_rows_that_came_since_are_compared_and_not_indexed(folder, catalogue, added):
    catalogue.similar("/music/003.mp3", search="index")
    write_catalogue(folder, some_rows(5, first=100))
    wanted = some_rows(5, first=100)[2].embedding
    for one in (catalogue, Catalogue(folder)):
        assert one.nearest(wanted, n=7, search="index") == by_hand(folder, wanted)[:7]
    assert added == [N + 1]


def test_many_rows_that_came_since_are_added_to_the_index(folder, catalogue, added, monkeypatch):
    monkeypatch.setattr(asking, "MOST_MISSING", 4)
    catalogue.similar("/music/003.mp3", search="index")
    write_catalogue(folder, some_rows(5, first=100))
    wanted = some_rows(5, first=100)[2].embedding
    for one in (catalogue, Catalogue(folder)):
        assert one.nearest(wanted, n=7, search="index") == by_hand(folder, wanted)[:7]
    assert added == [N + 1, 5]
    assert len(list((folder / "cache").rglob("*.usearch"))) == 1


def test_rows_of_parts_that_are_gone_are_passed_over(folder, catalogue, added):
    wanted = some_rows()[3].embedding
    catalogue.nearest(wanted, search="index")
    with Journal(folder) as journal:
        journal.commit({}, drop=list(journal.parts)[1:])
    assert catalogue.nearest(wanted, n=N, search="index") == by_hand(folder, wanted)
    assert added == [N + 1]


def test_index_whose_parts_are_mostly_gone_is_built_anew(folder, catalogue, added):
    wanted = some_rows()[3].embedding
    catalogue.nearest(wanted, search="index")
    with Journal(folder) as journal:
        journal.commit({}, drop=list(journal.parts)[:1])
    assert catalogue.nearest(wanted, n=3, search="index") == by_hand(folder, wanted)[:3]
    assert added == [N + 1, N + 1 - 25]


def test_search_of_itself_builds_no_index_and_asks_one_that_is_there(folder, catalogue, added, monkeypatch):
    monkeypatch.setattr(asking, "EXACT_ROWS", 10)
    wanted = some_rows()[3].embedding
    assert catalogue.nearest(wanted, n=3) == by_hand(folder, wanted)[:3]
    assert (added, catalogue.index_recall) == ([], None)
    catalogue.nearest(wanted, search="index")
    other = Catalogue(folder)
    assert other.nearest(wanted, n=3) == by_hand(folder, wanted)[:3]
    assert (added, other.index_recall) == ([N + 1], catalogue.index_recall)


def test_first_rows_of_an_index_are_added_one_after_the_other(catalogue, monkeypatch):
    added = []

    class Noted(type(neighbours._new_index(SIZE))):
        def add(self, keys, vectors, *, threads):
            added.append((len(keys), threads))
            return super().add(keys, vectors, threads=threads)

    monkeypatch.setattr(neighbours, "_new_index", lambda size: Noted(ndim=size, metric="cos", dtype="f16"))
    monkeypatch.setattr(neighbours, "n_cores", lambda: 8)
    monkeypatch.setattr(neighbours, "ALONE", 30)
    catalogue.nearest(np.ones(SIZE, np.float32), search="index")
    assert added == [(25, 1), (5, 1), (10, 8)]


def test_recall_of_the_index_is_measured(catalogue):
    assert catalogue.index_recall is None
    catalogue.similar("/music/003.mp3", search="index")
    assert 0.9 < catalogue.index_recall <= 1


@pytest.mark.parametrize("name", ["*.usearch", "index.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"no index"])
def test_damaged_index_is_passed_over_and_built_anew(folder, catalogue, caplog, name, content):
    wanted = some_rows()[3].embedding
    catalogue.nearest(wanted, search="index")
    next((folder / "cache").rglob(name)).write_bytes(content)
    assert Catalogue(folder).nearest(wanted, n=3, search="index") == by_hand(folder, wanted)[:3]
    assert "the index is passed over" in caplog.text


def test_index_that_finds_the_disk_full_is_used_and_not_kept(folder, catalogue, caplog, monkeypatch):
    class Full(type(neighbours._new_index(SIZE))):
        def save(self, path):
            raise RuntimeError("No space left on device")  # as usearch does

    monkeypatch.setattr(
        neighbours, "_new_index", lambda size: Full(ndim=size, metric="cos", dtype="f16", expansion_add=128)
    )
    wanted = some_rows()[3].embedding
    assert catalogue.nearest(wanted, n=3, search="index") == by_hand(folder, wanted)[:3]
    assert "No space left" in caplog.text
    assert not [*(folder / "cache").rglob("*.usearch"), *(folder / "cache").rglob("index.json")]


@pytest.mark.parametrize("shape", [3, (1, SIZE), ()])
def test_embedding_of_another_size_is_refused(catalogue, shape):
    with pytest.raises(ConfigError, match="has the shape"):
        catalogue.nearest(np.ones(shape, np.float32))


@pytest.mark.parametrize("wrong", [{"n": 0}, {"min_score": 2}, {"min_score": float("nan")}, {"search": "quick"}])
def test_settings_without_sense_are_refused(catalogue, wrong):
    with pytest.raises(ConfigError):
        catalogue.similar("/music/003.mp3", **wrong)


# -- duplicates --------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubled(tmp_path):
    """Two files with the same bytes, a third that nearly sounds like them, and two others."""
    one, other = np.random.default_rng(0).standard_normal((2, SIZE))
    rows = [
        row("/a", [0] * 4, one, sha256="x"), row("/b", [0] * 4, other), row("/failed", None),
        row("/c", [0] * 4, one, sha256="x"), row("/d", [0] * 4, 3 * one + 0.01), row("/e", [0] * 4, -one),
    ]  # fmt: skip
    return Catalogue(write_catalogue(tmp_path / "c", rows[:2], rows[2:]))


@pytest.mark.parametrize("search", ["exact", "index"])
def test_duplicates_come_in_groups(doubled, search):
    found = [(group.same, group.paths) for group in doubled.duplicates(search=search)]
    assert found == [("content", ("/a", "/c")), ("sound", ("/a", "/c", "/d"))]


def test_kind_of_duplicates_is_chosen(doubled):
    assert [group.same for group in doubled.duplicates(same="content")] == ["content"]
    assert [group.same for group in doubled.duplicates(same="sound")] == ["sound"]


def test_same_content_is_not_told_twice(tmp_path):
    rows = [row("/a", [0] * 4, sha256="x"), row("/b", [0] * 4, sha256="x")]
    catalogue = Catalogue(write_catalogue(tmp_path / "c", rows))
    assert [group.same for group in catalogue.duplicates()] == ["content"]


def test_pairs_are_joined_across_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicating, "TILE_BYTES", 4)
    angles = np.linspace(0, 0.3, 7)
    rows = [row(f"/{i}", [0] * 4, [np.cos(a), np.sin(a), *[0] * (SIZE - 2)]) for i, a in enumerate(angles)]
    rows.append(row("/far", [0] * 4, [-1, *[0] * (SIZE - 1)]))
    (group,) = Catalogue(write_catalogue(tmp_path / "c", rows)).duplicates(min_score=0.998)
    assert group.paths == tuple(f"/{i}" for i in range(7))
    assert group.score == pytest.approx(np.cos(0.05))


# -- numbers and the map -----------------------------------------------------------------------------------------------


def test_statistics_are_those_of_numpy(folder, catalogue):
    found = catalogue.statistics(threshold=0.25)
    guitar = np.arange(N) / 100
    assert (found.n_files, found.n_failed, found.errors) == (N + 1, 1, {"AudioError": 1})
    assert (found.hours, found.n_copies) == (pytest.approx(N / 60), 0)
    assert found.tags[0].tag == TAGS[0]
    assert found.tags[0].mean == pytest.approx(guitar.mean())
    assert list(found.tags[0].quantiles.values()) == pytest.approx(np.quantile(guitar, list(found.tags[0].quantiles)))
    assert found.tags[0].n_above == 15


def test_statistics_of_nothing_are_empty(tmp_path):
    found = Catalogue(write_catalogue(tmp_path / "c")).statistics()
    assert (found.n_files, found.hours, found.tags[0].mean, found.tags[0].n_above) == (0, 0, None, 0)


def test_layers_are_listed_with_what_they_differ_in(folder):
    card = card_of(name="other-1", weights_sha256="1" * 64)
    card["settings"]["hop_s"] = 1.5
    one, other = Catalogue(write_catalogue(folder, some_rows(3), card=card)).statistics().layers
    assert (one.layer, one.n_files, one.differs) == ("other-1", 3, {"hop_s": 1.5, "weights": "11111111"})
    assert (other.layer, other.n_files) == ("made-00000000", N + 1)
    assert other.differs == {"hop_s": None, "weights": "00000000"}


def test_map_is_the_same_for_the_same_seed(catalogue):
    one, other = catalogue.map(seed=3), catalogue.map(seed=3)
    assert one.paths[0] == "/music/000.mp3"
    assert (one.places.shape, one.scores.shape) == ((N, 2), (N, len(TAGS)))
    assert np.array_equal(one.places, other.places)


def test_map_draws_where_there_are_too_many(catalogue):
    one = catalogue.map(n=20, seed=1)
    assert len(one.paths) == 20
    assert "20 tracks, drawn from 40 with seed 1" in one.notes[0]


def test_map_of_one_sound_many_times_is_made(tmp_path):
    catalogue = Catalogue(write_catalogue(tmp_path / "c", [row(f"/{i}", [0] * 4) for i in range(9)]))
    assert np.isfinite(catalogue.map().places).all()


def test_map_of_too_few_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="5 tracks or more"):
        Catalogue(write_catalogue(tmp_path / "c", [row("/a", [0] * 4)])).map()


def test_map_of_an_unknown_tag_is_refused(catalogue):
    with pytest.raises(UnknownNameError, match="Did you mean guitar"):
        catalogue.map(tag="guitr")


def test_page_of_the_map_shows_a_path_under_the_mouse(browser, tmp_path):
    rows = some_rows()
    rows[0] = row("/music/</script><b>odd.mp3", [0.9, 0, 0, 0], rows[0].embedding)
    Catalogue(write_catalogue(tmp_path / "c", rows)).map(tag="piano").save(tmp_path / "map.html")
    page = browser.new_page(viewport={"width": 900, "height": 800})
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "map.html").as_uri())
    assert page.evaluate("document.getElementById('by').selectedOptions[0].textContent") == "piano"
    page.get_by_label("Colours by").select_option("guitar")
    box, (x, y) = page.locator("canvas").bounding_box(), page.evaluate("screen(0)")
    page.mouse.move(box["x"] + x, box["y"] + y)
    assert page.locator("#name").inner_text().startswith("/music/</script><b>odd.mp3\nguitar 0.90")
    page.get_by_label("Colours by").select_option("80s")
    page.mouse.move(box["x"] + x + 1, box["y"] + y)
    assert page.locator("#name").inner_text().endswith("\n80s 0.00, guitar 0.90, piano 0.00, male vocal 0.00")
    assert (errors, len(asked)) == ([], 1)
    page.close()


# -- the commands ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return write_catalogue(tmp_path_factory.mktemp("asked") / "c", [*some_rows(), row("/music/broken.mp3", None)])


EXPRESSION = "guitar > 0.37 and 'male vocal' >= 0 order by guitar desc"


def test_json_is_an_object_a_line(run_taggram, asked):
    done = run_taggram("find", asked, EXPRESSION, "--format", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"path": "/music/039.mp3", "guitar": 0.39, "male vocal": 0.75},
        {"path": "/music/038.mp3", "guitar": 0.38, "male vocal": 0.5},
    ]


def test_csv_has_a_head(run_taggram, asked, tmp_path):
    done = run_taggram("find", asked, EXPRESSION, "--format", "csv", "--out", tmp_path / "found.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "found.csv").read_text(encoding="utf-8"))))
    assert (done.returncode, rows[0], rows[1][0]) == (0, ["path", "guitar", "male vocal"], "/music/039.mp3")


def test_playlist_has_lengths_and_paths(run_taggram, asked):
    done = run_taggram("find", asked, EXPRESSION, "--format", "m3u")
    assert done.stdout == "#EXTM3U\n#EXTINF:60,039\n/music/039.mp3\n#EXTINF:60,038\n/music/038.mp3\n"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.m3u", "m3u"), ("a.M3U8", "m3u"), ("a.csv", "csv"), ("a.json", "json"), ("a.jsonl", "json"), ("a.b", "text")],
)
def test_format_is_that_of_the_name(name, kind):
    assert format_of(None, ListFormat, Path(name)) == kind


def test_format_that_is_given_goes_before_that_of_the_name():
    assert format_of(TableFormat.text, TableFormat, Path("a.m3u")) == "text"


@pytest.mark.parametrize(
    ("command", "name", "start"),
    [
        (("find", EXPRESSION), "a.m3u", "#EXTM3U"), (("similar", "/music/003.mp3"), "a.jsonl", '{"path"'),
        (("duplicates",), "a.csv", "group,"), (("catalogue", "stats"), "a.json", '{"model"'),
    ],
)  # fmt: skip
def test_commands_write_what_the_name_of_the_file_says(run_taggram, asked, tmp_path, command, name, start):
    at = 2 if command[0] == "catalogue" else 1
    done = run_taggram(*command[:at], asked, *command[at:], "--out", tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_path_that_a_playlist_cannot_hold_is_told(run_taggram, tmp_path):
    write_catalogue(tmp_path / "c", [row("/a\nb", [0.5] * 4), row("/c", [0.5] * 4)])
    done = run_taggram("find", tmp_path / "c", "", "--format", "m3u")
    assert (done.returncode, done.stdout) == (1, "#EXTM3U\n#EXTINF:60,c\n/c\n")
    assert "/a\\nb: a playlist cannot hold" in done.stderr


def test_path_that_is_no_utf8_is_left_out_of_a_playlist_and_told(run_taggram, tmp_path):
    write_catalogue(tmp_path / "c", [row("/caf\\udce9.mp3", [0.5] * 4), row("#c", [0.5] * 4)])
    done = run_taggram("find", tmp_path / "c", "", "--format", "m3u")
    assert (done.returncode, done.stdout) == (1, "#EXTM3U\n#EXTINF:60,#c\n./#c\n")
    assert "that is no UTF-8" in done.stderr


def test_playlist_of_what_is_similar_has_lengths(run_taggram, asked):
    done = run_taggram("similar", asked, "/music/003.mp3", "-n", "2", "--format", "m3u")
    assert [line.partition(",")[0] for line in done.stdout.splitlines()[1::2]] == ["#EXTINF:60"] * 2


def test_what_is_not_there_is_empty_in_text(run_taggram, asked):
    assert run_taggram("find", asked, "error != 'x' limit 1").stdout == "/music/000.mp3\terror=\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no head here")
def test_reader_that_has_enough_ends_the_list_well(run_taggram, tmp_path):
    write_catalogue(tmp_path / "c", [row(f"/music/{i:06}.mp3", [0.5] * 4) for i in range(20_000)])
    command = [sys.executable, "-m", "taggram", "find", str(tmp_path / "c"), ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"/music/000000.mp3\n"
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


NOWHERE = Path("/nowhere/there.html")
OF_SIMILAR = {
    "n": 1, "min_score": -1, "search": "auto", "layer": None, "model": None, "kit": None, "device": "cpu",
    "kind": ListFormat.text, "out": None,
}  # fmt: skip
OF_DUPLICATES = {
    "same": None, "min_score": 1, "search": "auto", "layer": None, "kind": TableFormat.text, "out": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: run_similar(c, "/x.wav", **OF_SIMILAR | {"search": "quick"}), "one of 'auto', 'exact', 'index'"),
        (lambda c: run_similar(c, "/x.wav", **OF_SIMILAR | {"out": NOWHERE}), "there is no such folder"),
        (lambda c: run_map(c, NOWHERE, tag=None, n=None, seed=0, layer=None), "there is no such folder"),
        (lambda c: run_map(c, c, tag=None, n=None, seed=0, layer=None), "it is a folder"),
        (lambda c: run_duplicates(c, **OF_DUPLICATES | {"same": "foo"}), "one of 'content', 'sound'"),
        (lambda c: run_duplicates(c, **OF_DUPLICATES | {"kind": None, "out": Path("a.m3u")}), "like a playlist"),
    ],
)
def test_mistakes_are_told_before_the_work(asked, ask, said):
    with pytest.raises(ConfigError, match=said):
        ask(asked)


def test_text_is_a_line_a_track(run_taggram, asked):
    assert (
        run_taggram("find", asked, EXPRESSION).stdout.splitlines()[0] == "/music/039.mp3\tguitar=0.39\tmale vocal=0.75"
    )


def test_nothing_found_is_said(run_taggram, asked):
    done = run_taggram("find", asked, "guitar > 2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no track fits.\n")


@pytest.mark.parametrize("text", ["guitar > 0.5; drop table rows", "guitr > 1", "guitar >"])
def test_wrong_expression_is_wrong_usage(run_taggram, asked, text):
    done = run_taggram("find", asked, text)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)


def test_unknown_layer_is_wrong_usage(run_taggram, asked):
    done = run_taggram("find", asked, "", "--layer", "mde")
    assert (done.returncode, done.stderr) == (2, f"taggram: {asked} has no layer 'mde'. It has made-00000000.\n")


def test_no_catalogue_is_told(run_taggram, tmp_path):
    done = run_taggram("find", tmp_path, "guitar > 0.5")
    assert done.returncode == 1
    assert "there is no catalogue in" in done.stderr


def test_similar_files_are_printed(run_taggram, asked):
    done = run_taggram("similar", asked, "/music/003.mp3", "-n", "3", "--format", "json", "--search", "index")
    scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert (len(scores), scores) == (3, sorted(scores, reverse=True))
    assert "of the true ten nearest" in done.stderr


def test_duplicates_are_printed(run_taggram, tmp_path):
    write_catalogue(tmp_path / "c", [row(f"/{name}", [0] * 4, sha256="x") for name in "ab"])
    done = run_taggram("duplicates", tmp_path / "c", "--format", "json")
    assert json.loads(done.stdout) == {"same": "content", "score": 1.0, "paths": ["/a", "/b"]}
    assert run_taggram("duplicates", tmp_path / "c").stdout == "content\t1.0000\t/a\ncontent\t1.0000\t/b\n"


def test_statistics_are_printed(run_taggram, asked):
    done = run_taggram("catalogue", "stats", asked)
    assert "41, of which 1 failed and 0 are copies\nsound\t40.0 minutes, 0.04 MB\n" in done.stdout
    as_csv = run_taggram("catalogue", "stats", asked, "--format", "csv", "--threshold", "0.25").stdout
    assert as_csv.splitlines()[:2] == [
        "tag,mean,5%,25%,50%,75%,95%,>=0.25",
        "guitar,0.195000,0.019500,0.097500,0.195000,0.292500,0.370500,15",
    ]


@pytest.mark.slow
def test_map_is_written(run_taggram, asked, tmp_path):
    done = run_taggram("catalogue", "map", asked, "--out", tmp_path / "map.html", "--tracks", "20")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'map.html'}\n")
    assert (tmp_path / "map.html").read_bytes().startswith(b"<!DOCTYPE html>")


# -- with a network ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory, run_taggram):
    """A catalogue of three sounds by a small network."""
    folder = tmp_path_factory.mktemp("real")
    network = write_network(folder / "small.safetensors")
    (folder / "music").mkdir()
    for hz in (200, 800, 3000):
        (folder / "music" / f"{hz}.wav").write_bytes(encoded(tone(3.0, hz=hz)))
    arguments = ("--out", folder / "c", "--model", network, "--workers", "1", "--runner", "local", "--device", "cpu")
    done = run_taggram("catalogue", folder / "music", *arguments)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_sound_that_is_not_in_the_catalogue_is_embedded(real, run_taggram, tmp_path):
    shutil.copy(real / "music" / "800.wav", tmp_path / "new.wav")
    done = run_taggram("similar", real / "c", tmp_path / "new.wav", "-n", "1", "--format", "json", "--device", "cpu")
    found = json.loads(done.stdout)
    assert (found["path"], found["score"]) == (str(real / "music" / "800.wav"), pytest.approx(1, abs=1e-5))


@pytest.mark.slow
def test_sound_at_an_address_is_fetched_and_embedded(real):
    with Catalogue(real / "c", device="cpu") as catalogue:
        (found,) = catalogue.similar((real / "music" / "800.wav").as_uri(), n=1)
    assert (found.path, found.score) == (str(real / "music" / "800.wav"), pytest.approx(1, abs=1e-5))


@pytest.mark.slow
def test_address_of_what_is_no_sound_is_told_with_its_name(real):
    (real / "text.wav").write_text("no sound")
    address = (real / "text.wav").as_uri()
    with Catalogue(real / "c", device="cpu") as catalogue, pytest.raises(AudioError, match="no decoder") as told:
        catalogue.similar(address)
    assert told.value.source == address


@pytest.mark.slow
def test_file_that_changed_since_is_embedded_again(real):
    changed = real / "music" / "200.wav"
    before = changed.read_bytes(), changed.stat()
    changed.write_bytes(encoded(tone(3.2, hz=3000)))
    try:
        with Catalogue(real / "c", device="cpu") as catalogue:
            assert catalogue.similar(changed, n=1)[0].path == str(real / "music" / "3000.wav")
    finally:
        changed.write_bytes(before[0])
        os.utime(changed, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))


@pytest.mark.slow
def test_model_that_was_named_from_its_folder_is_found_from_elsewhere(real, run_taggram, tmp_path):
    arguments = ("--out", tmp_path / "c", "--model", "small.safetensors", "--workers", "1", "--runner", "local")
    assert run_taggram("catalogue", "music", *arguments, "--device", "cpu", cwd=real).returncode == 0
    shutil.copy(real / "music" / "800.wav", tmp_path / "new.wav")
    done = run_taggram("similar", "c", "new.wav", "-n", "1", "--format", "json", "--device", "cpu", cwd=tmp_path)
    assert json.loads(done.stdout)["path"] == str(real / "music" / "800.wav")


def test_files_of_models_and_kits_are_kept_by_their_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = tagger_settings({"model": "runs/a.safetensors", "kit": "my.kit"})
    assert (kept["model"], kept["kit"]) == (str(tmp_path / "runs" / "a.safetensors"), str(tmp_path / "my.kit"))
    assert tagger_settings({"model": "musicnn.mtt"})["model"] == "musicnn.mtt"


@pytest.mark.parametrize(("name", "option"), [("model", "--model FILE"), ("kit", "--kit FILE")])
def test_model_that_is_gone_is_told_with_the_option_that_names_it(tmp_path, name, option):
    card = card_of()
    card["settings"][name] = str(tmp_path / "gone.safetensors")
    catalogue = Catalogue(write_catalogue(tmp_path / "c", some_rows(3), card=card))
    with pytest.raises(CatalogueError, match=option):
        catalogue.similar(encoded(tone(3.0)))


@pytest.mark.slow
def test_other_weights_are_refused(real, tmp_path):
    taggram.create_model("vgg", n_tags=2).save(tmp_path / "other.safetensors")
    with (
        pytest.raises(CatalogueError, match="other weights"),
        Catalogue(real / "c", model=tmp_path / "other.safetensors", device="cpu") as catalogue,
    ):
        catalogue.similar(encoded(tone(3.0)))


@pytest.mark.slow
def test_file_that_is_nowhere_is_told(real):
    with pytest.raises(AudioError), Catalogue(real / "c", device="cpu") as catalogue:
        catalogue.similar(real / "missing.wav")
