"""Gradient ascent: what units of a layer answer most."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taggram._checks import check, check_count, is_count
from taggram.errors import ConfigError
from taggram.look._network import (
    Bands,
    LayerTap,
    bands_of,
    device_of,
    evaluating,
    evenly_spaced,
    name_of,
    sees_waveform,
    time_layers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taggram.models._contract import TaggingModel

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Progress = Callable[[float], None]
"""Is told the share of the work that is done, 0 to 1."""

N_STEPS = 18
STEP = 1.0  # by which a waveform is changed in each step, in the root mean square over its samples
NOISE = 0.015  # largest sample of the noise that waveforms start from
LOUD_NOISE = 0.3  # of that whose spectrogram others start from: as loud as music, or units that expect it hear nothing
WAVEFORM_SAMPLES = 729  # 33 ms at 22,050 Hz
PATCH_FRAMES = 64
LEAST_MOMENTS = 3  # of a layer, so that one of them is not at an end
EPS = 1e-9  # added to the root mean square of a gradient; one that is no larger leads nowhere
CHUNK_VALUES = 2**17  # at most, of the inputs that are climbed with together
CHUNK_UNITS = 64
LEAST_LIVE = 8  # units of a layer, below which its convexity says little
SHOWN_WAVEFORM_LAYERS = 6  # as in the paper
SHOWN_SPECTROGRAM_LAYERS = 3  # as they take longer


@dataclass(frozen=True, kw_only=True, eq=False)
class Ascent:
    """What units of a layer answer most, found by gradient ascent.

    Attributes:
        model: name of the network.
        layer: name of the layer or module.
        n_units: units that the layer has.
        units: (units,) indices of those that were climbed for.
        start: (samples,) or (bands, frames), the noise that all started from.
        inputs: (units, samples) or (units, bands, frames), what was found.
        activations: (steps + 1, units) mean of the unit over time, before each step and after the last.
        dead: (units,) whether the gradient was as good as 0 at some step: nothing near the input moves the unit, and so
            the input is kept as it was then.
        sample_rate: of the waveform in Hz.
        step_s: seconds from sample to sample or from frame to frame.
        bands: of the spectrogram, or None where the network sees the waveform.
    """

    model: str
    layer: str
    n_units: int
    units: NDArray[np.intp]
    start: Floats
    inputs: Floats
    activations: Floats
    dead: Flags
    sample_rate: int
    step_s: float
    bands: Bands | None

    @property
    def spectra(self) -> Floats:
        """(units, frequencies) of waveforms: log10(1 + 10 X), X the power under a Hann window, the mean taken off.

        Raises:
            ConfigError: the network sees spectrograms.
        """
        if self.bands is not None:
            raise ConfigError(f"{self.model} sees spectrograms; look at `profiles` in place of `spectra`.")
        n_samples = self.inputs.shape[1]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_samples) / n_samples)
        centred = self.inputs - self.inputs.mean(axis=1, keepdims=True)
        power = np.square(np.abs(np.fft.rfft(centred * window)))
        spectra: Floats = np.log10(1 + 10 * power).astype(np.float32)
        return spectra

    @property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """(frequencies,) of `spectra`."""
        return np.asarray(np.fft.rfftfreq(self.inputs.shape[1], 1 / self.sample_rate))

    @property
    def profiles(self) -> Floats:
        """(units, bands) of spectrograms: by how much each band was raised, in the mean over time.

        Raises:
            ConfigError: the network sees waveforms.
        """
        if self.bands is None:
            raise ConfigError(f"{self.model} sees waveforms; look at `spectra` in place of `profiles`.")
        profiles: Floats = (self.inputs - self.start).mean(axis=2)
        return profiles

    @property
    def centres(self) -> NDArray[np.float64]:
        """(units,) where the spectrum is highest, in Hz; or the band that was raised most, from 0 on."""
        if self.bands is None:
            return np.asarray(self.frequencies_hz[self.spectra.argmax(axis=1)])
        return np.asarray(self.profiles.argmax(axis=1), np.float64)

    @property
    def order(self) -> NDArray[np.intp]:
        """(units,) places in `units` by rising centre; dead ones come last, equal ones stay as they are."""
        return np.lexsort((self.centres, self.dead))

    @property
    def convexity(self) -> float:
        """How much the peaks of a waveform's spectra, sorted, sag below the straight line from 0 Hz to the highest.

        0 on that line, 1 where all peaks are at 0 Hz, 0.42 of the mel scale at 22,050 Hz; not a number where all units
        are dead.

        Raises:
            ConfigError: the network sees spectrograms.
        """
        peaks = self.frequencies_hz[self.spectra.argmax(axis=1)][~self.dead]
        return 1 - 4 * float(peaks.mean()) / self.sample_rate if len(peaks) else math.nan

    def plot(self) -> Figure:
        """Draw the spectra, or the profiles and some of the spectrograms, of the units in order.

        Returns:
            The figure.
        """
        from taggram.look._draw_ascents import draw_ascents

        return draw_ascents([self])


def layers_to_show(model: TaggingModel) -> list[str]:
    """Name the layers that are climbed for unless others are wanted: the first ones that keep time.

    Args:
        model: the network.

    Returns:
        Up to six for a network on waveforms and three for one on spectrograms. Pools of the layer before are left out.
    """
    shown: list[str] = []
    before, n_before = "pool", 0
    for name, n_units in time_layers(model).items():
        repeats = name.startswith("pool") and not before.startswith("pool") and n_units == n_before
        if not repeats:
            shown.append(name)
        before, n_before = name, n_units
    return shown[: SHOWN_WAVEFORM_LAYERS if sees_waveform(model) else SHOWN_SPECTROGRAM_LAYERS]


def ascend(
    model: TaggingModel,
    layer: str,
    *,
    units: int | Sequence[int] | None = None,
    seed: int = 0,
    n_frames: int | None = None,
    n_steps: int = N_STEPS,
    step: float | None = None,
    batch_statistics: bool = False,
    progress: Progress | None = None,
) -> Ascent:
    """Find by gradient ascent what units of a layer answer most.

    Each step moves the input along the gradient of the unit's mean over time (and bands, where the layer keeps them),
    divided by the root mean square of that gradient. A waveform starts from faint uniform noise. A spectrogram starts
    from that of loud noise, and the length of its steps is the standard deviation of that, since the values of
    front-ends are of many scales.

    Args:
        model: the network, with whatever weights it has; it is used in evaluation mode and left as it was.
        layer: a layer that keeps time, or the path of a module, such as "blocks.0.relu".
        units: indices of the units, or how many, evenly spaced; None is all.
        seed: of the noise.
        n_frames: length of the input in samples or frames; None is 729 samples or 64 frames, and as often three times
            as many as the layer needs for three moments, or the length that the network was made for.
        n_steps: number of steps.
        step: length of a step in the root mean square; None is 1 for waveforms, and for spectrograms as said.
        batch_statistics: whether batch norms take the statistics of the one input, as the published code does, and not
            those that were learned.
        progress: is told how much is done.

    Returns:
        The inputs that were found.

    Raises:
        UnknownNameError: the network has no such layer or module.
        ConfigError: the layer keeps no time, there is no such unit, or a number makes no sense.
    """
    check_count("n_steps", n_steps)
    if batch_statistics:
        model = copy.deepcopy(model)  # running statistics follow those of the input, and are not to be kept
    with evaluating(model):
        if batch_statistics:
            _let_norms_follow(model)
        tap = LayerTap(model, layer)
        chosen = _chosen(units, tap.n_units)
        start = _fitting_start(model, tap, seed, n_frames)
        if step is None:
            step = STEP if sees_waveform(model) else float(start.std())
        n_together = 1 if batch_statistics else max(1, min(CHUNK_UNITS, CHUNK_VALUES // start.numel()))
        chunks = np.array_split(chosen, -(-len(chosen) // n_together))
        climbed = []
        for number, chunk in enumerate(chunks):
            told = _part_of(progress, number, len(chunks))
            climbed.append(_climb(tap, start, chunk, n_steps, step, told))
    inputs, activations, dead = zip(*climbed)
    frontend = model.frontend
    return Ascent(
        model=name_of(model),
        layer=layer,
        n_units=tap.n_units,
        units=chosen,
        start=start[0, 0].cpu().numpy(),
        inputs=np.concatenate(inputs)[:, 0],
        activations=np.concatenate(activations, axis=1),
        dead=np.concatenate(dead),
        sample_rate=frontend.sample_rate,
        step_s=frontend.hop_length / frontend.sample_rate,
        bands=bands_of(model),
    )


def _let_norms_follow(model: TaggingModel) -> None:
    """Have batch norms take the statistics of what comes."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.train()


