"""A catalogue as it is made: a row a file, each once, whatever happened before."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from _catalogues import killed_at
from _sounds import encoded, tone
from _taught import write_network

from taggram.errors import CatalogueError, ConfigError
from taggram.results import Failure

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")
pq = pytest.importorskip("pyarrow.parquet")

from taggram.catalogue import _layers  # noqa: E402
from taggram.catalogue import build as building  # noqa: E402
from taggram.catalogue._reading import open_catalogue  # noqa: E402
from taggram.catalogue.build import Watcher, build_catalogue  # noqa: E402
from taggram.catalogue.compacting import compact_catalogue  # noqa: E402
from taggram.catalogue.journal import Journal  # noqa: E402
from taggram.catalogue.rows import FIXED, Row, name_columns  # noqa: E402


class MadeWorkers:
    """In the place of worker processes: scores follow from the bytes of a file alone."""

    asked: ClassVar[list[str]] = []  # names of the files that were tagged

    def __init__(self, settings, n_workers=None):
        self.settings = settings

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def start(self):
        pass

    def describe(self, *, over_time):
        model = self.settings["model"]
        return {
            "model": model, "tags": ["path", "rock"], "weights_sha256": "w", "patch_s": 3.0, "hop_s": 3.0,
            "fingerprint": hashlib.sha256(f"{model}{over_time}".encode()).hexdigest(),
            "embedding": {"layer": "penultimate", "size": 3}, "device": "cpu",
        }  # fmt: skip

    def rows(self, tasks, progress=None):
        for task in tasks:
            type(self).asked.append(Path(task.path).name)
            try:
                data = Path(task.path).read_bytes()
            except OSError as error:
                yield Row(task.name, task.size, task.modified_us, error=str(Failure.of(task.path, error).message))
                continue
            digest = hashlib.sha256(data).hexdigest()
            if data.startswith(b"bad"):
                yield Row(task.name, task.size, task.modified_us, digest, error="AudioError: no sound")
                continue
            values = np.frombuffer(bytes.fromhex(digest)[:20], np.uint8).astype(np.float32) / 255
            yield Row(
                task.name, task.size, task.modified_us, digest, 1.0, values[:2], values[2:5],
                values[:4].reshape(2, 2) if task.over_time else None,
            )  # fmt: skip


@pytest.fixture
def made(monkeypatch):
    """Tagging that takes no time; gives the names of what was tagged, and forgets them."""
    monkeypatch.setattr(building, "CatalogueWorkers", MadeWorkers)
    MadeWorkers.asked = []

    def asked():
        names, MadeWorkers.asked = sorted(MadeWorkers.asked), []
        return names

    return asked


@pytest.fixture
def sounds(tmp_path):
    """Four files that are taken for sound by their names; the last one is none."""
    folder = tmp_path / "sounds"
    (folder / "more").mkdir(parents=True)
    for name in ("a.mp3", "b.mp3", "more/c.mp3"):
        (folder / name).write_bytes(name.encode() * 10)
    (folder / "d.mp3").write_bytes(b"bad")
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def rows(out):
    """All rows that any reader of Parquet would find, by the name of their file."""
    found = pq.read_table(out / "parts").to_pylist()
    by_name = {Path(row["path"]).name: row for row in found}
    assert len(by_name) == len(found), "a file has two rows"
    return by_name


def whole(out):
    """What a catalogue says, whatever its parts are."""
    return {name: (row["sha256"], row["scores"], row["error"]) for name, row in rows(out).items()}


# -- rows --------------------------------------------------------------------------------------------------------------


def test_every_file_has_a_row(made, sounds, out):
    build_catalogue(sounds, out)
    assert sorted(rows(out)) == ["a.mp3", "b.mp3", "c.mp3", "d.mp3"]


def test_row_says_what_the_file_is(made, sounds, out):
    build_catalogue(sounds, out)
    row, path = rows(out)["a.mp3"], sounds / "a.mp3"
    assert (row["path"], row["size"], row["sha256"]) == (str(path), 50, hashlib.sha256(path.read_bytes()).hexdigest())
    assert round(row["modified"].timestamp() * 1e6) == path.stat().st_mtime_ns // 1000


def test_scores_are_a_list_and_a_column_a_tag(made, sounds, out):
    build_catalogue(sounds, out)
    row, card = rows(out)["a.mp3"], json.loads((out / "catalogue.json").read_text(encoding="utf-8"))
    assert [row[card["columns"][tag]] for tag in card["tags"]] == row["scores"]


def test_failed_file_has_an_error_and_no_scores(made, sounds, out):
    summary = build_catalogue(sounds, out)
    row = rows(out)["d.mp3"]
    assert (row["error"], row["scores"], row["rock"], row["embedding"]) == ("AudioError: no sound", None, None, None)
    assert (summary.n_done, summary.n_failed, summary.ok) == (3, 1, False)


def test_scores_over_time_are_kept_if_asked_for(made, sounds, out):
    build_catalogue(sounds, out, over_time=True)
    row = rows(out)["a.mp3"]
    assert row["taggram"][0] == row["scores"]


def test_tag_that_is_called_like_a_column_has_another_column():
    columns = name_columns(["path", "Rock", "rock", "guitar"])
    assert columns == {"path": "tag:path", "Rock": "Rock", "rock": "tag:rock", "guitar": "guitar"}
    assert "path" in FIXED


def test_folder_without_sound_makes_no_catalogue(made, out, tmp_path):
    (tmp_path / "none").mkdir()
    summary = build_catalogue(tmp_path / "none", out)
    assert [failure.message for failure in summary.failures] == ["there is no sound in this folder"]
    assert not out.exists()


# -- again -------------------------------------------------------------------------------------------------------------


def test_second_run_tags_nothing(made, sounds, out):
    build_catalogue(sounds, out)
    before = whole(out)
    made()
    summary = build_catalogue(sounds, out)
    assert (made(), summary.n_kept, whole(out)) == ([], 4, before)


def test_new_file_alone_is_tagged(made, sounds, out):
    build_catalogue(sounds, out)
    made()
    (sounds / "e.mp3").write_bytes(b"new one")
    build_catalogue(sounds, out)
    assert (made(), len(rows(out))) == (["e.mp3"], 5)


def test_changed_file_is_tagged_again(made, sounds, out):
    build_catalogue(sounds, out)
    made()
    (sounds / "a.mp3").write_bytes(b"another sound")
    build_catalogue(sounds, out)
    assert (made(), rows(out)["a.mp3"]["size"], len(rows(out))) == (["a.mp3"], 13, 4)


def test_moved_file_takes_its_row_along(made, sounds, out):
    build_catalogue(sounds, out)
    before = rows(out)["a.mp3"]["scores"]
    made()
    (sounds / "a.mp3").rename(sounds / "more" / "z.mp3")
    summary = build_catalogue(sounds, out)
    found = rows(out)
    assert (made(), summary.n_moved, "a.mp3" in found) == ([], 1, False)
    assert (found["z.mp3"]["scores"], found["z.mp3"]["path"]) == (before, str(sounds / "more" / "z.mp3"))


def test_copy_of_a_file_that_is_still_there_is_tagged(made, sounds, out):
    build_catalogue(sounds, out)
    made()
    shutil.copy(sounds / "a.mp3", sounds / "copy.mp3")
    build_catalogue(sounds, out)
    found = rows(out)
    assert (made(), found["copy.mp3"]["scores"]) == (["copy.mp3"], found["a.mp3"]["scores"])


def test_touched_file_is_known_by_its_content(made, sounds, out):
    build_catalogue(sounds, out)
    made()
    os.utime(sounds / "a.mp3", ns=(1, 10**18))
    build_catalogue(sounds, out)
    assert (made(), round(rows(out)["a.mp3"]["modified"].timestamp())) == ([], 10**9)


def test_file_that_was_changed_behind_its_size_and_time_is_found_if_all_are_read(made, sounds, out):
    build_catalogue(sounds, out)
    made()
    before = (sounds / "a.mp3").stat()
    data = bytearray((sounds / "a.mp3").read_bytes())
    data[-1] ^= 1
    (sounds / "a.mp3").write_bytes(data)
    os.utime(sounds / "a.mp3", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build_catalogue(sounds, out).n_kept == 4
    summary = build_catalogue(sounds, out, by_content=True)
    assert (made(), summary.n_kept) == (["a.mp3"], 3)


def test_failed_file_is_left_alone_until_it_is_to_be_tried_again(made, sounds, out):
    build_catalogue(sounds, out)
    made()
    build_catalogue(sounds, out)
    assert made() == []
    build_catalogue(sounds, out, retry=True)
    assert (made(), len(rows(out))) == (["d.mp3"], 4)


def test_missing_file_keeps_its_row_unless_it_is_to_go(made, sounds, out):
    build_catalogue(sounds, out)
    (sounds / "a.mp3").unlink()
    build_catalogue(sounds, out)
    assert "a.mp3" in rows(out)
    assert build_catalogue(sounds, out, prune=True).n_pruned == 1
    assert sorted(rows(out)) == ["b.mp3", "c.mp3", "d.mp3"]


def test_no_row_is_taken_out_while_a_path_is_away(made, sounds, out):
    build_catalogue(sounds, out)
    sounds.rename(sounds.with_name("away"))
    summary = build_catalogue(sounds, out, prune=True)
    assert (summary.n_pruned, summary.n_others, summary.ok) == (0, 4, False)
    sounds.mkdir()  # as the place where a disk is mounted
    assert build_catalogue(sounds, out, prune=True).n_pruned == 0
    assert len(rows(out)) == 4


def test_paths_that_are_not_there_make_no_catalogue(made, tmp_path, out):
    assert not build_catalogue(tmp_path / "nowhere", out).ok
    assert not out.exists()


def test_files_elsewhere_are_counted(made, sounds, out):
    build_catalogue(sounds, out)
    assert build_catalogue(sounds / "more", out).n_others == 3


def test_old_failure_is_told_and_fails_no_new_run(made, sounds, out):
    build_catalogue(sounds, out)
    summary = build_catalogue(sounds, out)
    assert (summary.n_failed_before, summary.ok) == (1, True)


def test_other_model_is_told_before_it_takes_the_place(made, sounds, out):
    class Ear(Watcher):
        notes: ClassVar[list[str]] = []

        def noted(self, note):
            self.notes.append(note)

    build_catalogue(sounds, out)
    build_catalogue(sounds, out, settings={"model": "vgg.mtt"}, watcher=Ear())
    assert "is kept as a layer; it is vgg.mtt" in Ear.notes[0]


def test_file_that_is_out_of_reach_keeps_its_row(made, sounds, out):
    build_catalogue([sounds / "a.mp3"], out)
    before = whole(out)
    (sounds / "a.mp3").unlink()
    build_catalogue([sounds / "a.mp3"], out)
    assert whole(out) == before


def test_catalogue_is_left_alone_where_it_is_not_to_be_resumed(made, sounds, out):
    build_catalogue(sounds, out)
    with pytest.raises(ConfigError, match="is a catalogue already"):
        build_catalogue(sounds, out, resume=False)


def test_folder_with_other_things_is_no_place_for_a_catalogue(made, sounds):
    with pytest.raises(CatalogueError, match="folder of its own"):
        build_catalogue(sounds, sounds)


# -- layers ------------------------------------------------------------------------------------------------------------


def test_other_model_makes_a_layer_and_the_old_one_is_kept(made, sounds, out):
    first = build_catalogue(sounds, out, settings={"model": "one"}).layer
    made()
    second = build_catalogue(sounds, out, settings={"model": "two"}).layer
    assert len(made()) == 4
    assert {row["model"] for row in rows(out).values()} == {"two"}
    assert {row["model"] for row in rows(open_catalogue(out, first).folder).values()} == {"one"}
    assert open_catalogue(out, second).folder == out


def test_going_back_to_a_model_takes_its_layer_up_again(made, sounds, out):
    build_catalogue(sounds, out, settings={"model": "one"})
    build_catalogue(sounds, out, settings={"model": "two"})
    made()
    build_catalogue(sounds, out, settings={"model": "one"})
    assert (made(), {row["model"] for row in rows(out).values()}) == ([], {"one"})


def test_unknown_layer_is_told_with_those_that_there_are(made, sounds, out):
    layer = build_catalogue(sounds, out).layer
    with pytest.raises(CatalogueError, match=f"It has {layer}"):
        open_catalogue(out, "other")


@pytest.mark.parametrize("n_moves", range(1, 9))
def test_change_of_layers_that_was_cut_short_is_brought_to_an_end(made, sounds, out, monkeypatch, n_moves):
    build_catalogue(sounds, out, settings={"model": "one"})
    build_catalogue(sounds, out, settings={"model": "two"})
    made()
    moves = []

    def cut_short(source, target):
        moves.append(source)
        if len(moves) == n_moves:
            raise KeyboardInterrupt
        if source.exists():
            source.replace(target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(_layers, "_move", cut_short)
        build_catalogue(sounds, out, settings={"model": "one"})
    build_catalogue(sounds, out, settings={"model": "two"})
    assert {row["model"] for row in rows(out).values()} == {"two"}
    build_catalogue(sounds, out, settings={"model": "one"})
    assert (made(), {row["model"] for row in rows(out).values()}) == ([], {"one"})


# -- parts and journal -------------------------------------------------------------------------------------------------


@pytest.fixture
def in_parts(made, sounds, out, monkeypatch):
    """A catalogue of a row a part."""
    monkeypatch.setattr(building, "PART_ROWS", 1)
    build_catalogue(sounds, out)
    made()
    assert len(open_catalogue(out).parts) == 4
    return out


def test_parts_are_merged_without_a_change(in_parts):
    before = whole(in_parts)
    assert compact_catalogue(in_parts) == (4, 1)
    assert (whole(in_parts), len(list((in_parts / "parts").iterdir()))) == (before, 1)


def test_merging_twice_is_merging_once(in_parts):
    compact_catalogue(in_parts)
    part = open_catalogue(in_parts).parts
    assert compact_catalogue(in_parts) == (1, 1)
    assert open_catalogue(in_parts).parts == part


@pytest.mark.parametrize("harm", ["byte", "cut", "gone"])
def test_files_of_a_damaged_part_are_tagged_again(in_parts, sounds, made, harm):
    before = whole(in_parts)
    part = open_catalogue(in_parts).parts[1]
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 255
    part.unlink()
    if harm != "gone":
        part.write_bytes(data if harm == "byte" else data[:-30])
    summary = build_catalogue(sounds, in_parts)
    assert (summary.lost, len(made()), whole(in_parts)) == ([part.name], 1, before)
    assert (in_parts / "damaged" / part.name).exists() == (harm != "gone")


@pytest.mark.parametrize("is_there", [True, False])
def test_line_of_the_journal_that_was_cut_off_never_was_but_its_part_counts(in_parts, sounds, made, is_there):
    before = whole(in_parts)
    lines = (in_parts / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (in_parts / "manifest.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    if not is_there:
        (in_parts / "parts" / next(iter(json.loads(lines[-1])["put"]))).unlink()
    build_catalogue(sounds, in_parts)
    assert (len(made()), whole(in_parts)) == (0 if is_there else 1, before)


def test_parts_are_taken_in_again_without_a_journal(in_parts, sounds, made):
    before = whole(in_parts)
    (in_parts / "manifest.jsonl").unlink()
    build_catalogue(sounds, in_parts)
    assert (made(), whole(in_parts)) == ([], before)


def test_damaged_line_in_the_journal_is_told(in_parts, sounds):
    data = (in_parts / "manifest.jsonl").read_bytes()
    (in_parts / "manifest.jsonl").write_bytes(b"x" + data)
    with pytest.raises(CatalogueError, match=r"line 1 is damaged\. Remove this file"):
        build_catalogue(sounds, in_parts)


def test_strange_file_among_the_parts_is_put_aside(in_parts, sounds):
    before = whole(in_parts)
    (in_parts / "parts" / "part-000009-strange.parquet").write_bytes(b"no Parquet")
    build_catalogue(sounds, in_parts)
    assert whole(in_parts) == before


@pytest.mark.parametrize("step", range(20))
@pytest.mark.parametrize("action", ["tag", "compact", "move"])
def test_run_that_is_killed_anywhere_leaves_the_same_catalogue(in_parts, sounds, action, step):
    before = whole(in_parts)
    if action == "tag":
        (sounds / "e.mp3").write_bytes(b"new one")
    if action == "move":
        (sounds / "a.mp3").rename(sounds / "z.mp3")
    act = compact_catalogue if action == "compact" else lambda out: build_catalogue(sounds, out)
    with killed_at(step):
        act(in_parts)
    act(in_parts)
    build_catalogue(sounds, in_parts)
    after = whole(in_parts)
    if action == "tag":
        assert after.pop("e.mp3")
    if action == "move":
        after["a.mp3"] = after.pop("z.mp3")
    assert after == before


def test_rows_come_as_parts_of_bounded_size(made, sounds, out, monkeypatch):
    monkeypatch.setattr(building, "PART_ROWS", 3)
    build_catalogue(sounds, out)
    assert [pq.read_metadata(part).num_rows for part in open_catalogue(out).parts] == [3, 1]


def test_second_writer_is_refused(made, sounds, out):
    build_catalogue(sounds, out)
    with Journal(out), pytest.raises(CatalogueError, match="written by another process"):
        build_catalogue(sounds, out)


def test_what_was_done_is_kept_when_the_run_ends_early(made, sounds, out):
    class Impatient(Watcher):
        def done(self, path, error):
            if path.endswith("b.mp3"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_catalogue(sounds, out, watcher=Impatient())
    assert sorted(rows(out)) == ["a.mp3", "b.mp3"]


@pytest.mark.parametrize("card", [b"", b"[]", b'{"format": 99}'])
def test_card_that_is_no_card_is_told(out, card):
    out.mkdir()
    (out / "catalogue.json").write_bytes(card)
    with pytest.raises(CatalogueError):
        open_catalogue(out)


def test_folder_without_a_catalogue_is_told_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(CatalogueError, match=r"taggram catalogue PATH\.\.\. --out"):
        open_catalogue(tmp_path)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a network and real sound, one file of it broken."""
    place = tmp_path_factory.mktemp("place")
    write_network(place / "net.safetensors")
    (place / "music").mkdir()
    for n in range(5):
        (place / "music" / f"{n} ü.wav").write_bytes(encoded(tone(3.5, hz=200.0 * (n + 1))))
    (place / "music" / "broken.wav").write_bytes(b"no sound")
    return place


