"""Features of a frozen network, random or trained, for many clips: computed once, and kept under what they follow from.

A clip becomes one patch of the length that the network looks at. The front-end sees the whole clip, so what it takes
from there, such as a floor 80 dB below the loudest value, does not hang on that length; then the first frames are kept,
or the frames of a shorter clip are repeated. What a layer gives is averaged over time and mel.

In a cache, features lie under a hash of the sound, the weights, the front-end and all settings, so nothing stale is
ever given. Whole blocks of clips are kept while they are computed, and a run that is cut short goes on behind the last.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from taggram._checks import check_choice, check_count
from taggram._files import written_aside
from taggram._processes import n_cores
from taggram.audio import read_sound
from taggram.errors import ConfigError, DatasetError, printable
from taggram.frontends import Frontend, config_to_dict
from taggram.models._contract import TaggingModel
from taggram.models._fingerprint import weights_sha256
from taggram.tagger import one_torch_thread

Length: TypeAlias = Literal["repeat", "zero"]
Features: TypeAlias = NDArray[np.float32]
Compute: TypeAlias = Callable[[Sequence[int]], Features]
"""Gives (clips, features) of the clips with some numbers."""
Told: TypeAlias = Callable[[int, int], object]
"""Is told how many clips of how many are done."""

FORMAT = 1  # of what is kept; part of the name, so that features of another one are not found
BLOCK = 64  # clips that are kept together, and lost together when a run is cut short
BATCH_VALUES = (
    2**17
)  # of the patches of a batch: one of 1376 frames. With more, layers are too big for the cache of a CPU
MOST_AT_ONCE = 32  # clips in a batch, which must fill blocks


class ClipSounds(Protocol):
    """Clips whose sound can be read."""

    @property
    def sample_rate(self) -> int:
        """Rate of the samples in Hz."""

    def __len__(self) -> int:
        """Count the clips."""

    def whole(self, clip: int) -> NDArray[np.float32]:
        """Read a clip: (samples,) float32, mono, -1 to 1. Several threads may do so at once."""

    def content(self) -> str:
        """Hash what all clips sound like, in order."""


@dataclass(frozen=True)
class FileSounds:
    """Sound files, each a clip, decoded when they are asked for.

    Attributes:
        paths: of the files.
        sample_rate: in Hz, to which they are resampled.
    """

    paths: Sequence[str]
    sample_rate: int

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.paths)

    def whole(self, clip: int) -> NDArray[np.float32]:
        """Decode a clip: (samples,) float32, mono, -1 to 1."""
        return read_sound(self.paths[clip], sample_rate=self.sample_rate).samples

    def content(self) -> str:
        """Hash places, sizes and times of the files; a file that is written anew is another one.

        Returns:
            Hexadecimal digits.

        Raises:
            DatasetError: a file is missing.
        """
        digest = hashlib.sha256(str(self.sample_rate).encode())
        for name in self.paths:
            path = Path(name)
            try:
                status = path.stat()
            except OSError as error:
                raise DatasetError(f"{printable(name)}: {error.strerror or error}.") from error
            line = f"\t{path.absolute()}\t{status.st_size}\t{status.st_mtime_ns}"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def embed_clips(
    model: TaggingModel,
    sounds: ClipSounds,
    *,
    layer: str | None = None,
    n_frames: int | None = None,
    length: Length = "repeat",
    cache: Path | None = None,
    facts: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    n_threads: int | None = None,
    told: Told = lambda *_: None,
) -> Features:
    """Compute the features of clips, or answer from the cache.

    Args:
        model: the network; it is left as it is, and works as in evaluation mode.
        sounds: the clips, at the rate of its front-end.
        layer: one of `model.layers()`; None is what the head sees. Of a layer that keeps time, all positions are
            averaged and its last axis is kept.
        n_frames: of the patch, or samples where the network eats these; None is what the network was made for. A longer
            clip is cut to its first part.
        length: what becomes of a shorter clip: its frames are repeated ("repeat"), or 0 stands behind them ("zero"),
            which in decibels is loud.
        cache: folder in which features are kept; None keeps none.
        facts: what else is written beside kept features; it does not tell them apart.
        device: where the network runs; the front-end stays on the CPU.
        batch_size: clips at once a thread, at most 32; None is what a CPU likes. Others may move the last bit.
        n_threads: batches at once, each on one thread; None is one a core.
        told: is told how far it is.

    Returns:
        (clips, features) float32.

    Raises:
        AudioError: a clip cannot be read or has no sample.
        ConfigError: a setting makes no sense, the network does not take patches of this length, or wants another rate.
        DatasetError: there is no clip, or a file is missing.
        UnknownNameError: the network has no such layer.
    """
    layer = model.check_layer(model.layers()[-1] if layer is None else layer)
    frames = model.check_patch_frames(model.frontend.n_frames if n_frames is None else n_frames)
    check_choice("length", length, get_args(Length))
    if sounds.sample_rate != model.frontend.sample_rate:
        raise ConfigError(
            f"the clips are at {sounds.sample_rate} Hz; this network wants {model.frontend.sample_rate} Hz."
        )
    known = {
        **network_facts(model), "layer": layer, "n_frames": frames, "length": length,
        "sounds": sounds.content(), "n_clips": len(sounds),
    }  # fmt: skip
    batch = batch_size or max(1, min(MOST_AT_ONCE, BATCH_VALUES // (frames * model.frontend.n_bands)))

    def make_ready() -> Compute:
        network = _FrozenNetwork(model, layer, frames, length, device)
        return lambda clips: network.features([sounds.whole(clip) for clip in clips])

    return cached_features(
        make_ready, known, cache=cache, facts=facts, batch_size=batch, n_threads=n_threads, told=told
    )


def cached_features(
    make_ready: Callable[[], Compute],
    known: Mapping[str, Any],
    *,
    cache: Path | None = None,
    facts: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    n_threads: int | None = None,
    told: Told = lambda *_: None,
) -> Features:
    """Give features of clips, each computed once, whatever computes them.

    Args:
        make_ready: gives what computes; called only where something is missing. Several threads then use it at once.
        known: all that the features follow from, plain values, with "n_clips", the number of clips.
        cache: folder in which they are kept; None keeps none.
        facts: what else is written beside them.
        batch_size: clips that are computed at once, at most 32.
        n_threads: batches at once, with one torch thread each; None is one a core.
        told: is told how far it is.

    Returns:
        (clips, features) float32.

    Raises:
        ConfigError: a setting makes no sense.
        DatasetError: there is no clip, or the cache cannot be written to.
    """
    n_clips: int = known["n_clips"]
    check_count("batch_size", batch_size, most=MOST_AT_ONCE)
    n_threads = n_cores() if n_threads is None else n_threads
    check_count("n_threads", n_threads)
    if not n_clips:
        raise DatasetError("there is no clip to compute features of.")
    if cache is None:
        blocks = _blocks(make_ready(), n_clips, range(-(-n_clips // BLOCK)), batch_size, n_threads)
        return np.concatenate([_told(features, number, n_clips, told) for number, features in blocks])
    try:
        return _Kept(cache, known, facts or {}).features(make_ready, batch_size, n_threads, told)
    except OSError as error:
        raise DatasetError(f"{printable(str(cache))}: {error.strerror or error}.") from error


def network_facts(model: TaggingModel, *, with_head: bool = False) -> dict[str, Any]:
    """Say what the features of a network follow from.

    Args:
        model: the network.
        with_head: whether its head is a part of that, as it is of its scores.

    Returns:
        Plain values: its name, options and front-end, and a hash of its weights.
    """
    return {
        "format": FORMAT,
        "network": model.name or f"{type(model).__module__}.{type(model).__qualname__}",
        "options": {name: repr(value) for name, value in model.options.items()},
        "weights": weights_sha256(model, with_head=with_head),
        "frontend": config_to_dict(model.frontend.config),
        "sample_bits": model.frontend.sample_bits,
    }


def forget_features(known: Mapping[str, Any], cache: Path) -> None:
    """Take features out of a cache, such as those that were kept only until others were made of them.

    Args:
        known: what they follow from, as `cached_features` was told.
        cache: the folder; features that are not there are no error.

    Raises:
        DatasetError: a file cannot be taken away.
    """
    try:
        _Kept(cache, known, {}).forget()
    except OSError as error:
        raise DatasetError(f"{printable(str(cache))}: {error.strerror or error}.") from error


# -- inside ------------------------------------------------------------------------------------------------------------


class _FrozenNetwork:
    """A copy of a network that turns clips into features, in the layout of memory that a CPU likes best.

    Args:
        model: the network.
        layer: whose values are the features.
        n_frames: of the patch.
        length: what becomes of shorter clips.
        device: where it runs.
    """

    def __init__(
        self, model: TaggingModel, layer: str, n_frames: int, length: Length, device: torch.device | str
    ) -> None:
        self._frontend = copy.deepcopy(model.frontend).cpu()
        self._model = copy.deepcopy(model).eval().to(device)
        self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
        self._layer, self._n_frames, self._length, self._device = layer, n_frames, length, device

    @torch.inference_mode()
    def features(self, clips: Sequence[NDArray[np.float32]]) -> Features:
        """Give (clips, features) for clips of (samples,) each."""
        patches = torch.stack([self._frames(torch.from_numpy(clip)) for clip in clips])  # (clips, frames, ...)
        x = patches.movedim(1, -1).unsqueeze(1).to(self._device)
        if self._layer == self._model.layers()[-1]:
            values = self._model.forward_features(x)
        else:
            values = self._model.forward_layers(x)[self._layer]
        if values.ndim > 2:
            values = values.mean(tuple(range(1, values.ndim - 1)))
        features: Features = values.float().cpu().numpy()
        return features

    def _frames(self, samples: Tensor) -> Tensor:
        """Give (frames, mels) or (samples,) of a clip, as many as wanted."""
        samples = samples[: _enough_samples(self._frontend, self._n_frames)]
        samples = self._lengthened(samples, self._frontend.n_samples_for(1))
        frames = self._frontend(samples[None])[0, 0].movedim(-1, 0)
        return self._lengthened(frames[: self._n_frames], self._n_frames)

    def _lengthened(self, values: Tensor, least: int) -> Tensor:
        """Repeat values in time, or put 0 behind them, up to a length; no values at all stay so."""
        n_values = len(values)
        if n_values >= least or not n_values:
            return values
        if self._length == "repeat":
            return values.index_select(0, torch.arange(least) % n_values)
        return F.pad(values, (0,) * (2 * values.ndim - 1) + (least - n_values,))


def _enough_samples(frontend: Frontend, n_frames: int) -> int | None:
    """Count the samples that decide what the first frames are; None is all of them."""
    if frontend.needs_whole_sound:
        return None
    return frontend.n_samples_for(n_frames) + frontend.frame_length


class _Kept:
    """Features in a cache: one file, and beside it its blocks until it is whole.

    Args:
        cache: the folder.
        known: what they follow from.
        facts: what else is written beside them.
    """

    def __init__(self, cache: Path, known: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        text = json.dumps(known, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self._n_clips: int = known["n_clips"]
        self._file = cache / f"{name}.npz"
        self._parts = [cache / f"{name}-{number:06d}.npz" for number in range(-(-self._n_clips // BLOCK))]
        self._facts = json.dumps({**known, **facts}, sort_keys=True)

    def features(self, make_ready: Callable[[], Compute], batch_size: int, n_threads: int, told: Told) -> Features:
        """Read them, or compute what is missing."""
        if (features := self._read(self._file, self._n_clips)) is not None:
            return features
        self._file.parent.mkdir(parents=True, exist_ok=True)
        blocks = {
            number: _told(block, number, self._n_clips, told)
            for number, part in enumerate(self._parts)
            if (block := self._read(part, len(_clips_of(number, self._n_clips)))) is not None
        }
        if missing := [number for number in range(len(self._parts)) if number not in blocks]:
            for number, block in _blocks(make_ready(), self._n_clips, missing, batch_size, n_threads):
                self._write(self._parts[number], block)
                blocks[number] = _told(block, number, self._n_clips, told)
        whole = np.concatenate([blocks[number] for number in sorted(blocks)])
        self._write(self._file, whole)
        for part in self._parts:
            part.unlink(missing_ok=True)  # another process may be at the same features
        return whole

    def forget(self) -> None:
        """Take away the file and what is there of its blocks."""
        for path in (self._file, *self._parts):
            path.unlink(missing_ok=True)

    def _read(self, path: Path, n_clips: int) -> Features | None:
        """Read a file; None where it is missing, or damaged and so to be written anew."""
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                features: Features = file["features"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        is_whole = features.ndim == 2 and len(features) == n_clips and features.dtype == np.float32
        return features if is_whole else None

    def _write(self, path: Path, features: Features) -> None:
        with written_aside(path) as aside:
            np.savez(aside, features=features, facts=np.array(self._facts))


def _clips_of(number: int, n_clips: int) -> range:
    """Give the clips of a block."""
    return range(number * BLOCK, min(n_clips, (number + 1) * BLOCK))


def _blocks(
    compute: Compute, n_clips: int, numbers: Iterable[int], batch_size: int, n_threads: int
) -> Iterator[tuple[int, Features]]:
    """Compute some blocks. No batch reaches over the end of one, so that blocks do not hang on which are missing."""
    batches = {
        number: [clips[start : start + batch_size] for start in range(0, len(clips), batch_size)]
        for number in numbers
        for clips in [_clips_of(number, n_clips)]
    }
    with contextlib.ExitStack() as closing:
        closing.enter_context(one_torch_thread())
        all_batches = [batch for some in batches.values() for batch in some]
        if n_threads == 1:
            results: Iterator[Features] = map(compute, all_batches)
        else:
            pool = ThreadPoolExecutor(n_threads)
            closing.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(compute, all_batches)
        for number, some in batches.items():
            yield number, np.concatenate([next(results) for _ in some])


def _told(features: Features, number: int, n_clips: int, told: Told) -> Features:
    """Tell that a block is there."""
    told(_clips_of(number, n_clips).stop, n_clips)
    return features
