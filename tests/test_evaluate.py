"""Evaluation: scores beside labels, failed files, tags by name, numbers with their split, files that come back."""

from __future__ import annotations

import csv
import dataclasses
import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from _at_hand import needs_weights

import taggram
from taggram.datasets._base import Track
from taggram.errors import AudioError, ConfigError, DatasetError
from taggram.learning.evaluate import (
    Evaluation,
    compare,
    evaluate,
    evaluate_part,
    evaluate_prepared,
    over_folds,
    save_evaluations,
    score_clip,
    write_rows,
)
from taggram.results import Failure, Taggram

RATE = 16_000
TAGS = ("guitar", "flute", "drums")
SHA = "0123456789abcdef" * 4


class StubTagger:
    """Gives scores that a table holds by file name, and failures for the rest."""

    def __init__(self, table, tags=TAGS, task="several"):
        self.table, self.tags, self.name = table, tags, "stub"
        self.model = SimpleNamespace(task=task, frontend=SimpleNamespace(sample_rate=RATE))

    def tag_many(self, paths, *, n_workers=None):
        for path in paths:
            if Path(path).name not in self.table:
                yield Failure(str(path), "AudioError", "it is broken")
                continue
            scores = np.array(self.table[Path(path).name], dtype=np.float32)
            yield Taggram(
                path=str(path), model=self.name, duration_s=3.0, patch_s=3.0, hop_s=3.0, padded=False, notes=(),
                unusual=(), tags=self.tags, times_s=np.arange(len(scores)) * 3.0, scores=scores,
            )  # fmt: skip


def track(name, *tags, **more):
    return Track(track_id=name, path=Path(name), part="test", tags=tags, **more)


TABLE = {"a": [[0.9, 0.1, 0.2], [0.7, 0.3, 0.2]], "b": [[0.2, 0.8, 0.6]], "c": [[0.4, 0.3, 0.1]]}
TRACKS = [track("a", "guitar"), track("b", "flute", "drums"), track("c")]
FACTS = {"vocabulary": TAGS, "data_set": "mtt", "split": "dir", "split_sha256": SHA}


def run(tagger=None, tracks=TRACKS, **options):
    return evaluate(tagger or StubTagger(TABLE), tracks, **(FACTS | options))


def made(seed=0, n_clips=80, task="several", **changes):
    """An evaluation of some model."""
    random = np.random.default_rng(seed)
    labels = random.random((n_clips, len(TAGS))) < 0.4
    if task == "one":
        labels = np.eye(len(TAGS), dtype=bool)[random.integers(len(TAGS), size=n_clips)]
    facts = {
        "model": "net", "data_set": "mtt", "split": "dir", "split_sha256": SHA, "part": "test", "tags": TAGS,
        "task": task, "track_ids": tuple(f"clip {index}" for index in range(n_clips)),
        "scores": (random.random(labels.shape) + 0.3 * labels) / 1.3, "labels": labels,
    }  # fmt: skip
    return Evaluation(**(facts | changes))


# -- clips from patches ------------------------------------------------------------------------------------------------

PATCHES = np.array([[0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]], dtype=np.float32)


@pytest.mark.parametrize(
    ("rule", "exactly_one", "wanted"),
    [
        ("mean", True, [0.4, 0.4667, 0.1333]),
        ("log_mean", True, [0.3107, 0.4, 0.126]),
        ("logit_mean", True, [0.3714, 0.4780, 0.1506]),
        ("logit_mean", False, [0.3550, 0.4663, 0.1271]),
        ("vote", True, [2 / 3, 1 / 3, 0]),
        ("vote", False, [1 / 3, 1 / 3, 0]),
        ("relative", True, [0.8571, 1.0, 0.2857]),
    ],
)
def test_scores_of_a_clip(rule, exactly_one, wanted):
    np.testing.assert_allclose(score_clip(PATCHES, rule, exactly_one), wanted, atol=1e-4)


@pytest.mark.parametrize(("rule", "best"), [("mean", 0), ("log_mean", 1), ("logit_mean", 1)])
def test_one_doubt_weighs_more_in_the_mean_of_logarithms(rule, best):
    assert score_clip(np.array([[0.9, 0.1], [0.02, 0.3]], dtype=np.float32), rule, True).argmax() == best


