"""The journal of a catalogue: whatever ends a writer, and whatever is done to the folder, each row is there once."""

from __future__ import annotations

import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from _catalogues import card_of, killed_at, row, write_catalogue

from taggram.errors import CatalogueError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")
pq = pytest.importorskip("pyarrow.parquet")

from taggram.catalogue import _folder, compacting  # noqa: E402
from taggram.catalogue._folder import sha256_of  # noqa: E402
from taggram.catalogue._reading import open_catalogue  # noqa: E402
from taggram.catalogue.compacting import CompactWatcher, compact_catalogue  # noqa: E402
from taggram.catalogue.journal import Journal  # noqa: E402
from taggram.catalogue.rows import to_table  # noqa: E402

ONE, TWO = card_of(name="one-00000001"), card_of(name="two-00000002")
SCORES = (0.1, 0.2, 0.3, 0.4)
N_STEPS = 15  # that change the disk, at most, in what is killed here


def rows_of(*paths):
    return [row(path, SCORES) for path in paths]


def paths_in(folder, layer=None):
    """What its readers find, those that go by the journal and those that look at the folder itself."""
    files = open_catalogue(folder, layer)
    assert sorted(files.parts) == sorted(files.folder.joinpath("parts").glob("*.parquet"))
    return sorted(path for part in files.parts for path in pq.read_table(part)["path"].to_pylist())


@pytest.fixture
def five(tmp_path):
    """A catalogue of five parts with a row each."""
    return write_catalogue(tmp_path / "cat", *(rows_of(path) for path in "abcde"), card=ONE)


def open_again(folder, card=None, **options):
    with Journal(folder, card, **options) as journal:
        return journal


class Heard(CompactWatcher):
    """Keeps what it is told."""

    def __init__(self):
        self.notes, self.bytes, self.parts = [], [], []

    def noted(self, note):
        self.notes.append(note)

    def checked(self, n_bytes, of):
        self.bytes.append((n_bytes, of))

    def merged(self, n_parts, of):
        self.parts.append((n_parts, of))


# -- parts that the journal does not name ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(N_STEPS))
def test_taking_parts_in_may_be_cut_short(five, step):
    (five / "manifest.jsonl").unlink()
    with killed_at(step):
        open_again(five)
    open_again(five)
    assert paths_in(five) == list("abcde")


def test_part_that_was_copied_in_is_taken_in(five, tmp_path):
    other = write_catalogue(tmp_path / "other", rows_of("f", "g"), card=ONE)
    shutil.copy(open_catalogue(other).parts[0], five / "parts" / "from the other machine.parquet")
    heard = Heard()
    open_again(five, watcher=heard)
    assert paths_in(five) == list("abcdefg")
    assert heard.notes == ["2 rows were taken in from parts that manifest.jsonl did not name"]


def test_path_that_is_known_is_not_taken_in_again(five, tmp_path):
    other = write_catalogue(tmp_path / "other", rows_of("e", "f"), card=ONE)
    (part,) = open_catalogue(other).parts
    shutil.copy(part, five / "parts")
    heard = Heard()
    open_again(five, watcher=heard)
    assert (paths_in(five), (five / "damaged" / part.name).exists()) == (list("abcdef"), True)
    assert heard.notes[1] == f"{part.name} has rows that are here already; it is in damaged/ now"


@pytest.mark.parametrize("step", range(N_STEPS))
def test_taking_in_a_part_of_which_some_is_known_may_be_cut_short(five, tmp_path, step):
    other = write_catalogue(tmp_path / "other", rows_of("e", "f"), card=ONE)
    shutil.copy(open_catalogue(other).parts[0], five / "parts")
    with killed_at(step):
        open_again(five)
    open_again(five)
    assert paths_in(five) == list("abcdef")


def test_part_of_other_results_is_put_aside(five, tmp_path):
    other = write_catalogue(tmp_path / "other", rows_of("f"), card=TWO)
    (part,) = open_catalogue(other).parts
    shutil.copy(part, five / "parts")
    open_again(five)
    assert (paths_in(five), (five / "damaged" / part.name).exists()) == (list("abcde"), True)


def test_stray_part_with_a_byte_changed_is_put_aside(five):
    (five / "manifest.jsonl").unlink()
    part = sorted((five / "parts").iterdir())[0]
    data = bytearray(part.read_bytes())
    score = np.float32(SCORES[0]).tobytes()
    place = re.search(rb"\x28\xb5\x2f\xfd.{0,20}?" + re.escape(score), data, re.DOTALL).end()
    data[place - 2] ^= 1  # the page of scores stays one that can be read
    part.write_bytes(data)
    assert pq.read_table(part)["scores"].to_pylist()[0] != pytest.approx(SCORES)
    open_again(five)
    assert paths_in(five) == list("bcde")


