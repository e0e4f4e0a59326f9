"""Front-ends: from a waveform to what a network eats, log-mel frames, MFCC or the samples themselves.

All spectrograms take one way: frames cut by stride, times the window, real FFT, power, product with the mel filters,
compression. The fields of `LogMelConfig` say how, for every published network but one, for which `AGCMelConfig` adds a
gain control before the mel filters. Scaling by the statistics of a data set is no part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from taggram._agc import band_layout, decaying_peak, mean_rise, spread_matrix
from taggram._banded import BandedMatrix
from taggram._checks import check, check_choice, check_count, check_flag, is_count, is_number
from taggram.errors import AudioError, ConfigError, did_you_mean

Window: TypeAlias = Literal["hann", "hann_symmetric", "blackmanharris62", "rectangular"]
Padding: TypeAlias = Literal["reflect", "zeros"]
MelScale: TypeAlias = Literal["slaney", "htk"]
MelNorm: TypeAlias = Literal["slaney", "sum"]
MelTriangles: TypeAlias = Literal["hz", "mel"]
Compression: TypeAlias = Literal["none", "log10_1p", "ln_1p", "log10_eps", "ln_eps", "ln_floor", "db", "db_squared"]

_FLOAT16_MAX = 65_504.0
_LEAST_EPS = 1e-37  # anything smaller is no normal float32, and its logarithm may be infinite
_ROUNDING = 1e-12  # power that the rounding of a float32 Fourier transform leaves in the empty bands of loud sound
_GROUP_VALUES = 2**18  # values of the frames that are worked on together: 1 MiB, which stays in the cache
_ONSET_MELS = 40  # bands of the onset curve


@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """How a mel spectrogram is made.

    With x the mel value, the compressions are "none": x; "log10_1p" and "ln_1p": log(1 + gain x); "log10_eps" and
    "ln_eps": log(x + eps); "ln_floor": ln(max(x, eps)); "db": 10 log10(max(x, eps)); "db_squared":
    10 log10(max(x^2, eps)).

    Attributes:
        sample_rate: of the waveform, in Hz.
        n_fft: length of the Fourier transform, in samples.
        hop_length: step from frame to frame, in samples.
        n_mels: number of mel bands.
        n_frames: length of the patch that a network looks at, in frames.
        win_length: length of the window in samples, zero-padded to `n_fft`; None is `n_fft`.
        window: "hann" is periodic; "hann_symmetric" and "blackmanharris62" end as they begin.
        window_sum: the window is scaled so that its samples sum to this (Essentia: 2); None leaves it.
        centred: frame i is centred on sample i * hop_length; if not, frames of `win_length` lie inside the sound.
        padding: what stands beyond the ends of the sound, "reflect" or "zeros".
        pad_length: samples added at both ends instead of what `centred` adds, at most half the window.
        power: 2 takes the power of the spectrum, 1 its magnitude.
        fmin_hz: lower edge of the lowest band.
        fmax_hz: upper edge of the highest band; None is half the sample rate.
        mel_scale: "slaney" (linear below 1 kHz) or "htk" (ln(1 + f / 700)).
        mel_norm: "slaney" divides each triangle by half its width in Hz, "sum" by its sum; None leaves the peak at 1.
        mel_triangles: the axis on which the sides of a triangle are straight, "hz" or "mel".
        float16: round the mel value to float16 before compression, at most 65504, as musicnn stores it.
        compression: see above.
        gain: for "log10_1p" and "ln_1p" only.
        eps: for the other logarithms only.
        top_db: dB only: nothing lies further than this below the maximum of the clip; None sets no such floor.

    Raises:
        ConfigError: some value makes no sense.
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int
    n_frames: int
    win_length: int | None = None
    window: Window = "hann"
    window_sum: float | None = None
    centred: bool = True
    padding: Padding = "reflect"
    pad_length: int | None = None
    power: float = 2.0
    fmin_hz: float = 0.0
    fmax_hz: float | None = None
    mel_scale: MelScale = "slaney"
    mel_norm: MelNorm | None = "slaney"
    mel_triangles: MelTriangles = "hz"
    float16: bool = False
    compression: Compression = "none"
    gain: float | None = None
    eps: float | None = None
    top_db: float | None = None

    def __post_init__(self) -> None:
        for name in ("sample_rate", "hop_length", "n_mels", "n_frames"):
            check_count(name, getattr(self, name))
        check_count("n_fft", self.n_fft, least=3)  # a shorter window is all 0
        if self.win_length is not None:
            fits = is_count(self.win_length, least=3) and self.win_length <= self.n_fft
            check(fits, "win_length", self.win_length, f"a whole number from 3 to n_fft, {self.n_fft}, or None")
        if self.pad_length is not None:
            most = self.window_length // 2
            fits = is_count(self.pad_length, least=0) and self.pad_length <= most and self.centred is True
            check(fits, "pad_length", self.pad_length, f"a whole number from 0 to {most} with centred=True, or None")
        check_choice("window", self.window, get_args(Window))
        check_choice("padding", self.padding, get_args(Padding))
        check_choice("mel_scale", self.mel_scale, get_args(MelScale))
        check_choice("mel_norm", self.mel_norm, (*get_args(MelNorm), None))
        check_choice("mel_triangles", self.mel_triangles, get_args(MelTriangles))
        check_choice("compression", self.compression, get_args(Compression))
        check_flag("centred", self.centred)
        check_flag("float16", self.float16)
        check(is_number(self.power) and self.power in (1, 2), "power", self.power, "1 or 2")
        if self.window_sum is not None:
            fits = is_number(self.window_sum) and self.window_sum > 0
            check(fits, "window_sum", self.window_sum, "a number above 0, or None")
        half = self.sample_rate / 2
        fits = is_number(self.fmin_hz) and 0 <= self.fmin_hz < half
        check(fits, "fmin_hz", self.fmin_hz, f"a number from 0 to below half the sample rate, {half}")
        if self.fmax_hz is not None:
            fits = is_number(self.fmax_hz) and self.fmin_hz < self.fmax_hz <= half
            check(fits, "fmax_hz", self.fmax_hz, f"above fmin_hz, {self.fmin_hz}, to half the sample rate, {half}")
        self._check_compression()

    def _check_compression(self) -> None:
        uses_gain = self.compression.endswith("_1p")
        uses_eps = not uses_gain and self.compression != "none"
        is_db = self.compression in ("db", "db_squared")
        for name, used, least in (("gain", uses_gain, 0.0), ("eps", uses_eps, _LEAST_EPS), ("top_db", is_db, 0.0)):
            value = getattr(self, name)
            if not used:
                check(value is None, name, value, f"None with compression {self.compression!r}")
            elif not (name == "top_db" and value is None):
                check(is_number(value) and value > least, name, value, f"a number above {least:g}")

    @property
    def window_length(self) -> int:
        """Length of the window in samples."""
        return self.n_fft if self.win_length is None else self.win_length


