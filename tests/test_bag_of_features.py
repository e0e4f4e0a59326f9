"""The bag-of-features network: patches, whitening, RBM, pooling and the dense layers on the bag."""

from __future__ import annotations

from functools import partial

import _networks
import pytest
import torch
from _networks import layer_shapes, n_parameters, noise

from taggram.errors import ConfigError
from taggram.models.bag_of_features import AGC_MEL, LocalFeatures

SMALL = {"n_units": 6, "n_components": 5, "n_hidden": 4}
N_VALUES = 1024  # of a patch: 8 frames of 128 bands

create = partial(_networks.create, "bag_network", **SMALL)


def spectrogram(n_frames=40, n_clips=2, n_mels=128):
    return torch.rand(n_clips, 1, n_mels, n_frames, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def published():
    return _networks.create("bag_network", n_tags=160)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("rbm", (32, 1024)),
        ("bag", (1024,)),
        ("hidden1", (512,)),
        ("hidden2", (512,)),
        ("penultimate", (512,)),
    ],
)
def test_shape_of_a_layer(published, layer, shape):
    assert layer_shapes(published, 40)[layer] == shape


@pytest.mark.parametrize(("number", "wanted"), [(0, 524_800), (1, 262_656), (2, 262_656)])
def test_parameters_of_a_hidden_layer(published, number, wanted):
    assert n_parameters(published.hidden[number]) == wanted


def test_patch_is_flattened_frame_by_frame():
    patches = LocalFeatures(3, 2, 6, 1).cut_patches(torch.arange(12.0).view(1, 1, 3, 4))
    assert torch.equal(patches, torch.tensor([[[0.0, 4, 8, 1, 5, 9], [1, 5, 9, 2, 6, 10]]]))


@pytest.mark.parametrize(("n_frames", "n_patches"), [(9, 1), (10, 2), (100, 92)])
def test_last_patch_is_dropped(n_frames, n_patches):
    assert create().forward_layers(spectrogram(n_frames))["rbm"].shape[1] == n_patches


def test_features_are_those_of_the_whitened_patch():
    local = create().local
    mean, matrix, weight, bias = noise(N_VALUES), noise(5, N_VALUES, seed=1), noise(6, 5, seed=2), noise(6, seed=3)
    local.set_whitening(mean, matrix)
    local.set_rbm(weight, bias)
    patch = spectrogram()[1, 0, :, 3:11].T.flatten()
    wanted = torch.sigmoid(weight @ (matrix @ (patch - mean)) + bias)
    torch.testing.assert_close(local(spectrogram())[1, 3], wanted, rtol=1e-4, atol=1e-5)


def test_features_lie_between_0_and_1(published):
    features = published.local(spectrogram())
    assert 0 < features.min() < features.max() < 1


def test_rbm_starts_as_its_training_does(published):
    assert published.local.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not published.local.bias.any()


def test_projection_keeps_the_scale_at_first(published):
    projected = noise(100, N_VALUES, seed=1) @ published.local.whitening.T
    assert projected.std().item() == pytest.approx(1.0, rel=0.02)


def test_whitening_and_rbm_do_not_learn(published):
    assert not list(published.local.parameters())


def test_whitening_and_rbm_are_saved():
    model = create()
    model.local.set_whitening(noise(N_VALUES), noise(5, N_VALUES))
    model.local.set_rbm(noise(6, 5), noise(6))
    other = create()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.local(spectrogram()), model.local(spectrogram()))


def test_given_rbm_is_cut_off_from_its_gradient():
    model = create()
    model.local.set_rbm(noise(6, 5).requires_grad_(), noise(6))
    assert not model.local.weight.requires_grad


