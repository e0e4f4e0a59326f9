"""Every published network and variant, as listed in networks.csv, keeps the promises of the contract.

The list has a row a variant: its options, outputs and exact number of parameters as published, or as counted from the
published layers; 0 outputs means no head. All rows are counted; those that are "large" (5 million parameters, or
20 GFLOP a patch, and more) do the rest in the slow run.
"""

from __future__ import annotations

import ast
import copy
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _sounds import real_sound
from torch import nn

import taggram
from taggram.errors import AudioError
from taggram.models import NETWORKS
from taggram.models._saved import describe
from taggram.models._summary import count_flops

LARGE_PARAMETERS = 5_000_000
LARGE_FLOPS = 20e9


@dataclass(frozen=True)
class Row:
    """A row of networks.csv."""

    name: str
    options: dict[str, Any]
    n_outputs: int
    n_parameters: int
    counted: str
    task: str
    is_large: bool

    @classmethod
    def of(cls, cells):
        options = dict(option.split("=") for option in cells["options"].split())
        return cls(
            name=cells["name"],
            options={name: value_of(text) for name, text in options.items()},
            n_outputs=int(cells["n_outputs"]),
            n_parameters=int(cells["n_parameters"]),
            counted=cells["counted"],
            task=cells["task"],
            is_large=cells["size"] == "large",
        )

    def __str__(self):
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.name}{options} {self.n_outputs}"

    @property
    def n_tags(self):
        return self.n_outputs if self.task in ("several", "one") else None

    def build(self, device="cpu"):
        torch.manual_seed(0)
        task = None if self.n_tags is None else self.task
        with torch.device(device):
            return taggram.create_model(self.name, n_tags=self.n_tags, task=task, **self.options)


def value_of(text):
    """An option as the builder takes it."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


with Path(__file__).with_name("networks.csv").open(encoding="utf-8", newline="") as stream:
    ROWS = [Row.of(cells) for cells in csv.DictReader(stream)]

every_row = pytest.mark.parametrize("row", ROWS, ids=str)


@pytest.fixture(
    scope="module",
    params=[pytest.param(row, marks=pytest.mark.slow if row.is_large else []) for row in ROWS],
    ids=str,
)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def model(variant):
    return variant.build().eval()


@pytest.fixture(scope="module")
def clips(model):
    """(2, samples): the patch that the network was made for, of two recordings."""
    return sound_for(model, model.frontend.n_samples_for(model.frontend.n_frames))


@pytest.fixture(scope="module")
def layers(model, clips):
    with torch.inference_mode():
        return model.features(clips, model.layers())


@pytest.fixture(scope="module")
def logits(model, layers):
    with torch.inference_mode():
        return model.forward_head(layers[model.layers()[-1]])


def sound_for(model, n_samples):
    return torch.from_numpy(real_sound(model.frontend.sample_rate, n_samples))


def n_counted(model, counted):
    """Number of parameters in the way the source counts."""
    modules = [
        module
        for module in model.modules()
        if (counted != "without batch norm" or not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d))
        and (counted != "convolutions only" or isinstance(module, nn.Conv1d | nn.Conv2d))
    ]
    return sum(p.numel() for module in modules for p in module.parameters(recurse=False) if p.requires_grad)


def test_every_network_is_in_the_list():
    assert {row.name for row in ROWS} == set(NETWORKS)


@every_row
def test_number_of_parameters(row):
    assert n_counted(row.build("meta"), row.counted) == row.n_parameters


@every_row
def test_size_decides_which_run(row):
    model = row.build("meta")
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert row.is_large == (n_parameters >= LARGE_PARAMETERS or count_flops(model) >= LARGE_FLOPS)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_default_task_is_one_of_the_list(name):
    row = next(row for row in ROWS if row.name == name)
    with torch.device("meta"):
        model = taggram.create_model(name, n_tags=row.n_tags, **row.options)
    assert model.task in {row.task for row in ROWS if row.name == name}


def test_every_layer_has_its_name(model, layers):
    assert tuple(layers) == model.layers()


def test_every_layer_has_a_row_a_clip(layers):
    assert [len(layer) for layer in layers.values()] == [2] * len(layers)


def test_last_layer_is_what_the_head_sees(model, layers):
    assert layers[model.layers()[-1]].shape == (2, model.n_features)


def test_sound_in_logits_out(variant, model, logits):
    assert logits.shape == (2, variant.n_outputs or model.n_features)
    assert logits.isfinite().all()


@torch.inference_mode()
def test_clip_alone_equals_the_clip_in_a_batch(model, clips, logits):
    atol = 1e-5 * max(1.0, float(logits.abs().max()))
    torch.testing.assert_close(model(clips[1:]), logits[1:], rtol=1e-5, atol=atol)


def test_every_parameter_that_should_learn_does(model, clips):
    model = copy.deepcopy(model).train()
    out = model(clips)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.inference_mode()
def test_silence_gives_finite_logits(model, clips):
    assert model(torch.zeros_like(clips[:1])).isfinite().all()


@torch.inference_mode()
def test_loaded_again_it_gives_the_same_bits(model, clips, tmp_path):
    model.save(tmp_path / "model.safetensors")
    loaded = taggram.load_model(tmp_path / "model.safetensors")
    assert describe(loaded) == describe(model)
    assert torch.equal(loaded(clips), model(clips))


def test_new_head_gives_as_many_logits(model, layers):
    model = copy.deepcopy(model)
    model.reset_head(7)
    assert model.forward_head(layers[model.layers()[-1]].clone()).shape == (2, 7)
    assert (model.n_tags, model.task in ("several", "one")) == (7, True)


def test_sound_too_short_is_told_the_samples_needed(model):
    n_frames = model.frontend.n_frames if model.fixed_length else model.least_frames
    least = model.frontend.n_samples_for(n_frames)
    with pytest.raises(AudioError, match=f"a waveform of {least - 1} samples; .* at least {least} "):
        model(torch.zeros(1, least - 1))


@torch.inference_mode()
def test_shortest_sound_gives_logits(model, logits):
    n_samples = model.frontend.n_samples_for(model.least_frames)
    assert model(sound_for(model, n_samples)).shape == logits.shape


@torch.inference_mode()
def test_longer_sound_gives_logits_or_is_told_the_samples_taken(model, clips, logits):
    longer = sound_for(model, model.frontend.n_samples_for(model.frontend.n_frames * 5 // 4 + 1))
    if model.fixed_length:
        with pytest.raises(AudioError, match=f"this network takes {clips.shape[1]} to "):
            model(longer)
    else:
        assert model(longer).shape == logits.shape


def test_it_tags_a_longer_sound_patch_by_patch(model):
    model = copy.deepcopy(model)
    if model.n_tags is None:
        model.reset_head(3)
    sound = sound_for(model, model.frontend.n_samples_for(2 * model.frontend.n_frames))[0].numpy()
    result = taggram.Tagger(model, device="cpu").tag((sound, model.frontend.sample_rate))
    assert result.scores.shape == (2, model.n_tags)
    assert np.isfinite(result.scores).all()
