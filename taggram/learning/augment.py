"""Augmentation: patches of sound and of spectrograms are changed at random while a network learns from them.

What becomes of a patch is a pure function of (seed, position), as are order and crops (`data.py`): the same position
gives the same change bit for bit, whatever was drawn before, in whatever process.

A waveform is stretched, shifted in pitch, made louder or softer, and put under noise, in this order, and never clipped.

Source: mixup, Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018; masks, Park
    et al., "SpecAugment", Interspeech 2019, without its time warping. Stretch and pitch are Signalsmith Stretch by way
    of the package audiomentations.
Differs: each patch draws a share of its own for mixup; a mask takes the mean of its patch, which SpecAugment writes as
    0, since its spectrograms have mean 0.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taggram._checks import check, check_count, is_number
from taggram.errors import ConfigError, missing_extra
from taggram.frontends import RawFrames
from taggram.learning._random import Purpose, generator
from taggram.learning._settings import from_values
from taggram.models._contract import TaggingModel

Samples: TypeAlias = NDArray[np.float32]
Mixed = TypeVar("Mixed", Tensor, Samples)
Range: TypeAlias = tuple[float, float]
"""(least, most)."""

MOST_DB = 120.0  # of gain and noise; 24 bits have 144
MOST_SEMITONES = 24.0  # what audiomentations takes
STRETCHES = (0.5, 2.0)  # at less than 0.5 Signalsmith Stretch draws random phases, which no seed of ours reaches


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Which changes patches undergo. Without any setting there are none.

    Attributes:
        gain_db: (least, most) change of level in dB, uniform; None is off.
        noise_snr_db: (least, most) level of the sound above that of white noise in dB, uniform; None is off. Silence
            stays silence.
        mixup: alpha of the Beta distribution from which the share of the own patch comes; 0 is off.
        mask_bands: largest width of a mask over bands; 0 is off.
        n_band_masks: how many such masks a patch has.
        mask_frames: largest width of a mask over frames; 0 is off.
        n_frame_masks: how many such masks a patch has.
        pitch_semitones: (least, most) change of pitch in semitones, uniform, at most 24 down or up; None is off.
        stretch: (least, most) speed at the same pitch, uniform in its logarithm, 0.5 to 2; above 1 is quicker; None is
            off.
        probability: with which each effect is applied to a patch; all masks of a patch are one effect.

    Raises:
        ConfigError: some value makes no sense.
    """

    gain_db: Range | None = None
    noise_snr_db: Range | None = None
    mixup: float = 0.0
    mask_bands: int = 0
    n_band_masks: int = 1
    mask_frames: int = 0
    n_frame_masks: int = 1
    pitch_semitones: Range | None = None
    stretch: Range | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        self._check_range("gain_db", -MOST_DB, MOST_DB)
        self._check_range("noise_snr_db", -MOST_DB, MOST_DB)
        self._check_range("pitch_semitones", -MOST_SEMITONES, MOST_SEMITONES)
        self._check_range("stretch", *STRETCHES)
        check(is_number(self.mixup) and self.mixup >= 0, "mixup", self.mixup, "a number from 0 on")
        for name in ("mask_bands", "mask_frames"):
            check_count(name, getattr(self, name), 0)
        for name in ("n_band_masks", "n_frame_masks"):
            check_count(name, getattr(self, name))
        fits = is_number(self.probability) and 0 <= self.probability <= 1
        check(fits, "probability", self.probability, "a number from 0 to 1")

    def _check_range(self, name: str, least: float, most: float) -> None:
        came = getattr(self, name)
        if came is None:
            return
        is_pair = isinstance(came, tuple) and len(came) == 2 and all(is_number(end) for end in came)
        fits = is_pair and least <= came[0] <= came[1] <= most
        check(fits, name, came, f"(least, most), two numbers from {least:g} to {most:g}, or None")

    @property
    def changes_sound(self) -> bool:
        """Whether the sound of patches is changed."""
        return any((self.gain_db, self.noise_snr_db, self.pitch_semitones, self.stretch))

    @property
    def masks(self) -> bool:
        """Whether patches get masks."""
        return bool(self.mask_bands or self.mask_frames)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AugmentConfig:
        """Make a config of plain values, such as those of a TOML file.

        Args:
            values: by name; a list is a pair.

        Returns:
            The config.

        Raises:
            ConfigError: there is no such setting, or a value makes no sense.
        """
        return from_values(cls, "augment", values)

    def to_dict(self) -> dict[str, Any]:
        """Give all settings as plain values, which `from_dict` takes."""
        return dataclasses.asdict(self)


