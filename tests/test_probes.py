"""Classifiers on frozen features: what they learn, what a clip is taken for, and where features come from."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from _networks import create

from taggram.errors import AudioError, ConfigError, TrainingError, UnknownNameError
from taggram.learning import probes
from taggram.learning.probes import HEAD_FIT, PatchProbe, ProbeKind, fit_head, patch_features

each_kind = pytest.mark.parametrize("kind", get_args(ProbeKind))


def clouds(n=20, seed=0, spread=0.5, n_values=6):
    """Points around three places, and the number of the place of each."""
    labels = np.arange(n) % 3
    points = 4 * np.eye(n_values)[labels] + spread * np.random.default_rng(seed).standard_normal((n, n_values))
    return points.astype(np.float32), labels


@each_kind
def test_probe_learns(kind):
    probe = PatchProbe(kind).fit(*clouds(60))
    points, labels = clouds(30, seed=1)
    assert (probe.predict(points) == labels).mean() > 0.9


@each_kind
def test_probe_gives_the_same_twice(kind):
    points, _ = clouds(30, seed=1, spread=4.0)
    first, second = (PatchProbe(kind).fit(*clouds(40, spread=2.0)).predict(points) for _ in range(2))
    assert np.array_equal(first, second)


@each_kind
def test_clip_is_what_most_of_its_patches_are(kind):
    probe = PatchProbe(kind).fit(*clouds(60))
    points, labels = clouds(9, seed=1, spread=0.1)
    clips = [points[labels == 1], np.concatenate([points[labels == 2], points[labels == 0][:1]])]
    assert probe.predict_clips(clips).tolist() == [1, 2]


def test_svm_is_that_of_its_formula():
    points, labels = clouds(30, spread=1.5)
    probe = PatchProbe("svm").fit(points, labels)
    machine = probe._pipeline
    assert (machine.C, machine.kernel) == (1.0, "rbf")
    assert machine._gamma == pytest.approx(1 / (points.shape[1] * points.var()))


def test_pca_whitens():
    points, labels = clouds(40)
    whitened = PatchProbe("svm", n_components=3).fit(points, labels)._pipeline[0].transform(points)
    assert whitened.shape == (40, 3)
    np.testing.assert_allclose(whitened.std(0, ddof=1), 1.0, rtol=1e-4)


def test_pca_of_few_patches_keeps_one_component_less():
    points, labels = clouds(4)
    probe = PatchProbe("svm", n_components=128).fit(points, labels)
    assert probe._pipeline[0].n_components_ == 3
    assert np.isfinite(probe._pipeline[0].transform(points)).all()


def test_nearest_neighbour_looks_at_the_angle_alone():
    probe = PatchProbe("nearest_neighbour").fit(np.array([[1.0, 0.1], [0.1, 1.0]], np.float32), np.array([0, 1]))
    assert probe.predict(np.array([[100.0, 90.0], [0.001, 0.002]], np.float32)).tolist() == [0, 1]


def test_nearest_neighbour_takes_silence():
    probe = PatchProbe("nearest_neighbour").fit(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.array([0, 1]))
    assert probe.predict(np.zeros((1, 2), np.float32)).tolist() == [0]


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="patches of 1 classes came"):
        PatchProbe("svm").fit(np.ones((3, 2), np.float32), np.zeros(3, int))


def test_labels_must_be_as_many_as_patches():
    with pytest.raises(ConfigError, match=r"features of shape \(20, 6\) and 19 labels came"):
        PatchProbe("svm").fit(clouds()[0], clouds()[1][1:])


def test_probe_that_has_learned_nothing_is_refused():
    with pytest.raises(ConfigError, match="call fit first"):
        PatchProbe("svm").predict(clouds()[0])


@pytest.mark.parametrize(
    ("kind", "options"), [("forest", {}), ("svm", {"n_components": 0}), ("svm", {"seed": -1})], ids=str
)
def test_option_that_makes_no_sense_is_refused(kind, options):
    with pytest.raises(ConfigError, match="wanted"):
        PatchProbe(kind, **options)


# -- features ----------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_patches():
    model = create("timbre")
    sound = 0.1 * torch.randn(300_000, generator=torch.Generator().manual_seed(0))
    found = patch_features(model, sound, ["penultimate"], hop_frames=42)["penultimate"]
    patch = model.frontend(sound[None])[..., 42 : 42 + 128]
    assert found.shape == (4, 10)
    torch.testing.assert_close(torch.from_numpy(found[1:2]), model.forward_features(patch), rtol=1e-4, atol=1e-4)


def test_front_end_is_not_that_of_the_network_which_may_be_on_a_gpu(monkeypatch):
    model, seen = create("timbre"), []

    def patches(frontend, *_, **__):
        seen.append(frontend)
        return torch.zeros(1, 1, 128, 128)

    monkeypatch.setattr(probes, "patches_of_sound", patches)
    patch_features(model, torch.zeros(140_000), ["penultimate"])
    assert seen[0].config == model.frontend.config
    assert seen[0] is not model.frontend


def test_layer_that_keeps_time_is_averaged():
    model = create("timbre")
    sound = 0.1 * torch.randn(140_000, generator=torch.Generator().manual_seed(0))
    found = patch_features(model, sound, ["conv"])["conv"]
    conv = model.forward_layers(model.frontend(sound[None])[..., :128])["conv"]
    torch.testing.assert_close(torch.from_numpy(found), conv.mean((1, 2)), rtol=1e-4, atol=1e-4)


def test_short_sound_is_one_patch():
    assert patch_features(create("timbre"), torch.ones(5000), ["penultimate"])["penultimate"].shape == (1, 10)


def test_layer_that_is_not_there_is_refused():
    with pytest.raises(UnknownNameError, match="layer"):
        patch_features(create("timbre"), torch.ones(5000), ["block9"])


def test_sound_without_samples_is_refused():
    with pytest.raises(AudioError, match="wanted"):
        patch_features(create("timbre"), torch.ones(0), ["penultimate"])


# -- the dense layer ---------------------------------------------------------------------------------------------------


def head_of(seed=0, **changes):
    points, labels = clouds(12)
    return fit_head(list(points[:, None]), labels, 3, dataclasses.replace(HEAD_FIT, seed=seed, **changes))


def test_head_learns():
    points, labels = clouds(30, seed=1)
    found = head_of()(torch.from_numpy(points)).argmax(1)
    assert (found.numpy() == labels).mean() > 0.9


def test_head_is_the_same_twice():
    assert torch.equal(head_of(max_epochs=3).weight, head_of(max_epochs=3).weight)


def test_head_of_another_seed_starts_elsewhere():
    assert not torch.equal(head_of(max_epochs=1).weight, head_of(seed=1, max_epochs=1).weight)


def test_head_is_trained_as_the_paper_says():
    assert (HEAD_FIT.optimizer, HEAD_FIT.lr, HEAD_FIT.batch_size, HEAD_FIT.max_epochs, HEAD_FIT.clip_norm) == (
        "sgd", 0.1, 128, 199, None,
    )  # fmt: skip


def test_step_of_the_head_is_plain_sgd():
    points, labels = clouds(6)
    clips = list(points[:, None])
    start = fit_head(clips, labels, 3, dataclasses.replace(HEAD_FIT, max_epochs=1, lr=1e-12))
    logits = start(torch.from_numpy(points))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    moved = fit_head(clips, labels, 3, dataclasses.replace(HEAD_FIT, max_epochs=1))
    torch.testing.assert_close(moved.weight, start.weight - 0.1 * start.weight.grad, rtol=1e-4, atol=1e-6)


def test_features_that_are_no_numbers_end_the_training():
    with pytest.raises(TrainingError, match="the loss is no number in epoch 1"):
        fit_head([np.full((1, 2), np.nan, np.float32)] * 2, np.array([0, 1]), 2)
