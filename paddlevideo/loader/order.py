"""Random-access shuffling: computes any part of an epoch's order of samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np

#: Number of neighbouring samples that are read at once, some 50 MB of published features.
BLOCK = 256
#: Larger data sets are shuffled in blocks unless the configuration says otherwise.
WINDOW = 1 << 18

#: Maps sample indices (n,) int64 to the lengths (n,) of the samples.
Lengths = Callable[[np.ndarray], np.ndarray]


class Order(Protocol):
    """An order for every epoch, which depends on nothing else in a run."""

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Returns the samples at positions [start, stop) of the epoch, (stop - start,) int64."""


class InOrder:
    """The order of the data set."""

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Returns start, start + 1, ..."""
        return np.arange(start, stop)


class Shuffled:
    """Uniformly random orders. Keeps 4 bytes per sample."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._cached: tuple[int, np.ndarray] | None = None

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Returns part of the order; shuffles all samples when the epoch changes."""
        if self._cached is None or self._cached[0] != epoch:
            order = np.arange(self.size, dtype=np.uint32 if self.size < 1 << 32 else np.int64)
            np.random.default_rng((self.seed, epoch)).shuffle(order)
            self._cached = epoch, order
        return self._cached[1][start:stop].astype(np.int64)


class ShuffledBlocks:
    """Random order of blocks of neighbours, and of the samples within windows of blocks.

    For more samples than fit into memory, or than a disk can read in random order: each ``window``
    has the samples of window / block blocks from anywhere, each of which is read at once. Keeps 4
    bytes per block. Any position is computable without its predecessors: a run resumes at once.
    """

    def __init__(self, size: int, seed: int, window: int, block: int = BLOCK) -> None:
        self.size, self.seed, self.block = size, seed, min(block, window)
        self.window = window // self.block * self.block
        self._blocks = lru_cache(maxsize=1)(self._shuffled_blocks)
        self._part = lru_cache(maxsize=2)(self._shuffled_window)

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Returns part of the order; shuffles the windows that it overlaps."""
        parts, stop = [np.empty(0, np.int64)], min(stop, self.size)
        while start < stop:
            number = self._window_of(epoch, start)
            begin = self._begin(epoch, number)
            samples = self._part(epoch, number)
            parts.append(samples[start - begin : stop - begin])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _shuffled_blocks(self, epoch: int) -> tuple[np.ndarray, int]:
        """Returns the shuffled blocks, and the position of the last one, which may be short."""
        blocks = np.arange(-(-self.size // self.block), dtype=np.uint32)
        np.random.default_rng((self.seed, epoch)).shuffle(blocks)
        return blocks, int(np.argmax(blocks))

    def _begin(self, epoch: int, number: int) -> int:
        """Returns the position at which window ``number`` begins."""
        blocks, short_at = self._blocks(epoch)
        before = number * (self.window // self.block)
        short_by = len(blocks) * self.block - self.size
        return before * self.block - (short_by if short_at < before else 0)

    def _window_of(self, epoch: int, position: int) -> int:
        number = position // self.window  # or the next one, after the short block
        return number + (self._begin(epoch, number + 1) <= position)

    def _shuffled_window(self, epoch: int, number: int) -> np.ndarray:
        blocks, _ = self._blocks(epoch)
        per_window = self.window // self.block
        first = (
            blocks[number * per_window : (number + 1) * per_window].astype(np.int64) * self.block
        )
        samples = (first[:, None] + np.arange(self.block)).ravel()
        samples = samples[samples < self.size]
        np.random.default_rng((self.seed, epoch, number)).shuffle(samples)
        return samples


class SimilarLengths:
    """Another order, changed so that batches have samples of similar length.

    The samples of ``pool`` batches are sorted by length and cut into batches, which then come in
    a random order: the longest sample of a batch sets its padding. Samples stay in their pool.
    """

    def __init__(self, order: Order, size: int, batch: int, lengths: Lengths, pool: int, seed: int):
        self.order, self.size, self.batch, self.seed = order, size, batch, seed
        self.lengths, self.pool = lengths, pool
        self._pool = lru_cache(maxsize=2)(self._grouped)

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Returns part of the order; groups the pools that it overlaps."""
        pool_size = self.pool * self.batch
        parts = [np.empty(0, np.int64)]
        for number in range(start // pool_size, -(-stop // pool_size)):
            begin = number * pool_size
            parts.append(self._pool(epoch, number)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts)

    def _grouped(self, epoch: int, number: int) -> np.ndarray:
        pool_size = self.pool * self.batch
        stop = min((number + 1) * pool_size, self.size)
        samples = self.order.part(epoch, number * pool_size, stop)
        # Stable: samples of equal length stay in their random order.
        samples = samples[np.argsort(self.lengths(samples), kind="stable")]
        whole = len(samples) // self.batch
        batches = samples[: whole * self.batch].reshape(whole, self.batch)
        np.random.default_rng((self.seed, epoch, number)).shuffle(batches)  # along the first axis
        return np.concatenate([batches.ravel(), samples[whole * self.batch :]])
