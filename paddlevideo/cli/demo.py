"""The main job in a few minutes: render clips, train on them, test retrieval on unseen ones.

    paddlevideo demo

Writes the clips and features to data/demo, weights and results to output/ActBert_demo, and exits
with 1 if the model did not learn (text-to-video R@10 below five times chance).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.cli import make_demo_data, report
from paddlevideo.cli import run as command
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import UserError
from paddlevideo.utils.options import Parser, as_path

CONFIG = "actbert_demo.yaml"
BAR = 5.0  # times chance


def run(data: Path, output: Path, extra: list[str], sizes: Sequence[str] = ()) -> float:
    """Runs all four steps; returns text-to-video R@10 over chance.

    ``extra``: overrides of the configuration; ``sizes``: arguments of make_demo_data.py.
    """
    overrides = ["-o", f"output_dir={output}", *paths_in(data), *extra]
    steps = [
        ("render clips", make_demo_data.main, ["--output", str(data), *sizes]),
        # Each demo starts from the beginning, also where one has been before.
        ("train", command.main, ["-c", CONFIG, "--validate", "--overwrite", *overrides]),
        (
            "test on clips that it did not train on",
            command.main,
            ["--test", "-c", CONFIG, "-w", str(output / "ActBert_demo_best.pdparams"), *overrides],
        ),
        (
            "draw the results",
            report.picture,
            [
                "--scores",
                str(output / "scores.npz"),
                "--videos",
                str(data / "videos"),
                "--output",
                str(output / "retrieval.png"),
            ],
        ),
    ]
    for number, (title, step, arguments) in enumerate(steps, start=1):
        print(f"\n== {number}/{len(steps)} {title}", flush=True)
        if code := step(arguments):
            sys.exit(code)
    results = json.loads((output / "results.json").read_text())
    found = results["text_to_video"]["R@10"]
    return found / results["chance"]["text_to_video"]["R@10"]


def paths_in(data: Path) -> list[str]:
    """What the configuration's data paths become for another folder."""
    return [
        f"DATASET.train.file_path={data / 'train_data.npy'}",
        f"PIPELINE.train.transform.1.RandomCap.caption_path={data / 'caption_train.json'}",
        *(f"DATASET.{s}.file_path={data / s}.csv" for s in ("valid", "test")),
        *(f"DATASET.{s}.features_path={data / s}.lmdb" for s in ("valid", "test")),
    ]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data", type=as_path, default=Path("data/demo"))
    parser.add_argument("--output", type=as_path, default=Path("output/ActBert_demo"))
    parser.add_argument("-o", "--override", nargs="+", action="extend", default=[])
    return parser.parse_args(arguments)


def demonstrate(options: argparse.Namespace) -> None:
    """Runs the steps and says what came out. Raises UserError if the model did not learn."""
    start = time.perf_counter()
    ratio = run(options.data, options.output, options.override)
    print(f"\nR@10 is {ratio:.1f} times chance; {time.perf_counter() - start:.0f} seconds in all.")
    print("Written:")
    for path in (
        options.data / "videos",
        options.output / "ActBert_demo_best.pdparams",
        options.output / "results.json",
        options.output / "retrieval.png",
    ):
        print(f"  {path}")
    if ratio < BAR:
        raise UserError(f"the model did not learn: {BAR:.0f} times chance was expected")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: demonstrate(options))
