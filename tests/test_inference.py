"""The forms that tag give what the plain modules give, and prune only what is proven constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from _at_hand import SHARED, each_model, needs_shared, needs_weights
from _golden import GOLDEN, PATCHES
from torch import Tensor, nn

from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.models._inference import InferenceForm, PlainForm
from taggram.models._pruning import LOG_MEL_LIMIT, NEGLIGIBLE

REFERENCE = SHARED / "reference" / "musicnn" / "vibeace_30s.npz"
NETWORKS = {
    "musicnn": ("musicnn", {}),
    "vgg, library": ("vgg", {"pooling": "library"}),
    "vgg, trained": ("vgg", {"pooling": "trained"}),
}
SOURCE_NAMES = {
    "musicnn.mtt": "MTT_musicnn",
    "musicnn.msd": "MSD_musicnn",
    "vgg.mtt": "MTT_vgg",
    "vgg.msd": "MSD_vgg",
}
LIVE = {  # channels that a coarser bound leaves alive, branch by branch or block by block
    "musicnn.mtt": (91, 70, 28, 24, 45),
    "musicnn.msd": (23, 14, 3, 7, 17),
    "vgg.mtt": (79, 83, 112, 114, 128),
    "vgg.msd": (49, 53, 88, 81, 127),
}
N_FRAMES = 187


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def random_model(name: str, *, dead: float = 0.0) -> TaggingModel:
    """Build a network with random weights and statistics, scales of both signs, and a share of filters that are 0."""
    network, options = NETWORKS[name]
    torch.manual_seed(1)
    model = create_model(network, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.uniform_(-1.2, 1.2)
            module.bias.normal_(std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            module.bias.normal_(std=0.3)
            module.weight[torch.rand(len(module.weight)) < dead] *= 1e-9
    return model


def log_mel(n_frames: int) -> Tensor:
    """Make (mels, frames) that fill the range of log-mels."""
    return LOG_MEL_LIMIT * torch.rand(n_frames, 96, generator=torch.Generator().manual_seed(2)).t() ** 2


def live_counts(form: Any) -> tuple[int, ...]:
    return tuple(int(bounds.is_live.sum()) for bounds in form.bounds)


def error(form: InferenceForm, frames: Tensor, starts: Sequence[int], n_frames: int = N_FRAMES) -> float:
    """Give the largest difference of the features x from the plain module's, as a share of 1 + |x|."""
    wanted = PlainForm(form.model).features(frames, starts, n_frames)
    got = form.features(frames, starts, n_frames)
    assert got.shape == wanted.shape
    return float(((got - wanted).abs() / (1 + wanted.abs())).max())


