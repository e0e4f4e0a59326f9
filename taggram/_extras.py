"""Optional packages, loaded where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from taggram.errors import missing_extra


def load_extra(package: str, extra: str, purpose: str, *parts: str) -> Any:
    """Load an optional package.

    Args:
        package: its name, such as "pyarrow".
        extra: the extra of taggram that installs it.
        purpose: what needs it, such as "Parquet files".
        *parts: modules in it that are wanted too, such as "parquet".

    Returns:
        The package, with these parts as attributes.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        for part in parts:
            importlib.import_module(f"{package}.{part}")
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_extra(package, extra, purpose) from error
