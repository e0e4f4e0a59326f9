"""The study on levels and scales: what is put together, what is trained on what, and the whole as one network."""

from __future__ import annotations

import json
from dataclasses import replace

import _networks
import numpy as np
import pytest
import soundfile
from _made_sounds import RATE, TAGS, sound_of, write_csv, write_set
from _made_study import made_study

from taggram.datasets.gtzan import GENRES
from taggram.errors import ConfigError, DatasetError, TaggramError, TrainingError, UnknownNameError
from taggram.learning.aggregation import SCORES
from taggram.models._saved import load_model
from taggram.studies._base import Cell
from taggram.studies._multilevel_config import MultilevelConfig
from taggram.studies._multilevel_nets import SAMPLES, choices_of, describe_given, given_nets, local_nets, whole_of
from taggram.studies._multilevel_results import PUBLISHED, Results, WhichData, claims_of, draw, tables_of
from taggram.studies._worker import measure_cell
from taggram.studies.run import run_study
from taggram.tagger import Tagger
from taggram.vocabulary import MSD50, MTT50_MUSICNN

pytestmark = pytest.mark.usefixtures("own_cache")

QUICK = {
    "data.min_count": 1, "lengths": "18,27", "local_epochs": 1, "norm_momentum": 0.1, "units": 8, "max_epochs": 4,
    "lr": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"), n_clips=24)


@pytest.fixture(scope="module")
def values(sound):
    return {"data": "csv", "data.root": str(sound), **QUICK}


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    """A study whose networks are trained, and whose vectors are there."""
    made = made_study("multilevel", values, tmp_path_factory.mktemp("run"))
    for cell in [cell for phase in made.phases()[:2] for cell in phase]:
        measure_cell(made, cell)
    return made


def cells_of(study, *methods):
    return [cell for phase in study.phases() for cell in phase if cell.method in methods]


# -- what is put together ----------------------------------------------------------------------------------------------


def places(nets):
    return [(one.method, one.scale, one.level, len(one.parts)) for one in choices_of(nets)]


def test_levels_and_scales_of_the_paper_are_put_together():
    found = places(local_nets("data", "mel", (18, 27, 54)))
    assert [method for method, *_ in found] == ["single_level"] * 10 + ["levels"] * 3 + ["scales"] * 3 + ["all"]
    assert found[10:] == [
        ("levels", "18", "all", 3), ("levels", "27", "all", 3), ("levels", "54", "all", 4),
        ("scales", "all", "-3", 3), ("scales", "all", "-2", 3), ("scales", "all", "-1", 3), ("all", "all", "all", 10),
    ]  # fmt: skip


def test_samples_have_their_last_three_hidden_layers():
    nets = local_nets("data", "sample", tuple(SAMPLES))
    assert [net.layers for net in nets if net.scale == "59049"] == [("conv9", "conv10", "conv11")]
    assert whole_of(choices_of(nets)).parts[0][1] == "conv13"
    assert len(whole_of(choices_of(nets)).parts) == 18


def test_nothing_is_measured_twice_under_two_names():
    assert [method for method, *_ in places(local_nets("data", "mel", (27,)))] == ["single_level"] * 3 + ["levels"]


def test_clip_vector_has_a_value_a_filter_of_the_chosen_layers(study):
    (whole,) = cells_of(study, "all")
    found = study.vectors(study.choice(whole))
    assert {part: values.shape for part, values in found.items()} == {
        "train": (16, 2 * 768), "valid": (4, 2 * 768), "test": (4, 2 * 768),
    }  # fmt: skip
    level = next(cell for cell in cells_of(study, "scales") if cell.details["level"] == "-1")
    assert study.vectors(study.choice(level))["test"].shape == (4, 1024)


def test_clip_vector_is_network_after_network_and_layer_after_layer(study):
    (whole,) = cells_of(study, "all")
    choice = study.choice(whole)
    wanted = [study.layers_of(net, (layer,))[layer][study.rows_of["valid"]] for net, layer in choice.parts]
    assert np.array_equal(study.vectors(choice)["valid"], np.concatenate(wanted, axis=1))


def test_layers_that_are_not_chosen_are_not_read(study, monkeypatch):
    read = []
    layers_of = study.layers_of
    monkeypatch.setattr(
        study, "layers_of", lambda net, layers: read.append((net.scale, *layers)) or layers_of(net, layers)
    )
    study.vectors(study.choice(cells_of(study, "single_level")[1]))
    assert read == [("18", "conv2")]


# -- networks ----------------------------------------------------------------------------------------------------------


def test_training_is_as_published_where_nothing_else_is_said(study):
    fit = MultilevelConfig().local_fit("data", study.sound)
    assert (fit.optimizer, fit.lr, fit.batch_size, fit.sampling) == ("sgd", 0.01, 23, "all")
    assert fit.schedule.rule == "stages"
    assert (fit.loss, fit.max_epochs, fit.norm_momentum, fit.keep) == ("binary", 5000, None, "valid_loss")
    vectors = MultilevelConfig().vector_fit(443, seed=3)
    assert (vectors.lr, vectors.batch_size, vectors.schedule.stop_after, vectors.seed) == (0.005, 16, 7, 3)
    assert MultilevelConfig(hidden_layers=1).vector_fit(15_244, seed=3).lr == 0.01
    assert MultilevelConfig().vector_fit(15_244, seed=3).batch_size == 128


def test_training_may_be_made_smaller(study):
    config = MultilevelConfig(local_epochs=3, local_patches=4, local_lr=0.1, norm_momentum=0.2, local_keep="valid_auc")
    fit = config.local_fit("data", study.sound)
    assert (fit.max_epochs, fit.sampling, fit.patches_per_track, fit.lr) == (3, "random", 4, 0.1)
    assert (fit.norm_momentum, fit.keep) == (0.2, "valid_auc")


def test_every_setting_that_is_not_the_default_is_told():
    config = MultilevelConfig(
        lengths=(18,), local_epochs=3, units=8, lr=0.05, batch_size=4, max_epochs=9, patience=3, short="slowed"
    )
    (told,) = config.remarks(100)
    assert told == (
        "Settings that are not the default: lengths=18, short=slowed (not tiled), local_epochs=3, units=8 (not 1024), "
        "lr=0.05, batch_size=4, max_epochs=9 (not 1000), patience=3 (not 8)."
    )
    assert MultilevelConfig(seed=3, runs=2, methods=("all",)).remarks(100) == []
    assert MultilevelConfig(svm_clips=50).remarks(100)[1] == "Support vector machines learn from 50 random clips."


def test_network_is_gone_on_with_and_not_trained_again(study):
    (cell, _) = cells_of(study, "network")
    weights = study.files / "network-data-18" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert study.measure(cell)["n_epochs"] == 1
    assert weights.stat().st_mtime_ns == before


def test_local_scores_are_those_of_the_tagger_of_the_network(study):
    (cell, _) = cells_of(study, "local")
    tagger = Tagger(study.files / "network-data-18", device="cpu")
    sound, rows = study.sound_of("data"), study.sound.index("test")
    wanted = [tagger.tag((sound.whole(row), RATE)).scores.mean(0) for row in rows]
    found = study.layers_of(study.net(cell), (SCORES,))[SCORES][rows]
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-4)


