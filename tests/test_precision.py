"""`precision="bfloat16"` and "int8": scores near those of float32, told in the result, refused where they cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from _at_hand import each_model
from _networks import create, noise, unsettled
from _served import served
from _sounds import RATE, encoded, real_sound, tone

import taggram
from taggram.catalogue._worker import DESCRIBE, make_cataloguing
from taggram.errors import ConfigError
from taggram.models import _precision
from taggram.models._convolution import KINDS, Int8Convolution
from taggram.models._precision import check_precision

TINY = {"n_tags": 2, "kernel": 3, "depth": 3, "n_samples": 2187}
NETWORKS = {  # each with a form of its own, or none
    "musicnn": {"n_tags": 3},
    "vgg": {"n_tags": 3, "pooling": "library"},
    "samplecnn": TINY,
}
TOLERANCE = {"bfloat16": 0.03, "int8": 0.1}  # of a patch's score; docs/performance.md


def is_here(precision):
    try:
        check_precision(precision, "torch", torch.device("cpu"))
    except ConfigError:
        return False
    return True


def needs(precision):
    return pytest.mark.skipif(not is_here(precision), reason=f"this CPU has no instructions for {precision}")


each_precision = pytest.mark.parametrize("precision", [pytest.param(name, marks=needs(name)) for name in TOLERANCE])


def network(name):
    model = unsettled(create(name, **NETWORKS[name]))
    model.tags = model.tag_names()
    return model


def tiny():
    return network("samplecnn")


def tagged(model, precision, **settings):
    """The taggram of some music."""
    sound = real_sound(RATE, 12 * RATE)[0]
    return taggram.Tagger(model, device="cpu", precision=precision, **settings).tag((sound, RATE))


@each_precision
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_near_those_in_float32(name, precision):
    wanted, got = (tagged(network(name), numbers) for numbers in ("float32", precision))
    np.testing.assert_allclose(got.scores, wanted.scores, atol=TOLERANCE[precision])
    assert not np.array_equal(got.scores, wanted.scores)


@each_precision
@each_model()
def test_trained_taggers_keep_their_scores_and_their_best_tag(name, precision):
    wanted, got = (tagged(name, numbers) for numbers in ("float32", precision))
    np.testing.assert_allclose(got.scores, wanted.scores, atol=TOLERANCE[precision])
    assert got.top(1)[0][0] == wanted.top(1)[0][0]


@each_precision
@pytest.mark.parametrize("hop_s", [None, 1.0])
@pytest.mark.parametrize("name", ["musicnn", "vgg"])
def test_scores_do_not_hang_on_what_else_is_in_the_batch(name, hop_s, precision):
    alone, together = (tagged(network(name), precision, hop_s=hop_s, batch_size=size) for size in (1, 5))
    # Sums of another order round to another bfloat16 now and then.
    np.testing.assert_allclose(together.scores, alone.scores, atol=3e-3 if precision == "bfloat16" else 1e-5)


@each_precision
@pytest.mark.parametrize("name", ["musicnn", "vgg"])
def test_a_loud_patch_does_not_change_the_scores_of_others(name, precision):
    sound = real_sound(RATE, 12 * RATE)[0]
    louder = sound.copy()
    louder[-RATE:] *= 1000
    one = taggram.Tagger(network(name), device="cpu", precision=precision)
    wanted, got = (one.tag((samples, RATE)).scores for samples in (sound, louder))
    np.testing.assert_allclose(got[:-1], wanted[:-1], atol=3e-3 if precision == "bfloat16" else 1e-5)
    assert np.abs(got[-1] - wanted[-1]).max() > 1e-5


@each_precision
def test_results_say_in_which_numbers_they_were_computed(precision):
    assert tagged(tiny(), precision).notes[-1] == f"network in {precision}"
    assert not any("network in" in note for note in tagged(tiny(), "float32").notes)


@each_precision
@pytest.mark.parametrize(("name", "layer"), [("musicnn", "cnn1"), ("musicnn", "max_pool"), ("samplecnn", "conv2")])
def test_layers_are_computed_in_these_numbers_too(name, layer, precision):
    sound = (real_sound(RATE, 4 * RATE)[0], RATE)
    wanted, got = (
        taggram.Tagger(network(name), device="cpu", precision=numbers).embed(sound, layer=layer)
        for numbers in ("float32", precision)
    )
    assert got.dtype == np.float32
    assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


@needs("int8")
def test_sound_too_loud_for_one_scale_of_int8_is_not_cut_off():
    loud = (30 * tone(4.0), RATE)
    wanted, got = (
        taggram.Tagger(network("musicnn"), device="cpu", precision=numbers).tag(loud) for numbers in ("float32", "int8")
    )
    np.testing.assert_allclose(got.scores, wanted.scores, atol=TOLERANCE["int8"])


@each_precision
@pytest.mark.parametrize(
    "shape",
    [
        {"padding": (1, 1)},
        {"stride": (2, 1), "padding": (0, 1)},
        {"dilation": (1, 2)},
        {"groups": 2},
    ],
    ids=str,
)
def test_a_convolution_is_near_that_in_float32(shape, precision):
    x = noise(3, 8, 12, 14) * torch.linspace(0.01, 10, 8)[:, None, None]
    weight, bias = noise(6, 8 // shape.get("groups", 1), 3, 3, seed=1), noise(6, seed=2)
    wanted, got = F.conv2d(x, weight, bias, **shape), KINDS[precision](weight, bias, **shape)(x)
    assert got.dtype == torch.float32
    assert float((got - wanted).abs().max()) < 0.03 * float(wanted.abs().max())


@needs("int8")
def test_a_patch_of_int8_has_a_scale_of_its_own():
    convolve = Int8Convolution(noise(6, 8, 3, 3))
    soft = noise(1, 8, 12, 14, seed=1)
    together = convolve(torch.cat([1000 * soft, soft]))
    torch.testing.assert_close(together[1:], convolve(soft))


@needs("int8")
def test_int8_gives_silence_for_silence_and_nan_for_nan():
    convolve = Int8Convolution(noise(6, 8, 3, 3), torch.arange(6.0))
    x = torch.zeros(2, 8, 5, 5)
    x[1, 0, 0, 0] = torch.nan
    silent, broken = convolve(x)
    assert torch.equal(silent, torch.arange(6.0)[:, None, None].expand(6, 3, 3))
    assert broken.isnan().all()


@needs("int8")
def test_int8_within_a_reach_cuts_off_what_lies_outside():
    convolve = Int8Convolution(torch.eye(4)[:, :, None, None], reach=(-1.0, 3.0))
    x = torch.tensor([-5.0, -1.0, 0.0, 3.0]).view(1, 4, 1, 1)
    torch.testing.assert_close(convolve(x).flatten(), torch.tensor([-1.0, -1.0, 0.0, 3.0]), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "float16"}, "precision is 'float16'; wanted one of 'float32', 'bfloat16', 'int8'"),
        ({"precision": "int8", "engine": "onnx"}, "precision 'int8' is of engine 'torch'; engine 'onnx' computes in"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        taggram.Tagger(tiny(), **settings)


@pytest.mark.parametrize(("precision", "missing"), [("bfloat16", "avx512_bf16"), ("int8", "avx512_vnni")])
def test_a_cpu_without_the_instructions_is_told_and_not_waited_for(precision, missing, monkeypatch):
    monkeypatch.setattr(_precision, "cpu_capabilities", lambda: {"avx2": True, missing: False})
    with pytest.raises(ConfigError, match=f"would be slower than float32 here: this CPU has none .*{missing}"):
        taggram.Tagger(tiny(), device="cpu", precision=precision)


@needs("int8")
def test_a_network_without_a_layer_for_int8_is_refused():
    with pytest.raises(ConfigError, match="ballroom_time has no layer that could compute in int8"):
        taggram.Tagger(create("ballroom_time", n_tags=2), device="cpu", precision="int8")


@needs("int8")
def test_a_network_that_computes_some_filters_at_a_time_is_refused():
    model = create("random_sample_level", n_tags=2, width=65, n_samples=2187)
    with pytest.raises(ConfigError, match="some filters at a time, which int8 cannot"):
        taggram.Tagger(model, device="cpu", precision="int8")


@each_precision
def test_a_network_whose_scores_would_be_far_off_is_refused(precision, monkeypatch):
    monkeypatch.setitem(_precision.FARTHEST, precision, 0.0)
    with pytest.raises(ConfigError, match=f"in {precision}, results of samplecnn are off by .* say precision float32"):
        taggram.Tagger(tiny(), device="cpu", precision=precision)


@each_precision
def test_the_network_that_was_given_stays_in_float32(precision):
    model = tiny()
    patches = noise(2, 1, 2187)
    with torch.inference_mode():
        before = model.forward_features(patches)
        taggram.Tagger(model, device="cpu", precision=precision)
        assert torch.equal(model.forward_features(patches), before)


@each_precision
def test_a_catalogue_in_other_numbers_has_another_fingerprint(precision, tmp_path):
    tiny().save(tmp_path / "drums.safetensors")

    def fingerprint(**settings):
        settings = {"model": str(tmp_path / "drums.safetensors"), "engine": "torch", "device": "cpu", **settings}
        return make_cataloguing(settings)({"path": DESCRIBE}, lambda _: None)["fingerprint"]

    assert fingerprint(precision="float32") == fingerprint() != fingerprint(precision=precision)


@pytest.mark.slow
@needs("int8")
def test_commands_take_it(run_taggram, tmp_path):
    tiny().save(tmp_path / "drums.safetensors")
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    model = ("--model", tmp_path / "drums.safetensors", "--device", "cpu", "--precision")
    done = run_taggram("tag", *model, "int8", "--format", "json", tmp_path / "a.wav")
    assert done.returncode == 0, done.stderr
    assert "network in int8" in json.loads(done.stdout)["notes"]
    done = run_taggram("embed", *model, "int8", "--out", tmp_path / "a.npz", tmp_path / "a.wav")
    assert done.returncode == 0, done.stderr
    done = run_taggram("catalogue", *model, "int8", tmp_path / "a.wav", "--out", tmp_path / "catalogue")
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "catalogue" / "catalogue.json").read_text(encoding="utf-8"))
    assert card["settings"]["precision"] == "int8"


def test_a_precision_that_is_none_is_wrong_usage(run_taggram, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    done = run_taggram("tag", "--precision", "int4", tmp_path / "a.wav")
    assert done.returncode == 2
    assert "--precision is 'int4'; wanted one of 'float32', 'bfloat16', 'int8'" in done.stderr


@pytest.mark.slow
@needs("bfloat16")
def test_the_service_computes_in_it(tmp_path):
    tiny().save(tmp_path / "drums.safetensors")
    (tmp_path / "spool").mkdir()
    with served(
        tmp_path / "spool", "--model", str(tmp_path / "drums.safetensors"), "--precision", "bfloat16"
    ) as service:
        assert "network in bfloat16" in service.post("/v1/tag", encoded(tone(1.0), RATE)).json()["notes"]
