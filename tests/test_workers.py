"""Worker processes: the same results as without them, in order, and a file that kills or stops one costs that file."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from _sounds import RATE, encoded, noise, pcm16, tone, wav
from conftest import MODEL, wait_until

import taggram
from taggram._processes import _Worker, receive, send
from taggram._workers import Task, Workers
from taggram.errors import UnknownNameError, WorkerError

N_GOOD = 6
SETTINGS = {
    "model": MODEL, "device": "cpu", "hop_s": None, "hop_frames": None, "patch_s": None, "patch_frames": None,
    "max_duration_s": 100_000.0, "batch_size": 16, "block_s": 4.0, "frontend": {}, "options": {},
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("weights")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Files that differ, in no order of length."""
    folder = tmp_path_factory.mktemp("good")
    paths = []
    for index in range(N_GOOD):
        paths.append(str(folder / f"{index}.wav"))
        Path(paths[-1]).write_bytes(encoded(noise(3 + 7 * index % 17, seed=index)))
    return paths


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Two files that take a worker some seconds, so that it can be met in the middle of them."""
    folder = tmp_path_factory.mktemp("long")
    paths = [str(folder / "killed.wav"), str(folder / "stopped.wav")]
    for path in paths:
        Path(path).write_bytes(wav(pcm16(noise(1200)[:, 0])))
    return paths


@pytest.fixture(scope="module")
def tagger():
    with taggram.Tagger(MODEL, device="cpu") as tagger:
        yield tagger


@pytest.fixture(scope="module")
def one_by_one(tagger, good):
    return [tagger.tag(path) for path in good]


def worker_pids():
    """Processes that this one started as workers."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = place.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            is_worker = b"taggram._workers" in place.joinpath("cmdline").read_bytes()
        except OSError:  # it ended just now
            continue
        if int(parent) == os.getpid() and is_worker:
            found.append(int(place.name))
    return found


# -- the same results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_give_the_scores_of_this_process(tagger, good, one_by_one, n_workers):
    results = list(tagger.tag_many(good, n_workers=n_workers))
    for result, wanted in zip(results, one_by_one, strict=True):
        np.testing.assert_allclose(result.scores, wanted.scores, rtol=0, atol=1e-5)


def test_results_come_in_order(tagger, good):
    wanted = [good[index] for index in (3, 0, 5, 0, 1, 4, 2, 2)]
    assert [result.path for result in tagger.tag_many(wanted, n_workers=2)] == wanted


def test_result_of_a_worker_is_whole(tagger, good, one_by_one):
    (result,) = tagger.tag_many(good[:1], n_workers=1)
    same = {name: getattr(result, name) for name in result.__dataclass_fields__ if name != "scores"}
    np.testing.assert_array_equal(same.pop("times_s"), one_by_one[0].times_s)
    assert same == {name: getattr(one_by_one[0], name) for name in same}


def test_embeddings_of_workers_are_those_of_this_process(tagger, good):
    results = list(tagger.embed_many(good[:2], n_workers=1))
    for result, path in zip(results, good, strict=False):
        np.testing.assert_allclose(result.features, tagger.embed(path), rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["bytes", "open file", "array"])
def test_ways_in_give_the_scores_of_workers(tagger, good, way):
    (wanted,) = tagger.tag_many(good[1:2], n_workers=1)
    data = Path(good[1]).read_bytes()
    source = {"bytes": data, "open file": io.BytesIO(data), "array": soundfile.read(good[1])}[way]
    np.testing.assert_allclose(tagger.tag(source).scores, wanted.scores, rtol=0, atol=1e-5)


def test_files_that_fail_are_failures_in_their_place(tagger, good, tmp_path):
    (tmp_path / "text.mp3").write_text("text")
    paths = [good[0], str(tmp_path / "text.mp3"), good[1], str(tmp_path / "missing.wav")]
    errors = [getattr(result, "error", None) for result in tagger.tag_many(paths, n_workers=1)]
    assert errors == [None, "AudioError", None, "AudioError"]


# -- runs that are left, mixed or ended --------------------------------------------------------------------------------


def test_run_that_was_left_gives_nothing_to_the_next(tagger, good):
    left = tagger.tag_many(good, n_workers=2)
    next(left)
    left.close()
    assert [result.path for result in tagger.tag_many(good[::-1], n_workers=2)] == good[::-1]


def test_two_runs_at_once_keep_their_results_apart(tagger, good):
    pairs = zip(tagger.tag_many(good, n_workers=2), tagger.tag_many(good[::-1], n_workers=2), strict=True)
    assert [(one.path, other.path) for one, other in pairs] == list(zip(good, good[::-1], strict=True))


def test_no_files_give_no_results(tagger):
    assert list(tagger.tag_many([])) == []


def test_no_process_is_left_after_the_end(good):
    others = set(worker_pids())
    with Workers(SETTINGS, 1) as workers:
        list(workers.run([Task(path) for path in good]))
        assert set(worker_pids()) - others
    assert set(worker_pids()) == others


needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


def ended_by(*signals):
    """Start a script with two workers, send it signals, and give those of its workers that are left after a while."""
    script = [sys.executable, "-c", "import _busy_worker; _busy_worker.wait_for_two()"]
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(script, env={**os.environ, "PYTHONPATH": here}, **options) as process:
        numbers = process.stdout.readline().split()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.05)
    assert len(numbers) == 2

    def left():
        states = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(numbers)], capture_output=True, text=True).stdout
        return [state for state in states.split() if not state.startswith("Z")]

    wait_until(lambda: not left())
    return left()


