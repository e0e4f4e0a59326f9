"""Prepared features as pictures of one length each, and tracks that are nothing but zeros.

Source: Dabral, Deshmukh and Malapati, "A Multi-scale Convolutional Neural Network Architecture for Music Auto-Tagging",
    2018, and its code: clips that could not be decoded were stored as spectrograms of zeros and kept, with their tags.
Differs: there all clips have one length. Here a shorter one is filled with what silence is in the features; next to
    the seam its own last two frames are those of a sound that ends, not of one that goes on in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check, check_choice, check_count, is_number
from taggram.datasets._base import PARTS, Part
from taggram.errors import ConfigError
from taggram.frontends import FrontendConfig, LogMelConfig
from taggram.learning._decoding import FLOAT16
from taggram.learning._reading import PreparedData

NO_FILE = -1  # of a track of zeros


@dataclass(frozen=True, kw_only=True)
class ZeroTrack:
    """A track that stands for one that could not be decoded.

    Attributes:
        track_id: its name.
        part: of the split.
        tags: names.
    """

    track_id: str
    part: Part
    tags: tuple[str, ...]


class FixedFrames(PreparedData):
    """The tracks of a prepared folder with features, each as long as all others.

    Args:
        folder: that `prepare` wrote, with features.
        n_frames: of each track: what is longer is cut at its end, what is shorter is filled there.
        fill: value that fills, such as that of silence.
        zeros: tracks of zeros that come behind all others.

    Raises:
        ConfigError: the folder has no features, a value makes no sense, or a track of zeros has a tag or a part that
            there is not.
        DatasetError: as for `PreparedData`.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        n_frames: int,
        fill: float = 0.0,
        zeros: Sequence[ZeroTrack] = (),
    ) -> None:
        check_count("n_frames", n_frames)
        check(is_number(fill), "fill", fill, "a number")
        super().__init__(folder)
        self._width = self._lists_of("features").width
        self._n_frames, self._fill, self._zeros = n_frames, fill, tuple(zeros)
        for track in self._zeros:
            check_choice("part of a track of zeros", track.part, PARTS)
            if unknown := set(track.tags) - set(self.tags):
                raise ConfigError(f"a track of zeros has the tag {min(unknown)!r}, which the data has not.")
        tag_ids = [sorted(map(self.tags.index, track.tags)) for track in self._zeros]
        ends = self._tag_ends[-1] + np.cumsum([len(ids) for ids in tag_ids], dtype=np.int64)
        parts = [PARTS.index(track.part) for track in self._zeros]
        self._tag_ends = np.concatenate([self._tag_ends, ends])
        self._tag_ids = np.concatenate([self._tag_ids, *(np.array(ids, np.int32) for ids in tag_ids)])
        self._parts = np.concatenate([self._parts, np.array(parts, np.int8)])
        self._file = np.concatenate([self._file, np.full(len(parts), NO_FILE, np.int32)])

    @property
    def frontend(self) -> FrontendConfig | None:
        """How the features were made, with patches of this length."""
        config = super().frontend
        return dataclasses.replace(config, n_frames=self._n_frames) if isinstance(config, LogMelConfig) else config

    def n_frames(self, row: int) -> int:  # noqa: ARG002 (all have the same number)
        """Count the frames of the features of a track."""
        return self._n_frames

    def features(self, row: int, start: int = 0, n_frames: int | None = None) -> NDArray[np.float16]:
        """Read frames of a track; see `PreparedData.features`."""
        n_frames = self._n_frames - start if n_frames is None else n_frames
        if start < 0 or n_frames < 0 or start + n_frames > self._n_frames:
            raise ConfigError(
                f"frames from {start} to {start + n_frames} were asked for; every track has {self._n_frames}."
            )
        if self._file[row] == NO_FILE:
            return np.zeros((n_frames, self._width), FLOAT16)
        n_there = min(max(super().n_frames(row) - start, 0), n_frames)
        there = super().features(row, min(start, super().n_frames(row)), n_there)
        if n_there == n_frames:
            return there
        return np.concatenate([there, np.full((n_frames - n_there, self._width), self._fill, FLOAT16)])

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of all tracks; those of zeros have no more than their name. See `PreparedData.column`."""
        values = super().column(name)
        if not self._zeros:
            return values
        if name == "track_id":
            return np.concatenate([values, np.array([track.track_id for track in self._zeros], object)])
        nothing: list[Any] = [None if values.dtype == object else np.nan] * len(self._zeros)
        return np.concatenate([values, np.array(nothing, object if values.dtype == object else np.float64)])
