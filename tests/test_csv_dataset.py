"""Clips listed in a CSV file: what is read, what is left out, and what is refused with which words."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from _at_hand import SHARED

from taggram.datasets import check, open_dataset
from taggram.datasets import csv as module
from taggram.datasets.csv import Csv
from taggram.errors import ConfigError, DatasetError, UnknownNameError
from taggram.vocabulary import MTT50_MUSICNN

PHILHARMONIA = SHARED / "data" / "philharmonia"
needs_philharmonia = pytest.mark.skipif(not PHILHARMONIA.is_dir(), reason="the Philharmonia samples are not at hand")

SEVERAL = """path,split,tags
a.wav,train,rock|guitar
b/c.wav,train, guitar |
d.wav,valid,
e.wav,test,rock
"""
ONE = "path,split,tags\na.wav,train,kick\nb.wav,train,kick\nc.wav,train,snare\nd.wav,test,kick\n"


def opened(tmp_path: Path, text: str | bytes, **options) -> Csv:
    """The data set of a file; all tags are taken unless told otherwise."""
    data = text.encode() if isinstance(text, str) else text
    (tmp_path / options.get("file", "clips.csv")).write_bytes(data)
    return Csv(tmp_path, **{"min_count": 0} | options)


def rows(*lines: str, header: str = "path,split,tags") -> str:
    return "\n".join((header, *lines)) + "\n"


def test_tracks_come_in_the_order_of_the_file(tmp_path):
    tracks = list(opened(tmp_path, SEVERAL).tracks())
    assert [(track.track_id, track.part, track.tags) for track in tracks] == [
        ("a.wav", "train", ("guitar", "rock")),
        ("b/c.wav", "train", ("guitar",)),
        ("d.wav", "valid", ()),
        ("e.wav", "test", ("rock",)),
    ]


def test_paths_start_from_the_folder(tmp_path):
    assert [track.path for track in opened(tmp_path, SEVERAL).tracks("train")] == [
        tmp_path / "a.wav",
        tmp_path / "b" / "c.wav",
    ]


def test_absolute_paths_stay(tmp_path):
    (track,) = opened(tmp_path, rows("/music/a.wav,train,rock")).tracks()
    assert track.path == Path("/music/a.wav")


@pytest.mark.parametrize("path", ["a..b.wav", "..a.wav", "b/...wav"])
def test_two_dots_may_be_part_of_a_name(tmp_path, path):
    (track,) = opened(tmp_path, rows(f"{path},train,rock")).tracks()
    assert track.path == tmp_path / path


def test_found_tags_are_in_alphabetical_order(tmp_path):
    assert opened(tmp_path, SEVERAL).tags == ("guitar", "rock")


def test_another_file_may_be_named(tmp_path):
    assert opened(tmp_path, SEVERAL, file="more.csv").tags == ("guitar", "rock")


def test_it_is_opened_by_name(tmp_path):
    opened(tmp_path, SEVERAL)
    assert isinstance(open_dataset("csv", tmp_path, min_count=0), Csv)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"], ids=["comma", "tab", "semicolon"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_form_is_found_out(tmp_path, mark, delimiter, end):
    text = SEVERAL.replace(",", delimiter).replace("\n", end)
    assert [track.tags for track in opened(tmp_path, mark + text.encode()).tracks("train")] == [
        ("guitar", "rock"),
        ("guitar",),
    ]


def test_quoted_fields_may_have_the_delimiter_and_line_breaks(tmp_path):
    data = opened(tmp_path, '"path","split","tags"\n"a, b.wav",train,"rock, hard|two\nlines"\n')
    assert [(track.track_id, track.tags) for track in data.tracks()] == [("a, b.wav", ("rock, hard", "two\nlines"))]


def test_letters_beyond_ascii_are_read(tmp_path):
    (track,) = opened(tmp_path, rows("Ärger/é.wav,train,français")).tracks()
    assert (track.track_id, track.tags) == ("Ärger/é.wav", ("français",))


@pytest.mark.parametrize(
    ("word", "part"),
    [("train", "train"), ("valid", "valid"), ("validation", "valid"), ("val", "valid"), (" Test ", "test")],
)
def test_words_for_parts(tmp_path, word, part):
    (track,) = opened(tmp_path, rows(f"a.wav,{word},rock")).tracks()
    assert track.part == part


def test_empty_lines_are_passed_over(tmp_path):
    assert len(list(opened(tmp_path, rows("", "a.wav,train,rock", "", "")).tracks())) == 1


# Further columns.


def columns_of(tmp_path: Path, name: str, *values: str) -> list[object]:
    lines = (f"{index}.wav,train,rock,{value}" for index, value in enumerate(values))
    return [track.columns[name] for track in opened(tmp_path, rows(*lines, header=f"path,split,tags,{name}")).tracks()]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        pytest.param(("1", "-20"), [1, -20], id="whole numbers"),
        pytest.param(("1", "2.5"), [1.0, 2.5], id="numbers"),
        pytest.param(("1e-05", ".5"), [1e-5, 0.5], id="small numbers"),
        pytest.param(("1", "b"), ["1", "b"], id="text"),
        pytest.param(("007", "12"), ["007", "12"], id="leading zeros"),
        pytest.param(("123456789012345678901", "1"), ["123456789012345678901", "1"], id="long identifiers"),
        pytest.param(("nan", "1"), ["nan", "1"], id="no number"),
        pytest.param(("", "3"), [None, 3], id="empty fields"),
        pytest.param(("", ""), [None, None], id="empty column"),
    ],
)
def test_kind_of_a_column_holds_all_its_values(tmp_path, values, wanted):
    came = columns_of(tmp_path, "artist_id", *values)
    assert [(type(value), value) for value in came] == [(type(value), value) for value in wanted]


def test_start_and_end_cut_a_clip_and_are_kept(tmp_path):
    (track,) = opened(tmp_path, rows("a.wav,train,rock,1.5,3", header="path,split,tags,start_s,end_s")).tracks()
    assert (track.start_s, track.end_s, dict(track.columns)) == (1.5, 3.0, {"start_s": 1.5, "end_s": 3})


def test_clip_without_start_and_end_is_the_whole_file(tmp_path):
    (track,) = opened(tmp_path, rows("a.wav,train,rock,,", header="path,split,tags,start_s,end_s")).tracks()
    assert (track.start_s, track.end_s) == (0.0, None)


def test_clips_of_one_file_have_identifiers_of_their_own(tmp_path):
    text = rows("a.wav,train,rock,0", "a.wav,train,rock,10", header="path,split,tags,start_s")
    assert [track.track_id for track in opened(tmp_path, text).tracks()] == ["a.wav@0", "a.wav@10"]


# Tags that are left out, and the task.


def test_rare_tags_are_left_out(tmp_path):
    data = opened(tmp_path, SEVERAL, min_count=2)
    assert (data.tags, data.left_out_tags) == (("guitar",), ("rock",))


def test_clip_whose_tags_are_left_out_stays_where_there_may_be_several(tmp_path):
    assert [track.tags for track in opened(tmp_path, SEVERAL, min_count=2).tracks("test")] == [()]


def test_clip_whose_only_tag_is_left_out_goes_with_it(tmp_path):
    data = opened(tmp_path, ONE, min_count=2)
    assert [track.track_id for track in data.tracks()] == ["a.wav", "b.wav", "d.wav"]


def test_only_train_counts_for_what_is_rare(tmp_path):
    text = rows("a.wav,train,rock|pop", "b.wav,test,pop|jazz", "c.wav,test,jazz")
    assert opened(tmp_path, text, min_count=1).left_out_tags == ("jazz",)


def test_ten_clips_are_wanted_unless_told_otherwise(tmp_path):
    text = rows(*(f"{index}.wav,train,{'rock|pop' if index else 'rock'}" for index in range(10)))
    (tmp_path / "clips.csv").write_text(text)
    assert Csv(tmp_path).left_out_tags == ("pop",)


@pytest.mark.parametrize(("text", "task"), [(SEVERAL, "several"), (ONE, "one")], ids=["several", "one"])
def test_task_is_seen(tmp_path, text, task):
    assert opened(tmp_path, text).task == task


def test_task_may_be_given(tmp_path):
    assert opened(tmp_path, ONE, task="several").task == "several"


LABELLED = rows(
    "a.wav,train,rock|guitar,ann", "b.wav,train,guitar | rock,bob", "c.wav,test,|rock,ann", "d.wav,test,,",
    header="path,split,tags,artist_id",
)  # fmt: skip


def test_first_tag_may_be_the_class(tmp_path):
    dataset = opened(tmp_path, LABELLED, label="tags")
    assert dataset.task == "several"  # d.wav has none
    assert [track.tags for track in dataset.tracks()] == [("rock",), ("guitar",), ("rock",), ()]


def test_column_may_be_the_class(tmp_path):
    dataset = opened(tmp_path, LABELLED.rsplit("\n", 2)[0] + "\n", label="artist_id")
    assert (dataset.task, dataset.tags) == ("one", ("ann", "bob"))
    assert [track.tags[0] for track in dataset.tracks()] == ["ann", "bob", "ann"]


def test_column_for_the_class_has_to_be_there(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no column named 'artist'\. Did you mean artist_id"):
        opened(tmp_path, LABELLED, label="artist")


def test_vocabulary_gives_tags_and_their_order(tmp_path):
    data = opened(tmp_path, rows("a.wav,test,rock|guitar|polka"), tags="mtt50_musicnn")
    (track,) = data.tracks()
    assert (data.tags, track.tags, data.left_out_tags) == (MTT50_MUSICNN, ("guitar", "rock"), ("polka",))


# What is odd and no error.


@pytest.mark.parametrize(
    ("text", "options", "note"),
    [
        pytest.param(SEVERAL, {"min_count": 2}, "tags left out (fewer than 2 clips in train): rock", id="left out"),
        pytest.param(ONE, {"min_count": 2}, "clips left out with their only tag: 1", id="clips left out"),
        pytest.param(
            SEVERAL, {}, "clips without a tag, which count as negative for all: 1", id="untagged"
        ),
        pytest.param(ONE, {}, "valid has no clip", id="empty part"),
        pytest.param(SEVERAL, {}, "no clip of test has guitar", id="no positive"),
        pytest.param(SEVERAL, {}, "every clip of train has guitar", id="no negative"),
        pytest.param(ONE, {}, "every clip of test has kick", id="one class"),
    ],
)  # fmt: skip
def test_note(tmp_path, text, options, note):
    assert note in opened(tmp_path, text, **options).notes()


def test_check_says_the_notes(tmp_path):
    assert "no clip of test has guitar" in check(opened(tmp_path, SEVERAL)).notes


def test_notes_count_what_the_tracks_have(tmp_path):
    data = opened(tmp_path, ONE, min_count=2)
    assert set(super(Csv, data).notes()) <= set(data.notes())


def test_many_tags_are_named_in_part(tmp_path):
    text = rows("a.wav,train,rock", *(f"{index}.wav,test,tag {index}" for index in range(12)))
    assert opened(tmp_path, text, min_count=1).notes()[0].endswith("tag 5 and 4 more")


# What is refused.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "clips.csv: it is empty.", id="empty"),
        pytest.param("path,split,tags\n", "it lists no clips", id="header alone"),
        pytest.param("x" * 200_000, "line 1: it is no row of a CSV file (field larger", id="no list at all"),
        pytest.param(
            "path,set,tags\na,train,b\n",
            "its columns are path, set, tags: there is no split. Wanted path, split, tags, and others if you like, with"
            " a comma, a tab or a semicolon between.",
            id="missing column",
        ),
        pytest.param("path split tags\n", "columns are path split tags: there is no path and no", id="no delimiter"),
        pytest.param("path,split,tags,\na,train,b,\n", "column 4 has no name", id="column without a name"),
        pytest.param("path,split,tags,tags\n", "tags is there twice", id="column twice"),
        pytest.param(rows("a,train,b", "c,train"), "clips.csv, line 3: it has 2 fields; the header has 3", id="fields"),
        pytest.param(rows("a,train,b", ",train,b"), "line 3: it has no path", id="no path"),
        pytest.param(rows("../a,train,b"), "line 2: the path ../a has '..' in it", id="outside"),
        pytest.param(rows("a/../../b,train,b"), "the path a/../../b has '..' in it", id="outside on the way"),
        pytest.param(rows("a\\..\\b,train,b"), "has '..' in it", id="outside with backslashes"),
        pytest.param(rows("/a/../b,train,b"), "the path /a/../b has '..' in it", id="absolute with dots"),
        pytest.param(rows("a\0,train,b"), r"the path a\x00 has a NUL in it", id="NUL"),
        pytest.param(rows("a,dev,b"), "line 2: the split is 'dev'; wanted train, valid (or validation, or", id="split"),
        pytest.param(rows("a,train,b", "c,test,b", "a,test,b"), "line 4: a is listed already in line 2", id="twice"),
        pytest.param(rows("a,train,b", "./a,test,b"), "a is listed already in line 2", id="twice in other words"),
        pytest.param(rows("a,train,", "b,test,|"), "no clip has a tag", id="no tags"),
        pytest.param(rows('a,train,"b'), "it is no row of a CSV file (unexpected end of data)", id="open quotes"),
    ],
)  # fmt: skip
def test_file_is_refused(tmp_path, text, told):
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, text)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        pytest.param("x,", "line 2: start_s is 'x'; wanted seconds from 0 on", id="text"),
        pytest.param("-1,", "start_s is '-1'", id="negative"),
        pytest.param(",nan", "end_s is 'nan'", id="not a number"),
        pytest.param(",inf", "end_s is 'inf'", id="infinite"),
        pytest.param("2,2", "the clip ends at 2 s, which is not after its start", id="end at start"),
        pytest.param(",0", "the clip ends at 0 s", id="end at 0"),
    ],
)
def test_cut_is_refused(tmp_path, cut, told):
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, rows(f"a,train,b,{cut}", header="path,split,tags,start_s,end_s"))
    assert told in str(caught.value)


@pytest.mark.parametrize("n_before", [0, 20_000], ids=["in the first block", "far behind"])
def test_line_and_byte_that_are_not_utf_8_are_told(tmp_path, n_before):
    before = rows(*(f"{index}.wav,train,rock" for index in range(n_before))).encode()
    with pytest.raises(DatasetError, match=rf"line {n_before + 2}: byte 4 \(hexadecimal E9\) is not UTF-8; save the"):
        opened(tmp_path, before + "caf\xe9.wav,train,rock\n".encode("latin-1"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_refused(tmp_path, encoding):
    with pytest.raises(DatasetError, match="UTF-8"):
        opened(tmp_path, ("\ufeff" if encoding == "utf-16-be" else "").encode(encoding) + SEVERAL.encode(encoding))


def test_missing_file_is_told_with_what_is_wanted(tmp_path):
    with pytest.raises(DatasetError, match=r"clips\.csv: No such file or directory; wanted a list .* path, split"):
        Csv(tmp_path)


def test_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "clips.csv").mkdir()
    with pytest.raises(DatasetError, match=r"clips\.csv"):
        Csv(tmp_path)


def test_nothing_left_is_told_with_the_remedy(tmp_path):
    with pytest.raises(DatasetError, match=r"no tag has 10 clips in train; the most frequent, 'guitar', has 2\. min"):
        opened(tmp_path, SEVERAL, min_count=10)


def test_nothing_in_the_vocabulary_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"none of its tags \(kick, snare\) is in the vocabulary msd50"):
        opened(tmp_path, ONE, tags="msd50")


def test_second_tag_is_refused_where_one_is_wanted(tmp_path):
    with pytest.raises(DatasetError, match="line 2: it has 2 tags; with the task 'one' every clip has exactly one"):
        opened(tmp_path, SEVERAL, task="one")


@pytest.mark.parametrize(
    "options", [{"min_count": -1}, {"min_count": True}, {"task": "both"}], ids=["below 0", "flag", "task"]
)
def test_option_is_refused(tmp_path, options):
    with pytest.raises(ConfigError):
        opened(tmp_path, SEVERAL, **options)


@pytest.mark.parametrize("options", [{"split": "folds"}, {"tags": "mtt51"}], ids=["split", "vocabulary"])
def test_unknown_name_is_refused(tmp_path, options):
    with pytest.raises(UnknownNameError):
        opened(tmp_path, SEVERAL, **options)


def test_file_that_changed_is_not_read_on(tmp_path):
    data = opened(tmp_path, SEVERAL)
    (tmp_path / "clips.csv").write_text(ONE)
    with pytest.raises(DatasetError, match="it has changed since it was opened"):
        next(data.tracks())


# Long lists, and a real one.


def test_paths_with_the_same_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "hash", lambda key: 0, raising=False)
    assert len(list(opened(tmp_path, SEVERAL).tracks())) == 4


def test_rows_are_not_kept(tmp_path):
    text = rows(*(f"folder/{index:06d}.wav,train,rock|tag {index % 7}" for index in range(10_000)))
    tracemalloc.start()
    data = opened(tmp_path, text)
    del text
    assert len(data.tags) == 8
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 300_000  # 30 bytes a row; their text alone has 40


@needs_philharmonia
def test_real_list_is_read_whole():
    assert Counter(track.part for track in Csv(PHILHARMONIA).tracks()) == {"train": 595, "valid": 209, "test": 196}


@needs_philharmonia
def test_real_list_names_files_that_are_there():
    assert check(Csv(PHILHARMONIA)).is_fine


@needs_philharmonia
def test_rare_techniques_of_the_real_list_are_left_out():
    assert Csv(PHILHARMONIA).left_out_tags == (
        "arco-sul-ponticello", "fluttertonguing", "harmonic", "major-trill", "minor-trill", "staccato", "tenuto",
        "tremolo", "vibrato",
    )  # fmt: skip
