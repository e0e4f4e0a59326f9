"""A catalogue whose run is killed, or finds the disk full: the next run ends with the same catalogue."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from _sounds import encoded, tone
from _taught import write_network
from conftest import session_of, wait_until

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'taggram[catalogue]'")

from taggram.catalogue import build  # noqa: E402
from taggram.catalogue.journal import Journal  # noqa: E402

N_FILES = 12
EVERY_ROW = ("--part-s", "1e-9")  # a part


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    write_network(place / "net.safetensors")
    (place / "music").mkdir()
    for n in range(N_FILES):
        (place / "music" / f"{n}.wav").write_bytes(encoded(tone(3.5, hz=200.0 + 50 * n)))
    return place


def command(place, out, *options):
    return (
        "catalogue", str(place / "music"), "--out", str(place / out), "--model", str(place / "net.safetensors"),
        "--workers", "1", *options,
    )  # fmt: skip


def rows(folder):
    found = pq.read_table(folder / "parts").to_pylist()
    by_name = {Path(row["path"]).name: (row["sha256"], row["error"], row["scores"]) for row in found}
    assert len(by_name) == len(found), "a file has two rows"
    return by_name


def assert_alike(found, wanted):
    assert found.keys() == wanted.keys()
    for name, (sha256, error, scores) in wanted.items():
        assert found[name][:2] == (sha256, error)
        np.testing.assert_allclose(found[name][2], scores, atol=1e-5)


@pytest.fixture(scope="module")
def whole(place, run_taggram):
    """What a run that nobody disturbs gives."""
    done = run_taggram(*command(place, "whole"))
    assert done.returncode == 0, done.stderr
    return rows(place / "whole")


def n_lines(folder):
    journal = folder / "manifest.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


DISTURBED = """
import os, resource, signal, sys
from taggram import _processes
from taggram.apps import _cataloguing
from taggram.apps.cli import main

def behind(owner, name, nth, act):
    real, n_calls = getattr(owner, name), 0

    def called(self, *arguments):
        nonlocal n_calls
        result = real(self, *arguments)
        n_calls += 1
        if n_calls == nth:
            act(self)
        return result

    setattr(owner, name, called)

