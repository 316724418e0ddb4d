"""Which samples a rank reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddlevideo.loader import GridSampler, TrainSampler
from paddlevideo.loader.order import Shuffled
from paddlevideo.loader.sampler import OwnSampler
from paddlevideo.utils.errors import ConfigError

sizes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 40), st.integers(0, 5))


def flat(batches):
    return [index for batch in batches for index in batch]


@given(sizes, st.integers(0, 3), st.booleans())
def test_several_ranks_see_what_one_sees(numbers, epoch, drop_last):
    batch, world, more, seed = numbers
    size = batch * world + more
    order = Shuffled(size, seed)
    alone = TrainSampler(size, batch * world, order=order, drop_last=drop_last)
    ranks = [TrainSampler(size, batch, r, world, order, drop_last) for r in range(world)]
    steps = list(zip(*(list(rank.batches(epoch)) for rank in ranks), strict=True))
    assert all(len(rank) == len(steps) for rank in ranks)
    assert all(share for step in steps for share in step)
    expected = list(alone.batches(epoch))[: len(steps)]
    assert [flat(step) for step in steps] == expected
    left_out = len(flat(alone.batches(epoch))) - len(flat(expected))
    assert left_out < world  # at most what cannot give every rank a sample


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 3))
def test_every_index_once(size, batch, epoch):
    sampler = TrainSampler(size, batch, order=Shuffled(size, 0), drop_last=False)
    assert sorted(flat(sampler.batches(epoch))) == list(range(size))
    assert len(list(sampler.batches(epoch))) == len(sampler)


@given(st.integers(5, 60), st.integers(0, 20))
def test_a_resumed_epoch_goes_on_where_it_stopped(size, start):
    sampler = TrainSampler(size, 3, order=Shuffled(size, 4))
    assert list(sampler.batches(2, start)) == list(sampler.batches(2))[start:]


def test_order():
    first, again, other = (TrainSampler(100, 10, order=Shuffled(100, seed)) for seed in (1, 1, 2))
    assert list(first.batches(0)) == list(again.batches(0))
    assert list(first.batches(0)) != list(first.batches(1))
    assert list(first.batches(0)) != list(other.batches(0))
    assert flat(TrainSampler(10, 4).batches()) == list(range(8))


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_grid(size, batch, world, start):
    alone = list(GridSampler(size, batch).batches())
    assert flat(alone) == list(range(size))
    ranks = [GridSampler(size, batch, rank, world) for rank in range(world)]
    for rank, sampler in enumerate(ranks):
        assert list(sampler.batches()) == alone[rank::world]
        assert len(sampler) == len(alone[rank::world])
        assert list(sampler.batches(3, start)) == alone[rank::world][start:]


def test_a_grid_leaves_out_the_batches_that_are_done_and_shares_the_rest():
    done = {0, 1, 2, 4, 6, 7, 8}  # of batches of 3: the first and the third are done
    ranks = [GridSampler(10, 3, rank, 2).without(done) for rank in range(2)]
    assert [list(sampler.batches()) for sampler in ranks] == [[[3, 4, 5]], [[9]]]
    assert [len(sampler) for sampler in ranks] == [1, 1]
    assert list(GridSampler(10, 3).without(range(10)).batches()) == []


def test_faults():
    with pytest.raises(ConfigError, match="7 samples do not fill one step of 2 x 4 .*batch_size=3"):
        TrainSampler(7, 4, world_size=2)
    for make in (TrainSampler, GridSampler):
        with pytest.raises(ConfigError):
            make(0, 4)
        with pytest.raises(ConfigError):
            make(4, 0)
        with pytest.raises(ValueError):
            make(4, 1, 2, 2)


def test_ranks_with_samples_of_their_own_take_equal_numbers_of_steps():
    samplers = [OwnSampler([7, 5, 9], 2, Shuffled(size, seed=3)) for size in (7, 5, 9)]
    assert [len(sampler) for sampler in samplers] == [2, 2, 2]
    assert {sampler.epoch_size for sampler in samplers} == {15}
    for size, sampler in zip((7, 5, 9), samplers, strict=True):
        epochs = [[i for batch in sampler.batches(epoch) for i in batch] for epoch in range(40)]
        assert all(len(set(epoch)) == 4 for epoch in epochs)
        # What an epoch leaves out, another reads.
        assert set().union(*epochs) == set(range(size))
        assert list(sampler.batches(1, start=1)) == list(sampler.batches(1))[1:]
    rest = [OwnSampler([7, 5, 9], 2, drop_last=False) for _ in range(3)]
    assert [[len(batch) for batch in sampler.batches()] for sampler in rest] == [[2, 2, 1]] * 3
