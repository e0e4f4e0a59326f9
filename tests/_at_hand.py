"""What tests need that may not be at hand: trained weights, and the recordings beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from taggram.models import load_card
from taggram.models._weights import is_cached

SHARED = Path(__file__).parents[2] / "shared"
TRAINED = ("musicnn.mtt", "musicnn.msd", "vgg.mtt", "vgg.msd")

needs_shared = pytest.mark.skipif(
    not (SHARED / "reference").is_dir(), reason="the reference recordings are not at hand"
)


def needs_weights(*names: str) -> pytest.MarkDecorator:
    """Skip a test, saying how to get them, where weights are not at hand."""
    missing = [name for name in names if not is_cached(load_card(name))]
    reason = "; ".join(f"the weights of {name} are not at hand: taggram models get {name}" for name in missing)
    return pytest.mark.skipif(bool(missing), reason=reason)


def each_model(*names: str) -> pytest.MarkDecorator:
    """Run a test for each trained model; it skips for those whose weights are not at hand."""
    return pytest.mark.parametrize("name", [pytest.param(name, marks=needs_weights(name)) for name in names or TRAINED])
