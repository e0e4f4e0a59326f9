"""Made-up singing with annotation and score, for the studies whose recordings have to be asked for.

Phrases of 4 to 12 syllables, each a burst of shaped noise for the consonant, a tone with vibrato whose spectrum is that
of a vowel, and in some a nasal at the end, all faded into each other. The durations are those of a made-up score, sung
with a deviation of 35 %. It is written in the files that the recordings have, so that their readers are in use.
"""

from __future__ import annotations

import csv
import io
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taggram._files import written_aside
from taggram.datasets._textgrid import Interval
from taggram.learning.onset_decoding import SPREAD

Sound = NDArray[np.float64]

RATE = 44_100
ROLES: Mapping[str, tuple[float, float]] = {"dan": (300.0, 600.0), "laosheng": (180.0, 360.0)}  # pitch in Hz
CONSONANTS: Mapping[str, tuple[float, float, float]] = {  # band of the noise in Hz, and its level beside the tone
    "s": (4500.0, 9500.0, 0.5),
    "x": (2500.0, 6000.0, 0.5),
    "f": (1500.0, 8000.0, 0.3),
    "k": (900.0, 2800.0, 0.7),
    "m": (150.0, 700.0, 0.5),
    "l": (250.0, 1300.0, 0.5),
}
VOWELS: Mapping[str, tuple[float, ...]] = {  # middles of the formants in Hz
    "a": (800.0, 1300.0, 2600.0, 3800.0),
    "i": (300.0, 2300.0, 3000.0, 3900.0),
    "u": (330.0, 800.0, 2300.0, 3400.0),
    "y": (300.0, 1900.0, 2300.0, 3500.0),
    "E": (560.0, 1800.0, 2500.0, 3800.0),
    "O": (550.0, 950.0, 2500.0, 3400.0),
    "@": (500.0, 1450.0, 2400.0, 3600.0),
}
NASALS: Mapping[str, tuple[float, ...]] = {"N": (260.0, 1000.0), "M": (300.0, 2700.0)}
N_PARTIALS = 12
N_SYLLABLES = (4, 12)
BEATS = (0.5, 1.0, 1.0, 1.0, 2.0)  # of a syllable in the score
BPM = (120, 170)
LEAST_S = 0.15  # of a syllable as sung
CONSONANT_S = (0.030, 0.060)
FADE_S = 0.020
VIBRATO_HZ, VIBRATO_SEMITONES = 6.0, 0.4
NASAL_SHARE = 0.3  # of a syllable that ends in one
WITH_NASAL = 0.4  # of the syllables
REST_S = (0.4, 0.9)  # around phrases
LEVEL = 0.12  # of a tone
NOISE_LEVEL = 1e-4  # of the room
PHRASES = 5  # in a recording
LEAST_RECORDINGS = 4  # one of each role for training and for the test


@dataclass(frozen=True)
class MadePhrase:
    """A phrase.

    Attributes:
        bpm: tempo of its score.
        beats: of its syllables, by the score.
        syllables: as they are sung, in seconds of the recording.
        phonemes: likewise.
    """

    bpm: int
    beats: tuple[float, ...]
    syllables: tuple[Interval, ...]
    phonemes: tuple[Interval, ...]


@dataclass(frozen=True)
class MadeRecording:
    """A recording.

    Attributes:
        name: of its files.
        role: "dan" or "laosheng".
        samples: (samples,) from -1 to 1, at 44.1 kHz.
        phrases: in order.
    """

    name: str
    role: str
    samples: Sound
    phrases: tuple[MadePhrase, ...]

    @property
    def tiers(self) -> dict[str, list[Interval]]:
        """The annotation: phrases, syllables under both their names, and phonemes."""
        syllables = [one for phrase in self.phrases for one in phrase.syllables]
        lines = [
            Interval(one.syllables[0].start_s, one.syllables[-1].end_s, "".join(part.text for part in one.syllables))
            for one in self.phrases
        ]
        phonemes = [one for phrase in self.phrases for one in phrase.phonemes]
        return {"line": lines, "dianSilence": syllables, "dian": syllables, "details": phonemes}

    @property
    def score(self) -> list[list[str]]:
        """The rows of the score, two a phrase."""
        rows: list[list[str]] = []
        for phrase in self.phrases:
            rows.append(["", *[one.text for one in phrase.syllables]])
            rows.append([str(phrase.bpm), *[f"{beats:g}" for beats in phrase.beats]])
        width = max(map(len, rows))
        return [[*row, *[""] * (width - len(row))] for row in rows]


