"""Boosted trees: features that mean what their names say, scores like a network's, and nothing hidden."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile
from _sounds import noise, tone

from taggram.datasets import open_dataset
from taggram.errors import ConfigError, DatasetError, MissingExtraError
from taggram.learning._hand_made import FAMILIES, feature_names, hand_made
from taggram.learning.boosted_trees import ClipFeatures, TreesConfig, clip_features, fit_trees
from taggram.learning.evaluate import compare, save_evaluations
from taggram.learning.prepared import PreparedData, prepare
from taggram.learning.report import write_report

RATE = 16_000
PARTS = ("train", "train", "valid", "test")
KINDS = ("low", "high", "noise")
QUICK = TreesConfig(features="mfcc", max_rounds=15, min_clips=3)


def sound_of(kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return noise(0.4, RATE, seed=seed)[:, 0]
    hz = rng.uniform(100, 300) if kind == "low" else rng.uniform(1500, 3000)
    return tone(0.4, RATE, hz) + 0.1 * noise(0.4, RATE, seed=seed)[:, 0]


def prepared(folder, tags_of, n_clips=48, parts=PARTS, **options):
    """Made clips, a third each of low tones, high tones and noise, decoded once."""
    lines = ["path,split,tags,artist_id,notes"]
    for index in range(n_clips):
        kind = KINDS[index % 3]
        part = parts[index // 3 % len(parts)]
        soundfile.write(folder / f"{index}.wav", sound_of(kind, index), RATE)
        lines.append(
            f"{index}.wav,{part},{'|'.join(tags_of(kind, part))},{'' if index // 2 == 4 else index // 2},{kind}"
        )
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    dataset = open_dataset("csv", folder, **({"min_count": 0} | options))
    prepare(dataset, folder / "prepared", sample_rate=RATE, n_workers=1)
    return PreparedData(folder / "prepared")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Tones are "tonal" too; "never" is in test alone, and "always" is everywhere."""
    folder = tmp_path_factory.mktemp("several")

    def tags_of(kind, part):
        return [kind, "always", *(["tonal"] if kind != "noise" else []), *(["never"] if part == "test" else [])]

    return prepared(folder, tags_of)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("one"), lambda kind, part: [kind])


@pytest.fixture(scope="module")
def features(several):
    return clip_features(several, "mfcc")


@pytest.fixture(scope="module")
def result(several, features):
    return fit_trees(several, QUICK, features=features)


@pytest.fixture(scope="module")
def result_one(one):
    return fit_trees(one, QUICK)


def auc_of(evaluation, tag):
    return evaluation.metrics(n_resamples=0)[evaluation.part]["tags"][tag]["roc_auc"]


# -- features ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["mfcc", "hand_made"])
def test_features_have_the_same_names_at_any_rate_and_length(features):
    assert tuple(hand_made(noise(2.0, 22_050)[:, 0], 22_050, features)) == feature_names(features)


def test_each_name_begins_with_a_family():
    assert {name.split("_")[0] for name in feature_names()} == set(FAMILIES)


def test_mfcc_features_are_among_all():
    whole = hand_made(tone(), RATE)
    assert hand_made(tone(), RATE, "mfcc").items() <= whole.items()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(RATE, np.float32),
        np.ones(1, np.float32),
        np.full(RATE, 0.5, np.float32),
        np.eye(1, RATE, 100, dtype=np.float32)[0],
        np.sign(tone()),
        noise(0.01)[:, 0],
    ],
    ids=["empty", "silent", "one sample", "constant", "click", "square", "short"],
)
def test_odd_sound_has_finite_features(samples):
    assert np.isfinite(list(hand_made(samples, RATE).values())).all()


@pytest.mark.parametrize("hz", [250.0, 1000.0, 4000.0])
def test_centroid_of_a_tone_is_its_frequency(hz):
    assert hand_made(tone(1.0, RATE, hz), RATE)["spectrum_centroid_hz_mean"] == pytest.approx(hz, rel=0.05)


def test_centroid_of_white_noise_is_in_the_middle():
    assert hand_made(noise()[:, 0], RATE)["spectrum_centroid_hz_mean"] == pytest.approx(RATE / 4, rel=0.05)


def test_noise_is_flatter_than_a_tone():
    name = "spectrum_flatness_db_mean"
    assert hand_made(noise()[:, 0], RATE)[name] > hand_made(tone(), RATE)[name] + 20


@pytest.mark.parametrize("hz", [80.0, 220.0, 880.0])
def test_pitch_of_a_tone_with_harmonics_is_its_frequency(hz):
    sound = tone(1.0, RATE, hz) + tone(1.0, RATE, 2 * hz) / 2 + tone(1.0, RATE, 3 * hz) / 3
    assert 2 ** hand_made(sound, RATE)["harmony_pitch_octaves_q50"] == pytest.approx(hz, rel=0.06)


def test_tone_is_harmonic_and_noise_is_not():
    tonal, noisy = (hand_made(sound, RATE)["harmony_harmonicity_mean"] for sound in (tone(), noise()[:, 0]))
    assert tonal > 0.95
    assert noisy < 0.5


