"""`Tagger(engine="onnx")` and `--engine onnx`: the scores of torch, by graphs that are kept in the cache."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from _at_hand import needs_weights
from _networks import create
from _served import served
from _sounds import RATE, encoded, noise, real_sound, tone

import taggram
from taggram.errors import ConfigError, MissingExtraError
from taggram.models._onnx_inference import FOLDER, OnnxForm

TINY = {"n_tags": 2, "kernel": 3, "depth": 3, "n_samples": 2187}


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of one test's own, and where graphs are kept in it."""
    monkeypatch.setenv("TAGGRAM_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / FOLDER


def tiny():
    model = create("samplecnn", **TINY)
    model.tags = ("kick", "snare")
    return model


def graphs(cache):
    return sorted(cache.glob("*.onnx"))


def both(model, source, **settings):
    """The taggrams of a sound by both engines."""
    return [taggram.Tagger(model, engine=engine, device="cpu", **settings).tag(source) for engine in ("torch", "onnx")]


@pytest.mark.parametrize("hop_s", [None, 0.05])
def test_scores_are_those_of_torch(hop_s):
    wanted, got = both(tiny(), (real_sound(22_050, 40_000)[0], 22_050), hop_s=hop_s, batch_size=3, block_s=0.2)
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(got.times_s, wanted.times_s)


@pytest.mark.slow
@needs_weights("musicnn.mtt", "vgg.msd")
@pytest.mark.parametrize("name", ["musicnn.mtt", "vgg.msd"])
def test_scores_of_real_sound_are_those_of_torch(name, tmp_path):
    wanted, got = both(name, (real_sound(RATE, 20 * RATE)[0], RATE))
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)


@pytest.mark.slow
def test_layers_are_those_of_torch():
    sound = (noise(1.0, 22_050)[:, 0], 22_050)
    for layer in (None, "conv2"):
        wanted, got = (taggram.Tagger(tiny(), engine=engine).embed(sound, layer=layer) for engine in ("torch", "onnx"))
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_short_sound_is_repeated_as_with_torch():
    wanted, got = both(tiny(), (tone(0.05, 22_050), 22_050))
    assert got.padded
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)


def test_a_graph_is_exported_once(cache, caplog):
    sound = (tone(1.0, 22_050), 22_050)
    with caplog.at_level(logging.WARNING):
        taggram.Tagger(tiny(), engine="onnx").tag(sound)
        taggram.Tagger(tiny(), engine="onnx").tag(sound)
    assert caplog.messages == ["exporting scores of samplecnn for onnxruntime, once"]
    assert len(graphs(cache)) == 1


def test_threads_that_share_a_form_open_one_graph(monkeypatch):
    opened, both_there = [], threading.Barrier(2)

    def open_session(*wanted):
        opened.append(wanted)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_there.wait(1)  # in vain: the other may not come as far
        return types.SimpleNamespace(run=lambda patches: patches)

    monkeypatch.setattr("taggram.models._onnx_inference._open_session", open_session)
    form = OnnxForm(tiny())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: form.scores(torch.zeros(1, 2187), [0], 2187), range(2)))
    assert len(opened) == 1


@pytest.mark.slow
def test_service_has_its_graph_before_it_is_ready_and_gives_the_scores_of_torch(cache, tmp_path):
    path = tmp_path / "drums.safetensors"
    tiny().save(path)
    (tmp_path / "spool").mkdir()
    sound = encoded(tone(1.0, 22_050), 22_050)
    with served(tmp_path / "spool", "--model", str(path), "--engine", "onnx") as service:
        assert len(graphs(cache)) == 1
        scores = service.post("/v1/tag?over_time=true", sound).json()["scores"]
    np.testing.assert_allclose(scores, taggram.Tagger(str(path)).tag(sound).scores, atol=1e-4)


@pytest.mark.slow
def test_other_weights_or_another_task_have_another_graph(cache):
    sound = (tone(1.0, 22_050), 22_050)
    changed = tiny()
    changed.head.bias.data += 1
    one_of = tiny()
    one_of.task = "one"
    for model in (tiny(), changed, one_of):
        wanted, got = both(model, sound)
        np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
    assert len(graphs(cache)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\0" * 99])
def test_a_damaged_graph_is_made_anew(cache, damage):
    sound = (tone(1.0, 22_050), 22_050)
    whole = taggram.Tagger(tiny(), engine="onnx").tag(sound)
    (path,) = graphs(cache)
    path.write_bytes(damage(path.read_bytes()))
    again = taggram.Tagger(tiny(), engine="onnx").tag(sound)
    np.testing.assert_array_equal(again.scores, whole.scores)


@pytest.mark.slow
def test_a_network_of_ones_own_is_kept_nowhere(cache):
    model = tiny()
    model.name = None
    wanted, got = both(model, (tone(1.0, 22_050), 22_050))
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "tensorflow"}, r"engine is 'tensorflow'; wanted one of 'torch', 'onnx'"),
        ({"engine": "onnx", "device": "meta"}, r"there is no device 'meta'"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        taggram.Tagger(tiny(), **settings)


def test_a_missing_extra_is_told_before_any_sound(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taggram\[export\]'"):
        taggram.Tagger(tiny(), engine="onnx")


@pytest.mark.slow
def test_workers_tag_with_one_graph_and_the_command_gives_the_scores_of_torch(run_taggram, tmp_path):
    tiny().save(tmp_path / "drums.safetensors")
    for index in range(4):
        soundfile.write(tmp_path / f"{index}.wav", noise(1.0, seed=index), RATE)
    environment = {**os.environ, "TAGGRAM_HOME": str(tmp_path / "home")}
    scores = {}
    for engine in ("torch", "onnx"):
        done = run_taggram(
            *("tag", "--model", tmp_path / "drums.safetensors", "--engine", engine, "--format", "json", "--top", "2"),
            *("--workers", "2", tmp_path),
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        scores[engine] = [{tag["tag"]: tag["score"] for tag in line["tags"]} for line in lines]
    assert len(scores["onnx"]) == 4
    for got, wanted in zip(scores["onnx"], scores["torch"]):
        assert got == pytest.approx(wanted, abs=1e-4)
    assert len(graphs(tmp_path / "home" / FOLDER)) == 1
