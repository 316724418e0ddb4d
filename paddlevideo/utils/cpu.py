"""Settings that make Paddle several times faster on CPUs, as docs/performance.md measures."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path

import numpy as np

MMAP_THRESHOLD_BYTES = 32 << 20  # the maximum of glibc
TRIM_THRESHOLD_BYTES = 1 << 30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from malloc.h
#: Where glibc's fenv_t has the control register, in 32-bit words, and the bits that flush
#: denormals: FTZ and DAZ of MXCSR, FZ of FPCR (tried on x86-64 only).
FLUSH_BITS = {"x86_64": (7, 1 << 15 | 1 << 6), "aarch64": (0, 1 << 24)}


@functools.cache
def tune_cpu() -> None:
    """Tunes MKL, the memory allocator and the arithmetic of this process, once.

    Must run before the first matrix product: threads inherit the arithmetic of the one that starts
    them. Variables in the environment are respected.
    """
    _use_avx2_on_amd()
    _keep_memory()
    if os.environ.get("PADDLEVIDEO_KEEP_DENORMALS", "0") in {"", "0"}:
        _flush_denormals()


def _use_avx2_on_amd() -> None:
    """Makes Paddle's MKL use AVX2 on AMD processors, where it uses SSE, a third as fast."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if "AuthenticAMD" in info and "avx2" in info:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


def _keep_memory() -> None:
    """Keeps freed blocks of up to 32 MB in the process instead of returning them to the system.

    Every operator allocates its result. By default glibc maps and unmaps such blocks each time,
    and the kernel clears their pages again: an addition of 5 MB arrays runs at 5 GB/s instead of
    80. The cost: up to 1 GB of freed memory stays in the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)


def _flush_denormals() -> None:
    """Makes this thread, and those it starts, treat denormal numbers as zero.

    Many processors take several times as long for numbers below 1.2e-38: in softmax and gradients
    of a trained model, and for ever in Adam's moments of words that no longer occur (0.9^n). No
    loss has a digit that depends on them.
    """
    word, bits = FLUSH_BITS.get(platform.machine(), (0, 0))
    try:
        libm = ctypes.CDLL("libm.so.6")
    except OSError:  # not glibc
        return
    for kind in (np.float16, np.float32, np.float64):
        np.finfo(kind)  # NumPy warns if it first computes its limits without denormals
    environment = (ctypes.c_uint32 * 16)()  # fenv_t takes 32 bytes, or 8
    libm.fegetenv(environment)
    environment[word] |= bits
    libm.fesetenv(environment)
