"""The pictures of the multi-scale study: made once, by processes side by side, then read from disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram.datasets import TagDataset
from taggram.datasets.mtt import N_CLIPS, N_TEST, N_VALID
from taggram.errors import DatasetError
from taggram.learning.fixed_frames import FixedFrames, ZeroTrack
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import DataConfig
from taggram.learning.train import open_data, prepared_data
from taggram.models.multiscale import FLOOR, MEL
from taggram.studies._clips import Sounds, title_of
from taggram.studies._drawn import with_drawn_parts

if TYPE_CHECKING:
    from taggram.learning.train import Watcher
    from taggram.studies.multiscale import MultiscaleConfig

SILENCE = math.log(FLOOR)  # -46.05
SHARES = (N_CLIPS - N_VALID - N_TEST, N_VALID, N_TEST)
DRAWN = "drawn, 18,000 to 2,000 to 5,863"
Floats = NDArray[np.float32]


def prepare_pictures(config: MultiscaleConfig, watcher: Watcher, n_workers: int | None) -> dict[str, Any]:
    """Turn all clips of a data set into features on disk.

    Args:
        config: the settings of the study.
        watcher: is told what happens.
        n_workers: processes at most; None is as many as `config.feature_workers`.

    Returns:
        What `open_pictures` needs, as plain values, and "facts".

    Raises:
        ConfigError: no data is named.
        DatasetError: the data is missing or has too few clips.
    """
    options = dict(config.data.options)
    if config.data.name == "mtt":
        own = {"split": "random-18000-2000", "tags": "mtt50_multiscale"}
        options = {**own, "keep_unreadable": config.unreadable == "zeros", **options}
    data_config = DataConfig(
        name=config.data.name, root=config.data.root, prepared=config.data.prepared, features=True, options=options
    )
    dataset = open_data(data_config, watcher)
    n_processes = config.feature_workers if n_workers is None else n_workers
    prepared = prepared_data(data_config, dataset, MEL, n_processes, watcher, keep_samples=False)
    if prepared.frontend != MEL:
        raise DatasetError("data.prepared has no features of multiscale; `taggram data prepare --features multiscale`.")
    found: dict[str, Any] = {
        "prepared": str(prepared.folder.resolve()),
        "zeros": _zeros(dataset, prepared) if config.unreadable == "zeros" else [],
        "is_drawn": not len(prepared.index("test")),
        "seed": config.seed,
        "n_frames": config.n_frames,
    }
    pictures = open_pictures(found)
    for part in ("train", "test"):
        if not len(pictures.index(part)):
            raise DatasetError(f"{prepared.card['name']} has no clip in {part}; train and test are wanted.")
    split, digest = (str(pictures.card[key]) for key in ("split", "split_sha256"))
    n_zeros = f", {len(found['zeros'])} of them zeros" if found["zeros"] else ""
    facts = {
        "name": str(pictures.card["name"]),
        "title": title_of(dataset) if dataset else f"{pictures.card['name']} data in {prepared.folder.name}",
        "words": f"{len(pictures):,} clips{n_zeros} with {len(pictures.tags)} tags, split {split} {digest[:11]}.",
        "split": split,
        "split_sha256": digest,
        "n_clips": len(pictures),
        "tags": pictures.tags,
        "sounds": {str(prepared.sample_rate): Sounds(prepared, np.arange(len(prepared))).content()},
    }
    return {**found, "facts": facts}


def open_pictures(data: Mapping[str, Any]) -> PreparedData:
    """Open the pictures.

    Args:
        data: as `prepare_pictures` gave it.

    Returns:
        The clips, of which all have the same number of frames.
    """
    zeros = [ZeroTrack(**{**track, "tags": tuple(track["tags"])}) for track in data["zeros"]]
    pictures = FixedFrames(data["prepared"], n_frames=data["n_frames"], fill=SILENCE, zeros=zeros)
    return with_drawn_parts(pictures, SHARES, data["seed"], split=DRAWN) if data["is_drawn"] else pictures


def band_statistics(pictures: PreparedData, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Compute mean and deviation of each band over all frames of clips, in the memory of one of them.

    Args:
        pictures: the clips.
        rows: which of them count.

    Returns:
        Mean and population deviation, (mels,) each; 1 where a band never changes.
    """
    n_frames, total, square = 0, np.zeros(1), np.zeros(1)
    for row in rows:
        frames = pictures.features(int(row)).astype(np.float64)
        n_frames, total, square = n_frames + len(frames), total + frames.sum(0), square + np.square(frames).sum(0)
    mean = total / n_frames
    std = np.sqrt(np.maximum(square / n_frames - np.square(mean), 0))
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def _zeros(dataset: TagDataset | None, prepared: PreparedData) -> list[dict[str, Any]]:
    """Give what could not be decoded, with part and tags."""
    left_out = {one["track_id"] for one in prepared.card["left_out"]}
    tracks = dataset.tracks() if dataset and left_out else iter(())
    return [
        {"track_id": track.track_id, "part": track.part, "tags": list(track.tags)}
        for track in tracks
        if track.track_id in left_out
    ]


def picture_frames(clip_s: float) -> int:
    """Count the frames of a picture.

    Args:
        clip_s: length of a clip in seconds.

    Returns:
        The frames of the network's front-end.
    """
    return 1 + int(clip_s * MEL.sample_rate) // MEL.hop_length
