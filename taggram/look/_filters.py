"""The kernels of the convolutions that see the input of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taggram.errors import ConfigError
from taggram.look._network import Bands, bands_of, evaluating, first_convolutions, input_roles, name_of, sees_waveform

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.models._contract import TaggingModel

Floats = NDArray[np.float32]
FilterKind = Literal["waveform", "temporal", "spectral", "patch"]
"""Over samples; over frames of one band; over bands of one frame; over both."""

FAINT = 0.01
FFT_POINTS = 4096  # at least, of the spectrum in which the centre frequency of a kernel is found


@dataclass(frozen=True, kw_only=True, eq=False)
class FilterGroup:
    """The kernels of one convolution.

    Attributes:
        name: path of the module.
        kind: over what they reach.
        kernels: (filters, bands, taps); one band where they see the waveform, or one band of a spectrogram at a time.
        step_s: seconds from tap to tap.
        centres: (filters,): for kinds "waveform" and "temporal" the frequency in Hz at which their spectrum is highest,
            for the others the band of the kernel, from 0 on, that has most energy.
    """

    name: str
    kind: FilterKind
    kernels: Floats
    step_s: float
    centres: NDArray[np.float64]

    @property
    def faint(self) -> NDArray[np.bool_]:
        """(filters,) whether no weight is a hundredth of the largest of all filters: training has let it go."""
        largest = np.abs(self.kernels).reshape(len(self.kernels), -1).max(axis=1)
        return np.asarray(largest < FAINT * largest.max())

    @property
    def order(self) -> NDArray[np.intp]:
        """(filters,) indices by rising centre; faint ones come last, equal ones stay as they are."""
        return np.lexsort((self.centres, self.faint))


@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """The kernels of all convolutions that see the input of a network.

    Attributes:
        model: name of the network.
        bands: of the spectrogram, or None where the network sees the waveform.
        groups: one a convolution, in the order in which they are called.
    """

    model: str
    bands: Bands | None
    groups: tuple[FilterGroup, ...]

    def plot(self, *, max_filters: int | None = None) -> Figure:
        """Draw the filters, a panel a shape, sorted by their centres; faint ones are left out and counted.

        Args:
            max_filters: most filters of each convolution to draw, evenly spaced in their order; the picture says how
                many there are. None is what a page has room for.

        Returns:
            The figure.

        Raises:
            ConfigError: `max_filters` is less than 1.
        """
        from taggram.look._draw_filters import draw_filters

        return draw_filters(self, max_filters=max_filters)


def first_filters(model: TaggingModel) -> Filters:
    """Take the kernels of the convolutions that see the input of a network.

    Args:
        model: the network, with whatever weights it has.

    Returns:
        The kernels, their axes turned to (filters, bands, taps) whatever the network's own are.

    Raises:
        ConfigError: no convolution sees the input.
    """
    frontend = model.frontend
    with evaluating(model):
        convolutions = first_convolutions(model)
        if not convolutions:
            raise ConfigError(f"{name_of(model)} has no convolution on its input, so it has no filters to show.")
        roles = input_roles(model, convolutions)
    groups = []
    for name, module in convolutions.items():
        steps = {role.kind: (axis, role.step) for axis, role in roles[name].items()}
        time, step = steps.get("time", (module.weight.ndim - 1, 1.0))
        kernels = _turned(module.weight.detach(), time, steps["bands"][0] if "bands" in steps else None)
        kind = _kind(kernels, is_waveform=sees_waveform(model))
        step_s = step * frontend.hop_length / frontend.sample_rate
        groups.append(
            FilterGroup(name=name, kind=kind, kernels=kernels, step_s=step_s, centres=_centres(kernels, kind, step_s))
        )
    return Filters(model=name_of(model), bands=bands_of(model), groups=tuple(groups))


def _turned(weight: Tensor, time: int, bands: int | None) -> Floats:
    """Turn the axes of a weight to (filters, bands, taps); what stands for neither is averaged over."""
    others = [axis for axis in range(1, weight.ndim) if axis not in (time, bands)]
    turned = weight.mean(others, keepdim=True) if others else weight
    turned = turned.movedim([time] if bands is None else [bands, time], [-1] if bands is None else [-2, -1])
    kernels: Floats = turned.reshape(len(weight), -1, weight.shape[time]).float().cpu().numpy()
    return kernels


def _kind(kernels: Floats, *, is_waveform: bool) -> FilterKind:
    _, n_bands, n_taps = kernels.shape
    if is_waveform:
        return "waveform"
    if n_bands == 1:
        return "temporal"
    return "spectral" if n_taps == 1 else "patch"


def _centres(kernels: Floats, kind: FilterKind, step_s: float) -> NDArray[np.float64]:
    """Find the centre of each kernel, see `FilterGroup`."""
    if kind in ("waveform", "temporal"):
        n_points = max(FFT_POINTS, 2 * kernels.shape[2])
        magnitudes = np.abs(np.fft.rfft(kernels[:, 0], n_points))
        return np.asarray(np.fft.rfftfreq(n_points, step_s)[magnitudes.argmax(axis=1)])
    return np.asarray(np.square(kernels).sum(axis=2).argmax(axis=1), np.float64)
