"""The command `bench`: what it prints, how its rounds and its clock count, and how it tells of what is missing."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from types import SimpleNamespace

import pytest
import soundfile
from _at_hand import needs_weights
from _sounds import RATE, noise

from taggram.apps import _bench_steps, bench
from taggram.apps._bench_steps import ALONE, LIMIT, PEAK, STEPS, WHOLE, StepClock, StepTagger, alone, measure_steps
from taggram.apps._peer import CPU, PEER_KEPT, Peer, original_program
from taggram.apps.bench import Spread, print_bench, ratios, run_rounds, shares
from taggram.errors import AudioError, ConfigError, TaggramError
from taggram.models._summary import count_flops

MODEL = "musicnn.mtt"
STANDS_FOR_PEER = f"""#!{sys.executable}
import json, sys
print(json.dumps({{"ready": True}}), flush=True)
for line in sys.stdin:
    path = json.loads(line)
    user, kept = {{"s": 2.0, "cpu_s": 3.0, "scores": None}}, {{"s": 0.5, "cpu_s": 0.75, "scores": [[0.25, 0.5]]}}
    answer = {{"error": "EOFError"}} if "bad" in path else {{"user": user, "kept": kept}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def sound(tmp_path):
    """A short file."""
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise(4.0, n_channels=2), RATE)
    return str(path)


@pytest.fixture
def peer(tmp_path):
    """A program that answers as the original musicnn does, with made-up times."""
    if sys.platform == "win32":
        pytest.skip("a script cannot stand in for a program here")
    path = tmp_path / "python"
    path.write_text(STANDS_FOR_PEER)
    path.chmod(0o755)
    return path


# -- rounds and clock ----------------------------------------------------------------------------------------------


def test_sources_take_turns_and_the_first_round_is_not_counted():
    count = itertools.count()
    rounds = run_rounds([lambda: {"a": next(count)}, lambda: {"b": next(count), "c": next(count)}], 2)
    assert rounds == {"a": [3, 6], "b": [4, 7], "c": [5, 8]}


def test_ratios_are_taken_within_a_round():
    assert ratios({"peer": [10, 80, 30], "ours": [1, 4, 2]}, "peer", "ours") == Spread(15, 10, 20)


def test_spread_is_written_as_median_least_and_most():
    assert f"{Spread.of([3.0, 1.04, 2.0, 9.96]):.1f}" == "2.5 (1.0 .. 10.0)"


def test_a_step_is_counted_without_the_steps_within_it(monkeypatch):
    seconds = iter([0, 1, 3, 7, 10, 15])
    made = SimpleNamespace(perf_counter=lambda: next(seconds), thread_time=time.thread_time)
    monkeypatch.setattr(_bench_steps, "time", made)
    clock = StepClock()
    with clock.step("outer"):
        assert list(clock.each("inner", iter("x"))) == ["x"]
    assert clock.seconds == {"outer": (1 - 0) + (7 - 3) + (15 - 10), "inner": (3 - 1) + (10 - 7)}


# -- the path ------------------------------------------------------------------------------------------------------


@needs_weights(MODEL)
def test_measuring_the_steps_tags_as_always(sound):
    with StepTagger(MODEL) as tagger:
        assert set(tagger.steps(sound).seconds) == set(STEPS)
        assert set(tagger.steps_alone(sound).seconds) == set(ALONE)
        assert (tagger.tag(sound).scores == bench.Tagger(MODEL, device="cpu").tag(sound).scores).all()


@pytest.mark.slow
@needs_weights(MODEL)
def test_work_of_the_network_grows_with_the_patches(sound, tmp_path):
    longer = tmp_path / "longer.wav"
    soundfile.write(longer, noise(10.0), RATE)
    with StepTagger(MODEL) as tagger:
        one_patch = tagger.network_gflop(sound)
        assert one_patch > 0.1
        assert tagger.network_gflop(str(longer)) == pytest.approx(3 * one_patch)


@pytest.mark.slow
@needs_weights(MODEL)
def test_bench_prints_every_step_and_the_peer(sound, peer, capsys):
    print_bench([sound], model=MODEL, n_rounds=1, peer=peer)
    out, err = capsys.readouterr()
    for step in (*STEPS, bench.WHOLE, "whole path, .* workers", bench.PEER_USER, bench.PEER_KEPT):
        assert re.search(rf"^{step} +\d+\.\d +\(\d", out, re.MULTILINE), step
    for line in (r"1 files, 4\.0 s of sound, 1 rounds", r"\d+ cores of .*torch", r"GFLOP/s", r"% of that"):
        assert re.search(line, out), line
    for name in (bench.PEER_USER, bench.PEER_KEPT):
        assert re.search(rf"ours to {name}: \d+\.\d .* times as fast", out)
    assert err == ""


