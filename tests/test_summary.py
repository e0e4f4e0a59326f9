"""Layers, cost and receptive field of a network, against what one works out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import taggram
from taggram.errors import ConfigError, UnknownNameError
from taggram.frontends import LogMelConfig, RawConfig
from taggram.models._contract import TaggingModel
from taggram.models._summary import count_flops, list_features, list_layers, summarise

MEL = LogMelConfig(sample_rate=1000, n_fft=40, hop_length=10, n_mels=4, n_frames=100)


class Stack(TaggingModel):
    """A stack of modules over time, and its mean."""

    def __init__(self, *modules, frontend=RawConfig(sample_rate=1000, n_samples=100), n_features=1):  # noqa: B008
        super().__init__(frontend=frontend, n_features=n_features, n_tags=2, layers=("map", "penultimate"))
        self.stack = nn.Sequential(*modules)

    def forward_layers(self, patches):
        out = self.stack(patches if patches.ndim == 3 else patches.squeeze(1))
        return {"map": out.transpose(1, 2), "penultimate": out.mean(2)}


def receptive_field_s(*modules, **settings):
    model = Stack(*modules, **settings)
    for parameter in model.parameters():
        nn.init.ones_(parameter)  # so that no ReLU is dead
    return list_features(model)[0].receptive_field_s


@pytest.mark.parametrize(
    ("modules", "n_samples"),
    [
        pytest.param([nn.Conv1d(1, 1, 5)], 5, id="one kernel"),
        pytest.param([nn.Conv1d(1, 1, 5), nn.Conv1d(1, 1, 3)], 7, id="two kernels"),
        pytest.param([nn.Conv1d(1, 1, 3, stride=3), nn.Conv1d(1, 1, 3)], 9, id="a stride"),
        pytest.param([nn.MaxPool1d(4), nn.Conv1d(1, 1, 3)], 12, id="a pool"),
        pytest.param([nn.Conv1d(1, 1, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(1, 1, 3)], 8, id="kernels and a pool"),
    ],
)
def test_receptive_field_on_the_waveform(modules, n_samples):
    assert receptive_field_s(*modules) == pytest.approx(n_samples / 1000)


def test_receptive_field_on_a_spectrogram_has_the_window_in_it():
    assert receptive_field_s(nn.Conv1d(4, 1, 3), frontend=MEL) == pytest.approx((2 * 10 + 40) / 1000)


def test_layer_without_time_depends_on_the_whole_patch():
    assert list_features(Stack(nn.Conv1d(1, 1, 5)))[1].receptive_field_s == pytest.approx(0.1)


def test_flops_are_two_a_multiplication():
    model = Stack(nn.Conv1d(1, 8, 5), n_features=8)
    assert count_flops(model) == 2 * (96 * 8 * 5) + 2 * (8 * 2)


def test_flops_grow_with_the_patch():
    model = taggram.create_model("musicnn", n_tags=50)
    assert count_flops(model, 374) > 1.9 * count_flops(model, 187)


def test_layers_have_shapes_and_parameters():
    layers = list_layers(Stack(nn.Conv1d(1, 8, 5, stride=2), nn.ReLU(), nn.Dropout(), nn.MaxPool1d(4), n_features=8))
    assert [(layer.name, layer.kind, layer.shape, layer.n_parameters) for layer in layers] == [
        ("stack.0", "Conv1d 5, 8, stride 2", (8, 48), 48),
        ("stack.3", "MaxPool1d 4", (8, 12), 0),
        ("head", "Linear 2", (2,), 18),
    ]


def test_summary_leaves_the_network_as_it_was():
    model = taggram.create_model("vgg", n_tags=50)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    list_layers(model), list_features(model), count_flops(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_summary_takes_options_and_a_length():
    summary = summarise("o_p_net", {"o": 1, "p": 0}, n_tags=13, length_s=8.0)
    assert (summary.n_parameters, summary.n_outputs, summary.patch_s) == (6193, 13, 344 * 1024 / 44_100)


def test_length_that_the_network_does_not_take_is_refused():
    with pytest.raises(ConfigError, match="needs exactly 187"):
        summarise("vgg", length_s=8.0)


def test_unknown_network_is_offered_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*vgg"):
        summarise("vg")
