"""Every network as ONNX gives what torch gives, on real sound of three lengths where it takes several."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import test_models
import torch
from _networks import create, unsettled
from _sounds import real_sound

from taggram.models import NETWORKS
from taggram.models._onnx_check import TOLERANCE
from taggram.models._onnx_file import scores_of

SMALL = {  # of each family: one network that is quick to export, with options that make it smaller
    "artist": ("artist_basic", {"n_tags": 4}),
    "bag_of_features": ("bag_network", {"n_tags": 3, "n_components": 8, "n_units": 8, "n_hidden": 8}),
    "ballroom": ("ballroom_time", {"n_tags": 8}),
    "emarkou": ("emarkou", {"n_tags": 3, "features": "mfcc", "widths": "2,2,2", "n_dense": 8}),
    "few_data": ("sb_cnn", {"n_tags": 3}),
    "instrument": ("instrument_han", {"n_tags": 3}),
    "multilevel": ("local_mel", {"n_tags": 3}),
    "multiscale": ("multiscale", {"n_tags": 3, "scales": 1}),
    "musicnn": ("musicnn", {"n_tags": 3}),
    "o_p_net": ("o_p_net", {"n_tags": 3, "o": 1, "p": 0}),
    "phoneme": ("phoneme_mlp", {"n_tags": 3}),
    "random_cnn": ("random_frame_level_many", {"width": 2}),
    "rese": ("rese", {"n_tags": 3, "n_blocks": 3, "n_samples": 81, "block": "rese1", "se_ratio": 0.125}),
    "samplecnn": ("samplecnn", {"n_tags": 3, "kernel": 3, "depth": 3, "n_samples": 2187}),
    "syllable_onset": ("syllable_onset", {"n_tags": 2}),
    "timbre_mtt": ("dieleman", {"n_tags": 3}),
    "vgg": ("vgg", {"n_tags": 3}),
}


def lengths_for(model):
    """The lengths that a network is tried with: all there are up to three, and the least among them."""
    least, most = model.sample_limits()
    patch = model.frontend.n_samples_for(model.frontend.n_frames)
    return sorted({least, (least + most) // 2, most} if most is not None else {least, patch, 2 * patch + 13})


def assert_equal_to_torch(model, path):
    """The file gives what the network gives: one sound of the first length, two of the next, three of the last."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for n_sounds, n_samples in enumerate(lengths_for(model), start=1):
        sounds = np.resize(real_sound(model.frontend.sample_rate, n_samples), (n_sounds, n_samples))
        with torch.inference_mode():
            wanted = scores_of(model, model.forward_features(model.frontend(torch.from_numpy(sounds)))).numpy()
        (got,) = session.run(None, {"waveform": sounds})
        assert got.shape == wanted.shape
        largest = np.abs(wanted).max(axis=tuple(range(1, wanted.ndim)), keepdims=True)
        off = np.abs(got - wanted) / (1 if model.task in ("several", "one") else 1 + largest)
        assert off.max() <= TOLERANCE, (n_sounds, n_samples)


def test_there_is_a_small_network_of_each_family():
    assert {*SMALL, "at_scale", "vggish"} == set(NETWORKS.values())  # of these two all variants are large


@pytest.mark.parametrize("family", SMALL)
def test_a_network_of_each_family_is_equal_to_torch(family, tmp_path):
    name, options = SMALL[family]
    assert NETWORKS[name] == family
    model = unsettled(create(name, **options))
    model.export_onnx(tmp_path / "model.onnx")
    assert_equal_to_torch(model, tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("row", test_models.ROWS, ids=str)
def test_every_variant_is_equal_to_torch(row, tmp_path):
    model = unsettled(row.build().eval())
    model.export_onnx(tmp_path / "model.onnx")
    assert_equal_to_torch(model, tmp_path / "model.onnx")
