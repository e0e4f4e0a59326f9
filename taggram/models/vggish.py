"""VGGish, which turns 0.96 s of sound into an embedding of 128 numbers, and the reading of its published weights.

Source: Hershey et al., "CNN architectures for large-scale audio classification", ICASSP 2017; its reference code,
    github.com/tensorflow/models, research/audioset/vggish; used by Pons, Serra and Serra, "Training neural audio
    classifiers with few data", ICASSP 2019. The smoke test's numbers are those of the reference code, 2023.
Differs: `post_relu` chooses between the reference of 2018, with a ReLU after the last layer, and that of 2020, without;
    the default is the former, as in the paper of 2019, and the weights are the same. The round trip of the samples
    through 16 bits is left out. Sound shorter than a patch raises; the code of 2019 repeats it to exactly 1 s.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from taggram._checks import check_flag
from taggram.errors import ConfigError, WeightsError
from taggram.frontends import LogMelConfig
from taggram.models._blocks import check_patch_size, truncated_normal_
from taggram.models._contract import TaggingModel
from taggram.models._registry import register_model
from taggram.models._vggish_files import N_EMBEDDING, read_parameters, read_pca

VGGISH_MEL = LogMelConfig(
    sample_rate=16_000,
    n_fft=512,
    win_length=400,  # 25 ms
    hop_length=160,  # 10 ms
    centred=False,
    n_mels=64,
    n_frames=96,
    fmin_hz=125.0,
    fmax_hz=7500.0,
    power=1.0,
    mel_scale="htk",
    mel_norm=None,
    mel_triangles="mel",
    compression="ln_eps",
    eps=0.01,
)
N_FLAT = 6 * 4 * 512  # frames, mels and filters after four pools
N_DENSE = 4096
START_SIGMA = 0.01  # of the normal that the kernels start with, cut at two of it
LAYERS = ("pool1", "pool2", "pool3", "pool4", "fc1_1", "fc1_2", "fc2", "penultimate")
PCA_LIMIT = 2.0  # what lies beyond is cut off before it is made 8-bit
SMOKE_SECONDS = 3
SMOKE_HZ = 1000.0
SMOKE_STD = 0.343  # of all embeddings of that sine, without a ReLU at the end
SMOKE_PROCESSED = (126.0, 89.3)  # mean and standard deviation after the PCA and 8-bit steps
SMOKE_TOLERANCE = 0.1  # relative


class VGGish(TaggingModel):
    """Six 3 x 3 convolutions with four max-pools, then three dense layers; no norm, no dropout.

    Args:
        n_tags: number of outputs of a head on the embedding, or None for the embedding itself.
        post_relu: whether the embedding goes through a ReLU.
        frontend: settings of the front-end.

    Raises:
        ConfigError: `post_relu` is no bool, or the front-end has patches of another size.
    Shape:
        (batch, 1, mels=64, frames=96) in, (batch, 128) out.
    """

    def __init__(self, n_tags: int | None, post_relu: bool = True, frontend: LogMelConfig = VGGISH_MEL) -> None:
        check_flag("post_relu", post_relu)
        check_patch_size(frontend, VGGISH_MEL)
        super().__init__(
            frontend=frontend,
            n_features=N_EMBEDDING,
            n_tags=n_tags,
            layers=LAYERS,
            task="embedding",
            fixed_length=True,
        )
        self.post_relu = post_relu
        self.conv1 = _conv(1, 64)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = _conv(64, 128)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3_1 = _conv(128, 256)
        self.conv3_2 = _conv(256, 256)
        self.pool3 = nn.MaxPool2d(2)
        self.conv4_1 = _conv(256, 512)
        self.conv4_2 = _conv(512, 512)
        self.pool4 = nn.MaxPool2d(2)
        self.fc1_1 = nn.Linear(N_FLAT, N_DENSE)
        self.fc1_2 = nn.Linear(N_DENSE, N_DENSE)
        self.fc2 = nn.Linear(N_DENSE, N_EMBEDDING)
        for name, part in self.named_children():
            if name != "head":
                truncated_normal_(part, START_SIGMA)

    def forward_layers(self, patches: Tensor) -> dict[str, Tensor]:
        """Compute every named layer, for (batch, 1, mels, frames); "fc2" is the embedding before any ReLU."""
        x = patches.transpose(2, 3)  # (batch, 1, 96, 64): frames, then mels, as the source lays it out
        pool1 = self.pool1(self.conv1(x).relu())  # (batch, 64, 48, 32)
        pool2 = self.pool2(self.conv2(pool1).relu())  # (batch, 128, 24, 16)
        pool3 = self.pool3(self.conv3_2(self.conv3_1(pool2).relu()).relu())  # (batch, 256, 12, 8)
        pool4 = self.pool4(self.conv4_2(self.conv4_1(pool3).relu()).relu())  # (batch, 512, 6, 4)
        pools = {"pool1": pool1, "pool2": pool2, "pool3": pool3, "pool4": pool4}
        layers = {name: pool.permute(0, 2, 3, 1) for name, pool in pools.items()}  # (batch, frames, mels, filters)
        layers["fc1_1"] = self.fc1_1(layers["pool4"].flatten(1)).relu()  # (batch, 4096)
        layers["fc1_2"] = self.fc1_2(layers["fc1_1"]).relu()  # (batch, 4096)
        layers["fc2"] = self.fc2(layers["fc1_2"])  # (batch, 128)
        layers["penultimate"] = layers["fc2"].relu() if self.post_relu else layers["fc2"]
        return layers


class VGGishPostprocessor(nn.Module):
    """What was done to the published embeddings of AudioSet: PCA with whitening, then 8 bits a number.

    Args:
        eigen_vectors: (128, 128), one a row.
        means: (128,), subtracted first.
    """

    def __init__(self, eigen_vectors: Tensor, means: Tensor) -> None:
        super().__init__()
        self.eigen_vectors: Tensor
        self.means: Tensor
        self.register_buffer("eigen_vectors", eigen_vectors)
        self.register_buffer("means", means)

    @classmethod
    def from_file(cls, path: str | Path) -> VGGishPostprocessor:
        """Read the parameters from a file.

        Args:
            path: vggish_pca_params.npz, or a torch file with the same two as tensors, such as a state dict of
                torchvggish. Its published vggish_pca_params-970ea276.pth holds pickled arrays and is refused.

        Returns:
            The post-processor.

        Raises:
            WeightsError: the file cannot be read, or does not hold pca_eigen_vectors and pca_means.
        """
        return cls(*read_pca(Path(path)))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Process embeddings.

        Args:
            embeddings: (batch, 128), as `VGGish` gives them; the reference of 2020 takes them without a ReLU.

        Returns:
            (batch, 128) uint8, rounded down as the reference does; torchvggish rounds to the nearest.
        """
        projected = (embeddings - self.means) @ self.eigen_vectors.T
        cut = projected.clamp(-PCA_LIMIT, PCA_LIMIT)
        return ((cut + PCA_LIMIT) * (255 / (2 * PCA_LIMIT))).to(torch.uint8)

    @staticmethod
    def dequantize(processed: Tensor) -> Tensor:
        """Turn 8-bit numbers back.

        Args:
            processed: any shape, 0 to 255.

        Returns:
            The same shape, float32, -2 to 2.
        """
        return processed.float() * (2 * PCA_LIMIT / 255) - PCA_LIMIT


