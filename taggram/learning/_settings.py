"""Config dataclasses out of plain values, such as those of a TOML file or a command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from taggram.errors import ConfigError, did_you_mean

Config = TypeVar("Config")


def from_values(kind: type[Config], section: str, values: Mapping[str, Any]) -> Config:
    """Make a config.

    Args:
        kind: its dataclass, which checks the values.
        section: what it is called, such as "fit".
        values: by name; a list becomes a tuple.

    Returns:
        The config.

    Raises:
        ConfigError: there is no such setting, or a value makes no sense.
    """
    known = [one.name for one in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(f"{section} has no setting {name!r}.{hint} Its settings are {', '.join(known)}.")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
