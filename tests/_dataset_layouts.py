"""Small made copies of data sets, laid out as their archives do, with the quirks that the real ones have."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taggram.datasets import ballroom, esc50, gtzan, irmas, jamendo, mtt, tut2017, urbansound8k
from taggram.vocabulary import MSD50

SOUND = {
    ".wav": b"RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00"
    b"\x02\x00\x10\x00data\x02\x00\x00\x00\x00\x00",
    ".mp3": b"\xff\xfb\x90\x64" + bytes(60),
    ".au": b".snd" + bytes(28),
}


def put(path: Path, content: bytes | str | None = None) -> Path:
    """Write a file, by default the least sound of its kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        content = SOUND[path.suffix]
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@dataclass(frozen=True)
class Layout:
    """A data set that can be written.

    Attributes:
        name: of the data set.
        write: into a folder, under the folder that the archive makes.
        tops: folders that the archive makes, or may be missing: the first is the usual one.
        n_tracks: of train, valid and test of the first split.
        columns: that tracks have, separated by blanks.
    """

    name: str
    write: Callable[[Path, str], object]
    tops: tuple[str, ...]
    n_tracks: tuple[int, int, int]
    columns: str


# -- MagnaTagATune -----------------------------------------------------------------------------------------------------

MTT_PARTS = {part: mtt.tagged_clips(part)[:n] for part, n in (("train", 3), ("valid", 1), ("test", 2))}
MTT_UNTAGGED = 60_000  # a clip of the test folders that no list names
MTT_UNREADABLE = 35644


def mtt_row(clip_id: int, tags: Iterable[str], path: str) -> str:
    held = set(tags)
    fields = [str(clip_id), *("1" if tag in held else "0" for tag in mtt.ALL_TAGS), path]
    return "\t".join(f'"{one}"' for one in fields) + "\n"


def mtt_header() -> str:
    return "\t".join(f'"{name}"' for name in ("clip_id", *mtt.ALL_TAGS, "mp3_path")) + "\n"


def write_mtt(root: Path, top: str) -> None:
    home = root / top
    clips = [
        (MTT_PARTS["train"][0], ("guitar", "metal", "female voice"), "0/ann-one-01-song-0-29.mp3"),
        (MTT_PARTS["train"][1], ("guitar", "weird", "female vocal"), "0/ann-one-01-song-29-58.mp3"),
        (MTT_PARTS["train"][2], ("no vocals", "clasical"), "b/bob-two-03-no-way-30-59.mp3"),
        (MTT_PARTS["valid"][0], ("techno",), "c/cat-three-01-x-0-29.mp3"),
        (MTT_PARTS["test"][0], ("guitar", "silence", "soprano"), "d/dan-four-01-x-0-29.mp3"),
        (MTT_PARTS["test"][1], ("guitar",), "f/eve-five-01-x-0-29.mp3"),
        (MTT_UNTAGGED, (), "e/eve-six-01-x-0-29.mp3"),
        (MTT_UNREADABLE, ("rock",), "6/norine-now-08-gently-117-146.mp3"),
    ]
    put(home / mtt.TABLE, mtt_header() + "".join(mtt_row(*clip) for clip in clips))
    rows = "".join(f"{clip_id}\t1\tx\t{path[2:5]}\talbum {path[0]}\n" for clip_id, _, path in clips)
    put(home / mtt.CLIP_INFO, "clip_id\ttrack_number\ttitle\tartist\talbum\n" + rows)
    for clip_id, _, path in clips:
        put(home / path, b"" if clip_id == MTT_UNREADABLE else None)


# -- Million Song Dataset ----------------------------------------------------------------------------------------------

MSD_IDS = tuple(f"TR{letter * 5}128F4{number:06}" for number, letter in enumerate("ABCDE"))


def python2_list(texts: Sequence[str]) -> bytes:
    """A list as Python 2 pickled it, in protocol 0."""
    return b"(lp0\n" + b"".join(f"S'{text}'\np{place}\na".encode() for place, text in enumerate(texts, 1)) + b"."


