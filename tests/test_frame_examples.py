"""Patches around frames: where they lie, their statistics, what is drawn of them, and training on all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from taggram.errors import ConfigError
from taggram.learning.config import FitConfig
from taggram.learning.frame_examples import FrameExamples, PaddedFrames, fit_on_all
from taggram.learning.schedules import ScheduleConfig
from taggram.models import create_model

FIT = FitConfig(loss="cross_entropy", batch_size=8, lr=0.01, max_epochs=3, schedule=ScheduleConfig(stop_after=1))


def ramps(*lengths):
    """Recordings of two mels: the number of the frame, and the same less a half."""
    return [np.arange(n, dtype=np.float32)[:, None] - [0.0, 0.5] + 100 * place for place, n in enumerate(lengths)]


def patches_at(frames, recording, *numbers):
    return frames.patches(torch.from_numpy(frames.places(recording, np.array(numbers))))


def test_frame_is_in_the_middle_of_its_patch():
    patch = patches_at(PaddedFrames(ramps(10), 5), 0, 4)
    assert patch.shape == (1, 1, 2, 5)
    assert patch[0, 0].tolist() == [[2, 3, 4, 5, 6], [1.5, 2.5, 3.5, 4.5, 5.5]]


def test_frames_at_the_ends_are_repeated():
    frames = PaddedFrames(ramps(4, 3), 5)
    first, last = patches_at(frames, 0, 0, 3)[:, 0, 0].tolist()
    assert (first, last) == ([0, 0, 0, 1, 2], [1, 2, 3, 3, 3])


def test_patches_do_not_reach_into_another_recording():
    patches = patches_at(PaddedFrames(ramps(4, 3), 5), 1, 0, 2)[:, 0, 0].tolist()
    assert patches == [[100, 100, 100, 101, 102], [100, 101, 102, 102, 102]]


@pytest.mark.parametrize("numbers", [[-1], [4], [0, 4]])
def test_frame_that_is_not_there_is_refused(numbers):
    with pytest.raises(ConfigError, match="are wanted of a recording of 4"):
        PaddedFrames(ramps(4), 5).places(0, np.array(numbers))


def test_patch_without_a_middle_is_refused():
    with pytest.raises(ConfigError, match="patch_frames is 4; wanted an odd number"):
        PaddedFrames(ramps(4), 4)


@pytest.mark.parametrize("recordings", [[], [np.zeros((0, 2), np.float32)]])
def test_no_frames_are_refused(recordings):
    with pytest.raises(ConfigError, match="there are no frames"):
        PaddedFrames(recordings, 5)


def test_statistics_are_those_of_the_patches():
    rng = np.random.default_rng(0)
    frames = PaddedFrames([rng.standard_normal((n, 3)).astype(np.float32) for n in (30, 20)], 5)
    places = torch.tensor([0, 3, 3, 12, 29])  # one of them twice
    mean, std = frames.statistics(places)
    patches = frames.patches(places)[:, 0]
    torch.testing.assert_close(mean, patches.mean(0))
    torch.testing.assert_close(std, patches.std(0, correction=0))


def test_value_that_never_changes_has_a_deviation_of_1():
    _, std = PaddedFrames([np.ones((9, 2), np.float32)], 3).statistics(torch.arange(9))
    assert (std == 1).all()


def examples_of(n=60, seed=0):
    """Frames of 80 mels; those of the second class are louder."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) // 10 % 2
    values = rng.standard_normal((n, 80)) + 3 * labels[:, None]
    frames = PaddedFrames([values.astype(np.float32)], 5)
    return FrameExamples(frames, torch.arange(n), torch.from_numpy(labels), 2, torch.arange(n, dtype=torch.float32) / n)


def test_chosen_examples_have_their_labels_and_weights():
    batch = examples_of().chosen(torch.tensor([11, 2]))
    assert batch.targets.tolist() == [[0, 1], [1, 0]]
    assert batch.weights.tolist() == pytest.approx([11 / 60, 2 / 60])
    assert batch.patches.shape == (2, 1, 80, 5)


def test_a_share_of_every_class_is_drawn():
    examples = examples_of()
    rest, drawn = examples.divided(0.2, 0)
    assert (len(rest), len(drawn), int(drawn.labels.sum())) == (48, 12, 6)
    assert sorted([*rest.places.tolist(), *drawn.places.tolist()]) == list(range(60))


def test_draw_hangs_on_the_seed_alone():
    first, second, other = (examples_of().divided(0.2, seed)[1].places.tolist() for seed in (0, 0, 1))
    assert first == second != other


def created(purpose):
    torch.manual_seed({"trial": 1, "final": 2}[purpose])
    return create_model("phoneme_mlp", n_tags=2)


def test_final_network_is_trained_on_all_for_as_long_as_the_trial():
    made = []
    model, n_epochs = fit_on_all(
        lambda purpose: made.append(purpose) or created(purpose), examples_of(), FIT, valid_share=0.2
    )
    assert made == ["trial", "final"]
    assert 1 <= n_epochs <= 3
    again, n_again = fit_on_all(created, examples_of(), dataclasses.replace(FIT, max_epochs=n_epochs), valid_share=0.0)
    assert n_again == n_epochs
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), again.parameters()))


def test_network_has_the_statistics_of_all_examples():
    examples = examples_of()
    model, _ = fit_on_all(created, examples, FIT, valid_share=0.2)
    mean, std = examples.frames.statistics(examples.places)
    assert torch.equal(model.standardize.mean, mean)
    assert torch.equal(model.standardize.std, std)


def test_too_few_examples_for_validation_are_refused():
    few = examples_of().part(torch.tensor([0, 11]))
    with pytest.raises(ConfigError, match=r"2 frames are too few for a validation part of 0\.2"):
        fit_on_all(created, few, FIT, valid_share=0.2)
