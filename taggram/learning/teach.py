"""New tags from a few examples: `teach` makes a kit, `add_examples` and `remove_tags` change one without the old sound.

An example becomes a vector a patch, by a network that stays as it is, and a linear map from vectors to tags is fitted;
`learning/kit_methods.py` has the ways. With the method "finetune" the network itself is trained on the examples first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_choice, check_count, check_flag
from taggram._kit_network import model_of_kit
from taggram.audio import MAX_DURATION_S
from taggram.errors import ConfigError, check_above_zero, printable, unknown_name
from taggram.kit import Kit, KitTask, open_kit
from taggram.learning._example_worker import EmbeddedExample
from taggram.learning._finetune import tune_on
from taggram.learning._kit_fit import CHOICES, Choice, Network, fit_kit
from taggram.learning._known_examples import KnownExamples
from taggram.learning._listening import Examples, ExampleSound, Listener, Told, default_layers, find_sounds
from taggram.results import Failure
from taggram.tagger import DEFAULT_MODEL, Tagger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.models._contract import TaggingModel

EPOCHS = 10  # of "finetune"


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What came of teaching.

    Attributes:
        kit: the tags.
        failures: examples that could not be used, and were passed over.
        notes: what else is to be said, such as sounds that came twice.
    """

    kit: Kit
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def teach(
    examples: Examples,
    *,
    model: str | PathLike[str] | TaggingModel = DEFAULT_MODEL,
    layers: Sequence[str] | None = None,
    task: KitTask = "one",
    method: Choice = "auto",
    none_of_these: bool = False,
    epochs: int | None = None,
    device: str = "auto",
    max_duration_s: float = MAX_DURATION_S,
    n_workers: int | None = None,
    told: Told = lambda *_: None,
) -> Taught:
    """Teach new tags by examples.

    Args:
        examples: a folder with a folder for each tag; a CSV file with the columns path and tags (joined by `|`), and if
            wanted start and end in seconds; or a dict from each tag to its sounds: paths, bytes, or (samples,
            sample_rate).
        model: the network whose features are learned on: a trained one by its name, its file, the folder of its
            training, or itself.
        layers: whose values make the vector; None is mean and maximum over time where the network has these layers, as
            musicnn does, and else the layer that feeds the head. With "finetune" it is always the latter.
        task: whether exactly "one" tag holds of a sound, or "several" may.
        method: "svm", "lda", "logistic" or "prototypes"; "auto" chooses among them by cross-validation; "finetune"
            trains the network on the examples first.
        none_of_these: whether the kit may answer that none of its tags holds; the threshold is set from the examples.
        epochs: of "finetune"; None is 10.
        device: what torch computes on.
        max_duration_s: longest file that is taken, in seconds.
        n_workers: worker processes that listen to the examples; None is one a core.
        told: is told how far it is.

    Returns:
        The kit, and what is to be said of the examples.

    Raises:
        ConfigError: an option makes no sense.
        DatasetError: the folder or list cannot be read, or is not as it should be.
        TrainingError: there are too few tags or examples, or one sound has two tags where exactly one holds.
        UnknownNameError: there is no such model or layer.
        WeightsError: the weights of the model are not at hand.
    """
    _check_options(task, method, none_of_these, is_tuned=method == "finetune")
    check_above_zero(max_duration_s=max_duration_s)
    _check_epochs(epochs, method)
    found, notes, comes_twice = find_sounds(examples)
    tunes = method == "finetune"
    listener = Listener(model, layers, kit=None, device=device, max_duration_s=max_duration_s, tunes=tunes)
    new = listener.listen(found, n_workers, told)
    known = KnownExamples(task, comes_twice)
    known.take(new)
    heard, network, held_out = known.heard(), listener.network, None
    if tunes:
        sounds = {found.sound: (sound.source, sound.span) for sound, found in reversed(new)}
        of_examples = [sounds[example.sound] for example in heard.examples]
        tuned = tune_on(of_examples, heard, listener.tagger, task, epochs or EPOCHS, told)
        heard, held_out = tuned.heard, tuned.held_out
        network = replace(network, tuned=tuned.tensors)
    kit = fit_kit(
        heard, network, task=task, method=method, none_of_these=none_of_these, told=_step(told), held_out=held_out
    )
    return Taught(kit=kit, failures=tuple(listener.failures), notes=(*notes, *listener.notes, *known.notes))


