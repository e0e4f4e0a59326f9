"""Excitations of squeeze-and-excitation blocks, by tag and by loudness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fsdecode
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taggram.audio import MAX_DURATION_S, Samples, SoundStream, Source, source_name
from taggram.errors import AudioError, ConfigError
from taggram.look._network import device_of, evaluating, name_of
from taggram.results import Failure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.look._ascent import Progress
    from taggram.models._contract import TaggingModel

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BATCH_SEGMENTS = 8
WITH_BLOCKS = "rese has them with block=se, block=rese1 and block=rese2"


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipExcitations:
    """Excitations of one clip.

    Attributes:
        path: the file, or what the sound came from.
        blocks: of each block (segments, channels), 0 to 1.
        loudness: (segments,) root mean square.
        top_tag: the tag of the highest mean score, or None where the network gives no scores.
    """

    path: str
    blocks: tuple[Floats, ...]
    loudness: Floats
    top_tag: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Excitations:
    """Excitations by tag, and those of the first block by loudness.

    Attributes:
        model: name of the network.
        names: paths of the squeeze-and-excitation modules, in order.
        tags: the tags, in the order in which they came; sorted, where the network finds them.
        tags_by: who says which tags a clip has: the "caller", or the "model", which gives each clip its best tag.
        n_clips: (tags,) clips of each tag.
        by_tag: of each block (tags, channels): mean over the segments of a clip, then over the clips of a tag.
        loudness: (segments,) root mean square of every segment.
        first_block: (segments, channels) excitations of the first block in them.
    """

    model: str
    names: tuple[str, ...]
    tags: tuple[str, ...]
    tags_by: Literal["caller", "model"]
    n_clips: NDArray[np.intp]
    by_tag: tuple[Floats, ...]
    loudness: Floats
    first_block: Floats

    @property
    def spread(self) -> Doubles:
        """(blocks,) standard deviation over the tags, in the mean over channels: how much a block depends on them."""
        return np.array([block.std(axis=0, dtype=np.float64).mean() for block in self.by_tag])

    @property
    def loudness_lines(self) -> tuple[Doubles, Doubles, Doubles]:
        """Least-squares lines of the first block over loudness.

        Returns:
            (channels,) slopes, (channels,) values at loudness 0, (channels,) root mean square of what is left.
        """
        values = self.first_block.astype(np.float64)
        loudness = self.loudness.astype(np.float64)
        deviations = loudness - loudness.mean()
        variance = float(deviations @ deviations)
        slopes = deviations @ values / variance if variance else np.zeros(values.shape[1])
        starts = values.mean(axis=0) - slopes * loudness.mean()
        left = values - starts - np.outer(loudness, slopes)
        return slopes, starts, np.sqrt(np.square(left).mean(axis=0))

    @property
    def selected_channels(self) -> dict[str, int]:
        """The channels of the first block that are most telling of their kind, by what that is."""
        slopes, _, left = self.loudness_lines
        return {
            "most positive slope": int(slopes.argmax()),
            "most negative slope": int(slopes.argmin()),
            "slope nearest 0": int(np.abs(slopes).argmin()),
            "least error": int(left.argmin()),
        }

    def plot(self) -> Figure:
        """Draw a panel a block, its channels by their mean over the tags, a curve a tag; and the spread of each block.

        Returns:
            The figure.
        """
        from taggram.look._draw_excitations import draw_excitations

        return draw_excitations(self)

    def plot_loudness(self) -> Figure:
        """Draw the excitations of the first block over loudness: their mean, and the selected channels.

        Returns:
            The figure.
        """
        from taggram.look._draw_excitations import draw_loudness

        return draw_loudness(self)


def excite(model: TaggingModel, source: Source, *, max_duration_s: float = MAX_DURATION_S) -> ClipExcitations:
    """Compute the excitations of one clip, segment by segment.

    A segment is as long as the patch that the network was made for. A last incomplete one is dropped, and a sound
    shorter than one is repeated until it fills it.

    Args:
        model: a network with squeeze-and-excitation blocks; it is used in evaluation mode and left as it was.
        source: a path, bytes, a file opened in binary mode, or (samples, sample_rate).
        max_duration_s: longest sound that is taken, in seconds.

    Returns:
        The excitations.

    Raises:
        AudioError: the sound cannot be read or used.
        ConfigError: the network has no such blocks.
    """
    given: dict[str, list[Tensor]] = {}
    hooks = []
    for name, block in squeeze_blocks(model).items():
        given[name] = []
        hooks.append(block.register_forward_hook(_keep_in(given[name])))
    loudness, scores = [], []
    rate = model.frontend.sample_rate
    n_samples = model.frontend.n_samples_for(model.frontend.n_frames)
    has_scores = model.n_tags is not None and model.task in ("several", "one")
    try:
        with (
            evaluating(model),
            torch.inference_mode(),
            SoundStream(source, sample_rate=rate, max_duration_s=max_duration_s) as sound,
        ):
            for segments in cut_segments(sound, n_samples):
                loudness.append(np.sqrt(np.square(segments).mean(axis=1)))
                logits = model(torch.from_numpy(segments).to(device_of(model)))
                if has_scores:
                    scores.append(model.scores(logits).cpu())
            path = sound.name
    finally:
        for hook in hooks:
            hook.remove()
    return ClipExcitations(
        path=path,
        blocks=tuple(torch.cat(parts).numpy() for parts in given.values()),
        loudness=np.concatenate(loudness),
        top_tag=_tag_of(model, int(torch.cat(scores).mean(0).argmax())) if scores else None,
    )


def excitations(
    model: TaggingModel,
    clips: Mapping[str, Iterable[Source]] | Iterable[Source],
    *,
    max_duration_s: float = MAX_DURATION_S,
    on_failure: Callable[[Failure], None] | None = None,
    progress: Progress | None = None,
) -> Excitations:
    """Average the excitations of clips by tag.

    Args:
        model: a network with squeeze-and-excitation blocks; it is used in evaluation mode and left as it was.
        clips: for each tag its clips; a path may come under several tags, and is read once. Or the clips alone: then
            each has the tag to which the network gives the highest score.
        max_duration_s: longest sound that is taken, in seconds.
        on_failure: is told of each clip that cannot be read or used, and the others are done; None raises at the first.
        progress: is told how much is done.

    Returns:
        The means by tag, and the segments one by one of the first block. Tags without a clip are left out.

    Raises:
        AudioError: a sound cannot be read or used and `on_failure` is not given, or no clip is left.
        ConfigError: the network has no such blocks, or gives no scores and is to find the tags.
    """
    if not isinstance(clips, Mapping) and model.n_tags is None:
        raise ConfigError(f"{name_of(model)} has no head, so it finds no tags; sort the clips by tag.")
    given = list(clips.items()) if isinstance(clips, Mapping) else [(None, clips)]
    tagged = _by_clip(given)
    means = _Means(tuple(squeeze_blocks(model)))
    for number, (tags, clip) in enumerate(tagged, start=1):
        means.add(tags, _excite_or_tell(model, clip, max_duration_s, on_failure))
        if progress is not None:
            progress(number / len(tagged))
    if isinstance(clips, Mapping):
        return means.result(name_of(model), tuple(clips), "caller")
    return means.result(name_of(model), sorted(means.n_clips), "model")


def tagged_excitations(
    model: TaggingModel,
    clips: Iterable[tuple[Sequence[str], Source]],
    *,
    max_duration_s: float = MAX_DURATION_S,
    on_failure: Callable[[Failure], None] | None = None,
) -> Excitations:
    """Average the excitations of clips that come one by one, each with its tags.

    A clip is asked for when the one before is done with, so that the sound of one alone is in memory.

    Args:
        model: a network with squeeze-and-excitation blocks; it is used in evaluation mode and left as it was.
        clips: the tags of a clip, maybe none, and the clip.
        max_duration_s: longest sound that is taken, in seconds.
        on_failure: is told of each clip that cannot be read or used, and the others are done; None raises at the first.

    Returns:
        The means by tag, in the order in which tags came, and the segments one by one of the first block.

    Raises:
        AudioError: a sound cannot be read or used and `on_failure` is not given, or no clip is left.
        ConfigError: the network has no such blocks.
    """
    means = _Means(tuple(squeeze_blocks(model)))
    for tags, clip in clips:
        means.add(tags, _excite_or_tell(model, clip, max_duration_s, on_failure))
    return means.result(name_of(model), list(means.n_clips), "caller")


def squeeze_blocks(model: TaggingModel) -> dict[str, nn.Module]:
    """Find what gives the excitations of a network.

    Args:
        model: the network.

    Returns:
        By the path of its squeeze-and-excitation module, the part of it that gives (batch, channels).

    Raises:
        ConfigError: there is none.
    """
    from taggram.models.rese import SqueezeExcite

    blocks: dict[str, nn.Module] = {
        name: module.excite for name, module in model.named_modules() if isinstance(module, SqueezeExcite)
    }
    if not blocks:
        raise ConfigError(f"{name_of(model)} has no squeeze-and-excitation blocks; {WITH_BLOCKS}.")
    return blocks


def cut_segments(blocks: Iterable[Samples], n_samples: int) -> Iterator[Samples]:
    """Cut a sound into segments, in the memory of a few of them.

    Args:
        blocks: the sound, (samples,) each.
        n_samples: length of a segment.

    Yields:
        (segments, n_samples), a few at once. A last incomplete one is dropped; where it is the only one, it is repeated
        until it fills a segment.
    """
    held: list[Samples] = []
    n_held, n_given = 0, 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        if n_held >= BATCH_SEGMENTS * n_samples:
            whole = np.concatenate(held)
            n_whole = n_held // n_samples
            yield from _batches(whole[: n_whole * n_samples].reshape(n_whole, n_samples))
            held, n_held = [whole[n_whole * n_samples :]], n_held - n_whole * n_samples
            n_given += n_whole
    rest = np.concatenate(held)
    if not n_given and n_held < n_samples:
        rest = np.resize(rest, n_samples)
    n_whole = len(rest) // n_samples
    yield from _batches(rest[: n_whole * n_samples].reshape(n_whole, n_samples))


def _batches(segments: Samples) -> Iterator[Samples]:
    for first in range(0, len(segments), BATCH_SEGMENTS):
        yield segments[first : first + BATCH_SEGMENTS]


def _keep_in(kept: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """Make a hook that keeps what a module gives."""

    def hook(_module: nn.Module, _came: tuple[Tensor, ...], out: Tensor) -> None:
        kept.append(out.cpu())

    return hook


def _tag_of(model: TaggingModel, index: int) -> str:
    return model.tags[index] if model.tags else f"tag{index}"


class _Means:
    """Sums over the clips of each tag, in which each clip counts the same, however many segments it has.

    Args:
        names: paths of the squeeze-and-excitation modules, in order.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.n_clips: Counter[str] = Counter()
        self._names = names
        self._sums: dict[str, list[Doubles]] = {}
        self._loudness: list[Floats] = []
        self._first_block: list[Floats] = []

    def add(self, tags: Sequence[str | None], found: ClipExcitations | None) -> None:
        """Take in a clip with its tags, of which None is the one that the network finds; or none, where it failed."""
        if found is None:
            return
        means = [block.mean(axis=0, dtype=np.float64) for block in found.blocks]
        for tag in tags:
            name = str(found.top_tag) if tag is None else tag
            self.n_clips[name] += 1
            sums = self._sums.get(name)
            self._sums[name] = means if sums is None else [total + mean for total, mean in zip(sums, means)]
        self._loudness.append(found.loudness)
        self._first_block.append(found.blocks[0])

    def result(self, model: str, order: Iterable[str], tags_by: Literal["caller", "model"]) -> Excitations:
        """Give the means of those of the tags that have a clip."""
        if not self._loudness:
            raise AudioError("there is no clip that could be used.")
        tags = [tag for tag in order if self.n_clips[tag]]
        blocks = range(len(self._names))
        by_tag = [[self._sums[tag][block] / self.n_clips[tag] for tag in tags] for block in blocks]
        return Excitations(
            model=model,
            names=self._names,
            tags=tuple(tags),
            tags_by=tags_by,
            n_clips=np.array([self.n_clips[tag] for tag in tags]),
            by_tag=tuple(np.array(block, np.float32) for block in by_tag),
            loudness=np.concatenate(self._loudness),
            first_block=np.concatenate(self._first_block),
        )


def _by_clip(
    groups: Iterable[tuple[str | None, Iterable[Source]]],
) -> list[tuple[list[str | None], Source]]:
    """Turn clips by tag into tags by clip, in the order of the clips; a path that comes again is the same clip."""
    found: dict[str | int, tuple[list[str | None], Source]] = {}
    pairs = [(tag, clip) for tag, group in groups for clip in group]
    for number, (tag, clip) in enumerate(pairs):
        key = fsdecode(clip) if isinstance(clip, str | PathLike) else number
        found.setdefault(key, ([], clip))[0].append(tag)
    return list(found.values())


def _excite_or_tell(
    model: TaggingModel, clip: Source, max_duration_s: float, on_failure: Callable[[Failure], None] | None
) -> ClipExcitations | None:
    """Do one clip, or tell of its failure."""
    try:
        return excite(model, clip, max_duration_s=max_duration_s)
    except (AudioError, OSError) as error:
        if on_failure is None:
            raise
        on_failure(Failure.of(source_name(clip), error))
        return None
