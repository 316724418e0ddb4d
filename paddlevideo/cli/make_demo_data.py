"""Makes the demo's data: short videos of moving shapes, and their captions.

    paddlevideo make_demo_data --output data/demo

Renders the clips as .mp4 and .avi files below videos/, and writes what a user brings with videos:
captions.csv of all clips, held_out.txt with the ids of those that are not trained on, valid.csv and
test.csv to test retrieval with; demo.json lists all files. ``paddlevideo extract`` makes features
of them. A folder that holds the same data already stays as it is; data of an older version of this
program are replaced.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import Range, count_or_zero, number

HELP = {
    "train": "clips to train on",
    "valid": "clips to choose a checkpoint with",
    "test": "clips to test retrieval on",
    "frames": "frames of a clip",
    "side": "width and height of a clip, in pixels",
    "seed": "equal seeds give equal data",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return exit_code_of(lambda: make(parse_arguments(arguments)))


def parse_arguments(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns the options of the command line by name."""
    from paddlevideo.demo.build import MINIMUM, Settings

    parser = Parser(description=__doc__)
    parser.add_argument(
        "--output", type=as_path, default=Path("data/demo"), help="default: data/demo"
    )
    parser.add_argument(
        "--workers", type=count_or_zero, default=0, help="processes; default: one a core"
    )
    for field in fields(Settings):
        kind = number(int, Range(at_least=MINIMUM[field.name]))
        text = f"{HELP[field.name]}; default: {field.default}"
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=text)
    return vars(parser.parse_args(arguments))


def make(options: dict[str, Any]) -> None:
    """Makes the data and prints a summary. Raises UserError."""
    from paddlevideo.demo.build import Settings, build

    output, workers = options.pop("output"), options.pop("workers")
    start = time.perf_counter()
    build(output, Settings(**options), workers)
    count = options["train"] + options["valid"] + options["test"]
    print(f"{output}: {count} clips ({time.perf_counter() - start:.0f} s)")
