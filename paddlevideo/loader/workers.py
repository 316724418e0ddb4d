"""Batches read ahead of time by forked processes."""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np

from paddlevideo.loader.collate import Batch
from paddlevideo.utils.errors import DataError

ReadBatch = Callable[..., Batch]
_ALIGNMENT = 64


class _Placed(NamedTuple):
    """An array that lies in shared memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


class SharedSlots:
    """Memory that parent and workers share, a slot for each batch on its way.

    Batches of megabytes go through a pipe at a fraction of the speed of memory. The memory has
    no name: it vanishes with its last process, however that ends.
    """

    def __init__(self, count: int, size: int):
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.memory = mmap.mmap(-1, max(1, count) * max(self.size, mmap.PAGESIZE))
        self.free = list(range(count))

    def write(self, slot: int, read: Callable[..., Batch]) -> Batch:
        """Lets ``read(allocate=...)`` make a batch in a slot; what does not fit lies elsewhere."""
        # The array is kept beside its place: while it lives, its id is not used again.
        places: dict[int, tuple[_Placed, np.ndarray]] = {}
        end = slot * self.size

        def allocate(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            nonlocal end
            if end + math.prod(shape) * dtype.itemsize > (slot + 1) * self.size:
                return np.empty(shape, dtype)
            place = _Placed(end, shape, dtype)
            array = self._view(place)
            places[id(array)] = place, array
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
            return array

        batch = read(allocate=allocate)
        return {
            key: places[id(value)][0] if id(value) in places else value
            for key, value in batch.items()
        }

    def take(self, batch: Batch) -> Batch:
        """A batch that :meth:`write` returned, copied out of its slot."""
        return {
            key: self._view(value).copy() if isinstance(value, _Placed) else value
            for key, value in batch.items()
        }

    def _view(self, place: _Placed) -> np.ndarray:
        count = math.prod(place.shape)
        flat = np.frombuffer(self.memory, place.dtype, count, place.offset)
        return flat.reshape(place.shape)


def batches_ahead(
    read: ReadBatch, epoch: int, batches: Iterator[list[int]], workers: int
) -> Iterator[Batch]:
    """``read(epoch, indices)`` of every list of indices, in order, made by ``workers`` processes.

    At most 2 * workers batches are under way. Raises what ``read`` raises, and DataError if a
    worker was killed. Closing the iterator ends the workers.
    """
    first = next(batches, None)
    if first is None:
        return
    # Read here: its size tells how much memory to share, which must be there before the fork.
    batch = read(epoch, first)
    size = sum(_space(value) for value in batch.values())
    yield batch
    yield from _from_pool(read, epoch, batches, workers, size)


def _space(value: Any) -> int:
    return value.nbytes + _ALIGNMENT if isinstance(value, np.ndarray) else 0


def _from_pool(
    read: ReadBatch, epoch: int, batches: Iterator[list[int]], workers: int, size: int
) -> Iterator[Batch]:
    ahead = 2 * workers
    slots = SharedSlots(ahead, size)
    # Forked, not spawned: rows and vocabularies in memory are shared, and a user's own data sets
    # need not be picklable. Workers run numpy only, never Paddle.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("fork"),
        initializer=_start_worker,
        initargs=(read, slots, os.getpid()),
    )
    waiting: deque[tuple[int, Future[Batch]]] = deque()

    def finished() -> Batch:
        slot, future = waiting.popleft()
        batch = slots.take(future.result())
        slots.free.append(slot)
        return batch

    try:
        for indices in batches:
            slot = slots.free.pop()
            waiting.append((slot, _submit(pool, slot, epoch, indices)))
            if len(waiting) == ahead:
                yield finished()
        while waiting:
            yield finished()
    except BrokenProcessPool:
        raise DataError(
            "a data worker was killed, most often because memory ran out. "
            "Lower DATASET.num_workers or DATASET.batch_size, or set num_workers to 0"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, slot: int, epoch: int, indices: list[int]) -> Future[Batch]:
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside threads; the children touch none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        return pool.submit(_work, slot, epoch, indices)


_in_worker: tuple[ReadBatch, SharedSlots] | None = None


def _start_worker(read: ReadBatch, slots: SharedSlots, parent: int) -> None:
    global _in_worker
    _in_worker = read, slots
    # Ctrl-C reaches the whole group: the parent decides, and its handlers are not ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    process = multiprocessing.parent_process()
    assert process is not None
    # Workers forked later hold copies of the sentinel's other end, hence the second look.
    while os.getppid() == parent and not connection.wait([process.sentinel], timeout=2):
        pass
    os._exit(1)


def _work(slot: int, epoch: int, indices: list[int]) -> Batch:
    assert _in_worker is not None
    read, slots = _in_worker
    return slots.write(slot, lambda allocate: read(epoch, indices, allocate=allocate))
