"""Frames here and scores there give what one pass gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _sounds import encoded, tone

from taggram import Tagger, create_model
from taggram._two_stages import make_frames, scores_and_features

SOUNDS = [encoded(tone(seconds, hz=100.0 * (n + 2))) for n, seconds in enumerate((1.0, 3.5, 8.0))]
PLENTY = 2**30


def tagger(network="vgg", **settings):
    torch.manual_seed(0)
    model = create_model(network, n_tags=3)
    model.tags = ("a", "b", "c")
    return Tagger(model, **settings)


@pytest.mark.parametrize("batch_size", [2, 256])
@pytest.mark.parametrize("hop_s", [None, 0.5, 4.0])
@pytest.mark.parametrize("network", ["vgg", "samplecnn"])
def test_two_stages_give_what_one_pass_gives(network, hop_s, batch_size):
    own = tagger(network, hop_s=hop_s)
    tracks = [make_frames(own, sound, most_bytes=PLENTY) for sound in SOUNDS]
    results = scores_and_features(own, [track.frames for track in tracks], batch_size=batch_size)
    for sound, track, (scores, features) in zip(SOUNDS, tracks, results, strict=True):
        taggram, embedding = own.tag_and_embed(sound)
        np.testing.assert_allclose(scores, taggram.scores, atol=1e-5)
        np.testing.assert_allclose(features, embedding.features, rtol=1e-4, atol=1e-4)
        assert (track.duration_s, track.notes) == (taggram.duration_s, taggram.notes)


def test_track_with_too_many_frames_is_left_to_one_pass():
    own = tagger()
    assert make_frames(own, SOUNDS[2], most_bytes=100_000) is None


def test_no_tracks_give_no_results():
    assert scores_and_features(tagger(), []) == []
