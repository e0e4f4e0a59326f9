"""Tags in files that are out of the ordinary: old versions, other tags beside, pages, tables, lies in headers."""

from __future__ import annotations

import io
import re
import struct
import zlib

import av
import mutagen
import mutagen.flac
import mutagen.id3
import mutagen.mp4
import numpy as np
import pytest
from _sounds import av_encoded, encoded, noise, patched, pcm16, tone, wav
from _tagged_files import SECONDS, file_of, packets_of, seen_by_mutagen, seen_by_pyav, with_users_tags
from mutagen.ogg import OggPage

from taggram.apps._file_tags_id3 import Id3Tag, synchronised, unsynchronised
from taggram.apps.file_tags import Outcome, undo_tags, write_tags
from taggram.errors import FileTagsError

TAGS = ["guitar", "Ümläut 日本"]


@pytest.fixture(scope="module")
def mp3():
    """Encoded sound of an mp3 file, without any tags."""
    return file_of("mp3")


@pytest.fixture(scope="module")
def flac():
    """A FLAC file without tags of anybody's."""
    return file_of("flac")


@pytest.fixture
def there_and_back(tmp_path):
    """Write tags into bytes of a file, look at it, take them out again, and see that the bytes are as before."""

    def go(data, name, tags=TAGS, field="TAGGRAM"):
        path = tmp_path / name
        path.write_bytes(data)
        before = packets_of(path)
        assert write_tags(path, tags, field=field).outcome is Outcome.written
        written = tmp_path / f"written-{name}"
        written.write_bytes(path.read_bytes())
        assert packets_of(path) == before
        assert write_tags(path, tags, field=field).outcome is Outcome.unchanged
        undo_tags(path)
        assert path.read_bytes() == data
        return written

    return go


def refused(tmp_path, data, name, match):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(FileTagsError, match=match):
        write_tags(path, TAGS)
    assert path.read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 1


# -- ID3 ---------------------------------------------------------------------------------------------------------------


def synchsafe(number):
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3(version, frames, flags=0, room=0):
    """An ID3 tag of frames: names and what is in them."""
    parts = []
    for name, content in frames:
        size = len(content)
        if version == 2:
            parts.append(name + size.to_bytes(3, "big") + content)
        else:
            number = (
                bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) if version == 4 else size.to_bytes(4, "big")
            )
            parts.append(name + number + b"\0\0" + content)
    body = b"".join(parts) + bytes(room)
    if flags & 0x80 and version < 4:
        body = unsynchronised(body)
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(body)) + body


TITLE_2 = (b"TT2", b"\0Old")
TITLE = (b"TIT2", b"\0Old")
PICTURE = (b"APIC", b"\0image/png\0\3\0" + b"\xff\xfb\xff\0\xff\xff" * 50)


@pytest.mark.parametrize("version", [2, 3])
def test_old_version_stays_and_has_one_text(version, mp3, there_and_back):
    title = TITLE_2 if version == 2 else TITLE
    written = there_and_back(id3(version, [title], room=20) + mp3, "a.mp3")
    assert written.read_bytes()[3] == version
    assert seen_by_mutagen(written) == ["guitar; Ümläut 日本"]
    assert seen_by_pyav(written)["TAGGRAM"] == "guitar; Ümläut 日本"


def test_mood_of_an_old_version_has_a_frame_of_its_own_name(mp3, there_and_back):
    written = there_and_back(id3(3, [TITLE]) + mp3, "a.mp3", field="mood")
    assert seen_by_mutagen(written, "MOOD") == ["guitar; Ümläut 日本"]


@pytest.mark.parametrize("version", [3, 4])
def test_unsynchronised_tag(version, mp3, there_and_back):
    written = there_and_back(id3(version, [TITLE, *([PICTURE] if version == 3 else [])], flags=0x80) + mp3, "a.mp3")
    assert mutagen.File(written)["TIT2"].text == ["Old"]
    assert seen_by_mutagen(written)