def test_vectors_are_kept_a_file_a_layer_and_network(study):
    assert len(list((study.files / "vectors").glob("*.npz"))) == 2 * (3 + 1) + 1  # with scores, and with MFCCs


# -- what is learned ---------------------------------------------------------------------------------------------------


def test_classifier_is_scored_on_the_clips_for_testing(study):
    (cell,) = cells_of(study, "all")
    measured = study.measure(cell)
    assert measured["n_test"] == len(study.sound.index("test"))
    assert measured["n_values"] == 1536
    assert set(measured["by_tag"]) == set(TAGS)
    assert study.measure(cell) == measured


def test_machines_learn_from_so_many_clips_at_most(study, monkeypatch):
    monkeypatch.setattr(study, "config", replace(study.config, svm_clips=12))
    seen = []
    monkeypatch.setattr(
        "taggram.studies.multilevel.machine_scores",
        lambda features, *_, **__: seen.append(len(features)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        study.measure(cells_of(study, "last_level_svm")[0])
    assert seen == [12]


def test_mfccs_are_scored_without_a_network(study):
    measured = study.measure(Cell(method="mfcc_svm"))
    assert (measured["n_values"], measured["macro_roc_auc"] > 0.5) == (120, True)
    assert {"kernel", "cost"} <= measured["params"].keys()


def test_whole_is_saved_as_one_network_that_tags(study):
    cell = cells_of(study, "tagger")[0]
    measured = study.measure(cell)
    model = load_model(study.folder / "tagger-data")
    assert (model.tags, model.name) == (study.sound.tags, "multilevel_mel")
    assert model.frontend.n_frames == measured["n_frames"]
    clip = study.sound_of("data").whole(0)
    assert measured["n_frames"] == 27  # no clip is longer than one segment
    tagged = Tagger(study.folder / "tagger-data", device="cpu").tag((clip, RATE))
    assert tagged.tags == study.sound.tags
    assert np.isfinite(tagged.scores).all()


def test_saved_network_gives_the_scores_of_the_study(tmp_path_factory, values, monkeypatch):
    """Where all clips are of one length, so that the network hears what was learned from."""
    folder = tmp_path_factory.mktemp("even")
    rows = []
    for number in range(12):
        tags = [tag for place, tag in enumerate(TAGS) if number >> place & 1]
        soundfile.write(folder / f"{number}.wav", sound_of(tags, 60 * 512, number), RATE)
        rows.append((f"{number}.wav", ("train", "train", "valid", "test")[number % 4], "|".join(tags)))
    write_csv(folder, rows)
    made = made_study("multilevel", {**values, "data.root": str(folder), "lengths": "27"}, folder / "run")
    for cell in [*cells_of(made, "network"), *cells_of(made, "vectors")]:
        made.measure(cell)
    (cell,) = cells_of(made, "levels")
    kept = []
    monkeypatch.setattr(made, "evaluation", lambda _, scores: kept.append(scores) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.measure(cell)
    monkeypatch.setattr("taggram.studies.multilevel.figures_of", lambda _: {})
    made.measure(cells_of(made, "tagger")[0])
    tagger = Tagger(made.folder / "tagger-data", device="cpu")
    heard = made.sound_of("data")
    tagged = np.concatenate([tagger.tag((heard.whole(row), RATE)).scores for row in heard.index("test")])
    np.testing.assert_allclose(tagged, kept[0], atol=1e-4)


@pytest.fixture(scope="module")
def without_valid(sound, tmp_path_factory):
    """The same sound without a part for validation."""
    folder = tmp_path_factory.mktemp("without")
    for path in sound.glob("*.wav"):
        (folder / path.name).hardlink_to(path)
    (folder / "clips.csv").write_text((sound / "clips.csv").read_text().replace(",valid,", ",train,"))
    return folder


def test_networks_learn_nothing_from_the_clips_by_which_classifiers_are_chosen(
    without_valid, tmp_path, values, monkeypatch
):
    source = {"source": "csv", "source.root": str(without_valid), "source.min_count": 1, "trained_on": "data,source"}
    made = made_study("multilevel", {**values, "data.root": str(without_valid), **source}, tmp_path)
    rows = made.rows_of
    assert {part: len(some) for part, some in rows.items()} == {"train": 18, "valid": 2, "test": 4}
    assert not set(rows["valid"]) & {*rows["train"], *rows["test"]}
    learned = []

    def fit_cell(model, data, folder, config, **_):
        learned.append((config.valid_share, data.index("train").tolist(), data.index("valid").tolist()))
        raise ZeroDivisionError

    monkeypatch.setattr("taggram.studies.multilevel.fit_cell", fit_cell)
    for cell in cells_of(made, "network"):
        with pytest.raises(ZeroDivisionError):
            made.measure(cell)
    assert learned == [(0.0, rows["train"].tolist(), rows["valid"].tolist())] * 4
    assert "10% of train is drawn for validation, once for all: of data and source." in made.remarks()


def test_one_clip_is_too_few_to_learn_from(sound, tmp_path, values):
    rows = [("000.wav", "train", "low|high"), ("005.wav", "test", "low"), ("011.wav", "test", "high")]
    write_csv(tmp_path, rows)
    for name, *_ in rows:
        (tmp_path / name).hardlink_to(sound / name)
    made = made_study("multilevel", {**values, "data.root": str(tmp_path)}, tmp_path / "run")
    with pytest.raises(DatasetError, match="at least 2 are wanted"):
        _ = made.rows_of


# -- other data, other networks ----------------------------------------------------------------------------------------


def test_networks_of_the_source_have_its_tags_and_no_local_scores(sound, values, tmp_path):
    source = write_set(tmp_path / "source", n_clips=12, seed=1)
    lines = (source / "clips.csv").read_text().replace("noisy", "loud")
    (source / "clips.csv").write_text(lines)
    given = {"source": "csv", "source.root": str(source), "source.min_count": 1, "trained_on": "data,source"}
    made = made_study("multilevel", {**values, **given, "lengths": "18"}, tmp_path / "run")
    assert made.config.fixed().keys() >= {"source.name", "source.min_count"}
    assert "source.root" not in made.config.fixed()
    assert [cell.details["trained_on"] for cell in cells_of(made, "network")] == ["data", "source"]
    assert {cell.details["trained_on"] for cell in cells_of(made, "local")} == {"data"}
    cell = cells_of(made, "network")[1]
    made.measure(cell)
    assert load_model(made.files / "network-source-18").tags == ("high", "loud", "low")
    vectors = cells_of(made, "vectors")[1]
    assert made.measure(vectors).keys() == {"n_clips", "n_conv1", "n_conv2", "n_conv3"}
    told = made.remarks()
    assert told[0].startswith("The networks are trained on csv data in source: 12 clips")
    assert told[1] == "0 of the 4 clips for testing sound exactly like one of these."


def test_sound_for_testing_that_the_source_was_learned_from_is_told(sound, values, tmp_path):
    source = tmp_path / "source"
    write_csv(source, [("a.wav", "train", "low"), ("b.wav", "valid", "low"), ("c.wav", "test", "low")])
    for name, tested in (("a.wav", "005.wav"), ("b.wav", "011.wav"), ("c.wav", "017.wav")):
        (source / name).hardlink_to(sound / tested)
    given = {"source": "csv", "source.root": str(source), "source.min_count": 1}
    made = made_study("multilevel", {**values, **given}, tmp_path / "run")
    assert made.remarks()[1] == "2 of the 4 clips for testing sound exactly like one of these."


@pytest.mark.parametrize("root", ["", "nowhere"])
def test_missing_source_is_told_before_anything_is_decoded(values, tmp_path, root, monkeypatch):
    monkeypatch.setattr("taggram.studies.multilevel.prepare_sound", lambda *_, **__: 1 / 0)
    given = {"source": "csv", **({"source.root": str(tmp_path / root)} if root else {})}
    with pytest.raises(TaggramError, match="nowhere" if root else "source.root is ''; wanted the folder"):
        made_study("multilevel", {**values, **given}, tmp_path / "run")


def test_source_alone_is_what_networks_are_trained_on_unless_more_is_said():
    assert MultilevelConfig.of({"source": "synth"}).origins == ("source",)
    assert MultilevelConfig.of({"source": "synth", "trained_on": "source,data"}).origins == ("data", "source")
    assert MultilevelConfig.of({"extractors": "musicnn.mtt"}).origins == ("given",)


def without_training(values):
    return {key: value for key, value in values.items() if key not in ("lengths", "local_epochs", "norm_momentum")}


def test_models_that_are_given_are_used_as_they_are(values, tmp_path):
    path = tmp_path / "tiny.safetensors"
    _networks.create("samplecnn", kernel=3, depth=3, n_samples=54, n_tags=3).save(path)
    given = {"extractors": str(path), "layers": "conv3,conv5", "methods": "levels"}
    made = made_study("multilevel", {**without_training(values), **given}, tmp_path / "run")
    assert [[cell.method for cell in phase] for phase in made.phases()] == [["vectors"], ["levels"]]
    (cell,) = cells_of(made, "levels")
    assert (cell.details["scale"], made.measure(cell)["n_values"]) == ("tiny", 128 + 512)
    assert made.data_facts()["extractors"]["tiny"]


def test_layers_of_given_models_stand_in_their_own_order(tmp_path):
    path = tmp_path / "tiny.safetensors"
    _networks.create("samplecnn", kernel=3, depth=3, n_samples=54).save(path)
    (net,) = given_nets(describe_given([str(path)], ["conv5", "conv2"]))
    assert (net.layers, net.levels) == (("conv2", "conv5"), ("-2", "-1"))
    with pytest.raises(ConfigError, match="none of the layers fc1"):
        describe_given([str(path)], ["fc1"])
    with pytest.raises(ConfigError, match=r"layers has conv99, which none .* Did you mean conv"):
        describe_given([str(path)], ["conv5", "conv99"])
    with pytest.raises(UnknownNameError, match="musicn"):
        describe_given(["musicn.mtt"], [])


def test_exactly_one_tag_is_scored_by_accuracy_over_ten_runs(sound, values, tmp_path):
    lines = [line.split(",") for line in (sound / "clips.csv").read_text().splitlines()]
    (tmp_path / "clips.csv").write_text(
        "\n".join(
            ",".join([*line[:2], "tags" if not number else "noisy" if "noisy" in line[2] else "plain"])
            for number, line in enumerate(lines)
        )
        + "\n"
    )
    for path in sound.glob("*.wav"):
        (tmp_path / path.name).hardlink_to(path)
    given = {"data.root": str(tmp_path), "lengths": "18", "methods": "local,levels,mfcc_svm"}
    made = made_study("multilevel", {**values, **given}, tmp_path / "run")
    assert (made.data_facts()["task"], made.n_runs) == ("one", 10)
    for cell in [*cells_of(made, "network"), *cells_of(made, "vectors")]:
        made.measure(cell)
    for cell in (cells_of(made, "local")[0], cells_of(made, "levels")[9], Cell(method="mfcc_svm")):
        assert 0 <= made.measure(cell)["accuracy"] <= 1


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"system": "mels"}, "system is 'mels'"),
        ({"lengths": "18,36"}, r"lengths is \(18, 36\); wanted some of 18, 27, 54"),
        ({"system": "sample", "lengths": 27}, "wanted some of 16384"),
        ({"trained_on": "source"}, "wanted source=NAME beside it"),
        ({"trained_on": "given"}, "wanted extractors=MODEL beside it"),
        ({"trained_on": "target"}, "trained_on is 'target'"),
        ({"layers": "conv1"}, "nothing without extractors"),
        ({"short": "zero"}, "short is 'zero'"),
        ({"local_keep": "last"}, "local_keep is 'last'"),
        ({"hidden_layers": 3}, "hidden_layers is 3"),
        ({"patience": 1}, "patience is 1"),
        ({"units": 0}, "units is 0"),
        ({"lr": -1}, "lr is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"folds": 1}, "folds is"),
        ({"runs": -1}, "runs is -1"),
        ({"methods": ("level",)}, "no method 'level'"),
        ({"n_segments": 3}, "n_segments is 3; wanted 0 with system=mel"),
        ({"methods": "tagger", "system": "sample"}, "methods is 'tagger'; wanted others"),
        ({"methods": "local", "source": "synth"}, "methods is 'local'; wanted others, or trained_on with data"),
        ({"extractors": "musicnn.mtt", "methods": "local"}, "methods is 'local'"),
        ({"extractors": "musicnn.mtt", "methods": "tagger"}, "methods is 'tagger'"),
        ({"extractors": "musicnn.mtt", "lengths": 18}, r"lengths is \(18,\); wanted nothing where no network"),
        ({"extractors": "musicnn.mtt", "local_keep": "valid_auc"}, "local_keep is 'valid_auc'; wanted nothing"),
        ({"extractors": "musicnn.mtt", "local_lr": 0.1}, "local_lr is 0.1; wanted nothing"),
        ({"extractors": "musicnn.mtt", "system": "sample"}, "system is 'sample'; wanted nothing"),
        ({"extractors": "musicnn.mtt", "source": "synth"}, "source is 'synth'; wanted nothing with extractors"),
    ],
    ids=str,
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MultilevelConfig.of(settings)


def test_settings_of_training_count_beside_models_that_are_given():
    both = {"extractors": "musicnn.mtt", "trained_on": "data,given", "lengths": "18,27"}
    assert MultilevelConfig.of(both).lengths == (18, 27)


@pytest.mark.parametrize(
    ("lengths", "methods", "there"), [("18", "all", "single_level, levels"), ("18", "scales", "single_level, levels")]
)
def test_method_with_nothing_of_its_own_is_refused(lengths, methods, there):
    config = MultilevelConfig.of({"lengths": lengths, "methods": methods})
    with pytest.raises(ConfigError, match=f"methods has {methods}, which .* Name some of {there}"):
        config.nets([])


def test_networks_that_no_method_needs_are_not_trained(sound, values, tmp_path):
    given = {"source": "csv", "source.root": str(sound), "source.min_count": 1, "trained_on": "data,source"}
    made = made_study("multilevel", {**values, **given, "methods": "local"}, tmp_path)
    assert {cell.details["trained_on"] for phase in made.phases() for cell in phase} == {"data"}


def test_segments_are_spread_for_samples_alone():
    config = MultilevelConfig(system="sample", n_segments=3, extractors=("musicnn.mtt",), trained_on=("data", "given"))
    assert (config.segments("data").layout, config.segments("data").n_segments) == ("spread", 3)
    assert (config.segments("given").layout, config.segments("given").n_segments) == ("contiguous", 0)
    assert MultilevelConfig().segments("data").layout == "contiguous"


# -- results -----------------------------------------------------------------------------------------------------------

LEVELS = ("-3", "-2", "-1")


def row(method, auc, scale="", level="", *, trained_on="data", run=0, **by_tag):
    facts = {"macro_roc_auc": auc, "macro_pr_auc": 0.4, "accuracy": None}
    facts["macro_roc_auc_interval"] = [auc - 0.1, auc + 0.1]
    place = {"trained_on": trained_on, "scale": scale, "level": level}
    return {"method": method, "fold": 0, "run": run, **place, **facts, "by_tag": by_tag or {"a": auc, "b": auc}}


MTT = WhichData("mtt", "dir-tagged", frozenset(MTT50_MUSICNN))
MSD = WhichData("msd", "lastfm", frozenset(MSD50))
GTZAN = WhichData("gtzan", "fault-filtered", frozenset(GENRES))


def results(*rows, origins=("data",), data=MTT, source=None, system="mel", scales=("18", "27", "54")):
    return Results(
        rows, dict.fromkeys(origins, dict.fromkeys(scales, LEVELS)), task="several", system=system, data=data,
        source=source, title="made sound",
    )  # fmt: skip


def singles(scale, *figures):
    return [row("single_level", auc, scale, level) for level, auc in zip(LEVELS, figures)]


def shows(words, *rows, **options):
    return next(one.shows for one in claims_of(results(*rows, **options)) if one.words.startswith(words))


def test_systems_stand_beside_what_was_published_of_them():
    rows = [
        row("local", 0.7, "27"), row("levels", 0.8, "27", "all"), row("levels", 0.9, "27", "all", run=1),
        row("levels", 0.75, "18", "all"), row("all", 0.9, "all", "all"), row("mfcc_svm", 0.6),
    ]  # fmt: skip
    table = tables_of(results(*rows))[0]
    found = {line[0]: line[2:] for line in table.rows}
    assert found["local network, mean over segments, 27"] == ["0.700", "0.400", "0.8981"]
    assert found["all levels, one scale, 27"] == ["0.850 ± 0.050", "0.400 ± 0.000", "0.9002"]
    assert found["all levels, one scale, 18"][-1] == "-"
    assert found["all levels, all scales"][-1] == "0.9017"
    assert found["MFCC statistics, SVM"][-1] == "-"


def beside(*, trained_on="data", **options):
    rows = [row("all", 0.9, "all", "all", trained_on=trained_on)]
    return tables_of(results(*rows, origins=(trained_on,), **options))[0].rows[0][-1]


@pytest.mark.parametrize(
    "data",
    [
        WhichData("csv", "column", MTT.tags), replace(MTT, split="dir-all"), replace(MTT, tags=MTT.tags | {"gong"}),
        replace(MSD, split="tagtraum"),
    ],
    ids=("other data", "other split", "other tags", "other split of MSD"),
)  # fmt: skip
def test_systems_of_other_data_stand_alone(data):
    assert beside(data=data) == "-"


def test_systems_on_the_data_of_the_papers_stand_beside_them():
    assert [beside(data=MTT), beside(data=MSD), beside(data=MTT, system="sample", scales=SAMPLES)] == [
        "0.9017", "0.8878", "0.9064",
    ]  # fmt: skip
    assert beside(data=MTT, scales=("18", "27")) == "-"  # all of the published ones are three


def test_networks_of_another_source_have_no_published_figure_beside_them():
    assert beside(trained_on="source", source=MSD) == "0.9021"
    assert beside(trained_on="source", source=MSD, data=GTZAN) == "0.7200"
    for other in (None, MTT, WhichData("synth", "seeded", MSD.tags), replace(MSD, split="tagtraum")):
        assert beside(trained_on="source", source=other) == "-"
    assert beside(trained_on="source", source=MSD, data=replace(GTZAN, split="fold-1")) == "-"


def test_study_knows_its_data_and_its_source(sound, values, tmp_path):
    given = {"source": "csv", "source.root": str(sound), "source.min_count": 1}
    made = made_study("multilevel", {**values, **given}, tmp_path)
    which = WhichData("csv", "column", frozenset(TAGS))
    assert (made.results([]).data, made.results([]).source) == (which, which)
    assert made.is_papers_data() is False


def test_table_has_levels_by_scales():
    table = tables_of(results(*singles("27", 0.5, 0.6, 0.7), row("scales", 0.8, "all", "-1")))[1]
    assert table.columns == ["scale", "level -3", "level -2", "level -1", "all levels"]
    assert [list(line) for line in table.rows] == [
        ["18", "-", "-", "-", "-"], ["27", "0.500", "0.600", "0.700", "-"], ["54", "-", "-", "-", "-"],
        ["all", "-", "-", "0.800", "-"],
    ]  # fmt: skip


def test_published_figures_are_those_of_the_page():
    table = tables_of(results())[-1]
    found = {line[0]: list(line[1:]) for line in table.rows}
    assert found["mel: several levels and scales"] == ["0.9017", "0.8878", "-"]
    assert found["mel: the same, networks trained on MSD"] == ["0.9021", "-", "0.72"]
    assert found["sample: several levels and scales"] == ["0.9064", "0.8842", "-"]
    sources = {row["title"]: row["source"] for row in PUBLISHED}
    assert sources["sample: SampleCNN by itself"].startswith("SMC 2017")
    assert "poster" in sources["sample: several levels and scales"]


@pytest.mark.parametrize(("whole", "wanted"), [(0.8, True), (0.7, False)])
def test_levels_together_are_held_against_the_best_one(whole, wanted):
    assert shows("all levels of a", *singles("27", 0.5, 0.75, 0.6), row("levels", whole, "27", "all")) is wanted
    assert shows("all levels of a", *singles("27", 0.5, 0.75)) is None


@pytest.mark.parametrize(("whole", "wanted"), [(0.8, True), (0.7, False)])
def test_scales_together_are_held_against_the_best_one(whole, wanted):
    ones = [row("levels", 0.6, "18", "all"), row("levels", 0.75, "27", "all")]
    assert shows("all scales together", *ones, row("all", whole, "all", "all")) is wanted
    assert shows("all scales together", *ones) is None


BY_TAG = {f"tag {number}": 0.6 for number in range(10)}
LOST = {"tag 0": 0.4}


@pytest.mark.parametrize(
    ("lost", "wanted"), [({}, True), (LOST, True), ({**LOST, "tag 1": 0.4}, False), ({**LOST, "tag 1": 0.5}, False)]
)
def test_tags_are_counted_for_which_all_levels_or_all_scales_are_the_best(lost, wanted):
    low = dict.fromkeys(BY_TAG, 0.5)
    levels = [row("single_level", 0.5, "27", level, **low) for level in LEVELS]
    whole = row("levels", 0.6, "27", "all", **BY_TAG | lost)
    assert shows("for almost all tags (90% here), all levels", *levels, whole) is wanted
    scales = [row("levels", 0.5, scale, "all", **low) for scale in ("18", "27", "54")]
    whole = row("all", 0.6, "all", "all", **BY_TAG | lost)
    assert shows("for almost all tags (90% here), all scales", *scales, whole) is wanted
    assert shows("for almost all tags (90% here), all scales", *scales[1:], whole) is None


def test_classifier_of_clips_is_held_against_the_network_itself():
    rows = [row("local", 0.7, "27"), row("levels", 0.8, "27", "all")]
    assert shows("a classifier of clips", *rows) is True
    assert shows("a classifier of clips", rows[0]) is None


def test_source_is_held_against_the_data():
    whole = [row("all", auc, "all", "all", trained_on=name) for name, auc in (("data", 0.7), ("source", 0.8))]
    assert shows("networks that were trained", *whole, origins=("data", "source")) is True
    assert shows("networks that were trained", whole[1], origins=("source",)) is None


def test_tags_stand_with_their_counts_and_title_and_legend_apart():
    rows = [
        {**row("levels", 0.7, scale, "all", rare=1.0, common=0.6), "n_positive": {"rare": 1, "common": 30}}
        for scale in ("18", "27", "54")
    ]
    figure = draw(results(*rows))["scales-data"]
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rare (1)", "common (30)"]
    figure.canvas.draw()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure._suptitle.get_window_extent())
    assert figure.get_suptitle().splitlines()[1] == "made sound"