@pytest.mark.parametrize("dead", [0.0, 0.6, 1.1], ids=["nothing to prune", "some to prune", "all to prune"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_form_gives_the_features_of_the_plain_module(network, dead):
    assert error(random_model(network, dead=dead).inference(), log_mel(400), [0, 187]) < 1e-4


@pytest.mark.parametrize(
    "starts",
    [[0], [7], [0, 187], [3, 203], [0, 62, 124], [1, 62, 123, 184], [0, 1], [0, 4, 100, 102], [0, 93, 187]],
    ids=str,
)
@pytest.mark.parametrize("network", NETWORKS)
def test_patches_may_overlap_as_they_like(network, starts):
    assert error(random_model(network, dead=0.6).inference(), log_mel(400), starts) < 1e-4


@pytest.mark.parametrize("n_frames", [187, 188, 250, 333])
@pytest.mark.parametrize("starts", [[0], [0, 50, 100]], ids=str)
def test_patches_of_musicnn_may_be_longer(n_frames, starts):
    assert error(random_model("musicnn", dead=0.6).inference(), log_mel(450), starts, n_frames) < 1e-4


def test_a_wide_musicnn_has_a_form_too():
    model = create_model("musicnn_big").eval()
    assert error(model.inference(), log_mel(N_FRAMES), [0]) < 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_frames_in_rows_and_in_columns_give_the_same(network):
    form, frames = random_model(network, dead=0.6).inference(), log_mel(N_FRAMES)
    assert torch.equal(form.features(frames, [0], N_FRAMES), form.features(frames.contiguous(), [0], N_FRAMES))


@pytest.mark.parametrize("network", NETWORKS)
def test_silence_gives_the_features_of_the_plain_module(network):
    assert error(random_model(network, dead=0.6).inference(), torch.zeros(96, N_FRAMES), [0]) < 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_beyond_the_limit_the_plain_module_answers(network):
    form, frames = random_model(network, dead=0.6).inference(), log_mel(N_FRAMES)
    frames[40, 100] = LOG_MEL_LIMIT + 0.1
    wanted = PlainForm(form.model).features(frames, [0], N_FRAMES)
    assert torch.equal(form.features(frames, [0], N_FRAMES), wanted)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_random_network_keeps_nearly_all_its_channels(network):
    form = random_model(network).inference()
    assert sum(live_counts(form)) > 0.98 * sum(len(bounds.low) for bounds in form.bounds)


@pytest.mark.parametrize("network", NETWORKS)
def test_filters_of_nothing_are_pruned(network):
    assert not any(live_counts(random_model(network, dead=1.1).inference()))


@pytest.mark.parametrize("network", NETWORKS)
def test_no_pruned_channel_moves_further_than_promised(network):
    form = random_model(network, dead=0.6).inference()
    patches = LOG_MEL_LIMIT * torch.randint(0, 2, (4, 1, 96, N_FRAMES)).float()  # the ends, which move a channel most
    assert furthest_from_constant(form, patches) <= NEGLIGIBLE


def furthest_from_constant(form: Any, patches: Tensor) -> float:
    """Give how far pruned channels are from their constants, at most, in the plain module."""
    layers = form.model.forward_layers(patches)
    if "timbral" in layers:
        outputs = [*layers["timbral"].chunk(2, 2), *layers["temporal"].chunk(3, 2)]
    else:
        outputs = [layers[f"pool{number}"] for number in range(1, 6)]
    distances = [
        (output - bounds.constants)[..., ~bounds.is_live].abs().flatten()
        for output, bounds in zip(outputs, form.bounds)
    ]
    return float(torch.cat(distances).max())


@each_model()
def test_trained_networks_keep_no_more_channels_than_were_counted(name):
    counts = live_counts(create_model(name).inference())
    assert all(count <= counted for count, counted in zip(counts, LIVE[name], strict=True))


@each_model()
def test_no_pruned_channel_of_a_trained_network_moves(name):
    form = create_model(name).inference()
    patches = PlainForm(form.model).cut_patches(log_mel(600), [0, 187, 374], N_FRAMES)
    assert furthest_from_constant(form, patches) <= NEGLIGIBLE + 1e-6


@pytest.mark.parametrize("patch", PATCHES)
@each_model()
def test_the_original_gave_these_probabilities(name, patch):
    golden = GOLDEN["models"][name]["patch"][patch]["probabilities"]
    scores = create_model(name).inference().scores(torch.from_numpy(PATCHES[patch]()).t(), [0], N_FRAMES)[0]
    assert scores.numpy() == pytest.approx(np.array(golden), abs=2e-5)


@needs_weights("vgg.msd")
@pytest.mark.parametrize("patch", PATCHES)
def test_the_graph_of_the_training_gave_these_probabilities(patch):
    golden = GOLDEN["models"]["vgg.msd"]["trained_graph"][patch]
    scores = (
        create_model("vgg.msd", pooling="trained")
        .inference()
        .scores(torch.from_numpy(PATCHES[patch]()).t(), [0], N_FRAMES)[0]
    )
    assert scores.numpy() == pytest.approx(np.array(golden), abs=2e-5)


@needs_shared
@each_model()
def test_the_original_gave_this_taggram(name):
    frames, reference = read_reference()
    scores = create_model(name).inference().scores(frames, range(0, 1870, N_FRAMES), N_FRAMES)
    assert scores.numpy() == pytest.approx(reference[f"{SOURCE_NAMES[name]}__taggram"], abs=1e-5)


@pytest.mark.parametrize("starts", [range(0, 500, 62), range(0, 500, 61), range(1496, 1683, 187)], ids=str)
@needs_shared
@each_model()
def test_scores_of_real_music_are_those_of_the_plain_module(name, starts):
    frames, _ = read_reference()
    model = create_model(name)
    wanted = PlainForm(model).scores(frames, starts, N_FRAMES)
    assert model.inference().scores(frames, starts, N_FRAMES).numpy() == pytest.approx(wanted.numpy(), abs=1e-5)


def read_reference() -> tuple[Tensor, Any]:
    """Read the log-mel of a clip, (mels, 1870), and all else that is stored with it."""
    reference = np.load(REFERENCE)
    return torch.from_numpy(reference["logmel_batch"]).flatten(0, 1).t(), reference