@pytest.fixture(scope="module")
def catalogued(place, run_taggram):
    return run_taggram("catalogue", "--model", "net.safetensors", "music", "--out", "cat", "--workers", "1", cwd=place)


def test_command_tells_what_it_did(catalogued):
    assert catalogued.returncode == 1
    assert "6 files to tag; by worker processes" in catalogued.stderr
    assert "cat: 6 files by net-" in catalogued.stderr
    assert len([line for line in catalogued.stderr.splitlines() if "broken.wav" in line]) == 1


def test_rows_are_what_tagging_and_embedding_give(catalogued, place):
    from taggram import Tagger

    tagger = Tagger(place / "net.safetensors")
    row = rows(place / "cat")["0 ü.wav"]
    np.testing.assert_allclose(row["scores"], tagger.tag(place / "music" / "0 ü.wav").mean_scores, atol=1e-6)
    embedding = tagger.embed(place / "music" / "0 ü.wav").mean(axis=0)
    np.testing.assert_allclose(row["embedding"], embedding, rtol=1e-5, atol=1e-6)


def test_file_in_a_store_has_the_row_of_a_file_here(catalogued, place):
    build_catalogue(
        [f"file://{place}/music/1 ü.wav"], place / "stored", n_workers=1,
        settings={"model": str(place / "net.safetensors")},
    )  # fmt: skip
    there, here = rows(place / "stored")["1 ü.wav"], rows(place / "cat")["1 ü.wav"]
    assert (there["sha256"], there["scores"]) == (here["sha256"], here["scores"])


def test_command_merges_parts(catalogued, place, run_taggram):
    done = run_taggram("catalogue", "compact", "cat", cwd=place)
    assert (done.returncode, done.stderr) == (0, "cat: 1 parts are 1 now\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("music",), "Missing option '--out'"),
        (("compact", "nowhere"), "there is no catalogue in nowhere"),
        (("music", "--out", "x", "--model", "musicn.mtt"), "Did you mean musicnn.mtt"),
        (("music", "--out", "x", "--runner", "local", "--address", "auto"), "leave out one of them"),
        (("music", "--out", "x", "--runner", "slurm"), "slurm"),
    ],
)
def test_wrong_use_is_told(place, run_taggram, words, told):
    done = run_taggram("catalogue", *words, cwd=place, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode != 0
    assert told in done.stderr
