"""Phrases with their scores: what is read from which files, and made-up singing in the same files."""

from __future__ import annotations

import numpy as np
import pytest

from taggram.audio import read_sound
from taggram.datasets._textgrid import Interval, read_textgrid
from taggram.datasets.jingju import CLASS_OF
from taggram.errors import DatasetError
from taggram.studies._made_singing import (
    CONSONANTS,
    LEAST_S,
    N_SYLLABLES,
    NASALS,
    RATE,
    VOWELS,
    make_recordings,
    n_recordings,
    n_tests,
    write_score,
    write_textgrid,
    write_wav,
)
from taggram.studies._phrases import (
    BARCELONA,
    LISTS,
    LONDON,
    QUEEN_MARY,
    load_recordings,
    read_recording,
    read_score,
    save_recordings,
    write_lab,
)

LINES = [Interval(0.5, 2.0, "春秋亭"), Interval(2.5, 3.5, "外"), Interval(4.0, 5.0, "x")]
SYLLABLES = [
    Interval(0.5, 0.9, "春"), Interval(0.9, 1.5, "秋"), Interval(1.5, 2.0, "亭"), Interval(2.5, 3.5, "外"),
    Interval(4.0, 5.0, "x"),
]  # fmt: skip
SCORE = [
    ["", "春", "秋", "亭"], ["60", "1", "2", "1.5"], ["", "外", "", ""], ["80", "4", "", ""], ["", "x", "", ""],
    ["0", "", "", ""],
]  # fmt: skip


def write_phrases(root, *, tiers=None, score=SCORE, sound=True, name="01/neg_1"):
    """Write a recording in the files of the corpus."""
    folder = root / "group"
    if sound:
        write_wav(folder / "audio" / f"{name}.wav", np.zeros(6 * RATE))
    tiers = {"line": LINES, "dianSilence": SYLLABLES} if tiers is None else tiers
    write_textgrid(folder / "annotation" / f"{name}.TextGrid", tiers, 6.0)
    write_score(folder / "scoreDianSilence" / f"{name}.csv", score)
    return root


def read(root):
    return read_recording(root, "group", "01/neg_1", "train")


# -- files -------------------------------------------------------------------------------------------------------------


def test_phrases_have_their_syllables_and_their_score(tmp_path):
    first, second = read(write_phrases(tmp_path)).phrases
    assert (first.start_s, first.end_s, first.texts) == (0.5, 2.0, ("春", "秋", "亭"))
    assert (first.starts_s, first.ends_s) == ((0.5, 0.9, 1.5), (0.9, 1.5, 2.0))
    assert (first.syllables, first.durations) == (("春", "秋", "亭"), (1.0, 2.0, 1.5))
    assert (second.number, second.texts, second.durations) == (1, ("外",), (4.0,))


def test_phrase_without_tempo_is_left_out(tmp_path):
    recording = read(write_phrases(tmp_path))
    assert (len(recording.phrases), recording.n_without_tempo) == (2, 1)


def test_annotation_is_in_utf_16(tmp_path):
    path = write_phrases(tmp_path) / "group/annotation/01/neg_1.TextGrid"
    assert path.read_bytes().startswith(("\ufeff".encode("utf-16-le"), "\ufeff".encode("utf-16-be")))
    tiers = read_textgrid(path)
    assert [one for one in tiers["dianSilence"] if one.text] == SYLLABLES
    assert [one.text for one in tiers["line"]] == ["", "春秋亭", "", "外", "", "x", ""]


@pytest.mark.parametrize("text", ['say "la"', "r\\'", "U^", " "])
def test_any_text_is_read_as_it_was_written(tmp_path, text):
    write_textgrid(tmp_path / "a.TextGrid", {"details": [Interval(0.25, 0.5, text)]}, 1.0)
    assert read_textgrid(tmp_path / "a.TextGrid")["details"] == [
        Interval(0.0, 0.25, ""), Interval(0.25, 0.5, text), Interval(0.5, 1.0, ""),
    ]  # fmt: skip


def test_blank_texts_are_ignored(tmp_path):
    syllables = [*SYLLABLES[:3], Interval(2.0, 2.4, "  "), *SYLLABLES[3:]]
    root = write_phrases(tmp_path, tiers={"line": LINES, "dianSilence": syllables})
    assert [len(phrase.texts) for phrase in read(root).phrases] == [3, 1]


