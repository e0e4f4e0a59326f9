"""From the sound of examples to the patches that are learned from: a file is decoded once for all that are parts of it.

Patches are chosen before the network sees any, and few are held at a time, so a long recording takes little more than
its decoding, and the memory of a short one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from taggram._patch_vectors import NoSamplesError, PatchCutter
from taggram._processes import Tell
from taggram.audio import Samples, SoundStream, Source
from taggram.errors import AudioError

Span: TypeAlias = tuple[float, float | None]
"""Where an example begins and ends in its file, in seconds; None is the end of the file."""

WHOLE: Span = (0.0, None)
MOST_HELD = 64  # patches of an example that are held to choose from; of more, every second is dropped
SOFT = 0.01  # patches whose loudest sample is so small a share of the example's loudest, -40 dB, are pauses


class Part:
    """Holds patches of one example while its file is decoded: those that are no pauses, from all over it.

    Args:
        span: where it begins and ends in the file.
        sample_rate: of the blocks that come, in Hz.
        cutter: cuts patches out of them.
        digest: a hash that its samples go into, or None.
    """

    def __init__(self, span: Span, sample_rate: int, cutter: PatchCutter, digest: Any = None) -> None:
        self._start_s, end_s = span
        self._start = round(self._start_s * sample_rate)
        self.end = None if end_s is None else round(end_s * sample_rate)
        self._cutter, self._digest = cutter, digest
        self._held: list[tuple[Samples, float]] = []  # patches and their loudest samples
        self._loudest = 0.0
        self._n_heard, self._step = 0, 1  # every so many are held

    def feed(self, block: Samples, place: int) -> None:
        """Take a block of the file in.

        Args:
            block: (samples,).
            place: of its first sample in the file.
        """
        samples = block[max(0, self._start - place) : None if self.end is None else self.end - place]
        if not len(samples):
            return
        if self._digest is not None:
            self._digest.update(np.ascontiguousarray(samples).data)
        for patch in self._cutter.feed(samples):
            self._take(patch)

    def _take(self, patch: Samples) -> None:
        peak = float(np.abs(patch).max())
        if peak > self._loudest:
            self._loudest = peak
            self._held = [(other, its_peak) for other, its_peak in self._held if its_peak > SOFT * peak]
            if not self._held:
                self._n_heard, self._step = 0, 1
        if peak <= SOFT * self._loudest:
            return
        if self._n_heard % self._step == 0:
            self._held.append((patch, peak))
        self._n_heard += 1
        if len(self._held) > MOST_HELD:
            self._held, self._step = self._held[::2], 2 * self._step

    def spread(self, most: int, name: str) -> Samples | AudioError:
        """End it, and choose patches that are evenly spread.

        Args:
            most: of them.
            name: of the file.

        Returns:
            (patches, samples), or why there is none.
        """
        try:
            for patch in self._cutter.rest():
                self._take(patch)
        except NoSamplesError:
            start_s = self._start_s
            where = (
                f"it ends before {start_s:g} s, where the example begins" if start_s else "there are no samples in it"
            )
            return AudioError(where, name)
        if not self._held:
            return AudioError("it is silent, so nothing can be learned from it", name)
        places = np.linspace(0, len(self._held) - 1, min(len(self._held), most)).round().astype(int)
        return np.stack([self._held[place][0] for place in places])


def patches_of(
    parts: dict[int, Part],
    source: Source,
    sample_rate: int,
    most: int,
    max_duration_s: float,
    tell: Tell,
) -> Iterator[tuple[int, Samples | AudioError, tuple[str, ...]]]:
    """Decode a sound once, and no further than is needed, for all its parts.

    Args:
        parts: by number; those that are done are taken out.
        source: the sound.
        sample_rate: in Hz, at which it is decoded.
        most: patches of a part.
        max_duration_s: longest sound that is taken, in seconds.
        tell: is told the seconds of the sound that are done.

    Yields:
        The number of a part, its patches or what is wrong with it, and what is odd about the sound.
    """
    try:
        with SoundStream(source, sample_rate=sample_rate, max_duration_s=max_duration_s) as sound:
            place = 0
            for block in sound:
                for part in parts.values():
                    part.feed(block, place)
                place += len(block)
                tell(sound.duration_s)
                for number in [number for number, part in parts.items() if part.end is not None and part.end <= place]:
                    yield number, parts.pop(number).spread(most, sound.name), sound.unusual
                    tell(sound.duration_s)
                if not parts:
                    return
            for number in list(parts):
                yield number, parts.pop(number).spread(most, sound.name), sound.unusual
                tell(sound.duration_s)
    except AudioError as error:
        for number in parts:
            yield number, error, ()
