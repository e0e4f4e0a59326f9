"""Which files are known in a catalogue, and whose rows go along when they are moved, renamed, touched or copied."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")
pq = pytest.importorskip("pyarrow.parquet")

from _catalogues import SIZE, TAGS, card_of  # noqa: E402

from taggram.catalogue import _path_index as path_index  # noqa: E402
from taggram.catalogue import _plan as planning  # noqa: E402
from taggram.catalogue._plan import Plan, Summary  # noqa: E402
from taggram.catalogue.journal import Journal  # noqa: E402
from taggram.catalogue.rows import Row, to_table  # noqa: E402
from taggram.catalogue.sources import list_sources  # noqa: E402

NEEDS_BYTES = pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are text here")


class Collection:
    """A folder of files and its catalogue, in which notes tell of which bytes a row was made."""

    def __init__(self, place):
        self.folder, self.out, self.read = place / "sounds", place / "out", []
        self.folder.mkdir()

    def write(self, **contents):
        """Write NAME.mp3 for each."""
        for name, content in contents.items():
            (self.folder / f"{name}.mp3").write_bytes(content)

    def run(self, *, rows_a_part=100, by_content=False, retry=False, prune=False, paths=None):
        """Bring the catalogue up to date; give what was done, and the names of the files that were tagged."""
        sources = list_sources(map(str, paths or [self.folder]))
        summary = Summary()
        with Journal(self.out, card_of()) as journal:
            plan = Plan(journal, sources.table, lambda n, of: self.read.append((n, of)))
            plan.settle(summary, by_content=by_content, retry=retry, prune=prune)
            rows = [_tagged(one) for one in plan.to_do.to_pylist()]
            for start in range(0, len(rows), rows_a_part):
                table = to_table(rows[start : start + rows_a_part], journal.card)
                journal.commit({journal.new_name(): table})
        return summary, sorted(Path(row.path).stem for row in rows)

    def rows(self):
        """All rows by the name of their file; each has what its bytes give, and its size and time."""
        found = pq.read_table(self.out / "parts").to_pylist()
        by_path = {row["path"]: row for row in found}
        assert len(by_path) == len(found), "a file has two rows"
        for path, row in by_path.items():
            if Path(path).exists():
                data, status = Path(path).read_bytes(), Path(path).stat()
                digest = hashlib.sha256(data).hexdigest()
                assert (row["size"], row["sha256"]) == (len(data), digest)
                assert row["error"] or row["notes"] == [digest]
                assert row["modified"].timestamp() == pytest.approx(status.st_mtime, abs=1e-5)
        return {Path(path).stem: row for path, row in by_path.items()}


def _tagged(file):
    try:
        data = Path(os.fsdecode(file["name"])).read_bytes()
    except OSError as error:
        return Row(file["path"], file["size"], file["modified"], error=f"OSError: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(b"bad"):
        return Row(file["path"], file["size"], file["modified"], digest, error="AudioError: no sound")
    scores, embedding = np.zeros(len(TAGS), np.float32), np.zeros(SIZE, np.float32)
    return Row(file["path"], file["size"], file["modified"], digest, 1.0, scores, embedding, notes=[digest])


@pytest.fixture
def files(tmp_path):
    return Collection(tmp_path)


# -- moved, renamed, touched -------------------------------------------------------------------------------------------


def test_duplicates_in_a_renamed_folder_have_a_row_each(files):
    (files.folder / "old").mkdir()
    for name in "ab":
        (files.folder / "old" / f"{name}.mp3").write_bytes(b"the same")
    files.run()
    (files.folder / "old").rename(files.folder / "new")
    summary, tagged = files.run()
    assert (tagged, summary.n_moved, len(files.rows())) == ([], 2, 2)
    assert {Path(row["path"]).parent.name for row in files.rows().values()} == {"new"}


def test_renamed_one_of_two_duplicates_takes_its_own_row_along(files):
    files.write(a=b"the same", b=b"the same")
    files.run()
    (files.folder / "b.mp3").rename(files.folder / "c.mp3")
    summary, tagged = files.run()
    assert (tagged, summary.n_moved, sorted(files.rows())) == ([], 1, ["a", "c"])


def test_file_that_was_moved_and_copied_is_known_twice(files):
    files.write(a=b"one")
    files.run()
    shutil.copy(files.folder / "a.mp3", files.folder / "b.mp3")
    (files.folder / "a.mp3").rename(files.folder / "c.mp3")
    summary, tagged = files.run()
    assert (tagged, summary.n_moved, sorted(files.rows())) == ([], 2, ["b", "c"])


@pytest.mark.parametrize("rows_a_part", [1, 100])
def test_files_that_changed_names_change_rows(files, rows_a_part):
    files.write(a=b"one", b=b"two", c=b"others")
    files.run(rows_a_part=rows_a_part)
    for source, target in [("a", "x"), ("b", "a"), ("x", "b")]:
        (files.folder / f"{source}.mp3").rename(files.folder / f"{target}.mp3")
    for name in "ab":
        os.utime(files.folder / f"{name}.mp3", ns=(1, 10**18))
    summary, tagged = files.run()
    assert (tagged, summary.n_moved, len(files.rows())) == ([], 2, 3)


def test_touched_file_keeps_its_row_and_leaves_that_of_a_lost_duplicate(files):
    files.write(a=b"the same", b=b"the same")
    files.run()
    (files.folder / "a.mp3").unlink()
    os.utime(files.folder / "b.mp3", ns=(1, 10**18))
    _, tagged = files.run()
    assert (tagged, sorted(files.rows())) == ([], ["a", "b"])
    assert round(files.rows()["b"]["modified"].timestamp()) == 10**9


def test_row_of_a_failure_goes_when_a_known_file_takes_its_name(files):
    files.write(a=b"bad", b=b"one")
    files.run()
    (files.folder / "b.mp3").replace(files.folder / "a.mp3")
    os.utime(files.folder / "a.mp3", ns=(1, 10**18))
    _, tagged = files.run()
    assert (tagged, {name: row["error"] for name, row in files.rows().items()}) == ([], {"a": None})


@pytest.mark.parametrize("rows_a_part", [1, 3, 100])
def test_renamed_collection_is_moved_in_many_steps_within_its_parts(files, monkeypatch, rows_a_part):
    monkeypatch.setattr(planning, "LEAST_MOVES", 2)
    monkeypatch.setattr(planning, "MOST_CHANGES", 4)
    files.write(**{f"n{n}": bytes([n // 2]) * 5 for n in range(12)})  # each content twice
    files.run(rows_a_part=rows_a_part)
    for n in range(12):
        (files.folder / f"n{n}.mp3").rename(files.folder / f"m{n}.mp3")
    n_parts = len(list((files.out / "parts").iterdir()))
    summary, tagged = files.run()
    assert (tagged, summary.n_moved, len(files.rows())) == ([], 12, 12)
    assert len(list((files.out / "parts").iterdir())) == n_parts
    assert files.read[-1] == (12, 12)


@pytest.mark.parametrize("nth", range(4))
def test_moves_that_were_cut_short_are_gone_on_with(files, monkeypatch, nth):
    monkeypatch.setattr(planning, "LEAST_MOVES", 2)
    files.write(**{f"n{n}": bytes([n]) * 5 for n in range(6)})
    files.run(rows_a_part=2)
    for n in range(6):  # each takes the name of the next one
        (files.folder / f"n{n}.mp3").rename(files.folder / f"x{n}.mp3")
    for n in range(6):
        (files.folder / f"x{n}.mp3").rename(files.folder / f"n{(n + 1) % 6}.mp3")
        os.utime(files.folder / f"n{(n + 1) % 6}.mp3", ns=(1, 10**18))
    commit, n_commits = Journal.commit, 0

    def or_end(journal, put, drop=()):
        nonlocal n_commits
        n_commits += 1
        if n_commits > nth:
            raise KeyboardInterrupt
        commit(journal, put, drop)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", or_end)
        with pytest.raises(KeyboardInterrupt):
            files.run()
    files.run()
    assert sorted(files.rows()) == [f"n{n}" for n in range(6)]


# -- what is read to be known ------------------------------------------------------------------------------------------


def test_copy_of_a_file_that_is_still_there_is_tagged_and_not_read_before(files):
    files.write(a=b"one", b=b"two")
    files.run()
    files.write(c=b"one")
    summary, tagged = files.run()
    assert (tagged, summary.n_moved, files.read) == (["c"], 0, [])


def test_only_files_are_read_that_have_the_size_of_a_lost_one(files):
    files.write(a=b"one", b=b"longer")
    files.run()
    (files.folder / "a.mp3").rename(files.folder / "c.mp3")
    files.write(d=b"longer")
    _, tagged = files.run()
    assert (tagged, files.read) == (["d"], [(1, 1)])


def test_files_in_a_store_are_tagged_and_not_fetched_before(files):
    files.write(a=b"one")
    files.run()
    (files.folder / "a.mp3").rename(files.folder / "b.mp3")
    address = f"file://{files.folder}"
    sources = list_sources([address])
    with Journal(files.out) as journal:
        plan = Plan(journal, sources.table, lambda n, of: files.read.append((n, of)))
        plan.settle(Summary(), by_content=False, retry=False, prune=False)
    assert (plan.to_do["path"].to_pylist(), files.read) == ([f"{address}/b.mp3"], [])


def test_all_known_files_are_read_if_that_is_asked_for(files):
    files.write(a=b"one", b=b"two", c=b"six")
    files.run(rows_a_part=2)
    before = (files.folder / "b.mp3").stat()
    files.write(b=b"TWO")
    os.utime(files.folder / "b.mp3", ns=(before.st_atime_ns, before.st_mtime_ns))
    summary, tagged = files.run(by_content=True)
    assert (tagged, summary.n_kept, files.read[1]) == (["b"], 2, (3, 3))


# -- what is gone ------------------------------------------------------------------------------------------------------


@NEEDS_BYTES
@pytest.mark.parametrize("prune", [False, True])
def test_name_that_is_no_utf8_is_not_taken_for_gone(files, prune):
    odd = os.fsencode(files.folder) + b"/caf\xe9.mp3"
    Path(os.fsdecode(odd)).write_bytes(b"one")
    files.run()
    files.write(copy=b"one")
    files.run(prune=prune, paths=[files.folder / "copy.mp3"])
    assert sorted(files.rows()) == ["caf\\udce9", "copy"]


@NEEDS_BYTES
def test_name_that_is_no_utf8_takes_its_row_along(files):
    files.write(a=b"one")
    files.run()
    (files.folder / "a.mp3").rename(os.fsdecode(os.fsencode(files.folder) + b"/caf\xe9.mp3"))
    _, tagged = files.run()
    assert (tagged, sorted(files.rows())) == ([], ["caf\\udce9"])


@pytest.mark.parametrize("prune", [False, True])
def test_file_that_may_not_be_looked_at_is_not_taken_for_gone(files, monkeypatch, prune):
    files.write(a=b"one")
    files.run()
    files.write(b=b"one")
    look = Path.stat

    def refuse(path, **options):
        if path.name == "a.mp3":
            raise PermissionError(13, "Permission denied")
        return look(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        files.run(prune=prune, paths=[files.folder / "b.mp3"])
    assert sorted(files.rows()) == ["a", "b"]


def test_rows_of_files_that_are_gone_are_pruned_but_for_those_that_were_moved(files):
    files.write(a=b"one", b=b"two", c=b"three")
    files.run(rows_a_part=1)
    (files.folder / "a.mp3").unlink()
    (files.folder / "b.mp3").rename(files.folder / "d.mp3")
    summary, _ = files.run(prune=True)
    assert (summary.n_pruned, summary.n_moved, sorted(files.rows())) == (1, 1, ["c", "d"])


# -- the index of paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hashed", [hash, len, lambda path: 0])
def test_paths_are_found_whatever_their_hashes_are(monkeypatch, hashed):
    monkeypatch.setattr(path_index, "hash", hashed, raising=False)
    paths = pa.chunked_array([["b", "aa", "a"], [], ["c", "aa"]], pa.string())
    index = path_index.PathIndex(paths)
    assert index.find(pa.chunked_array([["a", "d"], ["aa", "", "c"]])).tolist() == [2, -1, 1, -1, 3]
    assert index.are_first().tolist() == [True, True, True, True, False]


def test_no_paths_are_found_in_nothing():
    index = path_index.PathIndex(pa.chunked_array([], pa.string()))
    assert (index.find(pa.chunked_array([["a"]])).tolist(), index.are_first().tolist()) == ([-1], [])