@dataclass(frozen=True, kw_only=True)
class MFCCConfig:
    """How mel-frequency cepstral coefficients are made: the orthonormal DCT-II over the bands of a log-mel frame.

    Attributes:
        n_mfcc: number of coefficients, the lowest ones.
        mel: the spectrogram they are made from, usually in dB.

    Raises:
        ConfigError: some value makes no sense.
    """

    n_mfcc: int
    mel: LogMelConfig

    def __post_init__(self) -> None:
        check(isinstance(self.mel, LogMelConfig), "mel", self.mel, "a LogMelConfig")
        fits = is_count(self.n_mfcc) and self.n_mfcc <= self.mel.n_mels
        check(fits, "n_mfcc", self.n_mfcc, f"a whole number from 1 to n_mels, {self.mel.n_mels}")

    @property
    def sample_rate(self) -> int:
        """Rate of the waveform in Hz."""
        return self.mel.sample_rate

    @property
    def hop_length(self) -> int:
        """Step from frame to frame in samples."""
        return self.mel.hop_length

    @property
    def n_frames(self) -> int:
        """Length of the patch that a network looks at, in frames."""
        return self.mel.n_frames


@dataclass(frozen=True, kw_only=True)
class AGCMelConfig:
    """How a mel spectrogram with automatic gain control is made.

    Before the mel filters, each bin of a frame is divided by the level around it: that of a few wide mel bands, which
    follows a rise at once and a fall slowly. So do Nam, Herrera and Lee, "A deep bag-of-features model for music
    auto-tagging", 2015.

    Attributes:
        mel: the spectrogram, before the gain control and behind it.
        floor: share of the largest value of the clip's spectrum that is added to every bin.
        t_scale_s: time in seconds in which a level falls to 1 / e.
        f_scale: sets the wide bands: there are n = max(10, 20 / f_scale), f_scale n / 10 times as wide as usual.
        eps: added to the level that is divided by.

    Raises:
        ConfigError: some value makes no sense.
    """

    mel: LogMelConfig
    floor: float = 1e-4
    t_scale_s: float = 0.5
    f_scale: float = 2.0
    eps: float = 0.01

    def __post_init__(self) -> None:
        check(isinstance(self.mel, LogMelConfig), "mel", self.mel, "a LogMelConfig")
        check(is_number(self.floor) and self.floor >= 0, "floor", self.floor, "a number from 0 on")
        check(is_number(self.t_scale_s) and self.t_scale_s > 0, "t_scale_s", self.t_scale_s, "a number above 0")
        finest = min(2.0, 40 / self.mel.n_fft)  # a wide band for each bin
        fits = is_number(self.f_scale) and self.f_scale >= finest
        check(fits, "f_scale", self.f_scale, f"a number from {finest:g} on")
        check(is_number(self.eps) and self.eps > _LEAST_EPS, "eps", self.eps, f"a number above {_LEAST_EPS:g}")

    @property
    def sample_rate(self) -> int:
        """Rate of the waveform in Hz."""
        return self.mel.sample_rate

    @property
    def hop_length(self) -> int:
        """Step from frame to frame in samples."""
        return self.mel.hop_length

    @property
    def n_frames(self) -> int:
        """Length of the patch that a network looks at, in frames."""
        return self.mel.n_frames