@needs_signals
def test_no_worker_is_left_after_a_second_interrupt():
    assert ended_by(signal.SIGINT, signal.SIGINT) == []


@needs_signals
def test_no_worker_is_left_when_the_process_that_started_it_is_killed():
    assert ended_by(signal.SIGKILL) == []


def test_ended_workers_say_so(good):
    workers = Workers(SETTINGS, 1)
    workers.close()
    with pytest.raises(WorkerError, match="were ended"):
        list(workers.run([Task(good[0])]))


# -- errors at the start -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong():
    with Workers(SETTINGS, 1) as workers:
        yield workers


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_wrong_layer_is_raised_here(wrong, good, attempt):
    with pytest.raises(UnknownNameError, match="Did you mean penultimate"):
        list(wrong.run([Task(path, embed=True, layer="penultimat") for path in good]))


def test_error_at_the_start_that_is_not_our_own_is_told(good):
    with (
        Workers({**SETTINGS, "no_such_setting": 1}, 1) as workers,
        pytest.raises(WorkerError, match=r"TypeError: .*no_such_setting"),
    ):
        list(workers.run([Task(good[0])]))


# -- files that kill or stop a worker ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lost(good, long):
    """Results of good files with two long ones between them; a worker is killed in one, and stopped in the other."""
    others = set(worker_pids())
    signals = {long[0]: signal.SIGKILL, long[1]: signal.SIGSTOP}

    def hit_worker(path, done_s):
        if path in signals:
            number = signals.pop(path)
            for pid in set(worker_pids()) - others:
                os.kill(pid, number)

    paths = [good[0], long[0], good[1], long[1], good[2]]
    with Workers(SETTINGS, 1, hang_s=8.0) as workers:
        results = list(workers.run([Task(path) for path in paths], hit_worker))
    assert not signals
    return results


@pytest.mark.parametrize(
    ("index", "reason"),
    [(1, "its decoder crashed (SIGKILL)"), (3, "its decoder made no progress for 8 s and was ended")],
    ids=["killed", "stopped"],
)
def test_worker_that_is_lost_costs_its_file(lost, index, reason):
    assert (lost[index].error, lost[index].message) == ("WorkerError", reason)


@pytest.mark.parametrize("index", [0, 2, 4])
def test_files_beside_a_lost_worker_are_done(lost, index):
    assert type(lost[index]).__name__ == "Taggram"


def test_worker_that_dies_while_it_starts_costs_no_file(good, monkeypatch):
    given, killed = _Worker._send, []

    def give(worker, message):
        if not killed:  # what comes first makes it ready, so it is not
            killed.append(worker._process.pid)
            os.kill(killed[0], signal.SIGKILL)
        given(worker, message)

    monkeypatch.setattr(_Worker, "_send", give)
    with Workers(SETTINGS, 1) as workers:
        answer = list(workers.run([Task(good[0])]))
    assert ([type(result).__name__ for result in answer], len(killed)) == (["Taggram"], 1)


def test_progress_that_fails_ends_the_run_and_hangs_nothing(good, long):
    def fail(path, done_s):
        raise RuntimeError("no more")

    with Workers(SETTINGS, 1) as workers, pytest.raises(WorkerError, match="no more"):
        list(workers.run([Task(long[0])], fail))


# -- around them -------------------------------------------------------------------------------------------------------


def test_plain_script_needs_no_guard(tmp_path, good):
    script = tmp_path / "script.py"
    script.write_text(
        f"import taggram\nfor result in taggram.Tagger({MODEL!r}).tag_many({good[:2]!r}, n_workers=1):\n"
        "    print(result.path)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, good[:2], "")


def test_modules_in_the_working_folder_are_not_run(tmp_path, good):
    for name in ("numpy", "soundfile", "torch", "json", "queue"):
        (tmp_path / f"{name}.py").write_text("open('was_run', 'w')\nraise SystemExit(5)\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "taggram", "tag", good[0]],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, (tmp_path / "was_run").exists()) == (0, False)


@pytest.mark.parametrize(
    "message",
    [
        {"done_s": 1.5},
        {"error": "AudioError", "message": "déjà vu \udcff"},
        {"result": {"name": "x", "scores": np.arange(6, dtype=np.float32).reshape(2, 3)}},
        {"result": {"empty": np.zeros((0, 3)), "turned": np.arange(6.0).reshape(2, 3).T}},
    ],
    ids=["progress", "error", "arrays", "odd arrays"],
)
def test_messages_arrive_as_they_were_sent(message):
    pipe = io.BytesIO()
    send(pipe, message)
    pipe.seek(0)
    np.testing.assert_equal(receive(pipe), {"result": {}, **message})


@pytest.mark.parametrize("n_bytes", [0, 5, 20])
def test_message_that_is_cut_is_the_end(n_bytes):
    pipe = io.BytesIO()
    send(pipe, {"done_s": 1.5})
    with pytest.raises(EOFError):
        receive(io.BytesIO(pipe.getvalue()[:n_bytes]))


def test_sound_in_memory_needs_no_worker(tagger):
    before = set(worker_pids())
    tagger.tag((tone(), RATE))
    assert set(worker_pids()) == before