def python2_vectors(vectors: Mapping[str, Sequence[float]]) -> bytes:
    """A dictionary of columns of numbers as Python 2 and numpy pickled it."""
    entries = b""
    for key, values in vectors.items():
        data = struct.pack(f"<{len(values)}d", *values)
        entries += b"S'%s'\n" % key.encode()
        entries += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        entries += b"(I1\n(I%d\nI1\nt" % len(values)
        entries += b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        entries += b"I00\nT" + struct.pack("<I", len(data)) + data + b"tbs"
    return b"(d" + entries + b"."


def msd_vector(*tags: str) -> list[float]:
    return [float(tag in tags) for tag in MSD50]


def write_msd(root: Path, top: str) -> None:
    lists = root / top
    put(lists / "filtered_list_train.cP", python2_list(MSD_IDS[:3]))
    put(lists / "filtered_list_test.cP", python2_list(MSD_IDS[3:]))
    tags = [("rock", "Mellow"), ("House",), (), ("happy", "rock"), ("pop",)]
    vectors = {track_id: msd_vector(*held) for track_id, held in zip(MSD_IDS, tags)}
    put(lists / "msd_id_to_tag_vector.cP", python2_vectors(vectors))
    previews = {track_id: str(8947470 + place) for place, track_id in enumerate(MSD_IDS)}
    files = {preview: f"8/9/{preview}.clip.mp3" for preview in previews.values()}
    put(lists / "MSD_id_to_7D_id.pkl", pickle.dumps(previews, protocol=2))
    put(lists / "7D_id_to_path.pkl", pickle.dumps(files, protocol=2))
    for path in files.values():
        put(root / "audio" / path)
    for track_id in MSD_IDS:
        put(root / "audio" / track_id[2] / track_id[3] / track_id[4] / f"{track_id}.mp3")
    genre_lists = root / "TAGTRAUM_split"
    put(genre_lists / "train_list.cP", python2_list(MSD_IDS[:2]))
    put(genre_lists / "test_list.cP", python2_list(MSD_IDS[2:]))
    genres = "".join(f"{track_id}\t{genre}\n" for track_id, genre in zip(MSD_IDS, ("Rock", "New Age", "Jazz", "Rock")))
    put(root / "msd_tagtraum_cd2c.cls", f"# a remark\n{genres}")
    put(root / "unique_tracks.txt", f"{MSD_IDS[0]}<SEP>SOAAAAAAAAAAAAAAAA<SEP>Ann<SEP>Song\n")
    put(root / "sid_mismatches.txt", f"ERROR: <SOAAAAAAAAAAAAAAAA {MSD_IDS[1]}> Ann  -  Song  !=  Bob  -  Other\n")


# -- MTG-Jamendo -------------------------------------------------------------------------------------------------------

JAMENDO_TAGS = {  # vocabulary: tags of the five tracks
    "top50": ("genre---rock mood/theme---happy", "genre---pop", "genre---jazz", "genre---rock", "genre---folk"),
    "genre": ("genre---rock", "genre---60s", "genre---jazz", "genre---rock", "genre---folk"),
    "instrument": (
        "instrument---voice", "instrument---bass", "instrument---bell", "instrument---beat", "instrument---piano",
    ),
    "moodtheme": (
        "mood/theme---happy", "mood/theme---calm", "mood/theme---deep", "mood/theme---dark", "mood/theme---cool",
    ),
    "all": (
        "mood/theme---happy genre---60s instrument---bell", "genre---pop", "genre---jazz", "genre---rock",
        "genre---folk",
    ),
}  # fmt: skip
JAMENDO_PARTS = {"train": (0, 1), "validation": (2,), "test": (3, 4)}


def write_jamendo(root: Path, top: str) -> None:
    home = root / top
    numbers = (214, 3524, 1009600, 7, 100)
    for number in numbers:
        put(home / "audio" / f"{number % 100:02}" / f"{number}.mp3")
        put(home / "audio-low" / f"{number % 100:02}" / f"{number}.low.mp3")
    for split in range(jamendo.N_SPLITS):
        for vocabulary, subset in jamendo.SUBSETS.items():
            for part, places in JAMENDO_PARTS.items():
                lines = ["\t".join(jamendo.HEADER)]
                for place in places:
                    number = numbers[(place + split) % len(numbers)]
                    facts = [
                        f"track_{number:07}",
                        f"artist_{place:06}",
                        "album_000031",
                        f"{number % 100:02}/{number}.mp3",
                        "211.4",
                    ]
                    lines.append("\t".join([*facts, *JAMENDO_TAGS[vocabulary][place].split()]))
                put(home / f"data/splits/split-{split}/{subset}-{part}.tsv", "\r\n".join(lines) + "\r\n")


