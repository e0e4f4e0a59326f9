"""Readers of published data sets, all held to the same promises on small made copies; and the lists they bring."""

from __future__ import annotations

import collections
import hashlib
import itertools
import pickle
import re
import shutil
import unicodedata

import _dataset_layouts as layouts
import numpy as np
import pytest
from _dataset_layouts import LAYOUTS, put

from taggram.datasets import (
    _folds,
    _synonyms,
    ballroom,
    check,
    esc50,
    extended_ballroom,
    find_dataset,
    fma,
    gtzan,
    irmas,
    jamendo,
    jingju,
    msd,
    mtt,
    open_dataset,
    tut2017,
    urbansound8k,
)
from taggram.errors import ConfigError, DatasetError, UnknownNameError
from taggram.vocabulary import MTT50_MUSICNN, MTT50_SAMPLECNN

PARTS = ("train", "valid", "test")
WHOLE = "random-18000-2000"  # a split that wants all of MagnaTagATune's table
every_layout = pytest.mark.parametrize(
    ("name", "top"),
    [pytest.param(one.name, top, id=f"{one.name}-{top or 'bare'}") for one in LAYOUTS.values() for top in one.tops],
)
every_dataset = pytest.mark.parametrize("name", sorted(LAYOUTS))
every_split = pytest.mark.parametrize(
    ("name", "split"),
    [(name, split) for name in sorted(LAYOUTS) for split in find_dataset(name).card.splits if split != WHOLE],
)
every_vocabulary = pytest.mark.parametrize(
    ("name", "tags"), [(name, tags) for name in sorted(LAYOUTS) for tags in find_dataset(name).card.vocabularies]
)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A folder for each data set, as its archive makes it. No test writes into it."""
    folders = {}
    for name, layout in LAYOUTS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        layout.write(folders[name], layout.tops[0])
    return folders


@pytest.fixture
def made(tmp_path):
    """Write the layout of a data set into a folder that the test may change."""

    def make(name, top=None, **options):
        layout = LAYOUTS[name]
        layout.write(tmp_path, layout.tops[0] if top is None else top, **options)
        return tmp_path

    return make


def sizes(tracks):
    counts = collections.Counter(track.part for track in tracks)
    return tuple(counts[part] for part in PARTS)


def move_all(paths, into):
    """Move files or folders into a folder."""
    into.mkdir(parents=True, exist_ok=True)
    for path in list(paths):
        path.rename(into / path.name)


def put_all(paths):
    """Write files with nothing in them."""
    for path in paths:
        put(path, b"")


def tags_by_id(dataset):
    return {track.track_id: track.tags for track in dataset.tracks()}


# -- promises of all ---------------------------------------------------------------------------------------------------


@every_layout
def test_tracks_are_found(tmp_path, name, top):
    LAYOUTS[name].write(tmp_path, top)
    assert sizes(open_dataset(name, tmp_path).tracks()) == LAYOUTS[name].n_tracks


@every_layout
def test_split_is_the_same_wherever_things_lie(tmp_path, roots, name, top):
    LAYOUTS[name].write(tmp_path, top)
    assert open_dataset(name, tmp_path).split_sha256() == open_dataset(name, roots[name]).split_sha256()


@every_layout
def test_all_files_are_there(tmp_path, name, top):
    LAYOUTS[name].write(tmp_path, top)
    report = check(open_dataset(name, tmp_path))
    assert (report.missing, report.empty, report.extra) == ((), (), ())


@every_dataset
def test_folder_is_not_touched(made, name):
    root = made(name)
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    check(open_dataset(name, root))
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before


@every_dataset
def test_order_is_always_the_same(roots, name):
    assert list(open_dataset(name, roots[name]).tracks()) == list(open_dataset(name, roots[name]).tracks())


@every_dataset
def test_one_part_can_be_asked_for(roots, name):
    dataset = open_dataset(name, roots[name])
    assert list(dataset.tracks("test")) == [track for track in dataset.tracks() if track.part == "test"]


@every_dataset
def test_columns_are_the_same_for_all(roots, name):
    assert {frozenset(track.columns) for track in open_dataset(name, roots[name]).tracks()} == {
        frozenset(LAYOUTS[name].columns.split())
    }


@every_split
def test_every_split_can_be_read(roots, name, split):
    tracks = list(open_dataset(name, roots[name], split=split).tracks())
    assert {track.part for track in tracks} <= set(PARTS)
    assert len({track.track_id for track in tracks}) == len(tracks) > 0


@every_vocabulary
def test_tags_are_of_the_vocabulary_and_in_its_order(roots, name, tags):
    dataset = open_dataset(name, roots[name], tags=tags)
    places = [[dataset.tags.index(tag) for tag in track.tags] for track in dataset.tracks()]
    assert all(found == sorted(set(found)) for found in places)
    assert dataset.task == "several" or {len(found) for found in places} == {1}


@every_dataset
def test_folder_without_the_data_set_says_how_to_get_it(tmp_path, name):
    with pytest.raises(DatasetError, match=f"taggram data get {name} --root"):
        list(open_dataset(name, tmp_path).tracks())


@every_dataset
def test_unknown_split_is_offered_those_that_are(tmp_path, name):
    with pytest.raises(UnknownNameError, match=f"There are {next(iter(find_dataset(name).card.splits))}"):
        open_dataset(name, tmp_path, split="fold")


@every_dataset
def test_unknown_vocabulary_is_told(tmp_path, name):
    with pytest.raises(UnknownNameError, match="no vocabulary named 'tags'"):
        open_dataset(name, tmp_path, tags="tags")


@every_dataset
def test_unknown_option_is_told(tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name} has no option 'tag'. Did you mean tags"):
        open_dataset(name, tmp_path, tag="rock")


@every_dataset
def test_card_states_what_it_must(name):
    card = find_dataset(name).card
    assert card.name == name
    assert all((card.title, card.licence, card.citation, card.page.startswith("http"), card.splits))
    assert all(split.rule and split.source for split in card.splits.values())
    assert card.remotes or card.by_hand


@every_dataset
def test_every_download_has_a_checksum(name):
    checksums = [remote.checksum or "" for remote in find_dataset(name).card.remotes]
    lengths = {"md5": 32, "sha1": 40, "sha256": 64}
    assert all(lengths[kind] == len(digest) for kind, _, digest in (checksum.partition(":") for checksum in checksums))


@every_vocabulary
def test_vocabulary_names_no_tag_twice(name, tags):
    listed = find_dataset(name).card.vocabularies[tags]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("name", ["ballroom", "esc50", "extended_ballroom", "gtzan", "urbansound8k"])
def test_every_track_is_tested_in_the_fold_that_its_column_says(roots, name):
    folds = [split for split in find_dataset(name).card.splits if split.startswith("fold-")]
    tested = collections.Counter(
        (track.track_id, track.columns["fold"], int(split[5:]))
        for split in folds
        for track in open_dataset(name, roots[name], split=split).tracks("test")
    )
    assert all(column == fold and n == 1 for (_, column, fold), n in tested.items())
    assert len(tested) == len(list(open_dataset(name, roots[name], split=folds[0]).tracks()))


@every_dataset
def test_with_split_is_another_reader(roots, name):
    dataset = open_dataset(name, roots[name])
    last = list(dataset.card.splits)[-1]
    assert (dataset.with_split(last).split, dataset.split) == (last, next(iter(dataset.card.splits)))


# -- check -------------------------------------------------------------------------------------------------------------


def test_missing_empty_and_extra_files_are_told(made):
    root = made("urbansound8k")
    sound = root / "UrbanSound8K" / "audio"
    gone, void, new = sound / "fold1/100000-0-0-0.wav", sound / "fold2/100001-1-0-1.wav", put(sound / "fold3/new.wav")
    gone.unlink()
    void.write_bytes(b"")
    report = check(open_dataset("urbansound8k", root))
    assert (report.missing, report.empty, report.extra, report.is_fine) == ((gone,), (void,), (new,), False)


def test_folder_without_a_track_is_not_fine(tmp_path):
    (tmp_path / "Waltz").mkdir()
    assert not check(open_dataset("ballroom", tmp_path)).is_fine


def test_file_of_another_split_is_not_extra(roots):
    assert len(list((roots["gtzan"] / "genres").rglob("*.wav"))) == 1000
    assert check(open_dataset("gtzan", roots["gtzan"])).extra == ()


def test_counts_that_differ_from_the_card_are_told(roots):
    assert "test: 3 tracks, 873 are published" in check(open_dataset("urbansound8k", roots["urbansound8k"])).notes


def test_counts_as_published_are_not_told(roots):
    assert not any("published" in note for note in check(open_dataset("gtzan", roots["gtzan"])).notes)


@pytest.mark.parametrize("content", [b"\n<!DOCTYPE html>", b"\xef\xbb\xbf<html>", b"not RIFF"])
def test_file_that_is_no_sound_is_told(made, content):
    root = made("gtzan")
    put(root / "genres/jazz/jazz.00054.wav", content)
    report = check(open_dataset("gtzan", root))
    assert ([file.path.name for file in report.broken], report.is_fine) == (["jazz.00054.wav"], False)


def test_sound_of_another_format_than_its_name_says_is_noted(made):
    root = made("gtzan")
    put(root / "genres/jazz/jazz.00054.wav", b"fLaC" + bytes(20))
    report = check(open_dataset("gtzan", root))
    assert report.broken == ()
    assert "sound of another format than the name says: 1, jazz.00054.wav" in report.notes


def test_file_that_is_left_out_on_purpose_is_neither_extra_nor_empty(roots):
    report = check(open_dataset("mtt", roots["mtt"]))
    assert (report.extra, report.empty) == ((), ())
    assert "1 files are left out on purpose: norine-now-08-gently-117-146.mp3" in report.notes


def test_wrong_checksums_are_told_when_they_are_asked_for(made):
    root = made("extended_ballroom")
    xml = root / "extendedballroom_v1.1" / "extendedballroom_v1.1.xml"
    right = hashlib.md5(layouts.SOUND[".mp3"]).hexdigest()
    xml.write_text(re.sub(r'hash="(?!0+65")\w+"', f'hash="{right.upper()}"', xml.read_text()))
    notes = check(open_dataset("extended_ballroom", root), hashes=True).notes
    assert "1 files have another checksum than the data set gives: Waltz.101.mp3" in notes


# -- tables and lists on disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "damage", "told"),
    [
        pytest.param("mtt", "annotations_final.csv", lambda text: text.replace("\t", ","), "188 tags", id="mtt commas"),
        pytest.param("mtt", "annotations_final.csv", lambda text: text[:-100], "line 9", id="mtt cut short"),
        pytest.param("mtt", "annotations_final.csv", lambda text: text.replace('"1"\t', '"2"\t'), "0 or 1", id="mtt 2"),
        pytest.param("mtt", "annotations_final.csv", lambda text: "<html>" + text, "188 tags", id="mtt page"),
        pytest.param(
            "jamendo", "data/splits/split-0/autotagging_top50tags-train.tsv",
            lambda text: text.replace("genre---pop", "genre---60s"), "tags of the subset top50", id="jamendo tag",
        ),
        pytest.param(
            "jamendo", "data/splits/split-0/autotagging_top50tags-test.tsv",
            lambda text: text.replace("DURATION", "LENGTH"), "does not begin with TRACK_ID", id="jamendo header",
        ),
        pytest.param(
            "urbansound8k", "UrbanSound8K/metadata/UrbanSound8K.csv", lambda text: text.replace("siren", "sirens"),
            "line 10: class is 'sirens'", id="urbansound8k class",
        ),
        pytest.param(
            "urbansound8k", "UrbanSound8K/metadata/UrbanSound8K.csv", lambda text: text.replace(",1,0,", ",11,0,"),
            "fold is '11'", id="urbansound8k fold",
        ),
        pytest.param(
            "urbansound8k", "UrbanSound8K/metadata/UrbanSound8K.csv", lambda text: text[:-30], "fields came", id="cut",
        ),
        pytest.param(
            "esc50", "ESC-50-master/meta/esc50.csv", lambda text: text.replace("hen,", "chicken,"),
            "category is 'chicken'; wanted the name of class 6, hen", id="esc50 class",
        ),
        pytest.param(
            "esc50", "ESC-50-master/meta/esc50.csv", lambda text: text.replace("target", "label"), "no column target",
            id="esc50 column",
        ),
        pytest.param("fma", "fma_metadata/tracks.csv", lambda text: text.partition("\n")[2], "third", id="fma header"),
        pytest.param("fma", "fma_metadata/tracks.csv", lambda text: text.replace("Folk", "Polka"), "Polka", id="genre"),
        pytest.param("msd", "msd_tagtraum_cd2c.cls", lambda text: text.replace("\tJazz", " Jazz"), "a tab", id="cls"),
        pytest.param(
            "tut2017", f"{tut2017.DEVELOPMENT}/meta.txt", lambda text: text.replace("tram", "metro"), "metro", id="tut",
        ),
        pytest.param(
            "irmas", "IRMAS-TestingData-Part1/Part1/02 - It's a "
            "song-1.txt", lambda text: "guitar\n", "cel, cla", id="code",
        ),
        pytest.param(
            "extended_ballroom", "extendedballroom_v1.1/extendedballroom_v1.1.xml", lambda text: text[:300], "no XML",
            id="xml cut short",
        ),
        pytest.param(
            "extended_ballroom", "extendedballroom_v1.1/extendedballroom_v1.1.xml",
            lambda text: text.replace("Salsa", "Polka"), "Polka", id="xml dance",
        ),
    ],
)  # fmt: skip
def test_damaged_list_is_told(made, name, file, damage, told):
    root = made(name)
    text = (root / file).read_bytes().decode()
    assert damage(text) != text
    (root / file).write_bytes(damage(text).encode())
    options = {"tags": "tagtraum_cd2c"} if name == "msd" else {}
    with pytest.raises(DatasetError, match=told):
        list(open_dataset(name, root, **options).tracks())


@pytest.mark.parametrize(
    ("name", "file", "old"),
    [
        ("jamendo", "data/splits/split-0/autotagging_top50tags-train.tsv", "14/214.mp3"),
        ("urbansound8k", "UrbanSound8K/metadata/UrbanSound8K.csv", "100003-3-0-3.wav"),
        ("esc50", "ESC-50-master/meta/esc50.csv", "1-100000-A-0.wav"),
        ("tut2017", f"{tut2017.DEVELOPMENT}/meta.txt", "audio/b000_0_10.wav"),
    ],
)
@pytest.mark.parametrize("new", ["../../secret.wav", "/etc/passwd", "audio\\..\\..\\x.wav", "C:/x.wav"])
def test_list_cannot_lead_out_of_the_folder(made, name, file, old, new):
    root = made(name)
    text = (root / file).read_text()
    (root / file).write_text(text.replace(old, new))
    with pytest.raises(DatasetError, match="is no path within"):
        list(open_dataset(name, root).tracks())


def test_limit_on_fields_stays_as_it_was(roots):
    import csv

    before = csv.field_size_limit()
    list(open_dataset("fma", roots["fma"]).tracks())
    assert csv.field_size_limit() == before


# -- MagnaTagATune -----------------------------------------------------------------------------------------------------


def clip_ids_hash(part):
    return hashlib.md5("\n".join(map(str, mtt.tagged_clips(part))).encode()).hexdigest()


@pytest.mark.parametrize(
    ("part", "n_clips", "digest"),
    [
        ("train", 15_244, "d1505f80b9a17cebf3b546ef777ebc21"),
        ("valid", 1_529, "622cdfebe3cb546abb15ae972bb063d9"),
        ("test", 4_332, "fe3669d5504b71fd2243c82460429c33"),
    ],
)
def test_clips_of_dir_tagged_are_the_published_ones(part, n_clips, digest):
    assert (len(set(mtt.tagged_clips(part))), clip_ids_hash(part)) == (n_clips, digest)


def test_parts_of_dir_tagged_have_no_clip_in_common():
    clips = [clip for part in PARTS for clip in mtt.tagged_clips(part)]
    assert len(set(clips)) == len(clips) == 21_105


def test_clip_that_cannot_be_read_is_in_no_part_of_dir_tagged():
    assert not mtt.UNREADABLE.keys() & {clip for part in PARTS for clip in mtt.tagged_clips(part)}


@pytest.mark.parametrize(
    ("part", "n_rows", "digest"),
    [
        ("train", 18_000, "153eb06cad8d47e58ba136ef4171ca6b"),
        ("valid", 2_000, "fa4149a85649f33b1fe60f84d9f5ad7b"),
        ("test", 5_863, "538a4060ca29346579a7b294288d1080"),
    ],
)
def test_historical_split_is_reproduced(part, n_rows, digest):
    rows = [place for place, other in enumerate(mtt.historical_parts()) if other == part]
    assert (len(rows), hashlib.md5("\n".join(map(str, rows)).encode()).hexdigest()) == (n_rows, digest)


def test_rows_that_cannot_be_read_are_in_the_historical_train():
    parts = mtt.historical_parts()
    assert {parts[row] for row in mtt.UNREADABLE.values()} == {"train"}


@pytest.fixture(scope="module")
def whole_table(tmp_path_factory):
    """A table of as many rows as the real one, in which the clips that cannot be read are where they are."""
    ids = {row: clip for clip, row in mtt.UNREADABLE.items()}
    nothing = '"0"\t' * 188
    rows = (f'"{ids.get(row, 100_000 + row)}"\t{nothing}"{row % 16:x}/a-b-01-c-0-29.mp3"\n' for row in range(25_863))
    root = tmp_path_factory.mktemp("mtt")
    put(root / mtt.TABLE, layouts.mtt_header() + "".join(rows))
    return root


def test_historical_split_of_the_table_leaves_out_what_cannot_be_read(whole_table):
    tracks = list(open_dataset("mtt", whole_table, split=WHOLE).tracks())
    assert sizes(tracks) == (17_997, 2_000, 5_863)
    assert not {track.track_id for track in tracks} & set(map(str, mtt.UNREADABLE))


def test_clips_that_cannot_be_read_may_be_named_too(whole_table):
    dataset = open_dataset("mtt", whole_table, split=WHOLE, keep_unreadable=True)
    tracks = list(dataset.tracks())
    assert sizes(tracks) == (18_000, 2_000, 5_863)
    assert {track.track_id for track in tracks} >= set(map(str, mtt.UNREADABLE))
    assert dataset.left_out() == ()


def test_historical_split_of_another_table_is_refused(roots):
    with pytest.raises(DatasetError, match="the table has 8 rows"):
        list(open_dataset("mtt", roots["mtt"], split=WHOLE).tracks())


def test_dir_all_keeps_clips_without_a_tag(roots):
    tracks = list(open_dataset("mtt", roots["mtt"], split="dir-all").tracks())
    assert (sizes(tracks), [track.tags for track in tracks].count(())) == ((3, 1, 3), 1)


def test_orders_of_the_50_differ_in_two_tags(roots):
    first = str(layouts.MTT_PARTS["train"][0])
    orders = [
        tags_by_id(open_dataset("mtt", roots["mtt"], tags=f"mtt50_{name}"))[first] for name in ("musicnn", "samplecnn")
    ]
    assert orders == [("guitar", "metal", "female voice"), ("guitar", "female voice", "metal")]


@pytest.mark.parametrize(
    ("vocabulary", "n_tags"),
    [
        ("mtt50_musicnn", 50), ("mtt50_samplecnn", 50), ("mtt188", 188), ("mtt160", 160), ("mtt135_multiscale", 135),
        ("mtt134_emarkou", 134), ("mtt50_emarkou", 50),
    ],
)  # fmt: skip
def test_vocabulary_of_mtt_has_so_many_tags(vocabulary, n_tags):
    assert len(mtt.MTT.card.vocabularies[vocabulary]) == n_tags


def test_50_commonest_tags_are_those_of_musicnn():
    assert mtt.BY_POPULARITY[:50] == MTT50_MUSICNN


def test_all_lists_of_mtt_name_the_same_188():
    assert set(mtt.BY_POPULARITY) == set(mtt.ALL_TAGS)


def test_orders_of_musicnn_and_samplecnn_swap_places_47_and_48():
    different = [place for place in range(50) if MTT50_MUSICNN[place] != MTT50_SAMPLECNN[place]]
    assert (different, MTT50_SAMPLECNN[47:49]) == ([47, 48], ("female voice", "metal"))


@pytest.mark.parametrize(("groups", "n_names"), [(_synonyms.MULTISCALE, 82), (_synonyms.EMARKOU, 83)], ids=["m", "e"])
def test_groups_of_synonyms(groups, n_names):
    names = [*groups, *itertools.chain(*groups.values())]
    assert (len(groups), len(names), len(set(names))) == (29, n_names, n_names)
    assert set(names) <= set(mtt.ALL_TAGS)


def test_female_vocal_stays_with_multiscale_and_goes_with_emarkou(roots):
    second = str(layouts.MTT_PARTS["train"][1])
    merged = [
        set(tags_by_id(open_dataset("mtt", roots["mtt"], tags=name))[second])
        for name in ("mtt135_multiscale", "mtt134_emarkou")
    ]
    assert merged == [{"guitar", "strange", "female vocal"}, {"guitar", "strange", "female"}]


def test_merged_tags_are_all_that_hold_in_a_group(roots):
    merged = tags_by_id(open_dataset("mtt", roots["mtt"], tags="mtt135_multiscale"))
    assert set(merged[str(layouts.MTT_PARTS["train"][2])]) == {"no singer", "classical"}


def test_vocabulary_of_emarkou_is_alphabetical_and_merged():
    listed = mtt.MTT.card.vocabularies["mtt50_emarkou"]
    assert list(listed) == sorted(listed)
    assert set(listed) <= set(mtt.MTT.card.vocabularies["mtt134_emarkou"])


@pytest.mark.parametrize(
    ("bits", "tags"),
    [
        ("00000000000000000100000100100000000000000001000001", {"foreign", "india", "male", "strange", "vocal"}),
        ("00000000000000010000000000000000000000001000000000", {"flute", "slow"}),
        ("00010000000001000000000000000000000000000000001000", {"beat", "fast", "techno"}),
    ],
    ids=["1160", "25692", "21648"],
)
def test_vocabulary_of_emarkou_reads_the_labels_in_its_file_names(bits, tags):
    listed = mtt.MTT.card.vocabularies["mtt50_emarkou"]
    assert {tag for tag, bit in zip(listed, bits) if bit == "1"} == tags


def test_50_of_multiscale_are_counted_in_the_table(roots):
    tags = open_dataset("mtt", roots["mtt"], tags="mtt50_multiscale").tags
    assert (len(tags), tags[0]) == (50, "guitar")
    # All else that holds is as common as each other: then the order of the columns decides.
    places = [mtt.ALL_TAGS.index(tag) for tag in tags[1:10]]
    assert places == sorted(places)


def test_columns_say_song_artist_and_album(roots):
    first, second, *_ = open_dataset("mtt", roots["mtt"]).tracks()
    assert first.columns == {"folder": "0", "song_id": "ann-one-01-song", "artist_id": "ann", "album_id": "album 0"}
    assert second.columns["song_id"] == first.columns["song_id"]


def test_artists_are_not_known_without_their_table(made):
    root = made("mtt")
    (root / mtt.CLIP_INFO).unlink()
    assert {track.columns["artist_id"] for track in open_dataset("mtt", root).tracks()} == {None}


@pytest.mark.parametrize("folder", ["mp3", "audio"])
def test_sound_of_mtt_may_have_a_folder(made, folder):
    root = made("mtt")
    move_all([path for path in root.iterdir() if path.name in mtt.FOLDERS], root / folder)
    assert check(open_dataset("mtt", root)).is_fine


# -- Million Song Dataset ----------------------------------------------------------------------------------------------


def test_pickles_of_python_2_are_read(roots):
    assert [track.tags for track in open_dataset("msd", roots["msd"]).tracks()] == [
        ("rock", "Mellow"), ("House",), (), ("rock", "happy"), ("pop",),
    ]  # fmt: skip


def test_pickles_of_python_3_are_read(made):
    root = made("msd")
    vectors = {name.encode(): np.array(layouts.msd_vector("jazz"))[:, None] for name in layouts.MSD_IDS}
    put(root / "MSD_split/msd_id_to_tag_vector.cP", pickle.dumps(vectors, protocol=2))
    put(root / "MSD_split/filtered_list_test.cP", pickle.dumps([name.encode() for name in layouts.MSD_IDS[3:]]))
    assert {track.tags for track in open_dataset("msd", root).tracks()} == {("jazz",)}


def test_files_are_named_after_previews(roots):
    first = next(open_dataset("msd", roots["msd"]).tracks())
    assert first.path == roots["msd"] / "audio/8/9/8947470.clip.mp3"
    assert first.columns == {"preview_id": "8947470", "artist": "Ann"}


def test_files_may_be_named_after_tracks(roots):
    dataset = open_dataset("msd", roots["msd"], paths="track_id")
    assert next(dataset.tracks()).path == roots["msd"] / "audio/A/A/A/TRAAAAA128F4000000.mp3"
    assert check(dataset).is_fine


def test_rest_of_the_training_list_is_for_validation(roots, monkeypatch):
    monkeypatch.setitem(msd.N_TRAIN, "lastfm", 2)
    assert sizes(open_dataset("msd", roots["msd"]).tracks()) == (2, 1, 2)


@pytest.mark.parametrize(("split", "n_train"), [("lastfm", 201_680), ("tagtraum", 141_372)])
def test_so_many_of_the_training_list_are_train(split, n_train):
    assert msd.N_TRAIN[split] == n_train


def test_genres_are_one_a_track_and_sorted(roots):
    dataset = open_dataset("msd", roots["msd"], split="tagtraum", tags="tagtraum_cd2c")
    assert (dataset.task, dataset.tags) == ("one", ("Jazz", "New Age", "Rock"))
    assert [(track.part, track.tags) for track in dataset.tracks()] == [
        ("train", ("Rock",)), ("train", ("New Age",)), ("test", ("Jazz",)), ("test", ("Rock",)),
    ]  # fmt: skip


def test_known_mismatches_can_be_left_out(roots):
    tracks = open_dataset("msd", roots["msd"], drop_mismatches=True).tracks()
    assert layouts.MSD_IDS[1] not in {track.track_id for track in tracks}


# -- MTG-Jamendo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocabulary", "n_tags"), [("top50", 50), ("genre", 87), ("instrument", 40), ("moodtheme", 56), ("all", 183)]
)
def test_subset_of_jamendo_has_so_many_tags_in_alphabetical_order(vocabulary, n_tags):
    tags = jamendo.Jamendo.card.vocabularies[vocabulary]
    assert (len(tags), list(tags)) == (n_tags, sorted(tags))


def test_categories_are_the_three_of_the_data_set():
    heads = {tag.partition("---")[0] for tag in jamendo.Jamendo.card.vocabularies["all"]}
    assert heads == {"genre", "instrument", "mood/theme"}


@pytest.mark.parametrize("split", range(5))
def test_splits_of_top50_are_of_the_same_tracks(split):
    assert sum(jamendo.SIZES["top50"][split]) == 54_380


def test_last_tag_of_a_line_is_no_new_one(roots):
    first = next(open_dataset("jamendo", roots["jamendo"]).tracks())
    assert first.tags == ("genre---rock", "mood/theme---happy")


def test_tags_of_all_subsets_come_in_order(roots):
    first = next(open_dataset("jamendo", roots["jamendo"], tags="all").tracks())
    assert first.tags == ("genre---60s", "instrument---bell", "mood/theme---happy")


@pytest.mark.parametrize(("audio", "path"), [("audio", "audio/14/214.mp3"), ("audio-low", "audio-low/14/214.low.mp3")])
def test_sound_of_low_bit_rate_has_other_names(roots, audio, path):
    dataset = open_dataset("jamendo", roots["jamendo"], audio=audio)
    assert next(dataset.tracks()).path == roots["jamendo"] / path
    assert check(dataset).is_fine


def test_sound_of_jamendo_may_lie_in_the_open(made):
    root = made("jamendo")
    move_all((root / "audio").iterdir(), root)
    (root / "audio").rmdir()
    assert check(open_dataset("jamendo", root)).is_fine


def test_columns_say_artist_album_and_duration(roots):
    first = next(open_dataset("jamendo", roots["jamendo"]).tracks())
    assert first.columns == {"artist_id": "artist_000000", "album_id": "album_000031", "duration_s": 211.4}


def test_published_sizes_are_those_of_the_subset(roots):
    dataset = open_dataset("jamendo", roots["jamendo"], split="split-3", tags="moodtheme")
    assert dataset.published_sizes() == {"train": 10_920, "valid": 3_500, "test": 3_562}


# -- GTZAN -------------------------------------------------------------------------------------------------------------

GTZAN_COUNTS = {
    "train": [46, 48, 45, 42, 47, 43, 44, 41, 43, 44],
    "valid": [23, 20, 23, 22, 18, 17, 20, 13, 17, 24],
    "test": [31, 31, 30, 29, 27, 27, 27, 30, 26, 32],
}
GTZAN_MD5 = {  # of the lists as they circulate
    "train": "d55795dd4bc006e94d1c1b092bfe9da3",
    "valid": "bf8b8540ab13630c984d6331b3102191",
    "test": "6dbab6aabd0c49a20bc3b6df10986454",
}


@pytest.mark.parametrize("part", PARTS)
def test_filtered_parts_have_so_many_of_each_genre(part):
    names = [name for name, other in gtzan.filtered_parts().items() if other == part]
    assert [sum(name.startswith(f"{genre}.") for name in names) for genre in gtzan.GENRES] == GTZAN_COUNTS[part]


@pytest.mark.parametrize("part", PARTS)
def test_filtered_parts_are_the_lists_that_circulate(part):
    names = sorted(name for name, other in gtzan.filtered_parts().items() if other == part)
    text = "".join(f"{name.partition('.')[0]}/{name}.wav\n" for name in names)
    assert hashlib.md5(text.encode()).hexdigest() == GTZAN_MD5[part]


def test_files_of_gtzan_may_be_au(made):
    root = made("gtzan", suffix=".au")
    assert check(open_dataset("gtzan", root)).is_fine


def test_clip_that_cannot_be_read_in_a_repack_is_in_train():
    assert gtzan.filtered_parts()["jazz.00054"] == "train"


def test_folds_of_gtzan_have_as_many_of_each_genre(roots):
    folds = collections.Counter(
        (track.tags, track.columns["fold"]) for track in open_dataset("gtzan", roots["gtzan"], split="fold-1").tracks()
    )
    assert set(folds.values()) == {10}


def test_folds_hang_on_the_seed(roots):
    hashes = {
        open_dataset("gtzan", roots["gtzan"], split="fold-1", fold_seed=seed).split_sha256() for seed in (0, 0, 1)
    }
    assert len(hashes) == 2


# -- FMA ---------------------------------------------------------------------------------------------------------------


def test_medium_contains_small(roots):
    small, medium = (
        tags_by_id(open_dataset("fma", roots["fma"], tags=name)).keys() for name in ("fma_small", "fma_medium")
    )
    assert small == {"000002", "000140", "000141", "098565"}
    assert medium - small == {"001000", "001001"}


def test_genre_with_a_slash_is_no_part_of_a_path(roots):
    track = next(
        track for track in open_dataset("fma", roots["fma"], tags="fma_medium").tracks() if track.track_id == "001000"
    )
    assert (track.tags, track.path) == (("Old-Time / Historic",), roots["fma"] / "fma_medium/001/001000.mp3")


def test_small_may_be_read_from_the_sound_of_medium(made):
    root = made("fma")
    shutil.rmtree(root / "fma_small")
    assert check(open_dataset("fma", root)).is_fine


def test_clips_that_were_cut_wrongly_can_be_left_out(roots):
    dataset = open_dataset("fma", roots["fma"], drop_wrong_cuts=True)
    assert "098565" not in tags_by_id(dataset)
    assert check(dataset).extra == ()


def test_silent_and_wrongly_cut_clips_are_listed():
    assert (len(fma.WRONG_CUT), fma.SILENT <= fma.WRONG_CUT) == (21, True)


def test_columns_say_artist_and_subset(roots):
    wrong = next(track for track in open_dataset("fma", roots["fma"]).tracks() if track.track_id == "098565")
    assert wrong.columns == {"artist_id": "49282", "album_id": "9856", "subset": "small", "wrong_cut": 1}


# -- Ballroom ----------------------------------------------------------------------------------------------------------


def test_rumbas_are_one_dance(roots):
    tracks = list(open_dataset("ballroom", roots["ballroom"]).tracks())
    assert {track.columns["folder"] for track in tracks if track.tags == ("Rumba",)} == {"Rumba", *ballroom.RUMBAS}


def test_folds_of_698_are_cut_as_in_the_source():
    folds = _folds.cut(_folds.shuffled(map(str, range(698)), 0), 10)
    assert [len(fold) for fold in folds] == [70] * 8 + [69] * 2
    assert len(set(itertools.chain(*folds))) == 698


@pytest.fixture(scope="module")
def whole_ballroom(tmp_path_factory):
    """As many songs as there really are."""
    root = tmp_path_factory.mktemp("ballroom")
    counts = (111, 60, 82, 98, 86, 86, 65, 110)
    for dance, n_songs in zip(ballroom.DANCES, counts):
        for number in range(n_songs):
            put(root / dance / f"Media-{dance}-{number}.wav", b"")
    return root


@pytest.mark.parametrize("fold", range(1, 11))
def test_sizes_of_ballroom_are_those_of_the_card(whole_ballroom, fold):
    dataset = open_dataset("ballroom", whole_ballroom, split=f"fold-{fold}")
    assert sizes(dataset.tracks()) == dataset.card.splits[f"fold-{fold}"].n_tracks


def test_validation_is_the_first_tenth_of_what_is_not_tested(whole_ballroom):
    validated = [
        {track.track_id for track in open_dataset("ballroom", whole_ballroom, split=f"fold-{fold}").tracks("valid")}
        for fold in range(1, 11)
    ]
    order = _folds.shuffled(tags_by_id(open_dataset("ballroom", whole_ballroom)), 0)
    assert validated == [set(order[70:139]), *[set(order[:69])] * 9]


@pytest.mark.parametrize(("drop", "n_tracks"), [("none", 24), ("exact", 23), ("recordings", 22)])
def test_repetitions_can_be_left_out(roots, drop, n_tracks):
    dataset = open_dataset("ballroom", roots["ballroom"], drop=drop)
    assert sum(sizes(dataset.tracks())) == n_tracks
    assert check(dataset).extra == ()


def test_685_songs_are_left_without_repetitions(roots):
    assert open_dataset("ballroom", roots["ballroom"], drop="recordings").published_sizes() == {"all": 685}


def test_two_songs_of_one_name_are_told(made):
    root = made("ballroom")
    put(root / "BallroomData/Waltz/Media-100000.wav")
    with pytest.raises(DatasetError, match="have one name"):
        list(open_dataset("ballroom", root).tracks())


# -- Extended Ballroom -------------------------------------------------------------------------------------------------


def test_files_may_be_named_by_number_alone(made):
    root = made("extended_ballroom", named=False)
    assert check(open_dataset("extended_ballroom", root)).is_fine


def test_folders_will_do_without_the_file(made, roots):
    root = made("extended_ballroom")
    (root / "extendedballroom_v1.1/extendedballroom_v1.1.xml").unlink()
    dataset = open_dataset("extended_ballroom", root)
    assert dataset.split_sha256() == open_dataset("extended_ballroom", roots["extended_ballroom"]).split_sha256()
    assert {track.columns["bpm"] for track in dataset.tracks()} == {None}


def test_facts_of_a_song_become_columns(roots):
    tracks = {track.track_id: track for track in open_dataset("extended_ballroom", roots["extended_ballroom"]).tracks()}
    facts = {"artist_id": "A & B", "album_id": "C", "bpm": 89.5, "md5": f"{102:032x}", "exact": "101"}
    assert tracks["102"].columns == {
        "fold": tracks["102"].columns["fold"],
        **facts,
        "time": None,
        "version": None,
        "karaoke": None,
    }


@pytest.mark.parametrize(
    ("drop", "gone"),
    [
        pytest.param("exact", {"102", "113", "117"}, id="one kind"),
        pytest.param(("exact", "karaoke"), {"102", "104", "113", "115", "117", "119"}, id="two kinds"),
        pytest.param((), set(), id="none"),
    ],
)
def test_songs_that_repeat_others_can_be_left_out(roots, drop, gone):
    dataset = open_dataset("extended_ballroom", roots["extended_ballroom"], drop=drop)
    assert {str(number) for number in range(101, 123)} - tags_by_id(dataset).keys() == gone
    assert check(dataset).extra == ()


def test_one_of_two_songs_that_repeat_each_other_stays(made):
    root = made("extended_ballroom")
    xml = root / "extendedballroom_v1.1/extendedballroom_v1.1.xml"
    xml.write_text(xml.read_text().replace('<song id="101"', '<song id="101" exact="102"'))
    left = tags_by_id(open_dataset("extended_ballroom", root, drop="exact"))
    assert len({"101", "102"} & left.keys()) == 1


def test_related_songs_can_be_kept_in_one_fold(roots):
    dataset = open_dataset("extended_ballroom", roots["extended_ballroom"], keep_related=True)
    folds = {track.track_id: track.columns["fold"] for track in dataset.tracks()}
    assert folds["101"] == folds["102"]
    assert folds["104"] == folds["105"]


def test_file_with_entities_is_refused(made):
    root = made("extended_ballroom")
    bomb = '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><root><Waltz><song id="1" title="&b;"/></Waltz></root>'
    put(root / "extendedballroom_v1.1/extendedballroom_v1.1.xml", bomb)
    with pytest.raises(DatasetError, match="defines entities"):
        list(open_dataset("extended_ballroom", root).tracks())


def test_class_counts_from_memory_sum_up():
    assert sum((455, 507, 350, 53, 497, 470, 47, 468, 65, 464, 252, 529, 23)) == extended_ballroom.N_TRACKS


# -- IRMAS -------------------------------------------------------------------------------------------------------------


def test_several_instruments_are_read_up_to_the_tab(roots):
    tests = [track.tags for track in open_dataset("irmas", roots["irmas"]).tracks("test")]
    assert tests == [("gel", "voi"), ("cel",), ("pia", "vio", "voi")]


def test_order_of_eusipco2017_is_another_one(roots):
    *_, last = open_dataset("irmas", roots["irmas"], tags="irmas11_eusipco2017").tracks()
    assert last.tags == ("pia", "vio", "voi")
    assert sorted(irmas.EUSIPCO2017) == list(irmas.INSTRUMENTS) == sorted(irmas.NAMES)


def test_15_percent_of_6705_files_are_for_validation(tmp_path):
    put_all(tmp_path / irmas.TRAINING / "cel" / f"[cel][cla]{number:04}__1.wav" for number in range(6_705))
    put_all(tmp_path / part / "README" for part in ("Part1", "Part2", "Part3"))
    assert sizes(open_dataset("irmas", tmp_path).tracks()) == (5_699, 1_006, 0)


def test_recordings_can_stay_whole(roots):
    tracks = list(open_dataset("irmas", roots["irmas"], split="official-by-recording").tracks())
    recordings = {part: {track.columns["recording_id"] for track in tracks if track.part == part} for part in PARTS}
    assert recordings["valid"]
    assert not recordings["valid"] & recordings["train"]


@pytest.mark.parametrize(
    ("track_id", "columns"),
    [
        ("cel/[cel][jaz_blu]0189__2", {"recording_id": "cel/[cel][jaz_blu]0189", "genre": "jaz_blu", "drums": None}),
        (
            "cla/008__[cla][nod][cla]0190__1",
            {"recording_id": "cla/008__[cla][nod][cla]0190", "genre": "cla", "drums": "nod"},
        ),
        ("Part2/Café-3", {"recording_id": "Part2/Café", "genre": None, "drums": None}),
    ],
)
def test_names_tell_recording_genre_and_drums(roots, track_id, columns):
    tracks = {track.track_id: track for track in open_dataset("irmas", roots["irmas"]).tracks()}
    assert tracks[track_id].columns == columns


def test_accents_may_be_written_in_another_way(made, roots):
    root = made("irmas")
    folder, other = root / "IRMAS-TestingData-Part2/Part2", unicodedata.normalize("NFD", "Café-3")
    (folder / "Café-3.wav").rename(folder / f"{other}.wav")
    (folder / "Café-3.txt").rename(folder / f"{other}.txt")
    dataset = open_dataset("irmas", root)
    assert check(dataset).is_fine
    assert dataset.split_sha256() == open_dataset("irmas", roots["irmas"]).split_sha256()


def test_counts_of_the_training_files_sum_up():
    assert sum((388, 505, 451, 637, 760, 682, 721, 626, 577, 580, 778)) == irmas.N_TRAINING


def test_missing_part_of_the_tests_is_told(made):
    root = made("irmas")
    shutil.rmtree(root / "IRMAS-TestingData-Part2")
    with pytest.raises(DatasetError, match=r"no IRMAS-TestingData-Part2/Part2 in .*taggram data get irmas"):
        list(open_dataset("irmas", root).tracks())


# -- UrbanSound8K, ESC-50, TUT Acoustic Scenes -------------------------------------------------------------------------


def test_folds_of_urbansound8k_sum_up():
    assert (urbansound8k.N_TRACKS, sum(urbansound8k.FOLD_SIZES)) == (8_732, 8_732)


@pytest.mark.parametrize(
    ("fold", "n_train"), list(enumerate((6971, 6919, 6817, 6806, 6973, 7071, 7088, 7110, 7079, 7022), 1))
)
def test_train_of_urbansound8k_is_as_counted(fold, n_train):
    assert urbansound8k.UrbanSound8K.card.splits[f"fold-{fold}"].n_tracks[0] == n_train


@pytest.mark.parametrize(("split", "valid"), [("fold-1", {2}), ("fold-9", {10}), ("fold-10", {1})])
def test_next_fold_is_for_validation(roots, split, valid):
    tracks = open_dataset("urbansound8k", roots["urbansound8k"], split=split).tracks("valid")
    assert {track.columns["fold"] for track in tracks} == valid


def test_place_in_the_recording_is_no_cut_of_the_file(roots):
    *_, last = open_dataset("urbansound8k", roots["urbansound8k"]).tracks()
    assert (last.start_s, last.end_s) == (0.0, None)
    assert last.columns["start_in_recording_s"] == 29.5


def test_esc10_is_the_part_of_that_name(roots):
    dataset = open_dataset("esc50", roots["esc50"], tags="esc10")
    assert sizes(dataset.tracks()) == (40, 0, 10)
    assert set(esc50.ESC10) <= set(esc50.CLASSES)
    assert dataset.published_sizes() == {"train": 320, "valid": 0, "test": 80}


def test_scene_with_a_slash_is_no_part_of_a_path(roots):
    tracks = {track.tags: track.path for track in open_dataset("tut2017", roots["tut2017"]).tracks()}
    assert tracks["cafe/restaurant",] == roots["tut2017"] / tut2017.EVALUATION / "audio/1.wav"


def test_scenes_sum_up():
    assert (tut2017.N_DEVELOPMENT, tut2017.N_EVALUATION, len(tut2017.SCENES)) == (4_680, 1_620, 15)


def test_location_is_told_where_it_is_known(roots):
    tracks = list(open_dataset("tut2017", roots["tut2017"]).tracks())
    assert [track.columns["location_id"] for track in (tracks[0], *tracks[-2:])] == ["b000", "c777", None]


def test_folds_of_tut2017_need_the_development_set_alone(made):
    root = made("tut2017")
    shutil.rmtree(root / tut2017.EVALUATION)
    bare = open_dataset("tut2017", root / tut2017.DEVELOPMENT, split="fold-2")
    assert sizes(bare.tracks()) == (11, 0, 4)


# -- Jingju ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "role", "wanted"),
    [("S", "dan", (30, 12)), ("S", "laosheng", (13, 10)), ("P", "dan", (28, 14)), ("P", "laosheng", (16, 7))],
)
def test_recordings_of_a_split(split, role, wanted):
    parts = collections.Counter(one.parts[split] for one in jingju.RECORDINGS if one.role == role)
    assert (parts["train"], parts["test"]) == wanted


@pytest.mark.parametrize(("role", "n_both"), [("dan", 11), ("laosheng", 4)])
def test_tests_of_p_that_s_trains_on(role, n_both):
    both = [
        one for one in jingju.RECORDINGS if one.role == role and (one.parts["S"], one.parts["P"]) == ("train", "test")
    ]
    assert len(both) == n_both


def test_phonemes_have_29_classes_of_40_symbols():
    symbols = list(itertools.chain(*jingju.SYMBOLS.values()))
    assert (len(jingju.SYMBOLS), len(set(symbols)), len(symbols)) == (29, 41, 41)  # with two ways to write nothing


@pytest.mark.parametrize("top", LAYOUTS["jingju"].tops)
def test_phoneme_is_a_track_that_is_cut_out(made, top):
    root = made("jingju", top)
    tracks = [
        track
        for track in open_dataset("jingju", root).tracks()
        if track.columns["recording_id"] == layouts.JINGJU[0][1]
    ]
    assert [(track.start_s, track.end_s, *track.tags, track.columns["symbol"]) for track in tracks] == [
        (1.0, 1.25, "j", "j"), (1.25, 1.8, "ANAN", "AN"), (1.8, 2.0, "sil", ""), (2.0, 2.75, "rr", "r\\'"),
        (2.75, 3.5004, "in", "yn"),
    ]  # fmt: skip
    assert {track.path for track in tracks} == {root / "wav" / "dan" / f"{layouts.JINGJU[0][1]}.wav"}


def test_phoneme_knows_its_syllable(roots):
    tracks = open_dataset("jingju", roots["jingju"], role="laosheng").tracks()
    assert [track.columns["syllable"] for track in tracks] == ["yang", "yang", "yang", "jia", "jia"] * 2


@pytest.mark.parametrize(("role", "roles"), [("dan", {"dan"}), ("laosheng", {"laosheng"}), (None, {"dan", "laosheng"})])
def test_one_role_can_be_asked_for(roots, role, roles):
    tracks = open_dataset("jingju", roots["jingju"], role=role).tracks()
    assert {track.columns["role"] for track in tracks} == roles


def test_splits_divide_otherwise(roots):
    parts = {
        split: {
            track.columns["recording_id"]: track.part
            for track in open_dataset("jingju", roots["jingju"], split=split).tracks()
        }
        for split in "SP"
    }
    names = [name for _, name in layouts.JINGJU]
    assert [[parts[split][name] for name in names] for split in "SP"] == [
        ["test", "train", "test", "train"], ["train", "train", "test", "train"],
    ]  # fmt: skip


def test_recordings_without_annotation_are_told(roots):
    notes = open_dataset("jingju", roots["jingju"]).notes()
    assert any("61 recordings have no annotation and are left out: daeh-Bie_yuan_zhong" in note for note in notes)


def test_folders_of_the_first_release_are_found(made):
    root = made("jingju")
    move_all((root / "wav/dan").iterdir(), root / "wav/danAll")
    move_all((root / "textgrid/dan").iterdir(), root / "textgrid/danAll")
    move_all([root / "wav/laosheng"], root / "wav/qmLonUpf")
    move_all([root / "textgrid/laosheng"], root / "textgrid/qmLonUpf")
    (root / "wav/dan").rmdir()
    (root / "textgrid/dan").rmdir()
    assert check(open_dataset("jingju", root)).is_fine


def test_unknown_phoneme_is_told(made):
    root = made("jingju", "annotation_txt")
    path = root / "annotation_txt/dan" / f"{layouts.JINGJU[0][1]}_phoneme.txt"
    path.write_text(path.read_text().replace("AN", "OY"))
    with pytest.raises(DatasetError, match=r"the phoneme 'OY' at 1\.25 s"):
        list(open_dataset("jingju", root).tracks())
