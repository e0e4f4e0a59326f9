"""What is catalogued: files, folders, globs, lists and addresses, each file once."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from _http_store import http_store

from taggram.errors import CatalogueError, ConfigError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")
pq = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec")

from taggram.catalogue._stores import at_hand  # noqa: E402
from taggram.catalogue.sources import list_sources  # noqa: E402

NO_WINDOWS = pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")


@pytest.fixture
def sounds(tmp_path):
    """Four files that are taken for sound by their names, and a picture."""
    folder = tmp_path / "sounds"
    (folder / "more").mkdir(parents=True)
    for name in ("a.mp3", "b.mp3", "more/c.mp3", "d.mp3", "cover.jpg"):
        (folder / name).write_bytes(name.encode() * 10)
    return folder


@pytest.fixture
def memory():
    """A store in memory, empty before and after."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def paths_of(*paths):
    return list_sources(map(str, paths)).table["path"].to_pylist()


def names(*paths):
    return [Path(path).name for path in paths_of(*paths)]


def failures(*paths):
    """Failures of paths that stand for no file at all."""
    sources = list_sources(map(str, paths))
    assert sources.table.num_rows == 0
    return [(Path(one.path).name, one.message) for one in sources.failures]


# -- this machine ------------------------------------------------------------------------------------------------------


def test_files_are_listed_once(sounds):
    assert names(sounds / "b.mp3", sounds, sounds / "more" / ".." / "a.mp3") == ["b.mp3", "a.mp3", "d.mp3", "c.mp3"]


def test_glob_is_expanded(sounds):
    assert names(sounds / "**" / "[ac].mp3") == ["a.mp3", "c.mp3"]


def test_glob_that_fits_nothing_is_told(sounds):
    with pytest.raises(CatalogueError, match="no file fits"):
        names(sounds / "*.flac")


@pytest.mark.parametrize("name", ["nowhere", "nowhere.mp3", "nowhere.csv", "a.mp3/b.mp3", "no\0where.mp3"])
def test_path_that_is_not_there_is_told_and_is_no_file(sounds, name):
    assert failures(sounds / name) == [(Path(name).name, "there is no such file or folder")]


def test_empty_path_is_told_and_is_not_this_folder():
    assert failures("") == [("''", "there is no such file or folder")]


def test_folder_that_is_called_like_a_list_is_a_folder(sounds):
    (sounds / "more").rename(sounds / "more.csv")
    assert names(sounds / "more.csv") == ["c.mp3"]


# -- lists -------------------------------------------------------------------------------------------------------------

LISTS = [
    ("list.txt", "{0}/a.mp3\n\n{0}/b.mp3\n"),
    ("list.csv", 'title,path\nx,"{0}/a.mp3"\ny,{0}/b.mp3\n'),
    ("list.m3u8", "#EXTM3U\nsounds/a.mp3\n{0}/b.mp3\n"),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("name", "text"), LISTS)
def test_lists_are_read(sounds, tmp_path, name, text, encoding):
    (tmp_path / name).write_text(text.format(sounds), encoding=encoding)
    assert names(tmp_path / name) == ["a.mp3", "b.mp3"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_list_as_parquet_is_read(sounds, tmp_path, kind):
    paths = pa.array([str(sounds / "a.mp3"), None]).cast(kind)
    pq.write_table(pa.table({"path": paths, "year": [1999, 2000]}), tmp_path / "list.parquet")
    assert names(tmp_path / "list.parquet") == ["a.mp3"]


def test_list_without_paths_is_told_with_what_it_has(tmp_path):
    (tmp_path / "list.csv").write_text("file,title\na,b\n", encoding="utf-8")
    with pytest.raises(CatalogueError, match="no column 'path'; it has file, title"):
        names(tmp_path / "list.csv")


@NO_WINDOWS
def test_lines_of_a_list_are_no_globs(sounds, tmp_path):
    (sounds / "Song [live].mp3").write_bytes(b"sound")
    lines = [sounds / "Song [live].mp3", sounds / "Song [lost].mp3", sounds / "*.mp3"]
    (tmp_path / "list.txt").write_text("\n".join(map(str, lines)), encoding="utf-8")
    table = list_sources([str(tmp_path / "list.txt")]).table
    assert [(Path(row["path"]).name, row["size"]) for row in table.to_pylist()] == [
        ("Song [live].mp3", 5), ("Song [lost].mp3", None), ("*.mp3", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("list.parquet", b"no Parquet", r"list\.parquet cannot be read as Parquet \(.*\); write the list anew"),
        ("list.parquet", b"", "cannot be read as Parquet"),
        ("list.csv", b"path\na.mp3\n" + b"x" * 200_000, r"list\.csv, line 3 cannot be read as CSV"),
        ("list.txt", b"a.mp3\nb\0.mp3", r"list\.txt, line 2: the path holds a NUL character; save the list as UTF-8"),
        ("list.csv", b"path\na\0.mp3", r"list\.csv, line 2: the path holds a NUL"),
        ("list.txt", "a.mp3".encode("utf-16-le"), "line 1: the path holds a NUL"),
        ("list.txt", b"\xff\xfea\0.", "cannot be read as text"),
        ("list.csv", b"", "no column 'path'; it has none"),
    ],
)
def test_list_that_is_damaged_is_told_with_its_line(tmp_path, name, data, told):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CatalogueError, match=told):
        names(tmp_path / name)


def test_list_whose_paths_are_numbers_is_told(tmp_path):
    pq.write_table(pa.table({"path": [1, 2]}), tmp_path / "list.parquet")
    with pytest.raises(CatalogueError, match="the column 'path' holds int64; it has to hold paths, as text"):
        names(tmp_path / "list.parquet")