def test_windows_of_one_frame_give_the_plain_mean():
    local = torch.rand(2, 50, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(create(pool_frames=1).pool_bags(local), local.mean(1))


@pytest.mark.parametrize("pool_frames", [50, 51, 1000])
def test_window_of_all_frames_gives_the_plain_maximum(pool_frames):
    local = torch.rand(2, 50, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(create(pool_frames=pool_frames).pool_bags(local), local.amax(1))


def test_last_window_may_be_shorter():
    local = torch.rand(2, 50, 6, generator=torch.Generator().manual_seed(0))
    maxima = [window.amax(1) for window in local.split(20, 1)]
    torch.testing.assert_close(create(pool_frames=20).pool_bags(local), torch.stack(maxima).mean(0))


def test_windows_are_2_s_by_default(published):
    frontend = published.frontend
    seconds = published.pool.kernel_size * frontend.hop_length / frontend.sample_rate
    assert seconds == pytest.approx(2, abs=0.01)


def test_ready_bags_give_the_logits_of_the_clips(published):
    layers = published.forward_layers(spectrogram())
    torch.testing.assert_close(
        published.forward_bags(layers["bag"]), published.forward_head(layers["penultimate"]), rtol=0, atol=0
    )


def test_dense_layers_start_within_the_limit_of_glorot(published):
    weight, limit = published.hidden[0][0].weight, (6 / (1024 + 512)) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit


@pytest.mark.parametrize("place", ["hidden", "head"])
def test_dropout_of_the_source(published, place):
    assert {"hidden": published.dropout, "head": published.head_dropout}[place].p == 0.5


def test_bag_itself_is_not_dropped():
    model = create(n_units=1000).train()
    seen = []
    model.hidden[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.forward_bags(torch.ones(1, 1000))
    assert seen[0].all()


def test_hidden_layers_follow_each_other(published):
    bags = torch.rand(2, 1024, generator=torch.Generator().manual_seed(0))
    first, second, third = (dense[0] for dense in published.hidden)
    wanted = third(second(first(bags).relu()).relu()).relu()
    torch.testing.assert_close(published.forward_bags(bags), published.head(wanted))


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_activation_of_the_hidden_layers(activation):
    model = create(activation=activation, n_layers=1)
    bags = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.forward_bags(bags), getattr(torch, activation)(model.hidden[0][0](bags)))


@pytest.mark.parametrize(
    ("n_layers", "names"),
    [(1, ("penultimate",)), (2, ("hidden1", "penultimate")), (3, ("hidden1", "hidden2", "penultimate"))],
)
def test_number_of_hidden_layers(n_layers, names):
    assert create(n_layers=n_layers).layers() == ("rbm", "bag", *names)


def test_bags_can_be_divided_by_their_maximum():
    model = create(divide_by_max=True)
    bags = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.forward_bags(bags), create().forward_bags(bags / bags.amax(1, keepdim=True)))


def test_empty_bag_divided_by_its_maximum_is_finite():
    assert create(divide_by_max=True).forward_bags(torch.zeros(1, 6)).isfinite().all()


def test_length_of_a_patch_can_be_chosen():
    model = create(patch_frames=6, n_components=None)
    assert (model.local.whitening.shape, model.least_frames) == ((768, 768), 7)


def test_components_can_be_chosen():
    assert create(n_components=80).local.whitening.shape == (80, N_VALUES)


def test_silent_clip_is_finite(published):
    assert published(torch.zeros(1, 22_050)).isfinite().all()


@pytest.mark.parametrize(
    ("mean", "matrix"), [((1023,), (5, 1024)), ((1024,), (6, 1024)), ((1024,), (1024, 5))], ids=str
)
def test_whitening_of_another_shape_is_refused(mean, matrix):
    with pytest.raises(ConfigError, match=r"the shape of \w+ is \(.*\); wanted \(.*1024.*\), by n_components"):
        create().local.set_whitening(torch.zeros(mean), torch.zeros(matrix))


def test_rbm_of_another_shape_is_refused_as_a_whole():
    local = create().local
    before = local.weight.clone()
    with pytest.raises(ConfigError, match=r"the shape of bias is \(7,\); wanted \(6,\)"):
        local.set_rbm(torch.ones(6, 5), torch.ones(7))
    assert torch.equal(local.weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_frames": 0}, "patch_frames is 0; wanted a whole number from 1 on"),
        ({"n_components": 1025}, "n_components is 1025; wanted a whole number from 1 to 1024"),
        ({"n_units": 1.5}, "n_units is 1.5"),
        ({"pool_frames": True}, "pool_frames is True"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"n_hidden": "512"}, "n_hidden is '512'"),
        ({"activation": "elu"}, "activation is 'elu'; wanted one of 'relu', 'sigmoid', 'tanh'"),
        ({"dropout": 1}, "dropout is 1; wanted a number from 0 to below 1"),
        ({"divide_by_max": "yes"}, "divide_by_max is 'yes'; wanted True or False"),
        ({"frontend": AGC_MEL.mel}, "frontend is LogMelConfig.*; wanted an AGCMelConfig"),
    ],
    ids=str,
)
def test_wrong_value_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        create(**options)
