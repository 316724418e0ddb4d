"""Orders of an epoch: every sample once, the same at any time, near on the disk, of like length."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.loader import ActBertDataset, TrainSampler
from paddlevideo.loader.order import InOrder, Shuffled, ShuffledBlocks, SimilarLengths
from tests.loader.clips import make_clip, write


def lengths_of(samples):
    return samples * 7919 % 31


def orders(size, seed):
    blocks = ShuffledBlocks(size, seed, window=12, block=4)
    return {
        "in order": InOrder(),
        "shuffled": Shuffled(size, seed),
        "blocks": blocks,
        "one window": ShuffledBlocks(size, seed, window=1 << 20, block=4),
        "similar": SimilarLengths(Shuffled(size, seed), size, 3, lengths_of, 4, seed),
        "similar, blocks": SimilarLengths(blocks, size, 3, lengths_of, 4, seed),
    }


@given(st.integers(1, 90), st.integers(0, 3), st.integers(0, 2), st.data())
@settings(max_examples=60, deadline=None)
def test_every_sample_once_and_any_part_is_a_part_of_the_whole(size, seed, epoch, data):
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    for name, order in orders(size, seed).items():
        whole = order.part(epoch, 0, size)
        assert sorted(whole.tolist()) == list(range(size)), name
        # Made anew, so that nothing is left of what was asked for before: as after a resume.
        again = orders(size, seed)[name].part(epoch, start, stop)
        assert again.tolist() == whole[start:stop].tolist(), name


@pytest.mark.parametrize("name", ["shuffled", "blocks", "similar", "similar, blocks"])
def test_seed_and_epoch_decide(name):
    def whole(seed, epoch):
        return orders(90, seed)[name].part(epoch, 0, 90).tolist()

    assert whole(1, 0) == whole(1, 0)
    assert whole(1, 0) != whole(1, 1) and whole(1, 0) != whole(2, 0) != list(range(90))


def test_a_window_takes_few_blocks_from_anywhere():
    order = ShuffledBlocks(4000, 0, window=100, block=10)
    first = order.part(0, 0, 100)
    assert len(set((first // 10).tolist())) == 10  # ten blocks, whole
    assert first.max() - first.min() > 1000
    assert (np.diff(first) == 1).mean() < 0.2  # and mixed


def test_blocks_hold_no_order_of_all_samples():
    size = 50_000_000
    order = ShuffledBlocks(size, 0, window=1 << 16)
    tracemalloc.start()
    part = order.part(3, size - 1000, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(part) == 1000 and peak < size / 4


def test_batches_of_similar_length_waste_less_and_stay_a_good_mix():
    size, batch = 3000, 8
    lengths = np.random.default_rng(0).integers(4, 36, size)

    def waste(order):
        batches = lengths[order.part(0, 0, size)].reshape(-1, batch)
        return 1 - batches.sum() / (batches.max(axis=1).sum() * batch)

    plain = Shuffled(size, 0)
    similar = SimilarLengths(plain, size, batch, lambda samples: lengths[samples], 25, 0)
    assert waste(plain) > 0.3 and waste(similar) < 0.1
    # Short and long batches come in turns: the first half is not the shorter one.
    half = lengths[similar.part(0, 0, size)][: size // 2].mean()
    assert abs(half - lengths.mean()) < 1


def test_ranks_share_batches_of_similar_length():
    size = 96
    order = SimilarLengths(Shuffled(size, 0), size, 4, lengths_of, 4, 0)
    alone = [batch for batch in TrainSampler(size, 4, order=order).batches()]
    ranks = [list(TrainSampler(size, 4, rank, 2, order).batches()) for rank in range(2)]
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == alone


def test_a_data_set_tells_its_lengths(tmp_path):
    clips = [make_clip(number, captions=["a b c"] * number + ["a"], times=()) for number in (0, 1)]
    write(tmp_path / "s", clips)
    dataset = ActBertDataset(str(tmp_path / "s"))
    assert dataset.lengths(np.array([1, 0])).tolist() == [2.0, 1.0]
