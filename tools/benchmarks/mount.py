"""Batches of clips in random order from stores on a slow disk, which nothing has cached."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 32
#: A file system that shows a folder, and waits before each read of at most 128 KB.
SLOW_FOLDER = """
import errno, os, sys, time
from fuse import FUSE, FuseOSError, Operations

class SlowFolder(Operations):
    def getattr(self, path, handle=None):
        try:
            status = os.lstat(sys.argv[1] + path)
        except OSError as error:
            raise FuseOSError(error.errno)
        names = ("st_mode", "st_size", "st_nlink", "st_mtime", "st_ctime", "st_uid", "st_gid")
        return {name: getattr(status, name) for name in names}
    def readdir(self, path, handle):
        return [".", "..", *os.listdir(sys.argv[1] + path)]
    def open(self, path, flags):
        return os.open(sys.argv[1] + path, os.O_RDONLY)
    def read(self, path, size, begin, handle):
        time.sleep(float(sys.argv[3]) / 1000)
        return os.pread(handle, size, begin)
    def release(self, path, handle):
        os.close(handle)

FUSE(SlowFolder(), sys.argv[2], foreground=True, ro=True, max_read=131072)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py mount``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count, count_or_zero, positive

    parser.add_argument("stores", nargs="+", type=as_path, metavar="STORE")
    parser.add_argument("--batches", type=count, default=6, help="of 32 clips; default: 6")
    parser.add_argument("--workers", type=count_or_zero, nargs="+", default=[0, 4])
    parser.add_argument(
        "--delay",
        type=positive,
        metavar="MS",
        help="show the stores through a file system that waits before each read "
        "(Linux: pip install fusepy, and libfuse2 and fuse3 of the system)",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Reads each store with each number of workers, with and without requests for batches."""
    rows = []
    for store in options.stores:
        shown = slow_folder(store, options.delay) if options.delay else nullcontext(store)
        with shown as folder:
            for workers in options.workers:
                for requests in (False, True):
                    rate = measure(Path(folder), options.batches, workers, requests)
                    row = {"store": str(store), "workers": workers, "requests": requests}
                    rows.append({**row, "clips_per_second": rate})
    return {"delay_ms": options.delay or 0, "rows": rows}


def show(report: dict[str, Any]) -> None:
    """Prints a line for each measurement."""
    for row in report["rows"]:
        requests = "batches requested" if row["requests"] else "clip by clip"
        print(
            f"{row['store']}: {row['workers']} workers, {requests}: "
            f"{row['clips_per_second']:,.0f} clips a second"
        )


def measure(store: Path, batches: int, workers: int, requests: bool) -> float:
    """Returns clips a second, read by a process of its own after the system's cache is dropped."""
    for file in store.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(store, batches, workers, requests, sender))
    process.start()
    sender.close()
    rate: float = receiver.recv()
    process.join()
    return rate


def _read(store: Path, batches: int, workers: int, requests: bool, sender: Any) -> None:
    from paddlevideo.loader.store import FeatureStore
    from paddlevideo.loader.workers import batches_ahead

    opened = FeatureStore(store)
    order = np.random.default_rng(0).permutation(len(opened))[: batches * BATCH].tolist()
    parts = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]

    def read(epoch: int, indices: list[int]) -> dict[str, Any]:
        if requests:
            opened.request(indices)
        return {"sums": np.array([opened[index].regions.sum() for index in indices])}

    began = time.perf_counter()
    for _ in (
        batches_ahead(read, 0, iter(parts), workers) if workers else map(read, repeat(0), parts)
    ):
        pass
    sender.send(len(order) / (time.perf_counter() - began))


@contextmanager
def slow_folder(folder: Path, delay: float) -> Iterator[Path]:
    """Gives a mount of a folder with ``delay`` milliseconds before each read."""
    with tempfile.TemporaryDirectory() as mount:
        command = [sys.executable, "-c", SLOW_FOLDER, os.path.abspath(folder), mount, str(delay)]
        server = subprocess.Popen(command)
        try:
            while not os.path.ismount(mount):
                if server.poll() is not None:
                    raise OSError(0, "the file system could not be mounted: see above", mount)
                time.sleep(0.05)
            yield Path(mount)
        finally:
            subprocess.run(["fusermount3", "-u", "-z", mount], check=False)
            server.terminate()
            server.wait()
