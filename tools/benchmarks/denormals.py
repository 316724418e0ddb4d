"""What denormal numbers cost: steps from old moments and trained weights, kept against flushed."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.recipe import KEEP_DENORMALS, add_recipe, recipe_side
from benchmarks.sides import Side, run_side, serve, shown, spread, take_turns

WORDS, WIDTH = 6000, 768
KEPT = {"kept": True, "flushed": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py denormals``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count

    add_recipe(parser)
    parser.add_argument(
        "-w", "--weights", type=as_path, required=True,
        help="what the recipe has trained; moments are read from the .pdopt beside them",
    )  # fmt: skip
    parser.add_argument(
        "--unused", type=count, default=850, help="steps in which words do not occur (default 850)"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the CPU time of three kinds of step, and whether losses differ."""
    unused = {
        name: Side("benchmarks.denormals", "table", options, keep_denormals=keep)
        for name, keep in KEPT.items()
    }
    report = {"threads": options.threads, "unused": options.unused}
    report["table"] = compared(take_turns(unused, options.rounds))
    starts = {"fresh": None, "trained": options.weights.resolve()}
    sides = {
        f"{start} {name}": recipe_side(options, weights=weights, keep_denormals=keep)
        for start, weights in starts.items()
        for name, keep in KEPT.items()
    }
    turns = take_turns(sides, options.rounds)
    for start in starts:
        report[start] = compared({name: turns[f"{start} {name}"] for name in KEPT})
    return report


def compared(turns: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns the milliseconds of both sides, kept over flushed in each turn, and the losses'
    largest relative difference.
    """
    times = {name: [turn["milliseconds"] for turn in done] for name, done in turns.items()}
    kept, flushed = (
        np.array([turn["losses"] for turn in turns[name]]) for name in ("kept", "flushed")
    )
    return {
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratio": spread(np.divide(times["kept"], times["flushed"])),
        "loss_difference": float(np.max(abs(kept - flushed) / abs(flushed))),
    }


def serve_table(options: argparse.Namespace) -> None:
    """AdamW steps over an embedding, of which one word has a gradient and the others had one.

    The first moment of a word that no longer occurs is 0.9^n of what it was. Below 1.2e-38 it is a
    denormal, and it never ends: at half the smallest one, rounding brings it back.
    """
    os.environ[KEEP_DENORMALS] = str(int(options.keep_denormals))
    import paddle

    from paddlevideo.runtime import use_threads
    from paddlevideo.runtime.precision import LossScaler
    from paddlevideo.solver import build_optimizer, build_schedule
    from paddlevideo.solver.updater import Updater

    use_threads(options.threads)
    paddle.seed(0)
    table = paddle.nn.Embedding(WORDS, WIDTH)
    settings = {"name": "AdamW", "learning_rate": 1e-4, "weight_decay": 0.01}
    schedule = build_schedule(settings["learning_rate"], 1, 1)
    optimizer = build_optimizer(settings, schedule, table)
    updater = Updater(optimizer, schedule, LossScaler(False, 1.0))

    def loss_of(words: Any) -> float:
        loss = table(words).square().sum()
        updater.backward(loss)
        return float(loss)

    everything, one = paddle.arange(WORDS), paddle.zeros([1], "int64")
    loss_of(everything)
    updater.step()

    def step() -> tuple[float, float]:
        loss = loss_of(one)
        start = time.process_time()
        updater.step()
        return time.process_time() - start, loss

    for _ in range(options.unused):
        step()

    def work() -> dict[str, Any]:
        seconds, losses = zip(*(step() for _ in range(options.steps)), strict=True)
        return {"milliseconds": 1e3 * float(np.mean(seconds)), "losses": losses}

    serve(work)


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(f"CPU time of a step, {report['threads']} thread(s), denormals kept against flushed")
    names = {
        "table": f"AdamW, ({WORDS}, {WIDTH}) after {report['unused']} steps without a gradient",
        "fresh": "the recipe from fresh weights",
        "trained": "the recipe from trained weights",
    }
    for key, name in names.items():
        kept, flushed = (shown(report[key]["milliseconds"][side]) for side in KEPT)
        print(
            f"  {name}: {kept.strip()} against {flushed.strip()} ms, ratio "
            f"{shown(report[key]['ratio'], 2).strip()}; losses differ by at most "
            f"{report[key]['loss_difference']:.1e}"
        )


if __name__ == "__main__":
    run_side(table=serve_table)
