"""Trains or tests the model of a YAML file.

python main.py -c actbert.yaml --validate
python main.py --test -c actbert_msrvtt.yaml -w ActBERT.pdparams
python -m paddle.distributed.launch --gpus 0,1,2,3 main.py --amp -c actbert.yaml
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from paddlevideo.utils.command import STARTS_OVER, exit_code_of, exit_on_interrupt
from paddlevideo.utils.log import run_in_format
from paddlevideo.utils.options import (
    Parser,
    add_import,
    add_log_format,
    add_override,
    as_path_text,
)
from paddlevideo.utils.ranges import count, count_or_zero

if TYPE_CHECKING:
    from paddlevideo.config import Config

TEST_CONFIG = "actbert_msrvtt.yaml"
DESCRIPTIONS = {
    None: __doc__,
    "train": """Trains the model of a YAML file.

paddlevideo train -c actbert.yaml --validate
python -m paddle.distributed.launch --gpus 0,1,2,3 paddlevideo train -c actbert.yaml --amp
""",
    "test": """Tests weights, by default of ActBERT on text-video retrieval on MSR-VTT.

paddlevideo test -w ActBERT.pdparams
paddlevideo test -c actbert_demo.yaml -w output/ActBert_demo --report page.html
""",
}
#: Options of PaddleVideo's main.py that do not exist here, and what to do instead.
PADDLEVIDEO_OPTIONS = {
    "--train": "leave it out: without --test the model is trained",
    "--train_dali": "leave it out: features are read without DALI",
    "--multigrid": "leave it out: it changes the sizes of frames, but the input is features",
    "--use_npu": "leave it out: -o device=cpu or device=gpu chooses the device",
    "--gpus": "it is an option of python -m paddle.distributed.launch, before main.py",
    "--log_dir": "it is an option of python -m paddle.distributed.launch, before main.py",
    "--nproc_per_node": "it is an option of python -m paddle.distributed.launch, before main.py",
    "--eval": "use --test to test weights, or --validate to validate during training",
}
#: The advice after Ctrl-C before the first step of a run, or in a test.
CONTINUES = "to continue, run the same command with --resume auto"

Job = Literal["train", "test"]
#: Options of one of the jobs: names and keyword arguments of ``add_argument``.
TRAINING: dict[tuple[str, ...], dict[str, Any]] = {
    ("--validate",): {"action": "store_true", "help": "test on DATASET.valid while training"},
    ("--max_iters",): {"type": count, "help": "stop after this many optimizer steps"},
    ("--dry_run",): {
        "action": "store_true",
        "help": "take a few steps and print sizes, memory and time; write nothing",
    },
    ("--fleet",): {"action": "store_true", "help": "use Paddle's Fleet for several processes"},
    ("-p", "--profiler_options"): {
        "metavar": "OPTIONS",
        "help": 'for example "batch_range=[10,20];profile_path=profile"',
    },
}
TESTING: dict[tuple[str, ...], dict[str, Any]] = {
    ("--report",): {
        "type": as_path_text,
        "metavar": "FILE.html",
        "help": "write a web page with the results",
    },
    ("--videos",): {
        "type": as_path_text,
        "metavar": "FOLDER",
        "help": "clips or pictures for the report, named by clip id",
    },
}


def parse_arguments(
    arguments: Sequence[str] | None = None, job: Job | None = None
) -> argparse.Namespace:
    """Parses the command line of ``paddlevideo train`` or ``test``, or of main.py, with both.

    Does not load Paddle.
    """
    parser = Parser(description=DESCRIPTIONS[job], hints=_hints(job))
    _add_shared_options(parser)
    if job is None:
        parser.add_argument("--test", action="store_true", help="test weights instead of training")
    for other, specific in (("test", TRAINING), ("train", TESTING)):
        for names, settings in specific.items():
            if job != other:
                parser.add_argument(*names, **settings)
            else:
                parser.set_defaults(**{names[-1].removeprefix("--"): None})
    parser.set_defaults(test=job == "test")
    options = parser.parse_args(arguments)
    options.names_config = bool(options.config)
    if options.test and not options.config:
        options.config = TEST_CONFIG
    if not options.test and (options.report or options.videos):
        parser.error("--report and --videos belong to --test")
    if options.test and options.dry_run:
        parser.error("--dry_run is for training: leave out --test")
    if not options.config:
        parser.error("training needs -c FILE (try -c actbert.yaml)")
    return options


def _hints(job: Job | None) -> dict[str, str]:
    """Returns advice for options of the other job and of PaddleVideo's main.py."""
    if job is None:
        return PADDLEVIDEO_OPTIONS
    other, options = ("test", TESTING) if job == "train" else ("train", TRAINING)
    theirs = [f"--{other}", *(name for names in options for name in names)]
    hints = dict.fromkeys(theirs, f"it is an option of paddlevideo {other}")
    return PADDLEVIDEO_OPTIONS | hints | {f"--{job}": "leave it out: the verb implies it"}