def teach_embedded(
    examples: Iterable[tuple[str, tuple[str, ...], EmbeddedExample]],
    tagger: Tagger,
    *,
    task: KitTask = "one",
    method: Choice = "auto",
    none_of_these: bool = False,
) -> Taught:
    """Teach new tags by examples whose vectors are there already.

    Args:
        examples: name, tags, and the vectors of the default layers of the network.
        tagger: has the network.
        task: as for `teach`.
        method: as for `teach`, but for "finetune", which needs the sound.
        none_of_these: as for `teach`.

    Returns:
        The kit, and what is to be said of the examples.

    Raises:
        ConfigError: an option makes no sense, or the vectors are of another network.
        TrainingError: there are too few tags or examples, or one sound has two tags where exactly one holds.
    """
    from taggram.models._fingerprint import features_sha256

    _check_options(task, method, none_of_these)
    if method == "finetune":
        raise ConfigError("finetune trains the network on sound; there are only vectors here.")
    layers = default_layers(tagger.model)
    n_features = tagger.embedder(layers).n_features()
    known = KnownExamples(task, joins=True)
    for name, tags, found in examples:
        if found.vectors.shape[1] != n_features:
            raise ConfigError(
                f"{printable(name)} has vectors of {found.vectors.shape[1]} features; those of {tagger.name} have "
                f"{n_features}. Have it embedded by that model."
            )
        known.take([(ExampleSound(b"", tags, name), found)])
    heard = known.heard()
    network = Network(model=tagger.name, layers=layers, features_sha256=features_sha256(tagger.model))
    kit = fit_kit(heard, network, task=task, method=method, none_of_these=none_of_these, told=lambda _: None)
    return Taught(kit=kit, notes=tuple(known.notes))


def add_examples(
    kit: Kit | str | PathLike[str],
    examples: Examples,
    *,
    model: str | PathLike[str] | TaggingModel | None = None,
    method: Choice | None = None,
    none_of_these: bool | None = None,
    device: str = "auto",
    max_duration_s: float = MAX_DURATION_S,
    n_workers: int | None = None,
    told: Told = lambda *_: None,
) -> Taught:
    """Add examples to a kit, of its tags or of new ones. The sound that it was taught with is not needed.

    Args:
        kit: the kit, or its file; it is left as it is.
        examples: as for `teach`.
        model: the network of the kit, or its place where that is another than it was; None is where it was.
        method: as for `teach`; None is as the kit was made. A network that was tuned stays as it was tuned.
        none_of_these: as for `teach`; None is as the kit was made.
        device: what torch computes on.
        max_duration_s: longest file that is taken, in seconds.
        n_workers: as for `teach`.
        told: as for `teach`.

    Returns:
        A new kit, and what is to be said of the examples.

    Raises:
        ConfigError: an option makes no sense.
        DatasetError: the folder or list cannot be read, or is not as it should be.
        KitError: the kit cannot be used, or the network is not its own.
        TrainingError: one sound has two tags where exactly one holds.
    """
    place = None if isinstance(kit, Kit) else kit
    old = open_kit(kit)
    method, none_of_these = _as_before(old, method, none_of_these)
    found, notes, comes_twice = find_sounds(examples)
    network = model_of_kit(old, place) if model is None else model
    listener = Listener(network, old.layers, kit=(old, place), device=device, max_duration_s=max_duration_s)
    new = listener.listen(found, n_workers, told)
    known = KnownExamples(old.task, comes_twice, old)
    known.take(new)
    changed = fit_kit(
        known.heard(), _network_of(old), task=old.task, method=method, none_of_these=none_of_these, told=_step(told)
    )
    return Taught(kit=changed, failures=tuple(listener.failures), notes=(*notes, *listener.notes, *known.notes))


def remove_tags(
    kit: Kit | str | PathLike[str],
    *tags: str,
    method: Choice | None = None,
    none_of_these: bool | None = None,
    told: Told = lambda *_: None,
) -> Taught:
    """Take tags out of a kit, with the examples that had no other tag.

    Args:
        kit: the kit, or its file; it is left as it is.
        *tags: names of tags.
        method: as for `add_examples`.
        none_of_these: as for `add_examples`.
        told: as for `teach`.

    Returns:
        A new kit.

    Raises:
        KitError: the kit cannot be used.
        TrainingError: too few tags are left.
        UnknownNameError: the kit has no such tag.
    """
    old = open_kit(kit)
    method, none_of_these = _as_before(old, method, none_of_these)
    for tag in tags:
        if tag not in old.taught_tags:
            raise unknown_name("tag", tag, old.taught_tags, f"The tags of the kit are {', '.join(old.taught_tags)}")
    known = KnownExamples(old.task, False, old)
    known.forget(tags)
    changed = fit_kit(
        known.heard(), _network_of(old), task=old.task, method=method, none_of_these=none_of_these, told=_step(told)
    )
    return Taught(kit=changed)


