r"""Extracts features from videos into a feature store that ActBERT trains on.

paddlevideo extract videos/ --output clips.store
paddlevideo extract list.csv -c picodet.yaml \
    -o regions.detector.model=picodet_xs_416.onnx --output clips.store --draw pictures/

Without -c the features are classical: no weights are needed. Running it again extracts what is
missing and checks the rest. docs/videos.md describes the YAML files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from paddlevideo.utils.command import RESUMES, exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count_or_zero


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add(
        "videos",
        type=as_path,
        metavar="VIDEOS",
        help="a folder, a text file with a path a line, or a CSV: video[,clip][,start][,end]"
        "[,caption]; paths are relative to the file",
    )
    add("--output", type=as_path, required=True, metavar="STORE")
    add("-c", "--config", type=as_path_text, default="extract/classical.yaml", metavar="YAML")
    add_override(parser, "KEY=VALUE", "changes the YAML")
    add("--captions", nargs="+", type=as_path, default=[], metavar="FILE", help="as for prepare")
    add("--work", type=as_path, metavar="DIR", help="finished videos; default STORE.work")
    add("--draw", type=as_path, metavar="DIR", help="a JPEG of each clip with its regions")
    add("--dtype", choices=("float16", "float32"), default="float16")
    add(
        "--part",
        default="",
        metavar="K/N",
        help="of the list, for this process; default: as paddle.distributed.launch says",
    )
    add(
        "--workers",
        type=count_or_zero,
        metavar="N",
        help="processes; 0: one a core; default: one a core where no network is used, else one",
    )
    add(
        "--threads",
        type=count_or_zero,
        default=0,
        help="of OpenCV and onnxruntime in each process; 0: as they choose",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: _extract(options), again=RESUMES)


def _extract(options: argparse.Namespace) -> int:
    with exit_on_interrupt():
        from paddlevideo.extract.run import extract
        from paddlevideo.extract.work import ExtractOptions
    values = dict(vars(options))
    return extract(ExtractOptions(overrides=values.pop("override"), **values))
