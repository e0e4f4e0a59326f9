"""Options that are written as KEY=VALUE, and which options were given."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from taggram.errors import ConfigError, printable

if TYPE_CHECKING:
    import typer


def parse_options(words: Iterable[str], *, as_text: Collection[str] = ()) -> dict[str, Any]:
    """Read options that are written as KEY=VALUE.

    Args:
        words: such as "kernel=3", "multi_level=true", "lengths=[18, 27]" or "block=se"; values are as in TOML, but text
            needs no quotes.
        as_text: keys whose values are text whatever they look like, such as names of folders.

    Returns:
        The values by name; lists come as tuples.

    Raises:
        ConfigError: a word has no "=".
    """
    options: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise ConfigError(f"{printable(word)!r} is no option; write KEY=VALUE.")
        if name in options:
            raise ConfigError(f"{printable(name)} is given twice, as {options[name]!r} and as {printable(text)!r}.")
        if name in as_text:
            options[name] = text
            continue
        try:
            options[name] = _as_tuple(tomllib.loads(f"value = {text}")["value"])
        except tomllib.TOMLDecodeError:
            options[name] = text
    return options


def given_options(context: typer.Context) -> set[str]:
    """Name the options of a command that were given.

    Args:
        context: of the command.

    Returns:
        Their names as they are written, such as "--model".
    """
    found = set()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.param_type_name == "option" and source is not None and source.name != "DEFAULT":
            found.add(max(parameter.opts, key=len))
    return found


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
