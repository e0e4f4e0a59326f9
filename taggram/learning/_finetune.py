"""A network trained further on the examples of a kit, of which the kit then keeps what changed.

The whole network learns, with a new head. Then the head is dropped: a linear map is fitted on what the last layer gives
now, as for every kit, so that examples can still be added and tags taken out without the old sound.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._kit_network import put_in
from taggram._patch_vectors import PatchEmbedder
from taggram.audio import Source
from taggram.errors import AudioError, TrainingError
from taggram.kit import KitTask, unit_rows
from taggram.learning._example_patches import Part, Span, patches_of
from taggram.learning._example_worker import EmbeddedExample, by_file, embed_spans
from taggram.learning._kit_fit import Heard, recordings
from taggram.learning._kit_validation import Validated, goodness
from taggram.learning._listening import Told
from taggram.learning.config import FitConfig
from taggram.learning.kit_methods import METHODS, Lesson, fit_linear, logits_of
from taggram.learning.patch_fit import PatchSet, fit_patches
from taggram.models._contract import TaggingModel
from taggram.tagger import Tagger

Sound: TypeAlias = tuple[Source, Span]
"""A sound, and where the example begins and ends in it."""

MOST_PATCHES = 4  # of an example that the network is trained on
HELD_OUT = 3  # of so many recordings of a tag, one is held out first, to see how good the tuned network is
LR, BATCH_SIZE, NORM_MOMENTUM = 3e-4, 16, 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """What came of it.

    Attributes:
        tensors: those of the network that changed, by name, float16.
        heard: the examples, with the vectors of the tuned network.
        held_out: how good a network was that was tuned on two thirds of the examples, on the others; None with fewer
            than 3 recordings of every tag.
    """

    tensors: dict[str, NDArray[np.float16]]
    heard: Heard
    held_out: dict[str, Any] | None


def tune_on(
    sounds: Sequence[Sound],
    heard: Heard,
    tagger: Tagger,
    task: KitTask,
    epochs: int,
    told: Told,
) -> Tuned:
    """Train a network further on examples.

    Args:
        sounds: that of each example.
        heard: the examples; their vectors are not used.
        tagger: has the network, which is left as it is, and the longest sound that is taken.
        task: whether exactly one tag holds.
        epochs: how often all examples are gone through.
        told: is told how far it is.

    Returns:
        The tuned network.

    Raises:
        TrainingError: there is one tag alone, or the training fails.
    """
    tags = tuple(sorted({tag for example in heard.examples for tag in example.tags}))
    labels = np.array([[tag in example.tags for tag in tags] for example in heard.examples], bool)
    if len(tags) < 2:
        raise TrainingError(f"there are examples of {len(tags)} tags; a network is tuned on 2 at least.")
    embedder = tagger.embedder(tagger.model.layers()[-1:])
    inputs = _inputs(sounds, embedder, tagger, told)

    def tuned_without(out: NDArray[np.bool_], name: str) -> tuple[dict[str, NDArray[np.float16]], Heard]:
        kept = np.flatnonzero(~out)
        tensors = _trained(
            tagger.model, [inputs[place] for place in kept], labels[kept], task, epochs, str(tagger.device),
            lambda epoch: told(name, epoch, epochs),
        )  # fmt: skip
        return tensors, _heard_again(sounds, heard, _with(tagger.model, tensors), tagger, told)

    out = _to_hold_out(labels, recordings(heard.examples))
    held_out = None
    if out.any():
        _, again = tuned_without(out, "tuned on two thirds, to try it")
        held_out = _tried(again, labels, task, out)
    tensors, again = tuned_without(np.zeros(len(labels), bool), "tuned on all")
    return Tuned(tensors=tensors, heard=again, held_out=held_out)


def _inputs(sounds: Sequence[Sound], embedder: PatchEmbedder, tagger: Tagger, told: Told) -> list[Tensor]:
    """Give patches of the examples as the network sees them."""
    rate = tagger.model.frontend.sample_rate
    inputs: dict[int, Tensor] = {}
    for places in by_file([source for source, _ in sounds]):
        parts = {place: Part(sounds[place][1], rate, embedder.cutter()) for place in places}
        source = sounds[places[0]][0]
        for place, patches, _ in patches_of(parts, source, rate, MOST_PATCHES, tagger.max_duration_s, lambda _: None):
            if isinstance(patches, AudioError):
                raise patches
            inputs[place] = embedder.inputs(patches).cpu()
            told("heard for tuning", len(inputs), len(sounds))
    return [inputs[place] for place in range(len(sounds))]


def _trained(
    model: TaggingModel,
    inputs: Sequence[Tensor],
    labels: NDArray[np.bool_],
    task: KitTask,
    epochs: int,
    device: str,
    told: Callable[[int], object],
) -> dict[str, NDArray[np.float16]]:
    """Train a copy of a network; give what changed in it."""
    tuned = copy.deepcopy(model)
    tuned.reset_head(labels.shape[1], task=task)
    counts = torch.tensor([len(patches) for patches in inputs])
    targets = torch.from_numpy(labels.astype(np.float32)).repeat_interleave(counts, 0)
    patches = PatchSet(torch.cat(list(inputs)), targets, (1 / counts).repeat_interleave(counts, 0))
    config = FitConfig(
        lr=LR, batch_size=BATCH_SIZE, max_epochs=epochs, keep="last", norm_momentum=NORM_MOMENTUM, clip_norm=1.0
    )
    fit_patches(
        tuned, lambda epoch: patches.shuffled(config, epoch), config, device=device,
        told=lambda figures: told(int(figures["epoch"])),
    )  # fmt: skip
    before = model.state_dict()
    return {
        name: tensor.cpu().half().numpy()
        for name, tensor in tuned.state_dict().items()
        if not name.startswith("head") and tensor.is_floating_point() and not torch.equal(tensor, before[name].cpu())
    }


def _with(model: TaggingModel, tensors: dict[str, NDArray[np.float16]]) -> TaggingModel:
    """Give a copy of a network with some tensors changed, as a kit does."""
    tuned = copy.deepcopy(model)
    put_in(tuned, tensors)
    return tuned.eval()


def _heard_again(sounds: Sequence[Sound], heard: Heard, model: TaggingModel, tagger: Tagger, told: Told) -> Heard:
    """Give the examples with the vectors of the last layer of a network."""
    own = Tagger(model, device=str(tagger.device), max_duration_s=tagger.max_duration_s)
    embedder, rate = own.embedder(model.layers()[-1:]), model.frontend.sample_rate
    by_place: dict[int, EmbeddedExample] = {}
    for places in by_file([source for source, _ in sounds]):
        spans = [sounds[place][1] for place in places]
        again = embed_spans(embedder, sounds[places[0]][0], rate, spans, max_duration_s=tagger.max_duration_s)
        for place, one in zip(places, again):
            if isinstance(one, AudioError):
                raise one
            by_place[place] = one
        told("heard with the tuned network", len(by_place), len(sounds))
    found = [by_place[place] for place in range(len(sounds))]
    return replace(
        heard,
        vectors=np.concatenate([one.vectors for one in found]),
        example=np.repeat(np.arange(len(found)), [len(one.vectors) for one in found]).astype(np.int32),
        semitones=np.concatenate([one.semitones for one in found]),
    )


def _to_hold_out(labels: NDArray[np.bool_], recording: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose the examples that are held out: all of every third recording of each tag, but no tag whole."""
    first = labels.argmax(1)
    of_tag = [recording[labels[:, tag] & (first == tag)] for tag in range(labels.shape[1])]
    chosen = [list(dict.fromkeys(some))[HELD_OUT - 1 :: HELD_OUT] for some in of_tag]
    out = np.isin(recording, [one for some in chosen for one in some])
    lost = ~labels[~out].any(0)
    kept: NDArray[np.bool_] = out & ~labels[:, lost].any(1)
    return kept


def _tried(heard: Heard, labels: NDArray[np.bool_], task: KitTask, out: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Say how good a tuned network is on the examples that it was not tuned on."""
    rows = heard.vectors.astype(np.float64)
    seen = ~out[heard.example]
    rows = unit_rows((rows - rows[seen].mean(0)) / (rows[seen].std(0) + 1e-2 * rows[seen].std(0).mean()))
    numbers = recordings(heard.examples)
    lesson = Lesson(rows, heard.example.astype(np.int64), heard.semitones == 0, labels, task, numbers)
    logits = np.full(labels.shape, np.nan)
    logits[out] = logits_of(fit_linear(METHODS[0], lesson.without(out)), lesson, out)
    right = goodness(logits, lesson)
    return None if np.isnan(right).all() else Validated(METHODS[0], "held-out", logits, right).facts(labels)
