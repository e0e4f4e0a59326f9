"""The networks whose layers are aggregated: which there are, how they are trained, and what is chosen of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from taggram.errors import ConfigError, did_you_mean
from taggram.learning.aggregation import default_layers
from taggram.models import create_model
from taggram.models._contract import TaggingModel
from taggram.models._registry import is_model_file, model_file, title_of
from taggram.models._saved import load_model
from taggram.models.multilevel import POOLS
from taggram.studies._base import Cell

System = Literal["mel", "sample"]
Origin = Literal["data", "source", "given"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
SAMPLES = {  # length of the waveform: kernel and depth of the best SampleCNN of that length
    16_384: (2, 13),
    19_683: (3, 8),
    32_768: (2, 14),
    59_049: (3, 9),
    65_536: (4, 7),
    78_125: (5, 6),
}
LENGTHS: dict[System, tuple[int, ...]] = {"mel": tuple(POOLS), "sample": tuple(SAMPLES)}
MIDDLE = {"mel": "27", "sample": "59049"}  # the scale that single networks of the tables are assumed to have
NETWORKS = {"mel": "local_mel", "sample": "samplecnn"}
RATE = 22_050  # Hz, of both
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network whose layers are aggregated.

    Attributes:
        origin: whether it is trained on the data itself, on the source, or given.
        scale: names it among those of its origin, in characters that every file system takes.
        model: the network, or what is given.
        options: of the network.
        layers: those that are aggregated, the one nearest to the input first.
        rate: of its sound, in Hz.
    """

    origin: Origin
    scale: str
    model: str
    options: Mapping[str, Any]
    layers: tuple[str, ...]
    rate: int = RATE

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, as the second system counts them: "-3", "-2", "-1", which is nearest to the output."""
        return tuple(str(place - len(self.layers)) for place in range(len(self.layers)))

    def build(self, n_tags: int | None = None, task: Any = None) -> TaggingModel:
        """Build it, untrained unless it is given."""
        if self.origin == "given":
            return open_given(self.model)
        return create_model(self.model, n_tags=n_tags, task=task, **self.options)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Levels of networks that make one vector together.

    Attributes:
        method: what it is in the tables.
        scale: of the network, or "all".
        level: of it, or "all".
        parts: network and layer of each.
    """

    method: str
    scale: str
    level: str
    parts: tuple[tuple[Net, str], ...]


def local_nets(origin: Origin, system: System, lengths: Sequence[int]) -> list[Net]:
    """List the networks that are trained.

    Args:
        origin: what they are trained on.
        system: on mel spectrograms or on samples.
        lengths: frames or samples of each.

    Returns:
        A network a length.
    """
    nets = []
    for length in lengths:
        options: dict[str, Any] = {"n_frames": length}
        if system == "sample":
            kernel, depth = SAMPLES[length]
            options = {"kernel": kernel, "depth": depth, "n_samples": length}
        layers = default_layers(create_model(NETWORKS[system], **options))
        nets.append(
            Net(origin=origin, scale=str(length), model=NETWORKS[system], options=options, layers=layers)
        )  # fmt: skip
    return nets


