"""Made-up music: short pieces by made-up artists, with tags that are true of their sound. Any size, from a seed.

For trying things out, for tests, and to see what a network can learn when nothing is wrong with the labels; no figure
on it says anything about real music. The words and their manner, down to "no vocals", are those of MagnaTagATune. Some
tags are easy (drums, loud), some take an ear for timbre (clarinet), some for what hides behind others (bass), some for
harmony and metre (sad, waltz), and a few are rare.

A plan follows from the seed alone, in every version of Python. Its sound is the same, too, with the same version of
numpy on the same kind of machine; elsewhere single samples may differ by a step of 16 bits, or noise by more.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from taggram._checks import check, check_count, check_flag, is_number
from taggram._files import written_aside
from taggram.datasets._base import PARTS, DatasetCard, Part, Split, TagDataset, Track
from taggram.errors import DatasetError, printable

VERSION = 1  # of plans and sound; raised whenever the same seed gives something else
N_TRACKS = 2_000
LENGTH_S = 10.0
LENGTHS_S = (1.0, 600.0)  # shortest and longest
SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
TRACKS_PER_ARTIST = 12
LEAST_ARTISTS = 40  # so that a small set has all styles in all parts
CARD, CLIPS = "card.json", "clips.csv"
FOLDER_TRACKS = 1_000  # tracks a folder
TRACKS_PER_PROCESS = 16  # at least; a process takes a while to start

T = TypeVar("T")
_Seat = tuple[str, str, float]
"""Instrument, role, and level in dB beside the others; an empty instrument is nobody."""

HEARD = {  # tag: how often it is given where it is true, with `incomplete=True`; our guess at listeners in a hurry
    "ambient": 0.5, "bass": 0.2, "beat": 0.5, "bells": 0.6, "cello": 0.6, "choir": 0.8, "clarinet": 0.4,
    "classical": 0.8, "drums": 0.7, "echo": 0.2, "electric guitar": 0.3, "electronic": 0.6, "fast": 0.5,
    "female vocal": 0.5, "flute": 0.7, "folk": 0.3, "guitar": 0.8, "hand drums": 0.3, "happy": 0.15, "harp": 0.7,
    "harpsichord": 0.8, "high": 0.15, "indian": 0.8, "jazz": 0.6, "loud": 0.4, "low": 0.15, "male vocal": 0.5,
    "metal": 0.7, "no drums": 0.08, "no vocals": 0.3, "no voice": 0.15, "organ": 0.6, "piano": 0.8, "quiet": 0.5,
    "rock": 0.8, "sad": 0.15, "singing": 0.4, "sitar": 0.8, "slow": 0.6, "solo": 0.3, "strings": 0.6, "synth": 0.5,
    "techno": 0.7, "trumpet": 0.6, "violin": 0.7, "vocals": 0.5, "waltz": 0.2,
}  # fmt: skip
TAGS = tuple(HEARD)

PITCH = {  # about which an instrument plays, a MIDI number
    "guitar": 57, "electric guitar": 55, "harp": 64, "harpsichord": 62, "sitar": 57, "violin": 72, "cello": 50,
    "strings": 60, "flute": 76, "clarinet": 64, "trumpet": 67, "piano": 62, "bells": 76, "organ": 62, "synth": 64,
    "bass": 36, "synth bass": 36, "male": 53, "female": 67, "choir": 60,
}  # fmt: skip
BROKEN = {"guitar", "harp", "organ", "piano"}  # may play broken chords in place of a melody
BOWED = {"violin", "cello", "strings"}
VOICES = {"male", "female", "choir"}
ANYBODY = tuple(sorted({*PITCH} - VOICES - {"bass", "synth bass", "electric guitar"}))


@dataclass(frozen=True, kw_only=True)
class Player:
    """One instrument in a piece.

    Attributes:
        instrument: a name out of `PITCH`.
        role: what it plays, such as "melody" or "pad".
        pitch: about which it plays, a MIDI number.
        level_db: how loud it is beside the others, as RMS.
    """

    instrument: str
    role: str
    pitch: int
    level_db: float


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What all pieces of an artist have in common.

    Attributes:
        kit: pitch of the drums beside the usual, as a factor.
        colour: how bright each instrument is, 0 to 1.
        tuning_cents: how far all pitches are off, in hundredths of a semitone.
        tilt_db: how much louder each octave is than the one below, in the mix.
        hiss_db: level of the noise of the tape beside the music.
        room: seed of the room.
        room_s: how long the room rings, to -60 dB.
        wet: level of the room beside the sound itself, as a factor.
    """

    kit: float
    colour: float
    tuning_cents: float
    tilt_db: float
    hiss_db: float
    room: int
    room_s: float
    wet: float


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The plan of a piece: all that its sound follows from.

    Attributes:
        seed: of its notes and noises.
        length_s: in seconds.
        bpm: beats a minute.
        metre: beats a bar, 3 or 4.
        key: 0 is C, 11 is B.
        mode: "major", "minor" or "raga".
        swing: how much later every other half beat comes, as a share of a half beat.
        players: the instruments; the first one leads.
        drums: the groove, such as "rock", or "" for none.
        drums_db: how loud the drums are, as `Player.level_db`.
        level_db: RMS of the whole, 0 being that of a square wave at full scale.
        studio: where it is played.
    """

    seed: int
    length_s: float
    bpm: float
    metre: int
    key: int
    mode: str
    swing: float
    players: tuple[Player, ...]
    drums: str
    drums_db: float
    level_db: float
    studio: Studio


@dataclass(frozen=True, kw_only=True)
class _Style:
    """A manner of making music; a weight says how often something is taken.

    Attributes:
        share: of the artists.
        bpm: slowest and fastest, in beats a minute.
        leads: instruments of the melody, with weights.
        backing: instrument and role of what is behind it, with weights; an empty instrument is none.
        bass: instrument, and how often it is there.
        drums: grooves, with weights; "" is none.
        voice: how often somebody sings, instead of the lead.
        choir: how often it is a choir that does.
        solo: how often the lead is alone.
        minor: how often it is in minor.
        waltz: how often it is in three.
        loudness: weights of quiet, middling and loud.
        tags: that hold for all of it.
        raga: whether it is in neither minor nor major.
        swing: as in `Piece`.
        room: how much longer rooms ring than usual, as a factor.
    """

    share: float
    bpm: tuple[float, float]
    leads: Mapping[str, float]
    backing: Mapping[tuple[str, str], float]
    bass: tuple[str, float]
    drums: Mapping[str, float]
    voice: float
    choir: float = 0.0
    solo: float = 0.0
    minor: float = 0.45
    waltz: float = 0.0
    loudness: tuple[float, float, float]
    tags: tuple[str, ...]
    raga: bool = False
    swing: float = 0.0
    room: float = 1.0


NOBODY = ("", "")
STYLES = {
    "classical": _Style(
        share=0.24, bpm=(54, 152), solo=0.4, voice=0.1, choir=0.5, waltz=0.18, loudness=(0.35, 0.57, 0.08), room=1.4,
        leads={"piano": 3, "violin": 3, "cello": 2, "flute": 2, "clarinet": 1.2, "harpsichord": 1.5, "trumpet": 0.6,
               "harp": 1, "organ": 1, "strings": 1.5},
        backing={("piano", "arpeggio"): 2, ("strings", "pad"): 2.5, ("harpsichord", "arpeggio"): 1, NOBODY: 1.5,
                 ("harp", "arpeggio"): 0.7, ("organ", "pad"): 0.7, ("cello", "roots"): 1},
        bass=("bass", 0.05), drums={"": 0.98, "hand": 0.02}, tags=("classical",),
    ),
    "rock": _Style(
        share=0.17, bpm=(88, 166), voice=0.55, loudness=(0.02, 0.5, 0.48),
        leads={"electric guitar": 3, "synth": 0.6, "organ": 0.6, "piano": 0.5},
        backing={("electric guitar", "riff"): 3, ("guitar", "chords"): 1.2, ("organ", "chords"): 0.5,
                 ("piano", "chords"): 0.6},
        bass=("bass", 0.85), drums={"rock": 0.9, "": 0.1}, tags=("rock",),
    ),
    "techno": _Style(
        share=0.15, bpm=(112, 152), voice=0.15, minor=0.7, loudness=(0.02, 0.5, 0.48),
        leads={"synth": 3, "bells": 0.7, "piano": 0.3},
        backing={("synth", "arpeggio"): 2, ("synth", "chords"): 1.5, NOBODY: 0.7},
        bass=("synth bass", 0.8), drums={"techno": 0.9, "": 0.1}, tags=("techno", "electronic"),
    ),
    "ambient": _Style(
        share=0.11, bpm=(48, 84), voice=0.08, choir=0.6, solo=0.05, loudness=(0.5, 0.48, 0.02), room=2.4,
        leads={"bells": 1.5, "flute": 1.2, "piano": 1.5, "synth": 1, "clarinet": 0.3},
        backing={("synth", "pad"): 3, ("strings", "pad"): 1.2, ("bells", "arpeggio"): 0.6},
        bass=("synth bass", 0.1), drums={"": 0.95, "techno": 0.05}, tags=("ambient",),
    ),
    "folk": _Style(
        share=0.13, bpm=(68, 152), voice=0.45, solo=0.25, waltz=0.2, loudness=(0.2, 0.72, 0.08),
        leads={"guitar": 2, "violin": 1.3, "flute": 1.2, "harp": 0.5, "clarinet": 0.3},
        backing={("guitar", "arpeggio"): 2, ("guitar", "chords"): 2, ("harp", "arpeggio"): 0.3, NOBODY: 0.3},
        bass=("bass", 0.2), drums={"": 0.75, "hand": 0.15, "rock": 0.1}, tags=("folk",),
    ),
    "indian": _Style(
        share=0.06, bpm=(58, 132), voice=0.15, solo=0.12, raga=True, loudness=(0.15, 0.75, 0.1),
        leads={"sitar": 3, "flute": 1, "violin": 0.5},
        backing={("sitar", "drone"): 2, NOBODY: 0.6},
        bass=("bass", 0.0), drums={"hand": 0.7, "": 0.3}, tags=("indian",),
    ),
    "metal": _Style(
        share=0.04, bpm=(126, 190), voice=0.35, minor=0.9, loudness=(0.0, 0.15, 0.85),
        leads={"electric guitar": 1},
        backing={("electric guitar", "riff"): 1},
        bass=("bass", 0.8), drums={"metal": 0.95, "": 0.05}, tags=("metal", "rock"),
    ),
    "jazz": _Style(
        share=0.1, bpm=(76, 190), voice=0.2, solo=0.1, waltz=0.08, swing=0.33, loudness=(0.15, 0.72, 0.13),
        leads={"trumpet": 2, "clarinet": 1.6, "piano": 2, "guitar": 0.7, "flute": 0.4, "violin": 0.3},
        backing={("piano", "chords"): 3, ("guitar", "chords"): 1, ("organ", "chords"): 0.4, NOBODY: 0.3},
        bass=("bass", 0.85), drums={"brushes": 0.75, "": 0.25}, tags=("jazz",),
    ),
}  # fmt: skip
LEVELS_DB = {"quiet": (-37.0, -29.5), "middling": (-27.0, -15.5), "loud": (-13.0, -9.5)}  # RMS, with gaps between
SLOW_BPM, FAST_BPM = 74, 138
ECHO_S, ECHO_WET = 2.0, 0.35  # from here on a room is heard
OWN_STYLE = 0.8  # how often artists keep to their style
ANSWERS = 0.3  # how often an instrument plays along with a singer
GUESTS = 0.4  # how often one joins in that the style knows not
SPREAD_DB = 5.0  # players are so much louder or softer than usual at most


@dataclass(frozen=True)
class _Settings:
    """What a set follows from.

    Attributes:
        n_tracks: how many.
        length_s: of each.
        seed: of all.
        version: as `VERSION`.
    """

    n_tracks: int = N_TRACKS
    length_s: float = LENGTH_S
    seed: int = 0
    version: int = VERSION


class _Chance:
    """Chance that is the same in all versions of Python.

    Args:
        *key: what it follows from.
    """

    def __init__(self, *key: object) -> None:
        self._next = random.Random(" ".join(map(str, key))).random  # noqa: S311 (no secret)

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return low + (high - low) * self._next()

    def happens(self, share: float) -> bool:
        """Draw whether something happens that does so in some share of cases."""
        return self._next() < share

    def pick(self, weights: Mapping[T, float]) -> T:
        """Draw one of several by weight."""
        place = self._next() * sum(weights.values())
        for choice, weight in weights.items():
            place -= weight
            if place < 0:
                return choice
        return choice

    def seed(self) -> int:
        """Draw a seed."""
        return int(self._next() * 2**32)


@dataclass(frozen=True, kw_only=True)
class _Artist:
    """Somebody with a sound of their own.

    Attributes:
        artist_id: a name.
        style: their own.
        part: where all of their tracks are, in the split "artist".
        taste: how much they like each instrument, as a factor.
        tempo: where in the range of a style they play, 0 to 1.
        singer: "male" or "female".
        studio: where they play.
    """

    artist_id: str
    style: str
    part: Part
    taste: Mapping[str, float]
    tempo: float
    singer: str
    studio: Studio


@dataclass(frozen=True)
class _Planned:
    """A track before there is sound.

    Attributes:
        path: of its file, from the root.
        artist: who plays it.
        style: how.
        piece: what.
    """

    path: str
    artist: _Artist
    style: str
    piece: Piece

    @property
    def tags(self) -> tuple[str, ...]:
        """All that are true."""
        true = tags_of(self.piece, self.style)
        return tuple(tag for tag in TAGS if tag in true)


# From a seed to plans.


def _plan(settings: _Settings) -> Iterator[_Planned]:
    """Plan all tracks of a set, in order."""
    artists = _artists(settings)
    shares = {name: style.share for name, style in STYLES.items()}
    for index in range(settings.n_tracks):
        chance = _Chance("track", settings.seed, index)
        turn, place = divmod(index, len(artists))
        if place == 0:  # all artists in turn, each time in another order
            order = sorted(artists, key=lambda artist: _Chance("turn", settings.seed, turn, artist.artist_id).seed())
        artist = order[place]
        style = artist.style if chance.happens(OWN_STYLE) else chance.pick(shares)
        yield _Planned(_path_of(index), artist, style, _piece(artist, STYLES[style], settings.length_s, chance))


def _artists(settings: _Settings) -> list[_Artist]:
    """Make up the artists; each style has its share of them, and each part its share of a style."""
    n_artists = max(settings.n_tracks // TRACKS_PER_ARTIST, LEAST_ARTISTS)
    styles = [name for name, style in STYLES.items() for _ in range(max(round(style.share * n_artists), 1))]
    n_of: Counter[Part] = Counter()
    artists = []
    for index, style in enumerate(styles):
        chance = _Chance("artist", settings.seed, index)
        # Dealt out in turn, and not drawn, so that even a small set has every part.
        part = max(PARTS, key=lambda part: SHARES[part] * (index + 1) - n_of[part])
        n_of[part] += 1
        artists.append(
            _Artist(
                artist_id=f"artist {index:04d}",
                style=style,
                part=part,
                taste={instrument: 8 ** chance.between(-1, 1) for instrument in PITCH},
                tempo=chance.between(0, 1),
                singer=chance.pick({"male": 1, "female": 1}),
                studio=Studio(
                    kit=chance.between(0.8, 1.25),
                    colour=chance.between(0, 1),
                    tuning_cents=chance.between(-35, 35),
                    tilt_db=chance.between(-4, 3),
                    hiss_db=chance.between(-70, -25),
                    room=chance.seed(),
                    room_s=chance.between(0.3, 1.6),
                    wet=chance.between(0.1, 0.6),
                ),
            )
        )
    return artists


def _piece(artist: _Artist, style: _Style, length_s: float, chance: _Chance) -> Piece:
    """Make up what an artist plays."""
    alone = chance.happens(style.solo)
    drums = "" if alone else chance.pick(style.drums)
    voice = "" if alone or not chance.happens(style.voice) else artist.singer
    if voice and chance.happens(style.choir):
        voice = "choir"
    metre = 3 if chance.happens(style.waltz) else 4
    lead = voice or chance.pick({name: weight * artist.taste[name] for name, weight in style.leads.items()})
    seats = [(lead, chance.pick({"melody": 2, "arpeggio": 1}) if lead in BROKEN else "melody", 2.0)]
    if not alone:
        seats += _accompaniment(artist, style, lead, chance)
    octave = 0 if drums or voice else chance.pick({-12: 1, 0: 5, 12: 1})
    slowest, fastest = style.bpm
    tempo = min(max(artist.tempo + chance.between(-0.3, 0.3), 0.0), 1.0)
    loudness = chance.pick(dict(zip(LEVELS_DB, style.loudness)))
    return Piece(
        seed=chance.seed(),
        length_s=length_s,
        bpm=round(slowest + (fastest - slowest) * tempo, 1),
        metre=metre,
        key=int(chance.between(0, 12)),
        mode="raga" if style.raga else "minor" if chance.happens(style.minor) else "major",
        swing=style.swing,
        players=tuple(_players(seats, octave, chance)),
        drums="waltz" if drums and metre == 3 else drums,
        drums_db=chance.between(-7, 3),
        level_db=chance.between(*LEVELS_DB[loudness]),
        studio=dataclasses.replace(artist.studio, room_s=artist.studio.room_s * style.room),
    )


def _accompaniment(artist: _Artist, style: _Style, lead: str, chance: _Chance) -> Iterator[_Seat]:
    """Make up who plays along."""
    backing = {seat: weight for seat, weight in style.backing.items() if seat[0] != lead} or {NOBODY: 1.0}
    yield *chance.pick({seat: weight * artist.taste.get(seat[0], 1.0) for seat, weight in backing.items()}), -5.0
    if lead in VOICES and chance.happens(ANSWERS):
        yield chance.pick(style.leads), "melody", -6.0
    if chance.happens(GUESTS):
        yield chance.pick(dict.fromkeys(ANYBODY, 1.0)), chance.pick({"melody": 1, "arpeggio": 1, "pad": 1}), -7.0
    if chance.happens(style.bass[1]):
        yield style.bass[0], "roots", -6.0


def _players(seats: Iterable[_Seat], octave: int, chance: _Chance) -> Iterator[Player]:
    """Seat the players; an instrument plays once."""
    seated = {""}
    for instrument, role, level_db in seats:
        level_db += chance.between(-SPREAD_DB, SPREAD_DB)
        if instrument not in seated:
            seated.add(instrument)
            pitch = PITCH[instrument] + (octave if role != "roots" else 0) - (12 if role == "riff" else 0)
            yield Player(instrument=instrument, role=role, pitch=pitch, level_db=round(level_db, 1))


def tags_of(piece: Piece, style: str) -> set[str]:
    """Say which tags are true of a piece.

    Args:
        piece: its plan.
        style: one of `STYLES`.

    Returns:
        Tags out of `TAGS`.
    """
    played = {player.instrument for player in piece.players}
    lead = piece.players[0]
    octave = lead.pitch - PITCH[lead.instrument]
    low_db, high_db = LEVELS_DB["quiet"][1], LEVELS_DB["loud"][0]
    true = {
        "bass": bool(played & {"bass", "synth bass"}),
        "beat": piece.drums in ("rock", "techno", "metal"),
        "drums": piece.drums not in ("", "hand"),
        "echo": piece.studio.room_s >= ECHO_S and piece.studio.wet >= ECHO_WET,
        "electronic": bool(played & {"synth", "synth bass"}),
        "fast": piece.bpm >= FAST_BPM,
        "female vocal": "female" in played,
        "guitar": bool(played & {"guitar", "electric guitar"}),
        "hand drums": piece.drums == "hand",
        "happy": piece.mode == "major" and piece.bpm >= 100,
        "high": octave > 0,
        "loud": piece.level_db >= high_db,
        "low": octave < 0,
        "male vocal": "male" in played,
        "no drums": not piece.drums,
        "no vocals": not played & VOICES,
        "no voice": not played & VOICES,
        "quiet": piece.level_db <= low_db,
        "sad": piece.mode == "minor" and piece.bpm <= 100,
        "singing": bool(played & {"male", "female"}),
        "slow": piece.bpm <= SLOW_BPM,
        "solo": len(piece.players) == 1 and not piece.drums,
        "strings": bool(played & BOWED),
        "vocals": bool(played & VOICES),
        "waltz": piece.metre == 3,
    }
    return {tag for tag, holds in true.items() if holds} | (played & {*TAGS}) | {*STYLES[style].tags}


# The set on disk.


class Synth(TagDataset):
    """Made-up music, written into its folder when that is opened for the first time.

    Each track has the columns artist_id, style, bpm and level_db (RMS). Every artist has a sound of their own:
    favourite instruments, tuning, room, brightness and tempo.

    Args:
        root: its folder; a new or empty one, or one that holds such a set already.
        split: "artist" keeps the tracks of an artist in one part; "random" does not, which flatters who learns artists.
        tags: the only vocabulary is "synth".
        n_tracks: how many tracks; None is as in the folder, or 2,000.
        length_s: of each track, in seconds, 1 to 600; None is as in the folder, or 10. In less than about 5 s, some of
            what the tags say may not be heard.
        seed: of everything; None is as in the folder, or 0.
        incomplete: leave out tags as listeners do, some more often than others; most of what is missing is then true.
        n_processes: that make sound; None is one a core. Their number changes nothing else.

    Attributes:
        card: the facts.

    Raises:
        ConfigError: an option makes no sense.
        UnknownNameError: there is no such split or vocabulary.
        DatasetError: the folder holds something else, or cannot be written to.
    """

    card = DatasetCard(
        name="synth",
        title="Made-up music",
        task="several",
        licence="CC0 1.0",
        citation="",
        page="",
        vocabularies={"synth": TAGS},
        splits={
            "artist": Split(rule="70, 10 and 20 % of the artists, none in two parts", source="made with the sound"),
            "random": Split(rule="70, 10 and 20 % of the tracks, whoever plays them", source="made with the sound"),
        },
        faults="it is no real music, and no figure on it says anything about real music",
    )

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        tags: str | None = None,
        n_tracks: int | None = None,
        length_s: float | None = None,
        seed: int | None = None,
        incomplete: bool = False,
        n_processes: int | None = None,
    ) -> None:
        super().__init__(root, split=split, tags=tags)
        check_flag("incomplete", incomplete)
        self.incomplete = incomplete
        self._settings = settings = _settings_of(Path(root), n_tracks, length_s, seed)
        if not Path(root, CLIPS).is_file():
            write_synth(
                root,
                n_tracks=settings.n_tracks,
                length_s=settings.length_s,
                seed=settings.seed,
                n_processes=n_processes,
            )

    @classmethod
    def make(cls, root: Path, told: Callable[[int, int], object], **options: Any) -> None:
        """Write the set, or what is not there of it; see `TagDataset.make`. Options are those of the class."""
        of_sound = {name: options.get(name) for name in ("n_tracks", "length_s", "seed")}
        settings = _settings_of(Path(root), **of_sound)
        write_synth(
            root,
            n_tracks=settings.n_tracks,
            length_s=settings.length_s,
            seed=settings.seed,
            n_processes=options.get("n_processes"),
            told=told,
        )

    def notes(self) -> tuple[str, ...]:
        """Say that it is no real music, and what is odd besides; see `TagDataset.notes`."""
        notes = [self.card.faults]
        if self.incomplete:
            notes.append("tags are left out on purpose")
        return (*notes, *super().notes())

    def _read(self) -> Iterator[Track]:
        """Give the tracks in order."""
        path = Path(self.root, CLIPS)
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for index, row in enumerate(csv.DictReader(file)):
                    yield self._track(index, row)
        except (OSError, KeyError, ValueError) as error:
            raise DatasetError(f"{printable(str(path))} is not as it was written: {error!r}.") from error

    def _track(self, index: int, row: Mapping[str, str]) -> Track:
        seed = self._settings.seed
        tags = [tag for tag in row["tags"].split("|") if tag]
        if self.incomplete:
            tags = [tag for tag in tags if _Chance("heard", seed, index, tag).happens(HEARD[tag])]
        part = row["split"] if self.split == "artist" else _Chance("part", seed, index).pick(SHARES)
        return Track(
            track_id=row["path"],
            path=Path(self.root, row["path"]),
            part=next(known for known in PARTS if known == part),
            tags=tuple(tags),
            columns={
                "artist_id": row["artist_id"],
                "style": row["style"],
                "bpm": float(row["bpm"]),
                "level_db": float(row["level_db"]),
            },
        )


def write_synth(
    root: str | os.PathLike[str],
    *,
    n_tracks: int = N_TRACKS,
    length_s: float = LENGTH_S,
    seed: int = 0,
    n_processes: int | None = None,
    told: Callable[[int, int], object] | None = None,
) -> None:
    """Write a set, or go on where that was cut short: what is there is not made again.

    Args:
        root: its folder, new, empty, or with this set in it.
        n_tracks: how many tracks.
        length_s: of each, in seconds.
        seed: of everything.
        n_processes: that make sound; None is one a core, or none besides this one for a few tracks.
        told: called with the number of tracks that are there, and of all.

    Raises:
        ConfigError: an argument makes no sense.
        DatasetError: the folder holds something else, or cannot be written to.
    """
    root = Path(root)
    if n_processes is not None:
        check_count("n_processes", n_processes)
    settings = _settings_of(root, n_tracks, length_s, seed)
    if settings.version != VERSION:
        raise DatasetError(f"{printable(str(root))} was begun by another version of taggram; name another folder.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not (root / CARD).exists():  # first, so that what was begun is gone on with, and nothing else
            with written_aside(root / CARD) as aside:
                aside.write_text(json.dumps(_card_of(settings), indent=4) + "\n", encoding="utf-8")
        _write_sound(root, settings, n_processes, told)
        with written_aside(root / CLIPS) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "split", "tags", "artist_id", "style", "bpm", "level_db"))
            for planned in _plan(settings):
                piece, artist = planned.piece, planned.artist
                about = (artist.artist_id, planned.style, piece.bpm, round(piece.level_db, 2))
                writer.writerow((planned.path, artist.part, "|".join(planned.tags), *about))
    except OSError as error:
        raise DatasetError(f"{printable(str(error.filename or root))}: {error.strerror or error}.") from error


def _write_sound(
    root: Path, settings: _Settings, n_processes: int | None, told: Callable[[int, int], object] | None
) -> None:
    """Write the tracks that are not there."""
    from taggram.datasets._synthesis import n_cores, write_pieces

    missing = {path for path in map(_path_of, range(settings.n_tracks)) if not (root / path).exists()}
    for folder in {(root / path).parent for path in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    jobs = ((root / planned.path, planned.piece) for planned in _plan(settings) if planned.path in missing)
    if n_processes is None:
        n_processes = min(n_cores(), 1 + len(missing) // TRACKS_PER_PROCESS)
    n_there = settings.n_tracks - len(missing)
    with contextlib.closing(write_pieces(jobs, n_processes)) as written:
        for n_written, _ in enumerate(written, 1):
            if told is not None:
                told(n_there + n_written, settings.n_tracks)


def _path_of(index: int) -> str:
    return f"audio/{index // FOLDER_TRACKS:03d}/{index:06d}.flac"


def _settings_of(root: Path, n_tracks: int | None, length_s: float | None, seed: int | None) -> _Settings:
    """Check what is asked for beside what is there, and fill in what is not said."""
    options: dict[str, Any] = {"n_tracks": n_tracks, "length_s": length_s, "seed": seed}
    asked = {name: value for name, value in options.items() if value is not None}
    if n_tracks is not None:
        check_count("n_tracks", n_tracks)
    if length_s is not None:
        shortest, longest = LENGTHS_S
        fits = is_number(length_s) and shortest <= length_s <= longest
        check(fits, "length_s", length_s, f"seconds from {shortest:g} to {longest:g}")
        asked["length_s"] = float(length_s)
    if seed is not None:
        check_count("seed", seed, least=0)
    begun = _begun(root)
    if begun is None:
        return _Settings(**asked)
    if any(getattr(begun, name) != value for name, value in asked.items()):
        said = ", ".join(f"{name}={value}" for name, value in asked.items())
        there = ", ".join(f"{name}={getattr(begun, name)}" for name in options)
        raise DatasetError(f"{printable(str(root))} holds a set with {there}, not {said}; name another folder.")
    return begun


def _begun(root: Path) -> _Settings | None:
    """Read what the set in a folder follows from; None where the folder is new or empty."""
    remedy = "name a new or an empty folder"
    try:
        if not root.exists() or all(path.name.startswith(".") for path in root.iterdir()):
            return None
        text = (root / CARD).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DatasetError(f"{printable(str(root))} has something else in it; {remedy}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{printable(str(root / CARD))} cannot be read ({error}); {remedy}.") from error
    try:
        card = json.loads(text)
        settings = _Settings(**{field.name: card[field.name] for field in dataclasses.fields(_Settings)})
        if card["name"] == Synth.card.name:
            return settings
    except (ValueError, KeyError, TypeError):
        pass
    raise DatasetError(f"{printable(str(root / CARD))} is of something else; {remedy}.")


def _card_of(settings: _Settings) -> dict[str, Any]:
    """Give what stands beside the sound."""
    from taggram.datasets._synthesis import SAMPLE_RATE

    card = Synth.card
    facts = {"name": card.name, "title": card.title, "licence": card.licence}
    return {**facts, **dataclasses.asdict(settings), "sample_rate": SAMPLE_RATE, "tags": list(TAGS)}
