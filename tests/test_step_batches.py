"""Which positions a training sees when: each once an epoch, whoever shares the work and wherever it goes on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taggram.learning._together import Together
from taggram.learning.data import Clips, StepBatches, batch_ends, steps_per_epoch

SIZES = [(1, 4), (3, 4), (4, 4), (5, 4), (17, 4), (18, 4), (32, 16), (33, 16), (595, 32)]


@pytest.mark.parametrize(("n_items", "batch_size", "n_batches"), [(10, 1, 10), (10, 2, 5), (9, 4, 2)])
def test_whole_batches_stay_whole(n_items, batch_size, n_batches):
    assert steps_per_epoch(n_items, batch_size) == n_batches


def batches(n_items, batch_size, epoch=0, n_done=0, **ranks):
    return list(StepBatches(n_items, batch_size, lambda: (epoch, n_done), **ranks))


@pytest.mark.parametrize(("n_items", "batch_size"), SIZES)
@pytest.mark.parametrize("epoch", [0, 3])
def test_each_position_comes_once_an_epoch(n_items, batch_size, epoch):
    seen = list(itertools.chain(*batches(n_items, batch_size, epoch)))
    assert seen == list(range(epoch * n_items, (epoch + 1) * n_items))


@pytest.mark.parametrize(("n_items", "batch_size"), SIZES)
def test_length_is_the_number_of_batches(n_items, batch_size):
    sampler = StepBatches(n_items, batch_size, lambda: (0, 0))
    assert len(sampler) == len(list(sampler)) == steps_per_epoch(n_items, batch_size)


@pytest.mark.parametrize(("n_items", "batch_size"), [size for size in SIZES if size[0] > 1])
def test_no_batch_is_a_single_patch_that_batch_norm_could_not_learn_from(n_items, batch_size):
    assert min(map(len, batches(n_items, batch_size))) > 1


@pytest.mark.parametrize(("n_items", "batch_size"), SIZES)
def test_run_goes_on_with_the_batches_that_are_left(n_items, batch_size):
    whole = batches(n_items, batch_size)
    assert batches(n_items, batch_size, n_done=1) == whole[1:]


@settings(deadline=None, derandomize=True)
@given(
    st.integers(1, 300), st.integers(1, 40), st.integers(1, 9), st.none() | st.integers(1, 60), st.integers(0, 3),
    st.integers(0, 5),
)  # fmt: skip
def test_processes_share_the_batches_of_one(n_items, batch_size, n_ranks, super_batch, epoch, n_done):
    runs = {"super_batch": None if super_batch is None else max(super_batch, batch_size)}
    alone = batches(n_items, batch_size, epoch, n_done, **runs)
    shares = [
        batches(n_items, batch_size, epoch, n_done, rank=rank, n_ranks=n_ranks, **runs) for rank in range(n_ranks)
    ]
    ends = batch_ends(n_items, batch_size, runs["super_batch"])
    for batch, *parts in zip(alone, *shares, strict=True):
        seen = []
        for rank, positions in enumerate(parts):
            share = Together(ends, rank, n_ranks).begin(positions[0])
            assert share.n_batch == len(batch)
            assert positions == batch[share.rows]
            seen += positions[: share.n_mine]  # without those that stand in where no patch is left
            assert share.weight == pytest.approx(share.n_mine * n_ranks / len(batch))
        assert sorted(seen) == batch


# -- patches of a clip that are validated ------------------------------------------------------------------------------


class Counted:
    """Tracks whose samples are their places."""

    def n_samples(self, _):
        return 107

    def crop(self, _, start, n_samples):
        return np.arange(start, start + n_samples, dtype=np.float32)

    def labels(self, rows):
        return np.zeros((len(rows), 1), np.float32)


@pytest.mark.parametrize(
    ("per_clip", "starts"),
    [(None, range(0, 100, 10)), (10, range(0, 100, 10)), (99, range(0, 100, 10)), (1, [50]), (2, [20, 70]),
     (3, [10, 50, 80])],
)  # fmt: skip
def test_clip_gives_all_its_patches_or_some_spread_over_it(per_clip, starts):
    patches, _ = Clips(Counted(), np.array([0]), 10, per_clip=per_clip)[0]
    assert patches[:, 0].tolist() == list(starts)
    assert patches.shape[1] == 10


# -- batches that end with runs of an epoch ----------------------------------------------------------------------------


def test_epoch_of_the_multi_scale_network_has_564_steps_in_runs_of_3000():
    assert (steps_per_epoch(18_000, 32, super_batch=3000), steps_per_epoch(18_000, 32)) == (564, 563)


def test_last_batch_of_each_run_is_smaller():
    sizes = [len(batch) for batch in batches(18_000, 32, super_batch=3000)]
    assert [place for place, size in enumerate(sizes) if size != 32] == [93, 187, 281, 375, 469, 563]
    assert {size for size in sizes if size != 32} == {24}


@pytest.mark.parametrize(("n_items", "super_batch"), [(33, 8), (34, 16), (17, 16), (40, 100), (7, 5)])
def test_each_position_comes_once_in_runs_too(n_items, super_batch):
    seen = batches(n_items, 5, super_batch=super_batch)
    assert list(itertools.chain(*seen)) == list(range(n_items))
    assert min(map(len, seen)) > 1
    assert len(seen) == steps_per_epoch(n_items, 5, super_batch)
