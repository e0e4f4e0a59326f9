"""From examples, wherever they are, to their vectors: in worker processes, a file at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from taggram.audio import Source
from taggram.errors import AudioError, ConfigError, TrainingError, printable
from taggram.kit import Kit
from taggram.learning._example_patches import Span
from taggram.learning._example_worker import (
    Embedded,
    EmbeddedExample,
    ExampleTask,
    by_file,
    embed_spans,
    example_workers,
)
from taggram.learning._kit_fit import MEAN_AND_MAX, Network
from taggram.learning.examples import read_examples
from taggram.results import Failure
from taggram.tagger import Tagger, settings_for_workers

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel

Examples: TypeAlias = str | PathLike[str] | Mapping[str, Sequence[Source]]
"""A folder with a folder for each tag, a CSV file, or a dict from each tag to its sounds."""
Told: TypeAlias = Callable[[str, int, int], object]
"""Is told what is being done, how much of it is done, and how much there is; from other threads too. Both numbers are 0
where there is none to tell."""


@dataclass(frozen=True)
class ExampleSound:
    """A sound that is to be learned from.

    Attributes:
        source: where it is.
        tags: that hold of it.
        name: what it is called.
        span: where it begins and ends in the source.
    """

    source: Source
    tags: tuple[str, ...]
    name: str
    span: Span = (0.0, None)


def find_sounds(examples: Examples) -> tuple[list[ExampleSound], tuple[str, ...], bool]:
    """Find the examples.

    Args:
        examples: as for `teach`.

    Returns:
        The sounds, what is odd, and whether one sound with two tags comes twice.

    Raises:
        ConfigError: a dict does not give lists of sounds by tags.
        DatasetError: the folder or list cannot be read, or is not as it should be.
    """
    if not isinstance(examples, Mapping):
        found = read_examples(examples)
        sounds = [ExampleSound(one.path, one.tags, one.name, (one.start_s, one.end_s)) for one in found.examples]
        return sounds, found.notes, found.from_folder
    sounds = []
    for given, sources in examples.items():
        if not isinstance(given, str) or not (tag := unicodedata.normalize("NFC", given).strip()):
            raise ConfigError(f"a tag is {given!r}; wanted a name.")
        if isinstance(sources, str | bytes | PathLike) or not isinstance(sources, Sequence):
            raise ConfigError(f"the examples of {tag!r} are {type(sources).__name__}; wanted a list of sounds.")
        for place, source in enumerate(sources):
            name = fsdecode(source) if isinstance(source, str | PathLike) else f"{tag} {place + 1}"
            sounds.append(ExampleSound(source, (tag,), name))
    return sounds, (), True


def default_layers(model: TaggingModel) -> tuple[str, ...]:
    """Say on which layers of a network is taught where none is named.

    Args:
        model: the network.

    Returns:
        Mean and maximum over time of all convolutions, as musicnn has them, which tell short sounds apart better than
        what feeds its head; of networks without these, the layer that feeds the head.
    """
    return MEAN_AND_MAX if set(MEAN_AND_MAX) <= set(model.layers()) else model.layers()[-1:]


class Listener:
    """Turns examples into vectors: in worker processes where these can build the network, and else in this one.

    To be read: `failures` and `notes` of what was listened to.

    Args:
        model: the network.
        layers: whose values make the vector; None is the default.
        kit: a kit that is changed, and its file, or None.
        device: what torch computes on.
        max_duration_s: longest file that is taken.
        tunes: whether the network is to be trained, so that it is needed here, and its last layer.

    Raises:
        ConfigError: a layer is named twice, or layers are named and the network is to be trained.
        UnknownNameError: the network has no such layer.
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
        if tunes:
            if layers is not None:
                raise ConfigError("layers are for a network that stays as it is; with finetune it is the last one.")
            layers = self.tagger.model.layers()[-1:]
        self.layers = tuple(layers or default_layers(self.tagger.model))
        for layer in self.layers:
            self.tagger.model.check_layer(layer)
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"a layer is named twice in {', '.join(self.layers)}; once is enough.")

    @property
    def network(self) -> Network:
        """What a kit says of the network."""
        from taggram.models._fingerprint import features_sha256

        name = self._model if isinstance(self._model, str) else self.tagger.name
        return Network(model=name, layers=self.layers, features_sha256=features_sha256(self.tagger.model))

    def listen(
        self, sounds: Sequence[ExampleSound], n_workers: int | None, told: Told
    ) -> list[tuple[ExampleSound, EmbeddedExample]]:
        """Give the vectors of the sounds that could be read.

        Args:
            sounds: the examples.
            n_workers: worker processes; None is one a core.
            told: is told how far it is.

        Returns:
            Sounds and their vectors, in order.

        Raises:
            TrainingError: none could be read.
        """
        files = by_file([sound.source for sound in sounds])
        of_files = [[sounds[place] for place in places] for places in files]
        can = self._workers_can(sounds)
        results = self._with_workers(of_files, n_workers, told) if can else self._here(of_files)
        heard: dict[int, EmbeddedExample | Failure] = {}
        for places, found in zip(files, results):
            for place, one in zip(places, [found] * len(places) if isinstance(found, Failure) else found):
                heard[place] = Failure.of(sounds[place].name, one) if isinstance(one, AudioError) else one
                told(sounds[place].name, len(heard), len(sounds))
        self._take_notes([(sound, heard[place]) for place, sound in enumerate(sounds)])
        good = [(sound, one) for place, sound in enumerate(sounds) if isinstance(one := heard[place], EmbeddedExample)]
        if not good:
            why = f" ({self.failures[0].message})" if self.failures else ""
            raise TrainingError(f"none of the {len(sounds)} examples could be read{why}.")
        return good

    def _take_notes(self, heard: Sequence[tuple[ExampleSound, EmbeddedExample | Failure]]) -> None:
        """Keep what is to be said of sounds; what is odd about a file is said once."""
        said = set()
        for sound, one in heard:
            if isinstance(one, Failure):
                self.failures.append(replace(one, path=sound.name))
            elif one.unusual and (about := (str(sound.source), one.unusual)) not in said:
                said.add(about)
                self.notes.append(f"{printable(sound.name)}: {'; '.join(one.unusual)}")

    def _workers_can(self, sounds: Sequence[ExampleSound]) -> bool:
        """Tell whether worker processes can do it: all are files, and the network is built there as here."""
        are_files = all(isinstance(sound.source, str | PathLike) for sound in sounds)
        if self._kit is not None and self._kit_place is None:
            return False
        return are_files and settings_for_workers({"model": self._model, "options": {}}) is not None

    def _with_workers(
        self, files: Sequence[Sequence[ExampleSound]], n_workers: int | None, told: Told
    ) -> Iterator[Embedded | Failure]:
        if n_workers is None and self.tagger.device.type != "cpu":
            n_workers = 1  # as for tagging: more would each need a context on the device
        workers = example_workers(
            str(self._model), self.layers, kit=self._kit_place, device=self._device,
            max_duration_s=self._max_duration_s, n_workers=n_workers,
        )  # fmt: skip
        tasks = (
            ExampleTask(fsdecode(cast("str | PathLike[str]", file[0].source)), [sound.span for sound in file])
            for file in files
        )
        with workers:
            yield from workers.run(tasks, lambda path, done_s: _tell_seconds(told, Path(path).name, done_s))

    def _here(self, files: Sequence[Sequence[ExampleSound]]) -> Iterator[Embedded]:
        embedder, rate = self.tagger.embedder(self.layers), self.tagger.model.frontend.sample_rate
        for file in files:
            yield embed_spans(
                embedder, file[0].source, rate, [sound.span for sound in file], max_duration_s=self._max_duration_s
            )


def _tell_seconds(told: Told, name: str, done_s: float) -> None:
    told(f"{name}, {done_s:.0f} s", 0, 0)