# -- GTZAN -------------------------------------------------------------------------------------------------------------


def write_gtzan(root: Path, top: str, suffix: str = ".wav") -> None:
    for genre in gtzan.GENRES:
        for number in range(gtzan.N_OF_GENRE):
            put(root / top / genre / f"{genre}.{number:05}{suffix}")


# -- FMA ---------------------------------------------------------------------------------------------------------------

FMA_TRACKS = (  # number, subset, split, genre
    (2, "small", "training", "Hip-Hop"), (140, "small", "validation", "Folk"), (141, "small", "test", "Folk"),
    (98565, "small", "training", "Rock"), (99134, "small", "training", "Hip-Hop"),
    (1000, "medium", "training", "Old-Time / Historic"),
    (1001, "medium", "test", "Blues"), (155320, "large", "training", ""), (20, "", "training", ""),
)  # fmt: skip


def write_fma(root: Path, top: str) -> None:
    names = ",comments,id,bio,id,split,subset,genre_top,title"
    header = f",album,album,artist,artist,set,set,track,track\n{names}\ntrack_id,,,,,,,,\n"
    bio = '"' + '<p>Lives in a ""house""\n' * 8000 + '</p>"'  # longer than the csv module takes by itself
    rows = "".join(
        f'{number},0,{number // 10},{bio},{number // 2},{split},{subset},{genre},"a, b"\n'
        for number, subset, split, genre in FMA_TRACKS
    )
    put(root / top / "tracks.csv", header + rows)
    for number, subset, _, _ in FMA_TRACKS:
        name = f"{number:06}"
        if subset in ("small", "medium"):
            put(root / "fma_medium" / name[:3] / f"{name}.mp3")
        if subset == "small":
            put(root / "fma_small" / name[:3] / f"{name}.mp3")


# -- Ballroom and Extended Ballroom ------------------------------------------------------------------------------------


def write_ballroom(root: Path, top: str) -> None:
    folders = list(ballroom.DANCE_OF_FOLDER)
    for number in range(20):
        put(root / top / folders[number % len(folders)] / f"Media-{100000 + number}.wav")
    for first, second in (ballroom.EXACT[1], ballroom.SAME_RECORDING[0]):
        put(root / top / "ChaChaCha" / f"{first}.wav")
        put(root / top / "Samba" / "album" / f"{second}.wav")
    put(root / top / "ChaChaCha" / "._Media-100000.wav", b"left by a Mac")
    put(root / top / "allBallroomFiles", "./ChaChaCha/Media-100000.wav\n")


EXTENDED = {"Waltz": 11, "Salsa": 4, "Chacha": 7}  # songs


def write_extended_ballroom(root: Path, top: str, *, named: bool = True) -> None:
    nodes = []
    number = 100
    for dance, n_songs in EXTENDED.items():
        songs = []
        for place in range(n_songs):
            number += 1
            more = {1: f' exact="{number - 1}"', 3: f' karaoke="{number + 1}" voiced="1"'}.get(place, "")
            songs.append(
                f'<song id="{number}" artist="A &amp; B" album="C" title="d" bpm="{88 + place}.5" '
                f'hash="{number:032x}"{more}/>'
            )
            put(root / top / dance / (f"{dance}.{number}.mp3" if named else f"{number}.mp3"))
        nodes.append(f"<{dance}>{''.join(songs)}</{dance}>")
    put(root / top / "extendedballroom_v1.1.xml", f'<?xml version="1.0" ?><root>{"".join(nodes)}</root>')


# -- IRMAS -------------------------------------------------------------------------------------------------------------

IRMAS_TESTS = (
    ("Part1", "02 - It's a song-1", "gel\t\nvoi\t\n"),
    ("Part2", "Café-3", "cel\t\n"),
    ("Part3", "x-2", "voi\t\npia\t\nvio"),
)


