"""Made-up music: its tags are true of its sound, and the same seed gives the same set however it is written."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from taggram.datasets import _synthesis, check, open_dataset, synth
from taggram.datasets._synthesis import GROOVES, INSTRUMENTS, ROLES, SAMPLE_RATE, synthesise, write_pieces
from taggram.datasets.csv import Csv
from taggram.datasets.synth import HEARD, PITCH, STYLES, TAGS, Piece, Player, Studio, Synth, tags_of, write_synth
from taggram.errors import ConfigError, DatasetError, UnknownNameError, WorkerError

Samples = NDArray[np.float32]
SMALL = {"n_tracks": 6, "length_s": 1.5, "seed": 3}
STUDIO = Studio(
    kit=1.0, colour=0.5, tuning_cents=0.0, tilt_db=0.0, hiss_db=-90.0, room=1, room_s=0.3, wet=0.1
)  # fmt: skip


@functools.cache
def planned(n_tracks: int = 2_000, length_s: float = 5.0, seed: int = 0) -> list[synth._Planned]:
    return list(synth._plan(synth._Settings(n_tracks, length_s, seed)))


def piece(*players: Player, **changes) -> Piece:
    """A plan of 2 s, which changes may make another one."""
    plain = Piece(
        seed=1, length_s=2.0, bpm=100.0, metre=4, key=9, mode="major", swing=0.0, players=players, drums="",
        drums_db=0.0, level_db=-20.0, studio=STUDIO,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def player(instrument: str = "piano", role: str = "melody", pitch: int = 69) -> Player:
    return Player(instrument=instrument, role=role, pitch=pitch, level_db=0.0)


def rms_db(sound: Samples) -> float:
    return float(10 * np.log10(np.mean(sound.astype(float) ** 2)))


def spectrogram(sound: Samples) -> NDArray[np.float64]:
    """(frames, bins) of energy in windows of 32 ms, each 8 ms after the last."""
    frames = np.lib.stride_tricks.sliding_window_view(sound.astype(float), 512)[::128]
    return np.abs(np.fft.rfft(frames * np.hanning(512))) ** 2


def n_onsets_a_second(sound: Samples) -> float:
    """Count sudden rises of the spectrum."""
    spectrum = spectrogram(sound)
    rise = np.maximum(np.diff(np.log10(spectrum + 1e-4 * spectrum.mean()), axis=0), 0).mean(1)
    peaks = (rise[1:-1] > rise[:-2]) & (rise[1:-1] >= rise[2:]) & (rise[1:-1] > 2 * np.median(rise) + 0.02)
    return float(peaks.sum() * SAMPLE_RATE / len(sound))


def centroid_hz(sound: Samples) -> float:
    energy = spectrogram(sound).mean(0)
    return float(np.sum(np.linspace(0, SAMPLE_RATE / 2, 257) * energy) / energy.sum())


def share_that_rises(sound: Samples) -> float:
    """Share of the bins that rise by 6 dB in the ten frames where most of them do."""
    spectrum = spectrogram(sound)
    rises = np.diff(10 * np.log10(spectrum + 1e-5 * spectrum.mean()), axis=0) > 6
    return float(np.sort(rises.mean(1))[-10:].mean())


def measured(measure, tag: str, *, holds: bool = True, n_pieces: int = 10) -> float:
    """Median of a measure over pieces for which a tag holds, or does not."""
    chosen = [track.piece for track in planned() if (tag in track.tags) == holds][:n_pieces]
    return float(np.median([measure(synthesise(one)) for one in chosen]))


# Plans.


def test_there_are_about_as_many_tags_as_in_magnatagatune():
    assert 40 <= len(TAGS) <= 50


@pytest.mark.parametrize("tag", TAGS)
def test_tag_is_in_every_part(tag):
    assert {track.artist.part for track in planned() if tag in track.tags} == {"train", "valid", "test"}


def test_frequencies_go_from_rare_to_common():
    shares = Counter(tag for track in planned() for tag in track.tags)
    in_order = sorted(shares[tag] / len(planned()) for tag in TAGS)
    assert 0.005 < in_order[0] < 0.02
    assert 0.04 < in_order[len(TAGS) // 4] < 0.1
    assert 0.7 < in_order[-1] < 0.85


def test_tags_follow_from_the_plan():
    plan = piece(player("violin", pitch=84), drums="rock", bpm=150, metre=3, level_db=-10, mode="minor")
    assert tags_of(plan, "folk") == {
        "beat", "drums", "fast", "folk", "high", "loud", "no vocals", "no voice", "strings", "violin", "waltz",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "other"), [("slow", "fast"), ("loud", "quiet"), ("no drums", "drums"), ("low", "high"), ("happy", "sad")]
)
def test_opposites_exclude_each_other(tag, other):
    assert [track for track in planned() if {tag, other} <= {*track.tags}] == []


@pytest.mark.parametrize("style", STYLES)
def test_style_names_what_can_be_played(style):
    seats = STYLES[style]
    instruments = {*seats.leads, seats.bass[0], *(name for name, _ in seats.backing)} - {""}
    roles = {role for _, role in seats.backing} - {""}
    assert (instruments - {*PITCH}, roles - {*ROLES}, {*seats.drums} - {*GROOVES, ""}) == (set(), set(), set())


def test_all_instruments_have_a_pitch():
    assert INSTRUMENTS.keys() == PITCH.keys()


def test_artists_keep_their_sound():
    sounds = {(track.artist.artist_id, track.piece.studio.tuning_cents, track.piece.studio.room) for track in planned()}
    assert len(sounds) == len({track.artist.artist_id for track in planned()})


def test_plan_is_that_of_every_version():
    track = planned(6, 1.5, 3)[4]
    assert (track.artist.artist_id, track.style, track.piece.bpm, track.piece.seed) == (
        "artist 0000", "classical", 135.4, 2_473_362_983,
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_another_length_is_the_same_music(seed):
    shorter, longer = planned(20, 5.0, seed), planned(20, 10.0, seed)
    assert [track.tags for track in shorter] == [track.tags for track in longer]


# Sound.


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_instrument_sounds(instrument):
    sound = synthesise(piece(player(instrument, pitch=PITCH[instrument])))
    assert np.isfinite(sound).all()
    assert rms_db(sound) == pytest.approx(-20, abs=1)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("pitch", [28, 103])
def test_instrument_bears_extreme_pitches(instrument, pitch):
    assert -24 < rms_db(synthesise(piece(player(instrument, pitch=pitch)))) < -19  # high strings are all peaks


@pytest.mark.parametrize("instrument", sorted(INSTRUMENTS.keys() - {"bells", "choir", "strings"}))
def test_instrument_is_in_tune(instrument):
    tone = INSTRUMENTS[instrument](220.0, 1.0, 0.5, np.random.default_rng(0))[:SAMPLE_RATE]
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), 4 * len(tone)))
    candidates_hz = 220 * 2 ** (np.arange(-300, 301, 2) / 1200)
    combs = [spectrum[np.round(4 * hz * np.arange(1, 5)).astype(int)].sum() for hz in candidates_hz]
    assert abs(1200 * np.log2(candidates_hz[int(np.argmax(combs))] / 220)) <= 20


@pytest.mark.parametrize("role", ROLES)
def test_role_fills_the_piece(role):
    sound = synthesise(piece(player(role=role), length_s=6.0))
    assert min(rms_db(part) for part in np.split(sound, 3)) > -40


@pytest.mark.parametrize("groove", GROOVES)
def test_groove_sounds(groove):
    assert rms_db(synthesise(piece(drums=groove))) == pytest.approx(-20, abs=1)


@pytest.mark.parametrize("index", range(12))
def test_piece_stays_within_full_scale(index):
    assert np.abs(synthesise(planned()[index].piece)).max() < 1


def test_sound_is_the_same_again():
    plan = planned()[0].piece
    assert np.array_equal(synthesise(plan), synthesise(plan))


def test_loud_is_louder_than_quiet():
    assert measured(rms_db, "loud") > measured(rms_db, "quiet") + 12


def test_fast_has_more_onsets_than_slow():
    assert measured(n_onsets_a_second, "fast") > 1.4 * measured(n_onsets_a_second, "slow")


def test_high_is_brighter_than_low():
    assert measured(centroid_hz, "high") > 1.5 * measured(centroid_hz, "low")


def test_drums_begin_in_all_bands_at_once():
    assert measured(share_that_rises, "drums") > 1.3 * measured(share_that_rises, "no drums")


# The set on disk.


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "new"
    write_synth(folder, **SMALL)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_set_is_sound_a_list_and_a_card(root):
    assert sorted(content(root)) == [*(f"audio/000/{i:06d}.flac" for i in range(6)), "card.json", "clips.csv"]


def test_sound_is_16_bit_mono(root):
    info = soundfile.info(root / "audio" / "000" / "000000.flac")
    assert (info.format, info.subtype, info.channels, info.samplerate, info.frames) == (
        "FLAC", "PCM_16", 1, SAMPLE_RATE, 24_000,
    )  # fmt: skip


def test_file_holds_its_piece(root):
    sound, _ = soundfile.read(root / "audio" / "000" / "000002.flac", dtype="float32")
    assert sound == pytest.approx(synthesise(planned(**SMALL)[2].piece), abs=2**-15)


def test_card_says_what_the_set_follows_from(root):
    card = json.loads((root / "card.json").read_text())
    assert {name: card[name] for name in SMALL} == SMALL


def test_tracks_have_tags_and_columns(root):
    tracks = list(Synth(root).tracks())
    wanted = [(track.path, track.tags, track.artist.artist_id, track.style) for track in planned(**SMALL)]
    assert wanted == [
        (track.track_id, track.tags, track.columns["artist_id"], track.columns["style"]) for track in tracks
    ]


def test_list_is_one_for_csv_too(root):
    assert [(track.path, track.part, track.tags) for track in Csv(root, min_count=0).tracks()] == [
        (track.path, track.part, track.tags) for track in Synth(root).tracks()
    ]


def test_opening_writes_the_set(root, tmp_path):
    open_dataset("synth", tmp_path / "new", **SMALL)
    assert content(tmp_path / "new") == content(root)


def test_number_of_processes_changes_nothing(root, tmp_path):
    write_synth(tmp_path, **SMALL, n_processes=2)
    assert content(tmp_path) == content(root)


def stop(n_done: int, n_all: int) -> None:
    """Do what Ctrl-C does when two tracks are there."""
    if n_done == 2:
        raise KeyboardInterrupt


def test_what_was_cut_short_is_gone_on_with(root, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_synth(tmp_path, **SMALL, told=stop)
    begun = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}
    assert len(begun) == 2
    Synth(tmp_path)
    assert content(tmp_path) == content(root)
    assert {path: path.stat().st_mtime_ns for path in begun} == begun


def test_processes_end_with_what_was_cut_short(tmp_path):
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        write_synth(tmp_path, **SMALL, n_processes=2, told=stop)
    assert set(threading.enumerate()) <= before  # each new one waits for its process; others may end meanwhile


def test_what_is_missing_is_made_again(root, tmp_path):
    write_synth(tmp_path, **SMALL)
    (tmp_path / "audio" / "000" / "000003.flac").unlink()
    write_synth(tmp_path, **SMALL)
    assert content(tmp_path) == content(root)


def test_progress_is_told(tmp_path):
    told = []
    write_synth(tmp_path, n_tracks=2, length_s=1.0, told=lambda n_done, n_all: told.append((n_done, n_all)))
    assert told == [(1, 2), (2, 2)]


def test_whole_set_passes_the_check(root):
    assert check(Synth(root)).is_fine


def test_it_says_that_it_is_made_up(root):
    assert "it is no real music, and no figure on it says anything about real music" in Synth(root).notes()


# Splits and labels, for sets without sound.


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A set of 600 tracks whose sound is taken to be there."""
    folder = tmp_path_factory.mktemp("listed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synth, "_write_sound", lambda *_: None)
        write_synth(folder, n_tracks=600)
    return folder


def parts_of_artists(data: Synth) -> list[int]:
    of_artist: dict[object, set[str]] = {}
    for track in data.tracks():
        of_artist.setdefault(track.columns["artist_id"], set()).add(track.part)
    return sorted({len(parts) for parts in of_artist.values()})


def test_artist_is_in_one_part(listed):
    assert parts_of_artists(Synth(listed)) == [1]


def test_random_split_has_artists_in_several_parts(listed):
    assert parts_of_artists(Synth(listed, split="random"))[-1] == 3


@pytest.mark.parametrize("split", ["artist", "random"])
def test_parts_have_their_shares(listed, split):
    n_tracks = Counter(track.part for track in Synth(listed, split=split).tracks())
    assert [n_tracks[part] for part in ("train", "valid", "test")] == pytest.approx([420, 60, 120], abs=30)


def test_incomplete_tags_are_some_of_the_true_ones(listed):
    pairs = zip(Synth(listed, incomplete=True).tracks(), Synth(listed).tracks(), strict=True)
    assert [track.track_id for track, whole in pairs if not {*track.tags} <= {*whole.tags}] == []


@pytest.mark.parametrize("tag", ["guitar", "no vocals", "no drums"])
def test_tags_are_left_out_as_often_as_said(listed, tag):
    n_true = sum(tag in track.tags for track in Synth(listed).tracks())
    n_given = sum(tag in track.tags for track in Synth(listed, incomplete=True).tracks())
    assert n_given / n_true == pytest.approx(HEARD[tag], abs=0.1)


# What is refused.


@pytest.mark.parametrize(
    "options",
    [
        {"n_tracks": 0},
        {"length_s": 0.5},
        {"length_s": np.nan},
        {"seed": -1},
        {"incomplete": 1},
        {"n_processes": 0},
    ],
    ids=str,
)
def test_option_is_refused(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Synth(tmp_path, **options)


@pytest.mark.parametrize("options", [{"n_tracks": 7}, {"length_s": 2.0}, {"seed": 4}], ids=str)
def test_other_set_in_the_folder_is_refused(root, options):
    with pytest.raises(DatasetError, match=r"holds a set with n_tracks=6, length_s=1.5, seed=3, not .* another folder"):
        Synth(root, **options)


def test_set_is_opened_as_it_is(root):
    assert sum(1 for _ in Synth(root, seed=3).tracks()) == 6


def test_hidden_files_do_not_count(tmp_path):
    (tmp_path / ".DS_Store").touch()
    assert sum(1 for _ in Synth(tmp_path, n_tracks=1, length_s=1).tracks()) == 1


def test_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "song.mp3").touch()
    with pytest.raises(DatasetError, match="has something else in it; name a new or an empty folder"):
        Synth(tmp_path)


@pytest.mark.parametrize("card", ['{"name": "mtt"}', "[]", "{", '{"name": "synth"}'])
def test_card_of_something_else_is_refused(tmp_path, card):
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(DatasetError, match=r"card\.json is of something else"):
        Synth(tmp_path)


def test_other_version_is_not_gone_on_with(root, monkeypatch):
    monkeypatch.setattr(synth, "VERSION", synth.VERSION + 1)
    with pytest.raises(DatasetError, match="was begun by another version"):
        write_synth(root, **SMALL)


def test_whole_set_of_another_version_is_read(root, monkeypatch):
    monkeypatch.setattr(synth, "VERSION", synth.VERSION + 1)
    assert sum(1 for _ in Synth(root).tracks()) == 6


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="file"):
        Synth(tmp_path / "file" / "new")