def test_vote_takes_the_first_of_equal_scores():
    assert score_clip(np.array([[0.5, 0.5]], dtype=np.float32), "vote", True).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("rule", ["mean", "log_mean", "logit_mean", "vote", "relative"])
@pytest.mark.parametrize("exactly_one", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extreme_scores_stay_within_0_and_1(rule, exactly_one, value):
    clip = score_clip(np.full((2, 2), value, dtype=np.float32), rule, exactly_one)
    assert np.all((clip >= 0) & (clip <= 1))


# -- tagger and data set -----------------------------------------------------------------------------------------------


def test_scores_are_means_over_patches():
    np.testing.assert_allclose(run().scores[0], [0.8, 0.2, 0.2], atol=1e-6)


def test_labels_are_in_the_order_of_the_vocabulary():
    assert run().labels.tolist() == [[True, False, False], [False, True, True], [False, False, False]]


def test_tags_are_matched_by_name():
    shuffled = StubTagger(TABLE, tags=("drums", "guitar", "voice"))
    found = run(shuffled)
    assert (found.tags, found.not_in_model, found.not_in_data) == (("guitar", "drums"), ("flute",), ("voice",))
    np.testing.assert_allclose(found.scores[0], [0.2, 0.8], atol=1e-6)


def test_no_tag_in_common_is_refused():
    with pytest.raises(ConfigError, match=r"stub gives none of the tags of mtt, which are guitar.*It gives x, y, z"):
        run(StubTagger(TABLE, tags=("x", "y", "z")))


def test_failed_file_is_listed_and_the_others_are_done():
    found = run(tracks=[track("broken", "flute"), *TRACKS])
    assert found.track_ids == ("a", "b", "c")
    assert found.failures == (Failure("broken", "AudioError", "it is broken"),)


def test_each_track_is_told():
    told = []
    run(tracks=[track("broken", "flute"), *TRACKS], told=lambda one, result: told.append((one.track_id, type(result))))
    assert told == [("broken", Failure), ("a", Taggram), ("b", Taggram), ("c", Taggram)]


def test_scores_that_are_no_numbers_are_a_failure():
    found = run(StubTagger(TABLE | {"a": [[np.nan, 0.5, 0.5]]}))
    assert [failure.path for failure in found.failures] == ["a"]


def test_data_set_of_broken_files_is_an_error():
    with pytest.raises(DatasetError, match="no clip of test could be tagged; the first: x: it is broken"):
        run(tracks=[track("x", "flute")])


def test_empty_part_is_an_error():
    with pytest.raises(DatasetError, match="split dir: test has no clip"):
        run(tracks=[])


@pytest.mark.parametrize(("tracks", "task"), [(TRACKS, "several"), (TRACKS[:1], "one")])
def test_task_is_seen_from_the_clips(tracks, task):
    assert run(tracks=tracks).task == task


def test_clip_of_a_tag_that_the_model_lacks_is_left_out_where_exactly_one_holds():
    tracks = [track("a", "guitar"), track("b", "violin")]
    found = run(tracks=tracks, vocabulary=(*TAGS, "violin"))
    assert (found.track_ids, found.notes) == (
        ("a",),
        ("1 of 2 clips left out, which have only tags that the model does not give",),
    )


def test_clip_of_a_tag_that_the_model_lacks_is_kept_where_several_may_hold():
    assert run(tracks=[*TRACKS, track("c", "violin")], vocabulary=(*TAGS, "violin")).n_clips == 4


def test_columns_come_along():
    tracks = [dataclasses.replace(one, columns={"artist_id": index}) for index, one in enumerate(TRACKS)]
    assert run(tracks=tracks).columns == {"artist_id": (0, 1, 2)}


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = taggram.create_model("musicnn", n_tags=3)
    model.tags = TAGS
    return taggram.Tagger(model.eval())


@pytest.fixture
def sound(tmp_path):
    """Noise that gets louder, 12 s."""
    noise = np.random.default_rng(0).standard_normal(12 * RATE) * np.linspace(0.001, 0.2, 12 * RATE)
    soundfile.write(tmp_path / "noise.wav", noise, RATE, subtype="FLOAT")
    return tmp_path / "noise.wav"


def test_track_is_cut_out_of_its_file(network, sound):
    tracks = [track("a", "guitar", start_s=0.0, end_s=4.0), track("b", "flute", start_s=6.5, end_s=9.5)]
    found = run(network, tracks=[dataclasses.replace(one, path=sound) for one in tracks])
    samples, _ = soundfile.read(sound, dtype="float32")
    wanted = network.tag((samples[104_000:152_000], RATE)).mean_scores
    np.testing.assert_allclose(found.scores[1], wanted, atol=1e-6)


def test_cut_behind_the_end_of_the_file_is_a_failure(network, sound):
    tracks = [track("a", "guitar", end_s=4.0), track("b", "flute", start_s=13.0)]
    found = run(network, tracks=[dataclasses.replace(one, path=sound) for one in tracks])
    assert [failure.message for failure in found.failures] == ["it ends before 13 s, where the track begins"]


def test_cut_and_whole_files_keep_their_order(network, sound):
    tracks = [track("a", "guitar"), track("b", "flute", start_s=6.0), track("c", "drums")]
    found = run(network, tracks=[dataclasses.replace(one, path=sound) for one in tracks])
    assert found.track_ids == ("a", "b", "c")
    np.testing.assert_array_equal(found.scores[0], found.scores[2])


@pytest.fixture
def data_set(tmp_path, sound):
    lines = ["noise.wav,test,guitar|flute", "gone.wav,test,flute", *(f"{n}.wav,train,guitar|flute" for n in range(10))]
    (tmp_path / "clips.csv").write_text("\n".join(["path,split,tags", *lines]) + "\n", encoding="utf-8")
    return taggram.datasets.open_dataset("csv", tmp_path)


def test_part_of_a_data_set_brings_its_facts(network, data_set):
    found = evaluate_part(network, data_set)
    assert (found.data_set, found.split, found.split_sha256) == ("csv", "column", data_set.split_sha256())
    assert (found.track_ids, len(found.failures)) == (("noise.wav",), 1)


@needs_weights("musicnn.mtt")
@pytest.mark.slow
def test_files_are_tagged_in_worker_processes(data_set):
    with taggram.Tagger("musicnn.mtt") as tagger:
        found = evaluate_part(tagger, data_set, n_workers=1)
        wanted = tagger.tag(data_set.root / "noise.wav")
    order = [wanted.tags.index(tag) for tag in found.tags]
    np.testing.assert_allclose(found.scores[0], wanted.mean_scores[order], atol=1e-6)


def test_prepared_clip_that_cannot_be_scored_costs_no_other():
    class Unsure(StubTagger):
        def tag(self, source):
            if source[0][0] > 0:
                raise AudioError("a score is no number")
            return next(iter(self.tag_many(["a"])))

    columns = {"track_id": np.array(["x", "y"])}
    data = SimpleNamespace(
        tags=TAGS, task="several", sample_rate=RATE, card={"name": "made", "split": "s", "split_sha256": SHA},
        index=lambda part: np.arange(2), column=columns.get, labels=lambda rows: np.eye(2, 3, dtype=np.float32),
        whole=lambda row: np.full(RATE, float(row), np.float32),
    )  # fmt: skip
    found = evaluate_prepared(Unsure(TABLE), data, "test")
    assert (found.track_ids, [one.message for one in found.failures]) == (("x",), ["a score is no number"])


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_metrics_have_the_form_of_metrics_json():
    test = made().metrics()["test"]
    assert {"macro_roc_auc", "macro_pr_auc", "n_clips", "split", "split_sha256", "tags"} <= test.keys()
    assert {"roc_auc", "pr_auc", "n_positive"} <= test["tags"]["guitar"].keys()


def test_tag_that_cannot_be_scored_is_named_and_not_counted():
    full = made()
    labels = full.labels.copy()
    labels[:, 1] = False
    numbers = dataclasses.replace(full, labels=labels).metrics()["test"]
    others = full.without("flute").metrics()["test"]
    assert (numbers["left_out"]["no_positive"], numbers["tags"]["flute"]["roc_auc"]) == (["flute"], None)
    assert numbers["macro_roc_auc"] == others["macro_roc_auc"]
    assert numbers["macro_recall"] == others["macro_recall"]


def test_one_class_everywhere_has_no_numbers_and_no_error():
    numbers = made(labels=np.zeros((80, 3), dtype=bool)).metrics()["test"]
    assert (numbers["macro_roc_auc"], numbers["intervals"]["macro_roc_auc"]) == (None, [None, None])


def test_numbers_lie_in_their_intervals():
    numbers = made().metrics()["test"]
    assert all(low <= numbers[name] <= high for name, (low, high) in numbers["intervals"].items())


def test_exactly_one_has_an_accuracy():
    evaluation = made(task="one")
    wanted = np.mean(evaluation.scores.argmax(axis=1) == evaluation.labels.argmax(axis=1))
    assert evaluation.metrics()["test"]["accuracy"] == pytest.approx(wanted)


def test_no_resamples_gives_no_intervals():
    assert "intervals" not in made().metrics(n_resamples=0)["test"]


def test_thresholds_come_from_the_validation_part():
    valid, test = made(1, part="valid"), made(2)
    numbers = test.with_thresholds_of(valid).metrics()["test"]
    own = dataclasses.replace(valid, part="test").with_thresholds_of(valid).metrics()["test"]
    assert (
        numbers["tags"]["flute"]["at_best_threshold"]["threshold"]
        == (own["tags"]["flute"]["at_best_threshold"]["threshold"])
    )


def test_thresholds_are_matched_by_name():
    valid, test = made(1, part="valid"), made(2)
    turned = dataclasses.replace(valid, tags=TAGS[::-1], scores=valid.scores[:, ::-1], labels=valid.labels[:, ::-1])
    np.testing.assert_array_equal(test.with_thresholds_of(turned).thresholds, test.with_thresholds_of(valid).thresholds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": "test"}, "on the test part they flatter"),
        ({"model": "other"}, "model of the validation part is 'other'"),
        ({"split_sha256": "f"}, "split_sha256 of the validation part"),
        ({"tags": ("a", "b", "c")}, "the tags of the validation part"),
    ],
    ids=["test part", "model", "hash", "tags"],
)
def test_thresholds_of_something_else_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        made().with_thresholds_of(made(**({"part": "valid"} | changes)))