def test_times_may_differ_by_a_millisecond(tmp_path):
    syllables = [Interval(0.4995, 0.9, "春"), *SYLLABLES[1:2], Interval(1.5, 2.0004, "亭"), *SYLLABLES[3:]]
    root = write_phrases(tmp_path, tiers={"line": LINES, "dianSilence": syllables})
    assert read(root).phrases[0].texts == ("春", "秋", "亭")


def test_names_of_tiers_may_have_dots(tmp_path):
    assert len(read(write_phrases(tmp_path, tiers={"line.": LINES, ".dianSilence": SYLLABLES})).phrases) == 2


def test_score_may_differ_from_the_annotation(tmp_path):
    score = [["", "春", "秋"], ["60", "1", "2"], *SCORE[2:]]
    phrase = read(write_phrases(tmp_path, score=score)).phrases[0]
    assert (len(phrase.texts), len(phrase.syllables)) == (3, 2)


def test_recordings_come_back_as_they_were_saved(tmp_path):
    recording = read(write_phrases(tmp_path))
    save_recordings([recording], tmp_path / "phrases.json")
    assert load_recordings(tmp_path / "phrases.json") == [recording]


def test_lab_has_a_line_for_each_syllable(tmp_path):
    write_lab(tmp_path / "a" / "b.lab", [0.0, 0.33], [0.33, 1.2], ["春", "秋"])
    assert (tmp_path / "a" / "b.lab").read_text(encoding="utf-8") == "0.000 0.330 春\n0.330 1.200 秋\n"


# -- files that are wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ([["", "春", "秋", "亭"], ["60", "1", "2"], *SCORE[2:]], "line 2: 2 durations came for 3 syllables"),
        ([["", "春", "秋", "亭"], ["60", "1", "0", "2"], *SCORE[2:]], "wanted one above 0 for each"),
        ([["", "春", "秋", "亭"], ["60", "1", "-1", "2"], *SCORE[2:]], "'-1' is no tempo or duration"),
        ([["", "春", "秋", "亭"], ["slow", "1", "2", "1"], *SCORE[2:]], "'slow' is no tempo or duration"),
        ([["", "春", "秋", "亭"], ["nan", "1", "2", "1"], *SCORE[2:]], "'nan' is no tempo or duration"),
        (SCORE[:5], "has 5 rows; wanted two for each phrase"),
        (SCORE[:4], "has 2 phrases, and .* has 3 in 'line'"),
        ([*SCORE[1:], ["", "y", "", ""]], "line 2: the row above begins with '60'"),
        ([["", "", "", ""], ["60", "", "", ""], *SCORE[2:]], "0 durations came for 0 syllables"),
    ],
)
def test_wrong_score_is_told(tmp_path, score, message):
    with pytest.raises(DatasetError, match=message):
        read(write_phrases(tmp_path, score=score))


def test_empty_rows_at_the_end_are_padding(tmp_path):
    assert len(read(write_phrases(tmp_path, score=[*SCORE, ["", "", ""], ["", "", ""]])).phrases) == 2


def test_phrase_without_syllables_and_tempo_keeps_its_place(tmp_path):
    score = [["", "", ""], ["0", "", ""], *SCORE[2:]]
    assert [phrase.number for phrase in read(write_phrases(tmp_path, score=score)).phrases] == [1]


@pytest.mark.parametrize("tier", ["line", "dianSilence"])
def test_missing_tier_is_told(tmp_path, tier):
    tiers = {"line": LINES, "dianSilence": SYLLABLES}
    tiers["other"] = tiers.pop(tier)
    with pytest.raises(DatasetError, match=f"has no tier {tier}; it has .*other"):
        read(write_phrases(tmp_path, tiers=tiers))


def test_phrase_without_annotated_syllables_is_told(tmp_path):
    root = write_phrases(tmp_path, tiers={"line": LINES, "dianSilence": SYLLABLES[3:]})
    with pytest.raises(DatasetError, match=r"the phrase at 0\.500 s has 0 syllables"):
        read(root)


