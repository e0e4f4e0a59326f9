"""New tags from a few examples: `teach` makes a kit, `add_examples` and `remove_tags` change one without the old sound.

An example becomes a vector a patch, by a network that stays as it is, and a linear map from vectors to tags is fitted;
`learning/kit_methods.py` has the ways. With the method "finetune" the network itself is trained on the examples first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fsdecode
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_choice, check_count, check_flag
from taggram._kit_network import model_of_kit
from taggram.audio import MAX_DURATION_S, Source
from taggram.errors import ConfigError, TaggramError, TrainingError, check_above_zero, printable, unknown_name
from taggram.kit import Kit, KitExample, KitTask, open_kit
from taggram.learning._example_worker import EmbeddedExample, ExampleTask, embed_example, example_workers
from taggram.learning._finetune import Part, tune_on
from taggram.learning._kit_fit import CHOICES, MEAN_AND_MAX, Choice, Heard, Network, fit_kit
from taggram.learning.examples import Example, read_examples
from taggram.results import Failure
from taggram.tagger import DEFAULT_MODEL, Tagger, settings_for_workers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.models._contract import TaggingModel

Examples: TypeAlias = str | PathLike[str] | Mapping[str, Sequence[Source]]
"""A folder with a folder for each tag, a CSV file, or a dict from each tag to its sounds."""
Told: TypeAlias = Callable[[str, int, int], object]
"""Is told what is being done, how much of it is done, and how much there is."""

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
    found, notes, from_folder = _found(examples)
    tunes = method == "finetune"
    listener = _Listener(model, layers, kit=None, device=device, max_duration_s=max_duration_s, tunes=tunes)
    new = listener.listen(found, n_workers, told)
    known = _Known(task, from_folder or isinstance(examples, Mapping))
    known.take(new)
    heard, network, held_out = known.heard(), listener.network, None
    if tunes:
        epochs = EPOCHS if epochs is None else epochs
        parts = {found.sound: sound.part for sound, found in reversed(new)}
        of_examples = [parts[example.sound] for example in heard.examples]
        tuned = tune_on(of_examples, heard, listener.tagger, task, epochs, told)
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
    known = _Known(task, joins=True)
    for name, tags, found in examples:
        if found.vectors.shape[1] != n_features:
            raise ConfigError(
                f"{printable(name)} has vectors of {found.vectors.shape[1]} features; those of {tagger.name} have "
                f"{n_features}. Have it embedded by that model."
            )
        known.take([(_Sound(b"", tags, name), found)])
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
    found, notes, from_folder = _found(examples)
    network = model_of_kit(old, place) if model is None else model
    listener = _Listener(network, old.layers, kit=(old, place), device=device, max_duration_s=max_duration_s)
    new = listener.listen(found, n_workers, told)
    known = _Known(old.task, from_folder or isinstance(examples, Mapping), old)
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
    known = _Known(old.task, False, old)
    known.forget(tags)
    changed = fit_kit(
        known.heard(), _network_of(old), task=old.task, method=method, none_of_these=none_of_these, told=_step(told)
    )
    return Taught(kit=changed)


def default_layers(model: TaggingModel) -> tuple[str, ...]:
    """Say on which layers of a network is taught where none is named.

    Args:
        model: the network.

    Returns:
        Mean and maximum over time of all convolutions, as musicnn has them, which tell short sounds apart better than
        what feeds its head; of networks without these, the layer that feeds the head.
    """
    return MEAN_AND_MAX if set(MEAN_AND_MAX) <= set(model.layers()) else model.layers()[-1:]


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


# -- listening ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sound:
    """A sound that is to be learned from: where it is, its tags and what it is called."""

    source: Source
    tags: tuple[str, ...]
    name: str
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def task(self) -> ExampleTask:
        """The same for a worker process; the source is a path."""
        return ExampleTask(fsdecode(cast("str | PathLike[str]", self.source)), self.start_s, self.end_s)

    @property
    def part(self) -> Part:
        """Where it is, and where it begins and ends there."""
        return self.source, self.start_s, self.end_s


def _found(examples: Examples) -> tuple[list[_Sound], tuple[str, ...], bool]:
    """Find the examples; give them, what is odd, and whether they lay in folders."""
    if not isinstance(examples, Mapping):
        found = read_examples(examples)
        return [_sound_of(example) for example in found.examples], found.notes, found.from_folder
    sounds = []
    for tag, sources in examples.items():
        if isinstance(sources, str | bytes | PathLike) or not isinstance(sources, Sequence):
            raise ConfigError(f"the examples of {tag!r} are {type(sources).__name__}; wanted a list of sounds.")
        for place, source in enumerate(sources):
            name = fsdecode(source) if isinstance(source, str | PathLike) else f"{tag} {place + 1}"
            sounds.append(_Sound(source, (tag,), name))
    return sounds, (), False


def _sound_of(example: Example) -> _Sound:
    return _Sound(example.path, example.tags, example.name, example.start_s, example.end_s)


class _Listener:
    """Turns examples into vectors: in worker processes where these can build the network, and else in this one.

    To be read: `failures` and `notes` of what was listened to.

    Args:
        model: the network.
        layers: whose values make the vector; None is the default.
        kit: a kit that is changed, and its file, or None.
        device: what torch computes on.
        max_duration_s: longest file that is taken.
        tunes: whether the network is to be trained, so that it is needed here, and its last layer.
    """

    def __init__(
        self,
        model: str | PathLike[str] | TaggingModel,
        layers: Sequence[str] | None,
        *,
        kit: tuple[Kit, str | PathLike[str] | None] | None,
        device: str,
        max_duration_s: float,
        tunes: bool = False,
    ) -> None:
        self.failures: list[Failure] = []
        self.notes: list[str] = []
        self._model = fsdecode(model) if isinstance(model, PathLike) else model
        self._device, self._max_duration_s = device, max_duration_s
        self._kit = None if kit is None else kit[0]
        self._kit_place = None if kit is None or kit[1] is None else fsdecode(kit[1])
        self.tagger = Tagger(
            self._model, device=device, max_duration_s=max_duration_s, kit=self._kit_place or self._kit
        )
        own = self.tagger.model.layers()
        if tunes:
            if layers is not None:
                raise ConfigError("layers are for a network that stays as it is; with finetune it is the last one.")
            layers = own[-1:]
        self.layers = tuple(layers or default_layers(self.tagger.model))
        for layer in self.layers:
            self.tagger.model.check_layer(layer)
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"a layer is named twice in {', '.join(self.layers)}; once is enough.")
        self.sounds: list[_Sound] = []

    @property
    def network(self) -> Network:
        """What a kit says of the network."""
        from taggram.models._fingerprint import features_sha256

        name = self._model if isinstance(self._model, str) else self.tagger.name
        return Network(model=name, layers=self.layers, features_sha256=features_sha256(self.tagger.model))

    def listen(
        self, sounds: Sequence[_Sound], n_workers: int | None, told: Told
    ) -> list[tuple[_Sound, EmbeddedExample]]:
        """Give the vectors of the sounds that could be read."""
        heard = []
        results = self._with_workers(sounds, n_workers) if self._workers_can(sounds) else self._here(sounds)
        for n_done, (sound, result) in enumerate(zip(sounds, results), 1):
            told(sound.name, n_done, len(sounds))
            if isinstance(result, Failure):
                self.failures.append(replace(result, path=sound.name))
                continue
            if result.unusual:
                self.notes.append(f"{printable(sound.name)}: {'; '.join(result.unusual)}")
            heard.append((sound, result))
        if not heard:
            why = f" ({self.failures[0].message})" if self.failures else ""
            raise TrainingError(f"none of the {len(sounds)} examples could be read{why}.")
        self.sounds = [sound for sound, _ in heard]
        return heard

    def _workers_can(self, sounds: Sequence[_Sound]) -> bool:
        """Tell whether worker processes can do it: all are files, and the network is built there as here."""
        are_files = all(isinstance(sound.source, str | PathLike) for sound in sounds)
        if self._kit is not None and self._kit_place is None:
            return False
        return are_files and settings_for_workers({"model": self._model, "options": {}}) is not None

    def _with_workers(self, sounds: Sequence[_Sound], n_workers: int | None) -> Iterator[EmbeddedExample | Failure]:
        if n_workers is None and self.tagger.device.type != "cpu":
            n_workers = 1  # as for tagging: more would each need a context on the device
        workers = example_workers(
            str(self._model), self.layers, kit=self._kit_place, device=self._device,
            max_duration_s=self._max_duration_s, n_workers=n_workers,
        )  # fmt: skip
        with workers:
            yield from workers.run(sound.task for sound in sounds)

    def _here(self, sounds: Iterable[_Sound]) -> Iterator[EmbeddedExample | Failure]:
        embedder = self.tagger.embedder(self.layers)
        for sound in sounds:
            try:
                yield embed_example(
                    embedder, sound.source, self.tagger.model.frontend.sample_rate, start_s=sound.start_s,
                    end_s=sound.end_s, max_duration_s=self._max_duration_s,
                )  # fmt: skip
            except TaggramError as error:  # one file must not cost the next one
                yield Failure.of(sound.name, error)


# -- what is known -----------------------------------------------------------------------------------------------------


class _Known:
    """The examples of a kit, old and new. To be read: `notes`.

    Args:
        task: whether exactly one tag holds.
        joins: whether one sound that comes with several tags has them all, where several may hold.
        kit: whose examples are known already, or None.
    """

    def __init__(self, task: KitTask, joins: bool, kit: Kit | None = None) -> None:
        self.notes: list[str] = []
        self._task, self._joins = task, joins
        self._examples: list[KitExample] = []
        self._rows: list[tuple[NDArray[np.floating], NDArray[np.int8]]] = []
        if kit is None:
            return
        for place, example in enumerate(kit.examples):
            chosen = kit.rows.example == place
            self._examples.append(example)
            self._rows.append((_as_they_came(kit, kit.rows.vectors[chosen]), kit.rows.semitones[chosen]))

    def take(self, new: Iterable[tuple[_Sound, EmbeddedExample]]) -> None:
        """Take new examples in.

        Args:
            new: sounds and their vectors.

        Raises:
            TrainingError: one sound has two tags where exactly one holds, or an example has none or several.
        """
        for sound, found in new:
            if self._task == "one" and len(sound.tags) != 1:
                raise TrainingError(
                    f"{printable(sound.name)} has {len(sound.tags) or 'no'} tags; exactly one is wanted, or the task "
                    "'several' (--task several)."
                )
            example = KitExample(sound.name, sound.tags, found.sound)
            place = next((at for at, other in enumerate(self._examples) if other.sound == found.sound), None)
            if place is None:
                self._examples.append(example)
                self._rows.append((found.vectors, found.semitones))
            else:
                self._examples[place] = self._met_again(self._examples[place], example)

    def _met_again(self, old: KitExample, new: KitExample) -> KitExample:
        """Say what becomes of an example whose sound is known already."""
        if set(old.tags) == set(new.tags):
            self.notes.append(f"{printable(new.name)} is the same sound as {printable(old.name)}, and counts once")
            return old
        if self._task == "several" and self._joins:
            return replace(old, tags=tuple(dict.fromkeys((*old.tags, *new.tags))))
        raise TrainingError(
            f"{printable(new.name)} ({printable(', '.join(new.tags))}) is the same sound as {printable(old.name)} "
            f"({printable(', '.join(old.tags))}). Leave one out, or let several tags hold (--task several)."
        )

    def forget(self, tags: Sequence[str]) -> None:
        """Take tags out, and the examples that have no other."""
        kept = []
        for example, rows in zip(self._examples, self._rows):
            left = tuple(tag for tag in example.tags if tag not in tags)
            if left or not example.tags:
                kept.append((replace(example, tags=left), rows))
        self._examples, self._rows = [example for example, _ in kept], [rows for _, rows in kept]

    def heard(self) -> Heard:
        """Give all examples with their vectors."""
        if not self._examples:
            raise TrainingError("no example is left.")
        counts = [len(vectors) for vectors, _ in self._rows]
        return Heard(
            examples=tuple(self._examples),
            vectors=np.concatenate([vectors for vectors, _ in self._rows]),
            example=np.repeat(np.arange(len(counts)), counts).astype(np.int32),
            semitones=np.concatenate([semitones for _, semitones in self._rows]),
        )


def _as_they_came(kit: Kit, rows: NDArray[np.float16]) -> NDArray[np.float32]:
    """Turn rows of a kit back into vectors of the network."""
    live = kit.inverse_scale > 0
    vectors = np.repeat(kit.mean[None], len(rows), axis=0)
    vectors[:, live] += rows.astype(np.float32) / kit.inverse_scale[live]
    return vectors


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
