"""Patches that are run some at a time give what they give in one batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taggram.models import _lots as lots_of
from taggram.models import create_model
from taggram.models._inference import PlainForm
from taggram.models._lots import Lots

N_PATCHES = 5


class Counting:
    """A network of one layer that widens its patches twelvefold, and notes the batches that come."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, patches: Tensor) -> list[Tensor]:
        self.batches.append(len(patches))
        wide = patches.repeat(1, 12)
        return [wide.sum(1), wide[:, :3]]


@pytest.fixture
def network() -> Counting:
    return Counting()


@pytest.fixture
def patches() -> Tensor:
    return torch.arange(N_PATCHES * 10.0).view(N_PATCHES, 10)


def test_the_largest_layer_of_a_lot_keeps_below_the_limit(network, patches, monkeypatch):
    monkeypatch.setattr(lots_of, "LOT_VALUES", 250)  # two patches of 120 values
    Lots().run(network, patches)
    assert network.batches == [1, 2, 2, 1]  # the first one is only looked at


def test_a_patch_beyond_the_limit_is_run_alone(network, patches, monkeypatch):
    monkeypatch.setattr(lots_of, "LOT_VALUES", 50)
    Lots().run(network, patches)
    assert network.batches == [1] * (1 + N_PATCHES)


def test_a_batch_is_divided_alike_whatever_came_before(network, patches, monkeypatch):
    monkeypatch.setattr(lots_of, "LOT_VALUES", 700)
    lots = Lots()
    lots.run(network, patches)
    lots.run(network, patches)
    assert network.batches == [1, 5, 5]


def test_all_layers_come_whole_and_in_order(network, patches, monkeypatch):
    monkeypatch.setattr(lots_of, "LOT_VALUES", 250)
    sums, firsts = Lots().run(network, patches)
    assert torch.equal(sums, 12 * patches.sum(1))
    assert torch.equal(firsts, patches[:, :3])


@torch.inference_mode()
def test_a_network_on_samples_gives_in_lots_what_it_gives_in_one_batch(monkeypatch):
    monkeypatch.setattr(lots_of, "LOT_VALUES", 1)
    torch.manual_seed(0)
    model = create_model("samplecnn", depth=5, n_samples=729, n_tags=3)
    sound = torch.randn(1, 4 * 729)
    starts = [0, 500, 729, 3 * 729]
    form = PlainForm(model)
    patches = form.cut_patches(sound, starts, 729)
    check_close(form.features(sound, starts, 729), model.forward_features(patches))
    check_close(form.layer("pool3", sound, starts, 729), model.forward_layers(patches)["pool3"])


def check_close(found: Tensor, wanted: Tensor) -> None:
    """Compare by the largest value: sums of terms of its size round by so much, however near 0 they come out."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
