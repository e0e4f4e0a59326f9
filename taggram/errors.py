"""The errors that taggram raises, and the help that goes with a wrong name.

Every error says what came, what was wanted and what to do. Each is also the built-in kind that a caller would expect.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class TaggramError(Exception):
    """The root of all errors that taggram raises on purpose."""


class AudioError(TaggramError, ValueError):
    """A sound that cannot be read, or not be used as it is.

    Args:
        reason: what is wrong with it, and what to do.
        source: name of the file, where there is one; the message then starts with it.
    """

    def __init__(self, reason: str, source: str | None = None) -> None:
        super().__init__(reason if source is None else f"{printable(source)}: {reason}")
        self.reason = reason
        self.source = source


class ConfigError(TaggramError, ValueError):
    """An option or a setting that makes no sense."""


class UnknownNameError(TaggramError, ValueError):
    """A model, layer, vocabulary or other name that does not exist."""


class DatasetError(TaggramError, ValueError):
    """A data set that is not at hand, or not as it should be."""


class TrainingError(TaggramError, RuntimeError):
    """A training that cannot begin, go on, or come to an end."""


class WeightsError(TaggramError, RuntimeError):
    """Weights that are missing, damaged, or do not fit their network."""


class KitError(TaggramError, RuntimeError):
    """A kit that is damaged, too new, or of another network's weights."""


class MissingKitError(KitError, ConfigError):
    """A kit that is not where it is said to be."""


class CatalogueError(TaggramError, RuntimeError):
    """A catalogue that is not there, damaged, too new, or being written by another process."""


class PartsChangedError(CatalogueError):
    """Parts of a catalogue that were merged or taken out while they were read."""


class UnreadablePartError(CatalogueError):
    """A part of a catalogue that is damaged, or cannot be read."""


class UnknownLayerError(CatalogueError, UnknownNameError):
    """A layer that a catalogue does not have, or a start of a name that several of its layers have."""


class TooLongQuestionError(CatalogueError):
    """A question to a catalogue that takes longer than allowed, or that nobody waits for any more."""


class ExportError(TaggramError, RuntimeError):
    """A network that cannot be written as ONNX, or does not answer there as it does in torch."""


class MissingExtraError(TaggramError, ImportError):
    """An optional package that is needed and not installed."""


class FileTagsError(TaggramError, ValueError):
    """A file that tags cannot be written into, or not be taken out of."""


class WorkerError(TaggramError, RuntimeError):
    """A worker process that crashed or hung over one file."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Offer the known names nearest to a wrong one.

    Args:
        name: the name that was asked for.
        known: all names that exist.

    Returns:
        " Did you mean a, b or c?" with a leading blank, or "" where nothing is near.
    """
    near = difflib.get_close_matches(name.lower(), sorted(known), n=3, cutoff=0.5)
    if not near:
        return ""
    listed = near[0] if len(near) == 1 else f"{', '.join(near[:-1])} or {near[-1]}"
    return f" Did you mean {listed}?"


def unknown_name(kind: str, name: str, known: Iterable[str], listed_by: str) -> UnknownNameError:
    """Make the error for a name that does not exist.

    Args:
        kind: what the name should have been, such as "model".
        name: the name that was asked for.
        known: all names that exist.
        listed_by: where all names can be seen, such as "`taggram models` lists all 5".

    Returns:
        The error, to be raised by the caller.
    """
    return UnknownNameError(f"no {kind} named {name!r}.{did_you_mean(name, known)} {listed_by}.")


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """Make the error for an optional package that is not installed.

    Args:
        package: the package's name on the index, such as "av".
        extra: the extra of taggram that installs it.
        purpose: what needs it, such as "m4a files".

    Returns:
        The error, to be raised by the caller.
    """
    return MissingExtraError(f"{purpose} need {package}, which is not installed: pip install 'taggram[{extra}]'")


def check_above_zero(**limits: float | None) -> None:
    """Refuse settings that must be above 0.

    Args:
        **limits: name and value; None is left alone.

    Raises:
        ConfigError: a value is 0, below, or not a number.
    """
    for name, value in limits.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} is {value}; it must be above 0.")


def printable(text: str) -> str:
    """Make a name fit for one line: line breaks and other control characters are written as escapes.

    Args:
        text: any text, such as a path.

    Returns:
        The text with nothing in it that moves the cursor; characters that stand for undecodable bytes stay.
    """
    return "".join(
        character if character.isprintable() or 0xDC80 <= ord(character) <= 0xDCFF else ascii(character)[1:-1]
        for character in text
    )
