"""TaggingModel: what every network offers."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from taggram.errors import AudioError, ConfigError, did_you_mean, unknown_name
from taggram.frontends import FrontendConfig, create_frontend

if TYPE_CHECKING:
    from taggram.models._inference import InferenceForm
    from taggram.models._onnx_file import OnnxFile
    from taggram.models._registry import Precision

Task = Literal["several", "one", "embedding", "features"]
"""What comes out: logits of tags of which several may hold at once (scores by sigmoid) or exactly one does (scores by
softmax); an embedding that was trained as such; or features of a network that is not trained at all."""


class TaggingModel(nn.Module, abc.ABC):
    """A network with its front-end and its head: waveform in, logits out.

    A network writes only `forward_layers`; everything else is here.

    Args:
        frontend: settings of the front-end; its `n_frames` is the patch that the network was made for.
        n_features: length of what `forward_features` gives.
        n_tags: number of outputs, or None for no head: the network then gives its features.
        layers: names of the layers that `forward_layers` gives, in order; the last feeds the head.
        task: what comes out, see `Task`.
        fixed_length: whether patches must have exactly `frontend.n_frames`, or may have any length from `least_frames`.
        least_frames: frames of the shortest patch that is taken; None is `frontend.n_frames`.
        dropout: share of the features dropped before the head in training.
        head: what turns features into logits where that is no linear layer; `reset_head` replaces it by a linear one.

    Raises:
        ConfigError: `n_tags` is less than 1.
    """

    def __init__(
        self,
        *,
        frontend: FrontendConfig,
        n_features: int,
        n_tags: int | None,
        layers: tuple[str, ...],
        task: Task = "several",
        fixed_length: bool = False,
        least_frames: int | None = None,
        dropout: float = 0.0,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        with torch.device("cpu"):  # real also where a network is built without storage, since nothing is loaded into it
            self.frontend = create_frontend(frontend)
        self.n_features = n_features
        self.fixed_length = fixed_length
        self.least_frames = self.frontend.n_frames if least_frames is None else least_frames
        self._layers = layers
        self.task: Task = task
        self.tags: tuple[str, ...] | None = None
        self.name: str | None = None  # as in `create_model`, which sets it, and the options beside it
        self.options: dict[str, Any] = {}
        self.head_dropout = nn.Dropout(dropout)
        self.head: nn.Module = nn.Identity()
        self.has_new_head = False  # whether it was put on later, and so does not follow from the options
        self.built_n_tags = n_tags
        self._n_tags: int | None = None
        if n_tags is not None:
            self._put_on_head(head or nn.Linear(n_features, _checked_count(n_tags)), n_tags)

    @abc.abstractmethod
    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer.

        Args:
            patches: (batch, 1, mels, frames) or (batch, 1, samples), as the front-end gives them.

        Returns:
            The layers of `layers()`, in order: (batch, features), or (batch, time, ...) where a layer keeps time. The
            last is (batch, n_features).
        """

    def forward_features(self, patches: Tensor) -> Tensor:
        """Compute what the head sees.

        Args:
            patches: (batch, 1, mels, frames) or (batch, 1, samples), as the front-end gives them.

        Returns:
            (batch, n_features).
        """
        return self.forward_layers(patches)[self._layers[-1]]

    def forward_head(self, features: Tensor) -> Tensor:
        """Turn features into logits.

        Args:
            features: (batch, n_features).

        Returns:
            (batch, n_tags), or the features themselves where there is no head.
        """
        logits: Tensor = self.head(self.head_dropout(features))
        return logits

    def forward(self, waveform: Tensor) -> Tensor:
        """Turn one patch of sound, or a longer stretch where the network takes one, into logits.

        Args:
            waveform: (batch, samples), mono, -1 to 1, at `frontend.sample_rate` Hz.

        Returns:
            (batch, n_tags) logits, or (batch, n_features) where there is no head.

        Raises:
            AudioError: the waveform is too short, or too long for a network of fixed length.
        """
        return self.forward_head(self.forward_features(self._patches(waveform)))

    def features(self, waveform: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Compute named layers of one patch of sound.

        Args:
            waveform: (batch, samples), as for `forward`.
            layers: names out of `layers()`.

        Returns:
            A tensor a name: (batch, features), or (batch, time, ...) where a layer keeps time.

        Raises:
            AudioError: as for `forward`.
            UnknownNameError: the network has no layer of that name.
        """
        wanted = [self.check_layer(name) for name in layers]
        computed = self.forward_layers(self._patches(waveform))
        return {name: computed[name] for name in wanted}

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits into scores, by sigmoid or softmax as the task says.

        Args:
            logits: (batch, n_tags).

        Returns:
            (batch, n_tags), 0 to 1.

        Raises:
            ConfigError: the network gives an embedding or features, which are no logits.
        """
        if self.task == "several":
            return torch.sigmoid(logits)
        if self.task == "one":
            return torch.softmax(logits, dim=-1)
        raise ConfigError(f"this network gives {self.task} and no scores of tags; `reset_head(n_tags)` puts a head on.")

    def layers(self) -> tuple[str, ...]:
        """Name the layers that can be had as features, in order; the last feeds the head."""
        return self._layers

    def check_layer(self, name: str) -> str:
        """Give a layer's name back if the network has it.

        Args:
            name: a name out of `layers()`.

        Returns:
            The same name.

        Raises:
            UnknownNameError: the network has no layer of that name.
        """
        if name not in self._layers:
            raise unknown_name("layer", name, self._layers, f"The layers of this network are {', '.join(self._layers)}")
        return name

    @property
    def n_tags(self) -> int | None:
        """Number of outputs, or None where there is no head."""
        return self._n_tags

    def tag_names(self) -> tuple[str, ...]:
        """Name the outputs: by the tags where they are known, else by number; without a head there are none."""
        return self.tags or tuple(f"tag{index}" for index in range(self.n_tags or 0))

    def reset_head(self, n_tags: int, *, tags: tuple[str, ...] | None = None, task: Task | None = None) -> None:
        """Put a new linear head on, for other tags.

        Args:
            n_tags: number of outputs.
            tags: their names, where they are known.
            task: whether several tags may hold or exactly one does; None leaves it, and is "several" where the network
                gave an embedding or features.

        Raises:
            ConfigError: `n_tags` is less than 1, there are not as many tags, or the task has none.
        """
        if tags is not None and len(tags) != n_tags:
            raise ConfigError(f"n_tags is {n_tags}, and {len(tags)} tags are named; they must be as many.")
        if task not in ("several", "one", None):
            raise ConfigError(f"task={task!r}; a head is for several or one.")
        self._put_on_head(nn.Linear(self.n_features, _checked_count(n_tags)), n_tags)
        self.has_new_head = True
        self.tags = tags
        self.task = task or self.task

    def _put_on_head(self, head: nn.Module, n_tags: int) -> None:
        self.head = head
        self._n_tags = n_tags
        if self.task in ("embedding", "features"):
            self.task = "several"
        if isinstance(head, nn.Linear):
            self.init_head(head)

    def change_frontend(self, **changes: Any) -> None:
        """Give the network another front-end: the same with some settings changed.

        Args:
            **changes: settings of its config, such as `padding="zeros"`.

        Raises:
            ConfigError: there is no such setting, or the value makes no sense.
        """
        config = self.frontend.config
        known = [field.name for field in dataclasses.fields(config)]
        for name in changes:
            if name not in known:
                raise ConfigError(f"the front-end has no setting {name!r}.{did_you_mean(name, known)}")
        if changes:
            sample_bits = self.frontend.sample_bits
            self.frontend = create_frontend(dataclasses.replace(config, **changes))
            self.frontend.sample_bits = sample_bits

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model into a file; `taggram.load_model` gives it back.

        Args:
            path: NAME.safetensors. A card that says what is in it is also written beside it, as NAME.json.

        Raises:
            ConfigError: the file is no .safetensors, or the network was not made by `create_model`.
            OSError: the file cannot be written; what was there before is as it was.
        """
        from taggram.models._saved import save_model

        save_model(self, Path(path))

    def export_onnx(self, path: str | PathLike[str]) -> OnnxFile:
        """Write the network as ONNX, front-end and scores inside, and compare it with this one.

        Args:
            path: NAME.onnx. It is whole, or as it was before.

        Returns:
            What was written, and how much it differs at most.

        Raises:
            ConfigError: the file is no .onnx, or the network is too large for one.
            ExportError: torch cannot export it, or the file does not give the same.
            MissingExtraError: the extra `export` is not installed.
            OSError: the file cannot be written.
        """
        from taggram.models._onnx_file import write_onnx

        return write_onnx(self, Path(path))

    def init_head(self, head: nn.Linear) -> None:
        """Give a new head its first weights; a network overrides this where its source says how."""
        nn.init.xavier_uniform_(head.weight)
        nn.init.zeros_(head.bias)

    def inference(self, precision: Precision = "float32") -> InferenceForm:
        """Build the form of this network that tags quickest; its scores are those of the plain module.

        Args:
            precision: the numbers that features are computed in; with fewer bits than float32, scores are near those.

        Returns:
            A form of the weights as they are now: build it again after training.

        Raises:
            ConfigError: no layer of the network could compute in such numbers.
        """
        from taggram.models._inference import PlainForm
        from taggram.models._precision import with_precision

        return PlainForm(with_precision(self.eval(), precision))

    def check_patch_frames(self, n_frames: int) -> int:
        """Give the length of a patch back if the network takes it.

        Args:
            n_frames: frames of the patch.

        Returns:
            The same number.

        Raises:
            ConfigError: the network needs another length.
        """
        wanted = self.frontend.n_frames if self.fixed_length else self.least_frames
        if n_frames < wanted or (self.fixed_length and n_frames != wanted):
            seconds = wanted * self.frontend.hop_length / self.frontend.sample_rate
            rule = "exactly" if self.fixed_length else "at least"
            raise ConfigError(f"a patch of {n_frames} frames; this network needs {rule} {wanted} ({seconds:.3f} s).")
        return n_frames

    def sample_limits(self) -> tuple[int, int | None]:
        """Say how long a waveform may be that `forward` takes.

        Returns:
            The fewest and the most samples; None is any number.
        """
        least = self.frontend.n_samples_for(self.least_frames)
        return least, self.frontend.n_samples_for(self.frontend.n_frames + 1) - 1 if self.fixed_length else None

    def _patches(self, waveform: Tensor) -> Tensor:
        """Run the front-end over one patch, after a check of its length."""
        if waveform.ndim != 2:
            raise AudioError(f"a waveform of shape {tuple(waveform.shape)}; (batch, samples) is wanted.")
        n_samples = waveform.shape[1]
        least, most = self.sample_limits()
        if n_samples < least:
            raise AudioError(
                f"a waveform of {n_samples} samples; this network needs at least {least} at "
                f"{self.frontend.sample_rate} Hz. Repeat it or pad it."
            )
        if most is not None and n_samples > most:
            raise AudioError(
                f"a waveform of {n_samples} samples; this network takes {least} to {most} at "
                f"{self.frontend.sample_rate} Hz. Cut it, or use `Tagger`, which cuts long sound into patches."
            )
        patches: Tensor = self.frontend(waveform)
        return patches


def _checked_count(n_tags: int) -> int:
    if n_tags < 1:
        raise ConfigError(f"n_tags is {n_tags}; a head needs at least 1 tag. Leave n_tags out for no head.")
    return n_tags
