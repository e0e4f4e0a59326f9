"""Scores under changed sound: each change is as strong as it says, and the same clips are compared with each other."""

from __future__ import annotations

import csv
import dataclasses
import json
import xml.etree.ElementTree as ET

import librosa
import numpy as np
import pytest
import soundfile
import torch
from _sounds import noise, tone
from PIL import Image

import taggram
from taggram.datasets._base import Track
from taggram.errors import ConfigError, DatasetError, UnknownNameError
from taggram.learning import _sound_changes as changes
from taggram.learning.evaluate import Evaluation, evaluate
from taggram.learning.perturb import (
    PERTURBATIONS,
    Perturbation,
    evaluate_perturbed,
    parse_perturbations,
    perturbation_rows,
    perturbed,
    write_perturbations,
)
from taggram.learning.report import write_report
from taggram.results import Failure, Taggram

RATE = 16_000
TAGS = ("low", "high", "rough")
SHA = "0123456789abcdef" * 4
STRENGTHS = [Perturbation(kind, strength) for kind, entry in PERTURBATIONS.items() for strength in entry.strengths]


def level_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def loudest_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * RATE / len(samples)


def change(samples, kind, strength, seed=0):
    return perturbed(samples, RATE, Perturbation(kind, strength), seed)


def labels_of(perturbations):
    return [f"{one.kind}:{one.strength:g}" for one in perturbations]


# -- which perturbations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["gain,noise:15", " gain , noise:15,gain:10,", ("gain", "noise:15")])
def test_names_are_read(wanted):
    assert labels_of(parse_perturbations(wanted)) == ["gain:-40", "gain:-20", "gain:-10", "gain:10", "noise:15"]


def test_all_is_all():
    assert parse_perturbations("all") == STRENGTHS


@pytest.mark.parametrize("name", ["pitches", "pitches:2"])
def test_unknown_name_is_answered_with_the_nearest(name):
    with pytest.raises(
        UnknownNameError, match=r"no perturbation named 'pitches'. Did you mean pitch.*compression, or all"
    ):
        parse_perturbations(name)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("", "wanted some of noise, gain"),
        ((), "wanted some of noise, gain"),
        ("pitch:up", "strength of pitch is 'up'; wanted a number of semitones"),
        ("stretch:0", "strength of stretch is 0.0; wanted 0.25 to 4 times as quick"),
        ("noise:nan", "strength of noise is nan; wanted -60 to 120 dB SNR"),
    ],
)
def test_wish_that_makes_no_sense_is_told(wanted, message):
    with pytest.raises(ConfigError, match=message):
        parse_perturbations(wanted)


# -- how strong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr_db", PERTURBATIONS["noise"].strengths)
def test_noise_is_as_far_below_the_sound_as_it_says(snr_db):
    added = change(tone(), "noise", snr_db) - tone()
    assert level_db(tone()) - level_db(added) == pytest.approx(snr_db, abs=0.02)


def test_noise_of_a_seed_is_the_same_at_all_levels():
    soft, loud = (change(tone(), "noise", snr_db) - tone() for snr_db in (20, 0))
    np.testing.assert_allclose(10 * soft, loud, atol=1e-5)


def test_noise_of_another_seed_is_another():
    assert not np.array_equal(change(tone(), "noise", 20, seed=1), change(tone(), "noise", 20, seed=2))


@pytest.mark.parametrize("gain_db", [-40, -20, -10, 6])
def test_gain_changes_the_level(gain_db):
    assert level_db(change(tone(), "gain", gain_db)) - level_db(tone()) == pytest.approx(gain_db, abs=0.01)


def test_gain_clips_at_full_scale():
    louder = change(tone(), "gain", 10)
    assert np.abs(louder).max() == 1
    assert np.mean(np.abs(louder) == 1) > 0.3


@pytest.mark.parametrize("speed", PERTURBATIONS["stretch"].strengths)
def test_speed_changes_the_length_and_not_the_pitch(speed):
    changed = change(tone(), "stretch", speed)
    assert len(changed) == round(len(tone()) / speed)
    assert loudest_hz(changed) == pytest.approx(440, abs=0.5)


