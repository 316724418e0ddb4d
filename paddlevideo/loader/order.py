"""Random-access shuffling: any part of an epoch's order of samples at any time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np

#: Neighbouring samples that are read in one go, some 50 MB of published features.
BLOCK = 256
#: Data sets of more samples are shuffled in blocks unless the configuration says otherwise.
WINDOW = 1 << 18

#: Lengths of the samples with these numbers: (n,) int64 to (n,).
Lengths = Callable[[np.ndarray], np.ndarray]


class Order(Protocol):
    """An order for every epoch; it depends on nothing else that happens in a run."""

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The samples at positions [start, stop) of the epoch's order, (stop - start,) int64."""


class InOrder:
    """One after another."""

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """start, start + 1, ..."""
        return np.arange(start, stop)


class Shuffled:
    """Every order is equally likely. Holds 4 bytes a sample."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._held: tuple[int, np.ndarray] | None = None

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Shuffles all samples when the epoch is another one than before."""
        if self._held is None or self._held[0] != epoch:
            order = np.arange(self.size, dtype=np.uint32 if self.size < 1 << 32 else np.int64)
            np.random.default_rng((self.seed, epoch)).shuffle(order)
            self._held = epoch, order
        return self._held[1][start:stop].astype(np.int64)


class ShuffledBlocks:
    """Blocks of neighbours in a random order, and samples in a random order among many blocks.

    For more samples than a memory holds, or than a disk reads in any order: each ``window`` takes
    the samples of window / block blocks from anywhere, each of which is read in one go. Holds 4
    bytes a block. Any position is computable without its predecessors: a run resumes at once.
    """

    def __init__(self, size: int, seed: int, window: int, block: int = BLOCK) -> None:
        self.size, self.seed, self.block = size, seed, min(block, window)
        self.window = window // self.block * self.block
        self._blocks = lru_cache(maxsize=1)(self._shuffled_blocks)
        self._part = lru_cache(maxsize=2)(self._shuffled_window)

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Shuffles the windows that the part overlaps."""
        parts, stop = [np.empty(0, np.int64)], min(stop, self.size)
        while start < stop:
            number = self._window_of(epoch, start)
            begin = self._begin(epoch, number)
            samples = self._part(epoch, number)
            parts.append(samples[start - begin : stop - begin])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _shuffled_blocks(self, epoch: int) -> tuple[np.ndarray, int]:
        """The shuffled blocks, and the position of the last one, which may be short."""
        blocks = np.arange(-(-self.size // self.block), dtype=np.uint32)
        np.random.default_rng((self.seed, epoch)).shuffle(blocks)
        return blocks, int(np.argmax(blocks))

    def _begin(self, epoch: int, number: int) -> int:
        """The position at which window ``number`` begins."""
        blocks, short_at = self._blocks(epoch)
        before = number * (self.window // self.block)
        short_by = len(blocks) * self.block - self.size
        return before * self.block - (short_by if short_at < before else 0)

    def _window_of(self, epoch: int, position: int) -> int:
        number = position // self.window  # or the next one, after the short block
        return number + (self._begin(epoch, number + 1) <= position)

    def _shuffled_window(self, epoch: int, number: int) -> np.ndarray:
        blocks, _ = self._blocks(epoch)
        many = self.window // self.block
        first = blocks[number * many : (number + 1) * many].astype(np.int64) * self.block
        samples = (first[:, None] + np.arange(self.block)).ravel()
        samples = samples[samples < self.size]
        np.random.default_rng((self.seed, epoch, number)).shuffle(samples)
        return samples


class SimilarLengths:
    """Another order, in which batches are filled with samples of similar length.

    The samples of ``pool`` batches are sorted by length and cut into batches, which then come in
    a random order: padding is what a batch's longest sample needs. Samples stay in their pool.
    """

    def __init__(self, order: Order, size: int, batch: int, lengths: Lengths, pool: int, seed: int):
        self.order, self.size, self.batch, self.seed = order, size, batch, seed
        self.lengths, self.pool = lengths, pool
        self._pool = lru_cache(maxsize=2)(self._grouped)

    def part(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Groups the pools that the part overlaps."""
        together = self.pool * self.batch
        parts = [np.empty(0, np.int64)]
        for number in range(start // together, -(-stop // together)):
            begin = number * together
            parts.append(self._pool(epoch, number)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts)

    def _grouped(self, epoch: int, number: int) -> np.ndarray:
        together = self.pool * self.batch
        stop = min((number + 1) * together, self.size)
        samples = self.order.part(epoch, number * together, stop)
        # Stable: samples of equal length stay in their random order.
        samples = samples[np.argsort(self.lengths(samples), kind="stable")]
        whole = len(samples) // self.batch
        batches = samples[: whole * self.batch].reshape(whole, self.batch)
        np.random.default_rng((self.seed, epoch, number)).shuffle(batches)  # along the first axis
        return np.concatenate([batches.ravel(), samples[whole * self.batch :]])