{}
sys.argv = ["taggram", *sys.argv[1:]]
main()
"""


def disturbed(what, *words):
    """A run that something happens to at a moment of its own, however fast it is: behind the nth call of a method."""
    return subprocess.run(
        [sys.executable, "-c", DISTURBED.format(what), *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_run_that_is_killed_goes_on_where_it_was(place, whole, run_taggram):
    killed = "behind(_cataloguing._OnScreen, 'done', 3, lambda _: os.kill(os.getpid(), signal.SIGKILL))"
    assert disturbed(killed, *command(place, "driver", *EVERY_ROW)).returncode == -signal.SIGKILL
    assert n_lines(place / "driver") == 3
    again = run_taggram(*command(place, "driver"))
    assert f"{N_FILES - 3} files to tag, 3 in the catalogue" in again.stderr
    assert rows(place / "driver") == whole


def test_worker_that_is_killed_costs_nothing(place, whole):
    # It is sent its settings, then a question about the network, then a file at a time.
    killed = "behind(_processes._Worker, '_send', 5, lambda worker: worker._process.kill())"
    done = disturbed(killed, *command(place, "worker", *EVERY_ROW))
    assert done.returncode == 0, done.stderr
    assert rows(place / "worker") == whole


def test_full_disk_ends_the_run_and_leaves_what_was_done(place, whole, run_taggram):
    full = "behind(_cataloguing._OnScreen, 'done', 4, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))"
    done = disturbed(full, *command(place, "full", *EVERY_ROW))
    assert done.returncode == 1
    assert "too large" in done.stderr  # what the system says of this limit
    kept = rows(place / "full")
    assert (len(kept), kept.items() <= whole.items()) == (4, True)
    again = run_taggram(*command(place, "full"))
    assert f"{N_FILES - 4} files to tag, 4 in the catalogue" in again.stderr
    assert rows(place / "full") == whole


def test_second_run_into_a_folder_is_refused(place, whole, run_taggram):
    shutil.copytree(place / "whole", place / "two")
    with Journal(place / "two"):
        second = run_taggram(*command(place, "two"))
    assert second.returncode == 1
    assert "being written by another process" in second.stderr
    assert rows(place / "two") == whole


def test_interrupt_keeps_what_was_done(place, whole, run_taggram):
    (place / "broken.wav").write_bytes(b"no sound")
    words = [*command(place, "interrupted")]
    words.insert(1, str(place / "broken.wav"))  # it comes first
    interrupted = "behind(_cataloguing._OnScreen, 'done', 1, lambda _: signal.raise_signal(signal.SIGINT))"
    done = disturbed(interrupted, *words)
    assert done.returncode == 130
    assert re.search(r"stopped; 1 files are in .*interrupted, and the same command goes on\n", done.stderr)
    assert list(rows(place / "interrupted")) == ["broken.wav"]
    run_taggram(*words)
    after = rows(place / "interrupted")
    del after["broken.wav"]
    assert after == whole


def test_rows_in_two_stages_are_those_of_one(place, whole, monkeypatch):
    monkeypatch.setattr(build, "goes_in_two", lambda settings, has_gpu: True)
    settings = {"model": str(place / "net.safetensors")}
    summary = build.build_catalogue(place / "music", place / "two-stages", settings=settings, n_workers=1)
    assert summary.n_done == N_FILES
    assert_alike(rows(place / "two-stages"), whole)


# -- Ray ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_by_ray_are_those_of_workers(place, whole, run_taggram):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggram[cluster]'")
    done = run_taggram(*command(place, "ray", "--runner", "ray"))
    assert (done.returncode, "by Ray" in done.stderr) == (0, True), done.stderr
    assert rows(place / "ray") == whole


@pytest.mark.slow
def test_ray_is_gone_with_the_run(place, whole, started):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggram[cluster]'")
    process = started(*command(place, "ray-killed", "--runner", "ray", *EVERY_ROW))
    assert wait_until(lambda: n_lines(place / "ray-killed") >= 1, within_s=120)
    process.kill()
    process.wait()
    assert wait_until(lambda: session_of(process.pid) == [], within_s=180)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "n_times"), [(signal.SIGTERM, 1), (signal.SIGINT, 3)], ids=["ended", "interrupted thrice"]
)
def test_run_on_ray_that_is_stopped_says_what_it_leaves(place, whole, started, number, n_times):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggram[cluster]'")
    process = started(*command(place, f"ray-{number.name}", "--runner", "ray", *EVERY_ROW))
    assert wait_until(lambda: n_lines(place / f"ray-{number.name}") >= 1, within_s=120)
    for _ in range(n_times):
        process.send_signal(number)
        time.sleep(0.3)
    told = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 128 + number, told
    assert re.search(r"starting Ray\nstopped; \d+ files are in .*, and the same command goes on\n$", told), told


GPU = """
import sys
from ray.cluster_utils import Cluster
from taggram.catalogue.build import build_catalogue

music, out, network = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
summary = build_catalogue(music, out, settings={"model": network}, address=cluster.address, n_workers=1, over_time=True)
print(summary.n_done, summary.n_failed)
cluster.shutdown()
"""


@pytest.mark.slow
def test_cluster_with_a_gpu_takes_two_stages(place, whole):
    """Ray is told of a GPU that is none, so its actors compute on the CPU."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggram[cluster]'")
    assert run_script(GPU, place, "gpu") == f"{N_FILES} 0"
    assert_alike(rows(place / "gpu"), whole)
    assert all(pq.read_table(place / "gpu" / "parts")["taggram"].to_pylist())


NODES = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from taggram.catalogue.build import Watcher, build_catalogue

music, out, network = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()

class Killer(Watcher):
    n_done = 0
    def done(self, path, error):
        Killer.n_done += 1
        if Killer.n_done == 3:
            cluster.remove_node(nodes[0], allow_graceful=False)

summary = build_catalogue(
    music, out, settings={"model": network}, address=cluster.address, n_workers=3, part_s=0.001, watcher=Killer()
)
print(summary.n_done, summary.n_failed)
cluster.shutdown()
"""


@pytest.mark.slow
def test_node_that_is_lost_loses_no_file_and_doubles_none(place, whole):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggram[cluster]'")
    assert run_script(NODES, place, "nodes") == f"{N_FILES} 0"
    assert rows(place / "nodes") == whole


def run_script(script, place, out):
    """The last line of what a script prints that makes a catalogue."""
    arguments = [str(place / name) for name in ("music", out, "net.safetensors")]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]