def test_chroma_of_an_a_is_highest_at_a():
    values = hand_made(tone(1.0, RATE, 440.0), RATE)
    chroma = {name: value for name, value in values.items() if name.startswith("harmony_") and name.endswith("_mean")}
    chroma = {name: value for name, value in chroma.items() if "harmonicity" not in name and "octaves" not in name}
    assert max(chroma, key=chroma.get) == "harmony_a_mean"


def test_major_chord_is_more_major_than_minor():
    chord = [tone(1.0, RATE, 440 * 2 ** (step / 12)) / 4 for step in (3, 7, 10)]
    assert hand_made(sum(chord), RATE)["harmony_major_ahead"] > 0.05


@pytest.mark.parametrize("bpm", [96, 120])
def test_tempo_of_clicks_is_theirs(bpm):
    clicks = np.zeros(10 * RATE, np.float32)
    for beat in np.arange(0, len(clicks) - 200, 60 / bpm * RATE):
        clicks[int(beat) : int(beat) + 200] = 0.5
    assert hand_made(clicks, RATE)["rhythm_tempo_bpm"] == pytest.approx(bpm, rel=0.04)


def test_half_the_amplitude_is_6_db_less():
    name = "loudness_max_db"
    assert hand_made(tone(), RATE)[name] - hand_made(tone() / 2, RATE)[name] == pytest.approx(6.02, abs=0.01)


def test_slow_attack_is_longer():
    fade = np.minimum(np.arange(4 * RATE) / (2 * RATE), 1).astype(np.float32)
    name = "loudness_attack_log10_s"
    assert hand_made(tone() * fade, RATE)[name] > hand_made(tone(), RATE)[name] + 1


def test_low_rate_is_told():
    with pytest.raises(ConfigError, match="sample_rate is 2000; wanted a whole number from 4000 on"):
        hand_made(tone(), 2000)


# -- features of prepared data -----------------------------------------------------------------------------------------


def test_threads_give_the_same_features(several):
    serial, parallel = (clip_features(several, n_workers=n).values for n in (1, 3))
    np.testing.assert_array_equal(serial, parallel)


def test_saved_features_are_read_back(features, tmp_path):
    features.save(tmp_path / "features.npz")
    known = ClipFeatures.load(tmp_path / "features.npz")
    np.testing.assert_array_equal(known.values, features.values)
    assert (known.names, known.kind, known.split_sha256) == (features.names, "mfcc", features.split_sha256)


def test_damaged_features_are_told(tmp_path):
    (tmp_path / "features.npz").write_bytes(b"no features")
    with pytest.raises(DatasetError, match=r"features\.npz holds no features"):
        ClipFeatures.load(tmp_path / "features.npz")


def test_missing_features_are_told(tmp_path):
    with pytest.raises(DatasetError, match="No such file"):
        ClipFeatures.load(tmp_path / "features.npz")


def test_features_of_another_split_are_refused(one, features):
    with pytest.raises(ConfigError, match="the split of the features"):
        fit_trees(one, QUICK, features=features)


def test_features_of_another_set_are_refused(several, features):
    with pytest.raises(ConfigError, match="the kind of the features is 'mfcc'; wanted 'hand_made'"):
        fit_trees(several, TreesConfig(min_clips=3), features=features)


# -- trees -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["low", "high", "noise", "tonal"])
@pytest.mark.parametrize("part", ["valid", "test"])
def test_easy_tag_is_learned(result, part, tag):
    assert auc_of(result.evaluations[part], tag) > 0.95


def test_exactly_one_tag_is_learned(result_one):
    assert result_one.evaluations["test"].metrics(n_resamples=0)["test"]["accuracy"] > 0.9


def test_scores_of_exactly_one_tag_sum_to_1(result_one):
    np.testing.assert_allclose(result_one.evaluations["test"].scores.sum(axis=1), 1, atol=1e-6)


def test_evaluation_names_split_and_clips(result, several):
    evaluation = result.evaluations["test"]
    assert evaluation.split_sha256 == several.card["split_sha256"]
    assert evaluation.track_ids == tuple(several.column("track_id")[several.index("test")])


def test_evaluation_has_the_columns_of_the_data_with_none_where_a_cell_is_empty(result):
    artists = result.evaluations["test"].columns["artist_id"]
    assert artists[:3] == (None, 5, 5)


def test_column_has_the_name_that_the_data_set_gives_it(result):
    assert result.evaluations["test"].columns["notes"][:3] == KINDS


def test_test_part_has_thresholds_of_valid(result):
    assert result.evaluations["valid"].thresholds is None
    assert result.evaluations["test"].thresholds is not None


def test_tag_without_positive_is_told(result):
    assert "no clip of train has these tags, whose score is always 0: never" in result.notes


def test_tag_without_negative_is_told(result):
    assert "every clip of train has these tags, whose score is always 1: always" in result.notes


def test_notes_stand_beside_the_numbers(result):
    assert result.evaluations["test"].notes == result.notes