@dataclass(frozen=True, kw_only=True)
class RawConfig:
    """The waveform as it is. Its frames are its samples.

    Attributes:
        sample_rate: of the waveform, in Hz.
        n_samples: length of the patch that a network looks at, in samples.

    Raises:
        ConfigError: some value makes no sense.
    """

    sample_rate: int
    n_samples: int

    def __post_init__(self) -> None:
        check_count("sample_rate", self.sample_rate)
        check_count("n_samples", self.n_samples)

    @property
    def hop_length(self) -> int:
        """Step from frame to frame: one sample."""
        return 1

    @property
    def n_frames(self) -> int:
        """Length of the patch that a network looks at, in frames, which are samples."""
        return self.n_samples


FrontendConfig: TypeAlias = LogMelConfig | MFCCConfig | AGCMelConfig | RawConfig

_KINDS: dict[str, type[FrontendConfig]] = {
    "log_mel": LogMelConfig,
    "mfcc": MFCCConfig,
    "agc_mel": AGCMelConfig,
    "raw": RawConfig,
}


def config_to_dict(config: FrontendConfig) -> dict[str, Any]:
    """Turn a config into a plain dict that JSON can hold.

    Args:
        config: any front-end's config.

    Returns:
        All fields by name, and "kind": "log_mel", "mfcc", "agc_mel" or "raw".
    """
    kind = next(name for name, cls in _KINDS.items() if isinstance(config, cls))
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    if isinstance(config, MFCCConfig | AGCMelConfig):
        values["mel"] = config_to_dict(config.mel)
    return {"kind": kind, **values}


