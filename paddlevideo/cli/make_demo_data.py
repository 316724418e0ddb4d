"""Makes the demo's data: short videos of moving shapes, with captions.

    paddlevideo make_demo_data --output data/demo

Renders clips as .mp4 and .avi files in videos/. Writes captions.csv for all clips, valid.txt and
test.txt with the ids of the clips to keep for validation and test, and demo.json, a list of all
files. Extract features with ``paddlevideo extract``. A folder with the same data is left unchanged;
data of an older version of this program are replaced.
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
    "valid": "clips for choosing a checkpoint",
    "test": "clips for testing retrieval",
    "frames": "frames per clip",
    "side": "width and height of a clip, in pixels",
    "seed": "random seed of the data",
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
        "--workers", type=count_or_zero, default=0, help="processes; default: one per core"
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