def _add_shared_options(parser: Parser) -> None:
    parser.add_argument(
        *("-c", "--config"),
        type=as_path_text,
        metavar="FILE",
        help="YAML file, or its name in configs/",
    )
    add_override(parser)
    parser.add_argument(
        *("-w", "--weights"), type=as_path_text, metavar="FILE", help=".pdparams or .safetensors"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (GPU)")
    parser.add_argument(
        "--amp_level",
        choices=("O1", "O2"),
        help="implies --amp; O2: parameters in half precision too",
    )
    parser.add_argument("--seed", type=count_or_zero, help="seed of all random numbers")
    parser.add_argument(
        "--resume",
        metavar="auto",
        nargs="?",
        const="auto",
        help="auto: continue from the newest checkpoint or, in a test, from saved predictions",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="resume even if settings that affect results have changed",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the run in output_dir")
    add_import(parser)
    add_log_format(parser)


def overrides_of(options: argparse.Namespace) -> list[str]:
    """Returns overrides for the flags, followed by those of ``-o``, which take precedence."""
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
    """Returns the ``config.yaml`` of the run that wrote ``weights``, if it describes a test."""
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
    """Imports parts, including the modules that a configuration given by -c names."""
    from paddlevideo.config import import_parts, modules_of
    from paddlevideo.utils.errors import ConfigError

    modules = list(dict.fromkeys([*modules_of(config), *options.modules]))
    untrusted = [name for name in modules if name not in options.modules]
    if untrusted and not options.names_config:
        flags = " ".join(f"--import {name}" for name in untrusted)
        raise ConfigError(
            f"{options.config}, beside the weights, imports modules, which run code: if you trust "
            f"them, add {flags}, or give the file with -c"
        )
    if modules:
        config["imports"] = modules
    import_parts(modules)


def run(options: argparse.Namespace) -> None:
    """Loads the configuration and the parts, and trains or tests."""
    from paddlevideo.config import load_config

    if options.test and not options.names_config:
        beside = config_beside(options.weights)
        options.config = beside or options.config
        where = "from the folder of the weights" if beside else "the default"
        if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
            print(f"configuration: {options.config}, {where}; choose another with -c FILE")
    config = load_config(options.config, options.override_list)
    with exit_on_interrupt():
        import_modules(config, options)
        from paddlevideo import tasks

    if options.test:
        tasks.test(config, options.weights, options.report, options.videos)
    elif options.dry_run:
        tasks.dry_run(config)
    else:
        tasks.train(config, profile=options.profiler_options)


def train(arguments: Sequence[str] | None = None) -> int:
    """Runs ``paddlevideo train``."""
    return main(arguments, "train")


def test(arguments: Sequence[str] | None = None) -> int:
    """Runs ``paddlevideo test``."""
    return main(arguments, "test")


def main(arguments: Sequence[str] | None = None, job: Job | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 data or weights, 2 configuration."""

    def action() -> int:
        options = parse_arguments(arguments, job)
        options.override_list = overrides_of(options)
        again = STARTS_OVER if options.dry_run else CONTINUES
        return exit_code_of(lambda: run(options), again=again)

    return run_in_format(arguments, action)
