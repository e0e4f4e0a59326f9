"""Classifiers on the features of patches, from a network that learns nothing: a clip is what most of its patches are.

Source: J. Pons's didactic toolkit of frozen features and scikit-learn; the nearest neighbour and the dense layer are
    those of Pons, Serra and Serra, "Training neural audio classifiers with few data", ICASSP 2019, and its code.
Differs: with fewer patches than components, the PCA keeps one component less than there are patches.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from taggram._checks import check_choice, check_count
from taggram.errors import ConfigError, TrainingError, missing_extra
from taggram.learning.clip_patches import AT_ONCE, RandomPatches, majority_votes, patches_of_sound
from taggram.learning.config import FitConfig
from taggram.learning.patch_fit import one_hot

if TYPE_CHECKING:
    from taggram.models._contract import TaggingModel

ProbeKind = Literal["svm", "linear_svm", "nearest_neighbour", "logistic", "mlp"]
"""A support vector machine with RBF kernel or without one (C = 1), the nearest patch by the cosine, logistic regression
by SGD in 600 rounds, or 20 hidden units by SGD."""
N_COMPONENTS = 128  # of the PCA before the SVM
N_ROUNDS = 600  # of logistic regression and MLP
N_HIDDEN = 20
MLP_RATE = 0.001
HEAD_FIT = FitConfig(  # of the paper's dense layer
    loss="cross_entropy", optimizer="sgd", lr=0.1, batch_size=128, max_epochs=199, keep="last"
)

Features = NDArray[np.float32]
Whole = NDArray[np.int64]


class PatchProbe:
    """A classifier of scikit-learn on the features of patches. What it learned from is in `classes_`, in order.

    Args:
        kind: which one.
        n_components: of a PCA with whitening before it; None is no PCA.
        seed: of what it draws.

    Raises:
        ConfigError: there is no such kind, or a number makes no sense.
    """

    def __init__(self, kind: ProbeKind, *, n_components: int | None = None, seed: int = 0) -> None:
        check_choice("kind", kind, get_args(ProbeKind))
        check_count("seed", seed, 0)
        if n_components is not None:
            check_count("n_components", n_components)
        self.kind = kind
        self.n_components = n_components
        self.seed = seed
        self._pipeline: Any = None

    def fit(self, features: Features, labels: Whole) -> Self:
        """Learn from patches.

        Args:
            features: (patches, values).
            labels: (patches,) number of the class of each.

        Returns:
            The probe itself.

        Raises:
            ConfigError: the patches are of fewer than two classes, or are not as many as the labels.
            MissingExtraError: scikit-learn is not installed.
        """
        if features.ndim != 2 or len(features) != len(labels):
            raise ConfigError(
                f"features of shape {features.shape} and {len(labels)} labels came; wanted are (patches, values) and a "
                "label each."
            )
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ConfigError(f"patches of {len(self.classes_)} classes came; a probe tells two or more apart.")
        pipeline = _create_pipeline(self.kind, self.n_components, features.shape, self.seed % 2**32)
        with warnings.catch_warnings():
            from sklearn.exceptions import ConvergenceWarning

            warnings.simplefilter("ignore", ConvergenceWarning)  # the rounds are those of the source, settled or not
            self._pipeline = pipeline.fit(features, labels)
        return self

    def predict(self, features: Features) -> Whole:
        """Say which class each patch is taken for.

        Args:
            features: (patches, values).

        Returns:
            (patches,) numbers of classes.

        Raises:
            ConfigError: nothing was learned yet.
        """
        if self._pipeline is None:
            raise ConfigError("this probe has learned nothing yet; call fit first.")
        return np.asarray(self._pipeline.predict(features), np.int64)

    def predict_clips(self, clips: Sequence[Features]) -> Whole:
        """Say which class most patches of each clip are taken for.

        Args:
            clips: the features of each, (patches, values).

        Returns:
            (clips,) numbers of classes; of those with as many patches, the first.

        Raises:
            ConfigError: nothing was learned yet.
        """
        votes = self.predict(np.concatenate(list(clips)))
        return majority_votes(votes, [len(clip) for clip in clips], int(self.classes_.max()) + 1)


def _create_pipeline(kind: ProbeKind, n_components: int | None, shape: tuple[int, ...], seed: int) -> Any:
    """Make the classifier, behind its PCA."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import SGDClassifier
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import SVC
    except ImportError as error:
        raise missing_extra("scikit-learn", "train", "probes") from error
    probe: Any
    match kind:
        case "svm":
            probe = SVC(C=1.0, kernel="rbf", gamma="scale")  # 1 / (values * variance)
        case "linear_svm":
            probe = SVC(C=1.0, kernel="linear")
        case "nearest_neighbour":
            probe = KNeighborsClassifier(1, metric="cosine", algorithm="brute")
        case "logistic":
            probe = SGDClassifier(loss="log_loss", max_iter=N_ROUNDS, tol=None, random_state=seed)
        case "mlp":
            probe = MLPClassifier(
                (N_HIDDEN,), solver="sgd", learning_rate_init=MLP_RATE, max_iter=N_ROUNDS, random_state=seed
            )
    if n_components is None:
        return probe
    n_patches, n_values = shape
    n_kept = min(n_components, n_values, n_patches - 1)  # the last one of a few patches has no variance to divide by
    return make_pipeline(PCA(n_kept, whiten=True, svd_solver="full"), probe)


