"""Two processes that take turns, so that both are measured at nearly the same time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


class Side:
    """One side of a comparison: a process that does a piece of work whenever it is asked to."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts ``python -m module arguments`` and waits until it is ready."""
        # A bare interpreter: this project's package must not stand in for the peer's.
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), **(environment or {})},
        )
        self.about = self._read()

    def work(self) -> dict[str, Any]:
        """One turn; returns what the side reports, ``seconds`` among it."""
        assert self.process.stdin is not None
        self.process.stdin.write("work\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        from paddlevideo.utils.errors import UserError  # not in a side, which may be the peer's

        raise UserError(f"a side of the benchmark ended early with {self.process.wait()}")

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(work: Callable[[], dict[str, Any]], about: Mapping[str, Any] | None = None) -> None:
    """The other end of ``Side``: works once for warming up, then at every line read."""
    work()
    print(json.dumps(about or {}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        report = work()
        report.setdefault("seconds", time.perf_counter() - start)
        report["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(report), flush=True)


def matrix_peak(size: int = 1024) -> float:
    """GFLOP/s of a float32 matrix product at the current number of threads, best of ten."""
    import paddle

    left, right = paddle.randn([size, size]), paddle.randn([size, size])
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        paddle.matmul(left, right).numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest ratio of paired turns."""
    paired = np.asarray(ours) / np.asarray(theirs)
    return {
        "median": float(np.median(paired)),
        "min": float(paired.min()),
        "max": float(paired.max()),
    }
