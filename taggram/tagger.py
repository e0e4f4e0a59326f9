"""Stage 4, the whole path: sound -> Taggram (patches x tags) and the best tags.

The front-end runs over the whole track, block by block, and its frames are cut into patches, so a day-long recording
needs the memory of a short one.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike, fsdecode
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from taggram._checks import check_choice
from taggram._kit_network import model_of_kit, tune
from taggram._workers import Task, Workers
from taggram.audio import MAX_DURATION_S, Samples, SoundStream, Source, resampled
from taggram.errors import ConfigError, KitError, check_above_zero
from taggram.kit import Kit, open_kit
from taggram.models._registry import Engine, Precision, is_model_file, title_of
from taggram.results import Embedding, Failure, Taggram

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from taggram._patch_vectors import PatchEmbedder, PatchVectors
    from taggram.models._contract import TaggingModel

DEFAULT_MODEL = "musicnn.mtt"
BATCH_SIZE = 16  # patches that the network sees at once
BLOCK_S = 16.0  # sound that the front-end sees at once: 1 MB
ROUNDING = 1e-9  # of seconds times a rate, so that 2.992 s are 187 frames and not 186

Progress = Callable[[float], None]
"""Is told the seconds of sound that are done."""


class Tagger:
    """A model that is ready to tag sound. It keeps to the weights and settings that it was made with.

    Can be used in a `with` statement, which ends the worker processes that `tag_many` and `embed_many` started.

    Args:
        model: "network.weights", the file that `model.save` wrote, the folder of a training run, or a `TaggingModel`
            with tags.
        device: "auto" (a CUDA device if there is one), or any device that torch knows, such as "cpu".
        hop_s: step between patches in seconds; None is the length of a patch.
        hop_frames: the same in frames of the front-end.
        patch_s: length of a patch in seconds; None is what the network was made for.
        patch_frames: the same in frames of the front-end.
        max_duration_s: longest sound that is taken, in seconds.
        batch_size: patches that the network sees at once; it changes memory and speed, not results.
        block_s: sound that the front-end sees at once, in seconds; likewise.
        frontend: settings of the front-end to be changed, such as `{"padding": "zeros", "float16": True}`.
        options: the network's own options, such as `{"pooling": "trained"}`.
        kit: tags of your own that `taggram.teach` made, or their file. It brings its model, which `model` may say the
            place of, and its patch; each patch is set to the same level, see `taggram/_patch_vectors.py`.
        engine: what runs the network: "torch", or "onnx" for onnxruntime on the CPU, which needs the extra `export`.
            Its graphs are exported once and kept in the cache; scores are the same.
        precision: the numbers that the network computes in: "float32", or for speed at the cost of some accuracy
            "bfloat16" or "int8"; docs/performance.md says how much. The front-end and the head stay in float32. Results
            tell it among their notes. It needs a CPU, or for bfloat16 a GPU, with instructions for them.

    Raises:
        ConfigError: an option makes no sense, such as a hop of 0, or the device or the network cannot compute in such
            numbers.
        KitError: the kit is damaged, too new, or of another network's weights.
        UnknownNameError: there is no such model.
        WeightsError: the weights are not at hand and cannot be fetched.
    """

    def __init__(
        self,
        model: str | PathLike[str] | TaggingModel = DEFAULT_MODEL,
        *,
        device: str = "auto",
        hop_s: float | None = None,
        hop_frames: int | None = None,
        patch_s: float | None = None,
        patch_frames: int | None = None,
        max_duration_s: float = MAX_DURATION_S,
        batch_size: int = BATCH_SIZE,
        block_s: float = BLOCK_S,
        frontend: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        kit: Kit | str | PathLike[str] | None = None,
        engine: Engine = "torch",
        precision: Precision = "float32",
    ) -> None:
        check_choice("engine", engine, get_args(Engine))
        check_choice("precision", precision, get_args(Precision))
        check_above_zero(hop_s=hop_s, hop_frames=hop_frames, max_duration_s=max_duration_s)
        check_above_zero(patch_s=patch_s, patch_frames=patch_frames, batch_size=batch_size, block_s=block_s)
        if isinstance(model, PathLike):
            model = fsdecode(model)
        if isinstance(kit, PathLike):
            kit = fsdecode(kit)
        self._settings = settings_for_workers({
            "model": model, "device": device, "hop_s": hop_s, "hop_frames": hop_frames, "patch_s": patch_s,
            "patch_frames": patch_frames, "max_duration_s": max_duration_s, "batch_size": batch_size,
            "block_s": block_s, "frontend": dict(frontend or {}), "options": dict(options or {}), "kit": kit,
            "engine": engine, "precision": precision,
        })  # fmt: skip
        import torch

        from taggram.models import create_model
        from taggram.models._inference import build_inference
        from taggram.models._precision import check_precision
        from taggram.models._saved import load_model

        self.kit = None if kit is None else open_kit(kit)
        if self.kit is not None:
            if patch_s or patch_frames or frontend or options:
                raise ConfigError("a kit has the patch, the front-end and the options that it was taught with.")
            if model == DEFAULT_MODEL:
                model = model_of_kit(self.kit, kit if isinstance(kit, str) else None)
        from_file = is_model_file(model)
        if options and (from_file or not isinstance(model, str)):
            raise ConfigError("options are for a model given by name; one that is given whole has its own.")
        if isinstance(model, str):
            self.model = load_model(model) if from_file else create_model(model, **(options or {}))
            self.model.change_frontend(**(frontend or {}))
        elif frontend:
            raise ConfigError("frontend is for a model given by name or file; change the model that is given.")
        else:
            self.model = model
        self.name = (
            title_of(model) if isinstance(model, str) and from_file else self.model.name or type(self.model).__name__
        )
        if self.kit is not None:
            self.kit.check_network(self.model)
            tune(self.model, self.kit)
            self.name = title_of(kit) if isinstance(kit, str) else "kit"
        self.tags = self._find_tags() if self.kit is None else self.kit.tags
        self.task = self.model.task if self.kit is None else self.kit.task
        self.device = find_device("cpu" if engine == "onnx" and device == "auto" else device)
        if engine == "onnx" and self.device.type != "cpu":
            raise ConfigError(f"device is {device!r}; engine 'onnx' computes on the CPU: say cpu, or engine 'torch'.")
        check_precision(precision, engine, self.device)
        self.precision = precision
        self.model.to(self.device)
        self.max_duration_s = max_duration_s
        self.batch_size = batch_size
        network_frames = self.model.frontend.n_frames
        self.patch_frames = self.model.check_patch_frames(self._frames(patch_s, patch_frames, network_frames, "patch"))
        self.hop_frames = self._frames(hop_s, hop_frames, self.patch_frames, "hop")
        self._block_samples = max(1, round(block_s * self.model.frontend.sample_rate))
        self._torch = torch
        self._form = build_inference(self.model, self.patch_frames, self.hop_frames, engine, precision)
        self._workers: dict[int | None, Workers] = {}

    def embedder(self, layers: Sequence[str], *, batch_size: int | None = None) -> PatchEmbedder:
        """Give what turns sound into one vector a patch, each patch at the same level, as kits want it.

        Args:
            layers: names out of `model.layers()`, whose values make the vector.
            batch_size: patches that the network sees at once; None is that of this tagger.

        Returns:
            The embedder, with the patch, hop and device of this tagger.

        Raises:
            UnknownNameError: the network has no such layer.
        """
        from taggram._patch_vectors import PatchEmbedder

        return PatchEmbedder(
            self._form, [self.model.check_layer(layer) for layer in layers], patch_frames=self.patch_frames,
            hop_frames=self.hop_frames, batch_size=batch_size or self.batch_size, device=self.device,
        )  # fmt: skip

    def with_kit(self, kit: Kit, name: str = "kit") -> Self:
        """Give a tagger with the tags of a kit and the network of this one, which is not loaded again.

        Args:
            kit: the kit.
            name: what its taggrams are said to be by.

        Returns:
            The tagger.

        Raises:
            KitError: the kit was taught on another network, or has a tuned one of its own.
        """
        kit.check_network(self.model)
        if kit.tuned:
            raise KitError(
                "the kit has a tuned network of its own; Tagger(kit=...) loads it, and `taggram serve --kit`."
            )
        own = copy.copy(self)
        own.kit, own.tags, own.task, own.name = kit, kit.tags, kit.task, name
        own._settings, own._workers = None, {}
        return own

    @property
    def patch_s(self) -> float:
        """Length of a patch in seconds."""
        return self._seconds(self.patch_frames)

    @property
    def hop_s(self) -> float:
        """Step between patches in seconds."""
        return self._seconds(self.hop_frames)

    def tag(self, source: Source, *, progress: Progress | None = None) -> Taggram:
        """Tag one sound.

        Args:
            source: a path, bytes, a file opened in binary mode, or (samples, sample_rate).
            progress: is told the seconds of sound that are done.

        Returns:
            The scores of all patches.

        Raises:
            AudioError: the sound cannot be read or used.
            ConfigError: the network has no head.
        """
        self._check_head()
        with self._torch.inference_mode(), self._open(source) as sound:
            if self.kit is not None:
                scores, padded = self._run_kit(self.kit, sound, progress)
            else:
                scores, padded = self._run(sound, self._form.scores, progress)
            return self._taggram(sound, scores, padded)

    def tag_and_embed(self, source: Source, *, progress: Progress | None = None) -> tuple[Taggram, Embedding]:
        """Tag and embed one sound in one pass.

        Args:
            source: as for `tag`.
            progress: is told the seconds of sound that are done.

        Returns:
            The scores of all patches, and the layer that they follow from, a row a patch: the last one, or with a kit
            the vectors that it was taught on.

        Raises:
            AudioError: the sound cannot be read or used.
            ConfigError: the network has no head.
        """
        self._check_head()
        with self._torch.inference_mode(), self._open(source) as sound:
            if self.kit is not None:
                joined, padded = self._run_kit(self.kit, sound, progress, with_vectors=True)
            else:
                joined, padded = self._run(sound, self._scores_and_features, progress)
            scores, features = np.split(joined, [len(self.tags)], axis=1)
            taggram = self._taggram(sound, scores, padded)
            return taggram, Embedding(
                path=sound.name,
                model=self.name,
                layer=self.embedding_layer,
                times_s=taggram.times_s,
                features=features,
                notes=taggram.notes,
                unusual=taggram.unusual,
            )

    @property
    def embedding_layer(self) -> str:
        """Name of the layer that `tag_and_embed` gives; a kit may have several, joined by +."""
        return self.model.layers()[-1] if self.kit is None else "+".join(self.kit.layers)

    def tag_live(
        self, blocks: Iterable[Samples], *, sample_rate: int, skip: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """Tag sound while it comes in, a patch at a time.

        Args:
            blocks: (samples,) float32 each, mono, -1 to 1, as they come.
            sample_rate: of the blocks, in Hz.
            skip: is asked before each patch whether it is to be left out, because there is no time for it.

        Yields:
            Where a patch starts, in seconds, and its scores (tags,), as soon as its last sample is there.

        Raises:
            ConfigError: the network has no head.
        """
        self._check_head()
        patches = self._live_patches(resampled(blocks, sample_rate, self.model.frontend.sample_rate))
        for index in itertools.count():
            with self._torch.inference_mode():
                compute = next(patches, None)
                if compute is None:
                    return
                scores = None if skip() else compute()
            if scores is not None:
                yield self.hop_s * index, scores

    def embed(
        self, source: Source, *, layer: str | None = None, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Compute a named layer of one sound.

        Args:
            source: as for `tag`.
            layer: a name out of `model.layers()`; None is the last, which feeds the head.
            progress: is told the seconds of sound that are done.

        Returns:
            (rows, features) float32, a row a patch; a layer that keeps time has several rows a patch, and may have more
            axes. The mean over the rows is the embedding of the clip.

        Raises:
            AudioError: the sound cannot be read or used.
            UnknownNameError: the network has no such layer.
        """
        return self.embed_whole(source, layer=layer, progress=progress).features

    def embed_whole(self, source: Source, *, layer: str | None = None, progress: Progress | None = None) -> Embedding:
        """Compute a named layer of one sound, with the time of each row.

        Args:
            source: as for `tag`.
            layer: as for `embed`.
            progress: is told the seconds of sound that are done.

        Returns:
            The layer, its times and the notes about the sound.

        Raises:
            AudioError: the sound cannot be read or used.
            UnknownNameError: the network has no such layer.
        """
        name = self.model.check_layer(layer) if layer is not None else self.model.layers()[-1]

        def run_layer(frames: Tensor, starts: list[int], n_frames: int) -> Tensor:
            return self._form.layer(name, frames, starts, n_frames)

        with self._torch.inference_mode(), self._open(source) as sound:
            by_patch, padded = self._run(sound, run_layer, progress)
            times_s = self._times_s(len(by_patch))
            if by_patch.ndim > 2:  # (patches, time, ...) to (rows, ...), evenly spaced over the patch
                n_rows = by_patch.shape[1]
                times_s = (times_s[:, None] + self.patch_s / n_rows * np.arange(n_rows)).reshape(-1)
                by_patch = by_patch.reshape(-1, *by_patch.shape[2:])
            return Embedding(
                path=sound.name,
                model=self.name,
                layer=name,
                times_s=times_s,
                features=by_patch,
                **self._notes(sound, padded),
            )

    def tag_many(
        self, paths: Iterable[str | PathLike[str]], *, n_workers: int | None = None
    ) -> Iterator[Taggram | Failure]:
        """Tag many files at once, in worker processes.

        Args:
            paths: the files.
            n_workers: processes; None is one a core. Models that cannot be built there again by their name, such as
                those with a new head, run in this process.

        Returns:
            An iterator that gives a Taggram a file, in order, or a Failure for a file that failed.
        """
        return self._many((Task(fsdecode(path)) for path in paths), n_workers)

    def embed_many(
        self, paths: Iterable[str | PathLike[str]], *, layer: str | None = None, n_workers: int | None = None
    ) -> Iterator[Embedding | Failure]:
        """Compute a named layer of many files at once, in worker processes.

        Args:
            paths: the files.
            layer: as for `embed`.
            n_workers: as for `tag_many`.

        Returns:
            An iterator that gives an Embedding a file, in order, or a Failure for a file that failed.

        Raises:
            UnknownNameError: the network has no such layer.
        """
        name = self.model.check_layer(layer) if layer is not None else self.model.layers()[-1]

        return self._many((Task(fsdecode(path), embed=True, layer=name) for path in paths), n_workers)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        for workers in self._workers.values():
            workers.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- the path of one sound -----------------------------------------------------------------------------------------

    def _open(self, source: Source) -> SoundStream:
        return SoundStream(source, sample_rate=self.model.frontend.sample_rate, max_duration_s=self.max_duration_s)

    def _check_head(self) -> None:
        if not self.tags:
            raise ConfigError(f"{self.name} has no head, so it can embed and not tag. `taggram models` lists taggers.")

    def _taggram(self, sound: SoundStream, scores: NDArray[np.float32], padded: bool) -> Taggram:
        return Taggram(
            path=sound.name,
            model=self.name,
            duration_s=sound.duration_s,
            patch_s=self.patch_s,
            hop_s=self.hop_s,
            padded=padded,
            tags=self.tags,
            times_s=self._times_s(len(scores)),
            scores=scores,
            **self._notes(sound, padded),
        )

    def _scores_and_features(self, frames: Tensor, starts: list[int], n_frames: int) -> Tensor:
        """Compute (patches, tags + features)."""
        features = self._form.features(frames, starts, n_frames)
        return self._torch.cat([self.model.scores(self.model.forward_head(features)), features], 1)

    def _run(
        self, sound: SoundStream, compute: Callable[[Tensor, list[int], int], Tensor], progress: Progress | None
    ) -> tuple[NDArray[np.float32], bool]:
        """Run a form over all patches of a sound; give (patches, ...) and whether the sound was repeated."""
        results = []
        padded = False
        for frames, starts, repeated in self._stretches(self._rows(sound, progress), self.batch_size):
            results.append(compute(frames, starts, self.patch_frames).cpu().numpy())
            padded = repeated
        return np.concatenate(results), padded

    def _run_kit(
        self, kit: Kit, sound: SoundStream, progress: Progress | None, *, with_vectors: bool = False
    ) -> tuple[NDArray[np.float32], bool]:
        """Score all patches of a sound with a kit; give (patches, tags) and whether the sound was repeated.

        With vectors, these stand behind the scores: (patches, tags + features).
        """
        rows, padded = [], False
        for batch in self.embedder(kit.layers).batches(sound):
            scores = kit.scores(batch.vectors)
            rows.append(np.concatenate([scores, batch.vectors], 1) if with_vectors else scores)
            padded = batch.padded
            if progress:
                progress(sound.duration_s)
        return np.concatenate(rows), padded

    def _live_patches(self, blocks: Iterable[Samples]) -> Iterator[Callable[[], NDArray[np.float32]]]:
        """Give what computes the scores of each patch, once all of it is there."""
        kit = self.kit
        if kit is not None:
            for compute in self.embedder(kit.layers, batch_size=1).waiting(blocks):
                yield partial(_score_one, kit, compute)
            return
        stream = self.model.frontend.stream()
        rows = ((stream.feed(self._torch.from_numpy(block).to(self.device)).t(), False, False) for block in blocks)
        for frames, starts, _ in self._stretches(rows, 1):
            yield partial(self._score_one, frames, starts)

    def _score_one(self, frames: Tensor, starts: list[int]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._form.scores(frames, starts, self.patch_frames)[0].cpu().numpy()
        return scores

    def _stretches(
        self, rows_of_blocks: Iterable[tuple[Tensor, bool, bool]], batch_size: int
    ) -> Iterator[tuple[Tensor, list[int], bool]]:
        """Cut a spectrogram into stretches with a batch of patches each.

        Args:
            rows_of_blocks: as `_rows` gives them.
            batch_size: patches of a stretch at most, and at least but for the last one.

        Yields:
            (mels, frames), the starts of the patches in it, and whether the sound was repeated to fill a patch.
        """
        torch, n_frames, hop = self._torch, self.patch_frames, self.hop_frames
        held: list[Tensor] = []  # rows of frames from the start of the next patch on
        n_held, n_skip, padded = 0, 0, False
        for rows, padded, at_end in rows_of_blocks:
            skipped = min(n_skip, len(rows))  # a hop longer than the patch leaves frames out
            n_skip -= skipped
            held.append(rows[skipped:])
            n_held += len(rows) - skipped
            n_whole = (n_held - n_frames) // hop + 1 if n_held >= n_frames else 0
            if n_whole == 0 or (n_whole < batch_size and not at_end):
                continue
            stretch = torch.cat(held)
            for first in range(0, n_whole, batch_size):
                n_patches = min(batch_size, n_whole - first)
                part = stretch[first * hop : (first + n_patches - 1) * hop + n_frames]
                yield part.t(), [hop * index for index in range(n_patches)], padded
            n_skip += max(0, n_whole * hop - n_held)
            held = [stretch[n_whole * hop :].clone()]
            n_held = len(held[0])

    def _rows(self, sound: SoundStream, progress: Progress | None) -> Iterator[tuple[Tensor, bool, bool]]:
        """Run the front-end over a sound, block by block; a short sound is repeated until it fills a patch.

        Args:
            sound: the opened sound.
            progress: is told the seconds that are done.

        Yields:
            (frames, mels), whether the sound was repeated, and whether this is the end.
        """
        stream = self.model.frontend.stream()
        n_least = self.model.frontend.n_samples_for(self.patch_frames)
        n_samples = 0
        padded = False
        for block in _regrouped(sound, max(self._block_samples, n_least)):
            n_samples += len(block)
            if n_samples < n_least:  # then this is the only block
                block = np.resize(block, n_least)
                padded = True
            for start in range(0, len(block), self._block_samples):
                samples = self._torch.from_numpy(block[start : start + self._block_samples]).to(self.device)
                yield stream.feed(samples).t(), padded, False
            if progress:
                progress(sound.duration_s)
        yield stream.finish().t(), padded, True

    def _notes(self, sound: SoundStream, padded: bool) -> dict[str, Any]:
        """Collect what is to be said about a sound, from its decoding and from its patches."""
        own = []
        if padded:
            own.append(f"shorter than a patch of {self.patch_s:.3f} s, repeated to fill one")
        if self.hop_frames > self.patch_frames:
            own.append(f"only {self.patch_s:.3f} s of every {self.hop_s:.3f} s were looked at")
        asked_for = () if self.precision == "float32" else (f"network in {self.precision}",)
        return {"notes": (*sound.notes, *own, *asked_for), "unusual": (*sound.unusual, *own)}

    # -- settings ------------------------------------------------------------------------------------------------------

    def _find_tags(self) -> tuple[str, ...]:
        """Name the outputs, after a check that there are as many names."""
        n_tags, tags = self.model.n_tags or 0, self.model.tag_names()
        if len(tags) != n_tags:
            raise ConfigError(f"{self.name} has {n_tags} outputs and {len(tags)} tags; they must be as many.")
        return tags

    def _seconds(self, n_frames: int) -> float:
        frontend = self.model.frontend
        return n_frames * frontend.hop_length / frontend.sample_rate

    def _frames(self, seconds: float | None, n_frames: int | None, default: int, what: str) -> int:
        """Turn a length in seconds or in frames into frames: the largest whole number not longer than that."""
        if seconds is not None and n_frames is not None:
            raise ConfigError(f"{what}_s={seconds} and {what}_frames={n_frames} are both given; give one.")
        if n_frames is not None:
            return n_frames
        if seconds is None:
            return default
        frontend = self.model.frontend
        whole = math.floor(seconds * frontend.sample_rate / frontend.hop_length + ROUNDING)
        if whole < 1:
            raise ConfigError(f"a {what} of {seconds} s is less than one frame, {self._seconds(1)} s.")
        return whole

    def _times_s(self, n_patches: int) -> NDArray[np.float64]:
        """Starts of patches in seconds: whole samples, divided once."""
        frontend = self.model.frontend
        return np.arange(n_patches) * self.hop_frames * frontend.hop_length / frontend.sample_rate

    def _many(self, tasks: Iterable[Task], n_workers: int | None) -> Iterator[Any]:
        """Do tasks in worker processes where this tagger can be built there again, and in this one where not."""
        if self._settings is None:
            for task in tasks:
                try:
                    yield self.embed_whole(task.path, layer=task.layer) if task.embed else self.tag(task.path)
                except Exception as error:  # as in a worker: one file must not cost the next one
                    yield Failure.of(task.path, error)
            return
        if n_workers is None and self.device.type != "cpu":
            n_workers = 1  # more would each need a context on the device, and none of them would be quicker
        if n_workers not in self._workers:
            self._workers[n_workers] = Workers(self._settings, n_workers)
        yield from self._workers[n_workers].run(tasks)


def tag(source: Source, *, model: str | PathLike[str] = DEFAULT_MODEL, **settings: Any) -> Taggram:
    """Tag one sound; for more than one, make a `Tagger` and keep it.

    Args:
        source: a path, bytes, a file opened in binary mode, or (samples, sample_rate).
        model: "network.weights", or the file that `model.save` wrote.
        **settings: those of `Tagger`.

    Returns:
        The scores of all patches.

    Raises:
        AudioError: the sound cannot be read or used.
    """
    return Tagger(model, **settings).tag(source)


def settings_for_workers(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Say with which settings a worker process can build the same tagger.

    Args:
        settings: those of `Tagger`.

    Returns:
        The same, or None where a worker would build another network: one with an untrained part, or with settings that
        are no plain values.
    """
    from taggram.models import list_models

    if not is_model_file(settings["model"]) and (
        settings["model"] not in list_models() or "n_tags" in settings["options"]
    ):
        return None
    try:
        json.dumps(settings)
    except TypeError:
        return None
    return settings


def find_device(name: str) -> torch.device:
    """Find the device to compute on.

    Args:
        name: "auto" (a CUDA device if there is one), or any device that torch knows.

    Returns:
        The device.

    Raises:
        ConfigError: torch has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    with contextlib.suppress(RuntimeError, AssertionError):
        device = torch.zeros(1, device=name).device
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # its 10 bits are too few for the scores of the original
        if device.type != "meta":
            return device
    raise ConfigError(f"there is no device {name!r} here; try auto or cpu.")


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread within the `with` statement, as it does in a worker.

    Several of them side by side keep the cores busier than one on all of them.

    Yields:
        Nothing.
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _score_one(kit: Kit, compute: Callable[[], PatchVectors]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = kit.scores(compute().vectors)[0]
    return scores


def _regrouped(blocks: Iterable[Samples], n_samples: int) -> Iterator[Samples]:
    """Regroup blocks into blocks of exactly `n_samples`, the last one shorter."""
    held: list[Samples] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        if n_held >= n_samples:
            whole = np.concatenate(held)
            for start in range(0, n_held - n_samples + 1, n_samples):
                yield whole[start : start + n_samples]
            held = [whole[n_held - n_held % n_samples :]]
            n_held = len(held[0])
    if n_held:
        yield np.concatenate(held)
