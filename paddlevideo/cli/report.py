r"""Makes the page of a retrieval test from its files: numbers, ranks, and clips found.

    paddlevideo report --results output/ActBert_demo --videos data/demo/videos

The folder holds results.json and queries.jsonl, which main.py --test writes. The page is one HTML
file without scripts that loads nothing from elsewhere. Where the test was on a feature store, the
pictures come from the videos that it names; --videos is for others, and for videos that have moved.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paddlevideo.prepare.origins import ClipNotes

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import count_or_zero


def read_results(path: Path) -> dict[str, Any]:
    """Reads ``results.json``; raises DataError where it is not what a retrieval test writes."""
    from paddlevideo.utils.errors import DataError

    advice = "main.py --test writes such a file"
    try:
        results = json.loads(path.read_text("utf-8"))
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror}); {advice}") from None
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: not JSON ({fault}); {advice}") from None
    if not isinstance(results, dict) or "text_to_video" not in results:
        raise DataError(f'{path}: no "text_to_video" of a retrieval test in it; {advice}')
    return results


def notes_of(features: Path | None, results: dict[str, Any]) -> ClipNotes:
    """What ``features`` tell of the clips, or what those of the test do if they are still there."""
    from paddlevideo.prepare.origins import ClipNotes
    from paddlevideo.report.tables import part
    from paddlevideo.utils.errors import DataError

    tested = part(results, "protocol").get("features")
    if features is not None or not isinstance(tested, str):
        return ClipNotes(features)
    try:
        return ClipNotes(tested)
    except DataError:
        return ClipNotes(None)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--results", type=as_path, required=True, help="output folder of a test")
    parser.add_argument(
        "--videos", type=as_path, help="folder of clips or pictures, for thumbnails"
    )
    parser.add_argument(
        "--output", type=as_path, help="the page; default: report.html in --results"
    )
    parser.add_argument(
        "--features", type=as_path, metavar="STORE", help="default: the one that was tested"
    )
    parser.add_argument(
        "--shown",
        type=count_or_zero,
        default=20,
        help="queries of each direction to show; default: 20",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    output = options.output or options.results / "report.html"

    def work() -> None:
        from paddlevideo.files.writable import check_file
        from paddlevideo.report import read_queries, write_report
        from paddlevideo.report.clip_videos import check_videos

        check_file(output, "--output")
        check_videos(options.videos)
        results = read_results(options.results / "results.json")
        queries = read_queries(options.results / "queries.jsonl")
        notes = notes_of(options.features, results)
        videos, shown = options.videos, options.shown
        for line in write_report(output, results, queries, videos, shown, notes.origin):
            print(f"report: {line}", file=sys.stderr)
        print(f"wrote {output}")

    return exit_code_of(work)
