"""Siamese training: its loss, what it draws, that it learns, and that it goes on as if it had not been cut short."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from taggram.errors import ConfigError, DatasetError, TrainingError
from taggram.learning.schedules import ScheduleConfig
from taggram.learning.siamese import ARTIST_FIT, Companions, fit_siamese, siamese_loss
from taggram.models import create_model

RATE = 22_050
QUICK = dataclasses.replace(ARTIST_FIT, lr=0.01, batch_size=4, max_epochs=2, norm_momentum=0.1, seed=3)
ONE_HOT = torch.eye(4)


# -- the loss ----------------------------------------------------------------------------------------------------------


def test_loss_is_0_where_anchor_and_positive_are_equal_and_negatives_orthogonal():
    anchors = ONE_HOT[:1].repeat(3, 1)
    assert siamese_loss(anchors, 2 * anchors, ONE_HOT[1:][None].repeat(3, 1, 1)) == 0


@pytest.mark.parametrize(("batch", "n_negatives"), [(1, 4), (15, 4), (3, 1)])
def test_loss_of_equal_scores_is_the_margin_for_each_negative(batch, n_negatives):
    same = ONE_HOT[:1].repeat(batch, 1)
    loss = siamese_loss(same, same, same[:, None].repeat(1, n_negatives, 1))
    assert float(loss) == pytest.approx(batch * n_negatives * 0.4)


def test_loss_is_a_sum_of_hinges_of_cosines():
    anchor, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])  # cosine 0.6
    negatives = torch.tensor([[[4.0, 3.0], [0.0, 5.0]]])  # cosines 0.8 and 0
    assert float(siamese_loss(anchor, positive, negatives)) == pytest.approx(0.4 - 0.6 + 0.8)
    assert float(siamese_loss(anchor, positive, negatives, margin=1.0)) == pytest.approx(1.2 + 0.4)


def test_embedding_of_zeros_has_the_cosine_0():
    zero = torch.zeros(1, 4, requires_grad=True)
    loss = siamese_loss(zero, ONE_HOT[:1], ONE_HOT[None, 1:])
    loss.backward()
    assert loss.item() == pytest.approx(3 * 0.4)
    assert zero.grad.isfinite().all()


# -- what is drawn -----------------------------------------------------------------------------------------------------

CLASSES = np.array([0, 1, 2, 0, 1, 2, 0, 1, 1])
LENGTHS = np.array([100, 101, 150, 30, 400, 100, 100, 100, 100])


def companions(**settings):
    return Companions(CLASSES, LENGTHS, 100, **{"seed": 5, **settings})


@pytest.mark.parametrize("anchor", range(9))
def test_positive_is_another_track_of_the_class_and_negatives_are_of_others(anchor):
    for epoch in range(20):
        (first, positive, *negatives), _ = companions().of(epoch, anchor)
        assert first == anchor != positive
        assert CLASSES[positive] == CLASSES[anchor]
        assert len(negatives) == 4
        assert not (CLASSES[negatives] == CLASSES[anchor]).any()


def test_all_others_are_drawn_about_as_often():
    drawn = [companions().of(epoch, 0)[0] for epoch in range(600)]
    positives = np.bincount([tracks[1] for tracks in drawn], minlength=9)
    negatives = np.bincount(np.concatenate([tracks[2:] for tracks in drawn]), minlength=9)
    assert positives[[3, 6]].min() > 250
    assert (negatives[CLASSES == 0] == 0).all()
    assert negatives[CLASSES != 0].min() > 320  # 400 each


def test_crops_lie_in_their_tracks_and_short_tracks_begin_anywhere():
    starts = {}
    for epoch in range(200):
        for track, start in zip(*companions().of(epoch, 0)):
            starts.setdefault(int(track), set()).add(int(start))
    assert starts[0] == {0}
    assert starts[1] == {0, 1}
    assert min(starts[2]) >= 0
    assert max(starts[2]) <= 50
    assert max(starts[3]) <= 29


def test_draws_hang_on_seed_epoch_and_anchor_alone():
    def drawn(epoch, **settings):
        return [one.tolist() for one in companions(**settings).of(epoch, 4)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1) != drawn(1, seed=6)


def test_track_without_another_one_of_its_class_is_no_anchor():
    made = Companions(np.array([0, 1, 0, 2]), np.full(4, 100), 100)
    assert made.anchors.tolist() == [0, 2]


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 0, 0]], ids=["no-pair", "one-class"])
def test_tracks_without_a_pair_or_of_one_class_are_refused(classes):
    with pytest.raises(DatasetError, match=r"3 tracks of \d classes came"):
        Companions(np.array(classes), np.full(3, 100), 100)


# -- training ----------------------------------------------------------------------------------------------------------


class MadeSongs:
    """Tones, of a pitch for each artist, as prepared data gives them."""

    def __init__(self, n_artists=3, n_songs=6, *, sample_rate=RATE):
        self.tags, self.task, self.sample_rate = tuple("abcdefgh"[:n_artists]), "one", sample_rate
        self.card = {
            "name": "made", "split": "artists", "split_sha256": "", "tags": list(self.tags), "task": "one",
            "sample_rate": sample_rate,
        }  # fmt: skip
        rng, self._parts = np.random.default_rng(0), np.array((["train"] * 4 + ["valid"] * 2) * n_artists)
        self._classes = np.repeat(np.arange(n_artists), n_songs)
        t = np.arange(8000) / RATE
        self._sounds = [
            (0.3 * np.sin(2 * np.pi * 400 * 3**number * t) + 0.05 * rng.standard_normal(len(t))).astype(np.float32)
            for number in self._classes
        ]

    def index(self, part):
        return np.flatnonzero(self._parts == part)

    def class_numbers(self, rows):
        return self._classes[rows]

    def n_samples(self, row):
        return len(self._sounds[row])

    def crop(self, row, start, n_samples):
        return self._sounds[row][start : start + n_samples]


def network():
    torch.manual_seed(0)
    return create_model("artist_siamese")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit_siamese(network(), MadeSongs(), tmp_path_factory.mktemp("run") / "siamese", QUICK, device="cpu")


def test_training_as_published():
    wanted = ("sgd", 0.1, 0.9, True, 1e-6, 1e-5, 15, 1000)
    fit = ARTIST_FIT
    got = (fit.optimizer, fit.lr, fit.momentum, fit.nesterov, fit.lr_decay, fit.l2, fit.batch_size, fit.max_epochs)
    assert got == wanted
    assert (fit.schedule.rule, fit.schedule.factor, fit.schedule.patience) == ("plateau", 0.2, 1)


def test_it_learns(whole):
    untrained, trained = whole.history[0], whole.history[-1]
    assert trained["train_loss"] < untrained["train_loss"]
    assert trained["valid_loss"] < 1.6  # of equal scores
    assert trained["valid_accuracy"] > 0.8


def test_run_that_was_cut_short_goes_on_to_the_same_weights(whole, tmp_path):
    first = dataclasses.replace(QUICK, max_epochs=1)
    fit_siamese(network(), MadeSongs(), tmp_path / "run", first, device="cpu")
    other = network()
    torch.nn.init.zeros_(other.convs[0][1].weight)  # weights and momentum come from the folder
    told = []
    again = fit_siamese(
        other, MadeSongs(), tmp_path / "run", QUICK, resume=True, device="cpu", told=lambda one: told.append(one)
    )
    assert [int(figures["epoch"]) for figures in told] == [2]
    assert json.dumps(again.history) == json.dumps(whole.history)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_run_that_is_over_is_not_gone_on_with(whole):
    told = []
    fit_siamese(network(), MadeSongs(), whole.folder, QUICK, resume=True, device="cpu", told=told.append)
    assert told == []


def test_run_in_the_folder_is_not_overwritten(whole):
    with pytest.raises(TrainingError, match="holds a run already"):
        fit_siamese(network(), MadeSongs(), whole.folder, QUICK)


def test_other_settings_are_refused(whole):
    with pytest.raises(ConfigError, match=r"other settings, siamese\.margin"):
        fit_siamese(network(), MadeSongs(), whole.folder, QUICK, resume=True, margin=0.5)


def test_damaged_state_is_refused(tmp_path):
    config = dataclasses.replace(QUICK, max_epochs=1)
    fit_siamese(network(), MadeSongs(), tmp_path / "run", config, device="cpu")
    (tmp_path / "run" / "last.npz").write_bytes(b"no zip")
    with pytest.raises(TrainingError, match=r"last\.npz is damaged"):
        fit_siamese(network(), MadeSongs(), tmp_path / "run", config, resume=True)


def test_weights_of_the_lowest_validation_hinge_are_kept(tmp_path):
    wild = dataclasses.replace(QUICK, lr=5.0, clip_norm=None, max_epochs=3)  # so large a step that it gets worse
    fitted = fit_siamese(network(), MadeSongs(), tmp_path / "run", wild, device="cpu")
    losses = [figures["valid_loss"] for figures in fitted.history]
    best = 1 + losses.index(min(losses))
    first = dataclasses.replace(wild, max_epochs=best)
    wanted = fit_siamese(network(), MadeSongs(), tmp_path / "again", first, device="cpu")
    assert torch.equal(fitted.model.convs[0][1].weight, wanted.model.convs[0][1].weight)


def test_schedule_ends_the_training(tmp_path):
    rule = ScheduleConfig(rule="plateau", factor=0.2, patience=1, stop_after_best=1)
    still = {"lr": 1e-30, "norm_momentum": 1e-30}  # nothing moves, so the second epoch is no better than the first
    config = dataclasses.replace(QUICK, **still, max_epochs=9, schedule=rule)
    fitted = fit_siamese(network(), MadeSongs(), tmp_path / "run", config, device="cpu")
    first, last = (figures["valid_loss"] for figures in fitted.history)
    assert first == last


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"margin": 0}, "margin is 0"), ({"margin": math.nan}, "margin is nan"), ({"n_negatives": 0}, "n_negatives is 0")],
    ids=str,
)
def test_setting_without_sense_is_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        fit_siamese(network(), MadeSongs(), tmp_path / "run", QUICK, **settings)


@pytest.mark.parametrize(("name", "value"), [("keep", "valid_auc"), ("batch_size", 1)])
def test_training_without_sense_is_refused(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"{name} is"):
        fit_siamese(network(), MadeSongs(), tmp_path / "run", dataclasses.replace(QUICK, **{name: value}))


def test_other_rate_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="prepared at 16000 Hz"):
        fit_siamese(network(), MadeSongs(sample_rate=16_000), tmp_path / "run", QUICK)


def test_nothing_to_validate_on_is_refused(tmp_path):
    songs = MadeSongs()
    songs._parts[:] = "train"
    with pytest.raises(DatasetError, match="no track to validate on"):
        fit_siamese(network(), songs, tmp_path / "run", QUICK)


def test_single_song_to_validate_on_stands_beside_songs_that_are_trained_on(tmp_path):
    songs = MadeSongs()
    songs._parts = np.array((["train"] * 4 + ["valid", "test"]) * 3)
    fitted = fit_siamese(network(), songs, tmp_path / "run", dataclasses.replace(QUICK, max_epochs=1), device="cpu")
    assert math.isfinite(fitted.history[0]["valid_loss"])
