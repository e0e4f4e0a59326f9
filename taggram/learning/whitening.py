"""PCA whitening: patches are turned into a few values of about equal spread that hardly depend on each other.

Source: Nam, Herrera and Lee, "A deep bag-of-features model for music auto-tagging", 2015, arXiv 1508.04999, with the
    constants of the first author's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._checks import check, is_number
from taggram._files import written_aside
from taggram.errors import DatasetError

SHARE = 0.9  # of the variance, which the components that are kept exceed
EPS = 0.01  # added to each variance before its root is divided by

Blocks = Callable[[], Iterable[NDArray[np.float32]]]
"""Gives (patches, values) block by block, the same ones each time."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """What whitens a patch: matrix (x - mean).

    Attributes:
        mean: (values,) of the patches.
        basis: (components, values) unit vectors, the one of the largest variance first.
        variances: (components,) of the patches along them.
        kept: share of all variance that lies along them, 0 to 1.
        eps: added to each variance before its root is divided by.
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor
    kept: float
    eps: float = EPS

    @classmethod
    def of(cls, blocks: Blocks, *, share: float = SHARE, eps: float = EPS) -> Self:
        """Learn the whitening of some patches, which are read twice.

        Args:
            blocks: the patches.
            share: of the variance: components are kept until they exceed it.
            eps: added to each variance before its root is divided by.

        Returns:
            The whitening.

        Raises:
            ConfigError: a value makes no sense.
            DatasetError: there are fewer than two patches, or all are alike.
        """
        check(is_number(share) and 0 < share < 1, "share", share, "a number above 0 and below 1")
        check(is_number(eps) and eps > 0, "eps", eps, "a number above 0")
        mean, covariance = mean_and_covariance(blocks)
        variances, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
        variances, vectors = variances.flip(0).clamp_min(0.0), vectors.flip(1)
        total = float(variances.sum())
        if total == 0:
            raise DatasetError("all patches are alike, so there is nothing to whiten; is all of the sound silent?")
        sums = variances.cumsum(0) / total
        n_kept = min(len(sums), int((sums <= share).sum()) + 1)
        basis = vectors[:, :n_kept].T.contiguous()
        signs = basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()  # an eigenvector has none of its own
        return cls(
            torch.from_numpy(mean).float(), (basis * signs).float(), variances[:n_kept].float(),
            float(sums[n_kept - 1]), eps,
        )  # fmt: skip

    @property
    def matrix(self) -> Tensor:
        """What a patch less the mean is multiplied by: (components, values)."""
        return self.basis / (self.variances + self.eps).sqrt()[:, None]

    def __call__(self, patches: Tensor) -> Tensor:
        """Whiten patches.

        Args:
            patches: (..., values).

        Returns:
            (..., components).
        """
        return (patches - self.mean) @ self.matrix.T

    def restored(self, whitened: Tensor) -> Tensor:
        """Turn whitened patches back, but for what lay outside the components.

        Args:
            whitened: (..., components).

        Returns:
            (..., values).
        """
        return (whitened * (self.variances + self.eps).sqrt()) @ self.basis + self.mean

    def errors(self, covariance: NDArray[np.float64]) -> tuple[float, float]:
        """Hold the covariance of whitened patches against what it has to be: d / (d + eps) on the diagonal, else 0.

        Args:
            covariance: (components, components).

        Returns:
            The largest difference on the diagonal, and the largest value off it.
        """
        wanted = (self.variances / (self.variances + self.eps)).double().numpy()
        on = float(np.abs(np.diag(covariance) - wanted).max())
        return on, float(np.abs(covariance - np.diag(np.diag(covariance))).max())

    def save(self, path: Path) -> None:
        """Write it as NAME.npz; `load` gives it back."""
        arrays = {name: getattr(self, name).numpy() for name in ("mean", "basis", "variances")}
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, kept=np.array(self.kept), eps=np.array(self.eps), **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one that was saved."""
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            tensors = [torch.from_numpy(file[name]) for name in ("mean", "basis", "variances")]
            return cls(tensors[0], tensors[1], tensors[2], float(file["kept"]), float(file["eps"]))


def mean_and_covariance(blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and covariance of patches that need not lie in memory together.

    Args:
        blocks: the patches, which are read twice: values far from 0 would else cost digits.

    Returns:
        (values,) and (values, values); the latter divides by the number of patches less one.

    Raises:
        DatasetError: there are fewer than two patches.
    """
    n_patches, total = 0, np.zeros(1)
    for block in blocks():
        n_patches += len(block)
        total = total + block.sum(axis=0, dtype=np.float64)
    if n_patches < 2:
        raise DatasetError(f"there are {n_patches} patches; a covariance needs two at least.")
    mean = total / n_patches
    products = np.zeros((len(mean), len(mean)))
    for block in blocks():
        centred = block - mean.astype(np.float32)
        products += centred.T @ centred
    return mean, products / (n_patches - 1)
