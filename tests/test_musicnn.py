"""The networks of the musicnn library: what is particular to them."""

from __future__ import annotations

from functools import partial

import _networks
import pytest
import torch
from _networks import create_empty, n_parameters, n_stored

from taggram.errors import ConfigError
from taggram.models._blocks import he_truncated_normal_
from taggram.models.musicnn import library_hop_frames, library_patch_frames

create = partial(_networks.create, n_tags=50)
each_network = pytest.mark.parametrize("network", ["musicnn", "musicnn_big", "vgg"])


@pytest.mark.parametrize(("network", "wanted"), [("musicnn", 4_920), ("musicnn_big", 13_584), ("vgg", 1_282)])
def test_number_of_statistics(network, wanted):
    model = create_empty(network)
    assert n_stored(model) - n_parameters(model) == wanted


@each_network
def test_kernels_start_with_the_spread_of_the_checkpoints(network):
    model = create(network)
    kernel = max((m.weight for m in model.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Conv2d)), key=len)
    fan_in = kernel[0].numel()
    assert kernel.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_truncated_normal_is_cut_at_two_sigma():
    layer = torch.nn.Linear(100, 1000)
    he_truncated_normal_(layer)
    assert layer.weight.abs().max() <= 2 * (2.6 / 100) ** 0.5


def test_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match="pooling is 'mean'; wanted one of 'library', 'trained'"):
        create("vgg", pooling="mean")


@pytest.mark.parametrize(("length_s", "n_frames"), [(3, 187), (3.1, 193), (1, 62), (2, 125)])
def test_patch_of_the_library(length_s, n_frames):
    assert library_patch_frames(length_s) == n_frames


@pytest.mark.parametrize(("hop_s", "n_frames"), [(1.0, 61), (1.5, 92), (2.0, 124), (3.0, 186)])
def test_hop_of_the_library(hop_s, n_frames):
    assert library_hop_frames(hop_s) == n_frames


def test_hop_of_the_library_below_a_frame_is_refused():
    with pytest.raises(ConfigError, match=r"0\.032 s is the least"):
        library_hop_frames(0.031)
