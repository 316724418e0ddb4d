"""Batches read ahead of time by forked processes."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from paddlevideo.loader.collate import Batch
from paddlevideo.utils.errors import DataError

ReadBatch = Callable[[int, list[int]], Batch]
#: A pickled batch without its arrays, and their sizes in bytes.
_Parcel = tuple[bytes, list[int]]
_POLL = 1.0  # seconds between two checks whether the parent is alive


class SharedSlots:
    """Memory that parent and workers share, a slot for each batch in transfer.

    Two to three times as fast as a pipe. The memory has no name: it is freed with its last process,
    however that ends.
    """

    def __init__(self, count: int, size: int) -> None:
        self.size = max(size, 1)
        self.memory = memoryview(mmap.mmap(-1, count * self.size))
        self.free = list(range(count))

    def write(self, slot: int, batch: Batch) -> _Parcel:
        """Puts a batch's arrays into a slot; a batch that does not fit is pickled instead."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
        arrays = [buffer.raw() for buffer in buffers]
        sizes = [array.nbytes for array in arrays]
        if sum(sizes) > self.size:
            return pickle.dumps(batch, protocol=5), []
        for array, part in zip(arrays, self._parts(slot, sizes), strict=True):
            part[:] = array
        return head, sizes

    def take(self, slot: int, parcel: _Parcel) -> Batch:
        """Returns a copy of the batch that :meth:`write` put into a slot."""
        head, sizes = parcel
        return pickle.loads(head, buffers=map(bytearray, self._parts(slot, sizes)))

    def _parts(self, slot: int, sizes: list[int]) -> Iterator[memoryview]:
        start = slot * self.size
        for size in sizes:
            yield self.memory[start : start + size]
            start += size


def batches_ahead(
    read: ReadBatch, epoch: int, batches: Iterator[list[int]], workers: int
) -> Iterator[Batch]:
    """Yields ``read(epoch, indices)`` of every list of indices, computed by ``workers`` processes.

    At most 2 * workers batches are in progress. Raises what ``read`` raises, and DataError if a
    worker was killed. Closing the iterator ends the workers.
    """
    first = next(batches, None)
    if first is None:
        return
    # Read here: its size decides how much memory to share, which must exist before the fork.
    batch = read(epoch, first)
    size = sum(value.nbytes for value in batch.values() if hasattr(value, "nbytes"))
    yield batch
    yield from _from_pool(read, epoch, batches, workers, SharedSlots(2 * workers, size))


def _from_pool(
    read: ReadBatch, epoch: int, batches: Iterator[list[int]], workers: int, slots: SharedSlots
) -> Iterator[Batch]:
    # Forked, not spawned: rows and vocabularies in memory are shared, and a user's own data sets
    # need not be picklable. Workers run numpy only, never Paddle.
    pool = _pool(read, workers, slots)
    waiting: deque[tuple[int, Future[_Parcel]]] = deque()
    processes: list[Any] = []  # the pool forgets them when one is killed

    def finished() -> Batch:
        slot, future = waiting.popleft()
        batch = slots.take(slot, future.result())
        slots.free.append(slot)
        return batch

    try:
        for indices in batches:
            slot = slots.free.pop()
            waiting.append((slot, _submit(pool, slot, epoch, indices)))
            processes = processes or list(pool._processes.values())
            if not slots.free:
                yield finished()
        while waiting:
            yield finished()
    except BrokenProcessPool:
        raise _killed(processes) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(read: ReadBatch, workers: int, slots: SharedSlots) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("fork"),
            initializer=_start_worker,
            initargs=(read, slots, os.getpid()),
        )
    except OSError as error:
        raise DataError(
            f"data workers need a little room in /dev/shm ({error.strerror}): make room there, in "
            "a container with a larger --shm-size, or set DATASET.num_workers to 0"
        ) from None


def _killed(processes: Sequence[Any]) -> DataError:
    """Returns the error for workers of which one was killed."""
    for process in processes:
        process.join(_POLL)
    if -signal.SIGBUS in [process.exitcode for process in processes]:
        return DataError(
            "a data worker was killed by SIGBUS: a file of the data that is read through memory "
            "(LMDB) could not be read. Its disk or mount has failed, or it was cut short or "
            "replaced while it was open. Check the mount; from tar files (paddlevideo convert --to "
            "webdataset) the error names the file"
        )
    return DataError(
        "a data worker was killed, most often because memory ran out. "
        "Lower DATASET.num_workers or DATASET.batch_size, or set num_workers to 0"
    )


def _submit(
    pool: ProcessPoolExecutor, slot: int, epoch: int, indices: list[int]
) -> Future[_Parcel]:
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside threads; the workers do not use them.
        warnings.simplefilter("ignore", DeprecationWarning)
        return pool.submit(_work, slot, epoch, indices)


_in_worker: tuple[ReadBatch, SharedSlots] | None = None


def _start_worker(read: ReadBatch, slots: SharedSlots, parent: int) -> None:
    global _in_worker
    _in_worker = read, slots
    # Ctrl-C reaches the whole process group: the parent handles it, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """Ends a worker whose parent was killed, and which would wait for work forever."""
    while os.getppid() == parent:
        time.sleep(_POLL)
    os._exit(1)


def _work(slot: int, epoch: int, indices: list[int]) -> _Parcel:
    assert _in_worker is not None
    read, slots = _in_worker
    return slots.write(slot, read(epoch, indices))