def _part_of(progress: Progress | None, number: int, n_parts: int) -> Progress:
    """Give what is told the progress of one of several parts."""

    def told(share: float) -> None:
        if progress is not None:
            progress((number + share) / n_parts)

    return told


def _chosen(units: int | Sequence[int] | None, n_units: int) -> NDArray[np.intp]:
    """Give the indices of the units that are wanted."""
    if units is None:
        return np.arange(n_units)
    if isinstance(units, int):
        check_count("units", units)
        return evenly_spaced(n_units, units)
    fits = len(units) > 0 and all(is_count(unit, least=0) and unit < n_units for unit in units)
    check(fits, "units", units, f"some of 0 to {n_units - 1}")
    return np.asarray(units, dtype=np.intp)


def _fitting_start(model: TaggingModel, tap: LayerTap, seed: int, n_frames: int | None) -> Tensor:
    """Make the noise to start from, (1, 1, bands, frames) or (1, 1, samples), long enough for the layer."""
    if n_frames is not None:
        check_count("n_frames", n_frames)
        start = _noise(model, seed, n_frames)
        check(_count_moments(tap, start) > 0, "n_frames", n_frames, f"more, for a moment of {tap.layer}")
        return start
    own = model.frontend.n_frames
    length = WAVEFORM_SAMPLES if sees_waveform(model) else min(PATCH_FRAMES, own)
    start = _noise(model, seed, length)
    while length < own and _count_moments(tap, start) < LEAST_MOMENTS:
        length = min(3 * length, own)
        start = _noise(model, seed, length)
    return start if _count_moments(tap, start) else _noise(model, seed, own)


