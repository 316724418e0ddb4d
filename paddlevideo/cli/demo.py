"""Renders clips, extracts features, trains and tests on unseen clips, in a few minutes.

    paddlevideo demo

Runs the same commands as for your own videos. Writes clips and features to data/demo, weights and
results to output/ActBert_demo. Exits with 1 if the model did not learn (text-to-video R@10 below
five times chance).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from paddlevideo.cli import extract_features, make_demo_data, report, split
from paddlevideo.cli import run as command
from paddlevideo.demo.confusions import print_confusions
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.options import Parser, add_override, as_path

CONFIG = "actbert_demo.yaml"
SENTENCE = "a green triangle shrinks"
LEAST_RATIO = 5.0  # minimum of R@10 / chance

Step = tuple[str, Callable[[Sequence[str]], int], list[str]]


def run(data: Path, output: Path, extra: Sequence[str], sizes: Sequence[str] = ()) -> float:
    """Runs all steps; returns text-to-video R@10 divided by chance.

    ``extra``: overrides of the configuration; ``sizes``: options of ``paddlevideo make_demo_data``.
    """
    overrides = ["-o", f"output_dir={output}", *paths_in(data), *extra]
    steps = _steps(data, output, overrides, sizes)
    for position, (title, step, arguments) in enumerate(steps, start=1):
        print(f"\n== {position}/{len(steps)} {title}", flush=True)
        started = time.perf_counter()
        if code := step(arguments):
            sys.exit(code)
        print(f"({title}: {time.perf_counter() - started:.0f} s)", flush=True)
    results = json.loads((output / "results.json").read_text())
    recall = results["text_to_video"]["R@10"]
    return recall / results["chance"]["text_to_video"]["R@10"]


def _steps(data: Path, output: Path, overrides: list[str], sizes: Sequence[str]) -> list[Step]:
    """Returns title, command and arguments of each step."""
    videos, store = str(data / "videos"), str(data / "clips.store")
    inputs = ["--captions", str(data / "captions.csv")]
    lists = [word for name in ("valid", "test") for word in held_out(data, name)]
    test = ["--test", "-c", CONFIG, "-w", str(best_weights(output))]
    drawn = ["--scores", str(output / "scores.npz"), "--output", str(output / "retrieval.png")]
    return [
        ("render clips", make_demo_data.main, ["--output", str(data), *sizes]),
        ("extract features", extract_features.main, [videos, *inputs, "--output", store]),
        ("split", split.main, [store, *lists]),
        # A demo always starts over, even if there is an earlier one.
        ("train", command.main, ["-c", CONFIG, "--validate", "--overwrite", *overrides]),
        ("test on unseen clips", command.main, [*test, *overrides]),
        ("draw the results", report.picture, [*drawn, "--videos", videos]),
    ]


def held_out(data: Path, name: str) -> list[str]:
    """Returns the option of ``paddlevideo split`` with the clips for valid or test."""
    return [f"--{name}_list", str(data / f"{name}.txt")]


def best_weights(output: Path) -> Path:
    """Returns the path of the best weights that training writes."""
    return output / "ActBert_demo_best.pdparams"


def paths_in(data: Path) -> list[str]:
    """Returns the override for the data of the configuration."""
    return [f"data={data / 'clips.store'}"]


def search_command(data: Path, output: Path) -> str:
    """Returns a command that finds clips by a sentence."""
    python = min(sys.executable, os.path.relpath(sys.executable), key=len)
    words = [python, "-m", "paddlevideo", "search", "-w", str(best_weights(output))]
    return shlex.join([*words, "--features", str(data / "clips.store"), SENTENCE])


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = Parser(description=__doc__)
    data, output = Path("data/demo"), Path("output/ActBert_demo")
    parser.add_argument(
        "--data", type=as_path, default=data, metavar="FOLDER",
        help=f"for videos and features, by default {data}",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=as_path, default=output, metavar="FOLDER",
        help=f"for weights and results, by default {output}",
    )  # fmt: skip
    add_override(parser)
    return parser.parse_args(arguments)


def demonstrate(options: argparse.Namespace) -> None:
    """Runs the steps and prints the outcome. Raises UserError if the model did not learn."""
    start = time.perf_counter()
    ratio = run(options.data, options.output, options.override)
    print(f"\nR@10 is {ratio:.1f} times chance; {time.perf_counter() - start:.0f} seconds in all.")
    print_confusions(options.output / "scores.npz")
    results = [options.output / name for name in ("results.json", "retrieval.png")]
    data = [options.data / name for name in ("videos", "clips.store")]
    print("Written:", *data, best_weights(options.output), *results, sep="\n  ")
    if ratio < LEAST_RATIO:
        raise UserError(
            f"the model did not learn: expected at least {LEAST_RATIO:.0f} times chance"
        )
    print(f"Find clips by a sentence:\n  {search_command(options.data, options.output)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: demonstrate(options))