def write_irmas(root: Path, top: str) -> None:
    for instrument in irmas.INSTRUMENTS:
        for excerpt in (1, 2, 3):
            put(root / top / instrument / f"[{instrument}][jaz_blu]0189__{excerpt}.wav")
    put(root / top / "cla" / "008__[cla][nod][cla]0190__1.wav")
    put(root / top / "README.txt", "read me")
    for part, name, codes in IRMAS_TESTS:
        folder = root / f"IRMAS-TestingData-{part}" / part
        put(folder / f"{name}.wav")
        put(folder / f"{name}.txt", codes)


# -- UrbanSound8K, ESC-50, TUT Acoustic Scenes -------------------------------------------------------------------------


def write_urbansound8k(root: Path, top: str) -> None:
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for place in range(30):
        fold, number = place % 10 + 1, place % len(urbansound8k.CLASSES)
        name = f"{100000 + place}-{number}-0-{place}.wav"
        lines.append(
            f"{name},{100000 + place},{place}.5,{place + 4}.5,{place % 2 + 1},{fold},{number},"
            f"{urbansound8k.CLASSES[number]}"
        )
        put(root / top / f"audio/fold{fold}/{name}")
    put(root / top / "metadata/UrbanSound8K.csv", "\n".join(lines) + "\n")


def write_esc50(root: Path, top: str) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, esc50.N_FOLDS + 1):
        for target, category in enumerate(esc50.CLASSES):
            name = f"{fold}-{100000 + target}-A-{target}.wav"
            lines.append(f"{name},{fold},{target},{category},{category in esc50.ESC10},{100000 + target},A")
            put(root / top / "audio" / name)
    put(root / top / "meta/esc50.csv", "\n".join(lines) + "\n")


def write_tut2017(root: Path, top: str) -> None:
    half = root / top
    names = [f"audio/b{place:03}_{10 * place}_{10 * place + 10}.wav" for place in range(len(tut2017.SCENES))]
    listed = [f"{name}\t{scene}" for name, scene in zip(names, tut2017.SCENES)]
    put(half / "meta.txt", "".join(f"{line}\tb000\n" for line in listed))
    for name in names:
        put(half / name)
    for fold in range(1, tut2017.N_FOLDS + 1):
        tested = [line for place, line in enumerate(listed) if place % tut2017.N_FOLDS == fold - 1]
        put(half / f"evaluation_setup/fold{fold}_train.txt", "\n".join(line for line in listed if line not in tested))
        put(half / f"evaluation_setup/fold{fold}_evaluate.txt", "\r\n".join(tested) + "\r\n")
    other = root / tut2017.EVALUATION
    put(other / "evaluation_setup/evaluate.txt", "audio/1.wav\tcafe/restaurant\naudio/2.wav\ttram\n")
    put(other / "evaluation_setup/map.txt", "audio/c777_0_10.wav\taudio/1.wav\n")
    put(other / "audio/1.wav")
    put(other / "audio/2.wav")


# -- Jingju ------------------------------------------------------------------------------------------------------------

JINGJU = (  # role, recording: test of S and train of P, train of both, test of both, train of both
    ("dan", "wangjiangting_zhijianta"), ("dan", "shiwenhui_tingxiongyan"),
    ("laosheng", "lsxp-Huai_nan_wang-Huai_he_ying02-qm"), ("laosheng", "lsxp-Xi_ri_you-Zhu_lian_zhai-qm"),
)  # fmt: skip
SYLLABLES = ((0.0, 1.0, ""), (1.0, 2.0, "yang"), (2.0, 3.5, "jia"), (3.5, 4.0, " "))
PHONEMES = (
    (0.0, 1.0, "c"), (1.0, 1.25, "j"), (1.25, 1.8, "AN"), (1.8, 2.0, ""), (2.0, 2.75, "r\\'"), (2.75, 3.5004, "yn"),
    (3.5004, 4.0, "a"),
)  # fmt: skip
Intervals = Sequence[tuple[float, float, str]]