def test_frames_of_2_4_with_sizes_as_itunes_wrote_them(mp3, there_and_back):
    frame = b"APIC" + (300).to_bytes(4, "big") + b"\0\0" + PICTURE[1].ljust(300, b"\1")[:300]
    body = frame + frame[:10].replace(b"APIC", b"PRIV") + b"x\0".ljust(300, b"\2") + b"TIT2\0\0\0\4\0\0\0Old"
    written = there_and_back(b"ID3\4\0\0" + synchsafe(len(body)) + body + mp3, "a.mp3")
    assert mutagen.File(written)["TIT2"].text == ["Old"]


def test_room_in_a_tag_is_used_so_that_the_sound_does_not_move(mp3, there_and_back):
    data = id3(4, [TITLE], room=2000) + mp3
    written = there_and_back(data, "a.mp3").read_bytes()
    assert len(written) == len(data)
    assert written[2000:] == data[2000:]


def test_all_frames_keep_their_bytes_and_order(mp3, there_and_back):
    frames = [PICTURE, (b"TXXX", b"\1\xff\xfea\0\0\0\xff\xfeb\0"), TITLE, (b"XYZ9", b"?\0?"), (b"PRIV", b"me\0\0\1")]
    head = id3(4, frames)
    written = there_and_back(head + mp3, "a.mp3").read_bytes()
    assert written[10 : len(head)] == head[10:]


def test_what_is_after_the_frames_and_no_room_stays(mp3, there_and_back):
    body = id3(3, [TITLE])[10:] + b"\0\0\0no frame\0\0"
    there_and_back(b"ID3\3\0\0\0\0\0" + bytes([len(body)]) + body + mp3, "a.mp3")


def test_revision_of_a_tag_stays(mp3, there_and_back):
    assert there_and_back(patched(id3(3, [TITLE]), 4, b"\1") + mp3, "a.mp3").read_bytes()[4] == 1


def test_tags_at_the_end_of_an_mp3_stay(mp3, there_and_back):
    ape_item = struct.pack("<II", 3, 0) + b"Genre\0" + b"Old"
    ape = struct.pack("<IIII", 2000, len(ape_item) + 32, 1, 0) + bytes(8)
    end = ape_item + b"APETAGEX" + ape + b"TAG" + b"Title".ljust(30, b"\0") + bytes(94) + b"\x11"
    written = there_and_back(mp3 + end, "a.mp3", field="genre").read_bytes()
    assert written.endswith(end)


def test_extended_header_is_told(mp3, tmp_path):
    refused(tmp_path, patched(id3(3, [TITLE]), 5, b"\x40") + mp3, "a.mp3", "extended header")


def test_tag_that_is_cut_short_is_told(tmp_path):
    refused(tmp_path, id3(4, [TITLE], room=500)[:300], "a.mp3", "cut short")


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\0", b"\xff\xff\xff", b"\xff\0\0\xfe", b"a\xff\xe0", bytes(range(256)) * 2]
)
def test_unsynchronised_bytes_come_back(data):
    done = unsynchronised(data)
    assert synchronised(done) == data
    assert re.search(rb"\xff[\xe0-\xff]", done) is None


def test_packed_and_grouped_frames_are_read():
    text = b"\3TAGGRAM\0guitar"
    packed = struct.pack(">I", len(text)) + zlib.compress(text)
    frame_3 = b"TXXX" + struct.pack(">I", len(packed)) + b"\0\x80" + packed
    frame_4 = b"TXXX" + bytes([0, 0, 0, len(text) + 1]) + b"\0\x40" + b"\7" + text
    for version, frame in ((3, frame_3), (4, frame_4)):
        tag = Id3Tag(True, version)
        assert (tag.name(frame), tag.values([frame])) == ("TXXX:TAGGRAM", ["guitar"])


# -- wav and aiff ------------------------------------------------------------------------------------------------------


def chunk(name, data, order="<"):
    return name + struct.pack(f"{order}I", len(data)) + data + bytes(len(data) % 2)


def with_chunks(data, before=b"", after=b"", order="<"):
    """A wav or aiff file with more chunks, before and after its own."""
    body = data[8:12] + before + data[12:] + after
    return data[:4] + struct.pack(f"{order}I", len(body)) + body


