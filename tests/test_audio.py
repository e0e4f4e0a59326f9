"""Stage 1 by itself: what is read from which files, what is said about it, and what is refused."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from _at_hand import SHARED, needs_shared
from _sounds import RATE, av_encoded, encoded, flac_without_length, noise, patched, pcm16, tone, wav, with_cover
from conftest import open_files
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taggram.audio import SoundStream, Waveform, looks_like_audio, read_sound
from taggram.errors import AudioError, ConfigError

CLIPS = ("fishin_30s", "speech_198-209-0000", "vibeace_30s")
PYAV_FILES = {
    "m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "mp4": ("mp4", "aac"), "webm": ("webm", "libopus"),
    "ac3": ("ac3", "ac3"), "mka": ("matroska", "ac3"), "alac": ("ipod", "alac"), "mpegts": ("mpegts", "mp2"),
    "wv": ("wv", "wavpack"), "tta": ("tta", "tta"), "avi": ("avi", "mp2"), "mov": ("mov", "pcm_s24le"),
}  # fmt: skip


@pytest.fixture(scope="module")
def half_minute():
    return noise(30, n_channels=2)


# -- the samples -------------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("clip", CLIPS)
def test_wave_is_that_of_the_original_library(clip):
    wanted = np.load(SHARED / "reference" / "musicnn" / f"{clip}.npz")["wave16k"]
    got = read_sound(SHARED / "reference" / "audio" / f"{clip}.ogg", sample_rate=RATE).samples
    np.testing.assert_allclose(got[: len(wanted)], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 384_000])
@pytest.mark.parametrize("n_samples", [1, 441, 100_003])
def test_resampled_sound_has_all_its_samples(rate, n_samples):
    got = read_sound((noise(1, n_samples)[:, 0], rate), sample_rate=RATE)
    assert len(got.samples) == -(-n_samples * RATE // rate)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_resampling_block_by_block_is_resampling_the_whole(rate):
    samples = noise(20, rate)[:, 0]
    whole = soxr.resample(samples, rate, RATE, quality="HQ")
    got = read_sound((samples, rate), sample_rate=RATE).samples
    np.testing.assert_allclose(got[: len(whole)], whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channel", [0, 1])
def test_one_channel_can_be_taken(channel):
    samples = noise(0.5, n_channels=2)
    got = read_sound((samples, RATE), channel=channel)
    np.testing.assert_array_equal(got.samples, samples[:, channel])
    assert got.notes == (f"channel {channel} alone",)


def test_left_channel_of_antiphase_is_a_sound():
    left = tone(0.5)
    got = read_sound((np.stack([left, -left], 1), RATE), channel=0)
    assert got.unusual == ()


def test_left_channel_of_mono_is_the_sound():
    assert read_sound((tone(0.5), RATE), channel=0).notes == ()


@pytest.mark.parametrize("channel", [-1, 2])
def test_channel_that_is_not_there_is_refused(channel):
    with pytest.raises(AudioError, match=f"2 channels, counted from 0; {channel} is wanted"):
        read_sound((noise(0.5, n_channels=2), RATE), channel=channel)


@pytest.mark.parametrize("n_channels", [1, 2, 6, 24])
def test_mono_is_the_mean_of_the_channels_bit_for_bit(n_channels):
    samples = noise(3, n_channels=n_channels)
    got = read_sound(encoded(samples, subtype="FLOAT")).samples
    np.testing.assert_array_equal(got, samples.mean(axis=1))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_samples_of_any_width_are_between_minus_1_and_1(subtype):
    wanted = tone()
    got = read_sound(encoded(wanted.astype(np.float64), subtype=subtype)).samples
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1 / 127)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU", "W64", "RF64"])
def test_sound_of_soundfile_is_read(kind):
    assert read_sound(encoded(tone(), kind=kind)).duration_s == pytest.approx(4.0)


@pytest.mark.parametrize("kind", PYAV_FILES)
def test_sound_of_pyav_is_read(kind):
    got = read_sound(av_encoded(*PYAV_FILES[kind]), sample_rate=RATE)
    middle = got.samples[RATE : 2 * RATE]
    assert got.duration_s == pytest.approx(4.0, abs=0.1)
    assert np.abs(np.fft.rfft(middle)).argmax() == 440


def test_sound_beside_a_video_is_read():
    assert read_sound(av_encoded("mp4", "aac", video=True)).duration_s == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize(
    ("container", "codec", "layout"),
    [("ipod", "aac", "5.1"), ("ipod", "aac", "7.1"), ("wv", "wavpack", "7.1"), ("wv", "wavpack", "hexadecagonal")],
)
def test_sound_of_many_channels_is_read(container, codec, layout):
    got = read_sound(av_encoded(container, codec, layout=layout), sample_rate=RATE)
    assert got.notes == ("resampled from 48000 Hz", f"mean of {av.AudioLayout(layout).nb_channels} channels")
    assert np.abs(np.fft.rfft(got.samples[RATE : 2 * RATE])).argmax() == 440


def test_video_without_sound_is_refused():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=1)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        output.mux([*picture.encode(av.VideoFrame(64, 64, "yuv420p")), *picture.encode()])
    with pytest.raises(AudioError, match="there is no sound in it"):
        read_sound(file.getvalue())


# -- ways in -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ways_in(tmp_path_factory):
    samples = noise(3)[:, 0]
    data = encoded(samples, subtype="FLOAT")
    path = tmp_path_factory.mktemp("ways") / "sound.wav"
    path.write_bytes(data)
    with path.open("rb") as file:
        yield {
            "path": path, "text": str(path), "bytes": data, "bytearray": bytearray(data),
            "memoryview": memoryview(data), "BytesIO": io.BytesIO(data), "open file": file, "array": (samples, RATE),
            "array of float64": (samples.astype(np.float64), RATE), "array of one channel": (samples[:, None], RATE),
            "array not in one piece": (np.repeat(samples, 2)[::2], RATE),
        }, samples  # fmt: skip


@pytest.mark.parametrize(
    "way",
    ["path", "text", "bytes", "bytearray", "memoryview", "BytesIO", "open file", "array", "array of float64",
     "array of one channel", "array not in one piece"],
)  # fmt: skip
def test_ways_in_give_the_same_samples(ways_in, way):
    sources, wanted = ways_in
    np.testing.assert_array_equal(read_sound(sources[way]).samples, wanted)


def test_file_opened_by_the_caller_stays_open(ways_in):
    file = io.BytesIO(ways_in[0]["bytes"])
    read_sound(file)
    assert not file.closed


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "empty"),
        (None, "NoneType is no sound"),
        (5, "int is no sound"),
        (io.StringIO("text"), "StringIO is no sound"),
        ((tone(),), "a tuple of 1"),
        ((tone()[:0], RATE), "no samples"),
        ((np.zeros((5, 0)), RATE), "no samples"),
        ((np.zeros(5, int), RATE), "floats from -1 to 1"),
        ((np.zeros((2, 2, 2)), RATE), r"shape \(samples,\) or \(samples, channels\)"),
        ((np.zeros((2, 500)), RATE), r"\(samples, channels\) is wanted"),
        ((tone(), 0), "its sample rate is 0 Hz"),
        ((tone(), -RATE), "its sample rate is -16000 Hz"),
        ((tone(), float("nan")), "a whole number of Hz"),
        ((tone(), 44100.5), "a whole number of Hz"),
        ((tone(), "16000"), "a whole number of Hz"),
        ((np.full(100, np.nan), RATE), "not finite"),
        ((np.full(100, 1e300), RATE), "not finite"),
        ((np.full(100, 1e30), RATE), "up to 1e\\+30"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_source_that_is_no_sound_is_refused(source, reason):
    with pytest.raises(AudioError, match=reason):
        read_sound(source)


def test_closed_file_is_refused(tmp_path):
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(encoded(tone()))
    with pytest.raises(AudioError, match="is no sound"):
        read_sound(file)


def test_file_that_cannot_seek_is_refused():
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as file, pytest.raises(AudioError, match="can seek"):
        read_sound(file)


def test_empty_path_is_not_the_working_folder():
    with pytest.raises(AudioError, match="No such file"):
        read_sound("")


# -- content, not names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".au", ".snd", ".vox", ".gsm", ".raw", ".mp3", ".wav", ".xyz", ""])
@pytest.mark.parametrize(
    "content", [b"dear diary, this is text\n" * 400, bytes(range(256)) * 40], ids=["text", "bytes"]
)
def test_suffix_alone_makes_no_sound(tmp_path, suffix, content):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="no decoder knows"):
        read_sound(path)


@pytest.mark.parametrize("suffix", [".raw", ".vox", ".mp3", ".flac", ".txt", ""])
def test_sound_is_read_whatever_its_suffix(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(encoded(tone()))
    assert read_sound(path).duration_s == 4.0


def test_open_file_is_read_whatever_its_suffix(tmp_path):
    path = tmp_path / "file.raw"
    path.write_bytes(encoded(tone()))
    with path.open("rb") as file:
        assert read_sound(file).duration_s == 4.0


def test_wrong_suffix_is_said(tmp_path):
    path = tmp_path / "file.mp3"
    path.write_bytes(encoded(tone()))
    assert read_sound(path).unusual == ("WAV by content, not .mp3",)


@pytest.mark.parametrize("name", ["song.mp3", "SONG.WAV", "film.mkv"])
def test_suffix_of_sound_is_tried(tmp_path, name):
    assert looks_like_audio(tmp_path / name)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_sound_without_a_suffix_is_tried(tmp_path, kind):
    (tmp_path / "file").write_bytes(encoded(tone(), kind=kind))
    assert looks_like_audio(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b"RIFF\0\0\0\0AVI "])
def test_other_files_are_passed_over(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert not looks_like_audio(tmp_path / "file")


# -- headers that lie --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (flac_without_length(tone()), "its header gives no length"),
        (wav(pcm16(tone()), size=0xFFFFFFFF), "its header claims 4294967295 bytes"),
        (wav(pcm16(tone()), size=0), "its header gives no length"),
    ],
    ids=["FLAC of no length", "WAV of 4 GB", "WAV of 0 bytes"],
)
def test_sound_behind_a_header_that_lies_is_whole(data, note):
    got = read_sound(data)
    assert got.duration_s == 4.0
    assert note in "; ".join(got.unusual)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (wav(pcm16(tone()), rate=1), "its sample rate is 1 Hz"),
        (wav(pcm16(tone()), rate=0), "no decoder"),
        (wav(pcm16(tone()), rate=0xFFFFFFFF), "no decoder"),
        (wav(pcm16(tone()), n_channels=0), "no sound could be decoded"),
        (wav(pcm16(tone()), n_channels=65), "65 channels; up to 64"),
        (wav(pcm16(tone()), n_channels=65535), "no sound could be decoded"),
        (wav(pcm16(tone()), bits=64), "samples of type s64"),
        (wav(b""), "there are no samples in it"),
        (encoded(tone())[:30], "no decoder"),
        (encoded(tone(), kind="FLAC")[:40], "."),
        (encoded(tone(), kind="OGG")[:100], "."),
        (encoded(tone(), kind="MP3")[:100], "."),
    ],
    ids=[
        *("1 Hz", "0 Hz", "4 GHz", "0 channels", "65 channels", "65535 channels", "64 bits", "no samples"),
        *("cut WAV", "cut FLAC", "cut OGG", "cut MP3"),
    ],
)
def test_header_that_no_sound_has_is_refused(data, reason):
    with pytest.raises(AudioError, match=reason):
        read_sound(data)


def test_picture_in_an_mp3_is_passed_over():
    got = read_sound(with_cover(encoded(tone(), kind="MP3"), 20_000_000))
    assert got.duration_s == pytest.approx(4.0)


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "W64", "RF64"])
def test_good_part_of_a_file_that_is_cut_is_read(half_minute, kind):
    data = encoded(half_minute, kind=kind)
    got = read_sound(data[: len(data) // 2])
    assert 14 < got.duration_s < 16
    assert "damaged tail left out" in "; ".join(got.unusual)


@pytest.mark.parametrize("kind", ["webm", "mka", "aac"])
def test_good_part_of_a_file_of_pyav_that_is_cut_is_read(kind):
    data = av_encoded(*PYAV_FILES[kind], seconds=30)
    got = read_sound(data[: len(data) // 2])
    assert 14 < got.duration_s < 16
    assert "damaged tail left out" in "; ".join(got.unusual)


@pytest.mark.parametrize("kind", ["MP3", "FLAC", "OGG"])
@pytest.mark.parametrize("n_lost", [0, 10_000])
def test_good_part_of_a_file_with_noise_in_it_is_read(half_minute, kind, n_lost):
    data = encoded(half_minute, kind=kind)
    half = len(data) // 2
    junk = np.random.default_rng(0).bytes(10_000)
    assert read_sound(data[:half] + junk + data[half + n_lost :]).duration_s > 14


@pytest.mark.parametrize("kind", ["MP3", "FLAC"])
def test_noise_in_a_file_is_said(half_minute, kind):
    data = encoded(half_minute, kind=kind)
    junk = np.random.default_rng(0).bytes(10_000)
    assert "damaged" in "; ".join(read_sound(patched(data, len(data) // 2, junk)).unusual)


def uncounted(samples, rate):
    """An MP3 without its first frame, which is a header that counts the others; decoders guess the length then."""
    data = encoded(samples, rate, kind="MP3")
    return data[data.index(data[:2], 24) :]


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_mp3_that_does_not_count_its_frames_is_read_to_its_end(rate):
    samples = tone(3.0, rate)
    sound = read_sound(uncounted(samples, rate))
    assert sound.duration_s == pytest.approx(3.0, abs=0.1)
    assert sound.unusual == ("its header gives no length",)
    assert np.abs(np.diff(sound.samples[rate // 10 : -rate // 5])).max() < 2 * np.abs(np.diff(samples)).max()  # no seam


def test_mp3_whose_guessed_length_is_too_long_is_not_called_damaged():
    old_tag = b"ID3\2\0\0" + bytes([0, 0, 127, 0]) + bytes(127 * 128)  # counted as sound by who guesses
    assert not read_sound(old_tag + uncounted(noise(1.0)[:, 0], RATE)).unusual


def test_samples_before_the_damage_are_those_of_the_whole_file(half_minute):
    data = encoded(half_minute, kind="FLAC")
    whole = read_sound(data).samples
    got = read_sound(data[: len(data) // 2]).samples
    np.testing.assert_array_equal(got, whole[: len(got)])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU", "W64", "RF64"])
def test_whole_files_are_not_called_damaged(kind):
    assert read_sound(encoded(tone(), kind=kind)).unusual == ()


@pytest.mark.parametrize("kind", PYAV_FILES)
def test_whole_files_of_pyav_are_not_called_damaged(kind):
    assert read_sound(av_encoded(*PYAV_FILES[kind])).unusual == ()


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "rate", "note"),
    [
        (np.zeros(64_000, np.float32), RATE, "silent"),
        (np.full(64_000, 0.25, np.float32), RATE, r"a constant value of 0\.25 \(DC\)"),
        (np.clip(9 * tone(), -1, 1), RATE, "clipped"),
        (np.stack([tone(), -tone()], axis=1), RATE, "antiphase"),
        (noise(n_channels=6), RATE, "mean of 6 channels"),
        (tone(rate=8_000), 8_000, "nothing above 4000 Hz"),
    ],
)
def test_unusual_sound_is_said(samples, rate, note):
    got = read_sound((samples, rate), sample_rate=RATE)
    assert pytest.approx(4.0) == got.duration_s
    assert re.search(note, "; ".join(got.unusual))


@pytest.mark.parametrize(
    ("samples", "rate", "notes"),
    [
        (tone(), RATE, ()),
        (noise(n_channels=2), RATE, ("mean of 2 channels",)),
        (tone(rate=44_100), 44_100, ("resampled from 44100 Hz",)),
    ],
)
def test_usual_sound_is_noted_and_not_called_unusual(samples, rate, notes):
    got = read_sound((samples, rate), sample_rate=RATE)
    assert (got.notes, got.unusual) == (notes, ())


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_samples", "rate", "limit_s"), [(290, 1_000, 0.29), (40_000, RATE, 2.5), (4_410, 44_100, 0.1)]
)
def test_sound_as_long_as_allowed_is_taken(n_samples, rate, limit_s):
    assert read_sound((tone(9, rate)[:n_samples], rate), max_duration_s=limit_s).duration_s == limit_s


@pytest.mark.parametrize(
    ("n_samples", "rate", "limit_s"), [(291, 1_000, 0.29), (40_001, RATE, 2.5), (4_411, 44_100, 0.1)]
)
def test_sound_a_sample_longer_than_allowed_is_refused(n_samples, rate, limit_s):
    with pytest.raises(AudioError, match=rf"longer than the {limit_s} s allowed"):
        read_sound((tone(9, rate)[:n_samples], rate), max_duration_s=limit_s)


@pytest.mark.parametrize("limit_s", [0, -1, float("nan"), float("inf")])
def test_limit_that_makes_no_sense_is_refused(limit_s):
    with pytest.raises(ConfigError, match="max_duration_s"):
        SoundStream((tone(), RATE), max_duration_s=limit_s)


def test_64_channels_are_taken():
    assert read_sound((np.zeros((RATE, 64)), RATE)).duration_s == 1.0


# -- dangers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listening():
    """A socket on this machine that must see no connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "m3u": "#EXTM3U\n#EXTINF:4,song\n{target}\n",
    "pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na={target}\n",
    "xspf": '<?xml version="1.0"?><playlist><track><location>{target}</location></track></playlist>',
    "mpd": '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
}


