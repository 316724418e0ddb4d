r"""Extracts features from videos into a feature store to train ActBERT on.

paddlevideo extract videos/ --captions captions.csv
paddlevideo extract videos/ -c extract/imagenet.yaml --output clips.store
paddlevideo extract list.csv -c extract/paddledetection.yaml \
    -o regions.detector.model=picodet_xs_416_coco_lcnet --output clips.store --draw pictures/

Without -c, classical methods are used, which need no weights. Run it again to add what is missing
and to check the rest, with --overwrite after videos or captions were added; no video is extracted
twice. docs/networks.md describes the YAML files.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.utils.children import terminable
from paddlevideo.utils.command import RESUMES, exit_code_of, exit_on_interrupt
from paddlevideo.utils.log import run_in_format
from paddlevideo.utils.options import (
    DEFAULT_STORE,
    Parser,
    add_log_format,
    add_metrics_port,
    add_override,
    as_path,
    as_path_text,
)
from paddlevideo.utils.ranges import count_or_zero


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add(
        "videos",
        type=as_path,
        metavar="VIDEOS",
        help="a folder, a text file with one path per line, or a CSV: video[,clip][,start][,end]"
        "[,caption]; paths are relative to the file",
    )
    add(
        "--output",
        type=as_path,
        default=Path(DEFAULT_STORE),
        metavar="STORE",
        help=f"the store to write; default: {DEFAULT_STORE}",
    )
    add(
        "-c",
        "--config",
        type=as_path_text,
        default="extract/classical.yaml",
        metavar="YAML",
        help="default: extract/classical.yaml",
    )
    add_override(parser, "KEY=VALUE", "changes the YAML")
    add(
        "--captions",
        nargs="+",
        type=as_path,
        default=[],
        metavar="FILE",
        help="as for paddlevideo pack",
    )
    add("--overwrite", action="store_true", help="replace a store of other videos or captions")
    add("--work", type=as_path, metavar="DIR", help="intermediate files; default: STORE.work")
    add("--draw", type=as_path, metavar="DIR", help="write a JPEG of each clip with its regions")
    add("--dtype", choices=("float16", "float32"), default="float16", help="default: float16")
    add(
        "--part",
        default="",
        metavar="K/N",
        help="part of the list for this process; default: set by paddle.distributed.launch",
    )
    add(
        "--workers",
        type=count_or_zero,
        metavar="N",
        help="processes, with --ray on each machine; 0: one per core; default: one per core, or if "
        "networks are used one, with --ray one per GPU",
    )
    add(
        "--ray",
        default="",
        metavar="ADDRESS",
        help="extract on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; local: start one here",
    )
    add(
        "--threads",
        type=count_or_zero,
        default=0,
        help="threads of OpenCV and networks per process; 0, the default: their choice",
    )
    add_metrics_port(parser, "not at all")
    add(
        "--metrics_file",
        type=as_path,
        metavar="FILE.prom",
        help="write the metrics of the whole run for node_exporter",
    )
    add_log_format(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""

    def action() -> int:
        options = parse_arguments(arguments)
        return exit_code_of(lambda: _extract(options), again=RESUMES)

    return run_in_format(arguments, action)


def _extract(options: argparse.Namespace) -> int:
    os.environ.setdefault("GLOG_minloglevel", "2")  # hides notes about Paddle's executor
    with exit_on_interrupt():
        from paddlevideo.extract.run import extract
        from paddlevideo.extract.totals import totals_at
        from paddlevideo.extract.work import ExtractOptions
    values = dict(vars(options))
    del values["log_format"]
    address = (values.pop(f"metrics_{name}") for name in ("host", "port", "file"))
    with terminable(), totals_at(*address) as totals:
        return extract(ExtractOptions(overrides=values.pop("override"), **values), totals)