def _count_moments(tap: LayerTap, patches: Tensor) -> int:
    """Count the moments that a layer has for an input, 0 where it is too short."""
    try:
        return tap(patches).shape[2]
    except (RuntimeError, ValueError):  # torch's, where a kernel or a pool does not fit
        return 0


def _noise(model: TaggingModel, seed: int, n_frames: int) -> Tensor:
    """Make uniform noise, as the front-end gives it."""
    generator = torch.Generator().manual_seed(seed)
    n_samples = model.frontend.n_samples_for(n_frames)
    largest = NOISE if sees_waveform(model) else LOUD_NOISE
    waveform = largest * (2 * torch.rand(1, n_samples, generator=generator) - 1)
    with torch.no_grad():
        patches: Tensor = model.frontend(waveform.to(device_of(model)))
    return patches[..., :n_frames].contiguous()


def _climb(
    tap: LayerTap, start: Tensor, units: NDArray[np.intp], n_steps: int, step: float, progress: Progress
) -> tuple[Floats, Floats, Flags]:
    """Climb for some units at once, each with an input of its own.

    Args:
        tap: gives the layer.
        start: (1, 1, bands, frames) or (1, 1, samples).
        units: their indices.
        n_steps: number of steps.
        step: length of a step.
        progress: is told how much is done.

    Returns:
        The inputs, the activations and which units are dead.
    """
    ones = [1] * (start.ndim - 1)
    wanted = torch.from_numpy(units).to(start.device)
    x = start.repeat(len(units), *ones)
    live = torch.arange(len(units), device=start.device)
    values = start.new_zeros(len(units))
    activations = []
    for number in range(n_steps + 1):
        if len(live):
            part = x[live].requires_grad_()
            means = tap(part).mean(2)  # (batch, units of the layer)
            own = means.gather(1, wanted[live].unsqueeze(1)).squeeze(1)  # each input is for one unit
            values[live] = own.detach()
            if number < n_steps:
                (gradient,) = torch.autograd.grad(own.sum(), part)
                size = gradient.flatten(1).square().mean(1).sqrt()
                x[live] += step * gradient / (size.view(-1, *ones) + EPS)
                live = live[size > EPS]  # the others stay where they are for good
        activations.append(values.cpu().numpy().copy())
        progress(number / n_steps)
    dead = np.ones(len(units), np.bool_)
    dead[live.cpu().numpy()] = False
    return x.cpu().numpy(), np.stack(activations), dead