def config_from_dict(values: Mapping[str, Any]) -> FrontendConfig:
    """Make the config that `config_to_dict` was given.

    Args:
        values: the fields by name, and "kind"; fields with a default may be missing.

    Returns:
        The config, checked.

    Raises:
        ConfigError: the kind or a field is unknown, a field is missing, or some value makes no sense.
    """
    kind: Any = values.get("kind")
    check_choice("kind", kind, _KINDS)
    cls = _KINDS[kind]
    known = {field.name: field for field in fields(cls)}
    given = {name: value for name, value in values.items() if name != "kind"}
    for name in given:
        if name not in known:
            raise ConfigError(f"a {kind} front-end has no field {name!r}.{did_you_mean(str(name), known)}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in given]
    if missing:
        raise ConfigError(f"a {kind} front-end needs {', '.join(missing)}, which did not come.")
    if isinstance(given.get("mel"), Mapping):
        given["mel"] = config_from_dict(given["mel"])
    return cls(**given)


def mel_filterbank(config: LogMelConfig, widening: float = 1.0) -> Tensor:
    """Make the triangular mel filters.

    Args:
        config: their number, edges, scale and norm.
        widening: how many times as wide each triangle is, about the same peak; the norm stays that of the plain ones.

    Returns:
        (n_fft // 2 + 1, n_mels) float32, at least 0. A band narrower than the distance of two bins may be all 0.
    """
    fmax_hz = config.sample_rate / 2 if config.fmax_hz is None else config.fmax_hz
    limits_hz = torch.tensor([config.fmin_hz, fmax_hz], dtype=torch.float64)
    low, high = _hz_to_mel(limits_hz, config.mel_scale).tolist()
    edges = torch.linspace(low, high, config.n_mels + 2, dtype=torch.float64)
    edges_hz = _mel_to_hz(edges, config.mel_scale)
    bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * (config.sample_rate / config.n_fft)
    if config.mel_triangles == "hz":
        edges = edges_hz
    else:
        bins = _hz_to_mel(bins, config.mel_scale)
    width = edges.diff()
    rising = (bins[:, None] - edges[:-2]) / width[:-1]
    falling = (edges[2:] - bins[:, None]) / width[1:]
    if widening != 1.0:
        rising, falling = 1.0 - (1.0 - rising) / widening, 1.0 - (1.0 - falling) / widening
    filters = torch.minimum(rising, falling).clamp_min(0.0)  # (bins, mels)
    if config.mel_norm == "slaney":
        filters = filters * (2.0 / (edges_hz[2:] - edges_hz[:-2]))
    elif config.mel_norm == "sum":
        sums = filters.sum(dim=0)
        filters = filters / torch.where(sums > 0, sums, 1.0)
    return filters.float()


@dataclass(frozen=True, kw_only=True)
class _Framing:
    """Which samples a frame is made of: frame i covers `length` samples from i * hop - before on."""

    hop: int
    length: int
    before: int  # samples added in front of the sound
    needed: int  # samples of the sound that one frame takes
    reflect: bool

    @classmethod
    def of(cls, config: LogMelConfig) -> _Framing:
        length, before = config.window_length, 0
        needed = length
        if config.pad_length is not None:
            before, needed = config.pad_length, length - 2 * config.pad_length
        elif config.centred:  # the window lies in the middle of n_fft samples, half of which stand before the centre
            before, needed = config.n_fft // 2 - (config.n_fft - length) // 2, config.n_fft % 2
        reflect = config.padding == "reflect"
        return cls(hop=config.hop_length, length=length, before=before, needed=needed, reflect=reflect)

    @property
    def after_max(self) -> int:
        """Most samples that are added behind a sound."""
        return self.length - self.before - self.needed

    @property
    def least(self) -> int:
        """Samples of the shortest sound that can be framed: a reflection never repeats the first or last one."""
        mirrored = max(self.before, self.after_max) if self.reflect else 0
        return max(1, self.needed, mirrored + 1)

    def n_frames(self, n_samples: int) -> int:
        return 0 if n_samples < self.least else 1 + (n_samples - self.needed) // self.hop

    def too_short(self, n_samples: int) -> str:
        return f"the sound is too short: {n_samples} samples came, at least {self.least} are needed."

    def after(self, n_samples: int) -> int:
        """Samples to add behind a sound so that its last frame is full."""
        return max(0, (self.n_frames(n_samples) - 1) * self.hop + self.length - self.before - n_samples)

    def pad(self, samples: Tensor, before: int, after: int) -> Tensor:
        """Add to both ends of (batch, samples)."""
        if self.reflect:
            head, tail = samples[:, 1 : before + 1].flip(1), samples[:, -after - 1 : -1].flip(1)
        else:
            batch = samples.shape[0]
            head, tail = samples.new_zeros(batch, before), samples.new_zeros(batch, after)
        return torch.cat((head, samples, tail), dim=1) if before or after else samples

    def cut(self, padded: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, length), a view."""
        return padded.unfold(-1, self.length, self.hop)

    def frames(self, samples: Tensor) -> list[Tensor]:
        """(batch, samples) to (batch, frames, length), in parts: where it saves a copy, the ends are padded apart."""
        n_samples = samples.shape[1]
        after = self.after(n_samples)
        n_head = -(-self.before // self.hop)  # frames that begin before the sound
        n_inner = (n_samples + self.before - self.length) // self.hop + 1 - n_head
        saves = self.before + after > 0 and n_inner * self.length >= _GROUP_VALUES
        if not saves or _goes_plain(samples):
            return [self.cut(self.pad(samples, self.before, after))]
        start, end = n_head * self.hop - self.before, (n_head + n_inner) * self.hop - self.before
        mirrored = max(start - self.hop + self.length, self.before + 1)  # samples that the head reads
        begin = min(end, n_samples - after - 1)  # likewise of the tail
        head = self.cut(self.pad(samples[:, :mirrored], self.before, 0))[:, :n_head]
        inner = self.cut(samples[:, start : end - self.hop + self.length])
        tail = self.pad(samples[:, begin:], 0, after)[:, end - begin :]
        return [head, inner, *([self.cut(tail)] if tail.shape[1] >= self.length else [])]


class Frontend(nn.Module):
    """The base of all front-ends, made by `create_frontend`.

    It has no parameters and nothing to save: its tables are made again from the config. To be read: what it was made
    with, and `sample_rate` in Hz, `hop_length` and `frame_length` in samples, `n_frames` of the patch that a network
    looks at.

    A network that was trained on samples of few bits has never met what lies below them, and some logarithms tell it
    apart: `sample_bits`, None at first, is the number of bits to which samples are rounded before anything else.

    Args:
        config: how the frames are made.
        framing: which samples a frame is made of.
        n_bands: values in a frame: mels, coefficients, or 1 for samples.
        needs_whole_sound: no frame is known before the sound has ended, as `top_db` asks for its maximum.
    """

    def __init__(self, config: FrontendConfig, framing: _Framing, n_bands: int, needs_whole_sound: bool) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.hop_length = config.hop_length
        self.n_frames = config.n_frames
        self.n_bands = n_bands
        self.frame_length = framing.length
        self.needs_whole_sound = needs_whole_sound
        self.sample_bits: int | None = None
        self._framing = framing

    def forward(self, waveform: Tensor) -> Tensor:
        """Turn sounds into frames. Gradients flow back to the waveform.

        Args:
            waveform: (batch, samples), mono, -1 to 1, float32 or float64, at `sample_rate` Hz.

        Returns:
            (batch, 1, mels, frames), or (batch, 1, samples) for the raw waveform, of the waveform's type. The values of
            a frame stand together in memory: it is the transposed view of a contiguous (batch, frames, mels).

        Raises:
            AudioError: the waveform has the wrong shape or type, or is too short for one frame.
        """
        return self._shaped(self._clip(self._values(waveform)))

    def n_frames_in(self, n_samples: int) -> int:
        """Count the frames of a sound.

        Args:
            n_samples: length of the sound in samples.

        Returns:
            Number of frames; 0 if the sound is too short for `forward`.
        """
        return self._framing.n_frames(n_samples)

    def n_samples_for(self, n_frames: int) -> int:
        """Count the samples that give some number of frames.

        Args:
            n_frames: at least 1.

        Returns:
            Length in samples of the shortest sound with at least as many frames.

        Raises:
            ConfigError: fewer than 1 frame was asked for.
        """
        check_count("n_frames", n_frames)
        return max(self._framing.least, (n_frames - 1) * self._framing.hop + self._framing.needed)

    def stream(self) -> FrontendStream:
        """Begin a sound that comes in blocks.

        Returns:
            A new stream, which gives the frames that `forward` gives for the whole sound.
        """
        return FrontendStream(self)

    def _values(self, waveform: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, values), after a check."""
        _check_samples(waveform, ("batch", "samples"))
        if len(waveform) == 0:
            raise AudioError("an empty batch came; at least one waveform is wanted.")
        n_samples = waveform.shape[1]
        if n_samples < self._framing.least:
            raise AudioError(self._framing.too_short(n_samples))
        return self._frame_values(*self._framing.frames(self.rounded(waveform)))

    def rounded(self, samples: Tensor) -> Tensor:
        """Round samples to `sample_bits`, as whole numbers of so many bits are; gradients pass as they are.

        Args:
            samples: any shape, -1 to 1.

        Returns:
            The same shape; the same tensor where nothing is rounded.
        """
        if self.sample_bits is None:
            return samples
        scale = 2.0 ** (self.sample_bits - 1)
        with torch.no_grad():
            rounded = (samples * scale).round_().clamp_(-scale, scale - 1) / scale
        return samples + (rounded - samples).detach() if samples.requires_grad else rounded

    def _frame_values(self, *parts: Tensor) -> Tensor:
        """(batch, frames, length) of each part to (batch, frames, values) of all, each frame for itself."""
        raise NotImplementedError

    def _clip(self, values: Tensor) -> Tensor:
        """What comes last, and may look at the whole sound."""
        return values

    def _shaped(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2).unsqueeze(1)  # (batch, 1, mels, frames)


class LogMel(Frontend):
    """Mel spectrogram, compressed.

    Where the `eps` of its logarithm is so small that the rounding of a float32 Fourier transform would be seen, as in
    the empty bands above an MP3's limit, the transform is computed in float64: `is_precise`.

    Args:
        config: how it is made.
    """

    def __init__(self, config: LogMelConfig) -> None:
        self.config: LogMelConfig
        self.window: Tensor
        self.filters: Tensor
        self.is_precise = _shows_rounding(config)
        super().__init__(config, _Framing.of(config), config.n_mels, needs_whole_sound=config.top_db is not None)
        self.register_buffer("window", _window(config), persistent=False)
        self.register_buffer("filters", mel_filterbank(config), persistent=False)
        self._sums_parts = config.power == 2 and not self.is_precise
        self._bands = BandedMatrix(self.filters, repeats=2 if self._sums_parts else 1)

    def _frame_values(self, *parts: Tensor) -> Tensor:
        first = parts[0]
        with torch.autocast(first.device.type, enabled=False):  # half precision would overflow
            if _goes_plain(first):
                return torch.cat([self._mel_of(self._spectrum(frames)) for frames in parts], dim=1)
            lengths = [frames.shape[1] for frames in parts]
            out = first.new_empty(len(first), sum(lengths), self.config.n_mels)
            for frames, place in zip(parts, torch.split(out, lengths, dim=1)):
                self._fill(place, frames)
            return out

    def _fill(self, out: Tensor, frames: Tensor) -> None:
        """Make the values of (batch, frames, length), without gradients, on the CPU."""
        n_rows = max(1, _GROUP_VALUES // frames.shape[2])
        n_clips = max(1, n_rows // frames.shape[1])
        if n_clips > 1 and not out.is_contiguous():
            own = torch.empty_like(out, memory_format=torch.contiguous_format)
            self._fill(own, frames)
            out.copy_(own)
            return
        for clips, places in zip(_evenly(frames, n_clips, 0), _evenly(out, n_clips, 0)):
            for some, place in zip(_evenly(clips, n_rows, 1), _evenly(places, n_rows, 1)):
                mel = place.flatten(0, 1)
                self._bands.product(self._addends(some).flatten(0, 1), mel)
                self._compress(self._round_to_half(mel))

    def _addends(self, frames: Tensor) -> Tensor:
        """(batch, frames, length) to (batch, frames, bins) or twice as many: what the filters weigh and add up."""
        if not self._sums_parts:
            return self._spectrum(frames)
        values: Tensor = torch.view_as_real(self._transform(frames)).flatten(-2)
        return values.square_()  # two of each bin, of one weight

    def _spectrum(self, frames: Tensor) -> Tensor:
        """(batch, frames, length) to (batch, frames, bins). In place only where autograd needs no older value."""
        dtype = frames.dtype
        if self.is_precise and frames.device.type != "mps":  # which has no float64
            frames = frames.double()
        spectrum = self._transform(frames)
        power: Tensor = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).to(dtype)
        if self.config.power == 1:
            power = power.clamp_min_(torch.finfo(power.dtype).tiny).sqrt_()  # the root of 0 has no gradient
        return power

    def _transform(self, frames: Tensor) -> Tensor:
        """(batch, frames, length) to (batch, frames, bins), complex."""
        spectrum: Tensor = torch.fft.rfft(frames * self.window.to(frames.dtype), n=self.config.n_fft)
        return spectrum

    def _mel_of(self, spectrum: Tensor) -> Tensor:
        """(batch, frames, bins) to (batch, frames, mels), compressed."""
        return self._compress(self._round_to_half(spectrum @ self.filters.to(spectrum.dtype)))

    def _round_to_half(self, mel: Tensor) -> Tensor:
        """Round to float16 if the config asks for it; in place where there is no gradient, which is not rounded."""
        if not self.config.float16:
            return mel
        mel = mel.clamp_max_(_FLOAT16_MAX)
        if mel.requires_grad:
            return mel + (mel.half().to(mel.dtype) - mel).detach()
        return mel.copy_(mel.half())

    def _compress(self, mel: Tensor) -> Tensor:
        """Compress in place."""
        eps, gain = self.config.eps or 0.0, self.config.gain or 0.0
        match self.config.compression:
            case "none":
                return mel
            case "log10_1p":
                return mel.mul_(gain).add_(1.0).log10_()
            case "ln_1p":
                return mel.mul_(gain).log1p_()
            case "log10_eps":
                return mel.add_(eps).log10_()
            case "ln_eps":
                return mel.add_(eps).log_()
            case "ln_floor":
                return mel.clamp_min_(eps).log_()
            case "db":
                return mel.clamp_min_(eps).log10_().mul_(10.0)
            case "db_squared":
                return mel.clamp_min_(math.sqrt(eps)).log10_().mul_(20.0)

    def _clip(self, values: Tensor) -> Tensor:
        if self.config.top_db is None:
            return values
        return torch.maximum(values, values.amax(dim=(1, 2), keepdim=True) - self.config.top_db)


class MFCC(Frontend):
    """Mel-frequency cepstral coefficients.

    Args:
        config: how they are made.
    """

    def __init__(self, config: MFCCConfig) -> None:
        self.config: MFCCConfig
        self.dct: Tensor
        mel = LogMel(config.mel)
        super().__init__(config, mel._framing, config.n_mfcc, mel.needs_whole_sound)
        self.mel = mel
        self.register_buffer("dct", _dct(config.mel.n_mels, config.n_mfcc), persistent=False)

    def _frame_values(self, *parts: Tensor) -> Tensor:
        return self.mel._frame_values(*parts)

    def _clip(self, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return self.mel._clip(values) @ self.dct.to(values.dtype)


class AGCMel(Frontend):
    """Mel spectrogram with automatic gain control, compressed.

    Args:
        config: how it is made.
    """

    def __init__(self, config: AGCMelConfig) -> None:
        self.config: AGCMelConfig
        self.bands: Tensor
        self.spread: Tensor
        mel = LogMel(config.mel)
        super().__init__(config, mel._framing, config.mel.n_mels, needs_whole_sound=True)
        self.mel = mel
        self.decay = math.exp(-config.hop_length / (config.sample_rate * config.t_scale_s))  # a frame
        n_bands, widening = band_layout(config.f_scale)
        wide = LogMelConfig(
            sample_rate=config.sample_rate,
            n_fft=config.mel.n_fft,
            hop_length=config.hop_length,
            n_mels=n_bands,
            n_frames=config.n_frames,
        )
        bands = mel_filterbank(wide, widening)
        self.register_buffer("bands", bands, persistent=False)
        self.register_buffer("spread", spread_matrix(bands), persistent=False)

    def _frame_values(self, *parts: Tensor) -> Tensor:
        with torch.autocast(parts[0].device.type, enabled=False):
            return torch.cat([_in_groups(self.mel._spectrum, frames) for frames in parts], dim=1)

    def _clip(self, values: Tensor) -> Tensor:
        return self.mel._clip(self._levelled(values, self.mel._mel_of))

    def _levelled(self, spectrum: Tensor, then: Callable[[Tensor], Tensor]) -> Tensor:
        """Give what `then` makes of (batch, frames, bins) under gain control."""
        with torch.autocast(spectrum.device.type, enabled=False):
            bands, spread = self.bands.to(spectrum.dtype), self.spread.to(spectrum.dtype)
            floor = self.config.floor * spectrum.amax(dim=(1, 2), keepdim=True)
            levels = decaying_peak(spectrum @ bands + floor * bands.sum(0), self.decay)  # (batch, frames, bands)

            def level_and_go_on(part: Tensor, levels: Tensor) -> Tensor:
                return then((part + floor) / (levels @ spread + self.config.eps))

            return _in_groups(level_and_go_on, spectrum, levels)


def onset_curve(waveform: Tensor, frontend: AGCMel) -> Tensor:
    """Measure how much begins in each frame, after gain control.

    Args:
        waveform: (batch, samples), mono, -1 to 1, at the front-end's rate.
        frontend: makes the frames.

    Returns:
        (batch, frames), at least 0: the rise of log10(1 + 100 mel) since the frame before, its mean over 40 mel bands.
        The first frame is 0.

    Raises:
        AudioError: the waveform has the wrong shape or type, or is too short for one frame.
    """
    filters = mel_filterbank(replace(frontend.config.mel, n_mels=_ONSET_MELS)).to(waveform)
    return mean_rise(frontend._levelled(frontend._values(waveform), lambda spectrum: spectrum @ filters))


class RawFrames(Frontend):
    """The samples as they are.

    Args:
        config: rate and length of a patch.
    """

    def __init__(self, config: RawConfig) -> None:
        self.config: RawConfig
        framing = _Framing(hop=1, length=1, before=0, needed=1, reflect=False)
        super().__init__(config, framing, n_bands=1, needs_whole_sound=False)

    def _frame_values(self, *parts: Tensor) -> Tensor:
        (frames,) = parts  # samples are framed without padding
        return frames

    def _shaped(self, values: Tensor) -> Tensor:
        return values.transpose(1, 2)  # (batch, 1, samples)


class FrontendStream:
    """The frames of one sound that comes in blocks, without gradients.

    They are those of `forward` for the whole sound, ends included, however it is cut. Only about a frame of samples is
    kept from block to block, except where `frontend.needs_whole_sound`: then all frames are held, and given at the end.

    Args:
        frontend: makes the frames.
    """

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._framing = frontend._framing
        self._kept: Tensor | None = None  # (1, samples) still needed, from sample `_position` of the sound on
        self._position = 0
        self._n_samples = 0
        self._n_made = 0
        self._held: list[Tensor] = []
        self._begun = self._finished = False

    @torch.no_grad()
    def feed(self, samples: Tensor) -> Tensor:
        """Take the next block.

        Args:
            samples: (samples,) of any number, 0 included, float32 or float64, the same type in all blocks.

        Returns:
            (mels, frames): the new frames that no later sample can change, maybe 0; (1, samples) for the raw waveform.

        Raises:
            AudioError: the block has the wrong shape or type, or the stream is finished.
        """
        _check_samples(samples, ("samples",))
        self._check_open()
        if self._kept is not None and self._kept.dtype != samples.dtype:
            raise AudioError(f"a block of {samples.dtype} came after blocks of {self._kept.dtype}.")
        block = self._frontend.rounded(samples)[None]
        kept = block if self._kept is None else torch.cat((self._kept, block), dim=1)
        self._n_samples += len(samples)
        if not self._begun and self._n_samples >= self._framing.least:
            kept = self._framing.pad(kept, self._framing.before, 0)
            self._position = -self._framing.before
            self._begun = True
        self._take(kept)
        return samples.new_empty(self._frontend.n_bands, 0) if self._frontend.needs_whole_sound else self._give(samples)

    @torch.no_grad()
    def finish(self) -> Tensor:
        """End the sound.

        Returns:
            (mels, frames): all frames that were not given yet, maybe 0; (1, samples) for the raw waveform.

        Raises:
            AudioError: the sound was too short for one frame, or the stream is finished already.
        """
        self._check_open()
        if self._kept is None or not self._begun:
            raise AudioError(self._framing.too_short(self._n_samples))
        rest = self._framing.pad(self._kept, 0, self._framing.after(self._n_samples))
        self._take(rest)
        self._kept, self._finished = None, True
        return self._give(rest)

    def _check_open(self) -> None:
        if self._finished:
            raise AudioError("this stream is finished; begin another one for the next sound.")

    def _take(self, samples: Tensor) -> None:
        """Make the frames that lie within (1, samples), and keep the samples that later frames need."""
        if not self._begun:
            self._kept = samples.clone()
            return
        framing, n_samples = self._framing, samples.shape[1]
        first = self._n_made * framing.hop - framing.before - self._position
        if first + framing.length <= n_samples:
            values = self._frontend._frame_values(framing.cut(samples[:, first:]))
            self._held.append(values)
            self._n_made += values.shape[1]
            first += values.shape[1] * framing.hop
        mirrored = framing.after_max + 1  # samples at the end that a reflection there would read
        dropped = max(0, min(first, n_samples - mirrored))
        self._kept = samples[:, dropped:].clone()
        self._position += dropped

    def _give(self, like: Tensor) -> Tensor:
        """Hand out the frames that are held, as (mels, frames)."""
        if not self._held:
            return like.new_empty(self._frontend.n_bands, 0)
        values = torch.cat(self._held, dim=1)
        self._held = []
        return self._frontend._clip(values)[0].T


def create_frontend(config: FrontendConfig) -> Frontend:
    """Make the front-end for a config.

    Args:
        config: how the frames are made.

    Returns:
        The front-end, on the CPU.
    """
    match config:
        case LogMelConfig():
            return LogMel(config)
        case MFCCConfig():
            return MFCC(config)
        case AGCMelConfig():
            return AGCMel(config)
        case RawConfig():
            return RawFrames(config)


def _in_groups(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Apply a function to tensors of (batch, frames, ...), on a CPU to some frames at a time."""
    first = values[0]
    if first.device.type != "cpu" or torch.compiler.is_compiling():
        return function(*values)
    n_frames = max(1, _GROUP_VALUES // first[:, 0].numel())
    groups = [function(*group) for group in zip(*(_evenly(value, n_frames, 1) for value in values))]
    return groups[0] if len(groups) == 1 else torch.cat(groups, dim=1)


def _evenly(values: Tensor, size: int, dim: int) -> tuple[Tensor, ...]:
    """Split into parts of about the same size, at most `size`."""
    return values.tensor_split(-(-values.shape[dim] // size), dim=dim)


def _goes_plain(values: Tensor) -> bool:
    """Tell whether frames are best made by few large operations, or have to be for their gradients."""
    return values.device.type != "cpu" or values.requires_grad or torch.compiler.is_compiling()


def _shows_rounding(config: LogMelConfig) -> bool:
    """Tell whether the logarithm goes down to what rounding leaves where there is no sound."""
    if config.eps is None:
        return False
    floor = math.sqrt(config.eps) if config.compression == "db_squared" else config.eps
    return floor < (_ROUNDING if config.power == 2 else math.sqrt(_ROUNDING))


def _window(config: LogMelConfig) -> Tensor:
    length, pi = config.window_length, math.pi
    period = length if config.window == "hann" else length - 1
    turn = torch.arange(length, dtype=torch.float64) * (2 * pi / period)
    match config.window:
        case "hann" | "hann_symmetric":
            window = 0.5 - 0.5 * turn.cos()
        case "blackmanharris62":
            window = 0.44959 - 0.49364 * turn.cos() + 0.05677 * (2 * turn).cos()
        case "rectangular":
            window = torch.ones_like(turn)
    if config.window_sum is not None:
        window = window * (config.window_sum / window.sum())
    return window.float()


def _dct(n_in: int, n_out: int) -> Tensor:
    """(n_in, n_out) orthonormal DCT-II: the columns are cosines of unit length."""
    angle = (torch.arange(n_in, dtype=torch.float64)[:, None] + 0.5) * torch.arange(n_out) * (math.pi / n_in)
    columns = angle.cos() * math.sqrt(2.0 / n_in)
    columns[:, 0] = math.sqrt(1.0 / n_in)
    return columns.float()


_SLANEY_HZ_PER_MEL = 200.0 / 3.0  # below 1000 Hz, which is mel 15
_SLANEY_LOG_STEP = math.log(6.4) / 27.0  # above


def _hz_to_mel(hz: Tensor, scale: MelScale) -> Tensor:
    if scale == "htk":
        return 1127.0 * (hz / 700.0).log1p()
    return torch.where(
        hz < 1000.0, hz / _SLANEY_HZ_PER_MEL, 15.0 + (hz.clamp_min(1000.0) / 1000.0).log() / _SLANEY_LOG_STEP
    )


def _mel_to_hz(mel: Tensor, scale: MelScale) -> Tensor:
    if scale == "htk":
        return 700.0 * (mel / 1127.0).expm1()
    return torch.where(mel < 15.0, mel * _SLANEY_HZ_PER_MEL, 1000.0 * ((mel - 15.0) * _SLANEY_LOG_STEP).exp())


def _check_samples(samples: Tensor, axes: tuple[str, ...]) -> None:
    if samples.ndim != len(axes):
        wanted = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        raise AudioError(f"a waveform of shape {tuple(samples.shape)} came; {wanted} is wanted.")
    if samples.dtype not in (torch.float32, torch.float64):
        raise AudioError(f"a waveform of {samples.dtype} came; torch.float32 or torch.float64 is wanted.")