def test_tag_can_be_left_out_by_name():
    left = made().without("drums")
    assert (left.tags, left.notes) == (("guitar", "flute"), ("left out on request: drums",))


def test_tag_that_is_not_there_cannot_be_left_out():
    with pytest.raises(ConfigError, match="no tag named choral"):
        made().without("choral")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros((3, 3))}, r"the shape of the scores is \(3, 3\)"),
        ({"scores": np.full((80, 3), 1.5)}, r"a score is 1\.5; wanted a number from 0 to 1"),
        ({"scores": np.full((80, 3), np.nan)}, "a score is nan"),
        ({"tags": ("a", "a", "b")}, "no name twice"),
        ({"part": "dev"}, "part is 'dev'"),
        ({"task": "one", "labels": np.zeros((80, 3), dtype=bool)}, "some clip has not exactly one tag"),
        ({"columns": {"fold": (1,)}}, "the length of column 'fold' is 1"),
    ],
    ids=["shape", "logits", "nan", "twice", "part", "task", "column"],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        made(**changes)


def test_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        made().scores[0, 0] = 0.0


# -- files -------------------------------------------------------------------------------------------------------------

ODD = dataclasses.replace(
    made(n_clips=2),
    tags=("a\0", "new\nline", "caf\udce9"),
    track_ids=("x,y\udcff", '"'),
    columns={"artist": ("z\0", None)},
    failures=(Failure("q\n", "AudioError", "why"),),
    notes=("note",),
    thresholds=np.array([0.1, 0.2, 0.3]),
)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Evaluation) if field.init])
def test_evaluation_comes_back_from_its_folder(tmp_path, field):
    ODD.save(tmp_path)
    np.testing.assert_equal(getattr(Evaluation.load(tmp_path), field), getattr(ODD, field))


