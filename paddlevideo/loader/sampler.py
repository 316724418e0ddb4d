"""The samples of each rank and step: pure arithmetic, no data, no communication."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from copy import copy

import numpy as np

from paddlevideo.loader.order import InOrder, Order
from paddlevideo.utils.errors import ConfigError


def _such_as(largest: int) -> str:
    return f", such as -o DATASET.batch_size={largest}" if largest else ""


def _check(size: int, batch_size: int, rank: int, world_size: int) -> None:
    if batch_size < 1 or size < 1:
        raise ConfigError(f"{size} samples in batches of {batch_size}: both must be at least 1")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} of {world_size}")


class TrainSampler:
    """Batches for training, in an :class:`Order` that differs from epoch to epoch.

    Step s takes the next ``batch_size * world_size`` samples of the epoch's order, and rank r its
    slice of them, so that W ranks with batches of B read the same as one rank with batches of W*B.

    With ``drop_last=False`` the remaining samples make a last, smaller step, divided evenly over
    the ranks. (If there are fewer than ranks, they are dropped: every rank needs a batch.)
    Raises ConfigError if an epoch has no step.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        order: Order | None = None,
        drop_last: bool = True,
    ):
        """``order``: by default that of the data set."""
        _check(size, batch_size, rank, world_size)
        self.size, self.batch_size = size, batch_size
        #: Samples of an epoch on all ranks, before any are dropped.
        self.epoch_size = size
        self.rank, self.world_size = rank, world_size
        self.order: Order = order or InOrder()
        whole, rest = divmod(size, batch_size * world_size)
        self.whole_steps = whole
        self.has_rest = not drop_last and rest >= world_size
        if len(self) == 0:
            raise ConfigError(
                f"{size} samples do not fill one step of {world_size} x {batch_size} "
                f"(processes x batch_size). Lower DATASET.batch_size{_such_as(size // world_size)}"
            )

    def __len__(self) -> int:
        """Returns the number of steps in an epoch, the same on every rank."""
        return self.whole_steps + self.has_rest

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[list[int]]:
        """Yields this rank's lists of sample indices in an epoch, from step ``start`` on."""
        per_step = self.batch_size * self.world_size
        for step in range(start, len(self)):
            stop = min((step + 1) * per_step, self.size)
            share = self.order.part(epoch, step * per_step, stop)
            yield np.array_split(share, self.world_size)[self.rank].tolist()


class OwnSampler(TrainSampler):
    """Batches for training of a rank that has a data set of its own.

    Every rank reads as many samples as the rank with the fewest has: the first of its order in each
    epoch. ``epoch_size`` counts those of all ranks.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        order: Order | None = None,
        drop_last: bool = True,
    ):
        """``sizes``: the numbers of samples of all ranks."""
        super().__init__(min(sizes), batch_size, 0, 1, order, drop_last)
        self.epoch_size = len(sizes) * self.size


class GridSampler:
    """Batches for evaluation: batch k has the samples [k*B, (k+1)*B), and is read by rank k mod W.

    The batches do not depend on the number of ranks, so neither do the results. Every sample is
    read once by one rank; nothing is padded.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1):
        _check(size, batch_size, rank, world_size)
        self.size, self.batch_size = size, batch_size
        self.rank, self.world_size = rank, world_size
        self.cells: Sequence[int] = range(rank, -(-size // batch_size), world_size)

    def without(self, done: Container[int]) -> GridSampler:
        """Returns the batches with samples that are not ``done``, redistributed over ranks."""
        left = [
            cell
            for cell in range(-(-self.size // self.batch_size))
            if not all(sample in done for sample in self._samples(cell))
        ]
        return self._of(left[self.rank :: self.world_size])

    def only(self, firsts: Container[int]) -> GridSampler:
        """Returns this rank's batches whose first sample is one of ``firsts``."""
        return self._of([cell for cell in self.cells if cell * self.batch_size in firsts])

    def subsampled(self, samples: int) -> GridSampler:
        """Returns every n-th batch of the grid, so that about ``samples`` samples remain."""
        cells = -(-self.size // self.batch_size)
        step = max(1, round(cells * self.batch_size / max(samples, 1)))
        return self._of(range(0, cells, step)[self.rank :: self.world_size])

    def _of(self, cells: Sequence[int]) -> GridSampler:
        other = copy(self)
        other.cells = cells
        return other

    def __len__(self) -> int:
        """Returns the number of batches of this rank; ranks may differ by one."""
        return len(self.cells)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[list[int]]:
        """Yields this rank's lists of sample indices, the same in every epoch."""
        for cell in self.cells[start:]:
            yield list(self._samples(cell))

    def _samples(self, cell: int) -> range:
        first = cell * self.batch_size
        return range(first, min(first + self.batch_size, self.size))