def test_journal_of_a_backup_costs_nothing(five):
    journal = (five / "manifest.jsonl").read_bytes()
    write_catalogue(five, rows_of("f"), card=ONE)
    (five / "manifest.jsonl").write_bytes(journal)
    open_again(five)
    assert paths_in(five) == list("abcdef")


def test_journal_from_before_parts_were_merged_costs_nothing(five):
    journal = (five / "manifest.jsonl").read_bytes()
    compact_catalogue(five)
    (five / "manifest.jsonl").write_bytes(journal)
    assert len(open_again(five).lost) == 5
    assert paths_in(five) == list("abcde")


def test_part_that_was_merged_and_comes_back_is_gone(five):
    part = open_catalogue(five).parts[0]
    data = part.read_bytes()
    compact_catalogue(five)
    part.write_bytes(data)
    open_again(five)
    assert (paths_in(five), part.exists(), (five / "damaged").exists()) == (list("abcde"), False, False)


def test_parts_of_a_backup_stand_in_for_the_damaged_one_that_they_became(five):
    shutil.copytree(five / "parts", five.parent / "backup")
    compact_catalogue(five)
    open_catalogue(five).parts[0].write_bytes(b"")
    shutil.copytree(five.parent / "backup", five / "parts", dirs_exist_ok=True)
    assert len(open_again(five).lost) == 1
    assert paths_in(five) == list("abcde")


def test_part_that_was_merged_long_ago_and_comes_back_is_put_aside(five):
    part = open_catalogue(five).parts[0]
    data = part.read_bytes()
    compact_catalogue(five)
    write_catalogue(five, rows_of("f"), card=ONE)
    part.write_bytes(data)
    open_again(five)
    assert (paths_in(five), (five / "damaged" / part.name).read_bytes()) == (list("abcdef"), data)


def test_part_that_the_disk_cannot_read_is_damaged(five, monkeypatch):
    part = open_catalogue(five).parts[2]

    def sum_up(path):
        if path == part:
            raise OSError(errno.EIO, "Input/output error")
        return sha256_of(path)

    monkeypatch.setattr(_folder, "sha256_of", sum_up)
    assert (open_again(five).lost, paths_in(five)) == ([part.name], list("abde"))


def test_part_that_was_damaged_counts_again_when_a_copy_of_it_is_put_back(five):
    part = open_catalogue(five).parts[2]
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    assert open_again(five).lost == [part.name]
    assert paths_in(five) == list("abde")
    part.write_bytes(data)
    open_again(five)
    assert paths_in(five) == list("abcde")


def test_file_that_was_put_aside_is_not_written_over(five):
    part = open_catalogue(five).parts[2]
    for harm in (b"one", b"two"):
        part.write_bytes(harm)
        open_again(five)
    assert sorted(path.read_bytes() for path in (five / "damaged").iterdir()) == [b"one", b"two"]


def test_hidden_file_among_the_parts_is_left_alone(five):
    (five / "parts" / ".DS_Store").write_bytes(b"")
    open_again(five)
    assert (five / "parts" / ".DS_Store").exists()


@pytest.mark.parametrize("name", ["../../precious.parquet", "/precious", "part-1-x.parquet/../precious"])
def test_journal_that_names_files_elsewhere_is_refused(five, name):
    with (five / "manifest.jsonl").open("ab") as file:
        file.write(json.dumps({"put": {}, "drop": [name]}).encode() + b"\n")
    with pytest.raises(CatalogueError, match="line 6 is damaged"):
        open_again(five)


# -- the line that makes a change --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cards", [[ONE], [TWO, ONE]])
def test_interrupt_behind_the_line_leaves_the_part(five, monkeypatch, cards):
    append = Journal._append

    def interrupted(journal, change):
        append(journal, change)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_catalogue(five, rows_of("f"), card=ONE)
    assert open_catalogue(five).parts[-1].parent.name == "aside"
    lost = [name for card in cards for name in open_again(five, card).lost]
    assert (lost, paths_in(five)) == ([], list("abcdef"))


def test_line_behind_half_a_line_is_whole(five, monkeypatch):
    def interrupted(journal, change):
        with (five / "manifest.jsonl").open("ab") as file:
            file.write(b'{"half')
        raise KeyboardInterrupt

    with Journal(five) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_append", interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.commit({journal.new_name(): to_table(rows_of("f"), journal.card)})
        journal.commit({journal.new_name(): to_table(rows_of("g"), journal.card)})
    open_again(five)
    assert paths_in(five) == list("abcdeg")


