"""Tags taught by examples: what `taggram teach` says on the way, and the kit that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from taggram._kit_network import model_of_kit
from taggram.apps._progress import FileProgress, say
from taggram.apps._tagging import have_at_hand
from taggram.errors import ConfigError, printable
from taggram.kit import Kit, check_kit_path

if TYPE_CHECKING:
    from taggram.learning.teach import Taught

MOST_NOTES = 10  # that are said; a folder of files with one fault gives one a file


@dataclass(frozen=True, kw_only=True)
class TeachOptions:
    """What a command says of a kit to be.

    Attributes:
        model: name or file of the network; None is the default, or that of the kit that is changed.
        layers: whose values are learned on; none is the default.
        task: "one" or "several"; None is "one".
        method: how the kit is fitted; None is "auto", or as the kit that is changed.
        none_of_these: whether it may answer that none of its tags holds; None is no, or as the kit that is changed.
        epochs: of finetune; None is the default.
        device: what torch computes on.
        max_duration_s: longest file that is taken, in seconds.
        n_workers: worker processes; None is one a core.
    """

    model: str | None
    layers: tuple[str, ...]
    task: str | None
    method: str | None
    none_of_these: bool | None
    epochs: int | None
    device: str
    max_duration_s: float
    n_workers: int | None

    def in_python(self) -> dict[str, Any]:
        """Give what says how examples are listened to, by the names that functions have for it."""
        return {"device": self.device, "max_duration_s": self.max_duration_s, "n_workers": self.n_workers}

    def of_a_change(self) -> dict[str, Any]:
        """Give what may be otherwise than the kit that is changed has it."""
        return {"method": self.method, "none_of_these": self.none_of_these}


def teach_kit(
    examples: str | None,
    kit: Path,
    options: TeachOptions,
    *,
    add: bool,
    remove: Sequence[str],
    picture: Path | None,
) -> bool:
    """Make a kit, or change one, and say how good it is.

    Args:
        examples: a folder with a folder for each tag, or a CSV file; None where tags are removed alone.
        kit: the file of the kit.
        options: how it is made.
        add: whether the examples are added to the kit.
        remove: tags that are taken out of the kit.
        picture: where a picture of what is confused is drawn, or None.

    Returns:
        Whether all examples could be used.

    Raises:
        ConfigError: options do not go together.
        TaggramError: the kit cannot be made; what was there before is as it was.
    """
    _check_together(examples, options, add=add, remove=remove)
    check_kit_path(kit)
    if picture is not None and not picture.parent.is_dir():
        where, name = printable(str(picture.parent)), printable(picture.name)
        raise ConfigError(f"there is no folder {where} to draw {name} into.")
    with _Progress() as progress:
        if examples is None:
            taught = _with_fewer_tags(kit, options, remove, progress)
        elif add:
            taught = _with_more_examples(examples, kit, options, progress)
        else:
            taught = _made(examples, options, progress)
    taught.kit.save(kit)
    _say_what_came_of_it(taught, kit)
    if picture is not None:
        _draw(taught.kit, picture)
    return not taught.failures


def _check_together(examples: str | None, options: TeachOptions, *, add: bool, remove: Sequence[str]) -> None:
    """Refuse options that do not go together."""
    if add and remove:
        raise ConfigError("--add and --remove are two steps; do one after the other.")
    if remove and examples is not None:
        raise ConfigError("--remove takes tags out of a kit and wants no examples.")
    if not remove and examples is None:
        raise ConfigError("there are no examples: give a folder with a folder for each tag, or a CSV file.")
    if not (add or remove):
        return
    given = {"--layer": options.layers, "--task": options.task, "--epochs": options.epochs}
    if wrong := [name for name, value in given.items() if value]:
        raise ConfigError(f"{wrong[0]} is what the kit was made with, and stays; teach it anew for another.")


def _made(examples: str, options: TeachOptions, progress: _Progress) -> Taught:
    """Make a kit."""
    from taggram.learning.teach import teach
    from taggram.tagger import DEFAULT_MODEL

    model = options.model or DEFAULT_MODEL
    have_at_hand(model)
    given = options.in_python() | {
        "model": model,
        "layers": options.layers or None,
        "task": options.task or "one",
        "method": options.method or "auto",
        "none_of_these": bool(options.none_of_these),
        "epochs": options.epochs,
    }
    return teach(examples, told=progress.told, **given)


def _with_more_examples(examples: str, kit: Path, options: TeachOptions, progress: _Progress) -> Taught:
    """Add examples to a kit."""
    from taggram.learning.teach import add_examples

    have_at_hand(options.model or model_of_kit(Kit.load(kit), kit))
    given = options.in_python() | {"model": options.model, **options.of_a_change()}
    return add_examples(kit, examples, told=progress.told, **given)


def _with_fewer_tags(kit: Path, options: TeachOptions, tags: Sequence[str], progress: _Progress) -> Taught:
    """Take tags out of a kit."""
    from taggram.learning.teach import remove_tags

    return remove_tags(kit, *tags, told=progress.told, **options.of_a_change())


class _Progress:
    """Shows how many examples were listened to, and then how far the rest is."""

    def __init__(self) -> None:
        self._bars: dict[int, FileProgress] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for bar in self._bars.values():
            bar.make_way()

    def told(self, what: str, n_done: int, n: int) -> None:
        """Take in how far it is; steps without a number change what stands beside the bar alone."""
        if n_done == 1 or n not in self._bars:
            self.__exit__()
            self._bars[n] = FileProgress(n)
        if n:
            self._bars[n].advance(printable(what))
        else:
            self._bars[n].told(what, 0.0)


def _say_what_came_of_it(taught: Taught, kit: Path) -> None:
    from taggram.learning.teach import summary

    for failure in taught.failures:
        say(f"{printable(failure.path)}: {failure.message}")
    for note in taught.notes[:MOST_NOTES]:
        say(f"note: {note}")
    if (n_more := len(taught.notes) - MOST_NOTES) > 0:
        say(f"note: and {n_more} more of the kind")
    print(summary(taught.kit))
    fitted = f"{taught.kit.method} on {', '.join(taught.kit.layers)} of {printable(taught.kit.model)}"
    say(f"{printable(str(kit))}: {fitted}, {kit.stat().st_size / 1000:.0f} kB")


def _draw(kit: Kit, picture: Path) -> None:
    """Draw what is confused, where cross-validation found it out."""
    from taggram.learning.teach import draw_confusions
    from taggram.picture import save_picture

    figure = draw_confusions(kit)
    if figure is None:
        say("no picture: it shows what cross-validation confuses, and no example could be left out.")
        return
    save_picture(figure, picture)
    say(f"picture: {printable(str(picture))}")
