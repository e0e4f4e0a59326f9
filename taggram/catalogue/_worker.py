"""Worker processes in which files become rows: read once to be hashed, then tagged and embedded in one pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import fsdecode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggram._processes import (
    AHEAD,
    HANG_S,
    NO_FAULT_OF_THE_FILE,
    NOT_STARTED,
    Do,
    FileTask,
    Message,
    Processes,
    Progress,
    Tell,
    serve,
)
from taggram.catalogue._folder import sha256_of
from taggram.catalogue._stores import at_hand
from taggram.catalogue.rows import PLACE, Row
from taggram.errors import WorkerError
from taggram.results import Failure

if TYPE_CHECKING:
    from taggram.tagger import Tagger

MOST_BYTES_OF_FRAMES = 2**25  # of one track: some twenty minutes as 96 bands; tracks may wait by the dozen
FRAMES_AHEAD = 2  # tracks a worker whose frames may wait
DESCRIBE = ""  # in the place of a path: what the tagger is, and not a file, is asked for


@dataclass(frozen=True)
class Task(FileTask):
    """A file that is to become a row.

    Attributes:
        name: its path as UTF-8 can say it.
        size: in bytes, as it was found.
        modified_us: when it was changed last, as it was found.
        over_time: whether the scores of each patch are wanted too.
        frames: whether frames are wanted in the place of scores, of a track that is not too long.
        place: number of the file among those to do.
    """

    name: str = ""
    size: int | None = None
    modified_us: int | None = None
    over_time: bool = False
    frames: bool = False
    place: int = 0


class CatalogueWorkers(Processes[Task, Row | Message]):
    """Workers that make rows of files. They are started when there is something to do.

    Args:
        settings: those of `Tagger`, all of them plain values.
        n_workers: processes at most; None is one a core.
        hang_s: a file without any progress for so long is given up.
        ahead: files a worker that may be asked for before the one that is next.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        n_workers: int | None = None,
        *,
        hang_s: float = HANG_S,
        ahead: int = AHEAD,
    ) -> None:
        super().__init__("taggram.catalogue._worker", settings, _read, n_workers, hang_s=hang_s, ahead=ahead)

    def describe(self, *, over_time: bool) -> Message:
        """Ask the tagger what it is.

        Args:
            over_time: whether the scores of each patch will be wanted.

        Returns:
            The fields of a card that follow from it.

        Raises:
            TaggramError: the tagger cannot be built.
        """
        facts = next(self.run([Task(DESCRIBE, over_time=over_time)]))
        if not isinstance(facts, dict):
            raise WorkerError(facts.message if isinstance(facts, Failure) else "a worker described no tagger.")
        return facts

    def rows(self, tasks: Iterable[Task], progress: Progress | None = None) -> Iterator[Row]:
        """Make rows of files.

        Args:
            tasks: the files.
            progress: is told a path and the seconds of it that are done; called from other threads.

        Yields:
            A row a file, as they are done, also for a file that failed. One that its worker crashed over is tried
            again at the end, since the worker may have been killed from outside.

        Raises:
            WorkerError: workers cannot be started, which is no fault of the files.
        """
        crashed: list[Task] = []
        for task, result in self.as_done(tasks, progress):
            if isinstance(result, Failure) and result.error == WorkerError.__name__:
                crashed.append(task)
            else:
                yield _row_of(task, result)
        for task, result in self.as_done(crashed, progress):
            yield _row_of(task, result)


def _read(task: Task, fields: Message) -> Row | Message:
    return fields if task.path == DESCRIBE else Row(task.name, task.size, task.modified_us, place=task.place, **fields)


def _row_of(task: Task, result: Row | Message | Failure) -> Row:
    if isinstance(result, Row):
        return result
    if not isinstance(result, Failure) or result.error == NOT_STARTED:
        raise WorkerError(result.message if isinstance(result, Failure) else f"{task.path} is no file.")
    error = f"{result.error}: {result.message}"
    return Row(task.name, task.size, task.modified_us, error=error, place=task.place)


