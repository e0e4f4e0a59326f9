"""Prepared data in a store: the same as on this disk, fetched once, checked, and no more of it than there is room."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from _http_store import http_store
from _made_sounds import RATE, TAGS, write_set
from conftest import open_files

from taggram._files import in_turn
from taggram.datasets import open_dataset
from taggram.errors import ConfigError, DatasetError, MissingExtraError
from taggram.learning import _copies, _stores
from taggram.learning import train as train_module
from taggram.learning._copies import Kept
from taggram.learning._part_files import MOST_OPEN, PartFiles, StoredParts
from taggram.learning._stores import Store
from taggram.learning.prepared import PreparedData, prepare
from taggram.learning.recipe import Recipe
from taggram.learning.train import Watcher, train

FILE_BYTES = 100_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder of several files."""
    root = tmp_path_factory.mktemp("store")
    dataset = open_dataset("csv", write_set(root / "sounds"), min_count=3)
    prepare(dataset, root / "prepared", sample_rate=RATE, file_bytes=FILE_BYTES, n_workers=1)
    return root / "prepared"


@pytest.fixture(scope="module")
def local(folder):
    return PreparedData(folder)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """What is kept goes into a place of its own, and waiting is short."""
    monkeypatch.setenv("TAGGRAM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_stores, "WAIT_S", 0.001)
    return tmp_path / "home"


def in_memory(folder, name="prepared"):
    """Copy a folder into the store that fsspec keeps in memory."""
    files = fsspec.filesystem("memory")
    if files.exists(f"/{name}"):
        files.rm(f"/{name}", recursive=True)
    files.put(str(folder), f"/{name}", recursive=True)
    return f"memory://{name}"


@pytest.fixture(params=["memory", "file", "http"])
def address(request, folder):
    if request.param == "memory":
        yield in_memory(folder)
    elif request.param == "file":
        yield folder.as_uri()
    else:
        with http_store(folder) as (address, _):
            yield address


def same_sound(data, other):
    assert len(data) == len(other)
    return all(np.array_equal(data.whole(row), other.whole(row)) for row in range(len(data)))


def kept_bytes(home):
    return sum(path.stat().st_size for path in (home / "stored").glob("*.arrow"))


def copied(folder, tmp_path, change):
    """Copy a prepared folder, whose card is changed."""
    there = tmp_path / "copy"
    there.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (there / path.name).write_bytes(path.read_bytes())
    card = json.loads((there / "card.json").read_text())
    change(there, card)
    (there / "card.json").write_text(json.dumps(card))
    return there


# -- it is the same data -----------------------------------------------------------------------------------------------


def test_data_of_a_store_is_that_of_the_disk(address, local):
    data = PreparedData(address)
    assert (data.tags, data.task, data.sample_rate) == (local.tags, local.task, local.sample_rate)
    assert np.array_equal(data.index("train"), local.index("train"))
    assert np.array_equal(data.labels(range(len(data))), local.labels(range(len(local))))
    assert list(data.column("track_id")) == list(local.column("track_id"))
    assert same_sound(data, local)


def test_what_the_cache_cannot_hold_is_read_from_the_store(address, local, home):
    data = PreparedData(address, cache_gb=2.5 * FILE_BYTES / 1e9)
    assert same_sound(data, local)
    assert 0 < kept_bytes(home) <= 2.5 * FILE_BYTES


def train_words():
    return {
        "options.kernel": 3, "options.depth": 3, "options.n_samples": 2187, "fit.max_epochs": 1, "fit.batch_size": 8
    }  # fmt: skip


@pytest.mark.slow
def test_training_from_a_store_gives_the_numbers_of_one_from_the_disk(folder, tmp_path, monkeypatch):
    said, shares = [], []
    monkeypatch.setattr(train_module, "LOOK_S", 0.0)
    results = [
        train(
            Recipe.load("samplecnn", {**train_words(), "data.root": root}), tmp_path / name,
            n_workers=1, watcher=Watcher(say=said.append, fitted=lambda told: shares.append(told.share_here)),
        )
        for name, root in (("store", in_memory(folder)), ("uri", folder.as_uri()))
    ]  # fmt: skip
    words = {**train_words(), "data.prepared": str(folder)}
    results.append(train(Recipe.load("samplecnn", words), tmp_path / "disk", n_workers=1))
    assert results[0].history == results[1].history == results[2].history
    assert "lie in memory://prepared; a file is fetched when it is first read" in said[0]
    assert 0 < shares[0] <= shares[-1] == 1.0
    assert tuple(sorted(TAGS)) == results[0].evaluations[0].tags


def test_process_that_it_is_sent_to_reads_it(folder, local):
    with http_store(folder) as (address, _):
        data = PreparedData(address)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert np.array_equal(pool.apply(data.whole, (3,)), local.whole(3))


# -- fetched once ------------------------------------------------------------------------------------------------------


def test_file_is_fetched_once(folder, local):
    with http_store(folder) as (address, server):
        assert same_sound(PreparedData(address), local)
        server.asked.clear()
        assert same_sound(PreparedData(address), local)
        assert {name for _, name, _ in server.asked} == {"card.json"}


@pytest.mark.slow
def test_several_processes_at_once_fetch_a_file_once(folder, tmp_path):
    code = (
        "import sys; from taggram.learning.prepared import PreparedData\n"
        "data = PreparedData(sys.argv[1]); print(sum(float(abs(data.whole(row)).sum()) for row in range(len(data))))"
    )
    with http_store(folder) as (address, server):
        command = [sys.executable, "-c", code, address]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        sums = {one.communicate(timeout=120)[0] for one in running}
        whole = [(name, span) for method, name, span in server.asked if method == "GET" and name.endswith(".arrow")]
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.arrow")}
    of_whole = [name for name, span in whole if span == f"bytes=0-{sizes[name] - 1}"]
    assert len(sums) == 1
    assert sorted(of_whole) == sorted(sizes)


def test_small_columns_are_read_from_the_copies(folder, local):
    with http_store(folder) as (address, server):
        data = PreparedData(address)
        assert same_sound(data, local)
        server.asked.clear()
        assert list(data.column("track_id")) == list(local.column("track_id"))
        assert server.asked == []


def test_small_columns_of_what_is_not_here_fetch_no_file(folder, local, home):
    data = PreparedData(folder.as_uri())
    assert list(data.column("track_id")) == list(local.column("track_id"))
    assert kept_bytes(home) == 0


def test_how_much_is_here_is_told(folder, local):
    data = PreparedData(folder.as_uri())
    assert (local.share_here(), data.share_here()) == (None, 0.0)
    data.whole(0)
    assert 0 < data.share_here() < 1
    assert same_sound(data, local)
    assert data.share_here() == 1.0


def test_damaged_index_is_made_anew(folder, local, home):
    for damage in (b"", b"PK", None):
        PreparedData(folder.as_uri())
        index = next(home.glob("stored/*.npz"))
        index.write_bytes(index.read_bytes()[: index.stat().st_size // 2] if damage is None else damage)
        assert list(PreparedData(folder.as_uri()).index("train")) == list(local.index("train"))
    np.savez(index, n_rows=np.array([1]))
    assert same_sound(PreparedData(folder.as_uri()), local)


def test_changed_data_is_fetched_anew(folder, tmp_path):
    address = in_memory(folder)
    before = PreparedData(address).whole(0)
    dataset = open_dataset("csv", write_set(tmp_path / "sounds", seed=1, n_clips=60), min_count=3)
    prepare(dataset, tmp_path / "prepared", sample_rate=RATE, file_bytes=FILE_BYTES, n_workers=1)
    after = PreparedData(in_memory(tmp_path / "prepared")).whole(0)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, PreparedData(tmp_path / "prepared").whole(0))


# -- room --------------------------------------------------------------------------------------------------------------


def test_what_was_used_least_recently_goes(home, tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.arrow").write_bytes(name.encode() * 1000)
    kept = Kept(Store(tmp_path.as_uri()), "", 3000)
    for second, name in enumerate("abcad"):
        os.close(kept.open(f"{name}.arrow", 1000, None))
        os.utime(kept.path_of(f"{name}.arrow"), (second, second))
    assert sorted(path.name[-7:] for path in home.glob("stored/*.arrow")) == ["a.arrow", "c.arrow", "d.arrow"]


def test_copy_that_goes_is_read_to_the_end_by_who_has_it_open(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.arrow").write_bytes(name.encode() * 1000)
    kept = Kept(Store(tmp_path.as_uri()), "", 1500)
    first = kept.open("a.arrow", 1000, None)
    os.close(kept.open("b.arrow", 1000, None))
    assert os.read(first, 1000) == b"a" * 1000
    os.close(first)


def three_files(folder):
    for name in "abc":
        (folder / f"{name}.arrow").write_bytes(name.encode() * 1000)
    return Store(folder.as_uri())


def test_what_a_killed_process_left_half_fetched_goes_unless_it_is_being_fetched(home, tmp_path):
    kept = Kept(three_files(tmp_path), "", 3000)
    kept.folder.mkdir(parents=True)
    for name in ("left", "fetched"):
        (kept.folder / f".taggram-{name}.arrow").write_bytes(b"x" * 1000)
    with in_turn(kept.folder / "fetched.arrow.lock"):
        os.close(kept.open("a.arrow", 1000, None))
    assert [path.name for path in kept.folder.glob(".taggram-*")] == [".taggram-fetched.arrow"]


def test_index_that_is_long_unused_goes_and_others_stay(tmp_path):
    kept = Kept(three_files(tmp_path), "", 3000)
    kept.folder.mkdir(parents=True)
    for name, age_s in (("old", 40 * 86_400), ("new", 86_400)):
        (kept.folder / f"{name}.npz").write_bytes(b"x")
        os.utime(kept.folder / f"{name}.npz", (time.time() - age_s,) * 2)
    os.close(kept.open("a.arrow", 1000, None))
    assert [path.name for path in kept.folder.glob("*.npz")] == ["new.npz"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_copy_that_goes_while_it_is_opened_is_read_all_the_same(when, tmp_path, monkeypatch):
    kept = Kept(three_files(tmp_path), "", 3000)
    os.close(kept.open("a.arrow", 1000, None))
    opened, left = os.open, [when]

    def goes(path, *words):
        now = left.pop() if left and Path(path).is_relative_to(kept.folder) else None  # not of other threads
        if now == "before":
            Path(path).unlink()
        file = opened(path, *words)
        if now == "after":
            Path(path).unlink()
        return file

    monkeypatch.setattr(_copies.os, "open", goes)
    file = kept.open("a.arrow", 1000, None)
    assert os.read(file, 1000) == b"a" * 1000
    os.close(file)


# -- open files --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what is open")
def test_more_files_than_may_be_open_are_read(tmp_path):
    import resource

    paths = [tmp_path / f"{number}.arrow" for number in range(3 * MOST_OPEN)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(4, "big"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2 * MOST_OPEN, limits[1]))
    try:
        files = PartFiles(paths)
        read = [files.read(number, 0, 4) for _ in range(2) for number in range(len(paths))]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert read == [number.to_bytes(4, "big") for _ in range(2) for number in range(len(paths))]
    assert len(open_files(tmp_path)) == MOST_OPEN
    del files
    assert open_files(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what is open")
def test_copy_that_had_to_go_does_not_stay_open(tmp_path):
    kept = Kept(three_files(tmp_path), "", 3000)
    files = StoredParts(kept, [{"file": f"{name}.arrow", "n_bytes": 1000} for name in "abc"])
    files.read(0, 0, 10)
    kept.path_of("a.arrow").unlink()  # as for other data
    files.read(1, 0, 10)
    assert not any(path.endswith("(deleted)") for path in open_files(tmp_path))
    assert files.read(0, 0, 10) == b"a" * 10


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_process_that_is_killed_while_it_fetches_leaves_no_half_file(folder, local, home):
    code = (
        "import os, signal, sys; from taggram.learning import _stores\n"
        "from taggram.learning.prepared import PreparedData\n"
        "_stores.CHUNK_BYTES = 10_000; before = _stores.Store.read\n"
        "def read(self, name, place, n): \n"
        "    if place == 30_000 and n == 10_000: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return before(self, name, place, n)\n"
        "_stores.Store.read = read; PreparedData(sys.argv[1]).whole(0)"
    )
    killed = subprocess.run([sys.executable, "-c", code, folder.as_uri()], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {path.name[:9] for path in home.glob("stored/*.arrow")} == {".taggram-"}
    n_bytes = sum(path.stat().st_size for path in folder.glob("*.arrow"))
    assert same_sound(PreparedData(folder.as_uri(), cache_gb=n_bytes / 1e9), local)  # what was left takes no room
    assert kept_bytes(home) == n_bytes


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_connection_that_breaks_in_the_middle_is_made_anew(folder, local):
    with http_store(folder, n_cut=3) as (address, server):
        assert same_sound(PreparedData(address), local)
        assert server.n_left_to_cut < 0


def test_store_that_breaks_off_each_time_is_named(folder, home):
    with (
        http_store(folder, n_cut=10_000) as (address, _),
        pytest.raises(DatasetError, match=rf"{address}/part-0000\d\.arrow.* cannot be read"),
    ):
        PreparedData(address).whole(0)
    assert kept_bytes(home) == 0


def test_store_that_gives_whole_files_alone_is_told_at_once(folder):
    with http_store(folder, gives_parts=False) as (address, server):
        with pytest.raises(DatasetError, match=r"part-00000\.arrow: the store gives no parts of files"):
            PreparedData(address)
        assert [name for method, name, _ in server.asked if method == "GET"] == ["card.json", "part-00000.arrow"]


def test_right_that_is_missing_is_told_after_one_request(folder):
    with http_store(folder, status=403) as (address, server):
        with pytest.raises(DatasetError, match=r"part-00000\.arrow cannot be read: 403"):
            PreparedData(address)
        assert [name for method, name, _ in server.asked if method == "GET"] == ["card.json", "part-00000.arrow"]


def test_server_that_is_busy_is_asked_again(folder):
    with http_store(folder, status=429) as (address, server):
        with pytest.raises(DatasetError, match="429"):
            PreparedData(address)
        assert len([name for method, name, _ in server.asked if (method, name[-5:]) == ("GET", "arrow")]) == 4


def test_server_that_does_not_answer_is_told(folder, monkeypatch):
    monkeypatch.setattr(_stores, "TIMEOUT_S", 0.05)
    with (
        http_store(folder, stalls=True) as (address, _),
        pytest.raises(DatasetError, match=r"part-00000\.arrow cannot be read: no answer within 0.05 s"),
    ):
        Store(address).read("part-00000.arrow", 0, 10)


def test_store_that_breaks_off_is_not_called_damaged_data(folder):
    with http_store(folder) as (address, server):
        data = PreparedData(address)
        server.status = 500
        with pytest.raises(DatasetError, match=r"part-0000\d\.arrow cannot be read: 500") as told:
            data.column("track_id")
        assert "prepare the data again" not in str(told.value)


def test_file_that_was_cut_in_the_store_is_told_with_what_to_do(folder, tmp_path):
    def change(there, _):
        path = there / "part-00000.arrow"
        path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(DatasetError, match=r"part-00000\.arrow.*copy (it|the folder) anew") as told:
        PreparedData(copied(folder, tmp_path, change).as_uri())
    assert "prepare" not in str(told.value).partition(": ")[2]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits")
def test_disk_that_cannot_take_a_copy_is_told_with_what_to_do(folder, home):
    import resource

    data = PreparedData(folder.as_uri())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(DatasetError, match=r"make room in .*stored, lower data.cache_gb, which is 100, or") as told:
            data.whole(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "prepare the data again" not in str(told.value)
    assert list(home.glob("stored/*.arrow")) == []


def test_cache_that_is_no_folder_is_told(folder, home):
    home.mkdir()
    (home / "stored").write_text("no folder")
    with pytest.raises(DatasetError, match="make room in"):
        PreparedData(folder.as_uri())


def test_file_that_is_missing_is_named(folder, tmp_path):
    def change(there, _):
        (there / "part-00001.arrow").unlink()

    with pytest.raises(DatasetError, match=r"part-00001\.arrow is not there; copy the whole"):
        PreparedData(copied(folder, tmp_path, change).as_uri())


def test_file_of_another_size_is_told(folder, tmp_path, local, home):
    def change(there, card):
        card["files"][0]["n_bytes"] += 1

    data = PreparedData(copied(folder, tmp_path, change).as_uri())
    with pytest.raises(DatasetError, match=r"part-00000\.arrow has \d+ bytes, \d+ were written"):
        data.whole(0)


def test_file_with_other_bytes_is_told(folder, tmp_path, home):
    def change(there, _):
        path = there / "part-00000.arrow"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    data = PreparedData(copied(folder, tmp_path, change).as_uri())
    with pytest.raises(DatasetError, match=r"part-00000\.arrow is not what was written \(its sha256 differs\)"):
        data.whole(0)
    assert kept_bytes(home) == 0


def test_card_without_hashes_is_taken(folder, tmp_path, local):
    def change(_, card):
        for file in card["files"]:
            del file["sha256"]

    assert same_sound(PreparedData(copied(folder, tmp_path, change).as_uri()), local)


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize(
    ("files", "told"),
    [
        pytest.param(None, "no card of prepared data", id="none"),
        pytest.param([], "has no track in it", id="empty"),
        pytest.param([{"file": "../x.arrow", "n_bytes": 1}], "wanted is a name without a folder", id="elsewhere"),
        pytest.param([{"file": "c:x.arrow", "n_bytes": 1}], "wanted is a name without a folder", id="drive"),
        pytest.param([{"file": "x.arrow", "n_bytes": -1}], "and a size from 0 on", id="size"),
    ],
)
def test_card_with_wrong_files_is_told(files, told, is_stored, folder, tmp_path):
    def change(_, card):
        card["files"] = files

    there = copied(folder, tmp_path, change)
    with pytest.raises(DatasetError, match=told):
        PreparedData(there.as_uri() if is_stored else there)


def test_address_with_escapes_is_that_of_the_folder(folder, local, tmp_path):
    shutil.copytree(folder, tmp_path / "50 % \u00fc")
    assert "%20" in (tmp_path / "50 % \u00fc").as_uri()
    assert same_sound(PreparedData((tmp_path / "50 % \u00fc").as_uri()), local)


def test_password_in_an_address_stands_in_no_message(tmp_path):
    with http_store(tmp_path) as (address, _):
        secret = address.replace("http://", "http://me:hidden@")
        with pytest.raises(DatasetError, match=r"http://me:\*\*\*@127.0.0.1:\d+/card\.json is not there"):
            PreparedData(secret)


def test_password_in_an_address_is_not_written_down():
    recipe = Recipe.load("samplecnn", {"data.root": "https://me:hidden@host/prepared"})
    facts = train_module._without_passwords(recipe.to_dict())
    assert facts["data"]["prepared"] == "https://me:***@host/prepared"
    assert "hidden" not in json.dumps(facts)


def test_folder_without_a_card_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"card\.json is not there"):
        PreparedData(tmp_path.as_uri())


def test_kind_of_store_that_is_not_known_is_told():
    with pytest.raises(ConfigError, match=r"there is no kind of store s4://; there are s3"):
        PreparedData("s4://bucket/prepared")


@pytest.mark.parametrize(
    ("address", "package"), [("s3://bucket/prepared", "s3fs"), ("gs://bucket/p", "gcsfs"), ("abfs://box/p", "adlfs")]
)
def test_missing_package_is_named_with_the_line_that_installs_it(address, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"^{address}: .*need {package}.*: pip install {package}$"):
        PreparedData(address)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param({"data.cache_gb": 0}, "data.cache_gb is 0; wanted a number above 0", id="no cache"),
        pytest.param({"data.root": "s3://a", "data.prepared": "b"}, "and so is data.prepared", id="twice"),
        pytest.param({"data.root": "s3://me:hidden@a", "data.prepared": "b"}, r"s3://me:\*\*\*@a is an", id="password"),
        pytest.param({"data.root": "here", "data.cache_gb": 5}, "data.cache_gb=5 limits what is kept", id="no store"),
    ],
)
def test_wrong_word_is_told(words, told):
    with pytest.raises(ConfigError, match=told):
        Recipe.load("samplecnn", words)


@pytest.mark.parametrize("words", [{}, {"data": "csv"}], ids=["no name", "a name"])
def test_root_may_be_a_folder_of_prepared_data(folder, words):
    data = Recipe.load("samplecnn", {**words, "data.root": str(folder)}).data
    assert (data.name, data.root, data.prepared) == ("", "", str(folder))


def test_root_with_another_card_is_no_prepared_data(tmp_path):
    (tmp_path / "card.json").write_text('{"made": {}, "recordings": []}')
    data = Recipe.load("samplecnn", {"data": "synth", "data.root": str(tmp_path)}).data
    assert (data.name, data.root, data.prepared) == ("synth", str(tmp_path), "")


def test_prepared_data_in_two_places_is_told(folder):
    with pytest.raises(ConfigError, match=r"is a folder of prepared data, and so is data.prepared; give one"):
        Recipe.load("samplecnn", {"data.root": str(folder), "data.prepared": str(folder)})


def test_nothing_is_prepared_in_a_store(tmp_path):
    words = {**train_words(), "data": "csv", "data.root": str(write_set(tmp_path / "s")), "data.prepared": "s3://a/b"}
    with pytest.raises(ConfigError, match="prepare into a folder, copy it there"):
        train(Recipe.load("samplecnn", words), tmp_path / "run", n_workers=1)
