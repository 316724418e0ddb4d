r"""Compares two ways of ranking on the same test, with what chance alone may have done.

    paddlevideo compare output/new/queries.jsonl --with output/old/queries.jsonl
    paddlevideo compare new0.jsonl new1.jsonl new2.jsonl --with old0.jsonl old1.jsonl

Each file is what ``main.py --test`` wrote, or ``linear_baseline.py --queries``; several files of a
side are its seeds. Prints R@1, R@5 and R@10 both ways, their difference, and the interval that 95 %
of resampled tests fall into.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from paddlevideo.files.whole import write_json_whole
from paddlevideo.metrics.bootstrap import Difference, paired_difference
from paddlevideo.report.queries import DIRECTIONS, read_queries
from paddlevideo.retrieval.ranks import RECALL_AT
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import count

#: Direction, text of the query, and which one of equal texts.
Key = tuple[str, str, int]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("first", type=as_path, nargs="+", metavar="queries.jsonl")
    parser.add_argument(
        *("--with", "-w"), dest="second", type=as_path, nargs="+", required=True, metavar="OTHER"
    )
    parser.add_argument("--samples", type=count, default=10_000, help="resampled tests (10,000)")
    parser.add_argument("--json", type=as_path, metavar="FILE", help="write the numbers here")
    return parser.parse_args(arguments)


def read_ranks(path: Path) -> dict[Key, int]:
    """The rank of each query of a file. Raises DataError."""
    seen: Counter[tuple[str, str]] = Counter()
    ranks: dict[Key, int] = {}
    for query in read_queries(path):
        text = (query.direction, query.query)
        ranks[(*text, seen[text])] = query.rank
        seen[text] += 1
    return ranks


def aligned(
    paths: Sequence[Path], others: Sequence[Path], direction: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks (files, queries) of both sides, columns in the same order.

    Raises DataError, naming the file, where the queries are not those of the first one.
    """
    files = [(path, read_ranks(path)) for path in (*paths, *others)]
    order = [key for key in files[0][1] if key[0] == direction]
    for path, ranks in files:
        differing = {key for key in ranks if key[0] == direction} ^ set(order)
        if differing:
            raise DataError(
                f"{path}: {len(differing)} queries are only here or only in {paths[0]}, such as "
                f'"{sorted(differing)[0][1]}": the tests are not of the same captions and clips'
            )
    table = np.array([[ranks[key] for key in order] for _, ranks in files])
    return table[: len(paths)], table[len(paths) :]


def run(options: argparse.Namespace) -> dict[str, dict[str, Difference]]:
    """Reads, compares and prints."""
    from paddlevideo.files.writable import check_file

    check_file(options.json, "--json")
    found: dict[str, dict[str, Difference]] = {}
    for way in DIRECTIONS:
        first, second = aligned(options.first, options.second, way)
        if not first.size:
            continue
        found[way] = {
            f"R@{k}": paired_difference(first, second, k, options.samples) for k in RECALL_AT
        }
        print(f"{way}: {first.shape[1]} queries, {len(first)} against {len(second)} run(s)")
        print(f"  {'':5s} {'first':>6s} {'second':>7s} {'difference':>11s}   95 %")
        for name, one in found[way].items():
            interval = f"{one.low:+.1f} to {one.high:+.1f}"
            print(f"  {name:5s} {one.first:6.1f} {one.second:7.1f} {one.value:+11.1f}   {interval}")
    if not found:
        raise DataError(f"{options.first[0]}: holds no queries")
    if options.json:
        numbers = {
            w: {name: asdict(one) for name, one in each.items()} for w, each in found.items()
        }
        write_json_whole(options.json, numbers)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: run(options))
