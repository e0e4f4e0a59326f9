"""The whole path gives the original library's scores on recordings, within the bounds stated beside them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from _at_hand import SHARED, each_model, needs_shared, needs_weights

import taggram
from taggram.models.musicnn import library_hop_frames

CLIPS = ("fishin_30s", "vibeace_30s", "speech_198-209-0000")
ORIGINAL = {"musicnn.mtt": "MTT_musicnn", "musicnn.msd": "MSD_musicnn", "vgg.mtt": "MTT_vgg", "vgg.msd": "MSD_vgg"}
AS_MEASURED = {"padding": "zeros", "float16": True}  # how the stored outputs were made

pytestmark = needs_shared


@cache
def stored(clip):
    with np.load(SHARED / "reference" / "musicnn" / f"{clip}.npz") as arrays:
        return dict(arrays)


@cache
def tagger(name, exact, **settings):
    return taggram.Tagger(name, frontend=AS_MEASURED if exact else None, **settings)


def recording(clip):
    return SHARED / "reference" / "audio" / f"{clip}.ogg"


@pytest.mark.parametrize("clip", CLIPS)
@each_model()
def test_scores_of_a_recording(name, clip):
    found = tagger(name, exact=True).tag(recording(clip))
    np.testing.assert_allclose(found.scores, stored(clip)[f"{ORIGINAL[name]}__taggram"], rtol=0, atol=5e-5)


@pytest.mark.parametrize("clip", CLIPS)
@each_model()
def test_best_three_tags_of_a_recording(name, clip):
    found = tagger(name, exact=False).tag(recording(clip))
    order = np.argsort(-stored(clip)[f"{ORIGINAL[name]}__taggram"].mean(axis=0))
    assert [tag for tag, _ in found.top(3)] == [found.tags[index] for index in order[:3]]


@pytest.mark.parametrize("clip", CLIPS)
@each_model()
def test_defaults_move_only_the_ends_of_a_recording(name, clip):
    found = tagger(name, exact=False).tag(recording(clip))
    off = np.abs(found.scores - stored(clip)[f"{ORIGINAL[name]}__taggram"]).max(axis=1)
    assert off[[0, -1]].max() < 5e-3
    assert off[1:-1].max() < 1.5e-3


@each_model()
def test_scores_of_overlapping_patches(name):
    found = tagger(name, exact=True, hop_frames=library_hop_frames(1.0)).tag(recording("vibeace_30s"))
    wanted = stored("vibeace_30s")[f"{ORIGINAL[name]}__taggram_overlap1"]
    np.testing.assert_allclose(found.scores, wanted, rtol=0, atol=5e-5)


@each_model()
def test_starts_of_overlapping_patches(name):
    found = tagger(name, exact=True, hop_frames=library_hop_frames(1.0)).tag(recording("vibeace_30s"))
    np.testing.assert_array_equal(found.times_s * 16_000 / 256, stored("vibeace_30s")["patch_start_frames_overlap1"])


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        pytest.param(name, layer, marks=needs_weights(name))
        for name, layers in {
            "musicnn.mtt": ("mean_pool", "max_pool", "penultimate"),
            "musicnn.msd": ("mean_pool", "max_pool", "penultimate"),
            "vgg.mtt": ("pool5",),
            "vgg.msd": ("pool5",),
        }.items()
        for layer in layers
    ],
)
def test_features_of_a_recording(name, layer, clip):
    found = tagger(name, exact=True).embed(recording(clip), layer=layer)
    wanted = stored(clip)[f"{ORIGINAL[name]}__{layer}"]
    n_rows = 4 if layer == "pool5" else 2  # two patches
    # The rounding to float16 is kept, but a mel value may fall to the other side of a step: hence not the 1e-4 of
    # features from the same spectrogram.
    np.testing.assert_allclose(found[:n_rows].reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-3)


@each_model()
def test_scores_of_a_stored_spectrogram(name):
    model = taggram.create_model(name)
    patches = torch.from_numpy(stored("vibeace_30s")["logmel_batch"]).transpose(1, 2).unsqueeze(1)
    with torch.inference_mode():
        scores = model.scores(model.forward_head(model.forward_features(patches)))
    np.testing.assert_allclose(scores, stored("vibeace_30s")[f"{ORIGINAL[name]}__taggram"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", ["mean_pool", "penultimate"])
@each_model("musicnn.mtt", "musicnn.msd")
def test_features_of_a_stored_spectrogram(name, layer):
    patches = torch.from_numpy(stored("vibeace_30s")["logmel_batch"][:2]).transpose(1, 2).unsqueeze(1)
    with torch.inference_mode():
        found = taggram.create_model(name).forward_layers(patches)[layer].numpy()
    np.testing.assert_allclose(found, stored("vibeace_30s")[f"{ORIGINAL[name]}__{layer}"], rtol=0, atol=1e-4)