def test_metrics_json_holds_all_parts(tmp_path):
    parts = [made(), made(1, part="valid")]
    save_evaluations(parts, tmp_path)
    numbers = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert numbers == parts[0].metrics() | parts[1].metrics()


def test_metrics_json_has_null_for_what_is_not_defined(tmp_path):
    made(labels=np.zeros((80, 3), dtype=bool)).save(tmp_path)
    assert "NaN" not in (tmp_path / "metrics.json").read_text(encoding="utf-8")


def test_tags_csv_has_a_row_a_tag_with_its_split(tmp_path):
    evaluation = made().with_thresholds_of(made(1, part="valid"))
    evaluation.save(tmp_path)
    with (tmp_path / "tags.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = [int(row["n_positive"]) for row in rows]
    assert counts == sorted(evaluation.n_positive.tolist(), reverse=True)
    assert {(row["split"], row["split_sha256"]) for row in rows} == {("dir", SHA)}
    assert all(int(row["tp"]) + int(row["fn"]) == int(row["n_positive"]) for row in rows)


def test_parts_that_are_there_twice_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="each once"):
        save_evaluations([made(), made()], tmp_path)


def test_missing_evaluation_says_how_to_make_it(tmp_path):
    with pytest.raises(DatasetError, match="`taggram evaluate` makes it"):
        Evaluation.load(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 10, 1000])