@pytest.mark.parametrize(("tag", "score"), [("never", 0), ("always", 1)])
def test_tag_that_cannot_be_learned_has_one_score(result, several, tag, score):
    assert set(result.evaluations["test"].scores[:, several.tags.index(tag)]) == {score}


def test_tag_that_train_lacks_has_score_0_where_exactly_one_holds(tmp_path):
    data = prepared(tmp_path, lambda kind, part: ["other"] if (kind, part) == ("noise", "test") else [kind])
    result = fit_trees(data, QUICK)
    assert result.evaluations["test"].scores[:, data.tags.index("other")].max() == 0
    assert "no clip of train has these tags, whose score is always 0: other" in result.notes


def test_rounds_are_kept_by_the_validation_part(result):
    assert all(1 <= result.n_rounds[tag] <= QUICK.max_rounds for tag in KINDS)
    assert result.n_rounds["never"] == 0


def test_without_validation_all_rounds_are_kept(tmp_path):
    data = prepared(tmp_path, lambda kind, part: [kind, *(["tonal"] if kind != "noise" else [])], 36, ("train", "test"))
    result = fit_trees(data, QUICK)
    assert set(result.n_rounds.values()) == {QUICK.max_rounds}
    assert result.notes == ("there is no part named valid: all rounds are kept",)
    assert list(result.evaluations) == ["test"]


def test_tag_that_valid_cannot_judge_is_told(tmp_path):
    data = prepared(tmp_path, lambda kind, part: [kind, "more"] if kind == "low" and part != "valid" else [kind])
    result = fit_trees(data, QUICK)
    assert result.n_rounds["more"] == QUICK.max_rounds
    assert "all or none of the clips of valid have these tags, of which all rounds are kept: more" in result.notes


def test_same_seed_gives_the_same_scores_with_any_number_of_threads(several, features, result):
    again = fit_trees(several, QUICK, features=features, n_workers=3)
    np.testing.assert_array_equal(again.evaluations["test"].scores, result.evaluations["test"].scores)


def test_another_seed_gives_other_scores(several, features, result):
    config = TreesConfig(**QUICK.to_dict() | {"seed": 1})
    other = fit_trees(several, config, features=features)
    assert (other.evaluations["test"].scores != result.evaluations["test"].scores).any()


def test_importance_is_by_family(several):
    config = TreesConfig(max_rounds=15, min_clips=3)
    result = fit_trees(several, config, importance=True)
    assert tuple(result.importance) == FAMILIES


def test_progress_is_told_to_the_end(several):
    told = []
    fit_trees(several, QUICK, told=lambda *step: told.append(step))
    assert told[len(several) - 1] == ("features", len(several), len(several))
    assert told[-1] == ("trees", len(several.tags), len(several.tags))


def test_report_and_numbers_are_written_as_for_a_network(result, tmp_path):
    save_evaluations(list(result.evaluations.values()), tmp_path)
    page = write_report(result.evaluations["test"], tmp_path)
    assert "boosted_trees, mfcc features" in page.read_text()


def test_feature_sets_are_compared_in_one_table(several, result):
    all_features = fit_trees(several, TreesConfig(max_rounds=5, min_clips=3))
    table = compare([result.evaluations["test"], all_features.evaluations["test"]])
    assert [row["model"] for row in table.rows] == ["boosted_trees, mfcc features", "boosted_trees, hand_made features"]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("features", "chroma"),
        ("learning_rate", 0),
        ("max_rounds", 0),
        ("max_leaves", 1),
        ("min_clips", 0.5),
        ("feature_share", 1.5),
        ("l2", -1),
        ("seed", -1),
    ],
)
def test_bad_setting_is_told(setting, value):
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}; wanted"):
        TreesConfig.from_dict({setting: value})


def test_unknown_setting_is_told():
    with pytest.raises(ConfigError, match=r"trees has no setting 'max_round'\. Did you mean max_rounds"):
        TreesConfig.from_dict({"max_round": 10})


def test_settings_go_to_plain_values_and_back():
    assert TreesConfig.from_dict(QUICK.to_dict()) == QUICK


def test_bad_number_of_threads_is_told(several, features):
    with pytest.raises(ConfigError, match="n_workers is 0; wanted"):
        fit_trees(several, QUICK, features=features, n_workers=0)


@pytest.mark.parametrize(("part", "message"), [("valid", "no track to learn from"), ("train", "no track to score")])
def test_missing_part_is_told(tmp_path, part, message):
    data = prepared(tmp_path, lambda kind, part: [kind], 9, (part,))
    with pytest.raises(DatasetError, match=message):
        fit_trees(data, QUICK)


def test_leaves_larger_than_half_of_train_are_told(several, features):
    config = TreesConfig(features="mfcc", min_clips=13)
    with pytest.raises(ConfigError, match="min_clips is 13; wanted at most half of train's 24 clips"):
        fit_trees(several, config, features=features)


def test_missing_scikit_learn_is_told(several, features, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtraError, match=r"taggram\[train\]"):
        fit_trees(several, QUICK, features=features)
