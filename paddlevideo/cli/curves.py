r"""Draws the curves of training runs, of one or of several side by side.

    paddlevideo curves output/ActBert/train.jsonl -o curves.png
    paddlevideo curves output/first output/second -o both.png

Training does it by itself at its end. A folder stands for the train.jsonl in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "runs", type=as_path, nargs="+", metavar="train.jsonl", help="file or folder"
    )
    parser.add_argument("-o", "--output", type=as_path, default=Path("curves.png"), help="a .png")
    return parser.parse_args(arguments)


def names_of(paths: Sequence[Path]) -> list[str]:
    """The runs' folders, with as many folders above them as tell them apart."""
    folders = [(path if path.is_dir() else path.parent).resolve() for path in paths]
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(set(folders)):
            break
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    from paddlevideo.utils.errors import ConfigError

    options = parse_arguments(arguments)

    def work() -> None:
        from paddlevideo.files.writable import check_file
        from paddlevideo.report.curves import MOST_RUNS, write_curves
        from paddlevideo.report.history import read_history

        check_file(options.output, "--output")
        if len(options.runs) > MOST_RUNS:
            raise ConfigError(f"{len(options.runs)} runs: at most {MOST_RUNS} can be told apart")
        named = zip(options.runs, names_of(options.runs), strict=True)
        write_curves(options.output, [read_history(path, name) for path, name in named])
        print(f"wrote {options.output}")

    return exit_code_of(work)
