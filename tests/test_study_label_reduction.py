"""The study on label reduction: its labels, its trainings, what is decided of each tag, and what comes of it."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
from _made_sounds import write_set
from _made_study import made_study

from taggram.errors import ConfigError, DatasetError
from taggram.learning.evaluate import Evaluation
from taggram.learning.label_reduction import Reduction
from taggram.learning.tag_map import cooccurrence_vectors
from taggram.studies import _label_reduction_results as results
from taggram.studies._base import Cell
from taggram.studies._label_reduction_pictures import draw_counts, draw_networks, draw_per_clip
from taggram.studies._label_reduction_published import BY_TAG
from taggram.studies._worker import make_study
from taggram.studies.label_reduction import LabelReductionConfig, _known_groups
from taggram.studies.run import page_of, run_study

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    root = write_set(tmp_path_factory.mktemp("set"), n_clips=24)
    synonyms = root / "synonyms.json"
    synonyms.write_text('{"tone": ["low", "high"]}', encoding="utf-8")
    return {
        "data": "csv", "data.root": str(root), "synonyms": str(synonyms), "width": 0.05, "max_epochs": 1,
        "batch_size": 8, "n_updates": 3,
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("label_reduction", values, tmp_path_factory.mktemp("run"))


def cell(method="emarkou_3", features="logmel", training="default"):
    return Cell(method=method, details={"features": features, "training": training})


def published_study(study, **changes):
    fresh = {"max_epochs": 0, "batch_size": 0, "n_updates": 0, "width": 1.0, **changes}
    config = LabelReductionConfig.of({**study.config.to_dict(), **fresh})
    return type(study)(config, study.folder, study.data)


# -- labels ------------------------------------------------------------------------------------------------------------


def test_synonyms_are_merged_and_the_order_is_alphabetical(study):
    assert (study.sound.tags, len(study.reduction.tags)) == (("noisy", "tone"), 3)


def test_clips_without_a_tag_are_left_out(study):
    rows = np.concatenate([study.sound.index(part) for part in ("train", "valid", "test")])
    assert study.sound.labels(rows).any(axis=1).all()
    assert len(rows) == study.data_facts()["n_clips"] == 24 - study.reduction.n_untagged


def test_groups_of_the_source_are_those_of_its_data_alone():
    assert (len(_known_groups("mtt")), "female vocal" in _known_groups("mtt")["female"]) == (29, True)
    assert _known_groups("csv") == {}


def test_labels_and_counts_are_written(study):
    study.measure(Cell(method="labels", is_scored=False))
    with (study.folder / "labels" / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["track_id", "noisy", "tone"]
    assert len(rows) == 1 + study.data_facts()["n_clips"]
    with (study.folder / "labels" / "counts.csv").open(encoding="utf-8", newline="") as file:
        counts = {row["tag"]: row for row in csv.DictReader(file)}
    assert counts["low"]["merged_into"] == "tone"
    assert int(counts["high"]["n_clips_merged"]) == study.reduction.n_merged["tone"]


def test_map_of_clips_is_that_of_their_labels(study):
    rows = np.concatenate([study.sound.index(part) for part in ("train", "valid", "test")])
    wanted, seen = cooccurrence_vectors(study.sound.labels(rows), study.sound.tags), []
    made = type(study)(study.config, study.folder, study.data)
    made._save_map = lambda vectors, _: seen.append(vectors)
    assert made.measure(Cell(method="map", details={"of": "clips"}))["n_tags"] == 2
    assert np.array_equal(seen[0].vectors, wanted.vectors)


WORDS = "".join(f"{word} {number} 1 {number * number}\n" for number, word in enumerate(("tone", "noisy")))


@pytest.mark.parametrize(
    ("text", "message"), [(None, "No such file"), ("no words\n", "no file of word vectors"), ("a 1 2\n", "none of the")]
)
def test_word_vectors_are_read_before_anything_is_trained(values, tmp_path, text, message):
    path = tmp_path / "words.txt"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        made_study("label_reduction", {**values, "vectors": str(path)}, tmp_path)


def test_other_words_at_the_same_place_make_another_map(values, tmp_path):
    path, keys = tmp_path / "words.txt", []
    for text in (WORDS, WORDS.replace("2", "3").replace(" 1\n", " 7\n"), WORDS):
        path.write_text(text, encoding="utf-8")
        study = made_study("label_reduction", {**values, "vectors": str(path)}, tmp_path)
        keys += [cell.key for cell in study.phases()[0] if "words" in cell.key]
    assert len(keys) == 3
    assert keys[0] == keys[2] != keys[1]


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "n_parameters"),
    [
        ("emarkou_2", 13_985_266), ("emarkou_2_nopool2", 53_306_866), ("emarkou_3", 30_369_522),
        ("emarkou_3_pool", 10_708_722),
    ],
)  # fmt: skip
def test_networks_are_those_of_the_family(study, method, n_parameters):
    import torch

    with torch.device("meta"):
        model = published_study(study).start(cell(method))
    n_head = 1024 + 1
    assert sum(one.numel() for one in model.parameters()) == n_parameters - (50 - 2) * n_head


def test_default_training_is_20_epochs_in_batches_of_64(study):
    fit = published_study(study).fit(cell())
    assert (fit.max_epochs, fit.max_steps, fit.batch_size, fit.keep) == (20, None, 64, "valid_loss")


def test_literal_training_is_210_updates_of_700(study):
    fit = published_study(study).fit(cell(training="literal"))
    assert (fit.max_steps, fit.batch_size, fit.lr, fit.keep) == (210, 700, 0.001, "last")
    assert fit.max_epochs >= 210  # here all clips make one batch


def measure_and_die(settings):
    """Measure a cell in this process, and end it as kill -9 does in its second epoch."""
    from taggram.learning.system import TaggingSystem

    begin = TaggingSystem.on_train_batch_start

    def dies(self, *arguments):
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        begin(self, *arguments)

    TaggingSystem.on_train_batch_start = dies
    make_study(settings).measure(cell("emarkou_2"))


@pytest.mark.slow
def test_cell_that_was_killed_in_training_goes_on_to_the_same(study, tmp_path):
    made = []
    for name in ("whole", "cut"):
        (tmp_path / name / "files").mkdir(parents=True)
        config = {**study.config.to_dict(), "max_epochs": 3}
        made.append({"study": study.name, "config": config, "folder": str(tmp_path / name), "data": study.data})
    killed = multiprocessing.get_context("spawn").Process(target=measure_and_die, args=(made[1],))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    run = tmp_path / "cut" / "files" / cell("emarkou_2").key
    assert len((run / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 2  # an epoch was done
    whole, cut = (make_study(settings).measure(cell("emarkou_2")) for settings in made)
    assert cut == whole


def test_literal_training_starts_with_deviation_1(study):
    assert study.start(cell(training="literal")).head.weight.std() > 0.5 > study.start(cell()).head.weight.std()


def test_cells_are_networks_by_features_by_training(study):
    config = LabelReductionConfig()
    cells = type(study)(config, study.folder, study.data).phases()[0]
    assert [one.method for one in cells[:2]] == ["labels", "map"]
    assert len(cells) == 2 + 4 * 3 * 2


# -- what is decided of each tag ---------------------------------------------------------------------------------------


def evaluation(scores, labels, tags):
    return Evaluation(
        model="m", data_set="made", split="all", split_sha256="", part="test", tags=tags, task="several",
        track_ids=tuple(f"clip {number}" for number in range(len(scores))), scores=np.array(scores, np.float32),
        labels=np.array(labels, bool),
    )  # fmt: skip


@pytest.fixture(scope="module")
def decided():
    scores = [[0.9, 0.5, 0.1], [0.6, 0.7, 0.2], [0.2, 0.1, 0.8], [0.1, 0.9, 0.3]]
    labels = [[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    return evaluation(scores, labels, ("rock", "jazz", "folk"))


@pytest.mark.parametrize(("tag", "counts"), [("rock", (1, 1, 1, 1)), ("jazz", (1, 1, 1, 1)), ("folk", (3, 0, 1, 0))])
def test_counts_of_a_tag_and_a_tie_at_half_is_no(decided, tag, counts):
    one = results.decisions_of(decided)["decisions"][tag]
    assert tuple(one[name] for name in ("tn", "fn", "fp", "tp")) == counts
    assert one["accuracy"] == (one["tp"] + one["tn"]) / 4


def test_recall_that_is_not_defined_is_blank(decided):
    found = results.decisions_of(decided)
    assert (found["decisions"]["rock"]["recall"], found["decisions"]["folk"]["recall"]) == (0.5, None)
    reduction = Reduction(
        tags=("rock", "jazz", "folk"), groups={}, merged=(), kept=("folk", "jazz", "rock"),
        n_before={"rock": 5, "jazz": 4, "folk": 1}, n_merged={"rock": 5, "jazz": 4, "folk": 1},
        per_clip_before=(0, 1), per_clip_after=(0, 1),
    )  # fmt: skip
    table = results._tags({"method": "emarkou_3", "features": "mel", "training": "literal", **found}, reduction)
    assert [row[0] for row in table.rows] == ["rock", "jazz", "folk"]
    assert table.rows[-1][-1] == ""


def test_examples_are_alphabetical_and_hits_are_bold(decided):
    examples = results.examples_of(decided, 12, 0)
    assert examples[0] == {"track_id": "clip 0", "annotated": ["jazz", "rock"], "given": ["rock"]}
    row = {"method": "emarkou_3", "features": "mel", "training": "literal", "examples": examples}
    assert results._examples(row).rows[0] == ["clip 0", "jazz, **rock**", "**rock**"]
    assert results._examples(row).rows[3] == ["clip 3", "none", "jazz"]


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "wanted"), [([1, 2, 3], [4, 5, 9], 1), ([1, 2, 3], [3, 2, 1], -1), ([1, 1, 2], [1, 2, 2], 0.5)]
)
def test_rank_correlation(a, b, wanted):
    assert results.rank_correlation(a, b)[0] == pytest.approx(wanted)


def test_rank_correlation_of_equal_values_is_not_defined():
    assert math.isnan(results.rank_correlation([1, 1], [1, 2])[0])


def decided_row(accuracy, recall, valid_auc=0.8, **details):
    decisions = {
        f"tag {place}": {"n_positive": 99 - place, "accuracy": accuracy[place], "recall": recall[place]}
        for place in range(len(accuracy))
    }
    return {"method": "emarkou_3", "valid_auc": valid_auc, "decisions": decisions, **details}


RISES = [0.7 + 0.01 * place for place in range(12)]
HARDLY = [0.5, 0.9, 0.6, 0.7, 0.4, 0.8, 0.55, 0.65, 0.95, 0.45, 0.75, 0.85]  # rank correlation of 0.22


@pytest.mark.parametrize(
    ("accuracy", "recall", "shows"),
    [
        (RISES, RISES[::-1], [True, True]),
        (RISES[::-1], RISES, [False, False]),
        (RISES[:10], [*RISES[9::-1][:9], None], [True, None]),  # of nine tags nothing can be told
        (HARDLY, HARDLY[::-1], [None, None]),
        ([0.5] * 12, [0.5] * 12, [None, None]),
        (RISES[:8], RISES[7::-1], [None, None]),
    ],
)
def test_reading_of_the_charts_shows_does_not_or_cannot_be_told(accuracy, recall, shows):
    found = results.claims([decided_row(accuracy, recall)])
    assert [one.shows for one in found] == shows
    assert all("of the published charts" in one.figures for one in found)


@pytest.mark.parametrize(("n_positive", "shows"), [(10, [True, True]), (9, [None, None])])
def test_charts_are_not_read_where_half_of_the_tags_have_few_clips(n_positive, shows):
    row = decided_row(RISES, RISES[::-1])
    counts = [n_positive + 30 - place for place in range(6)] + [n_positive - place / 10 for place in range(6)]
    counts[5] = n_positive  # the median of twelve lies between the sixth and the seventh
    for one, count in zip(row["decisions"].values(), counts):
        one["n_positive"] = count
    found = results.claims([row])
    assert [one.shows for one in found] == shows
    assert all("Rank correlation" in one.figures for one in found)
    assert all((f"{n_positive} clips for testing or fewer" in one.figures) == (shows[0] is None) for one in found)


def reduction_of(groups):
    tags = tuple("abc")
    merged = tuple(tag for tag in tags if not any(tag in names for names in groups.values()))
    n_before = {"a": 20, "b": 9, "c": 3}
    n_merged = {tag: n_before[tag] + sum(n_before[name] for name in groups.get(tag, ())) for tag in merged}
    return Reduction(
        tags=tags, groups=groups, merged=merged, kept=merged[:1], n_before=n_before, n_merged=n_merged,
        per_clip_before=(0, 20, 3), per_clip_after=(1, 22),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "title"), [({}, "after: 1 of 3 tags, none merged"), ({"a": ("b",)}, "after: 1 of 2 merged tags")]
)
def test_picture_calls_tags_merged_only_where_some_are(groups, title):
    right = draw_counts(reduction_of(groups), title="made").axes[1]
    assert right.get_title("left") == title


def test_clips_are_counted_in_whole_numbers():
    for figure, axis in (
        (draw_per_clip(reduction_of({}), title="made"), "yaxis"), (draw_counts(reduction_of({}), title="made"), "xaxis")
    ):  # fmt: skip
        for axes in figure.axes:
            getattr(axes, axis).set_view_interval(0, 3, ignore=True)
            ticks = getattr(axes, axis).get_major_locator()()
            assert all(float(tick).is_integer() for tick in ticks)


def test_without_a_network_nothing_is_said_of_the_charts():
    assert [one.shows for one in results.claims([])] == [None, None]


def test_charts_of_the_source_say_what_it_reads_out_of_them():
    assert len(BY_TAG) == 50
    assert np.mean([accuracy for accuracy, _ in BY_TAG.values()]) == pytest.approx(0.896, abs=5e-4)
    assert np.mean([recall for _, recall in BY_TAG.values()]) == pytest.approx(0.112, abs=5e-4)


def test_published_network_is_not_among_those_that_were_measured(study):
    networks, published, *_ = results.tables([], study.reduction)
    assert networks.rows == []
    assert (published.title, published.rows[0][-2:]) == ("Published, on other data", ["0.896", "0.112"])


@pytest.mark.parametrize("split", ["dir-all", "dir-tagged"])
def test_no_split_is_that_of_the_source(study, split):
    facts = {**study.data_facts(), "name": "mtt", "split": split}
    made = type(study)(study.config, study.folder, {**study.data, "facts": facts})
    assert "which is not the data of the paper" in page_of(made, [], 1).splitlines()[0]


def test_networks_are_drawn_to_a_tenth_with_the_intervals_of_the_clips():
    kinds = {"features": "mel", "training": "default"}
    areas = {"macro_roc_auc": 0.5512, "macro_roc_auc_interval": [0.52, 0.58]}
    row = {"method": "emarkou_2", "run": 0, **kinds, **areas}
    other = {**row, "method": "emarkou_3", "macro_roc_auc": 0.5561}
    (axes,) = draw_networks([row, other], title="made").axes
    assert [text.get_text() for text in axes.texts] == ["55.1", "55.6"]
    assert [52, 58] in [pytest.approx(line.get_xdata()) for line in axes.lines]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        results.NETS["emarkou_2"].title, results.NETS["emarkou_3"].title,
    ]  # fmt: skip


def test_network_of_the_tables_is_the_best_in_validation():
    rows = [decided_row([0.9] * 3, [0.1] * 3, area) for area in (0.7, 0.9, None)]
    assert results.best_row(rows) is rows[1]


@pytest.mark.parametrize(("tags", "n"), [(("guitar", "rock"), 0), (("guitar", "rock", "slow", "drum", "male", "x"), 5)])
def test_published_tags_stand_beside_ours_where_there_are_some_of_them(tags, n):
    assert len(results.published_tags(dict.fromkeys(tags))) == n


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": "cqt"}, "features is .*; wanted some of mel, mfcc, logmel"),
        ({"training": "long"}, "training is .*; wanted some of default, literal"),
        ({"n_tags": 0}, "n_tags is 0"),
        ({"width": 0}, "width is 0"),
        ({"n_updates": -1}, "n_updates is -1"),
        ({"synonyms": 3}, "synonyms is 3"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LabelReductionConfig.of(settings)


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text(WORDS, encoding="utf-8")
    asked = {**values, "methods": "emarkou_2", "features": "mel,logmel", "vectors": str(words)}
    out = tmp_path / "run"
    first = run_study("label_reduction", asked, out, n_workers=1)
    assert first.failures == ()
    assert {path.stem for path in first.pictures} == {"tags_by_count", "tags_per_clip", "networks", "accuracy_recall"}
    assert len(first.results["cells"]) == 4
    literal = [row for row in first.results["cells"] if row["training"] == "literal"]
    assert {row["n_epochs"] for row in literal} == {2}  # 3 steps, of which an epoch has 2
    report = out / "reports" / "emarkou_2_features-mel_training-default_fold-0_run-0"
    assert (report / "report.html").exists()
    assert (report / "report" / "predictions.csv").exists()
    told = []
    (out / "cells" / "emarkou_2_features-logmel_training-default_fold-0_run-0.json").unlink()  # as if killed
    again = run_study("label_reduction", asked, out, n_workers=1, told=lambda one, *_: told.append(one.details))
    assert told == [{"features": "logmel", "training": "default"}]
    assert json.dumps(again.results) == json.dumps(first.results)


def test_maps_are_drawn_of_clips_words_and_output_layers(study, tmp_path):
    tags = tuple("abcdef")
    rng = np.random.default_rng(0)
    from taggram.learning.tag_map import TagVectors

    made = type(study)(study.config, tmp_path, study.data)
    made.__dict__["reduction"] = Reduction(
        tags=tags, groups={}, merged=tags, kept=tags, n_before=dict.fromkeys(tags, 1), n_merged=dict.fromkeys(tags, 1),
        per_clip_before=(0, 1), per_clip_after=(0, 1),
    )  # fmt: skip
    made._save_map(TagVectors(tags, rng.standard_normal((6, 4)), "made"), "clips")
    made._save_map(TagVectors(tags[:3], rng.standard_normal((3, 4)), "too few for a map"), "few")
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "clips-4D.csv", "clips-2D.csv", "clips-2D-NORMALIZED.csv", "clips.png", "clips.html", "clips-projector",
    }  # fmt: skip
