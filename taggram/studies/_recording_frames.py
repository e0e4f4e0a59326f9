"""Spectrograms of whole recordings, computed once and kept: what both studies on jingju begin with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.audio import read_sound
from taggram.errors import DatasetError, TrainingError, printable
from taggram.frontends import FrontendConfig, create_frontend

LEFT = 0  # the channel that is taken of stereo recordings
FRAME_RATE_HZ = 100  # of frames, 10 ms each


def frame_at(time_s: float) -> int:
    """Give the frame nearest to a time, the later one of two, as the source's Python 2 rounds."""
    return int(np.floor(FRAME_RATE_HZ * time_s + 0.5))  # 0.235 / 0.010 would be below 23.5


@torch.no_grad()
def keep_frames(path: Path, audio: Path, config: FrontendConfig) -> int:
    """Make the spectrogram of a recording and keep it.

    Args:
        path: NAME.npy, where it is kept.
        audio: the recording; of stereo, the left channel is taken.
        config: of the network's front-end.

    Returns:
        How many frames there are.

    Raises:
        AudioError: the recording cannot be read.
    """
    frontend = create_frontend(config)
    sound = read_sound(audio, sample_rate=frontend.sample_rate, channel=LEFT)
    frames = frontend(torch.from_numpy(sound.samples)[None])[0, 0].T.numpy()
    keep_array(path, frames)
    return len(frames)


def keep_array(path: Path, array: NDArray[np.float32]) -> None:
    """Write an array as NAME.npy, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def load_array(path: Path) -> NDArray[np.float32]:
    """Read an array that was kept."""
    try:
        with path.open("rb") as file:
            array: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{printable(str(path))} cannot be read ({error}); begin with another folder, which makes it anew."
        ) from error
    return array


def hash_of_files(paths: Sequence[Path]) -> str:
    """Hash what is in sound files, in order.

    Args:
        paths: of the files.

    Returns:
        Hexadecimal digits.

    Raises:
        DatasetError: a file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DatasetError(f"{printable(str(path))}: {error.strerror or error}.") from error
    return digest.hexdigest()