@pytest.mark.parametrize(("n_runs", "are_told"), [(1, False), (2, True)])
def test_ticks_are_single_runs_and_said_so(n_runs, are_told):
    rows = [row("all", 0.6 + 0.1 * run, "all", "all", run=run) for run in range(n_runs)]
    (axes,) = draw(results(*rows))["systems"].axes
    assert any(line.get_marker() == "|" for line in axes.get_lines()) is are_told
    assert ("ticks: single runs" in axes.get_xlabel()) is are_told
    assert "line: 95 % interval over clips" in axes.get_xlabel()


# -- the whole ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_study_from_words_to_files(values, tmp_path, run_taggram):
    words = [f"{key}={value}" for key, value in values.items()]
    out = tmp_path / "run"
    asked = ("study", "multilevel", *words, f"out={out}")
    done = run_taggram(*asked, "methods=levels,all,local")
    assert done.returncode == 0, done.stderr
    assert "not the data of the paper" in done.stdout
    first = json.loads((out / "results.json").read_text())["cells"]
    network = out / "files" / "network-data-18" / "model.safetensors"
    before = network.stat().st_mtime_ns
    next((out / "cells").glob("all_*.json")).unlink()  # as if killed before its end
    again = run_taggram(*asked)
    assert again.returncode == 0, again.stderr
    cells = json.loads((out / "results.json").read_text())["cells"]
    assert all(cell in cells for cell in first)
    assert network.stat().st_mtime_ns == before
    assert {path.name for path in out.glob("*.png")} == {"systems.png", "levels-data.png", "scales-data.png"}
    tagged = run_taggram("tag", f"{values['data.root']}/000.wav", "--model", out / "tagger-data")
    assert tagged.returncode == 0, tagged.stderr
    assert any(tag in tagged.stdout for tag in TAGS)


@pytest.mark.slow
def test_samples_are_aggregated_too(sound, tmp_path):
    values = {"data": "csv", "data.root": str(sound), **QUICK, "system": "sample", "lengths": "16384,19683"}
    small = {"n_segments": 2, "local_patches": 1, "methods": "local,all,last_level_svm"}
    done = run_study("multilevel", {**values, **small}, tmp_path / "run", n_workers=1)
    assert done.failures == ()
    found = {cell["method"]: cell for cell in done.results["cells"]}
    assert found["all"]["n_values"] == 2 * 1280
    assert not (tmp_path / "run" / "tagger-data").exists()


@pytest.mark.slow
def test_other_settings_need_another_folder(values, tmp_path):
    small = {**values, "methods": "mfcc_svm"}
    run_study("multilevel", small, tmp_path / "run", n_workers=1)
    with pytest.raises(TrainingError, match="units"):
        run_study("multilevel", {**small, "units": 4}, tmp_path / "run", n_workers=1)