def check_augment_fits(config: AugmentConfig, model: TaggingModel) -> None:
    """Refuse masks that do not fit what the front-end gives.

    Args:
        config: the augmentation.
        model: the network that is to be trained.

    Raises:
        ConfigError: the network looks at raw samples, or a mask may be wider than a patch.
    """
    if not config.masks:
        return
    frontend = model.frontend
    if isinstance(frontend, RawFrames):
        raise ConfigError(
            "mask_bands and mask_frames are for spectrograms, and this network looks at raw samples; leave them at 0."
        )
    for name, most in (("mask_bands", frontend.n_bands), ("mask_frames", frontend.n_frames)):
        value = getattr(config, name)
        check(value <= most, name, value, f"at most {most}, which is all that a patch of this network has")


class Mix(NamedTuple):
    """What a patch is mixed with."""

    item: int
    """The other one of an epoch's items."""
    share: float
    """Of the own patch, 0 to 1; the other has the rest."""


class Augmenter:
    """Changes patches as a config says. It has no state, and can be pickled.

    Args:
        config: which changes.
        sample_rate: of the patches, in Hz.
        seed: of the run.

    Raises:
        ConfigError: the rate or the seed makes no sense.
        MissingExtraError: pitch or stretch is asked for, and audiomentations is not installed.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int, seed: int) -> None:
        check_count("sample_rate", sample_rate)
        check_count("seed", seed, 0)
        if (config.pitch_semitones or config.stretch) and not _has_audiomentations():
            raise missing_extra("audiomentations", "augment", "augment.pitch_semitones and augment.stretch")
        self.config = config
        self.sample_rate = sample_rate
        self.seed = seed

    # -- sound ---------------------------------------------------------------------------------------------------------

    def n_input(self, n_samples: int, position: int) -> int:
        """Count the samples of sound that a patch is made of: more than it has where it is played more quickly.

        Args:
            n_samples: length of the patch.
            position: of the patch.

        Returns:
            Length that `waveform` is to be given so that it need not repeat or cut anything.
        """
        speed = self._draw(Purpose.STRETCH, position, self.config.stretch)
        return n_samples if speed is None else int(np.ceil(n_samples * np.exp2(speed)))

    def waveform(self, samples: Samples, position: int, n_samples: int | None = None) -> Samples:
        """Change a patch of sound.

        Args:
            samples: (samples,) float32, mono.
            position: of the patch.
            n_samples: length of the result; None is the length that came. What is too short after the stretch is
                repeated from its start, what is too long is cut off at its end.

        Returns:
            (n_samples,) float32; the samples that came are not written to.
        """
        config = self.config
        speed = self._draw(Purpose.STRETCH, position, config.stretch)
        changed = samples if speed is None else _stretched(samples, self.sample_rate, float(np.exp2(speed)))
        changed = np.resize(changed, len(samples) if n_samples is None else n_samples)
        semitones = self._draw(Purpose.PITCH, position, config.pitch_semitones)
        if semitones is not None:
            changed = _shifted(changed, self.sample_rate, semitones)
        gain_db = self._draw(Purpose.GAIN, position, config.gain_db)
        if gain_db is not None:
            changed = changed * np.float32(10 ** (gain_db / 20))
        snr_db = self._draw(Purpose.NOISE, position, config.noise_snr_db)
        return changed if snr_db is None else self._under_noise(changed, position, snr_db)

    def mixed(self, position: int, n_items: int) -> Mix | None:
        """Say what the patch at a position is mixed with.

        Args:
            position: of the patch.
            n_items: items of an epoch, any of which may be the other one.

        Returns:
            The other item and the share of the own patch, for `mix`; None where it is not mixed.
        """
        random = generator(self.seed, Purpose.MIXUP, position)
        if not self.config.mixup or random.random() >= self.config.probability:
            return None
        share = float(random.beta(self.config.mixup, self.config.mixup))
        return Mix(int(random.integers(n_items)), share)

    # -- what the front-end gives --------------------------------------------------------------------------------------

    def masks(self, positions: Tensor, n_bands: int, n_frames: int) -> Tensor:
        """Say which parts of patches are masked.

        Args:
            positions: (batch,) whole numbers.
            n_bands: of a patch.
            n_frames: of a patch.

        Returns:
            (batch, 1, bands, frames) bool, true where something is masked, on the device of the positions.
        """
        masks = np.zeros((len(positions), 1, n_bands, n_frames), dtype=bool)
        config = self.config
        for mask, position in zip(masks[:, 0], positions.tolist()):
            random = generator(self.seed, Purpose.MASKS, position)
            if random.random() < config.probability:
                for start, end in _spans(random, config.n_band_masks, config.mask_bands, n_bands):
                    mask[start:end] = True
                for start, end in _spans(random, config.n_frame_masks, config.mask_frames, n_frames):
                    mask[:, start:end] = True
        return torch.from_numpy(masks).to(positions.device)

    def apply_masks(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Put the mean of each patch where its masks are.

        Args:
            patches: (batch, 1, bands, frames), as a front-end gives them.
            positions: (batch,) whole numbers.

        Returns:
            Patches of the same shape; the same tensor where the config has no masks.
        """
        if not self.config.masks:
            return patches
        masks = self.masks(positions, *patches.shape[2:]).to(patches.device)
        return torch.where(masks, patches.mean((1, 2, 3), keepdim=True), patches)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _draw(self, purpose: Purpose, position: int, limits: Range | None) -> float | None:
        """Draw a setting, of a speed its logarithm to base 2; None where the effect is off or passes this patch by."""
        if limits is None:
            return None
        random = generator(self.seed, purpose, position)
        if random.random() >= self.config.probability:
            return None
        least, most = np.log2(limits) if purpose == Purpose.STRETCH else limits
        return float(random.uniform(least, most))

    def _under_noise(self, samples: Samples, position: int, snr_db: float) -> Samples:
        """Add white noise whose measured level, and not only the expected one, is as asked."""
        level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        random = generator(self.seed, Purpose.NOISE, position, 1)  # 1: the noise, and not how much of it
        noise = random.standard_normal(len(samples), dtype=np.float32)
        noise_level = float(np.sqrt(np.mean(np.square(noise, dtype=np.float64))))
        return samples + noise * np.float32(level / noise_level * 10 ** (-snr_db / 20))