def test_missing_sound_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no .*neg_1\.wav; data\.root is the folder with QueenMary"):
        read(write_phrases(tmp_path, sound=False))


def test_missing_score_is_told(tmp_path):
    root = write_phrases(tmp_path)
    (root / "group/scoreDianSilence/01/neg_1.csv").unlink()
    with pytest.raises(DatasetError, match="No such file"):
        read(root)


def test_score_that_is_no_text_is_told(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="is no text in UTF-8"):
        read_score(tmp_path / "a.csv")


# -- lists of the paper ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "n_test", "n_train"), [(QUEEN_MARY, 6, 18), (LONDON, 1, 5), (BARCELONA, 2, 4)])
def test_recordings_of_the_paper(group, n_test, n_train):
    test, train = LISTS[group]["test"], LISTS[group]["train"]
    assert (len(set(test)), len(set(train)), set(test) & set(train)) == (n_test, n_train, set())


# -- made-up singing ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    return list(make_recordings(4, 0))


def test_one_seed_makes_the_same_singing(made):
    again, other = list(make_recordings(4, 0)), next(make_recordings(4, 1))
    assert all(np.array_equal(ours.samples, theirs.samples) for ours, theirs in zip(made, again))
    assert not np.array_equal(made[0].samples[:1000], other.samples[:1000])


@pytest.mark.parametrize(("n_phrases", "recordings", "tests"), [(4, 4, 2), (20, 4, 2), (50, 10, 2), (100, 20, 4)])
def test_a_fifth_of_the_recordings_is_for_the_test(n_phrases, recordings, tests):
    assert (n_recordings(n_phrases), n_tests(n_phrases)) == (recordings, tests)


@pytest.mark.parametrize("n_phrases", [4, 7, 23])
def test_all_phrases_are_made(n_phrases):
    assert sum(len(one.phrases) for one in make_recordings(n_phrases, 0)) == n_phrases


def test_phrases_have_4_to_12_syllables(made):
    for recording in made:
        for phrase in recording.phrases:
            assert N_SYLLABLES[0] <= len(phrase.syllables) <= N_SYLLABLES[1]
            assert min(one.end_s - one.start_s for one in phrase.syllables) >= LEAST_S - 1e-4


def test_phonemes_fill_their_syllables(made):
    for phrase in made[0].phrases:
        edges = [(one.start_s, one.end_s) for one in phrase.phonemes]
        assert [start for start, _ in edges[1:]] == [end for _, end in edges[:-1]]
        assert {one.start_s for one in phrase.syllables} <= {start for start, _ in edges}


def test_consonants_last_30_to_60_ms(made):
    phonemes = [one for phrase in made[0].phrases for one in phrase.phonemes]
    lengths = [one.end_s - one.start_s for one in phonemes if one.text in CONSONANTS]
    assert 0.0299 < min(lengths) <= max(lengths) < 0.0601


def test_phonemes_are_those_of_the_data_set():
    assert {*CONSONANTS, *VOWELS, *NASALS} <= set(CLASS_OF)


def test_sung_durations_spread_by_about_35_percent():
    ratios = []
    for recording in make_recordings(40, 0):
        for phrase in recording.phrases:
            sung = [one.end_s - one.start_s for one in phrase.syllables]
            ratios += [s / (60 / phrase.bpm * beats) for s, beats in zip(sung, phrase.beats) if beats >= 1]
    assert (np.mean(ratios), np.std(ratios)) == pytest.approx((1, 0.35), abs=0.07)


def test_written_sound_is_what_was_made(tmp_path, made):
    write_wav(tmp_path / "a" / "made.wav", made[0].samples)
    sound = read_sound(tmp_path / "a" / "made.wav")
    assert sound.sample_rate == RATE
    np.testing.assert_allclose(sound.samples, made[0].samples, rtol=0, atol=1e-4)


def test_score_of_made_singing_is_read_back(tmp_path, made):
    write_score(tmp_path / "made.csv", made[1].score)
    for phrase, scored in zip(made[1].phrases, read_score(tmp_path / "made.csv"), strict=True):
        assert (scored.bpm, scored.durations) == (phrase.bpm, phrase.beats)
        assert scored.syllables == tuple(one.text for one in phrase.syllables)
