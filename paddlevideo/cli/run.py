"""Trains a model, or tests it, as a YAML file says.

python main.py -c actbert.yaml --validate
python main.py --test -c actbert_msrvtt.yaml -w ActBERT.pdparams
python -m paddle.distributed.launch --gpus 0,1,2,3 main.py --amp -c actbert.yaml
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, add_import, add_override, as_path_text
from paddlevideo.utils.ranges import count, count_or_zero
from paddlevideo.utils.script import AGAIN, ending_at_once

if TYPE_CHECKING:
    from paddlevideo.config import Config

TEST_CONFIG = "actbert_msrvtt.yaml"
#: Options of PaddleVideo's main.py that are not offered, and what to do without them.
PADDLEVIDEO_OPTIONS = {
    "--train": "leave it out: without --test the model is trained",
    "--train_dali": "leave it out: features are read without DALI",
    "--multigrid": "leave it out: it changes the sizes of pictures, and features have none",
    "--use_npu": "leave it out: -o device=cpu or device=gpu chooses the device",
    "--gpus": "it belongs to python -m paddle.distributed.launch, before main.py",
    "--log_dir": "it belongs to python -m paddle.distributed.launch, before main.py",
    "--nproc_per_node": "it belongs to python -m paddle.distributed.launch, before main.py",
    "--eval": "write --test to test weights, or --validate to validate in training",
}
#: After Ctrl-C in a run that has not begun its first step, or in a test.
GOES_ON = "with --resume auto the same command goes on from what is saved"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. Importing this file and printing its help loads no Paddle."""
    parser = Parser(description=__doc__, hints=PADDLEVIDEO_OPTIONS)
    parser.add_argument(
        *("-c", "--config"),
        type=as_path_text,
        metavar="FILE",
        help="YAML file, or its name in configs/",
    )
    add_override(parser)
    parser.add_argument("--test", action="store_true", help="test weights instead of training")
    parser.add_argument(
        *("-w", "--weights"), type=as_path_text, metavar="FILE", help=".pdparams or .safetensors"
    )
    parser.add_argument(
        "--validate", action="store_true", help="test on DATASET.valid as it trains"
    )
    parser.add_argument("--amp", action="store_true", help="train in mixed precision (GPU)")
    parser.add_argument("--amp_level", choices=("O1", "O2"), help="O2: parameters in half too")
    parser.add_argument("--seed", type=count_or_zero, help="seed of everything random")
    parser.add_argument("--max_iters", type=count, help="stop after this many optimizer steps")
    parser.add_argument(
        "--resume",
        metavar="auto",
        nargs="?",
        const="auto",
        help="auto: go on from the newest checkpoint or, in a test, from the rows that are done",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="resume although settings have changed that decide the result",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run whose checkpoints are in output_dir",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="take a few steps, write nothing, tell sizes, memory and time",
    )
    parser.add_argument(
        "--report", type=as_path_text, metavar="FILE.html", help="write a page about a test"
    )
    parser.add_argument(
        "--videos",
        type=as_path_text,
        metavar="FOLDER",
        help="clips or pictures, shown in the report by their ids",
    )
    parser.add_argument("--fleet", action="store_true", help="distribute through Paddle's Fleet")
    parser.add_argument(
        "-p",
        "--profiler_options",
        metavar="OPTIONS",
        help='for example "batch_range=[10,20];profile_path=profile"',
    )
    add_import(parser)
    options = parser.parse_args(arguments)
    options.names_config = bool(options.config)
    if options.test and not options.config:
        options.config = TEST_CONFIG
    if not options.test and (options.report or options.videos):
        parser.error("--report and --videos belong to --test")
    if options.test and options.dry_run:
        parser.error("--dry_run is about training: leave --test out")
    if not options.config:
        parser.error("-c FILE is needed for training (try -c actbert.yaml)")
    return options


def overrides_of(options: argparse.Namespace) -> list[str]:
    """Flags that stand for keys of the configuration; an explicit ``-o`` wins."""
    flags = {"seed": options.seed, "max_iters": options.max_iters, "resume": options.resume}
    flags |= {name: True for name in ("force", "overwrite") if getattr(options, name)}
    if options.amp or options.amp_level:
        flags |= {"amp.enable": True, "amp.level": options.amp_level}
    if not options.test:
        flags |= {name: True for name in ("validate", "fleet") if getattr(options, name)}
        if options.weights:
            flags["weights"] = json.dumps(options.weights, ensure_ascii=False)
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    return given + options.override


def config_beside(weights: str | None) -> str | None:
    """The ``config.yaml`` of the run that wrote ``weights``, if a test can be made by it."""
    from paddlevideo.config import load_config
    from paddlevideo.utils.errors import ConfigError

    given = Path(weights or "")
    path = (given if given.is_dir() else given.parent) / "config.yaml"
    if not weights or not path.is_file():
        return None
    try:
        config = load_config(path)
    except ConfigError:
        return None
    dataset = config.get("DATASET")
    tests = bool(config.get("MODEL")) and isinstance(dataset, dict) and bool(dataset.get("test"))
    return str(path) if tests else None


def import_modules(config: Config, options: argparse.Namespace) -> None:
    """Imports the parts: of a file that was named with -c also those that it asks for."""
    from paddlevideo.config import import_parts, modules_of
    from paddlevideo.utils.errors import ConfigError

    modules = list(dict.fromkeys([*modules_of(config), *options.modules]))
    unasked = [name for name in modules if name not in options.modules]
    if unasked and not options.names_config:
        flags = " ".join(f"--import {name}" for name in unasked)
        raise ConfigError(
            f"{options.config}, beside the weights, asks for modules of its own. They run code: "
            f"if you trust them add {flags}, or name the file with -c"
        )
    if modules:
        config["imports"] = modules
    import_parts(modules)


def run(options: argparse.Namespace) -> None:
    """Loads the parts and the configuration, and does what was asked."""
    sys.path.insert(0, os.getcwd())
    from paddlevideo.config import load_config

    if options.test and not options.names_config:
        beside = config_beside(options.weights)
        options.config = beside or options.config
        where = "from the folder of the weights" if beside else "the default"
        if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
            print(f"configuration: {options.config}, {where}; -c FILE chooses another")
    config = load_config(options.config, options.override_list)
    with ending_at_once():
        import_modules(config, options)
        from paddlevideo import tasks

    if options.test:
        tasks.test(config, options.weights, options.report, options.videos)
    elif options.dry_run:
        tasks.dry_run(config)
    else:
        tasks.train(config, profile=options.profiler_options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 data or weights, 2 configuration."""
    options = parse_arguments(arguments)
    options.override_list = overrides_of(options)
    return exit_code_of(lambda: run(options), again=AGAIN if options.dry_run else GOES_ON)
