"""Checks this project on a GPU, or what a CPU can check of it.

    python tools/test_gpu.py --json output/test_gpu.json

Each check runs in a process of its own: one that crashes or hangs does not stop the others. The
exit code is 1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.sides import ROOT
from gpu_checks.attention import attention
from gpu_checks.precision import float32, half
from gpu_checks.result import FAILED, Check, Place, Result, skipped
from gpu_checks.resume import resume
from gpu_checks.retrieval import retrieval
from gpu_checks.speed import speed
from gpu_checks.two_cards import two_cards
from gpu_checks.updates import updates
from gpu_checks.versions import versions
from paddlevideo.doctor.packages import graphics_cards
from paddlevideo.files.whole import read_json, write_json_whole
from paddlevideo.files.writable import check_file
from paddlevideo.utils.children import terminable
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import positive

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (versions, float32, half, attention, updates, resume, two_cards, retrieval, speed)
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = Parser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--only", choices=CHECKS, help="run one check, in this process")
    parser.add_argument("--minutes", type=positive, default=8.0, help="for all checks (default 8)")
    parser.add_argument("--json", type=as_path, metavar="FILE", help="also write the results here")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Runs the checks, shows each result, and returns 1 if one failed, else 0."""
    check_file(options.json, "--json")
    if options.device == "auto":
        check_paddle()
    began = time.monotonic()
    results = []
    for result in one(options) if options.only else all_checks(options, began):
        print(line(result), flush=True)
        results.append(result)
    failed = sum(result.verdict.startswith(FAILED) for result in results)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_json_whole(options.json, [asdict(result) for result in results])
    if not options.only:
        print(f"\n{failed} of {len(results)} failed, in {time.monotonic() - began:.0f} s")
    return int(failed > 0)


def line(result: Result) -> str:
    """Returns a line of the table."""
    return f"{result.name:48s} {result.measured:>28s} {result.bound:>10s}  {result.verdict}"


def one(options: argparse.Namespace) -> Iterator[Result]:
    """Yields the results of one check, run here."""
    yield from results_of(CHECKS[options.only], place_of(options.device))


def check_paddle() -> None:
    """Raises ConfigError if there are GPUs and this Paddle uses none."""
    cards = graphics_cards()
    if cards and place_of("auto").device == "cpu":
        raise ConfigError(
            f"the driver lists {len(cards)} GPU(s), {cards[0]} first, and this Paddle uses none: "
            "install paddlepaddle-gpu (docs/install.md), see CUDA_VISIBLE_DEVICES, or pass "
            "--device cpu"
        )


def place_of(device: str) -> Place:
    """Returns where the checks run: on a GPU if Paddle finds one, unless ``device`` is "cpu"."""
    import paddle

    if device == "cpu" or not paddle.device.is_compiled_with_cuda():
        return Place("cpu")
    cards = paddle.device.cuda.device_count()
    return Place("gpu", cards, large=True) if cards else Place("cpu")


def results_of(check: Check, place: Place) -> Iterator[Result]:
    """Yields the results of a check; an error is the last one."""
    try:
        yield from check(place)
    except Exception as error:
        lines = [text.strip() for text in str(error).splitlines() if text.strip()] or [""]
        yield Result(check.__name__, "", "", f"{FAILED}: {type(error).__name__}: {lines[-1]:.200}")


def all_checks(options: argparse.Namespace, began: float) -> Iterator[Result]:
    """Yields the results of all checks, each run in a process with the time that is left."""
    for name in CHECKS:
        left = 60 * options.minutes - (time.monotonic() - began)
        if left <= 0:
            yield skipped(name, f"the {options.minutes:g} minutes are over")
        else:
            yield from in_process(name, options.device, left)


def in_process(name: str, device: str, seconds: float) -> Iterator[Result]:
    """Yields the results of a check that runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "results.json"), Path(folder, "output.txt")
        script = str(ROOT / "tools" / "test_gpu.py")
        command = [sys.executable, script, "--only", name, "--device", device, "--json", str(path)]
        with output.open("wb") as file:
            code = call(command, file, seconds)
        results = read_json(path)
        if isinstance(results, list):
            yield from (Result(**result) for result in results)
            return
        lines = output.read_text(errors="replace").splitlines()
        last = next((text for text in reversed(lines) if text.strip()), "no output")
        why = f"not done in {seconds:.0f} s" if code is None else f"exit code {code}: {last:.200}"
        yield Result(name, "", "", f"{FAILED}: {why}")


def call(command: list[str], output: Any, seconds: float) -> int | None:
    """Returns the exit code of a command; ends it, and what it started, after some seconds."""
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        with terminable():
            return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its group; a launcher among them has time to end its ranks."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(ProcessLookupError):  # all of them have ended
        for _ in range(400):
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
