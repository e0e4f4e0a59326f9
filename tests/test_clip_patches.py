"""Clips as patches in memory: cut, drawn from, and put together again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from taggram.errors import AudioError, ConfigError, DatasetError
from taggram.frontends import create_frontend
from taggram.learning.clip_patches import (
    ClipPatches,
    RandomPatches,
    cut_patches,
    majority_votes,
    mean_scores,
    patches_of_sound,
    repeat_frames,
)
from taggram.learning.config import FitConfig
from taggram.models.few_data import FEW_DATA_MEL
from taggram.models.vggish import VGGISH_MEL

FIT = FitConfig(batch_size=4, seed=3)


def numbered(*n_patches):
    """Clips whose patches say which clip and which patch they are: 100 times the clip and the patch."""
    return [100.0 * clip + torch.arange(float(n)).reshape(n, 1, 1, 1) for clip, n in enumerate(n_patches)]


def values(batches):
    return [int(value) for batch in batches for value in batch.patches.flatten()]


def test_patches_are_cut_from_the_start_on():
    frames = torch.arange(20.0).reshape(2, 10)
    patches = cut_patches(frames, 4, 3)
    assert patches.shape == (3, 1, 2, 4)
    assert torch.equal(patches[1, 0], frames[:, 3:7])


@pytest.mark.parametrize(
    ("n_frames", "hop", "n_patches"),
    [(173, 42, 2), (431, 42, 8), (173, 1, 46), (431, 1, 304), (128, 42, 1)],
    ids=["4 s", "10 s", "4 s in the test", "10 s in the test", "one patch"],
)
def test_number_of_patches_is_that_of_the_paper(n_frames, hop, n_patches):
    assert len(cut_patches(torch.zeros(1, n_frames), 128, hop)) == n_patches


@pytest.mark.parametrize("hop", [0, -1, 1.5])
def test_hop_that_makes_no_sense_is_refused(hop):
    with pytest.raises(ConfigError, match="hop_frames is"):
        cut_patches(torch.zeros(1, 10), 4, hop)


def test_short_clip_is_repeated_up_to_a_patch():
    assert repeat_frames(torch.tensor([[1.0, 2.0, 3.0]]), 7).tolist() == [[1, 2, 3, 1, 2, 3, 1]]


def test_long_clip_is_left_as_it_is():
    frames = torch.zeros(1, 9)
    assert repeat_frames(frames, 7) is frames


@pytest.mark.parametrize(("seconds", "n_examples"), [(1, 1), (4, 4), (10, 10)])
def test_number_of_examples_of_vggish(seconds, n_examples):
    sound = np.zeros(16_000 * seconds, np.float32)
    assert patches_of_sound(create_frontend(VGGISH_MEL), sound).shape == (n_examples, 1, 64, 96)


def test_short_sound_is_repeated_for_vggish_as_if_to_one_second():
    sound = 0.1 * torch.randn(5000, generator=torch.Generator().manual_seed(0))
    frontend = create_frontend(VGGISH_MEL)
    to_one_second = sound.repeat(4)[:16_000]
    assert torch.equal(patches_of_sound(frontend, sound), patches_of_sound(frontend, to_one_second))


def test_hop_of_sound_is_in_frames():
    sound = torch.zeros(4 * 44_100)
    assert len(patches_of_sound(create_frontend(FEW_DATA_MEL), sound, hop_frames=42)) == 2


@pytest.mark.parametrize("shape", [(0,), (1, 5)])
def test_sound_of_another_shape_is_refused(shape):
    with pytest.raises(AudioError, match="wanted"):
        patches_of_sound(create_frontend(VGGISH_MEL), torch.zeros(shape))


def test_epoch_has_one_patch_of_each_clip():
    clips = numbered(3, 1, 5, 2, 4)
    drawn = values(RandomPatches(clips, torch.eye(5), FIT)(1))
    assert sorted(value // 100 for value in drawn) == [0, 1, 2, 3, 4]
    assert all(value % 100 < len(clips[value // 100]) for value in drawn)


def test_targets_stay_with_their_patches():
    batches = RandomPatches(numbered(3, 1, 5, 2, 4), torch.eye(5), FIT)(1)
    assert all(torch.equal(batch.targets.argmax(1), batch.patches.flatten().long() // 100) for batch in batches)


def test_last_batch_is_smaller():
    assert [len(batch.patches) for batch in RandomPatches(numbered(*[1] * 9), torch.eye(9), FIT)(1)] == [4, 4, 1]


def test_epoch_is_the_same_whatever_came_before():
    patches = RandomPatches(numbered(*[20] * 6), torch.eye(6), FIT)
    first = values(patches(2))
    values(patches(1))
    assert values(patches(2)) == first


def test_next_epoch_draws_others():
    patches = RandomPatches(numbered(*[20] * 6), torch.eye(6), FIT)
    assert values(patches(1)) != values(patches(2))


def test_other_seed_draws_others():
    clips = numbered(*[20] * 6)
    first, second = (RandomPatches(clips, torch.eye(6), dataclasses.replace(FIT, seed=seed)) for seed in (0, 1))
    assert values(first(1)) != values(second(1))


def test_patches_of_clips_keep_their_clip_and_class():
    together = ClipPatches.of(numbered(2, 1, 3), [5, 6, 5])
    assert (len(together), together.labels.tolist(), together.clips.tolist()) == (
        6, [5, 5, 6, 5, 5, 5], [0, 0, 1, 2, 2, 2],
    )  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_scores_of_a_clip_are_the_mean_of_its_patches(at_once):
    means = mean_scores(lambda patches: patches.flatten(1), numbered(3, 1, 5), at_once=at_once)
    assert means.flatten().tolist() == [1.0, 100.0, 202.0]


def test_no_more_patches_than_wanted_are_scored_at_once():
    seen = []

    def score(patches):
        seen.append(len(patches))
        return patches.flatten(1)

    mean_scores(score, numbered(3, 1, 9), at_once=4)
    assert max(seen) == 4


def test_mean_of_probabilities_and_of_their_logarithms_may_differ():
    of_patches = torch.tensor([[0.9, 0.1], [0.9, 0.1], [1e-9, 1 - 1e-9]])
    clip = [torch.arange(3)]
    assert mean_scores(lambda places: of_patches[places], clip).argmax(1).item() == 0
    assert mean_scores(lambda places: of_patches[places].log(), clip).argmax(1).item() == 1


@pytest.mark.parametrize("use", [lambda: mean_scores(lambda x: x, []), lambda: ClipPatches.of([], [])])
def test_no_clip_is_refused(use):
    with pytest.raises(DatasetError, match="no clip"):
        use()


def test_clip_is_what_most_of_its_patches_are():
    votes = np.array([2, 2, 0, 1, 1, 0, 0, 2])
    assert majority_votes(votes, [3, 2, 3], 3).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("votes", "wanted"), [([2, 1, 1, 2], 1), ([2, 1], 1), ([3, 3, 0, 0], 0), ([3, 2, 1, 0], 0), ([3], 3)]
)
def test_of_as_many_votes_the_first_class_wins(votes, wanted):
    assert majority_votes(np.array(votes), [len(votes)], 4).tolist() == [wanted]
