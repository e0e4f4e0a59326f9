"""Clips of one instrument each to learn from, and of one or several to test on, with their sound decoded once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.datasets._base import PARTS, Part, TagDataset, Track, name_some
from taggram.datasets._folds import shuffled
from taggram.errors import ConfigError, DatasetError, printable
from taggram.studies._clips import Sounds, Whole, title_of

PERCENT_VALID = 15  # of the files for training
SONG = "recording_id"  # the column that says which clips are of one song


@dataclass(frozen=True)
class Excerpts:
    """The clips of the study.

    Attributes:
        tags: names, in order.
        track_ids: of the clips.
        labels: (clips, tags).
        parts: (clips,) places in `PARTS`.
        prepared: folder of the prepared sound by its rate in Hz.
    """

    tags: tuple[str, ...]
    track_ids: tuple[str, ...]
    labels: NDArray[np.bool_]
    parts: NDArray[np.int8]
    prepared: Mapping[int, str]

    def clips(self, part: Part) -> Whole:
        """Give the clips of a part: (clips,) their numbers."""
        return np.flatnonzero(self.parts == PARTS.index(part))

    def sounds(self, sample_rate: int) -> Sounds:
        """Open the sound at a rate."""
        return Sounds.of(self.prepared[sample_rate], self.track_ids)

    def save(self, path: Path) -> None:
        """Write them as JSON; `load` gives them back."""
        facts = {
            "tags": self.tags, "track_ids": self.track_ids, "labels": self.labels.astype(int).tolist(),
            "parts": self.parts.tolist(), "prepared": dict(self.prepared),
        }  # fmt: skip
        with written_aside(path) as aside:
            aside.write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read clips that were saved."""
        facts = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            tuple(facts["tags"]), tuple(facts["track_ids"]), np.array(facts["labels"], bool),
            np.array(facts["parts"], np.int8), {int(rate): folder for rate, folder in facts["prepared"].items()},
        )  # fmt: skip


def excerpts_of(
    dataset: TagDataset, tracks: Sequence[Track], prepared: Mapping[int, str], seed: int, *, whole_songs: bool
) -> Excerpts:
    """Say which clip has which tags and is in which part.

    Args:
        dataset: the data.
        tracks: those of its clips that were prepared.
        prepared: folder of the prepared sound by its rate in Hz.
        seed: of the clips that are drawn for validation, where the data has no part for it.
        whole_songs: whether songs are drawn, and not single clips.

    Returns:
        The clips.

    Raises:
        ConfigError: whole songs are to be drawn, and the data does not say what is of one song.
        DatasetError: a part is empty, or a clip to train or to validate on has not exactly one instrument.
    """
    drawn: set[str] = set()
    if not any(track.part == "valid" for track in tracks):
        drawn = _drawn([track for track in tracks if track.part == "train"], seed, whole_songs=whole_songs)
    parts = ["valid" if track.track_id in drawn else track.part for track in tracks]
    wrong = [track for track, part in zip(tracks, parts) if part != "test" and len(track.tags) != 1]
    if wrong:
        raise DatasetError(
            f"clips to train and to validate on have one instrument each, and {printable(wrong[0].track_id)} has "
            f"{name_some(wrong[0].tags) or 'none'}; data.label=COLUMN of a csv names the column that says it, such as "
            "tags for the first of the tags."
        )
    if missing := [part for part in PARTS if part not in parts]:
        raise DatasetError(f"{dataset.card.name} has no clip for {name_some(missing)}; all three parts are wanted.")
    places = {tag: place for place, tag in enumerate(dataset.tags)}
    labels = np.zeros((len(tracks), len(places)), bool)
    for number, track in enumerate(tracks):
        labels[number, [places[tag] for tag in track.tags]] = True
    return Excerpts(
        tags=tuple(dataset.tags),
        track_ids=tuple(track.track_id for track in tracks),
        labels=labels,
        parts=np.array([PARTS.index(part) for part in parts], np.int8),
        prepared=prepared,
    )


def facts_of(dataset: TagDataset, excerpts: Excerpts) -> dict[str, Any]:
    """Say what is measured on, as `Study.data_facts` gives it.

    Args:
        dataset: the data.
        excerpts: its clips.

    Returns:
        Plain values.
    """
    listed = [excerpts.track_ids, excerpts.labels.astype(int).tolist(), excerpts.parts.tolist()]
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    sizes = ", ".join(f"{len(excerpts.clips(part)):,} for {part}" for part in PARTS)
    return {
        "name": dataset.card.name,
        "title": title_of(dataset),
        "words": f"{sizes}, {len(excerpts.tags)} instruments, split {dataset.split} {digest[:11]}.",
        "split": dataset.split,
        "split_sha256": digest,
        "validation": f"{len(excerpts.clips('valid')):,} clips of split {dataset.split}",
        "n_clips": len(excerpts.track_ids),
        "classes": excerpts.tags,
        "sounds": {str(rate): excerpts.sounds(rate).content() for rate in excerpts.prepared},
    }


# -- inside ------------------------------------------------------------------------------------------------------------


def _drawn(tracks: Sequence[Track], seed: int, *, whole_songs: bool) -> set[str]:
    """Draw clips for validation: files, or whole songs until they are as many."""
    n_wanted = max(1, round(len(tracks) * PERCENT_VALID / 100))
    songs: dict[str, list[str]] = {}
    for track in tracks:
        if whole_songs and SONG not in track.columns:
            raise ConfigError(f"validation=songs: the data has no column {SONG}, which says what is of one song.")
        song = str(track.columns[SONG]) if whole_songs else track.track_id
        songs.setdefault(song, []).append(track.track_id)
    drawn: set[str] = set()
    for song in shuffled(songs, seed):
        if len(drawn) >= n_wanted:
            break
        drawn.update(songs[song])
    return drawn
