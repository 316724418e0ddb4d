"""What a training step asks of the host: operators, copies to the device, and waits for it.

A GPU computes while the host prepares the operators that follow, so a step that is small for the
GPU takes as long as the host needs to start its operators. Here the full depth of ActBERT at tiny
widths takes the code's way for GPUs, on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.recipe import quiet_trainer
from benchmarks.sides import FULL_SIZE, ROOT
from benchmarks.train_batches import Clips, drawn_captions, write_rows

PARTS = ("input", "forward", "backward", "gradient norm", "optimizer", "other")
#: Names of spans in a trace.
PART, DENSE = "part:", "dense layer"
#: Functions that read a tensor, for which a host waits until a GPU has computed it.
READS = ("numpy", "item", "tolist", "__array__", "__float__", "__int__", "__bool__")
WIDTH, CLASSES, BATCH = 24, 9, 2
WIDTHS = [
    f"MODEL.backbone.{name}={WIDTH}"
    for name in (
        *(f"{stream}hidden_size" for stream in ("", "v_", "a_", "bi_")),
        *(f"{stream}intermediate_size" for stream in ("", "v_", "a_")),
        "v_feature_size",
        "a_feature_size",
    )
]
HEAD = "MODEL.retrieval_head={name: RetrievalHead, width: 8}"
#: Overrides of the shipped recipe, by the name of a case.
CASES: dict[str, list[str]] = {
    "float32": [],
    "hard negatives": ["MODEL.match_negatives=3", "MODEL.hard_negatives=1", HEAD],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py host``."""
    from paddlevideo.utils.ranges import count

    parser.add_argument("--steps", type=count, default=20, help="steps to time (default 20)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the counts and milliseconds of each part of a step, for each case."""
    report = {name: measure(overrides, options.steps) for name, overrides in CASES.items()}
    report["two processes"] = measure_two_processes(options.steps)
    report["mixed precision, O1"] = with_casts(report["float32"], casts_of_step())
    return report


def measure(overrides: Sequence[str], steps: int, folder: Path | None = None) -> dict[str, Any]:
    """Returns the ``counts`` of a step, by kind and part, and the ``milliseconds`` of its parts.

    ``folder``: where this process writes; by default a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary, as_on_gpu():
        folder = folder or Path(temporary)
        trainer, window = tiny_trainer(folder, overrides)
        for _ in range(2):  # the first steps make the optimizer's arrays
            trainer.train_step(window)
        counts = counts_of_step(trainer, window, folder / "trace.json")
        times = [times_of_step(trainer, window) for _ in range(steps)]
    return {
        "counts": counts,
        "milliseconds": {part: float(np.median([t[part] for t in times])) for part in PARTS},
    }


def measure_two_processes(steps: int) -> dict[str, Any]:
    """Returns what :func:`measure` returns on the first of two processes, which use gloo."""
    with tempfile.TemporaryDirectory() as folder:
        launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", folder]
        done = subprocess.run(
            [sys.executable, *launch, __file__, folder, str(steps)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")])},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"two processes: {(done.stdout + done.stderr)[-2000:]}")
        return json.loads((Path(folder) / "0" / "measured.json").read_text())


def measure_rank(folder: Path, steps: int) -> None:
    """Measures in one of several processes, which write into folders of their own."""
    from paddlevideo.runtime import World

    own = folder / str(World().rank)
    own.mkdir()
    (own / "measured.json").write_text(json.dumps(measure([], steps, own)))


def casts_of_step() -> dict[str, int]:
    """Returns the casts that autocast adds to a bfloat16 step at level O1, by part.

    Counted by an emulation, because Paddle's CPU kernels have no bfloat16. Paddle keeps no cast
    weight for another use, and casts gradients back.
    """
    from gpu_checks.half_types import emulated_half_precision

    mixed = ["amp.enable=True", "amp.level=O1", "amp.dtype=bfloat16"]
    with tempfile.TemporaryDirectory() as folder, emulated_half_precision() as tracer:
        trainer, window = tiny_trainer(Path(folder), mixed)
        trainer.train_step(window)
        tracer.casts.clear()
        trainer.train_step(window)
        with_gradient = tracer.casts[True]
    return {"forward": tracer.casts[False] + with_gradient, "backward": with_gradient}


def with_casts(measured: Mapping[str, Any], casts: Mapping[str, int]) -> dict[str, Any]:
    """Returns the counts of ``measured`` with ``casts`` added to the operators; no times."""
    counts = {kind: dict(parts) for kind, parts in measured["counts"].items()}
    for part, number in casts.items():
        counts["operators"][part] += number
    return {"counts": counts, "milliseconds": {}}


def tiny_trainer(folder: Path, overrides: Sequence[str] = ()) -> tuple[Any, list[Any]]:
    """Returns a trainer of the shipped recipe at tiny widths, and the window of a step."""
    captions = drawn_captions(np.random.default_rng(0), 20)
    write_rows(folder / "rows.npy", Clips(captions, WIDTH, CLASSES))
    (folder / "captions.json").write_text(json.dumps(captions))
    data = [
        f"DATASET.train.file_path={folder / 'rows.npy'}",
        f"PIPELINE.train.transform.1.RandomCap.caption_path={folder / 'captions.json'}",
        "DATASET.num_workers=0",
        f"DATASET.batch_size={BATCH}",
        f"MODEL.backbone.v_target_size={CLASSES}",
        "num_threads=1",
    ]
    trainer = quiet_trainer(FULL_SIZE, [*data, *WIDTHS, *overrides], folder / "run")
    trainer.model.train()
    return trainer, list(islice(trainer.loader.epoch(0), 1))


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Takes the package's way for GPUs within this context, on a CPU."""
    import paddle

    from paddlevideo.modeling import layers
    from paddlevideo.tasks import setup

    with ExitStack() as stack:
        stack.enter_context(patch.object(setup, "select_device", lambda name: "cpu"))
        stack.enter_context(patch.object(paddle.device, "get_device", lambda: "gpu:0"))
        stack.enter_context(patch.object(paddle.device, "synchronize", lambda: None))
        stack.enter_context(patch.object(paddle, "set_device", lambda name: None))
        stack.enter_context(patch.object(layers.Linear, "forward", dense))
        yield


def dense(layer: Any, x: Any) -> Any:
    """Computes a dense layer as on a GPU, and marks in a trace that it is one operator there.

    Paddle 3 splits it into a product and a sum on CPUs only, Paddle 2 everywhere.
    """
    import paddle
    from paddle.profiler import RecordEvent

    from paddlevideo.modeling.layers import PADDLE_RELEASE

    if PADDLE_RELEASE < 3:
        return paddle.nn.Linear.forward(layer, x)
    with RecordEvent(DENSE if paddle.is_grad_enabled() else f"{DENSE} without gradient"):
        return paddle.nn.Linear.forward(layer, x)


@contextmanager
def parts_of_step(trainer: Any, enter: Callable[[str], Any]) -> Iterator[None]:
    """Calls the context ``enter(part)`` around each part of the steps taken within."""
    from paddlevideo.modeling.framework import actbert

    functions = [
        (actbert, "to_tensors", "input"),
        (trainer.model, "forward", "forward"),
        (trainer.updater, "backward", "backward"),
        (trainer.updater, "gradient_norm", "gradient norm"),
        (trainer.updater, "step", "optimizer"),
        (trainer, "train_step", "other"),
    ]

    def within(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run_part(*arguments: Any, **options: Any) -> Any:
            with enter(part):
                return function(*arguments, **options)

        return run_part

    with ExitStack() as stack:
        for owner, name, part in functions:
            changed = within(part, getattr(owner, name))
            stack.enter_context(patch.object(owner, name, changed))
        yield


def times_of_step(trainer: Any, window: Sequence[Any]) -> dict[str, float]:
    """Returns the milliseconds of process time of each part of a step, without those inside it."""
    spent, inside = Counter(dict.fromkeys(PARTS, 0.0)), [0.0]

    @contextmanager
    def enter(part: str) -> Iterator[None]:
        inside.append(0.0)
        start = time.process_time()
        yield
        seconds = time.process_time() - start
        spent[part] += 1e3 * (seconds - inside.pop())
        inside[-1] += seconds

    with parts_of_step(trainer, enter):
        trainer.train_step(window)
    return dict(spent)


def counts_of_step(trainer: Any, window: Sequence[Any], trace: Path) -> dict[str, dict[str, int]]:
    """Returns the ``operators``, ``copies`` and ``waits`` of each part of a step."""
    import paddle
    from paddle.profiler import Profiler, ProfilerTarget, RecordEvent

    current, copies, waits = [], Counter(), Counter()

    @contextmanager
    def enter(part: str) -> Iterator[None]:
        current.append(part)
        with RecordEvent(f"{PART}{part}"):
            yield
        current.pop()

    def export(profiler: Any) -> None:
        profiler.export(str(trace), "json")

    profiler = Profiler(targets=[ProfilerTarget.CPU], on_trace_ready=export)
    with ExitStack() as stack:
        stack.enter_context(parts_of_step(trainer, enter))
        stack.enter_context(counted(paddle, ["to_tensor"], current, copies))
        stack.enter_context(counted(paddle.Tensor, ["set_value"], current, copies))
        stack.enter_context(counted(paddle.Tensor, READS, current, waits))
        profiler.start()
        trainer.train_step(window)
        profiler.stop()
    events = json.loads(trace.read_text())["traceEvents"]
    counts = {"operators": operators_by_part(events), "copies": copies, "waits": waits}
    return {kind: {part: count[part] for part in PARTS} for kind, count in counts.items()}


@contextmanager
def counted(
    owner: Any, names: Sequence[str], current: Sequence[str], counts: Counter[str]
) -> Iterator[None]:
    """Counts the calls of functions in the innermost current part, but not of one in another."""
    depth = [0]

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[current[-1]] += depth[0] == 0
            depth[0] += 1
            try:
                return function(*arguments, **options)
            finally:
                depth[0] -= 1

        return call

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(owner, name, counting(getattr(owner, name))))
        yield


def operators_by_part(events: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Returns the number of operators within each part of a trace, a dense layer as one."""
    named = [(event.get("name", "").split("[")[0], event) for event in events]
    spans = [
        (event["ts"], event["ts"] + event["dur"], name.removeprefix(PART))
        for name, event in named
        if name.startswith(PART)
    ]
    counts: Counter[str] = Counter()
    for name, event in named:
        is_dense = name.startswith(DENSE)
        if event.get("cat") == "Operator" or is_dense:
            part = max(span for span in spans if span[0] <= event["ts"] <= span[1])[2]
            counts[part] += -1 if is_dense else 1
            counts["backward"] -= name == DENSE
    return counts


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    for case, measured in report.items():
        counts, times = measured["counts"], measured["milliseconds"]
        print(f"{case:19s} {'operators':>10s} {'copies':>8s} {'waits':>8s} {'CPU ms':>8s}")
        for part in PARTS:
            row = [counts[kind][part] for kind in counts]
            print(f"  {part:17s} {row[0]:10d} {row[1]:8d} {row[2]:8d} {shown(times.get(part)):>8s}")
        sums = [sum(each.values()) for each in counts.values()]
        total = shown(sum(times.values()) if times else None)
        print(f"  {'all':17s} {sums[0]:10d} {sums[1]:8d} {sums[2]:8d} {total:>8s}")


def shown(milliseconds: float | None) -> str:
    """Formats a time, if there is one."""
    return "" if milliseconds is None else f"{milliseconds:.1f}"


if __name__ == "__main__":
    measure_rank(Path(sys.argv[1]), int(sys.argv[2]))
