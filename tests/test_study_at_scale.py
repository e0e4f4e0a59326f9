"""The study at scale: nested sets, how long each is learned from, where curves cross, and what comes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from _made_sounds import write_set
from _made_study import made_study

from taggram.errors import ConfigError
from taggram.models import create_model
from taggram.studies import _hand_made_features
from taggram.studies._at_scale_results import claims_of, crossings, tables_of
from taggram.studies._base import Cell
from taggram.studies.at_scale import AtScale, AtScaleConfig
from taggram.studies.run import run_study

pytestmark = pytest.mark.usefixtures("own_cache")

NETWORKS = ("waveform", "spectrogram")
SMALL = {"methods": NETWORKS, "patch_s": 1.25, "batch_size": 4, "updates": 4, "n_looks": 2}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = write_set(tmp_path_factory.mktemp("set"), n_clips=72)
    return {"data": "csv", "data.root": str(folder), "data.min_count": 1, **SMALL}


@pytest.fixture(scope="module")
def study(values, tmp_path_factory):
    return made_study("at_scale", {**values, "methods": (), "sizes": (40, 48)}, tmp_path_factory.mktemp("run"))


# -- what is learned from ----------------------------------------------------------------------------------------------


def test_smaller_set_is_part_of_every_larger_one(study):
    small, large = study.tracks(10, 0), study.tracks(30, 0)
    assert len(np.unique(small)) == 10
    assert set(small) < set(large) < set(study.sound.index("train"))


def test_other_run_learns_from_other_tracks(study):
    assert set(study.tracks(10, 0)) != set(study.tracks(10, 1))


def test_validation_and_test_stay_the_same(study):
    less = study.sound.with_train(study.tracks(10, 0))
    for part in ("valid", "test"):
        np.testing.assert_array_equal(less.index(part), study.sound.index(part))


def test_sizes_are_shares_where_none_are_named(values, tmp_path):
    sizes = made_study("at_scale", values, tmp_path).data["sizes"]
    assert sizes == [5, 24, 48]


def test_more_tracks_than_there_are_is_refused(values, tmp_path):
    with pytest.raises(ConfigError, match="sizes has 49, and there are 48 tracks"):
        made_study("at_scale", {**values, "sizes": (5, 49)}, tmp_path)


def test_one_track_is_refused(values, tmp_path):
    with pytest.raises(ConfigError, match="sizes has 1; at least 2 tracks"):
        made_study("at_scale", {**values, "sizes": 1}, tmp_path)


def test_features_are_made_of_what_is_learned_from_or_scored(study, monkeypatch):
    monkeypatch.setattr(_hand_made_features, "BLOCK_CLIPS", 50)
    study.data = {**study.data, "sizes": [40]}
    study.__dict__.pop("features", None)
    features = study.features
    assert features.n_blocks == 2
    assert set(features.rows) == {*study.tracks(40, 0), *study.sound.index("valid"), *study.sound.index("test")}
    values = features.all().values
    left_out = np.setdiff1d(np.arange(len(study.sound)), features.rows)
    assert len(left_out) == 8
    assert not values[left_out].any()
    assert values[features.rows].any(axis=1).all()


def test_too_few_tracks_for_trees_is_refused(values, tmp_path):
    with pytest.raises(
        ConfigError, match=r"boosted trees need 40 tracks .* has 39 of 48; .*methods=waveform,spectrogram"
    ):
        made_study("at_scale", {**values, "methods": "boosted_trees", "sizes": (39, 48)}, tmp_path)


# -- how long ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [250, 1000, 4000, 16_000])
def test_every_size_has_the_updates_that_were_asked_for(study, size):
    study.config = AtScaleConfig(updates=1500, batch_size=16)
    config = study.fit(Cell(method="waveform", details={"size": size}), size)
    assert config.max_steps == 1500
    assert size * config.patches_per_track // 16 * config.max_epochs >= 1500


def test_validation_part_is_looked_at_as_often_as_was_asked_for(study):
    study.config = AtScaleConfig(updates=1500, batch_size=16, n_looks=10)
    config = study.fit(Cell(method="waveform", details={"size": 250}), 250)
    assert 250 * config.patches_per_track // 16 == pytest.approx(150, rel=0.05)


def test_without_updates_the_schedule_is_that_of_musicnn(study):
    study.config = AtScaleConfig()
    config = study.fit(Cell(method="spectrogram", details={"size": 48}), 48)
    assert (config.schedule.rule, config.schedule.patience, config.max_epochs) == ("plateau_in_total", 75, 599)
    assert (config.lr, config.batch_size, config.loss) == (0.001, 32, "binary")


def test_loss_may_be_that_of_the_private_data(study):
    study.config = AtScaleConfig(loss="mse")
    assert study.fit(Cell(method="waveform", details={"size": 48}), 48).loss == "mse"


@pytest.mark.parametrize(("patch_s", "n_samples", "n_frames"), [(15, 240_000, 938), (3, 48_000, 188)])
def test_patches_have_the_published_lengths(patch_s, n_samples, n_frames):
    config = AtScaleConfig(patch_s=patch_s)
    assert config.options("waveform") == {"n_samples": n_samples}
    assert config.options("spectrogram") == {"n_frames": n_frames}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sizes": (0,)}, "sizes is"),
        ({"patch_s": 1.0}, r"patch_s is 1\.0; wanted seconds from 1\.23 on"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"keep": "first"}, "keep is 'first'"),
        ({"methods": "trees"}, r"no method 'trees'\. .*waveform, spectrogram, boosted_trees"),
        ({"folds": 1}, "folds is"),
    ],
)
def test_setting_without_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AtScaleConfig.of(settings)


@pytest.mark.parametrize("network", ["at_scale_waveform", "at_scale_spectrogram"])
@pytest.mark.slow
def test_network_learns_eight_patches_by_heart(network):
    torch.manual_seed(0)
    options = {"n_samples": 20_000} if network.endswith("waveform") else {"n_frames": 32}
    model = create_model(network, n_tags=4, **options).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    patches = torch.randn(8, 1, 20_000) if network.endswith("waveform") else torch.randn(8, 1, 96, 32)
    targets = (torch.rand(8, 4) < 0.5).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for _ in range(60):
        logits = model.forward_head(model.forward_features(patches))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


# -- what comes of it --------------------------------------------------------------------------------------------------


def row(method, size, roc_auc, run=0, rmse=0.3, half=0.02):
    interval = [roc_auc - half, roc_auc + half]
    return {
        "method": method, "size": size, "run": run, "macro_roc_auc": roc_auc, "macro_pr_auc": roc_auc / 2,
        "macro_roc_auc_interval": interval, "macro_pr_auc_interval": interval, "rmse": rmse, "n_updates": 100,
    }  # fmt: skip


def curves(waveform, other, method="spectrogram", **options):
    sizes = (100, 10_000)
    return [
        *[row("waveform", size, area, **options) for size, area in zip(sizes, waveform)],
        *[row(method, size, area, **options) for size, area in zip(sizes, other)],
    ]


CROSSING = curves((0.7, 0.9), (0.8, 0.8))


def test_curves_cross_on_the_logarithmic_axis():
    assert crossings(CROSSING, "waveform", "spectrogram") == [pytest.approx(1000)]
    assert crossings(CROSSING, "spectrogram", "waveform") == []


def test_curves_cross_where_the_means_over_runs_do():
    rows = [*CROSSING, row("waveform", 100, 0.5, run=1), row("waveform", 10_000, 1.0, run=1)]
    assert crossings(rows, "waveform", "spectrogram") == [pytest.approx(100 * 100 ** (0.2 / 0.35))]


def test_less_error_is_ahead():
    rows = [
        row("waveform", 100, 0.7, rmse=0.4), row("waveform", 10_000, 0.9, rmse=0.2),
        row("spectrogram", 100, 0.8, rmse=0.3), row("spectrogram", 10_000, 0.8, rmse=0.3),
    ]  # fmt: skip
    assert crossings(rows, "waveform", "spectrogram", "rmse") == [pytest.approx(1000)]


def test_curve_that_touches_does_not_pass():
    assert crossings(curves((0.7, 0.8), (0.8, 0.8)), "waveform", "spectrogram") == []


def test_table_says_where_the_curves_cross():
    ours, published = tables_of(CROSSING)
    assert "ROC-AUC is higher with the waveform than with the spectrogram from about 1,000 tracks on." in ours.note
    assert ours.rows[0][:4] == ["100", "waveform", "70.00 (68.0 to 72.0)", "35.00 (68.0 to 72.0)"]
    assert published.rows[1] == ["private tracks", "1,000,000", "waveform", "92.50", "61.20"]
    assert published.rows[-2] == ["Million Song Dataset", "201,680", "waveform", "87.41", "28.53"]


def test_table_says_where_trees_pass_a_network():
    ours, _ = tables_of(curves((0.8, 0.85), (0.7, 0.9), "boosted_trees"))
    assert "higher with the boosted trees than with the waveform from about 2,154 tracks on" in ours.note
    assert "No two curves" not in ours.note


def test_one_size_alone_says_nothing_about_crossing():
    ours, _ = tables_of([row("waveform", 100, 0.7), row("spectrogram", 100, 0.8)])
    assert "cross" not in ours.note


def test_published_curves_cross_between_500_000_and_a_million():
    private = [one for one in AtScale.published if one["data"] == "private tracks"]
    (size,) = crossings(private, "waveform", "spectrogram")
    assert 500_000 < size < 1_000_000


def shown(rows):
    return {claim.words: claim.shows for claim in claims_of(rows)}


def test_networks_are_compared_with_the_most_tracks():
    words = "with the most tracks, the waveform is ahead of the spectrogram"
    assert shown(CROSSING)[words] is True
    assert shown(curves((0.7, 0.7), (0.8, 0.8)))[words] is False


@pytest.mark.parametrize("rows", [curves((0.7, 0.81), (0.8, 0.8)), [*CROSSING, row("waveform", 10_000, 0.7, run=1)]])
def test_what_lies_within_chance_is_no_claim(rows):
    (claim,) = [one for one in claims_of(rows) if "ahead of the spectrogram" in one.words]
    assert claim.shows is None
    assert claim.figures.endswith("too close")


def test_networks_stand_beside_the_trees_that_learned_from_the_most():
    rows = curves((0.7, 0.9), (0.6, 0.8), "boosted_trees")
    assert shown(rows)["the waveform with the fewest tracks is behind trees that learned from the most"] is True
    assert shown(rows)["the waveform with the most tracks is ahead of them"] is True
    assert shown(rows)["the spectrogram with the most tracks is ahead of them"] is None


def test_more_tracks_help_where_every_step_rises():
    assert shown(CROSSING)["more tracks help the waveform"] is True
    falls = [*CROSSING, row("waveform", 1_000, 0.6)]
    assert shown(falls)["more tracks help the waveform"] is False


@pytest.mark.slow
def test_study_from_settings_to_files(values, tmp_path):
    values = {**values, "methods": (), "sizes": (40, 48)}
    result = run_study("at_scale", values, tmp_path / "run", n_workers=1)
    cells = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["cells"]
    assert [(one["method"], one["size"], one["run"]) for one in cells] == [
        (method, size, 0) for size in (40, 48) for method in AtScaleConfig.METHODS
    ]
    assert all(0 <= one["macro_roc_auc"] <= 1 and 0 <= one["rmse"] <= 1 for one in cells)
    assert [path.name for path in result.pictures] == ["curves.png"]


@pytest.mark.slow
def test_finished_cells_are_not_done_again(values, tmp_path):
    values = {**values, "sizes": (5,), "updates": 1, "n_looks": 1, "methods": "waveform"}
    run_study("at_scale", values, tmp_path / "run", n_workers=1)
    sizes = []
    run_study(
        "at_scale", {**values, "sizes": (5, 6)}, tmp_path / "run", n_workers=1,
        told=lambda cell, *_: sizes.append(cell.details["size"]),
    )  # fmt: skip
    assert sizes == [6]
