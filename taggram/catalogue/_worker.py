"""Worker processes in which files become rows: read once to be hashed, then tagged and embedded in one pass."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import fsdecode
from typing import Any

from taggram._processes import (
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
from taggram.catalogue._stores import at_hand
from taggram.catalogue.journal import sha256_of
from taggram.catalogue.rows import Row
from taggram.errors import WorkerError
from taggram.results import Failure

DESCRIBE = ""  # in the place of a path: what the tagger is, and not a file, is asked for


@dataclass(frozen=True)
class Task(FileTask):
    """A file that is to become a row.

    Attributes:
        name: its path as UTF-8 can say it.
        size: in bytes, as it was found.
        modified_us: when it was changed last, as it was found.
        over_time: whether the scores of each patch are wanted too.
    """

    name: str = ""
    size: int | None = None
    modified_us: int | None = None
    over_time: bool = False


class CatalogueWorkers(Processes[Task, Row | Message]):
    """Workers that make rows of files. They are started when there is something to do.

    Args:
        settings: those of `Tagger`, all of them plain values.
        n_workers: processes at most; None is one a core.
        hang_s: a file without any progress for so long is given up.
    """

    def __init__(self, settings: dict[str, Any], n_workers: int | None = None, *, hang_s: float = HANG_S) -> None:
        super().__init__("taggram.catalogue._worker", settings, _read, n_workers, hang_s=hang_s)

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
        if isinstance(facts, Failure):
            raise WorkerError(facts.message)
        return facts if isinstance(facts, dict) else {}

    def rows(self, tasks: Iterable[Task], progress: Progress | None = None) -> Iterator[Row]:
        """Make rows of files.

        Args:
            tasks: the files.
            progress: is told a path and the seconds of it that are done; called from other threads.

        Yields:
            A row a file, also for a file that failed. One that its worker crashed over is tried again at the end.

        Raises:
            WorkerError: workers cannot be started, which is no fault of the files.
        """
        crashed: list[Task] = []
        for task, result in self._in_turn(tasks, progress):
            if isinstance(result, Row):
                yield result
            else:
                crashed.append(task)
        for _, result in self._in_turn(crashed, progress, last=True):  # it may have been killed from outside
            if isinstance(result, Row):
                yield result

    def _in_turn(
        self, tasks: Iterable[Task], progress: Progress | None, *, last: bool = False
    ) -> Iterator[tuple[Task, Row | None]]:
        """Do tasks; give each with its row, or with None if its worker crashed and this is not the last attempt."""
        asked: deque[Task] = deque()

        def noted() -> Iterator[Task]:
            for task in tasks:
                asked.append(task)
                yield task

        for result in self.run(noted(), progress):
            task = asked.popleft()
            if isinstance(result, Row):
                yield task, result
            elif isinstance(result, Failure):
                if result.error == NOT_STARTED:
                    raise WorkerError(result.message)
                again = result.error == WorkerError.__name__ and not last
                error = f"{result.error}: {result.message}"
                yield task, None if again else Row(task.name, task.size, task.modified_us, error=error)


def _read(task: Task, fields: Message) -> Row | Message:
    return fields if task.path == DESCRIBE else Row(task.name, task.size, task.modified_us, **fields)


def task_of(row: dict[str, Any], over_time: bool) -> Task:
    """Make the task of a file.

    Args:
        row: path, name, size and modified, as in `Plan.to_do`.
        over_time: whether the scores of each patch are wanted.

    Returns:
        The task.
    """
    return Task(fsdecode(row["name"]), row["path"], row["size"], row["modified"], over_time)


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
            return _description(tagger, settings, task.over_time)
        with at_hand(task.path) as place:
            digest = sha256_of(place)
            try:
                taggram, embedding = tagger.tag_and_embed(place, progress=tell)
            except NO_FAULT_OF_THE_FILE:
                raise
            except Exception as error:  # as in any worker; but a file that was read keeps its hash
                failure = Failure.of(task.path, error)
                return {"sha256": digest, "error": f"{failure.error}: {failure.message}"}
        return {
            "sha256": digest, "duration_s": taggram.duration_s, "scores": taggram.mean_scores,
            "embedding": embedding.features.mean(axis=0), "notes": list(taggram.notes),
            "taggram": taggram.scores if task.over_time else None,
        }  # fmt: skip

    return do


def _description(tagger: Any, settings: Message, over_time: bool) -> Message:
    """Say what a tagger is, and sum up all that its results follow from."""
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
    return {
        "model": tagger.name, "tags": list(tagger.tags), "weights_sha256": weights,
        "fingerprint": hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
        "embedding": {
            "layer": tagger.embedding_layer, "size": model.n_features if kit is None else len(kit.mean),
        },
        "patch_s": tagger.patch_s, "hop_s": tagger.hop_s,
    }  # fmt: skip


if __name__ == "__main__":
    serve(make_cataloguing)
