"""Sound made on the fly, as samples and as files of many kinds, good and bad."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from taggram.audio import read_sound

RECORDINGS = Path(__file__).parents[2] / "shared" / "reference" / "audio"
DEMO_SONG = "taggram.apps.demo_song"
LEAD_S = 5  # left out: recordings begin softly
RATE = 16_000
Samples = NDArray[np.float32]


def tone(seconds: float = 4.0, rate: int = RATE, hz: float = 440.0) -> Samples:
    """A sine, half of full scale."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float = 4.0, rate: int = RATE, n_channels: int = 1, seed: int = 0) -> Samples:
    """White noise, (samples, channels)."""
    samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), n_channels))
    return samples.astype(np.float32)


def real_sound(rate: int, n_samples: int) -> Samples:
    """Two recordings, (2, samples), or the demo song twice where those are not at hand; repeated if too short."""
    return np.stack([np.resize(whole, n_samples) for whole in _real_sound(rate)])


@functools.cache
def _real_sound(rate: int) -> list[Samples]:
    if RECORDINGS.is_dir():
        wholes = [read_sound(path, sample_rate=rate).samples for path in sorted(RECORDINGS.glob("*_30s.ogg"))]
    else:
        with tempfile.TemporaryDirectory() as folder:
            song = Path(folder, "song.wav")
            subprocess.run([sys.executable, "-m", DEMO_SONG, song], check=True, capture_output=True)
            whole = read_sound(song, sample_rate=rate).samples
        wholes = [whole, whole[len(whole) // 2 :]]
    return [whole[LEAD_S * rate :] for whole in wholes]


def encoded(samples: NDArray[Any], rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """A file by soundfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def av_encoded(
    container: str, codec: str, seconds: float = 4.0, rate: int = 48_000, *, layout: str = "mono", video: bool = False
) -> bytes:
    """A file by PyAV: a tone in all channels, and where wanted a picture beside it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if video:
            picture = output.add_stream("mpeg4", rate=1)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.open()
        if video:
            output.mux([*picture.encode(av.VideoFrame(64, 64, "yuv420p")), *picture.encode()])
        whole = av.AudioFrame.from_ndarray(tone(seconds, rate)[None], format="fltp", layout="mono")
        whole.sample_rate = rate
        size = stream.frame_size or 1024
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=size)
        for frame in (*resampler.resample(whole), *resampler.resample(None)):
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """The same bytes with some put in place of others."""
    return data[:at] + new + data[at + len(new) :]


def wav(data: bytes, *, rate: int = RATE, n_channels: int = 1, bits: int = 16, size: int | None = None) -> bytes:
    """A WAV file with whatever in its header."""
    size = len(data) if size is None else size
    frame = n_channels * bits // 8
    header = struct.pack("<HHIIHH", 1, n_channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    riff = struct.pack("<I", min(size + 36, 0xFFFFFFFF))
    return b"RIFF" + riff + b"WAVEfmt \x10\0\0\0" + header + b"data" + struct.pack("<I", size) + data


def pcm16(samples: Samples) -> bytes:
    """Samples as 16-bit numbers."""
    return (samples * 32767).astype("<i2").tobytes()


def flac_without_length(samples: Samples) -> bytes:
    """A FLAC file whose header claims 0 samples, as programs that write to a pipe leave it."""
    data = encoded(samples, kind="FLAC")
    return patched(data, 21, bytes([data[21] & 0xF0, 0, 0, 0, 0]))


def with_cover(mp3: bytes, size: int) -> bytes:
    """An MP3 file with a picture before the sound that is full of what looks like the start of a frame."""
    body = b"\0image/jpeg\0\x03\0" + b"\xff\xfb\x90\x64" * (size // 4)
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    synchsafe = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + synchsafe + frame + mp3


def opus_of_hours(hours: float) -> bytes:
    """An Ogg Opus file of silence: two bytes stand for 120 ms."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 4) + b"none" + struct.pack("<I", 0)
    pages = [_ogg_page([head], 0, 0, 2), _ogg_page([tags], 0, 1, 0)]
    n_pages = round(hours * 3600 / 0.12 / 255)
    pages += [  # 0x1B: two frames of 60 ms, of no bytes each
        _ogg_page([b"\x1b\x02"] * 255, index * 255 * 5760, index + 1, 4 * (index == n_pages))
        for index in range(1, n_pages + 1)
    ]
    return b"".join(pages)


def _ogg_page(packets: list[bytes], position: int, number: int, kind: int) -> bytes:
    head = struct.pack("<4sBBqII", b"OggS", 0, kind, position, 1, number)
    tail = bytes([len(packets), *map(len, packets)]) + b"".join(packets)
    return head + struct.pack("<I", _ogg_crc(head + bytes(4) + tail)) + tail


def _ogg_crc(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


def _crc_table() -> list[int]:
    table = []
    for crc in range(256):
        crc <<= 24
        for _ in range(8):
            crc = crc << 1 ^ 0x104C11DB7 if crc & 0x80000000 else crc << 1
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()
