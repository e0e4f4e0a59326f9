"""The module around a network in training: what validation holds in memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from taggram.learning.config import FitConfig
from taggram.learning.metrics import mean_over_tags, roc_auc
from taggram.learning.system import MOST_TAGS, TaggingSystem

N_CLIPS, N_BANDS = 6, 3


class Linear(nn.Module):
    """The least of a network that tells classes apart."""

    task = "one"

    def __init__(self, n_tags):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(N_BANDS, n_tags)

    def forward_features(self, patches):
        return patches.mean(dim=(1, 3))

    def forward_head(self, features):
        return self.head(features)

    def scores(self, logits):
        return logits.softmax(1)


def validated(monkeypatch, n_tags, **settings):
    """Validate a network on clips of one frame; give what was held of them, the figures, scores and labels."""
    told = []
    model = Linear(n_tags)
    system = TaggingSystem(model, FitConfig(**settings), lambda _: None, lambda: None, told.append).eval()
    monkeypatch.setattr(system, "log_dict", lambda *_, **__: None)
    sounds = torch.randn(N_CLIPS, 1, N_BANDS, generator=torch.Generator().manual_seed(1))  # features, a patch a clip
    labels = torch.eye(n_tags)[: N_CLIPS // 2].repeat(2, 1)
    with torch.no_grad():
        system.validation_step((sounds, labels, torch.ones(N_CLIPS, dtype=torch.int64)))
        held = list(system._clips)
        system.on_validation_epoch_end()
        scores = model.scores(model.head(sounds[:, 0]))
    return held, told[0], scores, labels


@pytest.mark.parametrize(
    ("n_tags", "settings"), [(MOST_TAGS, {}), (MOST_TAGS + 1, {"keep": "valid_auc"})], ids=["few tags", "asked for"]
)
def test_roc_auc_of_validation_is_given(monkeypatch, n_tags, settings):
    _, figures, scores, labels = validated(monkeypatch, n_tags, **settings)
    assert figures["valid_auc"] == pytest.approx(mean_over_tags(roc_auc(scores.numpy(), labels.numpy())))


def test_scores_of_thousands_of_classes_are_not_held_where_nothing_asks_for_their_roc_auc(monkeypatch):
    held, figures, scores, labels = validated(monkeypatch, MOST_TAGS + 1)
    assert math.isnan(figures["valid_auc"])
    assert sum(tensor.numel() for clip in held for tensor in clip) == N_CLIPS * (1 + 3)  # class, and three sums
    right = (scores.argmax(1) == labels.argmax(1)).float().mean()
    assert figures["valid_accuracy"] == pytest.approx(float(right))
    wanted = nn.functional.nll_loss(scores.log(), labels.argmax(1))
    assert figures["valid_loss"] == pytest.approx(float(wanted), rel=1e-5)
