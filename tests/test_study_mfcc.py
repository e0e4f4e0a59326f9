"""The statistics of MFCCs that studies hold their networks against."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taggram.models._mfcc_statistics import mfcc_statistics
from taggram.studies import _mfcc
from taggram.studies._mfcc import mfcc_features


class MadeSounds:
    """Three clips of noise, as a study gives them."""

    def __len__(self):
        return 3

    def whole(self, clip):
        return 0.1 * np.random.default_rng(clip).standard_normal(3000 + clip).astype(np.float32)

    def content(self):
        return "three"


def test_statistics_are_those_of_each_clip_and_are_kept(tmp_path, monkeypatch):
    sounds = MadeSounds()
    features = mfcc_features(sounds, tmp_path, {"task": "classes"})
    wanted = [mfcc_statistics(torch.from_numpy(sounds.whole(clip))[None])[0].numpy() for clip in range(3)]
    assert np.allclose(features, wanted, atol=1e-4)
    monkeypatch.setattr(_mfcc, "mfcc_statistics", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(mfcc_features(sounds, tmp_path), features)
