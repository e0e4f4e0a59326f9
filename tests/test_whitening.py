"""PCA whitening: which components are kept, and what the covariance of whitened patches is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taggram.errors import ConfigError, DatasetError
from taggram.learning.whitening import Whitening, mean_and_covariance


def patches(n_patches=400, n_values=12, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n_patches, n_values)) * np.linspace(3, 0.01, n_values)
    return (mixed @ rng.standard_normal((n_values, n_values)) + 5).astype(np.float32)


def in_blocks(values, n_blocks=3):
    return lambda: np.array_split(values, n_blocks)


def test_mean_and_covariance_are_those_of_all_blocks():
    values = patches()
    mean, covariance = mean_and_covariance(in_blocks(values))
    np.testing.assert_allclose(mean, values.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(values.T.astype(np.float64)), rtol=1e-3, atol=1e-4)


def test_components_are_kept_until_their_variance_first_exceeds_the_share():
    variances = np.array([6.0, 3.0, 0.5, 0.3, 0.2])  # the first two are 0.9 of all, and do not exceed it
    values = np.concatenate([np.diag(np.sqrt(variances)), -np.diag(np.sqrt(variances))]).astype(np.float32)
    assert len(Whitening.of(in_blocks(values), share=0.899).variances) == 2
    kept = Whitening.of(in_blocks(values), share=0.901)
    assert (len(kept.variances), kept.kept) == (3, pytest.approx(0.95))


def test_whitening_is_that_of_the_source():
    values = patches().astype(np.float64)
    found, vectors = np.linalg.eigh(np.cov(values.T))
    n_kept = int((np.cumsum(found[::-1]) / found.sum() <= 0.9).sum()) + 1
    matrix = np.diag((found[::-1][:n_kept] + 0.01) ** -0.5) @ vectors[:, ::-1][:, :n_kept].T
    wanted = (values - values.mean(0)) @ matrix.T
    whitened = Whitening.of(in_blocks(patches()))(torch.from_numpy(patches())).numpy()
    np.testing.assert_allclose(np.abs(whitened), np.abs(wanted), rtol=1e-2, atol=2e-3)  # an axis has no sign


def test_covariance_of_whitened_patches_is_at_most_one_and_diagonal():
    whitening = Whitening.of(in_blocks(patches()), share=0.999)
    whitened = whitening(torch.from_numpy(patches())).numpy()
    covariance = mean_and_covariance(lambda: [whitened])[1]
    np.testing.assert_allclose(np.diag(covariance), whitening.variances / (whitening.variances + 0.01), atol=1e-4)
    assert np.diag(covariance).max() <= 1
    assert max(whitening.errors(covariance)) < 1e-3


def test_errors_are_the_largest_on_and_off_the_diagonal():
    whitening = Whitening(torch.zeros(2), torch.eye(2), torch.tensor([0.99, 0.03]), 1.0)
    on, off = whitening.errors(np.array([[0.99, -0.25], [-0.25, 0.5]]))
    assert (on, off) == (pytest.approx(0.25), 0.25)


def test_whitened_patch_is_turned_back():
    values = torch.from_numpy(patches())
    whitening = Whitening.of(in_blocks(patches()), share=0.999999)
    torch.testing.assert_close(whitening.restored(whitening(values)), values, rtol=0, atol=0.05)


def test_axes_have_a_sign_of_their_own():
    basis = Whitening.of(in_blocks(patches())).basis
    assert (basis.gather(1, basis.abs().argmax(1, keepdim=True)) > 0).all()


def test_whitening_is_saved(tmp_path):
    whitening = Whitening.of(in_blocks(patches()))
    whitening.save(tmp_path / "w.npz")
    again = Whitening.load(tmp_path / "w.npz")
    assert torch.equal(again.matrix, whitening.matrix)
    assert (again.kept, again.eps) == (whitening.kept, whitening.eps)


@pytest.mark.parametrize(("n_patches", "message"), [(0, "there are 0 patches"), (1, "there are 1 patches")])
def test_too_few_patches_are_refused(n_patches, message):
    with pytest.raises(DatasetError, match=message):
        Whitening.of(lambda: [patches()[:n_patches]])


def test_patches_that_are_all_alike_are_refused():
    with pytest.raises(DatasetError, match="all patches are alike"):
        Whitening.of(lambda: [np.ones((5, 3), np.float32)])


@pytest.mark.parametrize("options", [{"share": 1.0}, {"share": 0}, {"eps": 0}], ids=str)
def test_setting_without_sense_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Whitening.of(in_blocks(patches()), **options)
