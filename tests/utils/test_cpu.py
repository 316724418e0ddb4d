"""The process settings that make CPUs fast."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.utils import cpu

ROOT = Path(__file__).parents[2]

FAULTS = """
import resource
import numpy as np
from paddlevideo.utils.cpu import tune_cpu

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.empty(1 << 20, dtype="float64").fill(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

untuned = page_faults()
tune_cpu()
page_faults()
print(untuned, page_faults())
"""


DENORMALS = """
import warnings
warnings.simplefilter("error")
import numpy as np
from paddlevideo.utils.cpu import tune_cpu
tune_cpu()
warnings.simplefilter("default")
import paddle
paddle.base.core.set_num_threads(2)
tiny = paddle.to_tensor(np.full([1 << 20], 1e-40, "float32"))
print(*(np.count_nonzero(x.numpy()) for x in (tiny * 1e10, tiny + 1e-39)))
warnings.simplefilter("error")
print(str(np.finfo(np.float32))[:18])
"""


def amd(monkeypatch, text):
    monkeypatch.setattr(cpu.Path, "read_text", lambda self: text)
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    cpu._use_avx2_on_amd()
    found = os.environ.pop("MKL_DEBUG_CPU_TYPE", None)
    return found


def test_mkl_is_told_of_avx2_on_amd_only(monkeypatch):
    assert amd(monkeypatch, "vendor_id: AuthenticAMD\nflags: avx avx2") == "5"
    assert amd(monkeypatch, "vendor_id: AuthenticAMD\nflags: avx") is None
    assert amd(monkeypatch, "vendor_id: GenuineIntel\nflags: avx2") is None


def test_what_the_user_set_stays(monkeypatch):
    monkeypatch.setattr(cpu.Path, "read_text", lambda self: "AuthenticAMD avx2")
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "4")
    cpu._use_avx2_on_amd()
    assert os.environ["MKL_DEBUG_CPU_TYPE"] == "4"


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_freed_memory_stays_so_that_its_pages_are_not_cleared_again():
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    untuned, tuned = map(int, done.stdout.split())
    assert tuned < untuned / 10


@pytest.mark.skipif(platform.machine() not in cpu.FLUSH_BITS, reason="not an x86-64 or ARM")
@pytest.mark.parametrize("keep", ["", "1"])
def test_denormal_numbers_are_zero_in_all_threads(keep):
    """In both threads of an addition: half of a million elements each."""
    done = subprocess.run(
        [sys.executable, "-c", DENORMALS],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PADDLEVIDEO_KEEP_DENORMALS": keep},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    left = 1 << 20 if keep else 0
    assert done.stdout.splitlines() == [f"{left} {left}", "Machine parameters"], done.stderr