def textgrid(tiers: Mapping[str, Intervals], *, short: bool = False) -> str:
    """Write a TextGrid, with a tier of points before those of intervals."""
    quoted = lambda text: '"' + text.replace('"', '""') + '"'  # noqa: E731
    if short:
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "4", "<exists>", str(len(tiers))]
        for name, intervals in tiers.items():
            lines += ['"IntervalTier"', quoted(name), "0", "4", str(len(intervals))]
            lines += [str(value) if not isinstance(value, str) else quoted(value) for one in intervals for value in one]
        return "\n".join(lines) + "\n"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", "xmax = 4 ", "tiers? <exists> "]
    lines += [
        f"size = {len(tiers) + 1} ",
        "item []: ",
        "    item [1]:",
        '        class = "TextTier" ',
        '        name = "clicks" ',
    ]
    lines += [
        "        xmin = 0 ",
        "        xmax = 4 ",
        "        points: size = 1 ",
        "        points [1]:",
        "            number = 0.5 ",
    ]
    lines += ['            mark = "x 7" ']
    for number, (name, intervals) in enumerate(tiers.items(), 2):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f"        name = {quoted(name)} "]
        lines += ["        xmin = 0 ", "        xmax = 4 ", f"        intervals: size = {len(intervals)} "]
        for place, (start, end, text) in enumerate(intervals, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start} ", f"            xmax = {end} "]
            lines.append(f"            text = {quoted(text)} ")
    return "\n".join(lines) + "\n"


def write_jingju(root: Path, top: str) -> None:
    """Write the layout with TextGrids, "textgrid" or "jingjuPhonemeAnnotation", or that with text files."""
    for role, name in JINGJU:
        put(root / "wav" / role / f"{name}.wav")
        if top == "annotation_txt":
            for what, intervals in (("syllable", SYLLABLES), ("phoneme", PHONEMES)):
                lines = [f"{start}\t{end}\t{text.strip() or 'sil'}" for start, end, text in intervals]
                shown = [line for line in lines if what == "phoneme" or not line.endswith("sil")]
                put(root / top / role / f"{name}_{what}.txt", "\n".join(shown))  # the last line is not ended
        else:
            text = textgrid({"line": ((0.0, 4.0, '"杨家"'),), "dian": SYLLABLES, "details": PHONEMES})
            put(root / top / role / f"{name}.TextGrid", b"\xfe\xff" + text.encode("utf-16-be"))


# -- all of them -------------------------------------------------------------------------------------------------------

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("ballroom", write_ballroom, ("BallroomData", ""), (19, 2, 3), "fold folder"),
        Layout("esc50", write_esc50, ("ESC-50-master", ""), (200, 0, 50), "fold recording_id take"),
        Layout(
            "extended_ballroom",
            write_extended_ballroom,
            ("extendedballroom_v1.1", ""),
            (19, 0, 3),
            "fold artist_id album_id bpm md5 exact time version karaoke",
        ),
        Layout("fma", write_fma, ("fma_metadata", ""), (2, 1, 1), "artist_id album_id subset wrong_cut"),
        Layout("gtzan", write_gtzan, ("genres", "Data/genres_original", ""), (443, 197, 290), "fold"),
        Layout("irmas", write_irmas, ("IRMAS-TrainingData", ""), (29, 5, 3), "recording_id genre drums"),
        Layout("jamendo", write_jamendo, ("", "mtg-jamendo-dataset"), (2, 1, 2), "artist_id album_id duration_s"),
        Layout(
            "jingju",
            write_jingju,
            ("textgrid", "annotation_txt", "jingjuPhonemeAnnotation"),
            (10, 0, 10),
            "recording_id role symbol syllable",
        ),
        Layout("msd", write_msd, ("MSD_split", "music_dataset_split/MSD_split"), (3, 0, 2), "preview_id artist"),
        Layout("mtt", write_mtt, ("", "MagnaTagATune"), (3, 1, 2), "folder song_id artist_id album_id"),
        Layout("tut2017", write_tut2017, (tut2017.DEVELOPMENT, "development"), (15, 0, 2), "location_id"),
        Layout(
            "urbansound8k",
            write_urbansound8k,
            ("UrbanSound8K", ""),
            (24, 3, 3),
            "fold recording_id start_in_recording_s end_in_recording_s salience",
        ),
    )
}