def test_chunks_of_a_wav_stay(there_and_back):
    info = chunk(b"LIST", b"INFO" + chunk(b"IGNR", b"Old\0"))
    data = with_chunks(file_of("wav"), before=chunk(b"bext", b"x" * 601), after=info)
    written = there_and_back(data, "a.wav", field="genre").read_bytes()
    assert written[8 : len(data)] == data[8:]


def test_tag_in_a_wav_between_other_chunks(there_and_back):
    tag = id3(3, [TITLE], room=100)
    data = with_chunks(file_of("wav"), before=chunk(b"id3 ", tag), after=chunk(b"LIST", b"INFO"))
    written = there_and_back(data, "a.wav")
    assert seen_by_mutagen(written) == ["guitar; Ümläut 日本"]


def test_sound_of_an_odd_size(there_and_back):
    there_and_back(encoded(tone(1)[:15_001], kind="WAV", subtype="PCM_U8"), "a.wav")


def test_short_names_at_the_end_of_a_file_are_no_old_tag(there_and_back):
    written = there_and_back(file_of("aiff"), "a.aiff", tags=["a"])
    assert set(mutagen.File(written).tags) == {"TXXX:TAGGRAM", "TXXX:TAGGRAM_UNDO"}


def test_wav_that_claims_more_than_there_is_is_told(tmp_path):
    refused(tmp_path, wav(pcm16(tone(1)), size=2**31), "a.wav", "claims")


def test_wav_of_a_stream_is_told(tmp_path):
    refused(tmp_path, patched(wav(pcm16(tone(1))), 4, b"\xff\xff\xff\xff"), "a.wav", "claims 4294967303 bytes")


def test_rf64_is_told(tmp_path):
    refused(tmp_path, encoded(tone(1), kind="RF64"), "a.wav", "RF64")


def test_aiff_with_floats(there_and_back):
    there_and_back(encoded(tone(1), kind="AIFF", subtype="FLOAT"), "a.aifc")


# -- FLAC --------------------------------------------------------------------------------------------------------------


def flac_with(flac, *blocks, prefix=b""):
    """A FLAC file with its facts and these blocks of metadata alone."""
    sound = flac.index(b"\xff\xf8")
    facts = flac[8:42]
    every = [(0, facts), *blocks]
    head = b"".join(
        bytes([kind | 0x80 * (number == len(every) - 1)]) + len(content).to_bytes(3, "big") + content
        for number, (kind, content) in enumerate(every)
    )
    return prefix + b"fLaC" + head + flac[sound:]


ODD_ITEMS = struct.pack("<I", 7) + b"TITLE=x" + struct.pack("<I", 5) + b"\xff=\xfe\0\1"
COMMENTS = struct.pack("<I4sI", 4, b"some", 2) + ODD_ITEMS


def test_flac_without_comments(flac, there_and_back):
    there_and_back(flac_with(flac), "a.flac")


def test_padding_of_a_flac_is_used(flac, there_and_back):
    data = flac_with(flac, (4, COMMENTS), (2, b"test" + bytes(20)), (1, bytes(1000)))
    written = there_and_back(data, "a.flac").read_bytes()
    assert len(written) == len(data)
    assert written[-5000:] == data[-5000:]


def test_padding_that_is_too_small_and_comments_that_are_no_utf8(flac, there_and_back):
    data = flac_with(flac, (1, bytes(3)), (4, COMMENTS), (6, b"\0" * 40))
    written = there_and_back(data, "a.flac").read_bytes()
    assert ODD_ITEMS in written


def test_padding_with_something_in_it_is_left(flac, there_and_back):
    there_and_back(flac_with(flac, (4, COMMENTS), (1, b"hidden" + bytes(1000))), "a.flac")


def test_flac_after_an_id3_tag(flac, there_and_back):
    there_and_back(flac_with(flac, (4, COMMENTS), prefix=id3(4, [TITLE])), "a.flac")


def test_flac_that_is_cut_short_is_told(flac, tmp_path):
    refused(tmp_path, flac_with(flac, (4, COMMENTS))[:60], "a.flac", "cut short")


# -- Ogg ---------------------------------------------------------------------------------------------------------------


