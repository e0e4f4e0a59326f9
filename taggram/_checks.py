"""Checks of options and settings, with one wording: what came, and what was wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from taggram.errors import ConfigError


def check(fits: bool, name: str, came: object, wanted: str) -> None:
    """Refuse a value that makes no sense.

    Args:
        fits: whether it does make sense.
        name: of the option or setting.
        came: the value.
        wanted: which values make sense, in words.

    Raises:
        ConfigError: it does not fit.
    """
    if not fits:
        raise ConfigError(f"{name} is {came!r}; wanted {wanted}.")


def check_count(name: str, came: object, least: int = 1, most: int | None = None) -> None:
    """Refuse what is no whole number within limits.

    Args:
        name: of the option or setting.
        came: the value.
        least: the smallest that is allowed.
        most: the largest that is allowed; None is no limit.

    Raises:
        ConfigError: it does not fit.
    """
    limits = f"from {least} on" if most is None else f"from {least} to {most}"
    check(is_count(came, least) and (most is None or came <= most), name, came, f"a whole number {limits}")


def check_share(name: str, came: object) -> None:
    """Refuse what is no number from 0 to below 1, such as that of dropout.

    Args:
        name: of the option or setting.
        came: the value.

    Raises:
        ConfigError: it does not fit.
    """
    check(is_number(came) and 0 <= came < 1, name, came, "a number from 0 to below 1")


def check_flag(name: str, came: object) -> None:
    """Refuse what is neither True nor False.

    Args:
        name: of the option or setting.
        came: the value.

    Raises:
        ConfigError: it does not fit.
    """
    check(isinstance(came, bool), name, came, "True or False")


def check_choice(name: str, came: object, choices: Iterable[object]) -> None:
    """Refuse what is none of some values.

    Args:
        name: of the option or setting.
        came: the value.
        choices: those that are allowed, all of one type.

    Raises:
        ConfigError: it does not fit.
    """
    known = list(choices)
    fits = any(type(came) is type(choice) and came == choice for choice in known)
    check(fits, name, came, f"one of {', '.join(map(repr, known))}")


def is_count(value: object, least: int = 1) -> TypeGuard[int]:
    """Tell whether a value is a whole number from some number on; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole_numbers(came: object) -> tuple[int, ...]:
    """Read the whole numbers of an option that takes several.

    Args:
        came: a sequence, one number alone, or a text such as "18,27,54".

    Returns:
        The numbers, or none at all where something is no whole number.
    """
    try:
        values = [int(text) for text in came.split(",")] if isinstance(came, str) else came
    except ValueError:
        return ()
    numbers = tuple(values) if isinstance(values, Sequence) else (values,)
    are_whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    return numbers if are_whole else ()