def test_damaged_list_is_told(tmp_path):
    write_synth(tmp_path, n_tracks=1, length_s=1.0)
    (tmp_path / "clips.csv").write_text("path,split\na,train\n")
    with pytest.raises(DatasetError, match="is not as it was written"):
        next(Synth(tmp_path).tracks())


def test_unknown_split_is_refused(root):
    with pytest.raises(UnknownNameError, match=r"no split named 'album'\. There are artist, random"):
        Synth(root, split="album")


@pytest.mark.parametrize("n_processes", [1, 2])
def test_file_that_cannot_be_written_is_told(tmp_path, n_processes):
    jobs = [(tmp_path / "missing" / f"{index}.flac", piece(player())) for index in range(3)]
    with pytest.raises(OSError, match="missing"):
        list(write_pieces(jobs, n_processes))


@pytest.mark.parametrize(
    "code", ["raise SystemExit(7)", "input(); raise SystemExit(7)"], ids=["at once", "in its work"]
)
def test_process_that_ends_by_itself_is_told(tmp_path, monkeypatch, code):
    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, encoding="utf-8")
        if not code.startswith("input"):
            process.wait()  # so that it takes nothing of what is written to it
        return process

    monkeypatch.setattr(_synthesis, "_started", start)
    with pytest.raises(WorkerError, match=r"ended by itself \(code 7\)"):
        list(write_pieces([(tmp_path / "a.flac", piece(player()))], 2))