def pages_of(data):
    """Serial, number and start of each page."""
    return [
        (*struct.unpack_from("<II", data, match.start() + 14), match.start()) for match in re.finditer(b"OggS\0", data)
    ]


@pytest.mark.parametrize("kind", ["ogg", "opus"])
@pytest.mark.parametrize("size", [100, 70_000, 66_000 * 4])
def test_comments_of_many_pages(kind, size, there_and_back):
    file = io.BytesIO(file_of(kind))
    opened = mutagen.File(file)
    opened["picture"] = ["p" * size]
    file.seek(0)
    opened.save(file)
    written = there_and_back(file.getvalue(), f"a.{kind}", tags=["x" * 300, "y"]).read_bytes()
    assert [number for _, number, _ in pages_of(written)] == list(range(len(pages_of(written))))


def test_tags_that_need_another_page(there_and_back):
    written = there_and_back(file_of("ogg"), "a.ogg", tags=["z" * 66_000]).read_bytes()
    assert len(pages_of(written)) > len(pages_of(file_of("ogg")))


def test_rubbish_between_pages_is_told_where_these_get_new_numbers(tmp_path):
    data = file_of("ogg")
    at = pages_of(data)[-1][2]
    path = tmp_path / "a.ogg"
    path.write_bytes(data[:at] + b"rubbish" + data[at:])
    assert write_tags(path, TAGS).outcome is Outcome.written
    with pytest.raises(FileTagsError, match="numbered anew"):
        write_tags(path, ["z" * 66_000])
    assert seen_by_mutagen(path) == TAGS


def test_chained_streams_have_tags_in_the_first(there_and_back):
    first, second = file_of("ogg"), encoded(noise(SECONDS, 44_100, 2, seed=1), 44_100, "OGG")
    written = there_and_back(first + second, "a.ogg", tags=["z" * 66_000]).read_bytes()
    assert written.endswith(second)


@pytest.mark.parametrize("others_first", [False, True])
def test_pages_of_another_stream_keep_their_bytes(others_first, there_and_back):
    data = file_of("opus")
    starts = [start for _, _, start in pages_of(data)]
    other = b"OggS" + struct.pack("<BBqIIIB", 0, 2, 0, 77, 0, 0, 1) + b"\5hello"
    at = 0 if others_first else starts[1]
    written = there_and_back(data[:at] + other + data[at:], "a.opus", tags=["z" * 66_000]).read_bytes()
    assert written.count(other) == 1


def test_opus_keeps_gain_and_what_follows_its_comments(tmp_path):
    path = tmp_path / "a.opus"
    data = file_of("opus")
    head = data.index(b"OpusHead")
    path.write_bytes(data)
    opened = mutagen.File(path)
    opened["R128_TRACK_GAIN"] = ["-512"]
    opened.save()
    write_tags(path, TAGS)
    assert mutagen.File(path)["R128_TRACK_GAIN"] == ["-512"]
    assert path.read_bytes()[head : head + 19] == data[head : head + 19]


def in_ogg(flac, folder):
    """A FLAC file in Ogg: its facts, comments, then a page a frame."""
    (folder / "in.flac").write_bytes(flac)
    with av.open(str(folder / "in.flac")) as container:
        frames = [(packet.duration, bytes(packet)) for packet in container.demux(audio=0) if packet.size]
    (folder / "in.flac").unlink()
    comments = bytes([0x84]) + len(COMMENTS).to_bytes(3, "big") + COMMENTS
    packets = [(0, b"\x7fFLAC\1\0\0\1fLaC\0\0\0\x22" + flac[8:42]), (0, comments), *frames]
    position = 0
    pages = []
    for number, (n_samples, packet) in enumerate(packets):
        page = OggPage()
        position += n_samples
        page.packets, page.sequence, page.serial, page.position = [packet], number, 5, position
        page.first, page.last = number == 0, number == len(packets) - 1
        pages.append(page.write())
    return b"".join(pages)


def test_ogg_flac(flac, tmp_path, there_and_back):
    written = there_and_back(in_ogg(flac, tmp_path), "a.oga")
    assert seen_by_mutagen(written) == TAGS