# -- options -----------------------------------------------------------------------------------------------------------


def _check_options(task: KitTask, method: Choice, none_of_these: bool, *, is_tuned: bool = False) -> None:
    check_choice("task", task, get_args(KitTask))
    check_choice("method", method, CHOICES)
    check_flag("none_of_these", none_of_these)
    if is_tuned and none_of_these:
        raise ConfigError(
            "the threshold of 'none of these' is set from examples that are left out, and a tuned network knows all of "
            "them. Take another method than finetune, or add a tag 'other' with examples of what comes along."
        )


def _check_epochs(epochs: int | None, method: Choice) -> None:
    if epochs is None:
        return
    check_count("epochs", epochs)
    if method != "finetune":
        raise ConfigError("epochs are for the method finetune, which trains the network.")


def _as_before(kit: Kit, method: Choice | None, none_of_these: bool | None) -> tuple[Choice, bool]:
    """Give the options of a kit that is changed: what is asked for, or as it was made."""
    if method == "finetune":
        raise ConfigError(
            "a network is tuned when a kit is taught, and stays as it is then; to tune one on other examples, teach "
            "the kit anew with all of them."
        )
    method = method or kit.facts.get("asked_for", "auto")
    if none_of_these is None:
        none_of_these = kit.has_none
    _check_options(kit.task, method, none_of_these, is_tuned=bool(kit.tuned))
    return method, none_of_these


def _network_of(kit: Kit) -> Network:
    return Network(model=kit.model, layers=kit.layers, features_sha256=kit.features_sha256, tuned=kit.tuned)


def _step(told: Told) -> Callable[[str], object]:
    return lambda step: told(step, 0, 0)


# -- what is told ------------------------------------------------------------------------------------------------------


def summary(kit: Kit) -> str:
    """Say in one line what a kit is and how good cross-validation finds it.

    Args:
        kit: the kit.

    Returns:
        Such as "8 tags, 5 to 12 examples, leave-one-out accuracy 0.91, weakest: snare / clap".
    """
    tags = kit.taught_tags
    counts = [sum(tag in example.tags for example in kit.examples) for tag in tags]
    least, most = min(counts), max(counts)
    n_of_each = f"{least}" if least == most else f"{least} to {most}"
    parts = [f"{len(tags)} tag{'s' if len(tags) > 1 else ''}", f"{n_of_each} example{'s' if most > 1 else ''}"]
    found: Mapping[str, Any] | None = kit.facts.get("validation")
    if found is None:
        parts.append("its network knows all of them" if kit.tuned else "nothing could be left out to validate")
    else:
        figure = "accuracy" if kit.task == "one" else "mean average precision"
        parts.append(f"{found['how']} {figure} {found['figure']:.2f}")
        if weakest := _weakest(np.array(found["confusion"]), tags):
            parts.append(f"weakest: {weakest}")
    return ", ".join(parts)


def confusion(kit: Kit) -> NDArray[np.int64] | None:
    """Give what cross-validation confused.

    Args:
        kit: the kit.

    Returns:
        (tags, tags) counts of examples, a row a true tag, a column the best answer; None where nothing was left out.
    """
    found = kit.facts.get("validation")
    return None if found is None else np.array(found["confusion"], np.int64)


def draw_confusions(kit: Kit) -> Figure | None:
    """Draw what cross-validation confused.

    Args:
        kit: the kit.

    Returns:
        A figure with a row a true tag and a column the best answer; None where nothing was left out.
    """
    from taggram.learning._pictures import draw_confusion

    matrix = confusion(kit)
    return None if matrix is None else draw_confusion(matrix, kit.taught_tags)


def _weakest(matrix: NDArray[np.int64], tags: Sequence[str]) -> str:
    """Name the two tags that are confused most often, or nothing."""
    both = np.triu(matrix + matrix.T, 1)
    if not both.any():
        return ""
    one, other = divmod(int(both.argmax()), len(tags))
    return f"{printable(tags[one])} / {printable(tags[other])}"