def mix(own: Mixed, other: Mixed, share: float) -> Mixed:
    """Mix two patches, or their labels in the same way.

    Args:
        own: any shape, such as (samples,) or (tags,).
        other: of the same shape.
        share: of the own one, 0 to 1.

    Returns:
        share * own + (1 - share) * other.
    """
    return share * own + (1 - share) * other


def _spans(random: np.random.Generator, n_masks: int, widest: int, length: int) -> list[tuple[int, int]]:
    """Draw masks as SpecAugment does: the width first, from 0 to the widest, then the place."""
    spans = []
    for _ in range(n_masks if widest else 0):
        width = int(random.integers(min(widest, length) + 1))
        start = int(random.integers(length - width + 1))
        spans.append((start, start + width))
    return spans


def _has_audiomentations() -> bool:
    return importlib.util.find_spec("audiomentations") is not None


# Both transforms are given their parameters and frozen: left alone they draw them from Python's global random state.


def _stretched(samples: Samples, sample_rate: int, speed: float) -> Samples:
    from audiomentations import TimeStretch

    transform = TimeStretch(*STRETCHES, leave_length_unchanged=False, p=1.0)
    transform.parameters = {"should_apply": True, "rate": speed}
    transform.freeze_parameters()
    # The C++ code refuses arrays that cannot be written to, though it does not write to them.
    stretched: Samples = transform(np.require(samples, requirements=["C", "W"]), sample_rate)
    return stretched


def _shifted(samples: Samples, sample_rate: int, semitones: float) -> Samples:
    from audiomentations import PitchShift

    transform = PitchShift(-MOST_SEMITONES, MOST_SEMITONES, p=1.0)
    transform.parameters = {"should_apply": True, "num_semitones": semitones}
    transform.freeze_parameters()
    shifted: Samples = transform(samples, sample_rate)
    return shifted
