"""taggram tags music and sound, learns new tags, and trains and compares the networks that do it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taggram.catalogue.asking import Catalogue
    from taggram.catalogue.build import build_catalogue
    from taggram.catalogue.compacting import compact_catalogue
    from taggram.errors import TaggramError
    from taggram.kit import Kit
    from taggram.learning.teach import add_examples, remove_tags, teach
    from taggram.models import create_model, list_models
    from taggram.models._saved import load_model
    from taggram.results import Embedding, Failure, Taggram
    from taggram.tagger import Tagger, tag

__version__ = "0.1.0"

_HOMES = {  # public name: the module that holds it, loaded on first use
    "Catalogue": "taggram.catalogue.asking",
    "Embedding": "taggram.results",
    "Failure": "taggram.results",
    "Kit": "taggram.kit",
    "Taggram": "taggram.results",
    "Tagger": "taggram.tagger",
    "TaggramError": "taggram.errors",
    "add_examples": "taggram.learning.teach",
    "build_catalogue": "taggram.catalogue.build",
    "compact_catalogue": "taggram.catalogue.compacting",
    "create_model": "taggram.models",
    "list_models": "taggram.models",
    "load_model": "taggram.models._saved",
    "remove_tags": "taggram.learning.teach",
    "tag": "taggram.tagger",
    "teach": "taggram.learning.teach",
}

__all__ = [
    "Catalogue",
    "Embedding",
    "Failure",
    "Kit",
    "Tagger",
    "Taggram",
    "TaggramError",
    "__version__",
    "add_examples",
    "build_catalogue",
    "compact_catalogue",
    "create_model",
    "list_models",
    "load_model",
    "remove_tags",
    "tag",
    "teach",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing taggram costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'taggram' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
