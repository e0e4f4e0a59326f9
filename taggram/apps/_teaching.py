"""Tags taught by examples: what `taggram teach` says on the way, and the kit that it writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from taggram._files import cache_home, in_turn
from taggram._kit_network import model_of_kit
from taggram.apps._options import given_options
from taggram.apps._progress import FileProgress, say
from taggram.apps._tagging import have_at_hand
from taggram.errors import ConfigError, printable
from taggram.kit import Kit, check_kit_path

if TYPE_CHECKING:
    import typer

    from taggram.learning.teach import Taught

MOST_NOTES = 10  # that are said; a folder of files with one fault gives one a file
STAYS = ("--layer", "--task", "--epochs")  # what a kit was made with
FOR_LISTENING = ("--model", "--max-duration-s", "--workers", "--device")
LOCK_DIGITS = 16


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


def check_options(context: typer.Context, examples: str | None, *, add: bool, remove: bool) -> None:
    """Refuse options of a command that do not go together.

    Args:
        context: of the command.
        examples: what is learned from, or None.
        add: whether the examples are added to a kit.
        remove: whether tags are taken out of a kit.

    Raises:
        ConfigError: they do not.
    """
    given = given_options(context)
    if add and remove:
        raise ConfigError("--add and --remove are two steps; do one after the other.")
    if remove and examples is not None:
        raise ConfigError("--remove takes tags out of a kit and wants no examples.")
    if not remove and examples is None:
        raise ConfigError("there are no examples: give a folder with a folder for each tag, or a CSV file.")
    if not (add or remove):
        return
    if "--replace" in given:
        raise ConfigError(
            f"--replace makes a new kit, and {'--add' if add else '--remove'} changes one; give one of them."
        )
    if wrong := given.intersection(STAYS):
        raise ConfigError(f"{min(wrong)} is what the kit was made with, and stays; teach it anew for another.")
    if remove and (wrong := given.intersection(FOR_LISTENING)):
        raise ConfigError(f"{min(wrong)} is of no use with --remove, which listens to nothing.")


def teach_kit(
    examples: str | None,
    kit: Path,
    options: TeachOptions,
    *,
    add: bool,
    replace: bool,
    remove: Sequence[str],
    picture: Path | None,
) -> bool:
    """Make a kit, or change one, and say how good it is.

    Args:
        examples: a folder with a folder for each tag, or a CSV file; None where tags are removed alone.
        kit: the file of the kit.
        options: how it is made.
        add: whether the examples are added to the kit.
        replace: whether a new kit may take the place of one that is there.
        remove: tags that are taken out of the kit.
        picture: where a picture of what is confused is drawn, or None.

    Returns:
        Whether all examples could be used.

    Raises:
        ConfigError: a file cannot be written, or a kit is there that is not to be replaced.
        TaggramError: the kit cannot be made; what was there before is as it was.
    """
    check_kit_path(kit)
    if picture is not None:
        from taggram.picture import check_picture_path

        check_picture_path(picture)
    with _alone(kit):
        if kit.exists() and not (add or remove or replace):
            name = printable(str(kit))
            raise ConfigError(
                f"{name} is there: --add adds the examples to it, --replace makes a new kit in its place."
            )
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


@contextmanager
def _alone(kit: Path) -> Iterator[None]:
    """Let nobody else change a kit from reading it to writing it; two that do it at once take turns."""
    locks = cache_home() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(kit.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:LOCK_DIGITS]
    with in_turn(locks / f"kit-{name}"):
        yield


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
        self._bar = FileProgress(0)
        self._n, self._n_done = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.make_way()

    def told(self, what: str, n_done: int, n: int) -> None:
        """Take in how far it is; without a number, what is done now stands beside the bar."""
        if not n:
            self._bar.show(printable(what))
            return
        if n != self._n or n_done <= self._n_done:  # another step begins
            self._bar.make_way()
            self._bar = FileProgress(n)
        self._n, self._n_done = n, n_done
        self._bar.reach(n_done, printable(what))


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
