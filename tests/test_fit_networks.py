"""Every network of the zoo is trained by the same `fit`: an epoch on a few short sounds, saved, and read again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taggram.learning.config import FitConfig
from taggram.learning.fit import fit
from taggram.models import NETWORKS, create_model

TAGS = ("one", "two", "three")
LARGE = {  # more than a few seconds
    "at_scale_spectrogram", "at_scale_waveform", "bag_network", "emarkou", "musicnn_big", "random_frame_level_many",
    "random_vgg", "rese", "vggish",
}  # fmt: skip


class FewSounds:
    """Noise of a patch each, as prepared data gives it."""

    def __init__(self, frontend, n_tracks=6):
        length = frontend.n_samples_for(frontend.n_frames)
        rng = np.random.default_rng(0)
        self.sample_rate, self.tags, self.task = frontend.sample_rate, TAGS, "several"
        self.card = {
            "name": "made", "split": "all", "split_sha256": "0", "tags": list(TAGS), "task": "several",
            "sample_rate": self.sample_rate,
        }  # fmt: skip
        self._sounds = (0.1 * rng.standard_normal((n_tracks, length))).astype(np.float32)
        self._labels = (rng.random((n_tracks, len(TAGS))) < 0.5).astype(np.float32)

    def index(self, part):
        return {"train": np.arange(4), "valid": np.arange(4, 6)}[part]

    def labels(self, rows):
        return self._labels[rows]

    def n_samples(self, row):
        return self._sounds.shape[1]

    def crop(self, row, start, n_samples):
        return self._sounds[row, start : start + n_samples]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in sorted(NETWORKS)]
)
def test_network_is_trained(name, tmp_path):
    torch.manual_seed(0)
    model = create_model(name, n_tags=len(TAGS), task="several")
    model.tags = TAGS
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    result = fit(model, FewSounds(model.frontend), tmp_path, FitConfig(batch_size=2, max_epochs=1), device="cpu")
    assert np.isfinite(result.history[0]["valid_loss"])
    assert any(not torch.equal(tensor, before[key]) for key, tensor in result.model.state_dict().items())
