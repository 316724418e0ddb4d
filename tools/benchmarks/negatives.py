"""What a training step costs with match negatives, against the same step without."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.recipe import add_recipe, recipe_side
from benchmarks.sides import shown, spread, take_turns

NONE = ("MODEL.match_negatives=0", "MODEL.hard_negatives=0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py negatives``."""
    from paddlevideo.utils.ranges import count

    add_recipe(parser)
    parser.add_argument("--negatives", type=count, default=3, help="of each clip (default 3)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the CPU time of a step with and without, and the ratio in each turn."""
    some = [f"MODEL.match_negatives={options.negatives}"]
    sides = {"without": recipe_side(options, NONE), "with": recipe_side(options, some)}
    turns = take_turns(sides, options.rounds)
    times = {name: [turn["milliseconds"] for turn in done] for name, done in turns.items()}
    return {
        "threads": options.threads,
        "negatives": options.negatives,
        "milliseconds": {name: spread(values) for name, values in times.items()},
        "ratio": spread(np.divide(times["with"], times["without"])),
    }


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(f"CPU time of a training step, {report['threads']} thread(s)")
    for name, values in report["milliseconds"].items():
        print(f"  {name} {report['negatives']} match negatives: {shown(values)} ms")
    print(f"  ratio {shown(report['ratio'], 2).strip()}")