@torch.no_grad()
def patch_features(
    model: TaggingModel,
    sound: Tensor | Features,
    layers: Iterable[str],
    *,
    hop_frames: int | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Features]:
    """Compute the features of the patches of a clip by a network as it is.

    Args:
        model: the network; it is left on the device, in evaluation mode.
        sound: (samples,), mono, -1 to 1, at the rate of its front-end; what is shorter than a patch is repeated.
        layers: names out of `model.layers()`.
        hop_frames: from patch to patch, in frames of the front-end; None is side by side.
        device: where the network runs.

    Returns:
        (patches, values) a name; of layers that keep time, or time and mels, the mean over these.

    Raises:
        UnknownNameError: the network has no layer of that name.
        AudioError: the sound is empty.
    """
    names = [model.check_layer(name) for name in layers]
    frontend = copy.deepcopy(model.frontend).cpu()  # that of the network is where the last clip was looked at
    patches = patches_of_sound(frontend, sound, hop_frames=hop_frames)
    model.to(device).eval()
    parts = [model.forward_layers(part.to(device)) for part in torch.split(patches, AT_ONCE)]
    return {name: torch.cat([_summed_up(part[name]).cpu() for part in parts]).numpy() for name in names}


def _summed_up(layer: Tensor) -> Tensor:
    """Give (patches, values) for (patches, ..., values)."""
    return layer if layer.ndim == 2 else layer.flatten(1, -2).mean(1)


def fit_head(
    clips: Sequence[Features],
    labels: Whole,
    n_classes: int,
    config: FitConfig = HEAD_FIT,
    *,
    device: torch.device | str = "cpu",
) -> nn.Linear:
    """Train one dense layer on features, by plain SGD on a random patch of each clip an epoch.

    It is what is learned where a network is transferred and its trunk is frozen.

    Args:
        clips: the features of each, (patches, values).
        labels: (clips,) number of the class of each.
        n_classes: how many there are.
        config: lr, batch_size, max_epochs and seed are used.
        device: where it is trained.

    Returns:
        The layer, which gives logits, on the CPU.

    Raises:
        TrainingError: the loss is no number.
    """
    head = create_linear(clips[0].shape[1], n_classes, config.seed).to(device)
    batches = RandomPatches([torch.from_numpy(clip) for clip in clips], one_hot(labels, n_classes), config)
    optimizer = torch.optim.SGD(head.parameters(), lr=config.lr)
    for epoch in range(1, config.max_epochs + 1):
        for batch in batches(epoch):
            loss = F.cross_entropy(head(batch.patches.to(device)), batch.targets.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is no number in epoch {epoch}; lower lr.")
    optimizer.zero_grad(set_to_none=True)
    return head.cpu()


def create_linear(n_in: int, n_out: int, seed: int) -> nn.Linear:
    """Make a dense layer: Glorot's uniform draw, and no bias at first.

    Args:
        n_in: values that it takes.
        n_out: values that it gives.
        seed: of its weights.

    Returns:
        The layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer
