"""Two settings that make Paddle several times faster on CPUs. Measured in docs/performance.md."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

MMAP_THRESHOLD_BYTES = 32 << 20  # the largest that glibc accepts
TRIM_THRESHOLD_BYTES = 1 << 30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h


@functools.cache
def tune_cpu() -> None:
    """Lets MKL and the memory allocator do their best. Changes this process only, once.

    Must run before the first matrix product. What a user has set in the environment stays.
    """
    _use_avx2_on_amd()
    _keep_memory()


def _use_avx2_on_amd() -> None:
    """The MKL in Paddle runs AVX2 code on AMD processors only if it is told to.

    Without the variable it falls back to SSE: a third of the speed.
    """
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if "AuthenticAMD" in info and "avx2" in info:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


def _keep_memory() -> None:
    """Keeps freed memory of up to 32 MB a block in the process instead of giving it back.

    Every operator allocates its result. By default glibc maps and unmaps such blocks each time,
    and the kernel clears their pages anew: an addition of 5 MB arrays then runs at 5 GB/s instead
    of 80. The cost: up to 1 GB of freed memory stays with the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
