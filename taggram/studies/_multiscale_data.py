"""The pictures of the multi-scale study: made once, by processes side by side, then read from disk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check
from taggram.datasets import TagDataset
from taggram.datasets._base import PARTS
from taggram.datasets.mtt import N_CLIPS, N_TEST, N_VALID
from taggram.errors import DatasetError
from taggram.learning.boosted_trees import TreesConfig
from taggram.learning.data import drawn_for_validation
from taggram.learning.fixed_frames import FixedFrames, ZeroTrack
from taggram.learning.prepared import PreparedData
from taggram.learning.recipe import DataConfig
from taggram.learning.train import open_data, prepared_data
from taggram.models.multiscale import FLOOR, MEL
from taggram.studies._clips import UNUSED, Sounds, title_of
from taggram.studies._drawn import valid_share, with_drawn_parts
from taggram.studies._tagged_sound import open_sound, prepare_sound

if TYPE_CHECKING:
    from taggram.learning.train import Watcher
    from taggram.studies.multiscale import MultiscaleConfig

SILENCE = math.log(FLOOR)  # -46.05
SHARES = (N_CLIPS - N_VALID - N_TEST, N_VALID, N_TEST)
DRAWN = "drawn, 18,000 to 2,000 to 5,863"
SOUND_RATE = 16_000  # of what trees are grown on, in Hz
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
        ConfigError: no data is named, or clips are wanted that only the list of a data set knows.
        DatasetError: the data is missing or has too few clips.
    """
    options = _options(config)
    data_config = DataConfig(
        name=config.data.name, root=config.data.root, prepared=config.data.prepared, features=True, options=options
    )
    dataset = open_data(data_config, watcher)
    has_list = dataset is not None or config.unreadable == "drop"
    wanted = "drop where there is data.prepared alone, or data=NAME data.root=DIR beside it: they know the tags"
    check(has_list, "unreadable", config.unreadable, wanted)
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


def prepare_trees(
    config: MultiscaleConfig, data: Mapping[str, Any], watcher: Watcher, n_workers: int | None
) -> dict[str, Any]:
    """Decode the clips at the rate that trees are grown at.

    Args:
        config: the settings of the study.
        data: as `prepare_pictures` gave it.
        watcher: is told what happens.
        n_workers: processes that decode; None is one a core.

    Returns:
        The same with "sound", which `open_tree_sound` needs.

    Raises:
        ConfigError: there is no data set to decode, or it has too few clips to learn from.
        DatasetError: other clips can be decoded than for the pictures.
    """
    wanted = "nothing with boosted_trees, for which prepared pictures have no sound; data=NAME data.root=DIR alone"
    check(not config.data.prepared, "data.prepared", config.data.prepared, wanted)
    own = dataclasses.replace(config.data, options=_options(config))
    found = prepare_sound(own, [SOUND_RATE], watcher, n_workers, parts=("train",))
    pictures = open_pictures(data)
    seen = {*pictures.column("track_id")} - {track["track_id"] for track in data["zeros"]}
    if seen != {*open_sound(found, SOUND_RATE).column("track_id")}:
        raise DatasetError(
            f"other clips can be decoded at {SOUND_RATE} Hz than at {MEL.sample_rate} Hz, and methods must learn from "
            "the same; `taggram data check` says which files are damaged."
        )
    n_train, least = len(open_tree_sound(found, pictures, config.seed).index("train")), 2 * TreesConfig().min_clips
    check(n_train >= least, "clips of train", n_train, f"{least} at least, for boosted_trees")
    facts = data["facts"]
    sounds = {**facts["sounds"], **found["facts"]["sounds"]}
    return {**data, "sound": {"prepared": found["prepared"]}, "facts": {**facts, "sounds": sounds}}


def open_tree_sound(sound: Mapping[str, Any], pictures: PreparedData, seed: int) -> PreparedData:
    """Open the sound of the clips, in the parts in which their pictures are.

    Args:
        sound: as `prepare_trees` gave it.
        pictures: the clips.
        seed: of a network's training, which draws clips for validation where there is no part for it; so is done here.

    Returns:
        The sound; pictures of zeros have none.
    """
    opened = open_sound(sound, SOUND_RATE)
    train, drawn = drawn_for_validation(pictures.index("train"), valid_share(pictures), seed)
    rows = {"train": train, "valid": np.concatenate([pictures.index("valid"), drawn]), "test": pictures.index("test")}
    ids = pictures.column("track_id")
    part_of = {ids[row]: number for number, part in enumerate(PARTS) for row in rows[part]}
    parts = [part_of.get(name, UNUSED) for name in opened.column("track_id")]
    return opened.with_parts(np.array(parts, np.int64), split=str(pictures.card["split"]))


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


def _options(config: MultiscaleConfig) -> dict[str, Any]:
    """Give the options of the data set, on MagnaTagATune those of the source where nothing else is said."""
    options = dict(config.data.options)
    if config.data.name != "mtt":
        return options
    own = {"split": "random-18000-2000", "tags": "mtt50_multiscale", "keep_unreadable": config.unreadable == "zeros"}
    return {**own, **options}


def picture_frames(clip_s: float) -> int:
    """Count the frames of a picture.

    Args:
        clip_s: length of a clip in seconds.

    Returns:
        The frames of the network's front-end.
    """
    return 1 + int(clip_s * MEL.sample_rate) // MEL.hop_length
