"""Catalogues made of nothing: rows with chosen scores and embeddings, written as `taggram catalogue` writes them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taggram.catalogue.journal import Journal
from taggram.catalogue.rows import Row, name_columns, to_table

TAGS = ("guitar", "piano", "male vocal", "80s")
SIZE = 8  # numbers of an embedding


def card_of(tags: Sequence[str] = TAGS, size: int = SIZE, name: str = "made-00000000", **facts: Any) -> dict[str, Any]:
    """The card of a catalogue that no network made."""
    settings = {"model": "made", "hop_s": None, "max_duration_s": 100_000, "engine": "torch", "kit": None}
    return {
        "layer": name, "model": "made", "weights_sha256": "0" * 64, "fingerprint": name, "tags": list(tags),
        "columns": name_columns(tags), "embedding": {"layer": "penultimate", "size": size},
        "settings": {**settings, "over_time": False}, "taggram": "0", **facts,
    }  # fmt: skip


def row(path: str, scores: Sequence[float] | None, embedding: Sequence[float] | None = None, **facts: Any) -> Row:
    """A file: it is well where it has scores, and failed where not."""
    if scores is None:
        return Row(path, 10, 0, error="AudioError: it holds no sound", **facts)
    vector = np.ones(SIZE) if embedding is None else embedding
    facts = {"size": 1000, "modified_us": 0, "sha256": path, "duration_s": 60.0, **facts}
    return Row(path, scores=np.array(scores, np.float32), embedding=np.array(vector, np.float32), **facts)


def write_catalogue(folder: Path, *parts: Sequence[Row], card: Mapping[str, Any] | None = None) -> Path:
    """Write a catalogue, or add to it, a part for each list of rows."""
    with Journal(folder, card or card_of()) as journal:
        for rows in parts:
            journal.commit({journal.new_name(): to_table(rows, journal.card)})
    return folder


class Killed(BaseException):
    """In the place of the end of a process."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Let nothing reach the disk from some step on, clean-up neither, as if the process had been killed there.

    A step is whatever changes the disk. One that writes a file is killed in the midst of it.

    Args:
        step: which one, from 0.
    """
    n_steps = 0

    def or_end(act, half=lambda *arguments: None):
        def wrapped(*arguments, **options):
            nonlocal n_steps
            n_steps += 1
            if n_steps <= step:
                return act(*arguments, **options)
            if n_steps == step + 1:
                half(*arguments)
            raise Killed

        return wrapped

    def half_part(journal, name, table):
        (journal.folder / "aside" / name).write_bytes(b"PAR1 half of it")

    def half_line(journal, change):
        with (journal.folder / "manifest.jsonl").open("ab") as file:
            file.write(json.dumps(change).encode()[:40])

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(Journal, "_write_aside", or_end(Journal._write_aside, half_part))
        patch.setattr(Journal, "_append", or_end(Journal._append, half_line))
        for owner, names in ((Path, ("replace", "unlink", "rmdir", "mkdir", "touch")), (shutil, ("rmtree",))):
            for name in names:
                patch.setattr(owner, name, or_end(getattr(owner, name)))
        yield
