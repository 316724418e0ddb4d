"""Makes the demo's data: short videos of moving shapes, and features of them.

    paddlevideo make_demo_data --output data/demo

Renders the clips as .mp4 and .avi files, decodes them again, finds regions and motion in them
without any network, and writes what training and testing read: train_data.npy with
caption_train.json, valid.lmdb with valid.csv, test.lmdb with test.csv, and demo.json with all
sizes; for paddlevideo extract captions.csv of all clips, and held_out.txt with the ids of
those that are not trained on. A folder that holds the same data already stays as it is.
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
    """The command line, as the names and values of its options."""
    from paddlevideo.demo.build import LEAST, Settings

    parser = Parser(description=__doc__)
    parser.add_argument(
        "--output", type=as_path, default=Path("data/demo"), help="default: data/demo"
    )
    parser.add_argument(
        "--workers", type=count_or_zero, default=0, help="processes; default: one a core"
    )
    for field in fields(Settings):
        kind = number(int, Range(at_least=LEAST[field.name]))
        text = f"{HELP[field.name]}; default: {field.default}"
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=text)
    return vars(parser.parse_args(arguments))


def make(options: dict[str, Any]) -> None:
    """Makes the data and says what it is. Raises UserError."""
    from paddlevideo.demo.build import Settings, build

    output, workers = options.pop("output"), options.pop("workers")
    start = time.perf_counter()
    summary = build(output, Settings(**options), workers)
    count = options["train"] + options["valid"] + options["test"]
    print(
        f"{output}: {count} clips, regions {summary['v_feature_size']} wide, "
        f"actions {summary['a_feature_size']} wide ({time.perf_counter() - start:.0f} s)"
    )
