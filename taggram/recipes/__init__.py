"""Published trainings, one TOML file each; `taggram.learning.recipe` makes something of them."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from taggram.errors import unknown_name


@cache
def list_recipes() -> tuple[str, ...]:
    """Name the published trainings, sorted; networks and trained weights have recipes of their own names beside."""
    files = (file.name for file in resources.files("taggram.recipes").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def read_recipe(name: str) -> dict[str, Any]:
    """Read the file of a published training.

    Args:
        name: one of `list_recipes()`.

    Returns:
        Plain values.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in list_recipes():
        raise unknown_name("recipe", name, list_recipes(), "`taggram train` lists them")
    return tomllib.loads(resources.files("taggram.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
