"""Worker processes that turn examples into vectors, each also as it sounds a little lower and higher.

A sound that is played 3 semitones higher or lower is still of its tag, and a fit that has heard that asks less for the
very pitch of its few examples. It is played faster for that, as a tape would be, by telling the decoder another rate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike, fsdecode
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from taggram._patch_vectors import PatchEmbedder
from taggram._processes import Do, FileTask, Message, Processes, Tell, serve
from taggram.audio import MAX_DURATION_S, Source
from taggram.errors import AudioError
from taggram.learning._example_patches import WHOLE, Part, Span, patches_of

SEMITONES = (0, -3, 3)  # how much higher an example is played, as it is first
MOST_PATCHES = 8  # of an example, evenly spread over it: more of one sound say little that is new
HASH_DIGITS = 16


@dataclass(frozen=True)
class ExampleTask(FileTask):
    """A file with examples that are to be embedded.

    Attributes:
        spans: where each begins and ends.
    """

    spans: Sequence[Span] = (WHOLE,)


@dataclass(frozen=True, eq=False)
class EmbeddedExample:
    """The vectors of an example.

    Attributes:
        vectors: (rows, features) float32.
        semitones: (rows,) int8: how much higher each was played.
        sound: a hash of its samples.
        unusual: what is odd about the file.
    """

    vectors: NDArray[np.float32]
    semitones: NDArray[np.int8]
    sound: str
    unusual: tuple[str, ...]


Embedded: TypeAlias = list[EmbeddedExample | AudioError]
"""The examples of a file; in the place of one that has no vectors, what is wrong with it."""


def example_workers(
    model: str, layers: tuple[str, ...], *, kit: str | None, device: str, max_duration_s: float, n_workers: int | None
) -> Processes[ExampleTask, Embedded]:
    """Make the workers.

    Args:
        model: name or file of the network.
        layers: whose values make the vector.
        kit: file of a kit whose network is tuned, or None.
        device: what torch computes on.
        max_duration_s: longest file that is taken, in seconds.
        n_workers: processes at most; None is one a core.

    Returns:
        Processes that are started when there is something to do.
    """
    settings = {
        "tagger": {"model": model, "device": device, "max_duration_s": max_duration_s, "kit": kit},
        "layers": list(layers),
    }
    return Processes("taggram.learning._example_worker", settings, _read, n_workers)


def by_file(sources: Iterable[Source]) -> list[list[int]]:
    """Put the places of those sources together that are one file.

    Args:
        sources: of examples.

    Returns:
        Places, a list a file; what is no path is a file of its own.
    """
    places: dict[str | int, list[int]] = {}
    for place, source in enumerate(sources):
        places.setdefault(fsdecode(source) if isinstance(source, str | PathLike) else place, []).append(place)
    return list(places.values())


def embed_example(embedder: PatchEmbedder, source: Source, sample_rate: int) -> EmbeddedExample:
    """Turn a whole sound into vectors.

    Args:
        embedder: of the network.
        source: the sound, which is read once for each of `SEMITONES`.
        sample_rate: of the network, in Hz.

    Returns:
        Its vectors.

    Raises:
        AudioError: the sound cannot be read, or is silent.
    """
    (found,) = embed_spans(embedder, source, sample_rate, [WHOLE])
    if isinstance(found, AudioError):
        raise found
    return found


def embed_spans(
    embedder: PatchEmbedder,
    source: Source,
    sample_rate: int,
    spans: Sequence[Span],
    *,
    max_duration_s: float = MAX_DURATION_S,
    tell: Tell = lambda _: None,
) -> Embedded:
    """Turn parts of a sound into vectors.

    Args:
        embedder: of the network.
        source: the sound, which is read once for each of `SEMITONES`.
        sample_rate: of the network, in Hz.
        spans: where each part begins and ends.
        max_duration_s: longest sound that is taken, in seconds.
        tell: is told the seconds of the sound that are done.

    Returns:
        Of each part its vectors; or what is wrong: the sound cannot be read, ends before the part begins, or is silent.
    """
    digests = [hashlib.sha256() for _ in spans]
    rows: list[list[NDArray[np.float32]]] = [[] for _ in spans]
    unusual: dict[int, tuple[str, ...]] = {}
    errors: dict[int, AudioError] = {}
    for step in SEMITONES:
        rate = round(sample_rate / 2 ** (step / 12))  # played at the network's rate, it sounds higher
        parts = {
            place: Part(span, rate, embedder.cutter(), digests[place] if step == 0 else None)
            for place, span in enumerate(spans)
            if place not in errors
        }
        for place, patches, odd in patches_of(parts, source, rate, MOST_PATCHES, max_duration_s, tell):
            if isinstance(patches, AudioError):
                errors[place] = patches
            else:
                rows[place].append(embedder.vectors(patches))
                unusual[place] = odd
    return [
        errors[place] if place in errors else _joined(rows[place], digests[place], unusual[place])
        for place in range(len(spans))
    ]


def _joined(rows: list[NDArray[np.float32]], digest: Any, unusual: tuple[str, ...]) -> EmbeddedExample:
    semitones = np.repeat(np.array(SEMITONES, np.int8), [len(some) for some in rows])
    return EmbeddedExample(np.concatenate(rows), semitones, digest.hexdigest()[:HASH_DIGITS], unusual)


def _read(task: ExampleTask, fields: Message) -> Embedded:  # noqa: ARG001 (all of its kind are called alike)
    """Make a result of what a worker sent."""
    ends = np.cumsum(fields["counts"])[:-1]
    vectors, semitones = (np.split(fields[name], ends) for name in ("vectors", "semitones"))
    return [
        AudioError(one["error"])
        if "error" in one
        else EmbeddedExample(rows, steps, one["sound"], tuple(one["unusual"]))
        for one, rows, steps in zip(fields["examples"], vectors, semitones)
    ]


# -- inside of a worker ------------------------------------------------------------------------------------------------


def _make(settings: Message) -> Do:
    """Build the network of this worker, with one torch thread."""
    import torch

    from taggram.tagger import Tagger

    torch.set_num_threads(1)
    tagger = Tagger(**settings["tagger"])
    embedder = tagger.embedder(settings["layers"])

    def do(fields: Message, tell: Tell) -> Message:
        found = embed_spans(
            embedder, fields["path"], tagger.model.frontend.sample_rate, fields["spans"],
            max_duration_s=tagger.max_duration_s, tell=tell,
        )  # fmt: skip
        return _sent(found)

    return do


def _sent(found: Embedded) -> Message:
    """Make what is sent of the examples of a file; those without vectors have no row."""
    good = [one for one in found if isinstance(one, EmbeddedExample)]
    examples = [
        {"error": one.reason} if isinstance(one, AudioError) else {"sound": one.sound, "unusual": list(one.unusual)}
        for one in found
    ]
    return {
        "examples": examples,
        "counts": [0 if isinstance(one, AudioError) else len(one.vectors) for one in found],
        "vectors": np.concatenate([one.vectors for one in good]) if good else np.zeros((0, 0), np.float32),
        "semitones": np.concatenate([one.semitones for one in good]) if good else np.zeros(0, np.int8),
    }


if __name__ == "__main__":
    serve(_make)
