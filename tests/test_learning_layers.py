"""Layers that learn quicker give torch's answers and gradients, and give way to torch elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from taggram.models import _learning_layers as layers_of
from taggram.models import create_model
from taggram.models._learning_layers import NeighboursMaxPool1d, TemporalConv2d

GRADIENT = 1e-4  # largest difference, as a share of the largest value


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """Note which of the quicker ways are gone."""
    gone: list[str] = []
    for way in (layers_of._TemporalConv, layers_of._NeighboursMax):

        def apply(*arguments: object, _way: type = way, _apply: Callable[..., Tensor] = way.apply) -> Tensor:
            gone.append(_way.__name__)
            return _apply(*arguments)

        monkeypatch.setattr(way, "apply", apply)
    return gone


def pool_and_its_gradient(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    pooled = pool.train()(x)
    weights = torch.arange(pooled.numel(), dtype=torch.float32).view_as(pooled)  # no two alike
    (gradient,) = torch.autograd.grad((weights * pooled).sum(), x)
    return pooled, gradient


@pytest.mark.parametrize(("n_frames", "size"), [(27, 3), (28, 3), (29, 3), (10, 2), (5, 5), (6, 5)])
def test_the_maximum_of_neighbours_is_torchs_bit_for_bit(n_frames, size):
    x = torch.randn(2, 3, n_frames)
    for got, wanted in zip(
        pool_and_its_gradient(NeighboursMaxPool1d(size), x), pool_and_its_gradient(nn.MaxPool1d(size), x), strict=True
    ):
        assert torch.equal(got, wanted)


def test_of_equal_neighbours_the_first_one_learns_as_with_torch():
    x = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 1.0, 3.0]).view(1, 1, 9)
    for got, wanted in zip(
        pool_and_its_gradient(NeighboursMaxPool1d(3), x), pool_and_its_gradient(nn.MaxPool1d(3), x), strict=True
    ):
        assert torch.equal(got, wanted)


def test_too_few_neighbours_are_refused_as_by_torch():
    with pytest.raises(RuntimeError, match="output size"):
        NeighboursMaxPool1d(3)(torch.randn(1, 1, 2, requires_grad=True))


@pytest.mark.parametrize("n_taps", [1, 4, 7])
def test_temporal_filters_and_their_gradients_are_torchs(n_taps):
    ours, plain = TemporalConv2d(5, n_taps), nn.Conv2d(1, 5, (n_taps, 1))
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, 1, 20, 6)
    weights = torch.randn(3, 5, 21 - n_taps, 6)
    found = []
    for conv in (ours, plain):
        given = x.clone().requires_grad_()
        out = conv(given)
        found.append((out, *torch.autograd.grad((weights * out).sum(), (given, conv.weight, conv.bias))))
    for got, wanted in zip(*found, strict=True):
        assert float((got - wanted).detach().abs().max()) <= GRADIENT * float(wanted.detach().abs().max())


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("musicnn", {}, (2, 1, 96, 187)),
        ("samplecnn", {"depth": 5, "n_samples": 729}, (3, 1, 729)),
        ("rese", {"n_blocks": 3, "n_samples": 243}, (3, 1, 243)),
        ("at_scale_waveform", {}, (2, 1, 19_680)),
    ],
)
def test_a_network_learns_what_it_learns_with_torchs_layers(name, options, shape, monkeypatch, counted):
    model = create_model(name, n_tags=3, **options).train()
    patches = torch.randn(shape)
    gradients = []
    for is_quick in (True, False):
        if not is_quick:
            assert counted
            monkeypatch.setattr(layers_of, "_is_worth_it", lambda *_: False)
        torch.manual_seed(1)  # of dropout
        model.zero_grad()
        model.forward_head(model.forward_features(patches)).square().sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    quick, plain = gradients
    assert float((quick - plain).norm() / plain.norm()) <= GRADIENT


def test_in_use_the_layers_are_torchs(counted):
    x = torch.randn(1, 1, 9, 2, requires_grad=True)
    TemporalConv2d(2, 3).eval()(x)
    NeighboursMaxPool1d(3).eval()(x[:, :, :, 0])
    assert not counted


def test_without_gradients_the_layers_are_torchs(counted):
    with torch.no_grad():
        TemporalConv2d(2, 3)(torch.randn(1, 1, 9, 2))
        NeighboursMaxPool1d(3)(torch.randn(1, 1, 9))
    assert not counted


def test_in_mixed_precision_the_layers_are_torchs(counted):
    with torch.autocast("cpu", torch.bfloat16):
        assert TemporalConv2d(2, 3)(torch.randn(1, 1, 9, 2)).dtype == torch.bfloat16
    assert not counted


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_compiled_the_layers_are_torchs():
    layer = nn.Sequential(TemporalConv2d(2, 3), nn.Flatten(2), NeighboursMaxPool1d(3))
    x = torch.randn(1, 1, 11, 2)
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(layer, backend=keep, fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    called = [getattr(node.target, "__name__", "") for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert called == ["conv2d", "max_pool1d"]


def test_frozen_filters_learn_nothing_and_pass_gradients_on():
    conv = TemporalConv2d(2, 3).requires_grad_(False)
    x = torch.randn(1, 1, 9, 2, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad.abs().sum() > 0