def n_recordings(n_phrases: int) -> int:
    """Say how many recordings some phrases fill: as many of one role as of the other."""
    return max(LEAST_RECORDINGS, 2 * round(n_phrases / PHRASES / 2))


def n_tests(n_phrases: int) -> int:
    """Say how many of the recordings are for the test: a fifth, as many of one role as of the other."""
    return max(2, 2 * round(n_recordings(n_phrases) / 10))


def make_recordings(n_phrases: int, seed: int) -> Iterator[MadeRecording]:
    """Make recordings up, of one role and the other in turn.

    Args:
        n_phrases: in all of them, 4 or more.
        seed: another one gives others.

    Yields:
        The recordings.
    """
    n_all = n_recordings(n_phrases)
    for number in range(n_all):
        rng = np.random.default_rng((seed, number))
        of_this = n_phrases // n_all + (number < n_phrases % n_all)
        role = list(ROLES)[number % 2]
        yield _recording(f"made_{role}_{number + 1:02}", role, of_this, rng)


def write_wav(path: Path, samples: Sound) -> None:
    """Write sound with 16 bits; its folder is made.

    Args:
        path: the file.
        samples: (samples,) from -1 to 1, at 44.1 kHz.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.rint(32_767 * samples).astype("<i2").tobytes())
    _write(path, buffer.getvalue())


def write_textgrid(path: Path, tiers: Mapping[str, Sequence[Interval]], length_s: float) -> None:
    """Write tiers as Praat does, in UTF-16; its folder is made.

    Args:
        path: the file.
        tiers: the intervals of each by its name, in order of time; what lies between them has no text.
        length_s: of the sound, in seconds.
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {length_s!r}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        whole = list(_without_gaps(intervals, length_s))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {length_s!r}", f"        intervals: size = {len(whole)}"]
        for place, one in enumerate(whole, 1):
            text = one.text.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {one.start_s!r}"]
            lines += [f"            xmax = {one.end_s!r}", f'            text = "{text}"']
    _write(path, ("\n".join(lines) + "\n").encode("utf-16"))


def write_score(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write the rows of a score as csv; its folder is made.

    Args:
        path: the file.
        rows: of the score.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path, text.getvalue().encode("utf-8"))


# -- inside ------------------------------------------------------------------------------------------------------------


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        aside.write_bytes(data)


def _without_gaps(intervals: Sequence[Interval], length_s: float) -> Iterator[Interval]:
    """Give the intervals, and those without a text that lie between them."""
    end_s = 0.0
    for one in intervals:
        if one.start_s > end_s:
            yield Interval(end_s, one.start_s, "")
        yield one
        end_s = one.end_s
    if length_s > end_s:
        yield Interval(end_s, length_s, "")


def _recording(name: str, role: str, n_phrases: int, rng: np.random.Generator) -> MadeRecording:
    """Make a recording: phrases with rests around them."""
    parts, phrases, start = [], [], 0
    for _ in range(n_phrases):
        rest = round(rng.uniform(*REST_S) * RATE)
        sound, phrase = _phrase(role, start + rest, rng)
        parts += [np.zeros(rest), sound]
        phrases.append(phrase)
        start += rest + len(sound)
    parts.append(np.zeros(round(rng.uniform(*REST_S) * RATE)))
    samples = np.concatenate(parts)
    samples += NOISE_LEVEL * rng.standard_normal(len(samples))
    return MadeRecording(name, role, np.clip(samples, -1.0, 1.0), tuple(phrases))


def _phrase(role: str, start: int, rng: np.random.Generator) -> tuple[Sound, MadePhrase]:
    """Make a phrase whose first sample is the given one of its recording."""
    n_syllables = int(rng.integers(N_SYLLABLES[0], N_SYLLABLES[1] + 1))
    bpm = int(rng.integers(BPM[0], BPM[1] + 1))
    beats = rng.choice(BEATS, n_syllables)
    sung_s = np.maximum(LEAST_S, 60 / bpm * beats * (1 + SPREAD * rng.standard_normal(n_syllables)))
    ends = np.cumsum(np.rint(sung_s * RATE).astype(int))
    fade = round(FADE_S / 2 * RATE)
    sound = np.zeros(int(ends[-1]) + 2 * fade)  # a half fade beyond both ends
    syllables, phonemes = [], []
    for first, end in zip([0, *ends[:-1].tolist()], ends.tolist()):
        pieces = _pieces(first, end, rng)
        tone = _tone(role, end - first + 2 * fade, rng)
        for piece_start, piece_end, symbol in pieces:
            piece = slice(piece_start, piece_end + 2 * fade)
            if symbol in CONSONANTS:
                voice = _noise(piece_end - piece_start + 2 * fade, symbol, rng)
            else:
                voice = _sung(symbol, tone, slice(piece_start - first, piece_end - first + 2 * fade), rng)
            sound[piece] += voice * _fades(len(voice), 2 * fade)
            phonemes.append(Interval((start + piece_start) / RATE, (start + piece_end) / RATE, symbol))
        text = "".join(symbol for *_, symbol in pieces)
        syllables.append(Interval((start + first) / RATE, (start + end) / RATE, text))
    phrase = MadePhrase(bpm, tuple(beats.tolist()), tuple(syllables), tuple(phonemes))
    return sound[fade:-fade], phrase