@pytest.mark.parametrize("semitones", PERTURBATIONS["pitch"].strengths)
def test_pitch_moves_and_the_length_stays(semitones):
    changed = change(tone(), "pitch", semitones)
    assert len(changed) == len(tone())
    assert 12 * np.log2(loudest_hz(changed) / 440) == pytest.approx(semitones, abs=0.02)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_moves_what_happens(speed):
    samples = np.concatenate([np.zeros(2 * RATE, np.float32), noise(2.0)[:, 0]])
    changed = change(samples, "stretch", speed)
    assert np.argmax(np.abs(changed) > 0.1) / RATE == pytest.approx(2 / speed, abs=0.06)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_speed_is_that_of_librosa(speed):
    samples = tone(1.0, rate=22_050) + noise(1.0, rate=22_050)[:, 0]
    wanted = librosa.effects.time_stretch(samples.astype(np.float64), rate=speed)
    np.testing.assert_allclose(changes.change_speed(samples, 22_050, speed), wanted, atol=1e-5)


def steps_in_level():
    """A tone that is soft, loud and soft again, a second each."""
    return tone(3.0) * np.repeat(np.float32([0.02, 1, 0.02]), RATE)


def gain_at(changed, second):
    """By how many dB a sound was changed around a second."""
    part = slice(round((second - 0.05) * RATE), round((second + 0.05) * RATE))
    return level_db(changed[part]) - level_db(steps_in_level()[part])


@pytest.mark.parametrize("ratio", PERTURBATIONS["compression"].strengths)
def test_compression_brings_loud_and_soft_together(ratio):
    changed = change(steps_in_level(), "compression", ratio)
    above_db = 20 * np.log10(0.5) - changes.THRESHOLD_DB  # of the loud part's peaks; the soft part is below
    assert gain_at(changed, 1.5) - gain_at(changed, 0.5) == pytest.approx(-above_db * (1 - 1 / ratio), abs=0.3)


def test_compression_keeps_the_level():
    assert level_db(change(steps_in_level(), "compression", 4)) == pytest.approx(level_db(steps_in_level()), abs=0.01)


def test_compression_lets_go_slowly():
    changed = change(steps_in_level(), "compression", 4)
    assert gain_at(changed, 2.06) < gain_at(changed, 2.2) - 3 < gain_at(changed, 2.9) - 3


@pytest.mark.parametrize(("kind", "strength"), [("gain", 0), ("compression", 1)])
def test_strength_that_changes_nothing_changes_nothing(kind, strength):
    np.testing.assert_allclose(change(steps_in_level(), kind, strength), steps_in_level(), atol=1e-6)


@pytest.mark.parametrize("one", STRENGTHS, ids=lambda one: one.label)
def test_equal_arguments_give_equal_samples(one):
    samples = noise(0.5)[:, 0]
    np.testing.assert_array_equal(perturbed(samples, RATE, one, 3), perturbed(samples, RATE, one, 3))


@pytest.mark.parametrize("one", STRENGTHS, ids=lambda one: one.label)
def test_silence_stays_silence(one):
    assert not perturbed(np.zeros(RATE, np.float32), RATE, one, 0).any()


@pytest.mark.parametrize("n_samples", [1, 7, 1000])
@pytest.mark.parametrize("one", STRENGTHS, ids=lambda one: one.label)
def test_short_sound_is_changed_too(one, n_samples):
    changed = perturbed(noise()[:n_samples, 0], RATE, one, 0)
    assert (changed.dtype, len(changed) > 0, np.isfinite(changed).all()) == (np.float32, True, True)


@pytest.mark.parametrize("one", STRENGTHS, ids=lambda one: one.label)
def test_sound_that_came_is_not_written_to(one):
    given = noise(0.2)[:, 0].copy()
    given.setflags(write=False)
    perturbed(given, RATE, one, 0)
    np.testing.assert_array_equal(given, noise(0.2)[:, 0])


# -- tagging -----------------------------------------------------------------------------------------------------------

FEW = parse_perturbations("noise:0,noise:40,gain:-20,gain:10,pitch:2")


