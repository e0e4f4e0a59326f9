"""The networks give the outputs of the original's graph, for inputs made by formula."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from _at_hand import each_model, needs_weights
from _golden import GOLDEN, PATCHES, audio, patch_a, patch_b

import taggram


@cache
def model(name, **options):
    return taggram.create_model(name, **options)


def batch(*names):
    """(patches, 1, mels, frames), as the front-end gives it."""
    return torch.from_numpy(np.stack([PATCHES[name]() for name in names])).transpose(1, 2).unsqueeze(1)


def library_form(layer):
    """Join the patches of a layer along time, as the library does; its (frames, channels, 1) has a last axis more."""
    return layer.flatten(0, 1) if layer.ndim > 2 else layer


def test_patch_a_is_the_golden_one():
    assert patch_a().astype(np.float64).sum() == 35892.94047880545


def test_patch_b_is_the_golden_one():
    assert patch_b().astype(np.float64).sum() == pytest.approx(17567.009109131992, abs=1e-9)


@pytest.mark.parametrize("patch", PATCHES)
@each_model()
def test_probabilities_of_a_patch(name, patch):
    network = model(name)
    with torch.inference_mode():
        scores = network.scores(network.forward_head(network.forward_features(batch(patch))))
    wanted = GOLDEN["models"][name]["patch"][patch]["probabilities"]
    np.testing.assert_allclose(scores[0].numpy(), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("patch", PATCHES)
@each_model()
def test_first_logits_of_a_patch(name, patch):
    network = model(name)
    with torch.inference_mode():
        logits = network.forward_head(network.forward_features(batch(patch)))
    wanted = GOLDEN["models"][name]["patch"][patch]["logits_first_5"]
    np.testing.assert_allclose(logits[0, :5].numpy(), wanted, rtol=0, atol=2e-4)


FEATURES = [
    pytest.param(name, layer, marks=needs_weights(name))
    for name, golden in GOLDEN["models"].items()
    for layer in golden["patch"]["A"]["features"]
]


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize(("name", "layer"), FEATURES)
def test_features_of_a_patch(name, layer, patch):
    with torch.inference_mode():
        found = model(name).forward_layers(batch(patch))[layer][0].numpy()
    wanted = GOLDEN["models"][name]["patch"][patch]["features"][layer]
    assert found.size == np.prod(wanted["shape"])
    np.testing.assert_allclose(found.reshape(-1)[:8], wanted["first_8_in_C_order"], rtol=0, atol=1e-3)
    assert found.astype(np.float64).sum() == pytest.approx(wanted["sum"], abs=1e-5 * found.size)


@pytest.mark.parametrize("patch", PATCHES)
@needs_weights("vgg.msd")
def test_vgg_msd_with_the_pooling_of_its_training(patch):
    network = model("vgg.msd", pooling="trained")
    with torch.inference_mode():
        scores = network.scores(network.forward_head(network.forward_features(batch(patch))))
    wanted = GOLDEN["models"]["vgg.msd"]["trained_graph"][patch]
    np.testing.assert_allclose(scores[0].numpy(), wanted, rtol=0, atol=2e-5)


@each_model()
def test_taggram_of_a_clip_through_the_whole_path(name):
    tagger = taggram.Tagger(name, frontend={"float16": True})
    found = tagger.tag((audio(), 16_000))
    np.testing.assert_allclose(found.scores, GOLDEN["models"][name]["audio_taggram"], rtol=0, atol=1e-4)


@needs_weights("vgg.msd")
def test_taggram_of_a_clip_with_the_pooling_of_the_training():
    tagger = taggram.Tagger("vgg.msd", frontend={"float16": True}, options={"pooling": "trained"})
    wanted = GOLDEN["models"]["vgg.msd"]["trained_graph"]["audio_taggram"]
    np.testing.assert_allclose(tagger.tag((audio(), 16_000)).scores, wanted, rtol=0, atol=1e-4)


@each_model()
def test_a_batch_of_eight_equals_eight_batches_of_one(name):
    network = model(name)
    eight = batch(*"ABABABAB") * torch.linspace(0.3, 1.0, 8).reshape(8, 1, 1, 1)
    with torch.inference_mode():
        together = network.scores(network.forward_head(network.forward_features(eight)))
        apart = torch.cat([network.scores(network.forward_head(network.forward_features(one[None]))) for one in eight])
    # Sums of other shapes are added up in another order: a score is off by some units in the last place, on some CPUs.
    np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=0, atol=1e-5)


MUSICNN_SHAPES = {  # musicnn 0.1.0, extractor: shapes for P patches of T frames
    "timbral": (3 * 187, 408), "temporal": (3 * 187, 153), "cnn1": (3 * 187, 64), "cnn2": (3 * 187, 64),
    "cnn3": (3 * 187, 64), "mean_pool": (3, 753), "max_pool": (3, 753), "penultimate": (3, 200),
}  # fmt: skip
VGG_SHAPES = {
    "pool1": (3 * 92, 48, 128), "pool2": (3 * 46, 24, 128), "pool3": (3 * 23, 12, 128), "pool4": (3 * 11, 6, 128),
    "pool5": (3 * 2, 128), "penultimate": (3, 256),
}  # fmt: skip
SHAPES = [
    *(pytest.param("musicnn.mtt", *entry, marks=needs_weights("musicnn.mtt")) for entry in MUSICNN_SHAPES.items()),
    *(pytest.param("vgg.mtt", *entry, marks=needs_weights("vgg.mtt")) for entry in VGG_SHAPES.items()),
]


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(("name", "layer", "shape"), SHAPES)
def test_embedding_has_the_shape_of_the_librarys_feature(name, layer, shape, batch_size):
    three_patches = np.tile(audio(), 2)[: 16_000 * 10]
    assert taggram.Tagger(name, batch_size=batch_size).embed((three_patches, 16_000), layer=layer).shape == shape


@each_model("musicnn.mtt")
def test_second_patch_has_its_own_features(name):
    ramp = np.linspace(0, 1, 112_000, dtype=np.float32) * audio()
    features = taggram.Tagger(name).embed((ramp, 16_000), layer="penultimate")
    assert np.abs(features[0] - features[1]).max() > 0.1
