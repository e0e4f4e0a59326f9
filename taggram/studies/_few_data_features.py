"""Features of frozen networks for the study of few examples: made in cells of their own, and kept for all methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.errors import TrainingError
from taggram.learning.probes import patch_features
from taggram.models import create_model
from taggram.models.vggish import load_vggish_weights
from taggram.studies._base import Cell, Value
from taggram.studies._clips import StudyClips

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel

NETWORKS = {  # name in methods: the model, the layer of a dense layer and the like, and that of the toolkit
    "musicnn": ("musicnn.mtt", "penultimate", "max_pool"),
    "vggish": ("vggish", "penultimate", "penultimate"),
}
CLIPS_A_PART = 128  # clips whose features are computed and kept together

ClipFeatures = Sequence[NDArray[np.float32]]


class FrozenFeatures:
    """The features of all clips by one network, on patches side by side.

    Args:
        name: a key of `NETWORKS`.
        clips: of the study.
        folder: where they are kept.
        weights: file of VGGish.
        details: what else tells the cells apart.
    """

    def __init__(
        self, name: str, clips: StudyClips, folder: Path, *, weights: str, details: Mapping[str, Value]
    ) -> None:
        self.name = name
        self._clips = clips
        self._folder = folder
        self._weights = weights
        self._details = details
        self._model: TaggingModel | None = None
        self._kept: dict[str, list[NDArray[np.float32]]] = {}

    @property
    def method(self) -> str:
        """Name of the cells."""
        return f"{self.name}_features"

    def cells(self) -> Iterator[Cell]:
        """List the cells that compute them, each those of some clips."""
        for part in range(-(-len(self._clips.labels) // CLIPS_A_PART)):
            yield Cell(method=self.method, details={"part": part, **self._details}, is_scored=False)

    def make(self, cell: Cell, device: torch.device) -> dict[str, int]:
        """Compute the features of some clips, and keep them.

        Args:
            cell: one of `cells`.
            device: where the network runs.

        Returns:
            How many patches there are.
        """
        model = self._model = self._model or self._create()
        first = int(str(cell.details["part"])) * CLIPS_A_PART
        clips = range(first, min(first + CLIPS_A_PART, len(self._clips.labels)))
        sounds = self._clips.sounds(model.frontend.sample_rate)
        layers = sorted({*NETWORKS[self.name][1:]})
        found = [patch_features(model, sounds.whole(clip), layers, device=device) for clip in clips]
        arrays: dict[str, Any] = {layer: np.concatenate([of_clip[layer] for of_clip in found]) for layer in layers}
        n_patches = np.array([len(of_clip[layers[0]]) for of_clip in found], np.int64)
        with written_aside(self._file(cell)) as aside:
            np.savez(aside, n_patches=n_patches, **arrays)
        return {"n_patches": int(n_patches.sum())}

    def of_layer(self, layer: str) -> ClipFeatures:
        """Read the features of all clips.

        Args:
            layer: its name.

        Returns:
            Those of each clip, (patches, values).

        Raises:
            TrainingError: a cell that computes them has failed.
        """
        if layer not in self._kept:
            kept: list[NDArray[np.float32]] = []
            for cell in self.cells():
                if not self._file(cell).exists():
                    raise TrainingError(f"the features of {self.name} are missing, as {cell.words} has failed.")
                with np.load(self._file(cell), allow_pickle=False) as arrays:
                    kept += np.split(arrays[layer], np.cumsum(arrays["n_patches"])[:-1])
            self._kept[layer] = kept
        return self._kept[layer]

    def _file(self, cell: Cell) -> Path:
        return self._folder / f"{cell.key}.npz"

    def _create(self) -> TaggingModel:
        model = create_model(NETWORKS[self.name][0])
        if self.name == "vggish":
            load_vggish_weights(model, self._weights)
        return model