@pytest.fixture(scope="module")
def tagger():
    torch.manual_seed(0)
    model = taggram.create_model("musicnn", n_tags=3)
    model.tags = TAGS
    return taggram.Tagger(model.eval())


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Tones, one of them cut out of a longer file."""
    folder = tmp_path_factory.mktemp("sounds")
    listed = []
    for index, hz in enumerate((110, 220, 880, 1760)):
        soundfile.write(folder / f"{hz}.wav", tone(7.0, hz=hz), RATE, subtype="FLOAT")
        tags = ("low" if hz < 500 else "high", *(["rough"] if index % 2 else []))
        listed.append(Track(track_id=f"tone {hz}", path=folder / f"{hz}.wav", part="test", tags=tags))
    return [*listed[:3], dataclasses.replace(listed[3], start_s=3.0, end_s=6.5)]


@pytest.fixture(scope="module")
def baseline(tagger, tracks):
    return evaluate(tagger, tracks, vocabulary=TAGS, data_set="tones", split="all", split_sha256=SHA)


@pytest.fixture(scope="module")
def results(tagger, tracks, baseline):
    return evaluate_perturbed(tagger, tracks, baseline, FEW)


def test_each_perturbation_has_an_evaluation(results):
    assert [perturbation for perturbation, _ in results] == FEW


def test_same_clips_and_labels_are_compared(results, baseline):
    for _, evaluation in results:
        assert (evaluation.track_ids, evaluation.tags) == (baseline.track_ids, baseline.tags)
        np.testing.assert_array_equal(evaluation.labels, baseline.labels)


def test_scores_are_those_of_the_changed_sound(results, tagger):
    wanted = tagger.tag((change(tone(7.0, hz=220), "gain", -20), RATE)).mean_scores
    evaluation = dict(results)[Perturbation("gain", -20.0)]
    np.testing.assert_allclose(evaluation.scores[1], wanted, atol=1e-6)


def test_track_is_cut_before_it_is_changed(results, tagger):
    cut = tone(7.0, hz=1760)[3 * RATE : round(6.5 * RATE)]
    wanted = tagger.tag((change(cut, "pitch", 2), RATE)).mean_scores
    np.testing.assert_allclose(dict(results)[Perturbation("pitch", 2.0)].scores[3], wanted, atol=1e-6)


def test_sound_that_is_not_changed_gives_the_baseline(tagger, tracks, baseline):
    ((_, found),) = evaluate_perturbed(tagger, tracks, baseline, [Perturbation("gain", 0)])
    np.testing.assert_allclose(found.scores, baseline.scores, atol=1e-6)


def test_noise_hangs_on_the_name_of_the_track_alone(tagger, tracks, baseline, results):
    alone = dataclasses.replace(
        baseline, track_ids=baseline.track_ids[2:3], scores=baseline.scores[2:3], labels=baseline.labels[2:3]
    )
    ((_, found),) = evaluate_perturbed(tagger, tracks[::-1], alone, [Perturbation("noise", 0)])
    np.testing.assert_array_equal(found.scores[0], dict(results)[Perturbation("noise", 0.0)].scores[2])


def test_note_says_what_was_changed_and_clipped(results):
    notes = dict(results)[Perturbation("gain", 10.0)].notes
    assert notes == ("the sound was changed: gain, 10 dB", "4 of 4 clips went above full scale and were clipped")


def broken(tracks, tmp_path):
    """The tracks, of which the second cannot be read."""
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    return [tracks[0], dataclasses.replace(tracks[1], path=tmp_path / "broken.wav"), *tracks[2:]]


def test_broken_file_costs_that_file_alone(tagger, tracks, baseline, tmp_path):
    found = evaluate_perturbed(tagger, broken(tracks, tmp_path), baseline, FEW[:2])
    assert [evaluation.track_ids for _, evaluation in found] == [("tone 110", "tone 880", "tone 1760")] * 2
    assert [failure.path for failure in found[0][1].failures] == [str(tmp_path / "broken.wav")]


def test_numbers_of_fewer_clips_stand_beside_a_baseline_of_the_same(tagger, tracks, baseline, tmp_path):
    found = evaluate_perturbed(tagger, broken(tracks, tmp_path), baseline, [Perturbation("gain", 0)])
    (row,) = perturbation_rows(found, baseline)
    assert (row["n_clips"], row["change_macro_roc_auc"]) == (3, 0)


def test_each_track_is_told(tagger, tracks, baseline, tmp_path):
    told = []
    evaluate_perturbed(
        tagger, broken(tracks, tmp_path), baseline, FEW[2:3], told=lambda one, result: told.append((one, type(result)))
    )
    assert [kind for _, kind in told] == [Taggram, Failure, Taggram, Taggram]
    assert [one.track_id for one, _ in told] == list(baseline.track_ids)


def test_only_broken_files_are_an_error(tagger, tracks, baseline, tmp_path):
    gone = [dataclasses.replace(one, path=tmp_path / "gone.wav") for one in tracks]
    with pytest.raises(DatasetError, match=r"no clip could be tagged with its sound changed; the first: .*gone.wav"):
        evaluate_perturbed(tagger, gone, baseline, FEW[:1])


def test_evaluation_of_other_clips_is_refused(tagger, tracks, baseline):
    with pytest.raises(ConfigError, match="clips that are not among the tracks: tone 880, tone 1760"):
        evaluate_perturbed(tagger, tracks[:2], baseline, FEW[:1])


def test_evaluation_of_another_model_is_refused(tagger, tracks, baseline):
    with pytest.raises(ConfigError, match="the model is 'musicnn'; wanted 'vgg'"):
        evaluate_perturbed(tagger, tracks, dataclasses.replace(baseline, model="vgg"), FEW[:1])


# -- numbers and files -------------------------------------------------------------------------------------------------


def made(scores):
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=bool)
    return Evaluation(
        model="net", data_set="tones", split="all", split_sha256=SHA, part="test", tags=TAGS, task="several",
        track_ids=("a", "b", "c", "d"), scores=np.array(scores, dtype=np.float32), labels=labels,
    )  # fmt: skip


BEFORE = made([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.1, 0.8]])
AFTER = made([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.8, 0.1, 0.9]])
ROW = perturbation_rows([(Perturbation("pitch", 2), AFTER)], BEFORE)[0]


def test_mean_change_of_scores():
    assert ROW["mean_abs_change"] == pytest.approx((0.8 + 0.8 + 0.1 + 0.1) / 12)


def test_share_of_clips_whose_best_tag_stays():
    assert ROW["same_best_tag"] == 0.5


def test_averages_stand_beside_those_of_the_sound_as_it_is():
    assert ROW["baseline_macro_roc_auc"] == 1
    assert ROW["macro_roc_auc"] == AFTER.metrics()["test"]["macro_roc_auc"] == 1 + ROW["change_macro_roc_auc"]


def test_result_of_other_clips_is_refused():
    other = dataclasses.replace(AFTER, track_ids=("a", "b", "c", "x"))
    with pytest.raises(ConfigError, match="the result of pitch, 2 semitones is 'of other clips or tags'"):
        perturbation_rows([(Perturbation("pitch", 2), other)], BEFORE)


@pytest.fixture(scope="module")
def written(results, baseline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "new"
    return folder, write_perturbations(results, baseline, folder)


def test_table_and_json_hold_the_same(written):
    folder, _ = written
    with (folder / "perturbations.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    rows = json.loads((folder / "perturbations.json").read_text(encoding="utf-8"))["perturbations"]
    assert [float(line["mean_abs_change"]) for line in table] == [row["mean_abs_change"] for row in rows]


def test_every_row_names_its_split(written):
    rows = json.loads((written[0] / "perturbations.json").read_text(encoding="utf-8"))["perturbations"]
    assert {(row["split"], row["split_sha256"]) for row in rows} == {("all", SHA)}


def test_picture_is_written_twice(written):
    assert ET.parse(written[0] / "perturbations.svg").getroot().tag.endswith("svg")
    with Image.open(written[0] / "perturbations.png") as image:
        assert image.width > 1000


def test_files_are_the_same_every_time(written, results, baseline, tmp_path):
    write_perturbations(results, baseline, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in written[0].iterdir()
    }


def test_section_stands_in_the_report(written, baseline, tmp_path):
    html = write_report(baseline, tmp_path, sections=[written[1]]).read_text(encoding="utf-8")
    assert html.index('id="c1-examples"') < html.index('id="perturbations"') < html.index("<footer>")


def test_section_has_a_row_for_each_and_one_for_the_sound_as_it_is(written):
    assert written[1].count("<tr") == 1 + 1 + len(FEW)


def test_number_that_is_not_defined_is_left_out(tmp_path):
    no_labels = {"labels": np.zeros((4, 3), dtype=bool)}
    before, after = (dataclasses.replace(one, **no_labels) for one in (BEFORE, AFTER))
    write_perturbations([(Perturbation("pitch", 2), after)], before, tmp_path)
    (row,) = json.loads((tmp_path / "perturbations.json").read_text(encoding="utf-8"))["perturbations"]
    assert (row["macro_roc_auc"], row["change_macro_roc_auc"]) == (None, None)


def test_nothing_to_write_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        write_perturbations([], BEFORE, tmp_path)