@pytest.mark.parametrize("suffix", [".mp3", None], ids=["as mp3", "as itself"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlist_opens_no_other_file(tmp_path, kind, suffix):
    (tmp_path / "other.wav").write_bytes(encoded(tone()))
    path = tmp_path / f"list{suffix or '.' + kind}"
    path.write_text(PLAYLISTS[kind].format(target=tmp_path / "other.wav"))
    with pytest.raises(AudioError, match="no decoder knows"):
        read_sound(path)


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlist_opens_no_connection(tmp_path, listening, kind):
    path = tmp_path / f"list.{kind}"
    path.write_text(PLAYLISTS[kind].format(target=f"http://127.0.0.1:{listening.getsockname()[1]}/a.mp3"))
    with contextlib.suppress(AudioError):
        read_sound(path)
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_address_is_no_path(listening):
    with pytest.raises(AudioError, match="No such file"):
        read_sound(f"http://127.0.0.1:{listening.getsockname()[1]}/a.mp3")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_device_is_refused(name):
    with pytest.raises(AudioError, match="no regular file"):
        read_sound(name)


def test_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="no regular file"):
        read_sound(tmp_path / "pipe.wav")


def test_files_are_closed(tmp_path):
    good, cut, text = tmp_path / "a.wav", tmp_path / "b.flac", tmp_path / "c.mp3"
    good.write_bytes(encoded(tone()))
    cut.write_bytes(encoded(tone(), kind="FLAC")[:9000])
    text.write_text("text")
    for path in (good, cut, text) * 5:
        with contextlib.suppress(AudioError):
            read_sound(path)
    assert open_files(tmp_path) == []


def test_without_pyav_the_line_that_installs_it_is_said(monkeypatch):
    data = av_encoded("ipod", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"pip install 'taggram\[codecs\]'"):
        read_sound(data)


def test_without_pyav_the_good_part_of_a_damaged_file_is_read(monkeypatch, half_minute):
    data = encoded(half_minute, kind="FLAC")
    monkeypatch.setitem(sys.modules, "av", None)
    got = read_sound(data[: len(data) // 2])
    assert got.duration_s > 10
    assert "codecs" in "; ".join(got.unusual)


def test_without_pyav_wav_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert read_sound(encoded(tone())).duration_s == 4.0


# -- any bytes at all --------------------------------------------------------------------------------------------------

STARTS = [
    b"", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0", b"fLaC\0\0\0\x22", b"OggS\0\x02", b"ID3\x03\0\0\0\0\0\x7f",
    b"\xff\xfb\x90\x64", b"FORM\0\0\xff\xffAIFFCOMM\0\0\0\x12", b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3", b"#EXTM3U\n",
    b".snd\0\0\0\x18", b"caff\0\1\0\0", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x0b\x77", b"wvpk", b"\xff\xf1\x50\x80",
    b"MAC ", b"FLV\x01", b"TTA1",
]  # fmt: skip
SMALL = {kind: encoded(tone(0.5), kind=kind) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU")}
SMALL |= {kind: av_encoded(*PYAV_FILES[kind], seconds=0.5) for kind in ("m4a", "webm", "ac3", "mka", "wv")}


def read_or_refuse(data):
    try:
        got = read_sound(data, sample_rate=RATE, max_duration_s=60)
    except AudioError:
        return
    assert isinstance(got, Waveform)
    assert np.isfinite(got.samples).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@example(start=b"FORM\x00\x00\xff\xffAIFFCOMM\x00\x00\x00\x12\x00\x80", rest=b"")  # seeks to before its start
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(start, rest):
    read_or_refuse(start + rest)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(SMALL)), where=st.floats(0, 1), junk=st.binary(min_size=1, max_size=64), data=st.data()
)
def test_files_with_any_bytes_changed_are_read_or_refused(kind, where, junk, data):
    whole = SMALL[kind]
    near_the_header = data.draw(st.booleans())
    at = int(where * (min(400, len(whole)) if near_the_header else len(whole)))
    read_or_refuse(patched(whole, at, junk))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(kind=st.sampled_from(sorted(SMALL)), share=st.floats(0, 1))
def test_files_cut_anywhere_are_read_or_refused(kind, share):
    read_or_refuse(SMALL[kind][: int(share * len(SMALL[kind]))])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(width=32), max_size=200),
    rate=st.one_of(st.integers(-5, 2_000_000), st.floats(), st.none()),
)
def test_any_array_is_read_or_refused(values, rate):
    read_or_refuse((np.array(values, np.float32), rate))


def test_names_of_a_stream_are_those_of_its_source(tmp_path):
    path = Path(tmp_path / "a.wav")
    path.write_bytes(encoded(tone()))
    with path.open("rb") as file, SoundStream(file) as stream:
        assert stream.name == str(path)


def test_header_gives_a_length_for_the_progress_bar():
    with SoundStream(encoded(tone())) as stream:
        assert stream.claimed_duration_s == 4.0


def test_what_is_no_header_gives_no_length():
    with SoundStream(flac_without_length(tone())) as stream:
        assert stream.claimed_duration_s is None


def test_own_rate_is_kept_unless_another_is_asked_for():
    assert read_sound(encoded(tone(rate=22_050), rate=22_050)).sample_rate == 22_050


def test_soundfile_knows_the_formats_that_are_promised():
    assert {"WAV", "FLAC", "OGG", "MP3", "AIFF"} <= set(soundfile.available_formats())
