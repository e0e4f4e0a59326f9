"""Tags of what is heard now: through a pipe, and from a microphone that plays what a test gives it."""

from __future__ import annotations

import io
import json
import struct
import sys
import types
import wave

import numpy as np
import pytest

from taggram.apps._listening import _summary
from taggram.apps._sound_in import HELD_BLOCKS, Microphone, Pipe
from taggram.errors import AudioError, ConfigError, MissingExtraError
from taggram.models import load_card
from tests._sounds import encoded, noise, tone

RATE = 16_000


def wav_pipe(samples, *, n_bytes=2, rate=RATE):
    """A WAV file of whole numbers, as a program writes it into a pipe."""
    file = io.BytesIO()
    with wave.open(file, "wb") as header:
        header.setnchannels(samples.shape[1])
        header.setsampwidth(n_bytes)
        header.setframerate(rate)
        values = np.round(samples * (2 ** (8 * n_bytes - 1) - 1)).astype(np.int64)
        if n_bytes == 1:
            values += 128
        header.writeframes(values.astype("<i8").reshape(-1).view(np.uint8).reshape(-1, 8)[:, :n_bytes].tobytes())
    return file.getvalue()


def heard(pipe):
    return np.concatenate([block.samples for block in pipe])


@pytest.mark.parametrize(("n_bytes", "tolerance"), [(1, 2e-2), (2, 1e-4), (3, 1e-6), (4, 1e-6)])
def test_pipe_gives_the_samples_of_a_wav_file(n_bytes, tolerance):
    samples = tone(0.5)[:, None]
    pipe = Pipe(io.BytesIO(wav_pipe(samples, n_bytes=n_bytes)))
    assert pipe.sample_rate == RATE
    assert heard(pipe) == pytest.approx(samples[:, 0], abs=tolerance)


def test_channels_are_mixed_down():
    samples = noise(0.2, n_channels=2)
    assert heard(Pipe(io.BytesIO(wav_pipe(samples)))) == pytest.approx(samples.mean(axis=1), abs=1e-4)


def test_samples_without_a_header_are_taken_at_the_given_rate():
    raw = (tone(0.1) * 32767).astype("<i2").tobytes()
    pipe = Pipe(io.BytesIO(raw), sample_rate=8_000)
    assert (pipe.sample_rate, len(heard(pipe))) == (8_000, len(raw) // 2)


def test_half_a_sample_at_the_end_is_left_out():
    assert len(heard(Pipe(io.BytesIO(b"\0\0" * 10 + b"\0"), sample_rate=RATE))) == 10


@pytest.mark.parametrize("data", [b"", b"hello", encoded(tone(0.1), subtype="FLOAT"), encoded(tone(0.1), kind="FLAC")])
def test_pipe_that_is_no_wav_file_is_told(data):
    with pytest.raises(AudioError, match=r"`ffmpeg -i song\.mp3 -f wav - \| taggram listen -`.*--sample-rate"):
        Pipe(io.BytesIO(data))


def header_of(form, length=None):
    """The head of a WAV file in a pipe."""
    length = len(form) if length is None else length
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + length.to_bytes(4, "little") + form + b"data\xff\xff\xff\xff"


def form(kind=1, n_channels=1, rate=RATE, n_bytes=2):
    n_frame = n_bytes * n_channels
    return struct.pack("<HHIIHH", kind, n_channels, rate, n_frame * rate, n_frame, 8 * n_bytes)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header_of(form(n_bytes=5)), "40 bits"),
        (header_of(form(n_bytes=8)), "64 bits"),
        (header_of(form(rate=0)), "at 0 Hz"),
        (header_of(form(n_channels=0)), "0 channels"),
        (header_of(form(kind=3, n_bytes=4)), "its format is 3"),
        (header_of(form()[:4]), "does not say"),
        (header_of(form(), length=2**32 - 1), "no samples"),
        (header_of(form())[:20], "no samples"),
    ],
)
def test_header_that_cannot_be_used_is_told(data, said):
    with pytest.raises(AudioError, match=said):
        Pipe(io.BytesIO(data + bytes(100)))


def test_longer_form_of_the_header_is_read():
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    longer = form(kind=0xFFFE, n_channels=2, n_bytes=3) + struct.pack("<HHI", 22, 24, 3) + guid
    pipe = Pipe(io.BytesIO(header_of(longer) + bytes(6 * 10)))
    assert (pipe.sample_rate, len(heard(pipe))) == (RATE, 10)


# -- the command -------------------------------------------------------------------------------------------------------


