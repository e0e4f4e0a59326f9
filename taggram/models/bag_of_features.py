"""Deep bag-of-features: local features by a sparse RBM, pooled into a bag a clip, and a dense network on the bag.

Source: Nam, Herrera and Lee, "A deep bag-of-features model for music auto-tagging", 2015, revised 2016, arXiv
    1508.04999; the first author's experiment code, github.com/juhannam/deepbof, of which the settings of the final
    scripts are the defaults here.
Differs: logits out, no sigmoid; the code's test scores skip it too. Whitening and RBM are learnt before the network,
    from patches of the training clips: until `set_whitening` and `set_rbm` give them, patches pass a random projection
    and an RBM with the weights that its training starts from. How many components the whitening keeps depends on the
    data, and is not printed; here it keeps all unless told otherwise. Dense layers start as in the source's variant
    without pre-training. A silent clip goes through; the code takes the spectrogram of the clip before it. Samples
    at the end that fill no hop are left out; the code pads them to one more frame.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taggram._checks import check, check_choice, check_count, check_flag, check_share
from taggram.frontends import AGCMelConfig, LogMelConfig
from taggram.models._blocks import glorot_uniform_
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model

AGC_MEL = AGCMelConfig(
    mel=LogMelConfig(
        sample_rate=22_050,
        n_fft=1024,
        hop_length=512,
        n_mels=128,
        n_frames=1250,  # 29 s, a clip
        window="hann_symmetric",
        padding="zeros",
        power=1,
        compression="log10_1p",
        gain=10,
    )
)
PATCH_FRAMES = 8  # 186 ms, which the RBM looks at
N_UNITS = 1024  # of the RBM: the length of a bag
POOL_FRAMES = 86  # 2 s
N_HIDDEN = 512  # units of each hidden layer
RBM_STD = 0.01  # of the RBM's weights before its training

Activation: TypeAlias = Literal["relu", "sigmoid", "tanh"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class LocalFeatures(nn.Module):
    """Whitened patches of a spectrogram, seen by an RBM. Nothing here learns by gradients.

    Args:
        n_mels: bands of the spectrogram.
        patch_frames: length of a patch.
        n_components: values that the whitening keeps of a patch.
        n_units: hidden units of the RBM.
    """

    def __init__(self, n_mels: int, patch_frames: int, n_components: int, n_units: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.whitening: Tensor
        self.weight: Tensor
        self.bias: Tensor
        n_values = n_mels * patch_frames
        self.patch_frames = patch_frames
        self.register_buffer("mean", torch.zeros(n_values))
        self.register_buffer("whitening", torch.randn(n_components, n_values) / math.sqrt(n_values))
        self.register_buffer("weight", RBM_STD * torch.randn(n_units, n_components))
        self.register_buffer("bias", torch.zeros(n_units))

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Compute the features of every patch.

        Args:
            spectrogram: (batch, 1, mels, frames), compressed.

        Returns:
            (batch, patches, n_units), 0 to 1. There are as many patches as frames less the length of one: the source
            drops the last.
        """
        patches = self.cut_patches(spectrogram)
        whitened = (patches - self.mean) @ self.whitening.T  # (batch, patches, n_components)
        return torch.sigmoid(whitened @ self.weight.T + self.bias)

    def cut_patches(self, spectrogram: Tensor) -> Tensor:
        """Cut the patches that are whitened, one a frame.

        Args:
            spectrogram: (batch, 1, mels, frames), compressed.

        Returns:
            (batch, patches, n_values), a patch frame by frame: all bands of its first frame, then of the next.
        """
        frames = spectrogram.squeeze(1).transpose(1, 2)  # (batch, frames, mels)
        n_patches = frames.shape[1] - self.patch_frames
        return torch.cat([frames[:, first : first + n_patches] for first in range(self.patch_frames)], 2)

    def set_whitening(self, mean: Tensor, matrix: Tensor) -> None:
        """Take over the whitening of a training set, matrix (x - mean).

        Args:
            mean: (n_values,), of a patch.
            matrix: (n_components, n_values).

        Raises:
            ConfigError: a shape does not fit.
        """
        self._take_over(mean=mean, whitening=matrix)

    def set_rbm(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a trained RBM, whose features are sigmoid(weight v + bias) of a whitened patch v.

        Args:
            weight: (n_units, n_components).
            bias: (n_units,), of the hidden units.

        Raises:
            ConfigError: a shape does not fit.
        """
        self._take_over(weight=weight, bias=bias)

    @torch.no_grad()
    def _take_over(self, **values: Tensor) -> None:
        for name, value in values.items():
            came, wanted = tuple(value.shape), tuple(self.get_buffer(name).shape)
            check(came == wanted, f"the shape of {name}", came, f"{wanted}, by n_components and n_units of the network")
        for name, value in values.items():
            self.get_buffer(name).copy_(value)


class BagNetwork(TaggingModel):
    """Whitened patches, sparse RBM, maximum over windows, mean over the clip, then dense layers.

    Args:
        n_tags: number of outputs, or None for no head.
        patch_frames: length of a patch.
        n_components: values that the whitening keeps of a patch; None is all.
        n_units: hidden units of the RBM, the length of a bag.
        pool_frames: length of the windows of the maximum.
        n_layers: hidden layers on the bag.
        n_hidden: units of each.
        activation: their non-linearity, "relu", "sigmoid" or "tanh".
        dropout: share of their units dropped in training.
        divide_by_max: whether each bag is divided by its largest value first.
        frontend: settings of the front-end.

    Raises:
        ConfigError: a value makes no sense.
    Shape:
        (batch, 1, mels=128, frames>=9) in, (batch, n_tags) logits out.
    """

    def __init__(
        self,
        n_tags: int | None,
        patch_frames: int = PATCH_FRAMES,
        n_components: int | None = None,
        n_units: int = N_UNITS,
        pool_frames: int = POOL_FRAMES,
        n_layers: int = 3,
        n_hidden: int = N_HIDDEN,
        activation: Activation = "relu",
        dropout: float = 0.5,
        divide_by_max: bool = False,
        frontend: AGCMelConfig = AGC_MEL,
    ) -> None:
        check_count("patch_frames", patch_frames)
        check(isinstance(frontend, AGCMelConfig), "frontend", frontend, "an AGCMelConfig")
        n_values = frontend.mel.n_mels * patch_frames
        n_components = n_values if n_components is None else n_components
        check_count("n_components", n_components, most=n_values)
        check_count("n_units", n_units)
        check_count("pool_frames", pool_frames)
        check_count("n_layers", n_layers)
        check_count("n_hidden", n_hidden)
        check_choice("activation", activation, ACTIVATIONS)
        check_share("dropout", dropout)
        check_flag("divide_by_max", divide_by_max)
        super().__init__(
            frontend=frontend,
            n_features=n_hidden,
            n_tags=n_tags,
            layers=("rbm", "bag", *(f"hidden{number}" for number in range(1, n_layers)), "penultimate"),
            least_frames=patch_frames + 1,  # the last patch is dropped
            dropout=dropout,
        )
        self.divide_by_max = divide_by_max
        self.pool_frames = pool_frames
        self.local = LocalFeatures(frontend.mel.n_mels, patch_frames, n_components, n_units)
        self.pool = nn.MaxPool1d(pool_frames, ceil_mode=True)  # a window that is cut short by the end counts too
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(n_in, n_out), ACTIVATIONS[activation]())
            for n_in, n_out in pairwise((n_units, *[n_hidden] * n_layers))
        )
        self.dropout = nn.Dropout(dropout)
        self.hidden.apply(glorot_uniform_)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute the features of the RBM, their bag and every hidden layer, for (batch, 1, mels, frames)."""
        rbm = self.local(patches)  # (batch, frames - 8, 1024)
        bags = self.pool_bags(rbm)
        return {"rbm": rbm, "bag": bags, **self._forward_hidden(bags)}

    def pool_bags(self, local: Tensor) -> Tensor:
        """Pool local features into a bag a clip: the maximum in each window, the mean over windows.

        Args:
            local: (batch, patches, n_units), as the layer "rbm".

        Returns:
            (batch, n_units).
        """
        maxima: Tensor = self.pool(local.transpose(1, 2))  # (batch, n_units, windows)
        return maxima.mean(2)

    def forward_bags(self, bags: Tensor) -> Tensor:
        """Turn bags that are ready into logits.

        Args:
            bags: (batch, n_units), as the layer "bag".

        Returns:
            (batch, n_tags), or (batch, n_features) where there is no head.
        """
        return self.forward_head(self._forward_hidden(bags)["penultimate"])

    def _forward_hidden(self, bags: Tensor) -> dict[str, Tensor]:
        x = F.normalize(bags, p=math.inf) if self.divide_by_max else bags
        layers: dict[str, Tensor] = {}
        for name, dense in zip(self.layers()[2:], self.hidden):
            x = dense(self.dropout(x) if layers else x)  # (batch, 512); the bag itself is not dropped
            layers[name] = x
        return layers


@register_model(paper="Nam et al., arXiv 2015", n_tags=160)
def bag_network(
    n_tags: int | None = None,
    *,
    patch_frames: int = PATCH_FRAMES,
    n_components: int | None = None,
    n_units: int = N_UNITS,
    pool_frames: int = POOL_FRAMES,
    n_layers: int = 3,
    n_hidden: int = N_HIDDEN,
    activation: Activation = "relu",
    dropout: float = 0.5,
    divide_by_max: bool = False,
    frontend: AGCMelConfig = AGC_MEL,
) -> BagNetwork:
    """Build the network, 1,132,192 parameters with 160 tags."""
    return BagNetwork(
        n_tags,
        patch_frames=patch_frames,
        n_components=n_components,
        n_units=n_units,
        pool_frames=pool_frames,
        n_layers=n_layers,
        n_hidden=n_hidden,
        activation=activation,
        dropout=dropout,
        divide_by_max=divide_by_max,
        frontend=frontend,
    )
