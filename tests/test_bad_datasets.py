"""Data sets with faults, through the real command: each is told in clear words, and what can be prepared is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from _sounds import encoded, noise, patched

from taggram.learning.prepared import PreparedData

CLIPS = ("0.wav", "1.wav", "2.wav", "3.wav", "4.wav")
ROWS = ("0.wav,train,a", "1.wav,train,b", "2.wav,valid,a", "3.wav,valid,b", "4.wav,test,a", "0.flac,test,b")
N_GOOD = 5  # of the rows: 0.flac is there only where a fault puts it
MILLION = 10**6
MOST_MILLION_MB = 400


@dataclass(frozen=True)
class Fault:
    """A data set that is not as it should be.

    Attributes:
        rows: of its list, beside those that are always there.
        told: what must be said, on either stream.
        files: its sound, beside the clips.
        options: of the command.
        n_rows: how many tracks are prepared nevertheless; 0 is none.
        left_out: name of the track that is listed as left out, and the reason.
        kept: rows that are always there and stay.
    """

    rows: tuple[str, ...] = ()
    told: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    n_rows: int = 0
    left_out: tuple[str, str] | None = None
    kept: Callable[[str], bool] = lambda row: not row.startswith("0.flac")


FLAC = encoded(noise(1.0, seed=9), kind="FLAC")
FAULTS = {
    "corrupt file": Fault(
        rows=("bad.flac,train,a",), files={"bad.flac": FLAC[:42] + bytes(len(FLAC))},
        told="bad.flac: ", n_rows=N_GOOD, left_out=("bad.flac", ""),
    ),
    "file damaged in its middle": Fault(
        rows=("bad.flac,train,a",), files={"bad.flac": patched(FLAC, len(FLAC) // 2, bytes(1000))},
        told="note: 1 tracks are unusual; the column notes says how", n_rows=N_GOOD + 1,
    ),
    "file that is no sound": Fault(
        rows=("page.mp3,train,a",), files={"page.mp3": b"<!DOCTYPE html><p>Not found"},
        told="page.mp3: no decoder knows what it is", n_rows=N_GOOD, left_out=("page.mp3", "no decoder knows"),
    ),
    "empty file": Fault(
        rows=("void.wav,train,a",), files={"void.wav": b""}, told="void.wav: the file is empty", n_rows=N_GOOD,
        left_out=("void.wav", "the file is empty"),
    ),
    "file without a sample": Fault(
        rows=("no.wav,train,a",), files={"no.wav": encoded(noise(0.0))}, told="no.wav: there are no samples in it",
        n_rows=N_GOOD, left_out=("no.wav", "there are no samples in it"),
    ),
    "missing file": Fault(
        rows=("gone.wav,train,a",), told="gone.wav: No such file or directory", n_rows=N_GOOD,
        left_out=("gone.wav", "No such file or directory"),
    ),
    "folder in place of a file": Fault(
        rows=("sub,train,a",), files={"sub/x": b""}, told="sub: it is a folder", n_rows=N_GOOD,
        left_out=("sub", "it is a folder"),
    ),
    "same sound twice": Fault(
        rows=("copy.wav,test,b",), files={"copy.wav": encoded(noise(0.5, seed=0))},
        told="1 sounds are there more than once, 1 of them in more than one part, such as 0.wav = copy.wav",
        n_rows=N_GOOD + 1,
    ),
    "same row twice": Fault(rows=("0.wav,test,b",), told="clips.csv, line 7: 0.wav is listed already in line 2"),
    "unknown tags": Fault(
        options=("tags=mtt50_musicnn",), told="none of its tags (a, b) is in the vocabulary mtt50_musicnn",
    ),
    "some unknown tags": Fault(
        rows=("0.flac,train,guitar|bagpipe",), files={"0.flac": FLAC}, options=("tags=mtt50_musicnn",),
        told="tags left out (not of mtt50_musicnn): a, b, bagpipe", n_rows=N_GOOD + 1,
    ),
    "unknown vocabulary": Fault(options=("tags=mtt50",), told="no vocabulary named 'mtt50'. Did you mean"),
    "tag with no positive": Fault(
        rows=("0.flac,train,a|c",), files={"0.flac": FLAC}, told="no clip of valid has c", n_rows=N_GOOD + 1,
    ),
    "tag that is lost with its file": Fault(
        rows=("gone.wav,train,a|c",), told="without what was left out, no clip of train has c", n_rows=N_GOOD,
        left_out=("gone.wav", "No such file"),
    ),
    "one-class split": Fault(told="every clip of test has a", n_rows=N_GOOD),
    "empty split": Fault(kept=lambda row: "train" in row, told="note: valid has no clip", n_rows=2),
    "no row at all": Fault(kept=lambda _: False, told="clips.csv: it lists no clips"),
    "unknown split": Fault(rows=("0.flac,dev,a",), told="line 7: the split is 'dev'; wanted train, valid"),
    "too few fields": Fault(rows=("0.flac,train",), told="line 7: it has 2 fields; the header has 3"),
    "path that leads out": Fault(rows=("../0.wav,train,a",), told="line 7: the path ../0.wav has '..' in it"),
    "nothing that can be read": Fault(
        rows=("gone.wav,train,a",), kept=lambda _: False,
        told="none of the 1 tracks could be prepared; gone.wav: No such file or directory",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(run_taggram, tmp_path_factory):
    """Prepare a data set with a fault, through the command."""

    def run(fault: Fault):
        root = tmp_path_factory.mktemp("root")
        for index, name in enumerate(CLIPS):
            (root / name).write_bytes(encoded(noise(0.5, seed=index)))
        for name, data in fault.files.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(data)
        rows = [*filter(fault.kept, ROWS), *fault.rows]
        (root / "clips.csv").write_text("\n".join(["path,split,tags", *rows, ""]))
        options = (f"min_count={0 if fault.options else 1}", *fault.options)
        done = run_taggram("data", "prepare", "csv", *options, "--root", root, "--out", root / "out", "--workers", "1")
        return done, root / "out"

    return run


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_told_and_the_rest_prepared(prepared, name):
    fault = FAULTS[name]
    done, out = prepared(fault)
    assert "Traceback" not in done.stderr
    assert fault.told in done.stderr
    if not fault.n_rows:
        assert done.returncode == (2 if "vocabulary named" in fault.told else 1)
        assert not list(out.glob("*.arrow"))
        return
    assert done.returncode == (1 if fault.left_out else 0)
    assert len(PreparedData(out)) == fault.n_rows
    listed = json.loads((out / "card.json").read_text())["left_out"]
    assert [one["track_id"] for one in listed] == ([fault.left_out[0]] if fault.left_out else [])
    if fault.left_out:
        assert fault.left_out[1] in listed[0]["reason"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"file,part,label\n0.wav,train,a\n", "its columns are file, part, label: there is no path and no "
                     "split and no tags. Wanted path, split, tags", id="wrong columns"),
        pytest.param("path,split,tags\n0.wav,train,caf\xe9\n".encode("latin-1"), "line 2: byte 16 (hexadecimal E9) is "
                     "not UTF-8; save the file as UTF-8", id="bad encoding"),
        pytest.param("path,split,tags\n0.wav,train,a\n".encode("utf-16"), "it is UTF-16; save it as", id="UTF-16"),
        pytest.param(b"", "it is empty", id="empty list"),
        pytest.param(b"PK\x03\x04" + bytes(range(256)), "is not UTF-8", id="table of another program"),
    ],
)  # fmt: skip
def test_list_that_cannot_be_read_is_told(run_taggram, tmp_path, data, told):
    (tmp_path / "clips.csv").write_bytes(data)
    done = run_taggram("data", "prepare", "csv", "--root", tmp_path, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_million_rows_are_opened_in_little_memory(tmp_path):
    with (tmp_path / "clips.csv").open("w") as file:
        file.write("path,split,tags,artist_id\n")
        file.writelines(f"{n // 1000}/{n}.wav,train,tag {n % 70}|rock,{n // 20}\n" for n in range(MILLION))
    code = (
        "import pathlib, sys; from taggram.datasets import open_dataset\n"
        "print(sum(1 for _ in open_dataset('csv', sys.argv[1]).tracks()))\n"
        "print(pathlib.Path('/proc/self/status').read_text())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) == MILLION
    assert int(re.search(r"VmHWM:\s*(\d+) kB", done.stdout)[1]) / 1000 < MOST_MILLION_MB
