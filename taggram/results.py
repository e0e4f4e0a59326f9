"""What comes out: a Taggram, an Embedding, or a Failure. Made and shown without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from taggram.errors import AudioError, printable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Taggram:
    """Scores of tags over time.

    Attributes:
        path: the file, or what the sound came from.
        model: name of the model.
        duration_s: length of the sound.
        patch_s: length of a patch.
        hop_s: step between patches.
        padded: whether the sound was shorter than a patch and was repeated to fill one.
        notes: what was done to the sound and what is unusual about it.
        unusual: those of the notes that a user should hear of.
        tags: names, in the model's order.
        times_s: (patches,) start of each patch.
        scores: (patches, tags) float32, 0 to 1.
        trouble: what went wrong beside the tags, such as a picture that could not be written, or "".
    """

    path: str
    model: str
    duration_s: float
    patch_s: float
    hop_s: float
    padded: bool
    notes: tuple[str, ...]
    unusual: tuple[str, ...]
    tags: tuple[str, ...]
    times_s: NDArray[np.float64]
    scores: NDArray[np.float32]
    trouble: str = ""

    @property
    def mean_scores(self) -> NDArray[np.float32]:
        """(tags,) mean over the patches: the scores of the whole sound."""
        mean: NDArray[np.float32] = self.scores.mean(axis=0)
        return mean

    def top(self, n: int | None = 3, threshold: float = 0.0) -> list[tuple[str, float]]:
        """Give the best tags of the whole sound.

        Args:
            n: at most so many, or None for all.
            threshold: least score.

        Returns:
            (tag, score), the best first.
        """
        return best_tags(self.tags, self.mean_scores, n, threshold)

    def plot(self) -> Figure:
        """Draw the picture: time across, tags sorted by score down.

        Returns:
            The figure; `figure.savefig("song.png")` writes it.
        """
        from taggram.picture import draw_taggram

        return draw_taggram(
            self.scores, self.times_s, self.tags, patch_s=self.patch_s, title=Path(self.path).name, subtitle=self.model
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """A named layer of a network over time.

    Attributes:
        path: the file, or what the sound came from.
        model: name of the model.
        layer: name of the layer.
        notes: what was done to the sound and what is unusual about it.
        unusual: those of the notes that a user should hear of.
        times_s: (rows,) where in the sound each row starts; a layer that keeps time has several rows a patch.
        features: (rows, ...) float32; their mean over the rows is the embedding of the clip.
    """

    path: str
    model: str
    layer: str
    notes: tuple[str, ...]
    unusual: tuple[str, ...]
    times_s: NDArray[np.float64]
    features: NDArray[np.float32]

    def mean(self) -> Embedding:
        """Give the embedding of the whole clip: one row, the mean over all rows."""
        return replace(self, times_s=self.times_s[:1], features=self.features.mean(axis=0, keepdims=True))


@dataclass(frozen=True)
class Failure:
    """A file that could not be done.

    Attributes:
        path: the file.
        error: name of the error, such as "AudioError".
        message: the reason, in one line.
    """

    path: str
    error: str
    message: str

    @classmethod
    def of(cls, path: str, error: BaseException) -> Self:
        """Make the failure of a file from the error that it raised."""
        reason = error.reason if isinstance(error, AudioError) else str(error)
        return cls(path, type(error).__name__, printable(reason or "no reason was given"))


def best_tags(
    tags: tuple[str, ...], scores: NDArray[np.float32], n: int | None, threshold: float
) -> list[tuple[str, float]]:
    """Sort tags by score.

    Args:
        tags: names.
        scores: (tags,).
        n: at most so many, or None for all.
        threshold: least score.

    Returns:
        (tag, score), the best first; of equal scores the first tag first.
    """
    order = (-scores).argsort(kind="stable")[:n]
    return [(tags[index], float(scores[index])) for index in order if scores[index] >= threshold]
