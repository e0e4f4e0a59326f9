"""Worker processes that turn examples into vectors, each also as it sounds a little lower and higher.

A sound that is played 3 semitones higher or lower is still of its tag, and a fit that has heard that asks less for the
very pitch of its few examples. It is played faster for that, as a tape would be, by telling the decoder another rate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._patch_vectors import NoSamplesError, PatchEmbedder, PatchVectors, between
from taggram._processes import Do, FileTask, Message, Processes, Tell, serve
from taggram.audio import MAX_DURATION_S, Samples, SoundStream, Source
from taggram.errors import AudioError

SEMITONES = (0, -3, 3)  # how much higher an example is played, as it is first
MOST_PATCHES = 8  # of an example, evenly spread over it: more of one sound say little that is new
SOFT = 0.01  # patches whose loudest sample is so small a share of the example's loudest, -40 dB, are pauses
HASH_DIGITS = 16


@dataclass(frozen=True)
class ExampleTask(FileTask):
    """An example that is to be embedded.

    Attributes:
        start_s: where it begins in the file, in seconds.
        end_s: where it ends, or None for the end of the file.
    """

    start_s: float = 0.0
    end_s: float | None = None


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


def example_workers(
    model: str, layers: tuple[str, ...], *, kit: str | None, device: str, max_duration_s: float, n_workers: int | None
) -> Processes[ExampleTask, EmbeddedExample]:
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


def embed_example(
    embedder: PatchEmbedder,
    source: Source,
    sample_rate: int,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    max_duration_s: float = MAX_DURATION_S,
) -> EmbeddedExample:
    """Turn an example into vectors.

    Args:
        embedder: of the network.
        source: the sound, which is read once for each of `SEMITONES`.
        sample_rate: of the network, in Hz.
        start_s: where the example begins in the sound, in seconds.
        end_s: where it ends, or None for the end of the sound.
        max_duration_s: longest sound that is taken, in seconds.

    Returns:
        Its vectors.

    Raises:
        AudioError: the sound cannot be read, ends before the example begins, or is silent.
    """
    digest = hashlib.sha256()
    vectors, semitones = [], []
    unusual: tuple[str, ...] = ()
    for step in SEMITONES:
        rate = round(sample_rate / 2 ** (step / 12))  # played at the network's rate, it sounds higher
        with SoundStream(source, sample_rate=rate, max_duration_s=max_duration_s) as sound:
            blocks = between(sound, round(start_s * rate), None if end_s is None else round(end_s * rate))
            if step == 0:
                blocks = _hashed(blocks, digest)
            rows = _spread(_heard(embedder, blocks, sound.name, start_s))
            unusual = sound.unusual
        vectors.append(rows)
        semitones.append(np.full(len(rows), step, np.int8))
    return EmbeddedExample(
        np.concatenate(vectors), np.concatenate(semitones), digest.hexdigest()[:HASH_DIGITS], unusual
    )


def _heard(embedder: PatchEmbedder, blocks: Iterator[Samples], name: str, start_s: float) -> PatchVectors:
    """Compute the vectors of the patches; an example without any sound is refused."""
    try:
        found = embedder.embed(blocks)
    except NoSamplesError as error:
        where = f"it ends before {start_s:g} s, where the example begins" if start_s else "there are no samples in it"
        raise AudioError(where, name) from error
    if not found.peaks.any():
        raise AudioError("it is silent, so nothing can be learned from it", name)
    return found


def _spread(found: PatchVectors) -> NDArray[np.float32]:
    """Choose patches that are no pauses, evenly spread."""
    heard = np.flatnonzero(found.peaks > SOFT * found.peaks.max())
    places = np.linspace(0, len(heard) - 1, min(len(heard), MOST_PATCHES)).round().astype(int)
    chosen: NDArray[np.float32] = found.vectors[heard[places]]
    return chosen


def _hashed(blocks: Iterator[Samples], digest: Any) -> Iterator[Samples]:
    """Give blocks on, and put their samples into a hash."""
    for block in blocks:
        digest.update(np.ascontiguousarray(block).data)
        yield block


def _read(task: ExampleTask, fields: Message) -> EmbeddedExample:  # noqa: ARG001 (all of its kind are called alike)
    """Make a result of what a worker sent."""
    return EmbeddedExample(**{**fields, "unusual": tuple(fields["unusual"])})


# -- inside of a worker ------------------------------------------------------------------------------------------------


def _make(settings: Message) -> Do:
    """Build the network of this worker, with one torch thread."""
    import torch

    from taggram.tagger import Tagger

    torch.set_num_threads(1)
    tagger = Tagger(**settings["tagger"])
    embedder = tagger.embedder(settings["layers"])

    def do(fields: Message, tell: Tell) -> Message:  # noqa: ARG001 (an example is short)
        task = ExampleTask(**fields)
        found = embed_example(
            embedder, task.path, tagger.model.frontend.sample_rate, start_s=task.start_s, end_s=task.end_s,
            max_duration_s=tagger.max_duration_s,
        )  # fmt: skip
        return {
            "vectors": found.vectors, "semitones": found.semitones, "sound": found.sound, "unusual": found.unusual,
        }  # fmt: skip

    return do


if __name__ == "__main__":
    serve(_make)