def load_vggish_weights(model: TaggingModel, path: str | Path) -> None:
    """Fill a VGGish with the weights of a file; a head is left as it is.

    Read are the npz of a converted checkpoint (names as in TensorFlow, with or without ":0"), the torch files of
    torchvggish, of torch-vggish converters and of torchaudio, and, where TensorFlow is installed, its checkpoint.
    Nothing is fetched, and nothing is unpickled but tensors. `check_vggish_weights` tells whether they are the
    published ones.

    Args:
        model: as `create_model("vggish")` gives it.
        path: the file.

    Raises:
        ConfigError: the model is no VGGish, or was built without storage.
        WeightsError: the file cannot be read, or does not hold all 18 tensors and nothing else. The model is then as it
            was.
        MissingExtraError: the file is a checkpoint, and TensorFlow is not installed.
    """
    vggish = _checked(model)
    parameters = read_parameters(Path(path))
    with torch.no_grad():
        for name, values in parameters.items():
            vggish.get_parameter(name).copy_(values)


def check_vggish_weights(model: TaggingModel, postprocessor: VGGishPostprocessor | None = None) -> dict[str, float]:
    """Check loaded weights by the smoke test of the reference: the embeddings of a sine of 1 kHz.

    Compared is the standard deviation of the three embeddings of 3 s without the ReLU, to a tenth; with a
    post-processor also the mean and standard deviation of what it makes of them.

    Args:
        model: a VGGish, with or without `post_relu`.
        postprocessor: made from the PCA file that belongs to the weights.

    Returns:
        What came out: "embedding_mean" (near 0) and "embedding_std" and, with a post-processor, "processed_mean" and
        "processed_std".

    Raises:
        ConfigError: the model is no VGGish, or was built without storage.
        WeightsError: a number is off by more than a tenth, so these are other weights than the published ones.
    """
    vggish = _checked(model)
    rate, hop = vggish.frontend.sample_rate, vggish.frontend.n_frames * vggish.frontend.hop_length
    times_s = torch.arange(SMOKE_SECONDS * rate, dtype=torch.float64) / rate
    sine = (2 * math.pi * SMOKE_HZ * times_s).sin().to(vggish.fc2.weight)
    examples = sine.unfold(0, vggish.frontend.n_samples_for(vggish.frontend.n_frames), hop)  # (3, samples)
    with torch.no_grad():
        embeddings = vggish.features(examples, ["fc2"])["fc2"]
        came, wanted = _statistics("embedding", embeddings), {"embedding_std": SMOKE_STD}
        if postprocessor is not None:
            came |= _statistics("processed", postprocessor(embeddings).float())
            wanted |= dict(zip(("processed_mean", "processed_std"), SMOKE_PROCESSED))
    for name, value in wanted.items():
        if not abs(came[name] - value) <= SMOKE_TOLERANCE * value:
            raise WeightsError(
                f"these are not the published weights of VGGish: {name} is {came[name]:.4g} for a sine of 1 kHz, "
                f"{value:g} give or take a tenth is wanted."
            )
    return came


def _statistics(kind: str, values: Tensor) -> dict[str, float]:
    return {f"{kind}_mean": values.mean().item(), f"{kind}_std": values.std(correction=0).item()}


def _checked(model: TaggingModel) -> VGGish:
    """Give a model back if it is a VGGish that can hold weights."""
    if not isinstance(model, VGGish):
        raise ConfigError(f'a {type(model).__name__} came; wanted is a VGGish, as create_model("vggish") gives it.')
    if model.fc2.weight.is_meta:
        raise ConfigError("this VGGish was built on the device 'meta' and can hold no weights; build it on another.")
    return model


def _conv(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1)


@register_model(paper="Hershey et al., ICASSP 2017", n_tags=None)
def vggish(n_tags: int | None = None, *, post_relu: bool = True, frontend: LogMelConfig = VGGISH_MEL) -> VGGish:
    """Build VGGish, 72,141,184 parameters, untrained; `load_vggish_weights` fills it from a file."""
    return VGGish(n_tags, post_relu=post_relu, frontend=frontend)