@pytest.mark.slow
@needs_weights(MODEL)
def test_bench_is_a_command(run_taggram, sound):
    done = run_taggram("bench", sound, "--rounds", "1", "--model", MODEL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole path, one thread" in done.stdout


def test_made_up_clips_are_mp3_of_30_s_and_differ(tmp_path):
    first, second = bench.write_clips(bench.made_up_song(), tmp_path, 2)
    assert soundfile.info(first).format == "MP3"
    assert bench.length_s(first) == pytest.approx(30.0, abs=0.1)
    assert (soundfile.read(first, 44_100)[0] != soundfile.read(second, 44_100)[0]).any()


@needs_weights(MODEL)
def test_the_limit_is_the_steps_alone_and_the_arithmetic_at_the_peak(sound):
    with StepTagger(MODEL) as tagger:
        figures = measure_steps(tagger, [sound], network_gflop=3.0)
    for kind in ("", CPU):
        of_steps = sum(figures[alone(step) + kind] for step in ALONE)
        assert figures[LIMIT + kind] == pytest.approx(of_steps + 3.0 / figures[PEAK + kind])
        assert figures[WHOLE + kind] == pytest.approx(sum(figures[step + kind] for step in STEPS))


def test_a_path_in_which_nothing_is_lost_is_at_its_limit():
    assert shares({LIMIT: [2.0, 3.0], WHOLE: [2.0, 4.0]}, "") == [1.0, 0.75]


@needs_weights(MODEL)
def test_what_pruning_leaves_out_is_no_work():
    with StepTagger(MODEL) as tagger:
        left = tagger._form.shares()
        assert count_flops(tagger.model, shares=left) < 0.5 * count_flops(tagger.model)
        assert count_flops(tagger.model, shares=dict.fromkeys(left, 1.0)) == count_flops(tagger.model)


@needs_weights(MODEL)
def test_bench_gives_json(sound, capsys):
    print_bench([sound], model=MODEL, n_rounds=1, peer=None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["n_files"]) == (MODEL, 1)
    assert {WHOLE, WHOLE + CPU, LIMIT, LIMIT + CPU} <= told["rounds"].keys()


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_bad_file_is_told_at_once(tmp_path):
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"no sound at all" * 100)
    with pytest.raises(AudioError, match=r"bad\.mp3: "):
        print_bench([str(bad)], model=MODEL, n_rounds=1, peer=None)


def test_a_peer_that_is_not_there_gives_the_recipe_and_exit_code_1(run_taggram, sound, tmp_path):
    done = run_taggram("bench", sound, "--peer", tmp_path / "nowhere", "--rounds", "1")
    assert done.returncode == 1
    assert "nowhere: No such file" in done.stderr
    assert "pip install --no-deps musicnn==0.1.0" in done.stderr
    assert done.stdout == ""


def test_a_python_without_musicnn_gives_the_recipe():
    with pytest.raises(TaggramError, match=r"(?s)No module named 'musicnn'.*pip install --no-deps musicnn"):
        Peer(sys.executable, original_program(MODEL))


def test_a_file_that_the_peer_cannot_tag_is_told(peer):
    with (
        Peer(peer, original_program(MODEL)) as original,
        pytest.raises(TaggramError, match=r"bad\.mp3: .*cannot tag it: EOFError"),
    ):
        original.measure(["good.mp3", "bad.mp3"])


def test_seconds_and_scores_of_a_peer_are_kept(peer):
    with Peer(peer, original_program(MODEL)) as original:
        assert original.measure(["a.mp3", "b.mp3"])[PEER_KEPT + CPU] == 0.75
        assert original.scores.keys() == {PEER_KEPT}
        assert original.scores[PEER_KEPT]["b.mp3"].tolist() == [[0.25, 0.5]]


def test_a_model_that_the_peer_has_not_is_told(peer):
    with pytest.raises(ConfigError, match="no weights for musicnn_big"):
        Peer(peer, original_program("musicnn_big.msd"))
