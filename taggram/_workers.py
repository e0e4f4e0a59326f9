"""Worker processes in which the whole path of a file runs, from sound to tags.

Each has the same tagger, with one torch thread. The process that starts workers needs no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taggram._processes import HANG_S, Do, FileTask, Message, Processes, Tell, serve
from taggram.errors import printable
from taggram.results import Embedding, Taggram


@dataclass(frozen=True)
class Task(FileTask):
    """What is to be done to one file.

    Attributes:
        embed: whether it is to be embedded, and not tagged.
        layer: which layer is wanted then; None is the last.
        picture: where the picture of its tags is to be written, or None for none.
    """

    embed: bool = False
    layer: str | None = None
    picture: str | None = None


class Workers(Processes[Task, Taggram | Embedding]):
    """Worker processes with the same tagger in each. They are started when there is something to do.

    Args:
        settings: those of `Tagger`, all of them plain values.
        n_workers: processes at most; None is one a core.
        hang_s: a file without any progress for so long is given up.
    """

    def __init__(self, settings: dict[str, Any], n_workers: int | None = None, *, hang_s: float = HANG_S) -> None:
        super().__init__("taggram._workers", settings, read_result, n_workers, hang_s=hang_s)


def read_result(task: Task, fields: Message) -> Taggram | Embedding:
    """Make a result of what a worker sent.

    Args:
        task: what it was to do.
        fields: those of the result.

    Returns:
        The result.
    """
    for name, value in fields.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    return Embedding(**fields) if task.embed else Taggram(**fields)


# -- inside of a worker ------------------------------------------------------------------------------------------------


def make_tagging(settings: Message) -> Do:
    """Build the tagger of this worker, with one torch thread.

    Args:
        settings: those of `Tagger`.

    Returns:
        What tags or embeds a file.
    """
    import torch

    from taggram.tagger import Tagger

    torch.set_num_threads(1)
    tagger = Tagger(**settings)

    def do(fields: Message, tell: Tell) -> Message:
        task = Task(**fields)
        result: Taggram | Embedding
        if task.embed:
            result = tagger.embed_whole(task.path, layer=task.layer, progress=tell)
        else:
            result = tagger.tag(task.path, progress=tell)
            if task.picture is not None:
                result = _with_picture(result, task.picture)
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}

    return do


def _with_picture(result: Taggram, path: str) -> Taggram:
    """Draw the picture of a result; a picture that cannot be written is said beside the tags, which are good."""
    from taggram.picture import save_picture

    try:
        save_picture(result.plot(), Path(path))
    except OSError as error:
        trouble = f"the picture {printable(path)} could not be written: {error.strerror or error}"
        return dataclasses.replace(result, trouble=trouble)
    return result


if __name__ == "__main__":
    serve(make_tagging)