def test_damaged_evaluation_is_an_error(tmp_path, n_bytes):
    made().save(tmp_path)
    path = tmp_path / "scores_test.npz"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DatasetError, match="is damaged"):
        Evaluation.load(tmp_path)


def test_pickled_scores_are_not_read(tmp_path):
    made().save(tmp_path)
    np.savez(tmp_path / "scores_test.npz", card=np.array([object()], dtype=object))
    with pytest.raises(DatasetError, match="allow_pickle=False"):
        Evaluation.load(tmp_path)


# -- several -----------------------------------------------------------------------------------------------------------


def test_evaluations_of_one_split_are_compared():
    found = compare([made(), made(3, model="other", labels=made().labels)])
    assert [row["model"] for row in found.rows] == ["net", "other"]
    assert {row["split_sha256"] for row in found.rows} == {SHA}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "random"}, "split is dir and random"),
        ({"split_sha256": "ff" * 32}, "split_sha256 is 0123456789ab and ffffffffffff"),
        ({"data_set": "msd"}, "data_set is mtt and msd"),
        ({"part": "valid"}, "part is test and valid"),
        ({"tags": ("guitar", "flute", "voice")}, r"the tags are not the same \(3 and 3\)"),
        ({"n_clips": 79}, r"the clips are not the same \(80 and 79\)"),
    ],
    ids=["split", "hash", "data set", "part", "tags", "clips"],
)
def test_numbers_of_different_tests_are_not_compared(changes, message):
    with pytest.raises(ConfigError, match=message):
        compare([made(), made(**changes)])


def test_numbers_of_different_tests_are_compared_if_asked_for():
    assert compare([made(), made(split="random")], mixed=True).differences == ("split is dir and random",)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ConfigError, match="no evaluation"):
        compare([])


def test_folds_are_averaged():
    folds = [made(0, split="fold1"), made(1, split="fold2")]
    wanted = np.mean([fold.metrics(n_resamples=0)["test"]["macro_roc_auc"] for fold in folds])
    assert over_folds(folds)["macro_roc_auc"].mean == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "each fold once"),
        ({"split": "fold2", "data_set": "other"}, "their data_set differs"),
        ({"split": "fold2", "part": "valid"}, "their part differs"),
    ],
)
def test_what_are_no_folds_is_not_averaged(changes, told):
    with pytest.raises(ConfigError, match=told):
        over_folds([made(), made(**changes)])


def test_long_table_is_written_in_the_memory_of_a_few_lines(tmp_path):
    tracemalloc.start()  # counts what other threads take meanwhile, for which the limit leaves room
    write_rows(tmp_path / "long.csv", ([f"clip {number}", "\udcff", 0] for number in range(100_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lines = (tmp_path / "long.csv").read_bytes().split(b"\n")
    assert (len(lines), lines[0], lines[-1]) == (100_001, b"clip 0,\\udcff,0", b"")
    assert peak < 1e6 < (tmp_path / "long.csv").stat().st_size