def test_ogg_without_sound_is_told(tmp_path):
    refused(tmp_path, b"OggS" + struct.pack("<BBqIIIB", 0, 2, 0, 77, 0, 0, 1) + b"\5hello", "a.ogg", "no stream")


# -- MP4 ---------------------------------------------------------------------------------------------------------------


def atom(name, *parts):
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + name + body


def moov_first(data):
    """The same file with its metadata before its sound, and the places of its chunks moved by as much."""
    start = data.index(b"moov") - 4
    moov = bytearray(data[start:])
    sound = data.index(b"mdat") - 4
    table = moov.index(b"stco") + 4
    (n_chunks,) = struct.unpack_from(">I", moov, table + 4)
    for place in range(table + 8, table + 8 + 4 * n_chunks, 4):
        struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(moov))
    return data[:sound] + bytes(moov) + data[sound:start]


@pytest.fixture(scope="module")
def m4a():
    """An m4a file with its metadata last."""
    return file_of("m4a")


def test_sound_after_the_metadata_is_found_again(m4a, there_and_back):
    there_and_back(moov_first(m4a), "a.m4a")


def test_free_atom_after_the_tags_is_used(m4a, tmp_path, there_and_back):
    data = moov_first(with_users_tags("m4a", m4a))
    file = io.BytesIO(data)
    opened = mutagen.mp4.MP4(file)
    file.seek(0)
    opened.save(file, padding=lambda info: 3000)
    data = file.getvalue()
    written = there_and_back(data, "a.m4a").read_bytes()
    assert len(written) == len(data)
    assert written[written.index(b"mdat") :] == data[data.index(b"mdat") :]


def test_genre_by_its_number_comes_back(m4a, there_and_back):
    number = atom(b"gnre", atom(b"data", struct.pack(">IIH", 0, 0, 18)))
    data = with_users_tags("m4a", m4a)
    list_at = data.index(b"ilst") + 4
    data = bytearray(data[:list_at] + number + data[list_at:])
    for name in (b"moov", b"udta", b"meta", b"ilst"):
        at = data.rindex(name) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(number))
    there_and_back(bytes(data), "a.m4a", field="genre")


def test_file_without_any_tags_has_none_after_undo(m4a, there_and_back):
    at = m4a.rindex(b"udta") - 4
    data = bytearray(m4a[:at])
    start = data.index(b"moov") - 4
    struct.pack_into(">I", data, start, len(data) - start)
    written = there_and_back(bytes(data), "a.m4a")
    assert seen_by_mutagen(written) == TAGS


def test_fragments_are_told(tmp_path, m4a):
    refused(tmp_path, m4a + atom(b"moof", b""), "a.m4a", "fragments")


def test_mp4_without_its_metadata_is_told(tmp_path, m4a):
    refused(tmp_path, m4a[: m4a.index(b"moov") - 4], "a.m4a", "no atom moov")


# -- others ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("container", "codec"), [("adts", "aac"), ("matroska", "libopus")])
def test_other_formats_are_told(container, codec, tmp_path):
    refused(tmp_path, av_encoded(container, codec, SECONDS), "a.mp3", "mp3, flac, ogg, opus, m4a, wav and aiff")


def test_what_is_no_sound_is_told(tmp_path):
    refused(tmp_path, b"hello" * 100, "a.mp3", "mutagen cannot read it")


def test_damage_is_refused_or_overcome_and_never_worse(tmp_path, mp3):
    random = np.random.default_rng(0)
    kinds = {kind: with_users_tags(kind, file_of(kind)) for kind in ("mp3", "flac", "ogg", "m4a", "wav")}
    for _ in range(100):
        kind = str(random.choice(list(kinds)))
        data = bytearray(kinds[kind])
        end = len(data) if kind in ("m4a", "wav") else 1200
        for at in random.integers(max(0, end - 1200), end, 3):
            data[at] = random.integers(256)
        path = tmp_path / f"a.{kind}"
        path.write_bytes(data)
        try:
            write_tags(path, TAGS)
        except FileTagsError:
            assert path.read_bytes() == data
        else:
            assert seen_by_mutagen(path) in (TAGS, ["; ".join(TAGS)])