def _pieces(first: int, end: int, rng: np.random.Generator) -> list[tuple[int, int, str]]:
    """Say which phonemes a syllable has, and where."""
    consonant, vowel, nasal = (str(rng.choice(list(symbols))) for symbols in (CONSONANTS, VOWELS, NASALS))
    after = first + round(rng.uniform(*CONSONANT_S) * RATE)
    if rng.random() >= WITH_NASAL:
        return [(first, after, consonant), (after, end, vowel)]
    before = end - round(NASAL_SHARE * (end - after))
    return [(first, after, consonant), (after, before, vowel), (before, end, nasal)]


@dataclass(frozen=True)
class _Tone:
    """The tone of a syllable.

    Attributes:
        partials: (partials, samples) of equal strength.
        hz: (partials,) their pitches without vibrato.
        level: of the syllable.
        colour: (partials,) how much stronger or weaker the singer makes each.
        shift: times the formants, of this singer in this syllable.
    """

    partials: Sound
    hz: Sound
    level: float
    colour: Sound
    shift: float


def _tone(role: str, n_samples: int, rng: np.random.Generator) -> _Tone:
    """Draw the tone of a syllable."""
    low_hz, high_hz = ROLES[role]
    hz = low_hz * (high_hz / low_hz) ** rng.random()
    t = np.arange(n_samples) / RATE
    bend = VIBRATO_SEMITONES / 12 * np.log(2) * np.sin(2 * np.pi * (VIBRATO_HZ * t + rng.random()))
    turns = 2 * np.pi * np.cumsum(hz * np.exp(bend)) / RATE
    numbers = np.arange(1, N_PARTIALS + 1)
    partials = np.sin(np.outer(numbers, turns) + 2 * np.pi * rng.random((N_PARTIALS, 1)))
    level = LEVEL * 10 ** (rng.uniform(-4, 4) / 20)
    return _Tone(partials, hz * numbers, level, 10 ** (rng.normal(0, 3, N_PARTIALS) / 20), float(rng.normal(1, 0.05)))


def _sung(symbol: str, tone: _Tone, piece: slice, rng: np.random.Generator) -> Sound:
    """Sing a vowel or a nasal: the partials, each as strong as the formants make it."""
    formants = np.array(VOWELS[symbol] if symbol in VOWELS else NASALS[symbol]) * tone.shift
    widths = 60 + 0.08 * formants
    falls = 0.5 ** np.arange(len(formants))
    gains = (falls / (1 + ((tone.hz[:, None] - formants) / widths) ** 2)).sum(1) + 0.01
    gains *= tone.colour
    gains /= np.sqrt((gains**2).sum() / 2)
    level = tone.level * (0.6 if symbol in NASALS else 1.0) * 10 ** (rng.uniform(-1, 1) / 20)
    sung: Sound = level * (gains @ tone.partials[:, piece])
    return sung


def _noise(n_samples: int, symbol: str, rng: np.random.Generator) -> Sound:
    """Make the noise of a consonant."""
    low_hz, high_hz, level = CONSONANTS[symbol]
    hz = np.fft.rfftfreq(n_samples, 1 / RATE)
    shape = 1 / (1 + np.maximum(0, np.maximum(low_hz - hz, hz - high_hz)) / (0.1 * high_hz)) ** 4
    noise = np.fft.irfft(shape * np.fft.rfft(rng.standard_normal(n_samples)), n_samples)
    loud = level * 10 ** (rng.uniform(-4, 4) / 20) * LEVEL
    made: Sound = loud * noise / max(1e-9, float(np.sqrt((noise**2).mean())))
    return made


def _fades(n_samples: int, fade: int) -> Sound:
    """Give a window that rises and falls over `fade` samples; two that follow each other by as many sum to 1."""
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    window = np.ones(n_samples)
    window[:fade] = rise
    window[-fade:] *= rise[::-1]
    return window