def test_damaged_page_of_a_list_is_told(tmp_path):
    paths = [f"{n}.mp3" for n in range(1000)]
    pq.write_table(pa.table({"path": paths}), tmp_path / "list.parquet", compression="zstd", use_dictionary=False)
    data = bytearray((tmp_path / "list.parquet").read_bytes())
    data[4:200] = bytes(196)
    (tmp_path / "list.parquet").write_bytes(data)
    with pytest.raises(CatalogueError, match="cannot be read as Parquet"):
        names(tmp_path / "list.parquet")


# -- stores ------------------------------------------------------------------------------------------------------------


def test_store_is_listed_and_its_files_are_told_apart_by_size(sounds):
    table = list_sources([f"file://{sounds}"]).table
    assert sorted(zip(table["path"].to_pylist(), table["size"].to_pylist())) == sorted(
        (f"file://{sounds / name}", (sounds / name).stat().st_size)
        for name in ("a.mp3", "b.mp3", "d.mp3", "more/c.mp3")
    )


def test_store_that_nobody_knows_is_told():
    with pytest.raises(ConfigError, match="no kind of store nosuch://"):
        list_sources(["nosuch://bucket/a.mp3"])


def test_folders_of_a_store_are_listed_in_each_other(memory):
    for name in ("a/b/c/1.mp3", "a/b/2.mp3", "a/3.mp3", "a/x/4.mp3", "a/x/5.jpg"):
        memory.pipe(f"/music/{name}", b"sound")
    assert sorted(names("memory://music")) == ["1.mp3", "2.mp3", "3.mp3", "4.mp3"]


@pytest.mark.parametrize("name", ["Song [live].mp3", "What?.mp3", "a*b.mp3"])
@pytest.mark.parametrize("as_list", [False, True])
def test_address_with_signs_of_a_glob_is_a_file_where_there_is_one(memory, tmp_path, name, as_list):
    memory.pipe(f"/music/{name}", b"sound")
    memory.pipe("/music/axb.mp3", b"other")
    (tmp_path / "list.txt").write_text(f"memory://music/{name}", encoding="utf-8")
    table = list_sources([str(tmp_path / "list.txt") if as_list else f"memory://music/{name}"]).table
    assert (table["path"].to_pylist(), table["size"].to_pylist()) == ([f"memory:///music/{name}"], [5])


def test_glob_of_a_store_finds_sound_and_folders_of_it(memory):
    for name in ("a.mp3", "cover.jpg", "album/b.mp3", "album/c.jpg", "other.mp3"):
        memory.pipe(f"/music/{name}", b"sound")
    assert names("memory://music/[ac]*", "memory://music/al*") == ["a.mp3", "b.mp3"]


@pytest.mark.parametrize("glob", ["*.flac", "*.jpg", "Song [lost].mp3"])
def test_glob_of_a_store_that_fits_no_sound_is_told(memory, glob):
    memory.pipe("/music/cover.jpg", b"picture")
    with pytest.raises(CatalogueError, match="no sound fits memory://music/"):
        names(f"memory://music/{glob}")


def test_folder_of_a_store_without_sound_is_told(memory):
    memory.pipe("/music/cover.jpg", b"picture")
    assert failures("memory://music") == [("music", "there is no sound in this folder")]


@pytest.mark.parametrize("name", ["nowhere", "nowhere.mp3", "nowhere.csv"])
def test_address_at_which_there_is_nothing_is_told_and_is_no_file(memory, name):
    assert failures(f"memory://music/{name}") == [(name, "there is no such file or folder")]


def test_address_in_a_list_at_which_there_is_nothing_is_a_file(memory, tmp_path):
    (tmp_path / "list.txt").write_text("memory://music/*.mp3\nmemory://music/x.mp3", encoding="utf-8")
    sources = list_sources([str(tmp_path / "list.txt")])
    assert sources.table["path"].to_pylist() == ["memory://music/*.mp3", "memory://music/x.mp3"]
    assert sources.failures == []


@pytest.mark.parametrize(("name", "text"), LISTS)
def test_lists_in_a_store_are_read(sounds, memory, name, text):
    memory.pipe("/sounds/a.mp3", b"sound")
    memory.pipe(f"/{name}", text.format(sounds).encode())
    first = "memory:///sounds/a.mp3" if name.endswith(".m3u8") else str(sounds / "a.mp3")
    assert paths_of(f"memory://{name}") == [first, str(sounds / "b.mp3")]


def test_list_as_parquet_in_a_store_is_read(sounds, memory, tmp_path):
    pq.write_table(pa.table({"path": [str(sounds / "a.mp3")]}), tmp_path / "list.parquet")
    memory.put_file(str(tmp_path / "list.parquet"), "/lists/list.parquet")
    assert names("memory://lists/list.parquet") == ["a.mp3"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the connections of fsspec end with the process
@NO_WINDOWS
def test_web_address_with_a_question_is_a_file(sounds):
    pytest.importorskip("aiohttp")
    signed = f"a.mp3?key={'k' * 180}"
    (sounds / "a.mp3").rename(sounds / signed)
    with http_store(sounds) as (address, _):
        table = list_sources([f"{address}/{signed}"]).table
        with at_hand(f"{address}/{signed}") as place:
            data, suffix = place.read_bytes(), place.suffix
    assert (table["path"].to_pylist(), table["size"].to_pylist()) == ([f"{address}/{signed}"], [50])
    assert (data, suffix) == (b"a.mp3" * 10, ".mp3")


def test_file_of_a_store_is_gone_after_it_was_at_hand(memory):
    memory.pipe("/music/a.mp3", b"sound")
    with at_hand("memory://music/a.mp3") as place, contextlib.suppress(KeyError):
        assert place.read_bytes() == b"sound"
        raise KeyError
    assert not place.exists()
