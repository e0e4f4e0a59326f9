"""Which positions a training sees when: each once an epoch, whoever shares the work and wherever it goes on."""

from __future__ import annotations

import itertools

import pytest

from taggram.learning.data import StepBatches, steps_per_epoch

SIZES = [(1, 4), (3, 4), (4, 4), (5, 4), (17, 4), (18, 4), (32, 16), (33, 16), (595, 32)]


@pytest.mark.parametrize(
    ("n_items", "batch_size", "n_ranks", "n_batches"), [(10, 1, 1, 10), (10, 2, 2, 5), (9, 4, 1, 2)]
)
def test_whole_batches_stay_whole(n_items, batch_size, n_ranks, n_batches):
    assert steps_per_epoch(n_items, batch_size, n_ranks) == n_batches


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
@pytest.mark.parametrize("n_ranks", [1, 2])
def test_no_batch_is_a_single_patch_that_batch_norm_could_not_learn_from(n_items, batch_size, n_ranks):
    if n_items <= n_ranks:
        pytest.skip("there are too few patches for any batch")
    shares = [batches(n_items, batch_size, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
    assert min(len(batch) for share in shares for batch in share) > 1


@pytest.mark.parametrize(("n_items", "batch_size"), SIZES)
def test_run_goes_on_with_the_batches_that_are_left(n_items, batch_size):
    whole = batches(n_items, batch_size)
    assert batches(n_items, batch_size, n_done=1) == whole[1:]


@pytest.mark.parametrize(("n_items", "batch_size"), SIZES)
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_processes_share_each_batch(n_items, batch_size, n_ranks):
    shares = [batches(n_items, batch_size, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
    together = [sorted({*itertools.chain(*parts)}) for parts in zip(*shares, strict=True)]
    assert list(itertools.chain(*together)) == list(range(n_items))


@pytest.mark.parametrize(("n_items", "batch_size"), SIZES)
def test_processes_have_equally_many_patches_of_a_batch(n_items, batch_size):
    shares = [batches(n_items, batch_size, rank=rank, n_ranks=2) for rank in range(2)]
    assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]]


# -- batches that end with runs of an epoch ----------------------------------------------------------------------------


def test_epoch_of_the_multi_scale_network_has_564_steps_in_runs_of_3000():
    assert (steps_per_epoch(18_000, 32, super_batch=3000), steps_per_epoch(18_000, 32)) == (564, 563)


def test_last_batch_of_each_run_is_smaller():
    sizes = [len(batch) for batch in batches(18_000, 32, super_batch=3000)]
    assert [place for place, size in enumerate(sizes) if size != 32] == [93, 187, 281, 375, 469, 563]
    assert {size for size in sizes if size != 32} == {24}


@pytest.mark.parametrize(("n_items", "super_batch"), [(33, 8), (34, 16), (17, 16), (40, 100), (7, 5)])
@pytest.mark.parametrize("n_ranks", [1, 2])
def test_each_position_comes_once_in_runs_too(n_items, super_batch, n_ranks):
    shares = [batches(n_items, 5, super_batch=super_batch, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
    seen = [sorted({*itertools.chain(*parts)}) for parts in zip(*shares, strict=True)]
    assert list(itertools.chain(*seen)) == list(range(n_items))
    assert min(len(batch) for share in shares for batch in share) > 1
    assert len(seen) == steps_per_epoch(n_items, 5, n_ranks, super_batch)
