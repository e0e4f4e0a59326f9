"""The form in which a network tags: a stretch of a track's spectrogram in, features of its patches out.

A network's plain module is for training, features and export. A form may do the same work another way: `PlainForm` cuts
the patches and runs the module, others prune and share. `build_inference` checks each against the plain one.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from taggram.errors import WeightsError
from taggram.frontends import RawFrames
from taggram.models._lots import Lots
from taggram.models._precision import check_accuracy, with_precision

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel
    from taggram.models._registry import Engine, Precision

TOLERANCE = 1e-3  # largest difference of a feature x from the plain module's, as a share of 1 + |x|


class InferenceForm(abc.ABC):
    """A network made ready to tag.

    Args:
        model: the plain module; it is put in evaluation mode.
        precision: the numbers that features are computed in.
    """

    def __init__(self, model: TaggingModel, precision: Precision = "float32") -> None:
        self.model = model.eval()
        self.precision = precision

    @functools.cached_property
    def plain(self) -> PlainForm:
        """What computes that which this form cannot, in the same numbers."""
        return PlainForm(with_precision(self.model, self.precision))

    @abc.abstractmethod
    def features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees, for patches of one stretch of a track.

        Args:
            frames: (mels, frames), or (1, samples) for networks on raw waveforms: the stretch.
            starts: first frame of each patch, counted from the start of the stretch, rising.
            n_frames: length of a patch.

        Returns:
            (patches, n_features).
        """

    def shares(self) -> dict[str, float]:
        """Say how much of the work of the plain module's parts is left.

        Returns:
            Shares, 0 to 1, by the name of the part, such as "midend.0"; of a part that is not named all is left.
        """
        return {}

    def scores(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute the scores of patches of one stretch of a track.

        Args:
            frames: as for `features`.
            starts: as for `features`.
            n_frames: as for `features`.

        Returns:
            (patches, n_tags), 0 to 1.
        """
        return self.model.scores(self.model.forward_head(self.features(frames, starts, n_frames)))

    def layer(self, name: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute a named layer for patches of one stretch of a track.

        Args:
            name: a name out of `model.layers()`.
            frames: as for `features`.
            starts: as for `features`.
            n_frames: as for `features`.

        Returns:
            (patches, features), or (patches, time, ...) where the layer keeps time.
        """
        if name == self.model.layers()[-1]:
            return self.features(frames, starts, n_frames)
        return self.plain.layer(name, frames, starts, n_frames)

    def layers(self, names: Sequence[str], frames: Tensor, starts: Sequence[int], n_frames: int) -> list[Tensor]:
        """Compute several named layers for patches of one stretch of a track.

        Args:
            names: names out of `model.layers()`.
            frames: as for `features`.
            starts: as for `features`.
            n_frames: as for `features`.

        Returns:
            As for `layer`, one a name.
        """
        return [self.layer(name, frames, starts, n_frames) for name in names]

    def cut_patches(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Cut a stretch into a batch of patches, as the network's front-end gives them.

        Args:
            frames: as for `features`.
            starts: as for `features`.
            n_frames: as for `features`.

        Returns:
            (patches, 1, mels, n_frames), or (patches, 1, n_frames) for raw waveforms.
        """
        patches = torch.stack([frames[:, start : start + n_frames] for start in starts])
        return patches if isinstance(self.model.frontend, RawFrames) else patches.unsqueeze(1)


class PlainForm(InferenceForm):
    """The plain module, in one batch, or on a CPU in several of a size that suits it.

    Args:
        model: the plain module; it is put in evaluation mode.
    """

    def __init__(self, model: TaggingModel) -> None:
        super().__init__(model)
        self._lots = Lots()

    def features(self, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute what the head sees; see `InferenceForm.features`."""
        patches = self.cut_patches(frames, starts, n_frames)
        return self._lots.run(lambda lot: [self.model.forward_features(lot)], patches)[0]

    def layer(self, name: str, frames: Tensor, starts: Sequence[int], n_frames: int) -> Tensor:
        """Compute a named layer; see `InferenceForm.layer`."""
        return self.layers([name], frames, starts, n_frames)[0]

    def layers(self, names: Sequence[str], frames: Tensor, starts: Sequence[int], n_frames: int) -> list[Tensor]:
        """Compute several named layers in one pass; see `InferenceForm.layers`."""
        if [*names] == [self.model.layers()[-1]]:
            return [self.features(frames, starts, n_frames)]

        def compute(lot: Tensor) -> list[Tensor]:
            computed = self.model.forward_layers(lot)
            return [computed[name] for name in names]

        return self._lots.run(compute, self.cut_patches(frames, starts, n_frames))


@torch.inference_mode()
def build_inference(
    model: TaggingModel,
    n_frames: int,
    hop_frames: int,
    engine: Engine = "torch",
    precision: Precision = "float32",
) -> InferenceForm:
    """Build the form in which a model tags on its device, and check it against the plain module.

    Args:
        model: the network with its weights, on the device where it will run.
        n_frames: length of the patches to come.
        hop_frames: step between them.
        engine: what is to run it.
        precision: the numbers that features are computed in, which `check_precision` let pass.

    Returns:
        With torch, the quickest form on a CPU and the plain one elsewhere; with onnx, the one that compares each of
        its graphs with torch when it is first used.

    Raises:
        ConfigError: the network cannot compute in such numbers, or its scores would be far off.
        WeightsError: the form does not give the plain module's features.
        MissingExtraError: onnxruntime is wanted and not installed.
    """
    if engine == "onnx":
        from taggram.models._onnx_inference import OnnxForm

        return OnnxForm(model)
    plain = PlainForm(model)
    on_cpu = next(model.parameters()).device.type == "cpu"
    if precision != "float32":
        form = model.inference(precision) if on_cpu else PlainForm(with_precision(model, precision))
        check_accuracy(plain, form, precision, n_frames)
        return form
    form = model.inference() if on_cpu else plain
    if type(form) is not PlainForm:
        starts = [0] if hop_frames >= n_frames else [0, hop_frames]  # overlapping ones may share work
        shape = (model.frontend.n_bands, starts[-1] + n_frames)
        frames = 8 * torch.rand(shape, generator=torch.Generator().manual_seed(0))
        wanted, got = plain.features(frames, starts, n_frames), form.features(frames, starts, n_frames)
        worst = float(((got - wanted).abs() / (1 + wanted.abs())).max())
        if not worst <= TOLERANCE:
            raise WeightsError(
                f"the quick form of {type(model).__name__} is off by {worst:.1e}, where {TOLERANCE:.0e} is allowed: "
                "are its weights finite?"
            )
    return form
