"""Processes that take turns, so that all are measured at nearly the same time."""

from __future__ import annotations

import argparse
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
#: The full-size recipe as it is shipped, whatever the current folder's `configs` has.
FULL_SIZE = str(ROOT / "configs" / "multimodal" / "actbert" / "actbert.yaml")


def add_turns(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a comparison with PaddleVideo."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count

    parser.add_argument("--rounds", type=count, default=5, help="turns of each side (default 5)")
    parser.add_argument("--no_peer", action="store_true", help="measure this project alone")
    parser.add_argument(
        "--peer", type=as_path, default=Path("build/peer"), help="where ppvideo goes"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the processes of both sides."""
    from paddlevideo.utils.ranges import count

    parser.add_argument("--threads", type=count, default=2, help="on both sides (default 2)")
    parser.add_argument(
        "--tune_peer", action="store_true", help="give the peer this project's process settings"
    )


class Side:
    """One side of a comparison: a process that works whenever it is asked to."""

    def __init__(self, module: str, side: str, options: argparse.Namespace, **more: Any) -> None:
        """Starts ``side`` of a module with the options and waits until it is ready."""
        from benchmarks.peer import TUNED

        given = json.dumps({**vars(options), **more}, default=str)
        tuned = TUNED if side == "peer" and getattr(options, "tune_peer", False) else {}
        # A bare interpreter: this project's package must not stand in for the peer's.
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, side, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), **tuned},
        )
        self.about = self._read()

    def work(self) -> dict[str, Any]:
        """Takes one turn; returns what the side reports, ``seconds`` among it."""
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


def take_turns(sides: Mapping[str, Side], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Returns the reports of all turns of each side, and ends the sides."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            turns[name].append(side.work())
    for side in sides.values():
        side.close()
    return turns


# --------------------------------------------------------------- in the process of a side


def run_side(**sides: Callable[[argparse.Namespace], None]) -> None:
    """Runs the side that the command line names, with the options that :class:`Side` gives it."""
    name, options = sys.argv[1:]
    sides[name](argparse.Namespace(**json.loads(options)))


def serve(work: Callable[[], dict[str, Any]], about: Mapping[str, Any] | None = None) -> None:
    """Works once for warming up, then for every line of standard input."""
    work()
    print(json.dumps(about or {}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        report = work()
        report.setdefault("seconds", time.perf_counter() - start)
        report["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(report), flush=True)


def matrix_peak(size: int = 1024) -> float:
    """Returns GFLOP/s of a float32 matrix product with the current threads, the best of ten."""
    import paddle

    left, right = paddle.randn([size, size]), paddle.randn([size, size])
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        paddle.matmul(left, right).numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


# -------------------------------------------------------------------------------- reports


def add_speeds(report: dict[str, Any], unit: str, speeds: Mapping[str, Sequence[float]]) -> None:
    """Adds the speeds of each side, and the ratio of this project's to the peer's in each turn."""
    for name, values in speeds.items():
        report.setdefault(name, {})[f"{unit}_per_second"] = spread(values)
    if "peer" in speeds:
        report["ratio"] = spread(np.divide(speeds["ours"], speeds["peer"]))


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Returns median, minimum and maximum."""
    return {
        "median": float(np.median(values)),
        "min": float(min(values)),
        "max": float(max(values)),
    }


def shown(values: Mapping[str, float], digits: int = 1) -> str:
    """Returns median and range as text."""
    return (
        f"{values['median']:6.{digits}f} ({values['min']:.{digits}f} to {values['max']:.{digits}f})"
    )


def show_sides(report: Mapping[str, Any], unit: str, notes: Mapping[str, str]) -> None:
    """Prints the speed and a note of each side, and the ratio."""
    for name, note in notes.items():
        speed = shown(report[name][f"{unit}_per_second"], 2 if unit == "samples" else 1)
        print(f"  {name.replace('_', ' ')}: {speed} {unit}/s{note}")
    if "ratio" in report:
        print(f"  ratio {shown(report['ratio'], 2).strip()}")