def open_given(name: str) -> TaggingModel:
    """Open a model that is given.

    Args:
        name: trained weights, a network (with random weights, the same each time), or a file or run folder.

    Returns:
        The model in evaluation mode.

    Raises:
        UnknownNameError: there is no such model.
        WeightsError: its weights are not at hand, or damaged.
    """
    import torch

    if is_model_file(name):
        return load_model(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model(name).eval()


def describe_given(names: Sequence[str], layers: Sequence[str]) -> list[dict[str, Any]]:
    """Say what is to be known of models that are given, as plain values.

    Args:
        names: of the models.
        layers: names out of the layers of some of them, the one nearest to the input first; () is their own choice.

    Returns:
        What `given_nets` takes, a model each.

    Raises:
        ConfigError: a model has none of the layers, or some layer is in no model.
        TaggramError: a model cannot be opened.
    """
    known = []
    there: set[str] = set()
    for name in names:
        model = open_given(name)
        there.update(model.layers())
        own = tuple(layer for layer in model.layers() if layer in layers) if layers else default_layers(model)
        if not own:
            raise ConfigError(f"{name} has none of the layers {', '.join(layers)}; it has {', '.join(model.layers())}.")
        rate = model.frontend.sample_rate
        known.append({"model": name, "layers": own, "rate": rate, "scale": _scale_of(name), "digest": _digest(name)})
    if nowhere := [layer for layer in layers if layer not in there]:
        raise ConfigError(
            f"layers has {nowhere[0]}, which none of the extractors has.{did_you_mean(nowhere[0], there)} Their layers "
            f"are {', '.join(sorted(there))}."
        )
    scales = [str(one["scale"]) for one in known]
    if len(set(scales)) < len(scales):
        raise ConfigError(f"two of the extractors have one name among {', '.join(scales)}; rename a file or folder.")
    return known


def given_nets(known: Sequence[Mapping[str, Any]]) -> list[Net]:
    """Make networks of what `describe_given` said."""
    return [
        Net(origin="given", scale=one["scale"], model=one["model"], options={}, layers=tuple(one["layers"]),
            rate=one["rate"])
        for one in known
    ]  # fmt: skip


def choices_of(nets: Sequence[Net]) -> list[Choice]:
    """List what is put together of the networks of an origin, each once.

    Args:
        nets: the networks.

    Returns:
        Each level of each network, all levels of each, each level of all, and all levels of all. A level of all
        networks is counted from the output; there is none that some network has not.
    """
    pairs = [(net, level, layer) for net in nets for level, layer in zip(net.levels, net.layers)]

    def choice(method: str, scale: str = ALL, level: str = ALL) -> Choice:
        parts = tuple((net, layer) for net, own, layer in pairs if scale in (ALL, net.scale) and level in (ALL, own))
        return Choice(method=method, scale=scale, level=level, parts=parts)

    shared = [level for level in nets[0].levels if all(level in net.levels for net in nets)] if nets else []
    wanted = [choice("single_level", net.scale, level) for net, level, _ in pairs]
    wanted += [choice("levels", net.scale) for net in nets]
    wanted += [choice("scales", level=level) for level in shared]
    wanted += [choice(ALL)]
    seen: dict[tuple[tuple[str, str], ...], Choice] = {}
    for one in wanted:
        seen.setdefault(tuple((net.scale, layer) for net, layer in one.parts), one)
    return [one for parts, one in seen.items() if parts]


def whole_of(choices: Sequence[Choice]) -> Choice:
    """Give the one with the most parts: all levels of all networks."""
    return max(choices, key=lambda one: len(one.parts))


def cell_of(method: str, origin: str, scale: str, level: str = "", *, run: int = 0, is_scored: bool = True) -> Cell:
    """Make the cell of a network, or of what is learned on some.

    Args:
        method: its name.
        origin: where the networks come from.
        scale: of which one, or "all".
        level: of it, or "all"; "" where that has no meaning.
        run: from 0 on.
        is_scored: whether it is a measurement.

    Returns:
        The cell.
    """
    details = {"trained_on": origin, "scale": scale, **({"level": level} if level else {})}
    return Cell(method=method, run=run, details=details, is_scored=is_scored)


def origin_of(cell: Cell) -> Origin:
    """Say where the networks of a cell come from."""
    return next(origin for origin in ORIGINS if origin == cell.details["trained_on"])


# -- inside ------------------------------------------------------------------------------------------------------------


def _scale_of(name: str) -> str:
    title = title_of(name) if is_model_file(name) else name
    return re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-.") or "model"


def _digest(name: str) -> str:
    """Hash a file, so that other weights under the same name are told apart; names of the register never change."""
    if not is_model_file(name):
        return ""
    return hashlib.sha256(Path(model_file(name)).read_bytes()).hexdigest()