def test_full_disk_at_the_journal_leaves_the_catalogue_as_it_was(five):
    resource = pytest.importorskip("resource", reason="this system has no limits of files")
    manifest = five / "manifest.jsonl"
    with manifest.open("ab") as file:
        file.write(b'{"drop": [], "put": {}}\n' * 2_000)  # longer than a part, which is to be written yet
    size, limits = manifest.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(five) as journal:
        table = to_table(rows_of("f"), journal.card)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))  # the system writes 20 bytes of the line
        try:
            with pytest.raises(OSError, match="too large"):
                journal.commit({journal.new_name(): table})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (manifest.stat().st_size, journal.n_rows) == (size, 5)
        journal.commit({journal.new_name(): table})
    assert paths_in(five) == list("abcdef")


def test_errors_are_counted_in_the_journal(five):
    write_catalogue(five, [row("f", None), *rows_of("g")], card=ONE)
    lines = (five / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert [facts["errors"] for line in lines for facts in json.loads(line)["put"].values()] == [0, 0, 0, 0, 0, 1]
    assert open_again(five).n_errors == 1


def test_errors_that_an_old_journal_does_not_count_are_counted_once(five):
    write_catalogue(five, [row("f", None)], card=ONE)
    changes = [json.loads(line) for line in (five / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    for change in changes:
        for facts in change["put"].values():
            del facts["errors"]
    (five / "manifest.jsonl").write_text("".join(f"{json.dumps(change)}\n" for change in changes), encoding="utf-8")
    assert open_again(five).n_errors == 1
    size = (five / "manifest.jsonl").stat().st_size
    assert (open_again(five).n_errors, (five / "manifest.jsonl").stat().st_size) == (1, size)
    assert paths_in(five) == list("abcdef")


def test_it_is_told_how_much_of_the_parts_is_checked(five):
    heard = Heard()
    open_again(five, watcher=heard)
    total = sum(part.stat().st_size for part in open_catalogue(five).parts)
    assert (len(heard.bytes), heard.bytes[-1]) == (5, (total, total))


# -- the card ----------------------------------------------------------------------------------------------------------


def test_lost_card_is_written_anew_by_the_same_model(five):
    (five / "catalogue.json").unlink()
    open_again(five, ONE)
    assert (paths_in(five), open_catalogue(five).card["layer"]) == (list("abcde"), ONE["layer"])


def test_lost_card_does_not_mix_the_results_of_two_models(five):
    (five / "catalogue.json").unlink()
    with pytest.raises(CatalogueError, match="of another model or other settings than made"):
        open_again(five, TWO)
    assert not (five / "catalogue.json").exists()
    open_again(five, ONE)
    assert paths_in(five) == list("abcde")


def test_card_of_another_model_is_told_and_nothing_is_changed(five):
    (five / "catalogue.json").write_text(json.dumps({"format": 1, **TWO}), encoding="utf-8")
    before = sorted(path.name for path in (five / "parts").iterdir())
    with pytest.raises(CatalogueError, match=r"and the catalogue\.json of these is not there"):
        open_again(five, TWO)
    assert sorted(path.name for path in (five / "parts").iterdir()) == before


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ({"layer": None}, "no proper layer"),
        ({"layer": "../x"}, "no proper layer"),
        ({"columns": {}}, "no proper columns"),
        ({"tags": "guitar"}, "no proper tags"),
        ({"embedding": {}}, "no proper embedding"),
        ({"settings": {}}, "no proper settings"),
    ],
)
def test_field_of_the_card_that_is_wrong_is_told_with_what_to_do(five, harm, told):
    (five / "catalogue.json").write_text(json.dumps({"format": 1, **ONE, **harm}), encoding="utf-8")
    with pytest.raises(CatalogueError, match=f"{told}.*same model and settings writes it"):
        open_again(five)


def test_parts_without_a_card_are_told_with_what_writes_it(five):
    (five / "catalogue.json").unlink()
    with pytest.raises(CatalogueError, match=r"has parts and no catalogue\.json.*settings of these parts writes it"):
        compact_catalogue(five)


# -- layers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["notes.txt", ".lock"])
def test_file_too_many_in_a_layer_does_no_harm(five, name):
    open_again(five, TWO)
    (five / "layers" / ONE["layer"] / name).write_bytes(b"")
    for card, paths in ((ONE, list("abcde")), (TWO, []), (ONE, list("abcde"))):
        open_again(five, card)
        assert paths_in(five) == paths


@pytest.mark.parametrize("step", range(N_STEPS))
def test_layers_change_places_whatever_cuts_it_short(five, step):
    write_catalogue(five, rows_of("a", "f"), card=TWO)
    with killed_at(step):
        open_again(five, ONE)
    open_again(five, TWO)
    assert (paths_in(five), paths_in(five, ONE["layer"])) == (["a", "f"], list("abcde"))


@pytest.mark.parametrize("step", range(N_STEPS))
def test_change_that_was_cut_short_comes_to_its_end_in_a_layer_too(five, step):
    with killed_at(step):
        compact_catalogue(five)
    open_again(five, TWO)
    open_again(five, ONE)
    assert paths_in(five) == list("abcde")


def test_layer_is_merged_where_it_lies(five):
    write_catalogue(five, rows_of("f"), card=TWO)
    assert compact_catalogue(five, layer=ONE["layer"]) == (5, 1)
    assert (paths_in(five, ONE["layer"]), paths_in(five)) == (list("abcde"), ["f"])
    open_again(five, ONE)
    assert (paths_in(five), (five / "layers" / ONE["layer"]).exists()) == (list("abcde"), False)


@pytest.mark.parametrize("step", range(N_STEPS))
def test_merging_of_a_layer_may_be_cut_short(five, step):
    open_again(five, TWO)
    with killed_at(step):
        compact_catalogue(five, layer=ONE["layer"])
    open_again(five, ONE)
    assert paths_in(five) == list("abcde")


def test_layer_that_is_unknown_is_told_with_those_that_there_are(five):
    with pytest.raises(CatalogueError, match=r"has no layer 'ona'.*It has one-00000001"):
        compact_catalogue(five, layer="ona")


def test_merging_of_a_layer_keeps_other_writers_out(five):
    open_again(five, TWO)
    with Journal(five, layer=ONE["layer"]), pytest.raises(CatalogueError, match="written by another process"):
        open_again(five, TWO)


@pytest.mark.parametrize("card", [None, ONE])
def test_layer_is_no_catalogue_to_write_to(five, card):
    open_again(five, TWO)
    before = sorted(five.rglob("*"))
    with pytest.raises(CatalogueError, match=r"is a layer of the catalogue .*compact .* --layer one-00000001"):
        open_again(five / "layers" / ONE["layer"], card)
    assert sorted(five.rglob("*")) == before


def test_results_in_two_places_are_told(five):
    open_again(five, TWO)
    shutil.copytree(five / "layers" / ONE["layer"] / "parts", five / "layers" / TWO["layer"] / "parts")
    write_catalogue(five / "more", rows_of("x"), card=TWO)
    shutil.copytree(five / "more" / "parts", five / "parts", dirs_exist_ok=True)
    with pytest.raises(CatalogueError, match="where other parts are; move one of the two out"):
        open_again(five, TWO)


# -- merging -----------------------------------------------------------------------------------------------------------


def test_part_has_at_most_so_many_rows(five, monkeypatch):
    monkeypatch.setattr(compacting, "PART_ROWS", 2)
    assert compact_catalogue(five) == (5, 3)
    assert paths_in(five) == list("abcde")


def test_part_has_at_most_so_many_bytes_in_memory(five, monkeypatch):
    metadata = pq.read_metadata(open_catalogue(five).parts[0])
    monkeypatch.setattr(compacting, "PART_BYTES", 2 * metadata.row_group(0).total_byte_size + 10)
    assert compact_catalogue(five) == (5, 3)


def test_part_that_is_half_full_is_not_written_again(five, monkeypatch):
    write_catalogue(five, rows_of(*"fghi"), card=ONE)
    monkeypatch.setattr(compacting, "PART_ROWS", 6)
    large = open_catalogue(five).parts[-1]
    assert compact_catalogue(five) == (6, 2)
    assert large in open_catalogue(five).parts
    assert compact_catalogue(five) == (2, 2)


def test_it_is_told_how_far_merging_is(five, monkeypatch):
    monkeypatch.setattr(compacting, "PART_ROWS", 2)
    heard = Heard()
    compact_catalogue(five, watcher=heard)
    assert heard.parts == [(2, 4), (4, 4)]


@pytest.mark.parametrize("harm", [lambda part: part.write_bytes(b""), Path.unlink], ids=["damaged", "gone"])
def test_merging_refuses_damage_and_changes_nothing(five, harm):
    part = open_catalogue(five).parts[1]
    harm(part)
    before = {path: path.read_bytes() for path in five.rglob("*") if path.is_file()}
    with pytest.raises(CatalogueError, match=f"{part.name} was damaged or is gone, .*tags them again"):
        compact_catalogue(five)
    assert {path: path.read_bytes() for path in five.rglob("*") if path.is_file()} == before


def test_command_merges_a_layer(five, run_taggram):
    open_again(five, TWO)
    done = run_taggram("catalogue", "compact", five, "--layer", ONE["layer"])
    assert (done.returncode, done.stderr) == (0, f"{five}: 5 parts are 1 now\n")
