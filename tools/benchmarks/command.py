"""Measures this project beside PaddleVideo 2.3.1, both on this machine and in the same run.

    python tools/benchmark.py retrieval --threads 2 --json retrieval.json

The peer is installed from PyPI without its dependencies (into --peer) and runs in a process of its
own. Timings on shared machines are noisy: the sides take turns, and the spread is printed.
"""

from __future__ import annotations

import argparse

from benchmarks import (
    denormals,
    extract,
    gallery,
    host,
    index,
    initialization,
    loader,
    mount,
    negatives,
    precision,
    retrieval,
    serve,
    store,
    train,
)
from paddlevideo.files.whole import write_json_whole
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path

BENCHMARKS = {
    "retrieval": retrieval,
    "train": train,
    "loader": loader,
    "store": store,
    "precision": precision,
    "negatives": negatives,
    "denormals": denormals,
    "initialization": initialization,
    "host": host,
    "serve": serve,
    "index": index,
    "gallery": gallery,
    "extract": extract,
    "mount": mount,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=benchmark.__doc__)
        benchmark.add_arguments(command)
        command.add_argument("--json", type=as_path, help="write the numbers here")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Runs the chosen benchmark, shows its report and, with --json, writes it."""
    benchmark = BENCHMARKS[options.benchmark]
    report = benchmark.run(options)
    benchmark.show(report)
    if options.json:
        write_json_whole(options.json, report)