def task_of(row: dict[str, Any], *, over_time: bool, frames: bool = False) -> Task:
    """Make the task of a file.

    Args:
        row: path, name, size and modified, as in `Plan.to_do`, and maybe its place.
        over_time: whether the scores of each patch are wanted.
        frames: whether frames are wanted in their place.

    Returns:
        The task.
    """
    path = fsdecode(row["name"])
    return Task(path, row["path"], row["size"], row["modified"], over_time, frames, row.get(PLACE, 0))


# -- inside of a worker ------------------------------------------------------------------------------------------------


def make_cataloguing(settings: Message) -> Do:
    """Build the tagger of this worker, with one torch thread.

    Args:
        settings: those of `Tagger`.

    Returns:
        What makes a row of a file.
    """
    import torch

    from taggram.tagger import Tagger

    torch.set_num_threads(1)
    tagger = Tagger(**settings)

    def do(fields: Message, tell: Tell) -> Message:
        task = Task(**fields)
        if task.path == DESCRIBE:
            return describe_tagger(tagger, settings, over_time=task.over_time)

        def goes_on() -> None:  # a large file takes longer than a decoder may stand still
            tell(0.0)

        with at_hand(task.path, goes_on) as place:
            digest = sha256_of(place, goes_on)
            try:
                return {"sha256": digest, **_tagged(tagger, task, place, tell)}
            except NO_FAULT_OF_THE_FILE:
                raise
            except Exception as error:  # as in any worker; but a file that was read keeps its hash
                failure = Failure.of(task.path, error)
                return {"sha256": digest, "error": f"{failure.error}: {failure.message}"}

    return do


def _tagged(tagger: Tagger, task: Task, place: Path, tell: Tell) -> Message:
    """Tag a file, or make its frames; give the fields of its row."""
    from taggram._two_stages import make_frames

    if task.frames:
        track = make_frames(tagger, place, most_bytes=MOST_BYTES_OF_FRAMES, progress=tell)
        if track is not None:
            return {"duration_s": track.duration_s, "notes": list(track.notes), "frames": track.frames}
    taggram, embedding = tagger.tag_and_embed(place, progress=tell)
    return {
        "duration_s": taggram.duration_s, "scores": taggram.mean_scores, "embedding": embedding.features.mean(axis=0),
        "notes": list(taggram.notes), "taggram": taggram.scores if task.over_time else None,
    }  # fmt: skip


def describe_tagger(tagger: Any, settings: Mapping[str, Any], *, over_time: bool) -> Message:
    """Say what a tagger is, and sum up all that its results follow from.

    Args:
        tagger: the `Tagger`.
        settings: that it was made with.
        over_time: whether the scores of each patch are kept.

    Returns:
        The fields of a card that follow from it, and the device.
    """
    from taggram.frontends import config_to_dict
    from taggram.models._fingerprint import weights_sha256

    model, kit = tagger.model, tagger.kit
    weights = weights_sha256(model, with_head=kit is None)
    facts = {
        "tags": list(tagger.tags), "weights": weights, "frontend": config_to_dict(model.frontend.config),
        "sample_bits": model.frontend.sample_bits, "patch_frames": tagger.patch_frames,
        "hop_frames": tagger.hop_frames, "max_duration_s": tagger.max_duration_s, "engine": settings["engine"],
        "layer": tagger.embedding_layer, "over_time": over_time,
        "kit": None if kit is None else hashlib.sha256(kit.to_bytes()).hexdigest(),
    }  # fmt: skip
    if tagger.precision != "float32":  # what was made before it could be chosen keeps its fingerprint
        facts["precision"] = tagger.precision
    return {
        "model": tagger.name, "tags": list(tagger.tags), "weights_sha256": weights,
        "fingerprint": hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
        "embedding": {
            "layer": tagger.embedding_layer, "size": model.n_features if kit is None else len(kit.mean),
        },
        "patch_s": tagger.patch_s, "hop_s": tagger.hop_s, "device": tagger.device.type,
    }  # fmt: skip


if __name__ == "__main__":
    serve(make_cataloguing)