def test_command_gives_the_scores_of_tag(weights, run_taggram, tmp_path):
    samples = np.concatenate([tone(4.0), noise(4.0)[:, 0] / 4])[:, None]
    (tmp_path / "a.wav").write_bytes(wav_pipe(samples))
    live = run_taggram("listen", "-", "--format", "json", "--top", "50", stdin=wav_pipe(samples))
    tagged = run_taggram("tag", tmp_path / "a.wav", "--hop-s", "0.5", "--over-time", "--format", "json", "--top", "50")
    moments, whole = [json.loads(line) for line in live.stdout.splitlines()], json.loads(tagged.stdout)
    found = [{one["tag"]: one["score"] for one in moment["tags"]} for moment in moments]
    rows = [[scores[tag] for tag in load_card(weights).tag_names] for scores in found]
    assert live.returncode == 0, live.stderr
    assert np.allclose(rows, whole["scores"][: len(rows)], atol=1e-3)
    assert [moment["time_s"] for moment in moments] == whole["times_s"][: len(rows)]
    assert len(rows) >= len(whole["scores"]) - 1  # the last of the sound waits for what would come next


def test_command_says_how_long_tags_took(weights, run_taggram):
    done = run_taggram("listen", "-", stdin=wav_pipe(tone(4.0)[:, None]))
    assert "from a patch's last sample to its tags" in done.stderr


def test_pipe_shorter_than_a_patch_gives_no_tags(weights, run_taggram):
    done = run_taggram("listen", "-", stdin=wav_pipe(tone(1.0)[:, None]))
    assert (done.returncode, done.stdout) == (0, "")
    assert "heard 1.0 s, 0 times tagged" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "csv"), "text and json"),
        (("--hop-s", "0"), "above 0"),
        (("--kit", "no.safetensors"), "no such kit"),
    ],
)
def test_option_that_makes_no_sense_is_refused(weights, run_taggram, words, said):
    done = run_taggram("listen", "-", *words, stdin=b"")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


# -- a microphone ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sound_card(monkeypatch):
    """A stand-in for the package that knows sound cards; its stream plays a block of ones when it starts."""
    card = types.ModuleType("sounddevice")

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, *, callback, blocksize, device, **settings):
            if device == "broken":
                raise PortAudioError("device busy")
            self.play = lambda status=None: callback(np.ones((blocksize, 1), np.float32), blocksize, None, status)
            self.closed, self.active = False, True

        def start(self):
            self.play()

        def close(self):
            self.closed = True

    def query_devices(device=None, kind=None):
        if device == "none":
            raise ValueError("No input device matching 'none'")
        if kind:
            return {"name": "made", "default_samplerate": 8_000.0}
        return [
            {"name": "speaker", "default_samplerate": 48_000.0, "max_input_channels": 0},
            {"name": "made", "default_samplerate": 8_000.0, "max_input_channels": 1},
        ]

    card.PortAudioError, card.InputStream, card.query_devices = PortAudioError, InputStream, query_devices
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    return card


def test_microphone_gives_what_it_hears(sound_card):
    with Microphone() as microphone:
        block = next(iter(microphone))
    assert (microphone.sample_rate, block.samples.tolist()) == (8_000, [1.0] * 400)


def test_microphone_that_is_pulled_out_is_told(sound_card):
    with Microphone() as microphone:
        blocks = iter(microphone)
        next(blocks)
        microphone._stream.active = False
        with pytest.raises(AudioError, match="pulled out"):
            next(blocks)


def test_sound_that_is_lost_is_counted(sound_card):
    with Microphone() as microphone:
        for _ in range(HELD_BLOCKS):
            microphone._stream.play()  # with the one of its start, one more than is held
        microphone._stream.play(types.SimpleNamespace(input_overflow=True))
    assert microphone.n_lost == 3


def test_sound_that_was_lost_is_said_at_the_end():
    assert "sound was lost 2 times" in _summary(1.0, [0.1], 1, 0, 2)


def test_microphone_is_closed_at_the_end(sound_card):
    with Microphone() as microphone:
        stream = microphone._stream
    assert stream.closed


def test_unknown_microphone_is_told(sound_card):
    with pytest.raises(ConfigError, match="--devices"):
        Microphone("none")


def test_microphone_that_is_in_use_is_told(sound_card):
    with pytest.raises(AudioError, match="device busy"):
        Microphone("broken")


def test_missing_package_is_answered_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taggram\[listen\]'"):
        Microphone()


def test_only_inputs_are_listed(sound_card, capsys):
    from taggram.apps._listening import print_inputs

    print_inputs()
    assert capsys.readouterr().out == "1\tmade\t8000 Hz\n"
