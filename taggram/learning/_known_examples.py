"""The examples of a kit, old and new, by their vectors: sound that is known already is known again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taggram.errors import TrainingError, printable
from taggram.kit import Kit, KitExample, KitTask
from taggram.learning._example_worker import EmbeddedExample
from taggram.learning._kit_fit import Heard
from taggram.learning._listening import ExampleSound


class KnownExamples:
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

    def take(self, new: Iterable[tuple[ExampleSound, EmbeddedExample]]) -> None:
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
